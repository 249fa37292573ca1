"""Runs on a thread of their own, and what they report."""

from __future__ import annotations

import atexit
import ctypes
import time
import weakref
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ._handles import Box, Handle
from ._library import Library
from ._structs import _LabelStats
from .errors import OK, E_CANCELLED, E_TIMEOUT


class LabelStatistics(NamedTuple):
    """How much of one label was found."""

    value: int
    voxels: int
    millilitres: float
    touches_border: bool


class Report(NamedTuple):
    """Statistics (one entry per foreground label) and warnings of a run."""

    labels: List[LabelStatistics]
    warnings: List[str]


def report_box(library: Library) -> Box:
    """An owner for a report that a call makes."""
    return Box(library, "report_release", None)


def take_report(library: Library, box: Box) -> Report:
    """What a report says."""
    labels = []
    for index in range(library.report_label_count(box.pointer)):
        stats = _LabelStats()
        stats.struct_size = ctypes.sizeof(stats)
        library.check(library.report_get_label(box.pointer, index, ctypes.byref(stats)))
        labels.append(LabelStatistics(stats.value, stats.voxels, stats.millilitres, bool(stats.touches_border)))
    count = library.report_warning_count(box.pointer)
    return Report(labels, [library.report_warning(box.pointer, index).decode("utf-8", "replace") for index in range(count)])


_RUNNING: "weakref.WeakSet[Job]" = weakref.WeakSet()


def _stop_jobs() -> None:
    for job in list(_RUNNING):
        job.close()


class _JobBox(Box):
    """A job's handle. Releasing it cancels the job and waits; what its callbacks raised and nobody saw is then said."""

    failures: Sequence[List[BaseException]] = ()

    def take(self) -> Optional[BaseException]:
        """The first exception of the callbacks, once."""
        found = [failure for failures in self.failures for failure in failures]
        for failures in self.failures:
            del failures[:]
        return found[0] if found else None

    def __del__(self) -> None:
        super().__del__()
        failure = self.take()
        if failure is not None:
            raise failure  # Python hands it to sys.unraisablehook


class Job(Handle):
    """A segmentation on a thread of its own. `labels` and `probabilities` are being written until it has ended.

    Closing (or forgetting) a job cancels it and waits for its end. What its progress function raised is raised from `wait` and `result`; if
    neither is called, sys.unraisablehook gets it.
    """

    _release = "job_release"

    def __init__(self, library: Library, labels: Any, probabilities: Any, failures: Sequence[List[BaseException]], keeps: Any) -> None:
        super().__init__(library)
        self._box = box = _JobBox(library, self._release, keeps)
        box.failures = failures
        self._failure: Optional[BaseException] = None
        self.labels = labels
        self.probabilities = probabilities
        if not _RUNNING:
            atexit.unregister(_stop_jobs)
            atexit.register(_stop_jobs)  # a job's thread must not want Python when there is none any more
        _RUNNING.add(self)

    def wait(self, timeout: Optional[float] = None) -> bool:
        """True when it has ended well, False after `timeout` seconds. Raises what stopped it: what the progress function raised, or Error."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:  # in short waits, so that Ctrl-C comes through
            left = 0.1 if end is None else min(max(end - time.monotonic(), 0), 0.1)
            status = self._library.job_wait(self._get(), int(left * 1000 + 0.999))
            if status != E_TIMEOUT:  # ended
                error = None if status == OK else self._library.error(status)
                box = self._live()
                if self._failure is None and isinstance(box, _JobBox):
                    self._failure = box.take()
                if self._failure is not None and error is not None and status != E_CANCELLED:
                    raise self._failure from error
                if self._failure is not None or error is not None:
                    raise self._failure or error  # type: ignore[misc]
                return True
            if end is not None and time.monotonic() >= end:
                return False

    def result(self) -> Tuple[Any, Report]:
        """Waits, and returns labels and report."""
        self.wait()
        return self.labels, self.report

    @property
    def progress(self) -> float:
        """0 to 1."""
        return float(self._library.job_progress(self._get()))

    def cancel(self) -> None:
        """Asks it to stop and returns at once."""
        self._library.job_cancel(self._get())

    @property
    def report(self) -> Report:
        """Of a finished segmentation."""
        box = report_box(self._library)
        self._library.check(self._library.job_report(self._get(), ctypes.byref(box.pointer)))
        return take_report(self._library, box)
