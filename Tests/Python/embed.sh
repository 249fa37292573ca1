#!/bin/bash
# embed.sh STAGE: builds the wheel, installs it in virtual environments where nothing can be compiled, without an index but for numpy, and
# runs the Python tests there; then next to PyTorch, SimpleITK, nibabel and matplotlib with MEDDINO_PEERS, or what make test-oracle made.
# MEDDINO_PYTHONS: the pythons to take, else the oldest and the newest of those on PATH, of pyenv and of uv, from 3.9 on. mypy looks at the package
# where it can be installed. Nothing is written outside a temporary folder.
set -u
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset MEDDINO_LIBRARY PYTHONPATH LD_LIBRARY_PATH
passed=0 failed=0 last=

good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $1"; }
must() { # must WHAT COMMAND...: it succeeds; its output is shown when it does not
  local what=$1 output
  shift
  if output=$("$@" 2>&1); then good; else bad "$what"; echo "$output" | tail -40; fi
}
# tests NAME PYTHON [SCRIPT...]: test scripts with the installed package, warnings being errors
tests() {
  local name=$1 python=$2 script output status last
  shift 2
  for script in "${@:-$here/test_*.py}"; do
    for script in $script; do
      output=$(cd "$work" && MEDDINO_INSTALLED=1 timeout 300 "$python" -W error -B "$script" 2>&1)
      status=$?
      echo "$output" | sed "s/^/$name: /" | tail -20
      last=$(echo "$output" | grep -oE '[0-9]+ passed, [0-9]+ failed' | tail -1)
      if [ -z "$last" ]; then bad "$name: $(basename "$script") ended with status $status and no count"; continue; fi
      passed=$((passed + ${last%% *}))
      failed=$((failed + $(echo "$last" | awk '{print $3}')))
      [ "$status" = 0 ] || [ "$(echo "$last" | awk '{print $3}')" != 0 ] || bad "$name: $(basename "$script") ended with status $status"
    done
  done
}
# Pythons from 3.9 on with venv and ctypes, one a minor version, oldest first.
pythons() {
  local one
  for one in ${MEDDINO_PYTHONS:-python3 $(compgen -c python3. | grep -E '^python3\.[0-9]+$' | sort -u) "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 \
    "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/cpython-3.*/bin/python3}; do
    "$one" -c 'import sys, ctypes, venv, ensurepip; assert sys.version_info >= (3, 9); print("%d %s" % (sys.version_info[1], sys.executable))' 2>/dev/null
  done | sort -n -k 1,1 -u
}
# environment NAME PYTHON NUMPY: a virtual environment with numpy and the wheel; 1 where that numpy cannot be had
environment() {
  local venv=$work/$1
  "$2" -m venv "$venv" || return 1
  "$venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$3" 2>"$work/pip.log" || return 1
  numpy=$("$venv/bin/python" -c 'import numpy; print(numpy.__version__)')
  # Nothing but the environment's own programs on PATH: no compiler.
  must "$1: install without an index" env -i PATH="$venv/bin" HOME="$work" CC=/bin/false "$venv/bin/pip" install -q --disable-pip-version-check \
    --no-index --find-links "$work/dist" meddino
  must "$1: pip check" "$venv/bin/pip" check
}

must "build the wheel" "${MEDDINO_PYTHON:-python3}" -W error -B "$root/Examples/python/backend/meddino_wheel.py" --library "$stage/lib/libmeddino.so" --output "$work/dist"
wheel=$(compgen -G "$work/dist/*.whl") || { echo "no wheel"; exit 1; }
echo "$(basename "$wheel"): $(stat -c %s "$wheel") bytes"

mapfile -t found < <(pythons)
[ "${#found[@]}" -gt 0 ] || { echo "no Python from 3.9 on with venv, ctypes and ensurepip"; exit 1; }
oldest=${found[0]#* } newest=${found[-1]#* }
[ "$oldest" != "$newest" ] || echo "only one Python here: $oldest"
try() { # try PYTHON NUMPY: makes an environment and runs the tests in it; 1 where it cannot be had
  local name
  name="py$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$(sed 's/</-before-/; s/[=>]\+/-/' <<<"$2")"
  environment "$name" "$1" "$2" || { echo "skipped: $1 with $2: $(tail -1 "$work/pip.log")"; return 1; }
  tests "$name ($numpy)" "$work/$name/bin/python"
  last=$work/$name
}
# The oldest numpy where it exists, numpy 2 on the same Python, numpy 1 on the newest Python that it has, and the newest of both.
try "$oldest" "numpy==1.22.4"
try "$oldest" "numpy>=2"
for ((at = ${#found[@]} - 1; at >= 0; at--)); do if try "${found[at]#* }" "numpy<2"; then break; fi; done
try "$newest" "numpy>=2"
[ -n "$last" ] || bad "no virtual environment with numpy could be made"

# Types, with the last environment that was made.
if [ -z "$last" ]; then
  echo "skipped: mypy: no environment"
elif "$last/bin/pip" install -q --disable-pip-version-check --only-binary :all: mypy 2>"$work/pip.log"; then
  must "mypy --strict" bash -c 'cd "$1/Examples/python" && "$2" -m mypy --strict --cache-dir "$3" -p meddino' - "$root" "$last/bin/python" "$work/mypy"
  must "mypy --strict of a host with the installed package" "$last/bin/python" -m mypy --strict --cache-dir "$work/mypy" "$here/typed_host.py"
  must "mypy --strict of the backend" bash -c 'cd "$1/Examples/python/backend" && "$2" -m mypy --strict --cache-dir "$3" elf_needs.py meddino_wheel.py' - "$root" "$last/bin/python" "$work/mypy"
else
  echo "skipped: mypy: $(tail -1 "$work/pip.log")"
fi

# A source archive has no library and takes the system's.
[ -n "$last" ] && "$last/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' &&
  must "install from the source folder" env MEDDINO_LIBRARY= "$last/bin/pip" install -q --disable-pip-version-check --no-index --no-deps --force-reinstall "$root/Examples/python" &&
  must "the system's library" env LD_LIBRARY_PATH="$stage/lib" "$last/bin/python" -B -c 'import meddino; assert meddino.load() == "libmeddino.so.1"; meddino.Context()'

peers=${MEDDINO_PEERS:-$root/.build-peers/bin/python}
if [ -n "${MEDDINO_PEERS:-}" ] || [ -x "$peers" ]; then
  # Beside the environment of the peers, which is left as it is.
  target=$work/peers/site-packages
  must "unpack for the peers" "$peers" -m pip install -q --disable-pip-version-check --no-index --no-deps --target "$target" "$wheel"
  export PYTHONPATH=$target
  tests "peers" "$peers" "$here/test_torch.py" "$here/test_volumes.py"
else
  echo "skipped: PyTorch, SimpleITK, nibabel, matplotlib: MEDDINO_PEERS names no python that has them, and make test-oracle made none"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
