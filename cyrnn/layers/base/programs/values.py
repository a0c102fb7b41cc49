"""Arrays and masks, as a program under construction knows them: by shape, kind and view."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from cyrnn.engine.program import MOST_AXES
from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.programs.refusals import NotLoweredError

NUMBER, TOKEN, MASK = "number", "token", "mask"


@dataclass(frozen=True, eq=False)
class Value:
    """What a view of the program holds.

    Parameters
    ----------
    shape : tuple of int and None
        The batch axis first. The axis of timesteps may have any length; the lengths of all others are known.
    view : int
        The program's number of the view.
    timeline : int, optional
        The program's number of the axis of timesteps, which is axis 1; None: a row has no timesteps.
    kind : str
        "number", "token" or "mask".
    moved : tuple of places
        Those whose numbers it holds as they come, only moved: integers among them stay integers.
    """

    shape: Shape
    view: int
    timeline: int | None = None
    kind: str = NUMBER
    moved: tuple[Hashable, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shape) > MOST_AXES:
            raise NotLoweredError(f"an array has more axes than programs count: {len(self.shape)}")

    @property
    def width(self) -> int:
        """The number of elements of a row, or of one of its timesteps."""
        return width_of(self.shape, self.timeline is not None)


@dataclass(frozen=True, eq=False)
class Outside:
    """What a call brings: the array, or the mask, of a place. It is an input of the program if an op reads it.

    Parameters
    ----------
    place : hashable
        Where the call has it.
    shape : tuple of int and None, optional
        The shape of the array; None if it is not known.
    is_mask : bool
        Whether it is the mask of the place, not the array.
    optional : bool
        Whether a call may leave it out. All timesteps count without a mask.
    """

    place: Hashable
    shape: Shape | None
    is_mask: bool = False
    optional: bool = False


@dataclass(frozen=True, eq=False)
class Deferred:
    """A mask that is computed if an op, or the caller, reads it."""

    make: Callable[[], Value]


@dataclass(frozen=True, eq=False)
class Compared:
    """Whether elements of an array differ from a number; no op computes it, but some that read it are ops."""

    value: "Value | Outside"
    number: float


def width_of(shape: Sequence[int | None], timed: bool) -> int:
    """The number of a row's elements, or, if it has timesteps, of each of them.

    Raises NotLoweredError where a length is unknown.
    """
    lengths = [n for n in shape[2 if timed else 1 :] if n is not None]
    if len(lengths) < len(shape) - (2 if timed else 1):
        raise NotLoweredError(f"an axis of shape {tuple(shape)} has any length, and is not the one of timesteps")
    return math.prod(lengths)


Symbolic = Value | Outside | Deferred | Compared
