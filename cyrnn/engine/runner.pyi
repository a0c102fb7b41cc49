from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

from cyrnn.engine.plan import Plan

api: Any
api_address: int

@disjoint_base
class Runner:
    batch_size: int
    dtype: np.dtype[Any]
    plans: tuple[Plan, ...]
    address: int
    model_address: int
    __cyrnn_runner__: Any
    __cyrnn_model__: Any
    def __new__(cls, plans: Sequence[Plan], batch_size: int, *args: Any, **kwargs: Any) -> Any: ...
    def step(self, x_t: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]: ...
    def converted(self, x_t: ArrayLike) -> NDArray[Any]: ...
    def get_state(self, layer: int) -> NDArray[Any]: ...
    def set_state(self, layer: int, state: ArrayLike, first_row: int = 0) -> None: ...
