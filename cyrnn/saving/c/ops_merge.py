"""Ops that make one value of several, in C: the formulas of ``engine/ops_merge.hpp``."""

from collections.abc import Sequence
from dataclasses import dataclass

from cyrnn.saving.c.buffers import View
from cyrnn.saving.c.op import Op, Writing, along, block, copied, each

_MERGED = {
    "add": "v + {}",
    "average": "v + {}",
    "subtract": "v - {}",
    "multiply": "v * {}",
    "divide": "v / {}",
    "maximum": "v > {0} || v != v ? v : {0}",  # of NaN and a number: NaN
    "minimum": "v < {0} || v != v ? v : {0}",
}


@dataclass(eq=False)
class Merge(Op):
    """The first of the x, merged with one after the other; each lies along an axis (length, inner) of the output.

    A mask that is false leaves x out: of a product, which of none is 0, and of maximum and minimum, unless all are.
    """

    name: str
    xs: Sequence[View]
    axes: Sequence[tuple[int, int]]
    masks: Sequence[View | None]  # as many as xs, or none

    @property
    def summary(self) -> str:
        return f"{self.name}, {len(self.xs)} values"

    def lines(self, c: Writing) -> list[str]:
        xs = [x.at(along("i", self.out.width, *axis)) for x, axis in zip(self.xs, self.axes, strict=True)]
        lines = [f"{c.real} v = {xs[0]};"]
        if self.masks:
            lines += self._of_kept(xs)
        else:
            lines += [f"v = {_MERGED[self.name].format(x)};" for x in xs[1:]]
        if self.name == "average":
            lines.append(f"v /= {c.number(len(xs))};")
        return block(each("i", self.out.width, ""), [*lines, f"{self.out.at('i')} = v;"])

    def _of_kept(self, xs: Sequence[str]) -> list[str]:
        kept = ["1" if mask is None else mask.at("0") for mask in self.masks]
        product = self.name == "multiply"
        lines = [f"int any = {kept[0]};"]
        if product:
            lines.append("if (!any) v = 1;")
        for x, mask in zip(xs[1:], kept[1:], strict=True):
            merged = _MERGED[self.name].format(x)
            lines.append(f"if ({mask}) v = {merged if product else f'any ? ({merged}) : {x}'};")
            lines.append(f"any |= {mask};")
        return [*lines, "if (!any) v = 0;"] if product else [*lines, "(void)any;"]


@dataclass(eq=False)
class Join(Op):
    """The x end to end: of a timestep (pieces, elements) the elements of each piece."""

    pieces: int

    @property
    def summary(self) -> str:
        return f"{len(self.reads)} values end to end"

    def lines(self, c: Writing) -> list[str]:
        first, lines = 0, []
        if self.pieces == 1:
            for x in self.reads:
                lines.append(copied(x, self.out.columns(first, x.width)))
                first += x.width
            return lines
        total = self.out.width // self.pieces
        for x in self.reads:
            width = x.width // self.pieces
            to = self.out.columns(first, width)
            lines.append(each("i", width, f"{to.at(f'k * {total} + i')} = {x.at(f'k * {width} + i')};"))
            first += width
        return block(each("k", self.pieces, ""), lines)


@dataclass(eq=False)
class Dot(Op):
    """Sums of products along an axis of x, (..., length, x_inner), and one of y, (..., length, y_inner)."""

    length: int
    x_inner: int
    y_inner: int

    def lines(self, c: Writing) -> list[str]:
        x, y = self.reads
        product = f"{x.at(f'a + b + k * {self.x_inner}')} * {y.at(f'd + e + k * {self.y_inner}')}"
        loops = [
            each("a", x.width, "", self.length * self.x_inner),
            each("b", self.x_inner, ""),
            each("d", y.width, "", self.length * self.y_inner),
            each("e", self.y_inner, ""),
        ]
        lines = [f"{c.real} sum = 0;", each("k", self.length, f"sum += {product};"), f"{self.out.at('to++')} = sum;"]
        for loop in reversed(loops):
            lines = block(loop, lines)
        return block("", ["size_t to = 0;", *lines])


@dataclass(eq=False)
class MaskMerge(Op):
    """Whether all, or some, of the masks are true; of none all are."""

    all: bool

    @property
    def summary(self) -> str:
        return f"whether {'all' if self.all else 'some'} of the masks are true"

    def lines(self, c: Writing) -> list[str]:
        known = (" && " if self.all else " || ").join(mask.at("0") for mask in self.reads)
        return [f"{self.out.at('0')} = {known or int(self.all)};"]
