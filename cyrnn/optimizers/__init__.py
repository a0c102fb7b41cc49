"""Optimizers: how weights follow their gradients, as in Keras.

``optimizer.apply(gradients, model)`` makes a step, in a training loop that you write.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyrnn.configurable import lookup
from cyrnn.notices.names import public
from cyrnn.objects import serialize
from cyrnn.optimizers import schedules
from cyrnn.optimizers.adam import Adam, Adamax, AdamW, Nadam
from cyrnn.optimizers.adaptive import Adadelta, Adafactor, Adagrad, Ftrl, RMSprop
from cyrnn.optimizers.momentum import SGD, Lion, Muon
from cyrnn.optimizers.optimizer import MODULE, Optimizer

__all__ = [
    "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Muon", "Nadam", "Optimizer",
    "RMSprop", "deserialize", "get", "schedules", "serialize",
]  # fmt: skip

# Names of Keras that are not here, and what to do without them.
_LEFT_OUT = {
    "LossScaleOptimizer": "gradients are of float32 under each policy; give the inner optimizer",
    "MultiOptimizer": "in a loop that you write, optimizer.apply(gradients, layer) of several optimizers",
    "ScheduleFreeAdamW": "AdamW with a schedule of cyrnn.optimizers.schedules is the nearest",
    "legacy": "the optimizers of cyrnn.optimizers read the files and take the arguments of older ones, but for `decay`",
}

_get, deserialize = lookup(MODULE)


def get(identifier: "str | Mapping[str, Any] | Optimizer | type[Optimizer] | None") -> Any:
    """The optimizer for a name such as "adam", a config or a class; optimizers and None are returned as they are.

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
    if isinstance(identifier, Optimizer):
        return identifier
    found = _get(identifier.lower() if isinstance(identifier, str) else identifier)
    if found is not None and not isinstance(found, Optimizer):
        raise ValueError(f"expected an optimizer, its name, or a dict, got {type(found).__name__}")
    return found


if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__, _LEFT_OUT)
