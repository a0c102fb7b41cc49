"""RNN and Bidirectional as ONNX's RNN, LSTM and GRU operators, which go over sequences (timesteps, batch, features).

Of masks these know lengths only, and what they give beyond them is their own matter. So what Keras gives there is
selected by nodes behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers import RNN, Bidirectional
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell
from cyrnn.saving.onnx.activations import in_rnn
from cyrnn.saving.onnx.cells import CellOperator, operator_of
from cyrnn.saving.onnx.graph import Graph, Tensor

Steps = tuple[str, list[str]]  # outputs (timesteps, batch, units) in the order of time; final states (batch, units)


@dataclass(frozen=True)
class RightPadded:
    """A mask, and what follows from it."""

    lengths: str  # int32 (batch,)
    step: str  # bool (timesteps, batch, 1), True in steps that count
    any_step: str  # bool (batch, 1), True in rows that have one
    sound: str  # bool (batch, 1), True in rows whose mask has no holes

    @classmethod
    def of(cls, graph: Graph, mask: str) -> "RightPadded":
        """Of a mask (batch, timesteps)."""
        counted = graph.cast(mask, np.int32)
        total = graph.reduce("ReduceSum", counted, [1], keepdims=True)
        timesteps = graph.node("Gather", graph.node("Shape", mask), graph.constant(1, np.int64), axis=0)
        ends = (graph.constant(0, np.int32), graph.cast(timesteps, np.int32), graph.constant(1, np.int32))
        expected = graph.cast(graph.node("Less", graph.node("Range", *ends), total), np.int32)
        differences = graph.node("Abs", graph.node("Sub", expected, counted))
        wrong = graph.reduce("ReduceSum", differences, [1], keepdims=True)
        zero = graph.constant(0, np.int32)
        return cls(
            lengths=graph.squeeze(total, 1),
            step=graph.unsqueeze(graph.node("Transpose", mask, perm=[1, 0]), 2),
            any_step=graph.node("Greater", total, zero),
            sound=graph.node("Equal", wrong, zero),
        )


def rnn(graph: Graph, layer: RNN, x: Tensor, mask: str | None, states: Sequence[Tensor]) -> list[str]:
    """What the layer returns: the output, and the states if it does that."""
    ((output, finals),) = _results(graph, [layer], x, mask, states)
    if layer.return_sequences and layer.go_backwards:
        output = graph.flip(output, 1)
    return [output, *finals] if layer.return_state else [output]


def bidirectional(
    graph: Graph, layer: Bidirectional, x: Tensor, mask: str | None, states: Sequence[Tensor]
) -> list[str]:
    """What the layer returns: the output, or both with merge_mode None, and the states if it does that."""
    layers = [layer.forward_layer, layer.backward_layer]
    (forward, forward_states), (backward, backward_states) = _results(graph, layers, x, mask, states)
    if layer.return_sequences and layers[0].go_backwards:  # Keras turns the outputs of the other layer around then too
        forward, backward = graph.flip(forward, 1), graph.flip(backward, 1)
    merged = _merged(graph, layer.merge_mode, forward, backward)
    return [*merged, *forward_states, *backward_states] if layer.return_state else merged


def _merged(graph: Graph, mode: str | None, forward: str, backward: str) -> list[str]:
    if mode is None:
        return [forward, backward]
    if mode == "concat":
        return [graph.node("Concat", forward, backward, axis=-1)]
    if mode == "mul":
        return [graph.node("Mul", forward, backward)]
    total = graph.node("Add", forward, backward)
    return [total if mode == "sum" else graph.node("Div", total, graph.constant(2))]


def _results(
    graph: Graph, layers: list[RNN], x: Tensor, mask: str | None, states: Sequence[Tensor]
) -> list[tuple[str, list[str]]]:
    """For each layer its output, in the order of time, and the final states of all cells."""
    stacks = [_checked_cells(layer) for layer in layers]
    padded = None if mask is None else RightPadded.of(graph, mask)
    begins = iter(_begins(stacks, states))
    sequences = graph.node("Transpose", x.name, perm=[1, 0, 2])
    runs: list[list[Steps]]
    if _are_one_operator(layers, stacks):
        cells = [cells[0] for cells in stacks]
        pair = _operator(graph, cells, "bidirectional", sequences, padded, [next(begins) for _ in cells])
        runs = [[steps] for steps in pair]
    else:
        runs = []
        for layer, cells in zip(layers, stacks, strict=True):
            direction, at, done = "reverse" if layer.go_backwards else "forward", sequences, []
            for cell in cells:
                done += _operator(graph, [cell], direction, at, padded, [next(begins)])
                at = done[-1][0]
            runs.append(done)
    results = []
    for layer, done in zip(layers, runs, strict=True):
        if layer.return_sequences:
            output = _sequences(graph, layer, *done[-1], padded)
        else:
            output = _last(graph, layer, done[-1][1][0], padded)
        finals = [_or_nan(graph, final, padded) for _, states in done for final in states]
        results.append((output, finals))
    return results


def _or_nan(graph: Graph, name: str, padded: RightPadded | None) -> str:
    """NaN, and no number that looks right, in rows whose mask has holes: their lengths say something wrong."""
    return name if padded is None else graph.node("Where", padded.sound, name, graph.constant(np.nan))


def _checked_cells(layer: RNN) -> list[RecurrentCell]:
    """The cells from the input to the output. Raises ValueError for a layer that ONNX's operators cannot be."""
    if layer.stateful:
        raise ValueError("it is stateful, and nothing in ONNX carries states from one call to the next")
    if layer.time_major:
        raise ValueError("time_major is not supported")
    cells = layer.engine_cells
    if cells is None or None in map(operator_of, cells):
        raise ValueError(
            "ONNX knows SimpleRNN, LSTM and GRU cells with activations of this package, and stacks of them"
        )
    if not layer.begins_with_zeros:
        raise ValueError("its get_initial_state is one of your own")
    return cells


def _begins(stacks: list[list[RecurrentCell]], states: Sequence[Tensor]) -> list[list[str] | None]:
    """The initial states of each cell, None for zeros."""
    cells = [cell for stack in stacks for cell in stack]
    if not states:
        return [None] * len(cells)
    sizes = [cell.units for cell in cells for _ in range(cell.state_count)]
    for state, size in zip(states, sizes, strict=True):
        if len(state.shape) != 2 or state.shape[0] == 1 or state.shape[1] != size:
            raise ValueError(f"its initial_state must have shape (batch, {size}), got {state.shape}")
    names = iter(state.name for state in states)
    return [[next(names) for _ in range(cell.state_count)] for cell in cells]


def _are_one_operator(layers: list[RNN], stacks: list[list[RecurrentCell]]) -> bool:
    """Whether the layers are a forward and a backward one of a cell each, of one kind and width.

    Not where activations have an alpha: ONNX does not say clearly which of several is whose.
    """
    cells = [cells[0] for cells in stacks]
    if [layer.go_backwards for layer in layers] != [False, True] or any(len(stack) > 1 for stack in stacks):
        return False
    first, second = ((operator_of(cell), cell.units) for cell in cells)
    operator = first[0]
    assert operator is not None  # it is checked
    return (
        first == second
        and operator.attributes(cells[0]) == operator.attributes(cells[1])
        and not any(alpha for cell in cells for _, alpha, _ in _activations(operator, cell))
    )


def _activations(operator: CellOperator, cell: RecurrentCell) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
    return [in_rnn(getattr(cell, function)) for function in operator.functions]


def _operator(
    graph: Graph,
    cells: list[RecurrentCell],
    direction: str,
    x: str,
    padded: RightPadded | None,
    begins: list[list[str] | None],
) -> list[Steps]:
    """One operator, of a cell for each of its directions."""
    operator = operator_of(cells[0])
    assert operator is not None  # it is checked
    named = [activation for cell in cells for activation in _activations(operator, cell)]
    attributes: dict[str, Any] = {"hidden_size": cells[0].units, "activations": [name for name, _, _ in named]}
    for key, values in (
        ("activation_alpha", [alpha for _, alpha, _ in named]),
        ("activation_beta", [b for *_, b in named]),
    ):
        if any(values):
            attributes[key] = [value for part in values for value in part]
    # ONNX: W (directions, gates units, features), R (directions, gates units, units), B (directions, 2 gates units).
    biases = [operator.biases(cell, graph.dtype) for cell in cells]
    outputs, *finals = graph.node_of_several(
        operator.name,
        1 + operator.states,
        x,
        graph.constant(np.stack([operator.rows(cell.kernel) for cell in cells]), name="W"),
        graph.constant(np.stack([operator.rows(cell.recurrent_kernel) for cell in cells]), name="R"),
        graph.constant(np.stack(biases), name="B") if any(cell.bias is not None for cell in cells) else "",
        "" if padded is None else padded.lengths,
        *_of_directions(graph, begins),
        direction=direction,
        **attributes,
        **operator.attributes(cells[0]),
    )
    results = []
    for number, begins_with in enumerate(begins):
        if len(cells) == 1:
            steps, states = graph.squeeze(outputs, 1), [graph.squeeze(final, 0) for final in finals]
        else:
            place = graph.constant(number, np.int64)
            steps = graph.node("Gather", outputs, place, axis=1)
            states = [graph.node("Gather", final, place, axis=0) for final in finals]
        if padded is not None:
            untouched = begins_with or [graph.constant(0)] * len(states)
            states = [
                graph.node("Where", padded.any_step, state, kept) for state, kept in zip(states, untouched, strict=True)
            ]
        results.append((steps, states))
    return results


def _of_directions(graph: Graph, begins: list[list[str] | None]) -> list[str]:
    """Each initial state of all directions (directions, batch, units); none for zeros."""
    given = [states for states in begins if states is not None]  # all are given, or none
    whole = []
    for first, *others in zip(*given, strict=True):
        begin = graph.unsqueeze(first, 0)
        for other in others:
            begin = graph.node("Concat", begin, graph.unsqueeze(other, 0), axis=0)
        whole.append(begin)
    return whole


def _last_emitted(graph: Graph, final: str, padded: RightPadded) -> str:
    """The last output of each row (batch, units): zeros, and not the initial state, where there is none."""
    return graph.node("Where", padded.any_step, final, graph.constant(0))


def _sequences(graph: Graph, layer: RNN, steps: str, states: list[str], padded: RightPadded | None) -> str:
    """(batch, timesteps, units), in the order of time."""
    if padded is not None:
        # Padding comes first where the last timestep does, and before the first output there are zeros.
        zeros = layer.zero_output_for_mask or layer.go_backwards
        filling = graph.constant(0) if zeros else _last_emitted(graph, states[0], padded)
        steps = graph.node("Where", padded.step, steps, filling)
    return graph.node("Transpose", _or_nan(graph, steps, padded), perm=[1, 0, 2])


def _last(graph: Graph, layer: RNN, final: str, padded: RightPadded | None) -> str:
    """(batch, units)"""
    if padded is None:
        return final
    if layer.zero_output_for_mask and not layer.go_backwards:
        at_the_end = graph.node("Gather", padded.step, graph.constant(-1, np.int64), axis=0)
        output = graph.node("Where", at_the_end, final, graph.constant(0))
    else:
        output = _last_emitted(graph, final, padded)
    return _or_nan(graph, output, padded)
