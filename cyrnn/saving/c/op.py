"""What the ops of a step in C have in common, and the words of C that they write with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cyrnn.layers.base.arguments import Array
from cyrnn.saving.c.buffers import View


class Writing(Protocol):
    """A C function that is being written."""

    real: str  # the type of numbers

    def constant(self, kind: str, owner: Any, array: Array) -> str:
        """The name of an array of weights, which `owner` holds."""

    def number(self, value: float) -> str:
        """A literal."""

    def activated(self, activation: str, z: str, y: str, units: int) -> str:
        """The line  y = activation(z),  for two addresses."""

    def scratch(self, width: int) -> View:
        """Numbers for this op alone."""


@dataclass(eq=False)
class Op:
    """One op of a program. Subclasses have more fields."""

    reads: Sequence[View]
    fills: Sequence[View]

    @property
    def out(self) -> View:
        """What most ops fill."""
        return self.fills[0]

    @property
    def summary(self) -> str:
        """What it is, in the list of the network."""
        return type(self).__name__.lower()

    @property
    def equation(self) -> str:
        """What it computes, in the comment above its lines."""
        return self.summary

    def lines(self, c: Writing) -> list[str]:
        """The lines of C."""
        raise NotImplementedError(type(self).__name__)


def each(index: str, count: int | str, body: str, step: int = 1) -> str:
    """A loop around one statement; without a body its head."""
    advance = f"++{index}" if step == 1 else f"{index} += {step}"
    return f"for (size_t {index} = 0; {index} < {count}; {advance}) {body}".rstrip()


def block(head: str, lines: Sequence[str]) -> list[str]:
    """Lines in braces."""
    return [f"{head} {{".lstrip(), *(f"    {line}" for line in lines), "}"]


def copied(x: View, out: View) -> str:
    """The line  out = x."""
    return each("i", out.width, f"{out.at('i')} = {x.at('i')};")


def plural(count: int, noun: str) -> str:
    """The count of things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def along(index: str, width: int, length: int, inner: int) -> str:
    """Where the element of that index is on an axis, if a timestep is (..., length, inner)."""
    if length == 1:
        return "0"
    index = index if inner == 1 else f"{index} / {inner}"
    return index if length * inner == width else f"{index} % {length}"
