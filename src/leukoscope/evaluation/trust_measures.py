"""Calibration before and after, with intervals: calibration error, Brier score and its parts.

Axes: N images, K classes, S sources, M bins. What this file does not do: it fits nothing
(`trust.calibration`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import Interval, compute_intervals
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import Calibration, compute_debiased_ece

BINS = 15


@dataclass(frozen=True)
class BrierParts:
    """The Brier score of "is the name right?" taken apart (Murphy 1973, with the two terms within
    bins of Stephenson et al. 2008): `reliability - resolution + uncertainty + within` is the score.

    `reliability` is the squared distance of confidence and success (0 is best), `resolution` how
    well confidence tells right from wrong (more is better), `uncertainty` the variance of being
    right, `within` what the bins hide.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float

    def to_dict(self) -> dict[str, float]:
        """Return the parts for JSON."""
        return dict(vars(self))


def decompose_brier(confidence_N: NDArray[np.float64], hit_N: NDArray[np.bool_]) -> BrierParts:
    """Take the Brier score of confidence against success apart, in 15 bins of equal mass.

    The parts add up to the score exactly. Raises `DataError` for no images.

    >>> parts = decompose_brier(np.full(10, 0.8), np.arange(10) < 6)
    >>> round(parts.reliability, 3), round(parts.uncertainty, 3), parts.resolution
    (0.04, 0.24, 0.0)
    """
    n = len(confidence_N)
    if not n:
        raise DataError("a Brier score needs at least one image", "none", "give images")
    y_N = hit_N.astype(np.float64)
    rate = float(y_N.mean())
    reliability = resolution = within = 0.0
    for rows in np.array_split(np.argsort(confidence_N, kind="stable"), min(BINS, n)):
        share, f, y = len(rows) / n, confidence_N[rows], y_N[rows]
        reliability += share * float((f.mean() - y.mean()) ** 2)
        resolution += share * float((y.mean() - rate) ** 2)
        within += share * float(f.var() - 2 * ((f - f.mean()) * (y - y.mean())).mean())
    return BrierParts(
        score=float(((confidence_N - y_N) ** 2).mean()),
        reliability=reliability,
        resolution=resolution,
        uncertainty=rate * (1 - rate),
        within=within,
    )


def calibrate_table(table: ScoreTable, calibration: Calibration) -> ScoreTable:
    """Return the table with calibrated logits."""
    return replace(table, logits_NK=calibration.apply(table.logits_NK).astype(np.float32))


def measure_calibration(
    table: ScoreTable, *, replicates: int = 1000, seed: int = 0
) -> Mapping[str, Interval]:
    """Return `ece` (debiased), `brier` and `log_loss` of a table of known classes, with intervals.

    Brier score and log loss are those of `compute_intervals`. The interval of the calibration error
    is that of a bootstrap over sources; resampling inflates the error, so the lower limit is that
    of the reverse percentile interval and the upper one the percentile, as elsewhere.
    """
    found = compute_intervals(table, replicates=replicates, seed=seed)
    p_NK = compute_probabilities(table.logits_NK)
    confidence_N, hit_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == table.labels_N
    value = compute_debiased_ece(confidence_N, hit_N)
    names, source_N = np.unique(np.asarray(table.sources, dtype=np.str_), return_inverse=True)
    order = np.argsort(source_N, kind="stable")
    starts = np.searchsorted(source_N[order], np.arange(len(names) + 1))
    rows_S = [order[a:b] for a, b in pairwise(starts.tolist())]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(min(replicates, 300) if len(names) > 1 else 0):
        rows = np.concatenate([rows_S[s] for s in rng.integers(0, len(names), len(names))])
        drawn.append(compute_debiased_ece(confidence_N[rows], hit_N[rows]))
    interval = Interval(value, float("nan"), float("nan"))
    if drawn:
        high = max(value, float(np.percentile(drawn, 97.5)))
        interval = Interval(value, max(0.0, 2 * value - high), high)
    return {"ece": interval, "brier": found["brier"], "log_loss": found["log_loss"]}
