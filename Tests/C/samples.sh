#!/bin/bash
# samples.sh HEADER README: the C samples of meddino.h's comments and of README, each compiled inside a function; ends with
# "samples: N passed, M failed". They are shortened on purpose, so statuses may go unused.
set -u
header=$1 readme=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

compiled() { # compiled NAME DECLARATIONS < STATEMENTS
  { printf '#include <stdio.h>\n#include "%s"\nvoid sample(void);\nvoid sample(void) {\n%s\n' "$(realpath "$header")" "$2"; cat; echo '}'; } >"$work/sample.c"
  if [ "$(wc -l <"$work/sample.c")" -gt 6 ] && gcc -std=c99 -Wall -Wextra -Werror -Wno-unused-result -Wno-unused-but-set-variable -fsyntax-only "$work/sample.c"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)) && echo "FAILED: sample of $1"
  fi
}
# The lines of a comment from the one that holds the text on, without their star and the words behind a statement.
commented() { # commented TEXT LINES
  grep -F -A "$(($2 - 1))" -e "$1" "$header" | sed -E 's/^ \*   //; s/;   .*$/;/; s/\.\.\.   .*$/return;/'
}

compiled "segmentation in the header" "" < <(commented 'meddino_context *ctx; meddino_model *net;' 6)
compiled "fine-tuning in the header" 'meddino_context *ctx = NULL; meddino_model *net = NULL;
  const meddino_volume *ct = NULL; meddino_volume corrected_labels; meddino_train_options options; meddino_metrics metrics;
  meddino_volume_init(&corrected_labels, sizeof corrected_labels); meddino_train_options_init(&options, sizeof options);' < <(commented 'meddino_dataset *cases;' 6)
compiled "pretraining in the header" 'meddino_context *ctx = NULL; meddino_dataset *slices;
  meddino_trainer *trainer; meddino_model *backbone; meddino_train_options options; meddino_metrics metrics = {0};
  meddino_train_options_init(&options, sizeof options); metrics.struct_size = sizeof metrics;' < <(commented 'meddino_dataset_open_slices(ctx, "ct-3m"' 5)
compiled "README" "" < <(sed -n '/^```c$/,/^```$/p' "$readme" | grep -v '^```')
echo "samples: $passed passed, $failed failed"
[ "$failed" = 0 ]
