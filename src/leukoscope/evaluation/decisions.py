"""How good the decisions of a policy are: how many cells are accepted, and how often rightly.

Axes: N images, K classes. What this file does not do: it fits nothing and draws nothing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from leukoscope.errors import DataError
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.coverage import measure_delivered
from leukoscope.evaluation.intervals import compute_share
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.interval import Interval
from leukoscope.scores import LeakageStatus, ScoreTable
from leukoscope.spread import compute_mean
from leukoscope.trust.confidence import BOUND_LEVEL, AcceptedErrors, bound_share
from leukoscope.trust.decision import (
    STATUSES,
    Decisions,
    Policy,
    Reason,
    ReasonCode,
    Status,
    decide_table,
)
from leukoscope.trust.folder import FOLDER_LEVEL
from leukoscope.trust.novelty import NoveltyModel
from leukoscope.trust.quality import SUBJECTS, Side
from leukoscope.trust.record import CalibrationCounts, Reference


@dataclass(frozen=True)
class ClassDecisions:
    """Decisions on the cells of one true class; `missed` were accepted and misclassified."""

    name: str
    n_images: int
    accepted: Interval
    accepted_accuracy: Interval
    missed: int


@dataclass(frozen=True)
class ReasonCount:
    """How many images were not accepted for a reason; of `poor_quality`, for what `feature`
    (`quality.SUBJECTS`; "" for combinations) and `side` of it."""

    code: ReasonCode
    n_images: int
    feature: str = ""
    side: Side | Literal[""] = ""


@dataclass(frozen=True)
class DecisionFigures:
    """Decisions on N images of known class.

    `shares` are those of all images by status; `accepted_accuracy` is NaN where nothing is
    accepted, and `errors` has its counts. `reasons` counts why cells were not accepted.
    """

    n_images: int
    shares: Mapping[Status, Interval]
    accepted_accuracy: Interval
    errors: AcceptedErrors
    accuracy: Interval
    per_class: tuple[ClassDecisions, ...]
    reasons: tuple[ReasonCount, ...]


def measure_decisions(table: ScoreTable, decisions: Decisions) -> DecisionFigures:
    """Measure decisions on a score table, rows of unknown class left out; intervals are over
    sources, as everywhere. Raises `DataError` where no row is left."""
    known_N = table.labels_N >= 0
    if not known_N.any():
        raise DataError(
            "decisions are measured on images of known class",
            f"{len(table):,} images, none with a class that the network knows",
            "give labelled images",
        )
    hit_N = decisions.labels_N == table.labels_N
    accepted_N = decisions.mask("accepted")

    def share(hits_N: NDArray[np.bool_], among_N: NDArray[np.bool_]) -> Interval:
        return compute_share(hits_N, among_N & known_N, table.sources)

    per_class = []
    for k, name in enumerate(table.classes):
        own_N = table.labels_N == k
        per_class.append(
            ClassDecisions(
                name,
                int(own_N.sum()),
                share(accepted_N, own_N),
                share(hit_N, own_N & accepted_N),
                int((own_N & accepted_N & ~hit_N).sum()),
            )
        )
    everything_N = np.ones(len(table), dtype=np.bool_)
    return DecisionFigures(
        n_images=int(known_N.sum()),
        shares={status: share(decisions.mask(status), everything_N) for status in STATUSES},
        accepted_accuracy=share(hit_N, accepted_N),
        errors=count_errors(hit_N, accepted_N & known_N, table.sources),
        accuracy=share(hit_N, everything_N),
        per_class=tuple(per_class),
        reasons=count_reasons([decisions.reasons[i] for i in np.flatnonzero(known_N)]),
    )


def count_errors(
    hit_N: NDArray[np.bool_], accepted_N: NDArray[np.bool_], sources: Sequence[str]
) -> AcceptedErrors:
    """Count what is accepted and misclassified, and bound the share of it among what is accepted:
    exactly where each accepted image has a source of its own (Clopper and Pearson 1934), else by
    the lower end of the interval of `compute_share` at twice the tail.

    >>> hits, accepted = np.arange(1050) > 1, np.full(1050, True)
    >>> found = count_errors(hits, accepted, [str(i) for i in range(1050)])
    >>> found.n_accepted, found.n_wrong, round(found.bound, 4)
    (1050, 2, 0.006)
    """
    rows = np.flatnonzero(accepted_N)
    n_wrong = int((~hit_N[rows]).sum())
    if len({sources[i] for i in rows.tolist()}) == len(rows):
        bound = bound_share(n_wrong, len(rows), BOUND_LEVEL)
    else:
        bound = 1 - compute_share(hit_N, accepted_N, sources, 2 * BOUND_LEVEL - 1).low
    return AcceptedErrors(len(rows), n_wrong, bound)


def count_reasons(reasons: Iterable[Sequence[Reason]]) -> tuple[ReasonCount, ...]:
    """Count why images were not accepted, most frequent first. An image with several reasons counts
    for each, once; figures and labels, which differ from image to image, are left out.

    >>> blurred = {"feature": "sharpness", "side": "low"}
    >>> count_reasons([[Reason("poor_quality", blurred), Reason("low_confidence")], [],
    ...                [Reason("low_confidence")]])[0]
    ReasonCount(code='low_confidence', n_images=2, feature='', side='')
    """
    counts = Counter(key for own in reasons for key in dict.fromkeys(map(_take_key, own)))
    return tuple(
        ReasonCount(code, n, feature, side) for (code, feature, side), n in counts.most_common()
    )


def _take_key(reason: Reason) -> tuple[ReasonCode, str, Side | Literal[""]]:
    if reason.code != "poor_quality":
        return reason.code, "", ""
    side: Side = reason.values["side"]  # type: ignore[assignment]
    feature = SUBJECTS[str(reason.values["feature"])]
    return reason.code, "" if side == "combination" else feature, side


def compute_reference(
    table: ScoreTable,
    policy: Policy,
    novelty: NoveltyModel,
    leakage_status: LeakageStatus | Literal["local"],
    leaked: Set[str],
    data: str,
) -> Reference | None:
    """Measure a policy on the rows of the role `test`; None where none is of known class.

    Images with a duplicate in training or calibration (`leaked`, ids) are left out while ten or
    more others remain; else the leakage status is `leaking`.
    """
    test = table.of_role("test")
    test = test.take(test.labels_N >= 0)
    unseen_N = np.array([name not in leaked for name in test.ids], dtype=np.bool_)
    if unseen_N.sum() >= 10:
        test = test.take(unseen_N)
        leakage_status = "unproven" if leakage_status == "leaking" else leakage_status
    elif not unseen_N.all():
        leakage_status = "leaking"
    if not len(test):
        return None
    decisions = decide_table(policy, novelty, test)
    found = measure_decisions(test, decisions)
    accepted_N = decisions.mask("accepted")
    confusion_KK = compute_confusion(test.labels_N, decisions.labels_N, len(test.classes))
    return Reference(
        data=data,
        role="test",
        leakage_status=leakage_status,
        n_images=len(test),
        n_sources=len(set(test.sources)),
        source_known=test.source_known,
        confusion=tuple(tuple(int(x) for x in row) for row in confusion_KK),
        accuracy=found.accuracy,
        # Of the most probable class before and after, whatever a policy with costs calls the cell.
        ece=_measure_ece(decisions.probabilities_NK, test),
        ece_raw=_measure_ece(test.probabilities_NK, test),
        sets=measure_delivered(decisions, test.labels_N, policy.sets),
        accepted=found.shares["accepted"],
        class_accepted=tuple(
            compute_share(accepted_N, test.labels_N == k, test.sources, FOLDER_LEVEL)
            for k in range(len(test.classes))
        ),
        accepted_correlation=compute_accepted_correlation(accepted_N, test.labels_N, test.sources),
        accepted_accuracy=found.accepted_accuracy,
        errors=found.errors,
        review_frac=found.shares["review"].value,
        unknown_frac=found.shares["unknown"].value,
        recall=tuple(
            compute_share(decisions.labels_N == k, test.labels_N == k, test.sources)
            for k in range(len(test.classes))
        ),
        specificity=tuple(
            compute_share(decisions.labels_N != k, test.labels_N != k, test.sources)
            for k in range(len(test.classes))
        ),
    )


def count_calibration(
    calib: ScoreTable, policy: Policy, novelty: NoveltyModel
) -> CalibrationCounts:
    """Count how a policy calls the cells that it was fitted on, rows of unknown class left out."""
    calib = calib.take(calib.labels_N >= 0)
    decisions = decide_table(policy, novelty, calib)
    called_N = np.where(decisions.mask("unknown"), len(calib.classes), decisions.labels_N)
    return count_called(calib.labels_N, called_N, calib.sources, len(calib.classes))


def count_called(
    labels_N: NDArray[np.int64], called_N: NDArray[np.int64], sources: Sequence[str], k: int
) -> CalibrationCounts:
    """Count N cells of K true classes by the class that they are called, K for none of them.

    Cells of one source are called alike: those of a class, m to a source by Kish's mean, count as n
    / (1 + (m - 1) rho) independent ones, with one correlation rho of being called correctly for all
    classes, as few of them have enough sources for their own. It is also how far another sample
    may lie from these, where sources are samples (`_hold_several`).
    """
    called_KJ = np.zeros((k, k + 1), dtype=np.int64)
    np.add.at(called_KJ, (labels_N, called_N), 1)
    rho = compute_accepted_correlation(called_N == labels_N, labels_N, sources)
    effective = []
    for label in range(k):
        own = [sources[i] for i in np.flatnonzero(labels_N == label).tolist()]
        sizes_S = np.array(list(Counter(own).values()), dtype=np.float64)
        size = float((sizes_S**2).sum() / sizes_S.sum()) if own else 1.0
        effective.append(len(own) / (1 + (size - 1) * rho))
    called = tuple(tuple(int(x) for x in row) for row in called_KJ)
    if not _hold_several(labels_N, sources):
        return CalibrationCounts(called=called, effective=tuple(effective))
    sizes_S = np.array(list(Counter(sources).values()), dtype=np.float64)
    return CalibrationCounts(
        called=called,
        effective=tuple(effective),
        correlation=rho,
        n_samples=float(sizes_S.sum() ** 2 / (sizes_S**2).sum()),
    )


def _hold_several(labels_N: NDArray[np.int64], sources: Sequence[str]) -> bool:
    """Tell whether most sources of several cells hold several classes, as patients and slides do:
    those of one class are a cell and its copies, whose likeness says nothing of another sample."""
    held: dict[str, list[int]] = {}
    for source, label in zip(sources, labels_N.tolist(), strict=True):
        held.setdefault(source, []).append(label)
    several = [len(set(labels)) > 1 for labels in held.values() if len(labels) > 1]
    return 2 * sum(several) > len(several)


def compute_accepted_correlation(
    accepted_N: NDArray[np.bool_], labels_N: NDArray[np.int64], sources: Sequence[str]
) -> float:
    """Return the intraclass correlation of acceptance within sources, 0 to 1, beyond what the true
    classes of their images explain.

    From the design effect of the mean of what a class leaves unexplained: (effect - 1) / (m - 1)
    for Kish's mean number m of images in a source. Few sources make it larger, as they do its
    interval. 0 where every source has one image or nothing varies, 1 where one source tells nothing
    of others.
    """
    sizes_S = np.array(list(Counter(sources).values()), dtype=np.float64)
    size = float((sizes_S**2).sum() / sizes_S.sum())
    counts_K = np.maximum(np.bincount(labels_N), 1)
    rest_N = accepted_N - (np.bincount(labels_N, weights=accepted_N) / counts_K)[labels_N]
    spread = float((rest_N**2).mean())
    if size == 1 or spread == 0:
        return 0.0
    found = compute_mean(rest_N, sources)
    if math.isnan(found.low):
        return 1.0
    half = (found.high - found.low) / 2 / float(ndtri(0.975))
    effect = half * half * len(rest_N) / spread
    return min(1.0, max(0.0, (effect - 1) / (size - 1)))


def _measure_ece(p_NK: NDArray[np.float64], table: ScoreTable) -> float:
    hit_N = p_NK.argmax(axis=1) == table.labels_N
    return compute_debiased_ece(p_NK.max(axis=1), hit_N, table.sources)
