"""What a leak is worth: one recipe under a random and under a grouped split, side by side.

Text, JSON and a self-contained HTML page, the answer in one sentence first. What this file does
not do: it trains and measures nothing (`pipelines.report_leak`); it words what was measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from leukoscope.interval import Interval
from leukoscope.records import write_json
from leukoscope.report.evaluation_page import (
    BASELINE_NAMES,
    align_columns,
    embed_image,
    format_percent,
    head_lines,
    list_filters,
)
from leukoscope.report.figures import AccuracyBlock, draw_accuracies, render_svg
from leukoscope.report.pages import DISCLAIMER, render_page
from leukoscope.scores import LeakageStatus
from leukoscope.storage import write_text

LeakProtocol = Literal["random", "grouped"]

Subject = Literal["test", "without_copies", "external"]
"""Judged on: the split's own test images; those of them without a copy in training; other data."""

EXPLANATION = (
    "A random split puts copies of one cell into training and into test, so the network is asked"
    " about cells it has already been shown, and the figure tells how well it remembers. The"
    " grouped split keeps all copies of a cell on one side, so its figure tells how well the"
    " network names cells it has never seen: judge it by that one."
)
"""Two sentences for somebody who treats patients and trains no networks."""

ROLES_NOTE = (
    "The random split is the published one: training, validation and test. The grouped split also"
    " sets images aside for calibration, which no figure here uses; the shares of training and of"
    " test images are about the same, at the cost of validation."
)

_LEAKAGE_WORDS: dict[LeakageStatus, str] = {
    "disjoint": "no copy in training",
    "unproven": "copies in training cannot be excluded",
    "suspect": "signs of copies in training",
    "leaking": "copies in training",
}


@dataclass(frozen=True)
class LeakRow:
    """One measurement: the network trained under `protocol`, on images of `data`.

    `n_sources` is None where sources are not known; `n_with_copy` counts images with a copy in
    training. `baselines` are accuracies by name, fitted on the same training images.
    """

    protocol: LeakProtocol
    subject: Subject
    data: str
    leakage_status: LeakageStatus
    n_images: int
    n_sources: int | None
    n_with_copy: int
    accuracy: Interval
    baselines: Mapping[str, Interval]

    @property
    def leaked(self) -> bool:
        """Whether the figures count images with a copy in training."""
        return self.leakage_status == "leaking"

    @property
    def name(self) -> str:
        """What was measured, in words."""
        if self.subject == "external":
            return f"Trained on the {self.protocol} split, judged on {self.data}"
        start = f"{self.protocol.capitalize()} split"
        if self.subject == "without_copies":
            return f"{start}, its test images without a copy"
        return f"{start}, its test images"

    def to_dict(self) -> dict[str, object]:
        """Return the row for JSON. Leaked figures say `"leaked": true`."""
        leaked = {"leaked": True} if self.leaked else {}
        return {
            "protocol": self.protocol,
            "subject": self.subject,
            "data": self.data,
            "leakage_status": self.leakage_status,
            "n_images": self.n_images,
            "n_sources": self.n_sources,
            "n_with_copy_in_training": self.n_with_copy,
            "accuracy": {**self.accuracy.to_dict(), **leaked},
            "baselines": {name: {**x.to_dict(), **leaked} for name, x in self.baselines.items()},
        }


@dataclass(frozen=True)
class LeakReport:
    """What a leak report says.

    `rows` hold the test row of each protocol at least. `counts` are images by protocol and role;
    `origin` says where the sources come from; `reproduce` and `provenance` are what a reader needs
    to repeat it, by name.
    """

    folder: Path
    data_name: str
    n_images: int
    n_sources: int
    origin: str
    counts: Mapping[LeakProtocol, Mapping[str, int]]
    rows: tuple[LeakRow, ...]
    reproduce: Mapping[str, str]
    provenance: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def row_of(self, protocol: LeakProtocol) -> LeakRow:
        """Return the row of a protocol's own test images."""
        return next(r for r in self.rows if r.protocol == protocol and r.subject == "test")

    @property
    def difference(self) -> Interval:
        """Accuracy under `random` minus that under `grouped`, as a share; see
        `compute_difference`."""
        return compute_difference(self.row_of("random").accuracy, self.row_of("grouped").accuracy)

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / "leak_report.html"


def compute_difference(first: Interval, second: Interval) -> Interval:
    """Return the difference of two independent proportions with its interval, by combining their
    own limits (Newcombe 1998, method 10).

    Test images of both splits come from one data set. Where they share cells the two figures move
    together, and the interval is wider than it need be.

    >>> from leukoscope.evaluation.intervals import wilson
    >>> found = compute_difference(wilson(56, 70), wilson(48, 80))
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - down, value + up)


def word_headline(report: LeakReport) -> tuple[str, str]:
    """Return the answer in one sentence, and what stands behind it in another.

    A difference that the interval does not tell from nothing is not called a leak's worth.
    """
    random, grouped = report.row_of("random"), report.row_of("grouped")
    said, left = format_percent(random.accuracy.value), format_percent(grouped.accuracy.value)
    gap = report.difference
    points = round(100 * gap.value, 1) + 0.0  # no minus before a zero
    limits = f"{100 * gap.low:.1f} to {100 * gap.high:.1f}".replace("-", "−")
    behind = f"95 % interval of the difference: {limits} points."
    if not random.leaked:
        return (
            f"Nothing leaks: no test image of the random split has a copy in training. It says"
            f" {said}, the grouped split {left}.",
            behind,
        )
    copies = (
        f"{random.n_with_copy:,} of the {random.n_images:,} random test images have a copy in"
        f" training. {behind}"
    )
    start = f"The random split says {said}; without copies it is {left}: "
    if gap.low > 0:
        return f"{start}the leak is worth {points:.1f} points.", copies
    shown = f"{points:.1f}".replace("-", "−")
    return f"{start}a difference of {shown} points, which chance alone may make.", copies


def write_leak_report(report: LeakReport) -> None:
    """Write `leak_report.json`, `leak_report.txt` and `leak_report.html` into the report's folder.

    Raises `StorageError`.
    """
    write_json(report.folder / "leak_report.json", leak_to_json(report))
    write_text(report.folder / "leak_report.txt", render_leak_text(report))
    write_text(report.page, render_leak_page(report))


def leak_to_json(report: LeakReport) -> dict[str, object]:
    """Return what `leak_report.json` holds."""
    headline, behind = word_headline(report)
    return {
        "headline": headline,
        "behind": behind,
        "difference": report.difference.to_dict(),
        "data": report.data_name,
        "n_images": report.n_images,
        "n_sources": report.n_sources,
        "origin_of_sources": report.origin,
        "images_by_role": {protocol: dict(roles) for protocol, roles in report.counts.items()},
        "rows": [row.to_dict() for row in report.rows],
        "explanation": EXPLANATION,
        "warnings": list(report.warnings),
        "reproduce": dict(report.reproduce),
        "provenance": dict(report.provenance),
    }


def render_leak_text(report: LeakReport) -> str:
    """Render the same facts as aligned plain text."""
    title = f"Leak report on {report.data_name}"
    lines = [title, "=" * len(title), DISCLAIMER, "", *word_headline(report), "", EXPLANATION]
    lines += ["", _word_data(report)]
    if report.warnings:
        lines += head_lines("Warnings") + [f"- {warning}" for warning in report.warnings]
    names = _list_baselines(report)
    lines += head_lines("Accuracy, in per cent with 95 % interval")
    lines += align_columns(
        [
            [
                row.name + " (LEAKED)" * row.leaked,
                f"{row.n_images:,}",
                f"{row.n_with_copy:,}",
                _count_sources(row),
                _short(row.accuracy),
                *(_short(row.baselines[name]) if name in row.baselines else "–" for name in names),
            ]
            for row in report.rows
        ],
        [
            "",
            "images",
            "with copy",
            "sources",
            "network",
            *(BASELINE_NAMES[name] for name in names),
        ],
    )
    lines += head_lines("Images by role")
    roles = _list_roles(report)
    lines += align_columns(
        [
            [protocol, *(f"{found[role]:,}" if role in found else "–" for role in roles)]
            for protocol, found in report.counts.items()
        ],
        ["", *roles],
    )
    lines.append(ROLES_NOTE)
    lines += head_lines("To repeat it")
    lines += align_columns(
        [list(x) for x in {**report.reproduce, **report.provenance}.items()], None
    )
    return "\n".join(line.rstrip() for line in [*lines, "", DISCLAIMER]) + "\n"


def render_leak_page(report: LeakReport) -> str:
    """Render the report as one HTML page that needs no other file, no network and no script."""
    headline, behind = word_headline(report)
    chart = draw_accuracies([_build_block(row) for row in report.rows])
    told = "; ".join(
        f"{row.name}{' (leaked)' * row.leaked} {format_percent(row.accuracy.value)}"
        for row in report.rows
    )
    return render_page(
        "leak_report.html.j2",
        list_filters(),
        baseline_names=BASELINE_NAMES,
        r=report,
        title=f"Leak report on {report.data_name}",
        headline=headline,
        behind=behind,
        leaks=report.row_of("random").leaked,
        explanation=EXPLANATION,
        data=_word_data(report),
        chart=embed_image(render_svg(chart)),
        chart_text=f"Accuracy of network and baselines with intervals. Network: {told}.",
        baselines=_list_baselines(report),
        roles=_list_roles(report),
        roles_note=ROLES_NOTE,
        leakage_words=_LEAKAGE_WORDS,
        count_sources=_count_sources,
    )


def _build_block(row: LeakRow) -> AccuracyBlock:
    copies = f", {row.n_with_copy:,} with a copy in training" if row.leaked else ""
    return AccuracyBlock(
        f"{row.name} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row.n_images:,}{copies})",
        {"Network": row.accuracy} | {BASELINE_NAMES[k]: x for k, x in row.baselines.items()},
        leaked=row.leaked,
    )


def _word_data(report: LeakReport) -> str:
    return (
        f"{report.n_images:,} images of {report.n_sources:,} sources ({report.data_name});"
        f" sources {report.origin}."
    )


def _list_baselines(report: LeakReport) -> tuple[str, ...]:
    return tuple(
        name for name in BASELINE_NAMES if any(name in row.baselines for row in report.rows)
    )


def _list_roles(report: LeakReport) -> tuple[str, ...]:
    return tuple(
        role
        for role in ("train", "val", "calib", "test")
        if any(role in found for found in report.counts.values())
    )


def _count_sources(row: LeakRow) -> str:
    return "unknown" if row.n_sources is None else f"{row.n_sources:,}"


def _short(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
