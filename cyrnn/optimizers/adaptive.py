"""Optimizers that divide by the root of what gradients have been: RMSprop, Adagrad, Adadelta, Ftrl and Adafactor.

Letters are those of `cyrnn.optimizers.adam`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

from cyrnn.configurable import at_least_0, fraction, number, positive
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.objects import register
from cyrnn.optimizers.optimizer import MODULE, CompiledRule, Optimizer, Step
from cyrnn.optimizers.options import Check, Options, at_most_0
from cyrnn.optimizers.state import Slot


@register(MODULE, "rmsprop")
class RMSprop(Optimizer):
    """``v = rho v + (1 - rho) g²; w -= lr g / √(v + ε)``.

    If `centered`, ``a = rho a + (1 - rho) g`` and √(v - a² + ε). With momentum μ, ``M = μ M + (what w would lose)`` and
    ``w -= M``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    rho : float, default 0.9
        How much of the running mean of squares stays; 0 to below 1.
    momentum : float, default 0.0
        The share of the last step that is made again; 0 to 1.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    centered : bool, default False
        Whether to divide by the deviation from the mean gradient, not by the root of the mean square.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {
        "rho": fraction, "momentum": fraction, "epsilon": at_least_0, "centered": checked_bool
    }  # fmt: skip

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return [
            Slot("velocity"),
            Slot("momentum", group=1) if self.momentum else None,
            Slot("average_gradient", group=2) if self.centered else None,
        ]

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        v, moving, a = slots
        v = self.rho * v + (1 - self.rho) * np.square(g)
        below = v + self.epsilon
        if a is not None:
            a = self.rho * a + (1 - self.rho) * g
            below = v - np.square(a) + self.epsilon
        step = at.learning_rate * g / np.sqrt(below)
        if moving is not None:
            step = moving = self.momentum * moving + step
        return w - step, v, moving, a

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("rmsprop", self.rho, self.momentum, self.epsilon)


@register(MODULE, "adagrad")
class Adagrad(Optimizer):
    """``A += g²; w -= lr g / √(A + ε)``; A begins as `initial_accumulator_value`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    initial_accumulator_value : float, default 0.1
        What the sum of squares begins with.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {"initial_accumulator_value": at_least_0, "epsilon": at_least_0}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return [Slot("accumulator", self.initial_accumulator_value)]

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        total = slots[0] + np.square(g)
        return w - at.learning_rate * g / np.sqrt(total + self.epsilon), total

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("adagrad", epsilon=self.epsilon)


@register(MODULE, "adadelta")
class Adadelta(Optimizer):
    """``A = rho A + (1 - rho) g²; δ = -g √(D + ε) / √(A + ε); D = rho D + (1 - rho) δ²; w += lr δ``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    rho : float, default 0.95
        How much of the running mean of squares stays; 0 to below 1.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {"rho": fraction, "epsilon": at_least_0}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.rho, self.epsilon = rho, epsilon

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return Slot("accumulated_grad"), Slot("accumulated_delta_var")

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        gradients, deltas = slots
        gradients = self.rho * gradients + (1 - self.rho) * np.square(g)
        delta = -g * np.sqrt(deltas + self.epsilon) / np.sqrt(gradients + self.epsilon)
        deltas = self.rho * deltas + (1 - self.rho) * np.square(delta)
        return w + at.learning_rate * delta, gradients, deltas

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("adadelta", self.rho, epsilon=self.epsilon)


@register(MODULE, "ftrl")
class Ftrl(Optimizer):
    """Follow the regularized leader, with p = `learning_rate_power`, l1 and l2 the strengths and s the shrinkage.

    ``A' = A + g²; L += g + 2 s w - (A'^-p - A^-p) w / lr; w = (clip(L, -l1, l1) - L) / (A'^-p / lr + 2 l2 + β / lr)``.
    The first step keeps only a part of the initial weights.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    learning_rate_power : float, default -0.5
        The exponent of the accumulated squares, at most 0.
    initial_accumulator_value : float, default 0.1
        What the sum of squares begins with.
    l1_regularization_strength : float, default 0.0
        Of the sum of absolute values.
    l2_regularization_strength : float, default 0.0
        Of the sum of squares.
    l2_shrinkage_regularization_strength : float, default 0.0
        Of squares, in the gradient alone.
    beta : float, default 0.0
        Added to the root of the accumulated squares.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {
        "learning_rate_power": at_most_0, "initial_accumulator_value": at_least_0,
        "l1_regularization_strength": at_least_0, "l2_regularization_strength": at_least_0,
        "l2_shrinkage_regularization_strength": at_least_0, "beta": number,
    }  # fmt: skip

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.learning_rate_power, self.beta = learning_rate_power, beta
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return Slot("accumulator", self.initial_accumulator_value), Slot("linear")

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        (before, linear), lr, power = slots, at.learning_rate, -self.learning_rate_power
        total = before + np.square(g)
        moved = (total**power - before**power) / lr * w
        linear = linear + g + 2 * self.l2_shrinkage_regularization_strength * w - moved
        quadratic = total**power / lr + 2 * (self.l2_regularization_strength + self.beta / (2 * lr))
        l1 = self.l1_regularization_strength
        return (np.clip(linear, -l1, l1) - linear) / quadratic, total, linear


@register(MODULE, "adafactor")
class Adafactor(Optimizer):
    """Steps of the size of the weight, with the mean squares of rows and columns alone.

    With ``q = min(lr, 1 / √t)``, ``size = max(epsilon_2, rms(w)) q``, ``β = 1 - t ** beta_2_decay`` and
    ``s = g² + epsilon_1``: r and c are running means, with β, of s over the last axis and the one before;
    ``u = g / √((r / mean(r)) ⊗ c)``, for a vector ``u = g / √v`` with v the running mean of s; and
    ``w -= size u / max(1, rms(u) / clip_threshold)``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    beta_2_decay : float, default -0.8
        The exponent with which old squares are forgotten, negative.
    epsilon_1 : float, default 1e-30
        Added to squares of gradients.
    epsilon_2 : float, default 0.001
        The smallest size of a weight, for the size of a step.
    clip_threshold : float, default 1.0
        The largest root mean square of an update.
    relative_step : bool, default True
        Whether the learning rate is at most one over the root of the number of the step.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {
        "beta_2_decay": number, "epsilon_1": at_least_0, "epsilon_2": at_least_0, "clip_threshold": positive,
        "relative_step": checked_bool,
    }  # fmt: skip

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = beta_2_decay, epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        if len(shape) < 2:  # without rows and columns; Keras has numbers in their places
            return Slot(None, shape=(), dtype="int32"), Slot(None, shape=(), dtype="int32"), Slot("velocity")
        return Slot(None, shape=shape[:-1]), Slot(None, shape=(*shape[:-2], shape[-1])), Slot("velocity")

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        t = w.dtype.type(at.t)
        # `relative_step` would bound lr by 1 / √t, as this does for all: in Keras it has no effect either.
        rate = max(_rms(w), w.dtype.type(self.epsilon_2)) * min(at.learning_rate, 1 / np.sqrt(t))
        share = 1 - t ** w.dtype.type(self.beta_2_decay)
        square = np.square(g) + w.dtype.type(self.epsilon_1)
        r, c, v = slots
        if w.ndim < 2:
            v = share * v + (1 - share) * square
        else:
            r = share * r + (1 - share) * np.mean(square, axis=-1)
            c = share * c + (1 - share) * np.mean(square, axis=-2)
            v = (r / np.mean(r, axis=-1, keepdims=True))[..., None] * c[..., None, :]
        u = g / np.sqrt(v)
        return w - rate * u / max(w.dtype.type(1), _rms(u) / w.dtype.type(self.clip_threshold)), r, c, v


def _rms(x: Array) -> Any:
    return np.sqrt(np.mean(np.square(x)))
