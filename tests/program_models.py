"""Programs with weights, as layers and models become them: what tests of runners step, and call to compare."""

import ctypes
from typing import Any

import numpy as np

import cyrnn
from cyrnn.engine.plan import Packed, Plan, Slot, Table, Vectors
from cyrnn.engine.recorded import RecordedProgram
from cyrnn.engine.runner import Runner

ROWS = 11  # of a table
C = cyrnn.capi.functions()


class Model:
    """A program under construction, with random weights. Its methods return views, as the program's do."""

    def __init__(self, rng: np.random.Generator, dtype: str = "float32", **options: Any) -> None:
        self.rng, self.options = rng, options  # of each Plan: engine, isa
        self.program = RecordedProgram(dtype)
        self.packed: list[Packed] = []
        self.time = self.program.timeline()
        self.count = 0  # of inputs
        self._views: dict[int, tuple[int, int | None]] = {}  # width and timeline

    # ------------------------------------------------------------ inputs

    def input(self, width: int, kind: str = "number", *, time: int | None = -1, optional: bool = False) -> int:
        self.count += 1
        timeline = self.time if time == -1 else time
        return self._known(self.program.input(kind, timeline, width, optional=optional), width, timeline)

    def mask(self) -> int:
        return self.input(1, "mask", optional=True)

    # ------------------------------------------------------------ ops

    def buffer(self, width: int, timeline: int | None, kind: str = "number") -> int:
        return self._known(self.program.buffer(timeline, width, kind), width, timeline)

    def recurrent(self, x: int, units: int, *, sequences: bool = True, activation: str = "tanh", **options: Any) -> int:
        features, timeline = self._views[x]
        out = self.buffer(units, timeline if sequences else None)
        weights = self._draw(features, units), self._draw(units, units) / units**0.5, self._draw(units)
        options["outputs" if sequences else "last_output"] = out
        self.program.recurrent(self._slot(Plan(*weights, activation, **self.options)), x, **options)
        return out

    def dense(self, x: int, units: int, activation: str = "linear") -> int:
        features, timeline = self._views[x]
        out = self.buffer(units, timeline)
        plan = Plan(self._draw(features, units), None, self._draw(units), activation, **self.options)
        self.program.dense(self._slot(plan), x, out)
        return out

    def embedding(self, tokens: int, rows: int, width: int) -> int:
        each, timeline = self._views[tokens]
        out = self.buffer(each * width, timeline)
        self.program.embedding(self._slot(Table(self._draw(rows, width))), tokens, out)
        return out

    def nonzero(self, tokens: int) -> int:
        out = self.buffer(1, self._views[tokens][1], "mask")
        self.program.nonzero(tokens, out)
        return out

    def masking(self, x: int, value: float = 0.0) -> tuple[int, int]:
        width, timeline = self._views[x]
        out, mask = self.buffer(width, timeline), self.buffer(1, timeline, "mask")
        self.program.masking(value, x, out, mask)
        return out, mask

    def activation(self, name: str, x: int) -> int:
        width, timeline = self._views[x]
        out = self.buffer(width, timeline)
        self.program.activation(name, x, out, width)
        return out

    def affine(self, x: int) -> int:
        width, timeline = self._views[x]
        out = self.buffer(width, timeline)
        self.program.affine(self._slot(Vectors(*[self._draw(width) for _ in range(3)])), x, out, width)
        return out

    def layer_norm(self, x: int) -> int:
        width, timeline = self._views[x]
        out = self.buffer(width, timeline)
        self.program.layer_norm(x, out, width, 1e-3)
        return out

    def merged(self, name: str, *parts: int) -> int:
        out = self.buffer(*self._views[parts[0]])
        self.program.merge(name, parts, out)
        return out

    def joined(self, *parts: int) -> int:
        out = self.buffer(sum(self._views[part][0] for part in parts), self._views[parts[0]][1])
        self.program.join(parts, out)
        return out

    def copied(self, x: int, *, timed: bool, kind: str = "number") -> int:
        """The same; at each timestep, if `timed`, where x has none."""
        out = self.buffer(self._views[x][0], self.time if timed else self._views[x][1], kind)
        self.program.copy(x, out)
        return out

    def reversed(self, view: int) -> int:
        return self._known(self.program.reversed(view), *self._views[view])

    # ------------------------------------------------------------ what is done with it

    def finished(self, *outputs: int) -> "Model":
        for view in outputs:
            self.program.output(view)
        self.program.finish()
        return self

    def call(self, *inputs: Any) -> Any:
        """The outputs of a call; inputs that are left out are absent."""
        slots = [Slot({}) for _ in self.packed]
        for slot, packed in zip(slots, self.packed, strict=True):
            slot.pack(slot.values, packed)
        outputs = self.program.run(tuple(slots), (*inputs, *[None] * (self.count - len(inputs))))
        assert outputs is not None, "the program does not take these inputs"
        return outputs

    def runner(self, batch: int = 1, **options: Any) -> Runner:
        return Runner(self.program, self.packed, batch, **options)

    def _known(self, view: int, width: int, timeline: int | None) -> int:
        self._views[view] = width, timeline
        return view

    def _slot(self, packed: Packed) -> int:
        self.packed.append(packed)
        return self.program.slot()

    def _draw(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(self.program.dtype) / max(1, shape[0]) ** 0.5


def classifier(
    rng: np.random.Generator,
    sequences: bool = False,
    dtype: str = "float32",
    zero_output_for_mask: bool = False,
    **options: Any,
) -> Model:
    """Tokens, of which 0 is masked; a recurrence, and a dense layer over its last output, or over all of them."""
    model = Model(rng, dtype, **options)
    tokens = model.input(1, "token")
    rows, keep = model.embedding(tokens, ROWS, 6), model.nonzero(tokens)
    h = model.recurrent(rows, 33, sequences=sequences, mask=keep, zero_output_for_mask=zero_output_for_mask)
    return model.finished(model.dense(h, 4, "softmax"))


def stack(rng: np.random.Generator, dtype: str = "float32", **options: Any) -> Model:
    """Two recurrences, with an activation between them; their outputs are those of the model too."""
    model = Model(rng, dtype, **options)
    x, keep = model.input(5), model.mask()
    lower = model.recurrent(x, 20, mask=keep)
    upper = model.recurrent(model.activation("relu", lower), 9, mask=keep, zero_output_for_mask=True)
    return model.finished(upper, lower)


def two_inputs(rng: np.random.Generator, dtype: str = "float32", **options: Any) -> Model:
    """A recurrence over numbers, and one over tokens of its own timesteps; a dense layer over both last outputs."""
    model = Model(rng, dtype, **options)
    x, other = model.input(5), model.program.timeline()
    tokens = model.input(1, "token", time=other)
    left = model.recurrent(x, 7, sequences=False)
    right = model.recurrent(model.embedding(tokens, ROWS, 3), 8, sequences=False, mask=model.nonzero(tokens))
    return model.finished(model.dense(model.joined(left, right), 4))


def drawn_tokens(rng: np.random.Generator, batch: int, timesteps: int) -> np.ndarray:
    """Tokens (batch, timesteps), of which some are 0."""
    return rng.integers(0, ROWS, (batch, timesteps)) * (rng.random((batch, timesteps)) > 0.3)


def call_from_c(name: str, runner: Runner, *arguments: Any) -> str:
    """Call a function of cyrnn.h; lists of arrays become arrays of pointers.

    Returns the text of its status.
    """
    held = [a for a in arguments if isinstance(a, np.ndarray)]
    given = []
    for argument in arguments:
        if isinstance(argument, list):
            held.append(
                (ctypes.c_void_p * max(1, len(argument)))(*[a if a is None else a.ctypes.data for a in argument])
            )
            given.append(ctypes.addressof(held[-1]))
        else:
            given.append(argument.ctypes.data if isinstance(argument, np.ndarray) else argument)
    return C["status_text"](C[name](runner.address, *given)).decode()
