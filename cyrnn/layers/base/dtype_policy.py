"""The dtypes of a layer: what it takes, computes in, stores and returns."""

from typing import Any

import numpy as np

from cyrnn.arrays import converted
from cyrnn.dtypes import DTypePolicy
from cyrnn.layers.base.arguments import Array


class HasDTypePolicy:
    """A layer as the holder of a dtype policy."""

    dtype_policy: DTypePolicy

    def cast(self, array: Array) -> Array:
        """`array` in the dtype that the engine computes in, aligned."""
        dtype = self.dtype_policy.engine_dtype
        return array if array.dtype == dtype and array.flags.aligned else np.require(converted(array, dtype), None, "A")

    def returned(self, array: Array) -> Array:
        """A result in the dtype that the layer returns."""
        return converted(array, self.dtype_policy.compute_dtype)

    @property
    def compute_dtype(self) -> str:
        """The name of the dtype that the layer returns."""
        return self.dtype_policy.compute_dtype.name

    @property
    def variable_dtype(self) -> str:
        """The name of the weights' dtype."""
        return self.dtype_policy.variable_dtype.name

    @property
    def dtype(self) -> str:
        """The name of the weights' dtype."""
        return self.variable_dtype

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """The dtype of what the layer returns."""
        return self.dtype_policy.compute_dtype
