"""An ONNX graph under construction: nodes, constants and names. What a layer means is not known here."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array, Shape

MOST_BYTES = (1 << 31) - (1 << 20)  # of all constants: a protobuf message ends at 2 GiB
LAST = -1 << 63  # where a slice ends that goes backwards to the first element, that one too


def needed(nodes: Sequence[Any], results: Iterable[str]) -> list[Any]:
    """The nodes that lead to results, in their order."""
    wanted, found = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def new_name(names: Counter[str], base: str) -> str:
    """`base`, with a number if it is among the names; it is one of them from here on."""
    name = base
    while names[name]:
        name = f"{base}_{names[base]}"
        names[base] += 1
    names[name] += 1
    return name


@dataclass(frozen=True)
class Tensor:
    """A value in the graph: its name there, shape (None: any length) and dtype; and the name of its mask, if any."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    mask: str | None = None


class Graph:
    """Nodes and constants for the operators of ONNX's version `opset`; numbers are computed in `dtype`.

    `masks` says what the caller knows of the masks: None or "right-padded".
    """

    def __init__(self, opset: int, dtype: np.dtype[Any], masks: str | None) -> None:
        self.opset = opset
        self.dtype = dtype
        self.masks = masks
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._bytes = 0
        self._prefix = ""
        self._names: Counter[str] = Counter()
        self._known: dict[tuple[Any, ...], str] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within the block, names begin with `name`."""
        before, self._prefix = self._prefix, f"{self._prefix}{name}/"
        try:
            yield
        finally:
            self._prefix = before

    def new_name(self, base: str) -> str:
        """A name that is nowhere yet."""
        return new_name(self._names, self._prefix + base)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of what the operator gives. An input of no name is left out."""
        return self.node_of_several(operator, 1, *inputs, **attributes)[0]

    def node_of_several(self, operator: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """The names of the first `count` results of the operator."""
        from onnx import helper

        outputs = [self.new_name(operator) for _ in range(count)]
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        self.nodes.append(helper.make_node(operator, given, outputs, outputs[0], **attributes))
        return outputs

    def constant(self, value: Any, dtype: Any = None, name: str = "constant") -> str:
        """The name of an array, or of what becomes one, in `dtype` or that of the graph. Small ones are kept once."""
        from onnx import numpy_helper

        array: Array = np.ascontiguousarray(np.array(value, dtype or self.dtype)).reshape(np.shape(value))
        key = (array.shape, array.dtype.str, array.tobytes()) if array.size <= 64 else None
        if key in self._known:
            return self._known[key]
        self._bytes += array.nbytes
        if self._bytes > MOST_BYTES:
            raise ValueError(f"the weights have more than the {MOST_BYTES} bytes that one ONNX file can hold")
        unique = self.new_name(name)
        self.constants.append(numpy_helper.from_array(array, unique))
        if key is not None:
            self._known[key] = unique
        return unique

    def integers(self, *values: int) -> str:
        """The name of a vector of integers, as shapes and axes are given."""
        return self.constant(values, np.int64)

    # ------------------------------------------------------------ what takes more than one node, or depends on `opset`

    def cast(self, name: str, dtype: Any) -> str:
        from onnx import helper

        return self.node("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def in_dtype(self, x: Tensor) -> str:
        """The tensor in the dtype of the graph."""
        return x.name if x.dtype == self.dtype else self.cast(x.name, self.dtype)

    def reshape(self, name: str, *lengths: int) -> str:
        """0 stands for the length that the axis has."""
        return self.node("Reshape", name, self.integers(*lengths))

    def unsqueeze(self, name: str, *axes: int) -> str:
        return self.node("Unsqueeze", name, self.integers(*axes)) if axes else name

    def squeeze(self, name: str, *axes: int) -> str:
        return self.node("Squeeze", name, self.integers(*axes)) if axes else name

    def slice(self, name: str, axis: int, start: int, end: int, step: int = 1) -> str:
        return self.node("Slice", name, *(self.integers(n) for n in (start, end, axis, step)))

    def zeros_like(self, name: str) -> str:
        from onnx import numpy_helper

        zero = numpy_helper.from_array(np.zeros(1, self.dtype))
        return self.node("ConstantOfShape", self.node("Shape", name), value=zero)

    def flip(self, name: str, axis: int) -> str:
        return self.slice(name, axis, -1, LAST, -1)

    def reduce(self, operator: str, name: str, axes: Sequence[int], keepdims: bool) -> str:
        """ReduceSum, ReduceMean, ReduceMax or ReduceMin along axes."""
        if self.opset >= (13 if operator == "ReduceSum" else 18):
            return self.node(operator, name, self.integers(*axes), keepdims=int(keepdims))
        return self.node(operator, name, axes=list(axes), keepdims=int(keepdims))
