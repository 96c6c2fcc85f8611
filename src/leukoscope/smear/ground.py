"""The light of the empty ground of a smear, and how much of it each pixel takes away.

Axes: H height, W width, C colour channel (RGB). A density is the natural logarithm of the ground's
light over the pixel's; colours of lamp and camera cancel in it. What this file does not do: it
knows no cells.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

GROUND = 230
"""The level that the ground has in each channel of a balanced picture."""

_SMOOTHED = 9
"""Levels that are smoothed over in the histogram of green."""

_LEAST_PEAK = 0.2
"""The ground is the brightest peak with so much of the highest one: cells may cover more."""

_NEAR = 8
"""Levels of green around the peak that count as ground."""

_DARKEST = 30.0
"""No ground is darker: a balanced picture is at most so much brighter."""

_OVERVIEW_PX = 320


def find_ground(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the colour of the ground, `(3,)`, 0 to 255: the medians of the pixels whose green lies
    at the brightest of the large peaks of its histogram (green, since it separates cells best)."""
    return _find_colour(shrink_to(pixels_HWC, _OVERVIEW_PX).reshape(-1, 3))


def _find_colour(pixels_NC: NDArray[np.uint8]) -> NDArray[np.float64]:
    green_N = pixels_NC[:, 1]
    at_N = np.abs(green_N.astype(np.int16) - _find_level(green_N)) <= _NEAR
    return np.asarray(np.median(pixels_NC[at_N], axis=0), dtype=np.float64)


def shrink_to(pixels_HWC: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return the picture with a longer side of at most `side_px`."""
    height, width = pixels_HWC.shape[:2]
    factor = side_px / max(height, width)
    return pixels_HWC if factor >= 1 else resize_by(pixels_HWC, factor)


def resize_by(pixels_HWC: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Return the picture so many times as large, at least 8 px; areas are averaged in shrinking."""
    height, width = pixels_HWC.shape[:2]
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels_HWC, size, interpolation=how), dtype=np.uint8)


_BLACK = 40
"""No channel is brighter where nothing is seen, though JPEG blurs the edge of it."""

_LEAST_HIDDEN_FRAC = 0.001
_HIDDEN_RIM_PX = 3
_SEARCHED_PX = 1024


def find_hidden(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return where nothing is seen, black that reaches in from the edge: what a field stop hides,
    or a rotation leaves empty. Uint8 `(H, W)`, 0 or 1, at most 1,024 px wide and high (a large
    picture's mask is smaller than it); None where everything is seen."""
    small_HWC = shrink_to(pixels_HWC, _SEARCHED_PX)
    black_HW = (small_HWC.max(axis=2) <= _BLACK).astype(np.uint8)
    if not black_HW.any():
        return None
    count, parts_HW, facts, _ = cv2.connectedComponentsWithStats(black_HW)
    edge = np.concatenate([parts_HW[0], parts_HW[-1], parts_HW[:, 0], parts_HW[:, -1]])
    is_hidden = np.bincount(edge, minlength=count) > 0
    is_hidden &= facts[:, cv2.CC_STAT_AREA] >= _LEAST_HIDDEN_FRAC * black_HW.size
    is_hidden[0] = False
    if not is_hidden.any():
        return None
    square = np.ones((2 * _HIDDEN_RIM_PX + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(is_hidden[parts_HW].astype(np.uint8), square), dtype=np.uint8)


def fill_hidden(pixels_HWC: NDArray[np.uint8], hidden_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of the picture with the ground's colour where nothing is seen: black is neither
    ground nor nucleus. All black stays as it is."""
    height, width = pixels_HWC.shape[:2]
    wide_HW = cv2.resize(hidden_HW, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    filled_HWC = pixels_HWC.copy()
    small_HWC = shrink_to(pixels_HWC, _SEARCHED_PX)
    seen_NC = small_HWC[hidden_HW == 0]
    if len(seen_NC):
        filled_HWC[wide_HW] = np.rint(_find_colour(seen_NC)).astype(np.uint8)
    return filled_HWC


def _find_level(green_N: NDArray[np.uint8]) -> int:
    counts = np.bincount(green_N, minlength=256).astype(np.float64)
    smooth = np.convolve(counts, np.ones(_SMOOTHED), "same")
    for level in range(255, 20, -1):
        around = smooth[max(0, level - _NEAR) : level + _NEAR + 1]
        if smooth[level] >= _LEAST_PEAK * smooth.max() and smooth[level] >= around.max():
            return level
    return int(smooth.argmax())


def balance(pixels_HWC: NDArray[np.uint8], ground_C: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the picture with the ground at `GROUND` in each channel: uint8, a copy."""
    gain_C = GROUND / np.maximum(ground_C, _DARKEST)
    table_XC = np.rint(np.arange(256)[:, None] * gain_C).clip(0, 255).astype(np.uint8)
    # One table for three channels, as OpenCV takes it.
    return np.asarray(cv2.LUT(np.ascontiguousarray(pixels_HWC), table_XC[None]), dtype=np.uint8)


_TERMS = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
_STIFFNESS = np.diag([0.0, 1.0, 1.0, 3.0, 3.0, 3.0]) * 5e-5
"""How much a slope of the light costs: where little ground is seen, it stays level."""

_GROUND_DENSITY = 0.09
_LEAST_GROUND_FRAC = 0.1
_SAMPLED_PIXELS = 8000

_LOG = np.log(np.arange(256, dtype=np.float32) + 1)


def measure_density(pixels_HWC: NDArray[np.uint8], ground_C: NDArray[np.float64]) -> Floats:
    """Return the densities of all channels: float32 `(H, W, 3)`, about 0 on the ground.

    The light may fall off to the sides: a surface of second order is fitted to the ground, in two
    rounds, the second to what the first took for ground.
    """
    log_HWC = cv2.LUT(np.ascontiguousarray(pixels_HWC), _LOG)
    height, width = pixels_HWC.shape[:2]
    log_ground_C = np.log(ground_C + 1).astype(np.float32)
    # A sample says what the light is like.
    step = max(1, int(np.sqrt(height * width / _SAMPLED_PIXELS)))
    sample_HWC = pixels_HWC[::step, ::step]
    green_HW = np.abs(sample_HWC[:, :, 1].astype(np.float32) - ground_C[1])
    if (green_HW <= _NEAR).mean() < _LEAST_GROUND_FRAC:
        return np.asarray(log_ground_C - log_HWC)
    y_H, x_W = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    log_NC = log_HWC[::step, ::step].reshape(-1, 3)
    x_N, y_N = (grid.ravel() for grid in np.meshgrid(x_W[::step], y_H[::step]))
    terms_NT = np.stack([x_N**i * y_N**j for i, j in _TERMS], axis=1)
    light_NC = np.broadcast_to(log_ground_C, log_NC.shape)
    for _ in range(2):
        off_NC = np.abs(log_NC - light_NC)
        far_N = np.maximum(np.maximum(off_NC[:, 0], off_NC[:, 1]), off_NC[:, 2])
        is_ground_N = far_N < _GROUND_DENSITY
        known = terms_NT[is_ground_N]
        normal = known.T @ known + len(known) * _STIFFNESS
        fit_TC = np.linalg.lstsq(normal, known.T @ log_NC[is_ground_N], rcond=None)[0]
        light_NC = terms_NT @ fit_TC
    weights_33C = np.zeros((3, 3, 3))
    for (i, j), weight_C in zip(_TERMS, fit_TC, strict=True):
        weights_33C[j, i] = weight_C
    y_H3, x_3W = np.stack([y_H**j for j in range(3)], axis=1), np.stack([x_W**i for i in range(3)])
    density_HWC = np.empty(log_HWC.shape, np.float32)
    for channel in range(3):
        light_HW = (y_H3 @ weights_33C[:, :, channel] @ x_3W).astype(np.float32)
        np.subtract(light_HW, log_HWC[:, :, channel], out=density_HWC[:, :, channel])
    return density_HWC
