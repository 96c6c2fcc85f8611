"""How far a figure may lie off by chance of its sources, from the influence of each image; means.

The method is that of `evaluation.intervals`, which has the intervals of all other figures. Axes: N
images, S sources, T strata. What this file does not do: it knows no score table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.interval import Interval

LEAST_SOURCES = 3.0
"""Kish's number of sources from which a figure has an interval: with two, limits span two thirds of
what is possible, and still miss one time in ten."""

LEAST_FREEDOM = 5.0
"""Figures that weigh classes have an interval above so many degrees of freedom, those of the
classes' own sources: two classes with three sources each have 4."""

_NOTHING = 1e-12
"""A spread below this is rounding."""

_CORRELATION = 0.05
"""Within a source, assumed only to weigh sources against each other when it is estimated: one of
two images says less of it than one of a thousand."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What is known of a figure's chance from the sources behind it.

    `variance` is the figure's own. `n_sources` is Kish's number: that of equal sources which say
    as much. `freedom` are the degrees of freedom of the variance, `most` what they would be if
    sources varied evenly. `is_enough` says whether the sources allow any statement.
    """

    variance: float
    freedom: float
    n_sources: float
    most: float
    is_enough: bool

    def compute_half(self, level: float, freedom: float) -> float:
        """Return how far Student's limits lie from the figure; NaN from too few sources."""
        if not self.is_enough:
            return math.nan
        from scipy.special import stdtrit

        return float(stdtrit(max(freedom, 1.0), 0.5 + level / 2)) * math.sqrt(self.variance)


def measure_spread(
    influence_N: NDArray[np.float64],
    source_N: NDArray[np.int64],
    stratum_N: NDArray[np.int64] | None = None,
    *,
    by_size: bool = False,
) -> Spread:
    """Return the spread of a figure from the influence of each of N images, summed over sources.

    `source_N` numbers the sources from 0. Strata, numbered from 0 without gaps, are the classes
    that a figure weighs, each the same or `by_size`; by default all images are one. N must be 1 or
    more.
    """
    n, s = len(influence_N), int(source_N.max()) + 1
    stratum_N = np.zeros(n, np.int64) if stratum_N is None else stratum_N
    t = int(stratum_N.max()) + 1
    cell_N = source_N * t + stratum_N
    sizes_ST = np.bincount(cell_N, minlength=s * t).reshape(s, t).astype(np.float64)
    sizes_T = sizes_ST.sum(axis=0)
    part_ST = sizes_ST / sizes_T
    weight_T = sizes_T / n if by_size else np.full(t, 1 / t)
    weight_S = part_ST @ weight_T
    weight2_S = weight_S**2
    n_sources = 1 / float(weight2_S.sum())
    # Satterthwaite: classes of as many equal sources as Kish's number says, all equally variable.
    # Of one source nothing is known: next to no degree of freedom, unless its class hardly counts.
    kish_T = 1 / (part_ST**2).sum(axis=0)
    variance_T = weight_T**2 / kish_T
    own = float(variance_T.sum() ** 2 / (variance_T**2 / np.maximum(kish_T - 1, 0.1)).sum())
    most = min(n_sources - 1, own)
    is_enough = n_sources >= LEAST_SOURCES - 1e-9 and (t == 1 or own > LEAST_FREEDOM)

    single = float((influence_N**2).sum())
    # Of a stratum that is one source nothing is left to divide by; the degrees of freedom say so.
    rest_ST = np.where(part_ST < 1 - _NOTHING, 1 - part_ST, 1.0)
    sum_ST = np.bincount(cell_N, influence_N, s * t).reshape(s, t)
    square_S = (sum_ST / np.sqrt(rest_ST)).sum(axis=1) ** 2
    variance = float(square_S.sum())
    if variance <= _NOTHING * single:  # nothing varies between sources
        return Spread(0.0, most, n_sources, most, is_enough)
    variance = max(single, variance)
    # Images of a source as if independent, and what their correlation adds to that.
    alone_S = sizes_ST @ (weight_T / sizes_T) ** 2
    pairs_S = weight2_S - alone_S
    known_S = 1 / (weight_S * (_CORRELATION + (1 - _CORRELATION) * alone_S / weight2_S)) ** 2
    added_S = square_S - np.bincount(source_N, influence_N**2, s)
    if known_S @ pairs_S > _NOTHING:  # some source has several images
        pooled = float(known_S @ added_S / (known_S @ pairs_S) * pairs_S.sum())
        variance = max(variance, single + pooled)
    parts_S = known_S * square_S
    freedom = min(most, float(parts_S.sum() ** 2 / (parts_S**2).sum()))
    return Spread(variance, freedom, n_sources, most, is_enough)


def compute_mean(
    values_N: NDArray[np.floating], sources: Sequence[str], level: float = 0.95
) -> Interval:
    """Return the mean of N values with Student's interval over sources; limits are NaN where the
    sources are too few. Raises `DataError` for no values.

    >>> compute_mean(np.array([1.0, 3.0]), ["a", "a"])
    Interval(value=2.0, low=nan, high=nan)
    """
    if not len(values_N) or len(values_N) != len(sources):
        raise DataError(
            "a mean needs at least one value, each with its source",
            f"{len(values_N)} values, {len(sources)} sources",
            "choose a role that has images",
        )
    n = len(values_N)
    values_N = np.asarray(values_N, dtype=np.float64)
    mean = float(values_N.mean())
    source_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)[1]
    spread = measure_spread((values_N - mean) / n, source_N)
    half = spread.compute_half(level, spread.most)
    return Interval(mean, mean - half, mean + half)
