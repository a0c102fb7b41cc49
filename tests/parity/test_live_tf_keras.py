"""Models that tf_keras, Keras 2, has in memory, as models of cyrnn."""

import numpy as np
import pytest

tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras, which .ci/run parity installs beside TensorFlow")

import tensorflow as tf  # noqa: E402

import cyrnn  # noqa: E402

layers = tf_keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 5, 3)).astype("float32")
TOKENS = RNG.integers(0, 9, (4, 5))


def functional():
    tokens, features = tf_keras.Input((5,), dtype="int32"), tf_keras.Input((5, 3))
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    joined = layers.Concatenate()([embedded, features])
    hidden = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(joined)
    return tf_keras.Model([tokens, features], [layers.Dense(2)(hidden), layers.GRU(3)(hidden)])


MODELS = {
    "sequential": (lambda: tf_keras.Sequential([
        tf_keras.Input((5, 3)), layers.SimpleRNN(4, return_sequences=True), layers.BatchNormalization(),
        layers.LayerNormalization(), layers.Dropout(0.2), layers.GRU(3, reset_after=False), layers.Dense(2, "softmax"),
    ]), X),
    "nested, frozen": (lambda: tf_keras.Sequential([
        tf_keras.Input((5, 3)),
        tf_keras.Sequential([layers.Dense(4), layers.BatchNormalization(trainable=False), layers.Activation("gelu")]),
        layers.LSTM(3, trainable=False), layers.BatchNormalization(), layers.Dense(2),
    ]), X),
    "cells": (lambda: tf_keras.Sequential([
        layers.Masking(), layers.RNN([layers.SimpleRNNCell(4), layers.GRUCell(3)])
    ]), X),
    "hard_sigmoid of Keras 2": (lambda: tf_keras.Sequential([
        tf_keras.Input((5, 3)), layers.LSTM(3, recurrent_activation="hard_sigmoid")
    ]), 3 * X),
    "float64": (lambda: tf_keras.Sequential([
        tf_keras.Input((5, 3)), layers.LSTM(4, dtype="float64"), layers.Dense(1, dtype="float64")
    ]), X),
    "tokens": (lambda: tf_keras.Sequential([
        layers.Embedding(9, 4, mask_zero=True), layers.TimeDistributed(layers.Dense(3)), layers.SimpleRNN(2),
    ]), TOKENS),
    "graph": (functional, [TOKENS, X]),
}  # fmt: skip


def disturbed(model):
    """The model with other weights than it began with; biases and moving averages are not zeros."""
    model.set_weights([weight + 0.1 * RNG.random(weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_live_model_computes_the_same(name):
    make, x = MODELS[name]
    model = make()
    model(x)
    ours, expected = cyrnn.from_keras(disturbed(model)).predict(x), model(x)
    assert type(ours) is (list if isinstance(expected, list) else np.ndarray)
    for found, wanted in zip(*([y] if not isinstance(y, list) else y for y in (ours, expected)), strict=True):
        assert found.dtype == wanted.numpy().dtype
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_a_layer_alone():
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    layer(X)
    found = cyrnn.from_keras(disturbed(layer))
    assert type(found) is cyrnn.layers.Bidirectional
    np.testing.assert_allclose(found(X), layer(X).numpy(), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_taken_says_why():
    with pytest.raises(ValueError, match="not built yet"):
        cyrnn.from_keras(tf_keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="Conv2D"):
        cyrnn.from_keras(tf_keras.Sequential([tf_keras.Input((5, 5, 1)), layers.Conv2D(2, 3)]))


WORDS = np.array([["the cat"], ["D c, b"]], dtype=object)


def adapted(layer, data):
    layer.adapt(data)
    return layer


def text_vectorization(**options):
    return adapted(layers.TextVectorization(**options), ["a b c d", "the cat sat on the mat"])


def attention():
    x = tf_keras.Input((5, 3))
    return tf_keras.Model(x, layers.GRU(2)(layers.MultiHeadAttention(2, 4, value_dim=3)(x, x)))


OF_PRODUCTS_AND_TEXT = {
    "attention": (attention, X),
    "convolution": (lambda: tf_keras.Sequential([tf_keras.Input((5, 3)), layers.Conv1D(4, 2), layers.LSTM(2)]), X),
    "text": (lambda: tf_keras.Sequential([
        tf_keras.Input((1,), dtype="string"), text_vectorization(), layers.Embedding(20, 4, mask_zero=True),
        layers.GRU(3),
    ]), WORDS),
    "weights of tokens": (lambda: tf_keras.Sequential([
        tf_keras.Input((1,), dtype="string"), text_vectorization(output_mode="tf_idf"), layers.Dense(2)
    ]), WORDS),
    "integers": (lambda: tf_keras.Sequential([
        tf_keras.Input((1,), dtype="int64"), adapted(layers.IntegerLookup(), [3, 3, 5])
    ]), np.array([[3], [9]])),
    "bins": (lambda: tf_keras.Sequential([
        tf_keras.Input((3,)), layers.Discretization([0.0, 0.5]), layers.Embedding(3, 2), layers.LSTM(2)
    ]), X[:, 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_PRODUCTS_AND_TEXT)
def test_a_live_model_with_text_or_attention_computes_the_same(name, tmp_path):
    make, x = OF_PRODUCTS_AND_TEXT[name]
    model = make()
    model.save(tmp_path / "model.keras")
    expected = model(tf.constant(x)).numpy()
    for ours in (cyrnn.from_keras(model), cyrnn.saving.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(ours.predict(x), expected, rtol=1e-5, atol=1e-6)


def test_bins_that_a_live_layer_has_found():
    layer = adapted(layers.Discretization(num_bins=3, epsilon=0.1), np.arange(30.0))
    model = tf_keras.Sequential([tf_keras.Input((3,)), layer])
    np.testing.assert_array_equal(cyrnn.from_keras(model).predict(10 * X[:, 0]), model(10 * X[:, 0]).numpy())
