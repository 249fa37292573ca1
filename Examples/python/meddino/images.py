"""Volumes in memory of the library's own, from and to NIfTI, NRRD and MetaImage files."""

from __future__ import annotations

import ctypes
from typing import Any, Optional, Sequence, Tuple, Union

from ._handles import Handle
from ._runs import FileRun
from ._structs import DTYPE_NAMES, _Volume
from ._types import Array, Path, Progress, c_path
from .contexts import Cancel, Context
from .volumes import Volume, borrowed, placed, view


class Image(Handle):
    """A volume in memory of the library's own: `array` is a read-only view of it, (z, y, x) or (c, z, y, x)."""

    _release = "image_release"

    def __init__(self, context: Context, array: Union[None, Array, Volume] = None, spacing: Optional[Sequence[float]] = None,
                 origin: Optional[Sequence[float]] = None, direction: Optional[Any] = None, space: Optional[str] = None,
                 modality: Optional[str] = None) -> None:
        """A copy of an array or a volume. Without one an empty owner, for `read` and the calls that return images."""
        super().__init__(context._library, context._live())
        if array is not None:
            volume = view(self._library, placed(array, spacing, origin, direction, space, modality))
            self._library.check(self._library.image_create(context._get(), ctypes.byref(volume), self._out()))

    @classmethod
    def read(cls, context: Context, path: Path, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> "Image":
        """Reads a NIfTI, NRRD or MetaImage file as ITK does. For a model whose plan names another reader: Model.read_image."""
        image = cls(context)
        run = FileRun(image._library, progress, cancel)
        run.check(image._library.image_read_with(context._get(), c_path(path), run.reference(), image._out()))
        return image

    def write(self, path: Path, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> None:
        """Writes the format of the ending (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd), whole or not at all."""
        run = FileRun(self._library, progress, cancel)
        run.check(self._library.image_write_with(self._get(), c_path(path), run.reference()))

    def _view(self) -> _Volume:
        volume = _Volume()
        volume.struct_size = ctypes.sizeof(volume)
        self._library.check(self._library.image_view(self._get(), ctypes.byref(volume)))
        return volume

    @property
    def array(self) -> Array:
        """A read-only view, which keeps the voxels alive."""
        v = self._view()
        shape, strides = [v.dims[2], v.dims[1], v.dims[0]], [v.strides[2], v.strides[1], v.strides[0]]
        if v.channels > 1:
            shape.insert(0, v.channels)
            strides.insert(0, v.channel_stride)
        return borrowed(v.data, v.data_bytes, DTYPE_NAMES[v.dtype], shape, strides, self._live())

    @property
    def volume(self) -> Volume:
        """`array` and its place, in LPS; no voxel is copied."""
        return Volume(self.array, self.spacing, self.origin, self.direction)

    @property
    def spacing(self) -> Tuple[float, ...]:
        """x, y, z in mm."""
        return tuple(self._view().spacing)

    @property
    def origin(self) -> Tuple[float, ...]:
        """x, y, z in mm, LPS."""
        return tuple(self._view().origin)

    @property
    def direction(self) -> Tuple[float, ...]:
        """Row by row; columns are the directions of x, y, z in LPS."""
        return tuple(self._view().direction)
