"""Regularizers: penalties, configs, names and errors as Keras wrote them to the golden file."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from golden.make_keras_objects import REGULARIZERS, WEIGHTS, error_of_case, found, load, weight

from cyrnn import regularizers

GOLDEN = load()
ROUNDED = {"L1": "l1", "OrthogonalRegularizer": "factor"}  # the factors that Keras rounds to float32


@pytest.mark.parametrize(("name", "kwargs", "shape", "dtype", "values"), GOLDEN["values"]["regularizers"])
def test_values_are_those_of_keras(name, kwargs, shape, dtype, values):
    penalty = getattr(regularizers, name)(**kwargs)(weight(shape, dtype))
    assert isinstance(penalty, np.dtype(dtype).type)
    default_factor = name in ROUNDED and ROUNDED[name] not in kwargs  # 0.01, which Keras rounds
    tolerance = 1e-6 if dtype == "float32" else 1e-7 if default_factor else 1e-13
    np.testing.assert_allclose(penalty, values[0], rtol=tolerance)


@pytest.mark.parametrize(("name", "kwargs", "envelope"), GOLDEN["envelopes"]["regularizers"])
def test_envelopes_are_those_of_keras(name, kwargs, envelope):
    written = regularizers.serialize(getattr(regularizers, name)(**kwargs))
    config = dict(envelope["config"])
    if name in ROUNDED:
        config[ROUNDED[name]] = kwargs.get(ROUNDED[name], 0.01)
    assert written == {**envelope, "config": config}
    assert list(written["config"]) == list(config)


@pytest.mark.parametrize(("name", "kwargs", "envelope"), GOLDEN["envelopes"]["regularizers"])
def test_reads_what_keras_wrote(name, kwargs, envelope):
    before = copy.deepcopy(envelope)
    read, expected = regularizers.deserialize(envelope), getattr(regularizers, name)(**kwargs)
    assert type(read) is type(expected)
    assert read(weight((3, 4))) == expected(weight((3, 4)))
    assert envelope == before


@pytest.mark.parametrize(("identifier", "expected"), GOLDEN["found"]["regularizers"])
def test_finds_what_keras_finds(identifier, expected):
    assert found(regularizers, identifier) == expected


@pytest.mark.parametrize(("name", "kwargs", "call", "error"), GOLDEN["errors"]["regularizers"])
def test_errors_are_those_of_keras(name, kwargs, call, error):
    assert error_of_case(regularizers, name, kwargs, call) == error


@pytest.mark.parametrize(("name", "kwargs"), REGULARIZERS)
def test_duplicates_behave_alike(name, kwargs):
    original = getattr(regularizers, name)(**kwargs)
    for duplicate in [
        type(original).from_config(original.get_config()),
        regularizers.get(json.loads(json.dumps(regularizers.serialize(original)))),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
    ]:
        assert duplicate.get_config() == original.get_config()
        assert duplicate(weight((4, 3))) == original(weight((4, 3)))


def mean_cosine(rows):
    """The obvious twin of OrthogonalRegularizer."""
    norms = [math.sqrt(sum(value * value for value in row)) for row in rows]
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    dots = [abs(np.dot(rows[i], rows[j])) / (norms[i] * norms[j]) if norms[i] * norms[j] else 0 for i, j in pairs]
    return sum(dots) / len(dots)


@pytest.mark.parametrize("mode", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (5, 3), (6, 6), (2, 1), (1, 2)])
def test_orthogonal_regularizer_is_the_mean_cosine(shape, mode):
    w = weight(shape, "float64")
    rows = w if mode == "rows" else w.T
    penalty = regularizers.OrthogonalRegularizer(0.5, mode)(w)
    if len(rows) == 1:
        assert np.isnan(penalty)
    else:
        assert penalty == pytest.approx(0.5 * mean_cosine(rows), rel=1e-12)


def test_orthogonal_regularizer_takes_rows_of_zeros():
    for dtype in ("float16", "float32", "float64"):
        w = np.zeros((3, 3), dtype)
        w[0] = w[1] = 1
        assert regularizers.OrthogonalRegularizer(0.3)(w) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["l1", "l2", "l1l2", "OrthogonalRegularizer"])
def test_dtype_is_that_of_the_weight(name, dtype):
    assert regularizers.get(name)(weight((3, 4), dtype)).dtype == dtype
    assert regularizers.get(name)([[1, 2], [3, 4]]).dtype == np.float32


@pytest.mark.parametrize(("shape", "dtype"), WEIGHTS)
def test_weights_are_only_read(shape, dtype):
    w = weight(shape, dtype)[::-1].T
    w.flags.writeable = False
    for name, kwargs in REGULARIZERS:
        getattr(regularizers, name)(**kwargs)(w)


def test_l1_keeps_its_factor_as_given():
    assert regularizers.L1().get_config() == regularizers.L1(None).get_config() == {"l1": 0.01}
    assert regularizers.L1(0.3)(np.array([1.0])) == 0.3
    assert type(regularizers.L2(True).l2) is float


def test_nan_and_infinity_are_not_hidden():
    assert np.isnan(regularizers.L1()(np.array([1.0, np.nan])))
    assert np.isinf(regularizers.L2()(np.array([1.0, -np.inf])))


class Count(regularizers.Regularizer):
    """A user's own."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, x):
        return self.factor * np.count_nonzero(x)

    def get_config(self):
        return {"factor": self.factor}


def test_a_class_of_the_user():
    envelope = regularizers.serialize(Count(2.0))
    assert regularizers.deserialize(envelope, custom_objects={"Count": Count})([1, 0, 1]) == 4
    with pytest.raises(ValueError, match="unknown regularizer class 'Count'"):
        regularizers.deserialize(envelope)


def test_base_class():
    assert regularizers.Regularizer()(weight((2, 2))) == 0
    with pytest.raises(NotImplementedError, match="Regularizer must define get_config"):
        regularizers.Regularizer().get_config()


def test_namespace_holds_the_aliases_of_keras():
    for name in regularizers.__all__:
        assert hasattr(regularizers, name)
    assert regularizers.l1_l2 is regularizers.L1L2
    assert regularizers.get(None) is None
    assert regularizers.get("l1l2").get_config() == {"l1": 0.0, "l2": 0.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regularizers.L1(-0.1), "l1 must be a finite float >= 0, got -0.1"),
        (
            lambda: regularizers.L1L2(l2=np.float32(1)),
            r"l2 must be a finite float >= 0, got np.float32\(1.0\)",
        ),
        (lambda: regularizers.OrthogonalRegularizer("a"), "factor must be a finite float >= 0, got 'a'"),
        (
            lambda: regularizers.OrthogonalRegularizer(mode="row"),
            "mode must be 'rows' or 'columns', got 'row'",
        ),
        (lambda: regularizers.OrthogonalRegularizer()(np.ones(3)), r"two axes, got shape \(3,\)"),
        (lambda: regularizers.get("l1_l2"), "regularizer 'l1_l2'"),
    ],
)
def test_messages_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
