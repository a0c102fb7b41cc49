"""Names that are imported when they are first used: found, seen, and known to type checkers and to configs."""

import ast
import importlib
import json
import pickle
from pathlib import Path

import pytest
from helpers import run_python

import cyrnn
from cyrnn import layers

PACKAGES = ["cyrnn", "cyrnn.layers", "cyrnn.models", "cyrnn.saving"]


@pytest.mark.parametrize("package", PACKAGES)
def test_all_names_are_found_and_seen(package):
    """In a new interpreter, where no other test has imported them."""
    code = f"""
import importlib, {package} as package
late = [name for name in package.__all__ if name not in vars(package)]
print(*late)
assert set(package.__all__) <= set(dir(package))
for name in late:
    value = getattr(package, name)
    if name in package._MODULES:
        expected = getattr(importlib.import_module(package._MODULES[name]), name)
    else:
        expected = importlib.import_module(package.__name__ + "." + name)
    assert value is expected and vars(package)[name] is value
try:
    package.no_such_name
except AttributeError as error:
    assert str(error) == "module '{package}' has no attribute 'no_such_name'"
else:
    raise AssertionError("no_such_name was found")
"""
    assert run_python(code).stdout.split()


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_the_table_has(package):
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imported = {alias.name: node.module for block in blocks for node in block for alias in node.names}
    late = module._MODULES | dict.fromkeys(getattr(module, "_PACKAGES", ()), package)
    assert imported == late and set(imported) <= set(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_names_come_with_a_star(package):
    code = f"from {package} import *; import {package} as p; print(all(name in globals() for name in p.__all__))"
    assert run_python(code).stdout.strip() == "True"


def test_a_config_names_any_layer_before_one_is_used():
    bases = ("Layer", "Wrapper")
    names = [name for name in layers.__all__ if isinstance(getattr(layers, name), type) and name not in bases]
    names = [name for name in names if getattr(layers, name).__name__ == name]  # Keras' other names are in no config
    assert len(names) > 30
    code = """
import sys, cyrnn
from cyrnn import objects
assert "cyrnn.layers.around.dropout" not in sys.modules
assert objects.is_known("keras.layers", sys.argv[1])
for name in sys.argv[1:]:
    assert objects.is_known("keras.layers", name) and objects.is_known("keras.layers", objects.snake_case(name)), name
assert not objects.is_known("keras.layers", "NoSuchLayer")
"""
    run_python(code, "gaussian_noise", *names)


@pytest.mark.parametrize(("name", "config"), [("UpSampling1D", {"size": 3}), ("AveragePooling1D", {"pool_size": 2})])
def test_a_layer_of_a_config_is_made_before_one_is_used(name, config):
    envelope = {"class_name": name, "config": config, "module": "keras.layers"}
    code = "import sys, cyrnn; print(type(cyrnn.from_json(sys.argv[1])).__name__)"
    assert run_python(code, json.dumps(envelope)).stdout.strip() == name


def test_an_unknown_layer_is_refused_in_a_new_interpreter():
    envelope = {"class_name": "NoSuchLayer", "config": {"name": "mine"}, "module": "keras.layers"}
    code = """
import sys, cyrnn
try:
    cyrnn.from_json(sys.argv[1])
except ValueError as error:
    print(error)
"""
    assert "layer 'mine' is of the unknown class 'NoSuchLayer'" in run_python(code, json.dumps(envelope)).stdout


@pytest.mark.parametrize(
    ("module", "class_name", "config"),
    [
        ("keras.layers", "Dense", {"units": 2}),
        ("keras.layers", "Sequential", {"layers": [{"class_name": "Dense", "config": {"units": 2}}]}),
        ("keras", "Sequential", {"layers": []}),
        ("keras", "DTypePolicy", {"name": "float32"}),
        ("keras.src.models.functional", "Functional", None),
        ("keras.initializers", "Zeros", {}),
        ("keras.regularizers", "L2", {"l2": 0.5}),
        ("keras.constraints", "NonNeg", {}),
        ("keras.optimizers", "Adam", {}),
        ("keras.optimizers.schedules", "CosineDecay", {"initial_learning_rate": 1, "decay_steps": 2}),
        ("keras.losses", "MeanSquaredError", {}),
        ("keras.metrics", "Mean", {}),
        ("keras.random", "SeedGenerator", {"seed": 1}),
    ],
)  # fmt: skip
def test_any_object_of_a_config_is_made_first_of_all(module, class_name, config):
    if config is None:
        config = json.loads(cyrnn.Model(x := cyrnn.Input((2,)), x).to_json())["config"]
    envelope = {"class_name": class_name, "config": config, "module": module}
    code = """
import json, sys
from cyrnn.saving import deserialize_keras_object
print(type(deserialize_keras_object(json.loads(sys.argv[1]))).__name__)
"""
    assert run_python(code, json.dumps(envelope)).stdout.strip() == class_name


def test_what_was_pickled_is_read_first_of_all():
    model = cyrnn.Sequential([cyrnn.Input((4, 3)), layers.GRU(2), layers.Dense(1)])
    model.compile("adam", "mse")
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).count_params())"
    assert int(run_python(code, pickle.dumps(model).hex()).stdout) == model.count_params()
