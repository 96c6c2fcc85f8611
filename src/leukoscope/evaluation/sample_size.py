"""How many cells are needed: for an interval of a wanted width, and to decide a limit.

What this file does not do: it measures nothing. All counts are of independent cells times a
design effect: cells that share a source count for less.
"""

import math
from collections.abc import Sequence

from scipy.special import ndtri

from leukoscope.errors import ConfigError
from leukoscope.evaluation.intervals import Interval, wilson

MOST = 20_000
"""Where more cells than this would be needed, no number is given: nobody labels so many."""


def compute_sample_size(
    expected: float, half_width: float, *, design_effect: float = 1.0, level: float = 0.95
) -> int:
    """Return the least number of cells whose Wilson interval is at most `half_width` either way.

    `expected` is the share that will be seen, 0 to 1; half the interval's length counts, since
    Wilson's limits lie unevenly. The number of independent cells is found by bisection and
    multiplied by `design_effect` (Kish 1965; 1 for cells from different sources). Raises
    `ConfigError` for values out of range.

    >>> compute_sample_size(0.9, 0.05)
    141
    >>> compute_sample_size(0.9, 0.05, design_effect=4)
    564
    """
    if not (0 <= expected <= 1 and 0 < half_width < 0.5 and design_effect >= 1 and 0 < level < 1):
        raise ConfigError(
            "a sample size needs an expected share of 0 to 1, a half-width of more than 0 and less"
            " than 0.5, and a design effect of at least 1",
            f"expected {expected}, half-width {half_width}, design effect {design_effect}",
            "for example expected 0.9 and half_width 0.05",
        )
    low, high = 0.0, 1.0
    while _halve(expected, high, level) > half_width:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _halve(expected, middle, level) <= half_width else (middle, high)
        )
    return max(1, math.ceil(high * design_effect - 1e-6))


def _halve(expected: float, n: float, level: float) -> float:
    found = wilson(expected * n, n, level)
    return (found.high - found.low) / 2


def compute_effective_size(interval: Interval, level: float = 0.95) -> float:
    """Return the number of independent cells that a share's interval is worth.

    Wilson's limit L of a share p solves (p - L)^2 = z^2 L (1 - L) / n. NaN where the interval is.
    """
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    p, low, high = interval.value, interval.low, interval.high
    if math.isnan(low) or math.isnan(p):
        return math.nan
    bound = low if p >= 0.5 else high
    if bound == p or not 0 < bound < 1:
        return math.nan
    return z2 * bound * (1 - bound) / (p - bound) ** 2


def compute_design_effect(interval: Interval, sizes: Sequence[int], level: float = 0.95) -> float:
    """Return how many cells count as one independent cell, for a share from sources of `sizes`.

    That is what its interval is worth, but at most sum(m^2) / sum(m), which holds for cells of a
    source that are always right or wrong together (Kish 1965): intervals from few sources are
    wider still, since the spread between sources is hardly known, and more cells mend that. At
    least 1; 1 where it is unknown.

    >>> compute_design_effect(wilson(9, 10), [1] * 10)
    1.0
    """
    n = sum(sizes)
    effective = compute_effective_size(interval, level)
    if not n or math.isnan(effective):
        return 1.0
    return max(1.0, min(n / effective, sum(m * m for m in sizes) / n))


def compute_needed(
    share: float, limit: float, *, design_effect: float = 1.0, level: float = 0.95
) -> int | None:
    """Return how many cells would decide on which side of `limit` a share lies, if it stays.

    That is where Wilson's interval around it ends at the limit. None where no number would do:
    the share is the limit, or lies so near that more than `MOST` cells would be needed.

    >>> compute_needed(0.95, 0.90)
    139
    """
    if not (0 < limit < 1) or math.isnan(share) or share == limit:
        return None
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    needed = z2 * limit * (1 - limit) / (share - limit) ** 2 * design_effect
    return max(1, math.ceil(needed - 1e-6)) if needed <= MOST else None
