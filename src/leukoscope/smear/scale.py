"""How many pixels of a picture are a micrometre, by its red cells, which are 7.5 um wide.

Where red cells overlap, no outline is theirs; but the largest circles inside of the stained area
are nearly as wide as they are, overlapping or not. The commonest width of these circles counts.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it counts no cells; the
circles are a measure of width, too many here and too few there.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.smear.ground import resize_by
from leukoscope.smear.nuclei import Mask, Stained, build_disc, find_stained

RED_CELL_UM = 7.5
"""Mean diameter of normal red cells on a dry smear (7 to 8 um)."""

_SIDE_PX = 400
_ENLARGED = 1.5
_SMALLEST_PX = 3.0
_CIRCLE_FRAC = 0.88
"""Circles inside of red cells have this share of their mean width: cells are not round, and the
stained area ends inside of their edge. Measured against the boxes of half of BCCD."""

_LOG_WIDTH = 0.15
_HEAVIEST_PX = 25.0


def estimate_scale(pixels_HWC: NDArray[np.uint8], ground_C: NDArray[np.float64]) -> float | None:
    """Return pixels per micrometre by the width of red cells; None where no circle is found.

    A picture filled by one white cell gives its width instead: what rests on few red cells has to
    be checked by whoever finds them.
    """
    height, width = pixels_HWC.shape[:2]
    factor = min(_ENLARGED, _SIDE_PX / max(height, width))
    stained = find_stained(resize_by(pixels_HWC, factor), ground_C)
    circles_K3, is_inside_K = find_circles(fill_red_cells(stained, 5))
    radii = circles_K3[is_inside_K, 2]
    radii = radii[radii > _SMALLEST_PX]
    if not len(radii):
        return None
    log_K = np.log(radii)
    grid = np.linspace(log_K.min() - 0.01, log_K.max() + 0.01, 150)
    # Weighted by area up to a size: specks are many, and one blot must not outweigh all cells.
    kernel = np.exp(-0.5 * ((grid[:, None] - log_K) / _LOG_WIDTH) ** 2)
    weight = (kernel * np.minimum(radii, _HEAVIEST_PX) ** 2).sum(axis=1)
    diameter_px = 2 * float(np.exp(grid[weight.argmax()])) / factor / _CIRCLE_FRAC
    return float(diameter_px / RED_CELL_UM)


def fill_red_cells(stained: Stained, guard_px: int) -> Mask:
    """Return what is stained without nuclei and a rim around them, with the pale centres of red
    cells filled; gaps between cells, larger than half a cell, stay open."""
    rim = cv2.dilate(stained.nuclei_HW, build_disc(guard_px))
    red_HW = cv2.bitwise_and(stained.cells_HW, 1 - rim)
    red_HW = cv2.morphologyEx(red_HW, cv2.MORPH_CLOSE, build_disc(5))
    found: Any = cv2.findContours(red_HW, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines, tree = found
    if tree is None:
        return np.asarray(red_HW, dtype=np.uint8)
    is_hole = tree[0, :, 3] >= 0
    areas = np.array([cv2.contourArea(one) for one in outlines])
    outer = areas[~is_hole & (areas > 20)]
    if len(outer):
        heavy = np.sort(outer)
        middle = heavy[np.searchsorted(np.cumsum(heavy), 0.5 * heavy.sum())]
        usual = float(np.median(outer[outer > 0.15 * middle]))
        holes = [outlines[k] for k in np.flatnonzero(is_hole & (areas < 0.5 * usual))]
        cv2.drawContours(red_HW, holes, -1, 1, -1)
    return np.asarray(red_HW, dtype=np.uint8)


def find_circles(mask_HW: Mask) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the largest circles inside of a mask, `(K, 3)` x, y, radius in pixels, largest first,
    none within another's; and which lie inside of the picture."""
    height, width = mask_HW.shape
    depth_HW = cv2.distanceTransform(mask_HW, cv2.DIST_L2, 5)
    is_peak_HW = (depth_HW >= cv2.dilate(depth_HW, np.ones((7, 7), np.uint8)) - 1e-6) & (
        depth_HW > 2.5
    )
    y, x = np.nonzero(is_peak_HW)
    radius = depth_HW[y, x]
    order = np.argsort(-radius, kind="stable")
    x, y, radius = x[order], y[order], radius[order].astype(np.float64)
    is_open = np.ones(len(radius), dtype=bool)
    kept = []
    for k in range(len(radius)):
        if is_open[k]:
            kept.append(k)
            is_open &= np.hypot(x - x[k], y - y[k]) >= 0.75 * radius[k] + 0.25 * radius
    circles_K3 = np.stack([x[kept], y[kept], radius[kept]], axis=1).astype(np.float64)
    reach = 0.9 * circles_K3[:, 2]
    is_inside_K = (
        (np.minimum(circles_K3[:, 0], circles_K3[:, 1]) > reach)
        & (circles_K3[:, 0] < width - 1 - reach)
        & (circles_K3[:, 1] < height - 1 - reach)
    )
    return circles_K3, is_inside_K
