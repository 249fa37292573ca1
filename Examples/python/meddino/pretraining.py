"""A backbone from slices without labels."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from ._types import Path, Progress
from .contexts import Cancel, Context
from .datasets import Dataset
from .models import Model
from .training import Settings, TrainEstimate, Trainer


def _settings(settings: Settings, preset: Optional[str], output: Optional[Path]) -> Settings:
    """The settings with preset and output, which the library takes among them."""
    if preset is None and output is None:
        return settings
    whole: Dict[str, Any] = dict(json.loads(settings) if isinstance(settings, str) else settings or {})
    for name, value in (("preset", preset), ("output", None if output is None else str(output))):
        if value is not None:
            if name in whole:
                raise ValueError("%s is given twice, as an argument and among the settings" % name)
            whole[name] = value
    return whole


class Pretrainer(Trainer):
    """One stage of self-supervised pretraining on slices (Dataset.open_slices, Dataset.from_slices): 1 self-distillation, 2 Gram anchoring,
    3 high resolution.

    preset: "ct-base", "ct-gram", "ct-highres", "tiny", ...; None: that of the stage. settings: a dict (or JSON text) with the keys of
    `meddino pretrain --print-config`. output: a folder that gets metrics, checkpoints and exported teachers. start: a model whose encoder
    student and teacher begin with. gram_teacher: the anchor of stages 2 and 3. `export` gives the teacher's backbone.
    """

    def __init__(self, context: Context, slices: Dataset, stage: int = 1, preset: Optional[str] = None, settings: Settings = None,
                 output: Optional[Path] = None, start: Optional[Model] = None, gram_teacher: Optional[Model] = None,
                 max_bytes: Optional[int] = None, progress: Optional[Progress] = None, cancel: Optional[Cancel] = None) -> None:
        if stage not in (1, 2, 3):
            raise ValueError("stage is %r, expected 1, 2 or 3" % (stage,))
        super().__init__(context, start, slices, _settings(settings, preset, output), max_bytes, progress, cancel, stage, gram_teacher)

    @staticmethod
    def estimate_stage(context: Context, stage: int = 1, preset: Optional[str] = None, settings: Settings = None,
                       start: Optional[Model] = None) -> TrainEstimate:
        """Memory and arithmetic of one update, from shapes alone."""
        return Trainer.estimate(context, start, None, _settings(settings, preset, None), stage)
