"""Lazy results of models for Dask arrays."""

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

from cyrnn.dask.arrays.chunk import Call, checked_model, described, prepared
from cyrnn.dask.arrays.travel import Traveller, arrived
from cyrnn.engine import threads
from cyrnn.layers.base import nest
from cyrnn.layers.base.predict import check_batch_is_first

_MISSING = "cyrnn.dask needs the package dask: pip install 'cyrnn[dask]'"


def predict(
    model: Any,
    x: Any,
    lengths: Any = None,
    num_threads: int | None = 1,
    *,
    batch_size: int | None = None,
    precision: str | None = None,
) -> Any:
    """The outputs of a model for all samples of a Dask array, as a lazy one.

    A task computes a chunk. The model as it is now travels to each worker once. The bits are those of
    ``model.predict`` on one machine, however the samples are divided. Where the number of samples of a chunk is not
    known before, the largest chunk is not known either: the bits are then those of a whole batch. Work that a worker
    has lost is done again, by others.

    Parameters
    ----------
    model : Model or Layer
        It is built, and not stateful.
    x : dask.array.Array (samples, ...), or a list or dict of these
        With one chunk along all axes but the first. Several inputs are divided as the first one.
    lengths : array (samples,) of integers, of Dask or NumPy, optional
        How many timesteps of each sample count, as in `predict`; for several inputs a list or dict of such.
    num_threads : int, optional
        The most threads of a task. Dask runs as many tasks side by side as a worker has threads, so the default is 1.
    batch_size : int, optional
        Samples at a time; see `predict`.
    precision : "float32" or "bfloat16", optional
        What products of float32 layers are computed in. None is what `cyrnn.set_precision` has set in this process.

    Returns
    -------
    dask.array.Array, or a structure of these
        Shapes and dtypes are known without a call, unless the model has custom code: that is called once with zeros.

    Raises
    ------
    ValueError, TypeError
        Now, for a model or inputs that do not fit, among them chunks along other axes; and when it is computed, for
        samples that do not fit. That message begins with the chunk and its samples.

    Examples
    --------
    >>> y = cyrnn.dask.predict(model, dask.array.from_zarr("x.zarr"))  # doctest: +SKIP
    >>> y.to_zarr("y.zarr")  # doctest: +SKIP
    """
    try:
        import dask.array as da
        from dask.base import tokenize
        from dask.highlevelgraph import HighLevelGraph
    except ImportError as error:
        raise ImportError(_MISSING) from error

    model = checked_model(model)
    check_batch_is_first(model)
    if num_threads is not None:
        threads.checked_count("num_threads", num_threads)
    leaves = nest.leaves(x)
    for leaf in leaves:
        if not isinstance(leaf, da.Array):
            raise TypeError(f"x must be a Dask array, or a list or dict of such, got {type(leaf).__name__}")
        _check_chunks(leaf)
    rows = leaves[0].chunks[0]
    leaves = [leaf if leaf.chunks[0] == rows else _divided_as("x", leaf, rows) for leaf in leaves]
    samples = None if any(map(math.isnan, rows)) else sum(rows)
    structure = nest.mapped(lambda _: None, x)
    arrays = [(leaf.shape[1:], leaf.dtype) for leaf in leaves]
    call, shapes, inputs = prepared(
        model, structure, arrays, samples, batch_size, num_threads, precision, lengths is not None
    )
    given = [] if lengths is None else model.lengths_of_inputs(lengths, len(inputs))
    ends = [None if part is None else _divided_as("lengths", da.asarray(part), rows) for part in given]

    traveller, needed = Traveller(model), [part for part in (*leaves, *ends) if part is not None]
    of_model = f"cyrnn-model-{traveller.token}"
    form = [part is None or part.name for part in (*leaves, *ends)]
    name = f"cyrnn-predict-{tokenize(traveller, form, structure, call.size, call.nominal, num_threads, call.precision)}"
    alone = len(call.shapes) == 1
    tasks = {}
    for number, samples_of_it in enumerate(_ranges(rows)):
        parts = [(leaf.name, number, *[0] * (leaf.ndim - 1)) for leaf in leaves]
        lengths_of_it = [None if part is None else (part.name, number) for part in ends]
        key = (name, number, *[0] * len(call.shapes[0])) if alone else (name, number)
        run = _output if alone else _outputs
        tasks[key] = (run, call, of_model, parts, lengths_of_it, described(number, *samples_of_it))
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=needed)
    layers = {**graph.layers, of_model: {of_model: (arrived, traveller)}}
    depend = {**graph.dependencies, of_model: set(), name: {*graph.dependencies[name], of_model}}

    def array(number: int) -> Any:
        shape, dtype, own = call.shapes[number], call.dtypes[number], name
        if not alone:
            own = f"{name}-{number}"
            layers[own] = {
                (own, index, *[0] * len(shape)): (operator.getitem, (name, index), number) for index in range(len(rows))
            }
            depend[own] = {name}
        kept = {key for key in layers if key == own or not key.startswith(f"{name}-")}
        graph = HighLevelGraph({key: layers[key] for key in kept}, {key: depend[key] for key in kept})
        return da.Array(graph, own, (rows, *[(n,) for n in shape]), dtype=dtype)

    numbers = iter(range(len(call.shapes)))
    return nest.mapped_shapes(lambda _: array(next(numbers)), shapes)


def _outputs(call: Call, *arguments: Any) -> list[Any]:
    return call.outputs(*arguments)


def _output(call: Call, *arguments: Any) -> Any:
    (output,) = call.outputs(*arguments)
    return output


def _ranges(rows: Sequence[int]) -> list[tuple[int | None, int | None]]:
    """The first sample of each chunk, and that after the last; None where they are not known."""
    if any(map(math.isnan, rows)):
        return [(None, None)] * len(rows)
    return [(last - count, last) for last, count in zip(itertools.accumulate(rows), rows, strict=True)]


def _check_chunks(leaf: Any) -> None:
    """Raises ValueError where a sample is in several chunks, or its shape is not known."""
    if leaf.ndim == 0:
        raise ValueError("x must have a batch axis, got an array of shape ()")
    if any(math.isnan(n) for n in leaf.shape[1:]):
        raise ValueError(f"x must have known lengths along all axes but the first, got {leaf.shape}")
    divided = [axis for axis, chunks in enumerate(leaf.chunks) if axis and len(chunks) > 1]
    if divided:
        whole = ", ".join(f"{axis}: -1" for axis in divided)
        raise ValueError(
            f"x must have one chunk along all axes but the first, got {len(leaf.chunks[divided[0]])} along axis "
            f"{divided[0]}: x = x.rechunk({{{whole}}})"
        )


def _divided_as(what: str, array: Any, rows: Sequence[int]) -> Any:
    """An array with its samples in the same chunks. Raises ValueError where it has others, or these are not known."""
    known = not any(map(math.isnan, (*rows, *array.chunks[0])))
    if known and array.ndim and sum(array.chunks[0]) == sum(rows):
        return array.rechunk({0: tuple(rows)})
    if not known and len(array.chunks[0]) == len(rows) and all(map(math.isnan, (*rows, *array.chunks[0]))):
        return array
    raise ValueError(
        f"{what} must have as many samples as the first x, which has {_shown(rows)}, got {_shown(array.chunks[0])}"
    )


def _shown(rows: Sequence[int]) -> str:
    return f"{len(rows)} chunks of unknown length" if any(map(math.isnan, rows)) else f"{sum(rows)} samples"
