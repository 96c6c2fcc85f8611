"""THE preprocessing: bytes -> uint8 RGB -> resized, colours standardised. Shared by everybody.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it knows nothing of
labels, catalogs or batches, and it never repairs a file; an image that cannot be read in full
raises `ImageError` with a reason.
"""

import contextlib
import hashlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from leukoscope.config import InputConfig, Interpolation, Resize
from leukoscope.data.completeness import (
    MAX_PIXELS_PER_BYTE,
    is_jpeg_complete,
    is_png_complete,
    is_tiff_complete,
    list_bands,
)
from leukoscope.data.formats import check_range, list_suffixes, open_other, scale_floats
from leukoscope.data.stain import standardise_stain
from leukoscope.errors import DataError, FileError, ImageError
from leukoscope.storage import open_file, read_file

Pixels = NDArray[np.uint8]
"""Images `(N, S, S, 3)` or one image `(H, W, 3)`, RGB."""

Box = tuple[int, int, int, int]
"""`(x_min, y_min, x_max, y_max)` in pixels after EXIF rotation; the maxima are exclusive."""

MAX_PIXELS = 64_000_000
"""Larger images are rejected unread: no camera of a microscope needs them, a bomb does."""

MAX_BYTES = 1 << 29
"""Larger files are rejected unread: 64 million pixels of four channels in 16 bits."""

MIN_SIDE_PX = 8
"""Smaller images hold no cell."""

IMAGE_SUFFIXES = list_suffixes() | {
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
}
"""Endings of the files that are looked for in folders."""

MAX_ONE_COLOUR = 2
"""A picture whose channels each vary by so many levels of 255 at most is of one colour."""

_DECODING_BYTES = 1 << 30
"""All threads together decode pictures that take so much memory, or one alone."""

_CONTENT_BYTES = 1 << 28
"""All threads together hold files of so many bytes that are being decoded, or one alone."""

_HELD_BYTES = 1 << 29
"""All threads together work on decoded fields that take so much memory, or one alone."""

_BYTES_PER_PIXEL = 12
"""What decoding takes at its peak: the picture, a turned copy, and the array."""

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
    """What `probe_image` finds: size in pixels after EXIF rotation, size in bytes, SHA-256 of the
    bytes and, in `pixels`, of the picture (`hash_pixels`); the highest level of a file of 16 bits,
    0 of any other."""

    width: int
    height: int
    bytes: int
    sha256: str
    pixels: str
    peak_16: int = 0


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
    except Exception as error:
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


class _Budget:
    """Memory that threads share: who needs more than is left waits, who is alone gets it."""

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, n: int) -> Iterator[None]:
        """Hold `n` bytes."""
        with self.changed:
            self.changed.wait_for(lambda: self.used == 0 or self.used + n <= self.total)
            self.used += n
        try:
            yield
        finally:
            with self.changed:
                self.used -= n
                self.changed.notify_all()


_budget = _Budget(_DECODING_BYTES)
_held_budget = _Budget(_HELD_BYTES)
# Nobody waits for ever: who works on a field may wait for content, who holds content for pixels,
# and who holds pixels waits for nothing.
_content_budget = _Budget(_CONTENT_BYTES)


def _open(content: bytes, name: str) -> Image.Image:
    if not content:
        raise ImageError("empty", f"{name} must hold an image", "0 bytes", "remove the file")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        other = open_other(content, name, MAX_PIXELS, _budget.reserve)
        if other is None:
            raise
        image = other
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
    if image.format in _JPEG and width * height > MAX_PIXELS_PER_BYTE * len(content):
        raise _incomplete(name, f"{len(content):,} bytes for {width} x {height} pixels")
    if image.format == "TIFF":
        image = _choose_page(image, name)
    return image


_JPEG = ("JPEG", "MPO")


def _incomplete(name: str, found: str) -> ImageError:
    return ImageError(
        "truncated",
        f"{name} must be readable to its last pixel",
        found,
        "replace the file by an intact copy, or remove it",
    )


def _choose_page(image: Image.Image, name: str) -> Image.Image:
    """Return the picture of a TIFF: its only page, the first if later ones are smaller (a pyramid,
    a thumbnail), or three pages of grey that are marked as channels, joined."""
    sizes = []
    with contextlib.suppress(EOFError):
        for k in range(_LOOKED_AT):
            image.seek(k)
            sizes.append(image.size)
    image.seek(0)
    description = str(image.tag_v2.get(270, ""))  # type: ignore[attr-defined]
    is_grey_triple = len(sizes) == 3 and len(set(sizes)) == 1 and image.mode in ("L", "I;16")
    if is_grey_triple and re.search(r'SizeC="3"|channels=3', description):
        return _join_channels(image, name)
    if any(width >= sizes[0][0] and height >= sizes[0][1] for width, height in sizes[1:]):
        several = "more" if len(sizes) == _LOOKED_AT else str(len(sizes))
        raise ImageError(
            "several_pages",
            f"{name} must hold one picture, or smaller copies behind it",
            f"{several} pages, the first {image.width} x {image.height} pixels",
            "save the page that is meant as a file of its own",
        )
    return image


_LOOKED_AT = 4


def _join_channels(image: Image.Image, name: str) -> Image.Image:
    channels = []
    for k in range(3):
        image.seek(k)
        channels.append(np.asarray(image))
    if channels[0].dtype != np.uint8:
        check_range(float(max(map(np.max, channels))), name)
        # One after the other: as numbers of 64 bits they take eight times the room.
        channels = [scale_floats(one.astype(np.float64), name, 65535.0) for one in channels]
    levels_HWC = np.stack(channels, axis=2)
    return Image.fromarray(levels_HWC)


def _decode(
    image: Image.Image, content: bytes, name: str, *, reduced: bool = False
) -> tuple[Image.Image, int]:
    """Decode to the last pixel; with `reduced`, a JPEG at an eighth of its size. Return the
    picture, and the highest level of 16 bits, 0 for others."""
    is_wide = _has_16_bits(image, content)
    if reduced and min(image.size) >= 8 * MIN_SIDE_PX:
        image.draft("RGB", (image.width // 8, image.height // 8))
    image.load()
    # Floats above 255 are read as levels of 16 bits.
    highest = max(high for _, high in _list_extrema(image)) if is_wide or image.mode == "F" else 0
    if is_wide and not image.mode.startswith("I"):
        highest = highest * 256 + 255  # Pillow keeps 8 of the 16 bits of colours
    if not is_wide and highest <= 255:
        return image, 0
    check_range(highest, name)
    return image, int(highest)


def _load(image: Image.Image, content: bytes, name: str) -> tuple[Image.Image, int]:
    """Decode as `_decode` does, and check what the decoder does not."""
    image, peak_16 = _decode(image, content, name)
    if image.format in _JPEG:
        whole = is_jpeg_complete(
            content, image, lambda other, r: _decode(_open(other, name), other, name, reduced=r)[0]
        )
    elif image.format == "TIFF":
        whole = is_tiff_complete(content, image, lambda part, r: _decode_part(part, name, r))
    else:
        whole = image.format != "PNG" or is_png_complete(content, image)
    if not whole:
        raise _incomplete(name, "the data of its last pixels are missing")
    return image, peak_16


def _decode_part(content: bytes, name: str, reduced: bool) -> Image.Image:
    """Decode a strip or tile, of whatever size."""
    image = Image.open(io.BytesIO(content), formats=_JPEG[:1])
    return _decode(image, content, name, reduced=reduced)[0]


def _has_16_bits(image: Image.Image, content: bytes) -> bool:
    """Tell whether a file stores 16 bits per channel; Pillow keeps 8 of those of colours."""
    if image.format == "TIFF":
        return 16 in image.tag_v2.get(258, ())  # type: ignore[attr-defined]
    return image.format == "PNG" and content[24] == 16


def _list_extrema(image: Image.Image) -> list[tuple[float, float]]:
    """Lowest and highest level of each channel."""
    found: Any = image.getextrema()
    return list(found) if isinstance(found[0], tuple) else [found]


def probe_image(content: bytes, name: str = "image") -> ImageFacts:
    """Check that an image decodes to its last pixel and shows something, and return its facts.

    `name` appears in error messages only.

    Raises `ImageError` (reason `empty`, `not_an_image`, `truncated`, `too_large`, `too_small`,
    `unreadable`, `several_pages`, `narrow_range` or `one_colour`).
    """
    pixels_HWC, peak_16 = _read_pixels(content, name)
    _check_colours(pixels_HWC, name)
    height, width = pixels_HWC.shape[:2]
    sha256 = hashlib.sha256(content).hexdigest()
    return ImageFacts(width, height, len(content), sha256, hash_pixels(pixels_HWC), peak_16)


def hash_pixels(pixels_HWC: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of a decoded picture, uint8 `(H, W, 3)`, in hexadecimal digits: the same
    for files of any format that show the same.

    Decoders of JPEG differ by a level here and there: hashes of two machines may differ for one
    file, and are compared with those of one machine only.
    """
    digest = hashlib.sha256(f"{pixels_HWC.shape} ".encode())
    digest.update(np.ascontiguousarray(pixels_HWC).data)
    return digest.hexdigest()


def _check_colours(pixels_HWC: NDArray[np.uint8], name: str) -> None:
    """Raise `ImageError` for a picture of one colour; one of a thousand pixels may be a hot one or
    dust."""
    step = max(1, min(pixels_HWC.shape[:2]) // _SAMPLED_SIDE)
    sample_HWC = np.ascontiguousarray(pixels_HWC[::step, ::step])
    counts = np.array(Image.fromarray(sample_HWC).histogram(), dtype=np.int64).reshape(3, 256)
    few = sample_HWC.size // (3 * 2 * _SPECKS)
    below, above = counts.cumsum(axis=1), counts[:, ::-1].cumsum(axis=1)
    lowest = (below > few).argmax(axis=1)
    highest = 255 - (above > few).argmax(axis=1)
    spread = int((highest - lowest).max())
    if spread <= MAX_ONE_COLOUR:
        raise ImageError(
            "one_colour",
            f"{name} must show something",
            f"no channel varies by more than {spread} of 255",
            "replace the file by an intact copy, or remove it",
        )


_SPECKS = 1000
_SAMPLED_SIDE = 64
"""A sample of so many rows and columns, or more, tells whether there is more than one colour."""


def decode_image(content: bytes, box: Box | None = None, name: str = "image") -> NDArray[np.uint8]:
    """Decode image bytes to RGB: uint8 array of shape `(H, W, 3)`, values 0 to 255.

    EXIF rotation is applied; transparency is laid on white, the colour of an empty field, and
    ignored where nothing would be seen; 16-bit and floating-point greys are scaled to 8 bits; CMYK
    and palettes become RGB; of an animation the first frame counts. `box` cuts one cell out, after
    rotation. Threads that decode at the same time share `_DECODING_BYTES`.

    Raises `ImageError` as `probe_image` does, though not for one colour, and with reason `bad_box`
    for a box that is empty or reaches outside.
    """
    pixels_HWC, _ = _read_pixels(content, name)
    if box is None:
        return pixels_HWC
    check_box(box, pixels_HWC.shape[1], pixels_HWC.shape[0], name)
    x_min, y_min, x_max, y_max = box
    return pixels_HWC[y_min:y_max, x_min:x_max]


def _read_pixels(content: bytes, name: str) -> tuple[NDArray[np.uint8], int]:
    with _translated(content, name):
        image = _open(content, name)
        with _budget.reserve(_BYTES_PER_PIXEL * image.width * image.height):
            image, peak_16 = _load(image, content, name)
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, name), peak_16


def read_has_colour(path: Path) -> bool | None:
    """Tell from its header whether an image has colours, and not one channel or a palette; None
    where it is no image that can be read."""
    try:
        content = load_content(path)
        with _translated(content, path.name):
            return _open(content, path.name).mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")
    except ImageError:
        return None


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


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return the pixels, uint8 `(H, W, 3)`; made in bands, since copies of a whole field of view
    would take gigabytes."""
    convert = _choose_conversion(image, name)
    pixels_HWC = np.empty((image.height, image.width, 3), np.uint8)
    top = 0
    for band in list_bands(image):
        pixels_HWC[top : top + band.height] = convert(band)
        top += band.height
    return pixels_HWC


def _choose_conversion(image: Image.Image, name: str) -> Callable[[Image.Image], NDArray[np.uint8]]:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips 16-bit greys at 255, which turns microscope TIFFs white; scale instead.
        peak = float(_list_extrema(image)[0][1])
        if image.mode != "F" and not (peak <= 255.0 and image.mode == "I"):
            peak = 65535.0
        return lambda band: scale_floats(np.asarray(band, dtype=np.float64), name, peak)[..., None]
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        # Where all is transparent the alpha is an oversight of the program that wrote it.
        if all(band.convert("RGBA").getchannel("A").getextrema()[1] == 0 for band in
               list_bands(image)):  # fmt: skip
            return lambda band: np.asarray(band.convert("RGBA"))[..., :3]
        return _lay_on_white
    return lambda band: np.asarray(band if band.mode == "RGB" else band.convert("RGB"))


def _lay_on_white(image: Image.Image) -> NDArray[np.uint8]:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


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
    """Return what a network is given of a decoded image, or of the square around a located cell
    (`check_located`): resized, colours standardised where `config.stain` asks for it; uint8
    `(S, S, 3)`."""
    resized_SSC = resize_image(pixels_HWC, config.image_size, config.resize, config.interpolation)
    return standardise_stain(resized_SSC, config)


def load_input(path: Path, config: InputConfig, box: Box | None = None) -> NDArray[np.uint8]:
    """Read, decode and prepare one image file: uint8 `(S, S, 3)`. Raises `ImageError`, and as
    `check_located`."""
    check_located(config, box, str(path))
    return prepare_image(decode_file(path, box), config)


def check_located(config: InputConfig, box: Box | None, name: str) -> None:
    """Raise `DataError` where a network of located cells would be given a whole image."""
    if config.cells == "located" and box is None:
        raise DataError(
            "a network that was trained on located cells needs the square around the cell",
            f"the whole of {name}",
            "locate the cells first (`leukoscope.pipelines.locate_images`), or use the commands",
        )


def probe_file(path: Path) -> ImageFacts:
    """Do what `probe_image` does, of a file."""
    with _hold_content(path):
        return probe_image(load_content(path), str(path))


def decode_file(path: Path, box: Box | None = None, sha256: str | None = None) -> Pixels:
    """Do what `decode_image` does, of a file; errors also as in `load_content`. Threads that decode
    files at the same time share `_CONTENT_BYTES` for what is read."""
    with _hold_content(path):
        return decode_image(load_content(path, sha256), box, str(path))


@contextlib.contextmanager
def hold_picture(path: Path) -> Iterator[tuple[Pixels, str]]:
    """Yield a decoded file and the SHA-256 of its bytes for as long as it is worked on: threads
    that do so at the same time share `_HELD_BYTES`. Errors as in `decode_file`."""
    size = read_size(path) or (0, 0)  # whoever decodes it says why
    n_bytes = 3 * size[0] * size[1] if size[0] * size[1] <= MAX_PIXELS else 0
    with _held_budget.reserve(n_bytes):
        with _hold_content(path):
            content = load_content(path)
            pixels_HWC = decode_image(content, name=path.name)
            sha256 = hashlib.sha256(content).hexdigest()
        del content
        yield pixels_HWC, sha256


def read_size(path: Path) -> tuple[int, int] | None:
    """Return width and height as the header of a file says, before EXIF rotation; None where there
    is none that can be read; `MAX_PIXELS` twice for an image that is too large to be opened at
    all, as slides are. Nothing is decoded."""
    try:
        with open_file(path) as file, _translated(b"", path.name):
            return Image.open(file, formats=_FORMATS).size
    except FileError as error:
        return (MAX_PIXELS, MAX_PIXELS) if error.reason == "too_large" else None


@contextlib.contextmanager
def _hold_content(path: Path) -> Iterator[None]:
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        size = 0  # whoever reads it says why
    with _content_budget.reserve(size if size <= MAX_BYTES else 0):
        yield


def load_content(path: Path, sha256: str | None = None) -> bytes:
    """Read an image file, and check that it still is what a catalog saw, if its hash is given.

    Raises `ImageError` if it cannot be read as `storage.read_file` says, or has changed.
    """
    try:
        content = read_file(path, MAX_BYTES)
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
    return resize_image(decode_file(path, box), size_px, resize, interpolation)
