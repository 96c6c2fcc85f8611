"""The scorer: something that scores images; and from a scorer and image records to a score table.

A trained run (`training.trained`) and a bundle (`deploy.predictor`) are scorers. What this file
does not do: it runs no network itself and knows no PyTorch, decides nothing (`trust.decision`) and
writes nothing.

Axes: N images, S side, K classes, D embedding width, Q quality features.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import InputConfig
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import group_sources, sources_known
from leukoscope.data.images import Pixels, load_input
from leukoscope.data.readers import Rejected
from leukoscope.errors import DataError, ImageError
from leukoscope.progress import Progress, silent
from leukoscope.scores import Outputs, ScoreTable, join_outputs
from leukoscope.trust.quality import QUALITY_NAMES, measure_quality
from leukoscope.trust.record import Trust

BATCH_SIZE = 16
"""Files that are decoded and scored together."""

_MEASURED_AT_ONCE = 64


class Scorer(Protocol):
    """What scores images, with all that is needed to feed it and to decide on its answers."""

    @property
    def name(self) -> str:
        """Name of the folder it comes from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""

    @property
    def input(self) -> InputConfig:
        """How a file becomes pixels (`images.load_input`)."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the trained network's file of weights."""

    @property
    def trust(self) -> Trust | None:
        """How scores become decisions; None where the run was not calibrated."""

    def score(
        self, images_NSSC: Pixels, on_progress: Callable[[int, int], None] | None = None
    ) -> Outputs:
        """Return what the network says of images as `load_input` returns them, uint8
        `(N, S, S, 3)`; `on_progress` is called with (images done, all images)."""


def score_records(
    scorer: Scorer,
    records: Sequence[ImageRecord],
    images_NSSC: Pixels,
    roles: Sequence[str],
    sources: Sequence[str],
    source_known: bool,
    progress: Progress = silent,
) -> ScoreTable:
    """Return the score table of records whose pixels are at hand: a pack or an array, uint8
    `(N, S, S, 3)`, one image per record in the same order."""
    outputs = scorer.score(images_NSSC, lambda d, t: progress("Scoring images", d, t))
    quality_NQ = _measure_quality(images_NSSC, progress)
    return _build_table(scorer, records, roles, sources, source_known, outputs, quality_NQ)


@dataclass(frozen=True)
class ScoredFiles:
    """Files that could be read, as records and as the score table of these; and the others."""

    records: tuple[ImageRecord, ...]
    table: ScoreTable
    unreadable: tuple[Rejected, ...]


def score_files(
    scorer: Scorer, records: Sequence[ImageRecord], role: str, progress: Progress = silent
) -> ScoredFiles:
    """Decode the files of some records and score them, a batch in memory at a time; those that
    cannot be read are listed. Sources are those of the readable records among themselves.

    Raises `DataError` if none can be read.
    """
    used: list[ImageRecord] = []
    unreadable: list[Rejected] = []
    outputs: list[Outputs] = []
    quality: list[NDArray[np.float32]] = []

    def read(record: ImageRecord) -> Pixels | Rejected:
        try:
            return load_input(record.path, scorer.input, record.box)
        except ImageError as error:
            return Rejected(
                str(record.path), error.reason, record.id, record.label, found=error.found
            )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(records), BATCH_SIZE):
            batch = records[start : start + BATCH_SIZE]
            images = []
            for record, found in zip(batch, pool.map(read, batch), strict=True):
                if isinstance(found, Rejected):
                    unreadable.append(found)
                else:
                    used.append(record)
                    images.append(found)
            if images:
                images_NSSC = np.stack(images)
                outputs.append(scorer.score(images_NSSC))
                quality.append(measure_quality(images_NSSC))
            progress("Scoring images", start + len(batch), len(records))
    if not used:
        raise DataError(
            "at least one image must be readable",
            f"{len(unreadable):,} that are not; the first is {unreadable[0].path}"
            f" ({unreadable[0].code})"
            if unreadable
            else "no image at all",
            "check the paths in the table",
        )
    catalog = Catalog(tuple(used))
    table = _build_table(
        scorer,
        used,
        [role] * len(used),
        group_sources(catalog),
        sources_known(catalog),
        join_outputs(outputs),
        np.concatenate(quality),
    )
    return ScoredFiles(tuple(used), table, tuple(unreadable))


def _measure_quality(images_NSSC: Pixels, progress: Progress) -> NDArray[np.float32]:
    found = [np.zeros((0, len(QUALITY_NAMES)), np.float32)]
    total = len(images_NSSC)
    for start in range(0, total, _MEASURED_AT_ONCE):
        found.append(measure_quality(images_NSSC[start : start + _MEASURED_AT_ONCE]))
        progress("Measuring image quality", min(start + _MEASURED_AT_ONCE, total), total)
    return np.concatenate(found)


def _build_table(
    scorer: Scorer,
    records: Sequence[ImageRecord],
    roles: Sequence[str],
    sources: Sequence[str],
    source_known: bool,
    outputs: Outputs,
    quality_NQ: NDArray[np.float32],
) -> ScoreTable:
    index = {name: k for k, name in enumerate(scorer.classes)}
    return ScoreTable(
        classes=scorer.classes,
        ids=tuple(record.id for record in records),
        paths=tuple(str(record.path) for record in records),
        sources=tuple(sources),
        roles=tuple(roles),
        labels_N=np.array([index.get(record.label, -1) for record in records], dtype=np.int64),
        logits_NK=outputs.logits_NK,
        embeddings_ND=outputs.embeddings_ND,
        source_known=source_known,
        quality_names=QUALITY_NAMES,
        quality_NQ=quality_NQ,
        disagreement_N=outputs.disagreement_N,
    )
