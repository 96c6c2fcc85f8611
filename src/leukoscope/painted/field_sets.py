"""Painted fields as files: images, tables of boxes and places, and masks of nuclei.

What this file does not do: it paints nothing (`fields`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from leukoscope.data.catalog import write_rows
from leukoscope.painted.fields import FieldCell, FieldPlan, PaintedField, build_plan, paint_plan
from leukoscope.painted.folders import MARKER, check_folder
from leukoscope.records import save_record
from leukoscope.storage import create_folder, storage_errors

MIN_SHOWN_FRAC = 0.5
"""White cells of which a field shows less are no examples of their class: they stand in the table
of boxes alone."""

_STYLE = 1
"""To be raised whenever the same arguments paint other pixels."""

_BOX = ("x_min", "y_min", "x_max", "y_max")
_CELL_COLUMNS = ("path", "label", *_BOX, "edge", "source", "cell", "scale_px_per_um")
_BOX_COLUMNS = ("path", "label", *_BOX, "edge", "cell")
_FIELD_COLUMNS = ("path", "source", "x_px", "y_px", "scale_px_per_um", "nuclei")


@dataclass(frozen=True, slots=True)
class FieldPainting:
    """What a set of fields was made with; the marker of its folder (`painted.json`)."""

    plan: FieldPlan
    style: int


def save_fields(
    folder: str | Path,
    n_fields: int = 8,
    *,
    n_samples: int = 1,
    white_cells: float = 2.0,
    shares: Mapping[str, float] | None = None,
    overlap_frac: float = 0.0,
    size_px: tuple[int, int] = (640, 480),
    px_per_um: float = 9.0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write painted fields and return the path of the table of their white cells.

    The arguments are those of `paint_fields`. The images lie in `fields/SAMPLE/FIELD.jpg`, and

    - `cells.csv` has the white cells that are at least half shown, as `leukoscope data scan` reads
      them: path, label, box, `edge` (1: cut by the edge of the field), source (the sample), the
      name of the cell (the same on every field that shows it) and the scale;
    - `boxes.csv` has everything shown as `white_cell`, `red_cell` or `platelet`;
    - `fields.csv` has every field with its place on the smear (empty where fields lie apart) and
      the file of its nuclei: a PNG of 8 bits in which k is the nucleus of the field's white cell
      number k in `boxes.csv`, counted from 1.

    `cells.csv` is written last: a set without it is not finished, and the same call finishes it. A
    finished set of the same arguments is left as it is. `on_progress` hears fields done and all.

    Raises `ConfigError` on a wrong argument, and `StorageError` if the folder cannot be written
    or holds anything but a set of the same arguments; nothing is overwritten then.
    """
    folder = Path(folder)
    plan = build_plan(
        n_fields,
        n_samples=n_samples,
        white_cells=white_cells,
        shares=shares,
        overlap_frac=overlap_frac,
        size_px=size_px,
        px_per_um=px_per_um,
        seed=seed,
    )
    painting = FieldPainting(plan, _STYLE)
    check_folder(folder, painting)
    table, total = folder / "cells.csv", n_fields * n_samples
    with storage_errors(folder):
        finished = table.is_file() and len(list(folder.glob("fields/*/*.jpg"))) == total
    if finished:
        return table
    create_folder(folder)
    save_record(painting, folder / MARKER)
    cells: list[dict[str, str]] = []
    boxes: list[dict[str, str]] = []
    fields: list[dict[str, str]] = []
    for done, field in enumerate(paint_plan(plan), start=1):
        path = Path("fields", field.sample, f"{field.name}.jpg")
        mask = Path("nuclei", field.sample, f"{field.name}.png")
        for place in (path, mask):
            create_folder((folder / place).parent)
        with storage_errors(folder / path):
            (folder / path).write_bytes(field.jpeg)
        with storage_errors(folder / mask):
            Image.fromarray(field.nuclei_HW).save(folder / mask)
        fields.append(_list_field(field, path, mask))
        boxes += _list_boxes(field, path)
        cells += [
            {
                **_list_cell(cell, path),
                "source": field.sample,
                "scale_px_per_um": f"{field.px_per_um:g}",
            }
            for cell in field.white_cells
            if cell.visible_frac >= MIN_SHOWN_FRAC
        ]
        if on_progress is not None:
            on_progress(done, total)
    write_rows(fields, _FIELD_COLUMNS, folder / "fields.csv")
    write_rows(boxes, _BOX_COLUMNS, folder / "boxes.csv")
    write_rows(cells, _CELL_COLUMNS, table)
    return table


def _list_field(field: PaintedField, path: Path, mask: Path) -> dict[str, str]:
    x, y = ("", "") if field.place_px is None else map(str, field.place_px)
    return {
        "path": path.as_posix(),
        "source": field.sample,
        "x_px": x,
        "y_px": y,
        "scale_px_per_um": f"{field.px_per_um:g}",
        "nuclei": mask.as_posix(),
    }


def _list_boxes(field: PaintedField, path: Path) -> list[dict[str, str]]:
    white = [{**_list_cell(cell, path), "label": "white_cell"} for cell in field.white_cells]
    return white + [_list_cell(cell, path) for cell in (*field.red_cells, *field.platelets)]


def _list_cell(cell: FieldCell, path: Path) -> dict[str, str]:
    corners = dict(zip(_BOX, map(str, cell.box), strict=True))
    edge = str(int(cell.is_cut))
    return {
        "path": path.as_posix(),
        "label": cell.label,
        **corners,
        "edge": edge,
        "cell": cell.cell,
    }
