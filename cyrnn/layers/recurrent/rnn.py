"""RNN: a cell over the timesteps of sequences, with Keras' options, masks and states.

Reference: ``keras.layers.RNN``, Keras 3; where its backends disagree, its TensorFlow backend.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, LengthError, Shape, as_array, checked_mask, checked_option
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.predict import Predicts
from cyrnn.layers.base.programs.alone import CallProgram, program_of
from cyrnn.layers.base.programs.interface import ENGINE
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Value
from cyrnn.layers.recurrent import cell_protocol
from cyrnn.layers.recurrent.python_loop import run_cell
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell
from cyrnn.layers.recurrent.sequence_layer import SequenceLayer
from cyrnn.layers.recurrent.stacked_rnn_cells import StackedRNNCells
from cyrnn.layers.recurrent.states import Carried
from cyrnn.layers.recurrent.stepper import Stepper, capsule_of, stepper_of


@objects.register("keras.layers")
class RNN(Carried, Predicts, SequenceLayer):
    """A recurrent layer: ``rnn(sequences, initial_state=None, mask=None, training=False)``.

    Parameters
    ----------
    cell : a SimpleRNNCell, LSTMCell or GRUCell, or any object with ``call(inputs, states) -> (output, new_states)``
        and `state_size` (int, or list or tuple of ints); it may have `output_size` and `get_initial_state(batch_size)`.
        A list of cells becomes a `StackedRNNCells`
    return_sequences : return the output of every timestep, not only of the last
    return_state : return the final states too
    go_backwards : process the last timestep first; outputs are in the order of processing
    stateful : begin each call with the states that the one before left; see `reset_state`
    unroll : accepted, changes nothing
    zero_output_for_mask : masked timesteps give zeros, instead of repeating the last output

    Call
    ----
    sequences : array (batch, timesteps, features), any strides; at least one timestep. For a cell of your own it may
        have more axes
    initial_state : an array (batch, size) for each state; alone or in a list, which may be flat or nested as the
        states of a stack are; default zeros
    mask : array (batch, timesteps) or (batch, timesteps, 1), or (timesteps,) for a batch of one; true means keep.
        A masked timestep leaves the state of its row as it is and repeats its last output (zeros before the first)
    training : apply dropout
    lengths : array (batch,) of integers, instead of a mask: how many timesteps of each row count, where the rows are
        padded on the right. Only by name
    Returns (batch, units), or (batch, timesteps, units) with `return_sequences`; with `return_state` a tuple of that
    and each state, for a stack a list with the states of each cell, as `get_initial_state` has them. Raises ValueError
    for wrong shapes, TypeError for arrays that are not of numbers; the layer is then as it was.
    """

    supports_masking = True
    time_major = False  # sequences, masks and outputs are (timesteps, batch, ...): only for configs of Keras 2
    _made_from: ClassVar = {
        **SequenceLayer._made_from,
        **{
            name: functools.partial(checked_option, name)
            for name in ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask")
        },
    }

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        cell = StackedRNNCells(cell, dtype=kwargs.get("dtype")) if nest.is_nested(cell) else cell
        cell_protocol.check_cell(cell)
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.unroll = bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.single_state = isinstance(cell.state_size, int)
        self.states: list[Any] | None = None  # of a stateful layer, once it is built

    @property
    def state_size(self) -> list[Any]:
        """The cell's state size: a list of one for a single state."""
        return [self.cell.state_size] if self.single_state else list(self.cell.state_size)

    @property
    def output_size(self) -> int:
        """The width of an output: the cell's `output_size`, else that of its first state."""
        return cell_protocol.output_size(self.cell)

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        return [(input_shape[0], *input_shape[2:])] if isinstance(self.cell, Layer) else []

    def _make_weights(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        self.check_axes(input_shape)
        batch = input_shape[1 if self.time_major else 0]
        if self.stateful and batch is None:
            raise ValueError(f"stateful layer {self.name!r} needs to know its batch size, got shape {input_shape}")
        super()._make_weights(input_shape, values)
        if self.stateful and batch is not None:
            self.begin_carrying(batch)

    # ------------------------------------------------------------ calling

    def check_axes(self, shape: Shape) -> None:
        if len(shape) == 3 or (len(shape) > 3 and not self.engine_cells):
            return
        text = f"sequences must have shape (batch, timesteps, features), got {shape}: expected ndim=3"
        hint = "; a recurrent layer before it returns sequences with return_sequences=True" if len(shape) == 2 else ""
        raise (LengthError if len(shape) < 3 else ValueError)(f"layer {self.name!r}: {text}{hint}")

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        x = as_array("sequences", inputs)
        self.check_axes(x.shape)
        x = x.swapaxes(0, 1) if self.time_major else x
        if 0 in x.shape[1:2]:
            raise LengthError(f"sequences must have at least one timestep, got shape {x.shape}")
        return self.cast(x)

    def checked_call(
        self, sequences: Array, initial_state: Any, mask: ArrayLike | None
    ) -> tuple[list[Array] | None, Array | None]:
        """The arguments of a call: the states, one array each, or None for zeros; and the mask."""
        batch, timesteps = sequences.shape[:2]
        keep = None if mask is None else checked_mask(mask, batch, timesteps)
        states, cells = self.beginning_states(initial_state, batch), self.engine_cells
        if self.built and cells is not None and sequences.shape[2] != (features := cells[0].kernel.shape[0]):
            raise ValueError(f"sequences must have {features} features, as the kernel has, got {sequences.shape[2]}")
        return states, keep

    def call(self, sequences: Array, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        states, keep = self.checked_call(sequences, initial_state, mask)
        cells = self.engine_cells
        if cells is None:
            return self._walked(sequences, states, keep, training)
        if not self.built:
            raise ValueError(f"layer {self.name!r} is not built yet: call it or build(input_shape) first")
        result = self.program_within_call(cells, training).run(cells[0].cast(sequences), keep, states or ())
        return nest.mapped(self.returned, result)

    @property
    def engine_cells(self) -> list[RecurrentCell] | None:
        """The cells that the engine runs, each over what the one before returns; None where Python has to walk."""
        return getattr(self.cell, "engine_cells", None)

    def program_within_call(self, cells: list[RecurrentCell], training: bool) -> CallProgram:
        """The program that `call` runs, also in a custom subclass, of cells that the engine knows."""
        facts = (
            training and [(cell.dropout, cell.recurrent_dropout, *cell.factor_widths) for cell in cells],
            cells,
            [cell.kernel.shape for cell in cells],
            self.return_sequences,
            self.return_state,
            self.stateful,
            self.go_backwards,
            self.zero_output_for_mask,
        )
        known = self._known_program
        if known is None or known.made_for != facts:
            known = program_of(
                self,
                (None, None, cells[0].kernel.shape[0]),
                ENGINE,
                dtype=cells[0].dtype_policy.engine_dtype,
                state_sizes=self.flat_state_sizes,
                training=training,
                within_its_call=True,
            )
            known.made_for = facts
            vars(self)["_known_program"] = known
        return known

    @property
    def rounds_as_numpy(self) -> bool:
        return False  # its call runs a program too

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        self._check_batch_first()
        again = self.as_the_last(x, initial_state, mask, training)
        if again is not None:
            return again
        cells = self.engine_cells
        if cells is not None or type(self)._override is not None:
            return super().vjp(x, initial_state, mask, training)
        from cyrnn.layers.base.programs.penalties import activity_of
        from cyrnn.layers.base.programs.pullback import Input, PullbackThrough
        from cyrnn.layers.recurrent.python_gradients import walked

        given, array = as_array("inputs", x), self.checked_inputs(x)
        states, keep = self.checked_call(array, initial_state, mask)
        if not self.built:
            self.build(array.shape)
        begun = nest.flatten(self.get_initial_state(len(array))) if states is None else states
        output, after, back = walked(
            run_cell,
            self.cell,
            array,
            nest.pack(self.get_initial_state(1), begun),
            keep,
            bool(training),
            go_backwards=self.go_backwards,
            return_sequences=self.return_sequences,
            zero_output_for_mask=self.zero_output_for_mask,
        )
        after = nest.pack(after, [self.returned(state) for state in nest.flatten(after)])
        output = self.returned(output)
        if self.stateful:
            self.carry(after)
        y = (output, *after) if self.return_state else output
        of_states = [None] * (0 if self.return_state else len(begun))
        inputs = [Input(number, state.shape, state.dtype) for number, state in enumerate(begun)]
        weights = self._weight_slots(trainable=True)
        dtype = self.dtype_policy.engine_dtype.name
        whole, back_all = Input.of("x", given), lambda gradients, losses: back([*gradients, *of_states], losses)
        pullback = PullbackThrough(back_all, y, whole, inputs, weights, dtype)
        pullback.activity = activity_of(self, y)
        return y, pullback

    @property
    def flat_state_sizes(self) -> list[int]:
        return nest.flatten(self.state_size)

    def begun_with(self, x: Array, initial_state: Any, mask: Any) -> tuple[Sequence[Array | None], Any]:
        states, keep = self.checked_call(x, initial_state, mask)
        return [None] * len(self.flat_state_sizes) if states is None else states, keep

    def _walked(self, x: Array, states: list[Array] | None, keep: Array | None, training: bool) -> Any:
        """What a call returns, timestep by timestep in Python."""
        leaves = nest.flatten(self.get_initial_state(len(x))) if states is None else states
        output, after = run_cell(
            self.cell,
            x,
            nest.pack(self.get_initial_state(1), leaves),
            keep,
            training,
            go_backwards=self.go_backwards,
            return_sequences=self.return_sequences,
            zero_output_for_mask=self.zero_output_for_mask,
        )
        output = self.returned(output)
        packed = nest.pack(self.get_initial_state(1), [self.returned(state) for state in nest.flatten(after)])
        if self.stateful:
            self.carry(packed)
        return (output, *packed) if self.return_state else output

    # ------------------------------------------------------------ as ops of a program

    def lower(
        self,
        lowering: Lowering,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        initial_state: Any = None,
        into: Value | None = None,
    ) -> Any:
        """Add an op for each cell. `into` is where the output comes to, instead of a new buffer."""
        cells = self.check_lowered(lowering, inputs, initial_state)
        x = lowering.numbers(inputs)
        keep = lowering.mask(mask, x)
        begin = lowering.states(self, initial_state, self.flat_state_sizes)
        kept = self.flat_state_sizes if self.return_state or self.stateful else []
        final = [lowering.buffer((None, size)) for size in kept]
        if self.go_backwards:
            x, keep = lowering.reversed(x), None if keep is None else lowering.reversed(keep)
        of_cell = slice(0, 0)
        for index, cell in enumerate(cells):
            last = index == len(cells) - 1
            of_cell = slice(of_cell.stop, of_cell.stop + cell.state_count)
            whole = self.return_sequences or not last
            out = into if last else None
            if out is None:
                shape = (None, x.shape[1], cell.units) if whole else (None, cell.units)
                out = lowering.buffer(shape, x.timeline if whole else None)
            cell.lower_over(
                lowering,
                x,
                outputs=out if whole else None,
                last_output=None if whole else out,
                mask=keep,
                initial=begin[of_cell],
                final=final[of_cell],
                zero_output_for_mask=self.zero_output_for_mask and last,
                training=training,
            )
            x = out
        if self.stateful:
            lowering.carry(self, final)
        return (x, *nest.pack(self.get_initial_state(1), final)) if self.return_state else x

    def check_lowered(self, lowering: Lowering, inputs: Any, initial_state: Any) -> list[RecurrentCell]:
        """The cells, which become an op each over these inputs. Raises NotLoweredError where they cannot."""
        if self.time_major and not lowering.within_a_call:
            raise NotLoweredError("its sequences have the batch on their second axis")
        features = lowering.shape_of(inputs, 3, "batch, timesteps, features")[2]
        for part in self.cell.layers_within() if isinstance(self.cell, Layer) else ():
            lowering.check(part, within=True, method="engine_cells")
        cells = self.engine_cells
        if cells is None:
            raise NotLoweredError(f"its cell {type(self.cell).__name__} has a custom activation, or is a custom one")
        for cell in cells:
            cell.check_lowered(features)
            features = cell.units
        lowering.check_states(initial_state, self.flat_state_sizes)
        return cells

    # ------------------------------------------------------------ streaming

    def stepper(self, batch_size: int = 1, initial_state: Any = None, threads: int = 1) -> Stepper:
        """A `Stepper` for `batch_size` streams side by side, which takes one timestep at a time.

        Parameters
        ----------
        batch_size : int, default 1
        initial_state : optional
            As in a call; None is what a call without it begins with, also where the layer is stateful.
        threads : int, default 1
            That may compute a step of one stream together, with the same bits, where the layer has 256 units or more
            (LSTM 128, GRU 148). It pays where one step follows another at once; a step may take locks then.

        Returns
        -------
        Stepper

        Raises
        ------
        ValueError
            For a layer that is not built, goes backwards, or that the engine does not run by itself.
        """
        self._check_own_call()
        return stepper_of(self, batch_size, initial_state, threads)

    @property
    def __cyrnn_model__(self) -> Any:
        """The layer as it is now for C: a capsule of a ``cyrnn_model``, see cyrnn.h. Raises ValueError as `stepper`."""
        self._check_own_call()
        return capsule_of(self)

    def _check_own_call(self) -> None:
        if type(self).call is not RNN.call:
            raise ValueError(f"layer {self.name!r} has a `call` of its own, which a stepper does not know")

    # ------------------------------------------------------------ shapes and config

    def compute_output_shape(self, input_shape: Sequence[int | None], initial_state_shape: Any = None) -> Any:
        batch, timesteps = input_shape[1::-1] if self.time_major else input_shape[:2]
        leading = (timesteps, batch) if self.time_major else (batch, timesteps)
        output = (*leading, self.output_size) if self.return_sequences else (batch, self.output_size)
        return (output, *(_state_shapes(size, batch) for size in self.state_size)) if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The input's mask if every timestep is returned, else None; with `return_state`, None for each state too."""
        output = nest.flatten(mask)[0] if self.return_sequences else None
        return [output, *(None for _ in self.state_size)] if self.return_state else output

    def described(self) -> dict[str, Any]:
        sizes = self.state_size
        return {"units": sizes[0] if len(sizes) == 1 else sizes, **super().described()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.own_config(), "cell": objects.serialize(self.cell)}

    def own_config(self) -> dict[str, Any]:
        """The options that every recurrent layer has, in Keras' order."""
        return {
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            **({"time_major": True} if self.time_major else {}),
        }

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, **objects.revived_in(config, "cell")}


def _state_shapes(size: Any, batch: int | None) -> Any:
    """The shapes of states of these sizes, nested as they are."""
    return [_state_shapes(part, batch) for part in size] if nest.is_nested(size) else (batch, size)
