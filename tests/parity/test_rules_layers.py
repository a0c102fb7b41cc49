"""Rules of what all layers take and show: names, dtypes, keyword arguments, attributes; and which cells RNN takes."""

import inspect

import numpy as np
import pytest
from parity.rules import CLASSES, UNITS, X, both, built, made, refused_alike
from parity.twins import assert_same, keras

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
OF_THE_CELL = [name for name in inspect.signature(cyrnn.layers.SimpleRNNCell).parameters if name != "kwargs"]

# ---------------------------------------------------------------- attributes


@pytest.mark.parametrize("name", OF_THE_CELL)
def test_a_simple_rnn_shows_its_cell_s_arguments_and_they_are_read_only(name):
    """`seed` too, which Keras' SimpleRNN does not show."""
    for module in (cyrnn, keras):
        layer = made(module, "SimpleRNN", seed=4, dropout=0.5)
        if name == "seed":
            assert hasattr(layer, name) is (module is cyrnn)
        else:
            assert getattr(layer, name) is getattr(layer.cell, name)
        if name != "seed" or module is cyrnn:
            with pytest.raises(AttributeError):
                setattr(layer, name, 3)


def test_attributes_of_a_cell():
    for cell in both(lambda m: m.layers.SimpleRNNCell(UNITS, seed=2)):
        assert cell.units == cell.state_size == cell.output_size == UNITS
        assert cell.seed == 2 and not cell.built and cell.weights == []
        assert all(hasattr(cell, name) for name in [*OF_THE_CELL, "seed_generator", "built", "name"])
    for cell in both(lambda m: built(m, "SimpleRNNCell")):
        assert cell.built
        assert [tuple(w.shape) for w in (cell.kernel, cell.recurrent_kernel, cell.bias)] == [(4, 5), (5, 5), (5,)]


def test_state_sizes():
    """One int is a list of one, and `single_state` is True; a list stays a list."""
    assert made(cyrnn, "RNN").single_state is made(keras, "RNN").single_state is True
    assert made(cyrnn, "RNN").state_size == made(keras, "RNN").state_size == [UNITS]
    for module in (cyrnn, keras):
        rnn = module.layers.RNN(TwoStates())
        assert rnn.single_state is False and list(rnn.state_size) == [4, 1]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("name", ["", "a b", "été", "a.b", "-"])
def test_any_string_without_a_slash_is_a_name(class_name, name):
    ours, theirs = both(lambda m: made(m, class_name, name=name).name)
    assert ours == theirs == name


@pytest.mark.parametrize(
    "class_name", ["Reader", "HTTPReader2D", "MyRNN", "L1L2", "ABCdef", "aB", "My_Reader", "X2Y", "ÉtéRNN", "ReaderV2"]
)
def test_default_names_are_the_snake_case_of_the_class_and_numbered(class_name):
    def make(module):
        cls = type(class_name, (module.layers.SimpleRNN,), {})
        explicit = {1: {"name": "mine"}}  # takes no number
        return [cls(3, **explicit.get(index, {})).name for index in range(4)]

    ours, theirs = both(make)
    assert ours == theirs
    assert ours[2:] == [f"{ours[0]}_1", f"{ours[0]}_2"]


@pytest.mark.parametrize("class_name", CLASSES)
def test_default_names_of_the_layers_themselves(class_name):
    base = {"SimpleRNNCell": "simple_rnn_cell", "RNN": "rnn", "SimpleRNN": "simple_rnn"}[class_name]
    for module in (cyrnn, keras):
        first, second = (made(module, class_name).name for _ in range(2))
        number = int(first.removeprefix(base).removeprefix("_") or 0)
        assert second == f"{base}_{number + 1}"


def test_the_cell_in_a_simple_rnn_is_always_called_simple_rnn_cell():
    for module in (cyrnn, keras):
        before = module.layers.SimpleRNNCell(3).name
        layers = [module.layers.SimpleRNN(3) for _ in range(2)]
        assert {layer.cell.name for layer in layers} == {"simple_rnn_cell"}
        after = module.layers.SimpleRNNCell(3).name
        assert int(after.split("_")[-1]) - int([*before.split("_"), "0"][3]) == 1  # they took no number


# ---------------------------------------------------------------- keyword arguments

UNKNOWN = ["time_major", "implementation", "batch_input_shape", "weights", "constants", "input_length", "Units"]


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("argument", [*UNKNOWN, "seeds", "states", "batch_size"])
def test_other_keyword_arguments_are_refused_by_name(class_name, argument):
    for value in (None, True, 3):
        message = refused_alike(lambda m, value=value: made(m, class_name, **{argument: value}))
        assert argument in message and class_name in message


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("value", [np.True_, 0, 1, None, "True", [], 1.0])
def test_trainable_is_a_real_bool(class_name, value):
    refused_alike(lambda m: made(m, class_name, trainable=value))


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("trainable", [True, False])
def test_trainable_of_a_simple_rnn_is_its_cell_s_too(class_name, trainable):
    ours, theirs = both(lambda m: built(m, class_name, trainable=trainable))
    assert ours.trainable is theirs.trainable is trainable
    assert len(ours.trainable_weights) == len(theirs.trainable_weights) == (3 if trainable else 0)
    if class_name == "SimpleRNN":
        assert ours.cell.trainable is theirs.cell.trainable is trainable


@pytest.mark.parametrize("class_name", CLASSES)
def test_autocast_is_accepted(class_name):
    ours, theirs = both(lambda m: made(m, class_name, autocast=False).autocast)
    assert ours is theirs is False


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("option", [{"input_shape": (3, 4)}, {"input_dim": 4}])
def test_input_shape_and_input_dim_are_accepted_with_a_warning(class_name, option):
    for module in (cyrnn, keras):
        with pytest.warns(UserWarning, match=next(iter(option)) if module is cyrnn else "input_shape"):
            layer = made(module, class_name, **option)
        assert not layer.built and not set(option) & set(layer.get_config())


@pytest.mark.parametrize("class_name", ["SimpleRNNCell", "RNN"])
@pytest.mark.parametrize("regularizer", ["nothing", 3, "l1_l2", [1]])
def test_unknown_activity_regularizers_are_refused(class_name, regularizer):
    refused_alike(lambda m: made(m, class_name, activity_regularizer=regularizer))


# ---------------------------------------------------------------- dtypes


POLICIES = ["float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"]
FORMS = {
    "None": None,
    "float": float,
    "a NumPy type": np.float64,
    "a NumPy dtype": np.dtype("float64"),
    "a dict": {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}, "module": "keras"},
}


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_dtype(class_name, form):
    dtype = FORMS[form]
    dtype = {**dtype, "registered_name": None} if isinstance(dtype, dict) else dtype
    ours, theirs = both(lambda m: made(m, class_name, dtype=dtype).dtype_policy.name)
    assert ours == theirs


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize(
    "dtype", ["", "float", "Float32", "float8", "mixed_float32", "mixed", 3, [], "int8", np.str_("?")]
)
def test_dtypes_that_are_refused(class_name, dtype):
    refused_alike(lambda m: made(m, class_name, dtype=dtype))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "complex64"])
def test_dtypes_that_no_weight_can_have_are_refused_at_once(dtype):
    """Keras takes them, and fails when it calls the cell or makes the weights."""
    made(keras, "SimpleRNNCell", dtype=dtype)
    with pytest.raises(ValueError, match=f"dtype.*{dtype}"):
        made(cyrnn, "SimpleRNNCell", dtype=dtype)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_a_policy_says_of_weights_results_and_states(policy):
    """One type for all; mixed policies have float32 weights and 16-bit results."""
    options = {"dtype": policy, "recurrent_initializer": "zeros"}  # Keras has no orthogonal float16 on NumPy
    ours, theirs = both(lambda m: built(m, "SimpleRNN", **options, return_state=True))
    assert [w.dtype for w in ours.get_weights()] == [w.dtype for w in theirs.get_weights()]
    assert [a.dtype for a in ours(X)] == [np.asarray(a).dtype for a in theirs(X)]
    states, states_theirs = (layer.cell.get_initial_state(2) + layer.get_initial_state(2) for layer in (ours, theirs))
    assert_same(states, states_theirs, tolerance=0)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "int32", "int64", "uint8", "bool"])
def test_results_have_the_compute_dtype_whatever_the_input_is(dtype, policy):
    """Integers and bools come out as floats too. Keras rounds each step of 16-bit policies, cyrnn the result."""
    x = np.abs(2 * X).astype(dtype)
    options = {"dtype": policy, "recurrent_initializer": "zeros", "return_sequences": True}
    ours, theirs = both(lambda m: built(m, "SimpleRNN", **options))
    weights = [np.random.default_rng(3).uniform(-0.3, 0.3, w.shape) for w in ours.weights]
    for layer in (ours, theirs):
        layer.set_weights(weights)
    tolerance = {"float32": 2e-6, "float64": 1e-12}.get(policy, 0.02 if "bfloat16" in policy else 3e-3)
    ours, theirs = ours(x), np.asarray(theirs(x))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours.astype("float64"), theirs.astype("float64"), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("of_the_cell", "of_the_rnn"), [("float64", "float32"), ("float32", "float64")])
def test_states_have_the_cell_s_dtype_inside_and_results_the_layer_s(of_the_cell, of_the_rnn):
    def make(module):
        cell = module.layers.SimpleRNNCell(UNITS, dtype=of_the_cell)
        rnn = module.layers.RNN(cell, dtype=of_the_rnn, return_state=True, return_sequences=True)
        rnn.build(X.shape)
        rnn.set_weights([np.random.default_rng(4).uniform(-0.3, 0.3, w.shape) for w in rnn.weights])
        return rnn

    ours, theirs = both(make)
    h = np.full((2, UNITS), 1 / 3)
    assert_same(ours(X, initial_state=h), theirs(X, initial_state=h), tolerance=2e-6)
    assert ours(X)[0].dtype == of_the_rnn and ours.cell.get_initial_state(2)[0].dtype == of_the_cell


# ---------------------------------------------------------------- the cell of an RNN


class Sums:
    """A cell that is no Layer. Keras calls the object itself, and asks for `compute_dtype`; cyrnn needs neither."""

    state_size = 4
    compute_dtype = "float32"

    def call(self, inputs, states):
        return inputs + states[0], [inputs + states[0]]

    def __call__(self, inputs, states):
        return self.call(inputs, states)


class Narrow(Sums):
    output_size = 2

    def call(self, inputs, states):
        output, states = super().call(inputs, states)
        return output[:, :2], tuple(states)


class TwoStates(Sums):
    state_size = (4, 1)

    def call(self, inputs, states):
        output, (total,) = super().call(inputs, states)
        return output, [total, states[1] + 1]

    def get_initial_state(self, batch_size=None):
        return [np.ones((batch_size, 4), "float32"), np.zeros((batch_size, 1), "float32")]


@pytest.mark.parametrize("mask", [None, np.array([[1, 0, 1], [0, 1, 1]], bool)], ids=["no mask", "mask"])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("cell", [Sums, Narrow, TwoStates])
def test_a_cell_need_not_be_a_layer(cell, go_backwards, mask):
    """`output_size` and `get_initial_state` are optional: the first state's size, and zeros."""
    ours, theirs = both(
        lambda m: m.layers.RNN(cell(), go_backwards=go_backwards, return_sequences=True, return_state=True)
    )
    theirs.unroll = True  # NumPy's plain loop takes the first state for the output before
    assert_same(ours(X, mask=mask), theirs(X, mask=mask))
    for layer in (ours, theirs):
        layer.return_state = layer.return_sequences = False
    assert_same(ours(X), np.asarray(theirs(X)))


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("cell", [Sums, Narrow, TwoStates])
def test_the_announced_shape_is_that_of_output_size_or_of_the_first_state(cell, return_sequences):
    options = {"return_sequences": return_sequences, "return_state": True}
    ours, theirs = both(lambda m: m.layers.RNN(cell(), **options).compute_output_shape((2, 3, 4)))
    assert tuple(ours) == tuple(theirs)


@pytest.mark.parametrize("training", [None, False, True])
@pytest.mark.parametrize("takes_training", [False, True])
def test_a_cell_of_one_s_own_class_is_told_of_training_if_its_call_takes_it(takes_training, training):
    def make(module):
        class Doubles(module.layers.SimpleRNNCell):
            def call(self, sequence, states):
                return 2 * sequence, [sequence]

        class Doubts(module.layers.SimpleRNNCell):
            def call(self, sequence, states, training=False):
                return (-1.0 if training else 1.0) * sequence, [sequence]

        cell = (Doubts if takes_training else Doubles)(4)
        given = {} if training is None else {"training": training}
        rnn = module.layers.RNN(cell, return_sequences=True, return_state=True)
        return rnn(X, **given), tuple(cell(X[:, 0], [X[:, 0]], **given))

    ours, theirs = both(make)
    for a, b in zip(ours, theirs, strict=True):
        assert_same(a, b)


def test_four_axes_are_refused_for_a_simple_rnn_cell():
    """Keras hands each (batch, ..., features) to the cell, whose products happen to take it."""
    assert np.asarray(built(keras, "RNN")(X[None])).shape == (1, 3, UNITS)
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\)"):
        built(cyrnn, "RNN")(X[None])
