"""Batch inference: a layer or model over any number of samples, in bounded memory."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from cyrnn import activations, objects
from cyrnn.engine import precision as products
from cyrnn.engine import threads
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array, check_out, checked_int
from cyrnn.layers.base.carried import states_as_before_on_error
from cyrnn.layers.base.engine_layer import EngineLayer
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.memory import check_apart, overlap
from cyrnn.layers.base.programs.bindable import Bindable
from cyrnn.layers.base.programs.lowered import of_a_batch
from cyrnn.layers.base.samples.batched_output import BatchedOutput
from cyrnn.layers.base.samples.samples import Samples
from cyrnn.notices.keywords import suggesting_keywords

# Without a batch_size: as many samples at a time as make about this many elements, of the input or of a layer's output,
# whichever has more. Enough work for all cores, and a few tens of megabytes for what is between the layers.
_ELEMENTS = 1 << 20
_LEAST_SAMPLES = 32

Progress = bool | Callable[[Iterable[int]], Iterable[int]]


class Predicts(Bindable):
    """What `predict` needs from a layer: that it can be called, and the shape and dtype of its output."""

    @suggesting_keywords
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        *,
        num_threads: int | None = None,
        out: Any = None,
        progress: Progress = False,
        verbose: Any = None,
        lengths: Any = None,
        precision: str | None = None,
    ) -> Array:
        """Compute the output for all samples, batch by batch in bounded memory.

        Parameters
        ----------
        x : array (samples, ...), or a list or dict of arrays
            For a model of several inputs a list or dict of them, with as many samples in each. Memory maps of any
            dtype and strides may be larger than memory: no more than a batch is converted at a time. So may all that
            has `shape`, `dtype` and slices, as datasets of h5py and arrays of zarr: a batch is read at a time, or a
            chunk. For one input also a list of sequences of unequal length, each (timesteps, ...) or integer tokens
            (timesteps,): they are padded on the right with zeros, and have their lengths.
        batch_size : int, optional
            Samples at a time. None chooses by the size of a sample, in the input and between the layers; for a model
            with custom layers, whose output may depend on the batches, it is 32 as in Keras.
        num_threads : int, optional
            The most threads to use. None is `cyrnn.get_num_threads()`.
        out : array, or a list, tuple or dict of arrays, optional
            Arrays of the outputs' shapes and dtypes, such as memory maps, that the outputs are written to. They have
            the structure in which the model returns its outputs, and overlap neither x, nor each other, nor weights.
        progress : bool or callable, default False
            True shows a progress bar (needs tqdm). A callable, such as ``tqdm.tqdm``, gets the iterable of batches and
            returns one that yields the same.
        verbose : optional
            Accepted as in Keras, changes nothing.
        lengths : array (samples,) of integers, optional
            How many timesteps of each sample count; those after them are padding. It stands for the mask of these. For
            several inputs a list or dict of such, with None for inputs without.
        precision : "float32" or "bfloat16", optional
            What products of float32 layers are computed in: see `cyrnn.set_precision`. None is what that has set.

        Returns
        -------
        array, or a structure of arrays
            For each output the rows that all batches returned, one batch after the other; `out` if it was given. These
            are as many rows as samples, unless a layer changes the number of rows. Then the outputs of all batches are
            kept and joined at the end, as Keras does.

        Raises
        ------
        ValueError
            For inputs that do not fit; for batches whose outputs cannot be joined; and for an `out` that the outputs
            do not fit exactly. The number of rows that a custom layer returns is checked at each batch, before it is
            written.

        Notes
        -----
        Ctrl-C ends it between batches and within them. After it, or an error, carried states are as they were, but
        `out` may be filled in part.

        With a stateful layer each batch begins with the states that the one before left, row by row; the number of
        samples must be a multiple of its rows.
        """
        if precision is not None:
            with products.using(precision):
                return self.predict(
                    x, batch_size, num_threads=num_threads, out=out, progress=progress, verbose=verbose, lengths=lengths
                )
        plain = out is None and progress is False and (lengths is None or type(x) is np.ndarray)
        if plain and _is_one_batch(self, x, batch_size):
            mask = None if lengths is None else self.mask_for(x, None, lengths)
            outputs = self.through_program(
                x, mask, 0, 0 if num_threads is None else threads.checked_count("num_threads", num_threads)
            )
            if outputs is not None:
                return outputs
        return _predict(self, x, lengths, batch_size, num_threads, out, progress)

    def predict_inputs(self, x: Any) -> list[Array]:
        """The arrays that `predict` cuts into batches."""
        return [as_array("x", x)]

    def in_structure(self, parts: list[Any], like: Any = None) -> Any:
        """The argument of a call, or its shapes, made of the parts for each of these arrays; `like` is the whole x."""
        return parts[0]

    def output_dtypes(self, count: int) -> list[np.dtype]:
        """The dtypes of `count` outputs."""
        return [self.output_dtype] * count

    def largest_shapes(self, shapes: Any) -> list[Any]:
        """The shapes of all arrays between the layers for inputs of these shapes: a batch takes memory for them."""
        return [self.compute_output_shape(shapes)]

    def stateful_rows(self) -> int | None:
        """The rows that a stateful layer carries states for; None without such a layer."""
        return None


def _predict(
    layer: Predicts,
    x: Any,
    lengths: Any,
    batch_size: int | None,
    num_threads: int | None,
    out: Any,
    progress: Progress,
) -> Any:
    samples = Samples(layer, x, lengths)
    check_batch_is_first(layer)
    size = samples_at_a_time(layer, samples.inputs, batch_size)
    outputs: list[BatchedOutput] = []
    if out is not None:
        arrays = _checked_out(layer, out, samples.inputs, samples.x)
        outputs = [BatchedOutput(layer.name, samples.count, array) for array in arrays]
    return _of_batches(layer, samples, size, min(size, samples.count), num_threads, outputs, progress)


def predict_part(layer: Predicts, x: Any, lengths: Any, size: int, nominal: int, num_threads: int | None) -> Any:
    """What `predict` returns for some of the samples, with the bits that they have among all.

    Parameters
    ----------
    layer : Predicts
    x, lengths, num_threads
        Arguments of `predict`.
    size : int
        What `samples_at_a_time` says of all samples.
    nominal : int
        The number of samples in a batch of all of them: `size`, or all where these are fewer.
    """
    return _of_batches(layer, Samples(layer, x, lengths), size, nominal, num_threads, [], False)


def check_batch_is_first(layer: Layer) -> None:
    """Raises ValueError for a layer whose batch is on another axis than the first."""
    if any(getattr(part, "time_major", False) for part in layer.layers_within()):
        raise ValueError(
            f"layer {layer.name!r} has the batch on its second axis: call it, predict() cuts the first one"
        )


def _of_batches(
    layer: Predicts,
    samples: Samples,
    size: int,
    nominal: int,
    num_threads: int | None,
    outputs: list[BatchedOutput],
    progress: Progress,
) -> Any:
    with threads.using(num_threads), states_as_before_on_error(layer):
        for first in _each(range(0, max(1, samples.count), size), progress):
            last = min(first + size, samples.count)
            part = _of_batch(layer, *samples.batch(first, last), last - first, max(nominal, last - first), outputs)
            parts = [np.asarray(values) for values in nest.leaves(part)]
            outputs = outputs or [BatchedOutput(layer.name, samples.count) for _ in parts]
            if len(parts) != len(outputs):
                raise ValueError(f"layer {layer.name!r} must return {len(outputs)} arrays each time, got {len(parts)}")
            for output, values in zip(outputs, parts, strict=True):
                output.check(values, first, last)
            for output, values in zip(outputs, parts, strict=True):
                output.append(values, last - first)
    return nest.filled(part, [output.whole() for output in outputs])


def _is_one_batch(layer: Predicts, x: Any, batch_size: int | None) -> bool:
    """Whether x is known to be one batch of arrays, before it is looked at in detail."""
    bound = layer._bound
    if bound is None or bound.keeps_states:
        return False
    most = _LEAST_SAMPLES if batch_size is None else batch_size
    counts = {_samples_of(array) for array in ((x,) if type(x) is np.ndarray else nest.leaves(x))}
    return type(most) is int and len(counts) == 1 and 0 < counts.pop() <= most


def _samples_of(array: Any) -> int:
    return len(array) if type(array) is np.ndarray and array.ndim else 0


def _of_batch(layer: Predicts, batch: Any, mask: Any, rows: int, nominal: int, outputs: list[BatchedOutput]) -> Any:
    """What the layer returns for a batch; as if it had as many rows as the others have, where it is the last."""
    rooms = [output.room(rows) for output in outputs]
    out = tuple(rooms) if rooms and all(room is not None for room in rooms) else None
    part = layer.through_program(batch, mask, nominal, 0, out)
    if part is None:
        options: dict[str, Any] = {"training": False} if layer.keeps_training_open else {}
        if mask is not None:
            options["mask"] = mask
        with of_a_batch(rows, nominal):
            part = layer.inner_call(batch, **options)
        layer.note_program(batch)
    return part


def samples_at_a_time(layer: Predicts, inputs: list[Array], batch_size: int | None) -> int:
    """The number of samples in a batch of these inputs, of which only the shapes matter.

    Raises ValueError before anything is computed, so that no state moves.
    """
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
    return _as_memory_allows(layer, inputs) if wanted is None else wanted


def _as_memory_allows(layer: Predicts, inputs: list[Array]) -> int:
    if _may_change_rows(layer):
        return _LEAST_SAMPLES  # Keras' default: what such a model returns depends on its batches
    size = _ELEMENTS // max(1, sum(array[:1].size for array in inputs))
    if min(size, len(inputs[0])) > _LEAST_SAMPLES and layer.built:  # only then it matters what is between the layers
        shapes = layer.in_structure([(1, *array.shape[1:]) for array in inputs])
        if not any(part.is_custom for part in layer.layers_within()):  # these may be run to find their shapes
            size = min(size, _ELEMENTS // max(1, *_sizes(layer.largest_shapes(shapes))))
    return max(_LEAST_SAMPLES, size)


def _may_change_rows(layer: Layer) -> bool:
    """Whether what a call returns for a row may depend on the others, as it may with a custom layer or activation."""
    custom = not objects.is_builtin(type(layer))
    if getattr(layer, "depends_on_batch", False):
        return True  # such as texts that are padded to the longest of a batch
    if hasattr(layer, "state_size") or (isinstance(layer, EngineLayer) and not custom):
        return False  # recurrent and dense layers check what a custom cell or activation returns
    if custom or activations.engine_name(getattr(layer, "activation", None)) is None:
        return True
    return any(_may_change_rows(part) for _, part in layer.sublayers)


def _sizes(shapes: Any) -> list[int]:
    """The number of elements for each shape in a structure; an axis that is not known counts once."""
    return [math.prod(1 if n is None else n for n in shape) for shape in nest.leaves_of_shapes(shapes)]


def _checked_out(layer: Predicts, out: Any, inputs: list[Array], x: Any) -> list[Array]:
    """The arrays for the outputs, in their order. Nothing has been computed yet.

    Raises ValueError unless the whole result can be written to them. How many rows custom layers return, and of which
    dtype, is only known when they are called.
    """
    samples, batch = len(inputs[0]), layer.stateful_rows()
    shapes = layer.compute_output_shape(layer.in_structure([(batch, *array.shape[1:]) for array in inputs], x))
    wanted = nest.leaves_of_shapes(shapes)
    if not all(shape and all(isinstance(n, int) for n in shape[1:]) for shape in wanted):
        raise ValueError(f"out cannot be given where the output's shape is not known before: {shapes}")
    if not nest.is_shape(shapes) and _form(out) != _form(nest.mapped_shapes(str, shapes)):
        raise ValueError(f"out must hold an array for each output, of the shapes {shapes}, in their structure")
    arrays = [out] if nest.is_shape(shapes) else nest.leaves(out)
    custom = layer.runs_custom_code
    for array, shape, dtype in zip(arrays, wanted, layer.output_dtypes(len(wanted)), strict=True):
        rows = samples
        if isinstance(array, np.ndarray) and array.ndim and (custom or shape[0] != batch):
            rows, dtype = len(array), array.dtype if custom else dtype
        check_out(array, (rows, *shape[1:]), dtype, any_order=True)
    if any(overlap(a, b) for i, a in enumerate(arrays) for b in arrays[:i]):
        raise ValueError("out must hold arrays that do not overlap")
    for array in arrays:
        check_apart("out", array, {"x": inputs, **_kept_arrays(layer)})
    return arrays


def _kept_arrays(layer: Layer) -> dict[str, list[Array]]:
    """The weights and states of the layer and those in it, by what messages call them."""
    kept: dict[str, list[Array]] = {}
    for part in layer.layers_within():
        kept[f"the weights of layer {part.name!r}"] = list(part._values.values())
        kept[f"the states of layer {part.name!r}"] = [
            state for state in nest.flatten(getattr(part, "states", None)) if isinstance(state, np.ndarray)
        ]
    return kept


def _form(structure: Any) -> list[Any]:
    """Where a structure has leaves and dicts; lists and tuples may be nested in any way."""
    if isinstance(structure, dict):
        return [{key: _form(part) for key, part in structure.items()}]
    return [form for part in structure for form in _form(part)] if nest.is_nested(structure) else [None]


def _each(batches: range, progress: Progress) -> Iterator[int]:
    """The first samples of the batches, shown by `progress`. Raises ValueError if that leaves out or moves a batch."""
    shown = iter(shown_by(batches, progress))
    for first in batches:
        if next(shown, None) != first:
            raise ValueError(
                f"progress must yield all that it gets, in this order, but not the batch of sample {first}"
            )
        yield first
    next(shown, None)  # so that it can show that all is done


def shown_by(batches: Iterable[int], wanted: Progress) -> Iterable[int]:
    """The batches, which `progress`, as `predict` has it, shows. Raises ImportError where that needs a package."""
    if callable(wanted):
        return wanted(batches)
    if not wanted:
        return batches
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'cyrnn[progress]'") from error
    return tqdm(batches, unit="batch")
