"""The program of gradients, which the notes of a program come to."""

from math import prod
from typing import Any

from cyrnn.engine.gradients.noted import Noted, View
from cyrnn.engine.program import Program


class WayBack:
    """The program of gradients of a taped one.

    Its outputs are the gradients of those of the `wanted` inputs that are `reached`, and of the `weights`.

    Parameters
    ----------
    taped : Noted
    wanted : frozenset of int
        The numbers of the inputs whose gradients are asked for.
    given : tuple of bool
        For each output whether it has a gradient.
    """

    def __init__(self, taped: Noted, wanted: frozenset[int], given: tuple[bool, ...]) -> None:
        self.taped = taped
        self.program = Program(taped.dtype.name)
        # "gradient" of an output, "value" of a buffer, "length" of a timeline of the taped program, or "zeros"
        self.inputs: list[tuple[str, int]] = []
        self.kept: dict[int, View] = {}  # the taped program's buffers among them, with a view of each
        # The taped program's slots, which of their weights are transposed, and in which parts: see `Plan.transposed`.
        self.slots: list[tuple[int, str, tuple[int, ...]]] = []
        self.weights: list[tuple[int, str]] = []  # whose gradients are outputs, after those of the inputs
        self.reached: list[int] = []  # the inputs of which that is so
        self._values: dict[int, View] = {}
        self._timelines: dict[int, int] = {}  # those of the taped program, and what they are here
        self._parts: dict[int, list[tuple[int, int, View]]] = {}  # of a buffer: first column, width, gradient
        self._totals: dict[int, View | None] = {}
        self._weights: list[tuple[View, tuple[int, ...]]] = []
        self._reached = self._reachable(wanted)
        self._take(given)
        for note in reversed(taped.notes):
            if any(self._is_reached(view) for view in note.fills):
                note.back(self)
        self._return(wanted)
        self.program.finish()

    def _reachable(self, wanted: frozenset[int]) -> set[int]:
        """The buffers that a wanted input, or a trainable weight, has a say in."""
        taped = self.taped
        found = {
            taped.place_of(taped.inputs[number])[0]
            for number in wanted
            if taped.form_of(taped.inputs[number])[0] == "number"
        }
        for note in taped.notes:
            trains = note.slot is not None and taped.facts[note.slot].trainable
            if trains or any(taped.place_of(view)[0] in found for view in note.reads):
                found |= {taped.place_of(view)[0] for view in note.fills}
        return found

    def _is_reached(self, view: View) -> bool:
        return self.taped.place_of(view)[0] in self._reached

    def _take(self, given: tuple[bool, ...]) -> None:
        """Make inputs of the gradients of the outputs. They come before all others, as these are known later."""
        for number, (has, (view, shape)) in enumerate(zip(given, self.taped.returned, strict=True)):
            if has:
                d_y = self._input(
                    ("gradient", number), "number", self.taped.form_of(view)[1], self.taped.place_of(view)[2], shape
                )
                self.add(view, d_y)

    def _input(
        self, what: tuple[str, int], kind: str, timeline: int | None, width: int, shape: tuple[int, ...] | None = None
    ) -> View:
        here = self._timeline(timeline)
        self.inputs.append(what)
        shape = (width,) if shape is None else shape
        return self.program.input(kind, here, width, optional=True, shape=shape)

    def _return(self, wanted: frozenset[int]) -> None:
        for number in sorted(wanted):
            view = self.taped.inputs[number]
            total = self.gradient(view) if self.taped.form_of(view)[0] == "number" else None
            if total is not None:
                self.reached.append(number)
                self.program.output(total)
        for view, shape in self._weights:
            self.program.output(view, shape)

    # ------------------------------------------------------------ what the notes ask for

    def reaches(self, view: View) -> bool:
        """Whether somebody asks for the gradient of a view of the taped program."""
        return self._is_reached(view)

    def trains(self, slot: int, name: str) -> bool:
        """Whether the gradient of a weight is asked for."""
        return name in self.taped.facts[slot].trainable

    def slot(self, slot: int, name: str, parts: tuple[int, ...] = ()) -> int:
        """The slot that has the weight of this name, transposed, perhaps in parts."""
        key = (slot, name, parts)
        if key not in self.slots:
            self.slots.append(key)
            self.program.slot()
        return self.slots.index(key)

    def weight(self, slot: int, name: str, shape: tuple[int, ...]) -> View:
        """A buffer for the gradient of a weight. Where several calls share one, there is one for each."""
        view = self.program.once(prod(shape))
        self.weights.append((slot, name))
        self._weights.append((view, shape))
        return view

    def like(self, view: View, width: int | None = None) -> View:
        """A new buffer on the timeline of a view of the taped program, turned as that is, of its width or another."""
        _, timeline, _, _ = self.taped.form_of(view)
        _, _, known, turned = self.taped.place_of(view)
        made = self.program.buffer(self._timeline(timeline), known if width is None else width)
        return self.program.reversed(made) if turned else made

    def value(self, view: View) -> View:
        """What a view of the taped program has held."""
        storage, column, width, turned = self.taped.place_of(view)
        if storage not in self._values:
            kind, timeline, whole, _ = self.taped.form_of(view)
            self._values[storage] = self._input(("value", storage), kind, timeline, whole)
            self.kept[storage] = view
        return self._seen(self._values[storage], storage, column, width, turned)

    def _seen(self, view: View, storage: int, column: int, width: int, turned: bool) -> View:
        if (column, width) != (0, self.program.place_of(view)[2]):
            view = self.program.columns(view, column, width)
        return self.program.reversed(view) if turned else view

    def add(self, view: View, gradient: View) -> None:
        """Add to the gradient of a view of the taped program.

        Where that has no timesteps, and what is added has, the sum over them: the view was repeated.
        """
        storage, column, width, turned = self.taped.place_of(view)
        if self.taped.form_of(view)[1] is None and self.program.form_of(gradient)[1] is not None:
            each, gradient = gradient, self.program.buffer(None, width)
            self.program.global_pool("sum", each, gradient)
        self._parts.setdefault(storage, []).append(
            (column, width, self.program.reversed(gradient) if turned else gradient)
        )

    def gradient(self, view: View) -> View | None:
        """The gradient of a view of the taped program, when all ops that read it have been gone back through."""
        storage, column, width, turned = self.taped.place_of(view)
        if storage not in self._totals:
            self._totals[storage] = self._total(self.taped.form_of(view), self._parts.get(storage, []))
        total = self._totals[storage]
        return None if total is None else self._seen(total, storage, column, width, turned)

    def _total(self, form: tuple[Any, ...], parts: list[tuple[int, int, View]]) -> View | None:
        _, timeline, width, _ = form
        if not parts:
            return None
        whole = [
            part if size == width else self._widened(column, part, size, timeline, width)
            for column, size, part in parts
        ]
        if len(whole) == 1:
            return whole[0]
        total = self.program.buffer(self._timeline(timeline), width)
        self.program.merge("add", whole, total)
        return total

    def _widened(self, column: int, part: View, size: int, timeline: int | None, width: int) -> View:
        """The gradient of some columns, with zeros beside them."""
        widths = [column, size, width - column - size]
        zeros = [self._zeros(timeline, count) for count in widths]
        joined = self.program.buffer(self._timeline(timeline), width)
        self.program.join(
            [view for view, count in zip([zeros[0], part, zeros[2]], widths, strict=True) if count], joined
        )
        return joined

    def _zeros(self, timeline: int | None, width: int) -> View:
        return self._input(("zeros", 0), "number", timeline, width)

    def timeline(self, view: View) -> int | None:
        """The timeline of a view of the taped program."""
        return self._timeline(self.taped.form_of(view)[1])

    @property
    def lengths(self) -> list[int]:
        """The taped program's timelines of whose lengths there is an input."""
        return [timeline for kind, timeline in self.inputs if kind == "length"]

    def _timeline(self, timeline: int | None) -> int | None:
        if timeline is None:
            return None
        if timeline not in self._timelines:
            length = self.taped.length_of(timeline)
            made = self._timelines[timeline] = self.program.timeline(constant=length)
            if length is None:  # an array without elements tells it: perhaps there is no other one of so many timesteps
                self.inputs.append(("length", timeline))
                self.program.input("number", made, 0, optional=True)
        return self._timelines[timeline]
