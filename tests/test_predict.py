"""predict: which rows it returns, and where it may write them."""

import os
import re
import tracemalloc

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Activation, Concatenate, Dense, Layer, SimpleRNN

X = np.random.default_rng(0).standard_normal((7, 5, 3)).astype("float32")


class Every2nd(Layer):
    def call(self, inputs):
        return inputs[::2]


class Twice(Layer):
    def call(self, inputs):
        return np.concatenate([inputs, inputs])


class Positive(Layer):
    """The rows whose first number is positive: how many is known when they are."""

    def call(self, inputs):
        return inputs[inputs[:, 0] > 0]


class Only(Layer):
    """The first row of each batch."""

    def call(self, inputs):
        return inputs[:1]


class Nothing(Layer):
    def call(self, inputs):
        return inputs[:0]


class Wide(Dense):  # a subclass of a layer of the package
    def call(self, inputs, mask=None, training=False):
        return np.repeat(super().call(inputs), 2, axis=0)


LASTS = {layer.__name__: layer for layer in (Every2nd, Twice, Positive, Only, Nothing)}
LASTS |= {
    "Wide": lambda: Wide(2),
    "an activation": lambda: Activation(lambda x: x[::2]),
    "on average": lambda: Activation(lambda x: x.mean(axis=0, keepdims=True)),
}


def sequential(last):
    return cyrnn.Sequential([cyrnn.Input((5, 3)), SimpleRNN(2), last])


def predict(layer, *args, **options):
    return cyrnn.Sequential([layer], name="model").predict(*args, **options)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 4, 7, 100])
@pytest.mark.parametrize("last", LASTS)
def test_the_rows_of_the_batches_follow_each_other(last, batch_size):
    model = sequential(LASTS[last]())
    size = batch_size or 32
    expected = np.concatenate([model(X[first : first + size]) for first in range(0, 7, size)])
    np.testing.assert_array_equal(model.predict(X, batch_size), expected)


@pytest.mark.parametrize("make", [Only, lambda: Activation(lambda x: x[:1])], ids=["layer", "activation"])
def test_without_a_batch_size_custom_layers_get_32_rows_as_in_keras(make):
    assert predict(make(), np.ones((100, 3), "float32")).shape == (4, 3)


def test_custom_cells_and_activations_of_dense_layers_get_large_batches():
    """They cannot change the number of rows: that is checked where they are called."""
    counts = []

    def counted(x):
        counts.append(len(x))
        return x

    assert predict(Dense(2, activation=counted), np.ones((100, 3), "float32")).shape == (100, 2)
    assert max(counts) == 100


def test_each_output_has_rows_of_its_own():
    begin = cyrnn.Input((5, 3))
    rnn, state = SimpleRNN(2, return_state=True)(begin)
    model = cyrnn.Model(begin, {"every": state, "second": [Every2nd()(rnn)], "twice": Concatenate(axis=0)([rnn, rnn])})
    batches = [model(X[first : first + 3]) for first in (0, 3, 6)]
    result = model.predict(X, 3)
    assert result["every"].shape == (7, 2) and result["twice"].shape == (14, 2)
    assert result["second"][0].shape == (2 + 2 + 1, 2)
    for name in ("every", "twice"):
        np.testing.assert_array_equal(result[name], np.concatenate([batch[name] for batch in batches]))
    np.testing.assert_array_equal(result["second"][0], np.concatenate([batch["second"][0] for batch in batches]))


def test_a_layer_that_changes_the_number_of_rows_in_a_later_batch():
    class Positive3(Layer):
        def call(self, inputs):
            return inputs[inputs[:, 0] > -3]

    x = np.arange(12, dtype="float32").reshape(6, 2)
    x[3, 0] = -5
    result = cyrnn.Sequential([Positive3()]).predict(x, 2)
    np.testing.assert_array_equal(result, x[[0, 1, 2, 4, 5]])


def test_batches_of_different_dtypes_are_joined_as_numpy_does():
    class Counted(Layer):
        def call(self, inputs):
            rows = len(inputs)
            return np.arange(rows) if rows == 2 else np.arange(rows) / 2

    result = cyrnn.Sequential([Counted()]).predict(X, 2)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [0, 1, 0, 1, 0, 1, 0])


def test_batches_that_cannot_be_joined():
    class Longest(Layer):
        def call(self, inputs):
            return inputs[:, : int(inputs[0, 0, 0])]

    x = np.ones((4, 5, 1), "float32")
    x[2:] = 3
    assert predict(Longest(), x[:2]).shape == (2, 1, 1)
    with pytest.raises(
        ValueError, match=r"samples from 2 to 4 must have the shape of those before, \(1, 1\), got \(3, 1\)"
    ):
        predict(Longest(), x, 2)

    class Mean(Layer):
        def call(self, inputs):
            return inputs.mean()

    with pytest.raises(ValueError, match=r"'model' must return arrays with a batch axis, got one of shape \(\)"):
        predict(Mean(), x)

    class Parts(Layer):
        def call(self, inputs):
            return [inputs] * len(inputs)

    with pytest.raises(ValueError, match="'model' must return 3 arrays each time, got 1"):
        predict(Parts(), x, 3)


def test_what_a_custom_layer_returns_each_time_is_copied():
    class Same(Layer):
        def build(self, input_shape):
            self.rows = np.zeros((1, 3), "float32")

        def call(self, inputs):
            self.rows += 1
            return self.rows

    result = predict(Same(), X, 3)
    np.testing.assert_array_equal(result - result[0], [[0] * 3, [1] * 3, [2] * 3])


@pytest.mark.thread_unsafe(reason="traces the memory of the whole process")
def test_one_array_is_filled_where_each_sample_has_a_row():
    """No second array of the result's size: the memory that it may take beside the result is that of a few batches."""
    model = sequential(Dense(64))
    x = np.zeros((20_000, 5, 3), "float32")
    model(x[:2])
    tracemalloc.start()
    try:
        result = model.predict(x, 32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.nbytes == 20_000 * 64 * 4
    assert peak < 1.2 * result.nbytes


# ------------------------------------------------------------ into `out`


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("last", LASTS)
def test_out_takes_exactly_the_rows(last, batch_size):
    model = sequential(LASTS[last]())
    expected = model.predict(X, batch_size)
    out = np.full_like(expected, 7)
    assert model.predict(X, batch_size, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("difference", [-1, 1])
@pytest.mark.parametrize("last", [*LASTS, "Dense"])
def test_out_of_too_few_or_too_many_rows(last, difference):
    model = sequential(LASTS.get(last, lambda: Dense(2))())
    rows = len(model.predict(X))
    if rows + difference < 0:
        return
    out = np.full((rows + difference, 2), 7, "float32")
    with pytest.raises(ValueError, match=rf"out .*\b{rows}\b.*got .*{rows + difference}"):
        model.predict(X, out=out)
    assert (out == 7).all()  # it is one batch: nothing was written


@pytest.mark.parametrize("rows", [6, 8, 9, 14])
def test_out_is_refused_after_the_first_batch(rows):
    calls = []

    class Noted(Layer):
        def call(self, inputs):
            calls.append(len(inputs))
            return inputs

    model = sequential(Noted())
    model(X)
    calls.clear()
    out = np.full((rows, 2), 7, "float32")
    with pytest.raises(ValueError, match=rf"out must have exactly the rows that layer .* returns, 7, got {rows}"):
        model.predict(X, 2, out=out)
    assert calls[-1:] == [2] and calls.count(2) == 1
    assert (out == 7).all()


def test_out_that_overflows_is_left_as_it_was_where_it_would():
    model = sequential(Twice())
    out = np.full((9, 2), 7, "float32")
    with pytest.raises(ValueError, match="out must have exactly the rows that layer .* returns, 12 or more, got 9"):
        model.predict(X, 3, out=out)
    assert (out[6:] == 7).all()


def test_out_of_another_kind_of_number():
    class Halves(Layer):
        def call(self, inputs):
            return inputs / 2

        def compute_output_shape(self, input_shape):
            return input_shape

    out = np.full((7, 5, 3), 7, "float32")
    with pytest.raises(ValueError, match="out must have the dtype that layer 'model' returns, float64, got float32"):
        predict(Halves(dtype="float64"), X, out=out)
    assert (out == 7).all()
    whole = np.full((7, 5, 3), 7)
    with pytest.raises(ValueError, match="out must have the dtype that layer 'model' returns, float32, got int64"):
        predict(Halves(), X, out=whole)
    assert (whole == 7).all()
    with pytest.raises(ValueError, match=r"shape \(7, 2\) and dtype float32, got \(7, 2\) float64"):
        predict(SimpleRNN(2), X, out=np.empty((7, 2)))


def test_out_of_a_model_whose_input_says_its_batch():
    begin = cyrnn.Input(batch_shape=(2, 5, 3))
    model = cyrnn.Model(begin, SimpleRNN(2, stateful=True)(begin))
    out = np.empty((6, 2), "float32")
    model.predict(X[:6], out=out)
    model.reset_state()
    np.testing.assert_array_equal(out, model.predict(X[:6]))


def test_a_large_input_is_not_made_again_to_find_the_shape_of_a_custom_layers_output():
    sizes = []

    class Noted(Layer):
        def call(self, inputs):
            sizes.append(len(inputs))
            return inputs

    x = np.broadcast_to(np.float32(1), (100_000, 2))
    predict(Noted(), x, 1000, out=np.empty((100_000, 2), "float32"))
    assert max(sizes) == 1000


# ------------------------------------------------------------ input and output that overlap


def square():
    """A model whose output has the shape of its input, with weights that mix all features."""
    layer = SimpleRNN(3, return_sequences=True)
    layer(X)
    return layer


OVERLAPS = {
    "the input": lambda x: x,
    "a view of it": lambda x: np.asarray(x)[:],
    "its other end": lambda x: x[::-1],
    "a transposed view": lambda x: x.transpose(0, 2, 1)[:, :3, :3] if x.shape[1] == 3 else x[:, ::-1],
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_out_may_not_be_the_input(case):
    layer, x = square(), X.copy()
    with pytest.raises(ValueError, match="out must not overlap x"):
        layer.predict(x, 2, out=OVERLAPS[case](x))
    np.testing.assert_array_equal(x, X)


def test_out_may_not_begin_before_the_input_ends():
    layer, memory = square(), np.zeros((9, 5, 3), "float32")
    memory[:7] = X
    with pytest.raises(ValueError, match="out must not overlap x"):
        layer.predict(memory[:7], 2, out=memory[2:])
    np.testing.assert_array_equal(memory[:7], X)


def test_out_may_lie_between_the_elements_of_the_input():
    layer, memory = square(), np.zeros((14, 5, 6), "float32")
    for x, out in ((memory[::2, :, :3], memory[1::2, :, :3]), (memory[:7, :, :3], memory[:7, :, 3:])):
        x[...] = X
        layer.predict(x, 2, out=out)
        np.testing.assert_array_equal(out, layer.predict(X, 2))


def test_out_may_not_be_memory_of_an_input_of_another_kind():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = square()
    tensor = torch.from_numpy(X.copy())
    with pytest.raises(ValueError, match="out must not overlap x"):
        layer.predict(tensor, out=tensor.numpy())
    memory = bytearray(X.tobytes())
    out = np.frombuffer(memory, "float32").reshape(X.shape)
    with pytest.raises(ValueError, match="out must not overlap x"):
        layer.predict(memoryview(memory).cast("B").cast("f", X.shape), out=out)


@pytest.mark.parametrize("first", ["out", "x"])
def test_an_input_of_several_may_not_be_the_out_of_another(first):
    a, b = cyrnn.Input((5, 3), name="a"), cyrnn.Input((5, 3), name="b")
    model = cyrnn.Model([a, b], [SimpleRNN(3, return_sequences=True)(a), SimpleRNN(3, return_sequences=True)(b)])
    xs, outs = [X.copy(), X.copy()], [np.empty_like(X), np.empty_like(X)]
    if first == "out":
        outs[0] = xs[1]
    else:
        xs[0] = outs[1]
    with pytest.raises(ValueError, match="out must not overlap x"):
        model.predict(xs, out=outs)


def on_disk(path, mode, rows=7, offset=0, linked=None):
    return np.memmap(path, "float32", mode, shape=(rows, 5, 3), offset=offset)


ROW = 5 * 3 * 4


@pytest.mark.parametrize("way", ["the name", "a hard link", "a symbolic link", "a Path", "from the folder"])
def test_out_may_not_map_the_file_of_the_input(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    on_disk("x", "w+")[...] = X
    other = tmp_path / "x"
    if way == "a hard link":
        os.link("x", other := tmp_path / "y")
    elif way == "a symbolic link":
        (other := tmp_path / "y").symlink_to(tmp_path / "x")
    elif way == "the name":
        other = str(other)
    elif way == "from the folder":
        other = "x"
    layer = square()
    for x in (on_disk(tmp_path / "x", "r"), on_disk(tmp_path / "x", "r")[::-1], np.asarray(on_disk("x", "r"))):
        with pytest.raises(ValueError, match="out must not overlap x"):
            layer.predict(x, 2, out=on_disk(other, "r+"))
    np.testing.assert_array_equal(on_disk("x", "r"), X)


def test_out_may_not_map_the_file_of_the_input_that_was_removed(tmp_path):
    x, out = on_disk(tmp_path / "x", "w+"), on_disk(tmp_path / "x", "r+")
    (tmp_path / "x").unlink()
    with pytest.raises(ValueError, match="out must not overlap x"):
        cyrnn.Sequential([Dense(3)]).predict(x, out=out)


def test_out_may_map_other_parts_of_the_file_or_another_file(tmp_path):
    layer, path = square(), tmp_path / "both"
    on_disk(path, "w+", 14)[:7] = X
    with pytest.raises(ValueError, match="out must not overlap x"):
        layer.predict(on_disk(path, "r"), out=on_disk(path, "r+", 7, 6 * ROW))
    expected = layer.predict(X)
    layer.predict(on_disk(path, "r"), out=on_disk(path, "r+", 7, 7 * ROW))
    np.testing.assert_array_equal(on_disk(path, "r", 7, 7 * ROW), expected)
    layer.predict(on_disk(path, "r", 14)[:7], out=on_disk(path, "r+", 14)[7:])
    layer.predict(on_disk(path, "r"), out=on_disk(tmp_path / "other", "w+"))
    layer.predict(on_disk(path, "r").copy(), out=on_disk(path, "r+"))
    np.testing.assert_array_equal(on_disk(path, "r"), expected)


def test_outs_may_not_map_the_same_file(tmp_path):
    layer = SimpleRNN(3, return_sequences=True, return_state=True)
    layer(X)
    outs = [np.memmap(tmp_path / "y", "float32", "w+", shape=shape) for shape in ((7, 5, 3), (7, 3))]
    with pytest.raises(ValueError, match="out must hold arrays that do not overlap"):
        layer.predict(X, out=outs)


def test_out_may_not_be_the_states_that_a_layer_carries():
    layer = SimpleRNN(3, stateful=True)
    layer(X)
    before = layer.states[0].copy()
    with pytest.raises(ValueError, match=re.escape("out must not overlap the states of layer 'simple_rnn")):
        layer.predict(X, out=layer.states[0])
    np.testing.assert_array_equal(layer.states[0], before)


# ------------------------------------------------------------ what shows the progress


def test_a_progress_that_leaves_out_batches():
    layer = square()
    for wrong in (lambda batches: list(batches)[:-1], lambda batches: list(batches)[1:], reversed, lambda batches: []):
        with pytest.raises(ValueError, match="progress must yield all that it gets, in this order"):
            layer.predict(X, 2, progress=wrong)
    np.testing.assert_array_equal(layer.predict(X, 2, progress=iter), layer.predict(X, 2))
