"""Subclasses of Model with a `call`, against Keras: one class for both, results, and gradients on TensorFlow."""

import os

import numpy as np
import pytest
from parity.twins import VERSION, assert_same, keras, same_weights

import cyrnn

if VERSION < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

ON_TENSORFLOW = os.environ.get("KERAS_BACKEND") == "tensorflow"
X = np.random.default_rng(0).standard_normal((5, 6, 3)).astype("float32")
IDS = np.random.default_rng(1).integers(0, 9, (5, 6)) * (np.arange(6) < np.array([[6], [4], [2], [1], [5]]))


def classes(module):
    """Subclasses of the models of a module, each with an input."""
    layers = module.layers

    class Plain(module.Model):
        def __init__(self):
            super().__init__()
            self.below = layers.SimpleRNN(4, return_sequences=True)
            self.above = layers.SimpleRNN(3, return_state=True)
            self.head = layers.Dense(2, activation="softmax")

        def call(self, x):
            output, state = self.above(2 * self.below(x) - 0.5)
            return self.head(output + state / 2)

    class OfText(module.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(9, 4, mask_zero=True)
            self.rnn = layers.Bidirectional(layers.SimpleRNN(3))
            self.head = layers.Dense(1)

        def call(self, ids):
            return self.head(self.rnn(self.embedding(ids)))

    class Nested(module.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.heads = Plain(), [layers.Dense(3), layers.Dense(1)]

        def call(self, x, training=None):
            x = self.inner(x, training=training)
            for head in self.heads:
                x = head(x)
            return {"first": x[:, 0], "all": x}

    class Residual(module.Model):
        def __init__(self):
            super().__init__()
            self.normalization = layers.LayerNormalization()
            self.rnn = layers.SimpleRNN(3, return_sequences=True)
            self.pool, self.dropout = layers.GlobalAveragePooling1D(), layers.Dropout(0.5)

        def call(self, x, training=False):
            x = x + self.rnn(self.normalization(x))
            return self.dropout(self.pool(x), training=training)

    return [(Plain, X), (OfText, IDS), (Nested, X), (Residual, X)]


def pair(number):
    (ours, x), (theirs, _) = classes(cyrnn)[number], classes(keras)[number]
    ours, theirs = ours(), theirs()
    ours(x), theirs(x)
    same_weights(ours, theirs, np.random.default_rng(number))
    return ours, theirs, x


def leaves(outputs):
    return [outputs[key] for key in sorted(outputs)] if isinstance(outputs, dict) else [outputs]


@pytest.mark.parametrize("number", range(4))
def test_results(number):
    ours, theirs, x = pair(number)
    for way in (lambda model: model(x), lambda model: model.predict(x, verbose=0)):
        for found, expected in zip(leaves(way(ours)), leaves(way(theirs)), strict=True):
            assert_same(np.asarray(found), np.asarray(expected), tolerance=1e-5)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="needs the gradients of Keras on TensorFlow")
@pytest.mark.parametrize("number", range(4))
def test_gradients(number):
    import tensorflow as tf

    ours, theirs, x = pair(number)
    y, pullback = ours.vjp(x)
    rng = np.random.default_rng(7)
    dy = [rng.standard_normal(np.shape(part)).astype("float32") for part in leaves(y)]
    with tf.GradientTape() as tape:
        value = sum(tf.reduce_sum(part * d) for part, d in zip(leaves(theirs(x)), dy, strict=True))
    expected = tape.gradient(value, [weight.value for weight in theirs.trainable_weights])
    found = pullback(dict(zip(sorted(y), dy, strict=True)) if isinstance(y, dict) else dy[0]).weights
    for a, b in zip(found, expected, strict=True):
        assert_same(a, np.asarray(tf.convert_to_tensor(b)), tolerance=2e-5)


@pytest.mark.parametrize("number", range(4))
def test_weights_in_a_file_of_keras(number, tmp_path):
    ours, theirs, x = pair(number)
    theirs.save_weights(tmp_path / "m.weights.h5")
    expected = leaves(ours(x))
    ours.set_weights([np.zeros(weight.shape) for weight in ours.weights])
    ours.load_weights(tmp_path / "m.weights.h5")
    for found, wanted in zip(leaves(ours(x)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
