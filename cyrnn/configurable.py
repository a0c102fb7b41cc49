"""What initializers, regularizers and constraints share: a config, and being found by name."""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.arrays import converted, shown, to_numpy


class Configurable:
    """An object that its config describes completely: equal configs, equal behaviour."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them.

        Returns
        -------
        dict
        """
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The object that `get_config` described.

        Parameters
        ----------
        config : dict
            It is left as it is.

        Returns
        -------
        object of this class
        """
        return cls(**{key: objects.plain_value(value) for key, value in config.items()})


_OF_INITIALIZERS = {  # by the name of a parameter, its type and what it means
    "distribution": ("str", "Of the draws: truncated_normal (also called normal), untruncated_normal or uniform."),
    "gain": ("float", "What the matrix is multiplied by."),
    "input_axes": ("list of int", "The axes whose product is fan_in, given with `output_axes` (Keras 3.15)."),
    "maxval": ("float", "The upper end of the draws, which is not drawn itself."),
    "mean": ("float", "Of the normal distribution."),
    "minval": ("float", "The lower end of the draws."),
    "mode": ("str", "Which fan the variance is divided by: fan_in, fan_out or fan_avg."),
    "output_axes": ("list of int", "The axes whose product is fan_out, given with `input_axes` (Keras 3.15)."),
    "scale": ("float", "What the variance is multiplied by; greater than 0."),
    "seed": ("int, SeedGenerator or its config", "An int draws the same numbers each time; None draws an int."),
    "stddev": ("float", "The standard deviation of the normal distribution."),
    "value": ("float or array", "A number, or an array that broadcasts to the shape of the weight."),
}


def with_parameters(text: str | None, cls: type) -> str | None:
    """The docstring of an initializer with a section for its parameters."""
    lines = [inspect.cleandoc(text or ""), "", "Parameters", "----------"]
    for option in inspect.signature(cls).parameters.values():
        if option.name not in _OF_INITIALIZERS:
            return text
        kind, meaning = _OF_INITIALIZERS[option.name]
        lines += [f"{option.name} : {kind}, {'optional' if option.default is None else f'default {option.default!r}'}"]
        lines += [f"    {meaning}"]
    return "\n".join(lines) if len(lines) > 4 else text


class Deserialize(Protocol):
    def __call__(self, config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any: ...


def lookup(module: str) -> tuple[Callable[[Any], Any], Deserialize]:
    """Keras' ``get`` and ``deserialize`` for the classes of `module`, such as ``keras.constraints``."""

    def get(identifier: Any) -> Any:
        """The object for a name, config dict, class or callable; None stays None.

        Names are matched exactly, as the class name or its snake case. ValueError for anything else.

        Parameters
        ----------
        identifier : str, dict, class, object or None
            A name, a config, or what it stands for.

        Returns
        -------
        object or None
            What the identifier stands for; None stays None.
        """
        return objects.get(identifier, module)

    def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """The object that `config` describes; names are looked up in `custom_objects` first.

        Parameters
        ----------
        config : dict
            What `serialize`, or `get_config`, has returned.
        custom_objects : mapping of str to class or function, optional
            Custom classes and functions by name; these go before the fixed list.

        Returns
        -------
        object
            What the config describes.
        """
        with objects.custom_object_scope(custom_objects):
            return objects.get(config, module)

    return get, deserialize


def number(name: str, value: Any) -> float:
    """`value` as a plain Python number that a float can hold. Raises TypeError or ValueError."""
    if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0:
        value = value.item()
    if not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r:.200}")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError(f"{name} must be a number that a float can hold, got {shown(value)}")
    return value


def weight_array(weight: ArrayLike) -> np.ndarray:
    """`weight` as a floating array: its own dtype if it has one, else float32 as in Keras."""
    array = to_numpy("the weight", weight)
    if hasattr(weight, "dtype") and array.dtype.kind not in "biu":
        return array
    return converted(array, np.float32)


def integer(name: str, value: Any) -> int:
    """`value` as a plain Python int; TypeError naming the argument `name` if it is none."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r:.200}")
    return int(value.__index__())


def positive_integer(name: str, value: Any) -> int:
    """`value` as a plain Python int over 0. Raises TypeError or ValueError."""
    value = integer(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def at_least_0(name: str, value: Any) -> float:
    """`value` as a number that is not negative. Raises TypeError or ValueError."""
    value = number(name, value)
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def positive(name: str, value: Any) -> float:
    """`value` as a finite number over 0. Raises TypeError or ValueError."""
    value = number(name, value)
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be over 0 and finite, got {value}")
    return value


def fraction(name: str, value: Any) -> float:
    """`value` as a number from 0 to 1. Raises TypeError or ValueError."""
    value = number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")
    return value


def floating(dtype: Any) -> str | None:
    """The name of a dtype to compute in, None for the default. Raises ValueError for what is neither float."""
    if dtype is None:
        return None
    if not isinstance(dtype, str | type | np.dtype) or dtype not in ("float32", "float64", np.float32, np.float64):
        raise ValueError(f"dtype must be float32, float64 or None, got {shown(dtype)}")
    return np.dtype(dtype).name
