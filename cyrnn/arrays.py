"""Arguments as NumPy's arrays, their conversion to other dtypes, and how messages show them.

NaN and infinity are values like others: what is too large for a dtype, or not a number, is computed as Keras and NumPy
define it, and NumPy warns of nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_MOST_SHOWN = 100  # characters of a value in a message
_MOST_ELEMENTS = 8  # of an array that is shown

# Decorates functions that compute with NumPy and call no code of the user, whose warnings are the user's. Only a
# decorator: one object cannot be entered by several threads in a `with` statement.
quietly = np.errstate(all="ignore")


def to_numpy(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of any dtype: a view where its owner allows one.

    Raises TypeError, or ValueError for nested lists of no common shape, that names the argument. Tensors of other
    packages refuse in their own ways, such as those of torch that require gradients or are on a GPU. What has only
    `__getitem__`, such as a dataset of batches, is refused: it may never end.
    """
    if _is_only_indexed(value):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}, which NumPy cannot view")
    try:
        array = np.asarray(value)
        return _of_table(value, array) if array.dtype.kind == "O" and hasattr(value, "iloc") else array
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got {type(value).__name__}: {error}") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} must be an array that NumPy can read, got {type(value).__name__}: {error}") from error


def _of_table(table: Any, array: NDArray[Any]) -> NDArray[Any]:
    """The numbers of a table or column of pandas, whose dtypes may allow that some are missing (Int64): these are NaN.

    `array` is returned where there is anything else.
    """
    kinds = {getattr(dtype, "kind", "O") for dtype in (table.dtypes if table.ndim == 2 else [table.dtype])}
    if not kinds <= set("fiub"):
        return array
    whole = kinds <= set("iub") and not np.any(table.isna())
    found: NDArray[Any] = table.to_numpy("int64") if whole else table.to_numpy("float64", na_value=np.nan)
    return found


def _is_only_indexed(value: Any) -> bool:
    """Whether NumPy would take the elements of a value one by one, until an index raises IndexError."""
    kind = type(value)
    if not hasattr(kind, "__getitem__") or hasattr(kind, "__iter__"):
        return False
    if any(hasattr(value, name) for name in ("__array__", "__array_interface__", "__array_struct__")):
        return False
    try:
        memoryview(value)
    except (TypeError, BufferError):
        return True
    return False


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
    if array.size and not np.can_cast(array.dtype, limits.dtype):
        low, high = array.min().item(), array.max().item()
        if not (low > limits.min - 1.0 or low == limits.min) or not high < limits.max + 1.0:
            raise ValueError(f"{name} must be integers of {limits.dtype}, got {low} to {high}")
    return array.astype(dtype)


def shown(value: Any) -> str:
    """What a message shows of a value: the beginning of its `repr`, also of a number with thousands of digits.

    Of an array of many elements it is the shape and the dtype.
    """
    if isinstance(value, np.ndarray) and value.size > _MOST_ELEMENTS:
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, (str, bytes, list, tuple)):
        value = value[:_MOST_SHOWN]  # its `repr` is longer, and need not be made whole
    try:
        return f"{value!r:.{_MOST_SHOWN}}"
    except ValueError:  # Python refuses to write numbers of more than 4300 digits by default
        return f"a {type(value).__name__} with a number of thousands of digits"


def array_of_numbers(name: str, value: Any, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """An array of a number, or of numbers in lists, as configs hold it; an array is returned as it is, or converted.

    What is in lists is checked before NumPy sees it, which would make each text as long as the longest one. Raises
    ValueError for what is no real number or does not fit in the dtype, and for lists of different lengths.
    """
    if hasattr(value, "__array__"):
        value = to_numpy(name, value)
    else:
        pending = [value]
        while pending:
            part = pending.pop()
            if isinstance(part, (list, tuple)):
                pending += part
            elif not isinstance(part, (int, float)) and not hasattr(part, "__array__"):
                raise ValueError(f"{name} must be a real number or an array of them, got {shown(part)}")
    try:
        array = np.asarray(value, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{name} must be a real number or an array of them, in lists of the same lengths: {error}"
        ) from None
    if array.dtype.kind not in "fiub" and not np.can_cast(array.dtype, np.float32):
        raise ValueError(f"{name} must be a real number or an array of them, of 64 bits at most, got {shown(value)}")
    return array
