"""What is known of any cell: an object with ``call(inputs, states)`` and `state_size`, of Keras' own or of the user's.

It may have `output_size`, ``get_initial_state(batch_size)``, and a parameter `training` of its `call`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.signatures import accepted


def check_cell(cell: Any) -> None:
    """Raises ValueError for what is not a cell."""
    if not callable(getattr(cell, "call", None)):
        raise ValueError(f"cell must have a method `call(inputs, states)`, got {cell!r}")
    if not state_sizes(cell) or not all(type(n) is int and n >= 0 for n in state_sizes(cell)):
        got = f"{getattr(cell, 'state_size', None)!r} of a {type(cell).__name__}"
        raise ValueError(f"cell must have a `state_size`, an int or a list or tuple of ints, got {got}")


def state_sizes(cell: Any) -> list[Any]:
    """The sizes of all states of the cell, in order."""
    return nest.flatten(getattr(cell, "state_size", None))


def output_size(cell: Any) -> int:
    """The width of the cell's output: its `output_size`, else that of its first state. Raises ValueError."""
    size = getattr(cell, "output_size", None)
    if size is None:
        return state_sizes(cell)[0]
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise ValueError(f"output_size of the cell {cell!r} must be an integer, got {size!r}")
    return size.__index__()


def zero_states(cell: Any, batch: int, dtype: DTypeLike) -> Any:
    """The states of a call that is given none: arrays in the lists that the cell's own states come in."""
    if callable(getattr(cell, "get_initial_state", None)):
        states = cell.get_initial_state(batch_size=batch)
        leaves = [np.asarray(state) for state in nest.flatten(states)]
        return nest.pack(states, leaves) if nest.is_nested(states) else leaves[0]
    states = [np.zeros((batch, size), dtype) for size in state_sizes(cell)]
    return states if nest.is_nested(cell.state_size) else states[0]


def begins_with_zeros(cell: Any) -> bool:
    """Whether `zero_states` gives zeros for certain, so that nobody has to make them."""
    return bool(getattr(cell, "begins_with_zeros", False)) or not hasattr(cell, "get_initial_state")


def entry(cell: Any) -> Callable[..., Any]:
    """What to call: the cell itself, as a layer calls another; or its `call` where it cannot be called."""
    if isinstance(cell, Layer):
        return cell.inner_call
    return cell if callable(cell) else cell.call


def step(cell: Any, inputs: Array, states: Sequence[Any], training: bool) -> tuple[Array, Any]:
    """One call of the cell. Raises ValueError if it does not return an output and as many states as it was given."""
    options = accepted(getattr(cell.call, "__func__", cell.call), training=training)
    result = entry(cell)(inputs, states, **options)
    if not nest.is_nested(result) or len(result) != 2:
        raise ValueError(f"the cell {cell!r} must return (output, new_states), got {type(result).__name__}")
    output, new_states = result
    expected = [np.shape(state) for state in nest.flatten(states)]
    got = [np.shape(state) for state in nest.flatten(new_states)]
    if got != expected:
        raise ValueError(f"the cell {cell!r} returned states of shapes {got}, expected {expected}")
    return np.asarray(output), new_states
