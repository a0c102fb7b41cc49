"""`vjp` of the layers around recurrent ones: against central differences, in closed form at kinks, and with masks."""

import numpy as np
import pytest
from helpers import ISAS
from reference import ACTIVATIONS as FORWARD
from reference_derivatives import ELEMENTWISE, KINKS

import cyrnn
from cyrnn import activations, layers
from cyrnn.engine.plan import ACTIVATIONS
from cyrnn.layers.base import nest

INF, NAN = np.inf, np.nan
PLAIN = [(3, 4), (2, 5, 3), (2, 3, 2, 5), (1, 1, 1), (3, 33)]
TIMED = [shape for shape in PLAIN if len(shape) == 3]

CASES = {
    "activation": (lambda **k: layers.Activation("tanh", **k), PLAIN),
    "activation_of_sums": (lambda **k: layers.Activation("gelu", **k), PLAIN),
    "activation_of_rows": (lambda **k: layers.Activation("softmax", **k), PLAIN),
    "linear": (lambda **k: layers.Activation("linear", **k), PLAIN),
    "relu": (lambda **k: layers.ReLU(**k), PLAIN),
    "relu_of_all": (lambda **k: layers.ReLU(1.0, 0.2, 0.3, **k), PLAIN),
    "relu_at_most": (lambda **k: layers.ReLU(0.7, **k), PLAIN),
    "relu6_leaky": (lambda **k: layers.ReLU(6, 0.2, **k), PLAIN),
    "leaky_relu": (lambda **k: layers.LeakyReLU(**k), PLAIN),
    "thresholded_relu": (lambda **k: layers.ThresholdedReLU(0.3, **k), PLAIN),
    "elu": (lambda **k: layers.ELU(**k), PLAIN),
    "elu_scaled": (lambda **k: layers.ELU(0.6, **k), PLAIN),
    "elu_turned": (lambda **k: layers.ELU(-0.6, **k), PLAIN),
    "softmax": (lambda **k: layers.Softmax(**k), PLAIN),
    "prelu": (lambda **k: layers.PReLU(**k), [(3, 4), (3, 33)]),
    "prelu_shared": (lambda **k: layers.PReLU(shared_axes=[1], **k), [(2, 5, 3), (2, 3, 2, 5), (3, 4)]),
    "prelu_along_the_middle": (lambda **k: layers.PReLU(shared_axes=[1, 3], **k), [(2, 3, 4, 5)]),
    "prelu_of_timesteps": (lambda **k: layers.PReLU(**k), [(2, 5, 3), (2, 3, 2, 5)]),
    "softmax_of_timesteps": (lambda **k: layers.Softmax(axis=1, **k), [(2, 5, 3), (2, 3, 2, 5)]),
    "layer_normalization_of_timesteps": (
        lambda **k: layers.LayerNormalization(axis=[1, 2], **k),
        [(2, 5, 3)],
    ),
    "batch_normalization_of_timesteps": (lambda **k: layers.BatchNormalization(axis=1, **k), [(2, 5, 3)]),
    "unit_normalization_of_timesteps": (lambda **k: layers.UnitNormalization(axis=[1, 2], **k), [(2, 5, 3)]),
    "softmax_along_the_middle": (lambda **k: layers.Softmax(axis=2, **k), [(2, 3, 2, 5)]),
    "softmax_apart": (lambda **k: layers.Softmax(axis=[1, 3], **k), [(2, 3, 2, 5)]),
    "layer_normalization_along_timesteps": (lambda **k: layers.LayerNormalization(axis=1, **k), [(2, 5, 3)]),
    "layer_normalization_along_the_middle": (lambda **k: layers.LayerNormalization(axis=2, **k), [(2, 3, 4, 5)]),
    "layer_normalization_apart": (lambda **k: layers.LayerNormalization(axis=[3, 1], **k), [(2, 3, 4, 5)]),
    "unit_normalization_along_timesteps": (lambda **k: layers.UnitNormalization(axis=1, **k), [(2, 3, 2, 5)]),
    "unit_normalization_apart": (lambda **k: layers.UnitNormalization(axis=[1, 3], **k), [(2, 3, 2, 5)]),
    "layer_normalization": (lambda **k: layers.LayerNormalization(**k), PLAIN),
    "layer_normalization_of_two": (lambda **k: layers.LayerNormalization(axis=[2, 3], **k), [(2, 3, 2, 5)]),
    "layer_normalization_without": (lambda **k: layers.LayerNormalization(center=False, scale=False, **k), PLAIN),
    "layer_normalization_centered": (lambda **k: layers.LayerNormalization(scale=False, **k), PLAIN),
    "rms": (lambda **k: layers.LayerNormalization(rms_scaling=True, **k), PLAIN),
    "batch_normalization": (lambda **k: layers.BatchNormalization(**k), PLAIN),
    "batch_normalization_scaled": (lambda **k: layers.BatchNormalization(center=False, **k), PLAIN),
    "batch_normalization_of_2": (lambda **k: layers.BatchNormalization(axis=2, **k), [(2, 3, 2, 5)]),
    "unit_normalization": (lambda **k: layers.UnitNormalization(**k), PLAIN),
    "unit_normalization_of_two": (lambda **k: layers.UnitNormalization(axis=[2, 3], **k), [(2, 3, 2, 5)]),
    "normalization": (lambda **k: layers.Normalization(**k), PLAIN),
    "normalization_inverted": (
        lambda **k: layers.Normalization(mean=[1, 2, 3], variance=[4, 5, 6], invert=True, **k),
        [(2, 5, 3), (4, 3)],
    ),
    "rescaling": (lambda **k: layers.Rescaling([2, 3, 4], 1, **k), [(2, 5, 3), (4, 3)]),
    "masking": (lambda **k: layers.Masking(0.5, **k), TIMED),
    "dense": (lambda **k: layers.Dense(4, "softplus", **k), PLAIN),
    "time_distributed_dense": (lambda **k: layers.TimeDistributed(layers.Dense(4, **k), **k), [(2, 3, 5), (1, 1, 3)]),
    "time_distributed_norm": (lambda **k: layers.TimeDistributed(layers.LayerNormalization(**k), **k), [(2, 3, 5)]),
    "time_distributed_prelu": (lambda **k: layers.TimeDistributed(layers.PReLU(**k), **k), [(2, 3, 5), (2, 3, 2, 5)]),
    "time_distributed_batch": (lambda **k: layers.TimeDistributed(layers.BatchNormalization(**k), **k), [(2, 3, 5)]),
    "time_distributed_elu": (lambda **k: layers.TimeDistributed(layers.ELU(0.6, **k), **k), [(2, 3, 5)]),
}  # fmt: skip
EACH = [(name, shape) for name, (_, shapes) in CASES.items() for shape in shapes]


def made(name, shape, rng, dtype="float64"):
    return filled(CASES[name][0](dtype=dtype), shape, rng)


def filled(layer, shape, rng):
    """The layer with weights around 1, of which none is negative: among them are variances."""
    layer.build(shape)
    layer.set_weights([rng.uniform(0.3, 1.7, weight.shape).astype(weight.dtype) for weight in layer.get_weights()])
    return layer


def sample(rng, shape, name=""):
    """Numbers that are not near a kink; some timesteps of masking are masked."""
    x = rng.standard_normal(shape)
    for kink in (0, 0.3, 0.7, 1, 6):
        x = np.where(np.abs(x - kink) < 1e-3, kink + 1e-2, x)
    if name == "masking":
        x[rng.random(shape[:2]) < 0.5] = 0.5
    return x


def slopes(function, x, step=1e-6):
    """Central differences of a function of an array with one number, at each element of it."""
    found = np.zeros(x.shape)
    for index in range(x.size):
        for sign in (1, -1):
            moved = x.copy()
            moved.flat[index] += sign * step
            found.flat[index] += sign * function(moved) / (2 * step)
    return found


def weight_slopes(layer, function):
    """The same for each trainable weight."""
    found = []
    for part, name in layer._weight_slots(trainable=True):
        weight = part._values[name]

        def moved(value, part=part, name=name):
            part.assign({name: value})
            return function()

        found.append(slopes(moved, weight))
        part.assign({name: weight})
    return found


def same(a, b):
    for one, other in zip(nest.leaves(a), nest.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("name", "shape"), EACH)
def test_gradients_are_those_of_central_differences(name, shape):
    rng = np.random.default_rng(0)
    layer, x = made(name, shape, rng), sample(rng, shape, name)
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = rng.standard_normal(y.shape)
    found = pullback(dy)
    if name == "masking":
        np.testing.assert_array_equal(found.inputs, np.where((x == 0.5).all(axis=-1, keepdims=True), 0, dy))
    else:
        np.testing.assert_allclose(found.inputs, slopes(lambda x: np.sum(layer(x) * dy), x), atol=2e-8)
    expected = weight_slopes(layer, lambda: np.sum(layer(x) * dy))
    assert len(found.weights) == len(expected)
    for got, wanted in zip(found.weights, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-8)
    alone = pullback(dy, inputs=False)
    assert alone.inputs is None
    same(alone.weights, found.weights)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("name", "shape"), EACH)
def test_gradients_in_float32_are_near_those_in_float64(name, shape, isa, monkeypatch):
    monkeypatch.setenv("CYRNN_ISA", isa)
    rng = np.random.default_rng(1)
    wide = made(name, shape, rng)
    narrow = CASES[name][0](dtype="float32")
    narrow.build(shape)
    narrow.set_weights(wide.get_weights())
    wide.set_weights(narrow.get_weights())
    x = sample(rng, shape, name).astype("f4")
    y, pullback = narrow.vjp(x)
    np.testing.assert_array_equal(y, narrow(x))
    dy = rng.standard_normal(y.shape).astype("f4")
    found, expected = pullback(dy), wide.vjp(x.astype(float))[1](dy)
    for got, wanted in zip(nest.leaves(list(found)), nest.leaves(list(expected)), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * max(1, np.abs(wanted).max(initial=0)))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (2, 3, 2, 4)])
def test_every_activation_as_a_layer(activation, shape):
    rng = np.random.default_rng(2)
    named = activations.get(activation) if activation != "hard_sigmoid_keras2" else activations.Activation(activation)
    layer, x, dy = layers.Activation(named, dtype="float64"), rng.standard_normal(shape), rng.standard_normal(shape)
    for kink in KINKS.get(activation, ()):
        x = np.where(np.abs(x - kink) < 1e-3, kink + 1e-2, x)
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    flat = FORWARD[activation](x.reshape(-1, shape[-1])).reshape(shape)
    np.testing.assert_allclose(y, flat, atol=1e-12)
    np.testing.assert_allclose(pullback(dy).inputs, slopes(lambda x: np.sum(layer(x) * dy), x), atol=1e-7)


@pytest.mark.parametrize("activation", sorted(KINKS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_at_their_kinks(activation, dtype):
    named = activations.get(activation) if activation != "hard_sigmoid_keras2" else activations.Activation(activation)
    x = np.array([KINKS[activation]], dtype)
    _, pullback = layers.Activation(named, dtype=dtype).vjp(x)
    np.testing.assert_allclose(pullback(np.ones_like(x)).inputs[0], ELEMENTWISE[activation](x[0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (layers.ReLU(), [-INF, -1, 0, 1, INF, NAN], [0, 0, 0, 1, 1, 0]),
        (layers.ReLU(2), [-1, 0, 1, 2, 3, INF, NAN], [0, 0, 1, 1, 0, 0, 0]),
        (layers.ReLU(6), [-1, 0, 1, 6, 7, NAN], [0, 0, 1, 0, 0, 0]),  # which is relu6
        (layers.ReLU(6, threshold=1), [0, 1, 2, 6, 7], [0, 0, 1, 1, 0]),  # which is not
        (layers.ReLU(negative_slope=0.25), [-INF, -1, 0, 1, NAN], [0.25, 0.25, 0.25, 1, 0.25]),
        (layers.ReLU(2, negative_slope=0.25), [-1, 0, 1, 2, 3, NAN], [0.25, 0, 1, 1, 0, 0]),
        (layers.ReLU(6, negative_slope=0.25), [-1, 0, 1, 6, 7], [0.25, 0, 1, 0, 0]),
        (layers.ReLU(threshold=1), [-1, 0, 0.5, 1, 2, NAN], [0, 0, 0, 0, 1, 0]),
        (layers.ReLU(threshold=1, negative_slope=0.25), [-1, 0, 1, 2, NAN], [0.25, 0.25, 0, 1, 0]),
        (layers.ThresholdedReLU(1), [0, 1, 2], [0, 0, 1]),
        (layers.LeakyReLU(0.25), [-1, 0, 1, NAN], [0.25, 0.25, 1, 0.25]),
        (layers.ELU(), [0, 1, NAN], [1, 1, 1]),
        (layers.ELU(0.25), [0, 1, NAN], [0.25, 1, 0.25]),
    ],
)
def test_kinks_are_those_of_tensorflow(layer, x, expected):
    x = np.array([x], "f4")
    np.testing.assert_array_equal(layer.vjp(x)[1](np.full_like(x, 3)).inputs[0], np.array(expected) * 3)


def test_prelu_at_its_kink():
    layer = layers.PReLU("ones")
    x = np.array([[-2, 0, 2]], "f4")
    found = layer.vjp(x)[1](np.full_like(x, 3))
    np.testing.assert_array_equal(found.inputs, [[3, 0, 3]])
    np.testing.assert_array_equal(found.weights[0], [-6, 0, 0])


def test_a_unit_vector_of_zeros():
    x, dy = np.array([[0, 0, 0], [3, 0, 4]], "f4"), np.ones((2, 3), "f4")
    found = layers.UnitNormalization().vjp(x)[1](dy).inputs
    np.testing.assert_allclose(found, [[1e12] * 3, [0.032, 0.2, -0.024]], rtol=1e-5)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("shape", [(5,), (4, 7), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 5, 33, 70])
def test_tokens_that_come_again_are_summed(shape, dtype, units):
    rng = np.random.default_rng(3)
    layer = filled(layers.Embedding(6, units, dtype=dtype), (None,), rng)
    x = rng.integers(0, 5, shape)
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = rng.standard_normal(y.shape).astype(dtype)
    found = pullback(dy)
    expected = np.zeros((6, units), dtype)
    np.add.at(expected, x.reshape(-1), dy.reshape(-1, units))  # in the same order
    assert found.inputs is None
    np.testing.assert_array_equal(found.weights[0], expected)
    assert pullback(dy, inputs=False).inputs is None
    if len(shape) == 3:
        again = layers.TimeDistributed(layer, dtype=dtype)
        y, pullback = again.vjp(x)
        np.testing.assert_array_equal(y, again(x))
        np.testing.assert_array_equal(pullback(dy).weights[0], expected)


def test_tokens_outside_of_a_table_are_refused():
    with pytest.raises(ValueError, match="must be indices from 0 to 3, got 0 to 4"):
        layers.Embedding(4, 3).vjp(np.array([[0, 4]]))


# ---------------------------------------------------------------- threads, masks, frozen weights

LARGE = {
    "embedding": lambda: layers.Embedding(1000, 300),
    "layer_normalization": lambda: layers.LayerNormalization(),
    "batch_normalization": lambda: layers.BatchNormalization(),
    "prelu": lambda: layers.PReLU(shared_axes=[1]),
    "activation": lambda: layers.Activation("gelu"),
    "dense": lambda: layers.Dense(40, "softmax"),
}


@pytest.mark.parametrize("name", sorted(LARGE))
@pytest.mark.parametrize("shape", [(130, 40, 300), (2, 3000, 300)])
def test_gradients_have_the_same_bits_for_any_number_of_threads(name, shape):
    rng = np.random.default_rng(4)
    x = rng.integers(0, 1000, shape[:2]) if name == "embedding" else rng.standard_normal(shape).astype("f4")
    layer = filled(LARGE[name](), x.shape, rng)
    dy = rng.standard_normal(layer(x).shape).astype("f4")
    found = []
    for threads in (1, 2, 3):
        cyrnn.set_num_threads(threads)
        try:
            found.append(list(layer.vjp(x)[1](dy)))
        finally:
            cyrnn.set_num_threads(None)
    for other in found[1:]:
        same(other, found[0])


@pytest.mark.parametrize(
    "name", sorted({name for name, shape in EACH if len(shape) == 3 and "timesteps" not in name} - {"masking"})
)
def test_nan_in_timesteps_that_nothing_comes_back_to_reaches_no_gradient(name):
    """What comes after them was masked: the loss, or a recurrent layer, gives zeros for these timesteps."""
    rng = np.random.default_rng(5)
    shape = next(shape for shape in CASES[name][1] if len(shape) == 3)
    layer, x, mask = made(name, shape, rng), sample(rng, shape), rng.random(shape[:2]) < 0.5
    mask[0, 0], mask[-1, -1] = True, shape[0] * shape[1] == 1
    dirty, clean = (np.where(mask[..., None], x, value) for value in (NAN, 0.125))
    y, pullback = layer.vjp(dirty)
    dy = np.where(mask[..., None], rng.standard_normal(y.shape), 0)
    same(list(pullback(dy)), list(layer.vjp(clean)[1](dy)))


def test_masking_passes_nothing_back_to_what_it_masks():
    x = np.ones((2, 3, 2), "f4")
    x[0, 1], x[1, 2, 0] = 7, 7
    masked = (x == 7).all(axis=-1, keepdims=True)
    found = layers.Masking(7).vjp(x)[1](np.where(masked, np.full_like(x, NAN), 2)).inputs
    np.testing.assert_array_equal(found, np.where(masked, np.zeros_like(x), 2))


@pytest.mark.parametrize("name", ["prelu", "layer_normalization", "batch_normalization", "dense"])
def test_frozen_layers_have_gradients_of_inputs_alone(name):
    rng = np.random.default_rng(6)
    layer, x = made(name, (3, 4), rng), sample(rng, (3, 4))
    dy = rng.standard_normal(layer(x).shape)
    expected = layer.vjp(x)[1](dy)
    layer.trainable = False
    found = layer.vjp(x)[1](dy)
    assert found.weights == [] and expected.weights
    same(found.inputs, expected.inputs)


def test_a_frozen_table_has_no_gradient():
    layer = layers.Embedding(4, 3, trainable=False)
    found = layer.vjp(np.array([[1, 2]]))[1](np.ones((1, 2, 3)))
    assert found.inputs is None and found.weights == []


def test_gradients_of_float64_inputs_of_a_normalization_in_float32():
    rng = np.random.default_rng(7)
    layer, x, dy = layers.LayerNormalization(), rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    assert y.dtype == np.float32
    found, expected = pullback(dy), layer.vjp(x.astype("f4"))[1](dy)
    assert found.inputs.dtype == np.float64
    same(found.inputs, expected.inputs.astype(float))
    same(found.weights, expected.weights)


def test_a_pullback_of_vectors_does_not_depend_on_what_becomes_of_the_layer():
    rng = np.random.default_rng(8)
    layer, x, dy = made("batch_normalization", (3, 4), rng), sample(rng, (3, 4)), rng.standard_normal((3, 4))
    expected = list(layer.vjp(x)[1](dy))
    _, pullback = layer.vjp(x)
    layer.set_weights([weight + 1 for weight in layer.get_weights()])
    layer.epsilon = 5.0
    same(list(pullback(dy)), expected)


def test_arrays_that_lie_in_any_way():
    rng = np.random.default_rng(9)
    for name in ("layer_normalization", "relu_of_all", "prelu_shared", "activation"):
        layer, wide = made(name, (2, 5, 3), rng), rng.standard_normal((6, 2, 10))
        x, dy = wide[::-2, :, ::2].transpose(1, 2, 0), rng.standard_normal((3, 5, 2)).T
        found = layer.vjp(x)[1](dy)
        same(list(found), list(layer.vjp(x.copy())[1](dy.copy())))


@pytest.mark.parametrize("axis", [-1, 1, [1, 2], 0])
@pytest.mark.parametrize("masked", ["whole", "broadcast", None])
def test_a_softmax_with_a_mask(axis, masked):
    """Along the batch too. What is masked may be NaN, there and back."""
    rng = np.random.default_rng(20)
    layer, x = layers.Softmax(axis, dtype="float64"), rng.standard_normal((4, 3, 5))
    mask = {"whole": rng.random((4, 3, 5)) < 0.6, "broadcast": np.array([True, False, True, True, False]), None: None}
    mask = mask[masked]
    if masked == "whole":
        mask[0] = False
    y, pullback = layer.vjp(x, mask=mask)
    np.testing.assert_array_equal(y, layer(x, mask=mask))
    dy = rng.standard_normal(y.shape)
    found = pullback(dy).inputs
    np.testing.assert_allclose(found, slopes(lambda x: np.sum(layer(x, mask=mask) * dy), x), atol=2e-9)
    assert not pullback(None).inputs.any()
    if mask is not None:
        dirty, d_dirty = (np.where(mask, array, NAN) for array in (x, dy))
        same(layer.vjp(dirty, mask=mask)[1](d_dirty).inputs, found)
        before = mask.copy()
        mask[:] = True  # it is the caller's
        same(pullback(dy).inputs, found)
        with pytest.raises(ValueError, match="must broadcast to the inputs' shape"):
            layer.vjp(x, mask=before[..., :2])


def test_a_softmax_with_a_mask_in_a_model():
    rng = np.random.default_rng(21)
    double = {"dtype": "float64"}
    scores, keep = cyrnn.Input((4,), **double), cyrnn.Input((6,), dtype="bool")
    shares = layers.Softmax(**double)(layers.Dense(6, **double)(scores), mask=keep)
    model = cyrnn.Model([scores, keep], layers.Dense(2, **double)(shares))
    x, mask, dy = rng.standard_normal((3, 4)), rng.random((3, 6)) < 0.6, rng.standard_normal((3, 2))
    y, pullback = model.vjp([x, mask])
    same(y, model([x, mask]))
    found = pullback(dy)
    assert found.inputs[1] is None
    np.testing.assert_allclose(found.inputs[0], slopes(lambda x: np.sum(model([x, mask]) * dy), x), atol=2e-8)


def test_statistics_over_the_batch_have_no_gradients():
    with pytest.raises(ValueError, match="has no gradients: .* axes after that of the batch"):
        layers.UnitNormalization(0).vjp(np.ones((3, 4), "f4"))


# ---------------------------------------------------------------- in models


def test_a_model_of_many_layers():
    rng = np.random.default_rng(10)
    double = {"dtype": "float64"}
    model = cyrnn.Sequential(
        [
            cyrnn.Input((None,), dtype="int32"),
            layers.Embedding(7, 4, mask_zero=True, **double),
            layers.LayerNormalization(**double),
            layers.SimpleRNN(5, return_sequences=True, **double),
            layers.BatchNormalization(**double),
            layers.TimeDistributed(layers.Dense(3, **double), **double),
            layers.PReLU(shared_axes=[1], **double),
            layers.UnitNormalization(**double),
            layers.SimpleRNN(4, **double),
            layers.Activation("gelu", **double),
            layers.Dense(2, "softmax", **double),
        ]
    )
    model.set_weights([rng.uniform(0.3, 1.7, weight.shape) / 3 for weight in model.get_weights()])
    x = rng.integers(0, 7, (3, 6))
    y, pullback = model.vjp(x)
    np.testing.assert_array_equal(y, model(x))
    dy = rng.standard_normal(y.shape)
    found = pullback(dy)
    assert found.inputs is None
    for got, wanted in zip(found.weights, weight_slopes(model, lambda: np.sum(model(x) * dy)), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-8)


# ---------------------------------------------------------------- batch normalization in training


def trained(layer, x, mask=None):
    """What a call in training returns, and the statistics that it leaves; the layer stays as it was."""
    weights, options = layer.get_weights(), {} if mask is None else {"mask": mask}
    y = layer(x, training=True, **options)
    moved = [layer.moving_mean, layer.moving_variance]
    layer.set_weights(weights)
    return y, moved


@pytest.mark.parametrize(
    ("options", "shape", "masked"),
    [
        ({}, (5, 4), False),
        ({}, (3, 5, 4), False),
        ({}, (3, 5, 4), True),
        ({}, (2, 3, 2, 5), False),
        ({"axis": 2}, (2, 3, 2, 5), False),
        ({"axis": 1}, (3, 5, 4), False),
        ({"center": False}, (3, 5, 4), True),
        ({"scale": False}, (5, 9, 33), True),
        ({"center": False, "scale": False}, (7, 1), False),
    ],
)
def test_batch_normalization_in_training(options, shape, masked):
    rng = np.random.default_rng(11)
    layer, x = filled(layers.BatchNormalization(dtype="float64", **options), shape, rng), sample(rng, shape)
    mask = rng.random(shape[:2]) < 0.6 if masked else None
    expected, moved = trained(layer, x, mask)
    before = layer.get_weights()
    y, pullback = layer.vjp(x, mask=mask, training=True)
    np.testing.assert_array_equal(y, expected)
    same([layer.moving_mean, layer.moving_variance], moved)
    assert not np.array_equal(layer.moving_mean, before[-2])
    layer.set_weights(before)
    dy = rng.standard_normal(shape)
    found = pullback(dy)

    def loss(x=x):
        return np.sum(trained(layer, x, mask)[0] * dy)

    np.testing.assert_allclose(found.inputs, slopes(loss, x), atol=3e-8)
    for got, wanted in zip(found.weights, weight_slopes(layer, loss), strict=True):
        np.testing.assert_allclose(got, wanted, atol=3e-8)
    same(pullback(dy, inputs=False).weights, found.weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_statistics_of_a_batch_are_those_of_numpy(dtype, masked):
    rng = np.random.default_rng(12)
    layer = layers.BatchNormalization(momentum=0.0, epsilon=0.0, dtype=dtype)
    x = (rng.standard_normal((40, 30, 150)) * 3 + 5).astype(dtype)
    mask = rng.random((40, 30)) < 0.6 if masked else None
    y, _ = layer.vjp(x, mask=mask, training=True)
    kept = x[mask].astype(float) if masked else x.reshape(-1, 150).astype(float)
    tolerance = {"rtol": 1e-6} if dtype == "float32" else {"rtol": 1e-9}
    np.testing.assert_allclose(layer.moving_mean, kept.mean(axis=0), **tolerance)
    np.testing.assert_allclose(layer.moving_variance, kept.var(axis=0), **tolerance)
    np.testing.assert_allclose(y, (x - kept.mean(axis=0)) / kept.std(axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(130, 40, 300), (2, 3000, 300)])
def test_training_has_the_same_bits_for_any_number_of_threads(shape):
    rng = np.random.default_rng(13)
    layer, mask = filled(layers.BatchNormalization(), shape, rng), rng.random(shape[:2]) < 0.7
    x, dy = rng.standard_normal(shape).astype("f4"), rng.standard_normal(shape).astype("f4")
    weights, found = layer.get_weights(), []
    for threads in (1, 2, 3):
        cyrnn.set_num_threads(threads)
        layer.set_weights(weights)
        try:
            y, pullback = layer.vjp(x, mask=mask, training=True)
            found.append([y, *layer.get_weights(), list(pullback(dy))])
        finally:
            cyrnn.set_num_threads(None)
    for other in found[1:]:
        same(other, found[0])


def test_nan_in_masked_timesteps_of_a_batch_reaches_no_gradient():
    rng = np.random.default_rng(14)
    layer, mask = filled(layers.BatchNormalization(), (3, 5, 4), rng), rng.random((3, 5)) < 0.6
    x, dy = rng.standard_normal((3, 5, 4)).astype("f4"), rng.standard_normal((3, 5, 4)).astype("f4")
    dy[~mask] = 0
    found = []
    for value in (np.float32(NAN), np.float32(7)):
        y, pullback = layer.vjp(np.where(mask[..., None], x, value), mask=mask, training=True)
        found.append([y[mask], list(pullback(dy))])
    same(*found)
    assert not found[0][1][0][~mask].any()


def test_a_batch_of_which_all_is_masked():
    layer = layers.BatchNormalization()
    x, mask = np.ones((2, 3, 4), "f4"), np.zeros((2, 3), bool)
    y, pullback = layer.vjp(x, mask=mask, training=True)
    np.testing.assert_allclose(y, 1 / np.sqrt(np.float32(1e-3)), rtol=1e-6)
    np.testing.assert_allclose(pullback(np.ones_like(x)).inputs, 1 / np.sqrt(np.float32(1e-3)), rtol=1e-6)


def test_a_batch_without_rows_moves_nothing_and_has_gradients_of_zeros():
    layer = layers.BatchNormalization()
    layer.build((None, 3, 4))
    before = layer.get_weights()
    y, pullback = layer.vjp(np.zeros((0, 3, 4), "f4"), training=True)
    assert y.shape == (0, 3, 4)
    same(layer.get_weights(), before)
    junk = [np.full(4, 7, "f4") for _ in range(100)]
    del junk
    found = pullback(y)
    assert found.inputs.shape == (0, 3, 4) and not any(weight.any() for weight in found.weights)


def test_a_frozen_batch_normalization_in_training_is_that_of_inference():
    rng = np.random.default_rng(15)
    layer, x = made("batch_normalization", (3, 5, 4), rng), rng.standard_normal((3, 5, 4))
    layer.trainable = False
    before = layer.get_weights()
    (y, pullback), (expected, other) = layer.vjp(x, training=True), layer.vjp(x)
    np.testing.assert_array_equal(y, expected)
    same(list(pullback(y)), list(other(y)))
    same(layer.get_weights(), before)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (layers.BatchNormalization(renorm=True), (3, 5, 4), "renorm=True is supported in inference only"),
    ],
)
def test_what_has_no_gradients_in_training_says_so(layer, shape, words):
    with pytest.raises(ValueError, match=f"has no gradients: .*{words}"):
        layer.vjp(np.ones(shape, "f4"), training=True)


def test_a_model_with_batch_normalization_in_training():
    """Between recurrent layers: what comes before has run for the whole batch when the statistics are taken."""
    rng = np.random.default_rng(16)
    double = {"dtype": "float64"}
    first = layers.BatchNormalization(momentum=0.5, **double)
    model = cyrnn.Sequential(
        [
            cyrnn.Input((None, 3), dtype="float64"),
            layers.Masking(**double),
            layers.SimpleRNN(4, return_sequences=True, **double),
            first,
            layers.SimpleRNN(5, **double),
            layers.BatchNormalization(**double),
            layers.Dense(2, **double),
        ]
    )
    model.set_weights([rng.uniform(0.3, 1.7, weight.shape) / 2 for weight in model.get_weights()])
    x = sample(rng, (4, 6, 3))
    x[1, 4:] = 0
    weights = model.get_weights()

    expected = model(x, training=True)
    moved = model.get_weights()
    model.set_weights(weights)
    y, pullback = model.vjp(x, training=True)
    np.testing.assert_array_equal(y, expected)
    same(model.get_weights(), moved)
    model.set_weights(weights)
    dy = rng.standard_normal(y.shape)
    found = pullback(dy)
    kept = x.any(axis=-1, keepdims=True)  # of what is masked a step would unmask it
    expected = np.where(kept, slopes(lambda x: np.sum(model(x, training=True) * dy), x), 0)
    np.testing.assert_allclose(found.inputs, expected, atol=1e-7)
    expected = weight_slopes(model, lambda: np.sum(model(x, training=True) * dy))
    for got, wanted in zip(found.weights, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 2000, 40), (300, 30, 40)])
def test_a_batch_between_recurrent_layers_has_the_same_bits_for_any_number_of_threads(shape):
    rng = np.random.default_rng(17)
    parts = [layers.SimpleRNN(48, return_sequences=True), layers.BatchNormalization(), layers.SimpleRNN(48)]
    model = cyrnn.Sequential([cyrnn.Input(shape[1:]), *parts])
    weights, x, found = model.get_weights(), rng.standard_normal(shape).astype("f4"), []
    for threads in (1, 2, 3):
        cyrnn.set_num_threads(threads)
        model.set_weights(weights)
        try:
            y, pullback = model.vjp(x, training=True)
            found.append([y, *model.get_weights(), *pullback(y).weights])
            model.set_weights(weights)
            same(model(x, training=True), y)
        finally:
            cyrnn.set_num_threads(None)
    for other in found[1:]:
        same(other, found[0])


IN_TRAINING = {
    "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D(),
    "GlobalMaxPooling1D": lambda: layers.GlobalMaxPooling1D(),
    "AveragePooling1D": lambda: layers.AveragePooling1D(3),
    "LayerNormalization": lambda: layers.LayerNormalization(),
    "LayerNormalization over time": lambda: layers.LayerNormalization(axis=[1, 2]),
    "UnitNormalization": lambda: layers.UnitNormalization(),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "frozen BatchNormalization": lambda: layers.BatchNormalization(trainable=False),
    "Dense": lambda: layers.Dense(5, activation="gelu"),
    "Activation": lambda: layers.Activation("silu"),
    "softmax": lambda: layers.Activation("softmax"),
    "ELU": lambda: layers.ELU(),
    "PReLU": lambda: layers.PReLU("uniform"),
    "Softmax": lambda: layers.Softmax(),
    "Softmax over time": lambda: layers.Softmax(axis=1),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3, activation="tanh")),
    "TimeDistributed LayerNormalization": lambda: layers.TimeDistributed(layers.LayerNormalization()),
    "TimeDistributed frozen": lambda: layers.TimeDistributed(layers.BatchNormalization(trainable=False)),
    "SimpleRNN": lambda: layers.SimpleRNN(5, dropout=0.3, seed=1),
    "Bidirectional": lambda: layers.Bidirectional(layers.SimpleRNN(5)),
}


@pytest.mark.parametrize("name", IN_TRAINING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_call_in_training_has_the_bits_of_vjp(name, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 37, 45)).astype(dtype)
    called, differentiated = IN_TRAINING[name](), IN_TRAINING[name]()
    for layer in (called, differentiated):
        layer.build(x.shape)
    differentiated.set_weights(called.get_weights())
    np.testing.assert_array_equal(differentiated.vjp(x, training=True)[0], called(x, training=True))
