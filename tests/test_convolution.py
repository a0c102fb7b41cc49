"""Conv1D: its sums, shapes, gradients, and its place in models that are trained, stepped and written to files."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.saving import load_model

RNG = np.random.default_rng(0)
OPTIONS = [
    {},
    {"strides": 2},
    {"padding": "same"},
    {"padding": "same", "strides": 3},
    {"padding": "causal", "dilation_rate": 2},
    {"padding": "causal", "strides": 2, "use_bias": False},
    {"dilation_rate": 3},
    {"groups": 2, "padding": "same", "dilation_rate": 2},
    {"groups": 4, "activation": "softmax"},
    {"activation": "tanh", "padding": "same", "kernel_size": 4},
    {"kernel_size": 1, "activation": "gelu"},
]


def made(dtype="float64", **options):
    layer = layers.Conv1D(4, **{"kernel_size": 3, **options}, dtype=dtype)
    layer.build((None, 9, 8))
    layer.set_weights([RNG.standard_normal(weight.shape) / 2 for weight in layer.get_weights()])
    return layer


def by_definition(layer, x):
    """Each output as the sum that the docstring names."""
    (size,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
    windows = layer.compute_output_shape(x.shape)[1]
    before = 0
    if layer.padding == "causal":
        before = (size - 1) * dilation
    elif layer.padding == "same":
        before = max(0, (windows - 1) * stride + (size - 1) * dilation + 1 - x.shape[1]) // 2
    inner, outer = x.shape[2] // layer.groups, layer.filters // layer.groups
    sums = np.zeros((len(x), windows, layer.filters))
    for t in range(windows):
        for k in range(size):
            at = t * stride + k * dilation - before
            for group in range(layer.groups) if 0 <= at < x.shape[1] else ():
                to = slice(group * outer, (group + 1) * outer)
                sums[:, t, to] += x[:, at, group * inner : (group + 1) * inner] @ layer.kernel[k, :, to]
    return cyrnn.activations.get(layer.activation)(sums + (0 if layer.bias is None else layer.bias))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sums_are_those_of_the_definition(options):
    layer, x = made(**options), RNG.standard_normal((3, 9, 8))
    np.testing.assert_allclose(layer(x), by_definition(layer, x), rtol=0, atol=1e-12)
    single = layers.Conv1D.from_config({**layer.get_config(), "dtype": "float32"})
    single.build(x.shape)
    single.set_weights(layer.get_weights())
    assert single(x).dtype == np.float32
    np.testing.assert_allclose(single(x), by_definition(layer, x), rtol=0, atol=2e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_derivatives(options):
    layer, x = made(**options), RNG.standard_normal((3, 9, 8))
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = RNG.standard_normal(y.shape)
    found, weights = pullback(dy), layer.get_weights()

    def along(function, at):
        direction = RNG.standard_normal(at.shape)
        ends = [np.sum(dy * function(at + sign * 1e-6 * direction)) for sign in (1, -1)]
        return (ends[0] - ends[1]) / 2e-6, direction

    slope, direction = along(layer, x)
    assert abs(slope - np.sum(direction * found.inputs)) < 1e-6
    for number, gradient in enumerate(found.weights):

        def with_weight(moved, number=number):
            layer.set_weights([*weights[:number], moved, *weights[number + 1 :]])
            return layer(x)

        slope, direction = along(with_weight, weights[number])
        assert abs(slope - np.sum(direction * gradient)) < 1e-6
        layer.set_weights(weights)


def test_a_custom_activation_has_its_own_derivative():
    def sine(z):
        return np.sin(z)

    layer, x = made(activation=sine), RNG.standard_normal((2, 9, 8))
    with pytest.raises(ValueError, match="has no derivative"):
        layer.vjp(x)[1](np.ones((2, 7, 4)))
    sine.derivative = np.cos
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, np.sin(made_linear(layer)(x)))
    assert np.isfinite(pullback(np.ones_like(y)).inputs).all()


def made_linear(layer):
    other = layers.Conv1D.from_config({**layer.get_config(), "activation": "linear"})
    other.build((None, 9, 8))
    other.set_weights(layer.get_weights())
    return other


@pytest.mark.parametrize("shape", [(0, 9, 8), (2, 9, 8)])
def test_empty_batches_and_zeros_of_timesteps(shape):
    assert made()(np.zeros(shape)).shape == (shape[0], 7, 4)
    for padding in ("same", "causal"):
        layer = made(padding=padding)
        y, pullback = layer.vjp(np.zeros((shape[0], 0, 8)))
        assert y.shape == (shape[0], 0, 4)
        assert pullback(y).inputs.shape == (shape[0], 0, 8)


def test_masks_end_here():
    model = cyrnn.Sequential([layers.Input((6,)), layers.Embedding(9, 8, mask_zero=True), layers.Conv1D(4, 2)])
    with pytest.warns(UserWarning, match="does not pass the mask on"):
        model(np.ones((2, 6)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_format": "channels_first"}, "channels_first' is not supported by Conv1D: put the features last"),
        ({"data_format": "first"}, "data_format must be"),
        ({"padding": "full"}, "padding must be one of 'valid', 'same', 'causal', got 'full'"),
        ({"padding": None}, "padding must be one of"),
        ({"strides": 2, "dilation_rate": 2}, "strides and dilation_rate must not both be above 1, got 2 and 2"),
        ({"groups": 3}, "filters must be a multiple of groups, got 4 and 3"),
        ({"groups": 0}, "groups must be a positive integer"),
        ({"kernel_size": 0}, "kernel_size must be an integer"),
        ({"kernel_size": (2, 2)}, "kernel_size must be an integer"),
        ({"strides": 0}, "strides must be an integer"),
        ({"lora_rank": 2}, "lora_rank and lora_alpha are not supported"),
        ({"kernel_size": 2**70}, "kernel_size must be an integer"),
    ],
)
def test_other_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)


def test_inputs_that_do_not_fit_are_refused_and_nothing_is_built():
    layer = layers.Conv1D(4, 3, groups=2)
    for shape, message in [
        ((2, 9, 5), "a multiple of groups 2"),
        ((2, 2, 8), "at least the 3 timesteps of a window"),
        ((2, 9), r"the axes \(batch, timesteps, features\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            layer(np.zeros(shape))
    assert not layer.built
    layer(np.zeros((2, 9, 8)))
    with pytest.raises(ValueError, match=r"must have shape \(batch, timesteps, 8\), got \(2, 9, 6\)"):
        layer(np.zeros((2, 9, 6)))


def model_of_convolutions():
    x = cyrnn.Input((None, 3))
    h = layers.Conv1D(6, 3, padding="causal", activation="relu")(x)
    h = layers.LSTM(5, return_sequences=True)(layers.MaxPooling1D(2)(h))
    y = layers.Dense(1)(layers.Conv1D(4, 2, padding="same", dilation_rate=2)(h)[:, -1])
    return cyrnn.Model(x, y)


def test_models_learn_with_it_and_files_keep_it(tmp_path):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model, x = model_of_convolutions(), RNG.standard_normal((32, 10, 3)).astype("f")
    y = np.tanh(x[:, -3:].sum((1, 2))[:, None])
    model.compile(cyrnn.optimizers.Adam(0.02), "mse")
    losses = model.fit(x, y, epochs=15, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(load_model(tmp_path / name).predict(x), model.predict(x))


def test_steppers_and_exports_name_it(tmp_path):
    model = model_of_convolutions()
    with pytest.raises(ValueError, match="the engine has no op for Conv1D"):
        model.stepper()
    with pytest.raises(ValueError, match="Conv1D"):
        cyrnn.saving.export_c(model, tmp_path / "model.c")
