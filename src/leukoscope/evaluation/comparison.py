"""Networks side by side on the same images: members and ensemble, teacher and student.

Everything comes from score tables. What this file does not do: it tests no hypothesis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from leukoscope.config import DistillConfig
from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import compute_intervals, compute_proportion
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable


@dataclass(frozen=True)
class NetworkFigures:
    """What one network is worth on the images of one role; lower is better for log loss, Brier
    score and calibration error. `disagreement` is the mean mutual information of an
    ensemble's members in nats, None for one network."""

    name: str
    role: str
    n_images: int
    accuracy: Interval
    balanced_accuracy: Interval
    log_loss: Interval
    brier: Interval
    ece: Interval
    disagreement: float | None = None


def compute_network_figures(name: str, table: ScoreTable, role: str) -> NetworkFigures | None:
    """Compute the figures with 95 % intervals over sources; None where no image of the role has a
    known label."""
    chosen = table.of_role(role)
    chosen = chosen.take(chosen.labels_N >= 0)
    if not len(chosen):
        return None
    found = compute_intervals(chosen).overall
    spread = None if chosen.disagreement_N is None else float(chosen.disagreement_N.mean())
    return NetworkFigures(
        name=name,
        role=role,
        n_images=len(chosen),
        accuracy=found["accuracy"],
        balanced_accuracy=found["balanced_accuracy"],
        log_loss=found["log_loss"],
        brier=found["brier"],
        ece=found["ece"],
        disagreement=spread,
    )


@dataclass(frozen=True)
class Agreement:
    """How far one network decides as another does, on the images of one role.

    `changed` images are classified otherwise. Of those with a known label, `gained` are classified
    correctly only by the second network and `lost` only by the first; the rest of the changed are
    misclassified by both.
    `divergence` is the mean Kullback-Leibler divergence of the second's probabilities from the
    first's, in nats.
    """

    role: str
    n_images: int
    agreement: Interval
    changed: int
    gained: int
    lost: int
    divergence: float


def compute_agreement(first: ScoreTable, second: ScoreTable, role: str) -> Agreement | None:
    """Compare the decisions of two networks on the images of a role; None where there are none.

    Raises `DataError` unless both tables hold the same images of the role and the same classes.
    """
    one, other = first.of_role(role), second.of_role(role)
    if first.classes != second.classes or set(one.ids) != set(other.ids):
        raise DataError(
            "two networks are compared on the same images and classes",
            f"{len(one)} and {len(other)} images of {role}, classes"
            f" {', '.join(first.classes)} and {', '.join(second.classes)}",
            "score both on one split",
        )
    if not len(one):
        return None
    place = {name: i for i, name in enumerate(other.ids)}
    other = other.take(np.array([place[name] for name in one.ids], np.intp))
    p_NK, q_NK = one.probabilities_NK, other.probabilities_NK
    before_N, after_N = p_NK.argmax(axis=1), q_NK.argmax(axis=1)
    same_N, labels_N = before_N == after_N, one.labels_N
    tiny = np.finfo(np.float64).tiny
    ratio_NK = np.log(np.maximum(p_NK, tiny)) - np.log(np.maximum(q_NK, tiny))
    return Agreement(
        role=role,
        n_images=len(one),
        agreement=compute_proportion(same_N, one.sources),
        changed=int((~same_N).sum()),
        gained=int(((after_N == labels_N) & ~same_N).sum()),
        lost=int(((before_N == labels_N) & ~same_N).sum()),
        divergence=float((p_NK * ratio_NK).sum(axis=1).mean()),
    )


def compute_rows(
    tables: Mapping[str, ScoreTable], roles: Sequence[str]
) -> tuple[NetworkFigures, ...]:
    """Compute the figures of several networks, role by role; roles without images drop out."""
    found = (
        compute_network_figures(name, table, role)
        for role in roles
        for name, table in tables.items()
    )
    return tuple(row for row in found if row is not None)


TestTimeViews = Literal["none", "flips", "dihedral"]
"""From how many sides an image is looked at: 1, 4 or 8."""

EnsembleWarning = Literal["no_new_test_images", "few_new_images", "members_without_scores"]
"""What has to be known about the figures of an ensemble. `no_new_test_images`: each member was
trained on what another was tested on, so they are those of the members on their own test images.
`few_new_images`: the members were trained on different splits."""

FEW_NEW_FRAC = 0.1
"""A grouped split leaves 23 % for calibration and test; below this share the splits differ."""


@dataclass(frozen=True)
class EnsembleComparison:
    """Content of `ensemble.json`: an ensemble beside its members. `roles` counts images, `n_new`
    of `n_images` are new to all members, and the `unscored` members have no score table."""

    name: str
    tta: TestTimeViews
    roles: Mapping[str, int]
    n_images: int
    n_new: int
    unscored: tuple[str, ...]
    figures: tuple[NetworkFigures, ...]
    warnings: tuple[EnsembleWarning, ...]


@dataclass(frozen=True)
class ComparedNetwork:
    """A teacher or a student: the name of its run, what it is, and what it costs: numbers that it
    stores, and the shortest time for an image in a batch of 32 in PyTorch on the device at hand.
    Other work on the machine lengthens it."""

    run: str
    network: str
    sha256: str
    parameters: int
    ms_per_image: float


@dataclass(frozen=True)
class DistillationComparison:
    """Content of `distillation.json`: a student beside its teacher, on images new to both."""

    teacher: ComparedNetwork
    student: ComparedNetwork
    distill: DistillConfig
    figures: tuple[NetworkFigures, ...]
    parity: tuple[Agreement, ...]
