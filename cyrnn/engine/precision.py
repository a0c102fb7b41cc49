"""What products of float32 are computed in."""

from contextlib import AbstractContextManager
from typing import Any

PRECISIONS = ("float32", "bfloat16")


def set_precision(precision: str) -> None:
    """What products of float32 layers are computed in, in the whole process: "float32", the default, or "bfloat16".

    With "bfloat16" the operands of each product, which are inputs, states and weights, are rounded to bfloat16: to
    eight significant bits. Sums, biases, activations and states stay float32. Outputs are off by a hundredth or so:
    see the page about engines. It is never chosen but here, by ``predict(precision=...)``, and by the policies
    "bfloat16" and "mixed_bfloat16".

    It counts for calls, `predict`, `evaluate` and the outputs of `vjp`; for steppers made from now on; and for all
    layers that the engine computes in float32. `fit`, gradients and float64 layers ignore it.

    Parameters
    ----------
    precision : "float32" or "bfloat16"

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> cyrnn.set_precision("bfloat16")
    >>> cyrnn.get_precision()
    'bfloat16'
    >>> cyrnn.set_precision("float32")
    """
    from cyrnn.engine import program

    program.let_round(checked_precision(precision) == "bfloat16")


def get_precision() -> str:
    """What products of float32 layers are computed in, in calls from this thread.

    Returns
    -------
    str
        "float32" or "bfloat16".
    """
    from cyrnn.engine import program

    return "bfloat16" if program.rounds() else "float32"


def using(precision: str) -> AbstractContextManager[None]:
    """Context manager: within its block, calls from this thread compute products in this precision."""
    from cyrnn.engine import program

    return program.Rounding(checked_precision(precision) == "bfloat16")


def checked_precision(precision: Any) -> str:
    """One of `PRECISIONS`. Raises ValueError."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r:.100}")
    return precision
