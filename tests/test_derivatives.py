"""Derivatives of activations: against formulas in float64, at kinks and limits; whole rows against their Jacobians."""

import numpy as np
import pytest
from helpers import ISAS, errors, samples
from reference import ACTIVATIONS as FORWARD
from reference_derivatives import ELEMENTWISE, JACOBIANS, KINKS

from cyrnn.engine import plan

INF, NAN = np.inf, np.nan
DTYPES = ["float32", "float64"]


def saved_of(name, z, isa):
    """What the derivative reads: the sums, or the engine's own outputs."""
    saved = np.array(z, order="C")
    if name not in plan.FROM_SUMS:
        plan.activate(name, saved, None, isa)
    return saved


def derivatives(name, z, isa):
    """f' of a row of sums."""
    d = np.ones_like(z)[None]
    plan.differentiate(name, saved_of(name, z[None], isa), d, isa)
    return d[0]


def test_every_activation_has_a_derivative():
    assert {*ELEMENTWISE, *JACOBIANS} == set(plan.ACTIVATIONS)
    sums = "gelu hard_silu hard_tanh mish silu softsign sparsemax squareplus tanh_shrink"
    assert frozenset(sums.split()) == plan.FROM_SUMS


# ---------------------------------------------------------------- the oracle itself


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_the_formulas_are_the_slopes_of_the_functions(name):
    x, step = np.random.default_rng(0).uniform(-9, 9, 2000), 1e-5
    for kink in KINKS.get(name, ()):
        x = x[np.abs(x - kink) > 2 * step]
    slope = (FORWARD[name](x + step) - FORWARD[name](x - step)) / (2 * step)
    np.testing.assert_allclose(ELEMENTWISE[name](x), slope, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", sorted(JACOBIANS))
def test_the_jacobians_are_the_slopes_of_the_rows(name):
    rng, step = np.random.default_rng(1), 1e-6
    for units in (1, 2, 5, 12):
        x = rng.standard_normal(units)
        moves = step * np.eye(units)
        slope = (FORWARD[name](x + moves) - FORWARD[name](x - moves)).T / (2 * step)
        np.testing.assert_allclose(JACOBIANS[name](x), slope, rtol=1e-7, atol=1e-7)


# ---------------------------------------------------------------- of each element


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 6), ("float64", 8)])
def test_accuracy(name, dtype, bound, isa):
    far = np.array([np.finfo(dtype).max, 1e300 if dtype == "float64" else 1e38], dtype)
    x = np.concatenate([samples(dtype), far, -far])
    for kink in KINKS.get(name, ()):  # beside it, the sum or the output is rounded to the kink
        x = x[(np.abs(x - kink) > 4 * np.spacing(np.array(max(abs(kink), 1), dtype))) | (x == kink)]
    with np.errstate(over="ignore", under="ignore"):
        truth = ELEMENTWISE[name](x.astype("f8"))
        rounded = truth.astype(dtype)
    if name == "tanh" and dtype == "float32":
        bound = 16  # three ulp of an output near 1
    actual, finite = derivatives(name, x, isa), np.isfinite(rounded)
    assert errors(actual[finite], truth[finite]).max() <= bound
    np.testing.assert_array_equal(actual[~finite], rounded[~finite])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exponential", "log_sigmoid", "softplus", "softsign", "squareplus", "tanh_shrink"])
def test_small_derivatives_keep_their_digits(name, dtype, isa):
    x = samples(dtype)
    truth = ELEMENTWISE[name](x.astype("f8"))
    x, truth = x[(truth > 1e-30) & (truth < 1e30)], truth[(truth > 1e-30) & (truth < 1e30)]
    np.testing.assert_allclose(derivatives(name, x, isa), truth, rtol=8 * np.finfo(dtype).eps)


SLOPES = {  # the sum: the derivative there, as TensorFlow has it
    "celu": {0: 1},  # TensorFlow adds up both sides
    "elu": {0: 1}, "gelu": {0: 0.5}, "hard_shrink": {-0.5: 0, 0.5: 0}, "hard_sigmoid": {-3: 0, 0: 1 / 6, 3: 0},
    "hard_sigmoid_keras2": {-2.5: 0, 0: 0.2, 2.5: 0}, "hard_silu": {-3: 0, 0: 0.5, 3: 1}, "hard_tanh": {-1: 1, 1: 1},
    "leaky_relu": {0: 0.2}, "mish": {0: 0.6}, "relu": {0: 0}, "relu6": {0: 0, 6: 0}, "selu": {0: 1.0507009873554805},
    "silu": {0: 0.5}, "soft_shrink": {-0.5: 0, 0.5: 0}, "softplus": {0: 0.5}, "softsign": {0: 1},
    "sparse_plus": {-1: 0, 1: 1}, "sparse_sigmoid": {-1: 0, 0: 0.5, 1: 0}, "squareplus": {0: 0.5},
    "tanh_shrink": {0: 0},
}  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(SLOPES))
def test_kinks(name, dtype, isa):
    x = np.array(list(SLOPES[name]), dtype)
    for zero in (x, np.where(x == 0, -x, x)):
        actual = derivatives(name, zero, isa)
        np.testing.assert_allclose(actual, list(SLOPES[name].values()), rtol=4 * np.finfo(dtype).eps, atol=0)


LIMITS = {  # at NaN, -inf and +inf: TensorFlow's at NaN, and the limits, which it has wherever it has no NaN
    "linear": (1, 1, 1), "celu": (1, 0, 1), "elu": (1, 0, 1), "exponential": (NAN, 0, INF), "gelu": (NAN, 0, 1),
    "hard_shrink": (0, 1, 1), "hard_sigmoid": (0, 0, 0), "hard_sigmoid_keras2": (0, 0, 0), "hard_silu": (NAN, 0, 1),
    "hard_tanh": (0, 0, 0), "leaky_relu": (0.2, 0.2, 1), "log_sigmoid": (NAN, 1, 0), "mish": (NAN, 0, 1),
    "relu": (0, 0, 1), "relu6": (0, 0, 0), "selu": (1.0507009873554805, 0, 1.0507009873554805), "sigmoid": (NAN, 0, 0),
    "silu": (NAN, 0, 1), "soft_shrink": (0, 1, 1), "softplus": (NAN, 0, 1), "softsign": (NAN, 0, 0),
    "sparse_plus": (NAN, 0, 1), "sparse_sigmoid": (0.5, 0, 0), "squareplus": (NAN, 0, 1), "tanh": (NAN, 0, 0),
    "tanh_shrink": (NAN, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_nan_and_infinity(name, dtype, isa):
    x = np.random.default_rng(2).standard_normal(21).astype(dtype)
    plain = derivatives(name, x, isa)
    x[[2, 9, 20]] = NAN, -INF, INF
    actual = derivatives(name, x, isa)
    np.testing.assert_allclose(actual[[2, 9, 20]], LIMITS[name], rtol=1e-7, atol=0)
    others = np.delete(np.arange(21), [2, 9, 20])
    np.testing.assert_array_equal(actual[others], plain[others])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_any_length_and_stride_gives_the_bits_of_whole_vectors_and_touches_nothing_beside(name, dtype, isa):
    rng = np.random.default_rng(3)
    z, d = rng.normal(0, 3, (2, 3, 128)).astype(dtype)
    saved, whole = saved_of(name, z, isa), d.copy()
    plan.differentiate(name, saved, whole, isa)
    for units in range(71):
        room, beside = np.full((3, units + 6), 7, dtype), np.full((3, units + 3), NAN, dtype)
        room[:, 2 : 2 + units], beside[:, 1 : 1 + units] = d[:, :units], saved[:, :units]
        expected, kept = room.copy(), beside.copy()
        expected[:, 2 : 2 + units] = whole[:, :units]
        plan.differentiate(name, beside[:, 1 : 1 + units], room[:, 2 : 2 + units], isa)
        np.testing.assert_array_equal(room, expected)
        np.testing.assert_array_equal(beside, kept)


@pytest.mark.parametrize("isa", ISAS)
def test_the_product_is_that_of_ieee(isa):
    d = np.array([[0.0, INF, INF, NAN]], "f4")
    plan.differentiate("exponential", np.array([[INF, 0, 2, 0]], "f4"), d, isa)
    np.testing.assert_array_equal(d, [[NAN, NAN, INF, NAN]])


# ---------------------------------------------------------------- of whole rows


def of_rows(name, z, d, isa):
    """The gradients of the sums, in rows that lie apart."""
    rows, units = z.shape
    saved, room = np.full((rows, units + 3), NAN, z.dtype), np.full((rows, units + 2), 7, z.dtype)
    saved[:, 1:-2], room[:, 1:-1] = saved_of(name, z, isa), d
    kept = saved.copy()
    plan.differentiate(name, saved[:, 1:-2], room[:, 1:-1], isa)
    assert (room[:, [0, -1]] == 7).all()
    np.testing.assert_array_equal(saved, kept)
    return room[:, 1:-1]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(JACOBIANS))
def test_rows_are_multiplied_by_their_jacobian(name, dtype, isa):
    rng = np.random.default_rng(4)
    for units in (*range(71), 300):
        z = (rng.standard_normal((4, units)) * np.array([[0.01], [1], [1], [30]])).astype(dtype)
        z[2] = np.round(z[2] * 4) / 4  # with equals among them
        d = rng.standard_normal((4, units)).astype(dtype)
        actual = of_rows(name, z, d, isa)
        for row in range(4 if units else 0):
            truth = d[row].astype("f8") @ JACOBIANS[name](z[row].astype("f8"))
            scale = 8 * np.finfo(dtype).eps * max(1, np.abs(truth).max())
            np.testing.assert_allclose(actual[row], truth, rtol=0, atol=scale)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sparsemax_of_equals(dtype, isa):
    """Equals are in the support in their order, and an output of 0 at the threshold lets the gradient pass."""
    z, d = np.array([[1, 1, 0], [0, 1, 1], [0.25, 0.25, 0.25]], dtype), np.array([[1, 10, 100]] * 3, dtype)
    truth = [[1 - 11, 10 - 11 / 2, 0], [0, 10 - 110, 100 - 110 / 2], [1 - 111, 10 - 111 * 2 / 3, 100 - 111 / 3]]
    np.testing.assert_allclose(of_rows("sparsemax", z, d, isa), truth, rtol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(JACOBIANS))
def test_rows_with_nan_or_infinity(name, dtype, isa):
    rng = np.random.default_rng(5)
    z, d = rng.standard_normal((2, 5, 21)).astype(dtype)
    plain = of_rows(name, z, d, isa)
    z[1, 20], z[2, 3], z[3, 7] = NAN, INF, -INF
    z[4] = -INF
    actual = of_rows(name, z, d, isa)
    np.testing.assert_array_equal(actual[0], plain[0])
    assert np.isnan(actual[[1, 2, 4]]).all()
    assert np.isfinite(actual[3]).all()
    assert actual[3, 7] == (d[3, 7] if name == "log_softmax" else 0)


@pytest.mark.parametrize("isa", ISAS)
def test_long_rows_lose_nothing(isa):
    """The sums over a row are as exact as those of the functions."""
    units = 100_000
    d = np.full((1, units), 1 / 3, "f4")
    plan.differentiate("softmax", np.full((1, units), 1 / units, "f4"), d, isa)
    assert np.abs(d).max() < 1e-12
    d = np.full((1, units), 1 / 3, "f4")
    plan.differentiate("log_softmax", saved_of("log_softmax", np.zeros((1, units), "f4"), isa), d, isa)
    assert np.abs(d).max() < 1e-6


# ---------------------------------------------------------------- wrong calls


READ_ONLY = np.zeros((2, 4), "f4")
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("name", "saved", "d", "words"),
    [
        ("tanhh", np.zeros((2, 4), "f4"), np.zeros((2, 4), "f4"), "tanhh"),
        ("tanh", np.zeros(4, "f4"), np.zeros(4, "f4"), "d must have shape"),
        ("tanh", np.zeros((2, 3), "f4"), np.zeros((2, 4), "f4"), "saved must be"),
        ("tanh", np.zeros((2, 4), "f8"), np.zeros((2, 4), "f4"), "saved must be"),
        ("tanh", np.zeros((2, 4), "i4"), np.zeros((2, 4), "i4"), "d must be"),
        ("tanh", np.zeros((2, 8), "f4")[:, ::2], np.zeros((2, 4), "f4"), "saved must be contiguous along its last"),
        ("tanh", np.zeros((2, 4), "f4"), np.zeros((2, 8), "f4")[:, ::2], "d must be contiguous along its last"),
        ("tanh", np.zeros((2, 4), "f4"), READ_ONLY, "read-only"),
    ],
)
def test_wrong_arrays_are_refused(name, saved, d, words):
    with pytest.raises(ValueError, match=words):
        plan.differentiate(name, saved, d)


def test_the_arrays_may_not_share_memory():
    room = np.ones((3, 4))
    with pytest.raises(ValueError, match="saved must have memory of its own"):
        plan.differentiate("tanh", room[:2], room[1:])
    assert (room == 1).all()
    halves = np.ones((2, 8))  # rows between each other's do not meet
    plan.differentiate("exponential", halves[:, 4:] * 2, halves[:, :4])
    plan.differentiate("relu", halves[:, 4:], halves[:, :4])
    np.testing.assert_array_equal(halves, [[2] * 4 + [1] * 4] * 2)
