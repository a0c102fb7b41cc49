"""The arguments of `compile` as files hold them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cyrnn.objects import refuse_code, serialize

ARGUMENTS = (
    "optimizer",
    "loss",
    "loss_weights",
    "metrics",
    "weighted_metrics",
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
)
_DESCRIBED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")


def written(argument: Any) -> Any:
    """An argument of `compile`, as Keras writes it into files. Raises ValueError for what has no config."""
    if argument is None or isinstance(argument, bool | int | float | str):
        return argument
    if isinstance(argument, np.generic | np.ndarray):
        return argument.tolist()
    if isinstance(argument, list | tuple):
        return [written(part) for part in argument]
    if isinstance(argument, Mapping):
        return {name: written(part) for name, part in argument.items()}
    return serialize(argument)


def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `compile` that a config describes; what it does not name is left at its default.

    Raises ValueError for what is no such config, or holds code.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"expected the arguments of compile() by name, got {type(config).__name__}")
    found = {name: config[name] for name in ARGUMENTS if name in config}
    return {name: _modern(value) if name in _DESCRIBED else value for name, value in found.items()}


def _modern(entry: Any) -> Any:
    """An entry of a config as Keras 3.15 on one CPU would have written it."""
    if isinstance(entry, list):
        return [_modern(part) for part in entry]
    if not isinstance(entry, Mapping):
        return entry
    refuse_code(entry)
    if "class_name" not in entry:
        return {name: _modern(part) for name, part in entry.items()}
    name, config = entry["class_name"], entry.get("config")
    if name == "__tuple__":
        return _modern(entry.get("items"))
    if not isinstance(config, Mapping):
        return entry
    if name == "LossScaleOptimizer":  # of what is computed in float16; here nothing is
        return _modern(config.get("inner_optimizer"))
    if config.get("reduction") == "auto":  # in Keras 2, which also names the function of a loss
        config = {key: value for key, value in config.items() if key != "fn"} | {"reduction": "sum_over_batch_size"}
    return {**entry, "config": config}
