"""The ways back through the ops that make one value of several: see ops_merge.hpp."""

from collections.abc import Sequence

from cyrnn.engine.gradients.noted import Note, Noted, View, Way

_SUMS = {"add", "subtract", "average"}  # their gradients do not depend on the values


class Merged(Noted):
    """The part of a program with notes that merges, joins and multiplies values."""

    def merge(
        self,
        name: str,
        xs: Sequence[View],
        out: View,
        *,
        axes: Sequence[tuple[int, int]] | None = None,
        masks: Sequence[View | None] = (),
    ) -> None:
        super().merge(name, xs, out, axes=axes, masks=masks)
        width = self.place_of(out)[2]
        xs, axes, masks = tuple(xs), [(width, 1)] * len(xs) if axes is None else list(axes), tuple(masks)

        def values(way: Way, of: int) -> list[View | None]:
            if name in _SUMS:
                return [None] * len(xs)
            return [None if name == "multiply" and number == of else way.value(x) for number, x in enumerate(xs)]

        def back(way: Way) -> None:
            d_out = way.gradient(out)
            if d_out is None:
                return
            for of, x in enumerate(xs):
                if not way.reaches(x):
                    continue
                if name == "add" and not masks and axes[of][0] == width:
                    way.add(x, d_out)
                    continue
                d_x = way.like(x)
                keeps = [None if mask is None else way.value(mask) for mask in masks]
                way.program.merge_gradient(name, of, values(way, of), d_out, d_x, axes=axes, masks=keeps)
                way.add(x, d_x)

        self.notes.append(Note(xs, (out,), None, back))

    def join(self, xs: Sequence[View], out: View, pieces: int = 1) -> None:
        super().join(xs, out, pieces)
        xs = tuple(xs)

        def back(way: Way) -> None:
            d_out = way.gradient(out)
            if d_out is None:
                return
            first = 0
            for x in xs:
                width = self.place_of(x)[2]
                if way.reaches(x) and width:
                    if pieces == 1:
                        d_x = way.program.columns(d_out, first, width)
                    else:
                        d_x = way.like(out, width)
                        way.program.split(d_out, d_x, first, pieces)
                    way.add(x, d_x)
                first += width // pieces

        self.notes.append(Note(xs, (out,), None, back))

    def dot(self, x: View, y: View, out: View, length: int, x_inner: int = 1, y_inner: int = 1) -> None:
        super().dot(x, y, out, length, x_inner, y_inner)

        def back(way: Way) -> None:
            d_out = way.gradient(out)
            if d_out is None:
                return
            passes = ((x, y, (x_inner, y_inner), True), (y, x, (y_inner, x_inner), False))  # x and y may be one view
            for view, other, inners, of_first in passes:
                if way.reaches(view):
                    d_view = way.like(out, self.place_of(view)[2])
                    way.program.dot_gradient(d_out, way.value(other), d_view, length, *inners, of_first=of_first)
                    way.add(view, d_view)

        self.notes.append(Note((x, y), (out,), None, back))
