"""Kills `meddino curate` at random moments, starts it again each time, and compares the files with an uninterrupted run's.

usage: kill_curation.py MEDDINO [--kills 20] [--seed 1]     (MEDDINO: the program; standard library only)
Prints "killed curations: N kills, M amid the work: same bytes", or what differs with exit 1.
"""
import argparse
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and ".lock" != path.name}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("meddino")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        (work / "source").mkdir()
        for number in range(6):
            subprocess.run(
                [options.meddino, "phantom", str(work / "source" / ("v%d.nii.gz" % number)), "--single", "--size", "64,64,24", "--seed",
                 str(number), "--quiet"], check=True)
        command = [options.meddino, "curate", str(work / "source"), "", "--shard-slices", "7", "--size", "128", "--quiet"]
        command[3] = str(work / "whole")
        start = time.monotonic()
        subprocess.run(command, check=True)
        whole = time.monotonic() - start
        expected = files(work / "whole")
        kills = amid = round_number = 0
        while kills < options.kills:
            round_number += 1
            command[3] = str(work / ("killed%d" % round_number))
            finished = False
            while not finished and kills < options.kills:
                process = subprocess.Popen(command, stderr=subprocess.PIPE)
                try:
                    _, said = process.communicate(timeout=draw.uniform(0, whole))
                    if process.returncode != 0:
                        sys.exit("a run that was killed before does not go on: %s" % said.decode())
                    finished = True
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    kills += 1
                    part = pathlib.Path(command[3]) / "source"
                    amid += any(part.glob("resume/shard-*.json")) and not (part / "set.json").exists()
            subprocess.run(command, check=True)
            found = files(pathlib.Path(command[3]))
            for name in sorted(set(expected) | set(found)):
                if expected.get(name) != found.get(name):
                    sys.exit("after %d kills %s differs" % (kills, name))
        if amid == 0:
            sys.exit("no kill came amid the work")
        print("killed curations: %d kills, %d amid the work: same bytes" % (kills, amid))


main()
