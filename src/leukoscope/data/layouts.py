"""Which layer of folders is the class: parts, patients, slides and folds told apart by name.

The names of all layers are looked at. A folder named like a part of a data set (Train, TestA,
holdout ...) gives the part, one named like a patient, a slide or a field the source, one named
like a fold, a site or a magnification a column; `images/` and a single folder that only wraps
others are looked through. What is left is the class. Where two layers are left, the one that holds
names of cells is the class; where neither does and the lower names repeat below the upper ones,
the tree alone cannot say, and the layout is a question. What this file does not do: it touches no
file.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from leukoscope.labels import is_known, resolve_label

Folders = tuple[str, ...]
"""The folders above an image, from the root of the data set down."""

Use = Literal["class", "part", "source", "fold", "column", "wrapper"]
"""What a folder stands for. A column keeps what is neither of the others, for subgroups."""

SPLIT_NAMES: dict[str, str] = {
    "train": "train",
    "training": "train",
    "trainset": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "calib": "calib",
    "calibration": "calib",
    "test": "test",
    "testing": "test",
    "testset": "test",
    "test_simple": "test",
    "holdout": "test",
    "hold_out": "test",
    "heldout": "test",
    "held_out": "test",
    "external": "test",
    "evaluation": "eval",
    "eval": "eval",
}
"""Names of the parts of a data set, in lower case. `eval` means `val` beside a test part, else
`test`."""

WRAPPER_NAMES = frozenset(
    {
        *("images", "image", "imgs", "img", "data", "dataset", "cells", "crops", "photos"),
        *("pictures", "frames", "jpegimages", "jpegs", "patches", "tiles", "raw", "all_images"),
    }
)
"""Folders that are looked through where something lies below, and that are never a class beside
names of cells."""

_STRONG_PART = frozenset(
    {"train", "training", "trainset", "test", "testing", "testset", "validation"}
)
# What may stand beside a weaker word without changing what it means.
_PART_FILLER = re.compile(
    r"data|dataset|set|images?|imgs?|cells|crops|split|part|folder|final|phase|simple|instances"
    r"|annotations?|labels?|coco|[a-z]|\d+"
)
_FUSED_PART = re.compile(r"(train|test|val|valid|eval|dev)([a-e]|\d+)")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")

_FOLD = re.compile(r"(?:fold|kfold|cv|split)[\s_.-]*\d+", re.IGNORECASE)
_PERSON = re.compile(
    r"(?:patient|patientin|pat|pt|subject|subj|sub|donor|proband|person|participant|individual|mouse)"
    r"(?:s?[\s_.#-]+(?!(?:data|dataset|images?|cells|set|level|wise)\b)\w[\w\s.-]*|\d\w*)",
    re.IGNORECASE,
)
_SLIDE = re.compile(
    r"(case|slide|smear|specimen|sample|wsi|scan|field|fov)s?"
    r"(?:[\s_.#-]*\d[\w.-]*|[\s_.-]+[a-z])",
    re.IGNORECASE,
)
_GROUP = re.compile(
    r"(batch|session|site|hospital|center|centre|lab|laboratory|scanner|camera|microscope|stain"
    r"|day|date|run|cohort|device|region|country|magnification|mag)(?:[\s_.-]+\w[\w.-]*|\d\w*)",
    re.IGNORECASE,
)
_MAGNIFICATION = re.compile(r"\d{1,4}\s?x", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d(?:[-_.]?\d\d(?:[-_.]?\d\d)?)?")
_LETTERED = re.compile(
    r"(?i:patient|subject|donor|person|slide|case|smear|specimen|sample|field)[A-Z]"
)
# An accession number, H19-1234, has the year before the hyphen.
_CODE = re.compile(r"(?:p|s|id|pid|sid|no)[\s_.-]?\d+|[a-z]{1,3}\d\d[-_/]\d{2,6}", re.IGNORECASE)
"""Codes that number patients or slides: a source where another layer is the class."""

_DIAGNOSES = frozenset(
    {
        *("all", "hem", "benign", "malignant", "early", "pre", "pro", "normal", "healthy"),
        *("abnormal", "leukemia", "leukaemia", "infected", "uninfected", "parasitized", "debris"),
        *("positive", "negative", "artefact", "artifact", "other", "others", "background"),
    }
)
"""Class names that are no cells, as `resolve_label` spells them."""

_ALMOST_ALL = 0.9
"""Stray images beside a wrapper do not make it a class."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Folders of one use. `level` counts from 1 below the root, 0 where it differs; `names` are
    sorted."""

    use: Use
    level: int
    names: tuple[str, ...]
    column: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What the folders above an image say; "" for nothing. `class_level` is the layer of the label,
    counted from 1, 0 for none."""

    label: str = ""
    class_level: int = 0
    split: str = ""
    source: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """Two layers of which either may be the class: level and names of each."""

    levels: tuple[int, ...]
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What each folder of a tree stands for. `parts` holds each name of a part with its role, ""
    where the name is not understood. With a `question` no place has a label."""

    places: Mapping[Folders, Place]
    layers: tuple[Layer, ...]
    parts: tuple[tuple[str, str], ...] = ()
    question: Question | None = None


def name_part(name: str) -> str:
    """Return the role that a part of this name has; `eval` for what depends on its siblings, ""
    for no part.

    >>> [name_part(n) for n in ("Train", "TestA", "test_b", "C-NMC_training_data", "Eosinophil")]
    ['train', 'test', 'test', 'train', '']
    """
    whole = re.sub(r"[\s_.-]+", "_", name.strip().casefold())
    if whole in SPLIT_NAMES:
        return SPLIT_NAMES[whole]
    words = [word.casefold() for word in _WORDS.findall(name)]
    fused = [_FUSED_PART.fullmatch(word) for word in words]
    words = [match[1] if match else word for word, match in zip(words, fused, strict=True)]
    named = [word for word in words if word in SPLIT_NAMES]
    rest = [word for word in words if word not in SPLIT_NAMES]
    if not named or any(is_known(word) for word in rest if len(word) > 1):
        return ""
    # An external validation set is what medicine calls a test.
    if "external" in named or "holdout" in named:
        named = ["external"]
    roles = {SPLIT_NAMES[word] for word in named}
    strong = set(named) <= _STRONG_PART
    if len(roles) > 1 or not (strong or all(_PART_FILLER.fullmatch(word) for word in rest)):
        return ""
    return roles.pop()


def resolve_parts(names: Collection[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the role of each name of a part, "" where it is not understood. `known` goes first."""
    roles = {name: (known or {}).get(name) or name_part(name) for name in names}
    meant = "val" if "test" in roles.values() else "test"
    return {name: meant if role == "eval" else role for name, role in roles.items()}


def read_layers(
    counts: Mapping[Folders, int],
    *,
    class_level: int | None = None,
    source_level: int | None = None,
    parts: Mapping[str, str] | None = None,
    has_classes: bool = True,
) -> Layout:
    """Say what each folder stands for, from the number of images in each.

    `class_level` and `source_level` count layers from 1 below the root and go before what the
    names say. `parts` are roles of names that a file beside the images gives. `has_classes` is
    False where boxes carry the classes.
    """
    known_parts = parts or {}
    marks = {
        folders: [_mark_folder(name, known_parts) for name in folders]
        for folders in sorted(counts)
        if counts[folders]
    }
    _mark_levels(marks, class_level, source_level)
    fused = _mark_fused(marks) if has_classes and class_level is None else {}
    _mark_siblings(marks)
    question = None
    if fused or class_level is not None:
        _keep_columns(marks)
    elif has_classes:
        _open_wrappers(marks)
        question = _choose_class(marks, counts)
    _mark_finer_sources(marks)
    return _describe(marks, known_parts, question, fused)


Marks = dict[Folders, "list[Use | None]"]


def _mark_folder(name: str, parts: Mapping[str, str]) -> Use | None:
    """Return what a single name gives away; None where it takes the others to tell."""
    text = name.strip()
    if text in parts or name_part(text):
        return "part"
    if _FOLD.fullmatch(text):
        return "fold"
    if any(pattern.fullmatch(text) for pattern in (_PERSON, _SLIDE, _LETTERED)):
        return "source"
    if any(pattern.fullmatch(text) for pattern in (_GROUP, _MAGNIFICATION, _DATE)):
        return "column"
    return "wrapper" if text.casefold() in WRAPPER_NAMES else None


def _mark_levels(marks: Marks, class_level: int | None, source_level: int | None) -> None:
    for level, use in ((class_level, "class"), (source_level, "source")):
        if level is None:
            continue
        for folders, uses in marks.items():
            if len(folders) >= level:
                uses[level - 1] = "class" if use == "class" else "source"


Fused = Mapping[str, tuple[str, str]]
"""Names that hold a part and a class, `train_EOS`: both, as they are spelled."""


def _mark_fused(marks: Marks) -> dict[str, tuple[str, str]]:
    """Mark as class, and return, names that hold a part and a class: where no sibling is anything
    else, and one class at least has several parts."""
    fused: dict[str, tuple[str, str]] = {}
    children = _list_children(marks)
    for parent, names in children.items():
        pairs = {name: pair for name in names if (pair := _split_fused(name))}
        others = names - pairs.keys()
        classes = {rest for _, rest in pairs.values()}
        is_shared = len(pairs) > len(classes) and len({part for part, _ in pairs.values()}) > 1
        are_cells = all(map(_is_class_name, classes))
        are_last = len(classes) > 1 and not any((*parent, name) in children for name in pairs)
        if not (is_shared and (are_cells or are_last)) or not all(map(_is_class_name, others)):
            continue
        fused |= pairs
        for folders, uses in marks.items():
            if folders[: len(parent)] == parent and len(folders) > len(parent):
                uses[len(parent)] = "class"
    return fused


def _split_fused(name: str) -> tuple[str, str] | None:
    """Return the part and the rest of a name that begins or ends with a part.

    >>> _split_fused("train_EOS"), _split_fused("Band-Test"), _split_fused("test_data")
    (('train', 'EOS'), ('Test', 'Band'), None)
    """
    words = re.split(r"[\s_.-]+", name.strip())
    if words[0].casefold() in SPLIT_NAMES:
        part, rest = words[0], name.strip()[len(words[0]) + 1 :]
    elif words[-1].casefold() in SPLIT_NAMES:
        part, rest = words[-1], name.strip()[: -len(words[-1]) - 1]
    else:
        return None
    rest = rest.strip(" _.-")
    is_filler = all(map(_PART_FILLER.fullmatch, re.split(r"[\s_.-]+", rest.casefold())))
    return None if is_filler or not rest else (part, rest)


def _list_children(marks: Marks) -> dict[Folders, set[str]]:
    children: dict[Folders, set[str]] = defaultdict(set)
    for folders in marks:
        for depth in range(len(folders)):
            children[folders[:depth]].add(folders[depth])
    return children


def _mark_siblings(marks: Marks) -> None:
    """What lies beside a part is a part of unknown meaning, unless the parts lie among classes."""
    children = _list_children(marks)
    uses = {
        (folders[:depth], folders[depth]): use
        for folders, found in marks.items()
        for depth, use in enumerate(found)
    }
    for parent, names in list(children.items()):
        named = {name for name in names if uses[parent, name] == "part"}
        others = {name for name in names if uses[parent, name] is None}
        below = set().union(*(children[(*parent, name)] for name in named)) if named else set()
        if not named or any(_is_class_name(name) or name in below for name in others):
            continue
        for folders, found in marks.items():
            depth = len(parent)
            if folders[:depth] == parent and len(folders) > depth and folders[depth] in others:
                found[depth] = "part"


def _open_wrappers(marks: Marks) -> None:
    """`cells` beside `debris` is a class, although `cells` above classes is none."""
    for folders, uses in marks.items():
        if not folders or uses[-1] != "wrapper":
            continue
        beside = [
            other[-1]
            for other, found in marks.items()
            if other[:-1] == folders[:-1] and len(other) == len(folders) and found[-1] is None
        ]
        if beside and not any(map(is_known, beside)):
            uses[-1] = None


def _is_class_name(name: str) -> bool:
    label = resolve_label(name)
    return is_known(label) or label in _DIAGNOSES


def _choose_class(marks: Marks, counts: Mapping[Folders, int]) -> Question | None:
    """Mark the class among the layers that are still open, or return the question."""
    _close_wrappers(marks, counts)
    layers = _list_open(marks, counts)
    if not layers:
        return _ask_nothing_left(marks)
    known = [k for k, layer in enumerate(layers) if layer.share(_is_class_name) >= 0.5]
    coded = [k for k, layer in enumerate(layers) if layer.share(_CODE.fullmatch) >= 0.8]
    # Few images lie deeper: sub-folders that sort the images of a class.
    deep = layers[1].n_images >= layers[0].n_images / 2 if len(layers) > 1 else False
    choices = known or [k for k in range(len(layers)) if k not in coded] or coded
    if len(layers) == len(coded) == 1 and len(layers[0].names) > 1:
        return Question((layers[0].level,), (layers[0].names,))
    first = choices[0] if deep else 0
    if deep and len(choices) > 1 and _is_repeated(marks, counts, *choices[:2]):
        pair = choices[:2]
        return Question(tuple(layers[k].level for k in pair), tuple(layers[k].names for k in pair))
    sources = {k for k in coded if k != first}
    sources |= {k for k, one in enumerate(layers) if k != first and one.share(str.isdigit) >= 0.8}
    # One name tells nothing apart.
    use_of: dict[int, Use] = {
        k: "source" if k in sources else "column" if len(layer.names) > 1 else "wrapper"
        for k, layer in enumerate(layers)
    }
    use_of[first] = "class"
    for folders, uses in marks.items():
        opened = [i for i, use in enumerate(uses) if use is None]
        cells = [i for i in opened if _is_class_name(folders[i])]
        for k, place in enumerate(opened):
            uses[place] = use_of[k]
        # A branch that is deeper than the others: `odd/EOS` beside `EOS` and `LYM`.
        if known and len(cells) == 1 and uses[cells[0]] != "class":
            for place in opened:
                uses[place] = "class" if place == cells[0] else "column"
    return None


def _keep_columns(marks: Marks) -> None:
    """Keep the layers that nobody named as columns, where they tell images apart."""
    names: dict[int, set[str]] = defaultdict(set)
    for folders, uses in marks.items():
        for k, use in enumerate(uses):
            if use is None:
                names[k].add(folders[k])
    for uses in marks.values():
        for k, use in enumerate(uses):
            if use is None:
                uses[k] = "column" if len(names[k]) > 1 else "wrapper"


def _mark_finer_sources(marks: Marks) -> None:
    """Of a patient and a slide the patient is the source, for one may have several slides."""
    for folders, uses in marks.items():
        sources = [k for k, use in enumerate(uses) if use == "source"]
        persons = [k for k in sources if _PERSON.fullmatch(folders[k])]
        for k in sources:
            if k != (persons or sources)[0]:
                uses[k] = "column"


@dataclass(frozen=True)
class _OpenLayer:
    level: int
    names: tuple[str, ...]
    n_images: int

    def share(self, matches: object) -> float:
        return sum(bool(matches(name)) for name in self.names) / len(self.names)  # type: ignore[operator]


def _list_open(marks: Marks, counts: Mapping[Folders, int]) -> list[_OpenLayer]:
    names: dict[int, set[str]] = defaultdict(set)
    levels: dict[int, set[int]] = defaultdict(set)
    images: Counter[int] = Counter()
    for folders, uses in marks.items():
        for k, place in enumerate([i for i, use in enumerate(uses) if use is None]):
            names[k].add(folders[place])
            levels[k].add(place + 1)
            images[k] += counts[folders]
    return [
        _OpenLayer(
            levels[k].pop() if len(levels[k]) == 1 else 0, tuple(sorted(names[k])), images[k]
        )
        for k in sorted(names)
    ]


def _close_wrappers(marks: Marks, counts: Mapping[Folders, int]) -> None:
    """Look through layers of one name: nothing can be told apart by them."""
    total = sum(counts[folders] for folders in marks)
    while True:
        layers = _list_open(marks, counts)
        if len(layers) < 2:
            return
        has_classes = [layer.share(_is_class_name) >= 0.5 for layer in layers]
        single = [
            k
            for k, layer in enumerate(layers)
            if len(layer.names) == 1
            and (k or layers[1].n_images >= _ALMOST_ALL * total)
            and not (has_classes[k] and (k or not has_classes[1]))
        ]
        if not single:
            return
        for uses in marks.values():
            opened = [i for i, use in enumerate(uses) if use is None]
            if len(opened) > single[0]:
                uses[opened[single[0]]] = "wrapper"


def _ask_nothing_left(marks: Marks) -> Question | None:
    """Patients or folds, and nothing below: is it really them that are the classes?"""
    found: dict[int, set[str]] = defaultdict(set)
    for folders, uses in marks.items():
        for place, use in enumerate(uses):
            if use in ("source", "fold", "column"):
                found[place + 1].add(folders[place])
    levels = [level for level, names in sorted(found.items()) if len(names) > 1]
    if not levels:
        return None
    return Question(tuple(levels), tuple(tuple(sorted(found[level])) for level in levels))


def _is_repeated(marks: Marks, counts: Mapping[Folders, int], upper: int, lower: int) -> bool:
    """Tell whether most images lie in lower folders whose name occurs below several upper ones."""
    above: dict[str, set[str]] = defaultdict(set)
    images: Counter[str] = Counter()
    for folders, uses in marks.items():
        opened = [name for name, use in zip(folders, uses, strict=True) if use is None]
        if len(opened) > lower:
            above[opened[lower]].add(opened[upper])
            images[opened[lower]] += counts[folders]
    repeated = sum(n for name, n in images.items() if len(above[name]) > 1)
    return 2 * repeated >= sum(images.values())


def _describe(
    marks: Marks, known: Mapping[str, str], question: Question | None, fused: Fused
) -> Layout:
    names = {
        folders[k] for folders, uses in marks.items() for k, use in enumerate(uses) if use == "part"
    } | {part for part, _ in fused.values()}
    roles = resolve_parts(names, known)
    several = Counter(roles.values())
    places = {}
    found: dict[tuple[Use, str], tuple[set[int], set[str]]] = defaultdict(lambda: (set(), set()))
    for folders, uses in marks.items():
        place = _name_place(folders, uses, roles, several, fused)
        places[folders] = place
        for k, (name, use) in enumerate(zip(folders, uses, strict=True)):
            if use is None:
                continue
            pair = fused.get(name) if use == "class" else None
            meant: list[tuple[Use, str]] = (
                [("part", pair[0]), ("class", pair[1])] if pair else [(use, name)]
            )
            for one, text in meant:
                levels, members = found[one, _name_column(text, one, k)]
                levels.add(k + 1)
                members.add(text)
    layers = [
        Layer(use, min(levels) if len(levels) == 1 else 0, tuple(sorted(members)), column)
        for (use, column), (levels, members) in found.items()
        if use != "wrapper"
    ]
    layers.sort(key=lambda layer: (layer.level, layer.use, layer.column))
    return Layout(places, tuple(layers), tuple(sorted(roles.items())), question)


def _name_place(
    folders: Folders,
    uses: "Sequence[Use | None]",
    roles: Mapping[str, str],
    several: Mapping[str, int],
    fused: Fused,
) -> Place:
    label = split = source = ""
    level = 0
    extra: dict[str, str] = {}
    for k, (name, use) in enumerate(zip(folders, uses, strict=True)):
        if use == "class":
            part, label = fused.get(name, ("", name))
            split, level = roles[part] if part else split, k + 1
        elif use == "part" and not split:
            split = roles[name] or name
            if several[roles[name]] > 1 and roles[name]:
                extra["part"] = name
        elif use == "source":
            source = name
        elif use in ("fold", "column"):
            extra.setdefault(_name_column(name, use, k), name)
    return Place(label, level, split, source, extra)


def _name_column(name: str, use: Use, place: int) -> str:
    if use == "fold":
        return "fold"
    if use != "column":
        return ""
    group = _GROUP.fullmatch(name) or _SLIDE.fullmatch(name)
    if group:
        return group[1].casefold()
    if _MAGNIFICATION.fullmatch(name):
        return "magnification"
    return "date" if _DATE.fullmatch(name) else f"folder_{place + 1}"
