"""Where a training is right and Keras' is not, and where both surprise: see README's table of differences."""

import numpy as np
import pytest

import cyrnn
from cyrnn import losses, optimizers
from cyrnn.layers import Dense, Embedding, Masking, SimpleRNN

SAME = 6  # rows and timesteps: where Keras takes the one for the other


@pytest.fixture(params=[False, True], ids=["compiled step", "general step"])
def compiled(request):
    """A function that compiles a model, so that its steps go one of the two roads."""

    def compile_(model, *args, **options):
        model.compile(*args, **options)
        if request.param:
            model._compiled._step_of = lambda _: None
        return model

    return compile_


def tagger(units=1, activation=None, tokens=9):
    return cyrnn.Sequential([
        cyrnn.Input((SAME,)), Embedding(tokens, 3, mask_zero=True), SimpleRNN(4, return_sequences=True),
        Dense(units, activation, name="last"),
    ])  # fmt: skip


def padded(rng, tokens=9):
    """Tokens of sequences of different lengths, and where they are."""
    x = rng.integers(1, tokens, (SAME, SAME))
    keep = np.arange(SAME) < rng.integers(1, SAME + 1, (SAME, 1))
    return x * keep, keep


def only_loss(model, x, y, **options):
    history = model.fit(x, y, batch_size=SAME, shuffle=False, verbose=0, **options).history
    assert model.evaluate(x, y, verbose=0, **options) == pytest.approx(history["loss"][0], rel=1e-5)
    return history["loss"][0]


# ---------------------------------------------------------------- which weight is for which value


def test_weights_of_as_many_rows_as_timesteps_are_of_rows(compiled):
    rng = np.random.default_rng(0)
    x, keep = padded(rng)
    labels, weights = rng.integers(0, 3, (SAME, SAME)), rng.random(SAME)
    model = compiled(tagger(3, "softmax"), optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    each = -np.log(np.take_along_axis(model(x), labels[..., None], -1)[..., 0])
    expected = np.sum(each * weights[:, None] * keep) / keep.sum()
    for given in (weights, weights[:, None], np.tile(weights[:, None], SAME)):
        assert only_loss(model, x, labels, sample_weight=given) == pytest.approx(expected, rel=1e-5)


def test_one_array_of_weights_is_of_the_rows_of_all_outputs():
    rng = np.random.default_rng(0)
    inputs = cyrnn.Input((SAME, 2))
    states = SimpleRNN(3, return_sequences=True)(inputs)
    model = cyrnn.Model(inputs, [Dense(2, name="steps")(states), Dense(1, name="end")(states[:, -1])])
    x, weights = rng.standard_normal((SAME, SAME, 2)), rng.random(SAME)
    y = [rng.standard_normal((SAME, SAME, 2)), rng.standard_normal((SAME, 1))]
    model.compile(optimizers.SGD(0.0), "mse")
    expected = sum(
        np.mean(np.mean((a - b) ** 2, -1).reshape(SAME, -1) * weights[:, None])
        for a, b in zip(model(x), y, strict=True)
    )
    for given in (weights, weights[:, None], [weights, weights], {"steps": weights, "end": weights}):
        assert model.fit(x, y, sample_weight=given, verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-5)]


def test_masked_targets_without_a_last_axis(compiled):
    rng = np.random.default_rng(0)
    x, keep = padded(rng)
    y = rng.standard_normal((SAME, SAME))
    model = compiled(tagger(), optimizers.SGD(0.0), "mse", weighted_metrics=["mae"])
    expected = np.mean((model(x)[..., 0] - y)[keep] ** 2)
    for given in (y, y[..., None]):
        assert model.fit(x, given, verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-5)]
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["mae"] == pytest.approx(np.mean(np.abs(model(x)[..., 0] - y)[keep]), rel=1e-5)


def test_the_loss_of_an_epoch_weighs_batches_by_rows():
    """As in Keras: with masks it is another mean than that of the metric, which counts timesteps."""
    rng = np.random.default_rng(3)
    x, keep = padded(rng)
    y = rng.standard_normal((SAME, SAME))
    model = tagger()
    model.compile(optimizers.SGD(0.0), "mse", metrics=["mse"])
    history = model.fit(x, y, batch_size=2, shuffle=False, verbose=0).history
    squares = (model(x)[..., 0] - y) ** 2
    of_batches = [np.mean(squares[rows][keep[rows]]) for rows in (slice(0, 2), slice(2, 4), slice(4, 6))]
    assert history["loss"] == [pytest.approx(np.mean(of_batches), rel=1e-5)]
    assert history["mse"] == [pytest.approx(np.mean(squares[keep]), rel=1e-5)]
    assert np.mean(of_batches) != pytest.approx(np.mean(squares[keep]), rel=1e-3)


def test_the_losses_of_outputs_weigh_batches_by_rows():
    """So that the loss of an epoch is their weighted sum, also where the last batch is short."""
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    inputs = cyrnn.Input((3,))
    model = cyrnn.Model(inputs, [cyrnn.layers.Dense(2, name="a")(inputs), cyrnn.layers.Dense(2, name="b")(inputs)])
    model.compile("sgd", "mse", loss_weights=[1.0, 3.0])
    found = model.evaluate(x, [y, y], batch_size=4, verbose=0, return_dict=True)
    a, b = (np.mean((output - y) ** 2) for output in model(x))
    assert found == pytest.approx({"loss": a + 3 * b, "a_loss": a, "b_loss": b}, rel=1e-5)


# ---------------------------------------------------------------- gradients


def test_gradients_of_a_token_are_summed(compiled):
    """Of tokens that come several times, and with optimizers that square: as of a Dense of one-hot vectors."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, (8, 5)), rng.standard_normal((8, 2)).astype(np.float32)
    tokens = cyrnn.Sequential([cyrnn.Input((5,)), Embedding(3, 4), SimpleRNN(2)])
    vectors = cyrnn.Sequential([cyrnn.Input((5, 3)), Dense(4, use_bias=False), SimpleRNN(2)])
    vectors.set_weights(tokens.get_weights())
    for model, inputs in ((tokens, x), (vectors, np.eye(3, dtype=np.float32)[x])):
        compiled(model, optimizers.Adam(0.05, clipnorm=0.1), "mse")
        model.fit(inputs, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(tokens.get_weights(), vectors.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_one_hot_rows_of_zeros_count_for_nothing(compiled):
    """Padding by hand: Keras on TensorFlow has a loss of 0 for it, and a gradient."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3)).astype(np.float32)
    model = cyrnn.Sequential([cyrnn.Input((3,)), Dense(3, "softmax")])
    compiled(model, "sgd", "categorical_crossentropy")
    before = model.get_weights()
    assert model.train_on_batch(x, np.zeros((4, 3))) == 0
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_that_is_masked_moves_weights_by_momentum_only(compiled):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 5, 2)).astype(np.float32), rng.standard_normal((4, 5, 1)).astype(np.float32)
    model = cyrnn.Sequential([
        cyrnn.Input((5, 2)), Masking(), SimpleRNN(3, return_sequences=True), Dense(1)
    ])  # fmt: skip
    compiled(model, optimizers.SGD(0.1, momentum=0.5), "mse")
    nothing = np.zeros_like(x)
    begin = model.get_weights()
    assert model.train_on_batch(nothing, y) == 0
    for a, b in zip(model.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(a, b)
    model.train_on_batch(x, y)
    before = model.get_weights()
    assert model.train_on_batch(nothing, y) == 0
    for first, a, b in zip(begin, model.get_weights(), before, strict=True):
        np.testing.assert_allclose(a - b, 0.5 * (b - first), rtol=1e-3, atol=1e-6)
    assert model.train_on_batch(x, y, sample_weight=np.zeros(4)) == 0


# ---------------------------------------------------------------- compile and data


def test_compile_forgets_what_was_chosen_before():
    model = cyrnn.Sequential([cyrnn.Input((2,)), Dense(1)])
    x = np.ones((2, 2), np.float32)
    model.compile("sgd", "mse", metrics=["mae"])
    model.compile("sgd", "mse")
    assert list(model.fit(x, x[:, :1], verbose=0).history) == ["loss"]
    model.compile("sgd")
    with pytest.raises(ValueError, match="there is no loss"):
        model.fit(x, x[:, :1], verbose=0)


def test_losses_of_some_outputs_by_name():
    inputs = cyrnn.Input((2,))
    model = cyrnn.Model(inputs, [Dense(1, name="a")(inputs), Dense(1, name="b")(inputs)])
    x = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    y = x[:, :1]
    model.compile(optimizers.SGD(0.0), {"b": "mse"}, metrics={"a": ["mae"]})
    found = model.fit(x, {"a": y, "b": y}, verbose=0).history
    assert found["loss"] == [pytest.approx(np.mean((model(x)[1] - y) ** 2), rel=1e-5)]
    assert list(found) == ["a_mae", "loss"]
    model.compile("sgd", {"b": "mse"})
    model.fit(x, {"b": y}, verbose=0)


def test_metrics_of_a_generator_that_ends_count_its_batches():
    """A metric that is one number for a batch: Keras on TensorFlow counts a batch too many."""
    x = np.ones((4, 2), np.float32)
    model = cyrnn.Sequential([cyrnn.Input((2,)), Dense(1)])
    model.compile("sgd", "mse", metrics=[lambda y_true, y_pred: np.float32(0.75)])
    history = model.fit(((x, x[:, :1]) for _ in range(3)), verbose=0).history
    assert history["<lambda>"] == [0.75]


def test_a_generator_that_ends_is_not_begun_again():
    x = np.ones((4, 2), np.float32)
    model = cyrnn.Sequential([cyrnn.Input((2,)), Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="ended after fewer batches"):
        history = model.fit(((x, x[:, :1]) for _ in range(3)), epochs=3, verbose=0)
    assert history.epoch == [0]
    assert model.optimizer.iterations == 3


def test_labels_are_integers_of_any_size():
    """Keras rounds them to float32, where 2 ** 24 + 1 is 2 ** 24."""
    p = np.zeros((1, 2**24 + 2), np.float32)
    p[0, 2**24 + 1] = 5
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert loss(np.array([2**24 + 1]), p) < loss(np.array([2**24]), p) - 4


def test_stateful_models_take_their_own_batches():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3, 2)).astype(np.float32), rng.standard_normal((8, 1)).astype(np.float32)
    model = cyrnn.Sequential([cyrnn.Input(batch_shape=(4, 3, 2)), SimpleRNN(2, stateful=True), Dense(1)])
    model.compile("sgd", "mse")
    assert model.fit(x, y, shuffle=False, verbose=0).params["steps"] == 2
    begin = model.get_weights()
    for call in (
        lambda: model.fit(x, y, validation_data=(x[:6], y[:6]), verbose=0),
        lambda: model.evaluate(x[:6], y[:6], verbose=0),
        lambda: model.fit(x, y, validation_split=0.25, verbose=0),
        lambda: model.train_on_batch(x[:1], y[:1]),
    ):
        with pytest.raises(ValueError, match="4"):
            call()
    for a, b in zip(model.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(a, b)
