"""Copies made with known transforms, for `copies.py` and `copies_scaling.py`.

Every copy is recoloured (each channel's gain 0.9 to 1.1, offset up to 8, gamma 0.85 to 1.15) and
encoded as JPEG (quality 60 to 95); its kind says what else was done. A copy is a function of the
original's pixels, the kind and the generator's state.
"""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = ("near", "mild", "any", "crop")
"""`near`: resized by 0.5 to 1.5. `mild`: turned up to 20 degrees, sheared up to 0.2, shifted up to
10 %, flipped, filled with black, white, the mean colour or the reflected picture, as augmentation
does. `any`: the same with any rotation. `crop`: two thirds to 0.9 of each side, quarter turns and
flips, resized back."""

Pixels = NDArray[np.uint8]


def read_pixels(path: object) -> Pixels:
    """Return an image file as RGB, `(H, W, 3)`."""
    with Image.open(str(path)) as image:
        return np.asarray(image.convert("RGB"))


def make_copy(pixels_HWC: Pixels, kind: str, generator: np.random.Generator) -> bytes:
    """Return a copy as JPEG bytes."""
    if kind == "near":
        moved_HWC = _resize(pixels_HWC, generator)
    elif kind == "crop":
        moved_HWC = _crop(pixels_HWC, generator)
    else:
        moved_HWC = _warp(pixels_HWC, 20 if kind == "mild" else 180, generator)
    out = io.BytesIO()
    quality = int(generator.integers(60, 96))
    Image.fromarray(_recolour(moved_HWC, generator)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def _resize(pixels_HWC: Pixels, generator: np.random.Generator) -> Pixels:
    height, width = pixels_HWC.shape[:2]
    scale = generator.uniform(0.5, 1.5)
    size = (round(width * scale), round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels_HWC, size, interpolation=how))


def _warp(pixels_HWC: Pixels, turn_deg: float, generator: np.random.Generator) -> Pixels:
    height, width = pixels_HWC.shape[:2]
    turn = np.deg2rad(generator.uniform(-turn_deg, turn_deg))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shear = np.array([[1, generator.uniform(-0.2, 0.2)], [0, 1]])
    map_22 = rotation @ shear @ np.diag(generator.choice([-1.0, 1.0], 2))
    size, centre = np.array([width, height]), np.array([width - 1, height - 1]) / 2
    moved = centre + generator.uniform(-0.1, 0.1, 2) * size - map_22 @ centre
    fill = int(generator.integers(4))
    colour = ((0, 0, 0), (255, 255, 255), pixels_HWC.mean(axis=(0, 1)).tolist(), (0, 0, 0))[fill]
    border = cv2.BORDER_REFLECT_101 if fill == 3 else cv2.BORDER_CONSTANT
    map_23 = np.hstack([map_22, moved[:, None]])
    return np.asarray(
        cv2.warpAffine(pixels_HWC, map_23, (width, height), borderMode=border, borderValue=colour)
    )


def _crop(pixels_HWC: Pixels, generator: np.random.Generator) -> Pixels:
    height, width = pixels_HWC.shape[:2]
    wide, high = (round(side * generator.uniform(2 / 3, 0.9)) for side in (width, height))
    x, y = generator.integers(width - wide + 1), generator.integers(height - high + 1)
    cut_HWC = cv2.resize(
        pixels_HWC[y : y + high, x : x + wide], (width, height), interpolation=cv2.INTER_CUBIC
    )
    turned_HWC = np.rot90(cut_HWC, generator.integers(4))
    return turned_HWC[:, ::-1] if generator.random() < 0.5 else turned_HWC


def _recolour(pixels_HWC: Pixels, generator: np.random.Generator) -> Pixels:
    gains, offset = generator.uniform(0.9, 1.1, 3), generator.uniform(-8, 8)
    values_HWC = np.clip(pixels_HWC * gains + offset, 0, 255) / 255
    curved_HWC = 255 * values_HWC ** generator.uniform(0.85, 1.15)
    return curved_HWC.round().astype(np.uint8)
