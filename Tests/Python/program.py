"""What the heavier proofs share: checks that print a line each, and calls of the installed program. Standard library only."""
import os
import subprocess


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def line(self, good, name, text):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {text}", flush=True)


def meddino(stage, *arguments):
    """What `STAGE/bin/meddino ARGUMENTS` prints; ends the script where it fails."""
    command = [os.path.join(stage, "bin/meddino"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"FAIL {' '.join(command)}\n     exit {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
