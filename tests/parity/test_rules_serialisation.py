"""Rules of configs: keys and their order, forms of old and new ones, what custom classes become, what is never run."""

import copy
import json

import numpy as np
import pytest
from golden.make_keras_objects import error_of
from parity.rules import UNITS, X, both, built, made
from parity.test_configs import plain
from parity.twins import assert_same, from_keras_json, keras, keras_json

import cyrnn

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # in Keras, as the next
    pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning"),
]
CLASSES = ["SimpleRNNCell", "RNN", "SimpleRNN"]
H = np.zeros((2, UNITS), "float32")


def text_of(layer):
    return layer.to_json() if isinstance(layer, cyrnn.layers.Layer) else keras_json(layer)


def with_weights(layer, weights):
    layer.set_weights(weights)
    return layer


# ---------------------------------------------------------------- the envelope and its config


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("class_name", CLASSES)
def test_an_envelope_names_module_and_class_and_how_it_was_built(class_name, known):
    """Key by key in the order of Keras, `build_config` last and only if it is built."""
    shape = {"SimpleRNNCell": (None, 4)}.get(class_name, (None, None, 4))
    texts = []
    for layer in both(lambda m: made(m, class_name, name="layer")):
        if class_name == "RNN":
            layer.cell.name = "cell"
        if known:
            layer.build(shape)
        texts.append(json.loads(text_of(layer)))
    ours, theirs = texts
    assert json.dumps(plain(ours)) == json.dumps(plain(theirs))
    assert ("build_config" in ours) is known
    assert (ours["module"], ours["class_name"], ours["registered_name"]) == ("keras.layers", class_name, None)


@pytest.mark.parametrize("class_name", CLASSES)
def test_the_keys_of_a_config_stand_in_the_order_of_keras(class_name):
    """SimpleRNN has one more at the end, the `seed` that Keras forgets."""
    ours, theirs = both(lambda m: list(made(m, class_name).get_config()))
    assert ours == theirs + (["seed"] if class_name == "SimpleRNN" else [])


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "RNN"])
def test_an_activity_regularizer_is_a_key_only_if_there_is_one(class_name):
    for given in (None, "l2"):
        ours, theirs = both(lambda m, given=given: made(m, class_name, activity_regularizer=given).get_config())
        assert list(ours) == list(theirs)
        assert ("activity_regularizer" in ours) is (given is not None)


def test_null_axes_are_left_out():
    """Keras writes them since 3.15, and before that refuses them."""
    ours, theirs = both(lambda m: m.initializers.serialize(m.initializers.GlorotUniform(3))["config"])
    assert ours == {"seed": 3}
    assert theirs == {"seed": 3, "input_axes": None, "output_axes": None}


def test_keras_forgets_the_gain_of_an_identity():
    ours, theirs = both(lambda m: m.initializers.serialize(m.initializers.Identity(2.0))["config"])
    assert ours == {"gain": 2.0} and theirs == {}
    assert keras.initializers.Identity.from_config(ours).gain == 2


def test_keras_rounds_the_factor_of_l1():
    ours, theirs = both(lambda m: m.regularizers.L1().get_config()["l1"])
    assert ours == 0.01
    assert theirs == float(np.float32(0.01))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("class_name", ["RNN", "SimpleRNN"])
def test_a_layer_first_called_with_an_initial_state_is_built_from_its_config(class_name):
    """Keras then writes the shapes of all its arguments."""
    theirs = made(keras, class_name)
    theirs(X, initial_state=H)
    text = keras_json(theirs)
    assert set(json.loads(text)["build_config"]) == {"shapes_dict"}
    read = cyrnn.from_json(text)
    assert read.built
    assert_same(with_weights(read, theirs.get_weights())(X, initial_state=H), np.asarray(theirs(X, initial_state=H)))


@pytest.mark.parametrize("class_name", CLASSES)
def test_from_config_leaves_the_config_as_it_is(class_name):
    """Keras takes the cell out of that of an RNN, so that it cannot be used again."""
    for module in (cyrnn, keras):
        cls = getattr(module.layers, class_name)
        config = made(module, class_name).get_config()
        before = copy.deepcopy(config)
        cls.from_config(config)
        if module is keras and class_name == "RNN":
            assert error_of(cls.from_config, config) == "KeyError"
        else:
            assert config == before
            assert cls.from_config(config).get_config() == before


DTYPES = ["float16", "float64", "mixed_float16", None, {"class_name": "DTypePolicy", "config": {"name": "float64"}}]


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_dtype_may_be_a_plain_string_or_null(class_name, dtype):
    config = {**json.loads(text_of(made(keras, class_name)))}
    config["config"]["dtype"] = dtype
    ours, theirs = cyrnn.from_json(json.dumps(config)), from_keras_json(json.dumps(config))
    assert ours.dtype_policy.name == theirs.dtype_policy.name


INITIALIZERS = [
    {"class_name": "GlorotUniform", "config": {"seed": 3}},
    {"class_name": "OrthogonalInitializer", "config": {"gain": 2.0, "seed": 3}},
    {"class_name": "Orthogonal", "config": {"gain": 2.0, "seed": 3}},
    {"class_name": "IdentityInitializer", "config": {"gain": 2.0}},
    {
        "class_name": "VarianceScaling",
        "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": 3},
    },
    {"class_name": "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_in", "distribution": "normal", "seed": 3}},
    {"class_name": "HeNormal", "config": {"seed": 3, "input_axes": None, "output_axes": None}},
    {"class_name": "Constant", "config": {"value": 0.5}, "module": "keras.initializers", "registered_name": None},
    "he_uniform",
    "Ones",
]


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=str)
def test_initializers_of_all_ages_in_a_config(initializer):
    """Without a module, by their old names, as names alone."""
    config = json.loads(text_of(built(keras, "SimpleRNN")))
    config["config"]["recurrent_initializer"] = initializer
    ours, theirs = cyrnn.from_json(json.dumps(config)), from_keras_json(json.dumps(config))
    if initializer == "he_uniform":  # of no seed
        assert type(ours.recurrent_initializer).__name__ == type(theirs.recurrent_initializer).__name__
    else:
        assert_same(ours.get_weights()[1], theirs.get_weights()[1].astype("float32"), tolerance=0)


@pytest.mark.parametrize("extra", [{"dtype": "float32"}, {"nothing": 3}])
def test_unknown_keys_of_an_initializer_are_passed_over(extra):
    """Keras 2 wrote the dtype. Keras 3 refuses it."""
    envelope = {"class_name": "GlorotUniform", "config": {"seed": 3, **extra}}
    assert error_of(keras.initializers.get, envelope) == "TypeError"
    np.testing.assert_array_equal(
        cyrnn.initializers.get(envelope)((3, 4)), np.asarray(keras.initializers.GlorotUniform(3)((3, 4)))
    )


def test_tuples_are_lists_in_json_and_numpy_scalars_numbers():
    """Keras on TensorFlow writes the scalars as numbers too; on NumPy as tensors, which it cannot read again."""

    def make(module):
        constraint = module.constraints.MinMaxNorm(np.float32(0.5), 1.0, axis=(0, 1))
        return built(module, "SimpleRNN", kernel_constraint=constraint, dropout=np.float32(0.5))

    ours, theirs = both(make)
    config = json.loads(ours.to_json())["config"]
    assert config["dropout"] == config["kernel_constraint"]["config"]["min_value"] == 0.5
    assert config["kernel_constraint"]["config"]["axis"] == [0, 1]
    assert json.loads(keras_json(theirs))["config"]["dropout"]["class_name"] == "__tensor__"
    assert error_of(from_keras_json, keras_json(theirs)) == "TypeError"
    w = np.arange(6, dtype="float32").reshape(2, 3)
    for read in (cyrnn.from_json(ours.to_json()), cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json())):
        assert read.dropout == 0.5
        assert_same(np.asarray(read.kernel_constraint(w)), np.asarray(theirs.kernel_constraint(w)))


def test_nan_and_infinity_are_written_as_json_of_python_has_them():
    for value in (np.nan, np.inf):
        ours, theirs = both(lambda m, v=value: built(m, "SimpleRNN", bias_initializer=m.initializers.Constant(v)))
        for text in (text_of(ours), text_of(theirs)):
            assert ("NaN" if np.isnan(value) else "Infinity") in text
            for read in (cyrnn.from_json(text), from_keras_json(text)):
                np.testing.assert_array_equal(read.get_weights()[2], np.full(UNITS, value, "float32"))


# ---------------------------------------------------------------- functions and classes of one's own


def squashed(x):
    return x / (1 + abs(x))


@keras.saving.register_keras_serializable("rules")
def registered(x):
    return 2 * x


class Scaled:
    """An activation with a config, known to nobody."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def get_config(self):
        return {"factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("rules")
class RegisteredScaled(Scaled):
    """Known to Keras as ``rules>RegisteredScaled``."""


@keras.saving.register_keras_serializable()
class InNoPackage(Scaled):
    """Known to Keras as ``Custom>InNoPackage``."""


OWN = {  # what it is; what Keras calls it; the names under which it may be handed in
    "a function": (squashed, "squashed", ["squashed"]),
    "a registered function": (registered, "rules>registered", ["rules>registered", "registered"]),
    "an object": (Scaled(3.0), "Scaled", ["Scaled"]),
    "a registered object": (
        RegisteredScaled(3.0),
        "rules>RegisteredScaled",
        ["rules>RegisteredScaled", "RegisteredScaled"],
    ),
    "an object of no package": (InNoPackage(3.0), "Custom>InNoPackage", ["Custom>InNoPackage", "InNoPackage"]),
}


@pytest.mark.parametrize("case", OWN)
def test_custom_objects_are_found_by_registered_name_and_by_name(case):
    own, registered_name, names = OWN[case]
    theirs = built(keras, "SimpleRNN", activation=own)
    theirs.set_weights([np.random.default_rng(1).uniform(-0.1, 0.1, w.shape) for w in theirs.weights])
    text = keras_json(theirs)
    entry = json.loads(text)["config"]["activation"]
    assert registered_name in (entry["registered_name"], entry["config"])
    with pytest.raises(ValueError, match=registered_name):
        cyrnn.from_json(text)
    for name in names:
        custom = {name: own if callable(own) and not isinstance(own, Scaled) else type(own)}
        read = with_weights(cyrnn.from_json(text, custom_objects=custom), theirs.get_weights())
        assert_same(read(X), np.asarray(theirs(X)))


@pytest.mark.parametrize("case", ["a function", "an object"])
def test_what_is_not_registered_is_written_as_in_keras(case):
    ours, theirs = both(lambda m: made(m, "SimpleRNNCell", activation=OWN[case][0]).get_config()["activation"])
    assert ours == theirs


@pytest.mark.parametrize("base", ["SimpleRNNCell", "SimpleRNN"])
def test_classes_of_one_s_own(base):
    """Keras names them by its registry, cyrnn by class; both are read, here and there."""
    ours_cls, theirs_cls = both(lambda m: type("Mine", (getattr(m.layers, base),), {}))
    keras.saving.register_keras_serializable("rules")(theirs_cls)
    theirs = theirs_cls(UNITS)
    theirs.build(X.shape if base == "SimpleRNN" else X[:, 0].shape)
    text = keras_json(theirs)
    assert json.loads(text)["registered_name"] == "rules>Mine"
    with pytest.raises(ValueError, match="rules>Mine"):
        cyrnn.from_json(text)
    for name in ("rules>Mine", "Mine"):
        read = cyrnn.from_json(text, custom_objects={name: ours_cls})
        assert type(read) is ours_cls and read.built
        envelope = json.loads(read.to_json())
        assert (envelope["class_name"], envelope["registered_name"]) == ("Mine", "Mine")
        with keras.saving.custom_object_scope({"Mine": theirs_cls}):
            assert type(from_keras_json(read.to_json())) is theirs_cls


UNKNOWN = {
    "of Keras, with a module": {
        "class_name": "Nothing",
        "config": {},
        "module": "keras.layers",
        "registered_name": None,
    },
    "without a module": {"class_name": "Nothing", "config": {}},
    "of another package": {"class_name": "N", "config": {}, "module": "elsewhere", "registered_name": "p>N"},
    "a function": {"class_name": "function", "config": "nothing", "module": "builtins", "registered_name": "function"},
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_classes_and_functions_are_value_errors(case):
    """Keras raises TypeError for most of them."""
    assert error_of(keras.activations.get, UNKNOWN[case]) in ("TypeError", "ValueError")
    assert error_of(cyrnn.activations.get, UNKNOWN[case]) == "ValueError"
    config = json.loads(text_of(built(keras, "SimpleRNN")))
    config["config"]["activation"] = UNKNOWN[case]
    with pytest.raises(ValueError, match="nothing|Nothing|p>N"):
        cyrnn.from_json(json.dumps(config))


# ---------------------------------------------------------------- lambdas


@pytest.mark.parametrize("custom_objects", [None, {"<lambda>": np.tanh, "__lambda__": np.tanh}])
@pytest.mark.parametrize("argument", ["activation", "kernel_initializer", "kernel_regularizer", "kernel_constraint"])
def test_lambdas_of_keras_are_never_run(argument, custom_objects):
    """Keras writes them as marshalled code."""
    theirs = made(keras, "SimpleRNN", **{argument: lambda *args, **kwargs: 1 / 0})
    entry = json.loads(keras_json(theirs))["config"][argument]
    assert "value" in json.dumps(entry)
    with pytest.raises(ValueError, match="lambda"):
        cyrnn.from_json(keras_json(theirs), custom_objects=custom_objects)


def test_lambdas_are_written_without_their_code():
    """Who wants it back hands it in by that name."""
    ours = built(cyrnn, "SimpleRNN", activation=lambda x: 2 * x)
    entry = json.loads(ours.to_json())["config"]["activation"]
    assert entry["config"] == "<lambda>"
    with pytest.raises(ValueError, match="<lambda>"):
        cyrnn.from_json(ours.to_json())
    read = cyrnn.from_json(ours.to_json(), custom_objects={"<lambda>": lambda x: 2 * x})
    np.testing.assert_array_equal(with_weights(read, ours.get_weights())(X), ours(X))
