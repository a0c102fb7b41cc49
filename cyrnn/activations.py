"""Keras' activation functions by name. Each takes an array (..., units) and returns a new one of its float dtype.

The functions are the engine's own vectorised ones (formulas and limits: Keras 3). `softmax`, `log_softmax` and
`sparsemax` work along the last axis, the others on each element. Their parameters are Keras' too: with values other
than the defaults, `activation_formulas` computes. `glu` and `threshold` are functions only, not activations of a layer.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyrnn import activation_formulas as formulas
from cyrnn import objects
from cyrnn.arrays import quietly, shown, to_numpy
from cyrnn.engine import plan
from cyrnn.notices.names import public, suggestion

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
_FLOAT32, _FLOAT64 = np.dtype("float32"), np.dtype("float64")


class Activation:
    """An activation of Keras that the engine has: ``activation(x)``, and ``activation.name`` in a config."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name
        self.__doc__ = formulas.documentation(name)

    @quietly
    def __call__(self, x: ArrayLike, *parameters: Any, **named: Any) -> NDArray[Any]:
        symbolic = getattr(x, "__activated__", None)  # of a tensor that has no numbers yet
        if symbolic is not None and not formulas.bound(self.name, parameters, named, _FLOAT32):
            return symbolic(self.name)
        if parameters or named:
            return _computed(self.name, x, parameters, named)
        z, dtype = _floats(x)
        if z.size:
            plan.activate(self.name, z.reshape(-1, z.shape[-1] if z.ndim else 1))
        return z.astype(dtype, copy=False)

    def __getattr__(self, name: str) -> Any:
        if name != "__signature__":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__signature__ = formulas.signature(self.name)  # when it is first asked for: `inspect` takes its time
        return self.__signature__

    def __reduce__(self) -> tuple[Any, ...]:
        return get, (self.name,)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


def _floats(x: ArrayLike) -> tuple[NDArray[Any], np.dtype[Any]]:
    """A new array of numbers that the engine can compute with, and the dtype of the result."""
    array = to_numpy("x", x)
    dtype = array.dtype
    if dtype.kind != "f":
        if dtype.kind not in "iub" and not np.can_cast(dtype, np.float32):
            raise TypeError(f"x must be an array of real numbers, got dtype {dtype}")
        dtype = dtype if dtype.kind == "V" else _FLOAT32
    return np.array(array, dtype=_FLOAT64 if dtype.itemsize >= 8 else _FLOAT32, order="C"), dtype


def _computed(name: str, x: ArrayLike, parameters: tuple[Any, ...], named: Mapping[str, Any]) -> NDArray[Any]:
    """The activation with parameters. If all are the usual ones, the engine's."""
    z, dtype = _floats(x)
    others = formulas.bound(name, parameters, named, dtype)
    if not others and name in plan.ACTIVATIONS:
        return formulas.activated(name, z).astype(dtype, copy=False)
    return np.asarray(formulas.FORMULAS[name](z, **others)).astype(dtype, copy=False)


@quietly
def glu(x: ArrayLike, axis: int = -1) -> NDArray[Any]:
    """The first half of x along an axis, times the sigmoid of the second half.

    Parameters
    ----------
    x : array
        Of an even length on `axis`.
    axis : int
        The axis that is halved.

    Returns
    -------
    array of the dtype of x, half as long on `axis`

    Raises
    ------
    ValueError
        For an axis of odd length.
    """
    return _computed("glu", x, (axis,), {})


@quietly
def threshold(x: ArrayLike, threshold: float, default_value: float) -> NDArray[Any]:
    """x where it is above the threshold, `default_value` elsewhere.

    Parameters
    ----------
    x : array
    threshold, default_value : float

    Returns
    -------
    array of the shape and dtype of x
    """
    return _computed("threshold", x, (threshold, default_value), {})


_BY_NAME = {name: Activation(name) for name in plan.ACTIVATIONS}
_BY_NAME |= {alias: _BY_NAME[name] for alias, name in _ALIASES.items()}
globals().update(_BY_NAME)
_NOT_OF_A_LAYER = {"glu": glu, "threshold": threshold}
__all__ = ["get", "serialize", "deserialize", "set_derivative", *_BY_NAME, *_NOT_OF_A_LAYER]


if TYPE_CHECKING:

    def __getattr__(name: str) -> Activation: ...  # the functions above, of which type checkers do not know

else:
    __getattr__, __dir__ = public(__name__, __all__)


def get(identifier: Any) -> Callable[..., Any]:
    """The activation for a name, a callable, or a config.

    Parameters
    ----------
    identifier : str, callable, dict or None
        None is linear. A dict is what `serialize` returns.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        For an unknown name, for what is not callable, and for `glu` and `threshold`.
    """
    if identifier is None:
        return _BY_NAME["linear"]
    if isinstance(identifier, str):
        found = objects.custom_object(identifier) or _BY_NAME.get(identifier)
        if found is None:
            _refuse_for_layers(_NOT_OF_A_LAYER.get(identifier))
            known = ", ".join(sorted(_BY_NAME))
            raise objects.UnknownNameError(
                f"unknown activation {shown(identifier)}: expected one of {known}{suggestion(identifier, _BY_NAME)}"
            )
        return found
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if callable(identifier):
        _refuse_for_layers(identifier)
        return identifier
    objects.refuse_code(identifier)
    raise ValueError(f"activation must be None, a name or a callable, got {shown(identifier)}")


def _refuse_for_layers(function: Any) -> None:
    for name, reason in (("glu", "it halves an axis"), ("threshold", "it needs a threshold and a default value")):
        if function is _NOT_OF_A_LAYER[name]:
            raise ValueError(f"{name!r} cannot be the activation of a layer or cell: {reason}")


def serialize(activation: Callable[..., Any]) -> Any:
    """What a config holds for an activation.

    Parameters
    ----------
    activation : callable

    Returns
    -------
    str or dict
        The name of a built-in activation, else a dict in Keras' form.
    """
    return activation.name if isinstance(activation, Activation) else objects.serialize(activation)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The activation that a config holds.

    Parameters
    ----------
    config : str, dict or None
    custom_objects : dict, optional
        Custom functions and classes by name.

    Returns
    -------
    callable, or None for None

    Raises
    ------
    ValueError
        For what is unknown, and for a lambda: its code is never run.
    """
    with objects.custom_object_scope(custom_objects):
        if not isinstance(config, Mapping):
            return None if config is None else get(config)
        if set(config) == {"value"}:  # so Keras writes a lambda
            config = {"class_name": "__lambda__", "config": config}
        name = config.get("config")
        if config.get("class_name") == "function" and isinstance(name, str):
            ours = objects.custom_object(config.get("registered_name"), name) is None and name in _NOT_OF_A_LAYER
            if ours or name in _BY_NAME:
                return get(name)
        return objects.deserialize(config, "keras.layers")


def engine_name(activation: Callable[..., Any] | None) -> str | None:
    """The name by which the engine knows this activation; None for a custom one."""
    if activation is None:  # as an attribute may be set; a constructor makes it linear
        return "linear"
    return activation.name if isinstance(activation, Activation) else None


_derivatives: dict[Callable[..., Any], Callable[..., Any]] = {}


def set_derivative(activation: Callable[..., Any], derivative: Callable[..., Any]) -> None:
    """Say what the derivative of a custom activation is, for gradients.

    Parameters
    ----------
    activation : callable
        A function that you wrote, or one of NumPy, that works element by element.
    derivative : callable
        Takes the array that `activation` is applied to, and returns the derivative at each element.

    Raises
    ------
    ValueError
        For one of Keras' activations, whose derivatives are known; and if `derivative` cannot be called.

    Examples
    --------
    >>> import numpy as np
    >>> cyrnn.activations.set_derivative(np.sin, np.cos)
    """
    if engine_name(activation) is not None:
        raise ValueError(f"activation must be a custom one, got {activation!r}, whose derivative is known")
    if not callable(activation) or not callable(derivative):
        raise ValueError(f"activation and derivative must be callables, got {activation!r} and {derivative!r}")
    _derivatives[activation] = derivative


def derivative_of(activation: Callable[..., Any]) -> Callable[..., Any] | None:
    """The derivative of a custom activation: its attribute `derivative`, or the registered one; or None."""
    found = getattr(activation, "derivative", None)
    return found if callable(found) else _derivatives.get(activation)
