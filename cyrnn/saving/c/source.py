"""The C file of a chain of layers. Nothing is known here of Keras' classes and options: see `export_c`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cyrnn._version import __version__
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.c import activations as c_activations
from cyrnn.saving.c.template import FILE

_WIDTH = 120  # of a line of weights


@dataclass(frozen=True)
class Part:
    """activation(x . kernel + h . recurrent_kernel + bias), as far as it is there; h is the part's own last output.

    The arrays of all parts are float32, or all are float64.
    """

    title: str  # for people; it stands in a comment
    activation: str
    kernel: Array | None = None  # (inputs, units); None: the activation of x alone
    bias: Array | None = None  # (units,)
    recurrent_kernel: Array | None = None  # (units, units)
    initial_state: Array | None = None  # (units,); None: zeros


def source(name: str, parts: Sequence[Part], file: str) -> str:
    """The text of a file whose functions are ``<name>_step`` and so on. One part at least has a recurrent kernel."""
    return _Source(name, parts).text(file)


class _Source:
    """Constants, activations and scratch memory are gathered while the functions are written."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name, self.parts = name, list(enumerate(parts, 1))
        kernels = [part.kernel for part in parts if part.kernel is not None]
        self.features, self.units = len(kernels[0]), kernels[-1].shape[1]
        self.itemsize = kernels[0].itemsize
        self.real, self.suffix = ("float", "f") if self.itemsize == 4 else ("double", "")
        self.constants: dict[int, tuple[str, str, Array]] = {}  # by identity: a cell may be there twice
        self.activations: dict[str, str] = {}
        self.stack = 0

    def text(self, file: str) -> str:
        name, real = self.name, self.real
        recurrent = [
            (number, part, part.recurrent_kernel) for number, part in self.parts if part.recurrent_kernel is not None
        ]
        top, _, kernel = recurrent[-1]
        init = [self.begun(number, part, len(kernel)) for number, part, kernel in recurrent]
        step = self.function(self.parts[:top], "x", self.features)
        output = self.function(self.parts[top:], f"state->h{top}", len(kernel), "output")
        member = "    {} h{}[{}]; /* {} */"
        own_beginnings = [part.initial_state is not None for _, part, _ in recurrent]
        in_place = self.units <= self.features  # what is written never runs ahead of what is read
        return FILE.substitute(
            name=name,
            prefix=name.upper(),
            real=real,
            file=file,
            version=__version__,
            features=self.features,
            units=self.units,
            network="\n".join(f" *   {line}" for line in self.network()),
            beginning="the initial state of its layers" if any(own_beginnings) else "zeros",
            sharing=f"x and outputs {'may begin at the same place' if in_place else 'must not overlap'}.",
            constant_bytes=f"{sum(array.nbytes for _, _, array in self.constants.values()):,}",
            state_bytes=f"{sum(len(kernel) for _, _, kernel in recurrent) * self.itemsize:,}",
            stack_bytes=f"{self.stack * self.itemsize:,}",
            scan="%f" if real == "float" else "%lf",
            print="%.9g" if real == "float" else "%.17g",
            members="\n".join(
                member.format(real, number, len(kernel), part.title) for number, part, kernel in recurrent
            ),
            constants="\n".join(self.constant(*entry) for entry in self.constants.values()),
            activations="".join(self.activations.values()),
            init="\n".join(init),
            step=step,
            output=output,
        )

    def network(self) -> list[str]:
        """The layers for people."""
        rows = [("input", _plural(self.features, "feature"))]
        for number, part in self.parts:
            width = "" if part.kernel is None else f"{_plural(part.kernel.shape[1], 'unit')}, "
            rows.append((f"{number}. {part.title}", width + part.activation))
        longest = max(len(first) for first, _ in rows)
        return [f"{first:<{longest}}  {second}" for first, second in rows]

    # ------------------------------------------------------------ functions

    def begun(self, number: int, part: Part, units: int) -> str:
        own = part.initial_state
        value = "0" if own is None else f"{self.named('initial_state', number, part, own)}[j]"
        return f"    for (size_t j = 0; j < {units}; ++j) state->h{number}[j] = {value};"

    def function(self, parts: Sequence[tuple[int, Part]], x: str, width: int, target: str | None = None) -> str:
        """The body that takes the array `x` through the parts, and the last output to `target`, if one is named."""
        lines: list[str] = []
        scratch: dict[str, int] = {}  # arrays of this function, and their sizes
        if target and not parts:
            lines.append(self.activated("linear", x, target, width))
        for number, part in parts:
            z = x
            lines += ["", f"    /* {number}. {part.title}: {_equation(part)} */"]
            if part.kernel is not None:
                z, width = "y" if x == "z" else "z", part.kernel.shape[1]
                lines += self.products(number, part, part.kernel, x, z)
            if part.recurrent_kernel is not None:
                x = f"state->h{number}"
            elif target and number == parts[-1][0]:
                x = target
            else:
                x = z if z in ("y", "z") else "z"
            scratch |= {array: max(width, scratch.get(array, 0)) for array in (x, z) if array in ("y", "z")}
            if part.activation != "linear" or x != z:
                lines.append(self.activated(part.activation, z, x, width))
        self.stack += sum(scratch.values())
        declared = ", ".join(f"{array}[{size}]" for array, size in sorted(scratch.items(), reverse=True))
        return "\n".join([f"    {self.real} {declared};", *lines] if declared else lines).lstrip("\n")

    def activated(self, activation: str, z: str, y: str, width: int) -> str:
        """y = activation(z)"""
        self.activations[activation] = c_activations.function(activation, self.name, self.real)
        return f"    {self.name}_{activation}({z}, {y}, {width});"

    def products(self, number: int, part: Part, kernel: Array, x: str, z: str) -> Iterator[str]:
        """z = x . kernel + h . recurrent_kernel + bias"""
        each_unit = f"for (size_t j = 0; j < {kernel.shape[1]}; ++j)"
        bias = "0" if part.bias is None else f"{self.named('bias', number, part, part.bias)}[j]"
        yield f"    {each_unit} {z}[j] = {bias};"
        factors = [("kernel", x, kernel)]
        if part.recurrent_kernel is not None:
            factors.append(("recurrent_kernel", f"state->h{number}", part.recurrent_kernel))
        for kind, left, right in factors:
            yield f"    for (size_t i = 0; i < {len(right)}; ++i)"
            yield f"        {each_unit} {z}[j] += {left}[i] * {self.named(kind, number, part, right)}[i][j];"

    # ------------------------------------------------------------ constants

    def named(self, kind: str, number: int, part: Part, array: Array) -> str:
        """The C name of a constant."""
        entry = (f"{self.name}_{kind}_{number}", f"{number}. {part.title}: {kind}", array)
        return self.constants.setdefault(id(array), entry)[0]

    def constant(self, name: str, comment: str, array: Array) -> str:
        literals = [f"{self.literal(value)}," for value in array.ravel().tolist()]
        column = max(map(len, literals))
        literals = [f"{literal:<{column}}" for literal in literals]
        sizes = "".join(f"[{size}]" for size in array.shape)
        lines = [f"/* {comment} */", f"static const {self.real} {name}{sizes} = {{"]
        if array.ndim == 1:
            lines += _wrapped(literals, 4)
        else:
            units = array.shape[1]
            for start in range(0, array.size, units):
                lines += ["    {", *_wrapped(literals[start : start + units], 8), "    },"]
        return "\n".join([*lines, "};", ""])

    def literal(self, value: float) -> str:
        """A number without loss, and so that points stand under points."""
        sign = "-" if math.copysign(1, value) < 0 else " "
        if not math.isfinite(value):
            return " NAN" if math.isnan(value) else f"{sign}INFINITY"
        digits = abs(value).hex()  # 13 digits; a float has 6, and 7 zeros behind them
        return sign + (digits.replace("0000000p", "p") if self.suffix else digits) + self.suffix


def _wrapped(literals: Sequence[str], indent: int) -> Iterator[str]:
    """Lines of literals that are all of one width."""
    count = max(1, (_WIDTH - indent) // (len(literals[0]) + 1))
    for start in range(0, len(literals), count):
        yield (" " * indent + " ".join(literals[start : start + count])).rstrip()


def _equation(part: Part) -> str:
    if part.kernel is None:
        return f"y = {part.activation}(x)"
    terms = ["x . kernel"]
    if part.recurrent_kernel is not None:
        terms.append("h . recurrent_kernel")
    if part.bias is not None:
        terms.append("bias")
    return f"{'y' if part.recurrent_kernel is None else 'h'} = {part.activation}({' + '.join(terms)})"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
