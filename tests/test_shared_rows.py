"""One row on several threads: they divide the units of each timestep, and the results are the same."""

import os
import threading

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import GRU, LSTM, RNN, Dense, Embedding, GRUCell, SimpleRNN

pytestmark = pytest.mark.thread_unsafe(reason="sets the number of threads of the process")

THREADS = (1, 2, 3, 8)
TIMESTEPS = 130  # three blocks, of which the last one is short
FEATURES = 5

# Enough units for the threads to share, and some that fill no panel.
LAYERS = {
    "SimpleRNN": lambda **options: SimpleRNN(300, **options),
    "float64": lambda **options: SimpleRNN(260, dtype="float64", **options),
    "relu": lambda **options: SimpleRNN(384, activation="relu", use_bias=False, **options),
    "softmax": lambda **options: SimpleRNN(300, activation="softmax", **options),
    "LSTM": lambda **options: LSTM(132, **options),
    "LSTM with other activations": lambda **options: LSTM(
        140, activation="elu", recurrent_activation="hard_sigmoid", **options
    ),
    "GRU": lambda **options: GRU(160, **options),
    "GRU that resets before": lambda **options: GRU(160, reset_after=False, **options),
}
KINDS = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    before = cyrnn.get_num_threads()
    yield
    cyrnn.set_num_threads(before)


def same_for_any_number_of_threads(call):
    """The arrays that a call returns, which must be the same, bit for bit, for any number of threads."""
    cyrnn.set_num_threads(1)
    expected = [np.asarray(array) for array in call()]
    assert all(np.isfinite(array).all() and array.any() for array in expected)
    for threads in THREADS[1:]:
        cyrnn.set_num_threads(threads)
        for _ in range(2):  # helpers may be asleep the first time
            for found, wanted in zip(call(), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
    return expected


def row(timesteps=TIMESTEPS, dtype=np.float32):
    return np.random.default_rng(timesteps).standard_normal((1, timesteps, FEATURES)).astype(dtype)


def stepped(layer, x):
    """The outputs of each timestep, by a stepper: it computes a timestep at a time, on one thread."""
    stepper = layer.stepper()
    return np.stack([stepper.step(x[:, t]) for t in range(x.shape[1])], axis=1)


@KINDS
@pytest.mark.parametrize("timesteps", [2, 49, TIMESTEPS])
def test_outputs_and_states(make, timesteps):
    layer, x = make(return_sequences=True, return_state=True), row(timesteps)
    outputs, *_ = same_for_any_number_of_threads(lambda: layer(x))
    np.testing.assert_array_equal(outputs, stepped(layer, x.astype(outputs.dtype)))


@KINDS
def test_last_outputs_backwards_from_given_states(make):
    layer, x = make(go_backwards=True), row()
    layer(x)
    states = [
        np.random.default_rng(1).standard_normal((1, size)).astype(layer.compute_dtype)
        for size in np.ravel(layer.state_size)
    ]
    same_for_any_number_of_threads(lambda: [layer(x, initial_state=states)])


@KINDS
def test_masks(make):
    layer, x = make(return_sequences=True), row()
    mask = np.ones((1, TIMESTEPS), bool)
    mask[0, [3, 50, 51, 52, 99]] = mask[0, 120:] = False
    x[~mask] = np.nan
    same_for_any_number_of_threads(lambda: [layer(x, mask=mask)])


@KINDS
def test_gradients(make):
    layer, x = make(return_sequences=True), row()
    dy = np.random.default_rng(2).standard_normal(layer(x).shape)

    def call():
        y, pullback = layer.vjp(x)
        gradients = pullback(dy)
        return [y, gradients.inputs, *gradients.weights]

    same_for_any_number_of_threads(call)


@KINDS
def test_products_of_rounded_operands(make):
    before = cyrnn.get_precision()
    try:
        cyrnn.set_precision("bfloat16")
        layer, x = make(return_sequences=True), row()
        same_for_any_number_of_threads(lambda: [layer(x)])
    finally:
        cyrnn.set_precision(before)


def test_models():
    inputs = cyrnn.Input((None,), dtype="int32")
    hidden = RNN([GRUCell(140), GRUCell(130)], return_sequences=True)(Embedding(9, 8)(inputs))
    model = cyrnn.Model(inputs, Dense(3)(SimpleRNN(300)(hidden)))
    tokens = np.random.default_rng(3).integers(0, 9, (1, TIMESTEPS))
    same_for_any_number_of_threads(lambda: [model(tokens), model.predict(tokens)])


def test_callers_at_the_same_time():
    """One of them has the helpers, and the others compute alone."""
    layers = [SimpleRNN(256 + 8 * number, return_sequences=True) for number in range(4)]
    x = row()
    cyrnn.set_num_threads(1)
    expected = [layer(x) for layer in layers]
    cyrnn.set_num_threads(3)
    wrong = []

    def calls(number):
        for _ in range(60):
            if not np.array_equal(layers[number](x), expected[number]):
                wrong.append(number)

    callers = [threading.Thread(target=calls, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_weights_that_are_replaced_meanwhile():
    """Helpers may hold weights for a while after a call; the next call has the new ones."""
    layer, x = LSTM(140), row()
    layer(x)
    rng = np.random.default_rng(4)
    for _ in range(20):
        layer.set_weights([0.1 * rng.standard_normal(weight.shape) for weight in layer.get_weights()])
        same_for_any_number_of_threads(lambda: [layer(x)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_has_helpers_of_its_own():
    layer, x = SimpleRNN(300), row()
    cyrnn.set_num_threads(1)
    expected = layer(x)
    cyrnn.set_num_threads(3)
    layer(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(np.array_equal(layer(x), expected) for _ in range(5)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(layer(x), expected)
