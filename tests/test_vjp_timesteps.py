"""`vjp` of TimeDistributed around layers that are called for each timestep: recurrent, models, and custom ones."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.layers.base.programs.gradients import Gradients

RNG = np.random.default_rng(0)
DTYPE = {"dtype": "float64"}


def sine(z):
    return np.sin(z)


sine.derivative = np.cos


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x

    def vjp(self, x, initial_state=None, mask=None, training=False):
        return 2 * x, lambda dy, inputs=True: Gradients(2 * dy, [], [])


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn, self.dense = layers.SimpleRNN(3, **DTYPE), layers.Dense(2, **DTYPE)

    def call(self, x):
        return self.dense(self.rnn(x))


def tagger():
    return cyrnn.Sequential([layers.SimpleRNN(3, return_sequences=True, **DTYPE), layers.Dense(2, **DTYPE)])


def graph():
    x = cyrnn.Input((4, 2), **DTYPE)
    return cyrnn.Model(x, layers.Add(**DTYPE)([layers.SimpleRNN(3, **DTYPE)(x), layers.LSTM(3, **DTYPE)(x)]))


INNER = {
    "SimpleRNN": lambda: layers.SimpleRNN(3, **DTYPE),
    "GRU of sequences": lambda: layers.GRU(3, return_sequences=True, **DTYPE),
    "both directions": lambda: layers.Bidirectional(layers.SimpleRNN(3, **DTYPE), **DTYPE),
    "a Sequential": tagger,
    "a Functional model": graph,
    "a custom layer": lambda: Doubled(**DTYPE),
    "a custom layer made of layers": lambda: Block(**DTYPE),
    "a custom activation": lambda: layers.Dense(3, activation=sine, **DTYPE),
    "another axis": lambda: layers.LayerNormalization(axis=1, **DTYPE),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3, activation=sine, **DTYPE), **DTYPE),
}


@pytest.mark.parametrize("name", INNER)
def test_gradients_are_those_of_central_differences(name):
    layer, x = layers.TimeDistributed(INNER[name](), **DTYPE), RNG.standard_normal((3, 5, 4, 2))
    layer(x)
    layer.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in layer.get_weights()])
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = RNG.standard_normal(y.shape)
    found = pullback(dy)
    assert pullback(dy, inputs=False).inputs is None
    assert not any(part.any() for part in [pullback(None).inputs, *pullback(None).weights])
    assert_slope(layer, x, found.inputs, dy)
    weights = layer.get_weights()
    assert len(found.weights) == len(weights)
    for n, gradient in enumerate(found.weights):

        def of_weight(moved, n=n):
            layer.set_weights([*weights[:n], moved, *weights[n + 1 :]])
            return layer(x)

        assert_slope(of_weight, weights[n], gradient, dy)


def assert_slope(function, at, gradient, dy, step=1e-6):
    direction = RNG.standard_normal(at.shape)
    ends = [np.sum(function(at + sign * step * direction) * dy) for sign in (1, -1)]
    assert abs((ends[0] - ends[1]) / (2 * step) - np.sum(direction * gradient)) < 1e-7


def test_masks_reach_the_layer_as_in_a_call():
    layer = layers.TimeDistributed(layers.Softmax(**DTYPE), **DTYPE)
    x, mask = RNG.standard_normal((4, 5, 4)), RNG.random((4, 5)) < 0.6
    y, pullback = layer.vjp(x, mask=mask)
    np.testing.assert_array_equal(y, layer(x, mask=mask))
    dy = RNG.standard_normal(y.shape)
    assert_slope(lambda x: layer(x, mask=mask), x, pullback(dy).inputs, dy)
    with pytest.raises(ValueError, match=r"mask must have shape \(4, 5\), got \(4, 4\)"):
        layer.vjp(x, mask=mask[:, :4])


def test_in_training_each_timestep_draws_and_moves_averages_as_in_a_call():
    def make():
        inner = [layers.Dropout(0.4, seed=3, **DTYPE), layers.BatchNormalization(**DTYPE), layers.SimpleRNN(2, **DTYPE)]
        layer = layers.TimeDistributed(cyrnn.Sequential(inner), **DTYPE)
        layer.build((None, 5, 4, 2))
        layer.set_weights([np.linspace(0.5, 1, weight.size).reshape(weight.shape) for weight in layer.get_weights()])
        return layer

    x, called, derived = RNG.standard_normal((3, 5, 4, 2)), make(), make()
    expected, (y, pullback) = called(x, training=True), derived.vjp(x, training=True)
    np.testing.assert_array_equal(y, expected)
    for a, b in zip(called.get_weights(), derived.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(gradient.any() for gradient in pullback(np.ones_like(y)).weights[2:])


def test_statistics_of_each_timestep():
    layer, x = layers.TimeDistributed(layers.BatchNormalization(**DTYPE), **DTYPE), RNG.standard_normal((4, 3, 2))
    layer.build(x.shape)
    start = layer.get_weights()
    y, pullback = layer.vjp(x, training=True)
    dy = RNG.standard_normal(y.shape)

    def call(x):
        layer.set_weights(start)
        return layer(x, training=True)

    assert_slope(call, x, pullback(dy).inputs, dy)


def test_tokens_have_no_gradient():
    model = cyrnn.Sequential([layers.Embedding(7, 3, **DTYPE), layers.SimpleRNN(2, **DTYPE)])
    layer, x = layers.TimeDistributed(model, **DTYPE), RNG.integers(0, 7, (3, 5, 4))
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    found = pullback(np.ones_like(y))
    assert found.inputs is None and all(gradient.any() for gradient in found.weights)


def test_a_layer_that_fails_leaves_the_states_as_they_were():
    class Failing(layers.Layer):
        def call(self, x):
            return x

        def vjp(self, x, initial_state=None, mask=None, training=False):
            raise ValueError("out of order")

    inner = cyrnn.Sequential([layers.SimpleRNN(2, stateful=True, **DTYPE), Failing(**DTYPE)])
    layer, x = layers.TimeDistributed(inner, **DTYPE), RNG.standard_normal((3, 5, 4, 2))
    layer(x)
    before = np.array(inner.layers[0].states)
    with pytest.raises(ValueError, match="out of order"):
        layer.vjp(x)
    np.testing.assert_array_equal(inner.layers[0].states, before)


def test_penalties_are_those_of_the_whole_output():
    layer = layers.TimeDistributed(
        layers.SimpleRNN(3, activity_regularizer="l1", kernel_regularizer="l2", **DTYPE),
        activity_regularizer="l2",
        **DTYPE,
    )
    x = RNG.standard_normal((3, 5, 4, 2))
    layer(x)
    y, pullback = layer.vjp(x)
    dy = RNG.standard_normal(y.shape)

    def loss(x):
        return np.sum(layer(x) * dy) + sum(layer.losses)

    direction, found = RNG.standard_normal(x.shape), pullback(dy, losses=True)
    slope = (loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)) / 2e-6
    assert abs(slope - np.sum(direction * found.inputs)) < 1e-7
    hidden = cyrnn.Sequential([layers.SimpleRNN(3, activity_regularizer="l1", name="hidden", **DTYPE)])
    within = layers.TimeDistributed(hidden, **DTYPE)
    y, pullback = within.vjp(x)
    pullback(np.ones_like(y))
    with pytest.raises(ValueError, match="activity of 'hidden' has no gradient: it is inside a TimeDistributed"):
        pullback(np.ones_like(y), losses=True)


def test_a_layer_without_gradients_is_named():
    class Plain(layers.Layer):
        def call(self, x):
            return 2 * x

    with pytest.raises(ValueError, match="layer 'mine' has no gradients: its class Plain must have a method vjp"):
        layers.TimeDistributed(Plain(name="mine")).vjp(np.ones((2, 3, 4)))


def test_in_a_model():
    model = cyrnn.Sequential(
        [
            layers.TimeDistributed(layers.Bidirectional(layers.SimpleRNN(3, **DTYPE), **DTYPE), **DTYPE),
            layers.SimpleRNN(2, **DTYPE),
        ]
    )
    x = RNG.standard_normal((3, 5, 4, 2))
    model(x)
    y, pullback = model.vjp(x)
    np.testing.assert_array_equal(y, model(x))
    dy = RNG.standard_normal(y.shape)
    assert_slope(model, x, pullback(dy).inputs, dy)
