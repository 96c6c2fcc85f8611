"""Which figures a page of evaluation or leak report shows, drawn from records and arrays.

Axes: N images, K classes. What this file does not do: it computes no figure of merit, and knows no
page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukoscope.data.images import load_pixels
from leukoscope.errors import ImageError
from leukoscope.evaluation.evaluate import Evaluated
from leukoscope.evaluation.leakage import LeakReport, LeakRow
from leukoscope.evaluation.record import EvaluationRecord, TrustFigures
from leukoscope.report import class_figures
from leukoscope.report.accuracy_figures import (
    AccuracyBlock,
    draw_accuracies,
    draw_baselines,
    draw_training_curves,
)
from leukoscope.report.figures import number_classes, render_png, render_svg, save_figure
from leukoscope.report.leak_page import name_leak_row
from leukoscope.report.leakage_words import BASELINE_NAMES
from leukoscope.report.page import Picture
from leukoscope.report.trust_figures import draw_coverage, draw_reliability_both, draw_risk_coverage
from leukoscope.scores import ScoreTable
from leukoscope.text import format_percent
from leukoscope.trust.decision import Decisions

SAMPLE_PX = 160
"""Side of an image on a sheet of samples."""

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Drawing:
    """A figure, and what it shows in words. `is_photo`: shown as PNG, all others as SVG, which
    stays sharp in print."""

    figure: Figure
    alt: str
    is_photo: bool = False


def draw_evaluation(
    found: Evaluated, boxes: Mapping[str, PixelBox] | None = None
) -> dict[str, Drawing]:
    """Draw all figures of an evaluation, by name. `boxes` cut cells out of fields for the sheets of
    samples, by image id."""
    record, table = found.record, found.table
    labels_N, p_NK = table.labels_N, table.probabilities_NK
    classes = number_classes(table.classes)
    shown = dict(zip(table.classes, classes, strict=True))
    recalls = {shown[one.label]: one.figures["recall"] for one in record.per_class}
    counts = {shown[one.label]: one.n_images for one in record.per_class}
    drawn = {
        "headline": draw_headline(record),
        "per_class": Drawing(
            class_figures.draw_per_class(recalls, counts),
            "Sensitivity of each class with its interval",
        ),
        "confusion": Drawing(
            class_figures.draw_confusion(np.array(record.confusion, np.float64), classes),
            "Confusion matrix: counts of images by true and predicted class",
        ),
        "roc": Drawing(class_figures.draw_roc(labels_N, p_NK, classes), "ROC curve of each class"),
        "pr": Drawing(
            class_figures.draw_pr(labels_N, p_NK, classes), "Precision-recall curve of each class"
        ),
        "probabilities": Drawing(
            class_figures.draw_probability_distributions(labels_N, p_NK, classes),
            "Distribution of the probability given to the true class, by class",
        ),
        "reliability": Drawing(
            class_figures.draw_reliability(labels_N, p_NK, table.sources),
            "Reliability diagram: how often right against stated confidence",
        ),
    }
    if record.history:
        drawn["training_curves"] = Drawing(
            draw_training_curves(record.history),
            "Loss and accuracy by epoch, training and validation",
        )
    if record.trust and found.trust_table and found.decisions:
        drawn |= _draw_trust(found.trust_table, record.trust, found.decisions)
    return drawn | _draw_sheets(table, boxes or {})


def draw_headline(record: EvaluationRecord) -> Drawing:
    """Draw accuracy beside the baselines; of a leaking split on both sets of images."""
    accuracy = record.figures["accuracy"]
    baselines = {BASELINE_NAMES[name]: one.accuracy for name, one in record.baselines.items()}
    leak, shown = record.leak, format_percent(accuracy.value)
    if leak is None:
        return Drawing(
            draw_baselines(accuracy, baselines),
            f"Accuracy of the network, {shown}, beside the baselines, with intervals",
        )
    blocks = [
        AccuracyBlock(
            f"All {record.n_images:,} images, {leak.n_duplicates:,} of them with a duplicate in"
            " training",
            {"Network": accuracy, **baselines},
            leaked=True,
        )
    ]
    text = f"Leaked accuracy of the network, {shown}, beside the baselines"
    if leak.accuracy is not None:
        rest = {"Network": leak.accuracy}
        rest |= {BASELINE_NAMES[name]: found for name, found in leak.baselines.items()}
        title = f"The {leak.n_images:,} images without a duplicate"
        blocks.insert(0, AccuracyBlock(title, rest))
        text += f"; without duplicates, {format_percent(leak.accuracy.value)}"
    return Drawing(draw_accuracies(blocks), f"{text}; with intervals")


def draw_leak_report(report: LeakReport) -> dict[str, Drawing]:
    """Draw the figure of a leak report: every accuracy with its baselines."""
    shown = "; ".join(
        f"{name_leak_row(row)}{' (leaked)' * row.leaked} {format_percent(row.accuracy.value)}"
        for row in report.rows
    )
    chart = draw_accuracies([_build_block(row) for row in report.rows])
    alt = f"Accuracy of network and baselines with intervals. Network: {shown}."
    return {"accuracies": Drawing(chart, alt)}


def _build_block(row: LeakRow) -> AccuracyBlock:
    duplicates = f", {row.n_duplicates:,} with a duplicate in training" if row.leaked else ""
    n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row.n_images:,}"
    return AccuracyBlock(
        f"{name_leak_row(row)} ({n}{duplicates})",
        {"Network": row.accuracy} | {BASELINE_NAMES[k]: x for k, x in row.baselines.items()},
        leaked=row.leaked,
    )


def save_drawings(drawn: Mapping[str, Drawing], folder: Path) -> dict[str, Picture]:
    """Write each figure as PNG and SVG into an existing folder; return them as a page shows them.

    Raises `StorageError` if they cannot be written.
    """
    pictures = {}
    for name, one in drawn.items():
        png, svg = save_figure(one.figure, folder, name)
        image = png.read_bytes() if one.is_photo else svg.read_text(encoding="utf-8")
        pictures[name] = Picture(image, one.alt)
    return pictures


def render_drawings(drawn: Mapping[str, Drawing]) -> dict[str, Picture]:
    """Return figures as a page shows them."""
    return {
        name: Picture(render_png(one.figure) if one.is_photo else render_svg(one.figure), one.alt)
        for name, one in drawn.items()
    }


def _draw_trust(table: ScoreTable, trust: TrustFigures, decisions: Decisions) -> dict[str, Drawing]:
    hit_N = decisions.labels_N == table.labels_N
    right = trust.decisions.accepted_accuracy.value
    point = (trust.decisions.shares["accepted"].value, 0.0 if right != right else 1 - right)
    return {
        "risk_coverage": Drawing(
            draw_risk_coverage(decisions.confidence_N, hit_N, point, trust.target_accuracy),
            "Share of misclassified cells among accepted ones against the share accepted",
        ),
        "reliability_both": Drawing(
            draw_reliability_both(
                table.labels_N, table.probabilities_NK, decisions.probabilities_NK, table.sources
            ),
            "Stated chance of being wrong against the share wrong, before and after calibration",
        ),
        "coverage": Drawing(
            draw_coverage(trust.coverage, table.classes, trust.alpha),
            "Coverage of prediction sets in all and by class, within what chance allows",
        ),
    }


def _draw_sheets(table: ScoreTable, boxes: Mapping[str, PixelBox]) -> dict[str, Drawing]:
    """Sheets of samples: the most confident mistakes, the least and the most confident hits."""
    p_NK = table.probabilities_NK
    shown = number_classes(table.classes)
    drawn: dict[str, Drawing] = {}
    for kind, rows in class_figures.choose_samples(table.labels_N, p_NK).items():
        title = class_figures.SAMPLE_TITLES[kind]
        images = [_load_sample(table, boxes, int(row)) for row in rows]
        captions = [
            class_figures.caption_sample(int(table.labels_N[row]), p_NK[row], shown) for row in rows
        ]
        drawn[kind] = Drawing(
            class_figures.draw_samples(images, captions, title), title, is_photo=True
        )
    return drawn


def _load_sample(table: ScoreTable, boxes: Mapping[str, PixelBox], row: int) -> NDArray[np.uint8]:
    try:
        box = boxes.get(table.ids[row])
        return load_pixels(Path(table.paths[row]), SAMPLE_PX, box, resize="pad")
    except ImageError:
        # The scores stand without the file; a grey tile says that it is gone.
        return np.full((SAMPLE_PX, SAMPLE_PX, 3), 200, dtype=np.uint8)
