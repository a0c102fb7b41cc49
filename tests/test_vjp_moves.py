"""`vjp` of layers that merge, join, pool and move, and the ways back through their ops, against central differences."""

import numpy as np
import pytest

import cyrnn
from cyrnn import layers
from cyrnn.engine.gradients.taped import Taped
from cyrnn.engine.program import Program
from cyrnn.layers.base import nest

RNG = np.random.default_rng(0)
X, SAME = RNG.standard_normal((2, 3, 5, 4))[:, :3]  # (3, 5, 4) each
ROWS, ONE_STEP, ONE_FEATURE = (
    RNG.standard_normal((3, 4)),
    RNG.standard_normal((3, 1, 4)),
    RNG.standard_normal((3, 5, 1)),
)
IMAGES = RNG.standard_normal((2, 3, 4, 2))
SHARES = [[True, False, True, True, False], [True] * 5, [False, False, True, False, True]]
OTHER_SHARES = [[True, True, False, True, False], [False] * 5, [True, False, False, False, True]]


def differences(function, arrays, number, dy, step=1e-6):
    """The gradient of sum(dy * function(*arrays)) with respect to one of the arrays."""
    found = np.zeros(arrays[number].shape)
    for index in range(found.size):
        values = []
        for sign in (1, -1):
            moved = arrays[number].copy()
            moved.flat[index] += sign * step
            values.append(np.sum(dy * function(*arrays[:number], moved, *arrays[number + 1 :])))
        found.flat[index] = (values[0] - values[1]) / (2 * step)
    return found


MERGED = [
    [X, SAME],
    [X, ROWS],
    [ROWS, X],
    [X, ONE_STEP],
    [ONE_STEP, X],
    [X, ONE_FEATURE, ROWS],
    [ROWS, 2 * ROWS, -ROWS],
]
CASES = [
    *[(kind, {}, xs) for kind in ("Add", "Multiply", "Average", "Maximum", "Minimum") for xs in MERGED],
    *[("Subtract", {}, xs) for xs in MERGED if len(xs) == 2],
    *[("Add", {}, [X]), ("Multiply", {}, [X, X]), ("Multiply", {}, [IMAGES, IMAGES[:, :, :1], IMAGES[..., :1]])],
    *[("Concatenate", {}, xs) for xs in ([X, SAME], [X, ONE_FEATURE, X], [ROWS, ROWS[:, :1]])],
    *[("Concatenate", {"axis": 1}, xs) for xs in ([X, ONE_STEP], [IMAGES, IMAGES[:, :1]])],
    *[("Concatenate", {"axis": axis}, [IMAGES, np.repeat(IMAGES, 2, axis)]) for axis in (1, 2, 3)],
    *[("Dot", {"axes": axes}, xs) for axes, xs in ((2, [X, X[:, :2]]), (1, [X, ONE_FEATURE]), ((2, 1), [X, ROWS]))],
    *[
        ("Dot", {"axes": axes}, xs)
        for axes, xs in (((1, 2), [X, RNG.standard_normal((3, 2, 5))]), (1, [ROWS, 2 * ROWS]))
    ],
    *[
        ("Flatten", {"data_format": order}, x)
        for order in ("channels_last", "channels_first")
        for x in (X, ROWS, IMAGES)
    ],
    *[("Reshape", {"target_shape": shape}, X) for shape in ((4, 5), (-1, 2), (20,), (2, 2, 5), (5, 2, 2))],
    *[("Reshape", {"target_shape": shape}, ROWS) for shape in ((4,), (2, 2), (1, -1), (4, 1))],
    *[("Permute", {"dims": dims}, X) for dims in ((1, 2), (2, 1))],
    *[("Permute", {"dims": dims}, IMAGES) for dims in ((1, 3, 2), (3, 1, 2), (2, 3, 1), (3, 2, 1))],
    *[("Permute", {"dims": (1,)}, ROWS), ("RepeatVector", {"n": 6}, ROWS), ("RepeatVector", {"n": 1}, ROWS)],
    *[("Identity", {}, x) for x in (X, ROWS)],
    *[("ZeroPadding1D", {"padding": sizes}, X) for sizes in (2, (0, 3), (1, 0))],
    ("ZeroPadding1D", {"padding": (2, 1), "data_format": "channels_first"}, X),
    *[("Cropping1D", {"cropping": sizes}, X) for sizes in (1, (0, 3), (4, 0))],
    *[("UpSampling1D", {"size": size}, X) for size in (1, 2, 3)],
    *[
        (f"{kind}Pooling1D", {"pool_size": size, "strides": stride, "padding": padding, "data_format": order}, X)
        for kind in ("Max", "Average")
        for size, stride in ((2, 2), (3, 1), (2, 3), (4, 3), (1, 2))
        for padding in ("valid", "same")
        for order in ("channels_last", "channels_first")
    ],
    *[(f"{kind}Pooling1D", {"pool_size": 9, "padding": "same", "strides": 1}, X) for kind in ("Max", "Average")],
    *[
        (f"Global{kind}Pooling1D", {"keepdims": keepdims, "data_format": order}, X)
        for kind in ("Max", "Average")
        for keepdims in (False, True)
        for order in ("channels_last", "channels_first")
    ],
    *[(kind, {"rate": 0.5}, X) for kind in ("Dropout", "SpatialDropout1D", "GaussianDropout", "AlphaDropout")],
    ("GaussianNoise", {"stddev": 0.5}, X),
    ("Softmax", {"axis": 1}, X),
    ("Dropout", {"rate": 0.5}, ROWS),
]


@pytest.mark.parametrize(("kind", "options", "x"), CASES, ids=[f"{kind}-{n}" for n, (kind, _, _) in enumerate(CASES)])
def test_gradients_of_layers(kind, options, x):
    layer = getattr(layers, kind)(**options, dtype="float64")
    y, pullback = layer.vjp(x)
    called = layer(x)
    assert y.dtype == called.dtype
    np.testing.assert_array_equal(y, called)
    dy = RNG.standard_normal(y.shape)
    found = pullback(dy)
    assert found.weights == found.initial_state == []
    assert isinstance(found.inputs, list) == isinstance(x, list)
    several = isinstance(x, list)
    xs, gradients = (x, found.inputs) if several else ([x], [found.inputs])
    for number, gradient in enumerate(gradients):
        expected = differences(lambda *xs: layer(list(xs) if several else xs[0]), xs, number, dy)
        assert gradient.shape == xs[number].shape
        np.testing.assert_allclose(gradient, expected, atol=1e-7)
    single = getattr(layers, kind)(**options)
    narrow = nest.mapped(lambda part: part.astype("f4"), x)
    y, pullback = single.vjp(narrow)
    np.testing.assert_array_equal(y, single(narrow))
    for near, gradient in zip(nest.leaves(pullback(dy).inputs), gradients, strict=True):
        assert near.dtype == np.float32
        np.testing.assert_allclose(near, gradient, atol=1e-5, rtol=1e-5)


def test_a_product_of_any_size_has_gradients():
    x, y = RNG.standard_normal((2, 90, 40)), RNG.standard_normal((2, 90, 50))
    layer = layers.Dot(1, dtype="float64")
    out, pullback = layer.vjp([x, y])
    np.testing.assert_array_equal(out, layer([x, y]))
    dy = RNG.standard_normal(out.shape)
    d_x, d_y = pullback(dy).inputs
    np.testing.assert_allclose(d_x, np.einsum("bij,btj->bti", dy, y), atol=1e-12)
    np.testing.assert_allclose(d_y, np.einsum("bij,bti->btj", dy, x), atol=1e-12)


def test_any_number_of_timesteps_takes_one_program():
    layer = layers.Add(dtype="float64")
    for timesteps in (1, 4, 9):
        x, dy = RNG.standard_normal((2, 2, timesteps, 3))
        for gradient in layer.vjp([x, x])[1](dy).inputs:
            np.testing.assert_array_equal(gradient, dy)
    assert len(layer._taped[1]) == 1


@pytest.mark.parametrize("kind", ["Add", "Average", "Multiply", "Maximum", "Minimum", "Concatenate"])
@pytest.mark.parametrize("both", [False, True])
def test_gradients_of_merges_with_masks(kind, both):
    layer = getattr(layers, kind)(dtype="float64")
    mask = [np.array(SHARES), np.array(OTHER_SHARES) if both else None]
    y, pullback = layer.vjp([X, SAME], mask=mask)
    np.testing.assert_array_equal(y, layer([X, SAME], mask=mask))
    dy = RNG.standard_normal(y.shape)
    for number, gradient in enumerate(pullback(dy).inputs):
        expected = differences(lambda *xs: layer(list(xs), mask=mask), [X, SAME], number, dy)
        np.testing.assert_allclose(gradient, expected, atol=1e-7)
    without = layer.vjp([X, SAME], mask=[None, None])[1](dy)  # another program
    for a, b in zip(without.inputs, layer.vjp([X, SAME])[1](dy).inputs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_a_masked_mean():
    layer, mask = layers.GlobalAveragePooling1D(dtype="float64"), np.array(SHARES)
    y, pullback = layer.vjp(X, mask=mask)
    np.testing.assert_array_equal(y, layer(X, mask=mask))
    dy = RNG.standard_normal(y.shape)
    expected = np.where(mask[..., None], dy[:, None] / mask.sum(1)[:, None, None], 0)
    np.testing.assert_allclose(pullback(dy).inputs, expected, rtol=1e-15)
    without = layer.vjp(X)[1](dy).inputs
    np.testing.assert_allclose(without, np.broadcast_to(dy[:, None] / 5, X.shape), rtol=1e-15)
    nothing = layer.vjp(X, mask=np.zeros((3, 5), bool))[1](dy).inputs
    assert not nothing.any()


@pytest.mark.parametrize("kind", ["Multiply", "Maximum", "Minimum"])
def test_nan_that_masks_leave_out_reaches_no_gradient(kind):
    layer, mask = getattr(layers, kind)(dtype="float64"), [np.array(SHARES), np.array(OTHER_SHARES)]
    dirty = [np.where(keep[..., None], x, np.nan) for x, keep in zip((X, SAME), mask, strict=True)]
    clean = [np.where(keep[..., None], x, 7) for x, keep in zip((X, SAME), mask, strict=True)]
    dy = RNG.standard_normal(X.shape)
    for a, b in zip(layer.vjp(dirty, mask=mask)[1](dy).inputs, layer.vjp(clean, mask=mask)[1](dy).inputs, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)
    mean = layers.GlobalAveragePooling1D(dtype="float64")
    gradient = mean.vjp(dirty[0], mask=mask[0])[1](dy[:, 0]).inputs
    np.testing.assert_array_equal(gradient, mean.vjp(clean[0], mask=mask[0])[1](dy[:, 0]).inputs)


# ------------------------------------------------------------ equal values: as in Keras on TensorFlow


@pytest.mark.parametrize("kind", ["Maximum", "Minimum"])
def test_of_equal_inputs_the_first_gets_all(kind):
    layer, sign = getattr(layers, kind)(), 1 if kind == "Maximum" else -1
    xs = [sign * np.array([values], "f4") for values in ([1, 2, 0, 3], [1, 0, 5, 3], [1, 2, 5, 4])]
    found = layer.vjp(xs)[1](np.array([[1, 2, 3, 4]], "f4")).inputs
    np.testing.assert_array_equal(found, [[[1, 2, 0, 0]], [[0, 0, 3, 0]], [[0, 0, 0, 4]]])


def test_of_equal_timesteps_of_a_window_the_first_gets_all():
    x = np.array([[1, 3, 3, 1, 3, 3]], "f4")[..., None]
    dy = np.array([[1, 2, 4, 8, 16]], "f4")[..., None]
    found = layers.MaxPooling1D(2, 1).vjp(x)[1](dy).inputs
    np.testing.assert_array_equal(found[0, :, 0], [0, 3, 4, 0, 24, 0])
    padded = layers.MaxPooling1D(3, 2, padding="same").vjp(x)[1](dy[:, :3]).inputs
    np.testing.assert_array_equal(padded[0, :, 0], [0, 1, 2, 0, 4, 0])


def test_equal_timesteps_share_the_gradient_of_a_global_maximum():
    x = np.array([[[1, 4], [3, 4], [3, 2], [0, 4]]], "f4")
    found = layers.GlobalMaxPooling1D().vjp(x)[1](np.array([[6, 9]], "f4")).inputs
    np.testing.assert_array_equal(found[0], [[0, 3], [3, 3], [3, 0], [0, 3]])


def test_of_nan_and_numbers_nan_gets_the_gradient():
    x = np.array([[[np.nan, 1], [1, np.nan], [2, 0]]], "f4")
    dy = np.ones((1, 2), "f4")
    expected = [[1, 0], [0, 1], [0, 0]]
    np.testing.assert_array_equal(layers.GlobalMaxPooling1D().vjp(x)[1](dy).inputs[0], expected)
    np.testing.assert_array_equal(layers.MaxPooling1D(3).vjp(x)[1](dy[:, None]).inputs[0], expected)
    found = layers.Maximum().vjp([x[:, 0], x[:, 1], x[:, 2]])[1](dy).inputs
    np.testing.assert_array_equal(np.concatenate(found), expected)


# ------------------------------------------------------------ what a pullback promises


LARGE = {
    "Multiply": lambda: (layers.Multiply(), [_large(), _large(), _large()]),
    "Add": lambda: (layers.Add(), [_large(), RNG.standard_normal((130, 512)).astype("f4")]),
    "MaxPooling1D": lambda: (layers.MaxPooling1D(5, 1), _large()),
    "AveragePooling1D": lambda: (layers.AveragePooling1D(5, 1, padding="same"), _large()),
    "GlobalMaxPooling1D": lambda: (layers.GlobalMaxPooling1D(), np.round(_large())),
    "GlobalAveragePooling1D": lambda: (layers.GlobalAveragePooling1D(), _large()),
    "UpSampling1D": lambda: (layers.UpSampling1D(3), _large()),
}


def _large():
    return RNG.standard_normal((130, 40, 512)).astype("f4")


@pytest.mark.parametrize("kind", LARGE)
def test_the_same_bits_for_any_number_of_threads(kind):
    layer, x = LARGE[kind]()
    found = []
    for threads in (1, 2, 3):
        cyrnn.set_num_threads(threads)
        try:
            y, pullback = layer.vjp(x)
            dy = np.random.default_rng(1).standard_normal(y.shape).astype("f4")
            found.append([y, *nest.leaves(pullback(dy).inputs)])
        finally:
            cyrnn.set_num_threads(None)
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_gradients_are_a_list_like_the_inputs():
    layer = layers.Add()
    x = [RNG.standard_normal((2, 3)), np.ones((2, 3), "f4"), np.ones((2, 3), int)]
    _, pullback = layer.vjp(x)
    a, b, c = pullback(np.ones((2, 3))).inputs
    assert (a.dtype, b.dtype, c) == (np.float64, np.float32, None)
    assert not np.shares_memory(a, b)
    assert pullback(np.ones((2, 3)), inputs=False).inputs is None
    assert all(not part.any() for part in pullback(None).inputs[:2])


def test_what_is_returned_is_the_callers():
    x = RNG.standard_normal((2, 3, 4)).astype("f4")
    for layer in (layers.Identity(), layers.Dropout(0.5), layers.Reshape((3, 2, 2))):
        y, pullback = layer.vjp(x)
        dy = np.ones_like(y)
        found = pullback(dy).inputs
        assert not np.shares_memory(y, x)
        assert not np.shares_memory(found, dy)


@pytest.mark.parametrize(
    ("layer", "x", "options", "words"),
    [
        (layers.Dropout(0.5), X, {"training": True}, "has no gradients: it is random in training"),
        (layers.Add(), [X, X[:, :2]], {}, "must have shapes that fit together"),
        (layers.Add(), X, {}, "inputs of .* must be a list"),
        (layers.Subtract(), [X, X, X], {}, "must be a list of 2"),
        (layers.Maximum(), [X, X], {"mask": [None]}, "must hold 2 masks"),
        (layers.Maximum(), [X, X], {"mask": [None, np.ones((3, 4), bool)]}, "mask of .* must fit inputs"),
        (layers.Add(), [X, X], {"initial_state": [X]}, "has no states"),
        (layers.Flatten(), np.ones((2, 3, 4), int), {}, "no gradients for such inputs"),
        (layers.Cropping1D(3), X, {}, "must have more timesteps"),
        (layers.Reshape((7, 3)), X, {}, "must have as many elements"),
    ],
)
def test_what_has_no_gradients_is_refused(layer, x, options, words):
    with pytest.raises(ValueError, match=words):
        layer.vjp(x, **options)


# ------------------------------------------------------------ ops, with views of columns and reversed ones


def run_back(build, arrays, seed=0):
    """The gradients through a program of ops, and what central differences of a program without notes are.

    build : callable
        Adds ops to a program and its inputs, and returns the view of the output.
    arrays : list of arrays
        The inputs: (batch, timesteps, width), or (batch, width).
    """

    def made(kind):
        program = kind("float64")
        timelines = {}
        for array in arrays:
            if array.ndim == 3 and array.shape[1] not in timelines:
                timelines[array.shape[1]] = program.timeline()
        views = [
            program.input(
                "number" if array.dtype == float else "mask",
                timelines[array.shape[1]] if array.ndim == 3 or array.dtype == bool else None,
                1 if array.dtype == bool else array.shape[-1],
            )
            for array in arrays
        ]
        program.output(build(program, *views))
        program.finish()
        return program

    taped, plain = made(Taped), made(Program)
    found = taped.run((), tuple(arrays))
    found = found if isinstance(found, tuple) else (found,)
    y = plain.run((), tuple(arrays))
    np.testing.assert_array_equal(found[0], y)
    dy = np.random.default_rng(seed).standard_normal(y.shape)
    numbers = [number for number, array in enumerate(arrays) if array.dtype == float]
    way = taped.way_back(frozenset(numbers), (True,))
    known = {
        "gradient": lambda number: dy,
        "value": lambda storage: found[taped.tape[storage]],
        "length": lambda timeline: found[taped.lengths[timeline]],
        "zeros": lambda _: None,
    }
    gradients = way.program.run((), tuple(known[kind](number) for kind, number in way.inputs))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    expected = [differences(lambda *xs: plain.run((), xs), arrays, number, dy) for number in way.reached]
    assert way.reached == numbers
    for a, b in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def turned_columns(program, view, first, width):
    return program.reversed(program.columns(view, first, width))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "average", "maximum", "minimum"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_merges_of_parts_turned_and_repeated(name, masked, count):
    keeps = [np.array(SHARES), np.array(OTHER_SHARES), np.array(OTHER_SHARES)[::-1].copy()][:count]

    def build(program, x, row, *others):
        columns, masks = others[: count - 2], others[count - 2 :]
        out = program.reversed(program.buffer(program.form_of(x)[1], 3))
        xs = [turned_columns(program, x, 1, 3), row, *map(program.reversed, columns)]
        axes = [(3, 1), (3, 1), (1, 3)][:count]
        program.merge(name, xs, out, axes=axes, masks=[program.reversed(mask) for mask in masks])
        return out

    xs = [X, ROWS[:, :3] + 3, ONE_FEATURE + 5][:count]
    run_back(build, [*xs, *keeps] if masked else xs)


def test_joins_of_parts_turned_and_repeated():
    def build(program, x, row):
        out = program.buffer(program.form_of(x)[1], 8)
        program.join([turned_columns(program, x, 2, 2), row, x], out, 2)
        return turned_columns(program, out, 1, 6)

    run_back(build, [X, ROWS[:, :2]])


def test_products_with_timesteps_and_without():
    def build(program, x, row):
        out = program.reversed(program.buffer(program.form_of(x)[1], 4))
        program.dot(program.reversed(x), row, out, 2, 2, 1)
        return out

    run_back(build, [X, ROWS])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("index", [0, 1, 4, -1, -2, -5])
def test_one_timestep(index, turned):
    def build(program, x):
        out = program.buffer(None, 3)
        view = program.columns(x, 1, 3)
        program.select(program.reversed(view) if turned else view, out, index)
        return out

    run_back(build, [X])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("before", "stride", "repeats", "count"), [(0, 2, 1, 3), (-1, 2, 1, 2), (2, 3, 1, 4), (0, 1, 3, 20), (1, 2, 3, 12)]
)
def test_some_timesteps(before, stride, repeats, count, turned):
    def build(program, x):
        out = program.buffer(program.timeline(constant=count), 2)
        view = program.columns(x, 2, 2)
        program.take(program.reversed(view) if turned else view, out, before=before, stride=stride, repeats=repeats)
        return out

    run_back(build, [X])


@pytest.mark.parametrize("name", ["average", "max"])
@pytest.mark.parametrize("padded", [False, True])
def test_windows_over_many_blocks(name, padded):
    def build(program, x):
        size, stride = 7, 3
        formula = {"add": stride - 1, "size": stride} if padded else {"size": size}
        out = program.buffer(program.timeline(program.form_of(x)[1], stride=stride, **formula), 600)
        wide = program.buffer(program.form_of(x)[1], 600)
        program.join([x] * 600, wide)  # so wide that a block is a few timesteps
        program.pool(name, program.reversed(wide), out, size, stride, padded=padded)
        total = program.buffer(None, 600)
        program.global_pool("sum", out, total)
        return total

    run_back(build, [RNG.standard_normal((1, 70, 1))])


@pytest.mark.parametrize(("name", "masked"), [("sum", False), ("sum", True), ("average", True), ("max", False)])
def test_all_timesteps_turned(name, masked):
    def build(program, x, *mask):
        out = program.buffer(None, 2)
        program.global_pool(name, turned_columns(program, x, 1, 2), out, *map(program.reversed, mask))
        return out

    run_back(build, [X, np.array(SHARES)] if masked else [X])


def test_repeated_and_moved_rows():
    def build(program, x, row):
        timed = program.form_of(x)[1]
        out, moved = program.buffer(timed, 4), program.buffer(program.timeline(constant=4), 5)
        program.copy(row, program.reversed(out))
        both = program.buffer(timed, 4)
        program.merge("multiply", [out, program.reversed(x)], both)
        program.permute(program.reversed(both), moved, [5, 4], [1, 0])
        return program.reshaped(program.reversed(moved), program.timeline(constant=2), 10)

    run_back(build, [X, ROWS])


def test_the_gradient_of_no_timesteps_but_their_number_is_known():
    """An array that the way back reads only the length of."""
    x = RNG.standard_normal((2, 5, 3)).astype("f4")
    layer = layers.Cropping1D((1, 3))
    for timesteps in (5, 7):
        x = RNG.standard_normal((2, timesteps, 3)).astype("f4")
        found = layer.vjp(x)[1](np.ones((2, timesteps - 4, 3)))
        np.testing.assert_array_equal(found.inputs, np.pad(np.ones((2, timesteps - 4, 3)), ((0, 0), (1, 3), (0, 0))))
