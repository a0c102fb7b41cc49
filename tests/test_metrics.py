"""Metrics: values by their formulas in float64, masks and weights, ranks, metrics of one's own, and what is refused."""

import copy
import json
import pickle

import numpy as np
import pytest

import cyrnn
from cyrnn import metrics

RNG = np.random.default_rng(0)
P = RNG.uniform(0.1, 0.9, (4, 5, 3))
T = RNG.uniform(0.1, 0.9, (4, 5, 3))
ONE_HOT = np.eye(3)[RNG.integers(0, 3, (4, 5))]
WEIGHTS = RNG.uniform(0.5, 2, (4, 5))
MASK = np.arange(5) < np.array([[5], [2], [0], [3]])
NEEDED = {
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "MeanMetricWrapper": {"fn": metrics.mean_squared_error},
    "TopKCategoricalAccuracy": {"k": 2},
    "SparseTopKCategoricalAccuracy": {"k": 2},
}
CLASSES = [name for name in metrics.__all__ if name[0].isupper() and name != "Metric"]
OF_PAIRS = [name for name in CLASSES if name not in ("Mean", "Sum")]
OF_OUTPUTS = ["R2Score", "F1Score", "FBetaScore"]  # take no timesteps


def made(kind, **options):
    return getattr(metrics, kind)(**{**NEEDED.get(kind, {}), **options})


def truth(name):
    if name.startswith("Sparse"):
        return ONE_HOT.argmax(axis=-1)
    if name == "Accuracy":
        return np.where(T > 0.5, P, 0)
    return T if "Error" in name or name in ("R2Score", "CosineSimilarity", "KLDivergence", "Poisson") else ONE_HOT


FORMULAS = {  # of values, (batch, timesteps)
    "MeanSquaredError": lambda t, p: ((t - p) ** 2).mean(axis=-1),
    "RootMeanSquaredError": lambda t, p: ((t - p) ** 2).mean(axis=-1),
    "MeanAbsoluteError": lambda t, p: abs(t - p).mean(axis=-1),
    "MeanAbsolutePercentageError": lambda t, p: 100 * abs((t - p) / t).mean(axis=-1),
    "MeanSquaredLogarithmicError": lambda t, p: (np.log((1 + t) / (1 + p)) ** 2).mean(axis=-1),
    "LogCoshError": lambda t, p: np.log(np.cosh(t - p)).mean(axis=-1),
    "CosineSimilarity": lambda t, p: (t * p).sum(-1) / np.linalg.norm(t, axis=-1) / np.linalg.norm(p, axis=-1),
    "KLDivergence": lambda t, p: (t * np.log(t / p)).sum(axis=-1),
    "Poisson": lambda t, p: (p - t * np.log(p + 1e-7)).mean(axis=-1),
    "Hinge": lambda t, p: np.maximum(1 - (2 * t - 1) * p, 0).mean(axis=-1),
    "SquaredHinge": lambda t, p: (np.maximum(1 - (2 * t - 1) * p, 0) ** 2).mean(axis=-1),
    "CategoricalHinge": lambda t, p: np.maximum(((1 - t) * p).max(-1) - (t * p).sum(-1) + 1, 0),
    "BinaryCrossentropy": lambda t, p: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(axis=-1),
    "CategoricalCrossentropy": lambda t, p: -np.log((t * p).sum(-1) / p.sum(-1)),
    "SparseCategoricalCrossentropy": lambda t, p: -np.log(np.take_along_axis(p, t[..., None], -1)[..., 0] / p.sum(-1)),
    "Accuracy": lambda t, p: (t == p).mean(axis=-1),
    "BinaryAccuracy": lambda t, p: ((p > 0.5) == t).mean(axis=-1),
    "CategoricalAccuracy": lambda t, p: t.argmax(-1) == p.argmax(-1),
    "SparseCategoricalAccuracy": lambda t, p: t == p.argmax(-1),
    "TopKCategoricalAccuracy": lambda t, p: (p > (t * p).sum(-1, keepdims=True)).sum(-1) < 2,
    "SparseTopKCategoricalAccuracy": lambda t, p: (p > np.take_along_axis(p, t[..., None], -1)).sum(-1) < 2,
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_means_over_rows_of_several_batches(name, weighted, masked):
    metric, t = made(name, dtype="float64"), truth(name)
    total = count = 0
    for steps in (5, 3):
        weights = WEIGHTS[:, :steps] if weighted else np.ones((4, steps))
        mask = MASK[:, :steps] if masked else np.ones((4, steps))
        values = FORMULAS[name](t[:, :steps], P[:, :steps])
        total += (values * weights * mask).mean(axis=1).sum()
        count += (weights * mask).mean(axis=1).sum()
        metric.update_state(t[:, :steps], P[:, :steps], weights if weighted else None, mask if masked else None)
    expected = np.sqrt(total / count) if name == "RootMeanSquaredError" else total / count
    assert isinstance(metric.result(), float)
    assert metric.result() == pytest.approx(expected, rel=1e-6)
    metric.reset_state()
    assert metric.result() == 0
    assert metric(t, P) == pytest.approx(made(name)(t, P), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in OF_PAIRS if name not in OF_OUTPUTS])
def test_what_is_masked_reaches_nothing(name):
    t, p, weights = truth(name).astype(float), P.copy(), WEIGHTS.copy()
    clean, dirty = made(name), made(name)
    clean.update_state(t, p, weights * MASK)
    t[~MASK], p[~MASK], weights[~MASK] = np.nan, np.nan, np.nan
    dirty.update_state(t, p, weights, MASK)
    assert dirty.result() == pytest.approx(clean.result(), rel=1e-6)
    assert clean.result() != pytest.approx(made(name)(truth(name), P), rel=1e-5)
    alone, kept = made(name), made(name)
    alone.update_state(t, p, mask=MASK)
    kept.update_state(truth(name), P, MASK)
    assert alone.result() == pytest.approx(kept.result(), rel=1e-6)


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_masks_of_rows(name):
    t, p, keep = truth(name)[:, 0].copy(), P[:, 0].copy(), np.array([True, False, True, True])
    expected = made(name)(t[keep], p[keep], WEIGHTS[keep, 0])
    t[1], p[1] = np.nan, np.nan
    np.testing.assert_allclose(made(name)(t, p, WEIGHTS[:, 0], keep), expected, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in OF_PAIRS if not name.startswith("Sparse") and name != "Accuracy"])
def test_a_last_axis_of_length_1_may_be_missing(name):
    t, p = (T[:, 0, :1] > 0.5).astype(float), P[:, 0, :1]
    options = {"k": 1} if name.startswith("TopK") else {}
    with np.errstate(all="ignore"):
        expected = made(name, **options)(t, p)
        assert made(name, **options)(t[:, 0], p) == pytest.approx(expected)
        assert made(name, **options)(t, p[:, 0]) == pytest.approx(expected)


def test_masks_and_weights_of_steps_without_a_last_axis():
    t, p = T[:, :4, 0], P[:, :4, :1]  # as many rows as timesteps
    for given in ({"mask": MASK[:, :4]}, {"sample_weight": WEIGHTS[:, :4]}, {"sample_weight": WEIGHTS[:, 0]}):
        for name in ("MeanSquaredError", "RootMeanSquaredError", "BinaryAccuracy", "Precision"):
            full = made(name)
            full.update_state(t[..., None] > 0.5, p, **given)
            for other in ((t, p), (t[..., None], p[..., 0])):
                metric = made(name)
                metric.update_state(other[0] > 0.5, other[1], **given)
                assert metric.result() == pytest.approx(full.result())


def test_weights_of_rows_are_for_each_of_their_timesteps():
    rows = np.array([1.0, 2, 0, 3])
    for name in OF_PAIRS:
        if name not in OF_OUTPUTS:
            expected = made(name)(truth(name), P, np.repeat(rows[:, None], 5, axis=1))
            assert made(name)(truth(name), P, rows) == made(name)(truth(name), P, rows[:, None]) == expected


@pytest.mark.parametrize("thresholds", [None, 0.3, [0.7, 0.2], [0.0, 0.25, 0.5, 0.75, 1.0]])
def test_counts(thresholds):
    t, p = ONE_HOT.astype(bool), np.round(P.astype("float32") * 8) / 8
    weights = np.broadcast_to(WEIGHTS[..., None], p.shape)
    expected = {"TruePositives": [], "FalsePositives": [], "TrueNegatives": [], "FalseNegatives": []}
    for threshold in np.ravel(0.5 if thresholds is None else thresholds):
        expected["TruePositives"].append(weights[t & (p > threshold)].sum())
        expected["FalsePositives"].append(weights[~t & (p > threshold)].sum())
        expected["TrueNegatives"].append(weights[~t & ~(p > threshold)].sum())
        expected["FalseNegatives"].append(weights[t & ~(p > threshold)].sum())
    for name, sums in expected.items():
        found = made(name, thresholds=thresholds)(ONE_HOT, p, WEIGHTS)
        np.testing.assert_allclose(found, sums if len(sums) > 1 else sums[0], rtol=1e-6)
    tp, fp, _, fn = (np.array(sums) for sums in expected.values())
    for name, whole in (("Precision", tp + fp), ("Recall", tp + fn)):
        found = made(name, thresholds=thresholds)(ONE_HOT, p, WEIGHTS)
        np.testing.assert_allclose(np.ravel(found), np.where(whole == 0, 0, tp / np.maximum(whole, 1e-9)), rtol=1e-6)


def test_the_largest_predictions_and_one_class():
    t, p = [[0, 1, 0], [1, 0, 0]], [[0.6, 0.3, 0.3], [0.2, 0.1, 0.9]]  # of the two 0.3 the first counts
    assert metrics.Precision(top_k=2)(t, p) == metrics.Precision(top_k=2, thresholds=0.15)(t, p) == 0.5
    assert metrics.Recall(top_k=1)(t, p) == 0
    assert metrics.Recall(class_id=0, thresholds=0.1)(t, p) == 1
    assert metrics.Precision(class_id=0, thresholds=0.1)(t, p) == 0.5


def test_areas_by_hand():
    t, p = [0, 0, 1, 1], [0, 0.5, 0.3, 0.9]  # at -0, 0.5 and 1: recall 1, 0.5, 0; false positives 1, 0, 0 of 2
    assert metrics.AUC(3)(t, p) == pytest.approx(0.75)
    assert metrics.AUC(3, summation_method="minoring")(t, p) == pytest.approx(0.5)
    assert metrics.AUC(3, summation_method="majoring")(t, p) == pytest.approx(1)
    assert metrics.AUC(3, curve="pr", summation_method="minoring")(t, p) == pytest.approx(0.5 * 0.5)
    # Between recall 1 and 0.5 true positives are 2 (P - 1) / 3 + 1 of P = 4 ... 1, so precision is 1/3 + 2/3 / P.
    assert metrics.AUC(3, curve="PR")(t, p) == pytest.approx((1 / 3 * (1 + 2 / 3 * np.log(4)) + 1) / 2)
    assert metrics.AUC(3, from_logits=True)(t, np.array(p) * 4 - 2) == pytest.approx(0.75)
    both = metrics.AUC(3, multi_label=True, label_weights=[3.0, 1.0])
    assert both(np.transpose([t, t]), np.transpose([p, np.zeros(4)])) == pytest.approx((3 * 0.75 + 0.5) / 4)


def test_scores_of_outputs_and_regressors():
    t, p = [[1.0], [2.0], [4.0], [7.0]], [[1.0], [2.5], [4.0], [6.0]]
    score = 1 - 1.25 / 21
    assert np.isnan(metrics.R2Score().result())
    assert metrics.R2Score()(t, p) == pytest.approx(score)
    assert metrics.R2Score(num_regressors=1)(t, p) == pytest.approx(1 - (1 - score) * 3 / 2)
    of_each = metrics.R2Score(class_aggregation=None)(np.hstack([t, t]), np.hstack([p, t]))
    np.testing.assert_allclose(of_each, [score, 1], rtol=1e-6)
    metric = metrics.R2Score()
    metric.update_state(t, p)
    with pytest.raises(ValueError, match="y_pred must have 1 outputs, as the first batch, got 2"):
        metric.update_state(np.hstack([t, t]), np.hstack([p, p]))
    with pytest.raises(ValueError, match="num_regressors must be at least 0, got -1"):
        metrics.R2Score(num_regressors=-1)
    with pytest.raises(TypeError, match="num_regressors must be an integer, got 1.5"):
        metrics.R2Score(num_regressors=1.5)


def test_precision_and_recall_gains_are_those_of_keras():
    assert metrics.AUC(curve="PRGAIN")([0, 1, 1, 0], [0.2, 0.8, 0.3, 0.4]) == pytest.approx(0.25)


def test_areas_of_each_label_are_averaged():
    metric = metrics.AUC(multi_label=True)
    assert metric.result() == 0  # before it has seen how many there are
    t, p = np.array([[0, 1], [1, 0], [1, 1]]), np.array([[0.2, 0.8], [0.7, 0.4], [0.1, 0.9]])
    metric.update_state(t, p)
    assert metric.result() == pytest.approx((metrics.AUC()(t[:, 0], p[:, 0]) + metrics.AUC()(t[:, 1], p[:, 1])) / 2)


def test_variables_are_numbers():
    metric = metrics.AUC(num_thresholds=3)
    metric.update_state([1, 0, 1], [0.9, 0.2, 0.3])
    assert metric.thresholds == pytest.approx([0, 0.5, 1], abs=1e-6)
    variable = metric.true_positives
    assert (variable.ndim, len(variable), variable[1], float(variable[0])) == (1, 3, 1, 2)
    assert repr(variable) == "<Variable 'true_positives': [2. 1. 0.]>"
    variable.assign_sub([1, 1, 0])
    assert variable.numpy().tolist() == [1, 0, 0]
    count = metrics.Mean().variables[1]
    assert not count and bool(count.assign_add(2))
    with pytest.raises(TypeError, match="NotImplemented"):
        np.add(count, 1.0, out=np.zeros(()))


def test_areas_of_many_predictions_are_shares_of_pairs_in_order():
    t, p = RNG.integers(0, 2, 200), np.round(RNG.random(200) * 99) / 99 + 0.001
    weights = RNG.uniform(0.5, 2, 200)
    pairs = weights[t == 1][:, None] * weights[t == 0]
    order = np.sign(p[t == 1][:, None] - p[t == 0]) / 2 + 0.5
    assert metrics.AUC(100)(t, p, weights) == pytest.approx((pairs * order).sum() / pairs.sum(), rel=1e-5)


def test_the_best_under_a_condition():
    t, p = [0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]
    assert metrics.SensitivityAtSpecificity(0.5)(t, p) == 0.5
    assert metrics.SpecificityAtSensitivity(0.5)(t, p) == pytest.approx(2 / 3)
    assert metrics.PrecisionAtRecall(0.5)(t, p) == 0.5
    assert metrics.RecallAtPrecision(0.8)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]) == 0.5
    assert metrics.RecallAtPrecision(1.0)([1, 0], [0.1, 0.9]) == 0


def test_scores():
    t, p, w = T[:, 0], P[:, 0], WEIGHTS[:, 0]
    mean = np.average(t, axis=0, weights=w)
    scores = 1 - (w[:, None] * (t - p) ** 2).sum(axis=0) / (w[:, None] * (t - mean) ** 2).sum(axis=0)
    np.testing.assert_allclose(metrics.R2Score(class_aggregation=None)(t, p, w), scores, rtol=1e-4)
    assert metrics.R2Score()(t, p, w) == pytest.approx(scores.mean(), rel=1e-4)
    adjusted = metrics.R2Score(num_regressors=1)(t, p, w)  # of four rows
    assert adjusted == pytest.approx(1 - (1 - scores.mean()) * 3 / 2, rel=1e-4)
    with pytest.warns(UserWarning, match="3 regressors need more than 4 rows"):
        assert metrics.R2Score(num_regressors=3)(t, p, w) == pytest.approx(scores.mean(), rel=1e-4)
    t, p = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]]), np.array([[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
    precision, recall = np.array([1, 2 / 3, 1 / 2]), np.array([1 / 3, 1, 1])
    expected = 5 * precision * recall / (4 * precision + recall)
    np.testing.assert_allclose(metrics.FBetaScore(beta=2.0, threshold=0.5)(t, p), expected, rtol=1e-5)
    expected = 2 * precision * recall / (precision + recall)
    np.testing.assert_allclose(metrics.F1Score(threshold=0.5)(t, p), expected, rtol=1e-5)
    assert metrics.F1Score("macro", 0.5)(t, p) == pytest.approx(expected.mean(), rel=1e-5)
    assert metrics.F1Score("weighted", 0.5)(t, p) == pytest.approx((expected * [3, 2, 1]).sum() / 6, rel=1e-5)
    assert metrics.F1Score("micro", 0.5)(t, p) == pytest.approx(2 * 4 / (2 * 4 + 2 + 2), rel=1e-5)


def test_values():
    mean, total = metrics.Mean(), metrics.Sum()
    for metric in (mean, total):
        metric.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
        metric.update_state(2.0)
    assert (mean.result(), total.result()) == (2.0, 6.0)
    mean.update_state([np.nan, 2.0], mask=[False, True])
    assert mean.result() == 2.0


def test_classes_that_are_ignored_do_not_count():
    labels = ONE_HOT.argmax(axis=-1)
    expected = FORMULAS["SparseCategoricalCrossentropy"](labels, P)[labels != 1].mean()
    assert metrics.SparseCategoricalCrossentropy(ignore_class=1)(labels, P) == pytest.approx(expected, rel=1e-6)
    kept = metrics.SparseCategoricalCrossentropy(ignore_class=1)(labels, P, mask=MASK)
    values = FORMULAS["SparseCategoricalCrossentropy"](labels, P)[(labels != 1) & MASK]
    assert kept == pytest.approx(values.mean(), rel=1e-6)
    dirty = np.where(MASK, labels, np.nan)
    assert metrics.SparseCategoricalCrossentropy(ignore_class=1)(dirty, P, mask=MASK) == kept


def test_sums_are_in_float64():
    metric = metrics.TruePositives()
    metric.update_state([1.0], [1.0], [2.0**24])
    metric.update_state([1.0], [1.0])
    assert metric.result() == 2**24 + 1


class LargestError(metrics.Metric):
    """As it is written for Keras."""

    def __init__(self, name="largest_error", **kwargs):
        super().__init__(name=name, **kwargs)
        self.largest = self.add_variable(shape=(), initializer="zeros", name="largest")
        self.rows = self.add_weight(name="rows", initializer="zeros", dtype="int32")
        self._direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = np.abs(y_true - y_pred)
        if sample_weight is not None:
            error = error * np.asarray(sample_weight)[..., None]
        self.largest.assign(np.maximum(self.largest, np.max(error)))
        self.rows.assign_add(len(y_true))

    def result(self):
        return {"largest": self.largest, "half": self.largest / 2, "rows": self.rows}


def test_a_metric_of_ones_own():
    metric = LargestError()
    assert metric.direction == "down"
    metric.update(T, P)
    largest = np.abs(T - P).max()
    assert metric.result_for_logs() == {"largest": largest, "half": largest / 2, "rows": 4.0}
    assert [type(value) for value in metric.result_for_logs().values()] == [float] * 3
    metric.reset_state()
    metric.update(T, P, WEIGHTS[:, 0], MASK)
    expected = (np.abs(T - P) * (WEIGHTS[:, :1] * MASK)[..., None]).max()
    assert metric.result_for_logs()["largest"] == pytest.approx(expected)
    metric.largest += 1
    assert float(metric.largest) == pytest.approx(expected + 1)
    assert [variable.name for variable in metric.variables] == ["largest", "rows"]
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        other.reset_state()
        assert other.largest == 0
        assert metric.largest > 1
    with pytest.raises(ValueError, match=r"the value of variable 'largest' must have the shape \(\), got \(2,\)"):
        metric.largest.assign([1, 2])
    with pytest.raises(ValueError, match="sample_weight must fit the mask's shape"):
        metric.update(T, P, np.ones(3), MASK)


def test_metrics_inside_a_metric():
    class Both(metrics.Metric):
        def __init__(self):
            super().__init__()
            self.parts = [metrics.MeanSquaredError(), metrics.MeanAbsoluteError()]

        def update_state(self, y_true, y_pred, **options):
            for part in self.parts:
                part.update_state(y_true, y_pred, **options)

        def result(self):
            return sum(part.result() for part in self.parts)

    metric = Both()
    metric.update(T, P, mask=MASK)
    expected = (FORMULAS["MeanSquaredError"](T, P) + FORMULAS["MeanAbsoluteError"](T, P))[MASK].mean()
    assert metric.result() == pytest.approx(expected)
    assert len(metric.variables) == 4
    metric.reset_state()
    assert metric.result() == 0


def test_functions_of_ones_own():
    def of_rows(t, p):
        return np.abs(t - p).max(axis=-1)

    metric = metrics.MeanMetricWrapper(of_rows)
    metric.update(T[:, 0, 0], P[:, 0, :1])
    assert metric.result() == pytest.approx(np.abs(T - P)[:, 0, 0].mean())
    masked = metrics.MeanMetricWrapper(of_rows)
    masked.update(T, P, mask=MASK)
    assert masked.result() == pytest.approx(np.abs(T - P).max(axis=-1)[MASK].mean())
    of_batch = metrics.MeanMetricWrapper(lambda t, p: float(np.mean(t * p)), name="product")
    for rows in (4, 1):  # each batch counts once
        of_batch.update(T[:rows], P[:rows])
    assert of_batch.result() == pytest.approx(((T * P).mean() + (T * P)[:1].mean()) / 2)
    with pytest.raises(ValueError, match="'product' must have a value for each row where there are weights or a mask"):
        of_batch.update(T, P, mask=MASK)
    assert of_batch.result() == pytest.approx(((T * P).mean() + (T * P)[:1].mean()) / 2)


def test_names():
    for name in ("mse", "MSE", "mean_squared_error", "MeanSquaredError", metrics.MeanSquaredError):
        metric = metrics.get(name)
        assert type(metric) is metrics.MeanSquaredError
        assert metric.name == "mean_squared_error"
    assert metrics.get("log_cosh_error").name == "logcosh"
    assert type(metrics.get("binary_accuracy")) is metrics.BinaryAccuracy
    assert type(metrics.get("r2_score")) is metrics.R2Score
    assert metrics.get(metrics.binary_accuracy) is metrics.binary_accuracy
    assert metrics.get(metrics.serialize(metrics.binary_accuracy)) is metrics.binary_accuracy
    assert metrics.deserialize(metrics.serialize(metrics.huber)) is metrics.huber
    assert metrics.get(None) is None
    own = {"MeanIoU": LargestError, "huber": np.hypot}
    assert type(metrics.deserialize({"class_name": "MeanIoU", "config": {}}, own)) is LargestError
    assert metrics.deserialize(metrics.serialize(metrics.huber), own) is np.hypot
    first, second = LargestErrorWithoutName(), LargestErrorWithoutName()
    assert second.name.removeprefix("largest_error_without_name_").isdigit()
    assert first.name != second.name
    assert cyrnn.metrics is metrics


class LargestErrorWithoutName(LargestError):
    def __init__(self):
        super().__init__(name=None)


@pytest.mark.parametrize("name", CLASSES)
def test_configs(name):
    metric = made(name, name="mine", dtype="float64")
    read = metrics.get(json.loads(json.dumps(metrics.serialize(metric))))
    assert type(read) is type(metric)
    assert read.get_config() == metric.get_config()
    assert (read.name, read.dtype) == ("mine", "float64")


def test_options_that_configs_of_keras_lose():
    read = metrics.get(metrics.serialize(metrics.CosineSimilarity(axis=1)))
    assert read(T, P) == pytest.approx(metrics.CosineSimilarity()(T.swapaxes(1, 2), P.swapaxes(1, 2)))
    read = metrics.get(metrics.serialize(metrics.SparseTopKCategoricalAccuracy(k=2, from_sorted_ids=True)))
    assert read([3, 1], [[1.0, 3, 2], [2, 0, 1]]) == 0.5
    wrapper = metrics.MeanMetricWrapper(metrics.huber, delta=0.5)
    assert metrics.get(metrics.serialize(wrapper))(T, P) == wrapper(T, P)
    weights = {"class_name": "__tensor__", "config": {"value": [1.0, 2.0], "dtype": "float32"}}  # as Keras writes them
    area = metrics.AUC.from_config({"thresholds": [0.5], "num_thresholds": 3, "label_weights": weights})
    assert area.get_config()["label_weights"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.get("mae_"), "could not interpret the metric 'mae_': .*; did you mean 'mae'?"),
        (lambda: metrics.get("BinaryAcuracy"), "did you mean 'BinaryAccuracy'?"),
        (lambda: metrics.get("MeanIoU"), "the metric 'MeanIoU' of Keras is not in cyrnn"),
        (lambda: metrics.deserialize({"class_name": "IoU", "config": {}}), "the metric 'IoU' of Keras is not in cyrnn"),
        (lambda: metrics.MeanSquaredError()(np.zeros((4, 2)), np.zeros((4, 3))), r"the shape of y_pred, \(4, 3\), got"),
        (lambda: metrics.Precision()(np.zeros((4, 2)), np.zeros((4, 3))), r"the shape of y_pred, \(4, 3\), got"),
        (lambda: metrics.MeanSquaredError()(T, P, np.ones(5)), r"sample_weight must have the shape \(4,\) or \(4, 5\)"),
        (lambda: metrics.AUC()(T, P, mask=np.ones((5, 4))), r"mask must have the shape \(4,\) or \(4, 5, 3\)"),
        (lambda: metrics.AUC(1), "num_thresholds must be at least 2, got 1"),
        (lambda: metrics.AUC(curve="rock"), r"curve must be one of \['PR', 'PRGAIN', 'ROC'\], got 'rock'"),
        (lambda: metrics.AUC(num_labels=2), "num_labels must be None without multi_label, got 2"),
        (lambda: metrics.AUC(multi_label=True)(T, P), r"y_pred must have the shape \(batch, labels\), got \(4, 5, 3\)"),
        (lambda: metrics.Precision(1.5), "thresholds must be from 0 to 1, got 1.5"),
        (lambda: metrics.Precision(top_k=4)(T, P), "at least top_k = 4 elements along its last axis"),
        (lambda: metrics.Recall(class_id=3)(T, P), r"a last axis with the class_id 3, got the shape \(4, 5, 3\)"),
        (lambda: metrics.RecallAtPrecision(2), "precision must be from 0 to 1, got 2"),
        (lambda: metrics.R2Score()(T, P), r"one shape \(batch, outputs\), got \(4, 5, 3\) and \(4, 5, 3\)"),
        (lambda: metrics.R2Score("mean"), "class_aggregation must be one of"),
        (lambda: metrics.F1Score("all"), "average must be one of"),
        (lambda: metrics.FBetaScore(beta=1), "beta must be a float over 0, got 1"),
        (lambda: metrics.F1Score(threshold=0.0), "threshold must be None or a float over 0"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k must be at least 1, got 0"),
        (lambda: metrics.Mean(dtype="int8"), "dtype must be float32, float64 or None, got 'int8'"),
        (lambda: metrics.Mean()(3.0, [1.0, 2.0]), "must have a value for each row where there are weights"),
        (lambda: metrics.SparseCategoricalCrossentropy()([3], [[0.5, 0.5]]), "labels from 0 to 1, .* got 3"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", OF_PAIRS)
def test_an_error_changes_nothing(name):
    metric, flat = made(name), name in OF_OUTPUTS
    t, p = (truth(name)[:, 0], P[:, 0]) if flat else (truth(name), P)
    before = metric(t, p)
    with pytest.raises(ValueError):
        metric.update_state(t, p, np.ones(7))
    np.testing.assert_array_equal(metric.result(), before)


def test_a_metric_without_its_base():
    class Forgetful(metrics.Metric):
        def __init__(self):
            self.total = self.add_variable((), "zeros")

    with pytest.raises(RuntimeError, match=r"Forgetful must call super\(\).__init__\(\) before it makes variables"):
        Forgetful()
    with pytest.raises(NotImplementedError, match="Metric must define update_state"):
        metrics.Metric().update_state(T, P)
