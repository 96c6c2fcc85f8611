"""Confidence intervals for every figure: what the number would be on other blood of this kind.

The unit of chance is the source (a slide, a field, a patient), not the image: images of one
source are right or wrong together. Axes: N images, K classes, S sources, B bootstrap replicates,
G groups of equal score.

Proportions (accuracy, recall, precision, specificity) take Wilson's interval. Where every source
has one image it is the plain one. Otherwise the number of images is replaced by an effective
number: that of independent images with the same variance as the ratio over sources
(Korn and Graubard 1998; with Wilson's form, Franco et al. 2019), reduced by (z / t)^2 for the
degrees of freedom. These are (sum u^2)^2 / sum u^4 of the sources' residuals u, at most S - 1:
if all errors lie in one source, the spread between sources is hardly known, and the interval
says so. The effective number never falls below Kish's number of sources (less its own degrees of
freedom): worse than copies that are always right or wrong together it cannot be. That is also
what counts where nothing varies between sources (all right, all wrong, one source). No
proportion ever has an interval of width 0.

The other figures take their variance from a bootstrap over sources. Those with two ends
(averages over classes, F1, areas, and MCC and kappa between -1 and 1) turn it into an effective
number and take Wilson's form too, with Student's t for few sources; if no replicate differs, the
number of sources is the effective one. Log loss and Brier score take percentiles, widened for few
sources (Hesterberg 2015, "expanded percentile"). The calibration error is the debiased one, with
the interval of `compute_ece_interval`.

Why not percentiles throughout: with 33 sources of 36 images and an accuracy of 95 % they hold the
truth in 90 % of simulations (correlation within a source 0.2), with 99 % in 50 % (0.6); the
intervals here in 95 % or more. Areas, losses and `ece` from few sources reach 88 to 96 %.
`tests/statistics/test_interval_coverage.py` measures it.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation.calibration_error import compute_squared_errors
from leukoscope.evaluation.metrics import PER_CLASS, Figures, compute_metrics
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import ScoreTable

_CHUNK = 4_000_000
"""Replicates times images held at once: 32 MB for each working array."""

_NOTHING = 1e-12
"""A spread below this is rounding."""

_SIGNED = ("mcc", "kappa")
_UNBOUNDED = ("log_loss", "brier")

Labelled = tuple[str, str]
"""A figure of one class: its name, and the label."""


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


def compute_proportion(
    hits_N: NDArray[np.bool_], sources: Sequence[str], level: float = 0.95
) -> Interval:
    """Return the share of hits among N images with its interval over sources.

    Raises `DataError` for no images or a number of sources that differs from N.
    """
    _check_level(level)
    if len(hits_N) == 0 or len(hits_N) != len(sources):
        raise DataError(
            "a proportion needs at least one image, each with its source",
            f"{len(hits_N)} images, {len(sources)} sources",
            "choose a role that has images",
        )
    index_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)[1]
    hits_S = np.asarray(np.bincount(index_N, weights=hits_N), dtype=np.float64)
    return _compute_ratio(hits_S, np.bincount(index_N).astype(np.float64), level)


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


def compute_intervals(
    table: ScoreTable, *, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Figures[Interval]:
    """Compute every figure of `compute_metrics` with its interval, and the debiased calibration
    error `ece` (`compute_ece_interval`), from one score table.

    Rows whose label is unknown (-1) do not count. The limits mean what they say as far as
    `table.sources` are independent draws: with unknown sources, hidden duplicates make them too
    narrow. Limits are NaN where they cannot be had (one source, and no proportion).

    Raises `DataError` for no labelled rows, `ConfigError` for `replicates` below 1 or `level`
    outside 0 to 1.
    """
    _check_level(level)
    if replicates < 1:
        raise ConfigError("replicates must be at least 1", str(replicates), "use 1000")
    table = table.take(table.labels_N >= 0)
    classes, labels_N, probabilities_NK = table.classes, table.labels_N, table.probabilities_NK
    values = compute_metrics(labels_N, probabilities_NK, classes)
    index_N = np.unique(np.asarray(table.sources, dtype=np.str_), return_inverse=True)[1]
    confusion_SKK = _count_confusions(index_N, labels_N, probabilities_NK.argmax(axis=1), classes)
    ratios = _list_ratios(confusion_SKK)
    class_ratios = _list_class_ratios(confusion_SKK, classes)
    drawn, drawn_of = _draw_replicates(index_N, confusion_SKK, table, replicates, seed)
    sources_K = (confusion_SKK.sum(axis=2) > 0).sum(axis=0)
    sources_K = sources_K[sources_K > 0]

    overall: dict[str, Interval] = {}
    for name, value in values.overall.items():
        if name in ratios:
            overall[name] = _compute_ratio(*ratios[name], level)
        else:
            behind = _count_behind(sources_K, len(confusion_SKK))
            freedom = min(behind - 1, _compute_freedom(*ratios["accuracy"]))
            overall[name] = _bound_replicates(name, value, drawn.get(name), behind, freedom, level)
    overall["ece"] = compute_ece_interval(
        probabilities_NK.max(axis=1),
        probabilities_NK.argmax(axis=1) == labels_N,
        table.sources,
        replicates=replicates,
        seed=seed,
    )
    per_class: dict[str, dict[str, Interval]] = {}
    for label, own in values.per_class.items():
        per_class[label] = {}
        ratio = class_ratios["f1", label]
        for name, value in own.items():
            if name != "f1" and (name, label) in class_ratios:
                found = _compute_ratio(*class_ratios[name, label], level)
            else:
                behind = float((ratio[1] > 0).sum())
                found = _bound_replicates(
                    name,
                    value,
                    drawn_of.get((name, label)),
                    behind,
                    _compute_freedom(*ratio),
                    level,
                )
            per_class[label][name] = found
    return Figures(overall, per_class)


def compute_from_confusion(
    labels_N: NDArray[np.int64],
    calls_N: NDArray[np.int64],
    classes: Sequence[str],
    sources: Sequence[str],
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    signed: bool,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return any figure of the confusion matrix that has two ends, with the interval of the header.

    `figure` takes confusion matrices `(B, K, K)`, rows by `labels_N`, and gives `(B,)`, NaN where
    it is undefined; its ends are 0 and 1, or -1 and 1 if it is `signed`. With the kappa of
    `metrics` this returns what `compute_intervals` does. Raises `DataError` for no images or
    columns of unequal length.
    """
    _check_level(level)
    if not len(labels_N) or len({len(labels_N), len(calls_N), len(sources)}) != 1:
        raise DataError(
            "an agreement needs at least one image, with two names and a source each",
            f"{len(labels_N)}, {len(calls_N)} names, {len(sources)} sources",
            "choose images that both have classified",
        )
    index_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)[1]
    confusion_SKK = _count_confusions(index_N, labels_N, calls_N, tuple(classes))
    s = len(confusion_SKK)
    value = float(figure(confusion_SKK.sum(axis=0, keepdims=True))[0])
    drawn_B = None
    if s > 1:
        generator = np.random.default_rng(seed)
        counts_BS = generator.multinomial(s, np.full(s, 1 / s), size=replicates).astype(np.float64)
        flat = counts_BS @ confusion_SKK.reshape(s, -1)
        drawn_B = figure(flat.reshape(replicates, *confusion_SKK.shape[1:]))
    sources_K = (confusion_SKK.sum(axis=2) > 0).sum(axis=0)
    sources_K = sources_K[sources_K > 0]
    behind = _count_behind(sources_K, len(confusion_SKK))
    right_S = np.trace(confusion_SKK, axis1=1, axis2=2)
    freedom = min(behind - 1, _compute_freedom(right_S, confusion_SKK.sum(axis=(1, 2))))
    kind = "kappa" if signed else "share"
    return _bound_replicates(kind, value, drawn_B, behind, freedom, level)


def compute_mean(
    values_N: NDArray[np.floating], sources: Sequence[str], level: float = 0.95
) -> Interval:
    """Return the mean of N values with Student's interval over sources; limits are NaN for one
    source. Raises `DataError` for no values.

    >>> compute_mean(np.array([1.0, 3.0]), ["a", "a"]).value
    2.0
    """
    _check_level(level)
    if not len(values_N) or len(values_N) != len(sources):
        raise DataError(
            "a mean needs at least one value, each with its source",
            f"{len(values_N)} values, {len(sources)} sources",
            "choose a role that has images",
        )
    values_N = np.asarray(values_N, dtype=np.float64)
    mean = float(values_N.mean())
    index_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)[1]
    s = int(index_N.max()) + 1
    if s < 2:
        return Interval(mean, math.nan, math.nan)
    u_S = np.bincount(index_N, weights=values_N - mean)
    spread = math.sqrt(s / (s - 1) * float((u_S**2).sum())) / len(values_N)
    half = float(stdtrit(s - 1, 0.5 + level / 2)) * spread
    return Interval(mean, mean - half, mean + half)


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
    counts_BS = draw_source_counts(len(set(sources)), replicates, seed)
    if not len(counts_BS):
        return Interval(value, math.nan, math.nan)
    drawn_B, _ = compute_squared_errors(confidence_N, hit_N, sources, counts_BS=counts_BS)
    tails = np.quantile(drawn_B, compute_tails(counts_BS.shape[1])).tolist()
    high, low = (math.sqrt(max(0.0, ours - x + plain)) for x in tails)
    return Interval(value, min(low, value), max(high, value))


def draw_source_counts(s: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of `s` sources is drawn in each replicate: `(B, S)`; of one source
    `(0, 1)`."""
    if s < 2:
        return np.zeros((0, s))
    generator = np.random.default_rng(seed)
    return generator.multinomial(s, np.full(s, 1 / s), size=replicates).astype(np.float64)


def compute_tails(s: int) -> tuple[float, float]:
    """Return the shares of replicates below the two bounds: 2.5 and 97.5 %, further out for few
    sources (Hesterberg 2015, "expanded percentile")."""
    tail = float(ndtr(float(stdtrit(s - 1, 0.025)) * math.sqrt(s / (s - 1))))
    return tail, 1 - tail


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


def _count_behind(sources_K: NDArray[np.int64], n_sources: int) -> float:
    """Return how many sources stand behind an average over K classes, from each one's sources.

    As many as give its variance: K times the harmonic mean of the classes' sources, if no source
    has several classes. A slide with all of them still is one slide: never more than there are.
    """
    return min(len(sources_K) ** 2 / float((1 / sources_K).sum()), float(n_sources))


def _compute_freedom(top_S: NDArray[np.float64], bottom_S: NDArray[np.float64]) -> float:
    """Return the degrees of freedom behind the variance of a ratio over sources (header)."""
    top_S, bottom_S = top_S[bottom_S > 0], bottom_S[bottom_S > 0]
    u2_S = (top_S - top_S.sum() / max(bottom_S.sum(), 1) * bottom_S) ** 2
    most = len(bottom_S) - 1.0
    if len(bottom_S) == 0 or bottom_S.max() <= 1 or u2_S.sum() < _NOTHING * bottom_S.sum():
        return most
    return min(most, float(u2_S.sum()) ** 2 / float((u2_S**2).sum()))


def _compute_ratio(
    top_S: NDArray[np.float64], bottom_S: NDArray[np.float64], level: float
) -> Interval:
    """Return sum(top) / sum(bottom) over sources, with the interval of the header."""
    top_S, bottom_S = top_S[bottom_S > 0], bottom_S[bottom_S > 0]
    n = float(bottom_S.sum())
    if n == 0 or bottom_S.max() == 1:
        return wilson(float(top_S.sum()), n, level)
    p = float(top_S.sum()) / n
    u2 = float(((top_S - p * bottom_S) ** 2).sum())
    # Kish's number: as if all images of a source were always right or wrong together.
    effective = n * n / float((bottom_S**2).sum())
    if u2 >= _NOTHING * n:
        variance = len(bottom_S) / (len(bottom_S) - 1) * u2 / (n * n)
        shrink = compute_shrinkage(_compute_freedom(top_S, bottom_S), level)
        least = effective * compute_shrinkage(len(bottom_S) - 1, level)
        effective = max(1.0, least, min(n, p * (1 - p) / variance) * shrink)
    found = wilson(p * effective, effective, level)
    return Interval(p, found.low, found.high)


def _bound_replicates(
    name: str,
    value: float,
    drawn_B: NDArray[np.float64] | None,
    behind: float,
    freedom: float,
    level: float,
) -> Interval:
    """Return the limits of a figure that `behind` sources carry, from its replicates."""
    drawn_B = np.zeros(0) if drawn_B is None else drawn_B[np.isfinite(drawn_B)]
    spread = float(np.var(drawn_B)) if len(drawn_B) else 0.0
    if behind > 1:  # a bootstrap over S sources understates their variance by S / (S - 1)
        spread *= behind / (behind - 1)
    if math.isnan(value) or (name in _UNBOUNDED and spread < _NOTHING**2):
        return Interval(value, math.nan, math.nan)
    if name in _UNBOUNDED:
        t = float(stdtrit(max(behind - 1, 1.0), (1 - level) / 2))
        tail = float(ndtr(t * math.sqrt(behind / max(behind - 1, 0.5))))
        low, high = (float(x) for x in np.quantile(drawn_B, (tail, 1 - tail)))
        return Interval(value, min(low, value), max(high, value))
    low_end, width = (-1.0, 2.0) if name in _SIGNED else (0.0, 1.0)
    p = min(max((value - low_end) / width, 0.0), 1.0)  # an area may be 1 + 1e-16
    effective = behind
    if spread >= _NOTHING**2 and 0 < p < 1:
        least = behind * compute_shrinkage(behind - 1, level)
        shrink = compute_shrinkage(freedom, level)
        effective = max(1.0, least, p * (1 - p) / (spread / width**2) * shrink)
    found = wilson(p * effective, effective, level)
    low, high = low_end + width * found.low, low_end + width * found.high
    return Interval(value, min(low, value), max(high, value))


def _count_confusions(
    index_N: NDArray[np.int64],
    labels_N: NDArray[np.int64],
    predictions_N: NDArray[np.int64],
    classes: tuple[str, ...],
) -> NDArray[np.float64]:
    """Return one confusion matrix per source: `(S, K, K)`."""
    k = len(classes)
    flat_N = (index_N * k + labels_N) * k + predictions_N
    s = int(index_N.max()) + 1
    return np.bincount(flat_N, minlength=s * k * k).reshape(s, k, k).astype(np.float64)


Ratio = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Numerator and denominator per source: `(S,)` each."""


def _list_ratios(confusion_SKK: NDArray[np.float64]) -> dict[str, Ratio]:
    """Return the figures of the whole that are a ratio."""
    hits_S = np.trace(confusion_SKK, axis1=1, axis2=2)
    n_S = confusion_SKK.sum(axis=(1, 2))
    return {"accuracy": (hits_S, n_S), "weighted_recall": (hits_S, n_S)}


def _list_class_ratios(
    confusion_SKK: NDArray[np.float64], classes: tuple[str, ...]
) -> dict[Labelled, Ratio]:
    """Return the figures of each class that are a ratio."""
    hits_SK = np.diagonal(confusion_SKK, axis1=1, axis2=2)
    true_SK, said_SK = confusion_SKK.sum(axis=2), confusion_SKK.sum(axis=1)
    n_S = true_SK.sum(axis=1)
    ratios: dict[Labelled, Ratio] = {}
    for k, label in enumerate(classes):
        others_S = n_S - true_SK[:, k]
        ratios["recall", label] = (hits_SK[:, k], true_SK[:, k])
        ratios["precision", label] = (hits_SK[:, k], said_SK[:, k])
        ratios["f1", label] = (2 * hits_SK[:, k], true_SK[:, k] + said_SK[:, k])
        ratios["specificity", label] = (others_S - said_SK[:, k] + hits_SK[:, k], others_S)
    return ratios


Replicates = dict[str, NDArray[np.float64]]
"""Figures by name, `(B,)` each."""

ClassReplicates = dict[Labelled, NDArray[np.float64]]


def _draw_replicates(
    index_N: NDArray[np.int64],
    confusion_SKK: NDArray[np.float64],
    table: ScoreTable,
    replicates: int,
    seed: int,
) -> tuple[Replicates, ClassReplicates]:
    """Resample sources with replacement; no replicates of one source."""
    s = len(confusion_SKK)
    if s < 2:
        return {}, {}
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // len(index_N))
    parts: list[Replicates] = []
    class_parts: list[ClassReplicates] = []
    for start in range(0, replicates, chunk):
        count = min(chunk, replicates - start)
        counts_BS = generator.multinomial(s, np.full(s, 1 / s), size=count).astype(np.float64)
        confusion_BKK = (counts_BS @ confusion_SKK.reshape(s, -1)).reshape(
            count, *confusion_SKK.shape[1:]
        )
        part, class_part = _score_confusions(confusion_BKK, table.classes)
        more, more_of = _score_probabilities(
            counts_BS[:, index_N], table.labels_N, table.probabilities_NK, table.classes
        )
        parts.append(part | more)
        class_parts.append(class_part | more_of)
    return (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        {key: np.concatenate([part[key] for part in class_parts]) for key in class_parts[0]},
    )


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _average_present(
    values_BK: NDArray[np.float64], present_BK: NDArray[np.bool_]
) -> NDArray[np.float64]:
    counted_BK = present_BK & np.isfinite(values_BK)
    return _divide(
        np.where(counted_BK, values_BK, 0.0).sum(axis=1), counted_BK.sum(axis=1).astype(np.float64)
    )


def _score_confusions(
    confusion_BKK: NDArray[np.float64], classes: tuple[str, ...]
) -> tuple[Replicates, ClassReplicates]:
    """Compute what a confusion matrix tells, for B of them, as `compute_metrics` does."""
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
    figures = {
        "balanced_accuracy": balanced_B,
        "macro_recall": balanced_B,
        "macro_f1": _average_present(f1_BK, present_BK),
        "weighted_f1": (share_BK * np.nan_to_num(f1_BK)).sum(axis=1),
        "macro_precision": _average_present(precision_BK, present_BK),
        "weighted_precision": (share_BK * precision_BK).sum(axis=1),
        "mcc": _divide(observed_B - expected_B, np.sqrt(np.where(spread_B > 1e-15, spread_B, 0))),
        "kappa": _divide(observed_B - expected_B, np.where(expected_B < 1, 1 - expected_B, 0)),
    }
    return figures, {("f1", label): f1_BK[:, k] for k, label in enumerate(classes)}


def _score_probabilities(
    weights_BN: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    probabilities_NK: NDArray[np.float64],
    classes: tuple[str, ...],
) -> tuple[Replicates, ClassReplicates]:
    """Compute what needs the probabilities, for B rows of weights, as `compute_metrics` does."""
    n_B = weights_BN.sum(axis=1)
    true_N = probabilities_NK[np.arange(len(labels_N)), labels_N]
    loss_N = -np.log(np.clip(true_N, np.finfo(np.float64).eps, 1))
    onehot_NK = np.eye(len(classes))[labels_N]
    brier_N = ((probabilities_NK - onehot_NK) ** 2).sum(axis=1)
    figures = {"log_loss": weights_BN @ loss_N / n_B, "brier": weights_BN @ brier_N / n_B}
    per_class: ClassReplicates = {}
    for k, label in enumerate(classes):
        per_class["roc_auc", label], per_class["pr_auc", label] = _score_areas(
            weights_BN, probabilities_NK[:, k], labels_N == k
        )
    for area in PER_CLASS[-2:]:
        values_BK = np.stack([per_class[area, label] for label in classes], axis=1)
        figures[area] = _average_present(values_BK, np.ones_like(values_BK, dtype=np.bool_))
    return figures, per_class


def _score_areas(
    weights_BN: NDArray[np.float64], scores_N: NDArray[np.float64], positive_N: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ROC area and average precision, `(B,)` each, with equal scores as one threshold."""
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N]
    starts_G = np.flatnonzero(np.r_[True, sorted_N[1:] != sorted_N[:-1]])
    weights_BN, positive_N = weights_BN[:, order_N], positive_N[order_N]
    gained_BG = np.add.reduceat(weights_BN * positive_N, starts_G, axis=1)
    lost_BG = np.add.reduceat(weights_BN * ~positive_N, starts_G, axis=1)
    true_BG, false_BG = gained_BG.cumsum(axis=1), lost_BG.cumsum(axis=1)
    positives_B, negatives_B = true_BG[:, -1], false_BG[:, -1]
    pairs_B = (lost_BG * (true_BG - gained_BG / 2)).sum(axis=1)
    precision_BG = np.nan_to_num(_divide(true_BG, true_BG + false_BG))
    return (
        _divide(pairs_B, positives_B * negatives_B),
        _divide((gained_BG * precision_BG).sum(axis=1), positives_B),
    )
