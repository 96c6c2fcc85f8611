"""Sentences about what to mind before believing a network, each made from its records.

Every function takes a `Reader`, as in `card_facts`. What this file does not do: it judges nothing.
"""

from collections.abc import Sequence

from leukoscope.data.audit import FEW_SOURCES
from leukoscope.data.splits import FEW_IMAGES
from leukoscope.evaluation.validation import Validation
from leukoscope.labels import CELL_TYPES, is_critical
from leukoscope.report.card_facts import mark_leak
from leukoscope.report.card_figure_facts import find_local
from leukoscope.report.card_other_facts import has_external_evaluation
from leukoscope.report.card_records import (
    DataSummary,
    Network,
    Reader,
    RunProvenance,
    format_percents,
    read_leakage_status,
)
from leukoscope.report.data_words import describe_split_findings
from leukoscope.report.evaluation_page import NEW_CLASSES
from leukoscope.report.leakage_words import LEAKAGE_TEXTS, LEAKAGE_TITLES
from leukoscope.report.markdown import escape_sentence, escape_text, format_class
from leukoscope.text import format_count, join_words
from leukoscope.trust.record import TrustInfo

LOW_SENSITIVITY = 0.9
"""A kind of cell of which fewer than nine in ten are found is named among the limits."""


def describe_limitations(
    reader: Reader,
    network: Network,
    data: DataSummary | None = None,
    provenance: RunProvenance | None = None,
    validation: Validation | None = None,
    trust: TrustInfo | None = None,
) -> tuple[str, ...]:
    """What the records say against believing too much."""
    found = [*_limit_split(reader)]
    found += _list_few_sources(data) if data is not None else []
    found += _limit_images(reader, network.classes)
    found += _list_missing_classes(network.classes)
    found += _limit_sensitivity(reader, network.classes)
    if provenance is not None:
        networks = (
            format_count(network.n_members, "network")
            if network.n_members > 1
            else f"one training (seed {escape_text(str(provenance.seed))})"
        )
        found.append(
            f"One split and {networks}: how far figures move with another split or seed was not"
            " measured here."
        )
    if not (has_external_evaluation(reader) or validation is not None or find_local(trust)):
        found.append(
            "No evaluation on other data is on record: performance on another stain, scanner or"
            " laboratory is unknown."
        )
    found.append(
        "It never rejects: it was not calibrated."
        if trust is None
        else f"{NEW_CLASSES} Rejection detects other stains, scanners and objects."
    )
    findings = describe_split_findings(data.audit) if data is not None else ()
    found += [f"Split: {escape_sentence(text)}" for text in findings]
    found += [
        f"Evaluation: {escape_sentence(text)}" for text in reader.find_names("metrics", "warnings")
    ]
    return tuple(found)


def _limit_split(reader: Reader) -> list[str]:
    if reader.find_text("metrics", "leakage_status") is None:
        return []
    leakage_status = read_leakage_status(reader, "metrics", "leakage_status")
    if leakage_status == "disjoint":
        return []
    return [f"{LEAKAGE_TITLES[leakage_status]}. {LEAKAGE_TEXTS[leakage_status]}"]


def _limit_images(reader: Reader, names: tuple[str, ...]) -> list[str]:
    few = [
        f"{format_class(name)} {n:,}"
        for name in names
        if (n := reader.find_count("metrics", "per_class", name, "n_images")) is not None
        and n < FEW_IMAGES
    ]
    if few:
        return [f"Few test images (below {FEW_IMAGES}), so wide intervals: {', '.join(few)}."]
    return []


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


def _list_few_sources(data: DataSummary) -> list[str]:
    training = data.class_sources.get("train", {}) if data.audit.sources_known else {}
    few = [f"{format_class(label)} {n:,}" for label, n in training.items() if n < FEW_SOURCES]
    if not few:
        return []
    return [
        f"Few independent examples, whatever the number of images: fewer than {FEW_SOURCES} sources"
        f" in training for {', '.join(few)}."
    ]


_GRANULOCYTES = {"promyelocyte", "myelocyte", "metamyelocyte"}


def _list_missing_classes(classes: Sequence[str]) -> list[str]:
    """Critical cells without a class. Immature granulocytes may be one class or three."""
    known = {*classes}
    if "immature_granulocyte" in classes:
        known |= _GRANULOCYTES
    elif known & _GRANULOCYTES:
        known.add("immature_granulocyte")
    missing = [one.display for one in CELL_TYPES if one.critical and one.name not in known]
    if not missing:
        return []
    return [
        "It knows no class for these critical cells, and can only call them something else or"
        f" reject them: {join_words(missing)}."
    ]
