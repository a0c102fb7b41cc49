"""Files of LSTMs and GRUs of each Keras, which golden/make_gated_files.py has written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_close

import cyrnn
from cyrnn import layers
from cyrnn.saving import ModelFileError, from_torch, load_model

GOLDEN = Path(__file__).parent / "golden" / "gated"
MODELS = ["keras1.h5", "cudnn.h5", "keras2.h5", "keras2.keras", "keras3.h5", "keras3.keras"]


def record(name):
    contents = json.loads((GOLDEN / f"{name.split('.')[0].split('_')[0]}.json").read_text())
    return np.array(contents["x"], "float32"), np.array(contents["outputs"], "float32")


@pytest.mark.parametrize("name", MODELS)
def test_models_of_each_keras_compute_what_they_did(name):
    model, (x, outputs) = load_model(GOLDEN / name), record(name)
    assert_close(model(x), outputs, "float32")
    assert_close(model.predict(x), outputs, "float32")


@pytest.mark.parametrize("name", ["keras2_weights.h5", "keras3.weights.h5", "keras3.h5"])
def test_weights_alone(name):
    model, (x, outputs) = load_model(GOLDEN / f"{record_of(name)}.keras"), record(name)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    model.load_weights(GOLDEN / name)
    assert_close(model(x), outputs, "float32")


def record_of(name):
    return name.split(".")[0].split("_")[0]


@pytest.mark.parametrize("name", MODELS)
def test_all_of_them_are_written_for_keras_3(name, tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[h5]'")
    model, (x, outputs) = load_model(GOLDEN / name), record(name)
    model.save(tmp_path / "again.keras")
    assert_close(load_model(tmp_path / "again.keras")(x), outputs, "float32")


def test_what_the_configs_of_each_keras_say():
    old, cudnn = load_model(GOLDEN / "keras1.h5"), load_model(GOLDEN / "cudnn.h5")
    lstm, both = old.layers
    assert (lstm.units, lstm.unit_forget_bias, lstm.recurrent_activation.name) == (4, True, "hard_sigmoid_keras2")
    assert both.forward_layer.reset_after is both.backward_layer.reset_after is False
    lstm, both = cudnn.layers
    assert isinstance(lstm, layers.LSTM) and lstm.recurrent_activation.name == "sigmoid"
    assert isinstance(both.forward_layer, layers.GRU) and both.forward_layer.reset_after is True


@pytest.mark.parametrize("key", ["implementation", "inner_activation", "consume_less"])
def test_a_gru_from_before_reset_after_resets_before(key):
    value = {"implementation": 0, "inner_activation": "hard_sigmoid", "consume_less": "cpu"}[key]
    assert layers.GRU.from_config({"units": 2, key: value}).reset_after is False
    assert layers.GRUCell.from_config({"units": 2, key: value}).reset_after is False
    assert layers.GRU.from_config({"units": 2, key: value, "reset_after": True}).reset_after is True
    assert layers.GRU.from_config({"units": 2}).reset_after is True


def test_weights_of_cudnn_fit_plain_layers():
    """Whatever the config says: the shape of the bias tells them."""
    x, outputs = record("cudnn.h5")
    model = cyrnn.Sequential([layers.LSTM(4, return_sequences=True), layers.Bidirectional(layers.GRU(2))])
    model.build((None, 6, 3))
    model.load_weights(GOLDEN / "cudnn.h5")
    assert_close(model(x), outputs, "float32")


def test_weights_of_keras_1_fit_layers_with_one_bias():
    x, outputs = record("keras1.h5")
    gates = {"recurrent_activation": cyrnn.activations.get("hard_sigmoid_keras2")}
    both = layers.Bidirectional(layers.GRU(2, reset_after=False, **gates))
    model = cyrnn.Sequential([layers.LSTM(4, return_sequences=True, **gates), both])
    model.build((None, 6, 3))
    model.load_weights(GOLDEN / "keras1.h5")
    assert_close(model(x), outputs, "float32")


@pytest.mark.parametrize(
    ("name", "layer", "words"),
    [
        ("cudnn.h5", lambda: layers.GRU(2, reset_after=False), r"weight 'bias'.*\(6,\).*\(12,\)"),
        ("cudnn.h5", lambda: layers.GRU(2, use_bias=False), "weights, its group"),
        ("keras1.h5", lambda: layers.GRU(2), "weights, its group 'bidirectional_1' in the file holds 18"),
        ("keras1.h5", lambda: layers.GRU(3, reset_after=False), r"weight 'kernel'.*\(4, 3\).*\(4, 2\)"),
    ],
)
def test_weights_of_other_layers_are_refused(name, layer, words):
    model = cyrnn.Sequential([layers.LSTM(4, return_sequences=True), layers.Bidirectional(layer())])
    model.build((None, 6, 3))
    before = model.get_weights()
    with pytest.raises(ModelFileError, match=words):
        model.load_weights(GOLDEN / name)
    for actual, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_the_bias_of_one_kind_of_gru_is_refused_by_the_other(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[h5]'")
    path = tmp_path / "weights.h5"
    shutil.copy(GOLDEN / "keras2_weights.h5", path)
    model = load_model(GOLDEN / "keras2.keras")
    with h5py.File(path, "r+") as file:
        (name,) = (key for key in file["gru"].attrs["weight_names"] if "bias" in str(key))
        del file["gru"][name]
        file["gru"][name] = np.zeros((2, 9), "float32")
    with pytest.raises(ModelFileError, match=r"weight 'bias'.*has shape \(9,\), the file has \(2, 9\)"):
        model.load_weights(path)


# ------------------------------------------------------------ torch

TORCH = {"RNN": (1, "SimpleRNN"), "GRU": (3, "GRU"), "LSTM": (4, "LSTM")}


def of_torch(kind, features=3, units=4, end="_l0", bias=True, seed=0, dtype="float64"):
    """Weights of a module of torch."""
    rng, rows = np.random.default_rng(seed), TORCH[kind][0] * units
    shapes = {"weight_ih": (rows, features), "weight_hh": (rows, units), "bias_ih": (rows,), "bias_hh": (rows,)}
    kept = {name: shape for name, shape in shapes.items() if bias or name.startswith("weight")}
    return {name + end: rng.uniform(-0.8, 0.8, shape).astype(dtype) for name, shape in kept.items()}


def torch_equations(kind, x, weights, end="_l0"):
    """Outputs (batch, timesteps, units) and the last states, from the equations in torch's documentation."""
    w, v = weights[f"weight_ih{end}"], weights[f"weight_hh{end}"]
    b, d = weights.get(f"bias_ih{end}", 0), weights.get(f"bias_hh{end}", 0)
    h, c, outputs = np.zeros((len(x), v.shape[1])), np.zeros((len(x), v.shape[1])), []
    for t in range(x.shape[1]):
        of_x, of_h = x[:, t] @ w.T + b, h @ v.T + d
        if kind == "LSTM":
            i, f, g, o = np.split(of_x + of_h, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(of_x, 3, axis=1), np.split(of_h, 3, axis=1)
            z = sigmoid(x_z + h_z)
            h = (1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h
        outputs.append(h)
    return np.stack(outputs, axis=1), [h, c] if kind == "LSTM" else [h]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_modules_of_torch(kind, bias):
    x, weights = np.random.default_rng(3).standard_normal((2, 5, 3)), of_torch(kind, bias=bias)
    outputs, states = torch_equations(kind, x, weights)
    layer = from_torch(weights, return_state=True)
    assert type(layer).__name__ == TORCH[kind][1] and layer.use_bias is bias
    for actual, expected in zip(layer(x), [outputs, *states], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    cell = from_torch({name.removesuffix("_l0"): array for name, array in weights.items()})
    output, _ = cell(x[:, 0], cell.get_initial_state(2))
    np.testing.assert_allclose(output, outputs[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_deep_modules_of_torch(kind):
    x = np.random.default_rng(3).standard_normal((2, 5, 3))
    parts = [("_l0", 3), ("_l0_reverse", 3), ("_l1", 8), ("_l1_reverse", 8)]
    weights = {}
    for seed, (end, features) in enumerate(parts):
        weights |= of_torch(kind, features, end=end, seed=seed)
    y = x
    for number in range(2):
        forward, _ = torch_equations(kind, y, weights, f"_l{number}")
        backward, _ = torch_equations(kind, y[:, ::-1], weights, f"_l{number}_reverse")
        y = np.concatenate([forward, backward[:, ::-1]], axis=2)
    np.testing.assert_allclose(from_torch(weights)(x), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("weights", "options", "words"),
    [
        (of_torch("LSTM") | {"weight_hr_l0": np.ones((2, 4))}, {}, "weight_hr_l0 is of an LSTM with proj_size"),
        (of_torch("GRU"), {"nonlinearity": "relu"}, "nonlinearity must be 'tanh' for weights of a module GRU"),
        (of_torch("GRU") | {"weight_hh_l0": np.ones((8, 4))}, {}, "1, 3 or 4 gates, of an RNN, GRU or LSTM"),
        (of_torch("LSTM") | {"weight_ih_l0": np.ones((12, 3))}, {}, r"\(16, 3\), of a module LSTM, got \(12, 3\)"),
        (of_torch("LSTM") | of_torch("GRU", 4, end="_l1"), {}, r"weight_ih_l1.*of a module LSTM, got \(12, 4\)"),
    ],
)
def test_modules_of_torch_that_are_refused(weights, options, words):
    with pytest.raises(ValueError, match=words):
        from_torch(weights, **options)
