#!/bin/bash
# install.sh install|uninstall, called by make: copies what was built to DESTDIR+PREFIX, or takes away what it copied.
# Variables: PREFIX, DESTDIR, LIBDIR (beneath PREFIX), ZSHDIR (beneath PREFIX), VERSION, ABI, LIB, CLI, MPI_LIB; LIST=no keeps no list.
# The list share/meddino/installed-files has every file and every folder that was made, relative to the prefix, so that uninstall
# works after a move too. Files of an earlier installation stay on it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${DESTDIR:-}${PREFIX:?}
list=share/meddino/installed-files
made=()
umask 022

folder() { # folder PATH: makes it; what did not exist is ours
  local path=$1 missing=()
  while [ ! -d "$target/$path" ]; do
    missing=("$path/" "${missing[@]}")
    [ "$path" != . ] || break
    path=$(dirname "$path")
  done
  install -d -m 755 "$target/$1"
  made+=("${missing[@]}")
}
put() { # put MODE SOURCE PATH [OPTION...]: a file, replaced as a whole
  folder "$(dirname "$3")"
  install "${@:4}" -m "$1" "$2" "$target/$3"
  made+=("$3")
}
link() { # link WHAT PATH
  folder "$(dirname "$2")"
  ln -sfn "$1" "$target/$2"
  made+=("$2")
}
fill() { # fill TEMPLATE PATH: replaces the @NAMES@
  sed "s,@PC_PREFIX@,$pc_prefix,; s,@UP@,$up,g; s,@LIBDIR@,$LIBDIR,g; s,@VERSION@,$VERSION,g; s,@MAJOR@,${VERSION%%.*},g; s,@ABI@,$ABI,g" \
    "$root/Install/$1" >"$work/filled"
  put 644 "$work/filled" "$2"
}

library() {
  # From LIBDIR/pkgconfig back to the prefix. In /usr nothing moves, and absolute folders are what pkg-config knows as the system's.
  up=$(sed 's,[^/]*,..,g' <<<"$LIBDIR/pkgconfig")
  pc_prefix="\${pcfiledir}/$up"
  [ "$PREFIX" != /usr ] || pc_prefix=/usr
  put 755 "$LIB" "$LIBDIR/libmeddino.so.$VERSION" -s
  link "libmeddino.so.$VERSION" "$LIBDIR/libmeddino.so.$ABI"
  link "libmeddino.so.$ABI" "$LIBDIR/libmeddino.so"
  for header in meddino.h meddino.hpp $(cd "$root/include" && ls meddino/*.hpp); do put 644 "$root/include/$header" "include/$header"; done
  fill meddino.pc.in "$LIBDIR/pkgconfig/meddino.pc"
  fill cmake/meddinoConfig.cmake.in "$LIBDIR/cmake/meddino/meddinoConfig.cmake"
  fill cmake/meddinoConfigVersion.cmake.in "$LIBDIR/cmake/meddino/meddinoConfigVersion.cmake"
}
program() {
  put 755 "$CLI" bin/meddino -s
  if [ -n "${MPI_LIB:-}" ] && [ -f "$MPI_LIB" ]; then put 755 "$MPI_LIB" lib/libmeddino_mpi.so; fi
  local date page
  date=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}" +%F)
  python3 -B "$root/Install/manpages.py" "$CLI" "$VERSION" "$date" "$root/docs/command-line.md" "$work/man"
  for page in "$work"/man/*.1; do put 644 "$page" "share/man/man1/$(basename "$page")"; done
  "$CLI" --generate-completion-script bash | sed '1{/^#!/d}' >"$work/bash" # it is sourced
  "$CLI" --generate-completion-script zsh >"$work/zsh"
  "$CLI" --generate-completion-script fish >"$work/fish"
  put 644 "$work/bash" share/bash-completion/completions/meddino
  put 644 "$work/zsh" "$ZSHDIR/_meddino"
  put 644 "$work/fish" share/fish/vendor_completions.d/meddino.fish
}
page() { # page FILE: a document whose links to examples and headers are those of the installed places
  local up=../../../
  case $1 in docs/*) up=../$up ;; esac
  sed -E "s,(\]\((\.\./)?)Examples/,\1examples/,g; s,\]\((\.\./)?include/,](${up}include/,g" "$root/$1" >"$work/page"
  put 644 "$work/page" "share/doc/meddino/$1"
}
documents() {
  local file
  put 644 "$root/LICENSE" share/doc/meddino/LICENSE
  for file in README.md CHANGELOG.md CONTRIBUTING.md; do page "$file"; done
  for file in "$root"/docs/*.md; do page "docs/$(basename "$file")"; done
  put 644 "$root/Examples/demo-training.json" share/doc/meddino/examples/demo-training.json
  put 644 "$root/Install/debian/copyright" share/doc/meddino/copyright
  for file in "$root"/Examples/{c,cpp,python,python/meddino}/*.{c,cpp,py,md,typed}; do
    if [ -f "$file" ]; then put 644 "$file" "share/doc/meddino/examples/${file#"$root/Examples/"}"; fi
  done
}

install_all() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  made=()
  library
  program
  documents
  if [ "${LIST:-yes}" = no ]; then return; fi
  folder "$(dirname $list)"
  made+=("$list")
  { if [ -f "$target/$list" ]; then cat "$target/$list"; fi; printf '%s\n' "${made[@]}"; } | LC_ALL=C sort -u >"$work/list"
  install -m 644 "$work/list" "$target/$list"
}

uninstall_all() {
  if [ ! -f "$target/$list" ]; then
    echo "uninstall: $target/$list is missing: nothing was installed here by make install" >&2
    exit 1
  fi
  local paths path
  mapfile -t paths < <(LC_ALL=C sort -r "$target/$list") # what lies in a folder before the folder
  for path in "${paths[@]}"; do
    case $path in
    "" | /* | .. | ../* | */../* | */..) echo "uninstall: \"$path\" in $target/$list is no path beneath the prefix; left alone" >&2 ;;
    ./) rmdir "$target" 2>/dev/null || true ;;
    */) if [ -d "$target/$path" ]; then rmdir "$target/$path" 2>/dev/null || true; fi ;; # others may have put something there
    *) rm -f "$target/$path" ;;
    esac
  done
}

case ${1:-} in
install) install_all ;;
uninstall) uninstall_all ;;
*) echo "install.sh install|uninstall" >&2; exit 64 ;;
esac
