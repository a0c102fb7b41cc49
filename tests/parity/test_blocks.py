"""Custom layers that are made of layers, in models, against Keras on TensorFlow: results, masks, gradients, files."""

import os

import numpy as np
import pytest
from parity.twins import VERSION, assert_same, keras, same_weights

import cyrnn

if VERSION < (3, 15) or os.environ.get("KERAS_BACKEND") != "tensorflow":
    reason = f"compares with Keras 3.15 on TensorFlow, found {keras.__version__} on {keras.backend.backend()}"
    pytest.skip(reason, allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask attached to it"),
    pytest.mark.filterwarnings("ignore:.*the layer does not have a `build"),
]
LENGTHS = np.arange(6) < np.array([[6], [4], [2], [1], [5]])
X = np.random.default_rng(0).standard_normal((5, 6, 3)).astype("float32") * LENGTHS[..., None]
IDS = np.random.default_rng(1).integers(1, 9, (5, 6)) * LENGTHS


def blocks(module):
    """Custom layers of a module, by name."""
    layers, activations = module.layers, module.activations

    class Encoder(layers.Layer):
        def __init__(self, units=4, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.rnn, self.project = layers.LSTM(units, return_sequences=True), layers.Dense(units, "tanh")

        def call(self, x):
            return self.rnn(self.project(x))

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    class Reader(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.embedding, self.rnn = layers.Embedding(9, 4, mask_zero=True), layers.GRU(3, return_state=True)

        def call(self, ids):
            output, state = self.rnn(self.embedding(ids))
            return activations.sigmoid(output) * state - 0.5

    class Bent(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.parts = [layers.Dense(3), Encoder(3)]

        def call(self, x):
            y = self.parts[0](x)
            y = activations.relu(y) - abs(y) / 2 + y**2 * activations.softmax(y)
            return x + self.parts[1](y)

    return {"Encoder": Encoder, "Reader": Reader, "Bent": Bent}


def made(module, case):
    layers, own = module.layers, blocks(module)
    if case == "row":
        return module.Sequential([module.Input((6, 3)), own["Encoder"](), layers.Dense(2), own["Encoder"](2)])
    if case == "masked":
        return module.Sequential([module.Input((6, 3)), layers.Masking(), own["Encoder"](), layers.GRU(2)])
    if case == "tokens":
        return module.Sequential([module.Input((6,), dtype="int32"), own["Reader"](), layers.Dense(1)])
    begin = module.Input((6, 3))
    whole = own["Bent"]()(begin)
    return module.Model(begin, [layers.LSTM(2)(whole), own["Encoder"](3)(whole + begin)])


CASES = ["row", "masked", "tokens", "graph"]


def pair(case):
    ours, theirs = made(cyrnn, case), made(keras, case)
    same_weights(ours, theirs, np.random.default_rng(len(case)))
    return ours, theirs, IDS if case == "tokens" else X


def leaves(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


@pytest.mark.parametrize("case", CASES)
def test_results(case):
    ours, theirs, x = pair(case)
    for found, expected in zip(leaves(ours(x)), leaves(theirs(x)), strict=True):
        assert_same(np.asarray(found), np.asarray(expected), tolerance=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients(case):
    import tensorflow as tf

    ours, theirs, x = pair(case)
    y, pullback = ours.vjp(x)
    rng = np.random.default_rng(7)
    dy = [rng.standard_normal(part.shape).astype("float32") for part in leaves(y)]
    inputs = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = sum(tf.reduce_sum(part * d) for part, d in zip(leaves(theirs(inputs)), dy, strict=True))
    of_inputs, *expected = tape.gradient(value, [inputs, *(weight.value for weight in theirs.trainable_weights)])
    found = pullback(dy if isinstance(y, (list, tuple)) else dy[0])
    if case != "tokens":
        assert_same(found.inputs, of_inputs.numpy(), tolerance=2e-5)
    for a, b in zip(found.weights, expected, strict=True):
        assert_same(a, np.asarray(tf.convert_to_tensor(b)), tolerance=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_weights_in_files(case, tmp_path):
    ours, theirs, x = pair(case)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    expected = leaves(ours(x))
    ours.set_weights([np.zeros(weight.shape) for weight in ours.weights])
    ours.load_weights(tmp_path / "theirs.weights.h5")
    for found, wanted in zip(leaves(ours(x)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    for weight, wanted in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, wanted)


@pytest.mark.parametrize("case", CASES)
def test_models_in_files(case, tmp_path):
    ours, theirs, x = pair(case)
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    read = cyrnn.saving.load_model(tmp_path / "theirs.keras", custom_objects=blocks(cyrnn))
    for found, wanted in zip(leaves(read(x)), leaves(ours(x)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
    back = keras.saving.load_model(tmp_path / "ours.keras", custom_objects=blocks(keras))
    for weight, wanted in zip(back.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_operations_in_files(tmp_path):
    """Powers, absolute values and activations of tensors have Keras' names in a graph."""

    def graph(module):
        begin, of = module.Input((6, 3)), module.activations
        parts = [of.relu(begin), of.softmax(begin), of.silu(begin), of.hard_sigmoid(begin), of.tanh(begin)]
        return module.Model(begin, [*parts, begin**2, abs(begin)])

    ours, theirs = graph(cyrnn), graph(keras)
    for found, expected in zip(ours(X), theirs(X), strict=True):
        assert_same(np.asarray(found), np.asarray(expected), tolerance=1e-5)
    ours.save(tmp_path / "ours.keras")
    back = keras.saving.load_model(tmp_path / "ours.keras")
    for found, expected in zip(back(X), theirs(X), strict=True):
        assert_same(np.asarray(found), np.asarray(expected), tolerance=1e-5)
