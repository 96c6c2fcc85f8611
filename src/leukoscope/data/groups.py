"""Which rows of a catalog belong together: by source, by bytes or pixels, by microscope field.

A source is a group in the sense of scikit-learn's `groups`: a patient, slide, field or original
image. What this file does not do: it looks at no pixel (`leukoscope.sources`) and reads no roles
(`splits`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Literal

from leukoscope.data.catalog import Catalog

FIELD_COLUMN = "field_group"
"""Catalog column for images that show parts of one microscope field without being duplicates; blank
where an image overlaps with nothing else."""


SOURCE_PREFIX = "px-"
"""Sources found in the pixels are named by this and 12 digits of the smallest content hash."""


FIELD_PREFIX = "field-"


def group_sources(catalog: Catalog) -> tuple[str, ...]:
    """Return one source name per record.

    Records share a source when they share the source column, the image's bytes, its decoded pixels
    or the field that `find_sources` saw them overlap in, transitively (all cells cut from one file
    belong together). The name is the smallest source string of the group, or `sha256:` and 16
    digits where there is none; it does not depend on the order of rows.
    """
    parent: dict[str, str] = {}
    for record in catalog.records:
        file_key = f"bytes {record.sha256}"
        find_root(parent, file_key)
        if record.pixels:
            join_roots(parent, file_key, f"pixels {record.pixels}")
        if record.source:
            join_roots(parent, file_key, f"source {record.source}")
        field = record.extra.get(FIELD_COLUMN, "")
        # Another table may have a column of this name; only our own values join anything.
        if field.startswith(FIELD_PREFIX):
            join_roots(parent, file_key, f"field {field}")
    names: dict[str, list[str]] = defaultdict(list)
    for record in catalog.records:
        root = find_root(parent, f"bytes {record.sha256}")
        # "source" sorts behind "bytes": a known name goes first all the same.
        names[root].append(record.source or f"sha256:{record.sha256[:16]}")
    chosen = {
        root: min(group, key=lambda name: (name.startswith("sha256:"), name))
        for root, group in names.items()
    }
    return tuple(chosen[find_root(parent, f"bytes {record.sha256}")] for record in catalog.records)


SourceKind = Literal["declared", "pixels", "files", "unknown"]
"""What the names of sources say: `declared`, the data name groups (patients, slides, fields);
`pixels`, some were found by `find_sources`; `files`, nearly every file has a name of its own, which
says nothing; `unknown`, some are missing."""

FILES_FRAC = 0.9
"""Share of the files that are alone in their source from which on the names say nothing."""


def find_source_kind(catalog: Catalog) -> SourceKind:
    """Tell what the sources of a catalog say.

    A column that is unique per file (file names, row numbers) keeps no two images together. One
    cell from each patient looks the same, and protects from copies as little.
    """
    if not all(record.source for record in catalog.records):
        return "unknown"
    if found_in_pixels(record.source for record in catalog.records):
        return "pixels"
    group_of = dict(zip((r.sha256 for r in catalog.records), group_sources(catalog), strict=True))
    sizes = Counter(group_of.values())
    alone = sum(n == 1 for n in sizes.values())
    return "files" if alone and alone >= FILES_FRAC * len(group_of) else "declared"


def sources_known(catalog: Catalog) -> bool:
    """Tell whether the records have sources that say something; identical pictures alone do not
    count as knowledge, nor does a name for each file."""
    return find_source_kind(catalog) in ("declared", "pixels")


def found_in_pixels(sources: Iterable[str]) -> bool:
    """Tell whether any source has a name given by `find_sources`: that is one picture and its
    duplicates, it says nothing of persons, and it means nothing in another data set, where it may
    be missing although a duplicate is there."""
    return any(source.startswith(SOURCE_PREFIX) for source in sources)


def find_root(parent: dict[str, str], key: str) -> str:
    """Return the representative of a key in a forest of parents (union-find, path halving)."""
    while parent.setdefault(key, key) != key:
        parent[key] = parent[parent[key]]
        key = parent[key]
    return key


def join_roots(parent: dict[str, str], a: str, b: str) -> None:
    """Make two keys members of one set."""
    parent[find_root(parent, a)] = find_root(parent, b)
