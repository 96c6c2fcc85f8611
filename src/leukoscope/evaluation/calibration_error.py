"""The calibration error of the top probability, with the part that chance adds taken off.

Axes: N images, S sources, M bins. What this file does not do: it draws no interval
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


def compute_squared_error(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    sources: Sequence[str] | None = None,
    bins: int = ECE_BINS,
) -> float:
    """Return the mean squared gap between confidence and success by bin with chance taken off; may
    be negative.

    What is taken off a bin is the variance of its share of hits (Kumar, Liang and Ma 2019, section
    5: `a (1 - a) / (n - 1)`). Deviation: with `sources` it is the variance over sources, of which
    theirs is the case of one image each; duplicates that are right or wrong together would
    otherwise pass for miscalibration. A bin with one source shows no error beyond chance and counts
    as 0.

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
    mass_M = mass_SM.sum(axis=0)
    safe_M = np.maximum(mass_M, 1)
    accuracy_M = hits_SM.sum(axis=0) / safe_M
    square_M = (add_up(confidence_N).sum(axis=0) / safe_M - accuracy_M) ** 2
    spread_M = ((hits_SM - accuracy_M * mass_SM) ** 2).sum(axis=0)
    behind_M = (mass_SM > 0).sum(axis=0)
    noise_M = spread_M / safe_M**2 * behind_M / np.maximum(behind_M - 1, 1)
    noise_M = np.where(behind_M > 1, noise_M, square_M)
    return float(mass_M @ (square_M - noise_M)) / n


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
    images that are 94 % right; here that part is taken off (`compute_squared_error`).

    Deviations: the usual error averages absolute gaps, this squared ones, because only
    these can be debiased in closed form; without noise it is the larger of the two. What falls
    below 0 is 0, so a 0 means "no larger than chance". Errors as in `compute_squared_error`.

    >>> compute_debiased_ece(np.full(100, 0.9), np.arange(100) < 90)
    0.0
    >>> round(compute_debiased_ece(np.full(100, 0.9), np.arange(100) < 70), 3)
    0.195
    """
    return math.sqrt(max(0.0, compute_squared_error(confidence_N, hit_N, sources, bins)))
