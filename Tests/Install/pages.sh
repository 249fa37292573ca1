# Sourced by run.sh: manual pages and completions of the moved prefix. Needs moved.
man1=$moved/share/man/man1
for page in "$man1"/*.1; do
  name=$(basename "$page" .1)
  if command -v man >/dev/null; then
    same "warnings of man about $name" "$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)" ""
  fi
  if command -v mandoc >/dev/null; then
    same "warnings of mandoc about $name" "$(mandoc -W warning -Tlint "$page" 2>&1 | grep -v ' STYLE: ')" ""
  fi
  if command -v lexgrog >/dev/null; then must "NAME of $name" lexgrog "$page"; fi
done
command -v mandoc >/dev/null || echo "skipped: mandoc is not installed"
# The page of a command has every option and default that its help has.
for command in segment finetune "postprocess determine"; do
  page=$man1/meddino-${command%% *}.1
  for option in $("$moved/bin/meddino" help $command | grep -oE '^ +(-[a-z], )?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+'); do
    must "$option of $command on its page" grep -qF -- "\\fB${option//-/\\-}\\fR" "$page"
  done
done
same "a page for each command" "$(cd "$man1" && ls | grep -c '^meddino-')" "$("$moved/bin/meddino" --help | grep -cE '^  [a-z]+ +[A-Z]')"

# bash: sourced as the package bash-completion does, then asked as the shell would ask.
bash_file=$moved/share/bash-completion/completions/meddino
must "bash -n" bash -n "$bash_file"
completed() { # completed WORD...: what bash offers for the last word
  bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
    '"$(sed -n 's/^complete .*-F \([a-z_]*\) meddino$/\1/p' "$bash_file")"' meddino "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"; printf "%s\n" "${COMPREPLY[@]}"' - "$bash_file" "$@" 2>&1
}
same "bash completes a command" "$(completed meddino segm)" segment
same "bash completes an option" "$(completed meddino segment --prob)" --probabilities
same "bash completes values" "$(completed meddino segment --precision "" | tr '\n' ' ')" "f32 bf16 "
touch "$work/volume.nii.gz"
same "bash completes a file" "$(cd "$work" && completed meddino info vol)" volume.nii.gz
for shell in zsh fish; do
  file=$moved/share/zsh/site-functions/_meddino
  [ $shell = zsh ] || file=$moved/share/fish/vendor_completions.d/meddino.fish
  if command -v $shell >/dev/null; then must "$shell -n" $shell -n "$file"; else echo "skipped: $shell is not installed"; fi
done
if command -v zsh >/dev/null; then
  same "zsh loads it for meddino" "$(zsh -f -c 'fpath=($1 $fpath); autoload -Uz compinit && compinit -u -d $2 && print $_comps[meddino] && autoload +X _meddino' - \
    "$moved/share/zsh/site-functions" "$work/zcompdump" 2>&1)" _meddino
fi
if command -v fish >/dev/null; then
  fish_says() { HOME=$work fish --no-config -c "cd '$work'; source '$moved/share/fish/vendor_completions.d/meddino.fish'; complete -C '$1'" 2>/dev/null | cut -f1 | tr '\n' ' '; }
  same "fish completes values" "$(fish_says 'meddino segment --precision ')" "f32 bf16 "
  same "fish completes a file" "$(fish_says 'meddino info vol')" "volume.nii.gz "
  same "fish completes a command" "$(fish_says 'meddino segm')" "segment "
fi
