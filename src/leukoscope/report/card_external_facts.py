"""Facts of a model card on other data, corruptions, explanations and parity, and on limitations.

Written as in `card_data_facts`, with the words of the pages. What this file does not do: it says
nothing of the internal test set (`card_figure_facts`).
"""

import math
from collections.abc import Mapping, Sequence

from leukoscope.data.audit import FEW_SOURCES
from leukoscope.data.splits import FEW_IMAGES, ROLES
from leukoscope.deploy.bundle import BundleInfo
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.evaluation.robustness import Level, Robustness
from leukoscope.evaluation.subgroups import Subgroup
from leukoscope.evaluation.validation import Validation
from leukoscope.explain.methods import METHOD_NAMES
from leukoscope.explain.record import Explanation
from leukoscope.labels import CELL_TYPES, is_critical
from leukoscope.report.bundle_page import describe_parity_set
from leukoscope.report.card_data_facts import format_seeds
from leukoscope.report.card_figure_facts import (
    count_images,
    find_local,
    format_accuracy,
    format_reference,
    mark_leak,
)
from leukoscope.report.card_records import DataSummary, Network
from leukoscope.report.data_words import describe_split_findings
from leukoscope.report.evaluation_page import NEW_CLASSES, list_reasons
from leukoscope.report.explain_page import describe_failures, describe_notes, describe_untested
from leukoscope.report.leakage_words import LEAKAGE_TITLES, describe_leakage
from leukoscope.report.markdown import escape_sentence, escape_text, format_class, render_table
from leukoscope.report.note_words import describe_note
from leukoscope.report.robustness_page import CORRUPTION_NAMES
from leukoscope.report.validation_words import (
    describe_acceptance,
    describe_column,
    describe_difference,
    name_group,
)
from leukoscope.runfolder import RunProvenance
from leukoscope.text import (
    DASH,
    format_count,
    format_number,
    format_percent,
    format_range,
    format_short,
    join_words,
)
from leukoscope.trust.record import TrustInfo

LOW_SENSITIVITY = 0.9
"""A class of which fewer than nine in ten are found is named among the limitations."""

# -- other data -----------------------------------------------------------------------------------


def describe_evaluation_table(
    evaluations: Mapping[str, EvaluationRecord] | None = None,
    validation: Validation | None = None,
) -> str:
    """Other evaluations of the same network, each with what its figure is worth."""
    rows = []
    for record in (evaluations or {}).values():
        reasons = map(escape_sentence, list_reasons(record))
        figure = " ".join([format_accuracy(record), *reasons])
        rows.append([f"{escape_text(record.data)}, {escape_text(record.role)}", figure])
    if validation is not None:
        rows.append(["Validation", _describe_validation(validation)])
    if not rows:
        return "None on record."
    return render_table(["Data, role", "Figure and what it is worth"], rows, words=(0, 1))


def describe_external_figures(
    evaluations: Mapping[str, EvaluationRecord] | None = None,
    validation: Validation | None = None,
    trust: TrustInfo | None = None,
) -> str | None:
    """Figures on data other than those of training."""
    found = [
        f"{escape_text(record.data)}: {format_accuracy(record)}"
        for record in _list_external(evaluations)
    ]
    found += [_describe_validation(validation)] if validation is not None else []
    local = find_local(trust)
    found += [format_reference(local)] if local else []
    return " ".join(found) or None


def _list_external(evaluations: Mapping[str, EvaluationRecord] | None) -> list[EvaluationRecord]:
    return [record for name, record in (evaluations or {}).items() if name not in ROLES]


def _describe_validation(v: Validation) -> str:
    """Accuracy at another site, against the internal test set, and the acceptance criteria."""
    return (
        f"Correctly classified: {format_range(v.figures['accuracy'])} of"
        f" {count_images(v, 'labelled cell')}. {escape_sentence(describe_difference(v))}"
        f" {describe_acceptance(v.acceptance, [one.outcome for one in v.criteria])} Whether"
        " training has seen some of these cells, a validation cannot know."
    )


def describe_subgroups(validation: Validation) -> str | None:
    """Accuracy, and the share accepted, of each group of the validated cells."""
    tables = []
    for table in validation.subgroups:
        if table.groups:
            groups = "; ".join(map(_describe_group, table.groups))
            note = escape_sentence(describe_column(table))
            tables.append(f"By {escape_text(table.column)}: {groups}. {note}".strip())
    if not tables:
        return None
    return (
        f"On the validated cells ({escape_text(validation.data)}), fraction correctly classified"
        f" with its 95 % interval. {' '.join(tables)}"
    )


def _describe_group(group: Subgroup) -> str:
    text = (
        f"{escape_text(name_group(group))} {format_short(group.accuracy)} of"
        f" {format_count(group.n_images, 'cell')}{' (stands out)' * group.stands_out}"
    )
    if not math.isnan(group.accepted.value):
        text += f", accepted {format_short(group.accepted)}"
        text += " (stands out)" * group.accepted_stands_out
    return text


def describe_robustness(robustness: Robustness) -> str | None:
    """Accuracy on clean images, and what each corruption costs."""
    corrupted = robustness.corrupted
    if not corrupted:
        return None
    worst = min(corrupted, key=lambda level: level.accuracy.value)
    losses = [
        f"{CORRUPTION_NAMES[name]} {format_number(100 * loss, 1)}"
        for name, loss in robustness.mean_loss.items()
    ]
    status = robustness.leakage_status
    mark = f"; {LEAKAGE_TITLES[status].lower()}" if status != "disjoint" else ""
    mark = f"; LEAKED{mark}" if status == "leaking" else mark
    text = (
        f"{format_count(robustness.n_images, 'image')} ({escape_text(robustness.data)}{mark}) under"
        f" {format_count(len(losses), 'controlled corruption')}. Correctly classified when clean:"
        f" {format_range(robustness.clean.accuracy)}. Points lost on average over severities:"
        f" {', '.join(losses)}. Worst: {_name_level(worst)}, {format_range(worst.accuracy)}"
        " correctly classified."
    )
    if not robustness.decides:
        return text
    wrong = max(corrupted, key=lambda level: level.accepted_wrong)
    return (
        f"{text} Accepted although misclassified: at most {format_percent(wrong.accepted_wrong)} of"
        f" all cells ({_name_level(wrong)})."
    )


def _name_level(level: Level) -> str:
    return f"{CORRUPTION_NAMES[level.corruption]} at severity {level.severity}"


def describe_explanation(explanation: Explanation) -> str:
    """How predictions were explained, and which tests the maps do not pass."""
    methods = join_words(METHOD_NAMES[method] for method in explanation.methods)
    found = [f"Maps of what the network looked at: {methods}."]
    for one in explanation.results:
        name = f"{METHOD_NAMES[one.method]}, {format_count(one.n_images, 'image')}"
        passed = ("No test that was made speaks against it.",) if one.holds else ()
        tests = " ".join((*(describe_failures(one) or passed), describe_untested(one))).strip()
        tests = escape_sentence(tests)
        found.append(f"{name}: {tests}" if tests else f"{name}.")
    return " ".join([*found, *map(escape_sentence, describe_notes(explanation))])


def describe_parity_table(bundle: BundleInfo) -> str:
    """What each graph of a bundle does, against the network it was made from."""
    rows = []
    for name, variant in bundle.variants.items():
        parity, outcomes = variant.parity, variant.parity.outcomes_changed
        rows.append(
            [
                name + " (default)" * (bundle.default == name),
                f"{variant.bytes / 1e6:.1f} MB",
                f"{parity.max_logit_difference:.2g}",
                f"{parity.decisions_changed:,} of {parity.images:,}",
                DASH if outcomes is None else f"{outcomes:,}",
                variant.sha256[:16],
            ]
        )
    header = ["Variant", "Size", "Largest difference", "Other label", "Decided otherwise"]
    return (
        "A bundle holds the network in several precisions. Each was compared with the trained"
        " network on the same images: the largest difference of a class's score before it becomes a"
        " probability (a logit), how many images got another label, and how many are accepted,"
        " reviewed or rejected otherwise. Compared on"
        f" {describe_parity_set(bundle.parity_set)}.\n\n"
        f"{render_table([*header, 'SHA-256 begins'], rows)}"
    )


# -- limitations ----------------------------------------------------------------------------------


def describe_limitations(
    network: Network,
    data: DataSummary | None = None,
    provenance: RunProvenance | None = None,
    evaluation: EvaluationRecord | None = None,
    evaluations: Mapping[str, EvaluationRecord] | None = None,
    validation: Validation | None = None,
    trust: TrustInfo | None = None,
) -> tuple[str, ...]:
    """What the records say against believing too much."""
    found = []
    if evaluation is not None and evaluation.leakage_status != "disjoint":
        found.append(describe_leakage(evaluation.leakage_status))
    found += _list_few_sources(data) if data is not None else []
    found += _list_class_limitations(evaluation) if evaluation is not None else []
    found += _list_missing_classes(network.classes)
    if provenance is not None:
        networks = (
            format_count(network.n_members, "network")
            if network.n_members > 1
            else f"one training (seed {format_seeds(provenance.seeds)})"
        )
        found.append(
            f"One split and {networks}: how far figures move with another split or seed was not"
            " measured here."
        )
    if not (_list_external(evaluations) or validation is not None or find_local(trust)):
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
    warnings = evaluation.warnings if evaluation is not None else ()
    found += [f"Evaluation: {escape_sentence(describe_note(one))}" for one in warnings]
    return tuple(found)


def _list_few_sources(data: DataSummary) -> list[str]:
    training = data.class_sources.get("train", {}) if data.audit.sources_known else {}
    few = [f"{format_class(label)} {n:,}" for label, n in training.items() if n < FEW_SOURCES]
    if not few:
        return []
    return [
        f"Few independent examples, whatever the number of images: fewer than {FEW_SOURCES} sources"
        f" in training for {', '.join(few)}."
    ]


def _list_class_limitations(evaluation: EvaluationRecord) -> list[str]:
    recalls = {
        one.label: one.figures["recall"]
        for one in evaluation.per_class
        if not math.isnan(one.figures["recall"].value)
    }
    shown = {label: f"{format_class(label)} {format_short(one)}" for label, one in recalls.items()}
    few = [
        f"{format_class(one.label)} {one.n_images:,}"
        for one in evaluation.per_class
        if one.n_images < FEW_IMAGES
    ]
    low = [shown[label] for label, one in recalls.items() if one.value < LOW_SENSITIVITY]
    critical = [text for label, text in shown.items() if is_critical(label)]
    mark, found = mark_leak(evaluation), []
    if few:
        found.append(f"Few test images (below {FEW_IMAGES}), so wide intervals: {', '.join(few)}.")
    if low:
        found.append(f"Sensitivity below {100 * LOW_SENSITIVITY:.0f} %{mark}: {', '.join(low)}.")
    if critical:
        found.append(
            "Critical cells, whose oversight can harm a patient, and their sensitivity"
            f"{mark}: {', '.join(critical)}."
        )
    return found


_GRANULOCYTES = {"promyelocyte", "myelocyte", "metamyelocyte"}

_CODES = {"all", "myb"}
"""Codes of single data sets: what they mean stands under another name, too."""


def _list_missing_classes(classes: Sequence[str]) -> list[str]:
    """Critical cells without a class. Immature granulocytes may be one class or three."""
    known = {*classes, *_CODES}
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
