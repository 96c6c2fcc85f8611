"""The pages of differentials: one for each sample, and one that leads to those of several.

The first screen says the differential, what of it lies beyond its reference interval, and what is
to be looked at. What this file does not do: it computes nothing, draws nothing
(`differential_figures`), and words little (`differential_words`).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report import differential_words as words
from leukoscope.report.decision_words import REASON_NAMES
from leukoscope.report.differential_figures import (
    MOST_CELLS,
    MOST_FIELDS,
    DrawnDifferential,
    group_cells,
)
from leukoscope.report.note_words import describe_note
from leukoscope.report.page import (
    Banner,
    Block,
    Box,
    Bullets,
    Cell,
    Column,
    Details,
    Figure,
    Gallery,
    Page,
    Row,
    Section,
    Statement,
    Table,
    Text,
    Tile,
    build_provenance,
    build_table,
)
from leukoscope.smear.differential import SUMS, ClassShare, CountedCell, DifferentialRecord
from leukoscope.text import (
    DASH,
    format_count,
    format_number,
    format_percent,
    join_bounds,
    join_words,
)

_SHOWN_ERRORS = 20


def describe_differential(
    record: DifferentialRecord,
    cells: Sequence[CountedCell],
    drawn: DrawnDifferential | None = None,
    trailer: tuple[str, ...] = (),
) -> Page:
    """Describe the differential of one sample; without `drawn` there are no pictures, as on a
    terminal."""
    sections = (
        *_describe_fields(drawn),
        *_describe_cells(cells, drawn),
        _describe_precision(record),
        *_describe_errors(cells),
        Section("Methods", (Box((Bullets(tuple(words.list_methods(record))),)),)),
        *_describe_provenance(record),
    )
    lead = _describe_lead(record, drawn)
    return Page(f"Differential of {record.sample}", lead, sections, trailer)


def describe_samples(records: Sequence[DifferentialRecord], pages: Sequence[str]) -> Page:
    """Describe several samples on one page, with a link to the page of each (none for the terminal:
    give no `pages`)."""
    labels = list(
        dict.fromkeys(one.label for record in records for one in words.list_top_shares(record))
    )
    rows = []
    for record in records:
        row: list[str | Cell] = [Cell(record.sample, record.remark), f"{record.totals.counted:,}"]
        for label in labels:
            share = record.get_share(label)
            row.append(DASH if share is None else _share(share.best))
        n_notes = len(words.list_flags(record)) + len(record.notes)
        row.append(Cell(f"{n_notes}" if n_notes else "none"))
        rows.append(row)
    columns: list[str | Column] = [
        Column("Sample", is_text=True),
        "White cells",
        *map(display_label, labels),
        "To look at",
    ]
    blocks: list[Block] = [
        Statement(format_count(len(records), "sample")),
        Box((build_table(columns, rows, "Shares with 95 % intervals.", dense=True, matrix=True),)),
    ]
    if pages:
        names = tuple(record.sample for record in records)
        blocks.append(Box((Bullets(names, links=tuple(pages)),), "Reports"))
    sections = _describe_provenance(records[0]) if records else ()
    return Page("Differentials", tuple(blocks), sections)


def describe_counted(
    records: Sequence[DifferentialRecord], out: Path, pages: Sequence[Path], index: Path | None
) -> Page:
    """Describe what a command counted, for the terminal: one sample in full, several in a table."""
    tables = f"Tables: {out / 'differential.csv'}, {out / 'cells.csv'}"
    report = index or pages[0]
    trailer = (f"Report: {report}", tables)
    if index is not None:
        return replace(describe_samples(records, ()), sections=(), trailer=trailer)
    return replace(describe_differential(records[0], ()), sections=(), trailer=trailer)


# -- first screen ---------------------------------------------------------------------------------


def _describe_lead(
    record: DifferentialRecord, drawn: DrawnDifferential | None
) -> tuple[Block, ...]:
    flags = [*map(describe_note, record.notes), *words.list_flags(record)]
    shift = words.describe_left_shift(record)
    if record.left_shift in ("perhaps", "present"):
        flags.append(shift)
    answer: list[Block] = [
        Statement(words.describe_answer(record)),
        Text(words.describe_basis(record)),
    ]
    if record.remark:
        answer.append(Text(record.remark, muted=True))
    if flags:
        answer.append(Bullets(tuple(flags)))
    blocks: list[Block] = [Banner(words.get_level(record), "", tuple(answer))]
    if record.totals.counted:
        figure = (Figure(drawn.bars),) if drawn is not None else ()
        blocks.append(Box((_tabulate(record), *figure, _describe_legend(record))))
    blocks.append(_describe_totals(record, shift))
    blocks.append(
        Banner("caution", "Limitations", (Bullets(tuple(words.list_limitations(record))),))
    )
    return tuple(blocks)


def _describe_legend(record: DifferentialRecord) -> Text:
    parts = ["Below each figure stands its 95 % interval."]
    if any(one.limits for one in (*record.sums, *record.classes)):
        parts.append(words.RELATION_LEGEND)
    return Text(" ".join(parts), muted=True)


def _share(one: Interval) -> Cell:
    """A share in per cent, its limits below it."""
    if math.isnan(one.value):
        return Cell(DASH)
    return Cell(format_percent(one.value), join_bounds(100 * one.low, 100 * one.high, 1))


def _tabulate(record: DifferentialRecord) -> Table:
    has_correction = any(not math.isnan(one.corrected.value) for one in record.classes)
    has_absolute = not math.isnan(record.white_count)
    shares = (*record.sums, *record.classes)
    has_limits = any(one.limits is not None for one in shares)
    names: list[str | Column] = ["White cells", "Cells"]
    names += ["Share, corrected", "Share, raw"] if has_correction else ["Share, raw"]
    names += ["10⁹/L"] if has_absolute else []
    names += ["Reference", ""] if has_limits else []
    rows = []
    for one, is_part in _order_rows(record):
        row: list[str | Cell] = [_name(one, is_part), _count(one)]
        row += [_share(one.corrected)] if has_correction else []
        row.append(_share(one.raw))
        if has_absolute:
            bounds = join_bounds(one.absolute.low, one.absolute.high, 2)
            row.append(Cell(format_number(one.absolute.value, 2), bounds))
        if has_limits:
            row.append(words.format_limits(one.limits))
            text, mark = words.RELATION_WORDS[one.relation], words.RELATION_MARKS[one.relation]
            row.append(Cell(text, mark=mark) if text else "")
        rows.append(row)
    return build_table(names, rows, dense=True)


def _order_rows(record: DifferentialRecord) -> list[tuple[ClassShare, bool]]:
    """Sums, each followed by its parts, then the other classes."""
    found: list[tuple[ClassShare, bool]] = []
    for top in words.list_top_shares(record):
        found.append((top, False))
        if top in record.sums:
            parts = [one for one in record.classes if one.label in SUMS[top.label]]
            found += [(one, True) for one in words.sort_shares(parts)]
    return found


def _name(one: ClassShare, is_part: bool) -> Cell:
    text = display_label(one.label)
    tag = "critical" if is_critical(one.label) else ""
    return Cell(f"– of these {text[0].lower()}{text[1:]}" if is_part else text, tag=tag)


def _count(one: ClassShare) -> Cell:
    return Cell(f"{one.count:,}", f"{one.n_review:,} in review" if one.n_review else "")


def _describe_totals(record: DifferentialRecord, shift: str) -> Row:
    t = record.totals
    outside = [
        f"{display_label(one.label)}: {one.count:,}"
        + (f", {format_number(one.per_100_white.value, 1)} per 100 white cells"
           f" ({join_bounds(one.per_100_white.low, one.per_100_white.high, 1)})"
           if one.per_100_white.value == one.per_100_white.value else "")
        for one in record.others
    ]  # fmt: skip
    outside.append(f"Unidentified (unlike any cell in training): {t.unidentified:,}")
    looked = [
        f"{format_count(t.files, 'image')}, {t.unreadable:,} unreadable",
        f"{format_count(t.found, 'cell')} looked at, {t.in_review:,} in review",
    ]
    if t.edge or t.duplicates:
        looked.append(f"{format_count(t.edge, 'cell')} cut by the edge of a field, not counted")
        again = format_count(t.duplicates, "cell")
        looked.append(f"{again} seen again in an overlapping field, counted once")
    boxes = [
        Box((Bullets(tuple(outside)),), "Outside of the 100 %"),
        Box((Bullets(tuple(looked)),), "Counted"),
    ]
    lines = [] if record.left_shift in ("perhaps", "present") else [shift]
    white_count = words.describe_white_count(record)
    lines += [white_count] if white_count else []
    if lines:
        boxes.append(Box(tuple(map(Text, lines)), "White count and left shift"))
    return Row(tuple(boxes))


# -- pictures -------------------------------------------------------------------------------------


def _describe_fields(drawn: DrawnDifferential | None) -> tuple[Section, ...]:
    if drawn is None or not drawn.fields:
        return ()
    legend = (
        "Each box bears the number of its cell in the field and the label; a question mark means"
        " that a person should look. Thin grey boxes are not counted."
    )
    if drawn.n_left_out:
        legend += f" The first {MOST_FIELDS} fields with cells; {drawn.n_left_out:,} more are not"
        legend += " shown."
    blocks: list[Block] = [Text(legend, muted=True)]
    for name, picture in drawn.fields.items():
        blocks.append(Box((Figure(picture),), name))
    return (Section("Fields", tuple(blocks)),)


def _describe_cells(
    cells: Sequence[CountedCell], drawn: DrawnDifferential | None
) -> tuple[Section, ...]:
    if drawn is None or not drawn.cells:
        return ()
    groups = group_cells(cells)
    totals: dict[str, int] = {}
    for cell in cells:
        if cell.is_counted or cell.decision == "unknown":
            key = cell.label if cell.is_counted else ""
            totals[key] = totals.get(key, 0) + 1
    order = sorted(groups, key=lambda one: (one == "", not is_critical(one), -totals[one]))
    blocks: list[Block] = [
        Text(f"Least certain first, at most {MOST_CELLS} of each class.", muted=True)
    ]
    for label in order:
        tiles = tuple(
            Tile(
                (drawn.cells[cell.image, cell.number],),
                format_percent(cell.confidence),
                tuple(_list_lines(cell)),
                "review" if cell.decision == "review" else "",
            )
            for cell in groups[label]
        )
        title = display_label(label) if label else "Unidentified"
        tag = "critical" if label and is_critical(label) else ""
        blocks.append(Box((Gallery(tiles, 112),), f"{title}: {totals[label]:,}", tag))
    return (Section("Cells", tuple(blocks)),)


def _list_lines(cell: CountedCell) -> list[str]:
    """Where the cell lies, and in short why a person should look."""
    place = f"{cell.image} #{cell.number}" if cell.number else cell.image
    others = [display_label(one).lower() for one in cell.labels if one != cell.label]
    codes = dict.fromkeys(reason.code for reason in cell.reasons)
    reasons = [REASON_NAMES[code] for code in codes if code != "several_labels"]
    doubts = [*([f"or {join_words(others)}"] if others else []), *reasons]
    return [place, *([", ".join(doubts)] if doubts else [])]


# -- details --------------------------------------------------------------------------------------


def _describe_precision(record: DifferentialRecord) -> Section:
    rows = [
        (display_label(one.label), words.format_interval(one.best), words.format_more(one))
        for one in words.list_top_shares(record)
    ]
    points = f"±{100 * record.provenance.precision:g} points"
    table = build_table(["", "Share", f"White cells until {points}"], rows)
    return Section("How many more cells", (Box((table,)),))


def _describe_errors(cells: Sequence[CountedCell]) -> tuple[Section, ...]:
    broken = [cell for cell in cells if cell.error]
    if not broken:
        return ()
    items = [f"{cell.image}: {cell.error}" for cell in broken[:_SHOWN_ERRORS]]
    if len(broken) > _SHOWN_ERRORS:
        items.append(f"{len(broken) - _SHOWN_ERRORS:,} more in cells.csv")
    summary = f"{format_count(len(broken), 'image')} could not be read"
    return (Section("Unreadable images", (Box((Details(summary, (Bullets(tuple(items)),)),)),)),)


def _describe_provenance(record: DifferentialRecord) -> tuple[Section, ...]:
    return build_provenance(
        {
            "leukoscope": record.provenance.leukoscope,
            "Bundle": record.provenance.bundle,
            "SHA-256 of its bundle.json": record.provenance.bundle_sha256,
            "SHA-256 of the weights": record.provenance.weights_sha256,
            "Variant": record.provenance.variant,
        }
    )
