"""How many cells are needed: for an interval of a wanted width, and to decide a criterion.

What this file does not do: it measures nothing. All counts are of independent cells times a
design effect: cells that share a source count for less.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

from scipy.special import ndtri

from leukoscope.errors import ConfigError
from leukoscope.evaluation.intervals import compute_shrinkage, wilson
from leukoscope.interval import Interval

MOST = 20_000
"""Where more cells than this would be needed, no number is given: nobody labels so many."""

_LEVEL = 0.95


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
    holds for cells of a source that are always right or wrong together (Kish 1965). At least 1; 1
    where it is unknown.

    >>> compute_design_effect(wilson(9, 10), [1] * 10)
    1.0
    """
    n = sum(sizes)
    effective = compute_effective_size(interval)
    if not n or math.isnan(effective):
        return 1.0
    independent = effective / _reduce(interval.value, sizes, len(sizes))
    return max(1.0, min(n / independent, sum(m * m for m in sizes) / n))


def predict_effective_size(interval: Interval, sizes: Sequence[int], n_sources: int) -> float:
    """Return how many independent cells a share would correspond to if it came from `n_sources`
    sources that are as large as those of `sizes`, and whose cells are as much alike as its interval
    says of these.

    >>> predict_effective_size(wilson(9, 10), [1] * 10, 40)
    40.0
    """
    n = n_sources * sum(sizes) / len(sizes)
    effect = compute_design_effect(interval, sizes)
    return n / effect * _reduce(interval.value, sizes, n_sources)


def _reduce(share: float, sizes: Sequence[int], n_sources: int) -> float:
    """By how much few sources reduce the number of independent cells: not at all where each has one
    cell, or where nothing varies between them (`intervals`)."""
    if max(sizes) == 1 or share in (0, 1):
        return 1.0
    return compute_shrinkage(n_sources - 1, _LEVEL)


def compute_more(sizes: Sequence[int], is_decided: Callable[[int], bool]) -> int | None:
    """Return how many cells more would decide a question: those of the fewest further sources, as
    large as the ones of `sizes`, after which it is decided.

    More cells of the same sources would not do: they are right or wrong with those that are there.
    `is_decided` is asked about a number of sources; what some decide, more must decide too. None
    where more than `MOST` cells in all would be needed, and for no sources.

    >>> compute_more([1] * 10, lambda n: wilson(n, n).low >= 0.9)
    25
    """
    n, s = sum(sizes), len(sizes)
    if not n:
        return None
    most = math.floor(MOST * s / n)
    if most <= s or not is_decided(most):
        return None
    found = s + 1 + bisect_left(range(s + 1, most), True, key=is_decided)
    return math.ceil((found - s) * n / s - 1e-6)
