"""Facts of a model card on figures: calibration and rejection, corruptions, validation, parity.

Written as in `card_data_facts`, with the words of the pages. What this file does not do: it says
nothing of network and training (`card_data_facts`).
"""

import math

from leukoscope.deploy.bundle import BundleInfo
from leukoscope.evaluation.robustness import Level, Robustness
from leukoscope.evaluation.subgroups import Subgroup
from leukoscope.evaluation.validation import Validation
from leukoscope.explain.record import Explanation
from leukoscope.report.card_records import Network
from leukoscope.report.decision_words import describe_note
from leukoscope.report.explain_page import METHOD_NAMES, describe_failures, describe_notes
from leukoscope.report.leakage_words import LEAKAGE_TEXTS, LEAKAGE_TITLES
from leukoscope.report.markdown import escape_sentence, escape_text, format_class, render_table
from leukoscope.report.robustness_page import CORRUPTION_NAMES
from leukoscope.report.validation_words import (
    describe_acceptance,
    describe_column,
    describe_difference,
    name_group,
)
from leukoscope.text import (
    DASH,
    format_count,
    format_number,
    format_percent,
    format_points,
    format_range,
    format_short,
    join_words,
)
from leukoscope.trust.record import Reference, TrustInfo

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
    each = " of each class" * trust.asked.class_conditional
    text = (
        "Beside the one label, all labels that fit (a prediction set, conformal). Target: the right"
        f" label is among them for {format_percent(1 - trust.asked.alpha)} of cells{each}."
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
        f" {format_percent(trust.asked.target_accuracy)} correctly classified among accepted."
    )
    one = trust.reference
    if one is None:
        return f"{text} No figure on {_name_test(trust)} is on record."
    of = _count_images(one, "cell" if find_local(trust) else "test image")
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


def write_reference(reference: Reference) -> str:
    """The accuracy that a bundle carries of its development site, with its leakage status."""
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


def _count_images(record: Reference | Validation, noun: str) -> str:
    sources = format_count(record.n_sources, "source") if record.source_known else "unknown sources"
    return f"{format_count(record.n_images, noun)} from {sources} ({escape_text(record.data)})"


def write_validation(v: Validation) -> str:
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
        words = describe_failures(one) or ("No test that was made speaks against it.",)
        name = f"{METHOD_NAMES[one.method]}, {format_count(one.n_images, 'image')}"
        found.append(f"{name}: {' '.join(words)}")
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
        f" {escape_text(bundle.reference_set)}.\n\n"
        f"{render_table([*header, 'SHA-256 begins'], rows)}"
    )
