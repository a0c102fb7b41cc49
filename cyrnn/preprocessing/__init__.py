"""Keras' older place of `cyrnn.utils.pad_sequences`."""

from cyrnn.preprocessing import sequence

__all__ = ["sequence"]
