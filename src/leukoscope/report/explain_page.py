"""The page of explanations: do the maps hold, then the pictures, then how to read them.

What this file does not do: it measures nothing; it words what it is given.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.explain.methods import FLOORS, METHODS, Method, name_method
from leukoscope.storage import replacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.explain.faithfulness import CurveKind, FaithfulnessResult, MeanRange
    from leukoscope.models.coatnet import CoAtNet

    Curves = Mapping[str, Mapping[CurveKind, Sequence[NDArray[np.float64]]]]

SHOWN = 24
"""Pictures on the page at most; the folder has all of them."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Grad-CAM, HiResCAM", "Which places of a feature map raise the score of the class. Grad-CAM"
     " weighs whole channels, HiResCAM each place by itself."),
    ("Integrated gradients", "What each pixel adds on the way from an empty field to the image."),
    ("Occlusion", "How far the score of the class falls when a patch is painted over."),
    ("Attention rollout", "Which places the transformers mixed together, whatever the class."),
    ("Deletion", "Pixels are painted over in the colour of the empty field, those first that the"
     " map marks most. The figure is the area under the probability of the class: the lower, the"
     " more the marked places carried."),
    ("Insertion", "The other way round: from a blurred image, marked pixels come back first. The"
     " higher, the better."),
    ("Random places, centre of the image", "Maps that know nothing: noise as coarse as the map"
     " itself, and a bell in the middle. A map that is no better than these explains nothing. Where"
     " a map marks nothing, its pixels go and come in the order of that noise."),
    ("Random weights", "Rank correlation between the map and that of a network whose weights were"
     " all drawn anew. It must be near 0: what stays is the image, not the network."),
    ("In the cell", "The share of the map that lies in the box round the cell, divided by the"
     " box's share of the area. 1 is chance."),
)  # fmt: skip


def draw_figures(
    folder: Path,
    methods: Sequence[Method],
    stage: str,
    curves: "Curves",
    results: "Sequence[FaithfulnessResult]",
    network: "CoAtNet | None",
) -> dict[str, str]:
    """Write the figures of a call and return them by name as data URIs."""
    from leukoscope.report.explain_figures import draw_biases, draw_curves
    from leukoscope.report.figures import render_png

    figures = {}
    if results:
        grids = sorted(int(n.removeprefix("random_")) for n in curves if n.startswith("random_"))
        figures["curves"] = draw_curves(
            {name_method(method, stage): curves[method] for method in methods},
            {
                **{f"{FLOORS['random']}, {n} x {n}": curves[f"random_{n}"] for n in grids},
                FLOORS["centre"]: curves["centre"],
            },
        )
    if network is not None and "attention" in methods:
        from leukoscope.explain.maps import list_biases

        figures["relative_bias"] = draw_biases(list_biases(network))
    found = {}
    for name, figure in figures.items():
        content = render_png(figure)
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(content)
        found[name] = _embed(content)
    for path in sorted((folder / "attention").glob("*.png"))[:1]:
        found["attention"] = _embed(path.read_bytes())
    return found


def _embed(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def format_range(found: "MeanRange", *, signed: bool = False, digits: int = 2) -> tuple[str, str]:
    """Return a mean and its limits as two texts, a dash where there is none.

    >>> from leukoscope.explain.faithfulness import MeanRange
    >>> format_range(MeanRange(0.5, 0.4, 0.6, 9))
    ('0.50', '0.40 to 0.60')
    >>> format_range(MeanRange(float("nan"), float("nan"), float("nan"), 0))
    ('–', '')
    """
    sign = "+" if signed else ""
    if found.value != found.value:
        return "–", ""
    value = f"{found.value:{sign}.{digits}f}"
    if found.low != found.low:
        return value, ""
    return value, f"{found.low:{sign}.{digits}f} to {found.high:{sign}.{digits}f}"


def word_headline(results: "Sequence[FaithfulnessResult]", stage: str) -> tuple[str, str]:
    """Return the level of the banner and one sentence: which maps hold."""
    if not results:
        return "caution", "Nobody has measured whether these maps are faithful."
    held = [name_method(v.method, stage) for v in results if v.holds]
    failed = [name_method(v.method, stage) for v in results if v.warnings]
    if failed:
        rest = f" {_join(held)} passed." if held else ""
        if len(failed) == 1:
            who = f"{failed[0]} does not pass"
        elif len(failed) == len(results) > 2:
            who = f"None of {len(results)} methods passes"
        else:
            who = f"{_join(failed)} do not pass"
        return "bad", f"{who} every test: read the reason before relying on such a map.{rest}"
    if len(held) < len(results):
        return "caution", "Too few images to say whether these maps are faithful."
    return "good", f"{_join(held)} passed every test that was made."


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def group_warnings(results: "Sequence[FaithfulnessResult]", stage: str) -> list[tuple[str, str]]:
    """Return what is not passed, a pair of names and words for all methods of equal words."""
    groups: dict[str, list[str]] = {}
    for v in results:
        if v.warnings:
            groups.setdefault(" ".join(v.warnings), []).append(name_method(v.method, stage))
    return [(_join(names), text) for text, names in groups.items()]


def render_explained(
    model: Path,
    methods: Sequence[Method],
    stage: str,
    images: Sequence[tuple[Path, str]],
    results: "Sequence[FaithfulnessResult]",
    notes: Sequence[str],
    figures: Mapping[str, str],
) -> str:
    """Render everything as one HTML page that needs no other file. `images` are pictures with what
    they show in words."""
    from leukoscope.report.pages import render_page

    level, headline = word_headline(results, stage)
    judged = results[0].deletion.n if results else 0
    rows = []
    for v in results:
        levels = list(v.correlation.values())
        rows.append(
            {
                "name": name_method(v.method, stage),
                "warned": bool(v.warnings),
                "cells": [
                    format_range(v.deletion),
                    *(format_range(r["deletion"], signed=True) for r in v.against.values()),
                    format_range(v.insertion),
                    *(format_range(r["insertion"], signed=True) for r in v.against.values()),
                    format_range(levels[-1]) if levels else ("–", ""),
                    format_range(v.localisation, digits=1),
                ],
            }
        )
    cascade = {
        name_method(v.method, stage): {k: format_range(r)[0] for k, r in v.correlation.items()}
        for v in results
        if len(v.correlation) > 1
    }
    return render_page(
        "explain.html.j2",
        title=f"Explanations by {model.name}",
        level=level,
        headline=headline,
        judged=judged,
        n_images=len(images),
        rows=rows,
        baselines=[FLOORS[name].lower() for name in (results[0].against if results else ())],
        ceiling=f"{results[0].ceiling.value:.1f}" if results and results[0].ceiling.n else "",
        cascade=cascade,
        levels=list(next(iter(cascade.values()))) if cascade else [],
        warnings=group_warnings(results, stage),
        notes=[*notes, *dict.fromkeys(text for v in results for text in v.notes)],
        figures=figures,
        pictures=[(_embed(path.read_bytes()), told) for path, told in images[:SHOWN]],
        hidden=len(images[SHOWN:]),
        methods=[METHODS[name] for name in methods],
        glossary=GLOSSARY,
    )
