"""Layers as C: compiled without a warning, and compared with the layer; all activations; streaming."""

import ctypes
import re

import numpy as np
import pytest
from exported import DIGITS, MODELS, TOLERANCE, Network, ends, needs_compiler, sequence, with_weights
from helpers import errors, samples, weights
from reference import ACTIVATIONS as TRUTH

import cyrnn
from cyrnn.engine import plan
from cyrnn.layers import RNN, Dense, SimpleRNN, SimpleRNNCell, StackedRNNCells
from cyrnn.saving import load_model
from cyrnn.saving.c.activations import ACTIVATIONS

ROWWISE = {"softmax", "log_softmax", "sparsemax"}


# ---------------------------------------------------------------- the same numbers


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 7, 33])
@pytest.mark.parametrize("features", [1, 5])
def test_simple_rnn(tmp_path, features, units, dtype):
    layer = SimpleRNN(units, return_sequences=True, use_bias=units != 7, dtype=dtype)
    layer.build((None, None, features))
    layer.set_weights(weights(np.random.default_rng(units), features, units, dtype, bias=units != 7))
    network = Network(tmp_path, layer)
    assert (network.features, network.units, network.dtype) == (features, units, dtype)
    x = sequence(network, 20)
    np.testing.assert_allclose(network.forward(x), layer(x[None])[0], rtol=0, atol=TOLERANCE[dtype])


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", MODELS)
def test_models(tmp_path, case, dtype):
    layer = with_weights(MODELS[case](dtype), 5)
    network = Network(tmp_path, layer)
    x = sequence(network)
    called = RNN(layer, dtype=dtype) if isinstance(layer, (SimpleRNNCell, StackedRNNCells)) else layer
    expected = ends(called, x)
    tolerance = TOLERANCE[dtype] * max(1, np.abs(expected).max())
    np.testing.assert_allclose(network.forward(x), expected, rtol=0, atol=tolerance)


def heads(folder, dtype, cases):
    """For each case, an activation and a row, what a head returns that has the row as its bias; all in one C file.

    As C, and as the layer.
    """
    stem = SimpleRNN(1, dtype=dtype)
    x = cyrnn.Input((None, 1), dtype=dtype)
    h, layers = stem(x), [Dense(len(row), name, dtype=dtype) for name, row in cases]
    model = with_weights(cyrnn.Model(x, [layer(h) for layer in layers]), 1)
    for layer, (_, row) in zip(layers, cases, strict=True):
        layer.set_weights([np.zeros((1, len(row))), row])
    with np.errstate(all="ignore"):
        found = Network(folder, model).output()
        return [(got, np.asarray(layer(np.zeros((1, 1), dtype)))[0]) for got, layer in zip(found, layers, strict=True)]


def test_c_has_every_activation_of_the_engine():
    assert sorted(plan.ACTIVATIONS) == sorted(ACTIVATIONS)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_are_as_exact_as_the_engine_s(tmp_path, dtype):
    names, row = sorted(ACTIVATIONS - ROWWISE), samples(dtype)[::9]
    for name, (got, _) in zip(names, heads(tmp_path, dtype, [(name, row) for name in names]), strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            truth = TRUTH[name](row.astype("f8"))
            finite = np.isfinite(truth.astype(dtype))
            assert errors(got, truth)[finite].max() <= {"float32": 4, "float64": 8}[dtype], name
            np.testing.assert_array_equal(got[~finite], truth.astype(dtype)[~finite], name)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("row", [[0.5, np.nan, -1], [np.inf, 1, 2], [-np.inf, 1, 0.5], [np.inf, -np.inf], [-np.inf]])
def test_nan_and_infinity(tmp_path, row, dtype):
    cases = [(name, np.array(row, dtype)) for name in sorted(ACTIVATIONS)]
    for case, (got, expected) in zip(cases, heads(tmp_path, dtype, cases), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=str(case))


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_rows(tmp_path, dtype):
    cases = []
    for units in (1, 2, 9, 3000):
        rng = np.random.default_rng(units)
        rows = (np.repeat(0.7, units), rng.normal(0, 1, units), rng.integers(-2, 3, units) * 30.0)
        cases += [(name, row.astype(dtype)) for name in sorted(ROWWISE) for row in rows]
    tolerance = {"float32": 4e-7, "float64": 4e-15}[dtype]
    for (name, row), (got, expected) in zip(cases, heads(tmp_path, dtype, cases), strict=True):
        truth = TRUTH[name](row.astype("f8"))
        absolute = tolerance if name == "sparsemax" else 1e-16  # of a difference; and of the truth's own errors
        said = f"{name} of {len(row)}"
        np.testing.assert_allclose(got, truth, rtol=tolerance, atol=absolute, err_msg=said)
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=said)


@needs_compiler
def test_a_model_that_keras_trained(tmp_path):
    model = load_model(DIGITS / "digits.keras")
    network = Network(tmp_path, model, "digits")
    with np.load(DIGITS / "digits.npz", allow_pickle=False) as arrays:
        x, expected = arrays["x"][:100].astype("f4") / 16, arrays["keras_outputs"][:100]
    for sample, output in zip(x, expected, strict=True):
        network.init()
        np.testing.assert_allclose(network.forward(sample)[-1], output, rtol=0, atol=1e-6)


@needs_compiler
def test_other_initial_states_and_a_cell_that_is_there_twice(tmp_path):
    class Begins(SimpleRNNCell):
        def get_initial_state(self, batch_size=None):
            return [np.full((batch_size, self.units), 0.25, "f4") * np.arange(self.units, dtype="f4")]

    cell = Begins(5)
    layer = with_weights(RNN([cell, cell]), 5)
    network = Network(tmp_path, layer)
    x = sequence(network)
    np.testing.assert_allclose(network.forward(x), ends(layer, x), rtol=0, atol=1e-6)
    assert "the initial state of its layers" in network.text
    assert len(re.findall("^static const float net_kernel", network.text, re.M)) == 1


@needs_compiler
def test_a_stateful_layer_begins_anew(tmp_path):
    layer = with_weights(SimpleRNN(4, stateful=True), 3, batch=1)
    x = np.random.default_rng(0).standard_normal((1, 6, 3)).astype("f4")
    first = layer(x)
    network = Network(tmp_path, layer)
    np.testing.assert_allclose(network.forward(x[0])[-1], first[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(network.forward(x[0])[-1], layer(x)[0], rtol=0, atol=1e-6)


# ---------------------------------------------------------------- streaming


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_have_the_bits_of_the_whole(tmp_path, dtype):
    network = Network(tmp_path, with_weights(MODELS["a classifier"](dtype), 5))
    x = sequence(network, 30)
    whole, state = network.forward(x), network.state.copy()

    network.init()
    chunks = [network.forward(part) for part in np.split(x, [1, 1, 8, 21])]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    np.testing.assert_array_equal(network.state, state)

    network.init()
    np.testing.assert_array_equal([network.step(row) for row in x], whole)

    network.init()
    network.call("step", network.state, x[0], None)  # without outputs
    network.call("forward", network.state, x[1:], ctypes.c_size_t(29), None)
    network.call("forward", network.state, None, ctypes.c_size_t(0), None)
    np.testing.assert_array_equal(network.output(), whole[-1])
    np.testing.assert_array_equal(network.state, state)


@needs_compiler
@pytest.mark.parametrize("activation", ["tanh", "softmax"])
def test_x_and_output_may_be_the_same_memory(tmp_path, activation):
    network = Network(tmp_path, with_weights(SimpleRNN(5, activation), 7))
    assert "x and outputs may begin at the same place" in network.text
    x = sequence(network)
    whole = network.forward(x)
    for offset in (0, 2, 7):  # of the output in the memory of x, and behind it
        network.init()
        for row, expected in zip(x, whole, strict=True):
            memory = np.concatenate([row, np.zeros(5, "f4")])
            network.call("step", network.state, memory, memory[offset:])
            np.testing.assert_array_equal(memory[offset : offset + 5], expected)
    network.init()
    memory = x.copy()
    network.call("forward", network.state, memory, ctypes.c_size_t(len(x)), memory)
    np.testing.assert_array_equal(memory.ravel()[: whole.size], whole.ravel())
