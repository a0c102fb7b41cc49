"""Several values of a program as one: element by element, where they broadcast, and end to end."""

import math
from collections.abc import Sequence
from dataclasses import replace

from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import MASK, Deferred, Outside, Symbolic, Value, width_of


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape to which these, of as many axes, broadcast. Raises NotLoweredError where there is none."""
    found: list[int | None] = []
    for lengths in zip(*shapes, strict=True):
        known = set(lengths) - {1, None}
        if len(known) > 1:
            raise NotLoweredError(f"arrays of the shapes {list(shapes)} do not fit each other")
        found.append(known.pop() if known else None if None in lengths else 1)
    return tuple(found)


def merged(
    lowering: Lowering, name: str, values: Sequence[Value], shape: Shape, masks: Sequence[Value | None] = ()
) -> Value:
    """Add the op that merges values whose shapes broadcast to `shape`; see the engine's `merge`.

    Values of fewer axes have axes of length 1 after the batch. Masks are those of `readable_masks`. Raises
    NotLoweredError where the axes that a value has do not lie side by side, or a length is unknown.
    """
    timeline = _timeline(values, shape)
    axes = [_axis(value, shape) for value in values]
    parts = [
        (lowering.in_rows(value) if _is_row(value, shape) else lowering.in_time(value, timeline)) for value in values
    ]
    out = lowering.buffer(shape, timeline)
    keeps = [None if mask is None else lowering.in_time(mask, timeline).view for mask in masks]
    lowering.program.merge(name, [part.view for part in parts], out.view, axes=axes, masks=keeps)
    return out


def readable_masks(
    lowering: Lowering, values: Sequence[Value], masks: Sequence[Symbolic | None] | None, shape: Shape
) -> list[Value | None]:
    """The masks of values that broadcast to `shape`, as ops read them; none where no value has one.

    Raises NotLoweredError for a mask that a call may have or not: another one comes out then. And for a mask of a value
    that has other axes than `shape`.
    """
    if masks is None or all(mask is None for mask in masks):
        return []
    for value, mask in zip(values, masks, strict=True):
        if isinstance(mask, Outside) and mask.is_mask and mask.optional:
            raise NotLoweredError("only a call tells whether its inputs have masks")
        if mask is not None and (len(value.shape) < len(shape) or _is_row(value, shape)):
            raise NotLoweredError(f"it has a mask of an input of the shape {value.shape}, and its output is {shape}")
    return [None if mask is None else lowering.mask(mask, value) for value, mask in zip(values, masks, strict=True)]


def merged_masks(
    lowering: Lowering, values: Sequence[Value], masks: Sequence[Value], shape: Shape, every: bool
) -> Deferred:
    """Where some, or `every`, mask is True; none is True everywhere. The op is added if something reads it."""
    timeline = _timeline(values, shape)

    def make() -> Value:
        out = lowering.buffer(shape[:2], timeline, MASK)
        lowering.program.merge_masks([lowering.in_time(mask, timeline).view for mask in masks], out.view, all=every)
        return out

    return Deferred(make)


def joined(lowering: Lowering, values: Sequence[Value], shape: Shape, axis: int) -> Value:
    """Add the op that puts values end to end along an axis, which makes an array of `shape`.

    Raises NotLoweredError for the axis of the batch, and along timesteps of an unknown number.
    """
    if axis == 0:
        raise NotLoweredError("it joins batches")
    if 0 in shape[1:]:
        raise NotLoweredError(f"its output has no elements: its shape is {shape}")
    moved = sum((value.moved for value in values), ()) if all(value.moved for value in values) else ()
    if axis == 1 and len(shape) > 2:
        for value in values:
            width_of(value.shape, timed=False)  # it may refuse
        rows = [lowering.in_rows(value) for value in values]
        out = lowering.buffer(shape)
        lowering.program.join([row.view for row in rows], out.view)
        return replace(lowering.in_time(out, lowering.timeline(constant=shape[1] or 0)), moved=moved)
    timeline = _timeline(values, shape)
    first = 1 if timeline is None else 2
    out = lowering.buffer(shape, timeline)
    parts = [lowering.in_time(value, timeline) for value in values]
    pieces = math.prod(n or 0 for n in shape[first:axis])
    lowering.program.join([part.view for part in parts], out.view, pieces)
    return replace(out, moved=moved)


def _timeline(values: Sequence[Value], shape: Shape) -> int | None:
    """The timeline of what is made of the values: that of one of them with all its timesteps."""
    timed = [value for value in values if value.timeline is not None and len(value.shape) == len(shape)]
    return next((value.timeline for value in timed if not _is_row(value, shape)), None)


def _is_row(value: Value, shape: Shape) -> bool:
    """Whether it is the same for all timesteps of an array of `shape`."""
    return len(shape) > 2 and (len(value.shape) < len(shape) or (value.shape[1] == 1 != shape[1]))


def _axis(value: Value, shape: Shape) -> tuple[int, int]:
    """Where the value lies in a row's timestep of an array of `shape`: (length, inner), repeated along other axes."""
    row = _is_row(value, shape)
    if row:
        width_of(value.shape, timed=False)  # the number of its timesteps must be known
    first = 2 if len(shape) > 2 else 1
    lengths = ((1,) * (len(shape) - len(value.shape)) + value.shape[1:])[first - 1 :]
    whole = [n or 0 for n in shape[first:]]
    if 0 in whole:
        raise NotLoweredError(f"its output has no elements: its shape is {shape}")
    wide = [axis for axis, n in enumerate(whole) if n > 1]
    own = [axis for axis in wide if lengths[axis] != 1]
    if any(lengths[axis] not in (1, n) for axis, n in enumerate(whole)):
        raise NotLoweredError(f"an input of the shape {value.shape} does not broadcast to the shape {shape}")
    if own and own != [axis for axis in wide if own[0] <= axis <= own[-1]]:
        raise NotLoweredError(f"an input of the shape {value.shape} is repeated between its axes, to the shape {shape}")
    return math.prod(whole[axis] for axis in own), math.prod(whole[own[-1] + 1 :] if own else whole)
