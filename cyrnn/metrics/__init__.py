"""Metrics: what is measured of a model while it is trained or evaluated, as in Keras."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyrnn.arrays import shown
from cyrnn.configurable import lookup
from cyrnn.losses import (
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from cyrnn.metrics.accuracies import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from cyrnn.metrics.auc import AUC
from cyrnn.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from cyrnn.metrics.errors import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from cyrnn.metrics.functions import (
    binary_accuracy,
    categorical_accuracy,
    named,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from cyrnn.metrics.metric import MODULE, Metric
from cyrnn.metrics.reduction import Mean, MeanMetricWrapper, Sum
from cyrnn.metrics.scores import F1Score, FBetaScore, R2Score
from cyrnn.notices.names import public
from cyrnn.objects import custom_object, custom_object_scope, serialize, snake_case

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge",
    "KLDivergence", "LogCoshError", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanMetricWrapper",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Metric", "Poisson", "Precision", "PrecisionAtRecall",
    "R2Score", "Recall", "RecallAtPrecision", "RootMeanSquaredError", "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives",
    "binary_accuracy", "binary_crossentropy", "categorical_accuracy", "categorical_crossentropy", "categorical_hinge",
    "deserialize", "get", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "poisson", "serialize",
    "sparse_categorical_accuracy", "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy",
    "squared_hinge", "top_k_categorical_accuracy",
]  # fmt: skip

_LEFT_OUT = [
    "BinaryIoU", "ConcordanceCorrelation", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation",
]  # fmt: skip
_get, _ = lookup(MODULE)


def get(identifier: Any) -> Any:
    """The metric for a name such as "mse", a config or a class; functions, metrics and None are returned as they are.

    Raises ValueError for anything else.

    Parameters
    ----------
    identifier : str, dict, class, object or None
        A name, a config, or what it stands for.

    Returns
    -------
    object or None
        What the identifier stands for; None stays None.
    """
    name = identifier.get("class_name") if isinstance(identifier, Mapping) else identifier
    if isinstance(name, str) and name in {*_LEFT_OUT, *map(snake_case, _LEFT_OUT)} and custom_object(name) is None:
        raise ValueError(f"the metric {shown(name)} of Keras is not in cyrnn")
    function = named(identifier)
    return _get(identifier) if function is None else function


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The metric or function that `config` describes; names are looked up in `custom_objects` first.

    Parameters
    ----------
    config : dict
        What `serialize`, or `get_config`, has returned.
    custom_objects : mapping of str to class or function, optional
        Custom classes and functions by name; these go before the fixed list.

    Returns
    -------
    object
        What the config describes.
    """
    with custom_object_scope(custom_objects):
        return get(config)


if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
