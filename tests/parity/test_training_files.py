"""Files of models in training, both ways: the one goes on where the other has stopped, with the same next steps."""

import json
import os

import h5py
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if keras.backend.backend() == "numpy":
    pytest.skip("Keras cannot train on NumPy: KERAS_BACKEND=tensorflow", allow_module_level=True)

import cyrnn  # noqa: E402

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "clipnorm": 0.5}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 2}),
    ("Adam", {"gradient_accumulation_steps": 2}),
    ("AdamW", {"global_clipnorm": 0.5}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("RMSprop", {"momentum": 0.5, "gradient_accumulation_steps": 4}),
    ("Nadam", {}),
    ("Nadam", {"gradient_accumulation_steps": 3}),
    ("Adagrad", {"clipvalue": 0.1}),
    ("Adamax", {}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Lion", {"use_ema": True}),
    ("Ftrl", {"l1_regularization_strength": 0.01, "beta": 0.1}),
    ("Adafactor", {}),
    ("Muon", {"exclude_layers": ["dense"], "adam_weight_decay": 0.01}),
]
SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 2, "decay_rate": 0.5}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "warmup_target": 0.2, "warmup_steps": 2}),
    ("PiecewiseConstantDecay", {"boundaries": [1, 4], "values": [0.1, 0.05, 0.01]}),
]
ENDS = ("keras", "h5", "weights.h5")
BEFORE, AFTER = 3, 3
RNG = np.random.default_rng(5)
X = RNG.standard_normal((2 * (BEFORE + AFTER), 4, 2, 3)).astype("float32")
Y = RNG.standard_normal((2 * (BEFORE + AFTER), 4, 2)).astype("float32")


def model_of(library):
    layers = library.layers
    return library.Sequential(
        [
            library.Input((2, 3)),
            layers.BatchNormalization(),
            layers.SimpleRNN(4),
            layers.Dense(2),
        ]
    )


def optimizer_of(library, name, options):
    options = {"learning_rate": 0.05, **options}
    if isinstance(options["learning_rate"], tuple):
        schedule, arguments = options["learning_rate"]
        options["learning_rate"] = getattr(library.optimizers.schedules, schedule)(**arguments)
    return getattr(library.optimizers, name)(**options)


def compiled(library, name, options, loss="mean_squared_error", **more):
    model = model_of(library)
    model.compile(optimizer_of(library, name, options), loss, run_eagerly=True, **more)
    return model


def steps(model, numbers):
    for number in numbers:
        model.train_on_batch(X[number], Y[number])


def saved(model, folder):
    """A file of each format that the library can write."""
    found = {}
    for end in ENDS:
        path = str(folder / f"model.{end}")
        if end == "h5" and isinstance(model, keras.Model) and type(model.optimizer).__name__ == "Adafactor":
            continue  # Keras calls several of its variables alike, and fails
        (model.save_weights if end.startswith("weights") else model.save)(path)
        found[end] = path
    return found


def loaded(library, end, path, name, options):
    if end == "keras" or (end == "h5" and library is cyrnn):
        return library.models.load_model(path)
    if end == "h5":  # where Keras loses the state: it builds the optimizer for no weights at all
        model, state = keras.models.load_model(path), state_in_h5(path)
        model.compile(optimizer_of(keras, name, options), "mean_squared_error", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)
        assert [value.shape for value in state] == [tuple(v.shape) for v in model.optimizer.variables]
        model.optimizer.set_weights(state)
        return model
    model = compiled(library, name, options)
    if library is keras:
        model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return model


def state_in_h5(path):
    with h5py.File(path) as file:
        group = file["optimizer_weights"]
        return [group[name][()] for name in group.attrs["weight_names"]]


def assert_same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def assert_same_state(ours, theirs):
    for mine, variable in zip(ours.variables, theirs.variables, strict=True):
        assert (mine.shape, str(mine.dtype)) == (tuple(variable.shape), variable.dtype)
        assert mine.name.split("_")[-1] == variable.name.split("_")[-1] or variable.name.startswith("variable")
        np.testing.assert_allclose(mine, keras.ops.convert_to_numpy(variable), rtol=5e-5, atol=5e-6)
    assert int(ours.iterations) == int(theirs.iterations)


CASES = OPTIMIZERS + [(name, {"learning_rate": schedule}) for name in ("SGD", "Adam") for schedule in SCHEDULES]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.filterwarnings("error:Skipping variable loading")
def test_training_continues(tmp_path, name, options):
    theirs = compiled(keras, name, options)
    steps(theirs, range(BEFORE))
    (tmp_path / "theirs").mkdir()
    files = saved(theirs, tmp_path / "theirs")
    steps(theirs, range(BEFORE, BEFORE + AFTER))
    for end, path in files.items():
        ours = loaded(cyrnn, end, path, name, options)
        steps(ours, range(BEFORE, BEFORE + AFTER))
        assert_same(ours, theirs)
        assert_same_state(ours.optimizer, theirs.optimizer)
    (tmp_path / "ours").mkdir()
    files = saved(ours, tmp_path / "ours")
    steps(ours, range(BEFORE + AFTER, BEFORE + AFTER + 3))
    for end, path in files.items():
        theirs = loaded(keras, end, path, name, options)
        steps(theirs, range(BEFORE + AFTER, BEFORE + AFTER + 3))
        assert_same(ours, theirs)
        assert_same_state(ours.optimizer, theirs.optimizer)


def compile_config(library, arguments):
    model = model_of(library)
    model.compile(**arguments(library))
    config = model.get_compile_config()
    config["optimizer"]["config"]["name"] = "opt"
    return model, config


ARGUMENTS = {
    "names": lambda k: {"optimizer": "adam", "loss": "mse", "metrics": ["mae", "accuracy", "MSE"]},
    "objects": lambda k: {
        "optimizer": k.optimizers.SGD(0.1, momentum=0.5),
        "loss": k.losses.MeanAbsoluteError(reduction="sum"),
        "metrics": [k.metrics.RootMeanSquaredError(name="root"), k.metrics.MeanSquaredError(name="squares")],
        "weighted_metrics": [k.metrics.MeanAbsoluteError(name="weighed")],
    },
    "functions": lambda k: {"loss": k.losses.mean_absolute_error, "metrics": [k.metrics.mean_squared_error]},
    "lists": lambda k: {"loss": ["mae"], "loss_weights": [0.5], "metrics": [["mae", "mse"]]},
    "tuples": lambda k: {"loss": "mae", "metrics": ("mae", "mse")},
    "speed": lambda k: {"loss": "log_cosh", "run_eagerly": True, "steps_per_execution": 3, "jit_compile": False},
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_compile_configs(tmp_path, case):
    ours, our_config = compile_config(cyrnn, ARGUMENTS[case])
    theirs, their_config = compile_config(keras, ARGUMENTS[case])
    our_config.pop("jit_compile"), their_config.pop("jit_compile")  # Keras has resolved "auto"
    assert our_config == json.loads(json.dumps(their_config))
    ours.set_weights(theirs.get_weights())
    expected = theirs.evaluate(X[0], Y[0], verbose=0, return_dict=True)
    for end in ("keras", "h5"):
        theirs.save(tmp_path / f"theirs.{end}")
        ours.save(tmp_path / f"ours.{end}")
        for library, name in [(cyrnn, "theirs"), (keras, "ours"), (cyrnn, "ours")]:
            model = library.models.load_model(tmp_path / f"{name}.{end}")
            found = model.evaluate(X[0], Y[0], verbose=0, return_dict=True)
            assert found.keys() == expected.keys()
            np.testing.assert_allclose([found[k] for k in expected], list(expected.values()), rtol=1e-5, err_msg=name)


def two_outputs(k):
    x = k.Input((4,), dtype="int32")
    h = k.layers.Embedding(7, 3, mask_zero=True)(x)
    h = k.layers.Bidirectional(k.layers.LSTM(2, return_sequences=True))(h)
    a = k.layers.Dense(1, name="a")(k.layers.GRU(3)(h))
    b = k.layers.Dense(2, activation="softmax", name="b")(k.layers.SimpleRNN(2)(h))
    return k.Model(x, [a, b])


def with_a_frozen_layer(k):
    layers = k.layers
    inner = k.Sequential([k.Input((4, 3)), layers.RNN([layers.SimpleRNNCell(2), layers.GRUCell(2)])])
    inputs = [k.Input((4,), dtype="int32"), layers.Embedding(7, 3)]
    model = k.Sequential([*inputs, inner, layers.BatchNormalization(), layers.Dense(2, name="b")])
    model.layers[0].trainable = False
    return model


MODELS = {
    two_outputs: {
        "loss": {"a": "mse", "b": "sparse_categorical_crossentropy"},
        "loss_weights": {"a": 0.5, "b": 2.0},
        "metrics": {"b": ["accuracy"]},
    },
    with_a_frozen_layer: {"loss": "sparse_categorical_crossentropy"},
}


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.filterwarnings("error:Skipping variable loading")
def test_other_models(tmp_path, make):
    x = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [6, 1, 2, 3]], "int32")
    y = np.array([[0], [1], [1]])
    data = (x, [y.astype("float32"), y]) if make is two_outputs else (x, y)
    theirs = make(keras)  # SGD: TensorFlow does not sum the gradients of a token for Adam
    theirs.compile(keras.optimizers.SGD(0.1, momentum=0.9), **MODELS[make])
    theirs.train_on_batch(*data)
    theirs.save(tmp_path / "theirs.keras")
    ours = cyrnn.models.load_model(tmp_path / "theirs.keras")
    for model in (theirs, ours):
        model.train_on_batch(*data)
    assert_same(ours, theirs)
    assert_same_state(ours.optimizer, theirs.optimizer)
    ours.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    for model in (ours, again):
        model.train_on_batch(*data)
    assert_same(ours, again)
    assert_same_state(ours.optimizer, again.optimizer)
    assert again.evaluate(*data, verbose=0) == pytest.approx(ours.evaluate(*data, verbose=0), rel=1e-4)


@pytest.mark.parametrize("end", ["keras", "h5"])
def test_checkpoints(tmp_path, end):
    for library, other in ((cyrnn, keras), (keras, cyrnn)):
        path = str(tmp_path / f"{library.__name__}-{{epoch}}.{end}")
        model = compiled(library, "Adam", {}, metrics=["mae"])
        callback = library.callbacks.ModelCheckpoint(path, monitor="mae", save_best_only=True, mode="max")
        model.fit(X[0], Y[0], epochs=1, callbacks=[callback], verbose=0)
        twin = other.models.load_model(path.format(epoch=1))
        assert twin.evaluate(X[1], Y[1], verbose=0) == pytest.approx(model.evaluate(X[1], Y[1], verbose=0), rel=1e-5)
