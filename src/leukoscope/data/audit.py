"""What a reader must know of image data before believing a number measured on it.

`audit_catalog` looks at one catalog whose sources are known: what crosses roles, which cells bear
two names, how many sources stand behind each class. `join_catalogs` and `audit_against` compare
two data sets. What this file does not do: it opens no image and finds no copies (`sources`); an
audit is as good as the sources it is given.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any, Literal, get_args

import numpy as np

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import FIELD_COLUMN, FIELD_PREFIX, SOURCE_PREFIX, group_sources
from leukoscope.data.images import Box
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import FEW_IMAGES, ROLES, Split, SplitAudit, audit_split
from leukoscope.errors import SplitError
from leukoscope.labels import display_label

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

AuditResult = Literal["leaking", "shared", "conflicts", "warnings", "clean"]
"""The gravest thing found: a source in two roles, images shared with the other set, a cell under
two names, something to mind, nothing."""

RESULT_TITLES: dict[AuditResult, str] = {
    "leaking": "Leaking: what is measured on this split is inflated",
    "shared": "Not external: the two data sets share images",
    "conflicts": "Conflicts: one cell bears two names",
    "warnings": "No leak and no conflict found, but mind the warnings",
    "clean": "Clean: no leak and no conflict found",
}

Kinship = Literal["bytes", "source", "field"]
"""How two images are related, the closest first: the same file (and box); the same source; linked
only through a microscope field, or through further images."""
KINSHIPS: tuple[Kinship, ...] = get_args(Kinship)

KINSHIP_NAMES: dict[Kinship, str] = {
    "bytes": "same file",
    "source": "same source",
    "field": "same field only",
}

SourceBasis = Literal["pixels", "table", "both", "unknown"]
"""Who named the sources: `find_sources`, the data's own table, both, or nobody for some images."""

FEW_SOURCES = 30
"""A class with fewer sources has few independent examples, however many images it has."""

MAX_EXAMPLES = 12
"""Pairs shown for a finding at most."""

_MAX_OF_KIND = 4

_SIDES = ("a/", "b/")
"""What `join_catalogs` puts before the ids of the two sides."""


# -- what an audit says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExampleImage:
    """One image of an example; `role` is "" where it has none, `label` where it is not known.
    `box` is None where the whole picture is to be shown."""

    id: str
    path: str
    label: str
    role: str = ""
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """Two images that a finding speaks of, for a person to judge."""

    kind: Kinship
    first: ExampleImage
    second: ExampleImage


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: a title that can stand alone, and what it means."""

    severity: Severity
    title: str
    text: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class KinCounts:
    """How many of some images have kin among others, each counted once under its closest kind."""

    n_images: int
    same_bytes: int = 0
    same_source: int = 0
    same_field: int = 0

    @property
    def n_copies(self) -> int:
        """Images with the same file or source on the other side."""
        return self.same_bytes + self.same_source

    @property
    def n_kin(self) -> int:
        """Images with any kin on the other side."""
        return self.n_copies + self.same_field


@dataclass(frozen=True, slots=True)
class ClassSources:
    """How many sources stand behind the images of one class.

    Sources are those of `group_sources`. `largest` and `median` are images of this class per
    source. `effective` is the number of equally large sources that would say as much:
    (sum n)^2 / sum n^2 (Kish 1965, Survey Sampling, section 11.7).
    """

    label: str
    n_images: int
    n_sources: int
    largest: int
    median: float
    effective: float


@dataclass(frozen=True, slots=True)
class Repetition:
    """Groups of two or more images, and the images in them: the same file; the same source; the
    same microscope field."""

    byte_groups: int
    byte_images: int
    source_groups: int
    source_images: int
    field_groups: int
    field_images: int


@dataclass(frozen=True, slots=True)
class SharedData:
    """What two data sets have in common. `ours` counts images of the first that have kin in the
    second, `theirs` the reverse; the first image of an example is ours."""

    name: str
    other: str
    n_sources: int
    ours: KinCounts
    theirs: KinCounts
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class DataAudit:
    """Everything an audit found; `summary` is one sentence, `findings` begin with the gravest.

    `leak` counts test images with kin in `train` or `val`; it and `split` are None without
    roles, `shared` without another data set. `n_conflicts` counts cells under two names, those
    that the scan rejected included.
    """

    name: str
    summary: str
    result: AuditResult
    findings: tuple[Finding, ...]
    n_images: int
    n_sources: int
    sources_from: SourceBasis
    classes: tuple[ClassSources, ...]
    repetition: Repetition
    n_conflicts: int
    leak: KinCounts | None
    split: SplitAudit | None
    shared: SharedData | None

    @property
    def failed(self) -> bool:
        """Whether any finding is an error; a pipeline should stop."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit for JSON."""
        return {"failed": self.failed} | asdict(self)


# -- the audit of one data set --------------------------------------------------------------------


def audit_catalog(
    catalog: Catalog,
    *,
    split: Split | None = None,
    rejected: Sequence[Rejected] = (),
    against: SharedData | None = None,
    name: str = "the data",
) -> DataAudit:
    """Return what a catalog's sources say about it, and about the roles of a split.

    The roles are carried over by `join_roles`. `rejected` are files that a scan left out; those
    of `catalog` itself count too. `against` is what `audit_against` returned. Where sources are
    missing, only identical bytes count and a warning says so.

    The result does not depend on the order of rows. Raises `SplitError` as `join_roles` does.
    """
    roles = None if split is None else join_roles(split, catalog)
    rows = sorted(
        zip(
            catalog.records,
            group_sources(catalog),
            roles.roles if roles else [""] * len(catalog),
            strict=True,
        ),
        key=lambda row: row[0].id,
    )
    records = [record for record, _, _ in rows]
    groups = [group for _, group, _ in rows]
    role_of = {record.id: role for record, _, role in rows}
    basis = _tell_basis(records)
    classes = _count_classes(records, groups)
    findings: list[Finding] = []
    found = leak = None
    if roles is not None:
        found = audit_split(roles)
        leak, examples = _count_kin(
            [row[:2] for row in rows if row[2] == "test"],
            [row[:2] for row in rows if row[2] in ("train", "val")],
            role_of,
        )
        findings += _find_leaks(found, leak, examples, basis)
        findings += _find_gaps(found, catalog.classes)
    if against is not None:
        examples = tuple(
            replace(e, first=replace(e.first, role=role_of.get(e.first.id, "")))
            for e in against.examples
        )
        against = replace(against, examples=examples)
        findings.append(_find_shared(against))
    inside, n_inside = _find_conflicts(records, role_of)
    left_out, n_rejected = _find_rejected({*catalog.rejected, *rejected})
    repetition, repeated = _find_repetition(records, groups, role_of, basis)
    findings += [*inside, *left_out, *_find_few_sources(classes, basis), *repeated]
    findings += _find_basis(records, basis)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return DataAudit(
        name=name,
        summary=_word_summary(findings, roles is not None, against, basis),
        result=_choose_result(findings, found, against, n_inside + n_rejected),
        findings=tuple(findings),
        n_images=len(records),
        n_sources=len(set(groups)),
        sources_from=basis,
        classes=classes,
        repetition=repetition,
        n_conflicts=n_inside + n_rejected,
        leak=leak,
        split=found,
        shared=against,
    )


def join_roles(split: Split, catalog: Catalog) -> Split:
    """Give the records of a catalog the roles that a split gives the same images.

    Raises `SplitError` unless both have the same ids, each with the same content, box and label.
    """
    role_of = dict(zip((r.id for r in split.catalog.records), split.roles, strict=True))
    theirs = {r.id: (r.sha256, r.box, r.label) for r in split.catalog.records}
    ours = {r.id: (r.sha256, r.box, r.label) for r in catalog.records}
    problems = []
    for what, ids in (
        ("only in the catalog", sorted(ours.keys() - theirs.keys())),
        ("only in the split", sorted(theirs.keys() - ours.keys())),
        (
            "with another content, box or label",
            sorted(i for i in ours.keys() & theirs.keys() if ours[i] != theirs[i]),
        ),
    ):
        if ids:
            told = ", ".join(repr(i) for i in ids[:3])
            problems.append(f"{_count(len(ids), 'id')} {what}, for example {told}")
    if problems:
        raise SplitError(
            "catalog and split must hold the same images under the same ids",
            "; ".join(problems),
            "make the split from this catalog, or name the catalog that the split was made from",
        )
    roles = tuple(role_of[record.id] for record in catalog.records)
    return Split(catalog, roles, split.protocol, split.seed)


def _find_leaks(
    found: SplitAudit, leak: KinCounts, examples: tuple[Example, ...], basis: SourceBasis
) -> list[Finding]:
    if not found.shared:
        return []
    if leak.n_copies:
        have = "has" if leak.n_copies == 1 else "have"
        title = f"{_share(leak.n_copies, leak.n_images, 'test image')} {have} a copy in training"
    elif leak.n_kin:
        show = "shows" if leak.n_kin == 1 else "show"
        title = (
            f"{_share(leak.n_kin, leak.n_images, 'test image')} {show} part of a field that"
            " training shows too"
        )
    else:
        pairs = _join(f"{a} and {b}" for a, b in (entry.roles for entry in found.shared))
        title = f"Sources lie in two roles: {pairs}"
    text = f"They are related to training {_word_kin(leak, basis)}. " if leak.n_kin else ""
    text += "Sources in two roles: "
    text += _join(
        f"{entry.n_sources:,} in {entry.roles[0]} and {entry.roles[1]}" for entry in found.shared
    )
    text += (
        ". A number measured on this split says little about new cells. Make the split anew from a"
        " table with sources: `leukoscope data split --protocol grouped`."
    )
    return [Finding("error", title, text, examples)]


def _find_gaps(found: SplitAudit, classes: Sequence[str]) -> list[Finding]:
    findings = []
    empty = [role for role in ROLES if not found.counts[role]]
    if {"train", "val", "test"} & set(empty):
        findings.append(
            Finding(
                "warning",
                f"No image has the role {' or '.join(role for role in empty if role != 'calib')}",
                "Nothing can be trained, chosen or measured where the role is empty, and no leak"
                " into it can be found.",
            )
        )
    absent = {
        role: [display_label(c) for c in classes if not found.counts[role].get(c)]
        for role in ROLES
        if role not in empty
    }
    if any(absent.values()):
        findings.append(
            Finding(
                "warning",
                "Some classes are missing from a role",
                " ".join(f"No image of {_join(a)} in {role}." for role, a in absent.items() if a),
            )
        )
    few = {label: n for label, n in sorted(found.counts["test"].items()) if n < FEW_IMAGES}
    if few:
        findings.append(
            Finding(
                "warning",
                f"{_count(len(few), 'class')} with fewer than {FEW_IMAGES} test images",
                f"{_join(f'{display_label(label)} {n:,}' for label, n in few.items())}: their"
                " figures have wide intervals.",
            )
        )
    if "calib" in empty:
        findings.append(
            Finding(
                "note",
                "No image has the role calib",
                "Temperature and thresholds need images of their own; without them they cannot be"
                " fitted.",
            )
        )
    if found.n_left_aside:
        findings.append(
            Finding(
                "note",
                f"{_count(found.n_left_aside, 'image')} without a role",
                f"Protocol {found.protocol} left them aside.",
            )
        )
    return findings


def _find_conflicts(
    records: Sequence[ImageRecord], role_of: Mapping[str, str]
) -> tuple[list[Finding], int]:
    """Cells under two names; sources of a table that hold several classes are told apart.

    Only pixels and bytes prove that two images show one cell. A source that a table names may be
    a patient or a slide, and a box cuts one cell of many out of its picture.
    """
    cells: dict[str, list[ImageRecord]] = defaultdict(list)
    named: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.box is None and record.source.startswith(SOURCE_PREFIX):
            cells[record.source].append(record)
        else:
            cells[f"{record.sha256} {record.box}"].append(record)
            if record.box is None and record.source:
                named[record.source].add(record.label)
    conflicts = [cell for cell in cells.values() if len({r.label for r in cell}) > 1]
    findings = []
    if conflicts:
        between = Counter(
            " and ".join(display_label(label) for label in sorted({r.label for r in cell}))
            for cell in conflicts
        )
        told = _join(f"{pair} ({n:,})" for pair, n in sorted(between.items()))
        examples = []
        for cell in sorted(conflicts, key=lambda cell: cell[0].id)[:MAX_EXAMPLES]:
            other = next(r for r in cell if r.label != cell[0].label)
            kind: Kinship = "bytes" if cell[0].sha256 == other.sha256 else "source"
            examples.append(_pair(kind, cell[0], other, role_of))
        findings.append(
            Finding(
                "error",
                f"{_count(len(conflicts), 'cell bears', 'cells bear')} two names",
                f"Copies of one picture are labelled differently: {told}. They can neither train"
                " nor judge. Look at them, correct the label or remove the images.",
                tuple(examples),
            )
        )
    mixed = sorted(name for name, labels in named.items() if len(labels) > 1)
    if mixed:
        findings.append(
            Finding(
                "note",
                f"{_count(len(mixed), 'named source holds', 'named sources hold')} several classes",
                f"For example {', '.join(mixed[:3])}. That is normal where a source is a patient"
                " or a slide. Where it is one cell, a label is wrong.",
            )
        )
    return findings, len(conflicts)


def _find_rejected(rejected: Iterable[Rejected]) -> tuple[list[Finding], int]:
    """Identical files under two labels, which the scan left out of the catalog."""
    groups: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(rejected, key=lambda entry: entry.path):
        if entry.reason == "label_conflict":
            groups[entry.detail].append(entry.path)
    if not groups:
        return [], 0
    examples = []
    for detail, paths in sorted(groups.items())[:MAX_EXAMPLES]:
        images = [_read_rejected(detail, path) for path in paths]
        if len(images) > 1:
            # Where possible two that differ in label.
            other = next((x for x in images[1:] if x.label != images[0].label), images[1])
            examples.append(Example("bytes", images[0], other))
    total = sum(len(paths) for paths in groups.values())
    finding = Finding(
        "error",
        f"{_count(len(groups), 'file bears', 'files bear')} two names",
        f"{_count(total, 'image file')} of identical content stood under different labels."
        " `data scan` left them out of the catalog. Look at them, correct the label and scan"
        " again.",
        tuple(examples),
    )
    return [finding], len(groups)


def _read_rejected(detail: str, path: str) -> ExampleImage:
    """Find id and label of a rejected file in what the scan said about its group."""
    told = detail.partition(": ")[2]
    for found in re.finditer(r"(.+?) \(([^()]*)\)(?:, |$)", told):
        name, label = found.groups()
        if PurePath(path).as_posix().endswith(name.partition("#")[0]):
            return ExampleImage(name, path, label)
    return ExampleImage(PurePath(path).name, path, "")


def _count_classes(
    records: Sequence[ImageRecord], groups: Sequence[str]
) -> tuple[ClassSources, ...]:
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for record, group in zip(records, groups, strict=True):
        sizes[record.label][group] += 1
    classes = []
    for label, counter in sorted(sizes.items()):
        counts = np.array(list(counter.values()), dtype=np.int64)
        classes.append(
            ClassSources(
                label=label,
                n_images=int(counts.sum()),
                n_sources=len(counts),
                largest=int(counts.max()),
                median=float(np.median(counts)),
                effective=float(counts.sum() ** 2 / (counts**2).sum()),
            )
        )
    return tuple(classes)


def _find_few_sources(classes: Sequence[ClassSources], basis: SourceBasis) -> list[Finding]:
    few = sorted((c for c in classes if c.n_sources < FEW_SOURCES), key=lambda c: c.n_sources)
    if not few or basis == "unknown":
        return []
    told = [
        f"{display_label(c.label)}: {_count(c.n_images, 'image')} but only"
        f" {_count(c.n_sources, 'source')}"
        if c.n_images > c.n_sources
        else f"{display_label(c.label)}: only {_count(c.n_sources, 'source')}"
        for c in few
    ]
    return [
        Finding(
            "warning",
            f"{_count(len(few), 'class has', 'classes have')} fewer than {FEW_SOURCES} sources",
            f"{'; '.join(told)}. Copies are no further evidence: what is learned and measured"
            " rests on so many different cells.",
        )
    ]


def _find_repetition(
    records: Sequence[ImageRecord],
    groups: Sequence[str],
    role_of: Mapping[str, str],
    basis: SourceBasis,
) -> tuple[Repetition, list[Finding]]:
    files: dict[object, list[ImageRecord]] = defaultdict(list)
    sources: dict[object, list[ImageRecord]] = defaultdict(list)
    fields: dict[object, list[ImageRecord]] = defaultdict(list)
    for record in records:
        files[record.sha256, record.box].append(record)
        sources[record.source or record.sha256].append(record)
        field = record.extra.get(FIELD_COLUMN, "")
        if field.startswith(FIELD_PREFIX):
            fields[field].append(record)
    several = [
        [group for group in kind.values() if len(group) > 1] for kind in (files, sources, fields)
    ]
    counts = [(len(kind), sum(map(len, kind))) for kind in several]
    repetition = Repetition(*counts[0], *counts[1], *counts[2])
    findings = []
    if several[0]:
        findings.append(
            Finding(
                "note",
                f"{_count(repetition.byte_images, 'image')} in"
                f" {_count(repetition.byte_groups, 'group')} of identical files",
                "Splits keep them in one role.",
                _pick_pairs("bytes", several[0], role_of),
            )
        )
    # Named by bytes alone, a group of one source says no more than the finding above.
    copies = [g for g in several[1] if len({(r.sha256, r.box) for r in g}) > 1]
    if copies:
        origin = "picture" if basis == "pixels" else "source"
        n_joined = len(set(groups))
        joined = (
            f"joined where they share a field, {_count(n_joined, 'source')}; "
            if n_joined < len(sources)
            else ""
        )
        findings.append(
            Finding(
                "note",
                f"{_count(sum(map(len, copies)), 'image')} in {_count(len(copies), 'group')} of"
                f" one {origin}",
                f"{_count(len(records), 'image')} come from {_count(len(sources), origin)};"
                f" {joined}the largest has {_count(max(map(len, copies)), 'image')}. Grouped splits"
                " keep a source in one role, and intervals count sources.",
                _pick_pairs("source", copies, role_of),
            )
        )
    if several[2]:
        findings.append(
            Finding(
                "note",
                f"{_count(repetition.field_images, 'image')} share part of a microscope field"
                " with others",
                f"They lie in {_count(repetition.field_groups, 'field')} and may show neighbouring"
                " cells; different labels are no conflict there. Grouped splits keep a field in"
                " one role.",
                _pick_pairs("field", several[2], role_of),
            )
        )
    return repetition, findings


def _pick_pairs(
    kind: Kinship, groups: Iterable[Sequence[ImageRecord]], role_of: Mapping[str, str]
) -> tuple[Example, ...]:
    """One pair of each of the first groups, related as `kind` says and not more closely."""
    examples = []
    for group in sorted(groups, key=lambda group: group[0].id):
        first = group[0]
        for other in group[1:]:
            same_file = (first.sha256, first.box) == (other.sha256, other.box)
            same_source = first.source == other.source
            closer = (same_file and kind != "bytes") or (same_source and kind == "field")
            if not closer:
                examples.append(_pair(kind, first, other, role_of))
                break
        if len(examples) == _MAX_OF_KIND:
            break
    return tuple(examples)


def _tell_basis(records: Sequence[ImageRecord]) -> SourceBasis:
    if not all(record.source for record in records):
        return "unknown"
    found = {record.source.startswith(SOURCE_PREFIX) for record in records}
    return "both" if len(found) > 1 else "table" if found == {False} else "pixels"


def _find_basis(records: Sequence[ImageRecord], basis: SourceBasis) -> list[Finding]:
    if basis == "pixels":
        return []
    if basis == "unknown":
        n = sum(not record.source for record in records)
        return [
            Finding(
                "warning",
                f"The sources of {_count(n, 'image')} are not known",
                "Among them only identical files were seen; turned, cropped or re-encoded copies"
                " may hide. Find them with `leukoscope data sources`.",
            )
        ]
    text = "They are believed as they stand; the pixels were not compared."
    if basis == "both":
        text = "The others were found in the pixels."
    return [Finding("note", "The table names sources itself", text)]


# -- the comparison of two data sets --------------------------------------------------------------


def join_catalogs(ours: Catalog, theirs: Catalog) -> Catalog:
    """Put two catalogs into one table, for `find_sources` and then `audit_against`.

    Ids begin with `a/` and `b/`, and so do known sources: what two data sets call "1" has nothing
    in common. Names that were found in the pixels are dropped, to be found again across both.
    """
    records = []
    for side, catalog in zip(_SIDES, (ours, theirs), strict=True):
        for record in catalog.records:
            known = record.source and not record.source.startswith(SOURCE_PREFIX)
            records.append(
                replace(
                    record,
                    id=side + record.id,
                    source=side + record.source if known else "",
                    extra={k: v for k, v in record.extra.items() if k != FIELD_COLUMN},
                )
            )
    return Catalog(tuple(sorted(records, key=lambda r: r.id)))


def audit_against(
    union: Catalog, *, name: str = "the data", other: str = "the other data"
) -> SharedData:
    """Return what the two sides of a union share; `join_catalogs` made it, and its sources were
    found since. Without sources only identical bytes count."""
    sides = []
    for side in _SIDES:
        rows = [
            (replace(record, id=record.id.removeprefix(side)), group)
            for record, group in zip(union.records, group_sources(union), strict=True)
            if record.id.startswith(side)
        ]
        sides.append(sorted(rows, key=lambda row: row[0].id))
    ours, theirs = sides
    count, examples = _count_kin(ours, theirs, {})
    return SharedData(
        name=name,
        other=other,
        n_sources=len({group for _, group in ours} & {group for _, group in theirs}),
        ours=count,
        theirs=_count_kin(theirs, ours, {})[0],
        examples=examples,
    )


def _find_shared(shared: SharedData) -> Finding:
    if not shared.theirs.n_kin:
        return Finding(
            "note",
            f"Nothing is shared with {shared.other}",
            "No file, no picture and no field was found in both.",
        )
    if shared.theirs.n_copies:
        lie = "lies" if shared.theirs.n_copies == 1 else "lie"
        title = (
            f"{_share(shared.theirs.n_copies, shared.theirs.n_images, 'image')} of {shared.other}"
            f" also {lie} in {shared.name}"
        )
    else:
        show = "shows" if shared.theirs.n_kin == 1 else "show"
        title = (
            f"{_share(shared.theirs.n_kin, shared.theirs.n_images, 'image')} of {shared.other}"
            f" {show} part of a field that lies in {shared.name}"
        )
    text = (
        f"They are related {_word_kin(shared.theirs, 'both')}. On the side of {shared.name} it is"
        f" {_share(shared.ours.n_kin, shared.ours.n_images, 'image')}; both sides have"
        f" {_count(shared.n_sources, 'source')} in common. The one is no external test of what was"
        " trained on the other."
    )
    return Finding("error", title, text, shared.examples)


# -- kinship --------------------------------------------------------------------------------------


def _count_kin(
    rows: Sequence[tuple[ImageRecord, str]],
    others: Sequence[tuple[ImageRecord, str]],
    role_of: Mapping[str, str],
) -> tuple[KinCounts, tuple[Example, ...]]:
    """Count the images that have kin among the others, and pick examples of each kind.

    Rows are (record, group of `group_sources`), sorted by id.
    """
    index: dict[tuple[str, object], ImageRecord] = {}
    for record, group in others:
        for _, key in _list_keys(record, group):
            index.setdefault(key, record)
    counts: Counter[Kinship] = Counter()
    shown: dict[Kinship, list[Example]] = {kind: [] for kind in KINSHIPS}
    seen: set[tuple[Kinship, str]] = set()
    for record, group in rows:
        kin = next(((kind, index[k]) for kind, k in _list_keys(record, group) if k in index), None)
        if kin is None:
            continue
        kind, other = kin
        counts[kind] += 1
        if len(shown[kind]) < _MAX_OF_KIND and (kind, group) not in seen:
            seen.add((kind, group))
            shown[kind].append(_pair(kind, record, other, role_of))
    # By turns, so that the first few show every kind.
    turns = [kind_shown[i : i + 1] for i in range(_MAX_OF_KIND) for kind_shown in shown.values()]
    return (
        KinCounts(len(rows), counts["bytes"], counts["source"], counts["field"]),
        tuple(example for turn in turns for example in turn),
    )


def _list_keys(record: ImageRecord, group: str) -> list[tuple[Kinship, tuple[str, object]]]:
    """What an image can have in common with another, the closest first."""
    keys: list[tuple[Kinship, tuple[str, object]]] = [
        ("bytes", ("bytes", (record.sha256, record.box))),
        ("source", ("file", record.sha256)),
    ]
    if record.source:
        keys.append(("source", ("source", record.source)))
    if record.extra.get(FIELD_COLUMN, "").startswith(FIELD_PREFIX):
        keys.append(("field", ("field", record.extra[FIELD_COLUMN])))
    # Linked through third images only: no closer than a field.
    return [*keys, ("field", ("group", group))]


def _pair(
    kind: Kinship, first: ImageRecord, second: ImageRecord, role_of: Mapping[str, str]
) -> Example:
    # Pictures were compared whole; cut to a cell, nobody could see that they are related.
    a, b = (
        ExampleImage(
            r.id, str(r.path), r.label, role_of.get(r.id, ""), r.box if kind == "bytes" else None
        )
        for r in (first, second)
    )
    return Example(kind, a, b)


# -- words ----------------------------------------------------------------------------------------


def _choose_result(
    findings: Sequence[Finding],
    found: SplitAudit | None,
    shared: SharedData | None,
    n_conflicts: int,
) -> AuditResult:
    if found is not None and found.leakage_status == "leaking":
        return "leaking"
    if shared is not None and shared.theirs.n_kin:
        return "shared"
    if n_conflicts:
        return "conflicts"
    return "warnings" if any(f.severity == "warning" for f in findings) else "clean"


def _word_summary(
    findings: Sequence[Finding], judged: bool, shared: SharedData | None, basis: SourceBasis
) -> str:
    errors = [finding.title for finding in findings if finding.severity == "error"]
    if errors:
        return "; ".join(errors) + "."
    known = "known " if basis == "unknown" else ""
    claims = [f"no {known}source crosses roles"] if judged else []
    claims += ["no cell is known to bear two names" if known else "no cell bears two names"]
    claims += [f"nothing is shared with {shared.other}"] if shared else []
    text = _join(claims)
    warnings = [finding.title for finding in findings if finding.severity == "warning"]
    if warnings:
        lowered = [title[:1].lower() + title[1:] for title in warnings]
        text += f", but mind: {'; '.join(lowered)}"
    return f"{text[:1].upper()}{text[1:]}."


def _word_kin(counts: KinCounts, basis: SourceBasis) -> str:
    parts = (
        (counts.same_bytes, "by the same file"),
        (counts.same_source, f"by the same {'picture' if basis == 'pixels' else 'source'}"),
        (counts.same_field, "only by a microscope field"),
    )
    return _join(f"{what} ({n:,})" for n, what in parts if n)


def _count(n: int, one: str, many: str = "") -> str:
    """Word a count.

    >>> _count(1, "image"), _count(2000, "class"), _count(2, "cell bears", "cells bear")
    ('1 image', '2,000 classes', '2 cells bear')
    """
    plural = many or one + ("es" if one.endswith("s") else "s")
    return f"{n:,} {one if n == 1 else plural}"


def _share(n: int, total: int, what: str) -> str:
    """Word a part of a whole that has at least one; 100 per cent and 0 only where exact.

    >>> _share(1469, 1494, "test image"), _share(1, 9999, "image")
    ('1,469 of 1,494 test images (98.3 %)', '1 of 9,999 images (<0.1 %)')
    """
    text = f"{100 * n / total:.1f}"
    if text == "100.0" and n < total:
        text = ">99.9"
    if text == "0.0" and n:
        text = "<0.1"
    return f"{n:,} of {_count(total, what)} ({text} %)"


def _join(parts: Iterable[str]) -> str:
    """Join words as a sentence does.

    >>> _join(["a"]), _join(["a", "b"]), _join("abc")
    ('a', 'a and b', 'a, b and c')
    """
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last
