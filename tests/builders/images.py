"""Tiny coloured images, painted fields and smooth pictures; images as bytes."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from leukoscope.errors import ImageError

COLOURS = {
    "EOSINOPHIL": (220, 120, 90),
    "LYMPHOCYTE": (90, 60, 160),
    "MONOCYTE": (150, 150, 190),
    "NEUTROPHIL": (200, 160, 200),
}


def draw_disc(colour, seed, size=32):
    """A noisy disc on a pale ground: enough for a network to learn in a few steps."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), (240, 230, 235))
    x, y = generator.integers(size // 3, 2 * size // 3, 2)
    r = size // 4
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=colour)
    noise = generator.normal(0, 6, (size, size, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def save_discs(folder, per_class=12, classes=tuple(COLOURS), size=32):
    """One folder per class, `per_class` different PNG files in each."""
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            draw_disc(COLOURS[name], 1000 * k + i, size).save(folder / name / f"{i:03d}.png")
    return folder


def paint_field(seed, height=240, width=320, cells=None):
    """A field of overlapping stained discs on an uneven background: uint8 RGB."""
    import cv2

    rng = np.random.default_rng(seed)
    base = rng.normal(0, 1, (height // 24 + 2, width // 24 + 2, 3)).astype(np.float32)
    field = 222 + 7 * cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(cells or height * width // 1300):
        centre = tuple(int(v) for v in rng.integers((0, 0), (width, height)))
        axes = tuple(int(v) for v in rng.integers(6, 20, 2))
        turn = float(rng.integers(0, 180))
        colour = (rng.uniform((120, 60, 110), (225, 185, 205))).tolist()
        cv2.ellipse(field, centre, axes, turn, 0, 360, colour, -1)
        inner = tuple(max(2, a // int(rng.integers(2, 4))) for a in axes)
        spot = (centre[0] + int(rng.integers(-4, 5)), centre[1] + int(rng.integers(-4, 5)))
        cv2.ellipse(
            field, spot, inner, turn, 0, 360, [c * rng.uniform(0.6, 1.2) for c in colour], -1
        )
    field = cv2.GaussianBlur(field, (0, 0), 1.0) + rng.normal(0, 1.5, field.shape)
    return np.clip(field, 0, 255).astype(np.uint8)


def paint(seed, size=(48, 48)):
    """A smooth coloured picture without symmetry: uint8 (H, W, 3)."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    rough_HWC = rng.normal(size=(size[1], size[0], 3))
    smooth_HWC = ndimage.gaussian_filter(rough_HWC, (4, 4, 0))
    low, high = smooth_HWC.min(), smooth_HWC.max()
    return np.rint(40 + 180 * (smooth_HWC - low) / (high - low)).astype(np.uint8)


def records_of(split, role):
    """The records of a role, in the catalog's order."""
    return [r for r, own in zip(split.catalog.records, split.roles, strict=True) if own == role]


def encode(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reason_of(call, *args):
    with pytest.raises(ImageError) as caught:
        call(*args)
    return caught.value.reason


def write_png(width, height, bits, colour, rows):
    """A PNG whose compressed rows are as given."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
