#!/bin/bash
# Pretrains a small backbone through all three stages on the CT volumes of the data folder and prints the Dice of frozen features.
# usage: Tests/Long/stages.sh STAGE FOLDER [--minutes 30] [--seeds 3] [--shots 4]     (FOLDER keeps everything that is made)
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 STAGE FOLDER [--minutes N] [--seeds N] [--shots N]" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
folder=$2
shift 2
. "$here/../Oracle/peers.sh"
exec env PYTHONDONTWRITEBYTECODE=1 "$PEERS" "$here/stages.py" "$folder" --stage "$stage" "$@"
