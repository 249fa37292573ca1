# Sourced by the scripts that run a Python proof beside peers, with the script's arguments: STAGE FOLDER [OPTION...].
# Sets stage and folder, leaves the options as "$@", and PEERS as ../Oracle/peers.sh does.
[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
stage=$(cd "$1" && pwd)
folder=$2
shift 2
. "$here/../Oracle/peers.sh"
proof() { exec env PYTHONDONTWRITEBYTECODE=1 "$PEERS" "$@"; }
