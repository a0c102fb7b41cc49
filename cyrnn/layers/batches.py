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
    results: Any = None
    with threads.using(num_threads):
        for first in _progress(range(0, max(1, len(samples)), batch_size), progress):
            part = layer(samples[first : first + batch_size])
            parts = part if isinstance(part, tuple) else (part,)
            if results is None:
                results = _results(parts, len(samples), out)
            for result, values in zip(results, parts, strict=True):
                result[first : first + len(values)] = values
            single = not isinstance(part, tuple)
    return results[0] if single else tuple(results)


def _results(parts: tuple[Array, ...], samples: int, out: Array | None) -> list[Array]:
    """Where the results go: `out` if it is given, else new arrays."""
    shapes = [(samples, *part.shape[1:]) for part in parts]
    if out is None:
        return [np.empty(shape, part.dtype) for shape, part in zip(shapes, parts, strict=True)]
    if len(parts) > 1:
        raise ValueError("out cannot be given where the layer returns several arrays")
    if not isinstance(out, np.ndarray) or out.shape != shapes[0] or out.dtype != parts[0].dtype:
        got = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be an array of shape {shapes[0]} and dtype {parts[0].dtype}, got {got}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    return [out]


def _progress(batches: Any, wanted: bool) -> Any:
    if not wanted:
        return batches
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'cyrnn[progress]'") from error
    return tqdm(batches, unit="batch")
