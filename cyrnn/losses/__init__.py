"""Losses: what a model is trained to make small, as in Keras.

``loss.value_and_gradient(y_true, y_pred)`` has the gradient for a pullback, in a training loop that you write.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyrnn.configurable import lookup
from cyrnn.losses.classes import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Dice,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    Tversky,
)
from cyrnn.losses.functions import (
    LossFunction,
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    cosine_similarity,
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
from cyrnn.losses.imbalanced import binary_focal_crossentropy, categorical_focal_crossentropy, dice, tversky
from cyrnn.losses.loss import MODULE, Loss
from cyrnn.notices.names import public
from cyrnn.objects import serialize

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]

_FUNCTIONS = {name: value for name, value in list(globals().items()) if isinstance(value, LossFunction)}
_SHORT = {
    "bce": binary_crossentropy,
    "kld": kl_divergence,
    "mae": mean_absolute_error,
    "mape": mean_absolute_percentage_error,
    "mse": mean_squared_error,
    "msle": mean_squared_logarithmic_error,
}
_NAMES = {**_FUNCTIONS, **_SHORT, **{name.upper(): function for name, function in _SHORT.items()}}

# Losses of Keras that are not here, and why.
_LEFT_OUT = {
    "ctc": "alignments of sequences are not computed",
    "circle": "similarities between all rows of a batch are not computed",
    "categorical_generalized_cross_entropy": "write it as a function of NumPy with an attribute `gradient`",
}
_LEFT_OUT |= {
    "CTC": _LEFT_OUT["ctc"],
    "Circle": _LEFT_OUT["circle"],
    "CategoricalGeneralizedCrossEntropy": _LEFT_OUT["categorical_generalized_cross_entropy"],
}

_get, deserialize = lookup(MODULE)


def get(identifier: str | Mapping[str, Any] | Loss | type[Loss] | LossFunction | None) -> Any:
    """The function for a name such as "mse", the loss for a class name or config; losses and None as they are.

    ValueError for anything else.

    Parameters
    ----------
    identifier : str, dict, class, object or None
        A name, a config, or what it stands for.

    Returns
    -------
    object or None
        What the identifier stands for; None stays None.
    """
    named = identifier
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":
        named = identifier.get("config")
    if isinstance(named, str) and named in _LEFT_OUT:
        raise ValueError(f"the loss {named!r} of Keras is not here: {_LEFT_OUT[named]}")
    return _NAMES[named] if isinstance(named, str) and named in _NAMES else _get(identifier)


if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__, _LEFT_OUT)
