#!/bin/bash
# Compares the installed meddino with the same network and pipeline made of PyPI packages.
# usage: Tests/Oracle/run.sh STAGE     (MEDDINO_PEERS: a Python that has the packages)
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 STAGE" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
. "$here/peers.sh"
exec env PYTHONDONTWRITEBYTECODE=1 "$PEERS" "$here/oracle.py" "$stage"
