"""The command line: what it prints, its exit codes, and that a wrong call gets one line and no traceback."""

import os
import re
import subprocess
import sys
import threading
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import cli, demo
from cyrnn.saving import load_model

DATA = resources.files("cyrnn") / "data"
MODEL = os.fspath(Path(str(DATA)) / "digits.keras")


@pytest.fixture
def digits(tmp_path):
    """Keras' outputs for the samples in x.npy."""
    with np.load(Path(str(DATA)) / "digits.npz", allow_pickle=False) as arrays:
        np.save(tmp_path / "x.npy", arrays["x"].astype("float32") / 16)
        return arrays["keras_outputs"]


def test_demo(capsys):
    assert cli.main(["demo"]) == 0
    printed = capsys.readouterr().out
    accuracy = float(re.search(r"accuracy +([\d.]+)%", printed)[1])
    difference = float(re.search(r"difference to Keras +(\S+) at most", printed)[1])
    assert accuracy > 95 and difference <= 1e-5
    for words in (
        r"1 thread +[\d,]+ sequences per second",
        r"one sequence +[\d.]+ microseconds",
        r"engine +(simd|blas \(.*kernels\)), (generic|avx2|avx512), \d+ threads?",
    ):
        assert re.search(words, printed), words


def test_demo_fails_when_the_outputs_differ(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_TOLERANCE", 0.0)
    assert cli.main(["demo"]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--batch-size", "7"], ["--threads", "1"]])
def test_predict(digits, tmp_path, capsys, options):
    out = tmp_path / "y.npy"
    assert cli.main(["predict", MODEL, str(tmp_path / "x.npy"), "-o", str(out), *options]) == 0
    y = np.load(out)
    np.testing.assert_allclose(y, digits, atol=1e-5)
    assert capsys.readouterr().out == f"{out}: {y.shape} float32\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "y.npy"]  # no temporary file stays


@pytest.mark.thread_unsafe(reason="its fixture writes to one folder")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes in folders")
def test_what_output_is_written_to(digits, tmp_path):
    """Links are followed, modes kept, read-only files refused, and what is no regular file stays what it is."""
    target, link, private, pipe = (tmp_path / name for name in ("target.npy", "link.npy", "private.npy", "pipe"))
    arguments = ["predict", MODEL, str(tmp_path / "x.npy"), "-o"]
    target.touch()
    link.symlink_to(target)
    assert cli.main([*arguments, str(link)]) == 0
    assert link.is_symlink() and np.load(target).shape == digits.shape
    private.touch(0o600)
    assert cli.main([*arguments, str(private)]) == 0
    assert private.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert cli.main([*arguments, str(pipe)]) == 0
    reader.join()
    assert pipe.is_fifo() and received[0] == target.read_bytes()


def test_info(capsys):
    assert cli.main(["info", MODEL]) == 0
    printed = capsys.readouterr().out
    model = load_model(MODEL)
    assert "saved by Keras 3." in printed and f"{model.count_params():,} parameters" in printed
    for layer in model.layers:
        assert re.search(rf"{layer.name} +{type(layer).__name__} ", printed)


def test_config(capsys):
    assert cli.main(["config"]) == 0
    printed = capsys.readouterr().out
    for key, value in cyrnn.show_config("dicts").items():
        assert re.search(rf"^{key} +{re.escape(str(value))}$", printed, re.M)
    with pytest.raises(ValueError, match="mode.*'json'"):
        cyrnn.show_config("json")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "cyrnn", *map(str, arguments)], capture_output=True, text=True, cwd="/"
    )


def test_python_m_cyrnn():
    assert command("--version").stdout == f"cyrnn {cyrnn.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "none.keras"], "none.keras"),
        (["info", "x.npy"], "neither a sound .keras file nor a sound .h5 file"),
        (["info", "."], "directory"),
        (["predict", "none.keras", "x.npy", "-o", "y.npy"], "none.keras"),
        (["predict", MODEL, "none.npy", "-o", "y.npy"], "none.npy"),
        (["predict", MODEL, MODEL, "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "empty.npy", "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "pickle.npy", "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "header.npy", "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "/dev/null", "-o", "y.npy"], "not a regular file"),
        (["info", "/dev/null"], "not a regular file"),
        (["predict", MODEL, "short.npy", "-o", "y.npy"], r"\(None, 8, 8\).*\(4, 8, 7\)"),
        (["predict", MODEL, "flat.npy", "-o", "y.npy"], r"\(None, 8, 8\).*\(64,\)"),
        (["predict", MODEL, "text.npy", "-o", "y.npy"], "real numbers"),
        (["predict", MODEL, "x.npy", "-o", "nowhere/y.npy"], "nowhere"),
        (["predict", MODEL, "x.npy", "-o", "."], "directory"),
        (["predict", MODEL, "x.npy", "-o", "y.npy", "--batch-size", "0"], "batch_size"),
        (["predict", MODEL, "x.npy", "-o", "y.npy", "--threads", "-1"], "num_threads"),
    ],
)
def test_a_wrong_call_gets_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((4, 8, 8), "float32"))
    np.save("short.npy", np.zeros((4, 8, 7), "float32"))
    np.save("flat.npy", np.zeros(64, "float32"))
    np.save("text.npy", np.full((4, 8, 8), "a"))
    np.save("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("empty.npy").touch()
    Path("header.npy").write_bytes(Path("x.npy").read_bytes().replace(b"(4, 8, 8)", b"(-4,8, 8)"))
    Path("y.npy").write_text("what was there")
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith(f"cyrnn {arguments[0]}: ")
    assert re.search(words, captured.err)
    assert Path("y.npy").read_text() == "what was there"


@pytest.mark.parametrize("arguments", [[], ["train"], ["predict", "m.keras"], ["info"]])
def test_usage(arguments):
    run = command(*arguments)
    assert run.returncode == 2 and "usage: cyrnn" in run.stderr and "Traceback" not in run.stderr


def test_info_of_a_file_of_keras_2(capsys):
    assert cli.main(["info", str(Path(__file__).parent / "golden" / "files" / "keras2.h5")]) == 0
    printed = capsys.readouterr().out
    assert "saved by Keras 2." in printed and re.search(r"simple_rnn +SimpleRNN +\(None, 6, 4\) +32", printed)


def test_files_are_read_without_h5py():
    code = f"import sys; sys.modules['h5py'] = None; from cyrnn.cli import main; sys.exit(main(['info', {MODEL!r}]))"
    run = run_python(code)
    assert "13,578 parameters" in run.stdout and run.stderr == ""


def test_writing_without_h5py_says_what_to_install():
    code = f"""
import sys
sys.modules["h5py"] = None
import cyrnn
cyrnn.saving.save_model(cyrnn.saving.load_model({MODEL!r}), "never_written.keras")
"""
    run = run_python(code, check=False)
    assert "pip install 'cyrnn[h5]'" in run.stderr and not Path("never_written.keras").exists()
