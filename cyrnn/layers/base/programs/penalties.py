"""Gradients of penalties: on weights, and on the activity of a call."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array


class HasActivity(Protocol):
    """What is needed of a layer, which may have a regularizer of its activity."""

    activity_regularizer: Any

    def _record_activity(self, outputs: Any) -> None: ...


class Activity:
    """The penalty on what a call has returned.

    Parameters
    ----------
    layer : Layer
        It has a regularizer of its activity.
    outputs : array, or a structure of arrays
        They are copied: the caller may change them.
    """

    def __init__(self, layer: HasActivity, outputs: Any) -> None:
        self.layer, self._regularizer = layer, layer.activity_regularizer
        self._values = [np.array(output) for output in nest.leaves(outputs)]

    def added_to(self, gradients: Sequence[Array | None]) -> list[Array | None]:
        """The gradients of the outputs, flat, with those of the penalty, which is divided by the rows.

        Raises ValueError for a regularizer without a gradient.
        """
        penalties = [gradient_of(self._regularizer, value) / max(1, len(value)) for value in self._values]
        return [new if old is None else old + new for old, new in zip(gradients, penalties, strict=True)]


def activity_of(layer: HasActivity, outputs: Any) -> Activity | None:
    """The penalty on the outputs of a call, which is in the `losses` of the layer then; None where there is none."""
    if layer.activity_regularizer is None:
        return None
    layer._record_activity(outputs)
    return Activity(layer, outputs)


def gradient_of(regularizer: Any, value: Array) -> Array:
    """The gradient of a penalty. Raises ValueError for a regularizer that has none."""
    if not callable(getattr(regularizer, "gradient", None)):
        raise ValueError(f"the regularizer {regularizer!r:.100} has no gradient: it must have a method `gradient(x)`")
    gradient = np.asarray(regularizer.gradient(value))
    if gradient.shape != value.shape:
        raise ValueError(f"the gradient of {regularizer!r:.100} must have shape {value.shape}, got {gradient.shape}")
    return gradient.astype(value.dtype, copy=False)
