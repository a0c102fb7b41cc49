"""Symbolic tensors: what layers will return, before there are numbers, and the calls that they come from.

A layer that is called with symbolic tensors returns such, and notes the call as a `Node`. From the nodes that lead to
some outputs `cyrnn.Model` makes a model. Arithmetic on symbolic tensors is a call too, of an `Operation`: so tensors,
nodes and operations stand in one module. Reference: ``keras.KerasTensor`` and Keras' functional API.
"""

import contextlib
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
from numpy.typing import DTypeLike

from cyrnn import budget, objects
from cyrnn.arrays import array_of_numbers, quietly
from cyrnn.dtypes import TEXT
from cyrnn.layers.base import array_functions, nest
from cyrnn.layers.base.arguments import LengthError, Shape, check_no_text, check_possible
from cyrnn.layers.base.names import errors_name

_numbers, _names = itertools.count(), itertools.count()
_noting: ContextVar[bool] = ContextVar("noting", default=True)
_Operator = Callable[[Any, Any], Any]

MOST_ELEMENTS = 1 << 20  # of what is tried out on a layer before there are arrays
OPERATION_MODULES = ("keras.src.ops", "keras.ops")  # where a config says that operations are
_NAMED = ("x", "xs", "x1", "x2", "key")  # arguments that a call may name, in their order


class SymbolicallyCallable(Protocol):
    """What a node notes as called: a layer or an operation."""

    @property
    def name(self) -> str: ...

    @property
    def _nodes(self) -> "deque[Node]": ...

    @property
    def call(self) -> Callable[..., Any]: ...

    @property
    def compute_output_spec(self) -> Callable[..., Any]: ...


def _operators(class_name: str) -> tuple[_Operator, _Operator]:
    """The methods of an operator: with the tensor on its left side, and on its right side."""
    return lambda self, other: applied(class_name, self, other), lambda self, other: applied(class_name, other, self)


class KerasTensor:
    """Shape (None: any length), dtype and name of an array that a layer will return; it has no values.

    ``+ - * / **``, `abs`, comparisons with numbers, indexing with integers and slices, and most activations
    of `cyrnn.activations` give symbolic tensors too.
    """

    def __init__(self, shape: Sequence[int | None], dtype: str = "float32", name: str | None = None) -> None:
        self.shape: Shape = tuple(shape)
        check_possible("a tensor", self.shape)
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

    __array__ = __bool__ = __float__ = __int__ = __len__ = _refuse
    if TYPE_CHECKING:  # a call of a layer may return several tensors, but type checkers see one

        def __iter__(self) -> Iterator[Any]: ...
    else:
        __iter__ = _refuse
    __array_ufunc__ = None  # NumPy's arithmetic does not know it

    __add__, __radd__ = _operators("Add")
    __sub__, __rsub__ = _operators("Subtract")
    __mul__, __rmul__ = _operators("Multiply")
    __truediv__, __rtruediv__ = _operators("TrueDivide")
    __lt__, __gt__ = _operators("Less")[0], _operators("Greater")[0]
    __le__, __ge__ = _operators("LessEqual")[0], _operators("GreaterEqual")[0]
    __ne__ = _operators("NotEqual")[0]
    __pow__, __rpow__ = _operators("Power")
    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        """Whether it is the same tensor; where `other` is a number or an array, the tensor of that comparison."""
        return applied("Equal", self, other) if _is_number(other) else self is other

    def __neg__(self) -> "KerasTensor":
        return applied("Negative", self)

    def __abs__(self) -> "KerasTensor":
        return applied("Absolute", self)

    def __activated__(self, name: str) -> "KerasTensor":
        """What the activation of this name returns for the tensor. Raises TypeError for one that is no operation."""
        if name not in array_functions.OF_ACTIVATIONS:
            raise TypeError(f"the activation {name!r} is no operation of symbolic tensors: call a layer, Activation")
        operation = array_functions.OF_ACTIVATIONS[name]
        options = {"axis": -1} if operation in array_functions.ALONG_THE_LAST_AXIS else {}
        module = "numpy" if operation in ("Exp", "Tanh") else "nn"
        return applied(operation, self, module=module, **options)

    def __getitem__(self, key: Any) -> "KerasTensor":
        return applied("GetItem", self, key)


class Node:
    """One call of a layer: its arguments, in which there are symbolic tensors, and what it gave, flat."""

    # As Keras 2 did, and Keras 3 does not: the mask that belongs to the inputs holds beside an `initial_state` too.
    masks_beside_states = False
    training: bool | None = None  # as it was passed to the call, where `kwargs` leaves out what means the same

    def __init__(
        self,
        layer: SymbolicallyCallable,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        outputs: Any,
        noted: bool = True,
    ) -> None:
        self.layer: Any = layer  # a layer or an operation
        self.number = next(_numbers)  # of two calls the later one has the greater
        self.args = args
        self.kwargs = dict(kwargs)
        self.inputs: list[KerasTensor] = [leaf for leaf in nest.leaves((args, self.kwargs)) if _is(leaf)]
        self.outputs: list[KerasTensor] = nest.leaves(outputs)
        for index, tensor in enumerate(self.outputs):
            tensor.node, tensor.tensor_index = self, index
        if noted:
            layer._nodes.append(self)
        budget.spend(max(budget.CALL, len(self.inputs) + len(self.outputs)))

    @property
    def parents(self) -> "list[Node]":
        """The calls that the inputs come from."""
        return [tensor.node for tensor in self.inputs if tensor.node is not None]


def _is(value: Any) -> bool:
    return type(value) is KerasTensor


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.ndarray, np.generic))


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


def call(layer: SymbolicallyCallable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The symbolic tensors that ``layer(*args, **kwargs)`` returns: checked, built, and noted as a node.

    Raises ValueError and TypeError as the call with arrays would.
    """
    _check_arguments(layer, args, kwargs)
    if not getattr(layer, "takes_text", False):
        check_no_text(layer.name, [leaf.dtype for leaf in nest.leaves(args) if _is(leaf)])
    given = {
        key: value for key, value in kwargs.items() if not (value is None or (key == "training" and value is False))
    }
    nodes = [tensor.node for tensor in nest.leaves(args[0]) if _is(tensor)] if args else []
    with errors_name(node.layer.name for node in nodes if node is not None and node.inputs):
        outputs = layer.compute_output_spec(*args, **given)
    Node(layer, args, given, outputs, noted=_noting.get()).training = kwargs.get("training")
    return outputs


@contextlib.contextmanager
def unnoted() -> Iterator[None]:
    """Context manager: layers do not note the symbolic calls in it, so that only their outputs lead to these."""
    token = _noting.set(False)
    try:
        yield
    finally:
        _noting.reset(token)


def _check_arguments(layer: SymbolicallyCallable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
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
    """An array of the tensor's shape, for checks of shape: one zero in memory, with one element where any length is
    possible.

    It has the tensor's dtype if that is of integers, or no other is given. What is not symbolic is returned as it is.
    """
    if not _is(tensor):
        return tensor
    lengths = [1 if n is None else n for n in tensor.shape]
    if tensor.shape and tensor.shape[0] is None:
        lengths[0] = batch
    if tensor.dtype == TEXT:
        return np.broadcast_to(np.array("", object), lengths)
    whole = tensor.dtype.startswith(("int", "uint", "bool"))
    return array_functions.one_zero(tensor.dtype if dtype is None or whole else dtype, lengths)


def zeros(tensor: Any, length: int) -> Any:
    """As `placeholder`, with memory of its own, and this length on each axis of any length but the first."""
    if not _is(tensor):
        return tensor
    return array_functions.zeros_of(tensor.shape, tensor.dtype, length)


def common_batch(values: Any) -> int:
    """The batch size that one of the tensors says, or 1."""
    return next((leaf.shape[0] for leaf in nest.leaves(values) if _is(leaf) and leaf.shape and leaf.shape[0]), 1)


class Operation:
    """An operation of Keras' name `class_name`, with the options of its config: ``operation(*args)``."""

    def __init__(self, class_name: str, name: str, module: str, options: Mapping[str, Any]) -> None:
        self.class_name = class_name
        self.name = name
        self.module = module
        self.options = dict(options)
        self._nodes: deque[Node] = deque()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if among(args, kwargs):
            return call(self, args, kwargs)
        return self.call(*args, **kwargs)

    @quietly
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The result for arrays; in float32, where NumPy makes float64 of integers."""
        args, kwargs = self._arranged(args, kwargs), {}
        try:
            result = np.asarray(array_functions.FUNCTIONS[self.class_name](*args, **kwargs, **self.options))
        except IndexError as error:
            raise LengthError(f"inputs of {self.name!r} do not have its index: {error}") from None
        if result.dtype == np.float64 and not any(_dtype(leaf) == "float64" for leaf in nest.leaves((args, kwargs))):
            return result.astype(self.options.get("dtype", np.float32))
        return result

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> KerasTensor:
        """Shape and dtype of the result. Raises ValueError where the shapes do not fit. Nothing large is computed."""
        args, kwargs = self._arranged(args, kwargs), {}
        tensors = [leaf for leaf in nest.leaves((args, kwargs)) if hasattr(leaf, "shape")]
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if self.class_name == "GetItem":
            return KerasTensor(array_functions.item_shape(shapes[0], args[1]), str(tensors[0].dtype))
        if self.class_name in array_functions.REARRANGING:
            found = [self.call(*(_view(arg, n) for arg in args), **kwargs).shape for n in (2, 3)]
            shape: Shape = tuple(n if n == m else None for n, m in zip(*found, strict=True))
            return KerasTensor(shape, str(tensors[0].dtype))
        if self.class_name in array_functions.JOINING:
            dtype = np.result_type(*(np.dtype(tensor.dtype) for tensor in tensors))
            return KerasTensor(self._joined(shapes), dtype.name)
        small = nest.mapped(lambda leaf: np.ones((1,), _dtype(leaf)) if hasattr(leaf, "shape") else leaf, list(args))
        if self.class_name in array_functions.ELEMENTWISE:
            return KerasTensor(array_functions.broadcast_shape(shapes), self.call(*small, **kwargs).dtype.name)
        dtype = Operation(self.class_name, self.name, self.module, {}).call(*small).dtype
        return KerasTensor(self._reduced(shapes[0]), dtype.name)

    def _arranged(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call in their order. Raises ValueError for options of NumPy's functions, for indices that
        are neither numbers nor slices, and for what is no number: a file must not choose where results go, or how large
        they are.
        """
        wanted = (
            3 if self.class_name in array_functions.TERNARY else 2 if self.class_name in array_functions.BINARY else 1
        )
        named = [kwargs[name] for name in _NAMED if name in kwargs]
        if len(named) != len(kwargs) or len(args) + len(named) != wanted:
            raise ValueError(
                f"{self.name!r} ({self.class_name}) takes {wanted} arguments and no options, "
                f"got {len(args)} and {sorted(kwargs)!r:.200}"
            )
        arranged = (*args, *named)
        if self.class_name == "GetItem":
            key = arranged[1] if isinstance(arranged[1], (list, tuple)) else [arranged[1]]
            if not all(type(part) is int or part is None or part is ... or isinstance(part, slice) for part in key):
                raise ValueError(f"{self.name!r} must be an index of integers and slices, got {arranged[1]!r:.200}")
            return arranged
        if self.class_name in array_functions.JOINING:
            parts = nest.leaves(arranged)
            if not parts or not all(hasattr(part, "shape") for part in parts):
                raise ValueError(f"{self.name!r} ({self.class_name}) takes a list of tensors, got {arranged!r:.200}")
            return arranged
        return tuple(_operand(f"an argument of {self.name!r}", part) for part in arranged)

    def _joined(self, shapes: list[Shape]) -> Shape:
        axis, rank = self.options.get("axis", 0), len(shapes[0])
        if self.class_name == "Stack":
            axis = axis % (rank + 1)
            return (*array_functions.common_shape(shapes)[:axis], len(shapes), *shapes[0][axis:])
        lengths = [shape[axis] for shape in shapes]
        total = None if None in lengths else sum(n for n in lengths if n is not None)
        rest = array_functions.common_shape([(*shape[: axis % rank], *shape[axis % rank + 1 :]) for shape in shapes])
        return (*rest[: axis % rank], total, *rest[axis % rank :])

    def _reduced(self, shape: Shape) -> Shape:
        axis, keep = self.options.get("axis"), self.options.get("keepdims", False)
        axes = range(len(shape)) if axis is None else axis if isinstance(axis, (list, tuple)) else [axis]
        gone = {range(len(shape))[n] for n in axes}
        return tuple(1 if axis in gone else n for axis, n in enumerate(shape) if keep or axis not in gone)

    def to_entry(self) -> dict[str, Any]:
        """The operation in the config of a model, as Keras 3 writes it."""
        config = {"name": self.name, **self.options}
        return {
            "module": self.module,
            "class_name": self.class_name,
            "config": config,
            "registered_name": self.class_name,
        }


def applied(class_name: str, *args: Any, module: str = "numpy", **options: Any) -> Any:
    """The result of a new operation, which Keras has in this module, for symbolic tensors."""
    name = objects.unique_name(objects.snake_case(class_name))
    return Operation(class_name, name, f"{OPERATION_MODULES[0]}.{module}", options)(*args)


def _operand(what: str, value: Any) -> Any:
    """A tensor, an array or a number; numbers in lists are an array, as Keras makes it: of float32 or int32."""
    if hasattr(value, "shape") or isinstance(value, (bool, int, float)):
        return value
    array = array_of_numbers(what, value)
    return (
        array
        if array.dtype == bool
        else array_of_numbers(what, value, "float32" if array.dtype.kind == "f" else "int32")
    )


def _dtype(value: Any) -> str | None:
    return str(value.dtype) if hasattr(value, "dtype") else None


def _view(value: Any, any_length: int) -> Any:
    """An array in the place of a symbolic tensor that takes no memory, with this length where any is possible."""
    if not _is(value):
        return value
    return array_functions.one_zero(value.dtype, [any_length if n is None else n for n in value.shape])


# ---------------------------------------------------------------- gradients of layers made of layers

# Takes a layer, its inputs, and whether it is in training. The models have it: they know how calls are noted and run.
_vjp: list[Callable[[Any, Any, bool], tuple[Any, Any]]] = []


def give_vjp(vjp: Callable[[Any, Any, bool], tuple[Any, Any]]) -> None:
    """Let this function compute `vjp` of custom layers whose calls are calls of layers."""
    _vjp[:] = [vjp]


def vjp_through_calls(composed: Any, x: Any, training: bool) -> tuple[Any, Any]:
    """What a call of such a layer returns, and its pullback. Raises ValueError where the calls cannot be noted."""
    return _vjp[0](composed, x, training)
