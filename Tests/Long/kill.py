"""Kills `meddino finetune` at random moments and while it saves, resumes it each time, and compares its files with an uninterrupted run's.

usage: kill.py MEDDINO [--kills 20] [--seed 1]     (MEDDINO: the program; standard library only)
Prints a line per kill, and last "killed runs: N kills, M while saving: same bytes", or what differs with exit 1.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

SETTINGS = {
    "encoder": {"patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3, "n_storage_tokens": 1, "layerscale_init": 0.5},
    "taps": [0, 1], "iterations": 1, "validation_iterations": 1, "batch_size": 2, "save_every": 1, "decoder_lr": 0.003, "encoder_lr": 0.0003}
MODELS = ["model_best.safetensors", "model_final.safetensors"]


def call(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout.strip()[-500:]}")


def metrics(folder):
    """The lines without what a clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({key: value for key, value in row.items() if key != "seconds"}) for row in rows]


def temporaries(folder):
    return [name for name in os.listdir(folder) if ".tmp-" in name] if folder.is_dir() else []


class Killer:
    def __init__(self, command, folder, randomness, startup, epoch):
        self.command, self.folder, self.random = command, folder, randomness
        self.startup, self.epoch = startup, epoch
        self.kills = self.saving = 0

    def start(self, resume):
        command = self.command + (["--resume"] if resume else [])
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill(self, number):
        """One start and its end. Every second one is hit while one of the large files is being written."""
        process = self.start(number > 0)
        if number % 2:
            self.wait(process, "model_best" if number % 8 == 7 else "checkpoint_latest", self.random.randint(1, 3))
            time.sleep(self.random.uniform(0, 0.001))
        else:
            time.sleep(self.random.uniform(0, self.startup + 3 * self.epoch))
        process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1]
        if process.returncode != -signal.SIGKILL:
            sys.exit(f"kill {number + 1}: the run ended by itself with {process.returncode}: {errors.strip()[-500:]}")
        left = temporaries(self.folder)
        self.kills += 1
        self.saving += bool(left)
        done = len(metrics_or_nothing(self.folder))
        print(f"kill {self.kills}: {done} epochs in the metrics{', while it wrote ' + left[0].split('.tmp')[0] if left else ''}", flush=True)

    def wait(self, process, wanted, count):
        """Until the file is being written for the `count`-th time; a best model that is not written again is not waited for."""
        present, times = False, 0
        end = time.time() + (self.startup + 4 * self.epoch if wanted == "model_best" else 120)
        while process.poll() is None and time.time() < end:
            now = any(name.startswith(wanted) and f".tmp-{process.pid}-" in name for name in temporaries(self.folder))
            times += now and not present
            if times >= count:
                return
            present = now


def metrics_or_nothing(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("meddino")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    meddino = os.path.abspath(options.meddino)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        call(meddino, "phantom", folder / "raw", "--cases", 5, "--test-cases", 0, "--organs", 2, "--size", "40,40,3", "--quiet")
        call(meddino, "plan", folder / "raw/Dataset900_Phantom", "-o", folder / "pre", "--upscale", 48, "--quiet")
        settings = dict(SETTINGS, epochs=6 * options.kills + 10)
        (folder / "settings.json").write_text(json.dumps(settings))
        base = [meddino, "finetune", str(folder / "pre/Dataset900_Phantom"), "--config", str(folder / "settings.json"), "--no-validation",
                "--quiet", "--threads", "1"]
        whole, killed = folder / "whole", folder / "killed"
        start = time.time()
        process = subprocess.Popen(base + ["-o", str(whole)])
        while process.poll() is None and not metrics_or_nothing(whole):
            time.sleep(0.002)
        first = time.time() - start
        if process.wait():
            sys.exit(f"the uninterrupted run: exit {process.returncode}")
        epoch = (time.time() - start - first) / (settings["epochs"] - 1)
        killer = Killer(base + ["-o", str(killed)], killed, random.Random(options.seed), max(first - epoch, 0), epoch)
        for number in range(options.kills):
            killer.kill(number)
        call(*killer.command, "--resume")
        different = [name for name in MODELS if (whole / name).read_bytes() != (killed / name).read_bytes()]
        if metrics(whole) != metrics(killed):
            different.append("metrics.jsonl")
        different += temporaries(killed)
        print(f"killed runs: {killer.kills} kills, {killer.saving} while saving: {'different: ' + ', '.join(different) if different else 'same bytes'}")
        if killer.saving == 0:
            sys.exit("no kill hit a save")
        sys.exit(1 if different else 0)


main()
