"""Figures of accuracy as a whole: beside baselines, on several sets of images, by epoch.

What this file does not do: it computes no figure of merit.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from leukoscope.errors import DataError
from leukoscope.evaluation.record import EpochFigures
from leukoscope.interval import Interval
from leukoscope.report.figures import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    VERMILLION,
    WARNING,
    draw_ranges,
    label_interval,
    styled,
)


def _find_least(rows: Sequence[Interval]) -> float:
    """The least that is drawn of some figures: a bound, or the figure where it has none."""
    return min(row.value if math.isnan(row.low) else row.low for row in rows)


@styled
def draw_baselines(
    network: Interval, baselines: Mapping[str, Interval], name: str = "Network"
) -> Figure:
    """Draw accuracy of the network and of the baselines (keyed by the name to show), with
    intervals.

    The band between the best baseline and the network is what the network adds.
    """
    rows = [(name, network), *sorted(baselines.items(), key=lambda item: -item[1].value)]
    figure = Figure(figsize=(8, 1.5 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    left = _find_least([interval for _, interval in rows])
    axes.set_xlim(max(0.0, math.floor((left - 0.02) * 10) / 10), 1.0)
    draw_ranges(axes, rows, [BLUE] + [GREY] * len(baselines))
    if baselines:
        best = rows[1][1].value
        gap = round(100 * (network.value - best), 1)
        axes.plot([best, network.value], [0, 0], color=BLUE, alpha=0.22, lw=11, zorder=1,
                  solid_capstyle="butt")  # fmt: skip
        axes.vlines(best, 0, 1, color=GREY, lw=1, ls=":")
        sign = "+" if gap > 0 else "−" if gap < 0 else "±"
        axes.set_title(f"{sign}{abs(gap):.1f} points over the best baseline", pad=10)
    axes.set_xlabel("accuracy, with 95 % interval")
    return figure


@dataclass(frozen=True)
class AccuracyBlock:
    """Accuracies measured on the same images: the network first, then baselines, by the names to
    show. `leaked` says that some of these images have a duplicate in training."""

    title: str
    figures: Mapping[str, Interval]
    leaked: bool = False


@styled
def draw_accuracies(blocks: Sequence[AccuracyBlock]) -> Figure:
    """Draw accuracies with their intervals, one block of rows per set of images.

    The first row of a block, the network, is a disc, the others are diamonds; leaked figures are
    hollow, and their interval is broken.
    """
    titles = [
        textwrap.wrap(("LEAKED: " if block.leaked else "") + block.title, _TITLE_WIDTH)
        for block in blocks
    ]
    count = sum(len(block.figures) + 0.3 for block in blocks) + 0.75 * sum(map(len, titles))
    figure = Figure(figsize=(8, 0.9 + 0.34 * count), layout="constrained")
    axes = figure.subplots()
    least = _find_least([x for block in blocks for x in block.figures.values()])
    axes.set_xlim(max(0.0, math.floor((least - 0.02) * 10) / 10), 1.0)
    across = axes.get_yaxis_transform()
    ticks: list[tuple[float, str]] = []
    y = 0.0
    for block, title in zip(blocks, titles, strict=True):
        y += 0.75 * (len(title) - 1)
        axes.text(0, y + 0.3, "\n".join(title), transform=across, va="bottom", fontweight="bold",
                  color=WARNING if block.leaked else INK)  # fmt: skip
        for k, (name, interval) in enumerate(block.figures.items()):
            y += 1
            colour = GREY if k else VERMILLION if block.leaked else BLUE
            axes.plot([interval.low, interval.high], [y, y], ":" if block.leaked else "-",
                      color=colour, lw=2.5 if k == 0 else 1.8)  # fmt: skip
            axes.plot(interval.value, y, "D" if k else "o", color=colour, ms=5 if k else 9,
                      mfc="white" if block.leaked else colour, mew=1.8, clip_on=False,
                      zorder=3)  # fmt: skip
            weight = "normal" if k else "bold"
            axes.text(
                1.03, y, label_interval(interval), transform=across, va="center", fontweight=weight
            )
            ticks.append((y, name))
        y += 1.4
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(y - 0.8, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel("accuracy, with 95 % interval")
    return figure


_TITLE_WIDTH = 62
"""Characters in a line over a block."""


@styled
def draw_training_curves(history: Sequence[EpochFigures]) -> Figure:
    """Draw loss and accuracy by epoch. Raises `DataError` for no epochs."""
    if not history:
        raise DataError("training curves need an epoch at least", "none", "train first")
    epochs = [one.epoch for one in history]
    panels = {
        "Loss": ([one.train_loss for one in history], [one.val_loss for one in history]),
        "Accuracy": (
            [one.train_accuracy for one in history],
            [one.val_accuracy for one in history],
        ),
    }
    best = epochs[int(np.argmax(panels["Accuracy"][1]))]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, (quantity, pair) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for values, part, line, colour in zip(
            pair, ("training", "validation"), ("--", "-"), (ORANGE, BLUE), strict=True
        ):
            axes.plot(epochs, values, line, color=colour, label=part, marker="o", ms=3)
        axes.axvline(best, color=GREY, lw=1, ls=":", label="best validation accuracy")
        axes.set_title(quantity)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        if quantity == "Accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        else:
            axes.set_ylim(bottom=0)
            axes.legend(fontsize=9)
    return figure
