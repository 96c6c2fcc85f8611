"""Tables of predictions: CSV that a spreadsheet may open, Parquet, JSON lines.

Columns: `path`, `label`, `confidence`, `decision`, `reason` (a sentence), `reason_codes`, `set`
(the labels that fit), one `p:<class>` per class, `error`. Lists are lists; in CSV codes are joined
by `|` and labels are a JSON list, since a label may hold any character. What this file does not do:
it predicts nothing, words no reason, and reads nothing back.
"""

import codecs
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from leukoscope.data.readers import Rejected
from leukoscope.data.spreadsheet import build_writer, neutralise
from leukoscope.deploy.predictor import Prediction
from leukoscope.errors import ConfigError, MissingExtraError
from leukoscope.runfolder import Provenance
from leukoscope.storage import replacing
from leukoscope.trust.decision import Reason
from leukoscope.trust.folder import FolderAcceptance

SUFFIXES = (".csv", ".parquet", ".jsonl")

Describe = Callable[[Sequence[Reason]], str]
"""From the reasons of one image to a sentence; "" for none."""

_ROWS_AT_ONCE = 4096


def check_table_path(path: Path) -> None:
    """Raise `ConfigError` unless the ending of `path` names a format."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"predictions are written to a file that ends in {', '.join(SUFFIXES)}",
            path.name,
            f"write to {path.with_suffix('.csv').name}",
        )


@dataclass(frozen=True)
class PredictedFiles:
    """A table that was written (`out`; None for a stream): how many images, how many of them could
    not be read, and how many have each decision (empty for a bundle of a run that was not
    calibrated). `acceptance` compares them with the internal test set; None where that was not
    measured. `passed_over` are the other files of folders; where there are any, `rejected` is the
    table that lists them. `located` counts what the squares of a network of located cells were laid
    around (`smear.locate`)."""

    out: Path | None
    images: int
    errors: int
    seconds: float
    decisions: Mapping[str, int] = field(default_factory=dict)
    acceptance: FolderAcceptance | None = None
    passed_over: tuple[Rejected, ...] = ()
    located: Mapping[str, int] = field(default_factory=dict)

    @property
    def rejected(self) -> Path | None:
        """Where the files that were passed over are listed; None beside a stream."""
        return self.out.with_suffix(".rejected.csv") if self.out else None

    @property
    def provenance(self) -> Path | None:
        """Where the bundle and the table are named by their hashes; None beside a stream."""
        return self.out.with_suffix(".provenance.json") if self.out else None


@dataclass(frozen=True, kw_only=True)
class PredictionProvenance(Provenance):
    """Content of `<stem>.provenance.json` beside a table of predictions: the bundle by its name and
    the SHA-256 of its `bundle.json`, which names all its files by theirs; what ran it; and the
    SHA-256 of the table as it was written."""

    bundle: str
    bundle_sha256: str
    weights_sha256: str
    variant: str
    engine: str
    table_sha256: str


@dataclass(frozen=True)
class Counts:
    """How many images were written, of these unreadable, and how many with each decision and, where
    it decides, with each predicted label."""

    images: int
    errors: int
    decisions: Mapping[str, int]
    labels: Mapping[str, int]


def save_predictions(
    predictions: Iterable[Prediction],
    classes: Sequence[str],
    out: Path | IO[str],
    describe: Describe,
) -> Counts:
    """Write predictions as they come, at once or not at all; return how many. `describe` words
    their reasons.

    The format is that of the path's ending; a stream is given CSV, row by row. Raises
    `ConfigError` for another ending, `StorageError` when the disk is full, `MissingExtraError` for
    Parquet without pyarrow.
    """
    counted = _Counted(predictions)
    if isinstance(out, Path):
        _write(counted, classes, out, describe)
    else:
        _write_csv(counted, classes, out, describe)
    return Counts(counted.images, counted.errors, dict(counted.decisions), dict(counted.labels))


def _write(counted: "_Counted", classes: Sequence[str], path: Path, describe: Describe) -> None:
    check_table_path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _check_pyarrow()
    with replacing(path) as temporary:
        if suffix == ".parquet":
            _write_parquet(counted, classes, temporary, describe)
        else:
            write = _write_csv if suffix == ".csv" else _write_json_lines
            with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as to:
                write(counted, classes, to, describe)
            if suffix == ".csv":
                _mark_unicode(temporary)


def _mark_unicode(path: Path) -> None:
    """Do what `mark_unicode` does to a file of any length."""
    with path.open("rb") as written:
        if all(part.isascii() for part in iter(lambda: written.read(1 << 20), b"")):
            return
        written.seek(0)
        with replacing(path) as marked, marked.open("wb") as to:
            to.write(codecs.BOM_UTF8)
            shutil.copyfileobj(written, to)


class _Counted:
    def __init__(self, predictions: Iterable[Prediction]) -> None:
        self.predictions = predictions
        self.images = self.errors = 0
        self.decisions: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Prediction]:
        for prediction in self.predictions:
            self.images += 1
            self.errors += bool(prediction.error)
            if prediction.decision:
                self.decisions[prediction.decision] += 1
                self.labels[prediction.label] += 1
            yield prediction


def _list_codes(prediction: Prediction) -> list[str]:
    """Each code once: an image that is poor in three ways is poor."""
    return list(dict.fromkeys(reason.code for reason in prediction.reasons))


def _write_csv(
    predictions: Iterable[Prediction], classes: Sequence[str], to: IO[str], describe: Describe
) -> None:
    write = build_writer(to)
    columns = ("path", "label", "confidence", "decision", "reason", "reason_codes", "set")
    write([*columns, *(f"p:{name}" for name in classes), "error"])
    for one in predictions:
        figures = [f"{value:.6f}" for value in one.probabilities] or [""] * len(classes)
        confidence = "" if one.confidence is None else f"{one.confidence:.6f}"
        codes = "|".join(_list_codes(one))
        labels = json.dumps(one.labels, ensure_ascii=False) if one.decision else ""
        texts = (one.decision, describe(one.reasons), codes, labels, *figures, one.error)
        row = (one.path, one.label, confidence, *texts)
        write([neutralise(text) for text in row])


def _write_json_lines(
    predictions: Iterable[Prediction], classes: Sequence[str], to: IO[str], describe: Describe
) -> None:
    for one in predictions:
        row: dict[str, object] = {"path": one.path}
        if one.error:
            row["error"] = one.error
        else:
            row |= {"label": one.label, "confidence": one.confidence}
            if one.decision:
                row |= {
                    "decision": one.decision,
                    "reason": describe(one.reasons),
                    "reason_codes": _list_codes(one),
                    "set": list(one.labels),
                }
            row["probabilities"] = dict(zip(classes, one.probabilities, strict=True))
        to.write(json.dumps(row, ensure_ascii=False) + "\n")


def _check_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "predictions in Parquet need the package pyarrow",
            "it is not installed",
            "pip install 'leukoscope[report]', or write to a .csv or .jsonl file",
        ) from error


def _write_parquet(
    predictions: Iterable[Prediction], classes: Sequence[str], path: Path, describe: Describe
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("path", pa.string()),
            ("label", pa.string()),
            ("confidence", pa.float64()),
            ("decision", pa.string()),
            ("reason", pa.string()),
            ("reason_codes", pa.list_(pa.string())),
            ("set", pa.list_(pa.string())),
            *((f"p:{name}", pa.float64()) for name in classes),
            ("error", pa.string()),
        ]
    )
    rest = iter(predictions)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := list(islice(rest, _ROWS_AT_ONCE)):
            columns: dict[str, list[object]] = {
                "path": [
                    one.path.encode(errors="surrogateescape").decode(errors="replace")
                    for one in rows
                ],
                "label": [one.label or None for one in rows],
                "confidence": [one.confidence for one in rows],
                "decision": [one.decision or None for one in rows],
                "reason": [describe(one.reasons) or None for one in rows],
                "reason_codes": [_list_codes(one) if one.decision else None for one in rows],
                "set": [list(one.labels) if one.decision else None for one in rows],
            }
            for k, name in enumerate(classes):
                columns[f"p:{name}"] = [
                    one.probabilities[k] if one.probabilities else None for one in rows
                ]
            columns["error"] = [one.error or None for one in rows]
            writer.write_table(pa.table(columns, schema))
