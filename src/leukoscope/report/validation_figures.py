"""Figures of a validation: sensitivity by class, external and internal; reliability; mistakes.

Axes: N images, K classes. What this file does not do: it words nothing but the figures themselves.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.evaluation.validation import LocalCells, Validation
from leukoscope.interval import Interval
from leukoscope.labels import shorten_label
from leukoscope.report import class_figures, figures
from leukoscope.report.page import Picture


def draw_validation(
    record: Validation, cells: LocalCells, load_image: Callable[[int], NDArray[np.uint8]]
) -> dict[str, Picture]:
    """Draw `classes`, `reliability` and, where there are any, `mistakes`.

    `load_image` returns the image of a row of `cells` as uint8 `(H, W, 3)`.
    """
    known = np.flatnonzero(cells.table.labels_N >= 0)
    labels_N = cells.table.labels_N[known]
    p_NK = cells.predictions.probabilities_NK[known]
    sources = [cells.table.sources[i] for i in known]
    shown = dict(zip(record.classes, figures.number_classes(record.classes), strict=True))
    shares = {shown[one.label]: one.sensitivity for one in record.per_class}
    if record.reference is None:
        classes = class_figures.draw_per_class(
            {label: share.external for label, share in shares.items()},
            {shown[one.label]: one.n_images for one in record.per_class},
        )
    else:
        classes = draw_comparison({k: (x.external, x.internal) for k, x in shares.items()})
    reliability = class_figures.draw_reliability(labels_N, p_NK, sources)
    drawn = {
        "classes": Picture(
            figures.render_svg(classes), "Sensitivity of each class with its interval"
        ),
        "reliability": Picture(
            figures.render_svg(reliability), "Reliability diagram: accuracy against confidence"
        ),
    }
    rows = known[class_figures.choose_samples(labels_N, p_NK)["confident_wrong"]]
    if len(rows):
        captions = [
            class_figures.caption_sample(
                int(cells.table.labels_N[i]),
                cells.predictions.probabilities_NK[i],
                tuple(shown.values()),
            )
            for i in rows
        ]
        title = class_figures.SAMPLE_TITLES["confident_wrong"]
        sheet = class_figures.draw_samples([load_image(int(i)) for i in rows], captions, title)
        drawn["mistakes"] = Picture(figures.render_png(sheet), title)
    return drawn


@figures.styled
def draw_comparison(rows: Mapping[str, tuple[Interval, Interval]]) -> Figure:
    """Draw the sensitivity of each class on external cells (disc) and on the internal test set
    (diamond), with intervals.

    Classes without a cell on either side say so. Raises `DataError` for no rows.
    """
    if not rows:
        raise DataError("a comparison needs at least one class", "none", "pass the classes")
    figure = Figure(figsize=(8, 1.3 + 0.62 * len(rows)), layout="constrained")
    axes = figure.subplots()
    lows = [x.low for pair in rows.values() for x in pair if not math.isnan(x.low)]
    left = math.floor((min(lows, default=0.0) - 0.02) * 10) / 10
    axes.set_xlim(max(0.0, min(left, 0.9)), 1.0)
    across = axes.get_yaxis_transform()
    styles = (
        ("external", figures.BLUE, "o", 8, -0.14, "bold", figures.INK),
        ("internal", figures.GREY, "D", 5, 0.2, "normal", "#52606d"),
    )
    for y, pair in enumerate(rows.values()):
        for share, (name, colour, sign, size, shift, weight, ink) in zip(pair, styles, strict=True):
            text = f"{name}: no cell"
            if not math.isnan(share.value):
                axes.plot([share.low, share.high], [y + shift] * 2, color=colour, lw=2.2)
                axes.plot(
                    share.value, y + shift, sign, color=colour, ms=size, clip_on=False, zorder=3
                )
                text = f"{name} {figures.label_interval(share)}"
            axes.text(1.03, y + shift, text, transform=across, va="center", fontsize=9,
                      fontweight=weight, color=ink)  # fmt: skip
    axes.set_yticks(range(len(rows)), [shorten_label(label) for label in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel("sensitivity, with 95 % interval")
    return figure
