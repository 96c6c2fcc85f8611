"""Do external images look like those of the reference sample? The size of the shift.

Axes: M images of the reference sample, N external images, D embedding width, Q quality features.
What this file does not do: it measures no image and decides nothing; a shift need not harm, and
harm needs no shift.

With enough images every difference is significant, so that a p-value says little more than how
many images there were. So the size is given: the area under the ROC curve of a classifier that
separates the two sets (embeddings), Cohen's d and the share outside the reference range (single
features).

Images of one source are not independent: one image per source counts. Another case mix counts as a
shift here, since the bundle carries no labels of its reference sample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import Interval, Number

LEAST = 20
"""Fewer images on either side than this are not compared."""

MOST = 500
"""So many images a side are compared at most: the size of the shift does not need more."""

ShiftStatus = Literal["compared", "no_reference", "too_few"]


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """One feature: medians, Cohen's d (external less internal), and the share of external images
    outside the range that holds 98 % of the reference sample."""

    name: str
    internal_median: Number
    external_median: Number
    effect: Number
    outside: Interval


@dataclass(frozen=True, slots=True)
class Shift:
    """What differs between reference sample and external images; `n_internal` and `n_external`
    count the images, one per source. `separation` is an area under the ROC curve."""

    status: ShiftStatus
    n_internal: int = 0
    n_external: int = 0
    separation: Interval | None = None
    features: tuple[FeatureShift, ...] = ()


def compute_shift(
    internal_MD: NDArray[np.floating],
    external_ND: NDArray[np.floating],
    sources: Sequence[str],
    *,
    internal_MQ: NDArray[np.floating] | None = None,
    external_NQ: NDArray[np.floating] | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
) -> Shift:
    """Compare embeddings and features; one image of each of the external `sources` counts. The
    reference sample holds one image per source already. `too_few` images on either side are not
    compared."""
    internal = choose_rows(None, len(internal_MD), seed=seed)
    external = choose_rows(sources, len(external_ND), seed=seed, most=len(external_ND))
    external = external[choose_rows(None, len(external), seed=seed)]
    m, n = len(internal), len(external)
    if min(m, n) < LEAST:
        return Shift("too_few", m, n)
    features: tuple[FeatureShift, ...] = ()
    if internal_MQ is not None and external_NQ is not None and len(names):
        features = compute_feature_shifts(internal_MQ[internal], external_NQ[external], names)
    separation = compute_separation(internal_MD[internal], external_ND[external], seed=seed)
    return Shift("compared", m, n, separation, features)


def choose_rows(
    sources: Sequence[str] | None, n: int, *, seed: int = 0, most: int = MOST
) -> NDArray[np.intp]:
    """Return rows to compare: one of each source, at most `most`, drawn with `seed`, in order."""
    order = np.random.default_rng(seed).permutation(n)
    if sources is not None:
        _, first = np.unique(np.asarray(sources, dtype=np.str_)[order], return_index=True)
        order = order[np.sort(first)]
    return np.sort(order[:most])


def compute_separation(
    internal_MD: NDArray[np.floating], external_ND: NDArray[np.floating], *, seed: int = 0
) -> Interval:
    """Return how well a classifier separates the two sets: area under the ROC curve, with interval.
    Every row is of another source.

    Logistic regression on at most 30 principal components, fitted on half of the rows and evaluated
    on the others (classifier two-sample test, Lopez-Paz and Oquab 2017). 0.5: not at all; 1:
    completely. Below 0.5 is chance. The interval is that of Hanley and McNeil (1982). Folds that
    change places would use every image, but their errors move together: without a shift such an
    interval held 0.5 in 75 to 88 % of simulations. Raises `DataError` for fewer than `LEAST` rows
    on a side.
    """
    m, n = len(internal_MD), len(external_ND)
    if min(m, n) < LEAST:
        raise DataError(
            f"a comparison needs {LEAST} images on either side", f"{m} and {n}", "give more images"
        )
    joint = np.concatenate([internal_MD, external_ND]).astype(np.float64)
    side = np.r_[np.zeros(m, np.int64), np.ones(n, np.int64)]
    rows = np.array([f"internal {i}" for i in range(m)] + [f"external {i}" for i in range(n)])
    halves = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    fit, held = next(halves.split(joint, side, rows))
    model = make_pipeline(
        StandardScaler(),
        PCA(min(30, joint.shape[1], len(fit) // 5), svd_solver="full"),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=500),
    )
    model.fit(joint[fit], side[fit])
    score = model.predict_proba(joint[held])[:, 1]
    area = float(roc_auc_score(side[held], score))
    n_held = int(side[held].sum())
    return Interval(area, *_bound_area(area, len(held) - n_held, n_held))


def _bound_area(area: float, m: int, n: int) -> tuple[float, float]:
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    # An area of 1 has no variance; that of one pair of rows on the wrong side is the least.
    half = 1.96 * math.sqrt(max(variance / (m * n), 1 / (m * n) ** 2))
    return max(0.0, area - half), min(1.0, area + half)


def compute_feature_shifts(
    internal_MQ: NDArray[np.floating], external_NQ: NDArray[np.floating], names: Sequence[str]
) -> tuple[FeatureShift, ...]:
    """Compare single features of rows that are each of another source; the largest difference
    first.

    Cohen's d is the difference of the means over the pooled spread. `outside` counts external
    images below the 1st or above the 99th percentile of the reference sample: 2 % if nothing has
    changed. Features that are not finite somewhere are left out. Raises `DataError` for fewer than
    two rows on a side.
    """
    if min(len(internal_MQ), len(external_NQ)) < 2:
        raise DataError(
            "a comparison needs two or more images on either side",
            f"{len(internal_MQ)} and {len(external_NQ)}",
            "give more images",
        )
    found = []
    for q, name in enumerate(names):
        a, b = internal_MQ[:, q].astype(np.float64), external_NQ[:, q].astype(np.float64)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
        gap = float(b.mean() - a.mean())
        effect = gap / pooled if pooled > 0 else 0.0 if gap == 0 else math.copysign(math.inf, gap)
        low, high = np.quantile(a, (0.01, 0.99))
        outside = wilson(int(((b < low) | (b > high)).sum()), len(b))
        found.append(FeatureShift(name, float(np.median(a)), float(np.median(b)), effect, outside))
    return tuple(sorted(found, key=lambda one: -abs(one.effect)))
