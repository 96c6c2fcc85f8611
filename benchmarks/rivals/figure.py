"""The figure of a benchmark: cost against size."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from leukoscope.errors import DataError
from leukoscope.report.figures import BLUE, GREEN, ORANGE, VERMILLION, styled

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")


@styled
def draw_costs(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], title: str
) -> Figure:
    """Draw cost against size: one panel per x axis (its name), curves of (x, cost) by name.

    Both axes are logarithmic. Curves of one name have one colour throughout. Raises `DataError`
    for no panels.
    """
    if not panels:
        raise DataError("costs need a panel at least", "none", "measure something first")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    figure = Figure(figsize=(3.4 * len(panels), 3.9), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    handles: dict[str, Any] = {}
    for axes, (x_name, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, points in curves.items():
            place = names.index(name)
            (handles[name],) = axes.plot(
                *zip(*points, strict=True),
                DASHES[place % len(DASHES)],
                color=COLOURS[place % len(COLOURS)],
                marker="o",
                ms=4,
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        xs = sorted({x for points in curves.values() for x, _ in points})
        axes.set_xticks(xs, [f"{x:,.0f}" for x in xs])
        axes.minorticks_off()
        axes.set_xlabel(x_name)
        low = min(y for points in curves.values() for _, y in points)
        high = max(y for points in curves.values() for _, y in points)
        axes.set_ylim(low / 1.6, high * 1.6)
        ticks = [v for e in range(-4, 6) for v in (10**e, 2 * 10**e, 5 * 10**e)]
        shown = [v for v in ticks if low / 1.6 <= v <= high * 1.6]
        axes.set_yticks(shown, [f"{v:g}" for v in shown])
        axes.grid(axis="y")
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower left", ncols=len(handles)
    )
    return figure
