#!/usr/bin/env bash
# The C kernels against plain double loops: every instruction set of this machine, and arm64 (NEON) under qemu-user where a cross
# compiler and qemu are installed (gcc-aarch64-linux-gnu, qemu-user).
set -euo pipefail
cd "$(dirname "$0")"
src=../../Sources/CKernels
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cc=$(command -v clang || command -v gcc)
"$cc" -std=gnu11 -O3 -ffp-contract=off -I "$src/include" -I "$src" $(pkg-config --cflags openblas) kernels_test*.c "$src"/*.c \
  -o "$out/kernels" $(pkg-config --libs openblas) -lpthread -lm
"$out/kernels" | tail -n 1
if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then
  aarch64-linux-gnu-gcc -std=gnu11 -O3 -ffp-contract=off -DCK_NO_BLAS -I "$src/include" -I "$src" kernels_test*.c "$src"/*.c \
    -o "$out/kernels-arm64" -lpthread -lm
  echo "arm64 under qemu:"
  # fork() of a threaded program is not supported by qemu-user.
  MEDDINO_TEST_NO_FORK=1 qemu-aarch64 -L /usr/aarch64-linux-gnu "$out/kernels-arm64" | tail -n 1
else
  echo "skipped: arm64 (needs gcc-aarch64-linux-gnu and qemu-user)"
fi
