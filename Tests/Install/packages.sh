# Sourced by run.sh: the tarball and the Debian packages. Needs work, version, abi. LINTIAN=1 runs lintian too, which takes long.
must "tarball" from_stage package-files PACKAGES="$work/packages" ONLY=tar LEVEL=1
must "unpack the tarball" tar -C "$work" -xf "$work/packages/meddino-$version-linux-$(uname -m).tar.gz"
same "the program of the tarball" "$(env -i "$work/meddino-$version-linux-$(uname -m)/bin/meddino" --version)" "$version"
PKG_CONFIG_PATH=$work/meddino-$version-linux-$(uname -m)/lib/pkgconfig consumers "of the tarball" "$work/meddino-$version-linux-$(uname -m)/lib"

debian_packages() {
  local deb folder system=$work/system lib architecture names="libmeddino$abi libmeddino-dev meddino"
  export SOURCE_DATE_EPOCH=1700000000
  must "Debian packages" from_stage package-files PACKAGES="$work/packages" ONLY=deb COMPRESSION=none
  must "Debian packages again" from_stage package-files PACKAGES="$work/again" ONLY=deb COMPRESSION=none
  unset SOURCE_DATE_EPOCH
  architecture=$(dpkg --print-architecture)
  lib=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
  for name in $names; do
    deb=$work/packages/${name}_$version-1_$architecture.deb folder=$work/unpacked/$name
    must "$name twice the same" cmp "$deb" "$work/again/$(basename "$deb")"
    mkdir -p "$folder"
    must "unpack $name" dpkg-deb -R "$deb" "$folder"
    must "sums of $name" bash -c 'cd "$1" && md5sum --quiet -c DEBIAN/md5sums && [ "$(wc -l <DEBIAN/md5sums)" = "$(find usr -type f | wc -l)" ]' - "$folder"
    must "copyright of $name" grep -q '^License: Apache-2.0$' "$folder/usr/share/doc/$name/copyright"
    must "owners of $name" bash -c '! dpkg-deb -c "$1" | grep -v " root/root "' - "$deb"
  done
  field() { dpkg-deb -f "$work/packages/${1}_$version-1_$architecture.deb" "$2"; }
  same "what the library depends on" "$(field libmeddino$abi Depends | sed 's/ ([^)]*)//g')" "libc6, libgcc-s1, libstdc++6"
  same "what the program depends on" "$(field meddino Depends | sed 's/ ([^)]*)//g')" "libc6, libgcc-s1, libstdc++6"
  same "what the headers depend on" "$(field libmeddino-dev Depends)" "libmeddino$abi (= $version-1)"
  same "shlibs" "$(cat "$work/unpacked/libmeddino$abi/DEBIAN/shlibs")" "libmeddino $abi libmeddino$abi (>= $version)"
  same "triggers" "$(cat "$work/unpacked/libmeddino$abi/DEBIAN/triggers")" "activate-noawait ldconfig"

  # In a system of its own; dependencies are this machine's. Without root the packages are only unpacked.
  mkdir -p "$system/var/lib/dpkg/info" "$system/var/lib/dpkg/updates"
  touch "$system/var/lib/dpkg/status" "$system/var/lib/dpkg/available"
  local dpkg=(dpkg "--root=$system" --force-not-root --force-bad-path --force-depends --force-script-chrootless --log=/dev/null)
  if [ "$(id -u)" = 0 ]; then
    must "dpkg --install" "${dpkg[@]}" --install "$work"/packages/*.deb
    same "installed" "$("${dpkg[@]}" -l | grep -c '^ii .*meddino')" 3
  else
    echo "skipped: dpkg --install in a folder needs root"
    for deb in "$work"/packages/*.deb; do must "dpkg-deb -x" dpkg-deb -x "$deb" "$system"; done
  fi
  same "the packaged program" "$(env -i "$system/usr/bin/meddino" --version)" "$version"
  PKG_CONFIG_LIBDIR=$system/$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$system PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
    consumers "of the packages" "$system/$lib"
  if [ "$(id -u)" = 0 ]; then
    must "dpkg --purge" "${dpkg[@]}" --purge $names
    same "nothing is left of the packages" "$(files "$system" | grep -v '^var/lib/dpkg/')" ""
  fi
  if [ "${LINTIAN:-}" = 1 ]; then must "lintian" lintian --allow-root --fail-on error,warning "$work"/packages/*.deb; fi
}
if command -v dpkg-deb >/dev/null && command -v dpkg-shlibdeps >/dev/null; then debian_packages; else
  echo "skipped: Debian packages need dpkg-dev"
fi
