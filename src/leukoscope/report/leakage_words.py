"""How far figures can be trusted, in words: leakage status and remarks, one table each.

What this file does not do: it judges nothing (`evaluation.leakage`).
"""

from collections.abc import Mapping
from typing import Any

from leukoscope.evaluation.baselines import THUMBNAIL_PX
from leukoscope.evaluation.record import BaselineFigures, BaselineName, Remark
from leukoscope.labels import display_label
from leukoscope.report.page import Banner, Bullets, Level, Text
from leukoscope.scores import LeakageStatus
from leukoscope.text import format_count, format_percent, join_words

LEAKAGE_TITLES: dict[LeakageStatus, str] = {
    "disjoint": "Measured on sources the network has never seen",
    "unproven": "Duplicates between training and test cannot be excluded",
    "suspect": "These numbers are probably inflated",
    "leaking": "These numbers are inflated",
}

LEAKAGE_TEXTS: dict[LeakageStatus, str] = {
    "disjoint": "No source of the test images occurs in training. The figures say what to expect"
    " on other images from the same kind of source.",
    "unproven": "The sources of the images are not known. If duplicates of one cell lie in training"
    " and in test, the network has seen the answers.",
    "suspect": "The split ignores sources, and a method far too simple to recognise cells does as"
    " well as the network. That is the sign of duplicates of one cell in training and in test.",
    "leaking": "Images with a duplicate in training test only the network's memory: the same cell,"
    " perhaps turned or shifted, was among those it learned from, as if the questions of an"
    " examination had been handed out before. Only images without a duplicate show whether it can"
    " classify cells it has never seen: rely on their figure alone.",
}

LEAKAGE_NOTES: dict[LeakageStatus, str] = {
    "disjoint": "no duplicate in training",
    "unproven": "duplicates in training cannot be excluded",
    "suspect": "signs of duplicates in training",
    "leaking": "duplicates in training",
}
"""A few words for a table."""

LEAKAGE_LEVELS: dict[LeakageStatus, Level] = {
    "disjoint": "good",
    "unproven": "caution",
    "suspect": "bad",
    "leaking": "bad",
}

BASELINE_NAMES: dict[BaselineName, str] = {
    "majority": "Majority class",
    "colour_histogram": "Colour histogram",
    "nearest_neighbour": "Nearest neighbour",
}


def describe_leakage(status: LeakageStatus) -> str:
    """Return what a leakage status means, its title first."""
    return f"{LEAKAGE_TITLES[status]}. {LEAKAGE_TEXTS[status]}"


def build_leakage_banner(status: LeakageStatus, sentences: tuple[str, ...] = ()) -> Banner:
    """Return the banner of a leakage status, with what stands behind it."""
    reasons = (Bullets(sentences),) if sentences else ()
    return Banner(
        LEAKAGE_LEVELS[status], LEAKAGE_TITLES[status], (Text(LEAKAGE_TEXTS[status]), *reasons)
    )


def describe_baseline(name: BaselineName, figures: BaselineFigures) -> str:
    """Return what a baseline does, in a sentence."""
    return {
        "majority": f"Always predicts “{display_label(figures.label)}”, the commonest class in"
        " training, without looking.",
        "colour_histogram": "Sees only which colours occur and how often. It is blind to any"
        " shape.",
        "nearest_neighbour": "Copies the label of the most similar training image, at"
        f" {THUMBNAIL_PX} x {THUMBNAIL_PX} pixels.",
    }[name]


def describe_remark(remark: Remark) -> str:
    """Return a remark as a sentence."""
    v: Mapping[str, Any] = remark.values
    n = v.get("n", 0)
    part = f"{n:,} of {format_count(v['n_images'], 'image')}" if "n_images" in v else ""
    match remark.code:
        case "training_images":
            return "These are the training images themselves."
        case "epoch_chosen_here":
            return "These images chose the best epoch; the figure is optimistic."
        case "thresholds_fitted_here":
            return "These images set the thresholds of this run; figures on them are optimistic."
        case "images_in_training":
            lie = format_count(n, "image also lies", "images also lie")
            return f"{lie} in training or validation."
        case "duplicates_in_sample":
            return f"{part} have a duplicate in training."
        case "training_unknown":
            return (
                "A bundle does not carry its training images: whether some of these are among them"
                " cannot be seen here. `leukoscope data audit CATALOG --against OTHER` looks for"
                " duplicates."
            )
        case "duplicates_not_excluded":
            return (
                f"No image of {v['data']} is byte-identical to a training image; duplicates that"
                " were rotated, cropped or re-encoded cannot be excluded."
                " `leukoscope data audit --against` looks for them."
            )
        case "baseline_as_good":
            baseline: BaselineName = v["baseline"]
            return (
                f"The baseline “{BASELINE_NAMES[baseline]}” reaches"
                f" {format_percent(v['accuracy'])}; the network reaches"
                f" {format_percent(v['network'])}. `leukoscope data sources` finds duplicates in"
                " the pixels; a split made from its table keeps them together."
            )
        case "unknown_classes":
            are = format_count(n, "image is", "images are")
            names = join_words(map(display_label, v["labels"]))
            return f"{are} of classes that the network does not know, and left out: {names}."
        case "other_parts_left_out":
            return f"{format_count(n, 'image')} of other parts than {v['role']} left out."
        case "files_rejected":
            return f"{format_count(n, 'file')} rejected; `leukoscope data scan` says why."
        case "test_part_left_aside":
            return (
                f"{format_count(n, 'image')} that the data name as test part left aside; give them"
                " by `--external`."
            )
        case "costs_change_labels":
            return (
                f"Costs are set: for {part} the label that costs least on average is not the most"
                " probable one. Accuracy, confusion and curves are of the most probable labels;"
                " what is accepted, and how often correctly, is of the labels given"
                f" ({format_percent(v['accuracy'])} of all images correctly classified)."
            )
        case "trust_fitted_here":
            return (
                "Measured on the very images that calibration, thresholds or comparisons were"
                " fitted on: optimistic, and no sign of what to expect on others."
            )
        case "trust_without_duplicates":
            return f"Measured on the {part} without a duplicate in training or calibration."
        case "trust_leaked":
            return (
                f"LEAKED: {part} have a duplicate in training or calibration, and too few have"
                " none. What follows is inflated and says nothing about new cells."
            )
        case "trust_shifted":
            return (
                "These images are not of the kind that the thresholds were fitted on (their"
                f" distance to training differs by {v['gap']:.2f} of 1, by chance with p below"
                f" {max(v['p_value'], 0.0001):.1g}): the coverage guarantee is void here."
            )
