"""How many cells are needed: for an interval of a wanted width, and to decide a criterion.

What this file does not do: it measures nothing. All counts are of independent cells times a
design effect: cells that share a source count for less. Axes: T numbers of sources.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtri, stdtrit

from leukoscope.errors import ConfigError
from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import EXACT_BELOW, Interval

MOST = 20_000
"""Where more cells than this would be needed, no number is given: nobody labels so many."""

POWER = 0.8
"""A number of cells is given that decides a criterion in so many cases."""

_LEVEL = 0.95
_BISECTIONS = 50
_AT_ONCE = 1000

_Numbers = NDArray[np.float64]


def compute_sample_size(expected: float, half_width: float, *, design_effect: float = 1.0) -> int:
    """Return the least number of cells whose Wilson interval is at most `half_width` either way.

    `expected` is the share that will be seen, 0 to 1; half the interval's length counts, since
    Wilson's bounds lie unevenly. The number of independent cells is found by bisection and
    multiplied by `design_effect` (Kish 1965; 1 for cells from different sources). Raises
    `ConfigError` for values out of range.

    >>> compute_sample_size(0.9, 0.05)
    141
    >>> compute_sample_size(0.9, 0.05, design_effect=4)
    564
    """
    if not (0 <= expected <= 1 and 0 < half_width < 0.5 and design_effect >= 1):
        raise ConfigError(
            "a sample size needs an expected share of 0 to 1, a half-width of more than 0 and less"
            " than 0.5, and a design effect of at least 1",
            f"expected {expected}, half-width {half_width}, design effect {design_effect}",
            "for example expected 0.9 and half_width 0.05",
        )
    low, high = 0.0, 1.0
    while _halve(expected, high) > half_width:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _halve(expected, middle) <= half_width else (middle, high)
    return max(1, math.ceil(high * design_effect - 1e-6))


def _halve(expected: float, n: float) -> float:
    found = wilson(expected * n, n)
    return (found.high - found.low) / 2


def compute_effective_size(interval: Interval) -> float:
    """Return the number of independent cells that a share's interval corresponds to.

    Wilson's bound L of a share p solves (p - L)^2 = z^2 L (1 - L) / n. NaN where the interval is.
    """
    z2 = float(ndtri(0.5 + _LEVEL / 2)) ** 2
    p, low, high = interval.value, interval.low, interval.high
    if math.isnan(low) or math.isnan(p):
        return math.nan
    bound = low if p >= 0.5 else high
    if bound == p or not 0 < bound < 1:
        return math.nan
    return z2 * bound * (1 - bound) / (p - bound) ** 2


def compute_design_effect(interval: Interval, sizes: Sequence[int]) -> float:
    """Return how many cells count as one independent cell, for a share from sources of `sizes`.

    That follows from its interval, less what few sources by themselves add to its width (the spread
    between them is hardly known, and more of them mend that). At most sum(m^2) / sum(m), which
    holds for cells of a source that are always right or wrong together (Kish 1965), and where the
    interval says nothing. At least 1.

    >>> compute_design_effect(wilson(9, 10), [1] * 10)
    1.0
    """
    n = sum(sizes)
    effective = compute_effective_size(interval)
    if not n:
        return 1.0
    most = sum(m * m for m in sizes) / n
    if math.isnan(effective):
        return most
    independent = effective / reduce_size(interval.value, sizes, _LEVEL)
    return max(1.0, min(n / independent, most))


def reduce_size(share: float, sizes: Sequence[int], level: float) -> float:
    """Return by how much few sources of `sizes` cells reduce a number of independent cells: not at
    all (1) where each has one cell, or where nothing varies between them (`intervals`)."""
    return float(_reduce(share, sizes, np.array([len(sizes)]), level)[0])


def _reduce(
    share: float, sizes: Sequence[int], sources_T: NDArray[np.int64], level: float
) -> _Numbers:
    if max(sizes) == 1 or share in (0, 1):
        return np.ones(len(sources_T))
    # Kish's number of sources less 1, as far as that grows with their number.
    equal_T = sources_T * sum(sizes) ** 2 / (len(sizes) * sum(m * m for m in sizes))
    tail = 0.5 + level / 2
    t_T = stdtrit(np.maximum(equal_T - 1, 1.0), tail)
    return np.asarray((ndtri(tail) / t_T) ** 2)


def predict_sizes(
    interval: Interval, sizes: Sequence[int], sources_T: NDArray[np.int64], level: float = _LEVEL
) -> tuple[_Numbers, _Numbers]:
    """Return how many independent cells `sources_T` sources would be, that are as large as those of
    `sizes` and whose cells are as much alike as a share's 95 % interval says of these: `(T,)` by
    their chance, and `(T,)` in the interval of `level`, which few sources widen.

    >>> independent, effective = predict_sizes(wilson(9, 10), [1] * 10, np.array([40]))
    >>> round(float(independent[0]), 6), round(float(effective[0]), 6)
    (40.0, 40.0)
    """
    n_T = sources_T * sum(sizes) / len(sizes)
    independent_T = n_T / compute_design_effect(interval, sizes)
    return independent_T, independent_T * _reduce(interval.value, sizes, sources_T, level)


def compute_power(
    share: float,
    threshold: float,
    sizes: Sequence[int],
    sources_T: NDArray[np.int64],
    predicted: tuple[_Numbers, _Numbers],
    level: float,
) -> _Numbers:
    """Return how often the lower bound of a share is at least `threshold` if `share` is the truth:
    `(T,)`, for numbers of sources with the `predicted` sizes.

    Exact where each source has one cell: the chance of so many hits that Wilson's bound, or the
    exact one below `EXACT_BELOW` sources, reaches the threshold. Otherwise the same with numbers of
    independent cells, which need not be whole.
    """
    independent_T, effective_T = predicted
    spread_T = np.sqrt(threshold * (1 - threshold) / effective_T)
    least_T = threshold + float(ndtri(0.5 + level / 2)) * spread_T
    few_T = sources_T < EXACT_BELOW
    least_T[few_T] = _invert_exact(threshold, effective_T[few_T], (1 - level) / 2)
    hits_T = independent_T * least_T
    hits_T = np.ceil(hits_T - 1e-9) if max(sizes) == 1 else hits_T + 0.5
    is_possible_T = least_T <= 1
    hits_T = np.where(is_possible_T, hits_T, independent_T)
    chance_T = betainc(hits_T, np.maximum(independent_T - hits_T + 1, 1e-9), share)
    return np.where(is_possible_T, chance_T, 0.0)


def _invert_exact(threshold: float, n_T: _Numbers, tail: float) -> _Numbers:
    """The share of `n_T` cells whose exact lower bound (Clopper and Pearson 1934) is the threshold;
    infinite where none has it."""
    low_T, high_T = np.full(len(n_T), threshold), np.ones(len(n_T))
    for _ in range(_BISECTIONS):
        middle_T = (low_T + high_T) / 2
        is_enough_T = betainc(middle_T * n_T, n_T - middle_T * n_T + 1, threshold) <= tail
        low_T, high_T = (
            np.where(is_enough_T, low_T, middle_T),
            np.where(is_enough_T, middle_T, high_T),
        )
    return np.where(threshold**n_T <= tail, high_T, np.inf)


def compute_needed(
    sizes: Sequence[int], find_power: Callable[[NDArray[np.int64]], _Numbers]
) -> int | None:
    """Return of how many cells in all a question is decided in `POWER` of cases: those of the
    fewest sources, as large as the ones of `sizes` and more than these, with which it is.

    More cells of the same sources would not do: they are right or wrong with those that are there.
    `find_power` takes numbers of sources `(T,)` and gives how often each decides. With whole cells
    that rises like the teeth of a saw: the number is the first that reaches it, and a few cells
    more may fall short by some points. None where more than `MOST` cells would be needed, and for
    no sources.

    >>> compute_needed([1] * 10, lambda sources_T: sources_T / 100)
    80
    """
    n, s = sum(sizes), len(sizes)
    most = math.floor(MOST * s / n) if n else 0
    for start in range(s + 1, most + 1, _AT_ONCE):
        sources_T = np.arange(start, min(start + _AT_ONCE, most + 1))
        enough = np.flatnonzero(find_power(sources_T) >= POWER)
        if len(enough):
            return math.ceil(int(sources_T[enough[0]]) * n / s - 1e-6)
    return None
