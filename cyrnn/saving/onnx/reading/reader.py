"""What the functions for ONNX's operators ask of the graph that is read: values, constants, new layers."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers import Layer
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.onnx.graph import needed, new_name
from cyrnn.saving.onnx.reading.values import Axes, Axis, Dim, Signal, Sizes, Value, array_of
from cyrnn.saving.weight_paths import fill, places


class TimeFirst(ModelFileError):
    """Sequences come to an RNN with axes in another order."""


@dataclass(frozen=True)
class Part:
    """From `start` to `stop` of the axis `place` of a tensor, the batch not counted."""

    of: KerasTensor
    place: int
    start: int
    stop: int


class Reader:
    """The graph, and the values of its names as far as they are known."""

    def __init__(self, graph: Any, opset: int, time_first: bool, alone: bool = False) -> None:
        self.graph = graph
        self.nodes = needed(graph.node, [value.name for value in graph.output])
        self.opset = opset
        self.time_first = time_first
        self.alone = alone  # whether the file is for one sequence, without a batch
        self.batch = Dim(None, batch=True)
        self.values: dict[str, Value] = {}
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        self.fused: set[str] = set()  # names of what nodes return that were taken together with the node before
        self.parts: dict[KerasTensor, Part] = {}  # what is known to be one of a tensor
        self.rearranged: dict[tuple[KerasTensor, Axes, Axes], KerasTensor] = {}
        self.results = {value.name for value in graph.output}
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.node: Any = None  # the one that is being read, or that an output comes from
        self._bytes_left = 8 * _byte_size(graph) + (1 << 20)  # of constants that layers may get copies of
        self._names: Counter[str] = Counter()
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)

    @property
    def batch_axis(self) -> Axis:
        """The axis where operators expect the batch."""
        return () if self.alone else (self.batch,)

    @property
    def label(self) -> str:
        """What messages call the node that is being read."""
        return "the graph" if self.node is None else f"node {self.node.name!r:.100} ({self.node.op_type:.100})"

    # ------------------------------------------------------------ what nodes ask for

    def value(self, name: str) -> Value | None:
        """The value of a name, None for no name. Raises ModelFileError where it comes from nowhere."""
        if not name:
            return None
        if name not in self.values:
            if name not in self.weights:
                raise ModelFileError(f"{name!r:.100} is used before any node returns it", Reason.DAMAGED)
            self.values[name] = array_of(self.weights[name])
        return self.values[name]

    def spend(self, name: str, count: int) -> None:
        """Note that so many bytes are copied of a constant. Raises ModelFileError where copies outgrow the file."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            message = f"{name!r:.100} is used so often that its copies would take far more than the file"
            raise ModelFileError(message, Reason.TOO_LARGE)

    def is_known(self, name: str) -> bool:
        """Whether the value of a name is known at this node already."""
        return name in self.values or name in self.weights

    def inputs(self, node: Any, count: int) -> list[Value | None]:
        """The values of `count` inputs, None for those that are missing."""
        names = [*node.input, *[""] * count][:count]
        return [self.value(name) for name in names]

    def signal(self, node: Any, index: int = 0) -> Signal:
        """The input that depends on the model's inputs."""
        value = self.value(node.input[index]) if len(node.input) > index else None
        if not isinstance(value, Signal):
            raise ModelFileError(f"its input {index} must depend on the model's inputs")
        return value

    def constant(self, node: Any, index: int) -> Array:
        """The input that is known, for a layer that gets a copy of it."""
        value = self.value(node.input[index]) if len(node.input) > index else None
        if isinstance(value, Sizes) and value.known is not None:
            return np.array(value.known, np.int64)
        if not isinstance(value, np.ndarray):
            raise ModelFileError(f"its input {index} must be a constant")
        self.spend(node.input[index], value.nbytes)
        return value

    def integers(self, node: Any, index: int, attribute: str) -> list[int] | None:
        """Integers that newer operators have as an input, older ones as an attribute; None if there are none."""
        if len(node.input) > index and node.input[index]:
            found = self.constant(node, index)
            if found.dtype.kind not in "iu" or found.ndim > 1:
                raise ModelFileError(f"its input {index} must be integers, got shape {found.shape} of {found.dtype}")
        else:
            found = self.attribute(node, attribute, None)
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

    def needed(self, name: str) -> bool:
        """Whether a node, or the graph's outputs, use what a node returns."""
        return bool(name) and (name in self.results or name in self.consumers)

    # ------------------------------------------------------------ layers

    def new_name(self, base: str) -> str:
        """A name for a layer that no other has."""
        return new_name(self._names, base)

    def layer(self, cls: Any, *args: Any, dtype: str, **kwargs: Any) -> Any:
        """A new layer, named after the node that is being read. Raises ModelFileError for integers."""
        if not dtype.startswith("float"):
            raise ModelFileError(f"it would take a layer for {dtype}, and layers are for float types")
        name = plain_name("" if self.node is None else self.node.name) or cls.__name__.lower()
        return cls(*args, name=self.new_name(name), dtype=dtype, **kwargs)

    def called(self, layer: Layer, inputs: Any, values: Sequence[Array] = (), **kwargs: Any) -> Any:
        """What a new layer returns, once it has these weights."""
        if not layer.built:
            shape = [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape
            of_a_layer = places(layer, shape)
            rest = iter(values)
            own = [{spec.name: next(rest) for spec in place.specs} for place in of_a_layer]
            fill(of_a_layer, own)
        return layer(inputs, **kwargs)


def plain_name(name: str) -> str:
    """A name of the file in letters that Keras' files may have."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name[:1000])[:100].strip("_")


def _byte_size(graph: Any) -> int:
    """The bytes of a graph in a file. To count them protobuf writes it to memory, with an error of its own."""
    try:
        return graph.ByteSize()
    except Exception as error:
        raise MemoryError(
            "the graph of the ONNX model cannot be measured: there is too little memory, or it has 2 GB"
        ) from error
