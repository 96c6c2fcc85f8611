"""The calibration error of the top probability, with the part that chance adds taken off.

Axes: N images, S sources, M bins, B samples. What this file does not do: it draws no interval
(`intervals`) and fits nothing (`trust.calibration`).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.trust.calibration import number_sources

ECE_BINS = 15


def compute_equal_mass_bins(
    confidence_N: NDArray[np.float64], bins: int = ECE_BINS
) -> NDArray[np.int64]:
    """Return the bin of each image, 0 to `bins` - 1: as many images in each as ties allow.

    Equal confidences (to 12 decimals, the rounding of a softmax) share a bin, so the result does
    not depend on the order of rows; with many ties some bins stay empty. The same bins as
    `evaluation.metrics.compute_calibration_bins`.

    >>> compute_equal_mass_bins(np.array([0.9, 0.5, 0.7, 0.9]), 2).tolist()
    [1, 0, 0, 1]
    """
    _, group_N, mass_G = np.unique(
        np.round(confidence_N, 12), return_inverse=True, return_counts=True
    )
    middle_G = (np.cumsum(mass_G) - mass_G / 2) / max(len(confidence_N), 1)
    bin_G = np.minimum((middle_G * bins).astype(np.int64), bins - 1)
    return np.asarray(bin_G[group_N])


def compute_squared_errors(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    sources: Sequence[str] | None = None,
    *,
    bins: int = ECE_BINS,
    counts_BS: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean squared gap between confidence and success by bin, `(B,)`, with chance taken
    off, and as it is. The first may be negative.

    What is taken off a bin is the variance of its share of hits (Kumar, Liang and Ma 2019, section
    5: `a (1 - a) / (n - 1)`). Deviation: with `sources` it is the variance over sources, of which
    theirs is the case of one image each; duplicates that are right or wrong together would
    otherwise pass for miscalibration. A bin with one source shows no error beyond chance and counts
    as 0.

    `counts_BS` says how often each source, in the order of sorted names, was drawn in each of B
    samples (bins stay those of the whole); by default there is one sample, the images as they are.
    Raises `DataError` for no images, or lengths that differ.
    """
    n = len(confidence_N)
    if not n or len(hit_N) != n:
        raise DataError(
            "a calibration error needs at least one image, each right or wrong",
            f"{n} confidences, {len(hit_N)} hits",
            "choose a role that has labelled images",
        )
    source_N, s = (np.arange(n), n) if sources is None else number_sources(sources, n)
    cell_N = source_N * bins + compute_equal_mass_bins(confidence_N, bins)

    def add_up(values_N: NDArray[np.floating] | None) -> NDArray[np.float64]:
        return np.bincount(cell_N, values_N, s * bins).reshape(s, bins).astype(np.float64)

    mass_SM, hits_SM = add_up(None), add_up(hit_N.astype(np.float64))
    counts_BS = np.ones((1, s)) if counts_BS is None else counts_BS
    mass_BM = counts_BS @ mass_SM
    safe_BM = np.maximum(mass_BM, 1)
    accuracy_BM = counts_BS @ hits_SM / safe_BM
    square_BM = (counts_BS @ add_up(confidence_N) / safe_BM - accuracy_BM) ** 2
    # Sum over sources of (hits - accuracy * images)^2, multiplied out.
    spread_BM = counts_BS @ hits_SM**2 + accuracy_BM**2 * (counts_BS @ mass_SM**2)
    spread_BM -= 2 * accuracy_BM * (counts_BS @ (hits_SM * mass_SM))
    behind_BM = counts_BS @ (mass_SM > 0)
    noise_BM = spread_BM / safe_BM**2 * behind_BM / np.maximum(behind_BM - 1, 1)
    noise_BM = np.where(behind_BM > 1, noise_BM, square_BM)
    share_BM = mass_BM / mass_BM.sum(axis=1, keepdims=True)
    return (share_BM * (square_BM - noise_BM)).sum(axis=1), (share_BM * square_BM).sum(axis=1)


def compute_debiased_ece(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    sources: Sequence[str] | None = None,
    bins: int = ECE_BINS,
) -> float:
    """Compute the calibration error of the top probability without its bias, 0 to 1.

    The root of the mean squared gap between confidence and success in 15 bins of equal mass
    (Kumar, Liang and Ma 2019; bins of equal mass as Roelofs et al. 2022 advise). The plain
    error of a perfectly calibrated network is above 0 by chance alone, 0.006 or so with 2,000
    images that are 94 % right; here that part is taken off (`compute_squared_errors`).

    Deviations: the usual error averages absolute gaps, this squared ones, because only
    these can be debiased in closed form; without noise it is the larger of the two. What falls
    below 0 is 0, so a 0 means "no larger than chance". Errors as in `compute_squared_errors`.

    >>> compute_debiased_ece(np.full(100, 0.9), np.arange(100) < 90)
    0.0
    >>> round(compute_debiased_ece(np.full(100, 0.9), np.arange(100) < 70), 3)
    0.195
    """
    debiased_B, _ = compute_squared_errors(confidence_N, hit_N, sources, bins=bins)
    return math.sqrt(max(0.0, float(debiased_B[0])))
