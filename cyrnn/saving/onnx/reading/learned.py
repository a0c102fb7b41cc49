"""Initial states of recurrent operators that are constants, the same for each of the batch: learned ones."""

from dataclasses import dataclass

import numpy as np

from cyrnn.layers import Dense
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.values import Filled, Repeated, Signal, Value, item


@dataclass(frozen=True)
class Form:
    """What the axes of states and outputs follow from."""

    layout: int  # whether the batch is in front
    directions: int
    units: int


def learned_rows(reader: Reader, name: str, begin: Value, form: Form) -> list[Array]:
    """For each direction the state (units,). Raises ModelFileError unless it is one for all of the batch."""
    place = 0 if form.layout else 1
    shape = (form.directions, form.units)
    if isinstance(begin, Filled):
        reader.spend(name, 8 * form.directions * form.units)
        return list(np.full(shape, begin.number))
    if isinstance(begin, Repeated):
        array, repeated = begin.array, begin.lengths
        if (
            array.ndim == 3
            and array.shape[place] == 1
            and repeated[place] not in (reader.batch_axis, reader.batch.length, 1)
        ):
            raise ModelFileError(f"its {name} is not repeated for each of the batch")
    elif isinstance(begin, np.ndarray):
        array = begin
    else:
        raise ModelFileError(f"its {name} is no tensor")
    if array.ndim != 3 or array.dtype.kind != "f":
        raise ModelFileError(f"its {name} must have 3 axes, got shape {array.shape} of {array.dtype}")
    first = array.take(0, place)
    if np.any(array != np.expand_dims(first, place)):
        raise ModelFileError(f"its {name} are constants that differ within the batch, which may be any here")
    reader.spend(name, first.nbytes)
    if first.shape not in (shape, (1, form.units)):
        raise ModelFileError(f"its {name} must be of {form.directions} directions and {form.units} units")
    return list(np.broadcast_to(first, shape))


def learned_state(reader: Reader, row: Array, x: Signal) -> KerasTensor:
    """The state (batch, units) of these numbers in each row: the bias of a layer over nothing but zeros."""
    zeros = applied("ZerosLike", item(x.tensor, slice(None), 0, slice(0, 1)))
    layer = reader.layer(Dense, len(row), dtype=x.tensor.dtype)
    found: KerasTensor = reader.called(layer, zeros, [np.zeros((1, len(row))), row])
    return found
