"""Kills `meddino pretrain` at random moments and while it saves, in each of the three stages, and compares its files with those of a run
that was left alone.

usage: kill_pretraining.py MEDDINO [--kills 8] [--seed 1]     (MEDDINO: the program; standard library only)
Prints a line per stage, and last "killed pretraining: N kills, M while saving: same bytes", or what differs with exit 1.
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

SMALL = {
    "student": {"embed_dim": 32, "depth": 2, "num_heads": 2, "drop_path_rate": 0.2, "pos_embed_rope_rescale_coords": 2},
    "dino": {"head_n_prototypes": 64, "head_bottleneck_dim": 16, "head_hidden_dim": 32},
    "ibot": {"head_n_prototypes": 64, "head_bottleneck_dim": 16, "head_hidden_dim": 32},
    "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 1}, "teacher_temp": {"warmup_epochs": 1}},
    "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
    "train": {"batch_size_per_gpu": 2, "OFFICIAL_EPOCH_LENGTH": 20, "num_workers": 2}, "optim": {"epochs": 3},
    "checkpointing": {"period": 3, "max_to_keep": 2}, "evaluation": {"eval_period_iterations": 25}}
ANCHORED = {
    **SMALL, "crops": {**SMALL["crops"], "gram_teacher_crops_size": 48},
    "gram": {"use_loss": True, "img_level": True, "update_frequency": 7, "it_first_update": 7, "max_updates": 3,
             "loss_weight_schedule": {"start": 0, "peak": 0, "end": 2, "warmup_epochs": 0, "cosine_epochs": 1}}}
MIXED = {
    **SMALL, "crops": {
        "global_crops_size": [32, 48], "local_crops_size": [16, 24], "gram_teacher_crops_size": [48, 64],
        "global_local_crop_pairs_ratios": [0.5, 0.5], "local_crops_number": 2},
    "gram": {"use_loss": True, "img_level": True, "rep_update": False, "loss_weight": 1.5}}
EXPORTS = ["teacher_checkpoint.safetensors", "teacher_checkpoint.pth", "backbone.safetensors"]


def call(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout.strip()[-500:]}")


def metrics(folder):
    """The lines without what a clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def temporaries(folder):
    return [path.name for path in folder.rglob("*") if ".tmp-" in path.name] if folder.is_dir() else []


def kill(command, folder, moment, waits_for_file):
    """One start and its end; whether a file was being written. None: the run was faster."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    start = time.time()
    while time.time() - start < moment and process.poll() is None:
        time.sleep(0.0005)
    while waits_for_file and process.poll() is None and not temporaries(folder):
        pass
    process.send_signal(signal.SIGKILL)
    errors = process.communicate()[1]
    if process.returncode == 0:
        return None
    if process.returncode != -signal.SIGKILL:
        sys.exit(f"a run that was started again ended with {process.returncode}: {errors.strip()[-500:]}")
    return bool(temporaries(folder))


def compare(stage, whole, killed):
    problems = []
    for name in sorted(os.listdir(whole / "eval")):
        for export in EXPORTS:
            one, other = whole / "eval" / name / export, killed / "eval" / name / export
            if not other.is_file() or one.read_bytes() != other.read_bytes():
                problems.append(f"eval/{name}/{export} differs")
    last = sorted(path.name for path in whole.glob("pretraining_*.safetensors"))[-1]
    if (whole / last).read_bytes() != (killed / last).read_bytes():
        problems.append(last + " differs")
    if metrics(whole) != metrics(killed):
        problems.append("metrics.jsonl differs")
    if temporaries(killed):
        problems.append("left: " + ", ".join(temporaries(killed)))
    if problems:
        sys.exit(f"stage {stage}: " + "; ".join(problems))
    return last


def main():
    options = argparse.ArgumentParser()
    options.add_argument("meddino")
    options.add_argument("--kills", type=int, default=8, help="of each stage")
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    meddino, randomness = os.path.abspath(options.meddino), random.Random(options.seed)
    kills = saving = 0
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "ct").mkdir()
        for seed in (1, 2):
            call(meddino, "phantom", root / f"ct/v{seed}.nii.gz", "--single", "--size", "64,64,8", "--seed", seed, "--quiet")
        previous = None
        for stage, settings in enumerate((SMALL, ANCHORED, MIXED), 1):
            config = root / f"stage{stage}.json"
            config.write_text(json.dumps(settings))
            command = [meddino, "pretrain", str(root / "ct"), "--preset", "tiny", "--config", str(config), "--quiet"]
            if previous is not None:
                command += ["--previous", str(previous)]
            whole, killed = root / f"whole{stage}", root / f"killed{stage}"
            start = time.time()
            call(*command, "-o", whole)
            seconds = time.time() - start
            hits = writing = 0
            for number in range(options.kills):
                # What a killed start gets done is about a moment's length, so that the run does not end before its last kill.
                moment = randomness.uniform(0, seconds / options.kills * 1.5)
                found = kill(command + ["-o", str(killed)], killed, moment, number % 2 == 1)
                if found is None:
                    break
                hits, writing = hits + 1, writing + found
            call(*command, "-o", killed)
            last = compare(stage, whole, killed)
            previous = whole / last
            kills, saving = kills + hits, saving + writing
            print(f"stage {stage}: {hits} kills, {writing} while saving, {len(metrics(whole))} iterations: same bytes", flush=True)
    if saving == 0 or kills < 3 * options.kills // 2:
        sys.exit(f"only {kills} kills, {saving} of them while saving: too few to prove anything")
    print(f"killed pretraining: {kills} kills, {saving} while saving: same bytes")


main()
