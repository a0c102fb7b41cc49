"""Configs between cyrnn and Keras, both ways; and what regularizers, constraints, shapes and masks make of them."""

import json

import numpy as np
import pytest
from parity.twins import assert_same, from_keras_json, hypothesis, keras, keras_json, random_settings, twins

import cyrnn

st = hypothesis.strategies
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
SHAPE = (3, 4, 5)  # batch, timesteps, features
X = np.random.default_rng(0).standard_normal(SHAPE).astype("float32")


def obj(module, spec):
    """``module.namespace.name(**kwargs)`` of a spec (namespace, name, kwargs); anything else is itself."""
    if not isinstance(spec, tuple):
        return spec
    namespace, name, kwargs = spec
    return getattr(getattr(module, namespace), name)(**kwargs)


def maker(kind, of_the_cell, of_the_layer):
    """A function from module (Keras or cyrnn) to a layer."""

    def make(module):
        cell = {key: obj(module, spec) for key, spec in of_the_cell.items()}
        layer = {key: obj(module, spec) for key, spec in of_the_layer.items()}
        if kind == "SimpleRNN":
            return module.layers.SimpleRNN(**{**cell, **layer})
        cell = module.layers.SimpleRNNCell(**{"name": "cell", **cell})
        return cell if kind == "SimpleRNNCell" else module.layers.RNN(cell, **layer)

    return make


FORGOTTEN_BY_KERAS = {"SimpleRNN": ("seed",), "Identity": ("gain",)}
REFUSED_BEFORE_KERAS_3_15 = ("input_axes", "output_axes")  # cyrnn leaves them out where they are null
ROUNDED_BY_KERAS = ("l1", "factor")  # to float32


def plain(config, class_name=None):
    """A parsed config without what cyrnn writes in another way on purpose."""
    if isinstance(config, list):
        return [plain(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    dropped = FORGOTTEN_BY_KERAS.get(class_name, ())
    return {
        key: float(np.float32(value)) if key in ROUNDED_BY_KERAS else plain(value, config.get("class_name"))
        for key, value in config.items()
        if key not in dropped and not (key in REFUSED_BEFORE_KERAS_3_15 and value is None)
    }


# ---------------------------------------------------------------- configs at random

SEEDS = st.none() | st.integers(0, 2**32 - 1)
RATES = st.sampled_from([0.0, 0.0, 0.25, 0.5])


def specs(namespace, **classes):
    """A strategy for specs of these classes, each with strategies for its arguments."""
    return st.one_of(
        *[
            st.tuples(st.just(namespace), st.just(name), st.fixed_dictionaries({}, optional=args))
            for name, args in classes.items()
        ]
    )


FACTOR = st.sampled_from([0.0, 0.01, 0.3])
INITIALIZERS = specs(
    "initializers",
    **{name: {"seed": SEEDS} for name in ("GlorotUniform", "GlorotNormal", "HeNormal", "LecunUniform")},
    VarianceScaling={
        "scale": st.sampled_from([0.5, 2.0]),
        "mode": st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
        "distribution": st.sampled_from(["truncated_normal", "untruncated_normal", "uniform"]),
        "seed": SEEDS,
    },
    RandomNormal={"mean": FACTOR, "stddev": FACTOR, "seed": SEEDS},
    RandomUniform={"minval": st.just(-1.0), "maxval": FACTOR, "seed": SEEDS},
    TruncatedNormal={"mean": FACTOR, "stddev": st.just(0.5), "seed": SEEDS},
    Constant={"value": FACTOR},
    Zeros={},
    Ones={},
)
MATRIX_INITIALIZERS = INITIALIZERS | specs("initializers", Orthogonal={"gain": FACTOR, "seed": SEEDS}, Identity={})
REGULARIZERS = specs("regularizers", L1={"l1": FACTOR}, L2={"l2": FACTOR}, L1L2={"l1": FACTOR, "l2": FACTOR})
MATRIX_REGULARIZERS = REGULARIZERS | specs(
    "regularizers", OrthogonalRegularizer={"factor": FACTOR, "mode": st.sampled_from(["rows", "columns"])}
)
CONSTRAINTS = specs(
    "constraints",
    MaxNorm={"max_value": st.sampled_from([0.3, 2.0]), "axis": st.just(0)},
    MinMaxNorm={"min_value": st.just(0.2), "max_value": st.just(0.6), "rate": st.sampled_from([0.5, 1.0])},
    UnitNorm={"axis": st.just(0)},
    NonNeg={},
)
ACTIVATIONS = st.sampled_from(["tanh", "relu", "linear", "sigmoid", "hard_sigmoid", "swish", "softmax", None])

OF_THE_CELL = st.fixed_dictionaries(
    {"units": st.integers(1, 6), "dropout": RATES, "recurrent_dropout": RATES, "seed": SEEDS},
    optional={
        "activation": ACTIVATIONS,
        "use_bias": st.booleans(),
        "kernel_initializer": MATRIX_INITIALIZERS | st.sampled_from(["he_uniform", "orthogonal"]),
        "recurrent_initializer": MATRIX_INITIALIZERS | st.just("identity"),
        "bias_initializer": INITIALIZERS | st.just("ones"),
        "kernel_regularizer": MATRIX_REGULARIZERS | st.just("l2"),
        "recurrent_regularizer": MATRIX_REGULARIZERS,
        "bias_regularizer": REGULARIZERS | st.just("l1"),
        "kernel_constraint": CONSTRAINTS | st.just("max_norm"),
        "recurrent_constraint": CONSTRAINTS,
        "bias_constraint": CONSTRAINTS | st.just("non_neg"),
        "trainable": st.booleans(),
        "dtype": st.sampled_from(["float32", "float64", None]),
    },
)
FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
OF_THE_LAYER = st.fixed_dictionaries(
    {"name": st.sampled_from(["layer", "a b"])}, optional={flag: st.booleans() for flag in FLAGS}
)
LAYERS = st.builds(maker, st.sampled_from(["SimpleRNN", "RNN", "SimpleRNNCell"]), OF_THE_CELL, OF_THE_LAYER)


def call(layer, **arguments):
    """The layer's result for X; a cell's for its first step, with a state of ones."""
    if hasattr(layer, "cell"):
        return layer(X, **arguments)
    return tuple(layer(X[:, 0], np.ones((3, layer.units), "float32"), **arguments))


def built_twins(make):
    shape = (3, 5) if type(make(cyrnn)).__name__ == "SimpleRNNCell" else SHAPE
    return twins(make, shape, np.random.default_rng(1))


@random_settings(0.5)
@hypothesis.given(LAYERS)
def test_configs_are_the_same_text(make):
    ours, theirs = built_twins(make)
    assert json.dumps(plain(json.loads(ours.to_json()))) == json.dumps(plain(json.loads(keras_json(theirs))))


@pytest.mark.configs
@random_settings(0.5)
@hypothesis.given(LAYERS)
def test_a_config_of_keras_gives_the_same_layer(make):
    _, theirs = built_twins(make)
    read = cyrnn.from_json(keras_json(theirs))
    assert read.built
    read.set_weights(theirs.get_weights())
    assert_same(call(read), call(theirs))
    assert_same(read.losses, theirs.losses, tolerance=1e-5)
    assert [tuple(w.shape) for w in theirs.trainable_weights] == [w.shape for w in read.trainable_weights]


@pytest.mark.configs
@random_settings(0.5)
@hypothesis.given(LAYERS)
def test_keras_reads_a_config_of_cyrnn_as_the_same_layer(make):
    ours, _ = built_twins(make)
    read = from_keras_json(ours.to_json())
    assert read.built
    read.set_weights(ours.get_weights())
    has_seed = getattr(ours, "cell", ours).seed is not None
    assert_same(call(ours, training=has_seed), call(read, training=has_seed))  # the same dropout masks as well
    assert_same(ours.losses, read.losses, tolerance=1e-5)
    again = cyrnn.from_json(ours.to_json())
    assert again.to_json() == ours.to_json()


@random_settings(0.25)
@hypothesis.given(LAYERS)
def test_apply_constraints_does_what_keras_optimizers_do_after_an_update(make):
    ours, theirs = built_twins(make)
    ours.apply_constraints()
    for weight in theirs.weights:
        if weight.constraint is not None:
            weight.assign(weight.constraint(weight))
    assert_same(ours.get_weights(), theirs.get_weights())


def doubled(x):
    return 2 * x


@pytest.mark.configs
@pytest.mark.parametrize("kind", ["SimpleRNN", "RNN", "SimpleRNNCell"])
def test_a_function_of_your_own(kind):
    ours, theirs = built_twins(maker(kind, {"units": 3, "activation": doubled, "seed": 1}, {"name": "layer"}))
    mine = {"doubled": doubled}
    read = cyrnn.from_json(keras_json(theirs), custom_objects=mine)
    with keras.saving.custom_object_scope(mine):
        read_by_keras = from_keras_json(ours.to_json())
    for layer in (read, read_by_keras):
        layer.set_weights(ours.get_weights())
        assert_same(call(ours), tuple(call(layer)) if kind == "SimpleRNNCell" else call(layer))


@pytest.mark.configs
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", None, {"class_name": "DTypePolicy", "config": {"name": "float64"}}]
)
def test_forms_of_a_dtype_in_a_config(dtype):
    theirs = keras.layers.SimpleRNN(3)
    config = {**json.loads(keras_json(theirs)), "build_config": {"input_shape": SHAPE}}
    config["config"]["dtype"] = dtype
    read, read_by_keras = cyrnn.from_json(json.dumps(config)), from_keras_json(json.dumps(config))
    assert read(X).dtype == np.asarray(read_by_keras(X)).dtype


# ---------------------------------------------------------------- losses

L1, L2 = ("regularizers", "L1", {"l1": 0.1}), ("regularizers", "L2", {"l2": 0.2})
ON_WEIGHTS = {"kernel_regularizer": L1, "recurrent_regularizer": L2, "bias_regularizer": ("regularizers", "L2", {})}
ON_ACTIVITY = {"activity_regularizer": L2}
SEQUENCES = {"return_sequences": True, "return_state": True}
LOSSES = {
    "of the weights of a cell": ("SimpleRNNCell", ON_WEIGHTS, {}),
    "of the weights of an RNN": ("RNN", ON_WEIGHTS, {}),
    "of the weights of a SimpleRNN": ("SimpleRNN", ON_WEIGHTS, {}),
    "none where it is frozen": ("SimpleRNN", {**ON_WEIGHTS, "trainable": False}, {}),
    "only the cell is frozen": ("RNN", {**ON_WEIGHTS, "trainable": False}, {}),
    "of a cell's activity": ("SimpleRNNCell", ON_ACTIVITY, {}),
    "of an RNN's activity": ("RNN", ON_WEIGHTS, ON_ACTIVITY),
    "of sequences and states": ("RNN", {}, {**ON_ACTIVITY, **SEQUENCES}),
    "of a cell's activity at each step of an RNN": ("RNN", ON_ACTIVITY, {}),
    "of all of them": ("RNN", {**ON_WEIGHTS, **ON_ACTIVITY}, {"activity_regularizer": L1, **SEQUENCES}),
}


@pytest.mark.parametrize("case", LOSSES)
def test_losses_and_their_order(case):
    kind, of_the_cell, of_the_layer = LOSSES[case]
    ours, theirs = built_twins(maker(kind, {"units": 3, **of_the_cell}, of_the_layer))
    for _ in range(2):  # those of the last call, not of all
        assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)
        call(ours), call(theirs)
    assert len(ours.losses) == len(theirs.losses)


def test_a_simple_rnn_keeps_the_activity_regularizer_that_keras_3_forgets():
    ours, theirs = (m.layers.SimpleRNN(3, activity_regularizer="l2") for m in (cyrnn, keras))
    assert theirs.activity_regularizer is None  # Keras 2 kept it
    ours(X)
    rnn = keras.layers.RNN(keras.layers.SimpleRNNCell(3), activity_regularizer="l2")
    rnn.build(SHAPE)
    rnn.set_weights(ours.get_weights())
    rnn(X)
    assert_same(list(ours.losses), rnn.losses, tolerance=1e-5)


# ---------------------------------------------------------------- shapes and masks


@pytest.mark.parametrize("shape", [(3, 4, 5), (None, 4, 5), (3, None, 5), (None, None, 5)])
@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("kind", ["SimpleRNN", "RNN"])
def test_shapes_and_masks_of_the_output(kind, return_sequences, return_state, shape):
    options = {"return_sequences": return_sequences, "return_state": return_state}
    ours, theirs = (maker(kind, {"units": 7}, options)(module) for module in (cyrnn, keras))
    assert ours.compute_output_shape(shape) == theirs.compute_output_shape(shape)
    for mask in (None, np.ones((3, 4), bool)):
        assert str(ours.compute_mask(X, mask)) == str(theirs.compute_mask(X, mask))
    assert ours.state_size == theirs.state_size
