"""The cells with gates in C: the equations of ``engine/cells.hpp`` for one timestep."""

from collections.abc import Callable
from dataclasses import dataclass

from cyrnn.engine.plan import Plan
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.c.buffers import View
from cyrnn.saving.c.op import Writing, each


def multiplied(c: Writing, plan: Plan, kind: str, array: Array, left: View, out: View) -> list[str]:
    """out += left . array, a part of the weights of a plan."""
    name = c.constant(kind, plan, array)
    row = each("j", out.width, f"{out.at('j')} += {left.at('i')} * {name}[i][j];")
    return [each("i", len(array), ""), f"    {row}"]


@dataclass(frozen=True)
class Gates:
    """A timestep of a cell under way: where its sums are, and its gates, which the activations make of them."""

    c: Writing
    plan: Plan
    x: View
    state: View  # the record: h, and what states there are beside it

    def part(self, of: View, number: int) -> View:
        """The units of one gate, or of one state."""
        return of.columns(number * self.plan.units, self.plan.units)

    def begun(self, width: int, bias: Array | None, kind: str = "bias") -> tuple[View, list[str]]:
        """New sums, which begin with a bias."""
        sums = self.c.scratch(width)
        first = "0" if bias is None else f"{self.c.constant(kind, self.plan, bias)}[j]"
        return sums, [each("j", width, f"{sums.at('j')} = {first};")]

    def multiplied(self, kind: str, array: Array, left: View, out: View) -> list[str]:
        return multiplied(self.c, self.plan, kind, array, left, out)

    def activated(self, name: str, sums: View, out: View) -> str:
        return self.c.activated(name, sums.address(), out.address(), self.plan.units)

    def for_units(self, body: str) -> str:
        return each("j", self.plan.units, body)


def _lstm(at: Gates) -> list[str]:
    kernel, recurrent_kernel, bias, activation = at.plan.made_of
    assert recurrent_kernel is not None
    h, memory = at.part(at.state, 0), at.part(at.state, 1)
    sums, lines = at.begun(kernel.shape[1], bias)
    gates = at.c.scratch(kernel.shape[1])
    lines += at.multiplied("kernel", kernel, at.x, sums)
    lines += at.multiplied("recurrent_kernel", recurrent_kernel, h, sums)
    names = [at.plan.recurrent_activation] * 4
    names[2] = activation
    lines += [at.activated(name, at.part(sums, n), at.part(gates, n)) for n, name in enumerate(names)]
    i, f, g, o = (at.part(gates, n).at("j") for n in range(4))
    shown = at.part(sums, 0)
    return [
        *lines,
        at.for_units(f"{memory.at('j')} = {f} * {memory.at('j')} + {i} * {g};"),
        at.activated(activation, memory, shown),
        at.for_units(f"{h.at('j')} = {o} * {shown.at('j')};"),
    ]


def _gru(at: Gates) -> list[str]:
    kernel, recurrent_kernel, bias, activation = at.plan.made_of
    assert recurrent_kernel is not None
    h, width = at.state, kernel.shape[1]
    of_x, lines = at.begun(width, None if bias is None else bias[:width])
    of_h, more = at.begun(width, None if bias is None else bias[width:], "recurrent_bias")
    gates = at.c.scratch(width)
    lines += [*at.multiplied("kernel", kernel, at.x, of_x), *more]
    lines += at.multiplied("recurrent_kernel", recurrent_kernel, h, of_h)
    lines.append(each("j", 2 * at.plan.units, f"{of_x.at('j')} += {of_h.at('j')};"))
    lines += _both_gates(at, of_x, gates)
    candidate, reset = at.part(of_x, 2), at.part(gates, 1)
    lines.append(at.for_units(f"{candidate.at('j')} += {reset.at('j')} * {at.part(of_h, 2).at('j')};"))
    return [*lines, *_blended(at, activation, candidate, gates)]


def _gru_reset_before(at: Gates) -> list[str]:
    kernel, recurrent_kernel, bias, activation = at.plan.made_of
    assert recurrent_kernel is not None
    h, two = at.state, 2 * at.plan.units
    sums, lines = at.begun(kernel.shape[1], bias)
    gates, dropped = at.c.scratch(kernel.shape[1]), at.c.scratch(at.plan.units)
    lines += at.multiplied("kernel", kernel, at.x, sums)
    lines += at.multiplied("recurrent_kernel", recurrent_kernel[:, :two], h, sums.columns(0, two))
    lines += _both_gates(at, sums, gates)
    lines.append(at.for_units(f"{dropped.at('j')} = {at.part(gates, 1).at('j')} * {h.at('j')};"))
    candidate = at.part(sums, 2)
    lines += at.multiplied("candidate_kernel", recurrent_kernel[:, two:], dropped, candidate)
    return [*lines, *_blended(at, activation, candidate, gates)]


def _both_gates(at: Gates, sums: View, gates: View) -> list[str]:
    name = at.plan.recurrent_activation
    return [at.activated(name, at.part(sums, n), at.part(gates, n)) for n in range(2)]


def _blended(at: Gates, activation: str, candidate: View, gates: View) -> list[str]:
    update, new, h = at.part(gates, 0).at("j"), at.part(gates, 2), at.state.at("j")
    return [
        at.activated(activation, candidate, new),
        at.for_units(f"{h} = {update} * {h} + (1 - {update}) * {new.at('j')};"),
    ]


# By the engine's names: what they are called, their equation, and the lines of a timestep.
CELLS: dict[str, tuple[str, str, Callable[[Gates], list[str]]]] = {
    "lstm": ("LSTM", "c = f c + i g, h = o {0}(c); i, f, o = {1}, g = {0} of sums", _lstm),
    "gru": ("GRU", "h = z h + (1 - z) n; z, r = {1} of sums, n = {0}(x . kernel + r (h . recurrent_kernel))", _gru),
    "gru_reset_before": (
        "GRU",
        "h = z h + (1 - z) n; z, r = {1} of sums, n = {0}(x . kernel + (r h) . recurrent_kernel)",
        _gru_reset_before,
    ),
}
