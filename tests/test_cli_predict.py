"""``cyrnn predict``: formats, several inputs and outputs, long work, and how it is stopped."""

import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import ANSWERS_SIGINT

import cyrnn
from cyrnn import cli
from cyrnn.layers import Dense, SimpleRNN

pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
posix = pytest.mark.skipif(os.name != "posix", reason="this system has no such signals, terminals and devices")
X = np.random.default_rng(0).standard_normal((6, 5, 2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sequences(folder):
    """A model of one input, saved as m.keras."""
    model = cyrnn.Sequential([cyrnn.Input((None, 2)), SimpleRNN(3, return_sequences=True)])
    model.save("m.keras")
    return model


@pytest.fixture
def graph(folder):
    """A model of inputs a, b and three outputs, saved as m.keras."""
    a, b = cyrnn.Input((5, 2), name="a"), cyrnn.Input((2,), name="b")
    output, state = SimpleRNN(3, return_state=True, name="rnn")(a)
    model = cyrnn.Model([b, a], {"x": output, "s": [state, Dense(2, name="dense")(b)]})
    model.save("m.keras")
    return model


def predict(capsys, *arguments):
    code = cli.main(["predict", "m.keras", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def npy(array):
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------ formats


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", ">f8"])
def test_npy_of_any_dtype_and_order(sequences, capsys, dtype):
    np.save("x.npy", np.asfortranarray(10 * X).astype(dtype))
    assert predict(capsys, "x.npy", "-o", "y.npy") == (0, "y.npy: (6, 5, 3) float32\n", "")
    close(np.load("y.npy"), sequences((10 * X).astype(dtype)))


def test_the_precision_of_products(sequences, capsys):
    np.save("x.npy", X)
    assert predict(capsys, "x.npy", "-o", "y.npy", "--precision", "bfloat16")[0] == 0
    np.testing.assert_array_equal(np.load("y.npy"), sequences.predict(X, precision="bfloat16"))
    assert np.any(np.load("y.npy") != sequences.predict(X))


def test_no_samples_at_all(sequences, capsys):
    np.save("x.npy", X[:0])
    for end in ("npy", "npz", "csv"):
        assert predict(capsys, "x.npy", "-o", f"y.{end}")[0] == 0
    with np.load("y.npz") as outputs:
        assert [outputs[name].shape for name in outputs.files] == [np.load("y.npy").shape] == [(0, 5, 3)]
    assert Path("y.csv").read_text() == ""


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_by_the_names_of_inputs_and_outputs(graph, capsys, save):
    save("x.npz", a=np.asfortranarray(X), b=X[:, 0], other=np.zeros(3))
    code, out, err = predict(capsys, "x.npz", "-o", "y.npz", "--batch-size", 4)
    assert (code, err) == (0, "")
    expected = graph([X[:, 0], X])
    with np.load("y.npz", allow_pickle=False) as outputs:
        assert len(outputs.files) == 3 and out.count("\n") == 3
        close(outputs["rnn"], expected["s"][0])
        close(outputs["dense"], expected["s"][1])
        close(outputs["rnn_1"], expected["x"])


def test_an_npz_of_one_array_with_any_name(sequences, capsys):
    np.savez("x.npz", X)
    assert predict(capsys, "x.npz", "-o", "y.npy")[0] == 0
    close(np.load("y.npy"), sequences(X))


@pytest.mark.parametrize(
    "text",
    [
        "{0},{1},{2},{3}\n{4},{5},{6},{7}\n",
        "a0,b0,a1,b1\r\n{0},{1},{2},{3}\r\n\r\n{4},{5},{6},{7}",
        "\ufeff# made by hand\n{0}\t{1}\t{2}\t{3}\n{4}\t{5}\t{6}\t{7}\n",
        '"a;0";"b0";"a1";"b1"\n"{0}"; {1};{2};{3}\n{4};{5};{6};{7}\n',
    ],
)
def test_csv(sequences, capsys, text):
    x = X[:2, :2]
    Path("x.csv").write_bytes(text.format(*x.ravel()).encode())
    assert predict(capsys, "x.csv", "-o", "y.csv")[:2] == (0, "y.csv: (2, 2, 3) float32, as 6 columns\n")
    y = np.loadtxt("y.csv", delimiter=",", dtype="float32")
    assert predict(capsys, "x.csv", "-o", "y.npy")[0] == 0
    assert np.array_equal(y.reshape(2, 2, 3), np.load("y.npy"))  # all digits are there
    close(y.reshape(2, 2, 3), sequences(x))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2\n3,4,5\n", "x.csv: line 2 has 3 columns, those before have 2"),
        ("a,b\n\n1,2\n3,x\n", r"x.csv: line 4, column 2: 'x' is no number"),
        ("1,b\n1,2\n", r"x.csv: line 1, column 2: 'b' is no number"),
        ("a,b\n1,2,3\n", "x.csv: line 2 has 3 columns"),
        ("1,2\n3,\n", r"x.csv: line 2, column 2: '' is no number"),
        ("1,2,3\n4,5,6\n", r"x.csv has 3 numbers a row.*\(None, None, 2\)"),
        ("a,b\n", "x.csv holds no numbers"),
        ("", "x.csv holds no numbers"),
        ("\udcff\udcfe", "x.csv: .*utf-8"),
    ],
)
def test_csv_that_is_wrong(sequences, capsys, text, words):
    Path("x.csv").write_bytes(text.encode(errors="surrogateescape"))
    code, out, err = predict(capsys, "x.csv", "-o", "y.npy")
    assert (code, out, err.count("\n")) == (2, "", 1) and re.search(words, err)
    assert not Path("y.npy").exists()


@pytest.mark.parametrize(
    ("make", "output", "words"),
    [
        (lambda: np.savez("x.npz", a=X), "y.npz", "x.npz must hold the inputs b, a, got a"),
        (
            lambda: np.savez("x.npz", a=X, b=X),
            "y.npz",
            r"x.npz: input 'b' must have shape \(None, 2\), got \(6, 5, 2\)",
        ),
        (lambda: np.savez("x.npz", a=X, b=X[:3, 0]), "y.npz", "as many samples"),
        (lambda: np.savez("x.npz", a=X, b=np.array([{}])), "y.npz", "x.npz is not a .npy file, nor a .npz"),
        (lambda: np.savez("x.npz", a=X, b=X[:, 0].astype(str)), "y.npz", "x.npz: input 'b'.*real numbers"),
        (lambda: np.savez("x.npz", a=X, b=X[:, 0]), "y.npy", "y.npy cannot hold the outputs rnn, .*a .npz file"),
        (lambda: np.savez("x.npz", a=X, b=X[:, 0]), "y.txt", "y.txt must end in one of .npy, .npz, .csv"),
        (lambda: Path("x.npz").write_bytes(npy(X)), "y.npz", "holds one array, the model has the inputs b, a"),
    ],
)
def test_arrays_that_do_not_fit(graph, capsys, make, output, words):
    make()
    code, out, err = predict(capsys, "x.npz", "-o", output)
    assert (code, out, err.count("\n")) == (2, "", 1) and re.search(words, err)
    assert not Path(output).exists() and len(left_in(Path())) == 2


def test_a_member_that_lies_about_its_size(sequences, capsys):
    np.savez("x.npz", x=X)
    content = Path("x.npz").read_bytes()
    Path("x.npz").write_bytes(content.replace(b"(6, 5, 2)", b"(9, 5, 2)"))
    code, _, err = predict(capsys, "x.npz", "-o", "y.npy")
    assert code == 2 and "has 720 bytes, the file 480" in err


@posix
def test_what_goes_to_a_pipe_is_the_array_alone(sequences):
    np.save("x.npy", X)
    run = start("-o", "/dev/stdout", stdout=subprocess.PIPE)
    content, err = run.communicate(timeout=60)
    np.save("expected.npy", sequences.predict(X))
    assert content == Path("expected.npy").read_bytes() and err == b"/dev/stdout: (6, 5, 3) float32\n"


# ------------------------------------------------------------ long work


def start(*arguments, **options):
    code = ANSWERS_SIGINT + "import runpy\nrunpy.run_module('cyrnn', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-P", "-c", code, "predict", "m.keras", "x.npy", *arguments]
    return subprocess.Popen(command, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options})


@pytest.fixture
def endless(folder):
    """A model and an input that take minutes; y.npy and y.npz are there already."""
    rnn = SimpleRNN(1024, return_sequences=True, recurrent_initializer="zeros")  # others take seconds
    cyrnn.Sequential([cyrnn.Input((None, 8)), rnn]).save("m.keras")
    np.lib.format.open_memmap("x.npy", "w+", "float32", (400, 1500, 8))
    for name in ("y.npy", "y.npz", "y.csv"):
        Path(name).write_text("what was there")
    return folder


def is_at_work(folder):
    """Whether a temporary file has grown: the output is being computed."""
    return any(path.stat().st_size > 4096 for path in folder.glob(".cyrnn-*"))


@posix
@pytest.mark.parametrize(
    ("output", "number"),
    [("y.npy", signal.SIGINT), ("new.npy", signal.SIGTERM), ("y.npz", signal.SIGTERM), ("y.csv", signal.SIGINT)],
)
def test_stopped(endless, output, number):
    code, words = {signal.SIGINT: (130, b"cyrnn predict: interrupted\n"), signal.SIGTERM: (143, b"")}[number]
    before = left_in(endless)
    run = start("-o", output, "--threads", "1", "--batch-size", "400")
    while not (is_at_work(endless) if output.endswith(".npy") else any(endless.glob(".cyrnn-*"))):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.02)
    time.sleep(0.3)
    run.send_signal(number)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (code, words)
    assert left_in(endless) == before
    assert all((endless / name).read_text() == "what was there" for name in before if name.startswith("y"))


def on_terminal(code, *arguments):
    """What a run writes to a terminal that its stderr is."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    run = subprocess.Popen([sys.executable, "-P", "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while run.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            shown += part
    run.wait(timeout=60)
    os.close(ours)
    assert run.returncode == 0, shown
    return shown.decode()


RUN = """
import sys
{begin}
from cyrnn.cli import main, predict
predict._SOON = {soon}
sys.exit(main(["predict", "m.keras", "x.npy", "-o", "y.npy", "--batch-size", "1"]))
"""


@posix
@pytest.mark.parametrize("bar", ["tqdm", "none"])
def test_progress_at_a_terminal(sequences, bar):
    if bar == "tqdm":
        pytest.importorskip("tqdm", reason="needs tqdm: pip install '.[progress]'")
    np.save("x.npy", np.zeros((300, 200, 2)))
    begin = "" if bar == "tqdm" else "sys.modules['tqdm'] = None"
    shown = on_terminal(RUN.format(begin=begin, soon=0))
    assert re.search(r"\d+%\|" if bar == "tqdm" else r"\d+ %", shown)
    assert shown.endswith("\r") and len(np.load("y.npy")) == 300  # the line is empty again
    assert on_terminal(RUN.format(begin=begin, soon=1e9)) == ""  # what is done soon needs no bar


def test_no_progress_in_a_pipe(sequences):
    np.save("x.npy", X)
    run = subprocess.run(
        [sys.executable, "-P", "-c", RUN.format(begin="", soon=0)], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "") and run.stdout == "y.npy: (6, 5, 3) float32\n"


def test_a_full_disk_is_an_error_and_no_crash(sequences, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system does not reserve space on a disk")
    np.save("x.npy", X)
    monkeypatch.setattr(os, "posix_fallocate", full)
    for name in ("y.npy", "y.npz", "y.csv"):
        code, _, err = predict(capsys, "x.npy", "-o", name)
        assert code == 2 and "No space left" in err
    assert left_in(Path()) == ["m.keras", "x.npy"]
