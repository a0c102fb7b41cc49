"""Arrays between pages that fault: what reads or writes beyond them ends the process."""

import ctypes
import math
import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

PAGE = mmap.PAGESIZE
PATTERN = 0xFF  # of which floats are NaN
PROT_NONE, PROT_READ = 0, 1  # as Linux, macOS and the BSDs number them


mprotect = ctypes.CDLL(None, use_errno=True).mprotect
mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def protect(address: int, size: int, protection: int) -> None:
    """Leave nothing allowed in these pages but what `protection` names."""
    if mprotect(address, size, protection) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


class Fenced:
    """Memory of an array, one end of which lies at a page that faults; its other end is less than a page from another.

    What is left of the memory, beside the array and between its rows, holds a pattern. Of floats that is NaN, which a
    result shows if it was read.

    Parameters
    ----------
    shape, dtype
        Of `array`.
    place : "lower" or "upper"
        Which end lies at a page that faults.
    strides : sequence of int, optional
        Of `array`, in elements and of either sign; C-contiguous by default.
    values : array, optional
        What `array` holds; a write to it faults then. Without values it holds the pattern, and is there to be filled.

    Attributes
    ----------
    array : numpy.ndarray
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: DTypeLike,
        place: str,
        strides: Sequence[int] | None = None,
        values: np.ndarray | None = None,
    ) -> None:
        item = np.dtype(dtype).itemsize
        if strides is None:
            strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        reach = [(count - 1) * stride * item for count, stride in zip(shape, strides, strict=True)]
        before = -sum(r for r in reach if r < 0)  # bytes from its first byte in memory to its first element
        size = 0 if 0 in shape else before + sum(r for r in reach if r > 0) + item
        between = -(-size // PAGE) * PAGE
        start = PAGE if place == "lower" else PAGE + between - size
        memory = mmap.mmap(-1, between + 2 * PAGE)
        everything = np.frombuffer(memory, np.uint8)
        self._between = everything[PAGE : PAGE + between]
        self._between[:] = PATTERN
        self.array: np.ndarray = np.ndarray(
            shape, dtype, memory, start + (before if size else 0), [s * item for s in strides]
        )
        first = everything.ctypes.data
        protect(first, PAGE, PROT_NONE)
        protect(first + PAGE + between, PAGE, PROT_NONE)
        if values is not None:
            self.array[...] = values
            protect(first + PAGE, between, PROT_READ)

    def filled(self) -> np.ndarray:
        """A copy of `array`, which was filled. AssertionError if the pattern beside it is not what it was."""
        copy = self.array.copy()
        self.array.view(f"V{self.array.itemsize}")[...] = np.void(bytes([PATTERN] * self.array.itemsize))
        assert np.all(self._between == PATTERN), "bytes beside an array that was to be filled have changed"
        return copy


def random_strides(rng: np.random.Generator, shape: Sequence[int], contiguous_rows: bool = False) -> list[int]:
    """Strides in elements for an array of this shape: axes in any order, of either sign, with gaps or without.

    With `contiguous_rows` the last axis lies as in a C-contiguous array.
    """
    axes = [int(axis) for axis in rng.permutation(len(shape))]
    if contiguous_rows:
        axes = [len(shape) - 1, *(axis for axis in axes if axis != len(shape) - 1)]
    strides, length = [0] * len(shape), 1
    for axis in axes:  # the one with the least stride first
        if not (contiguous_rows and axis == len(shape) - 1):
            length = length * int(rng.choice([1, 1, 2])) + int(rng.choice([0, 0, 3]))
            strides[axis] = length * int(rng.choice([1, -1]))
        else:
            strides[axis] = 1
        length *= max(1, shape[axis])
    return strides
