"""The trust record: a fitted policy with what it was fitted on, as one JSON and one array file.

A run folder holds it as `trust.json` and `trust.npz`; a bundle carries the first inside of its
`bundle.json`. Nothing is ever unpickled. What this file does not do: it fits and decides nothing.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leukoscope.config import TrustConfig
from leukoscope.errors import BundleError, DataError, RunError
from leukoscope.records import read_json
from leukoscope.runfolder import RunFolder
from leukoscope.storage import hash_file
from leukoscope.trust.decision import Policy
from leukoscope.trust.novelty import NoveltyModel

FORMAT: Literal[1] = 1

ARRAYS_FILE = "trust.npz"

MAX_ARRAY_BYTES = 200_000_000

HOME_IMAGES = 500
"""At most so many calibration images, one of a source, lend their embeddings and quality to later
comparisons."""

_NOVELTY = "novelty_"
_AGAIN = "run `leukoscope calibrate` again"

_Record = TypeVar("_Record", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(_Part):
    """A figure with its 95 % interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


class HomeFigures(_Part):
    """What the policy does on the test images of the run, for comparison elsewhere."""

    data: str
    role: str
    leakage_status: str
    """How far the split lets the figures be trusted: a leakage_status of the evaluation, or `local`
    for cells of a laboratory, of which nobody knows whether training has seen them."""
    n_images: int = Field(ge=1)
    n_sources: int = Field(ge=1)
    source_known: bool
    confusion: tuple[tuple[int, ...], ...]
    """Rows: true class, columns: name given, in the order of the classes; all images count."""
    accuracy: Range
    ece: float = Field(ge=0)
    """Debiased expected calibration error after calibration."""
    ece_raw: float = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    mean_set_size: float = Field(ge=0)
    accepted: Range
    """Share of all images."""
    accepted_accuracy: Range
    review_frac: float = Field(ge=0, le=1)
    unknown_frac: float = Field(ge=0, le=1)
    recall: tuple[Range, ...] | None = None
    """Of each class, in their order, over sources; None in older records, as `specificity`."""
    specificity: tuple[Range, ...] | None = None


class TrustInfo(_Part):
    """The content of `trust.json`."""

    format: Literal[1] = FORMAT
    asked: TrustConfig
    policy: Policy
    n_train: int = Field(ge=1)
    n_calib: int = Field(ge=1)
    n_calib_sources: int = Field(ge=1)
    choice: dict[str, Any]
    """How the calibration method was chosen."""
    notes: tuple[str, ...]
    weights_sha256: str
    """Of the network that made the scores."""
    arrays_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    home: HomeFigures | None = None


@dataclass(frozen=True)
class Trust:
    """A trust record, opened: `arrays` are those of the novelty model (names beginning with
    `novelty_`), `home_embeddings` `(M, D)` and `home_quality` `(M, Q)`, M at most 500."""

    info: TrustInfo
    novelty: NoveltyModel
    arrays: Mapping[str, NDArray[Any]]

    @property
    def home_embeddings_MD(self) -> NDArray[np.float32]:
        """Embeddings of some calibration images."""
        return np.asarray(self.arrays["home_embeddings"])

    @property
    def home_quality_MQ(self) -> NDArray[np.float32]:
        """Quality of the same images."""
        return np.asarray(self.arrays["home_quality"])


def pack_arrays(
    novelty: NoveltyModel,
    home_embeddings_MD: NDArray[np.float32],
    home_quality_MQ: NDArray[np.float32],
) -> bytes:
    """Return the content of `trust.npz`; the same arrays give the same bytes."""
    arrays = {f"{_NOVELTY}{name}": array for name, array in novelty.to_arrays().items()}
    arrays |= {"home_embeddings": home_embeddings_MD, "home_quality": home_quality_MQ}
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
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > MAX_ARRAY_BYTES:
            raise ValueError(f"{total:,} bytes of arrays, more than {MAX_ARRAY_BYTES:,}")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        own = {k.removeprefix(_NOVELTY): a for k, a in arrays.items() if k.startswith(_NOVELTY)}
        novelty = NoveltyModel.from_arrays(own)
        if not {"home_embeddings", "home_quality"} <= arrays.keys():
            raise ValueError(f"arrays {', '.join(arrays)}")
    except (DataError, ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{place} must be as `leukoscope calibrate` writes it",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            _AGAIN,
        ) from error
    return Trust(info, novelty, arrays)


def load_trust(folder: RunFolder) -> Trust | None:
    """Return the trust record of a run; None where it was not calibrated.

    Raises `RunError` if the record is of other weights, `BundleError` if it cannot be read.
    """
    if not folder.trust.is_file():
        return None
    info = parse_trust(read_json(folder.trust), str(folder.trust))
    if folder.weights.is_file() and hash_file(folder.weights) != info.weights_sha256:
        raise RunError(
            f"{folder.trust} must be of the trained network beside it",
            "it was calibrated with other weights",
            _AGAIN,
        )
    try:
        content = folder.trust_arrays.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder.trust_arrays} must be a readable file",
            error.strerror or str(error),
            _AGAIN,
        ) from error
    return open_trust(info, content, str(folder.trust_arrays))


def parse_trust(content: Mapping[str, Any], place: str) -> TrustInfo:
    """Read the content of `trust.json`. Raises `BundleError`, naming the first thing wrong."""
    return parse_record(
        TrustInfo,
        content,
        place,
        FORMAT,
        "leukoscope calibrate",
        _AGAIN,
    )


def parse_record(
    model: type[_Record], content: object, place: str, format_: int, writer: str, advice: str
) -> _Record:
    """Read a record that says its `format` and that the command `writer` wrote into `place`.

    Raises `BundleError` for a later format, or naming the first thing wrong and the `advice`.
    """
    version = content.get("format") if isinstance(content, Mapping) else None
    if isinstance(version, int) and version > format_:
        raise BundleError(
            f"{place} must have format {format_} or older",
            f"format {version}",
            "install a newer leukoscope",
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(
            f"{place} must be as `{writer}` writes it", f"{where}: {first['msg']}", advice
        ) from error
