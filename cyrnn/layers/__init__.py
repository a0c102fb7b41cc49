"""Keras' layers: RNN, SimpleRNN, LSTM, GRU and their cells, and what a model around them needs.

Only names stand here; each layer is imported when it is first used, or when a config may name it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cyrnn.notices.classes import classes_are_in
from cyrnn.notices.names import missing

if TYPE_CHECKING:
    from cyrnn.layers.around.activation import Activation
    from cyrnn.layers.around.activation_layers import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
    from cyrnn.layers.around.batch_normalization import BatchNormalization
    from cyrnn.layers.around.core import Dense, Input, InputLayer
    from cyrnn.layers.around.dropout import (
        ActivityRegularization,
        AlphaDropout,
        Dropout,
        GaussianDropout,
        GaussianNoise,
        SpatialDropout1D,
    )
    from cyrnn.layers.around.embedding import Embedding
    from cyrnn.layers.around.joining import Concatenate, Dot, concatenate, dot
    from cyrnn.layers.around.masking import Masking
    from cyrnn.layers.around.merging import (
        Add,
        Average,
        Maximum,
        Minimum,
        Multiply,
        Subtract,
        add,
        average,
        maximum,
        minimum,
        multiply,
        subtract,
    )
    from cyrnn.layers.around.normalization import LayerNormalization, UnitNormalization
    from cyrnn.layers.around.pooling import (
        AveragePooling1D,
        AvgPool1D,
        GlobalAveragePooling1D,
        GlobalAvgPool1D,
        GlobalMaxPool1D,
        GlobalMaxPooling1D,
        MaxPool1D,
        MaxPooling1D,
    )
    from cyrnn.layers.around.preprocessing import Normalization, Rescaling
    from cyrnn.layers.around.reshaping import Flatten, Identity, Permute, RepeatVector, Reshape
    from cyrnn.layers.around.time_distributed import TimeDistributed
    from cyrnn.layers.around.timesteps import Cropping1D, UpSampling1D, ZeroPadding1D
    from cyrnn.layers.around.wrapper import Wrapper
    from cyrnn.layers.base.layer import Layer, deserialize, serialize
    from cyrnn.layers.products.attention import AdditiveAttention, Attention
    from cyrnn.layers.products.conv1d import Conv1D, Convolution1D
    from cyrnn.layers.products.multi_head_attention import MultiHeadAttention
    from cyrnn.layers.recurrent.bidirectional import Bidirectional
    from cyrnn.layers.recurrent.gru import GRU
    from cyrnn.layers.recurrent.gru_cell import GRUCell
    from cyrnn.layers.recurrent.lstm import LSTM
    from cyrnn.layers.recurrent.lstm_cell import LSTMCell
    from cyrnn.layers.recurrent.rnn import RNN
    from cyrnn.layers.recurrent.simple_rnn import SimpleRNN
    from cyrnn.layers.recurrent.simple_rnn_cell import SimpleRNNCell
    from cyrnn.layers.recurrent.stacked_rnn_cells import StackedRNNCells
    from cyrnn.layers.text.category_encoding import CategoryEncoding
    from cyrnn.layers.text.discretization import Discretization
    from cyrnn.layers.text.hashing import Hashing
    from cyrnn.layers.text.integer_lookup import IntegerLookup
    from cyrnn.layers.text.string_lookup import StringLookup
    from cyrnn.layers.text.text_vectorization import TextVectorization

_NAMES = {  # by module
    "cyrnn.layers.around.activation": "Activation",
    "cyrnn.layers.around.activation_layers": "ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU",
    "cyrnn.layers.around.batch_normalization": "BatchNormalization",
    "cyrnn.layers.around.core": "Dense Input InputLayer",
    "cyrnn.layers.around.dropout": (
        "ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D"
    ),
    "cyrnn.layers.around.embedding": "Embedding",
    "cyrnn.layers.around.joining": "Concatenate Dot concatenate dot",
    "cyrnn.layers.around.masking": "Masking",
    "cyrnn.layers.around.merging": (
        "Add Average Maximum Minimum Multiply Subtract add average maximum minimum multiply subtract"
    ),
    "cyrnn.layers.around.normalization": "LayerNormalization UnitNormalization",
    "cyrnn.layers.around.pooling": (
        "AveragePooling1D AvgPool1D GlobalAveragePooling1D GlobalAvgPool1D "
        "GlobalMaxPool1D GlobalMaxPooling1D MaxPool1D MaxPooling1D"
    ),
    "cyrnn.layers.around.preprocessing": "Normalization Rescaling",
    "cyrnn.layers.around.reshaping": "Flatten Identity Permute RepeatVector Reshape",
    "cyrnn.layers.around.time_distributed": "TimeDistributed",
    "cyrnn.layers.around.timesteps": "Cropping1D UpSampling1D ZeroPadding1D",
    "cyrnn.layers.around.wrapper": "Wrapper",
    "cyrnn.layers.base.layer": "Layer deserialize serialize",
    "cyrnn.layers.products.attention": "AdditiveAttention Attention",
    "cyrnn.layers.products.conv1d": "Conv1D Convolution1D",
    "cyrnn.layers.products.multi_head_attention": "MultiHeadAttention",
    "cyrnn.layers.recurrent.bidirectional": "Bidirectional",
    "cyrnn.layers.recurrent.gru": "GRU",
    "cyrnn.layers.recurrent.gru_cell": "GRUCell",
    "cyrnn.layers.recurrent.lstm": "LSTM",
    "cyrnn.layers.recurrent.lstm_cell": "LSTMCell",
    "cyrnn.layers.recurrent.rnn": "RNN",
    "cyrnn.layers.recurrent.simple_rnn": "SimpleRNN",
    "cyrnn.layers.recurrent.simple_rnn_cell": "SimpleRNNCell",
    "cyrnn.layers.recurrent.stacked_rnn_cells": "StackedRNNCells",
    "cyrnn.layers.text.category_encoding": "CategoryEncoding",
    "cyrnn.layers.text.discretization": "Discretization",
    "cyrnn.layers.text.hashing": "Hashing",
    "cyrnn.layers.text.integer_lookup": "IntegerLookup",
    "cyrnn.layers.text.string_lookup": "StringLookup",
    "cyrnn.layers.text.text_vectorization": "TextVectorization",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Layer",
    "SimpleRNNCell",
    "LSTMCell",
    "GRUCell",
    "StackedRNNCells",
    "RNN",
    "SimpleRNN",
    "LSTM",
    "GRU",
    "Bidirectional",
    "TimeDistributed",
    "Wrapper",
    "Input",
    "InputLayer",
    "Masking",
    "Embedding",
    "Dense",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "Softmax",
    "ThresholdedReLU",
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "BatchNormalization",
    "LayerNormalization",
    "UnitNormalization",
    "Normalization",
    "Rescaling",
    "TextVectorization",
    "StringLookup",
    "IntegerLookup",
    "CategoryEncoding",
    "Hashing",
    "Discretization",
    "Flatten",
    "Reshape",
    "Permute",
    "RepeatVector",
    "ZeroPadding1D",
    "Cropping1D",
    "UpSampling1D",
    "Identity",
    "Concatenate",
    "Add",
    "Subtract",
    "Multiply",
    "Average",
    "Maximum",
    "Minimum",
    "Dot",
    "concatenate",
    "add",
    "subtract",
    "multiply",
    "average",
    "maximum",
    "minimum",
    "dot",
    "Conv1D",
    "Convolution1D",
    "Attention",
    "AdditiveAttention",
    "MultiHeadAttention",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "MaxPooling1D",
    "AveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "MaxPool1D",
    "AvgPool1D",
    "serialize",
    "deserialize",
]


if not TYPE_CHECKING:  # else every name would be one that there is

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise missing(__name__, name, __all__)
        found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return found


def __dir__() -> list[str]:
    return sorted(__all__)


classes_are_in("keras.layers", *_NAMES)
