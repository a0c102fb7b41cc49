"""Learning rate schedules: functions of the number of steps that were made before, as in Keras.

A schedule is called with that number, 0 first, and returns a float. Numbers are as Keras 3.15.1 has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cyrnn import objects
from cyrnn.arrays import quietly
from cyrnn.configurable import Configurable, lookup, number, positive
from cyrnn.layers.base.arguments import checked_bool
from cyrnn.objects import register, serialize

MODULE = "keras.optimizers.schedules"

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "LearningRateSchedule",
    "PiecewiseConstantDecay", "PolynomialDecay", "deserialize", "serialize",
]  # fmt: skip


@register(MODULE)
class LearningRateSchedule(Configurable):
    """Base class: a subclass defines ``__call__(step)`` and, to be saved, `get_config`."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step)")

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define get_config() to be saved")


class _Decay(LearningRateSchedule):
    """A schedule whose config is its arguments."""

    _arguments: tuple[str, ...]

    @quietly
    def __call__(self, step: int) -> float:
        return float(self._rate(np.float64(number("step", step))))

    def _rate(self, step: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `_rate`")

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._arguments}


class _RateDecay(_Decay):
    _arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate)
        self.decay_steps = positive("decay_steps", decay_steps)
        self.decay_rate = number("decay_rate", decay_rate)
        self.staircase = checked_bool("staircase", staircase)
        self.name = type(self).__name__ if name is None else name

    def _periods(self, step: Any) -> Any:
        return step // self.decay_steps if self.staircase else step / self.decay_steps


@register(MODULE)
class ExponentialDecay(_RateDecay):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``; with `staircase` whole periods only.

    Parameters
    ----------
    initial_learning_rate : float
        The learning rate of the first step, or after the warm-up.
    decay_steps : int
        The steps of a decay.
    decay_rate : float
        What the learning rate is multiplied by, or how fast it is divided, in `decay_steps`.
    staircase : bool, default False
        Whether the learning rate changes only at whole multiples of `decay_steps`.
    name : str
        The name.

    Examples
    --------
    >>> rate = cyrnn.optimizers.schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
    >>> float(rate(0)), float(rate(10))
    (0.1, 0.05)
    """

    def _rate(self, step: Any) -> Any:
        return self.initial_learning_rate * self.decay_rate ** self._periods(step)


@register(MODULE)
class InverseTimeDecay(_RateDecay):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``; with `staircase` whole periods only.

    Parameters
    ----------
    initial_learning_rate : float
        The learning rate of the first step, or after the warm-up.
    decay_steps : int
        The steps of a decay.
    decay_rate : float
        What the learning rate is multiplied by, or how fast it is divided, in `decay_steps`.
    staircase : bool, default False
        Whether the learning rate changes only at whole multiples of `decay_steps`.
    name : str
        The name.
    """

    def _rate(self, step: Any) -> Any:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


@register(MODULE)
class PiecewiseConstantDecay(_Decay):
    """``values[i]`` up to and including step ``boundaries[i]``, and the last value after them.

    Parameters
    ----------
    boundaries : list of int
        The steps after which the learning rate changes.
    values : list of float
        The learning rates, one more than boundaries.
    name : str, default "PiecewiseConstant"
        The name.
    """

    _arguments = ("boundaries", "values", "name")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        self.boundaries = [number("boundaries", boundary) for boundary in boundaries]
        self.values = [number("values", value) for value in values]
        self.name = name
        if len(self.boundaries) != len(self.values) - 1:
            raise ValueError(
                f"values must be one more than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries"
            )

    def _rate(self, step: Any) -> Any:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@register(MODULE)
class PolynomialDecay(_Decay):
    """``(initial - end) * (1 - step / decay_steps) ** power + end``, and `end` after `decay_steps`.

    With `cycle`, decay_steps grows to its next multiple when it is reached.

    Parameters
    ----------
    initial_learning_rate : float
        The learning rate of the first step, or after the warm-up.
    decay_steps : int
        The steps of a decay.
    end_learning_rate : float, default 0.0001
        The last learning rate.
    power : float, default 1.0
        The exponent of the polynomial.
    cycle : bool, default False
        Whether a new decay begins where one ends.
    name : str, default "PolynomialDecay"
        The name.
    """

    _arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate)
        self.decay_steps = positive("decay_steps", decay_steps)
        self.end_learning_rate = number("end_learning_rate", end_learning_rate)
        self.power = number("power", power)
        self.cycle = checked_bool("cycle", cycle)
        self.name = name

    def _rate(self, step: Any) -> Any:
        length = self.decay_steps * (max(1, np.ceil(step / self.decay_steps)) if self.cycle else 1)
        left = 1 - min(step, length) / length
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


@register(MODULE)
class CosineDecay(_Decay):
    """Half a cosine, from `initial_learning_rate` to `alpha` times it after `decay_steps`.

    With `warmup_target`, first a line from `initial_learning_rate` to it in `warmup_steps`, and the cosine from there.

    Parameters
    ----------
    initial_learning_rate : float
        The learning rate of the first step, or after the warm-up.
    decay_steps : int
        The steps of a decay.
    alpha : float, default 0.0
        The last learning rate, as a share of the first one.
    name : str, default "CosineDecay"
        The name.
    warmup_target : float, optional
        The learning rate at the end of the warm-up; None has no warm-up.
    warmup_steps : int, default 0
        The steps of the warm-up.
    """

    _arguments = ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate)
        self.decay_steps = positive("decay_steps", decay_steps)
        self.alpha = number("alpha", alpha)
        self.name = name
        self.warmup_target = None if warmup_target is None else number("warmup_target", warmup_target)
        self.warmup_steps = number("warmup_steps", warmup_steps)

    def _rate(self, step: Any) -> Any:
        if self.warmup_target is None:
            return self._cosine(self.initial_learning_rate, step)
        if step < self.warmup_steps:
            way = self.warmup_target - self.initial_learning_rate
            return self.initial_learning_rate + way * step / self.warmup_steps
        return self._cosine(self.warmup_target, step - self.warmup_steps)

    def _cosine(self, start: float, step: Any) -> Any:
        share = (1 + np.cos(np.pi * min(step, self.decay_steps) / self.decay_steps)) / 2
        return start * ((1 - self.alpha) * share + self.alpha)


@register(MODULE)
class CosineDecayRestarts(_Decay):
    """Half cosines after each other: the i-th takes ``first_decay_steps * t_mul ** i`` steps, `m_mul` ** i as high.

    Parameters
    ----------
    initial_learning_rate : float
        The learning rate of the first step, or after the warm-up.
    first_decay_steps : int
        The steps of the first decay.
    t_mul : float, default 2.0
        How many times longer each decay is than the one before.
    m_mul : float, default 1.0
        How many times higher each begins than the one before.
    alpha : float, default 0.0
        The last learning rate, as a share of the first one.
    name : str, default "SGDRDecay"
        The name.
    """

    _arguments = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = positive("first_decay_steps", first_decay_steps)
        self.t_mul = number("t_mul", t_mul)
        self.m_mul = number("m_mul", m_mul)
        self.alpha = number("alpha", alpha)
        self.name = name
        if self.t_mul < 1:
            raise ValueError(f"t_mul must be at least 1: periods would have an end, got {t_mul}")

    def _rate(self, step: Any) -> Any:
        periods = step / self.first_decay_steps
        if self.t_mul == 1:
            restart = np.floor(periods)
            done = periods - restart
        else:
            # The i-th period begins after (t_mul ** i - 1) / (t_mul - 1) of the first one's length.
            restart = np.floor(np.log(1 + periods * (self.t_mul - 1)) / np.log(self.t_mul) + 1e-9)
            length = self.t_mul**restart
            done = max(0.0, (periods - (length - 1) / (self.t_mul - 1)) / length)
        share = (1 + np.cos(np.pi * done)) / 2 * self.m_mul**restart
        return self.initial_learning_rate * ((1 - self.alpha) * share + self.alpha)


_, deserialize = lookup(MODULE)


def schedule_of(learning_rate: Any) -> Any:
    """The schedule that a config describes; what is none is returned as it is."""
    return objects.get(learning_rate, MODULE) if isinstance(learning_rate, Mapping) else learning_rate
