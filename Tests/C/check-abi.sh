#!/bin/bash
# check-abi.sh LIB ABI [HEADER]: what the shared library shows and needs, and that its header still says what abi-baseline.txt has.
# Prints one line per fault and a count at the end.
set -u
lib=$1 abi=$2
here=$(cd "$(dirname "$0")" && pwd)
header=${3:-$here/../../include/meddino.h}
passed=0 failed=0
check() { # check NAME GOT EXPECTED
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "check-abi: $1: got \"$2\", expected \"$3\""; fi
}
export LC_ALL=C
# Comments and preprocessor lines go; what is left between MEDDINO_API and the first parenthesis ends in the function's name.
declared=$(sed 's@//.*@@' "$header" | tr '\n' '\001' | sed 's@/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/@@g' | tr '\001' '\n' | grep -v '^ *#' |
  grep -o 'MEDDINO_API[^;(]*(' | sed 's/ *($//; s/.*[ *]//' | sort -u)
exported=$(nm -D --defined-only "$lib" | awk '{sub(/@.*/, "", $3); print $3}' | grep -v '^MEDDINO_' | sort -u)
check "functions declared" "$([ "$(echo "$declared" | wc -l)" -ge 40 ] && echo enough)" enough
check "declared but not exported" "$(comm -23 <(echo "$declared") <(echo "$exported") | tr '\n' ' ')" ""
check "exported but not declared" "$(comm -13 <(echo "$declared") <(echo "$exported") | tr '\n' ' ')" ""
dynamic=$(readelf -dW "$lib")
check "symbols without the version MEDDINO_$abi" \
  "$(nm -D --defined-only "$lib" | awk '{print $3}' | grep -v "@@MEDDINO_$abi\$" | grep -vx "MEDDINO_$abi" | tr '\n' ' ')" ""
check "layouts, values and prototypes" "$("$here/abi.py" check "$header" "$here/abi-baseline.txt" 2>&1)" ""
check "soname" "$(echo "$dynamic" | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')" "libmeddino.so.$abi"
needed=$(echo "$dynamic" | sed -n 's/.*NEEDED.*\[\(.*\)\].*/\1/p' | tr '\n' ' ')
check "needed libraries that a host may lack (of: $needed)" \
  "$(echo "$needed" | tr ' ' '\n' | grep -vE '^(lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+)\.so\..*|ld-linux.*)?$' | tr '\n' ' ')" ""
check "search paths" "$(echo "$dynamic" | grep -E 'RPATH|RUNPATH')" ""
check "text relocations" "$(echo "$dynamic" | grep -E 'TEXTREL')" ""
check "executable stack" "$(readelf -lW "$lib" | grep GNU_STACK | grep -c 'RWE')" 0
newest=$(objdump -T "$lib" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
check "glibc at most 2.34 (needs $newest)" "$(printf '%s\nGLIBC_2.34\n' "$newest" | sort -V | tail -1)" GLIBC_2.34
check "header's ABI version" "$(awk '/define MEDDINO_ABI_VERSION/{print $3}' "$header")" "$abi"
echo "check-abi: $passed passed, $failed failed"
[ "$failed" = 0 ]
