"""Pictures that share pixels, drawn: as stored, and moved onto a reference.

A map is in pixels of the stored images, with whole numbers at pixel centres, as OpenCV has it.
What this file does not do: it finds no maps (`sources`), says nothing (`source_page`), and does
not need OpenCV.
"""

import hashlib
import math

from PIL import Image

from leukoscope.data.catalog import ImageRecord
from leukoscope.data.images import decode_image
from leukoscope.errors import FileError, ImageError
from leukoscope.report.data_words import REJECT_TITLES
from leukoscope.report.page import Picture
from leukoscope.report.thumbnails import encode_jpeg
from leukoscope.sources.evidence import Affine
from leukoscope.sources.review import Review, View, list_views
from leukoscope.storage import read_file

EMPTY_COLOUR = (132, 139, 148)
"""Grey, where a moved picture has no content."""

THUMBNAIL_PX = 120

_JPEG_QUALITY = 80


def draw_views(review: Review, thumbnail_px: int = THUMBNAIL_PX) -> dict[View, Picture]:
    """Return the pictures of all sheets, the longer side `thumbnail_px`. Of a file that cannot be
    read, or has changed since it was compared, the stored one says so and the moved one is left
    out."""
    drawn = {}
    loaded: tuple[str, Image.Image | str] = ("", "")
    for view, (file, reference) in list_views(review).items():
        if loaded[0] != view.file:
            loaded = (view.file, load_picture(file.record))
        image = loaded[1]
        if isinstance(image, str):
            if view.matrix is None:
                drawn[view] = Picture("", file.ids[0], image)
        elif view.matrix is None:
            small = draw_thumbnail(image, thumbnail_px)
            drawn[view] = Picture(encode_jpeg(small, _JPEG_QUALITY), file.ids[0])
        else:
            moved = move_back(image, view.matrix, reference.size, thumbnail_px)
            alt = f"{file.ids[0]} moved onto {reference.ids[0]}"
            drawn[view] = Picture(encode_jpeg(moved, _JPEG_QUALITY), alt, framed=True)
    return drawn


def load_picture(record: ImageRecord) -> Image.Image | str:
    """Return the image, or why it cannot be shown."""
    try:
        content = read_file(record.path)
    except FileError as error:
        return f"cannot be opened: {error.found}"
    if hashlib.sha256(content).hexdigest() != record.sha256:
        return "has changed since it was compared"
    try:
        return Image.fromarray(decode_image(content, name=record.id))
    except ImageError as error:
        return f"cannot be read: {REJECT_TITLES[error.reason]}"


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
