"""The layers around an RNN against Keras: outputs, masks, weights, configs both ways, models, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from parity.rules import refused_alike
from parity.twins import VERSION, assert_same, from_keras_json, hypothesis, keras, keras_json, random_settings

import cyrnn
from cyrnn.saving import load_model

st = hypothesis.strategies
pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras, about masks and __array__
rng = np.random.default_rng(0)
SEQUENCES = rng.standard_normal((3, 6, 4)).astype("float32")
VECTORS = rng.standard_normal((3, 4)).astype("float32")
KEEP = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]], bool)
OTHER = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 1, 1]], bool)

FOUR = {"class_name": "Constant", "config": {"value": 4.0}}
L1 = {"class_name": "L1", "config": {"l1": 0.25}}
OF_ONE = [
    ("Dropout", {"rate": 0.4, "seed": 1}),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1, 4), "seed": 2}),
    ("SpatialDropout1D", {"rate": 0.5, "seed": 3}),
    *(("GaussianDropout", {"rate": rate, "seed": 4}) for rate in (0, 0.3)),
    *(("GaussianNoise", {"stddev": stddev, "seed": 4}) for stddev in (0.0, 0.3, 1)),
    ("AlphaDropout", {"rate": 0.3, "seed": 5}),
    ("AlphaDropout", {"rate": 0.3, "seed": 5, "noise_shape": (None, None, 1)}),
    ("ActivityRegularization", {"l1": 0.25, "l2": 0.5}),
    ("ActivityRegularization", {}),
    ("Activation", {"activation": "tanh"}),
    *(("ReLU", options) for options in ({}, {"max_value": 0.5}, {"max_value": 1, "threshold": 0.5})),
    ("ReLU", {"negative_slope": 0.1, "threshold": 0.3}),
    *(("LeakyReLU", options) for options in ({}, {"negative_slope": 0.1})),
    *(("PReLU", options) for options in ({}, {"shared_axes": [1]}, {"shared_axes": 2}, {"shared_axes": (1, 2)})),
    ("PReLU", {"alpha_initializer": "ones", "alpha_regularizer": "l2", "alpha_constraint": "non_neg"}),
    *(("ELU", {"alpha": alpha}) for alpha in (1.0, 0.3)),
    *(("Softmax", {"axis": axis}) for axis in (-1, 1, (1, 2), [-1])),
    *(
        ("BatchNormalization", options)
        for options in (
            {},
            {"axis": 1},
            {"axis": -2, "center": False},
            {"scale": False, "epsilon": 0.1, "momentum": 0.5},
            {"center": False, "scale": False},
            {"trainable": False},
            {"gamma_regularizer": "l2", "beta_constraint": "max_norm", "moving_mean_initializer": "ones"},
            {"renorm": True, "renorm_clipping": {"rmax": 2.0}, "moving_variance_initializer": FOUR},
        )
    ),
    *(
        ("LayerNormalization", options)
        for options in (
            {},
            {"axis": 1},
            {"axis": [1, 2]},
            {"axis": (2, 1), "epsilon": 0.1},
            {"axis": [-1], "center": False},
            {"scale": False},
            {"center": False, "scale": False},
            {"rms_scaling": True},
            {"gamma_regularizer": "l2", "beta_constraint": "max_norm"},
        )
    ),
    *(("UnitNormalization", {"axis": axis}) for axis in (-1, 1, (1, 2))),
    *(("Normalization", {"axis": axis}) for axis in (-1, 1, None, (1, 2))),
    *(
        ("Normalization", options)
        for options in (
            {"mean": 0.5, "variance": 4.0},
            {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 0.0, 2.0, 4.0]},
            {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 0.0, 2.0, 4.0], "axis": (1, 2), "invert": True},
            {"axis": None, "mean": 0.5, "variance": 4.0, "invert": True},
        )
    ),
    *(("Rescaling", options) for options in ({"scale": 2.0}, {"scale": [1.0, 2.0, 3.0, 4.0], "offset": -1})),
    *(("Flatten", options) for options in ({}, {"data_format": "channels_first"})),
    *(("Reshape", {"target_shape": shape}) for shape in ((-1,), (4, 6), (2, -1, 3), (24,))),
    *(("Permute", {"dims": dims}) for dims in ((2, 1), (1, 2))),
    *(("ZeroPadding1D", options) for options in ({}, {"padding": 2})),
    ("ZeroPadding1D", {"padding": (0, 3), "data_format": "channels_first"}),
    *(("Cropping1D", options) for options in ({}, {"cropping": 2}, {"cropping": (3, 0)}, {"cropping": (0, 5)})),
    *(("UpSampling1D", options) for options in ({}, {"size": 3})),
    ("Identity", {}),
    *(
        (f"Global{kind}Pooling1D", {"keepdims": keepdims, "data_format": data_format})
        for kind in ("Average", "Max")
        for keepdims in (False, True)
        for data_format in (None, "channels_first")
    ),
    *(
        (f"{kind}Pooling1D", options)
        for kind in ("Average", "Max")
        for options in (
            {"pool_size": 2},
            {"pool_size": 3, "strides": 1},
            {"pool_size": (3,), "strides": (2,), "padding": "same"},
            {"pool_size": 4, "strides": 3, "padding": "same"},
            {"pool_size": 1, "strides": 4, "padding": "same"},
            {"pool_size": 5, "padding": "same", "strides": 1},
            {"pool_size": 2, "padding": "same", "data_format": "channels_first"},
            {"pool_size": 2, "strides": 5},
        )
    ),
    ("MaxPooling1D", {}),
    *(
        ("Conv1D", {"filters": 4, "kernel_size": 3, **options})
        for options in (
            {},
            {"kernel_size": (2,), "strides": (2,), "activation": "tanh"},
            {"padding": "same", "strides": 3},
            {"padding": "SAME", "dilation_rate": 2, "use_bias": False},
            {"padding": "causal", "dilation_rate": (2,)},
            {"padding": "causal", "strides": 2, "groups": 2},
            {"kernel_size": 1, "groups": 4, "activation": "softmax"},
            {"kernel_regularizer": "l2", "bias_constraint": "non_neg", "activity_regularizer": L1},
        )
    ),
]  # fmt: skip
OF_VECTORS = [
    ("RepeatVector", {"n": 3}),
    ("Flatten", {}),
    ("BatchNormalization", {}),
    ("LayerNormalization", {}),
    ("Normalization", {}),
    ("PReLU", {}),
    ("Softmax", {}),
    ("Reshape", {"target_shape": (2, 2)}),
    ("Permute", {"dims": (1,)}),
]
OF_SEVERAL = [
    *((name, {}) for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")),
    *(("Concatenate", {"axis": axis}) for axis in (-1, 1, 2)),
]
OF_TWO = [
    ("Subtract", {}),
    *(("Dot", {"axes": axes}) for axes in (1, 2, -1, (1, 1), [-1, 2], (2, -1))),
    ("Dot", {"axes": -1, "normalize": True}),
]
CASES = [
    *((*case, SEQUENCES) for case in OF_ONE),
    *((*case, VECTORS) for case in OF_VECTORS),
    *((*case, [SEQUENCES, SEQUENCES[:, ::-1] + 1]) for case in OF_SEVERAL + OF_TWO),
    *((*case, [SEQUENCES, SEQUENCES**2, SEQUENCES - 1]) for case in OF_SEVERAL),
]


def named(case):
    name, options, inputs = case
    return f"{name} {options}{' of ' + str(len(inputs)) if isinstance(inputs, list) else ''}"


def parts(inputs):
    return inputs if isinstance(inputs, list) else [inputs]


def shape_of(inputs):
    return [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape


def made(name, options, inputs):
    """A layer of cyrnn and one of Keras, built, with the same weights: positive ones, as variances are."""
    layers = [getattr(module.layers, name)(**{"name": "layer", **options}) for module in (cyrnn, keras)]
    for layer in layers:
        if not layer.built:
            layer.build(shape_of(inputs))
    same_weights(*layers)
    return layers


def same_weights(*layers):
    assert len({str([tuple(w.shape) for w in layer.weights]) for layer in layers}) == 1
    draw = np.random.default_rng(1)
    weights = [np.array(draw.uniform(0.5, 2, tuple(w.shape))) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # as Keras does when it loads weights


def masked_call(ours, theirs, inputs, masks, training=False):
    """Outputs and masks of both: (output, mask), (output, mask). In Keras a mask hangs on its array."""
    several = isinstance(inputs, list)
    arrays = [x.copy() for x in parts(inputs)]
    for x, mask in zip(arrays, masks, strict=True):
        if mask is not None:
            keras.src.backend.set_keras_mask(x, mask)
    told = {"training": training} if "training" in type(theirs).call.__code__.co_varnames else {}
    output = theirs(arrays if several else arrays[0], **told)
    mask = keras.src.backend.get_keras_mask(output)
    told_ours = None if all(part is None for part in masks) else masks if several else masks[0]
    found = ours.call_and_mask([x.copy() for x in parts(inputs)] if several else inputs, told_ours, training)
    return found, (np.asarray(output), mask)


def check(found, expected, tolerance=None):
    assert_same(found[0], expected[0], tolerance)
    assert (found[1] is None) == (expected[1] is None)
    if found[1] is not None:
        np.testing.assert_array_equal(found[1], np.asarray(expected[1]))


def masks_for(inputs):
    """None; and where inputs are sequences, masks."""
    found = [[None] * len(parts(inputs))]
    if parts(inputs)[0].ndim == 3:
        full = [KEEP, OTHER, KEEP[:, ::-1]][: len(parts(inputs))]
        found += [full, [*full[:-1], None], [None, *full[1:]]] if isinstance(inputs, list) else [full]
    return found


@pytest.mark.parametrize("case", CASES, ids=named)
def test_outputs_masks_and_weights(case):
    name, options, inputs = case
    ours, theirs = made(*case)
    assert [w.shape for w in ours.trainable_weights] == [tuple(w.shape) for w in theirs.trainable_weights]
    assert [w.shape for w in ours.non_trainable_weights] == [
        tuple(w.shape) for w in theirs.non_trainable_variables if w.name != "seed_generator_state"
    ]
    assert ours.count_params() == theirs.count_params()
    assert ours.supports_masking == theirs.supports_masking
    assert tuple(ours.compute_output_shape(shape_of(inputs))) == tuple(theirs.compute_output_shape(shape_of(inputs)))
    for masks in masks_for(inputs):
        if name == "Softmax" and masks[0] is not None:
            continue  # a mask of sequences does not broadcast; see below
        if "data_format" in options and options["data_format"] == "channels_first" and masks[0] is not None:
            continue  # masks are of the second axis
        found, expected = masked_call(ours, theirs, inputs, masks)
        check(found, expected)
        assert found[0].shape == tuple(ours.compute_output_shape(shape_of(inputs)))
        assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float16", "mixed_float16"])
@pytest.mark.parametrize("case", CASES, ids=named)
def test_dtypes(case, dtype):
    name, options, inputs = case
    ours, theirs = made(name, {**options, "dtype": dtype}, inputs)
    inputs = [x.astype("float64") for x in inputs] if isinstance(inputs, list) else inputs.astype("float64")
    found, expected = masked_call(ours, theirs, inputs, [None] * len(parts(inputs)))
    if name in ("MaxPooling1D", "AveragePooling1D", "Conv1D") and dtype == "float64":
        expected = np.float64(expected[0]), None  # on NumPy Keras pools and convolves in float32, by way of JAX
        check(found, expected, tolerance=1e-6)
    else:
        check(found, expected, tolerance=None if dtype == "float64" else 8e-3)


IN_TRAINING = [
    case
    for case in CASES
    if ("Dropout" in case[0] or "Noise" in case[0] or case[0] == "BatchNormalization") and not case[1].get("renorm")
]


@pytest.mark.parametrize("case", IN_TRAINING, ids=named)
def test_training(case):
    ours, theirs = made(*case)
    for masks in masks_for(case[2]) * 2:
        found, expected = masked_call(ours, theirs, case[2], masks, training=True)
        check(found, expected, tolerance=1e-5)
        assert_same(ours.get_weights(), theirs.get_weights(), tolerance=1e-5)


@pytest.mark.parametrize("keepdims", [False, True])
def test_the_mean_of_masked_sequences_with_the_features_first(keepdims):
    inputs = np.ascontiguousarray(SEQUENCES.transpose(0, 2, 1))
    ours, theirs = made("GlobalAveragePooling1D", {"data_format": "channels_first", "keepdims": keepdims}, inputs)
    check(*masked_call(ours, theirs, inputs, [KEEP]))
    check(*masked_call(ours, theirs, inputs, [np.zeros_like(KEEP)]))  # NaN


@pytest.mark.parametrize("axis", [-1, 1, (1, 2)])
@pytest.mark.parametrize("mask", [KEEP[:, :4], KEEP[0, :4], np.zeros((3, 4), bool), np.float32(KEEP[:, :4])])
def test_softmax_with_a_mask(mask, axis):
    inputs = SEQUENCES if mask.ndim == 1 or axis != -1 else VECTORS
    mask = mask[:, None] if mask.ndim == 2 and inputs.ndim == 3 else mask
    ours, theirs = made("Softmax", {"axis": axis}, inputs)
    assert_same(ours(inputs, mask=mask), np.asarray(theirs(inputs, mask=mask)))


@pytest.mark.parametrize("name", ["Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"])
@pytest.mark.parametrize("shapes", [((3, 6, 4), (3, 4)), ((3, 4), (3, 6, 4)), ((3, 1, 4), (3, 6, 1)), ((3,), (3, 4))])
def test_inputs_that_broadcast(name, shapes):
    inputs = [np.random.default_rng(n).standard_normal(shape).astype("float32") for n, shape in enumerate(shapes)]
    ours, theirs = made(name, {}, inputs)
    check(*masked_call(ours, theirs, inputs, [None, None]))
    assert tuple(ours.compute_output_shape(shapes)) == theirs.compute_output_shape(shapes)
    masks = [KEEP if len(shape) == 3 and shape[1] == 6 else None for shape in shapes]
    check(*masked_call(ours, theirs, inputs, masks))


@pytest.mark.parametrize("name", ["Flatten", "Reshape", "Permute", "Identity", "Concatenate", "UpSampling1D"])
def test_integers_stay_integers_where_numbers_only_move(name):
    inputs = rng.integers(0, 9, (3, 6, 4)).astype("int32")
    options = {"Reshape": {"target_shape": (-1,)}, "Permute": {"dims": (2, 1)}}.get(name, {})
    inputs = [inputs, inputs] if name == "Concatenate" else inputs
    check(*masked_call(*made(name, options, inputs), inputs, [None] * len(parts(inputs))), tolerance=0)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_shapes_with_unknown_lengths(case):
    name, options, inputs = case
    for axes in [(0,), (0, 1)] if parts(inputs)[0].ndim == 3 else [(0,)]:
        ours, theirs = (getattr(module.layers, name)(**options) for module in (cyrnn, keras))
        shapes = [tuple(None if n in axes else length for n, length in enumerate(x.shape)) for x in parts(inputs)]
        shape = shapes if isinstance(inputs, list) else shapes[0]
        assert tuple(ours.compute_output_shape(shape)) == tuple(theirs.compute_output_shape(shape))


# ---------------------------------------------------------------- configs

NOT_BEFORE_KERAS_3_15 = ("renorm", "renorm_clipping", "renorm_momentum", "input_axes", "output_axes")


def plain(envelope):
    """Without what cyrnn leaves out for older readers."""
    if isinstance(envelope, dict):
        kept = {key: plain(value) for key, value in envelope.items()}
        return {key: value for key, value in kept.items() if key not in NOT_BEFORE_KERAS_3_15}
    return [plain(value) for value in envelope] if isinstance(envelope, list) else envelope


@pytest.mark.parametrize("case", CASES, ids=named)
def test_configs_are_the_same_text(case):
    ours, theirs = made(*case)
    assert json.dumps(plain(json.loads(ours.to_json()))) == json.dumps(plain(json.loads(keras_json(theirs))))


def known_to_this_keras(case):
    """Before 3.15 there was no renorm, axes were not sorted, and a mean needed all of its axes."""
    name, options, _ = case
    few_axes = name == "Normalization" and np.ndim(options.get("mean")) < np.size(options.get("axis", -1))
    return VERSION >= (3, 15) or not (
        "renorm" in options or options.get("axis") == (2, 1) or ("mean" in options and few_axes)
    )


@pytest.mark.configs
@pytest.mark.parametrize("case", [case for case in CASES if known_to_this_keras(case)], ids=named)
def test_configs_go_both_ways(case):
    _, options, inputs = case
    ours, theirs = made(*case)
    read, read_by_keras = cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json())
    assert read.to_json() == ours.to_json()
    for layer in (read, read_by_keras):
        if not layer.built:  # those that Keras builds at once say nothing of it
            layer.build(shape_of(inputs))
    same_weights(ours, theirs, read, read_by_keras)
    if isinstance(options.get("axis"), tuple) and case[0] == "Softmax":
        read_by_keras.axis = options["axis"]  # a list, which Keras' NumPy backend cannot sum along
    for training in [False] if options.get("renorm") else [False, True]:
        found, expected = masked_call(read, read_by_keras, inputs, [None] * len(parts(inputs)), training)
        check(found, (np.float32(expected[0]), None), tolerance=1e-5)  # Keras 3.6 has means of windows in float64


# ---------------------------------------------------------------- models

BETWEEN = [
    case
    for case in OF_ONE
    if case[0] not in ("Flatten", "Reshape", "Permute", "Normalization", "Softmax", "PReLU")
    and not case[0].startswith("Global")
    and case[1].get("axis", -1) in (-1, [-1])
    and case[1].get("data_format") != "channels_first"
]
AT_THE_END = [
    *(("GlobalAveragePooling1D", {}), ("GlobalMaxPooling1D", {}), ("Flatten", {}), ("Permute", {"dims": (2, 1)})),
    *(("PReLU", {}), ("PReLU", {"shared_axes": [1]}), ("Reshape", {"target_shape": (4, -1)}), ("Softmax", {})),
    *(("BatchNormalization", {"axis": 1}), ("LayerNormalization", {"axis": [1, 2]})),
]
FIRST = [("Normalization", {}), ("Normalization", {"axis": 1}), ("Masking", {}), ("Rescaling", {"scale": 0.5})]
NEEDS_LENGTH = ("Cropping1D", "MaxPooling1D", "AveragePooling1D")


@random_settings(0.3)
@hypothesis.given(
    st.sampled_from(FIRST),
    st.lists(st.sampled_from(BETWEEN), max_size=3).filter(lambda cases: sum(c[0] in NEEDS_LENGTH for c in cases) < 2),
    st.lists(st.sampled_from(BETWEEN), max_size=1).filter(lambda cases: not any(c[0] in NEEDS_LENGTH for c in cases)),
    st.sampled_from(AT_THE_END),
)  # fmt: skip
def test_models_from_files(tmp_path_factory, first, between, behind, last):
    makers = [first, *between, ("SimpleRNN", {"units": 4, "return_sequences": True}), *behind, last]
    layers = []
    for name, options in makers:
        options = {key: value for key, value in options.items() if key not in ("trainable", "shared")}
        layers.append(getattr(keras.layers, name)(**options))
    x = np.where(KEEP[:, :, None], SEQUENCES, 0).astype("float32")
    if first[0] == "Masking" and last[0] == "Softmax" and not any(c[0] in DESTROYERS for c in between + behind):
        last = None
        layers.pop()  # which refuses a mask of sequences
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    draw = np.random.default_rng(2)
    for weight in model.weights:
        low, high = (1, 3) if weight.name in ("moving_variance", "variance", "count") else (-0.5, 0.5)
        weight.assign(draw.uniform(low, high, weight.shape))
    path = tmp_path_factory.mktemp("models") / "model.keras"
    model.save(path)
    expected = keras.saving.load_model(path)(x)
    model = load_model(path)
    np.testing.assert_allclose(model(x), np.asarray(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, batch_size=2), np.asarray(expected), rtol=1e-5, atol=1e-5)
    again = cyrnn.from_json(model.to_json())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(x), model(x))


DESTROYERS = ("Cropping1D", "ZeroPadding1D", "UpSampling1D", "MaxPooling1D", "AveragePooling1D")


# ---------------------------------------------------------------- refused

WRONG_ARGUMENTS = [
    *(("Dropout", {"rate": rate}) for rate in (-0.1, 1.5, "a", None)),
    *((name, {"rate": rate}) for name in ("SpatialDropout1D", "GaussianDropout", "AlphaDropout") for rate in (2, "a")),
    *(("GaussianNoise", {"stddev": stddev}) for stddev in (-1, 2, None)),
    ("ActivityRegularization", {"l1": -1.0}),
    *(("ReLU", {key: -1.0}) for key in ("max_value", "negative_slope", "threshold")),
    *(("ReLU", {key: None}) for key in ("negative_slope", "threshold")),
    *(("LeakyReLU", {"negative_slope": slope}) for slope in (-1, None, "a")),
    *((name, {"axis": axis}) for name in ("LayerNormalization", "UnitNormalization") for axis in (1.5, "a", None)),
    *(("Normalization", {"mean": mean, "variance": 1.0}) for mean in (None, [1.0])),
    ("Normalization", {"mean": [[1.0]], "variance": [[1.0]]}),
    *(("Flatten", {"data_format": value}) for value in ("last", 3)),
    *(("Reshape", {"target_shape": shape}) for shape in ((-1, -1), (-2,), 3)),
    *(("Permute", {"dims": dims}) for dims in ((0, 1), (1, 3), (1, 1))),
    *(("RepeatVector", {"n": n}) for n in (0, 1.5, True, "a", None)),
    *(("UpSampling1D", {"size": size}) for size in (0, 1.5, True)),
    *(("ZeroPadding1D", {"padding": value}) for value in (-1, (1, 2, 3), "ab", None, 1.5)),
    *(("Cropping1D", {"cropping": value}) for value in (-1, (1, 2, 3), None)),
    *(("Dot", {"axes": axes}) for axes in ("a", (1,), (1, 2.5), None)),
    *(("MaxPooling1D", {"pool_size": size}) for size in (0, (1, 2), "a")),
    *(("AveragePooling1D", {"pool_size": 2, "strides": value}) for value in (-1, (1, 2))),
    *(("GlobalMaxPooling1D", {"data_format": value}) for value in ("last",)),
    *((name, {"unknown": 1}) for name in ("ELU", "Identity", "Add", "Flatten", "BatchNormalization")),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG_ARGUMENTS, ids=str)
def test_wrong_arguments(case):
    name, options = case
    message = refused_alike(lambda module: getattr(module.layers, name)(**options))
    assert list(options)[-1] in message


ONES = np.ones((2, 3, 4), "float32")
WRONG_INPUTS = [
    *((name, {}, ONES[0]) for name in ("Cropping1D", "UpSampling1D", "ZeroPadding1D", "MaxPooling1D")),
    *((name, {}, ONES[0]) for name in ("GlobalMaxPooling1D", "GlobalAveragePooling1D")),
    ("SpatialDropout1D", {"rate": 0.5}, ONES[0]),
    ("Permute", {"dims": (2, 1)}, ONES[0]),
    ("RepeatVector", {"n": 2}, ONES),
    *(("Reshape", {"target_shape": shape}, ONES) for shape in ((5,), (5, -1), (3, 5))),
    ("Cropping1D", {"cropping": 2}, ONES),
    ("Normalization", {"axis": 3}, ONES),
    *((name, {}, ONES) for name in ("Add", "Multiply", "Concatenate", "Maximum", "Subtract")),
    *((name, {}, [ONES, ONES[:, :, :3]]) for name in ("Add", "Multiply", "Minimum", "Subtract")),
    *((name, {}, [ONES, ONES[:, :2]]) for name in ("Add", "Average", "Concatenate")),
    *((name, {}, [ONES, ONES[:1]]) for name in ("Add", "Concatenate")),
    ("Subtract", {}, [ONES, ONES, ONES]),
    ("Concatenate", {}, [ONES, ONES[0]]),
    ("Dot", {"axes": 1}, [ONES, ONES[:, :2]]),
    ("Dot", {"axes": 1}, [ONES]),
    ("Dot", {"axes": 0}, [ONES, ONES]),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG_INPUTS, ids=lambda case: f"{case[0]} {case[1]} {shape_of(case[2])}")
def test_wrong_inputs(case):
    name, options, inputs = case
    message = refused_alike(lambda module: getattr(module.layers, name)(**options, name="mine")(inputs))
    assert "'mine'" in message


@pytest.mark.parametrize("name", ["PReLU", "BatchNormalization", "LayerNormalization", "Normalization"])
def test_other_shapes_than_those_a_layer_was_built_for(name):
    def call(module):
        layer = getattr(module.layers, name)(name="mine")
        layer.build((None, 3, 4))
        return layer(ONES[:, :, :3])

    assert "'mine'" in refused_alike(call)


@pytest.mark.parametrize("mask", [np.ones((2, 3, 4)), np.ones(2)])
def test_a_mask_that_does_not_fit_a_batch_normalization(mask):
    refused_alike(lambda module: module.layers.BatchNormalization()(ONES, mask=mask))


def test_softmax_refuses_a_mask_of_sequences():
    refused_alike(lambda module: module.layers.Softmax()(ONES, mask=np.ones((2, 3), bool)))


def doubled(x):
    return 2 * x


@pytest.mark.parametrize("function", [lambda x: x, doubled])
def test_a_lambda_layer_is_never_run(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = keras_json(keras.layers.Lambda(function, output_shape=(3,)))
    with pytest.raises(ValueError, match="Lambda"):
        cyrnn.from_json(text)
