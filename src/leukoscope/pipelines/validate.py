"""From a bundle and the labelled cells of an external site to an acceptance test of the bundle.

What this file does not do: it computes no figure (`evaluation.validation`) and words none
(`report.validation_page`), and it needs no PyTorch. It cannot see which images trained the network:
a bundle does not carry them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.data.catalog import ImageRecord
from leukoscope.data.tables import clean_label
from leukoscope.errors import ConfigError, RunError
from leukoscope.labels import resolve_label
from leukoscope.pipelines.evaluation import select_images
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.locate import LOCATED_BY, locate_images, note_located
from leukoscope.pipelines.recalibrate import check_new, find_usable, recalibrate_bundle
from leukoscope.pipelines.scorers import open_scorer
from leukoscope.progress import Progress, silent
from leukoscope.records import load_record, save_record
from leukoscope.runfolder import RunFolder, collect_provenance
from leukoscope.storage import replacing, replacing_together, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.deploy.bundle import BundleInfo
    from leukoscope.evaluation.acceptance import AcceptanceCriteria
    from leukoscope.evaluation.validation import (
        LocalCells,
        Predictions,
        Validation,
        ValidationProvenance,
    )
    from leukoscope.scores import ScoreTable
    from leukoscope.scoring import Scorer
    from leukoscope.trust.notes import Note
    from leukoscope.trust.record import Trust

READER_COLUMNS = ("reader", "reader_2", "second_reader", "analyser", "analyzer")
"""Columns of labels by others that are known by their name."""

_OWN_COLUMNS = frozenset({"field_group", "role", "protocol", "seed", LOCATED_BY})
"""Written by leukoscope itself; no groups of cells."""

_RECORD = "validation.json"
_SCORES = "validation_scores.parquet"

_SAMPLE_PX = 160
"""Side of an image on the sheet of mistakes."""


@dataclass(frozen=True)
class ValidatedBundle:
    """What a validation found, and where page, text and JSON lie."""

    folder: Path
    page: Path
    record: "Validation"


def validate_bundle(
    bundle: str | Path,
    data: str | Path,
    out: str | Path = "validation",
    *,
    role: str = "test",
    criteria: str | Path | None = None,
    readers: Sequence[str] = (),
    against: str | Path | None = None,
    recalibrate: str | Path | None = None,
    previous: str | Path | None = None,
    class_level: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ValidatedBundle:
    """Evaluate a bundle on the labelled cells of an external site, and write the findings to `out`.

    `data` is what `evaluate_run` takes: folder, table, catalog or split; of data with parts those
    of `role` count; `class_level` is that of `scan_images`. Every further column of a table
    (scanner, site, stain) becomes a table of subgroups. `criteria` is a TOML file
    (`evaluation.acceptance`). `readers` are columns that hold labels by others; those named in
    `READER_COLUMNS` are found. `against` is another bundle or run that classifies the same cells.
    `recalibrate` is the folder of a new bundle whose temperature and thresholds are fitted to half
    of the cells (by source, drawn with `seed`); the other half measures the gain. The old bundle is
    not touched. Cells that a bundle was fitted to in this way are left out when it is validated
    again, and nothing is compared with a reference that was measured on some of these cells.
    `previous` is the record, or the folder, of the look before at the same cells, where the
    criteria plan several (`looks`).

    Writes `validation.html`, `validation.txt`, `validation.json` (the record),
    `validation_scores.parquet` (the score table of the cells) and `rejected.csv`. Raises
    `BundleError` for a bundle that cannot be used, `RunError` where `out` holds a run or a bundle,
    `DataError` where no cell is of a known class, `ConfigError` for criteria or columns that are
    wrong or a look that was not planned, `MissingExtraError` without the extra `report`.
    """
    require_extra("report")
    from leukoscope.deploy.bundle import load_bundle
    from leukoscope.deploy.predictor import Predictor
    from leukoscope.evaluation.acceptance import AcceptanceCriteria, load_criteria
    from leukoscope.evaluation.validation import LocalCells, compute_validation, plan_look
    from leukoscope.scoring import score_files

    _check_out(RunFolder(Path(out)))
    opened = load_bundle(Path(bundle))
    wanted = AcceptanceCriteria()
    if criteria is not None:
        wanted = load_criteria(Path(criteria), opened.info.classes)
    before = None if previous is None else _load_previous(Path(previous))
    look = plan_look(wanted, before, opened.info.provenance.weights_sha256)
    if recalibrate is not None:
        check_new(Path(recalibrate), opened.path)
    records, warnings, rejected = select_images(
        Path(data), role, progress, class_level, Path(out) / "rejected.csv", at_once=False
    )
    usable = find_usable(opened.info, records)
    names = _find_readers(usable.records, readers)
    predictor = Predictor(opened)
    trust = predictor.trust
    renamed = [replace(r, label=wanted.labels.get(r.label, r.label)) for r in usable.records]
    located = locate_images(renamed, predictor.input, progress)
    scored = score_files(predictor, located, "local", progress)
    warnings += note_located(scored.records)
    columns, labels_of = _read_columns(scored.records, names, wanted)
    networks = {}
    if against is not None:
        other = open_scorer(against)
        # Another network may take images whole, or locate cells in its own way.
        read = {record.id for record in scored.records}
        same = locate_images([r for r in renamed if r.id in read], other.input, progress)
        networks[_name_path(Path(against))] = _predict_again(other, same, progress)
    recalibration = None
    if recalibrate is not None:
        progress("Recalibrating", 0, 1)
        recalibration = recalibrate_bundle(
            opened,
            trust,
            scored.records,
            scored.table,
            Path(recalibrate),
            _name_path(Path(data)),
            seed,
        )
        progress("Recalibrating", 1, 1)
    cells = LocalCells(
        scored.table,
        tuple(record.label for record in scored.records),
        _predict(trust, scored.table),
        columns,
        labels_of,
        networks,
    )
    if before is None and wanted.list_criteria():
        warnings = (*warnings, *_find_seen(Path(out), scored.table))
    progress("Computing figures", 0, 1)
    record = compute_validation(
        cells,
        wanted,
        data=_name_path(Path(data)),
        bundle=_name_path(Path(bundle)),
        reference=trust.info.reference if trust else None,
        reference_embeddings_MD=trust.reference_embeddings_MD if trust else None,
        reference_quality_MQ=trust.reference_quality_MQ if trust else None,
        n_fitted=usable.n_fitted,
        n_reference=usable.n_reference,
        unreadable=(*rejected, *scored.unreadable),
        warnings=warnings,
        recalibration=recalibration,
        provenance=_collect_origin(opened.info, criteria, seed),
        look=look,
        seed=seed,
    )
    progress("Computing figures", 1, 1)
    return _write(record, cells, scored.records, Path(out), progress)


def _check_out(folder: RunFolder) -> None:
    """Raise `RunError` for a folder whose files are not those of a validation."""
    from leukoscope.deploy.bundle import BUNDLE_JSON

    for path, what in (
        (folder.model, "a trained run"),
        (folder.checkpoint, "a run in training"),
        (folder.path / BUNDLE_JSON, "a bundle"),
    ):
        if path.exists():
            raise RunError(
                f"{folder.path} must be a folder for page, text and tables of a validation",
                f"it holds {what}",
                "choose another --out, for example a folder inside of it",
            )


def _predict(trust: "Trust | None", table: "ScoreTable") -> "Predictions":
    from leukoscope.evaluation.validation import Predictions
    from leukoscope.trust.decision import decide_table

    if trust is None:
        p_NK = table.probabilities_NK
        return Predictions(p_NK.argmax(axis=1), p_NK)
    found = decide_table(trust.info.policy, trust.novelty, table)
    return Predictions(
        found.labels_N,
        found.probabilities_NK,
        found.sets_NK,
        found.status,
        found.reasons,
        nominal_coverage=1 - trust.info.policy.sets.alpha,
    )


def _predict_again(
    other: "Scorer", records: Sequence[ImageRecord], progress: Progress
) -> tuple[str, ...]:
    """The labels that another network gives the same cells; "" where it knows no such class."""
    from leukoscope.scoring import score_files

    table = score_files(other, records, "local", progress).table
    predicted_N = _predict(other.trust, table).labels_N
    label_of = {
        name: other.classes[k] if true >= 0 else ""
        for name, k, true in zip(table.ids, predicted_N, table.labels_N, strict=True)
    }
    return tuple(label_of.get(record.id, "") for record in records)


# -- columns --------------------------------------------------------------------------------------


def _find_readers(records: Sequence[ImageRecord], given: Sequence[str]) -> tuple[str, ...]:
    columns = {name for record in records for name in record.extra}
    missing = [name for name in given if name not in columns]
    if missing:
        raise ConfigError(
            "a reader is a column of the table of images",
            f"no {', '.join(missing)}; columns {', '.join(sorted(columns)) or 'none'}",
            "correct --reader",
        )
    known = [name for name in sorted(columns) if name.strip().casefold() in READER_COLUMNS]
    return tuple(dict.fromkeys([*given, *known]))


def _read_columns(
    records: Sequence[ImageRecord], readers: Sequence[str], criteria: "AcceptanceCriteria"
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Columns for subgroups, and labels by other readers as the network spells them."""
    names = dict.fromkeys(name for record in records for name in record.extra)
    columns = {
        name: tuple(record.extra.get(name, "").strip() for record in records)
        for name in names
        if name not in readers and name not in _OWN_COLUMNS
    }
    labels_of = {}
    for name in readers:
        labels = [resolve_label(clean_label(record.extra.get(name, ""))) for record in records]
        labels_of[name] = tuple(criteria.labels.get(label, label) for label in labels)
    return {k: v for k, v in columns.items() if any(v)}, labels_of


# -- looks ----------------------------------------------------------------------------------------


def _load_previous(path: Path) -> "Validation":
    from leukoscope.evaluation.validation import Validation

    path = path / _RECORD if path.is_dir() else path
    return load_record(Validation, path, "leukoscope validate", ConfigError)


def _find_seen(out: Path, table: "ScoreTable") -> "tuple[Note, ...]":
    """What to mind where the folder holds a validation of some of these cells, but not of all: then
    cells were added to decide what was open."""
    from leukoscope.scores import load_scores
    from leukoscope.trust.notes import Note

    if not (out / _SCORES).is_file():
        return ()
    try:
        old = set(load_scores(out / _SCORES).ids)
    except RunError:
        return ()  # of another version; it is about to be replaced
    seen = old.intersection(table.ids)
    if not seen or old == set(table.ids):
        return ()
    return (Note("cells_seen_before", {"n": len(seen), "n_images": len(table)}),)


# -- files ----------------------------------------------------------------------------------------


def _collect_origin(
    bundle: "BundleInfo", criteria: str | Path | None, seed: int
) -> "ValidationProvenance":
    from leukoscope.evaluation.validation import ValidationProvenance

    return ValidationProvenance(
        **vars(collect_provenance()),
        network=bundle.network,
        image_size_px=bundle.preprocessing.image_size,
        weights_sha256=bundle.provenance.weights_sha256,
        trained=bundle.provenance.trained.started,
        criteria=Path(criteria).name if criteria is not None else "",
        seed=seed,
    )


def _name_path(path: Path) -> str:
    return path.resolve().stem or str(path)


def _write(
    record: "Validation",
    cells: "LocalCells",
    records: Sequence[ImageRecord],
    out: Path,
    progress: Progress,
) -> ValidatedBundle:
    from leukoscope.data.catalog import save_rejected
    from leukoscope.data.images import load_pixels
    from leukoscope.report.data_words import describe_rejected
    from leukoscope.report.frame import render_html
    from leukoscope.report.page import render_text
    from leukoscope.report.validation_figures import draw_validation
    from leukoscope.report.validation_page import describe_validation
    from leukoscope.scores import save_scores

    def load_image(i: int) -> "NDArray[np.uint8]":
        return load_pixels(records[i].path, _SAMPLE_PX, records[i].box, resize="pad")

    progress("Writing the page", 0, 1)
    page = describe_validation(record, draw_validation(record, cells, load_image))
    with replacing_together(out, last=_RECORD) as staged:
        write_text(staged / "validation.html", render_html(page))
        write_text(staged / "validation.txt", render_text(page))
        with replacing(staged / _SCORES) as temporary:
            save_scores(cells.table, temporary)
        save_rejected(record.unreadable, staged / "rejected.csv", describe_rejected)
        save_record(record, staged / _RECORD)
    progress("Writing the page", 1, 1)
    return ValidatedBundle(out, out / "validation.html", record)
