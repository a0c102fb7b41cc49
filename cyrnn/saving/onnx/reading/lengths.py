"""The lengths of sequences, ONNX's `sequence_lens`, as masks: what is behind a length is padding."""

from typing import Any

import numpy as np

from cyrnn.layers import SimpleRNN
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError
from cyrnn.saving.onnx.reading.reader import Reader
from cyrnn.saving.onnx.reading.values import Filled, Positions, Repeated, Signal, converted, described, item


def lengths_of(reader: Reader, node: Any, x: Signal) -> Signal | None:
    """The lengths (batch,) of the sequences of a recurrent node; None where all are whole."""
    lengths = reader.inputs(node, 5)[4]
    if lengths is None:
        return None
    if isinstance(lengths, Signal):
        if lengths.tensor.dtype not in ("int32", "int64") or lengths.axes != (reader.batch_axis,):
            found = f"axes {described(lengths.axes)} of {lengths.tensor.dtype}"
            raise ModelFileError(f"its sequence_lens must be one integer for each of the batch, got {found}")
        return lengths
    steps = x.tensor.shape[1]
    numbers = (
        lengths.number if isinstance(lengths, Filled) else lengths.array if isinstance(lengths, Repeated) else lengths
    )
    if steps is None or not isinstance(numbers, (float, np.ndarray)) or np.any(np.not_equal(numbers, steps)):
        raise ModelFileError("its sequence_lens are constants; only lengths that come with the batch are supported")
    return None


def kept_steps(reader: Reader, lengths: Signal, x: Signal) -> KerasTensor:
    """The mask (batch, timesteps), true in the first steps of each sequence."""
    ends = applied("ExpandDims", lengths.tensor, axis=1)
    steps = x.tensor.shape[1]
    if steps is not None:
        reader.spend("sequence_lens", 8 * steps)
        found: KerasTensor = applied("Less", np.arange(steps)[None], ends)
        return found
    positions = _numbered(reader, x.tensor)
    kept: KerasTensor = applied("Less", positions, converted(ends, positions.dtype))
    return kept


def counted(reader: Reader, positions: Positions, beside: Signal) -> Signal:
    """The numbers of the timesteps, for an operation with a signal (batch, 1), or with one that has these timesteps."""
    if len(beside.axes) != 2 or beside.axes[0] != (reader.batch,) or beside.axes[1] not in ((), positions.axis):
        raise ModelFileError(f"it computes with the numbers of timesteps, and with axes {described(beside.axes)}")
    given = (value for value in reader.values.values() if isinstance(value, Signal) and value.tensor.ndim in (2, 3))
    tensor = next((x.tensor for x in given if x.stored[:1] == (positions.axis,)), None)
    if tensor is None:
        raise ModelFileError("it counts an axis that no tensor has next to its batch")
    numbers = converted(_numbered(reader, tensor), beside.tensor.dtype)
    return Signal(numbers, (positions.axis,), ((reader.batch,), positions.axis))


def _numbered(reader: Reader, tensor: KerasTensor) -> KerasTensor:
    """The numbers of the timesteps (batch, timesteps), from 0 on: a layer whose state grows by its bias, less 1."""
    dtype = tensor.dtype if tensor.dtype.startswith("float") else "float32"
    if tensor.ndim == 2:
        tensor = applied("ExpandDims", tensor, axis=2)
    zeros = applied("ZerosLike", item(tensor, slice(None), slice(None), slice(0, 1)))
    zeros = zeros if zeros.dtype == dtype else converted(zeros, dtype)
    layer = reader.layer(SimpleRNN, 1, activation="linear", return_sequences=True, dtype=dtype)
    from_1: KerasTensor = reader.called(layer, zeros, [np.zeros((1, 1)), np.ones((1, 1)), np.ones(1)])
    numbers: KerasTensor = applied("Subtract", item(from_1, slice(None), slice(None), 0), 1.0)
    return numbers
