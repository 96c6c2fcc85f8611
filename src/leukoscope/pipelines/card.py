"""From a run or a bundle to its model card and to what it can answer of two checklists.

What this file does not do: it words nothing (`leukoscope.report.model_card`) and computes no
figure.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leukoscope.data.splits import ROLES, Split, audit_split
from leukoscope.deploy.bundle import BUNDLE_JSON, BundleInfo, load_bundle
from leukoscope.errors import BundleError, RunError
from leukoscope.pipelines.data import name_data
from leukoscope.pipelines.evaluation import find_mismatch, load_evaluation
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import load_run_split
from leukoscope.records import load_record, save_record
from leukoscope.report.checklist import Document
from leukoscope.runfolder import RunFolder
from leukoscope.storage import replacing_together, write_text
from leukoscope.trust.record import TrustInfo

if TYPE_CHECKING:
    from leukoscope.evaluation.record import EvaluationRecord
    from leukoscope.report.card_records import CardRecords, DataSummary, Network

_Record = TypeVar("_Record")

CARD_FILE = "MODEL_CARD.md"
FIELDS_FILE = "model_card.json"
FILES = {CARD_FILE: "model_card", "CLAIM.md": "claim", "TRIPOD_AI.md": "tripod_ai"}
"""The texts, and the checklists that they answer."""


@dataclass(frozen=True)
class CardFile:
    """Content of `model_card.json`: every item with its answer, by the file that shows it.

    `written_sha256` are the hashes of each text as it was written, the last and, while files are
    being replaced, the one before: a text with another hash was edited by a person.
    """

    documents: Mapping[str, Document]
    written_sha256: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class WrittenCard:
    """A card, and where its files lie."""

    folder: Path
    documents: Mapping[str, Document]

    @property
    def files(self) -> tuple[Path, ...]:
        """The card, the checklists, and the record of their answers."""
        return tuple(self.folder / name for name in (*self.documents, FIELDS_FILE))


def write_card(
    run_or_bundle: str | Path, out: str | Path | None = None, *, bundle: str | Path | None = None
) -> WrittenCard:
    """Write the model card of a run or a bundle, and its answers to CLAIM and TRIPOD+AI.

    Writes `MODEL_CARD.md`, `CLAIM.md`, `TRIPOD_AI.md` and `model_card.json` (every item with the
    records that answer it) into `out`, by default beside the records. What no record holds is left
    as `[to be filled in: ...]`. With `bundle`, the card of a run shows the parity of its bundle
    too. A card that a person has edited since is never overwritten.

    Raises `MissingStepError` before training has ended, `BundleError` for something that is no
    bundle or a bundle of another run, `RunError` for an edited card, `StorageError`.
    """
    require_extra("report")
    from leukoscope.report.model_card import build_document, render_card, render_checklist

    place = Path(run_or_bundle)
    is_bundle = (place / BUNDLE_JSON).is_file()
    records = load_bundle_records(place) if is_bundle else load_run_records(place, bundle)
    documents = {file: build_document(name, records) for file, name in FILES.items()}
    texts = {
        file: render_card(document) if file == CARD_FILE else render_checklist(document)
        for file, document in documents.items()
    }
    folder = place if out is None else Path(out)
    old = _check_not_edited(folder)
    new = {file: (_hash(text.encode("utf-8", "surrogateescape")),) for file, text in texts.items()}
    # Before the texts take their places: a killed process leaves none that looks edited.
    both = {file: (*old.get(file, ()), *own) for file, own in new.items()}
    with replacing_together(folder, last=FIELDS_FILE) as staged:
        for file, text in texts.items():
            write_text(staged / file, text)
        save_record(CardFile(documents, new), staged / FIELDS_FILE)
        save_record(CardFile(documents, both), folder / FIELDS_FILE)
    return WrittenCard(folder, documents)


def load_run_records(run: Path, bundle: str | Path | None = None) -> "CardRecords":
    """Collect what a run folder knows of itself, and with `bundle` what that bundle does.

    Files of later steps may be missing. Those of `robustness`, `validate` and `explain` are read
    from the folders `robustness`, `validation` and `explained` inside of the run. Raises as
    `write_card` does, and `RunError` if one of them is of other weights.
    """
    from leukoscope.evaluation.robustness import Robustness
    from leukoscope.evaluation.validation import Validation
    from leukoscope.explain.record import Explanation
    from leukoscope.report.card_records import CardRecords

    folder = RunFolder(run)
    network = _load_network(folder)
    sha256 = network.weights_sha256
    trust = _load(TrustInfo, folder.trust, "leukoscope calibrate")
    if trust is not None:
        _check_weights(folder.trust, trust.weights_sha256, sha256)
    place = folder.path / "robustness" / "robustness.json"
    robustness = _load(Robustness, place, "leukoscope robustness")
    if robustness is not None:
        _check_weights(place, robustness.provenance.weights_sha256, sha256)
    place = folder.path / "validation" / "validation.json"
    validation = _load(Validation, place, "leukoscope validate")
    if validation is not None and validation.provenance is not None:
        _check_weights(place, validation.provenance.weights_sha256, sha256)
    place = folder.path / "explained" / "faithfulness.json"
    explanation = _load(Explanation, place, "leukoscope explain")
    if explanation is not None:
        _check_weights(place, explanation.provenance.weights_sha256, sha256)
    own = folder.path / "metrics.json"
    others = sorted((folder.path / "evaluations").glob("*/metrics.json"))
    evaluations = {path: load_evaluation(path) for path in (own, *others) if path.is_file()}
    for path, one in evaluations.items():
        _check_evaluation(folder, path, one)
    return CardRecords(
        network=network,
        recipe=folder.load_recipe() if folder.recipe.is_file() else None,
        provenance=folder.load_provenance() if folder.provenance.is_file() else None,
        data=summarise_split(load_run_split(folder)) if folder.split.is_file() else None,
        epochs_s=_load_epochs(folder),
        evaluation=evaluations.get(own),
        evaluations={path.parent.name: evaluations[path] for path in others} or None,
        trust=trust,
        bundle=_load_bundle(Path(bundle), sha256) if bundle else None,
        robustness=robustness,
        validation=validation,
        explanation=explanation,
    )


def load_bundle_records(path: Path) -> "CardRecords":
    """Collect what a bundle knows of the network in it. Raises `BundleError`."""
    from leukoscope.report.card_records import CardRecords, Network

    info = load_bundle(path).info
    origin = info.provenance
    return CardRecords(
        network=Network(
            info.network,
            info.classes,
            info.preprocessing,
            origin.weights_sha256,
            n_members=max(1, len(origin.trained.members)),
        ),
        recipe=origin.recipe,
        provenance=origin.trained,
        trust=info.trust,
        bundle=info,
    )


def summarise_split(split: Split) -> "DataSummary":
    """Return what a card says of a split."""
    from leukoscope.report.card_records import DataSummary

    sources: dict[str, dict[str, set[str]]] = {role: {} for role in ROLES}
    for record, role, source in zip(split.catalog.records, split.roles, split.sources, strict=True):
        if role:
            sources[role].setdefault(record.label, set()).add(source)
    used = [r for r, role in zip(split.catalog.records, split.roles, strict=True) if role]
    widths, heights = [r.width for r in used], [r.height for r in used]
    return DataSummary(
        name=name_data(split),
        classes=split.catalog.classes,
        audit=audit_split(split),
        class_sources={
            role: {label: len(found) for label, found in own.items()}
            for role, own in sources.items()
        },
        n_boxed=sum(record.box is not None for record in used),
        width_px=(min(widths), max(widths)),
        height_px=(min(heights), max(heights)),
        columns=tuple(sorted({name for record in used for name in record.extra})),
    )


def _load_network(folder: RunFolder) -> "Network":
    from leukoscope.evaluation.comparison import DistillationComparison, EnsembleComparison
    from leukoscope.models.spec import CoAtNetSpec
    from leukoscope.report.card_records import Network
    from leukoscope.training.record import load_model_record

    model = load_model_record(folder)
    spec = model.spec
    single = spec if isinstance(spec, CoAtNetSpec) else None
    student = _load(DistillationComparison, folder.distillation, "leukoscope distill")
    if student is not None:
        _check_weights(folder.distillation, student.student.sha256, model.sha256)
    if folder.ensemble.is_file():
        folder.read_bound(folder.ensemble)
    ensemble = _load(EnsembleComparison, folder.ensemble, "leukoscope ensemble")
    return Network(
        name=spec.name,
        classes=model.classes,
        input=model.input,
        weights_sha256=model.sha256,
        stages=tuple((stage.kind, stage.depth) for stage in single.stages) if single else (),
        best_epoch=model.best_epoch,
        n_members=1 if isinstance(spec, CoAtNetSpec) else len(spec.members),
        views=ensemble.tta if ensemble is not None else "none",
        teacher=student.teacher.network if student is not None else "",
    )


def _load(kind: type[_Record], path: Path, writer: str) -> _Record | None:
    return load_record(kind, path, writer) if path.is_file() else None


def _load_epochs(folder: RunFolder) -> tuple[float, ...] | None:
    """Return how many seconds each epoch took."""
    from leukoscope.training.record import load_history

    if not folder.history.is_file():
        return None
    return tuple(row["Seconds"] for row in load_history(folder))


def _load_bundle(path: Path, weights_sha256: str) -> BundleInfo:
    info = load_bundle(path).info
    if info.provenance.weights_sha256 != weights_sha256:
        raise BundleError(
            f"{path} must be a bundle of the run that the card is about",
            "it was exported from other weights",
            "name the run's own bundle, or leave --bundle out",
        )
    return info


def _check_weights(path: Path, found: object, weights_sha256: str) -> None:
    if found != weights_sha256:
        raise RunError(
            f"{path} must be of the trained network beside it",
            "it is of other weights",
            "run that command again on this run or its bundle, or move the file away",
        )


def _check_evaluation(folder: RunFolder, path: Path, found: "EvaluationRecord") -> None:
    other = find_mismatch(folder, found)
    if other:
        raise RunError(
            f"{path} must be an evaluation of the run as it is",
            f"it was made with other {other}",
            "run `leukoscope evaluate` again, or move the file away",
        )


def _check_not_edited(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the hashes of the texts written before. Raises `RunError` if a text that is there is
    not as it was written: blanks that a person has filled in are never lost."""
    place = folder / FIELDS_FILE
    known: Mapping[str, tuple[str, ...]] = {}
    if place.is_file():
        known = load_record(CardFile, place, "leukoscope card").written_sha256
    for name in FILES:
        path = folder / name
        if path.exists() and _hash(path.read_bytes()) not in known.get(name, ()):
            raise RunError(
                f"{path} must be as `leukoscope card` wrote it, to be written again",
                "somebody has edited it",
                "write into another folder by --out, or move it away",
            )
    return known


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
