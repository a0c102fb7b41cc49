"""Batch inference: a layer or model over any number of samples, in bounded memory."""

from typing import Any

import numpy as np

from cyrnn.engine import threads
from cyrnn.layers import nest
from cyrnn.layers.arguments import Array, as_array, check_out, checked_int

# Without a batch_size: as many samples at a time as make about this many input elements. Enough work for all
# cores, and a few tens of megabytes for what is between the layers.
_ELEMENTS = 1 << 20


class Predicts:
    """What `predict` needs from a layer: that it can be called, and says shape and dtype of its output."""

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        *,
        num_threads: int | None = None,
        out: Array | None = None,
        progress: bool = False,
        verbose: Any = None,
    ) -> Any:
        """The output for x (samples, ...), computed batch by batch in bounded memory.

        x : an array; for a model of several inputs a list or dict of them, with as many samples in each
        batch_size : samples at a time; None chooses by the size of a sample
        num_threads : at most so many threads; None is `cyrnn.get_num_threads()`
        out : array of the output's shape and dtype, such as a memory map, that the result is written to and returned
        progress : show a progress bar (needs tqdm)
        verbose : Keras' argument; accepted, changes nothing

        With a stateful layer each batch begins with the states that the one before left, row by row; the number of
        samples must be a multiple of its rows.
        """
        return _predict(self, x, batch_size, num_threads, out, progress)

    def predict_inputs(self, x: Any) -> list[Array]:
        """The arrays that `predict` cuts into batches."""
        return [as_array("x", x)]

    def in_structure(self, parts: list[Any]) -> Any:
        """What a call takes, or its shapes, of the parts for each of these arrays."""
        return parts[0]

    def stateful_rows(self) -> int | None:
        """The rows that a stateful layer carries states for; None without such a layer."""
        return None


def _predict(
    layer: Any, x: Any, batch_size: int | None, num_threads: int | None, out: Array | None, progress: bool
) -> Any:
    inputs = layer.predict_inputs(x)
    if any(array.ndim == 0 for array in inputs):
        raise ValueError("x must have a batch axis, got an array of shape ()")
    counts = [len(array) for array in inputs]
    if len(set(counts)) > 1:
        raise ValueError(f"all arrays in x must have as many samples, got {counts}")
    if any(getattr(part, "time_major", False) for part in layer.layers_within()):
        raise ValueError(
            f"layer {layer.name!r} has the batch on its second axis: call it, predict() cuts the first one"
        )
    samples, size = counts[0], _batch_size(layer, inputs, batch_size)
    if out is not None:
        shapes = layer.in_structure([array.shape for array in inputs])
        _check_out(out, layer.compute_output_shape(shapes), layer.output_dtype)
    results: list[Array] = [] if out is None else [out]
    with threads.using(num_threads):
        for first in _progress(range(0, max(1, samples), size), progress):
            batch = layer.in_structure([array[first : first + size] for array in inputs])
            part = layer(batch, training=False) if layer.keeps_training_open else layer(batch)
            parts = nest.leaves(part)
            if not results:
                results = [np.empty((samples, *values.shape[1:]), values.dtype) for values in parts]
            for result, values in zip(results, parts, strict=True):
                result[first : first + len(values)] = values
    return nest.filled(part, results)


def _batch_size(layer: Any, inputs: list[Array], batch_size: int | None) -> int:
    """The number of samples at a time. Raises ValueError before anything is computed, so that no state moves."""
    rows, samples = layer.stateful_rows(), len(inputs[0])
    wanted = None if batch_size is None else checked_int("batch_size", batch_size)
    if rows is None and getattr(layer, "stateful", False):  # it is built by the first batch, for as many rows
        rows = samples if wanted is None else wanted
    if rows is not None:
        if wanted not in (None, rows) or samples % max(1, rows):
            raise ValueError(
                f"stateful layer {layer.name!r} carries states of {rows} rows: it must be given a multiple of {rows} "
                f"samples, {rows} at a time; got {samples} samples and a batch_size of {batch_size}"
            )
        return max(1, rows)
    elements = sum(array[:1].size for array in inputs)
    return max(32, _ELEMENTS // max(1, elements)) if wanted is None else wanted


def _check_out(out: Any, shape: Any, dtype: np.dtype) -> None:
    """Raises ValueError unless the whole result can be written to `out`. Nothing has been computed yet."""
    if not all(axis is None or isinstance(axis, int) for axis in shape):
        raise ValueError("out cannot be given where the layer returns several arrays")
    check_out(out, shape, dtype)


def _progress(batches: Any, wanted: bool) -> Any:
    if not wanted:
        return batches
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'cyrnn[progress]'") from error
    return tqdm(batches, unit="batch")
