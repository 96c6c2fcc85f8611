"""Painted smear cells with known truth, for the demonstration and the tests.

A crop is painted the way a stained smear makes its colours: four dyes lie in the plane of the
smear (azure in chromatin, azure in cytoplasm, eosin in granules, haemoglobin with eosin in red
cells), each with its own absorption per colour channel, and light passes through them
(Beer-Lambert). A slide has its own dyes, lamp and lens, so that colour alone does not name a cell.

What this file does not do: it does not imitate disease, and it stands for no patient material. A
network that does well on painted cells shows that the program works, and nothing more.

Arrays: H, W rows and columns in pixels; C red, green, blue; D the four dyes. Lengths inside a
white cell are in units of its radius.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leukoscope.data.catalog import write_rows
from leukoscope.errors import ConfigError
from leukoscope.painted.folders import MARKER, check_folder
from leukoscope.painted.forms import Array, draw_noise
from leukoscope.painted.red_cells import (
    draw_platelet,
    draw_red_cell,
    paint_platelet,
    paint_red_cell,
)
from leukoscope.painted.slides import Slide, draw_slide
from leukoscope.painted.white_cells import LABELS, draw_white_cell, paint_white_cell
from leukoscope.records import save_record
from leukoscope.storage import create_folder, storage_errors

SOURCES_PER_SLIDE = 8
"""So many sources in a row come from one slide. Source k shows `LABELS[k % 4]`, so that every slide
holds every class."""

MIN_SIZE_PX = 32
"""Smaller crops cannot show what tells the classes apart."""

_STYLE = 1
"""To be raised whenever the same arguments paint other pixels."""

_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class PaintedImage:
    """One painted crop and its truth.

    `name` is unique in its set and says nothing of the source. Images of one `source` show the
    same cell: copy 0 as painted, the others moved. `pixels_HWC` is uint8 RGB.
    """

    name: str
    label: str
    source: str
    slide: str
    copy: int
    pixels_HWC: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Painting:
    """What a painted set was made with; the marker of its folder (`painted.json`)."""

    copies: int
    n_sources: int
    seed: int
    size_px: int
    style: int


def paint_cells(
    n_sources: int, *, copies: int = 4, size_px: int = 96, seed: int = 0
) -> Iterator[PaintedImage]:
    """Paint `n_sources` cells, each in `copies` images of `size_px` x `size_px` pixels.

    Classes and slides take turns. Copy 0 is the cell as painted; the others are rotated by up to
    20 degrees, shifted by up to 10 %, sheared by up to 0.2, flipped, and filled with black, as in
    the Kaggle blood-cell set. Pixels depend on the source's number, the copy's number, the size and
    the seed alone: more sources or copies change no other image. Names are a shuffled running
    number over the whole set, so they do depend on its size. The same versions of numpy and
    Pillow paint the same pixels.

    Raises `ConfigError` on a wrong argument, at once.

    >>> first = next(paint_cells(4, copies=2))
    >>> first.label, first.source, first.slide, first.copy, first.pixels_HWC.shape
    ('neutrophil', 'source_00000', 'slide_00', 0, (96, 96, 3))
    """
    _check_arguments(n_sources, copies, size_px, seed)
    return _paint_all(n_sources, copies, size_px, seed)


def save_painted(
    folder: str | Path,
    n_sources: int = 160,
    *,
    copies: int = 4,
    size_px: int = 96,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a painted set and return the path of its table, `folder/painted.csv`.

    The images lie in `folder/images/CLASS/NAME.png`; the table has the columns `path` (relative
    to the folder), `label`, `source`, `slide` and `copy`, and can be scanned as it is. It is
    written last: a set without it is not finished, and the same call finishes it. A finished set
    of the same arguments is left as it is. `on_progress` hears images done and all.

    Raises `ConfigError` on a wrong argument, and `StorageError` if the folder cannot be written
    or holds anything but a set of the same arguments; nothing is overwritten then.
    """
    folder = Path(folder)
    _check_arguments(n_sources, copies, size_px, seed)
    painting = Painting(copies, n_sources, seed, size_px, _STYLE)
    table = folder / "painted.csv"
    check_folder(folder, painting)
    total = n_sources * copies
    with storage_errors(folder):
        finished = table.is_file() and len(list(folder.glob("images/*/*.png"))) == total
    if finished:
        return table
    create_folder(folder)
    save_record(painting, folder / MARKER)
    for label in LABELS:
        create_folder(folder / "images" / label.upper())
    rows = []
    for done, image in enumerate(_paint_all(n_sources, copies, size_px, seed), start=1):
        path = Path("images", image.label.upper(), f"{image.name}.png")
        with storage_errors(folder / path):
            Image.fromarray(image.pixels_HWC).save(folder / path)
        rows.append(
            {
                "path": path.as_posix(),
                "label": image.label,
                "source": image.source,
                "slide": image.slide,
                "copy": str(image.copy),
            }
        )
        if on_progress is not None:
            on_progress(done, total)
    # In the order of names: the order of painting would show which images belong together.
    rows.sort(key=lambda row: row["path"])
    write_rows(rows, ("path", "label", "source", "slide", "copy"), table)
    return table


def _check_arguments(n_sources: int, copies: int, size_px: int, seed: int) -> None:
    lowest = {"n_sources": 1, "copies": 1, "size_px": MIN_SIZE_PX, "seed": 0}
    given = {"n_sources": n_sources, "copies": copies, "size_px": size_px, "seed": seed}
    for name, least in lowest.items():
        if given[name] < least:
            raise ConfigError(
                f"{name} must be at least {least}",
                f"it is {given[name]}",
                f"set it to {least} or more",
            )


def _paint_all(n_sources: int, copies: int, size_px: int, seed: int) -> Iterator[PaintedImage]:
    numbers = np.random.default_rng([seed, 0]).permutation(n_sources * copies)
    for k in range(n_sources):
        label, slide = LABELS[k % len(LABELS)], k // SOURCES_PER_SLIDE
        rng = np.random.default_rng([seed, 2, k])
        original = _paint_source(label, draw_slide(seed, slide), size_px, rng)
        for copy in range(copies):
            image = original
            if copy:
                image = _move(original, np.random.default_rng([seed, 3, k, copy]))
            yield PaintedImage(
                name=f"{numbers[k * copies + copy]:05d}",
                label=label,
                source=f"source_{k:05d}",
                slide=f"slide_{slide:02d}",
                copy=copy,
                pixels_HWC=np.array(image),
            )


# -- crop -----------------------------------------------------------------------------------------


def _paint_source(label: str, slide: Slide, size_px: int, rng: np.random.Generator) -> Image.Image:
    side = size_px * _SUPERSAMPLING
    unit = slide.red_cell_frac * rng.uniform(0.85, 1.15) * side
    cell = draw_white_cell(label, rng)
    x, y = side * (0.5 + rng.uniform(-0.08, 0.08, 2))
    radius = 0.5 * unit * cell.diameter
    density_DHW = np.zeros((4, side, side))
    _paint_red_cells(density_DHW, slide, unit, (x, y, radius), rng)
    _paint_platelets(density_DHW, unit, (x, y, radius), rng)
    paint_white_cell(density_DHW, cell, x, y, radius, rng)
    return _photograph(density_DHW, slide, size_px, rng)


def _paint_red_cells(
    density_DHW: Array,
    slide: Slide,
    unit: float,
    white: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    side = density_DHW.shape[1]
    placed: list[tuple[float, float]] = []
    for _ in range(int(rng.poisson(slide.crowding * rng.uniform(0.5, 1.5)))):
        x, y = rng.uniform(-0.08, 1.08, 2) * side
        cell = draw_red_cell(rng, x, y, unit, slide.pallor)
        # White cells push red cells aside; a little overlap remains.
        if math.hypot(x - white[0], y - white[1]) < 0.84 * (cell.radius + white[2]):
            continue
        if any(math.hypot(x - other[0], y - other[1]) < 0.7 * unit for other in placed):
            continue
        placed.append((x, y))
        paint_red_cell(density_DHW, cell)


def _paint_platelets(
    density_DHW: Array, unit: float, white: tuple[float, float, float], rng: np.random.Generator
) -> None:
    side = density_DHW.shape[1]
    for _ in range(int(rng.poisson(1.3))):
        x, y = rng.uniform(0.02, 0.98, 2) * side
        platelet = draw_platelet(rng, x, y, unit)
        if math.hypot(x - white[0], y - white[1]) >= 1.2 * white[2] + platelet.radius:
            paint_platelet(density_DHW, platelet, rng)


def _photograph(
    density_DHW: Array, slide: Slide, size_px: int, rng: np.random.Generator
) -> Image.Image:
    """Let light through the dyes, and lens, sensor and JPEG encoder spoil the picture a little."""
    side = density_DHW.shape[1]
    # Crops of one slide differ too: thickness of the smear, exposure, white balance.
    dyes_DC = slide.dyes_DC * rng.uniform(0.72, 1.28, (4, 1)) * rng.uniform(0.92, 1.08, (4, 3))
    light_C = slide.light_C * rng.uniform(0.88, 1.02) * rng.uniform(0.96, 1.04, 3)
    od_HWC = np.tensordot(density_DHW, dyes_DC, axes=(0, 0))
    y_HW, x_HW = np.mgrid[0:side, 0:side] / side - 0.5
    tilt = rng.uniform(-0.08, 0.08, 2)
    lamp_HW = 1 + tilt[0] * x_HW + tilt[1] * y_HW - 0.12 * (x_HW**2 + y_HW**2)
    lamp_HW += 0.008 * draw_noise(side, side, side / 5, rng)
    light_HWC = light_C * np.exp(-od_HWC) * lamp_HW[:, :, None]
    picture = Image.fromarray(np.clip(light_HWC, 0, 255).round().astype(np.uint8))
    # Focus is a property of the crop as much as of the slide; the scale keeps it size-free.
    blur = slide.blur_px * rng.uniform(0.7, 1.6) * _SUPERSAMPLING * max(1.0, size_px / 96)
    picture = picture.filter(ImageFilter.GaussianBlur(blur))
    picture = picture.resize((size_px, size_px), Image.Resampling.BOX)
    grain_HWC = rng.normal(0.0, slide.noise, (size_px, size_px, 3))
    noisy_HWC = np.clip(np.asarray(picture) + grain_HWC, 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy_HWC).save(buffer, "JPEG", quality=slide.jpeg_quality)
    return Image.open(buffer).convert("RGB")


def _move(original: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = original.width
    angle, shear = math.radians(rng.uniform(-20, 20)), rng.uniform(-0.2, 0.2)
    flip_x, flip_y = rng.choice([-1.0, 1.0], 2)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([flip_x, flip_y])
    # Pillow wants the way back: from a pixel of the copy to its place in the original.
    centre = np.full(2, side / 2)
    offset = centre + rng.uniform(-0.1, 0.1, 2) * side - matrix @ centre
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    return original.transform(
        (side, side),
        Image.Transform.AFFINE,
        tuple(float(value) for value in coefficients),
        Image.Resampling.BILINEAR,
        fillcolor=(0, 0, 0),
    )
