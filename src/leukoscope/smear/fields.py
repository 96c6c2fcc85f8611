"""Smear fields as they lie on disk: pictures of cameras, and slides too large to be held at once.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it finds no cell. A
whole slide or a large TIFF is read in regions through tiffslide, or openslide where that is
installed; a picture through the package's one decoder, with all of its checks.
"""

import hashlib
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box, decode_image, load_content
from leukoscope.errors import ImageError
from leukoscope.storage import hash_file

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"})
"""Endings of whole-slide files; TIFF is tried as a slide where it is too large for a picture."""

MAX_SLIDE_PIXELS = 20_000_000_000
_MAX_REGION_PIXELS = 64_000_000


class Field(Protocol):
    """A field that can be looked at in parts."""

    width: int
    height: int
    sha256: str

    def read_region(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of a box inside of the field: uint8 `(H, W, 3)`."""


@dataclass
class PictureField:
    """A picture that is held at once."""

    pixels_HWC: NDArray[np.uint8]
    sha256: str = ""

    def __post_init__(self) -> None:
        self.height, self.width = self.pixels_HWC.shape[:2]

    def read_region(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of a box inside of the field: a view."""
        x_min, y_min, x_max, y_max = box
        return np.asarray(self.pixels_HWC[y_min:y_max, x_min:x_max])


class SlideField:
    """A slide, read in regions of its largest level."""

    def __init__(self, path: Path, slide: Any) -> None:
        self._slide = slide
        self.width, self.height = slide.dimensions
        self.sha256 = hash_file(path)
        self._path = path

    def read_region(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of a box inside of the slide. Raises `ImageError` where they cannot be
        decoded."""
        x_min, y_min, x_max, y_max = box
        return self._read((x_min, y_min), (x_max - x_min, y_max - y_min))

    def _read(self, place: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
        try:
            return np.asarray(self._slide.read_region(place, 0, size).convert("RGB"))
        except Exception as error:  # decoders of slides raise nearly anything
            raise ImageError(
                "unreadable",
                f"{self._path.name} must be readable to its last pixel",
                str(error) or type(error).__name__,
                "replace the file by an intact copy, or remove it",
            ) from error


def open_field(path: Path) -> Field:
    """Open a picture or a slide. Raises `ImageError` for what cannot be read."""
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return _open_slide(path)
    content = load_content(path)
    try:
        pixels_HWC = decode_image(content, name=path.name)
    except ImageError as error:
        if error.reason == "too_large" and path.suffix.lower() in (".tif", ".tiff"):
            return _open_slide(path)
        raise
    return PictureField(pixels_HWC, hashlib.sha256(content).hexdigest())


def _open_slide(path: Path) -> SlideField:
    opener: Any
    try:
        if importlib.util.find_spec("tiffslide") is not None:
            opener = importlib.import_module("tiffslide").TiffSlide
        elif importlib.util.find_spec("openslide") is not None:
            opener = importlib.import_module("openslide").OpenSlide
        else:
            raise ImageError(
                "too_large",
                f"{path.name} is read as a slide, by tiffslide or openslide",
                "neither is installed",
                "pip install 'leukoscope[slides]', or cut the slide into fields",
            )
        slide = opener(path)
    except ImageError:
        raise
    except Exception as error:  # readers of slides raise nearly anything
        raise ImageError(
            "not_an_image",
            f"{path.name} must be a slide that tiffslide or openslide can read",
            str(error) or type(error).__name__,
            "convert it to a tiled TIFF, or cut it into fields",
        ) from error
    found = SlideField(path, slide)
    if found.width * found.height > MAX_SLIDE_PIXELS:
        raise ImageError(
            "too_large",
            f"{path.name} must have at most {MAX_SLIDE_PIXELS:,} pixels",
            f"{found.width} x {found.height} pixels",
            "cut out the region that is meant",
        )
    return found
