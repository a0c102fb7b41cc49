"""What a call returns is its caller's own: no memory of inputs, weights, states, other outputs, or anything cached."""

import inspect
from typing import NamedTuple

import numpy as np
import pytest

import cyrnn
from cyrnn import layers as L
from cyrnn.layers import Bidirectional, Dense, Dropout, Flatten, Layer, SimpleRNN, SimpleRNNCell

RNG = np.random.default_rng(0)


class Doubling(Layer):
    def call(self, inputs):
        return inputs


# Every layer of the package, with what it needs; those that take several inputs, other shapes or integers are below.
OF_SEQUENCES = {
    "RNN": lambda: L.RNN(SimpleRNNCell(4), return_sequences=True, return_state=True),
    "SimpleRNN": lambda: SimpleRNN(4, return_sequences=True, return_state=True),
    "LSTM": lambda: L.LSTM(4, return_sequences=True, return_state=True),
    "GRU": lambda: L.GRU(4, return_sequences=True, return_state=True),
    "stateful": lambda: SimpleRNN(4, return_sequences=True, return_state=True, stateful=True),
    "stack": lambda: L.RNN([SimpleRNNCell(4), SimpleRNNCell(3)], return_state=True, stateful=True),
    "Bidirectional": lambda: Bidirectional(SimpleRNN(4, return_sequences=True, return_state=True)),
    "both directions": lambda: Bidirectional(SimpleRNN(4, return_sequences=True), merge_mode=None),
    "TimeDistributed": lambda: L.TimeDistributed(Dropout(0.5)),
    "Masking": L.Masking,
    "Dense": lambda: Dense(4),
    "Conv1D": lambda: L.Conv1D(4, 2),
    "Discretization": lambda: L.Discretization([0.0, 1.0]),
    "a linear activation": lambda: L.Activation("linear"),
    "Activation": lambda: L.Activation("tanh"),
    "an activation that returns its input": lambda: L.Activation(lambda x: x),
    "an activation that returns zeros of no memory": lambda: L.Activation(
        lambda x: np.broadcast_to(x[:1, :1, :1], x.shape)
    ),
    "ReLU": L.ReLU,
    "LeakyReLU": L.LeakyReLU,
    "PReLU": L.PReLU,
    "ELU": L.ELU,
    "Softmax": L.Softmax,
    "ThresholdedReLU": L.ThresholdedReLU,
    "Dropout": lambda: Dropout(0.5),
    "SpatialDropout1D": lambda: L.SpatialDropout1D(0.5),
    "GaussianDropout": lambda: L.GaussianDropout(0.5),
    "GaussianNoise": lambda: L.GaussianNoise(0.5),
    "AlphaDropout": lambda: L.AlphaDropout(0.5),
    "ActivityRegularization": lambda: L.ActivityRegularization(0.1),
    "BatchNormalization": L.BatchNormalization,
    "LayerNormalization": L.LayerNormalization,
    "UnitNormalization": L.UnitNormalization,
    "Normalization": L.Normalization,
    "Rescaling": lambda: L.Rescaling(1.0),
    "Flatten": Flatten,
    "Reshape": lambda: L.Reshape((3, 5)),
    "Permute": lambda: L.Permute((2, 1)),
    "ZeroPadding1D": lambda: L.ZeroPadding1D(0),
    "Cropping1D": lambda: L.Cropping1D(1),
    "UpSampling1D": lambda: L.UpSampling1D(1),
    "Identity": L.Identity,
    "GlobalAveragePooling1D": L.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": L.GlobalMaxPooling1D,
    "MaxPooling1D": lambda: L.MaxPooling1D(1),
    "AveragePooling1D": lambda: L.AveragePooling1D(1),
    "a custom layer": Doubling,
    "a Sequential": lambda: cyrnn.Sequential([cyrnn.Input((5, 3)), Dropout(0.5), Flatten()]),
    "a Sequential without Input": lambda: cyrnn.Sequential([L.Identity()]),
    "models in models": lambda: cyrnn.Sequential([cyrnn.Sequential([L.Identity()]), functional(lambda i: i)]),
    "a Model of its input": lambda: functional(lambda i: i),
    "a part of the input": lambda: functional(lambda i: i[:, -1]),
    "a Model of the same twice": lambda: functional(lambda i: twice(Dense(4)(i))),
    "a Model of views": lambda: functional(lambda i: views(Dense(4)(i))),
    "a Model of parts": lambda: functional(lambda i: parts(Dense(4)(i))),
    "a Model of its input and a view of it": lambda: functional(lambda i: {"a": i, "b": [Flatten()(i)]}),
}
SEVERAL = {
    name: lambda name=name: getattr(L, name)()
    for name in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Attention", "AdditiveAttention")
}


def functional(make):
    begin = cyrnn.Input((5, 3))
    return cyrnn.Model(begin, make(begin))


def twice(tensor):
    return [tensor, tensor]


def views(tensor):
    return [tensor, Flatten()(tensor), (tensor, L.Permute((2, 1))(tensor))]


def parts(tensor):
    return [tensor[:, :2], tensor[:, 2:], tensor[:, 1:3]]


class Arraylike:
    """An object that NumPy makes arrays of: always the same."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def torch_tensor(x):
    return pytest.importorskip("torch", reason="torch is not installed").from_numpy(x.copy())


INPUTS = {
    "array": lambda x: x.copy(),
    "float64": lambda x: x.astype("float64"),
    "view": lambda x: np.stack([x, x])[1],
    "strided": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "memoryview": lambda x: memoryview(x.copy()),
    "torch": torch_tensor,
    "array-like": lambda x: Arraylike(x.copy()),
}


def leaves(outputs):
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [leaf for part in outputs for leaf in leaves(part)] if isinstance(outputs, (list, tuple)) else [outputs]


def check_own(outputs, *others):
    """That each output may be written to, and has no byte in common with another output or other array."""
    seen = [np.asarray(other) for other in others]
    for output in leaves(outputs):
        assert type(output) is np.ndarray
        assert output.flags.writeable
        assert not any(np.shares_memory(output, other) for other in seen)
        assert (
            0 not in output.strides
            or output.size <= 1
            or all(n == 1 for n, s in zip(output.shape, output.strides, strict=True) if s == 0)
        )
        seen.append(output)


def kept(layer):
    """The arrays that a layer has: weights and states."""
    states = [state for part in layer.layers_within() for state in leaves(getattr(part, "states", None) or [])]
    return [*layer.weights, *states]


def test_every_layer_is_tried():
    tried = {type(make()) for make in (*OF_SEQUENCES.values(), *SEVERAL.values())}
    known = {getattr(L, name) for name in L.__all__ if inspect.isclass(getattr(L, name))}
    cells = {SimpleRNNCell, L.LSTMCell, L.GRUCell, L.StackedRNNCells}
    elsewhere = {*cells, Layer, L.Wrapper, L.InputLayer, L.Embedding, L.RepeatVector, L.Subtract, L.Dot}
    elsewhere |= {L.StringLookup, L.IntegerLookup, L.TextVectorization, L.Hashing, L.CategoryEncoding}  # not of these
    elsewhere |= {L.MultiHeadAttention}  # of two arguments
    assert known - tried - elsewhere == set()


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_outputs_of_a_layer(name, kind):
    layer = OF_SEQUENCES[name]()
    given = INPUTS[kind](RNG.standard_normal((4, 5, 3)).astype("float32"))
    x = given.array if kind == "array-like" else np.asarray(given)
    before = x.copy()
    layer(before)
    if getattr(layer, "stateful", False):
        layer.reset_state()
    outputs = layer(given)
    check_own(outputs, x, *kept(layer))
    expected = [output.copy() for output in leaves(outputs)]
    for output in leaves(outputs):
        output[...] = 77
    np.testing.assert_array_equal(x, before)
    if getattr(layer, "stateful", False):
        layer.reset_state()
    for again, wanted in zip(leaves(layer(given)), expected, strict=True):
        np.testing.assert_array_equal(again, wanted)


@pytest.mark.parametrize("kind", ["array", "torch", "array-like", "memoryview", "view"])
@pytest.mark.parametrize("name", SEVERAL)
def test_outputs_of_a_layer_of_several_inputs(name, kind):
    x = RNG.standard_normal((4, 5, 3)).astype("float32")
    for count in (2,) if "Attention" in name else (1, 2):
        given = [INPUTS[kind](x) for _ in range(count)]
        arrays = [part.array if kind == "array-like" else np.asarray(part) for part in given]
        outputs = SEVERAL[name]()(given)
        check_own(outputs, *arrays)
        outputs[...] = 77
        for array in arrays:
            np.testing.assert_array_equal(array, x)


class Pair(NamedTuple):
    first: np.ndarray
    second: np.ndarray


def test_outputs_in_a_named_tuple_stay_in_one():
    class Both(Layer):
        def call(self, x):
            return Pair(x, x[:1])

    x = np.ones((2, 3), "f")
    found = Both()(x)
    assert type(found) is Pair and not np.shares_memory(found.first, x) and found.second.base is None


def test_outputs_of_integers():
    x = RNG.integers(0, 5, (4, 5))
    layer = L.Embedding(5, 3)
    check_own(layer(x), x, layer(x), *layer.weights)
    one = np.array(3)
    check_own(layer(one), one, *layer.weights)
    for layer in (L.RepeatVector(1), Flatten(), L.Reshape((5, 1)), L.Identity()):
        check_own(layer(x), x)
        assert layer(x).dtype == x.dtype


def test_outputs_of_a_memory_map(tmp_path):
    x = np.memmap(tmp_path / "x", "float32", "w+", shape=(4, 5, 3))
    x[...] = 1
    for layer in (Flatten(), cyrnn.Sequential([L.Identity()]), Doubling()):
        y = layer(x)
        check_own(y, x)
        y[...] = 7
    assert (np.fromfile(tmp_path / "x", "float32") == 1).all()


def test_a_part_of_an_array_does_not_keep_all_of_it_in_memory():
    y = functional(lambda i: SimpleRNN(4, return_sequences=True)(i)[:, -1])(np.ones((2, 5, 3), "float32"))
    owner = y if y.base is None else y.base
    assert owner.nbytes == y.nbytes == 2 * 4 * 4


def test_a_layer_keeps_copies_of_the_arrays_that_it_was_made_with():
    mean, variance = np.zeros(3, "float32"), np.ones(3, "float32")
    layer, x = L.Normalization(mean=mean, variance=variance), np.ones((2, 3), "float32")
    expected = layer(x)
    mean[:], variance[:] = 5, 7
    np.testing.assert_array_equal(layer(x), expected)


# ------------------------------------------------------------ custom code


class Cached(Layer):
    """Returns an array that it keeps."""

    def build(self, input_shape):
        self.kept = np.full(input_shape, 3, "float32")
        self.scale = self.add_weight((2,), "ones", name="scale")

    def call(self, inputs):
        return self.forms()

    def forms(self):
        return self.kept


class CachedParts(Cached):
    def forms(self):
        return {
            "a": self.kept,
            "b": (self.kept[:, 0], [self.kept]),
            "c": self.scale,
            "d": np.broadcast_to(self.kept, (3, *self.kept.shape)),
        }


KEPT = np.full((4, 5, 3), 3, "float32")

CUSTOM = {
    "a layer": lambda: Cached(),
    "of several outputs": lambda: CachedParts(),
    "in a Sequential": lambda: cyrnn.Sequential([Cached()]),
    "before one that moves numbers": lambda: cyrnn.Sequential([Cached(), Dropout(0.5), Flatten()]),
    "in a Model": lambda: functional(lambda i: [Cached()(i), Flatten()(Cached()(i))]),
    "an activation": lambda: L.Activation(lambda x: KEPT),
    "of a Dense": lambda: Dense(3, activation=lambda x: KEPT),
    "in a layer": lambda: L.TimeDistributed(L.Activation(lambda x: KEPT[:, 0])),
    "an RNN": lambda: SimpleRNN(3, activation=lambda x: KEPT[:, 0], return_sequences=True, return_state=True),
}


@pytest.mark.parametrize("name", CUSTOM)
def test_what_custom_code_returns_is_copied(name):
    layer, x = CUSTOM[name](), np.ones((4, 5, 3), "float32")
    outputs = layer(x)
    check_own(outputs, x, KEPT, *kept(layer))
    for output in leaves(outputs):
        output[...] = 77
    assert (KEPT == 3).all()
    assert all((output == 3).all() or (output == 1).all() for output in leaves(layer(x)))


class CustomCell(Layer):
    state_size = 3

    def call(self, inputs, states):
        return states[0], states


def test_outputs_of_a_custom_cell():
    state, x = np.ones((4, 3), "float32"), np.ones((4, 3), "float32")
    output, [new] = CustomCell()(x, [state])
    check_own([output, new], x, state)
    output, [[new]] = L.StackedRNNCells([CustomCell()])(x, [[state]])
    check_own([output, new], x, state)
    outputs = L.RNN(CustomCell(), return_state=True, return_sequences=True)(x[:, None], initial_state=[state])
    check_own(outputs, x, state)


def test_a_call_that_the_user_wrote_is_what_models_call():
    class Plus(SimpleRNN):
        def __call__(self, sequences, *args, **kwargs):
            return super().__call__(sequences, *args, **kwargs) + 1

    class PlusCell(SimpleRNNCell):
        def __call__(self, sequence, states, training=False):
            output, new = super().__call__(sequence, states, training)
            return output + 1, new

    class PlusLayer(Flatten):
        def __call__(self, inputs, **kwargs):
            return super().__call__(inputs, **kwargs) + 1

    x = np.ones((4, 5, 3), "float32")
    for make in (lambda: Plus(3), lambda: L.RNN(PlusCell(3)), PlusLayer):
        model = cyrnn.Sequential([layer := make()])
        np.testing.assert_array_equal(model(x), layer(x))
        np.testing.assert_array_equal(model.predict(x), layer(x))
        assert np.abs(layer(x)).max() > 1


# ------------------------------------------------------------ cells


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", [lambda h: h, lambda h: [h], lambda h: (h,)])
@pytest.mark.parametrize(
    "options",
    [{}, {"activation": lambda x: x}, {"activation": "linear"}, {"dtype": "float64"}, {"dtype": "float16"}],
    ids=["built-in", "custom activation", "linear", "float64", "float16"],
)
def test_the_state_of_a_cell_is_not_its_output(options, form, training):
    cell = SimpleRNNCell(3, **options)
    x, h = RNG.standard_normal((2, 3)).astype("float32"), np.zeros((2, 3), "float32")
    for _ in range(2):  # the first call builds it
        output, state = cell(x, form(h), training=training)
        state = state[0] if isinstance(state, list) else state
        check_own([output, state], x, h)
        np.testing.assert_array_equal(output, state)
        before = state.copy()
        output *= 0
        np.testing.assert_array_equal(state, before)
        assert state.any()
    output, state = cell.call(cell.checked_inputs(x), [h])
    assert not np.shares_memory(output, state[0])


def test_the_states_of_stacked_cells_are_their_own():
    cells = L.StackedRNNCells([SimpleRNNCell(3), L.StackedRNNCells([SimpleRNNCell(4), SimpleRNNCell(2)])])
    x = RNG.standard_normal((2, 3)).astype("float32")
    output, states = cells(x, cells.get_initial_state(2))
    check_own([output, states], x)
    before = [state.copy() for state in leaves(states)]
    output *= 0
    for state, wanted in zip(leaves(states), before, strict=True):
        np.testing.assert_array_equal(state, wanted)


def test_steps_of_a_cell_go_on_with_the_right_state():
    cell, x = SimpleRNNCell(3), RNG.standard_normal((2, 4, 3)).astype("float32")
    expected = L.RNN(cell, return_sequences=True)(x)
    state = cell.get_initial_state(2)
    for t in range(4):
        output, state = cell(x[:, t], state)
        np.testing.assert_array_equal(output, expected[:, t])
        output[...] = 99


# ------------------------------------------------------------ inner calls copy nothing


class Watch(Layer):
    """Notes what it is called with."""

    def build(self, input_shape):
        self.seen = []

    def call(self, inputs):
        self.seen.append(inputs)
        return inputs


def test_models_copy_nothing_between_their_layers():
    x = np.ones((4, 5, 3), "float32")
    first, second = Watch(), Watch()
    nested = cyrnn.Sequential([Dropout(0.5), L.Identity()])
    cyrnn.Sequential([first, Dropout(0.5), nested, Flatten(), second])(x)
    assert np.shares_memory(x, first.seen[-1]) and np.shares_memory(x, second.seen[-1])
    begin = cyrnn.Input((5, 3))
    first, second = Watch(), Watch()
    cyrnn.Model(begin, second(nested(Flatten()(Dropout(0.5)(first(begin))))))(x)
    assert np.shares_memory(x, first.seen[-1]) and np.shares_memory(x, second.seen[-1])


def test_what_is_new_is_not_copied(monkeypatch):
    """The result of the engine is returned itself, not a copy of it."""
    from cyrnn.layers.base import memory

    x = np.ones((4, 5, 3), "float32")
    models = [
        cyrnn.Sequential([SimpleRNN(4, return_sequences=True), Dense(2)]),
        functional(lambda i: [Dense(2)(i), *SimpleRNN(4, return_state=True)(i)]),
        Bidirectional(SimpleRNN(4, return_sequences=True)),
        SimpleRNN(4, return_state=True),
        L.LayerNormalization(),
    ]
    for model in models:
        model(x)
    copies = []
    array = np.array
    monkeypatch.setattr(memory.np, "array", lambda *args, **options: copies.append(args) or array(*args, **options))
    for model in models:
        model(x)
    assert copies == []
