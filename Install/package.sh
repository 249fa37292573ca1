#!/bin/bash
# package.sh FOLDER, called by make: a tarball that runs from wherever it is unpacked and, where dpkg-dev is installed, Debian packages:
# libmeddino1 (the library), libmeddino-dev (headers, links, pkg-config, CMake, examples), meddino (the program, alone).
# Variables: those of install.sh; SOURCE_DATE_EPOCH (else the last commit's time), by which the same files give the same packages;
# DEBFULLNAME, DEBEMAIL (else the last commit's author, else the user); REVISION (1); COMPRESSION (xz, of dpkg-deb); LEVEL (9, of
# gzip); ONLY=tar or deb.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
commit() { git -C "$root" log -1 --format="$1" 2>/dev/null || true; }
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(commit %ct)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}
name=${DEBFULLNAME:-$(commit %an)} mail=${DEBEMAIL:-$(commit %ae)}
maintainer="${name:-$(id -un)} <${mail:-$(id -un)@$(uname -n)}>"
archive=(--sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu)

tarball() {
  local name
  name=meddino-$VERSION-linux-$(uname -m)
  PREFIX=$work/$name DESTDIR='' LIBDIR=lib MPI_LIB='' LIST=no "$root/Install/install.sh" install
  tar -C "$work" "${archive[@]}" -c "$name" | gzip -n "-${LEVEL:-9}" >"$out/$name.tar.gz"
  echo "$out/$name.tar.gz"
}

# move PACKAGE PATTERN...: what the package gets of the installed files
move() {
  local path
  for path in "${@:2}"; do
    mkdir -p "$work/$1/$(dirname "$path")"
    mv "$work/all/"$path "$work/$1/$(dirname "$path")/"
  done
}
compress() { gzip -9n <"$1" >"$2"; }

# What every package has: its papers and the permissions of its files.
finish() { # finish PACKAGE OVERRIDES
  local doc=$work/$1/usr/share/doc/$1
  mkdir -p "$doc"
  cp "$root/Install/debian/copyright" "$doc/copyright"
  compress "$root/CHANGELOG.md" "$doc/changelog.gz"
  compress "$work/changelog" "$doc/changelog.Debian.gz"
  mkdir -p "$work/$1/usr/share/lintian/overrides"
  sed "s,@PACKAGE@,$1," "$root/Install/debian/$2.lintian-overrides" >"$work/$1/usr/share/lintian/overrides/$1"
  chmod -R u=rwX,go=rX "$work/$1"
}
# The libraries that a package's programs need, as Depends names them.
shlibs() { # shlibs FILE...
  mkdir -p "$work/source/debian"
  printf 'Source: meddino\n\nPackage: meddino\nArchitecture: any\n' >"$work/source/debian/control"
  (cd "$work/source" && dpkg-shlibdeps -O "${@/#/-e}" 2>"$work/shlibs.log") | sed -n 's/^shlibs:Depends=//p'
}
control() { # control PACKAGE SECTION DEPENDS MULTI-ARCH, the description comes from standard input
  mkdir -p "$work/$1/DEBIAN"
  {
    printf 'Package: %s\nSource: meddino\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' "$1" "$debian" "$architecture" "$maintainer"
    printf 'Installed-Size: %s\nDepends: %s\nSection: %s\nPriority: optional\nMulti-Arch: %s\n' \
      "$(du -k -s --apparent-size --exclude=DEBIAN "$work/$1" | cut -f1)" "$3" "$2" "$4"
    cat
  } >"$work/$1/DEBIAN/control"
  (cd "$work/$1" && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$work/$1/DEBIAN/md5sums"
  find "$work/$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$work/$1" "$out/$1_${debian}_$architecture.deb" >/dev/null
  echo "$out/$1_${debian}_$architecture.deb"
}

deb() {
  local library=libmeddino$ABI lib debian architecture
  debian=$VERSION-${REVISION:-1}
  architecture=$(dpkg --print-architecture)
  lib=lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
  PREFIX=/usr DESTDIR=$work/all LIBDIR=$lib ZSHDIR=share/zsh/vendor-completions MPI_LIB='' LIST=no "$root/Install/install.sh" install
  rm "$work/all/usr/share/doc/meddino/"{LICENSE,CHANGELOG.md,copyright} # as Debian has them, in finish
  find "$work/all/usr/share/man" -name '*.1' -exec gzip -9n {} +
  printf 'meddino (%s) unstable; urgency=medium\n\n  * Packages of version %s, made by make package.\n\n -- %s  %s\n' \
    "$debian" "$VERSION" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$work/changelog"
  move "$library" "usr/$lib/libmeddino.so.*"
  move libmeddino-dev usr/include "usr/$lib/*" usr/share/doc/meddino/examples
  mkdir -p "$work/libmeddino-dev/usr/share/doc/libmeddino-dev"
  mv "$work/libmeddino-dev/usr/share/doc/meddino/examples" "$work/libmeddino-dev/usr/share/doc/libmeddino-dev/"
  rmdir "$work/libmeddino-dev/usr/share/doc/meddino"
  move meddino usr/bin usr/share/man usr/share/bash-completion usr/share/zsh usr/share/fish usr/share/doc/meddino
  local left
  left=$(find "$work/all" ! -type d)
  if [ -n "$left" ]; then echo "package.sh: no package takes: $left" >&2; exit 1; fi
  strip --strip-unneeded -R .comment -R .note "$work/$library/usr/$lib/libmeddino.so.$VERSION" "$work/meddino/usr/bin/meddino"
  finish "$library" libmeddino
  finish libmeddino-dev libmeddino-dev
  finish meddino meddino
  chmod 644 "$work/$library/usr/$lib/libmeddino.so.$VERSION"

  mkdir -p "$work/$library/DEBIAN"
  echo "libmeddino $ABI $library (>= $VERSION)" >"$work/$library/DEBIAN/shlibs"
  echo "activate-noawait ldconfig" >"$work/$library/DEBIAN/triggers"
  control "$library" libs "$(shlibs "$work/$library/usr/$lib/libmeddino.so.$VERSION")" same <"$root/Install/debian/library"
  control libmeddino-dev libdevel "$library (= $debian)" same <"$root/Install/debian/dev"
  control meddino science "$(shlibs "$work/meddino/usr/bin/meddino")" foreign <"$root/Install/debian/program"
}

[ "${ONLY:-tar}" != tar ] || tarball
if [ "${ONLY:-deb}" = deb ]; then
  if command -v dpkg-shlibdeps >/dev/null && command -v dpkg-architecture >/dev/null; then deb; else
    echo "no Debian packages: dpkg-shlibdeps is missing (apt-get install dpkg-dev)" >&2
    [ "${ONLY:-}" != deb ]
  fi
fi
