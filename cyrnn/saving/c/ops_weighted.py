"""Ops with weights in C: the formulas of ``engine/ops_weighted.hpp`` and ``engine/ops_pointwise.hpp``."""

from dataclasses import dataclass
from functools import cached_property

from cyrnn.engine.plan import Plan, Table, Vectors
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.c.buffers import Buffer, View
from cyrnn.saving.c.cells import CELLS, Gates, multiplied
from cyrnn.saving.c.op import Op, Writing, along, block, copied, each, plural


@dataclass(eq=False)
class Product(Op):
    """activation(x . kernel + h . recurrent_kernel + bias), as far as it is there."""

    plan: Plan

    @cached_property
    def weights(self) -> tuple[Array, Array | None, Array | None, str]:
        """Kernel, recurrent kernel, bias and activation."""
        return self.plan.made_of

    @property
    def summary(self) -> str:
        units, functions = plural(self.plan.units, "unit"), self.plan.activation
        if self.plan.cell is None:
            return f"{units}, {functions}"
        return f"{CELLS[self.plan.cell][0]} of {units}, {functions} and {self.plan.recurrent_activation}"

    @property
    def equation(self) -> str:
        if self.plan.cell is not None:
            return CELLS[self.plan.cell][1].format(self.plan.activation, self.plan.recurrent_activation)
        _, recurrent_kernel, bias, activation = self.weights
        terms = [
            "x . kernel",
            *["h . recurrent_kernel"] * (recurrent_kernel is not None),
            *["bias"] * (bias is not None),
        ]
        return f"{'y' if recurrent_kernel is None else 'h'} = {activation}({' + '.join(terms)})"

    def products(self, c: Writing, z: View, x: View, h: View | None = None) -> list[str]:
        """z = x . kernel + h . recurrent_kernel + bias"""
        kernel, recurrent_kernel, bias, _ = self.weights
        first = "0" if bias is None else f"{c.constant('bias', self.plan, bias)}[j]"
        lines = [each("j", z.width, f"{z.at('j')} = {first};")]
        for kind, left, right in (("kernel", x, kernel), ("recurrent_kernel", h, recurrent_kernel)):
            if left is not None and right is not None:
                lines += multiplied(c, self.plan, kind, right, left, z)
        return lines

    def activated(self, c: Writing, z: View, to: str) -> str:
        """The line that makes the output of z."""
        return c.activated(self.plan.activation, z.address(), to, self.plan.units)


@dataclass(eq=False)
class Recurrent(Product):
    """A recurrence. The mask keeps the state; `shown` is the output where that is not the state: zeros where masked."""

    state: Buffer
    mask: View | None
    shown: View | None

    @property
    def h(self) -> View:
        """The state that is the output."""
        return View(self.state, 0, self.plan.units)

    @property
    def states(self) -> list[View]:
        """All of them, h first."""
        units = self.plan.units
        return [View(self.state, first, units) for first in range(0, self.state.width, units)]

    def lines(self, c: Writing) -> list[str]:
        if self.plan.cell is not None:
            whole = View(self.state, 0, self.state.width)
            lines = CELLS[self.plan.cell][2](Gates(c, self.plan, self.reads[0], whole))
        else:
            z = c.scratch(self.h.width)
            lines = [*self.products(c, z, self.reads[0], self.h), self.activated(c, z, self.h.address())]
        if self.mask is None:
            return lines
        if self.shown is None or not self.shown.is_needed:
            return block(f"if ({self.mask.at('0')})", lines)
        zeros = each("i", self.h.width, f"{self.shown.at('i')} = 0;")
        lines.append(copied(self.h, self.shown))
        return [*block(f"if ({self.mask.at('0')})", lines)[:-1], *block("} else", [zeros])]


@dataclass(eq=False)
class Dense(Product):
    vectors: int

    def lines(self, c: Writing) -> list[str]:
        x, features, units = self.reads[0], self.plan.features, self.plan.units
        if self.vectors == 1 and self.out.buffer.is_local:
            lines = self.products(c, self.out, x)
            linear = self.plan.activation == "linear"
            return lines if linear else [*lines, self.activated(c, self.out, self.out.address())]
        z = c.scratch(units)
        if self.vectors == 1:
            return [*self.products(c, z, x), self.activated(c, z, self.out.address())]
        row = View(Buffer("number", features, timed=True, place="row"), 0, features)
        lines = [f"const {c.real} *row = {x.address(f'v * {features}')};", *self.products(c, z, row)]
        lines.append(self.activated(c, z, self.out.address(f"v * {units}")))
        return block(each("v", self.vectors, ""), lines)


@dataclass(eq=False)
class Embedding(Op):
    table: Table

    @cached_property
    def rows(self) -> Array:
        """The table."""
        return self.table.made_of[0]

    @property
    def summary(self) -> str:
        return f"{plural(len(self.rows), 'row')} of {plural(self.rows.shape[1], 'number')}"

    @property
    def equation(self) -> str:
        return "a row of the table for each token"

    def lines(self, c: Writing) -> list[str]:
        (tokens,), (count, units) = self.reads, self.rows.shape
        name = c.constant("table", self.table, self.rows)
        inside = f"{tokens.at('k')} >= 0 && {tokens.at('k')} < {count}"
        value = f"inside ? {name}[{tokens.at('k')}][j] : ({c.real})NAN"
        lines = [f"const int inside = {inside};", each("j", units, f"{self.out.at(f'k * {units} + j')} = {value};")]
        return block(each("k", tokens.width, ""), lines)


@dataclass(eq=False)
class _Along(Op):
    """An op with weights along an axis: a timestep is (..., length, inner)."""

    vectors: Vectors
    length: int
    inner: int

    def vector(self, c: Writing, kind: str) -> str:
        """The element of a vector that belongs to element i."""
        array = dict(zip(("scale", "shift", "offset"), self.vectors.made_of, strict=True))[kind]
        return f"{c.constant(kind, self.vectors, array)}[{along('i', self.out.width, self.length, self.inner)}]"


@dataclass(eq=False)
class Affine(_Along):
    @property
    def summary(self) -> str:
        return "(x - shift) * scale + offset"

    def lines(self, c: Writing) -> list[str]:
        (x,) = self.reads
        scale, shift, offset = (self.vector(c, kind) for kind in ("scale", "shift", "offset"))
        return [each("i", x.width, f"{self.out.at('i')} = ({x.at('i')} - {shift}) * {scale} + {offset};")]


@dataclass(eq=False)
class PRelu(_Along):
    @property
    def summary(self) -> str:
        return "x, and x * scale below 0"

    def lines(self, c: Writing) -> list[str]:
        x, scale = self.reads[0].at("i"), self.vector(c, "scale")
        value = f"({x} < 0 ? 0 : {x}) + {scale} * ({x} > 0 ? 0 : {x})"
        return [each("i", self.out.width, f"{self.out.at('i')} = {value};")]


@dataclass(eq=False)
class Norm(Op):
    """`length` elements at a time, normalized: by variance ("layer", "rms"), or to the length 1 ("unit")."""

    kind: str
    length: int
    parameter: float  # epsilon; of "unit" the largest factor
    vectors: Vectors | None

    @property
    def summary(self) -> str:
        return f"{self.kind} normalization of {plural(self.length, 'element')} at a time"

    def lines(self, c: Writing) -> list[str]:
        x, y = self.reads[0].at("k + i"), self.out.at("k + i")
        real, n, parameter = c.real, c.number(self.length), c.number(self.parameter)
        root = "sqrtf" if real == "float" else "sqrt"
        lines = ["double sum = 0, squares = 0;"]
        if self.kind == "unit":
            lines = ["double squares = 0;", each("i", self.length, f"squares += (double){x} * (double){x};")]
            lines += [f"{real} factor = 1 / {root}(({real})squares);"]
            lines += [f"factor = factor > {parameter} ? {parameter} : factor;"]
            value = f"{x} * factor"
        else:
            lines += [each("i", self.length, f"sum += (double){x};"), f"const {real} mean = ({real})sum / {n};"]
            deviation = f"const double d = (double)({x} - mean);"
            lines += block(each("i", self.length, ""), [deviation, "squares += d * d;"])
            lines += [f"const {real} factor = 1 / {root}(({real})squares / {n} + {parameter});"]
            value = f"({x} - mean)" if self.kind == "layer" else x
            if self.vectors is None:
                value = f"{value} * factor"
            else:
                scale, _, offset = self.vectors.made_of
                scale_, offset_ = c.constant("scale", self.vectors, scale), c.constant("offset", self.vectors, offset)
                value = f"{value} * (factor * {scale_}[i]) + {offset_}[i]"
        lines.append(each("i", self.length, f"{y} = {value};"))
        return block(each("k", self.out.width, "", self.length), lines)
