#!/bin/bash
# Long checks of the installed meddino: memory over many slices, a whole real CT, the same bytes from every host and thread count.
# usage: Tests/Long/run.sh STAGE [memory] [slices] [real] [hosts]     (all by default; python3 alone is needed)
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 STAGE [memory] [slices] [real] [hosts]" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
shift
exec env PYTHONDONTWRITEBYTECODE=1 python3 "$here/long.py" "$stage" "$@"
