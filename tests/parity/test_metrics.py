"""Metrics against Keras on TensorFlow: all classes, over several batches, with weights and masks."""

import inspect
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="needs Keras: pip install '.[parity]'")
if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
    pytest.skip(f"compares with Keras 3.15, found {keras.__version__}", allow_module_level=True)

from cyrnn import metrics  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "tensorflow", reason="follows Keras on TensorFlow, where masks are on tensors"
)

MEANS = {  # and the kind of arrays
    "MeanSquaredError": ("numbers", [{}]),
    "RootMeanSquaredError": ("numbers", [{}]),
    "MeanAbsoluteError": ("numbers", [{}]),
    "MeanAbsolutePercentageError": ("probabilities", [{}]),
    "MeanSquaredLogarithmicError": ("probabilities", [{}]),
    "LogCoshError": ("numbers", [{}]),
    "CosineSimilarity": ("numbers", [{}]),
    "Hinge": ("one-hot", [{}]),
    "SquaredHinge": ("numbers", [{}]),
    "CategoricalHinge": ("one-hot", [{}]),
    "KLDivergence": ("probabilities", [{}]),
    "Poisson": ("probabilities", [{}]),
    "BinaryCrossentropy": ("one-hot", [{}, {"label_smoothing": 0.2}, {"from_logits": True}]),
    "CategoricalCrossentropy": ("one-hot", [{}, {"label_smoothing": 0.2}, {"from_logits": True}]),
    "SparseCategoricalCrossentropy": ("labels", [{}, {"from_logits": True}]),
    "Accuracy": ("coarse", [{}]),
    "BinaryAccuracy": ("one-hot", [{}, {"threshold": 0.3}]),
    "CategoricalAccuracy": ("one-hot", [{}]),
    "SparseCategoricalAccuracy": ("labels", [{}]),
    "TopKCategoricalAccuracy": ("one-hot", [{"k": 2}]),
    "SparseTopKCategoricalAccuracy": ("labels", [{"k": 2}]),
}
THRESHOLDS = [{}, {"thresholds": 0.3}, {"thresholds": [0.7, 0.2]}, {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]}]
SHARES = [*THRESHOLDS, {"top_k": 2}, {"top_k": 2, "thresholds": 0.4}, {"class_id": 1}]
CURVES = [
    {"curve": curve, "summation_method": method}
    for curve in ("ROC", "PR", "PRGAIN")
    for method in ("interpolation", "minoring", "majoring")
]
COUNTS = {
    **dict.fromkeys(["TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"], THRESHOLDS),
    **dict.fromkeys(["Precision", "Recall"], SHARES),
    "PrecisionAtRecall": [{"recall": 0.4}, {"recall": 0.7, "num_thresholds": 1}],
    "RecallAtPrecision": [{"precision": 0.5}, {"precision": 0.7, "class_id": 0}],
    "SensitivityAtSpecificity": [{"specificity": 0.4}, {"specificity": 0.7, "num_thresholds": 2}],
    "SpecificityAtSensitivity": [{"sensitivity": 0.4}, {"sensitivity": 0.7, "num_thresholds": 33}],
    "AUC": [
        *CURVES,
        {"num_thresholds": 2},
        {"thresholds": [0.9, 0.2, 0.3]},
        {"thresholds": [0.25, 0.5, 0.75], "curve": "PR"},
        {"from_logits": True},
    ],
}
OF_OUTPUTS = {
    "AUC": [{"multi_label": True}, {"multi_label": True, "curve": "PR", "thresholds": [0.2, 0.3]}],
    "R2Score": [{}, {"class_aggregation": None}, {"class_aggregation": "variance_weighted_average"}],
    "F1Score": [{}, {"average": "micro"}, {"average": "macro"}, {"average": "weighted", "threshold": 0.4}],
    "FBetaScore": [{"beta": 2.0}, {"beta": 0.5, "threshold": 0.3}],
}


def cases(table):
    return [(name, options) for name, several in table.items() for options in several]


def arrays(kind, shape, r):
    classes = shape[-1]
    labels = r.integers(0, classes, shape[:-1])
    p = r.standard_normal(shape).astype("float32")
    if kind == "numbers":
        return r.standard_normal(shape).astype("float32"), p
    if kind == "coarse":
        return r.integers(0, 3, shape).astype("float32"), r.integers(0, 3, shape).astype("float32")
    p = np.exp(p) / np.exp(p).sum(axis=-1, keepdims=True)
    if kind == "probabilities":
        return r.permutation(p), p
    p = np.round(p * 16) / 16 if r.random() < 0.5 else p  # with ties, and on thresholds
    return (labels, p) if kind == "labels" else (np.eye(classes, dtype="float32")[labels], p)


def updated(metric, t, p, weights, mask):
    import tensorflow as tf

    p = tf.constant(p)
    if mask is not None:
        p._keras_mask = tf.constant(mask)
    metric.update_state(t, p, sample_weight=weights)


def compared(found, theirs, tolerance=1e-6):
    expected = np.asarray(theirs.result())
    assert isinstance(found.result(), float) or found.result().dtype == "float32"
    np.testing.assert_allclose(found.result(), expected, rtol=tolerance, atol=tolerance)


SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(2, 5)), st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(2, 4))
)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, (_, several) in MEANS.items() for o in several])
@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(st.lists(SHAPES, min_size=1, max_size=3), st.sampled_from(["no", "rows", "all"]), st.booleans(), st.integers(0))
def test_means(name, options, shapes, weighted, masked, seed):
    r = np.random.default_rng(seed)
    found, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    for shape in shapes:
        t, p = arrays(MEANS[name][0], shape, r)
        rows = shape[:1] if weighted == "rows" else shape[:-1]
        weights = None if weighted == "no" else r.random(rows).astype("float32")
        mask = r.random(shape[:-1]) < 0.6 if masked else None
        both = weights
        if mask is not None and weights is not None and len(shape) == 3 and weighted == "rows":
            both = np.broadcast_to(weights[:, None], mask.shape)  # where Keras fails, or takes them for those of steps
        if mask is not None and name == "RootMeanSquaredError":  # which knows no masks in Keras
            updated(theirs, t, p, mask.astype("float32") * (1 if both is None else both), None)
        else:
            updated(theirs, t, p, both, mask)
        found.update_state(t, p, weights, mask)
    compared(found, theirs)


@pytest.mark.parametrize(("name", "options"), cases(COUNTS))
@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(st.lists(SHAPES, min_size=1, max_size=3), st.booleans(), st.booleans(), st.integers(0))
def test_counts(name, options, shapes, weighted, masked, seed):
    r = np.random.default_rng(seed)
    found, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    for shape in shapes:
        t, p = arrays("one-hot", shape, r)
        p = p * 8 - 4 if options.get("from_logits") else p
        weights = r.integers(0, 4, shape[:-1]).astype("float32") if weighted else None
        mask = r.random(shape[:-1]) < 0.6 if masked else None
        both = weights if mask is None else mask.astype("float32") * (1 if weights is None else weights)
        updated(theirs, t, p, both, None)
        found.update_state(t, p, weights, mask)
    compared(found, theirs, 1e-5 if "curve" in options else 1e-6)


@pytest.mark.parametrize(("name", "options"), cases(OF_OUTPUTS))
@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(st.integers(2, 4), st.lists(st.integers(3, 9), min_size=1, max_size=3), st.booleans(), st.integers(0))
def test_scores_of_outputs(name, options, outputs, batches, weighted, seed):
    r = np.random.default_rng(seed)
    found, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    for rows in batches:
        t, p = arrays("numbers" if name == "R2Score" else "one-hot", (rows, outputs), r)
        weights = r.random(rows).astype("float32") if weighted else None
        updated(theirs, t, p, weights, None)
        found.update_state(t, p, weights)
    compared(found, theirs, 1e-4 if name == "R2Score" else 1e-5)  # Keras subtracts large numbers in float32


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.5, 2.0]), np.array([[1.0], [0.5], [2.0]]), np.float32(3)])
def test_means_and_sums_of_values(weights):
    values = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    for name in ("Mean", "Sum"):
        found, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
        for batch in (values, values[:, :1], values * 2):
            found.update_state(batch, weights)
            theirs.update_state(batch, sample_weight=weights)
        compared(found, theirs)


def test_functions_of_ones_own():
    def largest(t, p):
        return keras.ops.max(keras.ops.abs(t - p), axis=-1)

    def of_batch(t, p):
        return keras.ops.mean(t * p)

    r = np.random.default_rng(0)
    for function in (largest, of_batch):
        found, theirs = metrics.MeanMetricWrapper(function), keras.metrics.MeanMetricWrapper(function)
        for rows in (4, 2):
            t, p = (r.random((rows, 3)).astype("float32") for _ in range(2))
            found.update_state(t, p)
            theirs.update_state(t, p)
        compared(found, theirs)


NEEDED = {
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "MeanMetricWrapper": {"fn": keras.losses.mean_squared_error},
}
CLASSES = [name for name in metrics.__all__ if name[0].isupper() and name != "Metric"]


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_names_directions_and_configs(name):
    ours, theirs = getattr(metrics, name), getattr(keras.metrics, name)
    parameters = [[(p.name, p.default) for p in inspect.signature(c).parameters.values()] for c in (ours, theirs)]
    assert parameters[0] == parameters[1]
    options = {**NEEDED.get(name, {}), "dtype": "float64"}
    options |= {"name": "mine"} if inspect.signature(theirs).parameters["name"].default is None else {}
    original = theirs(**options)
    envelope = keras.metrics.serialize(original)
    read = metrics.get(json.loads(json.dumps(envelope)))
    assert type(read) is ours
    assert read.name == original.name
    assert read.direction == getattr(original, "_direction", None)
    written = metrics.serialize(read)
    assert written["config"].items() >= envelope["config"].items()
    assert keras.metrics.deserialize(written).get_config() == original.get_config()
    del written["config"], envelope["config"]
    assert written == envelope


def test_all_names_of_keras():
    for name in ["mse", "MSE", "mae", "MAE", "mape", "MAPE", "msle", "MSLE", "bce", "BCE", "accuracy", "auc", *CLASSES]:
        if name not in NEEDED:
            assert type(metrics.get(name)).__name__ == type(keras.metrics.get(name)).__name__
    known = {name for name in dir(keras.metrics) if name[0].isalpha()}
    left_out = {name for name in known if name.endswith("IoU") or "orrelation" in name or "focal" in name}
    assert known - left_out == set(metrics.__all__)
