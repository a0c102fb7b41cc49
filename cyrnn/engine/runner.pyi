from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

from cyrnn.engine.plan import Packed
from cyrnn.engine.program import Program

api: Any
api_address: int

class Port(NamedTuple):
    name: str
    kind: str
    shape: tuple[int, ...]
    number: int

class NotSteppableError(ValueError):
    op: int
    reason: str
    def __init__(self, op: int, reason: str) -> None: ...

def model_capsule(
    program: Program,
    packed: Sequence[Packed],
    names: tuple[Sequence[str], Sequence[str], Sequence[str]] = ...,
    order: Sequence[int] | None = None,
) -> Any: ...

@disjoint_base
class Runner:
    batch_size: int
    threads: int
    dtype: np.dtype[Any]
    program: Program
    packed: tuple[Packed, ...]
    names: tuple[Sequence[str], Sequence[str], Sequence[str]]
    order: Sequence[int] | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[Port, ...]
    address: int
    model_address: int
    __cyrnn_runner__: Any
    __cyrnn_model__: Any
    def __new__(
        cls,
        program: Program,
        packed: Sequence[Packed],
        batch_size: int,
        names: tuple[Sequence[str], Sequence[str], Sequence[str]] = ...,
        shapes: Sequence[tuple[int, ...]] | None = None,
        order: Sequence[int] | None = None,
        threads: int = 1,
        *args: Any,
        **kwargs: Any,
    ) -> Any: ...
    def step(self, x_t: Any, out: Any = None) -> Any: ...
    def converted(self, x_t: ArrayLike, index: int = 0) -> NDArray[Any]: ...
    def name_of(self, name: str, index: int) -> str: ...
    def get_state(self, index: int) -> NDArray[Any]: ...
    def set_state(self, index: int, state: ArrayLike, first_row: int = 0) -> None: ...
    def clear(self) -> None: ...
    def get_seen(self) -> NDArray[np.bool_]: ...
    def set_seen(self, seen: NDArray[np.bool_]) -> None: ...
