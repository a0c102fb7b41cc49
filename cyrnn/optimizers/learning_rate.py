"""The learning rate as scripts have it: a float, and Keras' variable."""

from typing import Any, Protocol, Self

import numpy as np

from cyrnn import dtypes


class HasLearningRate(Protocol):
    """An optimizer, as far as its learning rate can be assigned."""

    learning_rate: Any


def of_layers(rate: Any) -> float:
    """A learning rate, rounded to the dtype that layers are made with: float32 mostly, as Keras keeps it."""
    return float(np.dtype(dtypes.floatx()).type(rate))


class LearningRate(float):
    """The learning rate of an optimizer when it was asked for. `assign` gives the optimizer another one."""

    _optimizer: HasLearningRate

    def __new__(cls, value: float, optimizer: HasLearningRate) -> Self:
        made = super().__new__(cls, value)
        made._optimizer = optimizer
        return made

    @property
    def value(self) -> float:
        """The number."""
        return float(self)

    def numpy(self) -> Any:
        """The number as NumPy has it."""
        return np.dtype(dtypes.floatx()).type(self)

    def assign(self, value: Any) -> None:
        """Let the optimizer go on with this learning rate. Raises TypeError or ValueError for what is none."""
        self._optimizer.learning_rate = value

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)  # a copy is a number of its own
