"""StackedRNNCells: several cells as one. Reference: ``keras.layers.StackedRNNCells``, Keras 3."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.recurrent import cell_protocol
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell


@objects.register("keras.layers")
class StackedRNNCells(Layer):
    """Cells on top of each other, as one cell: the output of each is the input of the next.

    Parameters
    ----------
    cells : list of cells, of this package or any objects with ``call(inputs, states)`` and `state_size`

    Call
    ----
    ``stack(inputs, states, training=False) -> (output, new_states)`` with inputs (batch, features), and for each
    cell its states: an array where it has one, or a list of arrays. The new states come in the form of the old ones.
    Raises ValueError for another number of states than of cells; Keras leaves out the cells that have none.
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Unpack[LayerOptions]) -> None:
        if not nest.is_nested(cells) or not cells:
            raise ValueError(f"cells must be a list of at least one cell, got {cells!r}")
        for cell in cells:
            cell_protocol.check_cell(cell)
        super().__init__(**kwargs)
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The state size of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The width of the last cell's output."""
        return cell_protocol.output_size(self.cells[-1])

    @property
    def engine_cells(self) -> list[RecurrentCell] | None:
        """The cells whose plans, one behind the other, compute what `call` does; None if that takes more."""
        cls = type(self)
        as_it_is = cls.call is StackedRNNCells.call and cls.__call__ is StackedRNNCells.__call__
        parts = [getattr(cell, "engine_cells", None) for cell in self.cells]
        if not as_it_is or self.activity_regularizer is not None or None in parts:
            return None
        cells = [cell for part in parts for cell in part]  # type: ignore[union-attr]
        dtype = self.dtype_policy.engine_dtype  # which a stack casts what goes through it to
        return cells if all(cell.dtype_policy.engine_dtype == dtype for cell in cells) else None

    @property
    def begins_with_zeros(self) -> bool:
        """Whether `get_initial_state` is the one of this class, and so with each cell."""
        as_it_is = type(self).get_initial_state is StackedRNNCells.get_initial_state
        return as_it_is and all(cell_protocol.begins_with_zeros(cell) for cell in self.cells)

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        shapes: dict[int, Shape] = {}  # a cell may be there twice
        for cell in self.cells:
            if isinstance(cell, Layer):
                shapes.setdefault(id(cell), input_shape)
            input_shape = (input_shape[0], cell_protocol.output_size(cell))
        return list(shapes.values())

    # ------------------------------------------------------------ one step

    def __call__(self, inputs: ArrayLike, states: Any, training: bool = False) -> tuple[Array, Any]:
        return super().__call__(inputs, states, training=training)

    def call(self, inputs: Array, states: Any, training: bool = False) -> tuple[Array, list[Any]]:
        if not nest.is_nested(states) or len(states) != len(self.cells):
            got = len(states) if nest.is_nested(states) else f"a {type(states).__name__}"
            raise ValueError(f"states must be a list with the states of each of {len(self.cells)} cells, got {got}")
        new_states = []
        for cell, given in zip(self.cells, states, strict=True):
            inputs, new = cell_protocol.step(cell, inputs, list(given) if nest.is_nested(given) else [given], training)
            new_states.append(nest.pack(given, nest.flatten(new)))
        return inputs, new_states

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        """One step and its pullback: as `Layer.vjp`, where y is (output, new_states).

        Parameters
        ----------
        x : array (batch, features)
        initial_state : list, optional
            The states of each cell.
        mask
            Is not used.
        training : bool
            Whether dropout is on.

        Returns
        -------
        y, pullback
        """
        self._check_no_override()
        from cyrnn.layers.recurrent.python_gradients import of_stack

        return of_stack(self, x, initial_state, training)

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """The states that a sequence begins with: for each cell what its `get_initial_state` returns, else zeros.

        Parameters
        ----------
        batch_size : int
            The number of sequences.

        Returns
        -------
        list

        Raises
        ------
        TypeError
            Without a batch size.
        """
        if batch_size is None:
            raise TypeError("get_initial_state() needs a batch_size, got None")
        return [cell_protocol.zero_states(cell, batch_size, self.dtype_policy.compute_dtype) for cell in self.cells]

    # ------------------------------------------------------------ config

    def described(self) -> dict[str, Any]:
        return {"units": self.state_size, **super().described()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [objects.serialize(cell) for cell in self.cells]}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, "cells": [objects.revived(cell, "keras.layers") for cell in config["cells"]]}
