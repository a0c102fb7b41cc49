"""`cyrnn.jax`: layers as pure functions of JAX, whose gradients JAX checks itself."""

import threading

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import layers

jax = pytest.importorskip("jax", reason="needs jax: pip install '.[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import cyrnn.jax  # noqa: E402

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape, dtype="float32"))


def function(layer, shape=(None, None, 2)):
    """The function of a layer, and weights for it that are not the layer's."""
    layer.build(shape)
    return cyrnn.jax.function(layer), [normal(*weight.shape) / 2 for weight in layer.trainable_weights]


def check(called, *arguments):
    for way in (called, jax.jit(called)):
        check_grads(way, arguments, order=1, modes=["rev"], atol=0.02, rtol=0.02, eps=1e-2)


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_a_simple_rnn(options, masked):
    f, weights = function(layers.SimpleRNN(5, **options))
    mask = jnp.asarray(RNG.random((3, 4)) < 0.6) if masked else None
    check(lambda weights, x: f(weights, x, mask=mask), weights, normal(3, 4, 2))
    check(lambda weights, x, state: f(weights, x, state, mask), weights, normal(3, 4, 2), normal(3, 5))


GATED = {
    "LSTM": lambda **options: layers.LSTM(3, **options),
    "GRU": lambda **options: layers.GRU(3, **options),
    "reset before": lambda **options: layers.GRU(3, reset_after=False, **options),
    "mixed": lambda **options: layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)], **options),
}


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", GATED)
def test_gradients_of_gates(kind, masked, options):
    layer = GATED[kind](**options)
    f, weights = function(layer)
    mask = jnp.asarray(RNG.random((3, 4)) < 0.6) if masked else None
    states = [normal(3, size) for size in layer.flat_state_sizes]
    check(lambda weights, x, states: f(weights, x, states, mask), weights, normal(3, 4, 2), states)


@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_gradients_of_gates_in_both_directions(cls):
    f, weights = function(layers.Bidirectional(cls(2, return_sequences=True)))
    check(f, weights, normal(2, 4, 2))


def test_gradients_of_both_directions():
    f, weights = function(layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True)))
    mask = jnp.asarray([[1, 1, 0, 0], [1, 0, 1, 1]], bool)
    states = [normal(2, 3), normal(2, 3)]
    check(lambda weights, x, states: f(weights, x, states, mask), weights, normal(2, 4, 2), states)


def test_gradients_of_a_model():
    f, weights = function(
        cyrnn.Sequential([layers.SimpleRNN(4, return_sequences=True), layers.SimpleRNN(3), layers.Dense(2)])
    )
    check(f, weights, normal(2, 4, 2))


def test_gradients_of_a_model_of_several_inputs_and_outputs():
    a, b = cyrnn.Input((None, 2), name="a"), cyrnn.Input((None, 3), name="b")
    _, state = layers.SimpleRNN(4, return_state=True)(a)
    decoded = layers.SimpleRNN(4, return_sequences=True)(b, initial_state=state)
    model = cyrnn.Model({"a": a, "b": b}, {"decoded": decoded, "state": state})
    f, weights = cyrnn.jax.function(model), model.get_weights()
    x = {"b": normal(2, 3, 3), "a": normal(2, 4, 2)}
    check(f, weights, x)
    found = jax.grad(lambda x: f(weights, x)["state"].sum())(x)
    assert found["a"].any() and not found["b"].any()


def test_tokens_have_no_gradients_but_their_vectors_have():
    model = cyrnn.Sequential(
        [cyrnn.Input((5,), dtype="int32"), layers.Embedding(7, 3, mask_zero=True), layers.SimpleRNN(4)]
    )
    f, weights = cyrnn.jax.function(model), model.get_weights()
    tokens = jnp.asarray([[3, 1, 3, 0, 0], [6, 5, 4, 3, 0]])
    check(lambda weights: f(weights, tokens), weights)
    loss = jax.jit(jax.grad(lambda weights, x: f(weights, x).sum(), (0, 1), allow_int=True))
    of_weights, of_tokens = loss(weights, tokens)
    assert of_tokens.dtype == jax.dtypes.float0 and of_tokens.shape == tokens.shape
    assert of_weights[0].any(axis=1).tolist() == [n in (1, 3, 4, 5, 6) for n in range(7)]


def test_gradients_in_float64_are_those_of_a_scan():
    """In a new interpreter: JAX has 64 bits everywhere or nowhere."""
    code = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np, cyrnn, cyrnn.jax
layer = cyrnn.layers.SimpleRNN(5, dtype="float64")
layer.build((None, None, 2))
f, weights = cyrnn.jax.function(layer), layer.get_weights()
x = np.random.default_rng(0).standard_normal((3, 7, 2))

def scanned(weights, x):
    kernel, recurrent_kernel, bias = weights
    step = lambda state, x_t: (jnp.tanh(x_t @ kernel + state @ recurrent_kernel + bias), None)
    return jax.lax.scan(step, jnp.zeros((3, 5)), x.swapaxes(0, 1))[0]

found = [jax.jit(jax.value_and_grad(lambda *a: (g(*a) ** 2).sum(), (0, 1)))(weights, x) for g in (f, scanned)]
for a, b in zip(*map(jax.tree.leaves, found), strict=True):
    assert a.dtype == jnp.float64
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
"""
    run_python(code)


def test_float64_is_refused_where_jax_has_none():
    f, weights = function(layers.SimpleRNN(5, dtype="float64", name="mine"))
    with pytest.raises(ValueError, match=r"layer 'mine' returns float64, .*jax_enable_x64"):
        f(weights, normal(3, 4, 2))


def test_a_loop_of_training_learns():
    rnn = layers.SimpleRNN(16, recurrent_initializer=cyrnn.initializers.Orthogonal(seed=1))
    model = cyrnn.Sequential([cyrnn.Input((None, 1)), rnn, layers.Dense(1)])
    f, weights, before = cyrnn.jax.function(model), model.get_weights(), model.get_weights()
    x = normal(64, 8, 1)
    target = x[:, -3:].sum(axis=1)

    @jax.jit
    def step(weights, moments):
        loss, gradients = jax.value_and_grad(lambda weights: ((f(weights, x) - target) ** 2).mean())(weights)
        moments = [0.9 * moment + gradient for moment, gradient in zip(moments, gradients, strict=True)]
        return loss, [w - 0.01 * moment for w, moment in zip(weights, moments, strict=True)], moments

    losses, moments = [], [0 * weight for weight in weights]
    for _ in range(150):
        loss, weights, moments = step(weights, moments)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 20
    for a, b in zip(before, model.get_weights(), strict=True):  # the function is pure
        np.testing.assert_array_equal(a, b)
    model.set_weights(weights)
    np.testing.assert_allclose(((model(np.asarray(x)) - target) ** 2).mean(), losses[-1], rtol=0.2)


def test_results_are_those_of_the_layer():
    layer = layers.SimpleRNN(5, return_sequences=True)
    f, weights = function(layer)
    x = normal(3, 4, 2)
    found = f(weights, x)
    layer.set_weights(weights)
    np.testing.assert_array_equal(found, layer(np.asarray(x)))
    np.testing.assert_array_equal(jax.jit(f)(weights, x), found)
    np.testing.assert_array_equal(f(tuple(weights), np.asarray(x)), found)


def test_vmap_calls_for_each_element():
    f, weights = function(layers.SimpleRNN(5))
    xs, stacked = normal(6, 3, 4, 2), [jnp.stack([w + n for n in range(6)]) for w in weights]
    found = jax.vmap(f)(stacked, xs)
    gradients = jax.grad(lambda weights, x: f(weights, x).sum())
    of_weights = jax.vmap(gradients)(stacked, xs)
    for n in range(6):
        own = [w + n for w in weights]
        np.testing.assert_array_equal(found[n], f(own, xs[n]))
        for a, b in zip(of_weights, gradients(own, xs[n]), strict=True):
            np.testing.assert_array_equal(a[n], b)


def test_threads_that_call_one_function_with_other_weights():
    f, weights = function(layers.SimpleRNN(5))
    gradients = jax.jit(jax.grad(lambda weights, x: (f(weights, x) ** 2).sum()))
    x, others = normal(3, 9, 2), [[w + n for w in weights] for n in range(4)]
    expected = [gradients(own, x) for own in others]
    found = [[] for _ in others]

    def work(number):
        for _ in range(20):
            found[number].append(gradients(others[number], x))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for parts, other in zip(found, expected, strict=True):
        assert len(parts) == 20
        for part in parts:
            for a, b in zip(part, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_weights_of_frozen_layers_are_those_of_the_layer():
    model = cyrnn.Sequential([cyrnn.Input((4, 2)), layers.SimpleRNN(3, return_sequences=True), layers.SimpleRNN(2)])
    model.layers[0].trainable = False
    f, weights, x = cyrnn.jax.function(model), model.trainable_weights, normal(3, 4, 2)
    assert len(weights) == 3
    expected = f(weights, x)
    np.testing.assert_array_equal(expected, model(np.asarray(x)))
    assert [part.shape for part in jax.grad(lambda w: f(w, x).sum())(weights)] == [w.shape for w in weights]
    model.layers[0].set_weights([0 * w for w in model.layers[0].get_weights()])  # the function's copy stays
    np.testing.assert_array_equal(f(weights, x), expected)


def test_masks_have_no_gradients():
    f, weights = function(layers.SimpleRNN(5))
    mask = jnp.ones((3, 4))
    found = jax.grad(lambda mask: f(weights, normal(3, 4, 2), mask=mask).sum())(mask)
    assert found.shape == (3, 4) and not found.any()


def test_second_and_forward_derivatives_are_refused():
    f, weights = function(layers.SimpleRNN(5, name="mine"))
    x = normal(3, 4, 2)

    def gradient(x):
        return jax.grad(lambda x: (f(weights, x) ** 2).sum())(x)

    with pytest.raises(ValueError, match="layer 'mine' of cyrnn has no second derivatives"):
        jax.grad(lambda x: gradient(x).sum())(x)
    for function_of_x in (lambda x: f(weights, x), gradient):
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(function_of_x, (x,), (x,))


def test_what_is_wrong_is_said_before_anything_runs():
    f, weights = function(layers.SimpleRNN(5, name="mine"))
    x = normal(3, 4, 2)
    for way in (f, jax.jit(f)):
        with pytest.raises(ValueError, match="must have 2 features"):
            way(weights, x[..., :1])
        with pytest.raises(ValueError, match=r"weights of layer 'mine' must be a list of the shapes \[\(2, 5\), .*got"):
            way(weights[:2], x)
        with pytest.raises(ValueError, match="mask must have shape"):
            way(weights, x, mask=jnp.ones((3, 5)))
    with pytest.raises(ValueError, match="weights of layer 'mine' must be a list of the shapes .*, got dict"):
        f({"kernel": weights[0]}, x)


def test_layers_that_are_no_such_functions_are_refused():
    with pytest.raises(ValueError, match="layer 'mine' is not built, so it has no weights yet: call it or build"):
        cyrnn.jax.function(layers.SimpleRNN(4, name="mine"))
    with pytest.raises(TypeError, match="layer must be a layer or model of cyrnn, got function"):
        cyrnn.jax.function(lambda x: x)
    inner = layers.SimpleRNN(4, stateful=True, name="mine")
    with pytest.raises(ValueError, match="layer 'mine' is stateful, so it is no pure function"):
        cyrnn.jax.function(cyrnn.Sequential([cyrnn.Input(batch_shape=(2, 3, 2)), inner]))


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_layer_without_gradients_is_named():
    layer = Doubled(name="mine")
    layer.build((None, 2))
    f, x = cyrnn.jax.function(layer), normal(3, 2)
    np.testing.assert_array_equal(f([], x), 2 * x)
    with pytest.raises(ValueError, match="layer 'mine' has no gradients"):
        jax.jit(jax.grad(lambda x: f([], x).sum()))(x)
