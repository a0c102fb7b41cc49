"""Initializers, regularizers, constraints and seeds against an installed Keras on NumPy, bit for bit."""

import json
import os
import random as python_random

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if keras.backend.backend() != "numpy":
    pytest.skip("needs KERAS_BACKEND=numpy", allow_module_level=True)
if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):  # 3.6 redrew truncated normals in another order
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)
golden = pytest.importorskip("golden.make_keras_objects")
hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis: pip install '.[test]'")
strategies = hypothesis.strategies

import cyrnn.random  # noqa: E402
from cyrnn import constraints, initializers, regularizers  # noqa: E402

MODULES = {"initializers": initializers, "regularizers": regularizers, "constraints": constraints}
TABLES = {
    "initializers": golden.INITIALIZERS + golden.AXES,
    "regularizers": golden.REGULARIZERS,
    "constraints": golden.CONSTRAINTS,
}
RANDOM = sorted({name for name, kwargs in golden.INITIALIZERS if "seed" in kwargs})
EVERY_OBJECT = [(module, *case) for module, table in TABLES.items() for case in table]


@pytest.fixture(autouse=True)
def float64_kept():
    """As Keras on TensorFlow: float64 is not rounded to float32."""
    with golden.float64_kept():
        yield


def pair(module, name, kwargs):
    """The same object, of cyrnn and of Keras."""
    return getattr(MODULES[module], name)(**kwargs), getattr(getattr(keras, module), name)(**kwargs)


def same_bits(ours, theirs):
    """Shape, dtype and every bit agree, the sign of a zero as well."""
    np.testing.assert_array_equal(ours, np.asarray(theirs), strict=True)
    assert ours.tobytes() == np.asarray(theirs).tobytes()


def same_behaviour(module, ours, theirs):
    """Both give the same values."""
    if module == "initializers":
        same_bits(ours((5, 4)), theirs((5, 4)))
        return
    for shape, dtype in golden.WEIGHTS:
        w = golden.weight(shape, dtype)
        result, expected = ours(w), np.asarray(theirs(keras.Variable(w, dtype=dtype)))
        assert result.dtype == expected.dtype
        rounding = 1e-7 if dtype == "float64" and module == "regularizers" else 0  # of factors, in Keras
        if isinstance(ours, regularizers.OrthogonalRegularizer):
            rounding = 1e-6  # of the matrix product
        np.testing.assert_allclose(result, expected, rtol=rounding)


def test_the_golden_file_is_what_keras_writes():
    recorded = json.loads(json.dumps(golden.record()))
    stored = golden.load()
    if recorded.pop("keras") != stored.pop("keras"):
        pytest.skip("the golden file is of another version of Keras")
    values, expected = recorded.pop("values"), stored.pop("values")
    assert json.dumps(recorded) == json.dumps(stored)
    for module in expected:
        for case, stored_case in zip(values[module], expected[module], strict=True):
            assert case[:4] == stored_case[:4]
            np.testing.assert_allclose(case[4], stored_case[4], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "kwargs"), golden.INITIALIZERS)
def test_initializers_give_the_same_bits(name, kwargs):
    ours, theirs = pair("initializers", name, kwargs)
    for shape, dtype in [*golden.calls(name), ((64, 64), "float32"), ((7, 1), "float64")]:
        same_bits(ours(shape, dtype), theirs(shape, dtype))


@pytest.mark.parametrize("name", RANDOM)
def test_bfloat16(name):
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    ours, theirs = pair("initializers", name, {"seed": 3})
    array = ours((5, 4), "bfloat16")
    assert array.dtype.name == "bfloat16"
    if name == "Orthogonal":  # where Keras returns float64
        np.testing.assert_allclose(array.astype("float32"), theirs((5, 4), "float32"), atol=4e-3)
    else:
        assert array.tobytes() == theirs((5, 4), "bfloat16").tobytes()


@hypothesis.settings(deadline=None, max_examples=150)
@hypothesis.given(
    name=strategies.sampled_from(RANDOM),
    seed=strategies.integers(0, 2**32 - 1),
    shape=strategies.lists(strategies.integers(0, 17), min_size=2, max_size=3),
    dtype=strategies.sampled_from(["float32", "float64"]),
)
def test_any_seed_gives_the_same_bits(name, seed, shape, dtype):
    ours, theirs = pair("initializers", name, {"seed": seed})
    same_bits(ours(shape, dtype), theirs(shape, dtype))


@pytest.mark.parametrize("name", RANDOM)
def test_no_seed_takes_the_same_one_from_pythons_random(name):
    python_random.seed(3)
    ours = getattr(initializers, name)()((4, 5))
    python_random.seed(3)
    np.testing.assert_array_equal(ours, getattr(keras.initializers, name)()((4, 5)))


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_generator_gives_the_same_stream(name):
    ours, theirs = cyrnn.random.SeedGenerator(8), keras.random.SeedGenerator(8)
    for _ in range(3):
        mine, other = getattr(initializers, name)(seed=ours), getattr(keras.initializers, name)(seed=theirs)
        np.testing.assert_array_equal(mine((3, 4)), other((3, 4)))
    np.testing.assert_array_equal(ours.state, theirs.state.value)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(
    rate=strategies.floats(0, 1),
    seed=strategies.integers(0, 2**32 - 1),
    shape=strategies.lists(strategies.integers(0, 9), min_size=1, max_size=3),
    dtype=strategies.sampled_from(["float32", "float64"]),
)
def test_dropout_masks_are_the_same_bits(rate, seed, shape, dtype):
    expected = keras.random.dropout(np.ones(shape, dtype), rate, seed=seed)
    same_bits(cyrnn.random.dropout_mask(shape, rate, seed, dtype), expected)


@pytest.mark.parametrize(("module", "name", "kwargs"), EVERY_OBJECT)
def test_objects_behave_alike(module, name, kwargs):
    same_behaviour(module, *pair(module, name, kwargs))


@pytest.mark.parametrize(("module", "name", "kwargs"), EVERY_OBJECT)
def test_keras_loads_what_is_written_here(module, name, kwargs):
    ours, theirs = pair(module, name, kwargs)
    envelope = json.loads(json.dumps(MODULES[module].serialize(ours)))
    loaded = getattr(keras, module).deserialize(envelope)
    assert type(loaded) is type(theirs)
    same_behaviour(module, ours, loaded)


@pytest.mark.parametrize(("module", "name", "kwargs"), EVERY_OBJECT)
def test_what_keras_writes_is_loaded_here(module, name, kwargs):
    ours, theirs = pair(module, name, {} if name == "Identity" else kwargs)  # Keras leaves the gain out
    envelope = json.loads(json.dumps(getattr(keras, module).serialize(theirs)))
    loaded = MODULES[module].deserialize(envelope)
    assert type(loaded) is type(ours)
    same_behaviour(module, loaded, theirs)


def test_a_layer_of_keras_takes_every_config():
    layer = keras.layers.SimpleRNN(3)
    for module, name, kwargs in EVERY_OBJECT:
        if kwargs.get("input_axes") is None:
            envelope = MODULES[module].serialize(getattr(MODULES[module], name)(**kwargs))
            config = {**layer.get_config(), f"recurrent_{module.removesuffix('s')}": envelope}
            keras.layers.SimpleRNN.from_config(config).build((None, 4, 2))


def test_values_that_keras_writes_as_tensors():
    for module, name, kwargs in [
        ("initializers", "Constant", {"value": np.array([1.0, 2.0])}),
        ("initializers", "RandomNormal", {"stddev": np.float32(0.5), "seed": 1}),
        ("constraints", "MaxNorm", {"max_value": np.float32(0.5)}),
    ]:
        theirs = getattr(getattr(keras, module), name)(**kwargs)
        envelope = json.loads(json.dumps(getattr(keras, module).serialize(theirs)))
        shape = (3, 2)
        if module == "initializers":
            np.testing.assert_array_equal(MODULES[module].get(envelope)(shape), theirs(shape))
        else:
            w = golden.weight(shape)
            np.testing.assert_array_equal(MODULES[module].get(envelope)(w), theirs(w))


def test_an_array_as_initializer():
    values = golden.weight((2, 3), "float64")
    ours, theirs = initializers.get(values), keras.initializers.get(values)
    same_bits(ours((2, 3), "float32"), theirs((2, 3), "float32"))
    for initializer in (ours, theirs):
        assert golden.error_of(initializer, (3, 2)) == "ValueError"
    loaded = keras.initializers.get(initializers.serialize(ours))  # Keras cannot load its own
    np.testing.assert_array_equal(loaded((2, 3)), theirs((2, 3)))


def test_seed_generators_exchange_configs():
    ours = cyrnn.random.SeedGenerator(5, name="seeds")
    theirs = keras.random.SeedGenerator.from_config(ours.get_config())
    assert theirs.get_config() == ours.get_config()
    initializer = initializers.HeNormal(seed=ours)
    loaded = keras.initializers.deserialize(initializers.serialize(initializer))
    for _ in range(2):
        np.testing.assert_array_equal(initializer((3, 4)), loaded((3, 4)))


@pytest.mark.parametrize("module", MODULES)
def test_namespaces_agree(module):
    theirs = {name for name in dir(getattr(keras, module)) if not name.startswith("_")}
    assert theirs - {"STFT", "STFTInitializer", "stft"} == set(MODULES[module].__all__)


@pytest.mark.parametrize("value", [np.int64(3), np.float32(3), b"3", object()])
def test_seeds_that_are_no_python_int(value):
    for make in ("random.SeedGenerator", "initializers.HeNormal"):
        namespace, name = make.split(".")
        ours = getattr({"random": cyrnn.random, "initializers": initializers}[namespace], name)
        theirs = getattr(getattr(keras, namespace), name)
        assert golden.error_of(ours, seed=value) == golden.error_of(theirs, seed=value) == "ValueError"
