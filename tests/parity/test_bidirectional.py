"""Bidirectional and TimeDistributed against Keras."""

import itertools
import json

import numpy as np
import pytest
from parity.twins import assert_same, flat, follow_tensorflow, from_keras_json, keras, keras_json, twins

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("float32")
H = [RNG.standard_normal((BATCH, UNITS)).astype("float32") for _ in range(4)]
MASKS = {
    "no mask": None,
    "right padding": np.arange(TIMESTEPS) < np.array([[5], [2], [0]]),
    "left padding": np.arange(TIMESTEPS) >= np.array([[0], [3], [1]]),
    "holes": np.array([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0]], bool),
}
MODES = ["concat", "sum", "mul", "ave", None]


def maker(merge_mode="concat", kind="SimpleRNN", wrapper=None, **options):
    """A function from module (Keras or cyrnn) to a Bidirectional layer."""

    def make(module):
        layers = module.layers
        if kind == "SimpleRNN":
            layer = layers.SimpleRNN(UNITS, **options)
        elif kind == "RNN":
            layer = layers.RNN(layers.SimpleRNNCell(UNITS), **options)
        else:
            layer = layers.RNN([layers.SimpleRNNCell(4), layers.SimpleRNNCell(UNITS)], **options)
        return layers.Bidirectional(layer, merge_mode=merge_mode, **(wrapper or {}))

    return make


def both(make, shape=X.shape):
    return twins(make, shape, np.random.default_rng(1))


def check(ours, theirs, x=X, mask=None, **arguments):
    follow_tensorflow(theirs, mask)
    a, b = ours(x, mask=mask, **arguments), theirs(x, mask=mask, **arguments)
    assert isinstance(a, tuple) == isinstance(b, tuple)
    assert_same(flat(a), flat(b))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", ["SimpleRNN", "RNN", "stack"])
@pytest.mark.parametrize("merge_mode", MODES)
def test_merge_modes_masks_and_returns(merge_mode, kind, mask):
    for return_sequences, return_state in itertools.product([False, True], repeat=2):
        ours, theirs = both(maker(merge_mode, kind, return_sequences=return_sequences, return_state=return_state))
        check(ours, theirs, mask=MASKS[mask])
        assert ours.compute_output_shape((None, 7, FEATURES)) == theirs.compute_output_shape((None, 7, FEATURES))
        assert str(ours.compute_mask(X, MASKS[mask])) == str(theirs.compute_mask(X, MASKS[mask]))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", [list, tuple])
def test_initial_states_are_forward_then_backward(form, mask):
    ours, theirs = both(maker(return_sequences=True, return_state=True))
    check(ours, theirs, mask=MASKS[mask], initial_state=form(H[:2]))


@pytest.mark.parametrize("mask", ["no mask", "holes"])
def test_a_stateful_layer_goes_on_in_both_directions(mask):
    ours, theirs = both(maker(stateful=True, return_sequences=True))
    for arguments in [{}, {}, {"initial_state": H[:2]}, "reset", {}]:
        if arguments == "reset":
            ours.reset_state()
            theirs.reset_state()
        else:
            check(ours, theirs, mask=MASKS[mask], **arguments)
        assert_same(flat(ours.states), [np.asarray(state) for state in flat(theirs.states)])


def test_stateful_with_returned_states_where_keras_fails():
    ours, theirs = both(maker(stateful=True, return_state=True))
    with pytest.raises(TypeError):
        theirs(X)  # in its compute_mask
    output, *states = ours(X)
    assert output.shape == (BATCH, 2 * UNITS)
    assert_same(states, flat(ours.states))


@pytest.mark.parametrize("merge_mode", MODES)
def test_a_backward_layer_of_your_own(merge_mode):
    def make(module):
        forward = module.layers.SimpleRNN(UNITS, return_sequences=True)
        backward = module.layers.SimpleRNN(UNITS, "relu", return_sequences=True, go_backwards=True, name="mine")
        return module.layers.Bidirectional(forward, merge_mode=merge_mode, backward_layer=backward)

    ours, theirs = both(make)
    for mask in MASKS.values():
        check(ours, theirs, mask=mask)
    assert ours.backward_layer.name == theirs.backward_layer.name == "mine"


def test_directions_of_different_widths_where_keras_says_another_shape():
    def make(module):
        backward = module.layers.SimpleRNN(2, go_backwards=True)
        return module.layers.Bidirectional(module.layers.SimpleRNN(UNITS), backward_layer=backward)

    ours, theirs = both(make)
    check(ours, theirs)
    assert ours.compute_output_shape(X.shape) == ours(X).shape == (BATCH, 5)
    assert theirs.compute_output_shape(X.shape) == (BATCH, 6)


def test_the_first_layer_may_be_the_one_that_goes_backwards():
    def make(module):
        layers = [module.layers.SimpleRNN(UNITS, return_sequences=True, go_backwards=back) for back in (True, False)]
        return module.layers.Bidirectional(layers[0], backward_layer=layers[1])

    check(*both(make))


def test_the_layer_given_is_copied_and_stays_as_it_is():
    for module in (cyrnn, keras):
        layer = module.layers.SimpleRNN(UNITS, return_sequences=True, zero_output_for_mask=False, name="reader")
        both_ways = module.layers.Bidirectional(layer)
        assert both_ways.forward_layer is not layer and not layer.built
        assert (both_ways.forward_layer.name, both_ways.backward_layer.name) == ("forward_reader", "backward_reader")
        assert both_ways.forward_layer.zero_output_for_mask and not layer.zero_output_for_mask
        last = module.layers.Bidirectional(module.layers.SimpleRNN(3, zero_output_for_mask=True))
        assert not last.forward_layer.zero_output_for_mask and not last.backward_layer.zero_output_for_mask


@pytest.mark.parametrize("kind", ["RNN", "stack"])
def test_dropout_in_both_directions(kind):
    def make(module):
        cells = [module.layers.SimpleRNNCell(UNITS, dropout=0.3, recurrent_dropout=0.3, seed=n) for n in (1, 2)]
        rnn = module.layers.RNN(cells if kind == "stack" else cells[0], return_sequences=True)
        return module.layers.Bidirectional(rnn)

    ours, theirs = both(make)
    for _ in range(2):
        check(ours, theirs, training=True)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_dtypes_of_wrapper_and_layers(dtype):
    for wrapper in ({}, {"dtype": dtype}):
        ours, theirs = both(maker(dtype=dtype, recurrent_initializer="ones", wrapper=wrapper))
        tolerance = 1e-3 if dtype == "float16" else None
        assert_same(ours(X.astype(dtype)), np.asarray(theirs(X.astype(dtype))), tolerance)
        # Keras' wrapper casts the inputs to its own dtype before the layers see them


def test_losses_of_both_directions():
    def make(module):
        layer = module.layers.RNN(module.layers.SimpleRNNCell(3, kernel_regularizer="l2"), activity_regularizer="l2")
        return module.layers.Bidirectional(layer, activity_regularizer="l1")

    ours, theirs = both(make)
    ours(X), theirs(X)
    assert len(ours.losses) == 5
    assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)


@pytest.mark.configs
@pytest.mark.parametrize("kind", ["SimpleRNN", "RNN", "stack"])
@pytest.mark.parametrize("merge_mode", MODES)
def test_configs_both_ways(merge_mode, kind):
    ours, theirs = both(maker(merge_mode, kind, return_sequences=True))
    read, read_by_keras = cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json())
    for layer in (read, read_by_keras):
        layer.set_weights(ours.get_weights())
        assert_same(flat(ours(X)), flat(layer(X)))
    config = json.loads(ours.to_json())
    assert list(config["config"]) == list(json.loads(keras_json(theirs))["config"])
    assert cyrnn.from_json(json.dumps(config)).to_json() == json.dumps(config)


def test_initial_weights_that_keras_takes_and_forgets():
    values = both(maker())[0].get_weights()
    for module in (cyrnn, keras):
        layer = module.layers.Bidirectional(module.layers.SimpleRNN(UNITS), weights=values)
        layer.build(X.shape)
        kept = all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), values, strict=True))
        assert kept is (module is cyrnn)


# ---------------------------------------------------------------- TimeDistributed

WRAPPED = {
    "Dense": lambda m: m.layers.Dense(3, activation="relu"),
    "Activation": lambda m: m.layers.Activation("softmax"),
    "Dropout": lambda m: m.layers.Dropout(0.5, seed=3),
    "Embedding": lambda m: m.layers.Embedding(9, 3),
    "SimpleRNN": lambda m: m.layers.SimpleRNN(3, dropout=0.0),
}


@pytest.mark.configs
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", WRAPPED)
def test_time_distributed(case, training):
    x = {"SimpleRNN": np.stack([X, X * 2], axis=1), "Embedding": np.abs(X * 3).astype(int)}.get(case, X)
    ours, theirs = twins(lambda m: m.layers.TimeDistributed(WRAPPED[case](m)), x.shape, np.random.default_rng(2))
    assert_same(ours(x, training=training), np.asarray(theirs(x, training=training)))
    assert ours.compute_output_shape(x.shape) == theirs.compute_output_shape(x.shape) == ours(x).shape
    read, read_by_keras = cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json())
    for layer in (read, read_by_keras):
        layer.set_weights(ours.get_weights())
        assert_same(ours(x), np.asarray(layer(x)))


def test_masks_pass_through_time_distributed():
    ours, theirs = twins(lambda m: m.layers.TimeDistributed(m.layers.Dense(3)), X.shape, np.random.default_rng(2))
    keep = MASKS["holes"]
    assert_same(ours(X, mask=keep), np.asarray(theirs(X, mask=keep)))
    assert ours.compute_mask(X, keep) is keep
    for layer in (ours, theirs):
        with pytest.raises(ValueError):
            layer(X, mask=keep[:, :2])
        with pytest.raises(ValueError):
            layer(X[:, 0])
