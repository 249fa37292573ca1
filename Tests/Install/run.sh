#!/bin/bash
# run.sh STAGE: make install, uninstall and package with the built files of STAGE, in a temporary folder and nowhere else; what was
# installed found by pkg-config and CMake from C and C++, moved, without LD_LIBRARY_PATH; manual pages, completions, Debian packages.
# What needs cmake, mandoc, zsh, fish or dpkg-dev is skipped with a word where they are missing.
set -u
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset LD_LIBRARY_PATH PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR MEDDINO_LIBRARY PREFIX DESTDIR LIBDIR ZSHDIR
. "$here/checks.sh"
version=$(awk '/define MEDDINO_VERSION_(MAJOR|MINOR|PATCH)/{v=v s $3; s="."} END{print v}' "$stage/include/meddino.h")
abi=$(awk '/define MEDDINO_ABI_VERSION/{print $3}' "$stage/include/meddino.h")
list=share/meddino/installed-files

# consumers NAME LIBDIR: C and C++ programs as README says, with what pkg-config finds; both must run.
consumers() {
  local flags
  flags=$(pkg-config --cflags --libs meddino) || { bad "pkg-config $1"; return; }
  eval "flags=($flags)"
  must "compile C $1" gcc -std=c99 -Wall -Wextra -pedantic -Werror "$here/consumer.c" -o "$work/c" "${flags[@]}" "-Wl,-rpath,$2"
  must "compile C++ $1" g++ -std=c++11 -Wall -Wextra -pedantic -Werror "$here/consumer.cpp" -o "$work/cpp" "${flags[@]}" "-Wl,-rpath,$2"
  same "run C $1" "$("$work/c" 2>&1)" C
  same "run C++ $1" "$("$work/cpp" 2>&1)" C++
  same "library $1" "$(readelf -dW "$work/c" | sed -n 's/.*NEEDED.*\[\(libmeddino.*\)\]/\1/p')" "libmeddino.so.$abi"
}

# A first installation, staged by DESTDIR.
dest=$work/dest prefix=$work/dest/opt/meddino
must "install" from_stage install-files PREFIX=/opt/meddino DESTDIR="$dest"
same "everything installed is on the list" "$(files "$prefix")" "$(grep -v '/$' "$prefix/$list")"
for path in bin/meddino lib/libmeddino.so.$version include/meddino.h include/meddino.hpp include/meddino/core.hpp lib/pkgconfig/meddino.pc \
  lib/cmake/meddino/meddinoConfig.cmake share/man/man1/meddino.1 share/doc/meddino/LICENSE share/doc/meddino/copyright share/doc/meddino/docs/install.md \
  share/doc/meddino/examples/c/segment.c share/doc/meddino/examples/python/meddino/__init__.py share/bash-completion/completions/meddino share/zsh/site-functions/_meddino \
  share/fish/vendor_completions.d/meddino.fish; do must "$path" test -s "$prefix/$path"; done
for page in "$prefix"/share/doc/meddino/{,docs/}*.md; do
  while read -r link; do must "$link of $(basename "$page")" test -e "$(dirname "$page")/$link"; done \
    < <(grep -oE '\]\([^):# ]+' "$page" | cut -c3- | sort -u)
done
same "link of the ABI" "$(readlink "$prefix/lib/libmeddino.so.$abi")" "libmeddino.so.$version"
same "link of the linker" "$(readlink "$prefix/lib/libmeddino.so")" "libmeddino.so.$abi"
same "soname" "$(readelf -dW "$prefix/lib/libmeddino.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')" "libmeddino.so.$abi"
must "no path of the staging folder is inside" bash -c '! grep -rlF "$1" "$2"' - "$work" "$prefix"
same "the program" "$(env -i "$prefix/bin/meddino" --version)" "$version"
needed=$(readelf -dW "$prefix/bin/meddino" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
same "libraries that the program needs" "$(grep -vE '^(lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+)\.so\..*|ld-linux.*)$' <<<"$needed")" ""

# pkg-config where it was staged, by a system root, and after a move.
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
same "version of pkg-config" "$(pkg-config --modversion meddino)" "$version"
consumers "staged" "$(pkg-config --variable=libdir meddino)"
PKG_CONFIG_SYSROOT_DIR=$dest consumers "by a system root" "$prefix/lib"
moved="$work/moved place"
mv "$prefix" "$moved"
export PKG_CONFIG_PATH="$moved/lib/pkgconfig"
consumers "moved" "$moved/lib"
same "the program, moved" "$(env -i "$moved/bin/meddino" --version)" "$version"
unset PKG_CONFIG_PATH

. "$here/cmake.sh"
. "$here/pages.sh"

# Uninstall: after a move, twice over the same place, beside the files of others.
must "install over it" from_stage install-files PREFIX="$moved"
must "uninstall after a move" from_stage uninstall PREFIX="$moved"
must "nothing is left" test ! -e "$moved"
fails "uninstall of nothing" "installed-files is missing" from_stage uninstall PREFIX="$moved"
mkdir -p "$dest/usr/local/share/doc/meddino" "$dest/usr/local/lib"
echo mine | tee "$dest/usr/local/share/doc/meddino/notes" >"$dest/usr/local/lib/libother.so"
find "$dest/usr" | LC_ALL=C sort >"$work/before"
must "install beside others" from_stage install-files PREFIX=/usr/local DESTDIR="$dest" LIBDIR=lib64
must "LIBDIR" test -s "$dest/usr/local/lib64/libmeddino.so"
PKG_CONFIG_PATH=$dest/usr/local/lib64/pkgconfig consumers "in lib64" "$dest/usr/local/lib64"
printf '../../../outside\n/outside\n' >>"$dest/usr/local/$list"
echo mine >"$work/outside"
must "uninstall beside others" from_stage uninstall PREFIX=/usr/local DESTDIR="$dest"
same "paths beyond the prefix are refused" "$(grep -c 'outside" .* is no path beneath the prefix' "$work/out")" 2
same "what was there stays" "$(find "$dest/usr" | LC_ALL=C sort)" "$(cat "$work/before")"
must "and outside" test -s "$work/outside"

. "$here/packages.sh"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
