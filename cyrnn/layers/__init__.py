"""Keras' layers: SimpleRNNCell, RNN and SimpleRNN, and what a model around them needs."""

from cyrnn.layers.base import Layer
from cyrnn.layers.core import Activation, Dense, Dropout, Embedding, Input, InputLayer, Masking
from cyrnn.layers.rnn import RNN
from cyrnn.layers.simple_rnn import SimpleRNN
from cyrnn.layers.simple_rnn_cell import SimpleRNNCell

__all__ = [
    "Layer",
    "SimpleRNNCell",
    "RNN",
    "SimpleRNN",
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "InputLayer",
    "Masking",
]
