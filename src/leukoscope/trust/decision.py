"""From scores to a decision on each cell: accepted, review or unknown, with the reason in words.

    unknown    unlike the cells of training: no name should be trusted
    review     a person looks: two names fit, the network is not sure, or the image is poor
    accepted   none of these

Axes: N images, K classes, D embedding width, Q quality features. What this file does not do: it
fits nothing (`fitting`) and needs NumPy only, so that a bundle decides as the run did.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError
from leukoscope.labels import display_label
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.conformal import ConformalSets
from leukoscope.trust.novelty import NoveltyModel
from leukoscope.trust.quality import QualityLimits

Status = Literal["accepted", "review", "unknown"]
STATUSES: tuple[Status, ...] = ("accepted", "review", "unknown")

_ALARM = math.log(1000)

_NonNegative = Annotated[float, Field(ge=0)]


class Policy(BaseModel):
    """Everything that turns scores into decisions, but for the arrays of the novelty model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=2)
    calibration: Calibration
    sets: ConformalSets
    quality: QualityLimits
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

    `labels_N` indexes the classes, `confidence_N` is the calibrated probability of that name,
    `sets_NK` the names that fit, the given name always among them. `reasons` is "" for accepted
    cells.
    """

    probabilities_NK: NDArray[np.float64]
    labels_N: NDArray[np.int64]
    confidence_N: NDArray[np.float64]
    sets_NK: NDArray[np.bool_]
    distance_N: NDArray[np.float64]
    status: tuple[Status, ...]
    reasons: tuple[str, ...]

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
    number nor their order matters. With costs, the name is the one of least expected cost (Elkan
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
    labels_N, costs_N = _choose_names(policy, p_NK)
    rows_N = np.arange(n)
    confidence_N = p_NK[rows_N, labels_N]
    sets_NK = policy.sets.predict(p_NK)
    sets_NK[rows_N, labels_N] = True
    distance_N = np.full(n, np.inf)
    if finite_N.any():
        distance_N[finite_N] = novelty.compute_distance(embeddings_ND[finite_N])

    status: list[Status] = []
    reasons: list[str] = []
    faults = policy.quality.check(quality_NQ)
    review_costs_N = (
        p_NK @ np.array(policy.review_cost)
        if policy.review_cost is not None
        else np.full(n, np.inf)
    )
    for i in range(n):
        unknown: list[str] = []
        review: list[str] = []
        if not finite_N[i]:
            unknown.append("the network gave no finite answer")
        elif not distance_N[i] <= policy.max_distance:
            unknown.append(
                f"unlike any cell in training (distance {distance_N[i]:.3g}, limit"
                f" {policy.max_distance:.3g})"
            )
        if faults[i].rejected:
            (unknown if faults[i].strong else review).extend(faults[i].reasons)
        review += _list_doubts(policy, sets_NK[i], int(labels_N[i]), float(confidence_N[i]))
        limit = policy.max_disagreement
        if disagreement_N is not None and limit is not None and not disagreement_N[i] <= limit:
            review.append(
                f"the networks disagree ({disagreement_N[i]:.2g} nats, limit {limit:.2g})"
            )
        if review_costs_N[i] < costs_N[i]:
            review.append("a mistake here would cost more than a look")
        status.append("unknown" if unknown else "review" if review else "accepted")
        # Doubts about the name say nothing more of something that is no known cell.
        reasons.append("; ".join(unknown or review))
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


def is_rejected_unusually_often(n_accepted: int, n_images: int, home_frac: float) -> bool:
    """Tell whether fewer of a batch's images are accepted than chance explains at home.

    Faults that spoil a whole slide, pale stain above all, leave many cells looking like sound ones
    of another kind: these are accepted wrongly, and only the many others that are not betray the
    slide. True if of `n_images` independent images, each accepted with probability `home_frac`,
    so few would be with probability 0.001 at most, by Chernoff's bound exp(-n KL(share, home_frac))
    (1952): one of 1,000 batches of home's kind alarms in vain, or fewer. Copies of one cell are not
    independent and alarm sooner.

    >>> [is_rejected_unusually_often(k, 100, 0.94) for k in (94, 86, 80)]
    [False, False, True]
    """
    if n_images == 0 or n_accepted / n_images >= home_frac:
        return False
    share = n_accepted / n_images
    terms = ((share, home_frac), (1 - share, 1 - home_frac))
    divergence = sum(p * math.log(p / q) if q > 0 else math.inf for p, q in terms if p > 0)
    return n_images * divergence > _ALARM


def _choose_names(
    policy: Policy, p_NK: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Names and the expected cost of each."""
    if policy.cost is None:
        labels_N = p_NK.argmax(axis=1)
        return labels_N, 1 - p_NK[np.arange(len(p_NK)), labels_N]
    expected_NK = p_NK @ np.array(policy.cost)
    return expected_NK.argmin(axis=1), expected_NK.min(axis=1)


def _list_doubts(
    policy: Policy, set_K: NDArray[np.bool_], label: int, confidence: float
) -> list[str]:
    """Why a person should look at the name."""
    found = []
    if set_K.sum() > 1:
        names = [display_label(policy.classes[k]) for k in np.flatnonzero(set_K)]
        found.append(f"could be {', '.join(names[:-1])} or {names[-1]}")
    if policy.min_confidence is None:
        found.append("no confidence keeps the target")
    elif not confidence >= policy.min_confidence:
        # Rounded so that the two never read alike.
        found.append(
            f"confidence {math.floor(1000 * confidence) / 10:.1f} % below"
            f" {math.ceil(1000 * policy.min_confidence) / 10:.1f} %"
        )
    if policy.classes[label] in policy.always_review:
        found.append(f"{display_label(policy.classes[label])}: a person always looks")
    return found
