"""Utilities of Keras."""

from typing import TYPE_CHECKING

from cyrnn.notices.names import public
from cyrnn.objects import (
    CustomObjectScope,
    clear_session,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from cyrnn.random import set_random_seed
from cyrnn.utils.arrays import normalize, to_categorical
from cyrnn.utils.datasets import PyDataset, Sequence
from cyrnn.utils.plots import plot_model
from cyrnn.utils.progbar import Progbar
from cyrnn.utils.sequences import pad_sequences
from cyrnn.utils.timeseries import timeseries_dataset_from_array

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "timeseries_dataset_from_array",
    "to_categorical",
]

if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)
