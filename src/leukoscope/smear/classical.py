"""White cells by their nuclei: the baseline of the network that finds cells, without any training.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it sets no score; a
nucleus either is large enough or not.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.smear.nuclei import Mask, Stained, build_disc
from leukoscope.smear.scale import fill_red_cells, find_circles

_LOBE_GAP_UM = 2.2
"""Lobes that lie so near to each other belong to one nucleus."""

_LEAST_NUCLEUS_UM2 = 16.0
_LEAST_CUT_UM2 = 8.0
_LEAST_CORE_UM2 = 3.0
"""The smallest nuclei (lymphocytes) have 35 um2; platelets have 3 to 10, and cut cells less."""

_CYTOPLASM_UM = 5.5
_RED_RADIUS_UM = 2.5
_RIM_UM = 0.7
_SMOOTHED_UM = 2.0


@dataclass(frozen=True)
class NucleusCell:
    """A cell around a nucleus: box in pixels of the picture, `x_min, y_min, x_max, y_max`;
    `solidity` (0 to 1) is the share of its hull that it fills: low where others stick to it."""

    box: tuple[float, float, float, float]
    nucleus_um2: float
    solidity: float


def find_nucleus_cells(stained: Stained, scale_px_per_um: float) -> list[NucleusCell]:
    """Return the cells whose nuclei are large enough: the nucleus, and what is stained around it
    up to 5.5 um that is no red cell."""
    scale = scale_px_per_um
    nuclei_HW = cv2.morphologyEx(stained.nuclei_HW, cv2.MORPH_OPEN, build_disc(3))
    numbers_HW, places = _number_nuclei(np.asarray(nuclei_HW, dtype=np.uint8), scale)
    if not places:
        return []
    near_HW, distance_HW = _find_nearest(numbers_HW)
    whole_HW = cv2.morphologyEx(stained.cells_HW, cv2.MORPH_CLOSE, build_disc(5))
    red_HW = _draw_red_cells(stained, distance_HW, scale)
    free_HW = (whole_HW > 0) & (red_HW == 0) & (distance_HW < _CYTOPLASM_UM * scale)
    # No cell reaches farther than this from its nucleus, nor does what smooths it.
    margin = int((_CYTOPLASM_UM + 2 * _SMOOTHED_UM + _RIM_UM) * scale) + 8
    cells = []
    for k, place in enumerate(places, 1):
        part = _widen(place, margin, numbers_HW.shape)
        nucleus_HW = numbers_HW[part] == k
        cells.append(_extend(nucleus_HW, free_HW[part] & (near_HW[part] == k), scale, part,
                             numbers_HW.shape))  # fmt: skip
    return cells


_Part = tuple[slice, slice]
"""Rows and columns of a picture."""


def _widen(place: _Part, margin: int, shape: tuple[int, ...]) -> _Part:
    rows, columns = (
        slice(max(0, one.start - margin), min(size, one.stop + margin))
        for one, size in zip(place, shape, strict=True)
    )
    return rows, columns


def _number_nuclei(nuclei_HW: Mask, scale: float) -> tuple[NDArray[np.int32], list[_Part]]:
    """Number the nuclei from 1, lobes joined, leaving out what is too small or thin; and where
    each lies."""
    height, width = nuclei_HW.shape
    pad = int(2 * _LOBE_GAP_UM * scale) + 1
    joined_HW = cv2.copyMakeBorder(nuclei_HW, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    joined_HW = cv2.morphologyEx(joined_HW, cv2.MORPH_CLOSE, build_disc(int(_LOBE_GAP_UM * scale)))
    _, labels_HW, boxes, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(joined_HW[pad:-pad, pad:-pad])
    )
    core_HW = cv2.erode(nuclei_HW, build_disc(5))
    areas = np.bincount(labels_HW[nuclei_HW > 0], minlength=len(boxes)) / scale**2
    cores = np.bincount(labels_HW[core_HW > 0], minlength=len(boxes)) / scale**2
    table = np.zeros(len(boxes), np.int32)
    places: list[_Part] = []
    for k, (x, y, w, h, _) in enumerate(boxes):
        is_cut = x <= 1 or y <= 1 or x + w >= width - 1 or y + h >= height - 1
        least = _LEAST_CUT_UM2 if is_cut else _LEAST_NUCLEUS_UM2
        if k and areas[k] >= least and cores[k] >= _LEAST_CORE_UM2:
            places.append((slice(y, y + h), slice(x, x + w)))
            table[k] = len(places)
    return np.where(nuclei_HW > 0, table[labels_HW], 0).astype(np.int32), places


def _find_nearest(numbers_HW: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The number of the nearest nucleus, and how far it is in pixels."""
    distance_HW, place_HW = cv2.distanceTransformWithLabels(
        (numbers_HW == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(place_HW.max()) + 1, np.int32)
    table[place_HW[numbers_HW > 0]] = numbers_HW[numbers_HW > 0]
    return table[place_HW], np.asarray(distance_HW, dtype=np.float32)


def _draw_red_cells(stained: Stained, distance_HW: NDArray[np.float32], scale: float) -> Mask:
    """Discs where red cells lie: wide circles that do not reach a nucleus."""
    red_HW = np.zeros(stained.cells_HW.shape, np.uint8)
    circles_K3, _ = find_circles(fill_red_cells(stained, 3))
    for x, y, radius in circles_K3:
        if radius > _RED_RADIUS_UM * scale and distance_HW[int(y), int(x)] > radius:
            cv2.circle(red_HW, (int(x), int(y)), int(np.ceil(radius + 1)), 1, -1)
    return red_HW


def _extend(
    nucleus_HW: NDArray[np.bool_],
    around_HW: NDArray[np.bool_],
    scale: float,
    part: _Part,
    shape: tuple[int, ...],
) -> NucleusCell:
    """The cell: what hangs together with its nucleus by more than a bridge. The masks are those of
    a part of the picture, which has the given shape."""
    height, width = shape
    top, left = part[0].start, part[1].start
    disc = build_disc(int(_SMOOTHED_UM * scale))
    pad = len(disc)
    cell_HW = cv2.copyMakeBorder(
        around_HW.astype(np.uint8), pad, pad, pad, pad, cv2.BORDER_REPLICATE
    )
    cell_HW = cv2.morphologyEx(cell_HW, cv2.MORPH_OPEN, disc)[pad:-pad, pad:-pad]
    cell_HW = cell_HW | nucleus_HW.astype(np.uint8)
    _, parts_HW = cv2.connectedComponents(cell_HW)
    touching = np.unique(parts_HW[nucleus_HW])
    cell_HW = np.isin(parts_HW, touching[touching > 0]).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(cell_HW)
    nx, ny, nw, nh = cv2.boundingRect(nucleus_HW.astype(np.uint8))
    x, y, nx, ny = x + left, y + top, nx + left, ny + top
    rim = _RIM_UM * scale
    box = (
        max(0.0, min(x, nx - rim)),
        max(0.0, min(y, ny - rim)),
        min(float(width), max(x + w, nx + nw + rim)),
        min(float(height), max(y + h, ny + nh + rim)),
    )
    outlines, _ = cv2.findContours(cell_HW, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(outline))
    solidity = cv2.contourArea(outline) / hull if hull else 0.0
    return NucleusCell(box, float(nucleus_HW.sum() / scale**2), float(solidity))
