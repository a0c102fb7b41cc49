"""Rules of dropout: when it is applied, which masks are drawn, how long they last, and where the seed goes."""

import json

import numpy as np
import pytest
from parity.rules import BATCH, FEATURES, UNITS, X, both, built, made
from parity.twins import assert_same, flat, from_keras_json, keras_json, same_weights, twins

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
RNNS = ["RNN", "SimpleRNN"]
H = np.random.default_rng(1).standard_normal((BATCH, UNITS)).astype("float32")
RATES = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 5}


def maker(class_name, **options):
    """A function from module to the layer, whose cell has these options."""

    def make(module):
        if class_name == "RNN":
            return module.layers.RNN(module.layers.SimpleRNNCell(UNITS, **options))
        return made(module, class_name, **options)

    return make


def pair(class_name, **options):
    shape = (BATCH, FEATURES) if class_name == "SimpleRNNCell" else X.shape
    return twins(maker(class_name, **options), shape, np.random.default_rng(2))


def seed_state(cell):
    """The seed and the number of draws so far."""
    state = cell.seed_generator.state
    return np.asarray(getattr(state, "value", state)).tolist()


# ---------------------------------------------------------------- the masks


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["dropout", "recurrent_dropout"])
def test_a_mask_holds_zeros_and_what_makes_up_for_them(kind, dtype, rate):
    """1 / (1 - rate) where it keeps; a rate of 1 keeps nothing. The bits are those of Keras on NumPy."""
    ours, theirs = both(lambda m: built(m, "SimpleRNNCell", **{kind: rate}, seed=3, dtype=dtype))
    step = np.zeros((BATCH, {"dropout": FEATURES, "recurrent_dropout": UNITS}[kind]), dtype)
    masks = [getattr(cell, f"get_{kind}_mask")(step) for cell in (ours, theirs)]
    assert_same(*masks, tolerance=0)
    assert set(np.unique(masks[0])) <= {0.0, np.ones((), dtype) / (1 - rate) if rate < 1 else 0.0}


def test_no_rate_no_mask():
    for cell in both(lambda m: built(m, "SimpleRNNCell")):
        assert cell.get_dropout_mask(X[:, 0]) is None
        assert cell.get_recurrent_dropout_mask(H) is None


@pytest.mark.parametrize("class_name", RNNS)
def test_one_mask_serves_all_timesteps_of_a_sequence(class_name):
    """A layer that only hands its inputs on shows the mask: every timestep loses the same features."""
    options = {
        "activation": None,
        "use_bias": False,
        "recurrent_initializer": "zeros",
        "kernel_initializer": "identity",
    }

    def make(module):
        cell = module.layers.SimpleRNNCell(FEATURES, dropout=0.5, seed=2, **options)
        simple = module.layers.SimpleRNN(FEATURES, dropout=0.5, seed=2, return_sequences=True, **options)
        return simple if class_name == "SimpleRNN" else module.layers.RNN(cell, return_sequences=True)

    for layer in both(make):
        outputs = [np.asarray(layer(np.ones_like(X), training=True)) for _ in range(2)]
        for output in outputs:
            np.testing.assert_array_equal(output, np.repeat(output[:, :1], X.shape[1], axis=1))
        assert not np.array_equal(*outputs)  # another call, another mask


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, RATES], ids=str)
@pytest.mark.parametrize("class_name", RNNS)
def test_training_draws_one_number_per_rate_and_call(class_name, rates):
    ours, theirs = pair(class_name, **{"seed": 5, **rates})
    for calls in range(1, 4):
        assert_same(ours(X, training=True), np.asarray(theirs(X, training=True)))
        assert seed_state(ours.cell) == seed_state(theirs.cell) == [5, calls * len(rates.keys() - {"seed"})]


@pytest.mark.parametrize("class_name", RNNS)
def test_inference_draws_nothing(class_name):
    """Keras draws masks that nobody uses."""
    ours, theirs = pair(class_name, **RATES)
    assert_same(ours(X), np.asarray(theirs(X)))
    assert seed_state(ours.cell) == [5, 0]
    assert seed_state(theirs.cell) == [5, 2]


@pytest.mark.parametrize("class_name", RNNS)
def test_a_run_leaves_no_mask_behind(class_name):
    """So a step of the cell draws its own, the next of the stream."""
    ours, theirs = pair(class_name, **RATES)
    for _ in range(2):
        assert_same(ours(X, training=True), np.asarray(theirs(X, training=True)))
        assert_same(ours.cell(X[:, 0], H, training=True), tuple(theirs.cell(X[:, 0], H, training=True)))
        for cell in (ours.cell, theirs.cell):
            cell.reset_dropout_mask()
            cell.reset_recurrent_dropout_mask()


@pytest.mark.parametrize("training", [None, False, 0, True, 1, 2, np.True_, np.False_])
@pytest.mark.parametrize("class_name", ["SimpleRNNCell", *RNNS])
def test_any_truth_value_says_whether_it_is_training(class_name, training):
    ours, theirs = pair(class_name, **RATES)
    arguments = (X[:, 0], H) if class_name == "SimpleRNNCell" else (X,)
    trained, trained_theirs, calm = (
        flat(result)[0]
        for result in (ours(*arguments, training=training), theirs(*arguments, training=training), ours(*arguments))
    )
    assert_same(trained, trained_theirs)
    assert np.array_equal(trained, calm) is not bool(training)


@pytest.mark.parametrize("class_name", RNNS)
def test_without_an_argument_it_is_no_training(class_name):
    ours, theirs = pair(class_name, **RATES)
    assert_same(ours(X), np.asarray(theirs(X, training=False)))


def test_a_model_s_training_is_its_layers():
    def make(module):
        return module.Sequential([module.Input(X.shape[1:]), module.layers.SimpleRNN(UNITS, **RATES)])

    ours, theirs = both(make)
    same_weights(ours, theirs, np.random.default_rng(3))
    assert_same(ours(X, training=True), np.asarray(theirs(X, training=True)))
    assert not np.array_equal(ours(X, training=True), ours(X))
    np.testing.assert_array_equal(ours(X), ours.predict(X))


# ---------------------------------------------------------------- a cell called directly


def test_the_masks_of_a_cell_last_until_they_are_reset_one_by_one():
    ours, theirs = pair("SimpleRNNCell", **RATES)
    seen = []
    for reset in (None, None, "reset_dropout_mask", "reset_recurrent_dropout_mask", None):
        for cell in (ours, theirs):
            if reset:
                getattr(cell, reset)()
        results = [cell(X[:, 0], H, training=True) for cell in (ours, theirs)]
        assert_same(*map(tuple, results))
        seen.append(results[0][0])
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[3], seen[4])
    assert not np.array_equal(seen[1], seen[2]) and not np.array_equal(seen[2], seen[3])


@pytest.mark.parametrize("kind", ["dropout", "recurrent_dropout"])
def test_another_batch_gets_other_masks(kind):
    """Keras keeps the old one, which does not broadcast."""
    ours, theirs = pair("SimpleRNNCell", **{kind: 0.5}, seed=5)
    for cell in (ours, theirs):
        cell(X[:, 0], H, training=True)
    x, h = np.ones((3, FEATURES), "float32"), np.ones((3, UNITS), "float32")
    with pytest.raises(ValueError, match="broadcast"):
        theirs(x, h, training=True)
    assert ours(x, h, training=True)[0].shape == (3, UNITS)
    assert seed_state(ours) == [5, 2]


@pytest.mark.parametrize("class_name", RNNS)
def test_a_run_that_failed_has_no_part_in_the_next(class_name):
    """Keras keeps the masks of the run that failed, and uses them once more."""
    ours, theirs = pair(class_name, **RATES)
    fresh, _ = pair(class_name, **RATES)
    fresh(X, training=True)
    second = fresh(X, training=True)
    first = np.asarray(pair(class_name, **RATES)[1](X, training=True))
    for layer in (ours, theirs):
        activation = layer.cell.activation
        layer.cell.activation = fails
        with pytest.raises(RuntimeError):
            layer(X, training=True)
        layer.cell.activation = activation
    assert_same(np.asarray(theirs(X, training=True)), first)
    assert_same(ours(X, training=True), second)


def fails(x):
    raise RuntimeError("as any function may")


# ---------------------------------------------------------------- the seed


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", *RNNS])
def test_the_state_of_the_seed_is_no_weight(class_name):
    """In Keras it is a variable that is not among the weights."""
    ours, theirs = pair(class_name, **RATES)
    assert len(ours.weights) == len(ours.get_weights()) == len(theirs.weights) == len(theirs.get_weights()) == 3
    assert len(theirs.variables) == 4


def test_the_seed_of_a_cell_in_an_rnn_is_saved():
    ours, theirs = pair("RNN", **RATES)
    texts = ours.to_json(), keras_json(theirs)
    for text in texts:
        assert json.loads(text)["config"]["cell"]["config"]["seed"] == 5
        for read in (cyrnn.from_json(text), from_keras_json(text)):
            read.set_weights(ours.get_weights())
            assert seed_state(read.cell) == [5, 0]
    assert_same(cyrnn.from_json(texts[1]).cell.draw_dropout_masks(2, 4), ours.cell.draw_dropout_masks(2, 4))


def test_the_seed_of_a_simple_rnn_is_saved():
    """Keras leaves it out of the config, so its own are lost; it reads ours."""
    ours, theirs = pair("SimpleRNN", **RATES)
    assert "seed" not in theirs.get_config()
    assert from_keras_json(keras_json(theirs)).cell.seed is None
    assert cyrnn.from_json(keras_json(theirs)).seed is None
    for read in (cyrnn.from_json(ours.to_json()), from_keras_json(ours.to_json())):
        read.set_weights(ours.get_weights())
        assert read.cell.seed == 5
        assert_same(np.asarray(read(X, training=True)), pair("SimpleRNN", **RATES)[0](X, training=True))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_the_seed_decides(seed):
    options = {**RATES, "seed": seed}
    (ours, theirs), (again, _) = pair("SimpleRNN", **options), pair("SimpleRNN", **options)
    result = ours(X, training=True)
    assert_same(result, np.asarray(theirs(X, training=True)))
    np.testing.assert_array_equal(result, again(X, training=True))
    other, _ = pair("SimpleRNN", **{**RATES, "seed": seed ^ 1})
    assert not np.array_equal(result, other(X, training=True))
