"""Ops without weights in C: the formulas of ``engine/ops_plain.hpp`` and ``engine/ops_pointwise.hpp``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cyrnn.saving.c.activations import BY_ROW
from cyrnn.saving.c.op import Op, Writing, block, copied, each


@dataclass(eq=False)
class Nonzero(Op):
    @property
    def summary(self) -> str:
        return "mask of the tokens that are not 0"

    def lines(self, c: Writing) -> list[str]:
        return [f"{self.out.at('0')} = {self.reads[0].at('0')} != 0;"]


@dataclass(eq=False)
class Masking(Op):
    """Fills x, or zeros where all of it is `value`; and the mask."""

    value: float

    @property
    def summary(self) -> str:
        return f"masks timesteps that are {self.value:g} everywhere"

    def lines(self, c: Writing) -> list[str]:
        x, lines = self.reads[0], ["int other = 0;"]
        lines.append(each("i", x.width, f"other |= {x.at('i')} != {c.number(self.value)};"))
        if self.out.is_needed:
            lines.append(each("i", x.width, f"{self.out.at('i')} = other ? {x.at('i')} : 0;"))
        if len(self.fills) > 1 and self.fills[1].is_needed:
            lines.append(f"{self.fills[1].at('0')} = (unsigned char)other;")
        return block("", lines)


@dataclass(eq=False)
class Activation(Op):
    name: str
    last_axis: int

    @property
    def summary(self) -> str:
        return self.name

    @property
    def equation(self) -> str:
        return f"y = {self.name}(x)"

    def lines(self, c: Writing) -> list[str]:
        (x,), units = self.reads, self.last_axis
        if units == x.width or self.name not in BY_ROW:
            return [c.activated(self.name, x.address(), self.out.address(), x.width)]
        row = c.activated(self.name, x.address("k"), self.out.address("k"), units)
        return [each("k", x.width, row, units)]


@dataclass(eq=False)
class Relu(Op):
    slope: float
    threshold: float
    most: float

    @property
    def summary(self) -> str:
        return "relu"

    def lines(self, c: Writing) -> list[str]:
        x, y, threshold = self.reads[0].at("i"), self.out.at("i"), c.number(self.threshold)
        most = c.number(self.most)
        value = x if self.most == math.inf else f"{x} > {most} ? {most} : {x}"
        off = f"{x} < 0" if self.threshold == 0 else f"!({x} > {threshold})"  # NaN: as in the engine
        lines = [f"{c.real} v = {off} ? 0 : {value};"]
        if self.slope != 0:
            lines += [f"const {c.real} below = {x} - {threshold};"]
            lines += [f"if (!(below > 0)) v += {c.number(self.slope)} * below;"]
        return block(each("i", self.out.width, ""), [*lines, f"{y} = v;"])


@dataclass(eq=False)
class Scale(Op):
    factor: float
    offset: float

    @property
    def summary(self) -> str:
        return f"x * {self.factor:g} + {self.offset:g}"

    def lines(self, c: Writing) -> list[str]:
        value = f"{self.reads[0].at('i')} * {c.number(self.factor)} + {c.number(self.offset)}"
        return [each("i", self.out.width, f"{self.out.at('i')} = {value};")]


@dataclass(eq=False)
class Copy(Op):
    def lines(self, c: Writing) -> list[str]:
        return [copied(self.reads[0], self.out)]


@dataclass(eq=False)
class Permute(Op):
    """The axes of a timestep, of these lengths, in another order."""

    lengths: Sequence[int]
    order: Sequence[int]

    @property
    def summary(self) -> str:
        return "axes in another order"

    def lines(self, c: Writing) -> list[str]:
        strides = [math.prod(self.lengths[axis + 1 :]) for axis in range(len(self.lengths))]
        index = " + ".join(f"i{axis} * {strides[axis]}" for axis in self.order)
        lines = [f"{self.out.at('to++')} = {self.reads[0].at(index)};"]
        for axis in reversed(self.order):
            lines = block(each(f"i{axis}", self.lengths[axis], ""), lines)
        return block("", ["size_t to = 0;", *lines])
