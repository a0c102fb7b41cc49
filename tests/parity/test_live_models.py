"""Models that Keras has in memory, as models of cyrnn: outputs, and messages."""

import numpy as np
import pytest
from parity.twins import keras

import cyrnn

layers = keras.layers

RNG = np.random.default_rng(0)


def disturbed(model):
    """The model with other weights than it began with; biases and moving averages are not zeros."""
    model.set_weights([weight + 0.1 * RNG.random(weight.shape) for weight in model.get_weights()])
    return model


def functional():
    tokens, features = keras.Input((5,), dtype="int32"), keras.Input((5, 3))
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    joined = layers.Concatenate()([embedded, features])
    hidden = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(joined)
    return keras.Model([tokens, features], [layers.Dense(2)(hidden), layers.GRU(3)(hidden)])


MODELS = {
    "sequential": lambda: keras.Sequential([
        keras.Input((5, 3)), layers.SimpleRNN(4, return_sequences=True), layers.BatchNormalization(),
        layers.LayerNormalization(), layers.Dropout(0.2), layers.GRU(3, reset_after=False), layers.Dense(2, "softmax"),
    ]),
    "nested": lambda: keras.Sequential([
        keras.Input((5, 3)), keras.Sequential([layers.Dense(4), layers.Activation("gelu")]), layers.LSTM(3),
    ]),
    "without input": lambda: keras.Sequential([
        layers.Masking(), layers.RNN([layers.SimpleRNNCell(4), layers.GRUCell(3)])
    ]),
    "float64": lambda: keras.Sequential([
        keras.Input((5, 3)), layers.LSTM(4, dtype="float64"), layers.Dense(1, dtype="float64")
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_live_model_computes_the_same(name):
    x = RNG.standard_normal((4, 5, 3)).astype("float32")
    model = MODELS[name]()
    model(x)
    ours = cyrnn.from_keras(disturbed(model))
    np.testing.assert_allclose(ours.predict(x), keras.ops.convert_to_numpy(model(x)), rtol=1e-5, atol=1e-6)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in model.layers]


def test_a_graph_of_several_inputs_and_outputs():
    inputs = [RNG.integers(0, 9, (4, 5)), RNG.standard_normal((4, 5, 3)).astype("float32")]
    model = disturbed(functional())
    for found, expected in zip(cyrnn.from_keras(model).predict(inputs), model(inputs), strict=True):
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-6)


def test_a_layer_alone():
    layer, x = layers.LSTM(4, return_sequences=True), RNG.standard_normal((2, 5, 3)).astype("float32")
    layer(x)
    found = cyrnn.from_keras(disturbed(layer))
    assert type(found) is cyrnn.layers.LSTM
    np.testing.assert_allclose(found(x), keras.ops.convert_to_numpy(layer(x)), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_taken_says_why():
    with pytest.raises(ValueError, match="not built yet"):
        cyrnn.from_keras(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="Conv2D"):
        cyrnn.from_keras(keras.Sequential([keras.Input((5, 5, 1)), layers.Conv2D(2, 3)]))
    for other in (keras.Sequential, "model.keras", cyrnn.Sequential([cyrnn.Input((2,)), cyrnn.layers.Dense(1)])):
        with pytest.raises(TypeError, match="must be a model or layer of Keras"):
            cyrnn.from_keras(other)
