"""The use cases, one function each: configuration in, record out. The Python API.

    catalog = scan_images("cells/")                    # folder or table -> catalog
    split = split_catalog(catalog)                     # catalog -> roles, with an audit
    run = train_run(split, load_recipe("quick"), "runs/a")
    evaluation = evaluate_run("runs/a")
    evaluation.report                                  # the HTML file
    evaluation.intervals["accuracy"]                   # value, low, high

What this file does not do: it prints nothing (that is `cli.render`) and computes nothing itself.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leukoscope.config import Recipe
from leukoscope.data.catalog import (
    Catalog,
    ImageRecord,
    build_catalog,
    load_catalog,
    save_catalog,
    save_rejected,
)
from leukoscope.data.sources import group_sources, sources_known
from leukoscope.data.splits import (
    Protocol,
    Split,
    SplitAudit,
    audit_split,
    build_kfold,
    build_split,
    load_split,
    save_split,
)
from leukoscope.errors import DataError, MissingExtraError, RunError, SplitError
from leukoscope.runfolder import (
    RunFolder,
    collect_provenance,
    create_folder,
    hash_file,
    read_json,
    replacing,
    write_json,
)

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator
    from numpy.typing import NDArray

    from leukoscope.data.batches import Pixels
    from leukoscope.evaluation.intervals import Interval
    from leukoscope.scores import ScoreTable
    from leukoscope.training.loop import EpochResult, TrainingReporter
    from leukoscope.training.trained import TrainedNetwork

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""


def _silent(_what: str, _done: int, _total: int) -> None:
    return


# -- images -> catalog -> split -----------------------------------------------------------------


def scan_images(
    path: str | Path, out: str | Path | None = None, *, progress: Progress = _silent
) -> Catalog:
    """Build the catalog of a folder, a table or an annotated set, and write it if `out` is given.

    Beside `out` a `rejected.csv` says which files stayed out and why; it is written even when it
    is empty, so that its absence means nothing.
    """
    catalog = build_catalog(Path(path), on_progress=lambda d, t: progress("Reading images", d, t))
    if out is not None:
        save_catalog(catalog, Path(out))
        save_rejected(catalog, Path(out).with_name("rejected.csv"))
    return catalog


def split_catalog(
    catalog: Catalog,
    protocol: Protocol | Literal["auto"] = "auto",
    out: str | Path | None = None,
    *,
    seed: int = 42,
) -> Split:
    """Give every image a role, and write split and audit if `out` is given.

    `auto` takes `given` where the data itself names a test part, else `grouped`.
    """
    if protocol == "kfold":
        raise SplitError(
            "one split is asked for", "protocol kfold, which makes several", "use `split_kfold`"
        )
    if protocol == "auto":
        named = {record.split for record in catalog.records}
        protocol = "given" if "test" in named and "" not in named else "grouped"
    split = build_split(catalog, protocol, seed=seed)
    if out is not None:
        save_split(split, Path(out))
    return split


def split_kfold(
    catalog: Catalog, out: str | Path | None = None, *, folds: int = 5, seed: int = 42
) -> tuple[Split, ...]:
    """Make one split per fold, and write them as `<stem>.fold0.csv` ... if `out` is given."""
    splits = build_kfold(catalog, folds, seed=seed)
    if out is not None:
        for number, split in enumerate(splits):
            path = Path(out)
            save_split(split, path.with_name(f"{path.stem}.fold{number}{path.suffix}"))
    return splits


def load_split_or_images(
    path: str | Path, *, seed: int = 42, progress: Progress = _silent
) -> Split:
    """Return the split in a CSV; or scan and split a folder, a catalog or any other table."""
    path = Path(path)
    header = b""
    if path.is_file():
        with path.open("rb") as file:
            header = file.readline(65536)
    columns = header.decode("utf-8-sig", "replace").strip().split(",")
    if {"id", "sha256", "role"} <= set(columns):
        return load_split(path)
    if {"id", "sha256"} <= set(columns):
        return split_catalog(load_catalog(path), seed=seed)
    return split_catalog(scan_images(path, progress=progress), seed=seed)


# -- split -> trained network and score table -----------------------------------------------------


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
    progress: Progress = _silent,
    reporter: "TrainingReporter | None" = None,
) -> TrainedRun:
    """Train a network on a split and write its run folder, score table included.

    With `resume` an interrupted run goes on where its last checkpoint stands; a finished one is
    only scored again. Works under `accelerate launch` and `torchrun`; only the main process
    writes.

    Raises `SplitError` when a role that training needs is empty, `RunError` when the folder holds
    another run, `RunLockedError` while another process works in it; and what the loop raises.
    """
    _require_train_extra()
    import contextlib

    from leukoscope.training.device import build_accelerator, choose_precision
    from leukoscope.training.trained import pick_device

    run = RunFolder(Path(out))
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
            _open_run(run, split, recipe, resume)
        accelerator.wait_for_everyone()
        return _train_and_score(split, recipe, run, accelerator, resume, progress, reporter)


def _open_run(run: RunFolder, split: Split, recipe: Recipe, resume: bool) -> None:
    """Write what was asked for; refuse a folder that holds something else."""
    if not resume and (run.checkpoint.is_file() or run.model.is_file()):
        raise RunError(
            f"{run.path} must not hold a run yet",
            "a checkpoint or a trained network",
            "go on with it by --resume, or choose another --out",
        )
    save_split(split, run.split)
    write_json(run.recipe, recipe.model_dump(mode="json") | {"hash": recipe.hash()})
    write_json(
        run.provenance,
        collect_provenance()
        | {
            "recipe_hash": recipe.hash(),
            "split_sha256": hash_file(run.split),
            "seed": recipe.train.seed,
        },
    )


def _train_and_score(
    split: Split,
    recipe: Recipe,
    run: RunFolder,
    accelerator: "Accelerator",
    resume: bool,
    progress: Progress,
    reporter: "TrainingReporter | None",
) -> TrainedRun:
    import numpy as np
    import torch

    from leukoscope.data.pack import build_pack
    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.models.presets import build_spec
    from leukoscope.scores import save_scores
    from leukoscope.training.loop import TrainingData, train_network
    from leukoscope.training.trained import load_trained, save_trained

    records, roles = _used_rows(split)
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
            records, recipe.input, run.pack, lambda d, t: progress("Decoding images", d, t)
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


def score_records(
    trained: "TrainedNetwork",
    pack_NHWC: "Pixels",
    records: Sequence[ImageRecord],
    roles: Sequence[str],
    sources: Sequence[str],
    source_known: bool,
    progress: Progress = _silent,
) -> "ScoreTable":
    """Return the score table of some records, whose pack rows stand in the same order."""
    import numpy as np

    from leukoscope.scores import ScoreTable
    from leukoscope.training.scoring import score_rows

    logits, embeddings = score_rows(
        trained.network,
        pack_NHWC,
        np.arange(len(records)),
        on_progress=lambda d, t: progress("Scoring images", d, t),
    )
    known = {name: k for k, name in enumerate(trained.classes)}
    return ScoreTable(
        classes=trained.classes,
        ids=tuple(record.id for record in records),
        paths=tuple(str(record.path) for record in records),
        sources=tuple(sources),
        roles=tuple(roles),
        labels_N=np.array([known.get(record.label, -1) for record in records], dtype=np.int64),
        logits_NK=logits,
        embeddings_ND=embeddings,
        source_known=source_known,
    )


def _used_rows(split: Split) -> tuple[list[ImageRecord], "NDArray[np.str_]"]:
    """The records that have a role, and their roles; rows left aside drop out."""
    import numpy as np

    used = [(r, role) for r, role in zip(split.catalog.records, split.roles, strict=True) if role]
    return [record for record, _ in used], np.array([role for _, role in used])


def _hash_data(split: Split) -> str:
    """Name what a split feeds to training: contents, boxes, labels and roles."""
    digest = hashlib.sha256()
    for record, role in zip(split.catalog.records, split.roles, strict=True):
        digest.update(f"{record.sha256} {record.box} {record.label} {role}\n".encode())
    return digest.hexdigest()[:16]


def _require_train_extra() -> None:
    """Raise `MissingExtraError` in one sentence instead of an ImportError in the middle."""
    from importlib.util import find_spec

    missing = [
        name
        for name in ("torch", "accelerate", "safetensors", "sklearn", "matplotlib", "pyarrow")
        if find_spec(name) is None
    ]
    if missing:
        raise MissingExtraError(
            "training and evaluation need the extra `train`",
            f"{', '.join(missing)} not installed",
            "pip install 'leukoscope[train]'",
        )
