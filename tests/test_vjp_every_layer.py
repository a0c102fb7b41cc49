"""`vjp` of every layer of `cyrnn.layers`, alone and in a model, against central differences in float64."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers as L
from cyrnn.layers.base import nest

DTYPE = {"dtype": "float64"}
SEQUENCE, ROW, IMAGES = (5, 3), (6,), (4, 2, 3)  # shapes without the batch
BATCH = 3

PAIR = {
    "Add": L.Add, "Average": L.Average, "Maximum": L.Maximum, "Minimum": L.Minimum, "Multiply": L.Multiply,
    "Subtract": L.Subtract, "Concatenate": L.Concatenate,
}  # fmt: skip
MADE = {  # by class how it is made, and the shapes of its inputs
    **{name: (lambda cls=cls: cls(**DTYPE), [SEQUENCE, SEQUENCE]) for name, cls in PAIR.items()},
    "Dot": (lambda: L.Dot(1, normalize=True, **DTYPE), [SEQUENCE, SEQUENCE]),
    "Activation": (lambda: L.Activation("silu", **DTYPE), [SEQUENCE]),
    "ELU": (lambda: L.ELU(0.5, **DTYPE), [SEQUENCE]),
    "LeakyReLU": (lambda: L.LeakyReLU(0.2, **DTYPE), [SEQUENCE]),
    "PReLU": (lambda: L.PReLU("ones", **DTYPE), [SEQUENCE]),
    "ReLU": (lambda: L.ReLU(1.0, 0.2, 0.1, **DTYPE), [SEQUENCE]),
    "ThresholdedReLU": (lambda: L.ThresholdedReLU(0.3, **DTYPE), [SEQUENCE]),
    "Softmax": (lambda: L.Softmax([1, 3], **DTYPE), [IMAGES]),
    "BatchNormalization": (lambda: L.BatchNormalization(axis=2, **DTYPE), [IMAGES]),
    "LayerNormalization": (lambda: L.LayerNormalization(axis=[1, 3], **DTYPE), [IMAGES]),
    "UnitNormalization": (lambda: L.UnitNormalization(1, **DTYPE), [IMAGES]),
    "Normalization": (lambda: L.Normalization(mean=0.5, variance=2.0, **DTYPE), [SEQUENCE]),
    "Rescaling": (lambda: L.Rescaling(2.0, 1.0, **DTYPE), [SEQUENCE]),
    "Dense": (lambda: L.Dense(4, "tanh", **DTYPE), [IMAGES]),
    "Embedding": (lambda: L.Embedding(7, 4, **DTYPE), [(5,)]),
    "Masking": (lambda: L.Masking(9.0, **DTYPE), [SEQUENCE]),
    "ActivityRegularization": (lambda: L.ActivityRegularization(l2=0.1, **DTYPE), [SEQUENCE]),
    **{
        name: (lambda name=name: getattr(L, name)(0.3, seed=1, **DTYPE), [SEQUENCE])
        for name in ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D")
    },
    "AveragePooling1D": (lambda: L.AveragePooling1D(2, 1, "same", **DTYPE), [SEQUENCE]),
    "MaxPooling1D": (lambda: L.MaxPooling1D(2, 1, "same", **DTYPE), [SEQUENCE]),
    "GlobalAveragePooling1D": (lambda: L.GlobalAveragePooling1D(**DTYPE), [SEQUENCE]),
    "GlobalMaxPooling1D": (lambda: L.GlobalMaxPooling1D(**DTYPE), [SEQUENCE]),
    "Flatten": (lambda: L.Flatten(**DTYPE), [IMAGES]),
    "Identity": (lambda: L.Identity(**DTYPE), [SEQUENCE]),
    "Permute": (lambda: L.Permute((2, 1), **DTYPE), [SEQUENCE]),
    "RepeatVector": (lambda: L.RepeatVector(3, **DTYPE), [ROW]),
    "Reshape": (lambda: L.Reshape((3, 8), **DTYPE), [IMAGES]),
    "TimeDistributed": (lambda: L.TimeDistributed(L.GRU(2, **DTYPE), **DTYPE), [IMAGES]),
    "Cropping1D": (lambda: L.Cropping1D(1, **DTYPE), [SEQUENCE]),
    "UpSampling1D": (lambda: L.UpSampling1D(2, **DTYPE), [SEQUENCE]),
    "ZeroPadding1D": (lambda: L.ZeroPadding1D(1, **DTYPE), [SEQUENCE]),
    "Bidirectional": (lambda: L.Bidirectional(L.LSTM(2, **DTYPE), **DTYPE), [SEQUENCE]),
    "SimpleRNN": (lambda: L.SimpleRNN(4, return_sequences=True, **DTYPE), [SEQUENCE]),
    "LSTM": (lambda: L.LSTM(4, return_sequences=True, return_state=True, **DTYPE), [SEQUENCE]),
    "GRU": (lambda: L.GRU(4, go_backwards=True, **DTYPE), [SEQUENCE]),
    "Conv1D": (lambda: L.Conv1D(4, 2, activation="tanh", **DTYPE), [SEQUENCE]),
    "Attention": (lambda: L.Attention(use_scale=True, **DTYPE), [SEQUENCE, SEQUENCE]),
    "AdditiveAttention": (lambda: L.AdditiveAttention(**DTYPE), [SEQUENCE, SEQUENCE]),
    "RNN": (lambda: L.RNN([L.LSTMCell(4, **DTYPE), L.GRUCell(2, **DTYPE)], **DTYPE), [SEQUENCE]),
}
OTHERS = {  # names that are no layers which take arrays, and what else they are
    "Layer": "a base class",
    "Wrapper": "a base class",
    "Input": "makes a symbolic tensor",
    "InputLayer": "takes no arrays alone",
    "MultiHeadAttention": "is called with several arguments: test_attention.py",
    **dict.fromkeys(
        ("TextVectorization", "StringLookup", "IntegerLookup", "CategoryEncoding", "Hashing", "Discretization"),
        "no gradient goes through: test_text.py",
    ),
    "deserialize": "a function of configs",
    "serialize": "a function of configs",
    **dict.fromkeys(("SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"), "cells: test_vjp_cells.py"),
}


def class_named(name):
    """The class, and of a function such as `add` that of the layer which it calls."""
    found = getattr(L, name)
    return found.__name__ if isinstance(found, type) else name.title().replace("_", "")


def test_no_layer_is_forgotten():
    names = {class_named(name) for names in L._NAMES.values() for name in names.split() if name not in OTHERS}
    assert names == set(MADE)


def filled(part, rng):
    part.set_weights([rng.uniform(0.3, 1.2, weight.shape) for weight in part.get_weights()])  # among them are variances


def inputs_of(shapes, rng, name):
    if name == "Embedding":
        return [rng.integers(0, 7, (BATCH, *shape)) for shape in shapes]
    found = [rng.standard_normal((BATCH, *shape)) for shape in shapes]
    for x in found:
        for kink in (0, 0.1, 0.3, 1):
            x[np.abs(x - kink) < 1e-3] += 1e-2
    return found


def assert_gradients(call, x, weights_of, found, dy, rng):
    """Along directions at random: in each of the inputs, and in each of the weights."""

    def loss(arrays):
        y = call(arrays[0] if len(arrays) == 1 else arrays)
        return sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), nest.leaves(y), strict=True))

    gradients = found.inputs if len(x) > 1 else [found.inputs]
    for n, (array, gradient) in enumerate(zip(x, gradients, strict=True)):
        if array.dtype.kind != "f":
            assert gradient is None
            continue
        assert gradient.shape == array.shape
        direction = rng.standard_normal(array.shape)
        ends = [loss([*x[:n], array + h * direction, *x[n + 1 :]]) for h in (1e-6, -1e-6)]
        assert abs((ends[0] - ends[1]) / 2e-6 - np.sum(direction * gradient)) < 1e-6
    slots = weights_of._weight_slots(trainable=True)
    assert len(found.weights) == len(slots)
    for (layer, name), gradient in zip(slots, found.weights, strict=True):
        weight, direction, ends = layer._values[name], rng.standard_normal(gradient.shape), []
        for h in (1e-6, -1e-6):
            layer.assign({name: weight + h * direction})
            ends.append(loss(x))
        layer.assign({name: weight})
        assert abs((ends[0] - ends[1]) / 2e-6 - np.sum(direction * gradient)) < 1e-6


@pytest.mark.parametrize("name", sorted(MADE))
def test_of_the_layer_alone(name):
    rng = np.random.default_rng(0)
    make, shapes = MADE[name]
    layer, x = make(), inputs_of(shapes, rng, name)
    given = x[0] if len(x) == 1 else x
    layer(given)
    filled(layer, rng)
    y, pullback = layer.vjp(given)
    for a, b in zip(nest.leaves(y), nest.leaves(layer(given)), strict=True):
        np.testing.assert_array_equal(a, b)
    dy = nest.mapped(lambda part: rng.standard_normal(part.shape), y)
    assert_gradients(layer, x, layer, pullback(dy), dy, rng)


@pytest.mark.parametrize("name", sorted(MADE))
def test_in_a_model(name):
    """Behind a layer with weights, and before another one."""
    rng = np.random.default_rng(1)
    make, shapes = MADE[name]
    tokens = name == "Embedding"
    begins = [cyrnn.Input(shape, dtype="int32" if tokens else "float64") for shape in shapes]
    before = (
        begins if tokens else [L.Dense(shape[-1], **DTYPE)(begin) for shape, begin in zip(shapes, begins, strict=True)]
    )
    found = make()(before[0] if len(before) == 1 else before)
    first = found[0] if isinstance(found, (list, tuple)) else found
    model = cyrnn.Model(begins, L.Dense(2, **DTYPE)(first))
    filled(model, rng)
    x = inputs_of(shapes, rng, name)
    given = x[0] if len(x) == 1 else x
    y, pullback = model.vjp(given)
    np.testing.assert_array_equal(y, model(given))
    dy = rng.standard_normal(y.shape)
    gradients = pullback(dy)
    assert_gradients(model, x, model, gradients, dy, rng)
