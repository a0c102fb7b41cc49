"""The oracle of programs: the engine's builder of programs, which computes in float64 NumPy, from the equations alone.

Here the weights of a slot are a dict of arrays: `kernel`, perhaps `recurrent_kernel` and `bias`, and the name of the
`activation`; or `embeddings`. A buffer is filled with NaN before the ops run. The builder is stricter than it must be:
it checks the kinds, widths and timelines of what an op reads and fills, that each column of a buffer is filled by one
op, and that nothing is read before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from reference import ACTIVATIONS, recurrence
from reference_cells import cell_recurrence
from reference_ops import Ops

from cyrnn import activations
from cyrnn.layers import Layer
from cyrnn.layers.around.vector_layer import VectorLayer
from cyrnn.layers.base.programs.interface import Target

Arrays = list[Any]  # the array of each storage, (batch, [timesteps,] width); None for an input that is absent


@dataclass
class Storage:
    kind: str  # "number", "token" or "mask"
    timeline: int | None
    width: int
    filled: np.ndarray  # for each column whether an op fills it, or the caller
    once: bool = False  # one row of the whole batch


@dataclass(frozen=True)
class View:
    storage: int
    kind: str
    timeline: int | None
    width: int
    first: int = 0  # column
    backwards: bool = False

    def of(self, arrays: Arrays, lengths: Sequence[int]) -> Any:
        """The part of a storage's array that the view names; None if that is absent."""
        array = arrays[self.storage]
        if array is None:
            return None
        array = array[..., self.first : self.first + self.width]
        return array[:, ::-1] if self.backwards else array


@dataclass(frozen=True)
class Timeline:
    of: int | None
    constant: int | None
    times: int
    add: int
    size: int
    stride: int


class Program(Ops):
    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.names: list[str] = []  # of the ops
        self.slots = 0
        self.finished = False
        self._timelines: list[Timeline] = []
        self._storages: list[Storage] = []
        self._views: list[View] = []
        # Of each the storage, whether it is optional, and the axes after batch and time.
        self._inputs: list[tuple[int, bool, tuple[int, ...]]] = []
        self._exact: set[int] = set()  # storages of inputs that must come in the dtype of the program
        self._reshaped: list[tuple[View, View]] = []  # of each row as many elements
        self._outputs: list[tuple[View, tuple[int, ...]]] = []
        self._tables: list[tuple[int, View]] = []  # the slots of embeddings, and their tokens
        self._ops: list[Callable[[Arrays, Sequence[int], Sequence[Mapping[str, Any]]], None]] = []

    # ------------------------------------------------------------ structure

    def timeline(
        self,
        of: int | None = None,
        *,
        constant: int | None = None,
        times: int = 1,
        add: int = 0,
        size: int = 1,
        stride: int = 1,
    ) -> int:
        self._open()
        assert of is None or constant is None
        assert of is None or 0 <= of < len(self._timelines)
        self._timelines.append(Timeline(of, constant, times, add, size, stride))
        return len(self._timelines) - 1

    def length_of(self, timeline: int) -> int | None:
        return self._timelines[timeline].constant

    def slot(self, activation: str = "linear", trainable: Any = (), *_: Any) -> int:
        self._open()
        self.slots += 1
        return self.slots - 1

    def input(
        self,
        kind: str,
        timeline: int | None,
        width: int,
        *,
        optional: bool = False,
        shape: Sequence[int] | None = None,
    ) -> int:
        view = self._storage(kind, timeline, width, filled=True)
        if shape is None:
            shape = () if kind != "number" and width == 1 else (width,)
        assert np.prod(shape, dtype=int) == width
        self._inputs.append((self._views[view].storage, optional, tuple(shape)))
        return view

    def take_exactly(self, view: int) -> None:
        assert any(storage == self._views[view].storage for storage, _, _ in self._inputs)
        self._exact.add(self._views[view].storage)

    def buffer(self, timeline: int | None, width: int, kind: str = "number") -> int:
        return self._storage(kind, timeline, width, filled=False)

    def _storage(self, kind: str, timeline: int | None, width: int, filled: bool) -> int:
        assert kind in ("number", "token", "mask")
        assert width >= 0
        assert timeline is None or 0 <= timeline < len(self._timelines)
        self._storages.append(Storage(kind, timeline, width, np.full(width, filled)))
        return self._view(View(len(self._storages) - 1, kind, timeline, width))

    def once(self, width: int) -> int:
        view = self.buffer(None, width)
        self._storages[-1].once = True
        return view

    def reversed(self, view: int) -> int:
        known = self._views[view]
        assert known.timeline is not None
        return self._view(replace(known, backwards=not known.backwards))

    def columns(self, view: int, first: int, width: int) -> int:
        known = self._views[view]
        assert 0 <= first <= first + width <= known.width
        return self._view(replace(known, first=known.first + first, width=width))

    def reshaped(self, view: int, timeline: int | None, width: int) -> int:
        made = self.buffer(timeline, width, self._views[view].kind)

        def compute(count: int, x: Any) -> Any:
            return x.reshape(len(x), *(() if timeline is None else (count,)), width)

        self._adds("reshape", [view], made, compute, apart=True)
        self._reshaped.append((self._views[view], self._views[made]))
        return made

    def _view(self, view: View) -> int:
        self._open()
        self._views.append(view)
        return len(self._views) - 1

    def _open(self) -> None:
        assert not self.finished, "the program is finished"

    # ------------------------------------------------------------ what ops read and fill

    def _read(self, view: int | None, kind: str = "number", timeline: int | None = None, width: int = -1) -> View:
        assert view is not None
        known = self._views[view]
        self._check(known, kind, timeline, width)
        assert self._filled(known).all(), "it is read before it is filled"
        return known

    def _fill(self, view: int | None, kind: str = "number", timeline: int | None = None, width: int = -1) -> View:
        assert view is not None
        known = self._views[view]
        self._check(known, kind, timeline, width)
        assert not self._filled(known).any(), "it is filled twice"
        self._filled(known)[:] = True
        return known

    def _filled(self, view: View) -> np.ndarray:
        return self._storages[view.storage].filled[view.first : view.first + view.width]

    def _check(self, view: View, kind: str, timeline: int | None, width: int) -> None:
        assert view.kind == kind
        assert view.timeline == timeline
        assert width in (-1, view.width)

    def _op(self, name: str, run: Callable[[Arrays, Sequence[int], Sequence[Mapping[str, Any]]], None]) -> None:
        self._open()
        self.names.append(name)
        self._ops.append(run)

    # ------------------------------------------------------------ ops

    def recurrent(
        self,
        slot: int,
        x: int,
        *,
        outputs: int | None = None,
        last_output: int | None = None,
        mask: int | None = None,
        initial: Sequence[int] = (),
        final: Sequence[int] = (),
        zero_output_for_mask: bool = False,
        input_dropout: int | None = None,
        recurrent_dropout: int | None = None,
    ) -> None:
        """A walk over the timesteps of x: outputs (batch, timesteps, units), last_output and final (batch, units)."""
        assert 0 <= slot < self.slots
        timeline = self._views[x].timeline
        assert timeline is not None
        read = self._read(x, timeline=timeline)
        begin = [self._read(state) for state in initial]
        keep = None if mask is None else self._read(mask, "mask", timeline, 1)
        dropout = [None if view is None else self._read(view) for view in (input_dropout, recurrent_dropout)]
        every = None if outputs is None else self._fill(outputs, timeline=timeline)
        last = [self._fill(view) for view in ([] if last_output is None else [last_output])]
        after = [self._fill(state) for state in final]

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            def known(view: View | None) -> Any:
                return None if view is None else view.of(arrays, lengths)

            weights, kept = packed[slot], known(keep)
            arrays_of = [weights.get(name) for name in ("kernel", "recurrent_kernel", "bias")]
            options = {
                "mask": None if kept is None else kept[:, :, 0],
                "zero_output_for_mask": zero_output_for_mask,
                "activation": weights["activation"],
            }
            states = [known(state) for state in begin]
            factors = [known(view) for view in dropout]
            if "cell" not in weights:
                produced, *ends = recurrence(
                    known(read),
                    *arrays_of,
                    **options,
                    initial_state=states[0] if states else None,
                    input_dropout=factors[0],
                    recurrent_dropout=factors[1],
                )
            else:
                given = [1 if factor is None else factor for factor in factors]
                produced, ends = cell_recurrence(
                    weights["cell"],
                    known(read),
                    *arrays_of,
                    **options,
                    recurrent_activation=weights["recurrent_activation"],
                    states=states or None,
                    input_dropout=given[0],
                    recurrent_dropout=given[1],
                )
            if every is not None:
                known(every)[...] = produced
            for view in last:
                known(view)[...] = produced[:, -1]
            for view, state in zip(after, ends, strict=False):
                known(view)[...] = state

        self._op("recurrent", run)

    def dense(self, slot: int, x: int, out: int, vectors: int = 1) -> None:
        """out = activation(x . kernel + bias), for each of the vectors that are side by side in a timestep."""
        assert 0 <= slot < self.slots
        timeline = self._views[x].timeline
        read, fill = self._read(x, timeline=timeline), self._fill(out, timeline=timeline)

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            weights, x = packed[slot], read.of(arrays, lengths)
            kernel, bias = np.asarray(weights["kernel"], float), weights.get("bias")
            z = x.reshape(*x.shape[:-1], vectors, len(kernel)) @ kernel
            z = z if bias is None else z + np.asarray(bias, float)
            filled = fill.of(arrays, lengths)
            filled[...] = ACTIVATIONS[weights["activation"]](z).reshape(filled.shape)

        self._op("dense", run)

    def embedding(self, slot: int, tokens: int, out: int) -> None:
        """Rows of the slot's table, those of several tokens of a timestep side by side."""
        assert 0 <= slot < self.slots
        timeline = self._views[tokens].timeline
        read, fill = self._read(tokens, "token", timeline), self._fill(out, timeline=timeline)
        self._tables.append((slot, read))

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            filled = fill.of(arrays, lengths)
            filled[...] = np.asarray(packed[slot]["embeddings"])[read.of(arrays, lengths)].reshape(filled.shape)

        self._op("embedding", run)

    def nonzero(self, tokens: int, out: int) -> None:
        timeline = self._views[tokens].timeline
        read, fill = self._read(tokens, "token", timeline, 1), self._fill(out, "mask", timeline, 1)

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            fill.of(arrays, lengths)[...] = read.of(arrays, lengths) != 0

        self._op("nonzero", run)

    def masking(self, value: float, x: int, out: int, mask_out: int | None = None) -> None:
        """mask_out: whether some feature differs from the value;  out: x there, and zeros elsewhere."""
        timeline, width = self._views[x].timeline, self._views[x].width
        read = self._read(x, timeline=timeline)
        fill = self._fill(out, timeline=timeline, width=width)
        mask = None if mask_out is None else self._fill(mask_out, "mask", timeline, 1)

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            x = read.of(arrays, lengths)
            keep = (x != self.dtype.type(value)).any(axis=-1, keepdims=True)
            if mask is not None:
                mask.of(arrays, lengths)[...] = keep
            fill.of(arrays, lengths)[...] = np.where(keep, x, 0)

        self._op("masking", run)

    def batch_norm(
        self,
        slot: int,
        x: int,
        out: int,
        statistics: Sequence[int],
        epsilon: float,
        length: int,
        inner: int = 1,
        *,
        mask: int | None = None,
    ) -> None:
        timeline = self._views[x].timeline
        given, keep = self._read(x, timeline=timeline), None if mask is None else self._read(mask, "mask", timeline, 1)
        made = self._fill(out, timeline=timeline, width=given.width)
        mean, variance, count = (
            self._fill(view, width=width) for view, width in zip(statistics, (length, length, 1), strict=True)
        )

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            x, masked = given.of(arrays, lengths), None if keep is None else keep.of(arrays, lengths)
            kept = np.broadcast_to(True if masked is None else masked, x.shape)
            x, kept = (np.moveaxis(a.reshape(-1, length, inner), 1, 0).reshape(length, -1) for a in (x, kept))
            elements = kept.sum(axis=1, keepdims=True) + (0 if masked is None else 1e-7)
            middle = np.where(kept, x, 0).sum(axis=1, keepdims=True) / elements
            spread = np.square(np.where(kept, x - middle, 0)).sum(axis=1, keepdims=True) / elements
            gain, offset = (np.ravel(packed[slot].get(*pair))[:, None] for pair in (("gain", 1.0), ("offset", 0.0)))
            y = (x - middle) / np.sqrt(spread + epsilon) * gain + offset
            to = made.of(arrays, lengths)
            to[...] = np.moveaxis(y.reshape(length, -1, inner), 0, 1).reshape(to.shape)
            for view, found in ((mean, middle[:, 0]), (variance, spread[:, 0]), (count, elements[0])):
                view.of(arrays, lengths)[...] = found

        self._op("batch_norm", run)

    def activation(self, name: str, x: int, out: int, last_axis: int) -> None:
        timeline, width = self._views[x].timeline, self._views[x].width
        read, fill = self._read(x, timeline=timeline), self._fill(out, timeline=timeline, width=width)
        assert last_axis > 0
        assert width % last_axis == 0

        def run(arrays: Arrays, lengths: Sequence[int], packed: Sequence[Mapping[str, Any]]) -> None:
            x, filled = read.of(arrays, lengths), fill.of(arrays, lengths)
            filled[...] = ACTIVATIONS[name](x.reshape(*x.shape[:-1], -1, last_axis)).reshape(filled.shape)

        self._op("activation", run)

    def copy(self, x: int, out: int) -> None:
        """Of a row to all timesteps, if out has some."""
        self._adds("copy", [x], out, lambda x: x)

    def output(self, view: int, shape: Sequence[int] | None = None) -> None:
        self._open()
        known = self._views[view]
        assert self._filled(known).all(), "it is returned before it is filled"
        assert shape is None or np.prod(shape, dtype=int) == known.width
        self._outputs.append((known, (known.width,) if shape is None else tuple(shape)))

    @property
    def ops(self) -> int:
        return len(self._ops)

    @property
    def computes(self) -> bool:
        return not set(self.names) <= {"copy", "select", "take", "reshape", "permute"}

    def finish(self) -> None:
        self._open()
        assert all(storage.filled.all() for storage in self._storages), "a buffer is not filled"
        self.finished = True

    # ------------------------------------------------------------ a call

    def run(
        self,
        slots: tuple[Mapping[str, Any], ...],
        inputs: tuple[Any, ...],
        nominal_batch: int = 0,
        num_threads: int = 0,
        out: tuple[Any, ...] | None = None,
    ) -> Any:
        """The output, or a tuple of several; None for inputs that do not fit."""
        assert self.finished
        assert len(slots) == self.slots
        assert len(inputs) == len(self._inputs)
        sizes = self._sizes(inputs)
        if sizes is None:
            return None
        batch, lengths = sizes
        arrays: Arrays = []
        for storage in self._storages:
            fill = {"number": np.nan, "token": -1, "mask": False}[storage.kind]
            dtype = {"number": np.float64, "token": np.int64, "mask": np.bool_}[storage.kind]
            timesteps = () if storage.timeline is None else (lengths[storage.timeline],)
            rows = () if storage.once else (batch,)
            arrays.append(np.full((*rows, *timesteps, storage.width), fill, dtype))
        for (storage, _, _), given in zip(self._inputs, inputs, strict=True):
            arrays[storage] = None if given is None else self._converted(given, arrays[storage])
        for slot, view in self._tables:
            tokens, rows = view.of(arrays, lengths), len(slots[slot]["embeddings"])
            if tokens.size and not 0 <= tokens.min() <= tokens.max() < rows:
                return None
        for op in self._ops:
            op(arrays, lengths, slots)
        made = tuple(self._returned(view.of(arrays, lengths), view, shape) for view, shape in self._outputs)
        if out is not None:
            for array, given in zip(made, out, strict=True):
                given[...] = array
            made = out
        return made[0] if len(made) == 1 else made

    def _returned(self, array: np.ndarray, view: View, shape: Sequence[int]) -> np.ndarray:
        array = array.astype(self.dtype) if array.dtype.kind == "f" else array.copy()
        axes = 0 if self._storages[view.storage].once else 1 if view.timeline is None else 2
        return array.reshape(*array.shape[:axes], *shape)

    def _sizes(self, inputs: Sequence[Any]) -> tuple[int, list[int]] | None:
        """The batch, and the length of each timeline; None where inputs do not fit."""
        batch, found = None, dict[int, int]()
        for (index, optional, shape), given in zip(self._inputs, inputs, strict=True):
            storage = self._storages[index]
            if given is None:
                if not optional:
                    return None
                continue
            axes = 1 if storage.timeline is None else 2
            if given.ndim < axes or given.shape[axes:] != shape:
                return None
            if index in self._exact and given.dtype != self.dtype:
                return None
            if storage.kind == "mask" and given.dtype != np.bool_:
                return None
            if len(given) != (len(given) if batch is None else batch):
                return None
            batch = len(given)
            if storage.timeline is not None and found.setdefault(storage.timeline, given.shape[1]) != given.shape[1]:
                return None
        lengths: list[int] = []
        for index, timeline in enumerate(self._timelines):
            length = found.get(index, 0) if timeline.constant is None else timeline.constant
            if timeline.of is not None:
                length = max(
                    0, (timeline.times * lengths[timeline.of] + timeline.add - timeline.size) // timeline.stride + 1
                )
            if length < 1 or found.get(index, length) != length:
                return None
            lengths.append(length)
        return (batch, lengths) if batch is not None and self._reshaped_fit(lengths) else None

    def _reshaped_fit(self, lengths: Sequence[int]) -> bool:
        """Whether each reshaped value has the elements of what it is made of."""

        def elements(view: View) -> int:
            return view.width * (1 if view.timeline is None else lengths[view.timeline])

        return all(elements(before) == elements(after) for before, after in self._reshaped)

    def _converted(self, given: Any, like: np.ndarray) -> np.ndarray:
        if like.dtype == np.float64:
            given = given.astype(self.dtype)  # numbers are rounded to it before anything is computed
        return given.astype(like.dtype).reshape(like.shape)


def weights_of(layer: Layer) -> dict[str, Any]:
    """What a slot of the layer holds."""
    activation = getattr(layer, "activation", None)
    names = {} if activation is None else {"activation": activations.engine_name(activation)}
    if getattr(layer, "engine_cell", None):
        recurrent = activations.engine_name(layer.recurrent_activation)
        names |= {"cell": layer.engine_cell, "recurrent_activation": recurrent}
    vectors = (
        {n: np.ravel(v) for n, v in layer.vectors(layer._values).items()} if isinstance(layer, VectorLayer) else {}
    )
    return {**layer._values, **names, **vectors}


TARGET = Target(Program, weights_of)
