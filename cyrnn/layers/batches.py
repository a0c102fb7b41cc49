"""Batch inference: a layer or model over any number of samples, in bounded memory."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

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
        x: ArrayLike,
        batch_size: int | None = None,
        *,
        num_threads: int | None = None,
        out: Array | None = None,
        progress: bool = False,
        verbose: Any = None,
    ) -> Any:
        """The output for x (samples, ...), computed batch by batch in bounded memory.

        batch_size : samples at a time; None chooses by the size of a sample
        num_threads : at most so many threads; None is `cyrnn.get_num_threads()`
        out : array of the output's shape and dtype, such as a memory map, that the result is written to and returned
        progress : show a progress bar (needs tqdm)
        verbose : Keras' argument; accepted, changes nothing

        With a stateful layer each batch begins with the states that the one before left, row by row; the number of
        samples must be a multiple of its rows.
        """
        return _predict(self, x, batch_size, num_threads, out, progress)

    def stateful_rows(self) -> int | None:
        """The rows that a stateful layer carries states for; None without such a layer."""
        return None


def _predict(
    layer: Any, x: ArrayLike, batch_size: int | None, num_threads: int | None, out: Array | None, progress: bool
) -> Any:
    samples = as_array("x", x)
    if samples.ndim == 0:
        raise ValueError("x must have a batch axis, got an array of shape ()")
    if any(getattr(part, "time_major", False) for part in layer.layers_within()):
        raise ValueError(
            f"layer {layer.name!r} has the batch on its second axis: call it, predict() cuts the first one"
        )
    size = _batch_size(layer, samples, batch_size)
    if out is not None:
        _check_out(out, layer.compute_output_shape(samples.shape), layer.output_dtype)
    results: list[Array] = [] if out is None else [out]
    with threads.using(num_threads):
        for first in _progress(range(0, max(1, len(samples)), size), progress):
            part = layer(samples[first : first + size])
            parts = nest.flatten(part)
            if not results:
                results = [np.empty((len(samples), *values.shape[1:]), values.dtype) for values in parts]
            for result, values in zip(results, parts, strict=True):
                result[first : first + len(values)] = values
    if not nest.is_nested(part):
        return results[0]
    return type(part)(nest.pack(part, results))


def _batch_size(layer: Any, samples: Array, batch_size: int | None) -> int:
    """The number of samples at a time. Raises ValueError before anything is computed, so that no state moves."""
    rows = layer.stateful_rows()
    wanted = None if batch_size is None else checked_int("batch_size", batch_size)
    if rows is None and getattr(layer, "stateful", False):  # it is built by the first batch, for as many rows
        rows = len(samples) if wanted is None else wanted
    if rows is not None:
        if wanted not in (None, rows) or len(samples) % max(1, rows):
            raise ValueError(
                f"stateful layer {layer.name!r} carries states of {rows} rows: it must be given a multiple of {rows} "
                f"samples, {rows} at a time; got {len(samples)} samples and a batch_size of {batch_size}"
            )
        return max(1, rows)
    return max(32, _ELEMENTS // max(1, samples[:1].size)) if wanted is None else wanted


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
