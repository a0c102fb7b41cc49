"""Constraints: projections, configs, names and errors as Keras wrote them to the golden file."""

import copy
import json
import pickle

import numpy as np
import pytest
from golden.make_keras_objects import CONSTRAINTS, WEIGHTS, error_of_case, found, load, weight

from cyrnn import constraints

GOLDEN = load()


@pytest.mark.parametrize(("name", "kwargs", "shape", "dtype", "values"), GOLDEN["values"]["constraints"])
def test_values_are_those_of_keras(name, kwargs, shape, dtype, values):
    projected = getattr(constraints, name)(**kwargs)(weight(shape, dtype))
    assert projected.shape == tuple(shape)
    assert projected.dtype == dtype
    last, expected = projected.ravel()[-len(values) :], np.array(values, dtype)
    np.testing.assert_allclose(last, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("name", "kwargs", "envelope"), GOLDEN["envelopes"]["constraints"])
def test_envelopes_are_those_of_keras(name, kwargs, envelope):
    written = constraints.serialize(getattr(constraints, name)(**kwargs))
    assert json.dumps(written) == json.dumps(envelope)


@pytest.mark.parametrize(("name", "kwargs", "envelope"), GOLDEN["envelopes"]["constraints"])
def test_reads_what_keras_wrote(name, kwargs, envelope):
    before = copy.deepcopy(envelope)
    read, expected = constraints.deserialize(envelope), getattr(constraints, name)(**kwargs)
    assert type(read) is type(expected)
    np.testing.assert_array_equal(read(weight((3, 4))), expected(weight((3, 4))))
    assert envelope == before


@pytest.mark.parametrize(("identifier", "expected"), GOLDEN["found"]["constraints"])
def test_finds_what_keras_finds(identifier, expected):
    assert found(constraints, identifier) == expected


@pytest.mark.parametrize(("name", "kwargs", "call", "error"), GOLDEN["errors"]["constraints"])
def test_errors_are_those_of_keras(name, kwargs, call, error):
    assert error_of_case(constraints, name, kwargs, call) == error


@pytest.mark.parametrize(("name", "kwargs"), CONSTRAINTS)
def test_duplicates_behave_alike(name, kwargs):
    original = getattr(constraints, name)(**kwargs)
    for duplicate in [
        type(original).from_config(original.get_config()),
        constraints.get(json.loads(json.dumps(constraints.serialize(original)))),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
    ]:
        assert duplicate.get_config() == original.get_config()
        np.testing.assert_array_equal(duplicate(weight((4, 3))), original(weight((4, 3))))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("name", "kwargs"), CONSTRAINTS)
def test_result_is_new_and_of_the_same_dtype(name, kwargs, dtype):
    w = weight((4, 3), dtype)
    before = w.copy()
    w.flags.writeable = False
    projected = getattr(constraints, name)(**kwargs)(w)
    assert projected.dtype == dtype
    assert not np.shares_memory(projected, w)
    projected[:] = 9
    np.testing.assert_array_equal(w, before)


@pytest.mark.parametrize(("shape", "dtype"), WEIGHTS)
@pytest.mark.parametrize("axis", [0, 1, -1, [0, 1], None])
def test_norms_end_where_they_should(shape, dtype, axis):
    w = weight(shape, dtype) * 3

    def norms(array):
        return np.sqrt(np.sum(np.square(array), axis=tuple(axis) if isinstance(axis, list) else axis))

    tolerance = {"atol": 1e-5 if dtype == "float32" else 1e-6}
    np.testing.assert_allclose(norms(constraints.UnitNorm(axis)(w)), 1, **tolerance)
    np.testing.assert_allclose(norms(constraints.MaxNorm(2, axis)(w)), np.minimum(norms(w), 2), **tolerance)
    ranged = constraints.MinMaxNorm(3.5, 4.0, axis=axis)(w)
    np.testing.assert_allclose(norms(ranged), np.clip(norms(w), 3.5, 4.0), **tolerance)
    half_way = constraints.MinMaxNorm(3.5, 4.0, rate=0.5, axis=axis)(w)
    np.testing.assert_allclose(norms(half_way), (norms(w) + np.clip(norms(w), 3.5, 4.0)) / 2, **tolerance)


def test_a_bias_is_one_vector():
    np.testing.assert_allclose(constraints.UnitNorm()(np.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-7)


def test_zeros_stay_zeros():
    for name in ("max_norm", "unit_norm", "min_max_norm", "non_neg"):
        np.testing.assert_array_equal(constraints.get(name)(np.zeros((2, 3))), np.zeros((2, 3)))


def test_non_neg_lets_nan_and_infinity_through():
    w = np.array([np.nan, -np.inf, np.inf, -1.0, 2.0], np.float32)
    np.testing.assert_array_equal(constraints.NonNeg()(w), [np.nan, 0, np.inf, 0, 2])


@pytest.mark.parametrize("name", ["max_norm", "unit_norm", "min_max_norm", "non_neg"])
def test_lists_and_integers_become_float32(name):
    for w in ([[1, -2], [3, 4]], [[1.0, -2.0], [3.0, 4.0]], np.array([[1, -2], [3, 4]])):
        projected = constraints.get(name)(w)
        assert projected.dtype == np.float32
        np.testing.assert_array_equal(projected, constraints.get(name)(np.array(w, np.float32)))


def test_configs_hold_plain_values():
    config = constraints.MaxNorm(np.float32(0.5), axis=(np.int64(0), 1)).get_config()
    assert config == {"max_value": 0.5, "axis": [0, 1]}
    assert json.loads(json.dumps(config)) == config


class Clip(constraints.Constraint):
    """A user's own."""

    def __call__(self, w):
        return np.clip(w, -1, 1)


def test_a_class_of_the_user():
    envelope = constraints.serialize(Clip())
    assert envelope["config"] == {}
    assert constraints.deserialize(envelope, custom_objects={"Clip": Clip})([3, -4]).tolist() == [1, -1]
    with pytest.raises(ValueError, match="unknown constraint class 'Clip'"):
        constraints.deserialize(envelope)


def test_namespace_holds_the_aliases_of_keras():
    for name in constraints.__all__:
        assert hasattr(constraints, name)
    assert constraints.min_max_norm is constraints.MinMaxNorm
    assert constraints.get(None) is None
    w = weight((2, 2))
    assert constraints.Constraint()(w) is w


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: constraints.MaxNorm("a"), TypeError, "max_value must be a number, got 'a'"),
        (lambda: constraints.MinMaxNorm(rate=None), TypeError, "rate must be a number, got None"),
        (lambda: constraints.UnitNorm(axis=True), TypeError, "axis must be an integer.* got True"),
        (lambda: constraints.UnitNorm(axis=[0.5]), TypeError, r"axis must be an integer.* got \[0.5\]"),
        (lambda: constraints.UnitNorm(axis=2)(np.ones((2, 3))), ValueError, "axis 2 is out of bounds"),
        (lambda: constraints.get("maxnorm"), ValueError, "constraint 'maxnorm'"),
    ],
)
def test_messages_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
