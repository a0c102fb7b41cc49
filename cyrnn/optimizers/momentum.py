"""Optimizers that move by the gradient and its momentum: SGD, Lion and Muon.

Letters are those of `cyrnn.optimizers.adam`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, Unpack

import numpy as np

from cyrnn.configurable import at_least_0, fraction, number
from cyrnn.layers.base.arguments import Array, checked_bool, checked_int
from cyrnn.objects import register
from cyrnn.optimizers.adam import adam_moments, adam_step
from cyrnn.optimizers.checks import check_simple, patterns
from cyrnn.optimizers.optimizer import MODULE, CompiledRule, Optimizer, Step
from cyrnn.optimizers.options import Check, Options, or_none, positive_fraction
from cyrnn.optimizers.state import Slot


@register(MODULE, "sgd")
class SGD(Optimizer):
    """``w -= lr g``; with momentum μ ``m = μ m - lr g; w += m``, and ``w += μ m - lr g`` if `nesterov`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.01
        How large the steps are.
    momentum : float, default 0.0
        The share of the last step that is made again; 0 to 1.
    nesterov : bool, default False
        Whether the gradient is that at the place where the momentum leads.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {"momentum": fraction, "nesterov": checked_bool}

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.momentum, self.nesterov = momentum, nesterov

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return [Slot("momentum")] if self.momentum else []

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        step = at.learning_rate * g
        if not slots:
            return (w - step,)
        m = self.momentum * slots[0] - step
        return w + (self.momentum * m - step if self.nesterov else m), m

    def compiled_rule(self) -> CompiledRule | None:
        if not self.momentum:
            return CompiledRule("sgd")
        return CompiledRule("nesterov" if self.nesterov else "momentum", self.momentum)


@register(MODULE, "lion")
class Lion(Optimizer):
    """``w -= lr sign(β1 m + (1 - β1) g); m = β2 m + (1 - β2) g``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    beta_1 : float, default 0.9
        How much of the momentum there is in a step; 0 to 1.
    beta_2 : float, default 0.99
        How much of the momentum stays; 0 to below 1.
    *general
        `weight_decay`, `clipnorm` and those after it, in the order of `Optimizer`.
    **options
        The same by name.
    """

    own: ClassVar[Mapping[str, Check]] = {"beta_1": positive_fraction, "beta_2": fraction}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        *general: Any,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, *general, **options)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return [Slot("momentum")]

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        (m,) = slots
        step = at.learning_rate * np.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        return w - step, self.beta_2 * m + (1 - self.beta_2) * g

    def compiled_rule(self) -> CompiledRule | None:
        return CompiledRule("lion", self.beta_1, self.beta_2)


@register(MODULE, "muon")
class Muon(Optimizer):
    """Matrices move by their momentum, with its singular values brought near 1; all else as in `AdamW`.

    ``m = μ m + g``; ``X = (g + μ m)`` if `nesterov`, else m, divided by its norm; `ns_steps` times
    ``A = X Xᵀ; X = a X + (b A + c A²) X``; and ``w -= lr rms_rate √max(rows, columns) X``. Not for weights whose
    path, such as "model/embedding/embeddings", has "embedding" in it if `exclude_embeddings`, or one of the regular
    expressions `exclude_layers`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        How large the steps are.
    adam_beta_1 : float, default 0.9
        `beta_1` of the rule of `Adam`, for all else than matrices.
    adam_beta_2 : float, default 0.999
        `beta_2` of that rule.
    adam_weight_decay : float, default 0.004
        `weight_decay` of the weights that follow the rule of `Adam`.
    epsilon : float, default 1e-07
        A small number that keeps divisions finite.
    weight_decay : float, default 0.004
        Weights lose this share of themselves, times the learning rate, before each step.
    clipnorm : float, optional
        The largest norm of each gradient.
    clipvalue : float, optional
        The largest absolute element of a gradient.
    global_clipnorm : float, optional
        The largest norm of all gradients together.
    use_ema : bool, default False
        Whether to keep an average of each weight.
    ema_momentum : float, default 0.99
        How much of the average stays; 0 to 1.
    ema_overwrite_frequency : int, optional
        Each so many updates weights become their averages.
    loss_scale_factor : float, optional
        What the loss was multiplied by.
    gradient_accumulation_steps : int, optional
        Update with the mean of so many gradients.
    name : str, optional
        The name; None is the snake case of the class.
    exclude_layers : list of str, optional
        Patterns of paths of weights that follow the rule of `Adam`.
    exclude_embeddings : bool, default True
        Whether embeddings follow the rule of `Adam`.
    muon_a : float, default 3.4445
        The first factor of the iteration.
    muon_b : float, default -4.775
        The second factor of the iteration.
    muon_c : float, default 2.0315
        The third factor of the iteration.
    adam_lr_ratio : float, default 1
        The learning rate of `Adam`'s rule over `learning_rate`.
    momentum : float, default 0.95
        The share of the last step that is made again; 0 to 1.
    ns_steps : int, default 5
        How often the iteration is done.
    nesterov : bool, default True
        Whether the gradient is that at the place where the momentum leads.
    rms_rate : float, default 0.2
        The root mean square of a step, as a share of the learning rate.
    """

    own: ClassVar[Mapping[str, Check]] = {
        "adam_beta_1": fraction, "adam_beta_2": fraction, "epsilon": at_least_0, "exclude_layers": patterns,
        "muon_a": number, "muon_b": number, "muon_c": number, "adam_lr_ratio": number, "momentum": fraction,
        "ns_steps": checked_int, "nesterov": checked_bool, "exclude_embeddings": checked_bool,
        "adam_weight_decay": or_none(at_least_0), "rms_rate": number,
    }  # fmt: skip

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float = 0.2,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name,
        )  # fmt: skip
        self.adam_beta_1, self.adam_beta_2, self.adam_weight_decay = adam_beta_1, adam_beta_2, adam_weight_decay
        self.exclude_layers, self.exclude_embeddings = patterns("exclude_layers", exclude_layers), exclude_embeddings
        self.muon_a, self.muon_b, self.muon_c, self.ns_steps = muon_a, muon_b, muon_c, ns_steps
        self.momentum, self.nesterov, self.epsilon = momentum, nesterov, epsilon
        self.adam_lr_ratio, self.rms_rate = adam_lr_ratio, rms_rate

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """The optimizer that a config describes. Raises ValueError for patterns that could take too long to match."""
        check_simple("exclude_layers", patterns("exclude_layers", config.get("exclude_layers")))
        return super().from_config(config, custom_objects)

    def slots(self, shape: tuple[int, ...], path: str) -> Sequence[Slot | None]:
        return Slot("momentum"), None if self._is_matrix(shape, path) else Slot("velocity")

    def decay_of(self, w: Array, path: str) -> float | None:
        return self.weight_decay if self._is_matrix(w.shape, path) else self.adam_weight_decay

    def _is_matrix(self, shape: tuple[int, ...], path: str) -> bool:
        excluded = (self.exclude_embeddings and "embedding" in path.lower()) or any(
            re.search(pattern, path) for pattern in self.exclude_layers
        )
        return len(shape) == 2 and not excluded

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        m, v = slots
        if self._is_matrix(w.shape, at.path):
            m = self.momentum * m + g
            moved = self._orthogonal(g + self.momentum * m if self.nesterov else m)
            return w - at.learning_rate * moved * w.dtype.type(max(w.shape) ** 0.5 * self.rms_rate), m, v
        m, v = adam_moments(g, m, v, self.adam_beta_1, self.adam_beta_2)
        at = at._replace(learning_rate=at.learning_rate * w.dtype.type(self.adam_lr_ratio))
        return adam_step(w, m, v, at, self.adam_beta_1, self.adam_beta_2, self.epsilon), m, v

    def _orthogonal(self, x: Array) -> Array:
        """A matrix with the singular vectors of x, and singular values near 1, by Newton and Schulz' iteration."""
        high = x.shape[0] > x.shape[1]
        x = (x.T if high else x) / (np.sqrt(np.sum(np.square(x))) + x.dtype.type(1e-7))
        for _ in range(self.ns_steps):
            a = x @ x.T
            x = self.muon_a * x + (self.muon_b * a + self.muon_c * (a @ a)) @ x
        return x.T if high else x
