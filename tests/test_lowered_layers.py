"""Each layer with each kind of arguments as ops of a program: the numbers, shapes and masks of its calls with NumPy."""

import copy
import pickle
import re

import numpy as np
import pytest
from helpers import TOLERANCE
from test_programs import REFERENCE, divided, padded

import cyrnn
from cyrnn import layers
from cyrnn.layers.base import nest, operations
from cyrnn.layers.base.programs.interface import ENGINE
from cyrnn.models import executor
from cyrnn.models.programs.parts import ProgramPart

RNG = np.random.default_rng(0)
SEQUENCE, ROW, IMAGES = (5, 3), (6,), (4, 2, 3)  # shapes without the batch

# For each class the arguments, and the shapes of inputs that these are for.
ONE_PROGRAM = {
    "ReLU": [
        ({}, [SEQUENCE, ROW, IMAGES]),
        ({"max_value": 0.5, "negative_slope": 0.25, "threshold": 0.125}, [SEQUENCE]),
        ({"negative_slope": 0.5}, [ROW]),
        ({"threshold": 0.5}, [ROW]),
    ],
    "LeakyReLU": [({}, [SEQUENCE]), ({"negative_slope": 2}, [ROW])],
    "ThresholdedReLU": [({"theta": 0.5}, [SEQUENCE])],
    "ELU": [({}, [SEQUENCE]), ({"alpha": 0.5}, [SEQUENCE, ROW]), ({"alpha": -2}, [ROW])],
    "PReLU": [
        ({}, [SEQUENCE, ROW, IMAGES]),
        ({"shared_axes": [1]}, [SEQUENCE, ROW, IMAGES]),
        ({"shared_axes": [2]}, [SEQUENCE]),
        ({"shared_axes": [1, 2]}, [SEQUENCE, IMAGES]),
        ({"shared_axes": [1, 3]}, [IMAGES]),
    ],
    "Softmax": [
        ({}, [SEQUENCE, ROW, IMAGES]),
        ({"axis": 1}, [SEQUENCE, ROW, IMAGES]),
        ({"axis": [1, 2]}, [SEQUENCE]),
        ({"axis": [-2, -1]}, [IMAGES]),
        ({"axis": 2}, [IMAGES]),
        ({"axis": [3, 1]}, [IMAGES]),
    ],
    "BatchNormalization": [
        ({}, [SEQUENCE, ROW, IMAGES]),
        ({"axis": 1}, [SEQUENCE, ROW]),
        ({"axis": 2}, [IMAGES]),
        ({"center": False, "epsilon": 0.5}, [SEQUENCE]),
        ({"scale": False}, [SEQUENCE]),
        ({"scale": False, "center": False, "renorm": True}, [ROW]),
    ],
    "LayerNormalization": [
        ({}, [SEQUENCE, ROW, IMAGES]),
        ({"axis": [1, 2]}, [SEQUENCE]),
        ({"axis": [-1, -2], "epsilon": 0.5}, [IMAGES]),
        ({"axis": 1}, [SEQUENCE, IMAGES]),
        ({"axis": [1, 3]}, [IMAGES]),
        ({"center": False}, [SEQUENCE]),
        ({"scale": False}, [SEQUENCE]),
        ({"scale": False, "center": False}, [SEQUENCE, ROW]),
        ({"rms_scaling": True}, [SEQUENCE]),
    ],
    "UnitNormalization": [
        ({}, [SEQUENCE, ROW]),
        ({"axis": [1, 2]}, [SEQUENCE]),
        ({"axis": 1}, [SEQUENCE, IMAGES]),
        ({"axis": [2, -1]}, [IMAGES]),
        ({"axis": [3, 1]}, [IMAGES]),
    ],
    "Normalization": [
        ({}, [SEQUENCE, ROW, IMAGES]),
        ({"axis": 1}, [SEQUENCE]),
        ({"axis": None}, [SEQUENCE, ROW]),
        ({"axis": (1, 2)}, [SEQUENCE]),
        ({"mean": 1.0, "variance": 4.0}, [SEQUENCE]),
        ({"mean": [1.0, 2.0, 3.0], "variance": [0.0, 1.0, 2.0]}, [SEQUENCE]),
        ({"mean": 1.0, "variance": 4.0, "invert": True}, [ROW]),
    ],
    "Rescaling": [
        ({"scale": 0.5}, [SEQUENCE, ROW, IMAGES]),
        ({"scale": 2, "offset": [1.0, 2.0, 3.0]}, [SEQUENCE, IMAGES]),
        ({"scale": np.array([[1.0], [2.0]]), "offset": 1}, [IMAGES]),
        ({"scale": np.ones((5, 1))}, [SEQUENCE]),
    ],
    "Flatten": [({}, [SEQUENCE, ROW, IMAGES, ()]), ({"data_format": "channels_first"}, [SEQUENCE, ROW, IMAGES])],
    "Reshape": [
        ({"target_shape": (15,)}, [SEQUENCE]),
        ({"target_shape": (3, 5)}, [SEQUENCE]),
        ({"target_shape": (-1, 5)}, [SEQUENCE]),
        ({"target_shape": (5, 3, 1)}, [SEQUENCE]),
        ({"target_shape": (3, -1)}, [ROW]),
        ({"target_shape": (3, 2, -1)}, [IMAGES]),
    ],
    "Permute": [
        ({"dims": (2, 1)}, [SEQUENCE]),
        ({"dims": (1,)}, [ROW]),
        ({"dims": (1, 3, 2)}, [IMAGES]),
        ({"dims": (3, 1, 2)}, [IMAGES]),
        ({"dims": (2, 3, 1)}, [IMAGES]),
    ],
    "RepeatVector": [({"n": 1}, [ROW]), ({"n": 4}, [ROW])],
    "ZeroPadding1D": [
        ({}, [SEQUENCE]),
        ({"padding": (0, 3)}, [SEQUENCE]),
        ({"padding": (2, 1), "data_format": "channels_first"}, [SEQUENCE]),
    ],
    "Cropping1D": [({}, [SEQUENCE]), ({"cropping": (3, 0)}, [SEQUENCE]), ({"cropping": 0}, [SEQUENCE])],
    "UpSampling1D": [({}, [SEQUENCE]), ({"size": 3}, [SEQUENCE])],
    "GlobalAveragePooling1D": [
        ({}, [SEQUENCE]),
        ({"keepdims": True}, [SEQUENCE]),
        ({"data_format": "channels_first"}, [SEQUENCE]),
        ({"data_format": "channels_first", "keepdims": True}, [SEQUENCE]),
    ],
    "GlobalMaxPooling1D": [
        ({}, [SEQUENCE]),
        ({"keepdims": True}, [SEQUENCE]),
        ({"data_format": "channels_first", "keepdims": True}, [SEQUENCE]),
    ],
    **{
        name: [
            ({"pool_size": 2}, [SEQUENCE]),
            ({"pool_size": 2, "padding": "same"}, [SEQUENCE]),
            ({"pool_size": 3, "strides": 1, "padding": "same"}, [SEQUENCE]),
            ({"pool_size": 1, "strides": 3}, [SEQUENCE]),
            ({"pool_size": 10**6, "strides": 2, "padding": "same"}, [SEQUENCE]),
            ({"pool_size": 2, "data_format": "channels_first"}, [SEQUENCE]),
        ]
        for name in ("MaxPooling1D", "AveragePooling1D")
    },
}
CASES = [
    pytest.param(name, arguments, shape, id=f"{name} {arguments} {shape}")
    for name, cases in ONE_PROGRAM.items()
    for arguments, shapes in cases
    for shape in shapes
]


def numbers(shape, batch=4, dtype="float32"):
    return RNG.standard_normal((batch, *shape)).astype(dtype)


def with_weights(model):
    """Weights that are not small; those that variances and the like are made of are positive."""
    model.set_weights([np.abs(RNG.standard_normal(weight.shape)) + 0.1 for weight in model.get_weights()])
    return model


def model_of(layer, shape):
    """What comes of the layer, and what an op computes of that: a program that moves numbers alone is none."""
    x = cyrnn.Input(shape)
    output = layer(x)
    return with_weights(cyrnn.Model(x, [output, layers.Rescaling(2.0)(output)]))


def same(got, expected, dtype="float32"):
    got, expected = nest.leaves(got), nest.leaves(expected)
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        if theirs is None:
            assert ours is None
            continue
        assert ours.dtype == theirs.dtype
        tolerance = 3 * TOLERANCE[dtype] if theirs.dtype.kind == "f" else 0
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def assert_programs_compute(model, x, mask=None, training=False):
    """What the layers compute one by one, with the engine and with the oracle."""
    copies = [copy.deepcopy(model) for _ in range(3)]
    results = []
    for one, target in zip(copies, (None, ENGINE, REFERENCE), strict=True):
        with executor.lowering_to(target):
            results.append(one.call_and_mask(one.checked_inputs(x), mask, training))
    for result in results[1:]:
        same(result, results[0])


@pytest.fixture
def inputs_fit(monkeypatch):
    """The executor never takes the place of a program in the test."""
    monkeypatch.setattr(ProgramPart, "_run_calls", lambda *_: pytest.fail("the inputs do not fit the program"))


fit = pytest.mark.usefixtures("inputs_fit")


@fit
@pytest.mark.parametrize("name, arguments, shape", CASES)
def test_a_layer_is_one_program(name, arguments, shape):
    model = model_of(getattr(layers, name)(**arguments), shape)
    found = divided(model, None)
    assert found.cuts == []
    assert len(found.parts) == len(found.programs) == 1
    assert_programs_compute(model, numbers(shape))


@fit
@pytest.mark.parametrize("name, arguments, shape", CASES)
def test_nan_and_infinity_come_where_the_layer_has_them(name, arguments, shape):
    model, x = model_of(getattr(layers, name)(**arguments), shape), numbers(shape, batch=60)
    for value in (np.nan, np.inf, -np.inf, 0, 1e38, -1e38, 1e-38):
        x[RNG.random(x.shape) < 0.02] = value
    with executor.alone():
        expected = model(x)[0]
    with executor.lowering_to(ENGINE):
        got = model(x)[0]
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(got), kind(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, arguments, shape", CASES)
def test_a_layer_alone_has_the_bits_that_it_has_in_a_model(name, arguments, shape):
    model, x = model_of(getattr(layers, name)(**arguments), shape), numbers(shape)
    together, alone = model(x)[0], model.layers[1](x)
    if name == "GlobalAveragePooling1D" and arguments.get("data_format") == "channels_first":
        same(alone, together)  # a call of the layer may have a mask, of which there is no op
    else:
        assert np.array_equal(alone, together)


LENGTHS_ARE_KNOWN = {"Flatten", "Permute", "Reshape"}  # the others compute sequences of any length
ANY_LENGTH = [
    pytest.param(*case.values, id=case.id)
    for case in CASES
    if case.values[2] == SEQUENCE
    and case.values[0] not in LENGTHS_ARE_KNOWN
    and case.values[1].get("data_format") != "channels_first"
    and case.values[1].get("axis") not in (1, (1, 2), [1, 2])
    and case.values[1].get("shared_axes", [1]) not in ([2],)
    and not (case.values[0] == "PReLU" and "shared_axes" not in case.values[1])
    and np.ndim(case.values[1].get("scale", 0)) < 2
]


@fit
@pytest.mark.parametrize("name, arguments, shape", ANY_LENGTH)
def test_sequences_of_any_length(name, arguments, shape):
    """One program for all of them."""
    model = model_of(getattr(layers, name)(**arguments), (None, shape[1]))
    assert len(divided(model, None).programs) == 1
    for timesteps in (4, 7, 1 if name not in ("Cropping1D", "MaxPooling1D", "AveragePooling1D") else 4):
        assert_programs_compute(model, numbers((timesteps, shape[1])))


# ---------------------------------------------------------------- layers of several inputs


SHAPES_THAT_FIT = [
    [SEQUENCE, SEQUENCE],
    [ROW, ROW, ROW],
    [ROW],
    [SEQUENCE, (3,)],
    [(3,), SEQUENCE],
    [SEQUENCE, (5, 1), SEQUENCE],
    [(1, 3), SEQUENCE],
    [(5, 1), (1, 3)],
    [IMAGES, (2, 1)],
    [IMAGES, (4, 2, 1), (2, 3)],
    [(4, 1, 3), (3,), IMAGES],
    [(1,), IMAGES],
]
MERGES = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]


def merging(layer, shapes):
    inputs = [cyrnn.Input(shape) for shape in shapes]
    return cyrnn.Model(inputs, layer(inputs))


@fit
@pytest.mark.parametrize("shapes", SHAPES_THAT_FIT, ids=str)
@pytest.mark.parametrize("name", MERGES)
def test_merged_inputs_broadcast(name, shapes):
    if name == "Subtract" and len(shapes) != 2:
        shapes = [shapes[0], shapes[-1]]
    model = merging(getattr(layers, name)(), shapes)
    assert divided(model, None).cuts == []
    x = [numbers(shape) for shape in shapes]
    assert_programs_compute(model, x)
    x[0][RNG.random(x[0].shape) < 0.1] = np.nan
    assert_programs_compute(model, x)


@pytest.mark.parametrize("name", MERGES)
def test_sequences_of_several_inputs_have_one_length(name):
    """What NumPy would broadcast is left to it, and what does not fit raises."""
    model = merging(getattr(layers, name)(), [(None, 3), (None, 3)])
    assert divided(model, None).cuts == []
    for lengths in ((5, 5), (1, 1), (5, 1), (1, 5)):
        assert_programs_compute(model, [numbers((n, 3)) for n in lengths])
    for target in (None, ENGINE, REFERENCE):
        with executor.lowering_to(target), pytest.raises(ValueError, match="fit together"):
            model([numbers((n, 3)) for n in (5, 4)])


@fit
@pytest.mark.parametrize("in_keras2", [False, True])
@pytest.mark.parametrize("name", MERGES)
def test_masks_of_merged_inputs(name, in_keras2):
    layer = getattr(layers, name)()
    layer.masks_as_in_keras2 = in_keras2
    model = merging(layer, [(None, 3), (None, 3)])
    x, masks = [numbers(SEQUENCE) for _ in range(2)], [RNG.random((4, 5)) < 0.6 for _ in range(2)]
    masks[0][0] = masks[1][0] = False
    for given in ([masks[0], masks[1]], [masks[0], None], [None, masks[1]], [None, None]):
        assert divided(model, None, masked=tuple(mask is not None for mask in given)).cuts == []
        assert_programs_compute(model, x, given)


JOINED = [
    (-1, [SEQUENCE, (5, 2), (5, 1)]),
    (1, [ROW, (2,)]),
    (1, [SEQUENCE, (2, 3)]),
    (2, [IMAGES, (4, 1, 3)]),
    (-1, [IMAGES, (4, 2, 1)]),
    (-1, [SEQUENCE]),
]


@fit
@pytest.mark.parametrize("axis, shapes", JOINED, ids=str)
def test_joined_inputs(axis, shapes):
    model = merging(layers.Concatenate(axis), shapes)
    assert divided(model, None).cuts == []
    x = [numbers(shape) for shape in shapes]
    assert_programs_compute(model, x)


@fit
@pytest.mark.parametrize("in_keras2", [False, True])
def test_masks_of_joined_inputs(in_keras2):
    layer = layers.Concatenate()
    layer.masks_as_in_keras2 = in_keras2
    model = merging(layer, [(None, 3), (None, 2)])
    x, masks = [numbers((5, n)) for n in (3, 2)], [RNG.random((4, 5)) < 0.6 for _ in range(2)]
    for given in ([masks[0], masks[1]], [masks[0], None], [None, masks[1]], [None, None]):
        assert_programs_compute(model, x, given)


def test_joined_integers_stay_integers():
    x = [RNG.integers(0, 9, (4, 5, 3)) for _ in range(2)]
    inputs = [cyrnn.Input((5, 3), dtype="int64") for _ in x]
    model = cyrnn.Model(inputs, layers.Concatenate()(inputs))
    assert divided(model, None).cuts[0][1] == "its output stays int64, and the program computes in float32"
    assert_programs_compute(model, x)
    mixed = cyrnn.Model(inputs, layers.Concatenate()([inputs[0], layers.Rescaling(2.0)(inputs[1])]))
    assert divided(mixed, None).cuts == []
    assert_programs_compute(mixed, x)


PRODUCTS = [
    ({"axes": 1}, [ROW, ROW]),
    ({"axes": 2}, [SEQUENCE, (4, 3)]),
    ({"axes": 1}, [SEQUENCE, (5, 2)]),
    ({"axes": (2, 1)}, [SEQUENCE, (3,)]),
    ({"axes": (2, 1)}, [SEQUENCE, (3, 4)]),
    ({"axes": (1, 2)}, [IMAGES, (2, 4)]),
    ({"axes": -1, "normalize": True}, [SEQUENCE, (4, 3)]),
    ({"axes": 1, "normalize": True}, [ROW, ROW]),
    ({"axes": 1, "normalize": True}, [SEQUENCE, SEQUENCE]),
    ({"axes": (1, 2), "normalize": True}, [SEQUENCE, (4, 5)]),
]


@fit
@pytest.mark.parametrize("arguments, shapes", PRODUCTS, ids=str)
def test_products_of_two_inputs(arguments, shapes):
    model = merging(layers.Dot(**arguments), shapes)
    assert divided(model, None).cuts == []
    x = [numbers(shape) for shape in shapes]
    assert_programs_compute(model, x)
    x[0][0] = 0
    x[1][1] = np.inf
    assert_programs_compute(model, x)


NO_MERGES = {
    "lengths unknown": (layers.Dot(2), [(None, 3), (4, 3)], None, "has any length"),
    "a large product": (layers.Dot(2), [(50, 40), (50, 40)], None, "is left to BLAS"),
    "batches": (layers.Concatenate(0), [SEQUENCE, SEQUENCE], None, "it joins batches"),
    "sequences of unknown lengths": (layers.Concatenate(1), [(None, 3), (5, 3)], None, "has any length"),
    "sequences with masks": (layers.Concatenate(1), [SEQUENCE, SEQUENCE], True, "it has masks, and joins along axis 1"),
    "axes apart": (layers.Add(), [(*IMAGES, 2), (1, 2, 1, 2)], None, "is repeated between its axes"),
    "a mask of a row": (layers.Add(), [SEQUENCE, (1, 3)], True, r"a mask of an input of the shape \(None, 1, 3\)"),
    "nothing": (layers.Add(), [(5, 0), (5, 0)], None, "has no elements"),
}


@pytest.mark.parametrize("name", NO_MERGES)
def test_merges_that_are_no_ops_say_why(name):
    layer, shapes, masked, reason = NO_MERGES[name]
    ((_, said),) = divided(merging(layer, shapes), None, masked=bool(masked)).cuts
    assert re.search(reason, said), said


class Masks(layers.Layer):
    """A cut that makes a mask of the first timesteps, or none."""

    supports_masking = True

    def __init__(self, count):
        super().__init__()
        self.count = count

    def call(self, inputs):
        return inputs + 1

    def compute_mask(self, inputs, mask=None):
        return (
            None if self.count is None else np.broadcast_to(np.arange(inputs.shape[1]) < self.count, inputs.shape[:2])
        )


@pytest.mark.parametrize("counts", [(2, 3), (2, None), (None, None)], ids=str)
@pytest.mark.parametrize("name", [*MERGES, "Concatenate"])
def test_masks_that_may_be_missing(name, counts):
    """Behind a cut only a call tells whether there are masks: then the merge is a cut too."""
    x = cyrnn.Input(SEQUENCE)
    merge = getattr(layers, name)()
    model = cyrnn.Model(x, layers.SimpleRNN(2)(merge([Masks(count)(x) for count in counts])))
    assert divided(model, None).cuts[-1] == (merge.name, "only a call tells whether its inputs have masks")
    assert_programs_compute(model, numbers(SEQUENCE))
    model = cyrnn.Model(x, merge([layers.Masking()(x), layers.Masking(0.5)(x)]))
    assert divided(model, None).cuts == []
    assert_programs_compute(model, np.where(RNG.random((4, 5, 1)) < 0.3, 0, numbers(SEQUENCE)))


@fit
@pytest.mark.parametrize("mode", ["sum", "mul", "ave", "concat", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_directions_are_merged(mode, sequences):
    rnn = layers.SimpleRNN(2, return_sequences=sequences, return_state=True)
    x = cyrnn.Input((None, 3))
    model = with_weights(cyrnn.Model(x, layers.Bidirectional(rnn, merge_mode=mode)(x)))
    assert divided(model, None).cuts == []
    assert_programs_compute(model, numbers(SEQUENCE), RNG.random((4, 5)) < 0.6)


# ---------------------------------------------------------------- layers of each timestep


OF_EACH_TIMESTEP = {
    "dropout": (lambda: layers.Dropout(0.5), [SEQUENCE, IMAGES]),
    "relu": (lambda: layers.ReLU(1.0), [SEQUENCE, IMAGES]),
    "slopes": (lambda: layers.PReLU(), [SEQUENCE, IMAGES]),
    "elu": (lambda: layers.ELU(0.5), [SEQUENCE]),
    "softmax": (lambda: layers.Softmax(), [SEQUENCE, IMAGES]),
    "softmax along the first axis": (lambda: layers.Softmax(1), [SEQUENCE]),
    "batches": (lambda: layers.BatchNormalization(), [SEQUENCE, IMAGES]),
    "batches along another axis": (lambda: layers.BatchNormalization(1), [SEQUENCE, IMAGES]),
    "layers": (lambda: layers.LayerNormalization(), [SEQUENCE, IMAGES]),
    "layers of all axes": (lambda: layers.LayerNormalization([1, 2]), [IMAGES]),
    "units": (lambda: layers.UnitNormalization(), [SEQUENCE, IMAGES]),
    "data": (lambda: layers.Normalization(), [SEQUENCE, IMAGES]),
    "scale": (lambda: layers.Rescaling(2.0, 1.0), [SEQUENCE, IMAGES]),
    "scales": (lambda: layers.Rescaling([1.0, 2.0, 3.0]), [SEQUENCE, IMAGES]),
    "flat": (lambda: layers.Flatten(), [SEQUENCE, IMAGES]),
    "dense": (lambda: layers.Dense(2, activation="softmax"), [SEQUENCE, IMAGES]),
    "identity": (lambda: layers.Identity(), [SEQUENCE]),
}


@fit
@pytest.mark.parametrize("name", OF_EACH_TIMESTEP)
def test_layers_of_each_timestep(name):
    make, shapes = OF_EACH_TIMESTEP[name]
    for shape in shapes:
        for of in (shape, (None, *shape[1:])):
            model = model_of(layers.TimeDistributed(make()), of)
            assert divided(model, None).cuts == []
            assert_programs_compute(model, numbers(shape))
            if of == shape and len(shape) == 2 and "softmax" not in name:
                assert_programs_compute(model, numbers(shape), RNG.random((4, 5)) < 0.5)


@pytest.mark.parametrize(
    "layer, shape, masked, reason",
    [
        (lambda: layers.RepeatVector(2), SEQUENCE, False, "its layer is a RepeatVector"),
        (lambda: layers.SimpleRNN(2), IMAGES, False, "its layer is a SimpleRNN"),
        (lambda: layers.Softmax(), SEQUENCE, True, "its layer, a Softmax, gets the mask"),
        (lambda: layers.BatchNormalization(), IMAGES, True, "its layer, a BatchNormalization, gets the mask"),
        (lambda: layers.Flatten("channels_first"), IMAGES, False, "the axes of a timestep change places"),
        (
            lambda: layers.LayerNormalization(activity_regularizer="l2"),
            SEQUENCE,
            False,
            "it has an activity regularizer",
        ),
    ],
)
def test_layers_that_are_called_for_each_timestep(layer, shape, masked, reason):
    model = model_of(layers.TimeDistributed(layer()), shape)
    ((_, said),) = divided(model, None, masked=masked).cuts
    assert re.search(reason, said), said
    assert_programs_compute(model, numbers(shape))


# ---------------------------------------------------------------- what stays with Python


NO_OPS = {
    "statistics of the batch": (layers.UnitNormalization(0), ROW, r"after that of the batch, not for \[0\]"),
    "softmax along the batch": (layers.Softmax(0), ROW, r"after that of the batch, not for \[0\]"),
    "softmax along an axis and the batch": (layers.Softmax([0, 1]), ROW, r"after that of the batch, not for \[0, 1\]"),
    "timesteps that are not known": (layers.UnitNormalization(1), (None, 3), "has any length"),
    "a number that is none": (layers.ELU(np.float32(2)), ROW, "the engine has no op for alpha="),
    "an infinite slope": (layers.ReLU(negative_slope=float("inf")), ROW, "the engine has no op for negative_slope=inf"),
    "no slope": (layers.LeakyReLU(0), ROW, "0 times -inf is NaN"),
    "vectors of another rank": (layers.Rescaling(np.ones((1, 1, 3))), ROW[:1], "do not lie along axes of its input"),
    "an unknown length": (layers.Flatten(), (None, 3), r"an axis of shape .* has any length"),
    "an unknown length that moves": (layers.Permute((2, 1)), (None, 3), "any length|is not known"),
    "an unknown length of channels": (layers.GlobalMaxPooling1D("channels_first"), (3, None), "has any length"),
    "more timesteps than there are": (layers.ZeroPadding1D(2**40), SEQUENCE, "more timesteps than programs count"),
    "no elements": (layers.Reshape((0, 4)), (0,), "has no elements"),
    "a mask of channels": (layers.GlobalAveragePooling1D("channels_first"), SEQUENCE, "has a mask"),
    "a mask of softmax": (layers.Softmax(), SEQUENCE, "has a mask"),
    "a mask of more axes": (layers.BatchNormalization(), IMAGES, "its mask must have the shape"),
}


@pytest.mark.parametrize("name", NO_OPS)
def test_what_is_no_op_says_why(name):
    layer, shape, reason = NO_OPS[name]
    x = cyrnn.Input(shape)
    model = cyrnn.Model(x, layer(x))
    ((_, said),) = divided(model, None, masked="mask" in name).cuts
    assert re.search(reason, said), said
    assert divided(model, None, masked="mask" in name).programs == []


@fit
@pytest.mark.parametrize("shape", [ROW, SEQUENCE, IMAGES])
@pytest.mark.parametrize("options", [{}, {"center": False, "scale": False}])
def test_batch_normalization_in_training_is_an_op(shape, options):
    model, x = model_of(layers.BatchNormalization(**options), shape), numbers(shape)
    assert divided(model, None, training=True).cuts == []
    assert_programs_compute(model, x, training=True)
    moved = [copy.deepcopy(model) for _ in range(3)]
    for one, target in zip(moved, (None, ENGINE, REFERENCE), strict=True):
        with executor.lowering_to(target):
            one(x, training=True)
    for one in moved[1:]:
        same(one.get_weights(), moved[0].get_weights())
    model.layers[1].trainable = False
    assert divided(model, None, training=True).cuts == []
    assert_programs_compute(model, x, training=True)


@fit
def test_batch_normalization_in_training_takes_a_mask():
    x = cyrnn.Input((None, 3))
    y = layers.Masking()(x)
    model = cyrnn.Model(x, layers.BatchNormalization()(y))
    given = numbers(SEQUENCE)
    given[1, 2:] = 0
    assert divided(model, None, training=True).cuts == []
    assert_programs_compute(model, given, training=True)


def test_what_batch_normalization_in_training_leaves_to_python():
    along_time = layers.BatchNormalization(axis=1)
    x = cyrnn.Input((5, 3))
    model = cyrnn.Model(x, along_time(layers.Masking()(x)))
    assert divided(model, None, training=True).cuts[0][1] == "its mask goes along its axis"
    assert_programs_compute(model, numbers(SEQUENCE), training=True)


# ---------------------------------------------------------------- other inputs


INTEGERS_STAY = [
    (name, arguments, shape)
    for name in ("Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding1D", "Cropping1D", "UpSampling1D")
    for arguments, shapes in ONE_PROGRAM[name]
    for shape in shapes
]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", ">i2"])
@pytest.mark.parametrize("name, arguments, shape", INTEGERS_STAY, ids=str)
def test_integers_that_are_only_moved_stay_integers(name, arguments, shape, dtype):
    moving = getattr(layers, name)(**arguments)
    x = RNG.integers(0, 2, (4, *shape)).astype(dtype)
    model = cyrnn.Sequential([moving])
    assert model(x).dtype.kind == x.dtype.kind
    assert_programs_compute(model, x)
    again = cyrnn.Sequential([cyrnn.layers.Identity(), moving, layers.Rescaling(2.0)])
    again(x)
    assert_programs_compute(again, x)


@fit
def test_integers_that_a_layer_computes_with_go_through_the_program():
    model, x = cyrnn.Sequential([layers.Cropping1D(), layers.Dense(2)]), RNG.integers(0, 9, (4, 5, 3))
    model(x)
    assert_programs_compute(model, x)


def test_integers_of_a_graph_are_no_numbers_of_a_program():
    x = cyrnn.Input((5,), dtype="int32")
    model = cyrnn.Model(x, layers.Embedding(7, 3)(layers.Reshape((5, 1))(x)))
    assert [reason for _, reason in divided(model, None).cuts] == [
        "its output stays int32, and the program computes in float32"
    ]
    assert_programs_compute(model, padded())


def test_layer_normalization_of_float64_computes_in_it():
    """Where float32 would not tell the numbers from each other."""
    x = 1e6 + 0.01 * numbers(SEQUENCE, dtype="float64")
    model = cyrnn.Sequential([layers.LayerNormalization(epsilon=1e-9)])
    model(x)
    assert_programs_compute(model, x)
    with executor.lowering_to(ENGINE):
        assert np.all(model(x).std(-1) > 0.9)


def test_another_length_than_the_model_was_built_for():
    for layer in (layers.Flatten(), layers.BatchNormalization(axis=1), layers.PReLU(), layers.Reshape((5, 3, 1))):
        model = with_weights(built(cyrnn.Sequential([layers.Identity(), layer])))
        assert_programs_compute(model, numbers(SEQUENCE))
        longer = numbers((7, 3))
        if isinstance(layer, layers.Flatten):
            assert_programs_compute(model, longer)
            continue
        for target in (None, ENGINE, REFERENCE):
            with executor.lowering_to(target), pytest.raises(ValueError, match="must have"):
                model(longer)


def built(model, shape=SEQUENCE):
    model(numbers(shape))
    return model


# ---------------------------------------------------------------- masks


@fit
@pytest.mark.parametrize("keepdims", [False, True])
def test_the_mean_of_the_timesteps_that_a_mask_keeps(keepdims):
    model = model_of(layers.GlobalAveragePooling1D(keepdims=keepdims), (None, 3))
    mask = RNG.random((4, 5)) < 0.5
    mask[0] = False
    x = numbers(SEQUENCE)
    x[~mask] = np.nan
    assert_programs_compute(model, x, mask)


@fit
def test_masks_are_passed_on():
    normal = [layers.BatchNormalization(), layers.LayerNormalization(), layers.PReLU(shared_axes=[1]), layers.ELU(0.5)]
    data = [layers.Normalization(), layers.Rescaling(2.0), layers.UnitNormalization(), layers.LeakyReLU()]
    model = built(cyrnn.Sequential([*normal, *data, layers.SimpleRNN(2, return_sequences=True)]))
    mask = RNG.random((4, 5)) < 0.5
    assert_programs_compute(model, numbers(SEQUENCE), mask)
    model = cyrnn.Sequential([layers.Embedding(7, 3, mask_zero=True), *model.layers[:-1]])
    model(padded())
    assert_programs_compute(model, padded())


ARGUMENTS = {
    "Activation": ("tanh",),
    "AveragePooling1D": (2,),
    "Bidirectional": (layers.SimpleRNN(2, return_sequences=True),),
    "Dense": (2,),
    "Dot": (-1,),
    "Embedding": (7, 3),
    "GRU": (2,),
    "LSTM": (2,),
    "Permute": ((2, 1),),
    "RNN": (layers.SimpleRNNCell(2),),
    "Rescaling": (2.0,),
    "Reshape": ((3, 5),),
    "SimpleRNN": (2,),
    "TimeDistributed": (layers.Dense(2),),
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout"), (0.5,)),
}
LOWERED = [
    pytest.param(found, options, id=f"{name} {options}")
    for name in layers.__all__
    if hasattr(found := getattr(layers, name), "lower")
    and name not in ("RepeatVector", "Softmax")  # they take no sequences, and masks over elements
    for options in (
        [{"mask_zero": False}, {"mask_zero": True}]
        if name == "Embedding"
        else [{}, {"return_sequences": True}, {"return_state": True, "return_sequences": True}]
        if name in ("GRU", "LSTM", "RNN", "SimpleRNN")
        else [{}]
    )
]


@pytest.mark.filterwarnings("ignore:.*does not pass the mask on")
@pytest.mark.parametrize("cls, options", LOWERED)
def test_the_mask_that_each_layer_passes_on(cls, options):
    """`lower_mask` says what `compute_mask` does, also where a subclass has one of them alone."""
    x = numbers(SEQUENCE)
    x[RNG.random((4, 5)) < 0.5] = 0
    inputs = cyrnn.Input((None,), dtype="int32") if cls is layers.Embedding else cyrnn.Input(SEQUENCE)
    masked = inputs if cls is layers.Embedding else layers.Masking()(inputs)
    given = (x[:, :, 0] > 0).astype("int32") if cls is layers.Embedding else x
    several = not cls(*ARGUMENTS.get(cls.__name__, ()), **options).takes_one_input
    for beside in [masked, layers.Masking(0.5)(inputs), inputs] if several else [None]:
        layer = cls(*copy.deepcopy(ARGUMENTS.get(cls.__name__, ())), **options)
        model = cyrnn.Model(inputs, layer([masked, beside] if several else masked))
        assert divided(model, None).cuts == []
        assert_programs_compute(model, given)


def test_a_product_of_masked_inputs_has_no_mask():
    tokens = cyrnn.Input((4,), dtype="int32")
    words = layers.Embedding(7, 3, mask_zero=True)(tokens)
    after = [layers.SimpleRNN(2)(layers.Dot(axes=-1)([words, words]))]
    row = layers.Dot(axes=1)([words, words])
    after.append(layers.Concatenate()([row, layers.Rescaling(2.0)(row)]))
    for output in after:
        model = with_weights(cyrnn.Model(tokens, output))
        assert divided(model, None).cuts == []
        assert_programs_compute(model, np.array([[1, 2, 0, 0], [0, 0, 0, 0]]))


def test_a_mask_of_another_shape_raises():
    model = built(cyrnn.Sequential([layers.BatchNormalization()]))
    for target in (None, ENGINE):
        with executor.lowering_to(target), pytest.raises(ValueError, match="mask"):
            model(numbers(SEQUENCE), mask=np.ones((4, 6), bool))


@fit
@pytest.mark.parametrize(
    "layer",
    [
        layers.ZeroPadding1D(),
        layers.MaxPooling1D(),
        layers.GlobalMaxPooling1D(),
        layers.Flatten(),
        layers.Permute((2, 1)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_mask_that_ends_is_said(layer):
    model = built(cyrnn.Sequential([layer]))
    for target in (None, ENGINE):
        with executor.lowering_to(target), pytest.warns(UserWarning, match="does not pass the mask on"):
            assert model.call_and_mask(numbers(SEQUENCE), np.ones((4, 5), bool), False)[1] is None


# ---------------------------------------------------------------- weights and attributes


CHANGES = {
    "weights": (layers.BatchNormalization(), lambda layer: with_weights(layer)),
    "epsilon": (layers.BatchNormalization(), lambda layer: setattr(layer, "epsilon", 0.5)),
    "epsilon of a norm": (layers.LayerNormalization(), lambda layer: setattr(layer, "epsilon", 0.5)),
    "slopes": (layers.PReLU(), lambda layer: with_weights(layer)),
    "slope": (layers.LeakyReLU(), lambda layer: setattr(layer, "negative_slope", 0.5)),
    "scale": (layers.Rescaling(2.0), lambda layer: setattr(layer, "scale", 3.0)),
    "offset": (layers.Rescaling(2.0), lambda layer: setattr(layer, "offset", np.arange(3.0))),
    "data": (layers.Normalization(), lambda layer: layer.adapt(numbers(SEQUENCE))),
    "invert": (layers.Normalization(mean=1.0, variance=2.0), lambda layer: setattr(layer, "invert", True)),
    "size": (layers.UpSampling1D(2), lambda layer: setattr(layer, "size", 3)),
    "pool size": (layers.MaxPooling1D(2), lambda layer: setattr(layer, "pool_size", (3,))),
    "norm of weights": (layers.LayerNormalization(), lambda layer: layer.assign({"gamma": [1.0, 2.0, 3.0]})),
}


@fit
@pytest.mark.parametrize("name", CHANGES)
def test_programs_compute_with_what_is_assigned(name):
    layer, change = CHANGES[name]
    model, x = built(cyrnn.Sequential([layer])), numbers(SEQUENCE)
    with executor.lowering_to(ENGINE):
        before = model(x)
    change(layer)
    with executor.alone():
        expected = model(x)
    with executor.lowering_to(ENGINE):
        same(model(x), expected)
    assert expected.shape != before.shape or np.any(expected != before)
    again = pickle.loads(pickle.dumps(model))
    with executor.lowering_to(ENGINE):
        same(again(x), expected)


def test_arrays_of_a_layer_do_not_change_with_those_of_the_user():
    scale, mean = np.ones(3), np.zeros(3)
    layer = layers.Rescaling(scale, mean)
    scale[:], mean[:] = 5, 5
    assert layer(np.ones((1, 3), "f4")).tolist() == [[1, 1, 1]]
    assert layer.get_config()["scale"] == [1, 1, 1]
    for array in (layer.scale, layers.Normalization(mean=mean, variance=scale).input_mean):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 2


# ---------------------------------------------------------------- operations between layers


def operation(name, *args, **options):
    return operations.applied(name, *args, **options)


INDICES = {
    "last": (np.s_[:, -1], SEQUENCE, True),
    "first": (np.s_[:, 0], SEQUENCE, True),
    "third": (np.s_[:, 2], SEQUENCE, True),
    "third from the end": (np.s_[:, -3], SEQUENCE, True),
    "with more axes": (np.s_[:, -1], IMAGES, True),
    "all": (np.s_[:], SEQUENCE, True),
    "without the first": (np.s_[:, 1:], SEQUENCE, True),
    "without the last": (np.s_[:, :-1], SEQUENCE, True),
    "without both": (np.s_[:, 1:-2], SEQUENCE, True),
    "every other": (np.s_[:, ::2], SEQUENCE, True),
    "every other without ends": (np.s_[:, 1:-1:2], SEQUENCE, True),
    "the first three": (np.s_[:, :3], SEQUENCE, True),
    "from one to three": (np.s_[:, 1:3], SEQUENCE, True),
    "of the first four every third": (np.s_[:, :4:3], SEQUENCE, True),
    "the last three": (np.s_[:, -3:], SEQUENCE, True),
    "the three before the last": (np.s_[:, -4:-1], SEQUENCE, True),
    "backwards": (np.s_[:, ::-1], SEQUENCE, True),
    "every other backwards": (np.s_[:, ::-2], SEQUENCE, True),
    "columns": (np.s_[..., 1:], SEQUENCE, True),
    "columns of some": (np.s_[:, 1:, :2], SEQUENCE, True),
    "columns of the last": (np.s_[:, -1, 1:], SEQUENCE, True),
    "one column": (np.s_[..., 1], SEQUENCE, False),
    "one column of the last": (np.s_[:, -1, -1], SEQUENCE, True),
    "of rows": (np.s_[:, 2:5], ROW, True),
    "one of rows": (np.s_[:, -2], ROW, True),
    "new last axis": (np.s_[..., None], SEQUENCE, True),
    "new axis of rows": (np.s_[:, None], ROW, True),
    "new axis of the last": (np.s_[:, -1, None], SEQUENCE, True),
    "new axis of sequences": (np.s_[:, None], SEQUENCE, False),
}


@fit
@pytest.mark.parametrize("name", INDICES)
def test_indices(name):
    key, shape, any_length = INDICES[name]
    lengths = [shape] if not any_length or len(shape) == 1 else [shape, (None, *shape[1:])]
    for of in lengths:
        x = cyrnn.Input(of)
        selected = x[key]
        model = cyrnn.Model(x, [selected, layers.Rescaling(2.0)(selected)])
        assert divided(model, None).cuts == []
        assert_programs_compute(model, numbers(shape))
        if of[0] is None:
            assert_programs_compute(model, numbers((9, *shape[1:])))


def test_slices_of_shorter_sequences_are_left_to_numpy():
    for key in (np.s_[:, :3], np.s_[:, -3:], np.s_[:, -4:-1], np.s_[:, :3:2]):
        x = cyrnn.Input((None, 3))
        model = cyrnn.Model(x, x[key])
        for timesteps in (1, 2, 3, 4):
            assert_programs_compute(model, numbers((timesteps, 3)))
    x = cyrnn.Input((None, 3))
    model = cyrnn.Model(x, x[:, 2])
    for target in (None, ENGINE):
        with executor.lowering_to(target), pytest.raises(IndexError):
            model(numbers((2, 3)))


def test_a_slice_that_is_empty_is_left_to_numpy():
    x = cyrnn.Input((None, 3))
    assert_programs_compute(cyrnn.Model(x, x[:, 2:-2]), numbers((4, 3)))


OPERATIONS = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "product": lambda x, y: x * y,
    "quotient": lambda x, y: x / y,
    "maximum": lambda x, y: operation("Maximum", x, y),
    "minimum": lambda x, y: operation("Minimum", x, y),
    "broadcast": lambda x, y: x * y[..., :1],
    "plus a number": lambda x, y: x + 2,
    "a number minus": lambda x, y: 1.5 - x,
    "minus a number": lambda x, y: x - 1.5,
    "times a number": lambda x, y: 3 * x,
    "divided by a number": lambda x, y: x / 3,
    "not below 0": lambda x, y: operation("Maximum", x, 0),
    "negative": lambda x, y: -x,
    "square": lambda x, y: operation("Square", x),
    "tanh": lambda x, y: operation("Tanh", x),
    "exponential": lambda x, y: operation("Exp", x),
    "mean": lambda x, y: operation("Mean", x, axis=1),
    "sum of timesteps": lambda x, y: operation("Sum", x, axis=-2, keepdims=True),
    "largest": lambda x, y: operation("Max", x, axis=1),
    "flipped": lambda x, y: operation("Flip", x, axis=1),
    "concatenated": lambda x, y: operation("Concatenate", [x, y], axis=-1),
    "new axis": lambda x, y: operation("ExpandDims", x, axis=-1),
    "axis gone": lambda x, y: operation("Squeeze", operation("ExpandDims", x, axis=2), axis=2),
}
OF_KNOWN_LENGTH = {
    "concatenated in time": lambda x, y: operation("Concatenate", [x, y], axis=1),
    "transposed": lambda x, y: operation("Transpose", x, axes=(0, 2, 1)),
    "new first axis": lambda x, y: operation("ExpandDims", x, axis=1),
    "first axis gone": lambda x, y: operation("Squeeze", operation("ExpandDims", x, axis=1), axis=1),
}


@fit
@pytest.mark.parametrize("timesteps", [None, 5])
@pytest.mark.parametrize("name", [*OPERATIONS, *OF_KNOWN_LENGTH])
def test_operations(name, timesteps):
    if timesteps is None and name in OF_KNOWN_LENGTH:
        timesteps = 5
    x, y = cyrnn.Input((timesteps, 3)), cyrnn.Input((timesteps, 3))
    result = (OPERATIONS | OF_KNOWN_LENGTH)[name](x, y)
    model = cyrnn.Model([x, y], [result, layers.Rescaling(2.0)(result)])
    assert divided(model, None).cuts == []
    assert_programs_compute(model, [numbers(SEQUENCE), numbers(SEQUENCE)])


NO_OPERATIONS = {
    "one number for all": lambda x: x / operation("Max", x),
    "of the features": lambda x: operation("Mean", x, axis=-1),
    "a power": lambda x: operation("Sqrt", operation("Square", x)),
    "rows of a batch": lambda x: x[1:],
    "a step over columns": lambda x: x[..., ::2],
    "the first of the last": lambda x: x[:, -3::2],
    "with an array": lambda x: x + np.ones(3, "f4"),
    "other batches": lambda x: operation("Transpose", x, axes=(1, 0, 2)),
    "in another dtype": lambda x: operation("Cast", x, dtype="float64") * 2.0,
    "stacked": lambda x: operation("Stack", [x, x], axis=1),
    "compared": lambda x: operation("Cast", operation("Greater", x, 0), dtype="float32"),
}


@pytest.mark.parametrize("name", NO_OPERATIONS)
def test_operations_that_are_no_ops(name):
    x = cyrnn.Input(SEQUENCE)
    model = cyrnn.Model(x, layers.Dense(2)(NO_OPERATIONS[name](layers.Rescaling(1.0)(x))))
    assert divided(model, None).cuts
    assert_programs_compute(with_weights(model), numbers(SEQUENCE))


@pytest.mark.parametrize("axes", [31, 32, 33, 60])
def test_arrays_of_more_axes_than_programs_have_are_computed_by_python(axes):
    model = cyrnn.Sequential([cyrnn.Input((4,)), layers.Dense(4), layers.Reshape((*[1] * (axes - 2), 4))])
    x = RNG.standard_normal((2, 4)).astype("f4")
    expected = model.layers[0](x)
    for _ in range(3):
        found = model(x)
        assert found.ndim == axes
        np.testing.assert_array_equal(found.reshape(2, 4), expected)
    assert (divided(model, None).cuts == []) == (axes <= 32)
