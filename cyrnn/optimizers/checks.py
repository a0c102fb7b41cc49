"""What optimizers are given: the arguments, weights of models and their names, and gradients."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cyrnn import notices
from cyrnn.arrays import converted, shown
from cyrnn.configurable import number
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import Weighted
from cyrnn.optimizers.schedules import schedule_of

_MOST_PATTERNS, _LONGEST_PATTERN = 100, 200

Key = tuple[Weighted, str]  # a layer, and the name of one of its own weights


def check_no_others(optimizer: str, arguments: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that no optimizer has. Warns of `decay`, which Keras 3 ignores too."""
    for name in arguments:
        if name != "decay":
            hint = "; did you mean 'learning_rate'?" if name == "lr" else ""
            raise TypeError(f"{optimizer} takes no argument {name!r}{hint}")
        notices.warn("`decay` is no longer supported, and is ignored: use a schedule")


def checked_learning_rate(value: Any) -> Any:
    """A number, or a callable. Raises TypeError or ValueError."""
    value = schedule_of(value)
    if callable(value) and not isinstance(value, type):
        return value
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        rate = number("learning_rate", value)
    except TypeError:
        raise TypeError(
            f"learning_rate must be a float, a schedule, or a callable without arguments, got {shown(value)}"
        ) from None
    if not math.isfinite(rate):
        raise ValueError(f"learning_rate must be finite, got {rate}")
    return rate


def trained_weights(model: Any) -> list[Key]:
    """Where the trainable weights of a model live. Raises TypeError or ValueError where there cannot be any."""
    if not isinstance(model, Layer):
        hint = ": weights do not say which model they are of" if isinstance(model, list | tuple) else ""
        raise TypeError(f"model must be a layer or a model, got {type(model).__name__}{hint}")
    if not model.built:
        raise ValueError(f"model {model.name!r} has no weights yet: call it or build() it first")
    return model._weight_slots(trainable=True)


def checked_gradients(gradients: Any, keys: Sequence[Key], model: Layer, paths: Mapping[Key, str]) -> dict[Key, Array]:
    """The gradients that there are, in the dtypes of their weights."""
    order = f"the {len(keys)} trainable weights of {model.name!r}"
    if type(gradients) not in (list, tuple):
        raise TypeError(
            f"gradients must be a list of arrays, one for each of {order} (pullback(dy).weights), "
            f"got {type(gradients).__name__}"
        )
    if len(gradients) != len(keys):
        raise ValueError(f"gradients must be one for each of {order}, got {len(gradients)}")
    found, missing = {}, []
    for index, (key, given) in enumerate(zip(keys, gradients, strict=True)):
        if given is None:
            missing.append(paths[key])
            continue
        w, name = value_of(key), f"gradients[{index}]"
        g = as_array(name, given)
        if g.shape != w.shape:
            raise ValueError(f"{name} must have shape {w.shape}, as weight {paths[key]!r} has, got {g.shape}")
        found[key] = converted(g, w.dtype)
    if not found:
        raise ValueError(f"gradients has none for any of {order}: nothing can be updated")
    if missing:
        notices.warn(f"no gradients for {', '.join(missing)}: they stay as they are")
    return found


def patterns(name: str, value: Any) -> list[str]:
    """Regular expressions in a list. Raises TypeError or ValueError for what is none."""
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(pattern, str) for pattern in value):
        raise TypeError(f"{name} must be a list of regular expressions, got {shown(value)}")
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{name} must hold regular expressions, got {pattern!r}: {error}") from None
    return list(value)


def check_simple(name: str, given: Sequence[str]) -> None:
    """Raises ValueError for regular expressions that may take very long to match: a file may hold them."""
    if len(given) > _MOST_PATTERNS:
        raise ValueError(f"{name} of a config must have at most {_MOST_PATTERNS} regular expressions, got {len(given)}")
    for pattern in given:
        repetitions, of_groups = re.findall(r"[*+?{]", pattern), re.search(r"\)[*+?{]", pattern)
        if len(pattern) > _LONGEST_PATTERN or len(repetitions) > 3 or of_groups:
            raise ValueError(
                f"{name} of a config must hold regular expressions of at most {_LONGEST_PATTERN} characters and 3 "
                f"repetitions, none of a group, got {shown(pattern)}"
            )


def paths_of(layer: Weighted, above: str = "") -> dict[Key, str]:
    """The names of the weights below a layer: "model/encoder/simple_rnn_cell/kernel", without models of graphs."""
    here = f"{above}{layer.name}/" if layer.is_in_paths else above
    found = {(layer, spec.name): f"{here}{spec.name}" for spec in layer.own_specs}
    for _, sublayer in layer.sublayers:
        found = {**paths_of(sublayer, here), **found}
    return found


def value_of(key: Key) -> Array:
    """The weight as it is now."""
    layer, name = key
    return layer._values[name]


def checked_count(name: str, value: Any, least: int) -> int | None:
    """An integer of at least `least`, or None. Raises ValueError."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least):
        raise ValueError(f"{name} must be an integer of at least {least}, or None, got {shown(value)}")
    return None if value is None else int(value)
