"""Figures of explanations: curves of deletion and insertion, attention heads, relative bias.

Axes: N images, T steps of a curve, G heads, S side of an image. What this file does not do: it
knows no networks, only arrays and what they are called.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from leukoscope.explain.methods import Method, name_method
from leukoscope.explain.record import CurveKind
from leukoscope.explain.study import Pair
from leukoscope.report.explain_page import BASELINE_NAMES
from leukoscope.report.figures import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, styled

_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7")
_SHOWN_HEADS = 8


@styled
def draw_curves(
    methods: Mapping[Method, Sequence[Pair]],
    random: Mapping[int, Sequence[Pair]],
    centre: Sequence[Pair],
    stage: str,
) -> Figure:
    """Draw the mean probability of the explained class as pixels go (left) and come (right).

    One pair of curves `(T+1,)` per image: of each method, of noise by its grid, and of the bell at
    the centre. Baselines are grey and broken.
    """
    baselines = {
        f"{BASELINE_NAMES['random']}, {grid} x {grid}": random[grid] for grid in sorted(random)
    } | {BASELINE_NAMES["centre"]: centre}
    named = {name_method(method, stage): pairs for method, pairs in methods.items()}
    figure = Figure(figsize=(9.2, 4.1), layout="constrained")
    pair = figure.subplots(1, 2, sharey=True)
    words: dict[CurveKind, tuple[str, str]] = {
        "deletion": ("Deletion: lower is better", "share of pixels taken away, marked first"),
        "insertion": ("Insertion: higher is better", "share of pixels put in, marked first"),
    }
    for axes, (kind, (title, share)) in zip(pair, words.items(), strict=True):
        for place, (name, pairs) in enumerate({**baselines, **named}.items()):
            mean_T = np.mean([one[kind] for one in pairs], axis=0)
            share_T = np.linspace(0, 1, len(mean_T))
            is_baseline = place < len(baselines)
            axes.plot(
                share_T, mean_T, label=name, lw=1.6 if is_baseline else 2.2,
                color=GREY if is_baseline else _COLOURS[(place - len(baselines)) % len(_COLOURS)],
                ls=("--", ":", "-.")[place % 3] if is_baseline else "-",
            )  # fmt: skip
        axes.set_title(title)
        axes.set_xlabel(share)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid()
    pair[0].set_ylabel("probability of the explained class, mean")
    figure.legend(*pair[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@styled
def draw_attention(
    image_SSC: NDArray[np.uint8],
    layers: Mapping[str, tuple[NDArray[np.float32], tuple[int, int]]],
    query: tuple[float, float] = (0.5, 0.5),
) -> Figure:
    """Draw where one place looks: a row per layer, a column per head, the mean of heads first.

    `layers`: name, then weights `(G, N, N)` and the size of the map. `query` is the place, as
    shares of height and width; the frame marks its token. Each picture has its own scale, from 0 to
    its peak; at most eight heads are drawn.
    """
    heads = min(_SHOWN_HEADS, max(len(weights) for weights, _ in layers.values()))
    figure = Figure(figsize=(1.45 * (heads + 2), 1.62 * len(layers) + 0.5), layout="constrained")
    grid = figure.subplots(len(layers), heads + 2, squeeze=False)
    side = len(image_SSC)
    grey = np.asarray(Image.fromarray(image_SSC).convert("L"))
    for row, (name, (weights_GNN, (height, width))) in zip(grid, layers.items(), strict=True):
        y = min(height - 1, int(query[0] * height))
        x = min(width - 1, int(query[1] * width))
        looks_GHW = weights_GNN[:, y * width + x].reshape(-1, height, width)
        pictures = [("mean of heads", looks_GHW.mean(axis=0))]
        pictures += [(f"head {g + 1}", one) for g, one in enumerate(looks_GHW[:heads])]
        row[0].imshow(image_SSC)
        row[0].set_ylabel(f"{name}\n{height} x {width}", fontsize=8)
        for axes, (title, picture) in zip(row[1:], pictures, strict=False):
            axes.imshow(grey, cmap="gray", alpha=0.55, extent=(0, side, side, 0))
            axes.imshow(
                picture, cmap="inferno", vmin=0, alpha=0.75, extent=(0, side, side, 0),
                interpolation="nearest",
            )  # fmt: skip
            axes.set_title(f"{title}, {100 * picture.max():.0f} %", fontsize=8, fontweight="normal")
        for axes in row[: len(pictures) + 1]:
            tile = (side / width, side / height)
            for colour, thick in (("black", 2.2), ("white", 1.0)):
                axes.add_patch(
                    Rectangle((x * tile[0], y * tile[1]), *tile, fill=False, ec=colour, lw=thick)
                )
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        for axes in row[len(pictures) + 1 :]:
            axes.set_visible(False)
    figure.suptitle(
        "Where the framed place looks; the figure is the share of the brightest token",
        fontsize=10, x=0.01, ha="left", color=INK,
    )  # fmt: skip
    return figure


@styled
def draw_biases(biases: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Draw the learned relative bias: a row per layer, a column per head, `(G, 2H-1, 2W-1)` each.

    The cross is the token itself; a place in the picture is where the other token lies. Violet adds
    to attention, orange takes from it, on one scale for the figure.
    """
    heads = min(_SHOWN_HEADS, max(len(tables) for tables in biases.values()))
    figure = Figure(figsize=(1.5 * heads + 1.8, 1.6 * len(biases) + 0.5), layout="constrained")
    grid = figure.subplots(len(biases), heads, squeeze=False)
    limit = max(float(np.abs(tables).max()) for tables in biases.values()) or 1.0
    shown = None
    for row, (name, tables) in zip(grid, biases.items(), strict=True):
        row[0].set_ylabel(f"{name}\n{tables.shape[1]} x {tables.shape[2]}", fontsize=8)
        for g, axes in enumerate(row):
            axes.set_xticks([])
            axes.set_yticks([])
            if g >= len(tables):
                axes.set_visible(False)
                continue
            shown = axes.imshow(tables[g], cmap="PuOr", vmin=-limit, vmax=limit)
            axes.plot(tables.shape[2] // 2, tables.shape[1] // 2, "+", color="black", ms=7, mew=1.0)
            axes.set_title(f"head {g + 1}", fontsize=8, fontweight="normal")
    if shown is not None:
        bar = figure.colorbar(shown, ax=grid, shrink=0.8)
        bar.set_label("added to the logit of attention", fontsize=8)
    figure.suptitle(
        "Learned relative bias by offset; the cross is the token itself",
        fontsize=10, x=0.01, ha="left", color=INK,
    )  # fmt: skip
    return figure
