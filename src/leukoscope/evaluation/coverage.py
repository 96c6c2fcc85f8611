"""Coverage of prediction sets, and whether new images are of the kind that they hold for.

Axes: N images, K classes, S sources, M new images. What this file does not do: it fits no sets
(`trust.conformal`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.interval import Number
from leukoscope.trust.calibration import number_sources
from leukoscope.trust.conformal import ConformalSets, DeliveredSets, compute_rank
from leukoscope.trust.decision import Decisions

CoverageCheck = Literal["holds", "below", "above", "no images"]


@dataclass(frozen=True)
class Share:
    """A measured coverage on some images, and the bounds within which it lies in 99 of 100 repeats
    if the guarantee holds; NaN without images.

    `guaranteed` is False where the sets guarantee nothing for these images by themselves (a class
    under a threshold that all classes share); the bounds then only say what is nominal. `check`
    says on which side of the bounds the coverage lies; above them breaks no guarantee.
    """

    value: Number
    n_images: int
    expected_low: Number
    expected_high: Number
    guaranteed: bool
    check: CoverageCheck

    @property
    def holds(self) -> bool:
        """False where coverage is lower than chance explains."""
        return self.check != "below"


@dataclass(frozen=True)
class Coverage:
    """Coverage of prediction sets on N images of known class, and how large the sets are."""

    marginal: Share
    per_class: Mapping[str, Share]
    mean_size: float
    empty_frac: float
    single_frac: float
    many_frac: float
    size_by_class: Mapping[str, Number]
    """Mean size of the sets of each true class; NaN for a class without images."""


def measure_delivered(
    decisions: Decisions, labels_N: NDArray[np.int64], fitted: ConformalSets
) -> DeliveredSets:
    """Measure the sets that users get on N images of known class.

    What is guaranteed is the coverage of the sets before the given label is added, which is no
    higher. Raises `DataError` for probabilities of other classes.
    """
    rows_N = np.arange(len(labels_N))
    several_N = decisions.sets_NK.sum(axis=1) > 1
    wrong_N = decisions.labels_N != labels_N
    return DeliveredSets(
        coverage=float(decisions.sets_NK[rows_N, labels_N].mean()),
        coverage_raw=float(fitted.predict(decisions.probabilities_NK)[rows_N, labels_N].mean()),
        mean_size=float(decisions.sets_NK.sum(axis=1).mean()),
        several_frac=float(several_N.mean()),
        n_wrong=int(wrong_N.sum()),
        wrong_several_frac=float(several_N[wrong_N].mean()) if wrong_N.any() else math.nan,
    )


def measure_coverage(
    sets_NK: NDArray[np.bool_],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    fitted: ConformalSets,
    *,
    sources: Sequence[str] | None = None,
    level: float = 0.99,
) -> Coverage:
    """Measure how often sets hold the true class, in all and for each class.

    Beside each share stand the bounds within which chance keeps it with probability `level`, the
    finite calibration set of `fitted` counted in (`_compute_band`). Those of the whole follow from
    the classes exactly: hits of several thresholds are sums of independent beta-binomial numbers.
    Where images share `sources`, the bounds are those of as many independent images as Kish's
    effective number of sources, the widest that can be needed.

    Raises `DataError` for no images, or labels outside the classes.
    """
    n, k = len(labels_N), len(classes)
    if not n or sets_NK.shape != (n, k) or labels_N.min() < 0 or labels_N.max() >= k:
        raise DataError(
            f"coverage is measured on images of {k} known classes, each with its set",
            f"{n} labels, sets {sets_NK.shape}",
            "choose a role that has labelled images; leave those of unknown classes out",
        )
    source_N = np.arange(n) if sources is None else number_sources(sources, n)[0]
    hit_N = sets_NK[np.arange(n), labels_N]
    per_class = {}
    for i, name in enumerate(classes):
        own_N = labels_N == i
        band = _compute_band(fitted, [(i, _count_effective(source_N[own_N]))], level)
        guaranteed = fitted.groups.count(fitted.groups[i]) == 1 and fitted.counts[i] > 0
        per_class[name] = _measure_share(hit_N[own_N], *band, guaranteed)
    parts = []
    for group in dict.fromkeys(fitted.groups):
        rows_N = np.array(fitted.groups)[labels_N] == group
        parts.append((fitted.groups.index(group), _count_effective(source_N[rows_N])))
    sizes_N = sets_NK.sum(axis=1)
    return Coverage(
        marginal=_measure_share(hit_N, *_compute_band(fitted, parts, level), True),
        per_class=per_class,
        mean_size=float(sizes_N.mean()),
        empty_frac=float((sizes_N == 0).mean()),
        single_frac=float((sizes_N == 1).mean()),
        many_frac=float((sizes_N > 1).mean()),
        size_by_class={
            name: float(sizes_N[labels_N == i].mean()) if (labels_N == i).any() else math.nan
            for i, name in enumerate(classes)
        },
    )


def _count_effective(source_N: NDArray[np.int64]) -> int:
    """Kish's number of sources: as if images of a source always stood or fell together."""
    if not len(source_N):
        return 0
    mass_S = np.unique(source_N, return_counts=True)[1]
    return max(1, int(len(source_N) ** 2 / float(mass_S @ mass_S)))


def _measure_share(hit_N: NDArray[np.bool_], low: float, high: float, guaranteed: bool) -> Share:
    if not len(hit_N):
        return Share(math.nan, 0, math.nan, math.nan, guaranteed, "no images")
    value = float(hit_N.mean())
    # Shares of whole numbers: 1e-9 is rounding.
    below, above = value < low - 1e-9, value > high + 1e-9
    check: CoverageCheck = "below" if below else "above" if above else "holds"
    return Share(value, len(hit_N), low, high, guaranteed, check)


def _compute_band(
    sets: ConformalSets, parts: Sequence[tuple[int, int]], level: float
) -> tuple[float, float]:
    """Bounds within which the share of hits among images of several thresholds, (class, images) of
    each, lies with probability `level` or more.

    The probability that a new score is at most the r-th of n is the r-th of n uniform draws, so
    the coverage of one fitted threshold is distributed as Beta(r, n + 1 - r), and the hits among
    the images as a beta-binomial number (Vovk 2012; Angelopoulos and Bates 2023, section 3.2 and
    appendix C); r is `compute_rank`. An infinite threshold always covers. Ties between scores can
    only raise coverage.
    """
    total = sum(n for _, n in parts)
    if not total:
        return math.nan, math.nan
    least, most = np.ones(1), np.ones(1)
    for i, n in parts:
        worst, best = _list_chances(n, sets.counts[i], sets.alphas[i], sets.borrowed[i])
        least, most = np.convolve(least, worst), np.convolve(most, best)
    tail = (1 - level) / 2
    low = int(np.searchsorted(np.cumsum(least), tail * (1 - 1e-9)))
    high = int(np.searchsorted(np.cumsum(most), 1 - tail))
    return min(low, total) / total, min(high, total) / total


def _list_chances(
    n: int, n_calib: int, alpha: float, borrowed: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of 0 to n hits under one threshold, at the worst and at the best."""
    from scipy.stats import betabinom

    all_hit = np.zeros(n + 1)
    all_hit[n] = 1
    rank = compute_rank(n_calib, alpha)
    if rank <= n_calib and not borrowed:
        found = np.asarray(betabinom.pmf(np.arange(n + 1), n, rank, n_calib + 1 - rank))
        return found, found
    if not borrowed:
        return all_hit, all_hit
    if not n_calib:
        return all_hit[::-1], all_hit
    return np.asarray(betabinom.pmf(np.arange(n + 1), n, n_calib, 1)), all_hit


_BROKEN_BELOW = 0.01


@dataclass(frozen=True)
class Exchangeability:
    """Do new images look like draws from where those of calibration came?

    `gap` is the largest difference between the two cumulative shares of scores, 0 to 1, and
    `p_value` that of the two-sided Kolmogorov-Smirnov test. `broken` is True where chance explains
    the difference in less than 1 % of repeats.
    """

    gap: float
    p_value: float
    broken: bool


def compare_exchangeability(
    calib_N: NDArray[np.float64], new_M: NDArray[np.float64]
) -> Exchangeability:
    """Compare one score per image, of calibration images and of new ones: high means strange.

    Scores that need no label will do, as 1 less the highest probability or the distance of the
    novelty model; so will those of the true class. A test of uniform conformal p-values would take
    them for independent, but all lean on one calibration set (Bates et al. 2023, section 2); the
    two-sample test allows for it. Give one image per source on each side, or duplicates will look
    like a difference. That nothing is found is no proof: the score may not see what changed, and
    few images show little.

    Raises `DataError` where either side has no images or a score that is not finite.
    """
    from scipy.stats import ks_2samp

    n, m = len(calib_N), len(new_M)
    both = np.concatenate([calib_N, new_M])
    if not n or not m or not np.isfinite(both).all():
        raise DataError(
            "a comparison needs images with finite scores on both sides",
            f"{n} and {m} images, {int((~np.isfinite(both)).sum())} scores not finite",
            "leave out images that the network gave no finite answer for",
        )
    found = ks_2samp(calib_N, new_M)
    p_value = float(found.pvalue)
    return Exchangeability(float(found.statistic), p_value, p_value < _BROKEN_BELOW)
