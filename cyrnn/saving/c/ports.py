"""The parameters of the C functions, for the inputs and outputs of a step, and what the file's comment says of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from cyrnn.saving.c.buffers import View
from cyrnn.saving.c.op import plural


@dataclass(frozen=True)
class Port:
    """An input or output.

    Parameters
    ----------
    view : View
        What it holds.
    title : str
        How the model calls it.
    type : str
        The C type of its elements.
    name : str
        That of the parameter for one timestep.
    rows : str
        That of the parameter for several of them.
    size : str
        The macro that says how many elements a timestep has.
    """

    view: View
    title: str
    type: str
    name: str
    rows: str
    size: str

    @property
    def described(self) -> str:
        """Its elements, for people."""
        noun = {"number": "feature" if self.name[0] == "x" else "unit", "token": "token", "mask": "truth value"}
        return plural(self.view.width, noun[self.view.buffer.kind])

    @property
    def at_timestep(self) -> str:
        """The expression of where timestep t begins."""
        return f"{self.rows} + t * {self.size}"


class Ports:
    """The inputs, or the outputs: one is called ``x`` or ``output``, several ``x1``, ``x2`` and so on.

    Parameters
    ----------
    views : sequence of (title, View)
    name, rows, size : str
        Those of a `Port` that is alone.
    types : dict
        The C types of the kinds of elements.
    """

    def __init__(
        self, views: Sequence[tuple[str, View]], name: str, rows: str, size: str, types: dict[str, str]
    ) -> None:
        self.alone = len(views) == 1
        self.all: list[Port] = []
        for number, (title, view) in enumerate(views, 1):
            end, macro_end = ("", "") if self.alone else (str(number), f"_{number}")
            self.all.append(Port(view, title, types[view.buffer.kind], name + end, rows + end, size + macro_end))

    @property
    def is_simple(self) -> bool:
        """Whether it is one of numbers."""
        return self.alone and self.all[0].view.buffer.kind == "number"

    def parameters(self, rows: bool = False, const: bool = False) -> str:
        """The declarations of the parameters."""
        each = (f"{port.type} *{port.rows if rows else port.name}" for port in self.all)
        return ", ".join(f"const {text}" if const else text for text in each)

    @property
    def arguments(self) -> str:
        """The arguments for one timestep, by the names of its parameters."""
        return ", ".join(port.name for port in self.all)

    @property
    def macros(self) -> list[str]:
        """The definitions of the sizes."""
        return [f"#define {port.size} {port.view.width}" for port in self.all]

    @property
    def network_rows(self) -> list[tuple[str, str]]:
        """The rows of the list of the network."""
        word = "input" if self.all[0].name[0] == "x" else "output"
        return [(word if self.alone else f"{port.name}: {word} {port.title}", port.described) for port in self.all]


def about_step(inputs: Ports, outputs: Ports) -> list[str]:
    """What the comment says of the parameters of a step."""
    sizes = ", ".join(f"{port.name}: ({port.size})" for port in (*inputs.all, *outputs.all))
    if inputs.is_simple and outputs.is_simple:
        text = [f"One timestep. {sizes}, or NULL if it is not wanted."]
        return [*text, "The two may be the same memory, or overlap in any way."]
    text = ["One timestep. The parameters have so many elements:"]
    text += [f"    {port.name}: ({port.size})" for port in (*inputs.all, *outputs.all)]
    text.append("Those of outputs may be NULL, if they are not wanted, and must not overlap.")
    if any(port.view.buffer.kind == "token" for port in inputs.all):
        text.append("Tokens are integers from 0 on. For one that a table does not have, its row is NaN.")
    return text


def about_forward(inputs: Ports, outputs: Ports) -> list[str]:
    """What it says of those of several steps."""
    text = ["As many steps, on from where the state is: the same bits as one by one."]
    if inputs.is_simple and outputs.is_simple:
        x, output = inputs.all[0], outputs.all[0]
        in_place = output.view.width <= x.view.width  # what is written never runs ahead of what is read
        text += [f"x: (timesteps, {x.size}), outputs: (timesteps, {output.size}), or NULL if only the"]
        return [
            *text,
            f"state shall move. x and outputs {'may begin at the same place' if in_place else 'must not overlap'}.",
        ]
    text += ["The arrays have a row for each timestep, and must not overlap. Those of outputs may be NULL."]
    return text + [f"{port.name} is one row for all of them." for port in inputs.all if not port.view.buffer.timed]


def example(inputs: Ports, outputs: Ports, name: str) -> list[str]:
    """The body of a program that reads the inputs of each timestep, and prints the outputs."""
    lines = [f"{name}_state state;"]
    lines += [f"{port.type} {port.name}[{port.size}];" for port in (*inputs.all, *outputs.all)]
    lines += ["", f"{name}_init(&state);", "for (;;) {"]
    for port in inputs.all:
        loop = f"    for (int i = 0; i < {port.size}; ++i)"
        if port.view.buffer.kind == "number":
            scan = "%f" if port.type == "float" else "%lf"
            lines += [loop, f'        if (scanf("{scan}", &{port.name}[i]) != 1) return 0;']
        else:
            lines += [f"{loop} {{", "        long value;", '        if (scanf("%ld", &value) != 1) return 0;']
            lines += [f"        {port.name}[i] = ({port.type})value;", "    }"]
    lines.append(f"    {name}_step(&state, {inputs.arguments}, {outputs.arguments});")
    for port in outputs.all:
        digits = "%.17g" if port.type == "double" else "%.9g"
        lines += [f'    for (int i = 0; i < {port.size}; ++i) printf("{digits} ", (double){port.name}[i]);']
    return [*lines, '    printf("\\n");', "}"]
