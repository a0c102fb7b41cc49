"""The body of a C function that runs ops, and what it needs of the rest of the file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array
from cyrnn.saving.c import activations
from cyrnn.saving.c.buffers import Buffer, View
from cyrnn.saving.c.constants import constant, literal
from cyrnn.saving.c.op import Op


@dataclass(frozen=True)
class Numbered:
    """An op with its number and its title, as comments have them."""

    number: int
    title: str
    op: Op

    @property
    def comment(self) -> str:
        """The comment above its lines."""
        return f"/* {self.number}. {self.title}: {self.op.equation} */"


class Needs:
    """The constants and activations that functions need, gathered while these are written."""

    def __init__(self, name: str, real: str) -> None:
        self.name, self.real = name, real
        self.types = {"number": real, "token": "int32_t", "mask": "unsigned char"}
        self.bytes = {"number": 4 if real == "float" else 8, "token": 4, "mask": 1}
        self.activations: dict[str, str] = {}
        self._constants: dict[tuple[int, str], tuple[str, str, Array]] = {}  # by who has them: a cell may be twice

    def constant(self, kind: str, owner: Any, array: Array, number: int, title: str) -> str:
        """The C name of a constant."""
        entry = (f"{self.name}_{kind}_{number}", f"{number}. {title}: {kind}", array)
        return self._constants.setdefault((id(owner), kind), entry)[0]

    def activation(self, activation: str) -> str:
        """The name of the function."""
        self.activations[activation] = activations.function(activation, self.name, self.real)
        return f"{self.name}_{activation}"

    @property
    def constants(self) -> str:
        """The definitions of all constants."""
        return "\n".join(constant(*entry, self.real) for entry in self._constants.values())

    @property
    def constant_bytes(self) -> int:
        """Their size."""
        return sum(array.nbytes for _, _, array in self._constants.values())


class Function:
    """The body of one function: the lines of ops, and arrays on the stack, which are used again when they are free."""

    def __init__(self, needs: Needs) -> None:
        self.needs, self.real = needs, needs.real
        self.lines: list[str] = []
        self._op: Numbered | None = None
        self._arrays: dict[str, tuple[str, int]] = {}  # by name: kind and size
        self._free: list[str] = []
        self._now: list[str] = []  # those of the op that is being written

    def write(self, ops: Sequence[Numbered], read_later: Iterable[Buffer] = ()) -> None:
        """Add the lines of ops. What they fill for each other, and `read_later` has, gets a place if it has none."""
        last = {view.buffer: index for index, found in enumerate(ops) for view in found.op.reads}
        last |= {buffer: len(ops) for buffer in read_later}
        placed: dict[Buffer, str] = {}
        for index, found in enumerate(ops):
            self._op = found
            for view in found.op.fills:
                if not view.buffer.place and view.buffer in last:
                    placed[view.buffer] = view.buffer.place = self._take(view.buffer.kind, view.buffer.width)
                    view.buffer.is_local = True
            self.lines += ["", found.comment, *found.op.lines(self)]
            self._free += self._now
            self._now = []
            self._free += [name for buffer, name in placed.items() if last[buffer] == index]

    def _take(self, kind: str, size: int) -> str:
        fitting = [name for name in self._free if self._arrays[name][0] == kind]
        name = fitting[0] if fitting else f"{'z' if kind == 'number' else kind[0]}{len(self._arrays) + 1}"
        if fitting:
            self._free.remove(name)
        self._arrays[name] = kind, max(size, self._arrays.get(name, (kind, 0))[1])
        return name

    @property
    def stack_bytes(self) -> int:
        """The size of its arrays."""
        return sum(size * self.needs.bytes[kind] for kind, size in self._arrays.values())

    @property
    def text(self) -> str:
        """The whole body."""
        arrays = [f"{self.needs.types[kind]} {name}[{size}];" for name, (kind, size) in self._arrays.items()]
        first = [*arrays, ""] if arrays and self.lines[:1] != [""] else arrays
        return "\n".join(f"    {line}".rstrip() for line in [*first, *self.lines]).lstrip("\n")

    # ------------------------------------------------------------ for ops

    def constant(self, kind: str, owner: Any, array: Array) -> str:
        assert self._op is not None
        return self.needs.constant(kind, owner, array, self._op.number, self._op.title)

    def number(self, value: float) -> str:
        if float(value).is_integer() and abs(value) < 1e6:
            return f"{value:.1f}" + ("f" if self.real == "float" else "")
        with np.errstate(over="ignore"):
            text = literal(float(np.float32(value)) if self.real == "float" else value, self.real).strip()
        return text if np.isfinite(value) else f"({self.real}){text}"

    def activated(self, activation: str, z: str, y: str, units: int) -> str:
        return f"{self.needs.activation(activation)}({z}, {y}, {units});"

    def scratch(self, width: int) -> View:
        name = self._take("number", width)
        self._now.append(name)
        return View(Buffer("number", width, timed=True, place=name), 0, width)
