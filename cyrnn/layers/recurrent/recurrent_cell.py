"""What the cells have in common that the engine runs: their options, weights, dropout, steps and config."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations, constraints, initializers, random, regularizers
from cyrnn.arrays import converted
from cyrnn.engine.program import ABSENT, INPUT, STATE, Bound, Program, structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape, checked_int, checked_rate, checked_states, is_true
from cyrnn.layers.base.engine_layer import EngineLayer, cell_program
from cyrnn.layers.base.programs.arguments import Factors, side_by_side
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Value
from cyrnn.layers.base.weights import Weight, WeightSpec
from cyrnn.layers.recurrent.equations import WayBack


class RecurrentCell(EngineLayer):
    """A cell of a `kernel`, a `recurrent_kernel` and perhaps a `bias`, with the columns of one gate after another.

    Parameters
    ----------
    As `SimpleRNNCell` has them, which draws the seed of its dropout before those of its initializers.
    """

    kernel = Weight()
    recurrent_kernel = Weight()
    bias = Weight()

    gates: ClassVar[int]  # columns of the kernels for each unit
    state_count: ClassVar[int] = 1
    _seeded_first: ClassVar[bool] = False
    _inputs_name: ClassVar[str] = "sequence"  # of the argument of a call
    _dropout_mask: Any = None
    _recurrent_dropout_mask: Any = None
    _step: Bound | None = None  # the program of a call in inference, if it has been called; it may be out of date

    _made_from: ClassVar = {**EngineLayer._made_from, "activation": activations.get}

    def __init__(
        self,
        units: int,
        *,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        recurrent_regularizer: Any,
        bias_regularizer: Any,
        kernel_constraint: Any,
        recurrent_constraint: Any,
        bias_constraint: Any,
        dropout: float,
        recurrent_dropout: float,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        units = checked_int("units", units)
        super().__init__(**kwargs)
        self.seed = seed
        if self._seeded_first:
            self.seed_generator = random.SeedGenerator(seed)
        self.units = self.output_size = units
        self.state_size: Any = units if self.state_count == 1 else [units] * self.state_count
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
        if not self._seeded_first:
            self.seed_generator = random.SeedGenerator(seed)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        features, units = input_shape[-1], self.units
        if features is None:
            raise ValueError(f"layer {self.name!r} needs to know the last axis of its input, got shape {input_shape}")
        columns = self.gates * units
        kernel = WeightSpec(
            "kernel", (features, columns), self.kernel_initializer, self.kernel_regularizer, self.kernel_constraint
        )
        recurrent_kernel = WeightSpec(
            "recurrent_kernel",
            (units, columns),
            self.recurrent_initializer,
            self.recurrent_regularizer,
            self.recurrent_constraint,
        )
        bias = WeightSpec("bias", self.bias_shape, self.bias_initializer, self.bias_regularizer, self.bias_constraint)
        return [kernel, recurrent_kernel, bias] if self.use_bias else [kernel, recurrent_kernel]

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape of the bias."""
        return (self.gates * self.units,)

    def stepped(
        self, weights: Mapping[str, Array], x: Array, states: list[Array], factors: Sequence[Any]
    ) -> tuple[list[Array], WayBack]:
        """One step in NumPy: the new states, h first, and the way back from their gradients to those of x, of the
        states and of the weights. `factors` are those of dropout: for x, and for h."""
        raise NotImplementedError(f"{type(self).__name__} has no `stepped`")

    # ------------------------------------------------------------ in the engine

    @property
    def is_known(self) -> bool:
        """Whether the engine has all functions of the cell."""
        return all(activations.engine_name(function) is not None for function in self.functions)

    @property
    def engine_cells(self) -> "list[RecurrentCell] | None":
        """This cell, if its plan alone computes what `call` does, for whole sequences; else None."""
        cls = type(self)
        as_it_is = cls.call is RecurrentCell.call and cls.__call__.__module__.startswith("cyrnn.")
        return [self] if as_it_is and self.is_known and self.activity_regularizer is None else None

    @property
    def begins_with_zeros(self) -> bool:
        """Whether `get_initial_state` is the one of this class."""
        return type(self).get_initial_state is RecurrentCell.get_initial_state

    # ------------------------------------------------------------ one step

    def __call__(self, sequence: ArrayLike, states: Any, training: bool = False) -> tuple[Array, Any]:
        bound = self._step
        if bound is not None and (training is False or not is_true("training", training)) and self._are_states(states):
            new = bound.call(sequence, None, states)
            if new is not None:
                return self._returned_of(new, states)
        made_at = structure_now()
        result = super().__call__(sequence, states, training=training)
        if (bound is None or not bound.up_to_date) and self._is_one_step:
            vars(self)["_step"] = Bound(self._program, (self._slot,), self._step_inputs, (), made_at)
        return result

    @property
    def _is_one_step(self) -> bool:
        """Whether a call is what its program computes, and nothing else."""
        policy, cls = self.dtype_policy, type(self)
        return (
            self.built
            and cls.call is RecurrentCell.call
            and cls._override is None
            and self.activity_regularizer is None
            and policy.compute_dtype == policy.engine_dtype
            and self.is_known
        )

    @property
    def _program(self) -> Program:
        features, dtype = self.kernel.shape[0], self.dtype_policy.engine_dtype.name
        return cell_program(dtype, features, self.units, self.state_count, self.factor_widths)

    @property
    def _step_inputs(self) -> tuple[tuple[int, int], ...]:
        states = [(STATE, number) for number in range(self.state_count)]
        return (INPUT, 0), *states, (ABSENT, 0), (ABSENT, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_step": None}

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        x = super().checked_inputs(inputs)
        if x.ndim != 2:
            raise ValueError(f"{self._inputs_name} must have shape (batch, features), got {x.shape}")
        return x

    def call(self, sequence: Array, states: Any, training: bool = False) -> tuple[Array, Any]:
        given, features, got = self.checked_states(states, len(sequence)), self.kernel.shape[0], sequence.shape[1]
        if got != features:
            raise ValueError(f"{self._inputs_name} must have {features} features, as the kernel has, got {got}")
        factors: tuple[Any, Any] = (None, None)
        if training:
            factors = self.get_dropout_mask(sequence), self.get_recurrent_dropout_mask(given[0])
        if self.is_known:
            new = self.run_program(self._program, sequence, *given, *side_by_side(factors))
        else:
            new = self.step_in_python(sequence, given, factors)
        return self._returned_of(nest.mapped(self.returned, new), states)

    def step_in_python(self, x: Array, states: list[Array], factors: Sequence[Any]) -> Any:
        """What the engine would compute: h, or a tuple of all states."""
        weights = {name: converted(value, self.dtype_policy.engine_dtype) for name, value in self._values.items()}
        new, _ = self.stepped(weights, x, states, factors)
        return tuple(new) if len(new) > 1 else new[0]

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        """One step and its pullback, as `Layer.vjp`; y is (output, new_states).

        Parameters
        ----------
        x : array (batch, features)
        initial_state : array or list of arrays (batch, units), optional
            The states before the step; None is zeros.
        mask : None
            Is not used.
        training : bool
            Whether dropout is on.

        Returns
        -------
        y, pullback
        """
        self._check_no_override()
        from cyrnn.layers.recurrent.python_gradients import of_cell

        return of_cell(self, x, initial_state, training)

    def checked_states(self, states: Any, batch: int) -> list[Array]:
        """The states in the engine's dtype, contiguous (batch, units); (1, units) and (units,) are repeated."""
        return checked_states(states, self.state_count, (batch, self.units), self.dtype_policy.engine_dtype)

    def _are_states(self, states: Any) -> bool:
        """Whether a call needs no look at its states: an array, or arrays in a list."""
        if type(states) not in (list, tuple):
            return self.state_count == 1 and type(states) is np.ndarray
        for state in states:  # a generator would take a tenth of a step
            if type(state) is not np.ndarray:
                return False
        return len(states) == self.state_count

    def _returned_of(self, new: Any, states: Any) -> tuple[Array, Any]:
        """The output, and the new states in the form of the old ones; h is a copy, so that no array is there twice."""
        if self.state_count > 1:
            h, *others = new
            return h, [h.copy(), *others]
        return new, [new.copy()] if isinstance(states, (list, tuple)) else new.copy()

    def get_initial_state(self, batch_size: int | None = None) -> list[Array]:
        """The states that a sequence begins with: zeros.

        Parameters
        ----------
        batch_size : int
            The number of sequences. Without it a TypeError is raised.

        Returns
        -------
        list of arrays (batch_size, units)
        """
        if batch_size is None:
            raise TypeError("get_initial_state() needs a batch_size, got None")
        return [np.zeros((batch_size, self.units), self.dtype_policy.compute_dtype) for _ in range(self.state_count)]

    # ------------------------------------------------------------ as an op of a program

    def check_lowered(self, features: int | None) -> None:
        """Raises NotLoweredError unless the cell's op takes inputs of so many features."""
        for function in self.functions:
            if activations.engine_name(function) is None:
                raise NotLoweredError(f"the activation {function!r:.100} is a custom one")
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
            views = lowering.dropout(Factors(self, self.kernel.shape[0], self.factor_widths))
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

    @property
    def input_masks(self) -> int:
        """How many dropout masks the inputs have: one for all gates, or one for each."""
        return 1

    @property
    def recurrent_masks(self) -> int:
        """The same of h."""
        return 1

    @property
    def drops_each_gate(self) -> bool:
        """Whether each gate has factors of its own, in training."""
        return self._mask_counts != (1, 1)

    @property
    def factor_widths(self) -> tuple[int, int]:
        """The widths of dropout factors: for the inputs, and for h, where each gate has its own of all side by side."""
        of_inputs, of_h = self._mask_counts
        return self.kernel.shape[0] * of_inputs, self.units * of_h

    @property
    def _mask_counts(self) -> tuple[int, int]:
        of_inputs = self.input_masks if 0 < self.dropout < 1 else 1
        return of_inputs, self.recurrent_masks if 0 < self.recurrent_dropout < 1 else 1

    def get_dropout_mask(self, step_input: Array) -> Any:
        """Factors (batch, features) for the inputs, or a list with some for each gate: the same until
        `reset_dropout_mask`, or another shape comes."""
        if not _fits(self._dropout_mask, step_input):
            self._dropout_mask = self._draw(self.dropout, step_input.shape, self.input_masks)
        return self._dropout_mask

    def get_recurrent_dropout_mask(self, state: Array) -> Any:
        """Factors (batch, units) for the state, as `get_dropout_mask` has them for the inputs."""
        if not _fits(self._recurrent_dropout_mask, state):
            self._recurrent_dropout_mask = self._draw(self.recurrent_dropout, state.shape, self.recurrent_masks)
        return self._recurrent_dropout_mask

    def draw_dropout_masks(self, batch: int, features: int) -> tuple[Any, Any]:
        """New factors for one run over a sequence, drawn in Keras' order: inputs, then state."""
        of_inputs = self._draw(self.dropout, (batch, features), self.input_masks)
        return of_inputs, self._draw(self.recurrent_dropout, (batch, self.units), self.recurrent_masks)

    def _draw(self, rate: float, shape: tuple[int, ...], count: int) -> Any:
        if rate == 0.0:
            return None
        dtype, generator = self.dtype_policy.engine_dtype, self.seed_generator
        draw, share = (random.dropout_mask, rate) if rate >= 1 else (random.drawn_factors, 1.0 - rate)
        drawn = [draw(shape, share, generator, dtype) for _ in range(count)]
        return drawn if count > 1 else drawn[0]

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
        return shape, shape if self.state_count == 1 else [shape] * self.state_count

    def described(self) -> dict[str, Any]:
        return {"units": self.units, **super().described()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.own_config(), "seed": self.seed}

    def own_config(self) -> dict[str, Any]:
        """The constructor's arguments that the layer of the cell has too, in its order."""
        config = {"units": self.units, "activation": activations.serialize(self.activation), "use_bias": self.use_bias}
        kinds = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
        for kind, module in kinds.items():
            for weight in ("kernel", "recurrent", "bias"):
                name = f"{weight}_{kind}"
                config[name] = module.serialize(getattr(self, name))
        return {**config, "dropout": self.dropout, "recurrent_dropout": self.recurrent_dropout}


def _fits(mask: Any, array: Array) -> bool:
    """Whether dropout factors that were drawn are for arrays of this shape."""
    return mask is not None and np.shape(mask[0] if isinstance(mask, list) else mask) == array.shape
