"""What a reader must know of image data before believing a number measured on it.

`audit_catalog` looks at one catalog whose sources are known: what crosses roles, which cells have
two labels, how many sources stand behind each class. `join_catalogs` and `audit_against` compare
two data sets. What this file does not do: it opens no image, finds no duplicates (`sources`) and
says nothing (`report.data_words`); an audit is as good as the sources it is given.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.findings import (
    RELATIONS,
    SEVERITIES,
    Count,
    Example,
    ExampleImage,
    Finding,
    FindingCode,
    Relation,
)
from leukoscope.data.groups import FIELD_COLUMN, FIELD_PREFIX, SOURCE_PREFIX, group_sources
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import ROLES, Split, SplitAudit, audit_split
from leukoscope.errors import SplitError
from leukoscope.text import format_count

AuditResult = Literal["leaking", "shared", "conflicts", "warnings", "clean"]
"""The gravest thing found: a source in two roles, images shared with the other set, duplicates
under different labels, a warning, nothing."""

SourceBasis = Literal["pixels", "table", "both", "unknown"]
"""Where the sources come from: `find_sources`, the data's own table, both; `unknown` where some
images have none."""

FEW_SOURCES = 30
"""A class with fewer sources has few independent examples, however many images it has."""

MAX_EXAMPLES = 12
"""Pairs kept for a finding at most."""

_MAX_OF_RELATION = 4

_SIDES = ("a/", "b/")
"""What `join_catalogs` puts before the ids of the two sides."""


# -- what an audit returns ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RelatedCounts:
    """How many of some images are related to any of some others, each counted once under its
    closest relation (`findings.Relation`)."""

    n_images: int
    exact: int = 0
    source: int = 0
    field: int = 0

    @property
    def n_duplicates(self) -> int:
        """Images with the same file or the same source on the other side."""
        return self.exact + self.source

    @property
    def n_related(self) -> int:
        """Images with any relation to the other side."""
        return self.n_duplicates + self.field

    @property
    def n_unrelated(self) -> int:
        """Images with none."""
        return self.n_images - self.n_related


@dataclass(frozen=True, slots=True)
class ClassSources:
    """How many sources stand behind the images of one class.

    Sources are those of `group_sources`. `largest` and `median` are images of this class per
    source. `effective` is the number of equally large sources with the same information:
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
    """Groups of two or more images, and the images in them: exact duplicates; the same source; the
    same microscope field."""

    exact_groups: int
    exact_images: int
    source_groups: int
    source_images: int
    field_groups: int
    field_images: int


@dataclass(frozen=True, slots=True)
class SharedData:
    """What two data sets have in common. `ours` counts images of the first that are related to the
    second, `theirs` the reverse; the first image of an example is ours."""

    name: str
    other: str
    n_sources: int
    ours: RelatedCounts
    theirs: RelatedCounts
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class DataAudit:
    """Everything an audit found; `findings` begin with the gravest. `failed`: any is an error.

    `leak` counts test images related to images of `train` or `val`; it and `split` are None
    without roles, `shared` without another data set. `n_conflicts` counts cells with different
    labels, those that the scan rejected included.
    """

    failed: bool
    name: str
    result: AuditResult
    findings: tuple[Finding, ...]
    n_images: int
    n_sources: int
    sources_from: SourceBasis
    classes: tuple[ClassSources, ...]
    repetition: Repetition
    n_conflicts: int
    leak: RelatedCounts | None
    split: SplitAudit | None
    shared: SharedData | None


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
    missing, only identical pictures count and a warning says so.

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
    basis = _find_basis(records)
    classes = _count_classes(records, groups)
    findings: list[Finding] = []
    audited = leak = None
    if roles is not None:
        audited = audit_split(roles)
        leak, examples = _count_related(
            [row[:2] for row in rows if row[2] == "test"],
            [row[:2] for row in rows if row[2] in ("train", "val")],
            role_of,
        )
        for one in audited.findings:
            findings.append(
                _specify_leak(one, leak, examples) if one.code == "sources_shared" else one
            )
        findings += _find_empty_roles(audited)
    if against is not None:
        examples = tuple(
            replace(e, first=replace(e.first, role=role_of.get(e.first.id, "")))
            for e in against.examples
        )
        against = replace(against, examples=examples)
        findings.append(_find_shared(against))
    inside, n_inside = _find_conflicts(records, role_of)
    left_out, n_rejected = _find_rejected({*catalog.rejected, *rejected})
    repetition, repeated = _find_repetition(records, groups, role_of)
    findings += [*inside, *left_out, *_find_few_sources(classes, basis), *repeated]
    known = {one.code for one in findings}
    if not known & {"pixels_compared", "copies_found"}:
        findings += [one for one in _find_origin(records, basis) if one.code not in known]
    findings.sort(key=lambda one: SEVERITIES.index(one.severity))
    return DataAudit(
        failed=any(one.severity == "error" for one in findings),
        name=name,
        result=_choose_result(findings, audited, against, n_inside + n_rejected),
        findings=tuple(findings),
        n_images=len(records),
        n_sources=len(set(groups)),
        sources_from=basis,
        classes=classes,
        repetition=repetition,
        n_conflicts=n_inside + n_rejected,
        leak=leak,
        split=audited,
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
            first = ", ".join(repr(i) for i in ids[:3])
            problems.append(f"{format_count(len(ids), 'id')} {what}, for example {first}")
    if problems:
        raise SplitError(
            "catalog and split must hold the same images under the same ids",
            "; ".join(problems),
            "make the split from this catalog, or name the catalog that the split was made from",
        )
    roles = tuple(role_of[record.id] for record in catalog.records)
    return replace(split, catalog=catalog, roles=roles)


def _choose_result(
    findings: Sequence[Finding],
    audited: SplitAudit | None,
    shared: SharedData | None,
    n_conflicts: int,
) -> AuditResult:
    if audited is not None and audited.leakage_status == "leaking":
        return "leaking"
    if shared is not None and shared.theirs.n_related:
        return "shared"
    if n_conflicts:
        return "conflicts"
    return "warnings" if any(one.severity == "warning" for one in findings) else "clean"


def _specify_leak(found: Finding, leak: RelatedCounts, examples: tuple[Example, ...]) -> Finding:
    """Say how test images are related to training, where any are."""
    if leak.n_duplicates:
        values = {"n_related": leak.n_duplicates, "n_images": leak.n_images}
        return replace(found, code="test_duplicates", values=values, examples=examples)
    if leak.n_related:
        return replace(found, code="test_same_field", examples=examples)
    return found


def _find_empty_roles(audited: SplitAudit) -> list[Finding]:
    empty = [Count((role,), 0) for role in ROLES if not audited.counts[role]]
    needed = tuple(count for count in empty if count.names != ("calib",))
    findings = [Finding("role_empty", "warning", counts=needed)] if needed else []
    if len(empty) > len(needed):
        findings.append(Finding("calib_empty", "note"))
    return findings


def _find_conflicts(
    records: Sequence[ImageRecord], role_of: Mapping[str, str]
) -> tuple[list[Finding], int]:
    """Cells with different labels, apart from sources of a table that hold several classes.

    Only pixels and bytes prove that two images show one cell. A source that a table names may be
    a patient or a slide, and a box cuts one cell of many out of its picture.
    """
    cells: dict[object, list[ImageRecord]] = defaultdict(list)
    labels_of: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.box is None and record.source.startswith(SOURCE_PREFIX):
            cells[record.source].append(record)
        else:
            cells[record.content, record.box].append(record)
            if record.box is None and record.source:
                labels_of[record.source].add(record.label)
    conflicts = [cell for cell in cells.values() if len({r.label for r in cell}) > 1]
    findings = []
    if conflicts:
        examples = []
        for cell in sorted(conflicts, key=lambda cell: cell[0].id)[:MAX_EXAMPLES]:
            other = next(r for r in cell if r.label != cell[0].label)
            relation: Relation = "exact" if cell[0].content == other.content else "source"
            examples.append(_pair(relation, cell[0], other, role_of))
        findings.append(
            Finding(
                "label_conflict",
                "error",
                {"n_cells": len(conflicts)},
                _count_labels(conflicts),
                tuple(examples),
            )
        )
    mixed = tuple(
        Count((name,), len(labels)) for name, labels in sorted(labels_of.items()) if len(labels) > 1
    )
    if mixed:
        findings.append(Finding("several_classes", "note", {"n_sources": len(mixed)}, mixed[:3]))
    return findings, len(conflicts)


def _count_labels(groups: Iterable[Sequence[ImageRecord | Rejected]]) -> tuple[Count, ...]:
    """How many groups bear which labels."""
    between = Counter(tuple(sorted({one.label for one in group})) for group in groups)
    return tuple(Count(labels, n) for labels, n in sorted(between.items()))


def _find_rejected(rejected: Iterable[Rejected]) -> tuple[list[Finding], int]:
    """Identical pictures under different labels, which the scan left out of the catalog."""
    groups: dict[str, list[Rejected]] = defaultdict(list)
    for entry in sorted(rejected, key=lambda entry: (entry.path, entry.id)):
        if entry.code == "label_conflict":
            groups[entry.content].append(entry)
    if not groups:
        return [], 0
    examples = []
    for group in sorted(groups.values(), key=lambda group: group[0].id)[:MAX_EXAMPLES]:
        other = next((entry for entry in group if entry.label != group[0].label), None)
        if other is not None:
            first, second = (ExampleImage(r.id, r.path, r.label) for r in (group[0], other))
            examples.append(Example("exact", first, second))
    finding = Finding(
        "files_in_conflict",
        "error",
        {"n_cells": len(groups), "n_files": sum(map(len, groups.values()))},
        _count_labels(groups.values()),
        tuple(examples),
    )
    return [finding], len(groups)


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
    counts = tuple(Count((c.label,), c.n_sources) for c in few)
    return [Finding("few_sources", "warning", {"limit": FEW_SOURCES}, counts)]


def _find_repetition(
    records: Sequence[ImageRecord], groups: Sequence[str], role_of: Mapping[str, str]
) -> tuple[Repetition, list[Finding]]:
    files: dict[object, list[ImageRecord]] = defaultdict(list)
    sources: dict[object, list[ImageRecord]] = defaultdict(list)
    fields: dict[object, list[ImageRecord]] = defaultdict(list)
    for record in records:
        files[record.content, record.box].append(record)
        sources[record.source or record.content].append(record)
        name = record.extra.get(FIELD_COLUMN, "")
        if name.startswith(FIELD_PREFIX):
            fields[name].append(record)
    exact, source, field = (
        [group for group in found.values() if len(group) > 1] for found in (files, sources, fields)
    )
    counts = [(len(found), sum(map(len, found))) for found in (exact, source, field)]
    repetition = Repetition(*counts[0], *counts[1], *counts[2])
    findings = []

    def note(
        code: FindingCode, relation: Relation, found: list[list[ImageRecord]], **more: int
    ) -> None:
        if found:
            values = {"n_images": sum(map(len, found)), "n_groups": len(found)} | more
            pairs = _pick_pairs(relation, found, role_of)
            findings.append(Finding(code, "note", values, examples=pairs))

    note("exact_duplicates", "exact", exact)
    # Named by bytes alone, a group of one source says no more than the finding above.
    copies = [g for g in source if len({(r.content, r.box) for r in g}) > 1]
    largest = max(map(len, copies), default=0)
    joined = len(set(groups))
    note("same_source", "source", copies, largest=largest, n_sources=len(sources), n_joined=joined)
    note("same_field", "field", field)
    return repetition, findings


def _pick_pairs(
    relation: Relation, groups: Iterable[Sequence[ImageRecord]], role_of: Mapping[str, str]
) -> tuple[Example, ...]:
    """One pair of each of the first groups, so related and not more closely."""
    examples = []
    for group in sorted(groups, key=lambda group: group[0].id):
        first = group[0]
        for other in group[1:]:
            same_file = (first.content, first.box) == (other.content, other.box)
            same_source = first.source == other.source
            closer = (same_file and relation != "exact") or (same_source and relation == "field")
            if not closer:
                examples.append(_pair(relation, first, other, role_of))
                break
        if len(examples) == _MAX_OF_RELATION:
            break
    return tuple(examples)


def _find_basis(records: Sequence[ImageRecord]) -> SourceBasis:
    if not all(record.source for record in records):
        return "unknown"
    found = {record.source.startswith(SOURCE_PREFIX) for record in records}
    return "both" if len(found) > 1 else "table" if found == {False} else "pixels"


def _find_origin(records: Sequence[ImageRecord], basis: SourceBasis) -> list[Finding]:
    if basis == "unknown":
        n = sum(not record.source for record in records)
        return [Finding("sources_unknown", "warning", {"n_images": n})]
    if basis == "pixels":
        return []
    return [Finding("sources_from_table" if basis == "table" else "sources_from_both", "note")]


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
    found since. Without sources only identical pictures count."""
    sides = []
    for side in _SIDES:
        rows = [
            (replace(record, id=record.id.removeprefix(side)), group)
            for record, group in zip(union.records, group_sources(union), strict=True)
            if record.id.startswith(side)
        ]
        sides.append(sorted(rows, key=lambda row: row[0].id))
    ours, theirs = sides
    count, examples = _count_related(ours, theirs, {})
    return SharedData(
        name=name,
        other=other,
        n_sources=len({group for _, group in ours} & {group for _, group in theirs}),
        ours=count,
        theirs=_count_related(theirs, ours, {})[0],
        examples=examples,
    )


def _find_shared(shared: SharedData) -> Finding:
    theirs = shared.theirs
    if not theirs.n_related:
        return Finding("nothing_shared", "note")
    values = {
        "n_related": theirs.n_duplicates or theirs.n_related,
        "n_images": theirs.n_images,
        "n_ours": shared.ours.n_related,
        "n_our_images": shared.ours.n_images,
        "n_sources": shared.n_sources,
    }
    return Finding(
        "data_shared" if theirs.n_duplicates else "data_share_field",
        "error",
        values,
        examples=shared.examples,
    )


# -- relations ------------------------------------------------------------------------------------


def _count_related(
    rows: Sequence[tuple[ImageRecord, str]],
    others: Sequence[tuple[ImageRecord, str]],
    role_of: Mapping[str, str],
) -> tuple[RelatedCounts, tuple[Example, ...]]:
    """Count the images that are related to any of the others, and pick examples of each relation.

    Rows are (record, group of `group_sources`), sorted by id.
    """
    index: dict[tuple[str, object], ImageRecord] = {}
    for record, group in others:
        for _, key in _list_keys(record, group):
            index.setdefault(key, record)
    counts: Counter[Relation] = Counter()
    shown: dict[Relation, list[Example]] = {relation: [] for relation in RELATIONS}
    seen: set[tuple[Relation, str]] = set()
    for record, group in rows:
        closest = next(
            ((one, index[k]) for one, k in _list_keys(record, group) if k in index), None
        )
        if closest is None:
            continue
        relation, other = closest
        counts[relation] += 1
        if len(shown[relation]) < _MAX_OF_RELATION and (relation, group) not in seen:
            seen.add((relation, group))
            shown[relation].append(_pair(relation, record, other, role_of))
    # By turns, so that the first few show every relation.
    turns = [found[i : i + 1] for i in range(_MAX_OF_RELATION) for found in shown.values()]
    return (
        RelatedCounts(len(rows), counts["exact"], counts["source"], counts["field"]),
        tuple(example for turn in turns for example in turn),
    )


def _list_keys(record: ImageRecord, group: str) -> list[tuple[Relation, tuple[str, object]]]:
    """What an image can have in common with another, the closest relation first."""
    keys: list[tuple[Relation, tuple[str, object]]] = [
        ("exact", ("bytes", (record.sha256, record.box))),
        ("source", ("file", record.sha256)),
    ]
    if record.pixels:
        keys.insert(1, ("exact", ("pixels", (record.pixels, record.box))))
        keys.append(("source", ("picture", record.pixels)))
    if record.source:
        keys.append(("source", ("source", record.source)))
    if record.extra.get(FIELD_COLUMN, "").startswith(FIELD_PREFIX):
        keys.append(("field", ("field", record.extra[FIELD_COLUMN])))
    # Linked through third images only: no closer than a field.
    return [*keys, ("field", ("group", group))]


def _pair(
    relation: Relation, first: ImageRecord, second: ImageRecord, role_of: Mapping[str, str]
) -> Example:
    # Pictures were compared whole; cut to a cell, nobody could see that they are related.
    a, b = (
        ExampleImage(
            r.id,
            str(r.path),
            r.label,
            role_of.get(r.id, ""),
            r.box if relation == "exact" else None,
        )
        for r in (first, second)
    )
    return Example(relation, a, b)
