"""What a training refuses, before its first step where data is in memory, and that nothing has changed then."""

import numpy as np
import pytest
from refusals import unchanged

import cyrnn
from cyrnn import callbacks, losses, metrics, optimizers
from cyrnn.layers import GRU, LSTM, Dense, Dropout, Embedding, Masking, Reshape, SimpleRNN

ROWS, TIMESTEPS, FEATURES, CLASSES = 10, 4, 3, 3


def data(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, TIMESTEPS, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, rows)


def classifier(loss="sparse_categorical_crossentropy", with_input=True, **compiled):
    model = cyrnn.Sequential([
        *([cyrnn.Input((TIMESTEPS, FEATURES))] if with_input else []), SimpleRNN(2),
        Dense(CLASSES, "softmax", name="last"),
    ])  # fmt: skip
    model.compile(**{"optimizer": "sgd", "loss": loss, **compiled})
    return model


# ---------------------------------------------------------------- values of arrays


@pytest.mark.parametrize("label", [CLASSES, -1, 1.5, np.nan])
@pytest.mark.parametrize("where", ["y", "validation_data"])
def test_labels_that_are_no_classes_are_found_before_the_first_step(label, where):
    (x, y), model = data(), classifier()
    wrong = y.astype(float if label != CLASSES else int)
    wrong[-1] = label
    given = {"y": wrong} if where == "y" else {"y": y, "validation_data": (x, wrong)}
    match = ("validation_data: " if where != "y" else "") + "y_true must have labels"
    unchanged(model, match, lambda: model.fit(x, batch_size=2, shuffle=False, verbose=0, **given))
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("road", ["compiled", "general"])
def test_labels_with_fractions_are_refused_in_their_batch_too(road):
    (x, y), model = data(), classifier()
    if road == "general":
        model._compiled._step_of = lambda _: None
    model.train_on_batch(x, y.astype(float))
    unchanged(model, "whole numbers, got 0.5", lambda: model.train_on_batch(x, np.where(y == 0, 0.5, y)))
    batches = ((x[part], (y + 0.25 * (part.start > 0))[part]) for part in (slice(0, 5), slice(5, 10)))
    with pytest.raises(ValueError, match=r"whole numbers, got \d.25"):
        model.fit(batches, verbose=0)
    assert model.optimizer.iterations == 2


def test_labels_that_are_ignored_or_masked_may_be_anything():
    (x, y), model = data(), classifier(losses.SparseCategoricalCrossentropy(ignore_class=-1))
    y[-1] = -1
    model.fit(x, y, verbose=0)
    wrong = np.where(y == -1, -2, y)
    unchanged(model, "labels from 0 to 2, as y_pred has classes, got -2", lambda: model.fit(x, wrong, verbose=0))
    tagger = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES)), Masking(), SimpleRNN(2, return_sequences=True), Dense(CLASSES, "softmax")
    ])  # fmt: skip
    tagger.compile("sgd", "sparse_categorical_crossentropy")
    x[:, 1:] = 0
    tagger.fit(x, np.where(x[..., 0] == 0, 99, 0), verbose=0)


@pytest.mark.parametrize("kind", ["sequential", "functional", "nested"])
@pytest.mark.parametrize("where", ["x", "validation_data"])
def test_tokens_that_no_table_has_are_found_before_the_first_step(kind, where):
    tokens, y = np.arange(12).reshape(6, 2) % 5, np.zeros(6)
    inner = cyrnn.Sequential([cyrnn.Input((2,)), Embedding(5, 3), SimpleRNN(2)])
    inputs = cyrnn.Input((2,))
    model = inner if kind == "sequential" else cyrnn.Model(inputs, Dense(1)(inner(inputs)))
    if kind == "functional":
        model = cyrnn.Model(inputs, Dense(1)(SimpleRNN(2)(Embedding(5, 3)(inputs))))
    if kind == "sequential":
        y = np.zeros((6, 2))
    model.compile("sgd", "mse")
    wrong = tokens.copy()
    wrong[-1, -1] = 50
    given = {"x": wrong} if where == "x" else {"x": tokens, "validation_data": (wrong, y)}
    match = ("validation_data: " if where != "x" else "") + "inputs of .* must be indices from 0 to 4, got 0 to 50"
    unchanged(model, match, lambda: model.fit(y=y, batch_size=2, shuffle=False, verbose=0, **given))
    assert model.optimizer.iterations == 0


def test_memory_maps_are_looked_at_batch_by_batch(tmp_path):
    (x, y), model = data(), classifier()
    y[-1] = CLASSES
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        model.fit(x, np.load(tmp_path / "y.npy", mmap_mode="r"), batch_size=5, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 1


# ---------------------------------------------------------------- models that are not built


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"y": np.zeros(3, int)}, ValueError),
        ({"y": np.full(ROWS, "a")}, (ValueError, TypeError)),
        ({"y": np.zeros((ROWS, 7))}, ValueError),
        ({"y": np.full(ROWS, CLASSES)}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"callbacks": [3]}, TypeError),
        ({"verbose": "yes"}, ValueError),
        ({"validation_data": (np.zeros((3, TIMESTEPS, 2)), np.zeros(3))}, ValueError),
    ],
)
def test_a_training_that_is_refused_builds_nothing(options, error):
    (x, y), model = data(), classifier(with_input=False)
    with pytest.raises(error):
        model.fit(x, **{"y": y, "verbose": 0, **options})
    assert not model.built and not any(layer.built for layer in model.layers) and model.weights == []
    wider = np.concatenate([x, x], -1)
    model.fit(wider, y, verbose=0)  # of other features
    assert model.layers[0].cell.kernel.shape == (2 * FEATURES, 2)


def test_single_batches_that_are_refused_build_nothing():
    (x, y), model = data(), classifier(with_input=False)
    for call in (model.train_on_batch, model.test_on_batch, model.evaluate):
        with pytest.raises(ValueError, match="as many rows"):
            call(x, y[:3])
        assert not model.built
    model.train_on_batch(np.concatenate([x, x], -1), y)


def test_a_name_that_shapes_decide_is_open_again_after_a_refusal():
    (x, y), model = data(), classifier("crossentropy", metrics=["accuracy", "crossentropy"])
    one_hot = np.eye(CLASSES)[y]
    for wrong in (np.ones((ROWS, 5)), np.full(ROWS, CLASSES), np.ones((ROWS, TIMESTEPS, CLASSES))):
        for call in (model.fit, model.train_on_batch, model.test_on_batch, model.evaluate):
            unchanged(model, None, lambda call=call, wrong=wrong: call(x, wrong))
    assert np.isfinite(model.fit(x, one_hot, verbose=0).history["accuracy"]).all()
    unchanged(model, None, lambda: model.fit(x, y[:, None], verbose=0))  # now it is decided


def test_a_name_that_shapes_decide_has_a_compiled_step_with_generators_too():
    (x, y), model = data(), classifier("crossentropy")
    model.fit(((x, y) for _ in range(3)), verbose=0)
    assert model._compiled._step[1] is not None


# ---------------------------------------------------------------- layers that cannot follow each other


@pytest.mark.parametrize("between", [[], [Dropout(0.5)], [Dense(3), Dropout(0.5)]])
def test_recurrent_layers_without_sequences_between_are_refused_when_they_are_put_together(between):
    last = between[-1].name if between else "first"
    with pytest.raises(ValueError, match=rf"layer 'second': .*expected ndim=3.*; it follows '{last}'"):
        cyrnn.Sequential([LSTM(3, name="first"), *between, GRU(3, name="second")])
    model = cyrnn.Sequential([LSTM(3, name="first"), *between])
    with pytest.raises(ValueError, match="layer 'second'"):
        model.add(GRU(3, name="second"))
    assert len(model.layers) == 1 + len(between)
    cyrnn.Sequential([LSTM(3), Reshape((3, 1)), GRU(2, return_sequences=True), GRU(2), Dense(1)])


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verbose": -1}, "verbose must be 'auto', 0, 1 or 2, got -1"),
        ({"verbose": 3}, "verbose must be .* got 3"),
        ({"verbose": None}, "verbose must be .* got None"),
        ({"verbose": 1.5}, "verbose must be .* got 1.5"),
        ({"validation_freq": ["a"]}, "each of validation_freq must be a positive integer, got 'a'"),
        ({"validation_freq": [0]}, "each of validation_freq must be a positive integer, got 0"),
        ({"class_weight": {0: np.nan}}, "class_weight must have finite values, got nan for class 0"),
        ({"class_weight": {0.5: 1.0}}, "class_weight must have whole numbers, classes, as keys, got 0.5"),
        ({"class_weight": {"0": 1.0}}, "class_weight must have whole numbers, classes, as keys, got '0'"),
        ({"y": [np.zeros(ROWS), np.zeros(ROWS)]}, "y must be a list of one for the output 'last'.* got 2"),
        ({"sample_weight": [np.ones(ROWS)] * 3}, "sample_weight must be a list of one for the output .* got 3"),
        ({"y": None, "class_weight": {0: 1.0}}, "class_weight needs y"),
        ({"callbacks": callbacks.EarlyStopping("val_foo")}, "monitor='val_foo', and it is not known"),
        ({"callbacks": callbacks.ReduceLROnPlateau("foo")}, "monitor='foo', and it is not known"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(options, message):
    (x, y), model = data(), classifier()
    given = {"y": y, "verbose": 0, **options}
    unchanged(model, message, lambda: model.fit(x, **given), (ValueError, TypeError))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 0.5}, "validation_split needs arrays: give validation_data"),
        ({"class_weight": {0: 1.0}}, "class_weight needs arrays, or an object with __getitem__: a generator yields"),
        ({"y": np.zeros(ROWS)}, "y must not be given beside data that has batches"),
    ],
)
def test_arguments_that_mean_nothing_beside_a_generator_are_refused(options, message):
    batches = (data() for _ in range(9))
    model = classifier()
    unchanged(model, message, lambda: model.fit(batches, steps_per_epoch=2, verbose=0, **options), ValueError)


def test_other_arguments_that_mean_nothing():
    with pytest.raises(ValueError, match="loss_weights must be finite, got nan"):
        classifier(loss_weights=np.nan)
    for make in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        with pytest.raises(ValueError, match="patience must be at least 0, got -1"):
            make(patience=-1)
    (x, y), model = data(), classifier()
    with pytest.raises(ValueError, match="verbose must be .* got 'loud'"):
        model.evaluate(x, y, verbose="loud")
    with pytest.raises(ValueError, match=r"y_true must have labels of the shape \(10,\), got the shape \(10, 2\)"):
        model.train_on_batch(x, np.ones((ROWS, 2)))


def test_errors_of_the_validation_name_it():
    (x, y), model = data(), classifier()
    for given, message in (
        ((x, y[:3]), "validation_data: x, y and sample_weight must have as many rows"),
        ((x[..., :2], y), "validation_data: "),
        ((x, np.ones((ROWS, 5))), "validation_data: loss of output 'last'"),
        ((x, y, np.ones((ROWS, 2))), "validation_data: .*sample_weight"),
        ((x, np.full(ROWS, "a")), "validation_data: y"),
    ):
        unchanged(
            model,
            message,
            lambda given=given: model.fit(x, y, validation_data=given, verbose=0),
            (ValueError, TypeError),
        )


def test_a_result_of_several_numbers_cannot_be_monitored():
    x, y = data()
    model = classifier("categorical_crossentropy", metrics=[metrics.F1Score(name="f1")])
    stop = callbacks.EarlyStopping("f1", mode="max")
    with pytest.raises(ValueError, match=r"monitor='f1', which must be a number, got an array of the shape \(3,\)"):
        model.fit(x, np.eye(CLASSES)[y], epochs=2, verbose=0, callbacks=[stop])


def test_classes_may_be_floats_and_bools():
    x, y = data()
    weights, begin = [], classifier()
    for one in (1, 1.0, True, np.float32(1.0), np.True_, np.int64(1)):
        model = classifier()
        model.set_weights(begin.get_weights())
        model.fit(x, y, class_weight={one: 3.0}, shuffle=False, verbose=0)
        weights.append(model.get_weights()[0])
    for found in weights[1:]:
        np.testing.assert_array_equal(found, weights[0])


@pytest.mark.parametrize("call", ["evaluate", "predict", "fit"])
def test_stateful_models_find_a_short_batch_before_they_begin(call):
    x, y = data(6)
    model = cyrnn.Sequential([
        cyrnn.Input(batch_shape=(4, TIMESTEPS, FEATURES)), SimpleRNN(2, stateful=True), Dense(1)
    ])  # fmt: skip
    model.compile(optimizers.SGD(0.1), "mse")
    model.predict(x[:4])
    calls = {
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
        "predict": lambda: model.predict(x, steps=2),
        "fit": lambda: model.fit(x, y, verbose=0),
    }
    unchanged(model, "multiple of 4 rows.* got 6", calls[call])
    assert model.predict(x, steps=1).shape == (4, 1)
    assert np.isfinite(model.evaluate(x, y, steps=1, verbose=0))
