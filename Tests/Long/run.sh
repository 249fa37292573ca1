#!/bin/bash
# Long checks of the installed meddino: memory over many slices, a whole real CT, the same bytes from every host and thread count, and
# training that is killed again and again.
# usage: Tests/Long/run.sh STAGE [memory] [slices] [real] [hosts] [kill]     (all by default; python3 alone is needed)
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 STAGE [memory] [slices] [real] [hosts] [kill]" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
shift
export PYTHONDONTWRITEBYTECODE=1
if [ $# = 0 ] || [[ " $* " == *" kill "* ]]; then
  python3 "$here/kill.py" "$stage/bin/meddino"
  python3 "$here/kill_pretraining.py" "$stage/bin/meddino"
fi
rest=()
for part in "$@"; do if [ "$part" != kill ]; then rest+=("$part"); fi; done
[ $# -gt 0 ] && [ ${#rest[@]} = 0 ] || exec python3 "$here/long.py" "$stage" "${rest[@]}"
