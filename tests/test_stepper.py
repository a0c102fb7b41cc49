"""Steppers: one timestep at a time, with the bits of whole sequences."""

import threading
import tracemalloc

import numpy as np
import pytest

from cyrnn import layers
from cyrnn.engine.runner import Runner
from cyrnn.layers import RNN, Bidirectional, Dense, SimpleRNN, SimpleRNNCell, StackedRNNCells

rng = np.random.default_rng(7)


def sequences(batch, timesteps, features, dtype=np.float32):
    return rng.standard_normal((batch, timesteps, features)).astype(dtype)


def built(layer, features=5):
    layer.build((None, None, features))
    layer.set_weights([w + rng.uniform(-0.1, 0.1, w.shape).astype(w.dtype) for w in layer.get_weights()])
    return layer


LAYERS = {
    "SimpleRNN": lambda: SimpleRNN(33, return_sequences=True),
    "few units": lambda: SimpleRNN(3, return_sequences=True, use_bias=False, activation="relu"),
    "softmax": lambda: SimpleRNN(9, return_sequences=True, activation="softmax"),
    "float64": lambda: SimpleRNN(12, return_sequences=True, dtype="float64"),
    "RNN": lambda: RNN(SimpleRNNCell(16), return_sequences=True),
    "stack": lambda: RNN([SimpleRNNCell(20), SimpleRNNCell(7), SimpleRNNCell(40)], return_sequences=True),
    "stack of stacks": lambda: RNN(
        [StackedRNNCells([SimpleRNNCell(6), SimpleRNNCell(5)]), SimpleRNNCell(4)], return_sequences=True
    ),
}
ENGINES = [("simd", None), ("simd", "generic"), ("blas", None)]


@pytest.fixture(params=ENGINES, ids=["simd", "simd-generic", "blas"])
def engine(request):
    name, isa = request.param
    with pytest.MonkeyPatch.context() as environment:  # before the test's threads begin, where it runs in several
        environment.setenv("CYRNN_ENGINE", name)
        if isa:
            environment.setenv("CYRNN_ISA", isa)
        yield


@pytest.mark.parametrize("batch", [1, 2, 3, 13, 100])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_steps_have_the_bits_of_the_whole_sequence(engine, make, batch):
    layer = built(make())
    x = sequences(batch, 20, 5, layer.dtype)
    expected = layer(x)
    stepper = layer.stepper(batch)
    out = np.empty(expected[:, 0].shape, expected.dtype)
    for t in range(20):
        if t % 2:
            assert stepper.step(x[:, t], out=out) is out
        else:
            out = stepper.step(np.ascontiguousarray(x[:, t]))
        np.testing.assert_array_equal(out, expected[:, t])


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_narrow_policies_return_what_the_layer_returns(policy):
    layer = built(SimpleRNN(6, return_sequences=True, dtype=policy))
    x = sequences(2, 9, 5)
    stepper, out = layer.stepper(2), np.empty((2, 6), np.float16)
    steps = [stepper.step(x[:, t], out).copy() for t in range(9)]
    np.testing.assert_array_equal(np.stack(steps, 1), layer(x))
    assert stepper.state.dtype == np.float16
    with pytest.raises(ValueError, match=r"out must be .*float16, got .*float32"):
        stepper.step(x[:, 0], np.empty((2, 6), np.float32))


def test_a_layer_of_another_dtype_than_its_cell():
    layer = built(RNN(SimpleRNNCell(6, dtype="float64"), return_sequences=True, dtype="float32"))
    x = sequences(2, 9, 5, np.float64)
    stepper = layer.stepper(2)
    steps = [stepper.step(x[:, t]) for t in range(9)]
    np.testing.assert_array_equal(np.stack(steps, 1), layer(x))
    assert steps[0].dtype == np.float32


def test_the_output_may_be_the_inputs_memory():
    layer = built(SimpleRNN(5, return_sequences=True))
    x = sequences(3, 4, 5)
    stepper, block = layer.stepper(3), np.empty((3, 5), np.float32)
    for t in range(4):
        block[:] = x[:, t]
        stepper.step(block, out=block)
        np.testing.assert_array_equal(block, layer(x)[:, t])


@pytest.mark.parametrize("shift", [-14, -5, -1, 1, 3, 5, 14])
def test_the_output_may_overlap_the_input(engine, shift):
    layer = built(RNN([SimpleRNNCell(5), SimpleRNNCell(5)], return_sequences=True))
    x = sequences(3, 4, 5)
    stepper, memory = layer.stepper(3), np.empty(45, np.float32)
    for t in range(4):
        block, out = memory[15:30].reshape(3, 5), memory[15 + shift : 30 + shift].reshape(3, 5)
        block[:] = x[:, t]
        stepper.step(block, out=out)
        np.testing.assert_array_equal(out, layer(x)[:, t])


@pytest.mark.parametrize("shape", [(2, 4), (1, 4), (4,)])
def test_a_stepper_begins_with_a_copy_of_its_initial_state(shape):
    layer = built(SimpleRNN(4))
    begin = np.ones(shape, np.float32)
    stepper = layer.stepper(2, initial_state=begin)
    begin[:] = 7
    stepper.reset()
    np.testing.assert_array_equal(stepper.state, np.ones((2, 4)))


def test_initial_state_and_state():
    layer = built(RNN([SimpleRNNCell(4), SimpleRNNCell(3)], return_sequences=True, return_state=True))
    x, begin = sequences(2, 6, 5), [rng.standard_normal((2, 4)), rng.standard_normal((2, 3))]
    outputs, *states = layer(x, initial_state=begin)
    stepper = layer.stepper(2, initial_state=begin)
    for t in range(6):
        np.testing.assert_array_equal(stepper.step(x[:, t]), outputs[:, t])
    for (state,), got in zip(states, stepper.state, strict=True):
        np.testing.assert_array_equal(got, state)
    got[:] = 99  # a copy
    np.testing.assert_array_equal(stepper.state[1], states[1][0])
    stepper.state = begin
    np.testing.assert_array_equal(stepper.step(x[:, 0]), outputs[:, 0])
    stepper.reset()
    np.testing.assert_array_equal(stepper.state[0], begin[0].astype(np.float32))


@pytest.mark.parametrize("policy", ["mixed_float16", "float32"])
def test_reset_leaves_the_other_rows_to_the_bit(policy):
    layer = built(SimpleRNN(4, return_sequences=True, dtype=policy))
    x = sequences(3, 6, 5)
    stepper, expected = layer.stepper(3), layer(x)
    for t in range(6):
        np.testing.assert_array_equal(stepper.step(x[:, t])[1], expected[1, t])
        stepper.reset(rows=[0, 2])
        stepper.reset(rows=[])


def test_reset_of_some_rows():
    layer = built(SimpleRNN(4, return_sequences=True))
    x = sequences(3, 2, 5)
    stepper = layer.stepper(3)
    stepper.step(x[:, 0])
    before = stepper.state
    stepper.reset(rows=[0, 2])
    assert not stepper.state[[0, 2]].any()
    np.testing.assert_array_equal(stepper.state[1], before[1])
    stepper.reset(np.ones((1, 4)), rows=np.array([False, False, True]))
    np.testing.assert_array_equal(stepper.state, [np.zeros(4), before[1], np.ones(4)])
    stepper.reset(rows=-2)
    assert not stepper.state[1].any()


def test_a_stateful_layer_and_its_steppers_go_separate_ways():
    layer = SimpleRNN(4, stateful=True)
    x = sequences(2, 3, 5)
    layer(x)
    before = layer.states[0].copy()
    stepper = layer.stepper(2)
    assert not stepper.state.any()
    stepper.step(x[:, 0])
    np.testing.assert_array_equal(layer.states[0], before)


def test_new_weights_of_the_layer_leave_a_stepper_as_it_is():
    layer = built(SimpleRNN(4, return_sequences=True))
    x = sequences(1, 3, 5)
    expected, stepper = layer(x), layer.stepper()
    layer.set_weights([w * 0 for w in layer.get_weights()])
    np.testing.assert_array_equal(stepper.step(x[:, 0]), expected[:, 0])
    assert not layer.stepper().step(x[:, 0]).any()


def test_nan_and_infinity_stay_in_their_row():
    layer = built(SimpleRNN(4))
    x = sequences(2, 1, 5)[:, 0]
    x[0, 0] = np.nan
    stepper = layer.stepper(2)
    output = stepper.step(x)
    assert np.isnan(output[0]).all()
    assert np.isfinite(output[1]).all()


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (np.zeros((2, 4), "f"), ValueError, r"x_t must have shape \(2, 5\), got \(2, 4\)"),
        (np.zeros(5, "f"), ValueError, r"x_t must have shape \(2, 5\), got \(5,\)"),
        (np.zeros((2, 1, 5), "f"), ValueError, r"x_t must have shape \(2, 5\), got \(2, 1, 5\)"),
        ([[0.0] * 5] * 2, ValueError, "x_t must be an array"),
        (np.zeros((2, 5), complex), TypeError, "x_t must be an array of real numbers"),
        (np.full((2, 5), "a"), TypeError, "x_t must be an array of real numbers"),
        (None, ValueError, "x_t must be an array"),
    ],
)
def test_wrong_inputs_move_nothing(x, error, match):
    stepper = built(SimpleRNN(4)).stepper(2, initial_state=np.ones((2, 4)))
    with pytest.raises(error, match=match):
        stepper.step(x)
    np.testing.assert_array_equal(stepper.state, np.ones((2, 4)))


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 5), "f"),
        np.empty((2, 4)),
        np.empty((4, 2), "f").T,
        np.broadcast_to(np.float32(0), (2, 4)),
        [[0.0] * 4] * 2,
        "out",
        np.empty((2, 4), ">f4"),
    ],
)
def test_wrong_outs_move_nothing(out):
    stepper = built(SimpleRNN(4)).stepper(2, initial_state=np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"out must be a writeable, C-contiguous array of shape \(2, 4\)"):
        stepper.step(np.zeros((2, 5), "f"), out=out)
    np.testing.assert_array_equal(stepper.state, np.ones((2, 4)))


def test_what_cannot_be_stepped():
    with pytest.raises(ValueError, match="not built yet"):
        SimpleRNN(4).stepper()
    with pytest.raises(ValueError, match="goes backwards"):
        built(SimpleRNN(4, go_backwards=True)).stepper()
    with pytest.raises(ValueError, match="cannot be stepped by the engine"):
        built(SimpleRNN(4, activation=np.tanh)).stepper()
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        built(SimpleRNN(4)).stepper(0)
    with pytest.raises(ValueError, match="states must fit in memory"):
        built(SimpleRNN(4)).stepper(2**62)
    with pytest.raises(ValueError, match=r"initial_state must have shape \(2, 4\), got \(3, 4\)"):
        built(SimpleRNN(4)).stepper(2, initial_state=np.zeros((3, 4)))
    for layer in (Bidirectional(SimpleRNN(4), name="it"), Dense(2, name="it"), SimpleRNNCell(2, name="it")):
        for use in (layer.stepper, lambda layer=layer: layer.__cyrnn_model__):
            with pytest.raises(ValueError, match="layer 'it' has no stepper: an RNN has one, and a Sequential or"):
                use()

    class Doubled(SimpleRNN):
        def call(self, *args, **kwargs):
            return super().call(*args, **kwargs) * 2

    with pytest.raises(ValueError, match="has a `call` of its own"):
        built(Doubled(4)).stepper()


def test_wrong_states():
    stepper = built(RNN([SimpleRNNCell(4), SimpleRNNCell(3)])).stepper(2)
    with pytest.raises(ValueError, match="state must hold 2 arrays, got 1"):
        stepper.state = np.zeros((2, 4))
    with pytest.raises(ValueError, match=r"state must have shape \(2, 3\), got \(2, 4\)"):
        stepper.state = [np.ones((2, 4)), np.ones((2, 4))]
    with pytest.raises(ValueError, match="rows must be rows from 0 to 1, got 2"):
        stepper.reset(rows=2)
    assert not stepper.state[0].any()


@pytest.mark.thread_unsafe(reason="traces the process' memory")
def test_layers_and_rows_that_are_not_there():
    stepper = built(SimpleRNN(4)).stepper(2)
    for layer in (1, -1, 99):
        with pytest.raises(ValueError, match=f"index must be from 0 to 0, got {layer}"):
            stepper.get_state(layer)
        with pytest.raises(ValueError, match=f"index must be from 0 to 0, got {layer}"):
            stepper.set_state(layer, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="from row 1 on"):
        stepper.set_state(0, np.zeros((2, 4)), first_row=1)
    with pytest.raises(TypeError, match="complex"):
        stepper.set_state(0, np.zeros((2, 4), complex))
    with pytest.raises(TypeError):
        Runner(stepper.program, [None], 1)
    with pytest.raises(ValueError, match="weights for its 1 slots are needed, got 2"):
        Runner(stepper.program, [*stepper.packed, None], 1)
    with pytest.raises(TypeError, match="does not support item assignment"):
        stepper.packed[0] = stepper.packed[0]


@pytest.mark.thread_unsafe(reason="traces the memory of the whole process")
def test_a_step_into_out_allocates_nothing():
    stepper = built(SimpleRNN(32)).stepper()
    x, out = np.zeros((1, 5), "f"), np.empty((1, 32), "f")
    step = stepper.step
    step(x, out=out)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step(x, out=out)
        grown, peak = (memory - before for memory in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert grown < 200  # the loop's own number
    assert peak < 1000  # and what NumPy's buffers need


def test_two_threads_cannot_step_one_stepper_at_once():
    layer = built(SimpleRNN(1024), 512)
    stepper, x = layer.stepper(16), np.zeros((16, 512), "f")
    errors, done = [], threading.Event()

    def step():
        while not done.is_set() and not errors:
            try:
                stepper.step(x)
            except RuntimeError as error:
                errors.append(str(error))

    workers = [threading.Thread(target=step) for _ in range(3)]
    timer = threading.Timer(20, done.set)
    timer.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    timer.cancel()
    assert errors
    assert "another thread is using the runner" in errors[0]
    stepper.step(x)  # it is as good as before


def test_many_steppers_of_one_layer_in_many_threads():
    layer = built(SimpleRNN(16, return_sequences=True))
    streams = [sequences(1, 200, 5) for _ in range(8)]
    results = [None] * 8

    def run(index):
        stepper = layer.stepper()
        results[index] = np.stack([stepper.step(streams[index][:, t]) for t in range(200)], 1)

    workers = [threading.Thread(target=run, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for x, result in zip(streams, results, strict=True):
        np.testing.assert_array_equal(result, layer(x))


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("units", [5, 33, 76, 140])
def test_one_row_goes_to_and_fro_with_the_bits_of_its_sequence(name, units):
    """Each step of one row takes its columns in the opposite order."""
    layer = getattr(layers, name)(units, return_sequences=True)
    x = np.random.default_rng(3).standard_normal((1, 7, 9)).astype("f")
    outputs, stepper = layer(x), layer.stepper()
    for begin in (0, 3):  # the second time the first step is one back
        stepper.reset()
        for t in range(7 - begin):
            assert np.array_equal(stepper.step(x[:, t]), outputs[:, t])
