"""Callbacks against those of Keras: the same results, epoch by epoch, go through both."""

import inspect
import io
import json
import os
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from training_by_hand import FakeModel, train

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

from cyrnn import callbacks, utils  # noqa: E402

BOTH = {"cyrnn": callbacks, "keras": keras.callbacks}
NAMES = [
    "BackupAndRestore", "CSVLogger", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau", "SwapEMAWeights",
    "TerminateOnNaN",
]  # fmt: skip


class Model(FakeModel):
    def get_weights(self):
        return [weight.copy() for weight in self.weights]  # Keras' callbacks keep what they get


class Terminal(io.StringIO):
    def isatty(self):
        return True


def compared(run, monkeypatch):
    """What `run(callbacks, model)` returns and prints, which must be the same with both packages."""
    found = {}
    for name, package in BOTH.items():
        with monkeypatch.context() as patch:
            stream = Terminal()
            patch.setattr(sys, "stdout", stream)
            patch.setenv("COLUMNS", "500")
            result = run(package, Model())
        found[name] = (result, stream.getvalue().replace("\b", ""))
    assert found["cyrnn"] == found["keras"]
    return found["cyrnn"]


def trained(package, model, callback, results, **options):
    """Train with callbacks; the list has one that keeps Keras from calling others in another thread."""
    steps = {"verbose": options.pop("verbose", 0), "epochs": len(results), "steps": options.pop("steps", 2)}
    plain = package.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    made = package.CallbackList([*callback, plain], add_history=True, add_progbar=True, model=model, **steps)
    train(made, model, results, **options)
    return model.history


def signature(cls):
    return [
        (name, parameter.default)
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults(name):
    assert signature(getattr(callbacks, name)) == signature(getattr(keras.callbacks, name))


def test_hooks():
    theirs = {name for name in dir(keras.callbacks.Callback) if name.startswith("on_")}
    assert theirs == set(callbacks.callback.HOOKS)
    assert signature(utils.Progbar) == signature(keras.utils.Progbar)


def sequences(count, length=8):
    """Random walks in eighths, which every dtype holds exactly; some with NaN or without the result."""
    r = np.random.default_rng(0)
    for _ in range(count):
        values = (r.integers(-3, 3, length).cumsum() / 8).tolist()
        if r.random() < 0.1:
            values[r.integers(length)] = float("nan")
        yield r, [{"loss": 1.0, "val_loss": value} for value in values]


@pytest.mark.filterwarnings("ignore:Early stopping conditioned")
def test_early_stopping(monkeypatch):
    stops = set()
    for r, results in sequences(150):
        if r.random() < 0.2:
            del results[r.integers(len(results))]["val_loss"]
        options = {
            "patience": int(r.integers(0, 4)), "min_delta": float(r.choice([0, 0.125, 0.5])),
            "mode": str(r.choice(["auto", "min", "max"])), "baseline": [None, -0.25, 0.5][r.integers(3)],
            "restore_best_weights": bool(r.random() < 0.5), "start_from_epoch": int(r.integers(0, 3)), "verbose": 1,
        }  # fmt: skip

        def run(package, model, options=options, results=results):
            stopping = package.EarlyStopping(**options)
            history = trained(package, model, [stopping], results, batches=1)
            state = stopping.stopped_epoch, stopping.wait, stopping.best_epoch, stopping.best
            return repr((history.epoch, state, model.weights[0].tolist(), model.stop_training))

        stops.add(compared(run, monkeypatch)[0])
    assert len(stops) > 50


def test_plateaus(monkeypatch):
    printed = ""
    for r, results in sequences(150):
        options = {
            "factor": float(r.choice([0.5, 0.1, 0.0])), "patience": int(r.integers(0, 4)),
            "min_delta": float(r.choice([0, 0.125])), "mode": str(r.choice(["auto", "min", "max"])),
            "cooldown": int(r.integers(0, 3)), "min_lr": float(r.choice([0, 0.02])), "verbose": 1,
        }  # fmt: skip

        def run(package, model, options=options, results=results):
            history = trained(package, model, [package.ReduceLROnPlateau(**options)], results)
            return repr(history.history), model.optimizer.learning_rate

        printed += compared(run, monkeypatch)[1]
    assert printed.count("reducing learning rate") > 100


@pytest.mark.parametrize(
    "schedule",
    [lambda epoch, rate: rate * 0.5, lambda epoch: np.float32(1 / (epoch + 1)), lambda epoch: np.float64(epoch)],
)
def test_schedules(monkeypatch, schedule):
    def run(package, model):
        history = trained(package, model, [package.LearningRateScheduler(schedule, verbose=1)], [{"loss": 1.0}] * 3)
        return history.history

    assert len(compared(run, monkeypatch)[0]["learning_rate"]) == 3


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize(
    "results",
    [
        [{"mae": 0.1, "loss": 1e-9}, {"mae": float("nan"), "loss": 3.0}],
        [{"loss": 1.0, "val_loss": 2.0, "text": "a,b"}, {"loss": 1.0}],
        [{"loss": 1.0}, {"loss": [1.0, 2.0], "new": 3.0}],
        [{}],
    ],
)
def test_files_of_results(monkeypatch, tmp_path, results, append):
    def run(package, model):
        path = tmp_path / f"{package.__name__}.csv"
        for _ in range(2):
            trained(package, model, [package.CSVLogger(path, ";", append)], results)
        return path.read_bytes()

    assert compared(run, monkeypatch)[0].count(b"\n") == (1 + 2 * len(results) if append else 1 + len(results))


@pytest.mark.filterwarnings("ignore:Can save best model only")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("{epoch:03d}-{val_loss:.3f}.keras", {}),
        ("{epoch}.h5", {"save_best_only": True}),
        ("{epoch}.h5", {"save_best_only": True, "monitor": "absent", "mode": "max"}),
        ("same.keras", {"save_best_only": True, "mode": "max", "initial_value_threshold": 0.25}),
        ("deep/folder/{epoch}.weights.h5", {"save_weights_only": True}),
        ("{epoch}-{batch}.keras", {"save_freq": 3}),
        ("{epoch}-{batch}.keras", {"save_freq": 5}),
    ],
)
def test_checkpoints(monkeypatch, tmp_path, name, options):
    saved = []
    for _, results in sequences(5):

        def run(package, model, results=results):
            trained(
                package, model, [package.ModelCheckpoint(tmp_path / name, verbose=1, **options)], results, batches=4
            )
            return [(path, json.loads(Path(path).read_text())) for path in model.saved]

        saved += compared(run, monkeypatch)[0]
    assert saved


@pytest.mark.parametrize("losses", [[1.0, float("nan"), 1.0], [float("-inf")], [1.0, 2.0]])
def test_nan(monkeypatch, losses):
    def run(package, model):
        given = {"batch_results": [{"loss": loss} for loss in losses]}
        history = trained(package, model, [package.TerminateOnNaN()], [{"loss": 1.0}] * 2, batches=3, **given)
        return history.epoch, model.weights[0].tolist()

    compared(run, monkeypatch)


def test_events_and_results(monkeypatch):
    def run(package, model):
        events = []

        def note(hook):
            return lambda *args, **kwargs: events.append((hook, *args, kwargs))

        record = package.LambdaCallback(**{hook: note(hook) for hook in callbacks.callback.HOOKS})
        results = [{"mae": np.float32(0.1), "loss": 1, "nested": {"b": 2.0}, "word": "x"}, {"loss": 2.0}]
        history = trained(package, model, [record], results, validates=True)
        return events, history.history, history.epoch, history.params, list(history.history)

    assert len(compared(run, monkeypatch)[0][0]) > 20


@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.parametrize("steps", [3, None])
@pytest.mark.parametrize("seconds", [0.0, 1e-4, 0.02, 0.3, 70.0, 5000.0])
def test_what_a_bar_prints(monkeypatch, verbose, steps, seconds):
    clock = [1000.0]
    monkeypatch.setattr(keras.src.utils.progbar, "time", types.SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(utils.progbar, "monotonic", lambda: clock[0])
    values = [0.5, -0.5, 1e-4, 123456.0, 0.0, float("nan")]

    def run(package, model):
        clock[0] = 1000.0
        later = package.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: clock.__setitem__(0, clock[0] + seconds)
        )
        given = {"batch_results": [{"loss": value} for value in values], "batches": 3, "validates": True}
        results = [{"loss": 0.25, "val_loss": -1e-5}, {"loss": 0.25, "val_loss": 1.0, "a": 0.0}]
        trained(package, model, [later], results, verbose=verbose, steps=steps, **given)

    printed = compared(run, monkeypatch)[1]
    assert printed.count("Epoch") == (2 if verbose else 0)


def test_the_bar_alone(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(keras.src.utils.progbar, "time", types.SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(utils.progbar, "monotonic", lambda: clock[0])
    printed = ""
    for seed in range(60):

        def run(package, model, seed=seed):
            r = np.random.default_rng(seed)
            clock[0] = 1000.0
            kinds = [{}, {"stateful_metrics": ["a"]}, {"stateless_metrics": ["a"]}]
            options = {**kinds[r.integers(3)], "width": int(r.integers(1, 30)), "verbose": int(r.integers(1, 3))}
            target = [None, 20, 120][r.integers(3)]
            bar = (utils if package is callbacks else keras.utils).Progbar(target, unit_name="row", **options)
            current = 0
            for _ in range(5):
                clock[0] += r.random() * float(r.choice([0.01, 1.0, 2000.0]))
                current += int(r.integers(0, 3))
                bar.update(current, [("a", r.random()), ("b", r.standard_normal(2))])
            bar.add(1, [("c", 0.1)])
            bar.update(target or current, [("b", 1.0)], finalize=True)

        printed += compared(run, monkeypatch)[1]
    assert printed.count("\n") > 50


def test_backups(monkeypatch, tmp_path):
    """Where training begins again, and with which weights. Keras leaves the epoch on the model."""

    def run(package, model):
        folder, starts = tmp_path / package.__name__, []

        class Interrupt(package.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                starts.append((epoch, model.weights[0].tolist()))
                if epoch == 2 and len(starts) == 3:
                    raise InterruptedError

        with pytest.raises(InterruptedError):
            trained(package, model, [package.BackupAndRestore(folder), Interrupt()], [{"loss": 1.0}] * 4)
        model.set_weights([np.zeros(1)])
        model.optimizer.built = True
        list_of = package.CallbackList
        if package is keras.callbacks:

            class Begins(list_of):
                @property
                def initial_epoch(self):
                    return self.model._initial_epoch

            monkeypatch.setattr(package, "CallbackList", Begins)
        trained(package, model, [package.BackupAndRestore(folder), Interrupt()], [{"loss": 1.0}] * 4)
        return starts, folder.exists()

    starts, exists = compared(run, monkeypatch)[0]
    assert [epoch for epoch, _ in starts] == [0, 1, 2, 2, 3] and not exists


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda package: package.ModelCheckpoint("a.txt"), ValueError),
        (lambda package: package.ModelCheckpoint("a.keras", save_weights_only=True), ValueError),
        (lambda package: package.ModelCheckpoint("a.keras", save_freq="batch"), ValueError),
        (lambda package: package.ReduceLROnPlateau(factor=1.5), ValueError),
        (lambda package: package.BackupAndRestore(""), ValueError),
        (lambda package: package.BackupAndRestore("a", save_freq="batch"), ValueError),
        (lambda package: utils_of(package).Progbar(1, stateful_metrics=[], stateless_metrics=[]), ValueError),
        (lambda package: trained(package, FakeModel(), [package.EarlyStopping("acc")], [{"acc": 1.0}]), ValueError),
        (lambda package: trained(package, FakeModel(), [package.LearningRateScheduler(lambda e: 1)], [{}]), ValueError),
        (lambda package: trained(package, FakeModel(), [package.ModelCheckpoint("{a}.keras")], [{}]), KeyError),
    ],
)
def test_errors(make, kind):
    for package in BOTH.values():
        with pytest.raises(kind):
            make(package)


def utils_of(package):
    return utils if package is callbacks else keras.utils


def test_warnings():
    def text(package, mode):
        with pytest.warns(UserWarning) as caught:
            trained(package, FakeModel(), [package.EarlyStopping("acc", mode=mode)], [{"loss": 1.0}])
        return [re.sub(r"[`'\"]", "", str(warning.message)) for warning in caught]

    assert text(callbacks, "max") == text(keras.callbacks, "max")
