"""Explain predictions: maps over images, and whether these maps are faithful.

What this file does not do: it makes and evaluates no map (`leukoscope.explain`), opens no model
(`pipelines.explain_model`), and words nothing (`report.explain_page`). Axes: N images, S side.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukoscope.errors import ConfigError, DataError, ImageError
from leukoscope.explain.methods import Method
from leukoscope.explain.record import ExplainedImage, Explanation, UnreadableImage
from leukoscope.pipelines.explain_boxes import Boxes, check_boxes, load_boxes, move_boxes
from leukoscope.pipelines.explain_model import (
    ExplainedModel,
    choose_methods,
    choose_stage,
    find_class,
    find_sources,
    open_model,
)
from leukoscope.pipelines.locate import Locator
from leukoscope.pipelines.outputs import check_new_folder
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import ModelProvenance, collect_provenance
from leukoscope.storage import (
    build_name,
    create_folder,
    replacing,
    replacing_together,
    storage_errors,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.readers import Rejected
    from leukoscope.explain.explainer import Explainer, Maps
    from leukoscope.explain.maps import AttentionLayer
    from leukoscope.explain.study import ImageScores, Study
    from leukoscope.report.page import Drawings

    Pixels = NDArray[np.uint8]

EVALUATED = 24
"""Images that faithfulness is measured on unless asked otherwise."""

BATCH_SIZE = 16
ROWS_PER_SHEET = 6
SHOWN_ATTENTION = 4
"""Images whose heads are drawn; the arrays have all of them."""
SHOWN_IMAGES = 24
"""Pictures on the page at most; the folder has all of them."""


@dataclass(frozen=True)
class ExplainedFolder:
    """What was found, and the folder that holds it. `page` is None without the extra `report`;
    `passed_over` are the other files of folders, listed in `rejected.csv` with the unreadable."""

    found: Explanation
    out: Path
    page: Path | None
    passed_over: "tuple[Rejected, ...]" = ()


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
    evaluate: int = EVALUATED,
    seed: int = 0,
    progress: Progress = silent,
) -> ExplainedFolder:
    """Explain predictions on images, measure how faithful the maps are, and write it all to `out`.

    `model` is a run folder, or a bundle, for which occlusion is all there is: the rest needs
    gradients or attention weights, which no bundle has. `methods` are those of `METHODS` (none
    given: `RUN_METHODS`, or occlusion); `stage` is where class activation maps are taken;
    `target` the class to explain (None: the one that is predicted); `boxes` a Pascal-VOC folder
    that frames the cells of these images under `box_label`; `query` the place whose attention is
    drawn, as shares of height and width; `evaluate` the number of images, taken evenly from the
    list, that faithfulness is measured on (0: none).

    Writes `arrays/*.npz` (signed maps, attention, probabilities; nothing pickled),
    `overlays/*.png`, `sheets/*.png`, `faithfulness.json`, `explain.html`; with attention,
    `attention/*.png` too.

    Raises `DataError` where no image can be read, or a box folder frames none of them;
    `ConfigError` for an unknown method, stage or class, or a query outside of the image; `RunError`
    if `model` is neither run nor bundle or `out` holds something; `MissingExtraError` without the
    extra `explain` (a run). After any of these nothing was written.
    """
    import numpy as np

    from leukoscope.data.catalog import save_rejected
    from leukoscope.data.readers import Rejected
    from leukoscope.deploy.files import list_images
    from leukoscope.explain.explainer import Explainer
    from leukoscope.explain.study import Study
    from leukoscope.report.data_words import describe_rejected

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
    explainer = Explainer(
        opened.score, opened.network, opened.input.image_size, choose_stage(opened, stage, chosen)
    )
    wanted = find_class(opened, target)
    files = list_images(images)
    paths = files.paths
    framed = load_boxes(Path(boxes), box_label) if boxes is not None else None
    if framed is not None:
        check_boxes(framed, paths)
    evaluated = set(np.linspace(0, len(paths) - 1, min(evaluate, len(paths))).round().astype(int))
    study = Study(explainer, chosen, seed)
    sources = find_sources(opened)
    with replacing_together(folder, last="faithfulness.json") as staged:
        writer = _Writer(staged, explainer, query)
        unreadable: list[UnreadableImage] = []
        n_same_name = 0
        for batch in _read_batches(paths, opened, framed, unreadable):
            for image in _explain_batch(opened, study, batch, wanted, evaluated, sources):
                writer.write(image, opened.classes)
            n_same_name += sum(one.same_name for one in batch)
            progress("Explaining", batch[-1].number + 1, len(paths))
        writer.finish()
        left_out = [Rejected(one.path, one.reason, found=one.found) for one in unreadable]
        listed = (*left_out, *files.passed_over)
        if not writer.images:
            save_rejected(listed, folder / "rejected.csv", describe_rejected)
            first = unreadable[0]
            raise DataError(
                "at least one image must be readable",
                f"none of {len(paths)}; first: {first.reason}: {first.found}",
                "check the files",
            )
        found = Explanation(
            model=str(opened.path),
            is_bundle=opened.network is None,
            n_members=opened.members,
            methods=chosen,
            stage=explainer.stage,
            n_evaluated=len(study.scores),
            n_sources=len({one.source for one in study.scores}),
            n_without_box=0 if framed is None else sum(x.ceiling is None for x in study.scores),
            n_same_name=n_same_name,
            results=study.conclude(progress),
            images=tuple(writer.images),
            unreadable=tuple(unreadable),
            provenance=ModelProvenance(
                **vars(collect_provenance()), weights_sha256=opened.scorer.weights_sha256
            ),
        )
        page = _write_page(found, study, staged)
        save_rejected(listed, staged / "rejected.csv", describe_rejected)
        save_record(found, staged / "faithfulness.json")
    return ExplainedFolder(
        found, folder, folder / page.name if page is not None else None, files.passed_over
    )


# -- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """An image, its place in the list, and where its cell lies (None: nobody knows)."""

    number: int
    path: Path
    pixels_SSC: "Pixels"
    inside_SS: "NDArray[np.float32] | None" = None
    same_name: bool = False


def _read_batches(
    paths: Sequence[Path],
    model: ExplainedModel,
    framed: Boxes | None,
    unreadable: list[UnreadableImage],
) -> Iterator[list[_Loaded]]:
    batch: list[_Loaded] = []
    locator = Locator(model.input) if model.input.cells == "located" else None
    for number, path in enumerate(paths):
        try:
            batch.append(_read(number, path, model, framed, locator))
        except ImageError as error:
            unreadable.append(UnreadableImage(str(path), error.reason, error.found))
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def _read(
    number: int,
    path: Path,
    model: ExplainedModel,
    framed: Boxes | None,
    locator: Locator | None,
) -> _Loaded:
    from leukoscope.data.images import decode_file, prepare_image
    from leukoscope.explain.faithfulness import build_inside

    config = model.input
    whole_HWC = decode_file(path)
    height, width = whole_HWC.shape[:2]
    seen = (0, 0, width, height) if locator is None else locator.locate(whole_HWC).box
    pixels_SSC = prepare_image(whole_HWC[seen[1] : seen[3], seen[0] : seen[2]], config)
    if framed is None:
        return _Loaded(number, path, pixels_SSC)
    found, same_name = framed.find(path, whole_HWC)
    mine = move_boxes(found, seen)
    width, height = seen[2] - seen[0], seen[3] - seen[1]
    inside_SS = build_inside(mine, width, height, config.image_size, config.resize)
    return _Loaded(number, path, pixels_SSC, inside_SS if inside_SS.any() else None, same_name)


# -- explaining -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Explained:
    """One image with its maps and prediction; `row` is its row in the maps of a batch, `scores` are
    None where it was not evaluated."""

    loaded: _Loaded
    row: int
    made: "dict[Method, Maps]"
    target: int
    label: str
    confidence: float
    decision: str
    probabilities_K: "NDArray[np.float32]"
    scores: "ImageScores | None"

    @property
    def maps(self) -> "dict[Method, NDArray[np.float32]]":
        return {method: made.maps_NSS[self.row] for method, made in self.made.items()}

    @property
    def layers(self) -> "Sequence[AttentionLayer]":
        return next((made.layers for made in self.made.values() if made.layers), ())

    @property
    def missed(self) -> float | None:
        found = next((made.missed_N for made in self.made.values() if made.missed_N), None)
        return found[self.row] if found is not None else None


def _explain_batch(
    model: ExplainedModel,
    study: "Study",
    batch: Sequence[_Loaded],
    wanted: int | None,
    evaluated: set[int],
    sources: Mapping[Path, str],
) -> Iterator[_Explained]:
    import numpy as np

    from leukoscope.scores import compute_probabilities

    images_NSSC = np.stack([one.pixels_SSC for one in batch])
    named = model.predict(images_NSSC)
    p_NK = compute_probabilities(model.score(images_NSSC))
    targets = [wanted if wanted is not None else model.classes.index(one[0]) for one in named]
    made = {
        method: study.explainer.build_maps(method, images_NSSC, targets) for method in study.methods
    }
    for i, one in enumerate(batch):
        maps = {method: made[method].maps_NSS[i] for method in made}
        scores = None
        if one.number in evaluated:
            source = sources.get(one.path.resolve(), f"image {one.number}")
            scores = study.add(one.number, one.pixels_SSC, targets[i], maps, one.inside_SS, source)
        yield _Explained(one, i, made, targets[i], *named[i], p_NK[i], scores)


# -- writing --------------------------------------------------------------------------------------


class _Writer:
    """Writes arrays and pictures of each image, and sheets of several. Folders are made with the
    first image: whatever is wrong with all of them leaves no folder behind."""

    def __init__(self, folder: Path, explainer: "Explainer", query: tuple[float, float]) -> None:
        self.folder, self.stage, self.query = folder, explainer.stage, query
        self.images: list[ExplainedImage] = []
        self._rows: list[Pixels] = []

    def write(self, one: _Explained, classes: tuple[str, ...]) -> None:
        """Write the files of one image."""
        from leukoscope.report.overlays import draw_explained

        for name in ("arrays", "overlays", "sheets"):
            create_folder(self.folder / name)
        loaded = one.loaded
        name = f"{loaded.number + 1:04d}_{build_name(loaded.path.stem)[:60]}"
        self._save_arrays(name, one, classes)
        image = _build_image(one, classes, f"overlays/{name}.png")
        row = draw_explained(image, loaded.pixels_SSC, one.maps, self.stage, loaded.inside_SS)
        _write_png(self.folder / image.picture, row)
        if one.layers and loaded.number < SHOWN_ATTENTION:
            self._draw_heads(name, one)
        self.images.append(image)
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_SHEET:
            self.finish()

    def finish(self) -> None:
        """Write the rows that are left as a sheet."""
        from leukoscope.report.overlays import draw_sheet

        if self._rows:
            number = -(-len(self.images) // ROWS_PER_SHEET)
            path = self.folder / "sheets" / f"sheet_{number:03d}.png"
            _write_png(path, draw_sheet(self._rows))
        self._rows = []

    def _save_arrays(self, name: str, one: _Explained, classes: tuple[str, ...]) -> None:
        import numpy as np

        arrays: dict[str, Any] = {f"map_{method}_SS": own for method, own in one.maps.items()}
        for layer in one.layers:
            tag = layer.name.replace(" ", "_")
            arrays[f"attention_{tag}_GNN"] = layer.weights_BGNN[one.row].astype(np.float16)
        path = self.folder / "arrays" / f"{name}.npz"
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                image_SSC=one.loaded.pixels_SSC,
                probabilities_K=one.probabilities_K,
                target=np.int64(one.target),
                classes=np.array(classes),
                **arrays,
            )

    def _draw_heads(self, name: str, one: _Explained) -> None:
        from leukoscope.report.explain_figures import draw_attention
        from leukoscope.report.figures import render_png

        layers = {x.name: (x.weights_BGNN[one.row], x.map_size) for x in one.layers}
        path = create_folder(self.folder / "attention") / f"{name}.png"
        with replacing(path) as temporary:
            figure = draw_attention(one.loaded.pixels_SSC, layers, self.query)
            temporary.write_bytes(render_png(figure))


def _build_image(one: _Explained, classes: tuple[str, ...], picture: str) -> ExplainedImage:
    from leukoscope.explain.study import compute_pair_areas

    inside_SS, scores = one.loaded.inside_SS, one.scores
    image = ExplainedImage(
        path=str(one.loaded.path),
        label=one.label,
        confidence=one.confidence,
        decision=one.decision,
        target=classes[one.target],
        picture=picture,
        ceiling=float(1 / inside_SS.mean()) if inside_SS is not None else None,
        missed=one.missed,
    )
    if scores is None:
        return image
    return replace(
        image,
        areas={method: compute_pair_areas(pair) for method, pair in scores.curves.items()},
        random_areas={method: compute_pair_areas(pair) for method, pair in scores.random.items()},
        centre_areas=compute_pair_areas(scores.centre),
        localisation=scores.localisation,
    )


def _write_png(path: Path, pixels_HWC: "Pixels") -> None:
    from PIL import Image

    with storage_errors(path):
        Image.fromarray(pixels_HWC).save(path, "PNG", optimize=True)


def _write_page(found: Explanation, study: "Study", folder: Path) -> Path | None:
    """Write figures and page; None without the packages for them."""
    needed = ("jinja2", "matplotlib", "seaborn", "sklearn", "scipy")
    if any(importlib.util.find_spec(name) is None for name in needed):
        return None
    from leukoscope.report.explain_page import describe_explanation
    from leukoscope.report.frame import render_html

    page = folder / "explain.html"
    drawn = _draw(found, study, folder)
    write_text(page, render_html(describe_explanation(found, drawn)))
    return page


def _draw(found: Explanation, study: "Study", folder: Path) -> "Drawings":
    from leukoscope.report.explain_figures import draw_biases, draw_curves
    from leukoscope.report.explain_page import describe_image
    from leukoscope.report.figures import render_png
    from leukoscope.report.page import Picture

    drawn: dict[str, Picture] = {}
    figures = {}
    if found.results:
        curves = draw_curves(
            {m: [one.curves[m] for one in study.scores] for m in found.methods},
            {n: [one.random[m] for one in study.scores] for m, n in study.grids.items()},
            [one.centre for one in study.scores],
            found.stage,
        )
        figures["curves"] = (curves, "Curves of deletion and insertion, by method")
    network = study.explainer.network
    if network is not None and "attention" in found.methods:
        from leukoscope.explain.maps import list_biases

        figures["relative_bias"] = (
            draw_biases(list_biases(network)),
            "Learned relative bias by layer and head",
        )
    for name, (figure, alt) in figures.items():
        png = render_png(figure)
        drawn[name] = Picture(png, alt)
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
    for path in sorted((folder / "attention").glob("*.png"))[:1]:
        drawn["attention"] = Picture(
            path.read_bytes(), "Attention by layer and head from one place of the first image"
        )
    for image in found.images[:SHOWN_IMAGES]:
        alt = describe_image(image.label, image.path, found.methods)
        drawn[image.picture] = Picture((folder / image.picture).read_bytes(), alt)
    return drawn
