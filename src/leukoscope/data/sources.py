"""Which images come from one source: by the source column and by identical bytes.

What this file does not do (yet): it does not look at pixels, so rotated, cropped or re-encoded
copies of unknown source stay unknown. `sources_known` says whether that can matter.
"""

from collections import defaultdict

from leukoscope.data.catalog import Catalog


def group_sources(catalog: Catalog) -> tuple[str, ...]:
    """Return one source name per record.

    Records share a source when they share the source column or the image's bytes, transitively
    (all cells cut from one file belong together). The name is the smallest source string of the
    group, or `sha256:` and 16 digits where there is none; it does not depend on the order of rows.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for record in catalog.records:
        file_key = f"bytes {record.sha256}"
        find(file_key)
        if record.source:
            parent[find(file_key)] = find(f"source {record.source}")
    names: dict[str, list[str]] = defaultdict(list)
    for record in catalog.records:
        root = find(f"bytes {record.sha256}")
        # "source" sorts behind "bytes": a known name goes first all the same.
        names[root].append(record.source or f"sha256:{record.sha256[:16]}")
    chosen = {
        root: min(group, key=lambda name: (name.startswith("sha256:"), name))
        for root, group in names.items()
    }
    return tuple(chosen[find(f"bytes {record.sha256}")] for record in catalog.records)


def sources_known(catalog: Catalog) -> bool:
    """Tell whether every record has a source; identical bytes alone do not count as knowledge."""
    return all(record.source for record in catalog.records)
