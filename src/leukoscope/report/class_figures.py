"""Figures by class and by image: sensitivities, confusion, curves, confidence, sheets of samples.

Axes: N images, K classes. What this file does not do: it computes no figure of merit that is not
given to it, except curves and bins from scikit-learn and `evaluation.metrics`.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.metrics import compute_calibration_bins
from leukoscope.interval import Interval
from leukoscope.labels import shorten_label
from leukoscope.report.figures import (
    BLUE,
    CURVES,
    DASHES,
    GREY,
    INK,
    VERMILLION,
    draw_ranges,
    styled,
)

SampleKind = Literal["confident_wrong", "unsure_right", "confident_right"]
SAMPLE_TITLES: dict[SampleKind, str] = {
    "confident_wrong": "Wrong, and most confident",
    "unsure_right": "Right, but least confident",
    "confident_right": "Right, and most confident",
}
"""The sheets of samples in the order they are shown: mistakes first."""


@styled
def draw_per_class(
    recalls: Mapping[str, Interval], counts: Mapping[str, int] | None = None
) -> Figure:
    """Draw sensitivity with its interval for each class; `counts` are images per class.

    A class that does not occur in the test set is shown as such.
    """
    rows = [
        (shorten_label(c) + (f" (n = {counts[c]:,})" if counts else ""), interval)
        for c, interval in recalls.items()
    ]
    figure = Figure(figsize=(8, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    lows = [interval.low for _, interval in rows if not math.isnan(interval.low)]
    left = math.floor((min(lows, default=0.0) - 0.02) * 10) / 10
    axes.set_xlim(max(0.0, min(left, 0.9)), 1.0)
    draw_ranges(axes, rows, [BLUE] * len(rows))
    axes.set_xlabel("sensitivity (recall), with 95 % interval")
    return figure


@styled
def draw_confusion(confusion_KK: NDArray[np.float64], classes: Sequence[str]) -> Figure:
    """Draw counts of images by true class (row) and predicted class (column).

    Colour and the percentages are shares of the row. Empty fields are zero.
    """
    names = [shorten_label(c) for c in classes]
    total_K = confusion_KK.sum(axis=1, keepdims=True)
    share_KK = confusion_KK / np.maximum(total_K, 1)
    text_KK = np.array(
        [
            [f"{c:,.0f}\n{_percent(s)}" if c else "" for c, s in zip(cs, ss, strict=True)]
            for cs, ss in zip(confusion_KK, share_KK, strict=True)
        ]
    )
    side = max(2.6, 0.72 * len(classes))
    figure = Figure(figsize=(side + 3.0, side + 1.9), layout="constrained")
    axes = figure.subplots()
    seaborn.heatmap(
        share_KK,
        annot=text_KK,
        fmt="",
        vmin=0,
        vmax=1,
        cmap=seaborn.light_palette(BLUE, as_cmap=True),
        square=True,
        linewidths=1,
        linecolor="white",
        xticklabels=names,
        yticklabels=names,
        cbar_kws={"shrink": 0.6, "format": PercentFormatter(1.0), "label": "share of true class"},
        annot_kws={"size": 8.5},
        ax=axes,
    )
    axes.set_xticks(axes.get_xticks(), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(axes.get_yticks(), names, rotation=0)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else f"{math.floor(100 * share + 0.5)} %"


@styled
def draw_roc(
    labels_N: NDArray[np.int64], probabilities_NK: NDArray[np.float64], classes: Sequence[str]
) -> Figure:
    """Draw the ROC curve of each class against the rest, with the area in the legend."""
    curves, areas = [], []
    for k, name in enumerate(classes):
        positive_N = labels_N == k
        if positive_N.any() and not positive_N.all():
            x, y, _ = roc_curve(positive_N, probabilities_NK[:, k])
            areas.append(auc(x, y))
            curves.append((f"{shorten_label(name)}  {areas[-1]:.3f}", x, y))
        else:
            curves.append((f"{shorten_label(name)}  undefined", np.zeros(0), np.zeros(0)))
    figure, axes = _draw_curves(curves, "area under the curve")
    if min(areas, default=0) > _CORNER_FROM:
        _enlarge_corner(axes, curves, (0.34, 0.12, 0.6, 0.6), (0, 0.2))
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
    axes.set_xlabel("false alarms (1 − specificity)")
    axes.set_ylabel("sensitivity (recall)")
    return figure


@styled
def draw_pr(
    labels_N: NDArray[np.int64], probabilities_NK: NDArray[np.float64], classes: Sequence[str]
) -> Figure:
    """Draw precision against recall for each class, with average precision in the legend."""
    curves, areas = [], []
    for k, name in enumerate(classes):
        positive_N = labels_N == k
        if positive_N.any():
            y, x, _ = precision_recall_curve(
                positive_N, probabilities_NK[:, k], drop_intermediate=True
            )
            areas.append(average_precision_score(positive_N, probabilities_NK[:, k]))
            curves.append((f"{shorten_label(name)}  {areas[-1]:.3f}", x, y))
        else:
            curves.append((f"{shorten_label(name)}  undefined", np.zeros(0), np.zeros(0)))
    figure, axes = _draw_curves(curves, "average precision")
    if min(areas, default=0) > _CORNER_FROM:
        _enlarge_corner(axes, curves, (0.18, 0.12, 0.58, 0.58), (0.8, 1))
    axes.set_xlabel("sensitivity (recall)")
    axes.set_ylabel("precision (PPV)")
    return figure


_Curve = tuple[str, NDArray[np.float64], NDArray[np.float64]]
_CORNER_FROM = 0.95
"""Areas above this crowd into a corner that is worth enlarging."""


def _draw_curves(curves: Sequence[_Curve], title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    _plot_curves(axes, curves)
    axes.set_aspect("equal")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid()
    axes.set_axisbelow(True)
    legend = axes.legend(title=title, loc="center left", bbox_to_anchor=(1.04, 0.5))
    legend.get_title().set_fontweight("bold")
    legend.set_alignment("left")
    return figure, axes


def _plot_curves(axes: Axes, curves: Sequence[_Curve]) -> None:
    for k, (label, x, y) in enumerate(curves):
        colour = CURVES[k % len(CURVES)]
        dash = DASHES[k // len(CURVES) % len(DASHES)]
        axes.plot(x, y, dash, color=colour, label=label, lw=2)


def _enlarge_corner(
    axes: Axes,
    curves: Sequence[_Curve],
    bounds: tuple[float, float, float, float],
    x_range: tuple[float, float],
) -> None:
    inset = axes.inset_axes(bounds, zorder=5)
    _plot_curves(inset, curves)
    inset.set_xlim(*x_range)
    inset.set_ylim(0.8, 1)
    inset.set_title("the upper corner, enlarged", fontsize=9, fontweight="normal", color=GREY)
    inset.tick_params(labelsize=8)
    inset.grid()
    inset.set_axisbelow(True)


@styled
def draw_probability_distributions(
    labels_N: NDArray[np.int64], probabilities_NK: NDArray[np.float64], classes: Sequence[str]
) -> Figure:
    """Draw, for each class, the probability that each of its images gave to the true class."""
    generator = np.random.default_rng(0)
    predictions_N = probabilities_NK.argmax(axis=1)
    figure = Figure(figsize=(8, 1.6 + 0.55 * len(classes)), layout="constrained")
    axes = figure.subplots()
    styles = ((True, BLUE, "o", "correct"), (False, VERMILLION, "X", "misclassified"))
    names = []
    for k, name in enumerate(classes):
        own_N = labels_N == k
        true_N = probabilities_NK[own_N, k]
        hit_N = predictions_N[own_N] == k
        y_N = k + generator.uniform(-0.3, 0.3, len(true_N))
        for hit, colour, marker, label in styles:
            chosen = hit_N == hit
            axes.scatter(
                true_N[chosen],
                y_N[chosen],
                s=16 if hit else 34,
                c=colour,
                marker=marker,
                alpha=0.45 if hit else 0.9,
                linewidths=0,
                clip_on=False,
                rasterized=True,
                zorder=2 if hit else 3,
                label=label if k == 0 else "_",
            )
        if len(true_N):
            axes.vlines(float(np.median(true_N)), k - 0.4, k + 0.4, color=INK, lw=2, zorder=4,
                        clip_on=False, label="median" if k == 0 else "_")  # fmt: skip
        names.append(f"{shorten_label(name)} (n = {len(true_N):,})")
    axes.set_yticks(range(len(classes)), names)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("probability given to the true class")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, borderaxespad=0.2)
    return figure


@styled
def draw_reliability(
    labels_N: NDArray[np.int64], probabilities_NK: NDArray[np.float64], sources: Sequence[str]
) -> Figure:
    """Draw how often the network is right against the confidence it states, in bins of equal mass.

    Bars are Wilson intervals over images; the lower panel counts images by confidence. The title
    states the debiased calibration error.
    """
    confidence_N = probabilities_NK.max(axis=1)
    hit_N = probabilities_NK.argmax(axis=1) == labels_N
    mass_M, confidence_M, accuracy_M = compute_calibration_bins(confidence_N, hit_N)
    bounds = [wilson(a * m, m) for a, m in zip(accuracy_M, mass_M, strict=True)]
    figure = Figure(figsize=(5.6, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfect calibration")
    errors = np.array([[b.value - b.low, b.high - b.value] for b in bounds]).T
    upper.errorbar(
        confidence_M, accuracy_M, yerr=errors, fmt="o-", color=BLUE, lw=1.5, clip_on=False,
        label="measured, with 95 % interval",
    )  # fmt: skip
    upper.set_ylim(0, 1)
    upper.set_ylabel("correctly classified")
    upper.set_title(f"Calibration error {compute_debiased_ece(confidence_N, hit_N, sources):.3f}")
    upper.legend(loc="upper left", fontsize=9)
    upper.grid()
    lower.hist(confidence_N, bins=np.linspace(0, 1, 31).tolist(), color=BLUE)
    lower.set_xlim(0, 1)
    lower.set_xlabel("confidence (highest probability)")
    lower.set_ylabel("images")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def choose_samples(
    labels_N: NDArray[np.int64], probabilities_NK: NDArray[np.float64], count: int = 12
) -> dict[SampleKind, NDArray[np.intp]]:
    """Return the row numbers of at most `count` images for each sheet of `SAMPLE_TITLES`.

    Most telling first; equals keep the order of rows. A sheet may be empty.

    >>> import numpy as np
    >>> rows = choose_samples(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    >>> {kind: found.tolist() for kind, found in rows.items()}
    {'confident_wrong': [1], 'unsure_right': [0], 'confident_right': [0]}
    """
    confidence_N = probabilities_NK.max(axis=1)
    hit_N = probabilities_NK.argmax(axis=1) == labels_N
    wrong, right = np.flatnonzero(~hit_N), np.flatnonzero(hit_N)
    return {
        "confident_wrong": wrong[np.argsort(-confidence_N[wrong], kind="stable")][:count],
        "unsure_right": right[np.argsort(confidence_N[right], kind="stable")][:count],
        "confident_right": right[np.argsort(-confidence_N[right], kind="stable")][:count],
    }


def caption_sample(label: int, probabilities_K: NDArray[np.float64], classes: Sequence[str]) -> str:
    """Return what stands under one sample: what it is, what the network said, and its confidence.

    >>> import numpy as np
    >>> print(caption_sample(0, np.array([0.1, 0.9]), ["eosinophil", "basophil"]))
    Eosinophil
    predicted Basophil, 90 %
    """
    said = int(probabilities_K.argmax())
    sure = f"{math.floor(100 * float(probabilities_K[said])):d} %"
    if said == label:
        return f"{shorten_label(classes[label])}\nright, {sure}"
    return f"{shorten_label(classes[label])}\npredicted {shorten_label(classes[said])}, {sure}"


@styled
def draw_samples(
    images: Sequence[NDArray[np.uint8]], captions: Sequence[str], title: str
) -> Figure:
    """Draw uint8 RGB images `(H, W, 3)`, each over its caption, in rows of six.

    No images give a sheet that says so.
    """
    columns = 6
    rows = max(1, math.ceil(len(images) / columns))
    height = 0.6 + (2.35 * rows if images else 0.3)
    figure = Figure(figsize=(10, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    if not images:
        figure.text(0.01, 0.2, "There are none.")
        return figure
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if place < len(images):
            axes.imshow(images[place])
            lines = captions[place].splitlines()
            text = "\n".join(textwrap.fill(line, 22) for line in lines)
            axes.text(0, -0.05, text, transform=axes.transAxes, va="top", fontsize=8)
    return figure
