"""The attribute `training_config` of a ``.h5`` of a whole model: the arguments of `compile` in Keras' old form.

Keras 3 writes losses by short names there, such as "mse", and cannot read them. Here they are written by long ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

_LONG = {
    "bce": ("binary_crossentropy", "BinaryCrossentropy"),
    "kld": ("kl_divergence", "KLDivergence"),
    "mae": ("mean_absolute_error", "MeanAbsoluteError"),
    "mape": ("mean_absolute_percentage_error", "MeanAbsolutePercentageError"),
    "mse": ("mean_squared_error", "MeanSquaredError"),
    "msle": ("mean_squared_logarithmic_error", "MeanSquaredLogarithmicError"),
}


def compile_config_of(training_config: Mapping[str, Any]) -> dict[str, Any]:
    """The compile config in a training config."""
    others = {name: value for name, value in training_config.items() if name != "optimizer_config"}
    return {"optimizer": training_config.get("optimizer_config"), **others}


def training_config_of(compile_config: Mapping[str, Any]) -> dict[str, Any]:
    """The training config that says the same as a compile config."""
    others = {name: value for name, value in compile_config.items() if name != "optimizer"}
    of_loss = {name: _legacy(value, _loss) for name, value in others.items() if name == "loss"}
    of_metrics = {name: _legacy(value, _metric) for name, value in others.items() if name.endswith("metrics")}
    optimizer = _legacy(compile_config.get("optimizer"), str)
    return {**others, **of_loss, **of_metrics, "optimizer_config": optimizer}


def _loss(name: str) -> str:
    return _LONG[name.lower()][0] if name.lower() in _LONG else name


def _metric(name: str) -> Any:
    """A metric that keeps its short name, which Keras would replace by the long one."""
    found = _LONG.get(name.lower())
    return name if found is None else {"class_name": found[1], "config": {"name": name}}


def _legacy(entry: Any, named: Callable[[str], Any]) -> Any:
    if isinstance(entry, str):
        return named(entry)
    if isinstance(entry, list):
        return [_legacy(part, named) for part in entry]
    if not isinstance(entry, Mapping):
        return entry
    if "class_name" not in entry:
        return {name: _legacy(part, named) for name, part in entry.items()}
    if entry["class_name"] == "function":
        return entry["config"]
    return {"class_name": entry.get("registered_name") or entry["class_name"], "config": entry["config"]}
