"""compile, fit, evaluate and their calls for one batch, against Keras on TensorFlow or JAX: trainings at random."""

import os
import warnings

import numpy as np
import pytest
from trainings import training

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

import cyrnn  # noqa: E402

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.skipif(BACKEND == "numpy", reason="needs a backend of Keras that trains: TensorFlow or JAX")

EXAMPLES = int(os.environ.get("CYRNN_PARITY_EXAMPLES", "200")) // 5
TOLERANCE = 2e-5


def close(mine, its, what):
    scale = np.maximum(1, np.abs(its))
    np.testing.assert_allclose(mine / scale, its / scale, rtol=0, atol=TOLERANCE, err_msg=what)


def twins(seed):
    """The training of a seed in cyrnn and in Keras, with the same weights."""
    cyrnn.utils.set_random_seed(seed)
    ours, theirs = training(cyrnn, seed), training(keras, seed)
    if BACKEND == "jax":  # where |w| has a slope of 1 at 0, for l1; elsewhere 0
        ours.model.set_weights([np.where(weight == 0, 0.01, weight) for weight in ours.model.get_weights()])
    for layer in theirs.model.layers:
        layer.set_weights(ours.model.get_layer(layer.name).get_weights() if layer.weights else [])
    theirs.model.run_eagerly = True  # a graph for each model would take minutes
    return ours, theirs


def shown_by_keras(log, notes):
    """Whether a log is to be compared: on JAX metrics of training leave the mask out."""
    return BACKEND != "jax" or "masked" not in notes or log.startswith("val_") or log.endswith("loss")


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_trainings_at_random(seed):
    ours, theirs = twins(seed)
    found = []
    for each in (ours, theirs):
        options = {"sample_weight": each.weights, "shuffle": False, "verbose": 0}
        history = each.model.fit(each.x, each.y, **options, **each.fit)
        found.append((history.history, history.epoch, history.params["epochs"], history.params["steps"]))
    assert list(found[0][0]) == list(found[1][0])
    assert found[0][1:] == found[1][1:]
    for name, values in found[1][0].items():
        if shown_by_keras(name, ours.notes):
            close(np.array(found[0][0][name]), np.array(values), f"history of {name}")
    for layer in theirs.model.layers:
        if layer.weights:
            pairs = zip(ours.model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True)
            for number, (mine, its) in enumerate(pairs):
                close(mine, its, f"weight {number} of {layer.name}")
    check_results(ours, theirs)


def check_results(ours, theirs):
    """What calls return, as numbers, lists and dicts."""
    calls = {
        "evaluate": {"verbose": 0, "batch_size": 5},
        "test_on_batch": {},
        "train_on_batch": {},  # the last, for it changes the weights
    }
    for call, options in calls.items():
        if call == "train_on_batch" and not shown_by_keras("", ours.notes):
            continue
        for as_dict in (True, False) if call != "train_on_batch" else (False,):
            mine, its = (
                getattr(each.model, call)(each.x, each.y, sample_weight=each.weights, return_dict=as_dict, **options)
                for each in (ours, theirs)
            )
            if as_dict:
                assert list(mine) == list(its)
                mine, its = list(mine.values()), list(its.values())
            assert isinstance(mine, list) == isinstance(its, list)
            close(np.array(mine), np.array(its, float), call)


# ---------------------------------------------------------------- the rest by hand


def data(rows=11, outputs=1):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 4, 3)).astype("float32")
    return x, rng.standard_normal((rows, outputs)).astype("float32")


def pair(make=None, **compiled):
    """The same model in both, with the same weights."""
    make = make or (lambda module: [module.Input((4, 3)), module.layers.SimpleRNN(3), module.layers.Dense(1)])
    models = [module.Sequential(make(module)) for module in (cyrnn, keras)]
    models[1].set_weights(models[0].get_weights())
    models[0].compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    models[1].compile(**{"optimizer": "sgd", "loss": "mse", "run_eagerly": True, **compiled})
    return models


def same(call, models, tolerance=TOLERANCE):
    """What a call returns, or the history that it does, is the same of both models; so are the weights after it."""
    mine, its = (call(model) for model in models)
    mine, its = (found.history if hasattr(found, "history") else found for found in (mine, its))
    if isinstance(its, dict):
        assert list(mine) == list(its)
        mine, its = ([*found.values()] for found in (mine, its))
    assert isinstance(mine, list) == isinstance(its, list)
    for a, b in zip(mine, its, strict=True) if isinstance(its, list) else [(mine, its)]:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    for a, b in zip(*[model.get_weights() for model in models], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 4, "initial_epoch": 2},
        {"epochs": 0},
        {"epochs": 2, "validation_split": 0.25},
        {"epochs": 4, "validation_split": 0.25, "validation_freq": 2},
        {"epochs": 5, "validation_split": 0.25, "validation_freq": [1, 4]},
        {"epochs": 4, "steps_per_epoch": 2},
        {"epochs": 2, "steps_per_epoch": 2, "batch_size": None},
        {"epochs": 2, "validation_data": "arrays", "validation_batch_size": 2, "validation_steps": 2},
        {"epochs": 2, "validation_data": "weighted"},
        {"epochs": 2, "validation_data": "list"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning", "ignore:.*ended after fewer:UserWarning")
def test_epochs(options):
    x, y = data()
    held_out = {"arrays": (x[::2], y[::2]), "weighted": (x, y, np.arange(11.0)), "list": [x[:3], y[:3]]}
    options = {"batch_size": 4, **options}
    if "validation_data" in options:
        options["validation_data"] = held_out[options["validation_data"]]
    same(lambda model: model.fit(x, y, shuffle=False, verbose=0, **options), pair(metrics=["mae"]))


def generator(x, y, batches=None):
    number = 0
    while batches is None or number < batches:
        rows = slice(4 * (number % 3), 4 * (number % 3) + 4)
        yield x[rows], y[rows]
        number += 1


class Dataset:
    """What both make a dataset of."""

    def __init__(self, x, y, weights=None):
        super().__init__()
        self.x, self.y, self.weights = x, y, weights

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        weights = () if self.weights is None else (self.weights[rows],)
        return (self.x[rows], self.y[rows], *weights)


def dataset_for(model, *arrays):
    if isinstance(model, cyrnn.Model):
        return Dataset(*arrays)
    return type("PyDataset", (Dataset, keras.utils.PyDataset), {})(*arrays)


def test_generators_and_datasets():
    x, y = data()
    models = pair(metrics=["mae"])
    same(lambda model: model.fit(generator(x, y), epochs=2, steps_per_epoch=3, verbose=0), models)
    same(lambda model: model.fit(generator(x, y, 3), verbose=0), models)
    same(lambda model: model.fit(dataset_for(model, x, y), epochs=2, shuffle=False, verbose=0), models)
    weighted = (x, y, np.linspace(0, 2, 11))
    same(lambda model: model.fit(dataset_for(model, *weighted), epochs=2, shuffle=False, verbose=0), models)
    options = {"validation_steps": 2, "verbose": 0, "shuffle": False}
    same(lambda model: model.fit(x, y, validation_data=generator(x, y), **options), models)
    same(lambda model: model.fit(x, y, validation_data=dataset_for(model, x, y), verbose=0, shuffle=False), models)
    same(lambda model: model.evaluate(generator(x, y), steps=5, verbose=0), models)
    same(lambda model: model.evaluate(dataset_for(model, x, y), verbose=0, return_dict=True), models)
    same(lambda model: model.predict(generator(x, y), steps=5, verbose=0), models)
    same(lambda model: model.predict(dataset_for(model, x, y), verbose=0), models)
    same(lambda model: model.predict(x, batch_size=3, steps=2, verbose=0), models)


def test_tensors_of_the_backend_and_frames():
    x, y = data()
    models = pair(metrics=["mae"])
    tensors = [keras.ops.convert_to_tensor(array) for array in (x, y)]
    same(lambda model: model.fit(*tensors, verbose=0, shuffle=False), models)
    same(lambda model: model.train_on_batch(*tensors), models)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
        same(lambda model: model.fit(batches, epochs=2, verbose=0), models)
        same(lambda model: model.fit(batches.repeat(), epochs=2, steps_per_epoch=3, verbose=0), models)
        same(lambda model: model.evaluate(batches, verbose=0), models)


def noted(module, seen):
    """A callback that notes which hooks are called, with which names in the logs."""

    def hook(name):
        def note(self, *args, logs=None):
            *number, logs = args if logs is None else (*args, logs)
            seen.append((name, *number, sorted(logs or {})))

        return note

    kinds = ["train", "test", "predict"]
    names = [f"on_{kind}_{end}" for kind in kinds for end in ("begin", "end", "batch_begin", "batch_end")]
    hooks = {name: hook(name) for name in [*names, "on_epoch_begin", "on_epoch_end"]}
    return type("Noted", (module.callbacks.Callback,), hooks)()


def test_callbacks_have_the_same_events():
    x, y = data()
    found = []
    for module, model in zip((cyrnn, keras), pair(metrics=["mae"]), strict=True):
        seen = []
        callbacks = [noted(module, seen)]
        options = {"batch_size": 4, "verbose": 0, "callbacks": callbacks}
        model.fit(x, y, epochs=2, validation_split=0.4, **options)
        model.evaluate(x, y, **options)
        model.predict(x, **options)
        found.append(seen)
    assert found[0] == found[1]


@pytest.mark.skipif(BACKEND == "jax", reason="Keras on JAX carries no states in fit")
def test_stateful_models():
    x, y = data(12)

    def make(module):
        rnn = module.layers.SimpleRNN(3, stateful=True)
        return [module.Input(batch_shape=(4, 4, 3)), rnn, module.layers.Dense(1)]

    models = pair(make)
    held_out = (x[:4] * 2, y[:4])
    options = {"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0}
    same(lambda model: model.fit(x, y, validation_data=held_out, **options), models)
    same(lambda model: model.evaluate(x, y, batch_size=4, verbose=0), models)
    same(lambda model: model.predict(x, batch_size=4, verbose=0), models)
    same(lambda model: model.train_on_batch(x[:4], y[:4]), models)
    for model in models:
        model.layers[0].reset_state()
    same(lambda model: model.evaluate(x, y, batch_size=4, verbose=0), models)


@pytest.mark.parametrize("metrics", [{"metrics": ["mae", "mse"]}, {"weighted_metrics": ["mae"], "metrics": ["mse"]}])
@pytest.mark.parametrize("kind", ["one", "several", "losses of some", "a dict"])
def test_names_and_their_order(kind, metrics):
    x, y = data(outputs=2)
    models = []
    for module in (cyrnn, keras):
        inputs = module.Input((4, 3))
        hidden = module.layers.SimpleRNN(3)(inputs)
        b, a = module.layers.Dense(2, name="b")(hidden), module.layers.Dense(2, name="a")(hidden)
        model = module.Model(inputs, {"one": b, "a dict": {"a": a, "b": b}}.get(kind, [b, a]))
        options = {name: {"b": given, "a": given[:1]} for name, given in metrics.items()}
        loss = {"losses of some": ["mse", None]}.get(kind, "mse")
        if kind == "one":
            options = metrics
        model.compile("sgd", loss, **options, **({"run_eagerly": True} if module is keras else {}))
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    targets = {"one": y, "a dict": {"a": y, "b": y * 2}}.get(kind, [y * 2, y])
    same(lambda model: model.fit(x, targets, verbose=0, shuffle=False), models)
    for as_dict in (True, False):
        same(lambda model, as_dict=as_dict: model.evaluate(x, targets, verbose=0, return_dict=as_dict), models)
        same(lambda model, as_dict=as_dict: model.test_on_batch(x, targets, return_dict=as_dict), models)
        same(lambda model, as_dict=as_dict: model.train_on_batch(x, targets, return_dict=as_dict), models)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has gradients of scalars only: fit of Keras fails")
def test_a_vector_loss_goes_back_as_its_sum():
    x, y = data()
    models = []
    for module in (cyrnn, keras):
        model = module.Sequential([module.Input((4, 3)), module.layers.SimpleRNN(3), module.layers.Dense(1)])
        options = {"run_eagerly": True} if module is keras else {}
        model.compile("sgd", module.losses.MeanSquaredError(reduction="none"), **options)
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    same(lambda model: model.fit(x, y, epochs=2, verbose=0, shuffle=False), models)
    same(lambda model: model.evaluate(x, y, sample_weight=np.arange(11.0), verbose=0), models)


@pytest.mark.parametrize("optimizer", ["adam", "RMSprop", "Adagrad", "adamw", "ADAMAX", "nadam", "lion", "ftrl"])
def test_a_graph_of_tensorflow_computes_the_same(optimizer):
    """Not eagerly, as most users have it."""
    x, y = data()
    models = pair(optimizer=optimizer, metrics=["mae"])
    models[1].run_eagerly = False
    same(lambda model: model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False), models, 1e-4)


@pytest.mark.skipif(BACKEND == "jax", reason="the message is that of TensorFlow")
def test_a_model_without_trainable_weights():
    x, y = data()
    models = pair()
    for model in models:
        model.trainable = False
        model.compile("sgd", "mse", run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same(lambda model: model.fit(x, y, verbose=0, shuffle=False), models)
    assert sum("trainable weights" in str(warning.message) for warning in caught) == 2
