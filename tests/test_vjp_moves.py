"""`vjp` of layers that merge, join, pool and move: central differences, and exact gradients where values are equal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_gradients import differences

import cyrnn
from cyrnn import layers
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


@pytest.mark.parametrize("other", [SAME, ROWS, ONE_FEATURE], ids=["alike", "of rows", "of one feature"])
def test_nan_that_a_later_layer_masks_reaches_no_gradient_of_a_product_of_elements(other):
    layer, mask = layers.Multiply(dtype="float64"), np.array(SHARES)[..., None]
    dirty, clean = ([np.where(mask, X, value), other] for value in (np.nan, 7))
    dy = np.where(mask, RNG.standard_normal(X.shape), 0)
    for a, b in zip(layer.vjp(dirty)[1](dy).inputs, layer.vjp(clean)[1](dy).inputs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_that_a_later_layer_masks_reaches_no_gradient_of_a_product_of_vectors():
    layer, keep = layers.Dot(2, dtype="float64"), np.array([True, False, True])[:, None, None]
    dirty, clean = ([np.where(keep, x, value) for x in (X, SAME)] for value in (np.nan, 7))
    dy = np.where(keep, RNG.standard_normal((3, 5, 5)), 0)
    for a, b in zip(layer.vjp(dirty)[1](dy).inputs, layer.vjp(clean)[1](dy).inputs, strict=True):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------ equal values: as in Keras on TensorFlow


@pytest.mark.parametrize("kind", ["Maximum", "Minimum"])
def test_of_equal_inputs_the_first_gets_all(kind):
    layer, sign = getattr(layers, kind)(), 1 if kind == "Maximum" else -1
    xs = [sign * np.array([values], "f4") for values in ([1, 2, 0, 3], [1, 0, 5, 3], [1, 2, 5, 4])]
    found = layer.vjp(xs)[1](np.array([[1, 2, 3, 4]], "f4")).inputs
    np.testing.assert_array_equal(found, [[[1, 2, 0, 0]], [[0, 0, 3, 0]], [[0, 0, 0, 4]]])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_of_equal_inputs_of_any_shapes_the_first_gets_all(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    batch, timesteps, features = whole = tuple(data.draw(st.integers(1, 7)) for _ in range(3))
    shapes = [whole, (batch, features), (batch, 1, features), (batch, timesteps, 1)]
    xs = [rng.integers(-2, 3, data.draw(st.sampled_from(shapes))).astype("f4") for _ in range(3)]
    xs.insert(data.draw(st.integers(0, 3)), rng.integers(-2, 3, whole).astype("f4"))
    for kind, chosen in (("Maximum", np.argmax), ("Minimum", np.argmin)):
        y, pullback = getattr(layers, kind)().vjp(xs)
        dy = rng.integers(-9, 10, y.shape).astype("f4")
        found = pullback(dy).inputs
        each = [x if x.ndim == 3 else x[:, None] for x in xs]
        which = chosen(np.stack([np.broadcast_to(x, whole) for x in each]), axis=0)
        for number, (x, gradient) in enumerate(zip(each, found, strict=True)):
            axes = tuple(axis for axis in range(3) if x.shape[axis] == 1 != whole[axis])
            expected = np.where(which == number, dy, 0).sum(axis=axes)
            np.testing.assert_array_equal(gradient, expected.reshape(xs[number].shape))


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


@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_timesteps_are_counted_beyond_those_that_float32_counts(kind):
    count = 2**24 + 2**20
    layer = getattr(layers, f"Global{kind}Pooling1D")()
    found = layer.vjp(np.zeros((1, count, 1), "f4"))[1](np.ones((1, 1), "f4")).inputs
    assert found[0, 0, 0] == found[0, -1, 0] == np.float32(1 / count)


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
    "Add": lambda: (layers.Add(), [_large(2048), RNG.standard_normal((130, 2048)).astype("f4")]),
    "MaxPooling1D": lambda: (layers.MaxPooling1D(5, 1), _large()),
    "AveragePooling1D": lambda: (layers.AveragePooling1D(5, 1, padding="same"), _large()),
    "GlobalMaxPooling1D": lambda: (layers.GlobalMaxPooling1D(), np.round(_large(2048))),
    "GlobalAveragePooling1D": lambda: (layers.GlobalAveragePooling1D(), _large(2048)),
    "UpSampling1D": lambda: (layers.UpSampling1D(3), _large()),
    "Bidirectional": lambda: (  # of one row: its ops work on blocks of timesteps at the same time
        layers.Bidirectional(layers.SimpleRNN(96, return_sequences=True), "mul"),
        RNG.standard_normal((1, 700, 64)).astype("f4"),
    ),
}


def _large(width=512):  # so much work that threads share it
    return RNG.standard_normal((130, 40, width)).astype("f4")


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


@pytest.mark.parametrize("layer", [layers.Flatten(), layers.RepeatVector(2), layers.Concatenate()])
def test_integers_have_no_gradients(layer):
    x = np.arange(6).reshape(2, 3)
    x = [x, x] if isinstance(layer, layers.Concatenate) else x
    y, pullback = layer.vjp(x)
    assert y.dtype == int
    np.testing.assert_array_equal(y, layer(x))
    assert all(part is None for part in nest.leaves(pullback(np.ones(y.shape)).inputs))


def test_tokens_that_are_moved_before_they_are_looked_up():
    tokens = cyrnn.Input((6,), dtype="int32")
    model = cyrnn.Model(tokens, layers.Embedding(9, 3)(layers.Reshape((2, 3))(tokens)))
    x = RNG.integers(0, 9, (2, 6))
    y, pullback = model.vjp(x)
    found = pullback(np.ones(y.shape))
    assert found.inputs is None
    expected = np.repeat(np.bincount(x.ravel(), minlength=9)[:, None], 3, 1)
    np.testing.assert_array_equal(found.weights[0], expected)


@pytest.mark.parametrize("shape", [(0, 5, 4), (2, 5, 0), (2, 0, 4)])
@pytest.mark.parametrize("kind", ["Add", "Concatenate", "Flatten", "UpSampling1D", "GlobalAveragePooling1D", "Dropout"])
def test_gradients_of_no_elements(kind, shape):
    layer = getattr(layers, kind)(*([0.5] if kind == "Dropout" else []))
    x = np.zeros(shape, "f4")
    x = [x, x] if kind in ("Add", "Concatenate") else x
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    assert [part.shape for part in nest.leaves(pullback(np.ones(y.shape)).inputs)] == [shape] * len(nest.leaves(x))


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
        (layers.Add(), [X, X[:, :2]], {}, "must have shapes that fit together"),
        (layers.Add(), X, {}, "inputs of .* must be a list"),
        (layers.Subtract(), [X, X, X], {}, "must be a list of 2"),
        (layers.Maximum(), [X, X], {"mask": [None]}, "must hold 2 masks"),
        (layers.Maximum(), [X, X], {"mask": [None, np.ones((3, 4), bool)]}, "mask of .* must fit inputs"),
        (layers.Add(), [X, X], {"initial_state": [X]}, "has no states"),
        (layers.Cropping1D(3), X, {}, "must have more timesteps"),
        (layers.Reshape((7, 3)), X, {}, "must have as many elements"),
    ],
)
def test_what_has_no_gradients_is_refused(layer, x, options, words):
    with pytest.raises(ValueError, match=words):
        layer.vjp(x, **options)


# ------------------------------------------------------------ models

DTYPE = {"dtype": "float64"}


def masked_branches():
    x = cyrnn.Input((None, 3), **DTYPE)
    first = layers.SimpleRNN(4, return_sequences=True, **DTYPE)(layers.Masking(**DTYPE)(x))
    second = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True, **DTYPE), merge_mode="sum", **DTYPE)(first)
    product = layers.Multiply(**DTYPE)([first, second])
    joined = layers.Concatenate(**DTYPE)([layers.Add(**DTYPE)([product, first, second]), product])
    both = [layers.GlobalAveragePooling1D(**DTYPE)(joined), layers.GlobalMaxPooling1D(**DTYPE)(joined)]
    return cyrnn.Model(x, layers.Dense(2, **DTYPE)(layers.Average(**DTYPE)(both)))


def attention():
    query, value = cyrnn.Input((5, 3), **DTYPE), cyrnn.Input((5, 3), **DTYPE)
    scores = layers.Softmax(**DTYPE)(layers.Dot((2, 2), **DTYPE)([query, value]))
    found = layers.UpSampling1D(2, **DTYPE)(layers.Dot((2, 1), **DTYPE)([scores, value]))
    pooled = layers.AveragePooling1D(2, padding="same", **DTYPE)(layers.ZeroPadding1D(1, **DTYPE)(found))
    turned = layers.Permute((2, 1), **DTYPE)(layers.Dropout(0.3, **DTYPE)(pooled))
    flat = layers.Flatten(**DTYPE)(layers.Maximum(**DTYPE)([turned, layers.Identity(**DTYPE)(turned)]))
    return cyrnn.Model([query, value], layers.Reshape((-1, 3), **DTYPE)(flat))


@pytest.mark.filterwarnings("ignore:.*does not pass the mask on")
@pytest.mark.parametrize("made", [masked_branches, attention])
def test_gradients_of_models(made):
    model, xs = made(), [X[..., :3].copy(), SAME[..., :3].copy()]
    if made is masked_branches:
        xs = xs[:1]
        xs[0][0, 3:] = xs[0][1, :2] = 0  # they are masked
    y, pullback = model.vjp(xs if len(xs) > 1 else xs[0])
    np.testing.assert_array_equal(y, model(xs if len(xs) > 1 else xs[0]))
    dy = RNG.standard_normal(y.shape)
    found = nest.leaves(pullback(dy).inputs)
    for number, gradient in enumerate(found):
        expected = differences(lambda *xs: model(list(xs) if len(xs) > 1 else xs[0]), xs, number, dy)
        kept = xs[number] != 0
        np.testing.assert_allclose(gradient[kept], expected[kept], atol=1e-7)
        assert not gradient[~kept].any()


@settings(max_examples=150, deadline=None)
@given(
    timesteps=st.integers(1, 40), size=st.integers(1, 50), stride=st.integers(1, 9),
    padding=st.sampled_from(["valid", "same"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_each_window_passes_its_gradient_to_its_first_largest_timestep(timesteps, size, stride, padding, seed):
    size = size if padding == "same" else min(size, timesteps)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (2, timesteps, 3)).astype("f4")
    layer = layers.MaxPooling1D(size, stride, padding)
    y, pullback = layer.vjp(x)
    dy, expected = rng.integers(-9, 9, y.shape).astype("f4"), np.zeros_like(x)
    count = y.shape[1]
    before = max(0, (count - 1) * stride + size - timesteps) // 2 if padding == "same" else 0
    for t in range(count):
        window = slice(max(0, t * stride - before), t * stride - before + size)
        where = np.argmax(x[:, window], axis=1) + window.start
        for row, column in np.ndindex(2, 3):
            expected[row, where[row, column], column] += dy[row, t, column]
    np.testing.assert_array_equal(pullback(dy).inputs, expected)


def test_the_gradient_of_no_timesteps_but_their_number_is_known():
    """An array that the way back reads only the length of."""
    layer = layers.Cropping1D((1, 3))
    for timesteps in (5, 7):
        x = RNG.standard_normal((2, timesteps, 3)).astype("f4")
        found = layer.vjp(x)[1](np.ones((2, timesteps - 4, 3)))
        np.testing.assert_array_equal(found.inputs, np.pad(np.ones((2, timesteps - 4, 3)), ((0, 0), (1, 3), (0, 0))))
