"""The file formats: one list that library and command line share, and the names of `cyrnn.saving`."""

import importlib
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import cli, saving
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import ModelFileError, interchange, load_model, load_weights, registry, save_weights
from cyrnn.saving.named_arrays import array_format
from cyrnn.saving.opened import opened


def small_model():
    return cyrnn.Sequential([Input((4, 2)), SimpleRNN(3, name="rnn"), Dense(2, name="dense")])


def test_the_names_of_the_package():
    assert set(saving.__all__) == set(saving._MODULES) and set(saving.__all__) <= set(dir(saving))
    for name, module in saving._MODULES.items():
        assert getattr(saving, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match=r"'cyrnn.saving' has no attribute 'load_models'"):
        _ = saving.load_models
    with pytest.raises(ImportError, match="load_models"):
        from cyrnn.saving import load_models  # noqa: F401


def test_a_name_is_imported_when_it_is_used():
    code = """
import sys
import cyrnn
late = ["cyrnn.saving.c.export", "cyrnn.saving.onnx.export", "cyrnn.saving.torch", "cyrnn.saving.interchange"]
assert not [name for name in late if name in sys.modules]
cyrnn.saving.torch.from_torch, cyrnn.saving.onnx, cyrnn.saving.keras
from cyrnn.saving import *
assert load_model is cyrnn.saving.load_model and from_torch is cyrnn.saving.torch.from_torch
print("done")
"""
    assert run_python(code).stdout == "done\n"


# ------------------------------------------------------------ a new format


def write_lines(file, arrays):
    """A format for this test: a line of JSON for each array."""
    file.write(b"LINES\n")
    for name, array in arrays.items():
        file.write(json.dumps([name, array.tolist()]).encode() + b"\n")


class Lines:
    def __init__(self, content):
        self.arrays = {name: np.array(value, "float32") for name, value in map(json.loads, content.splitlines()[1:])}

    @property
    def names(self):
        return list(self.arrays)

    def shape(self, name):
        return self.arrays[name].shape

    def dtype_name(self, name):
        return self.arrays[name].dtype.name

    def read(self, name):
        return self.arrays[name]


LINES = array_format(
    "lines", (".lines",), lambda file: file.beginning.startswith(b"LINES"), lambda file: file.parsed(Lines), write_lines
)


@pytest.fixture
def with_lines(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for module in (registry, importlib.import_module("cyrnn.saving.weight_files"), interchange):
        monkeypatch.setattr(module, "FORMATS", (*module.FORMATS, LINES))
    monkeypatch.setattr(interchange, "WRITTEN", (*interchange.WRITTEN, LINES))


@pytest.mark.thread_unsafe(reason="changes the list of formats")
def test_a_format_that_is_listed_is_known_everywhere(with_lines, capsys):
    source, target = small_model(), small_model()
    source.save_weights("w.lines")
    load_weights(target, "w.lines")
    x = np.ones((2, 4, 2), "float32")
    assert np.array_equal(source(x), target(x))
    with pytest.raises(ModelFileError, match="use load_weights") as caught:
        load_model("w.lines")
    assert caught.value.reason is saving.Reason.NOT_A_MODEL
    with pytest.raises(ValueError, match=r"must end in .weights.h5, .npz, .safetensors or .lines, got 'w.txt'"):
        save_weights(source, "w.txt")
    assert cli.main(["info", "w.lines"]) == 0
    assert "dense/kernel" in capsys.readouterr().out
    source.save("m.keras")
    assert cli.main(["convert", "m.keras", "v.lines"]) == 0
    load_weights(target, "v.lines")
    assert cli.main(["convert", "w.lines", "new.keras"]) == 2
    assert "w.lines holds weights without a model" in capsys.readouterr().err


def test_each_file_is_of_one_format(tmp_path):
    """Whatever its name is: all formats but the one that is last, which has no signature, tell their files apart."""
    model = small_model()
    paths = {end: tmp_path / f"file{end}" for end in (".keras", ".weights.h5", ".npz", ".safetensors")}
    for path in paths.values():
        (model.save if path.suffix == ".keras" else model.save_weights)(path)
    for end, path in paths.items():
        unnamed = path.rename(tmp_path / "file")
        with opened(unnamed) as file:
            assert [form.ends for form in registry.FORMATS if form.sniff(file)] == [(end,)]


def test_a_file_is_opened_and_read_once(tmp_path, monkeypatch):
    model, path = small_model(), tmp_path / "m.keras"
    model.save(path)
    model.save_weights(tmp_path / "w.weights.h5")
    opens = []
    real = type(path).open
    monkeypatch.setattr(type(path), "open", lambda self, *args: opens.append(self.name) or real(self, *args))
    load_model(path)
    load_weights(model, path)
    load_weights(model, tmp_path / "w.weights.h5")
    assert opens == ["m.keras", "m.keras", "w.weights.h5"]
    for command in (["info", path], ["convert", path, tmp_path / "m.c"]):
        assert cli.main(list(map(str, command))) == 0
    assert opens[3:] == ["m.keras", "m.keras"]


@pytest.mark.parametrize("end", [".npz", ".safetensors", ".weights.h5"])
def test_a_layer_without_weights_comes_back(tmp_path, end):
    layer = cyrnn.layers.Flatten()
    layer.build((None, 3, 2))
    save_weights(layer, tmp_path / f"w{end}")
    load_weights(layer, tmp_path / f"w{end}")
    assert cli.main(["info", str(tmp_path / f"w{end}")]) == 0


def test_an_archive_of_neither_kind(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("words.txt", b"words")
    with pytest.raises(ModelFileError, match="none of .*is damaged") as caught:
        load_weights(small_model(), tmp_path / "x.npz")
    assert caught.value.reason is saving.Reason.UNKNOWN_FORMAT


def test_formats_say_what_they_can_do():
    for form in interchange.FORMATS:
        assert form.ends and all(end.startswith(".") for end in form.ends)
        assert form.load or form.export or form.read_weights or form.read_model
        assert not form.options or form.load or form.export


# ------------------------------------------------------------ ONNX on the command line


@pytest.fixture
def onnx_file(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    monkeypatch.chdir(tmp_path)
    model = small_model()
    saving.export_onnx(model, "m.onnx")
    return model


@pytest.mark.thread_unsafe(reason="its fixture changes the working directory")
def test_predict_with_an_onnx_file(onnx_file, capsys):
    x = np.random.default_rng(0).standard_normal((5, 4, 2), dtype="float32")
    np.save("x.npy", x)
    assert cli.main(["predict", "m.onnx", "x.npy", "-o", "y.npy"]) == 0
    np.testing.assert_allclose(np.load("y.npy"), onnx_file(x), atol=1e-6)
    onnx_file.save_weights("w.npz")
    capsys.readouterr()
    assert cli.main(["predict", "w.npz", "x.npy", "-o", "z.npy"]) == 2
    assert "w.npz: the file holds weights without a model" in capsys.readouterr().err
    torch = Path(__file__).parent / "golden" / "files" / "torch.safetensors"
    assert cli.main(["predict", str(torch), "x.npy", "-o", "z.npy"]) == 2
    assert "without a model: cyrnn convert makes one" in capsys.readouterr().err


@pytest.mark.thread_unsafe(reason="its fixture changes the working directory")
def test_info_of_an_onnx_file(onnx_file, capsys):
    onnx = importlib.import_module("onnx")
    assert cli.main(["info", "m.onnx"]) == 0
    printed = capsys.readouterr().out
    assert "read from ONNX" in printed and f"{onnx_file.count_params():,} parameters" in printed
    for words in (r" SimpleRNN +\(None, 3\) +18 +float32 +", r" Dense +\(None, 2\) +8 +float32 +"):
        assert re.search(words, printed), words
    proto = onnx.load("m.onnx")
    next(node for node in proto.graph.node if node.op_type == "RNN").op_type = "LSTM"
    onnx.save(proto, "lstm.onnx")
    assert cli.main(["info", "lstm.onnx"]) == 1
    assert "cannot run here: lstm.onnx: node " in capsys.readouterr().out
    content = Path("m.onnx").read_bytes()
    for name, damaged in (("cut.onnx", content[: len(content) // 2]), ("empty.onnx", b"")):
        Path(name).write_bytes(damaged)
        assert cli.main(["info", name]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1 and name in captured.err
