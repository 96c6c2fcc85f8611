"""How a run or a bundle holds up under controlled corruptions of its images.

What this file does not do: it corrupts no image (`data.corrupt`) and computes no figure
(`evaluation.robustness`).
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.data.catalog import Catalog, ImageRecord, save_rejected
from leukoscope.data.groups import group_sources, sources_known
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import Split
from leukoscope.deploy.bundle import BUNDLE_JSON
from leukoscope.errors import ConfigError, DataError
from leukoscope.pipelines.data import name_data
from leukoscope.pipelines.evaluation import list_unknown, select_images
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.locate import locate_images, note_located
from leukoscope.pipelines.outputs import check_new_folder
from leukoscope.pipelines.runs import load_run_split
from leukoscope.pipelines.scorers import open_scorer
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder, collect_provenance
from leukoscope.storage import create_folder, replacing_together, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.corrupt import Corruption
    from leukoscope.evaluation.leakage import Leakage
    from leukoscope.evaluation.robustness import Robustness
    from leukoscope.report.page import Drawings
    from leukoscope.scores import ScoreTable
    from leukoscope.trust.notes import Note


@dataclass(frozen=True)
class RobustnessRun:
    """What was found, and where page, figures and tables lie."""

    found: "Robustness"
    out: Path

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.out / "robustness.html"


@dataclass(frozen=True)
class _Sample:
    """The images to evaluate on, how far figures on them can be trusted and why, and what was left
    out; `rejected` is None where nothing was scanned."""

    name: str
    records: tuple[ImageRecord, ...]
    leakage: "Leakage"
    warnings: "tuple[Note, ...]"
    rejected: tuple[Rejected, ...] | None = None


def measure_robustness(
    model: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    class_level: int | None = None,
    images: int = 500,
    seed: int = 0,
    progress: Progress = silent,
) -> RobustnessRun:
    """Measure a run or a bundle on images with controlled corruptions, and write a page about it.

    A run is evaluated on the test images of its own split, or on `data`; a bundle, which carries no
    images, on `data` (`class_level` as in `scan_images`). At most `images` of them count, drawn by
    `seed` with all classes alike in share (0: all). Corruptions are applied to the resized image,
    before its colours are standardised, as in use. Writes `robustness.html`, `robustness.json`,
    `robustness.csv` and `figures/`.

    The record says whether images have a duplicate in training, and how many were left out and why.

    Raises `ConfigError` for a bundle without `data`, `DataError` where no image is of a class that
    the network knows, `RunError` if `out` is a file or holds something, `MissingExtraError` without
    the extra `train` (a run) or `sources`.
    """
    import numpy as np

    require_extra("report")
    require_extra("sources")
    from leukoscope.data.corrupt import AMOUNTS, SEVERITIES, Corruption, corrupt_image
    from leukoscope.data.images import load_pixels
    from leukoscope.data.stain import standardise_stain
    from leukoscope.evaluation.robustness import (
        Robustness,
        RobustnessProvenance,
        compute_mean_losses,
        measure_levels,
    )
    from leukoscope.report.data_words import describe_rejected
    from leukoscope.report.frame import render_html
    from leukoscope.report.robustness_page import describe_robustness
    from leukoscope.scoring import score_records

    path, folder = Path(model), Path(out)
    check_new_folder(folder)
    if data is None and (path / BUNDLE_JSON).is_file():
        raise ConfigError(
            "a bundle carries no images to be evaluated on",
            "no --data",
            "give labelled images by --data, or the run folder instead of the bundle",
        )
    scorer, run = open_scorer(path), RunFolder(path)
    is_run = run.model.is_file()
    split = load_run_split(run) if is_run else None
    listed = folder / "rejected.csv"
    sample = _select_images(
        split, scorer.classes, data, class_level, listed, images, seed, progress
    )
    config, trust = scorer.input, scorer.trust
    records = locate_images(sample.records, config, progress)
    resized = []
    for done, record in enumerate(records, start=1):
        resized.append(
            load_pixels(
                record.path, config.image_size, record.box, config.resize, config.interpolation
            )
        )
        progress("Decoding images", done, len(records))
    catalog = Catalog(records)
    sources = group_sources(catalog)

    def corrupt(i: int, corruption: Corruption, severity: int) -> "NDArray[np.uint8]":
        pixels_SSC = corrupt_image(resized[i], corruption, severity, seed + i)
        return standardise_stain(pixels_SSC, config)

    def score(corruption: Corruption, severity: int) -> "ScoreTable":
        images_NSSC = np.stack([corrupt(i, corruption, severity) for i in range(len(records))])
        return score_records(
            scorer, records, images_NSSC, ["test"] * len(records), sources, sources_known(catalog)
        )

    levels = measure_levels(score, trust, progress)
    labels = Counter(record.label for record in records)
    found = Robustness(
        model=scorer.name,
        data=sample.name,
        n_images=len(records),
        n_sources=len(set(sources)),
        majority=max(labels.values()) / len(records),
        decides=trust is not None,
        leakage_status=sample.leakage.status,
        remarks=sample.leakage.remarks,
        split_findings=sample.leakage.split_findings,
        warnings=sample.warnings + note_located(records),
        amounts=AMOUNTS,
        levels=levels,
        mean_loss=compute_mean_losses(levels),
        provenance=RobustnessProvenance(
            **vars(collect_provenance()),
            weights_sha256=scorer.weights_sha256,
            seed=seed,
            images=images,
        ),
    )
    examples = {name: [corrupt(0, name, s) for s in (0, *SEVERITIES)] for name in AMOUNTS}
    with replacing_together(folder, last="robustness.json") as staged:
        drawn = _draw(found, examples, create_folder(staged / "figures"))
        if sample.rejected is not None or listed.is_file():
            # A list of an earlier call must not speak for this one.
            save_rejected(sample.rejected or (), staged / listed.name, describe_rejected)
        write_text(staged / "robustness.csv", _write_table(found))
        write_text(staged / "robustness.html", render_html(describe_robustness(found, drawn)))
        save_record(found, staged / "robustness.json")
    return RobustnessRun(found, folder)


def _draw(
    found: "Robustness", examples: "Mapping[Corruption, Sequence[NDArray[np.uint8]]]", folder: Path
) -> "Drawings":
    from leukoscope.report.figures import save_figure
    from leukoscope.report.page import Picture
    from leukoscope.report.robustness_figures import draw_corruptions, draw_robustness

    _, svg = save_figure(draw_robustness(found), folder, "robustness")
    png, _ = save_figure(draw_corruptions(examples), folder, "corruptions")
    return {
        "robustness": Picture(
            svg.read_text("utf-8"), "Accuracy against severity, a panel for each corruption"
        ),
        "corruptions": Picture(png.read_bytes(), "One cell under each corruption, by severity"),
    }


def _select_images(
    split: Split | None,
    classes: Sequence[str],
    data: str | Path | None,
    class_level: int | None,
    rejected: Path,
    images: int,
    seed: int,
    progress: Progress,
) -> _Sample:
    """`split` is what a run was trained on; None for a bundle, which does not carry it."""
    from leukoscope.evaluation.leakage import Leakage, assess_other, assess_role
    from leukoscope.trust.notes import Note

    chosen: tuple[ImageRecord, ...]
    warnings: tuple[Note, ...] = ()
    left_out: tuple[Rejected, ...] = ()
    if data is not None:
        name = Path(data).resolve().name
        chosen, warnings, left_out = select_images(
            Path(data), "test", progress, class_level, rejected, at_once=False
        )
        if left_out:
            warnings += (Note("files_rejected", {"n": len(left_out)}),)
    else:
        assert split is not None  # a bundle without data was rejected
        name = name_data(split)
        pairs = zip(split.catalog.records, split.roles, strict=True)
        chosen = tuple(record for record, role in pairs if role == "test")
    warnings += list_unknown(chosen, classes)
    known = [record for record in chosen if record.label in classes]
    if not known:
        raise DataError(
            f"robustness is measured on images of {', '.join(classes)}",
            "none of these",
            "check the labels of the data",
        )
    records = _draw_sample(known, images, seed)
    if split is None:
        leakage = Leakage("unproven", (Note("training_unknown"),))
    elif data is not None:
        leakage = assess_other(split, records, classes, name)
    else:
        leakage = assess_role(split, "test")
        n = sum(record.id in leakage.leaked for record in records)
        if n:
            remark = Note("duplicates_in_sample", {"n": n, "n_images": len(records)})
            leakage = replace(leakage, remarks=(remark, *leakage.remarks))
    return _Sample(name, records, leakage, warnings, left_out if data is not None else None)


def _draw_sample(records: Sequence[ImageRecord], images: int, seed: int) -> tuple[ImageRecord, ...]:
    """Some records, at most so many, each class in its share and one at least as far as they go; in
    their order."""
    import numpy as np

    if not images or len(records) <= images:
        return tuple(records)
    rng = np.random.default_rng(seed)
    labels = np.array([record.label for record in records])
    place_N = np.zeros(len(records))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        # Whatever number is cut off, each class is cut at the same share of its images.
        place_N[rng.permutation(own)] = np.arange(len(own)) / len(own)
    order = np.lexsort((rng.random(len(records)), place_N))
    return tuple(records[i] for i in sorted(order[:images].tolist()))


def _write_table(found: "Robustness") -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["corruption", "severity", "accuracy", "accuracy_low", "accuracy_high", "loss", "loss_low",
         "loss_high", "balanced_accuracy", "confidence", "ece", "accepted", "accepted_accuracy",
         "detected"]
    )  # fmt: skip
    for level in found.levels:
        figures = (
            *(level.accuracy.value, level.accuracy.low, level.accuracy.high),
            *(level.loss.value, level.loss.low, level.loss.high),
            *(level.balanced_accuracy, level.confidence, level.ece),
            *(level.accepted.value, level.accepted_accuracy.value),
        )
        cells = ["" if math.isnan(x) else f"{x:.6f}" for x in figures]
        writer.writerow([level.corruption, level.severity, *cells, int(level.detected)])
    return out.getvalue()
