"""nnU-Net's 2D inference of one case, straightforwardly: numpy arrays, scipy's spline resampling, torch for the network.

Whole arrays in float64 where the official pipeline computes in it; accumulators in float32.
"""
import math

import numpy
import SimpleITK
import torch
from scipy import ndimage


def resize(array, shape, order):
    """Spline resize with replicated edges and the pixel-centre convention, clipped to the input's range."""
    factors = [new / old for new, old in zip(shape, array.shape)]
    result = ndimage.zoom(array.astype(numpy.float64), factors, order=order, mode="nearest", grid_mode=True)
    assert result.shape == tuple(shape), (result.shape, shape)
    return numpy.clip(result, array.min(), array.max())


def separate_axis(current, new):
    for spacing in (current, new):
        if max(spacing) / min(spacing) > 3:
            axes = [axis for axis in range(3) if max(spacing) / spacing[axis] == 1]
            return axes[0] if len(axes) == 1 else None
    return None


def resample(array, shape, current, new, order):
    """One channel [a0, a1, a2]; the slice count of a 2D configuration stays."""
    if tuple(array.shape) == tuple(shape):
        return array
    axis = separate_axis(current, new)
    if axis is None:
        return resize(array, shape, order).astype(array.dtype)
    assert axis == 0, "only the slice axis is expected to be separate here"
    flat = [resize(plane, shape[1:], order) for plane in array]
    return numpy.stack(flat).astype(array.dtype)


def steps(size, tile, step):
    count = math.ceil((size - tile) / (tile * step)) + 1
    distance = (size - tile) / (count - 1) if count > 1 else 0
    return [round(distance * index) for index in range(count)]


def importance(tile):
    axes = [numpy.exp(-0.5 * ((numpy.arange(n) - n // 2) / (n / 8)) ** 2) for n in tile]
    return (10 * numpy.outer(*axes)).astype(numpy.float16).astype(numpy.float32)


def predict(network, plane, mirror):
    x = torch.from_numpy(plane)[None, None]
    total = network(x)
    if mirror:
        for axes in ((2,), (3,), (2, 3)):
            total = total + torch.flip(network(torch.flip(x, axes)), axes)
        total = total / 4
    return total[0].numpy()


def slice_logits(network, plane, tile, mirror, step):
    """Logits [classes, rows, columns] of one prepared slice by weighted overlapping tiles."""
    low = [max(t - n, 0) // 2 for n, t in zip(plane.shape, tile)]
    high = [max(t - n, 0) - l for n, t, l in zip(plane.shape, tile, low)]
    padded = numpy.pad(plane, list(zip(low, high)))
    weight = importance(tile)
    total = numpy.zeros((network.classes, *padded.shape), numpy.float32)
    norm = numpy.zeros(padded.shape, numpy.float32)
    for y in steps(padded.shape[0], tile[0], step):
        for x in steps(padded.shape[1], tile[1], step):
            box = (slice(y, y + tile[0]), slice(x, x + tile[1]))
            total[(slice(None), *box)] += predict(network, numpy.ascontiguousarray(padded[box]), mirror) * weight
            norm[box] += weight
    total /= norm
    return total[:, low[0]:low[0] + plane.shape[0], low[1]:low[1] + plane.shape[1]]


def normalise(volume, statistics):
    clipped = numpy.clip(volume, numpy.float32(statistics["percentile_00_5"]), numpy.float32(statistics["percentile_99_5"]))
    return (clipped - numpy.float32(statistics["mean"])) / numpy.float32(max(statistics["std"], 1e-8))


def prepare(path, plan, configuration):
    """The normalised, resampled case [slices, rows, columns] and what is needed to go back."""
    image = SimpleITK.ReadImage(path)
    raw = SimpleITK.GetArrayFromImage(image).astype(numpy.float32)
    spacing = [abs(v) for v in image.GetSpacing()[::-1]]
    forward = plan["transpose_forward"]
    volume = raw.transpose(forward)
    spacing = [spacing[axis] for axis in forward]
    present = [numpy.flatnonzero(numpy.any(volume != 0, axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    box = tuple(slice(p[0], p[-1] + 1) if len(p) else slice(0, n) for p, n in zip(present, volume.shape))
    cropped = volume[box]
    target = [spacing[0], *plan["configurations"][configuration]["spacing"]]
    shape = [round(s / t * n) for s, t, n in zip(spacing, target, cropped.shape)]
    normal = normalise(cropped, plan["foreground_intensity_properties_per_channel"]["0"])
    data = resample(normal, shape, spacing, target, 3)
    return data, {"box": box, "cropped": cropped.shape, "whole": volume.shape, "spacing": spacing, "target": target}


def segment(network, path, plan, configuration, slices, mirror=True, step=0.5):
    """Labels as stored in the file, [z, y, x], and by how much the best logit leads the second.

    Only the given slices of the transposed volume are computed, others are 0.
    """
    tile = plan["configurations"][configuration]["patch_size"]
    data, back = prepare(path, plan, configuration)
    labels = numpy.zeros(back["whole"], numpy.uint8)
    leads = numpy.zeros(back["whole"], numpy.float32)
    box = back["box"]
    with torch.inference_mode():
        for index in slices:
            inner = index - box[0].start
            if not 0 <= inner < data.shape[0]:
                continue
            logits = slice_logits(network, data[inner], tile, mirror, step)
            shape = (1, *back["cropped"][1:])
            native = numpy.stack([resample(c[None], shape, back["target"], back["spacing"], 1)[0] for c in logits])
            scores = torch.softmax(torch.from_numpy(native.astype(numpy.float32)), 0).numpy()
            labels[index][box[1:]] = scores.argmax(0)
            ranked = numpy.sort(native, 0)
            leads[index][box[1:]] = ranked[-1] - ranked[-2]
    return labels.transpose(plan["transpose_backward"]), leads.transpose(plan["transpose_backward"])
