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
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leukoscope.config import Recipe, load_recipe, parse_recipe
from leukoscope.data.catalog import (
    Catalog,
    ImageRecord,
    build_catalog,
    load_catalog,
    save_catalog,
    save_rejected,
)
from leukoscope.data.fingerprint_cache import find_default_cache
from leukoscope.data.readers import WRAPPER_NAMES, Rejected
from leukoscope.data.sources import (
    SOURCE_PREFIX,
    SourceFindings,
    find_sources,
    group_sources,
    save_sources,
    sources_known,
)
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
from leukoscope.errors import (
    CatalogError,
    ConfigError,
    DataError,
    MissingExtraError,
    RunError,
    SplitError,
)
from leukoscope.runfolder import (
    RunFolder,
    collect_provenance,
    create_folder,
    hash_file,
    read_json,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator
    from numpy.typing import NDArray

    from leukoscope.data.audit import DataAudit
    from leukoscope.data.batches import Pixels
    from leukoscope.deploy.bundle import Bundle, VariantName
    from leukoscope.deploy.predictor import Engine
    from leukoscope.evaluation.intervals import Interval
    from leukoscope.evaluation.leak_report import LeakProtocol, LeakReport, LeakRow
    from leukoscope.evaluation.report import Comparison, Leak, ReportContent, Verdict
    from leukoscope.evaluation.results import Study
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


def trace_sources(
    catalog: Catalog,
    out: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    progress: Progress = _silent,
) -> SourceFindings:
    """Find the copies in the pixels, and write table, links, summary and page if `out` is given.

    The table is the catalog with a source in every row: a split by `grouped` then keeps copies
    together. Beside it lie `<stem>.links.csv`, `<stem>.json` and `<stem>.html`, the evidence for
    a person to judge. Without `cache`, the file of `find_default_cache` is used.

    Raises what `find_sources` raises.
    """
    found = find_sources(
        catalog, cache=Path(cache) if cache else find_default_cache(), on_progress=progress
    )
    if out is not None:
        _save_findings(found, Path(out), progress)
    return found


def _save_findings(found: SourceFindings, path: Path, progress: Progress) -> None:
    from leukoscope.evaluation.source_page import render_source_page

    progress("Writing the page", 0, 1)
    save_sources(found, path)
    write_text(path.with_suffix(".html"), render_source_page(found))
    progress("Writing the page", 1, 1)


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
    table = _load_table(Path(path))
    if isinstance(table, Split):
        return table
    return split_catalog(table or scan_images(path, progress=progress), seed=seed)


def _load_table(path: Path) -> Split | Catalog | None:
    """Load what a CSV of our own holds, told by its header; None for anything else."""
    header = b""
    if path.is_file():
        with path.open("rb") as file:
            header = file.readline(65536)
    columns = set(header.decode("utf-8-sig", "replace").strip().split(","))
    if {"id", "sha256", "role"} <= columns:
        return load_split(path)
    return load_catalog(path) if {"id", "sha256"} <= columns else None


# -- audit ----------------------------------------------------------------------------------------


def audit_data(
    data: str | Path,
    *,
    split: str | Path | None = None,
    against: str | Path | None = None,
    html: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress = _silent,
) -> "DataAudit":
    """Audit a catalog, a table with sources, a split, a folder or any other table.

    Roles are those of `split`, else the data's own if it is a split. Sources that are not known
    are found in the pixels first. `against` is other data of any of these kinds: both are then
    searched together for what they share. With `html` the page is written too. `cache` is that of
    `trace_sources`.

    Raises `SplitError` where split and data hold different images, and what `trace_sources` does.
    """
    from leukoscope.data.audit import audit_against, audit_catalog, join_catalogs, join_roles

    if html is not None:
        _require_report_extra()
    catalog, roles = _open_images(Path(data), progress)
    if split is not None:
        roles = load_split(Path(split))
    # Whatever is wrong with the tables is told before minutes of work.
    if roles is not None:
        join_roles(roles, catalog)
    rejected = _load_rejected(Path(data), catalog)
    theirs = _open_images(Path(against), progress)[0] if against is not None else None
    if not sources_known(catalog):
        catalog = trace_sources(catalog, cache=cache, progress=progress).catalog
    shared = None
    if theirs is not None:
        union = trace_sources(join_catalogs(catalog, theirs), cache=cache, progress=progress)
        shared = audit_against(union.catalog, name=str(data), other=str(against))
    audit = audit_catalog(catalog, split=roles, rejected=rejected, against=shared, name=str(data))
    if html is not None:
        from leukoscope.evaluation.audit_page import render_audit

        progress("Writing the page", 0, 1)
        write_text(Path(html), render_audit(audit))
        progress("Writing the page", 1, 1)
    return audit


def _open_images(path: Path, progress: Progress) -> tuple[Catalog, Split | None]:
    """The catalog of a table, split or folder, and the split if it is one."""
    table = _load_table(path)
    if isinstance(table, Split):
        return table.catalog, table
    return table or scan_images(path, progress=progress), None


def _load_rejected(table: Path, catalog: Catalog) -> tuple[Rejected, ...]:
    """What the scan of these images refused, as far as the file beside the table tells.

    Another scan into the same folder may have written that file: what lies in other folders, or
    in the catalog as a whole image, does not count.
    """
    import csv

    path = table.with_name("rejected.csv")
    if not (table.is_file() and path.is_file()):
        return ()
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        entries = [Rejected(row["path"], row["reason"], row["detail"]) for row in rows]  # type: ignore[arg-type]
    except (OSError, csv.Error, KeyError) as error:
        raise CatalogError(
            f"{path} must be a table with the columns path, reason and detail",
            str(error),
            "scan again, or remove the file",
        ) from error
    home = os.path.commonpath([record.path.parent for record in catalog.records])
    used = {str(record.path) for record in catalog.records if record.box is None}
    return tuple(e for e in entries if Path(e.path).is_relative_to(home) and e.path not in used)


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
    packs: str | Path | None = None,
    progress: Progress = _silent,
    reporter: "TrainingReporter | None" = None,
) -> TrainedRun:
    """Train a network on a split and write its run folder, score table included.

    With `resume` an interrupted run goes on where its last checkpoint stands; a finished one is
    only scored again. `packs` is a folder of decoded images that runs share (see `pack_images`);
    without it the run keeps its own. Works under `accelerate launch` and `torchrun`; only the
    main process writes.

    Raises `SplitError` when a role that training needs is empty, `RunError` when the folder holds
    another run, `RunLockedError` while another process works in it; and what the loop raises.
    """
    _require_train_extra()
    import contextlib

    from leukoscope.training.device import build_accelerator, choose_precision, pick_device

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
            _open_run(run, split, recipe, resume, Path(packs) if packs else None)
        accelerator.wait_for_everyone()
        return _train_and_score(split, recipe, run, accelerator, resume, progress, reporter)


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
    progress: Progress = _silent,
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
        source = _load_table(Path(source)) or scan_images(source, progress=progress)
    records = _used_rows(source)[0] if isinstance(source, Split) else list(source.records)
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
    """Write what was asked for; refuse a folder that holds something else."""
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
        },
    )


def _find_packs(run: RunFolder) -> Path:
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
            records, recipe.input, _find_packs(run), lambda d, t: progress("Decoding images", d, t)
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


# -- score table -> report ------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. `floors` are accuracies; `sentences` word the verdict.

    Where the verdict is `leaking`, `intervals` and `floors` count images with a copy in training;
    `leak` says how many these are, and what is left without them.
    """

    folder: Path
    report: Path
    data_name: str
    role: str
    n_images: int
    n_sources: int
    source_known: bool
    intervals: "dict[str, Interval]"
    floors: "dict[str, Interval]"
    verdict: "Verdict"
    sentences: tuple[str, ...]
    leak: "Leak | None"

    @property
    def source_disjoint(self) -> "Interval | None":
        """Accuracy on the images of which no copy lies in training, as far as copies are known;
        None where these are too few, or where it is not known at all which images are copies."""
        if self.leak is not None:
            return self.leak.accuracy
        return self.intervals["accuracy"] if self.verdict == "disjoint" else None


def evaluate_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    role: str = "test",
    name: str | None = None,
    replicates: int = 1000,
    progress: Progress = _silent,
) -> Evaluation:
    """Measure a trained run on one role of its own split, or on other data, and write a report.

    Its own role is read from the score table, without a network; the files go into the run folder
    for the role `test` and into `evaluations/<role>` for others. Other data are scanned, scored,
    and checked against the training images by bytes, sources and fields; their files go into
    `evaluations/<name>`. Of other data with roles or named parts, those of `role` count; of data
    without any, all images.

    Where images have a copy in training, no accuracy stands alone: the figures of all images are
    marked as leaked, and those of the images without a copy stand beside them.

    Raises `MissingStepError` before training has ended, `DataError` for an empty role.
    """
    _require_train_extra()
    other = None
    if data is not None:
        records, warnings = _select_other(Path(data), role, progress)
        other = _OtherData(Path(data).name, name or _safe_name(Path(data)), records, warnings)
    return _evaluate(RunFolder(Path(run)), other, role, replicates, progress)


def _evaluate(
    folder: RunFolder,
    other: "_OtherData | None",
    role: str,
    replicates: int,
    progress: Progress,
) -> Evaluation:
    import numpy as np

    from leukoscope.data.batches import shrink_pack
    from leukoscope.data.pack import build_pack
    from leukoscope.evaluation.baselines import compute_floors
    from leukoscope.evaluation.results import write_evaluation

    folder.require(folder.model, "leukoscope train")
    recipe = parse_recipe(
        _without_hash(read_json(folder.require(folder.recipe, "leukoscope train")))
    )
    home = load_split(folder.require(folder.split, "leukoscope train"))
    records, roles = _used_rows(home)
    pack = build_pack(
        records, recipe.input, _find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    if other is None:
        subject = _own_subject(folder, home, role, pack)
    else:
        subject = _other_subject(folder, home, other, role, recipe, progress)
    labels = {label: k for k, label in enumerate(subject.table.classes)}
    train_rows = np.flatnonzero(roles == "train")
    known = np.flatnonzero(subject.table.labels_N >= 0)
    floor_px = min(recipe.input.image_size, FLOOR_PX)
    progress("Fitting floors", 0, 1)
    floors = (
        compute_floors(
            shrink_pack(pack, train_rows, floor_px),
            np.array([labels[records[row].label] for row in train_rows], dtype=np.int64),
            shrink_pack(subject.pack_NHWC, subject.rows[known], floor_px),
            subject.table.labels_N[known],
            subject.table.classes,
            [subject.table.sources[row] for row in known],
            seed=recipe.train.seed,
        )
        if len(known)
        else {}
    )
    progress("Fitting floors", 1, 1)
    progress("Writing the report", 0, 1)
    content = write_evaluation(
        subject.table,
        subject.study,
        floors,
        subject.folder,
        ignores_sources=subject.ignores_sources,
        replicates=replicates,
    )
    progress("Writing the report", 1, 1)
    return Evaluation(
        folder=subject.folder,
        report=subject.folder / "report.html",
        data_name=content.data_name,
        role=content.role,
        n_images=content.n_images,
        n_sources=content.n_sources,
        source_known=content.source_known,
        intervals=dict(content.intervals),
        floors={floor: found.accuracy for floor, found in content.floors.items()},
        verdict=content.verdict,
        sentences=_word_verdict(content),
        leak=content.leak,
    )


FLOOR_PX = 96
"""Floors see images of at most this side; they use nothing finer."""


@dataclass(frozen=True)
class _OtherData:
    """Images from elsewhere to be judged on. `folder_name` names the evaluation's folder. `joint`:
    their sources were found together with those of the training images, so that equal names and
    different names both mean what they say."""

    name: str
    folder_name: str
    records: tuple[ImageRecord, ...]
    warnings: tuple[str, ...]
    joint: bool = False


@dataclass(frozen=True)
class _Subject:
    """What is judged: scores, the pack rows of the same images, and what is known about them."""

    folder: Path
    table: "ScoreTable"
    pack_NHWC: "Pixels"
    rows: "NDArray[np.int64]"
    ignores_sources: bool
    study: "Study"


def _own_subject(folder: RunFolder, home: Split, role: str, pack: "Pixels") -> _Subject:
    import numpy as np

    from leukoscope.scores import load_scores

    scores = load_scores(folder.require(folder.scores, "leukoscope train"))
    rows = np.flatnonzero(np.array(scores.roles) == role)
    if not len(rows):
        raise DataError(
            f"the run must have images in the role {role}",
            f"roles {', '.join(sorted(set(scores.roles)))}",
            "choose one of these by --role",
        )
    audit = audit_split(home)
    out = folder.path if role == "test" else folder.evaluation(role)
    sentences = tuple(audit.warnings)
    # What chose the epoch is judged against what the network was fitted on.
    seen_roles = ("train",) if role == "val" else ("train", "val")
    own = list(zip(home.catalog.records, home.roles, home.sources, strict=True))
    seen = {source for _, part, source in own if part in seen_roles}
    leaked = frozenset(r.id for r, part, source in own if part == role and source in seen)
    # Sources that cross other roles do not make this figure any better.
    verdict: Verdict = "leaking" if leaked else "disjoint" if audit.sources_known else "unproven"
    if role == "train":
        sentences = ("These are the training images themselves.",)
    elif role == "val":
        sentences = ("These images chose the best epoch; the figure is optimistic.", *sentences)
    return _Subject(
        folder=out,
        table=scores.take(rows),
        pack_NHWC=pack,
        rows=rows,
        # Where the data's own parts decide, nobody drew single images.
        ignores_sources=home.protocol != "given" and not audit.sources_known,
        study=_build_study(
            folder,
            home.catalog.records,
            _name_data(home),
            role,
            home.protocol,
            verdict,
            sentences,
            out,
            leaked=leaked,
        ),
    )


def _other_subject(
    folder: RunFolder,
    home: Split,
    other: _OtherData,
    role: str,
    recipe: Recipe,
    progress: Progress,
) -> _Subject:
    import numpy as np

    from leukoscope.data.pack import build_pack
    from leukoscope.training.trained import load_trained

    records = other.records
    out = folder.evaluation(other.folder_name)
    trained = load_trained(folder)
    catalog = Catalog(records)
    sources = group_sources(catalog)
    known = sources_known(catalog)
    pack = build_pack(
        records, recipe.input, out / "pack", lambda d, t: progress("Decoding other images", d, t)
    )
    table = score_records(trained, pack, records, [role] * len(records), sources, known, progress)
    leaked = _list_shared(home, records, trained.classes)
    verdict: Verdict = "unproven"
    sentences: tuple[str, ...] = (
        f"No image of {other.name} is byte-identical to a training image; copies that were"
        " rotated, cropped or re-encoded cannot be excluded. `leukoscope data audit --against`"
        " looks for them.",
    )
    if leaked:
        verdict = "leaking"
        sentences = (f"{len(leaked):,} images also lie in training or validation.",)
    elif (
        known
        and sources_known(home.catalog)
        and (other.joint or not _found_in_pixels((*home.catalog.records, *records)))
    ):
        verdict, sentences = "disjoint", ()
    unknown = sorted({r.label for r in records} - set(trained.classes))
    warnings = other.warnings
    if unknown:
        count = sum(r.label in unknown for r in records)
        warnings += (
            f"{count:,} images are of classes the network does not know and are left out:"
            f" {', '.join(unknown)}.",
        )
    return _Subject(
        folder=out,
        table=table,
        pack_NHWC=pack,
        rows=np.arange(len(records)),
        ignores_sources=False,
        study=_build_study(
            folder,
            records,
            other.name,
            role,
            "other data",
            verdict,
            sentences,
            out,
            warnings,
            leaked,
        ),
    )


def _list_shared(
    home: Split, records: Sequence[ImageRecord], classes: Sequence[str]
) -> frozenset[str]:
    """Ids of the images of these classes that share bytes, source or field with an image of
    `train` or `val`. A source that has the same name in both data sets is one source."""
    groups = group_sources(Catalog((*home.catalog.records, *records)))
    at_home = len(home.catalog)
    seen = {
        group
        for group, part in zip(groups[:at_home], home.roles, strict=True)
        if part in ("train", "val")
    }
    pairs = zip(records, groups[at_home:], strict=True)
    return frozenset(r.id for r, group in pairs if group in seen and r.label in classes)


def _found_in_pixels(records: Sequence[ImageRecord]) -> bool:
    """Tell whether any source has a name given by `find_sources`, which means nothing in another
    data set: there it may be missing although a copy is there."""
    return any(record.source.startswith(SOURCE_PREFIX) for record in records)


def _select_other(
    data: Path, role: str, progress: Progress
) -> tuple[tuple[ImageRecord, ...], tuple[str, ...]]:
    """The rows of other data that count, and a warning about those that do not."""
    split = _load_table(data)
    if isinstance(split, Split):
        records, parts = split.catalog.records, split.roles
        rejected = 0
    else:
        catalog = split or scan_images(data, progress=progress)
        records, parts = catalog.records, tuple(r.split for r in catalog.records)
        rejected = len(catalog.rejected)
    chosen = tuple(r for r, part in zip(records, parts, strict=True) if part == role)
    warnings: tuple[str, ...] = ()
    if not any(parts):
        chosen = records
    elif not chosen:
        raise DataError(
            f"{data} must have images in the role {role}",
            f"roles {', '.join(sorted(set(parts) - {''}))}",
            "choose one of these by --role",
        )
    else:
        warnings += (
            (f"{len(records) - len(chosen):,} images of other parts than {role} are left out.",)
            if len(chosen) < len(records)
            else ()
        )
    if rejected:
        warnings += (f"{rejected:,} files were rejected; `leukoscope data scan` says why.",)
    return chosen, warnings


def _build_study(
    folder: RunFolder,
    records: Sequence[ImageRecord],
    data_name: str,
    role: str,
    protocol: str,
    verdict: "Verdict",
    sentences: tuple[str, ...],
    out: Path,
    warnings: tuple[str, ...] = (),
    leaked: frozenset[str] = frozenset(),
) -> "Study":
    import csv

    from leukoscope.evaluation.results import Study

    with folder.require(folder.history, "leukoscope train").open(encoding="utf-8") as file:
        history = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    model = read_json(folder.model)
    origin = read_json(folder.require(folder.provenance, "leukoscope train"))
    recipe = read_json(folder.recipe)
    return Study(
        title=f"Evaluation on {data_name}",
        data_name=data_name,
        role=role,
        protocol=protocol,
        verdict=verdict,
        verdict_sentences=sentences,
        history=history,
        compare=_list_others(folder, out),
        warnings=warnings,
        provenance={
            "Run": str(folder.path.resolve().name),
            "Network": f"{model['spec']['name']}, {model['spec']['image_size']} px, best epoch"
            f" {model['best_epoch']} of {len(history)}",
            "Recipe": f"{recipe['name']} ({recipe['hash']})",
            "Seed": str(origin["seed"]),
            "Precision": recipe["train"]["precision"],
            "Weights SHA-256": model["sha256"],
            "Split SHA-256": origin["split_sha256"],
            "leukoscope": origin["leukoscope"],
            "Python": f"{origin['python']}, {origin['platform']}",
            "Packages": ", ".join(f"{k} {v}" for k, v in origin["packages"].items()),
            "Command": " ".join(origin["command"]),
            "Started": origin["started"],
        },
        boxes={record.id: record.box for record in records if record.box is not None},
        leaked=leaked,
    )


def _list_others(folder: RunFolder, out: Path) -> "tuple[Comparison, ...]":
    """Other evaluations of the same run that were written before."""
    from leukoscope.evaluation.results import list_comparisons

    found: list[Comparison] = []
    for path in (folder.path, *sorted((folder.path / "evaluations").glob("*"))):
        if path == out or not (path / "metrics.json").is_file():
            continue
        metrics = read_json(path / "metrics.json")
        rest = metrics["accuracy"].get("source_disjoint")
        found += list_comparisons(
            f"{metrics['data']}, {metrics['role']}",
            _read_interval(metrics["accuracy"]),
            metrics["n_images"],
            metrics["verdict"],
            _read_interval(rest["accuracy"]) if rest else None,
            rest["n_images"] if rest else 0,
        )
    return tuple(found)


def _read_interval(figure: dict[str, Any]) -> "Interval":
    from leukoscope.evaluation.intervals import Interval

    return Interval(figure["value"], figure["low"], figure["high"])


def _word_verdict(content: "ReportContent") -> tuple[str, ...]:
    from leukoscope.evaluation.report import VERDICT_TEXTS, VERDICT_TITLES, word_leak

    leak = content.leak
    return (
        f"{VERDICT_TITLES[content.verdict]}. {VERDICT_TEXTS[content.verdict]}",
        *(
            word_leak(leak, content.intervals["accuracy"], content.n_images, content.source_known)
            if leak
            else ()
        ),
        *content.verdict_sentences,
    )


# -- the main job ---------------------------------------------------------------------------------


def run_demo(
    data: str | Path | None,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    progress: Progress = _silent,
    reporter: "TrainingReporter | None" = None,
) -> Evaluation:
    """Do the main job once: catalog, sources, split, train with `quick`, evaluate, report.

    Sources that the data do not name are found in the pixels, so that no copy crosses the split.
    Without `data`, cells are painted into `out/painted`, with known sources. A run that was
    interrupted goes on.
    """
    out = Path(out)
    settings = list(overrides)
    if data is None:
        from leukoscope.data.painted import save_painted

        data = save_painted(
            out / "painted", on_progress=lambda d, t: progress("Painting cells", d, t)
        )
        settings = [*DEMO_SETTINGS, *settings]
    catalog = scan_images(data, out / "catalog.csv", progress=progress)
    if not sources_known(catalog):
        catalog = trace_sources(catalog, out / "sources.csv", progress=progress).catalog
    split = split_catalog(catalog, out=out / "split.csv")
    recipe = load_recipe("quick", settings)
    train_run(split, recipe, out / "run", resume=True, progress=progress, reporter=reporter)
    return evaluate_run(out / "run", progress=progress)


DEMO_SETTINGS = ("input.image_size=96", "train.epochs=30")
"""Painted cells are few and small: smaller input, more epochs."""


def check_nothing_rejected(catalog: Catalog) -> None:
    """Raise `CatalogError` if any file was rejected (the option `--strict`)."""
    if catalog.rejected:
        first = "; ".join(f"{r.path} ({r.reason})" for r in catalog.rejected[:3])
        raise CatalogError(
            "with --strict every file must be usable",
            f"{len(catalog.rejected):,} rejected, first: {first}",
            "repair or remove them, or scan without --strict",
        )


# -- what a leak is worth -------------------------------------------------------------------------


def report_leak(
    catalog: Catalog,
    recipe: Recipe,
    out: str | Path,
    *,
    external: Sequence[str | Path] = (),
    seed: int = 42,
    cache: str | Path | None = None,
    replicates: int = 1000,
    progress: Progress = _silent,
    reporter: "TrainingReporter | None" = None,
) -> "LeakReport":
    """Train one recipe under `random` and under `grouped`, and report what the leak is worth.

    Where the catalog lacks sources they are found in the pixels, those of `external` data in the
    same search, and written to `out/sources.csv`; `cache` is that of `trace_sources`. The runs are
    `out/random` and `out/grouped`; each network is judged on its own test images and on all
    external data. Images that the data themselves name as test part are left aside by both splits.
    A second call goes on where the first one stopped; what is trained is not trained again. `seed`
    draws both splits; the recipe has its own for training.

    Raises what `split_catalog`, `train_run`, `evaluate_run` and `trace_sources` raise.
    """
    _require_train_extra()
    import shlex

    from leukoscope.evaluation.leak_report import LeakReport, LeakRow, write_leak_report

    out = Path(out)
    others = _select_externals(external, progress)
    warnings = tuple(f"{other.name}: {text}" for other in others for text in other.warnings)
    home = Catalog(tuple(r for r in catalog.records if r.split != "test"), catalog.rejected)
    aside = len(catalog) - len(home)
    if aside:
        warnings += (
            f"{aside:,} images that the data name as test part are left aside; give them by"
            " `--external`.",
        )
    origin, settings = "are those of the catalog", ""
    # Names found in one data set say nothing of another: then both are searched together.
    if not sources_known(home) or (others and _found_in_pixels(home.records)):
        home, others, settings = _find_joint_sources(home, others, out, cache, progress)
        origin = "were found in the pixels (sources.csv)"
    counts: dict[LeakProtocol, dict[str, int]] = {}
    rows: list[LeakRow] = []
    data_name = ""
    protocols: tuple[LeakProtocol, ...] = ("random", "grouped")
    for protocol in protocols:

        def tell(what: str, done: int, total: int, protocol: str = protocol) -> None:
            progress(f"{protocol.capitalize()} split: {what[0].lower()}{what[1:]}", done, total)

        split = split_catalog(home, protocol, seed=seed)
        data_name = _name_data(split)
        counts[protocol] = {
            role: split.roles.count(role)
            for role in ("train", "val", "calib", "test")
            if role in split.roles
        }
        run = train_run(
            split,
            recipe,
            out / protocol,
            resume=True,
            packs=out / "packs",
            progress=tell,
            reporter=reporter,
        )
        found = _evaluate(run.folder, None, "test", replicates, tell)
        rows += _list_leak_rows(protocol, found)
        for other in others:
            found = _evaluate(run.folder, other, "test", replicates, tell)
            rows += _list_leak_rows(protocol, found, external=True)
    origin_of = collect_provenance()
    report = LeakReport(
        folder=out,
        data_name=data_name,
        n_images=len(home),
        n_sources=len(set(group_sources(home))),
        origin=origin,
        counts=counts,
        # The splits' own test images first: these are compared.
        rows=tuple(sorted(rows, key=lambda row: row.subject == "external")),
        reproduce={
            "Command": shlex.join(origin_of["command"]),
            "Seed of both splits": str(seed),
            "Seed of training": str(recipe.train.seed),
            "Recipe": f"{recipe.name} ({recipe.hash()})",
        },
        provenance={
            "leukoscope": origin_of["leukoscope"],
            "Python": f"{origin_of['python']}, {origin_of['platform']}",
            "Packages": ", ".join(f"{k} {v}" for k, v in origin_of["packages"].items()),
            "Written": origin_of["started"],
            **({"Search for sources": settings} if settings else {}),
        },
        warnings=warnings,
    )
    write_leak_report(report)
    return report


def _select_externals(external: Sequence[str | Path], progress: Progress) -> tuple[_OtherData, ...]:
    """Read external data; each gets a name, and a folder name, of its own."""
    others: list[_OtherData] = []
    for data in external:
        path = Path(data)
        records, warnings = _select_other(path, "test", progress)
        folder_name = _safe_name(path)
        shown = path.resolve().name
        if shown in {other.name for other in others}:
            shown = f"{path.resolve().parent.name}/{shown}"
        if folder_name in {other.folder_name for other in others}:
            folder_name = f"{folder_name}_{len(others) + 1}"
        others.append(_OtherData(shown, folder_name, records, warnings))
    return tuple(others)


def _find_joint_sources(
    home: Catalog,
    others: tuple[_OtherData, ...],
    out: Path,
    cache: str | Path | None,
    progress: Progress,
) -> tuple[Catalog, tuple[_OtherData, ...], str]:
    """Find the sources of a catalog and of other data in one search; write the catalog's.

    What two data sets call by one name has nothing in common, nor has a name that was found in
    the pixels of one of them.
    """
    renamed = []
    for k, other in enumerate(others):
        renamed.append(
            tuple(
                replace(
                    r,
                    id=f"external {k}: {r.id}",
                    source=f"{other.folder_name}: {r.source}"
                    if r.source and not _found_in_pixels([r])
                    else "",
                )
                for r in other.records
            )
        )
    union = Catalog((*home.records, *(r for records in renamed for r in records)), home.rejected)
    findings = trace_sources(union, cache=cache, progress=progress)
    found = {record.id: record for record in findings.catalog.records}
    catalog = Catalog(tuple(found[r.id] for r in home.records), home.rejected)
    ids, files = {r.id for r in home.records}, {r.sha256 for r in home.records}
    own = replace(
        findings,
        catalog=catalog,
        links=tuple(x for x in findings.links if {x.first, x.second} <= files),
        featureless=tuple(name for name in findings.featureless if name in ids),
    )
    _save_findings(own, out / "sources.csv", progress)
    joined = tuple(
        replace(
            other,
            records=tuple(
                replace(found[new.id], id=old.id)
                for new, old in zip(records, other.records, strict=True)
            ),
            joint=True,
        )
        for other, records in zip(others, renamed, strict=True)
    )
    return catalog, joined, ", ".join(f"{key} {value}" for key, value in findings.settings.items())


def _list_leak_rows(
    protocol: "LeakProtocol", found: Evaluation, *, external: bool = False
) -> "list[LeakRow]":
    """The row of an evaluation, and one of its images without a copy where some have one."""
    from leukoscope.evaluation.leak_report import LeakRow

    rows = [
        LeakRow(
            protocol=protocol,
            subject="external" if external else "test",
            data=found.data_name,
            verdict=found.verdict,
            n_images=found.n_images,
            n_sources=found.n_sources if found.source_known else None,
            n_with_copy=found.leak.n_with_copy if found.leak else 0,
            accuracy=found.intervals["accuracy"],
            floors=found.floors,
        )
    ]
    if found.leak and found.leak.accuracy:
        rows.append(
            LeakRow(
                protocol=protocol,
                subject="external" if external else "without_copies",
                data=f"{found.data_name}, without copies" if external else found.data_name,
                verdict="disjoint" if found.source_known else "unproven",
                n_images=found.leak.n_images,
                n_sources=found.leak.n_sources if found.source_known else None,
                n_with_copy=0,
                accuracy=found.leak.accuracy,
                floors=found.leak.floors,
            )
        )
    return rows


# -- shared ---------------------------------------------------------------------------------------


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


def _require_report_extra() -> None:
    """Raise `MissingExtraError` before the work instead of an ImportError after it."""
    from importlib.util import find_spec

    if find_spec("jinja2") is None:
        raise MissingExtraError(
            "an HTML page needs the extra `report`",
            "jinja2 not installed",
            "pip install 'leukoscope[report]', or leave --html out",
        )


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


def _name_data(split: Split) -> str:
    """Name a data set by the folder that its images share."""
    common = Path(os.path.commonpath([record.path.parent for record in split.catalog.records]))
    named = [part for part in common.parts if part.casefold() not in WRAPPER_NAMES]
    return named[-1] if len(named) > 1 else "images"


def _safe_name(path: Path) -> str:
    """A folder name from a path."""
    return re.sub(r"[^\w.-]+", "_", path.resolve().stem) or "data"


def _without_hash(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "hash"}


# -- run -> bundle -> predictions -----------------------------------------------------------------


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    variants: "Sequence[VariantName]" = ("fp32", "fp16", "int8"),
    default: "VariantName | None" = None,
    progress: Progress = _silent,
) -> "Bundle":
    """Write a trained run as a bundle that predicts without PyTorch, and return it, opened.

    Every variant is run over a reference set (images that did not train the network) and compared
    with the network in float32 PyTorch; the figures go into the bundle. The int8 variant takes its
    ranges from other images, of the role `calib`, or of `val` where there is none. Nothing is
    written unless every variant passes.

    Raises `MissingStepError` before training has ended, `ParityError` when a variant departs too
    far, `BundleError` when `out` holds something else, `DataError` where nothing is left to check
    it on, `MissingExtraError` without the extra `export`.
    """
    _require_train_extra()
    import torch

    from leukoscope.data.pack import build_pack
    from leukoscope.deploy import export
    from leukoscope.deploy.bundle import BundleInfo, check_target, load_bundle, save_bundle
    from leukoscope.training.scoring import score_rows
    from leukoscope.training.trained import load_trained

    folder, target = RunFolder(Path(run)), Path(out)
    wanted = list(dict.fromkeys(variants))
    if not wanted or (default or wanted[0]) not in wanted:
        raise ConfigError(
            "the default variant must be one of the exported ones",
            f"default {default}, variants {', '.join(wanted) or 'none'}",
            "add it to --variants",
        )
    check_target(target)
    trained = load_trained(folder, torch.device("cpu"))
    records, roles = _used_rows(load_split(folder.require(folder.split, "leukoscope train")))
    fit_role, fit_rows, rows = export.choose_rows(roles)
    pack = build_pack(
        records, trained.input, _find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    logits_NK, _ = score_rows(
        trained.network,
        pack,
        rows,
        on_progress=lambda d, t: progress("Reference in float32 PyTorch", d, t),
    )
    reference = export.Reference(
        pack[rows], tuple(records[i].id for i in rows), logits_NK, trained.classes
    )
    graphs = export.build_variants(trained.network, wanted, pack[fit_rows], progress)
    infos = export.prove_variants(graphs, reference, progress)
    used = ", ".join(f"{n} {role}" for role, n in sorted(Counter(roles[rows].tolist()).items()))
    info = BundleInfo(
        network=trained.network.spec.name,
        classes=trained.classes,
        preprocessing=trained.input,
        preprocessing_text=export.PREPROCESSING_TEXT,
        opset=export.OPSET,
        default=default or wanted[0],
        variants=infos,
        reference_set=f"{len(rows):,} images that did not train the network ({used})"
        + (f"; int8 ranges from {len(fit_rows)} others of {fit_role}" if "int8" in wanted else ""),
        provenance={
            "exported": collect_provenance(),
            "trained": read_json(folder.provenance) if folder.provenance.is_file() else {},
            "recipe": read_json(folder.recipe) if folder.recipe.is_file() else {},
            "weights_sha256": hash_file(folder.weights),
        },
    )
    save_bundle(info, graphs, target)
    return load_bundle(target)


@dataclass(frozen=True)
class PredictedFiles:
    """What `predict_images` did: how many images, how many of them could not be read."""

    out: Path
    images: int
    errors: int
    seconds: float


def predict_images(
    bundle: str | Path,
    images: "Sequence[str | Path]",
    out: str | Path,
    *,
    variant: "VariantName | None" = None,
    engine: "Engine" = "onnxruntime",
    progress: Progress = _silent,
) -> PredictedFiles:
    """Predict files, folders and patterns, and write a table (CSV, Parquet or JSON lines).

    One row per image in the order given; an image that cannot be read is a row with an error.

    Raises `BundleError` for a bundle that cannot be used, `DataError` where there is no image,
    `ConfigError` for another ending of `out`, `StorageError` when the disk is full.
    """
    import time

    from leukoscope.deploy.files import list_images
    from leukoscope.deploy.predictor import Predictor
    from leukoscope.deploy.tables import check_table_path, save_predictions

    start = time.perf_counter()
    check_table_path(Path(out))
    paths = list_images(images)
    predictor = Predictor(bundle, variant=variant, engine=engine)
    rows = predictor.predict_files(
        paths, on_progress=lambda done: progress("Predicting", done, len(paths))
    )
    n, errors = save_predictions(rows, predictor.classes, Path(out))
    return PredictedFiles(Path(out), n, errors, time.perf_counter() - start)


def check_nothing_unreadable(done: PredictedFiles) -> None:
    """Raise `DataError` if an image could not be read; the table is complete all the same."""
    if done.errors:
        raise DataError(
            "with --strict every image must be readable",
            f"{done.errors:,} of {done.images:,} images with an error",
            f"look at the column `error` of {done.out}",
        )
