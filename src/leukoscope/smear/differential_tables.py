"""Tables of differentials: CSV that a spreadsheet may open.

`differential.csv` has a row for each class of each sample, those outside of the 100 % too;
`cells.csv` one for each cell, and for each file that could not be read. Shares are 0 to 1. What
this file does not do: it counts nothing and writes no file.
"""

import io
import json
import math
from collections.abc import Iterable, Sequence

from leukoscope.data.spreadsheet import build_writer, mark_unicode, neutralise
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.smear.differential import CountedCell, DifferentialRecord

CLASS_COLUMNS = (
    *("sample", "label", "group", "count", "in_review"),
    *("raw", "raw_low", "raw_high", "corrected", "corrected_low", "corrected_high"),
    *("absolute_per_nl", "absolute_low", "absolute_high", "per_100_white"),
    *("per_100_white_low", "per_100_white_high", "n_more"),
    *("limit_lower", "limit_upper", "limit_unit", "relation"),
)
CELL_COLUMNS = (
    *("sample", "image", "number", "x_min", "y_min", "x_max", "y_max", "score", "edge"),
    *("duplicate_of", "whole_frac", "label", "confidence", "decision", "reason_codes", "set"),
    *("counted", "error"),
)


def render_classes(records: Iterable[DifferentialRecord]) -> str:
    """Return the table of classes; sums of classes are of the group `sum`."""
    rows = []
    for record in records:
        for group, shares in (("sum", record.sums), ("white", record.classes)):
            for one in shares:
                limits = one.limits
                rows.append(
                    [
                        *(record.sample, one.label, group, str(one.count), str(one.n_review)),
                        *_list_bounds(one.raw, one.corrected, one.absolute, UNDEFINED),
                        "" if one.n_more is None else str(one.n_more),
                        *(
                            (f"{limits.lower:g}", f"{limits.upper:g}", limits.unit)
                            if limits
                            else ("", "", "")
                        ),
                        one.relation,
                    ]
                )
        for other in record.others:
            none = [""] * 5
            rows.append(
                [
                    *(record.sample, other.label, other.group),
                    *(str(other.count), str(other.n_review)),
                    *_list_bounds(UNDEFINED, UNDEFINED, UNDEFINED, other.per_100_white),
                    *none,
                ]
            )
    return _render(CLASS_COLUMNS, rows)


def render_cells(samples: Iterable[tuple[str, Sequence[CountedCell]]]) -> str:
    """Return the table of cells of samples, each with its name."""
    rows = []
    for name, cells in samples:
        for one in cells:
            codes = "|".join(dict.fromkeys(reason.code for reason in one.reasons))
            rows.append(
                [
                    *(name, one.image, str(one.number) if one.number else ""),
                    *(map(str, one.box) if one.box else [""] * 4),
                    *("" if math.isnan(x) else f"{x:.4f}" for x in (one.score,)),
                    *(str(int(one.edge)), one.duplicate_of),
                    *(f"{one.whole_frac:.4f}" if one.is_counted and one.number else "", one.label),
                    "" if math.isnan(one.confidence) else f"{one.confidence:.6f}",
                    *(one.decision, codes),
                    json.dumps(one.labels, ensure_ascii=False) if one.labels else "",
                    *(str(int(one.is_counted)), one.error),
                ]
            )
    return _render(CELL_COLUMNS, rows)


def _list_bounds(*figures: Interval) -> list[str]:
    """Value and limits of each; nothing of what is undefined."""
    return [
        "" if math.isnan(x) else f"{x:.6g}"
        for one in figures
        for x in (one.value, one.low, one.high)
    ]


def _render(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    write_row = build_writer(out)
    for row in (columns, *rows):
        write_row([neutralise(cell) for cell in row])
    return mark_unicode(out.getvalue())
