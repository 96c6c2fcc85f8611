"""Facts of a model card on the internal test set: evaluation, calibration and rejection.

Written as in `card_data_facts`, with the words of the pages. No accuracy of a leaking split stands
alone. What this file does not do: it says nothing of other data (`card_external_facts`).
"""

import math

from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.evaluation.validation import Validation
from leukoscope.labels import is_critical
from leukoscope.report.card_records import Network
from leukoscope.report.decision_words import describe_errors, describe_sets
from leukoscope.report.evaluation_page import (
    METRIC_NAMES,
    describe_gain,
    describe_leak,
    list_reasons,
)
from leukoscope.report.leakage_words import (
    BASELINE_NAMES,
    LEAKAGE_TEXTS,
    LEAKAGE_TITLES,
    describe_baseline,
)
from leukoscope.report.markdown import escape_sentence, escape_text, format_class, render_table
from leukoscope.report.note_words import describe_note
from leukoscope.text import (
    format_count,
    format_figure,
    format_percent,
    format_points,
    format_range,
    format_short,
    join_words,
)
from leukoscope.trust.record import Reference, TrustInfo

_MISTAKES = 5
"""So many of the most frequent mistakes are listed."""

_OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc")

_LEAKED = "All images, LEAKED: duplicates of them lie in training"

_SEPARATION = {
    "disjoint": "By source: no source of a test image lies in training.",
    "images_disjoint": "By picture: none of a test image lies in training. Persons are not"
    " recorded; cells of one may lie on both sides.",
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
        return format_accuracy(evaluation)
    if trust is None or trust.reference is None:
        return None
    return format_reference(trust.reference)


def describe_internal_figure(
    evaluation: EvaluationRecord | None = None, trust: TrustInfo | None = None
) -> str | None:
    """The main figure, unless it is of cells of another laboratory."""
    if evaluation is None and find_local(trust):
        return None
    return describe_main_figure(evaluation, trust)


def format_accuracy(record: EvaluationRecord) -> str:
    """Accuracy of one evaluation with its leakage status; both accuracies of a leaking split. What
    makes it worth little stands first."""
    first = " ".join(f"**{escape_sentence(describe_note(one))}**" for one in record.headlines)
    return f"{first} {_format_basis(record)}".strip()


def _format_basis(record: EvaluationRecord) -> str:
    title = f"**{LEAKAGE_TITLES[record.leakage_status]}.**"
    text = LEAKAGE_TEXTS[record.leakage_status]
    if record.leak is not None:
        return f"{title} {escape_sentence(' '.join(describe_leak(record)))} {text}"
    images = count_images(record, "test image")
    return (
        f"Correctly classified: {format_range(record.figures['accuracy'])} of {images}. {title}"
        f" {text}"
    )


def format_reference(reference: Reference) -> str:
    """Accuracy that a bundle carries of its development site, with its leakage status."""
    accuracy = format_range(reference.accuracy)
    if reference.leakage_status == "local":
        return (
            f"Correctly classified: {accuracy} of {count_images(reference, 'cell')}. **Measured"
            " on cells of the site that the bundle was recalibrated for, none of which it was"
            " fitted to.** Whether training has seen these cells is not known."
        )
    title, text = LEAKAGE_TITLES[reference.leakage_status], LEAKAGE_TEXTS[reference.leakage_status]
    images = count_images(reference, "test image")
    if reference.leakage_status == "leaking":
        return (
            f"**{title}.** Leaked: {accuracy} of {images}, some of which have duplicates in"
            f" training. Without duplicates: no figure is on record. {text}"
        )
    return f"Correctly classified: {accuracy} of {images}. **{title}.** {text}"


def count_images(record: EvaluationRecord | Reference | Validation, noun: str) -> str:
    """How many images and sources a figure is of, and of which data."""
    sources = format_count(record.n_sources, "source") if record.source_known else "unknown sources"
    return f"{format_count(record.n_images, noun)} from {sources} ({escape_text(record.data)})"


def mark_leak(evaluation: EvaluationRecord) -> str:
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
        f"Sensitivity and specificity, with 95 % intervals{mark_leak(evaluation)}:"
        f" {'; '.join(parts)}. Predictive values depend on how common each class is in the test"
        " set."
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
        f" clearly better to have shown anything. {describe_gain(evaluation)}\n\n"
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
    text = f"{wrong:,} of {format_count(total, 'test image')} misclassified{mark_leak(evaluation)}."
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


def find_local(trust: TrustInfo | None) -> Reference | None:
    """Return the reference where it is of cells of the site that a bundle was recalibrated for."""
    reference = trust.reference if trust is not None else None
    return reference if reference and reference.leakage_status == "local" else None


def _name_test(trust: TrustInfo) -> str:
    return "the site's other cells" if find_local(trust) else "test images"


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
    local = find_local(trust)
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
    nominal = 1 - trust.policy.sets.alpha
    each = " of each class" * trust.config.class_conditional
    text = (
        "Beside the one label, all labels that fit (a prediction set, conformal). Target: the right"
        f" label is among them for {format_percent(nominal)} of cells{each}."
    )
    reference = trust.reference
    if reference is None:
        return f"{text} No figure on {_name_test(trust)} is on record."
    return (
        f"{text} Measured on {_name_test(trust)}{_mark_reference(reference)}."
        f" {describe_sets(reference.sets, nominal)} The coverage guarantee holds for cells of the"
        " same kind and origin only."
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
    of = count_images(one, "cell" if find_local(trust) else "test image")
    right = one.accepted_accuracy
    correctly = "" if math.isnan(right.value) else f", {format_range(right)} of these correctly"
    if one.errors.n_accepted:
        correctly += f" ({describe_errors(one.errors)})"
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
