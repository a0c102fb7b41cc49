"""Steppers: a recurrent layer or a model that is given one timestep at a time, as a stream brings them."""

import sys
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.arrays import converted, quietly, to_integers
from cyrnn.dtypes import DTypePolicy
from cyrnn.engine.plan import Packed
from cyrnn.engine.program import Program
from cyrnn.engine.recorded import RecordedProgram
from cyrnn.engine.runner import Port, Runner, model_capsule
from cyrnn.engine.threads import checked_count
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array, check_out, checked_int, checked_rows
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell

# Of a program's inputs, of its outputs, and for its ops those of their layers.
Names = tuple[Sequence[str], Sequence[str], Sequence[str]]


class Stepper(Runner):
    """One stream of timesteps, or `batch_size` of them side by side: ``layer.stepper()`` or ``model.stepper()``.

    ``step(x_t, out=None)`` takes x_t (batch_size, features), moves the state, and returns the output (batch_size,
    units), with the bits that the layer or model returns for the whole sequence. With `out`, a C-contiguous array of
    the layer's dtype, it returns that one, filled, and allocates nothing (but for policies that store or return a
    16-bit type). Several inputs are a tuple or list in the model's order, and so are several outputs.

    The weights are those of the layer when the stepper was made; steppers of one layer share them, except such as are
    unpickled. A stepper serves one thread at a time: another gets RuntimeError (several states are read and set one by
    one). Any number of steppers run side by side. It can be copied and pickled, with its state. Compiled code
    steps it by its `address`: see cyrnn.h.

    Parameters
    ----------
    program : Program
    packed : sequence of Packed
        The weights of each slot.
    batch_size : int
    names : Names
        As `Runner` has them.
    shapes, order, threads : optional
        As `Runner` has them.
    beginning : list of arrays (batch_size, units), optional
        For each state, in the runner's order. Default: zeros.
    casts : tuple of two dtypes, optional
        What inputs are rounded to, and what outputs and states are returned in. Default: what the program computes in.
    listed : bool
        Whether `state` is a list also for one recurrent layer, as it is for models.

    Examples
    --------
    >>> layer = cyrnn.layers.SimpleRNN(4, return_sequences=True)
    >>> x = np.zeros((1, 5, 3), np.float32)
    >>> outputs = layer(x)
    >>> stepper = layer.stepper()
    >>> all(np.array_equal(stepper.step(x[:, t]), outputs[:, t]) for t in range(5))
    True
    """

    def __init__(
        self,
        program: Program,
        packed: Sequence[Packed],
        batch_size: int,
        names: Names,
        shapes: Sequence[tuple[int, ...]] | None = None,
        order: Sequence[int] | None = None,
        threads: int = 1,
        beginning: list[Array] | None = None,
        casts: tuple[np.dtype, np.dtype] | None = None,
        listed: bool = False,
    ) -> None:
        self._shapes = shapes
        self._beginning = beginning
        self._casts = (self.dtype, self.dtype) if casts is None else casts
        self._listed = listed
        if beginning is not None:
            self._set(beginning)

    # ------------------------------------------------------------ stepping

    @quietly
    def converted(self, x_t: ArrayLike, index: int = 0) -> Array:
        name, kind = self.name_of("x_t", index), self.inputs[index].kind
        array = as_array(name, x_t)
        if kind == "token":
            return np.require(to_integers(name, array, np.int64), None, ["C", "A"])
        if kind == "mask":
            return np.require(array.astype(bool, copy=False), None, ["C", "A"])
        return np.require(array.astype(self._casts[0], copy=False), self.dtype, ["C", "A"])

    # ------------------------------------------------------------ states

    @property
    def state(self) -> Any:
        """A copy of the state (batch_size, units). Assign to set it.

        For a stack a list with that of each cell, for a model a list with that of each recurrent layer; of a layer with
        several states a list of them.
        """
        states = self._get()
        groups: list[Any] = [[] for _ in {port.number for port in self.states}]
        for port, state in zip(self.states, states, strict=True):
            groups[port.number].append(state)
        grouped = [group if len(group) > 1 else group[0] for group in groups]
        return grouped if self._listed or len(grouped) != 1 else grouped[0]

    @state.setter
    def state(self, state: Any) -> None:
        self._set(self._checked("state", state, self.batch_size))

    def reset(self, state: Any = None, rows: int | ArrayLike | None = None) -> None:
        """Begin anew: with `state`, or as the stepper began.

        Parameters
        ----------
        state : array, or a list of these, optional
            As `state` has it, for the rows that are set.
        rows : int, ints, or a bool for each, optional
            Which to set; None is all.

        Raises
        ------
        ValueError
            For wrong shapes or rows; nothing has changed then.
        """
        if state is None and rows is None and self._beginning is None:
            self.clear()
            return
        which = checked_rows("rows", rows, self.batch_size)
        if state is not None:
            new = self._checked("state", state, len(which))
        elif self._beginning is not None:
            new = [begin[which] for begin in self._beginning]
        else:
            new = [np.zeros((len(which), *port.shape), self.dtype) for port in self.states]
        if rows is None:
            self._set(new)
            return
        for index, values in enumerate(new):  # nothing but these rows is written to
            for place, row in enumerate(which):
                self.set_state(index, values[place : place + 1], int(row) % self.batch_size)

    def begin_with(self, initial_state: Any) -> None:
        """Begin with states as `state` has them, now and after `reset()`. Raises ValueError for wrong shapes."""
        self._beginning = self._checked("initial_state", initial_state, self.batch_size)
        self._set(self._beginning)

    @quietly
    def _get(self) -> list[Array]:
        return [self.get_state(index).astype(self._casts[1], copy=False) for index in range(len(self.states))]

    def _set(self, states: list[Array]) -> None:
        for index, state in enumerate(states):
            self.set_state(index, state)

    @quietly
    def _checked(self, name: str, state: Any, rows: int) -> list[Array]:
        """One array (rows, units) for each state; (1, units) and (units,) are repeated. Raises ValueError."""
        given = nest.flatten(state)
        if len(given) != len(self.states):
            raise ValueError(f"{name} must hold {len(self.states)} arrays, got {len(given)}")
        checked = []
        for values, port in zip(given, self.states, strict=True):
            (units,) = port.shape
            array, shape = as_array(name, values), (rows, units)
            if array.shape not in (shape, (1, units), (units,)):
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            checked.append(np.broadcast_to(array, shape).astype(self.dtype))
        return checked

    # ------------------------------------------------------------ copies

    def __copy__(self) -> Self:
        return _made_again(type(self), self._made_of(), self._carried())

    def __deepcopy__(self, memo: Any) -> Self:
        return self.__copy__()  # what is shared never changes

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self._made_of(), self._carried())

    def _made_of(self) -> tuple[Any, ...]:
        weights = self.program, self.packed, self.batch_size, self.names, self._shapes, self.order
        return (*weights, self.threads, self._beginning, self._casts, self._listed)

    def _carried(self) -> tuple[list[Array], Array]:
        return [self.get_state(index) for index in range(len(self.states))], self.get_seen()

    def _go_on(self, carried: tuple[list[Array], Array]) -> None:
        states, seen = carried
        self._set(states)
        self.set_seen(seen)

    def __repr__(self) -> str:
        sizes = [_width(port) for port in self.states]
        outputs = [_width(port) for port in self.outputs]
        facts = {"batch_size": self.batch_size, "features": _alone([_width(port) for port in self.inputs])}
        if sizes:
            facts["units"] = _alone(sizes)
        if outputs != sizes[-1:]:
            facts["outputs"] = _alone(outputs)
        facts["dtype"] = self.dtype.name
        return f"<Stepper {', '.join(f'{name}={value!r}' for name, value in facts.items())}>"


def _width(port: Port) -> Any:
    """What a repr shows of an input, output or state: its width, its shape where it has several axes, or its kind."""
    if port.kind != "number":
        return f"{port.kind}s"
    return port.shape[0] if len(port.shape) == 1 else port.shape


def _alone(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


class CastingStepper(Stepper):
    """A stepper of a layer that takes or returns another dtype than it computes in, as the 16-bit policies do.

    It allocates for what it converts, also with `out`.
    """

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        if out is not None:
            check_out(out, (self.batch_size, *self.outputs[0].shape), self._casts[1])
        output = converted(super().step(self.converted(x_t)), self._casts[1])
        if out is None:
            return output
        out[...] = output
        return out


def _made_again(kind: type[Any], made_of: tuple[Any, ...], carried: tuple[list[Array], Array]) -> Any:
    stepper = kind(*made_of)
    stepper._go_on(carried)
    return stepper


def checked_batch(batch_size: Any) -> int:
    """A batch size that a runner can be asked for. Raises ValueError."""
    rows = checked_int("batch_size", batch_size)
    if rows > sys.maxsize:
        raise ValueError(f"batch_size must be positive, and its states must fit in memory; got {rows}")
    return rows


# ---------------------------------------------------------------- of recurrent layers


class Steppable(Protocol):
    """What a stepper needs of a recurrent layer."""

    go_backwards: bool
    zero_output_for_mask: bool

    @property
    def name(self) -> str: ...

    @property
    def built(self) -> bool: ...

    @property
    def dtype_policy(self) -> DTypePolicy: ...

    @property
    def engine_cells(self) -> list[RecurrentCell] | None: ...

    @property
    def begins_with_zeros(self) -> bool: ...

    def get_initial_state(self, batch_size: int) -> list[Any]: ...

    def checked_states(self, name: str, states: Any, batch: int) -> list[Array]: ...


def stepper_of(layer: Steppable, batch_size: int, initial_state: Any, threads: int) -> Stepper:
    """What `RNN.stepper` makes. Raises ValueError for layers that are not built, or that the engine does not run."""
    rows, together = checked_batch(batch_size), checked_count("threads", threads)
    program, packed, names = _made_of(layer)
    policy, dtype = layer.dtype_policy, program.dtype
    states = None if layer.begins_with_zeros else layer.get_initial_state(rows)
    if initial_state is not None:
        states = layer.checked_states("initial_state", initial_state, rows)
    beginning = None if states is None else [np.array(state, dtype, order="C") for state in nest.flatten(states)]
    casts = (policy.engine_dtype, policy.compute_dtype)
    kind = Stepper if casts == (dtype, dtype) else CastingStepper
    return kind(program, packed, rows, names, threads=together, beginning=beginning, casts=casts)


def capsule_of(layer: Steppable) -> Any:
    """The ``cyrnn_model`` of a layer, as it is now, in a capsule. Raises ValueError as `stepper_of` does."""
    program, packed, names = _made_of(layer)
    return model_capsule(program, packed, names)


def _made_of(layer: Steppable) -> tuple[Program, Sequence[Packed], Names]:
    """The program of a layer, with its weights. Each of its outputs is that of one timestep."""
    cells = layer.engine_cells
    if not layer.built:
        raise ValueError(f"layer {layer.name!r} is not built yet: call it or build(input_shape) first")
    if cells is None:
        raise ValueError(
            f"layer {layer.name!r} cannot be stepped by the engine: that takes cells of Keras, alone or in a stack, "
            "with activations of Keras and without activity regularizers. Call its cell instead"
        )
    if layer.go_backwards:
        raise ValueError(
            f"layer {layer.name!r} goes backwards: its first step is the sequence's last, which a stream lacks"
        )
    plans = [cell.plan() for cell in cells]
    program = RecordedProgram(plans[0].dtype.name)
    timeline = program.timeline()
    x = program.input("number", timeline, plans[0].features)
    mask = program.input("mask", timeline, 1, optional=True)
    for plan in plans:
        last, outputs = plan is plans[-1], program.buffer(timeline, plan.units)
        zeros = last and layer.zero_output_for_mask
        program.recurrent(program.slot(), x, outputs=outputs, mask=mask, zero_output_for_mask=zeros)
        x = outputs
    program.output(x)
    program.finish()
    names = (("sequences", "mask"), (layer.name,), tuple(cell.name for cell in cells))
    return program, plans, names
