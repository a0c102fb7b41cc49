"""The validation of a training, and evaluation: which rows in which batches, and what is said of data that ends."""

import numpy as np
import pytest

import cyrnn
from cyrnn import callbacks, metrics, optimizers
from cyrnn.layers import Dense, SimpleRNN

TIMESTEPS, FEATURES = 4, 3


def data(rows=8):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, TIMESTEPS, FEATURES)).astype(np.float32), rng.standard_normal((rows, 1))


def model_of(optimizer="sgd", **compiled):
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(2), Dense(1)])
    model.compile(optimizer, "mse", **compiled)
    return model


def batches(count):
    x, y = data(4)
    return ((x, y) for _ in range(count))


class Counting(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps, self.tests = 0, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_test_batch_end(self, batch, logs=None):
        self.tests += 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [  # as Keras counts them
        ({"validation_split": 0.5, "batch_size": 10, "validation_batch_size": 4}, (2, 5)),
        ({"validation_split": 0.5, "batch_size": 10}, (2, 2)),
        ({"validation_split": 0.5, "steps_per_epoch": 4}, (4, 1)),
        ({"validation_split": 0.25, "validation_steps": 2}, (1, 2)),
        ({"validation_data": data(40), "validation_steps": 2}, (2, 2)),
        ({"validation_data": data(40), "validation_batch_size": 8}, (2, 5)),
        ({"validation_data": data(40), "steps_per_epoch": 2}, (2, 2)),
    ],
)
def test_each_part_is_cut_into_batches_of_its_own(options, expected):
    counting = Counting()
    model_of().fit(*data(40), verbose=0, callbacks=[counting], **options)
    assert (counting.steps, counting.tests) == expected


@pytest.mark.parametrize(("count", "steps", "validated"), [(2, None, 1), (3, 2, 2), (0, None, 0)])
def test_a_generator_that_has_ended_validates_nothing(count, steps, validated):
    model = model_of()
    with pytest.warns(UserWarning, match="data of the validation"):
        fitted = model.fit(*data(), epochs=3, validation_data=batches(count), validation_steps=steps, verbose=0)
    assert len(fitted.history["loss"]) == 3
    assert len(fitted.history.get("val_loss", ())) == validated
    assert all(loss > 0 for loss in fitted.history.get("val_loss", ()))


def test_empty_arrays_validate_nothing():
    (x, y), model = data(), model_of()
    with pytest.warns(UserWarning, match="no batches left"):
        assert list(model.fit(x, y, validation_data=(x[:0], y[:0]), verbose=0).history) == ["loss"]


def test_fewer_batches_than_validation_steps_are_warned_of():
    model = model_of()
    with pytest.warns(UserWarning, match="ended after fewer batches than validation_steps"):
        model.fit(*data(), validation_data=data(), validation_batch_size=4, validation_steps=5, verbose=0)


@pytest.mark.parametrize("nothing", [lambda: (batches(0), None), lambda: (data()[0][:0], data()[1][:0])])
def test_nothing_cannot_be_evaluated(nothing):
    x, y = nothing()
    with pytest.raises(ValueError, match="x must have a batch to evaluate, got none"):
        model_of().evaluate(x, y, verbose=0)


def test_the_frequency_may_be_an_integer_of_numpy():
    for frequency in (np.int64(2), [2], np.array([2])):
        history = model_of().fit(*data(), epochs=3, validation_split=0.5, validation_freq=frequency, verbose=0).history
        assert len(history["val_loss"]) == 1


class Both(metrics.Metric):
    """A metric of several results."""

    def __init__(self, name="both"):
        super().__init__(name=name)
        self.count = self.add_weight(name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign(self.count + 1.0)

    def result(self):
        return {"one": self.count * 1.0, "two": {"double": self.count * 2.0}}


def test_results_of_a_metric_that_are_a_dict_are_logs_by_its_keys():
    (x, y), model = data(), model_of(metrics=[Both()])
    history = model.fit(x, y, batch_size=4, validation_data=(x, y), verbose=0).history
    assert {name: values for name, values in history.items() if "loss" not in name} == {
        "one": [2.0], "double": [4.0], "val_one": [2.0], "val_double": [4.0]
    }  # fmt: skip
    assert model.evaluate(x, y, batch_size=4, verbose=0)[1:] == [2.0, 4.0]
    assert model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)["double"] == 4.0


class Noted(cyrnn.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.calls.append(index)
        x, y = data(4)
        return x, y

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def test_data_learns_when_an_epoch_begins_and_ends():
    dataset = Noted()
    model_of().fit(dataset, epochs=2, shuffle=False, verbose=0)
    assert dataset.calls == ["begin", 0, 1, "end"] * 2


# ---------------------------------------------------------------- averages of weights


def test_an_error_in_a_validation_leaves_the_weights_and_not_their_averages():
    (x, y), model = data(), model_of(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    for _ in range(3):
        model.train_on_batch(x, y)
    before = model.get_weights()

    class Failing(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise RuntimeError("broken")

        def on_predict_batch_end(self, batch, logs=None):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        model.evaluate(x, y, verbose=0, callbacks=[callbacks.SwapEMAWeights(), Failing()])
    with pytest.raises(RuntimeError, match="broken"):
        model.predict(x, callbacks=[callbacks.SwapEMAWeights(), Failing()])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fit_without_epochs_left_ends_with_the_averages():
    """So does one that `BackupAndRestore` finds at its end."""
    (x, y), model = data(), model_of(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    for _ in range(3):
        model.train_on_batch(x, y)
    average = next(v.numpy() for v in model.optimizer.variables if v.name.endswith("simple_rnn_cell_kernel_average"))
    assert np.any(model.get_weights()[0] != average)
    model.fit(x, y, epochs=3, initial_epoch=3, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], average)


@pytest.mark.parametrize("compiled", [True, False])
def test_averages_and_constraints_follow_updates_and_not_calls_that_accumulate(compiled):
    (x, y), model = data(), model_of(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=3))
    if not compiled:
        model._compiled._step_of = lambda _: None
    expected, weights = None, model.get_weights()[0]
    for number in range(1, 10):
        model.train_on_batch(x, y)
        if number % 3 == 0:
            weights = model.get_weights()[0]
            expected = weights if expected is None else 0.5 * expected + 0.5 * weights
            found = [v.numpy() for v in model.optimizer.variables if v.name.endswith("cell_kernel_average")]
            np.testing.assert_allclose(found[0], expected, rtol=1e-6)
        else:
            np.testing.assert_array_equal(model.get_weights()[0], weights)


# ---------------------------------------------------------------- outputs by the keys of a dict


def test_outputs_of_a_dict_have_the_names_of_their_keys():
    (x, y), inputs = data(), cyrnn.Input((TIMESTEPS, FEATURES))
    hidden = SimpleRNN(2)(inputs)
    model = cyrnn.Model(inputs, {"b": Dense(3)(hidden), "a": Dense(1)(hidden)})
    model.compile("sgd", loss={"a": "mse", "b": "mae"}, metrics={"b": ["mse"]}, loss_weights={"a": 2.0})
    targets = {"a": y, "b": np.hstack([y, y, y])}
    history = model.fit(x, targets, sample_weight={"a": np.ones(8), "b": np.ones(8)}, verbose=0).history
    assert list(history) == ["a_loss", "b_loss", "b_mse", "loss"]
    outputs = model(x)
    found = model.evaluate(x, targets, return_dict=True, verbose=0)
    assert found["a_loss"] == pytest.approx(np.mean((outputs["a"] - y) ** 2), rel=1e-5)
    assert found["b_loss"] == pytest.approx(np.mean(np.abs(outputs["b"] - targets["b"])), rel=1e-5)
    with pytest.raises(ValueError, match="y has no output 'c' to be for, only 'a', 'b'"):
        model.fit(x, {"a": y, "c": y}, verbose=0)
