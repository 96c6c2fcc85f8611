"""What is stained in a smear, and what of it is nucleus: thresholds that each picture sets itself.

Nuclei take green and red light away and leave blue; red cells take blue and green. The sum of the
densities of red and green less that of blue is two to twenty times as high in nuclei as in red
cells, in all cameras at hand, though none of the three is on its own.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it knows no scale, and
does not say which nuclei belong to one cell.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.smear.ground import Floats, measure_density

Mask = NDArray[np.uint8]
"""0 or 1 for each pixel."""

_SOFTENED_PX = 0.8

_STAINED = (0.06, 0.25)
"""Bounds of the density from which a pixel is stained: noise is below, pale cells are above."""

_BETWEEN = 0.6
"""The edge of a cell lies at this share of the way that Otsu's threshold is from the ground."""

_NUCLEUS_RATIO, _NUCLEUS_MORE = 2.0, 0.2
"""A nucleus has so many times the nuclear density of red cells, and so much more."""

_GREEN_LEAST = 0.2
_BLUE_LESS_FRAC = 0.2
"""What takes away nearly as much blue as green is dust or a pointer: black, no nucleus."""

_FEWEST_PIXELS = 50


@dataclass(frozen=True)
class Stained:
    """A picture taken apart: `cells_HW` is whatever is stained, `nuclei_HW` what of it is nuclear
    (small platelets too)."""

    cells_HW: Mask
    nuclei_HW: Mask


def find_stained(pixels_HWC: NDArray[np.uint8], ground_C: NDArray[np.float64]) -> Stained:
    """Return which pixels of a picture are stained and which are nuclear. Where nothing is, both
    masks are empty."""
    soft_HWC = cv2.GaussianBlur(pixels_HWC, (0, 0), _SOFTENED_PX)
    density_HWC = measure_density(np.asarray(soft_HWC, dtype=np.uint8), ground_C)
    red_HW, green_HW, blue_HW = (density_HWC[:, :, k] for k in range(3))
    strength_HW = np.maximum(np.maximum(red_HW, green_HW), blue_HW)
    edge = _BETWEEN * find_threshold(strength_HW.ravel(), 0.0, 0.6)
    cells_HW = strength_HW > min(max(edge, _STAINED[0]), _STAINED[1])
    nuclear_HW = red_HW + green_HW - blue_HW
    values = nuclear_HW[cells_HW]
    if len(values) < _FEWEST_PIXELS:
        return Stained(cells_HW.astype(np.uint8), np.zeros(cells_HW.shape, np.uint8))
    threshold = find_threshold(values, 0.0, 3.0)
    below = values[values < threshold]
    usual = float(np.median(below)) if len(below) else 0.0
    threshold = max(threshold, _NUCLEUS_RATIO * usual + _NUCLEUS_MORE)
    nuclei_HW = (
        cells_HW
        & (nuclear_HW > threshold)
        & (green_HW > _GREEN_LEAST)
        & (green_HW - blue_HW > _BLUE_LESS_FRAC * green_HW)
    )
    return Stained(cells_HW.astype(np.uint8), nuclei_HW.astype(np.uint8))


def find_threshold(values: Floats, low: float, high: float) -> float:
    """Return the threshold that separates two groups of values best (Otsu 1979), by a histogram of
    128 steps between `low` and `high`; values outside count at the ends.

    >>> 0.1 < find_threshold(np.float32([0.1, 0.2, 0.8, 0.9]), 0.0, 1.0) < 0.8
    True
    """
    counts, edges = np.histogram(np.clip(values, low, high), bins=128, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * above)
    return float(centres[int(np.nan_to_num(between, posinf=0.0).argmax())])


def build_disc(size_px: int) -> Mask:
    """Return a disc of an odd width for OpenCV's morphology: uint8 `(size, size)`."""
    size_px = max(1, size_px) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))
    return np.asarray(disc, dtype=np.uint8)
