"""From a trained run to an evaluation and its report, on its own images or on others.

What this file does not do: it computes no figure and draws none (`leukoscope.evaluation`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukoscope.config import Recipe, parse_recipe
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import found_in_pixels, group_sources, sources_known
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import Split, audit_split, load_split
from leukoscope.errors import DataError
from leukoscope.pipelines.data import load_table, name_data, scan_images, used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import find_packs, load_run_scores
from leukoscope.progress import Progress, silent
from leukoscope.records import read_json
from leukoscope.report.data_words import describe_split_findings
from leukoscope.runfolder import RunFolder
from leukoscope.scoring import score_records

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.images import Pixels
    from leukoscope.interval import Interval
    from leukoscope.report.evaluation_page import Comparison, Leak, ReportContent
    from leukoscope.report.results import Study
    from leukoscope.scores import LeakageStatus, ScoreTable


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. `baselines` are accuracies; `sentences` word the leakage_status.

    Where the leakage_status is `leaking`, `intervals` and `baselines` count images with a copy in
    training; `leak` says how many these are, and what is left without them.
    """

    folder: Path
    report: Path
    data_name: str
    role: str
    n_images: int
    n_sources: int
    source_known: bool
    intervals: "dict[str, Interval]"
    baselines: "dict[str, Interval]"
    leakage_status: "LeakageStatus"
    sentences: tuple[str, ...]
    leak: "Leak | None"
    rejection: tuple[str, ...] = ()
    """When it rejects, in words; empty for a run that was not calibrated."""

    @property
    def source_disjoint(self) -> "Interval | None":
        """Accuracy on the images of which no copy lies in training, as far as copies are known;
        None where these are too few, or where it is not known at all which images are copies."""
        if self.leak is not None:
            return self.leak.accuracy
        return self.intervals["accuracy"] if self.leakage_status == "disjoint" else None


def evaluate_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    role: str = "test",
    name: str | None = None,
    replicates: int = 1000,
    progress: Progress = silent,
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
    require_extra("train")
    other = None
    if data is not None:
        records, warnings = select_other(Path(data), role, progress)
        other = OtherData(Path(data).name, name or safe_name(Path(data)), records, warnings)
    return evaluate_folder(RunFolder(Path(run)), other, role, replicates, progress)


def evaluate_folder(
    folder: RunFolder,
    other: "OtherData | None",
    role: str,
    replicates: int,
    progress: Progress,
) -> Evaluation:
    """Do what `evaluate_run` does, on other data that were read already; None means its own."""
    import numpy as np

    from leukoscope.data.pack import build_pack, shrink_pack
    from leukoscope.evaluation.baselines import compute_baselines
    from leukoscope.report.results import write_evaluation
    from leukoscope.report.trust_words import word_rejection
    from leukoscope.trust.record import load_trust

    folder.require(folder.model, "leukoscope train")
    recipe = parse_recipe(
        without_hash(read_json(folder.require(folder.recipe, "leukoscope train")))
    )
    home = load_split(folder.require(folder.split, "leukoscope train"))
    records, roles = used_rows(home)
    pack = build_pack(
        records, recipe.input, find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    if other is None:
        subject = _own_subject(folder, home, role, pack)
    else:
        subject = _other_subject(folder, home, other, role, recipe, progress)
    trust = load_trust(folder)
    study = replace(
        subject.study,
        trust=trust,
        limit_copies=list_copies(home, role, ("calib",)) if other is None else frozenset(),
        fitted_on=trust is not None and other is None and role in ("train", "calib"),
    )
    if study.fitted_on and role == "calib":
        note = "These images set the limits of this run; figures of them are optimistic."
        study = replace(study, leakage_sentences=(note, *study.leakage_sentences))
    labels = {label: k for k, label in enumerate(subject.table.classes)}
    train_rows = np.flatnonzero(roles == "train")
    known = np.flatnonzero(subject.table.labels_N >= 0)
    baseline_px = min(recipe.input.image_size, BASELINE_PX)
    progress("Fitting baselines", 0, 1)
    baselines = (
        compute_baselines(
            shrink_pack(pack, train_rows, baseline_px),
            np.array([labels[records[row].label] for row in train_rows], dtype=np.int64),
            shrink_pack(subject.pack_NHWC, subject.rows[known], baseline_px),
            subject.table.labels_N[known],
            subject.table.classes,
            [subject.table.sources[row] for row in known],
            seed=recipe.train.seed,
        )
        if len(known)
        else {}
    )
    progress("Fitting baselines", 1, 1)
    progress("Writing the report", 0, 1)
    content = write_evaluation(
        subject.table,
        study,
        baselines,
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
        baselines={baseline: found.accuracy for baseline, found in content.baselines.items()},
        leakage_status=content.leakage_status,
        sentences=_word_leakage(content),
        leak=content.leak,
        rejection=word_rejection(content.trust) if content.trust else (),
    )


BASELINE_PX = 96
"""Baselines see images of at most this side; they use nothing finer."""


@dataclass(frozen=True)
class OtherData:
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

    scores = load_run_scores(folder)
    rows = np.flatnonzero(np.array(scores.roles) == role)
    if not len(rows):
        raise DataError(
            f"the run must have images in the role {role}",
            f"roles {', '.join(sorted(set(scores.roles)))}",
            "its members together were trained on all the others: judge it on other data, by --data"
            if folder.ensemble.is_file()
            else "choose one of these by --role",
        )
    audit = audit_split(home)
    out = folder.path if role == "test" else folder.evaluation(role)
    sentences = describe_split_findings(audit)
    leakage_status, leaked = judge_own_role(home, role)
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
            name_data(home),
            role,
            home.protocol,
            leakage_status,
            sentences,
            out,
            leaked=leaked,
        ),
    )


def judge_own_role(home: Split, role: str) -> "tuple[LeakageStatus, frozenset[str]]":
    """Tell how far a figure of one role of a split can be trusted, and which of its images have a
    copy among those that the network was fitted on."""
    # What chose the epoch is judged against what the network was fitted on.
    leaked = list_copies(home, role, ("train",) if role == "val" else ("train", "val"))
    # Sources that cross other roles do not make this figure any better.
    if leaked:
        return "leaking", leaked
    return ("disjoint" if audit_split(home).sources_known else "unproven"), leaked


def list_copies(home: Split, role: str, among: Sequence[str]) -> frozenset[str]:
    """Return the ids of the images of a role whose source has images in the roles `among` too."""
    own = list(zip(home.catalog.records, home.roles, home.sources, strict=True))
    seen = {source for _, part, source in own if part in among}
    return frozenset(r.id for r, part, source in own if part == role and source in seen)


def _other_subject(
    folder: RunFolder,
    home: Split,
    other: OtherData,
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
    pack = build_pack(
        records, recipe.input, out / "pack", lambda d, t: progress("Decoding other images", d, t)
    )
    table = score_records(
        trained, records, pack, [role] * len(records), group_sources(catalog),
        sources_known(catalog), progress,
    )  # fmt: skip
    leakage_status, sentences, leaked = judge_other(
        home, records, trained.classes, other.name, joint=other.joint
    )
    warnings = other.warnings + warn_unknown(records, trained.classes)
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
            leakage_status,
            sentences,
            out,
            warnings,
            leaked,
        ),
    )


def judge_other(
    home: Split,
    records: Sequence[ImageRecord],
    classes: Sequence[str],
    name: str,
    *,
    joint: bool = False,
) -> "tuple[LeakageStatus, tuple[str, ...], frozenset[str]]":
    """Tell how far a figure on other data can be trusted, why, and which of its images also lie in
    training or validation."""
    leaked = _list_shared(home, records, classes)
    if leaked:
        return "leaking", (f"{len(leaked):,} images also lie in training or validation.",), leaked
    if (
        sources_known(Catalog(tuple(records)))
        and sources_known(home.catalog)
        and (joint or not found_in_pixels(r.source for r in (*home.catalog.records, *records)))
    ):
        return "disjoint", (), leaked
    told = (
        f"No image of {name} is byte-identical to a training image; copies that were rotated,"
        " cropped or re-encoded cannot be excluded. `leukoscope data audit --against` looks for"
        " them."
    )
    return "unproven", (told,), leaked


def warn_unknown(records: Sequence[ImageRecord], classes: Sequence[str]) -> tuple[str, ...]:
    """Say how many images are of classes that a network does not know; nothing if none is."""
    unknown = [record.label for record in records if record.label not in classes]
    if not unknown:
        return ()
    return (
        f"{len(unknown):,} images are of classes the network does not know and are left out:"
        f" {', '.join(sorted(set(unknown)))}.",
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


def select_other(
    data: Path, role: str, progress: Progress
) -> tuple[tuple[ImageRecord, ...], tuple[str, ...]]:
    """The rows of other data that count, and a warning about those that do not."""
    chosen, warnings, rejected = select_images(data, role, progress)
    if rejected:
        warnings += (f"{len(rejected):,} files were rejected; `leukoscope data scan` says why.",)
    return chosen, warnings


def select_images(
    data: Path, role: str, progress: Progress
) -> tuple[tuple[ImageRecord, ...], tuple[str, ...], tuple[Rejected, ...]]:
    """The rows of other data that count, warnings about rows that do not, and rejected files."""
    split = load_table(data)
    rejected: tuple[Rejected, ...] = ()
    if isinstance(split, Split):
        records, parts = split.catalog.records, split.roles
    else:
        catalog = split or scan_images(data, progress=progress)
        records, parts = catalog.records, tuple(r.split for r in catalog.records)
        rejected = catalog.rejected
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
    return chosen, warnings, rejected


def _build_study(
    folder: RunFolder,
    records: Sequence[ImageRecord],
    data_name: str,
    role: str,
    protocol: str,
    leakage_status: "LeakageStatus",
    sentences: tuple[str, ...],
    out: Path,
    warnings: tuple[str, ...] = (),
    leaked: frozenset[str] = frozenset(),
) -> "Study":
    import csv

    from leukoscope.report.results import Study

    model = read_json(folder.model)
    history: list[dict[str, float]] = []
    if "members" not in model:  # an ensemble was not trained; its members have histories
        with folder.require(folder.history, "leukoscope train").open(encoding="utf-8") as file:
            history = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    origin = read_json(folder.require(folder.provenance, "leukoscope train"))
    recipe = read_json(folder.recipe)
    return Study(
        title=f"Evaluation on {data_name}",
        data_name=data_name,
        role=role,
        protocol=protocol,
        leakage_status=leakage_status,
        leakage_sentences=sentences,
        history=history,
        compare=_list_others(folder, out),
        warnings=warnings,
        provenance={
            "Run": str(folder.path.resolve().name),
            "Network": f"{model['spec']['name']}, {model['spec']['image_size']} px"
            + (f", best epoch {model['best_epoch']} of {len(history)}" if history else ""),
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
    from leukoscope.report.results import list_comparisons

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
            metrics["leakage_status"],
            _read_interval(rest["accuracy"]) if rest else None,
            rest["n_images"] if rest else 0,
        )
    return tuple(found)


def _read_interval(figure: dict[str, Any]) -> "Interval":
    from leukoscope.interval import Interval

    return Interval(figure["value"], figure["low"], figure["high"])


def _word_leakage(content: "ReportContent") -> tuple[str, ...]:
    from leukoscope.report.evaluation_page import LEAKAGE_TEXTS, LEAKAGE_TITLES, word_leak

    leak = content.leak
    return (
        f"{LEAKAGE_TITLES[content.leakage_status]}. {LEAKAGE_TEXTS[content.leakage_status]}",
        *(
            word_leak(leak, content.intervals["accuracy"], content.n_images, content.source_known)
            if leak
            else ()
        ),
        *content.leakage_sentences,
    )


def safe_name(path: Path) -> str:
    """A folder name from a path."""
    return re.sub(r"[^\w.-]+", "_", path.resolve().stem) or "data"


def without_hash(content: dict[str, Any]) -> dict[str, Any]:
    """A run's recipe as it was before its hash was written beside it."""
    return {key: value for key, value in content.items() if key != "hash"}
