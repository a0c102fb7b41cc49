"""Optimizers: steps with the numbers of Keras on TensorFlow, options, configs, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import optimizers
from cyrnn.layers import Dense, Embedding, Layer, SimpleRNN
from cyrnn.optimizers import schedules


class Vector(Layer):
    """A layer that is one weight."""

    def __init__(self, value, constraint=None, name="vector"):
        super().__init__(name=name)
        self.value, self.constraint = np.asarray(value, np.float32), constraint
        self.build(None)

    def build(self, shape):
        self.w = self.add_weight(
            self.value.shape, lambda shape, dtype: self.value, name="w", constraint=self.constraint
        )
        self.built = True


def steps(optimizer, layer, gradients):
    for g in gradients:
        optimizer.apply([np.asarray(g, np.float32)], layer)
    return layer.weights[0]


# Keras 3.15.1 on TensorFlow: w = (1, -2, .5), after four steps with these gradients and a learning rate of 0.1.
GRADIENTS = [(0.1 * t, -0.3, 0.02 * (-1) ** (t - 1)) for t in range(1, 5)]
AFTER_FOUR = [
    ("SGD", {}, (0.9, -1.8800002, 0.5)),
    ("SGD", {"momentum": 0.9}, (0.81441, -1.72853, 0.496742)),
    ("SGD", {"momentum": 0.9, "nesterov": True}, (0.732969, -1.6356769, 0.4970678)),
    ("SGD", {"weight_decay": 0.1}, (0.861591, -1.8029799, 0.4803376)),
    ("Adam", {}, (0.6116494, -1.600006, 0.3769656)),
    ("AdamW", {"weight_decay": 0.1}, (0.578094, -1.527158, 0.3604642)),
    ("RMSprop", {}, (-0.0997376, -1.0917416, 0.391887)),
    ("RMSprop", {"momentum": 0.5, "centered": True}, (-0.90221, -0.380922, 0.1552192)),
    ("Adagrad", {}, (0.7937264, -1.7809284, 0.499975)),
    ("Adadelta", {"learning_rate": 1.0}, (0.9920994, -1.9942554, 0.5000272)),
    ("Adamax", {}, (0.6888986, -1.6000004, 0.3769476)),
    ("Nadam", {}, (0.6137724, -1.6750557, 0.4518968)),
    (
        "Ftrl",
        {
            "l1_regularization_strength": 0.01,
            "l2_regularization_strength": 0.1,
            "beta": 0.1,
            "l2_shrinkage_regularization_strength": 0.05,
        },
        (-0.147467, -0.2015907, -0.0076776),
    ),
    ("Lion", {}, (0.5999999, -1.5999999, 0.5)),
    ("Adafactor", {}, (0.4749396, -1.5611011, 0.4700768)),
    ("Muon", {}, (0.610286, -1.5970477, 0.3762952)),
    ("SGD", {"clipnorm": 0.1}, (0.9762487, -1.969166, 0.4998514)),
    ("SGD", {"clipvalue": 0.05}, (0.98, -1.98, 0.5)),
    ("SGD", {"gradient_accumulation_steps": 2}, (0.95, -1.9400001, 0.5)),
    ("SGD", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}, (0.9375, -1.9175, 0.4985)),
    ("Adam", {"weight_decay": 0.1, "gradient_accumulation_steps": 2}, (0.7863185, -1.7612036, 0.49005)),
]


@pytest.mark.parametrize(("name", "options", "expected"), AFTER_FOUR)
def test_four_steps_are_those_of_keras(name, options, expected):
    optimizer = getattr(optimizers, name)(**{"learning_rate": 0.1, **options})
    after = steps(optimizer, Vector((1, -2, 0.5)), GRADIENTS)
    np.testing.assert_allclose(after, expected, rtol=2e-6, atol=2e-7)
    assert optimizer.iterations == 4 // options.get("gradient_accumulation_steps", 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Adafactor", (-0.0394556, 0.531956, -0.0083331, -0.3968088, 0.2566167, 0.3530398)),
        ("Muon", (-0.0213233, 0.5199129, -0.0756172, -0.4130364, 0.2855892, 0.3977218)),
    ],
)
def test_matrices_move_as_in_keras(name, expected):
    j = np.arange(6).reshape(2, 3)
    layer = Vector(0.5 * np.sin(1.7 * j))
    after = steps(getattr(optimizers, name)(0.1), layer, [0.3 * np.cos(0.9 * j + t) for t in range(3)])
    np.testing.assert_allclose(after.ravel(), expected, rtol=2e-6, atol=2e-7)


SCHEDULES = [  # Keras 3.15.1, at the steps 0 to 8
    (
        schedules.ExponentialDecay(0.1, 3, 0.5),
        "0.1 0.0793701 0.0629961 0.05 0.039685 0.031498 0.025 0.0198425 0.015749",
    ),
    (schedules.ExponentialDecay(0.1, 3, 0.5, staircase=True), "0.1 0.1 0.1 0.05 0.05 0.05 0.025 0.025 0.025"),
    (schedules.PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.1]), "1 1 1 0.5 0.5 0.1 0.1 0.1 0.1"),
    (schedules.PolynomialDecay(0.1, 4, 0.01, power=2), "0.1 0.060625 0.0325 0.015625 0.01 0.01 0.01 0.01 0.01"),
    (
        schedules.PolynomialDecay(0.1, 4, 0.01, cycle=True),
        "0.1 0.0775 0.055 0.0325 0.01 0.04375 0.0325 0.02125 0.01",
    ),
    (
        schedules.InverseTimeDecay(0.1, 3, 0.5),
        "0.1 0.0857143 0.075 0.0666667 0.06 0.0545455 0.05 0.0461539 0.0428571",
    ),
    (
        schedules.CosineDecay(0.01, 4, alpha=0.1, warmup_target=0.1, warmup_steps=2),
        "0.01 0.055 0.1 0.0868198 0.055 0.0231802 0.01 0.01 0.01",
    ),
    (schedules.CosineDecayRestarts(1.0, 4, t_mul=1.0), "1 0.853553 0.5 0.146447 1 0.853553 0.5 0.146447 1"),
    (
        schedules.CosineDecayRestarts(0.1, 3, t_mul=2, m_mul=0.5, alpha=0.1),
        "0.1 0.0775 0.0325 0.055 0.0519856 0.04375 0.0325 0.02125 0.0130144",
    ),
]


@pytest.mark.parametrize(("schedule", "expected"), SCHEDULES)
def test_schedules_are_those_of_keras(schedule, expected):
    np.testing.assert_allclose([schedule(step) for step in range(9)], np.array(expected.split(), float), rtol=4e-6)


def test_a_schedule_without_its_methods():
    class Own(schedules.LearningRateSchedule):
        pass

    with pytest.raises(NotImplementedError, match=r"Own must define __call__\(step\)"):
        Own()(3)
    with pytest.raises(NotImplementedError, match=r"Own must define get_config\(\) to be saved"):
        optimizers.serialize(optimizers.SGD(Own()))


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in SCHEDULES])
def test_schedules_travel_as_configs(schedule):
    optimizer = optimizers.Adam(schedule)
    config = json.loads(json.dumps(optimizers.serialize(optimizer)))
    read = optimizers.deserialize(config)
    assert config["config"]["learning_rate"]["module"] == "keras.optimizers.schedules"
    assert optimizers.serialize(read) == config
    assert read.learning_rate == optimizer.learning_rate


def test_each_step_has_the_learning_rate_of_its_number():
    layer = Vector(0.0)
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([0, 1], [1.0, 10.0, 100.0]))
    assert steps(optimizer, layer, [-1.0]) == 1
    assert optimizer.learning_rate == 10
    assert steps(optimizer, layer, [-1.0, -1.0]) == 111
    optimizer.learning_rate = 0.5
    assert steps(optimizer, layer, [-1.0]) == 111.5
    optimizer.learning_rate = lambda: 0.25
    assert steps(optimizer, layer, [-1.0]) == 111.75


@pytest.mark.parametrize("name", sorted(set(optimizers.__all__) & {row[0] for row in AFTER_FOUR}))
@pytest.mark.parametrize("options", [{}, {"clipnorm": 1.0, "use_ema": True, "weight_decay": 0.01}])
def test_configs_describe_optimizers(name, options):
    optimizer = getattr(optimizers, name)(0.1, **options)
    config = json.loads(json.dumps(optimizers.serialize(optimizer)))
    assert config["config"]["learning_rate"] == float(np.float32(0.1))
    read = optimizers.get(config)
    assert type(read) is type(optimizer)
    assert read.get_config() == optimizer.get_config()
    one, other = Vector((1, -2, 0.5)), Vector((1, -2, 0.5))
    np.testing.assert_array_equal(steps(optimizer, one, GRADIENTS), steps(read, other, GRADIENTS))


def test_names_and_classes_are_found():
    assert type(optimizers.get("adamw")) is optimizers.AdamW
    assert type(optimizers.get("RMSprop")) is optimizers.RMSprop
    assert type(optimizers.get(optimizers.SGD)) is optimizers.SGD
    assert optimizers.get(None) is None
    for wrong in ("nope", 3):
        with pytest.raises(ValueError, match=f"could not interpret the optimizer .*{wrong}"):
            optimizers.get(wrong)


def test_a_model_learns():
    x = np.random.default_rng(0).standard_normal((256, 10, 1)).astype(np.float32)
    target = x.sum(axis=1)
    model = cyrnn.Sequential([cyrnn.Input((10, 1)), SimpleRNN(16, seed=1), Dense(1)])
    optimizer = optimizers.Adam(0.01)
    losses = []
    for _ in range(300):
        y, pullback = model.vjp(x)
        losses.append(np.mean((y - target) ** 2))
        optimizer.apply(pullback(2 * (y - target) / len(x), inputs=False).weights, model)
    assert losses[-1] < 0.02 * losses[0]


def test_constraints_follow_updates_and_only_those():
    layer = Vector((3.0, -4.0), constraint="non_neg")
    optimizer = optimizers.SGD(1.0, gradient_accumulation_steps=2)
    np.testing.assert_array_equal(steps(optimizer, layer, [(1, 1)]), [3, -4])
    np.testing.assert_array_equal(steps(optimizer, layer, [(3, 1)]), [1, 0])


def test_frozen_layers_stay_and_may_be_frozen_later():
    model = cyrnn.Sequential([cyrnn.Input((3, 2)), SimpleRNN(2), Dense(1)])
    model.layers[0].trainable = False
    optimizer, before = optimizers.SGD(1.0), model.get_weights()
    optimizer.apply([np.ones((2, 1)), np.ones(1)], model)
    for old, new in zip(before[:3], model.get_weights()[:3], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.get_weights()[4], before[4] - 1)
    model.layers[0].trainable = True
    with pytest.raises(ValueError, match="simple_rnn.*/kernel' is not one that the optimizer 'sgd' began with"):
        optimizer.apply([np.ones_like(w) for w in before], model)
    model.layers[0].trainable = model.layers[1].trainable = False
    with pytest.raises(ValueError, match="nothing can be updated"):
        optimizer.apply([], model)


def test_weights_that_do_not_decay():
    model = cyrnn.Sequential([cyrnn.Input((4,)), Dense(2, name="a"), Dense(2, name="b"), Dense(2, name="c")])
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    optimizer = optimizers.SGD(0.5, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_list=[model.layers[2].kernel], var_names=["bias", "/a/"])
    for _ in range(2):
        optimizer.apply([np.zeros_like(w) for w in model.get_weights()], model)
    assert [w.ravel()[0] for w in model.get_weights()] == [1, 1, 0.25, 1, 1, 1]
    with pytest.raises(ValueError, match="before the first step"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_patterns_see_the_names_of_the_layers_around():
    model = cyrnn.Sequential([cyrnn.Input((3, 2)), SimpleRNN(2, name="encoder"), Dense(1)], name="net")
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    optimizer = optimizers.SGD(0.5, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_names=["^net/encoder/"])
    optimizer.apply([np.zeros_like(w) for w in model.get_weights()], model)
    assert [w.ravel()[0] for w in model.get_weights()] == [1, 1, 1, 0.5, 0.5]


def test_names_of_weights_are_without_models_of_graphs():
    """As in Keras, where layers of a graph are built before their model."""
    inputs = cyrnn.Input((3, 2))
    inner = cyrnn.Model(inputs, SimpleRNN(2, name="enc", return_sequences=True)(inputs), name="graph")
    row = cyrnn.Sequential([cyrnn.Input((3, 2)), SimpleRNN(2, name="dec")], name="row")
    model = cyrnn.Model(inputs, Dense(1, name="last")(row(inner(inputs))), name="whole")
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    optimizer = optimizers.SGD(0.5, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_names=["^enc/simple_rnn_cell", "^row/dec/simple_rnn_cell/kernel", "whole"])
    optimizer.apply([np.zeros_like(w) for w in model.get_weights()], model)
    assert [w.ravel()[0] for w in model.get_weights()] == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_excluded_arrays_that_are_no_weights_any_more_are_refused():
    layer = Dense(2)
    layer.build((None, 1))
    optimizer = optimizers.SGD(0.5, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_list=[layer.kernel])
    layer.set_weights(layer.get_weights())
    with pytest.raises(ValueError, match="var_list of exclude_from_weight_decay must hold arrays"):
        optimizer.apply([np.zeros((1, 2)), np.zeros(2)], layer)


def test_gradients_that_are_accumulated_are_copied():
    layer, optimizer, g = Vector((0.0, 0.0)), optimizers.SGD(1.0, gradient_accumulation_steps=2), np.ones(2, "float32")
    optimizer.apply([g], layer)
    g[:] = 100
    optimizer.apply([np.ones(2)], layer)
    np.testing.assert_array_equal(layer.weights[0], [-1, -1])


def test_a_constraint_that_works_in_place_leaves_averages():
    def zeros(w):
        w *= 0
        return w

    layer, optimizer = Vector((1.0, 1.0), constraint=zeros), optimizers.SGD(1.0, use_ema=True)
    optimizer.apply([np.array([-1.0, -1.0])], layer)
    optimizer.finalize_variable_values(layer)
    np.testing.assert_array_equal(layer.weights[0], [2, 2])


def test_schedules_at_their_limits():
    assert schedules.ExponentialDecay(0.1, 10, 1.5)(10**6) == np.inf
    assert np.isnan(schedules.ExponentialDecay(0.1, 10, -0.5)(3))
    assert schedules.PolynomialDecay(0.1, 10, power=-1.0)(10) == np.inf
    assert all(type(schedule(np.int64(7))) is float for schedule, _ in SCHEDULES)


def test_muon_leaves_embeddings_to_adam():
    layer = Embedding(3, 2, name="embedding")
    layer.build((None, None))
    layer.set_weights([np.ones((3, 2))])
    g = np.arange(6.0).reshape(3, 2)
    optimizers.Muon(0.1, adam_weight_decay=None).apply([g], layer)
    np.testing.assert_allclose(layer.weights[0], np.where(g > 0, 0.9, 1), rtol=1e-5)


@pytest.mark.parametrize("clip", [{"global_clipnorm": 2.5}, {"loss_scale_factor": 2.0}])
def test_gradients_of_all_weights_are_scaled_alike(clip):
    layer = Dense(2)
    layer.build((None, 1))
    before = layer.get_weights()
    optimizers.SGD(1.0, **clip).apply([np.array([[3.0, 0]]), np.array([0.0, 4.0])], layer)
    for old, new, g in zip(before, layer.weights, ([[3, 0]], [0, 4]), strict=True):
        np.testing.assert_allclose(old - new, np.array(g) / 2, atol=1e-6)


def test_a_gradient_that_is_not_finite_makes_all_nan_by_its_global_norm():
    layer = Dense(2)
    layer.build((None, 1))
    optimizers.SGD(1.0, global_clipnorm=1.0).apply([np.array([[np.inf, 0]]), np.zeros(2)], layer)
    assert all(np.isnan(w).all() for w in layer.weights)


def test_averages_take_the_place_of_weights_when_they_are_asked_to():
    layer, optimizer = Vector(0.0), optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    assert steps(optimizer, layer, [-1.0, -2.0]) == 3
    optimizer.finalize_variable_values(layer)
    assert layer.weights[0] == 2  # of 1 and 3


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([np.zeros(3)], r"one for each of the 2 trainable weights of 'd', got 1"),
        (np.zeros(2), r"must be a list of arrays.* got ndarray"),
        ([np.zeros((1, 2)), np.zeros(3)], r"gradients\[1\] must have shape \(2,\), as weight 'd/bias' has, got \(3,\)"),
        (
            [np.zeros((1, 2)), np.zeros(2, complex)],
            r"gradients\[1\] must be an array of real numbers, got dtype complex128",
        ),
        ([None, None], r"nothing can be updated"),
    ],
)
def test_wrong_gradients_change_nothing(gradients, message):
    layer = Dense(2, name="d")
    layer.build((None, 1))
    optimizer, before = optimizers.Adam(), layer.get_weights()
    with pytest.raises((ValueError, TypeError), match=message):
        optimizer.apply(gradients, layer)
    assert optimizer.iterations == 0
    for old, new in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_constraint_that_fails_changes_nothing():
    def fails(w):
        raise RuntimeError("no")

    layer, optimizer = Vector((1.0, 2.0), constraint=fails), optimizers.SGD(1.0, momentum=0.5)
    with pytest.raises(RuntimeError, match="no"):
        optimizer.apply([np.ones(2)], layer)
    np.testing.assert_array_equal(layer.weights[0], [1, 2])
    assert optimizer.iterations == 0


def test_a_weight_without_a_gradient_stays_with_a_warning():
    layer = Dense(2, name="d")
    layer.build((None, 1))
    kernel = layer.get_weights()[0]
    with pytest.warns(UserWarning, match="no gradients for d/kernel: they stay"):
        optimizers.SGD(1.0).apply([None, np.ones(2)], layer)
    np.testing.assert_array_equal(layer.weights[0], kernel)
    np.testing.assert_array_equal(layer.weights[1], [-1, -1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optimizers.SGD("a"), TypeError, "learning_rate must be a float, a schedule, or a callable"),
        (lambda: optimizers.SGD(momentum=2.0), ValueError, "momentum must be from 0 to 1, got 2.0"),
        (lambda: optimizers.Adam(clipnorm=1.0, clipvalue=1.0), ValueError, "at most one of clipnorm"),
        (lambda: optimizers.Adam(weight_decay=-1.0), ValueError, "weight_decay must be at least 0"),
        (lambda: optimizers.AdamW(weight_decay=None), ValueError, "weight_decay must be a float"),
        (lambda: optimizers.Adam(gradient_accumulation_steps=1), ValueError, "integer of at least 2, or None, got 1"),
        (lambda: optimizers.SGD(use_ema=True, ema_momentum=2.0), ValueError, "ema_momentum must be from 0 to 1"),
        (lambda: optimizers.Lion(beta_1=0.0), ValueError, "beta_1 must be over 0"),
        (lambda: optimizers.Ftrl(learning_rate_power=1.0), ValueError, "learning_rate_power must be at most 0"),
        (lambda: optimizers.SGD(foo=1), TypeError, "foo"),
        (lambda: optimizers.SGD(True), TypeError, "learning_rate must be a float"),
        (lambda: optimizers.SGD(np.nan), ValueError, "learning_rate must be finite, got nan"),
        (lambda: optimizers.SGD(schedules.CosineDecay), TypeError, "learning_rate must be a float, a schedule"),
        (lambda: optimizers.SGD(clipnorm=np.inf), ValueError, "clipnorm must be over 0 and finite"),
        (lambda: optimizers.Muon(exclude_layers="dense"), TypeError, "exclude_layers must be a list of regular"),
        (lambda: optimizers.Muon(exclude_layers=["("]), ValueError, "exclude_layers must hold regular expressions"),
        (lambda: optimizers.SGD().apply([], Dense(2, name="d")), ValueError, "model 'd' has no weights yet: call it"),
        (lambda: optimizers.SGD().finalize_variable_values(3), TypeError, "model must be a layer or a model, got int"),
        (lambda: optimizers.SGD().apply([], 3), TypeError, "model must be a layer or a model, got int"),
        (lambda: schedules.CosineDecay(0.1, 0), ValueError, "decay_steps must be over 0"),
        (lambda: schedules.PiecewiseConstantDecay([1], [1.0]), ValueError, "one more than boundaries"),
        (lambda: schedules.CosineDecayRestarts(0.1, 1, t_mul=0.5), ValueError, "t_mul must be at least 1"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_arguments_of_keras_2():
    with pytest.raises(TypeError, match="Adam takes no argument 'lr'; did you mean 'learning_rate'"):
        optimizers.Adam(lr=0.1)
    with pytest.raises(TypeError, match="SGD takes no argument 'beta_1'$"):
        optimizers.SGD(beta_1=0.1)
    with pytest.warns(UserWarning, match="`decay` is no longer supported") as caught:
        assert optimizers.SGD(0.1, momentum=0.5, decay=1e-6).momentum == 0.5
    assert caught[0].filename == __file__


def test_an_optimizer_of_ones_own():
    class Signs(optimizers.Optimizer):
        def update(self, w, g, at):
            return (w - at.learning_rate * np.sign(g),)

    assert steps(Signs(0.5), Vector(1.0), [3.0, -2.0, 7.0]) == 0.5


def test_float64_weights_have_float64_slots():
    layer = Dense(2, dtype="float64")
    layer.build((None, 1))
    before = layer.get_weights()
    optimizers.Adam(0.25).apply([np.full((1, 2), 1e-200), np.ones(2)], layer)
    assert layer.weights[0].dtype == np.float64
    np.testing.assert_allclose(before[1] - layer.weights[1], 0.25, rtol=1e-5)


def test_no_numpy_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps(optimizers.Adam(), Vector((1.0, 2.0)), [(np.inf, np.nan)])


def test_optimizers_are_imported_when_they_are_used():
    run_python(
        "import sys, cyrnn; assert 'cyrnn.optimizers' not in sys.modules; cyrnn.optimizers.Adam(); "
        "assert 'cyrnn.optimizers' in sys.modules"
    )


@pytest.mark.parametrize(
    ("optimizer", "name", "value", "message"),
    [
        ("SGD", "clipnorm", -1, "clipnorm must be over 0 and finite, got -1"),
        ("SGD", "ema_momentum", 5, "ema_momentum must be from 0 to 1, got 5"),
        ("SGD", "gradient_accumulation_steps", 1.5, "gradient_accumulation_steps must be an integer of at least 2"),
        ("SGD", "use_ema", "yes", "use_ema must be a bool, got 'yes'"),
        ("SGD", "momentum", 2.0, "momentum must be from 0 to 1, got 2"),
        ("Adam", "beta_1", None, "beta_1 must be a number, got None"),
        ("Adam", "amsgrad", 1, "amsgrad must be a bool, got 1"),
        ("Lion", "beta_1", 0.0, "beta_1 must be over 0"),
        ("Ftrl", "learning_rate_power", 1.0, "learning_rate_power must be at most 0, got 1.0"),
        ("Muon", "exclude_layers", ["("], "exclude_layers must hold regular expressions"),
    ],
)
def test_options_that_are_set_are_checked_too(optimizer, name, value, message):
    made = getattr(optimizers, optimizer)()
    before = getattr(made, name)
    with pytest.raises((ValueError, TypeError), match=message):
        setattr(made, name, value)
    assert getattr(made, name) == before


def test_only_one_limit_of_gradients_can_be_set():
    made = optimizers.SGD(clipnorm=1.0)
    with pytest.raises(ValueError, match="at most one of.* got clipnorm=1.0, clipvalue=2.0, global_clipnorm=None"):
        made.clipvalue = 2.0
    made.clipnorm = None
    made.clipvalue = 2.0
    assert (made.clipnorm, made.clipvalue) == (None, 2.0)


def test_variables_take_no_learning_rate_that_is_no_number():
    layer = Vector(0.0)
    optimizer = optimizers.SGD(0.5)
    optimizer.build(layer)
    values = [variable.numpy() for variable in optimizer.variables]
    with pytest.raises(ValueError, match="learning_rate must be finite, got nan"):
        optimizer.set_weights([values[0] + 3, np.float32("nan"), *values[2:]])
    assert (optimizer.iterations, optimizer.learning_rate) == (0, 0.5)
