"""What an index selects of a program's value: timesteps, and parts of its last axis."""

from collections.abc import Sequence
from typing import Any

from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Value, width_of


def item(lowering: Lowering, x: Value, key: Any, shape: Shape) -> Value | None:
    """``x[key]``, which has this shape; None for an index of other kinds."""
    parts = list(key) if isinstance(key, (list, tuple)) else [key]
    gap = parts.index(...) if ... in parts else len(parts)
    missing = len(x.shape) - sum(part is not None and part is not ... for part in parts)
    parts[gap : gap + 1] = [slice(None)] * missing
    kept = [part for part in parts if part is not None]
    *between, last = kept[2 if x.timeline is not None else 1 :] or [slice(None)]
    if not _is_all(kept[0]) or parts[0] is None or not all(map(_is_all, between)):
        return None
    width_of(shape, timed=len(shape) > 2)  # it may refuse
    found = x if _is_all(last) else _columns(lowering, x, last)
    if found is not None and x.timeline is not None:
        found = _timesteps(lowering, found, kept[1])
    if found is None:
        return None
    return in_shape(lowering, found, shape, same=found.timeline is not None and parts[1] is not None)


def in_shape(lowering: Lowering, x: Value, shape: Shape, same: bool = False) -> Value:
    """The elements of each row in another shape, whose timesteps, if there are some, are the `same`, or not."""
    if len(shape) < 3:
        return lowering.reshaped(x, shape, None)
    if same:
        return lowering.reshaped(x, shape, x.timeline)
    if shape[1] is None:
        raise NotLoweredError("the number of its timesteps is not known")
    return lowering.reshaped(x, shape, lowering.timeline(constant=shape[1]))


def _is_all(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _columns(lowering: Lowering, x: Value, part: Any) -> Value | None:
    """Some of the last axis."""
    n = x.shape[-1]
    if n is None or len(x.shape) != (2 if x.timeline is None else 3):
        return None
    if type(part) is int:
        part = slice(part % n, part % n + 1)
    found = range(n)[part]
    if found.step != 1 or not found:
        return None
    return lowering.columns(x, found.start, len(found))


def _timesteps(lowering: Lowering, x: Value, part: Any) -> Value | None:
    """One timestep, in a row; or those of a slice."""
    if type(part) is int:
        lowering.check_timesteps(part)
        out = lowering.buffer((x.shape[0], *x.shape[2:]))
        lowering.program.select(x.view, out.view, part)
        return out
    begin, end, step = part.start, part.stop, 1 if part.step is None else part.step
    if any(type(n) not in (int, type(None)) for n in (begin, end)) or type(step) is not int:
        return None
    if step < 0:
        if begin is not None or end is not None:
            return None
        x, begin, step = lowering.reversed(x), None, -step
    if begin in (None, 0) and end is None and step == 1:
        return x
    lowering.check_timesteps(*(n for n in (begin, end, step) if n is not None))
    return _taken(lowering, x, begin or 0, end, step)


def _taken(lowering: Lowering, x: Value, begin: int, end: int | None, step: int) -> Value | None:
    """The timesteps of a slice. Of negative numbers NumPy knows which they are when it knows the length."""
    if begin >= 0 and (end is None or end < 0):  # as many as there are, without some at the ends
        timeline = lowering.timeline(x.timeline, add=(end or 0) - begin, stride=step)
        count = None if x.shape[1] is None else len(range(x.shape[1])[begin:end:step])
        return _filled(lowering, x, timeline, count, begin, step)
    if begin >= 0 and end is not None and end > begin:
        count = len(range(begin, end, step))
        _needs(lowering, x, end)
        return _filled(lowering, x, lowering.timeline(constant=count), count, begin, step)
    if begin < 0 and step == 1 and (end is None or begin < end < 0):  # counted from the last timestep
        count = (end or 0) - begin
        _needs(lowering, x, -begin)
        timeline, before = lowering.timeline(constant=count), -(end or 0)
        return lowering.reversed(_filled(lowering, lowering.reversed(x), timeline, count, before, 1))
    return None


def _needs(lowering: Lowering, x: Value, count: int) -> None:
    """Let the program refuse sequences of less timesteps: of those a slice has less too."""
    if count > 1:
        lowering.timeline(x.timeline, add=1 - count)


def _filled(lowering: Lowering, x: Value, timeline: int, count: int | None, begin: int, step: int) -> Value:
    shape: Sequence[int | None] = (x.shape[0], count, *x.shape[2:])
    out = lowering.buffer(shape, timeline)
    lowering.program.take(x.view, out.view, before=-begin, stride=step)
    return out
