"""The loss of a model: one for each output, weighed, and added up."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from cyrnn import dtypes, losses
from cyrnn.arrays import shown
from cyrnn.configurable import number
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.losses import Loss
from cyrnn.training.outputs import for_each_output
from cyrnn.training.protocol import Results

_BY_SHAPE = ("crossentropy", "ce")  # which of the three it is, the shapes say


class FunctionLoss(Loss):
    """A function of the truth and the prediction as a loss.

    Parameters
    ----------
    function : callable
        ``function(y_true, y_pred)`` of arrays; its values, without the last axis, or a number. For training it has an
        attribute `gradient`, a function of the same arrays: the gradient of the sum of its values by `y_pred`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(getattr(function, "__name__", type(function).__name__))
        self.function = function
        self.is_sparse = getattr(function, "sparse", False)  # type: ignore[misc]  # of this function

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.function(y_true, y_pred))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        gradient = getattr(self.function, "gradient", None)
        if gradient is None:
            raise ValueError(
                f"the loss function {self.name!r} has no gradient, which cyrnn needs beside code of NumPy. Write, "
                "before compile():\n    def gradient(y_true, y_pred):\n        "
                f"return ...  # like y_pred: the slope of the sum of all values\n    {self.name}.gradient = gradient"
            )
        return np.asarray(gradient(y_true, y_pred))


class EngineLoss(NamedTuple):
    """A loss that the engine has too.

    Parameters
    ----------
    name : str
        See `cyrnn.engine.training.LOSSES`.
    mean : bool
        Whether it is the mean of the values, or their sum.
    delta, smoothing, from_logits
        Options of some losses.
    factor : float
        What it is multiplied by.
    dtype : str
        In which it is computed.
    """

    name: str
    mean: bool
    delta: float
    smoothing: float
    from_logits: bool
    factor: float
    dtype: str

    @property
    def is_sparse(self) -> bool:
        """Whether the truth has labels."""
        return self.name == "sparse_categorical_crossentropy"

    @property
    def is_crossentropy(self) -> bool:
        """Whether it can be one of logits."""
        return self.name.endswith("crossentropy")

    @property
    def arguments(self) -> tuple[str, bool, float, float, bool]:
        """What `TrainingStep.add_loss` is given of it."""
        return self.name, self.mean, self.delta, self.smoothing, self.from_logits


_IN_ENGINE = {
    losses.MeanSquaredError: losses.mean_squared_error,
    losses.MeanAbsoluteError: losses.mean_absolute_error,
    losses.Huber: losses.huber,
    losses.BinaryCrossentropy: losses.binary_crossentropy,
    losses.CategoricalCrossentropy: losses.categorical_crossentropy,
    losses.SparseCategoricalCrossentropy: losses.sparse_categorical_crossentropy,
}


class Found(NamedTuple):
    """The loss of a batch.

    Parameters
    ----------
    total : float
        Of all outputs, weighed.
    each : list of float or None
        Of each output, not weighed.
    gradients : list of array or None
        Of the total by each output; empty where they were not asked for.
    of_logits : list of array or None
        The same by the logits, of those outputs that have some.
    """

    total: float
    each: list[float | None]
    gradients: list[Array | None]
    of_logits: list[Array | None]


class Predicted(NamedTuple):
    """What a model has returned for a batch, for each output: the array, its mask, and its logits, or None."""

    outputs: list[Array]
    masks: list[Array | None]
    logits: list[Array | None]

    @classmethod
    def of(cls, results: Results) -> Self:
        """The results of a call, flat."""
        outputs: list[Array] = nest.leaves(results.outputs)
        masks = [] if results.masks is None else nest.leaves(results.masks)
        absent = [None] * len(outputs)
        return cls(outputs, [*masks, *absent][: len(outputs)], [*results.logits, *absent][: len(outputs)])


class CompiledLoss:
    """The losses of all outputs.

    Parameters
    ----------
    loss, loss_weights
        Arguments of `compile`.
    names : sequence of str
        Those of the outputs.

    Raises
    ------
    ValueError, TypeError
        For what is no loss or no weight, or is for other outputs.
    """

    def __init__(self, loss: Any, loss_weights: Any, names: Sequence[str]) -> None:
        self.names = list(names)
        self.losses = [_resolved(part) for part in _given_losses(loss, self.names)]
        if loss_weights is not None and not isinstance(loss_weights, list | tuple | dict):
            loss_weights = [loss_weights] * len(self.names)
        weights = for_each_output("loss_weights", loss_weights, self.names)
        self.weights = [1.0 if weight is None else _checked_factor(weight) for weight in weights]

    @property
    def names_of_losses(self) -> list[str]:
        """The logs of the losses of single outputs: none where there is one loss."""
        found = [name for name, loss in zip(self.names, self.losses, strict=True) if loss is not None]
        return [f"{name}_loss" for name in found] if len(found) > 1 else []

    def of_batch(
        self,
        y_true: Sequence[Array | None],
        predicted: Predicted,
        sample_weight: Sequence[Array | None],
        with_gradients: bool = False,
        only_known: bool = False,
    ) -> Found:
        """The loss of a batch, of the arrays of each output; with `only_known` without the losses of users."""
        total = 0.0
        each: list[float | None] = []
        gradients: list[Array | None] = [None] * len(predicted.outputs)
        of_logits: list[Array | None] = [None] * len(predicted.outputs)
        for number_, (loss, factor) in enumerate(zip(self.losses, self.weights, strict=True)):
            if loss is None:
                each.append(None)
                continue
            t, p, filled = y_true[number_], predicted.outputs[number_], gradients
            if t is None:
                raise ValueError(f"y has nothing for output {self.names[number_]!r}, which has a loss")
            loss = self._of_shapes(number_, loss, t, p)
            if only_known and not is_known(getattr(loss, "function", loss)):
                continue
            logits, of_them = predicted.logits[number_], None
            if logits is not None:
                of_them = on_logits(loss)
            if logits is not None and of_them is not None:
                loss, p, filled = of_them, logits, of_logits
            weights, mask = sample_weight[number_], predicted.masks[number_]
            try:
                if with_gradients:
                    value, gradient = loss.value_and_gradient(t, p, weights, mask)
                    filled[number_] = gradient if factor == 1.0 else gradient * gradient.dtype.type(factor)
                else:
                    value = loss(t, p, weights, mask)
            except ValueError as error:
                raise ValueError(f"loss of output {self.names[number_]!r}: {error}") from error
            # A loss that keeps its values counts with their mean, and goes back by their sum, as in Keras.
            value = float(np.mean(value)) if np.ndim(value) else float(value)
            each.append(value)
            total += factor * value
        known = [gradient for gradient, logits in zip(of_logits, predicted.logits, strict=True) if logits is not None]
        return Found(total, each, gradients, known)

    def _of_shapes(self, index: int, loss: Any, t: Array, p: Array) -> Loss:
        """The loss; where its name leaves that to the shapes, the one that they tell from now on."""
        if isinstance(loss, str):
            loss = self.losses[index] = _resolved(f"{kind_by_shapes(t, p)}_crossentropy")
        return loss

    @property
    def is_open(self) -> bool:
        """Whether the shapes of a batch have to say what a loss is."""
        return any(isinstance(loss, str) for loss in self.losses)

    def engine_losses(self) -> list[EngineLoss | None] | None:
        """The losses as the engine has them, None for outputs without one; None where it does not have them all."""
        found = [
            None if loss is None else _of_engine(loss, factor)
            for loss, factor in zip(self.losses, self.weights, strict=True)
        ]
        pairs = zip(found, self.losses, strict=True)
        return None if not self or any(made is None and loss is not None for made, loss in pairs) else found

    def __bool__(self) -> bool:
        return any(loss is not None for loss in self.losses)


def _of_engine(loss: Any, factor: float) -> EngineLoss | None:
    """A loss as the engine has it, counted so many times; None where it does not have it."""
    function: Any = loss.function if type(loss) is FunctionLoss else _IN_ENGINE.get(type(loss))
    if not isinstance(loss, Loss) or not any(function is known for known in _IN_ENGINE.values()):
        return None
    if loss.axis_of_values != -1 or getattr(loss, "ignore_class", None) is not None:
        return None
    if loss.reduction not in ("sum_over_batch_size", "mean", "sum"):
        return None
    return EngineLoss(
        function.__name__,
        loss.reduction != "sum",
        getattr(loss, "delta", 1.0),
        getattr(loss, "label_smoothing", 0.0),
        getattr(loss, "from_logits", False),
        factor,
        loss.dtype or dtypes.floatx(),
    )


def on_logits(loss: Loss) -> Loss | None:
    """A crossentropy as one of logits; None for another loss.

    Where the last activation of a model is a softmax or a sigmoid, its logits are known. Of these nothing is clipped,
    and gradients do not vanish. As in Keras on TensorFlow it is not looked at which of the two it is.
    """
    crossentropies: dict[Any, Any] = {
        losses.binary_crossentropy: losses.BinaryCrossentropy,
        losses.categorical_crossentropy: losses.CategoricalCrossentropy,
        losses.sparse_categorical_crossentropy: losses.SparseCategoricalCrossentropy,
    }
    if type(loss) is FunctionLoss:
        made = crossentropies.get(loss.function)
        found: Loss | None = None if made is None else made(from_logits=True, name=loss.name)
        return found
    if type(loss) not in crossentropies.values() or loss.axis_of_values != -1:
        return None
    changed = copy.copy(loss)
    vars(changed)["from_logits"] = True
    return changed


def is_known(what: Any) -> bool:
    """Whether a loss, a metric or a function is no user's."""
    return str(getattr(what, "__module__", "")).partition(".")[0] == "cyrnn"


def kind_by_shapes(t: Array, p: Array) -> str:
    """Whether labels are "binary", "sparse_categorical" or "categorical", as Keras tells from shapes."""
    if p.shape[-1:] == (1,):
        return "binary"
    sparse = t.ndim < p.ndim or t.shape[-1:] == (1,)
    return "sparse_categorical" if sparse else "categorical"


def _checked_factor(weight: Any) -> float:
    factor = float(number("loss_weights", weight))
    if not np.isfinite(factor):
        raise ValueError(f"loss_weights must be finite, got {factor}")
    return factor


def _given_losses(loss: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(loss, dict) and "class_name" in loss:
        return [loss] * len(names)
    if loss is None or isinstance(loss, list | tuple | dict):
        return for_each_output("loss", loss, names)
    return [loss] * len(names)


def _resolved(loss: Any) -> Any:
    """The loss for what `compile` was given; the name where only shapes can tell; None for None."""
    if isinstance(loss, str) and loss.lower() in _BY_SHAPE:
        return loss
    found = losses.get(loss)
    if found is None or isinstance(found, Loss):
        return found
    if not callable(found):
        raise ValueError(f"loss must be a name, a Loss or a function (y_true, y_pred), got {shown(loss)}")
    return FunctionLoss(found)
