"""One row on several threads: they divide the units of each timestep, and the results are the same.

`CYRNN_SHARED_CALLS=1000000 pytest tests/test_shared_rows.py -k many_calls` makes so many calls.
"""

import copy
import os
import signal
import threading
import time

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn.layers import GRU, LSTM, RNN, Dense, Embedding, GRUCell, SimpleRNN

pytestmark = pytest.mark.thread_unsafe(reason="sets the number of threads of the process")

THREADS = (1, 2, 3, 8)
TIMESTEPS = 130  # three blocks, of which the last one is short
FEATURES = 5
CALLS = int(os.environ.get("CYRNN_SHARED_CALLS", "1000"))

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
    return outputs_of(layer.stepper(), x)


def outputs_of(stepper, x):
    return np.stack([stepper.step(x[:, t]) for t in range(x.shape[1])], axis=1)


def flat(states):
    return np.concatenate(states if isinstance(states, list) else [states], axis=1)


@KINDS
@pytest.mark.parametrize("timesteps", [2, TIMESTEPS])
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


@KINDS
def test_steps(make):
    layer, x = make(return_sequences=True), row(20)
    expected = layer(x)
    alone = layer.stepper()
    np.testing.assert_array_equal(outputs_of(alone, x), expected)
    for threads in THREADS:
        stepper = layer.stepper(threads=threads)
        assert stepper.threads == threads
        for _ in range(2):  # helpers may be asleep the first time
            np.testing.assert_array_equal(outputs_of(stepper, x), expected)
            np.testing.assert_array_equal(flat(stepper.state), flat(alone.state))
            stepper.reset()


def test_copies_and_new_states_of_steppers():
    layer, x = LSTM(140, return_sequences=True), row(20)
    expected = layer(x)
    stepper = layer.stepper(threads=3)
    outputs_of(stepper, x[:, :10])
    again = copy.copy(stepper)
    assert again.threads == 3
    np.testing.assert_array_equal(outputs_of(again, x[:, 10:]), expected[:, 10:])
    again.state = stepper.state
    np.testing.assert_array_equal(outputs_of(again, x[:, 10:]), expected[:, 10:])


def test_steppers_of_several_rows_or_few_units_take_threads_too():
    for layer, batch in ((GRU(140, return_sequences=True), 2), (SimpleRNN(8, return_sequences=True), 1)):
        x = np.repeat(row(20), batch, axis=0)
        expected = layer(x)
        np.testing.assert_array_equal(outputs_of(layer.stepper(batch, threads=2), x), expected)


@pytest.mark.parametrize("threads", [0, -1, 2**40])
def test_wrong_numbers_of_threads(threads):
    layer, x = SimpleRNN(4), row(2)
    layer(x)
    model = cyrnn.Sequential([cyrnn.Input((None, FEATURES)), layer])
    for stepped_one in (layer, model):
        with pytest.raises(ValueError, match=f"threads must be between 1 and .*, got {threads}"):
            stepped_one.stepper(threads=threads)
        with pytest.raises(TypeError, match="threads must be a positive integer, got 1.5"):
            stepped_one.stepper(threads=1.5)


def test_steppers_at_the_same_time():
    """One of them has the helpers at a moment, and the others compute alone."""
    layers = [GRU(140, return_sequences=True), SimpleRNN(300, return_sequences=True), LSTM(132, return_sequences=True)]
    x = row(200)
    expected = [layer(x) for layer in layers]
    found = [None] * len(layers)

    def stream(number):
        found[number] = outputs_of(layers[number].stepper(threads=3), x)

    streams = [threading.Thread(target=stream, args=(number,)) for number in range(len(layers))]
    for thread in streams:
        thread.start()
    for thread in streams:
        thread.join()
    np.testing.assert_equal(found, expected)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signals to a thread")
def test_signals_while_a_step_is_shared():
    layer, x = SimpleRNN(300, return_sequences=True), row(200)
    expected, handled = layer(x), []
    before = signal.signal(signal.SIGINT, lambda *_: handled.append(threading.current_thread()))
    done = threading.Event()

    def send():
        while not done.wait(0.001):
            os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        stepper = layer.stepper(threads=2)
        while not handled:
            np.testing.assert_array_equal(outputs_of(stepper, x), expected)
            stepper.reset()
    finally:
        done.set()
        sender.join()
        signal.signal(signal.SIGINT, before)
    assert set(handled) == {threading.main_thread()}


def test_models():
    inputs = cyrnn.Input((None,), dtype="int32")
    hidden = RNN([GRUCell(140), GRUCell(130)], return_sequences=True)(Embedding(9, 8)(inputs))
    model = cyrnn.Model(inputs, Dense(3)(SimpleRNN(300)(hidden)))
    tokens = np.random.default_rng(3).integers(0, 9, (1, TIMESTEPS))
    expected, _ = same_for_any_number_of_threads(lambda: [model(tokens), model.predict(tokens)])
    stepper = model.stepper(threads=3)
    for t in range(TIMESTEPS):
        last = stepper.step(tokens[:, t])
    np.testing.assert_array_equal(last, expected)


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


def test_many_calls():
    """Calls and steppers in a random order, of a random number of timesteps and threads, some after a pause."""
    layers = [
        SimpleRNN(256, return_sequences=True),
        LSTM(128, return_sequences=True),
        GRU(148, return_sequences=True),
        GRU(148, reset_after=False, return_sequences=True),
    ]
    x, rng = row(60), np.random.default_rng(5)
    expected = [layer(x) for layer in layers]
    for _ in range(CALLS):
        number, threads, timesteps = rng.integers(len(layers)), int(rng.integers(1, 5)), rng.integers(1, 61)
        if rng.integers(500) == 0:
            time.sleep(0.001)  # so that helpers fall asleep
        if rng.integers(4) > 0:
            cyrnn.set_num_threads(threads)
            found = layers[number](x[:, :timesteps])
        else:
            found = outputs_of(layers[number].stepper(threads=threads), x[:, :timesteps])
        np.testing.assert_array_equal(found, expected[number][:, :timesteps])


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
    stepper = layer.stepper(threads=3)
    outputs_of(stepper, x[:, :9])
    child = os.fork()
    if child == 0:
        right = [np.array_equal(layer(x), expected) for _ in range(5)]
        right.append(np.array_equal(outputs_of(stepper, x[:, 9:])[:, -1], expected))
        os._exit(0 if all(right) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(outputs_of(stepper, x[:, 9:])[:, -1], expected)


# A call that takes long enough that it looks for signals.
IN_THE_MIDDLE = """
import os, signal
import numpy as np
import cyrnn
from cyrnn.layers import GRU, SimpleRNN
layer = {layer}
rng = np.random.default_rng(0)
x = rng.standard_normal((1, 18_000_000 // layer.units, 5), np.float32)
cyrnn.set_num_threads(1)
expected, first = layer(x), layer(x[:, :50])
cyrnn.set_num_threads(3)
layer(x[:, :50])
came = []
def handler(*_):
    if not came:
        came.append(None)
        {action}
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
"""
FORKED = """
found = layer(x)
while not came:
    found = layer(x)
same = np.array_equal(found, expected) and np.array_equal(layer(x[:, :50]), first)
if child == 0:
    os._exit(0 if same else 1)
print(same, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
INTERRUPTED = """
try:
    while True:
        layer(x)
except KeyboardInterrupt:
    print(np.array_equal(layer(x[:, :50]), first))
"""
needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no signals of timers")


@needs_alarms
@pytest.mark.parametrize("layer", ["SimpleRNN(300)", "GRU(160, reset_after=False)"])
def test_a_fork_in_the_middle_of_a_call(layer):
    """The child has no helpers, and its call waits for none."""
    code = IN_THE_MIDDLE.format(layer=layer, action="global child; child = os.fork()") + FORKED
    assert run_python(code, CYRNN_ENGINE="simd").stdout == "True 0\n"


@needs_alarms
@pytest.mark.parametrize("layer", ["SimpleRNN(300)", "GRU(160, reset_after=False)"])
def test_an_interrupt_in_the_middle_of_a_call(layer):
    code = IN_THE_MIDDLE.format(layer=layer, action="raise KeyboardInterrupt") + INTERRUPTED
    assert run_python(code, CYRNN_ENGINE="simd").stdout == "True\n"
