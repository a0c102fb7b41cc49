"""After an error nothing has changed: no state, no weight, no list of layers, and nothing is half built."""

import warnings

import numpy as np
import pytest

import cyrnn
from cyrnn import layers as L
from cyrnn.layers import Bidirectional, Dense, Flatten, Layer, Reshape, SimpleRNN, SimpleRNNCell

X = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")


def refuse(shape, dtype=None):
    raise RuntimeError("no weights today")


class Fragile(Layer):
    """Fails at calls for which `fails` is true of the inputs."""

    def __init__(self, fails=lambda x: np.isnan(x).any(), **kwargs):
        super().__init__(**kwargs)
        self.fails = fails

    def call(self, inputs):
        if self.fails(inputs):
            raise RuntimeError("broken")
        return inputs


def states(layer):
    """Copies of all states in a layer."""
    found = {}
    for part in layer.layers_within():
        if getattr(part, "carries_states", False):
            flat = [
                np.array(state)
                for nested in part.states or []
                for state in ([nested] if isinstance(nested, np.ndarray) else nested)
            ]
            found[part.name] = None if part.states is None else flat
    return found


def assert_same(after, before):
    assert after.keys() == before.keys()
    for name, arrays in before.items():
        assert (after[name] is None) == (arrays is None)
        for a, b in zip(after[name] or [], arrays or [], strict=True):
            np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------ states


class Around(Layer):
    """A custom layer that holds a stateful one, and fails after that has been called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn = SimpleRNN(3, stateful=True, return_sequences=True)

    def call(self, inputs):
        y = self.rnn(inputs)
        if np.isnan(inputs).any():
            raise RuntimeError("broken")
        return y


def a_graph():
    begin = cyrnn.Input(batch_shape=(2, 6, 3))
    return cyrnn.Model(
        begin,
        Fragile(lambda x: np.isnan(x).any())(
            Through()(SimpleRNN(3, stateful=True, return_sequences=True)(begin), begin)
        ),
    )


class Through(Layer):
    """The first of two inputs; NaN if there is NaN in the second."""

    def call(self, inputs, other):
        return np.where(np.isnan(other).any(), np.float32("nan"), inputs)


STATEFUL = {
    "Sequential": lambda: cyrnn.Sequential(
        [Bidirectional(SimpleRNN(3, stateful=True, return_sequences=True)), Around()]
    ),
    "Sequential with a stack": lambda: cyrnn.Sequential(
        [
            L.Identity(),
            Around(),
            L.RNN([SimpleRNNCell(3), SimpleRNNCell(2)], stateful=True, activity_regularizer=lambda x: 0.0),
        ]
    ),
    "Model": a_graph,
    "custom layer": Around,
    "model in a model": lambda: cyrnn.Sequential([cyrnn.Sequential([Around()]), Flatten()]),
}


@pytest.mark.parametrize("case", STATEFUL)
def test_a_call_that_fails_moves_no_state(case):
    model = STATEFUL[case]()
    model(X[:2])
    before = states(model)
    assert any(np.any(state) for arrays in before.values() for state in arrays)
    bad = X[:2].copy()
    bad[1, -1] = np.nan
    with pytest.raises(RuntimeError, match="broken"):
        model(bad)
    assert_same(states(model), before)


@pytest.mark.parametrize("case", sorted(set(STATEFUL) - {"custom layer"}))
def test_a_predict_that_fails_in_a_later_batch_moves_no_state(case):
    model = STATEFUL[case]()
    model(X[:2])
    before = states(model)
    bad = np.concatenate([X, X])
    bad[5] = np.nan
    with pytest.raises(RuntimeError, match="broken"):
        model.predict(bad)
    assert_same(states(model), before)
    with pytest.raises(ValueError, match="out must have"):
        model.predict(X, out=np.empty((3, *model.predict(X).shape[1:]), "float32"))


def test_a_predict_that_is_interrupted_moves_no_state():
    layer = SimpleRNN(3, stateful=True)
    layer(X[:2])
    before = states(layer)

    def interrupted(batches):
        yield batches[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layer.predict(X, progress=interrupted)
    assert_same(states(layer), before)


def test_states_of_a_model_are_reset_all_or_none():
    class Cell(SimpleRNNCell):
        broken = False

        def get_initial_state(self, batch_size=None):
            if self.broken:
                raise RuntimeError("broken")
            return super().get_initial_state(batch_size)

    cell = Cell(3)
    model = cyrnn.Sequential([SimpleRNN(3, stateful=True, return_sequences=True), L.RNN(cell, stateful=True)])
    model(X)
    before = states(model)
    cell.broken = True
    with pytest.raises(RuntimeError, match="broken"):
        model.reset_state()
    assert_same(states(model), before)
    cell.broken = False
    model.reset_state()
    assert not any(np.any(state) for arrays in states(model).values() for state in arrays)


# ------------------------------------------------------------ the layers of a Sequential

UNFIT = {
    "of a wrong shape": (lambda: Reshape((5,)), ValueError, "as many elements"),
    "whose weights fail": (lambda: Dense(2, kernel_initializer=refuse), RuntimeError, "no weights today"),
    "whose weights fail late": (
        lambda: cyrnn.Sequential([Dense(2), Dense(2, bias_initializer=refuse)]),
        RuntimeError,
        "no weights today",
    ),
    "that fails when its shape is asked for": (lambda: Fragile(lambda x: True), RuntimeError, "broken"),
    "of the same name": (lambda: Dense(2, name="first"), ValueError, "'first' twice"),
    "a cell": (
        lambda: SimpleRNNCell(2, name="cell"),
        ValueError,
        "'cell' .SimpleRNNCell., whose call needs states too",
    ),
    "a stack of cells": (
        lambda: L.StackedRNNCells([SimpleRNNCell(2)]),
        ValueError,
        "needs states too: an RNN runs a cell",
    ),
    "no layer": (lambda: "dense", ValueError, "must hold cyrnn layers, got 'dense'"),
    "another Input": (lambda: cyrnn.Input((3,)), ValueError, "must be the first"),
    "a merge of several": (lambda: L.Concatenate(name="join"), ValueError, "'join'"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_add_that_fails_leaves_the_model_as_it_was(case):
    make, error, words = UNFIT[case]
    first = Dense(2, name="first")
    model = cyrnn.Sequential([cyrnn.Input((6, 3)), first])
    expected, config = model(X), model.get_config()
    layer = make()
    with pytest.raises(error, match=words):
        model.add(layer)
    assert model.layers == [first] and model.built and model.get_config() == config
    assert model.output_shape == (None, 6, 2) and len(model.weights) == 2
    np.testing.assert_array_equal(model(X), expected)
    if isinstance(layer, Layer) and layer.name != "first":
        assert layer.weights == [] and not any(part.weights for part in layer.layers_within())
        model.add(Flatten(name=layer.name))  # its name is free
        np.testing.assert_array_equal(model(X), expected.reshape(4, 12))


@pytest.mark.parametrize("case", UNFIT)
def test_layers_that_a_constructor_refuses_are_as_they_were(case):
    make, error, words = UNFIT[case]
    first = SimpleRNN(2, name="first", return_sequences=True, stateful=True)
    normalized = L.LayerNormalization()
    with pytest.raises(error, match=words):
        cyrnn.Sequential([cyrnn.Input(batch_shape=(4, 6, 3)), first, normalized, make()])
    assert not first.built and first.weights == [] and first.states is None and not first.cell.built
    assert not normalized.built and normalized.axis == -1
    model = cyrnn.Sequential([cyrnn.Input(batch_shape=(1, 6, 5)), first])  # it is free for another model
    assert model(np.ones((1, 6, 5))).shape == (1, 6, 2) and first.states[0].shape == (1, 2)


def test_a_first_layer_that_fails_leaves_the_model_empty():
    model = cyrnn.Sequential()
    with pytest.warns(UserWarning, match="input_shape"):
        layer = Dense(2, kernel_initializer=refuse, input_shape=(3,))
    with pytest.raises(RuntimeError, match="no weights today"):
        model.add(layer)
    assert model.layers == [] and model.input_shape is None and not model.built
    model.add(cyrnn.Input((4,)))
    model.add(Dense(2))
    assert model(np.ones((1, 4))).shape == (1, 2)


def test_a_first_call_that_fails_to_build_leaves_the_model_to_be_built_for_another_input():
    model = cyrnn.Sequential([Dense(2), SimpleRNN(2, return_sequences=True), Reshape((12,))])
    with pytest.raises(ValueError, match="as many elements"):
        model(X[:, :5])
    assert not model.built and model.weights == []
    assert model(X).shape == (4, 12)


def test_a_pop_from_no_layers():
    model = cyrnn.Sequential([cyrnn.Input((3,))])
    with pytest.raises(ValueError, match="has no layers"):
        model.pop()
    assert model.input_shape == (None, 3)
    model.add(dense := Dense(2))
    assert model.pop() is dense and model.layers == []
    model.add(Dense(3))
    assert model(np.ones((1, 3))).shape == (1, 3)


# ------------------------------------------------------------ layers and graphs


def test_a_dense_layer_is_not_built_by_an_input_that_it_refuses():
    layer = Dense(2)
    for wrong in (np.ones(3), np.ones(4, int)):
        with pytest.raises(ValueError, match=r"must have shape \(batch, ..., "):
            layer(wrong)
    assert not layer.built
    assert layer(np.ones((1, 4))).shape == (1, 2)


def test_a_graph_that_is_refused_leaves_its_layers_as_they_were():
    a, b, dense = cyrnn.Input((3,)), cyrnn.Input((3,)), Dense(2)
    y = dense(a)
    nodes = len(dense._nodes)
    for inputs, outputs, words in (
        (b, y, "depend on"),
        ([a, a], y, "different from each other"),
        (a, np.ones(3), "symbolic tensors that layers have returned"),
        (a, Dense(2, name=dense.name)(y), "different names"),
    ):
        with pytest.raises(ValueError, match=words):
            cyrnn.Model(inputs, outputs)
    assert len(dense._nodes) == nodes and dense.output is y
    assert cyrnn.Model(a, y)(np.ones((1, 3))).shape == (1, 2)


def test_a_symbolic_call_that_fails_is_not_noted():
    begin, dense = cyrnn.Input((6, 3)), Dense(2)
    several = SimpleRNN(3, return_state=True)(begin)
    with pytest.raises(ValueError, match="'dense.*' expects 1 input, but received 2 tensors"):
        dense(several)
    assert len(dense._nodes) == 0 and not dense.built
    assert dense(begin).shape == (None, 6, 2)


# ------------------------------------------------------------ several outputs into one input


ONE_INPUT = {
    "Activation": lambda: L.Activation("relu"),
    "ActivityRegularization": L.ActivityRegularization,
    "AlphaDropout": lambda: L.AlphaDropout(0.1),
    "AveragePooling1D": lambda: L.AveragePooling1D(2),
    "BatchNormalization": L.BatchNormalization,
    "Bidirectional": lambda: Bidirectional(SimpleRNN(2)),
    "CategoryEncoding": lambda: L.CategoryEncoding(3),
    "Conv1D": lambda: L.Conv1D(2, 2),
    "Cropping1D": L.Cropping1D,
    "Dense": lambda: Dense(2),
    "Discretization": lambda: L.Discretization([0.0]),
    "Dropout": lambda: L.Dropout(0.1),
    "ELU": L.ELU,
    "Embedding": lambda: L.Embedding(3, 2),
    "Flatten": Flatten,
    "GaussianDropout": lambda: L.GaussianDropout(0.1),
    "GaussianNoise": lambda: L.GaussianNoise(0.1),
    "GlobalAveragePooling1D": L.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": L.GlobalMaxPooling1D,
    "Hashing": lambda: L.Hashing(3),
    "Identity": L.Identity,
    "IntegerLookup": lambda: L.IntegerLookup(vocabulary=[1, 2]),
    "LayerNormalization": L.LayerNormalization,
    "LeakyReLU": L.LeakyReLU,
    "Masking": L.Masking,
    "MaxPooling1D": lambda: L.MaxPooling1D(2),
    "Normalization": lambda: L.Normalization(mean=0.0, variance=1.0),
    "PReLU": L.PReLU,
    "Permute": lambda: L.Permute((2, 1)),
    "RNN": lambda: L.RNN(SimpleRNNCell(2)),
    "ReLU": L.ReLU,
    "RepeatVector": lambda: L.RepeatVector(2),
    "Rescaling": lambda: L.Rescaling(2.0),
    "Reshape": lambda: Reshape((3,)),
    "SimpleRNN": lambda: SimpleRNN(2),
    "LSTM": lambda: L.LSTM(3),
    "GRU": lambda: L.GRU(3),
    "Softmax": L.Softmax,
    "SpatialDropout1D": lambda: L.SpatialDropout1D(0.1),
    "StringLookup": lambda: L.StringLookup(vocabulary=["a", "b"]),
    "TextVectorization": lambda: L.TextVectorization(vocabulary=["a", "b"]),
    "ThresholdedReLU": L.ThresholdedReLU,
    "TimeDistributed": lambda: L.TimeDistributed(Dense(2)),
    "UnitNormalization": L.UnitNormalization,
    "UpSampling1D": L.UpSampling1D,
    "ZeroPadding1D": L.ZeroPadding1D,
    "Sequential": lambda: cyrnn.Sequential([Dense(2)]),
}
SEVERAL_OUTPUTS = {
    "states": lambda: SimpleRNN(3, return_state=True),
    "sequences and states": lambda: SimpleRNN(3, return_sequences=True, return_state=True),
    "directions": lambda: Bidirectional(SimpleRNN(3, return_sequences=True), merge_mode=None),
}


def test_every_layer_of_one_input_is_tried():
    classes = {name for name in L.__all__ if isinstance(getattr(L, name), type)}
    several = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"}
    several |= {"Attention", "AdditiveAttention", "MultiHeadAttention"}
    cells = {"SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"}
    aliases = {"GlobalAvgPool1D", "GlobalMaxPool1D", "MaxPool1D", "AvgPool1D", "Convolution1D"}
    assert classes - several - cells - aliases - {"Layer", "InputLayer", "Wrapper"} == set(ONE_INPUT) - {"Sequential"}


@pytest.mark.parametrize("several", SEVERAL_OUTPUTS)
@pytest.mark.parametrize("one", ONE_INPUT)
def test_several_outputs_into_one_input(one, several):
    layer = ONE_INPUT[one]()
    words = f"layer '{layer.name}' expects 1 input, but received 2 tensors"
    with pytest.raises(ValueError, match=words):
        cyrnn.Sequential([cyrnn.Input((6, 3)), SEVERAL_OUTPUTS[several](), layer])
    begin = cyrnn.Input((6, 3))
    with pytest.raises(ValueError, match=words):
        layer(SEVERAL_OUTPUTS[several]()(begin))
    with pytest.raises(ValueError, match=words):
        cyrnn.Sequential([SEVERAL_OUTPUTS[several](), layer]).build((None, 6, 3))
    with pytest.raises(ValueError, match=words):
        cyrnn.Sequential([SEVERAL_OUTPUTS[several](), layer])(X)


def test_layers_of_several_inputs_take_several_outputs():
    class Sum(Layer):
        def call(self, inputs):
            return inputs[0] + inputs[1]

    rnn = SimpleRNN(3, return_state=True)
    warnings.simplefilter("error")  # there is no mask that could end anywhere
    joined = cyrnn.Sequential([cyrnn.Input((6, 3)), rnn, L.Add()])(X)
    output, state = rnn(X)
    np.testing.assert_array_equal(joined, output + state)
    np.testing.assert_array_equal(cyrnn.Sequential([cyrnn.Input((6, 3)), rnn, Sum()])(X), joined)
    inputs = [cyrnn.Input((3,)), cyrnn.Input((3,))]
    model = cyrnn.Model(inputs, L.Add()(inputs))
    np.testing.assert_array_equal(cyrnn.Sequential([cyrnn.Input((6, 3)), rnn, model])(X), joined)
    assert len(cyrnn.Sequential([cyrnn.Input((6, 3)), rnn])(X)) == 2  # at the end there may be several


def test_a_layer_at_each_timestep_has_one_input_and_one_output():
    with pytest.raises(ValueError, match="must take the input alone, got 'cell', whose call needs .'states'. too"):
        L.TimeDistributed(SimpleRNNCell(2, name="cell"))
    layers = [cyrnn.Input((4, 6, 3)), L.TimeDistributed(SimpleRNN(2, return_state=True, name="rnn"))]
    with pytest.raises(ValueError, match="layer 'rnn' in 'time_distributed.*' must return one array"):
        cyrnn.Sequential(layers)
