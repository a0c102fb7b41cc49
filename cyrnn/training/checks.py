"""Data that losses and metrics cannot follow is found before the first step, where shapes are known before a call."""

from collections.abc import Sequence
from mmap import mmap
from typing import Any

import numpy as np

from cyrnn.engine.program import structure_now
from cyrnn.layers.around.masking import Masking
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.losses.shapes import check_labels, whole_labels
from cyrnn.training.compiled import Compiled
from cyrnn.training.compiled_loss import Predicted, is_known
from cyrnn.training.data import ArrayData, Batch, Data
from cyrnn.training.protocol import Trainable


def check_data(model: Trainable, compiled: Compiled, data: Data, steps: int | None = None) -> None:
    """Raise ValueError for arrays that the model, losses or metrics cannot follow, by their shapes or by their values.

    Data that has batches itself, and memory maps, are looked at batch by batch, when a step needs one. So are labels
    of timesteps that a mask may leave out.
    """
    if isinstance(data, ArrayData):
        check_rows(model, data, steps)
        check_shapes(model, compiled, data.first())
        for number, table in model.tables_of_inputs():
            if _is_in_memory(data.x[number]):
                table.check_range(data.x[number])
        _check_labels(model, compiled, data)


def check_rows(model: Trainable, data: Data, steps: int | None = None) -> None:
    """Raise ValueError for a last batch with other rows than a model carries states for."""
    if not isinstance(data, ArrayData) or not model.stateful:
        return
    rows = data.rows if steps is None else min(data.rows, steps * data.batch_size)
    if rows % data.batch_size:
        raise ValueError(
            f"a stateful model must be given a multiple of {data.batch_size} rows, which it carries states for, got "
            f"{data.rows}"
        )


def _check_labels(model: Trainable, compiled: Compiled, data: ArrayData) -> None:
    """Raise ValueError for labels that are no classes."""
    if not any(getattr(loss, "is_sparse", False) for loss in compiled.loss.losses) or not data.rows:
        return
    shapes = model.shapes_of_outputs([(1, *part.shape[1:]) for part in data.x], data.like)
    masked = bool(data.lengths) or any(map(_may_mask, model.layers_within()))
    for loss, labels, shape in zip(compiled.loss.losses, data.y, shapes or (), strict=False):
        if not getattr(loss, "is_sparse", False) or labels is None or not _is_in_memory(labels):
            continue
        if is_known(getattr(loss, "function", loss)) and not (masked and len(shape) > 2):
            ignored = getattr(loss, "ignore_class", None)
            check_labels(whole_labels(labels), shape[loss.axis_of_values], ignored)


def _is_in_memory(array: Any) -> bool:
    """Whether all of it can be looked at: a memory map may be larger than memory."""
    if not isinstance(array, np.ndarray):
        return False
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return not isinstance(array, np.memmap | mmap)


def _may_mask(layer: Any) -> bool:
    """Whether a mask may begin in a layer."""
    return isinstance(layer, Masking) or bool(getattr(layer, "mask_zero", False)) or not is_known(layer)


def check_shapes(model: Trainable, compiled: Compiled, batch: Batch) -> None:
    """Raise ValueError if losses or metrics cannot follow arrays of these shapes.

    They are tried with zeros. Those of users are left out: they may do anything with zeros. Metrics begin anew.
    """
    shapes = [array.shape[1:] for parts in (batch.parts, batch.targets, batch.weights) for array in _given(parts)]
    key = (structure_now(), *shapes, *(array is None for array in (*batch.targets, *batch.weights)))
    if key == compiled.fits or not batch.rows:
        return
    known = model.known_input_shape
    if len(batch.parts) == 1 and nest.is_shape(known) and len(known) > 2 and all(map(is_known, model.layers_within())):
        for wrong in model.misfits((None, *batch.parts[0].shape[1:]), known):
            raise ValueError(wrong)
    rows = batch.rows
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
