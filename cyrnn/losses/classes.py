"""The losses of Keras as objects."""

import inspect
from typing import Any, ClassVar

from cyrnn.configurable import at_least_0, integer, number
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.losses import functions, imbalanced
from cyrnn.losses.documentation import of_class
from cyrnn.losses.functions import LossFunction
from cyrnn.losses.loss import MODULE, Loss
from cyrnn.objects import register

_MEAN = "sum_over_batch_size"


class _OfFunction(Loss):
    """A loss whose values a function has, with the options that are its own arguments."""

    function: ClassVar[LossFunction]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "function" in vars(cls):
            cls.__doc__ = of_class(cls.__doc__ or "", inspect.signature(cls).parameters.values())

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return self.function(y_true, y_pred, **self._options())

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        return self.function.gradient(y_true, y_pred, **self._options())

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.own}


class _Plain(_OfFunction):
    """A loss without options."""

    def __init__(self, reduction: str | None = _MEAN, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name, reduction, dtype)


class _AlongAxis(_OfFunction):
    """A loss along an axis of `y_pred`."""

    axis: int

    @property
    def axis_of_values(self) -> int:
        return self.axis


@register(MODULE)
class MeanSquaredError(_Plain):
    """See `cyrnn.losses.mean_squared_error`."""

    function = functions.mean_squared_error


@register(MODULE)
class MeanAbsoluteError(_Plain):
    """See `cyrnn.losses.mean_absolute_error`."""

    function = functions.mean_absolute_error


@register(MODULE)
class MeanAbsolutePercentageError(_Plain):
    """See `cyrnn.losses.mean_absolute_percentage_error`."""

    function = functions.mean_absolute_percentage_error


@register(MODULE)
class MeanSquaredLogarithmicError(_Plain):
    """See `cyrnn.losses.mean_squared_logarithmic_error`."""

    function = functions.mean_squared_logarithmic_error


@register(MODULE)
class LogCosh(_Plain):
    """See `cyrnn.losses.log_cosh`."""

    function = functions.log_cosh


@register(MODULE)
class Hinge(_Plain):
    """See `cyrnn.losses.hinge`."""

    function = functions.hinge


@register(MODULE)
class SquaredHinge(_Plain):
    """See `cyrnn.losses.squared_hinge`."""

    function = functions.squared_hinge


@register(MODULE)
class CategoricalHinge(_Plain):
    """See `cyrnn.losses.categorical_hinge`."""

    function = functions.categorical_hinge


@register(MODULE)
class KLDivergence(_Plain):
    """See `cyrnn.losses.kl_divergence`."""

    function = functions.kl_divergence


@register(MODULE)
class Poisson(_Plain):
    """See `cyrnn.losses.poisson`."""

    function = functions.poisson


@register(MODULE)
class Huber(_OfFunction):
    """See `cyrnn.losses.huber`."""

    own = ("delta",)
    function = functions.huber

    def __init__(
        self, delta: float = 1.0, reduction: str | None = _MEAN, name: str = "huber_loss", dtype: str | None = None
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = at_least_0("delta", delta)


@register(MODULE)
class CosineSimilarity(_AlongAxis):
    """See `cyrnn.losses.cosine_similarity`."""

    own = ("axis",)
    function = functions.cosine_similarity

    def __init__(
        self, axis: int = -1, reduction: str | None = _MEAN, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = integer("axis", axis)


class _Crossentropy(_AlongAxis):
    own: ClassVar[tuple[str, ...]] = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = _MEAN,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits, self.axis = checked_bool("from_logits", from_logits), integer("axis", axis)
        self.label_smoothing = number("label_smoothing", label_smoothing)
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")


@register(MODULE)
class BinaryCrossentropy(_Crossentropy):
    """See `cyrnn.losses.binary_crossentropy`."""

    function = functions.binary_crossentropy


@register(MODULE)
class CategoricalCrossentropy(_Crossentropy):
    """See `cyrnn.losses.categorical_crossentropy`."""

    function = functions.categorical_crossentropy


@register(MODULE)
class SparseCategoricalCrossentropy(_AlongAxis):
    """See `cyrnn.losses.sparse_categorical_crossentropy`. Values of `ignore_class` do not count in means."""

    own = ("from_logits", "ignore_class", "axis")
    function = functions.sparse_categorical_crossentropy
    is_sparse = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = _MEAN,
        axis: int = -1,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits, self.axis = checked_bool("from_logits", from_logits), integer("axis", axis)
        self.ignore_class = None if ignore_class is None else integer("ignore_class", ignore_class)

    def own_mask(self, y_true: Array, values: Array) -> Array | None:
        return None if self.ignore_class is None else y_true.reshape(values.shape).astype(int) != self.ignore_class


class _Focal(_Crossentropy):
    def __init__(self, alpha: Any, gamma: float, *args: Any) -> None:
        super().__init__(*args)
        self.alpha = alpha if isinstance(alpha, list | tuple) else number("alpha", alpha)
        self.gamma = at_least_0("gamma", gamma)


@register(MODULE)
class BinaryFocalCrossentropy(_Focal):
    """See `cyrnn.losses.binary_focal_crossentropy`."""

    own = ("from_logits", "label_smoothing", "axis", "apply_class_balancing", "alpha", "gamma")
    function = imbalanced.binary_focal_crossentropy

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = _MEAN,
        name: str | None = "binary_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(alpha, gamma, from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = checked_bool("apply_class_balancing", apply_class_balancing)


@register(MODULE)
class CategoricalFocalCrossentropy(_Focal):
    """See `cyrnn.losses.categorical_focal_crossentropy`."""

    own = ("from_logits", "label_smoothing", "axis", "alpha", "gamma")
    function = imbalanced.categorical_focal_crossentropy

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = _MEAN,
        name: str | None = "categorical_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(alpha, gamma, from_logits, label_smoothing, axis, reduction, name, dtype)


class _Overlap(_OfFunction):
    """A loss of sums over some axes of `y_pred`, or over all: then it is one number for all rows."""

    axis: Any

    def axes_of_values(self, ndim: int) -> tuple[int, ...]:
        return imbalanced.axes_of(self.axis, ndim)


@register(MODULE)
class Dice(_Overlap):
    """See `cyrnn.losses.dice`."""

    own = ("axis",)
    function = imbalanced.dice

    def __init__(
        self,
        reduction: str | None = _MEAN,
        name: str | None = "dice",
        axis: Any = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = axis


@register(MODULE)
class Tversky(_Overlap):
    """See `cyrnn.losses.tversky`."""

    own = ("alpha", "beta", "axis")
    function = imbalanced.tversky

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = _MEAN,
        name: str | None = "tversky",
        axis: Any = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.alpha, self.beta, self.axis = at_least_0("alpha", alpha), at_least_0("beta", beta), axis
