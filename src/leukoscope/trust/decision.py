"""From scores to a decision on each cell: accepted, review or unknown, with the reasons as codes.

    unknown    unlike the cells of training: no label should be trusted
    review     a person looks: two labels fit, the network is not sure, or the image is poor
    accepted   none of these

Axes: N images, K classes, D embedding width, Q quality features. What this file does not do: it
fits nothing (`fitting`), words nothing (`report.decision_words`), and needs NumPy only, so that
a bundle decides as the run did.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.conformal import ConformalSets
from leukoscope.trust.notes import Values
from leukoscope.trust.novelty import NoveltyModel
from leukoscope.trust.quality import QualityFinding, QualityModel

Status = Literal["accepted", "review", "unknown"]
STATUSES: tuple[Status, ...] = ("accepted", "review", "unknown")

ReasonCode = Literal[
    "not_finite",
    "unlike_training",
    "poor_quality",
    "several_labels",
    "no_threshold",
    "low_confidence",
    "always_review",
    "members_disagree",
    "costly_mistake",
]
REASON_CODES: tuple[ReasonCode, ...] = get_args(ReasonCode)


@dataclass(frozen=True)
class Reason:
    """Why a cell is not accepted.

    - `not_finite`: logits or embedding are not.
    - `unlike_training`: `distance` is above `max_distance` (of the novelty model).
    - `poor_quality`: `feature` has `value`, which lies on a `side` of what is usual in training
      (`usual_low` to `usual_high`), as in `quality.Deviation`.
    - `several_labels`: all of `labels` fit.
    - `no_threshold`: no confidence reaches the target accuracy.
    - `low_confidence`: `confidence` is below `min_confidence` (0 to 1).
    - `always_review`: cells of `label` are never accepted.
    - `members_disagree`: `disagreement_nats` is above `max_disagreement_nats`.
    - `costly_mistake`: `expected_cost` is above `review_cost`.
    """

    code: ReasonCode
    values: Values = field(default_factory=dict)


_NonNegative = Annotated[float, Field(ge=0)]


class Policy(BaseModel):
    """Everything that turns scores into decisions, but for the arrays of the novelty model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=2)
    calibration: Calibration
    sets: ConformalSets
    quality: QualityModel
    max_distance: float
    """Cells further from those of training than this are unknown; in the novelty model's unit."""
    min_confidence: float | None = Field(ge=0, le=1)
    """Cells are accepted at this calibrated confidence or above; None: no confidence suffices."""
    max_disagreement: _NonNegative | None = None
    """Of the members of an ensemble, in nats; None for a single network."""
    always_review: tuple[str, ...] = ()
    cost: tuple[tuple[_NonNegative, ...], ...] | None = None
    """`cost[true][called]` in the order of the classes; None: every mistake costs 1."""
    review_cost: tuple[_NonNegative, ...] | None = None
    """What it costs to send a cell of each true class to a person; None: never sent for this."""

    @model_validator(mode="after")
    def _check_shapes(self) -> "Policy":
        k = len(self.classes)
        square = self.cost is None or [len(row) for row in self.cost] == [k] * k
        if not square or (self.review_cost is not None and len(self.review_cost) != k):
            raise ValueError(f"costs must be given for each of the {k} classes")
        if not set(self.always_review) <= set(self.classes):
            raise ValueError("always_review names a class that the network does not know")
        return self


@dataclass(frozen=True)
class Decisions:
    """What was decided for N images.

    `labels_N` indexes the classes, `confidence_N` is the calibrated probability of that label,
    `sets_NK` the labels that fit, the given one always among them. `reasons` are empty for accepted
    cells.
    """

    probabilities_NK: NDArray[np.float64]
    labels_N: NDArray[np.int64]
    confidence_N: NDArray[np.float64]
    sets_NK: NDArray[np.bool_]
    distance_N: NDArray[np.float64]
    status: tuple[Status, ...]
    reasons: tuple[tuple[Reason, ...], ...]

    def mask(self, status: Status) -> NDArray[np.bool_]:
        """Return which images have a status: bool `(N,)`."""
        return np.array([one == status for one in self.status], dtype=np.bool_)


def decide(
    policy: Policy,
    novelty: NoveltyModel,
    logits_NK: NDArray[np.float32],
    embeddings_ND: NDArray[np.float32],
    quality_NQ: NDArray[np.float32],
    disagreement_N: NDArray[np.float32] | None = None,
) -> Decisions:
    """Decide on N images from what network and pixels say of them.

    Logits that are not finite make a cell unknown. Each image is decided by itself: neither their
    number nor their order matters. With costs, the label is the one of least expected cost (Elkan
    2001), and a cell goes to a person where that costs less (Chow 1970).

    Raises `DataError` for arrays of other shapes, or an ensemble's policy without disagreement.
    """
    n, k = len(logits_NK), len(policy.classes)
    if logits_NK.shape != (n, k) or len(embeddings_ND) != n or len(quality_NQ) != n:
        raise DataError(
            f"a decision on {n} images needs logits ({n}, {k}), {n} embeddings and {n} rows of"
            " quality",
            f"{logits_NK.shape}, {embeddings_ND.shape}, {quality_NQ.shape}",
            "score the images with the network that the policy was fitted for",
        )
    if policy.max_disagreement is not None and (disagreement_N is None or len(disagreement_N) != n):
        raise DataError(
            "the policy of an ensemble needs the disagreement of its members",
            "none" if disagreement_N is None else f"{len(disagreement_N)} for {n} images",
            "score the images with the ensemble, or calibrate the single network",
        )
    finite_N = np.asarray(
        np.isfinite(logits_NK).all(axis=1) & np.isfinite(embeddings_ND).all(axis=1)
    )
    usable_NK = np.where(finite_N[:, None], logits_NK, 0).astype(np.float32)
    p_NK = compute_probabilities(policy.calibration.apply(usable_NK))
    labels_N, costs_N = _choose_labels(policy, p_NK)
    rows_N = np.arange(n)
    confidence_N = p_NK[rows_N, labels_N]
    sets_NK = policy.sets.predict(p_NK)
    sets_NK[rows_N, labels_N] = True
    distance_N = np.full(n, np.inf)
    if finite_N.any():
        distance_N[finite_N] = novelty.compute_distance(embeddings_ND[finite_N])

    review_costs_N = (
        p_NK @ np.array(policy.review_cost)
        if policy.review_cost is not None
        else np.full(n, np.inf)
    )
    status: list[Status] = []
    reasons: list[tuple[Reason, ...]] = []
    for i, finding in enumerate(policy.quality.compute_findings(quality_NQ)):
        unknown: list[Reason] = []
        review: list[Reason] = []
        if not finite_N[i]:
            unknown.append(Reason("not_finite"))
        elif not distance_N[i] <= policy.max_distance:
            far = {"distance": float(distance_N[i]), "max_distance": policy.max_distance}
            unknown.append(Reason("unlike_training", far))
        (unknown if finding.strong else review).extend(_list_faults(finding))
        review += _list_doubts(policy, sets_NK[i], int(labels_N[i]), float(confidence_N[i]))
        most = policy.max_disagreement
        if disagreement_N is not None and most is not None and not disagreement_N[i] <= most:
            apart = {"disagreement_nats": float(disagreement_N[i]), "max_disagreement_nats": most}
            review.append(Reason("members_disagree", apart))
        if review_costs_N[i] < costs_N[i]:
            costs = {"expected_cost": float(costs_N[i]), "review_cost": float(review_costs_N[i])}
            review.append(Reason("costly_mistake", costs))
        status.append("unknown" if unknown else "review" if review else "accepted")
        # Doubts about the label say nothing more of something that is no known cell.
        reasons.append(tuple(unknown or review))
    return Decisions(
        p_NK, labels_N, confidence_N, sets_NK, distance_N, tuple(status), tuple(reasons)
    )


def decide_table(policy: Policy, novelty: NoveltyModel, table: ScoreTable) -> Decisions:
    """Decide on the images of a score table; errors as in `decide`."""
    if table.classes != policy.classes:
        raise DataError(
            f"the policy knows the classes {', '.join(policy.classes)}",
            ", ".join(table.classes),
            "calibrate the run that made these scores",
        )
    return decide(
        policy,
        novelty,
        table.logits_NK,
        table.embeddings_ND,
        table.quality_NQ,
        table.disagreement_N,
    )


def _choose_labels(
    policy: Policy, p_NK: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and the expected cost of each."""
    if policy.cost is None:
        labels_N = p_NK.argmax(axis=1)
        return labels_N, 1 - p_NK[np.arange(len(p_NK)), labels_N]
    expected_NK = p_NK @ np.array(policy.cost)
    return expected_NK.argmin(axis=1), expected_NK.min(axis=1)


def _list_faults(finding: QualityFinding) -> list[Reason]:
    """Why the image is poor; nothing of one that is not rejected."""
    return [
        Reason(
            "poor_quality",
            {
                "feature": one.feature,
                "side": one.side,
                "value": one.value,
                "usual_low": one.usual_low,
                "usual_high": one.usual_high,
            },
        )
        for one in finding.deviations
    ]


def _list_doubts(
    policy: Policy, set_K: NDArray[np.bool_], label: int, confidence: float
) -> list[Reason]:
    """Why a person should look at the label."""
    found = []
    if set_K.sum() > 1:
        labels = tuple(policy.classes[k] for k in np.flatnonzero(set_K))
        found.append(Reason("several_labels", {"labels": labels}))
    if policy.min_confidence is None:
        found.append(Reason("no_threshold"))
    elif not confidence >= policy.min_confidence:
        values = {"confidence": confidence, "min_confidence": policy.min_confidence}
        found.append(Reason("low_confidence", values))
    if policy.classes[label] in policy.always_review:
        found.append(Reason("always_review", {"label": policy.classes[label]}))
    return found
