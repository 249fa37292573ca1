"""Long checks of the installed meddino; prints a line per check and a last line "N passed, N failed".

usage: long.py STAGE [memory] [slices] [real] [hosts]
Standard library only; `hosts` tries the Python module with MEDDINO_PYTHON, else python3, where that has numpy.
"""
import gzip
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import Checks

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = pathlib.Path(os.environ.get("MEDDINO_DATA", ROOT.parent / "shared/data")) / "ts-abdpelvis-ct/ct.nii.gz"
MEGA = 1_000_000


def run(command):
    """Seconds, peak resident bytes and processor seconds of one command. The peak is the child's own: this process is far smaller."""
    command = [str(part) for part in command]
    start = time.time()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {errors.read().strip()[-500:]}")
    return time.time() - start, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def make_model(stage, folder, name, patch, spacing, classes, depth, mirror=True):
    """A network of ViT-B width whose blocks and labels are not trivial. Without `mirror` it says that it was validated without."""
    meddino = os.path.join(stage, "bin/meddino")
    rule = {
        f"resampling_fn_{kind}_kwargs": {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1))}
    functions = {f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")}
    configuration = {
        "data_identifier": "nnUNetPlans_2d", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2, "patch_size": [patch, patch],
        "spacing": [spacing, spacing], "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False], "batch_dice": True,
        **functions, **rule}
    statistics = {
        "max": 1000.0, "mean": 65.1, "median": 66.0, "min": -1000.0, "percentile_00_5": -958.0, "percentile_99_5": 300.0, "std": 178.0}
    plans = {
        "dataset_name": "Dataset997_Long", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "configurations": {"2d": configuration},
        "foreground_intensity_properties_per_channel": {"0": statistics}}
    dataset = {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, **{f"organ{i}": i for i in range(1, classes)}}, "numTraining": 1,
        "file_ending": ".nii.gz"}
    paths = {}
    for key, value in (("plans", plans), ("dataset", dataset)):
        paths[key] = os.path.join(folder, f"{name}-{key}.json")
        pathlib.Path(paths[key]).write_text(json.dumps(value))
    printed = subprocess.run(
        [meddino, "init", "--print-config", "--plans", paths["plans"], "--dataset", paths["dataset"], "--configuration", "2d"],
        capture_output=True, text=True, check=True).stdout
    config = json.loads(printed)
    config["encoder"].update(depth=depth, layerscale_init=0.5)
    config["taps"] = sorted({max(depth * (i + 1) // 4 - 1, 0) for i in range(4)})
    text, model = os.path.join(folder, f"{name}.json"), os.path.join(folder, f"{name}.safetensors")
    pathlib.Path(text).write_text(json.dumps(config))
    run([meddino, "init", "--config", text, "-o", model, "--seed", "5", "--quiet"])
    if not mirror:
        with open(model, "r+b") as file:
            header = file.read(8 + int.from_bytes(file.read(8), "little"))
            at = header.index(b"[0, 1]", header.index(b"mirror_axes"))
            file.seek(8 + at)
            file.write(b"[]    ")
    return model


def voxels(path):
    """The bytes of a label map's voxels (uint8, after a NIfTI-1 header without extensions)."""
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rb") as file:
        return file.read()[352:]


def check_memory(checks, stage, folder):
    """Labels only: the peak may grow by the input and the labels, not by anything else per slice."""
    meddino = os.path.join(stage, "bin/meddino")
    model = make_model(stage, folder, "slim", 128, 3.2, 8, 2)
    peaks = {}
    for slices in (50, 500):
        image, labels = os.path.join(folder, f"phantom{slices}.nii.gz"), os.path.join(folder, f"labels{slices}.nii.gz")
        made, *_ = run([meddino, "phantom", image, "--single", "--size", f"512,512,{slices}", "--quiet"])
        seconds, peaks[slices], _ = run([meddino, "segment", model, image, "-o", labels, "--no-mirror", "--quiet"])
        print(f"     512 x 512 x {slices}: {seconds:.1f} s (phantom {made:.1f} s), peak {peaks[slices] / MEGA:.0f} MB", flush=True)
        os.remove(image)
    volumes = 450 * 512 * 512 * (2 + 1)
    growth = peaks[500] - peaks[50]
    checks.line(
        growth <= volumes + 150 * MEGA, "memory, 50 to 500 slices",
        f"peak {peaks[50] / MEGA:.0f} to {peaks[500] / MEGA:.0f} MB: grows by {growth / MEGA:.0f} MB, input and labels by "
        f"{volumes / MEGA:.0f} MB (limit 150 MB more)")


def cut_slices(source, target, first, count):
    """A few slices of a NIfTI-1 file (.nii.gz) as a file of their own; the origin stays that of the whole."""
    data = gzip.decompress(pathlib.Path(source).read_bytes())
    order = "<" if struct.unpack_from("<i", data)[0] == 348 else ">"
    dims = struct.unpack_from(order + "8h", data, 40)
    bytes_per_voxel = struct.unpack_from(order + "h", data, 72)[0] // 8
    offset = int(struct.unpack_from(order + "f", data, 108)[0])
    plane = dims[1] * dims[2] * bytes_per_voxel
    header = bytearray(data[:offset])
    struct.pack_into(order + "h", header, 46, count)
    voxel_bytes = data[offset + first * plane:offset + (first + count) * plane]
    pathlib.Path(target).write_bytes(gzip.compress(bytes(header) + voxel_bytes, 1))


def check_slices(checks, stage, folder):
    """Two slices of the real CT through a ViT-B of 896 x 896 tiles, file to file: command with 1 and 2 threads, C, Python."""
    if not REAL.exists():
        print(f"skip slices of the real CT: {REAL} is missing (MEDDINO_DATA names the folder)")
        return
    meddino = os.path.join(stage, "bin/meddino")
    model = make_model(stage, folder, "slices", 896, 0.41, 16, 12, mirror=False)
    image, outputs = os.path.join(folder, "slices.nii.gz"), {}
    cut_slices(REAL, image, 50, 2)
    for threads in (1, 2):
        output = os.path.join(folder, f"slices-{threads}.nii.gz")
        seconds, *_ = run([meddino, "segment", model, image, "-o", output, "--threads", threads, "--quiet"])
        outputs[threads] = pathlib.Path(output).read_bytes()
        print(f"     {threads} thread{'s' if threads > 1 else ''}: {seconds:.1f} s", flush=True)
    kinds = len(set(voxels(output)))
    checks.line(outputs[1] == outputs[2] and kinds > 2, "real slices, 1 and 2 threads", f"{len(outputs[1])} bytes, {kinds} labels")
    compare_hosts(checks, stage, folder, "real slices", model, image, outputs[2], kinds)
    os.remove(model)


def check_real(checks, stage, folder):
    """The whole CT through a ViT-B of 896 x 896 tiles, file to file; then two slices with one and two threads."""
    if not REAL.exists():
        print(f"skip real CT: {REAL} is missing (MEDDINO_DATA names the folder)")
        return
    meddino = os.path.join(stage, "bin/meddino")
    model = make_model(stage, folder, "base", 896, 0.41, 16, 12)
    for precision in ("f32", "bf16"):
        outputs = []
        for threads in (1, 2):
            outputs.append(os.path.join(folder, f"roi-{precision}-{threads}.nii.gz"))
            run([
                meddino, "segment", model, REAL, "-o", outputs[-1], "--no-mirror", "--precision", precision, "--threads", threads, "--roi",
                "0,122,0,101,50,52", "--quiet"])
        data = [pathlib.Path(path).read_bytes() for path in outputs]
        kinds = len(set(voxels(outputs[0])))
        checks.line(data[0] == data[1] and kinds > 2, f"1 and 2 threads, {precision}", f"{len(data[0])} bytes, {kinds} labels")
    maps = {}
    for precision in ("f32", "bf16"):
        output = os.path.join(folder, f"whole-{precision}.nii.gz")
        seconds, peak, processor = run([
            meddino, "segment", model, REAL, "-o", output, "--no-mirror", "--precision", precision, "--threads", 2, "--quiet"])
        maps[precision] = voxels(output)
        roi = voxels(os.path.join(folder, f"roi-{precision}-2.nii.gz"))
        box = slice(50 * 122 * 101, 52 * 122 * 101)
        checks.line(
            len(maps[precision]) == 122 * 101 * 112 and maps[precision][box] == roi[box], f"whole CT, {precision}",
            f"122 x 101 x 112 in {seconds:.0f} s, {seconds / 112:.2f} s per slice (processors busy {processor / 112:.2f} s), peak "
            f"{peak / MEGA:.0f} MB; the box of two slices alike")
    same = sum(a == b for a, b in zip(maps["f32"], maps["bf16"])) / len(maps["f32"])
    print(f"     bf16 gives {100 * same:.2f} % of the voxels the float32 label (random weights)")


def host_commands(stage, folder):
    """Name and command (before MODEL IMAGE OUTPUT) of every host there is an example of."""
    source = ROOT / "Examples/c/segment.c"
    if source.exists() and shutil.which("cc"):
        program = os.path.join(folder, "segment-c")
        library = os.path.join(stage, "lib")
        subprocess.run(
            ["cc", "-std=c99", "-O1", str(source), "-I", os.path.join(stage, "include"), "-L", library, "-lmeddino",
             f"-Wl,-rpath,{library}", "-o", program], check=True)
        yield "C example", [program], {}
    else:
        print("skip C example: Examples/c/segment.c or a C compiler is missing")
    script = ROOT / "Examples/python/segment.py"
    python = os.environ.get("MEDDINO_PYTHON") or os.environ.get("MEDDINO_PEERS") or sys.executable
    if not script.exists():
        print("skip Python module: Examples/python/segment.py is missing")
    elif subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode:
        print(f"skip Python module: {python} has no numpy (MEDDINO_PYTHON names another)")
    else:
        paths = os.pathsep.join(str(path) for path in (script.parent, ROOT / "python", ROOT / "Python") if path.exists())
        yield "Python example", [python, str(script)], {
            "PYTHONPATH": paths, "MEDDINO_LIBRARY": os.path.join(stage, "lib/libmeddino.so"), "PYTHONDONTWRITEBYTECODE": "1"}


def check_hosts(checks, stage, folder):
    """The same small volume through the command, the C example and the Python module."""
    meddino = os.path.join(stage, "bin/meddino")
    model = make_model(stage, folder, "host", 128, 2.5, 8, 2)
    image, want = os.path.join(folder, "host.nii.gz"), os.path.join(folder, "host-command.nii.gz")
    run([meddino, "phantom", image, "--single", "--size", "160,160,6", "--quiet"])
    run([meddino, "segment", model, image, "-o", want, "--quiet"])
    compare_hosts(checks, stage, folder, "phantom", model, image, pathlib.Path(want).read_bytes(), len(set(voxels(want))))


def compare_hosts(checks, stage, folder, what, model, image, expected, kinds):
    """The file that every host writes against the one of the command."""
    for name, command, environment in host_commands(stage, folder):
        output = os.path.join(folder, f"host-{name.split()[0]}.nii.gz")
        done = subprocess.run([*command, model, image, output], capture_output=True, text=True, env={**os.environ, **environment})
        good = done.returncode == 0 and pathlib.Path(output).exists() and pathlib.Path(output).read_bytes() == expected and kinds > 2
        why = done.stderr.strip()[-300:] if done.returncode else "other bytes"
        checks.line(good, f"{what}, {name} and command", f"{len(expected)} bytes, {kinds} labels" if good else f"exit {done.returncode}: {why}")


def main():
    kinds = {"memory": check_memory, "hosts": check_hosts, "slices": check_slices, "real": check_real}
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(kinds):
        raise SystemExit("usage: long.py STAGE [memory] [slices] [real] [hosts]")
    stage, chosen, checks = sys.argv[1], sys.argv[2:] or kinds, Checks()
    with tempfile.TemporaryDirectory(prefix="meddino-long-") as folder:
        for name in kinds:
            if name not in chosen:
                continue
            try:
                kinds[name](checks, stage, folder)
            except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
                checks.line(False, name, error)
    print(f"{checks.passed} passed, {checks.failed} failed")
    raise SystemExit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
