"""What training calls back, and what must live as long as a trainer."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ._callbacks import guarded
from ._library import Library
from ._runs import Watched
from ._structs import DTYPES, _SliceFn, _Tensor, _TrainOptions, _Volume
from ._types import Array, Progress, c_text
from .contexts import Cancel
from .volumes import Volume, view

if TYPE_CHECKING:
    from .models import Model


class TrainRun(Watched):
    """Options of a call of training, and of a trainer's later calls."""

    def __init__(self, library: Library, settings: Union[None, str, Mapping[str, Any]], max_bytes: Optional[int], progress: Optional[Progress],
                 cancel: Optional[Cancel], stage: int = 0, gram_teacher: "Optional[Model]" = None) -> None:
        super().__init__(library, _TrainOptions(), "train_options_init", progress, cancel)
        if settings is not None:
            self.c.settings_json = c_text(settings if isinstance(settings, str) else json.dumps(settings), "settings")
        self.c.max_bytes = max_bytes or 0
        self.c.objective = stage
        self.c.gram_teacher = None if gram_teacher is None else gram_teacher._get()


class SliceSource:
    """A function that gives slices, and what it raised."""

    def __init__(self, library: Library, get: Callable[[int], Array], spacing: Sequence[float]) -> None:
        self.failures: List[BaseException] = []
        held: List[Any] = [None]  # until the next slice is asked for
        place: Tuple[float, ...] = tuple(spacing) + (1,)

        def fill(index: int, target: int) -> bool:
            array = np.asarray(get(index))
            if array.ndim != 2:
                raise ValueError("slice %d has %d axes, expected rows and columns" % (index, array.ndim))
            held[0] = one = view(library, Volume(array[np.newaxis], place))
            ctypes.memmove(target, ctypes.byref(one), ctypes.sizeof(_Volume))
            return False

        self.thunk = guarded(_SliceFn, fill, self.failures)


def tensor(array: Any, name: str) -> _Tensor:
    """A view of the array's own memory, which it keeps alive."""
    if not isinstance(array, np.ndarray):
        raise TypeError("%s: expected a numpy array, got %s" % (name, type(array).__name__))
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.dtype.name not in DTYPES or not array.dtype.isnative:
        raise TypeError("%s: dtype %s is not supported, expected one of %s" % (name, array.dtype, ", ".join(sorted(DTYPES))))
    if not 1 <= array.ndim <= 8:
        raise ValueError("%s: the array has %d axes, expected at most 8" % (name, array.ndim))
    if not any(array.strides):  # repeated elements: 0 means packed in C
        array = np.ascontiguousarray(array)
    c = _Tensor()
    c.struct_size, c.dtype, c.ndim = ctypes.sizeof(c), DTYPES[array.dtype.name], array.ndim
    c.shape[:array.ndim], c.strides[:array.ndim] = array.shape, array.strides
    c.data = array.ctypes.data
    c.data_bytes = sum((count - 1) * abs(stride) for count, stride in zip(array.shape, array.strides)) + array.itemsize if array.size else 0
    setattr(c, "_array", array)
    return c
