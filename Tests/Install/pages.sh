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
for shell in zsh fish; do
  file=$moved/share/zsh/site-functions/_meddino
  [ $shell = zsh ] || file=$moved/share/fish/vendor_completions.d/meddino.fish
  if command -v $shell >/dev/null; then must "$shell -n" $shell -n "$file"; else echo "skipped: $shell is not installed"; fi
done
if command -v fish >/dev/null; then
  same "fish completes a command" "$(HOME=$work fish --no-config -c "source '$moved/share/fish/vendor_completions.d/meddino.fish'; complete -C 'meddino segm'" 2>/dev/null | cut -f1)" segment
fi
same "zsh autoloads it for meddino" "$(head -1 "$moved/share/zsh/site-functions/_meddino")" "#compdef meddino"
