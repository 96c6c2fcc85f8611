"""From a trained run to an evaluation and its report, on its own images or on others.

What this file does not do: it computes nothing (`evaluation.evaluate`), draws and says nothing
(`report.evaluation_figures`, `report.evaluation_page`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import Recipe
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import group_sources, sources_known
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import Split
from leukoscope.errors import ConfigError, DataError
from leukoscope.pipelines.data import compare_pixels, load_table, name_data, scan_images, used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.locate import locate_images, note_located
from leukoscope.pipelines.runs import find_packs, load_run_scores, load_run_split
from leukoscope.progress import Progress, silent
from leukoscope.records import load_record, save_record
from leukoscope.runfolder import RunFolder
from leukoscope.scoring import score_records
from leukoscope.storage import (
    build_name,
    check_name,
    create_folder,
    hash_file,
    replacing_together,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.images import Pixels
    from leukoscope.evaluation.baselines import Baseline
    from leukoscope.evaluation.leakage import Leakage
    from leukoscope.evaluation.record import (
        BaselineName,
        Comparison,
        EpochFigures,
        EvaluationProvenance,
        EvaluationRecord,
    )
    from leukoscope.report.evaluation_figures import Drawing
    from leukoscope.scores import ScoreTable
    from leukoscope.trust.notes import Note

BASELINE_PX = 96
"""Baselines see images of at most this side; they use nothing finer."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and where its files lie: `metrics.json` (the record),
    `model_evaluation_results.txt`, `report.html` and `figures/`. `uncalibrated` says why a run that
    was to be calibrated was not."""

    record: "EvaluationRecord"
    folder: Path
    uncalibrated: str = ""

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"


@dataclass(frozen=True)
class OtherData:
    """Images from elsewhere to be evaluated on. `folder_name` names the evaluation's folder.
    `joint`: their sources were found together with those of the training images, so that equal
    names and different names both mean what they say. `rejected` are the files that a scan left
    out, None where the caller lists them. `place` is where they lie, None where it does not
    matter."""

    name: str
    folder_name: str
    records: tuple[ImageRecord, ...]
    warnings: "tuple[Note, ...]"
    joint: bool = False
    rejected: tuple[Rejected, ...] | None = None
    place: Path | None = None


def evaluate_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    role: str = "test",
    name: str | None = None,
    class_level: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a trained run on one role of its own split, or on other data, and write a report.

    Its own role is read from the score table, without a network; the files go into the run folder
    for the role `test` and into `evaluations/<role>` for others. Other data are scanned, scored,
    and checked against the training images by bytes, sources and fields; their files go into
    `evaluations/<name>`. Of other data with roles or named parts, those of `role` count; of data
    without any, all images. `class_level` is that of `scan_images`.

    Where images have a duplicate in training, no accuracy stands alone: the figures of all images
    are marked as leaked, and those of the images without a duplicate stand beside them.

    Raises `MissingStepError` before training has ended, `DataError` for an empty role,
    `ConfigError` for a `name` that is no name of a folder, and where without a `name` the folder of
    the evaluation is that of data from another place.
    """
    require_extra("train")
    from leukoscope.trust.notes import Note

    other = None
    if name is not None:
        check_name(name)
    if data is not None:
        own = build_name(Path(data).resolve().stem) if name is None else name
        folder = RunFolder(Path(run))
        folder.require(folder.model, "leukoscope train")
        if name is None:
            _check_place(folder.evaluation(own), Path(data).resolve())
        rejected = folder.evaluation(own) / "rejected.csv"
        records, warnings, left_out = select_images(
            Path(data), role, progress, class_level, rejected, at_once=False
        )
        if left_out:
            warnings += (Note("files_rejected", {"n": len(left_out)}),)
        place = Path(data).resolve()
        other = OtherData(Path(data).name, own, records, warnings, rejected=left_out, place=place)
    return evaluate_folder(RunFolder(Path(run)), other, role, progress)


def _check_place(folder: Path, data: Path) -> None:
    """Raise `ConfigError` where a folder holds the evaluation of data from another place."""
    path = folder / "metrics.json"
    origin = load_evaluation(path).provenance if path.is_file() else None
    if origin is not None and origin.place not in (None, str(data)):
        raise ConfigError(
            "data of one name from two places need two names",
            f"{folder} holds the evaluation of {origin.place}",
            "give this one another by --name",
        )


def evaluate_folder(
    folder: RunFolder, other: OtherData | None, role: str, progress: Progress
) -> Evaluation:
    """Do what `evaluate_run` does, on other data that were read already; None means its own."""
    from leukoscope.data.pack import build_pack
    from leukoscope.evaluation.evaluate import evaluate_table
    from leukoscope.evaluation.leakage import list_duplicates
    from leukoscope.report.evaluation_figures import draw_evaluation
    from leukoscope.trust.notes import Note
    from leukoscope.trust.record import load_trust

    # Done before by `train`; an ensemble, or a run whose audit is gone, has nothing of it left.
    split = compare_pixels(load_run_split(folder), progress=progress)
    recipe = folder.load_recipe()
    if other is not None:
        located = locate_images(other.records, recipe.input, progress)
        other = replace(other, records=located)
    records, roles = used_rows(split)
    pack = build_pack(
        records, recipe.input, find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    if other is None:
        subject = _select_role(folder, split, role, pack)
    else:
        subject = _score_other(folder, split, other, role, recipe, progress)
    trust, leakage = load_trust(folder), subject.leakage
    fitted_here = trust is not None and other is None and role in ("train", "calib")
    if fitted_here and role == "calib":
        remark = Note("thresholds_fitted_here")
        leakage = replace(leakage, remarks=(remark, *leakage.remarks))
    baselines = _fit_baselines(records, roles, pack, subject, recipe, progress)
    progress("Writing the report", 0, 1)
    found = evaluate_table(
        subject.table,
        baselines,
        leakage,
        data=subject.data,
        role=role,
        protocol=split.protocol if other is None else "other data",
        trust=trust,
        calib_duplicates=list_duplicates(split, role, ("calib",)) if other is None else frozenset(),
        fitted_here=fitted_here,
        warnings=subject.warnings + note_located(subject.evaluated),
    )
    record = replace(
        found.record,
        compare=_list_others(folder, subject.folder),
        history=_load_history(folder),
        provenance=_collect_provenance(folder, other, calibrated=trust is not None),
    )
    boxes = {one.id: one.box for one in subject.records if one.box is not None}
    drawn = draw_evaluation(replace(found, record=record), boxes)
    write_evaluation(record, drawn, subject.folder, other.rejected if other is not None else None)
    progress("Writing the report", 1, 1)
    return Evaluation(record, subject.folder)


def write_evaluation(
    record: "EvaluationRecord",
    drawn: "Mapping[str, Drawing]",
    out: Path,
    rejected: Sequence[Rejected] | None = None,
) -> None:
    """Write `metrics.json`, `model_evaluation_results.txt`, `report.html`, `figures/` and, where
    files were scanned, `rejected.csv` into a folder, all of them or none. Raises `StorageError` if
    it cannot be written."""
    from leukoscope.data.catalog import save_rejected
    from leukoscope.report.data_words import describe_rejected
    from leukoscope.report.evaluation_figures import save_drawings
    from leukoscope.report.evaluation_page import describe_evaluation
    from leukoscope.report.frame import render_html
    from leukoscope.report.page import render_text

    with replacing_together(out, last="metrics.json") as staged:
        if rejected is not None:
            save_rejected(rejected, staged / "rejected.csv", describe_rejected)
        pictures = save_drawings(drawn, create_folder(staged / "figures"))
        page = describe_evaluation(record, pictures)
        write_text(staged / "report.html", render_html(page))
        write_text(staged / "model_evaluation_results.txt", render_text(page))
        save_record(record, staged / "metrics.json")


@dataclass(frozen=True)
class _Subject:
    """What is evaluated: scores, the pack rows of the same images, and what is known about them."""

    folder: Path
    data: str
    records: tuple[ImageRecord, ...]
    table: "ScoreTable"
    pack_NHWC: "Pixels"
    rows: "NDArray[np.int64]"
    leakage: "Leakage"
    warnings: "tuple[Note, ...]" = ()

    @property
    def evaluated(self) -> tuple[ImageRecord, ...]:
        """The records of the images that count."""
        ids = set(self.table.ids)
        return tuple(record for record in self.records if record.id in ids)


def _select_role(folder: RunFolder, split: Split, role: str, pack: "Pixels") -> _Subject:
    import numpy as np

    from leukoscope.evaluation.leakage import assess_role

    scores = load_run_scores(folder)
    rows = np.flatnonzero(np.array(scores.roles) == role)
    if not len(rows):
        raise DataError(
            f"the run must have images in the role {role}",
            f"roles {', '.join(sorted(set(scores.roles)))}",
            "its members together were trained on all the others: evaluate it on other data, by"
            " --data"
            if folder.ensemble.is_file()
            else "choose one of these by --role",
        )
    return _Subject(
        folder=folder.path if role == "test" else folder.evaluation(role),
        data=name_data(split),
        records=split.catalog.records,
        table=scores.take(rows),
        pack_NHWC=pack,
        rows=rows,
        leakage=assess_role(split, role),
    )


def _score_other(
    folder: RunFolder, split: Split, other: OtherData, role: str, recipe: Recipe, progress: Progress
) -> _Subject:
    import numpy as np

    from leukoscope.data.pack import build_pack
    from leukoscope.evaluation.leakage import assess_other
    from leukoscope.training.trained import load_trained

    records = other.records
    out = folder.evaluation(other.folder_name)
    trained = load_trained(folder)
    catalog = Catalog(records)
    pack = build_pack(
        records, recipe.input, out / "pack", lambda d, t: progress("Decoding other images", d, t)
    )
    table = score_records(
        trained, records, pack, [role] * len(records), group_sources(catalog),
        sources_known(catalog), progress,
    )  # fmt: skip
    return _Subject(
        folder=out,
        data=other.name,
        records=records,
        table=table,
        pack_NHWC=pack,
        rows=np.arange(len(records)),
        leakage=assess_other(split, records, trained.classes, other.name, joint=other.joint),
        warnings=other.warnings + list_unknown(records, trained.classes),
    )


def _fit_baselines(
    records: Sequence[ImageRecord],
    roles: "NDArray[np.str_]",
    pack: "Pixels",
    subject: _Subject,
    recipe: Recipe,
    progress: Progress,
) -> "dict[BaselineName, Baseline]":
    """Fit the baselines on the training images, and score them on the rows of known class."""
    import numpy as np

    from leukoscope.data.pack import shrink_pack
    from leukoscope.evaluation.baselines import compute_baselines

    table = subject.table
    known = np.flatnonzero(table.labels_N >= 0)
    if not len(known):
        return {}
    progress("Fitting baselines", 0, 1)
    labels = {label: k for k, label in enumerate(table.classes)}
    train_rows = np.flatnonzero(roles == "train")
    side_px = min(recipe.input.image_size, BASELINE_PX)
    found = compute_baselines(
        shrink_pack(pack, train_rows, side_px),
        np.array([labels[records[int(row)].label] for row in train_rows], dtype=np.int64),
        shrink_pack(subject.pack_NHWC, subject.rows[known], side_px),
        table.labels_N[known],
        table.classes,
        [table.sources[row] for row in known],
        seed=recipe.train.seed,
    )
    progress("Fitting baselines", 1, 1)
    return found


def list_unknown(records: Sequence[ImageRecord], classes: Sequence[str]) -> "tuple[Note, ...]":
    """Say how many images are of classes that a network does not know; nothing if none is."""
    from leukoscope.trust.notes import Note

    unknown = [record.label for record in records if record.label not in classes]
    if not unknown:
        return ()
    labels = tuple(sorted(set(unknown)))
    return (Note("unknown_classes", {"n": len(unknown), "labels": labels}),)


def select_images(
    data: Path,
    role: str,
    progress: Progress,
    class_level: int | None = None,
    rejected_list: Path | None = None,
    *,
    at_once: bool = True,
) -> "tuple[tuple[ImageRecord, ...], tuple[Note, ...], tuple[Rejected, ...]]":
    """Return the rows of other data that count, warnings about rows that do not, and rejected
    files; `rejected_list` and `at_once` as in `scan_images`."""
    from leukoscope.trust.notes import Note

    split = load_table(data)
    rejected: tuple[Rejected, ...] = ()
    if isinstance(split, Split):
        records, parts = split.catalog.records, split.roles
    else:
        catalog = split or scan_images(
            data,
            class_level=class_level,
            rejected=rejected_list,
            at_once=at_once,
            progress=progress,
        )
        records, parts = catalog.records, tuple(r.split for r in catalog.records)
        rejected = catalog.rejected
    chosen = tuple(r for r, part in zip(records, parts, strict=True) if part == role)
    warnings: tuple[Note, ...] = ()
    if not any(parts):
        chosen = records
    elif not chosen:
        raise DataError(
            f"{data} must have images in the role {role}",
            f"roles {', '.join(sorted(set(parts) - {''}))}",
            "choose one of these by --role",
        )
    elif len(chosen) < len(records):
        left_out = len(records) - len(chosen)
        warnings += (Note("other_parts_left_out", {"n": left_out, "role": role}),)
    return chosen, warnings, rejected


def _load_history(folder: RunFolder) -> "tuple[EpochFigures, ...]":
    """Return the epochs of a run; none of an ensemble, whose members have their own."""
    from leukoscope.evaluation.record import EpochFigures
    from leukoscope.training.record import load_history

    return tuple(
        EpochFigures(
            int(row["Epoch"]),
            row["Training Loss"],
            row["Validation Loss"],
            row["Training Accuracy"],
            row["Validation Accuracy"],
        )
        for row in load_history(folder)
    )


def _collect_provenance(
    folder: RunFolder, other: OtherData | None, *, calibrated: bool
) -> "EvaluationProvenance":
    from leukoscope.evaluation.record import EvaluationProvenance
    from leukoscope.training.record import load_model_record

    model = load_model_record(folder)
    origin, recipe = folder.load_provenance(), folder.load_recipe()
    return EvaluationProvenance(
        run=folder.path.resolve().name,
        network=model.spec.name,
        image_size=model.spec.image_size,
        best_epoch=model.best_epoch,
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        seeds=origin.seeds,
        precision=recipe.train.precision,
        weights_sha256=model.sha256,
        split_sha256=model.split_sha256,
        leukoscope=origin.leukoscope,
        python=origin.python,
        platform=origin.platform,
        packages=origin.packages,
        command=origin.command,
        started=origin.started,
        scores_sha256=model.scores_sha256 if other is None else None,
        trust_sha256=hash_file(folder.trust) if calibrated else None,
        place=str(other.place) if other is not None and other.place is not None else None,
    )


def load_evaluation(path: Path) -> "EvaluationRecord":
    """Read a `metrics.json`. Raises `RunError`."""
    from leukoscope.evaluation.record import EvaluationRecord

    return load_record(EvaluationRecord, path, "leukoscope evaluate")


def find_mismatch(folder: RunFolder, found: "EvaluationRecord") -> str:
    """Name what of a run an evaluation was not made with: `weights`, `split`, `scores` or
    `thresholds`; "" where it belongs to the run as it is. One that was made before the run was
    calibrated belongs to it."""
    from leukoscope.training.record import load_model_record

    model, origin = load_model_record(folder), found.provenance
    if origin is None:
        return ""
    if origin.weights_sha256 != model.sha256:
        return "weights"
    if origin.split_sha256 != model.split_sha256:
        return "split"
    if origin.scores_sha256 not in (None, model.scores_sha256):
        return "scores"
    trust = hash_file(folder.trust) if folder.trust.is_file() else ""
    return "thresholds" if origin.trust_sha256 not in (None, trust) else ""


def _list_others(folder: RunFolder, out: Path) -> "tuple[Comparison, ...]":
    """Return other evaluations of the same run that were written before; those of what the run
    held at another time are left out."""
    places = (folder.path, *sorted((folder.path / "evaluations").glob("*")))
    files = [place / "metrics.json" for place in places if place != out]
    found = [load_evaluation(path) for path in files if path.is_file()]
    return tuple(one.summarise() for one in found if not find_mismatch(folder, one))
