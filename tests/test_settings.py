"""Keras' settings for layers that are made without a dtype: `config`, `mixed_precision` and `backend`."""

import sys

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Dense, SimpleRNN

pytestmark = pytest.mark.thread_unsafe  # settings are those of the process


@pytest.fixture(autouse=True)
def settings():
    yield
    cyrnn.config.set_dtype_policy(None)
    cyrnn.config.set_floatx("float32")


def model():
    return cyrnn.Sequential([cyrnn.Input((4, 2)), SimpleRNN(3), Dense(1)])


def test_layers_are_made_with_floatx():
    assert cyrnn.config.floatx() == cyrnn.backend.floatx() == "float32"
    cyrnn.backend.set_floatx("float64")
    assert cyrnn.config.floatx() == "float64"
    made = model()
    assert [weight.dtype.name for weight in made.get_weights()] == ["float64"] * 5
    x = np.random.default_rng(0).standard_normal((8, 4, 2))
    assert made(x).dtype == np.float64
    made.compile(cyrnn.optimizers.SGD(0.1), "mse", metrics=["mae"])
    assert made.optimizer.learning_rate == 0.1  # not rounded to float32
    before = made.evaluate(x, x[:, 0, :1], verbose=0)
    made.fit(x, x[:, 0, :1], epochs=5, verbose=0)
    assert made.evaluate(x, x[:, 0, :1], verbose=0) < before
    assert Dense(1, dtype="float32").dtype_policy.name == "float32"
    cyrnn.config.set_floatx("float32")
    assert made(x).dtype == np.float64  # it stays what it was made
    assert Dense(1).dtype_policy.name == "float32"


def test_the_policy_is_that_of_layers_without_one():
    cyrnn.mixed_precision.set_global_policy("mixed_float16")
    assert cyrnn.config.dtype_policy().name == cyrnn.mixed_precision.global_policy().name == "mixed_float16"
    made = model()
    assert [weight.dtype.name for weight in made.get_weights()] == ["float32"] * 5
    assert made(np.zeros((2, 4, 2))).dtype == np.float16
    assert SimpleRNN(2, dtype="float32").dtype_policy.name == "float32"
    cyrnn.config.set_dtype_policy(cyrnn.mixed_precision.Policy("float64"))
    assert Dense(1).dtype_policy.name == "float64"
    cyrnn.config.set_dtype_policy(None)
    assert Dense(1).dtype_policy.name == "float32"


def test_what_is_no_setting_is_refused():
    with pytest.raises(ValueError, match="floatx must be 'float32' or 'float64', got 'float16'"):
        cyrnn.config.set_floatx("float16")
    with pytest.raises(ValueError, match="dtype must be one of float16.*got 'half'"):
        cyrnn.config.set_dtype_policy("half")
    assert cyrnn.config.dtype_policy().name == "float32"


@pytest.mark.thread_unsafe(reason="hides a package from the process")
def test_bfloat16_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ValueError, match="dtype 'bfloat16' needs the package ml_dtypes: pip install ml_dtypes"):
        Dense(1, dtype="bfloat16")


def test_policies_are_equal_by_name():
    policies = {cyrnn.dtypes.get("float64"), cyrnn.dtypes.get(np.dtype("float64")), cyrnn.dtypes.get("float32")}
    assert sorted(map(repr, policies)) == ["<DTypePolicy 'float32'>", "<DTypePolicy 'float64'>"]


def test_pythons_float_is_floatx():
    assert Dense(1, dtype=float).dtype == "float32"
    cyrnn.config.set_floatx("float64")
    assert Dense(1, dtype=float).dtype == "float64"


def test_another_object_is_no_policy():
    entry = {"module": "keras", "class_name": "Sequential", "config": {"layers": []}}
    with pytest.raises(ValueError, match="dtype must be a DTypePolicy, got a Sequential"):
        Dense(1, dtype=entry)
    with pytest.raises(ValueError, match="unknown object class 'FloatPolicy'"):
        Dense(1, dtype={"module": "keras", "class_name": "FloatPolicy", "config": {}})


def test_values_of_the_backend():
    assert cyrnn.config.backend() == cyrnn.backend.backend() == "numpy"
    assert cyrnn.config.epsilon() == 1e-7
    optimizer = cyrnn.optimizers.Adam(0.5)
    assert cyrnn.backend.get_value(optimizer.learning_rate) == 0.5
    cyrnn.backend.set_value(optimizer.learning_rate, 0.25)
    assert optimizer.learning_rate == 0.25
    weight = Dense(1).weights
    assert cyrnn.backend.get_value(np.ones(2)).tolist() == [1, 1]
    with pytest.raises(TypeError, match="weights are set by set_weights"):
        cyrnn.backend.set_value(np.ones(2), weight)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_models_of_16_bits_are_trained(policy):
    """Their weights and gradients are of float32: a loss that is scaled down far has the same steps."""
    if policy == "mixed_bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    cyrnn.mixed_precision.set_global_policy(policy)
    x = np.random.default_rng(0).standard_normal((16, 4, 2)).astype(np.float32)
    y, first, found = x[:, 0, :1] * x[:, 1, 1:], model(), []
    for scale in (1.0, 2.0**-40):
        made = model()
        made.set_weights(first.get_weights())
        made.compile(cyrnn.optimizers.SGD(0.1 / scale, momentum=0.5), "mse", loss_weights=scale)
        history = made.fit(x, y, epochs=30, shuffle=False, verbose=0).history["loss"]
        assert history[-1] < 0.8 * history[0]
        found.append(made.get_weights())
        assert {weight.dtype.name for weight in made.weights} == {"float32"}
        assert made.predict(x).dtype == made.output_dtype
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_losses_need_no_scale():
    for module in (cyrnn.optimizers, cyrnn.mixed_precision):
        with pytest.raises(AttributeError, match="'LossScaleOptimizer': gradients are of float32 under each policy"):
            _ = module.LossScaleOptimizer
