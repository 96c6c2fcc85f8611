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
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leukoscope.data.catalog import write_rows
from leukoscope.errors import ConfigError, StorageError
from leukoscope.records import load_record, save_record
from leukoscope.storage import create_folder, storage_errors

LABELS = ("neutrophil", "eosinophil", "lymphocyte", "monocyte")
"""The painted classes; source k shows `LABELS[k % 4]`."""

SOURCES_PER_SLIDE = 8
"""So many sources in a row come from one slide: every slide holds every class."""

MIN_SIZE_PX = 32
"""Smaller crops cannot show what tells the classes apart."""

_STYLE = 1
"""To be raised whenever the same arguments paint other pixels."""

_SUPERSAMPLING = 2

Array = NDArray[np.float64]

# Absorption of the four dyes per channel, read off white-balanced smears (OD, natural logarithm).
_CHROMATIN, _CYTOPLASM, _EOSIN, _HAEMOGLOBIN = range(4)
_DYES_DC = np.array(
    [[0.80, 1.22, 0.38], [0.66, 0.60, 0.17], [0.22, 0.90, 0.68], [0.22, 0.42, 0.30]]
)


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
    marker, table = folder / "painted.json", folder / "painted.csv"
    _check_folder(folder, marker, painting)
    total = n_sources * copies
    with storage_errors(folder):
        finished = table.is_file() and len(list(folder.glob("images/*/*.png"))) == total
    if finished:
        return table
    create_folder(folder)
    save_record(painting, marker)
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


def _check_folder(folder: Path, marker: Path, painting: Painting) -> None:
    with storage_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        found = None
        if marker.is_file():
            found = load_record(Painting, marker, "leukoscope data paint", StorageError)
    if found != painting:
        raise StorageError(
            f"{folder} must be new, empty, or hold the same painted set",
            "other files" if found is None else f"a set painted with {asdict(found)}",
            "choose another folder",
        )


def _paint_all(n_sources: int, copies: int, size_px: int, seed: int) -> Iterator[PaintedImage]:
    numbers = np.random.default_rng([seed, 0]).permutation(n_sources * copies)
    for k in range(n_sources):
        label, slide = LABELS[k % len(LABELS)], k // SOURCES_PER_SLIDE
        rng = np.random.default_rng([seed, 2, k])
        original = _paint_source(label, _draw_slide(seed, slide), size_px, rng)
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


# -- slide ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Slide:
    """What all crops of a slide share."""

    light_C: Array  # colour of the empty background, 0..255
    dyes_DC: Array
    red_cell_frac: float  # diameter of a red cell in crop sides
    crowding: float  # red cells per crop, on average
    pallor: float
    blur_px: float
    noise: float
    jpeg_quality: int


def _draw_slide(seed: int, slide: int) -> _Slide:
    rng = np.random.default_rng([seed, 1, slide])
    # Between the cream of a scanner and the cool grey of a camera on a microscope.
    warm, lilac = rng.uniform(), rng.uniform()
    light_C = (
        warm * np.array([254.0, 231.0, 207.0]) + (1 - warm) * np.array([216.0, 219.0, 214.0])
    ) + lilac * np.array([-8.0, -8.0, 10.0])
    amount_D = rng.uniform([0.85, 0.75, 0.75, 0.75], [1.15, 1.25, 1.25, 1.35])
    dyes_DC = _DYES_DC * rng.uniform(0.91, 1.09, (4, 3)) * amount_D[:, None]
    # From grey-pink to orange: the buffer's pH decides how much eosin red cells take up.
    orange = rng.uniform(-0.4, 1.0)
    dyes_DC[_HAEMOGLOBIN] *= 1 + orange * np.array([-0.35, 0.10, 0.55])
    return _Slide(
        light_C=light_C * rng.uniform(0.93, 1.0),
        dyes_DC=dyes_DC,
        red_cell_frac=float(rng.uniform(0.195, 0.235)),
        crowding=float(rng.uniform(14, 32)),
        pallor=float(rng.uniform(0.55, 0.88)),
        blur_px=float(rng.uniform(0.35, 0.75)),
        noise=float(rng.uniform(1.0, 3.0)),
        jpeg_quality=int(rng.integers(82, 95)),
    )


# -- crop -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Window:
    """A square piece of the canvas, and where a thing at its centre has its pixels."""

    rows: slice
    columns: slice
    x_HW: Array
    y_HW: Array


def _open_window(side: int, x: float, y: float, reach: float) -> _Window:
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(side, int(y + reach) + 2), min(side, int(x + reach) + 2)
    rows, columns = slice(top, max(top, bottom)), slice(left, max(left, right))
    y_HW, x_HW = np.mgrid[rows, columns].astype(float)
    return _Window(rows, columns, x_HW - x, y_HW - y)


def _paint_source(label: str, slide: _Slide, size_px: int, rng: np.random.Generator) -> Image.Image:
    side = size_px * _SUPERSAMPLING
    unit = slide.red_cell_frac * rng.uniform(0.85, 1.15) * side
    cell = _draw_cell(label, rng)
    x, y = side * (0.5 + rng.uniform(-0.08, 0.08, 2))
    radius = 0.5 * unit * cell.diameter
    density_DHW = np.zeros((4, side, side))
    _paint_red_cells(density_DHW, slide, unit, (x, y, radius), rng)
    _paint_platelets(density_DHW, unit, (x, y, radius), rng)
    _paint_white_cell(density_DHW, cell, x, y, radius, rng)
    return _photograph(density_DHW, slide, size_px, rng)


def _photograph(
    density_DHW: Array, slide: _Slide, size_px: int, rng: np.random.Generator
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
    lamp_HW += 0.008 * _draw_noise(side, side, side / 5, rng)
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


# -- around the white cell ------------------------------------------------------------------------


def _paint_red_cells(
    density_DHW: Array,
    slide: _Slide,
    unit: float,
    white: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    side = density_DHW.shape[1]
    placed: list[tuple[float, float]] = []
    for _ in range(int(rng.poisson(slide.crowding * rng.uniform(0.5, 1.5)))):
        x, y = rng.uniform(-0.08, 1.08, 2) * side
        radius = 0.5 * unit * rng.normal(1.0, 0.06)
        stretch, angle = 1 + abs(rng.normal(0, 0.10)), rng.uniform(0, math.pi)
        bumps = _draw_outline(rng, 0.025)
        crenated = rng.uniform() < 0.03
        pallor = slide.pallor * rng.uniform(0.7, 1.1) * (rng.uniform() > 0.10)
        width, offset = rng.uniform(0.38, 0.58), rng.normal(0, 0.06, 2)
        strength = rng.uniform(0.85, 1.15)
        # White cells push red cells aside; a little overlap remains.
        if math.hypot(x - white[0], y - white[1]) < 0.84 * (radius + white[2]):
            continue
        if any(math.hypot(x - other[0], y - other[1]) < 0.7 * unit for other in placed):
            continue
        placed.append((x, y))
        window = _open_window(side, x, y, 1.6 * radius)
        u_HW = (window.x_HW * math.cos(angle) + window.y_HW * math.sin(angle)) / radius / stretch
        v_HW = (window.y_HW * math.cos(angle) - window.x_HW * math.sin(angle)) / radius * stretch
        theta_HW = np.arctan2(v_HW, u_HW)
        rim_HW = 1 + _trace_outline(bumps, theta_HW)
        if crenated:
            rim_HW += 0.04 * np.cos(13 * theta_HW)
        far_HW = np.hypot(u_HW, v_HW) / rim_HW
        inside_HW = _soften((1 - far_HW) * radius, 1.4)
        well_HW = np.hypot(u_HW - offset[0], v_HW - offset[1]) / width
        plate_HW = 1 - pallor * np.exp(-(well_HW**2.8))
        plate_HW += 0.18 * np.exp(-(((far_HW - 0.90) / 0.08) ** 2))
        new_HW = inside_HW * plate_HW * strength
        # Cells that lie on each other flatten: darker than one, lighter than two.
        old_HW = density_DHW[_HAEMOGLOBIN, window.rows, window.columns]
        old_HW += new_HW - 0.45 * np.minimum(old_HW, new_HW)


def _paint_platelets(
    density_DHW: Array, unit: float, white: tuple[float, float, float], rng: np.random.Generator
) -> None:
    side = density_DHW.shape[1]
    for _ in range(int(rng.poisson(1.3))):
        x, y = rng.uniform(0.02, 0.98, 2) * side
        radius = unit * rng.uniform(0.10, 0.19)
        bumps = _draw_outline(rng, 0.14)
        if math.hypot(x - white[0], y - white[1]) < 1.2 * white[2] + radius:
            continue
        window = _open_window(side, x, y, 1.8 * radius)
        theta_HW = np.arctan2(window.y_HW, window.x_HW)
        far_HW = np.hypot(window.x_HW, window.y_HW) / radius / (1 + _trace_outline(bumps, theta_HW))
        body_HW = _soften((1 - far_HW) * radius, 1.6)
        rows, columns = far_HW.shape
        grain_HW = 0.5 + 0.5 * np.tanh(_draw_noise(rows, columns, radius / 2.2, rng))
        core_HW = grain_HW * np.exp(-((far_HW / 0.65) ** 2))
        here = (window.rows, window.columns)
        density_DHW[(_CYTOPLASM, *here)] += 0.18 * body_HW
        density_DHW[(_CHROMATIN, *here)] += body_HW * (0.16 + 0.75 * core_HW)


# -- white cell -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lobe:
    """A rod with round ends; a disc if both ends are one. In cell radii."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float


@dataclass(frozen=True, slots=True)
class _Cell:
    """One white cell, before it is painted. `diameter` is in red-cell diameters."""

    diameter: float
    lobes: tuple[_Lobe, ...]
    melt: float  # how softly lobes flow together
    outline: float  # how uneven the border of the cell is
    warp: float  # how uneven the border of the nucleus is
    chromatin: float
    clumps: float  # contrast of the chromatin
    clump_size: float
    lacy: float  # share of strands instead of clumps
    blue: float  # basophilia of the cytoplasm
    pink: float
    granules: int
    granule_radius: float
    granule_strength: float
    granule_dye: int
    dust: float  # fine granules, too small to be drawn one by one
    vacuoles: int


def _draw_cell(label: str, rng: np.random.Generator) -> _Cell:
    paint = {
        "neutrophil": _draw_neutrophil,
        "eosinophil": _draw_eosinophil,
        "lymphocyte": _draw_lymphocyte,
        "monocyte": _draw_monocyte,
    }
    return paint[label](rng)


def _draw_neutrophil(rng: np.random.Generator) -> _Cell:
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.08, 0.12, 0.42, 0.29, 0.09]))
    if count == 1:
        # A band form: a bent rod of even width.
        lobes = _bend_rod(rng, 0.50, rng.uniform(2.6, 4.0), 0.22)
    else:
        lobes = _chain_lobes(rng, count, 0.54 / math.sqrt(count), rng.uniform(0.04, 0.09))
    # Coarse granules, violet or salmon: the neutrophil that is taken for an eosinophil.
    coarse = rng.uniform() < 0.12
    dye = int(rng.choice([_CHROMATIN, _EOSIN]))
    return _Cell(
        diameter=rng.uniform(1.55, 1.9),
        lobes=lobes,
        melt=0.05,
        outline=0.03,
        warp=0.05,
        chromatin=rng.uniform(1.05, 1.3),
        clumps=0.30,
        clump_size=0.15,
        lacy=0.1,
        blue=rng.uniform(0.06, 0.16),
        pink=rng.uniform(0.14, 0.26),
        granules=int(rng.integers(90, 150)) if coarse else 0,
        granule_radius=0.040,
        granule_strength=0.35,
        granule_dye=dye,
        dust=rng.uniform(0.10, 0.20),
        vacuoles=0,
    )


def _draw_eosinophil(rng: np.random.Generator) -> _Cell:
    count = int(rng.choice([2, 3], p=[0.82, 0.18]))
    size = rng.uniform(0.35, 0.41) if count == 2 else rng.uniform(0.28, 0.32)
    pale = rng.uniform() < 0.12
    return _Cell(
        diameter=rng.uniform(1.6, 1.95),
        lobes=_chain_lobes(rng, count, size, rng.uniform(0.06, 0.14)),
        melt=0.06,
        outline=0.03,
        warp=0.05,
        chromatin=rng.uniform(0.9, 1.15),
        clumps=0.28,
        clump_size=0.16,
        lacy=0.1,
        blue=rng.uniform(0.05, 0.14),
        pink=rng.uniform(0.18, 0.32),
        granules=int(rng.integers(220, 300)),
        granule_radius=rng.uniform(0.058, 0.072),
        granule_strength=rng.uniform(0.35, 0.5) if pale else rng.uniform(0.55, 0.95),
        granule_dye=_EOSIN,
        dust=0.0,
        vacuoles=0,
    )


def _draw_lymphocyte(rng: np.random.Generator) -> _Cell:
    large = rng.uniform() < 0.15
    size = rng.uniform(0.66, 0.76) if large else rng.uniform(0.80, 0.91)
    angle = rng.uniform(0, 2 * math.pi)
    away, along = 0.7 * (0.95 - size) * rng.uniform(0, 1), rng.uniform(0.0, 0.16) * size
    x, y = away * math.cos(angle), away * math.sin(angle)
    turn = rng.uniform(0, math.pi)
    dx, dy = along * math.cos(turn), along * math.sin(turn)
    return _Cell(
        diameter=rng.uniform(1.4, 1.75) if large else rng.uniform(1.02, 1.32),
        lobes=(_Lobe((x - dx, y - dy), (x + dx, y + dy), size - along),),
        melt=0.05,
        outline=0.035,
        warp=0.03,
        chromatin=rng.uniform(0.95, 1.15) if large else rng.uniform(1.15, 1.45),
        clumps=0.20,
        clump_size=0.30,
        lacy=0.0,
        blue=rng.uniform(0.38, 0.65),
        pink=0.0,
        granules=int(rng.integers(0, 9)) if large else 0,
        granule_radius=0.04,
        granule_strength=0.6,
        granule_dye=_CHROMATIN,
        dust=0.05,
        vacuoles=0,
    )


def _draw_monocyte(rng: np.random.Generator) -> _Cell:
    shape = rng.choice(["horseshoe", "kidney", "folded"], p=[0.30, 0.45, 0.25])
    if shape == "horseshoe":
        lobes = _bend_rod(rng, 0.42, rng.uniform(2.6, 3.8), rng.uniform(0.28, 0.34))
    elif shape == "kidney":
        lobes = _bend_rod(rng, 0.33, rng.uniform(1.7, 2.5), rng.uniform(0.40, 0.47))
    else:
        lobes = _chain_lobes(rng, 2, rng.uniform(0.42, 0.47), 0.30)
    return _Cell(
        diameter=rng.uniform(1.8, 2.4),
        lobes=lobes,
        melt=0.16,
        outline=rng.uniform(0.04, 0.09),
        warp=0.06,
        chromatin=rng.uniform(0.72, 0.95),
        clumps=0.34,
        clump_size=0.11,
        lacy=0.8,
        blue=rng.uniform(0.28, 0.46),
        pink=rng.uniform(0.02, 0.10),
        granules=0,
        granule_radius=0.03,
        granule_strength=0.3,
        granule_dye=_CHROMATIN,
        dust=rng.uniform(0.08, 0.16),
        vacuoles=int(rng.integers(2, 9)) if rng.uniform() < 0.35 else 0,
    )


def _chain_lobes(
    rng: np.random.Generator, count: int, radius: float, bridge: float
) -> tuple[_Lobe, ...]:
    """Lay lobes along an arc round the middle of the cell, joined by bridges."""
    ring = min(0.86 - radius, 0.50) * rng.uniform(0.85, 1.0)
    # Neighbours on the ring about two radii apart.
    step = 2 * math.asin(min(0.98, radius * rng.uniform(1.06, 1.32) / ring))
    step = min(step, 2 * math.pi / count)
    angles = rng.uniform(0, 2 * math.pi) + step * np.arange(count) + rng.normal(0, 0.08, count)
    reach = ring * rng.uniform(0.80, 1.08, count)
    xs, ys = reach * np.cos(angles), reach * np.sin(angles)
    lobes = []
    for x, y, angle in zip(xs, ys, angles, strict=True):
        # Longish lobes, turned at random about the ring.
        size = radius * rng.uniform(0.84, 1.08)
        turn, long = angle + rng.normal(math.pi / 2, 0.6), size * rng.uniform(0.05, 0.40)
        dx, dy = long * math.cos(turn), long * math.sin(turn)
        lobes.append(_Lobe((x - dx, y - dy), (x + dx, y + dy), size - 0.4 * long))
    lobes += [_Lobe((xs[i], ys[i]), (xs[i + 1], ys[i + 1]), bridge) for i in range(count - 1)]
    return tuple(lobes)


def _bend_rod(
    rng: np.random.Generator, ring: float, sweep: float, radius: float
) -> tuple[_Lobe, ...]:
    """Bend a rod round a point off the middle, so that its mass stays in the middle."""
    facing = rng.uniform(0, 2 * math.pi)
    angles = facing + np.linspace(-sweep / 2, sweep / 2, 7)
    middle = ring * 2 * math.sin(sweep / 2) / sweep * 0.8
    xs = ring * np.cos(angles) - middle * math.cos(facing)
    ys = ring * np.sin(angles) - middle * math.sin(facing)
    # Thickness runs evenly along the rod: steps would show as corners.
    sizes = radius * (1 + 0.10 * np.sin(rng.uniform(0, 2 * math.pi) + np.linspace(0, 2.5, 6)))
    return tuple(_Lobe((xs[i], ys[i]), (xs[i + 1], ys[i + 1]), sizes[i]) for i in range(6))


def _paint_white_cell(
    density_DHW: Array, cell: _Cell, x: float, y: float, radius: float, rng: np.random.Generator
) -> None:
    window = _open_window(density_DHW.shape[1], x, y, 1.4 * radius)
    u_HW, v_HW = window.x_HW / radius, window.y_HW / radius
    rows, columns = u_HW.shape

    def draw_noise(scale: float) -> Array:
        return _draw_noise(rows, columns, max(1.5, scale * radius), rng)

    rim_HW = 1 + _trace_outline(_draw_outline(rng, cell.outline), np.arctan2(v_HW, u_HW))
    far_HW = np.hypot(u_HW, v_HW) / rim_HW
    cell_HW = _soften((1 - far_HW) * radius, 1.3)

    # The nucleus: distances to its lobes, melted together, on a slightly crumpled grid.
    a_HW, b_HW = u_HW + cell.warp * draw_noise(0.5), v_HW + cell.warp * draw_noise(0.5)
    depth_HW = _melt_lobes(cell.lobes, a_HW, b_HW, cell.melt)
    # No nucleus reaches beyond its cell.
    depth_HW = np.minimum(depth_HW, (0.97 - far_HW) + 0.02)
    nucleus_HW = _soften(depth_HW * radius, 1.1)
    cytoplasm_HW = cell_HW * (1 - nucleus_HW)

    # Chromatin: clumps are hills of noise, strands are its zero lines.
    clump_HW = np.tanh(1.5 * draw_noise(cell.clump_size))
    strand_HW = 1 - 2 * np.tanh(1.6 * np.abs(draw_noise(1.2 * cell.clump_size)))
    texture_HW = (1 - cell.lacy) * clump_HW + cell.lacy * strand_HW
    membrane_HW = np.exp(-((depth_HW / 0.06) ** 2))
    chromatin_HW = cell.chromatin * (1 + cell.clumps * texture_HW + 0.15 * membrane_HW)

    clear_HW = _paint_vacuoles(cell, depth_HW, u_HW, v_HW, radius, rng)
    ground_HW = cytoplasm_HW * clear_HW
    cloud_HW = 1 + 0.18 * draw_noise(0.25)
    dust_HW = cell.dust * np.clip(draw_noise(0.07), 0, 3)
    granules_HW = _scatter_granules(cell, u_HW, v_HW, radius, rng)
    here = (window.rows, window.columns)
    # The cell covers what lay there: red cells fold away under it.
    density_DHW[(slice(None), *here)] *= 1 - 0.96 * cell_HW
    density_DHW[(_CHROMATIN, *here)] += nucleus_HW * chromatin_HW + ground_HW * 0.55 * dust_HW
    # A basophilic rim: the cytoplasm is deepest at the border.
    rim_blue_HW = cell.blue * (0.85 + 0.4 * np.clip(far_HW, 0, 1) ** 4)
    density_DHW[(_CYTOPLASM, *here)] += ground_HW * cloud_HW * rim_blue_HW
    density_DHW[(_CYTOPLASM, *here)] += 0.12 * nucleus_HW
    # Granules also lie on top of the nucleus, dimly.
    cover_HW = cell_HW * (1 - 0.8 * nucleus_HW)
    density_DHW[(_EOSIN, *here)] += ground_HW * cloud_HW * cell.pink
    density_DHW[(cell.granule_dye, *here)] += cover_HW * granules_HW


def _melt_lobes(lobes: tuple[_Lobe, ...], u_HW: Array, v_HW: Array, melt: float) -> Array:
    """Return the depth below the nuclear border, in cell radii; negative outside."""
    depths = []
    for lobe in lobes:
        (ax, ay), (bx, by) = lobe.start, lobe.end
        dx, dy = bx - ax, by - ay
        along_HW = ((u_HW - ax) * dx + (v_HW - ay) * dy) / max(dx * dx + dy * dy, 1e-9)
        along_HW = np.clip(along_HW, 0, 1)
        depths.append(lobe.radius - np.hypot(u_HW - ax - along_HW * dx, v_HW - ay - along_HW * dy))
    top_HW = np.max(depths, axis=0)
    # Smooth maximum; neighbouring rods overlap, so it is held to one melt above the plain one.
    total_HW = sum(np.exp((depth_HW - top_HW) / (0.4 * melt)) for depth_HW in depths)
    swell_HW = 0.4 * melt * np.log(total_HW)
    return np.asarray(top_HW + np.minimum(swell_HW, melt))


def _paint_vacuoles(
    cell: _Cell, depth_HW: Array, u_HW: Array, v_HW: Array, radius: float, rng: np.random.Generator
) -> Array:
    """Return what vacuoles leave of the cytoplasm, 0..1."""
    clear_HW = np.ones_like(u_HW)
    for _ in range(cell.vacuoles):
        angle, far = rng.uniform(0, 2 * math.pi), 0.88 * math.sqrt(rng.uniform(0.1, 1))
        size = rng.uniform(0.05, 0.11)
        away_HW = np.hypot(u_HW - far * math.cos(angle), v_HW - far * math.sin(angle))
        hole_HW = _soften((size - away_HW) * radius, 1.2)
        clear_HW *= 1 - 0.8 * hole_HW * (depth_HW < 0)
    return clear_HW


def _scatter_granules(
    cell: _Cell, u_HW: Array, v_HW: Array, radius: float, rng: np.random.Generator
) -> Array:
    """Return the dye of single granules; where they touch, the stronger one shows."""
    granules_HW = np.zeros_like(u_HW)
    rows, columns = u_HW.shape
    for _ in range(cell.granules):
        angle, far = rng.uniform(0, 2 * math.pi), 0.93 * math.sqrt(rng.uniform())
        size = cell.granule_radius * rng.uniform(0.8, 1.2)
        strength = cell.granule_strength * rng.uniform(0.75, 1.2)
        x, y = far * math.cos(angle), far * math.sin(angle)
        column, row = int((x - u_HW[0, 0]) * radius), int((y - v_HW[0, 0]) * radius)
        reach = int(2 * size * radius) + 2
        here = (
            slice(max(0, row - reach), min(rows, row + reach + 1)),
            slice(max(0, column - reach), min(columns, column + reach + 1)),
        )
        away_HW = np.hypot(u_HW[here] - x, v_HW[here] - y) / size
        bead_HW = strength * np.exp(-(away_HW**4))
        granules_HW[here] = np.maximum(granules_HW[here], bead_HW)
    return granules_HW


# -- forms ----------------------------------------------------------------------------------------


def _soften(depth_px_HW: Array, width_px: float) -> Array:
    """Turn a depth below a border into a cover of 0..1 with a smooth edge."""
    t_HW = np.clip(depth_px_HW / (2 * width_px) + 0.5, 0, 1)
    return np.asarray(t_HW * t_HW * (3 - 2 * t_HW))


def _draw_outline(rng: np.random.Generator, amount: float) -> Array:
    """Draw waves 2 to 6 round a border: amplitude (falling with the wave) and phase."""
    waves = np.arange(2, 7)
    return np.stack([rng.normal(0, amount, 5) * 2 / waves, rng.uniform(0, 2 * math.pi, 5)])


def _trace_outline(outline: Array, theta_HW: Array) -> Array:
    total_HW = np.zeros_like(theta_HW)
    for wave, (amplitude, phase) in enumerate(outline.T, start=2):
        total_HW += amplitude * np.cos(wave * theta_HW + phase)
    return total_HW


def _draw_noise(rows: int, columns: int, grain_px: float, rng: np.random.Generator) -> Array:
    """Draw smooth noise of about mean 0 and deviation 1 whose hills are `grain_px` wide."""
    shape = (math.ceil(rows / grain_px) + 3, math.ceil(columns / grain_px) + 3)
    coarse = Image.fromarray(rng.normal(0, 1.35, shape).astype(np.float32))
    box = (1.0, 1.0, 1.0 + columns / grain_px, 1.0 + rows / grain_px)
    fine = coarse.resize((columns, rows), Image.Resampling.BICUBIC, box=box)
    return np.asarray(fine, dtype=np.float64)
