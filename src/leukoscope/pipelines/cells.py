"""From smear fields to their white cells: boxes, crops at one scale, nucleus masks, tables."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.errors import ConfigError, DataError, ImageError, RunError
from leukoscope.pipelines.extras import require_extra
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import Provenance, collect_provenance
from leukoscope.smear.record import SLIDE_SUFFIXES, FieldRecord
from leukoscope.storage import (
    build_name,
    create_folder,
    hash_file,
    is_empty_folder,
    is_folder,
    replacing_together,
)

if TYPE_CHECKING:
    from leukoscope.data.readers import Rejected
    from leukoscope.smear.crops import CropSettings
    from leukoscope.smear.fields import Field
    from leukoscope.smear.finder import Finder, FoundField, Method

_PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class FoundCells:
    """A folder of found cells: its fields in the order given, what was passed over in folders, and
    how long it took. The tables are `cells.csv` and `fields.csv`."""

    out: Path
    fields: tuple[FieldRecord, ...]
    passed_over: "tuple[Rejected, ...]"
    seconds: float
    include_edge: bool = False

    @property
    def n_cells(self) -> int:
        """How many cells are counted."""
        return sum(len(one.cells if self.include_edge else one.counted) for one in self.fields)


@dataclass(frozen=True, kw_only=True)
class CellsProvenance(Provenance):
    """Content of `provenance.json` beside found cells: what found them, with which settings, and
    the SHA-256 of the network and of both tables."""

    method: str
    least_score: float
    scale_px_per_um: float | None
    include_edge: bool
    crop_um: float
    crop_px: int
    network_sha256: str
    tables_sha256: dict[str, str]


def find_cells(
    fields: "Sequence[str | Path]",
    out: str | Path,
    *,
    method: "Method" = "network",
    scale_px_per_um: float | None = None,
    least_score: float | None = None,
    include_edge: bool = False,
    crop_um: float = 28.0,
    crop_px: int = 224,
    threads: int | None = None,
    progress: Progress = silent,
) -> FoundCells:
    """Find the white cells of smear fields and write them to a new folder: `cells.csv`,
    `fields.csv`, `crops/` (squares of `crop_um` micrometres, `crop_px` pixels wide), `nuclei/`
    (the mask of each crop, 0 and 255), `provenance.json`.

    `fields` are files, folders, patterns as for `predict_images`; slides count, too. The scale is
    each field's own, by its red cells, unless `scale_px_per_um` is given. Cells that the edge cuts
    are listed and, without `include_edge`, neither counted nor cut out. A field that cannot be
    read is a row of `fields.csv` with a reason. The folder is written at once or not at all; the
    same fields give the same tables and crops.

    Raises `DataError` where there is no field, `ConfigError` for settings that cannot be,
    `RunError` where `out` holds something, `StorageError` when the disk is full.
    """
    require_extra("smear")
    import time

    from leukoscope.deploy.files import list_images
    from leukoscope.deploy.predictor import count_cores
    from leukoscope.report.data_words import describe_field
    from leukoscope.smear.crops import CropSettings
    from leukoscope.smear.finder import LEAST_SCORE, Finder
    from leukoscope.smear.network import GRAPH_SHA256
    from leukoscope.smear.tables import save_cells, save_fields

    start = time.perf_counter()
    least = LEAST_SCORE if least_score is None else least_score
    _check_settings(scale_px_per_um, least, crop_um, crop_px)
    target = Path(out)
    _check_new(target)
    files = list_images(fields, more_suffixes=SLIDE_SUFFIXES)
    names = _name_fields(files.paths, fields)
    finder = Finder(method, scale_px_per_um=scale_px_per_um, least_score=least)
    settings = CropSettings(crop_um, crop_px)
    records: list[FieldRecord] = []
    places: dict[tuple[str, int], tuple[str, str]] = {}
    with replacing_together(target, last=_PROVENANCE) as staged:
        for folder in ("crops", "nuclei"):
            create_folder(staged / folder)
        work = _Work(finder, settings, include_edge, staged)
        done = work.run(files.paths, names, threads or count_cores())
        for record, its_places in done:
            records.append(record)
            places |= its_places
            progress("Finding cells", len(records), len(names))
        save_cells(records, places, staged / "cells.csv")
        save_fields(records, staged / "fields.csv", describe_field)
        provenance = CellsProvenance(
            **vars(collect_provenance()),
            method=method,
            least_score=least,
            scale_px_per_um=scale_px_per_um,
            include_edge=include_edge,
            crop_um=crop_um,
            crop_px=crop_px,
            network_sha256=GRAPH_SHA256 if method == "network" else "",
            tables_sha256={name: hash_file(staged / name) for name in ("cells.csv", "fields.csv")},
        )
        save_record(provenance, staged / _PROVENANCE)
    seconds = time.perf_counter() - start
    return FoundCells(target, tuple(records), files.passed_over, seconds, include_edge)


def check_found(done: FoundCells, *, strict: bool = False) -> None:
    """Raise `DataError` if no field could be read or, with `strict`, if one could not or a file was
    passed over; the folder is complete all the same."""
    unread = sum(bool(one.reason) for one in done.fields)
    if unread == len(done.fields):
        raise DataError(
            "at least one field must be readable",
            f"none of {unread:,}",
            "look at the column `error` of fields.csv",
        )
    if strict and (unread or done.passed_over):
        raise DataError(
            "with --strict every file must be usable",
            f"{unread:,} of {len(done.fields):,} fields with an error,"
            f" {len(done.passed_over):,} files passed over",
            "look at the column `error` of fields.csv, and at what else lies in the folder",
        )


def _check_settings(scale: float | None, least_score: float, crop_um: float, crop_px: int) -> None:
    for name, value, low, high in (
        ("the scale, in pixels per micrometre,", scale, 0.5, 200.0),
        ("the least score", least_score, 0.01, 0.99),
        ("the side of crops in micrometres", crop_um, 5.0, 200.0),
        ("the side of crops in pixels", crop_px, 16, 2048),
    ):
        if value is not None and not low <= value <= high:
            raise ConfigError(
                f"{name} must lie between {low:g} and {high:g}", f"{value:g}", "give another value"
            )


def _check_new(folder: Path) -> None:
    if folder.exists() and not is_empty_folder(folder):
        raise RunError(
            f"{folder} must be an empty folder, so that no cells of two calls mix",
            "it holds files" if folder.is_dir() else "it is no folder",
            "choose another --out",
        )


def _name_fields(paths: Sequence[Path], given: "Sequence[str | Path]") -> list[str]:
    """The path of each field below the one folder that was given, else as it was given."""
    root = Path(given[0]) if len(given) == 1 else None
    if root is not None and is_folder(root):
        return [path.relative_to(root).as_posix() for path in paths]
    return [str(path) for path in paths]


_Places = dict[tuple[str, int], tuple[str, str]]


@dataclass(frozen=True)
class _Work:
    """What is done with each field, in threads: find, cut out, write below `staged`."""

    finder: "Finder"
    settings: "CropSettings"
    include_edge: bool
    staged: Path

    def run(
        self, paths: Sequence[Path], names: Sequence[str], threads: int
    ) -> Iterator[tuple[FieldRecord, _Places]]:
        """Yield what was found in each field, in their order, few at a time in memory."""
        from concurrent.futures import ThreadPoolExecutor

        import cv2

        # Fields are worked on side by side; threads below them would wait for each other.
        cv2.setNumThreads(1)
        jobs = iter(enumerate(zip(paths, names, strict=True), 1))
        with ThreadPoolExecutor(threads) as pool:
            waiting = deque(
                pool.submit(self._do, k, *one)
                for _, (k, one) in zip(range(2 * threads), jobs, strict=False)
            )
            while waiting:
                yield waiting.popleft().result()
                for k, one in jobs:
                    waiting.append(pool.submit(self._do, k, *one))
                    break

    def _do(self, number: int, path: Path, name: str) -> tuple[FieldRecord, _Places]:
        from leukoscope.smear.fields import open_field

        try:
            with open_field(path) as field:
                return self._cut(number, path, field, self.finder.find(field, name))
        except ImageError as error:  # perhaps behind some crops of a slide
            for crop in self.staged.glob(f"*/{number:05d}_*"):
                crop.unlink()
            return FieldRecord(name, reason=error.reason, found=error.found), {}

    def _cut(
        self, number: int, path: Path, field: "Field", found: "FoundField"
    ) -> tuple[FieldRecord, _Places]:
        import cv2

        from leukoscope.smear.crops import cut_from_field, mark_nucleus
        from leukoscope.storage import storage_errors

        name = found.record.field
        stem = f"{number:05d}_{build_name(path.stem)[:60]}"
        cells, places = [], {}
        for cell in found.record.cells:
            if cell.edge and not self.include_edge:
                cells.append(cell)
                continue
            crop_SSC = cut_from_field(field, cell, found.ground_C, self.settings)
            zoom = self.settings.px_per_um / cell.scale_px_per_um
            box = cell.box
            size = ((box[2] - box[0]) * zoom, (box[3] - box[1]) * zoom)
            nucleus_SS = mark_nucleus(crop_SSC, size, found.ground_C)
            file = f"{stem}_{cell.number:03d}.png"
            for folder, pixels in (("crops", crop_SSC[:, :, ::-1]), ("nuclei", nucleus_SS * 255)):
                with storage_errors(self.staged / folder / file):
                    content = cv2.imencode(".png", pixels)[1].tobytes()
                    (self.staged / folder / file).write_bytes(content)
            share = float(nucleus_SS.sum()) / max(1.0, size[0] * size[1])
            cells.append(replace(cell, nucleus_frac=round(min(share, 1.0), 4)))
            places[name, cell.number] = (f"crops/{file}", f"nuclei/{file}")
        return replace(found.record, cells=tuple(cells)), places
