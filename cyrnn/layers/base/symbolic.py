"""Symbolic tensors: what layers will give, before there are numbers, and the calls that they come from.

A layer that is called with symbolic tensors returns such, and notes the call as a `Node`. From the nodes behind some
outputs `cyrnn.Model` makes a model. Reference: ``keras.KerasTensor`` and Keras' functional API.
"""

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape

_numbers, _names = itertools.count(), itertools.count()

MOST_ELEMENTS = 1 << 20  # of what is tried out on a layer before there are arrays


class KerasTensor:
    """Shape (None: any length), dtype and name of an array that a layer will return; it has no values.

    ``+ - * /`` and indexing with integers and slices give symbolic tensors too.
    """

    def __init__(self, shape: Sequence[int | None], dtype: str = "float32", name: str | None = None) -> None:
        self.shape: Shape = tuple(shape)
        self.dtype = dtype
        self.name = name or f"keras_tensor_{next(_names)}".removesuffix("_0")
        self.node: Node | None = None  # the call that it comes from
        self.tensor_index = 0  # among what that call returned

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self!r} is symbolic and has no values: call layers with it, and make a cyrnn.Model of that")

    __array__ = __bool__ = __float__ = __int__ = __iter__ = __len__ = _refuse
    __array_ufunc__ = None  # NumPy's arithmetic does not know it


class Node:
    """One call of a layer: its arguments, in which there are symbolic tensors, and what it gave, flat."""

    # As Keras 2 did, and Keras 3 does not: the mask that belongs to the inputs holds beside an `initial_state` too.
    masks_beside_states = False

    def __init__(
        self, layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], outputs: Any, noted: bool = True
    ) -> None:
        self.layer = layer
        self.number = next(_numbers)  # of two calls the later one has the greater
        self.args = args
        self.kwargs = dict(kwargs)
        self.inputs: list[KerasTensor] = [leaf for leaf in nest.leaves((args, self.kwargs)) if _is(leaf)]
        self.outputs: list[KerasTensor] = nest.leaves(outputs)
        for index, tensor in enumerate(self.outputs):
            tensor.node, tensor.tensor_index = self, index
        if noted:
            layer._nodes.append(self)

    @property
    def parents(self) -> "list[Node]":
        """The calls that the inputs come from."""
        return [tensor.node for tensor in self.inputs if tensor.node is not None]


def _is(value: Any) -> bool:
    return type(value) is KerasTensor


def among(*values: Any) -> bool:
    """Whether one of the values is a symbolic tensor, or holds one in lists, tuples and dicts."""
    for value in values:
        kind = type(value)
        if kind is KerasTensor:
            return True
        if kind in (list, tuple) and among(*value):
            return True
        if kind is dict and among(*value.values()):
            return True
    return False


def call(layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The symbolic tensors that ``layer(*args, **kwargs)`` gives: checked, built, and noted as a node.

    Raises ValueError and TypeError as the call with arrays would.
    """
    _check_arguments(layer, args, kwargs)
    told = {
        key: value for key, value in kwargs.items() if not (value is None or (key == "training" and value is False))
    }
    outputs = layer.compute_output_spec(*args, **told)
    Node(layer, args, told, outputs)
    return outputs


def _check_arguments(layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    try:
        inspect.signature(layer.call).bind(*args, **{key: kwargs[key] for key in kwargs.keys() - {"mask", "training"}})
    except TypeError as error:
        raise TypeError(f"layer {layer.name!r} cannot be called so: {error}") from None


def shapes_of(inputs: Any) -> Any:
    """The shape of a tensor or array; of several, in the structure that they come in. Raises ValueError."""
    return nest.mapped(_shape_of, inputs)


def _shape_of(value: Any) -> Shape:
    if not _is(value) and not hasattr(value, "shape"):
        raise ValueError(f"inputs must be symbolic tensors or arrays, got {type(value).__name__}")
    return tuple(value.shape)


def placeholder(tensor: Any, dtype: DTypeLike | None = None, batch: int = 1) -> Any:
    """An array of the tensor's shape, one zero in memory, with one element where any length goes; for checks of shape.

    It has the tensor's dtype if that is of integers, or no other is given. What is not symbolic is returned as it is.
    """
    if not _is(tensor):
        return tensor
    lengths = [1 if n is None else n for n in tensor.shape]
    if tensor.shape and tensor.shape[0] is None:
        lengths[0] = batch
    whole = tensor.dtype.startswith(("int", "uint", "bool"))
    return np.broadcast_to(np.zeros((), tensor.dtype if dtype is None or whole else dtype), lengths)


def zeros(tensor: Any) -> Any:
    """As `placeholder`, with memory of its own, and two elements on each axis of any length but the first."""
    if not _is(tensor):
        return tensor
    return zeros_of(tensor.shape, tensor.dtype)


def zeros_of(shape: Sequence[int | None], dtype: DTypeLike = np.float32) -> Array:
    """Zeros of a shape, with some length where any goes: 1 on the first axis, 2 on others."""
    return np.zeros([n if n is not None else 1 if axis == 0 else 2 for axis, n in enumerate(shape)], dtype)


def shape_found(found: Shape, given: Sequence[int | None]) -> Shape:
    """The shape of what was computed from `zeros_of` the shape `given`: of any length where that is, with as many axes;
    or on the first one."""
    unknown = [axis for axis, n in enumerate(given) if n is None and axis < len(found) == len(given)]
    return tuple(None if axis in unknown or (axis == 0 and given[0] is None) else n for axis, n in enumerate(found))


def common_batch(values: Any) -> int:
    """The batch size that one of the tensors says, or 1."""
    return next((leaf.shape[0] for leaf in nest.leaves(values) if _is(leaf) and leaf.shape and leaf.shape[0]), 1)


def specs_that_differ(layer: Any, shape: Any, built_for: Any) -> Iterator[str]:
    """What is wrong with calling a layer built for one shape with inputs of another: weights of another shape."""
    if layer.makes_its_own_weights or shape == built_for:
        return
    for old, new in zip(layer.weight_specs(built_for), layer.weight_specs(shape), strict=True):
        if old.shape != new.shape:
            yield f"the {old.name} of layer {layer.name!r} has shape {old.shape}, inputs {shape} need {new.shape}"
    pairs = zip(layer.sublayer_shapes(shape), layer.sublayer_shapes(built_for), strict=False)
    for (_, sublayer), (ours, theirs) in zip(layer.sublayers, pairs, strict=False):
        yield from specs_that_differ(sublayer, ours, theirs)
