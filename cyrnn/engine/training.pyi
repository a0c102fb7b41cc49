from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cyrnn.engine.plan import Packed
from cyrnn.engine.program import Program

LOSSES: dict[str, int]
RULES: dict[str, int]
NOTHING: int

def of_loss(number: int) -> int: ...

@final
class Refill:
    packed: Packed
    def __init__(
        self,
        packed: Packed,
        kernel: NDArray[Any] | None = None,
        recurrent_kernel: NDArray[Any] | None = None,
        bias: NDArray[Any] | None = None,
        *,
        scale: NDArray[Any] | None = None,
        offset: NDArray[Any] | None = None,
        gain: NDArray[Any] | None = None,
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
        w: NDArray[Any],
        g: NDArray[Any],
        gradients: Sequence[tuple[int, tuple[int, ...]]],
        refills: Sequence[Refill],
    ) -> None: ...
    def add_loss(
        self,
        compared: int,
        mask: int,
        factor: float,
        name: str,
        mean: bool,
        delta: float = 1.0,
        smoothing: float = 0.0,
        from_logits: bool = False,
    ) -> None: ...
    def add_average(
        self, numbers: Sequence[int], momentum: float, mean: NDArray[Any], variance: NDArray[Any]
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
        averages: NDArray[Any] | None = None,
        averages_begun: bool = False,
        ema_momentum: float = 0.0,
        ema_overwrite: int = 0,
        sums: NDArray[Any] | None = None,
        accumulated: int = 1,
        updates: int = 0,
        shared: Sequence[float] = (),
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
    def averages_begun(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def outputs(self) -> tuple[NDArray[Any], ...]: ...
    def run(
        self,
        inputs: tuple[NDArray[Any] | None, ...],
        targets: tuple[NDArray[Any], ...],
        weights: tuple[NDArray[Any] | None, ...],
    ) -> list[float] | None: ...
    def move(self, learning_rate: float, call: int, carried: list[tuple[dict[str, Any], dict[str, Any]]]) -> float: ...
    def refill(self) -> None: ...
