"""What calibration does on the internal test set, and what has to be known about it.

What this file does not do: it fits and measures nothing (`pipelines.trust`).
"""

import math
from pathlib import Path

from leukoscope.interval import Interval
from leukoscope.report.decision_words import describe_errors
from leukoscope.report.note_words import describe_note
from leukoscope.report.page import Banner, Block, Bullets, Column, Page, Table, build_table
from leukoscope.text import DASH, NO_INTERVAL, format_count
from leukoscope.trust.record import Reference, TrustInfo

_CAUTIONS = {
    "leaking": "These figures are inflated: the test images have duplicates in training.",
    "suspect": "These figures may be inflated: there are signs of duplicates in training.",
    "images_disjoint": "Persons are not recorded: cells of one may lie in training and in test, and"
    " on other people the figures may be lower.",
    "unproven": "These figures may be inflated: duplicates in training cannot be excluded.",
}


def describe_calibration(info: TrustInfo, path: Path) -> Page:
    """Return the page of a fitted policy, which was saved at `path`."""
    reference = info.reference
    lead: list[Block] = []
    if reference is not None:
        lead.append(_build_table(reference, 1 - info.policy.sets.alpha))
        if reference.leakage_status in _CAUTIONS:
            lead.append(Banner("caution", _CAUTIONS[reference.leakage_status]))
    if info.notes:
        lead.append(Bullets(tuple(map(describe_note, info.notes))))
    return Page(
        "Calibration",
        tuple(lead),
        trailer=(
            f"Decision thresholds: {path}. Next: leukoscope evaluate RUN, leukoscope export RUN",
        ),
    )


def _build_table(reference: Reference, nominal: float) -> Table:
    sets = reference.sets
    raw = {}
    if sets.coverage_raw != sets.coverage:
        raw = {"Coverage without the label itself": sets.coverage_raw}
    figures: dict[str, Interval | float] = {
        "Accepted, share of all": reference.accepted,
        "Accuracy among accepted": reference.accepted_accuracy,
        "Accuracy of all": reference.accuracy,
        "Sent to review, share of all": reference.review_frac,
        "Unknown, share of all": reference.unknown_frac,
        f"Coverage of prediction sets (nominal {nominal:g})": sets.coverage,
        **raw,
        "Sets of two labels or more, share of all": sets.several_frac,
        f"The same, of the {sets.n_wrong:,} misclassified": sets.wrong_several_frac,
        "Calibration error before": reference.ece_raw,
        "Calibration error after": reference.ece,
    }
    errors = describe_errors(reference.errors)
    errors = f"; {errors}" if errors else ""
    return build_table(
        (Column("Figure", is_text=True), "Value", "95 % interval"),
        [(name, *_format_row(one)) for name, one in figures.items()],
        f"On {format_count(reference.n_images, 'test image')} of {reference.data}{errors}",
    )


def _format(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.3f}"


def _format_row(figure: Interval | float) -> tuple[str, str]:
    """A figure and its bounds, "" for what has none by its kind."""
    if not isinstance(figure, Interval):
        return _format(figure), ""
    if math.isnan(figure.low):
        return _format(figure.value), "" if math.isnan(figure.value) else NO_INTERVAL
    return _format(figure.value), f"{_format(figure.low)} to {_format(figure.high)}"
