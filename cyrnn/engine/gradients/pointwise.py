"""The ways back through ops without weights that compute each timestep alone: see ops_pointwise.hpp, ops_plain.hpp."""

from collections.abc import Callable
from math import inf

from cyrnn.engine.gradients.noted import Note, Noted, View, Way
from cyrnn.engine.plan import FROM_SUMS

_Through = Callable[[Way, View, View], None]


class Pointwise(Noted):
    """The part of a program with notes that adds activations, scales, unit vectors and masking."""

    def activation(self, name: str, x: View, out: View, last_axis: int) -> None:
        super().activation(name, x, out, last_axis)

        def back(way: Way, d_y: View, d_x: View) -> None:
            saved = way.value(x if name in FROM_SUMS else out)
            way.program.activation_gradient(saved, d_y, d_x, last_axis, name=name)

        self._note(x, out, back)

    def relu(self, x: View, out: View, *, slope: float = 0.0, threshold: float = 0.0, most: float = inf) -> None:
        super().relu(x, out, slope=slope, threshold=threshold, most=most)
        # Of relu, relu6 and leaky_relu the output tells all, and mostly it is on the tape for the next op.
        tells = threshold == 0 and ((slope == 0 and most in (6, inf)) or (slope > 0 and most == inf))

        def back(way: Way, d_y: View, d_x: View) -> None:
            saved = way.value(out if tells else x)
            way.program.relu_gradient(saved, d_y, d_x, slope=slope, threshold=threshold, most=most)

        self._note(x, out, back)

    def scale(self, x: View, out: View, *, factor: float = 1.0, offset: float = 0.0) -> None:
        super().scale(x, out, factor=factor, offset=offset)

        def back(way: Way, d_y: View, d_x: View) -> None:
            way.program.scale(d_y, d_x, factor=factor)

        self._note(x, out, back)

    def dropout(self, x: View, factors: View, out: View) -> None:
        super().dropout(x, factors, out)

        def back(way: Way, d_y: View, d_x: View) -> None:
            way.program.dropout(d_y, way.value(factors), d_x)

        self._note(x, out, back)

    def unit_norm(self, x: View, out: View, length: int, limit: float) -> None:
        super().unit_norm(x, out, length, limit)

        def back(way: Way, d_y: View, d_x: View) -> None:
            way.program.unit_norm_gradient(way.value(x), d_y, d_x, length, limit)

        self._note(x, out, back)

    def masking(self, value: float, x: View, out: View, mask_out: View | None = None) -> None:
        keep = mask_out
        if keep is None:
            keep = self.buffer(self.form_of(x)[1], 1, "mask")
            keep = self.reversed(keep) if self.place_of(x)[3] else keep
        super().masking(value, x, out, keep)

        def back(way: Way, d_y: View, d_x: View) -> None:
            way.program.masking_gradient(way.value(keep), d_y, d_x)

        self._note(x, out, back)

    def _note(self, x: View, out: View, through: _Through) -> None:
        """Note an op of one input, through which a function adds the way back."""

        def back(way: Way) -> None:
            d_y = way.gradient(out)
            if d_y is not None and way.reaches(x):
                d_x = way.like(x)
                through(way, d_y, d_x)
                way.add(x, d_x)

        self.notes.append(Note((x,), (out,), None, back))
