"""Tables of users: one reader for all separators, and the column names of other programs.

What this file does not do: it looks for no image (`readers`), and knows no catalog (`catalog`).
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leukoscope.data.layouts import name_part
from leukoscope.data.spreadsheet import restore
from leukoscope.errors import CatalogError, FileError
from leukoscope.labels import is_known
from leukoscope.storage import open_file, read_file

Meaning = Literal["path", "label", "split", "source", "id"]

_COLUMN_NAMES: dict[Meaning, tuple[str, ...]] = {
    "path": (
        *("path", "filepath", "file_path", "filename", "file_name", "file", "fname", "image"),
        *("image_path", "img_path", "image_name", "img_name", "image_file", "image_filename"),
        *("img", "image_id", "img_id", "id_code", "name", "id"),
    ),
    "label": (
        *("label", "labels", "class", "class_name", "class_label", "category", "category_name"),
        *("cell_type", "celltype", "cell_class", "label_name", "target", "diagnosis", "type"),
        *("cell", "cell_name", "choice", "dx"),
    ),
    "split": ("split", "subset", "partition", "usage", "set", "fold"),
    "source": (
        *("source", "source_id", "patient", "patient_id", "patientid", "pid", "subject"),
        *("subject_id", "donor", "donor_id", "case", "case_id", "slide", "slide_id", "smear"),
        *("smear_id", "specimen", "specimen_id", "group", "group_id", "groups"),
    ),
    "id": ("id",),
}
"""Column names of Hugging Face, Keras, pandas, Kaggle and others, the surest first."""

_VAGUE = frozenset({"name", "id"})
"""They name an image only where their cells look like image files."""

_VAGUE_SPLITS = frozenset({"usage", "set", "fold"})
"""They name parts only where one of their cells does: a set may be a laboratory."""

_CORNERS = (
    ("x_min", "y_min", "x_max", "y_max"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("x1", "y1", "x2", "y2"),
    ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
    ("bbox_xmin", "bbox_ymin", "bbox_xmax", "bbox_ymax"),
)
_SIZES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ("box_x", "box_y", "box_width", "box_height"),
    ("bbox_x", "bbox_y", "bbox_w", "bbox_h"),
    ("left", "top", "width", "height"),
)
_BOX_LIKE = re.compile(
    r"b?box(_.*)?|bounding_box(es)?|[xy]_?(min|max|start|end|cent(er|re)|c)|[xy][12]|c[xy]"
    r"|(min|max)_?[xy]|left|top|right|bottom|rois?"
)

MISSING = frozenset({"", "-", "--", "?", "na", "n/a", "#n/a", "n.a.", "nan", "none", "null", "nil"})
"""Cells, in lower case, that say that a value is missing."""

_UNKNOWN_SOURCES = MISSING | {"unknown", "unk", "not known", "not available"}


@dataclass(frozen=True, slots=True)
class Cells:
    """A table as text: column names, and rows with their number in the file, counted from 1."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column means what, by place. `box` holds four places; `has_size` says that they are
    x, y, width, height instead of corners, `has_shares` that their numbers are shares of the image
    and no pixels. `further` are those that nobody knows, by name. `one_of` are columns of 0 and 1,
    one for each label, where no column holds the labels."""

    places: Mapping[Meaning, int]
    box: tuple[int, ...]
    has_size: bool
    has_shares: bool
    further: Mapping[str, int]
    one_of: Mapping[str, int]


# -- text -----------------------------------------------------------------------------------------


MAX_TABLE_BYTES = 1 << 28
MAX_CELLS = 20_000_000
"""A million images in a catalog; larger tables are rejected, for they take gigabytes of memory."""


def read_cells(path: Path, *, trim: bool = True) -> Cells:
    """Read a table: comma, semicolon, tab or bar; `sep=` line or none; blank rows left out.

    With `trim` spaces round a cell do not count, so that quotes may follow a space; without it
    cells stay as they are, and names that are not Unicode go through. The apostrophe that keeps a
    spreadsheet from executing a cell is taken off.

    Raises `CatalogError` for a file that cannot be read, is no text in UTF-8, or is broken.
    """
    expected = f"{path} must be a text table in UTF-8"
    remedy = "save it as CSV in UTF-8"
    try:
        content = read_file(path, MAX_TABLE_BYTES)
    except FileError as error:
        raise CatalogError(expected, error.found, "check the path") from error
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise CatalogError(expected, "it is a workbook of a spreadsheet, or a ZIP archive", remedy)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
        raise CatalogError(expected, "it is in UTF-16", remedy)
    try:
        text = content.decode("utf-8-sig", "strict" if trim else "surrogateescape")
    except UnicodeDecodeError as error:
        raise CatalogError(expected, str(error), remedy) from error
    text, delimiter, skipped = _find_start(text)
    reader = csv.reader(
        # newline="": quoted fields may hold line ends, which the reader decides on.
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=trim,
        strict=True,
    )
    header: tuple[str, ...] | None = None
    rows = []
    n_cells = 0
    try:
        for number, row in enumerate(reader, start=1 + skipped):
            n_cells += len(row)
            if n_cells > MAX_CELLS:
                raise CatalogError(
                    f"{path} must have at most {MAX_CELLS:,} cells",
                    f"more, in line {number:,}",
                    "cut it into several tables",
                )
            if not any(cell.strip() for cell in row):
                continue
            cells = tuple(restore(cell.strip() if trim else cell) for cell in row)
            if header is None:
                header = cells
            else:
                rows.append((number, cells))
    except csv.Error as error:
        raise CatalogError(
            f"{path} must be a well-formed CSV table", f"{error}", "save it again as CSV"
        ) from error
    return Cells(header or (), tuple(rows))


def read_header(path: Path) -> tuple[str, ...]:
    """Return the column names of a table; none of anything else."""
    try:
        with open_file(path) as file:
            text = file.read(1 << 16).decode("utf-8-sig", "replace")
        text, delimiter, _ = _find_start(text)
        return tuple(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), ()))
    except (FileError, csv.Error):
        return ()


def _find_start(text: str) -> tuple[str, str, int]:
    """Return the text from the header on, what separates its names, and how many lines stand
    before it: spreadsheets write `sep=;` there."""
    first, _, rest = text.partition("\n")
    given = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", first, re.IGNORECASE)
    if given:
        return rest, given[1], 1
    # Blank rows may stand before the header.
    named = next((line for line in re.split(r"[\r\n]", text) if re.search(r"\w", line)), "")
    return text, max(",;\t|", key=re.sub(r'"[^"]*"', "", named).count), 0


# -- columns --------------------------------------------------------------------------------------


def map_columns(path: Path, cells: Cells) -> Columns:
    """Say which column means what.

    Raises `CatalogError` where none names images or labels, where two columns of one name differ,
    and where columns look like boxes but cannot be used: whole fields would be taken for cells.
    """
    tidy = _tidy_names(path, cells)
    places: dict[Meaning, int] = {}
    for meaning, names in _COLUMN_NAMES.items():
        for name in names:
            place = tidy.get(name, -1)
            if place < 0 or place in places.values():
                continue
            column = _take_column(cells, place)
            if meaning == "path" and name in _VAGUE and not any(map(_is_image_name, column)):
                continue
            if name in _VAGUE_SPLITS and not any(map(name_part, column)):
                continue
            places[meaning] = place
            break
    if "label" in places:
        places["label"] = _prefer_names(tidy, cells, places)
    box, has_size = _find_box(tidy)
    taken = {*places.values(), *box}
    one_of: Mapping[str, int] = {}
    if "label" not in places:
        one_of = _find_one_of({name: k for name, k in tidy.items() if k not in taken}, cells)
    missing = {"path", "label"} - set(places) - ({"label"} if one_of else set())
    if missing:
        raise CatalogError(
            "a table needs a column `path` and a column `label`",
            f"{path} without {' and '.join(sorted(missing))}; columns {', '.join(tidy) or 'none'}",
            "name the columns in the first row",
        )
    unused = [name for name, place in tidy.items() if _BOX_LIKE.fullmatch(name)]
    unused = [name for name in unused if tidy[name] not in taken]
    paths = _take_column(cells, places["path"])
    if not box and {"x", "y"} <= set(tidy) and len(set(paths)) < len(paths):
        unused += ["x", "y"]
    if unused and (not box or len(unused) > 1):
        raise CatalogError(
            "columns that look like boxes must be four that are understood",
            f"{', '.join(unused)} in {path}",
            "name them x_min, y_min, x_max and y_max, or x, y, width and height; or remove them",
        )
    taken |= set(one_of.values())
    further = {cells.header[place]: place for place in tidy.values() if place not in taken}
    named = {cells.header[place]: place for place in one_of.values()}
    return Columns(places, box, has_size, _has_shares(cells, box), further, named)


def _tidy_names(path: Path, cells: Cells) -> dict[str, int]:
    """Column names as `_COLUMN_NAMES` spells them, with their places: `PatientID`, `File Name`."""
    tidy: dict[str, int] = {}
    for place, name in enumerate(cells.header):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
        key = re.sub(r"[\s.-]+", "_", words.casefold()).removesuffix("_px")
        if not key or re.fullmatch(r"unnamed:?_\d+|index", key):
            continue
        first = tidy.setdefault(key, place)
        if _take_column(cells, first) != _take_column(cells, place):
            raise CatalogError(
                "each column of a table must have a name of its own",
                f"two columns `{name.strip()}` in {path}, which differ",
                "rename one of them",
            )
    return tidy


def _take_column(cells: Cells, place: int) -> list[str]:
    return [row[place] for _, row in cells.rows if len(row) > place]


def _prefer_names(tidy: Mapping[str, int], cells: Cells, places: Mapping[Meaning, int]) -> int:
    """Return the place of the label: where it is a number and another column has a name for each
    number, the names are the labels."""
    chosen = places["label"]
    numbers = [clean_label(cell) for cell in _take_column(cells, chosen)]
    if not all(re.fullmatch(r"-?\d*", number) for number in numbers):
        return chosen
    for name in _COLUMN_NAMES["label"]:
        place = tidy.get(name, chosen)
        if place in places.values():
            continue
        names = [clean_label(cell) for cell in _take_column(cells, place)]
        pairs = {pair for pair in zip(numbers, names, strict=False) if any(pair)}
        is_bijection = len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        if is_bijection and any(not re.fullmatch(r"-?\d*", text) for text in names):
            return place
    return chosen


_NO, _YES = frozenset({"0", "false", "no", ""}), frozenset({"1", "true", "yes"})

_MOSTLY = 0.9


def _find_one_of(tidy: Mapping[str, int], cells: Cells) -> dict[str, int]:
    """Return columns of 0 and 1 of which nearly every row marks one: a label each (ISIC)."""
    binary = {
        name: place
        for name, place in tidy.items()
        if (column := {clean_number(c).casefold() for c in _take_column(cells, place)})
        and column <= _NO | _YES
        and not column.isdisjoint(_YES)
    }
    marked = [
        sum(is_marked(row[place]) for place in binary.values())
        for _, row in cells.rows
        if len(row) == len(cells.header)
    ]
    is_one = len(binary) > 1 and marked.count(1) >= _MOSTLY * len(marked) > 0
    return binary if is_one else {}


def is_marked(cell: str) -> bool:
    """Tell whether a cell of a column of 0 and 1 says 1."""
    return clean_number(cell).casefold() in _YES


def _has_shares(cells: Cells, box: tuple[int, ...]) -> bool:
    """Tell whether boxes are shares of the image: no number above 1, and some are no whole ones."""
    numbers = [
        value
        for place in box
        for cell in _take_column(cells, place)
        if (value := read_number(cell)) is not None
    ]
    return any(value % 1 for value in numbers) and all(0 <= value <= 1 for value in numbers)


def _find_box(tidy: Mapping[str, int]) -> tuple[tuple[int, ...], bool]:
    for kinds, has_size in ((_CORNERS, False), (_SIZES, True)):
        for names in kinds:
            if all(name in tidy for name in names):
                return tuple(tidy[name] for name in names), has_size
    return (), False


def _is_image_name(cell: str) -> bool:
    return bool(re.search(r"\.(jpe?g|png|tiff?|bmp|webp|gif)$", cell.strip(), re.IGNORECASE))


# -- cells ----------------------------------------------------------------------------------------


def is_missing(cell: str) -> bool:
    """Tell whether a cell says that its value is missing.

    >>> is_missing("NaN"), is_missing(" - "), is_missing("-1")
    (True, True, False)
    """
    return cell.strip().casefold() in MISSING


def clean_number(cell: str) -> str:
    """Return a cell without the decimals of a whole number, as a program writes it that knows
    floats only.

    >>> clean_number("12.0"), clean_number("12.5"), clean_number("P 7.0")
    ('12', '12.5', 'P 7.0')
    """
    match = re.fullmatch(r"\s*([+-]?\d+)\.0+\s*", cell)
    return match[1] if match else cell.strip()


def read_number(cell: str) -> float | None:
    """Return the number in a cell, with a point or a comma for its decimals; None for none.

    >>> read_number("20,5"), read_number(" 3.0"), read_number("nan"), read_number("x")
    (20.5, 3.0, None, None)
    """
    text = cell.strip()
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d*)?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)


def clean_source(cell: str) -> str:
    """Return the patient, slide or field that a cell names; "" where it says that it is unknown."""
    text = clean_number(cell)
    return "" if text.casefold() in _UNKNOWN_SOURCES else text


def clean_label(cell: str) -> str:
    """Return the label that a cell gives; "" for none.

    >>> clean_label("3.0"), clean_label("n/a"), clean_label("Band")
    ('3', '', 'Band')
    """
    return "" if is_missing(cell) else clean_number(cell)


def names_several(label: str) -> bool:
    """Tell whether a label names two cells or more, as of a field that shows them.

    >>> names_several("NEUTROPHIL, EOSINOPHIL"), names_several("Lymphocyte, large")
    (True, False)
    """
    names = re.split(r"[,;+&|]", label)
    return len(names) > 1 and all(is_known(name) for name in names)


def list_alike(sources: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return names of sources that may be one, spelled in several ways: in other case, with other
    separators, or with leading zeros.

    >>> list_alike(["P01", "p01", "P 1", "P10", "1-1", "11"])
    (('P 1', 'P01', 'p01'),)
    """
    spellings: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        words = re.findall(r"\d+|[^\W\d_]+", unicodedata.normalize("NFC", source).casefold())
        key = tuple(word.lstrip("0") or "0" if word.isdigit() else word for word in words)
        spellings.setdefault(key, set()).add(source)
    return tuple(
        tuple(sorted(names)) for key, names in sorted(spellings.items()) if len(names) > 1 and key
    )
