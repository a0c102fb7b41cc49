"""Keras' operations between layers: ``x + y``, ``x[:, -1]``, and those that Keras itself writes for masks.

Where a mask comes from an Embedding or Masking, a model of Keras 3 holds the operations that compute it (NotEqual,
Any, ...), and each layer behind them is given their result as its mask.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cyrnn import objects
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.layer import unique_name
from cyrnn.layers.base.symbolic import KerasTensor

MODULES = ("keras.src.ops", "keras.ops")  # where a config says that they are

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Absolute": np.absolute,
    "Add": np.add,
    "Cast": lambda x, dtype: np.asarray(x).astype(dtype),
    "Divide": np.divide,
    "Equal": np.equal,
    "Exp": np.exp,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalNot": np.logical_not,
    "LogicalOr": np.logical_or,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Multiply": np.multiply,
    "Negative": np.negative,
    "NotEqual": np.not_equal,
    "OnesLike": np.ones_like,
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Subtract": np.subtract,
    "Tanh": np.tanh,
    "TrueDivide": np.true_divide,
    "ZerosLike": np.zeros_like,
}
REDUCING: dict[str, Callable[..., Any]] = {
    "All": np.all,
    "Any": np.any,
    "Max": np.max,
    "Mean": np.mean,
    "Min": np.min,
    "Sum": np.sum,
}
JOINING: dict[str, Callable[..., Any]] = {"Concatenate": np.concatenate, "Stack": np.stack}
REARRANGING: dict[str, Callable[..., Any]] = {
    "ExpandDims": np.expand_dims,
    "Flip": np.flip,
    "GetItem": lambda x, key: x[tuple(key) if isinstance(key, list) else key],
    "Squeeze": np.squeeze,
    "Transpose": np.transpose,
}
_BINARY = {
    "Add",
    "Divide",
    "Equal",
    "GetItem",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
} | {"Maximum", "Minimum", "Multiply", "NotEqual", "Subtract", "TrueDivide"}  # those of two arguments
_NAMED = ("x", "xs", "x1", "x2", "key")  # arguments that a call may name, in their order
_WITH_A_DTYPE = ("Cast", "OnesLike", "ZerosLike")
FUNCTIONS = ELEMENTWISE | REDUCING | JOINING | REARRANGING


class Operation:
    """An operation of Keras' name `class_name`, with the options of its config: ``operation(*args)``."""

    def __init__(self, class_name: str, name: str, module: str, options: Mapping[str, Any]) -> None:
        self.class_name = class_name
        self.name = name
        self.module = module
        self.options = dict(options)
        self._nodes: deque[symbolic.Node] = deque()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if symbolic.among(args, kwargs):
            return symbolic.call(self, args, kwargs)
        return self.call(*args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The result for arrays; in float32, where NumPy makes float64 of integers."""
        args, kwargs = self._arranged(args, kwargs), {}
        result = np.asarray(FUNCTIONS[self.class_name](*args, **kwargs, **self.options))
        if result.dtype == np.float64 and not any(_dtype(leaf) == "float64" for leaf in nest.leaves((args, kwargs))):
            return result.astype(self.options.get("dtype", np.float32))
        return result

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> KerasTensor:
        """Shape and dtype of the result. Raises ValueError where the shapes do not fit. Nothing large is computed."""
        args, kwargs = self._arranged(args, kwargs), {}
        tensors = [leaf for leaf in nest.leaves((args, kwargs)) if hasattr(leaf, "shape")]
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if self.class_name in REARRANGING:
            found = [self.call(*(_view(arg, n) for arg in args), **kwargs).shape for n in (2, 3)]
            shape: Shape = tuple(n if n == m else None for n, m in zip(*found, strict=True))
            return KerasTensor(shape, str(tensors[0].dtype))
        if self.class_name in JOINING:
            dtype = np.result_type(*(np.dtype(tensor.dtype) for tensor in tensors))
            return KerasTensor(self._joined(shapes), dtype.name)
        small = nest.mapped(lambda leaf: np.ones((1,), _dtype(leaf)) if hasattr(leaf, "shape") else leaf, list(args))
        if self.class_name in ELEMENTWISE:
            return KerasTensor(_broadcast(shapes), self.call(*small, **kwargs).dtype.name)
        dtype = Operation(self.class_name, self.name, self.module, {}).call(*small).dtype
        return KerasTensor(self._reduced(shapes[0]), dtype.name)

    def _arranged(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call in their order. Raises ValueError for options of NumPy's functions, and for indices
        that are neither numbers nor slices: what a file says must not choose where results go, or how large they are.
        """
        wanted = 2 if self.class_name in _BINARY else 1
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

    def _joined(self, shapes: list[Shape]) -> Shape:
        axis, rank = self.options.get("axis", 0), len(shapes[0])
        if self.class_name == "Stack":
            axis = axis % (rank + 1)
            return (*_same(shapes)[:axis], len(shapes), *shapes[0][axis:])
        lengths = [shape[axis] for shape in shapes]
        total = None if None in lengths else sum(n for n in lengths if n is not None)
        rest = _same([(*shape[: axis % rank], *shape[axis % rank + 1 :]) for shape in shapes])
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


def applied(class_name: str, *args: Any, **options: Any) -> Any:
    """What a new operation gives for symbolic tensors."""
    return Operation(class_name, unique_name(objects.snake_case(class_name)), MODULES[0] + ".numpy", options)(*args)


def _operator(class_name: str, reflected: bool = False) -> Callable[..., Any]:
    return lambda tensor, *others: applied(class_name, *((*others, tensor) if reflected else (tensor, *others)))


for _name, _class_name in {"add": "Add", "sub": "Subtract", "mul": "Multiply", "truediv": "TrueDivide"}.items():
    setattr(KerasTensor, f"__{_name}__", _operator(_class_name))
    setattr(KerasTensor, f"__r{_name}__", _operator(_class_name, reflected=True))
for _name, _class_name in {"neg": "Negative", "getitem": "GetItem"}.items():
    setattr(KerasTensor, f"__{_name}__", _operator(_class_name))


def from_entry(entry: Mapping[str, Any], name: str) -> Operation:
    """The operation that a config tells of. Raises ValueError for one that is not known, or has other options."""
    class_name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(config, Mapping):
        raise ValueError(f"the config of {name!r} must be a dict, got {config!r:.200}")
    if not isinstance(class_name, str) or class_name not in FUNCTIONS:
        raise ValueError(f"layer {name!r} is of the unknown operation {class_name!r:.200}")
    options = {key: value for key, value in config.items() if key != "name" and value is not None}
    for key, value in options.items():
        sound = {
            "axis": type(value) is int or (isinstance(value, list) and all(type(n) is int for n in value)),
            "axes": isinstance(value, list) and all(type(n) is int for n in value),
            "keepdims": isinstance(value, bool),
            "dtype": value in ("bool", "int32", "int64", "float32", "float64") and class_name in _WITH_A_DTYPE,
        }
        if not sound.get(key, False):
            raise ValueError(f"layer {name!r} ({class_name}) has the option {key!r:.200} of {value!r:.200}")
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return Operation(class_name, name, str(entry.get("module") or "keras.src.ops.numpy"), options)


def _dtype(value: Any) -> str | None:
    return str(value.dtype) if hasattr(value, "dtype") else None


def _view(value: Any, any_length: int) -> Any:
    """An array in the place of a symbolic tensor that takes no memory, with this length where any goes."""
    if type(value) is not KerasTensor:
        return value
    return np.broadcast_to(np.zeros((), value.dtype), [any_length if n is None else n for n in value.shape])


def _same(shapes: list[Shape]) -> Shape:
    """What equal shapes have in common, where some may say any length. Raises ValueError."""
    common = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(common) or any(None not in (n, m) and n != m for n, m in zip(shape, common, strict=True)):
            raise ValueError(f"arrays of the shapes {shapes[0]} and {shape} cannot be joined")
        common = [m if n is None else n for n, m in zip(shape, common, strict=True)]
    return tuple(common)


def _broadcast(shapes: list[Shape]) -> Shape:
    """The shape of an operation element by element. Raises ValueError."""
    rank = max(len(shape) for shape in shapes)
    result: list[int | None] = []
    for lengths in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wider = {n for n in lengths if n != 1}
        known = wider - {None}
        if len(known) > 1:
            raise ValueError(f"arrays of the shapes {shapes} do not fit each other")
        result.append(known.pop() if known else None if None in wider else 1)
    return tuple(result)
