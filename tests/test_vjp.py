"""`vjp`: gradients of layers, against the float64 oracle of back-propagation, and what a pullback promises."""

import gc
import threading
import weakref

import numpy as np
import pytest
from helpers import ISAS, assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_gradients import recurrence_gradients

import cyrnn
from cyrnn import activations, layers
from cyrnn.engine.plan import ACTIVATIONS
from cyrnn.layers.base import nest

RNG = np.random.default_rng(0)
SIZES = st.one_of(st.integers(1, 5), st.sampled_from([8, 15, 16, 17, 31, 33, 64, 65]))


def built(layer, shape, rng=RNG):
    layer.build(shape)
    layer.set_weights(
        [rng.standard_normal(weight.shape) / max(1, weight.shape[0]) ** 0.5 for weight in layer.get_weights()]
    )
    return layer


def assert_near(got, expected, dtype="float64"):
    scale = max(1, np.abs(expected).max(initial=0))
    assert_close(np.asarray(got) / scale, expected / scale, dtype)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_gradients_of_a_simple_rnn_are_those_of_the_oracle(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, timesteps, features, units = (draw(SIZES) for _ in range(4))
    options = {
        name: draw(st.booleans())
        for name in ("go_backwards", "zero_output_for_mask", "return_sequences", "return_state")
    }
    layer = built(layers.SimpleRNN(units, dtype="float64", **options), (batch, timesteps, features), rng)
    x = rng.standard_normal((batch, timesteps, features))
    state = rng.standard_normal((batch, units)) if draw(st.booleans()) else None
    mask = rng.random((batch, timesteps)) < draw(st.sampled_from([0, 0.5, 1])) if draw(st.booleans()) else None
    y, pullback = layer.vjp(x, initial_state=state, mask=mask)
    called = layer(x, initial_state=state, mask=mask)
    assert all(np.array_equal(a, b) for a, b in zip(nest.leaves(y), nest.leaves(called), strict=True))
    dy = nest.mapped(lambda part: rng.standard_normal(part.shape), y)
    output, final = dy if options["return_state"] else (dy, np.zeros((batch, units)))
    d_outputs = np.zeros((batch, timesteps, units))
    d_outputs[:, slice(None) if options["return_sequences"] else -1] = output
    expected = recurrence_gradients(
        x, *layer.get_weights(), d_outputs, final, initial_state=state, mask=mask,
        go_backwards=options["go_backwards"], zero_output_for_mask=options["zero_output_for_mask"],
    )  # fmt: skip
    found = pullback(dy)
    for got, wanted in zip([found.inputs, *found.initial_state, *found.weights], expected, strict=True):
        assert_near(got, wanted)
    without = pullback(dy, inputs=False)
    assert without.inputs is None
    for a, b in zip(without.weights, found.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_with_every_activation(activation, masked):
    rng = np.random.default_rng(1)
    named = activations.get(activation) if activation != "hard_sigmoid_keras2" else activations.Activation(activation)
    layer = built(layers.SimpleRNN(7, activation=named, return_sequences=True, dtype="float64"), (4, 6, 3), rng)
    layer.set_weights([weight / 4 for weight in layer.get_weights()])  # exponential grows
    x, dy = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 6, 7))
    mask = rng.random((4, 6)) < 0.6 if masked else None
    y, pullback = layer.vjp(x, mask=mask)
    np.testing.assert_array_equal(y, layer(x, mask=mask))
    expected = recurrence_gradients(x, *layer.get_weights(), dy, np.zeros((4, 7)), activation, mask=mask)
    found = pullback(dy)
    for got, wanted in zip([found.inputs, *found.initial_state, *found.weights], expected, strict=True):
        assert_near(got, wanted)
    dense = built(layers.Dense(5, activation=named, dtype="float64"), (4, 6, 3), rng)
    y, pullback = dense.vjp(x)
    np.testing.assert_array_equal(y, dense(x))
    zeros = np.zeros((5, 5))
    flat, d_flat = x.reshape(24, 1, 3), dy[..., :5].reshape(24, 1, 5)
    d_x, _, d_kernel, _, d_bias = recurrence_gradients(
        flat, dense.kernel, zeros, dense.bias, d_flat, np.zeros((24, 5)), activation
    )
    found = pullback(dy[..., :5])
    for got, wanted in zip([found.inputs, *found.weights], [d_x.reshape(x.shape), d_kernel, d_bias], strict=True):
        assert_near(got, wanted)


@pytest.mark.parametrize(("engine", "isa"), [*(("simd", isa) for isa in ISAS), ("blas", None)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 40, 3, 33), (40, 7, 65, 16), (3, 300, 8, 50), (130, 3, 24, 5)])
def test_gradients_on_every_engine_and_instruction_set(engine, isa, dtype, shape, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    monkeypatch.setenv("CYRNN_ISA", isa or "")
    batch, timesteps, features, units = shape
    rng = np.random.default_rng(2)
    layer = built(layers.SimpleRNN(units, return_sequences=True, dtype=dtype), (batch, timesteps, features), rng)
    x, dy = rng.standard_normal((batch, timesteps, features)), rng.standard_normal((batch, timesteps, units))
    x, dy = x.astype(dtype).astype(float), dy.astype(dtype).astype(float)
    weights = [weight.astype(float) for weight in layer.get_weights()]
    expected = recurrence_gradients(x, *weights, dy, np.zeros((batch, units)))
    found = layer.vjp(x.astype(dtype))[1](dy.astype(dtype))
    for got, wanted in zip([found.inputs, *found.initial_state, *found.weights], expected, strict=True):
        assert got.dtype == dtype
        assert_near(got, wanted, dtype)


@pytest.mark.parametrize("rates", [(0.4, 0.3), (0.4, 0), (0, 0.3)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_with_dropout(rates, masked):
    dropped = {"dropout": rates[0], "recurrent_dropout": rates[1], "seed": 5}
    layer = built(layers.SimpleRNN(6, dtype="float64", return_sequences=True, **dropped), (4, 5, 3))
    twin = layers.SimpleRNN.from_config(layer.get_config())
    twin.build((4, 5, 3))
    twin.set_weights(layer.get_weights())
    x, dy, mask = RNG.standard_normal((4, 5, 3)), RNG.standard_normal((4, 5, 6)), RNG.random((4, 5)) < 0.7
    mask = mask if masked else None
    _, pullback = layer.vjp(x, mask=mask, training=True)
    of_inputs, of_states = twin.cell.draw_dropout_masks(4, 3)
    expected = recurrence_gradients(
        x, *layer.get_weights(), dy, np.zeros((4, 6)), mask=mask, input_dropout=of_inputs, recurrent_dropout=of_states
    )
    found = pullback(dy)
    for got, wanted in zip([found.inputs, *found.initial_state, *found.weights], expected, strict=True):
        assert_near(got, wanted)


@pytest.mark.parametrize("shape", [(1, 400, 32, 96), (70, 40, 32, 96), (7, 200, 64, 65)])
def test_gradients_have_the_same_bits_for_any_number_of_threads(shape):
    batch, timesteps, _, units = shape
    layer = built(
        layers.RNN([layers.SimpleRNNCell(units), layers.SimpleRNNCell(units)], return_sequences=True), shape[:3]
    )
    x, dy = RNG.standard_normal(shape[:3]).astype("f4"), RNG.standard_normal((batch, timesteps, units)).astype("f4")
    found = []
    for threads in (1, 2, 3, 8):
        cyrnn.set_num_threads(threads)
        try:
            found.append(layer.vjp(x)[1](dy))
        finally:
            cyrnn.set_num_threads(None)
    for other in found[1:]:
        for a, b in zip(nest.leaves(list(other)), nest.leaves(list(found[0])), strict=True):
            np.testing.assert_array_equal(a, b)


def test_nan_in_masked_steps_reaches_no_gradient():
    layer = built(layers.SimpleRNN(6, return_sequences=True), (5, 7, 3))
    mask = RNG.random((5, 7)) < 0.5
    x, dy = RNG.standard_normal((5, 7, 3)).astype("f4"), RNG.standard_normal((5, 7, 6))
    clean = layer.vjp(np.where(mask[..., None], x, np.float32(0)), mask=mask)[1](dy)
    dirty = layer.vjp(np.where(mask[..., None], x, np.float32(np.nan)), mask=mask)[1](dy)
    for a, b in zip(nest.leaves(list(dirty)), nest.leaves(list(clean)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dropped", [0, 0.3])
def test_nan_that_a_later_layer_masks_reaches_no_gradient(activation, masked, dropped):
    """What follows the last kept timestep of a row, or a whole row, is NaN, and what comes back to it is zeros."""
    keep = np.arange(7) < np.array([[7], [3], [0], [6], [7]])
    found = []
    for value in (0, np.nan):
        rng = np.random.default_rng(6)
        options = {"return_sequences": True, "return_state": True, "recurrent_dropout": dropped, "seed": 1}
        layer = built(layers.SimpleRNN(6, activation, **options), (5, 7, 3), rng)
        x = np.where(keep[..., None], rng.standard_normal((5, 7, 3)), value).astype("f4")
        dy = [rng.standard_normal((5, 7, 6)) * keep[..., None], rng.standard_normal((5, 6)) * keep[:, -1:]]
        mask = rng.random((5, 7)) < 0.8 if masked else None
        found.append(nest.leaves(list(layer.vjp(x, mask=mask, training=True)[1](dy))))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_gradients_of_both_directions_are_those_of_each(merge_mode, sequences):
    layer = layers.Bidirectional(
        layers.SimpleRNN(4, return_sequences=sequences, dtype="float64"), merge_mode, dtype="float64"
    )
    built(layer, (3, 5, 2))
    x, mask = RNG.standard_normal((3, 5, 2)), RNG.random((3, 5)) < 0.7
    y, pullback = layer.vjp(x, mask=mask)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    assert_central_differences(lambda x: layer(x, mask=mask), x, dy, pullback(dy).inputs)
    ways = [part.vjp(x, mask=mask) for part in (layer.forward_layer, layer.backward_layer)]
    turned = [output[:, ::-1] if sequences and number else output for number, (output, _) in enumerate(ways)]
    each = {
        "concat": lambda: (dy[..., :4], dy[..., 4:]),
        "sum": lambda: (dy, dy),
        "mul": lambda: (dy * turned[1], dy * turned[0]),
        "ave": lambda: (dy / 2, dy / 2),
        None: lambda: dy,
    }[merge_mode]()
    found = [
        way(part[:, ::-1] if sequences and number else part)
        for number, ((_, way), part) in enumerate(zip(ways, each, strict=True))
    ]
    expected = [*found[0].weights, *found[1].weights]
    for a, b in zip(pullback(dy).weights, expected, strict=True):
        assert_near(a, b)


def assert_central_differences(function, x, dy, gradient, step=1e-6):
    """The gradient of sum(dy * function(x)) at some elements of x."""
    for index in RNG.integers(0, x.size, 6):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved.flat[index] += sign * step
            y = function(moved)
            values.append(sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), nest.leaves(y), strict=True)))
        assert abs((values[0] - values[1]) / (2 * step) - gradient.flat[index]) < 1e-7


def test_a_stack_of_cells_against_central_differences():
    stack = layers.RNN(
        [layers.SimpleRNNCell(4, dtype="float64"), layers.SimpleRNNCell(3, dtype="float64")],
        return_state=True,
        dtype="float64",
    )
    built(stack, (3, 5, 2))
    x = RNG.standard_normal((3, 5, 2))
    y, pullback = stack.vjp(x)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    found = pullback(dy)
    assert [state.shape for state in found.initial_state] == [(3, 4), (3, 3)]
    assert_central_differences(stack, x, dy, found.inputs)
    weights = stack.get_weights()
    for number, gradient in enumerate(found.weights):

        def moved(weight, number=number):
            stack.set_weights([*weights[:number], weight, *weights[number + 1 :]])
            return stack(x)

        assert_central_differences(moved, weights[number], dy, gradient)


def test_a_pullback_lasts_and_does_not_change():
    rng = np.random.default_rng(3)
    layer = built(layers.SimpleRNN(6, return_sequences=True), (5, 7, 3))
    x, dy = rng.standard_normal((5, 7, 3)).astype("f4"), rng.standard_normal((5, 7, 6)).astype("f4")
    y, pullback = layer.vjp(x)
    first = pullback(dy)
    expected = [part.copy() for part in nest.leaves(list(first))]
    x[:] = y[:] = np.nan  # they are the caller's
    for part in nest.leaves(list(first)):
        part[:] = np.nan
    layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    layer.cell.activation = activations.get("relu")
    found = [None] * 4

    def call(number):
        found[number] = pullback(dy)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in found:
        for a, b in zip(nest.leaves(list(other)), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_memory_is_freed_with_the_pullback():
    layer = built(layers.SimpleRNN(6), (2, 3, 3))
    _, pullback = layer.vjp(np.zeros((2, 3, 3), "f4"))
    kept = weakref.ref(next(array for array in pullback._tape._kept.values() if array is not None))
    del pullback
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    ("dy", "words"),
    [
        (np.zeros((2, 4)), r"dy must have shape \(2, 5, 4\).*got \(2, 4\)"),
        ([np.zeros((2, 5, 4))], r"dy must be an array of shape \(2, 5, 4\).*got list"),
        (np.zeros((2, 5, 4), complex), "dy.*real numbers.*complex128"),
        (np.full((2, 5, 4), "a"), "dy"),
        ("a", "dy"),
        ({"a": np.zeros((2, 5, 4))}, "dy"),
    ],
)
def test_a_wrong_dy_is_refused(dy, words):
    layer = built(layers.SimpleRNN(4, return_sequences=True), (2, 5, 3))
    _, pullback = layer.vjp(np.zeros((2, 5, 3), "f4"))
    with pytest.raises(ValueError, match=words):
        pullback(dy)


def test_a_dy_for_some_outputs_alone():
    layer = built(layers.SimpleRNN(4, return_sequences=True, return_state=True), (2, 5, 3))
    x = RNG.standard_normal((2, 5, 3)).astype("f4")
    (y, state), pullback = layer.vjp(x)
    dy, d_state = RNG.standard_normal(y.shape), RNG.standard_normal(state.shape)
    both, first, second = pullback((dy, d_state)), pullback((dy, None)), pullback([None, d_state])
    for a, b, c in zip(nest.leaves(list(both)), nest.leaves(list(first)), nest.leaves(list(second)), strict=True):
        np.testing.assert_allclose(a, b + c, atol=1e-5)
    nothing = pullback(None)
    assert all(not part.any() for part in nest.leaves(list(nothing)))
    with pytest.raises(ValueError, match=r"dy must be a tuple of 2, as the outputs are, got 3"):
        pullback((dy, d_state, None))
    with pytest.raises(ValueError, match=r"dy\[1\] must have shape \(2, 4\)"):
        pullback((dy, d_state[:1]))


def test_gradients_are_like_the_inputs():
    layer = built(layers.SimpleRNN(4), (2, 5, 3))
    dy = np.ones((2, 4))
    x = RNG.standard_normal((2, 5, 3))
    assert layer.vjp(x)[1](dy).inputs.dtype == np.float64
    assert layer.vjp(x.astype("f4"))[1](dy).inputs.dtype == np.float32
    assert layer.vjp((x * 9).astype(int))[1](dy).inputs is None


def test_frozen_weights_have_no_gradient():
    layer = built(layers.RNN([layers.SimpleRNNCell(4), layers.SimpleRNNCell(3)]), (2, 5, 2))
    x, dy = RNG.standard_normal((2, 5, 2)).astype("f4"), np.ones((2, 3))
    whole = layer.vjp(x)[1](dy)
    layer.cell.cells[0].trainable = False
    part = layer.vjp(x)[1](dy)
    assert len(part.weights) == len(layer.trainable_weights) == 3
    for a, b in zip(part.weights, whole.weights[3:], strict=True):
        np.testing.assert_array_equal(a, b)
    layer.trainable = False
    assert layer.vjp(x)[1](dy).weights == []


def test_the_states_of_a_stateful_layer_are_constants_that_move():
    layer = built(layers.SimpleRNN(4, stateful=True), (2, 5, 3))
    twin = built(layers.SimpleRNN(4, return_state=True), (2, 5, 3))
    twin.set_weights(layer.get_weights())
    x, dy = RNG.standard_normal((2, 5, 3)).astype("f4"), np.ones((2, 4))
    layer(x)
    before = layer.states[0].copy()
    y, pullback = layer.vjp(x)
    (expected, state), way = twin.vjp(x, initial_state=before)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.states[0], state)
    for a, b in zip(pullback(dy).weights, way((dy, None)).weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((2, 5), None, None), "sequences must have shape"),
        (((2, 5, 4), None, None), "must have 3 features"),
        (((2, 5, 3), (2, 3), None), "initial_state must have shape"),
        (((2, 5, 3), None, (2, 4)), "mask"),
    ],
)
def test_wrong_arguments_are_refused_as_in_a_call(arguments, words):
    layer = built(layers.SimpleRNN(4), (2, 5, 3))
    x, state, mask = (None if shape is None else np.zeros(shape) for shape in arguments)
    with pytest.raises(ValueError, match=words):
        layer.vjp(x, initial_state=state, mask=None if mask is None else mask.astype(bool))
