"""A differential in sentences: the answer, what to look at, how it was computed, its limitations.

What this file does not do: it computes nothing (`smear.counting`), and lays nothing out
(`differential_page`).
"""

import math
from collections.abc import Mapping, Sequence

from leukoscope.interval import Interval
from leukoscope.labels import display_label
from leukoscope.report.page import Level, Mark
from leukoscope.smear.differential import (
    IMMATURE_GRANULOCYTES,
    NEUTROPHILS,
    SUMS,
    CellGroup,
    ClassShare,
    DifferentialRecord,
    LeftShift,
    ReferenceLimits,
    Relation,
)
from leukoscope.text import (
    DASH,
    format_count,
    format_number,
    format_percent,
    join_bounds,
    join_words,
)

ORDER = (
    *NEUTROPHILS,
    *("lymphocyte", "atypical_lymphocyte", "large_granular_lymphocyte", "monocyte"),
    *("eosinophil", "basophil"),
    *IMMATURE_GRANULOCYTES,
)
"""Classes as a laboratory lists them; others follow in the order of the network."""

RELATION_WORDS: Mapping[Relation, str] = {
    "": "",
    "below": "low",
    "perhaps_below": "low?",
    "within": "within",
    "perhaps_above": "high?",
    "above": "high",
}
RELATION_MARKS: Mapping[Relation, Mark] = {
    "": "",
    "below": "bad",
    "perhaps_below": "caution",
    "within": "good",
    "perhaps_above": "caution",
    "above": "bad",
}
RELATION_LEGEND = (
    "“high” and “low”: the whole interval lies beyond the reference interval; with a question mark"
    " the figure does, but its interval reaches within."
)

GROUP_WORDS: Mapping[CellGroup, str] = {
    "white": "white cells",
    "nucleated_red": "nucleated red cells",
    "platelet": "platelets",
    "smudge": "smudge cells",
    "other": "other",
}

_SHIFT: Mapping[LeftShift, str] = {
    "not_known": "Left shift: not assessed, for the network knows neither bands nor immature"
    " granulocytes.",
    "none": "No left shift.",
    "perhaps": "Left shift possible",
    "present": "Left shift",
}

_FEW = 20
"""Of so few white cells no share is worth a headline."""

_SHOWN = 5
_LEAST_SHOWN = 0.005


def sort_shares(shares: Sequence[ClassShare]) -> list[ClassShare]:
    """Return classes as a laboratory lists them."""
    places = {label: k for k, label in enumerate(ORDER)}
    return sorted(shares, key=lambda one: places.get(one.label, len(places)))


def list_top_shares(record: DifferentialRecord) -> list[ClassShare]:
    """Return the shares that together are 100 %, sums in place of their parts."""
    parts = {label for one in record.sums for label in SUMS[one.label]}
    rest = [one for one in record.classes if one.label not in parts]
    return sort_shares([*record.sums, *rest])


def describe_answer(record: DifferentialRecord) -> str:
    """Return the answer in one line: the differential, the largest shares first, or why it is
    none."""
    codes = {note.code for note in record.notes}
    if not record.totals.counted:
        return "No white cell was identified"
    if "appearance_differs" in codes:
        return "Not to be used: these cells look unlike those that the network was calibrated on"
    if record.totals.counted < _FEW:
        return f"Too few for a differential: {format_count(record.totals.counted, 'white cell')}"
    shares = sorted(list_top_shares(record), key=lambda one: -one.best.value)
    shown = [one for one in shares if one.best.value >= _LEAST_SHOWN][:_SHOWN]
    texts = [f"{display_label(one.label)} {format_percent(one.best.value)}" for one in shown]
    # A label and its figure stay on one line.
    texts = [text.replace(" ", "\N{NO-BREAK SPACE}") for text in texts]
    return ", ".join(text if not k else text[0].lower() + text[1:] for k, text in enumerate(texts))


def describe_basis(record: DifferentialRecord) -> str:
    """Return on how many cells it rests."""
    t = record.totals
    parts = [f"{format_count(t.counted, 'white cell')} of {format_count(t.files, 'image')}"]
    if t.in_review:
        waiting = format_count(t.in_review, "cell waits", "cells wait")
        parts.append(f"{waiting} for a person and {'counts' if t.in_review == 1 else 'count'} as"
                     " labelled")  # fmt: skip
    return f"{'; '.join(parts)}."


def describe_left_shift(record: DifferentialRecord) -> str:
    """Return whether there is a left shift, with its figures."""
    text = _SHIFT[record.left_shift]
    if text.endswith("."):
        return text
    known = (("bands", record.bands), ("immature granulocytes", record.immature))
    figures = [f"{name} {format_interval(one)}" for name, one in known if one.value == one.value]
    return f"{text}: {join_words(figures)}."


def describe_red_cells(record: DifferentialRecord) -> str:
    """Return the nucleated red cells per 100 white ones; "" where the network knows none."""
    one = record.nucleated_red_per_100
    if math.isnan(one.value):
        return ""
    bounds = join_bounds(one.low, one.high, 1)
    return f"Nucleated red cells: {format_number(one.value, 1)} per 100 white cells ({bounds})."


def list_flags(record: DifferentialRecord) -> list[str]:
    """Return what lies beyond its reference interval, whole intervals first; of too few cells for a
    differential only these."""
    found = []
    if record.white_count_relation in ("below", "above"):
        found.append(
            f"White count: {format_number(record.corrected_white_count, 2)} × 10⁹/L,"
            f" {record.white_count_relation} the reference interval"
            f" {format_limits(record.white_count_limits)}."
        )
    # Of a handful of cells nearly every share lies perhaps beyond something.
    for certain in (True, False) if record.totals.counted >= _FEW else (True,):
        for one in [*sort_shares(record.sums), *sort_shares(record.classes)]:
            if one.relation in (("below", "above") if certain else
                                ("perhaps_below", "perhaps_above")):  # fmt: skip
                side = "below" if one.relation.endswith("below") else "above"
                figure = format_absolute(one.absolute) if is_absolute(one) else format_interval(
                    one.best)  # fmt: skip
                perhaps = "" if certain else "perhaps "
                found.append(
                    f"{display_label(one.label)}: {figure}, {perhaps}{side} the reference interval"
                    f" {format_limits(one.limits)}."
                )
    return found


def describe_white_count(record: DifferentialRecord) -> str:
    """Return the white count as given, and as it is used; "" where none was given."""
    if math.isnan(record.white_count):
        return ""
    text = f"White count given: {format_number(record.white_count, 2)} × 10⁹/L"
    if record.corrected_white_count != record.white_count:
        text += f", corrected: {format_number(record.corrected_white_count, 2)}"
    if record.white_count_limits is not None:
        text += f"; reference interval {format_limits(record.white_count_limits)}"
    return f"{text}."


def is_absolute(one: ClassShare) -> bool:
    """Tell whether the limits of a class are of cells per litre."""
    return one.limits is not None and one.limits.unit == "10^9/L"


def get_level(record: DifferentialRecord) -> Level:
    """Return the colour of the first screen."""
    codes = {note.code for note in record.notes}
    if codes & {"critical_cells", "appearance_differs", "nothing_counted"}:
        return "bad"
    flagged = any(one.relation not in ("", "within") for one in (*record.classes, *record.sums))
    doubted = codes or record.left_shift in ("perhaps", "present")
    return "caution" if flagged or doubted else "good"


def format_interval(one: Interval) -> str:
    """Return a share in per cent with its limits.

    >>> format_interval(Interval(0.2, 0.144, 0.262))
    '20.0 % (14.4–26.2)'
    """
    if math.isnan(one.value):
        return DASH
    return f"{format_percent(one.value)} ({join_bounds(100 * one.low, 100 * one.high, 1)})"


def format_absolute(one: Interval) -> str:
    """Return cells per litre with their limits.

    >>> format_absolute(Interval(2.2, 1.6, 2.8))
    '2.20 × 10⁹/L (1.60–2.80)'
    """
    if math.isnan(one.value):
        return DASH
    return f"{format_number(one.value, 2)} × 10⁹/L ({join_bounds(one.low, one.high, 2)})"


def format_limits(limits: ReferenceLimits | None) -> str:
    """Return a reference interval in its unit; "" for none.

    >>> format_limits(ReferenceLimits(0.4, 0.75, "share"))
    '40–75 %'
    """
    if limits is None:
        return ""
    if limits.unit == "share":
        return f"{100 * limits.lower:g}–{100 * limits.upper:g} %"
    return f"{limits.lower:g}–{limits.upper:g} × 10⁹/L"


def format_more(one: ClassShare) -> str:
    """Return how many more cells the wanted precision takes."""
    if one.n_more is None:
        return DASH if math.isnan(one.best.value) else "not by counting"
    return "reached" if one.n_more == 0 else f"{one.n_more:,} more"


def list_methods(record: DifferentialRecord) -> list[str]:
    """Return how the figures came about."""
    has_correction = any(not math.isnan(one.corrected.value) for one in record.classes)
    found = [
        "Shares are of the identified white cells. Nucleated red cells, platelets, smudge and"
        " unidentified cells are counted apart and stand outside of the 100 %. Cells cut by the"
        " edge of a field are not counted; a cell that two fields show is counted once.",
        "Raw shares: cells by the label that the network gives, with the exact binomial interval"
        " (Clopper and Pearson; the limits of Rümke's table). It knows only the chance of the"
        " sample.",
    ]
    if has_correction:
        found.append(
            "Corrected shares: the likeliest ones, given how often the network took cells of each"
            " class of the calibration set for others or rejected them. Their 95 % intervals carry"
            " the chance of the sample and what is not known of the network; with 0 cells the lower"
            " limit is 0. Of fields, each counted cell stands for those of its size that the edge"
            " cuts: large cells are cut more often."
        )
    if not math.isnan(record.white_count):
        found.append(
            "Absolute counts: share times white count. The white count is taken as exact. It is"
            f" corrected (× 100 / (100 + nucleated red cells per 100 white cells)) from"
            f" {record.provenance.red_threshold:g} nucleated red cells on."
        )
    precision = f"{100 * record.provenance.precision:g}"
    found.append(
        f"Wanted precision: half of the interval's length at most {precision} points. How many more"
        " white cells that takes is computed as if they had the same shares."
    )
    sources = {one.limits.source for one in (*record.classes, *record.sums) if one.limits}
    if record.reference is not None:
        cited = "; ".join(sorted(source for source in sources if source))
        found.append(
            f"Reference intervals: {record.reference.name} ({record.reference.population})."
            + (f" Sources: {cited}." if cited else "")
        )
        if record.reference.note:
            found.append(" ".join(record.reference.note.split()))
    return found


def list_limitations(record: DifferentialRecord) -> list[str]:
    """Return what the intervals do not cover."""
    found = [
        "The correction takes the cells to look as those of the calibration set do, with other"
        " shares only. Another stain, scanner or disease changes how often cells are mistaken, and"
        " then neither figure nor interval holds. A share of accepted cells that is too low is"
        " noticed; nothing else is.",
        "Where cells were taken on the smear, and how it was made, is not in the intervals.",
        "A cell type that the network does not know is counted as one it knows, or unidentified.",
    ]
    if record.totals.in_review:
        found.append(
            "Cells that wait for a person were counted as labelled: sign out after review."
        )
    return found
