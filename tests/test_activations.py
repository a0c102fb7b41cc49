"""Activations: accuracy against the float64 truth, limits, positions, and Keras' names."""

import copy
import inspect
import math
import pickle
import warnings

import numpy as np
import pytest
from helpers import ISAS, errors, samples
from reference import ACTIVATIONS as TRUTH

from cyrnn import activations
from cyrnn.engine import plan

ROWWISE = ("softmax", "log_softmax", "sparsemax")


def activate(name, x, isa=None, bias=None):
    z = np.array(x, order="C")
    plan.activate(name, z.reshape(-1, z.shape[-1]), bias, isa)
    return z


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", sorted(set(TRUTH) - set(ROWWISE)))
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 4), ("float64", 8)])
def test_elementwise_accuracy(name, dtype, bound, isa):
    x = samples(dtype)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        truth = TRUTH[name](x.astype("f8"))
        actual = activate(name, x, isa)
        finite = np.isfinite(truth.astype(dtype))
        assert errors(actual, truth)[finite].max() <= bound
        np.testing.assert_array_equal(actual[~finite], truth.astype(dtype)[~finite])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 2, 7, 16, 65, 300])
def test_rowwise_accuracy(name, units, dtype, isa):
    rng = np.random.default_rng(units)
    x = (rng.standard_normal((40, units)) * rng.choice([0.01, 1, 30], (40, 1))).astype(dtype)
    truth = TRUTH[name](x.astype("f8"))
    tolerance = {"float32": 4e-7, "float64": 2e-15}[dtype]
    np.testing.assert_allclose(activate(name, x, isa), truth, rtol=tolerance * 2, atol=tolerance)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", sorted(TRUTH))
def test_nan_goes_through(name, isa):
    x = np.array([[0.5, np.nan, -0.5] + [1.0] * 20], "f4")
    y = activate(name, x, isa)[0]
    if name in ("hard_shrink", "soft_shrink"):  # Keras selects by comparison there: NaN is not beyond the threshold
        assert y[1] == 0
        return
    assert np.isnan(y[1])
    assert np.isnan(np.delete(y, 1)).all() if name in ROWWISE else not np.isnan(np.delete(y, 1)).any()


INF = np.inf
LIMITS = {  # at -inf and at +inf, as Keras' TensorFlow backend evaluates the formula
    "celu": (-1, INF), "elu": (-1, INF), "exponential": (0, INF), "hard_shrink": (-INF, INF), "hard_sigmoid": (0, 1),
    "hard_tanh": (-1, 1), "leaky_relu": (-INF, INF), "linear": (-INF, INF), "log_sigmoid": (-INF, 0), "relu": (0, INF),
    "relu6": (0, 6), "selu": (-1.7580993, INF), "sigmoid": (0, 1), "soft_shrink": (-INF, INF), "softplus": (0, INF),
    "sparse_plus": (0, INF), "sparse_sigmoid": (0, 1), "tanh": (-1, 1), "tanh_shrink": (-INF, INF),
}  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(LIMITS))
def test_limits(name, dtype, isa):
    y = activate(name, np.array([[-INF, INF]], dtype), isa)
    np.testing.assert_allclose(y, [LIMITS[name]], rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["celu", "elu", "gelu", "hard_tanh", "leaky_relu", "mish", "selu", "silu", "softsign", "tanh"]
)
def test_zero_keeps_its_sign(name, dtype, isa):
    y = activate(name, np.array([[0.0, -0.0]], dtype), isa)
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(np.signbit(y), [[False, True]])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(set(TRUTH) - set(ROWWISE)))
def test_an_element_has_the_same_bits_wherever_it_stands(name, dtype, isa):
    x = np.random.default_rng(1).normal(0, 3, 70).astype(dtype)
    alone = np.concatenate([activate(name, x[i : i + 1][None], isa)[0] for i in range(70)])
    for units in (1, 2, 5, 7, 10, 14, 35, 70):
        np.testing.assert_array_equal(activate(name, x.reshape(-1, units), isa).ravel(), alone)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", sorted(TRUTH))
def test_the_bias_is_added_first(name, isa):
    rng = np.random.default_rng(2)
    x, bias = rng.standard_normal((5, 21)).astype("f4"), rng.standard_normal(21).astype("f4")
    np.testing.assert_array_equal(activate(name, x, isa, bias), activate(name, x + bias, isa))


def test_the_functions_of_the_namespace():
    x = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    for name, truth in TRUTH.items():
        y = getattr(activations, name)(x)
        assert y.dtype == np.float64 and y.shape == x.shape
        np.testing.assert_allclose(y, truth(x), rtol=1e-13, atol=1e-15)
    assert activations.tanh(np.arange(3)).dtype == np.float32  # as Keras takes integers
    assert activations.relu(np.float16([-1, 2])).dtype == np.float16
    assert activations.tanh(0.5).shape == ()


def test_names():
    assert activations.get(None) is activations.get("linear")
    assert activations.get("swish") is activations.get("silu")
    assert activations.get("hard_swish") is activations.get("hard_silu")
    assert activations.serialize(activations.get("swish")) == "silu"
    assert activations.get(np.tanh) is np.tanh
    keras_names = set(TRUTH) - {"hard_sigmoid_keras2"}
    assert {activations.get(name).name for name in keras_names} == keras_names


@pytest.mark.parametrize(
    ("name", "z", "words"),
    [
        ("tanh", np.zeros(3, "f4"), "rows, units"),
        ("tanh", np.zeros((), "f4"), "rows, units"),
        ("tanhh", np.zeros((1, 1), "f4"), "tanhh"),
        ("tanh", np.zeros((1, 1), "i4"), "z must be"),
        ("tanh", np.zeros((4, 4), "f4")[:, ::2], "C-contiguous"),
    ],
)
def test_wrong_arrays_are_refused(name, z, words):
    with pytest.raises(ValueError, match=words):
        plan.activate(name, z)


def test_empty_arrays_and_what_is_not_a_number():
    assert activations.tanh(np.zeros((3, 0))).shape == (3, 0)
    for wrong in (None, np.zeros(2, complex), "a"):
        with pytest.raises(TypeError, match="real numbers"):
            activations.tanh(wrong)


# ---------------------------------------------------------------- parameters

PARAMETERS = {  # name: the parameters, the formula
    "relu": ({"negative_slope": 0.1, "max_value": 2, "threshold": 0.5},
             lambda x: min(x, 2) if x > 0.5 else 0.1 * (x - 0.5)),
    "leaky_relu": ({"negative_slope": 3}, lambda x: x if x > 0 else 3 * x),
    "elu": ({"alpha": 0.3}, lambda x: x if x > 0 else 0.3 * math.expm1(x)),
    "celu": ({"alpha": 0.3}, lambda x: x if x > 0 else 0.3 * math.expm1(x / 0.3)),
    "gelu": ({"approximate": True},
             lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "hard_shrink": ({"threshold": 1}, lambda x: x if abs(x) > 1 else 0.0),
    "soft_shrink": ({"threshold": 1}, lambda x: math.copysign(max(abs(x) - 1, 0.0), x)),
    "squareplus": ({"b": 0.3}, lambda x: (x + math.sqrt(x * x + 0.3)) / 2),
    "threshold": ({"threshold": 1, "default_value": -2}, lambda x: x if x > 1 else -2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    parameters, formula = PARAMETERS[name]
    function, x = getattr(activations, name), np.linspace(-3, 3, 120).reshape(2, 3, 20)
    kept = x.copy()
    y = function(x, **parameters)
    np.testing.assert_allclose(y, np.vectorize(formula)(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(function(x, *parameters.values()), y)
    for dtype in ("float16", "float32", "int64"):
        one = {key: np.float64(value) for key, value in parameters.items()}  # does not make the result wider
        y = function(x.astype(dtype), **one)
        assert y.dtype == ("float32" if dtype == "int64" else dtype) and y.flags.c_contiguous
        truth = np.vectorize(formula)(x.astype(dtype).astype("f8"))
        np.testing.assert_allclose(y, truth, rtol=0, atol=4e-3 if dtype == "float16" else 2e-6)
    assert function(1.5, **parameters).shape == () and function(np.zeros((3, 0)), **parameters).shape == (3, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(np.array([np.nan, np.inf, -np.inf, 1e300, -1e300]), **parameters)


@pytest.mark.parametrize("name", ROWWISE)
def test_other_axes_have_the_bits_of_the_last_one(name):
    function, x = getattr(activations, name), np.random.default_rng(3).normal(0, 2, (3, 4, 5)).astype("f4")
    for axis in (0, 1, 2, -3):
        y = function(x, axis=axis)
        np.testing.assert_array_equal(y, np.moveaxis(function(np.moveaxis(x, axis, -1)), -1, axis))
        assert y.flags.c_contiguous and y.shape == x.shape
    assert function(x[:, :0], axis=0).shape == (3, 0, 5)
    for wrong in (3, 0.5, "a"):
        with pytest.raises((ValueError, TypeError)):
            function(x, axis=wrong)
    if name != "sparsemax":
        np.testing.assert_array_equal(function(x, axis=(1, -1)), function(x.reshape(3, 20)).reshape(3, 4, 5))
        np.testing.assert_array_equal(function(x, axis=None), function(x.reshape(1, 60)).reshape(3, 4, 5))


def test_glu():
    x = np.random.default_rng(4).standard_normal((3, 4))
    truth = x[:, :2] / (1 + np.exp(-x[:, 2:]))
    np.testing.assert_allclose(activations.glu(x), truth, rtol=1e-13)
    np.testing.assert_allclose(activations.glu(x.T, axis=0), truth.T, rtol=1e-13)
    assert activations.glu(x.astype("f4")).dtype == np.float32
    with pytest.raises(ValueError, match="even size"):
        activations.glu(x, axis=0)


def test_unknown_parameters_name_the_function():
    x = np.ones((2, 2))
    for name in ("relu", "tanh", "softmax", "swish", "glu"):
        with pytest.raises(TypeError, match=rf"{'silu' if name == 'swish' else name}\(\).*'beta'"):
            getattr(activations, name)(x, beta=1)
    with pytest.raises(TypeError, match=r"tanh\(\)"):
        activations.tanh(x, 1)
    for wrong in (None, "0.1", 1j, [0.1, 0.2]):
        with pytest.raises(TypeError, match=r"elu\(\).*alpha must be a number"):
            activations.elu(x, alpha=wrong)


@pytest.mark.parametrize("name", ["glu", "threshold"])
def test_functions_that_are_no_activation_of_a_layer(name):
    for form in (name, getattr(activations, name), {"class_name": "function", "config": name}):
        with pytest.raises(ValueError, match=f"'{name}' cannot be the activation"):
            activations.get(form)


def test_functions_are_pickled_by_name_and_show_their_parameters():
    for name in ("relu", "tanh", "softmax", "glu", "threshold"):
        function = getattr(activations, name)
        assert pickle.loads(pickle.dumps(function)) is function and copy.deepcopy(function) is function
    assert str(inspect.signature(activations.relu)) == "(x, negative_slope=0.0, max_value=None, threshold=0.0)"
    assert repr(activations.relu) == "<activation relu>"
