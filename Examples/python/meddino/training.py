"""Training: one run, a step, an epoch or all of them at a time."""

from __future__ import annotations

import ctypes
import math
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Union

from ._handles import Handle
from ._structs import _Metrics, _TrainEstimate
from ._training_runs import SliceSource, TrainRun, tensor
from ._types import Array, Path, Progress, c_path
from .contexts import Cancel, Context
from .datasets import Dataset
from .errors import OK, E_CANCELLED
from .jobs import Job
from .models import Model

Settings = Union[None, str, Mapping[str, Any]]


class Metrics(NamedTuple):
    """What a step, an epoch or a validation was like: see meddino_metrics. NaN where a number has no meaning."""

    step: int
    epoch: int
    loss: float
    cross_entropy: float
    dice_loss: float
    gradient_norm: float
    learning_rate: float
    validation_loss: float
    mean_dice: float
    ema_dice: float
    best_ema_dice: float
    seconds: float
    finished: bool
    is_best: bool
    dino_local_loss: float
    dino_global_loss: float
    koleo_loss: float
    ibot_loss: float
    gram_loss: float
    gram_weight: float
    last_layer_learning_rate: float
    weight_decay: float
    momentum: float
    teacher_temperature: float
    teacher_entropy: float
    teacher_patch_entropy: float


class TrainEstimate(NamedTuple):
    """What one update would take."""

    peak_bytes: int
    step_flops: float


class TrainingJob(Job):
    """Training on a thread of its own: every epoch that is left. Until it has ended the trainer does nothing else."""

    def result(self) -> Any:
        """Waits, and returns the trainer."""
        self.wait()
        return self.labels


class Trainer(Handle):
    """One training run. settings: a dict (or JSON text) with the keys of `meddino finetune --print-config`.

    `start` is a segmenter to go on from, a backbone, or None for random weights; `dataset` is where batches come from, None for
    `step_batch` alone. progress(fraction, stage) and cancel hold for every later call of the trainer: progress may return False to stop a
    call, what it raises is raised from the call, and the next call goes on as if nothing had been stopped.

    A trainer iterates over the epochs that are left: `for metrics in trainer: ...`

    stage 1, 2 or 3 pretrains on slices instead, see Pretrainer.
    """

    _release = "trainer_release"
    _source: Optional[SliceSource] = None

    def __init__(self, context: Context, start: Optional[Model] = None, dataset: Optional[Dataset] = None, settings: Settings = None,
                 max_bytes: Optional[int] = None, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None,
                 stage: int = 0, gram_teacher: Optional[Model] = None) -> None:
        self._prepare(context, TrainRun(context._library, settings, max_bytes, progress, cancel, stage, gram_teacher), dataset)
        self._check(self._library.trainer_create(
            context._get(), None if start is None else start._get(), None if dataset is None else dataset._get(), self._run.reference(), self._out()))

    def _prepare(self, context: Context, run: TrainRun, dataset: Optional[Dataset]) -> None:
        self._run = run
        self._source = None if dataset is None else dataset._source
        Handle.__init__(self, context._library, (run, self._source, context._live()))

    @classmethod
    def resume(cls, context: Context, path: Path, dataset: Optional[Dataset] = None, max_bytes: Optional[int] = None,
               progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> "Trainer":
        """Goes on from a file that `save` wrote, with the bits of a run that was never stopped."""
        trainer = cls.__new__(cls)
        trainer._prepare(context, TrainRun(context._library, None, max_bytes, progress, cancel), dataset)
        trainer._check(trainer._library.trainer_resume(
            context._get(), c_path(path), None if dataset is None else dataset._get(), trainer._run.reference(), trainer._out()))
        return trainer

    @staticmethod
    def estimate(context: Context, start: Optional[Model] = None, dataset: Optional[Dataset] = None, settings: Settings = None,
                 stage: int = 0) -> TrainEstimate:
        """Memory and arithmetic of one update, from shapes alone."""
        run = TrainRun(context._library, settings, None, None, None, stage)
        result = _TrainEstimate()
        result.struct_size = ctypes.sizeof(result)
        run.check(context._library.trainer_estimate(
            context._get(), None if start is None else start._get(), None if dataset is None else dataset._get(), run.reference(),
            ctypes.byref(result)))
        return TrainEstimate(result.peak_bytes, result.step_flops)

    def _check(self, status: int) -> None:
        failures = self._run.failures + ([] if self._source is None else self._source.failures)
        del self._run.failures[:]  # the next call goes on
        if self._source is not None:
            del self._source.failures[:]
        if not failures:
            self._library.check(status)
        elif status in (OK, E_CANCELLED):
            raise failures[0]
        else:
            raise failures[0] from self._library.error(status)

    def _measured(self, function: Any, *arguments: Any) -> Metrics:
        m = _Metrics()
        m.struct_size = ctypes.sizeof(m)
        self._check(function(self._get(), *arguments, ctypes.byref(m)))
        values: Dict[str, Any] = {name: getattr(m, name) for name in Metrics._fields}
        values.update(finished=bool(m.finished), is_best=bool(m.is_best))
        # One NaN object, so that equal metrics compare equal.
        return Metrics._make(math.nan if value != value else value for value in values.values())

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, also of a resumed run or after a job; False while a job is at work."""
        return bool(self._library.trainer_finished(self._get()))

    def step(self) -> Metrics:
        """One update on the next batch."""
        return self._measured(self._library.trainer_step)

    def steps(self, count: Optional[int] = None) -> Iterator[Metrics]:
        """`count` updates, or until the run is finished."""
        made = 0
        while not self.finished and made != count:
            yield self.step()
            made += 1

    def step_batch(self, images: Array, targets: Array) -> Metrics:
        """One update on a batch of your own: images float32 [batch, channels, rows, columns], normalised; targets [batch, rows, columns] of label
        values, of any integer type or bool. Arrays of any strides are read in place."""
        return self._measured(self._library.trainer_step_batch, ctypes.byref(tensor(images, "images")), ctypes.byref(tensor(targets, "targets")))

    def epoch(self) -> Metrics:
        """The rest of the epoch, with validation."""
        return self._measured(self._library.trainer_epoch)

    def epochs(self) -> Iterator[Metrics]:
        """Every epoch that is left: `for metrics in trainer.epochs(): ...`"""
        while not self.finished:
            yield self.epoch()

    def __iter__(self) -> Iterator[Metrics]:
        return self.epochs()

    def validate(self) -> Metrics:
        """Loss and pseudo Dice over the validation batches; nothing changes."""
        return self._measured(self._library.trainer_validate)

    def run_async(self) -> TrainingJob:
        """Every epoch that is left, on a thread of its own."""
        failures = (self._run.failures,) if self._source is None else (self._run.failures, self._source.failures)
        job = TrainingJob(self._library, self, None, failures, (self._run, self._live()))
        self._library.check(self._library.trainer_run_async(self._get(), job._out()))
        return job

    def save(self, path: Path) -> None:
        """Writes everything that `resume` needs, whole or not at all."""
        self._check(self._library.trainer_save(self._get(), c_path(path)))

    def export(self) -> Model:
        """The model as it stands, usable at once; it does not change when the trainer goes on."""
        model = Model(self._library, self._live().keeps)
        self._check(self._library.trainer_export(self._get(), model._out()))
        return model
