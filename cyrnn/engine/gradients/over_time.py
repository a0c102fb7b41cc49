"""The ways back through the ops over timesteps, and those that only move numbers: see ops_time.hpp and ops_pool.hpp."""

from collections.abc import Callable, Sequence

from cyrnn.engine.gradients.noted import Note, Noted, View, Way

_Back = Callable[[Way, View], View]  # the gradient of x, of that of out


class OverTime(Noted):
    """The part of a program with notes that takes, pools and moves timesteps."""

    def _note_moved(self, x: View, out: View, back: _Back) -> None:
        def noted(way: Way) -> None:
            d_out = way.gradient(out)
            if d_out is not None:
                way.add(x, back(way, d_out))

        self.notes.append(Note((x,), (out,), None, noted))

    def copy(self, x: View, out: View) -> None:
        super().copy(x, out)
        self._note_moved(x, out, lambda way, d_out: d_out)

    def select(self, x: View, out: View, index: int) -> None:
        super().select(x, out, index)

        def back(way: Way, d_out: View) -> View:
            """Take the one timestep there is; counted from the last one, if those of x are."""
            d_x, alone = way.like(x), way.program.timeline(constant=1)
            one = way.program.reshaped(d_out, alone, self.place_of(out)[2])
            if index < 0:
                way.program.take(one, way.program.reversed(d_x), before=-index - 1)
            else:
                way.program.take(one, d_x, before=index)
            return d_x

        self._note_moved(x, out, back)

    def take(self, x: View, out: View, *, before: int = 0, stride: int = 1, repeats: int = 1) -> None:
        super().take(x, out, before=before, stride=stride, repeats=repeats)

        def back(way: Way, d_out: View) -> View:
            d_x = way.like(x)
            if stride == repeats == 1:
                way.program.take(d_out, d_x, before=-before)
            else:
                way.program.take_gradient(d_out, d_x, before=before, stride=stride, repeats=repeats)
            return d_x

        self._note_moved(x, out, back)

    def pool(self, name: str, x: View, out: View, size: int, stride: int, *, padded: bool = False) -> None:
        super().pool(name, x, out, size, stride, padded=padded)

        def back(way: Way, d_out: View) -> View:
            d_x, values = way.like(x), way.value(x) if name == "max" else None
            way.program.pool_gradient(name, values, d_out, d_x, size, stride, padded=padded)
            return d_x

        self._note_moved(x, out, back)

    def global_pool(self, name: str, x: View, out: View, mask: View | None = None) -> None:
        super().global_pool(name, x, out, mask)

        def back(way: Way, d_out: View) -> View:
            d_x = way.like(x)
            if name == "max":
                way.program.global_pool_gradient(name, d_out, d_x, x=way.value(x), out=way.value(out))
            elif name == "sum" and mask is None:
                way.program.copy(d_out, d_x)
            else:
                way.program.global_pool_gradient(name, d_out, d_x, mask=None if mask is None else way.value(mask))
            return d_x

        self._note_moved(x, out, back)

    def permute(self, x: View, out: View, lengths: Sequence[int], order: Sequence[int]) -> None:
        super().permute(x, out, lengths, order)
        moved, inverse = [lengths[axis] for axis in order], [order.index(axis) for axis in range(len(order))]

        def back(way: Way, d_out: View) -> View:
            d_x = way.like(x)
            way.program.permute(d_out, d_x, moved, inverse)
            return d_x

        self._note_moved(x, out, back)

    def reshaped(self, view: View, timeline: int | None, width: int) -> View:
        made = super().reshaped(view, timeline, width)
        self._note_moved(
            view,
            made,
            lambda way, d_made: way.program.reshaped(d_made, way.timeline(view), self.place_of(view)[2]),
        )
        return made
