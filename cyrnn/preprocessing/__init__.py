"""Keras' older places of `cyrnn.utils.pad_sequences` and `timeseries_dataset_from_array`."""

from cyrnn.preprocessing import sequence
from cyrnn.utils import timeseries_dataset_from_array

__all__ = ["sequence", "timeseries_dataset_from_array"]
