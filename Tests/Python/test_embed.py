"""The Python binding: arrays in and out without copies, exceptions through callbacks, lifetimes."""

import concurrent.futures
import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import weakref

import harness
import numpy as np
from harness import ROOT, check, raises

import meddino

FOLDER = tempfile.mkdtemp(prefix="meddino-python-")


def import_is_quiet():
    """Importing loads no library and prints nothing; the search order is argument, environment, here, system."""
    code = ("import sys; sys.path[:0] = %r; import meddino; assert meddino._library._loaded is None\n"
            "with open('/proc/self/maps') as file: assert 'libmeddino' not in file.read()\n"
            "assert not {'ctypes.util', 'matplotlib', 'SimpleITK', 'nibabel'} & set(sys.modules)") % harness.PATHS
    result = subprocess.run([sys.executable, "-B", "-W", "error", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check(result.returncode == 0 and result.stdout == b"" and result.stderr == b"", result.stderr.decode())
    for extra in ("meddino.load('/no/such/lib.so')", "import os; os.environ['MEDDINO_LIBRARY'] = '/no/such/lib.so'; meddino.Context()"):
        code = "import sys; sys.path[:0] = %r; import meddino; %s" % (harness.PATHS, extra)
        result = subprocess.run([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        check(b"OSError" in result.stderr and b"/no/such/lib.so" in result.stderr, result.stderr.decode())
    inside = os.path.join(os.path.dirname(os.path.abspath(meddino.__file__)), "libmeddino.so.1")
    check(meddino.load() == (os.environ.get("MEDDINO_LIBRARY") or inside))
    check(("site-packages" in inside) == harness.INSTALLED, inside)
    raises(ValueError, lambda: meddino.load("/another/libmeddino.so"), "already")


def layouts():
    """The ctypes structs against the recorded layouts."""
    with open(os.path.join(ROOT, "Tests", "C", "abi-baseline.txt")) as file:
        lines = [line.split() for line in file]
    seen = 0
    for kind, name, *numbers in lines:
        if kind not in ("struct", "field"):
            continue
        owner, _, member = name.partition(".")
        struct = getattr(meddino._structs, "_" + "".join(word.capitalize() for word in owner.split("_")[1:]))
        if kind == "struct":
            check(ctypes.sizeof(struct) == int(numbers[0]), name)
            fields = sum(line[0] == "field" and line[1].startswith(owner + ".") for line in lines)
            check(len(struct._fields_) == fields, name)
        else:
            field = getattr(struct, member)
            check(field.offset == int(numbers[0]) and field.size == int(numbers[1]), name)
        seen += 1
    check(seen > 80)
    with open(os.path.join(ROOT, "include", "meddino.h")) as file:
        header = file.read()
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    declared = set(re.findall(r"MEDDINO_API[^;(]*?\bmeddino_(\w+)\(", header))
    check(declared == set(meddino._prototypes.PROTOTYPES), str(declared ^ set(meddino._prototypes.PROTOTYPES)))


def segment(context, model):
    array = harness.phantom()
    spacing = (0.9, 0.9, 3.0)
    labels, report = model.segment(array, spacing=spacing)
    check(labels.dtype == np.uint8 and labels.shape == array.shape and len(np.unique(labels)) >= 2)
    check([entry.value for entry in report.labels] == [1, 2, 3])
    check(all(entry.voxels == (labels == entry.value).sum() for entry in report.labels))
    image = meddino.Image(context, array, spacing=spacing, origin=(1, 2, 3))
    made, _ = model.segment_image(image)
    check((made.array == labels).all() and made.spacing == spacing and made.origin == (1.0, 2.0, 3.0))
    job = model.segment_async(array, spacing=spacing)
    found, _ = job.result()
    check((found == labels).all() and job.progress == 1)

    # Any strides, any dtype, in and out.
    for form in (np.asfortranarray(array), np.ascontiguousarray(array[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
                 np.pad(array, 2)[2:-2, 2:-2, 2:-2], np.repeat(array, 2, axis=2)[:, :, ::2], array.astype(np.float32), array.astype(np.float64),
                 array.astype(np.int64), array.astype(np.int32)):
        check((model.segment(form, spacing=spacing)[0] == labels).all(), str(form.strides))
    wide = np.full((array.shape[0], array.shape[1], 2 * array.shape[2]), 77, np.int32)
    out = wide[:, :, ::2]
    same, _ = model.segment(array, spacing=spacing, out=out)
    check(same is out and (out == labels).all() and (wide[:, :, 1::2] == 77).all())
    out = np.zeros(array.shape, np.uint16, order="F")
    model.segment(array, spacing=spacing, out=out)
    check((out == labels).all())
    flat = np.broadcast_to(np.int16(-500), array.shape)
    check(model.segment(flat, spacing=spacing)[0].shape == array.shape)
    check(model.segment(array[0], spacing=spacing)[0].shape == array[0].shape)
    _, _, scores = model.segment(array, spacing=spacing, probabilities=True)
    check(scores.shape == (4,) + array.shape and np.allclose(scores.sum(axis=0), 1, atol=1e-4))
    check((scores.argmax(axis=0) != labels).mean() < 1e-3)

    # Options.
    subset, _ = model.segment(array, spacing=spacing, label_subset=[2])
    check((subset == np.where(labels == 2, 2, 0)).all())
    part, _ = model.segment(array, spacing=spacing, roi=(5, 20, 3, 30, 1, 3))
    check((part[1:3, 3:30, 5:20] == labels[1:3, 3:30, 5:20]).all() and part.sum() == part[1:3, 3:30, 5:20].sum())
    check(model.estimate(array.shape, spacing).tiles == 4 * model.estimate(array.shape, spacing, mirror=False).tiles)
    check(model.estimate(array.shape, spacing, mirror=("rows",)).tiles == 2 * model.estimate(array.shape, spacing, mirror=False).tiles)
    model.segment(array, spacing=spacing, precision="bfloat16", body_crop=True, tile_step=1)

    # Refusals.
    raises(TypeError, lambda: model.segment([[1, 2], [3, 4]]))
    raises(TypeError, lambda: model.segment(array.astype(np.complex64)), "complex64")
    raises(TypeError, lambda: model.segment(array.astype(array.dtype.newbyteorder())), "byte order")
    raises(ValueError, lambda: model.segment(array[0, 0]), "axes")
    raises(ValueError, lambda: model.segment(array, spacing=(1, 1)), "spacing")
    raises(ValueError, lambda: model.segment(array, space="XYZ"), "space")
    raises(ValueError, lambda: model.segment(array, precision="float8"), "precision")
    raises(ValueError, lambda: model.segment(array, mirror=("x",)), "mirror")
    raises(TypeError, lambda: model.segment(array, no_such_option=1))
    raises(meddino.Error, lambda: model.segment(array, spacing=(0, 1, 1)), "spacing", meddino.E_INVALID)
    raises(meddino.Error, lambda: model.segment(array[:0]), "dims", meddino.E_INVALID)
    raises(meddino.Error, lambda: model.segment(array, out=np.zeros((1, 1, 1), np.uint8)), "labels", meddino.E_SHAPE)
    raises(meddino.Error, lambda: model.segment(array, label_subset=[9]), "label_subset", meddino.E_INVALID)
    raises(meddino.Error, lambda: model.segment(array, label_subset=[]), "label_subset", meddino.E_INVALID)
    raises(meddino.Error, lambda: model.segment(array, max_bytes=1000), "max_bytes", meddino.E_NOMEM)
    raises(meddino.Error, lambda: model.segment([array, array]), "channels", meddino.E_SHAPE)
    frozen = np.zeros(array.shape, np.uint8)
    frozen.flags.writeable = False
    raises(ValueError, lambda: model.segment(array, out=frozen), "read-only")
    raises(ValueError, lambda: model.segment(array, out=np.broadcast_to(np.zeros(1, np.uint8), array.shape).view()), "")


def callbacks(context, model):
    array = harness.phantom(40, 36, 2)
    seen = []
    model.segment(array, progress=lambda fraction, stage: seen.append((fraction, stage)))
    check(seen[-1][0] == 1 and [f for f, _ in seen] == sorted(f for f, _ in seen) and all(stage for _, stage in seen))

    class Stop(Exception):
        pass

    for at in range(0, len(seen), 3):
        calls = []

        def stop(fraction, stage):
            calls.append(fraction)
            if len(calls) == at + 1:
                raise Stop(at)

        raises(Stop, lambda: model.segment(array, progress=stop), str(at))
        check(len(calls) == at + 1)
        del calls[:]
        job = model.segment_async(array, progress=stop)
        raises(Stop, job.wait, str(at))
        raises(Stop, job.wait, str(at))
        job.close()
    raises(meddino.Error, lambda: model.segment(array, progress=lambda f, s: False), "cancel", meddino.E_CANCELLED)
    model.segment(array, progress=lambda f, s: None)
    model.segment(array, progress=lambda f, s: 0)  # only False stops

    def interrupt(fraction, stage):
        raise KeyboardInterrupt

    raises(KeyboardInterrupt, lambda: model.segment(array, progress=interrupt))
    raises(Stop, lambda: model.features(array, progress=lambda f, s: (_ for _ in ()).throw(Stop("features"))), "features")

    # Ctrl-C during a run without a progress function.
    code = ("import sys, threading, os, signal, time; sys.path[:0] = %r; import harness, meddino, numpy as np\n"
            "c = meddino.Context(threads=1); m = meddino.Model.create(c, harness.CONFIG, 7)\n"
            "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
            "try:\n  m.segment(harness.phantom(400, 400, 60))\n  print('finished')\nexcept KeyboardInterrupt:\n  print('interrupted')\n")
    code = code % harness.PATHS
    result = subprocess.run([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    check(result.stdout.strip() == b"interrupted", (result.stdout + result.stderr).decode())

    # A log function that raises.
    def bad_log(level, message):
        raise Stop(message)

    loud = meddino.Context(threads=1, log=bad_log, log_level=4)
    net = meddino.Model.create(loud, harness.CONFIG, 7)
    net.segment(array)
    raises(Stop, loud.check_log)
    loud.check_log()


def cancelling(model):
    array = harness.phantom(64, 64, 8)
    cancel = meddino.Cancel()
    cancel.request()
    raises(meddino.Error, lambda: model.segment(array, cancel=cancel), "", meddino.E_CANCELLED)
    cancel = meddino.Cancel()
    threading.Timer(0.02, cancel.request).start()
    raises(meddino.Error, lambda: model.segment(array, cancel=cancel, progress=lambda f, s: time.sleep(0.002)), "", meddino.E_CANCELLED)
    job = model.segment_async(array, progress=lambda f, s: time.sleep(0.002))
    check(job.wait(0) is False and job.wait(0.03) is False and 0 <= job.progress < 1)
    raises(meddino.Error, lambda: job.report, "running", meddino.E_STATE)
    job.cancel()
    raises(meddino.Error, job.wait, "", meddino.E_CANCELLED)
    job.close()
    raises(ValueError, job.wait, "closed")
    calls = []
    job = model.segment_async(array, progress=lambda f, s: (calls.append(f), time.sleep(0.001))[0])
    time.sleep(0.01)
    del job  # cancels and waits
    gc.collect()
    count = len(calls)
    time.sleep(0.02)
    check(count == len(calls))
    raises(meddino.Error, lambda: model.segment_async(array, out=np.zeros((1, 1, 1), np.uint8)), "labels", meddino.E_SHAPE)
    # A script that ends while a job runs.
    code = ("import sys, time; sys.path[:0] = %r; import harness, meddino\n"
            "c = meddino.Context(threads=2); m = meddino.Model.create(c, harness.CONFIG, 7)\n"
            "job = m.segment_async(harness.phantom(200, 200, 40), progress=lambda f, s: time.sleep(0.001)); time.sleep(0.1)\n")
    code = code % harness.PATHS
    result = subprocess.run([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    check(result.returncode == 0 and result.stderr == b"", "%d %s" % (result.returncode, result.stderr.decode()))


def lifetimes(context, model):
    array = harness.phantom()
    image = meddino.Image(context, array)
    view = image.array
    check(not view.flags.writeable and (view == array).all() and view.ctypes.data == image.array.ctypes.data)
    box = weakref.ref(image._box)
    part = view[1:, ::2]
    image.close()
    raises(ValueError, lambda: image.array, "closed")
    del image, view
    gc.collect()
    check(box() is not None and (part == array[1:, ::2]).all())
    del part
    gc.collect()
    check(box() is None)
    channels = np.stack([array, array + 1])
    check((meddino.Image(context, channels).array == channels).all())
    check((meddino.Image(context, channels[::-1, :, ::2, ::-1]).array == channels[::-1, :, ::2, ::-1]).all())
    with meddino.Image(context, array) as again:
        check(again.spacing == (1, 1, 1))
    for path in ("a.nii", "a.nii.gz"):
        path = os.path.join(FOLDER, path)
        meddino.Image(context, array, spacing=(0.5, 0.6, 0.7), direction=(0, 1, 0, 1, 0, 0, 0, 0, -1)).write(path)
        back = meddino.Image.read(context, path)
        check((back.array == array).all() and np.allclose(back.spacing, (0.5, 0.6, 0.7)) and np.allclose(back.direction, (0, 1, 0, 1, 0, 0, 0, 0, -1)))
    raises(meddino.Error, lambda: meddino.Image.read(context, "/no/such.nii"), "/no/such.nii", meddino.E_IO)
    raises(meddino.Error, lambda: meddino.Image(context, array).write(os.path.join(FOLDER, "a.png")), "", meddino.E_UNSUPPORTED)
    # Parents first.
    own = meddino.Context(threads=2)
    net = meddino.Model.create(own, harness.CONFIG, 7)
    made, _ = net.segment_image(meddino.Image(own, array))
    tokens = net.features(array).tokens
    job = net.segment_async(array)
    own.close()
    net.close()
    del own, net
    gc.collect()
    check(np.isfinite(tokens).all() and made.array.max() <= 3)
    check((job.result()[0] == made.array).all())


def models(context, model):
    check(model.info.labels == 4 and model.info.members == 1 and model.info.output_kind == "labels" and model.info.tile == (32, 32))
    check([label.name for label in model.labels] == ["background", "liver", "spleen", "kidney"] and model.labels[0].rgba[3] == 0)
    check(model.metadata("configuration") == "2d" and model.metadata("nothing") is None)
    array = harness.phantom()
    labels, _ = model.segment(array)
    path = os.path.join(FOLDER, "m.safetensors")
    model.save(path)
    opened = meddino.Model.open(context, path)
    check((opened.segment(array)[0] == labels).all())
    with open(path, "rb") as file:
        data = file.read()
    before = len(meddino.models._MEMORY_OPEN)
    twice = [meddino.Model.from_bytes(context, data), meddino.Model.from_bytes(context, data)]
    del data
    check((twice[1].segment(array)[0] == labels).all())
    check(meddino.Model.combine(twice).info.members == 2)
    both = meddino.Model.combine(twice)
    check((both.segment(array)[0] == labels).all())
    del twice, both
    gc.collect()
    check(len(meddino.models._MEMORY_OPEN) == before)
    raises(meddino.Error, lambda: meddino.Model.from_bytes(context, b"nothing of the kind"), "", meddino.E_FORMAT)
    raises(meddino.Error, lambda: meddino.Model.from_bytes(context, b""))
    check(len(meddino.models._MEMORY_OPEN) == before)
    raises(meddino.Error, lambda: meddino.Model.create(context, '{"x": 1}'), "x", meddino.E_INVALID)
    raises(meddino.Error, lambda: meddino.Model.open(context, "/no/such"), "/no/such", meddino.E_IO)
    raises(ValueError, lambda: meddino.Model.combine([]))
    raises(ValueError, lambda: meddino.Model.open(context, path, folds=[64]))
    error = raises(meddino.Error, lambda: meddino.Model.open(context, "/no/such"))
    check(error.name == "MEDDINO_E_IO")


def files(context, model):
    """Reading as the plan wants it, half-size models, check sums; progress, stopping and exceptions of work on files."""
    array = harness.phantom()
    path = os.path.join(FOLDER, "turned.nii.gz")
    turned = (0, 0, 1, -1, 0, 0, 0, -1, 0)
    meddino.Image(context, array, spacing=(1.5, 1.25, 2), direction=turned).write(path)
    check((model.read_image(path).array == array).all())
    other = meddino.Model.create(context, harness.CONFIG.replace('"plans": {', '"plans": {"image_reader_writer": "NibabelIOWithReorient", '), 7)
    image = other.read_image(path)
    expected = array.transpose(1, 2, 0)[::-1, :, ::-1]  # z = S is -y, y = A is x, x = R is -z
    check(image.array.shape == expected.shape and (image.array == expected).all() and image.spacing == (2, 1.5, 1.25))
    labels, _ = other.segment_image(image)
    want, _ = other.segment(expected, spacing=image.spacing, origin=image.origin, direction=image.direction)
    check((labels.array == want).all() and len(np.unique(want)) >= 2)
    labels.write(path)
    check((meddino.Image.read(context, path).array == want[::-1, :, ::-1].transpose(2, 0, 1)).all())

    class Stop(Exception):
        pass

    def stop(fraction, stage):
        raise Stop(stage)

    full, half = os.path.join(FOLDER, "full.safetensors"), os.path.join(FOLDER, "half.safetensors")
    seen = []
    model.save(full)
    model.save(half, precision="bfloat16", progress=lambda fraction, stage: seen.append((fraction, stage)))
    check(seen[-1][0] == 1 and seen == sorted(seen, key=lambda entry: entry[0]) and {stage for _, stage in seen} == {"checksum", "save"})
    check(os.path.getsize(half) < 0.6 * os.path.getsize(full))
    stored = meddino.Model.open(context, half)
    stored.verify(progress=lambda fraction, stage: check(stage == "verify"))
    raises(meddino.Error, model.verify, "SHA-256", meddino.E_STATE)
    cancel = meddino.Cancel()
    cancel.request()
    picture = meddino.Image(context, array)
    for work in (lambda **o: meddino.Image.read(context, path, **o), lambda **o: model.read_image(path, **o),
                 lambda **o: picture.write(os.path.join(FOLDER, "not.nii"), **o), lambda **o: model.save(os.path.join(FOLDER, "not.st"), **o),
                 lambda **o: stored.verify(**o)):
        raises(Stop, lambda: work(progress=stop))
        raises(meddino.Error, lambda: work(progress=lambda fraction, stage: False), "", meddino.E_CANCELLED)
        raises(meddino.Error, lambda: work(cancel=cancel), "", meddino.E_CANCELLED)
    check(not [name for name in os.listdir(FOLDER) if name.startswith("not.")])
    raises(ValueError, lambda: model.save(full, precision="int8"), "precision")
    raises(ValueError, lambda: meddino.Model.open(context, full, rope="int8"), "rope")
    raises(meddino.Error, lambda: meddino.Model.open(context, full, rope="float32"), "rope", meddino.E_INVALID)
    meddino.Model.open(context, full, rope="bfloat16")
    check([(label.coding_scheme, label.code) for label in model.labels][:2] == [(None, None), ("SCT", "10200004")])
    raises(meddino.Error, lambda: model.segment(array, out=array.view(np.uint16)), "channels[0]", meddino.E_INVALID)


def features(model):
    array = harness.phantom(96, 80, 2)
    found = model.features(array, blocks=[0, 1], origin=(10, 20, 30))
    check(found.tokens.shape == (2, 2, 5, 6, 64) and found.tokens.dtype == np.float32 and np.isfinite(found.tokens).all())
    tokens = found.tokens
    last = tokens[:, 1].astype(np.float64)
    unit = last / np.linalg.norm(last, axis=-1, keepdims=True)
    cosine = found.similarity([[10 + 40, 20 + 20, 31]])
    check(cosine.shape == (2, 5, 6) and np.allclose(cosine, unit @ unit[1, 1, 2], atol=1e-5))
    rgb = found.pca()
    check(rgb.shape == (3, 2, 5, 6) and rgb.min() == 0 and rgb.max() == 255)
    mask = np.zeros(array.shape, bool)
    mask[0, 20:60, 20:70] = True
    masked = found.pca(mask)
    check((masked[:, 1] == 0).all() and masked.max() == 255)
    # The first component agrees with numpy's, up to sign.
    rows = last.reshape(-1, 64) - last.reshape(-1, 64).mean(axis=0)
    score = rows @ np.linalg.svd(rows, full_matrices=False)[2][0]
    check(abs(np.corrcoef(score, rgb[0].reshape(-1).astype(float))[0, 1]) > 0.999)
    raises(meddino.Error, lambda: found.similarity([[1e9, 0, 0]]), "points_mm", meddino.E_INVALID)
    raises(ValueError, lambda: found.similarity([]))
    raises(ValueError, lambda: found.similarity([1, 2]))
    raises(meddino.Error, lambda: found.pca(mask[:, :-1]), "mask", meddino.E_SHAPE)
    raises(meddino.Error, lambda: model.features(array, blocks=[5]), "blocks", meddino.E_INVALID)
    raises(meddino.Error, lambda: model.features(array, input_size=(17, 16)), "input_size", meddino.E_INVALID)
    found.close()
    check(np.isfinite(tokens).all())
    check(model.features(array, slices=(1, 2), input_size=(64, 32)).tokens.shape == (1, 1, 4, 2, 64))


def threads(context, model):
    array = harness.phantom()
    expected, _ = model.segment(array)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda index: model.segment(array)[0], range(4)))
    check(len(results) == 4 and all((result == expected).all() for result in results))


def main():
    import_is_quiet()
    layouts()
    context = meddino.Context(threads=2)
    model = meddino.Model.create(context, harness.CONFIG, 7)
    check(meddino.version() == (0, 1, 0) or meddino.version() > (0, 1, 0))
    check("kernels" in meddino.build_info())
    segment(context, model)
    callbacks(context, model)
    cancelling(model)
    lifetimes(context, model)
    models(context, model)
    files(context, model)
    features(model)
    threads(context, model)
    harness.end("test_embed.py")


main()
