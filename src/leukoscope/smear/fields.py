"""Smear fields as they lie on disk: pictures of cameras, and slides too large to be held at once.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it finds no cell. A
whole slide or a large TIFF is read in regions through tiffslide, or openslide where that is
installed; a picture through the package's one decoder, with all of its checks.
"""

import contextlib
import importlib
import importlib.util
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box, hold_picture
from leukoscope.errors import FileError, ImageError
from leukoscope.smear.ground import fill_hidden, find_hidden
from leukoscope.smear.record import SLIDE_SUFFIXES
from leukoscope.storage import hash_file, open_file

MAX_SLIDE_PIXELS = 20_000_000_000
MAX_SLIDE_BYTES = 1 << 34
MAX_PIECE_BYTES = 1 << 28
"""A tile or strip is decoded at once; a slide whose tiles take more is no slide."""

_MAX_REGION_PIXELS = 64_000_000

_HIDDEN_CORNER = 0.06
"""A corner of a box, outside of the ellipse that fills it, is 5 % of it."""


class Field(Protocol):
    """A field that can be looked at in parts."""

    width: int
    height: int
    sha256: str

    def read_region(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of a box inside of the field: uint8 `(H, W, 3)`."""

    def is_cut(self, box: Box) -> bool:
        """Tell whether something inside of the field hides a part of a cell."""


@dataclass
class PictureField:
    """A picture that is held at once. Where nothing is seen of the smear (`ground.find_hidden`), it
    has the colour of the ground."""

    pixels_HWC: NDArray[np.uint8]
    sha256: str = ""

    def __post_init__(self) -> None:
        self.height, self.width = self.pixels_HWC.shape[:2]
        self._hidden_HW = find_hidden(self.pixels_HWC)
        if self._hidden_HW is not None:
            self.pixels_HWC = fill_hidden(self.pixels_HWC, self._hidden_HW)

    def is_cut(self, box: Box) -> bool:
        """Tell whether a cell reaches into what is not seen; a corner of its box may."""
        if self._hidden_HW is None:
            return False
        rows, columns = self._hidden_HW.shape
        x, y = columns / self.width, rows / self.height
        part_HW = self._hidden_HW[
            int(box[1] * y) : math.ceil(box[3] * y), int(box[0] * x) : math.ceil(box[2] * x)
        ]
        return bool(part_HW.mean() > _HIDDEN_CORNER) if part_HW.size else False

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

    def is_cut(self, _: Box) -> bool:
        """Nothing is hidden in a slide."""
        return False

    def _read(self, place: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
        if size[0] * size[1] > _MAX_REGION_PIXELS:  # of no magnification that there is
            most = f"{_MAX_REGION_PIXELS:,} pixels a region"
            raise _too_large(self._path, most, f"{size[0]} x {size[1]} pixels")
        try:
            return np.asarray(self._slide.read_region(place, 0, size).convert("RGB"))
        except Exception as error:  # decoders of slides raise nearly anything
            raise ImageError(
                "unreadable",
                f"{self._path.name} must be readable to its last pixel",
                str(error) or type(error).__name__,
                "replace the file by an intact copy, or remove it",
            ) from error


@contextlib.contextmanager
def open_field(path: Path) -> Iterator[Field]:
    """Open a picture or a slide for as long as it is worked on; pictures of all threads share
    memory. Raises `ImageError` for what cannot be read."""
    with contextlib.ExitStack() as held:
        if path.suffix.lower() in SLIDE_SUFFIXES:
            yield _open_slide(path, held)
            return
        try:
            field: Field = PictureField(*held.enter_context(hold_picture(path)))
        except ImageError as error:
            if error.reason != "too_large" or path.suffix.lower() not in (".tif", ".tiff"):
                raise
            field = _open_slide(path, held)
        yield field


def _open_slide(path: Path, held: contextlib.ExitStack) -> SlideField:
    opener: Any
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
        if size > MAX_SLIDE_BYTES:
            raise _too_large(path, f"{MAX_SLIDE_BYTES:,} bytes", f"{size:,} bytes")
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
        slide = held.enter_context(contextlib.closing(opener(path)))
        width, height = slide.dimensions
        pieces = _list_pieces(slide)
    except FileError as error:
        raise ImageError(error.reason, error.expected, error.found, error.remedy) from error
    except Exception as error:  # readers of slides raise nearly anything
        raise ImageError(
            "not_an_image",
            f"{path.name} must be a slide that tiffslide or openslide can read",
            str(error) or type(error).__name__,
            "convert it to a tiled TIFF, or cut it into fields",
        ) from error
    if width * height > MAX_SLIDE_PIXELS:
        raise _too_large(path, f"{MAX_SLIDE_PIXELS:,} pixels", f"{width} x {height} pixels")
    if max(pieces, default=0) > MAX_PIECE_BYTES:
        most = f"{MAX_PIECE_BYTES:,} bytes a tile"
        raise _too_large(path, most, f"{max(pieces):,} bytes")
    return SlideField(path, slide)


def _list_pieces(slide: Any) -> list[int]:
    """Bytes of one tile or strip of each level, as they are decoded at once; nothing of readers
    that do not say."""
    file = getattr(slide, "ts_tifffile", None)
    if file is None:
        return []
    return [
        math.prod(level.keyframe.chunks) * level.keyframe.dtype.itemsize
        for series in file.series
        for level in series.levels
        if level.keyframe is not None and level.keyframe.dtype is not None
    ]


def _too_large(path: Path, most: str, found: str) -> ImageError:
    return ImageError(
        "too_large",
        f"{path.name} must have at most {most}",
        found,
        "cut out the region that is meant",
    )
