"""Data that losses and metrics cannot follow is found before the first step, where shapes are known before a call."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.engine.program import structure_now
from cyrnn.layers.base.arguments import Array
from cyrnn.training.compiled import Compiled
from cyrnn.training.compiled_loss import Predicted
from cyrnn.training.data import Batch
from cyrnn.training.protocol import Trainable

_MOST_ROWS = 32


def check_shapes(model: Trainable, compiled: Compiled, batch: Batch) -> None:
    """Raise ValueError if losses or metrics cannot follow arrays of these shapes.

    They are tried with zeros. Those of users are left out: they may do anything with zeros. Metrics begin anew.
    """
    shapes = [array.shape[1:] for parts in (batch.parts, batch.targets, batch.weights) for array in _given(parts)]
    key = (structure_now(), *shapes, *(array is None for array in (*batch.targets, *batch.weights)))
    if key == compiled.fits or not batch.rows:
        return
    rows = min(batch.rows, _MOST_ROWS)
    outputs = model.shapes_of_outputs([(rows, *part.shape[1:]) for part in batch.parts], batch.like)
    if outputs is None:
        return
    nothing: list[Array | None] = [None] * len(outputs)
    predicted = Predicted([np.zeros(shape, np.float32) for shape in outputs], nothing, nothing)
    targets, weights = _zeros(rows, batch.targets), _zeros(rows, batch.weights)
    compiled.loss.of_batch(targets, predicted, weights, only_known=True)
    compiled.metrics.update(targets, predicted.outputs, weights, nothing, only_known=True)
    compiled.metrics.reset()
    compiled.fits = key


def _given(arrays: Sequence[Array | None]) -> list[Array]:
    return [array for array in arrays if array is not None]


def _zeros(rows: int, arrays: Sequence[Array | None]) -> list[Any]:
    return [None if array is None else np.zeros((rows, *array.shape[1:]), array.dtype) for array in arrays]
