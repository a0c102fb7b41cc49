"""Stacks, both directions, cells and layers of your own: what the engine and the threads must not change."""

import copy
import pickle
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import pairs

import cyrnn
from cyrnn.layers import RNN, Bidirectional, Dense, Layer, SimpleRNN, SimpleRNNCell, StackedRNNCells, TimeDistributed

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 9, 4)).astype("float32")
KEEP = RNG.random((6, 9)) < 0.6
UNITS = (7, 3, 5)


def stack(**options):
    layer = RNN([SimpleRNNCell(units) for units in UNITS], **options)
    layer.build(X.shape)
    return layer


def flat(result):
    return [a for part in result for a in flat(part)] if isinstance(result, (list, tuple)) else [result]


def assert_identical(ours, theirs):
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# ---------------------------------------------------------------- stacks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_stack_has_the_bits_of_its_cells_step_by_step(go_backwards, dtype):
    cells = [SimpleRNNCell(units, dtype=dtype) for units in UNITS]
    layer = RNN(StackedRNNCells(cells, dtype=dtype), True, True, go_backwards, dtype=dtype)
    x = X.astype(dtype)
    outputs, *states = layer(x)
    h = layer.cell.get_initial_state(batch_size=len(x))
    for step in range(x.shape[1]):
        output, h = layer.cell(x[:, -1 - step if go_backwards else step], h)
        np.testing.assert_array_equal(outputs[:, step], output)
    assert_identical(states, h)


def threads_of_this_process():
    """Linux tells how many there are; elsewhere the bits alone are compared."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else None


@pytest.mark.thread_unsafe(reason="sets the process' number of threads, and counts them")
@pytest.mark.parametrize("make", [stack, lambda **options: Bidirectional(stack(**options))])
def test_layers_have_the_same_bits_for_any_number_of_threads(make):
    x = RNG.standard_normal((600, 800, 4)).astype("float32")  # enough for more threads than one
    keep = RNG.random((600, 800)) < 0.7
    layer, results = make(return_sequences=True), []
    for count in (1, 2, 5):
        cyrnn.set_num_threads(count)
        try:
            results.append(layer(x, mask=keep))
        finally:
            cyrnn.set_num_threads(None)
    assert threads_of_this_process() is None or threads_of_this_process() >= 5
    assert_identical(results[1:], results[:1] * 2)


@pytest.mark.parametrize(
    ("options", "batch", "engine"),
    pairs([{"return_sequences": True}, {"go_backwards": True}, {"stateful": True}, {}], [1, 3], ["simd", "blas"]),
)
def test_a_stack_of_few_rows_has_the_bits_of_its_cells_one_by_one(options, batch, engine, monkeypatch):
    """On several threads it goes through time in parts, as a wave."""
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    x = RNG.standard_normal((batch, 601, 40)).astype("float32")
    layer = RNN([SimpleRNNCell(units) for units in (150, 130, 140)], return_state=True, **options)
    expected, states = x[:, ::-1] if options.get("go_backwards") else x, []
    if options.get("stateful"):
        layer(x)
        begin = [state.copy() for state in flat(layer.states)]
    else:
        layer.build(x.shape)
        begin = [RNG.standard_normal((batch, units)).astype("float32") for units in (150, 130, 140)]
    for cell, first in zip(layer.cell.cells, begin, strict=True):
        expected, state = RNN(cell, return_sequences=True, return_state=True)(expected, initial_state=first)
        states.append(state)
    cyrnn.set_num_threads(3)
    try:
        output, *got = layer(x, initial_state=None if options.get("stateful") else begin)
    finally:
        cyrnn.set_num_threads(None)
    np.testing.assert_array_equal(output, expected if options.get("return_sequences") else expected[:, -1])
    assert_identical(got, states)


@pytest.mark.thread_unsafe(reason="traces the memory of the whole process")
def test_a_deep_stack_keeps_two_sequences_at_a_time():
    layer = RNN([SimpleRNNCell(16) for _ in range(12)], return_sequences=True)
    x = np.zeros((64, 500, 16), "float32")
    layer(x[:, :2])
    tracemalloc.start()
    try:
        output = layer(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * output.nbytes


def test_a_masked_stack_keeps_all_its_states_where_it_is_masked():
    layer = stack(return_sequences=True, return_state=True)
    keep = np.ones((6, 9), bool)
    keep[2, 4:] = False
    outputs, *states = layer(X, mask=keep)
    alone, *alone_states = layer(X[2:4, :4])  # a batch of one has a form, and so bits, of its own
    np.testing.assert_array_equal(outputs[2, :4], alone[0])
    np.testing.assert_array_equal(outputs[2, 4:], np.broadcast_to(alone[0, -1:], (5, UNITS[-1])))
    assert_identical([state[2] for state in flat(states)], [state[0] for state in flat(alone_states)])


# ---------------------------------------------------------------- states


def carrying(kind):
    layer = stack(stateful=True) if kind == "stack" else Bidirectional(SimpleRNN(3, stateful=True))
    layer(X)
    return layer


@pytest.mark.parametrize("rows", [2, -1, [0, 3], np.array([5]), np.arange(6) == 4])
@pytest.mark.parametrize("kind", ["stack", "Bidirectional"])
def test_reset_state_of_some_rows(kind, rows):
    layer = carrying(kind)
    before = [state.copy() for state in flat(layer.states)]
    chosen = np.zeros(6, bool)
    chosen[rows] = True
    layer.reset_state(batch_index=rows)
    for old, new in zip(before, flat(layer.states), strict=True):
        assert np.all(new[chosen] == 0) and np.array_equal(new[~chosen], old[~chosen])
        assert np.any(old[chosen] != 0)
    values = [np.full((chosen.sum(), state.shape[1]), 0.5, "float32") for state in before]
    layer.reset_state(values, batch_index=rows)
    assert all(np.all(state[chosen] == 0.5) for state in flat(layer.states))


@pytest.mark.parametrize("kind", ["stack", "Bidirectional"])
def test_reset_state_to_given_states_begins_there(kind):
    layer = carrying(kind)
    after = copy.deepcopy(layer.states)
    second = layer(X)
    layer.reset_state(after)
    assert_identical(layer(X), second)
    layer.reset_states()
    assert all(np.all(state == 0) for state in flat(layer.states))


WRONG = {
    "too few": lambda layer: layer.reset_state(flat(layer.states)[:1]),
    "too many": lambda layer: layer.reset_state([*flat(layer.states), X[:, 0]]),
    "of other rows": lambda layer: layer.reset_state([state[:2] for state in flat(layer.states)]),
    "of another width": lambda layer: layer.reset_state([state[:, :-1] for state in flat(layer.states)]),
    "a row that is not there": lambda layer: layer.reset_state(batch_index=6),
    "a row in halves": lambda layer: layer.reset_state(batch_index=[0.5]),
    "too few bools": lambda layer: layer.reset_state(batch_index=[True, False]),
    "a call with too few states": lambda layer: layer(X, initial_state=flat(layer.states)[:1]),
    "a call with other rows": lambda layer: layer(X[:4]),
    "a call with a short mask": lambda layer: layer(X, mask=KEEP[:, :5]),
    "a call with other features": lambda layer: layer(X[:, :, :2]),
    "predict of a part of the rows": lambda layer: layer.predict(np.concatenate([X, X[:3]])),
    "predict in other batches": lambda layer: layer.predict(X, batch_size=4),
}


@pytest.mark.parametrize("kind", ["stack", "Bidirectional"])
@pytest.mark.parametrize("case", WRONG)
def test_errors_leave_states_and_weights_as_they_were(case, kind):
    layer = carrying(kind)
    before = copy.deepcopy((layer.states, layer.get_weights()))
    with pytest.raises(ValueError):
        WRONG[case](layer)
    assert_identical((layer.states, layer.get_weights()), before)


def test_errors_late_in_a_call_leave_states_as_they_were():
    def failing(x):
        raise RuntimeError("no")

    layer = stack(stateful=True)
    before = copy.deepcopy(layer.states)
    layer.activity_regularizer = failing
    with pytest.raises(RuntimeError):
        layer(X)
    assert_identical(layer.states, before)
    model = cyrnn.Sequential([SimpleRNN(3, stateful=True), cyrnn.layers.Activation(failing)])
    with pytest.raises(RuntimeError):
        model(X)
    assert all(np.all(state == 0) for state in model.layers[0].states)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Bidirectional(3), ValueError, "layer must be a layer, got int"),
        (lambda: Bidirectional(Dense(3)), TypeError, "layer must be an RNN, SimpleRNN, LSTM or GRU, got <Dense"),
        (lambda: Bidirectional(SimpleRNN(2), merge_mode="min"), ValueError, "merge_mode must be one of .* got 'min'"),
        (lambda: Bidirectional(SimpleRNN(2), backward_layer=SimpleRNN(2)), ValueError, "must differ in go_backwards"),
        (lambda: TimeDistributed(3), ValueError, "layer must be a layer, got int"),
    ],
)
def test_layers_around_others_say_what_they_need(make, error, words):
    with pytest.raises(error, match=words):
        make()
    assert "units=[2, 2]" in repr(Bidirectional(SimpleRNN(2)))


def test_a_stack_of_cells_says_what_it_needs():
    cells = StackedRNNCells([SimpleRNNCell(2), SimpleRNNCell(3)])
    assert "units=[2, 3]" in repr(cells)
    with pytest.raises(ValueError, match=r"cells must be a list of at least one cell, got \[\]"):
        StackedRNNCells([])
    for states, got in (([X[:, 0, :2]], "1"), (X[:, 0, :2], "a ndarray")):
        with pytest.raises(ValueError, match=f"the states of each of 2 cells, got {got}"):
            cells(X[:, 0], states)
    with pytest.raises(TypeError, match="needs a batch_size, got None"):
        cells.get_initial_state()


def test_initial_weights_that_do_not_fit_stay_an_error():
    layer = Bidirectional(SimpleRNN(3), weights=[np.zeros((2, 2))])
    for _ in range(2):
        with pytest.raises(ValueError, match="6 weights, got 1"):
            layer(X)
        assert not layer.built


@pytest.mark.parametrize("wrong", [{"mask": KEEP[:, :5]}, {"initial_state": X[:, 0]}, {"initial_state": []}])
@pytest.mark.parametrize("make", [lambda: SimpleRNN(3, stateful=True), lambda: Bidirectional(SimpleRNN(3))])
def test_a_first_call_that_fails_builds_nothing(make, wrong):
    layer = make()
    with pytest.raises(ValueError):
        layer(X, **wrong)
    assert not layer.built and layer.weights == []
    assert layer(X[:2]).shape[0] == 2  # of any other number of rows, too


def test_states_are_set_only_where_there_are_some():
    SimpleRNN(3).reset_state()
    with pytest.raises(ValueError, match="not stateful"):
        SimpleRNN(3).reset_state(X[:, 0, :3])
    with pytest.raises(ValueError, match="not built"):
        SimpleRNN(3, stateful=True).reset_state(batch_index=0)
    with pytest.raises(AttributeError, match="stateful"):
        Bidirectional(SimpleRNN(3)).reset_state()


def test_predict_of_a_stateful_layer_goes_on_from_batch_to_batch():
    layer = stack(stateful=True)
    twice = layer.predict(np.concatenate([X, X]))
    layer.reset_state()
    assert_identical([twice[:6], twice[6:]], [layer(X), layer(X)])


# ---------------------------------------------------------------- both directions


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
def test_both_directions_have_the_bits_of_each(merge_mode, return_sequences):
    layer = Bidirectional(SimpleRNN(5, return_sequences=return_sequences, return_state=True), merge_mode)
    *merged, _, _ = layer(X, mask=KEEP)
    forward, _ = layer.forward_layer(X, mask=KEEP)
    backward, _ = layer.backward_layer(X, mask=KEEP)
    backward = backward[:, ::-1] if return_sequences else backward
    expected = {
        "concat": lambda: [np.concatenate([forward, backward], -1)],
        "sum": lambda: [forward + backward],
        "mul": lambda: [forward * backward],
        "ave": lambda: [(forward + backward) / 2],
        None: lambda: [forward, backward],
    }[merge_mode]()
    assert_identical(merged, expected)
    assert all(array.flags.c_contiguous for array in merged)


def test_functions_and_cells_of_your_own_go_both_ways():
    def doubled(x):
        return np.tanh(2 * x)

    class Half:
        state_size = 2

        def __init__(self):
            self.seen = []

        def call(self, inputs, states):
            self.seen.append(inputs)
            return states[0] / 2 + inputs[:, :2], [states[0] / 2 + inputs[:, :2]]

    layer = Bidirectional(SimpleRNN(3, activation=doubled, kernel_regularizer=lambda w: 3.0))
    assert layer.backward_layer.activation is doubled
    layer(X)
    assert layer.losses == [3.0, 3.0]
    cell = Half()
    layer = Bidirectional(RNN(cell, return_sequences=True), merge_mode=None)
    forward, backward = layer(X)
    np.testing.assert_allclose(backward, RNN(Half(), return_sequences=True)(X[:, ::-1])[:, ::-1])
    assert len(cell.seen) == 0 and forward.shape == (6, 9, 2)


# ---------------------------------------------------------------- cells and layers of your own


class Half(Layer):
    """What `Counting` adds a weight to."""

    def build(self, input_shape):
        super().build(input_shape)
        self.scale = self.add_weight((self.units,), "ones", name="scale", trainable=False)


class Counting(Half):
    """A cell that makes its weights itself."""

    builds = 0

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        type(self).builds += 1
        super().build(input_shape)
        self.kernel = self.add_weight((input_shape[-1], self.units), "glorot_uniform", name="kernel")
        self.bias = self.add_weight((self.units,), "zeros", trainable=False)

    def call(self, inputs, states):
        output = np.tanh(inputs @ self.kernel * self.scale + states[0] + self.bias)
        return output, [output]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_attributes_follow_the_weights():
    cell = Counting(3)
    cell(X[:, 0], [np.zeros((6, 3), "float32")])
    new = [np.full((4, 3), 0.5, "float32"), np.full(3, 2, "float32"), np.ones(3, "float32")]
    cell.set_weights(new)
    assert np.array_equal(cell.kernel, new[0]) and np.array_equal(cell.bias, new[2])
    cell.kernel = new[0] * 2
    assert np.array_equal(cell.weights[0], new[0] * 2) and not cell.kernel.flags.writeable
    with pytest.raises(ValueError, match="shape"):
        cell.kernel = np.zeros((2, 2))
    assert cell.trainable_weights[0] is cell.kernel and len(cell.trainable_weights) == 1
    with pytest.raises(AttributeError, match="nothing"):
        _ = cell.nothing


def test_a_layer_of_your_own_travels():
    layer = RNN(Counting(3), return_sequences=True)
    expected = layer(X)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(X), expected)
        with pytest.raises(ValueError):
            other.cell.kernel[0] = 1
    read = cyrnn.from_json(layer.to_json(), custom_objects={"Counting": Counting})
    read.set_weights(layer.get_weights())
    np.testing.assert_array_equal(read(X), expected)


@pytest.mark.thread_unsafe(reason="counts builds in an attribute of the class")
@pytest.mark.parametrize("inside", [lambda cell: cell, RNN])
def test_several_threads_build_a_layer_of_your_own_once(inside):
    state = [np.zeros((6, 3), "float32")]
    for _ in range(30):
        Counting.builds, layer, start, failed = 0, inside(Counting(3)), threading.Barrier(4), []

        def call(layer=layer, start=start, failed=failed):
            start.wait()
            try:
                layer(X[:, 0], state) if isinstance(layer, Counting) else layer(X)
                assert len(layer.get_weights()) == 3
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counting.builds == 1 and failed == []


def test_a_build_that_fails_leaves_no_weights():
    class Failing(Counting):
        def build(self, input_shape):
            super().build(input_shape)
            if input_shape[-1] != 2:
                raise RuntimeError("no")

    cell = Failing(3)
    with pytest.raises(RuntimeError):
        RNN(cell)(X)
    assert cell.weights == [] and not cell.built and not hasattr(cell, "nothing")
    assert RNN(cell)(X[:, :, :2]).shape == (6, 3)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x, h: x, "must return"),
        (lambda x, h: (x, []), "returned states of shapes"),
        (lambda x, h: (x, [h[0], h[0]]), "returned states of shapes"),
        (lambda x, h: (x[:2], h), "6 rows"),
    ],
)
def test_what_a_cell_of_your_own_returns_is_checked(result, words):
    class Wrong:
        state_size = 4

        def call(self, inputs, states):
            return result(inputs, states)

    with pytest.raises(ValueError, match=words):
        RNN(Wrong())(X)


def test_states_that_do_not_begin_with_zeros():
    def begin(self, batch_size=None):
        return [np.ones((batch_size, 5), "float32")]

    cell_class = type("Beginning", (SimpleRNNCell,), {"get_initial_state": begin})
    rnn_class = type("BeginningRNN", (SimpleRNN,), {"get_initial_state": begin})
    for layer in (RNN(cell_class(5)), rnn_class(5), RNN([cell_class(5), cell_class(5)])):
        ones = [np.ones((6, 5), "float32")] * len(flat(layer.get_initial_state(1)))
        np.testing.assert_array_equal(layer(X), layer(X, initial_state=ones))
        np.testing.assert_array_equal(layer(X), layer(X, initial_state=ones))  # built, and by the short way


def test_both_directions_call_what_a_subclass_calls():
    class Doubled(SimpleRNN):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return 2 * super().call(sequences, initial_state, mask, training)

    layer = Bidirectional(Doubled(5))
    np.testing.assert_array_equal(layer(X), np.concatenate([layer.forward_layer(X), layer.backward_layer(X)], -1))
    assert np.abs(layer(X)).max() > 1


def test_classes_of_one_name_stay_apart_in_both_directions():
    def factory(factor):
        class Cell(Layer):
            state_size = output_size = 4

            def call(self, inputs, states):
                return inputs * factor, [inputs * factor]

        return Cell

    layer = RNN([factory(2.0)(), factory(3.0)()])
    np.testing.assert_array_equal(Bidirectional(layer)(X)[:, :4], layer(X))


def test_a_cell_that_is_there_twice_has_its_weights_once():
    cell = SimpleRNNCell(4)
    layer = RNN([cell, cell])
    assert layer(X).shape == (6, 4) and len(layer.weights) == 3
    np.testing.assert_array_equal(layer(X), RNN([cell, cell], return_sequences=True)(X)[:, -1])


def test_weights_in_lists_and_layers_in_dicts():
    class Nested(Layer):
        extra = None

        def __init__(self):
            super().__init__()
            self.kernels, self.inner = None, {"a": Dense(4), "b": (Dense(4), Dense(4))}

        def build(self, input_shape):
            self.kernels = [self.add_weight((4, 4), "ones", dtype="float32") for _ in range(2)]
            self.extra = self.add_weight((4,), "zeros")

        def call(self, inputs):
            x = inputs @ self.kernels[0] @ self.kernels[1] + self.extra
            return self.inner["b"][1](self.inner["b"][0](self.inner["a"](x)))

    layer = Nested()
    layer(X[:, 0])
    assert len(layer.weights) == 3 + 3 * 2
    layer.set_weights([np.full_like(weight, 0.5) for weight in layer.weights])
    assert np.all(layer.kernels[1] == 0.5) and np.all(layer.extra == 0.5)
    layer.extra = np.ones(4)
    assert np.all(layer.weights[2] == 1)


def test_a_cell_that_works_in_place_changes_nothing_of_the_caller_s():
    class InPlace:
        state_size = 4

        def call(self, inputs, states):
            inputs *= 2
            states[0] += inputs
            return states[0], states

    x, h = X.copy(), np.ones((6, 4), "float32")
    outputs = RNN(InPlace(), return_sequences=True)(x, initial_state=h, mask=KEEP)
    assert np.array_equal(x, X) and np.all(h == 1)
    expected = 1 + np.cumsum(2 * X * KEEP[:, :, None], axis=1) * KEEP[:, :, None]
    kept = KEEP & (np.cumsum(KEEP, axis=1) > 0)
    np.testing.assert_allclose(outputs[kept], expected[kept], rtol=1e-5, atol=1e-5)


def test_what_an_own_activation_returns_is_checked():
    for wrong in (lambda z: None, lambda z: z[:, :1], lambda z: z * 1j):
        with pytest.raises(ValueError, match="activation"):
            SimpleRNN(3, activation=wrong)(X)


def test_weights_are_real_numbers():
    layer = stack()
    for wrong in (None, 5, [np.full(weight.shape, 1j) for weight in layer.weights]):
        with pytest.raises((ValueError, TypeError), match="weight"):
            layer.set_weights(wrong)


def test_a_sequential_learns_the_shape_behind_a_layer_of_your_own():
    class Wider(Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight((input_shape[-1], 6), "ones")

        def call(self, inputs):
            return inputs @ self.kernel

    model = cyrnn.Sequential([cyrnn.Input((None, 4)), Wider(), SimpleRNN(3, return_sequences=True)])
    assert model.output_shape == (None, None, 3)
    assert model(X).shape == (6, 9, 3)


# ---------------------------------------------------------------- masks between layers


def test_supports_masking_is_the_switch_that_stops_a_mask():
    def model():
        layers = [cyrnn.layers.Masking(), SimpleRNN(3, return_sequences=True), SimpleRNN(2)]
        return cyrnn.Sequential([cyrnn.Input((9, 4)), *layers])

    x = X * KEEP[:, :, None]
    passing = model()
    stopping = model()
    stopping.set_weights(passing.get_weights())
    stopping.layers[1].supports_masking = False
    with pytest.warns(UserWarning, match="does not pass the mask on"):
        unmasked = stopping(x)
    first = passing.layers[1](x, mask=np.any(x != 0, axis=-1))
    np.testing.assert_array_equal(unmasked, passing.layers[2](first))
    assert not np.allclose(unmasked, passing(x))


def test_a_mask_goes_behind_time_distributed_and_both_directions():
    layers = [
        cyrnn.layers.Masking(),
        TimeDistributed(Dense(5)),
        Bidirectional(SimpleRNN(3, return_sequences=True)),
        SimpleRNN(2),
    ]
    model = cyrnn.Sequential([cyrnn.Input((9, 4)), *layers])
    x = X * KEEP[:, :, None]
    keep = np.any(x != 0, axis=-1)
    inner = layers[2](layers[1](x * keep[:, :, None]), mask=keep)
    np.testing.assert_array_equal(model(x), layers[3](inner, mask=keep))
