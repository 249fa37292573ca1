# Sourced by run.sh: counted checks, and make as a user calls it. Needs root, stage, work.
passed=0 failed=0
good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $1"; }
# must NAME COMMAND...: the command succeeds; its output is kept in $work/out and shown when it does not.
must() {
  local what=$1
  shift
  if "$@" >"$work/out" 2>&1; then good; else bad "$what"; tail -20 "$work/out"; fi
}
# fails NAME TEXT COMMAND...: the command fails and says TEXT.
fails() {
  local what=$1 text=$2
  shift 2
  if "$@" >"$work/out" 2>&1; then bad "$what: it succeeds"; elif grep -qF -- "$text" "$work/out"; then good; else bad "$what: it says not \"$text\""; tail -5 "$work/out"; fi
}
# same NAME GOT EXPECTED
same() { if [ "$2" = "$3" ]; then good; else bad "$1: got \"$2\", expected \"$3\""; fi; }
# what TARGET... of the Makefile does with the files of the stage
from_stage() {
  env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$root" --no-print-directory LIB="$stage/lib/libmeddino.so" CLI="$stage/bin/meddino" MPI_LIB= "$@"
}
# Everything beneath a folder that is no folder, relative to it.
files() { (cd "$1" && find . ! -type d -printf '%P\n' | LC_ALL=C sort); }
