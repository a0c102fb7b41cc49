"""What scripts still use of Keras' `backend`. Here everything is NumPy."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cyrnn.dtypes import floatx, set_floatx
from cyrnn.notices.names import public
from cyrnn.objects import clear_session

__all__ = ["backend", "clear_session", "epsilon", "floatx", "get_value", "set_floatx", "set_value"]


def backend() -> str:
    """The name of what arrays are of: "numpy".

    Returns
    -------
    str
    """
    return "numpy"


def epsilon() -> float:
    """The small number of Keras' formulas.

    Returns
    -------
    float
    """
    return 1e-7


def get_value(x: Any) -> Any:
    """The value of a variable, a weight or a learning rate, as NumPy has it.

    Parameters
    ----------
    x : array
        A weight of a layer.

    Returns
    -------
    array
        A copy.
    """
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)


def set_value(x: Any, value: Any) -> None:
    """Give a variable or a learning rate another value. Raises TypeError for weights, which are read-only arrays.

    Parameters
    ----------
    x : array
        A weight of a layer.
    value : array or str
        What it is set to.
    """
    if not hasattr(x, "assign"):
        raise TypeError(
            f"x must be a variable or a learning rate, got {type(x).__name__}: weights are set by set_weights()"
        )
    x.assign(value)


if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
