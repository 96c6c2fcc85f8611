import math

import numpy as np
import pytest
from sklearn import metrics as sk

from leukoscope.errors import DataError
from leukoscope.evaluation.metrics import (
    OVERALL,
    PER_CLASS,
    compute_calibration_bins,
    compute_confusion,
    compute_metrics,
    normalise_weights,
)

CLASSES = ("basophil", "eosinophil", "monocyte")


def make_scores(n=120, k=3, seed=0, signal=1.5):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    z = generator.normal(size=(n, k))
    z[np.arange(n), labels] += signal
    p = np.exp(z)
    return labels, p / p.sum(axis=1, keepdims=True)


def flatten(figures):
    """Every figure with its name."""
    yield from figures.overall.items()
    for own in figures.per_class.values():
        yield from own.items()


def test_names_are_complete():
    labels, p = make_scores()
    figures = compute_metrics(labels, p, CLASSES)
    assert tuple(figures.overall) == OVERALL and tuple(figures.per_class) == CLASSES
    assert all(tuple(own) == PER_CLASS for own in figures.per_class.values())
    assert all(isinstance(x, float) and math.isfinite(x) for _, x in flatten(figures))


def test_agrees_with_scikit_learn():
    labels, p = make_scores()
    said = p.argmax(axis=1)
    figures = compute_metrics(labels, p, CLASSES)
    expected = {
        "accuracy": sk.accuracy_score(labels, said),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, said),
        "macro_f1": sk.f1_score(labels, said, average="macro"),
        "weighted_f1": sk.f1_score(labels, said, average="weighted"),
        "macro_precision": sk.precision_score(labels, said, average="macro"),
        "weighted_precision": sk.precision_score(labels, said, average="weighted"),
        "macro_recall": sk.recall_score(labels, said, average="macro"),
        "weighted_recall": sk.recall_score(labels, said, average="weighted"),
        "mcc": sk.matthews_corrcoef(labels, said),
        "kappa": sk.cohen_kappa_score(labels, said),
        "roc_auc": sk.roc_auc_score(labels, p, multi_class="ovr"),
        "pr_auc": sk.average_precision_score(np.eye(3)[labels], p),
        "log_loss": sk.log_loss(labels, p),
    }
    assert {name: figures.overall[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_specificity_and_brier_by_hand():
    labels = np.array([0, 0, 1, 2])
    p = np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    figures = compute_metrics(labels, p, CLASSES)
    assert figures.per_class["basophil"]["specificity"] == 1
    assert figures.per_class["eosinophil"]["specificity"] == pytest.approx(2 / 3)
    assert figures.overall["brier"] == pytest.approx((0.08 + 1.62) / 4)


def test_weights_count_rows_several_times():
    labels, p = make_scores(60)
    weights = np.random.default_rng(1).integers(0, 4, 60).astype(float)
    repeated = np.repeat(np.arange(60), weights.astype(int))
    weighted = compute_metrics(labels, p, CLASSES, weights)
    expected = compute_metrics(labels[repeated], p[repeated], CLASSES)
    assert dict(weighted.overall) == pytest.approx(dict(expected.overall), abs=1e-12)
    for label in CLASSES:
        assert weighted.per_class[label] == pytest.approx(expected.per_class[label], abs=1e-12)


def test_absent_class_is_nan_and_left_out_of_averages():
    labels = np.array([0, 0, 1, 1])
    p = np.array([[0.9, 0.1, 0], [0.2, 0.3, 0.5], [0.1, 0.9, 0], [0.1, 0.9, 0]])
    figures = compute_metrics(labels, p, CLASSES)
    for name in ("recall", "f1", "roc_auc", "pr_auc"):
        assert math.isnan(figures.per_class["monocyte"][name])
    assert figures.per_class["monocyte"]["precision"] == 0  # it was named once, and wrongly
    assert figures.overall["balanced_accuracy"] == 0.75
    assert figures.overall["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_never_predicted_class_has_no_precision_but_counts_as_zero_in_the_average():
    labels = np.array([0, 1, 1])
    p = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]])
    figures = compute_metrics(labels, p, ("a", "b"))
    assert math.isnan(figures.per_class["a"]["precision"])
    assert figures.per_class["a"]["f1"] == 0
    assert figures.overall["macro_precision"] == pytest.approx(1 / 3)
    assert math.isnan(figures.overall["mcc"])
    assert figures.overall["kappa"] == 0


def test_one_class_in_truth():
    right = compute_metrics(np.zeros(2, int), np.array([[0.9, 0.1], [0.8, 0.2]]), ("a", "b"))
    assert right.overall["accuracy"] == 1
    for name in ("mcc", "kappa", "roc_auc"):
        assert math.isnan(right.overall[name]), name
    for name, label in (("roc_auc", "a"), ("specificity", "a"), ("recall", "b")):
        assert math.isnan(right.per_class[label][name]), name
    wrong = compute_metrics(np.zeros(2, int), np.array([[0.1, 0.9], [0.2, 0.8]]), ("a", "b"))
    assert wrong.overall["accuracy"] == 0 and wrong.overall["kappa"] == 0


def test_perfect_and_certain():
    p = np.eye(3)[[0, 1, 2, 1]]
    figures = compute_metrics(np.array([0, 1, 2, 1]), p, CLASSES)
    lower_better = {"log_loss", "brier"}
    for name, value in flatten(figures):
        assert value == pytest.approx(0 if name in lower_better else 1, abs=1e-12), name


def test_shuffled_labels_score_at_chance():
    labels, p = make_scores(3000, signal=4)
    assert compute_metrics(labels, p, CLASSES).overall["accuracy"] > 0.9
    shuffled = np.random.default_rng(3).permutation(labels)
    figures = compute_metrics(shuffled, p, CLASSES)
    # Five standard errors around chance.
    assert figures.overall["accuracy"] == pytest.approx(1 / 3, abs=5 * math.sqrt(2 / 9 / 3000))
    assert figures.overall["roc_auc"] == pytest.approx(0.5, abs=0.05)
    assert abs(figures.overall["mcc"]) < 0.05 and abs(figures.overall["kappa"]) < 0.05


def test_confusion_counts_rows_by_truth():
    confusion = compute_confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_calibration_bins_hold_equal_mass_and_keep_ties_together():
    confidence = np.linspace(0.3, 0.9, 150)
    mass, mean, accuracy = compute_calibration_bins(confidence, np.ones(150, bool))
    assert mass.tolist() == [10] * 15
    assert (np.diff(mean) > 0).all() and (accuracy == 1).all()
    tied = compute_calibration_bins(np.full(20, 0.7), np.arange(20) < 14)
    assert [x.tolist() for x in tied] == [[20], pytest.approx([0.7]), [0.7]]


@pytest.mark.parametrize(
    ("labels", "p", "weights", "found"),
    [
        ([0, 1], [[0.5, 0.5]], None, "probabilities"),
        ([0], [[0.5, 0.5]], [1.0, 1.0], "weights"),
        ([], np.zeros((0, 2)), None, "0 images"),
        ([0], [[0.5, 0.5]], [0.0], "sum to 0"),
        ([0], [[0.5, 0.5]], [-1.0], "sum to -1"),
        ([0], [[0.5, 0.5]], [np.inf], "inf"),
        ([0, -1], [[0.5, 0.5]] * 2, None, "the first is -1 in row 1"),
        ([2], [[0.5, 0.5]], None, "the first is 2"),
        ([0], [[0.5, 0.6]], None, "row 0"),
        ([0], [[1.5, -0.5]], None, "row 0"),
        ([0], [[np.nan, 0.5]], None, "row 0"),
    ],
)
def test_unfit_input_is_rejected(labels, p, weights, found):
    weights = None if weights is None else np.array(weights)
    with pytest.raises(DataError, match=found):
        compute_metrics(np.array(labels, int), np.array(p), ("a", "b"), weights)


def test_one_class_is_no_classifier():
    with pytest.raises(DataError, match="at least 2"):
        normalise_weights(np.zeros(1, int), np.ones((1, 1)), 1)
