"""RNN: a cell over the timesteps of sequences, with Keras' options, masks and states.

Reference: ``keras.layers.RNN``, Keras 3; where its backends disagree, its TensorFlow backend.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import objects
from cyrnn.engine import threads
from cyrnn.layers.base import Array, EmptySequenceError, Layer, Shape, as_array
from cyrnn.layers.batches import predict_in_batches
from cyrnn.layers.simple_rnn_cell import SimpleRNNCell


@objects.register("keras.layers")
class RNN(Layer):
    """A recurrent layer: ``rnn(sequences, initial_state=None, mask=None, training=False)``.

    Parameters
    ----------
    cell : a SimpleRNNCell, or any object with ``call(inputs, states) -> (output, new_states)`` and `state_size`
        (int, or list or tuple of ints); it may have `output_size` and `get_initial_state(batch_size)`
    return_sequences : return the output of every timestep, not only of the last
    return_state : return the final states too
    go_backwards : process the last timestep first; outputs are in the order of processing
    stateful : begin each call with the states that the one before left; `reset_state()` sets them to zeros
    unroll : accepted, changes nothing
    zero_output_for_mask : masked timesteps give zeros, instead of repeating the last output

    Call
    ----
    sequences : array (batch, timesteps, features), any strides; at least one timestep
    initial_state : array (batch, units), or a list or tuple with one array per state; default zeros
    mask : array (batch, timesteps) or (batch, timesteps, 1), or (timesteps,) for a batch of one; true means keep.
        A masked timestep leaves the state of its row as it is and repeats its last output (zeros before the first)
    training : apply dropout
    Returns (batch, units), or (batch, timesteps, units) with `return_sequences`; with `return_state` a tuple of that
    and each state. Raises ValueError for wrong shapes, TypeError for arrays that are not of numbers.
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        self.state_sizes = _checked_cell(cell)
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.unroll = bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.single_state = isinstance(cell.state_size, int)
        self.states: list[Array] | None = None  # of a stateful layer, once it is built
        self._cell_takes_training = "training" in inspect.signature(cell.call).parameters

    @property
    def state_size(self) -> Any:
        """The cell's state size: a list of one for a single state."""
        return [self.cell.state_size] if self.single_state else self.cell.state_size

    @property
    def output_size(self) -> int:
        """The width of an output: the cell's `output_size`, else that of its first state."""
        size = getattr(self.cell, "output_size", None)
        return self.state_sizes[0] if size is None else int(size)

    @property
    def sublayers(self) -> list[tuple[str, Layer]]:
        return [("cell", self.cell)] if isinstance(self.cell, Layer) else []

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        return [(input_shape[0], *input_shape[2:])] if self.sublayers else []

    def build_with(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        if len(input_shape) != 3:
            raise ValueError(f"the input must have shape (batch, timesteps, features), got {input_shape}")
        if self.stateful and input_shape[0] is None:
            raise ValueError(f"stateful layer {self.name!r} needs to know its batch size, got shape {input_shape}")
        super().build_with(input_shape, values)
        if self.stateful and input_shape[0] is not None:
            self.states = self._zero_states(input_shape[0])

    # ------------------------------------------------------------ calling

    def __call__(  # type: ignore[override]
        self,
        sequences: ArrayLike,
        initial_state: Any = None,
        mask: ArrayLike | None = None,
        training: bool = False,
    ) -> Any:
        x = as_array("sequences", sequences)
        if x.ndim != 3:
            raise ValueError(f"sequences must have shape (batch, timesteps, features), got {x.shape}: expected ndim=3")
        if x.shape[1] == 0:
            raise EmptySequenceError(f"sequences must have at least one timestep, got shape {x.shape}")
        if not self.built:
            self.build(x.shape)
        return self.call(self.cast(x), initial_state, mask=mask, training=training)

    def call(  # type: ignore[override]
        self, sequences: Array, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        batch, timesteps, _ = sequences.shape
        keep = None if mask is None else checked_mask(mask, batch, timesteps)
        states = self._initial_states(initial_state, batch)
        if isinstance(self.cell, SimpleRNNCell) and self.cell.runs_on_engine:
            output, states = self._run(self.cell, sequences, states, keep, training)
        else:
            output, states = self._walk(sequences, states, keep, training)
        output = self.returned(output)
        states = [self.returned(state) for state in states]
        if self.stateful:
            self.states = [state.copy() for state in states]
        self._record_activity(output, *(states if self.return_state else []))
        return (output, *states) if self.return_state else output

    def _run(
        self, cell: SimpleRNNCell, x: Array, states: list[Array] | None, keep: Array | None, training: bool
    ) -> tuple[Array, list[Array]]:
        """The whole sequence in one call of the engine."""
        plan = cell.plan()
        batch, timesteps, features = x.shape
        if features != plan.features:
            raise ValueError(f"sequences must have {plan.features} features, as the kernel has, got {features}")
        input_dropout, recurrent_dropout = cell.draw_dropout_masks(batch, features) if training else (None, None)
        shape = (batch, timesteps, plan.units) if self.return_sequences else (batch, plan.units)
        output = np.empty(shape, plan.dtype)
        state = np.empty((batch, plan.units), plan.dtype) if self.return_state or self.stateful else None
        plan.run(
            cell.cast(x),
            initial_state=None if states is None else cell.checked_state(states[0], batch),
            mask=keep,
            zero_output_for_mask=self.zero_output_for_mask,
            go_backwards=self.go_backwards,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            outputs=output if self.return_sequences else None,
            last_output=None if self.return_sequences else output,
            state=state,
            num_threads=threads.get_num_threads(),
        )
        return output, [] if state is None else [state]

    def _walk(
        self, x: Array, states: list[Array] | None, keep: Array | None, training: bool
    ) -> tuple[Array, list[Array]]:
        """Timestep by timestep in Python, for cells that the engine does not know."""
        states = self._zero_states(len(x)) if states is None else states
        previous: Array | None = None  # the last emitted output
        outputs, losses = [], []
        self._reset_dropout()
        for t in reversed(range(x.shape[1])) if self.go_backwards else range(x.shape[1]):
            output, new_states = self._step(x[:, t], states, training)
            if isinstance(self.cell, Layer):
                losses += self.cell._all_activity_losses()
            if keep is not None:
                kept = keep[:, t, None]
                previous = np.zeros_like(output) if previous is None or self.zero_output_for_mask else previous
                output = np.where(kept, output, previous)
                new_states = [np.where(kept, new, old) for new, old in zip(new_states, states, strict=True)]
            previous, states = output, new_states
            if self.return_sequences:
                outputs.append(output)
        self._reset_dropout()
        if isinstance(self.cell, Layer):
            self.cell._activity_losses = losses
        assert previous is not None  # there was a timestep
        return np.stack(outputs, axis=1) if self.return_sequences else previous, states

    def _reset_dropout(self) -> None:
        """One dropout mask per sequence: none from before, and none left for later."""
        if isinstance(self.cell, SimpleRNNCell):
            self.cell.reset_dropout_mask()
            self.cell.reset_recurrent_dropout_mask()

    def _step(self, x: Array, states: list[Array], training: bool) -> tuple[Array, list[Array]]:
        call = self.cell if isinstance(self.cell, Layer) else self.cell.call
        extra = {"training": training} if self._cell_takes_training else {}
        output, new_states = call(x, states, **extra)
        listed = isinstance(new_states, (list, tuple))
        new_states = [np.asarray(state) for state in (new_states if listed else [new_states])]
        if len(new_states) != len(states):
            raise ValueError(
                f"the cell returned {len(new_states)} states, expected {len(states)} as its state_size says"
            )
        return np.asarray(output), new_states

    # ------------------------------------------------------------ states

    def _initial_states(self, initial_state: Any, batch: int) -> list[Array] | None:
        """The states a call begins with, one array for each of the cell's; None for zeros."""
        if self.stateful and self.states is not None and len(self.states[0]) != batch:
            raise ValueError(
                f"stateful layer {self.name!r} carries states of {len(self.states[0])} rows, got a batch of {batch}"
            )
        if initial_state is None:
            return [state.copy() for state in self.states] if self.stateful and self.states else None
        given = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        if len(given) != len(self.state_sizes):
            raise ValueError(f"initial_state must hold {len(self.state_sizes)} arrays, got {len(given)}")
        states = []
        for state, size in zip(given, self.state_sizes, strict=True):
            array = as_array("initial_state", state)
            if array.shape not in ((batch, size), (1, size), (size,)):
                raise ValueError(f"initial_state must have shape {(batch, size)}, got {array.shape}")
            states.append(np.broadcast_to(array, (batch, size)))
        return states

    def _zero_states(self, batch: int) -> list[Array]:
        if hasattr(self.cell, "get_initial_state"):
            states = self.cell.get_initial_state(batch_size=batch)
            return [np.asarray(s) for s in (states if isinstance(states, (list, tuple)) else [states])]
        return [np.zeros((batch, size), self.dtype_policy.compute_dtype) for size in self.state_sizes]

    def get_initial_state(self, batch_size: int) -> list[Array]:
        """The states (batch_size, size) of a call without `initial_state`."""
        return self._zero_states(batch_size)

    def reset_state(self) -> None:
        """Set the states that a stateful layer carries to zeros."""
        if self.states is not None:
            self.states = [np.zeros_like(state) for state in self.states]

    reset_states = reset_state

    # ------------------------------------------------------------ batches

    def predict(
        self,
        x: ArrayLike,
        batch_size: int | None = None,
        *,
        num_threads: int | None = None,
        out: Array | None = None,
        progress: bool = False,
    ) -> Any:
        """The layer's output for x (batch, timesteps, features), computed batch by batch.

        See `cyrnn.Sequential.predict` for the arguments.
        """
        return predict_in_batches(self, x, batch_size, num_threads=num_threads, out=out, progress=progress)

    # ------------------------------------------------------------ shapes and config

    def compute_output_shape(self, input_shape: Sequence[int | None], initial_state_shape: Any = None) -> Any:
        batch, timesteps = input_shape[:2]
        output = (batch, timesteps, self.output_size) if self.return_sequences else (batch, self.output_size)
        return (output, *((batch, size) for size in self.state_sizes)) if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The input's mask if every timestep is returned, else None; with `return_state`, None for each state too."""
        output = mask if self.return_sequences else None
        return [output, *(None for _ in self.state_sizes)] if self.return_state else output

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
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        with objects.custom_object_scope(custom_objects):
            return cls(**{**config, "cell": objects.deserialize(config["cell"], "keras.layers")})


def _checked_cell(cell: Any) -> list[int]:
    """The sizes of the cell's states. Raises ValueError for what is not a cell."""
    if not callable(getattr(cell, "call", None)):
        raise ValueError(f"cell must have a method `call(inputs, states)`, got {cell!r}")
    size = getattr(cell, "state_size", None)
    sizes = list(size) if isinstance(size, (list, tuple)) else [size]
    if not sizes or not all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        raise ValueError(f"cell must have a `state_size`, an int or a list or tuple of ints, got {size!r}")
    return [int(n) for n in sizes if n is not None]


def checked_mask(mask: ArrayLike, batch: int, timesteps: int) -> Array:
    """A mask as a bool array (batch, timesteps), True for keep. Raises ValueError for any other shape."""
    array = np.asarray(mask)
    if array.shape == (batch, timesteps, 1):
        array = array[:, :, 0]
    elif array.shape == (timesteps,) and batch == 1:
        array = array[None]
    if array.shape != (batch, timesteps):
        raise ValueError(f"mask must have shape {(batch, timesteps)}, got {array.shape}")
    return array.astype(bool, copy=False)
