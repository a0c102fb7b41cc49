"""Utilities of Keras."""

from cyrnn.random import set_random_seed
from cyrnn.utils.progbar import Progbar

__all__ = [
    "Progbar",
    "set_random_seed",
]
