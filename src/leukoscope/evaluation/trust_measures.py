"""Calibration before and after, with intervals: calibration error, Brier score and its parts.

Axes: N images, K classes, S sources, B bootstrap replicates, M bins. What this file does not do: it
fits nothing (`trust.calibration`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import Interval, compute_intervals
from leukoscope.scores import ScoreTable
from leukoscope.trust.calibration import (
    ECE_BINS,
    Calibration,
    compute_equal_mass_bins,
    compute_log_losses,
    compute_squared_errors,
    number_sources,
)


@dataclass(frozen=True)
class BrierParts:
    """The Brier score taken apart (Murphy 1973, with the two terms within bins of Stephenson et al.
    2008): `reliability - resolution + uncertainty + within_variance - within_covariance`.

    `reliability` is the squared gap between stated chance and frequency (0 is best), `resolution`
    how far frequencies differ between bins (more is better), `uncertainty` the variance of the true
    class. The last two are what bins hide; without them the parts would miss the score.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float

    def to_dict(self) -> dict[str, float]:
        """Return the parts for JSON."""
        return asdict(self)


def decompose_brier(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64]
) -> BrierParts:
    """Take the Brier score of `compute_metrics` apart: that of each class against the rest in 15
    bins of equal mass, summed over classes. The parts add up to the score but for rounding.

    Raises `DataError` for no images, or labels outside the classes.

    >>> p = np.array([[0.8, 0.2]] * 10)
    >>> parts = decompose_brier(p, np.array([0] * 6 + [1] * 4))
    >>> round(parts.score, 3), round(parts.reliability, 3), round(parts.uncertainty, 3)
    (0.56, 0.08, 0.48)
    """
    n, k = probabilities_NK.shape
    if not n or len(labels_N) != n or labels_N.min() < 0 or labels_N.max() >= k:
        raise DataError(
            "a Brier score needs at least one image, all of known class",
            f"{n} images, {len(labels_N)} labels",
            "choose a role that has labelled images",
        )
    parts = np.zeros(6)
    for f_N, y_N in zip(probabilities_NK.T, np.eye(k)[labels_N].T, strict=True):
        bin_N = compute_equal_mass_bins(f_N)
        mass_M = np.bincount(bin_N, minlength=ECE_BINS)
        f_M = np.bincount(bin_N, f_N, ECE_BINS) / np.maximum(mass_M, 1)
        y_M = np.bincount(bin_N, y_N, ECE_BINS) / np.maximum(mass_M, 1)
        rest_N = f_N - f_M[bin_N]
        rate = float(y_N.mean())
        parts += [
            ((f_N - y_N) ** 2).mean(),
            mass_M @ (f_M - y_M) ** 2 / n,
            mass_M @ (y_M - rate) ** 2 / n,
            rate * (1 - rate),
            (rest_N**2).mean(),
            2 * (rest_N * (y_N - y_M[bin_N])).mean(),
        ]
    return BrierParts(*parts.tolist())


def calibrate_table(table: ScoreTable, calibration: Calibration) -> ScoreTable:
    """Return the table with calibrated logits."""
    return replace(table, logits_NK=calibration.apply(table.logits_NK).astype(np.float32))


def measure_calibration(
    table: ScoreTable, *, replicates: int = 1000, seed: int = 0
) -> Mapping[str, Interval]:
    """Return `ece` (debiased), `brier` and `log_loss` of a table of known classes, with intervals.

    Brier score and log loss are those of `compute_intervals`, the calibration error that of
    `compute_ece_interval`. Errors as in `compute_intervals`.
    """
    found = compute_intervals(table, replicates=replicates, seed=seed)
    p_NK = table.probabilities_NK
    ece = compute_ece_interval(
        p_NK.max(axis=1),
        p_NK.argmax(axis=1) == table.labels_N,
        table.sources,
        replicates=replicates,
        seed=seed,
    )
    return {"ece": ece, "brier": found["brier"], "log_loss": found["log_loss"]}


def compute_ece_interval(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    sources: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the debiased calibration error with its 95 % interval over sources.

    A basic (reverse percentile) bootstrap of its square: a replicate's debiased square estimates
    the plain square of the images as they are, and the distance between those two stands for that
    between ours and the truth. Few sources widen it as they do in `intervals`. Limits are NaN for a
    single source. Raises `DataError` for no images, or lengths that differ.
    """
    debiased_B, plain_B = compute_squared_errors(confidence_N, hit_N, sources)
    ours, plain = float(debiased_B[0]), float(plain_B[0])
    value = math.sqrt(max(0.0, ours))
    counts_BS = _draw_sources(len(set(sources)), replicates, seed)
    if not len(counts_BS):
        return Interval(value, math.nan, math.nan)
    drawn_B, _ = compute_squared_errors(confidence_N, hit_N, sources, counts_BS=counts_BS)
    tails = np.quantile(drawn_B, _list_tails(counts_BS.shape[1])).tolist()
    high, low = (math.sqrt(max(0.0, ours - x + plain)) for x in tails)
    return Interval(value, min(low, value), max(high, value))


def measure_gain(
    before: ScoreTable, after: ScoreTable, *, replicates: int = 1000, seed: int = 0
) -> Mapping[str, Interval]:
    """Return by how much `brier` and `log_loss` fall from one table to another of the same images.

    Positive is better. The interval is that of the difference, from a bootstrap over sources: two
    intervals that overlap may belong to a difference that chance does not explain. Raises
    `DataError` unless both tables hold the same images of known class.
    """
    if before.ids != after.ids or not len(before) or (before.labels_N < 0).any():
        raise DataError(
            "a gain is measured on the same images of known class before and after",
            f"{len(before)} and {len(after)} images",
            "calibrate the table that is compared",
        )
    source_N, s = number_sources(before.sources, len(before))
    onehot_NK = np.eye(len(before.classes))[before.labels_N]
    losses = {
        "brier": [((t.probabilities_NK - onehot_NK) ** 2).sum(axis=1) for t in (before, after)],
        "log_loss": [compute_log_losses(t.logits_NK, t.labels_N) for t in (before, after)],
    }
    mass_S = np.bincount(source_N).astype(np.float64)
    counts_BS = _draw_sources(s, replicates, seed)
    found = {}
    for name, (old_N, new_N) in losses.items():
        gain_S = np.bincount(source_N, old_N - new_N)
        value = float((old_N - new_N).mean())
        found[name] = Interval(value, math.nan, math.nan)
        if len(counts_BS):
            drawn_B = counts_BS @ gain_S / (counts_BS @ mass_S)
            low, high = np.quantile(drawn_B, _list_tails(s)).tolist()
            found[name] = Interval(value, min(low, value), max(high, value))
    return found


def _draw_sources(s: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """How often each of `s` sources is drawn in each replicate; no replicates of one source."""
    if s < 2:
        return np.zeros((0, s))
    generator = np.random.default_rng(seed)
    return generator.multinomial(s, np.full(s, 1 / s), size=replicates).astype(np.float64)


def _list_tails(s: int) -> tuple[float, float]:
    """Shares of replicates below the two limits: 2.5 and 97.5 %, further out for few sources
    (Hesterberg 2015, "expanded percentile")."""
    tail = float(ndtr(float(stdtrit(s - 1, 0.025)) * math.sqrt(s / (s - 1))))
    return tail, 1 - tail
