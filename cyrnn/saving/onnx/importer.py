"""A model from an ONNX file: each node becomes a layer, or is understood as one of the steps around it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from cyrnn.arrays import quietly
from cyrnn.layers import Input
from cyrnn.layers.base.operations import applied
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.models.functional import Functional
from cyrnn.saving.errors import ModelFileError, Reason, reason_of, refusals_located
from cyrnn.saving.onnx.cells import OPERATORS as CELLS
from cyrnn.saving.onnx.export import needed_onnx
from cyrnn.saving.onnx.reading.arranging import in_file_order
from cyrnn.saving.onnx.reading.folding import folded
from cyrnn.saving.onnx.reading.nodes import OPERATORS
from cyrnn.saving.onnx.reading.reader import Reader, TimeFirst, plain_name
from cyrnn.saving.onnx.reading.values import (
    MOST_AXES,
    Axes,
    Dim,
    Signal,
    described,
    dims,
    dtype_named,
    of_length,
    size,
)
from cyrnn.saving.opened import OpenFile, opened

_OWN_DOMAINS = ("", "ai.onnx")
_OLDEST_OPSET = 7
_CURES = {  # what to do about an operator that is not known
    "TopK": "; if pack_padded_sequence of torch wrote it, which sorts by length: export with enforce_sorted=True. The "
    "lengths of the example must fall then; those for the model that is read may be in any order"
}


def from_onnx(source: Any) -> Functional:
    """The model in an ONNX file of RNN, LSTM and GRU operators and layers around them. Needs the package onnx.

    What each axis of a tensor is, is followed through all operators: the model returns what ONNX Runtime returns, with
    the axes in the file's order, or the file is refused. The batch is first in all inputs and outputs, and may be of
    any size, also where the file was made for one, or for one sequence without a batch. Rows of an output may be all
    timesteps of the first sample, then all of the next (`view(-1, units)`): then the model returns more rows than it
    gets samples. Three things are not as in the file:

    - Where an RNN takes an input as it is, (timesteps, batch, features), the model takes (batch, timesteps, features),
      and the batch is moved to the front in the outputs too. In other files an output whose batch is not in front is
      refused.
    - The outputs Y, Y_h and Y_c of a recurrent operator, as outputs of the graph, are what Keras' layers return:
      (batch, timesteps, directions * units) and (batch, directions * units), forward before backward. So is what a
      Concat joins of several of them along the directions: the final states of stacked RNNs.
    - An input that is an initial state is (batch, directions * units) likewise.

    Operators that are read, from opset 7 on:

    - RNN, LSTM and GRU, in any direction and layout, with initial states that are zeros, learned, or depend on an
      input, and lengths of sequences (`sequence_lens`, of torch's packed sequences); an LSTM without peepholes (P), and
      with one activation for the candidate and the cell state
    - MatMul and Gemm with constant matrices, Gather of a constant table by integers, BatchNormalization,
      LayerNormalization over the last axis, Dropout
    - Add, Sub, Mul, Div, Max and Min, of two tensors or a tensor and a constant, which broadcast but along the batch;
      Neg, Abs, Sqrt, Pow by a number, Clip, activations; Softmax and LogSoftmax; comparisons, And, Or, Not and Where,
      as `export_onnx` writes masks with them
    - Transpose, Squeeze, Unsqueeze, Reshape, Flatten, Concat, Split, Slice, Gather of constant places, ReduceMean,
      ReduceSum, ReduceMax and ReduceMin, along all axes but the batch. An intermediate tensor may have the batch at any
      place, and as one axis with others
    - Identity, Cast, Constant, Shape, ConstantOfShape, Expand, Tile and Range, where they compute shapes or states

    Parameters
    ----------
    source : str, os.PathLike or onnx.ModelProto
        The path of a file, or a model that onnx has loaded. Weights in other files are never opened.

    Returns
    -------
    Functional
        A model whose inputs have the names and dtypes of the file's, float32 or float64 and integers.

    Raises
    ------
    ModelFileError
        A ValueError that names the node, for anything that is not understood: other operators (Loop, If, ...), `clip`,
        `input_forget`, weights in other files. torch writes LSTM and GRU as such with both of its exporters, RNN with
        ``torch.onnx.export(..., dynamo=False)``; otherwise it writes the single steps of a fixed number of timesteps.
    TypeError
        For another kind of source.
    OSError
        Where there is no file.
    ImportError
        Without the package onnx.
    """
    onnx = needed_onnx()
    if isinstance(source, onnx.ModelProto):
        with refusals_located("the ONNX model", Reason.UNSUPPORTED):
            return _model(source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be a path or an onnx.ModelProto, got {source!r:.100}")
    with opened(source) as file:
        return read(file)


def read(file: OpenFile) -> Functional:
    """The model in an open ONNX file."""
    try:
        proto = needed_onnx().load_model_from_string(file.content)
    except MemoryError:
        raise
    except Exception as error:  # protobuf has errors of its own, which differ from version to version
        raise ModelFileError(f"it is not a sound ONNX file ({type(error).__name__})", Reason.DAMAGED) from None
    with refusals_located(file.path, Reason.UNSUPPORTED):
        return _model(proto)


@quietly
def _model(proto: Any) -> Functional:
    """The model, whether its sequences have the batch first or the timesteps."""
    versions = [entry.version for entry in proto.opset_import if entry.domain in _OWN_DOMAINS]
    if not proto.graph.node or len(versions) != 1 or versions[0] < _OLDEST_OPSET:
        raise ModelFileError(
            f"it must hold a graph of ONNX's operators from opset {_OLDEST_OPSET} on, got {versions}",
            Reason.UNSUPPORTED if versions else Reason.DAMAGED,
        )
    if proto.functions:
        raise ModelFileError(f"it defines operators of its own, such as {proto.functions[0].name!r:.100}")
    if proto.graph.sparse_initializer:
        raise ModelFileError("sparse weights are not supported")
    errors: list[ModelFileError] = []
    for time_first, alone in ((False, False), (True, False), (False, True)):
        reader = Reader(proto.graph, versions[0], time_first, alone)
        if alone and not _is_for_one_sequence(reader, errors):
            break
        try:
            return _read(reader)
        except ModelFileError as error:
            errors.append(type(error)(str(error), reason_of(error)))
        if not any(node.op_type in CELLS for node in reader.nodes):  # whose sequences say which axis is the batch
            break
    others = [error for error in errors if not isinstance(error, TimeFirst)]
    raise others[0] if others and isinstance(errors[0], TimeFirst) else errors[0]


def _is_for_one_sequence(reader: Reader, errors: list[ModelFileError]) -> bool:
    """Whether the file may be for (timesteps, features), where its sequences did not come with a batch."""
    ranks = [len(_shape(value)) for value in reader.graph.input if value.name not in reader.weights]
    return all(isinstance(error, TimeFirst) for error in errors) and set(ranks) == {2}


def _read(reader: Reader) -> Functional:
    inputs = _inputs(reader)
    makers = {}
    for node in reader.nodes:
        reader.node = node
        if node.domain not in _OWN_DOMAINS or node.op_type not in OPERATORS:
            cure = _CURES.get(node.op_type, "")
            raise ModelFileError(f"{reader.label} is not an operator that is known here{cure}")
        with _located(reader):
            constant = folded(reader, node)
            results = OPERATORS[node.op_type](reader, node) if constant is None else constant
        values = results if isinstance(results, list) else [results]
        reader.values.update(zip(node.output, values, strict=False))
        makers.update(dict.fromkeys(node.output, node))
    outputs = []
    for value in reader.graph.output:
        reader.node = makers.get(value.name)
        with _located(reader):
            outputs.append(_output(reader, value.name))
    if not outputs or not inputs:
        raise ModelFileError("the graph must have inputs and outputs")
    return Functional(_one_or_all(inputs), _one_or_all(outputs), name=plain_name(reader.graph.name) or None)


@contextlib.contextmanager
def _located(reader: Reader) -> Iterator[None]:
    """Within the block, what is wrong is a ModelFileError that names the node."""
    try:
        yield
    except TimeFirst:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise ModelFileError(f"{reader.label}: {error}") from error


def _inputs(reader: Reader) -> list[KerasTensor]:
    """The model's inputs; what they are in the file becomes known to the reader."""
    given = [value for value in reader.graph.input if value.name not in reader.weights]  # old files have weights here
    places = {value.name: int(reader.time_first and len(_shape(value)) > 1) for value in given}
    states = _initial_states(reader, {value.name for value in given if len(_shape(value)) == 3})
    places.update(states)
    for value in given:
        if not places[value.name] < len(_shape(value)) <= MOST_AXES:
            raise ModelFileError(f"input {value.name!r:.100} must have a batch axis, got {len(_shape(value))} axes")
    if reader.alone:
        places = dict.fromkeys(places, -1)
    else:
        batches = {_shape(value)[places[value.name]] for value in given} - {None}
        if len(batches) > 1 or 0 in batches:  # as they have where they come with the timesteps first
            raise TimeFirst(f"its inputs must have one batch, which is not empty; got batches of {batches!r:.100}")
        reader.batch = Dim(batches.pop() if batches else None, batch=True)
    tensors = []
    for value in given:
        place = places[value.name]
        axes: Axes = tuple((reader.batch,) if n == place else of_length(m) for n, m in enumerate(_shape(value)))
        stored = axes if reader.alone else axes[:place] + axes[place + 1 :]
        if value.name in states:
            stored = (tuple(dims(stored)),)
        lengths = [size(axis) for axis in stored]
        if value.name in states and None in lengths:
            raise ModelFileError(f"input {value.name!r:.100} is an initial state of unknown shape, {_shape(value)}")
        name = reader.new_name(plain_name(value.name) or "input")
        tensors.append(Input(lengths, dtype=dtype_named(value.type.tensor_type.elem_type), name=name))
        reader.values[value.name] = Signal(tensors[-1], stored, axes)
    return tensors


def _shape(value: Any) -> list[int | None]:
    """The lengths of an input's axes, None for those that the file leaves open."""
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]


def _initial_states(reader: Reader, names: set[str]) -> dict[str, int]:
    """Those of the inputs that are initial states of RNNs, as they are or in parts; and where their batch is."""
    places: dict[str, int] = {}
    for node in reversed(reader.graph.node):
        if node.op_type in CELLS:
            place = 0 if reader.attribute(node, "layout", 0) else 1
            begins = node.input[5 : 5 + CELLS[node.op_type].states]
            places.update({name: place for name in begins if name})
        elif node.op_type in ("Identity", "Slice", "Split") and node.input and places.keys() & set(node.output):
            places[node.input[0]] = next(places[name] for name in node.output if name in places)
    return {name: place for name, place in places.items() if name in names}


def _output(reader: Reader, name: str) -> KerasTensor:
    """What the model returns for an output of the graph, whose node is being read."""
    x = reader.values.get(name)
    if not isinstance(x, Signal):
        raise ModelFileError(f"output {name!r:.100} does not depend on the inputs")
    if x.directions is not None:
        return x.tensor
    if reader.alone or (reader.time_first and (reader.batch,) in x.axes):
        return in_file_order(reader, x).tensor
    if reader.time_first or not x.axes or x.axes[0][:1] != (reader.batch,):
        axes = described(x.axes)
        raise ModelFileError(f"it makes output {name!r:.100} of axes {axes}, and the batch must stay in front")
    tensor = in_file_order(reader, x).tensor
    if x.axes[0] == (reader.batch,):
        return tensor
    lengths = [size(axis) for axis in x.axes[1:]]  # rows of the batch and more, such as all timesteps
    if None in lengths:
        raise ModelFileError(
            f"it makes output {name!r:.100} of axes {described(x.axes)}, of which only one may be open"
        )
    rows: KerasTensor = applied("Reshape", tensor, newshape=(-1, *lengths))
    return rows


def _one_or_all(tensors: list[KerasTensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors
