"""What all optimizers have in common: the way from gradients to new weights, as in Keras.

One call of `apply` is one step: gradients are divided by `loss_scale_factor` and clipped, weights decay, the rule of
the optimizer moves them, averages follow, constraints are applied. All of it happens or nothing of it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from numpy.typing import ArrayLike

from cyrnn import notices, objects
from cyrnn.arrays import quietly
from cyrnn.configurable import number
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.weights import Weighted, replace_weights
from cyrnn.objects import register, serialize, snake_case
from cyrnn.optimizers.checks import (
    Key,
    check_no_others,
    checked_gradients,
    checked_learning_rate,
    paths_of,
    patterns,
    trained_weights,
    value_of,
)
from cyrnn.optimizers.clipping import clipped
from cyrnn.optimizers.learning_rate import LearningRate, of_layers
from cyrnn.optimizers.options import CHECKS, CLIPS, Check, check_one_clip
from cyrnn.optimizers.schedules import LearningRateSchedule
from cyrnn.optimizers.state import HasState, Kept, held_as

MODULE = "keras.optimizers"

# Arguments of Keras 1 and 2.
_RENAMED = {"lr": "learning_rate"}
_LEFT_OUT = ("decay", "is_legacy_optimizer", "jit_compile")


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


@register(MODULE)
class Optimizer(HasState):
    """Base class: a subclass has a rule, `update`, says in `slots` what that remembers, and names its own arguments in
    `own`, for the config.

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
        If an argument is of another type or out of range, or does not exist.
    """

    own: ClassVar[Mapping[str, Check]] = {}  # the arguments that others do not have, and what they may be
    _options_at: object = (
        None  # another one whenever an option is set but the learning rate: what compiled steps follow
    )

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
        **unknown: Any,
    ) -> None:
        super().__init__()
        check_no_others(type(self).__name__, unknown)
        self.name = snake_case(type(self).__name__) if name is None else name
        self._learning_rate = checked_learning_rate(learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self._not_decayed: tuple[list[Any], list[str]] = ([], [])

    def __setattr__(self, name: str, value: Any) -> None:
        check = self.own.get(name) or CHECKS.get(name)
        if check is not None:
            value = check(name, value)
        if name in CLIPS:
            check_one_clip({clip: value if clip == name else vars(self).get(clip) for clip in CLIPS})
        super().__setattr__(name, value)
        if name[0] != "_" and name != "learning_rate":
            vars(self)["_options_at"] = object()

    # ------------------------------------------------------------ the rule

    def update(self, w: Array, g: Array, at: Step, *slots: Any) -> tuple[Any, ...]:
        """The new weight, and after it the new slots. Nothing that is given changes."""
        raise NotImplementedError(f"{type(self).__name__} must define update(w, g, at, *slots)")

    def compiled_rule(self) -> CompiledRule | None:
        """The rule as the engine has it; None where it does not."""
        return None

    # ------------------------------------------------------------ a step

    @property
    def iterations(self) -> int:
        """How many updates there were: calls of `apply`, by `gradient_accumulation_steps` where that is set."""
        return self._updates

    @property
    def learning_rate(self) -> LearningRate:
        """The learning rate of the next step: a float with `assign` and `numpy`, as Keras' variable.

        It can be assigned: a float, a schedule or a callable.
        """
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            rate = rate(self._iterations)
        elif callable(rate):
            rate = rate()
        return LearningRate(of_layers(number("learning_rate", rate)), self)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._learning_rate = checked_learning_rate(value)

    def exclude_from_weight_decay(
        self, var_list: Sequence[Array] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Name weights that do not decay, before the first step: arrays of `weights`, or regular expressions.

        Raises ValueError after the first step.
        """
        if self._remembered():
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
            changed = {key: after for key, (_, after) in moved.items()}
            state, iterations = {**kept, **sums, **changed}, self._iterations + 1
            replace_weights(
                {layer: layer.checked_weights(values) for layer, values in weights.items()},
                vars(self), {**held_as(state), "_iterations": iterations},
            )  # fmt: skip

    def scale_loss(self, loss: Any) -> Any:
        """A loss, or gradients of one, times `loss_scale_factor`, by which `apply` divides."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def apply_gradients(self, grads_and_vars: Any) -> None:
        """Keras' name of `apply`, which raises TypeError here: weights do not say which model they are of."""
        raise TypeError(
            "weights do not say which model they are of: call optimizer.apply(gradients, model), with the gradients in "
            "the order of model.trainable_weights, as pullback(dy).weights is of y, pullback = model.vjp(x)"
        )

    def build(self, model: Layer | list[Any] | tuple[Any, ...]) -> None:
        """Begin with the trainable weights of a model, as its first step does. Raises ValueError as `apply`.

        Parameters
        ----------
        model : Model, Layer, or a list of weights
            A list, as in Keras' scripts, changes nothing: the first step, or the file of a state, says whose it is.
        """
        if isinstance(model, list | tuple):
            return
        keys = trained_weights(model)
        with self._lock:
            self._kept = self._kept_for(keys, model)

    def variables_of(self, model: Layer) -> list[tuple[str, tuple[int, ...]]]:
        """The names and shapes of the `variables` that there are once it is built for a model; nothing is allocated."""
        places = self._places(list(self._known_of(trained_weights(model), model).values()))
        return [(place.name, place.shape) for place in places]

    def load_variables(self, model: Layer, values: Sequence[ArrayLike]) -> None:
        """Replace the values of all `variables_of` a model. Raises ValueError if their number or shapes do not fit."""
        keys = trained_weights(model)
        with self._lock:
            known = self._known_of(keys, model)
            restored = self._restored(list(known.values()), values)
            self._kept = dict(zip(known, restored, strict=True))

    def _kept_for(self, keys: Sequence[Key], model: Layer) -> dict[Key, Kept]:
        """What is remembered of these weights, and of others. Raises ValueError where it began with others alone."""
        return {key: self.fitting(of_weight) for key, of_weight in self._known_of(keys, model).items()}

    def _known_of(self, keys: Sequence[Key], model: Layer) -> dict[Key, Kept]:
        """The same; before the first step without slots."""
        kept = self._kept
        if not kept:
            paths = paths_of(model)
            kept = {key: self._described(key, paths[key]) for key in keys}
            if self._waiting:
                return self._met(kept, model)
            self._check_excluded(keys)
        unknown = next((key for key in keys if key not in kept), None)
        if unknown is not None:
            raise ValueError(
                f"weight {paths_of(model)[unknown]!r} is not one that the optimizer {self.name!r} began with: "
                "make a new one for another model, for a copy, or after you set `trainable`"
            )
        return kept

    def _met(self, new: dict[Key, Kept], model: Layer) -> dict[Key, Kept]:
        """The state of a copied optimizer, for the weights of a model."""
        fits = [(k.shape, k.dtype) for k in new.values()] == [(k.shape, k.dtype) for k in self._waiting]
        if not fits:
            raise ValueError(
                f"the optimizer {self.name!r} is a copy of one for {len(self._waiting)} trainable weights, and the "
                f"{len(new)} of {model.name!r} have other shapes or dtypes: make a new one for it"
            )
        pairs = zip(new.items(), self._waiting, strict=True)
        return {key: known._replace(path=own.path) for (key, own), known in pairs}

    def finalize_variable_values(self, model: Layer) -> None:
        """Replace weights by their averages, where `use_ema` is True: Keras does so at the end of `fit`."""
        keys = trained_weights(model)
        if not self.use_ema:
            return
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
        t = self._updates + 1
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
        if self.loss_scale_factor is not None:  # as `scale_loss` has multiplied
            gradients = {key: g / g.dtype.type(self.loss_scale_factor) for key, g in gradients.items()}
        return clipped(gradients, self.clipvalue, self.clipnorm, self.global_clipnorm)

    def decay_of(self, w: Array, path: str) -> float | None:
        """The weight decay of a weight that is not excluded from it."""
        return self.weight_decay

    def _described(self, key: Key, path: str) -> Kept:
        (arrays, excluded), w = self._not_decayed, value_of(key)
        named = any(array is w for array in arrays) or any(re.search(pattern, path) for pattern in excluded)
        return Kept((), path, not named, w.shape, w.dtype)

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
        """The constructor's arguments, as Keras writes them.

        Returns
        -------
        dict
        """
        rate = self._learning_rate
        general = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum")
        more = ("ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")
        return {
            "name": self.name,
            "learning_rate": serialize(rate) if callable(rate) else of_layers(rate),
            **{name: getattr(self, name) for name in (*general, *more, *self.own)},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """The optimizer that a config describes, which any Keras since 1 may have written.

        Their `decay` of the learning rate is left out, with a warning: Keras 3 has schedules for that.
        """
        new = {_RENAMED.get(name, name): value for name, value in config.items() if name not in _LEFT_OUT}
        if config.get("decay"):
            notices.warn("`decay` is no longer supported, and is left out: use a schedule")
        with objects.custom_object_scope(custom_objects):
            return super().from_config(new)
