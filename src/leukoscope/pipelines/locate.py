"""From small fields with one labelled white cell each to the squares around these cells.

A located image is a record with a box, so that all that reads boxes reads it: split, pack, scores,
pictures of reports. Two columns say how: `located` (`smear.locate.LOCATED_AS`) and `located_by`,
the finder and the side of the square. What this file does not do: it finds no cell
(`smear.finder`), chooses none (`smear.locate`) and cuts none out (`data.images`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from leukoscope.config import InputConfig
from leukoscope.data.catalog import Catalog, ImageRecord, save_catalog
from leukoscope.data.splits import Split, hash_split
from leukoscope.errors import ConfigError, DataError, ImageError
from leukoscope.pipelines.extras import require_extra
from leukoscope.progress import Progress, silent

if TYPE_CHECKING:
    from leukoscope.data.images import Box, Pixels
    from leukoscope.smear.finder import Finder
    from leukoscope.smear.locate import LocatedCell
    from leukoscope.trust.notes import Note

LOCATED, LOCATED_BY = "located", "located_by"
"""Columns of a table of located images."""


def resolve_finder(config: InputConfig) -> InputConfig:
    """Return the input with the finder's network named by its hash, where that locates cells."""
    if config.cells == "whole" or config.finder != "network":
        return config
    from leukoscope.smear.network import GRAPH_SHA256

    return config.model_copy(update={"finder": GRAPH_SHA256})


def locate_images(
    records: Sequence[ImageRecord], config: InputConfig, progress: Progress = silent
) -> tuple[ImageRecord, ...]:
    """Return records with the box of the square around each one's white cell, as `config` says;
    they are returned as they are where it takes images whole, and where they were located so
    before.

    None is lost: where no cell is found, the column `located` says what the square lies around
    instead. A box that a record has frames its cell. A file that cannot be read keeps a box of its
    whole, and whoever reads it says why.

    Raises `DataError` where boxes were replaced by squares of another finder or side, `ConfigError`
    for a finder that this version does not have, `MissingExtraError` without the extra `smear`.
    """
    if config.cells == "whole":
        return tuple(records)
    key = _build_key(config)
    waiting = [record for record in records if record.extra.get(LOCATED_BY) != key]
    if not waiting:
        return tuple(records)
    _check_given(waiting)
    locator = Locator(config)

    def locate(record: ImageRecord) -> ImageRecord:
        from leukoscope.data.images import decode_file

        given = None if record.extra.get(LOCATED_BY) else record.box
        box, found = (0, 0, record.width, record.height), "field"
        try:
            cell = locator.locate(decode_file(record.path, sha256=record.sha256), given)
            box, found = cell.box, cell.found
        except ImageError:
            pass
        return replace(record, box=box, extra={**record.extra, LOCATED: found, LOCATED_BY: key})

    from concurrent.futures import ThreadPoolExecutor

    done: dict[str, ImageRecord] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(locate, waiting):
            done[one.id] = one
            progress("Locating cells", len(done), len(waiting))
    return tuple(done.get(record.id, record) for record in records)


def locate_catalog(
    catalog: Catalog, config: InputConfig, out: str | Path, progress: Progress = silent
) -> Catalog:
    """Locate all images of a catalog as a network with this input would have it, once for several
    trainings, and write the catalog. Raises as `locate_images`, and `StorageError`."""
    located = config.model_copy(update={"cells": "located"})
    found = Catalog(locate_images(catalog.records, located, progress), catalog.rejected)
    save_catalog(found, Path(out))
    return found


def locate_split(split: Split, config: InputConfig, progress: Progress = silent) -> Split:
    """Do what `locate_images` does with the images of a split."""
    records = locate_images(split.catalog.records, config, progress)
    if records == split.catalog.records:
        return split
    located = replace(split, catalog=replace(split.catalog, records=records))
    if split.check is None:
        return located
    # Whole pictures were compared, and they are the same.
    return replace(located, check=replace(split.check, digest=hash_split(located)))


def count_located(records: Iterable[ImageRecord]) -> Counter[str]:
    """Return how many records were located around what, by the codes of `LOCATED_AS`."""
    return Counter(record.extra[LOCATED] for record in records if record.extra.get(LOCATED_BY))


def note_located(records: Sequence[ImageRecord]) -> "tuple[Note, ...]":
    """Say around what the squares of located images lie; nothing where images are whole."""
    from leukoscope.trust.notes import Note

    counts = count_located(records)
    if not counts:
        return ()
    values = {f"n_{code}": counts[code] for code in sorted(counts)}
    return (Note("cells_located", {"n_images": len(records), **values}),)


@dataclass
class Locator:
    """Finds the cell of one image after the other; safe to share among threads. `counts` says
    around what squares were laid so far."""

    config: InputConfig
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._finder = _open_finder(self.config)
        self._lock = Lock()

    def locate(self, pixels_HWC: "Pixels", given: "Box | None" = None) -> "LocatedCell":
        """Return the square of a decoded picture."""
        from leukoscope.smear.locate import locate_cell

        found = locate_cell(pixels_HWC, self._finder, self.config.crop_um, given)
        with self._lock:
            self.counts[found.found] += 1
        return found

    def read(self, path: Path) -> "Pixels":
        """Read, decode, locate and prepare one image file: uint8 `(S, S, 3)`. Raises
        `ImageError`."""
        from leukoscope.data.images import decode_file, prepare_image

        pixels_HWC = decode_file(path)
        x_min, y_min, x_max, y_max = self.locate(pixels_HWC).box
        return prepare_image(pixels_HWC[y_min:y_max, x_min:x_max], self.config)


def build_reader(config: InputConfig) -> "tuple[Callable[[Path], Pixels], Mapping[str, int]]":
    """Return what reads an image file as a network takes it, located where `config` says so, and
    the counts that it keeps of what it found (`Locator.counts`)."""
    from leukoscope.data.images import load_input

    if config.cells == "whole":
        return (lambda path: load_input(path, config)), {}
    locator = Locator(config)
    return locator.read, locator.counts


def _build_key(config: InputConfig) -> str:
    return f"{resolve_finder(config).finder[:16]} {config.crop_um:g} um"


def _open_finder(config: InputConfig) -> "Finder":
    require_extra("smear")
    import cv2

    from leukoscope.smear.finder import Finder
    from leukoscope.smear.network import GRAPH_SHA256

    cv2.setNumThreads(1)  # images are worked on side by side
    if config.finder == "nuclei":
        return Finder("nuclei")
    if config.finder not in ("network", GRAPH_SHA256):
        raise ConfigError(
            "the cells of a network are located by the finder that it was trained with",
            f"{config.finder[:16]}..., this version has {GRAPH_SHA256[:16]}...",
            "use the version of leukoscope that trained it, or train again with this one",
        )
    return Finder("network")


def _check_given(records: Sequence[ImageRecord]) -> None:
    """Raise `DataError` where the box that an annotation gave is no longer known."""
    lost = [r for r in records if r.extra.get(LOCATED_BY) and r.extra.get(LOCATED) == "given"]
    if lost:
        raise DataError(
            "boxes of annotations must be at hand to be located in another way",
            f"{len(lost):,} were replaced by squares ({lost[0].extra[LOCATED_BY]}); the first is"
            f" {lost[0].id}",
            "give the table or folder that has the boxes",
        )
