#!/bin/bash
# Pretrains a small backbone through all three stages on the CT volumes of the data folder and prints the Dice of frozen features.
# usage: Tests/Long/stages.sh STAGE FOLDER [--minutes 30] [--seeds 3] [--shots 4]     (FOLDER keeps everything that is made)
set -euo pipefail
. "$(dirname "$0")/peer.sh"
proof "$here/stages.py" "$folder" --stage "$stage" "$@"
