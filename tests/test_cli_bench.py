"""``cyrnn bench`` and `cyrnn.profile`: which calls are measured, and that the numbers belong together."""

import re
from pathlib import Path

import numpy as np
import pytest

import cyrnn
from cyrnn import cli
from cyrnn.layers import GRU, Bidirectional, Dense, Embedding, SimpleRNN
from cyrnn.timing.latency import Latency, in_turn, random_inputs

X = np.random.default_rng(0).standard_normal((3, 5, 2), dtype="float32")


def model():
    return cyrnn.Sequential([cyrnn.Input((None, 2)), SimpleRNN(4, return_sequences=True), GRU(3), Dense(1)])


def graph():
    words, numbers = cyrnn.Input((None,), dtype="int32", name="words"), cyrnn.Input((None, 2), name="numbers")
    x = Embedding(7, 3, mask_zero=True)(words)
    y = Bidirectional(SimpleRNN(4))(x)
    return cyrnn.Model([words, numbers], [Dense(2)(y), SimpleRNN(2)(numbers) + 1])


# ------------------------------------------------------------ profile


def test_a_profile_has_a_row_for_each_layer():
    made = model()
    found = cyrnn.profile(made, X, seconds=0.01)
    assert [layer.name for layer in found] == [layer.name for layer in made.layers]
    assert [(layer.class_name, layer.shape) for layer in found] == [
        ("SimpleRNN", "(3, 5, 4)"),
        ("GRU", "(3, 3)"),
        ("Dense", "(3, 1)"),
    ]
    assert all(layer.seconds > 0 for layer in found) and found.seconds > 0 and found.runs >= 3
    assert found.sum == pytest.approx(sum(layer.seconds for layer in found))
    lines = str(found).splitlines()
    assert len(lines) == 5 and lines[0].split() == ["layer", "class", "output", "shape", "microseconds", "part"]
    parts = [int(line.split()[-1].rstrip("%")) for line in lines[1:4]]
    assert 98 <= sum(parts) <= 102 and "for the whole model" in lines[-1]


def test_a_profile_of_a_graph_has_its_operations_and_masks():
    found = cyrnn.profile(graph(), [np.array([[1, 2, 0], [3, 0, 0], [1, 1, 1]]), X], seconds=0.01)
    kinds = sorted(layer.class_name for layer in found)
    assert kinds == ["Add", "Bidirectional", "Dense", "Embedding", "SimpleRNN"]


def test_a_profile_of_a_layer_and_of_a_model_with_a_call_of_its_own_is_one_row():
    class Mine(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.rnn = SimpleRNN(4)

        def call(self, x):
            return np.tanh(self.rnn(x))

    assert [layer.class_name for layer in cyrnn.profile(SimpleRNN(4), X, seconds=0.01)] == ["SimpleRNN"]
    assert [layer.class_name for layer in cyrnn.profile(Mine(), X, seconds=0.01)] == ["Mine"]


def test_a_profile_leaves_states_as_they_were():
    stateful = cyrnn.Sequential([cyrnn.Input(batch_shape=(3, 5, 2)), SimpleRNN(4, stateful=True)])
    stateful(X)
    before = stateful.layers[0].states[0].copy()
    cyrnn.profile(stateful, X, seconds=0.01)
    np.testing.assert_array_equal(stateful.layers[0].states[0], before)


def test_profiles_of_what_does_not_fit():
    with pytest.raises(TypeError, match="model must be a layer or model of cyrnn, got str"):
        cyrnn.profile("model", X)
    with pytest.raises(ValueError, match="features|shape|axes"):
        cyrnn.profile(model(), X[..., :1], seconds=0.01)
    with pytest.raises(ValueError, match="num_threads"):
        cyrnn.profile(model(), X, num_threads=0)


# ------------------------------------------------------------ latency


def test_percentiles_need_calls_enough():
    few, many = (Latency("cyrnn", 2, 1, np.arange(1, count + 1) / 1e6) for count in (20, 2000))
    assert few.percentile(50) == pytest.approx(10.5e-6) and few.percentile(99) is None
    assert many.percentile(99.9) == pytest.approx(1998e-6, rel=1e-3)
    assert few.samples_per_second == pytest.approx(2 * 20 / (210e-6))


def test_contenders_take_turns():
    order = []
    found = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.05)
    assert order[:2] == ["a", "b"] and len(set(order)) == 2
    assert all(np.all(np.diff(times) >= 0) and len(times) == order.count(name) - 1 for name, times in found.items())


def test_random_inputs_fit():
    made = graph()
    words, numbers = random_inputs(made, 4, 6)
    assert words.shape == (4, 6) and words.dtype == np.int32 and words.min() >= 0 and words.max() < 7
    assert numbers.shape == (4, 6, 2) and numbers.dtype == np.float32
    made([words, numbers])


# ------------------------------------------------------------ the command


@pytest.fixture
def saved(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    monkeypatch.chdir(tmp_path)
    model().save("m.keras")


def bench(capsys, *arguments):
    code = cli.main(["bench", *arguments, "--seconds", "0.02", "--timesteps", "4"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_bench(saved, capsys):
    code, out, err = bench(capsys, "m.keras", "--batch", "1,3", "--threads", "1,2")
    assert (code, err) == (0, "")
    rows = re.findall(r"^ +(\d+) +(\d) +cyrnn((?: +[\d.,-]+){5})$", out, re.M)
    assert [row[:2] for row in rows] == [("1", "1"), ("1", "2"), ("3", "1"), ("3", "2")]
    for _, _, numbers in rows:
        p50, p90 = (float(text.replace(",", "")) for text in numbers.split()[:2])
        assert 0 < p50 <= p90
    assert re.search(r"layers, 3 samples, 1 thread: .* for the whole model", out)
    assert re.search(r"gru.* +GRU +\(3, 3\) +[\d.,]+ +\d+%", out)


def test_bench_beside_onnx_runtime(saved, capsys):
    pytest.importorskip("onnx", reason="needs onnx and onnxruntime: pip install '.[test-onnx]'")
    pytest.importorskip("onnxruntime", reason="needs onnx and onnxruntime: pip install '.[test-onnx]'")
    cli.main(["convert", "m.keras", "m.onnx"])
    capsys.readouterr()
    for name in ("m.keras", "m.onnx"):
        code, out, _ = bench(capsys, name, "--batch", "2", "--threads", "1")
        assert code == 0 and re.search(r"^ +2 +1 +ONNX Runtime +[\d.,]+", out, re.M)


def test_bench_says_what_is_not_measured(saved, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    code, out, _ = bench(capsys, "m.keras", "--batch", "2", "--threads", "1")
    assert code == 0 and "ONNX Runtime is not measured: " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.keras"], "none.keras"),
        (["m.keras", "--plot", "nowhere/x.png"], "nowhere|matplotlib"),
        (["m.keras", "--plot", "x.txt"], "x.txt must end in|matplotlib"),
    ],
)
def test_bench_that_is_wrong(saved, capsys, arguments, words):
    code, out, err = bench(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and re.search(words, err)


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--threads", "two"], ["--batch", ""]])
def test_bench_of_no_numbers(saved, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", "m.keras", *arguments])
    assert caught.value.code == 2 and "must be a whole number from 1 on" in capsys.readouterr().err


def test_bench_draws(saved, capsys):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plot]'")
    code, out, _ = bench(capsys, "m.keras", "--batch", "2", "--threads", "1", "--plot", "latency.png")
    assert code == 0 and "latency.png: the distribution of" in out
    assert Path("latency.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_of_text_is_measured_with_texts(capsys, tmp_path):
    text = cyrnn.layers.TextVectorization(vocabulary=["word1", "word2"])
    made = cyrnn.Sequential([cyrnn.Input((1,), dtype="string"), text, Embedding(4, 3, mask_zero=True), GRU(2)])
    x = random_inputs(made, 2, 5)
    assert x.shape == (2, 1) and text(x).shape == (2, 10)
    words = cyrnn.Input((1,), dtype="string")
    assert random_inputs(cyrnn.Model(words, text(words)), 3, 5).dtype.kind == "U"
    made.save(tmp_path / "m.keras")
    assert cli.main(["bench", str(tmp_path / "m.keras"), "--batch", "2", "--threads", "1", "--seconds", "0.01"]) == 0
    assert "text_vectorization" in capsys.readouterr().out
