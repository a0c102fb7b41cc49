"""The oracle of the ops that are no recurrences, dense layers or embeddings; see `reference_program`."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "average": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


class Ops:
    """Methods of `reference_program.Program`, which has what they call."""

    _views: Any
    _read: Any
    _fill: Any
    _op: Any
    slots: int

    def _adds(
        self,
        name: str,
        xs: Sequence[int | None],
        out: int,
        compute: Callable[..., Any],
        slot: int | None = None,
        apart: bool = False,
    ) -> None:
        """An op that fills out with ``compute(*arrays of xs)``, and the weights of its slot if it has one.

        All are on the timeline of out, or on none, unless they are `apart`. Then compute gets the length of out first.
        """
        assert slot is None or 0 <= slot < self.slots
        known = [None if x is None else self._views[x] for x in xs]
        timeline = self._views[out].timeline
        for view in known:
            assert apart or view is None or view.timeline in (None, timeline)
        read = [view and self._read(x, view.kind, view.timeline) for x, view in zip(xs, known, strict=True)]
        fill = self._fill(out, self._views[out].kind, timeline)

        def run(arrays: Any, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            given = [None if view is None else view.of(arrays, lengths) for view in read]
            if not apart:  # a row is the same at all timesteps
                timed = timeline is not None
                given = [
                    array[:, None] if array is not None and timed and view.timeline is None else array
                    for array, view in zip(given, read, strict=True)
                ]
            filled = fill.of(arrays, lengths)
            first = [1 if timeline is None else lengths[timeline]] if apart else []
            last = [] if slot is None else [packed[slot]]
            with np.errstate(all="ignore"):
                result = np.asarray(compute(*first, *given, *last))
            filled[...] = result.reshape(*result.shape[: filled.ndim - 1], -1)

        self._op(name, run)

    # ------------------------------------------------------------ each timestep alone

    def relu(self, x: int, out: int, *, slope: float = 0.0, threshold: float = 0.0, most: float = np.inf) -> None:
        def compute(x: Any) -> Any:
            return np.where(x <= threshold, slope * (x - threshold), np.minimum(x, most))

        self._adds("relu", [x], out, compute)

    def scale(self, x: int, out: int, *, factor: float = 1.0, offset: float = 0.0) -> None:
        self._adds("scale", [x], out, lambda x: x * factor + offset)

    def dropout(self, x: int, factors: int, out: int) -> None:
        def compute(x: Any, factors: Any) -> Any:
            factors = factors[:, None] if factors.ndim < x.ndim else factors
            return np.where(factors == 0, 0.0, x * factors)

        self._adds("dropout", [x, factors], out, compute)

    def prelu(self, slot: int, x: int, out: int, length: int, inner: int = 1) -> None:
        def compute(x: Any, weights: Mapping[str, Any]) -> Any:
            x = x.reshape(*x.shape[:-1], -1, length, inner)
            return np.where(x < 0, weights["scale"].reshape(length, 1) * x, x)

        self._adds("prelu", [x], out, lambda x, w: flat(compute(x, w)), slot)

    def affine(self, slot: int, x: int, out: int, length: int, inner: int = 1) -> None:
        def compute(x: Any, weights: Mapping[str, Any]) -> Any:
            x = x.reshape(*x.shape[:-1], -1, length, inner)
            scale, shift, offset = (
                np.zeros((length, 1)) if array is None else np.asarray(array, float).reshape(length, 1)
                for array in map(weights.get, ("scale", "shift", "offset"))
            )
            return flat((x - shift) * scale + offset)

        self._adds("affine", [x], out, compute, slot)

    def layer_norm(
        self, x: int, out: int, length: int, epsilon: float, *, slot: int | None = None, centered: bool = True
    ) -> None:
        def compute(x: Any, weights: Mapping[str, Any] | None = None) -> Any:
            x = x.reshape(*x.shape[:-1], -1, length)
            normal = (x - x.mean(-1, keepdims=True) * centered) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
            if weights is not None:
                normal = normal * weights["scale"].reshape(-1) + np.ravel(weights.get("offset", 0.0))
            return normal.reshape(*x.shape[:-2], -1)

        self._adds("layer_norm", [x], out, compute, slot)

    def unit_norm(self, x: int, out: int, length: int, limit: float) -> None:
        def compute(x: Any) -> Any:
            x = x.reshape(*x.shape[:-1], -1, length)
            return (x * np.minimum(1 / np.linalg.norm(x, axis=-1, keepdims=True), limit)).reshape(*x.shape[:-2], -1)

        self._adds("unit_norm", [x], out, compute)

    # ------------------------------------------------------------ several values

    def merge(
        self,
        name: str,
        xs: Sequence[int],
        out: int,
        *,
        axes: Sequence[tuple[int, int]] | None = None,
        masks: Sequence[int | None] = (),
    ) -> None:
        width, count = self._views[out].width, len(xs)
        axes = [(width, 1)] * count if axes is None else axes
        for x, (length, inner) in zip(xs, axes, strict=True):
            assert self._views[x].width == length
            assert width % (length * inner) == 0

        def compute(*given: Any) -> Any:
            parts = [
                np.tile(np.repeat(x, inner, -1), width // (length * inner))
                for x, (length, inner) in zip(given[:count], axes, strict=True)
            ]
            keeps = [np.True_ if mask is None else mask for mask in given[count:]]
            if not keeps:
                merged = reduce(MERGES[name], parts)
                return merged / count if name == "average" else merged
            nothing = {"multiply": 1.0, "maximum": -np.inf, "minimum": np.inf}[name]
            merged = reduce(MERGES[name], [np.where(keep, x, nothing) for x, keep in zip(parts, keeps, strict=True)])
            return np.where(reduce(np.logical_or, keeps), merged, 0.0 if name == "multiply" else parts[0])

        self._adds(name, [*xs, *masks], out, compute)

    def merge_masks(self, masks: Sequence[int], out: int, *, all: bool = False) -> None:
        reads = [self._read(mask, "mask", self._views[out].timeline, 1) for mask in masks]
        fill = self._fill(out, "mask", self._views[out].timeline, 1)

        def run(arrays: Any, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            known = [view.of(arrays, lengths) for view in reads]
            keeps = [np.True_ if keep is None else keep for keep in known] or [np.bool_(all)]
            fill.of(arrays, lengths)[...] = reduce(np.logical_and if all else np.logical_or, keeps)

        self._op("merge_masks", run)

    def join(self, xs: Sequence[int], out: int, pieces: int = 1) -> None:
        def compute(*parts: Any) -> Any:
            shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
            split = [np.broadcast_to(part, (*shape, part.shape[-1])).reshape(*shape, pieces, -1) for part in parts]
            return np.concatenate(split, -1).reshape(*shape, -1)

        self._adds("join", xs, out, compute)

    def dot(self, x: int, y: int, out: int, length: int, x_inner: int = 1, y_inner: int = 1) -> None:
        def compute(x: Any, y: Any) -> Any:
            x = np.moveaxis(x.reshape(*x.shape[:-1], -1, length, x_inner), -2, -1)
            y = np.moveaxis(y.reshape(*y.shape[:-1], -1, length, y_inner), -2, -1)
            leading = x.shape[:-3]
            product = x.reshape(*leading, -1, length) @ y.reshape(*leading, -1, length).swapaxes(-1, -2)
            return product.reshape(*leading, -1)

        self._adds("dot", [x, y], out, compute)

    # ------------------------------------------------------------ timesteps

    def select(self, x: int, out: int, index: int) -> None:
        if index not in (0, -1):
            self.timeline(self._views[x].timeline, add=-index if index > 0 else index + 1)  # type: ignore[attr-defined]
        self._adds("select", [x], out, lambda _, x: x[:, index], apart=True)

    def take(self, x: int, out: int, *, before: int = 0, stride: int = 1, repeats: int = 1) -> None:
        def compute(count: int, x: Any) -> Any:
            source = np.arange(count) * stride // repeats - before
            inside = (source >= 0) & (source < x.shape[1])
            return np.where(inside[:, None], x[:, np.where(inside, source, 0)], 0)

        self._adds("take", [x], out, compute, apart=True)

    def pool(self, name: str, x: int, out: int, size: int, stride: int, *, padded: bool = False) -> None:
        def compute(count: int, x: Any) -> Any:
            before = max(0, (count - 1) * stride + size - x.shape[1]) // 2 if padded else 0
            begins = np.arange(count) * stride - before
            windows = [x[:, max(0, begin) : begin + size] for begin in begins]
            return np.stack([window.max(1) if name == "max" else window.mean(1) for window in windows], 1)

        self._adds(name, [x], out, compute, apart=True)

    def global_pool(self, name: str, x: int, out: int, mask: int | None = None) -> None:
        def compute(_: int, x: Any, keep: Any) -> Any:
            if name == "max":
                return x.max(1)
            keep = np.ones((*x.shape[:2], 1), bool) if keep is None else keep
            total = np.where(keep, x, 0).sum(1)
            return total if name == "sum" else total / keep.sum(1)

        self._adds(name, [x, mask], out, compute, apart=True)

    def permute(self, x: int, out: int, lengths: Sequence[int], order: Sequence[int]) -> None:
        def compute(count: int, x: Any) -> Any:
            moved = x.reshape(*x.shape[:2], *lengths[1:]).transpose(0, *(axis + 1 for axis in order))
            return moved.reshape(len(x), count, math.prod(moved.shape[2:]))

        self._adds("permute", [x], out, compute, apart=True)


def flat(x: Any) -> Any:
    """(..., outer, length, inner) -> (..., elements)"""
    return x.reshape(*x.shape[:-3], -1)
