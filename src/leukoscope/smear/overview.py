"""Which part of a field to look at for its light and its scale.

A field of a camera is looked at as a whole. A slide or a stitched field is too wide for that:
shrunk to a picture, its red cells are specks. Windows of several sizes are looked at instead, in
several places, and the first two sizes that agree on the scale count: where red cells cannot be
told apart, what is measured grows with the window. Axes: H height, W width, C colour channel (RGB).
What this file does not do: it measures no width (`scale`) and finds no cell.
"""

from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box
from leukoscope.smear.fields import Field
from leukoscope.smear.ground import find_ground, shrink_to
from leukoscope.smear.scale import estimate_scale

SIDE_PX = 640
"""The longer side of what is looked at."""

WHOLE_PX = 800
"""A field of at most so many pixels is looked at as a whole."""

_WINDOWS_PX = (400, 800, 1600, 3200)
_PLACES = ((0.5, 0.5), (0.25, 0.5), (0.75, 0.5), (0.5, 0.25), (0.5, 0.75), (0.3, 0.3), (0.7, 0.7))
_AGREE = 1.2
_FEWEST = 3


@dataclass(frozen=True)
class Overview:
    """A part of a field, or all of it: uint8 `(H, W, 3)`, shrunk by `factor` (0 to 1); the colour
    of its ground, `(3,)`; and pixels per micrometre of the field itself, None where no red cell
    says."""

    pixels_HWC: NDArray[np.uint8]
    factor: float
    ground_C: NDArray[np.float64]
    px_per_um: float | None


def look_over(field: Field) -> Overview:
    """Return what is seen of a field. Raises `ImageError` where a slide's region cannot be read."""
    whole = (0, 0, field.width, field.height)
    if max(field.width, field.height) <= WHOLE_PX:
        return _look_at(field, whole)
    before: list[Overview] = []
    for side in _WINDOWS_PX:
        boxes = [_place_window(field, side, place) for place in _PLACES]
        once = {box: _look_at(field, box) for box in dict.fromkeys(boxes)}
        seen = [once[box] for box in boxes]
        known = [one for one in seen if one.px_per_um is not None]
        # Windows that lie beside the smear show nothing, or dirt.
        if len(known) >= _FEWEST and len(before) >= _FEWEST:
            smaller, larger = _find_middle(before), _find_middle(known)
            if 1 / _AGREE < (larger.px_per_um or 0) / (smaller.px_per_um or 1) < _AGREE:
                return larger
        before = known
    return _look_at(field, _place_window(field, max(_WINDOWS_PX), (0.5, 0.5)))


def _look_at(field: Field, box: Box) -> Overview:
    region_HWC = field.read_region(box)
    pixels_HWC = shrink_to(region_HWC, SIDE_PX)
    factor = min(1.0, SIDE_PX / max(region_HWC.shape[:2]))
    ground_C = find_ground(pixels_HWC)
    found = estimate_scale(pixels_HWC, ground_C)
    return Overview(pixels_HWC, factor, ground_C, None if found is None else found / factor)


def _place_window(field: Field, side: int, place: tuple[float, float]) -> Box:
    width, height = min(side, field.width), min(side, field.height)
    x, y = round(place[0] * (field.width - width)), round(place[1] * (field.height - height))
    return (x, y, x + width, y + height)


def _find_middle(seen: list[Overview]) -> Overview:
    """The window whose scale is nearest to the median of all."""
    middle = median(one.px_per_um or 0 for one in seen)
    return min(seen, key=lambda one: abs((one.px_per_um or 0) - middle))
