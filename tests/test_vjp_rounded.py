"""`vjp` of layers and models with 16-bit policies: results are rounded, gradients are computed in float32."""

import warnings

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers.base import nest

RNG = np.random.default_rng(0)
POLICIES = ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"]


def sine(z):
    return np.sin(z)


sine.derivative = np.cos
SHAPE = (3, 5, 4)
LAYERS = {
    "SimpleRNN": lambda **k: layers.SimpleRNN(3, **k),
    "SimpleRNN with states": lambda **k: layers.SimpleRNN(3, return_sequences=True, return_state=True, **k),
    "LSTM": lambda **k: layers.LSTM(3, return_state=True, **k),
    "GRU": lambda **k: layers.GRU(3, return_sequences=True, **k),
    "stack": lambda **k: layers.RNN([layers.SimpleRNNCell(3, **k), layers.GRUCell(2, **k)], **k),
    "custom activation": lambda **k: layers.SimpleRNN(3, activation=sine, **k),
    "Bidirectional": lambda **k: layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True, **k), **k),
    "Bidirectional, mul": lambda **k: layers.Bidirectional(layers.LSTM(3, **k), merge_mode="mul", **k),
    "Dense": lambda **k: layers.Dense(3, "silu", **k),
    "Dense of a custom activation": lambda **k: layers.Dense(3, sine, **k),
    "Activation": lambda **k: layers.Activation("gelu", **k),
    "Softmax": lambda **k: layers.Softmax(**k),
    "PReLU": lambda **k: layers.PReLU("ones", shared_axes=[1], **k),
    "LayerNormalization": lambda **k: layers.LayerNormalization(**k),
    "BatchNormalization": lambda **k: layers.BatchNormalization(**k),
    "UnitNormalization": lambda **k: layers.UnitNormalization(**k),
    "GlobalAveragePooling1D": lambda **k: layers.GlobalAveragePooling1D(**k),
    "Permute": lambda **k: layers.Permute((2, 1), **k),
    "Dropout": lambda **k: layers.Dropout(0.5, **k),
    "TimeDistributed": lambda **k: layers.TimeDistributed(layers.Dense(2, **k), **k),
}


def twins(name, policy):
    """The layer with a policy of 16 bits, and one of float32 with the same weights."""
    narrow, wide = LAYERS[name](dtype=policy), LAYERS[name](dtype="float32")
    for layer in (narrow, wide):
        layer.build(SHAPE)
    narrow.set_weights([RNG.uniform(0.2, 1, w.shape) for w in narrow.get_weights()])  # among them are variances
    wide.set_weights([weight.astype("f4") for weight in narrow.get_weights()])
    return narrow, wide


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("name", "training"),  # noise is drawn anew in each call: see test_vjp_python.py
    [(name, training) for name in LAYERS for training in (False, True) if (name, training) != ("Dropout", True)],
)
def test_gradients_are_those_of_float32(name, policy, training):
    """What a layer computes before it rounds; a custom activation is walked, and rounds each timestep."""
    narrow, wide = twins(name, policy)
    x = RNG.standard_normal(SHAPE).astype(narrow.dtype_policy.compute_dtype)
    start = narrow.get_weights()
    called = narrow(x, training=training)
    narrow.set_weights(start)
    y, pullback = narrow.vjp(x, training=training)
    expected, way = wide.vjp(x.astype("f4"), training=training)
    for got, same, near in zip(nest.leaves(y), nest.leaves(called), nest.leaves(expected), strict=True):
        assert got.dtype == same.dtype == narrow.dtype_policy.compute_dtype
        np.testing.assert_array_equal(got, same)
        np.testing.assert_allclose(got.astype("f4"), near, rtol=2e-2, atol=2e-2)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape).astype(part.dtype), y)
    found, wanted = pullback(dy), way(nest.mapped(lambda part: part.astype("f4"), dy))
    assert found.inputs.dtype == x.dtype
    assert {gradient.dtype.name for gradient in found.weights} <= {"float32"}
    for got, near in zip([found.inputs, *found.weights], [wanted.inputs, *wanted.weights], strict=True):
        scale = max(1, np.abs(near).max(initial=0))
        np.testing.assert_allclose(got.astype("f4") / scale, near / scale, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("policy", POLICIES)
def test_gradients_of_a_model(policy):
    """Between layers values are rounded, and gradients are not."""

    def make(dtype):
        return cyrnn.Sequential(
            [
                cyrnn.Input((5,), dtype="int32"),
                layers.Embedding(7, 4, mask_zero=True, dtype=dtype),
                layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True, dtype=dtype), dtype=dtype),
                layers.LayerNormalization(dtype=dtype),
                layers.GRU(3, dtype=dtype),
                layers.Dense(2, "softmax", dtype=dtype),
            ]
        )

    narrow, wide = make(policy), make("float32")
    narrow.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in narrow.get_weights()])
    wide.set_weights([weight.astype("f4") for weight in narrow.get_weights()])
    x, dy = RNG.integers(0, 7, (4, 5)), RNG.standard_normal((4, 2)).astype("f4")
    y, pullback = narrow.vjp(x)
    np.testing.assert_array_equal(y, narrow(x))
    tiny = 2.0**-22  # which float16 holds no digits of
    found, small, expected = pullback(dy), pullback(dy * tiny), wide.vjp(x)[1](dy)
    for a, b, c in zip(found.weights, expected.weights, small.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.1, atol=3e-2 * max(1, np.abs(b).max()))
        np.testing.assert_allclose(c / tiny, a, rtol=1e-5, atol=1e-6)


def test_gradients_that_float16_cannot_hold_are_infinite_without_a_warning():
    layer = layers.Dense(3, dtype="mixed_float16")
    layer.build((2, 3))
    layer.set_weights([np.full((3, 3), 1000), np.zeros(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = layer.vjp(np.ones((2, 3), np.float16))[1](np.full((2, 3), 1000, np.float16))
    np.testing.assert_array_equal(found.inputs, np.full((2, 3), np.inf, np.float16))
    np.testing.assert_array_equal(found.weights[1], [2000] * 3)


def test_penalties_of_rounded_outputs():
    layer = layers.Dense(3, dtype="mixed_float16", activity_regularizer="l2")
    x = RNG.standard_normal((2, 4)).astype("f2")
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    plain, penalized = pullback(np.zeros_like(y)), pullback(np.zeros_like(y), losses=True)
    expected = pullback(0.02 * y.astype("f4") / 2)
    assert not plain.inputs.any()
    np.testing.assert_allclose(penalized.weights[0], expected.weights[0], rtol=2e-3, atol=1e-5)


def test_the_states_of_a_stateful_layer_move_once():
    layer = layers.SimpleRNN(3, stateful=True, dtype="mixed_float16")
    twin = layers.SimpleRNN(3, stateful=True, dtype="mixed_float16")
    x = RNG.standard_normal(SHAPE).astype("f2")
    layer.build(SHAPE), twin.build(SHAPE)
    twin.set_weights(layer.get_weights())
    for _ in range(2):
        np.testing.assert_array_equal(layer.vjp(x)[0], twin(x))
        np.testing.assert_array_equal(layer.states[0], twin.states[0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_is_trained(policy):
    x = RNG.standard_normal((64, 6, 2)).astype("f4")
    y = x.sum(axis=(1, 2))[:, None]
    model = cyrnn.Sequential([cyrnn.Input((6, 2)), layers.SimpleRNN(8, dtype=policy), layers.Dense(1, dtype=policy)])
    model.compile(cyrnn.optimizers.Adam(0.01), "mse")
    losses = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 4
    assert all(weight.dtype == np.float32 for weight in model.get_weights())


@pytest.mark.parametrize("policy", POLICIES)
def test_arithmetic_between_layers(policy):
    """Python computes it, in 16 bits; its gradients are those of float32."""

    def make(dtype):
        x, y = cyrnn.Input((5, 4)), cyrnn.Input((5, 4))
        a, b = layers.Dense(3, dtype=dtype)(x), layers.SimpleRNN(3, return_sequences=True, dtype=dtype)(y)
        c = cyrnn.activations.tanh(a * b + 0.5) - 2.0 * a / (b**2 + 1.0)
        return cyrnn.Model([x, y], layers.Dense(2, dtype=dtype)(c[:, -1] * a[:, 0]))

    given = [RNG.standard_normal(SHAPE).astype("f4") for _ in range(2)]
    narrow, wide = make(policy), make("float32")
    narrow.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in narrow.get_weights()])
    wide.set_weights([weight.astype("f4") for weight in narrow.get_weights()])
    y, pullback = narrow.vjp(given)
    np.testing.assert_array_equal(y, narrow(given))
    dy = RNG.standard_normal(y.shape).astype("f4")
    found, expected = pullback(dy), wide.vjp(given)[1](dy)
    for a, b in zip([*found.inputs, *found.weights], [*expected.inputs, *expected.weights], strict=True):
        scale = max(1, np.abs(b).max())
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=5e-2)
