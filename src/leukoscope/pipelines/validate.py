"""From a bundle and the labelled cells of another laboratory to an acceptance test of the bundle.

What this file does not do: it computes no figure and words none (`leukoscope.evaluation`), and it
needs no PyTorch. It cannot see which images trained the network: a bundle does not carry them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.data.catalog import ImageRecord
from leukoscope.data.readers import Rejected
from leukoscope.errors import ConfigError, RunError
from leukoscope.labels import resolve_label
from leukoscope.pipelines.evaluation import select_images
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.recalibrate import check_new, find_spent, recalibrate_bundle
from leukoscope.pipelines.scorers import open_scorer
from leukoscope.progress import Progress, silent
from leukoscope.records import write_json
from leukoscope.report.data_words import describe_rejected
from leukoscope.runfolder import RunFolder, collect_provenance
from leukoscope.storage import create_folder, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.deploy.bundle import VariantName
    from leukoscope.deploy.predictor import Predictor
    from leukoscope.evaluation.acceptance import Limits
    from leukoscope.evaluation.validation import Answers, LocalCells, Validation
    from leukoscope.scores import ScoreTable
    from leukoscope.scoring import ScoredFiles, Scorer
    from leukoscope.trust.record import Trust

READER_COLUMNS = ("reader", "reader_2", "second_reader", "analyser", "analyzer")
"""Columns of labels by others that are known by their name."""


@dataclass(frozen=True)
class ValidatedBundle:
    """What a validation left: the findings, and where page, text and JSON lie."""

    folder: Path
    page: Path
    found: "Validation"


def validate_bundle(
    bundle: str | Path,
    data: str | Path,
    out: str | Path = "validation",
    *,
    role: str = "test",
    limits: str | Path | None = None,
    readers: Sequence[str] = (),
    against: str | Path | None = None,
    recalibrate: str | Path | None = None,
    variant: "VariantName | None" = None,
    seed: int = 0,
    replicates: int = 1000,
    progress: Progress = silent,
) -> ValidatedBundle:
    """Judge a bundle on the labelled cells of another laboratory, and write the findings to `out`.

    `data` is what `evaluate_run` takes: folder, table, catalog or split; of data with parts those
    of `role` count. Every further column of a table (scanner, site, stain) becomes a table of
    subgroups. `limits` is a TOML file of what is asked (`evaluation.limits`). `readers` are columns
    that hold labels by others; those named in `READER_COLUMNS` are found. `against` is another
    bundle that names the same cells. `recalibrate` is the folder of a new bundle whose levels are
    fitted to half of the cells (by source, drawn with `seed`); the other half tells the gain. The
    old bundle is not touched. Cells that a bundle was fitted to in this way are left out when it is
    validated again, and nothing is compared with home where home are some of these cells.

    Writes `validation.html`, `validation.txt`, `validation.json`, `validation_scores.parquet` (the
    score table of the cells) and `unreadable.csv`. Raises `BundleError` for a bundle that cannot be
    used, `RunError` where `out` holds a run or a bundle, `DataError` where no cell is of a known
    class, `ConfigError` for limits or columns that are wrong, `MissingExtraError` without the extra
    `report`.
    """
    require_extra("report")
    from leukoscope.deploy.bundle import load_bundle
    from leukoscope.deploy.predictor import Predictor
    from leukoscope.evaluation.acceptance import Limits, load_limits
    from leukoscope.evaluation.validation import LocalCells, compute_validation
    from leukoscope.scoring import score_files

    _check_out(RunFolder(Path(out)))
    opened = load_bundle(Path(bundle))
    classes = opened.info.classes
    asked = load_limits(Path(limits), classes) if limits is not None else Limits()
    if recalibrate is not None:
        check_new(Path(recalibrate), opened.path)
    records, warnings, rejected = select_images(Path(data), role, progress)
    spent = find_spent(opened.info, records)
    records, warnings = spent.fresh, (*spent.warnings, *warnings)
    others = _find_readers(records, readers)
    predictor = Predictor(opened, variant=variant)
    # From here on in the words of the network, where it has one.
    records = tuple(
        replace(record, label=asked.labels.get(record.label, record.label)) for record in records
    )
    scored = score_files(predictor, records, "local", progress)
    answers = _answer(predictor.trust, scored.table)
    rejected = (*rejected, *scored.unreadable)
    columns, read = _read_columns(scored.records, others, asked)
    if against is not None:
        other = open_scorer(against)
        read[f"the network {_name_path(Path(against))}"] = _name_again(other, scored, progress)
    recalibration = None
    if recalibrate is not None:
        progress("Fitting to local cells", 0, 1)
        recalibration = recalibrate_bundle(
            opened,
            predictor.trust,
            scored.records,
            scored.table,
            Path(recalibrate),
            _name_path(Path(data)),
            seed,
            replicates,
        )
        progress("Fitting to local cells", 1, 1)
    names = tuple(record.label for record in scored.records)
    cells = LocalCells(scored.table, names, answers, columns, read)
    progress("Computing figures", 0, 1)
    trust = predictor.trust
    found = compute_validation(
        cells,
        asked,
        data_name=_name_path(Path(data)),
        bundle_name=_name_path(Path(bundle)),
        home=trust.info.reference if trust and not spent.n_judged else None,
        no_home=f"{spent.n_judged:,} of these very cells are its home" if spent.n_judged else "",
        reference_embeddings_MD=trust.reference_embeddings_MD if trust else None,
        reference_quality_MQ=trust.reference_quality_MQ if trust else None,
        unreadable=[(r.path, r.code, describe_rejected(r)) for r in rejected],
        warnings=(*warnings, *_list_warnings()),
        recalibration=recalibration,
        provenance=_describe(predictor, Path(data), limits, seed),
        replicates=replicates,
        seed=seed,
    )
    progress("Computing figures", 1, 1)
    return _write(found, cells, scored, rejected, Path(out), progress)


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


def _answer(trust: "Trust | None", table: "ScoreTable") -> "Answers":
    from leukoscope.evaluation.validation import Answers
    from leukoscope.trust.decision import decide_table

    if trust is None:
        p_NK = table.probabilities_NK
        return Answers(p_NK.argmax(axis=1), p_NK)
    policy = trust.info.policy
    found = decide_table(policy, trust.novelty, table)
    # The sets as they were promised: a decision adds the given name to its own.
    sets_NK = policy.sets.predict(found.probabilities_NK)
    return Answers(
        found.labels_N,
        found.probabilities_NK,
        sets_NK,
        found.status,
        found.reasons,
        promised_coverage=1 - trust.info.asked.alpha,
    )


# -- columns --------------------------------------------------------------------------------------


def _find_readers(records: Sequence[ImageRecord], asked: Sequence[str]) -> tuple[str, ...]:
    columns = {name for record in records for name in record.extra}
    missing = [name for name in asked if name not in columns]
    if missing:
        raise ConfigError(
            "a reader is a column of the table of images",
            f"no {', '.join(missing)}; columns {', '.join(sorted(columns)) or 'none'}",
            "correct --reader",
        )
    known = [name for name in sorted(columns) if name.strip().casefold() in READER_COLUMNS]
    return tuple(dict.fromkeys([*asked, *known]))


_OWN_COLUMNS = frozenset({"field_group", "role", "protocol", "seed"})
"""Written by leukoscope itself; no groups of cells."""


def _read_columns(
    records: Sequence[ImageRecord], readers: Sequence[str], limits: "Limits"
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Columns for subgroups, and labels by other readers in the words of the network."""
    names = dict.fromkeys(name for record in records for name in record.extra)
    columns = {
        name: tuple(record.extra.get(name, "").strip() for record in records)
        for name in names
        if name not in readers and name not in _OWN_COLUMNS
    }
    read = {}
    for name in readers:
        labels = [resolve_label(record.extra.get(name, "")) for record in records]
        read[name] = tuple(limits.labels.get(label, label) for label in labels)
    return {k: v for k, v in columns.items() if any(v)}, read


def _name_again(other: "Scorer", scored: "ScoredFiles", progress: Progress) -> tuple[str, ...]:
    """What another network calls the same cells; "" for cells of classes that it does not know."""
    from leukoscope.scoring import score_files

    again = score_files(other, scored.records, "local", progress)
    called = {
        name: other.classes[k] if label >= 0 else ""
        for name, k, label in zip(
            again.table.ids,
            _answer(other.trust, again.table).calls_N,
            again.table.labels_N,
            strict=True,
        )
    }
    return tuple(called.get(record.id, "") for record in scored.records)


# -- words and files ------------------------------------------------------------------------------


def _list_warnings() -> tuple[str, ...]:
    return (
        "A bundle does not carry its training images: whether some of these cells are among them"
        " cannot be seen here. `leukoscope data audit CATALOG --against OTHER` looks for copies.",
    )


def _describe(
    predictor: "Predictor", data: Path, limits: str | Path | None, seed: int
) -> dict[str, str]:
    info = predictor.bundle.info
    own = collect_provenance()
    trained = info.provenance.get("trained", {})
    return {
        "Bundle": str(predictor.bundle.path.resolve().name),
        "Network": f"{info.network}, {info.preprocessing.image_size} px",
        "Weights SHA-256": str(info.provenance.get("weights_sha256", "not told")),
        "Trained": str(trained.get("started", "not told")),
        "Data": data.name,
        "Limits": str(Path(limits).name) if limits is not None else "none",
        "Seed": str(seed),
        "leukoscope": str(own["leukoscope"]),
        "Python": f"{own['python']}, {own['platform']}",
        "Validated": str(own["started"]),
    }


def _name_path(path: Path) -> str:
    return path.resolve().stem or str(path)


def _write(
    found: "Validation",
    cells: "LocalCells",
    scored: "ScoredFiles",
    rejected: Sequence[Rejected],
    out: Path,
    progress: Progress,
) -> ValidatedBundle:
    from leukoscope.data.catalog import save_rejected
    from leukoscope.report.validation_json import validation_to_json
    from leukoscope.report.validation_page import render_validation, render_validation_text
    from leukoscope.scores import save_scores
    from leukoscope.storage import replacing

    progress("Writing the page", 0, 1)
    create_folder(out)
    page = out / "validation.html"
    write_text(page, render_validation(found, _draw(found, cells, scored)))
    write_text(out / "validation.txt", render_validation_text(found))
    write_json(out / "validation.json", validation_to_json(found))
    with replacing(out / "validation_scores.parquet") as temporary:
        save_scores(cells.table, temporary)
    save_rejected(rejected, out / "unreadable.csv", describe_rejected)
    progress("Writing the page", 1, 1)
    return ValidatedBundle(out, page, found)


def _draw(
    found: "Validation", cells: "LocalCells", scored: "ScoredFiles"
) -> Mapping[str, tuple[bytes | str, str]]:
    import numpy as np

    from leukoscope.report import figures

    known = np.flatnonzero(cells.table.labels_N >= 0)
    labels_N = cells.table.labels_N[known]
    p_NK = cells.answers.probabilities_NK[known]
    sources = [cells.table.sources[i] for i in known]
    if found.home is None:
        classes = figures.draw_per_class(
            {one.name: one.sensitivity.here for one in found.per_class},
            {one.name: one.n_images for one in found.per_class},
        )
    else:
        classes = figures.draw_here_and_home(
            {one.name: (one.sensitivity.here, one.sensitivity.there) for one in found.per_class}
        )
    drawn: dict[str, tuple[bytes | str, str]] = {
        "classes": (figures.render_svg(classes), "Sensitivity of each class with its interval"),
        "reliability": (
            figures.render_svg(figures.draw_reliability(labels_N, p_NK, sources)),
            "Reliability diagram: how often right against how sure",
        ),
    }
    rows = known[figures.choose_samples(labels_N, p_NK)["confident_wrong"]]
    if len(rows):
        images = [_load_sample(scored.records[i]) for i in rows]
        captions = [
            figures.caption_sample(
                int(cells.table.labels_N[i]), cells.answers.probabilities_NK[i], found.classes
            )
            for i in rows
        ]
        title = figures.SAMPLE_TITLES["confident_wrong"]
        sheet = figures.draw_samples(images, captions, title)
        drawn["mistakes"] = (figures.render_png(sheet), title)
    return drawn


def _load_sample(record: ImageRecord) -> "NDArray[np.uint8]":
    from leukoscope.data.images import load_pixels

    return load_pixels(record.path, SAMPLE_PX, record.box, resize="pad")


SAMPLE_PX = 160
"""Side of an image on the sheet of mistakes."""
