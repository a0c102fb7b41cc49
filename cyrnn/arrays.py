"""Arguments as NumPy's arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of any dtype: a view where its owner allows one.

    Raises TypeError, or ValueError for nested lists of no common shape, that names the argument. Tensors of other
    packages refuse in their own ways, such as those of torch that require gradients or are on a GPU.
    """
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got {type(value).__name__}: {error}") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} must be an array that NumPy can read, got {type(value).__name__}: {error}") from error
