"""RNN and Bidirectional as ONNX's RNN operator, which goes over sequences (timesteps, batch, features).

Of masks the operator knows lengths only, and what it gives beyond them is its own matter. So what Keras gives there is
selected by nodes behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers import RNN, Bidirectional, SimpleRNNCell
from cyrnn.saving.onnx.activations import in_rnn
from cyrnn.saving.onnx.graph import Graph, Tensor

Steps = tuple[str, str]  # outputs (timesteps, batch, units) in the order of time, and the final state (batch, units)


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
    """For each layer its output, in the order of time, and the final state of each cell."""
    stacks = [_checked_cells(layer) for layer in layers]
    padded = None if mask is None else RightPadded.of(graph, mask)
    begins = iter(_begins(stacks, states))
    sequences = graph.node("Transpose", x.name, perm=[1, 0, 2])
    runs: list[list[Steps]]
    if _as_one_operator(layers, stacks):
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
            output = _last(graph, layer, done[-1][1], padded)
        finals = [_or_nan(graph, final, padded) for _, final in done]
        results.append((output, finals))
    return results


def _or_nan(graph: Graph, name: str, padded: RightPadded | None) -> str:
    """NaN, and no number that looks right, in rows whose mask has holes: their lengths say something wrong."""
    return name if padded is None else graph.node("Where", padded.sound, name, graph.constant(np.nan))


def _checked_cells(layer: RNN) -> list[SimpleRNNCell]:
    """The cells from the input to the output. Raises ValueError for a layer that the operator cannot be."""
    if layer.stateful:
        raise ValueError("it is stateful, and nothing in ONNX carries states from one call to the next")
    if layer.time_major:
        raise ValueError("time_major is not supported")
    cells = [cell for cell in layer.engine_cells or () if isinstance(cell, SimpleRNNCell)]
    if cells != layer.engine_cells:
        raise ValueError("ONNX knows SimpleRNNCells with activations of this package, and stacks of them")
    if not layer.begins_with_zeros:
        raise ValueError("its get_initial_state is one of your own")
    return cells


def _begins(stacks: list[list[SimpleRNNCell]], states: Sequence[Tensor]) -> list[str | None]:
    """The initial state of each cell, None for zeros."""
    sizes = [cell.units for cells in stacks for cell in cells]
    if not states:
        return [None] * len(sizes)
    for state, size in zip(states, sizes, strict=True):
        if len(state.shape) != 2 or state.shape[0] == 1 or state.shape[1] != size:
            raise ValueError(f"its initial_state must have shape (batch, {size}), got {state.shape}")
    return [state.name for state in states]


def _as_one_operator(layers: list[RNN], stacks: list[list[SimpleRNNCell]]) -> bool:
    """Whether the layers are a forward and a backward one of a cell each, of one width.

    Not where activations have an alpha: ONNX does not say clearly which of several is whose.
    """
    cells = [cells[0] for cells in stacks]
    return (
        [layer.go_backwards for layer in layers] == [False, True]
        and all(len(stack) == 1 for stack in stacks)
        and cells[0].units == cells[1].units
        and not any(in_rnn(cell.activation)[1] for cell in cells)
    )


def _operator(
    graph: Graph,
    cells: list[SimpleRNNCell],
    direction: str,
    x: str,
    padded: RightPadded | None,
    begins: list[str | None],
) -> list[Steps]:
    """One RNN operator, of a cell for each of its directions."""
    named = [in_rnn(cell.activation) for cell in cells]
    attributes: dict[str, Any] = {"hidden_size": cells[0].units, "activations": [name for name, _, _ in named]}
    for key, values in (
        ("activation_alpha", [alpha for _, alpha, _ in named]),
        ("activation_beta", [b for *_, b in named]),
    ):
        if any(values):
            attributes[key] = [value for part in values for value in part]
    # ONNX: W (directions, units, features), R (directions, units, units), B (directions, 2 units).
    zeros = np.zeros(cells[0].units, graph.dtype)
    biases = [np.concatenate([zeros if cell.bias is None else cell.bias, zeros]) for cell in cells]
    begin = None
    if begins[0] is not None:
        begin = graph.unsqueeze(begins[0], 0)
        for other in begins[1:]:
            assert other is not None  # all states are given, or none
            begin = graph.node("Concat", begin, graph.unsqueeze(other, 0), axis=0)
    outputs, finals = graph.node_of_several(
        "RNN",
        2,
        x,
        graph.constant(np.stack([cell.kernel.T for cell in cells]), name="W"),
        graph.constant(np.stack([cell.recurrent_kernel.T for cell in cells]), name="R"),
        graph.constant(np.stack(biases), name="B") if any(cell.bias is not None for cell in cells) else "",
        "" if padded is None else padded.lengths,
        begin or "",
        direction=direction,
        **attributes,
    )
    results = []
    for number, begins_with in enumerate(begins):
        if len(cells) == 1:
            steps, final = graph.squeeze(outputs, 1), graph.squeeze(finals, 0)
        else:
            place = graph.constant(number, np.int64)
            steps, final = (graph.node("Gather", part, place, axis=axis) for part, axis in ((outputs, 1), (finals, 0)))
        if padded is not None:
            untouched = graph.constant(0) if begins_with is None else begins_with
            final = graph.node("Where", padded.any_step, final, untouched)
        results.append((steps, final))
    return results


def _last_emitted(graph: Graph, final: str, padded: RightPadded) -> str:
    """The last output of each row (batch, units): zeros, and not the initial state, where there is none."""
    return graph.node("Where", padded.any_step, final, graph.constant(0))


def _sequences(graph: Graph, layer: RNN, steps: str, final: str, padded: RightPadded | None) -> str:
    """(batch, timesteps, units), in the order of time."""
    if padded is not None:
        # Padding comes first where the last timestep does, and before the first output there are zeros.
        zeros = layer.zero_output_for_mask or layer.go_backwards
        filling = graph.constant(0) if zeros else _last_emitted(graph, final, padded)
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
