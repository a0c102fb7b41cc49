"""The C file of a step. Nothing is known here of Keras' classes and options: see `export_c`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cyrnn._version import __version__
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.c.buffers import Buffer, View
from cyrnn.saving.c.function import Function, Needs, Numbered
from cyrnn.saving.c.op import Op, block, copied, each
from cyrnn.saving.c.ops_weighted import Recurrent
from cyrnn.saving.c.ports import Ports, about_forward, about_step, example
from cyrnn.saving.c.template import FILE


@dataclass
class Step:
    """What a step takes, computes and returns.

    Parameters
    ----------
    inputs, outputs : sequence of (title, View)
    ops : sequence of (title, Op)
        In their order. The titles are for people; they stand in comments.
    beginnings : sequence of arrays (units,)
        The initial state of each recurrence.
    single : bool
        Whether numbers are float32, else float64.
    """

    inputs: Sequence[tuple[str, View]]
    outputs: Sequence[tuple[str, View]]
    ops: Sequence[tuple[str, Op]]
    beginnings: Sequence[Array]
    single: bool


def source(name: str, step: Step, file: str) -> str:
    """The text of a file whose functions are ``<name>_step`` and so on."""
    return _Source(name, step).text(file)


class _Source:
    """The ops are divided: ``<name>_step`` does those that states depend on, and ``<name>_output`` the rest.

    What the second needs of a timestep is kept in the state, so that it may be called again.
    """

    def __init__(self, name: str, step: Step) -> None:
        self.name = name
        self.needs = Needs(name, "float" if step.single else "double")
        types, prefix = self.needs.types, name.upper()
        self.inputs = Ports(step.inputs, "x", "x", f"{prefix}_FEATURES", types)
        self.outputs = Ports(step.outputs, "output", "outputs", f"{prefix}_UNITS", types)
        for port in self.inputs.all:
            port.view.buffer.place = port.name
        early, late = _divided(step)
        needed = [(title, op) for title, op in step.ops if op in early or op in late]
        self.ops = [Numbered(number, title, op) for number, (title, op) in enumerate(needed, 1)]
        self.early = [found for found in self.ops if found.op in early]
        self.late = [found for found in self.ops if found.op in late]
        recurrent = [found for found in self.ops if isinstance(found.op, Recurrent)]
        self.begun = list(zip(recurrent, step.beginnings, strict=True))
        self.kept = self._kept(step)
        self.members = self._members(recurrent)

    def _kept(self, step: Step) -> list[Buffer]:
        """What ``<name>_output`` needs of a timestep, but for states."""
        read = [view.buffer for found in self.late for view in found.op.reads]
        read += [view.buffer for _, view in step.outputs]
        own = {view.buffer for found in self.late for view in found.op.fills}
        own |= {found.op.state for found in self.ops if isinstance(found.op, Recurrent)}
        return [buffer for buffer in dict.fromkeys(read) if buffer not in own and not buffer.always]

    def _members(self, recurrent: Sequence[Numbered]) -> list[tuple[Buffer, str, str]]:
        """The members of the state: buffers, names, and comments."""
        members: list[tuple[Buffer, str, str]] = []
        for found in recurrent:
            assert isinstance(found.op, Recurrent)
            members.append((found.op.state, f"h{found.number}", found.title))
        fillers = {view.buffer: found for found in self.early for view in found.op.fills}
        for buffer in self.kept:
            filler = fillers.get(buffer)
            if filler is None:
                members.append((buffer, buffer.place, "the last input"))
            else:
                letter = "m" if buffer.kind == "mask" else "y"
                members.append((buffer, f"{letter}{filler.number}", f"the last output of {filler.title}"))
        members.sort(key=lambda member: -self.needs.bytes[member[0].kind])
        for buffer, member, _ in members:
            buffer.place = f"state->{member}"
        return members

    # ------------------------------------------------------------ the file

    def text(self, file: str) -> str:
        name, needs = self.name, self.needs
        init = self._init()
        step, output = self._step(), self._output()
        inputs, outputs = self.inputs, self.outputs
        ahead = ", ".join(port.at_timestep if port.view.buffer.timed else port.rows for port in inputs.all)
        filled = ", ".join(f"{port.rows} ? {port.at_timestep} : NULL" for port in outputs.all)
        tokens = any(port.type == "int32_t" for port in (*inputs.all, *outputs.all))
        return FILE.substitute(
            name=name,
            prefix=name.upper(),
            real=needs.real,
            file=file,
            version=__version__,
            headers="<math.h> and <stdint.h>" if tokens else "<math.h>",
            integers="#include <stdint.h>\n" if tokens else "",
            network="\n".join(f" *   {line}" for line in self._network()),
            beginning="the initial state of its layers" if any(np.any(h) for _, h in self.begun) else "zeros",
            taken=inputs.parameters(const=True),
            returned=outputs.parameters(),
            returned_rows=outputs.parameters(rows=True),
            about_step=_comment(about_step(inputs, outputs), 7),
            about_forward=_comment(about_forward(inputs, outputs), 7),
            example=_comment(example(inputs, outputs, name), 9),
            constant_bytes=f"{needs.constant_bytes:,}",
            state_bytes=f"{self._state_bytes():,}",
            stack_bytes=f"{step.stack_bytes + output.stack_bytes:,}",
            macros="\n".join(inputs.macros + outputs.macros),
            members="\n".join(
                f"    {needs.types[buffer.kind]} {member}[{buffer.width}]; /* {comment} */"
                for buffer, member, comment in self.members
            ),
            constants=needs.constants,
            activations="".join(needs.activations.values()),
            init=init,
            step=step.text,
            output=output.text,
            wanted=" || ".join(port.name for port in outputs.all),
            arguments=outputs.arguments,
            ahead=ahead,
            filled=filled,
        )

    def _network(self) -> list[str]:
        """The layers for people."""
        rows = list(self.inputs.network_rows)
        rows += [(f"{found.number}. {found.title}", found.op.summary) for found in self.ops]
        rows += [] if self.outputs.alone else self.outputs.network_rows
        longest = max(len(first) for first, _ in rows)
        return [f"{first:<{longest}}  {second}" for first, second in rows]

    def _state_bytes(self) -> int:
        sizes = self.needs.bytes
        all_bytes = sum(buffer.width * sizes[buffer.kind] for buffer, _, _ in self.members)
        largest = max((sizes[buffer.kind] for buffer, _, _ in self.members), default=1)
        return -(-all_bytes // largest) * largest

    # ------------------------------------------------------------ the functions

    def _init(self) -> str:
        beginnings = {}
        for found, h in self.begun:
            assert isinstance(found.op, Recurrent)
            if np.any(h):
                constant = self.needs.constant("initial_state", found, h, found.number, found.title)
                beginnings[found.op.state] = f"{constant}[j]"
        members = [(buffer, beginnings.get(buffer, "0")) for buffer, _, _ in self.members]
        return "\n".join(f"    {each('j', buffer.width, f'{buffer.place}[j] = {value};')}" for buffer, value in members)

    def _step(self) -> Function:
        function = Function(self.needs)
        read = {view.buffer for found in self.early for view in found.op.reads}
        for port in self.inputs.all:
            buffer = port.view.buffer
            if buffer in self.kept:
                function.lines.append(each("i", buffer.width, f"{buffer.place}[i] = {port.name}[i];"))
            elif buffer not in read:
                function.lines.append(f"(void){port.name};")
        function.write(self.early)
        return function

    def _output(self) -> Function:
        function, ports = Function(self.needs), self.outputs.all
        own = {view.buffer for found in self.late for view in found.op.fills}
        if len(ports) == 1 and ports[0].view.is_whole and ports[0].view.buffer in own:
            ports[0].view.buffer.place = ports[0].name
        function.write(self.late, [port.view.buffer for port in ports])
        copies = [port for port in ports if port.view.address() != port.name]
        for port in copies:
            to = View(Buffer(port.view.buffer.kind, port.view.width, timed=True, place=port.name), 0, port.view.width)
            line = copied(port.view, to)
            function.lines += [line] if len(ports) == 1 else ["", *block(f"if ({port.name})", [line])]
        return function


def _comment(lines: Sequence[str], indent: int) -> str:
    return "\n".join(f" *{' ' * indent}{line}".rstrip() for line in lines)


def _divided(step: Step) -> tuple[set[Op], set[Op]]:
    """The ops that states depend on, and of the others those that outputs depend on."""
    for_states: set[Buffer] = set()
    for_outputs = {view.buffer for _, view in step.outputs}
    early: set[Op] = set()
    late: set[Op] = set()
    for _, op in reversed(step.ops):
        fills = {view.buffer for view in op.fills}
        if isinstance(op, Recurrent) or fills & for_states:
            early.add(op)
            for_states |= {view.buffer for view in op.reads}
        elif fills & for_outputs:
            late.add(op)
            for_outputs |= {view.buffer for view in op.reads}
    return early, late
