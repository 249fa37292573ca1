# Sourced by run.sh: the CMake package, from the moved prefix. Needs moved, version, abi.
if command -v cmake >/dev/null; then
  must "cmake" cmake -Wno-dev -S "$here/cmake" -B "$work/cmake" "-DCMAKE_PREFIX_PATH=$moved" -DREQUEST="$version" -DABI="$abi" \
    "-DCMAKE_INSTALL_PREFIX=$work/installed" -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON
  must "cmake --build" cmake --build "$work/cmake"
  same "run C of CMake" "$("$work/cmake/consumer_c" 2>&1)" C
  same "run C++ of CMake" "$("$work/cmake/consumer_cpp" 2>&1)" C++
  must "cmake --install" cmake --install "$work/cmake"
  same "run what CMake installed" "$("$work/installed/bin/consumer_c" 2>&1)$("$work/installed/bin/consumer_cpp" 2>&1)" CC++
  # What is asked for, and whether this version serves it.
  IFS=. read -r major minor patch <<<"$version"
  answers() { # answers REQUEST COMPONENTS EXPECTED-TEXT
    local answer
    answer=$(cmake -Wno-dev -S "$here/request" -B "$work/request" "-DCMAKE_PREFIX_PATH=$moved" "-DREQUEST=$1" "-DCOMPONENTS=$2" 2>&1 | grep -A3 'answer:')
    rm -rf "$work/request"
    if grep -qF -- "$3" <<<"$answer"; then good; else bad "find_package(meddino $1 COMPONENTS $2): $answer, expected $3"; fi
  }
  answers "" "" found
  answers "$major" "" found
  answers "$major.$minor" C found
  answers "$version" "C;CXX" found
  answers "$version;EXACT" "" found
  answers "$major.$minor.$((patch + 1))" "" "considered $version"
  answers "$major.$((minor + 1))" "" "considered $version"
  answers "$((major + 1)).0" "" "considered $version"
  answers "" Rust "component Rust is unknown, expected C or CXX"
  if [ "$(cmake --version | awk 'NR==1{split($3, v, "."); print (v[1] * 100 + v[2] >= 319)}')" = 1 ]; then
    answers "$major.$minor...$((major + 1))" "" found
    answers "$major.$((minor + 1))...<$((major + 1))" "" "considered $version"
    answers "$major.0.0...<$version" "" "considered $version"
  fi
  mv "$moved/lib/libmeddino.so.$version" "$work/away"
  answers "" "" "the installation is incomplete: $moved/lib/libmeddino.so.$version is missing"
  mv "$work/away" "$moved/lib/libmeddino.so.$version"
else
  echo "skipped: cmake is not installed"
fi
