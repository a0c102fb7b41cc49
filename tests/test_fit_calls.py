"""What scripts call around `fit`, and what is wrong with a call: found before the first step, and said in full."""

import numpy as np
import pytest

import cyrnn
from cyrnn import callbacks, losses, optimizers
from cyrnn.layers import BatchNormalization, Dense, Layer, SimpleRNN
from cyrnn.layers.base.programs.gradients import Gradients

ROWS, TIMESTEPS, FEATURES = 10, 4, 3


def data(rows=ROWS, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, TIMESTEPS, FEATURES)).astype(np.float32)
    return x, rng.standard_normal((rows, outputs)).astype(np.float32)


def model_of(outputs=1, sequences=False, **compiled):
    model = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(2, return_sequences=sequences), Dense(outputs, name="last")
    ])  # fmt: skip
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


def two_outputs(**compiled):
    inputs = cyrnn.Input((TIMESTEPS, FEATURES))
    hidden = SimpleRNN(3)(inputs)
    model = cyrnn.Model(inputs, [Dense(1, name="price")(hidden), Dense(2, name="size")(hidden)])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


class Events(callbacks.Callback):
    """Notes which hooks are called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_begin(self, logs=None):
        self.seen.append("train")

    def on_predict_begin(self, logs=None):
        self.seen.append("predict")

    def on_predict_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs["outputs"].shape))


def refused(model, match, call, error=ValueError):
    """The call fails before the first hook and the first step."""
    before, events = model.get_weights(), Events()
    with pytest.raises(error, match=match):
        call(callbacks=[events])
    assert events.seen == []
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("loss", "y", "match"),
    [
        ("mse", np.ones((ROWS, TIMESTEPS, 2)), r"loss of output 'last': y_true must have the shape of y_pred, \(10, 4"),
        ("sparse_categorical_crossentropy", np.ones((ROWS, TIMESTEPS, 3)), r"must have labels of the shape \(10, 4\)"),
        ("sparse_categorical_crossentropy", np.ones(ROWS), r"must have labels of the shape \(10, 4\)"),
        ("categorical_crossentropy", np.ones((ROWS, TIMESTEPS)), r"y_true must have the shape of y_pred"),
        ("crossentropy", np.ones((ROWS, TIMESTEPS, 2)), r"y_true must have the shape of y_pred"),
    ],
)
def test_targets_that_a_loss_cannot_follow(loss, y, match):
    (x, _), model = data(), model_of(3, sequences=True, loss=loss)
    refused(model, match, lambda **options: model.fit(x, y, verbose=0, **options))
    right = np.ones((ROWS, TIMESTEPS, 3)) if "sparse" not in loss else np.ones((ROWS, TIMESTEPS))
    refused(model, match, lambda **options: model.fit(x, right, validation_data=(x, y), verbose=0, **options))
    with pytest.raises(ValueError, match=match):
        model.train_on_batch(x, y)
    assert model.optimizer.iterations == 0
    model.fit(x, right, verbose=0)


def test_targets_that_a_metric_cannot_follow():
    (x, y), model = data(outputs=3), model_of(3, metrics=["sparse_categorical_accuracy"])
    match = "metric 'sparse_categorical_accuracy': "
    refused(model, match, lambda **options: model.fit(x, y, verbose=0, **options))
    with pytest.raises(ValueError, match=match):
        model.train_on_batch(x, y)
    assert model.optimizer.iterations == 0


def test_weights_that_fit_no_loss():
    (x, y), model = data(), model_of()
    for weights in (np.ones((ROWS, TIMESTEPS)), np.ones((ROWS, 1, 2))):
        refused(
            model,
            r"sample_weight must have the shape \(10,\), as",
            lambda weights=weights, **options: model.fit(x, y, sample_weight=weights, verbose=0, **options),
        )


def test_functions_of_users_are_called_with_data_only():
    seen = []

    def squares(y_true, y_pred):
        seen.append(y_true)
        return np.mean((y_pred - y_true) ** 2, axis=-1)

    squares.gradient = lambda y_true, y_pred: 2 * (y_pred - y_true)
    (x, y), model = data(), model_of(loss=squares, metrics=[squares])
    model.fit(x, y, verbose=0, shuffle=False)
    assert len(seen) == 2
    assert all(np.array_equal(truth, y) for truth in seen)


# ---------------------------------------------------------------- arguments


def test_arguments_that_do_not_fit():
    (x, y), model = data(), model_of()

    def fit(*given, **options):
        return lambda **more: model.fit(*given, verbose=0, **options, **more)

    refused(model, "x must be arrays", fit())
    refused(model, "y has nothing for output 'last'", fit(x))
    refused(model, "y must be a real number", fit(x, ["a"] * ROWS))
    refused(model, "got str", fit("data.csv", y))
    refused(model, "validation_split must be a number, got 'a'", fit(x, y, validation_split="a"), TypeError)
    refused(model, "validation_split must be at least 0 and below 1", fit(x, y, validation_split=1.5))
    for frequency in ("a", 1.5, None):
        refused(model, "validation_freq must be an integer", fit(x, y, validation_freq=frequency))
    refused(model, r"validation_data must be a tuple .*, got 1 parts", fit(x, y, validation_data=(x,)))
    refused(model, "as many rows as each other, got: x 10, y 3", fit(x, y, validation_data=(x, y[:3])))
    refused(model, "shape", fit(x, y, validation_data=(x[:, :, :2], y)))
    refused(model, "class_weight must be a dict", fit(x, y, class_weight="balanced"), TypeError)
    refused(model, "callbacks must", lambda **_: model.fit(x, y, callbacks="early"), TypeError)
    with pytest.raises(ValueError, match="steps_per_execution must be a positive integer"):
        model_of(steps_per_execution=0)
    with pytest.raises(ValueError, match="loss must be a list of one for the output 'last', or a dict by name, got 2"):
        model_of(loss=["mse", "mae"])


def test_arguments_for_outputs_that_there_are_not():
    (x, y), model = data(), two_outputs()
    both = [y, np.hstack([y, y])]

    def fit(*given, **options):
        return lambda **more: model.fit(*given, verbose=0, **options, **more)

    refused(model, r"each of the 2 outputs 'price', 'size', or a dict by name, got an array of the shape", fit(x, y))
    refused(model, "no output 'prise'.*did you mean 'price'", fit(x, {"prise": y, "size": both[1]}))
    refused(model, "y has nothing for output 'size', which has a loss", fit(x, {"price": y}))
    refused(model, "no output 'prize'.*did you mean", fit(x, both, sample_weight={"prize": np.ones(ROWS)}))
    refused(model, "class_weight needs a model of one output, got 2", fit(x, both, class_weight={0: 1.0}))
    for wrong in ({"loss": {"prise": "mse"}}, {"metrics": {"prise": ["mae"]}}, {"loss_weights": {"prise": 1.0}}):
        with pytest.raises(ValueError, match="no output 'prise'.*did you mean 'price'"):
            two_outputs(**wrong)
    with pytest.raises(ValueError, match="metrics must be a list of one for each of the 2 outputs.*got 1"):
        two_outputs(metrics=["mae"])


def test_generators_yield_tuples():
    (x, y), model = data(), model_of()
    for item, got in (([x, y], "list"), (x, "ndarray"), ((x, y, y, y), "a tuple of 4")):
        with pytest.raises(ValueError, match=rf"batches must be tuples .*got {got}"):
            model.fit((item for _ in range(2)), verbose=0)
    with pytest.raises(ValueError, match="y must not be given beside data that has batches"):
        model.fit(((x, y) for _ in range(2)), y, verbose=0)
    assert model.optimizer.iterations == 0


def test_methods_of_keras_that_change_fit_are_not_silently_left_out():
    class Own(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.dense = Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            return {}

    x, model = np.ones((2, 3), np.float32), Own()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Own has a method train_step, which cyrnn does not call"):
        model.fit(x, x[:, :1], verbose=0)


def test_a_model_without_trainable_weights_is_measured_with_a_warning():
    (x, y), model = data(), model_of()
    model.trainable = False
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="has no trainable weights"):
        history = model.fit(x, y, verbose=0).history
    assert history["loss"] == [pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)]


def test_no_rows_are_no_epoch():
    (x, y), model = data(0), model_of()
    with pytest.warns(UserWarning, match="ended after fewer batches"):
        assert model.fit(x, y, epochs=3, verbose=0).history == {}
    assert model.optimizer.iterations == 0


# ---------------------------------------------------------------- predict


def test_predict_of_data_that_has_batches():
    (x, y), model = data(), model_of()
    expected = model.predict(x)

    class Dataset:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return x[5 * index : 5 * index + 5], y[5 * index : 5 * index + 5]

    for source in (Dataset(), ((x[i : i + 2],) for i in range(0, ROWS, 2)), iter([(x[:3], y[:3]), (x[3:], y[3:])])):
        np.testing.assert_allclose(model.predict(source), expected, rtol=1e-6)
    endless = ((x[:2], y[:2]) for _ in iter(int, 1))
    assert model.predict(endless, steps=3).shape == (6, 1)
    with pytest.raises(ValueError, match="x must have a batch to predict"):
        model.predict(iter([]))


def test_predict_of_some_steps():
    (x, _), model, events = data(), model_of(), Events()
    np.testing.assert_allclose(model.predict(x, batch_size=3, steps=2), model.predict(x)[:6], rtol=1e-6)
    assert model.predict(x, 5, 0, 2).shape == (ROWS, 1)
    assert model.predict(x, steps=4).shape == (ROWS, 1)
    with pytest.warns(UserWarning, match="ended after fewer batches"):
        assert model.predict(x, batch_size=5, steps=3).shape == (ROWS, 1)
    model.predict(x, batch_size=5, callbacks=[events])
    assert events.seen == ["predict", (0, (5, 1)), (1, (5, 1))]
    outputs = two_outputs().predict(x, steps=5)
    assert [output.shape for output in outputs] == [(ROWS, 1), (ROWS, 2)]
    with pytest.raises(ValueError, match="steps must be a positive integer"):
        model.predict(x, steps=0)
    with pytest.raises(ValueError, match="without steps and callbacks"):
        model.predict(x, steps=1, out=np.empty((ROWS, 1), np.float32))


# ---------------------------------------------------------------- between and during fits


def test_a_learning_rate_that_is_set_counts_from_the_next_step_on():
    (x, y), found = data(), []

    class Slower(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.1 / (batch + 2)

    begin = model_of().get_weights()
    for general in (False, True):
        model = model_of(optimizer=optimizers.SGD(0.1))
        model.set_weights(begin)
        if general:
            model._compiled._step_of = lambda _: None
        model.fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=[Slower()])
        found.append(model.get_weights())
        assert model.optimizer.learning_rate == pytest.approx(0.1 / 6)
    twin, loss = model_of(optimizer=optimizers.SGD(0.1)), losses.MeanSquaredError()
    twin.set_weights(begin)
    for step in range(5):
        twin.optimizer.learning_rate = 0.1 / (step + 1)
        rows = slice(2 * step, 2 * step + 2)
        outputs, pullback = twin.vjp(x[rows], training=True)
        twin.optimizer.apply(pullback(loss.value_and_gradient(y[rows], outputs)[1], inputs=False).weights, twin)
    for weights in found:
        for a, b in zip(weights, twin.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_normalization_is_trained_with_batches_and_measured_with_averages():
    x, y = data(outputs=2)
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), BatchNormalization(momentum=0.5), SimpleRNN(2)])
    model.compile(optimizers.SGD(0.0), "mse")
    history = model.fit(x, y, epochs=2, verbose=0).history
    mean, variance = model.layers[0].get_weights()[2:]
    np.testing.assert_allclose(mean, x.mean((0, 1)) * 0.75, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, 0.25 + 0.75 * x.var((0, 1)), rtol=1e-5)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(np.mean((model(x) - y) ** 2), rel=1e-5)
    assert history["loss"][0] == pytest.approx(np.mean((model(x, training=True) - y) ** 2), rel=1e-5)


class Doubled(Layer):
    """A layer of a user, whose shapes are not asked for in advance: it would be called for them."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def call(self, inputs):
        self.calls.append(len(inputs))
        return inputs * 2.0

    def vjp(self, x, initial_state=None, mask=None, training=False):
        return self.call(x), lambda dy, inputs=True: Gradients(dy * np.float32(2), [], [])


def test_layers_of_users_are_not_called_for_shapes():
    (x, y), doubled = data(outputs=2), Doubled()
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), doubled, SimpleRNN(2)])
    model.compile("sgd", "mse")
    doubled.calls.clear()
    model.fit(x, y, batch_size=6, shuffle=False, verbose=0)
    assert doubled.calls == [6, 4]


# ------------------------------------------------------------ inputs and outputs in structures


@pytest.mark.parametrize("wrap", [lambda array: [array], lambda array: (array,)])
def test_one_input_may_come_in_a_list(wrap):
    (x, y), model = data(), model_of()
    plain = cyrnn.models.clone_model(model)
    plain.set_weights(model.get_weights())
    found = model.fit(wrap(x), wrap(y), epochs=2, shuffle=False, verbose=0).history
    assert found == plain.fit(x, y, epochs=2, shuffle=False, verbose=0).history
    assert model.evaluate(wrap(x), wrap(y), verbose=0) == plain.evaluate(x, y, verbose=0)
    assert model.train_on_batch(wrap(x), wrap(y)) == plain.train_on_batch(x, y)
    np.testing.assert_array_equal(model.predict(wrap(x)), plain.predict(x))


def test_outputs_by_name_come_in_the_order_of_the_model():
    inputs = cyrnn.Input((TIMESTEPS, FEATURES))
    hidden = SimpleRNN(3)(inputs)
    model = cyrnn.Model(inputs, {"price": Dense(1)(hidden), "kind": Dense(2)(hidden)})
    x, _ = data()
    for found in (model(x), model.predict(x), model.predict(x, batch_size=3)):
        assert {name: array.shape for name, array in found.items()} == {"price": (ROWS, 1), "kind": (ROWS, 2)}
        assert list(found) == ["price", "kind"]


# ------------------------------------------------------------ what was compiled


def test_metrics_begin_anew():
    (x, y), model = data(), model_of(metrics=["mae"])
    model.reset_metrics()
    model.evaluate(x, y, verbose=0)
    assert model.metrics[0].result() > 0
    model.reset_metrics()
    assert model.metrics[0].result() == 0
    cyrnn.Sequential([Dense(1)]).reset_metrics()  # which is not compiled


def distance(y_true, y_pred):
    return np.abs(y_true - y_pred).mean()


@pytest.mark.parametrize("options", [{}, {"clone_function": lambda layer: type(layer).from_config(layer.get_config())}])
def test_a_clone_of_a_compiled_model_is_compiled(options):
    x, y = data()
    model = model_of(
        optimizer=optimizers.Adam(Halved()), loss={"last": losses.Huber(0.5)}, metrics=["mae", distance, Biggest()]
    )
    model.fit(x, y, epochs=2, verbose=0)
    clone = cyrnn.models.clone_model(model, **options)
    assert clone.optimizer is not model.optimizer and clone.optimizer.iterations == 0
    assert type(clone.optimizer) is optimizers.Adam and clone.optimizer.learning_rate == 0.5
    assert all(a is not b for a, b in zip(clone.metrics, model.metrics, strict=True))
    clone.set_weights(model.get_weights())
    assert clone.evaluate(x, y, return_dict=True, verbose=0) == model.evaluate(x, y, return_dict=True, verbose=0)
    assert not cyrnn.models.clone_model(cyrnn.Sequential([Dense(1)])).compiled


class Halved(optimizers.schedules.LearningRateSchedule):
    """A schedule of a user, that is not registered."""

    def __call__(self, step):
        return 0.5 ** (step + 1)


class Biggest(cyrnn.metrics.Metric):
    """A metric of a user, that is not registered."""

    def __init__(self, name="biggest", **kwargs):
        super().__init__(name=name, **kwargs)
        self.most = self.add_weight(name="most", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.most.assign(max(float(self.most), float(np.max(y_true))))

    def result(self):
        return float(self.most)
