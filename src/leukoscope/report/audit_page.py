"""The page of an audit: the result, what was found with pairs to compare by eye, and the counts.

What this file does not do: it finds nothing and decides nothing (`data.audit`), and it reads no
image (`thumbnails`).
"""

from collections.abc import Mapping

from leukoscope.data.audit import FEW_SOURCES, AuditResult, DataAudit, SourceBasis
from leukoscope.data.findings import Example, ExampleImage, Finding
from leukoscope.data.splits import SplitAudit
from leukoscope.labels import display_label
from leukoscope.report.data_pages import SEVERITY_LEVELS, tabulate_roles
from leukoscope.report.data_words import (
    RELATION_NAMES,
    RESULT_TITLES,
    describe_finding,
    describe_summary,
)
from leukoscope.report.glossary import build_terms
from leukoscope.report.page import (
    Banner,
    Block,
    Box,
    Cell,
    Column,
    Gallery,
    Level,
    Page,
    Picture,
    Section,
    Text,
    Tile,
    build_table,
)
from leukoscope.text import format_count

MAX_PAIRS = 12
"""Pairs on a page at most. Errors share them evenly, the other findings what is left."""

_PAIR_PX = 291

_LEVELS: dict[AuditResult, Level] = {
    "leaking": "bad",
    "shared": "bad",
    "conflicts": "bad",
    "warnings": "caution",
    "clean": "good",
}

_BASES: dict[SourceBasis, str] = {
    "pixels": "Sources were found in the pixels: images that show the same picture share one.",
    "table": "Sources are those that the table names; the pixels were not compared.",
    "both": "Sources are those that the table names, and were found in the pixels where it names"
    " none.",
    "unknown": "For some images nobody has looked for sources: only identical pictures count"
    " there.",
}


def describe_audit(
    audit: DataAudit, pictures: Mapping[ExampleImage, Picture], trailer: tuple[str, ...] = ()
) -> Page:
    """Describe an audit. `pictures` are those of `list_examples`; pairs without them are named."""
    sections = [
        _describe_findings(audit, pictures),
        _describe_relations(audit),
        _describe_shared(audit.split),
        _describe_classes(audit),
    ]
    if audit.split is not None:
        table = tabulate_roles(audit.split)
        sections.append((Section("Images by class and role", (Box((table,)),), brief=True),))
    sections += [
        _describe_repetition(audit),
        (build_terms("source", "role", "relation", "effective_sources", "leak"),),
    ]
    images = format_count(audit.n_images, "image")
    sources = format_count(audit.n_sources, "source")
    return Page(
        f"Audit of {audit.name}",
        (
            Banner(
                _LEVELS[audit.result], RESULT_TITLES[audit.result], (Text(describe_summary(audit)),)
            ),
            Text(f"{images}, {sources}. {_BASES[audit.sources_from]}", muted=True),
        ),
        tuple(section for group in sections for section in group),
        trailer,
    )


def list_examples(audit: DataAudit) -> list[ExampleImage]:
    """Return the images that the page shows."""
    return [
        image
        for shown in _choose_examples(audit.findings)
        for example in shown
        for image in (example.first, example.second)
    ]


def _choose_examples(findings: tuple[Finding, ...]) -> list[tuple[Example, ...]]:
    """The pairs that are shown of each finding."""
    shown = [0] * len(findings)
    # By turns, so that no finding takes all the room; errors before the rest.
    turns = sorted(
        (finding.severity != "error", turn, row)
        for row, finding in enumerate(findings)
        for turn in range(len(finding.examples))
    )
    for _, _, row in turns[:MAX_PAIRS]:
        shown[row] += 1
    return [found.examples[:n] for found, n in zip(findings, shown, strict=True)]


def _describe_findings(
    audit: DataAudit, pictures: Mapping[ExampleImage, Picture]
) -> tuple[Section, ...]:
    boxes = []
    for found, shown in zip(audit.findings, _choose_examples(audit.findings), strict=True):
        words = describe_finding(found, audit.shared)
        blocks: list[Block] = [Text(words.text)]
        if shown:
            blocks.append(Gallery(tuple(_build_pair(e, pictures) for e in shown), _PAIR_PX))
            hidden = len(found.examples) - len(shown)
            if hidden:
                more = format_count(hidden, "further example")
                blocks.append(Text(f"{more} in the JSON.", muted=True))
        level = SEVERITY_LEVELS[found.severity]
        title = f"{found.severity.capitalize()}: {words.title}"
        boxes.append(Box(tuple(blocks), title, level=level))
    return (Section("What was found", tuple(boxes), brief=True),) if boxes else ()


def _build_pair(example: Example, pictures: Mapping[ExampleImage, Picture]) -> Tile:
    images = (example.first, example.second)
    lines = []
    for image in images:
        about = ", ".join(filter(None, (display_label(image.label), image.role)))
        lines.append(f"{image.id} ({about})")
    return Tile(
        tuple(pictures[image] for image in images if image in pictures),
        RELATION_NAMES[example.relation],
        tuple(lines),
    )


def _describe_relations(audit: DataAudit) -> tuple[Section, ...]:
    counted = []
    if audit.leak is not None:
        counted.append(("Test images related to training", audit.leak))
    if audit.shared is not None:
        name, other = audit.shared.name, audit.shared.other
        counted.append((f"Images of {other} related to {name}", audit.shared.theirs))
        counted.append((f"Images of {name} related to {other}", audit.shared.ours))
    if not counted:
        return ()
    table = build_table(
        ("Which images", "Images", "Exact duplicates", "Same source", "Same field only", "None"),
        (
            (what, *(f"{n:,}" for n in (c.n_images, c.exact, c.source, c.field, c.n_unrelated)))
            for what, c in counted
        ),
        "Each image is counted once, under its closest relation to any image of the other side",
    )
    return (Section("How closely they are related", (Box((table,)),)),)


def _describe_shared(audit: SplitAudit | None) -> tuple[Section, ...]:
    if audit is None or not audit.shared:
        return ()
    table = build_table(
        ("Roles", "Sources in both", "Identical pictures", Column("For example", is_text=True)),
        (
            (
                " and ".join(entry.roles),
                f"{entry.n_sources:,}",
                f"{entry.n_identical_files:,}",
                ", ".join(entry.examples),
            )
            for entry in audit.shared
        ),
    )
    return (Section("Sources in two roles", (Box((table,)),)),)


def _describe_classes(audit: DataAudit) -> tuple[Section, ...]:
    rows = []
    for c in audit.classes:
        few = c.n_sources < FEW_SOURCES and audit.sources_from != "unknown"
        sources = Cell(f"{c.n_sources:,}{' (few)' * few}", mark="low" if few else "")
        shown = (f"{c.effective:,.1f}", f"{c.median:g}", f"{c.largest:,}")
        rows.append((display_label(c.label), f"{c.n_images:,}", sources, *shown))
    names = ("Class", "Images", "Sources", "Effective sources", "Median per source", "Largest")
    text = f"Duplicates are no further evidence. Fewer than {FEW_SOURCES} sources are marked."
    table = Box((build_table(names, rows),))
    return (Section("How much evidence each class has", (Text(text), table), brief=True),)


def _describe_repetition(audit: DataAudit) -> tuple[Section, ...]:
    r = audit.repetition
    table = build_table(
        ("What they have in common", "Groups", "Images"),
        (
            ("Exact duplicates", f"{r.exact_groups:,}", f"{r.exact_images:,}"),
            ("Same source", f"{r.source_groups:,}", f"{r.source_images:,}"),
            ("Same microscope field", f"{r.field_groups:,}", f"{r.field_images:,}"),
        ),
        f"Groups of two or more images within {audit.name}",
    )
    return (Section("Repetition", (Box((table,)),)),)
