"""The recurrence timestep by timestep in Python, for cells and activations that the engine does not know."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.recurrent import cell_protocol
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell

Step = Callable[[Any, Array, Any, bool], tuple[Array, Any]]


def run_cell(
    cell: Any,
    x: Array,
    states: Any,
    keep: Array | None,
    training: bool,
    *,
    go_backwards: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
    step: Step = cell_protocol.step,
) -> tuple[Array, Any]:
    """The output and the final states of any cell over x (batch, timesteps, ...).

    A masked row keeps all its states, and its output is the last one that it emitted, zeros before the first. `step`
    makes one call of the cell.
    """
    within = cell.layers_within() if isinstance(cell, Layer) else ()
    regularized = [layer for layer in within if layer.activity_regularizer is not None]
    losses: dict[Layer, list[Any]] = {layer: [] for layer in regularized}
    emitted: Array | None = None
    outputs = []
    _reset_dropout(within, training)
    try:
        for t in reversed(range(x.shape[1])) if go_backwards else range(x.shape[1]):
            # Copies: a cell may work in place, or return the same array each time.
            given = nest.pack(states, [state.copy() for state in nest.flatten(states)])
            output, new_states = step(cell, x[:, t].copy(), given, training)
            if output.shape[:1] != x.shape[:1] or output.dtype.kind not in "fiubV":
                raise ValueError(
                    f"the cell's output must be real numbers in {len(x)} rows, got shape {output.shape} and dtype "
                    f"{output.dtype}"
                )
            for layer in regularized:
                losses[layer] += layer._activity_losses
            if keep is not None:
                kept = keep[:, t]
                before = np.zeros_like(output) if emitted is None or zero_output_for_mask else emitted
                output = _selected(kept, output, before)
                pairs = zip(nest.flatten(new_states), nest.flatten(states), strict=True)
                new_states = nest.pack(states, [_selected(kept, np.asarray(new), old) for new, old in pairs])
            emitted = output = np.array(output)
            states = nest.pack(states, [np.array(state) for state in nest.flatten(new_states)])
            if return_sequences:
                outputs.append(output)
    finally:
        _reset_dropout(within, training)
    for layer in regularized:
        layer._activity_losses = losses[layer]
    assert emitted is not None  # there was a timestep
    return np.stack(outputs, axis=1) if return_sequences else emitted, states


def _selected(kept: Array, new: Array, old: Array) -> Array:
    """`new` in the rows that are kept, `old` in the others. Selected, not multiplied: no NaN leaks."""
    return np.where(kept.reshape(-1, *(1 for _ in new.shape[1:])), new, old)


def _reset_dropout(layers: Sequence[Layer], training: bool) -> None:
    """One dropout mask per sequence: none from before, and none left for later."""
    for layer in layers if training else ():
        if isinstance(layer, RecurrentCell):
            layer.reset_dropout_mask()
            layer.reset_recurrent_dropout_mask()
