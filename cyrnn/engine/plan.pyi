from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from cyrnn.engine.panels import LaidOut

ACTIVATIONS: dict[str, int]
FROM_SUMS: frozenset[str]
CELLS: dict[str, CellForm]

class CellForm(NamedTuple):
    gates: int
    recurrent: int
    biases: int
    states: int
    saved: int
    d_sums: int
    d_recurrent: int
    has_second: bool
    between: int

@disjoint_base
class Packed:
    dtype: np.dtype[Any]
    values: Any

@final
class Table(Packed):
    def __init__(self, table: NDArray[Any]) -> None: ...
    def indices(self, table: NDArray[Any]) -> NDArray[Any]: ...
    @property
    def made_of(self) -> tuple[NDArray[Any]]: ...

@final
class Vectors(Packed):
    def __init__(
        self,
        scale: NDArray[Any],
        shift: NDArray[Any] | None = None,
        offset: NDArray[Any] | None = None,
        gain: NDArray[Any] | None = None,
    ) -> None: ...
    @property
    def made_of(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

@final
class Slot:
    packed: Packed | None
    def __init__(self, values: Any = None) -> None: ...
    @property
    def values(self) -> Any: ...
    def pack(self, values: Any, ready: Packed) -> None: ...

def replace(
    slots: list[Slot],
    values: list[Any],
    attributes: dict[str, Any] | None = None,
    others: dict[str, Any] | None = None,
) -> None: ...
def holds(slots: list[Slot], values: list[Any], source: Any) -> bool: ...
def defer(slots: list[Slot], source: object) -> None: ...

@final
class Plan(Packed):
    features: int
    units: int
    carried: int
    activation: str
    cell: str | None
    recurrent_activation: str
    parts: tuple[int, ...]
    form: CellForm
    engine: str
    precision: str
    isa: str
    def __init__(
        self,
        kernel: NDArray[Any],
        recurrent_kernel: NDArray[Any] | None,
        bias: NDArray[Any] | None,
        activation: str,
        isa: str | None = None,
        engine: str | None = None,
        cell: str | None = None,
        recurrent_activation: str = "sigmoid",
        parts: tuple[int, ...] = (),
        precision: str = "float32",
        *,
        differentiates: Plan | None = None,
    ) -> None: ...
    @property
    def made_of(self) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None, str]: ...
    def transposed(self, name: str, parts: tuple[int, ...] = ()) -> Plan: ...
    def own_transposed(self, weight: NDArray[Any], parts: tuple[int, ...] = ()) -> Plan: ...
    def laid_out(
        self, kernel: NDArray[Any], recurrent_kernel: NDArray[Any] | None, bias: NDArray[Any] | None
    ) -> tuple[LaidOut, list[LaidOut]]: ...

def activate(activation: str, z: NDArray[Any], bias: NDArray[Any] | None = None, isa: str | None = None) -> None: ...
def differentiate(activation: str, saved: NDArray[Any], d: NDArray[Any], isa: str | None = None) -> None: ...
def draw_factors(seed: int, counter: int, keep: float, factors: NDArray[Any]) -> None: ...
def isa() -> str: ...
def engine() -> str: ...
