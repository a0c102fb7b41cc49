"""Wrong arguments: what Keras rejects, cyrnn rejects with the same type of exception, or with a subclass of it."""

import json

import numpy as np
import pytest
from parity.twins import from_keras_json, keras, keras_json

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
BATCH, TIMESTEPS, FEATURES, UNITS = 2, 3, 4, 5
X = np.ones((BATCH, TIMESTEPS, FEATURES), "float32")
H = np.ones((BATCH, UNITS), "float32")


def cell(m, **options):
    built = m.layers.SimpleRNNCell(**{"units": UNITS, **options})
    built.build((BATCH, FEATURES))
    return built


def rnn(m, **options):
    built = m.layers.RNN(m.layers.SimpleRNNCell(UNITS), **options)
    built.build(X.shape)
    return built


def simple(m, **options):
    built = m.layers.SimpleRNN(**{"units": UNITS, **options})
    built.build(X.shape)
    return built


def sequential(m, *layers):
    return m.Sequential([m.Input((TIMESTEPS, FEATURES)), *layers])


def reader(m):
    return cyrnn.from_json if m is cyrnn else from_keras_json


def read(m, **changes):
    """Read the config of a SimpleRNN after these changes of it."""
    config = json.loads(keras_json(keras.layers.SimpleRNN(3)))
    return reader(m)(json.dumps({**config, "config": {**config["config"], **changes}}))


class NoCall:
    state_size = 3


class NoStateSize:
    def call(self, inputs, states):
        return inputs, states


class WrongStateSize(NoStateSize):
    state_size = "3"


class NoneAsStateSize(NoStateSize):
    state_size = None


# Constructor arguments, tried on the cell and on SimpleRNN (and built, as Keras finds some of them out only then).
ARGUMENTS = [
    *({"units": units} for units in (0, -1, 2.5, "3", None, [3])),
    *({"activation": activation} for activation in ("nothing", "TANH", 3)),
    *({f"{weight}_initializer": bad} for weight in ("kernel", "recurrent", "bias") for bad in ("nothing", 3)),
    *({f"{weight}_regularizer": bad} for weight in ("kernel", "recurrent", "bias") for bad in ("l1_l2", 3)),
    *({f"{weight}_constraint": bad} for weight in ("kernel", "recurrent", "bias") for bad in ("maxnorm", 3)),
    {"kernel_initializer": np.ones((2, 2), "float32")},
    {"bias_initializer": "orthogonal"},
    *({"dropout": rate} for rate in ("0.5", None, [0.5])),
    *({"recurrent_dropout": rate} for rate in ("0.5", None, [0.5])),
    *({"seed": seed} for seed in (1.5, "a", np.int64(3), [1], -1, 2**32)),
    *({"name": name} for name in ("a/b", 3)),
    *({"trainable": value} for value in (1, "yes", None)),
    *({"dtype": dtype} for dtype in ("nothing", 3)),
    *({key: None} for key in ("time_major", "implementation", "batch_input_shape", "weights", "unit")),
]
OF_THE_CELL_ALONE = [{"activity_regularizer": "l1_l2"}, {"return_sequences": True}, {"unroll": True}]

CALLS = {
    # ---- the cell
    "cell: no states": lambda m: cell(m)(X[:, 0]),
    "cell: states None": lambda m: cell(m)(X[:, 0], None),
    "cell: states []": lambda m: cell(m)(X[:, 0], []),
    "cell: a list as input": lambda m: cell(m)([[1.0] * FEATURES] * BATCH, H),
    "cell: None as input": lambda m: cell(m)(None, H),
    "cell: too many features": lambda m: cell(m)(np.ones((BATCH, 9), "float32"), H),
    "cell: too wide a state": lambda m: cell(m)(X[:, 0], np.ones((BATCH, 9), "float32")),
    "cell: a state of other rows": lambda m: cell(m)(X[:, 0], np.ones((BATCH + 1, UNITS), "float32")),
    "cell: initial state of no batch size": lambda m: cell(m).get_initial_state(),
    "cell: initial state of a negative batch": lambda m: cell(m).get_initial_state(-1),
    "cell: unknown argument": lambda m: cell(m)(X[:, 0], H, mask_=None),
    # ---- RNN and its cell
    "RNN: no cell": lambda m: m.layers.RNN(),
    "RNN: None as cell": lambda m: m.layers.RNN(None),
    "RNN: an int as cell": lambda m: m.layers.RNN(3),
    "RNN: a cell without call": lambda m: m.layers.RNN(NoCall()),
    "RNN: a cell without state_size": lambda m: m.layers.RNN(NoStateSize()),
    "RNN: a cell with a str as state_size": lambda m: m.layers.RNN(WrongStateSize()),
    "RNN: a cell with None as state_size": lambda m: m.layers.RNN(NoneAsStateSize()),
    "RNN: unknown argument": lambda m: rnn(m, time_major=True),
    "RNN: name with a slash": lambda m: rnn(m, name="a/b"),
    "RNN: trainable=1": lambda m: rnn(m, trainable=1),
    "RNN: unknown activity regularizer": lambda m: rnn(m, activity_regularizer="l1_l2"),
    # ---- sequences
    "RNN: no timestep": lambda m: rnn(m)(X[:, :0]),
    "SimpleRNN: no timestep": lambda m: simple(m)(X[:, :0]),
    "SimpleRNN: no timestep, unrolled": lambda m: simple(m, unroll=True)(X[:, :0]),
    "RNN: two axes": lambda m: rnn(m)(X[0]),
    "SimpleRNN: two axes": lambda m: simple(m)(X[0]),
    "SimpleRNN: four axes": lambda m: simple(m)(X[None]),
    "RNN: too many features": lambda m: rnn(m)(np.ones((2, 3, 9), "float32")),
    "SimpleRNN: too many features": lambda m: simple(m)(np.ones((2, 3, 9), "float32")),
    "SimpleRNN: a list": lambda m: simple(m)(X.tolist()),
    "SimpleRNN: None": lambda m: simple(m)(None),
    "SimpleRNN: a str": lambda m: simple(m)("abc"),
    "SimpleRNN: unknown argument": lambda m: simple(m)(X, constants=None),
    # ---- states and masks
    "SimpleRNN: too wide an initial state": lambda m: simple(m)(X, initial_state=np.ones((2, 9), "float32")),
    "SimpleRNN: initial state of other rows": lambda m: simple(m)(X, initial_state=np.ones((3, UNITS), "float32")),
    "SimpleRNN: initial state []": lambda m: simple(m)(X, initial_state=[]),
    "SimpleRNN: mask of one axis": lambda m: simple(m)(X, mask=np.ones(TIMESTEPS, bool)),
    "SimpleRNN: mask of other rows": lambda m: simple(m)(X, mask=np.ones((3, TIMESTEPS), bool)),
    "SimpleRNN: a list as mask": lambda m: simple(m)(X, mask=[[True] * TIMESTEPS] * BATCH),
    "SimpleRNN: stateful, another batch": lambda m: simple(m, stateful=True)(X[:1]),
    "SimpleRNN: stateful, unknown batch": lambda m: m.layers.SimpleRNN(3, stateful=True).build((None, 3, 4)),
    "SimpleRNN: reset_state of something": lambda m: simple(m, stateful=True).reset_state(H),
    # ---- weights
    "build for unknown features": lambda m: m.layers.SimpleRNN(3).build((2, 3, None)),
    "set_weights: too few": lambda m: simple(m).set_weights([np.ones((FEATURES, UNITS))]),
    "set_weights: of another shape": lambda m: simple(m).set_weights([w.T[:1] for w in simple(m).get_weights()]),
    "set_weights before build": lambda m: m.layers.SimpleRNN(3).set_weights([np.ones((4, 3))]),
    "count_params before build": lambda m: m.layers.SimpleRNN(3).count_params(),
    # ---- the other layers
    "Dense: units 0": lambda m: m.layers.Dense(0),
    "Dense: units -1": lambda m: m.layers.Dense(-1),
    "Dense: units 2.5": lambda m: m.layers.Dense(2.5),
    "Dense: unknown activation": lambda m: m.layers.Dense(3, "nothing"),
    "Dense: too many features": lambda m: sequential(m, m.layers.Dense(2))(np.ones((2, 3, 9), "float32")),
    "Dropout: rate 1.5": lambda m: m.layers.Dropout(1.5),
    "Dropout: rate -0.1": lambda m: m.layers.Dropout(-0.1),
    "Dropout: rate as str": lambda m: m.layers.Dropout("0.5"),
    "Activation: unknown": lambda m: m.layers.Activation("nothing"),
    "Activation: none given": lambda m: m.layers.Activation(),
    "Embedding: no output_dim": lambda m: m.layers.Embedding(3),
    "Embedding: unknown initializer": lambda m: m.layers.Embedding(3, 2, "nothing"),
    "Embedding: index too large": lambda m: m.layers.Embedding(3, 2)(np.array([[1, 3]])),
    "Input: no shape": lambda m: m.Input(),
    "Input: shape and batch_shape": lambda m: m.Input((3,), batch_shape=(1, 3)),
    "Input: a negative axis": lambda m: m.Input((-1, 3)),
    # ---- Sequential
    "Sequential: not a layer": lambda m: m.Sequential([3]),
    "Sequential: a function": lambda m: m.Sequential([np.tanh]),
    "Sequential: twice the same name": lambda m: sequential(m, *[m.layers.Dense(2, name="a") for _ in range(2)]),
    "Sequential: an RNN after the last output": lambda m: sequential(m, simple(m), m.layers.SimpleRNN(2)),
    "Sequential: inputs of other features": lambda m: sequential(m, simple(m))(np.ones((2, 3, 9), "float32")),
    # ---- configs
    "config: not JSON": lambda m: reader(m)("{"),
    "config: unknown class": lambda m: reader(m)('{"class_name": "Nothing", "config": {}, "module": "keras.layers"}'),
    "config: unknown argument": lambda m: read(m, nothing=3),
    "config: units 0": lambda m: read(m, units=0),
    "config: unknown initializer": lambda m: read(m, kernel_initializer={"class_name": "Nothing", "config": {}}),
    "config: unknown activation": lambda m: read(m, activation="nothing"),
    "config: dtype nothing": lambda m: read(m, dtype="nothing"),
}


def cases():
    for make in (cell, simple):
        for arguments in ARGUMENTS + (OF_THE_CELL_ALONE if make is cell else []):
            ((key, value),) = arguments.items()
            shown = "an array" if isinstance(value, np.ndarray) else repr(value)
            yield f"{make.__name__}: {key}={shown}", lambda m, make=make, arguments=arguments: make(m, **arguments)
    yield from CALLS.items()


CASES = dict(cases())
DELIBERATE = {  # another type than Keras', and why
    "SimpleRNN: reset_state of something": "accepted: as in Keras 2, it sets the states",
    "SimpleRNN: initial state []": "as other wrong states; Keras does not check them",
    "SimpleRNN: mask of one axis": "as other wrong masks; Keras does not check them",
    "SimpleRNN: a list as mask": "accepted: whatever NumPy can view as an array is a mask",
    "Embedding: index too large": "Keras' type depends on its backend: IndexError on NumPy, TensorFlow's own there",
}


def error_of(run, module):
    """The exception that ``run(module)`` ends in, or None."""
    try:
        run(module)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("case", CASES)
def test_errors(case):
    ours, theirs = (error_of(CASES[case], module) for module in (cyrnn, keras))
    assert theirs is not None, "Keras takes this: it is no case for this table"
    assert str(ours)  # it says something
    same = isinstance(ours, next(base for base in type(theirs).__mro__ if base.__module__ == "builtins"))
    if case in DELIBERATE:
        assert isinstance(ours, ValueError) or DELIBERATE[case].startswith("accepted")
        assert not same, "no difference any more: take it off the list"
    else:
        assert same, f"Keras raises {theirs!r}, cyrnn {ours!r}"
