"""The arguments of `fit` but for the data."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn import configurable
from cyrnn.arrays import shown
from cyrnn.layers.base.arguments import checked_int
from cyrnn.training.class_weights import checked_class_weight

VERBOSE = ("auto", 0, 1, 2)


@dataclass(frozen=True)
class FitOptions:
    """The arguments of `fit` but for the data; see `fit`."""

    batch_size: int | None = None
    epochs: int = 1
    verbose: Any = "auto"
    callbacks: Any = None
    validation_split: float = 0.0
    validation_data: Any = None
    shuffle: Any = True
    class_weight: Any = None
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    validation_freq: Any = 1

    def validates_after(self, epoch: int) -> bool:
        """Whether the model is validated after this epoch, which counts from 0."""
        frequency = self.validation_freq
        return (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency


def checked_options(options: FitOptions) -> FitOptions:
    """The options, checked. Raises ValueError or TypeError."""
    new: dict[str, Any] = {"validation_freq": _checked_frequency(options.validation_freq)}
    check_verbose(options.verbose)
    for name in ("epochs", "initial_epoch"):
        if configurable.integer(name, getattr(options, name)) < 0:
            raise ValueError(f"{name} must be at least 0, got {getattr(options, name)}")
    for name in ("steps_per_epoch", "validation_steps", "validation_batch_size"):
        if getattr(options, name) is not None:
            checked_int(name, getattr(options, name))
    if not 0 <= configurable.number("validation_split", options.validation_split) < 1:
        raise ValueError(f"validation_split must be at least 0 and below 1, got {options.validation_split}")
    if options.shuffle not in (True, False, None, "batch"):
        raise ValueError(f"shuffle must be True, False or 'batch', got {shown(options.shuffle)}")
    if options.class_weight is not None:
        new["class_weight"] = checked_class_weight(options.class_weight)
    return dataclasses.replace(options, **new)


def check_verbose(verbose: Any) -> None:
    """Raise ValueError for what is none of `VERBOSE`."""
    if not isinstance(verbose, str | int | np.integer) or verbose not in VERBOSE:
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {shown(verbose)}")


def _checked_frequency(frequency: Any) -> int | list[int]:
    if isinstance(frequency, int | np.integer):
        return checked_int("validation_freq", frequency)
    if isinstance(frequency, str) or not isinstance(frequency, Iterable):
        raise ValueError(f"validation_freq must be an integer, or a list of epochs, got {shown(frequency)}")
    return [checked_int("each of validation_freq", epoch) for epoch in frequency]
