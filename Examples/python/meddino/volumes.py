"""Arrays with their place in the patient, from and to SimpleITK and nibabel."""

from __future__ import annotations

import ctypes
from typing import Any, List, Optional, Sequence, Tuple, TypeVar, Union, cast

import numpy as np

from ._library import Library
from ._library import library as _library_of
from ._runs import choice, numbers
from ._structs import DTYPES, MODALITIES, SPACES, _Volume
from ._types import Array

Triple = Tuple[float, float, float]
_Self = TypeVar("_Self", bound="Volume")
_IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)


class Volume:
    """An array (z, y, x), (y, x) or (c, z, y, x) of any strides, used in place, and where its voxels lie:
    point(x, y, z) = origin + direction · (spacing · index), in mm.

    spacing and origin are x, y, z; direction has 9 values (or 3 × 3), row by row, its columns being the directions of x, y and z; all in the
    patient axes `space`, "LPS" as of SimpleITK or "RAS" as of nibabel. affine (4 × 4, index (x, y, z) to mm) stands for the three together.
    modality: "CT" or "MR", only used for warnings.
    """

    def __init__(self, array: Array, spacing: Optional[Sequence[float]] = None, origin: Optional[Sequence[float]] = None,
                 direction: Optional[Any] = None, affine: Optional[Any] = None, space: str = "LPS", modality: Optional[str] = None) -> None:
        _check_array(array)
        choice(space, SPACES, "space")
        choice(modality, MODALITIES, "modality")
        if affine is not None:
            if spacing is not None or origin is not None or direction is not None:
                raise ValueError("affine says spacing, origin and direction; give it or them")
            spacing, origin, direction = _of_affine(affine)
        self.array: Array = array
        self.spacing = cast(Triple, tuple(numbers((1, 1, 1) if spacing is None else spacing, 3, "spacing")))
        self.origin = cast(Triple, tuple(numbers((0, 0, 0) if origin is None else origin, 3, "origin")))
        nine = np.asarray(_IDENTITY if direction is None else direction, dtype=float).reshape(-1)
        self.direction: Tuple[float, ...] = tuple(numbers(nine, 9, "direction"))
        self.space = space
        self.modality = modality

    @property
    def affine(self) -> Array:
        """4 × 4: index (x, y, z) to mm in this volume's space. For nibabel's: `volume.to_space("RAS").affine`."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(self.direction).reshape(3, 3) * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def shape(self) -> Tuple[int, ...]:
        """That of the array."""
        return tuple(self.array.shape)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Array:
        if copy is False and dtype is not None and np.dtype(dtype) != self.array.dtype:
            raise ValueError("another dtype needs a copy")
        array = self.array if dtype is None else self.array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __repr__(self) -> str:
        return "Volume(%s %s, spacing=%r, origin=%r, direction=%r, space=%r)" % (
            self.array.dtype, self.array.shape, self.spacing, self.origin, self.direction, self.space)

    def like(self: _Self, array: Array) -> _Self:
        """Another array at this volume's place."""
        return type(self)(array, self.spacing, self.origin, self.direction, None, self.space, self.modality)

    def to_space(self: _Self, space: str) -> _Self:
        """The same voxels with origin and direction in other patient axes."""
        choice(space, SPACES, "space")
        signs = np.array([1.0, 1.0, 1.0] if space == self.space else [-1.0, -1.0, 1.0])
        direction = np.array(self.direction).reshape(3, 3) * signs[:, None]
        return type(self)(self.array, self.spacing, (np.array(self.origin) * signs).tolist(), direction, None, space, self.modality)

    def check(self) -> None:
        """Raises Error where the library would refuse this volume, without looking at voxels."""
        library = _library_of()
        library.check(library.volume_check(ctypes.byref(view(library, self))))

    @classmethod
    def from_sitk(cls, image: Any, modality: Optional[str] = None) -> "Volume":
        """A view of a SimpleITK image of 2 or 3 dimensions, which it keeps alive. Components of vectors become channels."""
        from . import _interchange
        return _interchange.from_sitk(cls, image, modality)

    def to_sitk(self) -> Any:
        """A SimpleITK image with a copy of the voxels. Channels become components of vectors; bool becomes uint8, float16 float32."""
        from . import _interchange
        return _interchange.to_sitk(self)

    @classmethod
    def from_nibabel(cls, image: Any, modality: Optional[str] = None) -> "Volume":
        """A view of a nibabel image, where its data are not compressed, scaled or of another machine's byte order; else a copy. What lies
        along the fourth axis, or the fifth, becomes channels."""
        from . import _interchange
        return _interchange.from_nibabel(cls, image, modality)

    def to_nibabel(self) -> Any:
        """A nibabel.Nifti1Image on the same memory. bool becomes uint8 and float16 float32, by a copy."""
        from . import _interchange
        return _interchange.to_nibabel(self)


def _of_affine(affine: Any) -> Tuple[List[float], List[float], Array]:
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4):
        raise ValueError("affine has the shape %s, expected (4, 4)" % (matrix.shape,))
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise ValueError("the last row of affine is %s, expected 0 0 0 1" % matrix[3])
    lengths = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if not (np.isfinite(matrix).all() and (lengths > 0).all()):
        raise ValueError("affine has columns of the lengths %s, expected finite and positive ones" % lengths)
    return lengths.tolist(), matrix[:3, 3].tolist(), matrix[:3, :3] / lengths


def _check_array(array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError("expected a numpy array, got %s" % type(array).__name__)
    if array.dtype.name not in DTYPES and array.dtype.name != "bool":
        raise TypeError("dtype %s is not supported, expected one of %s" % (array.dtype, ", ".join(sorted(DTYPES))))
    if not array.dtype.isnative:
        raise TypeError("the array has the byte order of another machine; use array.astype(array.dtype.newbyteorder('='))")
    if array.ndim not in (2, 3, 4):
        raise ValueError("the array has %d axes, expected (y, x), (z, y, x) or (c, z, y, x)" % array.ndim)


def placed(array: Union[Array, Volume], spacing: Optional[Sequence[float]] = None, origin: Optional[Sequence[float]] = None,
           direction: Optional[Any] = None, space: Optional[str] = None, modality: Optional[str] = None) -> Volume:
    """A volume as it is, or an array with the place that the arguments say."""
    if not isinstance(array, Volume):
        return Volume(array, spacing, origin, direction, None, space or "LPS", modality)
    for name, value in (("spacing", spacing), ("origin", origin), ("direction", direction), ("space", space), ("modality", modality)):
        if value is not None:
            raise ValueError("%s is given beside a Volume, which has its own" % name)
    return array


def view(library: Library, volume: Volume, output: bool = False) -> _Volume:
    """What C gets: a view of the array's own memory, which it keeps alive. Repeated voxels, which C does not know, are copied."""
    array = volume.array
    if output and not array.flags.writeable:
        raise ValueError("the array for a result is read-only")
    if array.size and any(stride == 0 and count > 1 for stride, count in zip(array.strides, array.shape)):
        if output:
            raise ValueError("the array for a result has voxels that share memory")
        array = np.ascontiguousarray(array)
    shape = (1,) * (4 - array.ndim) + array.shape
    strides = (0,) * (4 - array.ndim) + array.strides
    c = _Volume()
    library.volume_init(ctypes.byref(c), ctypes.sizeof(c))
    c.dtype = DTYPES.get(array.dtype.name, 1)
    c.channels, c.space, c.modality = shape[0], SPACES[volume.space], MODALITIES[volume.modality]
    c.dims[:] = [shape[3], shape[2], shape[1]]
    # Strides of axes with one entry mean nothing; "all 0" would mean packed.
    c.strides[:] = [strides[3 - axis] if shape[3 - axis] > 1 else array.itemsize for axis in range(3)]
    c.channel_stride = strides[0] if shape[0] > 1 else array.itemsize
    c.spacing[:], c.origin[:], c.direction[:] = volume.spacing, volume.origin, volume.direction
    reach = sum((count - 1) * abs(stride) for count, stride in zip(shape, strides)) + array.itemsize
    c.data_bytes = reach if array.size else 0
    if output:
        c.writable = array.ctypes.data
    else:
        c.data = array.ctypes.data
    setattr(c, "_array", array)
    return c


def result_view(library: Library, array: Array) -> _Volume:
    """A view of an array that a call writes to."""
    return view(library, Volume(array), output=True)


def views(library: Library, channels: Sequence[Volume]) -> Tuple[Any, List[_Volume]]:
    """An array of pointers to views, and the views."""
    each = [view(library, channel) for channel in channels]
    return (ctypes.POINTER(_Volume) * max(len(each), 1))(*[ctypes.pointer(one) for one in each]), each


def channels_of(image: Any) -> List[Union[Array, Volume]]:
    """A list of channels, from one array, one volume, or a list of them."""
    return list(image) if isinstance(image, (list, tuple)) else [image]


def borrowed(address: int, byte_count: int, dtype: str, shape: Sequence[int], strides: Sequence[int], owner: Any) -> Array:
    """A read-only array over memory of the library; every view of it keeps the owner alive."""
    before = -sum((count - 1) * stride for count, stride in zip(shape, strides) if stride < 0)  # bytes below the first element
    memory = (ctypes.c_uint8 * byte_count).from_address(address - before)
    setattr(memory, "_owner", owner)
    buffer: Any = memory
    array: Array = np.ndarray(tuple(shape), np.dtype(dtype), buffer, before, tuple(strides))
    array.flags.writeable = False
    return array
