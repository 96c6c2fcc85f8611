"""The page of robustness: what the network is sensitive to first, what rejection saves, figures.

What this file does not do: it computes no figure (`evaluation.robustness`) and draws none
(`robustness_figures`).
"""

from leukoscope.data.corrupt import SEVERITIES, Corruption
from leukoscope.evaluation.robustness import LARGE_LOSS, Level, Robustness
from leukoscope.interval import Interval
from leukoscope.report.data_words import describe_finding
from leukoscope.report.leakage_words import build_leakage_banner
from leukoscope.report.note_words import describe_note
from leukoscope.report.page import (
    Box,
    Cell,
    Drawings,
    Page,
    Section,
    Statement,
    Table,
    Text,
    build_figures,
    build_table,
)
from leukoscope.text import (
    format_count,
    format_number,
    format_percent,
    format_range,
    join_bounds,
    join_words,
)

CORRUPTION_NAMES: dict[Corruption, str] = {
    "blur": "Blur",
    "defocus": "Defocus",
    "jpeg": "JPEG compression",
    "noise": "Sensor noise",
    "darker": "Less light",
    "white_balance": "Yellower light",
    "stain_weaker": "Weaker stain",
    "stain_stronger": "Stronger stain",
    "larger": "Larger magnification",
    "smaller": "Smaller magnification",
}


def describe_robustness(
    record: Robustness, drawn: Drawings | None = None, trailer: tuple[str, ...] = ()
) -> Page:
    """Describe the page. `drawn`: "robustness" (accuracy against severity) and "corruptions" (what
    they look like)."""
    drawn = drawn or {}
    reasons = (
        *map(describe_note, record.remarks),
        *(describe_finding(one).sentence for one in record.split_findings),
        *map(describe_note, record.warnings),
    )
    lead = (
        Statement(describe_sensitivity(record)),
        Text(describe_protection(record)),
        Text(
            f"{format_count(record.n_images, 'image')};"
            f" {format_range(record.clean.accuracy)} correctly classified when clean. Corruptions"
            " are simulated at the network's image size, before colours are standardised, as in"
            " use: they show which of them matter, not what another laboratory will find.",
            muted=True,
        ),
        build_leakage_banner(record.leakage_status, reasons),
    )
    sections = [
        Section(
            "Accuracy by severity",
            (Box((_tabulate_accuracy(record),)), *_box_figures(drawn, "robustness")),
            brief=True,
        )
    ]
    if record.decides:
        sections.append(Section("Accepted cells", (Box((_tabulate_accepted(record),)),)))
    if "corruptions" in drawn:
        sections.append(Section("What it looks like", _box_figures(drawn, "corruptions")))
    title = f"Robustness of {record.model} on {record.data}"
    return Page(title, lead, tuple(sections), trailer)


def _box_figures(drawn: Drawings, name: str) -> tuple[Box, ...]:
    return tuple(Box((figure,)) for figure in build_figures(drawn, name))


def describe_sensitivity(record: Robustness) -> str:
    """Say in one sentence what costs accuracy first, as far as these images show it."""
    clean = record.clean.accuracy
    if not clean.low > record.majority:
        return (
            f"No statement on robustness: {format_percent(clean.value)} of clean images are"
            " correctly classified, which is not shown to be more than the share of the most"
            f" frequent class ({format_percent(record.majority)})."
        )
    severity, first = record.find_first_breaks()
    if first:
        return (
            f"Most sensitive to {_join_names(first)}: five points of accuracy are lost at severity"
            f" {severity} of 5."
        )
    seen = dict.fromkeys(level.corruption for level in record.levels if level.is_large_loss)
    if seen:
        return (
            "Too few images to say what the network is sensitive to: five points of accuracy were"
            f" lost under {_join_names(seen)}, which may be chance."
        )
    if all(level.loss.high < LARGE_LOSS for level in record.corrupted):
        return "No corruption at any severity costs five points of accuracy."
    return (
        "No corruption at any severity was seen to cost five points of accuracy; there are too few"
        " images to exclude it."
    )


def describe_protection(record: Robustness) -> str:
    """Say how many cells are accepted although misclassified where corruptions are worst."""
    if not record.decides:
        return "The network was not calibrated: it rejects no cell, however poor the image."
    if record.clean.accepted.value == 0:
        return (
            "None of the clean images is accepted: whether rejection protects against corruptions"
            " cannot be seen."
        )
    worst = max(record.corrupted, key=_get_wrong)
    clean = format_percent(record.clean.accepted_wrong)
    if worst.accepted_wrong <= record.clean.accepted_wrong + 1e-9:
        return (
            "Rejection protects against every corruption: never are more cells accepted although"
            f" misclassified than among clean images ({clean})."
        )
    text = (
        f"Rejection protects least against {_name(worst.corruption)} at severity {worst.severity}:"
        f" {format_percent(worst.accepted_wrong)} of all cells are accepted although misclassified"
        f" ({clean} of clean images)."
    )
    undetected = max(
        (level for level in record.corrupted if not level.detected), key=_get_wrong, default=None
    )
    if undetected is worst:
        return f"{text} `predict` does not warn even of a whole folder of such images."
    text += (
        " Of a whole folder of such images `predict` warns, since fewer cells are accepted than"
        " their classes explain by the internal test set."
    )
    if undetected is None:
        return text
    return (
        f"{text} The worst that it does not warn of is {_name(undetected.corruption)} at severity"
        f" {undetected.severity}: {format_percent(undetected.accepted_wrong)}."
    )


def _get_wrong(level: Level) -> float:
    return level.accepted_wrong


def _name(corruption: Corruption) -> str:
    """The name of a corruption within a sentence."""
    name = CORRUPTION_NAMES[corruption]
    return name if name[:2].isupper() else name[0].lower() + name[1:]


def _join_names(corruptions: "tuple[Corruption, ...] | dict[Corruption, None]") -> str:
    return join_words(map(_name, corruptions))


def _tabulate_accuracy(record: Robustness) -> Table:
    rows = []
    for name, loss in record.mean_loss.items():
        cells = [_show(level.accuracy) for level in record.select(name) if level.severity]
        points = Cell(f"{format_number(100 * loss, 1)} points")
        rows.append([Cell(CORRUPTION_NAMES[name]), *cells, points])
    heads = ["", *(f"Severity {severity}" for severity in SEVERITIES), "Mean loss"]
    clean = format_percent(record.clean.accuracy.value)
    caption = f"Accuracy of all cells with its 95 % interval; {clean} when clean"
    return build_table(heads, rows, caption, dense=True)


def _tabulate_accepted(record: Robustness) -> Table:
    rows = [
        [Cell(CORRUPTION_NAMES[name]), *map(_show_accepted, record.select(name))]
        for name in record.mean_loss
    ]
    heads = ["", "Clean", *(f"Severity {severity}" for severity in SEVERITIES)]
    caption = (
        "Accuracy among accepted cells, and the share of all cells that are accepted; detected:"
        " `predict` warns of a whole folder of such images"
    )
    return build_table(heads, rows, caption, dense=True)


def _show(interval: Interval) -> Cell:
    low, high = 100 * interval.low, 100 * interval.high
    return Cell(format_percent(interval.value), join_bounds(low, high, 1))


def _show_accepted(level: Level) -> Cell:
    share = f"of {format_percent(level.accepted.value)}" if level.accepted.value else "of none"
    note = f"{share}{', detected' if level.detected else ''}"
    return Cell(format_percent(level.accepted_accuracy.value), note)
