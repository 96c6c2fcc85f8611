"""The page of a leak report: what a random split overstates, the answer in one sentence first.

What this file does not do: it computes nothing (`evaluation.leakage`) and draws nothing
(`evaluation_figures`).
"""

import math
import shlex

from leukoscope.evaluation.leakage import LeakReport, LeakRow
from leukoscope.evaluation.record import BaselineName
from leukoscope.interval import Interval
from leukoscope.report.glossary import build_terms
from leukoscope.report.leakage_words import BASELINE_NAMES, LEAKAGE_NOTES
from leukoscope.report.note_words import describe_note
from leukoscope.report.page import (
    Banner,
    Box,
    Bullets,
    Cell,
    Column,
    Drawings,
    Mark,
    Page,
    Section,
    Statement,
    Text,
    build_figures,
    build_provenance,
    build_table,
)
from leukoscope.text import (
    DASH,
    NO_INTERVAL,
    format_count,
    format_number,
    format_percent,
    join_bounds,
)

EXPLANATION = (
    "A random split puts duplicates of one cell into training and into test, so the network is"
    " asked about cells it has already been shown, and the figure says how well it remembers. The"
    " grouped split keeps all duplicates of a cell on one side, so its figure says how well the"
    " network classifies cells it has never seen: rely on that one."
)
"""Two sentences for somebody who treats patients and trains no networks."""

_ROLES_NOTE = (
    "The random split is the published one: training, validation and test. The grouped split also"
    " sets images aside for calibration, which no figure here uses; the shares of training and of"
    " test images are about the same, at the cost of validation."
)


def describe_leak_report(
    report: LeakReport, drawn: Drawings | None = None, trailer: tuple[str, ...] = ()
) -> Page:
    """Return the page of a leak report; `drawn` may hold the figure `accuracies`."""
    headline, behind = describe_difference(report)
    origin = "were found in the pixels (sources.csv)" if report.pixels else "are those of the data"
    basis = (
        f"{format_count(report.n_images, 'image')} of {format_count(report.n_sources, 'source')}"
        f" ({report.data}); sources {origin}."
    )
    leaks = report.row_of("random").leaked
    warnings = tuple(
        f"{one.data}: {describe_note(one.remark)}" if one.data else describe_note(one.remark)
        for one in report.warnings
    )
    return Page(
        f"Leak report on {report.data}",
        (
            Statement(headline),
            Text(behind),
            Text(basis, muted=True),
            Banner("bad" if leaks else "good", "What this means", (Text(EXPLANATION),)),
            *((Banner("caution", "Mind this", (Bullets(warnings),)),) if warnings else ()),
        ),
        (
            _build_rows(report, drawn or {}),
            _build_counts(report),
            build_terms("source", "interval", "baseline", "leak"),
            *build_provenance(_describe_origin(report), "To repeat it"),
        ),
        trailer,
    )


def describe_difference(report: LeakReport) -> tuple[str, str]:
    """Return the answer in one sentence, and what stands behind it in another.

    A difference that the interval does not tell from nothing is not called a leak's worth.
    """
    random, grouped = report.row_of("random"), report.row_of("grouped")
    first, second = format_percent(random.accuracy.value), format_percent(grouped.accuracy.value)
    gap = report.difference
    points = format_number(100 * gap.value, 1)
    low, high = format_number(100 * gap.low, 1), format_number(100 * gap.high, 1)
    behind = f"95 % interval of the difference: {low} to {high} points."
    if math.isnan(gap.low):
        behind = f"Of the difference there is {NO_INTERVAL}."
    if not random.leaked:
        return (
            "Nothing leaks: no test image of the random split has a duplicate in training. It"
            f" gives {first}, the grouped split {second}.",
            behind,
        )
    duplicates = (
        f"{random.n_duplicates:,} of the {random.n_images:,} random test images have a duplicate in"
        f" training. {behind}"
    )
    start = f"The random split gives {first}; without duplicates it is {second}: "
    if gap.low > 0:
        return f"{start}the leak is worth {points} points.", duplicates
    return f"{start}a difference of {points} points, which chance alone may make.", duplicates


def name_leak_row(row: LeakRow) -> str:
    """Return what was measured, in words."""
    rest = ", without duplicates" if row.subject.endswith("without_duplicates") else ""
    if row.subject.startswith("external"):
        return f"Trained on the {row.protocol} split, evaluated on {row.data}{rest}"
    return f"{row.protocol.capitalize()} split, its test images{rest}"


def list_baseline_names(report: LeakReport) -> tuple[BaselineName, ...]:
    """Return the baselines that any row has, in order."""
    return tuple(
        name for name in BASELINE_NAMES if any(name in row.baselines for row in report.rows)
    )


def _build_rows(report: LeakReport, drawn: Drawings) -> Section:
    names = list_baseline_names(report)
    head = (
        Column("Trained and evaluated"),
        Column("Images"),
        Column("With duplicate"),
        Column("Sources"),
        Column("Network"),
        *(Column(BASELINE_NAMES[name]) for name in names),
    )
    rows: list[tuple[str | Cell, ...]] = [
        (
            Cell(
                name_leak_row(row),
                note="" if row.leaked else LEAKAGE_NOTES[row.leakage_status],
                tag="leaked" if row.leaked else "",
            ),
            f"{row.n_images:,}",
            f"{row.n_duplicates:,}",
            "unknown" if row.n_sources is None else f"{row.n_sources:,}",
            _build_cell(row.accuracy, "" if row.leaked else "strong"),
            *(_build_cell(row.baselines[x]) if x in row.baselines else DASH for x in names),
        )
        for row in report.rows
    ]
    text = (
        "A disc is the network, a diamond a baseline: what a method reaches that knows nothing of"
        " cells. Hollow signs and dotted lines are leaked figures."
    )
    figures = build_figures(drawn, "accuracies")
    caption = (
        "Accuracy with its 95 % interval over sources. Baselines are fitted on the training images"
        " of the same split."
    )
    return Section(
        "The same recipe, measured in each way",
        (
            *((Text(text), Box(figures)) if figures else ()),
            Box((build_table(head, rows, caption, dense=True),)),
        ),
        brief=True,
    )


def _build_counts(report: LeakReport) -> Section:
    roles = [
        role
        for role in ("train", "val", "calib", "test")
        if any(role in found for found in report.counts.values())
    ]
    rows = [
        (protocol, *(f"{found[role]:,}" if role in found else DASH for role in roles))
        for protocol, found in report.counts.items()
    ]
    table = build_table(("Split", *roles), rows)
    note = Text(_ROLES_NOTE, muted=True)
    return Section("How many images each split gives to what", (Box((table, note)),))


def _describe_origin(report: LeakReport) -> dict[str, str]:
    origin = report.provenance
    found = {
        "Command": shlex.join(origin.command),
        "Seed of both splits": str(origin.split_seed),
        "Seed of training": str(origin.seed),
        "Recipe": f"{origin.recipe} ({origin.recipe_hash})",
        "leukoscope": origin.leukoscope,
        "Python": f"{origin.python}, {origin.platform}",
        "Packages": ", ".join(f"{name} {version}" for name, version in origin.packages.items()),
        "Written": origin.started,
    }
    if origin.search:
        found["Search for sources"] = ", ".join(f"{k} {v}" for k, v in origin.search.items())
    return found


def _build_cell(figure: Interval, mark: Mark = "") -> Cell:
    bounds = join_bounds(100 * figure.low, 100 * figure.high, 1)
    return Cell(format_percent(figure.value), bounds, mark=mark)
