"""Pictures with matplotlib, which is imported when one is drawn: labels over a slice, features as colours, the course of a training.

Every function draws into `axes` where they are given, else into a figure of its own (nothing of pyplot's, so no window opens and no state is
left), and returns the axes; `axes.figure.savefig("labels.png")` writes it, a notebook shows `axes.figure`.
"""

from __future__ import annotations

import importlib
from typing import Any, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np

from ._types import Array
from .features import Features
from .images import Image
from .models import Label
from .training import Metrics
from .volumes import Volume

__all__ = ["features", "labels", "metrics", "similarity"]

_Picture = Union[Array, Volume, Image]
_VIEWS = {"z": ("x", "y"), "y": ("x", "z"), "x": ("y", "z")}


def _axes(axes: Any, width: float = 6, height: float = 6) -> Any:
    if axes is not None:
        return axes
    try:
        figure = importlib.import_module("matplotlib.figure")
    except ImportError as failure:
        raise ImportError("matplotlib is needed for pictures and is not installed: %s" % failure) from failure
    return figure.Figure(figsize=(width, height), layout="constrained").add_subplot()


def _voxels(picture: _Picture, name: str) -> Array:
    array = picture if isinstance(picture, np.ndarray) else picture.array
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim == 4:
        array = array[0]  # the first channel
    if array.ndim != 3:
        raise ValueError("%s has %d axes, expected (z, y, x)" % (name, array.ndim))
    return array


def _slice(array: Array, axis: str, index: int) -> Array:
    return array[(slice(None),) * "zyx".index(axis) + (index,)]


def _best(array: Array, axis: str) -> int:
    """The slice with the most labelled voxels, the middle one where there are none."""
    across = tuple(one for one in range(3) if one != "zyx".index(axis))
    counts = np.count_nonzero(array, axis=across)
    return int(counts.argmax()) if counts.any() else len(counts) // 2


def _upright(picture: _Picture, axis: str) -> bool:
    """Whether rows must be drawn from below: across the patient where z goes to the head."""
    if axis == "z" or isinstance(picture, np.ndarray):
        return axis != "z"
    return picture.direction[8] >= 0


def labels(image: _Picture, values: _Picture, names: Optional[Sequence[Label]] = None, axis: str = "z", index: Optional[int] = None,
           window: Optional[Tuple[float, float]] = None, alpha: float = 0.5, spacing: Optional[Sequence[float]] = None, axes: Any = None) -> Any:
    """A slice in grey with labels over it, in the colours of `names` (model.labels), which then get a legend.

    axis: "z" (axial), "y" (coronal) or "x" (sagittal); index: None takes the slice with the most labelled voxels; window: black and white in
    the image's units, None: -160 to 240 HU; spacing: x, y, z in mm, where the image is an array.
    """
    if axis not in _VIEWS:
        raise ValueError("axis is %r, expected one of 'z', 'y', 'x'" % (axis,))
    grey, found = _voxels(image, "image"), _voxels(values, "values")
    if grey.shape != found.shape:
        raise ValueError("values have the shape %s, expected the image's, %s" % (found.shape, grey.shape))
    index = _best(found, axis) if index is None else range(grey.shape["zyx".index(axis)])[index]
    steps = dict(zip("xyz", spacing or ((1, 1, 1) if isinstance(image, np.ndarray) else image.spacing)))
    column, row = _VIEWS[axis]
    low, high = window or (-160.0, 240.0)
    axes = _axes(axes)
    look = {"aspect": steps[row] / steps[column], "interpolation": "nearest", "origin": "lower" if _upright(image, axis) else "upper"}
    axes.imshow(_slice(grey, axis, index), cmap="gray", vmin=low, vmax=high, **look)
    plane = _slice(found, axis, index)
    colours = {one.value: one.rgba for one in names or ()}
    cover = np.zeros(plane.shape + (4,), np.float32)
    present = [int(value) for value in np.unique(plane) if value]
    for value in present:
        cover[plane == value] = _colour(value, colours, alpha)
    axes.imshow(cover, **look)
    axes.set_title("%s = %d" % (axis, index))
    axes.set_axis_off()
    if names is not None and present:
        _legend(axes, [(one.name, _colour(one.value, colours, 1)) for one in names if one.value in present])
    return axes


def _colour(value: int, colours: Any, alpha: float) -> Tuple[float, float, float, float]:
    if value in colours:
        red, green, blue = colours[value][:3]
        return red / 255, green / 255, blue / 255, alpha
    hue = value * 0.618034 % 1  # golden steps keep neighbours apart
    red, green, blue = (min(max(abs((hue + shift) % 1 * 6 - 3) - 1, 0), 1) for shift in (0, 2 / 3, 1 / 3))
    return red, green, blue, alpha


def _legend(axes: Any, entries: List[Tuple[str, Tuple[float, float, float, float]]]) -> None:
    patches = importlib.import_module("matplotlib.patches")
    axes.legend(handles=[patches.Patch(color=colour, label=name) for name, colour in entries], loc="center left", bbox_to_anchor=(1, 0.5),
                frameon=False)


def features(tokens: Features, index: int = 0, mask: Union[None, Array, Volume] = None, axes: Any = None) -> Any:
    """The first three principal components of a slice's tokens as red, green and blue; mask: see Features.pca."""
    colours = tokens.pca(mask)
    axes = _axes(axes)
    axes.imshow(np.moveaxis(colours[:, index], 0, -1), interpolation="nearest")
    axes.set_title("PCA of tokens, slice %d" % range(colours.shape[1])[index])
    axes.set_axis_off()
    return axes


def similarity(tokens: Features, points: Any, index: int = 0, axes: Any = None) -> Any:
    """Cosine similarity of a slice's tokens to those under points (n × x, y, z in mm)."""
    cosine = tokens.similarity(points)
    axes = _axes(axes)
    shown = axes.imshow(cosine[index], cmap="viridis", vmin=-1, vmax=1, interpolation="nearest")
    axes.figure.colorbar(shown, ax=axes, label="cosine similarity")
    axes.set_axis_off()
    return axes


def metrics(course: Iterable[Metrics], names: Sequence[str] = ("loss", "validation_loss", "mean_dice"), axes: Any = None) -> Any:
    """Curves over the updates made: `pictures.metrics(list(trainer))`. Names without a number in any entry are left out."""
    entries = list(course)
    for name in names:
        if name not in Metrics._fields:
            raise ValueError("names has %r, expected fields of Metrics" % (name,))
    axes = _axes(axes, 8, 4)
    for name in names:
        curve = np.array([getattr(one, name) for one in entries], float)
        if np.isfinite(curve).any():
            axes.plot([one.step for one in entries], curve, label=name.replace("_", " "), marker="." if len(entries) < 50 else None)
    axes.set_xlabel("updates")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return axes
