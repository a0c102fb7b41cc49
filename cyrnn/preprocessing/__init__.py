"""Keras' older places of `cyrnn.utils.pad_sequences` and `timeseries_dataset_from_array`."""

from typing import TYPE_CHECKING

from cyrnn.notices.names import public
from cyrnn.preprocessing import sequence
from cyrnn.utils import timeseries_dataset_from_array

__all__ = ["sequence", "timeseries_dataset_from_array"]

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
