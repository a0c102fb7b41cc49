"""SimpleRNNCell: one step of Keras' simple recurrent network.

    h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias)

Reference: ``keras.layers.SimpleRNNCell``, Keras 3.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations, constraints, initializers, objects, random, regularizers
from cyrnn.arrays import converted
from cyrnn.engine.program import ABSENT, INPUT, STATE, Bound, Program, structure_now
from cyrnn.layers.base.arguments import Array, LengthError, Shape, as_array, checked_int, checked_rate, is_true
from cyrnn.layers.base.engine_layer import EngineLayer, cell_program
from cyrnn.layers.base.programs.arguments import Factors
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Value
from cyrnn.layers.base.weights import Weight, WeightSpec


@objects.register("keras.layers")
class SimpleRNNCell(EngineLayer):
    """One step: ``cell(sequence, states, training=False) -> (output, new_states)``.

    Parameters
    ----------
    units : positive int, the width of output and state
    activation : name or callable on arrays (batch, units); None is linear
    use_bias : whether there is a bias
    kernel_initializer, recurrent_initializer, bias_initializer : name, object, callable(shape, dtype), array or None
    kernel_regularizer, recurrent_regularizer, bias_regularizer : their penalties are in `losses`
    kernel_constraint, recurrent_constraint, bias_constraint : applied by `apply_constraints()`
    dropout, recurrent_dropout : in [0, 1], share of the inputs and of the state dropped when training
    seed : int or None, of the dropout masks

    Weights, once built: `kernel` (features, units), `recurrent_kernel` (units, units), `bias` (units,) or None.

    Call
    ----
    sequence : array (batch, features), one step of the input
    states : array (batch, units), or a list or tuple that holds it
    Returns the output (batch, units) and the new state in the form it came: the array, or a list with it.
    Raises ValueError for wrong shapes, TypeError for arrays that are not of numbers.
    """

    kernel = Weight()
    recurrent_kernel = Weight()
    bias = Weight()

    _step: Bound | None = None  # the program of a call in inference, if it has been called; it may be out of date

    _made_from: ClassVar = {**EngineLayer._made_from, "activation": activations.get}

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        units = checked_int("units", units)
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(
            seed
        )  # before the initializers: without seeds, all draw in this order
        self.units = self.state_size = self.output_size = units
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = checked_rate("dropout", dropout)
        self.recurrent_dropout = checked_rate("recurrent_dropout", recurrent_dropout)
        self._dropout_mask: Array | None = None
        self._recurrent_dropout_mask: Array | None = None

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        features, units = input_shape[-1], self.units
        if features is None:
            raise ValueError(f"layer {self.name!r} needs to know the last axis of its input, got shape {input_shape}")
        kernel = WeightSpec(
            "kernel", (features, units), self.kernel_initializer, self.kernel_regularizer, self.kernel_constraint
        )
        recurrent_kernel = WeightSpec(
            "recurrent_kernel",
            (units, units),
            self.recurrent_initializer,
            self.recurrent_regularizer,
            self.recurrent_constraint,
        )
        bias = WeightSpec("bias", (units,), self.bias_initializer, self.bias_regularizer, self.bias_constraint)
        return [kernel, recurrent_kernel, bias] if self.use_bias else [kernel, recurrent_kernel]

    @property
    def engine_cells(self) -> "list[SimpleRNNCell] | None":
        """This cell, if its plan alone computes what `call` does, for whole sequences; else None."""
        cls = type(self)
        as_it_is = cls.call is SimpleRNNCell.call and cls.__call__ is SimpleRNNCell.__call__
        known = activations.engine_name(self.activation) is not None and self.activity_regularizer is None
        return [self] if as_it_is and known else None

    @property
    def begins_with_zeros(self) -> bool:
        """Whether `get_initial_state` is the one of this class."""
        return type(self).get_initial_state is SimpleRNNCell.get_initial_state

    # ------------------------------------------------------------ one step

    def __call__(self, sequence: ArrayLike, states: Any, training: bool = False) -> tuple[Array, Any]:
        bound = self._step
        if bound is not None and (training is False or not is_true("training", training)) and _is_state(states):
            output = bound.call(sequence, None, states)
            if output is not None:
                return _with_state(output, isinstance(states, (list, tuple)))
        made_at = structure_now()
        result = super().__call__(sequence, states, training=training)
        if (bound is None or not bound.up_to_date) and self._is_one_step:
            vars(self)["_step"] = Bound(self._program, (self._slot,), _STEP, (), made_at)
        return result

    @property
    def _is_one_step(self) -> bool:
        """Whether a call is what its program computes, and nothing else."""
        policy, cls = self.dtype_policy, type(self)
        return (
            self.built
            and cls.call is SimpleRNNCell.call
            and cls._override is None
            and self.activity_regularizer is None
            and policy.compute_dtype == policy.engine_dtype
            and activations.engine_name(self.activation) is not None
        )

    @property
    def _program(self) -> Program:
        return cell_program(self.dtype_policy.engine_dtype.name, *self.kernel.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_step": None}

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        x = super().checked_inputs(inputs)
        if x.ndim != 2:
            raise ValueError(f"sequence must have shape (batch, features), got {x.shape}")
        return x

    def call(self, sequence: Array, states: Any, training: bool = False) -> tuple[Array, Any]:
        listed, features = isinstance(states, (list, tuple)), self.kernel.shape[0]
        if listed and not states:
            raise LengthError("states must hold an array (batch, units), got an empty list")
        state = self.checked_state(states[0] if listed else states, len(sequence))
        if sequence.shape[1] != features:
            raise ValueError(f"sequence must have {features} features, as the kernel has, got {sequence.shape[1]}")
        factors: tuple[Array | None, Array | None] = (None, None)
        if training:
            factors = self.get_dropout_mask(sequence), self.get_recurrent_dropout_mask(state)
        output = self.run_program(self._program, sequence, state, *factors)
        return _with_state(self.returned(self.activated(output)), listed)

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        """One step and its pullback: as `Layer.vjp`, where y is (output, new_states); `mask` is not used."""
        self._check_no_override()
        from cyrnn.layers.recurrent.python_gradients import of_simple_rnn_cell

        return of_simple_rnn_cell(self, x, initial_state, training)

    def checked_state(self, state: ArrayLike, batch: int) -> Array:
        """A state as a contiguous (batch, units) array in the engine's dtype; (1, units) and (units,) are repeated."""
        array = as_array("states", state)
        if array.shape != (batch, self.units):
            if array.shape not in ((1, self.units), (self.units,)):
                raise ValueError(f"states must have shape {(batch, self.units)}, got {array.shape}")
            array = np.broadcast_to(array, (batch, self.units))
        return np.require(converted(array, self.dtype_policy.engine_dtype), None, ["C", "A"])

    def get_initial_state(self, batch_size: int | None = None) -> list[Array]:
        """``[zeros (batch_size, units)]``. Raises TypeError without a batch size."""
        if batch_size is None:
            raise TypeError("get_initial_state() needs a batch_size, got None")
        return [np.zeros((batch_size, self.units), self.dtype_policy.compute_dtype)]

    def check_lowered(self, features: int | None) -> None:
        """Raises NotLoweredError unless the cell's op takes inputs of so many features."""
        if activations.engine_name(self.activation) is None:
            raise NotLoweredError(f"the activation {self.activation!r:.100} is a custom one")
        if features != self.kernel.shape[0]:
            raise NotLoweredError(f"its kernel takes {self.kernel.shape[0]} features, and its input has {features}")

    def lower_over(
        self,
        lowering: Lowering,
        x: Value,
        *,
        outputs: Value | None,
        last_output: Value | None,
        mask: Value | None,
        initial: Sequence[Value],
        final: Sequence[Value],
        zero_output_for_mask: bool,
        training: bool,
    ) -> None:
        """Add the op that runs the cell over all timesteps of x; see `Lowering` and the engine's `Program`."""
        dropout: list[int | None] = [None, None]
        if training and (self.dropout or self.recurrent_dropout):
            views = lowering.dropout(Factors(self, self.kernel.shape[0]), self.units)
            dropout = [
                view if rate else None for view, rate in zip(views, (self.dropout, self.recurrent_dropout), strict=True)
            ]
        lowering.program.recurrent(
            lowering.slot(self),
            x.view,
            outputs=None if outputs is None else outputs.view,
            last_output=None if last_output is None else last_output.view,
            mask=None if mask is None else mask.view,
            initial=[state.view for state in initial],
            final=[state.view for state in final],
            zero_output_for_mask=zero_output_for_mask,
            input_dropout=dropout[0],
            recurrent_dropout=dropout[1],
        )

    # ------------------------------------------------------------ dropout

    def get_dropout_mask(self, step_input: Array) -> Array | None:
        """Factors (batch, features) for the inputs: the same until `reset_dropout_mask`, or another shape comes."""
        if self._dropout_mask is None or self._dropout_mask.shape != step_input.shape:
            self._dropout_mask = self._draw(self.dropout, step_input.shape)
        return self._dropout_mask

    def get_recurrent_dropout_mask(self, state: Array) -> Array | None:
        """Factors (batch, units) for the state: the same until reset, or another shape comes."""
        if self._recurrent_dropout_mask is None or self._recurrent_dropout_mask.shape != state.shape:
            self._recurrent_dropout_mask = self._draw(self.recurrent_dropout, state.shape)
        return self._recurrent_dropout_mask

    def draw_dropout_masks(self, batch: int, features: int) -> tuple[Array | None, Array | None]:
        """New factors for one run over a sequence, drawn in Keras' order: inputs, then state."""
        return self._draw(self.dropout, (batch, features)), self._draw(self.recurrent_dropout, (batch, self.units))

    def _draw(self, rate: float, shape: tuple[int, ...]) -> Array | None:
        if rate == 0.0:
            return None
        return random.dropout_mask(shape, rate, self.seed_generator, self.dtype_policy.engine_dtype)

    def reset_dropout_mask(self) -> None:
        """Draw a new input mask at the next training step."""
        self._dropout_mask = None

    def reset_recurrent_dropout_mask(self) -> None:
        """Draw a new state mask at the next training step."""
        self._recurrent_dropout_mask = None

    # ------------------------------------------------------------ shapes and config

    def compute_output_shape(self, input_shape: Sequence[int | None], *states_shape: Any) -> Any:
        """The shapes of output and state."""
        shape = (*tuple(input_shape)[:-1], self.units)
        return shape, shape

    def described(self) -> dict[str, Any]:
        return {"units": self.units, **super().described()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.own_config(), "seed": self.seed}

    def own_config(self) -> dict[str, Any]:
        """The constructor's arguments that SimpleRNN has too, in Keras' order."""
        return {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }


_STEP = ((INPUT, 0), (STATE, 0), (ABSENT, 0), (ABSENT, 0))


def _is_state(states: Any) -> bool:
    """Whether a call needs no look at its states: an array, or one in a list."""
    if type(states) in (list, tuple) and len(states) == 1:
        (states,) = states
    return type(states) is np.ndarray


def _with_state(output: Array, listed: bool) -> tuple[Array, Any]:
    """The output and the new state, equal to it: a copy, so that writing to one leaves the other as it is."""
    state = output.copy()
    return output, [state] if listed else state
