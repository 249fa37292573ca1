"""Volumes: geometry, SimpleITK and nibabel (the real ones where they are installed), errors by kind, pictures."""

import copy
import gc
import importlib.util
import os
import pickle
import sys
import tempfile
import types

import harness
import numpy as np
from harness import check, raises

import meddino

FOLDER = tempfile.mkdtemp(prefix="meddino-python-")
SPACING, ORIGIN = (0.9, 1.1, 3.0), (10.0, -20.0, 30.0)
TURNED = (0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def has(name):
    return importlib.util.find_spec(name) is not None


def geometry():
    array = harness.phantom()
    volume = meddino.Volume(array, SPACING, ORIGIN, TURNED, modality="CT")
    check(volume.array is array and np.asarray(volume) is array and volume.shape == array.shape)
    index = np.array([3, 5, 2])
    point = np.array(ORIGIN) + np.array(TURNED).reshape(3, 3) @ (index * SPACING)
    check(np.allclose(volume.affine @ [3, 5, 2, 1], np.append(point, 1)))
    again = meddino.Volume(array, affine=volume.affine)
    check(np.allclose(again.spacing, SPACING) and again.origin == ORIGIN and np.allclose(again.direction, TURNED))
    ras = volume.to_space("RAS")
    check(ras.space == "RAS" and ras.array is array and ras.modality == "CT")
    check(np.allclose(ras.affine @ [3, 5, 2, 1], np.append(point * [-1, -1, 1], 1)))
    back = ras.to_space("LPS")
    check(back.origin == ORIGIN and np.allclose(back.direction, TURNED) and volume.to_space("LPS").origin == ORIGIN)
    volume.check()
    raises(meddino.Error, meddino.Volume(array, (1, -1, 1)).check, "spacing", meddino.E_INVALID)
    raises(meddino.InvalidError, meddino.Volume(array, direction=(1, 0, 0, 1, 0, 0, 0, 0, 1)).check, "direction")
    raises(ValueError, lambda: meddino.Volume(array, SPACING, affine=np.eye(4)), "affine")
    raises(ValueError, lambda: meddino.Volume(array, affine=np.eye(3)), "affine")
    raises(ValueError, lambda: meddino.Volume(array, affine=np.zeros((4, 4))), "row")
    raises(ValueError, lambda: meddino.Volume(array, affine=np.diag([1.0, 0, 1, 1])), "lengths")
    raises(ValueError, lambda: meddino.Volume(array, affine=np.diag([1.0, np.nan, 1, 1])), "lengths")
    raises(ValueError, lambda: meddino.Volume(array, space="LAS"), "space")
    raises(ValueError, lambda: meddino.Volume(array, modality="PET"), "modality")
    raises(TypeError, lambda: meddino.Volume(array.tolist()), "numpy")
    check(np.array(volume, dtype=float).dtype == float and np.array(volume) is not array)
    check(copy.copy(volume).array is array and "spacing=(0.9, 1.1, 3.0)" in repr(volume))


def runs(context, model):
    """Volumes in the place of arrays: the same voxels, and results with a place."""
    array = harness.phantom()
    labels, report = model.segment(array, spacing=SPACING)
    volume = meddino.Volume(array, SPACING, ORIGIN)
    found, same = model.segment(volume)
    check(isinstance(found, meddino.Volume) and (found.array == labels).all() and found.origin == ORIGIN and same == report)
    _, _, scores = model.segment(volume, probabilities=True)
    check(isinstance(scores, meddino.Volume) and scores.shape == (4,) + array.shape and scores.spacing == SPACING)
    check((model.segment([volume])[0].array == labels).all())
    out = np.zeros(array.shape, np.int32)
    check(model.segment(volume, out=out)[0].array is out and (out == labels).all())
    out[:] = 0
    check(model.segment(volume, out=volume.like(out))[0].array is out and (out == labels).all())
    job = model.segment_async(volume)
    check((job.result()[0].array == labels).all())
    # Sagittal slices as the file has them, in another space: what matters is the order of voxels and the spacing.
    check((model.segment(volume.to_space("RAS"))[0].array == labels).all())
    raises(ValueError, lambda: model.segment(volume, spacing=SPACING), "spacing")
    raises(ValueError, lambda: model.segment(volume, space="LPS"), "space")
    check((model.features(volume).tokens == model.features(array, spacing=SPACING).tokens).all())
    check(np.asarray(model.features(volume)).shape[-1] == 64)
    image = meddino.Image(context, volume.to_space("RAS"))
    check(image.origin == ORIGIN and (image.volume.array == array).all() and image.volume.spacing == SPACING)
    view = image.volume.array
    image.close()
    del image
    gc.collect()
    check((view == array).all() and not view.flags.writeable)
    scores = meddino.evaluate(context, found, volume.like(labels))
    check(all(one.dice == 1 and one.hd95_mm == 0 for one in scores) and scores)
    shifted = np.roll(labels, 1, axis=2)
    mine, other = meddino.evaluate(context, found, found.like(shifted)), meddino.evaluate(context, labels, shifted, SPACING)
    check(repr(mine) == repr(other))
    cases = meddino.Dataset.create(model)
    cases.add("a", volume, found)
    cases.add("b", [volume], labels)
    check(cases.identifiers == ["a", "b"])
    raises(meddino.ShapeError, lambda: cases.add("c", volume, labels[:-1]), "labels")


class FakeImage:
    """What Volume.from_sitk asks of an image of SimpleITK."""

    def __init__(self, array, components=1):
        self.array, self.components = array, components
        self.spacing, self.origin, self.direction = (1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1)

    def GetDimension(self):
        return self.array.ndim - (self.components > 1)

    def GetNumberOfComponentsPerPixel(self):
        return self.components

    def GetSpacing(self):
        return self.spacing

    def GetOrigin(self):
        return self.origin

    def GetDirection(self):
        return self.direction

    def SetSpacing(self, value):
        self.spacing = tuple(value)

    def SetOrigin(self, value):
        self.origin = tuple(value)

    def SetDirection(self, value):
        self.direction = tuple(value)


def fake_sitk():
    """A module of that name for the time of a test, where the real one is not installed."""
    module = types.ModuleType("SimpleITK")
    module.GetArrayViewFromImage = lambda image: image.array
    module.GetImageFromArray = lambda array, isVector=False: FakeImage(array, array.shape[-1] if isVector else 1)
    return module


def sitk():
    real = has("SimpleITK")
    if not real:
        print("SimpleITK is not installed: a stand-in takes its place")
        sys.modules["SimpleITK"] = fake_sitk()
    import SimpleITK
    array = harness.phantom()
    volume = meddino.Volume(array, SPACING, ORIGIN, TURNED)
    image = volume.to_sitk()
    check(tuple(image.GetSpacing()) == SPACING and tuple(image.GetOrigin()) == ORIGIN and tuple(image.GetDirection()) == TURNED)
    found = meddino.Volume.from_sitk(image, modality="CT")
    check((found.array == array).all() and found.spacing == SPACING and found.direction == TURNED and found.modality == "CT")
    check(np.shares_memory(found.array, SimpleITK.GetArrayViewFromImage(image)))
    part = found.array[1:]
    del image, found
    gc.collect()
    check((part == array[1:]).all())  # the view keeps the image
    check((meddino.Volume.from_sitk(volume.to_space("RAS").to_sitk()).array == array).all())
    several = meddino.Volume(np.stack([array, array + 1]), SPACING)
    check((meddino.Volume.from_sitk(several.to_sitk()).array == several.array).all())
    flat = meddino.Volume(array[0], SPACING)
    check(meddino.Volume.from_sitk(flat.to_sitk()).shape == array.shape[1:] or not real)
    check(meddino.Volume(array > 0).to_sitk().GetNumberOfComponentsPerPixel() == 1)
    if real:
        path = os.path.join(FOLDER, "s.nii.gz")
        SimpleITK.WriteImage(volume.to_sitk(), path)
        context = meddino.Context(threads=1)
        read = meddino.Image.read(context, path)
        check((read.array == array).all() and np.allclose(read.origin, ORIGIN) and np.allclose(read.direction, TURNED))
        raises(ValueError, lambda: meddino.Volume.from_sitk(SimpleITK.Image([2, 2, 2, 2], SimpleITK.sitkInt16)), "dimensions")
    else:
        del sys.modules["SimpleITK"]
        sys.modules["SimpleITK"] = None
        raises(ImportError, volume.to_sitk, "SimpleITK is needed")
        del sys.modules["SimpleITK"]


class FakeNifti:
    """What Volume.from_nibabel asks of an image, and what to_nibabel makes."""

    def __init__(self, dataobj, affine, dtype=None):
        self.dataobj, self.affine, self.named = dataobj, affine, dtype


def nibabel():
    real = has("nibabel")
    if not real:
        print("nibabel is not installed: a stand-in takes its place")
        sys.modules["nibabel"] = types.ModuleType("nibabel")
        sys.modules["nibabel"].Nifti1Image = FakeNifti
    import nibabel as nib
    array = harness.phantom()
    volume = meddino.Volume(array, SPACING, ORIGIN, TURNED)
    image = volume.to_nibabel()
    check(np.shares_memory(np.asarray(image.dataobj), array) and np.asarray(image.dataobj).shape == array.shape[::-1])
    check(np.allclose(image.affine, volume.to_space("RAS").affine))
    found = meddino.Volume.from_nibabel(image)
    check(np.shares_memory(found.array, array) and (found.array == array).all() and found.space == "RAS")
    found = found.to_space("LPS")
    check(np.allclose(found.origin, ORIGIN) and np.allclose(found.direction, TURNED) and np.allclose(found.spacing, SPACING))
    several = meddino.Volume(np.stack([array, array + 1]), SPACING)
    check((meddino.Volume.from_nibabel(several.to_nibabel()).array == several.array).all())
    swapped = nib.Nifti1Image(array.T.astype(array.dtype.newbyteorder()), np.eye(4))
    check((meddino.Volume.from_nibabel(swapped).array == array).all())
    check((np.asarray(meddino.Volume(array.astype(np.int64)).to_nibabel().dataobj).T == array).all())
    check(np.asarray(meddino.Volume(array > 0).to_nibabel().dataobj).dtype == np.uint8)
    check(meddino.Volume.from_nibabel(nib.Nifti1Image(array.T[..., None, None], np.eye(4))).shape == array.shape)
    raises(ValueError, lambda: meddino.Volume.from_nibabel(nib.Nifti1Image(np.zeros((2, 2, 2, 2, 2), np.int16), np.eye(4))), "shape")
    if real:
        path = os.path.join(FOLDER, "n.nii")
        nib.save(image, path)
        context = meddino.Context(threads=1)
        read = meddino.Image.read(context, path)
        check((read.array == array).all() and np.allclose(read.origin, ORIGIN) and np.allclose(read.direction, TURNED))
        check((meddino.Volume.from_nibabel(nib.load(path)).array == array).all())
    else:
        del sys.modules["nibabel"]


def errors(context):
    error = raises(OSError, lambda: meddino.Model.open(context, "/no/such"), "/no/such")
    check(isinstance(error, meddino.FileError) and isinstance(error, meddino.Error) and error.code == meddino.E_IO and error.name == "MEDDINO_E_IO")
    again = pickle.loads(pickle.dumps(error))
    check(type(again) is meddino.FileError and str(again) == str(error) and again.code == error.code and again.name == error.name)
    raises(ValueError, lambda: meddino.Model.create(context, '{"x": 1}'), "x")
    raises(meddino.FormatError, lambda: meddino.Model.from_bytes(context, b"nothing of the kind"))
    model = meddino.Model.create(context, harness.CONFIG, 7)
    raises(MemoryError, lambda: model.segment(harness.phantom(), max_bytes=1000), "max_bytes")
    raises(meddino.ShapeError, lambda: model.segment([harness.phantom()] * 2), "channels")
    raises(meddino.StateError, model.verify, "SHA-256")
    raises(meddino.CancelledError, lambda: model.segment(harness.phantom(), progress=lambda fraction, stage: False))
    raises(TypeError, lambda: model.segment(harness.phantom(), tile_steps=1), "tile_steps")


def pictures(model):
    if not has("matplotlib"):
        print("skipped: matplotlib is not installed")
        volume = meddino.Volume(harness.phantom())
        raises(ImportError, lambda: meddino.pictures.labels(volume, volume), "matplotlib is needed")
        return
    volume = meddino.Volume(harness.phantom(), SPACING)
    found, _ = model.segment(volume)
    axes = meddino.pictures.labels(volume, found, model.labels, index=1)
    path = os.path.join(FOLDER, "labels.png")
    axes.figure.savefig(path)
    check(os.path.getsize(path) > 2000 and "matplotlib.pyplot" not in sys.modules and len(axes.images) == 2)
    cover = np.asarray(axes.images[1].get_array())
    check(((cover[..., 3] > 0) == (found.array[1] > 0)).all())
    value = int(found.array[1].max())
    want = np.array(next(one.rgba for one in model.labels if one.value == value)[:3]) / 255
    check(np.allclose(cover[found.array[1] == value][0, :3], want, atol=1e-6))
    check({text.get_text() for text in axes.get_legend().get_texts()} == {one.name for one in model.labels if one.value and (found.array[1] == one.value).any()})
    side = meddino.pictures.labels(volume, found.array, axis="x", axes=axes.figure.add_subplot())
    check(np.isclose(side.get_aspect(), SPACING[2] / SPACING[1]) and side.images[0].origin == "lower")
    tokens = model.features(volume)
    rgb = np.asarray(meddino.pictures.features(tokens, -1).images[0].get_array())
    check((rgb == np.moveaxis(tokens.pca()[:, -1], 0, -1)).all())
    meddino.pictures.similarity(tokens, [[5, 5, 0]]).figure.savefig(path)
    nan = float("nan")
    one = meddino.Metrics._make([1, 0] + [nan] * len(meddino.Metrics._fields[2:]))
    curves = meddino.pictures.metrics([one._replace(loss=2.0), one._replace(step=2, loss=1.0)])
    check([line.get_label() for line in curves.lines] == ["loss"] and list(curves.lines[0].get_ydata()) == [2, 1])
    raises(ValueError, lambda: meddino.pictures.labels(volume, found, axis="w"), "axis")
    raises(ValueError, lambda: meddino.pictures.labels(volume, found.array[1:]), "shape")
    raises(ValueError, lambda: meddino.pictures.metrics([one], ["dices"]), "dices")


def main():
    context = meddino.Context(threads=2)
    model = meddino.Model.create(context, harness.CONFIG, 7)
    geometry()
    runs(context, model)
    sitk()
    nibabel()
    errors(context)
    pictures(model)
    harness.end("test_volumes.py")


main()
