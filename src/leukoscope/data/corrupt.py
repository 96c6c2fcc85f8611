"""Controlled corruptions of images, each at five severities: what a microscope or scanner may do.

In the manner of ImageNet-C (Hendrycks and Dietterich 2019) and MedMNIST-C (Di Salvo et al. 2024).
Corruptions are applied to the uint8 image after resizing, so that a severity means the same for
every source of images, and before colours are standardised, as in use; lengths are shares of its
side. Severity 0 is the image itself. What this file does not do: it measures nothing.
"""

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.errors import ConfigError

Corruption = Literal[
    "blur",
    "defocus",
    "jpeg",
    "noise",
    "darker",
    "white_balance",
    "stain_weaker",
    "stain_stronger",
    "larger",
    "smaller",
]

SEVERITIES = (1, 2, 3, 4, 5)

AMOUNTS: dict[Corruption, tuple[float, float, float, float, float]] = {
    "blur": (0.004, 0.007, 0.011, 0.017, 0.026),
    "defocus": (0.008, 0.014, 0.022, 0.033, 0.048),
    "jpeg": (50, 30, 18, 10, 6),
    "noise": (3, 6, 10, 16, 24),
    "darker": (0.92, 0.84, 0.75, 0.65, 0.5),
    "white_balance": (0.05, 0.1, 0.16, 0.23, 0.32),
    "stain_weaker": (0.88, 0.77, 0.66, 0.55, 0.42),
    "stain_stronger": (1.12, 1.27, 1.45, 1.7, 2.1),
    "larger": (1.08, 1.18, 1.3, 1.5, 1.8),
    "smaller": (0.93, 0.85, 0.77, 0.67, 0.56),
}
"""What each severity means: standard deviation of a Gaussian and radius of a disc as shares of the
side (below 128 px more, so that each still changes something); quality of a JPEG; standard
deviation in grey levels; factor of the light; how much of the blue (and half as much of the green)
is taken; factor of the optical density; factor of the size."""


def corrupt_image(
    pixels_SSC: NDArray[np.uint8], corruption: Corruption, severity: int, seed: int = 0
) -> NDArray[np.uint8]:
    """Return the corrupted image: uint8 `(S, S, 3)`, as it came. `seed` draws the noise.

    Raises `ConfigError` for a severity other than 0 to 5.
    """
    if severity not in (0, *SEVERITIES):
        raise ConfigError("severities are 0 to 5", f"{severity}", "choose one of them")
    if severity == 0:
        return pixels_SSC
    amount = AMOUNTS[corruption][severity - 1]
    if corruption == "noise":
        drawn = np.random.default_rng(seed).normal(0, amount, pixels_SSC.shape)
        return _round(pixels_SSC + drawn)
    return _FUNCTIONS[corruption](pixels_SSC, amount)


def _measure_px(amount: float, side: int, least_px: float) -> float:
    """A share of the side in pixels. Less than about half a pixel blurs nothing: small images get
    the least that does, and more with every severity; from 128 px on it never counts."""
    return max(amount * side, least_px + 8 * amount)


def _find_background(pixels_SSC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colour of the empty field."""
    return np.asarray(np.quantile(pixels_SSC.reshape(-1, 3), 0.9, axis=0), dtype=np.float64)


def _round(pixels: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(pixels.clip(0, 255)), dtype=np.uint8)


def _blur(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    import cv2

    sigma_px = _measure_px(amount, pixels_SSC.shape[0], 0.4)
    found = cv2.GaussianBlur(pixels_SSC, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(found, dtype=np.uint8)


def _defocus(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """A disc, its edge weighed by how much of each pixel it covers."""
    import cv2

    radius_px = _measure_px(amount, pixels_SSC.shape[0], 0.6)
    reach = int(np.ceil(radius_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius_px + 0.5 - np.hypot(y, x), 0, 1)
    found = cv2.filter2D(pixels_SSC, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT)
    return np.asarray(found, dtype=np.uint8)


def _compress(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    out = io.BytesIO()
    Image.fromarray(pixels_SSC).save(out, "JPEG", quality=int(amount))
    with Image.open(out) as image:
        return np.asarray(image.convert("RGB"))


def _darken(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    return _round(pixels_SSC * amount)


def _yellow(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    return _round(pixels_SSC * np.array([1, 1 - amount / 2, 1 - amount]))


def _restain(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Optical density against the image's own background, scaled."""
    background_C = np.maximum(_find_background(pixels_SSC), 1)
    light_SSC = np.maximum(pixels_SSC, 1) / background_C
    # Brighter than the background is no stain.
    return _round(np.where(light_SSC < 1, background_C * light_SSC**amount, pixels_SSC))


def _zoom(pixels_SSC: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Around the middle. What a smaller image does not cover is empty field: mirrored, it would
    hold half cells that were never there."""
    import cv2

    side = pixels_SSC.shape[0]
    middle = (side - 1) / 2
    shift = middle - amount * middle
    turn = np.array([[amount, 0, shift], [0, amount, shift]])
    found = cv2.warpAffine(
        pixels_SSC,
        turn,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_find_background(pixels_SSC).tolist(),
    )
    return np.asarray(found, dtype=np.uint8)


_FUNCTIONS: dict[Corruption, Callable[[NDArray[np.uint8], float], NDArray[np.uint8]]] = {
    "blur": _blur,
    "defocus": _defocus,
    "jpeg": _compress,
    "darker": _darken,
    "white_balance": _yellow,
    "stain_weaker": _restain,
    "stain_stronger": _restain,
    "larger": _zoom,
    "smaller": _zoom,
}
