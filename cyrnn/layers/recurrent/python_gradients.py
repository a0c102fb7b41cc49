"""Back-propagation through time in Python, for cells and activations that the engine does not know."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.derivatives import HasActivation, check_derivative, through_activation
from cyrnn.layers.base.programs.gradients import Gradients
from cyrnn.layers.base.programs.pullback import Input, Pullback, PullbackThrough
from cyrnn.layers.base.programs.tape import OfWeights, add_to

Back = Callable[[Sequence[Array | None]], tuple[dict[Hashable, Array], OfWeights]]


def cell_vjp(cell: Any, x: Array, states: Any, training: bool) -> tuple[tuple[Array, Any], Callable[..., Gradients]]:
    """One step of any cell: output and new states, and the pullback. Raises ValueError for one without `vjp`."""
    vjp = getattr(cell, "vjp", None)
    if vjp is None:
        raise ValueError(
            f"the cell {cell!r:.100} has no gradients: it must have a method "
            "vjp(x, initial_state=None, mask=None, training=False), which returns (output, new_states) and a pullback"
        )
    result: tuple[tuple[Array, Any], Callable[..., Gradients]] = vjp(x, initial_state=states, training=training)
    return result


class SimpleCell(HasActivation, Protocol):
    """What `of_simple_rnn_cell` needs of a cell."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None

    def __call__(self, sequence: Any, states: Any, training: bool = ...) -> tuple[Array, Any]: ...
    def checked_inputs(self, inputs: Any) -> Array: ...
    def checked_state(self, state: Any, batch: int) -> Array: ...
    def get_initial_state(self, batch_size: int | None = ...) -> Any: ...
    def get_dropout_mask(self, step_input: Array) -> Array | None: ...
    def get_recurrent_dropout_mask(self, state: Array) -> Array | None: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_simple_rnn_cell(
    cell: SimpleCell, x: Any, states: Any, training: bool
) -> tuple[tuple[Array, Any], Callable[..., Gradients]]:
    """One step of a SimpleRNNCell, and its pullback."""
    inputs = cell.checked_inputs(x)
    states = cell.get_initial_state(len(inputs)) if states is None else states
    output, new_states = cell(inputs, states, training=training)
    check_derivative(cell)
    weights = [name for _, name in cell._weight_slots(trainable=True)]
    kernel, recurrent_kernel, bias = cell.kernel, cell.recurrent_kernel, cell.bias
    state = cell.checked_state(nest.flatten(states)[0], len(inputs))
    of_inputs = cell.get_dropout_mask(inputs) if training else None
    of_states = cell.get_recurrent_dropout_mask(state) if training else None
    dropped, dropped_state = _times(inputs.copy(), of_inputs), _times(state.copy(), of_states)
    sums = dropped @ kernel + dropped_state @ recurrent_kernel
    sums = sums if bias is None else sums + bias
    kept, listed = output.copy(), nest.is_nested(states)

    def pullback(dy: Any, inputs: bool = True) -> Gradients:
        d_output, d_state = dy[0], nest.flatten(dy[1])[0]
        given = [np.asarray(d) for d in (d_output, d_state) if d is not None]
        d_sums = through_activation(cell, sums, kept, sum(given, np.zeros_like(sums)))
        found = {
            "kernel": lambda: dropped.T @ d_sums,
            "recurrent_kernel": lambda: dropped_state.T @ d_sums,
            "bias": lambda: d_sums.sum(axis=0),
        }
        d_inputs = _times(d_sums @ kernel.T, of_inputs) if inputs else None
        d_before = _times(d_sums @ recurrent_kernel.T, of_states)
        return Gradients(d_inputs, [d_before], [found[name]() for name in weights])

    return (output, [*nest.flatten(new_states)] if listed else new_states), pullback


def _times(array: Array, factors: Array | None) -> Array:
    return array if factors is None else array * factors


class Stack(Protocol):
    """What `of_stack` needs of a stack of cells."""

    cells: list[Any]

    def checked_inputs(self, inputs: Any) -> Array: ...
    def get_initial_state(self, batch_size: int | None = ...) -> Any: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_stack(stack: Stack, x: Any, states: Any, training: bool) -> tuple[tuple[Array, Any], Callable[..., Gradients]]:
    """One step of a stack of cells, and its pullback."""
    output = stack.checked_inputs(x)
    states = stack.get_initial_state(len(output)) if states is None else states
    ways, new_states = [], []
    for cell, given in zip(stack.cells, states, strict=True):
        (output, new), way = cell_vjp(cell, output, list(given) if nest.is_nested(given) else [given], training)
        new_states.append(nest.pack(given, nest.flatten(new)))
        ways.append((cell, new, way))
    slots = stack._weight_slots(trainable=True)

    def pullback(dy: Any, inputs: bool = True) -> Gradients:
        d_output, d_states = dy
        leaves = iter(nest.flatten(d_states))
        given = [nest.pack(new, [next(leaves) for _ in nest.flatten(new)]) for _, new, _ in ways]
        of_states: list[Array] = []
        of_weights: OfWeights = {}
        for (cell, _, way), d_state in zip(reversed(ways), reversed(given), strict=True):
            found = way((d_output, d_state))
            d_output, of_states = found.inputs, [*nest.flatten(found.initial_state), *of_states]
            for key, gradient in zip(_slots_of(cell), found.weights, strict=True):
                add_to(of_weights, key, gradient)
        return Gradients(d_output if inputs else None, of_states, [of_weights[key] for key in slots])

    return (output, new_states), pullback


def _slots_of(cell: Any) -> list[tuple[Any, str]]:
    return cell._weight_slots(trainable=True) if isinstance(cell, Layer) else []


def walked(
    cell: Any,
    x: Array,
    states: Any,
    keep: Array | None,
    training: bool,
    *,
    go_backwards: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
) -> tuple[Array, Any, Back]:
    """The output and the final states of any cell over x (batch, timesteps, ...), as `run_cell` has them, and the way
    back: from the gradients of the output and of the final states to those of x, at the place "x", of the initial
    states, at their numbers, and of the cell's weights.
    """
    begun, keep = nest.flatten(states), None if keep is None else keep.copy()
    order = list(reversed(range(x.shape[1]))) if go_backwards else list(range(x.shape[1]))
    steps: list[tuple[int, Array | None, Callable[..., Gradients], Any]] = []
    emitted: Array | None = None
    outputs = []
    for t in order:
        kept = None if keep is None else keep[:, t]
        given = nest.pack(states, [state.copy() for state in nest.flatten(states)])
        x_t = x[:, t].copy() if kept is None else _selected(kept, x[:, t], 0)  # what is masked may be NaN
        (output, new_states), pullback = cell_vjp(cell, x_t, given, training)
        output = np.asarray(output)
        if kept is not None:
            before = np.zeros_like(output) if emitted is None or zero_output_for_mask else emitted
            output = _selected(kept, output, before)
            pairs = zip(nest.flatten(new_states), nest.flatten(states), strict=True)
            new_states = nest.pack(states, [_selected(kept, np.asarray(new), old) for new, old in pairs])
        emitted = output = np.array(output)
        steps.append((t, kept, pullback, new_states))
        states = nest.pack(states, [np.array(state) for state in nest.flatten(new_states)])
        outputs.append(output)
    weights = _slots_of(cell)

    def back(gradients: Sequence[Array | None]) -> tuple[dict[Hashable, Array], OfWeights]:
        d_output, *d_states = gradients
        d_h = [
            np.zeros_like(state) if d is None else np.array(d, state.dtype)
            for state, d in zip(begun, d_states, strict=True)
        ]
        d_o, d_x, of_weights = np.zeros_like(outputs[0]), np.zeros_like(x), OfWeights()
        for k in reversed(range(len(steps))):
            t, kept, pullback, new_states = steps[k]
            if d_output is not None and (return_sequences or k == len(steps) - 1):
                d_o = d_o + (d_output[:, k] if return_sequences else d_output)
            live = d_o if kept is None else _selected(kept, d_o, 0)
            of_states = d_h if kept is None else [_selected(kept, d, 0) for d in d_h]
            found = pullback((live, nest.pack(new_states, of_states)))
            d_x[:, t] = found.inputs if kept is None else _selected(kept, found.inputs, 0)
            pairs = zip(nest.flatten(found.initial_state), d_h, strict=True)
            d_h = [np.asarray(new) if kept is None else _selected(kept, np.asarray(new), old) for new, old in pairs]
            d_o = (
                np.zeros_like(d_o) if kept is None or zero_output_for_mask else _selected(kept, np.zeros_like(d_o), d_o)
            )
            for key, gradient in zip(weights, found.weights, strict=True):
                add_to(of_weights, key, gradient)
        return {"x": d_x, **dict(enumerate(d_h))}, of_weights

    return np.stack(outputs, axis=1) if return_sequences else outputs[-1], states, back


def _selected(kept: Array, new: Array, old: Any) -> Array:
    return np.where(kept.reshape(-1, *(1 for _ in new.shape[1:])), new, old).astype(new.dtype, copy=False)


class Both(Protocol):
    """What `of_both_directions` needs of a Bidirectional."""

    built: bool
    merge_mode: str | None
    return_sequences: bool
    return_state: bool

    def build(self, input_shape: Any) -> None: ...
    def checked_inputs(self, inputs: Any) -> Array: ...
    def joined(self, outputs: Sequence[Array], states: Sequence[Array]) -> Any: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_both_directions(
    layer: Both, ways: Sequence[Any], x: Any, states: Sequence[Any], mask: Any, training: bool
) -> tuple[Any, Pullback]:
    """A call of a Bidirectional whose directions Python walks, and its pullback."""
    given = as_array("inputs", x)
    if not layer.built:
        layer.build(layer.checked_inputs(x).shape)
    found = [way.vjp(x, state, mask, training) for way, state in zip(ways, states, strict=True)]
    results = [y if isinstance(y, tuple) else (y,) for y, _ in found]
    pullbacks = [pullback for _, pullback in found]
    outputs = [result[0] for result in results]
    y = layer.joined(outputs, [state for result in results for state in nest.flatten(list(result[1:]))])
    width = outputs[0].shape[-1]

    def turned(array: Array) -> Array:
        return array[:, ::-1] if layer.return_sequences else array

    def of_outputs(gradients: list[Array | None]) -> list[Array | None]:
        if layer.merge_mode is None:
            return [gradients[0], None if gradients[1] is None else turned(gradients[1])]
        if gradients[0] is None:
            return [None, None]
        dy, (forward, backward) = np.asarray(gradients[0]), outputs
        each = {
            "concat": lambda: (dy[..., :width], dy[..., width:]),
            "sum": lambda: (dy, dy),
            "ave": lambda: (dy / 2, dy / 2),
            "mul": lambda: (dy * turned(backward), dy * forward),
        }[layer.merge_mode]()
        return [each[0], turned(each[1])]

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Hashable, Array], OfWeights]:
        of_states = gradients[2 if layer.merge_mode is None else 1 :]
        halves = of_states[: len(of_states) // 2], of_states[len(of_states) // 2 :]
        of_places: dict[Hashable, Array] = {}
        of_weights: OfWeights = {}
        count = 0
        for way, pullback, d_output, rest in zip(ways, pullbacks, of_outputs(gradients), halves, strict=True):
            one = pullback.of_call((d_output, *rest) if layer.return_state else d_output, True, losses)
            if one.inputs is not None:
                add_to(of_places, "x", one.inputs)
            for gradient in one.initial_state:
                of_places[count] = gradient
                count += 1
            for key, gradient in zip(way._weight_slots(trainable=True), one.weights, strict=True):
                add_to(of_weights, key, gradient)
        return of_places, of_weights

    begun = [state for pullback in pullbacks for state in pullback.states]
    inputs = [Input(number, state.shape, state.dtype) for number, state in enumerate(begun)]
    weights = layer._weight_slots(trainable=True)
    return y, PullbackThrough(back, y, Input.of("x", given), inputs, weights, pullbacks[0].dtype)
