"""Losses: values by hand, gradients as central differences, masks and weights, and what is refused."""

import inspect
import pickle

import numpy as np
import pytest

import cyrnn
from cyrnn import losses

RNG = np.random.default_rng(0)
P = RNG.uniform(0.1, 0.9, (4, 5, 3))
T = RNG.uniform(0.1, 0.9, (4, 5, 3))
T /= T.sum(axis=-1, keepdims=True)
LABELS = RNG.integers(0, 3, (4, 5))
PLAIN = [
    name for name in losses.__all__ if name[0].isupper() and name not in ("Loss", "LossFunction", "Dice", "Tversky")
]


def truth(name):
    return LABELS if name.startswith("Sparse") else T


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_gradients_are_derivatives(name, logits, reduction):
    if logits and "Crossentropy" not in name:
        return
    options = {"from_logits": True} if logits else {}
    loss = getattr(losses, name)(**options, reduction=reduction, dtype="float64")
    weights, mask = RNG.uniform(0.5, 2, (4, 5)), RNG.random((4, 5)) < 0.7
    given = {"sample_weight": weights, "mask": mask}
    value, gradient = loss.value_and_gradient(truth(name), P, **given)
    assert value == loss(truth(name), P, **given)
    expected = np.zeros_like(P)
    for place in np.ndindex(P.shape):
        moved = [P.copy(), P.copy()]
        moved[0][place] -= 1e-6
        moved[1][place] += 1e-6
        low, high = (loss(truth(name), p, **given) for p in moved)
        expected[place] = (high - low) / 2e-6
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
    assert not gradient[~mask].any()


@pytest.mark.parametrize(
    ("name", "t", "p", "expected"),
    [
        ("mean_squared_error", [[0.0, 1]], [[1.0, 3]], [2.5]),
        ("mean_absolute_error", [[0.0, 1]], [[1.0, 3]], [1.5]),
        ("huber", [[0.0, 1]], [[0.5, 3]], [(0.125 + 1.5) / 2]),
        ("hinge", [[0.0, 1]], [[0.5, 3]], [0.75]),
        ("cosine_similarity", [[3.0, 4]], [[4.0, 3]], [-24 / 25]),
        ("binary_crossentropy", [[1.0, 0]], [[0.5, 0.5]], [np.log(2)]),
        ("categorical_crossentropy", [[0.0, 1]], [[3.0, 1]], [np.log(4)]),
        ("sparse_categorical_crossentropy", [1], [[0.75, 0.25]], [np.log(4)]),
        ("poisson", [[2.0]], [[1.0]], [1.0]),
    ],
)
def test_values_by_hand(name, t, p, expected):
    np.testing.assert_allclose(getattr(losses, name)(t, p), expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [None, (1, 2), (0, 2), -1])
@pytest.mark.parametrize("options", [{}, {"alpha": 0.2, "beta": 0.9}])
def test_overlaps_have_gradients_along_any_axes(options, axis):
    loss = losses.Tversky(axis=axis, dtype="float64", **options) if options else losses.Dice(axis=axis, dtype="float64")
    value, gradient = loss.value_and_gradient(T, P)
    expected = np.zeros_like(P)
    for place in np.ndindex(P.shape):
        moved = [P.copy(), P.copy()]
        moved[0][place] -= 1e-6
        moved[1][place] += 1e-6
        expected[place] = (loss(T, moved[1]) - loss(T, moved[0])) / 2e-6
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)
    alpha, beta = options.get("alpha", 0.5), options.get("beta", 0.5)
    overlap, missed, more = (np.sum(x, axis) for x in (T * P, T * (1 - P), P * (1 - T)))
    assert value == pytest.approx(np.mean(1 - overlap / (overlap + alpha * missed + beta * more + 1e-7)))
    if axis is None:
        weights = np.array([0.5, 2.0, 0.0, 3.5])
        for reduction, factor in (("mean", 1.5), ("sum", 6.0), ("mean_with_sample_weight", 1.0)):
            loss.reduction = reduction  # each row has the one value
            weighed, slopes = loss.value_and_gradient(T, P, weights)
            assert weighed == pytest.approx(factor * value)
            np.testing.assert_allclose(slopes, factor * gradient)
        with pytest.raises(ValueError, match="a loss without rows takes no mask"):
            loss(T, P, mask=np.ones(4, bool))
    with pytest.raises(ValueError, match="axis must be of the 1 of y_pred"):
        losses.Dice(axis=(0, 1))(np.ones(3), np.ones(3))


def test_focal_crossentropies_without_focus_are_crossentropies():
    t, p = (T > 0.3) * 1.0, P
    np.testing.assert_allclose(losses.binary_focal_crossentropy(t, p, gamma=0.0), losses.binary_crossentropy(t, p))
    np.testing.assert_allclose(
        losses.categorical_focal_crossentropy(T, P, alpha=1.0, gamma=0.0), losses.categorical_crossentropy(T, P)
    )
    balanced = losses.BinaryFocalCrossentropy(True, 0.9, 0.0, reduction=None)(t, p)
    crossentropies = np.where(t == 1, -0.9 * np.log(p), -0.1 * np.log(1 - p)).mean(-1)
    np.testing.assert_allclose(balanced, crossentropies, rtol=1e-5)


@pytest.mark.parametrize("name", ["CTC", "ctc", "Circle", "CategoricalGeneralizedCrossEntropy"])
def test_losses_that_are_left_out_are_named(name):
    with pytest.raises(ValueError, match=f"the loss '{name}' of Keras is not here: "):
        losses.get(name)
    with pytest.raises(AttributeError, match=f"no attribute '{name}': "):
        getattr(losses, name)


def test_nan_at_masked_timesteps_reaches_nothing():
    p, mask = P.copy(), np.arange(5) < np.array([[5], [2], [0], [3]])
    p[~mask] = np.nan
    value, gradient = losses.MeanSquaredError().value_and_gradient(T, p, mask=mask)
    assert value == losses.MeanSquaredError()(T, np.where(mask[..., None], p, 7), mask=mask)
    assert np.isfinite(gradient).all()
    value, gradient = losses.MeanSquaredError().value_and_gradient(T, p * np.nan, mask=np.zeros((4, 5), bool))
    assert value == 0
    assert not gradient.any()


def test_weights_of_rows_are_for_each_of_their_timesteps():
    rows, loss = np.array([1.0, 2, 0, 3]), losses.MeanAbsoluteError()
    assert loss(T, P, rows) == loss(T, P, np.repeat(rows[:, None], 5, axis=1)) == loss(T, P, rows[:, None])
    square = losses.MeanAbsoluteError("none")(T[:, :4], P[:, :4], rows)  # as many rows as timesteps
    np.testing.assert_allclose(square, losses.MeanAbsoluteError("none")(T[:, :4], P[:, :4]) * rows[:, None], rtol=1e-6)


def test_a_last_axis_of_length_1_may_be_missing():
    t, p, weights, mask = T[..., 0], P[..., :1], RNG.random((4, 5)), RNG.random((4, 5)) < 0.7
    loss = losses.MeanSquaredError()
    for given in ({"mask": mask}, {"sample_weight": weights}, {"mask": mask, "sample_weight": weights[:, 0]}):
        value, gradient = loss.value_and_gradient(t[..., None], p, **given)
        for other in ((t, p), (t[..., None], p[..., 0])):
            found = loss.value_and_gradient(*other, **given)
            assert found[0] == value
            np.testing.assert_array_equal(found[1].ravel(), gradient.ravel())
    summed = losses.MeanSquaredError("sum")
    assert summed(t, p, np.ones(4)) == summed(t, p)


def test_what_is_masked_may_be_anything():
    mask = np.arange(5) < np.array([[5], [2], [0], [3]])
    weights, labels, signs = np.where(mask, 2.0, np.nan), np.where(mask, LABELS, -1), (T > 0.3).astype(float)
    loss = losses.MeanSquaredError()
    assert loss(T, P, weights, mask) == loss(T, P, np.full((4, 5), 2.0), mask)
    assert np.isfinite(loss.value_and_gradient(T, P, weights, mask)[1]).all()
    sparse = losses.SparseCategoricalCrossentropy()
    assert sparse(labels, P, mask=mask) == sparse(LABELS, P, mask=mask)
    hinge = losses.Hinge()
    assert hinge(np.where(mask[..., None], signs, np.nan), P, mask=mask) == hinge(signs, P, mask=mask)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_labels_along_any_axis(axis):
    loss, last = (losses.SparseCategoricalCrossentropy(axis=a, dtype="float64") for a in (axis, -1))
    value, gradient = loss.value_and_gradient(LABELS, np.moveaxis(P, -1, axis))
    expected = last.value_and_gradient(LABELS, P)
    assert value == pytest.approx(expected[0])
    np.testing.assert_allclose(np.moveaxis(gradient, axis, -1), expected[1])


def test_functions_are_functions():
    f = losses.binary_crossentropy
    assert f([[1.0]], [[2.0]], True) == f([[1.0]], [[2.0]], from_logits=True)
    assert str(inspect.signature(losses.huber)) == "(y_true, y_pred, delta: float = 1.0)"
    assert pickle.loads(pickle.dumps(f)) is f
    assert losses.get(losses.serialize(f)) is f


def test_classes_that_are_ignored_do_not_count():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=1)
    labels, kept = LABELS.copy(), LABELS != 1
    found, gradient = loss.value_and_gradient(labels, P)
    np.testing.assert_allclose(
        found, losses.SparseCategoricalCrossentropy(reduction="none")(LABELS, P)[kept].mean(), rtol=1e-6
    )
    assert not gradient[~kept].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.MeanSquaredError()(np.zeros((4, 2)), np.zeros((4, 3))), r"the shape of y_pred, \(4, 3\), got"),
        (lambda: losses.MeanSquaredError()(np.zeros((3,)), np.zeros((3, 3))), r"the shape of y_pred, \(3, 3\), got"),
        (lambda: losses.MeanSquaredError()(T, P, np.zeros(5)), r"sample_weight must have the shape \(4,\) or \(4, 5\)"),
        (lambda: losses.MeanSquaredError()(T, P, mask=np.ones((5, 4))), r"mask must have the shape \(4,\) or \(4, 5\)"),
        (lambda: losses.sparse_categorical_crossentropy([3], [[0.5, 0.5]]), "labels from 0 to 1, .* got 3"),
        (lambda: losses.sparse_categorical_crossentropy([3, 1], [[0.5, 0.5]]), r"labels of the shape \(1,\), got"),
        (lambda: losses.MeanSquaredError("average"), "reduction must be one of"),
        (lambda: losses.MeanSquaredError(dtype="int8"), "dtype must be float32, float64 or None"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=2.0), "label_smoothing must be from 0 to 1"),
        (lambda: losses.CategoricalCrossentropy(axis=5)(T, P), "axis must be one of the 3 of y_pred, got 5"),
        (lambda: losses.Huber(-1.0), "delta must be at least 0"),
        (lambda: losses.MeanSquaredError()([1.0], [2.0], [1.0]), "a loss without rows takes no sample_weight"),
        (lambda: losses.MeanSquaredError()(T, P, mask=[["a"]]), "mask must be a real number or an array"),
        (lambda: losses.MeanSquaredError()(T, P, mask=[np.nan] * 4), "mask must hold bools, got NaN"),
        (lambda: losses.MeanSquaredError()(np.ones((2, 0)), np.ones((2, 0))), "elements along its last one"),
        (lambda: losses.SparseCategoricalCrossentropy()([np.nan], [[0.5, 0.5]]), "labels, which are whole numbers"),
        (lambda: losses.get("nope"), "could not interpret the loss 'nope'"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_names_and_configs():
    assert losses.get("mse") is losses.get("MSE") is losses.get("mean_squared_error") is losses.mean_squared_error
    assert type(losses.get("MeanSquaredError")) is losses.MeanSquaredError
    loss = losses.get(losses.serialize(losses.Huber(2.0, "sum")))
    assert (loss.delta, loss.reduction, loss.name) == (2.0, "sum", "huber_loss")


def test_a_loss_of_ones_own():
    class Cubes(losses.Loss):
        def call(self, t, p):
            return np.mean((p - t) ** 4, axis=-1)

    with pytest.raises(ValueError, match="the loss 'cubes' has no gradient: it must have a method gradient"):
        Cubes().value_and_gradient(T, P)
    Cubes.gradient = lambda self, t, p: 4 * (p - t) ** 3 / p.shape[-1]
    np.testing.assert_allclose(Cubes(dtype="float64").value_and_gradient(T, P)[1], 4 * (P - T) ** 3 / 60)


def test_a_tagger_learns_from_padded_sequences():
    x = RNG.integers(1, 10, (64, 8))
    x[np.arange(8) >= RNG.integers(3, 9, 64)[:, None]] = 0
    labels, mask = (np.cumsum(x, axis=1) % 2).astype(int), x != 0
    layers = cyrnn.layers
    model = cyrnn.Sequential(
        [layers.Embedding(10, 8, mask_zero=True), layers.SimpleRNN(16, return_sequences=True), layers.Dense(2)]
    )
    model(x)
    loss, optimizer = losses.SparseCategoricalCrossentropy(from_logits=True), cyrnn.optimizers.Adam(0.01)
    for _ in range(200):
        y, pullback = model.vjp(x)
        value, dy = loss.value_and_gradient(labels, y, mask=mask)
        optimizer.apply(pullback(dy, inputs=False).weights, model)
    assert value < 0.3


def test_weights_of_rows_are_summed_up_once_for_all_timesteps_of_a_row():
    """Unless there is a mask, as in Keras."""
    t, p, weights = np.zeros((2, 3, 1)), np.arange(6.0).reshape(2, 3, 1), np.array([1.0, 3.0])
    loss = cyrnn.losses.MeanSquaredError(reduction="mean_with_sample_weight", dtype="float64")
    weighted = (weights[:, None] * p[..., 0] ** 2).sum()
    assert loss(t, p, sample_weight=weights) == pytest.approx(weighted / 4)
    value, gradient = loss.value_and_gradient(t, p, sample_weight=weights)
    assert value == pytest.approx(weighted / 4)
    np.testing.assert_allclose(gradient, 2 * p * weights[:, None, None] / 4)
    value, _ = loss.value_and_gradient(t, p, sample_weight=weights, mask=np.ones((2, 3), bool))
    assert value == pytest.approx(weighted / 12)


def test_labels_that_int64_cannot_hold():
    with pytest.raises(ValueError, match="y_true must be integers of int64, got 1 to 9223372036854775808"):
        losses.sparse_categorical_crossentropy(np.array([1, 2**63], "u8"), np.full((2, 3), 1 / 3))
