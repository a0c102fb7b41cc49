"""Rules of the constructors: their signatures, what each argument takes, and what is refused."""

import inspect
import itertools
import random as python_random

import numpy as np
import pytest
from parity.rules import BATCH, CLASSES, FEATURES, UNITS, X, both, built, made, refused_alike
from parity.twins import assert_same, keras, same_weights, twins

import cyrnn
from cyrnn import initializers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras


# ---------------------------------------------------------------- signatures


def parameters(function):
    return [(p.name, p.default, p.kind) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("class_name", CLASSES)
def test_arguments_have_the_order_names_and_defaults_of_keras(class_name):
    """SimpleRNN has `activity_regularizer` and `seed` in the midst of them, `zero_output_for_mask` as a keyword."""
    ours, theirs = both(lambda m: parameters(getattr(m.layers, class_name)))
    assert ours == theirs


NAMESPACES = ["initializers", "regularizers", "constraints"]


@pytest.mark.parametrize(
    ("namespace", "name"), [(space, name) for space in NAMESPACES for name in getattr(cyrnn, space).__all__]
)
def test_objects_and_functions_have_the_arguments_of_keras(namespace, name):
    """`get`, `serialize`, `deserialize` and every class; the one argument of `serialize` has another name here."""
    ours, theirs = both(lambda m: [p[1:] for p in parameters(getattr(getattr(m, namespace), name))])
    assert ours == theirs


def test_activations_deserialize_takes_custom_objects():
    def thrice(x):
        return 3 * x

    ours, theirs = both(lambda m: m.activations.deserialize("thrice", custom_objects={"thrice": thrice}))
    assert ours is theirs is thrice


# ---------------------------------------------------------------- units


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "SimpleRNN"])
def test_units_true_is_refused(class_name):
    """Keras takes True as 1."""
    layer = getattr(keras.layers, class_name)(True)
    layer.build((2, 3, 4)[: 2 if class_name == "SimpleRNNCell" else 3])
    assert layer.weights[1].shape == (1, 1)
    with pytest.raises(ValueError, match="units.*True"):
        getattr(cyrnn.layers, class_name)(True)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_units_of_numpy_become_python_ints(kind):
    """Keras keeps them, and then refuses them in any RNN."""
    cell = cyrnn.layers.SimpleRNNCell(kind(3))
    assert type(cell.units) is type(cell.state_size) is int
    assert cell.get_config()["units"] == keras.layers.SimpleRNNCell(kind(3)).get_config()["units"] == 3
    for make in (lambda m: m.layers.SimpleRNN(kind(3)), lambda m: m.layers.RNN(m.layers.SimpleRNNCell(kind(3)))):
        assert make(cyrnn)(X).shape == (BATCH, 3)
        with pytest.raises(ValueError, match="state_size"):
            make(keras)


@pytest.mark.parametrize("units", [0, -1, -(10**9)])
def test_units_that_are_not_positive_are_named_in_the_error(units):
    for class_name in ("SimpleRNNCell", "SimpleRNN"):
        message = refused_alike(lambda m, name=class_name: getattr(m.layers, name)(units))
        assert "units" in message and str(units) in message


# ---------------------------------------------------------------- activation, bias


def test_no_activation_is_linear_in_the_config():
    ours, theirs = both(lambda m: made(m, "SimpleRNN", activation=None).get_config()["activation"])
    assert ours == theirs == "linear"


class Doubles:
    """A callable object with a config."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def get_config(self):
        return {"factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


ACTIVATIONS = {
    "a name": lambda m: "relu",
    "None": lambda m: None,
    "a function": lambda m: np.arctan,
    "a function of the namespace": lambda m: m.activations.relu,
    "an object": lambda m: Doubles(),
    "a layer": lambda m: m.layers.Activation("relu"),
    "a dict": lambda m: {"class_name": "Activation", "config": {"activation": "relu"}, "module": "keras.layers"},
    "a dict of a function": lambda m: {"class_name": "function", "config": "relu", "module": "builtins"},
}


@pytest.mark.parametrize("form", ACTIVATIONS)
def test_forms_of_an_activation(form):
    if form.startswith("a dict"):
        full = {**ACTIVATIONS[form](None), "registered_name": "function" if "function" in form else None}
        ours, theirs = twins(lambda m: made(m, "SimpleRNN", activation=full), X.shape, np.random.default_rng(1))
    else:
        ours, theirs = twins(
            lambda m: made(m, "SimpleRNN", activation=ACTIVATIONS[form](m)), X.shape, np.random.default_rng(1)
        )
    assert_same(ours(X), theirs(X))


@pytest.mark.parametrize("use_bias", [False, 0, None, "", [], True, 1, "no", [0]])
def test_any_truth_value_says_whether_there_is_a_bias(use_bias):
    ours, theirs = both(lambda m: built(m, "SimpleRNNCell", use_bias=use_bias))
    assert len(ours.weights) == len(theirs.weights) == (3 if use_bias else 2)
    assert (ours.bias is None) == (theirs.bias is None) == (not use_bias)


# ---------------------------------------------------------------- initializers, regularizers, constraints

SHAPES = {"kernel": (FEATURES, UNITS), "recurrent": (UNITS, UNITS), "bias": (UNITS,)}


def ramp(shape, dtype=None):
    return np.arange(np.prod(shape), dtype=dtype or "float32").reshape(shape) / 7


def twos(w):
    return 2 * w


INITIALIZERS = {
    "a name": lambda m, shape: "ones",
    "a class name": lambda m, shape: "Ones",
    "a dict": lambda m, shape: {"class_name": "Constant", "config": {"value": 0.3}},
    "a class": lambda m, shape: m.initializers.Ones,
    "an instance": lambda m, shape: m.initializers.HeNormal(3),
    "a function": lambda m, shape: ramp,
    "an array": lambda m, shape: ramp(shape, "float64"),
    "a float16 array": lambda m, shape: ramp(shape, "float16"),
    "a function that gives lists": lambda m, shape: lambda size, dtype=None: ramp(size).tolist(),
}


@pytest.mark.parametrize("weight", SHAPES)
@pytest.mark.parametrize("form", INITIALIZERS)
def test_forms_of_an_initializer(form, weight):
    options = [{f"{weight}_initializer": INITIALIZERS[form](m, SHAPES[weight]), "seed": 1} for m in (cyrnn, keras)]
    index = list(SHAPES).index(weight)
    ours, theirs = (built(m, "SimpleRNNCell", **o).weights[index] for m, o in zip((cyrnn, keras), options, strict=True))
    np.testing.assert_array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "SimpleRNN"])
def test_no_initializer_is_glorot_uniform_for_the_bias_too(class_name):
    options = {f"{weight}_initializer": None for weight in SHAPES}

    def make(module):
        python_random.seed(11)
        return built(module, class_name, **options, seed=1)

    ours, theirs = both(make)
    assert_same(ours.get_weights(), theirs.get_weights(), tolerance=0)
    assert ours.get_weights()[2].any()
    assert {ours.get_config()[key] for key in options} == {theirs.get_config()[key] for key in options} == {None}


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "SimpleRNN"])
def test_python_s_seed_gives_the_weights_and_dropout_masks_of_keras(class_name):
    """Without seeds of their own, everything in a layer draws one from `random`, in the same order."""

    def make(module):
        python_random.seed(12)
        return built(module, class_name, bias_initializer="uniform", dropout=0.5)

    ours, theirs = both(make)
    assert_same(ours.get_weights(), theirs.get_weights(), tolerance=0)
    cells = [getattr(layer, "cell", layer) for layer in (ours, theirs)]
    assert_same(*[cell.get_dropout_mask(X[:, 0]) for cell in cells], tolerance=0)


NAMES = sorted({name for name in dir(initializers) if name in initializers.__all__ and name[0].islower()})
MATRIX_ONLY = ("identity", "orthogonal")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("get", "serialize", "deserialize")])
def test_a_seeded_layer_begins_with_the_bits_of_keras(name, dtype):
    """Every initializer, for each weight that it can make."""
    seeded = "seed" in inspect.signature(getattr(initializers, name)).parameters
    for seed, units in itertools.product([0, 7, 2**32 - 1], [1, 5, 8]):

        def make(module, seed=seed, units=units):
            def initializer(of_a_bias=False):
                make = getattr(module.initializers, "zeros" if of_a_bias and name in MATRIX_ONLY else name)
                return make(seed=seed) if seeded and make is getattr(module.initializers, name) else make()

            cell = module.layers.SimpleRNNCell(
                units,
                kernel_initializer=initializer(),
                recurrent_initializer=initializer(),
                bias_initializer=initializer(of_a_bias=True),
                dtype=dtype,
            )
            cell.build((BATCH, FEATURES))
            return cell.get_weights()

        assert_same(*both(make), tolerance=0)


def test_one_initializer_for_two_weights_of_the_same_shape_makes_them_equal():
    def make(module):
        shared = module.initializers.HeNormal()
        cell = module.layers.SimpleRNNCell(FEATURES, kernel_initializer=shared, recurrent_initializer=shared)
        cell.build((BATCH, FEATURES))
        return cell.get_weights()

    for kernel, recurrent_kernel, _ in both(make):
        np.testing.assert_array_equal(kernel, recurrent_kernel)


def test_one_seed_generator_for_two_weights_makes_them_differ():
    def make(module):
        seeds = module.random.SeedGenerator(3)
        options = {f"{weight}_initializer": module.initializers.HeNormal(seed=seeds) for weight in SHAPES}
        return built(module, "SimpleRNNCell", **options).get_weights()

    ours, theirs = both(make)
    assert_same(ours, theirs, tolerance=0)
    assert not np.array_equal(ours[0][0], ours[1][0])


def test_an_initializer_of_another_shape_is_refused():
    """Keras takes what a function gives, whatever its shape."""
    options = {"kernel_initializer": lambda shape, dtype=None: np.ones((2, 2), dtype)}
    assert built(keras, "SimpleRNNCell", **options).get_weights()[0].shape == (2, 2)
    with pytest.raises(ValueError, match=r"'kernel'.*\(4, 5\).*\(2, 2\)"):
        built(cyrnn, "SimpleRNNCell", **options)


FORMS = {
    "regularizer": ["l2", "L2", {"class_name": "L1L2", "config": {"l1": 0.5}}, twos, None],
    "constraint": ["non_neg", "NonNeg", {"class_name": "MaxNorm", "config": {"max_value": 0.5}}, twos, None],
}


@pytest.mark.parametrize("weight", SHAPES)
@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind in FORMS for form in [*FORMS[kind], type, object]])
def test_forms_of_a_regularizer_or_constraint(kind, form, weight):
    """A name, class name, dict, function, None; and a class or an instance of one."""

    def make(module):
        cls = getattr(getattr(module, kind + "s"), {"regularizer": "L1", "constraint": "UnitNorm"}[kind])
        given = cls if form is type else cls() if form is object else form
        return built(module, "SimpleRNNCell", **{f"{weight}_{kind}": given})

    ours, theirs = both(make)
    same_weights(ours, theirs, np.random.default_rng(2))
    if kind == "regularizer":
        assert_same(list(ours.losses), [np.asarray(loss) for loss in theirs.losses])
    else:
        ours.apply_constraints()
        expected = [w if w.constraint is None else w.constraint(w) for w in theirs.weights]
        assert_same(ours.get_weights(), [np.asarray(w) for w in expected])


# ---------------------------------------------------------------- rates and seeds


@pytest.mark.parametrize("rate", [-0.1, -np.inf, -0.0, 0, 1, 1.5, np.inf, True, False, np.float32(0.5), np.int64(3)])
@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
def test_rates_are_clamped_to_0_and_1(argument, rate):
    for class_name in ("SimpleRNNCell", "SimpleRNN"):
        ours, theirs = both(lambda m, name=class_name: getattr(made(m, name, **{argument: rate}), argument))
        assert ours == theirs and 0 <= ours <= 1


@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
def test_a_rate_of_nan_is_refused(argument):
    """Keras clamps it to 0."""
    assert getattr(made(keras, "SimpleRNNCell", **{argument: np.nan}), argument) == 0
    with pytest.raises(ValueError, match=argument):
        made(cyrnn, "SimpleRNNCell", **{argument: np.nan})


@pytest.mark.parametrize("seed", [None, 0, 1, True, 2**32 - 1])
def test_seeds_are_none_or_python_ints(seed):
    """None draws one in 1...1e9 from Python's `random`, and the config keeps None."""

    def make(module):
        python_random.seed(5)
        cell = module.layers.SimpleRNNCell(3, seed=seed)
        state = cell.seed_generator.state
        return cell.seed, cell.get_config()["seed"], np.asarray(getattr(state, "value", state)).tolist()

    ours, theirs = both(make)
    assert ours == theirs
    assert ours[:2] == (seed, seed) and 0 <= ours[2][0] < 2**32


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "SimpleRNN"])
def test_a_seed_generator_is_no_seed_of_a_layer(class_name):
    refused_alike(lambda m: made(m, class_name, seed=m.random.SeedGenerator(1)))
