#!/bin/bash
# run-valgrind.sh STAGE: the C tests of an installed meddino under valgrind: leaks of any handle, reads and writes out of bounds. With
# the AVX2 kernels, for it knows no AVX-512. Takes minutes; not part of `make test`.
set -u
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed"; exit 0; }
grep -qw avx2 /proc/cpuinfo || { echo "skipped: valgrind needs a processor with AVX2 here"; exit 0; }
. "$here/hosts.sh"

# Valgrind runs one thread at a time, so two tests share the processors, the longest first.
names="test_training test_datasets test_training_arguments test_pretraining test_pretraining_arguments test_arguments test_volumes test_images test_features test_evaluation"
watched() { # its own folder: the tests of datasets make folders that must not be there
  mkdir -p "$work/valgrind-$1"
  ln -s "$work/slices" "$work/valgrind-$1/slices"
  MEDDINO_SIMD=avx2 timeout 300 valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
    --errors-for-leak-kinds=definite "$work/$1" "$work/valgrind-$1" >"$work/$1.log" 2>&1
  echo $? >"$work/$1.status"
}
export -f watched
export work
echo $names | xargs -n 1 -P 2 bash -c 'watched "$0"'
for name in $names; do
  counted "valgrind $name" bash -c 'cat "$1"; exit "$(cat "$2")"' - "$work/$name.log" "$work/$name.status"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
