"""THE preprocessing: bytes -> uint8 RGB -> resized, colours standardised. Shared by everybody.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it knows nothing of
labels, catalogs or batches, and it never repairs a file; an image that cannot be read in full
raises `ImageError` with a reason.
"""

import contextlib
import hashlib
import io
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from leukoscope.config import InputConfig, Interpolation, Resize
from leukoscope.data.stain import standardise_stain
from leukoscope.errors import FileError, ImageError
from leukoscope.storage import read_file

Pixels = NDArray[np.uint8]
"""Images `(N, S, S, 3)` or one image `(H, W, 3)`, RGB."""

Box = tuple[int, int, int, int]
"""`(x_min, y_min, x_max, y_max)` in pixels after EXIF rotation; the maxima are exclusive."""

MAX_PIXELS = 100_000_000
"""Larger images are rejected unread: nothing in a blood-cell set needs them, a bomb does."""

MIN_SIDE_PX = 8
"""Smaller images hold no cell."""

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)

# JPEG opens MPO too; naming MPO here would make Pillow raise KeyError.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What `probe_image` finds: size in pixels after EXIF rotation, size in bytes, content hash."""

    width: int
    height: int
    bytes: int
    sha256: str


@contextlib.contextmanager
def _translated(content: bytes, name: str) -> Iterator[None]:
    """Turn whatever a decoder throws into one `ImageError`: hostile bytes make Pillow raise
    nearly anything, so this border is broad on purpose."""
    remedy = "replace the file by an intact copy, or remove it"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on odd EXIF or palettes
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            "not_an_image",
            f"{name} must be a JPEG, PNG, TIFF, BMP, WebP or GIF image",
            _name_content(content),
            remedy,
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        ZeroDivisionError,
        AttributeError,
        struct.error,
        MemoryError,
    ) as error:
        text = str(error) or type(error).__name__
        reason: Literal["truncated", "unreadable"] = (
            "truncated" if re.search("truncat|end of", text, re.IGNORECASE) else "unreadable"
        )
        raise ImageError(
            reason, f"{name} must be readable to its last pixel", text, remedy
        ) from error


_SIGNATURES = (
    (rb"version https://git-lfs", "a Git LFS pointer: `git lfs pull` fetches the image"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg", "a drawing (SVG)"),
    (rb"\s*<(!doctype )?html", "a web page (HTML)"),
    (rb"\s*<\?xml", "XML"),
    (rb".{128}DICM", "DICOM"),
    (rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "HEIC"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb"(\0\0\0\x0cjP  |\xff\x4f\xff\x51)", "JPEG 2000"),
    (rb"%PDF", "PDF"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x89HDF", "HDF5"),
    (rb"\x93NUMPY", "a NumPy array"),
)
"""How what people take for an image begins, and what it is."""


def _name_content(content: bytes) -> str:
    """Say what a file is that is no image, as far as its first bytes tell."""
    start = content[:1024]
    for pattern, name in _SIGNATURES:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return f"it is {name}"
    lines = start.decode("utf-8", "replace").splitlines()
    if any(Path(cell.strip()).suffix.lower() in IMAGE_SUFFIXES for cell in _split_cells(lines)):
        return "it is a list: `leukoscope predict BUNDLE - < LIST` reads one path per line"
    return "its content is none of these: JPEG, PNG, TIFF, BMP, WebP, GIF"


def _split_cells(lines: list[str]) -> Iterator[str]:
    for line in lines[:20]:
        yield from re.split("[,;\t]", line)


def _too_large(name: str, found: str) -> ImageError:
    return ImageError(
        "too_large",
        f"{name} must have at most {MAX_PIXELS:,} pixels",
        found,
        "cut the field of view into tiles first",
    )


def _open(content: bytes, name: str) -> Image.Image:
    if not content:
        raise ImageError("empty", f"{name} must hold an image", "0 bytes", "remove the file")
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height} pixels")
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError(
            "too_small",
            f"{name} must be at least {MIN_SIDE_PX} pixels wide and high",
            f"{width} x {height} pixels",
            "remove the file or export it at a larger size",
        )
    return image


def probe_image(content: bytes, name: str = "image") -> ImageFacts:
    """Check that an image decodes to its last pixel, and return its facts.

    `name` appears in error messages only. JPEG is decoded at an eighth of its size: the whole
    entropy-coded stream is still read, so a truncated file is still found, at a fifth of the cost.

    Raises `ImageError` (reason `empty`, `not_an_image`, `truncated`, `too_large`, `too_small` or
    `unreadable`).
    """
    with _translated(content, name):
        image = _open(content, name)
        width, height = image.size
        # Pillow gives a TIFF's size after rotation, any other image's before.
        if image.format != "TIFF" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
        image.load()
    return ImageFacts(width, height, len(content), hashlib.sha256(content).hexdigest())


def decode_image(content: bytes, box: Box | None = None, name: str = "image") -> NDArray[np.uint8]:
    """Decode image bytes to RGB: uint8 array of shape `(H, W, 3)`, values 0 to 255.

    EXIF rotation is applied; transparency is laid on white, the colour of an empty field; 16-bit
    and floating-point greys are scaled to 8 bits; CMYK and palettes become RGB; of an animation
    the first frame counts. `box` cuts one cell out, after rotation.

    Raises `ImageError` as `probe_image` does, and with reason `bad_box` for a box that is empty
    or reaches outside.
    """
    with _translated(content, name):
        image = _open(content, name)
        image.load()
        image = ImageOps.exif_transpose(image)
        pixels_HWC = np.asarray(_to_rgb(image), dtype=np.uint8)
    if box is None:
        return pixels_HWC
    check_box(box, pixels_HWC.shape[1], pixels_HWC.shape[0], name)
    x_min, y_min, x_max, y_max = box
    return pixels_HWC[y_min:y_max, x_min:x_max]


def check_box(box: Box, width: int, height: int, name: str = "image") -> None:
    """Raise `ImageError` (reason `bad_box`) unless the box lies inside `width` x `height`."""
    x_min, y_min, x_max, y_max = box
    if not (0 <= x_min < x_max <= width and 0 <= y_min < y_max <= height):
        raise ImageError(
            "bad_box",
            f"a box of {name} must lie inside its {width} x {height} pixels and not be empty",
            f"x {x_min} to {x_max}, y {y_min} to {y_max}",
            "correct the annotation",
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_rgb(np.asarray(image, dtype=np.float64), image.mode)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey_to_rgb(grey_HW: NDArray[np.float64], mode: str) -> Image.Image:
    # Pillow clips 16-bit greys at 255, which turns microscope TIFFs white; scale instead.
    peak = float(grey_HW.max())
    if mode == "F":
        top = 1.0 if peak <= 1.0 else 255.0 if peak <= 255.0 else 65535.0
    else:
        top = 255.0 if peak <= 255.0 and mode == "I" else 65535.0
    scaled = np.clip(np.rint(grey_HW * (255.0 / top)), 0, 255).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def resize_image(
    pixels_HWC: NDArray[np.uint8],
    size_px: int,
    resize: Resize = "stretch",
    interpolation: Interpolation = "bilinear",
) -> NDArray[np.uint8]:
    """Resize to a square: uint8 `(H, W, 3)` in, uint8 `(size_px, size_px, 3)` out.

    `pad` centres the image on its own mean border colour, which on a smear is the background.
    """
    image = Image.fromarray(pixels_HWC)
    if resize == "stretch":
        return np.asarray(image.resize((size_px, size_px), _FILTERS[interpolation]))
    height, width = pixels_HWC.shape[:2]
    scale = size_px / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    border = np.concatenate(
        [pixels_HWC[0], pixels_HWC[-1], pixels_HWC[:, 0], pixels_HWC[:, -1]]
    ).mean(axis=0)
    canvas_HWC = np.empty((size_px, size_px, 3), dtype=np.uint8)
    canvas_HWC[:] = np.rint(border).astype(np.uint8)
    x, y = (size_px - inner[0]) // 2, (size_px - inner[1]) // 2
    canvas_HWC[y : y + inner[1], x : x + inner[0]] = np.asarray(
        image.resize(inner, _FILTERS[interpolation])
    )
    return canvas_HWC


def prepare_image(pixels_HWC: NDArray[np.uint8], config: InputConfig) -> NDArray[np.uint8]:
    """Return what a network is given of a decoded image: resized, colours standardised where
    `config.stain` asks for it; uint8 `(S, S, 3)`."""
    resized_SSC = resize_image(pixels_HWC, config.image_size, config.resize, config.interpolation)
    return standardise_stain(resized_SSC, config)


def load_input(path: Path, config: InputConfig, box: Box | None = None) -> NDArray[np.uint8]:
    """Read, decode and prepare one image file: uint8 `(S, S, 3)`. Raises `ImageError`."""
    return prepare_image(decode_image(load_content(path), box, str(path)), config)


def load_content(path: Path, sha256: str | None = None) -> bytes:
    """Read an image file, and check that it still is what a catalog saw, if its hash is given.

    Raises `ImageError` if it cannot be read as `storage.read_file` says, or has changed.
    """
    try:
        content = read_file(path)
    except FileError as error:
        raise ImageError(
            error.reason,
            error.expected,
            error.found,
            "restore the file, or scan the folder again",
        ) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ImageError(
            "unreadable",
            f"{path} must hold the bytes that were scanned",
            "its content has changed since the scan",
            "scan the folder again with `leukoscope data scan`, and go on from there",
        )
    return content


def load_pixels(
    path: Path,
    size_px: int,
    box: Box | None = None,
    resize: Resize = "stretch",
    interpolation: Interpolation = "bilinear",
) -> NDArray[np.uint8]:
    """Read, decode and resize one image file: uint8 `(size_px, size_px, 3)`.

    Raises `ImageError` as `decode_image` does, also when the file cannot be opened.
    """
    pixels_HWC = decode_image(load_content(path), box, str(path))
    return resize_image(pixels_HWC, size_px, resize, interpolation)
