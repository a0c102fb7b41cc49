"""Programs that note, for each op that is added, how to go back through it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from cyrnn.engine.program import Program

View = int

_NONE: Mapping[str, tuple[int, ...]] = MappingProxyType({})


class Way(Protocol):
    """What the notes ask of the program of gradients: see `WayBack`."""

    program: Program

    def reaches(self, view: View) -> bool: ...
    def trains(self, slot: int, name: str) -> bool: ...
    def slot(self, slot: int, name: str, parts: tuple[int, ...] = ()) -> int: ...
    def weight(self, slot: int, name: str, shape: tuple[int, ...]) -> View: ...
    def like(self, view: View, width: int | None = None) -> View: ...
    def value(self, view: View) -> View: ...
    def add(self, view: View, gradient: View) -> None: ...
    def gradient(self, view: View) -> View | None: ...
    def timeline(self, view: View) -> int | None: ...


class Note(NamedTuple):
    """How to go back through an op."""

    reads: tuple[View, ...]  # through which there are gradients
    fills: tuple[View, ...]
    slot: int | None
    back: Callable[["Way"], None]


class SlotFacts(NamedTuple):
    """What the ways back must know of a slot's weights."""

    activation: str = "linear"
    # The shapes of those whose gradients are asked for, by name. Vectors along an axis are called by the vector.
    trainable: Mapping[str, tuple[int, ...]] = _NONE
    cell: str | None = None
    recurrent_activation: str = "sigmoid"


class Noted(Program):
    """A program with notes.

    Parameters
    ----------
    dtype : "float32" or "float64", which it computes in
    """

    def __init__(self, dtype: str) -> None:
        self.notes: list[Note] = []
        self.facts: list[SlotFacts] = []
        self.returned: list[tuple[View, tuple[int, ...]]] = []  # the outputs, and their axes after batch and time
        self.inputs: list[View] = []

    def slot(
        self,
        activation: str = "linear",
        trainable: Mapping[str, tuple[int, ...]] = _NONE,
        cell: str | None = None,
        recurrent_activation: str = "sigmoid",
    ) -> int:
        self.facts.append(SlotFacts(activation, dict(trainable), cell, recurrent_activation))
        return super().slot()

    def input(
        self,
        kind: str,
        timeline: int | None,
        width: int,
        *,
        optional: bool = False,
        shape: Sequence[int] | None = None,
    ) -> View:
        view = super().input(kind, timeline, width, optional=optional, shape=shape)
        self.inputs.append(view)
        return view

    def output(self, view: View, shape: Sequence[int] | None = None) -> None:
        width = self.place_of(view)[2]
        self.returned.append((view, (width,) if shape is None else tuple(shape)))
        super().output(view, shape)
