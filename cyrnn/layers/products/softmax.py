"""The softmax of scores along the last axis, and its way back."""

import numpy as np

from cyrnn.layers.base.arguments import Array


def softmax(scores: Array) -> Array:
    """Shares that add up to 1 along the last axis; an empty axis has none."""
    if not scores.shape[-1]:
        return np.zeros_like(scores)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def softmax_back(shares: Array, d_shares: Array) -> Array:
    """The gradient of the scores, from that of the shares."""
    products = d_shares * shares
    return products - shares * products.sum(axis=-1, keepdims=True)
