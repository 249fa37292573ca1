"""Compares `meddino evaluate` and `meddino postprocess` with monai and nnunetv2 on random label volumes.

usage: evaluation.py STAGE
"""
import csv
import io
import json
import logging
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
import warnings

sys.modules["torchvision"] = None  # nothing here needs it; a mismatched build would break its import
for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(name, tempfile.gettempdir())
os.environ["TQDM_DISABLE"] = "1"
import numpy
import SimpleITK
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.postprocessing.remove_connected_components import (
    determine_postprocessing, remove_all_but_largest_component_from_segmentation)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import Checks, meddino

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
# nnunetv2 starts new interpreters for every step, which takes most of the time; a fork does here.
real_context = multiprocessing.get_context
multiprocessing.get_context = lambda method=None: real_context("fork" if method == "spawn" else method)
logging.disable(logging.WARNING)
LABELS = 4
SETS = {
    "labels": {"labels": {"background": 0, "a": 1, "b": 2, "c": 3, "d": 4}},
    "regions": {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "d": 4, "tip": [3]}, "regions_class_order": [1, 2, 4, 3]},
    "ignore": {"labels": {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}}}


def blobs(random, shape, count):
    """Boxes and ellipsoids of random labels; many reach over the border."""
    volume = numpy.zeros(shape, numpy.uint8)
    grid = numpy.indices(shape)
    for _ in range(count):
        centre = [random.uniform(-1, n) for n in shape]
        radius = [random.uniform(0.6, max(1.5, n / 2)) for n in shape]
        offsets = [(g - c) / r for g, c, r in zip(grid, centre, radius)]
        inside = sum(o * o for o in offsets) < 1 if random.random() < 0.5 else numpy.max(numpy.abs(offsets), 0) < 0.8
        volume[inside] = random.integers(0, LABELS + 1)
    return volume


def disturbed(random, volume):
    """A prediction: shifted, with noise, and with labels mixed up."""
    result = volume.copy()
    for axis in range(3):
        result = numpy.roll(result, random.integers(-1, 2), axis)
    speckle = random.random(volume.shape) < random.choice([0, 0.01, 0.1])
    result[speckle] = random.integers(0, LABELS + 1, speckle.sum())
    return result


def make_case(random, index):
    """(name, reference, prediction, spacing x y z); the name says what is special."""
    kinds = ["plain", "anisotropic", "empty prediction", "empty reference", "both empty", "one voxel", "borders", "flat z", "flat y", "line", "far"]
    kind = kinds[index % len(kinds)]
    shape = [int(random.integers(5, 26)) for _ in range(3)]
    spacing = [1.0, 1.0, 1.0] if kind == "plain" else [float(s) for s in random.uniform(0.4, 3, 3).round(3)]
    if kind == "anisotropic":
        spacing = [0.7, 0.7, 5.0]
    if kind in ("flat z", "line"):
        shape[0] = 1
    if kind in ("flat y", "line"):
        shape[1] = 1
    reference = blobs(random, shape, 9)
    prediction = disturbed(random, reference)
    label = int(random.integers(1, LABELS + 1))
    if kind in ("empty prediction", "both empty"):
        prediction[prediction == label] = 0
    if kind in ("empty reference", "both empty"):
        reference[reference == label] = 0
    if kind in ("one voxel", "far"):
        for volume in (reference, prediction):
            volume[volume == label] = 0
        reference[tuple(random.integers(0, n) for n in shape)] = label
        prediction[tuple(n - 1 for n in shape) if kind == "far" else tuple(random.integers(0, n) for n in shape)] = label
    if kind == "borders":
        reference[:, :, -2:] = label
        prediction[0] = label
    return f"{kind.replace(' ', '-')}-{index:02d}", reference, prediction, spacing


def make_folders(folder, count, seed):
    random = numpy.random.default_rng(seed)
    cases = {}
    for sub in ("ref", "pred"):
        os.makedirs(os.path.join(folder, sub))
    for index in range(count):
        name, reference, prediction, spacing = make_case(random, index)
        for sub, array in (("ref", reference), ("pred", prediction)):
            image = SimpleITK.GetImageFromArray(array)
            image.SetSpacing(spacing)
            image.SetOrigin([-50.0, 12.5, 3.0])
            image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, -1) if index % 3 else (1, 0, 0, 0, 1, 0, 0, 0, 1))
            SimpleITK.WriteImage(image, os.path.join(folder, sub, name + ".nii.gz"))
        stored = SimpleITK.ReadImage(os.path.join(folder, "ref", name + ".nii.gz"))
        cases[name + ".nii.gz"] = (reference, prediction, list(stored.GetSpacing())[::-1])
    for name, labels in SETS.items():
        text = {"channel_names": {"0": "CT"}, "numTraining": count, "file_ending": ".nii.gz", **labels}
        with open(os.path.join(folder, name + ".json"), "w") as file:
            json.dump(text, file)
    return cases


def structures(name):
    """nnU-Net's labels or regions and ignore label of a set."""
    labels = SETS[name]["labels"]
    wanted = [tuple(v) if isinstance(v, list) else v for k, v in labels.items() if k not in ("background", "ignore")]
    return wanted, labels.get("ignore")


def differences(ours, theirs, path=""):
    """Paths where two JSON trees differ; NaN equals NaN."""
    if isinstance(theirs, dict):
        missing = [f"{path}/{key} in one only" for key in set(theirs) ^ set(ours)]
        return missing + [d for key in set(theirs) & set(ours) for d in differences(ours[key], theirs[key], f"{path}/{key}")]
    if isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{path}: {len(ours)} entries, expected {len(theirs)}"]
        return [d for i, (a, b) in enumerate(zip(ours, theirs)) for d in differences(a, b, f"{path}/{i}")]
    if ours == theirs or (ours != ours and theirs != theirs):
        return []
    return [f"{path}: {ours}, expected {theirs}"]


def check_summary(checks, stage, folder, name, count):
    wanted, ignore = structures(name)
    pred, ref = os.path.join(folder, "pred"), os.path.join(folder, "ref")
    want_file, got_file = (os.path.join(folder, f"{name}-{who}.json") for who in ("nnunetv2", "meddino"))
    compute_metrics_on_folder(ref, pred, want_file, SimpleITKIO(), ".nii.gz", wanted, ignore, num_processes=1)
    meddino(
        stage, "evaluate", pred, ref, "--labels", os.path.join(folder, name + ".json"), "--summary", got_file, "--no-surfaces", "--quiet")
    with open(want_file) as a, open(got_file) as b:
        want, got = json.load(a), json.load(b)
    wrong = differences(got, want)
    values = sum(len(row["metrics"]) * 8 for row in want["metric_per_case"]) + 8 * (len(want["mean"]) + 1)
    checks.line(
        not wrong and list(got) == list(want) and list(got["mean"]) == list(want["mean"]), f"summary.json, {name}",
        f"{values} values of {count} cases equal nnunetv2's to the last bit" if not wrong else f"{len(wrong)} differ: {wrong[:3]}")


def peer_surfaces(reference, prediction, spacing, tolerance):
    """NSD and HD95 of two masks by monai, under MedDINOv3's rules for empty masks."""
    if not reference.any():
        return numpy.nan, numpy.nan
    if not prediction.any():
        return 0.0, numpy.nan
    a, b = (torch.from_numpy(mask[None, None].astype(numpy.uint8)) for mask in (prediction, reference))
    nsd = compute_surface_dice(a, b, [tolerance], include_background=True, spacing=spacing).item()
    return nsd, compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=spacing).item()


def check_surfaces(checks, stage, folder, cases, tolerance, jobs):
    table = os.path.join(folder, "metrics.csv")
    meddino(
        stage, "evaluate", os.path.join(folder, "pred"), os.path.join(folder, "ref"), "--labels", os.path.join(folder, "labels.json"),
        "--csv", table, "--nsd-tolerance", tolerance, "--jobs", jobs, "--quiet")
    with open(table) as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    worst = {"dice": 0.0, "nsd": 0.0, "hd95": 0.0}
    wrong, count, undefined = [], 0, 0
    for name, (reference, prediction, spacing) in cases.items():
        for label in range(1, LABELS + 1):
            r, p = reference == label, prediction == label
            nsd, hd95 = peer_surfaces(r, p, spacing, tolerance)
            dice = 2 * (r & p).sum() / (r.sum() + p.sum()) if r.any() else numpy.nan
            for metric, want, limit in (("dice", dice, 1e-12), ("nsd", nsd, 1e-6), ("hd95", hd95, 1e-4)):
                text = rows[name][f"{metric}_class{label}"]
                got = float(text) if text else numpy.nan
                count += 1
                undefined += want != want
                error = 0.0 if got != got and want != want else abs(got - want)
                if not error <= limit:
                    wrong.append(f"{name} {metric} of {label}: {got}, expected {want}")
                worst[metric] = max(worst[metric], error) if error == error else numpy.inf
    text = ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
    checks.line(
        not wrong and set(rows) == set(cases) | {"mean", "std"}, f"metrics at {tolerance} mm, {jobs} at once",
        f"{count} values ({undefined} undefined in both) against monai, worst differences {text}" if not wrong else f"{len(wrong)}: {wrong[:3]}")
    check_statistics(checks, rows, cases, tolerance)


def check_statistics(checks, rows, cases, tolerance):
    import pandas

    text = io.StringIO()
    writer = csv.DictWriter(text, next(iter(rows.values())))
    writer.writeheader()
    writer.writerows(rows[name] for name in cases)
    frame = pandas.read_csv(io.StringIO(text.getvalue())).drop(columns="filename")
    worst = 0.0
    for kind, want in (("mean", frame.mean()), ("std", frame.std())):
        for column in frame.columns:
            got = float(rows[kind][column]) if rows[kind][column] else numpy.nan
            worst = max(worst, 0 if got != got and want[column] != want[column] else abs(got - want[column]))
    checks.line(worst <= 1e-12, f"mean and std rows at {tolerance} mm", f"pandas' within {worst:.1e}")


def check_components(checks, stage, folder, cases):
    wrong, count = 0, 0
    for index, wanted in enumerate([1, [1, 2, 3, 4], [2, 3], [[1, 2], 4]]):
        steps, output = os.path.join(folder, f"steps{index}.json"), os.path.join(folder, f"applied{index}")
        with open(steps, "w") as file:
            json.dump({
                "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
                "postprocessing_kwargs": [{"labels_or_regions": wanted}]}, file)
        meddino(stage, "postprocess", "apply", steps, os.path.join(folder, "pred"), "-o", output, "--quiet")
        official = [tuple(v) if isinstance(v, list) else v for v in wanted] if isinstance(wanted, list) else wanted
        for name, (_, prediction, _) in cases.items():
            want = remove_all_but_largest_component_from_segmentation(prediction.copy(), official)
            got = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(os.path.join(output, name)))
            wrong += int((got != want).sum())
            count += want.size
    checks.line(wrong == 0, "largest component", f"{wrong} of {count} voxels differ from nnunetv2's")


def check_search(checks, stage, folder, name):
    pred, ref, output = (os.path.join(folder, sub) for sub in ("pred", "ref", f"search-{name}"))
    dataset = os.path.join(folder, name + ".json")
    plans = {"image_reader_writer": "SimpleITKIO", "plans_name": "x", "configurations": {}, "dataset_name": "x"}
    with open(os.path.join(folder, "plans.json"), "w") as file:
        json.dump(plans, file)
    theirs = os.path.join(folder, f"official-{name}")
    os.makedirs(theirs)
    for case in os.listdir(pred):
        os.link(os.path.join(pred, case), os.path.join(theirs, case))
    stdout, sys.stdout = sys.stdout, io.StringIO()
    try:
        determine_postprocessing(
            theirs, ref, os.path.join(folder, "plans.json"), dataset, num_processes=1, keep_postprocessed_files=True)
    finally:
        sys.stdout = stdout
    meddino(stage, "postprocess", "determine", pred, ref, "--labels", dataset, "-o", output, "--quiet")
    with open(os.path.join(theirs, "postprocessing.json")) as a, open(os.path.join(output, "postprocessing.json")) as b:
        want, got = json.load(a), json.load(b)
    wrong = differences(got, want)
    voxels = 0
    for case in os.listdir(pred):
        a, b = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(os.path.join(at, "postprocessed", case))) for at in (theirs, output))
        voxels += int((a != b).sum())
    steps = [kwargs["labels_or_regions"] for kwargs in want["postprocessing_kwargs"]]
    checks.line(
        not wrong and voxels == 0, f"postprocessing search, {name}",
        f"nnunetv2's steps {steps} and results" if not wrong else f"{voxels} voxels and {len(wrong)} entries differ: {wrong[:3]}")


def main():
    stage = os.path.abspath(sys.argv[1])
    checks, start = Checks(), time.time()
    with tempfile.TemporaryDirectory() as folder:
        count = 44
        cases = make_folders(folder, count, seed=20)
        for name in SETS:
            check_summary(checks, stage, folder, name, count)
        for tolerance, jobs in ((1.0, 1), (2.5, 2), (0.7, 3), (0.0, 1)):
            check_surfaces(checks, stage, folder, cases, tolerance, jobs)
        check_components(checks, stage, folder, cases)
        for name in ("labels", "regions"):
            check_search(checks, stage, folder, name)
    print(f"{checks.passed} passed, {checks.failed} failed in {time.time() - start:.0f} s")
    raise SystemExit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
