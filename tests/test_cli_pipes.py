"""``cyrnn predict`` as a part of pipes: "-", series whose lines are timesteps, tables of text, warnings of NaN."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import cli
from cyrnn.cli import csv_files
from cyrnn.layers import Dense, Embedding, SimpleRNN

pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
SERIES = np.sin(np.arange(30))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = cyrnn.Sequential([cyrnn.Input((None, 1)), SimpleRNN(4, return_sequences=True), Dense(1)])
    made.save("m.keras")
    np.savetxt("series.csv", SERIES, delimiter=",")
    return made


def cyrnn_with(given, *arguments):
    """A process with these bytes as its standard input."""
    return subprocess.run([sys.executable, "-P", "-m", "cyrnn", *arguments], input=given, capture_output=True)


def run(capsys, *arguments):
    code = cli.main([*map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------ series


@pytest.mark.parametrize("header", ["", "time,value\n", "# of a sensor\n"])
def test_lines_are_timesteps(model, capsys, header):
    columns = 2 if "," in header else 1
    if columns == 2:
        model = cyrnn.Sequential([cyrnn.Input((None, 2)), SimpleRNN(3, return_sequences=True), Dense(2)])
        model.save("m.keras")
    x = np.stack([SERIES] * columns, axis=1)
    with Path("x.csv").open("w") as file:
        file.write(header)
        np.savetxt(file, x, delimiter=",")
    code, out, err = run(capsys, "predict", "m.keras", "x.csv", "--series", "-o", "y.csv")
    assert (code, out, err) == (0, f"y.csv: (1, 30, {columns}) float32, as 30 lines\n", "")
    close(np.loadtxt("y.csv", delimiter=",", ndmin=2), model(x[None])[0])
    assert run(capsys, "predict", "m.keras", "x.csv", "--series", "-o", "y.npy")[0] == 0
    close(np.load("y.npy"), model(x[None]))


def test_one_result_for_a_series_is_one_line(model, capsys):
    last = cyrnn.Sequential([cyrnn.Input((None, 1)), SimpleRNN(4), Dense(3)])
    last.save("m.keras")
    assert run(capsys, "predict", "m.keras", "series.csv", "--series", "-o", "y.csv")[0] == 0
    close(np.loadtxt("y.csv", delimiter=",", ndmin=2), last(SERIES[None, :, None]))


def test_tokens_are_a_series_too(model, capsys):
    words = cyrnn.Sequential([cyrnn.Input((None,), dtype="int32"), Embedding(9, 2), SimpleRNN(3)])
    words.save("m.keras")
    Path("x.csv").write_text("3\n1\n8\n")
    assert run(capsys, "predict", "m.keras", "x.csv", "--series", "-o", "y.npy")[0] == 0
    close(np.load("y.npy"), words(np.array([[3, 1, 8]])))


def test_what_makes_no_series(model, capsys):
    Path("wide.csv").write_text("1,2\n3,4\n")
    np.save("x.npy", SERIES)
    for name, words in (
        ("wide.csv", r"2 lines of 2 numbers.*no series.*\(None, None, 1\)"),
        ("x.npy", "--series is for .csv"),
    ):
        code, out, err = run(capsys, "predict", "m.keras", name, "--series", "-o", "y.npy")
        assert (code, out, err.count("\n")) == (2, "", 1) and re.search(words, err)


def test_samples_of_one_timestep_are_noted(model, capsys):
    code, out, err = run(capsys, "predict", "m.keras", "series.csv", "-o", "y.npy")
    assert (code, out) == (0, "y.npy: (30, 1, 1) float32\n")
    assert err == (
        "cyrnn predict: series.csv is read as 30 samples of one timestep; if its lines are timesteps, say --series\n"
    )


# ------------------------------------------------------------ pipes


def test_text_in_text_out(model):
    done = cyrnn_with(Path("series.csv").read_bytes(), "predict", "m.keras", "-", "--series", "-o", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    close(np.loadtxt(io.BytesIO(done.stdout)), model(SERIES[None, :, None])[0, :, 0])


def test_arrays_in_arrays_out(model):
    x = SERIES.reshape(2, 15, 1)
    for save, load in ((np.save, np.load), (np.savez, lambda file: np.load(file)[model.layers[-1].name])):
        buffer = io.BytesIO()
        save(buffer, x)
        done = cyrnn_with(buffer.getvalue(), "predict", "m.keras", "-", "-o", "-")
        assert (done.returncode, done.stderr) == (0, b"")
        close(load(io.BytesIO(done.stdout)), model(x))
    buffer = io.BytesIO()
    np.save(buffer, x)
    done = cyrnn_with(buffer.getvalue(), "predict", "m.keras", "-", "-o", "-", "--format", "csv")
    close(np.loadtxt(io.BytesIO(done.stdout), delimiter=","), model(x).reshape(2, 15))
    done = cyrnn_with(buffer.getvalue(), "predict", "m.keras", "-", "-o", "y.npz")
    assert done.stdout.startswith(f"y.npz: {model.layers[-1].name} (2, 15, 1) float32".encode())


def test_an_output_of_another_format_than_its_name(model, capsys):
    assert run(capsys, "predict", "m.keras", "series.csv", "--series", "-o", "y.txt", "--format", "csv")[0] == 0
    close(np.loadtxt("y.txt"), model(SERIES[None, :, None])[0, :, 0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "the standard input holds no numbers"),
        (b"a,b\n1,x\n", "the standard input: line 2, column 2: 'x' is no number"),
        (b"1,2,3\n4,5\n", "the standard input: line 2 has 2 columns"),
        (b"\x93NUMPY\x01", "the standard input is not a .npy file"),
        (b"PK\x03\x04", "the standard input is not a .npy file, nor a .npz"),
    ],
)
def test_errors_name_the_standard_input(model, given, words):
    done = cyrnn_with(given, "predict", "m.keras", "-", "-o", "-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1 and words in done.stderr.decode()


@pytest.mark.skipif(os.name != "posix", reason="this system has no such terminals")
def test_no_bytes_for_a_terminal(model):
    import pty

    ours, theirs = pty.openpty()
    np.save("x.npy", SERIES.reshape(2, 15, 1))
    command = [sys.executable, "-P", "-m", "cyrnn", "predict", "m.keras", "x.npy", "-o", "-"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE)
    assert done.returncode == 2 and b"no text for a terminal: give --format csv, or -o FILE" in done.stderr
    assert subprocess.run([*command, "--format", "csv"], stdout=theirs).returncode == 0
    assert os.read(ours, 1 << 16).count(b"\n") == 2
    os.close(theirs)
    os.close(ours)


# ------------------------------------------------------------ NaN


@pytest.mark.parametrize("output", ["y.npy", "y.csv", "y.npz"])
def test_nan_is_warned_of(model, capsys, output):
    x = np.zeros((6, 5, 1))
    x[2, 3], x[4, 1] = np.nan, np.nan
    np.save("x.npy", x)
    code, _, err = run(capsys, "predict", "m.keras", "x.npy", "-o", output)
    assert code == 0
    assert err == (
        f"cyrnn predict: warning: 6 of 30 numbers in {output} are NaN, the first in sample 2, counted from 0\n"
    )
    np.save("x.npy", np.nan_to_num(x))
    assert run(capsys, "predict", "m.keras", "x.npy", "-o", output)[2] == ""


# ------------------------------------------------------------ tables of text


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "a,b\n1,2\n3,4\n",
        "\ufeffa;b\n\n1;2\r\n3;4",
        "# words, and 1\n\n'a'\t'b'\n1\t2\n",
        '"a","b"\n"1","2"\n',
        " 1 , 2 \n 3 ,4\n",
        "1_000,2\n",
        "nan,inf\n-inf,1e400\n",
        "1\r2\r3\r",
        "1,2\n# between\n3,4\n",
        "٣,4\n",
        "1e-320,0.1\n123456789.123456789,1.7976931348623157e308\n",
    ],
)
def test_numpy_reads_what_is_read_by_line(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(csv_files.read_csv(path), csv_files._read_by_line(path))


def test_random_tables(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(30):
        rows = rng.standard_normal((rng.integers(1, 9), rng.integers(1, 6))) * 10.0 ** rng.integers(-300, 300)
        path = tmp_path / f"{seed}.csv"
        np.savetxt(path, rows, "%.17g", delimiter=str(rng.choice([",", "\t", ";"])), header="a comment" * int(seed % 2))
        np.testing.assert_array_equal(csv_files._read_at_once(path), rows)
        np.testing.assert_array_equal(csv_files.read_csv(path), rows)
