"""How gradients are clipped: by their elements, by the norm of each, or by that of all together."""

import math
from typing import Any

import numpy as np

from cyrnn.layers.base.arguments import Array


def clipped(
    gradients: dict[Any, Array], value: float | None, norm: float | None, global_norm: float | None
) -> dict[Any, Array]:
    """The gradients with elements, norms or the norm of all of at most these; None is no limit."""
    if value is not None:
        return {key: np.clip(g, -value, value) for key, g in gradients.items()}
    if norm is not None:
        return {key: g * norm / np.maximum(_norm(g), g.dtype.type(norm)) for key, g in gradients.items()}
    if global_norm is not None:
        of_all = math.sqrt(sum(float(_norm(g)) ** 2 for g in gradients.values()))
        factor = math.nan if not math.isfinite(of_all) else min(global_norm / of_all, 1.0) if of_all else 1.0
        return {key: g * g.dtype.type(factor) for key, g in gradients.items()}
    return gradients


def _norm(g: Array) -> Any:
    return np.sqrt(np.sum(np.square(g)))
