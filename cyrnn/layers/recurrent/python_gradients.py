"""Back-propagation through time in Python, for cells and activations that the engine does not know."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.carried import states_as_before_on_error
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.derivatives import HasWeights, Slope, with_weights
from cyrnn.layers.base.programs.gradients import Like
from cyrnn.layers.base.programs.penalties import HasActivity, activity_of
from cyrnn.layers.base.programs.pullback import (
    ForeignPullback,
    Input,
    Pullback,
    PullbackThrough,
    pair_of,
    pullback_of_call,
)
from cyrnn.layers.base.programs.tape import OfWeights, add_to

WayBack = Callable[[Sequence[Array | None], bool], tuple[dict[Hashable, Array], OfWeights]]


def cell_vjp(
    cell: Any, x: Array, states: Any, training: bool
) -> tuple[tuple[Array, Any], "Pullback | ForeignPullback"]:
    """One step of any cell: output and new states, and the pullback. Raises ValueError for one without `vjp`."""
    vjp = getattr(cell, "vjp", None)
    if vjp is None:
        raise ValueError(
            f"the cell {cell!r:.100} has no gradients: it must have a method "
            "vjp(x, initial_state=None, mask=None, training=False), which returns (output, new_states) and a pullback"
        )
    result, pullback = pair_of(vjp(x, initial_state=states, training=training), cell)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"`vjp` of the cell {cell!r:.100} must return ((output, new_states), pullback)")
    return result, pullback_of_call(pullback, cell, result, x, states)


class Cell(HasActivity, HasWeights, Protocol):
    """What `of_cell` needs of a cell."""

    @property
    def dtype_policy(self) -> Any: ...

    @property
    def functions(self) -> tuple[Any, ...]: ...

    def __call__(self, sequence: Any, states: Any, training: bool = ...) -> tuple[Array, Any]: ...
    def checked_inputs(self, inputs: Any) -> Array: ...
    def checked_states(self, states: Any, batch: int) -> list[Array]: ...
    def get_initial_state(self, batch_size: int | None = ...) -> Any: ...
    def get_dropout_mask(self, step_input: Array) -> Any: ...
    def get_recurrent_dropout_mask(self, state: Array) -> Any: ...
    def stepped(
        self, weights: Mapping[str, Array], x: Array, states: list[Array], factors: Sequence[Any]
    ) -> tuple[list[Array], Any]: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_cell(cell: Cell, x: Any, states: Any, training: bool) -> tuple[tuple[Array, Any], Pullback]:
    """One step of a cell of this package, and its pullback."""
    for function in cell.functions:
        Slope(cell.name, function)  # it raises ValueError for one without a derivative
    given, inputs = as_array("sequence", x), cell.checked_inputs(x)
    states = cell.get_initial_state(len(inputs)) if states is None else states
    (output, new_states), values = with_weights(cell, lambda: cell(inputs, states, training=training))
    before = cell.checked_states(states, len(inputs))
    factors = (cell.get_dropout_mask(inputs), cell.get_recurrent_dropout_mask(before[0])) if training else (None, None)
    dtype = cell.dtype_policy.engine_dtype
    weights = {name: value.astype(dtype, copy=False) for name, value in values.items()}
    after, way_back = cell.stepped(weights, inputs.astype(dtype, copy=False), before, factors)
    shapes = [state.shape for state in after]
    del after  # `y` has them; a pullback of a sequence would hold those of each timestep
    slots = cell._weight_slots(trainable=True)

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Hashable, Array], OfWeights]:
        if all(gradient is None for gradient in gradients):
            return {}, {}
        of_output, *of_states = [0 if d is None else np.asarray(d, dtype) for d in gradients]
        of_states[0] = of_states[0] + of_output
        d_states = [np.broadcast_to(np.asarray(d, dtype), shape) for d, shape in zip(of_states, shapes, strict=True)]
        d_x, d_before, of_weights = way_back(d_states)
        return {"x": d_x, **dict(enumerate(d_before))}, {slot: of_weights[slot[1]] for slot in slots}

    y = output, [*nest.flatten(new_states)] if nest.is_nested(states) else new_states
    begun = [Input(number, state.shape, state.dtype) for number, state in enumerate(before)]
    pullback = PullbackThrough(back, y, Input.of("x", given), begun, slots, dtype.name)
    pullback.activity = activity_of(cell, y)
    return y, pullback


class Stack(HasActivity, Protocol):
    """What `of_stack` needs of a stack of cells."""

    cells: list[Any]

    @property
    def dtype_policy(self) -> Any: ...

    def checked_inputs(self, inputs: Any) -> Array: ...
    def get_initial_state(self, batch_size: int | None = ...) -> Any: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_stack(stack: Stack, x: Any, states: Any, training: bool) -> tuple[tuple[Array, Any], Pullback]:
    """One step of a stack of cells, and its pullback."""
    given_x, output = as_array("inputs", x), stack.checked_inputs(x)
    states = stack.get_initial_state(len(output)) if states is None else states
    if not nest.is_nested(states) or len(states) != len(stack.cells):
        got = len(states) if nest.is_nested(states) else f"a {type(states).__name__}"
        raise ValueError(f"states must be a list with the states of each of {len(stack.cells)} cells, got {got}")
    ways, new_states = [], []
    for cell, given in zip(stack.cells, states, strict=True):
        listed = list(given) if nest.is_nested(given) else [given]
        (output, new), way = cell_vjp(cell, output, listed, training)
        new_states.append(nest.pack(given, nest.flatten(new)))
        ways.append((cell, nest.mapped(lambda _: None, new), way))

    def back(gradients: list[Array | None], losses: bool) -> tuple[dict[Hashable, Array], OfWeights]:
        if not losses and all(gradient is None for gradient in gradients):
            return {}, {}
        d_output, *leaves = gradients
        rest = iter(leaves)
        of_cells = [nest.filled(new, [next(rest) for _ in nest.leaves(new)]) for _, new, _ in ways]
        of_states: list[Array] = []
        of_weights: OfWeights = {}
        for (cell, _, way), d_state in zip(reversed(ways), reversed(of_cells), strict=True):
            found = way.of_call((d_output, d_state), True, losses)
            d_output, of_states = found.inputs, [*nest.flatten(found.initial_state), *of_states]
            for key, gradient in zip(_slots_of(cell), found.weights, strict=True):
                add_to(of_weights, key, gradient)
        of_places: dict[Hashable, Array] = {**dict(enumerate(of_states))}
        return of_places if d_output is None else {"x": d_output, **of_places}, of_weights

    y = output, new_states
    begun = [Input.of(n, np.asarray(state)) for n, state in enumerate(nest.flatten(new_states))]
    slots, dtype = stack._weight_slots(trainable=True), stack.dtype_policy.engine_dtype.name
    pullback = PullbackThrough(back, y, Input.of("x", given_x), begun, slots, dtype)
    pullback.activity = activity_of(stack, y)
    return y, pullback


def _slots_of(cell: Any) -> list[tuple[Any, str]]:
    return cell._weight_slots(trainable=True) if isinstance(cell, Layer) else []


def walked(
    run_cell: Callable[..., tuple[Array, Any]],
    cell: Any,
    x: Array,
    states: Any,
    keep: Array | None,
    training: bool,
    *,
    go_backwards: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
) -> tuple[Array, Any, WayBack]:
    """The output and the final states of any cell over x (batch, timesteps, ...), as `run_cell` finds them, and the way
    back: from the gradients of the output and of the final states, and whether penalties on activities count, to the
    gradients of x, at the place "x", of the initial states, at their numbers, and of the cell's weights.
    """
    pullbacks: list[Pullback | ForeignPullback] = []
    structure: Any = None  # of the output and the new states of a step
    emitted: Any = None  # what the output of a step is like

    def step(cell: Any, x_t: Array, given: Any, training: bool) -> tuple[Array, Any]:
        nonlocal structure, emitted
        (output, new_states), pullback = cell_vjp(cell, x_t, given, training)
        pullbacks.append(pullback)
        structure = nest.mapped(lambda _: None, (None, new_states))
        output = np.asarray(output)
        emitted = Like(output)
        return output, new_states

    options: Any = {
        "go_backwards": go_backwards,
        "return_sequences": return_sequences,
        "zero_output_for_mask": zero_output_for_mask,
    }
    clean = x if keep is None else _masked(keep, x)  # what is masked may be NaN
    y, after = run_cell(cell, clean, states, keep, training, step=step, **options)
    order = list(reversed(range(x.shape[1]))) if go_backwards else list(range(x.shape[1]))
    begun, of_x, weights = [Like(state) for state in nest.flatten(states)], Like(x), _slots_of(cell)
    keep = None if keep is None else keep.copy()
    regularized = [layer for layer in _layers_within(cell) if layer.activity_regularizer is not None]

    def back(gradients: Sequence[Array | None], losses: bool) -> tuple[dict[Hashable, Array], OfWeights]:
        if losses and regularized and keep is not None:
            raise ValueError(
                f"the penalty on the activity of {regularized[0].name!r}, a cell or inside one, has no gradient where "
                "there is a mask: regularize the layer instead"
            )
        d_output, *d_states = gradients
        d_h = [
            np.zeros(like.shape, like.dtype) if d is None else np.array(d, like.dtype)
            for like, d in zip(begun, d_states, strict=True)
        ]
        zeros, d_x, of_weights = np.zeros(emitted.shape, emitted.dtype), np.zeros(of_x.shape, of_x.dtype), OfWeights()
        d_o = zeros
        for k, t in reversed(list(enumerate(order))):
            kept = None if keep is None else keep[:, t]
            if d_output is not None and (return_sequences or k == len(order) - 1):
                d_o = d_o + (d_output[:, k] if return_sequences else d_output)
            live = d_o if kept is None else _selected(kept, d_o, 0)
            of_states = d_h if kept is None else [_selected(kept, d, 0) for d in d_h]
            found = pullbacks[k].of_call(nest.filled(structure, [live, *of_states]), True, losses)
            if found.inputs is not None:
                d_x[:, t] = found.inputs if kept is None else _selected(kept, found.inputs, 0)
            pairs = zip(nest.flatten(found.initial_state), d_h, strict=True)
            d_h = [np.asarray(new) if kept is None else _selected(kept, np.asarray(new), old) for new, old in pairs]
            d_o = zeros if kept is None or zero_output_for_mask else _selected(kept, zeros, d_o)
            for key, gradient in zip(weights, found.weights, strict=True):
                add_to(of_weights, key, gradient)
        return {"x": d_x, **dict(enumerate(d_h))}, of_weights

    return y, after, back


def _layers_within(cell: Any) -> Sequence[Any]:
    return cell.layers_within() if isinstance(cell, Layer) else ()


def _masked(keep: Array, x: Array) -> Array:
    return np.where(keep.reshape(*keep.shape, *(1 for _ in x.shape[2:])), x, x.dtype.type(0))


def _selected(kept: Array, new: Array, old: Any) -> Array:
    return np.where(kept.reshape(-1, *(1 for _ in new.shape[1:])), new, old).astype(new.dtype, copy=False)


class Both(HasActivity, Protocol):
    """What `of_both_directions` needs of a Bidirectional."""

    built: bool
    merge_mode: str | None
    return_sequences: bool
    return_state: bool

    def build(self, input_shape: Any) -> None: ...
    def checked_inputs(self, inputs: Any) -> Array: ...
    def layers_within(self) -> tuple[Any, ...]: ...
    def returned(self, array: Array) -> Array: ...
    def joined(self, outputs: Sequence[Array], states: Sequence[Array]) -> Any: ...
    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


def of_both_directions(
    layer: Both, ways: Sequence[Any], x: Any, states: Sequence[Any], mask: Any, training: bool
) -> tuple[Any, Pullback]:
    """A call of a Bidirectional whose directions Python walks, and its pullback."""
    given = as_array("inputs", x)
    if not layer.built:
        layer.build(layer.checked_inputs(x).shape)
    with states_as_before_on_error(layer):
        found = [way.vjp(x, state, mask, training) for way, state in zip(ways, states, strict=True)]
    results = [y if isinstance(y, tuple) else (y,) for y, _ in found]
    pullbacks = [pullback for _, pullback in found]
    outputs = [layer.returned(result[0]) for result in results]
    y = layer.joined(outputs, [state for result in results for state in nest.flatten(list(result[1:]))])
    width = outputs[0].shape[-1]
    factors = [output.copy() for output in outputs] if layer.merge_mode == "mul" else []

    def turned(array: Array) -> Array:
        return array[:, ::-1] if layer.return_sequences else array

    def of_outputs(gradients: list[Array | None]) -> list[Array | None]:
        if layer.merge_mode is None:
            return [gradients[0], None if gradients[1] is None else turned(gradients[1])]
        if gradients[0] is None:
            return [None, None]
        dy = np.asarray(gradients[0])
        each = {
            "concat": lambda: (dy[..., :width], dy[..., width:]),
            "sum": lambda: (dy, dy),
            "ave": lambda: (dy / 2, dy / 2),
            "mul": lambda: (dy * turned(factors[1]), dy * factors[0]),
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
    pullback = PullbackThrough(back, y, Input.of("x", given), inputs, weights, pullbacks[0].dtype)
    pullback.activity = activity_of(layer, y)
    return y, pullback
