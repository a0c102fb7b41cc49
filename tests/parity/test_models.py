"""Sequential models between Keras and cyrnn: .keras files, configs, masks on their way through the layers, losses."""

import json

import numpy as np
import pytest
from parity.twins import VERSION, assert_same, from_keras_json, hypothesis, keras, keras_json, random_settings

import cyrnn
from cyrnn.saving import load_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
st = hypothesis.strategies
VOCABULARY, TIMESTEPS = 11, 6


def rnn_options(**options):
    return st.fixed_dictionaries(
        {"units": st.integers(1, 7)},
        optional={
            "activation": st.sampled_from(["tanh", "relu", "sigmoid", "hard_sigmoid", "softmax", "linear"]),
            "use_bias": st.booleans(),
            "go_backwards": st.booleans(),
            "zero_output_for_mask": st.booleans(),
            "dropout": st.sampled_from([0.0, 0.3]),
            "recurrent_dropout": st.sampled_from([0.0, 0.3]),
            "seed": st.integers(0, 99),
            "kernel_regularizer": st.sampled_from(["l1", "l2"]),
            "recurrent_constraint": st.just("max_norm"),
            **options,
        },
    )


OF_THE_LAYER = ("go_backwards", "zero_output_for_mask", "return_sequences", "stateful")
ANYWHERE = st.sampled_from(
    [
        ("Dropout", {"rate": 0.4, "seed": 3}),
        ("Activation", {"activation": "sigmoid"}),
        ("Dense", {"units": 4, "activation": "relu"}),
        ("TimeDistributed", {"units": 3, "activation": "tanh"}),
        ("Dense", {"units": 3, "use_bias": False, "kernel_regularizer": "l2"}),
        ("Masking", {"mask_value": 0.0}),
    ]
)
KINDS = ("SimpleRNN", "RNN", "stack", "Bidirectional", "Bidirectional stack")
RECURRENT = st.tuples(st.sampled_from(KINDS), rnn_options())
FIRST = st.sampled_from(
    [
        ("Embedding", {"input_dim": VOCABULARY, "output_dim": 4, "mask_zero": True}),
        ("Embedding", {"input_dim": VOCABULARY, "output_dim": 3}),
        ("Masking", {"mask_value": 0.0}),
        ("Dropout", {"rate": 0.1}),
    ]
)


@st.composite
def models(draw):
    """A list of (class name, arguments): RNNs that return sequences, others between them, perhaps a last output."""
    entries = [draw(FIRST)]
    for name, options in draw(st.lists(RECURRENT, min_size=1, max_size=3)):
        entries += [(name, {**options, "return_sequences": True}), *draw(st.lists(ANYWHERE, max_size=2))]
    if draw(st.booleans()):
        name, options = draw(RECURRENT)
        entries += [(name, options), ("Dense", {"units": 2, "activation": "softmax"})]
    batch_size = draw(st.sampled_from([None, None, 5]))
    if batch_size:
        entries = [(n, {**options, "stateful": True} if n in KINDS else options) for n, options in entries]
    return entries, draw(st.sampled_from([None, TIMESTEPS])), batch_size


def make(module, entries, timesteps=TIMESTEPS, batch_size=None):
    """The model of `entries`, of Keras or cyrnn, built."""
    of_indices = entries[0][0] == "Embedding"
    layers = [module.Input((timesteps,) if of_indices else (timesteps, 3), batch_size=batch_size)]
    for name, options in entries:
        if name in KINDS and name != "SimpleRNN":
            outer = {key: options[key] for key in OF_THE_LAYER if key in options}
            inner = {k: v for k, v in options.items() if k not in outer}
            cells = [module.layers.SimpleRNNCell(**inner) for _ in range(1 + name.endswith("stack"))]
            outer["go_backwards"] = outer.get("go_backwards", False) and "Bidirectional" not in name
            layer = module.layers.RNN(cells if len(cells) > 1 else cells[0], **outer)
            layers.append(module.layers.Bidirectional(layer) if "Bidirectional" in name else layer)
        elif name == "TimeDistributed":
            layers.append(module.layers.TimeDistributed(module.layers.Dense(**options)))
        else:
            layers.append(getattr(module.layers, name)(**options))
    model = module.Sequential(layers)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(-0.5, 0.5, weight.shape) for weight in model.weights])
    return model


def inputs(entries, samples=5, seed=1):
    """Indices or sequences in which many timesteps are to be masked."""
    rng = np.random.default_rng(seed)
    keep = rng.random((samples, TIMESTEPS)) < 0.6
    if entries[0][0] == "Embedding":
        return (keep * rng.integers(1, VOCABULARY, keep.shape)).astype("int32")
    return (keep[:, :, None] * rng.standard_normal((*keep.shape, 3))).astype("float32")


def restart(model):
    """Set carried states to zeros: with others Keras on NumPy and TensorFlow differ before the first unmasked step."""
    if not isinstance(model, keras.Model):
        model.reset_state()
        return
    for layer in model.layers:  # Keras itself cannot reset the states of a stack
        for part in [layer.forward_layer, layer.backward_layer] if hasattr(layer, "forward_layer") else [layer]:
            for state in keras.tree.flatten(getattr(part, "states", None) or []):
                state.assign(np.zeros(state.shape))


def predictions(model, x):
    """Those of a restarted model. Keras' `predict` reports progress unless told not to."""
    restart(model)
    return model.predict(x, batch_size=5, **({"verbose": 0} if isinstance(model, keras.Model) else {}))


@random_settings(0.3)
@hypothesis.given(models())
def test_a_file_that_keras_saved(tmp_path_factory, model):
    theirs = make(keras, *model)
    path = tmp_path_factory.mktemp("keras") / "m.keras"
    theirs.save(path)
    ours = load_model(path)
    x = inputs(model[0])
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected, strict=True)
    assert_same(predictions(ours, x), predictions(theirs, x), tolerance=1e-5)


@pytest.mark.configs
@random_settings(0.3)
@hypothesis.given(models())
def test_configs_both_ways(model):
    ours, theirs, x = make(cyrnn, *model), make(keras, *model), inputs(model[0])
    expected = predictions(theirs, x)
    read = cyrnn.from_json(keras_json(theirs))
    read_by_keras = from_keras_json(ours.to_json())
    read.set_weights(theirs.get_weights())
    read_by_keras.set_weights(theirs.get_weights())
    assert_same(predictions(read_by_keras, x), expected, tolerance=1e-5)
    assert_same(predictions(read, x), predictions(ours, x), tolerance=1e-5)
    if VERSION >= (3, 15):  # Keras 3.6 on NumPy loses masks on their way
        assert_same(predictions(ours, x), expected, tolerance=1e-5)
    assert [layer.name for layer in read.layers] == [layer.name for layer in theirs.layers]
    assert [layer.name for layer in read_by_keras.layers] == [layer.name for layer in ours.layers]
    assert ours.output_shape == theirs.output_shape
    assert ours.count_params() == theirs.count_params()


@random_settings(0.3)
@hypothesis.given(models())
def test_training_draws_the_same_dropout_masks_and_leaves_the_same_losses(model):
    entries, timesteps, batch_size = model
    entries = [(n, {"seed": 5, **o} if n in (*KINDS, "Dropout") else o) for n, o in entries]
    ours, theirs = (make(module, entries, timesteps, batch_size) for module in (cyrnn, keras))
    for seed in range(2):
        x = inputs(entries, seed=seed)
        restart(ours), restart(theirs)
        assert_same(ours(x, training=True), theirs(x, training=True), tolerance=1e-5)
        assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)


MASKED = {
    "Masking": [("Masking", {}), ("SimpleRNN", {"units": 3})],
    "Embedding": [("Embedding", {"input_dim": 11, "output_dim": 4, "mask_zero": True}), ("SimpleRNN", {"units": 3})],
    "through Dropout, Activation and Dense": [
        ("Masking", {}),
        ("Dropout", {"rate": 0.5}),
        ("Activation", {"activation": "tanh"}),
        ("Dense", {"units": 4}),
        ("SimpleRNN", {"units": 3}),
    ],
    "through an RNN that returns sequences": [
        ("Masking", {}),
        ("SimpleRNN", {"units": 3, "return_sequences": True}),
        ("RNN", {"units": 4}),
    ],
    "backwards through two": [
        ("Masking", {}),
        ("SimpleRNN", {"units": 3, "return_sequences": True, "go_backwards": True}),
        ("SimpleRNN", {"units": 4, "return_sequences": True, "go_backwards": True}),
    ],
    "zeros for masked steps": [
        ("Masking", {}),
        ("SimpleRNN", {"units": 3, "return_sequences": True, "zero_output_for_mask": True}),
    ],
    "Masking of a mask": [
        ("Masking", {}),
        ("SimpleRNN", {"units": 3, "return_sequences": True, "activation": "relu"}),
        ("Masking", {}),
        ("SimpleRNN", {"units": 3}),
    ],
}


@pytest.mark.parametrize("case", MASKED)
def test_masks_reach_the_rnn(case):
    x = inputs(MASKED[case])
    ours, theirs = (make(module, MASKED[case]) for module in (cyrnn, keras))
    assert_same(ours.predict(x), theirs.predict(x, verbose=0), tolerance=1e-5)
    unmasked = make(
        cyrnn, [(n, o | ({"mask_zero": False} if n == "Embedding" else {})) for n, o in MASKED[case] if n != "Masking"]
    )
    assert not np.allclose(ours.predict(x), unmasked.predict(x))  # the mask does matter here


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "float64"])
def test_files_with_another_dtype(tmp_path, dtype):
    options = {"dtype": dtype, "recurrent_initializer": "glorot_uniform"}  # Keras has no orthogonal float16 on NumPy
    entries = [("SimpleRNN", {"units": 3, **options}), ("Dense", {"units": 2, "dtype": dtype})]
    theirs, x = make(keras, entries), inputs(entries)
    theirs.save(tmp_path / "m.keras")
    ours = load_model(tmp_path / "m.keras")
    assert [w.dtype for w in ours.weights] == [w.dtype for w in theirs.get_weights()]
    tolerance = 1e-5 if dtype == "float64" else 5e-3  # cyrnn computes in float32, Keras rounds each step to float16
    assert_same(ours.predict(x), theirs.predict(x, verbose=0), tolerance=tolerance)


def test_a_file_of_a_compiled_and_trained_model(tmp_path):
    """Its file holds the state of the optimizer too. Keras cannot train on NumPy, so that is only built here."""
    entries = MASKED["Embedding"]
    theirs, x = make(keras, entries), inputs(entries)
    theirs.compile("adam", "mse")
    theirs.optimizer.build(theirs.trainable_variables)
    theirs.save(tmp_path / "m.keras")
    assert_same(load_model(tmp_path / "m.keras").predict(x), theirs.predict(x, verbose=0), tolerance=1e-5)


def test_the_config_of_a_sequential_has_the_keys_of_keras():
    ours, theirs = (make(module, MASKED["Embedding"]) for module in (cyrnn, keras))
    a, b = json.loads(ours.to_json()), json.loads(keras_json(theirs))
    assert {key for key in b if key != "compile_config"} == set(a)
    assert set(a["config"]) == set(b["config"])
    for mine, other in zip(a["config"]["layers"], b["config"]["layers"], strict=True):
        assert {**mine, "config": None} == {**other, "config": None}
        forgotten, too_new = {"seed"}, {"quantization_config"}  # by Keras in a SimpleRNN; null, for Keras before 3.12
        assert set(mine["config"]) - forgotten == set(other["config"]) - too_new


# ------------------------------------------------------------ summaries, subclasses, states


def subclass(module):
    """A class of models of Keras or cyrnn, with layers in an attribute, a list and a dict."""
    layers = module.layers

    class Custom(module.Model):
        def __init__(self, units=4, **kwargs):
            super().__init__(**kwargs)
            self.rnn = layers.RNN([layers.SimpleRNNCell(units), layers.SimpleRNNCell(3)], name="rnn")
            self.heads = [layers.Dense(3, activation="relu", name="a"), layers.Dropout(0.5, name="b")]
            self.last = layers.Dense(2, name="c")
            self._private = layers.Dense(2, name="d")
            self.by_name = {"e": layers.Dense(3, name="e"), "f": layers.Dense(2, name="f")}
            self.Upper, self.zuletzt = layers.Dense(2, name="g"), layers.Dense(2, name="h")

        def call(self, inputs, training=False):
            x = self.rnn(inputs)
            for layer in [*self.heads, self.by_name["f"], self.by_name["e"], self.last]:
                x = layer(x, training=training) if layer is self.heads[1] else layer(x)
            return self.zuletzt(self.Upper(self._private(x)))

    return Custom


def in_a_row(module):
    layers = module.layers
    name = "a_name_of_a_layer_that_does_not_fit_in_its_column"
    inner = module.Sequential([layers.Dense(200, name=name), layers.Dropout(0.1, name="drop")], name="inner")
    both = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True), merge_mode=None, name="both")
    frozen = layers.BatchNormalization(name="norm", trainable=False)
    return module.Sequential([module.Input((6, 3)), inner, frozen, both], name="row")


def branching(module):
    layers, begin = module.layers, module.Input((6, 3), name="begin")
    output, state = layers.SimpleRNN(3, return_state=True, name="rnn")(begin)
    shared = layers.Dense(2, name="shared")
    a, b = shared(output), shared(state)
    return module.Model(begin, [a, layers.Add(name="add")([a, b])], name="graph")


def around_a_graph(module):
    begin = module.Input((6, 3), name="begin")
    part = branching(module)(begin)[0]
    return module.Model(begin, module.layers.Dense(1, name="end")(part), name="around")


def called(module):
    model = subclass(module)(name="custom")
    model(np.ones((2, 6, 3), "float32"))
    return model


SUMMED_UP = {
    "row": in_a_row,
    "branching": branching,
    "around": around_a_graph,
    "custom": called,
    "not called": lambda module: subclass(module)(name="custom"),
    "not built": lambda module: module.Sequential([module.layers.Dense(2, name="dense")], name="model"),
    "empty": lambda module: module.Sequential(name="model"),
}
SUMMARY_OPTIONS = [
    {},
    {"line_length": 60},
    {"line_length": 110},
    {"expand_nested": True},
    {"show_trainable": True, "line_length": 97},
    {"positions": [0.5, 0.7, 1.0]},
    {"layer_range": (".*n", ".*o")},
    {"line_length": 9},
]


@pytest.mark.parametrize("options", SUMMARY_OPTIONS, ids=str)
@pytest.mark.parametrize("model", SUMMED_UP)
def test_summaries(monkeypatch, model, options):
    monkeypatch.setenv("COLUMNS", "120")
    texts = []
    for module in (cyrnn, keras):
        made = SUMMED_UP[model](module)
        try:
            assert made.summary(print_fn=lambda text, **_: texts.append(text), **options) is None
        except (ValueError, IndexError):  # Keras lacks a position for the fourth column
            texts.append("refused")
    assert texts[0] == texts[1]


def test_a_subclass_with_the_weights_and_files_of_keras(tmp_path):
    ours, theirs = (subclass(module) for module in (cyrnn, keras))
    model, x = theirs(name="custom"), inputs(MASKED["Masking"])  # its config forgets what another `units` was
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    loaded = load_model(tmp_path / "m.keras", custom_objects={"Custom": ours})
    assert_same(loaded.predict(x), expected, tolerance=1e-5)
    built = ours()
    built.build((None, TIMESTEPS, 3))
    built.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(built.predict(x), loaded.predict(x))
    assert [w.shape for w in built.weights] == [tuple(w.shape) for w in model.weights]

    loaded.set_weights([weight * 0.5 for weight in loaded.get_weights()])
    loaded.save(tmp_path / "ours.keras")
    loaded.save_weights(tmp_path / "ours.weights.h5")
    again = keras.models.load_model(tmp_path / "ours.keras", custom_objects={"Custom": theirs})
    assert_same(loaded.predict(x), again.predict(x, verbose=0), tolerance=1e-5)
    model.load_weights(tmp_path / "ours.weights.h5")
    assert_same(loaded.predict(x), model.predict(x, verbose=0), tolerance=1e-5)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("kind", ["SimpleRNN", "Bidirectional"])
def test_resets_of_a_layer(kind, built, stateful):
    outcomes = []
    for module in (cyrnn, keras):
        layer = module.layers.SimpleRNN(3, stateful=stateful)
        layer = module.layers.Bidirectional(layer) if kind == "Bidirectional" else layer
        if built:
            layer(np.ones((2, 4, 3), "float32"))
        for reset in (layer.reset_state, layer.reset_states):
            try:
                outcomes.append(reset())
            except AttributeError:
                outcomes.append("refused")
    assert outcomes[:2] == outcomes[2:]
