#!/usr/bin/env bash
# The demo: a synthetic CT, a small model, its segmentation through the installed C library, and a picture.
# Usage: demo.sh PREFIX OUTPUT-FOLDER
set -euo pipefail
prefix=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
mkdir -p "$out"
meddino=$prefix/bin/meddino

echo "1. a synthetic torso CT with organ labels"
"$meddino" phantom "$out/ct.nii.gz" --single --labels "$out/truth.nii.gz" --size 192,192,24 --seed 7 --quiet

echo "2. a small model with random weights"
"$meddino" init --config "$here/demo-model.json" --seed 1 -o "$out/model.safetensors" --quiet

echo "3. segmentation through the C library (Examples/c/segment.c, built with gcc and pkg-config)"
gcc -std=c99 -O2 "$here/c/segment.c" -o "$out/segment" $(pkg-config --cflags --libs meddino)
"$out/segment" "$out/model.safetensors" "$out/ct.nii.gz" "$out/labels.nii.gz"

echo "4. pictures: what the model says, and what is true"
"$meddino" segment "$out/model.safetensors" "$out/ct.nii.gz" -o "$out/labels-command.nii.gz" --preview "$out/labels.png" --quiet
cmp "$out/labels.nii.gz" "$out/labels-command.nii.gz" && echo "   the C library and the command line wrote the same bytes"

cat <<TEXT

Done. In $out:
  ct.nii.gz, truth.nii.gz   the synthetic CT and its true labels
  labels.nii.gz             the label map
  labels.png                slices with contours
The weights are random: until fine-tuning is there, the labels mean nothing. What you see is that the whole way works.
TEXT
