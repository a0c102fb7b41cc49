"""Trainings with `lengths`, and with sequences in a list: as with a mask from a layer, bit for bit."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers

rng = np.random.default_rng(5)
LENGTHS = rng.integers(1, 8, 40)
MASK = np.arange(7) < LENGTHS[:, None]
X = np.where(MASK[..., None], rng.standard_normal((40, 7, 3)), 0).astype("f")
SEQUENCES = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
Y, EACH = rng.standard_normal((40, 2)).astype("f"), rng.standard_normal((40, 7, 2)).astype("f")


def model(masking, sequences=False, optimizer="adam", dropout=0.0, **options):
    """With a Masking layer, or one that does nothing; the weights are the same."""
    first = layers.Masking() if masking else layers.Rescaling(1.0)
    made = cyrnn.Sequential([
        cyrnn.Input((7, 3)), first, layers.LSTM(4, return_sequences=True, dropout=dropout),
        layers.GRU(3, return_sequences=sequences), layers.Dense(2),
    ])  # fmt: skip
    weights = np.random.default_rng(0)
    made.set_weights([0.5 * weights.standard_normal(w.shape) for w in made.get_weights()])
    made.compile(optimizer, "mse", metrics=["mae"], **options)
    return made


def trained(made, x, y, **options):
    history = made.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0, **options)
    return [*made.get_weights(), *history.history["loss"], *history.history["mae"]]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "ftrl"])  # one compiled call, and step by step
def test_fit_follows_the_lengths(sequences, optimizer):
    y = EACH if sequences else Y
    expected = trained(model(True, sequences, optimizer), X, y)
    logs = 6
    for found in (
        trained(model(False, sequences, optimizer), X, y, lengths=LENGTHS),
        trained(model(False, sequences, optimizer), SEQUENCES, y),
    ):
        assert_same(found[:-logs], expected[:-logs])
        np.testing.assert_allclose(found[-logs:], expected[-logs:], rtol=1e-6)
    assert not np.array_equal(trained(model(False, sequences, optimizer), X, y)[0], expected[0])


def test_a_common_training_with_lengths_is_compiled():
    made = model(False)
    trained(made, X, Y, lengths=LENGTHS)
    assert made._compiled._step[1] is not None


def test_what_is_in_the_padding_does_not_matter():
    dirty = np.where(MASK[..., None], X, np.float32(np.nan))
    assert_same(trained(model(False), dirty, Y, lengths=LENGTHS), trained(model(False), X, Y, lengths=LENGTHS))


def test_dropout_weights_and_a_part_to_validate_with():
    found = []
    for masking in (True, False):
        cyrnn.utils.set_random_seed(0)
        options = {} if masking else {"lengths": LENGTHS}
        made = model(masking, dropout=0.3)
        made.fit(X, Y, sample_weight=np.arange(40), batch_size=16, validation_split=0.25, verbose=0, **options)
        found.append([*made.get_weights(), *made.history.history["val_loss"]])
    assert_same(*found)


def test_evaluate_and_data_to_validate_with():
    one, other = model(True), model(False)
    assert one.evaluate(X, Y, verbose=0) == other.evaluate(X, Y, verbose=0, lengths=LENGTHS)
    assert one.evaluate(X, Y, verbose=0) == other.evaluate(SEQUENCES, Y, verbose=0)
    histories = [
        one.fit(X, Y, validation_data=(X, Y), shuffle=False, verbose=0),
        other.fit(SEQUENCES, Y, validation_data=(SEQUENCES, Y), shuffle=False, verbose=0),
    ]
    assert histories[0].history == histories[1].history


def test_single_batches_and_generators():
    one, other = model(True), model(False)
    assert one.train_on_batch(X, Y) == other.train_on_batch(SEQUENCES, Y)
    assert one.test_on_batch(X, Y) == other.test_on_batch(SEQUENCES, Y)
    batches = [(SEQUENCES[:16], Y[:16]), (SEQUENCES[16:], Y[16:])]
    other.fit((batch for batch in batches), verbose=0)
    one.fit(((X[n], Y[n]) for n in (slice(16), slice(16, 40))), verbose=0)
    assert_same(one.get_weights(), other.get_weights())


def test_predict_with_steps_follows_the_lengths():
    made = model(False)
    expected = model(True).predict(X)
    np.testing.assert_allclose(made.predict(X, batch_size=10, steps=4, lengths=LENGTHS), expected, rtol=1e-6)


def test_graphs_subclasses_and_models_that_are_not_built():
    class Net(cyrnn.Model):
        def __init__(self, masking):
            super().__init__()
            self.masking = layers.Masking() if masking else layers.Rescaling(1.0)
            self.rnn, self.dense = layers.LSTM(4, seed=0), layers.Dense(2)

        def call(self, inputs):
            return self.dense(self.rnn(self.masking(inputs)))

    def graph(masking):
        a, b = cyrnn.Input((None, 3), name="a"), cyrnn.Input((2,), name="b")
        hidden = layers.GRU(3)(layers.Masking()(a) if masking else a)
        return cyrnn.Model([a, b], layers.Dense(2)(layers.Concatenate()([hidden, b])))

    def unbuilt(masking):
        return cyrnn.Sequential(
            [layers.Masking() if masking else layers.Rescaling(1.0), layers.LSTM(4), layers.Dense(2)]
        )

    for make, x, lengths in ((Net, X, LENGTHS), (unbuilt, X, LENGTHS), (graph, [X, Y], {"a": LENGTHS})):
        found = []
        for masking in (True, False):
            cyrnn.utils.set_random_seed(0)
            made = make(masking)
            made.compile("sgd", "mse")
            made.fit(x, Y, verbose=0, shuffle=False, **({} if masking else {"lengths": lengths}))
            found.append(made.get_weights())
        assert_same(*found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lengths": LENGTHS[:-1]}, r"lengths must have shape \(40,\)"),
        ({"lengths": LENGTHS + 7}, "lengths must be from 0 to 7"),
    ],
)
def test_nothing_changes_where_lengths_do_not_fit(options, words):
    made = model(False)
    before = made.get_weights()
    with pytest.raises(ValueError, match=words):
        made.fit(X, Y, verbose=0, **options)
    with pytest.raises(ValueError, match="lengths must not be given beside data that has batches"):
        made.fit(((X, Y) for _ in range(1)), verbose=0, lengths=LENGTHS)
    assert_same(made.get_weights(), before)
