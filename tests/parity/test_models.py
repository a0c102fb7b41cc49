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
