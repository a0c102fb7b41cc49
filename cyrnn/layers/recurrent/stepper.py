"""Steppers: a recurrent layer that is given one timestep at a time, as a stream brings them."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import converted, quietly
from cyrnn.dtypes import DTypePolicy
from cyrnn.engine.plan import Plan
from cyrnn.engine.runner import Runner
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array, check_out, checked_int, checked_rows
from cyrnn.layers.base.engine_layer import planned
from cyrnn.layers.recurrent.simple_rnn_cell import SimpleRNNCell


class Stepper(Runner):
    """One stream of timesteps, or `batch_size` of them side by side: ``layer.stepper()`` makes it.

    ``step(x_t, out=None)`` takes x_t (batch_size, features), moves the state, and returns the output (batch_size,
    units), with the bits that the layer gives for the whole sequence. With `out`, a C-contiguous array of the layer's
    dtype, it returns that one, filled, and allocates nothing (but for policies that store or return a 16-bit type).

    The weights are those of the layer when the stepper was made; steppers of one layer share them, except such as are
    unpickled. A stepper serves one thread at a time: another gets RuntimeError (the state of a stack is read and set
    cell by cell). Any number of steppers run side by side. It can be copied and pickled, with its state. Compiled code
    steps it by its `address`: see cyrnn.h.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        batch_size: int,
        weights: Sequence[Mapping[str, Array]],
        beginning: list[Array] | None,
        casts: tuple[np.dtype, np.dtype],
    ) -> None:
        self._weights = weights  # of each plan, which cannot give them back
        self._beginning = beginning  # None for zeros, which the runner has
        self._casts = casts  # what the layer takes and what it returns, where that is not what it computes in
        if beginning is not None:
            self._set(beginning)

    # ------------------------------------------------------------ stepping

    @quietly
    def converted(self, x_t: ArrayLike) -> Array:
        return np.require(as_array("x_t", x_t).astype(self._casts[0], copy=False), self.dtype, ["C", "A"])

    # ------------------------------------------------------------ states

    @property
    def state(self) -> Any:
        """A copy of the state (batch_size, units), for a stack a list with that of each cell. Assign to set it."""
        states = self._get()
        return states if len(states) > 1 else states[0]

    @state.setter
    def state(self, state: Any) -> None:
        self._set(self._checked(state, self.batch_size))

    def reset(self, state: Any = None, rows: int | ArrayLike | None = None) -> None:
        """Begin anew: with `state`, or as the stepper began.

        state : as `state` has it, for the rows that are set
        rows : which to set: an int, ints, or a bool for each; None is all
        Raises ValueError for wrong shapes or rows; nothing has changed then.
        """
        which = checked_rows("rows", rows, self.batch_size)
        if state is not None:
            new = self._checked(state, len(which))
        elif self._beginning is not None:
            new = [begin[which] for begin in self._beginning]
        else:
            new = [np.zeros((len(which), plan.units), self.dtype) for plan in self.plans]
        if rows is None:
            self._set(new)
            return
        for layer, values in enumerate(new):  # nothing but these rows is written to
            for place, row in enumerate(which):
                self.set_state(layer, values[place : place + 1], int(row) % self.batch_size)

    @quietly
    def _get(self) -> list[Array]:
        return [self.get_state(layer).astype(self._casts[1], copy=False) for layer in range(len(self.plans))]

    def _set(self, states: list[Array]) -> None:
        for layer, state in enumerate(states):
            self.set_state(layer, state)

    @quietly
    def _checked(self, state: Any, rows: int) -> list[Array]:
        """One array (rows, units) for each cell; (1, units) and (units,) are repeated. Raises ValueError."""
        given = nest.flatten(state)
        if len(given) != len(self.plans):
            raise ValueError(f"state must hold {len(self.plans)} arrays, got {len(given)}")
        checked = []
        for values, plan in zip(given, self.plans, strict=True):
            array, shape = as_array("state", values), (rows, plan.units)
            if array.shape not in (shape, (1, plan.units), (plan.units,)):
                raise ValueError(f"state must have shape {shape}, got {array.shape}")
            checked.append(np.broadcast_to(array, shape).astype(self.dtype))
        return checked

    # ------------------------------------------------------------ copies

    def __copy__(self) -> Self:
        copy = type(self)(self.plans, self.batch_size, self._weights, self._beginning, self._casts)
        for layer in range(len(self.plans)):
            copy.set_state(layer, self.get_state(layer))
        return copy

    def __deepcopy__(self, memo: Any) -> Self:
        return self.__copy__()  # what is shared never changes

    def __reduce__(self) -> tuple[Any, ...]:
        weights = [dict(values) for values in self._weights]
        activations = [plan.activation for plan in self.plans]
        states = [self.get_state(layer) for layer in range(len(self.plans))]
        return _remade, (type(self), self.batch_size, weights, activations, self._beginning, self._casts, states)

    def __repr__(self) -> str:
        sizes = [plan.units for plan in self.plans]
        units = sizes if len(sizes) > 1 else sizes[0]
        features = self.plans[0].features
        return f"<Stepper batch_size={self.batch_size}, features={features}, units={units}, dtype={self.dtype.name!r}>"


class CastingStepper(Stepper):
    """A stepper of a layer that takes or returns another dtype than it computes in, as the 16-bit policies do.

    It allocates for what it converts, also with `out`.
    """

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        if out is not None:
            check_out(out, (self.batch_size, self.plans[-1].units), self._casts[1])
        output = converted(super().step(self.converted(x_t)), self._casts[1])
        if out is None:
            return output
        out[...] = output
        return out


class Steppable(Protocol):
    """What a stepper needs of a recurrent layer."""

    go_backwards: bool

    @property
    def name(self) -> str: ...

    @property
    def built(self) -> bool: ...

    @property
    def dtype_policy(self) -> DTypePolicy: ...

    @property
    def engine_cells(self) -> list[SimpleRNNCell] | None: ...

    @property
    def begins_with_zeros(self) -> bool: ...

    def get_initial_state(self, batch_size: int) -> list[Any]: ...

    def checked_states(self, name: str, states: Any, batch: int) -> list[Array]: ...


def stepper_of(layer: Steppable, batch_size: int, initial_state: Any) -> Stepper:
    """What `RNN.stepper` makes. Raises ValueError for layers that are not built, or that the engine does not run."""
    cells = layer.engine_cells
    rows = checked_int("batch_size", batch_size)
    if rows > sys.maxsize:
        raise ValueError(f"batch_size must be positive, and its states must fit in memory; got {rows}")
    if not layer.built:
        raise ValueError(f"layer {layer.name!r} is not built yet: call it or build(input_shape) first")
    if cells is None:
        raise ValueError(
            f"layer {layer.name!r} cannot be stepped by the engine: that takes SimpleRNNCells, alone or in a stack, "
            "with activations of Keras and without activity regularizers. Call its cell instead"
        )
    if layer.go_backwards:
        raise ValueError(
            f"layer {layer.name!r} goes backwards: its first step is the sequence's last, which a stream lacks"
        )
    plans, weights = zip(*(cell.plan_and_weights() for cell in cells), strict=True)
    policy, dtype = layer.dtype_policy, plans[0].dtype
    states = None if layer.begins_with_zeros else layer.get_initial_state(rows)
    if initial_state is not None:
        states = layer.checked_states("initial_state", initial_state, rows)
    beginning = None if states is None else [np.array(state, dtype, order="C") for state in nest.flatten(states)]
    casts = (policy.engine_dtype, policy.compute_dtype)
    kind = Stepper if casts == (dtype, dtype) else CastingStepper
    return kind(list(plans), rows, list(weights), beginning, casts)


def _remade(
    kind: type[Stepper],
    batch_size: int,
    weights: list[dict[str, Array]],
    activations: list[str],
    beginning: list[Array] | None,
    casts: tuple[np.dtype, np.dtype],
    states: list[Array],
) -> Stepper:
    dtype = states[0].dtype
    plans = [planned(values, dtype, name) for values, name in zip(weights, activations, strict=True)]
    stepper = kind(plans, batch_size, weights, beginning, casts)
    for layer, state in enumerate(states):
        stepper.set_state(layer, state)
    return stepper
