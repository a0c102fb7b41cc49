"""Keras' operations between layers, as configs name them.

Where a mask comes from an Embedding or Masking, a model of Keras 3 holds the operations that compute it (NotEqual,
Any, ...), and each layer after them gets their result as its mask.
"""

from collections.abc import Mapping
from typing import Any

from cyrnn.layers.base.arguments import MOST_AXES
from cyrnn.layers.base.array_functions import FUNCTIONS
from cyrnn.layers.base.symbolic import OPERATION_MODULES, Operation, applied

__all__ = ["MODULES", "Operation", "applied", "from_entry"]

MODULES = OPERATION_MODULES
_WITH_A_DTYPE = ("Cast", "ConvertToTensor", "OnesLike", "ZerosLike")


def from_entry(entry: Mapping[str, Any], name: str) -> Operation:
    """The operation that an entry of a config describes. Raises ValueError for unknown ones, and for other options."""
    class_name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(config, Mapping):
        raise ValueError(f"the config of {name!r} must be a dict, got {config!r:.200}")
    if not isinstance(class_name, str) or class_name not in FUNCTIONS:
        raise ValueError(f"layer {name!r} is of the unknown operation {class_name!r:.200}")
    options = {key: value for key, value in config.items() if key != "name" and value is not None}
    for key, value in options.items():
        sound = {
            "axis": _is_axis(value) or _are_axes(value),
            "axes": _are_axes(value),
            "keepdims": isinstance(value, bool),
            "newshape": class_name == "Reshape" and _are_lengths(value),
            "dtype": value in ("bool", "int32", "int64", "float32", "float64") and class_name in _WITH_A_DTYPE,
        }
        if not sound.get(key, False):
            raise ValueError(f"layer {name!r} ({class_name}) has the option {key!r:.200} of {value!r:.200}")
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return Operation(class_name, name, str(entry.get("module") or "keras.src.ops.numpy"), options)


def _is_axis(value: Any) -> bool:
    return type(value) is int and -MOST_AXES <= value < MOST_AXES


def _are_lengths(value: Any) -> bool:
    """Whether it is the shape of an array, one of whose lengths may be -1: what remains."""
    sound = isinstance(value, list) and len(value) <= MOST_AXES and all(type(n) is int and n >= -1 for n in value)
    return sound and value.count(-1) <= 1


def _are_axes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_AXES and all(map(_is_axis, value))
