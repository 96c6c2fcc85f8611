"""Tables of found cells and of fields: CSV that a spreadsheet may open.

`cells.csv` has a row for each white cell, those cut by the edge too; `fields.csv` one for each
field, those that could not be read too, with the code of the reason. What this file does not do:
it words no reason and finds no cell.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from leukoscope.data.spreadsheet import build_writer, mark_unicode, neutralise
from leukoscope.smear.record import FieldRecord, FoundCell
from leukoscope.storage import write_text

CELL_COLUMNS = (
    *("field", "number", "x_min", "y_min", "x_max", "y_max", "score", "edge", "counted"),
    *("scale_px_per_um", "diameter_um", "nucleus_frac", "crop", "nucleus"),
)
FIELD_COLUMNS = (
    *("field", "width_px", "height_px", "scale_px_per_um", "scale_source", "n_white_cells"),
    *("n_edge_cells", "n_red_cells", "n_platelets", "codes", "reason", "error", "sha256"),
)

Describe = Callable[[FieldRecord], str]
"""From a field that could not be read to why, as a sentence; "" for any other."""

Places = Mapping[tuple[str, int], tuple[str, str]]
"""Where crop and nucleus mask of a cell lie, by field and number."""


def save_cells(fields: Iterable[FieldRecord], places: Places, path: Path) -> None:
    """Write the table of cells. A cell without a crop is not counted. Raises `StorageError`."""
    rows = [
        _list_cell(cell, places.get((cell.field, cell.number)))
        for field in fields
        for cell in field.cells
    ]
    _write(CELL_COLUMNS, rows, path)


def _list_cell(cell: FoundCell, place: tuple[str, str] | None) -> list[str]:
    return [
        cell.field,
        str(cell.number),
        *map(str, cell.box),
        f"{cell.score:.4f}",
        str(int(cell.edge)),
        str(int(place is not None)),
        f"{cell.scale_px_per_um:.3f}",
        f"{cell.diameter_um:.2f}",
        f"{cell.nucleus_frac:.3f}" if place else "",
        *(place or ("", "")),
    ]


def save_fields(fields: Iterable[FieldRecord], path: Path, describe: Describe) -> None:
    """Write the table of fields. Raises `StorageError`."""
    rows = [
        [
            one.field,
            *((str(one.width_px), str(one.height_px)) if not one.reason else ("", "")),
            *((f"{one.scale_px_per_um:.3f}", one.scale_source) if not one.reason else ("", "")),
            *(
                (str(len(one.counted)), str(len(one.cells) - len(one.counted)))
                if not one.reason
                else ("", "")
            ),
            "" if one.n_red_cells is None else str(one.n_red_cells),
            "" if one.n_platelets is None else str(one.n_platelets),
            "|".join(one.codes),
            one.reason,
            describe(one),
            one.sha256,
        ]
        for one in fields
    ]
    _write(FIELD_COLUMNS, rows, path)


def _write(columns: tuple[str, ...], rows: list[list[str]], path: Path) -> None:
    text = io.StringIO()
    write_row = build_writer(text)
    for row in (columns, *rows):
        write_row([neutralise(cell) for cell in row])
    write_text(path, mark_unicode(text.getvalue()))
