"""The image table: one row per cell image, checked to the last pixel, with rejected files named.

What this file does not do: it assigns no roles (`splits`) and finds no duplicates but exact ones
(`sources`).
"""

import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from leukoscope.data.images import Box, ImageFacts, check_box, probe_file
from leukoscope.data.readers import (
    CAMERA_BITS,
    Candidate,
    Depth,
    Levels,
    Reading,
    Rejected,
    find_candidates,
    place_box,
)
from leukoscope.data.spreadsheet import build_writer, mark_unicode, neutralise_text
from leukoscope.data.tables import (
    clean_label,
    clean_number,
    clean_source,
    is_missing,
    list_alike,
    read_cells,
)
from leukoscope.errors import REJECT_CODES, CatalogError, ImageError, RejectCode
from leukoscope.labels import AMBIGUOUS, resolve_label
from leukoscope.storage import write_text

COLUMNS = ("id", "path", "label", "split", "source", "width", "height", "bytes", "sha256")
PIXEL_COLUMN = "pixels"
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
_NUMBERS = ("width", "height", "bytes", *BOX_COLUMNS)
_OWN_COLUMNS = frozenset({*COLUMNS, PIXEL_COLUMN, *BOX_COLUMNS})
REJECTED_COLUMNS = tuple(one.name for one in fields(Rejected))


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One row. `id` is unique in its catalog: the path relative to the scanned folder with
    forward slashes, plus `#k` for the k-th box of a field. `path` is absolute. `label` is
    canonical. `split` is what the folder or table said ("" for nothing); `source` is "" where
    unknown. `width` and `height` are the whole image's, in pixels after EXIF rotation. `pixels` is
    the hash of the decoded picture (`hash_pixels`), "" where a table has none. `extra` holds
    further columns of a CSV, for subgroups."""

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
    pixels: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What names the picture: that of its pixels or, where it is unknown, the file's hash."""
        return self.pixels or self.sha256


@dataclass(frozen=True)
class Catalog:
    """Rows in a fixed order (sorted by id), what was rejected on the way, and how the folder or
    table was read (None where that was another time)."""

    records: tuple[ImageRecord, ...]
    rejected: tuple[Rejected, ...] = ()
    reading: Reading | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that occur, sorted."""
        return tuple(sorted({record.label for record in self.records}))


# -- building -------------------------------------------------------------------------------------


def build_catalog(
    path: Path,
    *,
    levels: Levels | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """Return what `read_catalog` does. Raises `CatalogError` also where no image is left."""
    catalog = read_catalog(path, levels=levels, on_progress=on_progress)
    check_usable(catalog, path)
    return catalog


def read_catalog(
    path: Path,
    *,
    levels: Levels | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """Read every image of a folder, table or annotated set once, and return the table.

    An image that cannot be decoded to its last pixel is rejected with a reason. So are all rows
    of the same picture (and box) under different labels: a label that contradicts itself can serve
    neither training nor evaluation. Exact duplicates under one label stay; splits keep them
    together. It may be that no row is left: see `check_usable`.

    Raises `CatalogError` if nothing is found, or the folders do not say which layer is the class.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    found = find_candidates(path, levels)
    rejected = [entry for entry in found.entries if isinstance(entry, Rejected)]
    candidates = [entry for entry in found.entries if isinstance(entry, Candidate)]
    facts = _probe_all(sorted({candidate.path for candidate in candidates}), on_progress)
    records: list[ImageRecord] = []
    spellings: dict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        record = _check_candidate(candidate, facts[candidate.path][0])
        if isinstance(record, Rejected):
            rejected.append(record)
        else:
            records.append(record)
            spellings[record.label].add(candidate.label.strip())
    records, conflicts = _take_conflicts(records)
    records = _fill_columns(records)
    rejected = sorted([*rejected, *conflicts], key=lambda r: (r.path, r.row, r.id, r.code))
    merged = tuple(
        (label, tuple(sorted(names)))
        for label, names in sorted(spellings.items())
        if len(names) > 1
    )
    ambiguous = tuple(label for label in sorted(spellings) if label in AMBIGUOUS)
    records.sort(key=lambda r: r.id)
    alike = list_alike_sources(records)
    depth = _find_depth(peak for _, peak in facts.values())
    reading = replace(found.reading, merged=merged, ambiguous=ambiguous, alike=alike, depth=depth)
    return Catalog(tuple(records), tuple(rejected), reading)


def check_usable(catalog: Catalog, path: Path) -> None:
    """Raise `CatalogError` if no image is left of what was read from `path`."""
    if catalog.records:
        return
    codes = Counter(entry.code for entry in catalog.rejected)
    counts = ", ".join(f"{n:,} {code}" for code, n in codes.most_common(3))
    first = "; ".join(f"{r.path}: {r.code}" for r in catalog.rejected[:3])
    expected = f"{path} must hold at least one usable image"
    found = f"{len(catalog.rejected):,} files, all rejected, first: {first}"
    if len(codes) > 1:
        found += f" (in all {counts})"
    depth = catalog.reading.depth if catalog.reading else None
    if depth is not None:
        found += f"; of 16 bits up to {depth.peak:,}, as {depth.bits} bits hold"
        remedy = f"multiply the values of all of them by {depth.factor}, or save them in 8 bits"
        raise CatalogError(expected, found, remedy)
    if catalog.reading is None or catalog.reading.kind != "table":
        remedy = "put images into one folder per class, or give a table with path and label"
        if codes["bad_annotation"] and codes["no_label"]:
            remedy = f"export the annotations as COCO, YOLO or Pascal-VOC; or {remedy}"
        elif not codes["no_label"]:
            remedy = "look at rejected.csv, and mend the files"
        raise CatalogError(expected, found, remedy)
    if 2 * codes["missing_file"] <= len(catalog.rejected):
        raise CatalogError(expected, found, "look at rejected.csv, and correct the table")
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - resolve() follows links
    raise CatalogError(
        expected, found, f"correct the paths of the table: they are taken relative to {folder}"
    )


def list_alike_sources(records: Iterable[ImageRecord]) -> tuple[tuple[str, ...], ...]:
    """Return names of sources that may be one patient or slide, spelled in several ways. Files and
    pictures that are their own source count for none."""
    return list_alike({r.source for r in records if r.source and "/" not in r.source})


def _find_depth(peaks: Iterable[int]) -> Depth | None:
    """Say which camera all images of 16 bits together look like, from the highest level of each (0
    for other images). One image that needs the 16 bits shows that they are meant."""
    wide = [peak for peak in peaks if peak]
    bits = next((n for n in CAMERA_BITS if wide and max(wide) < 1 << n), None)
    return None if bits is None else Depth(bits, max(wide), len(wide))


def _probe_all(
    paths: Sequence[Path], on_progress: Callable[[int, int], None] | None
) -> dict[Path, tuple[ImageFacts | Rejected, int]]:
    """Probe each file once. Threads suffice: decoding and hashing let go of the interpreter."""
    facts: dict[Path, tuple[ImageFacts | Rejected, int]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (path, found) in enumerate(
            zip(paths, pool.map(_probe_file, paths), strict=True), start=1
        ):
            facts[path] = found
            if on_progress is not None:
                on_progress(done, len(paths))
    return facts


def _probe_file(path: Path) -> tuple[ImageFacts | Rejected, int]:
    """The facts, and the highest level of a file of 16 bits, 0 for others."""
    try:
        facts = probe_file(path)
    except ImageError as error:
        return Rejected(str(path), error.reason, found=error.found), error.peak_16
    return facts, facts.peak_16


def _check_candidate(candidate: Candidate, facts: ImageFacts | Rejected) -> ImageRecord | Rejected:
    label = resolve_label(clean_label(candidate.label))

    def reject(code: RejectCode, found: str = "") -> Rejected:
        return Rejected(str(candidate.path), code, candidate.id, label, candidate.row, found)

    if isinstance(facts, Rejected):
        return reject(facts.code, facts.found)
    if not label:
        return reject("no_label")
    box = place_box(candidate, facts.width, facts.height)
    if box is not None:
        try:
            check_box(box, facts.width, facts.height, candidate.id)
        except ImageError as error:
            return reject(error.reason, error.found)
    return ImageRecord(
        id=candidate.id,
        path=candidate.path,
        label=label,
        width=facts.width,
        height=facts.height,
        bytes=facts.bytes,
        sha256=facts.sha256,
        split=candidate.split,
        source=_tidy_source(candidate.source),
        box=box,
        pixels=facts.pixels,
        extra=candidate.extra,
    )


def _tidy_source(source: str) -> str:
    """Spaces stay: a source may be a file's name."""
    cleaned = clean_source(source)
    return source if source.strip() == cleaned and cleaned else cleaned


def _fill_columns(records: list[ImageRecord]) -> list[ImageRecord]:
    """Give every row the columns that any row has: a table holds them for all."""
    blank = {name: "" for record in records for name in record.extra}
    return [
        record
        if len(record.extra) == len(blank)
        else replace(record, extra=blank | dict(record.extra))
        for record in records
    ]


def _take_conflicts(records: list[ImageRecord]) -> tuple[list[ImageRecord], list[Rejected]]:
    groups: dict[tuple[str, Box | None], list[ImageRecord]] = defaultdict(list)
    for record in records:
        groups[record.content, record.box].append(record)
    kept, conflicts = [], []
    for group in groups.values():
        if len({record.label for record in group}) == 1:
            kept += group
            continue
        content = " ".join([group[0].content, *map(str, group[0].box or ())])
        conflicts += [
            Rejected(str(r.path), "label_conflict", r.id, r.label, content=content) for r in group
        ]
    return kept, conflicts


# -- files ----------------------------------------------------------------------------------------


def save_catalog(catalog: Catalog, path: Path, staged: Path | None = None) -> None:
    """Write the table as CSV, at once or not at all; paths below its folder relative to it. In the
    folder `staged`, if given, it waits to be moved to `path` (`storage.replacing_together`).

    Raises `StorageError`.
    """
    rows = [record_to_row(record, path) for record in catalog.records]
    write_rows(rows, list_columns(catalog.records), (staged or path.parent) / path.name)


def save_rejected(
    rejected: Iterable[Rejected], path: Path, describe: Callable[[Rejected], str]
) -> None:
    """Write what was rejected as CSV: the fields of `Rejected`, and for a person a sentence
    `detail`, which `load_rejected` does not read. Raises `StorageError`."""
    rows = [
        {name: str(getattr(entry, name) or "") for name in REJECTED_COLUMNS}
        | {"detail": describe(entry)}
        for entry in rejected
    ]
    write_rows(rows, (*REJECTED_COLUMNS, "detail"), path)


def load_rejected(path: Path) -> tuple[Rejected, ...]:
    """Read what `save_rejected` wrote. Raises `CatalogError` if it is not as written."""
    try:
        table = read_cells(path, trim=False)
        entries = []
        for _, values in table.rows:
            row = dict(zip(table.header, values, strict=True))
            cells = {name: row[name] for name in REJECTED_COLUMNS}
            code = next(one for one in REJECT_CODES if one == cells["code"])
            row_number = int(cells["row"] or 0)
            entries.append(Rejected(**cells | {"code": code, "row": row_number}))  # type: ignore[arg-type]
        return tuple(entries)
    except (CatalogError, KeyError, ValueError, StopIteration) as error:
        found = error.found if isinstance(error, CatalogError) else str(error)
        raise CatalogError(
            f"{path} must be a table with the columns {', '.join(REJECTED_COLUMNS)}",
            found or type(error).__name__,
            "scan again, or remove the file",
        ) from error


def load_catalog(path: Path) -> Catalog:
    """Read what `save_catalog` wrote; rejected files are not in it.

    Raises `CatalogError` with the first problems and their lines.
    """
    records = [row_to_record(row, path) for row in read_rows(path, COLUMNS)]
    return Catalog(tuple(sorted(records, key=lambda r: r.id)))


def list_columns(records: Sequence[ImageRecord]) -> tuple[str, ...]:
    """Return the columns that a table of these records needs, in order."""
    boxes = BOX_COLUMNS if any(record.box is not None for record in records) else ()
    pixels = (PIXEL_COLUMN,) if any(record.pixels for record in records) else ()
    extras = sorted({name for record in records for name in record.extra})
    return (*COLUMNS, *pixels, *boxes, *extras)


def record_to_row(record: ImageRecord, table: Path) -> dict[str, str]:
    """Return the cells of a record for a table that will lie at `table`."""
    folder = Path(os.path.abspath(table)).parent  # noqa: PTH100 - resolve() would follow links
    below = record.path.is_relative_to(folder)
    written = (*COLUMNS, PIXEL_COLUMN)
    row = dict(record.extra) | {name: str(getattr(record, name)) for name in written}
    if below:
        row["path"] = record.path.relative_to(folder).as_posix()
    if record.box is not None:
        row |= {name: str(value) for name, value in zip(BOX_COLUMNS, record.box, strict=True)}
    return row


def row_to_record(row: Mapping[str, str], table: Path) -> ImageRecord:
    """Return the record that `record_to_row` wrote. The row must come from `read_rows`."""
    folder = Path(os.path.abspath(table)).parent  # noqa: PTH100 - resolve() would follow links
    box = None
    if row.get("x_min"):
        box = (int(row["x_min"]), int(row["y_min"]), int(row["x_max"]), int(row["y_max"]))
    return ImageRecord(
        id=row["id"],
        path=folder / row["path"],
        # A label that was corrected by hand is read as a scanned one.
        label=resolve_label(row["label"]),
        width=int(row["width"]),
        height=int(row["height"]),
        bytes=int(row["bytes"]),
        sha256=row["sha256"],
        split=row["split"],
        source=_tidy_source(row["source"]),
        box=box,
        pixels=row.get(PIXEL_COLUMN, ""),
        extra={k: v for k, v in row.items() if k and k not in _OWN_COLUMNS},
    )


def write_rows(rows: Sequence[Mapping[str, str]], columns: Sequence[str], path: Path) -> None:
    """Write a CSV in UTF-8 that a spreadsheet may open: no cell is executed, and signs beyond ASCII
    are shown. Cells that a row lacks are empty. Raises `StorageError`."""
    text = io.StringIO()
    write = build_writer(text)
    write([neutralise_text(name) for name in columns])
    for row in rows:
        write([neutralise_text(row.get(name, "")) for name in columns])
    # File names need not be valid Unicode; the bytes go through as they are.
    write_text(path, mark_unicode(text.getvalue()))


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV of ours and check every cell that must be a number or a hash.

    Raises `CatalogError` with up to five problems and their lines.
    """
    cells = read_cells(path, trim=False)
    header = cells.header
    missing = [name for name in required if name not in header]
    if missing:
        raise CatalogError(
            f"{path} must have the columns {', '.join(required)}",
            f"no {', '.join(missing)}",
            "make it with `leukoscope data scan` or `leukoscope data split`",
        )
    problems: list[str] = []
    seen: set[str] = set()
    rows = []
    for number, values in cells.rows:
        if len(values) != len(header):
            problems.append(f"row {number}: more or fewer cells than the header")
            continue
        row = dict(zip(header, values, strict=True))
        # A program that knows floats only wrote them.
        row |= {name: clean_number(row[name]) for name in _NUMBERS if name in row}
        problems += [f"row {number}: {problem}" for problem in _list_problems(row, seen)]
        seen.add(row["id"])
        rows.append(row)
    if problems:
        more = f" and {len(problems) - 5:,} more" if len(problems) > 5 else ""
        raise CatalogError(
            f"every row of {path} must be as leukoscope wrote it",
            "; ".join(problems[:5]) + more,
            "scan again, or undo the edit",
        )
    if not rows:
        raise CatalogError(f"{path} must have at least one row", "none", "scan again")
    return rows


def is_whole_number(text: str) -> bool:
    """Tell whether a cell holds a whole number that `int` reads."""
    return text.isascii() and text.isdigit() and len(text) < 19


def _list_problems(row: Mapping[str, str], seen: set[str]) -> list[str]:
    problems = [f"{name} is blank" for name in ("id", "path") if not row[name]]
    if is_missing(row["label"]):
        problems.append("label is blank")
    if row["id"] in seen:
        problems.append(f"id {row['id']!r} occurs twice")
    numbers = ["width", "height", "bytes"]
    if any(row.get(name) for name in BOX_COLUMNS):
        numbers += BOX_COLUMNS
    problems += [
        f"{name} must be a whole number, not {row.get(name)!r}"
        for name in numbers
        if not is_whole_number(row.get(name) or "")
    ]
    problems += [
        f"{name} must have 64 hexadecimal digits, not {row[name][:12]!r}..."
        for name in ("sha256", PIXEL_COLUMN)
        if (name == "sha256" or row.get(name)) and not re.fullmatch("[0-9a-f]{64}", row[name])
    ]
    return problems
