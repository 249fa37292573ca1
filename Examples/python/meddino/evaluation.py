"""Scores of a prediction beside its reference."""

from __future__ import annotations

import ctypes
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np

from ._handles import Box
from ._runs import Watched
from ._structs import _EvaluationOptions, _StructureScores
from ._types import Array, Progress
from .contexts import Cancel, Context
from .volumes import Volume, placed, view


class StructureScores(NamedTuple):
    """One structure of a prediction beside its reference: see meddino_structure_scores. NaN where a score has no meaning."""

    value: int
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    dice: float
    iou: float
    nsd: float
    hd95_mm: float


def evaluate(context: Context, reference: Union[Array, Volume], prediction: Union[Array, Volume], spacing: Optional[Sequence[float]] = None,
             structures: Optional[Sequence[Union[int, Sequence[int]]]] = None, tolerance_mm: float = 1, distances: bool = True,
             ignore_label: Optional[int] = None, max_bytes: Optional[int] = None, progress: Optional[Progress] = None,
             cancel: Optional[Cancel] = None) -> List[StructureScores]:
    """Compares two label arrays of one shape, or two volumes. structures: label values, or tuples of values whose union is one structure;
    None: every value found, ascending. spacing is that of the reference in mm, where it is an array."""
    library = context._library
    run = Watched(library, _EvaluationOptions(), "evaluation_options_init", progress, cancel)
    run.c.tolerance_mm, run.c.distances, run.c.max_bytes = tolerance_mm, 1 if distances else 0, max_bytes or 0
    if ignore_label is not None:
        run.c.ignore_label = ignore_label
    if structures is not None:
        members = [[int(one)] if isinstance(one, (int, np.integer)) else [int(value) for value in one] for one in structures]
        flat = [value for one in members for value in one]
        values, counts = (ctypes.c_int32 * max(len(flat), 1))(*flat), (ctypes.c_int32 * max(len(members), 1))(*[len(one) for one in members])
        run.c.values, run.c.counts, run.c.structures = values, counts, len(members)
    expected, found = view(library, placed(reference, spacing)), view(library, placed(prediction))
    box = Box(library, "evaluation_release", None)
    run.check(library.evaluate(context._get(), ctypes.byref(expected), ctypes.byref(found), run.reference(), ctypes.byref(box.pointer)))
    result = []
    for index in range(library.evaluation_count(box.pointer)):
        s = _StructureScores()
        s.struct_size = ctypes.sizeof(s)
        library.check(library.evaluation_get(box.pointer, index, ctypes.byref(s)))
        result.append(StructureScores(s.value, s.true_positives, s.false_positives, s.false_negatives, s.true_negatives, s.dice, s.iou, s.nsd, s.hd95_mm))
    return result
