"""LSTM and GRU as C: compiled without a warning, and compared with the layers."""

import numpy as np
import pytest
from exported import TOLERANCE, Network, ends, needs_compiler, sequence, with_weights
from helpers import pairs

import cyrnn
from cyrnn import layers

KINDS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "gru_reset_before": ("GRU", {"reset_after": False})}
DTYPES = ["float32", "float64"]
FUNCTIONS = [("tanh", "sigmoid"), ("relu", "hard_sigmoid_keras2"), ("softmax", "softmax"), (None, "sparse_sigmoid")]


def part(kind, suffix, units, **options):
    name, own = KINDS[kind]
    return getattr(layers, f"{name}{suffix}")(units, **own, **options)


@needs_compiler
@pytest.mark.parametrize(("kind", "shape", "functions", "dtype"), pairs([*KINDS], [(1, 1), (5, 7)], FUNCTIONS, DTYPES))
def test_layers(tmp_path, kind, shape, functions, dtype):
    features, units = shape
    activation, gates = (cyrnn.activations.get(name) for name in functions)
    layer = part(
        kind,
        "",
        units,
        activation=activation,
        recurrent_activation=gates,
        use_bias=units > 1,
        return_sequences=True,
        dtype=dtype,
    )
    layer.build((None, None, features))
    rng = np.random.default_rng(units)
    layer.set_weights([rng.uniform(-0.5, 0.5, weight.shape) for weight in layer.weights])
    network = Network(tmp_path, layer)
    assert (network.features, network.units, network.dtype) == (features, units, dtype)
    x = sequence(network, 20)
    np.testing.assert_allclose(network.forward(x), layer(x[None])[0], rtol=0, atol=TOLERANCE[dtype])


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_cells_stacks_and_models(tmp_path, kind):
    stack = layers.RNN([part(kind, "Cell", 4), layers.SimpleRNNCell(3), part("lstm", "Cell", 2)])
    model = cyrnn.Sequential(
        [layers.Masking(), part(kind, "", 4, return_sequences=True), part("lstm", "", 3), layers.Dense(2, "softmax")]
    )
    for number, layer in enumerate((stack, model)):
        layer = with_weights(layer, 3)
        network = Network(tmp_path, layer, f"net_{number}")
        x = sequence(network)
        np.testing.assert_allclose(network.forward(x), ends(layer, x), rtol=0, atol=TOLERANCE["float32"])
    cell = with_weights(part(kind, "Cell", 4), 3)
    network = Network(tmp_path, cell, "net_of_a_cell")
    x = sequence(network)
    np.testing.assert_allclose(network.forward(x), ends(layers.RNN(cell), x), rtol=0, atol=TOLERANCE["float32"])


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_keeps_all_states(tmp_path, kind):
    layer = part(kind, "", 4, zero_output_for_mask=True)
    model = with_weights(cyrnn.Sequential([layers.Masking(), layer]), 3)
    network = Network(tmp_path, model)
    x = sequence(network)
    x[1::2] = 0
    np.testing.assert_allclose(network.forward(x), ends(model, x), rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_says_what_it_computes(tmp_path, kind):
    layer = with_weights(part(kind, "", 4), 3)
    cyrnn.saving.export_c(layer, tmp_path / "net.c", name="net")
    text = (tmp_path / "net.c").read_text()
    assert f"{KINDS[kind][0]} of 4 units, tanh and sigmoid" in text
    assert ("(r h) . recurrent_kernel" in text) is (kind == "gru_reset_before")
