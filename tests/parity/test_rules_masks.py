"""Rules of masks: what counts as one, what a masked timestep leaves and emits, where masks come from and go."""

import numpy as np
import pytest
from parity.rules import BATCH, FEATURES, TIMESTEPS, UNITS, X, built, made
from parity.twins import assert_same, keras, same_weights, twins

import cyrnn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
RNNS = ["RNN", "SimpleRNN"]
KEEP = np.array([[1, 0, 1], [0, 1, 1]], bool)
ALL = {"return_sequences": True, "return_state": True}


def pair(class_name, **options):
    """The layer of both, with the same weights."""
    return twins(lambda m: made(m, class_name, **options), X.shape, np.random.default_rng(2))


def called(layer, *arguments, **named):
    """What the layer returns, as arrays."""
    result = layer(*arguments, **named)
    return tuple(np.asarray(part) for part in result) if isinstance(result, tuple) else np.asarray(result)


# ---------------------------------------------------------------- what is a mask


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("form", ["(batch, timesteps)", "(batch, timesteps, 1)"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"])
def test_true_means_keep_in_any_dtype(dtype, form, class_name):
    ours, theirs = pair(class_name, **ALL)
    mask = KEEP.astype(dtype) if form == "(batch, timesteps)" else KEEP.astype(dtype)[:, :, None]
    assert_same(ours(X, mask=mask), theirs(X, mask=mask))
    assert_same(ours(X, mask=mask), ours(X, mask=KEEP), tolerance=0)


@pytest.mark.parametrize("value", [0.5, -1.0, 1e-30, 256, -0.25, np.nan, np.inf])
def test_whatever_is_not_zero_means_keep(value):
    ours, theirs = pair("SimpleRNN", **ALL)
    mask = np.where(KEEP, value, 0)
    assert_same(ours(X, mask=mask), theirs(X, mask=mask))
    assert_same(ours(X, mask=mask), ours(X, mask=KEEP), tolerance=0)


WRONG = {  # shape, and what Keras makes of it
    "(1, timesteps)": (KEEP[:1], lambda layer: called(layer, X, mask=np.repeat(KEEP[:1], BATCH, axis=0))),
    "fewer timesteps": (KEEP[:, :2], lambda layer: called(layer, X[:, :2], mask=KEEP[:, :2])),
    "more timesteps": (np.c_[KEEP, KEEP], lambda layer: called(layer, X, mask=KEEP)),
    "one for each feature": (
        np.repeat(KEEP[:, :, None], FEATURES, axis=2) & (np.arange(FEATURES) == 1),
        lambda layer: called(layer, X, mask=KEEP),
    ),
}


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("case", WRONG)
def test_masks_of_other_shapes_are_refused(case, class_name):
    """Keras repeats a single row, cuts the sequence or the mask off, and keeps a step if any feature is kept."""
    mask, of_keras = WRONG[case]
    ours, theirs = pair(class_name, return_sequences=True)
    np.testing.assert_array_equal(called(theirs, X, mask=mask), of_keras(theirs))
    with pytest.raises(ValueError, match="mask must have shape"):
        ours(X, mask=mask)


@pytest.mark.parametrize("class_name", RNNS)
def test_one_axis_is_a_mask_for_a_batch_of_one(class_name):
    """Keras has an IndexError for it, from inside."""
    ours, theirs = pair(class_name, **ALL)
    assert_same(ours(X[:1], mask=KEEP[0]), theirs(X[:1], mask=KEEP[:1]))
    for batch in (1, 2):
        with pytest.raises(IndexError):
            theirs(X[:batch], mask=KEEP[0])
    with pytest.raises(ValueError, match="mask must have shape"):
        ours(X, mask=KEEP[0])


# ---------------------------------------------------------------- what a masked step does


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("class_name", RNNS)
def test_a_masked_step_repeats_the_output_before_and_keeps_the_state(class_name, go_backwards):
    for layer in pair(class_name, **ALL, go_backwards=go_backwards):
        for t in range(TIMESTEPS):
            mask = np.ones((BATCH, TIMESTEPS), bool)
            mask[1, t] = False
            outputs, state = called(layer, X, mask=mask)
            rest = np.delete(X, t, axis=1)
            shorter, state_without = called(layer, rest)
            np.testing.assert_allclose(state[1], state_without[1], rtol=0, atol=2e-6)
            at = TIMESTEPS - 1 - t if go_backwards else t
            before = outputs[1, at - 1] if at else np.zeros(UNITS, "float32")
            np.testing.assert_array_equal(outputs[1, at], before)
            np.testing.assert_allclose(np.delete(outputs[1], at, axis=0), shorter[1], rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore:.*encountered in matmul:RuntimeWarning")  # in Keras
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize(
    "flags", [ALL, {}, {"zero_output_for_mask": True, **ALL}, {"go_backwards": True, **ALL}], ids=str
)
@pytest.mark.parametrize("class_name", RNNS)
def test_nothing_leaks_out_of_a_masked_step(class_name, flags, junk):
    x = np.where(KEEP[:, :, None], X, np.float32(junk))
    ours, theirs = pair(class_name, **flags)
    assert_same(ours(x, mask=KEEP), theirs(x, mask=KEEP))
    assert_same(ours(x, mask=KEEP), ours(X, mask=KEEP), tolerance=0)


@pytest.mark.parametrize("h", ["zeros", "others"])
@pytest.mark.parametrize("class_name", RNNS)
def test_before_the_first_kept_step_zeros_are_emitted(class_name, h):
    """So on TensorFlow, torch and in NumPy's unrolled loop; NumPy's plain loop emits the initial state."""
    state = np.zeros((BATCH, UNITS), "float32") + (h == "others")
    mask = np.array([[0, 0, 1], [0, 0, 0]], bool)
    ours, theirs = pair(class_name, **ALL)
    outputs, final = ours(X, initial_state=state, mask=mask)
    assert not outputs[0, :2].any() and not outputs[1].any()
    np.testing.assert_array_equal(final[1], state[1])  # a row that is all masked ends where it began
    plain = called(theirs, X, initial_state=state, mask=mask)
    np.testing.assert_array_equal(plain[0][1], np.repeat(state[1:], TIMESTEPS, axis=0))
    theirs.unroll = True
    assert_same((outputs, final), theirs(X, initial_state=state, mask=mask))


@pytest.mark.parametrize("class_name", RNNS)
def test_zeros_for_masked_steps_are_the_last_output_too(class_name):
    """Although Keras' documentation says that `zero_output_for_mask` matters for `return_sequences` only."""
    mask = np.array([[1, 1, 0], [1, 1, 1]], bool)
    ours, theirs = pair(class_name, zero_output_for_mask=True, return_state=True)
    assert_same(ours(X, mask=mask), theirs(X, mask=mask))
    output, state = ours(X, mask=mask)
    assert not output[0].any() and state[0].any() and output[1].any()


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("class_name", RNNS)
def test_unroll_changes_nothing(class_name, go_backwards):
    """Keras' unrolled loop ignores `zero_output_for_mask` on NumPy."""
    flags = {"zero_output_for_mask": True, "go_backwards": go_backwards, **ALL}
    ours, theirs = pair(class_name, unroll=True, **flags)
    unrolled, unrolled_theirs = ours(X, mask=KEEP), called(theirs, X, mask=KEEP)
    ours.unroll = theirs.unroll = False
    assert_same(unrolled, ours(X, mask=KEEP), tolerance=0)
    assert_same(unrolled, theirs(X, mask=KEEP))
    assert not np.allclose(unrolled_theirs[0], unrolled[0])


@pytest.mark.parametrize("class_name", RNNS)
def test_padding_right_or_left_or_not_at_all_ends_in_the_same_state(class_name):
    padding = np.full((BATCH, 2, FEATURES), 9, "float32")
    kept, not_kept = np.ones((BATCH, TIMESTEPS), bool), np.zeros((BATCH, 2), bool)
    for layer in pair(class_name, **ALL):
        outputs, state = called(layer, X)
        right, state_right = called(layer, np.concatenate([X, padding], 1), mask=np.c_[kept, not_kept])
        left, state_left = called(layer, np.concatenate([padding, X], 1), mask=np.c_[not_kept, kept])
        for padded in (state_right, state_left, right[:, -1], left[:, -1]):
            np.testing.assert_allclose(padded, state, rtol=0, atol=2e-6)
        np.testing.assert_allclose(right, np.concatenate([outputs, outputs[:, -1:], outputs[:, -1:]], 1), atol=2e-6)
        np.testing.assert_allclose(left, np.concatenate([0 * outputs[:, :2], outputs], 1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("class_name", RNNS)
def test_backwards_the_right_padding_comes_first(class_name, zeros):
    padding = np.full((BATCH, 2, FEATURES), 9, "float32")
    mask = np.arange(TIMESTEPS + 2) < np.full((BATCH, 1), TIMESTEPS)
    ours, theirs = pair(class_name, go_backwards=True, zero_output_for_mask=zeros, **ALL)
    x = np.concatenate([X, padding], 1)
    assert_same(ours(x, mask=mask), theirs(x, mask=mask))
    outputs, state = ours(x, mask=mask)
    assert not outputs[:, :2].any()
    unpadded, unpadded_state = ours(X)
    np.testing.assert_array_equal(outputs[:, 2:], unpadded)
    np.testing.assert_array_equal(state, unpadded_state)


# ---------------------------------------------------------------- where masks come from and go


def functional(with_state):
    """A Keras model of a Masking and a SimpleRNN, whose initial state is an input of it or not."""
    x, h = keras.Input((TIMESTEPS, FEATURES)), keras.Input((UNITS,))
    layer = keras.layers.SimpleRNN(UNITS)
    masked = keras.layers.Masking()(x)
    return keras.Model([x, h], layer(masked, initial_state=h) if with_state else layer(masked)), layer


@pytest.mark.parametrize("with_state", [False, True])
def test_a_mask_is_handed_on_by_hand(with_state):
    """In Keras it travels with the tensor, but an RNN that is given an initial state does not look at it."""
    x = np.where(KEEP[:, :, None], X, 0)
    model, theirs = functional(with_state)
    ours = built(cyrnn, "SimpleRNN")
    same_weights(ours, theirs, np.random.default_rng(3))
    masking, h = cyrnn.layers.Masking(), np.zeros((BATCH, UNITS), "float32")
    result = np.asarray(model([x, h]))
    mask = masking.compute_mask(x)
    unmasked, masked = ours(masking(x), initial_state=h), ours(masking(x), initial_state=h, mask=mask)
    assert_same(unmasked if with_state else masked, result)
    assert not np.allclose(masked, unmasked)


@pytest.mark.parametrize("class_name", RNNS)
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("return_state", [False, True])
def test_the_mask_goes_on_if_sequences_do(class_name, return_sequences, return_state):
    options = {"return_sequences": return_sequences, "return_state": return_state}
    for module in (cyrnn, keras):
        masks = built(module, class_name, **options).compute_mask(X, KEEP)
        first = masks[0] if return_state else masks
        assert first is (KEEP if return_sequences else None)
        assert not return_state or list(masks[1:]) == [None]


@pytest.mark.parametrize("value", [0.0, 1.0, -1.5, np.inf, np.nan, 0])
def test_masking_masks_the_steps_whose_every_feature_is_the_value(value):
    x = X.copy()
    x[0, 1] = x[1, 2] = value
    x[1, 0, 1] = value
    ours, theirs = (module.layers.Masking(value) for module in (cyrnn, keras))
    assert_same(ours(x), np.asarray(theirs(x)), tolerance=0)
    assert_same(ours.compute_mask(x), np.asarray(theirs.compute_mask(x)), tolerance=0)


@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_masking_keeps_nan_where_it_is_and_writes_zeros_over_what_it_masks(junk):
    x = X.copy()
    x[0, 1, 2] = junk
    x[1, 1] = junk
    for value in (0.0, junk):
        ours, theirs = (module.layers.Masking(value) for module in (cyrnn, keras))
        assert_same(ours(x), np.asarray(theirs(x)), tolerance=0)


@pytest.mark.parametrize("mask", ["abc", True, 3])
def test_what_is_no_array_is_no_mask(mask):
    """Keras stumbles over it: AttributeError."""
    with pytest.raises(AttributeError):
        built(keras, "SimpleRNN")(X, mask=mask)
    with pytest.raises(ValueError, match="mask"):
        built(cyrnn, "SimpleRNN")(X, mask=mask)
