"""What scripts still use of Keras' `backend`. Here everything is NumPy."""

from cyrnn.objects import clear_session

__all__ = ["clear_session", "epsilon", "floatx"]


def epsilon() -> float:
    """The small number of Keras' formulas."""
    return 1e-7


def floatx() -> str:
    """The dtype of layers that are made without one."""
    return "float32"
