"""Optimizers against Keras: the same weights after steps with random options and gradients, and the same configs."""

import inspect
import json
import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

from cyrnn import optimizers  # noqa: E402
from cyrnn.layers import Layer  # noqa: E402

NAMES = [
    "SGD", "Adam", "AdamW", "RMSprop", "Nadam", "Adagrad", "Adamax", "Adadelta", "Lion", "Ftrl", "Adafactor", "Muon",
]  # fmt: skip
OPTIONS = {
    "SGD": [{"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}],
    "Adam": [{"amsgrad": True, "beta_1": 0.7}],
    "RMSprop": [{"centered": True, "momentum": 0.3}, {"rho": 0.5}],
    "Ftrl": [{"l1_regularization_strength": 0.1, "learning_rate_power": -0.7, "beta": 0.2}],
    "Adafactor": [{"clip_threshold": 0.5}],
    "Muon": [{"nesterov": False, "exclude_layers": ["layer/w1"], "adam_lr_ratio": 0.5}],
}
GENERAL = [
    {},
    {"weight_decay": 0.1, "clipnorm": 0.5},
    {"global_clipnorm": 0.7, "loss_scale_factor": 2.0},
    {"clipvalue": 0.2, "use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2, "weight_decay": 0.05},
]
CASES = [(name, {**own, **general}) for name in NAMES for own in [{}, *OPTIONS.get(name, [])] for general in GENERAL]
SHAPES = [(4, 3), (3,), (2, 6), ()]


class Weights(Layer):
    def build(self, shape):
        for number, value in enumerate(self.values):
            self.add_weight(value.shape, lambda *_, value=value, **__: value, name=f"w{number}")
        self.built = True


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps(name, options):
    if name == "Muon" and options.get("gradient_accumulation_steps"):
        options = {**options, "adam_weight_decay": None}
    r = np.random.default_rng(len(str(options)))
    layer = Weights(name="layer")
    layer.values = [r.standard_normal(shape).astype("float32") for shape in SHAPES]
    layer.build(None)
    with keras.name_scope("layer"):
        variables = [keras.Variable(value, name=f"w{number}") for number, value in enumerate(layer.values)]
    ours, theirs = getattr(optimizers, name)(0.05, **options), getattr(keras.optimizers, name)(0.05, **options)
    for _ in range(6):
        gradients = [r.standard_normal(shape).astype("float32") for shape in SHAPES]
        ours.apply(gradients, layer)
        theirs.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    for mine, variable in zip(layer.weights, variables, strict=True):
        np.testing.assert_allclose(mine, keras.ops.convert_to_numpy(variable), rtol=2e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore:.*gradients:UserWarning")
@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("name", NAMES)
def test_steps_without_some_gradients(name, options):
    if name == "Muon":
        options = {**options, "weight_decay": None, "adam_weight_decay": None}
    r = np.random.default_rng(0)
    layer = Weights(name="layer")
    layer.values = [r.standard_normal(shape).astype("float32") for shape in SHAPES]
    layer.build(None)
    variables = [keras.Variable(value, name=f"w{number}") for number, value in enumerate(layer.values)]
    ours, theirs = getattr(optimizers, name)(0.05, **options), getattr(keras.optimizers, name)(0.05, **options)
    for step in range(6):
        gradients = [r.standard_normal(shape).astype("float32") for shape in SHAPES]
        gradients = [g if step == 0 or r.random() < 0.6 else None for g in gradients[:-1]] + gradients[-1:]
        ours.apply(gradients, layer)
        theirs.apply([None if g is None else keras.ops.convert_to_tensor(g) for g in gradients], variables)
    for mine, variable in zip(layer.weights, variables, strict=True):
        np.testing.assert_allclose(mine, keras.ops.convert_to_numpy(variable), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_configs(name, options):
    theirs = keras.optimizers.serialize(getattr(keras.optimizers, name)(0.05, name="opt", **options))
    theirs["registered_name"] = None
    ours = optimizers.serialize(getattr(optimizers, name)(0.05, name="opt", **options))
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs))
    assert optimizers.serialize(optimizers.get(theirs)) == ours
    assert keras.optimizers.serialize(keras.optimizers.deserialize(ours))["config"] == theirs["config"]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults(name):
    ours = getattr(optimizers, name)(name="opt").get_config()
    assert ours == getattr(keras.optimizers, name)(name="opt").get_config()
    first = list(inspect.signature(getattr(optimizers, name)).parameters)[:2]
    assert first == list(inspect.signature(getattr(keras.optimizers, name)).parameters)[:2]


SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.3}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.3, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 10], "values": [0.3, 0.2, 0.1]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "power": 1.5, "cycle": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "warmup_target": 0.2, "warmup_steps": 4}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "alpha": 0.3}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4, "t_mul": 1.5, "m_mul": 0.9}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4, "t_mul": 1.0}),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
def test_schedules(name, arguments):
    ours = getattr(optimizers.schedules, name)(**arguments)
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    expected = [float(theirs(step)) for step in range(40)]
    np.testing.assert_allclose([ours(step) for step in range(40)], expected, rtol=1e-5, atol=1e-7)
    envelope = keras.optimizers.schedules.serialize(theirs)
    assert optimizers.schedules.serialize(ours) == envelope
    assert optimizers.schedules.deserialize(envelope).get_config() == ours.get_config()
