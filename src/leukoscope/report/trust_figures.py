"""Figures of calibration, prediction sets and rejections.

Axes: N images, K classes. What this file does not do: it computes no figure of merit but the curves
it draws.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from leukoscope.evaluation.calibration_error import compute_debiased_ece, compute_equal_mass_bins
from leukoscope.evaluation.coverage import Coverage
from leukoscope.evaluation.intervals import compute_proportion
from leukoscope.evaluation.trust_measures import compute_risk_coverage
from leukoscope.labels import shorten_label
from leukoscope.report.figures import BLUE, GREY, INK, PALE, VERMILLION, number_classes, styled


@styled
def draw_risk_coverage(
    confidence_N: NDArray[np.float64],
    hit_N: NDArray[np.bool_],
    point: tuple[float, float],
    target: float,
) -> Figure:
    """Draw what accepting more cells costs. `point` is where the thresholds stand: (share accepted,
    share wrong among these); `target` the wanted share right."""
    share_M, risk_M = compute_risk_coverage(confidence_N, hit_N)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(share_M, risk_M, color=BLUE, lw=2)
    axes.axhline(1 - target, color=GREY, ls="--", lw=1)
    top = max(float(risk_M[-1]), 1 - target, point[1]) * 1.35 + 0.001
    axes.annotate(
        f"target: {100 * (1 - target):.2g} % wrong",
        (0.01, 1 - target), (0, 4), textcoords="offset points", color=INK, fontsize=9,
    )  # fmt: skip
    if point[0] > 0:
        axes.plot(*point, "o", ms=9, color=VERMILLION, clip_on=False, zorder=5)
        axes.annotate(
            f"thresholds: {100 * point[0]:.1f} % accepted,\n{100 * point[1]:.2f} % of these wrong",
            point, (-12, 14), textcoords="offset points", ha="right", color=INK,
            arrowprops={"arrowstyle": "-", "color": GREY},
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, top)
    axes.set_xlabel("share of cells accepted, most confident first")
    axes.set_ylabel("wrong among accepted")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.set_title("What accepting more cells costs")
    axes.grid()
    return figure


@styled
def draw_reliability_both(
    labels_N: NDArray[np.int64],
    before_NK: NDArray[np.float64],
    after_NK: NDArray[np.float64],
    sources: Sequence[str],
) -> Figure:
    """Draw success against confidence before and after calibration, in bins of equal mass with
    intervals over sources, and below how many images state which chance.

    Confidence is drawn as the chance of being wrong, on a logarithmic scale: nearly all cells lie
    between 90 and 100 %, which a plain diagram squeezes into a corner. Chances below 0.01 % stand
    at 0.01 %.
    """
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    rows = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3.4, 1))
    pair, counts = rows
    baseline = 1e-4
    edges = np.geomspace(baseline, 1, 33)
    for axes, p_NK in zip(counts, (before_NK, after_NK), strict=True):
        axes.hist(np.clip(1 - p_NK.max(axis=1), baseline, 1), bins=edges.tolist(), color=BLUE)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.set_xlabel("stated chance of being wrong")
    counts[0].set_ylabel("images")
    for axes, p_NK, title in zip(pair, (before_NK, after_NK), ("Before", "After"), strict=True):
        confidence_N = p_NK.max(axis=1)
        hit_N = p_NK.argmax(axis=1) == labels_N
        bin_N = compute_equal_mass_bins(confidence_N)
        bins = [np.flatnonzero(bin_N == m) for m in np.unique(bin_N)]
        axes.plot([baseline, 1], [baseline, 1], color=GREY, lw=1, ls=":")
        for rows in bins:
            bound = compute_proportion(hit_N[rows], [sources[i] for i in rows.tolist()])
            x = max(1 - float(confidence_N[rows].mean()), baseline)
            axes.plot(
                [x, x],
                [max(1 - bound.high, baseline), max(1 - bound.low, baseline)],
                color=BLUE,
                lw=1.5,
            )
            # An empty mark at the baseline: no mistake in this bin.
            axes.plot(
                x, max(1 - bound.value, baseline), "o", color=BLUE,
                mfc=BLUE if bound.value < 1 else "white",
                ms=4 + 6 * np.sqrt(len(rows) / max(map(len, bins))), clip_on=False,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(baseline, 1)
        axes.set_ylim(baseline, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_format_chance)
        error = compute_debiased_ece(confidence_N, hit_N, sources)
        axes.set_title(f"{title}: error {100 * error:.1f} points")
        axes.grid()
    pair[0].set_ylabel("share wrong")
    pair[0].annotate(
        "above: over-\nconfident", (0.03, 0.97), xycoords="axes fraction", va="top",
        color=INK, fontsize=9,
    )  # fmt: skip
    each = round(len(labels_N) / len(bins))
    pair[1].annotate(
        f"each about {each:,} images\nempty: no mistake",
        (0.03, 0.97),
        xycoords="axes fraction",
        va="top",
        color=INK,
        fontsize=9,
    )
    return figure


def _format_chance(value: float, _place: object = None) -> str:
    return f"{100 * value:g} %"


@styled
def draw_coverage(coverage: Coverage, classes: Sequence[str], alpha: float) -> Figure:
    """Draw how often sets hold the true label, in all and by class, within what chance allows
    (99 %), and beside it how many labels they hold on average.

    A cross lies below what chance allows; a hollow mark is of a class that the sets guarantee
    nothing for by itself.
    """
    rows = [("All cells", coverage.marginal, coverage.mean_size)]
    rows += [
        (shorten_label(shown), coverage.per_class[name], coverage.size_by_class[name])
        for name, shown in zip(classes, number_classes(classes), strict=True)
    ]
    figure = Figure(figsize=(8, 1.7 + 0.34 * len(rows)), layout="constrained")
    axes, sizes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    lowest = 1 - alpha
    for place, (_, share, size) in enumerate(rows):
        if not share.n_images:
            axes.annotate("no images", (0.01, place), xycoords=axes.get_yaxis_transform(),
                          va="center", color=GREY)  # fmt: skip
            continue
        lowest = min(lowest, share.value, share.expected_low)
        axes.barh(
            place,
            share.expected_high - share.expected_low,
            left=share.expected_low,
            height=0.62,
            color=PALE,
        )
        colour = BLUE if share.holds else VERMILLION
        axes.plot(share.value, place, "o" if share.holds else "X", color=colour, ms=8, zorder=3,
                  mfc=colour if share.guaranteed else "white", clip_on=False)  # fmt: skip
        sizes.barh(place, size, height=0.5, color=GREY)
        sizes.annotate(f"{size:.2f}", (size, place), (4, 0), textcoords="offset points",
                       va="center", fontsize=9)  # fmt: skip
    axes.axvline(1 - alpha, color=INK, ls="--", lw=1)
    axes.set_yticks(range(len(rows)), [f"{name} ({x.n_images:,})" for name, x, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(np.floor((lowest - 0.01) * 20) / 20, 1)
    sizes.set_xlim(0, 1.25 * max([1.0, *(size for _, x, size in rows if x.n_images)]))
    for one in (axes, sizes):
        one.tick_params(axis="y", length=0)
        one.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel(
        f"true label in the set, before the given one is added; target: {100 * (1 - alpha):g} %"
    )
    sizes.set_xlabel("labels in a set")
    missed = [name for name, share, _ in rows if not share.holds]
    axes.set_title(
        f"Below what chance allows (grey): {', '.join(missed)}"
        if missed
        else "As often as chance allows (grey), or more"
    )
    return figure
