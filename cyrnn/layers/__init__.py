"""Keras' layers: SimpleRNNCell, RNN and SimpleRNN, and what a model around them needs."""

from cyrnn.layers.around.activation_layers import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
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
from cyrnn.layers.around.masking import Masking
from cyrnn.layers.around.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from cyrnn.layers.around.normalization import LayerNormalization, UnitNormalization
from cyrnn.layers.around.pooling import AveragePooling1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D
from cyrnn.layers.around.preprocessing import Normalization, Rescaling
from cyrnn.layers.around.reshaping import (
    Cropping1D,
    Flatten,
    Identity,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from cyrnn.layers.around.time_distributed import TimeDistributed
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.recurrent.bidirectional import Bidirectional
from cyrnn.layers.recurrent.rnn import RNN
from cyrnn.layers.recurrent.simple_rnn import SimpleRNN
from cyrnn.layers.recurrent.simple_rnn_cell import SimpleRNNCell
from cyrnn.layers.recurrent.stacked_rnn_cells import StackedRNNCells

# Keras' other names
AvgPool1D, MaxPool1D = AveragePooling1D, MaxPooling1D
GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D

__all__ = [
    "Layer",
    "SimpleRNNCell",
    "StackedRNNCells",
    "RNN",
    "SimpleRNN",
    "Bidirectional",
    "TimeDistributed",
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
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "MaxPooling1D",
    "AveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "MaxPool1D",
    "AvgPool1D",
]
