from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

ACTIVATIONS: dict[str, int]
MOST_CALLS: int

@disjoint_base
class Packed:
    dtype: np.dtype[Any]

@final
class Table(Packed):
    def __init__(self, table: NDArray[Any]) -> None: ...

@final
class Vectors(Packed):
    def __init__(
        self, scale: NDArray[Any], shift: NDArray[Any] | None = None, offset: NDArray[Any] | None = None
    ) -> None: ...

@final
class Slot:
    values: Any
    packed: Packed | None
    def __init__(self, values: Any = None) -> None: ...
    def pack(self, values: Any, ready: Packed) -> None: ...

def replace(slots: list[Slot], values: list[Any]) -> None: ...

@final
class Plan(Packed):
    features: int
    units: int
    carried: int
    activation: str
    engine: str
    isa: str
    def __init__(
        self,
        kernel: NDArray[Any],
        recurrent_kernel: NDArray[Any] | None,
        bias: NDArray[Any] | None,
        activation: str,
        isa: str | None = None,
        engine: str | None = None,
        *,
        cell: object = None,  # a capsule "cyrnn.engine.Cell"
    ) -> None: ...
    def call(
        self,
        x: NDArray[Any],
        *,
        initial_state: NDArray[Any] | None = None,
        mask: NDArray[Any] | None = None,
        zero_output_for_mask: bool = False,
        go_backwards: bool = False,
        input_dropout: NDArray[Any] | None = None,
        recurrent_dropout: NDArray[Any] | None = None,
        outputs: NDArray[Any] | None = None,
        last_output: NDArray[Any] | None = None,
        state: NDArray[Any] | None = None,
    ) -> Call: ...
    def forward(
        self, x: Any, all_timesteps: bool, go_backwards: bool, get_num_threads: Callable[[], int]
    ) -> NDArray[Any] | None: ...
    def step(self, x: Any, state: Any, get_num_threads: Callable[[], int]) -> NDArray[Any] | None: ...

@final
class Call: ...

def run(calls: list[Call], num_threads: int = 1) -> None: ...
def activate(activation: str, z: NDArray[Any], bias: NDArray[Any] | None = None, isa: str | None = None) -> None: ...
def isa() -> str: ...
def engine() -> str: ...
