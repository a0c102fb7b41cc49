"""Errors, divergences and margins: the means of what losses are, and of squares under a root."""

import math

from cyrnn import losses
from cyrnn.configurable import fraction, integer
from cyrnn.layers.base.arguments import Array, checked_bool
from cyrnn.losses.shapes import fitted
from cyrnn.metrics import functions
from cyrnn.metrics.metric import MODULE
from cyrnn.metrics.reduction import OfFunction
from cyrnn.objects import register


@register(MODULE, "mse", "MSE")
class MeanSquaredError(OfFunction):
    """The mean of `mean_squared_error`.

    Parameters
    ----------
    name : str, optional, default "mean_squared_error"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.mean_squared_error
    _direction = "down"

    def __init__(self, name: str | None = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE, "mae", "MAE")
class MeanAbsoluteError(OfFunction):
    """The mean of `mean_absolute_error`.

    Parameters
    ----------
    name : str, optional, default "mean_absolute_error"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.mean_absolute_error
    _direction = "down"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE, "mape", "MAPE")
class MeanAbsolutePercentageError(OfFunction):
    """The mean of `mean_absolute_percentage_error`.

    Parameters
    ----------
    name : str, optional, default "mean_absolute_percentage_error"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.mean_absolute_percentage_error
    _direction = "down"

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE, "msle", "MSLE")
class MeanSquaredLogarithmicError(OfFunction):
    """The mean of `mean_squared_logarithmic_error`.

    Parameters
    ----------
    name : str, optional, default "mean_squared_logarithmic_error"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.mean_squared_logarithmic_error
    _direction = "down"

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class LogCoshError(OfFunction):
    """The mean of `log_cosh`.

    Parameters
    ----------
    name : str, optional, default "logcosh"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.log_cosh
    _direction = "down"

    def __init__(self, name: str | None = "logcosh", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class Hinge(OfFunction):
    """The mean of `hinge`.

    Parameters
    ----------
    name : str, optional, default "hinge"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.hinge
    _direction = "down"

    def __init__(self, name: str | None = "hinge", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class SquaredHinge(OfFunction):
    """The mean of `squared_hinge`.

    Parameters
    ----------
    name : str, optional, default "squared_hinge"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.squared_hinge
    _direction = "down"

    def __init__(self, name: str | None = "squared_hinge", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class CategoricalHinge(OfFunction):
    """The mean of `categorical_hinge`.

    Parameters
    ----------
    name : str, optional, default "categorical_hinge"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.categorical_hinge
    _direction = "down"

    def __init__(self, name: str | None = "categorical_hinge", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class KLDivergence(OfFunction):
    """The mean of `kl_divergence`.

    Parameters
    ----------
    name : str, optional, default "kl_divergence"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.kl_divergence
    _direction = "down"

    def __init__(self, name: str | None = "kl_divergence", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class Poisson(OfFunction):
    """The mean of `poisson`.

    Parameters
    ----------
    name : str, optional, default "poisson"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = losses.poisson
    _direction = "down"

    def __init__(self, name: str | None = "poisson", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class RootMeanSquaredError(OfFunction):
    """The square root of the mean of all squared errors.

    Parameters
    ----------
    name : str, optional, default "root_mean_squared_error"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = functions.squared_errors
    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)

    def result(self) -> float:
        return math.sqrt(super().result())


@register(MODULE)
class CosineSimilarity(OfFunction):
    """The mean of ``Σ t p`` of t and p divided by their norms: the loss of this name has the other sign.

    Parameters
    ----------
    name : str, optional, default "cosine_similarity"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    axis : int, default -1
        The axis of the outputs, or classes.
    """

    function = functions.cosine_similarity
    _direction = "up"

    def __init__(self, name: str | None = "cosine_similarity", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis=integer("axis", axis))


@register(MODULE, "bce", "BCE")
class BinaryCrossentropy(OfFunction):
    """The mean of `binary_crossentropy`.

    Parameters
    ----------
    name : str, optional, default "binary_crossentropy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    from_logits : bool, default False
        Whether predictions are before the softmax or sigmoid; else they are probabilities.
    label_smoothing : float, default 0
        The share of each label that is spread over all classes; 0 to 1.
    """

    function = losses.binary_crossentropy
    _direction = "down"

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        logits, smoothing = checked_bool("from_logits", from_logits), fraction("label_smoothing", label_smoothing)
        super().__init__(name, dtype, from_logits=logits, label_smoothing=smoothing)


@register(MODULE)
class CategoricalCrossentropy(OfFunction):
    """The mean of `categorical_crossentropy`.

    Parameters
    ----------
    name : str, optional, default "categorical_crossentropy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    from_logits : bool, default False
        Whether predictions are before the softmax or sigmoid; else they are probabilities.
    label_smoothing : float, default 0
        The share of each label that is spread over all classes; 0 to 1.
    axis : int, default -1
        The axis of the outputs, or classes.
    """

    function = losses.categorical_crossentropy
    _direction = "down"

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        logits, smoothing = checked_bool("from_logits", from_logits), fraction("label_smoothing", label_smoothing)
        super().__init__(name, dtype, from_logits=logits, label_smoothing=smoothing, axis=integer("axis", axis))


@register(MODULE)
class SparseCategoricalCrossentropy(OfFunction):
    """The mean of `sparse_categorical_crossentropy`. Values of `ignore_class` do not count.

    Parameters
    ----------
    name : str, optional, default "sparse_categorical_crossentropy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    from_logits : bool, default False
        Whether predictions are before the softmax or sigmoid; else they are probabilities.
    ignore_class : int, optional
        A label that does not count.
    axis : int, default -1
        The axis of the outputs, or classes.
    """

    function = losses.sparse_categorical_crossentropy
    _direction = "down"

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(
            name,
            dtype,
            from_logits=checked_bool("from_logits", from_logits),
            ignore_class=None if ignore_class is None else integer("ignore_class", ignore_class),
            axis=integer("axis", axis),
        )

    def _counted(self, t: Array, values: Array, keep: Array | None) -> Array | None:
        ignored = self._fn_kwargs["ignore_class"]
        if ignored is None:
            return keep
        own = t.reshape(values.shape).astype(int) != ignored
        return own if keep is None else own & fitted("mask", keep, values.shape)
