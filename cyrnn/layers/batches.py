"""Batch inference: a layer or model over any number of samples, in bounded memory."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.engine import threads
from cyrnn.layers.base import Array, as_array, checked_int

# Without a batch_size: as many samples at a time as make about this many input elements. Enough work for all
# cores, and a few tens of megabytes for what is between the layers.
_ELEMENTS = 1 << 20


def predict_in_batches(
    layer: Any,
    x: ArrayLike,
    batch_size: int | None,
    *,
    num_threads: int | None,
    out: Array | None,
    progress: bool,
) -> Any:
    """``layer(x)`` in batches along axis 0; a tuple of arrays where the layer returns one."""
    samples = as_array("x", x)
    if samples.ndim == 0:
        raise ValueError("x must have a batch axis, got an array of shape ()")
    if batch_size is None:
        batch_size = max(32, _ELEMENTS // max(1, samples[:1].size))
    else:
        batch_size = checked_int("batch_size", batch_size)
    if out is not None:
        _check_out(out, layer.compute_output_shape(samples.shape), layer.output_dtype)
    results: list[Array] = [] if out is None else [out]
    with threads.using(num_threads):
        for first in _progress(range(0, max(1, len(samples)), batch_size), progress):
            part = layer(samples[first : first + batch_size])
            parts = part if isinstance(part, tuple) else (part,)
            if not results:
                results = [np.empty((len(samples), *values.shape[1:]), values.dtype) for values in parts]
            for result, values in zip(results, parts, strict=True):
                result[first : first + len(values)] = values
    return tuple(results) if isinstance(part, tuple) else results[0]


def _check_out(out: Any, shape: Any, dtype: np.dtype) -> None:
    """Raises ValueError unless the whole result can be written to `out`. Nothing has been computed yet."""
    if not all(axis is None or isinstance(axis, int) for axis in shape):
        raise ValueError("out cannot be given where the layer returns several arrays")
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        got = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be an array of shape {shape} and dtype {dtype}, got {got}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")


def _progress(batches: Any, wanted: bool) -> Any:
    if not wanted:
        return batches
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'cyrnn[progress]'") from error
    return tqdm(batches, unit="batch")
