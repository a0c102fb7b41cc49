"""What all optimizers have in common: the way from gradients to new weights, as in Keras.

One call of `apply` is one step: gradients are divided by `loss_scale_factor` and clipped, weights decay, the rule of
the optimizer moves them, averages follow, constraints are applied. All of it happens or nothing of it.
"""

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import locks
from cyrnn.arrays import converted, quietly, shown
from cyrnn.configurable import Configurable, number
from cyrnn.layers.base.arguments import Array, as_array, checked_bool
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import Weighted, replace_weights
from cyrnn.objects import register, serialize, snake_case
from cyrnn.optimizers.schedules import LearningRateSchedule, schedule_of

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
    path: str  # of the weight: "simple_rnn_cell/kernel"


class _Kept(NamedTuple):
    """What an optimizer remembers of a weight."""

    slots: tuple[Any, ...]
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
        self._learning_rate = _checked_learning_rate(learning_rate)
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
        self.ema_overwrite_frequency = _count("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        self.loss_scale_factor = None if loss_scale_factor is None else positive("loss_scale_factor", loss_scale_factor)
        self.gradient_accumulation_steps = _count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self._iterations = 0
        self._kept: dict[tuple[Weighted, str], _Kept] = {}
        self._not_decayed: tuple[list[Any], list[str]] = ([], [])
        self._lock = locks.ForkSafeLock()

    # ------------------------------------------------------------ the rule

    def begin(self, w: Array) -> tuple[Any, ...]:
        """What `update` remembers of a weight, before the first step."""
        return ()

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        """The new weight, and after it the new slots. Nothing that is given changes."""
        raise NotImplementedError(f"{type(self).__name__} must define update(w, g, at, *slots)")

    # ------------------------------------------------------------ a step

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
        self._learning_rate = _checked_learning_rate(value)

    def exclude_from_weight_decay(
        self, var_list: Sequence[Array] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Name weights that do not decay, before the first step: arrays of `weights`, or regular expressions.

        Raises ValueError after the first step.
        """
        if self._kept:
            raise ValueError("exclude_from_weight_decay must be called before the first step")
        self._not_decayed = (list(var_list or []), list(var_names or []))

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
        """
        if not isinstance(model, Layer):
            raise TypeError(f"model must be a layer or a model, got {type(model).__name__}")
        with self._lock:
            keys = model._weight_slots(trainable=True)
            given = _checked_gradients(gradients, keys, model)
            if self._kept:
                unknown = next((key for key in keys if key not in self._kept), None)
                if unknown is not None:
                    raise ValueError(
                        f"weight {_path(unknown)!r} was not trainable at the first step of the optimizer "
                        f"{self.name!r}: make a new optimizer for another model, or after you set `trainable`"
                    )
                kept = self._kept
            else:
                kept = {key: _Kept(self.begin(_value(key)), self._decays(key)) for key in keys}
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

    def finalize_variable_values(self, model: Layer) -> None:
        """Replace weights by their averages, where `use_ema` is True: Keras does so at the end of `fit`."""
        with self._lock:
            weights: dict[Weighted, dict[str, Any]] = {}
            for layer, name in model._weight_slots(trainable=True):
                kept = self._kept.get((layer, name))
                if kept is not None and kept.average is not None:
                    weights.setdefault(layer, {})[name] = kept.average
            replace_weights({layer: layer.checked_weights(values) for layer, values in weights.items()})

    def _accumulated(self, given: dict[Any, Array], kept: dict[Any, _Kept]) -> tuple[dict[Any, Array], dict[Any, Any]]:
        """The mean gradients, if this call has the last one, and what is remembered of the sums."""
        count = self.gradient_accumulation_steps or 1
        sums = {}
        for key, g in given.items():
            before = kept[key].accumulated
            sums[key] = g if before is None else before + g
        if (self._iterations + 1) % count:
            return {}, {key: kept[key]._replace(accumulated=total) for key, total in sums.items()}
        means = {key: total / total.dtype.type(count) for key, total in sums.items()}
        return means, {key: kept[key]._replace(accumulated=None) for key in sums}

    def _moved(self, gradients: dict[Any, Array], kept: dict[Any, _Kept]) -> dict[Any, tuple[Array, _Kept]]:
        """The new weights, before their constraints, and what is remembered of each."""
        if not gradients:
            return {}
        t = self._iterations // (self.gradient_accumulation_steps or 1) + 1
        rate, moved = self.learning_rate, {}
        for key, g in self._clipped(gradients).items():
            w, before, path = _value(key), kept[key], _path(key)
            lr = w.dtype.type(rate)
            decay = self.decay_of(w, path)
            if decay and before.decays:
                w = w - w * w.dtype.type(decay) * lr
            w, *slots = self.update(w, g, Step(lr, t, path), *before.slots)
            average = self._averaged(before.average, w) if self.use_ema else None
            if average is not None and self.ema_overwrite_frequency and t % self.ema_overwrite_frequency == 0:
                w = average
            moved[key] = (w, before._replace(slots=tuple(slots), average=average))
        return moved

    def _averaged(self, average: Array | None, w: Array) -> Array:
        return w if average is None else self.ema_momentum * average + (1 - self.ema_momentum) * w

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

    def _decays(self, key: tuple[Weighted, str]) -> bool:
        """Whether `exclude_from_weight_decay` does not name this weight."""
        arrays, patterns = self._not_decayed
        named = any(array is _value(key) for array in arrays)
        return not named and not any(re.search(pattern, _path(key)) for pattern in patterns)

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


def _checked_learning_rate(value: Any) -> Any:
    value = schedule_of(value)
    if callable(value):
        return value
    try:
        return number("learning_rate", value)
    except TypeError:
        raise TypeError(
            f"learning_rate must be a float, a schedule, or a callable without arguments, got {shown(value)}"
        ) from None


def _checked_gradients(
    gradients: Any, keys: Sequence[tuple[Weighted, str]], model: Layer
) -> dict[tuple[Weighted, str], Array]:
    """The gradients that there are, in the dtypes of their weights."""
    order = f"the {len(keys)} trainable weights of {model.name!r}"
    if type(gradients) not in (list, tuple):
        raise ValueError(
            f"gradients must be a list of arrays, one for each of {order} (pullback(dy).weights), "
            f"got {type(gradients).__name__}"
        )
    if len(gradients) != len(keys):
        raise ValueError(f"gradients must be one for each of {order}, got {len(gradients)}")
    found, missing = {}, []
    for number_, (key, given) in enumerate(zip(keys, gradients, strict=True)):
        if given is None:
            missing.append(_path(key))
            continue
        w, name = _value(key), f"gradients[{number_}]"
        g = as_array(name, given)
        if g.shape != w.shape:
            raise ValueError(f"{name} must have shape {w.shape}, as weight {_path(key)!r} has, got {g.shape}")
        found[key] = converted(g, w.dtype)
    if not found:
        raise ValueError(f"gradients has none for any of {order}: nothing can be updated")
    if missing:
        warnings.warn(f"no gradients for {', '.join(missing)}: they stay as they are", stacklevel=4)
    return found


def _value(key: tuple[Weighted, str]) -> Array:
    layer, name = key
    return layer._values[name]


def _path(key: tuple[Weighted, str]) -> str:
    layer, name = key
    return f"{layer.name}/{name}"


def _norm(g: Array) -> Any:
    return np.sqrt(np.sum(np.square(g)))


def at_least_0(name: str, value: Any) -> float:
    """A number that is not negative. Raises TypeError or ValueError."""
    value = number(name, value)
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def positive(name: str, value: Any) -> float:
    """A number over 0. Raises TypeError or ValueError."""
    value = number(name, value)
    if not value > 0:
        raise ValueError(f"{name} must be over 0, got {value}")
    return value


def fraction(name: str, value: Any) -> float:
    """A number from 0 to 1. Raises TypeError or ValueError."""
    value = number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")
    return value


def _count(name: str, value: Any, least: int) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least):
        raise ValueError(f"{name} must be an integer of at least {least}, or None, got {shown(value)}")
    return None if value is None else int(value)
