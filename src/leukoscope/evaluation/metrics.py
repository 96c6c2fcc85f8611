"""Figures of merit of a classifier, by name: a function of labels, probabilities and weights.

scikit-learn computes what it has. Axes: N images, K classes, M bins. What this file does not do:
it gives no intervals (`intervals.py`), knows nothing of sources, and leaves the calibration error
to what does (`trust.calibration.compute_debiased_ece`).

What is undefined is NaN, never an invented 0: recall, F1 and the areas of a class that does not
occur in truth, precision of a class that is never predicted, MCC of constant truth or constant
predictions. Averages run over the classes that occur in truth. One convention is scikit-learn's:
in `macro_precision` and `weighted_precision` a class that occurs but is never predicted counts
as 0, because leaving it out would reward a network for never naming it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)

from leukoscope.errors import DataError
from leukoscope.evaluation.calibration_error import ECE_BINS

OVERALL = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "weighted_f1",
    "macro_precision",
    "weighted_precision",
    "macro_recall",
    "weighted_recall",
    "mcc",
    "kappa",
    "roc_auc",
    "pr_auc",
    "log_loss",
    "brier",
)
"""Names of the figures of the whole test set. Lower is better for the last two."""

PER_CLASS = ("precision", "recall", "specificity", "f1", "roc_auc", "pr_auc")
"""Names of the figures of one class."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Figures(Generic[Value]):
    """Figures of merit by name: of the whole test set, and of each class by its label."""

    overall: Mapping[str, Value]
    per_class: Mapping[str, Mapping[str, Value]]


def compute_metrics(
    labels_N: NDArray[np.int64],
    probabilities_NK: NDArray[np.float64],
    classes: Sequence[str],
    weights_N: NDArray[np.float64] | None = None,
) -> Figures[float]:
    """Compute every figure of `OVERALL`, and of `PER_CLASS` for each class.

    `labels_N` indexes `classes`, 0 to K - 1: rows without a known label are the caller's to drop.
    `probabilities_NK` has rows that sum to 1; the prediction is the most probable class, the
    first one of equals. `weights_N` counts a row several times or not at all (1 by default).

    `balanced_accuracy` and `macro_recall` are one number under two names, as are `accuracy` and
    `weighted_recall`. `roc_auc` and `pr_auc` are unweighted means of one-vs-rest areas (the second
    is average precision). `brier` sums squared errors over classes, 0 to 2 (Brier 1950).

    Raises `DataError` for no rows, labels out of range, or rows that are no probabilities.

    >>> import numpy as np
    >>> figures = compute_metrics(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"])
    >>> figures.overall["accuracy"], figures.per_class["a"]["recall"]
    (1.0, 1.0)
    """
    weights_N = normalise_weights(labels_N, probabilities_NK, len(classes), weights_N)
    kept_N = weights_N > 0
    y_N, w_N = labels_N[kept_N], weights_N[kept_N]
    p_NK = probabilities_NK[kept_N].astype(np.float64)
    index_K = np.arange(len(classes))
    predictions_N = p_NK.argmax(axis=1)
    hit_N = predictions_N == y_N

    precision_K, recall_K, f1_K, _ = (
        np.asarray(x, dtype=np.float64)
        for x in precision_recall_fscore_support(
            y_N, predictions_N, labels=index_K, sample_weight=w_N, zero_division=np.nan
        )
    )
    confusion_KK = compute_confusion(y_N, predictions_N, len(classes), w_N)
    support_K = confusion_KK.sum(axis=1)
    present_K = support_K > 0
    f1_K = np.where(present_K, f1_K, np.nan)
    negatives_K = support_K.sum() - support_K
    false_K = confusion_KK.sum(axis=0) - confusion_KK.diagonal()
    specificity_K = np.array(
        [1 - f / n if n > 0 else np.nan for f, n in zip(false_K, negatives_K, strict=True)]
    )
    roc_K, pr_K = np.full(len(classes), np.nan), np.full(len(classes), np.nan)
    for k in np.flatnonzero(present_K):
        pr_K[k] = average_precision_score(y_N == k, p_NK[:, k], sample_weight=w_N)
        if negatives_K[k] > 0:
            roc_K[k] = roc_auc_score(y_N == k, p_NK[:, k], sample_weight=w_N)

    several = int(present_K.sum()) > 1
    constant = len(np.unique(predictions_N)) == 1
    onehot_NK = np.eye(len(classes))[y_N]
    share_K = support_K / support_K.sum()
    zeroed_K = np.nan_to_num(precision_K)
    figures = {
        "accuracy": accuracy_score(y_N, predictions_N, sample_weight=w_N),
        "balanced_accuracy": recall_K[present_K].mean(),
        "macro_f1": f1_K[present_K].mean(),
        "weighted_f1": (share_K * np.nan_to_num(f1_K)).sum(),
        "macro_precision": zeroed_K[present_K].mean(),
        "weighted_precision": (share_K * zeroed_K).sum(),
        "macro_recall": recall_K[present_K].mean(),
        "weighted_recall": (share_K * np.nan_to_num(recall_K)).sum(),
        "mcc": matthews_corrcoef(y_N, predictions_N, sample_weight=w_N)
        if several and not constant
        else np.nan,
        "kappa": cohen_kappa_score(y_N, predictions_N, labels=index_K, sample_weight=w_N)
        if several or not constant or not hit_N.all()
        else np.nan,
        "roc_auc": np.nanmean(roc_K) if several else np.nan,
        "pr_auc": np.nanmean(pr_K),
        "log_loss": log_loss(
            y_N, p_NK / p_NK.sum(axis=1, keepdims=True), labels=index_K, sample_weight=w_N
        ),
        "brier": np.average(((p_NK - onehot_NK) ** 2).sum(axis=1), weights=w_N),
    }
    columns = (precision_K, recall_K, specificity_K, f1_K, roc_K, pr_K)
    return Figures(
        {name: float(value) for name, value in figures.items()},
        {
            label: {
                name: float(values_K[k]) for name, values_K in zip(PER_CLASS, columns, strict=True)
            }
            for k, label in enumerate(classes)
        },
    )


def compute_confusion(
    labels_N: NDArray[np.int64],
    predictions_N: NDArray[np.int64],
    classes_count: int,
    weights_N: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Count images by true class (row) and predicted class (column): float64 `(K, K)`."""
    return np.asarray(
        confusion_matrix(
            labels_N, predictions_N, labels=np.arange(classes_count), sample_weight=weights_N
        ),
        dtype=np.float64,
    )


def compute_calibration_bins(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mass, mean confidence and accuracy of bins of equal mass, empty ones left out.

    Equal confidences stay in one bin, so the result does not depend on the order of rows; with
    many ties there are fewer bins. The three arrays have shape `(M,)`, M at most 15.
    """
    # 12 decimals: confidences that differ by the rounding of a softmax only are equal.
    values_G, group_N = np.unique(np.round(confidence_N, 12), return_inverse=True)
    mass_G = np.bincount(group_N).astype(np.float64)
    hits_G = np.bincount(group_N, weights=hit_N)
    middle_G = (np.cumsum(mass_G) - mass_G / 2) / mass_G.sum()
    bin_G = np.minimum((middle_G * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    mass_M = np.asarray(np.bincount(bin_G, weights=mass_G, minlength=ECE_BINS), dtype=np.float64)
    confidence_M = np.bincount(bin_G, weights=mass_G * values_G, minlength=ECE_BINS)
    hits_M = np.bincount(bin_G, weights=hits_G, minlength=ECE_BINS)
    full_M = mass_M > 0
    mass_M = mass_M[full_M]
    return mass_M, confidence_M[full_M] / mass_M, hits_M[full_M] / mass_M


def normalise_weights(
    labels_N: NDArray[np.int64],
    probabilities_NK: NDArray[np.float64],
    classes_count: int,
    weights_N: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Raise `DataError` unless labels, probabilities and weights fit; return the weights."""
    n = len(labels_N)
    weights_N = np.ones(n) if weights_N is None else np.asarray(weights_N, dtype=np.float64)
    if probabilities_NK.shape != (n, classes_count) or weights_N.shape != (n,):
        raise DataError(
            f"{n} labels and {classes_count} classes need probabilities ({n}, {classes_count})"
            f" and {n} weights",
            f"probabilities {probabilities_NK.shape}, weights {weights_N.shape}",
            "pass columns of one score table",
        )
    if classes_count < 2:
        raise DataError(
            "a classifier must have at least 2 classes", f"{classes_count}", "add another class"
        )
    if not np.isfinite(weights_N).all() or (weights_N < 0).any() or not weights_N.sum() > 0:
        raise DataError(
            "metrics need at least one image, with weights that are finite and not negative",
            f"{n} images, weights that sum to {weights_N.sum() if n else 0:g}",
            "choose a role that has labelled images",
        )
    bad_N = (labels_N < 0) | (labels_N >= classes_count)
    if bad_N.any():
        raise DataError(
            f"labels must lie between 0 and {classes_count - 1}",
            f"{int(bad_N.sum())} others, the first is {labels_N[bad_N][0]}"
            f" in row {int(np.flatnonzero(bad_N)[0])}",
            "leave images of unknown classes out",
        )
    sums_N = probabilities_NK.sum(axis=1)
    bad_N = ~((np.abs(sums_N - 1) < 1e-4) & (probabilities_NK >= 0).all(axis=1))
    if bad_N.any():
        row = int(np.flatnonzero(bad_N)[0])
        raise DataError(
            "probabilities must be 0 or more and sum to 1 in each row",
            f"{int(bad_N.sum())} rows that do not, the first is row {row}:"
            f" {probabilities_NK[row].tolist()}",
            "pass the softmax of finite logits",
        )
    return weights_N
