"""Square pictures of single cells at one scale, with the masks of their nuclei.

Axes: H height, W width, S side, C colour channel (RGB). What this file does not do: it writes no
file and finds no cell.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box
from leukoscope.smear.fields import Field
from leukoscope.smear.nuclei import Mask, find_stained
from leukoscope.smear.record import FoundCell


@dataclass(frozen=True)
class CropSettings:
    """How cells are cut out: squares of `side_um` micrometres around the middle of their box,
    `side_px` pixels wide."""

    side_um: float = 28.0
    side_px: int = 224

    @property
    def px_per_um(self) -> float:
        """The scale of all crops."""
        return self.side_px / self.side_um


def cut_cell(
    pixels_HWC: NDArray[np.uint8],
    box: Box,
    scale_px_per_um: float,
    ground_C: NDArray[np.float64],
    settings: CropSettings,
) -> NDArray[np.uint8]:
    """Return the square around a cell: uint8 `(side_px, side_px, 3)`. What lies outside of the
    field has the colour of the ground."""
    x_min, y_min, x_max, y_max = box
    factor = settings.px_per_um / scale_px_per_um
    middle_x, middle_y = (x_min + x_max) / 2, (y_min + y_max) / 2
    half = settings.side_um * scale_px_per_um / 2
    height, width = pixels_HWC.shape[:2]
    # Cut before resampling: of a large field only the surroundings are touched.
    left, top = max(0, int(middle_x - half) - 2), max(0, int(middle_y - half) - 2)
    right, bottom = min(width, int(middle_x + half) + 3), min(height, int(middle_y + half) + 3)
    part_HWC = pixels_HWC[top:bottom, left:right]
    if factor < 0.5:
        sigma = 0.35 / factor
        part_HWC = np.asarray(cv2.GaussianBlur(part_HWC, (0, 0), sigma), dtype=np.uint8)
    # Pixels are areas: the middle of the first lies at 0.5.
    shift_x = settings.side_px / 2 - (middle_x - left) * factor
    shift_y = settings.side_px / 2 - (middle_y - top) * factor
    to_crop = np.array(
        [[factor, 0, shift_x + (factor - 1) / 2], [0, factor, shift_y + (factor - 1) / 2]]
    )
    crop_SSC = cv2.warpAffine(
        part_HWC,
        to_crop,
        (settings.side_px, settings.side_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(float(one) for one in np.rint(ground_C)),
    )
    return np.asarray(crop_SSC, dtype=np.uint8)


def choose_region(
    box: Box, scale_px_per_um: float, size_px: tuple[int, int], settings: CropSettings
) -> Box:
    """Return the part of a field, `size_px` wide and high, that the crop of a box shows, with a
    little more: of a large field only that is read."""
    half = settings.side_um * scale_px_per_um / 2 + 4
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return (
        max(0, int(x - half)),
        max(0, int(y - half)),
        min(size_px[0], int(x + half) + 1),
        min(size_px[1], int(y + half) + 1),
    )


def cut_from_field(
    field: Field, cell: FoundCell, ground_C: NDArray[np.float64], settings: CropSettings
) -> NDArray[np.uint8]:
    """Return the square around a cell of a field as `cut_cell` does. Raises `ImageError` where a
    slide's region cannot be read."""
    size_px = field.width, field.height
    region = choose_region(cell.box, cell.scale_px_per_um, size_px, settings)
    (x, y), (left, top, right, bottom) = region[:2], cell.box
    box = (left - x, top - y, right - x, bottom - y)
    return cut_cell(field.read_region(region), box, cell.scale_px_per_um, ground_C, settings)


def mark_nucleus(
    crop_SSC: NDArray[np.uint8], box_px: tuple[float, float], ground_C: NDArray[np.float64]
) -> Mask:
    """Return the nucleus of the cell in the middle of a crop: uint8 `(S, S)`, 0 or 1.

    `box_px` is the width and height of the cell's box in the crop. Nuclear is what is stained so
    (`find_stained`), lies in the box, and hangs together with something in its inner half;
    specks and what belongs to neighbours are left out.
    """
    side = len(crop_SSC)
    square = np.ones((3, 3), np.uint8)
    whole_SS = cv2.morphologyEx(find_stained(crop_SSC, ground_C).nuclei_HW, cv2.MORPH_OPEN, square)
    nuclei_SS = np.asarray(cv2.morphologyEx(whole_SS, cv2.MORPH_CLOSE, square), dtype=np.uint8)
    inside_SS, inner_SS = (_draw_middle(side, box_px, frac) for frac in (1.0, 0.5))
    nuclei_SS = nuclei_SS & inside_SS
    _, parts_SS = cv2.connectedComponents(np.ascontiguousarray(nuclei_SS))
    touching = np.unique(parts_SS[(inner_SS > 0) & (nuclei_SS > 0)])
    return np.isin(parts_SS, touching[touching > 0]).astype(np.uint8)


def _draw_middle(side: int, box_px: tuple[float, float], frac: float) -> Mask:
    """The ellipse that fills so much of the width and height of the box."""
    width, height = box_px
    grid_S = np.arange(side) + 0.5 - side / 2
    x_S, y_S = grid_S / max(frac * width / 2, 1.0), grid_S / max(frac * height / 2, 1.0)
    limit = 1.3 if frac == 1.0 else 1.0  # corners of the box may hold a lobe
    return (y_S[:, None] ** 2 + x_S[None, :] ** 2 <= limit).astype(np.uint8)
