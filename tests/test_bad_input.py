"""Wrong arguments get an error that names the argument, what was expected and what came."""

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import RNN, Activation, Dense, Dropout, Embedding, Input, Masking, SimpleRNN, SimpleRNNCell

X = np.zeros((2, 5, 3), "float32")
H = np.zeros((2, 4), "float32")


class NoCell:
    state_size = 3


class NoState:
    def call(self, inputs, states):
        return inputs, states


@pytest.mark.parametrize("layer", [SimpleRNNCell, SimpleRNN])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"units": 0}, ValueError, "units.*positive.*0"),
        ({"units": -3}, ValueError, "units.*positive.*-3"),
        ({"units": 2.5}, ValueError, "units.*2.5"),
        ({"units": True}, ValueError, "units.*True"),
        ({"units": "3"}, TypeError, "units.*'3'"),
        ({"units": None}, TypeError, "units.*None"),
        ({"activation": "tanhh"}, ValueError, "activation 'tanhh'"),
        ({"activation": 3}, ValueError, "activation.*3"),
        ({"kernel_initializer": "glorot"}, ValueError, "initializer.*'glorot'"),
        ({"kernel_initializer": 3}, ValueError, "initializer.*3"),
        ({"recurrent_regularizer": "l1_l2"}, ValueError, "regularizer.*'l1_l2'"),
        ({"bias_constraint": "nonneg"}, ValueError, "constraint.*'nonneg'"),
        ({"dropout": "0.5"}, TypeError, "dropout.*'0.5'"),
        ({"recurrent_dropout": None}, TypeError, "recurrent_dropout.*None"),
        ({"dropout": float("nan")}, ValueError, "dropout.*nan"),
        ({"seed": 1.5}, ValueError, "seed.*1.5"),
        ({"name": "a/b"}, ValueError, "name.*'a/b'"),
        ({"name": 3}, ValueError, "name.*3"),
        ({"dtype": "float8"}, ValueError, "dtype.*'float8'"),
        ({"dtype": "int32"}, ValueError, "dtype.*'int32'"),
        ({"trainable": 1}, ValueError, "trainable.*1"),
        ({"time_major": True}, ValueError, "Unrecognized.*time_major"),
        ({"weights": [1]}, ValueError, "Unrecognized.*weights"),
    ],
    ids=str,
)
def test_constructor(layer, arguments, error, words):
    with pytest.raises(error, match=words):
        layer(**{"units": 4, **arguments})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda layer: layer(X[0]), ValueError, r"sequences.*\(5, 3\)"),
        (lambda layer: layer(X[None]), ValueError, r"sequences.*\(1, 2, 5, 3\)"),
        (lambda layer: layer(X[:, :0]), ValueError, r"at least one timestep.*\(2, 0, 3\)"),
        (lambda layer: layer(X[:, :0]), IndexError, r"at least one timestep"),
        (lambda layer: layer(X[:, :, :2]), ValueError, "3 features.*got 2"),
        (lambda layer: layer(X.tolist()), ValueError, "sequences must be an array, got list"),
        (lambda layer: layer(None), ValueError, "sequences must be an array, got NoneType"),
        (lambda layer: layer(X.astype(complex)), TypeError, "sequences.*complex128"),
        (lambda layer: layer(X.astype(object)), TypeError, "sequences.*object"),
        (lambda layer: layer(X.astype(str)), TypeError, "sequences"),
        (lambda layer: layer(X, mask=np.ones((2, 4))), ValueError, r"mask.*\(2, 5\).*\(2, 4\)"),
        (lambda layer: layer(X, mask=[[1], [1, 2]]), ValueError, "mask must be an array"),
        (lambda layer: layer(X, mask=np.ones(5)), ValueError, r"mask.*\(2, 5\).*\(5,\)"),
        (lambda layer: layer(X, mask=np.ones((2, 5, 3))), ValueError, r"mask.*\(2, 5, 3\)"),
        (lambda layer: layer(X, mask=np.ones((1, 5))), ValueError, r"mask.*\(1, 5\)"),
        (lambda layer: layer(X, initial_state=H[:, :3]), ValueError, r"initial_state.*\(2, 4\).*\(2, 3\)"),
        (lambda layer: layer(X, initial_state=np.zeros((3, 4))), ValueError, r"initial_state.*\(2, 4\).*\(3, 4\)"),
        (lambda layer: layer(X, initial_state=[H, H]), ValueError, "initial_state.*1 arrays, got 2"),
        (lambda layer: layer(X, initial_state=[]), ValueError, "initial_state.*1 arrays, got 0"),
        (lambda layer: layer(X, initial_state=["a"]), ValueError, "initial_state.*str"),
        (lambda layer: layer.predict(X, batch_size=0), ValueError, "batch_size.*0"),
        (lambda layer: layer.predict(X, batch_size="2"), TypeError, "batch_size.*'2'"),
        (lambda layer: layer.predict(X, num_threads=0), ValueError, "num_threads.*0"),
        (lambda layer: layer.predict(X, out=np.zeros((2, 3), "f4")), ValueError, r"out.*\(2, 4\).*\(2, 3\)"),
        (lambda layer: layer.predict(X, out=np.zeros((2, 4))), ValueError, "out.*float32.*float64"),
        (lambda layer: layer.predict(X, out=[0]), ValueError, "out.*list"),
        (lambda layer: layer.predict(np.float32(3)), ValueError, "x must have a batch axis"),
        (lambda layer: setattr(layer, "kernel", np.zeros((3, 3))), ValueError, r"'kernel'.*\(3, 4\).*\(3, 3\)"),
        (lambda layer: setattr(layer, "trainable", "yes"), ValueError, "trainable.*'yes'"),
    ],
)
def test_a_call_that_fails_changes_nothing(call, error, words):
    layer = SimpleRNN(4, stateful=True)
    before = layer(np.ones_like(X))
    weights, states = layer.get_weights(), [s.copy() for s in layer.states]
    with pytest.raises(error, match=words):
        call(layer)
    np.testing.assert_array_equal(layer.states, states)
    for a, b in zip(layer.weights, weights, strict=True):
        np.testing.assert_array_equal(a, b)
    layer.reset_state()
    np.testing.assert_array_equal(layer(np.ones_like(X)), before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda cell: cell(X, H), ValueError, r"sequence.*\(2, 5, 3\)"),
        (lambda cell: cell(X[:, 0, :2], H), ValueError, "3 features.*got 2"),
        (lambda cell: cell(X[:, 0], H[:, :2]), ValueError, r"states.*\(2, 4\).*\(2, 2\)"),
        (lambda cell: cell(X[:, 0], None), ValueError, "states must be an array"),
        (lambda cell: cell(X[:, 0], []), IndexError, "states"),
        (lambda cell: cell.get_initial_state(), TypeError, "batch_size"),
    ],
)
def test_a_wrong_step(call, error, words):
    cell = SimpleRNNCell(4)
    cell.build((None, 3))
    with pytest.raises(error, match=words):
        call(cell)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RNN(3), ValueError, "cell must have a method `call"),
        (lambda: RNN(NoCell()), ValueError, "cell must have a method `call"),
        (lambda: RNN(NoState()), ValueError, "state_size.*None"),
        (lambda: Dense(0), ValueError, "units.*0"),
        (lambda: Dense(2, lora_rank=2), ValueError, "lora_rank"),
        (lambda: Dense(2)(np.zeros(3, "f4")), ValueError, r"\(batch, ..., 3\).*\(3,\)"),
        (lambda: Dropout(1.5), ValueError, "rate.*1.5"),
        (lambda: Dropout("a"), TypeError, "rate.*'a'"),
        (lambda: Embedding(0, 3), ValueError, "input_dim.*0"),
        (lambda: Embedding(4, 3)(np.array([[0, 4]])), ValueError, "0 to 3.*0 to 4"),
        (lambda: Embedding(4, 3)(np.array([[-1, 2]])), ValueError, "0 to 3.*-1 to 2"),
        (lambda: Activation("nope"), ValueError, "'nope'"),
        (lambda: Masking("a"), ValueError, "'a'"),
        (lambda: Input(), ValueError, "shape"),
        (lambda: SimpleRNN(3).build(()), ValueError, "input_shape"),
        (lambda: SimpleRNN(3).build(None), ValueError, "input_shape.*None"),
        (lambda: SimpleRNN(3).build("abc"), ValueError, "input_shape.*'abc'"),
        (lambda: SimpleRNN(3).call(X), ValueError, "not built"),
        (lambda: Input((3, -1)), ValueError, "-1"),
        (lambda: cyrnn.Sequential([3]), ValueError, "layers.*3"),
        (lambda: SimpleRNN(3, stateful=True).build((None, 5, 3)), ValueError, "stateful.*batch"),
        (lambda: cyrnn.Sequential([Dense(2, name="a"), Dense(3, name="a")]), ValueError, "'a' twice"),
        (lambda: cyrnn.Sequential([Dense(2), Input((3,))]), ValueError, "Input must be the first"),
        (lambda: cyrnn.Sequential([Input((None, None)), SimpleRNN(3)]), ValueError, "last axis"),
        (lambda: cyrnn.from_json("{"), ValueError, "not JSON"),
        (lambda: cyrnn.from_json("3"), ValueError, "expected a JSON object"),
        (lambda: cyrnn.from_json('{"class_name": "LSTM", "config": {"name": "l"}}'), ValueError, "layer 'l'.*'LSTM'"),
        (lambda: cyrnn.from_json("[" * 100_000), ValueError, "not JSON"),
    ],
)
def test_other_wrong_calls(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(("rate", "kept"), [(-0.1, 0.0), (1.5, 1.0), (True, 1.0), (0.25, 0.25)])
def test_rates_are_clamped_as_in_keras(rate, kept):
    assert SimpleRNNCell(2, dropout=rate).dropout == kept
