"""A step of training as one compiled call: what it computes, and that nobody sees weights that are not finished."""

import copy
import itertools
import pickle
import sys
import threading

import numpy as np
import pytest

import cyrnn
from cyrnn import callbacks, losses, optimizers, regularizers
from cyrnn.engine import training as engine
from cyrnn.layers import (
    Activation,
    BatchNormalization,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    PReLU,
    SimpleRNN,
    Softmax,
)
from cyrnn.models.programs.training_step import ProgramStep

TIMESTEPS, FEATURES, CLASSES, ROWS = 7, 3, 4, 20


def sequence_model():
    return cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)),
        SimpleRNN(5, return_sequences=True, kernel_regularizer="l2", recurrent_constraint="max_norm"),
        Dense(CLASSES, activation="softmax", bias_regularizer=regularizers.L1L2(0.01, 0.02)),
    ])  # fmt: skip


def last_output_model():
    return cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(20, activation="relu"), Dense(CLASSES, activation="sigmoid")
    ])  # fmt: skip


def masked_model():
    return cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS,)), Embedding(11, 6, mask_zero=True), SimpleRNN(5, return_sequences=True),
        SimpleRNN(17, return_sequences=True), Dense(CLASSES, activation="softmax"),
    ])  # fmt: skip


def shared_model():
    inputs, shared = cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(FEATURES, return_sequences=True)
    return cyrnn.Model(inputs, Dense(CLASSES, activation="sigmoid")(shared(shared(inputs))))


def two_directions_model():
    return cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), Bidirectional(SimpleRNN(4)), Dense(CLASSES, activation="softmax")
    ])  # fmt: skip


def normalized_model():
    return cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), BatchNormalization(momentum=0.6, gamma_regularizer="l1"),
        SimpleRNN(5, return_sequences=True), LayerNormalization(beta_constraint="max_norm"), PReLU(),
        BatchNormalization(center=False, scale=False), Dense(CLASSES, activation="softmax"),
    ])  # fmt: skip


def masked_statistics_model():
    shared = BatchNormalization(momentum=0.5)
    inputs = cyrnn.Input((TIMESTEPS, FEATURES))
    hidden = shared(shared(Masking(0.0)(inputs)))
    frozen = BatchNormalization(trainable=False)
    return cyrnn.Model(inputs, Dense(CLASSES)(frozen(SimpleRNN(4, return_sequences=True)(hidden))))


MODELS = [
    sequence_model, last_output_model, masked_model, shared_model, two_directions_model, normalized_model,
    masked_statistics_model,
]  # fmt: skip
LOSSES = [
    "mse", "mae", losses.Huber(0.3), "binary_crossentropy",
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1, reduction="sum"), "categorical_crossentropy",
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), "sparse_categorical_crossentropy",
    losses.SparseCategoricalCrossentropy(from_logits=True),
]  # fmt: skip
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": optimizers.Adam,
    "amsgrad": lambda: optimizers.Adam(amsgrad=True, clipnorm=0.01),
    "adamw": lambda: optimizers.AdamW(0.01),
    "adamax": optimizers.Adamax,
    "rmsprop": optimizers.RMSprop,
    "centered": lambda: optimizers.RMSprop(centered=True, momentum=0.3),
    "adagrad": lambda: optimizers.Adagrad(clipvalue=0.01),
    "adadelta": optimizers.Adadelta,
    "lion": lambda: optimizers.Lion(global_clipnorm=0.01),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)),
    "nadam": optimizers.Nadam,
    "averages": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "averages to the end": lambda: optimizers.SGD(0.1, momentum=0.5, use_ema=True, ema_momentum=0.7),
    "accumulated": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=4),
    "all of these": lambda: optimizers.Nadam(
        0.01, use_ema=True, gradient_accumulation_steps=2, loss_scale_factor=8.0, weight_decay=0.1, clipnorm=0.05
    ),
}


def name_of(loss):
    return getattr(loss, "name", loss)


def data_for(make, loss, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, TIMESTEPS, FEATURES)).astype(np.float32)
    if make is masked_model:
        x = rng.integers(0, 11, (ROWS, TIMESTEPS))
    if make is masked_statistics_model:
        x[:, TIMESTEPS // 2 :][rng.random((ROWS, TIMESTEPS - TIMESTEPS // 2)) < 0.5] = 0
    shape = (ROWS,) if make in (last_output_model, two_directions_model) else (ROWS, TIMESTEPS)
    labels = rng.integers(0, CLASSES, shape)
    if "sparse" in name_of(loss):
        return x, labels
    return x, np.eye(CLASSES)[labels] if "categorical" in name_of(loss) else (rng.random((*shape, CLASSES)) > 0.5) * 1.0


@pytest.fixture
def steps(monkeypatch):
    """How many steps compiled calls have made."""
    counted, train = [], ProgramStep.gradients

    def counting(self, batch):
        taken = train(self, batch)
        counted.append(taken is not None)
        return taken

    monkeypatch.setattr(ProgramStep, "gradients", counting)
    return counted


def trained(make, loss, optimizer, *, compiled, weights=None, **fit):
    """A model after some steps, its history, and its optimizer."""
    model, (x, y) = make(), data_for(make, loss)
    model.set_weights(weights)
    model.compile(optimizer, loss, metrics=["mae"] if "sparse" not in name_of(loss) else ["accuracy"])
    if not compiled:
        model._compiled._step_of = lambda _: None
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, **fit).history
    return model.get_weights(), history, model.optimizer


def check_both_roads(make, loss, make_optimizer, steps, **fit):
    weights = make().get_weights()
    there = trained(make, loss, make_optimizer(), compiled=True, weights=weights, **fit)
    assert steps == [True] * 6
    other = trained(make, loss, make_optimizer(), compiled=False, weights=weights, **fit)
    assert len(steps) == 6
    for ours, theirs in zip(there[0], other[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    assert there[1].keys() == other[1].keys()
    for name, values in there[1].items():
        np.testing.assert_allclose(values, other[1][name], rtol=1e-5)
    assert there[2]._iterations == other[2]._iterations == 6
    kept = [[variable.value for variable in found[2].variables] for found in (there, other)]
    for ours, theirs in zip(*kept, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{name_of(loss)}{getattr(loss, 'from_logits', '')}")
@pytest.mark.parametrize("make", MODELS)
def test_losses_have_the_gradients_of_the_functions(make, loss, steps):
    check_both_roads(make, loss, OPTIMIZERS["sgd"], steps)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("last", ["dense", "activation", "softmax"])
def test_crossentropies_are_those_of_logits(last, activation, compiled):
    """Where the last activation is saturated, the loss is exact, and its gradient does not vanish."""
    if last == "softmax" and activation == "sigmoid":
        last = "activation"
    ends = {"dense": [], "activation": [Activation(activation)], "softmax": [Softmax()]}[last]
    model = cyrnn.Sequential([
        cyrnn.Input((2,)),
        Dense(2, activation=activation if last == "dense" else None, kernel_initializer="identity"),
        *ends,
    ])  # fmt: skip
    x, y = np.array([[60.0, -60.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    name = "categorical_crossentropy" if activation == "softmax" else "binary_crossentropy"
    model.compile(optimizers.SGD(1.0), name)
    if not compiled:
        model._compiled._step_of = lambda _: None
    expected = 120.0 if activation == "softmax" else 60.0
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected)
    assert model.train_on_batch(x, y) == pytest.approx(expected)
    slope = 1.0 if activation == "softmax" else 0.5  # the mean over two outputs
    np.testing.assert_allclose(model.get_weights()[1], [-slope, slope])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_follow_the_same_rules(optimizer, steps):
    check_both_roads(sequence_model, "mse", OPTIMIZERS[optimizer], steps)


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1), (ROWS, TIMESTEPS), (ROWS, TIMESTEPS, 1)])
@pytest.mark.parametrize("make", [sequence_model, masked_model])
def test_sample_weights_are_of_rows_or_timesteps(make, shape, steps):
    weights = np.random.default_rng(1).random(shape)
    check_both_roads(make, "sparse_categorical_crossentropy", OPTIMIZERS["adam"], steps, sample_weight=weights)


@pytest.mark.parametrize(
    "optimizer", sorted(set(OPTIMIZERS) - {"amsgrad", "adagrad", "lion", "all of these"})
)  # which clip
def test_rules_have_the_bits_of_numpy(optimizer):
    """The gradients of this loss have the same bits on both roads: so have the weights, if the rules have them."""
    weights = last_output_model().get_weights()
    make = OPTIMIZERS[optimizer]
    ours, theirs = (
        trained(last_output_model, "mse", make(), compiled=compiled, weights=weights)[0] for compiled in (True, False)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- outputs, states and options


def branches_model():
    inputs = cyrnn.Input((TIMESTEPS, FEATURES))
    hidden = SimpleRNN(5, return_sequences=True)(Masking(0.0)(inputs))
    steps = Dense(CLASSES, activation="softmax", name="steps")(hidden)
    end = Dense(1, activation="sigmoid", name="end")(SimpleRNN(3)(hidden))
    return cyrnn.Model(inputs, {"steps": steps, "end": end, "watched": Dense(2, name="watched")(hidden)})


@pytest.mark.parametrize("weighted", [False, True])
def test_several_outputs_have_several_losses(weighted, steps):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, TIMESTEPS, FEATURES)).astype(np.float32)
    x[::2, 4:] = 0
    y = {"steps": rng.integers(0, CLASSES, (ROWS, TIMESTEPS)), "end": (rng.random(ROWS) > 0.5) * 1.0}
    y["watched"] = rng.standard_normal((ROWS, TIMESTEPS, 2))
    weights = {"steps": rng.random((ROWS, TIMESTEPS)), "end": rng.random(ROWS)} if weighted else None
    first, found = branches_model(), []
    first.get_layer("watched").trainable = False  # it has no loss, and so no gradient
    for compiled in (True, False):
        model = cyrnn.models.clone_model(first)
        model.get_layer("watched").trainable = False
        model.set_weights(first.get_weights())
        model.compile(
            "adam",
            {"steps": "sparse_categorical_crossentropy", "end": "bce"},
            loss_weights={"steps": 0.5, "end": 0.0},
            metrics={"end": "accuracy", "watched": "mae"},
            weighted_metrics={"steps": ["accuracy"]},
        )
        if not compiled:
            model._compiled._step_of = lambda _: None
        options = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
        history = model.fit(x, y, sample_weight=weights, **options).history
        found.append((history, model.get_weights(), model.train_on_batch(x, y, sample_weight=weights)))
    assert steps == [True] * 7
    assert found[0][0].keys() == found[1][0].keys()
    assert set(found[0][0]) >= {"loss", "steps_loss", "end_loss", "end_accuracy", "watched_mae", "steps_accuracy"}
    for name, values in found[0][0].items():
        np.testing.assert_allclose(values, found[1][0][name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-5)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_states_are_carried_from_step_to_step(steps):
    """Also after a reset, and where a step fails, they are those of the general road."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((12, TIMESTEPS, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, 12)
    models = []
    for compiled in (True, False):
        model = cyrnn.Sequential([
            cyrnn.Input(batch_shape=(4, TIMESTEPS, FEATURES)), SimpleRNN(5, stateful=True, return_sequences=True),
            SimpleRNN(3, stateful=True), Dense(CLASSES),
        ])  # fmt: skip
        model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
        if models:
            model.set_weights(models[0].get_weights())
        if not compiled:
            model._compiled._step_of = lambda _: None
        models.append(model)

    def both(call):
        results = [call(model) for model in models]
        for ours, theirs in zip(*[[*m.get_weights(), *(s for r in m.layers[:2] for s in r.states)] for m in models],
                                strict=True):  # fmt: skip
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
        return results

    histories = both(lambda model: model.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)
    assert steps == [True] * 6
    both(lambda model: model.reset_states())
    both(lambda model: model.fit(x, y, epochs=1, shuffle=False, verbose=0))
    for model in models:
        before = [state.copy() for state in model.layers[0].states]
        with pytest.raises(ValueError, match="labels from 0 to"):
            model.train_on_batch(x[:4], np.full(4, CLASSES))
        for a, b in zip(before, model.layers[0].states, strict=True):
            np.testing.assert_array_equal(a, b)


def test_statistics_of_a_step_that_fails_do_not_count():
    x, y = data_for(normalized_model, "sparse_categorical_crossentropy")
    model = normalized_model()
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(ValueError, match="labels from 0 to"):
        model.train_on_batch(x, np.full_like(y, CLASSES))
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tokens_of_an_input_of_floats_have_a_compiled_step(steps):
    """As Keras' users often have it: `Input` without a dtype."""
    inputs = cyrnn.Input((TIMESTEPS,))
    model = cyrnn.Model(inputs, Dense(CLASSES)(SimpleRNN(4)(Embedding(11, 3, mask_zero=True)(inputs))))
    x, y = data_for(masked_model, "mse")
    model.compile("sgd", "mse")
    tokens, weights = [x, x.astype(np.int32), x.astype(np.float32)], model.get_weights()
    found = []
    for given in tokens:
        model.set_weights(weights)
        found.append((model.train_on_batch(given, y[:, 0]), model.predict(given)))
    assert steps == [True, True, False]
    for loss, outputs in found[1:]:
        np.testing.assert_allclose(loss, found[0][0], rtol=1e-6)
        np.testing.assert_allclose(outputs, found[0][1], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="indices from 0 to 10"):
        model.train_on_batch(x + 2**25, y[:, 0])


def setting(**options):
    return lambda model: [setattr(model.optimizer, name, value) for name, value in options.items()]


@pytest.mark.parametrize(
    ("optimizer", "change"),
    [
        ("adam", setting(clipnorm=1e-3)),
        ("adam", setting(beta_1=0.5)),
        ("adam", setting(weight_decay=0.9)),
        ("adam", lambda model: setattr(model.layers[0].kernel_regularizer, "l2", 0.7)),
        ("adam", setting(use_ema=True)),
        ("adam", lambda model: model.optimizer.learning_rate.assign(0.3)),
        ("adam", setting(amsgrad=True)),
        ("amsgrad", setting(amsgrad=False)),
        ("sgd", setting(momentum=0.9)),
        ("sgd", setting(momentum=0.9, nesterov=True)),
        ("momentum", setting(momentum=0.0)),
        ("rmsprop", setting(momentum=0.5)),
        ("rmsprop", setting(centered=True)),
        ("centered", setting(momentum=0.0, centered=False)),
        ("nadam", setting(beta_1=0.5)),
        ("accumulated", setting(gradient_accumulation_steps=2)),
    ],
)
def test_options_that_are_set_meanwhile_count_from_the_next_step(optimizer, change, steps):
    """Also those that the optimizer remembers more or less of a weight for."""
    (x, y), found = small_data(), []
    first = small_model()
    for compiled in (True, False):
        model = cyrnn.Sequential([
            cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(4, kernel_regularizer=regularizers.L2(0.01)), Dense(2)
        ])  # fmt: skip
        model.set_weights(first.get_weights())
        model.compile(OPTIMIZERS[optimizer](), "mse")
        if not compiled:
            model._compiled._step_of = lambda _: None
        for number in range(6):
            if number == 2:
                change(model)
                assert all(np.isfinite(variable.numpy()).all() for variable in model.optimizer.variables)
            model.train_on_batch(x, y)
        found.append(model.get_weights() + [variable.numpy() for variable in model.optimizer.variables])
    assert steps == [True] * 6
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_gradients_are_summed_anew_where_that_is_set_off_and_on_again(steps):
    (x, y), first, found = small_data(), small_model(), []
    for compiled in (True, False):
        model = cyrnn.models.clone_model(first)
        model.set_weights(first.get_weights())
        model.compile(OPTIMIZERS["accumulated"](), "mse")
        if not compiled:
            model._compiled._step_of = lambda _: None
        for number in range(8):
            model.optimizer.gradient_accumulation_steps = None if number in (2, 3) else 4
            model.train_on_batch(x * (1 + number), y)
        found.append(model.get_weights())
    assert steps == [True] * 8
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_a_rule_has_the_slots_that_it_needs():
    step, _ = after_one_step()
    for name, slots in (("momentum", ()), ("adam", (np.zeros(3),)), ("nadam", (None, None)), ("sgd", (None,) * 4)):
        with pytest.raises(ValueError, match=f"slots of '{name}' must be . arrays.*got {len(slots)}"):
            step.set_rule(name, slots)


def after_one_step():
    """What a model is moved by, and that model."""
    (x, y), model = small_data(), small_model()
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    return model._compiled._step[1]._begun[0], model


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("factor", [1024.0, 0.3])
def test_a_scale_of_the_loss_is_taken_out_again(factor, compiled):
    """`fit` multiplies the loss, and the optimizer divides its gradients, as in Keras."""
    (x, y), first = small_data(), small_model()
    for options in ({"clipnorm": 0.05}, {"gradient_accumulation_steps": 2}):
        found = []
        for scale in (None, factor):
            model = cyrnn.models.clone_model(first)
            model.set_weights(first.get_weights())
            model.compile(optimizers.SGD(0.1, loss_scale_factor=scale, **options), "mse")
            if not compiled:
                model._compiled._step_of = lambda _: None
            losses_of_epochs = model.fit(x, y, batch_size=5, shuffle=False, verbose=0, epochs=2).history["loss"]
            found.append([*model.get_weights(), losses_of_epochs])
        assert np.any(found[0][0] != first.get_weights()[0])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class Doubling(optimizers.SGD):
    """A rule of a user, of a class that has a compiled one."""

    def update(self, w, g, at, *slots):
        return w * 2, *slots


def test_rules_of_users_are_followed(steps):
    (x, y), model = small_data(), small_model()
    begin = model.get_weights()
    model.compile(Doubling(0.1), "mse")
    model.train_on_batch(x, y)
    for a, b in zip(begin, model.get_weights(), strict=True):
        np.testing.assert_array_equal(2 * a, b)
    assert steps == []


# ---------------------------------------------------------------- what others see


def fitted(model, x, y, **options):
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=5, shuffle=False, verbose=0, **options)
    return model


def small_model():
    return cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(4), Dense(2)])


def small_data():
    rng = np.random.default_rng(3)
    return rng.standard_normal((ROWS, TIMESTEPS, FEATURES)).astype(np.float32), rng.standard_normal((ROWS, 2))


class Seen(callbacks.Callback):
    """Calls a function after each step."""

    def __init__(self, function):
        self.function, self.found = function, []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(self.function(self.model))


def test_weights_are_those_of_the_last_finished_step(steps):
    """They lie in flat arrays meanwhile; a model that is looked at after each step trains as one that is not."""
    (x, y), first = small_data(), small_model()
    other = cyrnn.models.clone_model(first)
    other.set_weights(first.get_weights())
    begin = first.get_weights()
    seen = Seen(lambda model: (model.get_weights(), model(x[:3]), model.layers[0].cell.kernel))
    fitted(first, x, y, epochs=2, callbacks=[seen])
    fitted(other, x, y, epochs=2)
    assert steps == [True] * 16
    for a, b in zip(first.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for (before, _, _), (after, _, _) in itertools.pairwise([(begin, None, None), *seen.found]):
        assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    for weights, output, kernel in seen.found:
        other.set_weights(weights)
        np.testing.assert_array_equal(other(x[:3]), output)
        np.testing.assert_array_equal(kernel, weights[0])
        assert not kernel.flags.writeable


def test_weights_that_are_set_meanwhile_are_trained_on():
    (x, y), model = small_data(), small_model()
    begin = model.get_weights()
    fitted(model, x, y, callbacks=[Seen(lambda model: model.set_weights(begin))], epochs=1)
    for a, b in zip(model.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(a, b)
    # One weight alone: the others stay those of the step.
    kernel = np.full_like(model.layers[1].kernel, 0.25)
    seen = Seen(lambda model: (model.layers[1].assign({"kernel": kernel}), model.get_weights())[1])
    fitted(model, x, y, callbacks=[seen], epochs=1)
    assert all(np.all(weights[3] == 0.25) for weights in seen.found)
    assert all(np.any(a[0] != b[0]) for a, b in itertools.pairwise(seen.found))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_can_be_copied_in_the_middle(copied):
    """The copy trains on as the model does, with the state of the optimizer."""
    (x, y), model = small_data(), small_model()
    model.compile(optimizers.Adam(0.01), "mse")
    for _ in range(3):
        model.train_on_batch(x, y)
    twin = copied(model)
    assert twin.optimizer.iterations == 3
    for _ in range(2):
        model.train_on_batch(x, y)
        twin.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_of_all_kinds_can_follow_each_other(steps):
    """A loop of one's own with `vjp` and `apply`, between steps of `train_on_batch`."""
    (x, y), model = small_data(), small_model()
    twin = cyrnn.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for each in (model, twin):
        each.compile("adam", "mse")
    twin._compiled._step_of = lambda _: None
    for number in range(6):
        for each in (model, twin):
            if number % 2:
                outputs, pullback = each.vjp(x, training=True)
                _, gradient = losses.MeanSquaredError().value_and_gradient(y, outputs)
                each.optimizer.apply(pullback(gradient, inputs=False).weights, each)
            else:
                each.train_on_batch(x, y)
    assert steps == [True] * 3
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
def test_threads_do_not_change_a_bit(make):
    (x, y), model = data_for(make, "mse"), make()
    x, y, begin, found = np.repeat(x, 30, 0), np.repeat(y, 30, 0), model.get_weights(), []
    before = cyrnn.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            cyrnn.set_num_threads(threads)
            model.set_weights(begin)
            model.compile("adam", "mse")
            cyrnn.utils.set_random_seed(5)
            history = model.fit(x, y, batch_size=200, epochs=2, verbose=0).history
            found.append((history["loss"], model.get_weights()))
    finally:
        cyrnn.set_num_threads(before)
    for loss, weights in found[1:]:
        assert loss == found[0][0]
        for a, b in zip(weights, found[0][1], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.thread_unsafe
def test_readers_in_other_threads_see_whole_steps():
    """Weights that are all equal stay so: gradients of all outputs are the same."""
    x, y = np.ones((8, 1), np.float32), np.zeros((8, 64), np.float32)
    model = cyrnn.Sequential([cyrnn.Input((1,)), Dense(64, kernel_initializer="ones")])
    model.compile(optimizers.SGD(1e-4), "mse")
    torn, done = [], threading.Event()

    def read():
        while not done.is_set():
            kernel, bias = model.get_weights()
            if len(np.unique(kernel)) > 1 or len(np.unique(bias)) > 1:
                torn.append((kernel, bias))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        model.fit(x, y, epochs=2000, verbose=0)
    finally:
        done.set()
        reader.join()
    assert not torn
    assert np.all(model.get_weights()[0] < 1)


@pytest.mark.thread_unsafe  # how often threads take turns
def test_an_optimizer_that_is_pickled_meanwhile_is_of_one_step():
    """Its slots and the number of its updates: of gradients that are all 1, m is 1 - 0.9 ** updates."""
    x, y = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    model = cyrnn.Sequential([cyrnn.Input((1,)), Dense(1, kernel_initializer="zeros", use_bias=False)])
    model.compile(optimizers.SGD(0.0, momentum=1.0), losses.MeanAbsoluteError())
    model.layers[0].assign({"kernel": [[1.0]]})
    model.optimizer.learning_rate = 2.0**-30
    found, done = [], threading.Event()

    def read():
        while not done.is_set():
            copied = copy.copy(model.optimizer)
            found.extend((copied._iterations, float(kept.slots[0][0, 0])) for kept in copied._waiting)

    reader = threading.Thread(target=read)
    reader.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # or a fit may be over before the reader has its turn
    try:
        for _ in range(1000):
            model.fit(x, y, epochs=20, verbose=0)
            if len({iterations for iterations, _ in found}) > 3:
                break
    finally:
        done.set()
        reader.join()
        sys.setswitchinterval(interval)
    assert len({iterations for iterations, _ in found}) > 3
    for iterations, momentum in found:
        assert momentum == -iterations * 2.0**-30


@pytest.mark.parametrize("layer", [Dropout(0.4, seed=2), Dense(5)])
def test_dropout_is_drawn_for_each_step(layer, steps):
    rnn = SimpleRNN(4, dropout=0.5, recurrent_dropout=0.3, seed=1)
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), rnn, layer, Dense(2)])
    twin = cyrnn.Sequential.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    (x, y), found = small_data(), []
    for each in (model, twin):
        each.compile("sgd", "mse")
        if each is twin:
            each._compiled._step_of = lambda _: None
        found.append(each.fit(x, y, batch_size=5, epochs=3, shuffle=False, verbose=0).history["loss"])
    assert steps == [True] * 12
    np.testing.assert_allclose(*found, rtol=1e-5)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_frozen_layers_stay_as_they_are(steps):
    (x, y), model = small_data(), small_model()
    model.layers[0].trainable = False
    begin = model.get_weights()
    fitted(model, x, y)
    assert all(steps)
    after = model.get_weights()
    for a, b in zip(begin[:3], after[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(after[3] != begin[3])


def test_weights_of_frozen_layers_that_are_set_meanwhile_count(steps):
    (x, y), model = small_data(), small_model()
    model.layers[0].trainable = False
    model.compile(optimizers.SGD(0.0), "mse")
    before = model.train_on_batch(x, y)
    model.layers[0].set_weights([weight * 2 for weight in model.layers[0].get_weights()])
    assert model.train_on_batch(x, y) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-5) != before
    assert steps == [True] * 2


def test_frozen_layers_of_vectors_pass_gradients_on(steps):
    (x, y), found = small_data(), []
    model = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(4, return_sequences=True), LayerNormalization(), SimpleRNN(2)
    ])  # fmt: skip
    model.layers[1].trainable = False
    begin = model.get_weights()
    for general in (False, True):
        model.set_weights(begin)
        model.compile("sgd", "mse")
        if general:
            model._compiled._step_of = lambda _: None
        model.fit(x, y, shuffle=False, verbose=0)
        found.append(model.get_weights())
    assert steps == [True]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_structure_that_changes_meanwhile_is_followed(steps):
    """An activation that is assigned between steps counts from the next one on."""
    (x, y), model = small_data(), small_model()
    twin = cyrnn.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for each in (model, twin):
        each.compile("sgd", "mse")
        each.train_on_batch(x, y)
        each.layers[0].cell.activation = cyrnn.activations.relu
        if each is twin:
            each._compiled._step_of = lambda _: None
        each.train_on_batch(x, y)
    assert steps == [True] * 3
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_masked_timesteps_may_hold_anything(steps):
    """NaN in the truth, and labels that are no classes, where the mask does not keep."""
    model = masked_model()
    x, y = data_for(masked_model, "sparse_categorical_crossentropy")
    y = np.where(x == 0, 999, y)
    model.compile("adam", "sparse_categorical_crossentropy")
    assert np.isfinite(model.train_on_batch(x, y))
    model.compile("adam", "mse")
    dense = np.where((x == 0)[..., None], np.nan, np.eye(CLASSES)[y % CLASSES])
    assert np.isfinite(model.train_on_batch(x, dense))
    assert steps == [True] * 2
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_label_that_is_no_class_changes_nothing():
    model = masked_model()
    x, y = data_for(masked_model, "sparse_categorical_crossentropy")
    x[:, -1], y[3, -1] = 1, CLASSES
    model.compile("adam", "sparse_categorical_crossentropy")
    begin = model.get_weights()
    with pytest.raises(ValueError, match=rf"labels from 0 to {CLASSES - 1}.*got {CLASSES}"):
        model.train_on_batch(x, y)
    assert model.optimizer.iterations == 0
    for a, b in zip(model.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(a, b)


class Layered(Layer):
    """A layer that only Python computes."""

    def call(self, inputs):
        return inputs * 2.0

    def vjp(self, x, initial_state=None, mask=None, training=False):
        from cyrnn.layers.base.programs.gradients import Gradients

        return x * np.float32(2), lambda dy, inputs=True: Gradients(dy * np.float32(2), [], [])


def test_what_is_not_one_program_is_trained_too(steps):
    x, y = small_data()
    model = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), SimpleRNN(4), Layered(), Dense(2)])
    before = fitted(model, x, y).evaluate(x, y, verbose=0)
    assert fitted(model, x, y, epochs=20).evaluate(x, y, verbose=0) < before
    assert not any(steps)


def test_gathering_reads_arrays_as_they_lie():
    rng = np.random.default_rng(0)
    rows = np.array([3, 0, 3, 5])
    whole = rng.integers(0, 100, (7, 6, 4))
    for source in (
        whole,
        whole.astype(np.float32),
        whole.astype(">f8"),
        whole[:, ::2],
        whole.transpose(0, 2, 1),
        whole > 50,
    ):
        for dtype in (np.float32, np.float64, np.int64, source.dtype.newbyteorder("=")):
            out = np.empty((4, *source.shape[1:]), dtype)
            if engine.gather(source, rows, out):
                np.testing.assert_array_equal(out, source[rows])
            else:  # axes that do not lie like one, or another byte order
                assert not (source.flags.c_contiguous and source.dtype.isnative)
