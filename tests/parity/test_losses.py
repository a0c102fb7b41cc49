"""Losses and their gradients against Keras on TensorFlow: all classes, reductions, weights and masks."""

import json
import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

from cyrnn import losses  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "tensorflow", reason="needs the gradients of Keras on TensorFlow"
)

ANY = [
    "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "LogCosh",
    "Huber", "CosineSimilarity", "Hinge", "SquaredHinge", "CategoricalHinge", "Poisson", "KLDivergence",
]  # fmt: skip
CASES = [(name, {}, kind) for name in ANY for kind in ("numbers", "probabilities", "one-hot")]
CASES.remove(("Poisson", {}, "numbers"))  # of which it has no values
CASES += [("Huber", {"delta": 0.3}, "numbers"), ("CosineSimilarity", {"axis": 1}, "numbers")]
for name in ("BinaryCrossentropy", "CategoricalCrossentropy"):
    for options in ({}, {"label_smoothing": 0.2}):
        CASES += [(name, options, "one-hot"), (name, {**options, "from_logits": True}, "logits")]
for options in ({}, {"ignore_class": 1}):
    CASES += [("SparseCategoricalCrossentropy", options, "labels")]
    CASES += [("SparseCategoricalCrossentropy", {**options, "from_logits": True}, "label logits")]
CASES += [
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}, "probabilities"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "logits"),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.7], "gamma": 3.0}, "probabilities"),
    ("CategoricalFocalCrossentropy", {"from_logits": True}, "logits"),
]
REDUCTIONS = ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none"]


def data(kind, shape):
    r = np.random.default_rng(len(kind) + len(shape))
    classes = shape[-1]
    labels = r.integers(0, classes, shape[:-1])
    p = r.standard_normal(shape).astype("float32")
    if kind in ("probabilities", "one-hot", "labels"):
        p = np.exp(p) / np.exp(p).sum(axis=-1, keepdims=True)
        p[0] = np.eye(classes)[0]  # at the ends
    if kind == "numbers":
        return r.standard_normal(shape).astype("float32"), p
    if kind == "probabilities":
        return p[::-1].copy(), p
    return (labels, p) if kind.startswith("label") else (np.eye(classes, dtype="float32")[labels], p)


def theirs(loss, t, p, weights, mask):
    import tensorflow as tf

    p = tf.constant(p)
    with tf.GradientTape() as tape:
        tape.watch(p)
        given = tf.identity(p)
        if mask is not None:
            given._keras_mask = tf.constant(mask)
        value = loss(t, given, sample_weight=weights)
    return np.asarray(value), np.asarray(tape.gradient(value, p))


@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 3)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "kind"), CASES)
def test_values_and_gradients(name, options, kind, reduction, shape):
    (t, p), r = data(kind, shape), np.random.default_rng(1)
    options = {**options, "reduction": reduction}
    ours, keras_loss = getattr(losses, name)(**options), getattr(keras.losses, name)(**options)
    of_values = np.asarray(getattr(losses, name)(**{**options, "reduction": "none"})(t, p)).shape
    for weights in (None, r.random(of_values).astype("float32")):
        for mask in (None, r.random(of_values) < 0.6):
            if options.get("axis") == 1 and len(shape) == 2 and (weights is not None or mask is not None):
                continue
            expected = theirs(keras_loss, t, p, weights, mask)
            found = ours.value_and_gradient(t, p, sample_weight=weights, mask=mask)
            assert found[1].shape == p.shape
            for mine, its in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine, its, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "name", [*ANY, "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"]
)
def test_configs(name):
    envelope = keras.losses.serialize(getattr(keras.losses, name)(reduction="sum", name="mine"))
    read = losses.get(json.loads(json.dumps(envelope)))
    assert type(read) is getattr(losses, name)
    written = losses.serialize(read)
    assert written["config"].items() >= envelope["config"].items()
    del written["config"], envelope["config"]
    assert written == envelope
    assert losses.get(name).get_config().items() >= getattr(keras.losses, name)().get_config().items()


@pytest.mark.parametrize("shapes", [((4,), (4, 1)), ((4, 1), (4, 1)), ((4, 3), (4, 3, 1)), ((4, 3, 1), (4, 3))])
def test_ranks_that_differ(shapes):
    t, p = (np.random.default_rng(0).random(shape, "float32") for shape in shapes)
    for reduction in ("sum_over_batch_size", "sum"):
        expected = theirs(keras.losses.MeanSquaredError(reduction), t, p, None, None)
        found = losses.MeanSquaredError(reduction).value_and_gradient(t, p)
        for mine, its in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-6)


@pytest.mark.parametrize("axis", [None, (1, 2)])
@pytest.mark.parametrize("name, options", [("Dice", {}), ("Tversky", {}), ("Tversky", {"alpha": 0.2, "beta": 0.7})])
def test_overlaps(name, options, axis):
    import tensorflow as tf

    t, p = data("probabilities", (5, 4, 3))
    ours, theirs = (getattr(module, name)(axis=axis, **options) for module in (losses, keras.losses))
    value, gradient = ours.value_and_gradient(t, p)
    with tf.GradientTape() as tape:
        variable = tf.Variable(p)
        expected = theirs(t, variable)
    np.testing.assert_allclose(value, expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, tape.gradient(expected, variable).numpy(), rtol=1e-4, atol=1e-6)
    assert ours.get_config() == theirs.get_config()
