"""How arguments are checked: each function returns the value in one form, or raises an error that names the argument.

Arguments may come from a file, so nothing here takes long, or much memory: sizes are below 2**63, shapes have at most
as many axes as an array can have, and messages show the beginning of what came.
"""

import sys
from collections.abc import Iterable
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyrnn.arrays import converted, shown, to_numpy
from cyrnn.dtypes import TEXT

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
LARGEST = sys.maxsize  # elements of an array, and so the length of an axis
MOST_AXES = 64  # of an array of NumPy

Array = NDArray[Any]
Shape = tuple[int | None, ...]


class LengthError(ValueError, IndexError):
    """Too few of something: of timesteps, axes, states. Keras raises IndexError here, wrong shapes are ValueErrors."""


def as_array(name: str, value: ArrayLike) -> Array:
    """`value` as an array of numbers: a view where its owner allows one. Raises TypeError or ValueError.

    A dtype that spells this machine's byte order, as those of zarr do, becomes the plain one, also by a view.
    """
    if value is None or isinstance(value, (list, tuple, str, bytes, int, float, complex)):
        raise ValueError(f"{name} must be an array, got {type(value).__name__}")
    array = value if type(value) is np.ndarray else to_numpy(name, value)
    if array.dtype.kind not in "fiub" and not np.can_cast(array.dtype, np.float32):  # bfloat16 is of kind "V"
        if array.ndim == 0 and array.dtype.kind == "O" and type(value) is not np.ndarray:  # a dict, a model, ...
            hint = ", which must be called first" if type(value) is FunctionType else ""
            raise TypeError(f"{name} must be an array of real numbers, got {type(value).__name__}{hint}")
        raise TypeError(f"{name} must be an array of real numbers, got {_what_else(name, value, array)}")
    return in_native_order(array) if array.dtype.byteorder == _NATIVE_ORDER else array


def _what_else(name: str, value: Any, array: Array) -> str:
    """What an array holds instead of numbers; of a table the column."""
    columns = getattr(value, "columns", ())
    wrong = [str(column) for column in columns if to_numpy(name, value[column]).dtype.kind not in "fiub"]
    return f"text or objects in column {wrong[0]!r}" if wrong else f"dtype {array.dtype}"


def check_no_text(layer: str, dtypes: Iterable[str]) -> None:
    """Raises ValueError for a dtype of text, which is for a layer that takes numbers."""
    if TEXT in dtypes:
        raise ValueError(
            f"layer {layer!r} takes numbers, and its input is text: put a TextVectorization, StringLookup or Hashing "
            "between"
        )


def in_native_order(array: Array) -> Array:
    """`array` in this machine's byte order, which its dtype does not spell: a copy only where it is in another."""
    if array.dtype.byteorder in "=|":
        return array
    plain = array.dtype.newbyteorder("=")
    return array.view(plain) if array.dtype.isnative else array.astype(plain)


def as_mask(mask: ArrayLike) -> Array:
    """A mask as an array of bools or numbers, of any shape. Raises ValueError and TypeError for what is none."""
    array = to_numpy("mask", mask)
    if array.dtype.kind not in "biuf" and not np.can_cast(array.dtype, np.float32):
        raise ValueError(f"mask must be an array of bools or numbers, got {_kind_of(mask)}")
    if array.ndim == 0:
        raise ValueError(f"mask must be an array with a batch axis, got {_kind_of(mask)}")
    return array


def _kind_of(value: Any) -> str:
    return f"dtype {value.dtype}" if isinstance(value, np.ndarray) and value.ndim else type(value).__name__


def checked_mask(mask: ArrayLike, batch: int, timesteps: int) -> Array:
    """A mask as a bool array (batch, timesteps), True for keep. Raises ValueError for other shapes, or no numbers."""
    array = as_mask(mask)
    if array.shape == (batch, timesteps, 1):
        array = array[:, :, 0]
    elif array.shape == (timesteps,) and batch == 1:
        array = array[None]
    if array.shape != (batch, timesteps):
        raise ValueError(f"mask must have shape {(batch, timesteps)}, got {array.shape}")
    return array.astype(bool, copy=False)


def is_true(name: str, value: Any) -> bool:
    """Whether the value of an option counts as True. Raises ValueError for an array of several."""
    try:
        return bool(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} must be a bool, got {shown(value)}: {error}") from error


def checked_option(name: str, value: Any) -> bool:
    """An option that is on or off, as a bool; 0 and 1 are too. Raises ValueError."""
    if not isinstance(value, (bool, int, np.bool_)):
        raise ValueError(f"{name} must be a bool, got {shown(value)}")
    return bool(value)


def checked_bool(name: str, value: Any) -> bool:
    """`value` if it is a bool. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be a bool, got {value!r}")
    return value


def is_size(value: Any, least: int = 0) -> bool:
    """Whether `value` is an integer from `least` up to the most elements that an array can have."""
    return not isinstance(value, bool) and hasattr(value, "__index__") and least <= value.__index__() <= LARGEST


def is_shape(lengths: Iterable[int]) -> bool:
    """Whether an array can have these lengths. NumPy counts those that are 0 as 1."""
    return size_of(length or 1 for length in lengths) <= LARGEST // 16  # elements of the largest dtype


def size_of(lengths: Iterable[int]) -> int:
    """The number of elements of an array of these lengths; more than `LARGEST` stands for any that no array could have.

    Unlike `math.prod`, it ends at the first product that is too large, so numbers from a file cannot make it slow.
    """
    size = 1
    for length in lengths:
        if length == 0:
            return 0
        if size <= LARGEST:
            size = size * length if length <= LARGEST else LARGEST + 1
    return min(size, LARGEST + 1)


def checked_size_of(what: str, lengths: Iterable[int]) -> int:
    """`size_of`, of lengths that an array can have. Raises ValueError for others."""
    shape = tuple(lengths)
    if size_of(shape) > LARGEST:
        raise ValueError(f"{what} would have more elements than an array can have, got {shown(shape)}")
    return size_of(shape)


def check_possible(what: str, shape: Iterable[int | None]) -> None:
    """Raises ValueError for a shape that no array can have: of too many axes, or one that is too long."""
    axes = tuple(shape)
    if len(axes) > MOST_AXES:
        raise ValueError(f"{what} would have {len(axes)} axes, but arrays have at most {MOST_AXES}")
    if any(n is not None and n > LARGEST for n in axes):
        raise ValueError(f"{what} would have the shape {shown(axes)}, but axes have a length of at most {LARGEST}")


def checked_shape(name: str, shape: Any) -> Shape:
    """A shape of at least one axis as a tuple of non-negative ints and None. Raises ValueError."""
    axes = shape if isinstance(shape, (list, tuple)) else ()
    if len(axes) > MOST_AXES:
        raise ValueError(f"{name} must have at most {MOST_AXES} axes, got {len(axes)}")
    if not axes or not all(n is None or is_size(n) for n in axes):
        raise ValueError(
            f"{name} must be a tuple of non-negative integers and None, none above {LARGEST}, got {shown(shape)}"
        )
    return tuple(None if n is None else n.__index__() for n in axes)


def checked_shapes(name: str, shapes: Any) -> Any:
    """A shape, or the shapes of several inputs in lists, tuples and dicts, each by `checked_shape`."""
    if isinstance(shapes, dict):
        return {key: checked_shapes(name, shape) for key, shape in shapes.items()}
    if isinstance(shapes, (list, tuple)) and any(isinstance(part, (list, tuple, dict)) for part in shapes):
        return [checked_shapes(name, shape) for shape in shapes]
    return checked_shape(name, shapes)


def checked_axes(layer: str, shape: Shape, axes: str) -> Shape:
    """`shape` if it has as many axes as `axes` names, such as "batch, features". Raises ValueError."""
    if len(shape) != axes.count(",") + 1:
        raise ValueError(f"inputs of {layer!r} must have the axes ({axes}), got shape {shape}")
    return shape


def checked_axis(layer: str, shape: Shape, axis: int) -> int:
    """`axis` of a shape, counted from its beginning. Raises ValueError where there is none."""
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"inputs of {layer!r} must have an axis {axis}, got shape {shape}")
    return axis % len(shape)


def known_axis(layer: str, shape: Shape, axis: int) -> int:
    """The length of an axis. Raises ValueError where there is none, or it is not known."""
    length = shape[checked_axis(layer, shape, axis)]
    if length is None:
        raise ValueError(f"layer {layer!r} needs to know the length of axis {axis} of its input, got shape {shape}")
    return length


def checked_axis_argument(axis: Any) -> int | list[int]:
    """An int, or a list of them. Raises TypeError."""
    given = axis if isinstance(axis, (list, tuple)) else [axis]
    if any(isinstance(n, bool) or not hasattr(n, "__index__") for n in given):
        raise TypeError(f"axis must be an integer or a list of integers, got {shown(axis)}")
    if len(given) > MOST_AXES or not all(-MOST_AXES <= n.__index__() < MOST_AXES for n in given):
        raise ValueError(f"axis must be one of at most {MOST_AXES} axes, or a list of such, got {shown(axis)}")
    return [n.__index__() for n in axis] if isinstance(axis, (list, tuple)) else axis.__index__()


def checked_number(name: str, value: Any) -> float:
    """A number that is not negative, as a Python number. Raises TypeError, or ValueError for None as Keras does."""
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        value = value.item()
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    if value is None or not value >= 0:
        raise ValueError(f"{name} must be a number of at least 0, got {shown(value)}")
    return value


def checked_sizes(name: str, value: Any, count: int, least: int = 1) -> tuple[int, ...]:
    """An int for all of `count` sizes, or a tuple of as many. Raises ValueError."""
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,) * count
    if len(sizes) != count or not all(is_size(n, least) for n in sizes):
        raise ValueError(f"{name} must be an integer or {count} of them, from {least} to {LARGEST}, got {shown(value)}")
    return tuple(n.__index__() for n in sizes)


def checked_data_format(value: Any) -> str:
    """The name of an order of axes: "channels_first", or "channels_last" for None too. Raises ValueError."""
    name = "channels_last" if value is None else str(value).lower()
    if name not in ("channels_last", "channels_first"):
        raise ValueError(f"data_format must be 'channels_last' or 'channels_first', got {shown(value)}")
    return name


def checked_int(name: str, value: Any) -> int:
    """A positive Python int from anything that is one. Raises TypeError or ValueError."""
    if isinstance(value, bool) or value is None or not hasattr(value, "__index__"):
        kind = ValueError if isinstance(value, (bool, float)) else TypeError  # as Keras has it for 2.5 and for "3"
        raise kind(f"{name} must be a positive integer, got {shown(value)}")
    if value.__index__() <= 0:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if value.__index__() > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}, as no array is longer; got {shown(value)}")
    return value.__index__()


def checked_rate(name: str, value: Any) -> float:
    """A dropout rate: clamped to [0, 1], as Keras does. Raises TypeError for what is not a number."""
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        value = value.item()
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number between 0 and 1, got {shown(value)}")
    if value != value:
        raise ValueError(f"{name} must be a number between 0 and 1, got nan")
    return float(min(1, max(0, value)))


def checked_rows(name: str, rows: int | ArrayLike | None, count: int) -> Array:
    """Row numbers below `count` from an int, ints, or a bool for each row; None is all. Raises ValueError."""
    if rows is None:
        return np.arange(count)
    given = np.atleast_1d(np.asarray(rows))
    if given.shape == (0,):
        return np.arange(0)
    if given.dtype == bool and given.shape == (count,):
        return np.flatnonzero(given)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not np.all((given >= -count) & (given < count)):
        raise ValueError(f"{name} must be rows from 0 to {count - 1}, got {rows!r:.100}")
    return given


def checked_states(states: Any, count: int, shape: tuple[int, int], dtype: np.dtype) -> list[Array]:
    """The states of a cell, contiguous and of this shape (batch, units); (1, units) and (units,) are repeated."""
    if not isinstance(states, (list, tuple)):
        if count > 1 and np.ndim(states) != 3:
            raise ValueError(f"states must hold {count} arrays (batch, units), got the shape {np.shape(states)}")
        states = [states] if count == 1 else [*states]
    if len(states) < count:
        some = "an array" if count == 1 else f"{count} arrays"
        got = f"{len(states)} arrays" if states else "an empty list"
        raise LengthError(f"states must hold {some} (batch, units), got {got}")
    checked = []
    for state in states[:count]:
        array = as_array("states", state)
        if array.shape != shape:
            if array.shape not in ((1, shape[1]), shape[1:]):
                raise ValueError(f"states must have shape {shape}, got {array.shape}")
            array = np.broadcast_to(array, shape)
        checked.append(np.require(converted(array, dtype), None, ["C", "A"]))
    return checked


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype, any_order: bool = False) -> None:
    """Raises ValueError unless `out` is an array that a result of this shape and dtype can be written to.

    With `any_order` the byte order does not count.
    """
    found = getattr(out, "dtype", None)
    found = found.newbyteorder("=") if any_order and isinstance(found, np.dtype) else found
    if not isinstance(out, np.ndarray) or out.shape != shape or found != dtype:
        got = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be an array of shape {shape} and dtype {dtype}, got {got}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
