"""The step of a program, from the calls that made it: its inputs, outputs, states and ops, with weights.

Only programs come here that the engine steps. So no op needs another timestep than that of the step, and what a program
has once for each sequence is what it would be if the sequence ended with this timestep.
"""

from collections.abc import Sequence
from typing import Any

from cyrnn.engine.plan import Packed, Plan, Table, Vectors
from cyrnn.engine.recorded import RecordedProgram
from cyrnn.saving.c import ops_merge, ops_plain, ops_weighted
from cyrnn.saving.c.buffers import Buffer, View
from cyrnn.saving.c.cells import CELLS
from cyrnn.saving.c.op import Op


class NotWrittenError(Exception):
    """There is no C for an op of this number and name."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class Replay:
    """What the calls made. The methods are those of `Program`.

    Parameters
    ----------
    program : RecordedProgram
        It is finished.
    packed : sequence of Packed
        The weights of each slot.

    Raises
    ------
    NotWrittenError
        If there is no C for an op.
    """

    def __init__(self, program: RecordedProgram, packed: Sequence[Packed]) -> None:
        self.inputs: list[View] = []  # those of the program, in order, and
        self.outputs: list[View] = []  # its outputs
        self.ops: list[tuple[int, Op]] = []  # each with the number that the program has for it
        self._packed = packed
        self._views: list[View] = []
        self._same: dict[Buffer, View] = {}  # where the elements of a copy are
        self._count = 0  # of the program's ops
        for name, args, kwargs in program.calls:
            method = getattr(self, name, None)
            if method is None:
                raise NotWrittenError(self._count, f"there is no C code for its op {name!r}")
            method(*args, **kwargs)

    def _weights(self, slot: int, kind: type[Any]) -> Any:
        packed = self._packed[slot]
        if not isinstance(packed, kind):
            raise NotWrittenError(self._count, "there is no C code for its weights")
        if isinstance(packed, Plan) and packed.cell is not None and packed.cell not in CELLS:
            raise NotWrittenError(self._count, f"there is no C code for its cell {packed.cell}")
        return packed

    def _read(self, view: int) -> View:
        """What an op reads."""
        found = self._views[view]
        if found.buffer in self._same:
            return self._same[found.buffer].columns(found.column, found.width)
        return found

    def _new(self, buffer: Buffer) -> View:
        made = View(buffer, 0, buffer.width)
        self._views.append(made)
        return made

    def _add(self, op: Op | None) -> None:
        if op is not None:
            self.ops.append((self._count, op))
        self._count += 1

    def _copied(self, x: View, out: View) -> Op | None:
        """The op  out := x,  where it cannot be said that the two are the same."""
        if not out.is_whole:
            return ops_plain.Copy([x], [out])
        self._same[out.buffer] = x
        return None

    # ------------------------------------------------------------ structure

    def timeline(self, *args: Any, **kwargs: Any) -> None:
        pass

    def slot(self, *facts: Any) -> None:
        pass

    def take_exactly(self, view: int) -> None:
        pass

    def finish(self) -> None:
        pass

    def input(self, kind: str, timeline: int | None, width: int, *, optional: bool = False, shape: Any = None) -> None:
        timed = timeline is not None
        always = kind == "mask" and optional and timed and width == 1  # a step has no such input
        self.inputs.append(self._new(Buffer(kind, width, timed, always)))

    def buffer(self, timeline: int | None, width: int, kind: str = "number") -> None:
        self._new(Buffer(kind, width, timeline is not None))

    def reversed(self, view: int) -> None:
        self._views.append(self._views[view])

    def columns(self, view: int, first: int, width: int) -> None:
        self._views.append(self._views[view].columns(first, width))

    def reshaped(self, view: int, timeline: int | None, width: int) -> None:
        x = self._read(view)
        self._add(self._copied(x, self._new(Buffer(x.buffer.kind, width, timeline is not None))))

    def output(self, view: int, shape: Any = None) -> None:
        self.outputs.append(self._read(view))

    # ------------------------------------------------------------ ops with weights

    def recurrent(
        self,
        slot: int,
        x: int,
        *,
        outputs: int | None = None,
        last_output: int | None = None,
        mask: int | None = None,
        zero_output_for_mask: bool = False,
        final: Sequence[int] = (),
        **of_whole_sequences: Any,
    ) -> None:
        plan = self._weights(slot, Plan)
        keep = None if mask is None else self._read(mask)
        keep = None if keep is None or keep.buffer.always else keep
        state = Buffer("number", plan.carried, timed=True)
        # Without `zero_output_for_mask` a masked timestep repeats the last output. That is the state, also before the
        # first timestep that is not masked: then it is zeros.
        shown = View(Buffer("number", plan.units, timed=True), 0, plan.units)
        zeros = keep is not None and zero_output_for_mask
        reads = [self._read(x), *([] if keep is None else [keep])]
        op = ops_weighted.Recurrent(reads, [shown] if zeros else [], plan, state, keep, shown if zeros else None)
        self._add(op)
        self._same.update((self._views[view].buffer, state) for view, state in zip(final, op.states, strict=False))
        for out in (outputs, last_output):
            copy = None if out is None else self._copied(shown if zeros else op.h, self._views[out])
            if copy is not None:
                self.ops.append((self._count - 1, copy))

    def dense(self, slot: int, x: int, out: int, vectors: int = 1) -> None:
        self._add(ops_weighted.Dense([self._read(x)], [self._views[out]], self._weights(slot, Plan), vectors))

    def embedding(self, slot: int, tokens: int, out: int) -> None:
        self._add(ops_weighted.Embedding([self._read(tokens)], [self._views[out]], self._weights(slot, Table)))

    def prelu(self, slot: int, x: int, out: int, length: int, inner: int = 1) -> None:
        weights = self._weights(slot, Vectors)
        self._add(ops_weighted.PRelu([self._read(x)], [self._views[out]], weights, length, inner))

    def affine(self, slot: int, x: int, out: int, length: int, inner: int = 1) -> None:
        weights = self._weights(slot, Vectors)
        self._add(ops_weighted.Affine([self._read(x)], [self._views[out]], weights, length, inner))

    def layer_norm(
        self, x: int, out: int, length: int, epsilon: float, *, slot: int | None = None, centered: bool = True
    ) -> None:
        weights = None if slot is None else self._weights(slot, Vectors)
        kind = "layer" if centered else "rms"
        self._add(ops_weighted.Norm([self._read(x)], [self._views[out]], kind, length, epsilon, weights))

    # ------------------------------------------------------------ ops without weights

    def unit_norm(self, x: int, out: int, length: int, limit: float) -> None:
        self._add(ops_weighted.Norm([self._read(x)], [self._views[out]], "unit", length, limit, None))

    def nonzero(self, tokens: int, out: int) -> None:
        self._add(ops_plain.Nonzero([self._read(tokens)], [self._views[out]]))

    def masking(self, value: float, x: int, out: int, mask_out: int | None = None) -> None:
        fills = [self._views[view] for view in (out, mask_out) if view is not None]
        self._add(ops_plain.Masking([self._read(x)], fills, value))

    def activation(self, name: str, x: int, out: int, last_axis: int) -> None:
        self._add(ops_plain.Activation([self._read(x)], [self._views[out]], name, last_axis))

    def relu(self, x: int, out: int, *, slope: float = 0.0, threshold: float = 0.0, most: float = float("inf")) -> None:
        self._add(ops_plain.Relu([self._read(x)], [self._views[out]], slope, threshold, most))

    def scale(self, x: int, out: int, *, factor: float = 1.0, offset: float = 0.0) -> None:
        self._add(ops_plain.Scale([self._read(x)], [self._views[out]], factor, offset))

    def merge(
        self,
        name: str,
        xs: Sequence[int],
        out: int,
        *,
        axes: Sequence[tuple[int, int]] | None = None,
        masks: Sequence[int | None] = (),
    ) -> None:
        given, to = [self._read(x) for x in xs], self._views[out]
        kept = [None if mask is None else self._read(mask) for mask in masks]
        reads = [*given, *(mask for mask in kept if mask is not None)]
        self._add(ops_merge.Merge(reads, [to], name, given, axes or [(to.width, 1)] * len(xs), kept))

    def merge_masks(self, masks: Sequence[int], out: int, *, all: bool = False) -> None:
        self._add(ops_merge.MaskMerge([self._read(mask) for mask in masks], [self._views[out]], all))

    def join(self, xs: Sequence[int], out: int, pieces: int = 1) -> None:
        self._add(ops_merge.Join([self._read(x) for x in xs], [self._views[out]], pieces))

    def dot(self, x: int, y: int, out: int, length: int, x_inner: int = 1, y_inner: int = 1) -> None:
        self._add(ops_merge.Dot([self._read(x), self._read(y)], [self._views[out]], length, x_inner, y_inner))

    def copy(self, x: int, out: int) -> None:
        self._add(self._copied(self._read(x), self._views[out]))

    def select(self, x: int, out: int, index: int) -> None:
        self.copy(x, out)  # the last timestep: a step selects no other

    def permute(self, x: int, out: int, lengths: Sequence[int], order: Sequence[int]) -> None:
        rest = [axis - 1 for axis in order[1:]]  # the first axis is that of the timesteps
        self._add(ops_plain.Permute([self._read(x)], [self._views[out]], lengths[1:], rest))
