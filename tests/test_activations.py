"""Activations: accuracy against the float64 truth, limits, positions, and Keras' names."""

import numpy as np
import pytest
from helpers import ISAS
from reference import ACTIVATIONS as TRUTH

from cyrnn import activations
from cyrnn.engine import plan

ROWWISE = ("softmax", "log_softmax", "sparsemax")


def activate(name, x, isa=None, bias=None):
    z = np.array(x, order="C")
    plan.activate(name, z.reshape(-1, z.shape[-1]), bias, isa)
    return z


def samples(dtype):
    """All magnitudes, and many values where functions bend."""
    rng = np.random.default_rng(0)
    wide = np.geomspace(1e-30, 80, 3000)
    near = np.concatenate([rng.uniform(-12, 12, 20_000), rng.normal(0, 0.1, 3000)])
    breaks = np.array([0, 0.5, 1, 2.5, 3, 6, 20, 50, 88, 100, 300, 1e4, 1e10, 1e30])
    return np.concatenate([wide, -wide, near, breaks, -breaks]).astype(dtype)[None, :].T


def errors(actual, truth):
    """Distances to the truth: in ulp of the dtype, or in units of the absolute bound where that is wider."""
    absolute = {"float32": 1e-7 / 4, "float64": 1e-15 / 8}[actual.dtype.name]
    rounded = truth.astype(actual.dtype)
    ulp = np.maximum(np.abs(np.spacing(np.abs(rounded))).astype("f8"), absolute)
    return np.where(rounded == actual, 0, np.abs(actual - truth) / ulp)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", sorted(set(TRUTH) - set(ROWWISE)))
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 4), ("float64", 8)])
def test_elementwise_accuracy(name, dtype, bound, isa):
    x = samples(dtype)
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
