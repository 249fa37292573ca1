"""Volumes from and to SimpleITK and nibabel, which are imported when they are needed and never otherwise."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Optional, Tuple, Type

import numpy as np

from ._types import Array

if TYPE_CHECKING:
    from .volumes import Volume


class _Held:
    """An array's memory together with what owns it: the base of arrays that must keep the owner alive."""

    def __init__(self, array: Array, owner: Any) -> None:
        self.__array_interface__ = array.__array_interface__
        self._keeps = (array, owner)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as failure:
        raise ImportError("%s is needed for this and is not installed: %s" % (name, failure)) from failure


def from_sitk(kind: "Type[Volume]", image: Any, modality: Optional[str]) -> "Volume":
    """See Volume.from_sitk."""
    axes = image.GetDimension()
    if axes not in (2, 3):
        raise ValueError("the image has %d dimensions, expected 2 or 3" % axes)
    array: Array = np.asarray(_Held(_module("SimpleITK").GetArrayViewFromImage(image), image))
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0) if axes == 3 else np.moveaxis(array, -1, 0)[:, np.newaxis]
    spacing, origin, direction = np.ones(3), np.zeros(3), np.eye(3)
    spacing[:axes], origin[:axes] = image.GetSpacing(), image.GetOrigin()
    direction[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes))
    return kind(array, spacing.tolist(), origin.tolist(), direction, None, "LPS", modality)


def _plain(array: Array) -> Array:
    """Of a type that files know."""
    return array.astype({"bool": np.uint8, "float16": np.float32}[array.dtype.name]) if array.dtype.name in ("bool", "float16") else array


def to_sitk(volume: "Volume") -> Any:
    """See Volume.to_sitk."""
    sitk, array, lps = _module("SimpleITK"), _plain(volume.array), volume.to_space("LPS")
    channels = array.ndim == 4
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(array, 0, -1) if channels else array), isVector=channels)
    axes = 2 if array.ndim == 2 else 3
    image.SetSpacing(lps.spacing[:axes])
    image.SetOrigin(lps.origin[:axes])
    image.SetDirection(np.reshape(lps.direction, (3, 3))[:axes, :axes].reshape(-1).tolist())
    return image


def from_nibabel(kind: "Type[Volume]", image: Any, modality: Optional[str]) -> "Volume":
    """See Volume.from_nibabel."""
    array: Array = np.asarray(image.dataobj)
    if array.ndim == 5 and array.shape[3] == 1:  # NIfTI's place for vectors
        array = array[:, :, :, 0]
    if array.ndim not in (2, 3, 4):
        raise ValueError("the image has the shape %s, expected 2 to 4 axes" % (array.shape,))
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return kind(array.T, affine=image.affine, space="RAS", modality=modality)


def _nifti_axes(array: Array) -> Tuple[Array, Any]:
    """Axes x, y, z and channels, and the type that has to be named (nibabel does not take 64-bit integers unasked)."""
    array = _plain(array)
    return array.T, array.dtype if array.dtype.name in ("int64", "uint64") else None


def to_nibabel(volume: "Volume") -> Any:
    """See Volume.to_nibabel."""
    array, named = _nifti_axes(volume.array)
    affine = volume.to_space("RAS").affine
    nifti = _module("nibabel").Nifti1Image
    return nifti(array, affine) if named is None else nifti(array, affine, dtype=named)
