"""Where tables come from: folders of classes or of detection sets, and CSV tables.

A reader only finds candidates; whether an image can be read is decided in `catalog`. What this
file does not do: it decodes no image, resolves no label alias, and neither tells the layers of
folders apart (`layouts`) nor reads annotations (`annotations`).

How a folder is read. Images that belong to others (masks, flows, thumbnails) stay out. Where at
least half of the images have boxes in Pascal-VOC, YOLO or COCO, or where no folder is a class, the
set is a detection set: one candidate per box, and the field a cell was cut from is its source.
Else the folders name the classes, and annotations of a few images are named as unused.
"""

import errno
import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from leukoscope.data.annotations import (
    Annotations,
    FracBox,
    ImageIndex,
    read_coco,
    read_voc,
    read_yolo,
)
from leukoscope.data.images import IMAGE_SUFFIXES, Box, read_has_colour
from leukoscope.data.layouts import (
    SPLIT_NAMES,
    Folders,
    Layer,
    Layout,
    Question,
    read_layers,
    resolve_parts,
)
from leukoscope.data.tables import (
    Columns,
    Meaning,
    clean_label,
    clean_source,
    is_marked,
    is_missing,
    map_columns,
    names_several,
    read_cells,
    read_header,
    read_number,
)
from leukoscope.errors import CatalogError, FileError, RejectCode
from leukoscope.labels import is_known, resolve_label
from leukoscope.storage import MAX_TEXT_BYTES, read_file

# Written by a catalog; of no use as subgroups when it is read as a plain table.
_FACT_COLUMNS = frozenset({"width", "height", "bytes", "sha256", "pixels"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image, or a box of one, that may become a row. `label` is as the data set spells it;
    `row` is its line in a table, 0 for none; `frac_box` is a box in shares of the image, whose size
    no reader knows; `clip` allows a box to be cut to the image (annotations that touch its
    border)."""

    id: str
    path: Path
    label: str
    split: str = ""
    source: str = ""
    box: Box | None = None
    frac_box: FracBox | None = None
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


CAMERA_BITS = (10, 12, 14)
"""Bits of cameras whose values are written in 16."""


@dataclass(frozen=True, slots=True)
class Depth:
    """All `n_images` images of 16 bits hold levels up to `peak`, as of a camera of `bits`."""

    bits: int
    peak: int
    n_images: int

    @property
    def factor(self) -> int:
        """What the levels have to be multiplied by."""
        return 1 << (16 - self.bits)


ReadingKind = Literal["folders", "voc", "yolo", "coco", "table"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a folder or table was read.

    `layers` are the uses of folders. `parts` are names of parts with their roles, "" where a name
    is not understood. `columns` are a table's columns by what they mean. `files` are the annotation
    files that made it a detection set, `has_names` says whether they name the classes. `empty` are
    class folders without images. `merged` are labels under which several spellings were joined,
    `ambiguous` those that mean one cell in some data sets and another elsewhere. `alike` are
    names of sources that may be one, spelled in several ways. `tables` lie among the images, name
    most of them, and were not read. `depth` is there
    where the files have more bits than the camera had.
    """

    kind: ReadingKind
    layers: tuple[Layer, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    has_names: bool = True
    empty: tuple[str, ...] = ()
    merged: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ambiguous: tuple[str, ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    tables: tuple[str, ...] = ()
    depth: Depth | None = None


@dataclass(frozen=True)
class Candidates:
    """What a folder or table offers, in a fixed order, and how it was read."""

    entries: tuple[Candidate | Rejected, ...]
    reading: Reading


@dataclass(frozen=True, slots=True)
class Levels:
    """Which layer of folders is the class, and which the source, where the user says so: counted
    from 1 below the root; None leaves it to the names."""

    class_level: int | None = None
    source_level: int | None = None


def find_candidates(path: Path, levels: Levels | None = None) -> Candidates:
    """Return everything that a folder or table offers.

    Raises `CatalogError` if `path` does not exist, is no folder or table, or is empty, and where
    the folders alone do not say which layer is the class.
    """
    mode = _read_mode(path)
    if stat.S_ISDIR(mode):
        found = _read_folder(path, levels or Levels())
    elif stat.S_ISREG(mode) and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        found = _read_table(path)
    else:
        kind, remedy = _OTHER_FILES.get(path.suffix.lower(), ("neither", "check the path"))
        raise CatalogError(
            "images come from a folder or a CSV table",
            f"{path}, which is {kind if mode else 'not there'}",
            remedy if mode else "check the path",
        )
    if not found.entries:
        raise CatalogError(f"{path} must offer at least one image", "it is empty", "check the path")
    return found


_FOLDER_INSTEAD = "name the folder that holds it and the images"
_CSV_INSTEAD = "save it as CSV in UTF-8"
_OTHER_FILES = {
    **dict.fromkeys(
        (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"),
        ("an archive", "unpack it, and name the folder"),
    ),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".xlsm"), ("a workbook", _CSV_INSTEAD)),
    **dict.fromkeys((".parquet", ".feather", ".jsonl"), ("another table", _CSV_INSTEAD)),
    **dict.fromkeys((".json", ".xml", ".yaml", ".yml"), ("an annotation file", _FOLDER_INSTEAD)),
    **dict.fromkeys(IMAGE_SUFFIXES, ("one image", _FOLDER_INSTEAD)),
}
"""What people give instead of a folder or a table, and what to do with it."""


def place_box(candidate: Candidate, width: int, height: int) -> Box | None:
    """Return the box of a candidate in pixels of its image, cut to it where that is allowed."""
    box = candidate.box
    if candidate.frac_box is not None:
        x_min, y_min, x_max, y_max = candidate.frac_box
        box = (
            *(round(x_min * width), round(y_min * height)),
            *(round(x_max * width), round(y_max * height)),
        )
    if box is None or not candidate.clip:
        return box
    return (max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3]))


def _read_mode(path: Path) -> int:
    """Return the file mode; 0 where there is none to be had: no such file, no permission, a name
    that cannot be one."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


# -- folders --------------------------------------------------------------------------------------


def _read_folder(root: Path, levels: Levels) -> Candidates:
    files = _Files()
    for entry in walk_folder(root):
        if isinstance(entry, Rejected):
            files.rejected.append(entry)
        else:
            files.add(entry)
    images, companions = _part_companions(root, files.images)
    files.rejected += companions
    layout = _read_layout(root, images, levels)
    labelled = sum(bool(layout.places[_list_folders(root, path)].label) for path in images)
    found = _read_annotations(root, files, images)
    n_annotated = len(found.objects) if found else 0
    has_question = layout.question is not None
    is_detection = n_annotated and (
        2 * n_annotated >= len(images) or not (labelled or has_question)
    )
    lists = _read_part_lists(files.select(".txt"), images)
    if found and is_detection:
        entries, reading = _list_boxes(root, found, images, levels, lists)
    else:
        tables = _find_tables(root, files.select(".csv", ".tsv"), images, layout)
        if levels.class_level is None:
            _check_tables(tables, has_question=has_question, is_labelled=labelled > 0)
        if layout.question is not None:
            raise _ask(layout.question)
        entries, reading = _list_classes(root, images, layout, lists)
        reading = replace(reading, tables=tuple(str(one.path) for one in tables if one.n_images))
        empty = _find_empty(root, layout, files)
        entries += [Rejected(str(folder), "empty_folder") for folder in empty]
        reading = replace(reading, empty=tuple(folder.name for folder in empty))
        if found:
            files.rejected += [Rejected(str(file), "unused_annotation") for file in found.files]
    used = {*(found.files if found else ()), *lists.files}
    problems = {file for file, _, _ in found.problems} if found else set()
    entries += [
        Rejected(str(file), "not_an_image", found=file.suffix.lower())
        for file in files.others
        if file not in used and file not in problems
    ]
    if found:
        entries += [Rejected(str(file), code, found=text) for file, code, text in found.problems]
    return Candidates((*files.rejected, *entries), reading)


@dataclass
class _Files:
    """Regular files of a tree by what they may be."""

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, path: Path) -> None:
        (self.images if path.suffix.lower() in IMAGE_SUFFIXES else self.others).append(path)

    def select(self, *suffixes: str) -> list[Path]:
        return [path for path in self.others if path.suffix.lower() in suffixes]


def _list_folders(root: Path, path: Path) -> Folders:
    return path.parent.relative_to(root).parts


def _read_layout(
    root: Path,
    images: Iterable[Path],
    levels: Levels,
    parts: Mapping[str, str] | None = None,
    *,
    has_classes: bool = True,
) -> Layout:
    return read_layers(
        Counter(_list_folders(root, path) for path in images),
        class_level=levels.class_level,
        source_level=levels.source_level,
        parts=parts,
        has_classes=has_classes,
    )


def _ask(question: Question) -> CatalogError:
    sets = [
        f"{', '.join(names[:3])}{f' and {len(names) - 3:,} more' if len(names) > 3 else ''}"
        for names in question.names
    ]
    options = [f"--class-level {level}" for level in question.levels if level] or ["--class-level"]
    # One layer: patients or folds only. Two: each of them may be the class.
    found = f"below each of {sets[0]} lie {sets[1]}" if len(sets) > 1 else f"only {sets[0]}"
    return CatalogError(
        "it must be clear which layer of folders is the class",
        found,
        f"say which by {' or '.join(options)}, here or for `data scan`, where --source-level makes"
        " another layer the source",
    )


def _list_classes(
    root: Path, images: Iterable[Path], layout: Layout, lists: "_PartLists"
) -> tuple[list[Candidate | Rejected], Reading]:
    entries: list[Candidate | Rejected] = []
    for path in images:
        place = layout.places[_list_folders(root, path)]
        name = path.relative_to(root).as_posix()
        split = place.split or lists.role_of(path)
        if place.label:
            entries.append(
                Candidate(name, path, place.label, split, place.source, extra=place.extra)
            )
        else:
            entries.append(Rejected(str(path), "no_label", id=name))
    parts = tuple(sorted({*layout.parts, *lists.roles.items()}))
    return entries, Reading("folders", layout.layers, parts)


# -- texts and tables beside images ---------------------------------------------------------------


@dataclass(frozen=True)
class _PartLists:
    """Texts that list the images of a part, and which part each image is in."""

    files: tuple[Path, ...] = ()
    part_of: Mapping[Path, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)

    def role_of(self, path: Path) -> str:
        return self.roles.get(self.part_of.get(path, ""), "")


def _read_part_lists(texts: Iterable[Path], images: Sequence[Path]) -> _PartLists:
    """Read `train.txt`, `val.txt`, `test.txt`: an image a line, by name, stem or path, as
    Pascal-VOC, darknet and others write them. An image in two parts is in none."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_stem[path.stem].append(path)
    named: dict[Path, set[str]] = defaultdict(set)
    files = []
    for text in texts:
        if text.stem.casefold() not in SPLIT_NAMES:
            continue
        try:
            lines = read_file(text, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
        except (FileError, UnicodeDecodeError):
            continue
        names = [line.strip() for line in lines if line.strip()]
        meant = [_find_listed(name, by_stem) for name in names]
        if 2 * sum(path is not None for path in meant) < len(names) or not names:
            continue
        files.append(text)
        for path in filter(None, meant):
            named[path].add(text.stem)
    part_of = {path: parts.pop() for path, parts in named.items() if len(parts) == 1}
    return _PartLists(tuple(files), part_of, resolve_parts({file.stem for file in files}))


def _find_listed(name: str, by_stem: Mapping[str, Sequence[Path]]) -> Path | None:
    """Return the image that a line means, which may leave out folders and the ending."""
    wanted = PurePosixPath(name.replace("\\", "/"))
    found = [*by_stem.get(wanted.name, ()), *by_stem.get(wanted.stem, ())]
    found = [path for path in found if wanted.name in (path.name, path.stem)]
    near = [path for path in found if path.parent.name == wanted.parent.name]
    found = list(dict.fromkeys(near or found))
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class _FoundTable:
    """A table among the images. `n_images`: so many of them have one row each, no fewer than half
    of those in its folder, else 0; `n_otherwise` of these are named otherwise than by folders."""

    path: Path
    n_images: int
    n_otherwise: int


def _find_tables(
    root: Path, files: Iterable[Path], images: Sequence[Path], layout: Layout
) -> list[_FoundTable]:
    """Return the tables among the images whose columns are understood; our own repeat what the
    folders say."""
    known = set(images)
    found = []
    for file in files:
        if {"sha256", "code"} & set(read_header(file)):
            continue
        try:
            candidates = _read_table(file).entries
        except CatalogError:
            continue
        rows = [one for one in candidates if isinstance(one, Candidate) and one.path in known]
        beside = sum(path.is_relative_to(file.parent) for path in images)
        if any(one.box or one.frac_box for one in rows) or 2 * len(rows) < beside:
            rows = []
        folders = [layout.places[_list_folders(root, one.path)].label for one in rows]
        pairs = zip(folders, rows, strict=True)
        otherwise = sum(resolve_label(name) != resolve_label(one.label) for name, one in pairs)
        found.append(_FoundTable(file, len(rows), otherwise))
    return found


def _check_tables(tables: Sequence[_FoundTable], *, has_question: bool, is_labelled: bool) -> None:
    """Raise `CatalogError` where tables name the cells and folders do not, or name others."""
    found, more = "folders that name no classes", ""
    if has_question or is_labelled:
        tables = [one for one in tables if 2 * one.n_otherwise > one.n_images]
        found, more = "folders of other names", ", or say which layer counts by --class-level"
    if tables:
        raise CatalogError(
            "it must be clear what labels the images",
            f"{found}, and {', '.join(str(one.path) for one in tables[:3])}",
            f"give the table instead of the folder{more}",
        )


def _find_empty(root: Path, layout: Layout, files: _Files) -> list[Path]:
    """Return folders beside class folders that hold nothing, or no image and a cell's name."""
    parents = {
        folders[: place.class_level - 1] for folders, place in layout.places.items() if place.label
    }

    def list_holders(paths: Iterable[Path]) -> set[Folders]:
        found = {_list_folders(root, path) for path in paths}
        return {folders[:k] for folders in found for k in range(1, len(folders) + 1)}

    with_image, with_file = list_holders(files.images), list_holders(files.others)
    passed = {entry.path for entry in files.rejected}
    found = []
    for parent in sorted(parents):
        try:
            names = sorted(one.name for one in root.joinpath(*parent).iterdir() if one.is_dir())
        except OSError:
            continue
        for name in names:
            place = (*parent, name)
            holds = place in with_image or (place in with_file and not is_known(name))
            folder = root.joinpath(*place)
            if not holds and str(folder) not in passed:
                found.append(folder)
    return found


# -- images of images -----------------------------------------------------------------------------

_KINDS = (
    r"(?:cp_)?masks?|segmentations?|segmented|seg|ground[\s_-]?truth|gt|expert"
    r"|flows?|outlines?|contours?|overlays?|thumb(?:nail)?s?|heat_?maps?|previews?"
    r"|probabilit(?:y|ies)|annotat(?:ed|ion)s?"
)
_COMPANION = re.compile(rf"(?P<stem>.+?)[\s_.-]+(?:{_KINDS})(?:[\s_.-]?\w{{1,3}})?", re.IGNORECASE)
_COMPANION_PREFIX = re.compile(rf"(?:{_KINDS}|tn)[\s_.-]+(?P<stem>.+)", re.IGNORECASE)
_COMPANION_FOLDER = re.compile(rf"(?:{_KINDS}|labels?)(?:[\s_.-].*|\d+)?", re.IGNORECASE)


def _part_companions(root: Path, images: Sequence[Path]) -> tuple[list[Path], list[Rejected]]:
    """Return the images, and apart from them those that show others: `a_mask.png` beside `a.jpg`,
    `masks/a.png` where an `a` lies elsewhere, or `a.png` of one channel beside an `a.jpg` of
    colour."""
    beside: dict[Path, set[str]] = defaultdict(set)
    stems: dict[str, Path] = {}
    apart = {
        path for path in images if any(map(_COMPANION_FOLDER.fullmatch, _list_folders(root, path)))
    }
    for path in images:
        if path not in apart:
            beside[path.parent].add(path.stem.casefold())
            stems.setdefault(path.stem.casefold(), path)
    kept: list[Path] = []
    rejected: list[Rejected] = []
    plain = _find_plain(path for path in images if path not in apart)
    for path in images:
        stem = path.stem.casefold()
        matches = (_COMPANION.fullmatch(stem), _COMPANION_PREFIX.fullmatch(stem))
        bases = [match["stem"] for match in matches if match]
        if path in apart:
            shown = [base for base in (stem, *bases) if base in stems]
        else:
            shown = [base for base in bases if base in beside[path.parent]]
            shown += [stem] if path in plain else []
        if shown:
            rejected.append(Rejected(str(path), "companion", found=shown[0]))
        else:
            kept.append(path)
    return kept, rejected


def _find_plain(images: Iterable[Path]) -> set[Path]:
    """Of images of one stem in one folder, those of one channel where another has colours."""
    twice: dict[Path, list[Path]] = defaultdict(list)
    for path in images:
        twice[path.with_suffix("")].append(path)
    found: set[Path] = set()
    for paths in twice.values():
        if len(paths) > 1:
            has_colour = {path: read_has_colour(path) for path in paths}
            if any(has_colour.values()):
                found |= {path for path in paths if has_colour[path] is False}
    return found


# -- detection sets -------------------------------------------------------------------------------


def _read_annotations(root: Path, files: _Files, images: Sequence[Path]) -> Annotations | None:
    """Return the annotations of the kind that most images have; None where no file is any."""
    index = ImageIndex(root, images)
    kinds = (
        read_voc(files.select(".xml"), index),
        read_yolo(files.select(".txt", ".names", ".labels"), files.select(".yaml", ".yml"), index),
        read_coco(files.select(".json", ".geojson"), index),
    )
    best = max(kinds, key=lambda kind: len(kind.objects))
    # What is no annotation is said whatever the set is read as.
    best.problems += [
        problem
        for kind in kinds
        for problem in kind.problems
        if kind is not best and problem[1] != "missing_file"
    ]
    return best if best.objects or best.problems else None


def _list_boxes(
    root: Path, found: Annotations, images: Sequence[Path], levels: Levels, lists: "_PartLists"
) -> tuple[list[Candidate | Rejected], Reading]:
    layout = _read_layout(
        root, images, Levels(source_level=levels.source_level), found.parts, has_classes=False
    )
    roles = resolve_parts(set(found.part_of.values()))
    entries: list[Candidate | Rejected] = []
    for path in images:
        name = path.relative_to(root).as_posix()
        place = layout.places[_list_folders(root, path)]
        objects = found.objects.get(path, [])
        if not objects:
            entries.append(Rejected(str(path), "no_label", id=name))
        named = found.part_of.get(path, "")
        split = place.split or roles.get(named, "") or lists.role_of(path)
        for number, item in enumerate(objects):
            box_id = f"{name}#{number}"
            if item.found or (item.box is None and item.frac_box is None):
                entries.append(Rejected(str(path), "bad_box", box_id, item.label, found=item.found))
                continue
            entries.append(
                Candidate(
                    box_id,
                    path,
                    item.label,
                    split,
                    place.source or name,
                    item.box,
                    item.frac_box,
                    clip=True,
                    extra=place.extra,
                )
            )
    files = tuple(str(file.relative_to(root)) for file in found.files)
    parts = tuple(sorted({*layout.parts, *roles.items(), *lists.roles.items()}))
    layers = tuple(layer for layer in layout.layers if layer.use != "class")
    return entries, Reading(found.kind, layers, parts, files=files, has_names=found.has_names)


def walk_folder(root: Path) -> Iterator[Path | Rejected]:
    """Yield the regular files in a folder and below, in a fixed order, and what was passed over:
    the one walk of all commands. Links are followed once, whatever they form."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            seen.add(_identify(folder))
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            yield Rejected(str(folder), "unreadable", found=error.strerror or str(error))
            continue
        folders = []
        for name in names:
            path = folder / name
            if name.startswith(".") or name.lower() in _SYSTEM_NAMES:
                yield Rejected(str(path), "hidden")
                continue
            try:
                mode = path.stat().st_mode
            except OSError as error:
                gone = isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP
                code: RejectCode = "missing_file" if gone else "unreadable"
                yield Rejected(str(path), code, found=error.strerror or str(error))
                continue
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif stat.S_ISREG(mode):
                yield path
            else:
                # Reading a pipe or a device could wait for ever.
                yield Rejected(str(path), "not_regular")
        below = []
        # Links last: of a folder and a link to it, the folder gives the names.
        for path in sorted(folders, key=lambda path: (path.is_symlink(), path.name)):
            identity = _identify(path)
            if identity in seen:
                yield Rejected(str(path), "already_read")
            else:
                seen.add(identity)
                below.append(path)
        waiting += reversed(below)


_SYSTEM_NAMES = frozenset({"__macosx", "desktop.ini", "thumbs.db"})


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


# -- tables ---------------------------------------------------------------------------------------


def _read_table(table: Path) -> Candidates:
    cells = read_cells(table)
    columns = map_columns(table, cells)
    split_place = columns.places.get("split")
    parts = [
        row[split_place]
        for _, row in cells.rows
        if split_place is not None and len(row) == len(cells.header)
    ]
    roles = resolve_parts({name for name in parts if not is_missing(name)})
    finder = _FileFinder(table.parent)
    seen: dict[str, int] = {}
    entries: list[Candidate | Rejected] = []
    for number, row in cells.rows:
        if len(row) != len(cells.header):
            entries.append(Rejected(table.name, "bad_row", row=number))
        else:
            entries.append(_read_row(number, row, columns, roles, finder, seen))
    meant: list[tuple[str, str]] = [
        (meaning, cells.header[place]) for meaning, place in columns.places.items()
    ]
    if columns.one_of:
        meant.append(("label", " or ".join(columns.one_of)))
    if columns.box:
        meant.append(("box", ", ".join(cells.header[place] for place in columns.box)))
    reading = Reading("table", parts=tuple(sorted(roles.items())), columns=tuple(meant))
    return Candidates(tuple(entries), reading)


def _read_row(
    number: int,
    row: Sequence[str],
    columns: Columns,
    roles: Mapping[str, str],
    finder: "_FileFinder",
    seen: dict[str, int],
) -> Candidate | Rejected:
    def get(meaning: Meaning) -> str:
        place = columns.places.get(meaning)
        return row[place] if place is not None else ""

    text, label = get("path"), clean_label(get("label"))
    marked = [name for name, place in columns.one_of.items() if is_marked(row[place])]
    label = marked[0] if len(marked) == 1 else label
    if not text:
        return Rejected("", "missing_file", label=label, row=number)
    corners = ["" if is_missing(row[place]) else row[place] for place in columns.box]
    box: Box | None = None
    frac_box: FracBox | None = None
    if any(corners):
        numbers = [value for value in map(read_number, corners) if value is not None]
        if len(numbers) < 4 or max(map(abs, numbers)) > _FAR:
            return Rejected(text, "bad_box", label=label, row=number, found=", ".join(corners))
        a, b, c, d = numbers
        edges = (a, b, a + c, b + d) if columns.has_size else (a, b, c, d)
        if columns.has_shares:
            frac_box = edges
        else:
            box = (round(edges[0]), round(edges[1]), round(edges[2]), round(edges[3]))
    found = finder.find(text)
    if len(found) != 1:
        more = f"{len(found)} of this name" if found else ""
        return Rejected(text, "missing_file", label=label, row=number, found=more)
    path = found[0]
    name = get("id") or PurePosixPath(text if "/" in text else text.replace("\\", "/")).as_posix()
    unique = name
    while unique in seen:
        seen[name] += 1
        unique = f"{name}#{seen[name]}"
    seen[unique] = 1
    if not label and get("label"):
        return Rejected(str(path), "no_label", unique, row=number, found=get("label"))
    if len(marked) > 1 or names_several(label):
        label = label or ", ".join(marked)
        return Rejected(str(path), "several_labels", unique, row=number, found=label)
    extra = {k: row[place] for k, place in columns.further.items() if k not in _FACT_COLUMNS}
    split = get("split")
    role = "" if is_missing(split) else roles[split] or split
    if sum(one == role for one in roles.values()) > 1:
        extra.setdefault("part", split)
    return Candidate(
        id=unique,
        path=path,
        label=label,
        split=role,
        source=unicodedata.normalize("NFC", clean_source(get("source"))),
        box=box,
        frac_box=frac_box,
        row=number,
        extra=extra,
    )


_FAR = 1e9
"""Pixels; what lies further out is no corner of anything."""


class _FileFinder:
    """Finds the files that a table names: as they are written, with the separators of Windows, in
    another Unicode form, or by a name without folders, with its suffix or without, in any folder
    below the table."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, list[Path]] | None = None

    def find(self, text: str) -> list[Path]:
        """Return the file; none if it is not there, several if it may be any of them."""
        # resolve() would follow links.
        for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
            path = Path(os.path.abspath(self._folder / spelling))  # noqa: PTH100
            if stat.S_ISREG(_read_mode(path)):
                return [path]
            if not spelling.isascii():
                found = self._find_form(path)
                if found is not None:
                    return [found]
        if "/" in text or "\\" in text:
            return []
        if self._names is None:
            self._names = defaultdict(list)
            for entry in walk_folder(self._folder):
                if isinstance(entry, Path) and entry.suffix.lower() in IMAGE_SUFFIXES:
                    for name in {entry.name, entry.stem}:
                        self._names[unicodedata.normalize("NFC", name)].append(entry)
        return self._names.get(unicodedata.normalize("NFC", text), [])

    def _find_form(self, path: Path) -> Path | None:
        """Return the file whose name is the same text in another Unicode form."""
        found = Path(path.anchor)
        for name in path.parts[1:]:
            if not _read_mode(found / name):
                same = unicodedata.normalize("NFC", name)
                try:
                    with os.scandir(found) as entries:
                        names = sorted(e.name for e in entries if not e.name.isascii())
                except OSError:
                    return None
                match = next((n for n in names if unicodedata.normalize("NFC", n) == same), None)
                if match is None:
                    return None
                name = match
            found /= name
        return found if stat.S_ISREG(_read_mode(found)) else None
