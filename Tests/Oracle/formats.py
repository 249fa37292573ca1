"""Compares reading and writing of NIfTI, NRRD and MetaImage with SimpleITK, through the Python module and the program.

usage: formats.py STAGE     (MEDDINO_LIBRARY: another library than STAGE's)
"""
import gzip
import json
import os
import pathlib
import sys
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
stage = os.path.abspath(sys.argv[1])
os.environ.setdefault("MEDDINO_LIBRARY", os.path.join(stage, "lib/libmeddino.so.1"))
sys.path[:0] = [str(ROOT / "Examples/python"), str(ROOT / "Tests/Python")]
import meddino
import numpy
import SimpleITK
from harness import CONFIG
from program import Checks, meddino as program

DATA = pathlib.Path(os.environ.get("MEDDINO_DATA", ROOT.parent / "shared/data"))
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
ENDINGS = [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"]
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def rotation(random):
    """A direction matrix: axes permuted and reversed, then perhaps turned by a few degrees."""
    matrix = numpy.eye(3)[random.permutation(3)] * random.choice([-1, 1], 3)
    if random.integers(2):
        tilt = numpy.linalg.qr(numpy.eye(3) + 0.2 * random.standard_normal((3, 3)))[0]
        matrix = tilt @ matrix
    return matrix


def volume(random, dtype, channels=1, planar=False, four=False):
    shape = [4, 5] if planar else [3, 4, 5]
    shape = ([2] if four else []) + shape + ([channels] if channels > 1 else [])
    if dtype.startswith("float"):
        values = (random.standard_normal(shape) * 1000).astype(dtype)
    else:
        limits = numpy.iinfo(dtype)
        values = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    image = SimpleITK.GetImageFromArray(values, isVector=channels > 1)
    rank = image.GetDimension()
    image.SetSpacing((random.random(rank) * 3 + 0.1).tolist())
    image.SetOrigin((random.standard_normal(rank) * 100).tolist())
    matrix = numpy.eye(rank)
    matrix[:3, :3] = numpy.eye(2)[::-1] if planar else rotation(random)
    image.SetDirection(matrix.flatten().tolist())
    return image


def theirs(image):
    """Voxels as (c, z, y, x) or (z, y, x), and geometry of three axes."""
    values = SimpleITK.GetArrayFromImage(image)
    rank = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = numpy.moveaxis(values, -1, 0)
    space = min(rank, 3)
    spacing, origin = list(image.GetSpacing()[:space]), list(image.GetOrigin()[:space])
    direction = numpy.array(image.GetDirection()).reshape(rank, rank)[:space, :space]
    if rank == 2:
        values = values[..., None, :, :] if values.ndim == 2 else values[:, None]
        spacing.append(999 * max(spacing))
        origin.append(0)
        direction = numpy.block([[direction, numpy.zeros((2, 1))], [numpy.zeros((1, 2)), numpy.eye(1)]])
    return values, spacing, origin, direction


def difference(image, want, limit=1e-13):
    """What of an image of ours is not as SimpleITK has it; None when all is."""
    values, spacing, origin, direction = want
    got = image.array
    if got.dtype != values.dtype or got.shape != values.shape:
        return f"{got.dtype} {got.shape}, expected {values.dtype} {values.shape}"
    if got.tobytes() != numpy.ascontiguousarray(values).tobytes():
        return f"{int((got != values).sum())} voxels differ"
    for name, a, b in (("spacing", image.spacing, spacing), ("origin", image.origin, origin),
    ("direction", image.direction, direction.flatten())):
        error = max(abs(x - y) / max(1, abs(y)) for x, y in zip(a, b))
        if not error <= limit:
            return f"{name} {tuple(a)}, expected {tuple(b)}"
    return None


def place(folder, name, ending):
    """A path of its own: with a.nii beside it, SimpleITK takes the voxels of a.nii.gz from there."""
    return os.path.join(folder, name + ending.replace(".", "_") + ending)


def check_reading(checks, context, folder, random):
    wrong, count = [], 0
    for dtype in TYPES:
        kinds = [{}, {"channels": 3}, {"planar": True}, {"planar": True, "channels": 2}, {"four": True}]
        for kind in kinds:
            for ending in ENDINGS:
                if ending.startswith(".nii") and kind:
                    continue  # NIfTI has tests of its own, and SimpleITK writes its vectors along a fifth axis
                for compressed in (False, True):
                    image = volume(random, dtype, **kind)
                    path = place(folder, "read", ending)
                    SimpleITK.WriteImage(image, path, useCompression=compressed)
                    # what was written must come back: NIfTI rounds its geometry to float32
                    limit = 1e-6 if "nii" in ending else 1e-13
                    found = difference(meddino.Image.read(context, path), theirs(SimpleITK.ReadImage(path)), limit)
                    count += 1
                    if found:
                        wrong.append(f"{dtype} {kind} {ending} {compressed}: {found}")
    checks.line(
        not wrong, "reading what SimpleITK writes",
        f"{count} files, voxels and geometry" if not wrong else f"{len(wrong)}: {wrong[:3]}")


def check_writing(checks, context, folder, random):
    wrong, count = [], 0
    for dtype in TYPES:
        for channels in (1, 3):
            for ending in ENDINGS:
                image = volume(random, dtype, channels)
                values, spacing, origin, direction = theirs(image)
                ours = meddino.Image(context, values, spacing, origin, direction.flatten().tolist())
                path = place(folder, "written", ending)
                ours.write(path)
                again = SimpleITK.ReadImage(path)
                if ending.startswith(".nii") and channels > 1:
                    again = SimpleITK.Compose([again[:, :, :, c] for c in range(channels)])
                got = theirs(again)
                count += 1
                if got[0].dtype != values.dtype or not numpy.array_equal(got[0], values):
                    wrong.append(f"{dtype} {channels} {ending}: voxels {got[0].dtype} {got[0].shape}")
                    continue
                limit = 1e-5 if "nii" in ending else 1e-13
                for a, b in zip(got[1:], (spacing, origin, direction)):
                    if not numpy.allclose(a, b, limit, limit):
                        wrong.append(f"{dtype} {channels} {ending}: {a}, expected {b}")
    checks.line(
        not wrong, "SimpleITK reads what is written",
        f"{count} files, voxels and geometry" if not wrong else f"{len(wrong)}: {wrong[:3]}")


def nrrd(changes, data, magic="NRRD0004"):
    fields = {
        "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "4 3 2",
        "space directions": "(0.6,0.8,0) (-1.6,1.2,0) (0,0,3)", "kinds": "domain domain domain", "endian": "little", "encoding": "raw",
        "space origin": "(1.25,-20,300.5)"}
    fields.update(changes)
    order = ["type", "dimension", "space", "space dimension", "sizes"]
    names = [name for name in order if name in fields] + [name for name in fields if name not in order]
    lines = [magic] + [f"{name}: {fields[name]}" for name in names if fields[name] is not None]
    return "\n".join(lines).encode() + b"\n\n" + data


def meta(changes, data):
    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "0.6 0.8 0 -0.8 0.6 0 0 0 1", "Offset": "1.25 -20 300.5", "ElementSpacing": "0.5 0.75 2", "DimSize": "4 3 2",
        "ElementType": "MET_SHORT"}
    fields.update(changes)
    last = fields.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None] + [f"ElementDataFile = {last}"]
    return "\n".join(lines).encode() + b"\n" + data


def header_variants(folder):
    """Headers as other programs write them: name, ending and bytes."""
    raw = numpy.arange(24, dtype="<i2")
    data, big = raw.tobytes(), raw.astype(">i2").tobytes()
    text = " ".join(map(str, range(24))).encode() + b"\n"
    for name, content in (("x.raw", data), ("y.raw", b"one\ntwo\n12345" + data), ("z.raw.gz", gzip.compress(data)),
    ("z.zraw", zlib.compress(data))):
        pathlib.Path(folder, name).write_bytes(content)
    for index in range(2):
        pathlib.Path(folder, f"s{index:02d}.raw").write_bytes(data[index * 24:index * 24 + 24])
    none = {"space": None, "space directions": None, "space origin": None}
    vector = {
        "dimension": "4", "sizes": "2 2 3 2", "space directions": "none (1,0,0) (0,2,0) (0,0,3)", "kinds": "list domain domain domain"}
    last = {
        "dimension": "4", "sizes": "2 3 2 2", "space directions": "(1,0,0) (0,2,0) (0,0,3) none", "kinds": "domain domain domain vector"}
    variants = [(f"space {name}", ".nrrd", nrrd({"space": name}, data)) for name in (
        "LPS", "RAS", "LAS", "right-anterior-superior", "left-anterior-superior", "scanner-xyz", "3D-right-handed", "3D-left-handed")]
    variants += [(name, ".nrrd", nrrd(changes, content)) for name, changes, content in (
        ("space dimension", {"space": None, "space dimension": "3"}, data), ("no geometry", none, data),
        ("spacings", {**none, "spacings": "1 2 3"}, data),
        ("negative spacing", {**none, "spacings": "1 -2 3"}, data),
        ("axis mins", {**none, "spacings": "1 2 3", "axis mins": "5 6 7"}, data),
        ("nodes", {**none, "spacings": "1 2 3", "axis mins": "5 6 7", "centerings": "node node node"}, data),
        ("origin alone", {"space directions": None}, data),
        ("no origin", {"space origin": None}, data), ("kinds of space", {"kinds": "space space space"}, data),
        ("no kinds", {"kinds": None}, data),
        ("big endian", {"endian": "big"}, big), ("ascii", {"encoding": "ascii"}, text),
        ("text", {"encoding": "txt", "endian": None}, text.replace(b" ", b", ")),
        ("gzip", {"encoding": "gzip"}, gzip.compress(data)), ("gz, big endian", {"encoding": "gz", "endian": "big"}, gzip.compress(big)),
        ("byte skip", {"byte skip": "5"}, b"12345" + data), ("byte skip to the end", {"byte skip": "-1"}, b"12345" + data),
        ("line skip", {"line skip": "2"}, b"a\nbb\n" + data),
        ("byte skip in gzip", {"byte skip": "5", "encoding": "gzip"}, gzip.compress(b"12345" + data)),
        ("line skip before gzip", {"line skip": "1", "encoding": "gzip"}, b"a\n" + gzip.compress(data)),
        ("list first", vector, data), ("vector last", last, data),
        ("list second", {**vector, "space directions": "(1,0,0) none (0,2,0) (0,0,3)", "kinds": "domain list domain domain"}, data),
        ("four axes", {**none, "dimension": "4", "sizes": "2 3 2 2", "kinds": None}, data),
        ("two axes", {**none, "dimension": "2", "sizes": "4 6", "kinds": None, "spacings": "2 3"}, data),
        ("data behind", {}, data + b"more"))]
    variants += [(f"data file {name}", ".nhdr", nrrd({"data file": name, **changes}, b"")) for name, changes in (
        ("x.raw", {}), ("./x.raw", {}), ("z.raw.gz", {"encoding": "gzip"}), ("y.raw", {"line skip": "2", "byte skip": "5"}),
        ("y.raw", {"byte skip": "-1"}),
        ("s%02d.raw 0 1 1", {}), ("s%02d.raw 0 1 1 2", {}), ("s%02d.raw 0 1 1 3", {}))]
    variants += [("LIST", ".nhdr", nrrd({"data file": "LIST"}, b"").rstrip() + b"\ns00.raw\ns01.raw\n")]
    variants += [("CRLF", ".nrrd", nrrd({}, b"").replace(b"\n", b"\r\n") + data), ("version 1", ".nrrd", nrrd({}, data, "NRRD0001"))]
    packed = zlib.compress(data)
    variants += [(name, ".mha", meta(changes, content)) for name, changes, content in (
        ("plain", {}, data), ("big endian", {"BinaryDataByteOrderMSB": "True"}, big),
        ("old byte order", {"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "True"}, big),
        ("negative spacing", {"ElementSpacing": "0.5 -0.75 2"}, data),
        ("element size", {"ElementSpacing": None, "ElementSize": "2 3 4"}, data),
        ("position", {"Offset": None, "Position": "1 2 3"}, data), ("origin", {"Offset": None, "Origin": "1 2 3"}, data),
        ("orientation", {"TransformMatrix": None, "Orientation": "0 1 0 0 0 -1 1 0 0"}, data),
        ("rotation", {"TransformMatrix": None, "Rotation": "0 1 0 0 0 -1 1 0 0"}, data),
        ("compressed", {"CompressedData": "True", "CompressedDataSize": str(len(packed))}, packed),
        ("gzip", {"CompressedData": "True", "CompressedDataSize": str(len(gzip.compress(data, mtime=0)))}, gzip.compress(data, mtime=0)),
        ("ascii", {"BinaryData": "False"}, text), ("header size -1", {"HeaderSize": "-1"}, b"123" + data),
        ("long", {"ElementType": "MET_LONG"}, raw.astype("<i4").tobytes()),
        ("channels", {"DimSize": "2 3 2", "ElementNumberOfChannels": "2"}, data),
        ("sheared", {"TransformMatrix": "1 0 0 0.1 0.99498743710662 0 0 0 1"}, data),
        ("four axes", {"NDims": "4", "DimSize": "2 3 2 2", "ElementSpacing": "2 3 4 5", "Offset": "5 6 7 8",
                       "TransformMatrix": None}, data),
        ("two axes", {"NDims": "2", "DimSize": "4 6", "ElementSpacing": "2 3", "Offset": "5 6", "TransformMatrix": "0 1 1 0"}, data))]
    variants += [(f"data file {name}", ".mhd", meta({"ElementDataFile": name, **changes}, b"")) for name, changes in (
        ("x.raw", {}), ("z.zraw", {"CompressedData": "True"}), ("y.raw", {"HeaderSize": "13"}), ("y.raw", {"HeaderSize": "-1"}),
        ("s%02d.raw 0 1 1", {}))]
    variants += [(name, ".mhd", meta({"ElementDataFile": name}, b"s00.raw\ns01.raw\n")) for name in ("LIST", "LIST 2", "LIST 2D")]
    variants += [("colons", ".mha", meta({}, b"").replace(b" =", b":") + data),
    ("CRLF", ".mha", meta({}, b"").replace(b"\n", b"\r\n") + data)]
    return variants


def check_headers(checks, context, folder):
    wrong, unread = [], []
    variants = header_variants(folder)
    for name, ending, content in variants:
        path = os.path.join(folder, "header" + ending)
        pathlib.Path(path).write_bytes(content)
        try:
            want = theirs(SimpleITK.ReadImage(path))
        except RuntimeError as error:
            unread.append(f"{name} {ending}: {str(error).strip().splitlines()[-1][-100:]}")
            continue
        try:
            found = difference(meddino.Image.read(context, path), want)
        except meddino.Error as error:
            found = str(error)
        if found:
            wrong.append(f"{name} {ending}: {found}")
    good = not wrong and not unread
    checks.line(good, "headers of other programs", f"{len(variants)} as SimpleITK reads them" if good else f"{wrong + unread}")


def check_refusals(checks, context, folder):
    """What SimpleITK refuses is refused."""
    data = numpy.arange(24, dtype="<i2").tobytes()
    files = [(".nrrd", nrrd(changes, data)) for changes in (
        {"endian": None}, {"space directions": "(1,0,0) (1,0,0) (0,0,1)"}, {"space directions": "(0,0,0) (0,1,0) (0,0,1)"},
        {"spacings": "1 2 3"},
        {"space directions": None, "spacings": "1 2 3"}, {"Type": "short"}, {"foo": "bar"}, {"sizes": "4 3 3"},
        {"data file": "missing.raw"},
        {"dimension": "2", "sizes": "4 6", "space directions": "(1,0,0) (0,2,0)", "kinds": None})]
    files += [(".nrrd", nrrd({}, data, "NRRD0009")), (".nrrd", nrrd({}, data)[:-1])]
    files += [(".mha", meta(changes, data)) for changes in (
        {"ElementSpacing": "0 1 1"}, {"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, {"DimSize": "4 3 3"}, {"ElementDataFile": "missing.raw"})]
    wrong = []
    for index, (ending, content) in enumerate(files):
        path = os.path.join(folder, "refused" + ending)
        pathlib.Path(path).write_bytes(content)
        for name, read in (("SimpleITK", SimpleITK.ReadImage), ("meddino", lambda path: meddino.Image.read(context, path))):
            try:
                read(path)
                wrong.append(f"{index} {ending} by {name}")
            except (RuntimeError, meddino.Error):
                pass
    checks.line(not wrong, "refusals", f"{len(files)} files that neither reads" if not wrong else f"read: {wrong}")


def check_real(checks, context, folder):
    for path in sorted(DATA.glob("*/*.nrrd")) + sorted(DATA.glob("*/*.mha")):
        found = difference(meddino.Image.read(context, path), theirs(SimpleITK.ReadImage(str(path))))
        checks.line(not found, path.name, found or "as SimpleITK reads it")
    ct = DATA / "ts-abdpelvis-ct/ct_sm.nii.gz"
    if not ct.exists():
        print(f"skip the same CT in every format: {ct} is missing")
        return
    image = SimpleITK.ReadImage(str(ct))[:, :, 10:14]
    model = meddino.Model.create(context, CONFIG, seed=3)
    outputs, wrong = {}, []
    for ending in ENDINGS:
        path, output = (place(folder, name, ending) for name in ("ct", "labels"))
        SimpleITK.WriteImage(image, path, useCompression=True)
        ours = meddino.Image.read(context, path)
        found = difference(ours, theirs(image))
        labels, _ = model.segment_image(ours)
        labels.write(output)
        again = SimpleITK.ReadImage(output)
        grids = [numpy.array(of.GetDirection() + of.GetOrigin() + of.GetSpacing()) for of in (again, image)]
        if found or not numpy.allclose(*grids):
            wrong.append(f"{ending}: {found}")
        outputs[ending] = SimpleITK.GetArrayFromImage(again)
    first = outputs[ENDINGS[0]]
    wrong += [ending for ending, values in outputs.items() if values.dtype != first.dtype or not numpy.array_equal(values, first)]
    checks.line(
        not wrong and len(numpy.unique(first)) > 1, "the same CT in every format",
        f"voxels, geometry and {first.size} labels of {len(ENDINGS)} formats" if not wrong else f"differ: {wrong}")


def numbers(value):
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in numbers(value[key])]
    if isinstance(value, list):
        return [x for item in value for x in numbers(item)]
    return [value] if isinstance(value, (int, float)) else []


def check_datasets(checks, folder):
    """The same phantom as a dataset of each ending: plan, evaluation and postprocessing."""
    found = {}
    for ending in (".nii.gz", ".nrrd", ".mha"):
        root = os.path.join(folder, "raw" + ending)
        program(stage, "phantom", root, "--cases", 3, "--test-cases", 0, "--size", "40,40,12", "--ending", ending, "--quiet")
        (name,) = os.listdir(root)
        prepared = os.path.join(folder, "prepared" + ending)
        program(stage, "plan", os.path.join(root, name), "-o", prepared, "--no-preprocess", "--quiet")
        with open(os.path.join(prepared, name, "dataset_fingerprint.json")) as file:
            fingerprint = numbers(json.load(file))
        labels, applied = os.path.join(root, name, "labelsTr"), os.path.join(folder, "applied" + ending)
        steps = os.path.join(folder, "steps.json")
        with open(steps, "w") as file:
            json.dump({
                "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
                "postprocessing_kwargs": [{"labels_or_regions": 1}]}, file)
        program(stage, "postprocess", "apply", steps, labels, "-o", applied, "--quiet")
        scores = json.loads(program(stage, "evaluate", applied, labels, "--json", "--quiet"))
        found[ending] = (fingerprint, numbers(scores["structures"]), sorted(os.listdir(applied)))
    first = found[".nii.gz"]
    wrong = [
        ending for ending, (fingerprint, scores, names) in found.items()
        if not numpy.allclose(fingerprint, first[0], 1e-6) or not numpy.allclose(scores, first[1], 1e-6, equal_nan=True)
        or [name.replace(ending, "") for name in names] != [name.replace(".nii.gz", "") for name in first[2]]]
    checks.line(
        not wrong, "datasets by file_ending",
        f"{len(first[0])} numbers of the fingerprint and {len(first[1])} scores" if not wrong else f"{wrong} differ")


def main():
    checks, start = Checks(), time.time()
    random = numpy.random.default_rng(5)
    context = meddino.Context(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        check_reading(checks, context, folder, random)
        check_writing(checks, context, folder, random)
        check_headers(checks, context, folder)
        check_refusals(checks, context, folder)
        check_real(checks, context, folder)
        check_datasets(checks, folder)
    print(f"{checks.passed} passed, {checks.failed} failed in {time.time() - start:.0f} s")
    raise SystemExit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
