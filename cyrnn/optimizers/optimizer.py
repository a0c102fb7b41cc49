"""What all optimizers have in common: the way from gradients to new weights, as in Keras.

One call of `apply` is one step: gradients are divided by `loss_scale_factor` and clipped, weights decay, the rule of
the optimizer moves them, averages follow, constraints are applied. All of it happens or nothing of it.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import locks
from cyrnn.arrays import quietly
from cyrnn.configurable import Configurable, at_least_0, fraction, number, positive
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import Weighted, replace_weights
from cyrnn.objects import register, serialize, snake_case
from cyrnn.optimizers.checks import (
    Key,
    checked_count,
    checked_gradients,
    checked_learning_rate,
    paths_of,
    patterns,
    trained_weights,
    value_of,
)
from cyrnn.optimizers.schedules import LearningRateSchedule

MODULE = "keras.optimizers"


class Options(TypedDict, total=False):
    """The arguments that all optimizers have; `Optimizer` says what they mean."""

    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


class Step(NamedTuple):
    """What a rule knows of the step that it makes."""

    learning_rate: Any  # of the weight's dtype
    t: int  # 1 for the first update
    path: str  # of the weight: "model/encoder/simple_rnn_cell/kernel"


class CompiledRule(NamedTuple):
    """A rule that the engine has too: its name there, and its numbers."""

    name: str
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0


class Kept(NamedTuple):
    """What an optimizer remembers of a weight."""

    slots: tuple[Any, ...]
    path: str
    decays: bool
    average: Array | None = None
    accumulated: Array | None = None


@register(MODULE)
class Optimizer(Configurable):
    """Base class: a subclass has a rule, `update`, and names its own arguments in `own`, for the config.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule, or callable without arguments
        Rounded to float32, as Keras has it.
    weight_decay : float, optional
        Before the update, ``w -= w * weight_decay * learning_rate``, for all weights that `exclude_from_weight_decay`
        does not name.
    clipnorm, global_clipnorm, clipvalue : float, optional
        The largest norm of each gradient, the largest norm of all together, or the largest absolute element. At most
        one of the three.
    use_ema : bool
        Keep an average of each weight, ``average = ema_momentum * average + (1 - ema_momentum) * w`` after each update.
    ema_momentum : float
        From 0 to 1.
    ema_overwrite_frequency : int, optional
        Each so many updates weights become their averages.
    loss_scale_factor : float, optional
        What the loss was multiplied by: gradients are divided by it.
    gradient_accumulation_steps : int, optional
        Update with the mean of so many gradients, at the last of so many calls: 2 or more.
    name : str, optional

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type or out of range.
    """

    own: ClassVar[tuple[str, ...]] = ()  # the names of the arguments that others do not have

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        self.name = snake_case(type(self).__name__) if name is None else name
        self._learning_rate = checked_learning_rate(learning_rate)
        self.weight_decay = None if weight_decay is None else at_least_0("weight_decay", weight_decay)
        self.clipnorm = None if clipnorm is None else positive("clipnorm", clipnorm)
        self.clipvalue = None if clipvalue is None else positive("clipvalue", clipvalue)
        self.global_clipnorm = None if global_clipnorm is None else positive("global_clipnorm", global_clipnorm)
        if [clipnorm, clipvalue, global_clipnorm].count(None) < 2:
            raise ValueError(
                "at most one of clipnorm, clipvalue and global_clipnorm can be set, got "
                f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
            )
        self.use_ema = checked_bool("use_ema", use_ema)
        self.ema_momentum = fraction("ema_momentum", ema_momentum)
        self.ema_overwrite_frequency = checked_count("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        self.loss_scale_factor = None if loss_scale_factor is None else positive("loss_scale_factor", loss_scale_factor)
        self.gradient_accumulation_steps = checked_count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self._iterations = 0
        self._state: dict[Key, Kept] = {}
        self._borrower: Any = None  # trains with the state meanwhile, and has a method `publish` that puts it back
        self._not_decayed: tuple[list[Any], list[str]] = ([], [])
        self._lock = locks.ForkSafeLock()

    # ------------------------------------------------------------ the rule

    def begin(self, w: Array) -> tuple[Any, ...]:
        """What `update` remembers of a weight, before the first step."""
        return ()

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        """The new weight, and after it the new slots. Nothing that is given changes."""
        raise NotImplementedError(f"{type(self).__name__} must define update(w, g, at, *slots)")

    def compiled_rule(self) -> CompiledRule | None:
        """The rule as the engine has it; None where it does not."""
        return None

    # ------------------------------------------------------------ a step

    @property
    def _kept(self) -> dict[Key, Kept]:
        """What is remembered of each weight."""
        if self._borrower is not None:
            self._borrower.publish()
        return self._state

    @_kept.setter
    def _kept(self, state: dict[Key, Kept]) -> None:
        self._state, self._borrower = state, None

    @property
    def iterations(self) -> int:
        """How many times `apply` has been called."""
        return self._iterations

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step. It can be assigned: a float, a schedule or a callable."""
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            rate = rate(self._iterations)
        elif callable(rate):
            rate = rate()
        return float(np.float32(number("learning_rate", rate)))

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._learning_rate = checked_learning_rate(value)

    def exclude_from_weight_decay(
        self, var_list: Sequence[Array] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Name weights that do not decay, before the first step: arrays of `weights`, or regular expressions.

        Raises ValueError after the first step.
        """
        if self._kept:
            raise ValueError("exclude_from_weight_decay must be called before the first step")
        self._not_decayed = (list(var_list or []), patterns("var_names", var_names))

    @quietly
    def apply(self, gradients: Sequence[ArrayLike | None], model: Layer) -> None:
        """Make one step: replace the trainable weights of a model or layer, and apply their constraints.

        Parameters
        ----------
        gradients : list of arrays
            In the order of ``model.trainable_weights``, as ``pullback(dy).weights`` is. A weight whose gradient is
            None stays as it is, with a warning.
        model : Layer or Model
            Always the same one, with the same trainable weights or some of them.

        Raises
        ------
        ValueError
            If gradients do not fit, or there are none, or a weight was not there at the first step. Nothing has
            changed then.

        Notes
        -----
        One thread at a time trains a model: of two that move the same weights, one undoes what the other did.
        """
        keys = trained_weights(model)
        with self._lock:
            kept = self._kept_for(keys, model)
            given = checked_gradients(gradients, keys, model, {key: of_weight.path for key, of_weight in kept.items()})
            found, sums = self._accumulated(given, kept) if self.gradient_accumulation_steps else (given, {})
            moved = self._moved(found, {**kept, **sums})
            weights: dict[Weighted, dict[str, Any]] = {}
            for (layer, name), (w, _) in moved.items():
                constraint = layer._specs[name].constraint
                weights.setdefault(layer, {})[name] = w if constraint is None else constraint(w)
            replace_weights({layer: layer.checked_weights(values) for layer, values in weights.items()})
            changed = {key: after for key, (_, after) in moved.items()}
            self._kept = {**kept, **sums, **changed}
            self._iterations += 1

    def build(self, model: Layer) -> None:
        """Begin with the trainable weights of a model, as its first step does. Raises ValueError as `apply`."""
        keys = trained_weights(model)
        with self._lock:
            self._kept = self._kept_for(keys, model)

    def _kept_for(self, keys: Sequence[Key], model: Layer) -> dict[Key, Kept]:
        """What is remembered of these weights, and of others. Raises ValueError where it began with others alone."""
        kept = self._kept
        if not kept:
            paths = paths_of(model)
            kept = {key: self._begun(key, paths[key]) for key in keys}
            self._check_excluded(keys)
        unknown = next((key for key in keys if key not in kept), None)
        if unknown is not None:
            raise ValueError(
                f"weight {paths_of(model)[unknown]!r} is not one that the optimizer {self.name!r} began with: "
                "make a new one for another model, for a copy, or after you set `trainable`"
            )
        return kept

    def finalize_variable_values(self, model: Layer) -> None:
        """Replace weights by their averages, where `use_ema` is True: Keras does so at the end of `fit`."""
        keys = trained_weights(model)
        with self._lock:
            weights: dict[Weighted, dict[str, Any]] = {}
            for layer, name in keys:
                kept = self._kept.get((layer, name))
                if kept is not None and kept.average is not None:
                    weights.setdefault(layer, {})[name] = kept.average
            replace_weights({layer: layer.checked_weights(values) for layer, values in weights.items()})

    def _accumulated(self, given: dict[Any, Array], kept: dict[Any, Kept]) -> tuple[dict[Any, Array], dict[Any, Any]]:
        """The mean gradients, if this call has the last one, and what is remembered of the sums."""
        count = self.gradient_accumulation_steps or 1
        sums = {}
        for key, g in given.items():
            before = kept[key].accumulated
            sums[key] = g.copy() if before is None else before + g
        if (self._iterations + 1) % count:
            return {}, {key: kept[key]._replace(accumulated=total) for key, total in sums.items()}
        means = {key: total / total.dtype.type(count) for key, total in sums.items()}
        return means, {key: of_weight._replace(accumulated=None) for key, of_weight in kept.items()}

    def _moved(self, gradients: dict[Any, Array], kept: dict[Any, Kept]) -> dict[Any, tuple[Array, Kept]]:
        """The new weights, before their constraints, and what is remembered of each."""
        if not gradients:
            return {}
        t = self._iterations // (self.gradient_accumulation_steps or 1) + 1
        rate, moved = self.learning_rate, {}
        for key, g in self._clipped(gradients).items():
            w, before = value_of(key), kept[key]
            lr = w.dtype.type(rate)
            decay = self.decay_of(w, before.path)
            if decay and before.decays:
                w = w - w * w.dtype.type(decay) * lr
            w, *slots = self.update(w, g, Step(lr, t, before.path), *before.slots)
            average = self._averaged(before.average, w) if self.use_ema else None
            if average is not None and self.ema_overwrite_frequency and t % self.ema_overwrite_frequency == 0:
                w = average.copy()
            moved[key] = (w, before._replace(slots=tuple(slots), average=average))
        return moved

    def _averaged(self, average: Array | None, w: Array) -> Array:
        return w.copy() if average is None else self.ema_momentum * average + (1 - self.ema_momentum) * w

    def _clipped(self, gradients: dict[Any, Array]) -> dict[Any, Array]:
        if self.loss_scale_factor is not None:
            gradients = {key: g / g.dtype.type(self.loss_scale_factor) for key, g in gradients.items()}
        if self.clipvalue is not None:
            limit = self.clipvalue
            return {key: np.clip(g, -limit, limit) for key, g in gradients.items()}
        if self.clipnorm is not None:
            most = self.clipnorm
            return {key: g * most / np.maximum(_norm(g), g.dtype.type(most)) for key, g in gradients.items()}
        if self.global_clipnorm is not None:
            norm, most = math.sqrt(sum(float(_norm(g)) ** 2 for g in gradients.values())), self.global_clipnorm
            factor = min(most / norm, 1.0) if math.isfinite(norm) and norm else 1.0 if norm == 0 else math.nan
            return {key: g * g.dtype.type(factor) for key, g in gradients.items()}
        return gradients

    def decay_of(self, w: Array, path: str) -> float | None:
        """The weight decay of a weight that is not excluded from it."""
        return self.weight_decay

    def _begun(self, key: Key, path: str) -> Kept:
        arrays, excluded = self._not_decayed
        named = any(array is value_of(key) for array in arrays) or any(re.search(pattern, path) for pattern in excluded)
        return Kept(self.begin(value_of(key)), path, decays=not named)

    def _check_excluded(self, keys: Sequence[Key]) -> None:
        """Raises ValueError for arrays that were excluded from weight decay, and are no weights of the model now."""
        weights = [value_of(key) for key in keys]
        if not all(any(array is w for w in weights) for array in self._not_decayed[0]):
            raise ValueError(
                "var_list of exclude_from_weight_decay must hold arrays that are in the trainable weights at the first "
                "step: weights that were set since then are other arrays; call it after you set them, or use var_names"
            )

    # ------------------------------------------------------------ its config

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as Keras writes them."""
        rate = self._learning_rate
        general = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum")
        more = ("ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")
        return {
            "name": self.name,
            "learning_rate": serialize(rate) if callable(rate) else float(np.float32(rate)),
            **{name: getattr(self, name) for name in (*general, *more, *self.own)},
        }


def _norm(g: Array) -> Any:
    return np.sqrt(np.sum(np.square(g)))
