"""Keras' layers: SimpleRNNCell, RNN and SimpleRNN, and what a model around them needs."""

from cyrnn.layers.base import Layer
from cyrnn.layers.bidirectional import Bidirectional
from cyrnn.layers.core import Activation, Dense, Dropout, Embedding, Input, InputLayer, Masking
from cyrnn.layers.rnn import RNN
from cyrnn.layers.simple_rnn import SimpleRNN
from cyrnn.layers.simple_rnn_cell import SimpleRNNCell
from cyrnn.layers.stacked_rnn_cells import StackedRNNCells
from cyrnn.layers.time_distributed import TimeDistributed

__all__ = [
    "Layer",
    "SimpleRNNCell",
    "StackedRNNCells",
    "RNN",
    "SimpleRNN",
    "Bidirectional",
    "TimeDistributed",
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "InputLayer",
    "Masking",
]
