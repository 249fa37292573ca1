#!/bin/bash
# Compares the installed meddino with the same network, pipeline, evaluation and training made of PyPI packages.
# usage: Tests/Oracle/run.sh STAGE     (MEDDINO_PEERS: a Python that has the packages)
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 STAGE" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
. "$here/peers.sh"
export PYTHONDONTWRITEBYTECODE=1
status=0
for script in formats.py oracle.py evaluation.py finetune_replay.py pretraining.py distillation_replay.py; do "$PEERS" "$here/$script" "$stage" || status=1; done
exit $status
