#!/bin/bash
# Times the installed meddino beside PyTorch (and OpenVINO where it is installed) in one run; writes bench/results.json.
# usage: Tests/Bench/run.sh STAGE [--threads 2] [--rounds 3] [--sizes 512,896] [--train-sizes 512] [--ssl f32,bf16]
#        [--output bench/results.json]
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 STAGE [options of bench.py]" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
shift
. "$here/../Oracle/peers.sh"
exec env PYTHONDONTWRITEBYTECODE=1 "$PEERS" "$here/bench.py" "$stage" "$@"
