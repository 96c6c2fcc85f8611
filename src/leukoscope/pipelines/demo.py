"""The main job, from images to a report, in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import load_recipe
from leukoscope.data.groups import sources_known
from leukoscope.errors import DataError
from leukoscope.pipelines.data import scan_images, split_catalog, trace_sources
from leukoscope.pipelines.evaluation import Evaluation, evaluate_run
from leukoscope.pipelines.runs import train_run
from leukoscope.pipelines.trust import calibrate_run
from leukoscope.progress import Progress, silent

if TYPE_CHECKING:
    from leukoscope.training.loop import TrainingReporter


def run_demo(
    data: str | Path | None,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    class_level: int | None = None,
    progress: Progress = silent,
    reporter: "TrainingReporter | None" = None,
) -> Evaluation:
    """Do the main job once: catalog, sources, split, train with `quick`, calibrate, evaluate.

    Sources that the data do not name are found in the pixels, so that no duplicate crosses the
    split. `class_level` is that of `scan_images`. Without `data`, cells are painted into
    `out/painted`, with known sources. A run that was interrupted goes on. Where the cells are too
    few to calibrate on, the report is of a network that never rejects, and `uncalibrated` says why.
    """
    out = Path(out)
    settings = list(overrides)
    if data is None:
        from leukoscope.painted.cells import save_painted

        data = save_painted(
            out / "painted",
            480,
            copies=2,
            on_progress=lambda d, t: progress("Painting cells", d, t),
        )
        settings = [*DEMO_SETTINGS, *settings]
    catalog = scan_images(data, out / "catalog.csv", class_level=class_level, progress=progress)
    if not sources_known(catalog):
        catalog = trace_sources(catalog, out / "sources.csv", progress=progress).catalog
    split = split_catalog(catalog, out=out / "split.csv", progress=progress)
    recipe = load_recipe("quick", settings)
    train_run(split, recipe, out / "run", resume=True, progress=progress, reporter=reporter)
    try:
        calibrate_run(out / "run", progress=progress)
    except DataError as error:
        return replace(evaluate_run(out / "run", progress=progress), uncalibrated=str(error))
    return evaluate_run(out / "run", progress=progress)


DEMO_SETTINGS = (
    "input.image_size=96",
    "train.epochs=20",
    "trust.class_conditional=false",
    "trust.target_accuracy=0.9",
)
"""Painted cells are few and small: smaller input, more epochs, and promises that some forty
calibration sources can keep."""
