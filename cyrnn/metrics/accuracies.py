"""Accuracies."""

from cyrnn.configurable import number, positive_integer
from cyrnn.layers.base.arguments import checked_bool
from cyrnn.metrics import functions
from cyrnn.metrics.metric import MODULE
from cyrnn.metrics.reduction import OfFunction
from cyrnn.objects import register


@register(MODULE)
class Accuracy(OfFunction):
    """How often predictions are the truth.

    Parameters
    ----------
    name : str, optional, default "accuracy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = functions.accuracy
    _direction = "up"

    def __init__(self, name: str | None = "accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class BinaryAccuracy(OfFunction):
    """The mean of `binary_accuracy`.

    Parameters
    ----------
    name : str, optional, default "binary_accuracy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    threshold : float, default 0.5
        A prediction above it is positive.
    """

    function = functions.binary_accuracy
    _direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype, threshold=number("threshold", threshold))


@register(MODULE)
class CategoricalAccuracy(OfFunction):
    """The mean of `categorical_accuracy`.

    Parameters
    ----------
    name : str, optional, default "categorical_accuracy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = functions.categorical_accuracy
    _direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class SparseCategoricalAccuracy(OfFunction):
    """The mean of `sparse_categorical_accuracy`.

    Parameters
    ----------
    name : str, optional, default "sparse_categorical_accuracy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = functions.sparse_categorical_accuracy
    _direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype)


@register(MODULE)
class TopKCategoricalAccuracy(OfFunction):
    """The mean of `top_k_categorical_accuracy`.

    Parameters
    ----------
    k : int, default 5
        How many of the largest predictions count.
    name : str, optional, default "top_k_categorical_accuracy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    """

    function = functions.top_k_categorical_accuracy
    _direction = "up"

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(name, dtype, k=positive_integer("k", k))


@register(MODULE)
class SparseTopKCategoricalAccuracy(OfFunction):
    """The mean of `sparse_top_k_categorical_accuracy`.

    Parameters
    ----------
    k : int, default 5
        How many of the largest predictions count.
    name : str, optional, default "sparse_top_k_categorical_accuracy"
        The name in logs.
    dtype : str, optional
        "float32" or "float64", in which batches are computed; None is float32.
    from_sorted_ids : bool, default False
        Whether predictions are the classes themselves, best first, not their scores.
    """

    function = functions.sparse_top_k_categorical_accuracy
    _direction = "up"

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: str | None = None,
        from_sorted_ids: bool = False,
    ) -> None:
        ids = checked_bool("from_sorted_ids", from_sorted_ids)
        super().__init__(name, dtype, k=positive_integer("k", k), from_sorted_ids=ids)
