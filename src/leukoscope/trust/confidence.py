"""The least confidence that is accepted: for a wanted accuracy of what is accepted.

What is meant by the error among accepted cells: draw a source, then one of its cells; the error is
the probability that the label is wrong, given that the cell is accepted. So each source has weight
1, shared by its cells, as in the prediction sets. With one image per source that is the share of
accepted images that are wrong.

Axes: N images, R ranks of the eligible images, the most confident first. Masses are sums of the
weights of cells, in sources. What this file does not do: it decides on no cell (`decision`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.interval import Number
from leukoscope.trust.calibration import number_sources

_ROUNDING = 1e-12
"""1 - 0.9 is a hair less than 1 / 10."""

BOUND_LEVEL = 0.95
"""Of the upper bound on calibration cells, and of the t that few sources are corrected by."""

STEPS = 20
"""Thresholds that are tested for a guarantee: above the most confident twentieth of the eligible
cells, the most confident two, and so on."""


@dataclass(frozen=True, slots=True)
class AcceptedErrors:
    """How many images are accepted, how many of these are misclassified, and the share that is not
    exceeded with 95 % confidence (one-sided; NaN where none is accepted)."""

    n_accepted: int
    n_wrong: int
    bound: Number


@dataclass(frozen=True)
class ConfidenceThreshold:
    """The least confidence that is accepted, and what it does on the images it was fitted on.

    `value` is None where no threshold reaches the target; then nothing is accepted, and about
    `n_needed` sources like these would be needed (0: no number of sources would do). `wrong_bound`
    is the share wrong that the accepted images do not exceed with 95 % confidence, optimistic in
    that the threshold was chosen on them; NaN where nothing is accepted.
    """

    value: float | None
    n_accepted: int
    n_wrong: int
    n_needed: int = 0
    wrong_bound: float = math.nan


@dataclass(frozen=True)
class _Trace:
    """What is accepted down to each rank, `(R,)` each: masses and counts of accepted and of wrong
    cells, and the mass of `typical` cells that are wrong together (`_trace`)."""

    accepted_R: NDArray[np.float64]
    wrong_R: NDArray[np.float64]
    n_wrong_R: NDArray[np.int64]
    typical_R: NDArray[np.float64]


def fit_min_confidence(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    eligible_N: NDArray[np.bool_],
    sources: Sequence[str],
    target: float,
    confidence: float | None = None,
) -> ConfidenceThreshold:
    """Return the lowest confidence from which on accepted cells are right as often as wanted.

    `eligible_N` are the images that pass every other check. Without `confidence` the threshold is
    an estimate: the lowest at which `(wrong + b) / (accepted + b) <= 1 - target`, in masses, and
    `wrong / accepted <= 1 - target` in images too, for one source may hold many. That is the
    correction of conformal risk control (Angelopoulos et al. 2024, "Conformal risk control",
    equation 4) for one source more. Deviations: the error among accepted cells need not fall as the
    threshold rises, so their guarantee is none here; and b is not the most that a source can lose,
    1, but what is wrong together as a rule: 1 over the effective number of cells per source
    (`_trace`). With one image per source b is 1. It keeps the target on average over calibration
    sets and misses it in about four of ten (docs/experiments/034).

    With `confidence` (0 to 1) it is a guarantee: with that probability over calibration sets the
    error among accepted cells of new sources is at most 1 - `target`. Fixed-sequence testing
    (Angelopoulos et al. 2021, "Learn then test", section 3): thresholds from the highest downward,
    each tested for an error above 1 - `target`, until the first that is not rejected. The sequence
    are the shares k / `STEPS` of the eligible cells, from the first at which a result without a
    mistake would be rejected. The test is the exact binomial one on one cell of each source, drawn
    at random (seed 0): so it holds for every distribution, however cells of a source err together.
    The other checks (`eligible_N`) are taken as given.

    Equal confidences are accepted together; where all eligible images are accepted, the threshold
    is 0, else it lies halfway to the next one, so that rounding elsewhere decides no image.

    >>> found = fit_min_confidence(np.linspace(0, 1, 400), np.arange(400) > 99, np.full(400, True),
    ...                            [str(i) for i in range(400)], 0.99)
    >>> found.n_accepted, found.n_wrong
    (302, 2)
    """
    source_N, n_sources = number_sources(sources, len(confidence_N))
    rows = np.flatnonzero(eligible_N)
    order = rows[np.argsort(-confidence_N[rows], kind="stable")]
    if not len(order):
        return ConfidenceThreshold(None, 0, 0)
    ranked_R = confidence_N[order]
    trace = _trace(~hit_N[order], source_N[order], (1 / np.bincount(source_N))[source_N][order])
    if confidence is None:
        passed, needed = _estimate(trace, n_sources, target, _find_last(ranked_R))
    else:
        # Of each source the first cell in a random order.
        shuffled = np.random.default_rng(0).permutation(len(confidence_N))
        drawn_N = np.zeros(len(confidence_N), dtype=np.bool_)
        drawn_N[shuffled[np.unique(source_N[shuffled], return_index=True)[1]]] = True
        mine = order[drawn_N[order]]
        rank, needed = _test(~hit_N[mine], confidence_N[mine], target, confidence, n_sources)
        passed = None if rank is None else len(order) - 1
        if rank is not None and rank + 1 < len(mine):
            passed = int((ranked_R >= confidence_N[mine[rank]]).sum()) - 1
    if passed is None:
        return ConfidenceThreshold(None, 0, 0, math.ceil(needed - 1e-9))
    below = float(ranked_R[passed + 1]) if passed + 1 < len(order) else None
    return ConfidenceThreshold(
        value=0.0 if below is None else (float(ranked_R[passed]) + below) / 2,
        n_accepted=passed + 1,
        n_wrong=int(trace.n_wrong_R[passed]),
        wrong_bound=_bound_wrong(trace, passed),
    )


def _estimate(
    trace: _Trace, n_sources: int, target: float, last_R: NDArray[np.bool_]
) -> tuple[int | None, float]:
    """The last rank at which the corrected error is as wanted; else None, and how many sources
    would do if they erred as often as these (0: no number)."""
    allowed = 1 - target
    share_R = trace.wrong_R / trace.accepted_R
    image_R = trace.n_wrong_R / np.arange(1, len(share_R) + 1)
    b_R = trace.typical_R
    corrected_R = (trace.wrong_R + b_R) / (trace.accepted_R + b_R)
    fit_R = last_R & (image_R <= allowed + _ROUNDING)
    good = np.flatnonzero(fit_R & (corrected_R <= allowed + _ROUNDING))
    if len(good):
        return int(good[-1]), 0.0
    # A handful of right cells at the top says nothing of what more sources would show.
    enough_R = trace.accepted_R >= n_sources / STEPS
    could = np.flatnonzero(fit_R & enough_R & (share_R < allowed))
    if not len(could):
        return None, 0.0
    needed = b_R[could] * target / (allowed - share_R[could])
    return None, n_sources * float((needed / trace.accepted_R[could]).min())


def _trace(
    wrong_R: NDArray[np.bool_], source_R: NDArray[np.int64], weight_R: NDArray[np.float64]
) -> _Trace:
    """Sum up what is accepted down to each rank.

    `typical` is the mass of cells that are wrong together: the variance of the share wrong over
    sources, as a ratio (residuals u of the sources), in units of that of independent draws of mass
    1. It is one cell's mass where cells err independently, and a source's where all of a source err
    together; never below or above these (Kish). Where few sources hold the mistakes it is hardly
    known: it is multiplied by (t / z)^2 for (sum u^2)^2 / sum u^4 degrees of freedom. Where no cell
    is wrong, as if a single one were.
    """
    from scipy.special import ndtri, stdtrit

    grouped = np.argsort(source_R, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(source_R[grouped]) != 0))
    counts = np.diff(np.append(first, len(source_R)))

    def sum_before(values_R: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the cell's own source has summed up before it."""
        sums = np.cumsum(values_R[grouped]) - values_R[grouped]
        out_R = np.empty(len(values_R))
        out_R[grouped] = sums - np.repeat(sums[first], counts)
        return out_R

    ones_R, error_R = np.ones(len(source_R)), wrong_R.astype(np.float64)
    a_R, l_R = sum_before(ones_R), sum_before(error_R)
    accepted_R = np.cumsum(weight_R)
    lost_R = np.cumsum(weight_R * error_R)
    share_R = lost_R / accepted_R

    def sum_powers(i: int, j: int) -> NDArray[np.float64]:
        """The sum over sources of (mass wrong)^i (mass accepted)^j."""
        step_R = (l_R + error_R) ** i * (a_R + 1) ** j - l_R**i * a_R**j
        return np.cumsum(weight_R ** (i + j) * step_R)

    def sum_residuals(power: int) -> NDArray[np.float64]:
        terms = (
            math.comb(power, j) * (-share_R) ** j * sum_powers(power - j, j)
            for j in range(power + 1)
        )
        return np.maximum(sum(terms), 0.0)

    u2_R, u4_R = sum_residuals(2), sum_residuals(4)
    n_sources_R = np.cumsum(a_R == 0)
    freedom_R = np.clip(u2_R**2 / np.maximum(u4_R, 1e-300), 1, np.maximum(n_sources_R - 1, 1))
    z, tail = float(ndtri(0.5 + BOUND_LEVEL / 2)), 0.5 + BOUND_LEVEL / 2
    few_R = np.asarray(stdtrit(freedom_R, tail) / z) ** 2
    single_R = np.cumsum(weight_R**2) / accepted_R
    whole_R = sum_powers(0, 2) / accepted_R
    spread_R = n_sources_R / np.maximum(n_sources_R - 1, 1) * u2_R
    independent_R = lost_R * (1 - share_R)
    typical_R = np.divide(
        spread_R, independent_R, out=single_R.copy(), where=independent_R > _ROUNDING
    )
    alone = (float(stdtrit(1, tail)) / z) ** 2
    typical_R = np.maximum(typical_R, single_R) * np.where(lost_R > 0, few_R, alone)
    return _Trace(
        accepted_R, lost_R, np.cumsum(wrong_R), np.minimum(typical_R, np.maximum(whole_R, single_R))
    )


def _bound_wrong(trace: _Trace, rank: int) -> float:
    """The upper limit of Clopper and Pearson, one-sided, for the effective number of cells (Korn
    and Graubard 1998)."""
    b = trace.typical_R[rank]
    return bound_share(
        float(trace.wrong_R[rank] / b), float(trace.accepted_R[rank] / b), BOUND_LEVEL
    )


def bound_share(hits: float, n: float, confidence: float) -> float:
    """Return the share that `hits` of `n` independent trials do not exceed with `confidence`: the
    upper limit of Clopper and Pearson (1934), one-sided. Both may be fractional; NaN for `n` = 0.

    >>> round(bound_share(2, 1050, 0.95), 4), round(bound_share(0, 598, 0.95), 4)
    (0.006, 0.005)
    """
    from scipy.special import betaincinv

    if n == 0:
        return math.nan
    return float(betaincinv(hits + 1, n - hits, confidence)) if hits < n else 1.0


def _find_last(ranked_R: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which ranks are the last of equal confidences: bool `(R,)`."""
    return np.append(ranked_R[1:] != ranked_R[:-1], True)


def _test(
    wrong_R: NDArray[np.bool_],
    ranked_R: NDArray[np.float64],
    target: float,
    confidence: float,
    n_sources: int,
) -> tuple[int | None, float]:
    """Of one cell per source, the last rank of the fixed sequence that is rejected; else None, and
    how many sources would be tested if none erred (0: enough are, and too many are wrong)."""
    from scipy.stats import binom

    if not len(ranked_R):
        return None, 0.0
    # Mistakes play no part in which ranks are tested.
    ends = np.flatnonzero(_find_last(ranked_R))
    wanted = np.ceil(np.arange(1, STEPS + 1) * len(ranked_R) / STEPS - 1e-9).astype(int) - 1
    ranks = np.unique(ends[np.searchsorted(ends, wanted)])
    needed = math.ceil(math.log(1 - confidence) / math.log(target) - 1e-9)
    ranks = ranks[ranks + 1 >= needed]
    if not len(ranks):
        return None, n_sources * needed / len(ranked_R)
    chance = binom.cdf(np.cumsum(wrong_R)[ranks], ranks + 1, 1 - target)
    n_passed = int(np.append(chance > 1 - confidence, True).argmax())
    return (int(ranks[n_passed - 1]) if n_passed else None), 0.0
