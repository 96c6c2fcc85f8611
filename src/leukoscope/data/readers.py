"""Where tables come from: class folders, split/class folders, CSV tables, Pascal-VOC cell boxes.

A reader only finds candidates; whether an image can be read is decided in `catalog`. What this
file does not do: it opens no image and resolves no label alias.

How a folder is read. A folder named like a part of a data set (TRAIN, val, TEST_SIMPLE ..., any
case) gives the split, and the folder below it the class. Without such a folder the class is the
folder right below PATH; a single folder that only wraps others (`images/`) is looked through.
Where there are `*.xml` files the set is Pascal-VOC: one candidate per box, and the field a cell
was cut from is its source.
"""

import csv
import io
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from leukoscope.data.images import IMAGE_SUFFIXES, Box
from leukoscope.errors import CatalogError, FileError, RejectCode
from leukoscope.storage import read_file

SPLIT_NAMES: dict[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "calib": "calib",
    "calibration": "calib",
    "test": "test",
    "testing": "test",
    "test_simple": "test",
}
"""Folder and table names of the parts of a data set, in lower case."""

WRAPPER_NAMES = frozenset({"images", "image", "imgs", "img", "data", "cells", "crops"})
"""Folders below a split folder that are looked through."""

_COLUMN_NAMES = {
    "path": ("path", "filepath", "file_path", "filename", "file", "image", "image_path"),
    "label": ("label", "class", "category", "cell_type", "celltype"),
    "split": ("split", "fold", "subset", "partition"),
    "source": ("source", "source_id", "patient", "patient_id", "slide_id", "group"),
    "id": ("id",),
}
_BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
# Written by a catalog; of no use as subgroups when it is read as a plain table.
_FACT_COLUMNS = frozenset({"width", "height", "bytes", "sha256"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image, or a box of one, that may become a row. `label` is as the data set spells it;
    `row` is its line in a table, 0 for none; `clip` allows a box to be cut to the image
    (annotations that touch its border)."""

    id: str
    path: Path
    label: str
    split: str = ""
    source: str = ""
    box: Box | None = None
    clip: bool = False
    row: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file, box or table row that stayed out, and why.

    `path` is as the folder or table names it. `id` and `label` are those that it would have had,
    "" where it came to none. `row` counts the lines of a table from 1, 0 for no table. `found` is
    the fact that the code is about: a size, a suffix, the message of a decoder or of the system;
    "" where the code says it all. Of a label conflict `content` names the content, so that its
    files can be found together.
    """

    path: str
    code: RejectCode
    id: str = ""
    label: str = ""
    row: int = 0
    found: str = ""
    content: str = ""


def find_candidates(path: Path) -> list[Candidate | Rejected]:
    """Return everything that a folder or table offers, in a fixed order.

    Raises `CatalogError` if `path` does not exist, is no folder or table, or is empty.
    """
    mode = _read_mode(path)
    if stat.S_ISDIR(mode):
        found = list(_read_folder(path))
    elif stat.S_ISREG(mode) and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        found = list(_read_table(path))
    else:
        raise CatalogError(
            "images come from a folder or a CSV table",
            f"{path}, which is {'neither' if mode else 'not there'}",
            "check the path",
        )
    if not found:
        raise CatalogError(f"{path} must offer at least one image", "it is empty", "check the path")
    return found


def _read_mode(path: Path) -> int:
    """Return the file mode; 0 where there is none to be had: no such file, no permission, a name
    that cannot be one."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


# -- folders --------------------------------------------------------------------------------------


def _read_folder(root: Path) -> Iterator[Candidate | Rejected]:
    images: list[tuple[str, ...]] = []
    annotations: list[Path] = []
    for entry in _walk(root):
        if isinstance(entry, Rejected):
            yield entry
            continue
        suffix = entry.suffix.lower()
        if suffix == ".xml":
            annotations.append(entry)
        elif suffix in IMAGE_SUFFIXES:
            images.append(entry.relative_to(root).parts)
        else:
            yield Rejected(str(entry), "not_an_image", found=suffix)
    if annotations:
        yield from _read_voc(root, annotations, images)
        return
    skipped = _count_wrappers(images)
    for parts in images:
        split, label = _name_parts(parts[:-1], skipped)
        path = root.joinpath(*parts)
        if label:
            yield Candidate("/".join(parts), path, label, split)
        else:
            yield Rejected(str(path), "no_label", id="/".join(parts))


def _walk(root: Path) -> Iterator[Path | Rejected]:
    """Yield regular files in a fixed order, and what was passed over, following links once."""
    seen: set[str] = set()
    failures: list[Rejected] = []

    def note(error: OSError) -> None:
        found = error.strerror or str(error)
        failures.append(Rejected(str(error.filename), "unreadable", found=found))

    seen.add(os.path.realpath(root))
    for place, folders, files in os.walk(root, followlinks=True, onerror=note):
        folder = Path(place)
        open_folders = []
        # Links last: of a folder and a link to it, the folder gives the names.
        for name in sorted(folders, key=lambda name: ((folder / name).is_symlink(), name)):
            real = os.path.realpath(folder / name)
            if name.startswith(".") or name == "__MACOSX":
                yield Rejected(str(folder / name), "hidden")
            elif real in seen:
                yield Rejected(str(folder / name), "already_read")
            else:
                seen.add(real)
                open_folders.append(name)
        folders[:] = open_folders
        for name in sorted(files):
            path = folder / name
            if name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini"):
                yield Rejected(str(path), "hidden")
                continue
            try:
                regular = stat.S_ISREG(path.stat().st_mode)
            except OSError as error:
                yield Rejected(str(path), "missing_file", found=error.strerror or str(error))
                continue
            if regular:
                yield path
            else:
                # Reading a pipe or a device could wait for ever.
                yield Rejected(str(path), "not_regular")
    yield from failures


def _count_wrappers(images: Iterable[tuple[str, ...]]) -> int:
    """Count the single folders at the top that only wrap two or more others."""
    folders = [parts[:-1] for parts in images]
    for depth, names in enumerate(zip(*folders, strict=False)):
        if len(set(names)) > 1:
            return depth
    # An image lies right in the last shared folder: that one is no mere wrapper.
    return 0


def _name_parts(folders: tuple[str, ...], skipped: int) -> tuple[str, str]:
    """Return split and class that the folders above an image name; "" for none."""
    for place, name in enumerate(folders):
        if name.casefold() in SPLIT_NAMES:
            below = list(folders[place + 1 :])
            while len(below) > 1 and below[0].casefold() in WRAPPER_NAMES:
                below.pop(0)
            return SPLIT_NAMES[name.casefold()], below[0] if below else ""
    return "", folders[skipped] if len(folders) > skipped else ""


# -- Pascal-VOC -----------------------------------------------------------------------------------


def _read_voc(
    root: Path, annotations: list[Path], images: list[tuple[str, ...]]
) -> Iterator[Candidate | Rejected]:
    by_name: dict[str, list[Path]] = defaultdict(list)
    for parts in images:
        path = root.joinpath(*parts)
        by_name[path.name].append(path)
        by_name[path.stem].append(path)
    n_boxes: dict[Path, int] = {}
    for annotation in annotations:
        try:
            content = read_file(annotation)
        except FileError as error:
            yield Rejected(str(annotation), error.reason, found=error.found)
            continue
        # Entities can be bombs or read files; no annotation needs them. Nulls: UTF-16.
        if re.search(rb"<!\s*(DOCTYPE|ENTITY)", content.replace(b"\0", b""), re.IGNORECASE):
            yield Rejected(str(annotation), "bad_annotation", found="DOCTYPE")
            continue
        try:
            tree = ElementTree.fromstring(content)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            yield Rejected(str(annotation), "bad_annotation", found=str(error))
            continue
        # Only the last part counts: annotations carry paths of other machines.
        name = PurePosixPath((tree.findtext("filename") or "").replace("\\", "/")).name
        image = _pick_nearest(annotation, by_name.get(name) or by_name.get(annotation.stem) or [])
        if image is None:
            yield Rejected(str(annotation), "missing_file", found=name)
            continue
        # Two annotations of one image: the boxes are numbered on, ids are unique.
        first = n_boxes.setdefault(image, 0)
        n_boxes[image] += len(tree.findall("object"))
        yield from _read_boxes(root, annotation, image, tree, first)
    for path in sorted({root.joinpath(*parts) for parts in images} - set(n_boxes)):
        yield Rejected(str(path), "no_label", id=path.relative_to(root).as_posix())


def _pick_nearest(annotation: Path, paths: list[Path]) -> Path | None:
    """Of images of one name, the one that shares most folders with the annotation."""

    def closeness(path: Path) -> int:
        return len(os.path.commonpath([path.parent, annotation.parent]))

    return max(paths, key=closeness, default=None)


def _read_boxes(
    root: Path, annotation: Path, path: Path, tree: ElementTree.Element, first: int
) -> Iterator[Candidate | Rejected]:
    field_id = path.relative_to(root).as_posix()
    objects = tree.findall("object")
    if not objects:
        yield Rejected(str(path), "no_label", id=field_id, found=annotation.name)
    for number, item in enumerate(objects, start=first):
        name = f"{field_id}#{number}"
        label = item.findtext("name") or ""
        corners = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x_min, y_min, x_max, y_max = (round(float(text or "")) for text in corners)
        except (ValueError, OverflowError):
            found = ", ".join(text or "" for text in corners)
            yield Rejected(str(path), "bad_box", name, label, found=found)
            continue
        # VOC counts pixels from 1 and includes the last one.
        box = (x_min - 1, y_min - 1, x_max, y_max)
        yield Candidate(name, path, label, source=field_id, box=box, clip=True)


# -- tables ---------------------------------------------------------------------------------------


def _read_table(table: Path) -> Iterator[Candidate | Rejected]:
    try:
        text = read_file(table).decode("utf-8-sig")
    except (FileError, UnicodeDecodeError) as error:
        found = error.found if isinstance(error, FileError) else str(error)
        raise CatalogError(
            f"{table} must be a text table in UTF-8", found, "save it as CSV in UTF-8"
        ) from error
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)
    # newline="": quoted fields may hold line ends, which the reader decides on.
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    seen: dict[str, int] = {}
    try:
        columns = _map_columns(table, reader.fieldnames or [])
        known = {*columns.values(), *_BOX_COLUMNS}
        for line, row in enumerate(reader, start=2):
            if None in row or None in row.values():
                yield Rejected(table.name, "bad_row", row=line)
                continue
            yield _read_row(table, line, row, columns, known, seen)
    except csv.Error as error:
        raise CatalogError(
            f"{table} must be a well-formed CSV table", f"{error}", "save it again as CSV"
        ) from error


def _map_columns(table: Path, header: Iterable[str]) -> dict[str, str]:
    tidy = {name.strip().casefold().replace(" ", "_"): name for name in header if name}
    columns = {
        column: tidy[next(name for name in names if name in tidy)]
        for column, names in _COLUMN_NAMES.items()
        if not tidy.keys().isdisjoint(names)
    }
    missing = {"path", "label"} - set(columns)
    if missing:
        raise CatalogError(
            "a table needs a column `path` and a column `label`",
            f"{table} without {' and '.join(sorted(missing))}; columns {', '.join(tidy) or 'none'}",
            "name the columns in the first row",
        )
    return columns


def _read_row(
    table: Path,
    line: int,
    row: dict[str, str],
    columns: dict[str, str],
    known: set[str],
    seen: dict[str, int],
) -> Candidate | Rejected:
    text, label = row[columns["path"]].strip(), row[columns["label"]]
    if not text:
        return Rejected("", "missing_file", label=label, row=line)
    path = Path(os.path.abspath(table.parent / text))  # noqa: PTH100 - resolve() follows links
    corners = [row.get(name, "").strip() for name in _BOX_COLUMNS]
    box: Box | None = None
    if any(corners):
        try:
            x_min, y_min, x_max, y_max = (int(corner) for corner in corners)
        except ValueError:
            return Rejected(text, "bad_box", label=label, row=line, found=", ".join(corners))
        box = (x_min, y_min, x_max, y_max)
    if not stat.S_ISREG(_read_mode(path)):
        return Rejected(text, "missing_file", label=label, row=line)
    name = row[columns["id"]].strip() if "id" in columns else ""
    name = name or PurePosixPath(text).as_posix()
    unique = name
    while unique in seen:
        seen[name] += 1
        unique = f"{name}#{seen[name]}"
    seen[unique] = 1
    split = row[columns["split"]].strip() if "split" in columns else ""
    return Candidate(
        id=unique,
        path=path,
        label=label,
        split=SPLIT_NAMES.get(split.casefold(), split),
        source=row[columns["source"]].strip() if "source" in columns else "",
        box=box,
        row=line,
        extra={k: v for k, v in row.items() if k not in known and k not in _FACT_COLUMNS},
    )
