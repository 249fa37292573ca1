#!/usr/bin/env bash
# The demo: synthetic CTs, a small network trained on them from nothing, its labels of CTs that it has never seen.
# Usage: demo.sh PREFIX OUTPUT-FOLDER
set -euo pipefail
prefix=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
meddino=$prefix/bin/meddino
data=$out/raw/Dataset900_Phantom
goal=0.90

rm -rf "$out/raw" "$out/preprocessed" "$out/run" "$out/labels"
mkdir -p "$out/labels"

echo "1. synthetic torso CTs with contrast medium and labels of five organs: 30 to learn from, 5 held out"
"$meddino" phantom "$out/raw" --cases 30 --test-cases 5 --size 96,96,72 --phase venous --organs 5 --missing 0 --lps --seed 7 --quiet

echo "2. plan and preprocess"
"$meddino" plan "$data" -o "$out/preprocessed" --quiet

echo "3. train a small network from random weights"
"$meddino" finetune "$out/preprocessed/Dataset900_Phantom" --config "$here/demo-training.json" -o "$out/run"

echo "4. segment the held-out CTs through the C library (Examples/c/segment.c, built with gcc and pkg-config)"
gcc -std=c99 -O2 "$here/c/segment.c" -o "$out/segment" $(pkg-config --cflags --libs meddino)
for image in "$data"/imagesTs/*_0000.nii.gz; do
  name=$(basename "$image" _0000.nii.gz)
  "$out/segment" "$out/run/model_final.safetensors" "$image" "$out/labels/$name.nii.gz" >"$out/labels/$name.txt"
done

echo "5. pictures: the first of them, through the command line"
first=$(basename "$(ls "$out"/labels/*.nii.gz | head -1)" .nii.gz)
"$meddino" segment "$out/run/model_final.safetensors" "$data/imagesTs/${first}_0000.nii.gz" -o "$out/labels-command.nii.gz" \
  --preview "$out/preview.png" --quiet
cmp "$out/labels/$first.nii.gz" "$out/labels-command.nii.gz"
echo "   the C library and the command line wrote the same bytes"

echo "6. against the truth"
"$meddino" evaluate "$out/labels" "$data/labelsTs" --labels "$data/dataset.json" --images "$data/imagesTs" \
  --summary "$out/summary.json" --report "$out/report.html" | tee "$out/scores.txt"
mean=$(awk '$1 == "mean" { print $2 }' "$out/scores.txt")

cat <<TEXT

mean Dice $mean on CTs that the network has not seen

In $out:
  preview.png                  slices of a held-out CT with the contours of the labels
  report.html                  all scores and pictures beside the truth; open it in a browser
  summary.json                 the scores as nnU-Net writes them
  run/progress.png             how the training went
  run/model_final.safetensors  the model, for "meddino segment" and the C library
  raw, labels                  the CTs with the truth, and the labels that were found
TEXT
awk -v mean="$mean" -v goal="$goal" 'BEGIN { print "The goal, a mean Dice above " goal ", is " (mean + 0 > goal + 0 ? "reached." : "missed.") }'
