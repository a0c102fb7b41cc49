"""Training that is disturbed: by errors and interrupts in the middle of a step, by other models, by other threads."""

import sys
import threading

import numpy as np
import pytest

import cyrnn
from cyrnn import optimizers
from cyrnn.layers import Dense, SimpleRNN
from cyrnn.models.programs import flat_weights

TIMESTEPS, FEATURES, ROWS = 4, 3, 8


def small_model(metrics=(), stateful=False, **options):
    model = cyrnn.Sequential([
        cyrnn.Input((TIMESTEPS, FEATURES), batch_size=ROWS if stateful else None),
        SimpleRNN(4, seed=1, stateful=stateful),
        Dense(2, **options),
    ])  # fmt: skip
    model.set_weights([np.random.default_rng(0).standard_normal(w.shape) for w in model.weights])
    model.compile(optimizers.Adam(0.01), "mse", metrics=list(metrics))
    return model


def small_data():
    rng = np.random.default_rng(3)
    return rng.standard_normal((ROWS, TIMESTEPS, FEATURES)).astype(np.float32), rng.standard_normal((ROWS, 2))


def on_other_road(model):
    model._compiled._step_of = lambda _: None
    return model


def check_same(model, twin):
    """The same weights, and the same steps from there on."""
    for _ in range(2):
        assert model.optimizer.iterations == twin.optimizer.iterations
        for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        model.train_on_batch(*small_data())
        twin.train_on_batch(*small_data())


def failing_at(count, error):
    """A function like the identity that fails when it is called so many times."""
    calls = []

    def identity(first, *_):
        calls.append(None)
        if len(calls) == count:
            raise error
        return first

    return identity


# ---------------------------------------------------------------- errors and interrupts


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("where", ["constraint", "metric"])
@pytest.mark.parametrize("looked_at", [False, True])
def test_a_step_that_fails_changes_nothing(where, error, looked_at):
    model, twin = small_model(), small_model()
    function = failing_at(3, error)
    if where == "constraint":
        model = small_model(kernel_constraint=function)
    else:
        model = small_model([lambda t, p: function(p)])
    for _ in range(2):
        model.train_on_batch(*small_data())
        twin.train_on_batch(*small_data())
    if looked_at:
        model.get_weights()
    with pytest.raises(type(error)):
        model.train_on_batch(*small_data())
    check_same(model, twin)


def test_a_constraint_that_returns_another_shape_changes_nothing():
    model = small_model(kernel_constraint=lambda w: w[:1])
    begin = model.get_weights()
    with pytest.raises(ValueError, match=r"weight 'kernel' of layer .* has shape \(4, 2\), got \(1, 2\)"):
        model.train_on_batch(*small_data())
    assert model.optimizer.iterations == 0
    for a, b in zip(model.get_weights(), begin, strict=True):
        np.testing.assert_array_equal(a, b)


class InterruptedAfterwards:
    """A compiled step, after which Python finds that Ctrl-C has been pressed meanwhile."""

    def __init__(self, step):
        self.step = step

    def __getattr__(self, name):
        return getattr(self.step, name)

    def move(self, *args):
        self.step.move(*args)
        raise KeyboardInterrupt


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_step_that_is_interrupted_at_its_end_counts(looked_at):
    model, twin = small_model(), small_model()
    for each in (model, model, twin, twin, twin):
        each.train_on_batch(*small_data())
    if looked_at:
        model.get_weights()
    step = model._compiled._step[1]
    compiled, flat = step._begun
    step._begun = InterruptedAfterwards(compiled), flat
    with pytest.raises(KeyboardInterrupt):
        model.train_on_batch(*small_data())
    step._begun = compiled, flat
    check_same(model, twin)


def interrupted_at(count, function):
    """Call a function, with an interrupt at one of the points where Python looks for one: at the begin of a function,
    and after one of C. Whether there were so many."""
    points = 0

    def at_point(frame, event, _):
        nonlocal points
        points += event in ("call", "c_return")
        if points == count:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(at_point)
    try:
        function()
    except KeyboardInterrupt:  # suppress() has points of its own
        pass
    finally:
        sys.setprofile(None)
    return points >= count  # Python ignores an interrupt where it closes a generator


@pytest.mark.thread_unsafe  # the profiler
@pytest.mark.filterwarnings("ignore:Exception ignored")  # of generators that are closed
@pytest.mark.parametrize(
    ("road", "stride"), [(lambda model: model, 1), (on_other_road, 5)], ids=["compiled", "general"]
)
@pytest.mark.parametrize("stateful", [False, True])
def test_an_interrupt_anywhere_leaves_all_of_one_step(road, stride, stateful):
    """Weights, states, what the optimizer remembers, and the number of its updates; and training continues there."""
    model, twin = (road(small_model(stateful=stateful)) for _ in range(2))
    data, count, more = small_data(), 0, True

    def step_and_look():
        model.train_on_batch(*data)
        model.get_weights()

    while more:
        count += stride
        model.train_on_batch(*data)  # after an interrupt the next step begins anew, and has other points
        more = interrupted_at(count, step_and_look)
        while twin.optimizer.iterations < model.optimizer.iterations:
            twin.train_on_batch(*data)
        seen = [
            (each.layers[1].kernel, each.optimizer.variables[-1].numpy(), *(each.layers[0].states or ()))
            for each in (model, twin)
        ]
        for a, b in zip(*seen, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=f"point {count}")
    assert count > 10
    check_same(model, twin)


@pytest.mark.parametrize("name", ["_state", "_borrower", "_waiting", "_iterations"])
def test_no_attribute_of_an_optimizer_is_set_by_its_own_code(name, monkeypatch):
    """`__setattr__` is a place for interrupts: a step and its reader do without."""
    model, set_attribute = small_model(), optimizers.Optimizer.__setattr__

    def interrupted(self, attribute, value):
        if attribute == name:
            raise KeyboardInterrupt
        set_attribute(self, attribute, value)

    monkeypatch.setattr(optimizers.Optimizer, "__setattr__", interrupted)
    for road in (lambda model: model, on_other_road):
        before = model.get_weights()
        road(model).train_on_batch(*small_data())
        assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.optimizer.iterations == 2


# ---------------------------------------------------------------- metrics


def test_metrics_may_keep_what_they_are_given():
    kept = []

    def keeping(t, p):
        kept.append((t, p))
        return p

    (x, y), model = small_data(), small_model([keeping])
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(np.concatenate([t for t, _ in kept]), y, rtol=1e-6)
    assert len({p.tobytes() for _, p in kept}) == len(kept) == 4


def after_steps_in_which_weights_are_set(road):
    model = small_model([lambda t, p: (model.layers[1].assign({"kernel": np.ones((4, 2))}), p)[1]])
    road(model)
    for _ in range(3):
        model.train_on_batch(*small_data())
    return model.get_weights()


def test_weights_that_are_set_within_a_step_are_moved():
    ours = after_steps_in_which_weights_are_set(lambda model: model)
    theirs = after_steps_in_which_weights_are_set(on_other_road)
    assert np.all(ours[3] != 1)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- other models


@pytest.mark.parametrize("one_optimizer", [False, True])
def test_models_that_share_layers_train_in_turn(one_optimizer):
    found = []
    for road in (lambda model: model, on_other_road):
        first = small_model()
        head = Dense(2, kernel_initializer="ones")
        second = cyrnn.Sequential([*first.layers, *([] if one_optimizer else [head])])
        second.compile(first.optimizer if one_optimizer else optimizers.Adam(0.01), "mse")
        for _ in range(4):
            for model in (first, second):
                road(model).train_on_batch(*small_data())
        found.append((first.optimizer.iterations, first.get_weights()))
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_frozen_here_may_be_trained_there():
    """As the discriminator of a GAN is."""
    found = []
    for road in (lambda model: model, on_other_road):
        judge, maker = small_model(), Dense(FEATURES, kernel_initializer="ones")
        both = cyrnn.Sequential([cyrnn.Input((TIMESTEPS, FEATURES)), maker, judge])
        both.compile(optimizers.SGD(0.1), "mse")
        for _ in range(3):
            for model, trains in ((judge, True), (both, False)):
                judge.trainable = trains
                road(model).train_on_batch(*small_data())
        found.append([*judge.get_weights(), *maker.get_weights()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- other threads


@pytest.mark.thread_unsafe
def test_a_step_meanwhile_does_not_hide_from_a_reader(monkeypatch):
    """A reader that has begun to take weights out does not end the lending of the step that comes then."""
    model, twin = small_model(), small_model()
    reading, stepped, read_only = threading.Event(), threading.Event(), flat_weights.read_only

    def slowly(array):
        reading.set()
        stepped.wait(0.2)  # no step can come now
        return read_only(array)

    for each in (model, twin):
        each.train_on_batch(*small_data())
    monkeypatch.setattr(flat_weights, "read_only", slowly)
    reader = threading.Thread(target=model.get_weights)
    reader.start()
    assert reading.wait(10)
    model.train_on_batch(*small_data())
    stepped.set()
    reader.join()
    twin.train_on_batch(*small_data())
    check_same(model, twin)


class Pausing(list):
    """A list that waits before it gives its last item."""

    def __init__(self, items, before, until):
        super().__init__(items)
        self.before, self.until = before, until

    def __iter__(self):
        yield from self[:-1]
        self.before.set()
        self.until.wait(0.2)  # no step can come now
        yield self[-1]


@pytest.mark.thread_unsafe
def test_weights_are_all_of_one_step(monkeypatch):
    model = small_model()
    model.train_on_batch(*small_data())
    begin, reading, stepped, found = model.get_weights(), threading.Event(), threading.Event(), []
    slots = model._weight_slots()
    monkeypatch.setattr(type(model), "_weight_slots", lambda *_, **__: Pausing(slots, reading, stepped))
    reader = threading.Thread(target=lambda: found.extend(model.get_weights()))
    reader.start()
    assert reading.wait(10)
    model.train_on_batch(*small_data())
    stepped.set()
    reader.join()
    for a, b in zip(found, begin, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.any(a != b) for a, b in zip(model.get_weights(), begin, strict=True))


def test_a_step_meanwhile_freezes_nothing(monkeypatch):
    model = small_model()
    model.train_on_batch(*small_data())
    slots, calls = model._weight_slots(), []

    def slots_after_a_step(*_, **__):
        calls.append(None)
        if len(calls) == 2:
            model.train_on_batch(*small_data())
        return slots

    monkeypatch.setattr(type(model), "_weight_slots", slots_after_a_step)
    assert model.non_trainable_weights == []
    assert len(calls) >= 2


# ---------------------------------------------------------------- data that does not fit


def test_what_weighs_nothing_is_computed_all_the_same():
    """As in Keras: only what is masked may be anything."""
    (x, y), weights = small_data(), np.arange(ROWS) > 0
    y[0] = np.nan
    for road in (lambda model: model, on_other_road):
        assert np.isnan(road(small_model()).train_on_batch(x, y, weights))
        model = small_model()
        model.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.raises(ValueError, match="labels from 0 to 1.*got 2"):
            road(model).train_on_batch(x, np.where(weights, 1, 2), weights)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_probabilities_that_are_nan_have_the_same_gradients_on_both_roads(loss):
    """Those of a clipped crossentropy are 0, as in Keras: what is NaN is not within its limits."""
    x, found = np.ones((3, 2), np.float32), []
    y = np.array([0, 1, 0]) if "sparse" in loss else np.eye(2)[[0, 1, 0]]
    for road in (lambda model: model, on_other_road):
        model = cyrnn.Sequential([cyrnn.Input((2,)), Dense(2, kernel_initializer="ones")])
        model.layers[0].assign({"bias": [np.nan, 0.5]})
        model.compile(optimizers.SGD(0.1), loss)
        road(model).train_on_batch(x, y)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    if loss == "binary_crossentropy":
        np.testing.assert_array_equal(found[0][0][:, 0], [1, 1])


@pytest.mark.parametrize("label", [np.nan, np.inf, 1e30])
def test_labels_that_are_no_numbers_are_refused(label):
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="y_true must have labels.*not finite or too large"):
        model.train_on_batch(small_data()[0], np.full(ROWS, label))
    assert model.optimizer.iterations == 0


def test_weights_for_fewer_timesteps_than_there_are_are_refused():
    model = cyrnn.Sequential([cyrnn.Input((None, FEATURES)), SimpleRNN(4, return_sequences=True), Dense(1)])
    model.compile("sgd", "mse")
    x, y = small_data()[0], np.ones((ROWS, TIMESTEPS, 1))
    with pytest.raises(
        ValueError, match=rf"sample_weight must have the shape.*\({ROWS}, {TIMESTEPS}\).*got \({ROWS}, 2"
    ):
        model.train_on_batch(x, y, sample_weight=np.ones((ROWS, 2)))
    assert model.optimizer.iterations == 0
