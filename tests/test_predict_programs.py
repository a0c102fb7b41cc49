"""predict where the layer or model is a program: with the numbers of one call, however the samples are cut."""

import numpy as np
import pytest
from helpers import assert_close

import cyrnn
from cyrnn.engine import plan
from cyrnn.layers import RNN, Bidirectional, Concatenate, Dense, Embedding, Layer, SimpleRNN, SimpleRNNCell
from cyrnn.layers.base import nest

X = np.random.default_rng(1).standard_normal((9, 5, 3)).astype("float32")


class Doubled(Layer):
    def call(self, inputs):
        return 2 * inputs


def of_one_input(last):
    return cyrnn.Sequential([cyrnn.Input((None, 3)), SimpleRNN(20, return_sequences=True), last, Dense(2)])


def of_two_inputs():
    a, b = cyrnn.Input((5, 3)), cyrnn.Input((5, 3))
    return cyrnn.Model([a, b], {"joined": Concatenate()([SimpleRNN(20)(a), SimpleRNN(4)(b)]), "b": Dense(2)(b)})


LAYERS = {
    "a layer": lambda: SimpleRNN(20),
    "a stack": lambda: RNN([SimpleRNNCell(20), SimpleRNNCell(2)], return_state=True),
    "two directions": lambda: Bidirectional(SimpleRNN(20, return_sequences=True)),
    "a model": lambda: of_one_input(SimpleRNN(4, return_sequences=True)),
    "a model with a cut": lambda: of_one_input(Doubled()),
    "two inputs": of_two_inputs,
}


def inputs_of(model, x):
    return [x, x[::-1].copy()] if len(getattr(model, "inputs", [x])) == 2 else x


def assert_same(actual, expected):
    """Of the same bits; the blas engine, whose library rounds by the shape of a product, is only close."""
    for ours, theirs in zip(nest.leaves(actual), nest.leaves(expected), strict=True):
        if plan.engine() == "simd":
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert_close(ours, theirs)


@pytest.mark.parametrize("batch_size", [None, 4, 9, 100])
@pytest.mark.parametrize("name", LAYERS)
def test_predict_has_the_bits_of_a_call_also_for_a_last_batch_of_one_row(name, batch_size):
    model = LAYERS[name]()
    x = inputs_of(model, X)
    expected = model(x)
    for _ in range(2):  # the first finds the program
        found = model.predict(x, batch_size)
        assert type(found) is type(expected)
        assert_same(found, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_one_row_has_the_bits_of_a_call_with_it(name):
    model = LAYERS[name]()
    x = inputs_of(model, X[:1])
    expected = model(x)
    assert_same(model.predict(x), expected)
    assert_same(model.predict(x, batch_size=4), expected)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_out_is_filled_whichever_its_strides(batch_size, order):
    model = of_one_input(SimpleRNN(4, return_sequences=True))
    expected = model(X)
    wide = np.zeros((9, 5, 4), "float32", order)
    found = model.predict(X, batch_size, out=wide[:, :, 1:3])
    assert np.shares_memory(found, wide)
    assert_same(wide[:, :, 1:3], expected)
    assert not wide[:, :, [0, 3]].any()


def test_a_batch_that_does_not_fit_the_program_is_converted_or_refused_as_in_a_call():
    model = of_one_input(SimpleRNN(4, return_sequences=True))
    expected = model.predict(X)
    assert_same(model.predict(X.astype(">f4")), expected)
    with pytest.raises(ValueError, match=r"input .* must have shape \(None, None, 3\), got \(9, 5, 2\)"):
        model.predict(X[:, :, :2])
    with pytest.raises(ValueError, match="as many samples"):
        of_two_inputs().predict([X, X[:4]])


@pytest.mark.parametrize("wrong", [0, -1, 2000, True, 1.5, "two"])
def test_a_wrong_number_of_threads_is_refused_before_anything_runs(wrong):
    model = of_one_input(SimpleRNN(4, return_sequences=True))
    model.predict(X)
    with pytest.raises((ValueError, TypeError), match="num_threads must be"):
        model.predict(X, num_threads=wrong)


@pytest.mark.parametrize("wrong", [0, -3, 2.5, "all"])
def test_a_wrong_batch_size_is_refused(wrong):
    model = of_one_input(SimpleRNN(4, return_sequences=True))
    model.predict(X)
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        model.predict(X, wrong)


def test_without_samples_there_are_no_rows():
    model = of_one_input(SimpleRNN(4, return_sequences=True))
    model.predict(X)
    assert model.predict(X[:0]).shape == (0, 5, 2)


def test_predict_takes_the_weights_and_options_of_the_moment():
    model = cyrnn.Sequential([Embedding(7, 3), SimpleRNN(4), Dense(2)])
    tokens = np.arange(8).reshape(2, 4) % 7
    before = model.predict(tokens)
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert_same(model.predict(tokens), model(tokens))
    assert not np.array_equal(model.predict(tokens), before)
    model.layers[1].go_backwards = True
    backwards = model.predict(tokens)
    assert_same(backwards, model(tokens))
    model.layers[1].go_backwards = False
    assert not np.array_equal(model.predict(tokens), backwards)


def test_a_stateful_model_goes_on_where_the_batch_before_ended():
    model = cyrnn.Sequential([cyrnn.Input(batch_shape=(3, 5, 3)), SimpleRNN(4, stateful=True), Dense(2)])
    expected = np.concatenate([model(X[:3]), model(X[3:6]), model(X[6:])])
    after = model.layers[0].states[0].copy()
    for _ in range(2):
        model.reset_states()
        assert_same(model.predict(X), expected)
        assert_same(model.layers[0].states[0], after)
    with pytest.raises(ValueError, match="multiple of 3"):
        model.predict(X[:3], batch_size=9)
    assert_same(model.layers[0].states[0], after)
