"""How far figures can be trusted, in words: leakage status and baselines, one table each.

What this file does not do: it judges nothing (`evaluation.leakage`).
"""

from leukoscope.evaluation.baselines import THUMBNAIL_PX
from leukoscope.evaluation.record import BaselineFigures, BaselineName
from leukoscope.labels import display_label
from leukoscope.report.page import Banner, Bullets, Level, Text
from leukoscope.scores import LeakageStatus

LEAKAGE_TITLES: dict[LeakageStatus, str] = {
    "disjoint": "Measured on sources the network has never seen",
    "images_disjoint": "Measured on other images, perhaps of the same people",
    "unproven": "Duplicates between training and test cannot be excluded",
    "suspect": "These numbers are probably inflated",
    "leaking": "These numbers are inflated",
}

LEAKAGE_TEXTS: dict[LeakageStatus, str] = {
    "disjoint": "No source of the test images occurs in training. The figures say what to expect"
    " on other images from the same kind of source.",
    "images_disjoint": "No picture of the test images was found in training, by its pixels. But"
    " whose blood it is nobody recorded: as a rule cells of one person lie on both sides then, and"
    " on other people the network may do worse. A column `source` that names patients or slides"
    " keeps these apart.",
    "unproven": "The sources of the images are not known. If duplicates of one cell lie in training"
    " and in test, the network has seen the answers.",
    "suspect": "There are signs that duplicates of one cell lie in training and in test. If so, the"
    " figures say how well the network remembers, not what it does on cells it has never seen.",
    "leaking": "Images with a duplicate in training test only the network's memory: the same cell,"
    " perhaps turned or shifted, was among those it learned from, as if the questions of an"
    " examination had been handed out before. Only images without a duplicate show whether it can"
    " classify cells it has never seen: rely on their figure alone.",
}

LEAKAGE_NOTES: dict[LeakageStatus, str] = {
    "disjoint": "no duplicate in training",
    "images_disjoint": "no duplicate in training; perhaps the same people",
    "unproven": "duplicates in training cannot be excluded",
    "suspect": "signs of duplicates in training",
    "leaking": "duplicates in training",
}
"""A few words for a table."""

LEAKAGE_LEVELS: dict[LeakageStatus, Level] = {
    "disjoint": "good",
    "images_disjoint": "caution",
    "unproven": "caution",
    "suspect": "bad",
    "leaking": "bad",
}

BASELINE_NAMES: dict[BaselineName, str] = {
    "majority": "Majority class",
    "colour_histogram": "Colour histogram",
    "nearest_neighbour": "Nearest neighbour",
}


BASELINE_METHODS: dict[BaselineName, str] = {
    "majority": "always giving the most frequent class",
    "colour_histogram": "a method that sees colours and no shape",
    "nearest_neighbour": "copying the label of the most similar training image",
}
"""Within a sentence."""


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
