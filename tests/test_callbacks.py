"""Callbacks: what they do after which results, by Keras' rules, and where those are better here."""

import numpy as np
import pytest
from training_by_hand import FakeModel, train

from cyrnn import callbacks

# ---------------------------------------------------------------- the list, and what it calls


def run(callback, results, model=None, **options):
    """The model after a training with one callback or several."""
    model = FakeModel() if model is None else model
    made = callbacks.CallbackList(callback, model=model, verbose=0, epochs=len(results), steps=2)
    train(made, model, results, **options)
    return model


def val_losses(*values):
    return [{"val_loss": float(value)} for value in values]


def recorder(events, name=""):
    """A callback that notes each call."""

    def note(hook):
        return lambda *args, **kwargs: events.append((name + hook.removeprefix("on_"), *args, *kwargs))

    return callbacks.LambdaCallback(**{hook: note(hook) for hook in callbacks.callback.HOOKS})


def test_the_order_of_one_training():
    events = []
    run(recorder(events), [{"loss": 1.0}], batches=1, validates=True)
    assert events == [
        ("train_begin", {}),
        ("epoch_begin", 0, {}),
        ("train_batch_begin", 0, "logs"),  # of batches, `logs` is a keyword
        ("train_batch_end", 0, "logs"),
        ("test_begin", {}),
        ("test_batch_begin", 0, "logs"),
        ("test_batch_end", 0, "logs"),
        ("test_end", {"loss": 1.0}),
        ("epoch_end", 0, {"loss": 1.0}),
        ("train_end", {"loss": 1.0}),
    ]


def test_history_and_bar_come_after_those_of_the_user():
    mine = [callbacks.Callback(), [callbacks.Callback(), (callbacks.Callback(),)]]
    made = callbacks.CallbackList(mine, add_history=True, add_progbar=True)
    assert [type(found).__name__ for found in made.callbacks] == ["Callback"] * 3 + ["History", "ProgbarLogger"]
    history = callbacks.History()
    made = callbacks.CallbackList([history, callbacks.Callback()], add_history=True)
    assert made.callbacks[0] is history and len(made.callbacks) == 2
    assert callbacks.CallbackList().callbacks == []


def test_a_list_may_be_used_again():
    model, stopping = FakeModel(), callbacks.EarlyStopping("loss", patience=2)
    first = callbacks.CallbackList([stopping], add_history=True, model=model, epochs=2, steps=1, verbose=0)
    again = callbacks.CallbackList(first, add_history=True, model=model)
    assert again.callbacks == first.callbacks
    for made in (first, again, first):
        assert train(made, model, [{"loss": 1.0}] * 9) == 3
    assert model.history.epoch == [0, 1, 2]


def test_results_are_floats_in_order_that_callbacks_share():
    seen = []

    class Adds(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 7

    class Looks(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(list(logs.items()))

    given = {"mae": np.float32(0.5), "loss": 1, "more": {"b": 2}, "outputs": "x"}
    model = FakeModel()
    made = callbacks.CallbackList([Adds(), Looks()], add_history=True, model=model)
    made.on_train_begin()
    made.on_epoch_end(0, given)
    assert seen == [[("loss", 1.0), ("mae", 0.5), ("b", 2.0), ("outputs", "x"), ("extra", 7)]]
    assert type(seen[0][0][1]) is float and "extra" not in given
    assert model.history.history == {"loss": [1.0], "mae": [0.5], "b": [2.0], "outputs": ["x"], "extra": [7]}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (callbacks.EarlyStopping, "the class EarlyStopping"),
        ([lambda: None], "<function .*> of <class 'function'>"),
        ([None], "None of <class 'NoneType'>"),
        ({"a": callbacks.History()}, "{'a': .* of <class 'dict'>"),
    ],
)
def test_what_is_no_callback_is_named(given, shown):
    with pytest.raises(
        TypeError, match=f"callbacks must be objects of subclasses of cyrnn.callbacks.Callback, got {shown}"
    ):
        callbacks.CallbackList(given)


class OldName(callbacks.Callback):
    def on_batch_end(self, batch, logs=None):
        self.seen = batch


class OfItsOwn(callbacks.ModelCheckpoint):
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)


@pytest.mark.parametrize(
    ("callback", "wanted"),
    [
        (callbacks.Callback(), ""),
        (callbacks.History(), "on_train_begin on_epoch_end"),
        (callbacks.EarlyStopping(), "on_train_begin on_train_end on_epoch_end"),
        (callbacks.TerminateOnNaN(), "on_train_batch_end on_batch_end"),
        (OldName(), "on_train_batch_end on_batch_end"),
        (callbacks.ModelCheckpoint("a.keras"), "on_epoch_begin on_epoch_end"),
        (callbacks.ModelCheckpoint("a.keras", save_freq=2), "on_epoch_begin on_epoch_end on_train_batch_end"),
        (OfItsOwn("a.keras"), "on_epoch_begin on_epoch_end on_train_batch_end"),
        (callbacks.BackupAndRestore("a"), "on_train_begin on_train_end on_epoch_begin on_epoch_end"),
        (callbacks.LambdaCallback(on_predict_end=print), "on_predict_end"),
        ([OldName(), callbacks.History()], "on_train_batch_end on_batch_end on_train_begin on_epoch_end"),
    ],
)
def test_only_hooks_that_do_something_are_wanted(callback, wanted):
    made = callbacks.CallbackList(callback)
    assert {hook for hook in callbacks.callback.HOOKS if made.wants(hook)} == set(wanted.split())


@pytest.mark.parametrize(
    ("verbose", "steps", "batches"), [(0, 2, False), (1, 2, True), (2, 2, False), (2, None, True), (1, None, True)]
)
def test_a_bar_wants_batches_only_to_show_or_count_them(verbose, steps, batches):
    made = callbacks.CallbackList(add_progbar=True, verbose=verbose, epochs=1, steps=steps)
    assert made.wants("on_train_batch_end") is batches and made.wants("on_predict_batch_end") is batches
    assert made.wants("on_epoch_end") is (verbose > 0)


def test_an_old_name_is_called():
    callback = OldName()
    run(callback, [{}], batches=3)
    assert callback.seen == 2


# ---------------------------------------------------------------- early stopping


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, 4),
        ({"patience": 1}, 4),
        ({"patience": 2}, 5),
        ({"patience": 9}, 6),
        ({"mode": "max"}, 2),
        ({"baseline": 0.5, "patience": 5}, 5),  # each epoch counts
        ({"baseline": 0.5, "patience": 3}, 4),
        ({"baseline": 1.5, "patience": 3}, 6),
        ({"start_from_epoch": 3}, 6),  # 2, 1, 1
        ({"start_from_epoch": 5}, 6),
        ({"min_delta": -1.5}, 2),  # its sign does not count
    ],
)
def test_early_stopping(options, epochs):
    stopping = callbacks.EarlyStopping(**options)
    history = callbacks.History()
    model = run([stopping, history], val_losses(3, 2, 1, 2, 1, 1))
    assert len(history.epoch) == epochs
    assert model.stop_training is (stopping.stopped_epoch > 0)
    assert stopping.stopped_epoch == (epochs - 1 if model.stop_training else 0)


def test_the_best_weights_come_back_also_without_a_stop(capsys):
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    assert run(stopping, val_losses(3, 1, 2)).weights[0] == 4  # two steps an epoch
    assert capsys.readouterr().out == "Restoring model weights from the end of the best epoch: 2.\n"
    assert run(stopping, val_losses(1, 3, 4, 5)).weights[0] == 2
    assert capsys.readouterr().out == (
        "Epoch 3: early stopping\nRestoring model weights from the end of the best epoch: 1.\n"
    )
    assert (stopping.stopped_epoch, stopping.best_epoch, stopping.best, stopping.wait) == (2, 0, 1.0, 2)
    nan = float("nan")
    assert run(stopping, val_losses(nan, nan, nan)).weights[0] == 2
    assert run(callbacks.EarlyStopping(), val_losses(3, 1, 2)).weights[0] == 6


def test_a_result_that_is_not_there_is_no_reason_to_stop():
    with pytest.warns(UserWarning, match="Early stopping conditioned on metric `val_loss` which is not available"):
        assert run(callbacks.EarlyStopping(), [{"loss": 1.0}] * 3).stop_training is False


@pytest.mark.parametrize("kind", [callbacks.EarlyStopping, callbacks.ReduceLROnPlateau])
def test_the_model_knows_the_direction(kind):
    model = FakeModel(accuracy="max", a_mae="min", a_accuracy="max")
    for monitor, direction in [
        ("loss", "min"), ("val_loss", "min"), ("val_accuracy", "max"), ("val_a_mae", "min"), ("a_accuracy", "max"),
        ("val_a_loss", "min"), ("my_loss", "min"),
    ]:  # fmt: skip
        callback = kind(monitor)
        callback.set_model(model)
        assert callback.direction == direction
    with pytest.raises(
        ValueError, match=r"monitor='val_acuracy', and it is not known .* a_accuracy, a_mae, accuracy, loss"
    ):
        run(kind("val_acuracy"), [{"loss": 1.0}], model)
    with pytest.warns(UserWarning, match="which is not available"):
        run(kind("val_acuracy", mode="max"), [{"loss": 1.0}], model)
    with pytest.warns(UserWarning, match="mode 'smaller' is unknown, fallback to auto mode"):
        assert kind(mode="smaller").mode == "auto"


def test_nan_stops_training(capsys):
    results = [{"loss": 1.0}, {"loss": float("inf")}, {"loss": 2.0}]
    history = callbacks.History()
    model = run([callbacks.TerminateOnNaN(), history], [{"loss": float("nan")}] * 2, batches=3, batch_results=results)
    assert model.weights[0] == 2 and history.epoch == [0]
    assert capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 1. Loss value: inf"):
        run(callbacks.TerminateOnNaN(raise_error=True), [{}], batch_results=results)


# ---------------------------------------------------------------- learning rates


def rates(callback, values, model=None):
    history = callbacks.History()
    model = run([callback, history], val_losses(*values), model)
    return history.history["learning_rate"], model.optimizer.learning_rate


def test_a_plateau_reduces_the_learning_rate(capsys):
    callback = callbacks.ReduceLROnPlateau(factor=0.5, patience=2, verbose=1)
    found, last = rates(callback, [1, 1, 1, 1, 1])
    np.testing.assert_allclose(found, [0.1, 0.1, 0.1, 0.05, 0.05], rtol=1e-7)  # each before the change
    assert last == pytest.approx(0.025, rel=1e-7)
    rate = float(np.float32(0.1)) * 0.5
    assert capsys.readouterr().out.startswith(f"\nEpoch 3: ReduceLROnPlateau reducing learning rate to {rate}.\n")


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({"patience": 1, "cooldown": 2}, [1] * 7, [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"patience": 1, "min_lr": 0.3}, [1] * 4, [1, 0.5, 0.3, 0.3]),
        ({"patience": 2, "min_delta": 0.5}, [1, 0.6, 0.4, 0.4, 0.3], [1, 1, 1, 1, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2], [1, 1, 1, 0.5]),
    ],
)
def test_when_the_learning_rate_is_reduced(options, values, expected):
    after = []
    note = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after.append(model.optimizer.learning_rate))
    model = FakeModel(learning_rate=1.0)
    run([callbacks.ReduceLROnPlateau(factor=0.5, **options), note], val_losses(*values), model)
    np.testing.assert_allclose(after, expected, rtol=1e-6)


def test_schedules_by_epochs(capsys):
    def decayed(epoch, learning_rate):
        return learning_rate * 0.5 if epoch else learning_rate

    found, last = rates(callbacks.LearningRateScheduler(decayed), [1, 1, 1])
    np.testing.assert_allclose(found, [0.1, 0.05, 0.025], rtol=1e-7)
    found, last = rates(callbacks.LearningRateScheduler(lambda epoch: np.float32(epoch + 1), verbose=1), [1, 1])
    assert found == [1.0, 2.0] and last == 2.0
    assert capsys.readouterr().out.endswith("\nEpoch 2: LearningRateScheduler setting learning rate to 2.0.\n")


def test_errors_within_a_schedule_are_its_own():
    def broken(epoch, learning_rate):
        return "a" + epoch

    with pytest.raises(TypeError, match="can only concatenate str"):
        run(callbacks.LearningRateScheduler(broken), [{}])
    with pytest.raises(ValueError, match="The output of the `schedule` function should be a float. Got: 1"):
        run(callbacks.LearningRateScheduler(lambda epoch: 1), [{}])
    with pytest.raises(TypeError, match="schedule must be callable, got 0.1"):
        callbacks.LearningRateScheduler(0.1)


@pytest.mark.parametrize(
    "callback", [callbacks.LearningRateScheduler(lambda epoch: 1.0), callbacks.ReduceLROnPlateau()]
)
def test_two_schedules_are_one_too_many(callback):
    model = FakeModel()
    model.optimizer.schedule = "CosineDecay"
    with pytest.raises(TypeError, match="sets the learning rate, but the optimizer was made with a schedule"):
        run(callback, val_losses(1), model)
    assert model.optimizer.iterations == 0


# ---------------------------------------------------------------- records


def written(tmp_path, results, **options):
    run(callbacks.CSVLogger(tmp_path / "log.csv", **options), results)
    return (tmp_path / "log.csv").read_bytes().decode()


def test_a_file_of_results(tmp_path):
    first = written(tmp_path, [{"mae": 0.5, "loss": 1.0}, {"mae": 0.25, "loss": 0.5}])
    assert first == "epoch,loss,mae,val_loss,val_mae\r\n0,1.0,0.5,NA,NA\r\n1,0.5,0.25,NA,NA\r\n"
    validated = [{"loss": 1.0, "val_loss": 2.0}, {"loss": [1, 2]}]
    second = written(tmp_path, validated, separator=";")
    assert second == 'epoch;loss;val_loss\r\n0;1.0;2.0\r\n1;"""[1, 2]""";NA\r\n'
    assert written(tmp_path, validated[:1], separator=";", append=True) == second + "0;1.0;2.0\r\n"
    (tmp_path / "log.csv").write_text("")
    assert written(tmp_path, [{}], append=True) == "epoch\r\n0\r\n"
    with pytest.raises(ValueError, match="separator must be one character, got ', '"):
        callbacks.CSVLogger("a.csv", separator=", ")


def test_a_file_of_results_has_each_epoch_at_once(tmp_path):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin()
    for epoch in range(2):
        logger.on_epoch_end(epoch, {"loss": 1.0})
        assert (tmp_path / "log.csv").read_text().count("\n") == epoch + 2
    logger.on_train_end()
    with pytest.raises(ValueError, match="on_train_begin comes before on_epoch_end"):
        logger.on_epoch_end(2, {"loss": 1.0})


def test_history_belongs_to_the_model():
    model = FakeModel()
    made = callbacks.CallbackList(add_history=True, model=model, verbose=0, epochs=2, steps=1)
    train(made, model, [{"loss": 2.0, "a": 1.0}, {"loss": 1.0, "a": 0.0, "val_loss": 3.0}])
    assert model.history is made.callbacks[0]
    assert list(model.history.history.items()) == [("a", [1.0, 0.0]), ("loss", [2.0, 1.0]), ("val_loss", [3.0])]
    assert model.history.epoch == [0, 1] and model.history.params == {"verbose": 0, "epochs": 2, "steps": 1}


# ---------------------------------------------------------------- averages


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_evaluation_with_averages(swap_on_epoch):
    seen = []

    class Looks(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(("batch", float(self.model.weights[0][0])))

        def on_test_batch_end(self, batch, logs=None):
            seen.append(("test", float(self.model.weights[0][0])))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(("epoch", float(self.model.weights[0][0])))

    model = FakeModel(use_ema=True)
    swap = callbacks.SwapEMAWeights(swap_on_epoch)
    run([swap, Looks()], [{}] * 2, model, batches=1, validates=True)
    less = 0.5 if swap_on_epoch else 0
    assert seen == [
        ("batch", 1), ("test", 0.5), ("epoch", 1 - less), ("batch", 2), ("test", 1.5), ("epoch", 2 - less),
    ]  # fmt: skip
    assert model.weights[0] == 1.5
    run([swap, Looks()], [{}], model, batches=1)  # training continues with the averages, as after each training
    assert seen[-2] == ("batch", 2.5)


def test_a_training_that_is_stopped_ends_with_averages_too():
    class Stops(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = run([callbacks.SwapEMAWeights(swap_on_epoch=True), Stops()], [{}] * 3, FakeModel(use_ema=True))
    assert model.optimizer.iterations == 2 and model.weights[0] == 1.5


def test_prediction_with_averages_leaves_the_weights():
    model = FakeModel(use_ema=True)
    model.step()
    made = callbacks.CallbackList(callbacks.SwapEMAWeights(), model=model)
    made.on_predict_begin()
    assert model.weights[0] == 0.5
    made.on_predict_end()
    assert model.weights[0] == 1
    model.optimizer.use_ema = False
    with pytest.raises(ValueError, match="SwapEMAWeights must be used when `use_ema=True` is set on the optimizer"):
        made.on_test_begin()


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), ValueError, "factor >= 1.0. Received factor=1"),
        (lambda: callbacks.ReduceLROnPlateau(factor=-0.1), ValueError, "factor must be at least 0, got -0.1"),
        (lambda: callbacks.ReduceLROnPlateau(paticence=3), TypeError, "unexpected keyword argument 'paticence'"),
        (lambda: callbacks.EarlyStopping(patience="3"), TypeError, "patience must be a number, got '3'"),
        (lambda: callbacks.EarlyStopping(min_delta=None), TypeError, "min_delta must be a number, got None"),
        (lambda: callbacks.EarlyStopping(baseline="a"), TypeError, "baseline must be a number, got 'a'"),
        (lambda: callbacks.LambdaCallback(on_epoch_ends=print), TypeError, "functions for .*, got 'on_epoch_ends'"),
        (lambda: callbacks.LambdaCallback(on_epoch_end=3), TypeError, "on_epoch_end must be callable, got 3"),
        (lambda: callbacks.ModelCheckpoint("a.keras", save_freq="batch"), ValueError, "must be 'epoch' or an"),
        (lambda: callbacks.ModelCheckpoint("a.keras", save_freq=0), ValueError, "integer of at least 1, got 0"),
        (lambda: callbacks.ModelCheckpoint("a.keras", save_freq=True), ValueError, "integer of at least 1, got True"),
        (lambda: callbacks.ModelCheckpoint("a.npz"), ValueError, "filepath must end in .keras or .h5, got 'a.npz'"),
        (lambda: callbacks.ModelCheckpoint("a.keras", save_weights_only=True), ValueError, "must end in .weights.h5"),
        (lambda: callbacks.BackupAndRestore(""), ValueError, "backup_dir must be the path of a folder"),
        (lambda: callbacks.BackupAndRestore("a", save_freq=False), ValueError, "integer of at least 1, got False"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
