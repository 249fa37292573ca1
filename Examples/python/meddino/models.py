"""Networks: opening, saving, segmenting, features."""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING, Any, Dict, List, Literal, NamedTuple, Optional, Sequence, Tuple, Union, overload

import numpy as np

from ._handles import Handle, text
from ._runs import FileRun, Run, Watched, choice, numbers
from ._structs import OUTPUTS, PRECISIONS, ROPES, _Estimate, _FeatureOptions, _FreeFn, _Label, _ModelInfo, _ModelOptions, _SaveOptions, _Volume
from ._types import Array, Path, Progress, c_path, c_text
from .contexts import Cancel, Context
from .features import Features
from .images import Image
from .jobs import Job, Report, report_box, take_report
from .volumes import Volume, channels_of, placed, result_view, view, views

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._runs import RunOptions

_MEMORY_OPEN: Dict[int, bytes] = {}  # bytes lent to the library until its free callback
_KEYS = itertools.count(1)
_FORGET = _FreeFn(_MEMORY_OPEN.pop)  # pop(user, data): no Python code, so nothing can interrupt it


class Label(NamedTuple):
    """One value of a label map."""

    value: int
    name: str
    rgba: Tuple[int, int, int, int]
    coding_scheme: Optional[str]
    code: Optional[str]


class ModelInfo(NamedTuple):
    """What a model is: see meddino_model_info."""

    labels: int
    heads: int
    output_kind: str
    channels: int
    patch: int
    embed_dim: int
    depth: int
    members: int
    tile: Tuple[int, int]
    spacing: Tuple[float, float]
    weights_bytes: int


class Estimate(NamedTuple):
    """What a run would take."""

    peak_bytes: int
    tiles: int
    flops: float


class _Work:
    """Arguments of a segmentation, which must live as long as it runs."""

    def __init__(self, model: "Model", image: Any, place: Tuple[Any, ...], out: Any, probabilities: Any) -> None:
        library = model._library
        self.channels = [placed(channel, *place) for channel in channels_of(image)]
        if not self.channels:
            raise ValueError("no channel given, expected at least one")
        self.volumes = isinstance(channels_of(image)[0], Volume)
        self.pointers, self.views = views(library, self.channels)
        grid = self.channels[0].shape[-3:]
        if out is None:
            out = np.empty(grid, np.uint8 if max([label.value for label in model.labels] + [0]) < 256 else np.uint16)
        self.labels: Array = out.array if isinstance(out, Volume) else out
        self.target = result_view(library, self.labels)
        self.scores: Optional[Array] = None
        if probabilities is True:
            self.scores = np.empty((max(model.info.heads, 1),) + ((1,) + grid)[-3:], np.float32)
        elif probabilities is not False and probabilities is not None:
            self.scores = probabilities
        self.scores_view = None if self.scores is None else result_view(library, self.scores)

    def arguments(self, run: Watched) -> Tuple[Any, ...]:
        """channels, count, options, labels, probabilities as C takes them."""
        scores = None if self.scores_view is None else ctypes.byref(self.scores_view)
        return self.pointers, len(self.views), run.reference(), ctypes.byref(self.target), scores

    def result(self, array: Array) -> Union[Array, Volume]:
        """A volume where the input was one."""
        return self.channels[0].like(array) if self.volumes else array


class Model(Handle):
    """A network, or several whose outputs are averaged, with plan and labels. Made by `open`, `from_bytes`, `create` and `combine`.

    Options of runs: tile_step, mirror (True, False or ("rows", "columns")), precision ("float32", "bfloat16"), body_crop, roi (x0, x1,
    y0, y1, z0, z1), label_subset, max_bytes, cancel, and progress(fraction, stage): False stops the run, what it raises stops the run
    and is raised from the call.
    """

    _release = "model_release"

    @classmethod
    def open(cls, context: Context, path: Path, folds: Sequence[int] = (), checkpoint: Optional[str] = None,
             configuration: Optional[str] = None, rope: Optional[str] = None) -> "Model":
        """Opens a model file, a checkpoint or a folder. rope: "bfloat16" or "float32" where a checkpoint's layout implies the other."""
        model = cls(context._library, context._live())
        options = _ModelOptions()
        model._library.model_options_init(ctypes.byref(options), ctypes.sizeof(options))
        for fold in folds:
            if not 0 <= fold < 64:
                raise ValueError("fold %d, expected 0 to 63" % fold)
            options.fold_mask |= 1 << fold
        options.checkpoint = None if checkpoint is None else c_text(checkpoint, "checkpoint")
        options.configuration = None if configuration is None else c_text(configuration, "configuration")
        options.rope = choice(rope, ROPES, "rope")
        model._library.check(model._library.model_open(context._get(), c_path(path), ctypes.byref(options), model._out()))
        return model

    @classmethod
    def from_bytes(cls, context: Context, data: bytes) -> "Model":
        """Opens a model file or checkpoint in memory. The bytes are not copied."""
        model = cls(context._library, context._live())
        held = bytes(data)
        address = ctypes.cast(ctypes.c_char_p(held), ctypes.c_void_p).value
        key = next(_KEYS)
        _MEMORY_OPEN[key] = held
        model._library.check(model._library.model_open_memory(context._get(), address, len(held), _FORGET, key, model._out()))
        return model

    @classmethod
    def create(cls, context: Context, config_json: str, seed: int = 0) -> "Model":
        """A fresh network with random weights."""
        model = cls(context._library, context._live())
        model._library.check(model._library.model_create(context._get(), c_text(config_json, "config_json"), seed, model._out()))
        return model

    @classmethod
    def combine(cls, models: Sequence["Model"]) -> "Model":
        """One model of the members of all."""
        if not models:
            raise ValueError("no model given, expected at least one")
        model = cls(models[0]._library, [other._live() for other in models])
        handles = (ctypes.c_void_p * len(models))(*[other._get() for other in models])
        model._library.check(model._library.model_combine(handles, len(models), model._out()))
        return model

    def save(self, path: Path, precision: Optional[str] = None, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> None:
        """Writes one .safetensors file that `open` opens, whole or not at all. precision "bfloat16" halves it and rounds the weights."""
        run = Watched(self._library, _SaveOptions(), "save_options_init", progress, cancel)
        run.c.precision = choice(precision, PRECISIONS, "precision")
        run.check(self._library.model_save_with(self._get(), c_path(path), run.reference()))

    def verify(self, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> None:
        """Raises Error when the weights are not those that the file's SHA-256 was made of, or when there is none."""
        run = FileRun(self._library, progress, cancel)
        run.check(self._library.model_verify(self._get(), run.reference()))

    def read_image(self, path: Path, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> Image:
        """Reads an image file by the rules of the reader that the model's plan names."""
        image = Image.__new__(Image)
        Handle.__init__(image, self._library, self._live())
        run = FileRun(self._library, progress, cancel)
        run.check(self._library.image_read_for(self._get(), c_path(path), run.reference(), image._out()))
        return image

    @property
    def info(self) -> ModelInfo:
        """Sizes and kind of the network."""
        i = _ModelInfo()
        i.struct_size = ctypes.sizeof(i)
        self._library.check(self._library.model_get_info(self._get(), ctypes.byref(i)))
        return ModelInfo(i.labels, i.heads, OUTPUTS.get(i.output_kind, str(i.output_kind)), i.channels, i.patch, i.embed_dim, i.depth, i.members,
                         (i.tile[0], i.tile[1]), (i.spacing[0], i.spacing[1]), i.weights_bytes)

    @property
    def labels(self) -> List[Label]:
        """Background first."""
        result = []
        for index in range(self.info.labels):
            c = _Label()
            c.struct_size = ctypes.sizeof(c)
            self._library.check(self._library.model_get_label(self._get(), index, ctypes.byref(c)))
            rgba = (c.rgba[0], c.rgba[1], c.rgba[2], c.rgba[3])
            result.append(Label(c.value, text(c.name) or "", rgba, text(c.coding_scheme), text(c.code)))
        return result

    def metadata(self, key: str) -> Optional[str]:
        """A text that the model carries, such as "plans"; None if it does not."""
        return text(self._library.model_metadata(self._get(), c_text(key, "key")))

    def estimate(self, shape: Sequence[int], spacing: Sequence[float] = (1, 1, 1), **options: "Unpack[RunOptions]") -> Estimate:
        """What a run over a volume of shape (z, y, x) would take."""
        run = Run(self._library, options)
        volume = _Volume()
        self._library.volume_init(ctypes.byref(volume), ctypes.sizeof(volume))
        volume.dims[:] = [int(extent) for extent in reversed(numbers(shape, 3, "shape"))]
        volume.spacing[:] = numbers(spacing, 3, "spacing")
        volume.channels = self.info.channels
        result = _Estimate()
        result.struct_size = ctypes.sizeof(result)
        self._library.check(self._library.estimate_run(self._get(), ctypes.byref(volume), run.reference(), ctypes.byref(result)))
        return Estimate(result.peak_bytes, result.tiles, result.flops)

    @overload
    def segment(self, image: Union[Array, Sequence[Array]], spacing: Optional[Sequence[float]] = None, origin: Optional[Sequence[float]] = None,
                direction: Optional[Any] = None, space: Optional[str] = None, modality: Optional[str] = None, out: Optional[Array] = None,
                probabilities: Literal[False] = False, **options: "Unpack[RunOptions]") -> Tuple[Array, Report]: ...

    @overload
    def segment(self, image: Union[Volume, Sequence[Volume]], *, out: Union[None, Array, Volume] = None, probabilities: Literal[False] = False,
                **options: "Unpack[RunOptions]") -> Tuple[Volume, Report]: ...

    @overload
    def segment(self, image: Union[Array, Sequence[Array]], spacing: Optional[Sequence[float]] = None, origin: Optional[Sequence[float]] = None,
                direction: Optional[Any] = None, space: Optional[str] = None, modality: Optional[str] = None, out: Optional[Array] = None, *,
                probabilities: Union[Literal[True], Array], **options: "Unpack[RunOptions]") -> Tuple[Array, Report, Array]: ...

    @overload
    def segment(self, image: Union[Volume, Sequence[Volume]], *, out: Union[None, Array, Volume] = None,
                probabilities: Union[Literal[True], Array], **options: "Unpack[RunOptions]") -> Tuple[Volume, Report, Volume]: ...

    def segment(self, image: Any, spacing: Any = None, origin: Any = None, direction: Any = None, space: Any = None, modality: Any = None,
                out: Any = None, probabilities: Any = False, **options: Any) -> Any:
        """Labels an array (z, y, x) or (y, x), or a list of arrays, one per input channel; (c, z, y, x) brings several. Or volumes, which
        have their own spacing, origin, direction, space and modality.

        out: an integer array to write to; probabilities: True, or a float32 array (heads, z, y, x) to write to.
        Returns (labels, report), with probabilities (labels, report, probabilities): volumes where a volume was given.
        """
        run = Run(self._library, options)
        work = _Work(self, image, (spacing, origin, direction, space, modality), out, probabilities)
        report = report_box(self._library)
        run.check(self._library.segment(self._get(), *work.arguments(run), ctypes.byref(report.pointer)))
        found = (work.result(work.labels), take_report(self._library, report))
        return found if work.scores is None else found + (work.result(work.scores),)

    def segment_async(self, image: Union[Array, Volume, Sequence[Array], Sequence[Volume]], spacing: Optional[Sequence[float]] = None,
                      origin: Optional[Sequence[float]] = None, direction: Optional[Any] = None, space: Optional[str] = None,
                      modality: Optional[str] = None, out: Union[None, Array, Volume] = None, probabilities: Union[bool, Array] = False,
                      **options: "Unpack[RunOptions]") -> Job:
        """The same on a thread of its own. The arrays must not be changed until the job has ended."""
        run = Run(self._library, options, interruptible=False)
        work = _Work(self, image, (spacing, origin, direction, space, modality), out, probabilities)
        scores = None if work.scores is None else work.result(work.scores)
        job = Job(self._library, work.result(work.labels), scores, (run.failures,), (run, self._live(), work))
        self._library.check(self._library.segment_async(self._get(), *work.arguments(run), job._out()))
        return job

    def segment_image(self, image: Image, **options: "Unpack[RunOptions]") -> Tuple[Image, Report]:
        """From image to image."""
        run = Run(self._library, options)
        labels = Image.__new__(Image)
        Handle.__init__(labels, self._library, (image._live(), self._live()))
        report = report_box(self._library)
        run.check(self._library.segment_image(self._get(), image._get(), run.reference(), labels._out(), ctypes.byref(report.pointer)))
        return labels, take_report(self._library, report)

    def features(self, image: Union[Array, Volume], spacing: Optional[Sequence[float]] = None, origin: Optional[Sequence[float]] = None,
                 direction: Optional[Any] = None, space: Optional[str] = None, blocks: Sequence[int] = (), apply_norm: bool = True,
                 input_size: Tuple[int, int] = (0, 0), slices: Tuple[int, int] = (0, 0), **options: "Unpack[RunOptions]") -> Features:
        """Patch tokens of the slices of an array or a volume. Of the options of a run precision, max_bytes, progress and cancel are used."""
        run = Run(self._library, options)
        wanted = _FeatureOptions()
        self._library.feature_options_init(ctypes.byref(wanted), ctypes.sizeof(wanted))
        if len(blocks) > 8:
            raise ValueError("%d blocks, expected at most 8" % len(blocks))
        wanted.block_count = len(blocks)
        for index, block in enumerate(blocks):
            wanted.blocks[index] = block
        wanted.apply_norm = 1 if apply_norm else 0
        wanted.input_size[:] = [int(extent) for extent in input_size]
        wanted.slice_begin, wanted.slice_end = slices
        volume = view(self._library, placed(image, spacing, origin, direction, space))
        features = Features(self._library, self._live())
        run.check(self._library.features_create(self._get(), ctypes.byref(volume), ctypes.byref(wanted), run.reference(), features._out()))
        return features
