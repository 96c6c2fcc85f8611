"""What the steps from images to a split say: catalog, split, folds, painted cells.

What this file does not do: it counts nothing that its records do not hold, and writes no file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from leukoscope.data.catalog import Catalog
from leukoscope.data.findings import Severity
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import ROLES, Split, SplitAudit, list_folds
from leukoscope.labels import display_label
from leukoscope.report.data_words import (
    REJECT_TITLES,
    describe_finding,
    describe_located,
    describe_reading,
    describe_reading_remarks,
)
from leukoscope.report.page import (
    Banner,
    Block,
    Box,
    Column,
    Level,
    Page,
    Section,
    Statement,
    Table,
    Text,
    build_table,
)
from leukoscope.scores import LeakageStatus
from leukoscope.text import format_count

SEVERITY_LEVELS: dict[Severity, Level | None] = {"error": "bad", "warning": "caution", "note": None}


def describe_squares(counts: Mapping[str, int], out: Path) -> Page:
    """Describe around what the squares of located images lie."""
    images = format_count(sum(counts.values()), "image")
    lead = (Statement(f"{images} located."), Text(f"{describe_located(counts)}.".capitalize()))
    following = (f"Catalog: {out}", f"Next: leukoscope data split {out}, train --cells located")
    return Page("Located cells", lead, trailer=following)


def describe_catalog(catalog: Catalog, out: Path) -> Page:
    """Describe images per class, and what was rejected."""
    counts = Counter(record.label for record in catalog.records)
    images = format_count(len(catalog), "image")
    rows = [(display_label(label), f"{counts[label]:,}") for label in catalog.classes]
    title = f"{images} in {format_count(len(counts), 'class')}"
    blocks: list[Block] = [Statement(f"{title}."), build_table(("Class", "Images"), rows)]
    copies = len(catalog) - len({(r.content, r.box) for r in catalog.records})
    if copies:
        found = format_count(copies, "image is an exact duplicate", "images are exact duplicates")
        blocks.append(Text(f"{found} of another one; splits keep them together."))
    if catalog.reading is not None:
        blocks.append(Text(describe_reading(catalog.reading)))
        blocks += map(Text, describe_reading_remarks(catalog.reading))
    rejected = Counter(entry.code for entry in catalog.rejected)
    first = {entry.code: entry for entry in reversed(catalog.rejected)}
    table = build_table(
        ("Rejected because", "Files", Column("For example", is_text=True)),
        [
            (REJECT_TITLES[code], f"{n:,}", _name_entry(first[code]))
            for code, n in sorted(rejected.items())
        ],
    )
    n = len(catalog.rejected)
    blocks.append(
        Text(f"{format_count(n, 'file was', 'files were') if n else 'No file was'} rejected.")
    )
    trailer = [f"Catalog: {out}"]
    if rejected:
        blocks.append(table)
        trailer.append(f"Rejected: {out.with_name('rejected.csv')}")
    return Page("Catalog", tuple(blocks), trailer=tuple(trailer))


def describe_scan(path: Path, catalog: Catalog, rejected: Path | None) -> tuple[str, ...]:
    """Return in a few lines what was read at a path, as what, and what was left out."""
    classes = format_count(len(catalog.classes), "class")
    lines = [f"Read {path}: {format_count(len(catalog), 'image')} in {classes}."]
    if catalog.reading is not None:
        lines.append(describe_reading(catalog.reading))
        lines += describe_reading_remarks(catalog.reading)
    if catalog.rejected:
        counts = Counter(entry.code for entry in catalog.rejected)
        reasons = [f"{REJECT_TITLES[code]} ({n:,})" for code, n in counts.most_common()]
        files = format_count(len(catalog.rejected), "file was", "files were")
        place = f"; listed in {rejected}" if rejected else ""
        lines.append(f"{files} left out{place}: {', '.join(reasons)}.")
    return tuple(lines)


def _name_entry(entry: Rejected) -> str:
    row = f"row {entry.row}: " if entry.row else ""
    return row + "/".join(Path(entry.path).parts[-2:])


def describe_painted(table: Path) -> Page:
    """Describe where painted cells lie and what to do with them."""
    return Page(
        "Painted cells",
        (),
        trailer=(f"Painted cells: {table}", f"Next: leukoscope data scan {table}"),
    )


_LEAKAGE_BANNERS: dict[LeakageStatus, tuple[Level, str]] = {
    "leaking": ("bad", "Leaking: test and training share sources"),
    "suspect": ("bad", "Suspect: there are signs that test and training share pictures"),
    "unproven": ("caution", "Unproven: nothing shared was found, but the sources are not known"),
    "images_disjoint": (
        "caution",
        "Images disjoint: no picture crosses roles, but cells of one person may",
    ),
    "disjoint": ("good", "Disjoint: no source crosses roles"),
}


def describe_split(audit: SplitAudit, trailer: tuple[str, ...] = ()) -> Page:
    """Describe what a reader must know of a split."""
    level, title = _LEAKAGE_BANNERS[audit.leakage_status]
    if audit.leakage_status == "leaking" and not audit.shared:
        title = "Leaking: test images show pictures of training, whatever their sources are called"
    if audit.shared and not audit.test_with_copy_in_training:
        title = "Leaking: sources lie in two roles"
    boxes = []
    for found in audit.findings:
        words = describe_finding(found)
        head = f"{found.severity.capitalize()}: {words.title}"
        boxes.append(Box((Text(words.text),), head, level=SEVERITY_LEVELS[found.severity]))
    sections = [Section("Images by class and role", (Box((tabulate_roles(audit),)),), brief=True)]
    if boxes:
        sections.append(Section("What was found", tuple(boxes), brief=True))
    return Page("Split", (Banner(level, title),), tuple(sections), trailer)


def tabulate_roles(audit: SplitAudit) -> Table:
    """Return images by class and role, with all of them and the sources below."""
    roles = [role for role in ROLES if audit.counts[role]]
    labels = sorted({label for role in roles for label in audit.counts[role]})
    rows = [
        (display_label(label), *(f"{audit.counts[role].get(label, 0):,}" for role in roles))
        for label in labels
    ]
    rows.append(("All", *(f"{sum(audit.counts[role].values()):,}" for role in roles)))
    rows.append(("Sources", *(f"{audit.n_sources[role]:,}" for role in roles)))
    return build_table(("Class", *roles), rows, f"Split by protocol {audit.protocol}")


def describe_folds(splits: Sequence[Split], out: Path) -> Page:
    """Describe each fold's size and where the files lie."""
    rows = [
        (str(k), f"{split.roles.count('test'):,}", str(path))
        for k, (split, path) in enumerate(zip(splits, list_folds(out, len(splits)), strict=True))
    ]
    names = ("Fold", "Test images", Column("File", is_text=True))
    return Page("Folds", (build_table(names, rows, "Split by protocol kfold"),))
