"""Sentences about what to mind before believing a network, each made from its records.

Every function takes a `Reader`, as in `card_facts`. What this file does not do: it judges nothing.
"""

from leukoscope.data.audit import FEW_SOURCES
from leukoscope.data.splits import FEW_IMAGES
from leukoscope.labels import CELL_TYPES, is_critical
from leukoscope.report.card_facts import count_members, mark_leak, word_seed
from leukoscope.report.card_other_facts import has_other_data
from leukoscope.report.card_records import (
    Reader,
    format_percents,
    read_classes,
    read_leakage_status,
)
from leukoscope.report.card_trust_facts import is_calibrated
from leukoscope.report.evaluation_page import LEAKAGE_TEXTS, LEAKAGE_TITLES
from leukoscope.report.markdown import escape_sentence, format_class
from leukoscope.report.trust_words import NEW_KINDS
from leukoscope.text import join_words

LOW_SENSITIVITY = 0.9
"""A kind of cell of which fewer than nine in ten are found is named among the limits."""

_GRANULOCYTES = ("promyelocyte", "myelocyte", "metamyelocyte")


def list_limits(reader: Reader) -> tuple[str, ...]:
    """What the records say against believing too much, as a list."""
    names = read_classes(reader)
    found = [
        *_limit_split(reader),
        *_limit_classes(reader, names),
        *_limit_sensitivity(reader, names),
        *_limit_scope(reader),
    ]
    if not is_calibrated(reader):
        found.append("It never rejects: no calibration is on record.")
    else:
        found.append(f"{NEW_KINDS} Rejecting tells other stains, scanners and objects from home's.")
    for note in reader.find_names("data", "warnings"):
        found.append(f"Audit of the split: {escape_sentence(note)}")
    for note in reader.find_names("metrics", "warnings"):
        found.append(f"Evaluation: {escape_sentence(note)}")
    return tuple(found)


def _limit_split(reader: Reader) -> list[str]:
    if reader.find_text("metrics", "leakage_status") is None:
        return []
    leakage_status = read_leakage_status(reader, "metrics", "leakage_status")
    if leakage_status == "disjoint":
        return []
    return [f"{LEAKAGE_TITLES[leakage_status]}. {LEAKAGE_TEXTS[leakage_status]}"]


def _limit_classes(reader: Reader, names: tuple[str, ...]) -> list[str]:
    found = []
    if reader.find_flag("data", "sources_known"):
        few = [
            f"{format_class(name)} {n:,}"
            for name in names
            if (n := reader.find_count("data", "sources", "train", name)) is not None
            and n < FEW_SOURCES
        ]
        if few:
            found.append(
                f"Few independent examples, whatever the number of images: fewer than {FEW_SOURCES}"
                f" sources in training for {', '.join(few)}."
            )
    few = [
        f"{format_class(name)} {n:,}"
        for name in names
        if (n := reader.find_count("metrics", "per_class", name, "n_images")) is not None
        and n < FEW_IMAGES
    ]
    if few:
        found.append(f"Few test images (below {FEW_IMAGES}), so wide intervals: {', '.join(few)}.")
    absent = [
        cell.display
        for cell in CELL_TYPES
        if cell.critical
        and cell.name not in names
        and not (cell.name == "immature_granulocyte" and set(_GRANULOCYTES) & set(names))
        and not (cell.name in _GRANULOCYTES and "immature_granulocyte" in names)
    ]
    if absent:
        found.append(
            "It knows no class for these critical cells, and can only call them something else or"
            f" reject them: {join_words(absent)}."
        )
    return found


def _limit_sensitivity(reader: Reader, names: tuple[str, ...]) -> list[str]:
    if reader.find_text("metrics", "leakage_status") is None:
        return []
    mark = mark_leak(reader)
    recalls = {
        name: interval
        for name in names
        if (interval := reader.find_interval("metrics", "per_class", name, "recall")) is not None
    }
    low = [
        f"{format_class(name)} {format_percents(interval)}"
        for name, interval in recalls.items()
        if interval.value < LOW_SENSITIVITY
    ]
    critical = [
        f"{format_class(name)} {format_percents(interval)}"
        for name, interval in recalls.items()
        if is_critical(name)
    ]
    found = []
    if low:
        found.append(
            f"Fewer than {100 * LOW_SENSITIVITY:.0f} in 100 found{mark}: {', '.join(low)}."
        )
    if critical:
        found.append(
            "Critical cells, whose oversight can harm a patient, and how many of them are found"
            f"{mark}: {', '.join(critical)}."
        )
    return found


def _limit_scope(reader: Reader) -> list[str]:
    found = []
    if reader.find_names("provenance", "command") or reader.find("provenance", "seed"):
        n = count_members(reader)
        networks = f"{n} networks" if n else f"one training (seed {word_seed(reader)})"
        found.append(
            f"One split and {networks}: how far figures move with another split or seed was not"
            " measured here."
        )
    if not has_other_data(reader):
        found.append(
            "No evaluation on other data is on record: how it does on another stain, scanner or"
            " laboratory is unknown."
        )
    return found
