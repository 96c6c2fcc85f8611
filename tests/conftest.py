"""Small things that many tests share: a folder of tiny coloured images, and the real data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

REAL_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

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


@pytest.fixture(scope="session")
def disc_folder(tmp_path_factory):
    """Four classes of twelve discs each; read only."""
    return save_discs(tmp_path_factory.mktemp("discs") / "cells")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images, or a skip."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real images are not here: {REAL_DATA} does not exist")
    return REAL_DATA
