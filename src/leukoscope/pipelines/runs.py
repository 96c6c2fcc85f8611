"""From a split to a trained network and its score table, in a run folder.

What this file does not do: it measures nothing (`pipelines.evaluation`).
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import Recipe
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import group_sources, sources_known
from leukoscope.data.splits import Split, SplitAudit, audit_split, save_split
from leukoscope.errors import ConfigError, RunError, SplitError
from leukoscope.pipelines.data import load_table, scan_images, used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.progress import Progress, silent
from leukoscope.records import read_json, write_json
from leukoscope.runfolder import RunFolder, collect_provenance
from leukoscope.storage import create_folder, hash_file, remove_leftovers, replacing

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator
    from numpy.typing import NDArray

    from leukoscope.data.batches import Pixels
    from leukoscope.scores import ScoreTable
    from leukoscope.training.loop import EpochResult, TrainingReporter
    from leukoscope.training.trained import TrainedNetwork


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves: the folder, the history, and the split's audit."""

    folder: RunFolder
    history: tuple["EpochResult", ...]
    audit: SplitAudit


def train_run(
    split: Split,
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    packs: str | Path | None = None,
    progress: Progress = silent,
    reporter: "TrainingReporter | None" = None,
    teacher: "TrainedNetwork | None" = None,
) -> TrainedRun:
    """Train a network on a split and write its run folder, score table included.

    With `resume` an interrupted run goes on where its last checkpoint stands; a finished one is
    only scored again. `packs` is a folder of decoded images that runs share (see `pack_images`);
    without it the run keeps its own. Works under `accelerate launch` and `torchrun`; only the
    main process writes. With a `teacher`, whose hash the recipe must name, the network is its
    student (`distill_run` does this).

    Raises `SplitError` when a role that training needs is empty, `ConfigError` for a teacher of
    other classes or input, or another one than the recipe's, `RunError` when the folder holds
    another run, `RunLockedError` while another process works in it; and what the loop raises.
    """
    require_extra("train")
    import contextlib

    from leukoscope.training.device import build_accelerator, choose_precision, pick_device

    run = RunFolder(Path(out))
    _check_teacher(split, recipe, teacher)
    for role in ("train", "val"):
        if role not in split.roles:
            raise SplitError(
                f"training needs images in the role {role}",
                f"roles {', '.join(sorted(set(split.roles) - {''})) or 'none'}",
                "make the split with `leukoscope data split`",
            )
    is_main = os.environ.get("RANK", "0") == "0"
    with run.lock() if is_main else contextlib.nullcontext():
        if recipe.train.precision == "auto":
            # A resumed run keeps what was measured when it began.
            precision = (
                read_json(run.recipe)["train"]["precision"]
                if (resume and run.recipe.is_file())
                else choose_precision(pick_device())
            )
            train = recipe.train.model_copy(update={"precision": precision})
            recipe = recipe.model_copy(update={"train": train})
        accelerator = build_accelerator(recipe.train.precision)  # type: ignore[arg-type]
        if is_main:
            _open_run(run, split, recipe, resume, Path(packs) if packs else None)
        accelerator.wait_for_everyone()
        return _train_and_score(
            split, recipe, run, accelerator, resume, progress, reporter, teacher
        )


def _check_teacher(split: Split, recipe: Recipe, teacher: "TrainedNetwork | None") -> None:
    named = recipe.distill.teacher
    if named != (teacher.sha256 if teacher else ""):
        raise ConfigError(
            "a recipe that names a teacher is trained with it",
            f"distill.teacher={named[:16] or 'none'},"
            f" teacher {teacher.sha256[:16] if teacher else 'none'}",
            "use `leukoscope distill TEACHER_RUN`, and leave distill.teacher to it",
        )
    if teacher is None:
        return
    classes = tuple(sorted({record.label for record in used_rows(split)[0]}))
    if (classes, recipe.input) != (teacher.classes, teacher.input):
        own, wanted = recipe.input.model_dump(), teacher.input.model_dump()
        raise ConfigError(
            "a student needs the classes and the input of its teacher",
            f"classes {', '.join(classes)} and {own}; the teacher has"
            f" {', '.join(teacher.classes)} and {wanted}",
            " ".join(f"--set input.{k}={v}" for k, v in wanted.items() if own[k] != v)
            or "train on a split with the teacher's classes",
        )


@dataclass(frozen=True)
class Packed:
    """What `pack_images` left: the file, how many images of what size, and its bytes."""

    path: Path
    images: int
    image_size: int
    bytes: int


def pack_images(
    source: str | Path | Split | Catalog,
    recipe: Recipe,
    out: str | Path,
    *,
    progress: Progress = silent,
) -> Packed:
    """Decode and resize images once, for all runs that share the folder `out`.

    `source` is a split (rows without a role are left out), a catalog, or a path to one, to another
    table or to a folder of images.

    The pack is named by its content: training with `packs=out` finds it whatever the run, as long
    as images and `recipe.input` are the same. A pack that is there is checked byte by byte; a
    build that was interrupted goes on.

    Raises `ImageError` for an image that cannot be read or has changed, `StorageError`.
    """
    from leukoscope.data.pack import build_pack, find_pack

    if isinstance(source, str | Path):
        source = load_table(Path(source)) or scan_images(source, progress=progress)
    records = used_rows(source)[0] if isinstance(source, Split) else list(source.records)
    build_pack(
        records,
        recipe.input,
        Path(out),
        lambda d, t: progress("Decoding images", d, t),
        verify=True,
    )
    path = find_pack(records, recipe.input, Path(out))
    return Packed(path, len(records), recipe.input.image_size, path.stat().st_size)


def _open_run(
    run: RunFolder, split: Split, recipe: Recipe, resume: bool, packs: Path | None
) -> None:
    """Write what was asked for; reject a folder that holds something else."""
    if not resume and (run.checkpoint.is_file() or run.model.is_file()):
        raise RunError(
            f"{run.path} must not hold a run yet",
            "a checkpoint or a trained network",
            "go on with it by --resume, or choose another --out",
        )
    for folder in (run.path, run.pack):
        remove_leftovers(folder)
    if packs is not None:
        create_folder(packs)
    save_split(split, run.split)
    write_json(run.recipe, recipe.model_dump(mode="json") | {"hash": recipe.hash()})
    write_json(
        run.provenance,
        collect_provenance()
        | {
            "recipe_hash": recipe.hash(),
            "split_sha256": hash_file(run.split),
            "seed": recipe.train.seed,
            "packs": str(packs.resolve()) if packs else None,
        }
        | ({"teacher_sha256": recipe.distill.teacher} if recipe.distill.teacher else {}),
    )


def find_packs(run: RunFolder) -> Path:
    """The folder of packs that a run was trained from; its own, where that is gone."""
    if run.provenance.is_file():
        shared = read_json(run.provenance).get("packs")
        if isinstance(shared, str) and Path(shared).is_dir():
            return Path(shared)
    return run.pack


def _train_and_score(
    split: Split,
    recipe: Recipe,
    run: RunFolder,
    accelerator: "Accelerator",
    resume: bool,
    progress: Progress,
    reporter: "TrainingReporter | None",
    teacher: "TrainedNetwork | None",
) -> TrainedRun:
    import numpy as np
    import torch

    from leukoscope.data.pack import build_pack
    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.models.presets import build_spec
    from leukoscope.scores import save_scores
    from leukoscope.training.loop import TrainingData, train_network
    from leukoscope.training.trained import load_trained, save_trained

    records, roles = used_rows(split)
    classes = tuple(sorted({record.label for record in records}))
    spec = build_spec(
        recipe.model.preset,
        len(classes),
        recipe.input.image_size,
        stochastic_depth=recipe.model.stochastic_depth,
        dropout=recipe.model.dropout,
        head_dropout=recipe.model.head_dropout,
    )
    with accelerator.main_process_first():
        pack = build_pack(
            records, recipe.input, find_packs(run), lambda d, t: progress("Decoding images", d, t)
        )
    data = TrainingData(
        pack_NHWC=pack,
        labels_N=np.array([classes.index(record.label) for record in records], dtype=np.int64),
        train_rows=np.flatnonzero(roles == "train"),
        val_rows=np.flatnonzero(roles == "val"),
        n_classes=len(classes),
    )
    torch.manual_seed(recipe.train.seed)
    history = train_network(
        CoAtNet(spec),
        data,
        recipe,
        run,
        accelerator,
        identity=f"recipe {recipe.hash()}, data {_hash_data(split)}",
        resume=resume,
        reporter=reporter,
        teacher=teacher.network if teacher else None,
    )
    if accelerator.is_main_process:
        save_trained(run, spec, classes, recipe.input)
        trained = load_trained(run, accelerator.device)
        sources = [
            x for x, role in zip(group_sources(split.catalog), split.roles, strict=True) if role
        ]
        table = score_records(
            trained, pack, records, roles.tolist(), sources, sources_known(split.catalog), progress
        )
        with replacing(run.scores) as temporary:
            save_scores(table, temporary)
    accelerator.wait_for_everyone()
    return TrainedRun(run, tuple(history), audit_split(split))


def _hash_data(split: Split) -> str:
    """Name what a split feeds to training: contents, boxes, labels and roles."""
    digest = hashlib.sha256()
    for record, role in zip(split.catalog.records, split.roles, strict=True):
        digest.update(f"{record.sha256} {record.box} {record.label} {role}\n".encode())
    return digest.hexdigest()[:16]


def load_run_scores(folder: RunFolder, recipe: Recipe, progress: Progress = silent) -> "ScoreTable":
    """Load the score table of a run. Quality is measured and added where an older version of
    leukoscope wrote the table, or this one measures other things; hold the folder's lock.

    Raises `MissingStepError` before training has ended.
    """
    from dataclasses import replace

    import numpy as np

    from leukoscope.data.pack import build_pack
    from leukoscope.data.splits import load_split
    from leukoscope.scores import load_scores, save_scores
    from leukoscope.trust.quality import QUALITY_NAMES

    table = load_scores(folder.require(folder.scores, "leukoscope train"))
    if table.quality_names == QUALITY_NAMES:
        return table
    records, _ = used_rows(load_split(folder.require(folder.split, "leukoscope train")))
    pack = build_pack(
        records, recipe.input, find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    row_of = {record.id: row for row, record in enumerate(records)}
    rows = np.array([row_of[name] for name in table.ids], dtype=np.int64)
    table = replace(
        table,
        quality_names=QUALITY_NAMES,
        quality_NQ=measure_rows(pack, rows, progress),
    )
    with replacing(folder.scores) as temporary:
        save_scores(table, temporary)
    return table


def measure_rows(
    pack_NHWC: "Pixels", rows: "NDArray[np.int64]", progress: Progress = silent
) -> "NDArray[np.float32]":
    """Return the quality of some rows of a pack: `(N, Q)`."""
    import numpy as np

    from leukoscope.trust.quality import QUALITY_NAMES, measure_quality

    found = []
    for start in range(0, len(rows), 64):
        found.append(measure_quality(pack_NHWC[rows[start : start + 64]]))
        progress("Measuring image quality", min(start + 64, len(rows)), len(rows))
    return np.concatenate(found) if found else np.zeros((0, len(QUALITY_NAMES)), np.float32)


def score_records(
    trained: "TrainedNetwork",
    pack_NHWC: "Pixels",
    records: Sequence[ImageRecord],
    roles: Sequence[str],
    sources: Sequence[str],
    source_known: bool,
    progress: Progress = silent,
) -> "ScoreTable":
    """Return the score table of some records, whose pack rows stand in the same order."""
    import numpy as np

    from leukoscope.scores import ScoreTable
    from leukoscope.training.scoring import score_rows
    from leukoscope.trust.quality import QUALITY_NAMES

    scores = score_rows(
        trained.network,
        pack_NHWC,
        np.arange(len(records)),
        on_progress=lambda d, t: progress("Scoring images", d, t),
    )
    quality_NQ = measure_rows(pack_NHWC, np.arange(len(records)), progress)
    known = {name: k for k, name in enumerate(trained.classes)}
    return ScoreTable(
        classes=trained.classes,
        ids=tuple(record.id for record in records),
        paths=tuple(str(record.path) for record in records),
        sources=tuple(sources),
        roles=tuple(roles),
        labels_N=np.array([known.get(record.label, -1) for record in records], dtype=np.int64),
        logits_NK=scores.logits_NK,
        embeddings_ND=scores.embeddings_ND,
        source_known=source_known,
        quality_names=QUALITY_NAMES,
        quality_NQ=quality_NQ,
        disagreement_N=scores.disagreement_N,
    )
