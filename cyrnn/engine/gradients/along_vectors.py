"""The ways back through the ops that scale and shift by vectors along an axis: see ops_pointwise.hpp."""

from collections.abc import Callable, Sequence

from cyrnn.engine.gradients.noted import Note, Noted, View, Way

_Through = Callable[[Way, View, View | None, View | None], None]


class AlongVectors(Noted):
    """The part of a program with notes that adds affine maps, PReLU and normalizations."""

    def affine(self, slot: int, x: View, out: View, length: int, inner: int = 1) -> None:
        super().affine(slot, x, out, length, inner)

        def through(way: Way, d_y: View, d_x: View | None, terms: View | None) -> None:
            way.program.affine_gradient(way.slot(slot, "scale"), way.value(x), d_y, d_x, terms, length, inner)

        self._note_along(slot, x, out, inner, through)

    def prelu(self, slot: int, x: View, out: View, length: int, inner: int = 1) -> None:
        super().prelu(slot, x, out, length, inner)

        def through(way: Way, d_y: View, d_x: View | None, terms: View | None) -> None:
            way.program.prelu_gradient(way.slot(slot, "scale"), way.value(x), d_y, d_x, terms, length, inner)

        self._note_along(slot, x, out, inner, through)

    def batch_norm(
        self,
        slot: int,
        x: View,
        out: View,
        statistics: Sequence[View],
        epsilon: float,
        length: int,
        inner: int = 1,
        *,
        mask: View | None = None,
    ) -> None:
        super().batch_norm(slot, x, out, statistics, epsilon, length, inner, mask=mask)

        def back(way: Way) -> None:
            d_y = way.gradient(out)
            if d_y is None:
                return
            shapes = self.facts[slot].trainable
            d_x = way.like(x) if way.reaches(x) else None
            of = {name: way.weight(slot, name, shapes[name]) for name in ("gain", "offset") if name in shapes}
            keep = None if mask is None else way.value(mask)
            if d_x is not None or of:
                way.program.batch_norm_gradient(
                    way.slot(slot, "gain"), way.value(x), d_y, epsilon, length, inner,
                    mask=keep, d_x=d_x, d_gain=of.get("gain"), d_offset=of.get("offset"),
                )  # fmt: skip
            if d_x is not None:
                way.add(x, d_x)

        self.notes.append(Note((x,), (out,), slot, back))

    def layer_norm(
        self, x: View, out: View, length: int, epsilon: float, *, slot: int | None = None, centered: bool = True
    ) -> None:
        super().layer_norm(x, out, length, epsilon, slot=slot, centered=centered)

        def through(way: Way, d_y: View, d_x: View | None, terms: View | None) -> None:
            vectors = None if slot is None else way.slot(slot, "scale")
            way.program.layer_norm_gradient(
                way.value(x), d_y, d_x, terms, length, epsilon, slot=vectors, centered=centered
            )

        self._note_along(slot, x, out, 1, through)

    def _note_along(self, slot: int | None, x: View, out: View, inner: int, through: _Through) -> None:
        """Note an op of x and vectors, through which a function adds the way back."""

        def back(way: Way) -> None:
            d_y = way.gradient(out)
            if d_y is None:
                return
            shapes = {} if slot is None else self.facts[slot].trainable
            d_x = way.like(x) if way.reaches(x) else None
            terms = way.like(x) if "scale" in shapes else None
            if d_x is not None or terms is not None:
                through(way, d_y, d_x, terms)
            if d_x is not None:
                way.add(x, d_x)
            for name, given in (("scale", terms), ("offset", d_y)):
                if slot is not None and given is not None and name in shapes:
                    way.program.batch_sum(given, way.weight(slot, name, shapes[name]), inner)

        self.notes.append(Note((x,), (out,), slot, back))
