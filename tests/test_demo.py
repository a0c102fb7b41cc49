"""``cyrnn demo``: what it reads and learns, and what it prints of that."""

import functools
import re
import sys

import pytest

from cyrnn import cli
from cyrnn.demo import digits, reading, training


def test_reading(capsys, monkeypatch):
    monkeypatch.setattr(reading, "_median_time", functools.partial(reading._median_time, seconds=0.01))
    assert cli.main(["demo"]) == 0
    printed = capsys.readouterr().out
    accuracy = float(re.search(r"accuracy +([\d.]+)%", printed)[1])
    difference = float(re.search(r"difference to Keras +(\S+) at most", printed)[1])
    assert accuracy > 95 and difference <= 1e-5
    for words in (
        r"1 thread +[\d,]+ sequences per second",
        r"one sequence +[\d.]+ microseconds",
        r"engine +(simd|blas \(.*kernels\)), (generic|avx2|avx512\S*|amx), \d+ threads?",
    ):
        assert re.search(words, printed), words


def test_reading_fails_when_the_outputs_differ(capsys, monkeypatch):
    monkeypatch.setattr(reading, "_TOLERANCE", 0.0)
    monkeypatch.setattr(reading, "_median_time", lambda call: 1.0)
    assert cli.main(["demo"]) == 1
    assert "FAILED" in capsys.readouterr().out


# ---------------------------------------------------------------- training


@pytest.fixture
def short(monkeypatch):
    """A training of two epochs without copies, which learns little."""
    monkeypatch.setattr(digits, "COPIES", 0)
    monkeypatch.setattr(digits, "EPOCHS", 2)


def test_training(capsys):
    assert cli.main(["demo", "--train"]) == 0
    printed = capsys.readouterr().out
    assert float(re.search(r"accuracy +([\d.]+)%", printed)[1]) > 95
    for words in (
        f"Epoch {digits.EPOCHS}/{digits.EPOCHS}\n.*/step - accuracy: .* - val_loss: ",
        r"model +SimpleRNN -> SimpleRNN -> Dropout -> Dense",
        r"time +[\d.]+ seconds",
        r"seconds of Keras +[\d.]+ on TensorFlow, [\d.]+ on JAX, where cyrnn takes [\d.]+\n +\(Keras .*; AMD",
        r"engine +(simd|blas)",
    ):
        assert re.search(words, printed), words


@pytest.mark.usefixtures("short")
def test_training_fails_when_little_is_learned(capsys):
    assert cli.main(["demo", "--train"]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("name", "begin"), [("curve.png", b"\x89PNG"), ("curve.SVG", b"<?xml"), ("c.pdf", b"%PDF")])
def test_plot(capsys, tmp_path, name, begin):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plot]'")
    cli.main(["demo", "--train", "--plot", str(tmp_path / name)])
    assert f"{tmp_path / name}\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes().startswith(begin)


def refused(capsys, monkeypatch, *arguments):
    """The line that a wrong call gets, before anything is trained."""
    monkeypatch.delenv("CYRNN_DEBUG", raising=False)
    monkeypatch.setattr(training, "fitted", lambda *args, **kwargs: pytest.fail("trained"))
    assert cli.main(["demo", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_a_plot_that_cannot_be_written_is_refused_before_the_training(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plot]'")
    for path, words in (
        (tmp_path / "curve.txt", r"curve.txt must end in one of .*\.png"),
        (tmp_path / "curve", "curve must end in one of"),
        (tmp_path / "nowhere" / "curve.png", "there is no folder .*nowhere"),
        (tmp_path, "it is a directory"),
    ):
        assert re.search(words, refused(capsys, monkeypatch, "--train", "--plot", path))
    assert list(tmp_path.iterdir()) == []


def test_a_plot_needs_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    found = refused(capsys, monkeypatch, "--train", "--plot", tmp_path / "curve.png")
    assert 'pip install "cyrnn[plot]"' in found


def test_a_plot_needs_a_training(capsys, monkeypatch):
    assert "give --train" in refused(capsys, monkeypatch, "--plot", "curve.png")
