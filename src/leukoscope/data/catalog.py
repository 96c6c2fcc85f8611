"""The image table: one row per cell image, checked to the last pixel, with rejected files named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leukoscope.data.images import Box
from leukoscope.errors import RejectReason


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One row. `id` is unique in its catalog: the path relative to the scanned folder with
    forward slashes, plus `#k` for the k-th box of a field. `path` is absolute. `label` is
    canonical. `split` is what the folder or table said ("" for nothing); `source` is "" where
    unknown. `extra` holds further columns of a CSV, for subgroups."""

    id: str
    path: Path
    label: str
    width: int
    height: int
    bytes: int
    sha256: str
    split: str = ""
    source: str = ""
    box: Box | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file or table row that stayed out, why, and what was found."""

    path: str
    reason: RejectReason
    detail: str


@dataclass(frozen=True)
class Catalog:
    """Rows in a fixed order (sorted by id), and what was rejected on the way."""

    records: tuple[ImageRecord, ...]
    rejected: tuple[Rejected, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that occur, sorted."""
        return tuple(sorted({record.label for record in self.records}))
