"""Weights on their way into a plan: checked, and packed into panels as tiles.hpp reads them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class LaidOut(NamedTuple):
    """Weights in the order in which an engine reads them; None for those that it does not read.

    Parameters
    ----------
    features, depth : int
        The rows of the kernel, and with those of a recurrent kernel.
    kernels, kernels_t, panels, bias : array
        The kernels one above the other, the same transposed, the same in panels; and the bias.
    """

    features: int
    depth: int
    kernels: Array | None = None
    kernels_t: Array | None = None
    panels: Array | None = None
    bias: Array | None = None


def padded_width(units: int, columns: int, itemsize: int) -> int:
    """The width of all panels of `columns` columns together.

    What is left of the units has a last panel of the least power of two that holds it, of 16 bytes or more.
    """
    whole, rest = divmod(units, columns)
    width = 16 // itemsize if rest else 0
    while width < rest:
        width *= 2
    return whole * columns + width


def packed(kernels: Array, bias: Array | None, columns: int) -> tuple[Array, Array | None]:
    """kernels (depth, units) in panels (depth, columns), one after another, and bias (units) as wide as they are.

    The last panel is filled up with zeros.
    """
    depth, units = kernels.shape
    padded = np.zeros((depth, padded_width(units, columns, kernels.itemsize)), kernels.dtype)
    padded[:, :units] = kernels
    panels = np.empty(padded.size, kernels.dtype)
    for first in range(0, padded.shape[1], columns):
        panel = padded[:, first : first + columns]
        panels[depth * first :][: panel.size] = panel.ravel()
    return panels, None if bias is None else np.pad(bias, (0, padded.shape[1] - units))


def laid_out(
    kernel: Array, recurrent_kernel: Array | None, bias: Array | None, columns: int | None, transposed: bool
) -> LaidOut:
    """Weights in the order in which an engine reads them.

    Parameters
    ----------
    kernel, recurrent_kernel, bias : array
        Of any dtype as wide as that of the plan, so that indices can be laid out as weights are.
    columns : int or None
        Of a panel; None for an engine that reads no panels.
    transposed : bool
        Whether it reads the transposed kernels.
    """
    kernels = np.ascontiguousarray(kernel) if recurrent_kernel is None else np.concatenate([kernel, recurrent_kernel])
    features, depth = len(kernel), len(kernels)
    if columns is None:
        return LaidOut(features, depth, kernels, np.ascontiguousarray(kernels.T) if transposed else None, bias=bias)
    panels, wide = packed(kernels, bias, columns)
    return LaidOut(features, depth, panels=panels, bias=wide)


def in_parts(kernel: Array, parts: tuple[int, ...]) -> list[Array]:
    """The rows of a kernel in parts, whose lengths are in proportion to these numbers."""
    ends = np.cumsum(parts) * (len(kernel) // sum(parts))
    return np.split(kernel, ends[:-1])


def unpacked(panels: Array, depth: int, units: int, columns: int) -> Array:
    """The kernels (depth, units) of which `packed` has made panels."""
    padded = np.empty((depth, padded_width(units, columns, panels.itemsize)), panels.dtype)
    for first in range(0, padded.shape[1], columns):
        panel = padded[:, first : first + columns]
        panel[...] = panels[depth * first :][: panel.size].reshape(panel.shape)
    return padded[:, :units].copy()


def checked(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A C-contiguous array of this shape and dtype. Raises ValueError."""
    array = np.asarray(array, order="C")
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must have shape {shape} and dtype {dtype}, got {array.shape} and {array.dtype}")
    return array
