"""The bundle, the interface of the product: one folder, ONNX graphs and one JSON about them.

    BUNDLE/
      bundle.json          classes, preprocessing, variants with their hashes, parity, provenance,
                           and how scores become decisions (`trust`)
      model.fp32.HASH.onnx and the other variants; HASH: the first digits of their SHA-256
      trust.HASH.npz       arrays of the novelty model

A file of another content has another name, so a bundle changes in one step, when its JSON does.

A graph takes `images`, uint8 `(B, S, S, 3)` RGB as `images.load_input` returns them, and gives
`logits` `(B, K)` and `embedding` `(B, D)`, float32, and of an ensemble `disagreement` `(B,)`.
Between the bytes of a file and that array: decode to 8-bit RGB (EXIF rotation applied, transparency
on white), resize to a square as `preprocessing` says (Pillow, antialiased when shrinking), move
colours to its reference where it names a stain (`data.stain`). The graph itself computes x / 127.5
- 1. What this file does not do: it runs nothing (`predictor`) and makes nothing (`export`). Nothing
in a bundle is ever unpickled.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.config import InputConfig, SavedRecipe
from leukoscope.deploy.graphs import check_graph
from leukoscope.errors import BundleError, ConfigError, FileError
from leukoscope.records import parse_sealed, save_record
from leukoscope.runfolder import Provenance, RunProvenance
from leukoscope.storage import (
    is_empty_folder,
    read_file,
    replacing_together,
)
from leukoscope.trust.record import Trust, TrustInfo, open_trust

FORMAT: Literal[1] = 1
BUNDLE_JSON = "bundle.json"
MAX_JSON_BYTES = 16_000_000
MAX_GRAPH_BYTES = (1 << 31) - 1
"""A protocol buffer cannot be larger."""

NOTICE = "Research use only. Not a medical device; no claim of clinical performance."

VariantName = Literal["fp32", "fp16", "int8"]
VARIANTS: tuple[VariantName, ...] = ("fp32", "fp16", "int8")

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

_DIGITS = 8
_OWN_FILE = re.compile(
    rf"model\.({'|'.join(VARIANTS)})\.[0-9a-f]{{{_DIGITS}}}\.onnx|trust\.[0-9a-f]{{{_DIGITS}}}\.npz"
)


def name_graph(variant: VariantName, sha256: str) -> str:
    """Return the name of a graph's file in a bundle."""
    return f"model.{variant}.{sha256[:_DIGITS]}.onnx"


def name_arrays(sha256: str) -> str:
    """Return the name of the file of a trust record's arrays in a bundle."""
    return f"trust.{sha256[:_DIGITS]}.npz"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ChangedDecision(_Part):
    """One image whose most probable class is another one in a variant."""

    id: str
    reference: str
    variant: str
    margin: float = Field(ge=0)
    """Distance of the two highest probabilities in float32 PyTorch: 0 is a toss-up."""


class Parity(_Part):
    """What a variant does on the reference set, against the trained network in float32 PyTorch."""

    images: int = Field(ge=1)
    max_logit_difference: float = Field(ge=0)
    mean_logit_difference: float = Field(ge=0)
    max_probability_difference: float = Field(ge=0, le=1)
    max_disagreement_difference: float | None = Field(None, ge=0)
    """In nats, of an ensemble; None for one network."""
    decisions_changed: int = Field(ge=0)
    changed: tuple[ChangedDecision, ...]
    max_logit_tolerance: float | None = None
    """None where only decisions are held to a limit (reduced precision)."""
    max_changed_frac: float = Field(ge=0, le=1)
    outcomes_changed: int | None = Field(None, ge=0)
    """Images whose decision (accepted, review, unknown) or label differs under the policy of the
    run; None for one that was not calibrated."""
    max_outcome_frac: float | None = Field(None, ge=0, le=1)


class VariantInfo(_Part):
    """One graph of a bundle."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")
    sha256: _Sha256
    bytes: int = Field(ge=1)
    parity: Parity


class ParitySet(_Part):
    """Which images of the run were used: for the parity figures, those of `roles`, counted; for the
    ranges of int8, `n_int8` others of `int8_role`, 0 where there is no such variant.

    Parity is measured on images that did not train the network; with `in_training`, on any, since
    the members of an ensemble together were trained on nearly all.
    """

    roles: dict[str, int] = Field(min_length=1)
    in_training: bool = False
    n_int8: int = Field(0, ge=0)
    int8_role: str = ""


class RecalibrationOrigin(_Part):
    """What a bundle keeps of one recalibration at a site: the files that it was fitted to, those
    that its reference was measured on (both by the first digits of their SHA-256), and which trust
    record was replaced."""

    data: str
    seed: int
    n_fit: int = Field(ge=1)
    n_fit_sources: int = Field(ge=1)
    fitted_files: tuple[str, ...]
    reference_files: tuple[str, ...]
    from_arrays_sha256: str
    by: Provenance


class BundleProvenance(_Part):
    """Where a bundle comes from: its export, the training of its run, and what was fitted since."""

    exported: Provenance
    trained: RunProvenance
    recipe: SavedRecipe
    weights_sha256: _Sha256
    recalibrated: tuple[RecalibrationOrigin, ...] = ()


class BundleInfo(_Part):
    """The content of `bundle.json`."""

    format: Literal[1] = FORMAT
    notice: str = NOTICE
    network: str
    """Name of the preset."""
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: InputConfig
    opset: int = Field(ge=18)
    default: VariantName
    """The variant that predicts unless another is asked for."""
    variants: dict[VariantName, VariantInfo] = Field(min_length=1)
    parity_set: ParitySet
    provenance: BundleProvenance
    trust: TrustInfo | None = None
    """How scores become decisions; None for a run that was never calibrated."""

    @model_validator(mode="after")
    def _check_default(self) -> "BundleInfo":
        if self.default not in self.variants:
            raise ValueError(f"the default variant {self.default} is not among the variants")
        if self.trust is not None and self.trust.policy.classes != self.classes:
            raise ValueError("the trust record is of a network with other classes")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened: its folder, its explanation, and the SHA-256 of the JSON file that
    holds it, which names the bundle as a whole."""

    path: Path
    info: BundleInfo
    sha256: str

    def read_graph(self, name: VariantName | None = None) -> bytes:
        """Return the bytes of a variant's graph (None: the default one), checked against its hash.

        Raises `BundleError` if the variant or its file is missing, its bytes are not those that
        were exported, or the graph is none that an export makes (`deploy.graphs`).
        """
        name = name or self.info.default
        if name not in self.info.variants:
            raise BundleError(
                f"the variant must be one of {', '.join(self.info.variants)}",
                name,
                "ask for another, or export the run again with this one",
            )
        variant = self.info.variants[name]
        path = self.path / variant.file
        content = _read_bytes(path)
        found = hashlib.sha256(content).hexdigest()
        if found != variant.sha256:
            raise BundleError(
                f"{path} must hold what was exported (SHA-256 {variant.sha256[:16]}...)",
                f"{found[:16]}..., {len(content):,} bytes",
                _AGAIN,
            )
        check_graph(content, str(path))
        return content

    def read_trust(self) -> Trust | None:
        """Return how scores become decisions, its arrays checked against their hash; None where
        the run was not calibrated. Raises `BundleError`."""
        if self.info.trust is None:
            return None
        path = self.path / name_arrays(self.info.trust.arrays_sha256)
        content = _read_bytes(path)
        return open_trust(self.info.trust, content, str(path))


_AGAIN = "copy the bundle again from where it came, or export the run again"


def load_bundle(path: Path) -> Bundle:
    """Open a bundle folder; graphs are read and checked when they are needed.

    Raises `BundleError` if it is no bundle, one of a newer leukoscope, or one whose JSON was
    changed after it was written.
    """
    place = path / BUNDLE_JSON
    try:
        content = read_file(place, MAX_JSON_BYTES)
    except FileError as error:
        raise BundleError(
            f"{path} must be a bundle: a folder with {BUNDLE_JSON}"
            f" of at most {MAX_JSON_BYTES:,} bytes",
            error.found,
            "make one with `leukoscope export RUN`, or check the path",
        ) from error
    info = parse_sealed(BundleInfo, content, str(place), "leukoscope export", BundleError)
    return Bundle(path, info, hashlib.sha256(content).hexdigest())


def _read_bytes(path: Path) -> bytes:
    try:
        return read_file(path, MAX_GRAPH_BYTES)
    except FileError as error:
        raise BundleError(error.expected, error.found, _AGAIN) from error


def parse_variants(text: str) -> tuple[VariantName, ...]:
    """Read names of variants separated by commas, in the order given. Raises `ConfigError`."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    known = tuple(variant for name in names for variant in VARIANTS if variant == name)
    if len(known) != len(names) or not known:
        raise ConfigError(
            f"variants must be some of {', '.join(VARIANTS)}, separated by commas",
            text or "nothing",
            "for example --variants fp32,int8",
        )
    return tuple(dict.fromkeys(known))


def check_target(path: Path) -> None:
    """Raise `BundleError` if a bundle must not be written to `path`: it holds something else."""
    if is_empty_folder(path):
        return
    if path.exists() and not (path / BUNDLE_JSON).is_file():
        raise BundleError(
            f"{path} must be a new folder, or an older bundle to be replaced",
            "it holds other things" if path.is_dir() else "it is a file",
            "choose another --out",
        )


def save_bundle(
    info: BundleInfo,
    graphs: Mapping[VariantName, bytes],
    path: Path,
    trust_arrays: bytes | None = None,
) -> None:
    """Write a bundle; `trust_arrays` is the content of the file of arrays where `info` has a trust
    record.

    An older bundle is replaced as a whole or not at all, whenever the process is killed: its files
    go once the new JSON has taken the place of theirs. Other files in the folder stay.
    Raises `BundleError`, `StorageError`.
    """
    check_target(path)
    files = {info.variants[name].file: content for name, content in graphs.items()}
    if info.trust is not None and trust_arrays is not None:
        files[name_arrays(info.trust.arrays_sha256)] = trust_arrays
    with replacing_together(path, last=BUNDLE_JSON) as staged:
        for file, content in files.items():
            (staged / file).write_bytes(content)
        save_record(info, staged / BUNDLE_JSON)
    for old in list(path.iterdir()):
        if _OWN_FILE.fullmatch(old.name) and old.name not in files:
            with contextlib.suppress(OSError):  # another process reads it: the next export's
                old.unlink()
