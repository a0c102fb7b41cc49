"""Configs of functional models that somebody wrote by hand: read if they make sense, else refused."""

import copy
import json

import numpy as np
import pytest

import cyrnn
from cyrnn.layers import Activation, Dense, Input, SimpleRNN, TimeDistributed

X = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
SOUND = json.loads(
    cyrnn.Model(
        x := Input((5, 3), name="x"), Dense(2, name="last")(SimpleRNN(4, name="rnn")(x)), name="sound"
    ).to_json()
)
OUTPUT_OF_X = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 3], "dtype": "float32"}}


def tensor(*history):
    return {**OUTPUT_OF_X, "config": {**OUTPUT_OF_X["config"], "keras_history": list(history)}}


def changed(layer, **entries):
    """The sound config with other entries for one of its layers; for layer None, of the model."""
    config = copy.deepcopy(SOUND)
    entry = config["config"] if layer is None else {e["name"]: e for e in config["config"]["layers"]}[layer]
    entry.update(entries)
    return json.dumps(config)


def called_with(*args, **kwargs):
    """The sound config with other arguments for the RNN."""
    return changed("rnn", inbound_nodes=[{"args": list(args), "kwargs": kwargs}])


def operation(class_name, *args, **options):
    """The sound config with an operation in the place of the last layer."""
    nodes = [{"args": list(args), "kwargs": {}}]
    entry = {"module": "keras.src.ops.numpy", "class_name": class_name, "config": {"name": "last", **options}}
    return changed("last", **entry, inbound_nodes=nodes)


def test_the_sound_one_is_read():
    model = cyrnn.from_json(json.dumps(SOUND))
    assert [layer.name for layer in model.layers] == ["x", "rnn", "last"] and model(X).shape == (4, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (called_with(tensor("last", 0, 0)), "layer 'rnn' waits for.*in a circle"),
        (called_with(tensor("rnn", 0, 0)), "layer 'rnn' waits for.*in a circle"),
        (called_with(tensor("nobody", 0, 0)), "layer 'rnn' refers to a layer 'nobody'"),
        (called_with(tensor("x", 1, 0)), "'rnn' is called with output 0 of call 1 of layer 'x'.*no such call"),
        (called_with(tensor("x", 10**30, 0)), "'rnn'.*no such call"),
        (called_with(tensor("x", -1, 0)), r"'rnn'.*numbers from 0, got \['x', -1, 0\]"),
        (called_with(tensor("x", 0, -1)), "'rnn'.*numbers from 0"),
        (called_with(tensor("x", 0, 9)), "'rnn'.*output 9.*only 1 outputs"),
        (called_with(tensor("x", True, 0)), "'rnn'.*numbers from 0"),
        (called_with(tensor("x", 0)), "'rnn'.*must be named"),
        (called_with(OUTPUT_OF_X), "'rnn'.*must be named"),
        (called_with(tensor(["x"], 0, 0)), "'rnn'.*must be named"),
        (called_with({"class_name": "__keras_tensor__", "config": None}), "'rnn'.*dict as config"),
        (called_with(), "'rnn' is called with nothing"),
        (called_with([[1.0]]), "'rnn' is called with nothing"),
        (called_with([tensor("x", 0, 0)]), "'rnn'.*sequences must be an array, got list"),
        (called_with(tensor("x", 0, 0), speed=2), "'rnn'.*speed"),
        (called_with(tensor("x", 0, 0), self=2), "'rnn'.*self"),
        (called_with(tensor("x", 0, 0), initial_state=tensor("x", 0, 0)), "'rnn'.*initial_state"),
        (
            called_with(
                tensor("x", 0, 0), mask={"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}
            ),
            "'rnn'.*marshalled code, which is never run",
        ),
        (called_with(tensor("x", 0, 0), mask={"class_name": "Dense", "config": {}}), "'rnn'.*'Dense' is not supported"),
        (
            called_with(tensor("x", 0, 0), mask={"class_name": "__numpy__", "config": {"value": 1, "dtype": "object"}}),
            "'rnn'.*dtype 'object'",
        ),
        (changed("rnn", inbound_nodes=[[["x", 0, 0, {"speed": 1}]]]), "'rnn'.*speed"),
        (changed("rnn", inbound_nodes=[[["x", 0, 3, {}]]]), "'rnn'.*only 1 outputs"),
        (changed("rnn", inbound_nodes=[[["x", 0]]]), "'rnn'.*must name"),
        (changed("rnn", inbound_nodes=[[]]), "'rnn'.*must name"),
        (changed("rnn", inbound_nodes=[7]), "'rnn'.*must name"),
        (changed("rnn", inbound_nodes=7), "'rnn' must have a list of calls"),
        (changed("rnn", inbound_nodes=[{"args": 1, "kwargs": {}}]), "'rnn'.*list of args"),
        (changed("x", inbound_nodes=[{"args": [tensor("x", 0, 0)], "kwargs": {}}]), "'x'.*an input layer none"),
        (changed("rnn", name="last"), "name of its own, got 'last'"),
        (changed("rnn", name=3), "name of its own, got 3"),
        (changed("rnn", class_name="ConvLSTM1D"), "'rnn' is of the unknown class 'ConvLSTM1D'"),
        (changed("rnn", config=None), "'rnn'|must be a dict"),
        (changed(None, layers=[]), "list of layers"),
        (changed(None, layers={}), "list of layers"),
        (changed(None, layers=[5]), "name of its own"),
        (changed(None, output_layers=["last", 1, 0]), "output 0 of call 1 of layer 'last', which is not there"),
        (changed(None, output_layers=["nobody", 0, 0]), "'output_layers'.*'nobody'"),
        (changed(None, output_layers=[]), "must be named"),
        (changed(None, output_layers="last"), "must be named"),
        (changed(None, input_layers=None), "must be named"),
        (changed(None, input_layers=[["x", 0, 0], ["x", 0, 0]]), "different from each other"),
        (operation("Tile", tensor("rnn", 0, 0)), "'last' is of the unknown operation 'Tile'"),
        (changed("last", class_name="Any", module="keras.src.ops.numpy", config=[]), "config of 'last' must be a dict"),
        (operation("Reshape", tensor("rnn", 0, 0), newshape=[-1, -1]), "'last' .* has the option 'newshape'"),
        (operation("Reshape", tensor("rnn", 0, 0), newshape=[-1, 1.5]), "'last' .* has the option 'newshape'"),
        (operation("Reshape", tensor("rnn", 0, 0), newshape=[1] * 100), "'last' .* has the option 'newshape'"),
        (operation("Any", tensor("rnn", 0, 0), axis=10**9), "'last'"),
        (operation("Any", tensor("rnn", 0, 0), axis="all"), "'last'.*'axis'"),
        (operation("Any", tensor("rnn", 0, 0), out=1), "'last'.*'out'"),
        (operation("Add", tensor("rnn", 0, 0), tensor("x", 0, 0)), "'last'.*do not fit"),
        (operation("Concatenate", [tensor("rnn", 0, 0), tensor("x", 0, 0)], axis=-1), "'last'.*cannot be joined"),
        (operation("GetItem", tensor("rnn", 0, 0), [0, 0, 0]), "'last'"),
        (operation("Add", tensor("rnn", 0, 0)), "'last'"),
    ],
)
def test_what_makes_no_sense_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        cyrnn.from_json(text)


def test_a_slice_and_arithmetic():
    part = {"class_name": "__slice__", "config": {"start": None, "stop": 2, "step": None}}
    everything = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
    model = cyrnn.from_json(operation("GetItem", tensor("x", 0, 0), [everything, part, -1]))
    assert model.output_shape == (None, 2)
    np.testing.assert_array_equal(model(X), X[:, :2, -1])
    again = cyrnn.from_json(model.to_json())
    np.testing.assert_array_equal(again(X), X[:, :2, -1])
    ints = cyrnn.from_json(operation("TrueDivide", tensor("x", 0, 0), 2))
    assert ints(X).dtype == np.float32 and ints.outputs[0].dtype == "float32"
    np.testing.assert_array_equal(ints(X), X / 2)


def test_an_ellipsis_a_number_of_numpy_and_a_shape():
    model = cyrnn.from_json(operation("GetItem", tensor("x", 0, 0), [{"class_name": "__ellipsis__", "config": {}}, 0]))
    np.testing.assert_array_equal(model(X), X[..., 0])
    x = cyrnn.Input(X.shape[1:])
    sliced = cyrnn.Model(x, x[..., 1])
    np.testing.assert_array_equal(cyrnn.from_json(sliced.to_json())(X), X[..., 1])
    scaled = cyrnn.Model(x, x * np.float32(0.5))
    np.testing.assert_array_equal(cyrnn.from_json(scaled.to_json())(X), X / 2)
    shaped = cyrnn.from_json(operation("Reshape", tensor("x", 0, 0), newshape=[-1, X[0].size]))
    np.testing.assert_array_equal(shaped(X), X.reshape(len(X), -1))


def test_many_calls_and_deep_graphs():
    x = Input((3,))
    shared, y = Dense(3), x
    for _ in range(3000):
        y = shared(y)
    many = cyrnn.Model(x, y)
    for _ in range(1000):
        y = Activation("linear")(y)
    config = json.loads(cyrnn.Model(x, y).to_json())
    config["config"]["layers"].reverse()  # each layer before those that it depends on
    read = cyrnn.from_json(json.dumps(config))
    assert len(read.layers) == 1002 and len(many.layers) == 2
    x = Input((None, 3))
    model = cyrnn.Model(x, TimeDistributed(Dense(3))(x))
    for _ in range(30):  # to run it takes 2**30 calls; to make it, write it and read it, a few
        x = Input((None, 3))
        model = cyrnn.Model(x, model(model(x)))
    x = Input((7, 3))
    model = cyrnn.from_json(cyrnn.Model(x, model(x)).to_json())
    assert model.output_shape == (None, 7, 3)


def test_models_nested_beyond_all_measure_are_refused():
    call = json.dumps(SOUND["config"]["layers"][1]["inbound_nodes"])
    text = json.dumps(SOUND)
    first = json.dumps(SOUND["config"]["layers"][0])
    for depth in range(200):
        nested = f'{{"name": "m{depth}", "inbound_nodes": {call}, ' + text.removeprefix("{")
        ends = f'"input_layers": ["x", 0, 0], "output_layers": ["m{depth}", 1, 0]'
        text = f'{{"class_name": "Functional", "config": {{"name": "m", "layers": [{first}, {nested}], {ends}}}}}'
    with pytest.raises(ValueError, match="RecursionError|not JSON"):
        cyrnn.from_json(text)


@pytest.mark.parametrize(
    ("class_name", "args", "kwargs"),
    [
        ("Add", 2, {"where": False}),
        ("Add", 2, {"out": 1.0}),
        ("Add", 3, {}),
        ("Sqrt", 2, {}),
        ("OnesLike", 1, {"shape": [30000, 30000]}),
        ("Sum", 1, {"initial": 3.0}),
        ("Multiply", 2, {"dtype": "O"}),
        ("Subtract", 2, {"casting": "unsafe"}),
        ("GetItem", 1, {"key": [[0, 1, 0, 1]]}),
        ("GetItem", 1, {"key": True}),
    ],
)
def test_calls_of_operations_take_no_options_of_numpy(class_name, args, kwargs):
    def tensor(layer):
        history = {"shape": [None, 4], "dtype": "float32", "keras_history": [layer, 0, 0]}
        return {"class_name": "__keras_tensor__", "config": history}

    node = {"args": [tensor("x")] * args, "kwargs": kwargs}
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "name": "x", "inbound_nodes": [],
         "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}},
        {"module": "keras.src.ops.numpy", "class_name": class_name, "name": "y", "config": {"name": "y"},
         "inbound_nodes": [node]},
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]}
    config = {"name": "m", "trainable": True, "layers": layers, **ends}
    with pytest.raises(ValueError, match="'y'"):
        cyrnn.from_json(json.dumps({"module": "keras", "class_name": "Functional", "config": config}))
