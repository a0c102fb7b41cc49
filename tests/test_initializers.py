"""Initializers: values, configs, names and errors as Keras wrote them to the golden file."""

import copy
import json
import pickle

import numpy as np
import pytest
from golden.make_keras_objects import INITIALIZERS, error_of_case, found, load

from cyrnn import initializers, random

GOLDEN = load()
MATRICES = [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1), (2, 3, 4), (0, 3), (3, 0)]


@pytest.mark.parametrize(("name", "kwargs", "shape", "dtype", "values"), GOLDEN["values"]["initializers"])
def test_values_are_those_of_keras(name, kwargs, shape, dtype, values):
    array = getattr(initializers, name)(**kwargs)(shape, dtype)
    assert array.shape == tuple(shape)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.owndata or array.base.flags.owndata
    last, expected = array.ravel()[-len(values) :] if values else array.ravel(), np.array(values, dtype)
    if name == "Orthogonal":  # the last bits of a QR decomposition are the LAPACK's
        np.testing.assert_allclose(last, expected, rtol=0, atol=16 * np.finfo(dtype).eps)
    elif values:
        np.testing.assert_array_max_ulp(last, expected, maxulp=1)


@pytest.mark.parametrize(("name", "kwargs", "envelope"), GOLDEN["envelopes"]["initializers"])
def test_envelopes_are_those_of_keras(name, kwargs, envelope):
    written = initializers.serialize(getattr(initializers, name)(**kwargs))
    config = {key: value for key, value in envelope["config"].items() if value is not None or key == "seed"}
    if name == "Identity":
        config = {"gain": kwargs.get("gain", 1.0)}  # Keras leaves it out
    assert written == {**envelope, "config": config}
    assert list(written["config"]) == list(config)
    assert json.loads(json.dumps(written)) == written


@pytest.mark.parametrize(("name", "kwargs", "envelope"), GOLDEN["envelopes"]["initializers"])
def test_reads_what_keras_wrote(name, kwargs, envelope):
    before = copy.deepcopy(envelope)
    read = initializers.deserialize(envelope)
    expected = getattr(initializers, name)(**({} if name == "Identity" else kwargs))
    assert type(read) is type(expected)
    np.testing.assert_array_equal(read((4, 5)), expected((4, 5)))
    assert envelope == before


@pytest.mark.parametrize(("identifier", "expected"), GOLDEN["found"]["initializers"])
def test_finds_what_keras_finds(identifier, expected):
    assert found(initializers, identifier) == expected


@pytest.mark.parametrize(("name", "kwargs", "call", "error"), GOLDEN["errors"]["initializers"])
def test_errors_are_those_of_keras(name, kwargs, call, error):
    assert error_of_case(initializers, name, kwargs, call) == error


@pytest.mark.parametrize(("name", "kwargs"), INITIALIZERS)
def test_duplicates_behave_alike(name, kwargs):
    original = getattr(initializers, name)(**kwargs)
    values = original((3, 5), "float64")
    for duplicate in [
        original.clone(),
        type(original).from_config(original.get_config()),
        initializers.get(json.loads(json.dumps(initializers.serialize(original)))),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
    ]:
        assert duplicate.get_config() == original.get_config()
        np.testing.assert_array_equal(duplicate((3, 5), "float64"), values)
    values[:] = 0  # the caller's own
    np.testing.assert_array_equal(original((3, 5), "float64"), original.clone()((3, 5), "float64"))


@pytest.mark.parametrize("dtype", [None, float, "float32", np.float32, np.dtype("float32")])
@pytest.mark.parametrize("name", ["zeros", "constant", "identity", "normal", "he_normal", "orthogonal"])
def test_forms_of_a_dtype(name, dtype):
    array = initializers.get(name)((2, 3), dtype)
    assert array.dtype == np.float32
    assert initializers.get(name)([2, 3]).dtype == np.float32


@pytest.mark.parametrize(("dtype", "digits"), [("float32", 1e-6), ("float64", 1e-14), ("float16", 5e-3)])
@pytest.mark.parametrize("shape", MATRICES)
def test_orthogonal_is_orthogonal(shape, dtype, digits):
    array = initializers.Orthogonal(gain=3.0, seed=2)(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    matrix = array.reshape(-1, shape[-1]).astype(np.float64) if array.size else array.reshape(shape)
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram / 9, np.eye(len(gram)), rtol=0, atol=digits)


def test_no_seed_is_drawn_once():
    initializer = initializers.HeUniform()
    np.testing.assert_array_equal(initializer((3, 4)), initializer((3, 4)))
    assert initializer.get_config() == {"seed": None}
    assert not np.array_equal(initializer((3, 4)), initializers.HeUniform()((3, 4)))


def test_a_seed_generator_counts_up_and_is_saved():
    initializer = initializers.HeNormal(seed=random.SeedGenerator(7, name="seeds"))
    first, second = initializer((3, 4)), initializer((3, 4))
    np.testing.assert_array_equal(first, initializers.HeNormal(seed=7)((3, 4)))
    assert not np.array_equal(first, second)
    golden = GOLDEN["seeds"]["in_an_initializer"]
    assert initializers.serialize(initializer)["config"]["seed"] == golden["config"]["seed"]
    again = initializers.deserialize(golden)
    np.testing.assert_array_equal(again((3, 4)), first)
    np.testing.assert_array_equal(again((3, 4)), second)
    assert again.get_config() == initializer.get_config()


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ({"class_name": "GlorotUniform", "config": {"seed": 3, "dtype": "float32"}}, "GlorotUniform"),
        ({"class_name": "Zeros", "config": {"dtype": "float32"}}, "Zeros"),
        ({"class_name": "OrthogonalInitializer", "config": {"gain": 2.0, "seed": 3}}, "Orthogonal"),
        ({"class_name": "IdentityInitializer", "config": {"gain": 2.0}}, "Identity"),
    ],
)
def test_configs_of_older_keras(envelope, expected):
    read = initializers.get(envelope)
    assert type(read).__name__ == expected
    known = {key: value for key, value in envelope["config"].items() if key != "dtype"}
    assert read.get_config() == known


@pytest.mark.parametrize(("old", "new"), [("normal", "glorot_normal"), ("uniform", "glorot_uniform")])
def test_variance_scaling_of_older_keras(old, new):
    config = {"scale": 1.0, "mode": "fan_avg", "distribution": old, "seed": 3}
    read = initializers.get({"class_name": "VarianceScaling", "config": config})
    np.testing.assert_array_equal(read((4, 5)), getattr(initializers, new)(seed=3)((4, 5)))


def test_axes_are_written_only_if_set():
    assert initializers.GlorotUniform(1, None, None).get_config() == {"seed": 1}
    axes = initializers.GlorotUniform(1, input_axes=(np.int64(0),), output_axes=range(1, 3))
    assert axes.get_config() == {"seed": 1, "input_axes": [0], "output_axes": [1, 2]}
    json.dumps(axes.get_config())


def test_an_array_is_its_own_initializer():
    values = np.arange(6.0).reshape(2, 3)
    initializer = initializers.get(values)
    values[:] = -1
    first = initializer((2, 3), "float32")
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first.ravel(), range(6))
    first[:] = -1
    np.testing.assert_array_equal(initializer([2, 3], "float64").ravel(), range(6))
    assert initializers.get(np.float32(3))(()) == 3
    with pytest.raises(ValueError, match=r"shape \(2, 3\) cannot initialize a weight of shape \(3, 2\)"):
        initializer((3, 2))
    again = initializers.get(json.loads(json.dumps(initializers.serialize(initializer))))
    np.testing.assert_array_equal(again((2, 3)).ravel(), range(6))


def test_numpy_scalars_reach_the_config_as_numbers():
    initializer = initializers.RandomNormal(np.float32(0.5), np.array(2.0), seed=1)
    assert json.dumps(initializer.get_config()) == '{"seed": 1, "mean": 0.5, "stddev": 2.0}'
    assert json.dumps(initializers.Constant(np.float32(0.5)).get_config()) == '{"value": 0.5}'
    tensor = {"class_name": "__tensor__", "config": {"value": [1.0, 2.0], "dtype": "float32"}}
    read = initializers.get({"class_name": "Constant", "config": {"value": tensor}})
    np.testing.assert_array_equal(read((2, 2)), [[1, 2], [1, 2]])


class Ramp(initializers.Initializer):
    """A user's own."""

    def __init__(self, step=1.0):
        self.step = step

    def __call__(self, shape, dtype="float32"):
        return self.step * np.arange(np.prod(shape), dtype=dtype).reshape(shape)

    def get_config(self):
        return {"step": self.step}


def test_a_class_of_the_user():
    envelope = initializers.serialize(Ramp(2.0))
    assert envelope["class_name"] == envelope["registered_name"] == "Ramp"
    read = initializers.deserialize(envelope, custom_objects={"Ramp": Ramp})
    np.testing.assert_array_equal(read((2, 2)), [[0, 2], [4, 6]])
    with pytest.raises(ValueError, match="unknown initializer class 'Ramp'"):
        initializers.deserialize(envelope)
    with pytest.raises(TypeError, match="stride"):
        Ramp.from_config({"stride": 2.0})
    assert isinstance(initializers.get(Ramp), Ramp)


def test_a_function_of_the_user():
    def sevens(shape, dtype="float32"):
        return np.full(shape, 7, dtype)

    assert initializers.get(sevens) is sevens
    envelope = initializers.serialize(sevens)
    assert envelope["config"] == "sevens"
    assert initializers.deserialize(envelope, {"sevens": sevens}) is sevens


def test_namespace_holds_the_aliases_of_keras():
    for name in initializers.__all__:
        assert hasattr(initializers, name)
    assert initializers.glorot_uniform is initializers.GlorotUniform
    assert initializers.OrthogonalInitializer is initializers.orthogonal is initializers.Orthogonal
    assert initializers.get(None) is initializers.deserialize(None) is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: initializers.RandomNormal(mean="a"), TypeError, "mean must be a number, got 'a'"),
        (lambda: initializers.Identity([1]), TypeError, r"gain must be a number, got \[1\]"),
        (
            lambda: initializers.VarianceScaling(np.nan),
            ValueError,
            "scale must be positive and finite, got nan",
        ),
        (
            lambda: initializers.VarianceScaling(mode="in"),
            ValueError,
            "mode must be one of .*fan_avg.* got 'in'",
        ),
        (
            lambda: initializers.VarianceScaling(distribution=3),
            ValueError,
            "distribution must be one of .* got 3",
        ),
        (
            lambda: initializers.VarianceScaling(input_axes=[1.5]),
            TypeError,
            "input_axes must be None or a list",
        ),
        (lambda: initializers.Constant(None), ValueError, "value must be a real number .* got None"),
        (lambda: initializers.HeNormal(seed=1.5), ValueError, "seed must be an integer, a Seed.* got 1.5"),
        (lambda: initializers.Identity()((3,)), ValueError, r"two axes, got \(3,\)"),
        (lambda: initializers.Orthogonal()((3,)), ValueError, r"at least two axes, got \(3,\)"),
        (lambda: initializers.Orthogonal()((3, 2), "int32"), ValueError, "floating dtype, got 'int32'"),
        (lambda: initializers.Zeros()((3, 2), "f4"), ValueError, "dtype must be the name .* got 'f4'"),
        (
            lambda: initializers.HeNormal(1, [5], [0])((3, 2)),
            IndexError,
            r"input_axes must be axes of .* got \[5\]",
        ),
        (lambda: initializers.get("glorot"), ValueError, "initializer 'glorot'"),
    ],
)
def test_messages_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
