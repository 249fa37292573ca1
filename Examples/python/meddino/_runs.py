"""Options of calls that take long, and everything that must live as long as they run."""

from __future__ import annotations

import ctypes
from typing import Any, List, Mapping, Optional, Sequence, TypedDict, Union

from ._callbacks import guarded
from ._library import Library
from ._structs import PRECISIONS, _FileOptions, _ProgressFn, _RunOptions
from ._types import Progress
from .contexts import Cancel
from .errors import OK, E_CANCELLED


class RunOptions(TypedDict, total=False):
    """Keywords of runs of a model. progress(fraction, stage): False stops the run, what it raises stops the run and is raised from the call."""

    tile_step: float
    mirror: Union[None, bool, Sequence[str]]
    precision: Optional[str]
    body_crop: bool
    roi: Optional[Sequence[int]]
    label_subset: Optional[Sequence[int]]
    max_bytes: Optional[int]
    progress: Optional[Progress]
    cancel: Optional[Cancel]


class Watched:
    """Progress and cancellation of one call. progress(fraction, stage): False stops it, what it raises is raised from the call."""

    def __init__(self, library: Library, options: Any, init: str, progress: Optional[Progress], cancel: Optional[Cancel],
                 interruptible: bool = True) -> None:
        self.library = library
        self.failures: List[BaseException] = []
        self.c = options
        getattr(library, init)(ctypes.byref(options), ctypes.sizeof(options))
        self._cancel = cancel
        if cancel is not None:
            self.c.cancel = cancel._get()
        if progress is not None or interruptible:  # entering Python now and then is what lets Ctrl-C in
            interrupts = library.interrupts

            def stops(fraction: float, stage: int) -> bool:
                if interrupts:
                    return True
                return progress is not None and progress(fraction, ctypes.string_at(stage).decode("utf-8", "replace")) is False

            self.c.progress = self._progress = guarded(_ProgressFn, stops, self.failures)

    def reference(self) -> Any:
        """The options as C takes them."""
        return ctypes.byref(self.c)

    def check(self, status: int) -> None:
        """Raises what the progress function raised, else what the library says of `status`."""
        if self.failures:
            failure = self.failures[0]
            if status not in (OK, E_CANCELLED):
                raise failure from self.library.error(status)
            raise failure
        self.library.check(status)


class FileRun(Watched):
    """A call that reads or writes a file."""

    def __init__(self, library: Library, progress: Optional[Progress], cancel: Optional[Cancel]) -> None:
        super().__init__(library, _FileOptions(), "file_options_init", progress, cancel)


class Run(Watched):
    """A run of a model."""

    def __init__(self, library: Library, options: Mapping[str, Any], interruptible: bool = True) -> None:
        unknown = sorted(set(options) - set(RunOptions.__annotations__))
        if unknown:
            raise TypeError("unknown option %s, expected one of %s" % (unknown[0], ", ".join(RunOptions.__annotations__)))
        super().__init__(library, _RunOptions(), "run_options_init", options.get("progress"), options.get("cancel"), interruptible)
        self.c.tile_step = options.get("tile_step", 0)
        mirror = options.get("mirror")
        if mirror is not None:
            axes = ("rows", "columns") if mirror is True else () if mirror is False else tuple(mirror)
            self.c.mirror_axes = sum({choice(axis, {"rows": 1, "columns": 2}, "mirror") for axis in axes})
        self.c.precision = choice(options.get("precision"), PRECISIONS, "precision")
        self.c.body_crop = 1 if options.get("body_crop") else 0
        roi, subset = options.get("roi"), options.get("label_subset")
        if roi is not None:
            self.c.roi[:] = [int(value) for value in numbers(roi, 6, "roi")]
        if subset is not None:
            self._subset = (ctypes.c_int32 * max(len(subset), 1))(*subset)
            self.c.label_subset, self.c.label_subset_count = self._subset, len(subset)
        self.c.max_bytes = options.get("max_bytes") or 0


def numbers(values: Any, count: int, name: str) -> List[float]:
    """`count` floats, or ValueError."""
    result = [float(value) for value in values]
    if len(result) != count:
        raise ValueError("%s has %d values, expected %d" % (name, len(result), count))
    return result


def choice(value: Any, table: Mapping[Any, int], name: str) -> int:
    """The number of a word, or ValueError."""
    if value not in table:
        raise ValueError("%s is %r, expected one of %s" % (name, value, ", ".join(repr(key) for key in table)))
    return table[value]
