"""Calibration before and after, with intervals: calibration error, Brier score and its parts.

Axes: N images, K classes, S sources, B bootstrap replicates, M bins, P parts. What
this file does not do: it fits nothing (`trust.calibration`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.calibration_error import ECE_BINS, compute_equal_mass_bins
from leukoscope.evaluation.intervals import compute_intervals, compute_tails, draw_source_counts
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable
from leukoscope.trust.calibration import Calibration, number_sources

BRIER_PARTS = ("reliability", "resolution", "uncertainty", "within")
"""The Brier score is the first less the second plus the other two (Murphy 1973, with the two terms
within bins of Stephenson et al. 2008 as one). `reliability` is the squared gap between stated
chance and frequency (0 is best), `resolution` how far frequencies differ between bins (more is
better), `uncertainty` the variance of the true class, `within` what bins hide."""


def calibrate_table(table: ScoreTable, calibration: Calibration) -> ScoreTable:
    """Return the table with calibrated logits."""
    return replace(table, logits_NK=calibration.apply(table.logits_NK).astype(np.float32))


def measure_calibration(
    table: ScoreTable, *, replicates: int = 1000, seed: int = 0
) -> Mapping[str, Interval]:
    """Return `ece`, `brier`, its parts and `log_loss` of a table of known classes, with intervals.

    Brier score, log loss and calibration error are those of `compute_intervals`. The parts are
    `BRIER_PARTS`, as `brier_reliability`; resampling inflates the first two, so the bounds are
    those of the reverse percentile interval. Errors as in `compute_intervals`.
    """
    found = compute_intervals(table, replicates=replicates, seed=seed).overall
    parts = _bound_parts(table, replicates, seed)
    return {"ece": found["ece"], "brier": found["brier"], **parts, "log_loss": found["log_loss"]}


def _bound_parts(table: ScoreTable, replicates: int, seed: int) -> dict[str, Interval]:
    """Intervals of the parts of the Brier score."""
    source_N, s = number_sources(table.sources, len(table))
    p_NK, labels_N = table.probabilities_NK, table.labels_N
    value_P = _take_apart(p_NK, labels_N, source_N, np.ones((1, s)))[0]
    low_P = high_P = np.full(len(BRIER_PARTS), math.nan)
    counts_BS = draw_source_counts(s, replicates, seed)
    if len(counts_BS):
        drawn_BP = _take_apart(p_NK, labels_N, source_N, counts_BS)
        high_P, low_P = 2 * value_P - np.quantile(drawn_BP, compute_tails(s), axis=0)
        low_P, high_P = np.minimum(low_P, value_P), np.maximum(high_P, value_P)
        low_P[:3] = np.maximum(low_P[:3], 0)  # only what bins hide may be negative
    return {
        f"brier_{name}": Interval(*limits)
        for name, *limits in zip(
            BRIER_PARTS, value_P.tolist(), low_P.tolist(), high_P.tolist(), strict=True
        )
    }


def _take_apart(
    p_NK: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    source_N: NDArray[np.int64],
    counts_BS: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return `BRIER_PARTS` `(B, P)` where each source counts so many times: those of each class
    against the rest in bins of equal mass, which stay those of the whole, summed over classes."""
    s = counts_BS.shape[1]
    n_B = counts_BS @ np.bincount(source_N, minlength=s)
    parts_BP = np.zeros((len(counts_BS), len(BRIER_PARTS)))
    for f_N, y_N in zip(p_NK.T, np.eye(p_NK.shape[1])[labels_N].T, strict=True):
        cell_N = source_N * ECE_BINS + compute_equal_mass_bins(f_N)
        mass_BM, f_BM, y_BM, ff_BM, fy_BM = (
            counts_BS @ np.bincount(cell_N, values_N, s * ECE_BINS).reshape(s, ECE_BINS)
            for values_N in (np.ones_like(f_N), f_N, y_N, f_N**2, f_N * y_N)
        )
        safe_BM = np.maximum(mass_BM, 1)
        mean_f_BM, mean_y_BM = f_BM / safe_BM, y_BM / safe_BM
        rate_B1 = (y_BM.sum(axis=1) / n_B)[:, None]
        within_BM = ff_BM - mass_BM * mean_f_BM**2 - 2 * (fy_BM - mass_BM * mean_f_BM * mean_y_BM)
        sums_PBM = (
            mass_BM * (mean_f_BM - mean_y_BM) ** 2,
            mass_BM * (mean_y_BM - rate_B1) ** 2,
            y_BM * (1 - rate_B1),
            within_BM,
        )
        parts_BP += np.stack([sum_BM.sum(axis=1) / n_B for sum_BM in sums_PBM], axis=1)
    return parts_BP


def compute_risk_coverage(
    confidence_N: NDArray[np.float64], hit_N: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shares accepted and the shares wrong among them as the threshold falls: two arrays
    `(M,)`, one entry per distinct confidence, the highest first (El-Yaniv and Wiener 2010).

    >>> compute_risk_coverage(np.array([0.9, 0.8]), np.array([True, False]))
    (array([0.5, 1. ]), array([0. , 0.5]))
    """
    order = np.argsort(-confidence_N, kind="stable")
    last = np.append(np.diff(confidence_N[order]) != 0, True)
    accepted = np.arange(1, len(order) + 1)
    wrong = np.cumsum(~hit_N[order])
    return (accepted / len(order))[last], (wrong / accepted)[last]
