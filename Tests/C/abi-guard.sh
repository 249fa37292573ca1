#!/bin/bash
# abi-guard.sh HEADER: abi.py itself. Changes of a copy of the header that are additions, breaks or neither are taken for what they are.
set -u
header=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
"$here/abi.py" show "$header" >"$work/baseline" || exit 1
# changed NAME EXPECTED SED-SCRIPT [TEXT]: what `check` says of the changed header: same, added or breaks, and a text in its words.
changed() {
  sed -E "$3" "$header" >"$work/meddino.h"
  local said got=same
  said=$("$here/abi.py" check "$work/meddino.h" "$work/baseline" 2>&1)
  if grep -q '^breaks programs: ' <<<"$said"; then got=breaks; elif grep -q '^not recorded yet' <<<"$said"; then got=added; elif [ -n "$said" ]; then got=$said; fi
  if cmp -s "$header" "$work/meddino.h" && [ "$3" != "" ]; then got="no change"; fi
  if [ "$got" = "$2" ] && grep -qF -- "${4:-}" <<<"$said"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "abi-guard: $1: $got, expected $2: $said"; fi
}
changed "the header itself" same ""
changed "a comment" same 's,fraction 0\.\.1,from 0 to 1,'
changed "a parameter's name" same 's/(double fraction)/\1_done/'
changed "another type of a field" breaks 's/^  double tolerance_mm;/  int64_t tolerance_mm;/' 'field meddino_evaluation_options.tolerance_mm 8 8 double is now: field meddino_evaluation_options.tolerance_mm 8 8 int64_t'
changed "a field in the middle" breaks 's/^  double seconds;/  double watts; double seconds;/' meddino_metrics.watts
changed "a field at the end" added 's/^  double flops;/&\n  double added;/' meddino_estimate.added
changed "a field in the padding of older callers" breaks 's/^  int32_t parallel_width;/&\n  int32_t added;/' 'within the 64 bytes'
changed "a field for a reserved one" added 's/^  int32_t body_crop;.*/&\n  int32_t added;/; /^  int32_t body_crop/,/reserved/s/^  int32_t reserved;//' meddino_run_options.added
changed "a field for half of a reserved one, half of another" breaks '/^  int32_t body_crop/,/reserved/s/int32_t body_crop;/int16_t body_crop, added;/' meddino_run_options.body_crop
changed "a field that goes" breaks 's/^  int32_t distances;/  int32_t distance;/' 'meddino_evaluation_options.distances 16 4 int32_t is now: gone'
changed "a value in the middle" breaks 's/MEDDINO_E_IO,/MEDDINO_E_DISK, MEDDINO_E_IO,/' MEDDINO_E_IO
changed "a value at the end" added 's/MEDDINO_RAS \}/MEDDINO_RAS, MEDDINO_LAS }/' 'MEDDINO_LAS 3'
changed "an argument more" breaks 's/(meddino_model_save\(const meddino_model \*model)/\1, int32_t flags/' 'const meddino_model*, int32_t'
changed "a const less" breaks 's/(meddino_model_get_info\()const /\1/' meddino_model_get_info
changed "a function that goes" breaks 's/ meddino_model_verify\(/ meddino_model_proof(/' 'is now: gone'
changed "a function that comes" added 's/^MEDDINO_API uint32_t +meddino_version.*/&\nMEDDINO_API double meddino_age(void);/' 'double meddino_age(void)'
changed "another callback" breaks 's/int32_t level, const char \*message/const char *message/' meddino_log_fn
changed "another status type" breaks 's/^typedef int32_t meddino_status/typedef int64_t meddino_status/' 'type meddino_status int32_t is now: type meddino_status int64_t'
changed "a struct that is not read" 'abi.py: meddino.h declares something in a way that this script does not read' 's/^typedef struct \{/typedef struct meddino_tag {/'
refused() { # refused NAME EXPECTED SED-SCRIPT: what `update` does
  sed -E "$3" "$header" >"$work/meddino.h"
  cp "$work/baseline" "$work/recorded"
  local got=recorded
  "$here/abi.py" update "$work/meddino.h" "$work/recorded" >"$work/said" 2>&1 || got=refused
  if cmp -s "$work/baseline" "$work/recorded"; then got="$got, unchanged"; fi
  if [ "$got" = "$2" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "abi-guard: update with $1: $got, expected $2: $(cat "$work/said")"; fi
}
refused "an addition" recorded 's/MEDDINO_RAS \}/MEDDINO_RAS, MEDDINO_LAS }/'
refused "a break" "refused, unchanged" 's/MEDDINO_E_IO,/MEDDINO_E_DISK, MEDDINO_E_IO,/'
refused "a break under another number" recorded 's/MEDDINO_E_IO,/MEDDINO_E_DISK, MEDDINO_E_IO,/; s/(define MEDDINO_ABI_VERSION) [0-9]+/\1 99/'
echo "abi-guard: $passed passed, $failed failed"
[ "$failed" = 0 ]
