"""The three stages of pretraining on real slices, then few-shot segmentation with the frozen features of each.

usage: stages.py FOLDER --stage STAGE [--minutes 30] [--seeds 3] [--shots 4]
Every CT volume of the data folder becomes slices (`meddino curate`); stages 1, 2 and 3 share --minutes as 6 : 2 : 2, after short runs
that measure how long an iteration takes. `meddino probe` then reads eight organs off frozen patch tokens, from random weights and after
each stage. Needs SimpleITK to read NRRD, MetaImage and DICOM.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import time

import blocks
import SimpleITK

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import meddino

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("MEDDINO_DATA", ROOT.parent / "shared/data"))
FILES = {
    "abdpelvis": "ts-abdpelvis-ct/ct.nii.gz", "thigh": "sts004-thigh-ct-mr/CT_image.nii.gz", "lung": "elastix-lung-baseline/3DCT_lung_baseline.mha",
    "chest": "cip-lung64-nrrd/ct-64.nrrd"}
SERIES = {"abdomen": "crlm1004-abdomen-dicom", "head": "ge-head-tilt-dicom"}
SHARES = {"1": 0.6, "2": 0.2, "3": 0.2}

STUDENT = {"embed_dim": 128, "depth": 4, "num_heads": 4, "layerscale": 1.0, "drop_path_rate": 0.0}
GRAM = {"use_loss": True, "img_level": True}
HEAD = {"head_bottleneck_dim": 64, "head_hidden_dim": 256}
#: What differs from the preset `tiny`. Few prototypes and a sharp teacher: among hundreds and at the usual temperature the assignments of
#: a short run's small batches never leave the uniform one.
COMMON = {
    "student": STUDENT, "dino": {**HEAD, "head_n_prototypes": 64}, "ibot": {**HEAD, "head_n_prototypes": 128},
    "optim": {"layerwise_decay": 1.0}, "train": {"batch_size_per_gpu": 16}}
TEMPERATURE = {"start": 0.03, "peak": 0.03, "end": 0.03, "warmup_epochs": 0}


def rate(peak, warmup):
    return {"lr": {"start": 0, "peak": peak, "end": 1e-5, "warmup_epochs": warmup, "freeze_last_layer_epochs": 0}, "teacher_temp": TEMPERATURE}


#: Stage 2 anchors to the teacher of stage 1 at twice the resolution, stage 3 adds larger crops.
STAGES = {
    "1": {"crops": {"global_crops_size": 96, "local_crops_size": 48}, "schedules": rate(2e-3, 2)},
    "2": {
        "crops": {"global_crops_size": 96, "local_crops_size": 48, "gram_teacher_crops_size": 192, "gram_teacher_no_distortions": True},
        "gram": {**GRAM, "rep_update": False}, "schedules": rate(5e-4, 1)},
    "3": {
        "crops": {
            "global_crops_size": [96, 160], "local_crops_size": [48, 64], "gram_teacher_crops_size": [192, 240],
            "global_local_crop_pairs_ratios": [0.5, 0.5], "gram_teacher_no_distortions": True},
        "gram": {**GRAM, "rep_update": False}, "schedules": rate(2e-4, 1)}}
EPOCH = 20  # iterations


def volumes(folder):
    """Writes every CT volume as NIfTI into `folder`."""
    os.makedirs(folder, exist_ok=True)
    for name, pattern in FILES.items():
        image = SimpleITK.ReadImage(str(next(iter(sorted(DATA.glob(pattern))))))
        SimpleITK.WriteImage(SimpleITK.Cast(image, SimpleITK.sitkInt16), os.path.join(folder, name + ".nii.gz"))
    for name, series in SERIES.items():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(DATA / series)))
        SimpleITK.WriteImage(SimpleITK.Cast(reader.Execute(), SimpleITK.sitkInt16), os.path.join(folder, name + ".nii.gz"))


def pretrain(options, number, epochs, previous, name):
    """One run of a stage; returns its seconds and the folder of its exported teacher."""
    settings, run = os.path.join(options.folder, name + ".json"), os.path.join(options.folder, name)
    with open(settings, "w") as file:
        json.dump({**COMMON, **STAGES[number]}, file, indent=2)
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    meddino(
        options.stage, "pretrain", os.path.join(options.folder, "slices"), "--preset", "tiny", "--config", settings, "-o", run, "--epochs",
        epochs, "--epoch-length", EPOCH, "--save-every", epochs * EPOCH, "--quiet", *(["--previous", previous] if previous else []))
    seconds = time.perf_counter() - start
    return seconds, os.path.join(run, "eval", f"training_{epochs * EPOCH}")


def train(options):
    """All stages; returns the exported backbone of each."""
    backbones, previous = [], None
    for number, share in SHARES.items():
        short = pretrain(options, number, 2, previous, f"short{number}")[0]
        longer = pretrain(options, number, 5, previous, f"longer{number}")[0]
        epochs = max(4, int(options.minutes * 60 * share / max((longer - short) / 3, 1e-3)))
        seconds, export = pretrain(options, number, epochs, previous, f"stage{number}")
        print(f"stage {number}: {epochs * EPOCH} iterations in {seconds:.0f} s", flush=True)
        previous = os.path.join(export, "teacher_checkpoint.safetensors")
        backbones.append(os.path.join(export, "backbone.safetensors"))
    return backbones


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--stage", required=True)
    parser.add_argument("--minutes", type=float, default=30, help="of pretraining, all stages together")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--size", type=int, default=240, help="pixels of a probed slice's longer side")
    options = parser.parse_args()
    if not DATA.exists():
        raise SystemExit(f"{DATA} is missing (MEDDINO_DATA names the folder)")
    options.folder = os.path.abspath(options.folder)
    volumes(os.path.join(options.folder, "ct"))
    slices = os.path.join(options.folder, "slices")
    shutil.rmtree(slices, ignore_errors=True)
    print(meddino(
        options.stage, "curate", os.path.join(options.folder, "ct"), slices, "--size", 256, "--licence", "see SOURCES.md", "--any-intensity",
        "--quiet"), flush=True)
    blocks.build(DATA / "ts-abdpelvis-ct", os.path.join(options.folder, "raw"))
    backbones = train(options)
    print(meddino(
        options.stage, "probe", *backbones, "--data", os.path.join(options.folder, "raw", blocks.NAME), "--shots", options.shots, "--seeds",
        options.seeds, "--size", options.size, "--random", "--quiet"))


if __name__ == "__main__":
    main()
