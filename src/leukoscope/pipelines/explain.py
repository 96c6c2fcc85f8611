"""Why a network says so: maps over images, and whether these maps are faithful.

What this file does not do: it makes and judges no map itself (`leukoscope.explain`), opens no model
(`pipelines.explain_model`), and lays out no page (`pipelines.explain_page`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukoscope.errors import ConfigError, DataError, ImageError
from leukoscope.explain.methods import Method, name_method
from leukoscope.labels import display_label
from leukoscope.pipelines.explain_boxes import Boxes, check_boxes, load_boxes
from leukoscope.pipelines.explain_model import (
    ExplainedModel,
    choose_methods,
    choose_stage,
    find_class,
    open_model,
)
from leukoscope.progress import Progress, silent
from leukoscope.records import write_json
from leukoscope.runfolder import collect_provenance
from leukoscope.storage import (
    check_new_folder,
    create_folder,
    replacing,
    storage_errors,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.explain.attribution import CamKind
    from leukoscope.explain.faithfulness import CurveKind, FaithfulnessResult
    from leukoscope.explain.maps import AttentionLayer
    from leukoscope.explain.occlusion import Score
    from leukoscope.models.coatnet import CoAtNet

    Pixels = NDArray[np.uint8]
    Maps = NDArray[np.float32]

JUDGED = 24
"""Images that faithfulness is measured on unless asked otherwise."""

BATCH_SIZE = 16
ROWS_PER_SHEET = 6
SHOWN_ATTENTION = 4
"""Images whose heads are drawn; the arrays have all of them."""


@dataclass(frozen=True)
class ExplainedImage:
    """One image: its prediction, and its scores where it was judged.

    `areas` is keyed by method or baseline, then by "deletion" and "insertion"; `localisation` by
    method. `row_png` is the picture: original and overlays side by side.
    """

    path: Path
    label: str
    confidence: float
    decision: str
    target: str
    row_png: Path
    areas: "Mapping[str, Mapping[CurveKind, float]]" = field(default_factory=dict)
    localisation: Mapping[str, float] = field(default_factory=dict)
    ceiling: float | None = None
    missed: float | None = None
    """What integrated gradients miss (`compute_integrated_gradients`); None without them."""


@dataclass(frozen=True)
class Explained:
    """What `explain_images` left in its folder.

    `errors` are the images that could not be read, with the reason; `results` one per method, in
    the order of the pictures; `notes` what was not done, in words.
    """

    out: Path
    model: Path
    is_bundle: bool
    images: tuple[ExplainedImage, ...]
    errors: Mapping[str, str]
    methods: tuple[Method, ...]
    stage: str
    judged: int
    results: "tuple[FaithfulnessResult, ...]"
    notes: tuple[str, ...]
    page: Path | None


@dataclass
class _Loaded:
    path: Path
    pixels_SSC: "Pixels"
    inside_SS: "Maps | None"
    namesake: bool


@dataclass
class _Made:
    """Maps `(N, S, S)` of one method; with attention the layers, with integrated gradients what
    they miss."""

    maps: "Maps"
    layers: "Sequence[AttentionLayer]" = ()
    missed: Sequence[float] = ()


@dataclass
class _Kept:
    """What the check against random weights needs of a judged image."""

    pixels_SSC: "Pixels"
    target: int
    maps: "dict[Method, Maps]"


@dataclass
class _Gathered:
    """Figures of the judged images, in their order."""

    kept: list[_Kept] = field(default_factory=list)
    curves: "dict[str, dict[CurveKind, list[NDArray[np.float64]]]]" = field(default_factory=dict)
    localisation: dict[str, list[float]] = field(default_factory=dict)
    ceiling: list[float] = field(default_factory=list)
    without_cell: int = 0
    namesakes: int = 0
    """Of all images: those that bear the name of an annotated one, and show something else."""


def explain_images(
    model: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    methods: Sequence[Method] | Sequence[str] = (),
    stage: str | None = None,
    target: str | None = None,
    boxes: str | Path | None = None,
    box_label: str = "white_cell",
    query: tuple[float, float] = (0.5, 0.5),
    judge: int = JUDGED,
    seed: int = 0,
    progress: Progress = silent,
) -> Explained:
    """Explain predictions on images, measure how faithful the maps are, and write it all to `out`.

    `model` is a run folder, or a bundle, for which occlusion is all there is: the rest needs
    gradients or attention weights, which no bundle has. `methods` are those of `METHODS` (none
    given: `RUN_METHODS`, or occlusion); `stage` is where class activation maps are taken;
    `target` the class to explain (None: the one that is predicted); `boxes` a Pascal-VOC folder
    that frames the cells of these images under `box_label`; `query` the place whose attention is
    drawn, as shares of height and width; `judge` the number of images, taken evenly from the list,
    that faithfulness is measured on (0: none).

    Writes `arrays/*.npz` (signed maps, attention, probabilities; nothing pickled),
    `overlays/*.png`, `sheets/*.png`, `faithfulness.json`, `explain.html`; with attention,
    `attention/*.png` too.

    Raises `DataError` where no image can be read, or a box folder frames none of them;
    `ConfigError` for an unknown method, stage or class, or a query outside of the image; `RunError`
    if `model` is neither run nor bundle or `out` holds something; `MissingExtraError` without the
    extra `explain` (a run). After any of these nothing was written.
    """
    import numpy as np

    from leukoscope.deploy.files import list_images

    folder = Path(out)
    check_new_folder(folder)
    if not all(0 <= share <= 1 for share in query):
        raise ConfigError(
            "a query must lie in the image: two shares from 0 to 1, down and across",
            f"{query[0]:g} {query[1]:g}",
            "the middle is --query 0.5 0.5",
        )
    opened = open_model(Path(model))
    chosen = choose_methods(opened, methods)
    taken_at = choose_stage(opened, stage, chosen)
    wanted = find_class(opened, target)
    paths = list_images(images)
    framed = load_boxes(Path(boxes), box_label) if boxes is not None else None
    if framed is not None:
        check_boxes(framed, paths)
    judged = set(np.linspace(0, len(paths) - 1, min(judge, len(paths))).round().astype(int))
    gathered = _Gathered()
    found: list[ExplainedImage] = []
    errors: dict[str, str] = {}
    rows: list[Pixels] = []
    for numbers, batch in _read_batches(paths, opened, framed, errors):
        # Only now: whatever is wrong with the images leaves no folder behind.
        for name in ("arrays", "overlays", "sheets"):
            create_folder(folder / name)
        explained, pictures = _explain_batch(
            opened, numbers, batch, chosen, taken_at, wanted, judged, gathered, folder, seed, query
        )
        found += explained
        rows += pictures
        progress("Explaining", numbers[-1] + 1, len(paths))
        while len(rows) >= ROWS_PER_SHEET:
            _write_sheet(folder, len(found) - len(rows), rows[:ROWS_PER_SHEET])
            rows = rows[ROWS_PER_SHEET:]
    if rows:
        _write_sheet(folder, len(found) - len(rows), rows)
    if not found:
        raise DataError(
            "at least one image must be readable",
            f"none of {len(paths)}; first: {next(iter(errors.values()))}",
            "check the files",
        )
    results = _judge(opened, chosen, taken_at, gathered, seed, progress)
    notes = _word_notes(opened, chosen, gathered, found, errors, framed is not None)
    page, more = _write_results(
        folder, opened, chosen, taken_at, found, errors, gathered, results, notes
    )
    return Explained(
        folder, opened.path, opened.network is None, tuple(found), errors, chosen, taken_at,
        len(gathered.kept), results, (*notes, *more), page,
    )  # fmt: skip


# -- reading --------------------------------------------------------------------------------------


def _read_batches(
    paths: Sequence[Path],
    model: ExplainedModel,
    framed: Boxes | None,
    errors: dict[str, str],
) -> Iterator[tuple[list[int], list[_Loaded]]]:
    numbers: list[int] = []
    batch: list[_Loaded] = []
    for number, path in enumerate(paths):
        try:
            batch.append(_read(path, model, framed))
            numbers.append(number)
        except ImageError as error:
            errors[str(path)] = f"{error.reason}: {error.found}"
        if len(batch) == BATCH_SIZE:
            yield numbers, batch
            numbers, batch = [], []
    if batch:
        yield numbers, batch


def _read(path: Path, model: ExplainedModel, framed: Boxes | None) -> _Loaded:
    from leukoscope.data.images import decode_image, load_content, prepare_image
    from leukoscope.explain.faithfulness import build_inside

    config = model.input
    whole_HWC = decode_image(load_content(path), name=str(path))
    pixels = prepare_image(whole_HWC, config)
    if framed is None:
        return _Loaded(path, pixels, None, False)
    mine, namesake = framed.find(path, whole_HWC)
    height, width = whole_HWC.shape[:2]
    inside = build_inside(mine, width, height, config.image_size, config.resize)
    return _Loaded(path, pixels, inside if inside.any() else None, namesake)


# -- maps -----------------------------------------------------------------------------------------


def _build_maps(
    method: Method,
    network: "CoAtNet | None",
    score: "Score",
    images_NSSC: "Pixels",
    targets_N: Sequence[int],
    stage: str,
) -> _Made:
    import numpy as np

    from leukoscope.explain.occlusion import compute_background, compute_occlusion

    if method == "occlusion" or network is None:
        pairs = zip(images_NSSC, targets_N, strict=True)
        return _Made(np.stack([compute_occlusion(score, image, k) for image, k in pairs]))
    import torch

    from leukoscope.data.loader import prepare_input
    from leukoscope.explain import attribution
    from leukoscope.explain.maps import compute_attention, compute_rollout, enlarge_maps

    device = next(network.parameters()).device
    inputs = prepare_input(torch.from_numpy(images_NSSC).to(device))
    targets = torch.tensor(list(targets_N), device=device)
    if method == "attention":
        layers = compute_attention(network, inputs)
        return _Made(enlarge_maps(compute_rollout(layers), images_NSSC.shape[1]), layers)
    if method == "gradients":
        empty = np.empty_like(images_NSSC)
        for i, image in enumerate(images_NSSC):
            empty[i] = compute_background(image)
        baselines = prepare_input(torch.from_numpy(empty).to(device))
        maps, missed = attribution.compute_integrated_gradients(network, inputs, targets, baselines)
        return _Made(maps, missed=missed.tolist())
    kind: CamKind = "gradcam" if method == "gradcam" else "hirescam"
    return _Made(attribution.compute_cam(network, inputs, targets, kind=kind, stage=stage))


def _find_grid(method: Method, model: ExplainedModel, stage: str) -> int:
    """Independent places of a method's map along a side, for a fair random baseline."""
    side = model.input.image_size
    if method == "occlusion" or model.network is None:
        return 6  # windows side by side
    if method == "gradients":
        return side
    stages = model.network.spec.stages
    if method == "attention":
        place = next(i for i, one in enumerate(stages, 1) if one.kind == "transformer")
    else:
        place = 0 if stage == "stem" else int(stage.removeprefix("stage_"))
    halvings = 1 + place - (model.network.spec.family == "hematology" and place > 0)
    return side >> halvings


def _explain_batch(
    model: ExplainedModel,
    numbers: Sequence[int],
    batch: Sequence[_Loaded],
    methods: Sequence[Method],
    stage: str,
    wanted: int | None,
    judged: set[int],
    gathered: _Gathered,
    folder: Path,
    seed: int,
    query: tuple[float, float],
) -> "tuple[list[ExplainedImage], list[Pixels]]":
    """Maps, scores, arrays and pictures of a few images."""
    import numpy as np

    from leukoscope.scores import compute_probabilities

    images_NSSC = np.stack([one.pixels_SSC for one in batch])
    named = model.name(images_NSSC)
    p_NK = compute_probabilities(model.score(images_NSSC))
    targets = [wanted if wanted is not None else model.classes.index(one[0]) for one in named]
    made = {
        method: _build_maps(method, model.network, model.score, images_NSSC, targets, stage)
        for method in methods
    }
    layers = next((one.layers for one in made.values() if one.layers), ())
    missed = next((one.missed for one in made.values() if one.missed), [None] * len(batch))
    found, pictures = [], []
    for i, (number, one) in enumerate(zip(numbers, batch, strict=True)):
        own = {method: made[method].maps[i] for method in methods}
        place = f"{number + 1:04d}_{_tidy(one.path.stem)}"
        arrays: dict[str, Any] = {f"map_{method}_SS": own[method] for method in methods}
        for layer in layers:
            tag = layer.name.replace(" ", "_")
            arrays[f"attention_{tag}_GNN"] = layer.weights_BGNN[i].astype(np.float16)
        with replacing(folder / "arrays" / f"{place}.npz") as temporary, temporary.open("wb") as f:
            np.savez_compressed(
                f, image_SSC=one.pixels_SSC, probabilities_K=p_NK[i], target=np.int64(targets[i]),
                classes=np.array(model.classes), **arrays,
            )  # fmt: skip
        areas: dict[str, dict[CurveKind, float]] = {}
        inside: dict[str, float] = {}
        if number in judged:
            areas, inside = _measure(model, one, number, targets[i], own, stage, gathered, seed)
        label, confidence, decision = named[i]
        explained = ExplainedImage(
            one.path, label, confidence, decision, model.classes[targets[i]],
            folder / "overlays" / f"{place}.png", areas, inside,
            float(1 / one.inside_SS.mean()) if one.inside_SS is not None else None, missed[i],
        )  # fmt: skip
        gathered.namesakes += one.namesake
        row = _draw(explained, one, own, stage)
        _write_png(explained.row_png, row)
        found.append(explained)
        pictures.append(row)
        if layers and number < SHOWN_ATTENTION:
            _draw_heads(folder, place, one, layers, i, query)
    return found, pictures


def _tidy(stem: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)[:60]


def _measure(
    model: ExplainedModel,
    one: _Loaded,
    number: int,
    target: int,
    own: "dict[Method, Maps]",
    stage: str,
    gathered: _Gathered,
    seed: int,
) -> "tuple[dict[str, dict[CurveKind, float]], dict[str, float]]":
    """Score one image's maps and the maps that know nothing, and keep what the results need."""
    from leukoscope.explain.faithfulness import (
        build_centre_prior,
        build_random_maps,
        compute_area,
        compute_curve,
        compute_localisation,
    )

    side = len(one.pixels_SSC)
    judged: dict[str, Maps] = {name: map_SS for name, map_SS in own.items()}  # noqa: C416
    judged["centre"] = build_centre_prior(side)
    baselines: dict[str, Maps] = {}
    for method in own:
        grid = _find_grid(method, model, stage)
        baselines[method] = build_random_maps(1, grid, side, seed + number)[0]
        judged[f"random_{grid}"] = baselines[method]
    areas: dict[str, dict[CurveKind, float]] = {}
    kinds: tuple[CurveKind, ...] = ("deletion", "insertion")
    for name, map_SS in judged.items():
        areas[name] = {}
        for kind in kinds:
            curve = compute_curve(
                model.score, one.pixels_SSC, target, map_SS, kind, ties_SS=baselines.get(name)
            )
            gathered.curves.setdefault(name, {}).setdefault(kind, []).append(curve)
            areas[name][kind] = compute_area(curve)
    inside: dict[str, float] = {}
    if one.inside_SS is not None:
        for method, map_SS in own.items():
            inside[method], ceiling = compute_localisation(map_SS, one.inside_SS)
            gathered.localisation.setdefault(method, []).append(inside[method])
        gathered.ceiling.append(ceiling)
    else:
        gathered.without_cell += 1
    gathered.kept.append(_Kept(one.pixels_SSC, target, own))
    return areas, inside


# -- results -------------------------------------------------------------------------------------


def _judge(
    model: ExplainedModel,
    methods: Sequence[Method],
    stage: str,
    gathered: _Gathered,
    seed: int,
    progress: Progress,
) -> "tuple[FaithfulnessResult, ...]":
    from leukoscope.explain.faithfulness import Measured, compute_area, judge_method

    if not gathered.kept:
        return ()
    correlations = _correlate(model, methods, stage, gathered, seed, progress)

    def areas(name: str) -> "dict[CurveKind, list[float]]":
        return {k: [compute_area(c) for c in cs] for k, cs in gathered.curves[name].items()}

    results = []
    for method in methods:
        own = areas(method)
        results.append(
            judge_method(
                method,
                Measured(
                    own["deletion"], own["insertion"],
                    {"random": areas(f"random_{_find_grid(method, model, stage)}"),
                     "centre": areas("centre")},
                    correlations.get(method, {}), gathered.localisation.get(method, []),
                    gathered.ceiling,
                ),
            )
        )  # fmt: skip
    return tuple(results)


def _correlate(
    model: ExplainedModel,
    methods: Sequence[Method],
    stage: str,
    gathered: _Gathered,
    seed: int,
    progress: Progress,
) -> dict[Method, dict[str, list[float]]]:
    """Rank correlations with the maps of networks that lose more and more of their weights."""
    import numpy as np

    if model.network is None:
        return {}
    from leukoscope.explain.attribution import build_randomised, build_score
    from leukoscope.explain.faithfulness import compute_rank_correlation

    found: dict[Method, dict[str, list[float]]] = {method: {} for method in methods}
    kept, last = gathered.kept, "stem"
    total = 2 + len(model.network.stages)
    for done, (level, network) in enumerate(build_randomised(model.network, seed=seed), 1):
        score = build_score(network)
        for method in methods:
            if method in ("occlusion", "gradients") and level != last:
                continue  # dear, and only the last level is judged
            rhos: list[float] = []
            for start in range(0, len(kept), BATCH_SIZE):
                part = kept[start : start + BATCH_SIZE]
                made = _build_maps(
                    method, network, score, np.stack([one.pixels_SSC for one in part]),
                    [one.target for one in part], stage,
                )  # fmt: skip
                rhos += [
                    compute_rank_correlation(one.maps[method], map_SS)
                    for one, map_SS in zip(part, made.maps, strict=True)
                ]
            found[method][level] = rhos
        progress("Checking against random weights", done, total)
    return found


def _word_notes(
    model: ExplainedModel,
    methods: Sequence[Method],
    gathered: _Gathered,
    found: Sequence[ExplainedImage],
    errors: Mapping[str, str],
    boxed: bool,
) -> tuple[str, ...]:
    from leukoscope.explain.faithfulness import count_images

    notes = []
    if model.network is None:
        notes.append(
            "A bundle can be explained by occlusion only, and its weights cannot be randomised:"
            " explain the run folder for the rest."
        )
    if model.members > 1:
        notes.append(
            f"The names are those of an ensemble of {model.members} networks; the maps, and what"
            " was measured of them, are of its first member."
        )
    if errors:
        notes.append(f"Left out, since it cannot be read: {count_images(len(errors))}.")
    if not gathered.kept:
        notes.append("Faithfulness was not measured: nothing says that these maps are true.")
    if boxed and gathered.without_cell:
        notes.append(
            f"Judged without a box, so not by place: {count_images(gathered.without_cell)}."
        )
    if gathered.namesakes:
        notes.append(
            "With the name of an annotated image, but of another size or with other pixels, so that"
            f" its box was not used: {count_images(gathered.namesakes)}."
        )
    if "gradients" in methods:
        from leukoscope.explain.attribution import COMPLETE

        rough = [one.missed for one in found if one.missed is not None and one.missed > COMPLETE]
        if rough:
            notes.append(
                f"Integrated gradients are rough on {count_images(len(rough))}: up to"
                f" {100 * max(rough):.0f} % of what they should add up to is missing."
            )
    if "attention" in methods:
        notes.append(
            "Attention says which places a token was mixed from, whatever the class; it is no"
            " evidence for one."
        )
    return tuple(notes)


# -- writing --------------------------------------------------------------------------------------


def _write_png(path: Path, pixels_HWC: "Pixels") -> None:
    from PIL import Image

    with storage_errors(path):
        Image.fromarray(pixels_HWC).save(path, "PNG", optimize=True)


def _write_sheet(folder: Path, first: int, rows: "Sequence[Pixels]") -> None:
    from leukoscope.explain.overlays import draw_sheet

    number = first // ROWS_PER_SHEET + 1
    _write_png(folder / "sheets" / f"sheet_{number:03d}.png", draw_sheet(rows))


def _draw(image: ExplainedImage, one: _Loaded, own: "dict[Method, Maps]", stage: str) -> "Pixels":
    """The row of one image: original, then a tile per method, with what is known of each."""
    from leukoscope.explain.overlays import (
        BLOCK_PX,
        Tile,
        average_blocks,
        draw_original,
        draw_overlay,
        draw_row,
    )

    told = [f"{display_label(image.label)}, {100 * image.confidence:.1f} %"]
    if image.decision:
        told.append(image.decision)
    if image.target != image.label:
        told.append(f"explained: {display_label(image.target)}")
    if image.ceiling is not None:
        told.append(f"box: {100 / image.ceiling:.0f} % of the area")
    tiles = [Tile(draw_original(one.pixels_SSC, one.inside_SS), image.path.name, tuple(told))]
    for method, map_SS in own.items():
        lines = []
        for kind, areas in (image.areas.get(method) or {}).items():
            centre = image.areas["centre"][kind]
            lines.append(f"{kind} {areas:.2f} (centre {centre:.2f})")
        if method in image.localisation:
            lines.append(f"in the box: {image.localisation[method]:.1f} times its area")
        elif not lines:
            lines.append("not scored")
        title = name_method(method, stage)
        shown_SS = map_SS
        if method == "gradients":  # single pixels are too fine to be seen
            shown_SS = average_blocks(map_SS)
            lines.append(f"drawn in blocks of {BLOCK_PX} pixels")
        overlay = draw_overlay(one.pixels_SSC, shown_SS, one.inside_SS)
        tiles.append(Tile(overlay, title, tuple(lines)))
    return draw_row(tiles)


def _draw_heads(
    folder: Path,
    place: str,
    one: _Loaded,
    layers: "Sequence[AttentionLayer]",
    row: int,
    query: tuple[float, float],
) -> None:
    from leukoscope.report.explain_figures import draw_attention
    from leukoscope.report.figures import render_png

    pictures = {layer.name: (layer.weights_BGNN[row], layer.map_size) for layer in layers}
    with replacing(create_folder(folder / "attention") / f"{place}.png") as temporary:
        temporary.write_bytes(render_png(draw_attention(one.pixels_SSC, pictures, query)))


def _write_results(
    folder: Path,
    model: ExplainedModel,
    methods: tuple[Method, ...],
    stage: str,
    found: Sequence[ExplainedImage],
    errors: Mapping[str, str],
    gathered: _Gathered,
    results: "Sequence[FaithfulnessResult]",
    notes: Sequence[str],
) -> tuple[Path | None, tuple[str, ...]]:
    """Write the JSON, figures and page; return the page, and what could not be done."""
    import importlib.util

    write_json(
        folder / "faithfulness.json",
        {
            "model": str(model.path),
            "methods": list(methods),
            "stage": stage,
            "judged": len(gathered.kept),
            "results": [one.to_dict() for one in results],
            "notes": list(notes),
            "errors": dict(errors),
            "images": [
                {
                    "path": str(one.path),
                    "label": one.label,
                    "confidence": one.confidence if math.isfinite(one.confidence) else None,
                    "decision": one.decision,
                    "target": one.target,
                    "picture": f"overlays/{one.row_png.name}",
                    "areas": one.areas,
                    "localisation": one.localisation,
                    "ceiling": one.ceiling,
                    "missed": one.missed,
                }
                for one in found
            ],
            "provenance": {"weights_sha256": model.scorer.weights_sha256, **collect_provenance()},
        },
    )
    needed = ("jinja2", "matplotlib", "seaborn", "sklearn", "scipy")
    if any(importlib.util.find_spec(name) is None for name in needed):
        return None, ("No page and no figures: they need the extra `report`.",)
    from leukoscope.report.explain_page import draw_figures, render_explained

    figures = draw_figures(folder, methods, stage, gathered.curves, results, model.network)
    page = folder / "explain.html"
    shown = [(one.row_png, f"{one.path.name}: {display_label(one.label)}") for one in found]
    write_text(page, render_explained(model.path, methods, stage, shown, results, notes, figures))
    return page, ()
