#!/bin/bash
# Trains meddino and nnU-Net's 2D U-Net for the same wall time on blocks of a real CT and prints held-out Dice per organ.
# usage: Tests/Long/unet.sh STAGE FOLDER [--seconds 600] [--threads 2]     (FOLDER keeps everything that is made)
set -euo pipefail
. "$(dirname "$0")/peer.sh"
proof "$here/unet.py" all "$folder" --stage "$stage" "$@"
