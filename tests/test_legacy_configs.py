"""Configs that Keras 2 wrote, and forms of names in configs. Recorded by golden/make_keras2_configs.py."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import TOLERANCE
from test_keras_golden import assert_all_close, flat

import cyrnn
from cyrnn import initializers, regularizers
from cyrnn.layers import RNN, Activation, Dense, Dropout, Embedding, InputLayer, Layer, Masking, SimpleRNN
from cyrnn.layers import SimpleRNNCell as Cell
from cyrnn.layers.base import legacy_config
from cyrnn.models.model_files import ModelFile, model_from_file

CASES = json.loads((Path(__file__).parent / "golden" / "keras2_configs.json").read_text())["cases"]
X = np.random.default_rng(0).standard_normal((3, 5, 2)).astype("float32")


def classes_of(entry):
    """The class names of the layers in an entry."""
    if isinstance(entry, list):
        return {name for part in entry for name in classes_of(part)}
    if not isinstance(entry, dict):
        return set()
    named = {entry["class_name"]} if "class_name" in entry and "name" in entry["config"] else set()
    return named | {name for part in entry.values() for name in classes_of(part)}


def missing(entry):
    """The class of cyrnn.layers that an entry needs and that does not exist yet, or None."""
    return next((name for name in ("Bidirectional", "StackedRNNCells") if name in classes_of(entry) - set(THERE)), None)


THERE = dir(cyrnn.layers)
TRANSPOSED = [name for name, case in CASES.items() if '"time_major": true' in json.dumps(case["entry"])]


def test_every_kind_is_recorded():
    kinds = set().union(*(classes_of(case["entry"]) for case in CASES.values()))
    assert {"Bidirectional", "StackedRNNCells", "RNN", "SimpleRNN", "SimpleRNNCell", "Embedding"} <= kinds
    assert len(TRANSPOSED) == 5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CASES)
def test_what_keras_2_computes(name):
    case = CASES[name]
    text = json.dumps(case["entry"])
    if missing(case["entry"]) is not None:
        with pytest.raises(ValueError, match=f"unknown.*class '{missing(case['entry'])}'"):
            cyrnn.from_json(text)
        return
    layer = cyrnn.from_json(text)
    if not layer.built:
        layer.build(np.shape(case["calls"][0]["x"]))
    layer.set_weights(case["weights"])
    assert_all_close(layer.losses, case["losses"], 1e-5)
    for call in case["calls"]:
        options = {"mask": np.array(call["mask"], bool)} if "mask" in call else {}
        if "initial_state" in call:
            options["initial_state"] = [np.array(state, "float32") for state in call["initial_state"]]
        x = np.array(call["x"])
        results = flat(layer(x if x.dtype.kind == "i" else x.astype("float32"), **options))
        assert {result.dtype.name for result in results} == {call["dtype"]}
        assert_all_close(results, call["results"], TOLERANCE.get(call["dtype"], 4e-3))


@pytest.mark.parametrize("name", CASES)
def test_reading_changes_no_config(name):
    entry = copy.deepcopy(CASES[name]["entry"])
    if missing(entry) is None:
        read = cyrnn.models.serialization.from_envelope(entry)
        type(read).from_config(entry["config"])
        assert cyrnn.from_json(read.to_json()).to_json() == read.to_json()
    else:
        legacy_config.modern(entry["class_name"], entry["config"])
    assert entry == CASES[name]["entry"]


# ---------------------------------------------------------------- options

LAYERS = [
    InputLayer((5, 2)),
    Masking(),
    Embedding(7, 2),
    Dense(3),
    Dropout(0.5),
    Activation("relu"),
    Cell(3),
    SimpleRNN(3, kernel_regularizer="l1", dtype="float64"),
    RNN(Cell(3)),
    cyrnn.Sequential([InputLayer((5, 2)), SimpleRNN(3), Dense(2)]),
]
OF_NO_MATTER = {
    "implementation": 2,
    "enable_caching_device": True,
    "input_length": 5,
    "time_major": False,
    "num_constants": 0,
    "reverse_state_order": False,
}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_options_of_keras_2_are_read_and_no_constructor_takes_them(layer):
    shape = {"batch_input_shape": [None, 5, 2]}
    config = {**layer.get_config(), **OF_NO_MATTER, **shape}
    if isinstance(layer, InputLayer):
        config.pop("batch_shape")
    before = copy.deepcopy(config)
    assert type(layer).from_config(config).get_config() == layer.get_config()
    assert config == before
    if not isinstance(layer, (InputLayer, cyrnn.Sequential)):
        arguments = type(layer).arguments_of(layer.get_config())
        for key, value in {**OF_NO_MATTER, **shape}.items():
            if (type(layer).__name__, key) == ("Embedding", "input_length"):
                continue  # which Keras 3 takes, as a constructor's argument
            with pytest.raises(ValueError, match=f"Unrecognized.*{key}"):
                type(layer)(**{**arguments, key: value})


@pytest.mark.parametrize("make", [lambda: SimpleRNN(3), lambda: RNN(Cell(3))])
def test_time_major_is_kept_in_configs(make):
    layer = make()
    assert not layer.time_major and "time_major" not in layer.get_config()
    config = {**layer.get_config(), "time_major": True}
    read = type(layer).from_config(config)
    assert read.time_major and read.get_config() == config
    assert type(layer).from_config(read.get_config()).time_major
    assert not make().time_major


def test_options_that_would_change_the_result_are_refused():
    for layer, option in (
        (SimpleRNN(3, name="r"), {"num_constants": 1}),
        (Dense(3, name="r"), {"time_major": True}),
        (Dense(3, name="r"), {"unheard_of": 1}),
    ):
        with pytest.raises(ValueError, match=rf"layer 'r' \({type(layer).__name__}\).*{next(iter(option))}"):
            type(layer).from_config({**layer.get_config(), **option})
    with pytest.warns(UserWarning, match="reverse_state_order"):
        RNN.from_config({**RNN(Cell(3)).get_config(), "reverse_state_order": True})


def test_a_class_of_your_own_keeps_options_of_these_names():
    class Mine(Layer):
        def __init__(self, implementation, **kwargs):
            super().__init__(**kwargs)
            self.implementation = implementation

    assert Mine.from_config({"implementation": 2, "enable_caching_device": True, "name": "m"}).implementation == 2


def test_a_layer_is_built_for_its_batch_input_shape():
    config = {**SimpleRNN(3).get_config(), "batch_input_shape": [None, 5, 2]}
    read = cyrnn.from_json(json.dumps({"class_name": "SimpleRNN", "config": config}))
    assert read.kernel.shape == (2, 3)
    assert not SimpleRNN.from_config(config).built


def test_a_sequential_is_built_for_what_its_first_layer_says():
    wrong = {"batch_input_shape": [None, 7]}  # Keras 2 passes over it where it is not in the first layer
    layers = [
        {"class_name": "SimpleRNN", "config": {"units": 3, "name": "r", "batch_input_shape": [None, 5, 2]}},
        {"class_name": "Dense", "config": {"units": 4, **wrong}},
    ]
    for config in (layers, {"layers": layers}, {"layers": layers, "name": "s"}):
        model = cyrnn.Sequential.from_config(config)
        assert model.input_shape == (None, 5, 2) and model.output_shape == (None, 4) and model.built
        entry = json.loads(model.to_json())["config"]["layers"][0]
        assert entry["class_name"] == "InputLayer" and entry["config"]["name"] == "r_input"
    inner = {"class_name": "Sequential", "config": layers}
    outer = cyrnn.from_json(json.dumps({"class_name": "Sequential", "config": [inner]}))
    assert outer(X).shape == (3, 4)
    no_input = {"layers": [{"class_name": "Dense", "config": {"units": 4}}], "build_input_shape": [None, 2]}
    assert cyrnn.from_json(json.dumps({"class_name": "Sequential", "config": no_input})).built


# ---------------------------------------------------------------- objects and names


@pytest.mark.parametrize(
    ("entry", "config"),
    [
        ({"class_name": "VarianceScaling", "config": {"distribution": "normal", "dtype": "float32"}}, None),
        ({"class_name": "VarianceScaling", "config": {"distribution": "uniform", "seed": 1}}, None),
        ({"class_name": "OrthogonalInitializer", "config": {"gain": 2.0, "seed": None}}, {"gain": 2.0, "seed": None}),
        ({"class_name": "IdentityInitializer", "config": {"gain": 2.0, "dtype": "float32"}}, {"gain": 2.0}),
        ({"class_name": "Constant", "config": {"value": [1, 2], "dtype": "float32"}}, {"value": [1, 2]}),
        ("orthogonal_initializer", {"gain": 1.0, "seed": None}),
    ],
)
def test_initializers_of_keras_2(entry, config):
    before = copy.deepcopy(entry)
    read = initializers.deserialize(entry)
    assert entry == before and config in (None, read.get_config())
    assert read((2, 2)).shape == (2, 2)


def test_regularizers_of_keras_2():
    read = regularizers.deserialize({"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}})
    assert read(np.ones(3)) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (None, "float32"),
        ("float64", "float64"),
        ("mixed_float16", "mixed_float16"),
        ({"class_name": "Policy", "config": {"name": "mixed_float16"}}, "mixed_float16"),
        ({"class_name": "PolicyV1", "config": {"name": "mixed_float16", "loss_scale": None}}, "mixed_float16"),
    ],
)
def test_dtypes_of_keras_2(dtype, name):
    read = SimpleRNN.from_config({"units": 3, "dtype": dtype})
    assert read.dtype_policy.name == read.cell.dtype_policy.name == name


@pytest.mark.parametrize(
    ("version", "expected"), [("1.2.2", 0.6), ("2.21.0", 0.6), ("3.6.0", 3.5 / 6), (None, 3.5 / 6)]
)
def test_what_hard_sigmoid_meant(version, expected):
    entry = {"class_name": "Activation", "config": {"activation": "hard_sigmoid"}, "keras_version": version}
    x = np.array([[0.5]], "float32")
    read = cyrnn.from_json(json.dumps(entry))
    np.testing.assert_allclose(read(x), [[expected]], rtol=1e-6)
    np.testing.assert_allclose(cyrnn.from_json(read.to_json())(x), [[expected]], rtol=1e-6)
    mine = cyrnn.from_json(json.dumps(entry), custom_objects={"hard_sigmoid": np.tanh})
    np.testing.assert_allclose(mine(x), np.tanh(x), rtol=1e-6)


class Mine(Cell):
    pass


class TakesTheDictApart(Cell):
    @classmethod
    def from_config(cls, config):
        return cls(config.pop("units"), kernel_initializer=config["kernel_initializer"].pop("class_name"))


@pytest.mark.parametrize("key", ["Custom>Mine", "Mine"])
@pytest.mark.parametrize(
    "names",
    [
        {"class_name": "Mine", "registered_name": "Custom>Mine", "module": None},
        {"class_name": "Custom>Mine"},
        {"class_name": "Mine", "registered_name": "Mine", "module": "their.module"},
    ],
    ids=str,
)
def test_names_with_a_package(names, key):
    activations = ("Custom>act", {"class_name": "function", "config": "Custom>act", "registered_name": "Custom>act"})
    for activation in activations:
        entry = {**names, "config": {"units": 3, "name": "c", "activation": activation}}
        rnn = {"class_name": "RNN", "config": {"name": "r", "cell": entry}}
        custom_objects = {key: Mine, "act": np.cos}
        if key == "Custom>Mine" and key not in names.values():
            with pytest.raises(ValueError, match="layer 'c' is of the unknown class 'Mine'"):
                cyrnn.from_json(json.dumps(rnn), custom_objects)
            continue
        read = cyrnn.from_json(json.dumps(rnn), custom_objects)
        assert type(read.cell) is Mine and read.cell.activation is np.cos


def test_a_name_with_its_package_comes_first():
    entry = {"class_name": "Mine", "registered_name": "a>Mine", "config": {"units": 3}}
    custom_objects = {"Mine": Cell, "a>Mine": Mine}
    assert type(cyrnn.from_json(json.dumps(entry), custom_objects)) is Mine


def test_a_class_of_your_own_may_take_its_config_apart():
    cell = {"class_name": "TakesTheDictApart", "config": Cell(3).get_config()}
    config = {"cell": cell, "name": "r"}
    before = copy.deepcopy(config)
    for _ in range(2):
        RNN.from_config(config, {"TakesTheDictApart": TakesTheDictApart})
        assert config == before


# ---------------------------------------------------------------- refused

CODE = ["4wEAAAAA", None, None]


@pytest.mark.parametrize(
    "activation", [{"class_name": "__lambda__", "config": {"value": CODE}}, {"value": CODE}, CODE, "<lambda>", "b>f"]
)
@pytest.mark.parametrize("inside", ["alone", "in an RNN", "in a Sequential", "in both"])
def test_code_and_unknown_functions_are_refused_by_the_name_of_the_layer(activation, inside):
    entry = {"class_name": "SimpleRNNCell", "config": {"units": 3, "name": "inner", "activation": activation}}
    words = r"layer 'inner' \(SimpleRNNCell\).*" + ("unknown" if isinstance(activation, str) else "never run")
    if inside in ("in an RNN", "in both"):
        entry = {"class_name": "RNN", "config": {"name": "outer", "cell": entry}}
        words = r"layer 'outer' \(RNN\).*" + words
    if inside in ("in a Sequential", "in both"):
        entry = {"class_name": "Sequential", "config": {"name": "s", "layers": [entry]}}
        words = r"layer 's' \(Sequential\).*" + words
    with pytest.raises(ValueError, match=words):
        cyrnn.from_json(json.dumps(entry))
    found = {"RNN": RNN, "SimpleRNNCell": Cell, "Sequential": cyrnn.Sequential}[entry["class_name"]]
    with pytest.raises(ValueError, match=words):
        found.from_config(entry["config"])


@pytest.mark.parametrize("class_name", ["Lambda", "ConvLSTM1D", "mine>Layer", "os.system"])
def test_unknown_layers_are_refused_by_name(class_name):
    entry = {"class_name": class_name, "config": {"name": "inner", "function": CODE}}
    for outer in (
        entry,
        {"class_name": "RNN", "config": {"name": "outer", "cell": entry}},
        {"class_name": "Sequential", "config": {"name": "outer", "layers": [entry]}},
        {"class_name": "Sequential", "config": [entry]},
    ):
        with pytest.raises(ValueError, match=f"layer 'inner' is of the unknown class '{class_name}'"):
            cyrnn.from_json(json.dumps(outer))


def test_models_in_files_share_the_meaning_of_names():
    layers = [{"class_name": "Activation", "config": {"activation": "hard_sigmoid", "batch_input_shape": [None, 1]}}]
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    for version, expected in (("2.13.1", 0.6), ("3.0.0", 3.5 / 6)):
        model = model_from_file(ModelFile(config, version, lambda of_a_layer: [{} for _ in of_a_layer]))
        np.testing.assert_allclose(model(np.array([[0.5]], "float32")), [[expected]], rtol=1e-6)
