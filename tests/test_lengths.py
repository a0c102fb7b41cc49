"""Lengths of padded sequences instead of masks, and sequences of unequal length in lists: in calls and in `predict`."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.engine.program import right_padded

rng = np.random.default_rng(3)
X = rng.standard_normal((6, 7, 3)).astype("f")
LENGTHS = np.array([7, 3, 0, 5, 1, 7])
MASK = np.arange(7) < LENGTHS[:, None]
SEQUENCES = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
PADDED = np.where(MASK[..., None], X, np.float32(0))
TOKENS = rng.integers(1, 9, (6, 7))

LAYERS = {
    "SimpleRNN": lambda: layers.SimpleRNN(4, return_sequences=True),
    "LSTM": lambda: layers.LSTM(4, return_state=True),
    "GRU": lambda: layers.GRU(4, go_backwards=True),
    "stack": lambda: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(2)),
    "pooling": lambda: layers.GlobalAveragePooling1D(),
}


def assert_same(found, expected):
    for one, other in zip(cyrnn.layers.base.nest.leaves(found), cyrnn.layers.base.nest.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def sequential(length=7):
    return cyrnn.Sequential([
        cyrnn.Input((length, 3)), layers.LSTM(4, return_sequences=True), layers.Dropout(0.1), layers.GRU(3),
        layers.Dense(2),
    ])  # fmt: skip


def graph():
    a, b = cyrnn.Input((None, 3), name="a"), cyrnn.Input((2,), name="b")
    hidden = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True))(a)
    return cyrnn.Model([a, b], [layers.Concatenate()([layers.GRU(3)(hidden), b]), hidden])


@pytest.mark.parametrize("kind", [np.int64, np.int32, list])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_as_with_the_mask(name, kind):
    layer = LAYERS[name]()
    for _ in range(2):  # the first call builds it
        assert_same(layer(X, lengths=list(LENGTHS) if kind is list else LENGTHS.astype(kind)), layer(X, mask=MASK))


@pytest.mark.parametrize("length", [7, None])
def test_a_model_computes_as_with_the_mask(length):
    model = sequential(length)
    for _ in range(2):
        assert_same(model(X, lengths=LENGTHS), model(X, mask=MASK))
    assert_same(model.predict(X, lengths=LENGTHS), model(X, mask=MASK))
    assert_same(model.predict(X, batch_size=4, lengths=LENGTHS), model(X, mask=MASK))


@pytest.mark.parametrize("form", [lambda n: [n, None], lambda n: {"a": n}, lambda n: {"a": n, "b": None}])
def test_a_graph_of_several_inputs_has_lengths_for_each(form):
    model, b = graph(), np.ones((6, 2), "f")
    expected = model([X, b], mask=[MASK, None])
    assert_same(model([X, b], lengths=form(LENGTHS)), expected)
    assert_same(model.predict({"a": X, "b": b}, batch_size=2, lengths=form(LENGTHS)), expected)


def test_a_subclass_and_custom_layers():
    class Net(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn, self.dense = layers.LSTM(4), layers.Dense(2)

        def call(self, inputs):
            return self.dense(self.rnn(inputs))

    class WithLengths(layers.Layer):
        def call(self, inputs, lengths=None):
            return inputs[:, 0] * lengths[:, None]

    net = Net()
    assert_same(net(X, lengths=LENGTHS), net(X, mask=MASK))
    assert_same(net.predict(X, lengths=LENGTHS), net(X, mask=MASK))
    assert_same(WithLengths()(X, lengths=LENGTHS.astype("f")), X[:, 0] * LENGTHS.astype("f")[:, None])  # its own


@pytest.mark.parametrize("engine", ["simd", "blas"])
def test_what_is_in_the_padding_does_not_matter(engine, monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", engine)
    layer = layers.LSTM(4, return_sequences=True)
    expected = layer(PADDED, lengths=LENGTHS)
    assert_same(layer(np.where(MASK[..., None], X, np.float32(np.nan)), lengths=LENGTHS), expected)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m(X, lengths=LENGTHS[:5]), ValueError, r"lengths must have shape \(6,\).*got \(5,\)"),
        (lambda m: m(X, lengths=LENGTHS + 1), ValueError, "lengths must be from 0 to 7, got 8 for row 0"),
        (lambda m: m(X, lengths=LENGTHS - 1), ValueError, "lengths must be from 0 to 7, got -1 for row 2"),
        (lambda m: m(X, lengths=LENGTHS * 1.0), TypeError, "lengths must be integers"),
        (lambda m: m(X, lengths="long"), TypeError, "lengths must be integers, got 'long'"),
        (lambda m: m(X, mask=MASK, lengths=LENGTHS), ValueError, "lengths must not be given beside a mask"),
        (lambda m: m.predict(X, lengths=LENGTHS + 1), ValueError, "lengths must be from 0 to 7, got 8 for row 0"),
        (lambda m: m.predict(X, lengths=LENGTHS[:5]), ValueError, r"lengths must have shape \(6,\).*got \(5,\)"),
        (lambda m: m.predict(X, lengths=[LENGTHS, None]), ValueError, "lengths must be an array, got list"),
        (lambda m: m.predict((x for x in [(X,)]), lengths=LENGTHS), ValueError, "lengths need arrays"),
        (lambda m: m(cyrnn.Input((7, 3)), lengths=LENGTHS), ValueError, "lengths are for calls with arrays"),
        (lambda m: m.predict(SEQUENCES, lengths=LENGTHS), ValueError, "lengths are those of the sequences in x"),
        (lambda m: m.predict([*SEQUENCES, np.ones((8, 3))]), ValueError, "at most 7 timesteps, got one of 8"),
        (lambda m: m.predict([*SEQUENCES, np.ones((2, 4))]), ValueError, "differ in their length only"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(sequential())


def test_lengths_of_several_inputs_come_in_a_list():
    class Both(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn = layers.SimpleRNN(2)

        def call(self, inputs):
            return self.rnn(inputs[0]) - self.rnn(inputs[1])

    model, none = Both(), np.zeros_like(LENGTHS)
    expected = model.rnn(X, mask=MASK) - model.rnn(X, mask=np.zeros_like(MASK))
    assert_same(model.predict([X, X], lengths=[LENGTHS, none]), expected)
    for wrong in (LENGTHS, [LENGTHS]):
        with pytest.raises(ValueError, match="lengths must be a list with an array, or None, for each of 2 inputs"):
            model.predict([X, X], lengths=wrong)


def test_lengths_for_layers_without_timesteps_are_refused():
    with pytest.raises(ValueError, match=r"lengths need inputs \(batch, timesteps, ...\), got inputs of shape \(6,\)"):
        layers.Activation("relu")(np.ones(6, "f"), lengths=LENGTHS)


# ---------------------------------------------------------------- sequences in a list


@pytest.mark.parametrize("length", [7, None])
def test_sequences_in_a_list_are_padded(length):
    model = sequential(length)
    expected = model(PADDED, mask=MASK)
    assert_same(model.predict(SEQUENCES), expected)
    assert_same(model.predict(SEQUENCES, batch_size=4), expected)
    assert_same(model.predict([x.tolist() for x in SEQUENCES]), expected)
    assert_same(model(SEQUENCES), expected)


def test_shorter_sequences_are_padded_to_the_length_of_the_model():
    model, short = sequential(), SEQUENCES[1:5]
    assert_same(model.predict(short), model(PADDED[1:5], mask=MASK[1:5]))
    assert_same(sequential(None).predict(short).shape, (4, 2))


def test_sequences_of_equal_length_are_an_array():
    model = sequential(None)
    assert_same(model.predict(list(X)), model.predict(X))
    assert_same(model.predict([X]), model.predict(X))  # one input in a list
    assert_same(model.predict(list(X), lengths=LENGTHS), model(X, mask=MASK))


def test_tokens_in_lists():
    model = cyrnn.Sequential(
        [cyrnn.Input((None,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True), layers.GRU(3)]
    )
    tokens = [row[:n].tolist() for row, n in zip(TOKENS, LENGTHS, strict=True)]
    assert_same(model.predict(tokens), model(np.where(MASK, TOKENS, 0)))


def test_layers_predict_sequences_too():
    layer = layers.LSTM(4)
    assert_same(layer.predict(SEQUENCES), layer(PADDED, mask=MASK))
    assert_same(layer.predict(X, lengths=LENGTHS), layer(X, mask=MASK))


def test_vectors_of_unequal_length_are_no_sequences():
    model = cyrnn.Sequential([cyrnn.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="inputs must come as|must be an array"):
        model.predict([[1.0, 2.0, 3.0], [1.0, 2.0]])


@pytest.mark.parametrize("lengths", [LENGTHS[None], LENGTHS.astype("i4"), LENGTHS[::2], LENGTHS.astype(">i8")])
def test_the_engine_takes_lengths_of_one_form_only(lengths):
    with pytest.raises(ValueError, match="lengths must be int64 of one axis, C-contiguous"):
        right_padded(lengths, 7)
