"""What was found in smear fields, for the terminal.

What this file does not do: it finds nothing, and words no single cell.
"""

from collections.abc import Sequence
from pathlib import Path

from leukoscope.data.readers import Rejected
from leukoscope.report.data_words import describe_passed_over
from leukoscope.report.page import Banner, Block, Page, Text
from leukoscope.smear.record import FieldRecord
from leukoscope.text import format_count


def describe_cells(
    fields: Sequence[FieldRecord],
    passed_over: tuple[Rejected, ...],
    out: Path,
    seconds: float,
    *,
    include_edge: bool = False,
) -> Page:
    """Return how many cells were found in how many fields, and which fields a reader should look
    at."""
    read = [one for one in fields if not one.reason]
    n_edge = sum(len(one.cells) - len(one.counted) for one in read)
    n_counted = sum(len(one.cells if include_edge else one.counted) for one in read)
    rate = len(fields) / max(seconds, 1e-9)
    edge = ""
    if n_edge:
        verb = "count, too" if include_edge else "not counted"
        edge = f" {n_edge:,} {'is' if n_edge == 1 else 'are'} cut by the edge ({verb})."
    lead: list[Block] = [
        Text(
            f"{format_count(n_counted, 'white cell')} in {format_count(len(read), 'field')}, in"
            f" {seconds:.1f} s ({rate:,.1f} fields per second).{edge}"
        )
    ]
    n_empty = sum("no_white_cells" in one.codes for one in read)
    n_unscaled = sum("scale_uncertain" in one.codes for one in read)
    if n_empty:
        lead.append(Text(f"{format_count(n_empty, 'field')} without a white cell."))
    if n_unscaled:
        text = (
            f"{format_count(n_unscaled, 'field')} with too few red cells to tell the scale by;"
            " sizes and crops may be off there. Give the scale of the camera by --scale, in pixels"
            " per micrometre."
        )
        lead.append(Banner("caution", "", (Text(text),)))
    if len(read) < len(fields):
        lead.append(
            Text(f"{len(fields) - len(read):,} could not be read: see fields.csv, column `error`.")
        )
    if passed_over:
        lead.append(Text(describe_passed_over(passed_over)))
    trailer = (f"Cells: {out / 'cells.csv'}", f"Fields: {out / 'fields.csv'}")
    return Page("White cells", tuple(lead), trailer=trailer)
