"""A model from an ONNX file: each node becomes a layer, or is understood as one of the steps around it."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from cyrnn.arrays import quietly
from cyrnn.layers import Input, Layer, Permute
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.models.functional import Functional
from cyrnn.saving.errors import ModelFileError, Reason, refusals_located
from cyrnn.saving.onnx.export import needed_onnx
from cyrnn.saving.onnx.graph import needed, new_name
from cyrnn.saving.onnx.values import DIRECTIONS, Signal, Sizes, Value, array_of, dtype_named
from cyrnn.saving.opened import OpenFile, opened
from cyrnn.saving.weight_paths import fill, places

_OWN_DOMAINS = ("", "ai.onnx")
_OLDEST_OPSET = 7


@quietly
def from_onnx(source: Any) -> Functional:
    """The model in an ONNX file of RNN operators and layers around them. Needs the package onnx.

    Exporters put transpositions around an RNN, which takes (timesteps, batch, features); they are followed, not run.
    The model's inputs and outputs have the batch first, whatever the file has, and both directions of an RNN beside
    each other in the last axis. The batch may be of any size, also where the file was made for one.

    source : the path of a file, or an `onnx.ModelProto`

    Raises ModelFileError (a ValueError), which names the node, for anything that is not understood: other operators
    (LSTM, Loop, If, ...), lengths of sequences, a begin with other states than zeros or an input of the model, weights
    in other files. torch writes RNN operators with ``torch.onnx.export(..., dynamo=False)``, and else single steps,
    which are refused (see `from_torch`). OSError where there is no file; ImportError without onnx.
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
    try:
        return _Reader(proto.graph, versions[0], time_first=False).model()
    except _TimeFirst as error:
        try:
            return _Reader(proto.graph, versions[0], time_first=True).model()
        except _TimeFirst:
            raise ModelFileError(str(error)) from None


class _TimeFirst(ModelFileError):
    """Sequences come to an RNN with axes in another order."""


class _Reader:
    """The graph, and the values of its names as far as they are known."""

    def __init__(self, graph: Any, opset: int, time_first: bool) -> None:
        self.graph = graph
        self.nodes = needed(graph.node, [value.name for value in graph.output])
        self.opset = opset
        self.time_first = time_first
        self.values: dict[str, Value] = {}
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        self.fused: set[str] = set()  # names of what nodes give that were taken together with the one before
        self.parts: dict[
            KerasTensor, tuple[KerasTensor, int, int]
        ] = {}  # for a slice of the features: of what, from, to
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._bytes_left = 8 * graph.ByteSize() + (1 << 20)  # of constants that layers may get copies of
        self._names: Counter[str] = Counter()
        self._node: Any = None
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)
        self.results = {value.name for value in graph.output}

    def model(self) -> Functional:
        from cyrnn.saving.onnx.nodes import OPERATORS  # which needs this module for its types

        inputs = self._inputs()
        for node in self.nodes:
            self._node = node
            label = f"node {node.name!r:.100} ({node.op_type:.100})"
            if node.domain not in _OWN_DOMAINS or node.op_type not in OPERATORS:
                raise ModelFileError(f"{label} is not an operator that is known here")
            try:
                results = OPERATORS[node.op_type](self, node)
            except _TimeFirst:
                raise
            except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
                raise ModelFileError(f"{label}: {error}") from error
            self.values.update(zip(node.output, results if isinstance(results, list) else [results], strict=False))
        outputs = [self._output(value.name) for value in self.graph.output]
        if not outputs or not inputs:
            raise ModelFileError("the graph must have inputs and outputs")
        return Functional(_one_or_all(inputs), _one_or_all(outputs), name=_plain_name(self.graph.name) or None)

    def _inputs(self) -> list[KerasTensor]:
        begins = {node.input[5] for node in self.nodes if node.op_type == "RNN" and len(node.input) > 5}
        tensors = []
        for value in self.graph.input:
            if value.name in self._weights:  # as old files have them
                continue
            described = value.type.tensor_type
            dtype = dtype_named(described.elem_type)
            shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in described.shape.dim]
            name = self.new_name(_plain_name(value.name) or "input")
            if value.name in begins:
                layout = next(_attribute(n, "layout", 0) for n in self.nodes if value.name in n.input[5:6])
                axes: tuple[Any, ...] = (0, DIRECTIONS, 1) if layout else (DIRECTIONS, 0, 1)
                count, units = (shape[axes.index(axis)] if len(shape) == 3 else None for axis in (DIRECTIONS, 1))
                if not count or not units:
                    raise ModelFileError(f"input {value.name!r:.100} is an initial state of unknown shape, {shape}")
                signal = Signal(Input((count * units,), dtype=dtype, name=name), axes, count)
            else:
                axes = (1, 0, *range(2, len(shape))) if self.time_first and len(shape) > 1 else tuple(range(len(shape)))
                lengths = [shape[axes.index(axis)] for axis in range(len(shape))]
                signal = Signal(Input(lengths[1:], dtype=dtype, name=name), axes)
            self.values[value.name] = signal
            tensors.append(signal.tensor)
        return tensors

    def _output(self, name: str) -> KerasTensor:
        value = self.values.get(name)
        if not isinstance(value, Signal):
            raise ModelFileError(f"output {name!r:.100} does not depend on the inputs")
        return value.tensor

    # ------------------------------------------------------------ what nodes ask for

    def value(self, name: str) -> Value | None:
        """The value of a name, None for no name. Raises ModelFileError where it comes from nowhere."""
        if not name:
            return None
        if name not in self.values:
            if name not in self._weights:
                raise ModelFileError(f"{name!r:.100} is used before anything gives it")
            self.values[name] = array_of(self._weights[name])
        value = self.values[name]
        if isinstance(value, np.ndarray):
            self._bytes_left -= value.nbytes
            if self._bytes_left < 0:
                raise ModelFileError(
                    f"{name!r:.100} is used so often that its copies would take far more than the file"
                )
        return value

    def is_known(self, name: str) -> bool:
        """Whether the value of a name is known at this node already."""
        return name in self.values or name in self._weights

    def inputs(self, node: Any, count: int) -> list[Value | None]:
        """The values of `count` inputs, None for those that are missing."""
        names = [*node.input, *[""] * count][:count]
        return [self.value(name) for name in names]

    def signal(self, node: Any, index: int = 0) -> Signal:
        """The input that depends on the model's inputs."""
        value = self.inputs(node, index + 1)[index]
        if not isinstance(value, Signal):
            raise ModelFileError(f"its input {index} must depend on the model's inputs")
        return value

    def constant(self, node: Any, index: int) -> Array:
        """The input that is known."""
        value = self.inputs(node, index + 1)[index]
        if isinstance(value, Sizes) and all(isinstance(n, int) for n in value.values):
            return np.array(value.values, np.int64)
        if not isinstance(value, np.ndarray):
            raise ModelFileError(f"its input {index} must be a constant")
        return value

    def integers(self, node: Any, index: int, attribute: str) -> list[int] | None:
        """Integers that newer operators have as an input, older ones as an attribute; None if there are none."""
        if len(node.input) > index and node.input[index]:
            return [int(n) for n in np.atleast_1d(self.constant(node, index))]
        found = _attribute(node, attribute, None)
        return None if found is None else [int(n) for n in np.atleast_1d(found)]

    def number(self, node: Any, index: int) -> float | None:
        """A single number among the inputs, None if it is missing."""
        if len(node.input) <= index or not node.input[index]:
            return None
        array = self.constant(node, index)
        if array.size != 1:
            raise ModelFileError(f"its input {index} must be one number, got shape {array.shape}")
        return float(array.reshape(()))

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        return _attribute(node, name, default)

    def needed(self, name: str) -> bool:
        """Whether somebody uses what a node gives."""
        return bool(name) and (name in self.results or name in self.consumers)

    def in_order(self, x: Signal) -> Signal:
        """The signal, its tensor's axes in the file's order. Raises ModelFileError unless the batch is first."""
        if x.in_order:
            return x
        if x.axes[:1] != (0,) or DIRECTIONS in x.axes:
            raise ModelFileError(f"the batch must be in front, got axes in the order {x.axes}")
        tensor = self.called(self.layer(Permute, x.axes[1:], dtype=x.tensor.dtype), x.tensor)
        return Signal(tensor, tuple(range(tensor.ndim)))

    def refuse_order(self, message: str) -> ModelFileError:
        """The error for sequences whose axes are in an order that is not the one expected."""
        return _TimeFirst(f"node {self._node.name!r:.100} ({self._node.op_type}): {message}")

    def new_name(self, base: str) -> str:
        """A name for a layer that no other has."""
        return new_name(self._names, base)

    def layer(self, cls: Any, *args: Any, dtype: str, **kwargs: Any) -> Any:
        """A new layer named after the node that is being read."""
        name = _plain_name(self._node.name) or cls.__name__.lower()
        return cls(*args, name=self.new_name(name), dtype=dtype, **kwargs)

    def called(self, layer: Layer, inputs: Any, values: Sequence[Array] = (), **kwargs: Any) -> Any:
        """What a new layer gives, once it has these weights."""
        if not layer.built:
            shape = [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape
            of_a_layer = places(layer, shape)
            rest = iter(values)
            own = [{spec.name: next(rest) for spec in place.specs} for place in of_a_layer]
            fill(of_a_layer, own)
        return layer(inputs, **kwargs)


def _one_or_all(tensors: list[KerasTensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _plain_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:100].strip("_")


def _attribute(node: Any, name: str, default: Any) -> Any:
    """An attribute's value as a number, text, array, or list of these. Graphs are refused."""
    for found in node.attribute:
        if found.name == name:
            kinds = {1: found.f, 2: found.i, 3: found.s, 6: found.floats, 7: found.ints, 8: found.strings}
            if found.type == 4:
                return array_of(found.t)
            if found.type not in kinds or found.ref_attr_name:
                raise ModelFileError(f"its attribute {name!r:.100} is of a kind that is not supported")
            value = kinds[found.type]
            if isinstance(value, bytes):
                return value.decode()
            if found.type == 8:
                return [part.decode() for part in value]
            return list(value) if found.type in (6, 7) else value
    return default
