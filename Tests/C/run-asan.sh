#!/bin/bash
# run-asan.sh: the C tests against a debug build with AddressSanitizer (Swift and C alike). Takes minutes; not part of `make test`.
# The library is built with shared system libraries and exports more than the shipped one; leaks are valgrind's business.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/.build-asan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
swift build --sanitize=address --scratch-path "$build" --product meddino >"$work/build.log" 2>&1 || { tail -30 "$work/build.log"; exit 1; }
clang=$(dirname "$(readlink -f "$(command -v swift)")")/clang
passed=0 failed=0
for source in "$here"/test_*.c; do
  name=$(basename "$source" .c)
  "$clang" -std=c99 -D_GNU_SOURCE -g -O1 -fsanitize=address -shared-libasan -I "$root/include" "$source" -o "$work/$name" -L "$build/debug" -lmeddino \
    -lpthread -lm -Wl,-rpath,"$build/debug:$(dirname "$("$clang" -print-file-name=libclang_rt.asan-$(uname -m).so)")"
  # A refused huge allocation must come back as NULL, as it does from the system; the shared OpenBLAS must start no threads.
  output=$(OPENBLAS_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 SWIFT_BACKTRACE=enable=no timeout 900 "$work/$name" "$work" 2>&1) || true
  last=$(echo "$output" | grep -oE '[0-9]+ passed, [0-9]+ failed' | tail -1)
  echo "$output" | grep -E 'ERROR: AddressSanitizer' -A 25 || true
  echo "$name: ${last:-no count}"
  if [ -z "$last" ]; then failed=$((failed + 1)); echo "$output" | tail -20; else
    passed=$((passed + ${last%% *}))
    failed=$((failed + $(echo "$last" | awk '{print $3}')))
    [ "${last##*, }" = "0 failed" ] || echo "$output" | grep failed: | head
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
