"""Facts of a model card on figures: evaluation, calibration and rejection, other data, limitations.

Written as in `card_data_facts`, with the words of the pages. No accuracy of a leaking split stands
alone. What this file does not do: it says nothing of network and training (`card_data_facts`).
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
from leukoscope.explain.record import Explanation
from leukoscope.labels import CELL_TYPES, is_critical
from leukoscope.report.bundle_page import describe_parity_set
from leukoscope.report.card_data_facts import format_seeds
from leukoscope.report.card_records import DataSummary, Network
from leukoscope.report.data_words import describe_split_findings
from leukoscope.report.decision_words import describe_note
from leukoscope.report.evaluation_page import METRIC_NAMES, NEW_CLASSES, describe_leak, list_reasons
from leukoscope.report.explain_page import METHOD_NAMES, describe_failures, describe_notes
from leukoscope.report.leakage_words import (
    BASELINE_NAMES,
    LEAKAGE_TEXTS,
    LEAKAGE_TITLES,
    describe_baseline,
    describe_leakage,
    describe_remark,
)
from leukoscope.report.markdown import escape_sentence, escape_text, format_class, render_table
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
    format_figure,
    format_number,
    format_percent,
    format_points,
    format_range,
    format_short,
    join_words,
)
from leukoscope.trust.record import Reference, TrustInfo

LOW_SENSITIVITY = 0.9
"""A class of which fewer than nine in ten are found is named among the limitations."""

_MISTAKES = 5
"""So many of the most frequent mistakes are listed."""

_OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc")

_LEAKED = "All images, LEAKED: duplicates of them lie in training"

_SEPARATION = {
    "disjoint": "By source: no source of a test image lies in training.",
    "unproven": "By image only; hidden duplicates cannot be excluded.",
    "suspect": "By image only, and there are signs of duplicates of test images in training.",
    "leaking": "Not disjoint: test images share sources or files with training.",
}

# -- evaluation -----------------------------------------------------------------------------------


def describe_main_figure(
    evaluation: EvaluationRecord | None = None, trust: TrustInfo | None = None
) -> str | None:
    """Accuracy, its interval and leakage status, of the evaluation or else of the reference that a
    bundle carries."""
    if evaluation is not None:
        return _describe_accuracy(evaluation)
    if trust is None or trust.reference is None:
        return None
    return _describe_reference(trust.reference)


def describe_internal_figure(
    evaluation: EvaluationRecord | None = None, trust: TrustInfo | None = None
) -> str | None:
    """The main figure, unless it is of cells of another laboratory."""
    if evaluation is None and _find_local(trust):
        return None
    return describe_main_figure(evaluation, trust)


def _describe_accuracy(record: EvaluationRecord) -> str:
    title = f"**{LEAKAGE_TITLES[record.leakage_status]}.**"
    text = LEAKAGE_TEXTS[record.leakage_status]
    if record.leak is not None:
        return f"{title} {escape_sentence(' '.join(describe_leak(record)))} {text}"
    images = _count_images(record, "test image")
    return (
        f"Correctly classified: {format_range(record.figures['accuracy'])} of {images}. {title}"
        f" {text}"
    )


def _describe_reference(reference: Reference) -> str:
    accuracy = format_range(reference.accuracy)
    if reference.leakage_status == "local":
        return (
            f"Correctly classified: {accuracy} of {_count_images(reference, 'cell')}. **Measured"
            " on cells of the site that the bundle was recalibrated for, none of which it was"
            " fitted to.** Whether training has seen these cells is not known."
        )
    title, text = LEAKAGE_TITLES[reference.leakage_status], LEAKAGE_TEXTS[reference.leakage_status]
    images = _count_images(reference, "test image")
    if reference.leakage_status == "leaking":
        return (
            f"**{title}.** Leaked: {accuracy} of {images}, some of which have duplicates in"
            f" training. Without duplicates: no figure is on record. {text}"
        )
    return f"Correctly classified: {accuracy} of {images}. **{title}.** {text}"


def _count_images(record: EvaluationRecord | Reference | Validation, noun: str) -> str:
    sources = format_count(record.n_sources, "source") if record.source_known else "unknown sources"
    return f"{format_count(record.n_images, noun)} from {sources} ({escape_text(record.data)})"


def _mark(evaluation: EvaluationRecord) -> str:
    """What a figure of a leaking split is marked with."""
    return f" ({_LEAKED})" if evaluation.leak else ""


def describe_overall(evaluation: EvaluationRecord) -> str:
    """Figures over all classes."""
    found = [f"{METRIC_NAMES[name]} {format_figure(evaluation.figures[name])}" for name in _OVERALL]
    mark = f"{_LEAKED}: " if evaluation.leak else ""
    return f"{mark}{'; '.join(found)}."


def describe_class_table(evaluation: EvaluationRecord) -> str:
    """Each class: images, sources, sensitivity, PPV and specificity with intervals."""
    rows = [
        [
            format_class(one.label) + " (critical)" * is_critical(one.label),
            f"{one.n_images:,}",
            f"{one.n_sources:,}" if evaluation.source_known else "unknown",
            *(format_short(one.figures[name]) for name in ("recall", "precision", "specificity")),
        ]
        for one in evaluation.per_class
    ]
    header = ["Class", "Images", "Sources", "Sensitivity", "PPV", "Specificity"]
    return (
        (f"**{_LEAKED}.** " if evaluation.leak else "")
        + "In brackets: 95 % interval. Critical: overlooking such a cell can harm a patient."
        + f"\n\n{render_table(header, rows)}"
    )


def describe_class_figures(evaluation: EvaluationRecord) -> str:
    """Sensitivity and specificity of each class in one line."""
    parts = [
        f"{format_class(one.label)} {format_short(one.figures['recall'])},"
        f" {format_short(one.figures['specificity'])}"
        for one in evaluation.per_class
    ]
    return (
        f"Sensitivity and specificity, with 95 % intervals{_mark(evaluation)}: {'; '.join(parts)}."
        " Predictive values depend on how common each class is in the test set."
    )


def describe_baseline_table(evaluation: EvaluationRecord) -> str | None:
    """What methods reach that know nothing of cells, beside the network."""
    if not evaluation.baselines:
        return None
    leak = evaluation.leak
    rest = leak if leak and leak.figures else None
    header = ["Method", "All images, LEAKED" if leak else "Accuracy"]
    header += [*["Without duplicates"] * bool(rest), "What it does"]
    rows = [["This network", format_short(evaluation.figures["accuracy"])]]
    rows[0] += [*([format_short(rest.figures["accuracy"])] if rest else []), ""]
    for name, one in evaluation.baselines.items():
        figures = [format_short(one.accuracy)]
        figures += [format_short(rest.baselines[name])] if rest else []
        text = escape_sentence(describe_baseline(name, one))
        rows.append([BASELINE_NAMES[name], *figures, text])
    return (
        "A baseline is what a method reaches that knows nothing of cells. A network has to be"
        " clearly better to have shown anything.\n\n"
        + render_table(header, rows, words=(0, len(header) - 1))
    )


def describe_mistakes(evaluation: EvaluationRecord) -> str:
    """The most frequent mistakes, with counts."""
    labels, rows = evaluation.classes, evaluation.confusion
    found = [
        (n, sum(row), labels[i], labels[k])
        for i, row in enumerate(rows)
        for k, n in enumerate(row)
        if n and k != i
    ]
    wrong, total = sum(n for n, *_ in found), sum(map(sum, rows))
    text = f"{wrong:,} of {format_count(total, 'test image')} misclassified{_mark(evaluation)}."
    worst = "; ".join(
        f"{format_class(true)} as {format_class(predicted)}: {n:,} of {of:,}"
        for n, of, true, predicted in sorted(found, key=lambda x: -x[0])[:_MISTAKES]
    )
    return f"{text} Most frequent: {worst}." if worst else text


def describe_metrics(evaluation: EvaluationRecord) -> str:
    """Which metrics the evaluation reports."""
    shown = [METRIC_NAMES[name] for name in METRIC_NAMES if name in evaluation.figures]
    return (
        f"Over all classes: {'; '.join(shown)}. For each class: sensitivity, PPV, specificity, F1,"
        " areas under the ROC and the precision-recall curve. Baselines: the same accuracy for"
        " methods that know nothing of cells."
    )


def describe_intervals(evaluation: EvaluationRecord) -> str:
    """How intervals were made."""
    basis = (
        f"over {format_count(evaluation.n_sources, 'source')}, so that images of one source are not"
        " counted as independent"
        if evaluation.source_known
        else "over single images, since sources are unknown; if images share sources, the true"
        " intervals are wider"
    )
    return (
        f"95 % intervals {basis}. They cover chance in the draw of test images, not another"
        " laboratory, stain or seed."
    )


def describe_separation(evaluation: EvaluationRecord) -> str:
    """At what level test and training are disjoint."""
    reasons = map(escape_sentence, list_reasons(evaluation))
    return " ".join([_SEPARATION[evaluation.leakage_status], *reasons])


# -- calibration and rejection --------------------------------------------------------------------

_METHODS = {
    "none": "stated confidence is left as the network gives it",
    "temperature": "one number, the temperature, rescales confidence",
    "bias_corrected": "a temperature and one shift per class rescale confidence",
}


def _find_local(trust: TrustInfo | None) -> Reference | None:
    """Return the reference where it is of cells of the site that a bundle was recalibrated for."""
    reference = trust.reference if trust is not None else None
    return reference if reference and reference.leakage_status == "local" else None


def _name_test(trust: TrustInfo) -> str:
    return "the site's other cells" if _find_local(trust) else "test images"


def _mark_reference(reference: Reference) -> str:
    """What the split makes of figures of the reference."""
    status = reference.leakage_status
    if status == "disjoint" or status == "local":
        return ""
    return f" ({'LEAKED: ' * (status == 'leaking')}{LEAKAGE_TITLES[status].lower()})"


def describe_calibration(trust: TrustInfo | None = None) -> str:
    """How confidence was calibrated, and how far it is off."""
    if trust is None:
        return (
            "Not calibrated: stated confidence may be far from real success, and every image gets a"
            " label, however strange it is. `leukoscope calibrate` sets that right."
        )
    local = _find_local(trust)
    if local:
        images = format_count(trust.n_calib, "cell")
        sources = format_count(trust.n_calib_sources, "source")
        basis = f"Recalibrated on {images} of {escape_text(local.data)} ({sources})"
    else:
        basis = f"Fitted on {format_count(trust.n_calib, 'image')} of the role calib"
    text = f"{basis}: {_METHODS[trust.policy.calibration.method]}."
    if trust.reference is None:
        return f"{text} No figure on {_name_test(trust)} is on record."
    mark = _mark_reference(trust.reference)
    return (
        f"{text} On {_name_test(trust)} confidence and accuracy differ by"
        f" {format_points(trust.reference.ece)} on average; before any calibration, by"
        f" {format_points(trust.reference.ece_raw)}{mark}. Correctly classified after calibration:"
        f" {format_range(trust.reference.accuracy)}{mark}."
    )


def describe_updates(trust: TrustInfo) -> str:
    """Calibration is the only thing that changes after training; without it, a person tells."""
    return f"Weights were not changed after training. {describe_calibration(trust)}"


def describe_prediction_sets(trust: TrustInfo | None = None) -> str:
    """The prediction sets: their target, and what came."""
    if trust is None:
        return "No prediction sets are on record."
    each = " of each class" * trust.config.class_conditional
    text = (
        "Beside the one label, all labels that fit (a prediction set, conformal). Target: the right"
        f" label is among them for {format_percent(1 - trust.config.alpha)} of cells{each}."
    )
    reference = trust.reference
    if reference is None:
        return f"{text} No figure on {_name_test(trust)} is on record."
    return (
        f"{text} Found on {_name_test(trust)}: {format_percent(reference.coverage)}, with"
        f" {reference.mean_set_size:.2f} labels on average{_mark_reference(reference)}. The"
        " coverage guarantee holds for cells of the same kind and origin only."
    )


def describe_rejection(trust: TrustInfo | None = None) -> str:
    """How many cells are accepted, how often correctly, and when a person looks."""
    if trust is None:
        return "Never: without calibration every image gets a label."
    text = (
        "Each cell is accepted, sent to a person for review, or rejected as unknown. Target:"
        f" {format_percent(trust.config.target_accuracy)} correctly classified among accepted."
    )
    one = trust.reference
    if one is None:
        return f"{text} No figure on {_name_test(trust)} is on record."
    of = _count_images(one, "cell" if _find_local(trust) else "test image")
    right = one.accepted_accuracy
    correctly = "" if math.isnan(right.value) else f", {format_range(right)} of these correctly"
    return (
        f"{text} On {of}: {format_range(one.accepted)} accepted{correctly};"
        f" {format_percent(one.review_frac)} to review; {format_percent(one.unknown_frac)}"
        f" unknown{_mark_reference(one)}."
    )


def describe_thresholds(trust: TrustInfo) -> str:
    """The decision thresholds."""
    policy = trust.policy
    confidence = policy.min_confidence
    parts = [
        "no confidence suffices"
        if confidence is None
        else f"confidence at least {format_percent(confidence)}",
        f"distance from the cells of training at most {policy.max_distance:.3g}",
        "sharpness, exposure, stain and size as in training",
    ]
    if policy.max_disagreement is not None:
        parts.append(f"disagreement of the networks at most {policy.max_disagreement:.2g} nats")
    always = join_words(map(format_class, policy.always_review))
    return " ".join(
        [
            f"Accepted needs one label that fits, {join_words(parts)}.",
            *([f"A person always looks at: {always}."] if always else []),
            *(escape_sentence(describe_note(note)) for note in trust.notes),
        ]
    )


def describe_output(network: Network, trust: TrustInfo | None = None) -> str:
    """What comes out for an image."""
    text = f"One probability for each of the {len(network.classes)} classes"
    if trust is None:
        return f"{text}; the label is the most probable one. No threshold: every image gets one."
    costs = ", weighed by the costs of mistakes" if trust.policy.cost else ""
    return (
        f"{text}; the label is the most probable one{costs}. The calibrated probability decides:"
        f" {describe_thresholds(trust)}"
    )


# -- other data -----------------------------------------------------------------------------------


def describe_evaluation_table(
    evaluations: Mapping[str, EvaluationRecord] | None = None,
    validation: Validation | None = None,
) -> str:
    """Other evaluations of the same network, each with what its figure is worth."""
    rows = []
    for record in (evaluations or {}).values():
        reasons = map(escape_sentence, list_reasons(record))
        figure = " ".join([_describe_accuracy(record), *reasons])
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
        f"{escape_text(record.data)}: {_describe_accuracy(record)}"
        for record in _list_external(evaluations)
    ]
    found += [_describe_validation(validation)] if validation is not None else []
    local = _find_local(trust)
    found += [_describe_reference(local)] if local else []
    return " ".join(found) or None


def _list_external(evaluations: Mapping[str, EvaluationRecord] | None) -> list[EvaluationRecord]:
    return [record for name, record in (evaluations or {}).items() if name not in ROLES]


def _describe_validation(v: Validation) -> str:
    """Accuracy at another site, against the internal test set, and the acceptance criteria."""
    return (
        f"Correctly classified: {format_range(v.figures['accuracy'])} of"
        f" {_count_images(v, 'labelled cell')}. {escape_sentence(describe_difference(v))}"
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
        tests = escape_sentence(" ".join(describe_failures(one) or passed))
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
    if not (_list_external(evaluations) or validation is not None or _find_local(trust)):
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
    found += [f"Evaluation: {escape_sentence(describe_remark(one))}" for one in warnings]
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
    mark, found = _mark(evaluation), []
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
