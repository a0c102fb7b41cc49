"""Rules of what goes by name: activations of all kinds of numbers, initializers, regularizers, constraints, losses."""

import numpy as np
import pytest
from golden.make_keras_objects import error_of
from parity.rules import UNITS, X, both, made
from parity.twins import ACTIVATIONS, NOT_FOR_A_CELL, assert_same, keras, twins

import cyrnn

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # in Keras, as the next
    pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*softmax over axis.*:UserWarning"),
]
DTYPES = ["float32", "float64"]
NAN, INF = np.nan, np.inf
ROWWISE = ("softmax", "log_softmax", "sparsemax")

# ---------------------------------------------------------------- activations


def numbers(dtype):
    """Of all magnitudes and signs, where functions bend or overflow, and what is no number."""
    limits = np.finfo(dtype)
    special = [0.0, -0.0, NAN, INF, -INF, *(s * v for s in (1, -1) for v in (limits.max, limits.tiny, limits.eps))]
    special += [s * v for s in (1, -1) for v in (limits.smallest_subnormal, limits.tiny / 8)]
    exponents = [87, 88, 89, 103.5, 104, 709, 710, 745, 746]
    large = np.geomspace(1e-30, 1e18, 49)
    steps = np.linspace(-12, 12, 241)
    return np.concatenate([special, exponents, np.negative(exponents), large, -large, steps]).astype(dtype)[:, None]


def rows(dtype):
    """Of three units."""
    largest = np.finfo(dtype).max
    fixed = [[1, 2, 3], [0, 0, 0], [1, 1, 0.5], [-200, 0, 200], [88, 89, 90], [1000, -1000, 0], [1e-40, 0, 0]]
    fixed += [[-1e30, 1, 1], [1e30, 1, 0], [largest, 1, 2], [largest] * 3, [-largest] * 3]
    return np.concatenate([np.array(fixed, dtype), np.random.default_rng(0).normal(0, 3, (40, 3)).astype(dtype)])


OVERFLOW = {"gelu": 1e37, "squareplus": 12}  # Keras' formulas lose digits, and overflow, beyond that


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_all_kinds_of_numbers(name, dtype):
    """Also NaN and infinity, subnormal and the largest numbers."""
    x = rows(dtype) if name in ROWWISE else numbers(dtype)
    x = x[~(np.isfinite(x) & (np.abs(x) > OVERFLOW.get(name, INF)))][:, None] if name in OVERFLOW else x
    assert_same(getattr(cyrnn.activations, name)(x), np.asarray(getattr(keras.activations, name)(x)).astype(dtype))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("row", [[NAN, 1, 2], [INF, 1, 2], [-INF, 1, 2], [INF, INF, 0], [-INF] * 3, [INF, -INF, 0]])
def test_rows_with_what_is_no_number(name, row):
    x = np.array([row, [1, 2, 3]], "float32")
    assert_same(getattr(cyrnn.activations, name)(x), np.asarray(getattr(keras.activations, name)(x)))


@pytest.mark.parametrize("row", [[NAN, 1, 2], [INF, 1, 2], [INF, INF, 0], [INF, -INF, 0]])
def test_sparsemax_of_what_is_no_number_is_nan(row):
    """Keras gives infinities, or probabilities from a row that holds NaN."""
    assert np.isnan(cyrnn.activations.sparsemax(np.array([row], "float32"))).all()
    assert not np.isnan(np.asarray(keras.activations.sparsemax(np.array([row], "float32")))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_and_squareplus_do_not_overflow(dtype):
    """Keras' formulas do."""
    largest = np.finfo(dtype).max
    x = np.array([[-largest, largest]], dtype)
    for name in ("gelu", "squareplus"):
        np.testing.assert_array_equal(getattr(cyrnn.activations, name)(x), [[0, largest]])
        assert np.isinf(np.asarray(getattr(keras.activations, name)(x))[0, 1])


def test_squareplus_keeps_its_digits_far_below_zero():
    """It nears -1 / x there; Keras subtracts two large numbers from each other."""
    x = np.array([[-1e7, -1e9]])
    np.testing.assert_allclose(cyrnn.activations.squareplus(x), -1 / x, rtol=1e-12)
    assert not np.allclose(np.asarray(keras.activations.squareplus(x)), -1 / x, rtol=1e-3, atol=0)


@pytest.mark.parametrize("alias", [("swish", "silu"), ("hard_swish", "hard_silu")])
def test_the_two_aliases(alias):
    for module in (cyrnn, keras):
        first, second = (module.activations.get(name) for name in alias)
        assert first is second
        assert module.activations.serialize(first) == alias[1]


@pytest.mark.parametrize("name", NOT_FOR_A_CELL)
def test_activations_that_no_cell_can_use_are_refused_at_once(name):
    """Keras finds them by name, and fails in the first step."""
    cell = keras.layers.SimpleRNNCell(UNITS, activation=name)
    with pytest.raises((ValueError, TypeError)):
        cell(X[:, 0], np.zeros((2, UNITS), "float32"))
    with pytest.raises(ValueError, match=name):
        cyrnn.layers.SimpleRNNCell(UNITS, activation=name)


@pytest.mark.parametrize("identifier", ["Tanh", "TANH", "", "relu ", "keras.activations.relu", "get", 3, True, [1], {}])
def test_names_are_matched_exactly(identifier):
    ours, theirs = both(lambda m: error_of(m.activations.get, identifier))
    assert ours == theirs == "ValueError"


def halved(x):
    return x / 2


@pytest.mark.parametrize("name", [*ACTIVATIONS, "swish", "hard_swish", None, halved, "envelope of tanh", "layer"])
def test_get_serialize_deserialize_of_an_activation(name):
    """A name for a built-in, an envelope for a function of one's own; and there and back again."""
    x = np.array([[-1.5, 0.5, 2.0]], "float32")
    envelope = {"module": "builtins", "class_name": "function", "config": "tanh", "registered_name": "function"}
    results = []
    for module in (cyrnn, keras):
        given = module.layers.Activation("relu", name="a") if name == "layer" else name
        function = module.activations.get(envelope if name == "envelope of tanh" else given)
        written = module.activations.serialize(function)
        if name == "layer":  # `deserialize` knows functions alone in Keras
            again = module.activations.get(written)
        else:
            again = module.activations.deserialize(written, custom_objects={"halved": halved})
        results.append((written, *(np.asarray(f(x)).astype("float32") for f in (function, again))))
    assert results[0][0] == results[1][0]
    assert_same(results[0][1:], results[1][1:])


def test_deserialize_of_none_is_none():
    for module in (cyrnn, keras):
        for namespace in ("activations", "initializers", "regularizers", "constraints"):
            assert getattr(module, namespace).deserialize(None) is None


def test_a_built_in_name_in_custom_objects_comes_first():
    for module in (cyrnn, keras):
        assert module.activations.deserialize("tanh", custom_objects={"tanh": halved}) is halved


# ---------------------------------------------------------------- initializers

SCALED = ["GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal"]
DRAWN = [*SCALED, "RandomNormal", "RandomUniform", "TruncatedNormal", "Orthogonal"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCALED)
def test_fans_of_any_number_of_axes(name, dtype):
    """(fan_in, fan_out) of two; of one axis both are its size, of none 1."""
    for shape in [(), (1,), (6,), (0,), (4, 9), (9, 4), (0, 3), (2, 3, 4), (2, 2, 3, 4)]:
        for seed in (0, 3):
            ours, theirs = both(lambda m, seed=seed, shape=shape: getattr(m.initializers, name)(seed)(shape, dtype))
            assert_same(ours, np.asarray(theirs), tolerance=0)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "untruncated_normal", "uniform"])
def test_variance_scaling(mode, distribution):
    for scale, shape in [(0.1, (3, 8)), (1.0, (8, 3)), (7, (5,)), (2.5, ())]:
        options = {"scale": scale, "mode": mode, "distribution": distribution, "seed": 4}
        ours, theirs = both(lambda m, o=options, shape=shape: m.initializers.VarianceScaling(**o)(shape))
        assert_same(ours, np.asarray(theirs), tolerance=0)


@pytest.mark.parametrize("seed", [None, 0, 9, True, "generator"])
@pytest.mark.parametrize("name", DRAWN)
def test_the_same_instance_gives_the_same_values_unless_it_has_a_seed_generator(name, seed):
    for module in (cyrnn, keras):
        given = module.random.SeedGenerator(3) if seed == "generator" else seed
        initializer = getattr(module.initializers, name)(seed=given)
        first, second = (np.asarray(initializer((4, 5))) for _ in range(2))
        assert np.array_equal(first, second) is (seed != "generator")


@pytest.mark.parametrize("gain", [1.0, -0.5, 0, 3])
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (0, 3)])
def test_identity(shape, gain):
    ours, theirs = both(lambda m: m.initializers.Identity(gain)(shape))
    assert_same(ours, np.asarray(theirs).astype("float32"), tolerance=0)


# ---------------------------------------------------------------- regularizers and constraints

WEIGHTS = {
    "a matrix": np.random.default_rng(3).normal(0, 2, (4, 3)),
    "a square": np.random.default_rng(4).normal(0, 0.2, (3, 3)),
    "a bias": np.random.default_rng(5).normal(0, 2, 5),
    "three axes": np.random.default_rng(6).normal(0, 2, (2, 3, 4)),
    "zeros": np.zeros((3, 3)),
    "NaN": np.array([[NAN, 1.0], [2.0, 3.0]]),
    "infinity": np.array([[INF, 1.0], [2.0, -INF]]),
    "no rows": np.zeros((0, 3)),
}


def same_outcome(run, dtype, weight):
    """Both give the same array, or the same exception."""
    w = WEIGHTS[weight].astype(dtype)
    arguments = {cyrnn: w, keras: keras.Variable(w, dtype=dtype)}
    errors = [error_of(lambda m=m: run(m)(arguments[m])) for m in (cyrnn, keras)]
    assert errors[0] == errors[1]
    if errors[0] is None:
        ours, theirs = (np.asarray(run(m)(arguments[m])) for m in (cyrnn, keras))
        assert_same(ours, theirs.astype(dtype), tolerance={"float32": 2e-6, "float64": 2e-7}[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[("L1", o) for o in ({}, {"l1": 0.3}, {"l1": 0})],
        *[("L2", o) for o in ({}, {"l2": 0.3}, {"l2": None})],
        *[("L1L2", o) for o in ({}, {"l1": 0.1, "l2": 0.2}, {"l1": 0.1}, {"l2": 0.1})],
        *[("OrthogonalRegularizer", o) for o in ({}, {"mode": "columns", "factor": 0.5})],
    ],
    ids=str,
)
def test_penalties(name, options, weight, dtype):
    """Keras works with factors rounded to float32, so float64 agrees to seven digits."""
    same_outcome(lambda m: getattr(m.regularizers, name)(**options), dtype, weight)


FACTORS = [
    -1,
    -1e-9,
    NAN,
    INF,
    "a",
    [1],
    1j,
    True,
    1,
    0,
    -0.0,
    np.float32(1),
    np.float64(1),
    np.int64(1),
    np.array(1.0),
]


@pytest.mark.parametrize("factor", FACTORS, ids=repr)
@pytest.mark.parametrize(("name", "argument"), [("L1", "l1"), ("L2", "l2"), ("L1L2", "l1"), ("L1L2", "l2")])
def test_factors_are_finite_numbers_that_are_not_negative(name, argument, factor):
    ours, theirs = both(lambda m: error_of(getattr(m.regularizers, name), **{argument: factor}))
    assert ours == theirs


def test_the_name_l1l2_is_a_penalty_of_nothing_and_l1_l2_is_no_name():
    for module in (cyrnn, keras):
        assert float(module.regularizers.get("l1l2")(np.ones((2, 2), "float32"))) == 0
        assert error_of(module.regularizers.get, "l1_l2") == "ValueError"
        assert module.regularizers.l1_l2 is module.regularizers.L1L2


CONSTRAINTS = [
    *[("MaxNorm", o) for o in ({}, {"max_value": 0.5}, {"max_value": 0}, {"max_value": -1})],
    ("UnitNorm", {}),
    *[("MinMaxNorm", o) for o in ({}, {"min_value": 0.3, "max_value": 0.5, "rate": 0.3}, {"min_value": 2})],
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize(("name", "options"), CONSTRAINTS, ids=str)
def test_constraints_along_any_axes(name, options, weight, dtype):
    """Axis 0 of a bias is all of it. An axis that the weight does not have is refused alike."""
    for axis in (0, 1, -1, 2, -3, None, [0, 1], (0,), [0, 0]):
        same_outcome(lambda m, axis=axis: getattr(m.constraints, name)(**options, axis=axis), dtype, weight)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_non_neg(weight, dtype):
    same_outcome(lambda m: m.constraints.NonNeg(), dtype, weight)


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "SimpleRNN"])
def test_constraints_are_not_applied_by_build_or_set_weights(class_name):
    def make(module):
        options = {f"{weight}_constraint": "unit_norm" for weight in ("kernel", "recurrent", "bias")}
        options |= {f"{weight}_initializer": "ones" for weight in ("kernel", "recurrent", "bias")}
        return made(module, class_name, **options)

    ours, theirs = twins(make, X.shape if class_name == "SimpleRNN" else X[0].shape, np.random.default_rng(1), scale=5)
    assert_same(ours.get_weights(), [w.astype("float32") for w in theirs.get_weights()], tolerance=0)
    assert abs(ours.get_weights()[0]).max() > 1
    fresh = both(
        lambda m: m.layers.SimpleRNN(3, kernel_constraint="non_neg", kernel_initializer=m.initializers.HeNormal(1))
    )
    for layer in fresh:
        layer(X)
        assert (np.asarray(layer.get_weights()[0]) < 0).any()


# ---------------------------------------------------------------- losses

PENALIZED = {"kernel_regularizer": "l2", "recurrent_regularizer": "l1", "bias_regularizer": "l2"}


def test_losses_are_computed_when_they_are_read():
    ours, theirs = twins(lambda m: made(m, "SimpleRNN", **PENALIZED), X.shape, np.random.default_rng(1))
    weights = ours.get_weights()
    for scale in (1, 2, 0):
        for layer in (ours, theirs):
            layer.set_weights([scale * w for w in weights])
        assert_same(list(ours.losses), [np.asarray(loss) for loss in theirs.losses])
        assert len(ours.losses) == 3


def test_a_frozen_layer_or_cell_has_no_losses_and_they_come_back():
    counts = []
    for layer in twins(lambda m: made(m, "SimpleRNN", **PENALIZED), X.shape, np.random.default_rng(1)):
        seen = [len(layer.losses)]
        for part, trainable in ((layer, False), (layer, True), (layer.cell, False), (layer.cell, True)):
            part.trainable = trainable
            seen.append((len(layer.losses), len(layer.trainable_weights), layer.trainable))
        counts.append(seen)
    assert counts[0] == counts[1]
    assert counts[0][0] == 3 and counts[0][1][0] == counts[0][3][0] == 0


def test_an_unbuilt_layer_has_no_losses():
    for layer in both(lambda m: m.layers.SimpleRNN(3, **PENALIZED)):
        assert layer.losses == []
