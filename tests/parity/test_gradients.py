"""Gradients against Keras' own, on TensorFlow or JAX, over layers and models at random.

What Keras cannot compute there is left out: masked stacks of one cell, and of float64. TensorFlow's gelu has no more
digits in float64 than in float32.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity.differentiated import gradients_of_keras
from parity.twins import ON_NUMPY, keras, random_settings, twins

import cyrnn
from cyrnn.layers.base import nest

if ON_NUMPY:
    pytest.skip("Keras has no gradients on NumPy: KERAS_BACKEND=tensorflow or jax", allow_module_level=True)

TOLERANCE = {"float32": 2e-5, "float64": 1e-9}


def check(ours, theirs, x, rng, dtype, **options):
    y, pullback = ours.vjp(x, **options)
    dy = nest.mapped(lambda part: rng.standard_normal(part.shape).astype(dtype), y)
    _, of_inputs, of_states, of_weights = gradients_of_keras(theirs, x, dy, **options)
    found = pullback(dy)
    assert (found.inputs is None) == (of_inputs is None)
    pairs = [*zip(found.weights, of_weights, strict=True)]
    pairs += [(found.inputs, of_inputs)] if of_inputs is not None else []
    pairs += zip(found.initial_state, of_states, strict=True) if of_states else []
    for got, expected in pairs:
        scale = max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=TOLERANCE[dtype])


@st.composite
def recurrent(draw):
    """A function that makes a layer with a module, and the sizes of its states."""
    flags = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")
    options = {name: draw(st.booleans()) for name in flags}
    cell = {
        "activation": draw(st.sampled_from(["tanh", "relu", "sigmoid", "silu", "elu", "softmax", "mish", None])),
        "use_bias": draw(st.booleans()),
    }
    units = [draw(st.integers(1, 9)) for _ in range(draw(st.integers(2, 3)))]
    classes = [draw(st.sampled_from(["SimpleRNN", "LSTM", "GRU"])) for _ in units]
    gates = {
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "sigmoid", "hard_sigmoid", "softmax"])),
        "reset_after": draw(st.booleans()),
    }
    keys = {"SimpleRNN": [], "LSTM": ["recurrent_activation"], "GRU": list(gates)}
    own = [{**cell, **{key: gates[key] for key in keys[name]}} for name in classes]
    counts = [2 if name == "LSTM" else 1 for name in classes]
    kind = draw(st.sampled_from(["layer", "RNN", "Bidirectional"]))
    merge_mode = draw(st.sampled_from(["concat", "sum", "mul", "ave", None]))
    dtype = "float32" if kind == "RNN" else draw(st.sampled_from(["float32", "float64"]))

    def make(module):
        layers = module.layers
        if kind == "RNN":
            triples = zip(classes, units, own, strict=True)
            cells = [getattr(layers, f"{name}Cell")(n, dtype=dtype, **known) for name, n, known in triples]
            return layers.RNN(cells, dtype=dtype, **options)
        if kind == "layer":
            return getattr(layers, classes[0])(units[0], dtype=dtype, **own[0], **options)
        layer = getattr(layers, classes[0])(units[0], dtype=dtype, **own[0], **{**options, "go_backwards": False})
        return layers.Bidirectional(layer, merge_mode=merge_mode, dtype=dtype)

    first = units[:1] * counts[0]
    of_stack = [[n] * count for n, count in zip(units, counts, strict=True)]  # as Keras must have them
    sizes = {"layer": first, "RNN": of_stack, "Bidirectional": first * 2}[kind]
    return make, sizes, dtype


@random_settings(0.5)
@given(data=st.data())
def test_recurrent_layers(data):
    draw = data.draw
    make, sizes, dtype = draw(recurrent())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = batch, timesteps, _ = tuple(draw(st.integers(1, 6)) for _ in range(3))
    ours, theirs = twins(make, shape, rng, 0.5)
    x = rng.standard_normal(shape).astype(dtype)
    options = {}
    if draw(st.booleans()):
        options["mask"] = rng.random((batch, timesteps)) < draw(st.sampled_from([0, 0.5, 1]))
    if draw(st.booleans()):
        options["initial_state"] = nest.mapped(lambda size: rng.standard_normal((batch, size)).astype(dtype), sizes)
        if "mask" in options and keras.backend.backend() == "jax":  # where masked steps repeat it
            options["mask"][:, [0, -1]] = True
    check(ours, theirs, x, rng, dtype, **options)


def tagger(module):
    layers, dtype = module.layers, "float64"
    return module.Sequential(
        [
            layers.Embedding(9, 4, mask_zero=True, dtype=dtype),
            layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True, dtype=dtype), dtype=dtype),
            layers.LayerNormalization(dtype=dtype),
            layers.TimeDistributed(layers.Dense(5, activation="softmax", dtype=dtype), dtype=dtype),
        ]
    )


def pooled(module):
    layers, options = module.layers, {"dtype": "float64"}
    return module.Sequential(
        [
            layers.ZeroPadding1D(1, **options),
            layers.SimpleRNN(4, return_sequences=True, **options),
            layers.AveragePooling1D(2, **options),
            layers.PReLU(shared_axes=[1], **options),
            layers.BatchNormalization(**options),
            layers.GlobalMaxPooling1D(**options),
            layers.Dense(2, activation="silu", **options),
        ]
    )


def graph(module):
    layers, options = module.layers, {"dtype": "float64"}
    x = module.Input((5, 3), **options)
    encoded, state = layers.SimpleRNN(4, return_sequences=True, return_state=True, **options)(x)
    shared = layers.SimpleRNN(4, return_sequences=True, **options)
    a, b = shared(encoded), shared(layers.Reshape((5, 4), **options)(encoded), initial_state=state)
    joined = layers.Concatenate(**options)([layers.Multiply(**options)([a, b]), layers.Maximum(**options)([a, b])])
    ends = [layers.GlobalAveragePooling1D(**options)(joined), layers.Dense(2, **options)(layers.Flatten(**options)(b))]
    return module.Model(x, ends)


@pytest.mark.parametrize("make", [tagger, pooled, graph])
@pytest.mark.parametrize("seed", range(5))
def test_models(make, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, (4, 5)) if make is tagger else rng.standard_normal((4, 5, 3))
    ours, theirs = make(cyrnn), make(keras)
    ours(x), theirs(x)
    weights = [rng.uniform(0.1, 0.9, weight.shape) for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    check(ours, theirs, x, rng, "float64")


@pytest.mark.parametrize("seed", range(5))
def test_batch_normalization_in_training(seed):
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, 4, 5, 3))
    mask = rng.random((4, 5)) < 0.7 if seed % 2 else None
    ours, theirs = (module.layers.BatchNormalization(dtype="float64") for module in (cyrnn, keras))
    for layer in (ours, theirs):
        layer.build((None, 5, 3))
        layer.set_weights([np.full(3, 1.5), np.full(3, 0.5), np.zeros(3), np.ones(3)])
    y, pullback = ours.vjp(x, mask=mask, training=True)
    output, of_input, _, of_weights = gradients_of_keras(theirs, x, dy, training=True, mask=mask)
    np.testing.assert_allclose(y, output, rtol=0, atol=1e-9)
    found = pullback(dy)
    for got, expected in zip([found.inputs, *found.weights], [of_input, *of_weights], strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


APART = {
    "Softmax": (lambda module: module.layers.Softmax(dtype="float64"), (4, 6)),
    "Softmax along the middle": (lambda module: module.layers.Softmax(axis=1, dtype="float64"), (4, 5, 6)),
    "LayerNormalization along timesteps": (
        lambda module: module.layers.LayerNormalization(axis=1, dtype="float64"),
        (4, 5, 3),
    ),
    "LayerNormalization of axes apart": (
        lambda module: module.layers.LayerNormalization(axis=[1, 3], dtype="float64"),
        (2, 3, 4, 5),
    ),
    "UnitNormalization along timesteps": (
        lambda module: module.layers.UnitNormalization(axis=1, dtype="float64"),
        (4, 5, 3),
    ),
    "TimeDistributed of a recurrent layer": (
        lambda module: module.layers.TimeDistributed(module.layers.GRU(3, dtype="float64"), dtype="float64"),
        (2, 3, 4, 5),
    ),
    "TimeDistributed of a model": (
        lambda module: module.layers.TimeDistributed(
            module.Sequential(
                [
                    module.Input((4, 5), dtype="float64"),
                    module.layers.SimpleRNN(3, return_sequences=True, dtype="float64"),
                    module.layers.Dense(2, activation="softmax", dtype="float64"),
                ]
            ),
            dtype="float64",
        ),
        (2, 3, 4, 5),
    ),
}


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("masked", [False, True])
def test_other_layers(name, masked):
    make, shape = APART[name]
    rng = np.random.default_rng(1)
    ours, theirs = twins(make, shape, rng)
    x = rng.standard_normal(shape)
    options = {"mask": rng.random(shape) < 0.6} if masked and name.startswith("Softmax") else {}
    check(ours, theirs, x, rng, "float64", **options)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU", "Dense", "LayerNormalization"])
def test_policies_of_16_bits(policy, kind):
    """Keras rounds each gradient on its way, and each timestep: it has two or three digits."""
    rng = np.random.default_rng(2)
    arguments = () if kind == "LayerNormalization" else (4,)
    ours, theirs = twins(lambda module: getattr(module.layers, kind)(*arguments, dtype=policy), (3, 5, 4), rng)
    x = rng.standard_normal((3, 5, 4)).astype("f4")
    y, pullback = ours.vjp(x)
    dy = rng.standard_normal(y.shape).astype("f4")
    _, of_inputs, _, of_weights = gradients_of_keras(theirs, x, dy)
    found = pullback(dy)
    for got, expected in zip([found.inputs, *found.weights], [of_inputs, *of_weights], strict=True):
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(got / scale, expected.astype("f4") / scale, rtol=0, atol=3e-2)


def test_a_custom_layer_made_of_layers_alone():
    def make(module):
        layers, options = module.layers, {"dtype": "float64"}

        class Block(layers.Layer):
            def __init__(self):
                super().__init__(**options)
                self.rnn = layers.SimpleRNN(4, return_sequences=True, **options)
                self.gate, self.norm = layers.Dense(4, "sigmoid", **options), layers.LayerNormalization(**options)

            def call(self, x):
                y = self.rnn(x)
                return self.norm(y * self.gate(y) + y)

        return Block()

    rng = np.random.default_rng(3)
    ours, theirs, x = make(cyrnn), make(keras), rng.standard_normal((3, 5, 2))
    ours(x), theirs(x)
    weights = [rng.uniform(-0.5, 0.5, weight.shape) for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    check(ours, theirs, x, rng, "float64")
