"""A host as a type checker sees it; nothing runs it. Lines with an ignore must be errors: an unused one is an error itself."""

from typing import Any, List, Tuple

import numpy as np
from typing_extensions import assert_type

import meddino


def use(context: meddino.Context, model: meddino.Model, array: "np.ndarray[Any, np.dtype[Any]]") -> None:
    volume = meddino.Volume(array, spacing=(1, 1, 2))
    labels, report = model.segment(volume, tile_step=0.5, progress=lambda fraction, stage: fraction < 1)
    assert_type(labels, meddino.Volume)
    assert_type(report, meddino.Report)
    assert_type(report.warnings, List[str])
    assert_type(model.segment(array, spacing=(1, 1, 2))[0], "np.ndarray[Any, np.dtype[Any]]")
    _, _, scores = model.segment(volume, probabilities=True)
    assert_type(scores, meddino.Volume)
    assert_type(volume.like(array), meddino.Volume)
    assert_type(model.labels[0].rgba, Tuple[int, int, int, int])
    assert_type([one.dice for one in meddino.evaluate(context, labels, labels)], List[float])
    trainer = meddino.Trainer(context, model, meddino.Dataset.create(model), {"epochs": 1})
    for metrics in trainer:
        assert_type(metrics.loss, float)
    with model as same:
        assert_type(same, meddino.Model)
    model.segment(volume, tile_steps=0.5)  # type: ignore[call-overload]
    model.segment(volume, spacing=(1, 1, 2))  # type: ignore[call-overload]
    model.estimate((1, 2, 3), precision=8)  # type: ignore[arg-type]
    meddino.Context(thread=1)  # type: ignore[call-arg]
    meddino.Cancel().request(1)  # type: ignore[call-arg]
