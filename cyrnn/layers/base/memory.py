"""Whose memory an array is: what a call returns is its caller's own, what is written is not read meanwhile."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array

if TYPE_CHECKING:
    from pathlib import Path

_MOST_WORK = 10_000  # steps of NumPy's exact search for a common byte; where it takes more, arrays count as overlapping


def owned(outputs: Any, inputs: Any, copied: bool) -> Any:
    """Make the outputs of a call its caller's own: writeable, and in memory of which no one else has a part.

    Parameters
    ----------
    outputs : array, or a structure of arrays
        What a layer has computed. Layers that only move numbers may return memory of their inputs, or one array twice.
    inputs : array, or a structure of arrays
        The arrays that the layer read.
    copied : bool
        Whether to copy all outputs: where code of the user computed them, their memory may be anything.

    Returns
    -------
    array, or a structure of arrays
        As `outputs`, with copies for arrays of memory that is the inputs', another output's, or not NumPy's; for
        read-only arrays; and for parts of larger arrays, which would keep all of them in memory.
    """
    arrays = [inputs] if isinstance(inputs, np.ndarray) else nest.leaves(inputs)
    taken = {id(_owner(part)) for part in arrays if isinstance(part, np.ndarray)}
    return _owned(outputs, taken, copied)


def _owned(outputs: Any, taken: set[int], copied: bool) -> Any:
    if isinstance(outputs, np.ndarray):
        owner = _owner(outputs)
        if copied or id(owner) in taken or not _is_all_of(outputs, owner):
            owner = outputs = np.array(outputs, order="C")
        taken.add(id(owner))
        return outputs
    if isinstance(outputs, dict):
        return {key: _owned(part, taken, copied) for key, part in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        parts = [_owned(part, taken, copied) for part in outputs]
        if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
            return type(outputs)(*parts)  # a named tuple
        return parts if isinstance(outputs, list) else tuple(parts)
    return outputs


def _owner(array: Array) -> Array:
    """The array whose memory, or view of memory that is not NumPy's, an array is or shows a part of."""
    base = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    return array


def _is_all_of(array: Array, owner: Array) -> bool:
    """Whether an array may be written to, and has all the memory that its owner has allocated."""
    return type(array) is np.ndarray and array.flags.writeable and owner.flags.owndata and array.nbytes == owner.nbytes


def check_apart(name: str, written: Array, read: Mapping[str, Iterable[Array]]) -> None:
    """Check that what is written changes nothing that is still read.

    Parameters
    ----------
    name : str
        What messages call `written`.
    written : array
        The array that results are written to.
    read : mapping of str to arrays
        The arrays that are read, by what messages call them.

    Raises
    ------
    ValueError
        If `written` has bytes in common with an array that is read, in memory or in a file that both map.
    """
    for other, arrays in read.items():
        if any(overlap(written, array) for array in arrays):
            raise ValueError(
                f"{name} must not overlap {other}, which is still read while {name} is written: "
                f"got arrays with bytes in common. Copy one of them, or use another file"
            )


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays have a byte in common: in memory, or in a file that both are maps of."""
    if np.may_share_memory(a, b):
        try:
            return np.shares_memory(a, b, max_work=_MOST_WORK)  # type: ignore[arg-type]  # any number, in truth
        except np.exceptions.TooHardError:
            return True
    of_a, of_b = _bytes_of_a_file(a), _bytes_of_a_file(b)
    return (
        of_a is not None
        and of_b is not None
        and max(of_a.first, of_b.first) < min(of_a.end, of_b.end)
        and _same_file(of_a.path, of_b.path)
    )


class _BytesOfAFile(NamedTuple):
    """The bytes of a file from `first` up to `end`."""

    path: "Path"
    first: int
    end: int


def _bytes_of_a_file(array: Array) -> _BytesOfAFile | None:
    """Between which bytes of a file an array is, if it is a memory map or a view of one."""
    mapped = None
    part: object = array
    while isinstance(part, np.ndarray):
        if isinstance(part, np.memmap) and part.filename is not None and not isinstance(part.base, np.ndarray):
            mapped = part
        part = part.base
    if mapped is None or not array.size:
        return None
    assert mapped.filename is not None  # see above
    from pathlib import Path

    first, end = byte_bounds(array)
    at = mapped.offset - byte_bounds(mapped)[0]
    return _BytesOfAFile(Path(mapped.filename), first + at, end + at)


def _same_file(a: "Path", b: "Path") -> bool:
    try:
        return a.samefile(b)
    except OSError:  # it was removed
        return a == b
