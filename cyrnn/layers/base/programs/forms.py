"""A program's values in other forms: reversed, by columns, with other axes or timesteps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.interface import Program, View
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import NUMBER, Value, width_of

MOST_TIMESTEPS = 2**31  # that are added, skipped or repeated


class Forms:
    """A program under construction, as far as its values can be seen in other forms.

    Parameters
    ----------
    program : Program
        An empty one.
    dtype : dtype
        What it computes in.
    """

    def __init__(self, program: Program, dtype: np.dtype[Any]) -> None:
        self.program = program
        self.dtype = dtype
        self._derived: dict[tuple[Any, ...], int] = {}  # timelines by what their length follows from
        self._reshaped: dict[tuple[int, int | None, int], int] = {}  # views by what they are made of

    def shape_of(self, value: Any, rank: int | None = None, axes: str = "") -> Shape:
        """The shape of an array that a layer takes. Raises NotLoweredError unless it is known, and has so many axes."""
        shape: Shape | None = getattr(value, "shape", None)
        if shape is None:
            raise NotLoweredError("the shape of its input is not known")
        if rank not in (None, len(shape)):
            raise NotLoweredError(f"its input must have the axes ({axes}), and has the shape {shape}")
        return shape

    def buffer(self, shape: Sequence[int | None], timeline: int | None = None, kind: str = NUMBER) -> Value:
        """A new buffer for values of this shape. Raises NotLoweredError where a length is unknown."""
        return Value(
            tuple(shape), self.program.buffer(timeline, width_of(shape, timeline is not None), kind), timeline, kind
        )

    def reversed(self, value: Value) -> Value:
        """The value with its last timestep first."""
        return replace(value, view=self.program.reversed(value.view))

    def columns(self, value: Value, first: int, width: int) -> Value:
        """Some of the last axis of a value, whose rows, or timesteps, have no other axis."""
        return replace(value, view=self.program.columns(value.view, first, width), shape=(*value.shape[:-1], width))

    # ------------------------------------------------------------ other timesteps and axes

    def shape_after(self, layer: Layer, inputs: Any) -> Shape:
        """The shape of the layer's output. Raises NotLoweredError where its input, or a list of them, does not fit."""
        several = isinstance(inputs, list)
        shapes: Any = [self.shape_of(value) for value in inputs] if several else self.shape_of(inputs)
        try:
            found: Shape = layer.compute_output_shape(shapes)
        except (ValueError, TypeError) as error:
            raise NotLoweredError(str(error)) from None
        return found

    def check_timesteps(self, *numbers: int) -> None:
        """Check numbers of timesteps. Raises NotLoweredError for larger ones than programs count."""
        if max(map(abs, numbers)) > MOST_TIMESTEPS:
            raise NotLoweredError(f"it has more timesteps than programs count: {max(map(abs, numbers))}")

    def timeline(self, of: int | None = None, **formula: int) -> int:
        """An axis of timesteps of constant length, or one that follows from another one; see the engine's `timeline`.

        Raises NotLoweredError for larger numbers than programs count.
        """
        self.check_timesteps(*formula.values())
        key = (of, *sorted(formula.items()))
        if key not in self._derived:
            self._derived[key] = self.program.timeline(of, **formula)
        return self._derived[key]

    def reshaped(self, x: Value, shape: Sequence[int | None], timeline: int | None) -> Value:
        """The same elements of each row in another shape. A call whose timesteps do not fit is not the program's.

        Raises NotLoweredError where a length is unknown.
        """
        width = width_of(shape, timeline is not None)
        if timeline == x.timeline:  # the timesteps stay what they are
            return replace(x, shape=tuple(shape))
        key = (x.view, timeline, width)
        if key not in self._reshaped:
            self._reshaped[key] = self.program.reshaped(x.view, timeline, width)
        return replace(x, shape=tuple(shape), view=self._reshaped[key], timeline=timeline)

    def in_rows(self, x: Value) -> Value:
        """The value without a timeline: its timesteps are one after the other in each row.

        Raises NotLoweredError unless their number is known.
        """
        return self.reshaped(x, x.shape, None)

    def in_time(self, x: Value, timeline: int | None) -> Value:
        """The value on this timeline."""
        return self.reshaped(x, x.shape, timeline)

    def along(self, x: Value, axes: Sequence[int]) -> tuple[Value, int, int]:
        """A form of x in which axes, counted from the batch on, can be one axis of an op.

        Parameters
        ----------
        x : Value
        axes : sequence of int

        Returns
        -------
        x : Value
            In rows, if one of the axes is that of the timesteps.
        length, inner : int
            A row's timestep, or a row, is (..., length, inner).

        Raises
        ------
        NotLoweredError
            If other axes lie between them, one is that of the batch, or a length is unknown.
        """
        axes, shape = sorted(axes), x.shape
        if axes and (axes[0] == 0 or axes != list(range(axes[0], axes[-1] + 1))):
            raise NotLoweredError(f"the engine goes along axes that lie side by side and are not the batch, not {axes}")
        first = 1 if x.timeline is None else 2
        begin, end = (axes[0], axes[-1] + 1) if axes else (first, first)
        sizes = [math.prod(n or 0 for n in part) for part in (shape[begin:end], shape[end:])]
        if 0 in sizes and None not in shape[begin:end]:
            raise NotLoweredError(f"its input has no elements: its shape is {shape}")
        length, inner = sizes
        return (self.in_rows(x) if begin < first else x), length, inner

    def over_vectors(self, x: Value, axes: Sequence[int], op: Callable[[View, View, int], None]) -> Value:
        """What an op makes of the vectors that lie along some axes of x: they become the last ones for it.

        Parameters
        ----------
        x : Value
        axes : sequence of int
            Counted from the batch on.
        op : callable
            Adds the op from one view to another, over vectors of a length.

        Raises
        ------
        NotLoweredError
            For the axis of the batch, where a length is unknown, or where the timesteps become another axis and their
            number is not known.
        """
        rank, axes = len(x.shape), sorted(axes)
        if not axes or axes[0] == 0 or len(set(axes)) < len(axes):
            raise NotLoweredError(f"the engine has this op for axes after that of the batch, not for {axes}")
        order = [*(axis for axis in range(rank) if axis not in axes), *axes]
        as_it_is = order == list(range(rank))
        given = x if as_it_is else self.transposed(x, order)
        vectors, length, _ = self.along(given, range(rank - len(axes), rank))
        out = self.buffer(vectors.shape, vectors.timeline)
        op(vectors.view, out.view, length)
        out = self.in_time(out, given.timeline)
        if as_it_is:
            return out
        return self.in_time(self.transposed(out, [order.index(axis) for axis in range(rank)]), x.timeline)

    def in_row(self, x: Value, axis: int) -> tuple[int, int]:
        """Where an axis lies in a row of x, with its timesteps: a row is (..., length, inner).

        Raises NotLoweredError where a length is unknown, or there are no elements.
        """
        if width_of(x.shape, timed=False) == 0:
            raise NotLoweredError(f"its input has no elements: its shape is {x.shape}")
        return x.shape[axis] or 0, math.prod(n or 0 for n in x.shape[axis + 1 :])

    def transposed(self, x: Value, order: Sequence[int]) -> Value:
        """The value with its axes in another order, in which the batch is the first one.

        Raises NotLoweredError where the timesteps become another axis, and their number is not known.
        """
        shape = tuple(x.shape[axis] for axis in order)
        timeline = x.timeline if order[1] == 1 else self.timeline(constant=self._length(x.shape[order[1]]))
        out = self.buffer(shape, timeline)
        lengths = [1 if n is None else n for n in x.shape[1:]]  # those of the timesteps do not matter
        self.program.permute(x.view, out.view, lengths, [axis - 1 for axis in order[1:]])
        return replace(out, moved=x.moved)

    def _length(self, n: int | None) -> int:
        if n is None:
            raise NotLoweredError("the number of its timesteps is not known")
        return n
