"""How a network holds up under controlled corruptions of its images.

Accuracy by severity, what is lost against the clean images, and whether rejection catches it. Axes:
N images, K classes. What this file does not do: it corrupts no image (`data.corrupt`), runs no
network, and words nothing (`report.robustness_page`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.corrupt import AMOUNTS, SEVERITIES, Corruption
from leukoscope.data.findings import Finding
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.decisions import measure_decisions
from leukoscope.evaluation.intervals import compute_proportion
from leukoscope.evaluation.metrics import compute_metrics
from leukoscope.interval import UNDEFINED, Interval, Number
from leukoscope.progress import Progress, silent
from leukoscope.runfolder import ModelProvenance
from leukoscope.scores import LeakageStatus, ScoreTable
from leukoscope.spread import compute_mean
from leukoscope.trust.decision import decide_table
from leukoscope.trust.folder import compare_acceptance
from leukoscope.trust.notes import Note
from leukoscope.trust.record import Trust

LARGE_LOSS = 0.05
"""A loss of accuracy this large counts as a break."""

ENOUGH = 20
"""Sources; from fewer no break is named, since their spread is itself not known."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Level:
    """Figures under one corruption at one severity; severity 0 is the clean image. `loss` is the
    accuracy lost against it, paired by image, with bounds over sources; `accepted_wrong` the share
    of all cells that are accepted although misclassified. What concerns decisions is undefined
    without a trust record."""

    corruption: Corruption
    severity: int
    accuracy: Interval
    loss: Interval
    balanced_accuracy: Number
    confidence: Number
    ece: Number
    accepted: Interval = UNDEFINED
    accepted_accuracy: Interval = UNDEFINED
    accepted_wrong: Number = math.nan
    detected: bool = False
    """Whether `predict` warns of a folder of these images, since so few are accepted."""

    @property
    def is_large_loss(self) -> bool:
        """Whether five points of accuracy or more were lost, by chance or not."""
        return self.severity > 0 and self.loss.value >= LARGE_LOSS - _ROUNDING


@dataclass(frozen=True, kw_only=True)
class RobustnessProvenance(ModelProvenance):
    """How the figures were made: on at most so many images (0: all), drawn by `seed`."""

    seed: int
    images: int


@dataclass(frozen=True, slots=True)
class Robustness:
    """All levels of one network on the same N images, as `robustness.json` holds them. `majority`
    is the share of the most frequent class; `amounts` say what the severities mean
    (`data.corrupt.AMOUNTS`); `mean_loss` is over the five severities."""

    model: str
    data: str
    n_images: int
    n_sources: int
    majority: Number
    decides: bool
    leakage_status: LeakageStatus
    remarks: tuple[Note, ...]
    split_findings: tuple[Finding, ...]
    warnings: tuple[Note, ...]
    amounts: Mapping[Corruption, tuple[float, ...]]
    levels: tuple[Level, ...]
    mean_loss: Mapping[Corruption, Number]
    provenance: RobustnessProvenance

    @property
    def clean(self) -> Level:
        """The figures of clean images."""
        return next(level for level in self.levels if level.severity == 0)

    @property
    def corrupted(self) -> tuple[Level, ...]:
        """The levels of all corruptions and severities, without the clean images."""
        return tuple(level for level in self.levels if level.severity)

    def select(self, corruption: Corruption) -> tuple[Level, ...]:
        """Return the levels of a corruption, severity 0 first."""
        return tuple(level for level in self.levels if level.corruption == corruption)

    def find_break(self, corruption: Corruption) -> int | None:
        """Return the first severity that was shown to cost accuracy, and costs five points or more;
        None where none does, and from few sources."""
        if self.n_sources < ENOUGH:
            return None
        levels = self.select(corruption)
        return next((x.severity for x in levels if x.is_large_loss and x.loss.low > 0), None)

    def find_first_breaks(self) -> tuple[int, tuple[Corruption, ...]]:
        """Return the lowest severity with a break and the corruptions that break there, those of
        the largest mean loss first; `(0, ())` where none does."""
        found = [(self.find_break(name), -loss, name) for name, loss in self.mean_loss.items()]
        broken = sorted((severity, loss, name) for severity, loss, name in found if severity)
        first = broken[0][0] if broken else 0
        return first, tuple(name for severity, _, name in broken if severity == first)


def compute_mean_losses(levels: Sequence[Level]) -> dict[Corruption, float]:
    """Return the mean loss of accuracy over the severities of each corruption."""
    clean = next(level for level in levels if level.severity == 0).accuracy.value
    values: dict[Corruption, list[float]] = {}
    for level in levels:
        if level.severity:
            values.setdefault(level.corruption, []).append(level.accuracy.value)
    return {name: clean - float(np.mean(found)) for name, found in values.items()}


def measure_levels(
    score: Callable[[Corruption, int], ScoreTable], trust: Trust | None, progress: Progress = silent
) -> tuple[Level, ...]:
    """Measure the same images under every corruption and severity. `score` returns their score
    table, of known classes only; calibrated and decided where there is a record of trust."""
    total = 1 + len(AMOUNTS) * len(SEVERITIES)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress("Measuring under corruptions", done, total)

    clean = score("blur", 0)
    correct_N = find_correct(clean, trust)
    advance()
    levels = []
    for corruption in AMOUNTS:
        levels.append(measure_level(clean, corruption, 0, trust, correct_N))
        for severity in SEVERITIES:
            table = score(corruption, severity)
            levels.append(measure_level(table, corruption, severity, trust, correct_N))
            advance()
    return tuple(levels)


def find_correct(table: ScoreTable, trust: Trust | None) -> NDArray[np.bool_]:
    """Return which images are correctly classified `(N,)`, calibrated where there is a record."""
    p_NK = table.probabilities_NK
    if trust is not None:
        p_NK = decide_table(trust.info.policy, trust.novelty, table).probabilities_NK
    return np.asarray(p_NK.argmax(axis=1) == table.labels_N)


def measure_level(
    table: ScoreTable,
    corruption: Corruption,
    severity: int,
    trust: Trust | None,
    clean_correct_N: NDArray[np.bool_],
) -> Level:
    """Measure a score table of known classes, calibrated and decided where there is a record.
    `clean_correct_N` says which of the same images are correctly classified when clean."""
    accepted = accepted_accuracy = UNDEFINED
    accepted_wrong, detected = math.nan, False
    p_NK = table.probabilities_NK
    if trust is not None:
        decisions = decide_table(trust.info.policy, trust.novelty, table)
        found = measure_decisions(table, decisions)
        accepted, accepted_accuracy = found.shares["accepted"], found.accepted_accuracy
        right = accepted_accuracy.value
        accepted_wrong = 0.0 if math.isnan(right) else accepted.value * (1 - right)
        p_NK = decisions.probabilities_NK
        if trust.info.reference is not None:
            predicted = np.bincount(decisions.labels_N, minlength=len(table.classes)).tolist()
            n_accepted = decisions.status.count("accepted")
            compared = compare_acceptance(trust.info.reference, predicted, n_accepted)
            detected = compared is not None and compared.is_unusual
    correct_N = p_NK.argmax(axis=1) == table.labels_N
    confidence_N = p_NK.max(axis=1)
    return Level(
        corruption,
        severity,
        compute_proportion(correct_N, table.sources),
        compute_mean(clean_correct_N.astype(np.float64) - correct_N, table.sources),
        compute_metrics(table.labels_N, p_NK, table.classes).overall["balanced_accuracy"],
        float(confidence_N.mean()),
        compute_debiased_ece(confidence_N, correct_N, table.sources),
        accepted,
        accepted_accuracy,
        accepted_wrong,
        detected,
    )
