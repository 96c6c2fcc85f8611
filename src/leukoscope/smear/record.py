"""What was found in a smear field: its white cells with their boxes, its scale, and its counts.

What this file does not do: it finds nothing, and reads no image. Boxes are in pixels of the field
after EXIF rotation, their maxima exclusive.
"""

from dataclasses import dataclass
from typing import Literal

from leukoscope.data.images import Box
from leukoscope.errors import RejectCode

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"})
"""Endings of whole-slide files; TIFF is tried as a slide where it is too large for a picture."""

ScaleSource = Literal["given", "red_cells", "white_cells", "none"]
"""What a scale rests on: the user's word; red cells, 7.5 um wide; nuclei of white cells, where too
few red cells stand alone; nothing of the picture (an assumption)."""

FieldCode = Literal["scale_uncertain", "no_white_cells"]
"""What a reader has to know of a field that was read: its scale rests on no red cells; no white
cell was found in it."""


_MARGIN_UM, _LEAST_MARGIN_PX = 0.75, 2.0


def find_margin_px(scale_px_per_um: float) -> float:
    """Return how near to the edge of its field a cell counts as cut by it."""
    return max(_LEAST_MARGIN_PX, _MARGIN_UM * scale_px_per_um)


@dataclass(frozen=True, slots=True)
class FoundCell:
    """A white cell in a field.

    `field` is the name of the field as in `FieldRecord`, `number` counts the cells of the field
    from 1, in the order of the table. `box` holds the whole cell, cytoplasm included;
    `score` (0 to 1) is how certain it is that this is a white cell. `edge`: the cell is cut by the
    edge of the field and, by the usual bench rule, not counted. `nucleus_frac` is the share of the
    box that its nucleus fills.
    """

    field: str
    number: int
    box: Box
    score: float
    edge: bool
    scale_px_per_um: float
    nucleus_frac: float = 0.0

    @property
    def diameter_um(self) -> float:
        """The mean of width and height of the box in micrometres."""
        x_min, y_min, x_max, y_max = self.box
        return (x_max - x_min + y_max - y_min) / 2 / self.scale_px_per_um


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """What was found in one field.

    `field` is the path as the user gave it, or below the folder that was given. `reason` is why the
    file could not be used, "" where it could; all counts are 0 then. `n_red_cells` and
    `n_platelets` count those that stand apart or touch few others; None where that was not done.
    """

    field: str
    width_px: int = 0
    height_px: int = 0
    sha256: str = ""
    scale_px_per_um: float = 0.0
    scale_source: ScaleSource = "none"
    n_red_cells: int | None = None
    n_platelets: int | None = None
    cells: tuple[FoundCell, ...] = ()
    codes: tuple[FieldCode, ...] = ()
    reason: RejectCode | Literal[""] = ""
    found: str = ""

    @property
    def counted(self) -> tuple[FoundCell, ...]:
        """The cells that are counted: those that no edge cuts."""
        return tuple(cell for cell in self.cells if not cell.edge)
