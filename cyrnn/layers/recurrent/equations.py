"""Parts of the equations of cells in NumPy, with their ways back: for what the engine does not compute."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn import activations
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.engine_layer import applied
from cyrnn.layers.base.programs.derivatives import Slope, is_of_sums

# From the gradients of the new states to those of x, of the states, and of the weights by name.
WayBack = Callable[[Sequence[Array]], tuple[Array, list[Array], dict[str, Array]]]


class Product:
    """x . kernel, where dropout may have factors for x: one array for all gates, or a list with one for each.

    Parameters
    ----------
    x : array (batch, features)
    kernel : array (features, columns), the columns of one gate after another
    factors : array (batch, features), list of arrays, or None
    """

    def __init__(self, x: Array, kernel: Array, factors: Any = None) -> None:
        each = factors if isinstance(factors, list) else [factors]
        blocks = np.split(kernel, len(each), axis=1)
        self._parts = [
            (x.copy() if factor is None else x * factor, block, factor)
            for block, factor in zip(blocks, each, strict=True)
        ]

    def sums(self) -> Array:
        """The product (batch, columns). It is not kept: the way back does not read it."""
        return np.concatenate([dropped @ block for dropped, block, _ in self._parts], axis=1)

    def back(self, d_sums: Array) -> tuple[Array, Array]:
        """The gradients of x and of the kernel."""
        d_x: Any = 0
        d_kernel = []
        for (dropped, block, factor), d in zip(self._parts, np.split(d_sums, len(self._parts), axis=1), strict=True):
            d_dropped = d @ block.T
            d_x = d_x + (d_dropped if factor is None else d_dropped * factor)
            d_kernel.append(dropped.T @ d)
        return d_x, np.concatenate(d_kernel, axis=1)


class HasName(Protocol):
    """What `Applied` needs of a cell."""

    @property
    def name(self) -> str: ...


class Applied:
    """An activation of a cell, applied to sums (batch, units).

    Attributes
    ----------
    of : array (batch, units)
        What it returns.
    """

    def __init__(self, cell: HasName, activation: Any, sums: Array) -> None:
        self._cell, self._activation = cell, activation
        self.of = applied(activations.get(activation), sums).astype(sums.dtype, copy=False)
        self._saved = sums if is_of_sums(activation) else self.of

    def back(self, d_outputs: Array) -> Array:
        """The gradient of the sums. Raises ValueError for an activation without a derivative."""
        return Slope(self._cell.name, self._activation).back(self._saved, d_outputs)
