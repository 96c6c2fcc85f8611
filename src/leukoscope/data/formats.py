"""Formats that Pillow alone does not read, by the packages of the extra `formats`.

DICOM of visible light with one frame, HEIC, and TIFF of floating-point colours. What this file does
not do: it knows nothing of boxes, and says only what is missing (`images`).
"""

import importlib.util
import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from PIL import Image

from leukoscope.errors import ImageError

_KINDS = (
    ("DICOM", "pydicom", rb".{128}DICM"),
    ("HEIC", "pillow_heif", rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)"),
    ("TIFF", "tifffile", rb"(II\*\0|MM\0\*)"),
)

_SUFFIXES = {"pydicom": (".dcm",), "pillow_heif": (".heic", ".heif")}


MAX_BYTES = 1 << 29
"""Pictures of these formats that take more when they are decoded are rejected before."""

Reserve = Callable[[int], AbstractContextManager[None]]
"""Holds so many bytes of the memory that all threads share."""

_BAND_ROWS = 256


def list_suffixes() -> frozenset[str]:
    """Return the endings of the formats whose packages are installed."""
    return frozenset(
        suffix
        for package, suffixes in _SUFFIXES.items()
        if importlib.util.find_spec(package) is not None
        for suffix in suffixes
    )


def open_other(content: bytes, name: str, max_pixels: int, reserve: Reserve) -> Image.Image | None:
    """Open and decode an image of one of these formats; None if it is of none.

    Raises `ImageError` where the package is missing, there are several frames, more than
    `max_pixels` or `MAX_BYTES`, or colours of another kind; and whatever the package raises.
    """
    for kind, package, signature in _KINDS:
        if re.match(signature, content[:256], re.DOTALL):
            if importlib.util.find_spec(package) is None:
                raise ImageError(
                    "not_an_image",
                    f"{name} must be a JPEG, PNG, TIFF, BMP, WebP or GIF image",
                    f"it is {kind} of a kind that needs the extra `formats`"
                    if kind == "TIFF"
                    else f"it is {kind}, which needs the extra `formats`",
                    "pip install 'leukoscope[formats]', or save it as PNG",
                )
            readers = {"DICOM": _open_dicom, "HEIC": _open_heic, "TIFF": _open_tiff}
            return readers[kind](content, name, max_pixels, reserve)
    return None


def _check_size(width: int, height: int, bytes_per_pixel: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels or width * height * bytes_per_pixel > MAX_BYTES:
        raise ImageError(
            "too_large",
            f"{name} must have at most {max_pixels:,} pixels, and {MAX_BYTES:,} bytes of them",
            f"{width} x {height} pixels of {bytes_per_pixel} bytes",
            "cut the field of view into tiles first",
        )


def _reject_kind(name: str, found: str) -> ImageError:
    return ImageError(
        "unreadable", f"{name} must hold one picture in grey or RGB", found, "save it as PNG"
    )


def _open_heic(content: bytes, name: str, max_pixels: int, reserve: Reserve) -> Image.Image:
    import pillow_heif

    found = pillow_heif.open_heif(io.BytesIO(content))
    width, height = found.size
    _check_size(width, height, 4, name, max_pixels)
    with reserve(8 * width * height):
        image: Image.Image = found.to_pillow()
    return image


def _open_dicom(content: bytes, name: str, max_pixels: int, reserve: Reserve) -> Image.Image:
    import pydicom

    found = pydicom.dcmread(io.BytesIO(content))
    width, height = int(found.Columns), int(found.Rows)
    n_bytes = int(found.SamplesPerPixel) * ((int(found.BitsAllocated) + 7) // 8)
    # The package makes RGB of luminance and chroma in floating-point numbers.
    n_bytes *= 4 if str(found.PhotometricInterpretation).startswith("YBR") else 1
    _check_size(width, height, n_bytes, name, max_pixels)
    with reserve((2 * n_bytes + 3) * width * height):
        return Image.fromarray(_read_dicom(found, name))


def _read_dicom(found: Any, name: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    if int(found.get("NumberOfFrames", 1) or 1) > 1:
        raise _reject_pages(name, int(found.NumberOfFrames))
    colours = str(found.PhotometricInterpretation)
    pixels: np.ndarray[Any, np.dtype[Any]] = found.pixel_array
    # What the camera stored, not what the words could hold: a 12-bit camera is not dark.
    factor = 255 / (2 ** int(found.BitsStored) - 1)
    levels = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), _BAND_ROWS):
        band = pixels[top : top + _BAND_ROWS].astype(np.float64) * factor
        levels[top : top + _BAND_ROWS] = np.clip(np.rint(band), 0, 255)
    if colours == "MONOCHROME1":
        levels = 255 - levels
    # Luminance and chroma were made RGB by the package.
    elif not colours.startswith(("RGB", "MONOCHROME2", "YBR")):
        raise _reject_kind(name, colours)
    return levels


def _reject_pages(name: str, pages: int) -> ImageError:
    return ImageError(
        "several_pages",
        f"{name} must hold one picture",
        f"{pages} pages",
        "save the page that is meant as a file of its own",
    )


def _open_tiff(content: bytes, name: str, max_pixels: int, reserve: Reserve) -> Image.Image:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        if len(file.pages) > 1:
            raise _reject_pages(name, len(file.pages))
        page = file.pages.first
        width, height = page.imagewidth, page.imagelength
        if page.dtype is None or page.dtype.kind != "f" or page.axes not in ("YX", "YXS", "SYX"):
            raise _reject_kind(name, f"{page.dtype}, axes {page.axes}")
        n_bytes = page.samplesperpixel * page.dtype.itemsize
        _check_size(width, height, n_bytes, name, max_pixels)
        with reserve((2 * n_bytes + 3) * width * height):
            pixels = np.asarray(page.asarray())
            if page.axes == "SYX":
                pixels = np.moveaxis(pixels, 0, 2)
            return Image.fromarray(_scale_bands(pixels, name))


def _scale_bands(
    pixels: "np.ndarray[Any, np.dtype[Any]]", name: str
) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Scale in bands of rows: numbers of 64 bits of a whole picture would take gigabytes."""
    peak = float(pixels.max())
    if peak > 255:
        check_range(peak, name)
    colours = pixels if pixels.ndim == 2 else pixels[..., :3]
    levels = np.empty(colours.shape, np.uint8)
    for top in range(0, len(levels), _BAND_ROWS):
        band = colours[top : top + _BAND_ROWS].astype(np.float64)
        levels[top : top + _BAND_ROWS] = scale_floats(band, name, peak)
    return levels


def check_range(highest: float, name: str) -> None:
    """Raise `ImageError` where 16 bits hold the values of a camera of 10, 12 or 14: how many it has
    is not in the file, and read as they are such pictures are nearly black."""
    if highest < 1 << 14:
        raise ImageError(
            "narrow_range",
            f"{name} must use the 16 bits that it has",
            f"{highest:,.0f} of 65,535 at most",
            "multiply the values by 4, 16 or 64 (a camera of 14, 12 or 10 bits), of all images"
            " alike, or save them in 8 bits",
            peak_16=int(highest),
        )


def scale_floats(
    pixels: "np.ndarray[Any, np.dtype[np.float64]]", name: str, peak: float | None = None
) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return floating-point levels as uint8. What the largest (`peak`) is tells their scale: at
    most 1, at most 255, or 16 bits. Raises `ImageError` for not-a-number and infinity."""
    if not np.isfinite(pixels).all():
        raise ImageError(
            "unreadable",
            f"every pixel of {name} must be a number",
            "not-a-number or infinity",
            "mend or remove the file",
        )
    if peak is None:
        peak = float(pixels.max())
    top = 1.0 if peak <= 1.0 else 255.0 if peak <= 255.0 else 65535.0
    return np.clip(np.rint(pixels * (255.0 / top)), 0, 255).astype(np.uint8)
