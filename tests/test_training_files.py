"""Models that are trained go through files: training continues with the same next step."""

import contextlib
import copy
import io
import json
import os
import pickle
import shutil
import signal
import time
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from golden import make_training

import cyrnn
from cyrnn import optimizers
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import ModelFileError, Reason, load_model

NAMES = [
    "SGD", "Adam", "AdamW", "RMSprop", "Nadam", "Adagrad", "Adamax", "Adadelta", "Lion", "Ftrl", "Adafactor", "Muon",
]  # fmt: skip
OPTIONS = [
    *((name, {}) for name in NAMES),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {"amsgrad": True, "use_ema": True, "gradient_accumulation_steps": 2}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("RMSprop", {"centered": True, "use_ema": True, "ema_overwrite_frequency": 2}),
    ("Adam", {"learning_rate": optimizers.schedules.CosineDecay(0.1, 7)}),
]
rng = np.random.default_rng(3)
X, Y = rng.standard_normal((12, 5, 3)).astype("f"), rng.standard_normal((12, 2)).astype("f")


def a_model(units=4):
    return cyrnn.Sequential([Input((5, 3)), SimpleRNN(units), Dense(2)], name="m")


def compiled(optimizer="adam", loss="mse", units=4, **options):
    model = a_model(units)
    model.compile(optimizer, loss, **options)
    return model


def steps(model, count=3):
    for number in range(count):
        model.train_on_batch(X[number::3], Y[number::3])
    return model


def state(model):
    return [*model.get_weights(), *(variable.numpy() for variable in model.optimizer.variables)]


def assert_same(one, other):
    for a, b in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- the state


def test_variables_are_those_of_keras():
    options = {"amsgrad": True, "use_ema": True, "gradient_accumulation_steps": 2}
    model = compiled(optimizers.Adam(0.01, **options))
    assert [variable.path for variable in model.optimizer.variables] == ["adam/iteration", "adam/learning_rate"]
    steps(model)
    weights = [
        "m_simple_rnn_simple_rnn_cell_kernel", "m_simple_rnn_simple_rnn_cell_recurrent_kernel",
        "m_simple_rnn_simple_rnn_cell_bias", "m_dense_kernel", "m_dense_bias",
    ]  # fmt: skip
    weights = [name.replace("simple_rnn_simple", f"{model.layers[0].name}_simple") for name in weights]
    weights = [name.replace("m_dense", f"m_{model.layers[1].name}") for name in weights]
    expected = ["iteration", "learning_rate"]
    expected += [f"{name}_{end}" for end in ("average", "gradient_accumulator") for name in weights]
    expected += [f"{name}_{end}" for name in weights for end in ("momentum", "velocity")]
    expected += [f"{name}_velocity_hat" for name in weights]
    variables = model.optimizer.variables
    assert [variable.name for variable in variables] == expected
    assert [str(variable.dtype) for variable in variables] == ["int64"] + ["float32"] * 26
    assert int(variables[0]) == 3 and model.optimizer.iterations == 1  # three calls, one update
    for variable, w in zip(variables[2:7], model.weights, strict=True):
        assert variable.shape == w.shape


@pytest.mark.parametrize(
    ("name", "options", "ends"),
    [
        ("RMSprop", {"momentum": 0.1, "centered": True}, ["velocity"] * 2 + ["momentum"] * 2 + ["gradient"] * 2),
        ("Nadam", {}, ["momentum", "velocity"] * 2 + ["variable"]),
        ("Adafactor", {}, ["kernel", "kernel", "velocity", "bias", "bias", "velocity"]),
        ("Muon", {}, ["momentum", "momentum", "velocity"]),
        ("Muon", {"exclude_layers": ["dense"]}, ["momentum", "velocity"] * 2),
        ("Ftrl", {}, ["accumulator", "linear"] * 2),
        ("Adadelta", {}, ["grad", "var"] * 2),
        ("Adamax", {}, ["momentum", "norm"] * 2),
        ("SGD", {}, []),
        ("SGD", {"momentum": 0.5}, ["momentum"] * 2),
    ],
)
def test_the_order_of_slots(name, options, ends):
    optimizer, layer = getattr(optimizers, name)(**options), Dense(2, name="dense")
    layer.build((None, 3))
    optimizer.build(layer)
    assert [variable.name.split("_")[-1] for variable in optimizer.variables[2:]] == ends
    assert optimizer.variables_of(layer) == [(v.name, v.shape) for v in optimizer.variables]


def test_placeholders_of_adafactor():
    layer, optimizer = Dense(2), optimizers.Adafactor()
    layer.build((None, 3))
    optimizer.build(layer)
    found = [(variable.shape, str(variable.dtype)) for variable in optimizer.variables[2:]]
    assert found[:3] == [((3,), "float32"), ((2,), "float32"), ((3, 2), "float32")]
    assert found[3:] == [((), "int32"), ((), "int32"), ((2,), "float32")]


def test_a_schedule_is_no_variable():
    optimizer = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5))
    assert [variable.name for variable in optimizer.variables] == ["iteration"]
    optimizer.learning_rate = 0.5
    assert [variable.name for variable in optimizer.variables] == ["iteration", "learning_rate"]


def test_variables_are_assigned():
    model = steps(compiled())
    iteration, rate, momentum = model.optimizer.variables[:3]
    iteration.assign(7), rate.assign(0.5), momentum.assign(np.ones(momentum.shape))
    assert (model.optimizer.iterations, model.optimizer.learning_rate) == (7, 0.5)
    np.testing.assert_array_equal(model.optimizer.variables[2], np.ones((3, 4)))
    with pytest.raises(ValueError, match="read-only"):
        momentum.value[0] = 3
    with pytest.raises(ValueError, match=r"must have the shape \(3, 4\), got \(2,\)"):
        momentum.assign([1, 2])
    twin = compiled()
    twin.set_weights(model.get_weights())
    twin.optimizer.build(twin)
    twin.optimizer.set_weights([variable.numpy() for variable in model.optimizer.variables])
    assert_same(steps(model), steps(twin))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values[:-1], "has 12 variables, got 11"),
        (lambda values: [*values[:-1], np.zeros(3)], r"_bias_velocity' must have the shape \(2,\), got \(3,\)"),
        (lambda values: [np.asarray(-1), *values[1:]], "iteration.* from 0 to 2 .* got -1"),
        (lambda values: [np.asarray(np.nan), *values[1:]], "iteration.* got nan"),
        (lambda values: [np.asarray(2**60), *values[1:]], "iteration"),
        (lambda values: ["x", *values[1:]], "iteration"),
    ],
)
def test_values_that_do_not_fit(change, words):
    model = steps(compiled())
    before = state(model)
    with pytest.raises((ValueError, TypeError), match=words):
        model.optimizer.set_weights(change(state(model)[5:]))
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_copied_optimizer_goes_on_with_another_model():
    model = steps(compiled(optimizers.Adam(0.02)))
    for copied in (copy.deepcopy(model.optimizer), pickle.loads(pickle.dumps(model.optimizer))):
        assert len(copied.variables) == 12 and copied.iterations == 3
        twin = compiled(copied)
        twin.set_weights(model.get_weights())
        again = copy.deepcopy(model)
        assert_same(steps(twin), steps(again))
        assert model.optimizer.iterations == 3
    assert len(pickle.dumps(model.optimizer)) < len(pickle.dumps(model))
    other = compiled(copy.deepcopy(model.optimizer), units=5)
    with pytest.raises(
        ValueError, match="'adam' is a copy of one for 5 trainable weights, and the 5 of 'm' have other"
    ):
        steps(other)
    with pytest.raises(ValueError, match="before the first step"):
        copied.exclude_from_weight_decay(var_names=["bias"])


def test_build_takes_what_scripts_of_keras_give():
    model = compiled()
    model.optimizer.build(model.trainable_weights)
    assert steps(model).optimizer.iterations == 3


# ---------------------------------------------------------------- arguments and configs

GENERAL = (0.1, None, None, 2.0, True, 0.5, 3, 4.0, 5, "mine")
POSITIONAL = {
    "SGD": (0.5, False, *GENERAL), "Adam": (0.8, 0.9, 1e-6, True, *GENERAL), "AdamW": (0.1, 0.8, 0.9, 1e-6, True),
    "RMSprop": (0.8, 0.1, 1e-6, True, *GENERAL), "Nadam": (0.8, 0.9, 1e-6, *GENERAL), "Adagrad": (0.2, 1e-6, *GENERAL),
    "Adamax": (0.8, 0.9, 1e-6, *GENERAL), "Adadelta": (0.8, 1e-6, *GENERAL), "Lion": (0.8, 0.9, *GENERAL),
    "Ftrl": (-0.4, 0.2, 0.1, 0.2, 0.3, 0.4, *GENERAL), "Adafactor": (-0.7, 1e-20, 1e-2, 2.0, False, *GENERAL),
    "Muon": (0.8, 0.9, 0.01, 1e-6, *GENERAL, ["x"], False, 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_general_options_may_have_no_names(name):
    arguments = POSITIONAL[name] if name != "AdamW" else (*POSITIONAL[name], *GENERAL[1:])
    config = getattr(optimizers, name)(0.3, *arguments).get_config()
    assert config["weight_decay"] == 0.1 and config["global_clipnorm"] == 2.0 and config["clipnorm"] is None
    assert config["use_ema"] is True and (config["ema_momentum"], config["ema_overwrite_frequency"]) == (0.5, 3)
    assert (config["loss_scale_factor"], config["gradient_accumulation_steps"], config["name"]) == (4.0, 5, "mine")
    assert getattr(optimizers, name).from_config(config).get_config() == config


def test_configs_of_older_keras():
    first = {"class_name": "SGD", "config": {"lr": 0.5, "momentum": 0.25, "decay": 0.0, "nesterov": True}}
    second = {"name": "Adam", "learning_rate": 0.5, "decay": 0.1, "jit_compile": True, "is_legacy_optimizer": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = optimizers.deserialize(first)
    assert (optimizer.learning_rate, optimizer.momentum, optimizer.nesterov) == (0.5, 0.25, True)
    with pytest.warns(UserWarning, match="`decay` is no longer supported"):
        assert optimizers.Adam.from_config(second).learning_rate == 0.5
    assert optimizers.Adam.from_config({"learning_rate": 0.01}).get_config()["learning_rate"] == float(np.float32(0.01))


@pytest.mark.parametrize("pattern", ["(a|a)*b", "a*b*c*d*", "(x+)+y", "a" * 300])
def test_patterns_of_configs_are_simple(pattern):
    with pytest.raises(ValueError, match="exclude_layers of a config must hold regular expressions of at most 200"):
        optimizers.get({"class_name": "Muon", "config": {"exclude_layers": [pattern]}})
    assert optimizers.get({"class_name": "Muon", "config": {"exclude_layers": ["rnn.*kernel$"]}}).exclude_layers


# ---------------------------------------------------------------- files

ENDS = ("keras", "h5", "weights.h5")


def saved(model, path):
    (model.save_weights if path.name.endswith("weights.h5") else model.save)(path)
    return path


def loaded(path, optimizer, **options):
    if not path.name.endswith("weights.h5"):
        return load_model(path)
    model = compiled(optimizer, **options)
    model.load_weights(path)
    return model


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_training_continues(tmp_path, name, options):
    model = steps(compiled(getattr(optimizers, name)(**{"learning_rate": 0.05, **options})))
    paths = [saved(model, tmp_path / f"m.{end}") for end in ENDS]
    steps(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in paths:
            twin = loaded(path, getattr(optimizers, name)(**{"learning_rate": 0.05, **options}))
            assert_same(steps(twin), model)


@pytest.mark.parametrize("end", ENDS)
def test_fit_continues(tmp_path, end):
    """In `fit` the state lies in flat arrays."""
    model = compiled()
    model.fit(X, Y, batch_size=5, shuffle=False, verbose=0)
    path = saved(model, tmp_path / f"m.{end}")
    twin = loaded(path, "adam")
    for each in (model, twin):
        each.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    assert_same(model, twin)
    model.load_weights(tmp_path / f"m.{end}")  # back to then, in the middle of things
    model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        assert np.array_equal(a, b) == (end != "h5")  # where `load_weights` reads weights alone, as Keras does


def test_formats_without_a_state_keep_it(tmp_path):
    model = steps(compiled())
    for end in ("npz", "safetensors"):
        model.save_weights(tmp_path / f"m.{end}")
        assert_same(steps(copy.deepcopy(model)), steps(copy.deepcopy(model)))
        before = model.optimizer.iterations
        model.load_weights(tmp_path / f"m.{end}")
        assert model.optimizer.iterations == before


@pytest.mark.parametrize("end", ["keras", "h5"])
def test_what_is_left_out(tmp_path, end):
    model, path = steps(compiled()), tmp_path / f"m.{end}"
    model.save(path)
    assert load_model(path).compiled
    assert not load_model(path, compile=False).compiled
    model.save(path, include_optimizer=False)
    assert not load_model(path).compiled
    a_model().save(path)
    assert not load_model(path).compiled
    np.testing.assert_array_equal(load_model(path)(X).shape, (12, 2))


def test_weights_for_a_model_that_is_not_compiled(tmp_path):
    path = saved(steps(compiled()), tmp_path / "m.weights.h5")
    model = a_model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_weights(path)
        model.save_weights(tmp_path / "m.npz")
        compiled("sgd").load_weights(tmp_path / "m.npz")
    assert not model.compiled


@pytest.mark.parametrize("end", ["keras", "h5", "weights.h5"])
def test_a_model_that_was_never_trained(tmp_path, end):
    path = saved(compiled(optimizers.Adam(0.25)), tmp_path / f"m.{end}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = loaded(path, optimizers.Adam(0.25))
    assert model.optimizer.iterations == 0 and steps(model).optimizer.learning_rate == 0.25


def test_the_state_of_another_optimizer_is_left(tmp_path):
    path = saved(steps(compiled("adam")), tmp_path / "m.weights.h5")
    model = steps(compiled("rmsprop"))
    before = [variable.numpy() for variable in model.optimizer.variables]
    with pytest.warns(UserWarning, match="Skipping .* optimizer 'rm_sprop', because it has 7 .* saved .* has 12"):
        model.load_weights(path)
    for a, b in zip(before, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.warns(UserWarning, match="has 12 variables .* has 2 variables"):  # of plain SGD, in training
        compiled("adam").load_weights(saved(steps(compiled("sgd")), tmp_path / "sgd.weights.h5"))


def edited(path, edit):
    """Change the HDF5 file with the weights of a model."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            edit(file)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        edit(file)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"model.weights.h5": buffer.getvalue()}).items():
            archive.writestr(name, content)


def replaced(group, name, value):
    del group[name]
    group[name] = value


EDITS = {
    "no group": lambda file: file.pop("optimizer"),
    "no variables": lambda file: file.move("optimizer/vars", "optimizer/other"),
    "an empty group": lambda file: [file["optimizer/vars"].pop(name) for name in list(file["optimizer/vars"])],
    "one less": lambda file: file["optimizer/vars"].pop("11"),
    "one more": lambda file: file["optimizer/vars"].create_dataset("12", data=1.0),
    "no group at all": lambda file: replaced(file, "optimizer", np.zeros(3)),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("end", ["keras", "weights.h5"])
def test_a_file_without_the_state_begins_anew(tmp_path, end, edit):
    model = steps(compiled())
    path = saved(model, tmp_path / f"m.{end}")
    edited(path, EDITS[edit])
    with pytest.warns(
        UserWarning, match=r"Skipping variable loading for optimizer 'adam', because it has 12 variables"
    ):
        twin = loaded(path, "adam")
    assert twin.optimizer.iterations == 0
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


WRONG = {
    "a shape": (
        lambda vars_: replaced(vars_, "3", np.zeros((4, 4))),
        r"velocity' of the optimizer has the shape \(3, 4",
    ),
    "a number": (lambda vars_: replaced(vars_, "0", np.zeros(1)), r"'iteration' of the optimizer has the shape \(\)"),
    "a name": (lambda vars_: vars_.move("5", "x"), "no variable '5' of the optimizer"),
    "text": (lambda vars_: replaced(vars_, "1", "x"), "float type"),
    "a group": (lambda vars_: (vars_.pop("3"), vars_.create_group("3")), "not a dataset"),
    "an iteration": (lambda vars_: replaced(vars_, "0", -3), "must be an integer from 0"),
    "no iteration": (lambda vars_: replaced(vars_, "0", np.nan), "must be an integer from 0"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("end", ["keras", "weights.h5"])
def test_a_state_that_is_wrong(tmp_path, end, case):
    edit, words = WRONG[case]
    path = saved(steps(compiled()), tmp_path / f"m.{end}")
    edited(path, lambda file: edit(file["optimizer/vars"]))
    with pytest.raises(ModelFileError, match=words):
        load_model(path) if end == "keras" else compiled().load_weights(path)
    if end == "keras":
        assert load_model(path, compile=False)(X).shape == (12, 2)
        return
    model = steps(compiled())
    before = state(model)
    with pytest.raises(ModelFileError, match=words):
        model.load_weights(path)
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_of_other_shapes_in_h5_is_left_out(tmp_path):
    path = saved(steps(compiled()), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        group = file["optimizer_weights"]
        replaced(group, group.attrs["weight_names"][3], np.zeros(2))
    with pytest.warns(UserWarning, match=r"the optimizer 'adam' begins anew: .*velocity' .* the file has \(2,\)"):
        assert load_model(path).optimizer.iterations == 0


def test_a_mismatch_may_be_skipped(tmp_path):
    path = saved(steps(compiled()), tmp_path / "m.weights.h5")
    edited(path, lambda file: replaced(file["optimizer/vars"], "3", np.zeros((4, 4))))
    model = compiled()
    with pytest.warns(UserWarning, match="adam .optimizer.* keeps"):
        model.load_weights(path, skip_mismatch=True)
    assert model.optimizer.iterations == 0


def test_numbers_of_other_backends_and_of_float16(tmp_path):
    """On JAX Keras counts in int32; a LossScaleOptimizer has the variables of the optimizer in it in a group, too."""
    model = steps(compiled())
    path = saved(model, tmp_path / "m.keras")

    def edit(file):
        group = file["optimizer/vars"]
        replaced(group, "0", np.int32(group["0"][()]))
        file.move("optimizer/vars", "optimizer/inner_optimizer/vars")
        for number in range(16):
            file[f"optimizer/vars/{number}"] = 0.0

    edited(path, edit)
    assert_same(steps(load_model(path)), steps(model))


# ---------------------------------------------------------------- how a model is compiled


def config_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))["compile_config"]


def with_config(path, **changes):
    """Change the compile config in a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["compile_config"] = {**config["compile_config"], **changes}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config)}).items():
            archive.writestr(name, content)
    return path


def test_compile_configs(tmp_path):
    schedule = optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    model = compiled(
        optimizers.SGD(schedule, momentum=0.5),
        cyrnn.losses.Huber(2.0),
        metrics=["mae", cyrnn.metrics.RootMeanSquaredError(name="root"), cyrnn.losses.mean_squared_error],
        loss_weights=[np.float32(0.5)],
        run_eagerly=True,
    )
    config = config_of(saved(model, tmp_path / "m.keras"))
    optimizer = config.pop("optimizer")
    assert (optimizer["module"], optimizer["class_name"]) == ("keras.optimizers", "SGD")
    assert optimizer["config"]["learning_rate"]["config"]["decay_steps"] == 3
    assert config == {
        "loss": {
            "module": "keras.losses",
            "class_name": "Huber",
            "config": {"name": "huber_loss", "reduction": "sum_over_batch_size", "delta": 2.0},
            "registered_name": None,
        },
        "loss_weights": [0.5],
        "metrics": [
            "mae",
            {
                "module": "keras.metrics",
                "class_name": "RootMeanSquaredError",
                "config": {"name": "root", "dtype": "float32"},
                "registered_name": None,
            },
            {
                "module": "builtins",
                "class_name": "function",
                "config": "mean_squared_error",
                "registered_name": "function",
            },
        ],
        "weighted_metrics": None,
        "run_eagerly": True,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)
    for end in ("keras", "h5"):
        twin = load_model(saved(model, tmp_path / f"m.{end}"))
        assert twin.evaluate(X, Y, verbose=0, return_dict=True) == expected
        assert twin.optimizer.get_config() == model.optimizer.get_config()


def test_short_names_in_h5(tmp_path):
    """Keras 3.15 writes "mse" as it is, and fails to read it."""
    path = saved(compiled("sgd", "mse", metrics=["mae"]), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["training_config"])
        assert config["loss"] == "mean_squared_error"
        assert config["metrics"] == [{"class_name": "MeanAbsoluteError", "config": {"name": "mae"}}]
        assert config["optimizer_config"]["class_name"] == "SGD"
        names = load_model(path).metrics_names
        file.attrs["training_config"] = json.dumps({**config, "loss": "mse", "metrics": ["mae"]})
    assert load_model(path).loss == "mse" and load_model(path).metrics_names == names == ["loss", "mae"]


def double(y_true, y_pred):
    return np.mean(2 * (y_true - y_pred) ** 2, -1)


double.gradient = lambda y_true, y_pred: 4 * (y_pred - y_true) / y_pred.shape[-1]


class Mine(cyrnn.losses.Loss):
    def call(self, y_true, y_pred):
        return np.mean(np.abs(y_true - y_pred), -1)


class Slow(optimizers.SGD):
    pass


@pytest.mark.parametrize("end", ["keras", "h5"])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"loss": double}, "double"),
        ({"loss": Mine()}, "Mine"),
        ({"metrics": [double]}, "double"),
        ({"optimizer": Slow()}, "Slow"),
    ],
)
def test_custom_objects(tmp_path, end, arguments, name):
    model = compiled(**arguments)
    path = saved(model, tmp_path / f"m.{end}")
    with pytest.raises(ModelFileError, match=f"{name!r}.*custom_objects, or load it with compile=False") as caught:
        load_model(path)
    assert caught.value.reason is Reason.UNKNOWN_CLASS
    twin = load_model(path, custom_objects={name: globals()[name]})
    assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    assert load_model(path, compile=False)(X).shape == (12, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "mose"}, "'mose'"),
        ({"metrics": ["maee"]}, "'maee'"),
        ({"loss": {"class_name": "CTC", "module": "keras.losses", "config": {}}}, "'CTC'"),
        ({"metrics": ["MeanIoU"]}, "MeanIoU"),
        ({"optimizer": {"class_name": "SGD", "config": {"learning_rate": "x"}}}, "learning_rate"),
        ({"optimizer": {"class_name": "SGD", "config": {"speed": 1}}}, "speed"),
        ({"optimizer": 3}, "optimizer"),
        ({"loss": {"class_name": "__lambda__", "config": {"code": "x"}}}, "lambda"),
        ({"metrics": 3}, "metrics"),
    ],
)
def test_compile_configs_that_are_wrong(tmp_path, changes, words):
    path = with_config(saved(steps(compiled()), tmp_path / "m.keras"), **changes)
    with pytest.raises(ModelFileError, match=rf"(?s){words}.*custom_objects, or load it with compile=False"):
        load_model(path)
    assert load_model(path, compile=False)(X).shape == (12, 2)


def test_forms_of_other_versions(tmp_path):
    inner = optimizers.serialize(optimizers.Adam())
    changes = {
        "optimizer": {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": inner, "initial_scale": 3.0}},
        "loss": {"class_name": "MeanSquaredError", "config": {"reduction": "auto", "name": "a", "fn": "mse"}},
        "metrics": {"class_name": "__tuple__", "items": ["mae"]},
        "weighted_metrics": [],
    }
    model = steps(compiled())
    twin = load_model(with_config(saved(model, tmp_path / "m.keras"), **changes))
    assert isinstance(twin.optimizer, optimizers.Adam) and twin.metrics_names == ["loss", "mae"]
    assert_same(steps(twin), steps(model))


class Own(cyrnn.Sequential):
    def compile(self, rate):
        super().compile(optimizers.SGD(rate), "mse")


class Complete(Own):
    def get_compile_config(self):
        return {"rate": self.optimizer.learning_rate}

    def compile_from_config(self, config):
        self.compile(**config)


def test_a_model_with_a_compile_of_its_own(tmp_path):
    for cls in (Own, Complete):
        model = cls([Input((5, 3)), SimpleRNN(4), Dense(2)])
        model.compile(rate=0.5)
        steps(model).save(tmp_path / "m.keras")
        if cls is Own:
            with pytest.warns(UserWarning, match="`compile.*` was not called .* because Own has its own"):
                assert not load_model(tmp_path / "m.keras", {"Own": Own}).compiled
        else:
            assert load_model(tmp_path / "m.keras", {"Complete": Complete}).optimizer.learning_rate == 0.5


# ---------------------------------------------------------------- what Keras has trained

GOLDEN = Path(__file__).parent / "golden"


def test_a_training_of_keras_continues():
    expected = json.loads((GOLDEN / "trained.json").read_text())
    model = load_model(GOLDEN / "trained.keras")
    assert model.optimizer.iterations == make_training.BEFORE and model.optimizer.amsgrad
    for number, logs in enumerate(expected["logs"]):
        found = model.train_on_batch(*make_training.batch(make_training.BEFORE + number), return_dict=True)
        assert list(found) == list(logs)
        np.testing.assert_allclose(list(found.values()), list(logs.values()), rtol=2e-5)
    for mine, theirs in zip(model.get_weights(), expected["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6)
    for mine, (path, dtype, value) in zip(model.optimizer.variables, expected["variables"], strict=True):
        assert (mine.path, mine.dtype) == (path, dtype)
        np.testing.assert_allclose(mine, value, rtol=5e-5, atol=5e-6)


# ---------------------------------------------------------------- callbacks


@pytest.mark.parametrize("end", ["keras", "h5", "weights.h5"])
def test_checkpoints_of_fit(tmp_path, end):
    model, name = compiled(metrics=["mae"]), str(tmp_path / f"{{epoch}}.{end}")
    callback = cyrnn.callbacks.ModelCheckpoint(name, save_weights_only=end == "weights.h5")
    model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, callbacks=[callback], verbose=0)
    twin = loaded(tmp_path / f"1.{end}", "adam", metrics=["mae"])
    twin.fit(X, Y, batch_size=4, epochs=3, initial_epoch=1, shuffle=False, verbose=0)
    assert_same(model, twin)


def train(folder, epochs=8, backup=True):
    cyrnn.utils.set_random_seed(1)
    model = compiled(optimizers.Adam(optimizers.schedules.CosineDecay(0.1, 24)), units=16)
    callbacks = [cyrnn.callbacks.BackupAndRestore(folder / "backup")] if backup else []
    model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
    model.save(folder / "end.keras")
    return model


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.thread_unsafe(reason="it forks")
def test_a_killed_training_ends_as_one_that_was_not(tmp_path):
    train(tmp_path)  # all is imported
    start = time.perf_counter()
    expected = train(tmp_path)
    whole, random, kills = time.perf_counter() - start, np.random.default_rng(4), 0
    for _ in range(6):
        (tmp_path / "end.keras").unlink()
        share = 0.1
        while not (tmp_path / "end.keras").exists():
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    train(tmp_path)
                os._exit(0)
            time.sleep(random.uniform(0, share) * whole)
            os.kill(child, signal.SIGKILL)
            kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            share *= 1.2  # so that it comes to an end
        found = load_model(tmp_path / "end.keras")
        assert_same(found, expected)
        shutil.rmtree(tmp_path / "backup", ignore_errors=True)
    assert kills > 6
