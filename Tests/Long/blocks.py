"""A small segmentation task cut out of one real CT: blocks of slices for training, and blocks in between that are held out.

The labels come from a model (TotalSegmentator), merged to eight large organs: what is measured is how well a network learns them,
not how true they are. One slice on each side of a held-out block is used for nothing, so that no slice has its neighbour in training.
"""
import json
import os

import nibabel
import numpy

ORGANS = {
    "liver": [5], "spleen": [1], "kidneys": [2, 3], "urinary bladder": [21], "colon": [20], "hip bones": [77, 78],
    "gluteal muscles": [80, 81, 82, 83, 84, 85], "back muscles": [86, 87]}
BLOCK = 8
HELD_OUT = (1, 5, 9, 12)  # between them every organ is there
LONGEST = 11
NAME = "Dataset901_Blocks"


def runs(slices):
    """(held-out ranges, training ranges) of slice numbers."""
    held = [range(block * BLOCK, (block + 1) * BLOCK) for block in HELD_OUT]
    barred = {z for part in held for z in range(part.start - 1, part.stop + 1)}
    training, start = [], None
    for z in range(slices + 1):
        free = z < slices and z not in barred
        if free and start is None:
            start = z
        if start is not None and (not free or z - start == LONGEST):
            training.append(range(start, z))
            start = z if free else None
    return held, training


def save(values, like, first, path):
    """Some slices of a volume, in their place."""
    affine = like.affine.copy()
    affine[:3, 3] = (like.affine @ [0, 0, first, 1])[:3]
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nibabel.save(image, path)


def build(source, raw):
    """Writes the nnU-Net raw dataset below `raw`; returns its folder. `source`: the folder with ct.nii.gz and seg_total.nii.gz."""
    image, truth = nibabel.load(os.path.join(source, "ct.nii.gz")), nibabel.load(os.path.join(source, "seg_total.nii.gz"))
    values = numpy.asarray(image.dataobj)
    fine = numpy.asarray(truth.dataobj)
    if values.shape != fine.shape or not numpy.allclose(image.affine, truth.affine):
        raise SystemExit(f"{source}: image {values.shape} and labels {fine.shape} are not on one grid")
    labels = numpy.zeros(fine.shape, numpy.uint8)
    for number, parts in enumerate(ORGANS.values(), 1):
        labels[numpy.isin(fine, parts)] = number
    folder = os.path.join(raw, NAME)
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    held, training = runs(values.shape[2])
    names = []
    for part, ranges in (("Ts", held), ("Tr", training)):
        for cut in ranges:
            name = f"slices_{cut.start:03d}"
            for kind, data, ending in (("images", values.astype(numpy.int16), "_0000.nii.gz"), ("labels", labels, ".nii.gz")):
                save(data[:, :, cut.start:cut.stop], image, cut.start, os.path.join(folder, kind + part, name + ending))
            if part == "Tr":
                names.append(name)
    description = {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, **{name: i for i, name in enumerate(ORGANS, 1)}},
        "numTraining": len(names), "file_ending": ".nii.gz", "name": "Blocks"}
    watched = names[len(names) // 3]  # shows the progress of training; the held-out blocks do not take part in it
    splits = [{"train": [name for name in names if name != watched], "val": [watched]}]
    for name, content in (("dataset.json", description), ("splits_final.json", splits)):
        with open(os.path.join(folder, name), "w") as file:
            json.dump(content, file, indent=4)
    return folder


def read(path):
    """(voxels, affine)."""
    image = nibabel.load(path)
    return numpy.asarray(image.dataobj), image.affine


def dice(folder, predictions):
    """Dice per organ over all voxels of the held-out blocks together."""
    counts = numpy.zeros((len(ORGANS) + 1, 3))
    names = sorted(os.listdir(os.path.join(folder, "labelsTs")))
    for name in names:
        (want, place), (got, where) = read(os.path.join(folder, "labelsTs", name)), read(os.path.join(predictions, name))
        if want.shape != got.shape or not numpy.allclose(place, where, atol=1e-3):
            raise SystemExit(f"{predictions}/{name}: not on the grid of its reference")
        for label in range(1, len(ORGANS) + 1):
            counts[label] += (want == label).sum(), (got == label).sum(), ((want == label) & (got == label)).sum()
    return {name: float(2 * counts[i, 2] / counts[i, :2].sum()) for i, name in enumerate(ORGANS, 1)}


def check(folder):
    """Raises unless the dataset is what it says: every organ on both sides, no slice on both sides, every voxel in its place."""
    voxels = {"Tr": numpy.zeros(len(ORGANS) + 1, int), "Ts": numpy.zeros(len(ORGANS) + 1, int)}
    heights = {"Tr": set(), "Ts": set()}
    for part in voxels:
        for name in sorted(os.listdir(os.path.join(folder, "labels" + part))):
            labels, affine = read(os.path.join(folder, "labels" + part, name))
            image, other = read(os.path.join(folder, "images" + part, name.replace(".nii.gz", "_0000.nii.gz")))
            assert image.shape == labels.shape and numpy.allclose(affine, other), name
            voxels[part] += numpy.bincount(labels.ravel().astype(int), minlength=len(ORGANS) + 1)
            heights[part] |= {round(float(affine[2, 3] + affine[2, 2] * z), 3) for z in range(labels.shape[2])}
    assert all(count > 200 for part in voxels.values() for count in part), voxels
    step = min(abs(a - b) for a in heights["Ts"] for b in heights["Ts"] if a != b)
    nearest = min(abs(a - b) for a in heights["Tr"] for b in heights["Ts"])
    assert nearest > 1.5 * step, (nearest, step)
    return voxels, {part: len(values) for part, values in heights.items()}
