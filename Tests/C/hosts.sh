#!/bin/bash
# Sourced by run.sh and run-valgrind.sh: the checks they count, the C tests compiled against the meddino installed in $stage, and the
# slices that some of them pretrain on. Sets root, work, flags, libs, tests; nothing is written outside $work.
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PKG_CONFIG_PATH=$stage/lib/pkgconfig LD_LIBRARY_PATH=$stage/lib MEDDINO_LIBRARY=$stage/lib/libmeddino.so.1
passed=0 failed=0
strict=(-Wall -Wextra -pedantic -Werror)

good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $1"; }
# One check: the command succeeds. Its output is shown when it does not.
must() {
  local what=$1 output
  shift
  if output=$("$@" 2>&1); then good; else bad "$what"; echo "$output" | tail -40; fi
}
# A program that counts its own checks and ends with "NAME: N passed, M failed".
counted() {
  local what=$1 output status last
  shift
  output=$(timeout 170 "$@" 2>&1)
  status=$?
  echo "$output" | tail -60
  last=$(echo "$output" | grep -oE '[0-9]+ passed, [0-9]+ failed' | tail -1)
  if [ -z "$last" ]; then bad "$what ended with status $status and no count"; return; fi
  passed=$((passed + ${last%% *}))
  failed=$((failed + $(echo "$last" | awk '{print $3}')))
  [ "$status" = 0 ] || [ "$(echo "$last" | awk '{print $3}')" != 0 ] || bad "$what ended with status $status"
}

read -ra flags <<<"$(pkg-config --cflags meddino)"
read -ra libs <<<"$(pkg-config --libs meddino)"
tests=()
for source in "$here"/test_*.c; do
  name=$(basename "$source" .c)
  must "compile $name" gcc -std=c99 -D_GNU_SOURCE -g -O1 "${strict[@]}" "${flags[@]}" "$source" -o "$work/$name" "${libs[@]}" -lpthread -lm
  tests+=("$name")
done
# Slices to pretrain on.
mkdir -p "$work/ct"
must "phantom to curate" "$stage/bin/meddino" phantom "$work/ct/v1.nii.gz" --single --size 48,48,6 --seed 1 --quiet
must "slice set" "$stage/bin/meddino" curate "$work/ct" "$work/slices" --size 40 --licence "CC0" --quiet
