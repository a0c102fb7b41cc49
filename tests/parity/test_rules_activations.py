"""Rules of the parameters of activations."""

import inspect

import numpy as np
import pytest
from golden.make_keras_objects import error_of
from parity.rules import UNITS, both
from parity.twins import ACTIVATIONS, NOT_FOR_A_CELL, assert_same, keras

import cyrnn

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # in Keras, as the next
    pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*softmax over axis.*:UserWarning"),
]
DTYPES = ["float16", "float32", "float64"]
NAN, INF = np.nan, np.inf
PARAMETERS = {
    "relu": [
        {"negative_slope": 0.1}, {"negative_slope": -0.5}, {"negative_slope": 1}, {"max_value": 6}, {"max_value": 2.5},
        {"max_value": 0}, {"max_value": -1.0}, {"max_value": INF}, {"threshold": 1.5}, {"threshold": -1.5},
        {"threshold": 0.1}, {"negative_slope": 0.3, "max_value": 3.0}, {"negative_slope": 0.25, "threshold": 0.5},
        {"negative_slope": 3, "threshold": -2}, {"max_value": 6, "threshold": 1},
        {"negative_slope": 0.125, "max_value": 3, "threshold": 0.7},
    ],
    "leaky_relu": [{"negative_slope": slope} for slope in (0.01, 1, -0.3)],
    "elu": [{"alpha": alpha} for alpha in (0.3, 2, 0, -1.5)],
    "celu": [{"alpha": alpha} for alpha in (0.3, 2, 50, -1.5)],
    "gelu": [{"approximate": True}, {"approximate": 1}],
    "hard_shrink": [{"threshold": threshold} for threshold in (0, 0.1, 3, -1, INF)],
    "soft_shrink": [{"threshold": threshold} for threshold in (0, 0.1, 3, -1, INF)],
    "squareplus": [{"b": b} for b in (0, 0.5, 1, 30)],
    "threshold": [{"threshold": t, "default_value": v} for t, v in ((0, 0), (0.1, -7), (-2, NAN), (INF, 0.3))],
}  # fmt: skip
CASES = [(name, parameters) for name, several in PARAMETERS.items() for parameters in several]


def numbers(dtype, largest=INF):
    """Of all magnitudes and signs, and what is no number; with some on the thresholds above."""
    limits = np.finfo(dtype)
    special = [0, 0.1, 0.5, 0.7, 1, 1.5, 2, 2.5, 3, 6, 6.1, 88, 89, 104, 710, limits.max, limits.tiny, limits.eps]
    special += [limits.smallest_subnormal, *np.geomspace(1e-7, min(1e18, limits.max / 2), 40), *np.linspace(0, 12, 99)]
    x = np.concatenate([special, np.negative(special), [NAN, INF, -INF]]).astype(dtype)
    return x[~(np.isfinite(x) & (np.abs(x) > largest))].reshape(-1, 1)


def rounded(value, dtype):
    """A parameter, as it is in float16; the others round by themselves."""
    return value if dtype != "float16" or isinstance(value, (bool, int)) else float(np.float16(value))


def assert_as_in_keras(name, x, parameters, dtype):
    """Keras computes in float16 where the input is: with few digits, and overflow. So it is asked in float32."""
    theirs = {key: rounded(value, dtype) if key != "axis" else value for key, value in parameters.items()}
    wide = x.astype("float32") if dtype == "float16" else x
    truth = np.asarray(getattr(keras.activations, name)(wide, **theirs)).astype(dtype)
    assert_same(getattr(cyrnn.activations, name)(x, **parameters), truth, 1e-3 if dtype == "float16" else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_parameters(name, parameters, dtype):
    largest = 12 if name == "squareplus" else INF  # Keras' formula loses digits, and overflows, beyond that
    assert_as_in_keras(name, numbers(dtype, largest), parameters, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3, None, (0, 1), (2, 0), (1, 2), (0, 1, 2), (1,)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
def test_axes(name, axis, dtype):
    if name == "sparsemax" and not isinstance(axis, int):
        axis = 0
    x = np.random.default_rng(0).normal(0, 3, (3, 2, 5)).astype(dtype)
    assert_as_in_keras(name, x, {"axis": axis}, dtype)
    assert_as_in_keras(name, x.transpose(2, 0, 1)[::-1], {"axis": axis}, dtype)
    if name != "sparsemax":  # there Keras gives infinities
        x[0, 1, 2], x[1, 0, 0], x[2, 1, 3] = -INF, NAN, np.finfo(dtype).max
        assert_as_in_keras(name, x, {"axis": axis}, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_glu(axis, dtype):
    x = np.random.default_rng(0).normal(0, 3, (4, 2, 6)).astype(dtype)
    x[0, 1, 2], x[1, 0, 0], x[3, 1, 4], x[2, 0, 1] = -INF, NAN, np.finfo(dtype).max, -np.finfo(dtype).max
    assert_as_in_keras("glu", x, {"axis": axis}, dtype)


@pytest.mark.parametrize("name", [*sorted(set(PARAMETERS) - {"threshold"}), "softmax", "log_softmax", "sparsemax"])
def test_the_usual_parameters_change_no_bit(name):
    function, x = getattr(cyrnn.activations, name), np.random.default_rng(0).normal(0, 3, (5, 7)).astype("float32")
    usual = {
        key: parameter.default
        for key, parameter in inspect.signature(getattr(keras.activations, name)).parameters.items()
        if key != "x"
    }
    np.testing.assert_array_equal(function(x, **usual), function(x))
    np.testing.assert_array_equal(function(x, *usual.values()), function(x))


@pytest.mark.parametrize("name", [*ACTIVATIONS, *NOT_FOR_A_CELL])
def test_names_order_and_defaults_of_the_parameters(name):
    ours, theirs = both(lambda m: inspect.signature(getattr(m.activations, name)))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in theirs.parameters.values()
    ]
    assert error_of(getattr(cyrnn.activations, name), np.ones((2, 2)), nonsense=1) == "TypeError"
    assert error_of(getattr(keras.activations, name), np.ones((2, 2)), nonsense=1) == "TypeError"


def test_parameters_by_position():
    x = numbers("float32")
    for arguments in [(0.3,), (0.3, 2.0), (0.3, 2.0, 0.5), (0.0, None, 0.5)]:
        ours, theirs = both(lambda m, a=arguments: np.asarray(m.activations.relu(x, *a)))
        assert_same(ours, theirs)
    ours, theirs = both(lambda m: np.asarray(m.activations.threshold(x, 0.5, -1.0)))
    assert_same(ours, theirs)


def test_slopes_over_one_are_below_zero_only():
    """As on TensorFlow. Keras' NumPy backend takes the larger of x and slope * x."""
    x = np.array([[-2, -0.5, 0, 0.5, 2]], "float32")
    for name in ("relu", "leaky_relu"):
        ours, theirs = both(lambda m, name=name: np.asarray(getattr(m.activations, name)(x, negative_slope=3)))
        np.testing.assert_array_equal(ours, [[-6, -1.5, 0, 0.5, 2]])
        np.testing.assert_array_equal(theirs, [[-2, -0.5, 0, 1.5, 6]])


def test_infinity_stays_with_a_slope_of_zero():
    """As on TensorFlow; Keras' NumPy backend multiplies it by 0."""
    x = np.array([[INF, 2, -2]], "float32")
    np.testing.assert_array_equal(cyrnn.activations.leaky_relu(x, negative_slope=0), [[INF, 2, 0]])
    assert np.isnan(np.asarray(keras.activations.leaky_relu(x, negative_slope=0))[0, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squareplus_neither_overflows_nor_loses_digits(dtype):
    largest = np.finfo(dtype).max
    x = np.array([[-largest, largest, -1e6, 1e6]], dtype)
    for b in (0.5, 30):
        truth = np.array([[0, largest, b / 4e6, 1e6 + b / 4e6]])
        np.testing.assert_allclose(cyrnn.activations.squareplus(x, b=b), truth, rtol=1e-6)


@pytest.mark.parametrize("b", [-1, -4.0])
def test_squareplus_of_a_negative_b(b):
    """NaN between the roots of x^2 + b."""
    x = np.linspace(-6, 6, 49)
    ours, theirs = both(lambda m: np.asarray(m.activations.squareplus(x, b=b)))
    assert np.isnan(ours).any()
    assert_same(ours, theirs.astype("float64"), 1e-7)


def test_gelu_approximate_keeps_its_digits_below_zero():
    """Keras adds a number near -1 to 1."""
    x = np.array([[-4.0, -5.0]], "float32")
    truth = np.asarray(keras.activations.gelu(x.astype("float64"), approximate=True))
    np.testing.assert_allclose(cyrnn.activations.gelu(x, approximate=True), truth, rtol=3e-6)


@pytest.mark.parametrize("name", NOT_FOR_A_CELL)
def test_functions_that_no_layer_can_use_are_refused_in_all_forms(name):
    function = getattr(cyrnn.activations, name)
    envelope = {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
    for form in (name, function, envelope):
        with pytest.raises(ValueError, match=name):
            cyrnn.activations.get(form)
        for make in (cyrnn.layers.SimpleRNN, cyrnn.layers.SimpleRNNCell, cyrnn.layers.Dense):
            with pytest.raises(ValueError, match=name):
                make(UNITS, activation=form)
        with pytest.raises(ValueError, match=name):
            cyrnn.layers.Activation(form)
    assert cyrnn.activations.deserialize(envelope, {name: np.tanh}) is np.tanh
