"""Which images show the same source, by what the pixels show.

`find_sources` compares every image with its most similar ones and keeps the evidence:
`fingerprints` describes an image, `matching` compares a pair, `grouping` chooses pairs and builds
groups.

What this file does not do: it reads no roles (`splits`) and audits no data set (`audit`).
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from leukoscope.data.catalog import Catalog, ImageRecord, save_catalog
from leukoscope.data.groups import (
    FIELD_COLUMN,
    FIELD_PREFIX,
    SOURCE_PREFIX,
    find_root,
    find_source_kind,
    join_roots,
)
from leukoscope.errors import CatalogError
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.sources.evidence import Link, split_map
from leukoscope.storage import write_text

# -- what was found -------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceFindings:
    """What `find_sources` found.

    `catalog` has a source in every row, and the column `field_group` where pictures overlap.
    `featureless` are ids of images too smooth to be compared except for identical pixels.
    `settings` are the thresholds and versions that the result depends on. `uncached` is the file
    that was to keep what was learned and cannot be written.
    """

    catalog: Catalog
    links: tuple[Link, ...]
    featureless: tuple[str, ...]
    settings: Mapping[str, float | int | str]
    uncached: Path | None = None

    @cached_property
    def groups(self) -> dict[str, tuple[ImageRecord, ...]]:
        """Sources of two or more rows, the largest first, then by name."""
        members: dict[str, list[ImageRecord]] = defaultdict(list)
        for record in self.catalog.records:
            members[record.source].append(record)
        order = sorted(members, key=lambda name: (-len(members[name]), name))
        return {name: tuple(members[name]) for name in order if len(members[name]) > 1}

    @property
    def n_sources(self) -> int:
        """Number of different sources, images without a copy included."""
        return len({record.source for record in self.catalog.records})


@dataclass(frozen=True, slots=True)
class LinkCounts:
    """Links by kind, and how many of all are not accepted."""

    near: int
    geometric: int
    overlap: int
    rejected: int


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """The findings in numbers. `n_grouped` images share their source with another image, `n_alone`
    do not; `n_exact` have the same file and box as another; `n_fields` microscope fields are shown
    by pictures of different sources."""

    n_images: int
    n_sources: int
    n_groups: int
    n_grouped: int
    n_alone: int
    n_exact: int
    n_fields: int
    links: LinkCounts
    featureless: tuple[str, ...]
    settings: Mapping[str, int | float | str]


def summarise_sources(findings: SourceFindings) -> SourceSummary:
    """Return what was found in numbers."""
    records, links = findings.catalog.records, findings.links
    grouped = sum(len(group) for group in findings.groups.values())
    kinds = Counter(link.kind for link in links)
    copies = Counter((record.sha256, record.box) for record in records)
    return SourceSummary(
        n_images=len(records),
        n_sources=findings.n_sources,
        n_groups=len(findings.groups),
        n_grouped=grouped,
        n_alone=len(records) - grouped,
        n_exact=sum(n for n in copies.values() if n > 1),
        n_fields=len({record.extra.get(FIELD_COLUMN, "") for record in records} - {""}),
        links=LinkCounts(
            near=kinds["near"],
            geometric=kinds["geometric"],
            overlap=kinds["overlap"],
            rejected=sum(not link.accepted for link in links),
        ),
        featureless=findings.featureless,
        settings=findings.settings,
    )


# -- finding --------------------------------------------------------------------------------------


def find_sources(
    catalog: Catalog, *, cache: Path | None = None, on_progress: Progress = silent
) -> SourceFindings:
    """Find duplicates in the pixels, and return the catalog with a source for every record.

    A source that the catalog already names stays known: rows that share it stay together, and a
    group that contains it bears its name, unless nearly every file has a name of its own
    (`groups.find_source_kind`): such names say nothing of the groups. Images are read whole, boxes
    or not: cells cut from one picture have one source. The result does not depend on the order of
    rows.

    `cache` is a file that keeps what is learned of each image and pair by content hash; a run
    that was interrupted goes on from it, and other runs over the same images use it.
    `on_progress` is called with (what is being done, done, total).

    Raises `ImageError` if an image can no longer be read as the catalog says, `CatalogError` if
    a column of another meaning is called `field_group`, `StorageError` if the cache cannot be
    written, `MissingExtraError` without the extra `sources`.
    """
    from leukoscope.sources.grouping import find_links

    _check_field_column(catalog)
    files: dict[str, Path] = {}
    for record in sorted(catalog.records, key=lambda r: r.id):
        files.setdefault(record.sha256, record.path)
    found = find_links(files, cache, on_progress)
    named = _name_groups(catalog, found.links)
    fields_of = _name_fields(catalog, named, found.links)
    records = []
    for record, source in zip(catalog.records, named, strict=True):
        extra = {k: v for k, v in record.extra.items() if k != FIELD_COLUMN}
        if record.sha256 in fields_of:
            extra[FIELD_COLUMN] = fields_of[record.sha256]
        records.append(replace(record, source=source, extra=extra))
    if fields_of:
        # A table has the same columns in every row.
        records = [
            replace(record, extra=dict(record.extra) | {FIELD_COLUMN: ""})
            if FIELD_COLUMN not in record.extra
            else record
            for record in records
        ]
    smooth = set(found.featureless)
    return SourceFindings(
        catalog=Catalog(tuple(records), catalog.rejected),
        links=found.links,
        featureless=tuple(sorted(r.id for r in catalog.records if r.sha256 in smooth)),
        settings=found.settings,
    )


def _name_groups(catalog: Catalog, links: Sequence[Link]) -> tuple[str, ...]:
    """A source name per record: its group's known name, else one made of its smallest hash."""
    parent: dict[str, str] = {}
    for record in catalog.records:
        join_roots(
            parent, record.sha256, f"source {record.source}" if record.source else record.sha256
        )
    for link in links:
        if link.kind != "overlap" and link.accepted:
            join_roots(parent, link.first, link.second)
    known: dict[str, set[str]] = defaultdict(set)
    hashes: dict[str, set[str]] = defaultdict(set)
    for record in catalog.records:
        root = find_root(parent, record.sha256)
        hashes[root].add(record.sha256)
        if record.source:
            known[root].add(record.source)
    names = {root: f"{SOURCE_PREFIX}{min(group)[:12]}" for root, group in hashes.items()}
    if find_source_kind(catalog) != "files":
        names |= {root: min(group) for root, group in known.items()}
    return tuple(names[find_root(parent, record.sha256)] for record in catalog.records)


def _name_fields(catalog: Catalog, sources: Sequence[str], links: Sequence[Link]) -> dict[str, str]:
    """The field group of each content hash whose source overlaps with another."""
    source_of = {r.sha256: name for r, name in zip(catalog.records, sources, strict=True)}
    parent: dict[str, str] = {}
    touched = set()
    joined = [(source_of[x.first], source_of[x.second]) for x in links if x.accepted]
    # What an earlier search saw stays known, though the picture between two may not be here.
    seen: dict[str, str] = {}
    for record in catalog.records:
        if field := record.extra.get(FIELD_COLUMN, ""):
            source = source_of[record.sha256]
            joined.append((source, seen.setdefault(field, source)))
    for a, b in joined:
        if a != b:
            join_roots(parent, a, b)
            touched |= {a, b}
    lowest: dict[str, str] = {}
    for sha256, source in source_of.items():
        if source in touched:
            root = find_root(parent, source)
            lowest[root] = min(sha256, lowest.get(root, sha256))
    return {
        sha256: f"{FIELD_PREFIX}{lowest[find_root(parent, source)][:12]}"
        for sha256, source in source_of.items()
        if source in touched
    }


def _check_field_column(catalog: Catalog) -> None:
    for record in catalog.records:
        value = record.extra.get(FIELD_COLUMN, "")
        if value and not value.startswith(FIELD_PREFIX):
            raise CatalogError(
                f"the column {FIELD_COLUMN} must be blank or hold what an earlier search wrote",
                f"{value!r} at {record.id}",
                "give the column another name; the search writes its own",
            )


# -- files ----------------------------------------------------------------------------------------

LINK_COLUMNS = (
    "first",
    "second",
    "kind",
    "accepted",
    "inliers",
    "overlap_frac",
    "agreement_frac",
    "contradiction_frac",
    "mirrored",
    "rotation_deg",
    "scale",
    "shear",
    *"abcdef",
)


def check_sources_path(path: Path) -> None:
    """Raise `CatalogError` if the name of a table of sources does not end in `.csv`."""
    if path.suffix.lower() != ".csv":
        # Summary and page bear the same stem: they would be written over the table.
        raise CatalogError(
            "the table of sources must be a file that ends in .csv",
            f"{path.name}",
            f"write to {path.with_suffix('.csv').name}",
        )


def save_sources(findings: SourceFindings, path: Path, staged: Path) -> None:
    """Write the catalog with its sources; beside it the links as `<stem>.links.csv` and a summary
    as `<stem>.json`. In the folder `staged` they wait to be moved to `path`
    (`storage.replacing_together`).

    Raises `CatalogError` as `check_sources_path` does, `StorageError`.
    """
    check_sources_path(path)
    save_catalog(findings.catalog, path, staged)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LINK_COLUMNS)
    for link in findings.links:
        shares = (link.overlap_frac, link.agreement_frac, link.contradiction_frac)
        parts = split_map(link.matrix)
        writer.writerow(
            [link.first, link.second, link.kind, int(link.accepted), link.inliers]
            + [f"{share:.6f}" for share in shares]
            + [int(parts.mirrored), f"{parts.rotation_deg:.2f}", f"{parts.scale:.4f}"]
            + [f"{parts.shear:.4f}", *(repr(value) for value in link.matrix)]
        )
    write_text(staged / f"{path.stem}.links.csv", text.getvalue())
    save_record(summarise_sources(findings), staged / f"{path.stem}.json")
