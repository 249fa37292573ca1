# Sourced by the tests of the command line: a folder of their own to work in, and checks that are counted.
# Needs nothing (json_lines: python3), sets work, passed, failed, and goes to $work.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
passed=0
failed=0
# check NAME EXPECTED-EXIT COMMAND...
check() {
  local name=$1 expected=$2
  shift 2
  "$@" >out.txt 2>err.txt </dev/null
  local code=$?
  if [ "$code" = "$expected" ]; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED $name: exit $code, expected $expected: $(head -c 300 err.txt)"
  fi
}
holds() { # holds NAME TEST...
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED $name"
  fi
}
json_lines() { # json_lines FILE: every line is a JSON value of its own
  python3 -c 'import json, sys
lines = open(sys.argv[1]).read().splitlines()
assert lines
for line in lines: json.loads(line)' "$1"
}
