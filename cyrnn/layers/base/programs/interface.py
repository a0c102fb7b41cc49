"""What the layers need of the engine: a builder of programs, and the weights of a slot made ready for it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from cyrnn.engine.plan import Slot
from cyrnn.engine.program import structure_changed
from cyrnn.engine.recorded import RecordedProgram
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer

View = int


class Program(Protocol):
    """A program: first it is built, view by view and op by op; after `finish` it is run. See the engine's `Program`."""

    def timeline(
        self,
        of: int | None = None,
        *,
        constant: int | None = None,
        times: int = 1,
        add: int = 0,
        size: int = 1,
        stride: int = 1,
    ) -> int: ...
    def length_of(self, timeline: int) -> int | None: ...
    def slot(
        self,
        activation: str = "linear",
        trainable: Mapping[str, tuple[int, ...]] = ...,
        cell: str | None = None,
        recurrent_activation: str = "sigmoid",
    ) -> int: ...
    def input(
        self,
        kind: str,
        timeline: int | None,
        width: int,
        *,
        optional: bool = False,
        shape: Sequence[int] | None = None,
    ) -> View: ...
    def take_exactly(self, view: View) -> None: ...
    def buffer(self, timeline: int | None, width: int, kind: str = "number") -> View: ...
    def once(self, width: int) -> View: ...
    def reversed(self, view: View) -> View: ...
    def columns(self, view: View, first: int, width: int) -> View: ...
    def reshaped(self, view: View, timeline: int | None, width: int) -> View: ...
    def recurrent(
        self,
        slot: int,
        x: View,
        *,
        outputs: View | None = None,
        last_output: View | None = None,
        mask: View | None = None,
        initial: Sequence[View] = (),
        final: Sequence[View] = (),
        zero_output_for_mask: bool = False,
        input_dropout: View | None = None,
        recurrent_dropout: View | None = None,
    ) -> None: ...
    def dense(self, slot: int, x: View, out: View, vectors: int = 1, *, sums: View | None = None) -> None: ...
    def embedding(self, slot: int, tokens: View, out: View) -> None: ...
    def nonzero(self, tokens: View, out: View) -> None: ...
    def masking(self, value: float, x: View, out: View, mask_out: View | None = None) -> None: ...
    def activation(self, name: str, x: View, out: View, last_axis: int) -> None: ...
    def relu(self, x: View, out: View, *, slope: float = 0.0, threshold: float = 0.0, most: float = ...) -> None: ...
    def dropout(self, x: View, factors: View, out: View) -> None: ...
    def scale(self, x: View, out: View, *, factor: float = 1.0, offset: float = 0.0) -> None: ...
    def prelu(self, slot: int, x: View, out: View, length: int, inner: int = 1) -> None: ...
    def affine(self, slot: int, x: View, out: View, length: int, inner: int = 1) -> None: ...
    def batch_norm(
        self,
        slot: int,
        x: View,
        out: View,
        statistics: Sequence[View],
        epsilon: float,
        length: int,
        inner: int = 1,
        *,
        mask: View | None = None,
    ) -> None: ...
    def layer_norm(
        self, x: View, out: View, length: int, epsilon: float, *, slot: int | None = None, centered: bool = True
    ) -> None: ...
    def unit_norm(self, x: View, out: View, length: int, limit: float) -> None: ...
    def merge(
        self,
        name: str,
        xs: Sequence[View],
        out: View,
        *,
        axes: Sequence[tuple[int, int]] | None = None,
        masks: Sequence[View | None] = (),
    ) -> None: ...
    def merge_masks(self, masks: Sequence[View], out: View, *, all: bool = False) -> None: ...
    def join(self, xs: Sequence[View], out: View, pieces: int = 1) -> None: ...
    def dot(self, x: View, y: View, out: View, length: int, x_inner: int = 1, y_inner: int = 1) -> None: ...
    def copy(self, x: View, out: View) -> None: ...
    def select(self, x: View, out: View, index: int) -> None: ...
    def take(self, x: View, out: View, *, before: int = 0, stride: int = 1, repeats: int = 1) -> None: ...
    def pool(self, name: str, x: View, out: View, size: int, stride: int, *, padded: bool = False) -> None: ...
    def global_pool(self, name: str, x: View, out: View, mask: View | None = None) -> None: ...
    def permute(self, x: View, out: View, lengths: Sequence[int], order: Sequence[int]) -> None: ...
    def output(self, view: View, shape: Sequence[int] | None = None) -> None: ...
    def finish(self) -> None: ...
    @property
    def ops(self) -> int: ...
    @property
    def computes(self) -> bool: ...
    def run(
        self,
        slots: tuple[Any, ...],
        inputs: tuple[Array | None, ...],
        nominal_batch: int = 0,
        num_threads: int = 0,
        out: tuple[Array, ...] | None = None,
    ) -> Any: ...


@runtime_checkable
class OfVectors(Protocol):
    """A layer, as far as its slot has vectors along an axis that are made of weights: see `VectorLayer`."""

    @property
    def weight_of(self) -> Mapping[str, str]: ...
    def slopes(self, values: Mapping[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True)
class Target:
    """What runs programs.

    Parameters
    ----------
    program : callable
        Makes an empty program that computes in a dtype, "float32" or "float64".
    slot : callable
        What that program takes for the slot of a layer: its weights, made ready.
    """

    program: Callable[[str], Program]
    slot: Callable[[Layer], Any]


def slot_of(layer: Layer) -> Slot:
    """The engine's slot of a layer that has ops, with its weights made ready."""
    layer.make_ready()  # type: ignore[attr-defined]
    return layer._slot


ENGINE = Target(RecordedProgram, slot_of)

_target: ContextVar[Target | None] = ContextVar("target", default=ENGINE)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Context manager: within it there are no programs. Python calls each layer."""
    with lowering_to(None):
        yield


@contextlib.contextmanager
def lowering_to(target: Target | None) -> Iterator[None]:
    """Context manager: within it layers are lowered to programs of this target."""
    if target is _target.get():
        yield
        return
    token = _target.set(target)
    structure_changed()  # programs of the target before are out of date
    try:
        yield
    finally:
        _target.reset(token)
        structure_changed()


def current_target() -> Target | None:
    """What layers are lowered to; None if Python calls each of them."""
    return _target.get()
