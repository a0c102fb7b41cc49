"""Keras' older place of `cyrnn.utils.pad_sequences`."""

from cyrnn.utils.sequences import pad_sequences

__all__ = ["pad_sequences"]
