"""Keras' activation functions by name. Each takes an array (..., units) and returns a new one of its float dtype.

The functions are the engine's own vectorised ones (formulas and limits: Keras 3). `softmax`, `log_softmax` and
`sparsemax` work along the last axis, the others on each element.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyrnn import objects
from cyrnn.engine import plan

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


class Activation:
    """One of Keras' activations that the engine knows: ``activation(x)``, and ``activation.name`` in a config."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        array = np.asarray(x)
        dtype = array.dtype if array.dtype.kind in "fV" else np.dtype("float32")
        if array.dtype.kind not in "fiub" and not np.can_cast(array.dtype, np.float32):
            raise TypeError(f"x must be an array of real numbers, got dtype {array.dtype}")
        z = np.array(array, dtype="float64" if dtype.itemsize >= 8 else "float32", order="C")
        if z.size:
            plan.activate(self.name, z.reshape(-1, z.shape[-1] if z.ndim else 1))
        return z.astype(dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return get, (self.name,)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


_BY_NAME = {name: Activation(name) for name in plan.ACTIVATIONS}
_BY_NAME |= {alias: _BY_NAME[name] for alias, name in _ALIASES.items()}
globals().update(_BY_NAME)
__all__ = ["get", "serialize", "deserialize", *_BY_NAME]


def __getattr__(name: str) -> Activation:  # so that type checkers know of the functions above
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(identifier: Any) -> Callable[..., Any]:
    """None (linear), a name, a callable or an object's envelope -> the activation.

    Raises ValueError for an unknown name, or for what is not callable.
    """
    if identifier is None:
        return _BY_NAME["linear"]
    if isinstance(identifier, str):
        found = objects.custom_object(identifier) or _BY_NAME.get(identifier)
        if found is None:
            raise ValueError(f"unknown activation {identifier!r}: expected one of {', '.join(sorted(_BY_NAME))}")
        return found
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    objects.refuse_code(identifier)
    raise ValueError(f"activation must be None, a name or a callable, got {identifier!r}")


def serialize(activation: Callable[..., Any]) -> Any:
    """Keras' config entry: the name of a built-in, an envelope otherwise."""
    return activation.name if isinstance(activation, Activation) else objects.serialize(activation)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The activation of a config entry, None for None. Functions and classes of your own come from `custom_objects`.

    Raises ValueError for what is unknown, and for a lambda: its code is never run.
    """
    with objects.custom_object_scope(custom_objects):
        if not isinstance(config, Mapping):
            return None if config is None else get(config)
        if set(config) == {"value"}:  # so Keras writes a lambda
            config = {"class_name": "__lambda__", "config": config}
        name = config.get("config")
        if config.get("class_name") == "function" and isinstance(name, str) and name in _BY_NAME:
            return get(name)
        return objects.deserialize(config, "keras.layers")


def engine_name(activation: Callable[..., Any] | None) -> str | None:
    """The name by which the engine knows this activation, or None for one of the user's own."""
    if activation is None:  # as an attribute may be set; a constructor makes it linear
        return "linear"
    return activation.name if isinstance(activation, Activation) else None
