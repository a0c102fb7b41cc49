from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cyrnn.engine.plan import Slot

MOST: int
INPUT: int
MASK: int
STATE: int
CARRIED: int

def structure_changed() -> None: ...
def structure_now() -> int: ...

@final
class Program:
    dtype: np.dtype[Any]
    def __init__(self, dtype: str) -> None: ...
    def timeline(
        self, of: int | None = None, *, constant: int | None = None, add: int = 0, size: int = 1, stride: int = 1
    ) -> int: ...
    def slot(self) -> int: ...
    def input(self, kind: str, timeline: int | None, width: int, *, optional: bool = False) -> int: ...
    def buffer(self, timeline: int | None, width: int, kind: str = "number") -> int: ...
    def reversed(self, view: int) -> int: ...
    def columns(self, view: int, first: int, width: int) -> int: ...
    def reshaped(self, view: int, timeline: int | None, width: int) -> int: ...
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
    ) -> None: ...
    def dense(self, slot: int, x: int, out: int, vectors: int = 1) -> None: ...
    def embedding(self, slot: int, tokens: int, out: int) -> None: ...
    def nonzero(self, tokens: int, out: int) -> None: ...
    def masking(self, value: float, x: int, out: int, mask_out: int | None = None) -> None: ...
    def activation(self, name: str, x: int, out: int, last_axis: int) -> None: ...
    def copy(self, x: int, out: int) -> None: ...
    def output(self, view: int, shape: Sequence[int] | None = None) -> None: ...
    def finish(self) -> None: ...
    @property
    def slots(self) -> int: ...
    def run(
        self,
        slots: tuple[Slot, ...],
        inputs: tuple[NDArray[Any] | None, ...],
        nominal_batch: int = 0,
        num_threads: int = 0,
        out: tuple[NDArray[Any], ...] | None = None,
    ) -> Any: ...

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
    ) -> None: ...
    @property
    def up_to_date(self) -> bool: ...
    def call(
        self,
        inputs: Any,
        mask: Any = None,
        states: Any = None,
        nominal_batch: int = 0,
        num_threads: int = 0,
        out: tuple[NDArray[Any], ...] | None = None,
    ) -> Any: ...
