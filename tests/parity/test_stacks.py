"""StackedRNNCells, lists of cells, and cells of a user's own, against Keras."""

import numpy as np
import pytest
from parity.cells import Averaging, gated
from parity.twins import assert_same, flat, follow_tensorflow, from_keras_json, keras, keras_json, same_weights, twins

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
BATCH, TIMESTEPS, FEATURES = 3, 5, 4
UNITS = (5, 2, 3)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype("float32")
H = [RNG.standard_normal((BATCH, units)).astype("float32") for units in UNITS]
KEEP = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 1, 0, 0]], bool)


def cells(module, *units, **options):
    return [module.layers.SimpleRNNCell(n, **options) for n in units or UNITS]


def stacked(**options):
    """A function from module (Keras or cyrnn) to an RNN over a list of cells."""
    return lambda module: module.layers.RNN(cells(module), **options)


def shape_of(result):
    """The lists and tuples of a result, with shapes for its arrays."""
    if isinstance(result, (list, tuple)):
        return type(result)(shape_of(part) for part in result)
    return np.shape(result)


def both(make, shape=X.shape):
    return twins(make, shape, np.random.default_rng(1))


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("return_sequences", [False, True])
def test_states_come_back_nested_cell_by_cell(return_sequences):
    ours, theirs = both(stacked(return_state=True, return_sequences=return_sequences))
    a, b = ours(X), theirs(X)
    assert shape_of(a) == shape_of(b) == ((3, 5, 3) if return_sequences else (3, 3), [(3, 5)], [(3, 2)], [(3, 3)])
    assert_same(a, b)
    assert shape_of(ours.get_initial_state(2)) == shape_of(theirs.get_initial_state(2)) == [[(2, n)] for n in UNITS]
    assert (ours.state_size, ours.cell.state_size, ours.cell.output_size, ours.single_state) == (
        theirs.state_size,
        theirs.cell.state_size,
        theirs.cell.output_size,
        theirs.single_state,
    )


FORMS = {
    "flat list": lambda h: list(h),
    "flat tuple": lambda h: tuple(h),
    "nested lists": lambda h: [[state] for state in h],
    "nested tuples": lambda h: tuple((state,) for state in h),
    "mixed": lambda h: [h[0], [h[1]], (h[2],)],
}


@pytest.mark.parametrize("form", FORMS)
def test_initial_states_flat_or_nested_give_nested_states(form):
    ours, theirs = both(stacked(return_state=True))
    result = ours(X, initial_state=FORMS[form](H))
    assert_same(flat(result), flat(theirs(X, initial_state=FORMS[form](H))))
    assert shape_of(result[1:]) == ([(3, 5)], [(3, 2)], [(3, 3)])


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_another_number_of_states_is_refused_where_keras_drops_cells(count):
    ours, theirs = both(stacked())
    given = [*H, H[0]][:count]
    with pytest.raises(ValueError, match=f"initial_state must hold 3 arrays, got {count}"):
        ours(X, initial_state=given)
    with pytest.raises(ValueError, match="states"):
        ours.cell(X[:, 0], given)
    if 0 < count < 3:
        assert np.shape(theirs(X, initial_state=given)) == (BATCH, UNITS[count - 1])  # of another cell, and no error


def test_one_cell_in_a_list_has_nested_states_as_on_tensorflow():
    ours, theirs = both(lambda m: m.layers.RNN(cells(m, 5), return_state=True))
    assert_same(flat(ours(X)), flat(theirs(X)))
    assert shape_of(ours(X)) == ((3, 5), [(3, 5)])
    with pytest.raises(ValueError):
        theirs(X, mask=KEEP)  # cyrnn can:
    alone = cyrnn.layers.RNN(ours.cell.cells[0], return_state=True)
    assert_same(flat(ours(X, mask=KEEP)), flat(alone(X, mask=KEEP)))


def test_a_stack_within_a_stack():
    def make(module):
        inner = module.layers.StackedRNNCells(cells(module, 5, 2))
        return module.layers.RNN([inner, *cells(module, 3)], return_state=True, return_sequences=True)

    ours, theirs = both(make)
    assert_same(flat(ours(X, mask=KEEP)), flat(theirs(X, mask=KEEP)))
    assert shape_of(ours(X)) == shape_of(theirs(X)) == ((3, 5, 3), [[(3, 5)], [(3, 2)]], [(3, 3)])


@pytest.mark.parametrize("form", ["flat list", "nested lists", "mixed"])
def test_the_stack_alone_gives_states_in_the_form_they_came(form):
    ours, theirs = both(lambda m: m.layers.StackedRNNCells(cells(m)), (BATCH, FEATURES))
    h = h_theirs = FORMS[form](H)
    for t in range(3):
        output, h = ours(X[:, t], h)
        output_theirs, h_theirs = theirs(X[:, t], h_theirs)
        assert_same([output, *flat(h)], [output_theirs, *flat(h_theirs)])
        assert shape_of(h) == shape_of(h_theirs)
    assert shape_of(ours.get_initial_state(batch_size=2)) == shape_of(theirs.get_initial_state(batch_size=2))


# ---------------------------------------------------------------- stateful


@pytest.mark.parametrize("mask", [None, KEEP])
def test_a_stateful_stack_goes_on_where_it_stopped(mask):
    ours, theirs = both(stacked(stateful=True, return_sequences=True, return_state=True))
    for arguments in [{}, {}, {"initial_state": H}, {}]:
        follow_tensorflow(theirs, mask)
        assert_same(flat(ours(X, mask=mask, **arguments)), flat(theirs(X, mask=mask, **arguments)))
        assert_same(flat(ours.states), [np.asarray(state) for state in flat(theirs.states)])
        assert shape_of(ours.states) == [[(3, 5)], [(3, 2)], [(3, 3)]]


def test_reset_state_of_a_stack_works_where_keras_fails():
    ours, theirs = both(stacked(stateful=True))
    first = ours(X)
    assert not np.array_equal(ours(X), first)
    ours.reset_state()
    assert np.array_equal(ours(X), first)
    theirs(X)
    with pytest.raises(AttributeError):
        theirs.reset_state()


# ---------------------------------------------------------------- dropout, losses, shapes, configs


@pytest.mark.parametrize("mask", [None, KEEP])
def test_each_cell_of_a_stack_has_its_own_dropout_masks(mask):
    def make(module):
        options = [{"dropout": 0.4, "seed": 1}, {"recurrent_dropout": 0.5, "seed": 2}, {"dropout": 0.3, "seed": 3}]
        parts = [module.layers.SimpleRNNCell(n, **o) for n, o in zip(UNITS, options, strict=True)]
        return module.layers.RNN(parts, return_sequences=True)

    ours, theirs = both(make)
    for _ in range(3):
        follow_tensorflow(theirs, mask)
        assert_same(ours(X, mask=mask, training=True), theirs(X, mask=mask, training=True))


def test_losses_of_a_stack_are_those_of_its_weights_cell_by_cell():
    ours, theirs = both(lambda m: m.layers.RNN(cells(m, 5, 2, kernel_regularizer="l2", bias_regularizer="l1")))
    assert len(ours.losses) == 4
    assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)


def test_activity_losses_of_a_cell_in_a_stack_are_two_for_each_step():
    """Keras has two more, of the run that shows the cell above the shape of its dropout mask."""
    ours, theirs = both(lambda m: m.layers.RNN([*cells(m, 5), *cells(m, 2, activity_regularizer="l2")]))
    ours(X), theirs(X)
    assert len(ours.losses) == 2 * TIMESTEPS
    assert_same(list(ours.losses), theirs.losses[2:], tolerance=1e-5)


@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_shapes_and_masks_of_a_stack(return_sequences, return_state):
    make = stacked(return_sequences=return_sequences, return_state=return_state)
    ours, theirs = make(cyrnn), make(keras)
    assert ours.compute_output_shape((None, 7, 4)) == theirs.compute_output_shape((None, 7, 4))
    assert str(ours.compute_mask(X, KEEP)) == str(theirs.compute_mask(X, KEEP))


@pytest.mark.configs
def test_configs_of_stacks_both_ways():
    ours, theirs = both(stacked(return_sequences=True, go_backwards=True, name="stack"))
    read, read_by_keras = cyrnn.from_json(keras_json(theirs)), from_keras_json(ours.to_json())
    assert [type(cell) for cell in read.cell.cells] == [cyrnn.layers.SimpleRNNCell] * 3
    for layer in (read, read_by_keras):
        layer.set_weights(ours.get_weights())
        assert_same(ours(X), np.asarray(layer(X)))
    assert cyrnn.from_json(ours.to_json()).to_json() == ours.to_json()


def test_a_list_of_float64_cells_computes_in_float64_where_keras_rounds():
    """Keras makes a float32 stack of the list, which rounds what goes through it."""
    ours, theirs = both(lambda m: m.layers.RNN(cells(m, dtype="float64"), dtype="float64"))
    exact = both(lambda m: m.layers.RNN(m.layers.StackedRNNCells(cells(m, dtype="float64"), dtype="float64")))[1]
    x = X.astype("float64") / 3
    assert_same(ours(x), exact(x)[()].astype("float64"), tolerance=1e-6)
    assert np.max(np.abs(ours(x) - theirs(x))) > 1e-12


# ---------------------------------------------------------------- cells of a user's own


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mask", [None, KEEP])
@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"zero_output_for_mask": True}, {"stateful": True}])
def test_a_layer_of_your_own_as_a_cell_of_two_states(options, mask, training):
    """Masked steps carry the output, which is none of the states here."""
    ours, theirs = both(
        lambda m: m.layers.RNN(gated(m, 4), return_sequences=True, return_state=True, **options), X.shape
    )
    for _ in range(2):
        follow_tensorflow(theirs, mask)
        assert_same(ours(X, mask=mask, training=training), theirs(X, mask=mask, training=training))
    h = [np.ones((BATCH, 4), "float32"), np.ones((BATCH, 5), "float32")]
    assert_same(ours(X, initial_state=h, mask=mask), theirs(X, initial_state=h, mask=mask))


def test_an_object_that_is_no_layer_as_a_cell():
    class ForKeras(Averaging):
        compute_dtype = "float32"  # Keras asks for it

    ours = cyrnn.layers.RNN(Averaging(3), return_sequences=True, return_state=True)
    theirs = keras.layers.RNN(ForKeras(3), return_sequences=True, return_state=True)
    x = np.repeat(X[:, :, :1], 3, axis=2)
    follow_tensorflow(theirs, KEEP)
    assert_same(ours(x, mask=KEEP), theirs(x, mask=KEEP))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mask", [None, KEEP])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_stacks_of_built_in_and_own_cells(order, mask, training):
    def make(module):
        kinds = [
            lambda: module.layers.SimpleRNNCell(4, dropout=0.3, seed=5),
            lambda: gated(module, 3),
            lambda: module.layers.SimpleRNNCell(2, activation=lambda x: x * 0.5, recurrent_dropout=0.3, seed=6),
        ]
        return module.layers.RNN([kinds[i]() for i in order], return_sequences=True, return_state=True)

    ours, theirs = both(make)
    for _ in range(2):
        follow_tensorflow(theirs, mask)
        a, b = ours(X, mask=mask, training=training), theirs(X, mask=mask, training=training)
        assert_same(flat(a), flat(b))
        assert shape_of(a) == shape_of(b)


def test_own_cells_get_all_axes_behind_time():
    class Image:
        state_size, output_size, compute_dtype = 2, 2, "float32"

        def get_initial_state(self, batch_size=None):
            return [np.zeros((batch_size, 3, 2), "float32")]

        def __call__(self, inputs, states):
            return self.call(inputs, states)

        def call(self, inputs, states):
            return states[0] + inputs, [states[0] + inputs]

    x = RNG.standard_normal((BATCH, TIMESTEPS, 3, 2)).astype("float32")
    ours = cyrnn.layers.RNN(Image(), return_sequences=True, return_state=True)
    theirs = keras.layers.RNN(Image(), return_sequences=True, return_state=True)
    assert_same(ours(x), theirs(x))
    h = np.ones((BATCH, 3, 2), "float32")
    assert_same(ours(x, initial_state=h), theirs(x, initial_state=h))


def test_a_layer_of_your_own_outside_of_rnns():
    """`add_weight`, attributes that follow `set_weights`, layers in layers, shapes at the first call."""

    def make(module):
        class Scaled(module.layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.dense = module.layers.Dense(3)

            def build(self, input_shape):
                self.offset = self.add_weight(shape=(3,), initializer="zeros", trainable=False, name="offset")
                self.scale = self.add_weight(shape=(3,), initializer="ones", regularizer="l2", name="scale")
                self.dense.build(input_shape)

            def call(self, inputs):
                return self.dense(inputs) * self.scale + self.offset

        return Scaled()

    ours, theirs = make(cyrnn), make(keras)
    assert np.shape(ours(X)) == np.shape(theirs(X))
    same_weights(ours, theirs, np.random.default_rng(2))
    assert_same(ours(X), np.asarray(theirs(X)))
    assert [w.shape for w in ours.trainable_weights] == [tuple(w.shape) for w in theirs.trainable_weights]
    assert_same(list(ours.losses), theirs.losses, tolerance=1e-5)
    assert np.array_equal(ours.scale, ours.weights[0]) and ours.count_params() == theirs.count_params()
