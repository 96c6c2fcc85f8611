"""Boxes of detection sets: Pascal-VOC, YOLO and COCO, as pieces of candidates.

What this file does not do: it opens no image, and decides neither which images lie in which part
(`layouts`) nor whether a tree is a detection set at all (`readers`).
"""

import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal
from xml.etree import ElementTree

from leukoscope.data.images import Box
from leukoscope.data.layouts import name_part
from leukoscope.errors import CatalogError, FileError, RejectCode
from leukoscope.records import parse_record
from leukoscope.storage import MAX_TEXT_BYTES, read_file

AnnotationKind = Literal["voc", "yolo", "coco"]

FracBox = tuple[float, float, float, float]
"""`(x_min, y_min, x_max, y_max)` as shares of width and height."""

MAX_BYTES = 1 << 28
"""Larger annotation files are not read."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """One object of an image. Either `box` or `frac_box` is there, or `found`: what the four
    numbers were that are none."""

    label: str
    box: Box | None = None
    frac_box: FracBox | None = None
    found: str = ""


@dataclass
class Annotations:
    """What the annotation files of one kind say.

    `objects` is keyed by image; an image without objects has an empty list. `files` are those that
    were used, `problems` those that cannot be: path, code, what was found. `parts` are roles of
    folder names (YOLO's `data.yaml`); `part_of` names those of images (COCO's files are named so).
    """

    kind: AnnotationKind
    objects: dict[Path, list[Annotated]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    problems: list[tuple[Path, RejectCode, str]] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    part_of: dict[Path, str] = field(default_factory=dict)
    has_names: bool = True

    def add(self, image: Path, objects: Iterable[Annotated]) -> None:
        """Take the objects of an image; two annotations of one image are joined."""
        self.objects.setdefault(image, []).extend(objects)


class ImageIndex:
    """Images by name and by stem, for annotations that name them more or less."""

    def __init__(self, root: Path, images: Iterable[Path]) -> None:
        self._root = root
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(images):
            # One text has two Unicode forms; file systems and programs differ.
            for name in {_compose(path.name), _compose(path.stem)}:
                self._by_name[name].append(path)

    def find(self, annotation: Path, *names: str, part: str = "") -> Path | None:
        """Return the image that one of these names means; where several bear it, the one in a
        folder of that part, else the nearest."""

        def measure(path: Path) -> tuple[bool, int, int]:
            folders = path.parent.relative_to(self._root).parts
            in_part = bool(part) and any(name_part(name) == part for name in folders)
            return (in_part, *_measure_closeness(path, annotation))

        for name in map(_compose, names):
            if self._by_name.get(name):
                return max(self._by_name[name], key=measure)
        return None


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


_ANNOTATION_FOLDERS = frozenset({"labels", "label", "annotations", "annotation", "xml", "xmls"})


def _measure_closeness(path: Path, annotation: Path) -> tuple[int, int]:
    """Folders in common from the end, then from the root: `images/train/a.jpg` belongs to
    `labels/train/a.txt`."""
    ours, theirs = path.parent.parts, annotation.parent.parts
    for k, name in enumerate(theirs):
        beside = name.casefold() in _ANNOTATION_FOLDERS and len(ours) == len(theirs)
        if beside and ours[:k] == theirs[:k] and ours[k + 1 :] == theirs[k + 1 :]:
            return len(ours), k
    return _count_common(ours[::-1], theirs[::-1]), _count_common(ours, theirs)


def _count_common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((k for k, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


# -- Pascal-VOC -----------------------------------------------------------------------------------


def read_voc(files: Sequence[Path], images: ImageIndex) -> Annotations:
    """Read XML files whose root is `annotation`, or that hold objects with boxes; others are named
    as problems."""
    found = Annotations("voc")
    for file in files:
        try:
            content = read_file(file, MAX_BYTES)
        except FileError as error:
            found.problems.append((file, error.reason, error.found))
            continue
        # Entities can be bombs or read files; no annotation needs them. Nulls: UTF-16.
        if re.search(rb"<!\s*(DOCTYPE|ENTITY)", content.replace(b"\0", b""), re.IGNORECASE):
            found.problems.append((file, "bad_annotation", "DOCTYPE"))
            continue
        try:
            tree = ElementTree.fromstring(content)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            found.problems.append((file, "bad_annotation", str(error)))
            continue
        # Microscopes write XML by the dozen.
        if tree.tag != "annotation" and tree.find("object/bndbox") is None:
            is_cvat = tree.find("image[@name]") is not None
            found.problems.append((file, "bad_annotation", "CVAT" if is_cvat else f"<{tree.tag}>"))
            continue
        name = _last_part(tree.findtext("filename") or "")
        image = images.find(file, name, file.stem)
        if image is None:
            found.problems.append((file, "missing_file", name))
            continue
        found.files.append(file)
        found.add(image, map(_read_object, tree.findall("object")))
    return found


def _last_part(name: str) -> str:
    # Only the last part counts: annotations carry paths of other machines.
    return PurePosixPath(name.replace("\\", "/")).name


def _read_object(item: ElementTree.Element) -> Annotated:
    label = item.findtext("name") or ""
    corners = [item.findtext(f"bndbox/{key}") or "" for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x_min, y_min, x_max, y_max = (round(float(text)) for text in corners)
    except (ValueError, OverflowError):
        return Annotated(label, found=", ".join(corners))
    # VOC counts pixels from 1 and includes the last one.
    return Annotated(label, (x_min - 1, y_min - 1, x_max, y_max))


# -- YOLO -----------------------------------------------------------------------------------------

_YOLO_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names", "names.txt")


def read_yolo(texts: Sequence[Path], configs: Sequence[Path], images: ImageIndex) -> Annotations:
    """Read label files beside images, or below `labels/` as the images below `images/`.

    A label file holds one line per object: class number, centre, width and height as shares of the
    image, or a polygon, whose hull is taken. Class names come from a `names:` in YAML, from
    `classes.txt` or `obj.names`; without any the numbers are the names. Texts that are no label
    files are left alone.
    """
    found = Annotations("yolo")
    lists = [file for file in texts if file.name.casefold() in _YOLO_NAMES]
    names: Sequence[str] = ()
    for file in sorted((*configs, *lists), key=lambda file: (len(file.parts), str(file))):
        config = _read_yolo_config(file)
        found.parts |= config.parts
        if config.names and not names:
            names = config.names
            found.files.append(file)
    found.has_names = bool(names)
    for file in texts:
        if file in lists:
            continue
        rows = _read_label_file(file)
        if rows is None:
            continue
        image = images.find(file, file.stem)
        if image is None:
            if rows:
                found.problems.append((file, "missing_file", file.stem))
            continue
        found.files.append(file)
        found.add(image, (_read_yolo_row(row, names) for row in rows))
    return found


def _read_label_file(file: Path) -> list[list[float]] | None:
    """Return the numbers of a label file, line by line; None for any other text."""
    try:
        text = read_file(file, MAX_BYTES).decode("utf-8-sig")
    except (FileError, UnicodeDecodeError):
        return None
    rows = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            return None
        if len(row) < 5 or row[0] != abs(row[0] // 1) or row[0] > 1e6:
            return None
        rows.append(row)
    # A blank one is a label file where label files lie: an image without objects.
    return rows if rows or "labels" in {name.casefold() for name in file.parts} else None


def _read_yolo_row(row: Sequence[float], names: Sequence[str]) -> Annotated:
    number = int(row[0])
    label = names[number] if number < len(names) and names[number] else str(number)
    if len(row) > 6:
        xs, ys = row[1::2], row[2::2]
        box = (min(xs), min(ys), max(xs), max(ys))
    else:
        x, y, width, height = row[1:5]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    # Shares may reach over the border by rounding; pixels would reach far over it.
    if not all(-0.5 <= value <= 1.5 for value in box):
        return Annotated(label, found=", ".join(f"{value:g}" for value in row[1:]))
    return Annotated(label, frac_box=box)


@dataclass(frozen=True)
class _YoloConfig:
    names: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)


def _read_yolo_config(file: Path) -> _YoloConfig:
    """Read `names`, `train`, `val` and `test` of a `data.yaml`; or a list of names, one a line.

    Only what such files use is understood: `[a, b]`, `- a` and `0: a`.
    """
    try:
        text = read_file(file, MAX_TEXT_BYTES).decode("utf-8-sig")
    except (FileError, UnicodeDecodeError):
        return _YoloConfig()
    if file.suffix.casefold() not in (".yaml", ".yml"):
        return _YoloConfig(tuple(line.strip() for line in text.splitlines() if line.strip()))
    lines = [re.sub(r"(^|\s)#.*", "", line).rstrip() for line in text.splitlines()]
    names: dict[int, str] = {}
    parts: dict[str, str] = {}
    for k, line in enumerate(lines):
        match = re.fullmatch(r"(names|train|val|test):\s*(.*)", line)
        if match is None:
            continue
        key, value = match[1], match[2].strip()
        if key == "names":
            block = []
            for below in lines[k + 1 :]:
                if below and not below.startswith((" ", "\t", "-")):
                    break
                block.append(below.strip())
            names = _read_yaml_names(value, block)
        else:
            folders = [name for name in PurePosixPath(value.strip("\"'[] ")).parts if name != ".."]
            named = [name for name in folders if name.casefold() not in ("images", "labels", ".")]
            if named and not named[-1].endswith(".txt"):
                parts[named[-1]] = key
    return _YoloConfig(tuple(names.get(k, "") for k in range(max(names, default=-1) + 1)), parts)


def _read_yaml_names(value: str, block: Sequence[str]) -> dict[int, str]:
    text = " ".join([value, *block]).strip()
    if text.startswith(("[", "{")):
        words = re.findall(r"\"([^\"]*)\"|'([^']*)'|([^,\[\]{}]+)", text[: _find_end(text)])
        items = [(a or b or c).strip() for a, b, c in words if (a or b or c).strip()]
    else:
        items = [line for line in block if line]
    found: dict[int, str] = {}
    for line in items:
        match = re.fullmatch(r"(\d{1,6})\s*:\s*(.+)", line)
        number = int(match[1]) if match else len(found)
        name = match[2] if match else line.removeprefix("-")
        if number < 100_000:
            found[number] = name.strip().strip("\"'")
    return found


def _find_end(text: str) -> int:
    ends = [k for k in (text.find("]"), text.find("}")) if k >= 0]
    return min(ends, default=len(text)) + 1


# -- COCO -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CocoImage:
    id: int | str
    file_name: str


@dataclass(frozen=True)
class _CocoObject:
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, ...] = ()
    iscrowd: int | bool = 0


@dataclass(frozen=True)
class _CocoCategory:
    id: int | str
    name: str


@dataclass(frozen=True)
class _CocoFile:
    images: tuple[_CocoImage, ...]
    annotations: tuple[_CocoObject, ...]
    categories: tuple[_CocoCategory, ...]


def read_coco(files: Sequence[Path], images: ImageIndex) -> Annotations:
    """Read JSON files with `images`, `annotations` and `categories`; annotations of other programs
    are named as problems, other files left alone."""
    found = Annotations("coco")
    for file in files:
        content = _load_json(file)
        if not (isinstance(content, dict) and content.keys() >= _COCO_KEYS):
            kind = _name_program(content)
            if kind:
                found.problems.append((file, "bad_annotation", kind))
            continue
        try:
            coco = parse_record(_CocoFile, content, str(file), "a COCO export", CatalogError)
        except CatalogError as error:
            found.problems.append((file, "bad_annotation", error.found))
            continue
        found.files.append(file)
        names = {category.id: category.name for category in coco.categories}
        place_of: dict[int | str, Path] = {}
        for entry in coco.images:
            name = _last_part(entry.file_name)
            # The name may hold the folder: nearest to where it would lie beside this file.
            place = file.parent / entry.file_name.replace("\\", "/")
            image = images.find(place, name, part=name_part(file.stem))
            if image is None:
                found.problems.append((file, "missing_file", name))
                continue
            place_of[entry.id] = image
            found.add(image, ())
            # instances_train2017.json; `_annotations.coco.json` says nothing.
            if name_part(file.stem):
                found.part_of[image] = file.stem
        for item in coco.annotations:
            image = place_of.get(item.image_id)
            if image is not None:
                found.add(image, [_read_coco_object(item, names)])
    return found


def _load_json(file: Path) -> object:
    """Return what a file holds; None where it cannot be read."""
    try:
        text = read_file(file, MAX_BYTES).decode("utf-8-sig")
        # A name with half of a pair could not be written into any table.
        return json.loads(_HALF_SIGN.sub(r"\\ufffd", text))
    except (FileError, ValueError, RecursionError):
        return None


_HALF_SIGN = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""The escape of half of a surrogate pair, without its other half."""


_COCO_KEYS = {"images", "annotations", "categories"}

_PROGRAMS = (
    ({"shapes", "imagePath"}, "LabelMe"),
    ({"_via_img_metadata"}, "VIA"),
    ({"regions", "filename"}, "VIA"),
    ({"geometry", "properties"}, "GeoJSON"),
    ({"image", "annotations"}, "CreateML"),
    ({"data", "annotations"}, "Label Studio"),
    ({"data", "completions"}, "Label Studio"),
)
"""Keys by which annotations of other programs are known."""


def _name_program(content: object) -> str:
    """Return which program wrote annotations that are not read; "" for anything else."""
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    entries: list[object] = content if isinstance(content, list) else [content]
    if isinstance(content, dict):
        entries += list(content.values())[:1]
    for entry in (*entries[:1], *entries[-1:]):
        for keys, name in _PROGRAMS:
            if isinstance(entry, dict) and keys <= entry.keys():
                return name
    return ""


def _read_coco_object(item: _CocoObject, names: Mapping[int | str, str]) -> Annotated:
    label = names.get(item.category_id, str(item.category_id))
    numbers = ", ".join(f"{value:g}" for value in item.bbox)
    if item.iscrowd:
        return Annotated(label, found="iscrowd")
    if len(item.bbox) != 4 or not all(math.isfinite(v) and abs(v) < 1e9 for v in item.bbox):
        return Annotated(label, found=numbers)
    x, y, width, height = item.bbox
    return Annotated(label, (round(x), round(y), round(x + width), round(y + height)))
