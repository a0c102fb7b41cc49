"""The layers around an RNN: what golden/make_around.py recorded, weights, dtypes, empty batches, wrong calls."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from test_keras_golden import assert_all_close

import cyrnn
from cyrnn import layers
from cyrnn.saving import load_model

GOLDEN = Path(__file__).parent / "golden"
RECORDED = json.loads((GOLDEN / "around.json").read_text())
INPUTS = {name: np.array(values, "float32") for name, values in RECORDED["inputs"].items()}
MASKS = {name: np.array(values, bool) for name, values in RECORDED["masks"].items()}
CASES = [(keras, name) for keras, cases in RECORDED["cases"].items() for name in cases]
X = INPUTS["x"]


@pytest.mark.filterwarnings("ignore:layer .* does not pass the mask on")
@pytest.mark.parametrize(("keras", "name"), CASES)
def test_what_keras_recorded(keras, name):
    case = RECORDED["cases"][keras][name]
    layer = cyrnn.from_json(json.dumps(case["entry"]))
    for call in case["calls"]:
        inputs = [INPUTS[name] for name in call["inputs"]]
        masks = None if call["masks"] is None else [MASKS[name] for name in call["masks"]]
        if len(inputs) == 1:
            inputs, masks = inputs[0], masks and masks[0]
        layer.set_weights(case["weights"])
        output, mask = layer.call_and_mask(inputs, masks, False)
        assert_all_close([output], [call["output"]], 2e-6)
        np.testing.assert_array_equal(mask, None if call["mask"] is None else np.array(call["mask"], bool))
    assert cyrnn.from_json(layer.to_json()).to_json() == layer.to_json()


def test_a_model_from_a_file():
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    model = load_model(GOLDEN / "around.keras")
    x = np.where(MASKS["holes"][:, :, None], X, 0)
    assert_all_close([model(x), model.predict(x, batch_size=1)], [RECORDED["model"]] * 2, 1e-5)
    assert model.layers[1].count.dtype == np.int32
    again = cyrnn.from_json(model.to_json())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(x), model(x))


# ---------------------------------------------------------------- weights


def test_moving_statistics_are_weights_but_not_trainable_ones():
    layer = layers.BatchNormalization(gamma_regularizer="l2")
    layer.build((None, 4, 3))
    gamma, beta, mean, variance = range(4)
    assert [float(w[0]) for w in layer.get_weights()] == [1, 0, 0, 1]
    assert [id(w) for w in layer.trainable_weights] == [id(layer.weights[n]) for n in (gamma, beta)]
    assert [id(w) for w in layer.non_trainable_weights] == [id(layer.weights[n]) for n in (mean, variance)]
    assert len(layer.losses) == 1 and layer.count_params() == 12
    layer.trainable = False
    assert layer.trainable_weights == layer.losses == [] and len(layer.non_trainable_weights) == 4


def test_training_moves_the_statistics_and_inference_uses_them():
    layer = layers.BatchNormalization(momentum=0.75, epsilon=0.0)
    x = 3 * X + 5
    before = layer(x)
    np.testing.assert_allclose(layer(x, training=True).mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, x.mean((0, 1)) / 4, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + x.var((0, 1)) / 4, rtol=1e-6)
    np.testing.assert_allclose(layer(x), (before - layer.moving_mean) / np.sqrt(layer.moving_variance), rtol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_stay_where_nothing_is_learnt(frozen):
    layer = layers.BatchNormalization(trainable=not frozen)
    layer.build((None, 4, 3))
    weights = layer.get_weights()
    assert layer(X if frozen else X[:0], training=True).shape == (2 if frozen else 0, 4, 3)
    np.testing.assert_array_equal(layer.get_weights(), weights)


def test_masked_steps_have_no_part_in_the_statistics():
    keep, layer, other = MASKS["right padding"], layers.BatchNormalization(), layers.BatchNormalization()
    layer(np.where(keep[:, :, None], X, np.nan), mask=keep, training=True)
    other(X[keep], training=True)
    np.testing.assert_allclose(layer.moving_mean, other.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, other.moving_variance, rtol=1e-5)


def test_one_feature_in_training_with_a_mask():
    """In which Keras fails: it drops all axes of length 1."""
    layer = layers.BatchNormalization()
    assert layer(X[:, :, :1], mask=MASKS["holes"], training=True).shape == (2, 4, 1)
    assert layer.moving_mean.shape == (1,)


def test_normalization_takes_statistics_from_samples():
    layer = layers.Normalization()
    layer.adapt(X)
    np.testing.assert_allclose(layer(X), (X - X.mean((0, 1))) / X.std((0, 1)), rtol=1e-5, atol=1e-6)
    back = layers.Normalization(mean=X.mean((0, 1)), variance=X.var((0, 1)), invert=True)
    np.testing.assert_allclose(back(layer(X)), X, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layers.Normalization(mean=1.0, variance=4.0)([[1.0, 5.0]]), [[0, 2]])


# ---------------------------------------------------------------- in training


@pytest.mark.parametrize(
    "layer",
    [
        *(layers.Dropout(0.5, seed=1), layers.SpatialDropout1D(0.5, seed=1), layers.AlphaDropout(0.5, seed=1)),
        *(layers.GaussianDropout(0.5, seed=1), layers.GaussianNoise(0.5, seed=1)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_noise_in_training_alone(layer):
    np.testing.assert_array_equal(layer(X), X)
    first, second = layer(X, training=True), layer(X, training=True)
    assert np.all(first.std() > 0) and not np.array_equal(first, X) and not np.array_equal(first, second)
    again = cyrnn.from_json(layer.to_json())
    np.testing.assert_array_equal(again(X, training=True), first)


def test_spatial_dropout_drops_whole_features():
    output = layers.SpatialDropout1D(0.5, seed=3)(np.ones((8, 5, 16), "f4"), training=True)
    assert set(np.unique(output)) == {0, 2} and np.all(output == output[:, :1])


def test_alpha_dropout_keeps_mean_and_variance():
    output = layers.AlphaDropout(0.25, seed=3)(np.random.default_rng(0).standard_normal((400, 500)), training=True)
    assert abs(output.mean()) < 0.02 and abs(output.std() - 1) < 0.02


@pytest.mark.parametrize("name", ["GaussianDropout", "AlphaDropout"])
def test_a_rate_of_1_cannot_be_trained(name):
    layer = getattr(layers, name)(1.0, name="mine")
    np.testing.assert_array_equal(layer(X), X)
    with pytest.raises(ValueError, match="'mine'.*rate of 1"):
        layer(X, training=True)


def test_renorm_is_for_inference():
    layer = layers.BatchNormalization(renorm=True, moving_variance_initializer="ones", name="mine")
    layer(X)
    assert len(layer.weights) == 7 and len(layer.trainable_weights) == 2
    with pytest.raises(ValueError, match="'mine' has renorm=True"):
        layer(X, training=True)


# ---------------------------------------------------------------- shapes and dtypes

SIMPLE = [
    *(layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax, layers.ThresholdedReLU),
    *(layers.BatchNormalization, layers.LayerNormalization, layers.UnitNormalization, layers.Normalization),
    *(layers.Flatten, layers.ZeroPadding1D, layers.Cropping1D, layers.UpSampling1D, layers.Identity),
    *(layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D, layers.MaxPooling1D, layers.ActivityRegularization),
    *(lambda **options: layers.AveragePooling1D(2, **options), lambda **options: layers.Reshape((-1,), **options)),
    *(lambda **options: layers.Permute((2, 1), **options), lambda **options: layers.Rescaling(2.0, **options)),
]
MERGES = [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Concatenate]
MERGES = [*MERGES, layers.Minimum, lambda **options: layers.Dot(2, **options)]
ALL = [(make, 1) for make in SIMPLE] + [(make, 2) for make in MERGES]


@pytest.mark.parametrize(("make", "count"), ALL)
def test_empty_batches(make, count):
    layer = make()
    layer([X, X] if count == 2 else X)
    output = layer([X[:0], X[:0]] if count == 2 else X[:0])
    shape = layer.compute_output_shape([X.shape] * 2 if count == 2 else X.shape)
    assert output.shape == (0, *shape[1:]) and output.dtype == np.float32


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "float64"])
@pytest.mark.parametrize(("make", "count"), ALL)
def test_policies(make, count, policy):
    narrow, wide = make(dtype=policy), make(dtype="float64")
    x = X.astype("float16")
    outputs = [layer([x, x] if count == 2 else x) for layer in (narrow, wide)]
    assert outputs[0].dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("make", "count"), ALL)
def test_integers(make, count):
    layer, x = make(), (10 * X).astype(int)
    output = layer([x, x] if count == 2 else x)
    expected = layer([np.float32(x)] * 2 if count == 2 else np.float32(x))
    np.testing.assert_array_equal(output, expected)
    moves = isinstance(layer, layers.Concatenate) or type(layer).__module__.endswith(("reshaping", "timesteps"))
    assert output.dtype == (int if moves else np.float32)


@pytest.mark.parametrize(("make", "count"), ALL)
def test_read_only_and_strided_inputs_are_left_as_they_are(make, count):
    x = np.repeat(X, 2, axis=1)[:, ::2]
    x.flags.writeable = False
    layer = make()
    np.testing.assert_array_equal(layer([x, x] if count == 2 else x), layer([X, X] if count == 2 else X))
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate", "dot"])
def test_merges_as_functions(name):
    found = getattr(layers, name)([X, INPUTS["y"]], name="mine")
    options = {"axes": -1} if name == "dot" else {}
    np.testing.assert_array_equal(found, getattr(layers, name.capitalize())(**options)([X, INPUTS["y"]]))


@pytest.mark.parametrize("layer", [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Minimum])
def test_functions_of_merges_have_names_and_can_be_pickled(layer):
    function = getattr(layers, layer.__name__.lower())
    assert function.__name__ == layer.__name__.lower() and layer.__name__ in function.__doc__
    assert pickle.loads(pickle.dumps(function)) is function
    symbolic = function([cyrnn.Input((3,)), cyrnn.Input((3,))], name="mine")
    assert type(symbolic.node.layer) is layer and symbolic.node.layer.name == "mine"
    with pytest.raises(ValueError, match="wrong"):
        function([X, X], wrong=1)


def test_a_copy_is_the_same_layer():
    layer = layers.BatchNormalization(renorm=True)
    layer(X)
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        np.testing.assert_array_equal(again(X), layer(X))


# ---------------------------------------------------------------- refused

NAMED = {"name": "mine"}
V = INPUTS["vectors"]


@pytest.mark.parametrize(
    ("layer", "inputs", "words"),
    [
        (layers.SpatialDropout1D(0.5, **NAMED), V, r"\(batch, timesteps, features\), got shape \(2, 3\)"),
        (layers.RepeatVector(2, **NAMED), X, r"\(batch, features\), got shape \(2, 4, 3\)"),
        (layers.MaxPooling1D(**NAMED), V, r"\(batch, timesteps, features\), got shape \(2, 3\)"),
        (layers.MaxPooling1D(5, **NAMED), X, r"at least pool_size 5 timesteps, got shape \(2, 4, 3\)"),
        (layers.GlobalMaxPooling1D(**NAMED), X[:, :0], r"at least one timestep, got shape \(2, 0, 3\)"),
        (layers.GlobalMaxPooling1D("channels_first", **NAMED), V, r"\(batch, features, timesteps\), got"),
        (layers.Cropping1D(2, **NAMED), X, r"cropping \(2, 2\) takes, got shape \(2, 4, 3\)"),
        (layers.Reshape((5, -1), **NAMED), X, r"target_shape \(5, -1\), got shape \(2, 4, 3\)"),
        (layers.Permute((1,), **NAMED), X, r"2 axes, got shape \(2, 4, 3\)"),
        (layers.Reshape((1,), **NAMED), np.float32(3), r"batch axis, got shape \(\)"),
        (layers.BatchNormalization(axis=3, **NAMED), X, r"axis 3, got shape \(2, 4, 3\)"),
        (layers.LayerNormalization(axis=[1, 3], **NAMED), X, r"axis 3, got shape \(2, 4, 3\)"),
        (layers.UnitNormalization(axis=-4, **NAMED), X, r"axis -4, got shape \(2, 4, 3\)"),
        (layers.Softmax(axis=3, **NAMED), X, r"axis 3, got shape \(2, 4, 3\)"),
        (layers.PReLU(shared_axes=3, **NAMED), X, r"axis 3, got shape \(2, 4, 3\)"),
        (layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 2.0], **NAMED), X, r"fit the shape \(3,\), got \(2,\)"),
        (layers.Rescaling([1.0, 2.0], **NAMED), X, r"scale \(2,\).*got shape \(2, 4, 3\)"),
        (layers.Add(**NAMED), X, "must be a list of one or more, got ndarray"),
        (layers.Add(**NAMED), [], "must be a list of one or more, got 0 of them"),
        (layers.Subtract(**NAMED), [X], "must be a list of 2, got 1 of them"),
        (layers.Multiply(**NAMED), [X, X[:, :3]], r"fit together, got \[\(2, 4, 3\), \(2, 3, 3\)\]"),
        (layers.Maximum(**NAMED), [X, X[:1]], r"fit together, got \[\(2, 4, 3\), \(1, 4, 3\)\]"),
        (layers.Concatenate(**NAMED), [X, X[:, :3]], r"equal lengths but on axis 2, got"),
        (layers.Concatenate(**NAMED), [X, V], r"same number of axes, got"),
        (layers.Concatenate(axis=3, **NAMED), [X, X], r"axis 3, got shape \(2, 4, 3\)"),
        (layers.Dot(1, **NAMED), [X, X[:, :3]], r"fit on axes 1 .*got \[\(2, 4, 3\), \(2, 3, 3\)\]"),
        (layers.Dot(0, **NAMED), [X, X], r"not be that of the batch, got 0"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else None,
)
def test_wrong_inputs(layer, inputs, words):
    for _ in range(2):
        with pytest.raises(ValueError, match=f"'mine'.*({words})"):
            layer(inputs)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layers.PReLU(**NAMED), r"\(batch, 4, 3\), got \(2, 4, 2\)"),
        (layers.PReLU(shared_axes=1, **NAMED), r"\(batch, any, 3\), got \(2, 4, 2\)"),
        (layers.BatchNormalization(**NAMED), r"\(any, any, 3\), got \(2, 4, 2\)"),
        (layers.LayerNormalization(**NAMED), r"lengths \(3,\) on axes \[-1\], got shape \(2, 4, 2\)"),
        (layers.Normalization(**NAMED), r"lengths \(3,\) on axes \(-1,\), got shape \(2, 4, 2\)"),
    ],
)
def test_inputs_that_do_not_fit_the_weights(layer, words):
    layer(X)
    with pytest.raises(ValueError, match=f"'mine'.*{words}"):
        layer(X[:, :, :2])


@pytest.mark.parametrize("layer", [layers.BatchNormalization(**NAMED), layers.PReLU(**NAMED)])
def test_lengths_that_must_be_known(layer):
    with pytest.raises(ValueError, match=r"'mine' needs to know the length of axis 2.*\(None, 4, None\)|axis -1"):
        layer.build((None, 4, None))
    assert not layer.built


@pytest.mark.parametrize(
    ("layer", "inputs", "mask", "words"),
    [
        (layers.BatchNormalization(**NAMED), X, np.ones((2, 3)), r"mask of 'mine' .*\(2, 4\), got \(2, 3\)"),
        (layers.Softmax(**NAMED), X, np.ones((2, 4)), r"mask of 'mine' .*\(2, 4, 3\), got \(2, 4\)"),
        (layers.GlobalAveragePooling1D(**NAMED), X, np.ones((2, 3)), r"mask .*\(2, 4\), got \(2, 3\)"),
        (layers.Multiply(**NAMED), [X, X], np.ones((2, 4)), "mask of 'mine' must be a list"),
        (layers.Maximum(**NAMED), [X, X], [np.ones((2, 4)), np.ones((2, 3))], r"mask of 'mine' .*got \(2, 3\)"),
    ],
)
def test_wrong_masks(layer, inputs, mask, words):
    with pytest.raises(ValueError, match=words):
        layer(inputs, mask=mask)


@pytest.mark.parametrize("layer", [layers.Add(**NAMED), layers.Concatenate(**NAMED)])
def test_a_mask_for_each_input(layer):
    with pytest.raises(ValueError, match="'mine' must hold 2 masks, got 1"):
        layer.compute_mask([X, X], [MASKS["holes"]])


def test_the_code_of_a_lambda_layer_is_not_run():
    code = {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None, "closure": None}}
    entry = {"class_name": "Lambda", "config": {"name": "mine", "function": code}}
    with pytest.raises(ValueError, match="'mine'.*'Lambda'.*never run"):
        cyrnn.from_json(json.dumps(entry))


def test_the_slope_of_keras_2():
    with pytest.warns(UserWarning, match="negative_slope"):
        assert layers.LeakyReLU(alpha=0.5).negative_slope == 0.5


def test_a_batch_normalization_of_several_axes_is_refused():
    with pytest.raises(ValueError, match=r"'mine'.*axis must be an integer, got \[1, 2\]"):
        cyrnn.from_json(json.dumps({"class_name": "BatchNormalizationV1", "config": {"name": "mine", "axis": [1, 2]}}))


def test_merges_of_keras_2_keep_where_all_masks_keep():
    masked, one = [np.array([[True, True, False]]), np.array([[True, False, False]])], np.ones((1, 3, 2), "f")
    config = json.loads(layers.Add().to_json())
    for name, both in (("Add", [[True, False, False]]), ("Concatenate", [[True, False, False]])):
        config.update(class_name=name, config={"name": "m"}, keras_version="2.15.0")
        layer = cyrnn.from_json(json.dumps(config))
        np.testing.assert_array_equal(layer.compute_mask([one, one], masked), both)
        np.testing.assert_array_equal(layer.compute_mask([one, one], [masked[0], None]), masked[0])
    config.update(class_name="Multiply")
    layer = cyrnn.from_json(json.dumps(config))
    np.testing.assert_array_equal(layer([one, 2 * one], mask=masked), 2 * one)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: layers.Reshape(3), TypeError, "target_shape must be a tuple of integers, got 3"),
        (lambda: layers.Permute(2), TypeError, "dims must be a tuple of integers, got 2"),
        (lambda: layers.Permute((1, 3)), ValueError, r"dims must hold the integers from 1 on, each once; got \(1, 3\)"),
        (lambda: layers.Permute((1, "a")), ValueError, "dims must hold the integers from 1 on, each once; got"),
        (lambda: layers.RepeatVector("a"), TypeError, "n must be a positive integer, got 'a'"),
        (lambda: layers.Concatenate(1.5), TypeError, "axis must be an integer, got 1.5"),
        (lambda: layers.Dot("a"), TypeError, "axes must be an integer or a list of two, got 'a'"),
        (lambda: layers.Dot([1, 2, 3]), ValueError, r"axes must be an integer or a list of two, got \[1, 2, 3\]"),
        (lambda: layers.Normalization(mean=1.0), ValueError, "give both mean and variance, or none; got 1.0 and None"),
        (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[1.0]), ValueError, "must have the same shape"),
        (lambda: layers.Normalization(mean=1, variance=1).adapt(np.ones((2, 2))), ValueError, "it cannot adapt"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
