"""Numbers and arrays that metrics and optimizers keep, as Keras' variables."""

from typing import Any, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]


class Variable(NDArrayOperatorsMixin):
    """A number or array, under a name. NumPy computes with it as with an array."""

    def __init__(self, value: Array, name: str) -> None:
        self.name, self.dtype, self.shape = name, value.dtype, value.shape
        self.assign(value)

    @property
    def value(self) -> Array:
        """The present value, a read-only array."""
        return self._value

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.value.copy()

    def assign(self, value: ArrayLike) -> Self:
        """Replace the value by another one of its shape."""
        new = np.array(value, self.dtype)
        if new.shape != self.shape:
            raise ValueError(f"the value of variable {self.name!r} must have the shape {self.shape}, got {new.shape}")
        new.setflags(write=False)
        self._replace(new)
        return self

    def _replace(self, value: Array) -> None:
        self._value = value

    def assign_add(self, value: ArrayLike) -> Self:
        """Add to the value."""
        return self.assign(self.value + value)

    def assign_sub(self, value: ArrayLike) -> Self:
        """Subtract from the value."""
        return self.assign(self.value - value)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **kwargs: Any) -> Any:
        found = getattr(ufunc, method)(*(x.value if isinstance(x, Variable) else x for x in inputs), **kwargs)
        for target in out:  # of `variable += value`
            if not isinstance(target, Variable):
                return NotImplemented
            target.assign(found)
        return out[0] if out else found

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"<Variable {self.name!r}: {self.value}>"
