#!/bin/bash
# run.sh STAGE: compiles against an installed meddino and runs everything that uses it from outside. No network, nothing written
# outside a temporary folder. MEDDINO_PYTHON names another python3.
set -u
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
. "$here/hosts.sh"

# The header alone, and twice, in every language it promises.
for name in meddino.h meddino.hpp; do printf '#include <%s>\n#include <%s>\nint main(void) { return 0; }\n' $name $name >"$work/${name/./_}.c"; done
for std in c99 c11 gnu17; do must "meddino.h as $std" gcc -std=$std "${strict[@]}" "${flags[@]}" -fsyntax-only "$work/meddino_h.c"; done
for cxx in g++ clang++; do
  command -v $cxx >/dev/null || { echo "skipped: no $cxx"; continue; }
  for std in c++11 c++17 c++20; do
    for name in meddino_h meddino_hpp; do must "$name with $cxx as $std" $cxx -x c++ -std=$std "${strict[@]}" "${flags[@]}" -fsyntax-only "$work/$name.c"; done
  done
done

for part in "$stage"/include/meddino/*.hpp; do
  must "meddino/$(basename "$part") alone" g++ -std=c++11 "${strict[@]}" "${flags[@]}" -fsyntax-only -x c++ -include "$part" /dev/null
done

must "compile test_hpp" g++ -std=c++11 -g -O1 "${strict[@]}" "${flags[@]}" "$here/test_hpp.cpp" -o "$work/test_hpp" "${libs[@]}" -lpthread
# A locale with a decimal comma, where the system can make one.
mkdir -p "$work/locale"
if localedef -i de_DE -f UTF-8 "$work/locale/de_DE.UTF-8" >/dev/null 2>&1; then export LOCPATH=$work/locale; fi
for name in "${tests[@]}" test_hpp; do counted "$name" "$work/$name" "$work"; done
unset LOCPATH

# The examples, on what the tests left behind.
must "compile segment.c" gcc -std=c99 "${strict[@]}" "$root/Examples/c/segment.c" -o "$work/segment_c" "${flags[@]}" "${libs[@]}"
must "compile learn.c" gcc -std=c99 "${strict[@]}" "$root/Examples/c/learn.c" -o "$work/learn_c" "${flags[@]}" "${libs[@]}"
must "compile pretrain.c" gcc -std=c99 "${strict[@]}" "$root/Examples/c/pretrain.c" -o "$work/pretrain_c" "${flags[@]}" "${libs[@]}"
must "compile segment.cpp" g++ -std=c++11 "${strict[@]}" "$root/Examples/cpp/segment.cpp" -o "$work/segment_cpp" "${flags[@]}" "${libs[@]}"
must "compile learn.cpp" g++ -std=c++11 "${strict[@]}" "$root/Examples/cpp/learn.cpp" -o "$work/learn_cpp" "${flags[@]}" "${libs[@]}"
must "run segment.c" "$work/segment_c" "$work/m.safetensors" "$work/a.nii.gz" "$work/labels_c.nii.gz"
must "labels of segment.c" test -s "$work/labels_c.nii.gz"
must "run segment.cpp" "$work/segment_cpp" "$work/m.safetensors" "$work/labels_cpp.nii.gz"
must "labels of segment.cpp" test -s "$work/labels_cpp.nii.gz"
must "run learn.c" "$work/learn_c" "$work/m.safetensors" "$work/a.nii.gz" "$work/labels_c.nii.gz" 3 "$work/better_c.safetensors"
must "run learn.cpp" "$work/learn_cpp" "$work/m.safetensors" "$work/a.nii.gz" "$work/labels_c.nii.gz" 3 "$work/better_cpp.safetensors"
must "learn.c and learn.cpp learn the same" cmp "$work/better_c.safetensors" "$work/better_cpp.safetensors"
must "run pretrain.c" "$work/pretrain_c" "$work/slices" 2 "$work/backbone_c.safetensors"
must "its backbone" "$stage/bin/meddino" info "$work/backbone_c.safetensors" --verify
must "segment.c with what learn.c learned" "$work/segment_c" "$work/better_c.safetensors" "$work/a.nii.gz" "$work/learned_c.nii.gz"
if "$work/segment_c" "$work/m.safetensors" /no/such/file.nii "$work/x.nii.gz" 2>/dev/null; then bad "segment.c accepts a missing file"; else good; fi

# A plan that reorients: command line and C give the same file.
must "segment of the command line" "$stage/bin/meddino" segment "$work/reorient.safetensors" "$work/odd.nii.gz" -o "$work/odd_command.nii.gz" --quiet
must "segment.c with a plan that reorients" "$work/segment_c" "$work/reorient.safetensors" "$work/odd.nii.gz" "$work/odd_c.nii.gz"
must "command line and segment.c agree" cmp "$work/odd_command.nii.gz" "$work/odd_c.nii.gz"

python=${MEDDINO_PYTHON:-python3}
if "$python" -c 'import numpy' 2>/dev/null; then
  for script in "$root"/Tests/Python/test_*.py; do counted "$(basename "$script")" "$python" -B "$script"; done
  must "run segment.py" "$python" -B "$root/Examples/python/segment.py" "$work/m.safetensors" "$work/a.nii.gz" "$work/labels_py.nii.gz"
  must "segment.py and segment.c agree" cmp "$work/labels_c.nii.gz" "$work/labels_py.nii.gz"
  must "run learn.py" "$python" -B "$root/Examples/python/learn.py" "$work/m.safetensors" "$work/a.nii.gz" "$work/labels_c.nii.gz" "$work/better_py.safetensors" 3
  must "learn.py and learn.c agree" cmp "$work/better_c.safetensors" "$work/better_py.safetensors"
  must "segment.py with a plan that reorients" "$python" -B "$root/Examples/python/segment.py" "$work/reorient.safetensors" "$work/odd.nii.gz" "$work/odd_py.nii.gz"
  must "segment.py and segment.c agree where the plan reorients" cmp "$work/odd_c.nii.gz" "$work/odd_py.nii.gz"
else
  echo "skipped: python3 with numpy is not installed"
fi

counted check-abi.sh "$here/check-abi.sh" "$(readlink -f "$stage/lib/libmeddino.so")" "$(awk '/define MEDDINO_ABI_VERSION/{print $3}' "$stage/include/meddino.h")" "$stage/include/meddino.h"
counted samples.sh "$here/samples.sh" "$stage/include/meddino.h" "$root/README.md"
counted abi-guard.sh "$here/abi-guard.sh" "$stage/include/meddino.h"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
