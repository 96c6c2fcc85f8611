"""Do images from elsewhere look like those at home? Sizes of the difference first, tests second.

Axes: M images at home, N images here, D embedding width, Q quality features. What this file does
not do: it measures no image and decides nothing; a shift need not harm, and harm needs no shift.

With enough images every difference is significant, so that a p-value says little more than how
many images there were. Each comparison therefore has a size with words for it: the energy
coefficient and the area under the ROC curve of a classifier that tries to tell the two apart
(embeddings), Cohen's d and the share outside the home range (single features).

Copies of one source are no independent draws: one image per source counts wherever sources are
given. Where classes are known on both sides, as many images of each class are taken from either,
since another mixture of cells is no other stain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import compute_proportion
from leukoscope.interval import Interval

LEAST = 20
"""Fewer images on either side than this are not compared."""

MOST = 500
"""So many images a side are compared at most: the size of the shift does not need more."""


@dataclass(frozen=True, slots=True)
class EnergyTest:
    """Energy distance of two sets of vectors. `coefficient` is 0 for equal distributions and 1 at
    most; `p_value` that of a permutation test."""

    coefficient: float
    p_value: float
    n_home: int
    n_here: int


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """One feature: medians, Cohen's d (here less home), and the share here outside the range that
    holds 98 % at home."""

    name: str
    home_median: float
    here_median: float
    effect: float
    outside: Interval


@dataclass(frozen=True, slots=True)
class ShiftFindings:
    """What differs between home and here. `matched` says that classes are mixed alike on both
    sides; `reason` why a part is missing. `separation` is the area under the ROC curve."""

    energy: EnergyTest | None = None
    separation: Interval | None = None
    features: tuple[FeatureShift, ...] = ()
    matched: bool = False
    reason: str = ""


def choose_rows(
    sources: Sequence[str] | None, n: int, *, seed: int = 0, most: int = MOST
) -> NDArray[np.intp]:
    """Return rows to compare: one of each source, at most `most`, drawn with `seed`, in order."""
    order = np.random.default_rng(seed).permutation(n)
    if sources is not None:
        _, first = np.unique(np.asarray(sources, dtype=np.str_)[order], return_index=True)
        order = order[np.sort(first)]
    return np.sort(order[:most])


def match_classes(
    home_M: NDArray[np.int64], here_N: NDArray[np.int64], *, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows of either side with equally many images of each class; classes that only one
    side has, and rows without a class (-1), drop out."""
    generator = np.random.default_rng(seed)
    left: list[int] = []
    right: list[int] = []
    for k in np.intersect1d(home_M[home_M >= 0], here_N[here_N >= 0]):
        a, b = np.flatnonzero(home_M == k), np.flatnonzero(here_N == k)
        count = min(len(a), len(b))
        left += generator.choice(a, count, replace=False).tolist()
        right += generator.choice(b, count, replace=False).tolist()
    return np.sort(np.array(left, dtype=np.intp)), np.sort(np.array(right, dtype=np.intp))


def compute_energy(
    home_MD: NDArray[np.floating],
    here_ND: NDArray[np.floating],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> EnergyTest:
    """Compare two sets of vectors by their energy distance (Székely and Rizzo 2013).

    With A the mean distance across the sets and B, C those within, each with itself, the
    coefficient is (2A - B - C) / 2A. Dimensions are scaled to unit spread over both sets together;
    those without spread are left out. The p-value is that of exchanging rows between the sets,
    (1 + at least as far) / (1 + permutations): its level holds at any size, if rows are
    independent. Raises `DataError` for fewer than two rows on a side or values that are not finite.
    """
    joint = np.concatenate([home_MD, here_ND]).astype(np.float64)
    m, n = len(home_MD), len(here_ND)
    if min(m, n) < 2 or not np.isfinite(joint).all():
        raise DataError(
            "a comparison needs two or more finite rows on either side",
            f"{m} and {n} rows",
            "give more images",
        )
    joint = _scale(joint)
    squares = (joint**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * joint @ joint.T, 0))
    np.fill_diagonal(distance, 0.0)
    # Rows of 1 and 0 choose the first set; the first row is the sets as they are.
    generator = np.random.default_rng(seed)
    chosen = np.zeros((permutations + 1, m + n))
    chosen[0, :m] = 1.0
    for row in chosen[1:]:
        row[generator.permutation(m + n)[:m]] = 1.0
    towards = chosen @ distance
    within = (towards * chosen).sum(axis=1)
    across = (towards * (1 - chosen)).sum(axis=1)
    others = float(distance.sum()) - within - 2 * across
    a, b, c = across / (m * n), within / (m * m), others / (n * n)
    energy = 2 * a - b - c
    # Sums in another order differ by rounding; equal distances count as equal.
    extreme = int((energy[1:] >= energy[0] - 1e-12 * max(abs(float(energy[0])), 1e-12)).sum())
    coefficient = float(energy[0] / (2 * a[0])) if a[0] > 0 else 0.0
    return EnergyTest(max(0.0, coefficient), (1 + extreme) / (1 + permutations), m, n)


def compute_separation(
    home_MD: NDArray[np.floating],
    here_ND: NDArray[np.floating],
    *,
    home_sources: Sequence[str] | None = None,
    here_sources: Sequence[str] | None = None,
    seed: int = 0,
) -> Interval:
    """Return how well a classifier tells here from home: area under the ROC curve, with interval.

    Logistic regression on at most 30 principal components, fitted on half of the sources and
    judged on the others (classifier two-sample test, Lopez-Paz and Oquab 2017). 0.5: it cannot; 1:
    always. Below 0.5 is chance. The interval is that of Hanley and McNeil (1982) with sources as
    the numbers of cells. Folds that change places would use every image, but their errors move
    together: without a shift such an interval held 0.5 in 75 to 88 % of simulations. Raises
    `DataError` for fewer than `LEAST` sources on a side.
    """
    home = list(home_sources) if home_sources is not None else [str(i) for i in range(len(home_MD))]
    here = list(here_sources) if here_sources is not None else [str(i) for i in range(len(here_ND))]
    m, n = len(set(home)), len(set(here))
    if min(m, n) < LEAST:
        raise DataError(
            f"a comparison needs {LEAST} sources on either side", f"{m} and {n}", "give more images"
        )
    joint = np.concatenate([home_MD, here_ND]).astype(np.float64)
    side = np.r_[np.zeros(len(home_MD), np.int64), np.ones(len(here_ND), np.int64)]
    groups = np.array([f"home {x}" for x in home] + [f"here {x}" for x in here])
    halves = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    fit, judge = next(halves.split(joint, side, groups))
    model = make_pipeline(
        StandardScaler(),
        PCA(min(30, joint.shape[1], len(fit) // 5), svd_solver="full"),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=500),
    )
    model.fit(joint[fit], side[fit])
    score = model.predict_proba(joint[judge])[:, 1]
    area = float(roc_auc_score(side[judge], score))
    m, n = (len(set(groups[judge][side[judge] == k])) for k in (0, 1))
    return Interval(area, *_bound_area(area, m, n))


def _bound_area(area: float, m: int, n: int) -> tuple[float, float]:
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    # An area of 1 has no variance; that of one pair of sources on the wrong side is the least.
    half = 1.96 * math.sqrt(max(variance / (m * n), 1 / (m * n) ** 2))
    return max(0.0, area - half), min(1.0, area + half)


def compute_feature_shifts(
    home_MQ: NDArray[np.floating],
    here_NQ: NDArray[np.floating],
    names: Sequence[str],
    here_sources: Sequence[str],
) -> tuple[FeatureShift, ...]:
    """Compare single features; the largest difference first.

    Cohen's d is the difference of the means over the pooled spread. `outside` counts images here
    below the 1st or above the 99th percentile at home: 2 % if nothing has changed. Features that
    are not finite somewhere are left out. Raises `DataError` for fewer than two rows on a side.
    """
    if min(len(home_MQ), len(here_NQ)) < 2:
        raise DataError(
            "a comparison needs two or more images on either side",
            f"{len(home_MQ)} and {len(here_NQ)}",
            "give more images",
        )
    found = []
    for q, name in enumerate(names):
        a, b = home_MQ[:, q].astype(np.float64), here_NQ[:, q].astype(np.float64)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
        gap = float(b.mean() - a.mean())
        effect = gap / pooled if pooled > 0 else 0.0 if gap == 0 else math.copysign(math.inf, gap)
        low, high = np.quantile(a, (0.01, 0.99))
        outside = compute_proportion((b < low) | (b > high), here_sources)
        found.append(FeatureShift(name, float(np.median(a)), float(np.median(b)), effect, outside))
    return tuple(sorted(found, key=lambda one: -abs(one.effect)))


def compute_shift(
    home_MD: NDArray[np.floating],
    here_ND: NDArray[np.floating],
    here_sources: Sequence[str],
    *,
    home_sources: Sequence[str] | None = None,
    home_labels_M: NDArray[np.int64] | None = None,
    here_labels_N: NDArray[np.int64] | None = None,
    home_MQ: NDArray[np.floating] | None = None,
    here_NQ: NDArray[np.floating] | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
) -> ShiftFindings:
    """Compare embeddings and features of home and here, one image per source, classes matched
    where both sides know them. Fewer than `LEAST` images on a side: `reason` says so."""
    home = choose_rows(home_sources, len(home_MD), seed=seed, most=len(home_MD))
    here = choose_rows(here_sources, len(here_ND), seed=seed, most=len(here_ND))
    matched = home_labels_M is not None and here_labels_N is not None
    if home_labels_M is not None and here_labels_N is not None:
        left, right = match_classes(home_labels_M[home], here_labels_N[here], seed=seed)
        home, here = home[left], here[right]
    home = home[choose_rows(None, len(home), seed=seed)]
    here = here[choose_rows(None, len(here), seed=seed)]
    if min(len(home), len(here)) < LEAST:
        what = "sources of classes that both sides have" if matched else "sources"
        return ShiftFindings(
            matched=matched,
            reason=f"{len(home)} {what} at home and {len(here)} here; {LEAST} on either side are"
            " needed",
        )
    features: tuple[FeatureShift, ...] = ()
    if home_MQ is not None and here_NQ is not None and len(names):
        own = [here_sources[i] for i in here]
        features = compute_feature_shifts(home_MQ[home], here_NQ[here], names, own)
    return ShiftFindings(
        energy=compute_energy(home_MD[home], here_ND[here], seed=seed),
        separation=compute_separation(home_MD[home], here_ND[here], seed=seed),
        features=features,
        matched=matched,
    )


def word_separation(area: float) -> str:
    """Say how large a shift is by the area under the ROC curve of the classifier.

    >>> word_separation(0.52), word_separation(0.97)
    ('not visible', 'nearly complete')
    """
    steps = (
        (0.6, "not visible"),
        (0.7, "small"),
        (0.8, "clear"),
        (0.95, "large"),
    )
    return next((word for limit, word in steps if area < limit), "nearly complete")


def word_effect(effect: float) -> str:
    """Say how large a difference is by Cohen's d (Cohen 1988: 0.2 small, 0.5 medium, 0.8 large).

    >>> word_effect(-0.1), word_effect(1.5)
    ('negligible', 'very large')
    """
    steps = ((0.2, "negligible"), (0.5, "small"), (0.8, "medium"), (1.2, "large"))
    return next((word for limit, word in steps if abs(effect) < limit), "very large")


def _scale(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = joint.std(axis=0)
    kept = spread > 1e-12 * np.maximum(np.abs(joint).max(axis=0), 1e-300)
    return np.asarray((joint[:, kept] - joint[:, kept].mean(axis=0)) / spread[kept])
