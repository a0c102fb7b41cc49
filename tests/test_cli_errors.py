"""The command line when something is wrong: files that would overwrite others, errors of cyrnn itself, no memory."""

import errno
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import cli
from cyrnn.cli import outputs, predict
from cyrnn.layers import Dense, Embedding, SimpleRNN

pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
X = np.random.default_rng(0).standard_normal((6, 5, 2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model, m.keras, and an input, x.npy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CYRNN_DEBUG", raising=False)
    cyrnn.Sequential([cyrnn.Input((None, 2)), SimpleRNN(3, return_sequences=True)]).save("m.keras")
    np.save("x.npy", X)
    return tmp_path


def contents(folder):
    return {path.name: (path.read_bytes(), path.is_symlink()) for path in folder.iterdir() if path.is_file()}


def refused(capsys, *arguments):
    """The one line that a wrong call gets."""
    assert cli.main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"cyrnn {arguments[0]}: ")
    return captured.err


# ------------------------------------------------------------ what must not be overwritten


def link(kind, source, name):
    if kind == "symbolic":
        Path(name).symlink_to(source)
    elif kind == "symbolic, twice":
        Path("between").symlink_to(source)
        Path(name).symlink_to("between")
    else:
        Path(name).hardlink_to(source)


@pytest.mark.parametrize("kind", ["symbolic", "symbolic, twice", "hard"])
@pytest.mark.parametrize(("source", "what"), [("x.npy", "the input"), ("m.keras", "the model")])
def test_predict_does_not_write_over_what_it_reads_through_a_link(folder, capsys, kind, source, what):
    link(kind, source, "y.npy")
    before = contents(folder)
    assert f"y.npy is {what}, {source}, by a link: give another name" in refused(
        capsys, "predict", "m.keras", "x.npy", "-o", "y.npy"
    )
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["x.npy", "./x.npy", "inner/../x.npy"])
def test_predict_does_not_write_over_its_input(folder, capsys, name):
    Path("inner").mkdir()
    before = contents(folder)
    assert "is the input" in refused(capsys, "predict", "m.keras", "x.npy", "-o", name)
    assert "is the input" in refused(capsys, "predict", "m.keras", name, "-o", folder / "x.npy")
    assert contents(folder) == before


@pytest.mark.parametrize("kind", ["symbolic", "symbolic, twice", "hard"])
def test_convert_does_not_write_over_what_it_reads(folder, capsys, kind):
    link(kind, "m.keras", "new.keras")
    before = contents(folder)
    assert "new.keras is the file to convert, m.keras, by a link" in refused(capsys, "convert", "m.keras", "new.keras")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("inner", "inner: it is a directory"),
        ("inner.npy", "inner.npy: it is a directory"),
        ("nowhere/y.npy", "there is no folder .*nowhere"),
        ("x.npy/y.npy", "there is no folder .*x.npy"),
        ("loop.npy", "a link that leads to itself"),
        ("y.txt", "y.txt must end in one of"),
        ("m.keras", "m.keras is the model"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(folder, capsys, monkeypatch, output, words):
    Path("inner").mkdir()
    Path("inner.npy").mkdir()
    Path("loop.npy").symlink_to("loop.npy")
    read = []
    monkeypatch.setattr(predict, "load_model", read.append)
    before = contents(folder)
    assert re.search(words, refused(capsys, "predict", "m.keras", "x.npy", "-o", output))
    assert contents(folder) == before and read == []


def test_a_file_with_the_name_of_the_input_elsewhere_is_another_file(folder, capsys):
    Path("inner").mkdir()
    assert cli.main(["predict", "m.keras", "x.npy", "-o", "inner/x.npy"]) == 0
    assert np.load("inner/x.npy").shape == (6, 5, 3) and np.array_equal(np.load("x.npy"), X)


# ------------------------------------------------------------ names of outputs


def test_outputs_whose_names_become_equal_are_all_there(folder, capsys):
    x = cyrnn.Input((2,), name="x")
    names = ["a b", "a:b", "a_b", "a_b_1"]
    model = cyrnn.Model(x, [Dense(2, name=name)(x) for name in names])
    model.save("m.keras")
    np.save("x.npy", X[:, 0])
    assert cli.main(["predict", "m.keras", "x.npy", "-o", "y.npz"]) == 0
    assert capsys.readouterr().out.count("\n") == 4
    with np.load("y.npz", allow_pickle=False) as found:
        assert found.files == ["a_b", "a_b_2", "a_b_3", "a_b_1"]
        for name, expected in zip(found.files, model.predict(X[:, 0]), strict=True):
            np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["rnn"], ["rnn"]),
        (["rnn", "dense", "rnn", "rnn"], ["rnn", "dense", "rnn_1", "rnn_2"]),
        (["a", "a", "a_1"], ["a", "a_2", "a_1"]),
        (["a_1", "a", "a"], ["a_1", "a", "a_2"]),
        (["../a", "..\\a", "é.b-c"], [".._a", ".._a_1", "é.b-c"]),
    ],
)
def test_names_are_distinct_after_they_are_made_plain(names, expected):
    assert outputs.member_names(names) == expected


def test_bfloat16_is_written_as_float32(folder, capsys):
    layer = SimpleRNN(3, return_sequences=True, dtype="mixed_bfloat16")
    model = cyrnn.Sequential([cyrnn.Input((None, 2)), layer])
    model.save("m.keras")
    expected = model.predict(X).astype("float32")
    for name in ("y.npy", "y.npz", "y.csv"):
        assert cli.main(["predict", "m.keras", "x.npy", "-o", name]) == 0
    with np.load("y.npz") as found:
        assert np.array_equal(found[layer.name], expected)
    assert np.array_equal(np.load("y.npy"), expected)
    assert np.array_equal(np.loadtxt("y.csv", delimiter=",", dtype="float32").reshape(6, 5, 3), expected)


def test_an_archive_that_holds_a_name_twice(folder, capsys):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile("x.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("x.npy", Path("x.npy").read_bytes())
    assert "holds 'x.npy' twice" in refused(capsys, "predict", "m.keras", "x.npz", "-o", "y.npy")


# ------------------------------------------------------------ what kind of error it is


def raising(error):
    def function(*_, **__):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("inside"), "an error in cyrnn itself: KeyError: 'inside'"),
        (AttributeError("no x"), "an error in cyrnn itself: AttributeError: no x"),
        (AssertionError(), "an error in cyrnn itself: AssertionError"),
        (RuntimeError("two\nlines"), "an error in cyrnn itself: RuntimeError: two lines"),
        (ImportError("no y", name="cyrnn.engine"), "an error in cyrnn itself: ImportError: no y"),
    ],
)
def test_an_error_in_cyrnn_is_one_line_that_says_how_to_see_more(folder, capsys, monkeypatch, error, words):
    monkeypatch.setattr(predict, "load_model", raising(error))
    arguments = ["predict", "m.keras", "x.npy", "-o", "y.npy"]
    assert cli.main(arguments) == 70
    assert capsys.readouterr().err == f"cyrnn predict: {words} (set CYRNN_DEBUG=1 for the traceback)\n"
    monkeypatch.setenv("CYRNN_DEBUG", "1")
    assert cli.main(arguments) == 70
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown and "in raising" not in shown and "in function" in shown
    assert shown.endswith(f"{words}\n")


@pytest.mark.parametrize(
    "error", [ValueError("it"), TypeError("it"), OSError("it"), ImportError("it", name="onnx"), MemoryError("it")]
)
def test_an_error_of_the_caller_or_the_machine_is_one_line(folder, capsys, monkeypatch, error):
    monkeypatch.setattr(predict, "load_model", raising(error))
    assert refused(capsys, "predict", "m.keras", "x.npy", "-o", "y.npy").endswith("it\n")
    monkeypatch.setenv("CYRNN_DEBUG", "1")
    assert cli.main(["predict", "m.keras", "x.npy", "-o", "y.npy"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_traceback_is_for_those_who_ask(folder):
    code = """
import sys
from cyrnn import cli
from cyrnn.cli import info
info.outline = lambda *arguments: {}["no such key"]
sys.exit(cli.main(["info", sys.argv[1]]))
"""
    for debug, traceback in (("", False), ("0", False), ("1", True)):
        run = run_python(code, folder / "m.keras", check=False, CYRNN_DEBUG=debug)
        assert run.returncode == 70 and ("Traceback" in run.stderr) is traceback and "no such key" in run.stderr


@pytest.mark.parametrize(
    ("name", "target", "doing"),
    [
        ("load_model", predict, "reading m.keras"),
        ("read_inputs", predict, "reading x.npy"),
        ("predict", cyrnn.Sequential, "running m.keras on x.npy"),
    ],
)
def test_out_of_memory_says_what_was_being_done(folder, capsys, monkeypatch, name, target, doing):
    no_pages = OSError(errno.ENOMEM, "no pages")
    told = (MemoryError("Unable to allocate 7 GiB"), ": Unable to allocate 7 GiB"), (no_pages, ": [Errno 12] no pages")
    for error, more in ((MemoryError(), ""), *told):
        monkeypatch.setattr(target, name, raising(error))
        line = refused(capsys, "predict", "m.keras", "x.npy", "-o", "y.npy")
        assert f"out of memory while {doing}" in line and line.endswith(f"{more}\n")
        assert sorted(path.name for path in folder.iterdir()) == ["m.keras", "x.npy"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.parametrize("end", ["npy", "npz"])
def test_out_of_memory_is_not_a_damaged_input(folder, end):
    rows = np.lib.format.open_memmap("x.npy", "w+", "float32", (1 << 22, 5, 2))  # 160 MB, which are not on the disk
    if end == "npz":
        with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write("x.npy")
    del rows
    code = """
import resource, sys
from cyrnn import cli
from cyrnn.saving import load_model
load_model("m.keras").predict(__import__("numpy").zeros((1, 5, 2)))  # threads and libraries are there
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
sys.exit(cli.main(["predict", "m.keras", sys.argv[1], "-o", "y.npz"]))
"""
    run = run_python(f"import os; os.chdir({os.fspath(folder)!r})\n{code}", f"x.{end}", check=False)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert re.match("cyrnn predict: out of memory while (reading|running)", run.stderr)
    assert not Path("y.npz").exists()


def test_convert_names_its_own_option_for_masks(folder, capsys):
    pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    cyrnn.Sequential([cyrnn.Input((6,)), Embedding(9, 2, mask_zero=True), SimpleRNN(2)]).save("e.keras")
    line = refused(capsys, "convert", "e.keras", "e.onnx")
    assert "--masks right-padded" in line and "masks=" not in line
    assert cli.main(["convert", "e.keras", "e.onnx", "--masks", "right-padded"]) == 0
