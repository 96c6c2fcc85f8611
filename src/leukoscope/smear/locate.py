"""The labelled white cell of a field that shows one: the square that a classifier is given.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it opens no file and
cuts nothing out; a square is a box inside of the picture, and whoever reads boxes reads it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box
from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import Finder
from leukoscope.smear.ground import find_ground
from leukoscope.smear.nuclei import Mask, find_stained
from leukoscope.smear.record import FoundCell

LocatedAs = Literal["cell", "several", "cut", "nucleus", "field", "given"]
"""What a square lies around: the only whole white cell; of several whole ones, or of several
equally certain ones, that nearest to the middle; a cell that the edge cuts, where no other is; the
largest nucleus, where no white cell was found; nothing (it is the whole picture), where nothing is
stained like a nucleus; the cell that an annotation frames."""

LOCATED_AS: tuple[LocatedAs, ...] = get_args(LocatedAs)

_AS_CERTAIN = 0.2
"""Scores so near to the best one do not tell which cell is meant."""

_RIM = 1.2
"""A square is at least so many times as wide as its cell, whatever the scale: a picture out of
focus has no red cell to give it."""


@dataclass(frozen=True, slots=True)
class LocatedCell:
    """Where the cell of a picture lies: a square inside of it, except where `found` is "field"."""

    box: Box
    found: LocatedAs
    scale_px_per_um: float


def locate_cell(
    pixels_HWC: NDArray[np.uint8], finder: Finder, crop_um: float, given: Box | None = None
) -> LocatedCell:
    """Return the square of `crop_um` micrometres around the white cell of a picture, at the
    picture's own scale; near an edge it is moved inside, in a small picture it is smaller.

    A picture without a white cell is located too, as `found` says, so that none is lost. `given`
    is a box around the cell where somebody framed it. The same picture gives the same square.
    """
    field = PictureField(pixels_HWC)
    found = finder.find(field, "").record
    scale = found.scale_px_per_um
    height, width = pixels_HWC.shape[:2]
    size_px = width, height
    if given is not None:
        return LocatedCell(place_square(given, scale, size_px, crop_um), "given", scale)
    chosen = _choose(found.cells, size_px)
    if chosen is not None:
        cell, how = chosen
        return LocatedCell(place_square(cell.box, scale, size_px, crop_um), how, scale)
    nucleus = _find_largest(find_stained(field.pixels_HWC, find_ground(field.pixels_HWC)).nuclei_HW)
    if nucleus is not None:
        return LocatedCell(place_square(nucleus, scale, size_px, crop_um), "nucleus", scale)
    return LocatedCell((0, 0, width, height), "field", scale)


def place_square(box: Box, scale_px_per_um: float, size_px: tuple[int, int], crop_um: float) -> Box:
    """Return the square of `crop_um` micrometres around the middle of a box, moved so that it lies
    in a picture of `size_px` (width, height), and no larger than it. A box with a rim fits in, even
    where the scale is wrong.

    >>> place_square((0, 0, 20, 20), 2.0, (100, 80), 20.0)
    (0, 0, 40, 40)
    """
    widest = _RIM * max(box[2] - box[0], box[3] - box[1])
    side = max(1, min(round(max(crop_um * scale_px_per_um, widest)), *size_px))
    corner = [
        min(max(0, math.floor((low + high - side) / 2)), size - side)
        for low, high, size in zip(box[:2], box[2:], size_px, strict=True)
    ]
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def _choose(
    cells: Sequence[FoundCell], size_px: tuple[int, int]
) -> tuple[FoundCell, LocatedAs] | None:
    """The cell that is meant, and how clear that is; None where there is none."""
    whole = [cell for cell in cells if not cell.edge]
    among = whole or list(cells)
    if not among:
        return None
    least = max(cell.score for cell in among) - _AS_CERTAIN
    certain = [cell for cell in among if cell.score >= least]

    def measure_way(cell: FoundCell) -> float:
        x_min, y_min, x_max, y_max = cell.box
        return math.hypot(x_min + x_max - size_px[0], y_min + y_max - size_px[1])

    how: LocatedAs = "cut" if not whole else "several" if len(certain) > 1 else "cell"
    return min(certain, key=measure_way), how


def _find_largest(nuclei_HW: Mask) -> Box | None:
    count, _, facts, _ = cv2.connectedComponentsWithStats(nuclei_HW)
    if count < 2:
        return None
    best = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    x, y, width, height = (int(facts[best, k]) for k in range(4))
    return x, y, x + width, y + height
