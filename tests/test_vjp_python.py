"""`vjp` of what Python computes: custom activations and cells, cells alone, stacks, and both directions of them."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import activations, layers
from cyrnn.layers.base import nest
from cyrnn.layers.base.programs.gradients import Gradients

RNG = np.random.default_rng(0)
DTYPE = {"dtype": "float64"}


def sine(z):
    return np.sin(z)


sine.derivative = np.cos


class OwnCell:
    """h_t = tanh(x_t + a h_{t-1}): a cell that is no layer, of two outputs and no weights."""

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


def rnn(**options):
    return layers.SimpleRNN(3, activation=sine, **DTYPE, **options)


LAYERS = {
    "last output": lambda: rnn(),
    "sequences and state": lambda: rnn(return_sequences=True, return_state=True),
    "backwards": lambda: rnn(return_sequences=True, go_backwards=True),
    "zeros for masked": lambda: rnn(return_sequences=True, zero_output_for_mask=True),
    "an activation of NumPy": lambda: layers.SimpleRNN(3, activation=np.arctan, **DTYPE),
    "a cell of one's own": lambda: layers.RNN(OwnCell(), return_sequences=True, **DTYPE),
    "a stack": lambda: layers.RNN([layers.SimpleRNNCell(4, activation=sine, **DTYPE), OwnCellOfFour()], **DTYPE),
    "a stack with a cell of the engine": lambda: layers.RNN(
        [layers.SimpleRNNCell(4, **DTYPE), layers.SimpleRNNCell(2, activation=sine, **DTYPE)], **DTYPE
    ),
    **{
        f"both directions, {mode}, {'sequences' if sequences else 'last'}": lambda mode=mode, sequences=sequences: (
            layers.Bidirectional(rnn(return_sequences=sequences, return_state=True), merge_mode=mode, **DTYPE)
        )
        for mode in ("concat", "sum", "mul", "ave", None)
        for sequences in (False, True)
    },
    "dense": lambda: layers.Dense(3, activation=sine, **DTYPE),
    "dense without bias": lambda: layers.Dense(3, activation=sine, use_bias=False, **DTYPE),
}


class OwnCellOfFour(OwnCell):
    state_size = 4


def built(make):
    activations.set_derivative(np.arctan, lambda z: 1 / (1 + z * z))
    layer, x = make(), RNG.standard_normal((3, 5, 2))
    layer(x)
    layer.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in layer.get_weights()])
    return layer, x


def assert_derivative(function, at, gradient, dy, step=1e-6):
    direction = RNG.standard_normal(at.shape)
    ends = [function(at + sign * step * direction) for sign in (1, -1)]
    values = [sum(np.sum(a * b) for a, b in zip(nest.leaves(dy), nest.leaves(end), strict=True)) for end in ends]
    assert abs((values[0] - values[1]) / (2 * step) - np.sum(direction * gradient)) < 1e-6


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_derivatives(name, masked):
    layer, x = built(LAYERS[name])
    mask = RNG.random((3, 5)) < 0.6 if masked and not isinstance(layer, layers.Dense) else None
    y, pullback = layer.vjp(x, mask=mask)
    for a, b in zip(nest.leaves(y), nest.leaves(layer(x, mask=mask)), strict=True):
        np.testing.assert_array_equal(a, b)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    found = pullback(dy)
    assert_derivative(lambda moved: layer(moved, mask=mask), x, found.inputs, dy)
    weights = layer.get_weights()
    assert len(found.weights) == len(weights)
    for number, gradient in enumerate(found.weights):

        def of_weight(moved, number=number):
            layer.set_weights([*weights[:number], moved, *weights[number + 1 :]])
            return layer(x, mask=mask)

        assert_derivative(of_weight, weights[number], gradient, dy)


@pytest.mark.parametrize("name", ["sequences and state", "a stack", "both directions, concat, last"])
def test_gradients_of_initial_states(name):
    layer, x = built(LAYERS[name])
    states = [RNG.standard_normal((3, size)) for size in layer.flat_state_sizes]
    y, pullback = layer.vjp(x, initial_state=states)
    dy = nest.mapped(lambda part: RNG.standard_normal(part.shape), y)
    for number, gradient in enumerate(pullback(dy).initial_state):

        def of_state(moved, number=number):
            return layer(x, initial_state=[*states[:number], moved, *states[number + 1 :]])

        assert_derivative(of_state, states[number], gradient, dy)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softmax", sine])
def test_a_step_of_a_cell(activation):
    cell = layers.SimpleRNNCell(4, activation=activation, **DTYPE)
    cell.build((3, 2))
    x, state = RNG.standard_normal((3, 2)), RNG.standard_normal((3, 4))
    (output, (new,)), pullback = cell.vjp(x, [state])
    expected, _ = cell(x, [state])
    np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(new, expected)
    d_output, d_state = RNG.standard_normal((2, 3, 4))
    found = pullback((d_output, [d_state]))
    assert_derivative(lambda moved: cell(moved, [state])[0], x, found.inputs, d_output + d_state)
    assert_derivative(lambda moved: cell(x, [moved])[0], state, found.initial_state[0], d_output + d_state)
    assert [gradient.shape for gradient in found.weights] == [(2, 4), (4, 4), (4,)]


def test_nan_in_masked_steps_reaches_no_gradient():
    layer, x = built(LAYERS["sequences and state"])
    mask = RNG.random((3, 5)) < 0.5
    dirty = np.where(mask[..., None], x, np.nan)
    y, pullback = layer.vjp(dirty, mask=mask)
    found = pullback(nest.mapped(np.ones_like, y))
    assert all(np.isfinite(gradient).all() for gradient in [found.inputs, *found.initial_state, *found.weights])


def test_what_has_no_derivative_says_what_to_write():
    def plain(z):
        return np.sin(z)

    x = RNG.standard_normal((3, 5, 2))
    for layer in (layers.SimpleRNN(3, activation=plain), layers.Dense(3, activation=plain)):
        layer.build(x.shape)
        with pytest.raises(ValueError, match=r"has no gradients: its activation .* set its attribute `derivative`"):
            layer.vjp(x)

    class NoGradients:
        state_size = 2

        def call(self, x, states):
            return x, [x]

    with pytest.raises(ValueError, match=r"has no gradients: it must have a method vjp\(x, initial_state=None"):
        layers.RNN(NoGradients(), **DTYPE).vjp(x)


def test_derivatives_of_custom_activations_alone_can_be_set():
    with pytest.raises(ValueError, match="activation must be a custom one"):
        activations.set_derivative(activations.get("tanh"), np.cos)
    with pytest.raises(ValueError, match="must be callables"):
        activations.set_derivative(np.sin, 3)


def test_gradients_are_imported_when_they_are_asked_for():
    code = """
import sys, numpy as np, cyrnn
layer = cyrnn.layers.SimpleRNN(2)
layer(np.zeros((1, 2, 3)))
late = [name for name in sys.modules if "gradients" in name or name.endswith((".tape", ".pullback"))]
assert late == [], late
layer.vjp(np.zeros((1, 2, 3)))
"""
    assert run_python(code).returncode == 0


NOISE = {
    "Dropout": lambda: layers.Dropout(0.4, seed=3, **DTYPE),
    "Dropout with a noise shape": lambda: layers.Dropout(0.4, noise_shape=(None, 1, 2), seed=3, **DTYPE),
    "all dropped": lambda: layers.Dropout(1.0, seed=3, **DTYPE),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.4, seed=3, **DTYPE),
    "GaussianDropout": lambda: layers.GaussianDropout(0.4, seed=3, **DTYPE),
    "GaussianNoise": lambda: layers.GaussianNoise(0.4, seed=3, **DTYPE),
    "AlphaDropout": lambda: layers.AlphaDropout(0.4, seed=3, **DTYPE),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_in_training_goes_back_as_it_came(name):
    x, step = RNG.standard_normal((3, 5, 2)), 1e-3
    dy, direction = RNG.standard_normal((2, *x.shape))
    y, pullback = NOISE[name]().vjp(x, training=True)
    np.testing.assert_array_equal(y, NOISE[name]()(x, training=True))  # another layer, of the same seed
    ends = [NOISE[name]()(x + sign * step * direction, training=True) for sign in (1, -1)]
    derivative = np.sum(dy * (ends[0] - ends[1])) / (2 * step)
    assert abs(derivative - np.sum(pullback(dy).inputs * direction)) < 1e-9
    np.testing.assert_array_equal(pullback(dy).inputs, pullback(dy).inputs)
    still = NOISE[name]().vjp(x)
    np.testing.assert_array_equal(still[0], x)
    np.testing.assert_array_equal(still[1](dy).inputs, dy)


def test_a_model_with_dropout_trains():
    model = cyrnn.Sequential([layers.SimpleRNN(4, **DTYPE), layers.Dropout(0.5, seed=1), layers.Dense(2, **DTYPE)])
    x = RNG.standard_normal((3, 5, 2))
    y, pullback = model.vjp(x, training=True)
    found = pullback(np.ones_like(y))
    assert len(found.weights) == 5 and all(gradient.any() for gradient in found.weights)
    assert found.inputs.shape == x.shape


def test_masks_are_the_callers_own():
    layer, x = built(LAYERS["sequences and state"])
    mask = np.arange(5) < np.array([[3], [5], [2]])
    y, pullback = layer.vjp(x, mask=mask)
    dy = nest.mapped(np.ones_like, y)
    before = pullback(dy).inputs
    mask[:] = True
    np.testing.assert_array_equal(pullback(dy).inputs, before)


@pytest.mark.parametrize("name", ["dense", "sequences and state", "a stack", "activation"])
def test_a_pullback_does_not_depend_on_what_becomes_of_the_layer(name):
    layer, x = built({**LAYERS, "activation": lambda: layers.Activation(sine, **DTYPE)}[name])
    y, pullback = layer.vjp(x)
    dy = nest.mapped(np.ones_like, y)
    before = pullback(dy)
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    for part in layer.layers_within():
        if "activation" in vars(part):
            part.activation = "relu"
    for leaf in nest.leaves(y):
        leaf[:] = np.nan
    x[:] = np.nan
    for a, b in zip(nest.leaves(list(before)), nest.leaves(list(pullback(dy))), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [lambda act: layers.Dense(2, activation=act), lambda act: step_of(act)])
def test_outputs_and_gradients_are_of_the_same_weights(make):
    """The activation replaces the weights: what is called is called again with the new ones."""
    replaced = []

    def replacing(z):
        if layer.built and not replaced and armed:
            replaced.append(True)
            layer.set_weights([10 * weight + 1 for weight in layer.get_weights()])
        return z

    replacing.derivative = np.ones_like
    armed = False
    layer = make(replacing)
    layer.build((3, 2))
    armed = True
    x = RNG.standard_normal((3, 2))
    y, pullback = layer.vjp(x)
    assert replaced
    np.testing.assert_array_equal(nest.leaves(y)[0], nest.leaves(called(layer, x))[0])
    dy = nest.mapped(np.ones_like, y)
    ones = sum(nest.leaves(dy))
    np.testing.assert_allclose(pullback(dy).inputs, ones @ layer.get_weights()[0].T, rtol=1e-6)


def step_of(activation):
    return layers.SimpleRNNCell(2, activation=activation)


def called(layer, x):
    return layer(x, layer.get_initial_state(len(x))) if hasattr(layer, "get_initial_state") else layer(x)


@pytest.mark.parametrize("training", [False, True])
def test_an_activation_of_a_custom_function(training):
    layer, x = layers.Activation(sine, **DTYPE), RNG.standard_normal((3, 5, 2))
    y, pullback = layer.vjp(x, training=training)
    np.testing.assert_array_equal(y, layer(x))
    dy = RNG.standard_normal(y.shape)
    assert_derivative(layer, x, pullback(dy).inputs, dy)
    assert pullback(None).weights == []
    np.testing.assert_array_equal(pullback(None).inputs, np.zeros_like(x))
    with pytest.raises(ValueError, match=r"no gradients: its activation .* set its attribute `derivative`"):
        layers.Activation(lambda z: z * 2).vjp(x)


@pytest.mark.parametrize("make", [lambda: step_of("tanh"), lambda: layers.StackedRNNCells([step_of("tanh")])])
def test_gradients_of_a_step_are_checked(make):
    cell, x = make(), RNG.standard_normal((3, 2))
    cell.build((3, 2))
    (output, states), pullback = cell.vjp(x)
    one, ones = np.ones_like(output), nest.mapped(np.ones_like, states)
    both, first, second = pullback((one, ones)), pullback((one, None)), pullback((None, ones))
    np.testing.assert_allclose(both.inputs, first.inputs + second.inputs, rtol=1e-6)
    assert not pullback(None).inputs.any()
    assert not pullback((None, [None])).weights[0].any()
    assert pullback((one, ones), inputs=False).inputs is None
    cut = nest.mapped(lambda part: part[:, :1], ones)
    for wrong in (one, (one,), (one, ones, one), (one[:2], ones), (one, cut), (1j * one, None), (one, [])):
        with pytest.raises(ValueError, match="dy"):
            pullback(wrong)


def test_what_a_subclass_computes_is_not_taken_for_what_its_base_does():
    class Doubled(layers.SimpleRNNCell):
        def call(self, sequence, states, training=False):
            output, states = super().call(sequence, states, training)
            return 2 * output, states

    for cell in (Doubled(2), layers.StackedRNNCells([Doubled(2)])):
        cell.build((3, 2))
        with pytest.raises(ValueError, match="its class Doubled has its own 'call', and must have a `vjp` beside it"):
            cell.vjp(np.ones((3, 2)))


def test_sequences_of_the_second_axis_are_refused():
    for layer in (rnn(), rnn(activity_regularizer="l2"), layers.SimpleRNN(2, activity_regularizer="l2")):
        layer.time_major = True
        with pytest.raises(ValueError, match="has no gradients: its sequences have the batch on their second axis"):
            layer.vjp(np.ones((5, 3, 2)))


@pytest.mark.parametrize("backwards", [False, True])
def test_each_call_in_training_draws_its_dropout(backwards):
    x = RNG.standard_normal((3, 5, 2))
    found = []
    for by_vjp in (False, True):
        layer = rnn(dropout=0.5, recurrent_dropout=0.5, seed=3, go_backwards=backwards)
        layer.build(x.shape)
        layer.set_weights([np.linspace(-1, 1, w.size).reshape(w.shape) for w in layer.get_weights()])
        found.append([layer.vjp(x, training=True)[0] if by_vjp else layer(x, training=True) for _ in range(2)])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(*found[0])


def test_gradients_have_the_dtype_of_the_layer():
    def own(z):
        return np.maximum(z, 0)

    own.derivative = lambda z: np.where(z > 0, 1.0, 0.0)  # float64
    for layer in (layers.Dense(3, activation=own), layers.SimpleRNN(3, activation=own)):
        y, pullback = layer.vjp(np.ones((2, 4, 3), np.float32))
        found = pullback(np.ones_like(y))
        assert {array.dtype.name for array in [found.inputs, *found.initial_state, *found.weights]} == {"float32"}


@pytest.mark.parametrize("activation", ["tanh", sine])
def test_a_pullback_of_walked_cells_holds_only_what_it_reads(activation):
    """For each timestep the inputs, the state and what the derivative is a function of."""
    cell = layers.StackedRNNCells([layers.SimpleRNNCell(128, activation=activation, **DTYPE), OwnCellOf128()])
    layer, x = layers.RNN(cell, return_sequences=True, **DTYPE), RNG.standard_normal((32, 20, 2))
    layer(x)
    tracemalloc.start()
    try:
        y, pullback = layer.vjp(x)
        del y
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3.5 * 20 * 32 * 128 * 8  # that of the other cell, its output, counts too
    assert pullback(np.ones((32, 20, 128))).inputs.shape == x.shape


class OwnCellOf128(OwnCell):
    state_size = 128


def test_outputs_between_the_layers_of_a_model_are_not_held():
    made = []

    class Doubled(layers.Layer):
        def call(self, x):
            return 2 * x

        def vjp(self, x, initial_state=None, mask=None, training=False):
            y = 2 * x
            made.append(weakref.ref(y))
            return y, lambda dy, inputs=True: Gradients(2 * dy, [], [])

    model = cyrnn.Sequential([Doubled(**DTYPE), Doubled(**DTYPE)])
    y, pullback = model.vjp(np.ones((3, 2)))
    del y
    gc.collect()
    assert [ref() for ref in made] == [None, None]
    np.testing.assert_array_equal(pullback(np.ones((3, 2))).inputs, np.full((3, 2), 4.0))


def test_a_direction_that_fails_leaves_the_states_of_the_other():
    class Failing(OwnCell):
        def vjp(self, x, initial_state=None, mask=None, training=False):
            raise ValueError("out of order")

    options = {"stateful": True, "return_sequences": True, **DTYPE}
    backward = layers.RNN(Failing(), go_backwards=True, **options)
    both, x = layers.Bidirectional(layers.SimpleRNN(2, **options), backward_layer=backward, **DTYPE), np.ones((3, 5, 2))
    both(x)
    before = [np.array(state) for state in both.states]
    with pytest.raises(ValueError, match="out of order"):
        both.vjp(x)
    for state, now in zip(before, both.states, strict=True):
        np.testing.assert_array_equal(state, now)


class Misbehaved(layers.Layer):
    """Doubles, and returns from `vjp` what it was made with."""

    def __init__(self, result, **kwargs):
        super().__init__(name="bad", **kwargs)
        self.result = result

    def call(self, x):
        return 2 * x

    def vjp(self, x, initial_state=None, mask=None, training=False):
        return self.result(2 * x)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda y: y, r"`vjp` of layer 'bad' must return a tuple of outputs and a pullback, got "),
        (lambda y: (y, y), r"`vjp` of layer 'bad' must return a tuple of outputs and a pullback, got "),
        (lambda y: (y, lambda dy, inputs=True: dy), r"must return an object with `inputs`.* got ndarray"),
        (
            lambda y: (y, lambda dy, inputs=True: Gradients(dy[0], [], [])),
            r"the pullback of layer 'bad' must return in `inputs` gradients of the shapes \[\(3, 2\)\], got \[\(2,\)\]",
        ),
        (
            lambda y: (y, lambda dy, inputs=True: Gradients(dy, [], [dy])),
            r"must return in `weights` gradients of the shapes \[\], got \[\(3, 2\)\]",
        ),
    ],
)
def test_a_wrong_vjp_of_ones_own_is_named(result, message):
    model = cyrnn.Sequential([cyrnn.Input((2,)), Misbehaved(result, **DTYPE)])
    with pytest.raises(ValueError, match=message):
        model.vjp(np.ones((3, 2)))[1](np.ones((3, 2)))


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (lambda d: Gradients(d[:, :1], [d], []), r"in `inputs` gradients of the shapes \[\(3, 2\)\], got \[\(3, 1\)\]"),
        (lambda d: Gradients(d, [], []), r"in `initial_state` gradients of the shapes \[\(3, 2\)\], got \[\]"),
        (lambda d: (d, [d], []), r"the pullback of the cell .* must return an object with `inputs`.* got tuple"),
    ],
)
def test_a_wrong_pullback_of_a_cell_of_ones_own_is_named(gradients, message):
    class Wrong(OwnCell):
        def vjp(self, x, initial_state=None, mask=None, training=False):
            result, _ = super().vjp(x, initial_state)
            return result, lambda dy, inputs=True: gradients(dy[0])

    _, pullback = layers.RNN(Wrong(), **DTYPE).vjp(np.ones((3, 4, 2)))
    with pytest.raises(ValueError, match=message):
        pullback(np.ones((3, 2)))
