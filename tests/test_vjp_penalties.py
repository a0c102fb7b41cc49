"""`pullback(dy, losses=True)`: gradients of what is in `losses` too, penalties on weights and on activities."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers, regularizers
from cyrnn.layers.base import nest
from cyrnn.layers.base.programs.gradients import Gradients

RNG = np.random.default_rng(0)
DTYPE = {"dtype": "float64"}
PENALTIES = {
    "l1": regularizers.L1(0.3),
    "l2": regularizers.L2(0.2),
    "l1 and l2": regularizers.L1L2(0.3, 0.2),
    "l2 alone": regularizers.L1L2(0, 0.2),
    "rows": regularizers.OrthogonalRegularizer(0.4),
    "columns": regularizers.OrthogonalRegularizer(0.4, mode="columns"),
}


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_a_penalty_is_its_derivative(name, dtype):
    penalty, w = PENALTIES[name], RNG.standard_normal((3, 4)).astype(dtype)
    gradient = penalty.gradient(w)
    assert gradient.shape == w.shape and gradient.dtype == dtype
    for index in np.ndindex(w.shape):
        ends = []
        for sign in (1, -1):
            moved = w.astype(float)
            moved[index] += sign * 1e-6
            ends.append(float(penalty(moved)))
        assert abs((ends[0] - ends[1]) / 2e-6 - gradient[index]) < (1e-5 if dtype == "float32" else 1e-8)


def test_a_weight_of_zero_has_no_l1_gradient():
    assert np.array_equal(regularizers.L1(0.5).gradient(np.array([0.0, -2, 3])), [0, -0.5, 0.5])


def test_a_row_of_zeros_has_a_finite_gradient():
    w = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert np.isfinite(regularizers.OrthogonalRegularizer().gradient(w)).all()


def layer():
    return layers.SimpleRNN(
        3, kernel_regularizer="l1", recurrent_regularizer=PENALTIES["rows"], bias_regularizer="l2", **DTYPE
    )


def model():
    active = layers.Dense(4, activation="tanh", activity_regularizer="l2", kernel_regularizer="l2", **DTYPE)
    return cyrnn.Sequential([active, layer(), layers.Dense(2, activity_regularizer="l1", **DTYPE)])


def both_directions():
    return layers.Bidirectional(layer(), **DTYPE)


def active_rnn():
    return layers.SimpleRNN(3, return_sequences=True, activity_regularizer="l2", **DTYPE)


@pytest.mark.parametrize("make", [layer, model, both_directions, active_rnn])
def test_penalties_enter_where_they_are_asked_for(make):
    made, x = make(), RNG.standard_normal((4, 5, 2))
    made(x)
    made.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in made.get_weights()])
    y, pullback = made.vjp(x)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)

    def loss(x):
        y = made(x)
        return sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), nest.leaves(y), strict=True)) + sum(made.losses)

    found, step = pullback(dy, losses=True), 1e-6
    direction = RNG.standard_normal(x.shape)
    derivative = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    assert abs(derivative - np.sum(direction * found.inputs)) < 1e-6
    weights = made.get_weights()
    for number, gradient in enumerate(found.weights):
        direction, ends = RNG.standard_normal(gradient.shape), []
        for sign in (1, -1):
            moved = weights[number] + sign * step * direction
            made.set_weights([*weights[:number], moved, *weights[number + 1 :]])
            ends.append(loss(x))
        made.set_weights(weights)
        assert abs((ends[0] - ends[1]) / (2 * step) - np.sum(direction * gradient)) < 1e-6
    plain = pullback(dy)
    assert any(not np.array_equal(a, b) for a, b in zip(plain.weights, found.weights, strict=True))


def test_frozen_weights_have_no_penalty():
    frozen = model()
    frozen(RNG.standard_normal((4, 5, 2)))
    frozen.layers[1].trainable = False
    y, pullback = frozen.vjp(RNG.standard_normal((4, 5, 2)))
    assert len(pullback(np.ones_like(y), losses=True).weights) == 4


def test_a_regularizer_without_a_gradient_says_what_to_write():
    class Own(regularizers.Regularizer):
        def __call__(self, x):
            return np.sum(x)

    made = layers.Dense(2, kernel_regularizer=Own(), bias_regularizer=lambda x: np.sum(x))
    y, pullback = made.vjp(np.ones((2, 3)))
    pullback(np.ones_like(y))
    with pytest.raises(ValueError, match=r"Own has no gradient: it must have a method gradient\(x\)"):
        pullback(np.ones_like(y), losses=True)


def sine(z):
    return np.sin(z)


sine.derivative = np.cos


class OwnDense(layers.Layer):
    """y = 2 x, with a `vjp` that knows nothing of penalties."""

    def call(self, x):
        return 2 * x

    def vjp(self, x, initial_state=None, mask=None, training=False):
        return 2 * x, lambda dy, inputs=True: Gradients(2 * dy, [], [])


class OwnCell(layers.Layer):
    state_size = 2

    def call(self, x, states):
        h = np.tanh(x + 0.5 * states[0])
        return h, [h]

    def vjp(self, x, initial_state=None, mask=None, training=False):
        h = np.tanh(x + 0.5 * initial_state[0])

        def pullback(dy, inputs=True):
            d = (dy[0] + dy[1][0]) * (1 - h**2)
            return Gradients(d, [0.5 * d], [])

        return (h, [h]), pullback


def penalized_cell(**options):
    return layers.SimpleRNNCell(3, activity_regularizer="l2", **DTYPE, **options)


def penalized_rnn(**options):
    options = {"return_sequences": True, **options}
    return layers.SimpleRNN(3, activity_regularizer="l2", **DTYPE, **options)


PENALIZED = {
    "dense": lambda: layers.Dense(3, activation=sine, activity_regularizer="l2", **DTYPE),
    "an activation": lambda: layers.Activation(sine, activity_regularizer="l2", **DTYPE),
    "a layer of its own": lambda: layers.ActivityRegularization(l1=0.1, l2=0.2, **DTYPE),
    "sequences": lambda: penalized_rnn(activation=sine),
    "sequences and states": lambda: penalized_rnn(activation=sine, return_state=True),
    "a cell": lambda: layers.RNN(penalized_cell(), return_sequences=True, **DTYPE),
    "a cell of one's own": lambda: layers.RNN(OwnCell(activity_regularizer="l2", **DTYPE), **DTYPE),
    "a stack": lambda: layers.RNN([penalized_cell(activation=sine), penalized_cell()], **DTYPE),
    "a penalized stack": lambda: layers.RNN(
        layers.StackedRNNCells([layers.SimpleRNNCell(3, **DTYPE)], activity_regularizer="l2", **DTYPE), **DTYPE
    ),
    **{
        f"both directions, {name}, {mode}": lambda activation=activation, mode=mode: layers.Bidirectional(
            penalized_rnn(activation=activation), merge_mode=mode, activity_regularizer="l1", **DTYPE
        )
        for name, activation in (("tanh", "tanh"), ("a custom activation", sine))
        for mode in ("concat", "mul")
    },
    "both directions themselves": lambda: layers.Bidirectional(
        layers.SimpleRNN(3, activation=sine, **DTYPE), activity_regularizer="l2", **DTYPE
    ),
    "a model": lambda: cyrnn.Sequential(
        [layers.Dense(3, **DTYPE), OwnDense(activity_regularizer="l2", **DTYPE), penalized_rnn(activation=sine)]
    ),
    "a model with the layer of penalties": lambda: cyrnn.Sequential(
        [layers.Dense(3, **DTYPE), layers.ActivityRegularization(l2=0.2, **DTYPE), layers.Dense(2, **DTYPE)]
    ),
}


@pytest.mark.parametrize("name", PENALIZED)
def test_penalties_on_activities_enter_where_python_computes(name):
    made, x = PENALIZED[name](), RNG.standard_normal((4, 5, 2))
    made(x)
    made.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in made.get_weights()])
    expected = nest.leaves(made(x)), made.losses
    made(0 * x)
    y, pullback = made.vjp(x)
    for a, b in zip(nest.leaves(y), expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(made.losses, expected[1])
    assert made.losses
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    for part in nest.leaves(y):
        part[:] = np.nan  # the caller's own

    def loss(x):
        y = made(x)
        return sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), nest.leaves(y), strict=True)) + sum(made.losses)

    def derivative(function, at, direction, step=1e-6):
        return (function(at + step * direction) - function(at - step * direction)) / (2 * step)

    found, direction = pullback(dy, losses=True), RNG.standard_normal(x.shape)
    assert abs(derivative(loss, x, direction) - np.sum(direction * found.inputs)) < 1e-6
    weights = made.get_weights()
    for number, gradient in enumerate(found.weights):

        def of_weight(moved, number=number):
            made.set_weights([*weights[:number], moved, *weights[number + 1 :]])
            return loss(x)

        direction = RNG.standard_normal(gradient.shape)
        assert abs(derivative(of_weight, weights[number], direction) - np.sum(direction * gradient)) < 1e-6
    alone = pullback(nest.mapped(lambda _: None, dy), losses=True)
    assert np.abs(alone.inputs).max() > 0
    assert not np.array_equal(pullback(dy).inputs, found.inputs)


def test_penalties_that_have_no_gradient_say_so():
    x = RNG.standard_normal((4, 5, 2))
    y, pullback = layers.RNN(penalized_cell(), **DTYPE).vjp(x, mask=np.ones((4, 5), bool))
    pullback(np.ones_like(y))
    with pytest.raises(ValueError, match="has no gradient where there is a mask: regularize the layer"):
        pullback(np.ones_like(y), losses=True)

    class Holder(OwnDense):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dense(2, activity_regularizer="l2")

    y, pullback = cyrnn.Sequential([Holder()]).vjp(x)
    pullback(np.ones_like(y))
    with pytest.raises(ValueError, match="it is inside a layer that has a `vjp` of its own"):
        pullback(np.ones_like(y), losses=True)


@pytest.mark.parametrize("within", [False, True])
def test_penalties_on_activities_need_gradients_of_their_shape(within):
    class Own:
        def __call__(self, x):
            return np.sum(x)

    class Short(Own):
        def gradient(self, x):
            return np.ones(3)

    for penalty, words in (
        (Own(), r"Own .* has no gradient: it must have a method `gradient\(x\)`"),
        (Short(), r"Short .* must have shape \(4, 2\), got \(3,\)"),
    ):
        made = layers.Dense(2, activity_regularizer=penalty)
        y, pullback = (cyrnn.Sequential([made]) if within else made).vjp(np.ones((4, 3)))
        pullback(np.ones_like(y))
        with pytest.raises(ValueError, match=words):
            pullback(np.ones_like(y), losses=True)


def test_each_call_of_a_shared_layer_has_its_penalty():
    shared = layers.Dense(2, activation="tanh", activity_regularizer="l2", **DTYPE)
    given = cyrnn.Input((2,), dtype="float64")
    model, x = cyrnn.Model(given, shared(shared(given))), RNG.standard_normal((4, 2))
    model(x)
    expected = model.losses
    model(0 * x)
    y, pullback = model.vjp(x)
    assert len(expected) == 2
    np.testing.assert_allclose(model.losses, expected, rtol=1e-12)
    found, direction, step = pullback(np.zeros_like(y), losses=True), RNG.standard_normal(x.shape), 1e-6
    ends = []
    for sign in (1, -1):
        model(x + sign * step * direction)
        ends.append(sum(model.losses))
    assert abs((ends[0] - ends[1]) / (2 * step) - np.sum(direction * found.inputs)) < 1e-8


@pytest.mark.parametrize("name", ["sequences", "sequences and states", "both directions, a custom activation, mul"])
def test_penalties_on_repeated_outputs_of_masked_timesteps(name):
    made, x, mask = PENALIZED[name](), RNG.standard_normal((4, 5, 2)), RNG.random((4, 5)) < 0.6
    made(x, mask=mask)
    expected = made.losses
    y, pullback = made.vjp(x, mask=mask)
    np.testing.assert_array_equal(made.losses, expected)
    found = pullback(nest.mapped(lambda _: None, y), losses=True)
    direction, step, ends = RNG.standard_normal(x.shape), 1e-6, []
    for sign in (1, -1):
        made(x + sign * step * direction, mask=mask)
        ends.append(sum(made.losses))
    assert abs((ends[0] - ends[1]) / (2 * step) - np.sum(direction * found.inputs)) < 1e-7
    assert not found.inputs[~mask].any()


def test_a_layer_that_is_penalized_is_trained_in_a_model():
    """What it keeps of its gradients is no layer inside it."""
    layer = layers.Dense(2, activity_regularizer="l2")
    model, x = cyrnn.Sequential([layer, layers.Dense(1)]), np.ones((3, 4), "f4")
    model.vjp(x)
    layer.note_again()
    assert layer.layers_within() == (layer,)
    model.compile("adam", "mse")
    assert len(model.fit(x, np.ones((3, 1)), epochs=2, verbose=0).history["loss"]) == 2
