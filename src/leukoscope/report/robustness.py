"""How a network holds up under controlled faults: figures, words, drawings, page.

Axes: N images, K classes, S side. What this file does not do: it makes no fault (`data.corrupt`)
and runs no network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from leukoscope.data.corrupt import FAULT_NAMES, SEVERITIES, Fault
from leukoscope.evaluation.decisions import measure_decisions
from leukoscope.evaluation.intervals import compute_mean, compute_proportion
from leukoscope.evaluation.metrics import compute_metrics
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.report.evaluation_page import (
    LEAKAGE_TEXTS,
    LEAKAGE_TITLES,
    embed_image,
    format_percent,
)
from leukoscope.report.figures import BLUE, GREY, VERMILLION, styled
from leukoscope.report.pages import render_page
from leukoscope.scores import LeakageStatus, ScoreTable
from leukoscope.trust.calibration import compute_debiased_ece
from leukoscope.trust.decision import decide_table, is_rejected_unusually_often
from leukoscope.trust.record import Trust

LOST = 0.05
"""A loss of accuracy this large is what the page names first."""

ENOUGH = 20
"""Of fewer sources no fault is named: their spread is itself not known."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Level:
    """Figures under one fault at one severity; severity 0 is the clean image. `lost` is the
    accuracy lost against it, image by image, with limits over sources. `accepted` and
    `accepted_accuracy` are NaN without a trust record."""

    fault: Fault
    severity: int
    accuracy: Interval
    lost: Interval
    balanced_accuracy: float
    confidence: float
    ece: float
    accepted: Interval = UNDEFINED
    accepted_accuracy: Interval = UNDEFINED
    noticed: bool = False
    """Whether `predict` warns of a folder of these images, since so few are accepted."""

    @property
    def accepted_wrong(self) -> float:
        """Share of all cells that are accepted under a wrong name; 0 where none is accepted."""
        right = self.accepted_accuracy.value
        return 0.0 if math.isnan(right) else self.accepted.value * (1 - right)

    def to_dict(self) -> dict[str, object]:
        """Return the figures for JSON, None for NaN."""
        return {
            "accepted_wrong": None if math.isnan(self.accepted.value) else self.accepted_wrong,
            "fault": self.fault,
            "severity": self.severity,
            "accuracy": self.accuracy.to_dict(),
            "lost": self.lost.to_dict(),
            "balanced_accuracy": self.balanced_accuracy,
            "confidence": self.confidence,
            "ece": self.ece,
            "accepted": self.accepted.to_dict(),
            "accepted_accuracy": self.accepted_accuracy.to_dict(),
            "noticed": self.noticed,
        }


@dataclass(frozen=True)
class Robustness:
    """All levels of one network on the same N images. `majority` is the share of the most frequent
    class; `leakage_status` says how far figures on these images can be trusted, `sentences` why,
    and `warnings` what was left out."""

    name: str
    data_name: str
    n_images: int
    n_sources: int
    majority: float
    levels: tuple[Level, ...]
    decides: bool
    leakage_status: LeakageStatus
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def of(self, fault: Fault) -> tuple[Level, ...]:
        """Return the levels of a fault, severity 0 first."""
        return tuple(level for level in self.levels if level.fault == fault)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were tried, in order."""
        return tuple(dict.fromkeys(level.fault for level in self.levels))

    @property
    def clean(self) -> Level:
        """The figures of clean images."""
        return next(level for level in self.levels if level.severity == 0)

    def compute_loss(self, fault: Fault) -> float:
        """Return the mean loss of accuracy over the five severities."""
        values = [level.accuracy.value for level in self.of(fault) if level.severity]
        return self.clean.accuracy.value - float(np.mean(values))

    def find_break(self, fault: Fault) -> int | None:
        """Return the first severity that was shown to cost accuracy, and costs five points or more;
        None where none does."""
        if self.n_sources < ENOUGH:
            return None
        found = (x.severity for x in self.of(fault) if _costs(x) and x.lost.low > 0)
        return next(found, None)


def _costs(level: Level) -> bool:
    return level.severity > 0 and level.lost.value >= LOST - _ROUNDING


def find_hits(table: ScoreTable, trust: Trust | None) -> NDArray[np.bool_]:
    """Return which images are named right `(N,)`, calibrated where there is a record."""
    p_NK = table.probabilities_NK
    if trust is not None:
        p_NK = decide_table(trust.info.policy, trust.novelty, table).probabilities_NK
    return np.asarray(p_NK.argmax(axis=1) == table.labels_N)


def measure_level(
    table: ScoreTable,
    fault: Fault,
    severity: int,
    trust: Trust | None,
    clean_hits_N: NDArray[np.bool_],
) -> Level:
    """Measure a score table of known classes, calibrated and decided where there is a record.
    `clean_hits_N` says which of the same images are named right without a fault."""
    accepted = accepted_accuracy = UNDEFINED
    noticed = False
    p_NK = table.probabilities_NK
    if trust is not None:
        decisions = decide_table(trust.info.policy, trust.novelty, table)
        found = measure_decisions(table, decisions)
        accepted, accepted_accuracy = found.shares["accepted"], found.accepted_accuracy
        p_NK = decisions.probabilities_NK
        low = trust.info.reference.accepted.low if trust.info.reference is not None else None
        n_accepted = decisions.status.count("accepted")
        noticed = low is not None and is_rejected_unusually_often(n_accepted, len(table), low)
    hit_N = p_NK.argmax(axis=1) == table.labels_N
    confidence_N = p_NK.max(axis=1)
    return Level(
        fault,
        severity,
        compute_proportion(hit_N, table.sources),
        compute_mean(clean_hits_N.astype(np.float64) - hit_N, table.sources),
        compute_metrics(table.labels_N, p_NK, table.classes)["balanced_accuracy"],
        float(confidence_N.mean()),
        compute_debiased_ece(confidence_N, hit_N, table.sources),
        accepted,
        accepted_accuracy,
        noticed,
    )


def word_headline(found: Robustness) -> str:
    """Say in one sentence what breaks the network first, as far as these images show it."""
    clean = found.clean.accuracy
    if not clean.low > found.majority:
        return (
            f"Nothing is said about what breaks it: {format_percent(clean.value)} of clean images"
            " are named right, which is not shown to be more than the most frequent class alone"
            f" gives ({format_percent(found.majority)})."
        )
    broken = [
        (found.find_break(fault), -found.compute_loss(fault), fault) for fault in found.faults
    ]
    first = sorted((s, loss, fault) for s, loss, fault in broken if s is not None)
    if first:
        severity = first[0][0]
        names = [_name(fault) for s, _, fault in first if s == severity]
        return (
            f"What breaks it first: {', '.join(names)} (five points of accuracy lost at severity"
            f" {severity} of 5)."
        )
    seen = dict.fromkeys(level.fault for level in found.levels if _costs(level))
    if seen:
        return (
            f"Too few images to say what breaks it: five points of accuracy were lost under"
            f" {', '.join(map(_name, seen))}, which may be chance."
        )
    most = max((level.lost.high for level in found.levels if level.severity), default=math.nan)
    if most < LOST:
        return "No fault at any severity costs five points of accuracy."
    return (
        "No fault at any severity was seen to cost five points of accuracy; there are too few"
        " images to exclude it."
    )


def word_basis(found: Robustness) -> tuple[str, ...]:
    """Say how far figures on these images can be trusted, why, and what was left out."""
    title = f"{LEAKAGE_TITLES[found.leakage_status]}. {LEAKAGE_TEXTS[found.leakage_status]}"
    return (title, *found.sentences, *found.warnings)


def _name(fault: Fault) -> str:
    """The name of a fault within a sentence."""
    name = FAULT_NAMES[fault]
    return name if name[:2].isupper() else name[0].lower() + name[1:]


def word_safety(found: Robustness) -> str:
    """Say what becomes of accuracy among accepted cells where faults are worst."""
    if not found.decides:
        return "The network was not calibrated: it names every cell, however poor the image."
    if found.clean.accepted.value == 0:
        return (
            "It accepts none of the clean images: whether rejecting protects against faults cannot"
            " be seen."
        )
    worst = max((level for level in found.levels if level.severity), key=lambda x: x.accepted_wrong)
    clean = format_percent(found.clean.accepted_wrong)
    if worst.accepted_wrong <= found.clean.accepted_wrong + _ROUNDING:
        return (
            "Rejecting protects against every fault: never are more cells accepted under a wrong"
            f" name than on clean images ({clean})."
        )
    text = (
        f"Where rejecting protects least: {_name(worst.fault)}, severity {worst.severity}:"
        f" {format_percent(worst.accepted_wrong)} of all cells are accepted under a wrong name"
        f" ({clean} on clean images)."
    )
    quiet = [level for level in found.levels if level.severity and not level.noticed]
    most = max(quiet, key=lambda x: x.accepted_wrong, default=None)
    if worst.noticed:
        text += (
            " Of a whole folder like that `predict` warns, since fewer cells are accepted than at"
            " home."
        )
    if most is None:
        return text
    if most is worst:
        return f"{text} Not even of a whole folder like that does `predict` warn."
    return (
        f"{text} Among folders that it does not warn of the worst is {_name(most.fault)}, severity"
        f" {most.severity}, with {format_percent(most.accepted_wrong)}."
    )


@styled
def draw_robustness(found: Robustness) -> Figure:
    """Draw accuracy against severity, one panel per fault, with intervals; where cells can be
    rejected also the accuracy among accepted ones and the share accepted."""
    columns = 5
    rows = -(-len(found.faults) // columns)
    figure = Figure(figsize=(11.5, 0.7 + 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    steps = [0, *SEVERITIES]
    for axes, fault in zip(panels, found.faults, strict=False):
        levels = found.of(fault)
        values = np.array([level.accuracy.value for level in levels])
        bounds = np.array([[x.accuracy.low, x.accuracy.high] for x in levels])
        axes.fill_between(steps, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.2, lw=0)
        axes.plot(steps, values, "o-", color=BLUE, lw=2, ms=4, label="accuracy, all cells")
        if found.decides:
            right = [level.accepted_accuracy.value for level in levels]
            share = [level.accepted.value for level in levels]
            axes.plot(steps, right, "s-", color=VERMILLION, ms=4, label="accuracy, accepted cells")
            axes.plot(steps, share, "--", color=GREY, lw=1.5, label="share accepted")
        axes.set_title(FAULT_NAMES[fault], fontsize=10)
        axes.set_ylim(0, 1.03)
        axes.set_xticks(steps)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid()
    for axes in panels[len(found.faults) :]:
        axes.set_axis_off()
    for axes in panels[(rows - 1) * columns : len(found.faults)]:
        axes.set_xlabel("severity (0: clean)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=10)
    return figure


@styled
def draw_faults(examples: Mapping[Fault, Sequence[NDArray[np.uint8]]]) -> Figure:
    """Draw one cell under each fault: by fault, images of severity 0 to 5 as the network is given
    them, uint8 `(S, S, 3)`."""
    columns = len(SEVERITIES) + 1
    figure = Figure(figsize=(8.4, 1.32 * len(examples) + 0.4), layout="constrained")
    panels = figure.subplots(len(examples), columns, squeeze=False)
    for row, (fault, pictures) in zip(panels, examples.items(), strict=True):
        for axes, picture_SSC in zip(row, pictures, strict=True):
            axes.imshow(picture_SSC)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(FAULT_NAMES[fault].replace(" ", "\n", 1), fontsize=9)
    for severity, axes in enumerate(panels[0]):
        axes.set_title(
            "clean" if not severity else f"severity {severity}", fontsize=9, loc="center"
        )
    return figure


def render_robustness(found: Robustness, figures: Mapping[str, tuple[bytes | str, str]]) -> str:
    """Render the page: what breaks first, what rejecting saves, then every figure."""
    return render_page(
        "robustness.html.j2",
        {"percent": format_percent},
        found=found,
        headline=word_headline(found),
        safety=word_safety(found),
        title=LEAKAGE_TITLES[found.leakage_status],
        text=LEAKAGE_TEXTS[found.leakage_status],
        level={"disjoint": "good", "leaking": "bad"}.get(found.leakage_status, "caution"),
        names=FAULT_NAMES,
        severities=SEVERITIES,
        images={name: (embed_image(image), alt) for name, (image, alt) in figures.items()},
    )


def list_figures(
    found: Robustness, examples: Mapping[Fault, Sequence[NDArray[np.uint8]]]
) -> dict[str, tuple[Figure, str]]:
    """Return the figures of the page with their alternative texts."""
    return {
        "robustness": (draw_robustness(found), "Accuracy against severity, a panel for each fault"),
        "faults": (draw_faults(examples), "One cell under each fault"),
    }


__all__ = [
    "Level",
    "Robustness",
    "draw_faults",
    "draw_robustness",
    "find_hits",
    "list_figures",
    "measure_level",
    "render_robustness",
    "word_basis",
    "word_headline",
    "word_safety",
]
