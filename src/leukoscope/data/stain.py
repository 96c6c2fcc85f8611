"""Colours of stain and scanner, moved to a reference: a part of the preprocessing, by option.

Each image is treated by itself, after it was resized, in NumPy alone, so that training, packs and
prediction on the light install see the same bytes. Axes: S side, C colour channel (RGB), P pixels.
What this file does not do: it never fails on an image; one without ground, stain or contrast stays
as it is, and so do black corners, which turning leaves. It cannot give back what a stain does not
show.
"""

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import InputConfig

_GROUND_FRAC = 0.9
"""The ground of a smear: this quantile of each channel."""

_IO = 240.0
"""Light where nothing absorbs, as Macenko et al. 2009 count it."""

_LEAST_DENSITY = 0.15
"""Pixels paler in every channel hold no stain (their beta)."""

_FILL = 16
"""Darker in every channel is what a program filled in: of PBC and BCCD no nucleus is below 90."""

_LEAST_PIXELS = 50
_LEAST_SPREAD = 0.5
"""Lab units; below, an image has no contrast that could be scaled."""

# CIE 1976 L*a*b* from sRGB under D65, as IEC 61966-2-1 and CIE 15 give them.
_TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LINEAR = np.arange(256) / 255
_LINEAR = np.where(_LINEAR > 0.04045, ((_LINEAR + 0.055) / 1.055) ** 2.4, _LINEAR / 12.92)


def standardise_stain(pixels_SSC: NDArray[np.uint8], config: InputConfig) -> NDArray[np.uint8]:
    """Return the image with the colours that `config.stain` asks for: uint8 `(S, S, 3)`, as it
    came.

    - "none": the image itself.
    - "background": each channel scaled so that the ground has the target's colour; a white balance.
    - "reinhard": mean and spread of L*, a* and b* become the target's (Reinhard et al. 2001, who
      work in another perceptual space, l-alpha-beta; CIELAB is the one that readers know).
    - "macenko": stain vectors and strengths of the image are found and replaced by the target's
      (Macenko et al. 2009). Deviations: the ground is made white first, since their fixed light
      takes a yellow lamp for stain, which left four fifths of a planted shift of the white balance;
      and what `find_stains` says. There are two stains, whatever the cell holds: granules of eosin
      and red cells get one colour between them.
    """
    if config.stain == "none":
        return pixels_SSC
    content_SS = _find_content(pixels_SSC)
    if not content_SS.any():
        return pixels_SSC
    found_SSC = pixels_SSC.copy()
    found_SSC[content_SS] = _standardise(pixels_SSC[content_SS], config)
    return found_SSC


def _standardise(pixels_PC: NDArray[np.uint8], config: InputConfig) -> NDArray[np.uint8]:
    target = np.array(config.stain_target)
    if config.stain == "background":
        return _balance(pixels_PC, target)
    if config.stain == "reinhard":
        return _transfer(pixels_PC, target)
    white_PC = _balance(pixels_PC, np.full(3, _IO))
    return _restain(white_PC, target[:6].reshape(2, 3).T, target[6:], pixels_PC)


def _find_content(pixels_SSC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where something was photographed: not filled in, nor mixed with that by resizing."""
    fill_SS = np.pad(pixels_SSC.max(axis=2) < _FILL, 1)
    for axis in (0, 1):
        fill_SS = fill_SS | np.roll(fill_SS, 1, axis) | np.roll(fill_SS, -1, axis)
    return ~fill_SS[1:-1, 1:-1]


def _balance(pixels_PC: NDArray[np.uint8], ground_C: NDArray[np.float64]) -> NDArray[np.uint8]:
    found_C = np.quantile(pixels_PC, _GROUND_FRAC, axis=0)
    if found_C.min() < 32:  # no ground: the image is not that of a smear
        return pixels_PC
    table_C256 = np.rint(np.arange(256) * (ground_C / found_C)[:, None]).clip(0, 255)
    return np.stack([table_C256[c][pixels_PC[:, c]] for c in range(3)], axis=1).astype(np.uint8)


# -- mean and spread ------------------------------------------------------------------------------


def convert_to_lab(pixels_PC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return CIE L*a*b* under D65 of uint8 sRGB: float64 `(P, 3)`, L* from 0 to 100.

    >>> convert_to_lab(np.array([[255, 255, 255]], np.uint8)).round(2).tolist()
    [[100.0, -0.0, 0.0]]
    """
    ratio_PC = _LINEAR[pixels_PC] @ _TO_XYZ.T / _WHITE
    f_PC = np.where(ratio_PC > 0.008856, np.cbrt(ratio_PC), 7.787 * ratio_PC + 16 / 116)
    x_P, y_P, z_P = f_PC.T
    return np.stack([116 * y_P - 16, 500 * (x_P - y_P), 200 * (y_P - z_P)], axis=1)


def convert_from_lab(lab_PC: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return uint8 sRGB of L*a*b*: `(P, 3)`; colours that sRGB does not have are cut off."""
    y_P = (lab_PC[:, 0] + 16) / 116
    f_PC = np.stack([y_P + lab_PC[:, 1] / 500, y_P, y_P - lab_PC[:, 2] / 200], axis=1)
    ratio_PC = np.where(f_PC > 0.2068966, f_PC**3, (f_PC - 16 / 116) / 7.787)
    linear_PC = ((ratio_PC * _WHITE) @ np.linalg.inv(_TO_XYZ).T).clip(0, 1)
    curved_PC = np.where(
        linear_PC > 0.0031308, 1.055 * linear_PC ** (1 / 2.4) - 0.055, 12.92 * linear_PC
    )
    return np.asarray(np.rint(255 * curved_PC).clip(0, 255), dtype=np.uint8)


def _transfer(pixels_PC: NDArray[np.uint8], target: NDArray[np.float64]) -> NDArray[np.uint8]:
    lab_PC = convert_to_lab(pixels_PC)
    mean_C, spread_C = lab_PC.mean(axis=0), lab_PC.std(axis=0)
    if spread_C[0] < _LEAST_SPREAD:
        return pixels_PC
    # A channel without spread keeps it: there is nothing to scale.
    gain_C = np.where(spread_C < _LEAST_SPREAD, 1.0, target[3:] / np.maximum(spread_C, 1e-9))
    moved_PC = (lab_PC - mean_C) * gain_C + target[:3]
    return convert_from_lab(moved_PC)


# -- stain vectors --------------------------------------------------------------------------------


def find_stains(
    pixels_PC: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the two stain vectors `(3, 2)` in optical density, the bluer first, their amounts
    `(2, P)`, and the 99 % quantile of each amount `(2,)` (Macenko et al. 2009). Pixels are uint8
    `(P, 3)` on a white ground.

    A pixel is stained if one channel says so, where they ask all three: on a white ground a blue
    nucleus absorbs no blue and a red cell no red, and both would be left out. The bluer stain
    absorbs more red than blue; by red alone, as usual, a fifth of PBC images had them exchanged.

    None where fewer than 50 pixels are stained or these hold one colour only.
    """
    density_PC = -np.log((pixels_PC.astype(np.float64) + 1) / _IO)
    stained_QC = density_PC[(density_PC >= _LEAST_DENSITY).any(axis=1)]
    if len(stained_QC) < _LEAST_PIXELS:
        return None
    spreads_C, axes_CC = np.linalg.eigh(np.cov(stained_QC.T))
    if spreads_C[1] < 1e-8:
        return None
    plane_C2 = axes_CC[:, 1:]
    # An axis has no direction of its own: both are turned towards absorption.
    plane_C2 = plane_C2 * np.where(plane_C2.sum(axis=0) < 0, -1.0, 1.0)
    along_Q2 = stained_QC @ plane_C2
    angle_Q = np.arctan2(along_Q2[:, 1], along_Q2[:, 0])
    ends = np.percentile(angle_Q, [1, 99])
    vectors_C2 = plane_C2 @ np.array([np.cos(ends), np.sin(ends)])
    if np.diff(vectors_C2[0] - vectors_C2[2]) > 0:
        vectors_C2 = vectors_C2[:, ::-1]
    if np.linalg.cond(vectors_C2) > 1e3:
        return None
    amounts_2P = np.linalg.lstsq(vectors_C2, density_PC.T, rcond=None)[0]
    strengths_2 = np.percentile(amounts_2P, 99, axis=1)
    if strengths_2.min() <= 1e-3:
        return None
    return vectors_C2, amounts_2P, strengths_2


def _restain(
    pixels_PC: NDArray[np.uint8],
    target_C2: NDArray[np.float64],
    target_strengths_2: NDArray[np.float64],
    fallback_PC: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    found = find_stains(pixels_PC)
    if found is None:
        return fallback_PC
    _, amounts_2P, strengths_2 = found
    scaled_2P = amounts_2P * (target_strengths_2 / strengths_2)[:, None]
    light_CP = _IO * np.exp(-target_C2 @ scaled_2P)
    return np.asarray(np.rint(light_CP.clip(0, 255)).T, dtype=np.uint8)
