"""Figures of robustness: accuracy against severity, and what the corruptions look like.

Axes: S side of an image, C colour. What this file does not do: it computes no figure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from leukoscope.data.corrupt import SEVERITIES, Corruption
from leukoscope.evaluation.robustness import Robustness
from leukoscope.report.figures import BLUE, GREY, VERMILLION, styled
from leukoscope.report.robustness_page import CORRUPTION_NAMES

_COLUMNS = 5


@styled
def draw_robustness(record: Robustness) -> Figure:
    """Draw accuracy against severity, one panel per corruption, with intervals; where cells can be
    rejected also the accuracy among accepted ones and the share accepted."""
    names = list(record.mean_loss)
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(11.5, 0.7 + 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    steps = [0, *SEVERITIES]
    for axes, name in zip(panels, names, strict=False):
        levels = record.select(name)
        values = np.array([level.accuracy.value for level in levels])
        bounds = np.array([[x.accuracy.low, x.accuracy.high] for x in levels])
        axes.fill_between(steps, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.2, lw=0)
        axes.plot(steps, values, "o-", color=BLUE, lw=2, ms=4, label="accuracy, all cells")
        if record.decides:
            right = [level.accepted_accuracy.value for level in levels]
            share = [level.accepted.value for level in levels]
            axes.plot(steps, right, "s-", color=VERMILLION, ms=4, label="accuracy, accepted cells")
            axes.plot(steps, share, "--", color=GREY, lw=1.5, label="share accepted")
        axes.set_title(CORRUPTION_NAMES[name], fontsize=10)
        axes.set_ylim(0, 1.03)
        axes.set_xticks(steps)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[(rows - 1) * _COLUMNS : len(names)]:
        axes.set_xlabel("severity (0: clean)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=10)
    return figure


@styled
def draw_corruptions(examples: Mapping[Corruption, Sequence[NDArray[np.uint8]]]) -> Figure:
    """Draw one cell under each corruption: images of severity 0 to 5 as the network is given them,
    uint8 `(S, S, C)`."""
    columns = len(SEVERITIES) + 1
    figure = Figure(figsize=(8.4, 1.32 * len(examples) + 0.4), layout="constrained")
    panels = figure.subplots(len(examples), columns, squeeze=False)
    for row, (name, images) in zip(panels, examples.items(), strict=True):
        for axes, image_SSC in zip(row, images, strict=True):
            axes.imshow(image_SSC)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(CORRUPTION_NAMES[name].replace(" ", "\n", 1), fontsize=9)
    for severity, axes in enumerate(panels[0]):
        title = f"severity {severity}" if severity else "clean"
        axes.set_title(title, fontsize=9, loc="center")
    return figure
