"""From a trained run or an ensemble, the teacher, to one compact network that answers as it does.

What this file does not do: the student is trained by `train_run`, like any other network.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import Recipe
from leukoscope.errors import ConfigError, SplitError
from leukoscope.pipelines.data import used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import (
    TrainedRun,
    find_packs,
    load_run_scores,
    load_run_split,
    train_run,
)
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder

if TYPE_CHECKING:
    from leukoscope.data.images import Pixels
    from leukoscope.evaluation.comparison import ComparedNetwork, DistillationComparison
    from leukoscope.training.loop import TrainingReporter
    from leukoscope.training.trained import TrainedNetwork

_TIMED_IMAGES = 32


@dataclass(frozen=True)
class DistilledRun:
    """What `distill_run` left: the student's run, and the student beside its teacher."""

    run: TrainedRun
    found: "DistillationComparison"


def distill_run(
    teacher: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    packs: str | Path | None = None,
    progress: Progress = silent,
    reporter: "TrainingReporter | None" = None,
) -> DistilledRun:
    """Train a student on its teacher's split, and compare the two on images new to both.

    `teacher` is a run folder, of one network or of an ensemble. The student sees the teacher's
    training images as the recipe augments them, and learns what the teacher says of the very same
    view (Beyer et al. 2022), softened by `distill.temperature`, with a share of
    `distill.label_weight` for the true labels (Hinton et al. 2015). Every step asks the teacher, so
    one of M members and V views adds M * V evaluations to each image. The student's folder is an
    ordinary run, whose recipe and provenance name the teacher's hash; it can be interrupted and
    resumed like one. `distillation.json` says what was lost: figures of both with intervals,
    changed decisions, size and time.

    Raises what `train_run` raises; `SplitError` where the teacher's members left no image out of
    training.
    """
    require_extra("train")
    from leukoscope.evaluation.comparison import (
        DistillationComparison,
        compute_agreement,
        compute_rows,
    )
    from leukoscope.training.trained import load_trained

    folder = RunFolder(Path(teacher))
    if Path(out).resolve() == folder.path.resolve():
        raise ConfigError(
            "a student needs a folder of its own", f"{out}, which is its teacher's", "choose --out"
        )
    trained = load_trained(folder)
    split = load_run_split(folder)
    if "val" not in split.roles:
        raise SplitError(
            "a student is chosen on images that did not train its teacher",
            f"{folder.path} has no images in the role val",
            "distil an ensemble whose members share one split, with different seeds",
        )
    distill = recipe.distill.model_copy(update={"teacher": trained.weights_sha256})
    recipe = recipe.model_copy(update={"distill": distill})
    run = train_run(
        split,
        recipe,
        out,
        resume=resume,
        packs=packs or find_packs(folder),
        progress=progress,
        reporter=reporter,
        teacher=trained,
    )
    student = load_trained(run.folder)
    names = [f"{one.name} ({one.network.spec.name})" for one in (trained, student)]
    own, taught = (load_run_scores(one) for one in (folder, run.folder))
    rows = compute_rows(dict(zip(names, (own, taught), strict=True)), ("calib", "test"))
    parity = tuple(
        found
        for role in ("calib", "test")
        if (found := compute_agreement(own, taught, role)) is not None
    )
    pixels = _load_pixels(run.folder, student, packs or find_packs(folder))
    comparison = DistillationComparison(
        teacher=_describe(trained, pixels),
        student=_describe(student, pixels),
        distill=distill,
        figures=rows,
        parity=parity,
    )
    if os.environ.get("RANK", "0") == "0":
        save_record(comparison, run.folder.distillation)
    return DistilledRun(run, comparison)


def _load_pixels(run: RunFolder, student: "TrainedNetwork", packs: str | Path) -> "Pixels":
    from leukoscope.data.pack import build_pack

    records, _ = used_rows(load_run_split(run))
    return build_pack(records, student.input, Path(packs))[:_TIMED_IMAGES]


def _describe(network: "TrainedNetwork", pixels_NSSC: "Pixels") -> "ComparedNetwork":
    import time

    from leukoscope.evaluation.comparison import ComparedNetwork

    seconds = []
    for _ in range(4):  # the first is a warm-up
        start = time.perf_counter()
        network.score(pixels_NSSC)
        seconds.append(time.perf_counter() - start)
    return ComparedNetwork(
        run=network.name,
        network=network.network.spec.name,
        sha256=network.weights_sha256,
        parameters=sum(p.numel() for p in network.network.parameters()),
        ms_per_image=1000 * min(seconds[1:]) / len(pixels_NSSC),
    )
