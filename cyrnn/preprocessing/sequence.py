"""Keras' older place of `cyrnn.utils.pad_sequences`."""

from typing import TYPE_CHECKING

from cyrnn.notices.names import public
from cyrnn.utils.sequences import pad_sequences

__all__ = ["pad_sequences"]

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
