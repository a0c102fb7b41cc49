"""compile, fit, evaluate and their calls for one batch: what they compute, in which order, and what they refuse."""

import signal
import threading
import warnings

import numpy as np
import pytest
from refusals import unchanged

import cyrnn
from cyrnn import callbacks, losses, optimizers
from cyrnn.engine.program import structure_now
from cyrnn.layers import Dense, Embedding, SimpleRNN

ROWS, TIMESTEPS, FEATURES = 10, 4, 3


def data(rows=ROWS, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, TIMESTEPS, FEATURES)).astype(np.float32)
    return x, rng.standard_normal((rows, outputs)).astype(np.float32)


def model_of(units=2, outputs=1, **compiled):
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(units), Dense(outputs, name="last")])
    if compiled:
        model.compile(**compiled)
    return model


def two_outputs(**compiled):
    inputs = cyrnn.Input((TIMESTEPS, FEATURES))
    hidden = SimpleRNN(3)(inputs)
    model = cyrnn.Model(inputs, [Dense(1, name="a")(hidden), Dense(2, name="b")(hidden)])
    model.compile(**compiled)
    return model


def mse(model, x, y):
    return np.mean((model(x) - y) ** 2, dtype=np.float64)


# ---------------------------------------------------------------- what a training computes


def test_fit_is_steps_over_batches():
    """The same as a loop of one's own: forward, the loss's gradient, pullback, apply."""
    (x, y), model = data(), model_of(optimizer=optimizers.SGD(0.1), loss="mse")
    twin, optimizer, loss = cyrnn.models.clone_model(model), optimizers.SGD(0.1), losses.MeanSquaredError()
    twin.set_weights(model.get_weights())
    history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    means = []
    for _ in range(3):
        total = 0.0
        for first in range(0, ROWS, 4):
            rows = slice(first, first + 4)
            outputs, pullback = twin.vjp(x[rows], training=True)
            value, gradient = loss.value_and_gradient(y[rows], outputs)
            total += float(value) * len(outputs)
            optimizer.apply(pullback(gradient, inputs=False).weights, twin)
        means.append(total / ROWS)
    np.testing.assert_allclose(history.history["loss"], means, rtol=1e-5)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_history_has_sorted_logs_of_each_epoch():
    (x, y), model = data(), model_of(optimizer="adam", loss="mse", metrics=["mae", "mse"])
    history = model.fit(x, y, epochs=5, initial_epoch=2, verbose=0, validation_data=(x, y))
    assert list(history.history) == ["loss", "mae", "mse", "val_loss", "val_mae", "val_mse"]
    assert history.epoch == [2, 3, 4]
    assert all(len(values) == 3 and {type(value) for value in values} == {float} for values in history.history.values())
    assert history is model.history
    np.testing.assert_allclose(history.history["loss"], history.history["mse"], rtol=1e-6)
    assert history.history["val_loss"][-1] == pytest.approx(mse(model, x, y), rel=1e-5)


def test_validation_split_takes_the_last_rows():
    (x, y), model = data(), model_of(optimizer=optimizers.SGD(0.0), loss="mse")
    history = model.fit(x, y, validation_split=0.3, verbose=0).history
    assert history["loss"][0] == pytest.approx(mse(model, x[:7], y[:7]), rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(mse(model, x[7:], y[7:]), rel=1e-5)
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(x[:1], y[:1], validation_split=0.3, verbose=0)


def test_validation_freq_says_after_which_epochs():
    (x, y), model = data(), model_of(optimizer="sgd", loss="mse")
    assert len(model.fit(x, y, epochs=5, validation_data=(x, y), validation_freq=2, verbose=0).history["val_loss"]) == 2
    assert (
        len(model.fit(x, y, epochs=5, validation_data=(x, y), validation_freq=[5], verbose=0).history["val_loss"]) == 1
    )


def test_validation_steps_are_the_same_batches_each_time():
    (x, y), model = data(), model_of(optimizer=optimizers.SGD(0.0), loss="mse")
    for options in ({"batch_size": 2}, {"validation_batch_size": 2}):
        history = model.fit(x, y, epochs=3, validation_data=(x, y), validation_steps=2, verbose=0, **options).history
        assert history["val_loss"] == pytest.approx([mse(model, x[:4], y[:4])] * 3, rel=1e-5)


@pytest.mark.thread_unsafe
def test_a_seed_makes_a_training_reproducible_and_epochs_different():
    (x, y), begin, found = data(), model_of().get_weights(), []
    for _ in range(2):
        model, orders = model_of(optimizer="sgd", loss="mse"), []
        model.set_weights(begin)
        taken = model._compiled.train
        model._compiled.train = lambda model, batch, taken=taken, orders=orders: (
            orders.append(tuple(batch.index)),
            taken(model, batch),
        )
        cyrnn.utils.set_random_seed(7)
        model.fit(x, y, batch_size=5, epochs=2, verbose=0)
        found.append((orders, model.get_weights()))
    (orders, weights), (others, same) = found
    assert orders == others
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert orders[:2] != orders[2:]
    assert sorted(sum(orders[:2], ())) == sorted(sum(orders[2:], ())) == list(range(ROWS))


def test_sample_weights_and_class_weights():
    x, _ = data()
    labels = np.arange(ROWS) % 3
    model = model_of(
        outputs=3, optimizer=optimizers.SGD(0.0), loss=losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    each = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")(labels, model(x))
    weights = np.where(labels == 1, 5.0, np.where(labels == 2, 0.5, 1.0))
    expected = np.mean(each * weights)
    options = [{"sample_weight": weights}, {"class_weight": {1: 5.0, 2: 0.5}}]
    for option in options:
        for targets in (labels, labels[:, None]):
            assert model.fit(x, targets, verbose=0, **option).history["loss"] == [pytest.approx(expected, rel=1e-5)]
        assert model.train_on_batch(x, labels, **option) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(x, labels, sample_weight=weights, verbose=0) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="both"):
        model.fit(x, labels, verbose=0, sample_weight=weights, class_weight={1: 2.0})


def test_class_weights_of_sequences_are_of_timesteps():
    """Keras takes the classes over time, or fails."""
    rng = np.random.default_rng(0)
    tokens, labels = rng.integers(1, 9, (ROWS, TIMESTEPS)), rng.integers(0, 3, (ROWS, TIMESTEPS))
    model = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS,)), Embedding(9, 4), SimpleRNN(5, return_sequences=True), Dense(3, activation="softmax")
    ])  # fmt: skip
    model.compile(optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    each = losses.SparseCategoricalCrossentropy(reduction="none")(labels, model(tokens))
    expected = np.mean(each * np.where(labels == 2, 3.0, 1.0))
    for targets in (labels, labels[..., None]):
        found = model.fit(tokens, targets, verbose=0, class_weight={2: 3.0}).history["loss"]
        assert found == [pytest.approx(expected, rel=1e-5)]


def test_several_outputs():
    x, y = data()
    targets = [y, np.hstack([y, y])]
    model = two_outputs(
        optimizer=optimizers.SGD(0.0), loss={"a": "mse", "b": "mae"}, loss_weights={"b": 2.0}, metrics={"b": ["mse"]}
    )
    a, b = model(x)
    expected = {"a_loss": np.mean((a - y) ** 2), "b_loss": np.mean(np.abs(b - targets[1]))}
    found = model.evaluate(x, targets, return_dict=True, verbose=0)
    assert list(found) == ["a_loss", "b_loss", "b_mse", "loss"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5)
    assert found["loss"] == pytest.approx(expected["a_loss"] + 2 * expected["b_loss"], rel=1e-5)
    assert model.metrics_names == ["loss", "a_loss", "b_loss", "b_mse"]
    assert model.fit(x, {"a": y, "b": targets[1]}, verbose=0).history["loss"][0] == pytest.approx(
        found["loss"], rel=1e-5
    )
    with pytest.raises(ValueError, match="'c'.*did you mean|no output 'c'"):
        model.fit(x, {"a": y, "c": y}, verbose=0)
    only_one = two_outputs(optimizer="sgd", loss={"a": "mse"})
    before = only_one.get_layer("b").get_weights()
    only_one.fit(x, [y, None], verbose=0)
    np.testing.assert_array_equal(only_one.get_layer("b").get_weights()[0], before[0])


def test_penalties_are_part_of_the_loss():
    x, y = data()
    model = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(2, kernel_regularizer="l2"), Dense(1, bias_regularizer="l1")
    ])  # fmt: skip
    model.compile(optimizers.SGD(0.0), "mse")
    expected = mse(model, x, y) + sum(float(penalty) for penalty in model.losses)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.fit(x, y, verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-5)]


# ---------------------------------------------------------------- data


def test_batches_come_from_anything_that_has_some():
    (x, y), begin = data(), model_of().get_weights()

    class Dataset:
        def __init__(self):
            self.ends = 0

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return x[5 * index : 5 * index + 5], y[5 * index : 5 * index + 5]

        def on_epoch_end(self):
            self.ends += 1

    def generator():
        while True:
            for first in (0, 5):
                yield x[first : first + 5], y[first : first + 5]

    class Iterable:
        def __iter__(self):
            return iter([(x[:5], y[:5]), (x[5:], y[5:])])

    dataset, found = Dataset(), []
    for source, options in (
        (x, {"y": y, "batch_size": 5}), (dataset, {}), (generator(), {"steps_per_epoch": 2}), (Iterable(), {}),
    ):  # fmt: skip
        model = model_of(optimizer=optimizers.SGD(0.1), loss="mse")
        model.set_weights(begin)
        model.fit(source, epochs=3, shuffle=False, verbose=0, **options)
        found.append(model.get_weights())
    for weights in found[1:]:
        for a, b in zip(weights, found[0], strict=True):
            np.testing.assert_array_equal(a, b)
    assert dataset.ends == 3


def test_a_generator_that_ends_ends_the_training_with_a_warning():
    (x, y), model = data(), model_of(optimizer="sgd", loss="mse")
    with pytest.warns(UserWarning, match="ended after fewer batches"):
        history = model.fit(((x, y) for _ in range(3)), epochs=5, steps_per_epoch=2, verbose=0)
    assert len(history.epoch) == 2


def test_steps_per_epoch_goes_on_where_the_last_epoch_stopped():
    (x, y), model, rows = data(12), model_of(optimizer=optimizers.SGD(0.0), loss="mse"), []
    train = model._compiled.train
    model._compiled.train = lambda model, batch: (rows.append(list(batch.index)), train(model, batch))
    model.fit(x, y, batch_size=4, epochs=4, steps_per_epoch=2, shuffle=False, verbose=0)
    assert [first for first, *_ in rows] == [0, 4, 8, 0, 4, 8]


def test_memory_maps_are_gathered(tmp_path):
    x, y = data(64)
    np.save(tmp_path / "x.npy", x.astype(np.float64))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    model, twin = model_of(optimizer="adam", loss="mse"), model_of(optimizer="adam", loss="mse")
    twin.set_weights(model.get_weights())
    model.fit(mapped, y, shuffle=False, verbose=0, epochs=2)
    twin.fit(x, y, shuffle=False, verbose=0, epochs=2)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_lists_of_numbers_are_arrays():
    model = cyrnn.Sequential([cyrnn.Input((1,)), Dense(1)])
    model.compile(optimizers.SGD(0.1), "mse")
    model.fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], epochs=300, verbose=0)
    np.testing.assert_allclose(model.predict(np.array([[10.0]])), [[21.0]], rtol=0.02)


# ---------------------------------------------------------------- errors, interrupts, infinities


def test_errors_come_before_the_first_step():
    (x, y), bare = data(), model_of()
    unchanged(bare, "must be compiled", lambda: bare.fit(x, y))
    unchanged(bare, "must be compiled", lambda: bare.evaluate(x, y))
    unchanged(bare, "must be compiled", lambda: bare.train_on_batch(x, y))
    unchanged(bare, "adma", lambda: bare.compile("adma", "mse"))
    unchanged(bare, "'mea'", lambda: bare.compile("adam", "mea"))
    unchanged(bare, "metrics must be a list", lambda: bare.compile("adam", "mse", metrics="mae"))
    unchanged(bare, "'acuracy'", lambda: bare.compile("adam", "mse", metrics=["acuracy"]))
    unchanged(bare, "loss must be a list of one for the output", lambda: bare.compile("adam", ["mse", "mae"]))
    assert not bare.compiled
    model = model_of(optimizer="sgd", loss="mse")
    unchanged(model, "as many rows.*x 10, y 9", lambda: model.fit(x, y[:9], verbose=0))
    unchanged(model, "as many rows", lambda: model.train_on_batch(x, y[:1]))
    unchanged(model, "as many rows", lambda: model.evaluate(x, y, sample_weight=np.ones(3), verbose=0))
    unchanged(model, "y_true must have the shape", lambda: model.fit(x, np.ones((10, 2)), verbose=0))
    unchanged(model, "batch_size must be a positive integer", lambda: model.fit(x, y, batch_size=0))
    unchanged(model, "epochs must be at least 0", lambda: model.fit(x, y, epochs=-1))
    unchanged(model, "shuffle", lambda: model.fit(x, y, shuffle="rows"))
    unchanged(model, "validation_data must be a tuple", lambda: model.fit(x, y, validation_data=x))
    unchanged(model, "callbacks must", lambda: model.fit(x, y, callbacks=[print]), TypeError)
    unchanged(model, "shape", lambda: model.fit(x[:, :, :2], y, verbose=0))
    no_loss = model_of(optimizer="sgd")
    unchanged(no_loss, "there is no loss", lambda: no_loss.fit(x, y, verbose=0))
    no_target = model_of(optimizer="sgd", loss="mse")
    unchanged(no_target, "y has nothing for output 'last'", lambda: no_target.fit(x, verbose=0))


def test_a_loss_function_of_ones_own_says_what_its_gradient_is():
    def squares(y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2, axis=-1)

    (x, y), model = data(), model_of(optimizer=optimizers.SGD(0.1), loss=squares)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(mse(model, x, y), rel=1e-5)
    unchanged(model, "'squares' has no gradient", lambda: model.fit(x, y, verbose=0))
    squares.gradient = lambda y_true, y_pred: 2 * (y_pred - y_true) / y_pred.shape[-1]
    twin = model_of(optimizer=optimizers.SGD(0.1), loss="mse")
    twin.set_weights(model.get_weights())
    for each in (model, twin):
        each.fit(x, y, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_losses_that_are_nan_end_nothing():
    (x, y), model = data(), model_of(optimizer="sgd", loss="mse")
    y[3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(x, y, epochs=2, verbose=0)
    assert np.isnan(history.history["loss"]).all()


def test_stop_training_ends_after_the_step():
    class Stop(callbacks.Callback):
        seen = ()

        def on_train_batch_end(self, batch, logs=None):
            self.seen = (*self.seen, batch)
            self.model.stop_training = batch == 1

    (x, y), model, stop = data(), model_of(optimizer="sgd", loss="mse"), Stop()
    history = model.fit(x, y, batch_size=2, epochs=9, verbose=0, callbacks=[stop])
    assert stop.seen == (0, 1)
    assert history.epoch == [0]


def test_a_training_does_not_change_the_structure_of_its_model():
    """Programs and the compiled step are made once, and not again in each `fit`."""
    (x, y), model = data(), model_of(optimizer="sgd", loss="mse")
    model.fit(x, y, verbose=0)
    before, step = structure_now(), model._compiled._step[1]
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)])
    model.stop_training = True
    assert structure_now() == before
    assert step is not None and model._compiled._step[1] is step
    model.layers[0].go_backwards = True
    assert structure_now() > before


@pytest.mark.thread_unsafe
def test_an_interrupt_leaves_the_weights_of_the_last_step():
    """Whenever Ctrl-C comes, the number of the step fits the weights: these are what so many steps make of them."""
    (x, y), model = data(64), model_of(units=8, optimizer=optimizers.SGD(0.01), loss="mse")
    begin = model.get_weights()
    timer = threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background may ignore it

    class Starting(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                timer.start()

    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, batch_size=64, epochs=10**7, shuffle=False, verbose=0, callbacks=[Starting()])
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    steps, weights = model.optimizer.iterations, model.get_weights()
    assert steps > 0
    again = model_of(units=8, optimizer=optimizers.SGD(0.01), loss="mse")
    again.set_weights(begin)
    again.fit(x, y, batch_size=64, epochs=steps, shuffle=False, verbose=0)
    for a, b in zip(weights, again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_stateful_models_keep_their_states_from_batch_to_batch():
    x, y = data(8)
    model = cyrnn.Sequential([
        cyrnn.Input(batch_shape=(4, TIMESTEPS, FEATURES)), SimpleRNN(3, stateful=True), Dense(1)
    ])  # fmt: skip
    model.compile(optimizers.SGD(0.0), "mse")
    found = model.fit(x, y, shuffle=False, verbose=0).history["loss"][0]
    model.reset_states()
    outputs = np.concatenate([model(x[:4]), model(x[4:])])
    assert found == pytest.approx(np.mean((outputs - y) ** 2), rel=1e-5)
    unchanged(model, "multiple of 4", lambda: model.fit(x[:6], y[:6], verbose=0))
    unchanged(model, "batch_size must be 4", lambda: model.fit(x, y, batch_size=2, verbose=0))
