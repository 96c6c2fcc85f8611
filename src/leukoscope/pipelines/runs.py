"""From a split to a trained network and its score table, in a run folder.

What this file does not do: it measures nothing (`pipelines.evaluation`).
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukoscope.config import Recipe, SavedRecipe
from leukoscope.data.catalog import Catalog
from leukoscope.data.groups import group_sources, sources_known
from leukoscope.data.splits import (
    Split,
    SplitAudit,
    audit_split,
    compare_splits,
    hash_split,
    load_split,
    save_split,
)
from leukoscope.errors import ConfigError, RunError, SplitError
from leukoscope.pipelines.data import compare_pixels, load_table, scan_images, used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.locate import count_located, locate_images, locate_split, resolve_finder
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder, RunProvenance, collect_provenance
from leukoscope.scoring import score_records
from leukoscope.storage import create_folder, hash_file, remove_leftovers, replacing

if TYPE_CHECKING:
    from accelerate import Accelerator

    from leukoscope.scores import ScoreTable
    from leukoscope.training.loop import EpochResult, TrainingReporter
    from leukoscope.training.trained import TrainedNetwork


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves: the folder, the history, the split's audit, and around what the squares
    of located cells lie (`locate.count_located`; empty where images are whole)."""

    folder: RunFolder
    history: tuple["EpochResult", ...]
    audit: SplitAudit
    located: Mapping[str, int] = field(default_factory=dict)


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
    only scored again. Another recipe or split than it was started with is rejected before anything
    is written, and what the run says of itself is never written again. `packs` is a folder of
    decoded images that runs share (see `pack_images`); without it the run keeps its own. Works
    under `accelerate launch` and `torchrun`; only the main process writes. With a `teacher`, whose
    hash the recipe must name, the network is its student (`distill_run` does this).

    Raises `SplitError` when a role that training needs is empty, `ConfigError` for a teacher of
    other classes or input, or another one than the recipe's, `RunError` when the folder holds
    another run, `RunLockedError` while another process works in it; and what the loop raises.
    """
    require_extra("train")
    import contextlib

    from leukoscope.training.device import build_accelerator, choose_precision, pick_device

    run = RunFolder(Path(out))
    recipe = recipe.model_copy(update={"input": resolve_finder(recipe.input)})
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
        if is_main:
            split = locate_split(split, recipe.input, progress)
            split = compare_pixels(split, progress=progress)
        if recipe.train.precision == "auto":
            # A resumed run keeps what was measured when it began.
            precision = (
                run.load_recipe().train.precision
                if (resume and run.recipe.is_file())
                else choose_precision(pick_device())
            )
            train = recipe.train.model_copy(update={"precision": precision})
            recipe = recipe.model_copy(update={"train": train})
        accelerator = build_accelerator(recipe.train.precision)  # type: ignore[arg-type]
        if is_main:
            _open_run(run, split, recipe, resume, Path(packs) if packs else None)
        accelerator.wait_for_everyone()
        if not is_main and recipe.input.cells == "located":
            split = load_split(run.split)  # the main process has found the cells
        store = Path(packs) if packs else find_packs(run)
        return _train_and_score(
            split, recipe, run, accelerator, store, resume, progress, reporter, teacher
        )


def _check_teacher(split: Split, recipe: Recipe, teacher: "TrainedNetwork | None") -> None:
    named = recipe.distill.teacher
    if named != (teacher.weights_sha256 if teacher else ""):
        raise ConfigError(
            "a recipe that names a teacher is trained with it",
            f"distill.teacher={named[:16] or 'none'},"
            f" teacher {teacher.weights_sha256[:16] if teacher else 'none'}",
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
    class_level: int | None = None,
    progress: Progress = silent,
) -> Packed:
    """Decode and resize images once, for all runs that share the folder `out`.

    `source` is a split (rows without a role are left out), a catalog, or a path to one, to another
    table or to a folder of images (`class_level` as in `scan_images`).

    The pack is named by its content: training with `packs=out` finds it whatever the run, as long
    as images and `recipe.input` are the same. A pack that is there is checked byte by byte; a
    build that was interrupted goes on.

    Raises `ImageError` for an image that cannot be read or has changed, `StorageError`.
    """
    from leukoscope.data.pack import build_pack, find_pack

    if isinstance(source, str | Path):
        source = load_table(Path(source)) or scan_images(
            source,
            class_level=class_level,
            rejected=Path(out) / "rejected.csv",
            progress=progress,
        )
    records = used_rows(source)[0] if isinstance(source, Split) else list(source.records)
    records = list(locate_images(records, recipe.input, progress))
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
    """Reject a folder that holds something else; else write what was asked for, once."""
    from leukoscope.data.catalog import save_rejected
    from leukoscope.report.data_words import describe_rejected

    begun = run.checkpoint.is_file() or run.model.is_file()
    if begun and not resume:
        raise RunError(
            f"{run.path} must not hold a run yet",
            "a checkpoint or a trained network",
            "go on with it by --resume, or choose another --out",
        )
    if begun:
        _check_same_run(run, split, recipe)
    for folder in (run.path, run.pack):
        remove_leftovers(folder)
    if packs is not None:
        create_folder(packs)
    if begun:
        return
    save_split(split, run.split)
    if split.catalog.reading is not None:  # scanned just now
        save_rejected(split.catalog.rejected, run.path / "rejected.csv", describe_rejected)
    saved = SavedRecipe.of(recipe)
    save_record(saved, run.recipe)
    provenance = RunProvenance(
        **vars(collect_provenance()),
        recipe_hash=saved.hash,
        split_sha256=hash_split(split),
        seeds=(recipe.train.seed,),
        packs=str(packs.resolve()) if packs else None,
        teacher_sha256=recipe.distill.teacher or None,
    )
    save_record(provenance, run.provenance)


def _check_same_run(run: RunFolder, split: Split, recipe: Recipe) -> None:
    """Raise `RunError`, naming what differs, unless a run was started with this recipe and split.
    Writes nothing."""
    saved, origin = run.load_recipe(), run.load_provenance()
    rule = "a run is resumed with the recipe and data it was started with"
    if origin.members:
        raise RunError(rule, f"{run.path} is an ensemble", "choose another --out")
    old, new = (dict(_list_settings(one.model_dump(mode="json"))) for one in (saved, recipe))
    changed = [key for key in new if old.get(key) != new[key] and key not in ("name", "purpose")]
    if "distill.teacher" in changed:
        raise RunError(
            rule, "another teacher", "name the teacher it was started with, or another --out"
        )
    if changed:
        was = [f"{key} was {_show(old[key])}, is {_show(new[key])}" for key in changed]
        raise RunError(
            rule,
            "; ".join(was),
            "give " + " ".join(f"--set {key}={_show(old[key])}" for key in changed)
            + ", or start anew in another --out",
        )  # fmt: skip
    before = _open_split(run, origin.split_sha256)
    if hash_split(split) != origin.split_sha256:
        raise RunError(
            rule,
            _describe_difference(before, split),
            f"give {run.split}, or start anew in another --out",
        )


def _list_settings(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a recipe in dotted form, with its value."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _list_settings(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" != "hash":
            yield f"{prefix}{key}", value


def _show(value: object) -> str:
    """A value of a recipe as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _describe_difference(before: Split, after: Split) -> str:
    found = compare_splits(before, after)
    parts = [
        f"{count:,} {'image has' if count == 1 else 'images have'} {what}"
        for count, what in (
            (found.role, "another role"),
            (found.label, "another label"),
            (found.source, "another source"),
            (found.content, "other pixels"),
            (found.new, "no row in the run's split"),
            (found.gone, "no row in the split given"),
        )
        if count
    ]
    return f"another split: {', '.join(parts) or 'its protocol, seed or further columns'}"


def load_run_split(folder: RunFolder) -> Split:
    """Load the split that a run's network was trained on: the only way to read it.

    Raises `MissingStepError` before training has ended, `RunError` where the file says anything
    else than it did then.
    """
    from leukoscope.training.record import load_model_record

    return _open_split(folder, load_model_record(folder).split_sha256)


def _open_split(folder: RunFolder, sha256: str) -> Split:
    split = load_split(folder.require(folder.split, "leukoscope train"))
    if hash_split(split) != sha256:
        raise RunError(
            f"{folder.split} must be the split that the network was trained on",
            "images, labels, sources or roles are other ones than at the training",
            "restore it from a copy of the run, or train again",
        )
    return split


def find_packs(run: RunFolder) -> Path:
    """The folder of packs that a run was trained from; its own, where that is gone."""
    shared = run.load_provenance().packs
    return Path(shared) if shared and Path(shared).is_dir() else run.pack


def _train_and_score(
    split: Split,
    recipe: Recipe,
    run: RunFolder,
    accelerator: "Accelerator",
    packs: Path,
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
    from leukoscope.training.record import bind_scores
    from leukoscope.training.trained import load_trained, save_trained

    records, roles = used_rows(split)
    classes = tuple(sorted({record.label for record in records}))
    spec = build_spec(
        recipe.model.preset,
        len(classes),
        recipe.input.image_size,
        stochastic_depth=recipe.model.stochastic_depth,
    )
    with accelerator.main_process_first():
        pack = build_pack(
            records, recipe.input, packs, lambda d, t: progress("Decoding images", d, t)
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
        identity=f"recipe {recipe.compute_hash()}, split {hash_split(split)}",
        resume=resume,
        reporter=reporter,
        teacher=teacher.network if teacher else None,
    )
    if accelerator.is_main_process:
        save_trained(run, spec, classes, recipe.input, hash_split(split))
        trained = load_trained(run, accelerator.device)
        sources = [
            x for x, role in zip(group_sources(split.catalog), split.roles, strict=True) if role
        ]
        table = score_records(
            trained, records, pack, roles.tolist(), sources, sources_known(split.catalog), progress
        )
        with replacing(run.scores) as temporary:
            save_scores(table, temporary)
        bind_scores(run)
    accelerator.wait_for_everyone()
    return TrainedRun(run, tuple(history), audit_split(split), count_located(records))


def load_run_scores(folder: RunFolder) -> "ScoreTable":
    """Load the score table of a run: the only way to read it.

    Raises `MissingStepError` before training has ended, `RunError` for another table than the
    trained network made, or one without the quality of the images.
    """
    from leukoscope.scores import load_scores
    from leukoscope.training.record import load_model_record
    from leukoscope.trust.quality import QUALITY_NAMES

    model = load_model_record(folder)
    if hash_file(folder.require(folder.scores, "leukoscope train")) != model.scores_sha256:
        raise RunError(
            f"{folder.scores} must be the scores that the trained network beside it gave",
            "it was changed after it was written, or is of other weights",
            "run `leukoscope train` with --resume to score the run again; build an ensemble anew",
        )
    table = load_scores(folder.scores)
    if table.quality_names != QUALITY_NAMES:
        raise RunError(
            f"{folder.scores} must hold the quality of every image, which `leukoscope train` adds",
            f"{', '.join(table.quality_names) or 'none'}",
            "run `leukoscope train` with --resume to score the run again",
        )
    return table
