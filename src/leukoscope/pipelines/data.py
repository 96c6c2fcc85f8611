"""From images on disk to a split, and the audit of either.

What this file does not do: it trains nothing, and finds no duplicates itself (`sources`).
"""

import os
import typing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leukoscope.data.catalog import (
    Catalog,
    ImageRecord,
    check_usable,
    load_catalog,
    load_rejected,
    read_catalog,
    save_catalog,
    save_rejected,
)
from leukoscope.data.groups import find_source_kind, sources_known
from leukoscope.data.layouts import WRAPPER_NAMES
from leukoscope.data.readers import Levels, Rejected
from leukoscope.data.splits import (
    Protocol,
    Split,
    build_kfold,
    build_split,
    list_folds,
    load_split,
    save_split,
)
from leukoscope.data.tables import read_header
from leukoscope.errors import (
    CatalogError,
    ImageError,
    MissingExtraError,
    SplitError,
    StorageError,
)
from leukoscope.pipelines.extras import require_report_extra
from leukoscope.pipelines.outputs import find_replaced, is_unused
from leukoscope.progress import Progress, silent
from leukoscope.sources.search import (
    SourceFindings,
    check_sources_path,
    find_sources,
    save_sources,
)
from leukoscope.storage import replacing_together, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.audit import DataAudit

# -- images -> catalog -> split -----------------------------------------------------------------


@typing.runtime_checkable
class ScanReporter(typing.Protocol):
    """What wants to know, besides progress, what every scan read and what it left out."""

    def on_scan(self, path: Path, catalog: Catalog, rejected: Path | None) -> None:
        """Say what was read at `path`; `rejected` lists what was not, None where nothing does."""


def scan_images(
    path: str | Path,
    out: str | Path | None = None,
    *,
    class_level: int | None = None,
    source_level: int | None = None,
    rejected: Path | None = None,
    at_once: bool = True,
    progress: Progress = silent,
) -> Catalog:
    """Build the catalog of a folder, a table or an annotated set, and write it if `out` is given.

    `class_level` and `source_level` say which layer of folders below `path`, counted from 1, is the
    class and the source, where the names do not tell. Which files stayed out and why is listed
    beside `out` in `rejected.csv`, or in the file `rejected`; it is written even when it is empty,
    so that its absence means nothing, and when no image is left, which raises `CatalogError`.
    Unless `at_once`, only then, and only into a folder that holds no results, of which it would
    speak: the caller writes it with the rest of its files. A `progress` that is a `ScanReporter` is
    given the catalog.
    """
    from leukoscope.report.data_words import describe_rejected

    if out is not None:
        rejected = Path(out).with_name("rejected.csv")
    elif rejected is not None:
        find_replaced([rejected], "rejected", {})
    catalog = read_catalog(
        Path(path),
        levels=Levels(class_level, source_level),
        on_progress=lambda d, t: progress("Reading images", d, t),
    )
    if rejected is not None and not catalog.records and not at_once:
        rejected = rejected if is_unused(rejected.parent) else None
    if catalog.records and out is not None:
        with replacing_together(Path(out).parent, last=Path(out).name) as staged:
            save_rejected(catalog.rejected, staged / "rejected.csv", describe_rejected)
            save_catalog(catalog, Path(out), staged)
    elif rejected is not None and (at_once or not catalog.records):
        save_rejected(catalog.rejected, rejected, describe_rejected)
    reporter: object = progress
    if isinstance(reporter, ScanReporter):
        reporter.on_scan(Path(path), catalog, rejected)
    check_usable(catalog, Path(path))
    return catalog


def trace_sources(
    catalog: Catalog,
    out: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    progress: Progress = silent,
) -> SourceFindings:
    """Find duplicates in the pixels, and write table, links, summary and page if `out` is given.

    The table is the catalog with a source in every row: a split by `grouped` then keeps
    duplicates together. Beside it lie `<stem>.links.csv`, `<stem>.json` and `<stem>.html`, the
    evidence for a person to review. Without `cache`, the file of `find_default_cache` is used; one
    that cannot be written is done without, as `uncached` says.

    Raises what `find_sources` raises.
    """
    from leukoscope.sources.cache import find_default_cache, is_writable

    place = Path(cache) if cache else find_default_cache()
    # A cache that somebody names is wanted; the default one only saves time.
    is_lost = cache is None and not is_writable(place)
    found = find_sources(catalog, cache=None if is_lost else place, on_progress=progress)
    if is_lost:
        found = replace(found, uncached=place)
    if out is not None:
        save_findings(found, Path(out), progress)
    return found


def check_nothing_rejected(catalog: Catalog) -> None:
    """Raise `CatalogError` if any file was rejected (the option `--strict`)."""
    if catalog.rejected:
        first = "; ".join(f"{r.path} ({r.code})" for r in catalog.rejected[:3])
        raise CatalogError(
            "with --strict every file must be usable",
            f"{len(catalog.rejected):,} rejected, first: {first}",
            "repair or remove them, or scan without --strict",
        )


def save_findings(found: SourceFindings, path: Path, progress: Progress) -> None:
    """Write table, links, summary and page of what was found, side by side; all or none."""
    from leukoscope.report.frame import render_html
    from leukoscope.report.pairs import draw_views
    from leukoscope.report.source_page import describe_sources
    from leukoscope.sources.review import review_sources

    progress("Writing the page", 0, 1)
    check_sources_path(path)
    review = review_sources(found)
    page = describe_sources(review, draw_views(review))
    with replacing_together(path.parent, last=path.name) as staged:
        save_sources(found, path, staged)
        write_text(staged / f"{path.stem}.html", render_html(page))
    progress("Writing the page", 1, 1)


def split_catalog(
    catalog: Catalog,
    protocol: Protocol | Literal["auto"] = "auto",
    out: str | Path | None = None,
    *,
    seed: int = 42,
    progress: Progress = silent,
) -> Split:
    """Give every image a role, and write split and audit if `out` is given.

    `auto` takes `given` where the data itself names a test part, else `grouped`. What is written
    has been through `compare_pixels`.
    """
    if protocol == "kfold":
        raise SplitError(
            "one split is asked for", "protocol kfold, which makes several", "use `split_kfold`"
        )
    if protocol == "auto":
        named = {record.split for record in catalog.records}
        protocol = "given" if "test" in named and "" not in named else "grouped"
    split = build_split(catalog, protocol, seed=seed)
    if out is not None:
        split = compare_pixels(split, progress=progress)
        save_split(split, Path(out))
    return split


def compare_pixels(
    split: Split, *, cache: str | Path | None = None, progress: Progress = silent
) -> Split:
    """Return the split with what comparing a sample of its test images with training found.

    Names of sources are what somebody typed; a copy under another name is seen in the pixels. It is
    returned as it is where that was done before, where sources were found in the pixels, and where
    it cannot be done (images out of reach, the extra `sources` missing): the audit says so.
    """
    from leukoscope.sources.cache import find_default_cache
    from leukoscope.sources.comparison import compare_roles

    if split.check is not None or find_source_kind(split.catalog) == "pixels":
        return split

    def compare(place: Path | None) -> Split:
        found = compare_roles(split, cache=place, on_progress=progress)
        return replace(split, check=found)

    try:
        try:
            return compare(Path(cache) if cache else find_default_cache())
        except StorageError:
            return compare(None)  # a cache only saves time
    except (ImageError, MissingExtraError):
        return split


def split_kfold(
    catalog: Catalog,
    out: str | Path | None = None,
    *,
    folds: int = 5,
    seed: int = 42,
    progress: Progress = silent,
) -> tuple[Split, ...]:
    """Make one split per fold, and write them as `<stem>.fold0.csv` ... if `out` is given; all or
    none. What is written has been through `compare_pixels`."""
    splits = build_kfold(catalog, folds, seed=seed)
    if out is not None:
        splits = tuple(compare_pixels(split, progress=progress) for split in splits)
        paths = list_folds(Path(out), folds)
        with replacing_together(Path(out).parent, last=paths[-1].name) as staged:
            for split, path in zip(splits, paths, strict=True):
                save_split(split, path, staged)
    return splits


def load_split_or_images(
    path: str | Path,
    *,
    seed: int = 42,
    class_level: int | None = None,
    rejected: Path | None = None,
    progress: Progress = silent,
) -> Split:
    """Return the split in a CSV; or scan and split a folder, a catalog or any other table.
    `class_level` and `rejected` are those of `scan_images`; the list is written only when no image
    is left."""
    catalog, split = _open_images(Path(path), progress, class_level, rejected)
    return split or split_catalog(catalog, seed=seed)


def load_table(path: Path) -> Split | Catalog | None:
    """Load what a CSV of our own holds, by its header; None for anything else."""
    columns = set(read_header(path))
    if {"id", "sha256", "role"} <= columns:
        return load_split(path)
    return load_catalog(path) if {"id", "sha256"} <= columns else None


def used_rows(split: Split) -> tuple[list[ImageRecord], "NDArray[np.str_]"]:
    """The records that have a role, and their roles; rows left aside drop out."""
    import numpy as np

    used = [(r, role) for r, role in zip(split.catalog.records, split.roles, strict=True) if role]
    return [record for record, _ in used], np.array([role for _, role in used])


def name_data(split: Split) -> str:
    """Name a data set by the folder that its images share."""
    common = Path(os.path.commonpath([record.path.parent for record in split.catalog.records]))
    named = [part for part in common.parts if part.casefold() not in WRAPPER_NAMES]
    return named[-1] if len(named) > 1 else "images"


# -- audit ----------------------------------------------------------------------------------------


def audit_data(
    data: str | Path,
    *,
    split: str | Path | None = None,
    against: str | Path | None = None,
    html: str | Path | None = None,
    cache: str | Path | None = None,
    class_level: int | None = None,
    progress: Progress = silent,
) -> "DataAudit":
    """Audit a catalog, a table with sources, a split, a folder or any other table.

    Roles are those of `split`, else the data's own if it is a split. Sources that are not known, or
    name every file by itself, are found in the pixels first; where the data name sources, a sample
    of the test images is compared with training (`compare_pixels`). `against` is other data of any
    of these kinds: both are then searched together for what they share. With `html` the page is
    written too. `cache` is that of `trace_sources`, `class_level` that of `scan_images` for either.

    Raises `SplitError` where split and data hold different images, and what `trace_sources` does.
    """
    from leukoscope.data.audit import audit_against, audit_catalog, join_catalogs, join_roles

    if html is not None:
        require_report_extra()
    catalog, roles = _open_images(Path(data), progress, class_level)
    if split is not None:
        roles = load_split(Path(split))
    # What is wrong with the tables is reported before minutes of work.
    if roles is not None:
        join_roles(roles, catalog)
    rejected = _load_rejected(Path(data), catalog)
    theirs = None
    if against is not None:
        theirs = _open_images(Path(against), progress, class_level)[0]
    if not sources_known(catalog):
        catalog = trace_sources(catalog, cache=cache, progress=progress).catalog
    elif roles is not None:
        roles = compare_pixels(roles, cache=cache, progress=progress)
    shared = None
    if theirs is not None:
        union = trace_sources(join_catalogs(catalog, theirs), cache=cache, progress=progress)
        shared = audit_against(union.catalog, name=str(data), other=str(against))
    audit = audit_catalog(catalog, split=roles, rejected=rejected, against=shared, name=str(data))
    if html is not None:
        from leukoscope.report.audit_page import describe_audit, list_examples
        from leukoscope.report.frame import render_html
        from leukoscope.report.thumbnails import draw_examples

        progress("Writing the page", 0, 1)
        page = describe_audit(audit, draw_examples(list_examples(audit)))
        write_text(Path(html), render_html(page))
        progress("Writing the page", 1, 1)
    return audit


def _open_images(
    path: Path,
    progress: Progress,
    class_level: int | None = None,
    rejected: Path | None = None,
) -> tuple[Catalog, Split | None]:
    """The catalog of a table, split or folder, and the split if it is one."""
    table = load_table(path)
    if isinstance(table, Split):
        return table.catalog, table
    found = table or scan_images(
        path, class_level=class_level, rejected=rejected, at_once=False, progress=progress
    )
    return found, None


def _load_rejected(table: Path, catalog: Catalog) -> tuple[Rejected, ...]:
    """What the scan of these images rejected, as far as the file beside the table says.

    Another scan into the same folder may have written that file: what lies in other folders, or
    in the catalog as a whole image, does not count.
    """
    path = table.with_name("rejected.csv")
    if not (table.is_file() and path.is_file()):
        return ()
    folder = os.path.commonpath([record.path.parent for record in catalog.records])
    used = {str(record.path) for record in catalog.records if record.box is None}
    return tuple(
        entry
        for entry in load_rejected(path)
        if Path(entry.path).is_relative_to(folder) and entry.path not in used
    )
