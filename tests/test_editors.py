"""What editors and people see: types, names, near misses, and where a name is that cyrnn does not have."""

import importlib
import inspect
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import layers

NAMES = """activations backend callbacks constraints initializers layers losses metrics models optimizers preprocessing
regularizers saving utils"""
MODULES = ["", *(f".{name}" for name in NAMES.split())]


def named(name):
    return importlib.import_module(f"cyrnn{name}")


# ------------------------------------------------------------ types

RIGHT = """
import numpy as np
import cyrnn
from cyrnn import layers

x = cyrnn.Input((5, 3), name="x")
h = layers.SimpleRNN(4, return_sequences=True, zero_output_for_mask=True, name="rnn")(x)
y = layers.Dense(2, activation="tanh", dtype="float32", trainable=False)(h)
z = layers.Add()([y, y])
shape = z.shape
model = cyrnn.Sequential([layers.Dense(3, name="dense")])
total = model.predict(np.zeros((2, 3))).sum()
mean = layers.Dropout(0.5, seed=1)(np.zeros((2, 3))).mean()
sequence = np.zeros((2, 5, 3), np.float32)
last = layers.LSTM(4)(sequence, mask=None).shape
all_of_them, state_h, state_c = layers.LSTM(4, return_sequences=True, return_state=True)(sequence)
one, state = layers.GRU(4, return_state=True)(x)
both = layers.Bidirectional(layers.GRU(4))(sequence, lengths=[2, 5]).sum()
each = layers.TimeDistributed(layers.Dense(2))(h).shape
graph = cyrnn.Model(x, {"z": z, "y": y})
whole = graph.predict(sequence, batch_size=2, verbose=0)["z"]
called = graph({"x": sequence})["y"]
nested = graph([x]).dtype
first, second = cyrnn.models.Functional([x], [y, z]).predict(sequence)
"""
WRONG = {
    'layers.Dense(3, activatoin="tanh")': 'Unexpected keyword argument "activatoin" for "Dense"',
    "layers.SimpleRNN(3, retrun_sequences=True)": 'Unexpected keyword argument "retrun_sequences" for "SimpleRNN"',
    'layers.Dropout(0.5, nmae="x")': 'Unexpected keyword argument "nmae" for "Dropout"',
    'cyrnn.Input((3,), dtpye="float32")': 'Unexpected keyword argument "dtpye" for "Input"',
    "layers.Dense(3)(np.zeros((2, 3))).shap": '"ndarray[tuple[Any, ...], dtype[Any]]" has no attribute "shap"',
    "layers.SimpleRNN(3)(np.zeros((2, 3, 4))).shap": '"ndarray[tuple[Any, ...], dtype[Any]]" has no attribute "shap"',
    "layers.LSTM(3)(cyrnn.Input((4, 3))).shap": '"KerasTensor" has no attribute "shap"',
    "cyrnn.Model(x, y).predict(np.zeros((2, 5, 3))).shap": '"ndarray[tuple[Any, ...], dtype[Any]]" has no attribute',
    "cyrnn.Model(x, y)(x).shap": '"KerasTensor" has no attribute "shap"',
    "cyrnn.Input((3,)).shap": '"KerasTensor" has no attribute "shap"',
    "layers.Lstm(3)": 'Module has no attribute "Lstm"',
    "cyrnn.saving.load_modle": 'Module has no attribute "load_modle"',
    "layers.MultiHeadAttention(2, 3, droput=0.5)": 'Unexpected keyword argument "droput" for "MultiHeadAttention"',
    "layers.TextVectorization(vocabluary=[])": 'Unexpected keyword argument "vocabluary" for "TextVectorization"',
}


def test_type_checkers_find_misspelt_names(tmp_path):
    pytest.importorskip("mypy", reason="needs mypy: pip install '.[lint]'")
    (tmp_path / "right.py").write_text(RIGHT)
    lines = [*RIGHT.splitlines()[:4], "x, y = cyrnn.Input((5, 3)), cyrnn.Input((2,))"]
    (tmp_path / "wrong.py").write_text("\n".join([*lines, *WRONG]) + "\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=",
        "--cache-dir",
        str(tmp_path / "cache"),
        "right.py",
        "wrong.py",
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert "right.py" not in found, found
    for number, message in enumerate(WRONG.values(), len(lines) + 1):
        said = [line for line in found.splitlines() if line.startswith(f"wrong.py:{number}: error:")]
        assert len(said) == 1 and message in said[0], (number, message, found)


# ------------------------------------------------------------ names


@pytest.mark.parametrize("name", MODULES)
def test_dir_shows_public_names_and_they_are_there(name):
    module = named(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, part) for part in dir(module))
    assert not any(part.startswith("_") and part != "__version__" for part in dir(module))


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_do_not_have(name):
    module = named(name)
    with pytest.raises(AttributeError, match=f"module {module.__name__!r} has no attribute 'nothing_like_it'$"):
        _ = module.nothing_like_it
    assert not hasattr(module, "__path_of_nothing__")


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda: layers.Lstm, "did you mean 'LSTM'"),
        (lambda: layers.SimpleRnn, "did you mean 'SimpleRNN'"),
        (lambda: cyrnn.Sequental, "did you mean 'Sequential'"),
        (lambda: cyrnn.losses.MeanSquareError, "did you mean 'MeanSquaredError'"),
        (lambda: cyrnn.optimizers.adm, "did you mean 'Adam"),
        (lambda: cyrnn.saving.load_modle, "did you mean 'load_model'"),
        (lambda: cyrnn.from_torch, "it is cyrnn.saving.from_torch"),
        (lambda: cyrnn.activations.sigmoyd, "did you mean '(log_|sparse_|hard_)?sigmoid'"),
        (lambda: layers.Conv2D, "not of images; for sequences there are Conv1D"),
        (lambda: layers.ConvLSTM1D, "write a custom cell"),
        (lambda: layers.Lambda, "whose `call` is the function"),
        (lambda: cyrnn.ops, "everything here is NumPy"),
        (lambda: cyrnn.load_model, "it is cyrnn.saving.load_model"),
        (lambda: cyrnn.callbacks.TensorBoard, "CSVLogger writes the logs"),
    ],
)
def test_what_is_not_here_has_a_hint(find, message):
    with pytest.raises(AttributeError, match=message):
        find()


@pytest.mark.parametrize(
    ("method", "keyword", "meant"),
    [
        ("compile", "optimiser", "optimizer"),
        ("fit", "batchsize", "batch_size"),
        ("evaluate", "sample_weigth", "sample_weight"),
        ("predict", "num_thread", "num_threads"),
        ("train_on_batch", "classweight", "class_weight"),
    ],
)
def test_a_keyword_that_a_method_does_not_have_has_a_hint(method, keyword, meant):
    model = cyrnn.Sequential([cyrnn.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    arguments = () if method == "compile" else (np.ones((2, 3)),)
    with pytest.raises(TypeError, match=rf"{method}\(\) got an unexpected keyword argument '{keyword}'.*'{meant}'\?"):
        getattr(model, method)(*arguments, **{keyword: 1})


def test_errors_within_a_method_are_its_own():
    def broken(_):
        return broken(unknown=1)

    model = cyrnn.Sequential([cyrnn.Input((3,)), layers.Dense(2, broken)])
    with pytest.raises(TypeError, match="unexpected keyword argument 'unknown'$"):
        model.predict(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(3, "tahn"), "unknown activation 'tahn': .*; did you mean 'tanh'"),
        (lambda: layers.LSTM(3, recurrent_activation="Sigmoid"), "did you mean 'sigmoid'"),
        (lambda: layers.Dense(3, kernel_initializer="glorot_unifrom"), "did you mean 'glorot_uniform'"),
        (
            lambda: layers.Dense(3, activatoin="tanh"),
            "passed to Dense: .*; did you mean 'activation'",
        ),
        (lambda: layers.SimpleRNN(3, retrun_state=True), "did you mean 'return_state'"),
        (lambda: cyrnn.losses.get("mean_square_error"), "did you mean 'mean_squared_error'"),
        (lambda: cyrnn.optimizers.get("adm"), "did you mean 'adam"),
        (lambda: cyrnn.metrics.get("acuracy"), "did you mean"),
        (lambda: layers.deserialize({"class_name": "Lstm", "config": {}}), "did you mean 'LSTM'"),
        (lambda: layers.deserialize({"class_name": "Conv2D", "config": {}}), "not of images"),
    ],
)
def test_near_misses_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def at_the_line_of_the_caller(action, message):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        action()
    (warning,) = (warning for warning in found if message in str(warning.message))
    assert warning.filename == __file__
    assert inspect.getsourcelines(action)[1] == warning.lineno


def test_warnings_are_at_the_line_of_the_caller():
    masked = cyrnn.Sequential([layers.Input((4, 2)), layers.Masking(), layers.Conv1D(2, 2)])
    x = np.ones((1, 4, 2))
    at_the_line_of_the_caller(lambda: masked(x), "does not pass the mask on")
    at_the_line_of_the_caller(lambda: masked.predict(x), "does not pass the mask on")
    at_the_line_of_the_caller(lambda: layers.Dense(3, input_shape=(2,)), "input_shape and input_dim are deprecated")
    at_the_line_of_the_caller(lambda: layers.LeakyReLU(alpha=0.2), "alpha is deprecated")
    at_the_line_of_the_caller(lambda: cyrnn.callbacks.EarlyStopping(mode="most"), "mode 'most' is unknown")


def test_imports_take_no_longer_for_it():
    code = "import sys, cyrnn; print(*(name for name in ('difflib', 'warnings_', 'html') if name in sys.modules))"
    assert run_python(code).stdout.split() == []


def test_sums_are_of_the_types_that_are_said():
    assert isinstance(layers.Dense(3)(np.zeros((2, 3))), np.ndarray)


# ------------------------------------------------------------ things given to the wrong function


def sequential():
    return cyrnn.Sequential([cyrnn.Input((4, 3)), layers.GRU(2)])


def generator():
    yield np.zeros((2, 4, 3))


MISPLACED = {
    "a model as a path": (lambda: cyrnn.saving.load_model(sequential()), "path must be .* got Sequential"),
    "a dict as a path": (lambda: cyrnn.saving.load_model({}), "path must be .* got dict"),
    "weights from a model": (lambda: sequential().load_weights(sequential()), "path must be .* got Sequential"),
    "weights to a model": (lambda: sequential().save(sequential()), "path must be .* got Sequential"),
    "a path as a live model": (lambda: cyrnn.from_keras("m.keras"), "got str; cyrnn.saving.load_model opens files"),
    "a dict as a live model": (lambda: cyrnn.from_keras({}), "must be a model or layer of Keras, got dict"),
    "a dict as JSON": (lambda: cyrnn.from_json({}), "must be a str or bytes, got dict; `from_config` of its class"),
    "a model as a list": (lambda: cyrnn.Sequential(sequential()), "layers must be a list of layers, got Sequential"),
    "arrays as layers": (lambda: cyrnn.Sequential(generator()), r"layers, got an array of shape \(2, 4, 3\)"),
    "arrays as tensors": (lambda: cyrnn.Model(np.zeros(9), np.zeros(9)), r"have returned, got an array of shape"),
    "a model as a cell": (
        lambda: layers.RNN(sequential()),
        "cell must have a `state_size`, .* got None of a Sequential",
    ),
    "a model as an optimizer": (
        lambda: sequential().compile(sequential()),
        "an optimizer, its name, .* got Sequential",
    ),
    "a generator in a call": (lambda: sequential()(generator()), "must be an array of real numbers, got generator"),
    "a dict in a call": (lambda: layers.GRU(2)({"x": 1}), "must be an array of real numbers, got dict"),
    "a model in a call": (lambda: layers.GRU(2)(sequential()), "must be an array of real numbers, got Sequential"),
    "a dict to be exported": (lambda: cyrnn.saving.export_c({}, "m.c"), "layer or model of cyrnn, got dict"),
    "a model as one of Keras": (lambda: cyrnn.from_keras(sequential()), "got Sequential of cyrnn, which needs nothing"),
    "a model as one of torch": (lambda: cyrnn.saving.from_torch(sequential()), "got Sequential of cyrnn"),
    "a dict in a wrapper": (lambda: layers.Bidirectional({}), "must be a layer, got dict"),
    "a generator as weights": (lambda: sequential().set_weights(generator()), "a list of arrays, got generator"),
}


@pytest.mark.parametrize("case", MISPLACED)
def test_what_is_given_to_the_wrong_function_is_named_by_its_type(case):
    call, words = MISPLACED[case]
    with pytest.raises((TypeError, ValueError), match=words):
        call()
