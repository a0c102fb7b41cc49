"""The progress bar: what it writes, and when, in a terminal and elsewhere."""

import io
import sys

import pytest
from training_by_hand import FakeModel, train

from cyrnn.callbacks import CallbackList
from cyrnn.utils import Progbar, progbar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test moves it."""
    times = [100.0]
    monkeypatch.setattr(progbar, "monotonic", lambda: times[0])
    return times


@pytest.fixture
def show_in(monkeypatch):
    """Makes a stream the standard output; in a fixture, pytest would replace it before the test."""

    def show_in(stream, columns=200):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("PYCHARM_HOSTED", raising=False)
        return stream

    return show_in


def cells(done, width=20):
    green = f"\x1b[32m{'━' * done}\x1b[0m" if done else ""
    return f"{green}\x1b[37m{'━' * (width - done)}\x1b[0m"


def test_a_terminal_shows_one_line_that_changes(clock, show_in):
    terminal = show_in(Terminal())
    bar = Progbar(10)
    clock[0] += 200
    bar.update(1, [("loss", 0.5)])
    clock[0] += 0.04
    bar.update(2, [("loss", 0.7)])  # too soon
    clock[0] += 0.04
    bar.update(5, [("loss", 1.0)])
    clock[0] += 0.46
    bar.update(10, [("loss", 0.25), ("val_loss", 0.0005)])
    assert terminal.getvalue().split("\r")[1:] == [
        f"\x1b[1m 1/10\x1b[0m {cells(2)} \x1b[1m30:00\x1b[0m 200s/step - loss: 0.5000",
        f"\x1b[1m 5/10\x1b[0m {cells(10)} \x1b[1m0s\x1b[0m 20ms/step - loss: 0.8400   ",
        f"\x1b[1m10/10\x1b[0m {cells(20)} \x1b[1m201s\x1b[0m 60ms/step - loss: 0.2500 - val_loss: 5.0000e-04\n",
    ]


def test_a_line_that_does_not_fit_is_cut_until_the_last(clock, show_in):
    terminal = show_in(Terminal(), columns=50)
    bar = Progbar(2)
    bar.update(1, [(f"metric_{i}", 1.0) for i in range(9)])
    shown = terminal.getvalue()
    plain = shown.replace("\x1b[1m", "").replace("\x1b[32m", "").replace("\x1b[37m", "").replace("\x1b[0m", "")
    assert len(plain) == 1 + 49 and plain.endswith(" - metric_0: 1")
    bar.update(2)
    assert terminal.getvalue().endswith(" - metric_8: 1.0000\n")


def test_elsewhere_lines_stay_so_they_are_few_and_plain(clock, show_in):
    log = show_in(io.StringIO())
    bar = Progbar(100, interval=0.05)
    for step in range(1, 100):
        clock[0] += 0.15
        bar.update(step, [("loss", 1.0)], finalize=False)
    bar.update(100, [("loss", 2.0)])
    line = "━━━━━━━━━━━━━━━━━━━━"
    assert log.getvalue() == (
        f" 67/100 {line} 4s 150ms/step - loss: 1.0000\n100/100 {line} 15s 148ms/step - loss: 2.0000\n"
    )


def test_an_unknown_number_of_steps(clock, show_in):
    log = show_in(io.StringIO())
    bar = Progbar(None)
    clock[0] += 12
    bar.update(3)
    bar.add(1)
    bar.update(5, finalize=True)
    assert log.getvalue() == "      3/Unknown 12s 4s/step\n      5/Unknown 12s 2s/step\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s 0s"), (5e-5, "0s 50us"), (0.02, "0s 20ms"), (30, "30s 30s"), (75, "1:15 75s"), (7325, "2:02:05 7325s")],
)
def test_time(clock, show_in, seconds, shown):
    terminal = show_in(Terminal())
    bar = Progbar(2)
    clock[0] += seconds
    bar.update(1)
    eta, step = shown.split()
    assert f"\x1b[1m{eta}\x1b[0m {step}/step" in terminal.getvalue()


def test_one_line_at_the_end(clock, show_in):
    log = show_in(io.StringIO())
    bar = Progbar(2, verbose=2, unit_name="batch")
    clock[0] += 0.4
    bar.update(1, [("loss", 0.5)])
    assert log.getvalue() == ""
    clock[0] += 0.6
    bar.update(2, [("loss", 0.25), ("similarity", -0.5)])
    assert log.getvalue() == "2/2 - 1s - 600ms/batch - loss: 0.2500 - similarity: -5.0000e-01\n"
    Progbar(2, verbose=0).update(2)
    assert log.getvalue().count("\n") == 1


def test_values_as_they_are_or_as_means(clock, show_in):
    log = show_in(io.StringIO())

    def shown(**options):
        bar = Progbar(10, **options)
        for step, value in ((1, 1.0), (2, 4.0)):
            bar.update(step, [("a", value), ("b", [value, value])])
        clock[0] += 20
        bar.update(4, [("a", 6.0)])
        text = log.getvalue().splitlines()[-1]
        return text[text.index("a:") :]

    assert shown() == "a: 4.2500 - b: 2.5000"
    assert shown(stateful_metrics=["a"]) == "a: 6.0000 - b: 2.5000"
    assert shown(stateless_metrics=["a"]) == "a: 4.2500 - b: 4.0000"
    with pytest.raises(ValueError, match="only one of stateful_metrics and stateless_metrics"):
        Progbar(1, stateful_metrics=[], stateless_metrics=[])


def test_a_stream_of_another_encoding_and_none(clock, show_in):
    stream = show_in(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    Progbar(1, width=3).update(1, [("é", 1.0)])
    assert stream.buffer.getvalue() == b"1/1 === 0s 0s/step - ?: 1.0000\n"
    show_in(None)
    bar = Progbar(1)
    bar.update(1)
    assert bar._seen == 1


# ---------------------------------------------------------------- the callback


def trained(epochs=2, batches=2, steps=2, **options):
    model = FakeModel()
    made = CallbackList(add_progbar=True, model=model, epochs=epochs, steps=steps, **options)
    results = [{"loss": 0.25, "val_loss": 1.0}] * epochs
    train(made, model, results, batches=batches, batch_results=[{"loss": 0.5}, {"loss": 0.75}] * epochs, validates=True)
    return made


def test_a_bar_for_each_epoch(clock, show_in):
    terminal = show_in(Terminal())
    trained(verbose=1)
    done = f"\x1b[1m2/2\x1b[0m {cells(20)} \x1b[1m0s\x1b[0m 0s/step - loss: 0.2500 - val_loss: 1.0000\n"
    half = f"\x1b[1m1/2\x1b[0m {cells(10)} \x1b[1m0s\x1b[0m 0s/step - loss: 0.5000"
    bar = f"\r{half}\r{done}"  # the second step came too soon
    assert terminal.getvalue() == f"Epoch 1/2\n{bar}Epoch 2/2\n{bar}"


def test_a_line_for_each_epoch(clock, show_in):
    log = show_in(io.StringIO())
    trained(verbose=2)
    line = "2/2 - 0s - 0s/step - loss: 0.2500 - val_loss: 1.0000\n"
    assert log.getvalue() == f"Epoch 1/2\n{line}Epoch 2/2\n{line}"


def test_auto_is_silent_where_there_is_no_terminal(clock, show_in):
    log = show_in(io.StringIO())
    made = trained(verbose="auto")
    assert log.getvalue() == "" and made.params["verbose"] == "auto"
    assert not any(made.wants(hook) for hook in ("on_epoch_begin", "on_train_batch_end", "on_epoch_end"))
    terminal = show_in(Terminal())
    trained(verbose="auto", epochs=1)
    assert terminal.getvalue().startswith("\r\x1b[1m1/2")  # of one epoch there is no number
    trained(verbose=0)
    assert terminal.getvalue().count("\n") == 1


def test_the_first_epoch_counts_steps_of_unknown_number(clock, show_in):
    log = show_in(io.StringIO())
    trained(verbose=1, steps=None, batches=1)
    line = "1/1 ━━━━━━━━━━━━━━━━━━━━ 0s 0s/step - loss: 0.2500 - val_loss: 1.0000\n"
    assert log.getvalue() == f"Epoch 1/2\n{line}Epoch 2/2\n{line}"


def test_a_text_among_the_results_is_shown(clock, show_in):
    log = show_in(io.StringIO())
    for verbose in (0, 1, 2):
        made = CallbackList(add_progbar=True, verbose=verbose, epochs=1, steps=1)
        made.on_epoch_begin(0)
        made.on_epoch_end(0, {"loss": 1.0, "phase": "warm"})
    assert [line.partition("step - ")[2] for line in log.getvalue().splitlines()] == ["loss: 1.0000 - phase: warm"] * 2


def test_evaluation_and_prediction_have_a_bar_of_their_own(clock, show_in):
    made = CallbackList(add_progbar=True, verbose=2, epochs=1, steps=1)
    log = show_in(io.StringIO())
    made.on_train_begin()
    made.on_test_begin()
    made.on_test_end({"loss": 1.0})  # within training
    made.on_train_end()
    assert log.getvalue() == ""
    made.on_test_begin()
    made.on_test_batch_end(0, {"loss": 1.0})
    made.on_test_end({"loss": 2.0})
    made.on_predict_begin()
    made.on_predict_batch_end(0, {"outputs": [[1.0]]})
    made.on_predict_end()
    assert log.getvalue() == "1/1 - 0s - 0s/step - loss: 2.0000\n1/1 - 0s - 0s/step\n"
