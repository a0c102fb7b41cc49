"""``cyrnn convert`` of many files, and in all directions."""

import re
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import cli
from cyrnn.layers import GRU, LSTM, Bidirectional, Conv1D, Dense, Embedding, LayerNormalization, SimpleRNN
from cyrnn.saving import load_model

pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
X = np.random.default_rng(0).standard_normal((5, 4, 2), dtype="float32")


def made(seed):
    cyrnn.utils.set_random_seed(seed)
    return cyrnn.Sequential([cyrnn.Input((4, 2)), SimpleRNN(3), Dense(2)])


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = {name: made(seed) for seed, name in enumerate(("a", "b.v2"))}
    for name, model in models.items():
        model.save(f"{name}.h5")
        model.save(f"{name}.keras")
    return models


def convert(capsys, *arguments):
    code = cli.main(["convert", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_many_files_into_a_folder(models, capsys):
    code, out, err = convert(capsys, *sorted(Path().glob("*.h5")), "--to", "keras", "-d", "out/inner")
    assert (code, err) == (0, "")
    assert out == "out/inner/a.keras: Sequential, 26 parameters\nout/inner/b.v2.keras: Sequential, 26 parameters\n"
    for name, model in models.items():
        assert np.array_equal(load_model(f"out/inner/{name}.keras")(X), model(X))


def test_beside_each_file(models, capsys):
    Path("a.keras").rename("other.keras")
    assert convert(capsys, "a.h5", "other.keras", "--to", ".npz")[0] == 0
    again = made(7)
    for name in ("a.npz", "other.npz"):
        again.load_weights(name)
        assert np.array_equal(again(X), models["a"](X))


def test_files_that_are_wrong_do_not_keep_the_others(models, capsys):
    Path("damaged.h5").write_bytes(Path("a.h5").read_bytes()[:500])
    code, out, err = convert(capsys, "damaged.h5", "none.h5", "a.h5", "--to", "keras", "-d", "out")
    assert code == 2 and out == "out/a.keras: Sequential, 26 parameters\n"
    lines = err.splitlines()
    assert len(lines) == 2 and all(line.startswith("cyrnn convert: ") for line in lines)
    assert "damaged.h5" in lines[0] and "none.h5" in lines[1]
    assert [path.name for path in Path("out").iterdir()] == ["a.keras"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.h5", "a.keras", "--to", "keras", "-d", "out"], "a.h5 and a.keras would both become out/a.keras"),
        (["a.h5", "--to", "hdf5", "-d", "out"], "--to hdf5 must end in one of .torch.safetensors, .weights.h5, "),
        (["a.h5"], "IN OUT; or IN ... --to KIND"),
        (["a.h5", "b.h5", "c.keras"], "IN OUT; or IN ... --to KIND"),
        (["a.h5", "new.keras", "-d", "out"], "IN OUT; or IN ... --to KIND"),
        (["a.h5", "--to", "h5"], "a.h5 is the file to convert"),
        (["a.h5", "new.keras", "--model", "a.keras"], "--model is for files of weights, and a.h5 is none"),
    ],
)
def test_calls_that_are_wrong(models, capsys, arguments, words):
    before = sorted(Path().iterdir())
    code, out, err = convert(capsys, *arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1 and words in err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("first", [".keras", ".h5", ".onnx"])
@pytest.mark.parametrize("second", [".keras", ".h5", ".onnx"])
def test_models_in_both_directions(models, capsys, first, second):
    if ".onnx" in (first, second):
        pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    assert convert(capsys, "a.keras", f"one{first}")[0] == 0
    assert convert(capsys, f"one{first}", f"two{second}")[0] == 0
    assert convert(capsys, f"two{second}", "three.keras")[0] == 0
    np.testing.assert_allclose(load_model("three.keras")(X), models["a"](X), atol=1e-6)


@pytest.mark.parametrize("first", [".weights.h5", ".npz", ".safetensors"])
@pytest.mark.parametrize("second", [".weights.h5", ".npz", ".safetensors", ".keras", ".h5", ".c"])
def test_weights_in_all_directions_with_their_model(models, capsys, first, second):
    models["b.v2"].save_weights(f"w{first}")
    code, _, err = convert(capsys, f"w{first}", f"new{second}", "--model", "a.keras")
    assert (code, err) == (0, "")
    if second == ".c":
        assert "_forward(" in Path("new.c").read_text()
        return
    again = made(7)
    again.load_weights(f"new{second}")
    assert np.array_equal(again(X), models["b.v2"](X))


def test_weights_of_another_model(models, capsys):
    cyrnn.Sequential([cyrnn.Input((4, 2)), SimpleRNN(4)]).save_weights("w.npz")
    code, out, err = convert(capsys, "w.npz", "new.keras", "--model", "a.keras")
    assert (code, out, err.count("\n")) == (2, "", 1) and re.match("cyrnn convert: w.npz: ", err)
    assert not Path("new.keras").exists()


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [SimpleRNN(3, return_sequences=True)],
        lambda: [LSTM(3, use_bias=False, return_sequences=True)],
        lambda: [Bidirectional(GRU(3, return_sequences=True)) for _ in range(2)],
        lambda: [LSTM(4, return_sequences=True) for _ in range(3)],
    ],
)
def test_weights_of_torch_there_and_back(models, capsys, parts):
    model = cyrnn.Sequential([cyrnn.Input((4, 2)), *parts()])
    model.save("rnn.keras")
    code, _, err = convert(capsys, "rnn.keras", "--to", "torch.safetensors")
    assert (code, err) == (0, "") and convert(capsys, "rnn.torch.safetensors", "again.keras")[0] == 0
    np.testing.assert_array_equal(load_model("again.keras")(X), model(X))


def test_torchs_names_of_a_whole_model_there_and_back(models, capsys):
    """With the model whose weights they are, since they do not say what is between them."""
    model = cyrnn.Sequential([
        cyrnn.Input((4,)), Embedding(9, 2), LSTM(3, return_sequences=True), LSTM(3, return_sequences=True),
        LayerNormalization(), Bidirectional(GRU(3)), Dense(2),
    ])  # fmt: skip
    other = cyrnn.from_json(model.to_json())
    model.set_weights([np.random.default_rng(0).standard_normal(weight.shape) for weight in model.get_weights()])
    model.save("model.keras")
    other.save("other.keras")
    assert convert(capsys, "model.keras", "m.torch.safetensors")[::2] == (0, "")
    assert convert(capsys, "m.torch.safetensors", "again.keras", "--model", "other.keras")[::2] == (0, "")
    for found, expected in zip(load_model("again.keras").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    cyrnn.Sequential([cyrnn.Input((4,)), Embedding(9, 2), LSTM(3), Dense(2)]).save("small.keras")
    code, out, err = convert(capsys, "m.torch.safetensors", "new.keras", "--model", "small.keras")
    assert (code, out, err.count("\n")) == (2, "", 1) and "have other names or shapes, among them" in err
    assert not Path("new.keras").exists()


def test_what_torch_has_not(models, capsys):
    for name, part, words in (
        ("conv", Conv1D(3, 2), "is a Conv1D, which torch has in another form"),
        ("gru", GRU(3, reset_after=False), "must have reset_after=True"),
        ("lstm", LSTM(3, activation="relu"), "must have activation='tanh', as torch has it, got 'relu'"),
        ("back", SimpleRNN(3, go_backwards=True), "goes backwards"),
    ):
        cyrnn.Sequential([cyrnn.Input((4, 2)), part]).save(f"{name}.keras")
        code, out, err = convert(capsys, f"{name}.keras", "new.torch.safetensors")
        assert (code, out, err.count("\n")) == (2, "", 1) and words in err, err
        assert not Path("new.torch.safetensors").exists()
