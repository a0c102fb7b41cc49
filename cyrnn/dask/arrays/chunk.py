"""What one task does: the outputs for a chunk of the samples."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.dask.arrays.travel import Traveller
from cyrnn.engine import precision as products
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.predict import Predicts, predict_part, samples_at_a_time


@dataclass(frozen=True)
class Call:
    """What all tasks of a prediction have in common.

    Parameters
    ----------
    size, nominal : int
        Samples at a time, and the number that counts for the bits: see `predict_part`.
    num_threads : int or None
    precision : "float32" or "bfloat16"
        What products are computed in.
    structure : any
        The structure of the inputs.
    lengths : bool
        Whether there are lengths.
    shapes, dtypes : list
        Of the outputs, in order; shapes without the batch.
    """

    size: int
    nominal: int
    num_threads: int | None
    precision: str
    structure: Any
    lengths: bool
    shapes: list[tuple[int, ...]]
    dtypes: list[np.dtype[Any]]

    def outputs(
        self, traveller: Traveller, parts: Sequence[Array], lengths: Sequence[Array | None], where: str
    ) -> list[Array]:
        """The outputs for a chunk, in order. Errors begin with `where`, which says which chunk it is."""
        with naming(where):
            x, of_inputs = nest.filled(self.structure, parts), list(lengths) if self.lengths else None
            if of_inputs is not None and len(of_inputs) == 1:
                of_inputs = of_inputs[0]  # type: ignore[assignment]  # one input has its lengths alone
            with products.using(self.precision):
                found = predict_part(traveller.model(), x, of_inputs, self.size, self.nominal, self.num_threads)
            outputs = [np.asarray(output) for output in nest.leaves(found)]
            self._check(outputs, len(parts[0]))
            return outputs

    def _check(self, outputs: Sequence[Array], rows: int) -> None:
        expected = [((rows, *shape), dtype) for shape, dtype in zip(self.shapes, self.dtypes, strict=True)]
        got = [(output.shape, output.dtype) for output in outputs]
        if got != expected:
            raise ValueError(f"the model must return {_listed(expected)}, as for others, got {_listed(got)}")


def _listed(outputs: Any) -> str:
    return " and ".join(f"{dtype} of shape {shape}" for shape, dtype in outputs)


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Within the block, errors say where they are from. Most become RuntimeErrors, not ValueError and TypeError."""
    try:
        yield
    except Exception as error:
        kind = next((kind for kind in (ValueError, TypeError, MemoryError) if isinstance(error, kind)), RuntimeError)
        text = str(error) if kind is not RuntimeError else f"{type(error).__name__}: {error}"
        raise kind(f"{where}: {text}") from error


def described(number: int, first: int | None, last: int | None) -> str:
    """What messages call a chunk of the samples from `first` up to `last`; None where these are not known."""
    samples = "" if first is None or last is None else f" (samples {first} to {last - 1})"
    return f"chunk {number}{samples}"


# ---------------------------------------------------------------- before there are tasks

_MANY = 1 << 31  # samples, where their number is not known


def checked_model(model: Any) -> Predicts:
    """The model. Raises TypeError for what is none, ValueError for one whose samples depend on each other, or that is
    not built."""
    if not isinstance(model, Predicts):
        raise TypeError(f"model must be a model or layer of cyrnn, got {type(model).__name__}")
    if not model.built:
        raise ValueError(f"model {model.name!r} is not built yet: call it, or build() it first")
    for part in model.layers_within():
        if part.carries_states:
            raise ValueError(
                f"layer {part.name!r} is stateful: its states go from batch to batch, and chunks are computed in any "
                "order. Make the model with stateful=False"
            )
    return model


def prepared(
    model: Predicts,
    structure: Any,
    arrays: Sequence[tuple[tuple[int, ...], Any]],
    samples: int | None,
    batch_size: int | None,
    num_threads: int | None,
    precision: str | None,
    lengths: bool,
) -> tuple[Call, Any, list[Array]]:
    """The call for inputs of these shapes, without the batch, and dtypes; the structure of the outputs, with their
    shapes; and the inputs of the model, without values. No sample is computed.

    A precision of None is that of this process now.

    Raises ValueError and TypeError for inputs that do not fit the model, and where a shape is not known before a call.
    """
    rows = _MANY if samples is None else samples
    stand_ins = [np.broadcast_to(np.zeros((), dtype), (rows, *shape)) for shape, dtype in arrays]
    x = nest.filled(structure, stand_ins)
    inputs = model.predict_inputs(x)
    size = samples_at_a_time(model, inputs, batch_size)
    if model.runs_custom_code:  # which only a call can say
        few = nest.mapped(lambda array: np.zeros((2, *array.shape[1:]), array.dtype), x)
        outputs = model.tried_with(model.in_structure(model.predict_inputs(few), few))
        shapes = nest.mapped(lambda output: (None if len(output) == 2 else -1, *output.shape[1:]), outputs)
        dtypes = [output.dtype for output in nest.leaves(outputs)]
        flat = nest.leaves_of_shapes(shapes)
    else:
        shapes = model.compute_output_shape(model.in_structure([(None, *a.shape[1:]) for a in inputs], x))
        flat = nest.leaves_of_shapes(shapes)
        dtypes = model.output_dtypes(len(flat))
    for shape in flat:
        if not shape or shape[0] is not None or not all(isinstance(n, int) for n in shape[1:]):
            raise ValueError(f"model {model.name!r} must return a row for each sample, of a known shape, got {shapes}")
    wanted = products.get_precision() if precision is None else products.checked_precision(precision)
    call = Call(size, min(size, rows), num_threads, wanted, structure, lengths, [shape[1:] for shape in flat], dtypes)
    return call, shapes, inputs
