"""Arguments as NumPy's arrays, and their conversion to other dtypes.

NaN and infinity are values like others: what is too large for a dtype, or not a number, is computed as Keras and NumPy
define it, and NumPy warns of nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Decorates functions that compute with NumPy and call no code of the user, whose warnings are the user's. Only a
# decorator: one object cannot be entered by several threads in a `with` statement.
quietly = np.errstate(all="ignore")


def to_numpy(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of any dtype: a view where its owner allows one.

    Raises TypeError, or ValueError for nested lists of no common shape, that names the argument. Tensors of other
    packages refuse in their own ways, such as those of torch that require gradients or are on a GPU.
    """
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got {type(value).__name__}: {error}") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} must be an array that NumPy can read, got {type(value).__name__}: {error}") from error


def converted(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """`array` in `dtype`, itself where it has that; what the dtype cannot hold becomes infinite."""
    return array if array.dtype == dtype else _converted(array, dtype)


@quietly
def _converted(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    return array.astype(dtype)


@quietly
def to_integers(name: str, array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Numbers as integers, without their fractions. Raises ValueError for NaN, and for what the dtype cannot hold.

    A processor makes some integer of these too, and each kind of processor another one.
    """
    limits = np.iinfo(dtype)
    if array.size and array.dtype.kind not in "biu":
        low, high = float(array.min()), float(array.max())
        if not (low > limits.min - 1.0 or low == limits.min) or not high < limits.max + 1.0:
            raise ValueError(f"{name} must be integers of {limits.dtype}, got {low} to {high}")
    return array.astype(dtype)
