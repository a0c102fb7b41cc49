from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cyrnn.engine.plan import Packed
from cyrnn.engine.program import Program

LOSSES: dict[str, int]
RULES: dict[str, int]
GRADIENT: int
NOTHING: int

@final
class Refill:
    packed: Packed
    def __init__(
        self,
        packed: Packed,
        kernel: NDArray[Any],
        recurrent_kernel: NDArray[Any] | None = None,
        bias: NDArray[Any] | None = None,
    ) -> None: ...
    def fill(self, flat: NDArray[Any]) -> None: ...

def gather(source: NDArray[Any], rows: NDArray[np.int64], out: NDArray[Any]) -> bool: ...

@final
class TrainingStep:
    def __init__(
        self,
        forward: Program,
        forward_weights: tuple[Packed, ...],
        back: Program,
        back_weights: tuple[Packed, ...],
        back_inputs: Sequence[int],
        compared: int,
        prediction: int,
        mask: int,
        w: NDArray[Any],
        g: NDArray[Any],
        gradients: Sequence[tuple[int, tuple[int, ...]]],
        refills: Sequence[Refill],
    ) -> None: ...
    def set_loss(
        self, name: str, mean: bool, delta: float = 1.0, smoothing: float = 0.0, from_logits: bool = False
    ) -> None: ...
    def set_rule(
        self,
        name: str,
        slots: tuple[NDArray[Any] | None, ...],
        beta_1: float = 0.0,
        beta_2: float = 0.0,
        epsilon: float = 0.0,
        *,
        clip_value: float = 0.0,
        clip_norm: float = 0.0,
        clip_global: float = 0.0,
    ) -> None: ...
    def add_segment(
        self,
        first: int,
        size: int,
        l1: float = 0.0,
        l2: float = 0.0,
        decay: float = 0.0,
        constraint: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None: ...
    @property
    def finished(self) -> bool: ...
    @property
    def prediction_and_mask(self) -> tuple[NDArray[Any], NDArray[Any] | None]: ...
    def run(
        self,
        inputs: tuple[NDArray[Any] | None, ...],
        target: NDArray[Any],
        weights: NDArray[Any] | None,
        factor: float,
    ) -> float | None: ...
    def move(self, learning_rate: float, t: int) -> float: ...
    def refill(self) -> None: ...
