"""Two pictures that share pixels: the map between them, composed, in words, and drawn.

A map is in pixels of the stored images, with whole numbers at pixel centres, as OpenCV has it.
What this file does not do: it finds no maps (`data.copies`), and it does not need OpenCV.
"""

import base64
import hashlib
import io
import math

import numpy as np
from PIL import Image

from leukoscope.data.catalog import ImageRecord
from leukoscope.data.images import decode_image
from leukoscope.errors import ImageError
from leukoscope.sources.evidence import Affine, Link

EMPTY_COLOUR = (132, 139, 148)
"""Grey, where a moved picture has no content."""

NBSP = "\N{NO-BREAK SPACE}"

IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_JPEG_QUALITY = 80

# -- maps -----------------------------------------------------------------------------------------


def compose(outer: Affine, inner: Affine) -> Affine:
    """Return the map that applies `inner` first, then `outer`.

    >>> compose((1, 0, 5, 0, 1, 0), (2, 0, 0, 0, 2, 0))
    (2.0, 0.0, 5.0, 0.0, 2.0, 0.0)
    """
    a, b, c, d, e, f = (_square(outer) @ _square(inner))[:2].ravel().tolist()
    return a, b, c, d, e, f


def invert(matrix: Affine) -> Affine:
    """Return the map that undoes this one.

    >>> invert((2, 0, 6, 0, 4, 8))
    (0.5, 0.0, -3.0, 0.0, 0.25, -2.0)
    """
    a, b, c, d, e, f = matrix
    determinant = a * e - b * d
    p, q, r, s = (x / determinant for x in (e, b, d, a))
    # + 0.0 turns a negative zero into zero.
    return p, 0.0 - q, 0.0 - (p * c - q * f), 0.0 - r, s, 0.0 - (s * f - r * c)


def _square(matrix: Affine) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([matrix[:3], matrix[3:], (0.0, 0.0, 1.0)])


def describe_map(matrix: Affine, size: tuple[int, int], other: tuple[int, int]) -> str:
    """Word a map from an image of `size` (width, height) to one of `other` size, shift included.

    >>> describe_map((0, -1, 99, 1, 0, 10), (100, 100), (100, 100))
    'turned 90°, moved 10\\xa0px down'
    """
    a, b, c, d, e, f = matrix
    words = Link("", "", "geometric", 0, 0.0, 0.0, 0.0, matrix).describe()
    # Where the middle of the one comes to lie, from the middle of the other.
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    right = a * x + b * y + c - (other[0] - 1) / 2
    down = d * x + e * y + f - (other[1] - 1) / 2
    least = max(1.0, 0.02 * max(other))
    moves = [
        f"{abs(way):.0f}{NBSP}px {after if way > 0 else before}"
        for way, before, after in ((right, "left", "right"), (down, "up", "down"))
        if abs(way) >= least
    ]
    if not moves:
        return "same place" if words == "not turned" else words
    moved = f"moved {' and '.join(moves)}"
    return moved if words == "not turned" else f"{words}, {moved}"


# -- pixels ---------------------------------------------------------------------------------------


def load_picture(record: ImageRecord) -> Image.Image | str:
    """Return the image, or why it cannot be shown."""
    try:
        content = record.path.read_bytes()
    except OSError as error:
        return f"cannot be opened: {error.strerror or error}"
    if hashlib.sha256(content).hexdigest() != record.sha256:
        return "has changed since it was compared"
    try:
        return Image.fromarray(decode_image(content, name=record.id))
    except ImageError as error:
        return f"cannot be read: {error.reason.replace('_', ' ')}"


def fit_size(size: tuple[int, int], longer_px: float) -> tuple[int, int]:
    """Return a size (width, height) of the same shape whose longer side is `longer_px`."""
    scale = longer_px / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw_thumbnail(image: Image.Image, thumbnail_px: int) -> Image.Image:
    """Scale an image so that its longer side is `thumbnail_px`."""
    return image.resize(fit_size(image.size, thumbnail_px), Image.Resampling.BICUBIC)


def move_back(
    image: Image.Image, matrix: Affine, frame: tuple[int, int], thumbnail_px: int
) -> Image.Image:
    """Draw an image in the frame of its reference, whose longer side becomes `thumbnail_px`.

    `matrix` maps the reference, of size `frame` (width, height), to `image`. What the image does
    not cover is `EMPTY_COLOUR`.
    """
    size = fit_size(frame, thumbnail_px)
    fine = (2 * size[0], 2 * size[1])  # averaged in the end: sampling at points blurs or jags
    a, b, c, d, e, f = matrix
    # Scaled down beforehand, so that one fine pixel sees about one pixel of the image.
    magnification = math.sqrt(abs(a * e - b * d))
    longer = max(image.size) * min(1.0, fine[0] / frame[0] / magnification)
    small = image.resize(fit_size(image.size, longer), Image.Resampling.BICUBIC)
    # From pixel centres to Pillow's corners: there, scaling is a plain product.
    c, f = c + 0.5 - 0.5 * (a + b), f + 0.5 - 0.5 * (d + e)
    across, along = frame[0] / fine[0], frame[1] / fine[1]
    wide, high = small.width / image.width, small.height / image.height
    moved = small.transform(
        fine,
        Image.Transform.AFFINE,
        (
            *(wide * a * across, wide * b * along, wide * c),
            *(high * d * across, high * e * along, high * f),
        ),
        Image.Resampling.BILINEAR,
        fillcolor=EMPTY_COLOUR,
    )
    return moved.reduce(2)


def embed_image(image: Image.Image) -> str:
    """Return an image as a data URI, for a page that needs no other file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
