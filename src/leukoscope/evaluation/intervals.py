"""Confidence intervals for every figure: what the number would be on other blood of this kind.

The unit of chance is the source (a slide, a field, a patient), not the image: images of one source
are right or wrong together. What the limits are about is the figure that many such sources would
give together, each counted by its images. Axes: N images, K classes, S sources, T strata, B
confusion matrices, G groups of equal score.

All figures go one way. Each image has an influence: how the figure would change if it counted a
little more (the derivative; a share's is (hit - share) / N). Within a source influences add up,
and the variance of the figure is that of their sum over sources. A source that is a large part of
the figure hides its own chance, because the figure *is* that source; so the variance is the larger
of two estimates:

- sums of squares over sources, each divided by (1 - h), h the source's share of what the figure
  counts (CR2; Bell and McCaffrey 2002). It lets sources differ in kind.
- Kish's design effect with one correlation within a source, taken from all sources (Kish 1965):
  small sources say how far a large one may be off.

Degrees of freedom are (sum c)^2 / sum c^2 of the sources' contributions c: if all errors lie in
one source, the spread between sources is hardly known, and the interval says so. They are at most
Kish's number of sources less 1; for averages over classes at most Satterthwaite's, each class with
its own sources.

From the variance comes the interval. Figures with two ends (proportions, averages of them, F1,
areas, MCC and kappa) take Wilson's with an effective number of images, that of independent ones
with the same variance (Korn and Graubard 1998; Franco et al. 2019), times (z / t)^2 for the degrees
of freedom; never below Kish's number of sources less its own degrees of freedom, since worse than
copies that are always right or wrong together it cannot be. That is also what counts where nothing
varies between sources. Log loss and Brier score take Student's t on their root, means take it as
they are, the calibration error on its square. Proportions of images that are each their own
source take Wilson's as it is.

Too few sources give no interval, and limits are NaN: below `LEAST_SOURCES` by Kish's number, and
for what weighs classes at `LEAST_FREEDOM` or fewer. How often the limits hold the truth is measured
by `benchmarks/interval_coverage.py` (docs/experiments/033) and, in short, by
`tests/statistics/test_interval_coverage.py`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri, stdtrit

from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation.calibration_error import compute_equal_mass_bins, compute_squared_error
from leukoscope.evaluation.metrics import PER_CLASS, Figures, compute_metrics
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import ScoreTable
from leukoscope.spread import Spread, measure_spread
from leukoscope.trust.calibration import number_sources
from leukoscope.trust.notes import Note, Values

LARGE_SOURCE = 0.25
"""A source with more of a figure's images than this is named: the figure is mostly its own."""

_NOTHING = 1e-12
"""A spread below this is rounding."""

_STEP = 1e-4
"""Part of an image, by which counts are changed to see how a figure follows."""

Labelled = tuple[str, str]
"""A figure of one class: its name, and the label."""

_SIGNED = ("mcc", "kappa")
_UNBOUNDED = ("log_loss", "brier")
_AVERAGES = (
    "balanced_accuracy",
    "macro_recall",
    "macro_f1",
    "macro_precision",
    "roc_auc",
    "pr_auc",
)
"""Figures to which each class adds the same, however few its images."""

Bounds = tuple[float, float]
_NONE: Bounds = (math.nan, math.nan)


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Return the proportion `successes / n` with Wilson's score interval (Wilson 1927).

    Both may be fractional (effective numbers). All NaN for `n` = 0.

    >>> found = wilson(66, 71)
    >>> round(found.low, 3), round(found.high, 3)
    (0.846, 0.97)
    """
    _check_level(level)
    if not 0 <= successes <= n:
        raise ConfigError(
            "successes must lie between 0 and n", f"{successes} of {n}", "count them again"
        )
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = float(ndtri(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)))


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Return the proportion `successes / n` with the exact interval (Clopper and Pearson 1934).

    It holds the truth at least as often as it says for every share and number, which Wilson's does
    on average over shares only: of one miss in one trial that ends at 79 %, this one at 97.5 %.
    Both may be fractional (Korn and Graubard 1998). All NaN for `n` = 0.

    >>> found = clopper_pearson(0, 1)
    >>> round(found.low, 3), round(found.high, 3)
    (0.0, 0.975)
    """
    if n == 0:
        return UNDEFINED
    wilson(successes, n, level)  # the same arguments are rejected
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    p = successes / n
    return Interval(p, min(low, p), max(high, p))


def _bound_ends(spread: Spread, value: float, level: float, low_end: float = 0.0) -> Bounds:
    """Return the limits of a figure that ends at `low_end` and 1: Wilson's with an effective
    number of images; NaN from too few sources."""
    if math.isnan(value) or not spread.is_enough:
        return _NONE
    width = 1 - low_end
    p = min(max((value - low_end) / width, 0.0), 1.0)  # an area may be 1 + 1e-16
    effective, variance = spread.n_sources, spread.variance / width**2
    if variance > 0 and 0 < p < 1:
        effective = max(
            1.0,
            spread.n_sources * compute_shrinkage(spread.most, level),
            p * (1 - p) / variance * compute_shrinkage(spread.freedom, level),
        )
    found = wilson(p * effective, effective, level)
    low, high = low_end + width * found.low, low_end + width * found.high
    return min(low, value), max(high, value)


def _bound_share(hits_N: NDArray[np.bool_], source_N: NDArray[np.int64], level: float) -> Interval:
    """Return a share of N images with its interval."""
    n, p = len(hits_N), float(hits_N.mean())
    if np.bincount(source_N).max() == 1:
        return wilson(float(hits_N.sum()), n, level)
    spread = measure_spread((hits_N - p) / n, source_N)
    return Interval(p, *_bound_ends(spread, p, level))


def compute_proportion(
    hits_N: NDArray[np.bool_], sources: Sequence[str], level: float = 0.95
) -> Interval:
    """Return the share of hits among N images with its interval over sources.

    The truth that the limits are about is the expected share of sources drawn with their numbers of
    images, so that each counts by its size, as in the figure. Limits are NaN where the sources are
    too few. Raises `DataError` for no images or a number of sources that
    differs from N.

    >>> compute_proportion(np.ones(8, bool), list("aabbccdd")).low == wilson(4, 4).low
    True
    >>> compute_proportion(np.ones(8, bool), list("aaaabbbb")).low
    nan
    """
    _check_level(level)
    if len(hits_N) == 0 or len(hits_N) != len(sources):
        raise DataError(
            "a proportion needs at least one image, each with its source",
            f"{len(hits_N)} images, {len(sources)} sources",
            "choose a role that has images",
        )
    return _bound_share(np.asarray(hits_N), number_sources(sources, len(hits_N))[0], level)


def compute_share(
    hits_N: NDArray[np.bool_],
    among_N: NDArray[np.bool_],
    sources: Sequence[str],
    level: float = 0.95,
) -> Interval:
    """Return the share of hits among some of N images, as `compute_proportion`; `UNDEFINED` where
    there are none.

    >>> compute_share(np.array([True, False]), np.array([True, False]), ["a", "b"]).value
    1.0
    """
    rows = np.flatnonzero(among_N)
    if not len(rows):
        return UNDEFINED
    return compute_proportion(hits_N[rows], [sources[int(i)] for i in rows], level)


def find_large_sources(table: ScoreTable) -> tuple[Note, ...]:
    """Say so where one source has more than `LARGE_SOURCE` of all images, or of those of a class; a
    source of one image is never large. Rows whose label is unknown (-1) do not count."""
    known = np.flatnonzero(table.labels_N >= 0)
    source_N = number_sources([table.sources[i] for i in known], len(known))[0]
    labels_N = table.labels_N[known]

    def measure(among_N: NDArray[np.bool_]) -> float:
        largest = int(np.bincount(source_N[among_N], minlength=1).max())
        share = largest / max(int(among_N.sum()), 1)
        return share if largest > 1 and share > LARGE_SOURCE else 0.0

    notes = []
    if share := measure(np.ones(len(known), np.bool_)):
        notes.append(Note("large_source", {"share": share}))
    shares = {name: measure(labels_N == k) for k, name in enumerate(table.classes)}
    if labels := tuple(name for name, share in shares.items() if share):
        share = max(shares.values())
        values: Values = {"labels": labels, "limit": LARGE_SOURCE, "share": share}
        notes.append(Note("large_source_of_labels", values))
    return tuple(notes)


def compute_intervals(table: ScoreTable, *, level: float = 0.95) -> Figures[Interval]:
    """Compute every figure of `compute_metrics` with its interval, and the debiased calibration
    error `ece` (`compute_ece_interval`), from one score table.

    Rows whose label is unknown (-1) do not count. The limits mean what they say as far as
    `table.sources` are independent draws: with unknown sources, hidden duplicates make them too
    narrow. Limits are NaN where the sources are too few.

    Raises `DataError` for no labelled rows, `ConfigError` for a `level` outside 0 to 1.
    """
    _check_level(level)
    table = table.take(table.labels_N >= 0)
    classes, labels_N, p_NK = table.classes, table.labels_N, table.probabilities_NK
    values = compute_metrics(labels_N, p_NK, classes)
    source_N = number_sources(table.sources, len(table))[0]
    predicted_N = p_NK.argmax(axis=1)
    hit_N = predicted_N == labels_N
    class_N = np.unique(labels_N, return_inverse=True)[1]
    influence, influence_of = _find_influences(labels_N, predicted_N, p_NK, classes)

    overall = {}
    for name, value in values.overall.items():
        if name in ("accuracy", "weighted_recall"):
            overall[name] = _bound_share(hit_N, source_N, level)
            continue
        if name in _UNBOUNDED:
            spread = measure_spread(influence[name], source_N)
            bounds = _bound_root(value, spread.compute_half(level, spread.freedom))
        else:
            by_size = name not in _AVERAGES
            spread = measure_spread(influence[name], source_N, class_N, by_size=by_size)
            bounds = _bound_ends(spread, value, level, -1.0 if name in _SIGNED else 0.0)
        overall[name] = Interval(value, *bounds)
    overall["ece"] = compute_ece_interval(p_NK.max(axis=1), hit_N, table.sources, level)

    per_class: dict[str, dict[str, Interval]] = {}
    for k, label in enumerate(classes):
        true_N, said_N = labels_N == k, predicted_N == k
        shares = {
            "precision": (true_N, said_N),
            "recall": (said_N, true_N),
            "specificity": (~said_N, ~true_N),
        }
        per_class[label] = {}
        for name, value in values.per_class[label].items():
            if name in shares:
                found = compute_share(*shares[name], table.sources, level)
            elif math.isnan(value):
                found = UNDEFINED
            else:
                # F1 is a ratio of numbers of images that are the class, or were taken for it.
                own = true_N | said_N if name == "f1" else np.ones_like(true_N)
                index_N = np.unique(source_N[own], return_inverse=True)[1]
                strata_N = None if name == "f1" else np.unique(true_N, return_inverse=True)[1]
                spread = measure_spread(influence_of[name, label][own], index_N, strata_N)
                found = Interval(value, *_bound_ends(spread, value, level))
            per_class[label][name] = found
    return Figures(overall, per_class)


def _bound_root(value: float, half: float) -> Bounds:
    """Return the limits of what cannot be negative, from those of its root; NaN for 0."""
    if value < _NOTHING or math.isnan(half):
        return _NONE
    root = math.sqrt(value)
    return max(0.0, root - half / (2 * root)) ** 2, (root + half / (2 * root)) ** 2


def compute_from_confusion(
    labels_N: NDArray[np.int64],
    calls_N: NDArray[np.int64],
    classes_count: int,
    sources: Sequence[str],
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    kind: Literal["average", "kappa"],
    level: float = 0.95,
) -> Interval:
    """Return any smooth figure of the confusion matrix with its interval.

    `figure` takes confusion matrices `(B, K, K)`, rows by `labels_N`, and gives `(B,)`, NaN where
    it is undefined. An `average` over the classes of `labels_N` lies between 0 and 1; what is like
    `kappa` between -1 and 1, and weighs the classes by their images.
    Raises `DataError` for no images or columns of unequal length.
    """
    _check_level(level)
    if not len(labels_N) or len({len(labels_N), len(calls_N), len(sources)}) != 1:
        raise DataError(
            "an agreement needs at least one image, with two names and a source each",
            f"{len(labels_N)}, {len(calls_N)} names, {len(sources)} sources",
            "choose images that both have classified",
        )
    confusion_KK = _count_confusion(labels_N, calls_N, classes_count)
    value = float(figure(confusion_KK[None])[0])
    if math.isnan(value):
        return UNDEFINED
    slope_KK = _differentiate(lambda m: {"": figure(m)}, confusion_KK)[""]
    spread = measure_spread(
        slope_KK[labels_N, calls_N],
        number_sources(sources, len(labels_N))[0],
        np.unique(labels_N, return_inverse=True)[1],
        by_size=kind == "kappa",
    )
    low_end = -1.0 if kind == "kappa" else 0.0
    return Interval(value, *_bound_ends(spread, value, level, low_end))


def compute_ece_interval(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    sources: Sequence[str],
    level: float = 0.95,
) -> Interval:
    """Return the debiased calibration error with its interval over sources.

    Student's limits of its square, whose influences are those of the plain one: of an image with
    the difference d between confidence and success, in a bin whose mean difference is g, they are
    (2 g d - g^2 - square) / N. Limits are NaN where the sources are too few. Raises `DataError` for
    no images, or lengths that differ.
    """
    _check_level(level)
    square = compute_squared_error(confidence_N, hit_N, sources)
    plain, influence_N = find_gap_influences(confidence_N, hit_N.astype(np.float64))
    spread = measure_spread(influence_N, number_sources(sources, len(hit_N))[0])
    half = spread.compute_half(level, spread.freedom)
    value = math.sqrt(max(0.0, square))
    if math.isnan(half):
        return Interval(value, *_NONE)
    # Influences are 0 where all gaps are 0 by chance; as much as chance adds may then be missing.
    low, high = square - half, square + math.hypot(half, plain - square)
    return Interval(value, *(math.sqrt(max(0.0, x)) for x in (low, high)))


def find_gap_influences(
    predicted_N: NDArray[np.float64], outcome_N: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean squared gap between mean prediction and mean outcome in bins of equal mass
    of the prediction, and the influence of each image on it `(N,)`."""
    bin_N = compute_equal_mass_bins(predicted_N)
    gap_N = predicted_N - outcome_N
    mean_N = average_bins(gap_N, bin_N)
    square = float((mean_N**2).mean())
    return square, (2 * mean_N * gap_N - mean_N**2 - square) / len(gap_N)


def average_bins(values_N: NDArray[np.float64], bin_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each image the mean of its bin."""
    sums_M, mass_M = np.bincount(bin_N, values_N), np.bincount(bin_N)
    return np.asarray(sums_M[bin_N] / mass_M[bin_N])


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError("level must lie between 0 and 1", str(level), "use 0.95")


def compute_shrinkage(freedom: float, level: float) -> float:
    """Return (z / t)^2, by which few degrees of freedom reduce an effective number.

    >>> round(compute_shrinkage(2, 0.95), 2), round(compute_shrinkage(100, 0.95), 2)
    (0.21, 0.98)
    """
    t = float(stdtrit(max(freedom, 1.0), 0.5 + level / 2))
    return (float(ndtri(0.5 + level / 2)) / t) ** 2


# -- influences -----------------------------------------------------------------------------------


def _find_influences(
    labels_N: NDArray[np.int64],
    predicted_N: NDArray[np.int64],
    p_NK: NDArray[np.float64],
    classes: tuple[str, ...],
) -> tuple[dict[str, NDArray[np.float64]], dict[Labelled, NDArray[np.float64]]]:
    """Return the influences of images on all figures that are no share, `(N,)` each."""
    n, k = len(labels_N), len(classes)
    slopes = _differentiate(_score_confusions, _count_confusion(labels_N, predicted_N, k))
    found: dict[str, NDArray[np.float64]] = {}
    found_of: dict[Labelled, NDArray[np.float64]] = {}
    for name, slope_KK in slopes.items():
        figure, _, index = name.partition(" ")
        influence_N = slope_KK[labels_N, predicted_N]
        if index:
            found_of[figure, classes[int(index)]] = influence_N
        else:
            found[figure] = influence_N
    true_N = p_NK[np.arange(n), labels_N]
    loss_N = -np.log(np.clip(true_N, np.finfo(np.float64).eps, 1))
    brier_N = ((p_NK - np.eye(k)[labels_N]) ** 2).sum(axis=1)
    for name, values_N in (("log_loss", loss_N), ("brier", brier_N)):
        found[name] = (values_N - values_N.mean()) / n
    for i, label in enumerate(classes):
        pair = find_area_influences(p_NK[:, i], labels_N == i)
        for area, influence_N in zip(PER_CLASS[-2:], pair, strict=True):
            found_of[area, label] = influence_N
    for area in PER_CLASS[-2:]:
        own = [found_of[area, label] for label in classes]
        defined = [one for one in own if not np.isnan(one[0])]
        found[area] = np.mean(defined, axis=0) if defined else np.full(n, np.nan)
    return found, found_of


def _count_confusion(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    return np.bincount(labels_N * k + predicted_N, minlength=k * k).reshape(k, k).astype(np.float64)


def _differentiate(
    figures: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]],
    confusion_KK: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return the derivative of each figure by each count above 0, `(K, K)`; 0 elsewhere."""
    rows, columns = np.nonzero(confusion_KK)
    b = len(rows)
    step_BKK = np.zeros((b, *confusion_KK.shape))
    step_BKK[np.arange(b), rows, columns] = _STEP
    up, down = (figures(confusion_KK + sign * step_BKK) for sign in (1, -1))
    slopes = {}
    for name in up:
        slopes[name] = np.zeros_like(confusion_KK)
        slopes[name][rows, columns] = (up[name] - down[name]) / (2 * _STEP)
    return slopes


def find_area_influences(
    scores_N: NDArray[np.float64], positive_N: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the influence of each image on the ROC area and on average precision, `(N,)` each, NaN
    where the area is undefined; equal scores are one threshold."""
    undefined_N = np.full(len(scores_N), np.nan)
    group_N = np.unique(-scores_N, return_inverse=True)[1]
    gained_G = np.bincount(group_N, positive_N).astype(np.float64)
    lost_G = np.bincount(group_N, ~positive_N).astype(np.float64)
    true_G, false_G = gained_G.cumsum(), lost_G.cumsum()
    positives, negatives = true_G[-1], false_G[-1]
    if not positives:
        return undefined_N, undefined_N
    precision_G = true_G / (true_G + false_G)
    average = float(gained_G @ precision_G) / positives
    # One more image changes the precision at its own threshold and at all that are less strict.
    rate_G = gained_G / (true_G + false_G)
    up_G = (rate_G * (1 - precision_G))[::-1].cumsum()[::-1]
    down_G = (rate_G * precision_G)[::-1].cumsum()[::-1]
    precision_N = (
        np.where(positive_N, (precision_G - average + up_G)[group_N], -down_G[group_N]) / positives
    )
    if not negatives:
        return undefined_N, precision_N
    below_G = (negatives - false_G + lost_G / 2) / negatives
    above_G = (true_G - gained_G / 2) / positives
    area = float(gained_G @ below_G) / positives
    area_N = np.where(
        positive_N, (below_G[group_N] - area) / positives, (above_G[group_N] - area) / negatives
    )
    return area_N, precision_N


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _average_present(
    values_BK: NDArray[np.float64], present_BK: NDArray[np.bool_]
) -> NDArray[np.float64]:
    counted_BK = present_BK & np.isfinite(values_BK)
    return _divide(
        np.where(counted_BK, values_BK, 0.0).sum(axis=1), counted_BK.sum(axis=1).astype(np.float64)
    )


def _score_confusions(confusion_BKK: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Compute what a confusion matrix tells, `(B,)` each, as `compute_metrics` does; the F1 of
    class k is `f1 k`."""
    hits_BK = np.diagonal(confusion_BKK, axis1=1, axis2=2)
    true_BK, said_BK = confusion_BKK.sum(axis=2), confusion_BKK.sum(axis=1)
    n_B = true_BK.sum(axis=1)
    present_BK = true_BK > 0
    share_BK = true_BK / n_B[:, None]
    precision_BK = np.nan_to_num(_divide(hits_BK, said_BK))
    recall_BK = _divide(hits_BK, true_BK)
    f1_BK = np.where(present_BK, _divide(2 * hits_BK, true_BK + said_BK), np.nan)
    observed_B = hits_BK.sum(axis=1) / n_B
    expected_B = (true_BK * said_BK).sum(axis=1) / n_B**2
    spread_B = (1 - (said_BK**2).sum(axis=1) / n_B**2) * (1 - (true_BK**2).sum(axis=1) / n_B**2)
    balanced_B = _average_present(recall_BK, present_BK)
    return {
        "balanced_accuracy": balanced_B,
        "macro_recall": balanced_B,
        "macro_f1": _average_present(f1_BK, present_BK),
        "weighted_f1": (share_BK * np.nan_to_num(f1_BK)).sum(axis=1),
        "macro_precision": _average_present(precision_BK, present_BK),
        "weighted_precision": (share_BK * precision_BK).sum(axis=1),
        "mcc": _divide(observed_B - expected_B, np.sqrt(np.where(spread_B > 1e-15, spread_B, 0))),
        "kappa": _divide(observed_B - expected_B, np.where(expected_B < 1, 1 - expected_B, 0)),
        **{f"f1 {k}": f1_BK[:, k] for k in range(f1_BK.shape[1])},
    }
