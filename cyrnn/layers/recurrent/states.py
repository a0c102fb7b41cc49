"""The states of a recurrent layer: which it begins a call with, and those that a stateful one carries between calls."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.dtypes import DTypePolicy
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, as_array, checked_rows
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.sublayers import HasSublayers
from cyrnn.layers.recurrent import cell_protocol


class Carried(Layer):
    """The part of `RNN` that knows its states: `states` holds them nested, as `get_initial_state` does."""

    cell: Any
    stateful: bool
    states: list[Any] | None

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """The states of a call without `initial_state`: zeros (batch_size, size), or what the cell says.

        A list with one array per state; for a stack, with what each of its cells has.
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
            checked.append(np.broadcast_to(array, shape).astype(like.dtype, copy=False))
        return checked

    def begin_carrying(self, batch: int) -> None:
        """Carry what a call begins with, for so many rows."""
        if self.begins_with_zeros:
            like, dtype = self.get_initial_state(1), self.dtype_policy.variable_dtype
            zeros = [np.zeros((batch, *state.shape[1:]), dtype) for state in nest.flatten(like)]
            self.states = nest.pack(like, zeros)  # no copies: memory for them is taken when they are written to
        else:
            self.carry(self.get_initial_state(batch))

    @property
    def begins_with_zeros(self) -> bool:
        """Whether a call without `initial_state` begins with zeros, so that nobody has to make them."""
        return type(self).get_initial_state is Carried.get_initial_state and cell_protocol.begins_with_zeros(self.cell)

    def carry(self, states: list[Any]) -> None:
        """Keep copies of these states for the next call, in the dtype of the weights."""
        dtype = self.dtype_policy.variable_dtype
        self.states = nest.pack(states, [state.astype(dtype) for state in nest.flatten(states)])

    def reset_state(self, states: Any = None, batch_index: int | ArrayLike | None = None) -> None:
        """Set the states that a stateful layer carries, all of them or those of some rows.

        states : arrays (rows, size) as `initial_state` takes them; None is what the cell begins with, zeros mostly
        batch_index : the rows to set: an int, ints, or a bool for each; None is all

        Nothing happens without arguments where nothing is carried. Raises ValueError for wrong shapes or rows, or if
        the layer is not stateful, or not built.
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
            state[rows] = values
        self.states = nest.pack(self.states, changed)

    def reset_states(self, states: Any = None, batch_index: int | ArrayLike | None = None) -> None:
        """Keras 2's name of `reset_state`."""
        self.reset_state(states, batch_index)

    def stateful_rows(self) -> int | None:
        return None if self.states is None else len(nest.flatten(self.states)[0])


class SequenceLayer(Protocol):
    """What a call of `RNN` and of `Bidirectional` needs of the layer."""

    return_sequences: bool

    @property
    def name(self) -> str: ...

    @property
    def time_major(self) -> bool: ...

    @property
    def built(self) -> bool: ...

    @property
    def dtype_policy(self) -> DTypePolicy: ...

    @property
    def _nodes(self) -> deque[symbolic.Node]: ...

    @property
    def compute_output_spec(self) -> Callable[..., Any]: ...

    @property
    def call(self) -> Callable[..., Any]: ...

    def build(self, input_shape: Any) -> None: ...

    def layers_within(self) -> tuple[Any, ...]: ...

    def checked_inputs(self, inputs: ArrayLike) -> Array: ...

    def checked_call(self, sequences: Array, initial_state: Any, mask: ArrayLike | None) -> Any: ...

    def _record_activity(self, outputs: Any) -> None: ...


def checked_and_called(
    layer: SequenceLayer, sequences: ArrayLike, initial_state: Any, mask: Any, training: bool, count: int = 1
) -> Any:
    """A call of a recurrent layer that returns `count` outputs: nothing is made or moved if it fails.

    Time and batch change places for a layer that has the time first. Symbolic tensors give symbolic tensors.
    """
    if symbolic.among(sequences, initial_state, mask):
        if initial_state is not None:
            _check_symbolic_states(layer, sequences, initial_state)
        given = {"initial_state": initial_state, "mask": mask, "training": training}
        return symbolic.call(layer, (sequences,), given)
    x = layer.checked_inputs(sequences)
    if layer.time_major and mask is not None:
        mask = np.asarray(mask).swapaxes(0, 1)
    if not layer.built:  # what is wrong is said before anything is made
        layer.checked_call(x, initial_state, mask)
        layer.build(np.shape(sequences))
    with states_as_before_on_error(layer):
        result = layer.call(x, initial_state, mask=mask, training=training)
        layer._record_activity(result)
    if not (layer.time_major and layer.return_sequences):
        return result
    parts = result if isinstance(result, tuple) else (result,)
    parts = (*(output.swapaxes(0, 1) for output in parts[:count]), *parts[count:])
    return parts if isinstance(result, tuple) else parts[0]


def _check_symbolic_states(layer: SequenceLayer, sequences: Any, initial_state: Any) -> None:
    """Raises what a call with arrays of these shapes would say of the states."""
    batch, dtype = symbolic.common_batch((sequences, initial_state)), layer.dtype_policy.engine_dtype
    x, states = nest.mapped(lambda tensor: symbolic.placeholder(tensor, dtype, batch), [sequences, initial_state])
    layer.checked_call(layer.checked_inputs(x), states, None)


@contextlib.contextmanager
def states_as_before_on_error(layer: HasSublayers | SequenceLayer) -> Iterator[None]:
    """If the block fails, no state that the layer or one within it carries has moved."""
    carriers = [
        part for part in layer.layers_within() if getattr(part, "stateful", False) and isinstance(part, Carried)
    ]
    before = [part.states for part in carriers]
    try:
        yield
    except BaseException:
        for part, states in zip(carriers, before, strict=True):
            if states is None:  # built in the block
                part.reset_state()
            else:
                part.states = states
        raise
