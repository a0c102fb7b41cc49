"""Adam and its kin: steps against the running mean of g, over the root of that of its square.

w is the weight and g its gradient; m, v and other letters are what is remembered of a weight; t is the number of the
update, 1 first; lr is the learning rate. Rules, arguments and defaults are those of Keras 3.15.1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

from cyrnn.configurable import at_least_0, fraction
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.objects import register
from cyrnn.optimizers.optimizer import MODULE, CompiledRule, Optimizer, Step
from cyrnn.optimizers.options import Check, Options
from cyrnn.optimizers.state import Slot


class _Moments(Optimizer):
    """A rule with running means of g and of its square or size."""

    own: ClassVar[Mapping[str, Check]] = {"beta_1": fraction, "beta_2": fraction, "epsilon": at_least_0}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return Slot("momentum"), Slot("velocity")


@register(MODULE, "adam")
class Adam(_Moments):
    """``m += (g - m)(1 - β1); v += (g² - v)(1 - β2); w -= lr √(1 - β2ᵗ) / (1 - β1ᵗ) m / (√v + ε)``.

    With `amsgrad`, √ of the largest v so far.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    beta_1 : float, default 0.9
        How much of the running mean of gradients stays; 0 to below 1.
    beta_2 : float, default 0.999
        How much of the running mean of their squares stays; 0 to below 1.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    amsgrad : bool, default False
        Whether to divide by the largest of the running means so far.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {**_Moments.own, "amsgrad": checked_bool}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, *general, **options)
        self.amsgrad = amsgrad

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        both = super().slots(shape, path)
        return [*both, Slot("velocity_hat", group=1)] if self.amsgrad else both

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        m, v, *largest = slots
        m, v = adam_moments(g, m, v, self.beta_1, self.beta_2)
        root = v
        if largest:
            root = np.maximum(largest[0], v)
            largest = [root]
        return adam_step(w, m, root, at, self.beta_1, self.beta_2, self.epsilon), m, v, *largest

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("amsgrad" if self.amsgrad else "adam", self.beta_1, self.beta_2, self.epsilon)


@register(MODULE, "adamw")
class AdamW(Adam):
    """`Adam`, and ``w -= lr weight_decay w`` before it.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    weight_decay : float, default 0.004
        Weights lose this share of themselves, times the learning rate, before each step.
    beta_1 : float, default 0.9
        How much of the running mean of gradients stays; 0 to below 1.
    beta_2 : float, default 0.999
        How much of the running mean of their squares stays; 0 to below 1.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    amsgrad : bool, default False
        Whether to divide by the largest of the running means so far.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *general: Any,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError("weight_decay must be a float, got None: Adam is the optimizer without it")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, *general, **options)


@register(MODULE, "adamax")
class Adamax(_Moments):
    """``m += (g - m)(1 - β1); u = max(β2 u, |g|); w -= lr m / ((1 - β1ᵗ)(u + ε))``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    beta_1 : float, default 0.9
        How much of the running mean of gradients stays; 0 to below 1.
    beta_2 : float, default 0.999
        How much of the largest gradient stays; 0 to below 1.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return Slot("momentum"), Slot("norm")

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        m, u = slots
        m = m + (g - m) * (1 - self.beta_1)
        u = np.maximum(self.beta_2 * u, np.abs(g))
        return w - at.learning_rate * m / (_one_minus_power(w, self.beta_1, at.t) * (u + self.epsilon)), m, u

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("adamax", self.beta_1, self.beta_2, self.epsilon)


@register(MODULE, "nadam")
class Nadam(_Moments):
    """`Adam` with Nesterov's momentum.

    With ``μ(t) = β1 (1 - 0.96ᵗ / 2)`` and ``P = μ(1) ... μ(t)``,
    ``w -= lr (μ(t + 1) m / (1 - P μ(t + 1)) + (1 - μ(t)) g / (1 - P)) / (√(v / (1 - β2ᵗ)) + ε)``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    beta_1 : float, default 0.9
        How much of the running mean of gradients stays; 0 to below 1.
    beta_2 : float, default 0.999
        How much of the running mean of their squares stays; 0 to below 1.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, *general, **options)
        self._products: dict[np.dtype[Any], tuple[int, Any]] = {}  # t and P, of which the next one is made

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "beta_1":  # until now P has the factors of the last one
            for dtype in {of_weight.dtype for of_weight in self._remembered()}:
                self._product(self._updates, dtype)
        super().__setattr__(name, value)

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        m, v = slots
        product = self._product(at.t, w.dtype)
        now, after = self._momentum(w.dtype, at.t), self._momentum(w.dtype, at.t + 1)
        # Here Keras rounds the betas to the dtype of w before it takes them from 1: of float32, that makes 5e-5 of v.
        m, v = adam_moments(g, m, v, w.dtype.type(self.beta_1), w.dtype.type(self.beta_2))
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        root = np.sqrt(v / _one_minus_power(w, self.beta_2, at.t))
        return w - at.learning_rate * ahead / (root + self.epsilon), m, v

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("nadam", self.beta_1, self.beta_2, self.epsilon)

    def shared(self, updates: int, dtype: np.dtype[Any]) -> Mapping[str, Any]:
        return {"variable": self._product(updates, dtype)}

    def _product(self, t: int, dtype: np.dtype[Any]) -> Any:
        """P for the update t, step by step in the dtype of the weights, as Keras has it."""
        known, product = self._products.get(dtype, (0, dtype.type(1)))
        if known > t:
            known, product = 0, dtype.type(1)
        while known < t and product != 0:  # soon it is so small that it is 0
            known += 1
            product = product * self._momentum(dtype, known)
        self._products[dtype] = (t, product)
        return product

    def _momentum(self, dtype: np.dtype[Any], t: int) -> Any:
        return dtype.type(self.beta_1) * (1 - dtype.type(0.5) * dtype.type(0.96) ** dtype.type(t))


def adam_moments(g: Array, m: Array, v: Array, beta_1: float, beta_2: float) -> tuple[Array, Array]:
    """The running means of g and of its square."""
    return m + (g - m) * (1 - beta_1), v + (np.square(g) - v) * (1 - beta_2)


def adam_step(w: Array, m: Array, v: Array, at: Step, beta_1: float, beta_2: float, epsilon: float) -> Array:
    """Adam's new weight."""
    rate = at.learning_rate * np.sqrt(_one_minus_power(w, beta_2, at.t)) / _one_minus_power(w, beta_1, at.t)
    return w - m * rate / (np.sqrt(v) + epsilon)


def _one_minus_power(w: Array, beta: float, t: int) -> Any:
    """``1 - betaᵗ`` in the dtype of w, as in Keras: of float32, the first of Adam's steps is 0.9999962 of lr."""
    return 1 - w.dtype.type(beta) ** w.dtype.type(t)
