"""The trust record: a fitted policy with what it was fitted on, as one JSON and one array file.

A run folder holds it as `trust.json` and `trust.npz`; a bundle carries the first inside of its
`bundle.json`. Nothing is ever unpickled. Axes: M images, D embedding width, Q quality features.
What this file does not do: it fits and decides nothing.
"""

import hashlib
import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.config import TrustConfig
from leukoscope.errors import BundleError, DataError, FileError, RunError
from leukoscope.interval import Interval
from leukoscope.records import load_record
from leukoscope.runfolder import RunFolder
from leukoscope.scores import LeakageStatus
from leukoscope.storage import hash_file, read_file
from leukoscope.trust.calibration import CalibrationChoice
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.decision import Policy
from leukoscope.trust.notes import Note
from leukoscope.trust.novelty import NoveltyModel

FORMAT: Literal[1] = 1

MAX_ARRAY_BYTES = 200_000_000

REFERENCE_IMAGES = 500
"""At most so many calibration images, one of a source, leave their embeddings and quality for later
comparisons."""

_NOVELTY = "novelty_"
_AGAIN = "run `leukoscope calibrate` again"

_UNREADABLE = (
    DataError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, tokenize.TokenError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What reading a damaged or hostile archive of arrays raises."""

_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, le=1)]


class Reference(BaseModel):
    """What the policy does on the internal test set: what a bundle carries of its development site,
    for comparison at other sites. K classes, in the order of the policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    role: str
    leakage_status: LeakageStatus | Literal["local"]
    """How far the split lets the figures be trusted; `local` for cells of a laboratory, of which
    nobody knows whether training has seen them."""
    n_images: int = Field(ge=1)
    n_sources: int = Field(ge=1)
    source_known: bool
    confusion: tuple[tuple[int, ...], ...]
    """Rows: true class, columns: predicted class; images of all decisions count."""
    accuracy: Interval
    recall: tuple[Interval, ...]
    """Of each class, over sources; NaN for a class without images, as in `specificity`."""
    specificity: tuple[Interval, ...]
    ece: _NonNegative
    """Debiased expected calibration error after calibration."""
    ece_raw: _NonNegative
    sets: DeliveredSets
    accepted: Interval
    """Share of all images."""
    class_accepted: tuple[Interval, ...]
    """Share of the images of each true class, with bounds of `folder.FOLDER_LEVEL` over sources."""
    accepted_correlation: _Fraction
    """By how much images of one class are accepted more alike if they are of one source: the
    intraclass correlation, 0 where every source has one image or nothing varies."""
    accepted_accuracy: Interval
    errors: AcceptedErrors
    """Of the accepted images."""
    review_frac: _Fraction
    unknown_frac: _Fraction


class CalibrationCounts(BaseModel):
    """How the policy calls the calibration cells: what a count of other cells is corrected by.
    K classes, in the order of the policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    called: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...]
    """Cells by true class (rows) and by predicted class, the last column those that are rejected
    as unknown: `(K, K + 1)`."""
    effective: tuple[_NonNegative, ...]
    """As how many independent cells those of each true class count: cells of one source are called
    alike (Kish 1965)."""
    correlation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of being called correctly, within a source that holds several classes as a patient or a slide
    does: so far another sample's rows lie from these. 0 where sources are single pictures, which
    say nothing of that."""
    n_samples: _NonNegative = 0.0
    """Of how many such sources the correlation is known, by Kish's number; 0 where it is not."""

    @model_validator(mode="after")
    def _check_shapes(self) -> "CalibrationCounts":
        k = len(self.called)
        if {len(row) for row in self.called} != {k + 1} or len(self.effective) != k:
            raise ValueError(f"{k} classes need {k} rows of {k + 1} counts, and {k} numbers")
        return self


class TrustInfo(BaseModel):
    """The content of `trust.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = FORMAT
    config: TrustConfig
    """What was aimed at."""
    policy: Policy
    n_train: int = Field(ge=1)
    n_calib: int = Field(ge=1)
    n_calib_sources: int = Field(ge=1)
    choice: CalibrationChoice
    """How the calibration method was chosen."""
    notes: tuple[Note, ...]
    weights_sha256: str
    """Of the network that made the scores."""
    scores_sha256: str | None = None
    """Of the score table that it was fitted to; None for the cells of a laboratory."""
    arrays_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    calibration_counts: CalibrationCounts | None = None
    """None of a record that was fitted before they were kept: no count can be corrected by it."""
    reference: Reference | None = None
    """None where the internal test set holds no image of known class."""


@dataclass(frozen=True)
class Trust:
    """A trust record, opened: the `reference_` arrays describe M calibration images, at most
    `REFERENCE_IMAGES`."""

    info: TrustInfo
    novelty: NoveltyModel
    reference_embeddings_MD: NDArray[np.float32]
    reference_quality_MQ: NDArray[np.float32]


def pack_arrays(
    novelty: NoveltyModel,
    reference_embeddings_MD: NDArray[np.float32],
    reference_quality_MQ: NDArray[np.float32],
) -> bytes:
    """Return the content of `trust.npz`; the same arrays give the same bytes."""
    arrays = {f"{_NOVELTY}{name}": array for name, array in novelty.to_arrays().items()}
    arrays |= {
        "reference_embeddings": reference_embeddings_MD,
        "reference_quality": reference_quality_MQ,
    }
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def open_trust(info: TrustInfo, content: bytes, place: str) -> Trust:
    """Return a trust record from its two parts. `place` names the array file for the reader.

    Raises `BundleError` if the bytes are not those that the record was written with.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != info.arrays_sha256:
        raise BundleError(
            f"{place} must hold what was calibrated (SHA-256 {info.arrays_sha256[:16]}...)",
            f"{found[:16]}..., {len(content):,} bytes",
            "copy it again from where it came, or run `leukoscope calibrate` again",
        )
    try:
        arrays = _read_arrays(content)
        own = {k.removeprefix(_NOVELTY): a for k, a in arrays.items() if k.startswith(_NOVELTY)}
        return Trust(
            info,
            NoveltyModel.from_arrays(own),
            arrays["reference_embeddings"],
            arrays["reference_quality"],
        )
    except _UNREADABLE as error:
        raise BundleError(
            f"{place} must be as `leukoscope calibrate` writes it",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            _AGAIN,
        ) from error


def _read_arrays(content: bytes) -> Mapping[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        total = sum(member.file_size for member in archive.infolist())
        if total > MAX_ARRAY_BYTES:
            raise ValueError(f"{total:,} bytes of arrays, more than {MAX_ARRAY_BYTES:,}")
        for member in archive.infolist():
            with archive.open(member) as file:
                _check_header(file, member.file_size)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _check_header(file: IO[bytes], size: int) -> None:
    """Raise `ValueError` where an array claims another size than it has, or holds objects: reading
    it would ask for any amount of memory."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or claimed != size - file.tell():
        raise ValueError(f"an array of shape {shape}, {dtype}")


def load_trust(folder: RunFolder) -> Trust | None:
    """Return the trust record of a run; None where it was not calibrated.

    Raises `RunError` if the record is of other weights or scores than those beside it,
    `BundleError` if it cannot be read.
    """
    if not folder.trust.is_file():
        return None
    info = load_record(TrustInfo, folder.trust, "leukoscope calibrate", BundleError)
    for path, sha256, what in (
        (folder.weights, info.weights_sha256, "weights"),
        (folder.scores, info.scores_sha256, "scores"),
    ):
        if path.is_file() and hash_file(path) != sha256:
            raise RunError(
                f"{folder.trust} must be of the trained network beside it",
                f"it was calibrated with other {what}",
                _AGAIN,
            )
    try:
        content = read_file(folder.trust_arrays)
    except FileError as error:
        raise BundleError(error.expected, error.found, _AGAIN) from error
    return open_trust(info, content, str(folder.trust_arrays))
