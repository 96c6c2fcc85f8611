"""Calibration before and after, with intervals: calibration error, Brier score and its parts.

Axes: N images, K classes, S sources, M bins, P parts. What
this file does not do: it fits nothing (`trust.calibration`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.calibration_error import compute_equal_mass_bins
from leukoscope.evaluation.intervals import average_bins, compute_intervals
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable
from leukoscope.spread import measure_spread
from leukoscope.trust.calibration import Calibration, number_sources

_LEVEL = 0.95

BRIER_PARTS = ("reliability", "resolution", "uncertainty", "within")
"""The Brier score is the first less the second plus the other two (Murphy 1973, with the two terms
within bins of Stephenson et al. 2008 as one). `reliability` is the squared gap between stated
chance and frequency (0 is best), `resolution` how far frequencies differ between bins (more is
better), `uncertainty` the variance of the true class, `within` what bins hide."""


def calibrate_table(table: ScoreTable, calibration: Calibration) -> ScoreTable:
    """Return the table with calibrated logits."""
    return replace(table, logits_NK=calibration.apply(table.logits_NK).astype(np.float32))


def measure_calibration(table: ScoreTable) -> Mapping[str, Interval]:
    """Return `ece`, `brier`, its parts and `log_loss` of a table of known classes, with intervals.

    Brier score, log loss and calibration error are those of `compute_intervals`. The parts are
    `BRIER_PARTS`, as `brier_reliability`; chance inflates the first two, so the bounds are those of
    the part less what chance adds to it. Errors as in `compute_intervals`.
    """
    found = compute_intervals(table).overall
    parts = _bound_parts(table)
    return {"ece": found["ece"], "brier": found["brier"], **parts, "log_loss": found["log_loss"]}


def _bound_parts(table: ScoreTable) -> dict[str, Interval]:
    """Intervals of the parts of the Brier score: those of each class against the rest in bins of
    equal mass, summed over classes."""
    n = len(table)
    source_N, _ = number_sources(table.sources, n)
    value_P, noise_P = np.zeros((2, len(BRIER_PARTS)))
    influence_PN = np.zeros((len(BRIER_PARTS), n))
    outcomes_NK = np.eye(len(table.classes))[table.labels_N]
    for f_N, y_N in zip(table.probabilities_NK.T, outcomes_NK.T, strict=True):
        bin_N, rate = compute_equal_mass_bins(f_N), float(y_N.mean())
        mean_f_N, mean_y_N = average_bins(f_N, bin_N), average_bins(y_N, bin_N)
        gap_N, mean_gap_N = f_N - y_N, mean_f_N - mean_y_N
        # What an image adds to each part where bins stay as they are, and the part is their mean.
        added_PN = np.stack(
            [
                2 * mean_gap_N * gap_N - mean_gap_N**2,
                2 * mean_y_N * y_N - mean_y_N**2 - 2 * rate * y_N + rate**2,
                y_N * (1 - 2 * rate) + rate**2,
                (f_N - mean_f_N) ** 2 - 2 * (f_N - mean_f_N) * (y_N - mean_y_N),
            ]
        )
        own_P = added_PN.mean(axis=1)
        value_P += own_P
        influence_PN += (added_PN - own_P[:, None]) / n
        noise_P[:2] += [_sum_noise(x_N, bin_N, source_N) for x_N in (gap_N, y_N)]
    bounds = {}
    for name, value, noise, influence_N in zip(
        BRIER_PARTS, value_P.tolist(), noise_P.tolist(), influence_PN, strict=True
    ):
        spread = measure_spread(influence_N, source_N)
        half = spread.compute_half(_LEVEL, spread.freedom)
        bounds[f"brier_{name}"] = Interval(value, half, half)
        if not math.isnan(half):
            low, high = min(value, value - noise - half), max(value, value - noise + half)
            # Only what bins hide may be negative.
            low = low if name == "within" else max(low, 0.0)
            bounds[f"brier_{name}"] = Interval(value, low, high)
    return bounds


def _sum_noise(
    values_N: NDArray[np.float64], bin_N: NDArray[np.int64], source_N: NDArray[np.int64]
) -> float:
    """Return the variance over sources of the means of bins, each weighed by its images: by so much
    chance raises the mean square of these means."""
    bins = int(bin_N.max()) + 1
    cell_N = source_N * bins + bin_N
    rest_N = values_N - average_bins(values_N, bin_N)
    sum_SM = np.bincount(cell_N, rest_N, (int(source_N.max()) + 1) * bins).reshape(-1, bins)
    mass_M = np.maximum(np.bincount(bin_N, minlength=bins), 1)
    return float(((sum_SM**2).sum(axis=0) / mass_M).sum()) / len(values_N)


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
