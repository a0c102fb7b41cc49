"""Bidirectional: a recurrent layer forwards and backwards over the same sequences.

Reference: ``keras.layers.Bidirectional``, Keras 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.arrays import quietly
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, LengthError, Shape
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.predict import Predicts
from cyrnn.layers.base.programs import merges
from cyrnn.layers.base.programs.alone import CallProgram, program_of
from cyrnn.layers.base.programs.interface import ENGINE
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Value
from cyrnn.layers.recurrent.rnn import RNN
from cyrnn.layers.recurrent.sequence_layer import SequenceLayer

MERGE_MODES = ("sum", "mul", "ave", "concat", None)
_MERGES = {"sum": "add", "mul": "multiply", "ave": "average"}  # the engine's names


@objects.register("keras.layers")
class Bidirectional(Predicts, SequenceLayer):
    """A recurrent layer in both directions: ``layer(sequences, initial_state=None, mask=None, training=False)``.

    It is called as an `RNN`; initial_state is a list, its first half for the forward layer, its second for the backward
    one. It returns the output, or with merge_mode None both; with `return_state` a tuple of that, the forward states
    and the backward ones.

    Parameters
    ----------
    layer : RNN, SimpleRNN, LSTM or GRU
        The forward layer is a new one of its config, named ``forward_...``; so is the backward layer, with
        `go_backwards`, unless `backward_layer` is given.
    merge_mode : {"concat", "sum", "mul", "ave"} or None, default "concat"
        How the outputs become one, "concat" along the last axis; None returns both.
    weights : list of arrays, optional
        Initial weights, first those of the forward layer. (Keras takes them and forgets them.)
    backward_layer : RNN, SimpleRNN, LSTM or GRU, optional
        A layer of the other direction, and the same stateful, return_sequences and return_state.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Raises
    ------
    ValueError, TypeError
        The two layers do not fit. A call raises what an `RNN` does.

    Notes
    -----
    Both layers zero their masked outputs if they return sequences, and repeat the last one if not, also if they had
    another option before, as in Keras. The backward outputs of sequences are in the order of time.

    Examples
    --------
    >>> both_ways = cyrnn.layers.Bidirectional(cyrnn.layers.GRU(4))
    >>> both_ways(np.zeros((2, 5, 3))).shape
    (2, 8)
    """

    supports_masking = True

    def __init__(
        self,
        layer: RNN,
        merge_mode: str | None = "concat",
        weights: Sequence[ArrayLike] | None = None,
        backward_layer: RNN | None = None,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        for name, value in {"layer": layer, "backward_layer": backward_layer or layer}.items():
            if not isinstance(value, Layer):
                raise ValueError(f"{name} must be a layer, got {type(value).__name__}")
            if not isinstance(value, RNN):
                raise TypeError(f"{name} must be an RNN, SimpleRNN, LSTM or GRU, got {value!r}")
        if merge_mode not in MERGE_MODES:
            raise ValueError(f"merge_mode must be one of {MERGE_MODES}, got {merge_mode!r}")
        super().__init__(**kwargs)
        self.forward_layer: RNN = _renamed(layer, "forward_")
        self.backward_layer: RNN = backward_layer or _renamed(layer, "backward_", go_backwards=True)
        _check_pair(self.forward_layer, self.backward_layer)
        if merge_mode in ("sum", "mul", "ave") and self.forward_layer.output_size != self.backward_layer.output_size:
            sizes = self.forward_layer.output_size, self.backward_layer.output_size
            raise ValueError(f"merge_mode {merge_mode!r} needs two layers of one width, got {sizes[0]} and {sizes[1]}")
        for direction in (self.forward_layer, self.backward_layer):
            direction.zero_output_for_mask = direction.return_sequences
            if hasattr(layer, "use_cudnn"):  # which is in no config
                direction.use_cudnn = layer.use_cudnn
        self.merge_mode = merge_mode
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self._initial_weights = weights

    @property
    def time_major(self) -> bool:
        """Whether sequences are (timesteps, batch, features), as a config of Keras 2 may say."""
        return self.forward_layer.time_major

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        return [input_shape, input_shape]

    def _make_weights(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        super()._make_weights(input_shape, values)
        if self._initial_weights is not None and values is None:
            self.set_weights(self._initial_weights)

    # ------------------------------------------------------------ calling

    @property
    def outputs_of_sequences(self) -> int:
        return 2 if self.merge_mode is None else 1

    def check_axes(self, shape: Shape) -> None:
        self.forward_layer.check_axes(shape)

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        return self.forward_layer.checked_inputs(inputs)

    def checked_call(self, x: Array, initial_state: Any, mask: ArrayLike | None) -> list[Any]:
        """For each direction the arguments that `RNN.checked_call` gives."""
        forward, backward = self.forward_layer, self.backward_layer
        halves = [None, None] if initial_state is None else self._halves(initial_state)
        return [forward.checked_call(x, halves[0], mask), backward.checked_call(x, halves[1], mask)]

    def _halves(self, initial_state: Any) -> list[Any]:
        sizes = [len(nest.flatten(layer.state_size)) for layer in (self.forward_layer, self.backward_layer)]
        leaves = nest.flatten(initial_state)
        if not nest.is_nested(initial_state) or len(leaves) != sum(sizes):
            got = f"{len(leaves)} arrays" if nest.is_nested(initial_state) else f"a {type(initial_state).__name__}"
            error = LengthError if len(leaves) < sum(sizes) else ValueError
            raise error(f"initial_state must be a list of {sum(sizes)} arrays, forward then backward, got {got}")
        return [leaves[: sizes[0]], leaves[sizes[0] :]]

    def call(self, sequences: Array, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        layers = [self.forward_layer, self.backward_layer]
        arguments = self.checked_call(sequences, initial_state, mask)
        program = self._program_within_call(training)
        if program is not None:
            begin = [
                state for layer, (states, _) in zip(layers, arguments, strict=True) for state in _each(layer, states)
            ]
            result = program.run(sequences, arguments[0][1], begin)
            parts = result if isinstance(result, tuple) else (result,)
            outputs, states = parts[: self._filled_outputs], parts[self._filled_outputs :]
        else:
            returned = [
                layer.inner_call(sequences, initial_state=states, mask=keep, training=training)
                for layer, (states, keep) in zip(layers, arguments, strict=True)
            ]
            results = [result if isinstance(result, tuple) else (result,) for result in returned]
            outputs = tuple(self.returned(output) for output, *_ in results)
            if self.return_sequences:
                outputs = outputs[0], outputs[1][:, ::-1]
            states = (*results[0][1:], *results[1][1:])
        combined = outputs if len(outputs) == 1 else self._merged(*outputs)
        combined += states if self.return_state else ()
        return combined if len(combined) > 1 else combined[0]

    @property
    def _filled_outputs(self) -> int:
        """How many outputs a program fills: one for both directions, or one for each."""
        return 2 if self.merge_mode is None else 1

    def _program_within_call(self, training: bool) -> CallProgram | None:
        """The program that `call` runs; None where each direction has to be called."""
        layers = [self.forward_layer, self.backward_layer]
        dtype = self.dtype_policy.engine_dtype
        if not all(_is_of_the_engine(layer, dtype) for layer in layers) or self.dtype_policy.compute_dtype != dtype:
            return None
        cells = [cell for layer in layers for cell in layer.engine_cells or ()]
        facts = (
            training and [(cell.dropout, cell.recurrent_dropout, *cell.factor_widths) for cell in cells],
            cells,
            [cell.kernel.shape for cell in cells],
            self.merge_mode,
            self.return_sequences,
            self.return_state,
            [(layer.zero_output_for_mask, layer.go_backwards, layer.stateful) for layer in layers],
        )
        program = self._known_program
        if program is None or program.made_for != facts:
            shape = (None, None, cells[0].kernel.shape[0])
            sizes = self.flat_state_sizes
            program = program_of(self, shape, ENGINE, state_sizes=sizes, training=training, within_its_call=True)
            program.made_for = facts
            vars(self)["_known_program"] = program
        return program

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        layers = (self.forward_layer, self.backward_layer)
        self._check_batch_first()
        known = all(
            layer.activity_regularizer is None
            and layer.engine_cells is not None
            and not layer.rounds_results
            and layer.dtype_policy.engine_dtype == self.dtype_policy.engine_dtype
            for layer in layers
        )
        if (known and not self.rounds_results) or type(self)._override is not None:
            return super().vjp(x, initial_state, mask, training)
        from cyrnn.layers.recurrent.python_gradients import of_both_directions

        halves = [None, None] if initial_state is None else self._halves(initial_state)
        return of_both_directions(self, layers, x, halves, mask, training)

    def joined(self, outputs: Sequence[Array], states: Sequence[Array]) -> Any:
        """What a call returns, of what each direction has returned."""
        parts = outputs[0], outputs[1][:, ::-1] if self.return_sequences else outputs[1]
        combined = (*self._merged(*parts), *(states if self.return_state else ()))
        return combined if len(combined) > 1 else combined[0]

    @property
    def flat_state_sizes(self) -> list[int]:
        return self.forward_layer.flat_state_sizes + self.backward_layer.flat_state_sizes

    def begun_with(self, x: Array, initial_state: Any, mask: Any) -> tuple[Sequence[Array | None], Any]:
        (forward, keep), (backward, _) = self.checked_call(x, initial_state, mask)
        return [*_each(self.forward_layer, forward), *_each(self.backward_layer, backward)], keep

    @quietly
    def _merged(self, forward: Array, backward: Array) -> tuple[Array, ...]:
        if self.merge_mode is None:
            return forward, np.ascontiguousarray(backward)
        if self.merge_mode == "concat":
            return (np.concatenate([forward, backward], axis=-1),)
        if self.merge_mode == "mul":
            return (forward * backward,)
        total = forward + backward
        return (total if self.merge_mode == "sum" else total / total.dtype.type(2),)

    # ------------------------------------------------------------ as ops of a program

    def lower(
        self, lowering: Lowering, inputs: Any, mask: Any = None, training: bool = False, initial_state: Any = None
    ) -> Any:
        """Add the ops of both directions; they fill columns of one buffer, or a buffer each, which may be merged."""
        layers = [self.forward_layer, self.backward_layer]
        halves = [None, None]
        if initial_state is not None:
            try:
                halves = self._halves(initial_state)
            except ValueError as error:
                raise NotLoweredError(str(error)) from None
        for layer, begin in zip(layers, halves, strict=True):
            lowering.check(layer, within=True)
            layer.check_lowered(lowering, inputs, begin)
        x = lowering.numbers(inputs)
        lowering.mask(mask, x)  # it may refuse
        into = self._lowered_outputs(lowering, x)
        returned = [
            layer.lower(lowering, x, mask, training, states, part)
            for layer, states, part in zip(layers, halves, into.parts, strict=True)
        ]
        states = [result[1:] if isinstance(result, tuple) else () for result in returned]
        outputs = into.outputs
        if self.merge_mode in _MERGES:
            outputs = [merges.merged(lowering, _MERGES[self.merge_mode], outputs, outputs[0].shape)]
        combined = (*outputs, *states[0], *states[1])
        return combined if len(combined) > 1 else combined[0]

    def _lowered_outputs(self, lowering: Lowering, x: Value) -> "_Outputs":
        widths = [layer.output_size for layer in (self.forward_layer, self.backward_layer)]
        leading, timeline = ((None, x.shape[1]), x.timeline) if self.return_sequences else ((None,), None)
        if self.merge_mode != "concat":
            outputs = [lowering.buffer((*leading, width), timeline) for width in widths]
            parts = list(outputs)
        else:
            outputs = [lowering.buffer((*leading, sum(widths)), timeline)]
            parts = [
                lowering.columns(outputs[0], first, width) for first, width in zip((0, widths[0]), widths, strict=True)
            ]
        if self.return_sequences:
            parts[1] = lowering.reversed(parts[1])
        return _Outputs(outputs, parts)

    # ------------------------------------------------------------ states

    @property
    def states(self) -> tuple[Any, ...] | None:
        """The states that a stateful layer carries, forward then backward; None if there are none yet."""
        forward, backward = self.forward_layer.states, self.backward_layer.states
        return None if forward is None or backward is None else (*forward, *backward)

    def reset_state(self, states: Any = None, batch_index: int | ArrayLike | None = None) -> None:
        """Set the states that both directions carry; see `RNN.reset_state`. `states` is as `initial_state` in a call.

        Raises AttributeError if the layer is not stateful, as Keras does.
        """
        if not self.stateful:
            raise AttributeError(f"layer {self.name!r} must be stateful to have its states set")
        halves = [None, None] if states is None else self._halves(states)
        before = self.forward_layer.states
        self.forward_layer.reset_state(halves[0], batch_index)
        try:
            self.backward_layer.reset_state(halves[1], batch_index)
        except BaseException:
            self.forward_layer.states = before
            raise

    def reset_states(self, states: Any = None, batch_index: int | ArrayLike | None = None) -> None:
        """Keras 2's name of `reset_state`."""
        self.reset_state(states, batch_index)

    def stateful_rows(self) -> int | None:
        return self.forward_layer.stateful_rows()

    # ------------------------------------------------------------ shapes and config

    def compute_output_shape(self, input_shape: Sequence[int | None], initial_state_shape: Any = None) -> Any:
        shapes = [layer.compute_output_shape(input_shape) for layer in (self.forward_layer, self.backward_layer)]
        (forward, *forward_states), (backward, *backward_states) = (
            shape if self.return_state else (shape,) for shape in shapes
        )
        states = (*forward_states, *backward_states)
        if self.merge_mode is None:
            return (forward, backward, *states)
        merged = (*forward[:-1], forward[-1] + backward[-1]) if self.merge_mode == "concat" else forward
        return (merged, *states) if self.return_state else merged

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The input's mask if sequences are returned, else None; one for each output with merge_mode None."""
        output = nest.flatten(mask)[0] if self.return_sequences else None
        return (output, output) if self.merge_mode is None else output

    def described(self) -> dict[str, Any]:
        sizes = [layer.described().get("units") for layer in (self.forward_layer, self.backward_layer)]
        return {"units": sizes, **super().described()}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": objects.serialize(self.forward_layer),
            "backward_layer": objects.serialize(self.backward_layer),
        }

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, **objects.revived_in(config, "layer", "backward_layer")}


class _Outputs(NamedTuple):
    """The outputs of the two directions, and the part of them that each direction fills, in its order of timesteps."""

    outputs: list[Value]
    parts: list[Value]


def _renamed(layer: RNN, prefix: str, **changes: Any) -> Any:
    """A new layer of this one's config and the changes, its name beginning with `prefix`."""
    new = objects.clone(layer, name=prefix + layer.name.removeprefix(prefix), **changes)
    new.time_major = layer.time_major
    return new


def _is_of_the_engine(layer: RNN, dtype: np.dtype) -> bool:
    """Whether the engine computes in this dtype all that a call of the layer does."""
    ours = type(layer).call is RNN.call and type(layer).__call__ is RNN.__call__
    return (
        ours
        and layer.activity_regularizer is None
        and layer.dtype_policy.compute_dtype == dtype
        and layer.engine_cells is not None
        and all(cell.dtype_policy.engine_dtype == dtype for cell in layer.engine_cells)
    )


def _each(layer: RNN, states: list[Array] | None) -> list[Array | None]:
    """A state for each that the layer has; None for zeros."""
    return [None] * len(nest.flatten(layer.state_size)) if states is None else list(states)


def _check_pair(forward: RNN, backward: RNN) -> None:
    """Raises ValueError unless the two layers go in different directions and return the same things."""
    if forward.go_backwards == backward.go_backwards:
        raise ValueError(f"the two layers must differ in go_backwards, got {forward.go_backwards} for both")
    for option in ("stateful", "return_sequences", "return_state", "time_major"):
        ours, theirs = getattr(forward, option), getattr(backward, option)
        if ours != theirs:
            raise ValueError(f"the two layers must have the same {option}, got {ours} forward and {theirs} backward")
