#!/bin/bash
# Trains meddino and nnU-Net's 2D U-Net for the same wall time on blocks of a real CT and prints held-out Dice per organ.
# usage: Tests/Long/unet.sh STAGE FOLDER [--seconds 600] [--threads 2]     (FOLDER keeps everything that is made)
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 STAGE FOLDER [--seconds N] [--threads N]" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
folder=$2
shift 2
. "$here/../Oracle/peers.sh"
if ! "$PEERS" -c 'import nnunetv2' 2>/dev/null; then
  "$PEERS" -m pip install -q --disable-pip-version-check -c "$here/../Oracle/requirements.txt" -r "$here/requirements.txt"
fi
exec env PYTHONDONTWRITEBYTECODE=1 "$PEERS" "$here/unet.py" all "$folder" --stage "$stage" "$@"
