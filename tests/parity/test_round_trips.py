"""Files between Keras and cyrnn, both ways: whole models and weights, of models at random.

These run on Keras' TensorFlow backend too, and what cyrnn wrote is read by Keras 3.6 as well.
"""

import json

import numpy as np
import pytest
from parity.test_models import inputs, make, models, predictions
from parity.twins import VERSION, assert_same, hypothesis, keras, random_settings

import cyrnn
from cyrnn.saving import ModelFileError, load_model, load_weights, save_model, save_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras


def fresh(module, model):
    """A model of the same layers, with other weights."""
    made = make(module, *model)
    made.set_weights([np.zeros(weight.shape) for weight in made.get_weights()])
    return made


def assert_same_weights(ours, theirs):
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        # The counts of a Normalization are of 32 bits in one of Keras' backends, of 64 in another.
        np.testing.assert_array_equal(actual, expected, strict=actual.dtype.kind == "f")


@random_settings(0.2)
@hypothesis.given(models())
def test_what_keras_saved(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("keras")
    theirs, x = make(keras, *model), inputs(model[0])
    theirs.save(folder / "m.keras")
    theirs.save(folder / "m.h5")
    theirs.save_weights(folder / "m.weights.h5")
    expected = predictions(theirs, x)
    for name in ("m.keras", "m.h5"):
        ours = load_model(folder / name)
        assert_same_weights(ours, theirs)
        assert_same(predictions(ours, x), expected, tolerance=1e-5)
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        ours = fresh(cyrnn, model)
        load_weights(ours, folder / name)
        assert_same_weights(ours, theirs)


@pytest.mark.configs
@random_settings(0.2)
@hypothesis.given(models())
def test_what_cyrnn_saved(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("cyrnn")
    ours, theirs, x = make(cyrnn, *model), make(keras, *model), inputs(model[0])
    save_model(ours, folder / "m.keras")
    save_weights(ours, folder / "m.weights.h5")
    expected = predictions(theirs, x)
    read = keras.saving.load_model(folder / "m.keras")
    assert [layer.name for layer in read.layers] == [layer.name for layer in ours.layers]
    assert_same_weights(ours, read)
    assert_same(predictions(read, x), expected, tolerance=0)
    for name in ("m.keras", "m.weights.h5"):
        filled = fresh(keras, model)
        filled.load_weights(folder / name)
        assert_same_weights(ours, filled)


@random_settings(0.2)
@hypothesis.given(models(), hypothesis.strategies.sampled_from(["m.npz", "m.safetensors", "m.weights.h5", "m.keras"]))
def test_what_cyrnn_saved_for_itself(tmp_path_factory, model, name):
    path = tmp_path_factory.mktemp("cyrnn") / name
    ours, x = make(cyrnn, *model), inputs(model[0])
    (save_model if name.endswith(".keras") else save_weights)(ours, path)
    read = fresh(cyrnn, model)
    load_weights(read, path)
    np.testing.assert_array_equal(predictions(read, x), predictions(ours, x))
    if name.endswith(".keras"):
        same = load_model(path)
        np.testing.assert_array_equal(predictions(same, x), predictions(ours, x))
        config = json.loads(same.to_json())
        assert config == json.loads(ours.to_json())


LAYERS = {
    "SimpleRNN": lambda m: m.layers.SimpleRNN(4, use_bias=False),
    "RNN": lambda m: m.layers.RNN([m.layers.SimpleRNNCell(3), m.layers.SimpleRNNCell(2)]),
    "Bidirectional": lambda m: m.layers.Bidirectional(m.layers.SimpleRNN(4)),
    "TimeDistributed": lambda m: m.layers.TimeDistributed(m.layers.Dense(2)),
    "BatchNormalization": lambda m: m.layers.BatchNormalization(),
    "Normalization": lambda m: m.layers.Normalization(),
    "SimpleRNNCell": lambda m: m.layers.SimpleRNNCell(3),
}


@pytest.mark.configs
@pytest.mark.parametrize("case", LAYERS)
def test_weights_of_single_layers(tmp_path, case):
    from keras.src.saving.saving_lib import load_weights_only, save_weights_only

    shape = (2, 3) if case == "SimpleRNNCell" else (2, 5, 3)
    ours, theirs, read = LAYERS[case](cyrnn), LAYERS[case](keras), LAYERS[case](keras)
    for layer in (ours, theirs, read):
        layer.build(shape)
    values = [10 * np.random.default_rng(0).standard_normal(w.shape) for w in ours.weights]
    theirs.set_weights(values)
    save_weights_only(theirs, tmp_path / "theirs.weights.h5")
    load_weights(ours, tmp_path / "theirs.weights.h5")
    assert_same_weights(ours, theirs)
    for name in ("ours.npz", "ours.safetensors", "ours.weights.h5"):
        save_weights(ours, tmp_path / name)
        ours.set_weights([np.zeros(weight.shape) for weight in ours.weights])
        load_weights(ours, tmp_path / name)
        assert_same_weights(ours, theirs)
    load_weights_only(read, tmp_path / "ours.weights.h5")
    assert_same_weights(ours, read)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_of_other_types(tmp_path, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="needs ml_dtypes, which Keras installs")
    ours, theirs = (
        module.Sequential([module.Input((3,)), module.layers.Dense(2, dtype=dtype)]) for module in (cyrnn, keras)
    )
    theirs.set_weights([np.random.default_rng(0).standard_normal(w.shape) for w in theirs.get_weights()])
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    load_weights(ours, tmp_path / "theirs.weights.h5")
    expected = [np.asarray(w).astype("float64") for w in theirs.get_weights()]
    for name in ("ours.weights.h5", "ours.npz", "ours.safetensors"):
        save_weights(ours, tmp_path / name)
        ours.set_weights([np.zeros(w.shape) for w in expected])
        load_weights(ours, tmp_path / name)
        for actual, value in zip(ours.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(actual.astype("float64"), value)
    theirs.set_weights([np.zeros(w.shape) for w in expected])
    theirs.load_weights(tmp_path / "ours.weights.h5")
    for actual, value in zip(theirs.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(actual).astype("float64"), value)


def test_many_layers_with_long_names(tmp_path):
    """More groups than a node of HDF5's trees holds, and more names than one attribute does."""
    names = [f"{'layer' * 45}_{number}" for number in range(300)]
    theirs = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2, name=name) for name in names)])
    rng = np.random.default_rng(0)
    theirs.set_weights([rng.standard_normal(weight.shape) for weight in theirs.get_weights()])
    theirs.save(tmp_path / "m.h5")
    theirs.save_weights(tmp_path / "m.weights.h5")
    ours = load_model(tmp_path / "m.h5")
    assert [layer.name for layer in ours.layers] == names
    assert_same_weights(ours, theirs)
    ours.set_weights([np.zeros(weight.shape) for weight in ours.weights])
    load_weights(ours, tmp_path / "m.weights.h5")
    assert_same_weights(ours, theirs)


def test_files_that_do_not_fit(tmp_path):
    entries = [("SimpleRNN", {"units": 3, "return_sequences": True}), ("Dense", {"units": 2})]
    theirs = make(keras, entries)
    theirs.save_weights(tmp_path / "m.weights.h5")
    theirs.save(tmp_path / "m.h5")
    for other in (
        [("SimpleRNN", {"units": 4, "return_sequences": True}), ("Dense", {"units": 2})],
        [("SimpleRNN", {"units": 3, "return_sequences": True, "use_bias": False}), ("Dense", {"units": 2})],
        [*entries, ("Dense", {"units": 2})],
    ):
        model = make(cyrnn, other)
        before = model.get_weights()
        for name in ("m.weights.h5", "m.h5"):
            with pytest.raises(ModelFileError, match="layer|layers"):
                load_weights(model, tmp_path / name)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)  # nothing is half loaded


@pytest.mark.skipif(VERSION < (3, 15), reason="the newest Keras alone is compared")
def test_the_groups_are_those_of_keras(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    entries = [("Masking", {}), ("Bidirectional stack", {"units": 3, "return_sequences": True}), ("RNN", {"units": 2})]
    listed = []
    for module, save in ((keras, lambda m, p: m.save_weights(p)), (cyrnn, save_weights)):
        path = tmp_path / f"{module.__name__}.weights.h5"
        save(make(module, entries), path)
        with h5py.File(path) as file:
            names = []
            file.visit(names.append)
            listed.append(names)
    assert listed[0] == listed[1]


def of_a_graph(module):
    """Two inputs, states handed over, a layer used twice, a normalization, a model in the model with a frozen layer."""
    layers = module.layers
    first, second = module.Input((4, 3)), module.Input((None, 3))
    shared = layers.SimpleRNN(3, return_sequences=True)
    _, state = layers.SimpleRNN(5, return_state=True)(layers.BatchNormalization()(shared(first)))
    decoded = layers.SimpleRNN(5, return_sequences=True)(shared(second), initial_state=state)
    inner_input = module.Input((None, 5))
    parts = [layers.Dense(2, name="b")(inner_input), layers.Dense(2, name="a", trainable=False)(inner_input)]
    inner = module.Model(inner_input, layers.Concatenate()([layers.BatchNormalization()(parts[0]), parts[1]]))
    model = module.Model([first, second], [layers.Dense(2)(inner(decoded)), layers.Dense(2)(state)])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.9, weight.shape) for weight in model.get_weights()])
    return model


def test_models_of_a_graph(tmp_path):
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((2, timesteps, 3)).astype("float32") for timesteps in (4, 6)]
    ours, theirs = of_a_graph(cyrnn), of_a_graph(keras)
    expected = theirs.predict(x, verbose=0)
    theirs.save(tmp_path / "theirs.keras")
    theirs.save(tmp_path / "theirs.h5")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    for name in ("theirs.keras", "theirs.h5"):
        assert_same(load_model(tmp_path / name).predict(x), expected, tolerance=1e-5)
    ours.save(tmp_path / "ours.keras")
    assert_same(keras.saving.load_model(tmp_path / "ours.keras").predict(x, verbose=0), expected, tolerance=1e-5)
    ours.save_weights(tmp_path / "ours.weights.h5")
    ours.save_weights(tmp_path / "ours.npz")
    for name in ("theirs.keras", "theirs.h5", "theirs.weights.h5", "ours.weights.h5", "ours.npz", "ours.keras"):
        for model in [ours, *([theirs] if name == "ours.weights.h5" else [])]:
            model.set_weights([np.zeros(weight.shape) for weight in model.get_weights()])
            model.load_weights(tmp_path / name)
            assert_same_weights(model, load_model(tmp_path / "theirs.keras"))
