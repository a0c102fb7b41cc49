"""What a call passes to a program: for each input where it comes from, and the array that the engine takes."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cyrnn.arrays import converted
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, as_array, checked_mask
from cyrnn.layers.base.programs.refusals import UnfitError

# For each place the array and its mask, or None; both may be structures where a layer returns several.
Values = Mapping[Any, tuple[Any, Any]]

_CONVERTED_BY_THE_ENGINE = frozenset("?bBhHiIlLqQfd")


class DrawsDropout(Protocol):
    """A cell, as far as it draws dropout factors."""

    def draw_dropout_masks(self, batch: int, features: int) -> tuple[Any, Any]: ...


class DrawsNoise(Protocol):
    """A layer, as far as it draws noise."""

    def noise(self, shape: tuple[int, ...]) -> Array: ...


class Carrying(Protocol):
    """A layer, as far as it carries states between calls."""

    states: Any

    def carry_flat(self, states: Sequence[Array]) -> None: ...


class TakesTokens(Protocol):
    """An Embedding, as far as it says which tokens an array holds."""

    input_dim: int

    def checked_inputs(self, inputs: Any) -> Array: ...


@dataclass(frozen=True)
class Numbers:
    """The array of a place, as numbers. The engine rounds them to the dtype of the program."""

    place: Hashable
    optional: bool = False

    def array(self, values: Values) -> Array | None:
        """The array of a call. Raises ValueError and TypeError for what is no array of numbers."""
        given = values[self.place][0]
        if given is None and self.optional:
            return None
        array = as_array("inputs", given)
        if array.dtype.char in _CONVERTED_BY_THE_ENGINE and array.dtype.isnative and array.flags.aligned:
            return array
        if array.dtype.kind in "iub":
            return array.astype(array.dtype.newbyteorder("="))
        return converted(array, np.float64 if array.itemsize >= 8 else np.float32)


@dataclass(frozen=True)
class Tokens:
    """The array of a place, as tokens, of an Embedding if one takes them."""

    place: Hashable
    embedding: TakesTokens | None = None

    def array(self, values: Values) -> Array | None:
        """The array of a call. Raises ValueError and TypeError for what are no tokens."""
        given = values[self.place][0]
        tokens = as_array("inputs", given) if self.embedding is None else self.embedding.checked_inputs(given)
        whole = converted(tokens, np.int64)
        if whole is not given and (tokens.dtype == np.uint64 or np.any(whole != given)):
            raise ValueError("numbers with fractions, and such as no other integer can hold, are no tokens")
        return whole


@dataclass(frozen=True)
class Mask:
    """The mask of a place, None where a call has none; or the array there, as a mask."""

    place: Hashable
    is_array: bool = False

    def array(self, values: Values) -> Array | None:
        """The mask of a call, (batch, timesteps). Raises ValueError for another shape."""
        given, mask = values[self.place]
        mask = given if self.is_array else mask
        return None if mask is None else checked_mask(mask, *np.shape(given)[:2])


@dataclass(frozen=True)
class State:
    """A state that a layer carries, by its number; None, for zeros, before the first call."""

    layer: Carrying
    number: int

    def array(self, values: Values) -> Array | None:
        """The state."""
        carried = self.layer.states
        return None if carried is None else nest.flatten(carried)[self.number]


@dataclass(frozen=True, eq=False)
class Factors:
    """The dropout factors of a cell for one call: for the inputs, then for the state.

    Parameters
    ----------
    cell : DrawsDropout
    features : int
    widths : (int, int)
        Of the factors: the features, and the units of the cell, for one gate after the other where each has its own.
    """

    cell: DrawsDropout
    features: int
    widths: tuple[int, int]

    def drawn(self, batch: int, timesteps: int | None) -> tuple[Array | None, ...]:
        """New factors; None where nothing is dropped."""
        of_x, of_h = self.cell.draw_dropout_masks(batch, self.features)
        if isinstance(of_x, list) or isinstance(of_h, list):
            of_x, of_h = side_by_side((of_x, of_h))
        return of_x, of_h


def side_by_side(factors: Sequence[Any]) -> list[Any]:
    """Dropout factors as the engine takes them: those of all gates in one array."""
    return [np.concatenate(part, axis=1) if isinstance(part, list) else part for part in factors]


@dataclass(frozen=True, eq=False)
class Noise:
    """What a layer draws for one call: (batch, [timesteps,] ...).

    Parameters
    ----------
    layer : DrawsNoise
    axes : tuple of int
        Those after batch and timesteps.
    """

    layer: DrawsNoise
    axes: tuple[int, ...]

    def drawn(self, batch: int, timesteps: int | None) -> tuple[Array]:
        """New noise."""
        return (self.layer.noise((batch, *(() if timesteps is None else (timesteps,)), *self.axes)),)


@dataclass(frozen=True, eq=False)
class Draw:
    """One of the arrays that are drawn for each call.

    Parameters
    ----------
    source : Factors or Noise
    number : int
    timed : place, optional
        One whose array has the timesteps; None where there are none.
    """

    source: Factors | Noise
    number: int
    timed: Hashable | None = None


Argument = Numbers | Tokens | Mask | State | Draw


@dataclass(frozen=True)
class Passed:
    """A result that is the array of a place, in the dtype of the program."""

    place: Hashable
    rank: int
    dtype: np.dtype[Any]

    def array(self, values: Values) -> Array:
        """The array: itself where it has that dtype. Raises UnfitError for what is no such array."""
        given = _read(Numbers(self.place), values)
        if given is None or given.ndim != self.rank:
            raise UnfitError(f"the array must have {self.rank} axes")
        return np.require(converted(given, self.dtype), None, "A")


def _read(argument: Numbers | Tokens | Mask | State, values: Values) -> Array | None:
    try:
        return argument.array(values)
    except (ValueError, TypeError) as error:
        raise UnfitError(str(error)) from error


def gathered(arguments: Sequence[Argument], values: Values) -> tuple[Array | None, ...]:
    """The inputs of the program, in order. Raises UnfitError where a call's arrays cannot be its inputs."""
    drawn: dict[Factors | Noise, tuple[Array | None, ...]] = {}
    found = [None if isinstance(argument, Draw) else _read(argument, values) for argument in arguments]
    if any(array is not None and array.ndim == 0 for array in found):
        raise UnfitError("there is an array without a batch axis")
    batch = next((len(array) for array in found if array is not None), 0)
    for index, argument in enumerate(arguments):
        if isinstance(argument, Draw):
            if argument.source not in drawn:
                timesteps = None if argument.timed is None else np.shape(values[argument.timed][0])[1]
                drawn[argument.source] = argument.source.drawn(batch, timesteps)
            found[index] = drawn[argument.source][argument.number]
    return tuple(found)
