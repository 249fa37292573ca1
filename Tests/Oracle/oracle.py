"""Compares the installed meddino with PyPI peers; prints one line per check and fails when one does.

usage: oracle.py STAGE
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import network as networks  # first: it keeps a mismatched torchvision out
import pipeline
import nibabel
import numpy
import SimpleITK
import torch
from safetensors.numpy import load_file, save_file
from scipy import ndimage

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import Checks, meddino

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = pathlib.Path(os.environ.get("MEDDINO_DATA", ROOT.parent / "shared/data")) / "ts-abdpelvis-ct/ct.nii.gz"
STATISTICS = {
    "max": 1000.0, "mean": 65.1, "median": 66.0, "min": -1000.0, "percentile_00_5": -958.0, "percentile_99_5": 300.0, "std": 178.0}


def logits(stage, model, images, folder, *options):
    source, target = os.path.join(folder, "images.safetensors"), os.path.join(folder, "logits.safetensors")
    save_file({"images": images}, source)
    meddino(stage, "logits", model, source, "-o", target, "--quiet", *options)
    return load_file(target)["logits"]


def prepared_slice(path, shape):
    """The middle slice, normalised and resized."""
    volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(numpy.float32)
    plane = pipeline.normalise(volume[volume.shape[0] // 2], STATISTICS)
    factors = [new / old for new, old in zip(shape, plane.shape)]
    return ndimage.zoom(plane, factors, order=3, mode="nearest", grid_mode=True).astype(numpy.float32)[None, None]


def check_logits(checks, stage, image, folder):
    """ViT-B, 16 classes, the decoder of MedDINOv3: raw outputs, float32 and bf16."""
    network = networks.make(seed=7)
    plan = networks.plans("2d_896", (896, 896), (0.45, 0.45), STATISTICS)
    model = networks.save_folder(network, folder, plan, "2d_896")
    for shape in ((896, 896), (448, 640)):
        images = prepared_slice(image, shape)
        name = f"{shape[0]} x {shape[1]}"
        with torch.inference_mode():
            want = network(torch.from_numpy(images)).numpy()
        ours = logits(stage, model, images, folder, "--rope", "fp32")
        error = numpy.abs(ours - want).max() / numpy.abs(want).max()
        same = (ours.argmax(1) == want.argmax(1)).mean()
        checks.line(
            ours.shape == want.shape and error <= 1e-4, f"logits {name} float32",
            f"max |a - b| / max |b| = {error:.2e} (limit 1e-4), same label on {100 * same:.4f} % of pixels")
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            theirs = network(torch.from_numpy(images)).float().numpy()
        ours = logits(stage, model, images, folder, "--rope", "fp32", "--precision", "bf16")
        fraction = [float((x.argmax(1) == want.argmax(1)).mean()) for x in (ours, theirs)]
        checks.line(
            fraction[0] >= fraction[1] - 0.002, f"logits {name} bf16",
            f"same label as float32 on {100 * fraction[0]:.2f} % of pixels (torch bf16 autocast: {100 * fraction[1]:.2f} %)")
    del network
    return model


def oblique_copy(path, target):
    """An anisotropic, tilted volume made of the real one: slices apart count as separate in resampling."""
    image = SimpleITK.ReadImage(str(path))
    part = SimpleITK.GetArrayFromImage(image)[:12]
    part = numpy.pad(part, ((1, 0), (3, 0), (0, 5)))  # zeros that crop-to-nonzero removes
    tilted = SimpleITK.GetImageFromArray(part.astype(numpy.int16))
    tilted.SetSpacing((1.5, 1.25, 5.0))
    tilted.SetOrigin((10.5, -20.25, 33.0))
    c, s = numpy.cos(0.2), numpy.sin(0.2)
    tilted.SetDirection((1, 0, 0, 0, c, -s, 0, s, c))
    SimpleITK.WriteImage(tilted, str(target))


def check_segmentation(checks, stage, image, folder):
    """File to file against the pipeline: a small network, several tiles per slice, a few slices."""
    network = networks.make(seed=11, width=128, depth=4, heads=2, classes=6)
    tilted = os.path.join(folder, "tilted.nii.gz")
    oblique_copy(image, tilted)
    iso = networks.plans("2d_small", (96, 128), (2.0, 2.0), STATISTICS, median_spacing=(3.0, 2.0, 2.0))
    thick = networks.plans("2d_small", (96, 128), (1.0, 0.9), STATISTICS)
    turned = networks.plans("2d_small", (128, 96), (2.0, 2.0), STATISTICS, transpose=(2, 0, 1), median_spacing=(3.0, 2.0, 2.0))
    cases = [
        ("isotropic", iso, image, (40, 42), True), ("isotropic, no mirroring", iso, image, (41, 43), False),
        ("anisotropic, tilted", thick, tilted, (3, 6), True), ("sagittal slices", turned, image, (50, 52), False)]
    for index, (name, plan, path, slices, mirror) in enumerate(cases):
        model = networks.save_folder(network, os.path.join(folder, f"small{index}"), plan, "2d_small")
        sizes = SimpleITK.ReadImage(str(path)).GetSize()
        axis = 2 - plan["transpose_forward"][0]  # the file axis that slices follow
        roi = [[0, n] for n in sizes]
        roi[axis] = list(slices)
        output = os.path.join(folder, f"labels{index}.nii.gz")
        options = ["--rope", "fp32", "--roi", ",".join(str(v) for pair in roi for v in pair), *([] if mirror else ["--no-mirror"])]
        meddino(stage, "segment", model, path, "-o", output, "--quiet", *options)
        want, leads = pipeline.segment(network, str(path), plan, "2d_small", range(*slices), mirror)
        ours = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(output))
        box = tuple(slice(*pair) for pair in reversed(roi))
        wrong = ours[box] != want[box]
        lead = leads[box][wrong].max(initial=0)  # differing voxels must be as good as ties
        outside = ours.astype(bool).sum() - ours[box].astype(bool).sum()
        counts = numpy.bincount(want[box].ravel(), minlength=network.classes)
        checks.line(
            wrong.mean() <= 1e-4 and lead <= 1e-4 and outside == 0 and (counts > 0).sum() > 2, f"segment, {name}",
            f"{wrong.sum()} of {wrong.size} voxels differ ({100 * wrong.mean():.4f} %, limit 0.01 %), where the best logit leads by "
            f"{lead:.0e} at most, labels {counts.tolist()}")
        check_geometry(checks, name, path, output)
    return os.path.join(folder, "small0", os.listdir(os.path.join(folder, "small0"))[0])


def check_geometry(checks, name, source, output):
    a, b = SimpleITK.ReadImage(str(source)), SimpleITK.ReadImage(output)
    pairs = [(a.GetSpacing(), b.GetSpacing()), (a.GetOrigin(), b.GetOrigin()), (a.GetDirection(), b.GetDirection())]
    itk = max(numpy.abs(numpy.subtract(x, y)).max() for x, y in pairs)
    x, y = nibabel.load(str(source)), nibabel.load(output)
    affine = numpy.abs(x.affine - y.affine).max()
    good = a.GetSize() == b.GetSize() and x.shape == y.shape and y.get_data_dtype() == numpy.uint8 and max(itk, affine) < 1e-4
    checks.line(good, f"geometry, {name}", f"SimpleITK {itk:.1e}, nibabel {affine:.1e} from the input's")


def check_torch_side_by_side(checks, stage, model, image, folder):
    """The library next to torch in one process, loaded before it and after it, gives the command's bytes."""
    want = os.path.join(folder, "alone.nii")
    meddino(stage, "segment", model, image, "-o", want, "--quiet")
    for order in ("before", "after"):
        output = os.path.join(folder, f"torch-{order}.nii")
        script = [sys.executable, str(pathlib.Path(__file__).with_name("beside_torch.py")), stage, order, model, str(image), output]
        done = subprocess.run(script, capture_output=True, text=True)
        good = done.returncode == 0 and open(output, "rb").read() == open(want, "rb").read()
        text = done.stdout.strip() or f"exit {done.returncode}"
        checks.line(good, f"library loaded {order} torch", f"{text} {done.stderr.strip()[-300:]}".strip())
    script = ROOT / "Tests/Python/test_torch.py"
    if script.exists():
        environment = {**os.environ, "MEDDINO_LIBRARY": os.path.join(stage, "lib/libmeddino.so")}
        done = subprocess.run([sys.executable, "-B", str(script)], capture_output=True, text=True, env=environment)
        last = (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1:]
        checks.line(done.returncode == 0, "Tests/Python/test_torch.py", last[0] if last else f"exit {done.returncode}")


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: oracle.py STAGE")
    stage, checks, start = sys.argv[1], Checks(), time.time()
    torch.set_num_threads(min(os.cpu_count() or 1, len(os.sched_getaffinity(0))))
    print(f"torch {torch.__version__}, SimpleITK {SimpleITK.Version_VersionString()}, nibabel {nibabel.__version__}")
    with tempfile.TemporaryDirectory(prefix="meddino-oracle-") as folder:
        image = REAL
        if not image.exists():
            print(f"note: {image} is missing; a phantom takes the place of the real CT")
            image = pathlib.Path(folder) / "phantom.nii.gz"
            meddino(stage, "phantom", image, "--single", "--size", "112,112,60", "--quiet")
        small = check_segmentation(checks, stage, image, folder)
        tilted = os.path.join(folder, "tilted.nii.gz")
        check_torch_side_by_side(checks, stage, small, tilted, folder)
        check_logits(checks, stage, image, folder)
    print(f"{checks.passed} passed, {checks.failed} failed in {time.time() - start:.0f} s")
    raise SystemExit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
