"""Model, as a class: what is one, how it is made of a graph, subclassed, summed up and cloned."""

import copy
import io
import pickle
import sys

import numpy as np
import pytest

import cyrnn
from cyrnn import layers as L
from cyrnn.layers import Bidirectional, Dense, Dropout, Embedding, Layer, SimpleRNN
from cyrnn.models import Functional, Model, Sequential, clone_model, load_model, model_from_json, save_model

X = np.random.default_rng(0).standard_normal((5, 6, 3)).astype("float32")
IDS = np.random.default_rng(1).integers(0, 9, (5, 6))


def graph():
    begin = cyrnn.Input((6, 3))
    return cyrnn.Model(begin, Dense(2)(SimpleRNN(4)(begin)))


class Custom(cyrnn.Model):
    """Layers in attributes, a list and a dict."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.rnn = SimpleRNN(units)
        self.heads = [Dense(3, activation="relu"), Dropout(0.5, seed=1)]
        self.by_name = {"last": Dense(2)}

    def call(self, inputs, training=False):
        x = self.rnn(inputs)
        for head in self.heads:
            x = head(x, training=training)
        return self.by_name["last"](x)


class Several(cyrnn.Model):
    """Inputs in a dict, one of integers; outputs in a tuple."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = Embedding(9, 3)
        self.add = L.Add()
        self.rnn = SimpleRNN(2, return_state=True)

    def call(self, inputs):
        output, state = self.rnn(self.add([self.embedding(inputs["ids"]), inputs["x"]]))
        return output, {"state": state, "ids": inputs["ids"]}


# ------------------------------------------------------------ what a model is


def test_all_models_are_models():
    models = [cyrnn.Sequential(), cyrnn.Sequential([cyrnn.Input((3,)), Dense(2)]), graph(), Custom(), cyrnn.Model()]
    assert all(isinstance(model, cyrnn.Model) and isinstance(model, Layer) for model in models)
    assert [type(model) for model in models] == [Sequential, Sequential, Functional, Custom, Model]
    assert issubclass(cyrnn.Sequential, cyrnn.Model) and not isinstance(Dense(2), cyrnn.Model)


def test_the_namespace_is_that_of_keras():
    assert set(cyrnn.models.__all__) - {"Functional"} == {
        "Model",
        "Sequential",
        "clone_model",
        "load_model",
        "model_from_json",
        "save_model",
    }
    assert cyrnn.models.Model is cyrnn.Model and cyrnn.models.Sequential is cyrnn.Sequential
    assert load_model is cyrnn.saving.load_model and save_model is cyrnn.saving.save_model


@pytest.mark.parametrize("form", ["positions", "names", "both", "options"])
def test_a_model_of_a_graph(form):
    begin = cyrnn.Input((6, 3))
    end = Dense(2)(SimpleRNN(4)(begin))
    model = {
        "positions": lambda: cyrnn.Model(begin, end),
        "names": lambda: cyrnn.Model(inputs=begin, outputs=end),
        "both": lambda: cyrnn.Model(begin, outputs=end),
        "options": lambda: cyrnn.Model(begin, end, name="mine", trainable=False),
    }[form]()
    assert type(model) is Functional and model(X).shape == (5, 2)
    assert (model.name == "mine", model.trainable) == (form == "options", form != "options")
    config = model.to_json()
    assert '"class_name": "Functional"' in config and '"registered_name": "Functional"' in config
    again = model_from_json(config)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(X), model(X))
    assert type(cyrnn.Model.from_config(model.get_config())) is Functional


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: cyrnn.Model(cyrnn.Input((3,))), TypeError, "both inputs and outputs, or neither"),
        (lambda: cyrnn.Model(outputs=cyrnn.Input((3,))), TypeError, "both inputs and outputs, or neither"),
        (lambda: cyrnn.Model(units=3), ValueError, "Unrecognized keyword arguments passed to Model: .'units': 3."),
        (lambda: cyrnn.Model(name="a/b"), ValueError, "without '/'"),
        (lambda: cyrnn.Model(np.ones(3), np.ones(3)), ValueError, "inputs must be symbolic tensors"),
        (lambda: cyrnn.Model()(X), NotImplementedError, "Model has no `call"),
        (lambda: OfAGraph(), TypeError, "subclass of cyrnn.models.Functional"),
        (lambda: HasLayers(), AttributeError, "layers"),
        (lambda: Custom(units="4"), TypeError, "units must be a positive integer, got '4'"),
    ],
)
def test_what_makes_no_model(make, error, words):
    with pytest.raises(error, match=words):
        make()


class OfAGraph(cyrnn.Model):
    def __init__(self):
        begin = cyrnn.Input((3,))
        super().__init__(inputs=begin, outputs=Dense(2)(begin))


class HasLayers(cyrnn.Model):
    def __init__(self):
        super().__init__()
        self.layers = [Dense(2)]


def test_a_subclass_of_functional_is_made_of_a_graph():
    class Named(Functional):
        def __init__(self, units):
            begin = cyrnn.Input((6, 3))
            super().__init__(begin, SimpleRNN(units)(begin), name="named")

        def scaled(self, x):
            return 2 * self(x)

    model = Named(4)
    np.testing.assert_array_equal(model.scaled(X), 2 * model.predict(X))


# ------------------------------------------------------------ subclasses


def test_the_layers_of_a_subclass_are_those_of_its_attributes():
    model = Custom()
    assert model.layers == [model.rnn, *model.heads, model.by_name["last"]]
    assert not model.built and model.weights == [] and model.name.startswith("custom")
    assert model.get_layer(index=0) is model.rnn and model.get_layer(model.heads[0].name) is model.heads[0]
    with pytest.raises(ValueError, match="has no layer 'simple_rnm', only simple_rnn.*did you mean 'simple_rnn"):
        model.get_layer("simple_rnm")


def test_a_subclass_computes_what_its_call_does():
    model = Custom()
    expected = model.by_name["last"](model.heads[0](model.rnn(X)))
    np.testing.assert_array_equal(model(X), expected)
    np.testing.assert_array_equal(model.predict(X), expected)
    np.testing.assert_allclose(model.predict(X, 2), expected, rtol=1e-6, atol=1e-6)
    out = np.empty_like(expected)
    assert model.predict(X, 2, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    assert model.built and model.count_params() == 4 * (3 + 4 + 1) + 3 * (4 + 1) + 2 * (3 + 1)
    assert not np.array_equal(model(X, training=True), expected)


@pytest.mark.parametrize("way", ["a call", "build", "a symbolic call", "a Sequential"])
def test_a_subclass_is_built_with_all_its_layers(way):
    model = Custom()
    if way == "a call":
        model(X)
    elif way == "build":
        model.build((None, 6, 3))
        assert model.input_shape == (None, 6, 3)
    elif way == "a symbolic call":
        assert model(cyrnn.Input((6, 3))).shape == (None, 2)
    else:
        assert cyrnn.Sequential([cyrnn.Input((6, 3)), model]).output_shape == (None, 2)
    assert model.built and all(layer.built for layer in model.layers)
    shapes = [(3, 4), (4, 4), (4,), (4, 3), (3,), (3, 2), (2,)]
    assert [weight.shape for weight in model.weights] == shapes
    weights = [np.full(shape, 0.1) for shape in shapes]
    model.set_weights(weights)
    for weight, wanted in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, wanted.astype("float32"))
    with pytest.raises(ValueError, match="7 weights, got 1"):
        model.set_weights(weights[:1])


def test_the_first_call_runs_once():
    calls = []

    class Noted(cyrnn.Model):
        def call(self, inputs):
            calls.append(inputs.shape)
            return inputs

    model = Noted()
    model(X)
    model(X)
    assert calls == [(None, 6, 3)]  # with a symbolic tensor


def test_a_first_call_that_fails_leaves_the_model_unbuilt():
    model = Custom()
    with pytest.raises(ValueError, match="ndim=3"):
        model(X[0])
    assert not model.built
    assert model(X).shape == (5, 2)


def test_inputs_and_outputs_of_a_subclass_in_structures():
    model = Several()
    inputs = {"ids": IDS, "x": X.astype("float64")}
    output, rest = model(inputs)
    summed = model.embedding(IDS) + X
    np.testing.assert_array_equal(output, model.rnn(summed)[0])
    np.testing.assert_array_equal(rest["state"], output)
    assert rest["ids"].dtype == IDS.dtype and not np.shares_memory(rest["ids"], IDS)
    np.testing.assert_array_equal(rest["ids"], IDS)
    predicted, others = model.predict(inputs, 2)
    np.testing.assert_allclose(predicted, output, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(others["ids"], IDS)
    outs = np.empty_like(output), {"state": np.empty_like(output), "ids": np.empty_like(IDS)}
    filled, others = model.predict(inputs, 2, out=outs)
    assert filled is outs[0] and others["ids"] is outs[1]["ids"]
    np.testing.assert_array_equal(filled, predicted)
    np.testing.assert_array_equal(others["ids"], IDS)
    with pytest.raises(ValueError, match="out must not overlap x"):
        model.predict(inputs, 2, out=(np.empty_like(output), {"state": np.empty_like(output), "ids": IDS}))
    with pytest.raises(ValueError, match=r"as many samples, got \[5, 4\]"):
        model.predict({"ids": IDS, "x": X[:4]})
    with pytest.raises(ValueError, match="inputs must be an array, got str"):
        model({"ids": IDS, "x": "x"})


def test_large_indices_reach_an_embedding_as_they_are():
    class Last(cyrnn.Model):
        def call(self, inputs):
            return inputs

    large = np.array([[2**24 + 1, 2**53 + 1]])
    np.testing.assert_array_equal(Last()(large), large)
    assert Last()(np.ones((1, 2))).dtype == np.float32
    assert Last(dtype="float64")(np.ones((1, 2), "float32")).dtype == np.float64


def test_a_custom_build_is_what_builds_a_subclass():
    class Built(cyrnn.Model):
        def build(self, input_shape):
            self.dense = Dense(input_shape[-1])
            self.dense.build(input_shape)
            self.scale = self.add_weight((), "ones", name="scale")

        def call(self, inputs):
            return self.dense(inputs) * self.scale

    model = Built()
    assert model(X[:, 0]).shape == (5, 3) and len(model.weights) == 3
    assert model.layers == [model.dense]
    model.set_weights([2 * np.ones(()), *model.dense.get_weights()])
    np.testing.assert_array_equal(model(X[:, 0]), 2 * model.dense(X[:, 0]))


def test_a_subclass_in_other_models():
    model = Custom()
    expected = model(X)
    begin = cyrnn.Input((6, 3))
    for around in (cyrnn.Sequential([cyrnn.Input((6, 3)), model]), cyrnn.Model(begin, model(begin))):
        np.testing.assert_array_equal(around(X), expected)
        np.testing.assert_array_equal(around.predict(X), expected)
        assert len(around.weights) == 7

    class Twice(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.inner = model

        def call(self, inputs):
            return 2 * self.inner(inputs)

    np.testing.assert_array_equal(Twice()(X), 2 * expected)
    assert len(Twice().weights) == 7


@pytest.mark.parametrize("end", ["weights.h5", "npz", "safetensors"])
def test_weights_of_a_subclass_in_files(tmp_path, end):
    model = Custom()
    expected = model(X)
    path = tmp_path / f"w.{end}"
    model.save_weights(path)
    with pytest.raises(FileExistsError):
        model.save_weights(path, overwrite=False)
    again = Custom()
    again.build((None, 6, 3))
    again.load_weights(path)
    np.testing.assert_array_equal(again(X), expected)


def test_a_subclass_in_a_file(tmp_path):
    model = Custom(units=3, name="mine")
    expected = model(X)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", custom_objects={"Custom": Custom})
    assert type(again) is Custom and again.name == "mine" and again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(X), expected)
    with pytest.raises(ValueError, match="unknown class 'Custom'"):
        load_model(tmp_path / "m.keras")
    around = cyrnn.Sequential([cyrnn.Input((6, 3)), model])
    around.save(tmp_path / "a.keras")
    again = load_model(tmp_path / "a.keras", custom_objects={"Custom": Custom})
    np.testing.assert_array_equal(again(X), expected)


def test_a_subclass_of_several_inputs_in_a_file(tmp_path):
    model, inputs = Several(), {"ids": IDS, "x": X}
    expected = model(inputs)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", custom_objects={"Several": Several})
    np.testing.assert_array_equal(again(inputs)[0], expected[0])


class OfFixedArguments(cyrnn.Model):
    """Its constructor takes no name, and no `**kwargs`."""

    def __init__(self, units=4):
        super().__init__()
        self.dense = Dense(units)

    def call(self, x):
        return self.dense(x)


def test_a_subclass_whose_constructor_takes_no_name(tmp_path):
    model = OfFixedArguments(units=3)
    begin = cyrnn.Input((6, 3))
    around = cyrnn.Model(begin, model(begin))
    assert model.get_config() == {"units": 3}
    for saved in (model, around):
        saved.save(tmp_path / "m.keras")
        again = load_model(tmp_path / "m.keras", custom_objects={"OfFixedArguments": OfFixedArguments})
        np.testing.assert_array_equal(again(X), model(X))
    assert clone_model(model).dense.units == 3


def test_an_unbuilt_subclass_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="is not built"):
        Custom().save(tmp_path / "m.keras")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("make", [Custom, graph, lambda: cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(2)])])
def test_copies(make, duplicate):
    model = make()
    expected = model(X)
    again = duplicate(model)
    assert type(again) is type(model)
    np.testing.assert_array_equal(again(X), expected)


def test_from_config_of_a_subclass():
    model = Custom.from_config(Custom(units=3, trainable=False).get_config())
    assert model.rnn.units == 3 and model.trainable is False
    model(X)
    assert model.trainable_weights == [] and len(model.weights) == 7


def test_losses_and_constraints_of_a_subclass():
    class Penalised(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.dense = Dense(2, kernel_regularizer="l2", kernel_constraint="non_neg")

        def call(self, inputs):
            return self.dense(inputs)

    model = Penalised()
    model(X)
    assert len(model.losses) == 1 and model.losses[0] > 0
    model.apply_constraints()
    assert model.dense.kernel.min() >= 0


# ------------------------------------------------------------ states


def stateful_models():
    begin = cyrnn.Input(batch_shape=(5, 6, 3))

    class Stateful(cyrnn.Model):
        def __init__(self):
            super().__init__()
            self.parts = [L.RNN([L.SimpleRNNCell(2), L.SimpleRNNCell(2)], stateful=True)]

        def call(self, inputs):
            return self.parts[0](inputs)

    yield cyrnn.Sequential([begin, SimpleRNN(2, stateful=True)])
    yield cyrnn.Sequential([begin, Bidirectional(SimpleRNN(2, stateful=True))])
    yield cyrnn.Model(begin, SimpleRNN(2, stateful=True)(begin))
    yield cyrnn.Sequential([begin, cyrnn.Sequential([SimpleRNN(2, stateful=True)])])
    yield Stateful()


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("reset", ["reset_state", "reset_states"])
def test_states_of_a_model_are_reset(number, reset):
    model = list(stateful_models())[number]
    first = model(X)
    assert model.stateful and not np.array_equal(model(X), first)
    getattr(model, reset)()
    np.testing.assert_array_equal(model(X), first)
    getattr(model, reset)()
    np.testing.assert_array_equal(model.predict(X), first)
    assert model.stateful_rows() == 5
    with pytest.raises(ValueError, match="multiple of 5"):
        model.predict(X[:4])


def test_resetting_where_nothing_is_carried():
    for model in (graph(), cyrnn.Sequential(), Custom(), cyrnn.Sequential([Bidirectional(SimpleRNN(2))])):
        assert model.reset_state() is None and model.reset_states() is None and not model.stateful
    assert SimpleRNN(2).reset_state() is None and SimpleRNN(2).reset_states() is None
    for call in (Bidirectional(SimpleRNN(2)).reset_state, Bidirectional(SimpleRNN(2)).reset_states):
        with pytest.raises(AttributeError, match="must be stateful"):
            call()


# ------------------------------------------------------------ summary

SUMMARY = """\
Model: "model"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━┓
┃ Layer (type)                       ┃ Output Shape              ┃        Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━┩
│ rnn (SimpleRNN)                    │ (None, 6, 300)            │         91,200 │
├────────────────────────────────────┼───────────────────────────┼────────────────┤
│ states (Bidirectional)             │ [(None, 4), (None, 2),    │          1,212 │
│                                    │ (None, 2)]                │                │
└────────────────────────────────────┴───────────────────────────┴────────────────┘
 Total params: 92,412 (360.98 KB)
 Trainable params: 1,212 (4.73 KB)
 Non-trainable params: 91,200 (356.25 KB)
"""


def example():
    rnn = SimpleRNN(300, return_sequences=True, name="rnn", trainable=False)
    return cyrnn.Sequential(
        [cyrnn.Input((6, 3)), rnn, Bidirectional(SimpleRNN(2, return_state=True), name="states")], name="model"
    )


def text_of(model, **options):
    lines = []
    assert model.summary(print_fn=lines.append, **options) is None
    return "".join(lines)


def test_a_summary():
    assert text_of(example(), line_length=83) == SUMMARY


def test_a_summary_is_written_to_the_standard_output(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "87")
    assert example().summary() is None
    assert capsys.readouterr().out == SUMMARY
    monkeypatch.setenv("COLUMNS", "12")
    example().summary()
    assert "Total params: 92,412" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "87")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    example().summary()
    stream.seek(0)
    plain = stream.read()
    assert len(plain.splitlines()) == len(SUMMARY.splitlines()) and "| rnn (SimpleRNN) " in plain
    assert set(plain.splitlines()[1]) == {"+", "-"}


def test_a_summary_of_a_graph_that_branches():
    begin = cyrnn.Input((6, 3), name="begin")
    shared = Dense(2, name="shared")
    output, state = SimpleRNN(3, return_state=True, name="rnn")(begin)
    model = cyrnn.Model(begin, L.Add(name="add")([shared(output), shared(state)])[:, :1])
    text = text_of(model, line_length=120)
    assert "Connected to" in text and "┃ Trainable" not in text
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    name = model.operations[-1].name
    assert cells == [
        ["begin (InputLayer)", "(None, 6, 3)", "0", "-"],
        ["rnn (SimpleRNN)", "[(None, 3), (None, 3)]", "21", "begin[0][0]"],
        ["shared (Dense)", "(None, 2)", "8", "rnn[0][0], rnn[0][1]"],
        ["add (Add)", "(None, 2)", "0", "shared[0][0], shared[1][0]"],
        [f"{name} (GetItem)", "(None, 1)", "0", "add[0][0]"],
    ]
    assert "Connected to" not in text_of(graph())


def test_a_summary_of_what_is_not_built():
    text = text_of(Custom())
    assert text.count("0 (unbuilt)") == 3 and text.count("│ ? ") == 4 and " Total params: 0 (0.00 B)\n" in text
    model = Custom()
    model(X)
    assert "(5, 4) " in text_of(model) and "unbuilt" not in text_of(model)
    assert "Layer (type)" in text_of(cyrnn.Sequential())
    assert "0 (unbuilt)" in text_of(cyrnn.Sequential([Dense(2)]))


def test_options_of_a_summary():
    inner = cyrnn.Sequential([Dense(2, name="first"), Dropout(0.1, name="second")], name="inner")
    model = cyrnn.Sequential([cyrnn.Input((3,)), inner, Dense(1, name="last", trainable=False)], name="outer")
    assert "first" not in text_of(model)
    names = [line.split("│")[1].rstrip() for line in text_of(model, expand_nested=True).splitlines() if "│" in line]
    assert names == [" inner (Sequential)", "    └ first (Dense)", "    └ second (Dropout)", " last (Dense)"]
    text = text_of(model, show_trainable=True, expand_nested=True, line_length=100)
    flags = [line.split("│")[-2].strip() for line in text.splitlines() if "│" in line]
    assert "Trainable" in text and flags == ["Y", "Y", "-", "N"]
    assert "inner" not in text_of(model, layer_range=("la.*", "last")) and "last" in text_of(
        model, layer_range=["l", "l"]
    )
    assert all(len(line) == 50 for line in text_of(model, line_length=50).splitlines()[1:-3])
    for options, words in (
        ({"line_length": 10}, "line_length must leave each column a character, got 10"),
        ({"layer_range": ("x", "y")}, "must match names of layers"),
        ({"layer_range": "last"}, "layer_range must hold two names"),
        ({"positions": [0.5, 1.0]}, "positions must hold the ends of 3 columns"),
    ):
        with pytest.raises(ValueError, match=words):
            model.summary(**options)


def test_names_in_a_summary_cannot_change_the_terminal():
    model = cyrnn.Sequential([cyrnn.Input((3,)), Dense(2, name="a\x1b[2J\nb")], name="m\x1b]0;x\x07")
    text = text_of(model, programs=True)
    assert "\x1b" not in text and "\x07" not in text and r"a\x1b[2J\nb (Dense)" in text


class Unknown(cyrnn.layers.Layer):
    def call(self, x):
        return x


def notes_of(model):
    """What the summary has below the numbers of parameters when it lists programs, and nothing else differs."""
    plain, text = (text_of(model, programs=programs, line_length=200) for programs in (False, True))
    assert text.startswith(plain)
    return text[len(plain) :].splitlines()


def test_a_summary_lists_programs_and_what_python_calls():
    below, above = SimpleRNN(3, return_sequences=True, name="below"), Dense(2, name="above")
    assert notes_of(cyrnn.Sequential([cyrnn.Input((None, 3)), below, above], name="m")) == [
        " Program 1: 2 ops in float32, of below, above"
    ]
    model = cyrnn.Sequential([cyrnn.Input((None, 3)), below, Unknown(name="mine"), above])
    assert notes_of(model) == [
        " Program 1: 1 op in float32, of below",
        " Python calls mine: the class Unknown is a custom one",
        " Program 2: 1 op in float32, of above",
    ]
    model.layers[1].__dict__["name"] = "mine " * 20
    lines = text_of(model, programs=True, line_length=50).splitlines()
    assert all(len(line) <= 50 for line in lines) and lines[-1] == " Program 2: 1 op in float32, of above"
    with cyrnn.models.executor.alone():
        assert notes_of(model)[-1] == " Python calls above: programs are switched off"


def test_a_summary_of_programs_that_are_not_known():
    (note,) = notes_of(cyrnn.Sequential([Dense(2)]))
    assert note.startswith(" Programs: not known")
    assert notes_of(Custom()) == [note]


# ------------------------------------------------------------ clones


@pytest.mark.parametrize("make", [graph, example, Custom])
def test_a_clone_has_layers_and_weights_of_its_own(make):
    model = make()
    model(X)
    before = model.get_weights()
    clone = clone_model(model)
    assert type(clone) is type(model) and clone.name == model.name
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers] or make is Custom
    assert not set(map(id, clone.layers)) & set(map(id, model.layers))
    clone(X)
    assert [weight.shape for weight in clone.weights] == [weight.shape for weight in before]
    assert not np.array_equal(clone.weights[0], before[0])
    clone.set_weights(before)
    for a, b in zip(leaves(model(X)), leaves(clone(X)), strict=True):
        np.testing.assert_array_equal(a, b)


def leaves(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_a_clone_of_other_layers():
    def wider(layer):
        config = layer.get_config()
        return type(layer).from_config({**config, "units": config["units"] + 1} if "units" in config else config)

    sequential = cyrnn.Sequential([cyrnn.Input((6, 3)), SimpleRNN(2, name="a"), Dense(2, name="b")], name="c")
    clone = clone_model(sequential, clone_function=wider)
    assert clone.output_shape == (None, 3) and clone.name == "c" and sequential.output_shape == (None, 2)
    begin = cyrnn.Input((6, 3), name="begin")
    shared = Dense(2, name="shared")
    output, state = SimpleRNN(3, return_state=True, name="rnn")(begin)
    model = cyrnn.Model({"x": begin}, [L.Add(name="add")([shared(output), 2 * shared(state)])[:, :1], state])
    clone = clone_model(model, clone_function=wider)
    assert clone.output_shape == [(None, 1), (None, 4)] and [x.name for x in clone.layers] == [
        x.name for x in model.layers
    ]
    same = clone_model(model, clone_function=lambda layer: layer)
    for a, b in zip(same({"x": X}), model({"x": X}), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_clone_that_begins_with_other_tensors():
    model = graph()
    begin = cyrnn.Input((6, 5))
    clone = clone_model(model, input_tensors=Dense(3)(begin))
    assert clone.input_shape == (None, 6, 3)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(X), model(X))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (lambda: (Dense(2),), "model must be a model, got Dense"),
        (lambda: (Custom(), None, lambda layer: layer), "a Custom is cloned without input_tensors and clone_function"),
        (lambda: (example(), cyrnn.Input((6, 3))), "a Sequential is cloned without input_tensors"),
        (lambda: (graph(), [cyrnn.Input((6, 3))] * 2), "must be 1 tensors, got 2"),
    ],
)
def test_what_is_not_cloned(arguments, words):
    with pytest.raises(ValueError, match=words):
        clone_model(*arguments())


def test_a_model_from_json():
    model = model_from_json(example().to_json())
    assert type(model) is Sequential and model.output_shape == example().output_shape
    with pytest.raises(ValueError, match="must describe a model, got that of a Dense"):
        model_from_json(Dense(2).to_json())
    custom = model_from_json(Custom(units=3).to_json(), custom_objects={"Custom": Custom})
    assert type(custom) is Custom and custom.rnn.units == 3


def test_from_keras_takes_models_of_keras_alone():
    for other in ("model.keras", None, cyrnn.Sequential, cyrnn.Sequential([cyrnn.Input((2,)), Dense(1)])):
        with pytest.raises(TypeError, match="model must be a model or layer of Keras"):
            cyrnn.from_keras(other)
