"""Models from ONNX files: what torch wrote, what `export_onnx` wrote, and graphs by hand, run by ONNX Runtime too."""

from pathlib import Path

import numpy as np
import pytest
from onnx_by_hand import FEATURES, UNITS, close, graph, onnx, rnn, run, sequences, value, weights

import cyrnn
from cyrnn import layers as L
from cyrnn.layers.base import nest
from cyrnn.saving import ModelFileError, export_onnx, from_onnx

GOLDEN = Path(__file__).parent / "golden"
TORCH = np.load(GOLDEN / "onnx.npz")
TIME_FIRST = ("final_states", "stack_time_first", "lstm_final_states", "gru_stack_without_bias")


def batch_first(array, name):
    """What torch returned, as a model here has it: batch first, directions beside each other."""
    if array.ndim == 3 and not name.endswith(".0"):  # states (layers and directions, batch, units)
        return np.concatenate(list(array), axis=-1)
    return array.swapaxes(0, 1) if array.ndim == 3 and name.removesuffix(".0") in TIME_FIRST else array


# ---------------------------------------------------------------- files of torch


@pytest.mark.parametrize("path", sorted((GOLDEN / "onnx").glob("*.onnx")), ids=lambda path: path.stem)
def test_files_of_torch(path):
    name = path.stem
    model = from_onnx(path)
    x = TORCH[f"{name}.x"]
    outputs = nest.leaves(model(x.swapaxes(0, 1) if name in TIME_FIRST else x))
    stored = [key for key in TORCH.files if key.startswith(f"{name}.") and not key.endswith(".x")]
    assert len(outputs) == len(stored) >= 1
    for output, key in zip(outputs, sorted(stored), strict=True):
        close(output, batch_first(TORCH[key], key))


def test_models_are_made_of_layers():
    kinds = [type(layer).__name__ for layer in from_onnx(GOLDEN / "onnx" / "tagger.onnx").layers]
    rnns = ["SimpleRNN", "SimpleRNN"]
    assert kinds == ["InputLayer", "Embedding", "LayerNormalization", *rnns, "Dense", "Activation", "Dense", "Softmax"]
    model = from_onnx(GOLDEN / "onnx" / "last_of_both.onnx")
    (layer,) = [layer for layer in model.layers if isinstance(layer, L.Bidirectional)]
    assert layer.name == "rnn_RNN" and layer.forward_layer.units == 3
    assert model.input_names == ["x"] and model.input_shape == (None, None, 2)


def test_models_travel(tmp_path):
    model = from_onnx(GOLDEN / "onnx" / "last_of_both.onnx")
    x = TORCH["last_of_both.x"]
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cyrnn.saving.load_model(tmp_path / "model.keras")(x), model(x))
    export_onnx(model, tmp_path / "model.onnx")
    close(from_onnx(tmp_path / "model.onnx")(x), model(x))


# ---------------------------------------------------------------- there and back


def with_weights(model, seed):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.2, 0.7, w.shape) * rng.choice([-1, 1], w.shape) for w in model.weights])
    return model


def random_model(seed):
    """A few layers, one after the other."""
    rng = np.random.default_rng(seed)

    def option():
        return bool(rng.integers(2))

    def cell():
        names = ["tanh", "relu", "sigmoid", "linear", "leaky_relu", "hard_sigmoid", "elu"]
        activation, gates = (str(rng.choice(names)) for _ in range(2))
        units, options = int(rng.integers(1, 6)), {"use_bias": option()}
        kind = rng.integers(3)
        if kind == 0:
            return L.SimpleRNNCell(units, activation, **options)
        gates = gates if option() else "sigmoid"
        if kind == 1:
            return L.LSTMCell(units, activation, gates, **options)
        return L.GRUCell(units, activation, gates, reset_after=option(), **options)

    def recurrent(sequences):
        cells = [cell() for _ in range(rng.integers(1, 3))]
        layer = L.RNN(cells if len(cells) > 1 else cells[0], return_sequences=sequences)
        if option():
            mode = str(rng.choice(["concat", "sum", "mul", "ave"]))
            return L.Bidirectional(layer, mode)
        return L.RNN(layer.cell, return_sequences=sequences, go_backwards=option())

    layers = [L.Input((6, FEATURES))]
    for _ in range(rng.integers(0, 3)):
        layers += [recurrent(True), L.Dense(int(rng.integers(1, 5)), "softsign"), L.Dropout(0.1)]
    layers += [recurrent(False), L.Dense(2, "softmax")] if option() else [recurrent(True), L.GlobalMaxPooling1D()]
    return with_weights(cyrnn.Sequential(layers), seed)


@pytest.mark.parametrize("seed", range(80))
def test_random_models_there_and_back(tmp_path, seed):
    model, x, path = random_model(seed), sequences(timesteps=6), tmp_path / "model.onnx"
    export_onnx(model, path)
    proto = onnx.load(path)
    close(run(proto, **{proto.graph.input[0].name: x})[0], model(x))
    close(from_onnx(path)(x), model(x))


def test_layers_are_the_same_again(tmp_path):
    layers = [
        L.Input((7, 3)),
        L.SimpleRNN(4, "hard_sigmoid", return_sequences=True),
        L.Bidirectional(L.SimpleRNN(3, "relu", return_sequences=True)),
        L.TimeDistributed(L.Dense(5, "elu")),
        L.Bidirectional(L.SimpleRNN(2, return_sequences=True)),
        L.LSTM(3, "relu", return_sequences=True),
        L.Bidirectional(L.GRU(2, reset_after=False, return_sequences=True)),
        L.GRU(3, recurrent_activation="hard_sigmoid"),
        L.LayerNormalization(),
        L.Dense(2, "softmax"),
    ]
    model = with_weights(cyrnn.Sequential(layers), 1)
    export_onnx(model, tmp_path / "model.onnx")
    again = from_onnx(tmp_path / "model.onnx")
    kinds = [type(layer).__name__ for layer in again.layers[1:]]
    rnns = ["SimpleRNN", "Bidirectional", "Dense", "Activation", "Bidirectional", "LSTM", "Bidirectional", "GRU"]
    assert kinds == [*rnns, "LayerNormalization", "Dense", "Softmax"]
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert again.layers[1].activation is model.layers[0].activation
    assert again.layers[6].activation is model.layers[4].activation
    assert [again.layers[7].forward_layer.reset_after, again.layers[8].reset_after] == [False, True]
    assert again.layers[8].recurrent_activation is model.layers[6].recurrent_activation


def test_states_and_several_outputs_there_and_back(tmp_path):
    x, begin = L.Input((None, 3)), L.Input((4,))
    outputs = L.SimpleRNN(4, return_sequences=True, return_state=True)(x, initial_state=begin)
    both = L.Bidirectional(L.SimpleRNN(4, return_state=True))(outputs[0], initial_state=[begin, outputs[1]])
    lstm = L.LSTM(4, return_sequences=True, return_state=True)(outputs[0], initial_state=[begin, outputs[1]])
    ways = L.Bidirectional(L.LSTM(4, return_state=True))(lstm[0], initial_state=[begin, *lstm[1:], outputs[1]])
    model = with_weights(cyrnn.Model([x, begin], [*outputs, *both, *lstm, *ways]), 2)
    export_onnx(model, tmp_path / "model.onnx")
    arrays = [sequences(), np.ones((5, 4), "f4")]
    for ours, theirs in zip(from_onnx(tmp_path / "model.onnx")(arrays), model(arrays), strict=True):
        close(ours, theirs)


def test_layers_around_there_and_back(tmp_path):
    layers = [
        L.Input((7,), dtype="int64"),
        L.Embedding(9, 4),
        L.Rescaling(0.5, 1.0),
        L.LeakyReLU(0.1),
        L.ReLU(1.5),
        L.Permute((2, 1)),
        L.Flatten(),
        L.Dense(6, "silu"),
        L.Reshape((3, 2)),
        L.GlobalAveragePooling1D(),
        L.Softmax(),
    ]
    model = with_weights(cyrnn.Sequential(layers), 3)
    export_onnx(model, tmp_path / "model.onnx")
    words = np.random.default_rng(0).integers(0, 9, (5, 7))
    close(from_onnx(tmp_path / "model.onnx")(words), model(words))


# ---------------------------------------------------------------- graphs by hand


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    "attributes, usual",
    [
        ({}, {}),
        ({"activations": ["Relu"]}, {}),
        ({"activations": ["HardSigmoid"]}, {"activation_alpha": [0.2], "activation_beta": [0.5]}),
        ({"activations": ["HardSigmoid"], "activation_alpha": [1 / 6], "activation_beta": [0.5]}, {}),
        ({"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}, {}),
        ({"activations": ["LeakyRelu"], "activation_alpha": [0.2]}, {}),
        ({"activations": ["Elu"]}, {"activation_alpha": [1.0]}),
    ],
    ids=["default", "Relu", "HardSigmoid", "HardSigmoid of Keras", "Affine", "LeakyRelu", "Elu"],
)
def test_rnn_operators_by_hand(attributes, usual, direction):
    count = 2 if direction == "bidirectional" else 1
    attributes, usual = ({key: values * count for key, values in part.items()} for part in (attributes, usual))
    proto = rnn(count, direction=direction, hidden_size=UNITS, **attributes)
    x = sequences()
    # Older ONNX Runtimes have other numbers than ONNX says for those that are not given.
    given = rnn(count, direction=direction, hidden_size=UNITS, **{**attributes, **usual})
    steps, finals = run(given, x=x.swapaxes(0, 1))
    ours, our_finals = from_onnx(proto)(x)
    close(ours, np.concatenate([steps[:, n].swapaxes(0, 1) for n in range(count)], -1))
    close(our_finals, np.concatenate(list(finals), -1))


GATES = {"LSTM": 4, "GRU": 3}


def gated(kind, directions=1, inputs=("x", "W", "R", "B"), more=(), arrays=None, results=None, **attributes):
    """An LSTM or GRU by hand, with all its outputs."""
    rng = np.random.default_rng(5)
    rows = GATES[kind] * UNITS
    shapes = {"W": (rows, FEATURES), "R": (rows, UNITS), "B": (2 * rows,)}
    own = {name: rng.uniform(-0.7, 0.7, (directions, *shape)).astype("f4") for name, shape in shapes.items()}
    outputs = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    attributes = {"direction": "bidirectional"} | attributes if directions == 2 else attributes
    node = (kind, list(inputs), outputs, {"hidden_size": UNITS, **attributes})
    return graph([node], results or outputs, {**own, **(arrays or {})}, more=more)


def check_gated(proto, **states):
    """The model of the file returns what ONNX Runtime returns, with the directions beside each other."""
    x = sequences()
    wanted = run(proto, x=x.swapaxes(0, 1), **states)
    given = [np.concatenate(list(state), -1) for state in states.values()]
    got = nest.leaves(from_onnx(proto)([x, *given] if given else x))
    assert len(got) == len(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        parts = [part.swapaxes(0, 1) for part in np.moveaxis(theirs, 1, 0)] if theirs.ndim == 4 else list(theirs)
        close(ours, np.concatenate(parts, -1))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind, reset", [("LSTM", {}), *(("GRU", {"linear_before_reset": n}) for n in (0, 1))])
@pytest.mark.parametrize(
    "activations, parameters",
    [
        (None, {}),
        (["Sigmoid", "Relu"], {}),
        (["HardSigmoid", "Tanh"], {"activation_alpha": [0.2], "activation_beta": [0.5]}),
        (["HardSigmoid", "LeakyRelu"], {"activation_alpha": [1 / 6, 0.2], "activation_beta": [0.5]}),
        (["Softsign", "Elu"], {"activation_alpha": [1.0]}),
        (["Elu", "HardSigmoid"], {"activation_alpha": [1.0, 0.2], "activation_beta": [0.5]}),
    ],
    ids=lambda value: value and "-".join(value),
)
def test_gated_operators_by_hand(activations, parameters, kind, reset, direction):
    count = 2 if direction == "bidirectional" else 1
    given = dict(parameters)
    if activations is not None:
        names = activations + activations[1:] if kind == "LSTM" else activations
        given["activations"] = names * count
        alphas = parameters.get("activation_alpha", [])
        takers = {"HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1}
        per_name = dict(zip([name for name in activations if name in takers], alphas, strict=True))
        given["activation_alpha"] = [per_name[name] for name in names if name in takers] * count
        given["activation_beta"] = [0.5 for name in names if takers.get(name) == 2] * count
    given = {key: values for key, values in given.items() if values}
    for inputs in (("x", "W", "R", "B"), ("x", "W", "R")):
        check_gated(gated(kind, count, inputs, direction=direction, **given, **reset))


@pytest.mark.parametrize("results", [["Y"], ["Y_h"], ["Y_c"], ["Y_h", "Y_c"], ["Y", "Y_c"]])
@pytest.mark.parametrize("directions", [1, 2])
def test_only_the_outputs_that_are_used(directions, results):
    check_gated(gated("LSTM", directions, results=results))


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("names", [("h", "c"), ("h", ""), ("", "c"), ("zeros", "c"), ("h", "zeros")])
def test_initial_states_of_an_lstm(names, directions):
    rng = np.random.default_rng(6)
    shape = (directions, 5, UNITS)
    states = {name: rng.standard_normal(shape).astype("f4") for name in ("h", "c") if name in names}
    more = [value(name, (directions, None, UNITS)) for name in states]
    zeros = {"zeros": np.zeros(shape, "f4")}
    inputs = ["x", "W", "R", "B", "", *names]
    check_gated(gated("LSTM", directions, inputs, more, zeros), **states)
    for place, name in enumerate(("initial_h", "initial_c")):
        inputs = ["x", "W", "R", "B", "", *(["", "ones"] if place else ["ones"])]
        with pytest.raises(ModelFileError, match=rf"'my LSTM' \(LSTM\): its {name} are constants that differ within"):
            from_onnx(gated("LSTM", directions, inputs, arrays={"ones": rng.random(shape, "f4")}))
        check_gated(gated("LSTM", directions, inputs, arrays={"ones": np.ones(shape, "f4")}))  # the same for all


def test_one_initial_state_of_an_lstm_there_and_back(tmp_path):
    states = np.random.default_rng(6).standard_normal((1, 5, UNITS)).astype("f4")
    proto = gated("LSTM", 1, ["x", "W", "R", "B", "", "", "c"], [value("c", (1, None, UNITS))], results=["Y_h"])
    model = from_onnx(proto)
    export_onnx(model, tmp_path / "model.onnx")
    close(from_onnx(tmp_path / "model.onnx")([sequences(), states[0]]), model([sequences(), states[0]]))


def test_operations_there_and_back(tmp_path):
    x = L.Input((7, 3))
    of = cyrnn.activations
    parts = [of.relu(x), of.softmax(x), of.silu(x), of.hard_sigmoid(x), of.exponential(x), abs(x), x**2, abs(x) ** 1.5]
    model = cyrnn.Model(x, parts)
    export_onnx(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    theirs = run(proto, **{proto.graph.input[0].name: sequences()})
    for ours, wanted, again in zip(model(sequences()), theirs, from_onnx(proto)(sequences()), strict=True):
        close(ours, wanted)
        close(again, wanted)


def test_peepholes_of_zeros_are_none():
    peepholes = {"P": np.zeros((1, 3 * UNITS), "f4")}
    check_gated(gated("LSTM", 1, ["x", "W", "R", "B", "", "", "", "P"], arrays=peepholes))


def test_batches_first_by_layout():
    proto = rnn(2, direction="bidirectional", layout=1)
    theirs = rnn(2, direction="bidirectional")
    for kind in GATES:
        pair = from_onnx(gated(kind, 2, layout=1)), from_onnx(gated(kind, 2))
        for ours, wanted in zip(*(model(sequences()) for model in pair), strict=True):
            np.testing.assert_array_equal(ours, wanted)
    for ours, wanted in zip(from_onnx(proto)(sequences()), from_onnx(theirs)(sequences()), strict=True):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("lengths", [[0, 0, -1], [0, 0, 2 * UNITS], [7, -1, 2 * UNITS], [7, 5, 2 * UNITS], None])
def test_directions_become_features(lengths):
    if lengths is None:  # the lengths that there are, in their order
        nodes, arrays = SWAPPED, {"i": np.array([0, 1]), "n": np.array([2 * UNITS])}
    else:
        nodes, arrays = [("Reshape", ["t", "s"], ["Z"], {})], {"s": np.array(lengths)}
    for timesteps in (None, 7) if lengths != [7, 5, 2 * UNITS] else (7,):
        proto = graph([*BOTH, *nodes], ["Z"], {**weights(2), **arrays}, x=(timesteps, 5, FEATURES))
        if timesteps is None and lengths == [7, -1, 2 * UNITS]:
            with pytest.raises(ModelFileError, match="my Reshape"):
                from_onnx(proto)
        else:
            close(from_onnx(proto)(sequences()), from_onnx(rnn(2))(sequences())[0])


def test_initial_states():
    states = np.random.default_rng(4).standard_normal((1, 5, UNITS)).astype("f4")
    inputs, x = ["x", "W", "R", "B", "", "h"], sequences()
    node = ("RNN", inputs, ["Y", "Y_h"], {"hidden_size": UNITS})
    proto = graph([node], ["Y_h"], weights(), more=[value("h", (1, None, UNITS))])
    (expected,) = run(proto, x=x.swapaxes(0, 1), h=states)
    close(from_onnx(proto)([x, states[0]]), expected[0])
    zeros = graph([node], ["Y_h"], {**weights(), "h": np.zeros((1, 5, UNITS), "f4")})
    close(from_onnx(zeros)(x), from_onnx(rnn())(x)[1])
    with pytest.raises(ModelFileError, match=r"'my RNN' \(RNN\): its initial_h are constants that differ"):
        from_onnx(graph([node], ["Y_h"], {**weights(), "h": states}))


# ---------------------------------------------------------------- what is refused

BOTH = [
    ("RNN", ["x", "W", "R", "B"], ["Y", "Y_h"], {"direction": "bidirectional"}),
    ("Transpose", ["Y"], ["t"], {"perm": [0, 2, 1, 3]}),
]
SWAPPED = [
    ("Shape", ["t"], ["s"], {}),
    ("Gather", ["s", "i"], ["two"], {}),
    ("Concat", ["two", "n"], ["three"], {"axis": 0}),
    ("Reshape", ["t", "three"], ["Z"], {}),
]
SUBGRAPH = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "body", [], [value("y", None)])
REFUSED = {
    "lengths that are constants": (
        lambda: graph(
            [("RNN", ["x", "W", "R", "B", "n"], ["Y"], {})], ["Y"], {**weights(), "n": np.full(5, 3, np.int32)}
        ),
        "my RNN.*sequence_lens are constants",
    ),
    "clip": (lambda: rnn(clip=1.0), "my RNN.*clip"),
    "direction": (lambda: rnn(direction="sideways"), "my RNN.*sideways"),
    "hidden_size": (lambda: rnn(hidden_size=5), "my RNN.*hidden_size"),
    "directions": (lambda: rnn(direction="bidirectional"), "my RNN.*weights must be of 2 directions"),
    "activation": (lambda: rnn(activations=["ScaledTanh"]), "my RNN.*'scaledtanh'"),
    "alpha": (lambda: rnn(activations=["LeakyRelu"]), r"my RNN.*'leakyrelu' with alpha \[0\.01"),
    "whose alpha": (
        lambda: rnn(2, activations=["Tanh", "LeakyRelu"], activation_alpha=[0.0, 0.2]),
        "my RNN.*activation_alpha for each of",
    ),
    "no weights": (lambda: rnn(inputs=("x", "nowhere", "R")), "my RNN.*'nowhere' is used before"),
    "weights of the input": (lambda: rnn(inputs=("x", "x", "R")), "my RNN.*must be a constant"),
    "peepholes": (
        lambda: gated("LSTM", 1, ["x", "W", "R", "B", "", "", "", "P"], arrays={"P": np.ones((1, 12), "f4")}),
        "my LSTM.*peepholes, the input P",
    ),
    "coupled gates": (lambda: gated("LSTM", input_forget=1), "my LSTM.*input_forget"),
    "clip of a GRU": (lambda: gated("GRU", clip=0.5), "my GRU.*clip"),
    "two activations": (
        lambda: gated("LSTM", activations=["Sigmoid", "Tanh", "Relu"]),
        "my LSTM.*the same for the candidate and for the cell state",
    ),
    "too few activations": (lambda: gated("LSTM", activations=["Sigmoid", "Tanh"]), "my LSTM.*must have 3 activations"),
    "gates that are unknown": (
        lambda: gated("GRU", activations=["ThresholdedRelu", "Tanh"]),
        "my GRU.*'thresholdedrelu'",
    ),
    "another operator's weights": (
        lambda: graph([("LSTM", ["x", "W", "R"], ["Y"], {})], ["Y"], weights()),
        "LSTM.*of 1",
    ),
    "a graph within": (
        lambda: graph([("If", ["x"], ["Y"], {"then_branch": SUBGRAPH, "else_branch": SUBGRAPH})], ["Y"], {}),
        r"'my If' \(If\) is not an operator",
    ),
    "sorted by length": (
        lambda: graph([("TopK", ["x", "k"], ["v", "Y"], {})], ["Y"], {"k": np.array([2])}),
        "my TopK.*enforce_sorted=True",
    ),
    "a loop": (lambda: graph([("Loop", ["", "", "x"], ["Y"], {"body": SUBGRAPH})], ["Y"], {}), "my Loop"),
    "no output": (lambda: graph([("Constant", [], ["Y"], {"value_float": 1.0})], ["Y"], {}), "'Y' does not depend"),
    "the batch": (lambda: graph([("Gather", ["x", "i"], ["Y"], {})], ["Y"], {"i": np.array(0)}), "part of the batch"),
    "a wide constant": (
        lambda: graph([("Add", ["x", "c"], ["Y"], {})], ["Y"], {"c": np.ones((2, 1, 3), "f4")}),
        "my Add.*does not broadcast",
    ),
    "orders": (
        lambda: graph([("Transpose", ["x"], ["t"], {}), ("Add", ["x", "t"], ["Y"], {})], ["Y"], {}, x=(2, None, 2)),
        "my Add.*same axes",
    ),
    "time and batch as one": (
        lambda: graph(
            [*BOTH, ("Reshape", ["t", "s"], ["Z"], {})], ["Z"], {**weights(2), "s": np.array([-1, 1, 2 * UNITS])}
        ),
        "my Reshape.*it makes",
    ),
    "batch and time as one, of open lengths": (
        lambda: graph([("Reshape", ["x", "s"], ["Y"], {})], ["Y"], {"s": np.array([-1, 2, 3])}),
        "my Reshape.*it makes",
    ),
    "lengths of other axes": (
        lambda: graph([*BOTH, *SWAPPED], ["Z"], {**weights(2), "i": np.array([1, 0]), "n": np.array([2 * UNITS])}),
        "my Reshape.*it makes",
    ),
    "training": (
        lambda: graph([("Dropout", ["x", "", "t"], ["Y"], {})], ["Y"], {"t": np.array(True)}),
        "my Dropout.*training",
    ),
    "old": (lambda: graph([("Identity", ["x"], ["Y"], {})], ["Y"], {}, opset=6), "from opset 7"),
    "nothing": (onnx.ModelProto, "must hold a graph"),
    "half": (
        lambda: graph([("Mul", ["x", "c"], ["Y"], {})], ["Y"], {"c": np.ones(3, "f2")}),
        "my Mul.*element type 10",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused_by_the_node(case, tmp_path):
    make, words = REFUSED[case]
    with pytest.raises(ModelFileError, match=words) as caught:
        from_onnx(make())
    assert "\n" not in str(caught.value)
    path = tmp_path / "model.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(ModelFileError, match=rf"model\.onnx.*{words}"):
        from_onnx(path)


def test_operators_of_other_domains_and_functions_are_refused():
    proto = rnn()
    proto.graph.node[0].domain = "com.example"
    with pytest.raises(ModelFileError, match="my RNN"):
        from_onnx(proto)
    function = onnx.helper.make_function("", "RNN", ["a"], ["b"], [], [onnx.helper.make_opsetid("", 17)])
    proto = rnn()
    proto.functions.append(function)
    with pytest.raises(ModelFileError, match="operators of its own, such as 'RNN'"):
        from_onnx(proto)


def test_sources(tmp_path):
    with pytest.raises(TypeError, match="source must be a path or an onnx.ModelProto"):
        from_onnx(3)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")
    path = tmp_path / "model.onnx"
    for content in (b"", b"no protobuf at all", rnn().SerializeToString()[:-30], b"\x0a" * 1000):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"model\.onnx"):
            from_onnx(path)
