"""What `help` says of losses: their docstrings are formulas, and their parameters mean the same everywhere."""

import inspect
from collections.abc import Iterable

_PARAMETERS = {
    "alpha": ("float", "The weight of one kind of errors, or of the truth, over the other."),
    "apply_class_balancing": ("bool", "Whether true elements count alpha, and others 1 - alpha."),
    "axis": ("int", "The axis of the outputs, or classes; of sums over several axes a tuple, and None is all."),
    "beta": ("float", "The weight of the other kind of errors."),
    "delta": ("float", "The error from which on the loss is linear."),
    "dtype": ("str", "The dtype that is computed in; None is that of the predictions."),
    "from_logits": ("bool", "Whether predictions are before the softmax or sigmoid; else they are probabilities."),
    "gamma": ("float", "How much less well-predicted elements count; 0 counts all alike."),
    "ignore_class": ("int", "A label that does not count."),
    "label_smoothing": ("float", "The share of each label that is spread over all classes; 0 to 1."),
    "name": ("str", "The name in logs."),
    "reduction": ("str or None", "What becomes of the values of all rows, as in `Loss`."),
}
_UNKNOWN = ("float", "As in the formula.")


def of_function(formula: str, options: Iterable[inspect.Parameter]) -> str:
    """The docstring of a function of `y_true`, `y_pred` and options."""
    arrays = [
        "y_true : array",
        "    The truth: of the shape of `y_pred`, or one that broadcasts to it; or labels of classes.",
        "y_pred : array (batch, ..., outputs)",
        "    The predictions.",
    ]
    result = "    A value for each row of predictions: their shape without the axis of outputs."
    return "\n".join([*_with_parameters(formula, arrays, options), "", "Returns", "-------", "array", result])


def of_class(summary: str, options: Iterable[inspect.Parameter]) -> str:
    """The docstring of a class whose constructor has these arguments."""
    return "\n".join(_with_parameters(summary, [], options))


def _with_parameters(text: str, lines: list[str], options: Iterable[inspect.Parameter]) -> list[str]:
    lines = [inspect.cleandoc(text), "", "Parameters", "----------", *lines]
    for option in options:
        kind, meaning = _PARAMETERS.get(option.name, _UNKNOWN)
        usual = "optional" if option.default is None else f"default {option.default}"
        lines += [f"{option.name} : {kind}, {usual}", f"    {meaning}"]
    return lines
