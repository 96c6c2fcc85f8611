"""Notes in sentences: one table, a sentence of each code.

What this file does not do: it finds nothing (`trust.fitting`, `evaluation.leakage`).
"""

from collections.abc import Mapping
from string import Formatter
from typing import Any

from leukoscope.errors import RunError
from leukoscope.interval import Interval
from leukoscope.labels import display_label
from leukoscope.report.data_words import LOCATED_WORDS, describe_located
from leukoscope.report.leakage_words import BASELINE_METHODS, BASELINE_NAMES
from leukoscope.text import format_count, format_percent, format_signed, join_words
from leukoscope.trust.notes import Note, NoteCode

_SENTENCES: Mapping[NoteCode, str] = {
    "few_sources_for_label": "{label:label}: {n_sources:count calibration source} where {n_needed}"
    " are needed for {nominal:percent .4g}; it shares the threshold of all classes or has a wider"
    " one, and {own_guarantee}.",
    "alpha_chosen": "Prediction sets aim at {covered:percent .4g} (trust.alpha): {why_alpha}.",
    "sets_range": "The coverage guarantee of {nominal:percent .4g} holds on average over"
    " calibration sets. With this one the coverage{of_label} ({n_sources:count calibration source})"
    " lies between {low:share} and {high:share} in 95 of 100 cases.",
    "sets_without_range": "The coverage guarantee of {nominal:percent .4g} holds on average over"
    " calibration sets and classes: no class has sources enough for a threshold of its own.",
    "sets_of_one_label": "No prediction set of the {n_images:,} calibration images holds more than"
    " one label, though {n_wrong:,} are misclassified: sets say no more than the label does. A"
    " smaller trust.alpha, or auto, changes that.",
    "few_sources_for_bias": "{labels:label}: fewer than {n_needed} calibration sources, so"
    " confidence was not corrected by class.",
    "few_sources_for_rejection": "{n_sources:count source} cannot show that only"
    " {both_checks:percent .3g} of known cells are rejected: novelty and quality may each reject"
    " {reject_frac:percent .3g}.",
    "every_label_reviewed": "trust.always_review names every class, so every cell goes to a"
    " person.",
    "calibration_accepts": "Of the {n_images:,} calibration images {n_accepted:,} are accepted, of"
    " these {n_wrong:,} misclassified: with 95 % confidence at most {wrong_bound:share}, on the"
    " very images that the threshold was chosen on. {threshold_holds}",
    "no_confidence_suffices": "No confidence is shown to reach the target accuracy of"
    " {target:percent g}{with_confidence} on the {n_images:count calibration image} of"
    " {n_sources:count source}, so every cell goes to a person. {more_sources} A better network or"
    " a lower trust.target_accuracy may change that too.",
    "sets_not_refitted": "The prediction sets keep their thresholds, under a new temperature, as"
    " there are {n_sources:count source}{of_label} where {n_needed} are needed: neither their"
    " coverage nor a least sensitivity is guaranteed for these cells.",
    "confidence_not_refitted": "The least confidence that is accepted stays as it was:"
    " {n_sources:,} sources do not show that {target:percent g} of accepted cells are correctly"
    " classified. {more_sources}",
    "labels_absent": "There was no cell of {labels:label} to fit to: the effect on these is not"
    " known.",
    "recalibrated": "Recalibrated on {n_images:,} cells of {data} ({n_sources:count source}); the"
    " reference is {n_reference:,} other cells of it.",
    "calibration_leaks": "Calibration images have duplicates in training: the network knows them"
    " too well, and all thresholds are too permissive. Split by source and train again.",
    "calibration_unproven": "The sources of the images are not known; duplicates of calibration"
    " images in training would make the thresholds too permissive.",
    "training_images": "These are the training images themselves.",
    "epoch_chosen_here": "These images chose the best epoch; the figure is optimistic.",
    "thresholds_fitted_here": "These images set the thresholds of this run; figures on them are"
    " optimistic.",
    "images_in_training": "{n:count image also lies|images also lie} in training or validation.",
    "duplicates_in_sample": "{n:,} of {n_images:count image} have a duplicate in training.",
    "training_unknown": "A bundle does not carry its training images: whether some of these are"
    " among them cannot be seen here. `leukoscope data audit CATALOG --against OTHER` looks for"
    " duplicates.",
    "duplicates_not_excluded": "No image of {data} is identical to a training image;"
    " duplicates that were rotated, cropped or re-encoded cannot be excluded."
    " `leukoscope data audit --against` looks for them.",
    "baseline_as_good": "The baseline “{baseline_name}” reaches {accuracy:share}; the network"
    " reaches {network:share}. `leukoscope data sources` finds duplicates in the pixels; a split"
    " made from its table keeps them together.",
    "shortcut_as_good": "The baseline “{baseline_name}” reaches {accuracy:share}; the network"
    " reaches {network:share}. That needs no duplicates: where stain, scanner or background go with"
    " the class, the images can be told apart without looking at cells, and the figure says little"
    " about cells.",
    "baseline_not_beaten": "{claim} {method}: {network:share} of the images are correctly"
    " classified by the network, {accuracy:share} by “{baseline_name}”{gap_words}.",
    "classes_never_found": "{missed} recognised.",
    "persons_not_recorded": "Images of both data sets were compared by their pixels; whether they"
    " show the same people is not recorded.",
    "unknown_classes": "{n:count image is|images are} of classes that the network does not know,"
    " and left out: {labels:label}.",
    "other_parts_left_out": "{n:count image} of other parts than {role} left out.",
    "files_rejected": "{n:count file} rejected; `leukoscope data scan` says why.",
    "cells_located": "The network is given the square around the white cell of each field:"
    " {located_words}.{not_found}",
    "test_part_left_aside": "{n:count image} that the data name as test part left aside; give them"
    " by `--external`.",
    "large_source": "One source has {share:share} of all images: the figures are mostly of that"
    " source, and say little of others.",
    "large_source_of_labels": "One source has more than {limit:percent g} of the images of"
    " {labels:label} (up to {share:share}): what is said of this class is mostly of that source.",
    "costs_change_labels": "Costs are set: for {n:,} of {n_images:count image} the label that costs"
    " least on average is not the most probable one. Accuracy, confusion and curves are of the most"
    " probable labels; what is accepted, and how often correctly, is of the labels given"
    " ({accuracy:share} of all images correctly classified).",
    "trust_fitted_here": "Measured on the very images that calibration, thresholds or comparisons"
    " were fitted on: optimistic, and no sign of what to expect on others.",
    "trust_without_duplicates": "Measured on the {n:,} of {n_images:count image} without a"
    " duplicate in training or calibration.",
    "trust_leaked": "LEAKED: {n:,} of {n_images:count image} have a duplicate in training or"
    " calibration, and too few have none. What follows is inflated and says nothing about new"
    " cells.",
    "trust_shifted": "These images are not of the kind that the thresholds were fitted on (their"
    " distance to training differs by {gap:.2f} of 1, by chance with p below {chance:.1g}): the"
    " coverage guarantee is void here.",
    "cells_seen_before": "{n:,} of {n_images:count cell} were in the validation that lay in this"
    " folder. Each further look at the same cells adds to the 2.5 % of networks that meet a"
    " criterion by luck: plan looks (`looks` in the criteria) and give `--previous`, or validate on"
    " fresh cells only.",
    "critical_cells": "{n:count cell was|cells were} labelled {labels:label}: look at"
    " {them} first.",
    "nothing_counted": "No white cell was identified among {n_cells:count cell}: there is no"
    " differential.",
    "few_white_cells": "{n:count white cell} where a differential takes {n_needed} or more: shares"
    " are hardly known.",
    "appearance_differs": "Only {share:share} of the cells are accepted; {expected:share} are"
    " expected of these classes by the internal test set. Stain, scanner or cells differ from those"
    " that the network was calibrated on, and then neither the shares nor their correction hold.",
    "many_unidentified": "{n:,} of {n_cells:count cell} are unlike those of training and stand"
    " outside of the 100 %: the rest may be a selection.",
    "nucleated_red_not_known": "The network knows no nucleated red cells: whether the white count"
    " includes some is not known.",
    "white_count_corrected": "The white count was corrected from {given:.2f} to {corrected:.2f}"
    " × 10⁹/L for {per_100:.1f} nucleated red cells per 100 white cells. Do not use this where the"
    " counter has already left them out.",
    "no_correction": "{why_not}: shares are raw, and their intervals leave out that the network"
    " mistakes cells.",
    "few_calibration_cells": "{labels:label}: the calibration set holds fewer than {n_needed}"
    " independent cells of each, so that how often these are taken for others is hardly known,"
    " which widens the intervals.",
    "precision_out_of_reach": "No number of cells of this sample brings the interval of"
    " {labels:label} to ±{precision:percent g}: what limits it is how well the network is known."
    " More calibration cells would.",
}
"""Besides Python's own format specifications, those of `_Words`."""


class _Words(Formatter):
    """`{n:count image}`, `{n:count image is|images are}`, `{x:share}` and `{x:percent g}` of a
    fraction, `{labels:label}` of one or several. Values are never parsed."""

    def format_field(self, value: Any, format_spec: str) -> str:
        kind, _, rest = format_spec.partition(" ")
        match kind:
            case "count":
                return format_count(value, *rest.split("|"))
            case "share":
                return format_percent(value)
            case "percent":
                return f"{100 * value:{rest}} %"
            case "label" if isinstance(value, str):
                return display_label(value)
            case "label":
                return join_words(map(display_label, value))
        return format(value, format_spec)


def describe_note(note: Note) -> str:
    """Return a note in full sentences.

    >>> describe_note(Note("labels_absent", {"labels": ("blast", "monocyte")}))
    'There was no cell of Blast and Monocyte to fit to: the effect on these is not known.'

    Raises `RunError` for a note without the values of its code, as a forged record may hold.
    """
    try:
        return _fill_sentence(note)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"a note {note.code} must hold the values that its sentence needs",
            f"{', '.join(map(str, note.values)) or 'none'} ({type(error).__name__})",
            "make the record again; it was not written by leukoscope",
        ) from error


def _fill_sentence(note: Note) -> str:
    values: dict[str, Any] = dict(note.values)
    match note.code:
        case "few_sources_for_label":
            n = values["n_sources"]
            own = f"its own guarantee is {n} in {n + 1}, the rest holds on average over all classes"
            values["own_guarantee"] = own if n else "nothing is guaranteed for it by itself"
        case "alpha_chosen":
            values["covered"] = 1 - values["alpha"]
            values["why_alpha"] = _describe_choice(values["n_wrong"], values["n_several"])
        case "calibration_accepts":
            values["threshold_holds"] = _describe_threshold(values["target"], values["confidence"])
        case "no_confidence_suffices":
            confidence = values["confidence"]
            values["with_confidence"] = (
                f" with {100 * confidence:g} % confidence" if confidence else ""
            )
            values["more_sources"] = _describe_needed(values["n_needed"])
        case "confidence_not_refitted":
            values["more_sources"] = _describe_needed(values["n_needed"])
        case "few_sources_for_rejection":
            values["both_checks"] = 2 * values["nominal"]
        case "sets_not_refitted" | "sets_range":
            label = values["label"]
            values["of_label"] = f" of {display_label(label)}" if label else ""
        case "baseline_as_good" | "shortcut_as_good":
            values["baseline_name"] = BASELINE_NAMES[values["baseline"]]
        case "classes_never_found":
            n, labels = values["n"], join_words(map(display_label, values["labels"]))
            several = f"Not one of {n:,} images of {labels} was"
            values["missed"] = several if n > 1 else f"The only image of {labels} was not"
        case "baseline_not_beaten":
            claim = "Worse than" if values["is_worse"] else "Not shown to be better than"
            values["claim"] = claim
            values["baseline_name"] = BASELINE_NAMES[values["baseline"]]
            values["method"] = BASELINE_METHODS[values["baseline"]]
            values["gap_words"] = ""
            if "low" in values:
                gap = Interval(values["gap"], values["low"], values["high"])
                values["gap_words"] = f" (difference {format_signed(gap)} points)"
        case "cells_located":
            counts = {code: values.get(f"n_{code}", 0) for code in LOCATED_WORDS}
            values["located_words"] = describe_located(counts)
            lost = sum(counts[code] for code in ("nucleus", "field"))
            values["not_found"] = (
                f" In {format_count(lost, 'field')} of {values['n_images']:,} no white cell was"
                " found; they count all the same."
                if lost
                else ""
            )
        case "critical_cells":
            values["them"] = "it" if values["n"] == 1 else "them"
        case "no_correction":
            again = "run `leukoscope calibrate` again and export"
            values["why_not"] = (
                f"The bundle was calibrated before counts of mistakes were kept ({again})"
                if values["is_calibrated"]
                else "The bundle was exported before `leukoscope calibrate`"
            )
        case "trust_shifted":
            values["chance"] = max(values["p_value"], 0.0001)
    return _Words().vformat(_SENTENCES[note.code], (), values)


def _describe_choice(n_wrong: int, n_several: int) -> str:
    """Why the level of the sets is what it is."""
    if not n_wrong:
        return (
            "no calibration image is misclassified, so it is the strictest level that the sources"
            " support"
        )
    given = f"of {format_count(n_wrong, 'misclassified calibration image')} {n_several:,}"
    if 2 * n_several < n_wrong:
        return f"{given} get two labels or more, and the sources support no stricter level"
    return f"the loosest level at which half of the misclassified get two labels or more ({given})"


def _describe_threshold(target: float, confidence: float) -> str:
    """What the threshold of confidence promises."""
    wanted = f"{100 * target:g} %"
    if confidence:
        return (
            f"The threshold keeps the target accuracy of {wanted} for accepted cells of new sources"
            f" with {100 * confidence:g} % confidence."
        )
    return (
        f"The threshold keeps the target accuracy of {wanted} on average over calibration sets, not"
        " for each: some four of ten miss it by a little. trust.target_confidence asks for more."
    )


def _describe_needed(n_needed: int) -> str:
    if not n_needed:
        return (
            "Even more cells of this kind would not show it: too many are misclassified, or go to a"
            " person for other reasons."
        )
    return f"About {n_needed:,} calibration sources like these would be needed."
