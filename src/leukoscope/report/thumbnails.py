"""Thumbnails for pages: image files loaded, cut, shrunk, and encoded.

What this file does not do: it chooses no image and says nothing of it (`audit_page`).
"""

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from leukoscope.data.findings import ExampleImage
from leukoscope.data.images import load_pixels
from leukoscope.errors import ImageError
from leukoscope.report.page import Picture

THUMBNAIL_PX = 144

_JPEG_QUALITY = 88


def draw_examples(images: Iterable[ExampleImage]) -> dict[ExampleImage, Picture]:
    """Return a square thumbnail of each image; of a file that cannot be read, why it cannot."""
    return {image: _draw_example(image) for image in images}


def _draw_example(image: ExampleImage) -> Picture:
    try:
        pixels_HWC = load_pixels(Path(image.path), THUMBNAIL_PX, image.box, "pad", "bicubic")
    except ImageError as error:
        return Picture("", image.id, f"This image cannot be shown: {error.found}")
    return Picture(encode_jpeg(Image.fromarray(pixels_HWC), _JPEG_QUALITY), image.id)


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return an image as a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()
