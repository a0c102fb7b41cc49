"""Rules of one step and of a sequence: forms of states, empty inputs, states that are carried on."""

import numpy as np
import pytest
from parity.rules import BATCH, FEATURES, TIMESTEPS, UNITS, X, both, built, made, refused_alike
from parity.twins import assert_same, keras, twins

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
H = np.random.default_rng(1).standard_normal((BATCH, UNITS)).astype("float32")
RNNS = ["RNN", "SimpleRNN"]


def pair(class_name, **options):
    """The layer of both, with the same weights."""
    shape = (BATCH, FEATURES) if class_name == "SimpleRNNCell" else X.shape
    return twins(lambda m: made(m, class_name, **options), shape, np.random.default_rng(2))


# ---------------------------------------------------------------- a step


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_the_activation_of_two_products_and_the_bias(dtype, use_bias):
    x, h = X[:, 0].astype(dtype), H.astype(dtype)
    for cell in pair("SimpleRNNCell", dtype=dtype, use_bias=use_bias):
        kernel, recurrent_kernel, bias = [*(w.astype("float64") for w in cell.get_weights()), 0.0][:3]
        output, state = cell(x, h)
        expected = np.tanh(x.astype("float64") @ kernel + bias + h.astype("float64") @ recurrent_kernel)
        np.testing.assert_allclose(output, expected, rtol=0, atol={"float32": 2e-6, "float64": 1e-12}[dtype])
        np.testing.assert_array_equal(output, state)


def test_a_bare_state_comes_back_bare_and_a_listed_one_in_a_list():
    """In Keras the state is the output itself; ours is a copy, which in-place work on the output leaves alone."""
    ours, theirs = pair("SimpleRNNCell")
    for cell in (ours, theirs):
        output, state = cell(X[:, 0], H)
        assert np.array_equal(state, output)
        assert (state is output) == (cell is theirs)
        for form in ([H], (H,)):
            output, states = cell(X[:, 0], form)
            assert isinstance(states, list) and len(states) == 1
            assert np.array_equal(states[0], output)
            assert (states[0] is output) == (cell is theirs)
    output, [state] = ours(X[:, 0], [H])
    kept = state.copy()
    output *= 0
    assert np.array_equal(state, kept)


@pytest.mark.parametrize("form", [list, tuple])
def test_further_states_in_a_direct_call_of_a_cell_are_ignored(form):
    ours, theirs = pair("SimpleRNNCell")
    expected = ours(X[:, 0], [H])
    for extra in (H, np.full((7, 9), np.nan, "float32")):
        states = form([H, extra])
        assert_same(ours(X[:, 0], states), tuple(theirs(X[:, 0], states)))
        assert_same(ours(X[:, 0], states), expected, tolerance=0)


@pytest.mark.parametrize("states", [None, [], ()], ids=repr)
def test_no_states_are_refused(states):
    refused_alike(lambda m: built(m, "SimpleRNNCell")(X[:, 0], states))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool"])
def test_states_are_cast(dtype):
    ours, theirs = pair("SimpleRNNCell")
    assert_same(ours(X[:, 0], (2 * H).astype(dtype))[0], np.asarray(theirs(X[:, 0], (2 * H).astype(dtype))[0]))


def test_arguments_by_name():
    ours, theirs = pair("SimpleRNNCell")
    assert_same(ours(sequence=X[:, 0], states=H), tuple(theirs(sequence=X[:, 0], states=H)))
    for class_name in RNNS:
        ours, theirs = pair(class_name)
        mask = np.array([[1, 0, 1], [1, 1, 0]], bool)
        arguments = {"sequences": X, "initial_state": np.zeros_like(H), "mask": mask, "training": False}
        assert_same(ours(**arguments), theirs(**arguments))
        assert_same(ours(X, np.zeros_like(H), mask), theirs(X, np.zeros_like(H), mask))


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", *RNNS])
def test_the_first_call_builds(class_name):
    for module in (cyrnn, keras):
        layer = made(module, class_name)
        assert not layer.built and layer.weights == []
        layer(X[:, 0], H) if class_name == "SimpleRNNCell" else layer(X)
        assert layer.built and [tuple(w.shape) for w in layer.weights] == [(4, 5), (5, 5), (5,)]


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", *RNNS])
def test_nested_lists_are_no_input(class_name):
    x = X[:, 0] if class_name == "SimpleRNNCell" else X
    states = (H,) if class_name == "SimpleRNNCell" else ()
    refused_alike(lambda m: built(m, class_name)(x.tolist(), *states))


# ---------------------------------------------------------------- initial states


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_initial_state_is_a_list_of_zeros(batch, dtype):
    for class_name in ("SimpleRNNCell", *RNNS):
        ours, theirs = both(lambda m, name=class_name: built(m, name, dtype=dtype))
        if class_name == "RNN":  # whose cell has a dtype of its own
            assert_same(ours.get_initial_state(batch), theirs.get_initial_state(batch))
            continue
        assert_same(ours.get_initial_state(batch), theirs.get_initial_state(batch))
        assert ours.get_initial_state(batch)[0].dtype == dtype and not ours.get_initial_state(batch)[0].any()


@pytest.mark.parametrize("batch", [None, 2.5, "2"])
def test_an_initial_state_needs_a_batch_size(batch):
    refused_alike(lambda m: built(m, "SimpleRNNCell").get_initial_state(batch))


@pytest.mark.parametrize("class_name", RNNS)
def test_an_initial_state_of_too_many_arrays_is_refused(class_name):
    """Keras ignores what is too much."""
    ours, theirs = pair(class_name)
    assert_same(np.asarray(theirs(X, initial_state=[H, H])), np.asarray(theirs(X, initial_state=H)))
    with pytest.raises(ValueError, match=r"initial_state must hold 1 arrays, got 2"):
        ours(X, initial_state=[H, H])


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool"])
def test_initial_states_of_other_dtypes_are_cast(class_name, dtype):
    ours, theirs = pair(class_name, return_state=True)
    h = (2 * H).astype(dtype)
    assert_same(ours(X, initial_state=h), theirs(X, initial_state=h))


# ---------------------------------------------------------------- sequences

FLAGS = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True, "go_backwards": True},
    {"unroll": True, "return_sequences": True},
]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("class_name", RNNS)
def test_a_batch_of_nothing_gives_nothing(class_name, flags):
    ours, theirs = pair(class_name, **flags)
    assert_same(ours(X[:0]), theirs(X[:0]))
    mask = np.ones((0, TIMESTEPS), bool)
    assert_same(ours(X[:0], mask=mask), theirs(X[:0], mask=mask))


def test_a_step_of_an_empty_batch():
    ours, theirs = pair("SimpleRNNCell")
    assert_same(ours(X[:0, 0], [H[:0]]), tuple(theirs(X[:0, 0], [H[:0]])))


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("class_name", RNNS)
def test_no_timesteps_are_an_error(class_name, flags):
    """Keras' IndexError; here it is a ValueError as well, as for other wrong shapes."""
    for x in (X[:, :0], X[:0, :0]):
        refused_alike(lambda m, x=x: built(m, class_name, **flags)(x))
        with pytest.raises(ValueError, match="at least one timestep"):
            built(cyrnn, class_name, **flags)(x)


@pytest.mark.parametrize("class_name", RNNS)
def test_one_timestep(class_name):
    ours, theirs = pair(class_name, return_sequences=True, return_state=True)
    assert_same(ours(X[:, :1]), theirs(X[:, :1]))


@pytest.mark.parametrize("class_name", RNNS)
def test_going_backwards_gives_the_outputs_in_the_order_of_processing(class_name):
    """Index 0 is the last timestep, and the last output is that of the first."""
    for layer in pair(class_name, go_backwards=True, return_sequences=True, return_state=True):
        outputs, state = (np.asarray(part) for part in layer(X))
        np.testing.assert_array_equal(outputs[:, -1], state)
        layer.go_backwards = False
        np.testing.assert_array_equal(outputs, np.asarray(layer(X[:, ::-1])[0]))
        np.testing.assert_array_equal(outputs[:, :1], np.asarray(layer(X[:, -1:])[0]))


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_a_tuple_only_with_return_state(class_name, flags):
    for layer in pair(class_name, **flags):
        result = layer(X)
        assert isinstance(result, tuple) is flags.get("return_state", False)
        assert not isinstance(result, list)


# ---------------------------------------------------------------- states that are carried on


@pytest.mark.parametrize("class_name", RNNS)
def test_states_are_none_before_build_then_zeros_then_what_a_call_ended_in(class_name):
    for module in (cyrnn, keras):
        assert made(module, class_name, stateful=True).states is None
        layer = built(module, class_name, stateful=True, return_state=True)
        assert len(layer.states) == 1
        np.testing.assert_array_equal(np.asarray(layer.states[0]), np.zeros((BATCH, UNITS), "float32"))
        _, state = layer(X)
        np.testing.assert_array_equal(np.asarray(layer.states[0]), np.asarray(state))
        assert np.asarray(state).any()


@pytest.mark.parametrize("class_name", RNNS)
def test_carried_states_are_no_weights(class_name):
    ours, theirs = both(lambda m: built(m, class_name, stateful=True))
    for layer in (ours, theirs):
        assert len(layer.weights) == len(layer.trainable_weights) == len(layer.get_weights()) == 3
    assert ours.count_params() == theirs.count_params()


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("reset", ["reset_state", "reset_states"])
def test_both_names_of_resetting_write_zeros(class_name, reset):
    for layer in pair(class_name, stateful=True):
        first = np.asarray(layer(X))
        assert not np.allclose(np.asarray(layer(X)), first)
        getattr(layer, reset)()
        assert not np.asarray(layer.states[0]).any()
        np.testing.assert_array_equal(np.asarray(layer(X)), first)


@pytest.mark.parametrize("class_name", RNNS)
def test_resetting_a_layer_that_carries_nothing_does_nothing(class_name):
    for layer in pair(class_name):
        assert layer.reset_state() is None
        assert layer.states is None


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("batch", [1, 3, 7])
def test_another_batch_than_the_carried_one_is_refused_with_both_sizes(class_name, batch):
    layer = pair(class_name, stateful=True)[0]
    layer(X)
    before = layer.states[0].copy()
    x = np.ones((batch, TIMESTEPS, FEATURES), "float32")
    message = refused_alike(lambda m: built(m, class_name, stateful=True)(x))
    assert str(batch) in message and str(BATCH) in message
    with pytest.raises(ValueError, match=f"{BATCH}.*{batch}"):
        layer(x)
    np.testing.assert_array_equal(layer.states[0], before)


@pytest.mark.parametrize("class_name", RNNS)
def test_a_stateful_layer_needs_to_know_its_batch_when_it_is_built(class_name):
    refused_alike(lambda m: made(m, class_name, stateful=True).build((None, TIMESTEPS, FEATURES)))


@pytest.mark.parametrize("class_name", RNNS)
def test_carried_states_go_on_over_sequences_of_other_lengths(class_name):
    ours, theirs = pair(class_name, stateful=True, return_sequences=True)
    for x in (X, X[:, :1], np.concatenate([X, X], axis=1)):
        assert_same(ours(x), theirs(x))
