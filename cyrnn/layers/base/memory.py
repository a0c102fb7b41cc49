"""Which arrays have memory in common, or bytes of a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import byte_bounds

from cyrnn.layers.base.arguments import Array

_MOST_WORK = 10_000  # steps of NumPy's exact search for a common byte; where it takes more, arrays count as overlapping


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


@dataclass(frozen=True)
class _BytesOfAFile:
    """The bytes of a file from `first` up to `end`."""

    path: Path
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
    first, end = byte_bounds(array)
    at = mapped.offset - byte_bounds(mapped)[0]
    return _BytesOfAFile(Path(mapped.filename), first + at, end + at)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # it was removed
        return a == b
