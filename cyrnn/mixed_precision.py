"""Keras' names for the dtype policy of layers that are made without one."""

from typing import Any

from cyrnn.dtypes import DTypePolicy, dtype_policy, set_dtype_policy

__all__ = ["DTypePolicy", "Policy", "dtype_policy", "global_policy", "set_dtype_policy", "set_global_policy"]

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy


def __getattr__(name: str) -> Any:
    hint = (
        "" if name != "LossScaleOptimizer" else ": gradients are of float32 under each policy; give the inner optimizer"
    )
    raise AttributeError(f"module 'cyrnn.mixed_precision' has no attribute {name!r}{hint}")
