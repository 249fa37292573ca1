"""What is trained on: labelled cases, or slices without labels."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Mapping, Optional, Sequence, Union

from ._handles import Handle, text
from ._library import Library
from ._structs import _SliceOptions
from ._types import Array, Path, Progress, c_path, c_text
from ._training_runs import SliceSource, TrainRun
from .contexts import Cancel, Context
from .models import Model
from .volumes import Volume, channels_of, placed, view, views


def _slice_options(library: Library, skip_damaged: bool = False, spacing: float = 0) -> _SliceOptions:
    options = _SliceOptions()
    library.slice_options_init(ctypes.byref(options), ctypes.sizeof(options))
    options.skip_damaged, options.spacing = int(skip_damaged), spacing
    return options


class Dataset(Handle):
    """Cases to train on: `open` a folder that `prepare` made, or `create` an empty one with the plan and labels of a model and `add` to it.
    Or slices to pretrain on: `open_slices`, `from_slices`.

    A dataset from memory has no folds: every case trains and validates.
    """

    _release = "dataset_release"
    _source: Optional[SliceSource] = None

    @staticmethod
    def prepare(context: Context, raw: Path, prepared: Path, settings: Union[None, str, Mapping[str, Any]] = None,
                max_bytes: Optional[int] = None, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> None:
        """Checks a raw nnU-Net folder and prepares it under `prepared`/<its name>. settings: {"upscale": 896, ...} or their JSON text."""
        run = TrainRun(context._library, settings, max_bytes, progress, cancel)
        run.check(context._library.dataset_prepare(context._get(), c_path(raw), c_path(prepared), run.reference()))

    @classmethod
    def open(cls, context: Context, folder: Path, configuration: Optional[str] = None) -> "Dataset":
        """Opens a prepared folder. configuration: needed where several are prepared."""
        dataset = cls(context._library, context._live())
        name = None if configuration is None else c_text(configuration, "configuration")
        dataset._library.check(dataset._library.dataset_open(context._get(), c_path(folder), name, dataset._out()))
        return dataset

    @classmethod
    def create(cls, like: Model) -> "Dataset":
        """An empty dataset for cases like those that the model segments."""
        dataset = cls(like._library, like._live())
        dataset._library.check(dataset._library.dataset_create(like._get(), dataset._out()))
        return dataset

    @classmethod
    def open_slices(cls, context: Context, folder: Path, skip_damaged: bool = False) -> "Dataset":
        """Slices to pretrain on: a folder of shards that `meddino curate` made. skip_damaged: pass over what is damaged, and log it."""
        dataset = cls(context._library, context._live())
        options = _slice_options(dataset._library, skip_damaged=skip_damaged)
        dataset._library.check(dataset._library.dataset_open_slices(context._get(), c_path(folder), ctypes.byref(options), dataset._out()))
        return dataset

    @classmethod
    def from_slices(cls, context: Context, count: int, get: Callable[[int], Array], spacing: Sequence[float] = (1, 1),
                    resample: Optional[float] = None) -> "Dataset":
        """Slices to pretrain on that a function gives whenever one is needed: get(index) returns an array [rows, columns] in Hounsfield units,
        always the same for an index. spacing: mm of columns and rows; resample: the spacing they are brought to. What `get` raises is raised
        from the trainer's call. One trainer at a time may use the dataset."""
        source = SliceSource(context._library, get, spacing)
        dataset = cls(context._library, (source, context._live()))
        dataset._source = source
        options = _slice_options(dataset._library, spacing=resample or 0)
        dataset._library.check(dataset._library.dataset_from_slices(context._get(), count, source.thunk, None, ctypes.byref(options), dataset._out()))
        return dataset

    def add(self, identifier: str, image: Union[Array, Volume, Sequence[Array], Sequence[Volume]], labels: Union[Array, Volume],
            spacing: Optional[Sequence[float]] = None, origin: Optional[Sequence[float]] = None, direction: Optional[Any] = None,
            space: Optional[str] = None, max_bytes: Optional[int] = None, progress: Optional[Progress] = None,
            cancel: Optional[Cancel] = None) -> None:
        """Prepares and keeps one case: arrays or volumes as for Model.segment, labels on the same grid. The same identifier replaces a case."""
        channels = [placed(channel, spacing, origin, direction, space) for channel in channels_of(image)]
        if isinstance(labels, Volume):
            target = view(self._library, labels)
        elif channels:
            target = view(self._library, channels[0].like(placed(labels).array))
        else:
            raise ValueError("no channel given, expected at least one")
        pointers, each = views(self._library, channels)
        run = TrainRun(self._library, None, max_bytes, progress, cancel)
        run.check(self._library.dataset_add(self._get(), c_text(identifier, "identifier"), pointers, len(each), ctypes.byref(target), run.reference()))

    def __len__(self) -> int:
        return int(self._library.dataset_count(self._get()))

    @property
    def identifiers(self) -> List[str]:
        """In training order. Slices have none."""
        names = [text(self._library.dataset_case(self._get(), index)) for index in range(len(self))]
        return [name for name in names if name is not None]
