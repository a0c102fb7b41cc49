from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from cyrnn.engine.plan import Packed, Slot

MOST_AXES: int
INPUT: int
MASK: int
STATE: int
CARRIED: int
ABSENT: int
DRAWN: int

def structure_changed() -> None: ...
def rounds() -> bool: ...
def let_round(yes: bool) -> None: ...
def structure_now() -> int: ...
def packed_now(slots: tuple[Slot, ...]) -> tuple[Packed, ...] | None: ...
def right_padded(lengths: NDArray[np.int64], timesteps: int) -> NDArray[np.bool_]: ...

@final
class Rounding:
    def __init__(self, rounds: bool) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@disjoint_base
class Structure:
    dtype: np.dtype[Any]
    def __init__(self, dtype: str) -> None: ...
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
    ) -> int: ...
    def take_exactly(self, view: int) -> None: ...
    def buffer(self, timeline: int | None, width: int, kind: str = "number") -> int: ...
    def once(self, width: int) -> int: ...
    def buffer_like(self, view: int) -> int: ...
    def place_of(self, view: int) -> tuple[int, int, int, bool]: ...
    def form_of(self, view: int) -> tuple[str, int | None, int, int | None]: ...
    def length_of(self, timeline: int) -> int | None: ...
    def whole(self, view: int) -> int: ...
    def reversed(self, view: int) -> int: ...
    def columns(self, view: int, first: int, width: int) -> int: ...
    def reshaped(self, view: int, timeline: int | None, width: int) -> int: ...

class Ops(Structure):
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
        sums: int | None = None,
    ) -> None: ...
    def dense(self, slot: int, x: int, out: int, vectors: int = 1, *, sums: int | None = None) -> None: ...
    def embedding(self, slot: int, tokens: int, out: int) -> None: ...
    def nonzero(self, tokens: int, out: int) -> None: ...
    def masking(self, value: float, x: int, out: int, mask_out: int | None = None) -> None: ...
    def activation(self, name: str, x: int, out: int, last_axis: int) -> None: ...
    def relu(self, x: int, out: int, *, slope: float = 0.0, threshold: float = 0.0, most: float = ...) -> None: ...
    def dropout(self, x: int, factors: int, out: int) -> None: ...
    def scale(self, x: int, out: int, *, factor: float = 1.0, offset: float = 0.0) -> None: ...
    def prelu(self, slot: int, x: int, out: int, length: int, inner: int = 1) -> None: ...
    def affine(self, slot: int, x: int, out: int, length: int, inner: int = 1) -> None: ...
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
    ) -> None: ...
    def layer_norm(
        self, x: int, out: int, length: int, epsilon: float, *, slot: int | None = None, centered: bool = True
    ) -> None: ...
    def unit_norm(self, x: int, out: int, length: int, limit: float) -> None: ...
    def merge(
        self,
        name: str,
        xs: Sequence[int],
        out: int,
        *,
        axes: Sequence[tuple[int, int]] | None = None,
        masks: Sequence[int | None] = (),
    ) -> None: ...
    def merge_masks(self, masks: Sequence[int], out: int, *, all: bool = False) -> None: ...
    def join(self, xs: Sequence[int], out: int, pieces: int = 1) -> None: ...
    def dot(self, x: int, y: int, out: int, length: int, x_inner: int = 1, y_inner: int = 1) -> None: ...
    def copy(self, x: int, out: int) -> None: ...
    def select(self, x: int, out: int, index: int) -> None: ...
    def take(self, x: int, out: int, *, before: int = 0, stride: int = 1, repeats: int = 1) -> None: ...
    def pool(self, name: str, x: int, out: int, size: int, stride: int, *, padded: bool = False) -> None: ...
    def global_pool(self, name: str, x: int, out: int, mask: int | None = None) -> None: ...
    def permute(self, x: int, out: int, lengths: Sequence[int], order: Sequence[int]) -> None: ...

class WaysBack(Ops):
    def activation_gradient(
        self, saved: int, d_y: int, d_z: int, last_axis: int, *, slot: int | None = None, name: str | None = None
    ) -> None: ...
    def recurrent_gradient(
        self,
        slot: int,
        saved: int,
        d_z: int,
        d_final: Sequence[int | None],
        d_initial: Sequence[int | None],
        *,
        mask: int | None = None,
        recurrent_dropout: int | None = None,
        d_outputs: int | None = None,
        d_last_output: int | None = None,
        zero_output_for_mask: bool = False,
    ) -> None: ...
    def kernel_gradient(
        self,
        slot: int,
        x: int,
        d_z: int,
        *,
        mask: int | None = None,
        input_dropout: int | None = None,
        recurrent_dropout: int | None = None,
        outputs: int | None = None,
        initial: int | None = None,
        between: int | None = None,
        d_kernel: int | None = None,
        d_recurrent_kernel: int | None = None,
        d_bias: int | None = None,
        vectors: int = 1,
    ) -> None: ...
    def input_gradient(self, slot: int, d_z: int, factors: int, d_x: int) -> None: ...
    def batch_sum(self, x: int, out: int, inner: int = 1) -> None: ...
    def relu_gradient(
        self, saved: int, d_y: int, d_x: int, *, slope: float = 0.0, threshold: float = 0.0, most: float = ...
    ) -> None: ...
    def affine_gradient(
        self, slot: int, x: int, d_y: int, d_x: int | None, terms: int | None, length: int, inner: int = 1
    ) -> None: ...
    def prelu_gradient(
        self, slot: int, x: int, d_y: int, d_x: int | None, terms: int | None, length: int, inner: int = 1
    ) -> None: ...
    def layer_norm_gradient(
        self,
        x: int,
        d_y: int,
        d_x: int | None,
        terms: int | None,
        length: int,
        epsilon: float,
        *,
        slot: int | None = None,
        centered: bool = True,
    ) -> None: ...
    def unit_norm_gradient(self, x: int, d_y: int, d_x: int, length: int, limit: float) -> None: ...
    def batch_norm_gradient(
        self,
        slot: int,
        x: int,
        d_y: int,
        epsilon: float,
        length: int,
        inner: int = 1,
        *,
        mask: int | None = None,
        d_x: int | None = None,
        d_gain: int | None = None,
        d_offset: int | None = None,
    ) -> None: ...
    def masking_gradient(self, mask: int, d_y: int, d_x: int) -> None: ...
    def embedding_gradient(self, tokens: int, d_y: int, d_table: int, units: int) -> None: ...
    def merge_gradient(
        self,
        name: str,
        of: int,
        xs: Sequence[int | None],
        d_out: int,
        d_x: int,
        *,
        axes: Sequence[tuple[int, int]],
        masks: Sequence[int | None] = (),
    ) -> None: ...
    def split(self, x: int, out: int, first: int, pieces: int = 1) -> None: ...
    def dot_gradient(
        self, d: int, y: int, d_x: int, length: int, x_inner: int = 1, y_inner: int = 1, *, of_first: bool = True
    ) -> None: ...
    def take_gradient(self, d: int, d_x: int, *, before: int = 0, stride: int = 1, repeats: int = 1) -> None: ...
    def pool_gradient(
        self, name: str, x: int | None, d: int, d_x: int, size: int, stride: int, *, padded: bool = False
    ) -> None: ...
    def global_pool_gradient(
        self, name: str, d: int, d_x: int, *, x: int | None = None, out: int | None = None, mask: int | None = None
    ) -> None: ...

class Program(WaysBack):
    def output(self, view: int, shape: Sequence[int] | None = None) -> None: ...
    def finish(self) -> None: ...
    @property
    def slots(self) -> int: ...
    @property
    def ops(self) -> int: ...
    @property
    def computes(self) -> bool: ...
    def run(
        self,
        slots: tuple[Slot | Packed, ...],
        inputs: tuple[NDArray[Any] | None, ...],
        nominal_batch: int = 0,
        num_threads: int = 0,
        out: tuple[NDArray[Any], ...] | None = None,
    ) -> Any: ...

@final
class Drawn:
    def __init__(self, source: Any, number: int, timed: int) -> None: ...

@final
class Bound:
    program: Program
    slots: tuple[Slot, ...]
    def __init__(
        self,
        program: Program,
        slots: tuple[Slot, ...],
        sources: tuple[tuple[int, int], ...],
        carriers: tuple[tuple[Any, int], ...],
        made_at: int,
        lengths: tuple[int, ...] = (),
        keys: tuple[str, ...] = (),
        keyed: bool = False,
        kept: tuple[tuple[Any, tuple[int, ...]], ...] = (),
        results: Any = None,
        drawn: tuple[Drawn, ...] = (),
    ) -> None: ...
    @property
    def up_to_date(self) -> bool: ...
    @property
    def keeps_states(self) -> bool: ...
    def call(
        self,
        inputs: Any,
        mask: Any = None,
        states: Any = None,
        nominal_batch: int = 0,
        num_threads: int = 0,
        out: tuple[NDArray[Any], ...] | None = None,
    ) -> Any: ...
    def with_weights(self, inputs: Any, mask: Any = None, states: Any = None) -> Any: ...
