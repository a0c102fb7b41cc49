"""The states of a recurrent layer: which it begins a call with, and those that a stateful one carries between calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import converted, quietly
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array, checked_rows
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.recurrent import cell_protocol


class Carried(Layer):
    """The part of `RNN` that knows its states: `states` holds them nested, as `get_initial_state` does."""

    cell: Any
    stateful: bool
    states: list[Any] | None

    @property
    def carries_states(self) -> bool:
        return self.stateful

    def _set_by_build(self) -> dict[str, Any]:
        return {**super()._set_by_build(), "states": self.states}

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """The states of a call without `initial_state`: zeros (batch_size, size), or what the cell says.

        A list with one array per state; for a stack, with what each of its cells has.

        Parameters
        ----------
        batch_size : int

        Returns
        -------
        list of arrays
        """
        dtype = (self.cell if isinstance(self.cell, Layer) else self).dtype_policy.compute_dtype
        states = cell_protocol.zero_states(self.cell, batch_size, dtype)
        return states if nest.is_nested(states) else [states]

    def beginning_states(self, initial_state: Any, batch: int) -> list[Array] | None:
        """The states that a call begins with, one array each; None for zeros."""
        carried = nest.flatten(self.states) if self.states is not None else None
        if carried is not None and len(carried[0]) != batch:
            raise ValueError(
                f"stateful layer {self.name!r} carries states of {len(carried[0])} rows, got a batch of {batch}"
            )
        if initial_state is not None:
            return self.checked_states("initial_state", initial_state, batch)
        if carried is not None:
            return [state.copy() for state in carried]
        return None if self.begins_with_zeros else nest.flatten(self.get_initial_state(batch))

    def checked_states(self, name: str, states: Any, batch: int) -> list[Array]:
        """One array (batch, size) per state from a flat or nested list; (1, size) and (size,) are repeated."""
        expected = nest.flatten(self.get_initial_state(1))
        given = nest.flatten(states)
        if len(given) != len(expected):
            raise ValueError(f"{name} must hold {len(expected)} arrays, got {len(given)}")
        checked = []
        for state, like in zip(given, expected, strict=True):
            array, shape = as_array(name, state), (batch, *like.shape[1:])
            if array.shape not in (shape, (1, *shape[1:]), shape[1:]):
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            checked.append(converted(np.broadcast_to(array, shape), like.dtype))
        return checked

    def begin_carrying(self, batch: int) -> None:
        """Carry what a call begins with, for so many rows."""
        if self.begins_with_zeros:
            like, dtype = self.get_initial_state(1), self.dtype_policy.variable_dtype
            zero = np.zeros((), dtype)  # in memory once: a file may name any batch size
            zeros = [np.broadcast_to(zero, (batch, *state.shape[1:])) for state in nest.flatten(like)]
            self.states = nest.pack(like, zeros)  # not written to: a call puts others in their place
        else:
            self.carry(self.get_initial_state(batch))

    @property
    def begins_with_zeros(self) -> bool:
        """Whether a call without `initial_state` begins with zeros, which then need not be made."""
        return type(self).get_initial_state is Carried.get_initial_state and cell_protocol.begins_with_zeros(self.cell)

    @quietly
    def carry(self, states: list[Any]) -> None:
        """Keep copies of these states for the next call, in the dtype of the weights."""
        self.states = self._copied(states)

    def carry_flat(self, states: Sequence[Array]) -> None:
        """As `carry`, with one array for each state, in order."""
        vars(self).update(self.carrying(states))

    @quietly
    def carrying(self, states: Sequence[Array]) -> dict[str, Any]:
        """The attributes of a layer that carries copies of these states: one array for each, in order."""
        return {
            "states": self._copied(nest.pack(self.get_initial_state(1), [self.returned(state) for state in states]))
        }

    def _copied(self, states: list[Any]) -> list[Any]:
        dtype = self.dtype_policy.variable_dtype
        return nest.pack(states, [state.astype(dtype) for state in nest.flatten(states)])

    def reset_state(self, states: Any = None, batch_index: int | ArrayLike | None = None) -> None:
        """Set the states that a stateful layer carries, all of them or those of some rows.

        Nothing happens without arguments where nothing is carried.

        Parameters
        ----------
        states : arrays (rows, size), optional
            As `initial_state` takes them; None is what the cell begins with, zeros mostly.
        batch_index : int, ints or bools, optional
            The rows to set; None is all.

        Raises
        ------
        ValueError
            For wrong shapes or rows, or if the layer is not stateful, or not built.
        """
        if self.states is None:
            if states is None and batch_index is None:
                return
            missing = "is not built" if self.stateful else "is not stateful"
            raise ValueError(f"layer {self.name!r} {missing}: it carries no states that could be set")
        carried = nest.flatten(self.states)
        rows = checked_rows("batch_index", batch_index, len(carried[0]))
        new = nest.flatten(self.get_initial_state(len(rows)))
        if states is not None:
            new = self.checked_states("states", states, len(rows))
        changed = [state.copy() for state in carried]
        for state, values in zip(changed, new, strict=True):
            state[rows] = converted(values, state.dtype)
        self.states = nest.pack(self.states, changed)

    def reset_states(self, states: Any = None, batch_index: int | ArrayLike | None = None) -> None:
        """Keras 2's name of `reset_state`."""
        self.reset_state(states, batch_index)

    def stateful_rows(self) -> int | None:
        return None if self.states is None else len(nest.flatten(self.states)[0])
