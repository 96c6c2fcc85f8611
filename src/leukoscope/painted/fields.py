"""Painted smear fields with known truth: boxes, labels, nuclei, scale, and which cell is the same.

A field is what a camera on a microscope shows: red cells, some on each other, platelets, and white
cells of four classes at wanted shares, some of them cut by the edge. The fields of one sample share
slide, stain and lamp. They lie apart, or the stage has moved by less than a field, and two fields
then show some cells twice.

What this file does not do: it paints no single cell (`white_cells`, `red_cells`), and writes no
files (`field_sets`).

Arrays: H, W rows and columns in pixels; C red, green, blue; D the four dyes.
"""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leukoscope.data.images import Box
from leukoscope.errors import ConfigError
from leukoscope.painted.forms import Array, draw_noise, open_window
from leukoscope.painted.red_cells import (
    add_red_cell,
    draw_platelet,
    draw_red_cell,
    paint_platelet,
    trace_red_cell,
)
from leukoscope.painted.slides import HAEMOGLOBIN, Slide, draw_slide
from leukoscope.painted.white_cells import LABELS, WhiteCell, draw_white_cell, paint_white_cell

RED_CELL_UM = 7.2
"""Mean diameter of a painted red cell."""

MIN_SIDE_PX = 64
MIN_PX_PER_UM = 3.0
MAX_OVERLAP_FRAC = 0.9

_MIN_VISIBLE_PX = 3
"""What shows less of itself than this is not in the truth."""

_TYPICAL_SHARES = (0.60, 0.04, 0.28, 0.08)
_SHARE_STRENGTH = 20.0
"""Shares of a sample are drawn as if the typical ones had been seen on so many cells."""

_N_RED_SHAPES = 24
_TRIES = 60

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FieldCell:
    """What a field shows of one cell.

    `label` is one of `LABELS`, `red_cell` or `platelet`. `cell` names the cell: the fields of a
    sample that show the same cell give it the same name. `box` is cut to the field, and
    `visible_frac` is its share of the area of the whole box; below 1 the edge cuts the cell.
    """

    label: str
    cell: str
    box: Box
    visible_frac: float

    @property
    def is_cut(self) -> bool:
        """Whether the edge of the field cuts the cell."""
        return self.visible_frac < 1


@dataclass(frozen=True, slots=True)
class PaintedField:
    """One painted field and its truth.

    `jpeg` is the file, `pixels_HWC` uint8 RGB what it decodes to. `place_px` is (x, y) of the
    field's corner on the smear of its sample, None where fields lie apart. `white_cells` come in
    the order of `nuclei_HW` (uint8): 0 is no nucleus, k + 1 the nucleus of white cell k.
    """

    name: str
    sample: str
    px_per_um: float
    place_px: tuple[int, int] | None
    jpeg: bytes
    pixels_HWC: NDArray[np.uint8]
    nuclei_HW: NDArray[np.uint8]
    white_cells: tuple[FieldCell, ...]
    red_cells: tuple[FieldCell, ...]
    platelets: tuple[FieldCell, ...]


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """What fields are painted with: the arguments of `paint_fields`, checked."""

    n_fields: int
    n_samples: int = 1
    white_cells: float = 2.0
    shares: tuple[float, ...] | None = None
    overlap_frac: float = 0.0
    width_px: int = 640
    height_px: int = 480
    px_per_um: float = 9.0
    seed: int = 0


def paint_fields(
    n_fields: int,
    *,
    n_samples: int = 1,
    white_cells: float = 2.0,
    shares: Mapping[str, float] | None = None,
    overlap_frac: float = 0.0,
    size_px: tuple[int, int] = (640, 480),
    px_per_um: float = 9.0,
    seed: int = 0,
) -> Iterator[PaintedField]:
    """Paint `n_fields` fields of each of `n_samples` samples, sample by sample.

    A field shows `white_cells` white cells on average (Poisson, from 0 on). `shares` are those of
    the four classes, by label, and need not add up to 1; without them each sample has shares of its
    own, drawn around 60 % neutrophils, 4 % eosinophils, 28 % lymphocytes and 8 % monocytes.
    `size_px` is (width, height). With `overlap_frac` the fields of a sample lie on a serpentine
    path, neighbours in a row share that share of their width, those in a column of their height;
    with 0 they lie apart.

    The same arguments paint the same pixels with the same versions of numpy and Pillow. Where
    fields lie apart, more fields or samples change no other field. Raises `ConfigError` on a wrong
    argument, at once.

    >>> field = next(paint_fields(1, size_px=(160, 120), white_cells=3))
    >>> field.name, field.pixels_HWC.shape, bool(field.nuclei_HW.any())
    ('sample_000_field_0000', (120, 160, 3), True)
    """
    plan = build_plan(
        n_fields,
        n_samples=n_samples,
        white_cells=white_cells,
        shares=shares,
        overlap_frac=overlap_frac,
        size_px=size_px,
        px_per_um=px_per_um,
        seed=seed,
    )
    return paint_plan(plan)


def build_plan(
    n_fields: int,
    *,
    n_samples: int,
    white_cells: float,
    shares: Mapping[str, float] | None,
    overlap_frac: float,
    size_px: tuple[int, int],
    px_per_um: float,
    seed: int,
) -> FieldPlan:
    """Check the arguments of `paint_fields`. Raises `ConfigError` for the first wrong one."""
    if shares is not None and set(shares) - set(LABELS):
        raise ConfigError(
            f"shares must be those of {', '.join(LABELS)}",
            f"{', '.join(sorted(set(shares) - set(LABELS)))} among them",
            "leave other labels out",
        )
    given = None if shares is None else tuple(shares.get(label, 0.0) for label in LABELS)
    plan = FieldPlan(
        n_fields, n_samples, white_cells, given, overlap_frac, *size_px, px_per_um, seed
    )
    _check_plan(plan)
    return plan


def _check_plan(plan: FieldPlan) -> None:
    limits: dict[str, tuple[float, float]] = {
        "n_fields": (1, 1_000_000),
        "n_samples": (1, 100_000),
        "white_cells": (0, 200),
        "overlap_frac": (0, MAX_OVERLAP_FRAC),
        "width_px": (MIN_SIDE_PX, 20_000),
        "height_px": (MIN_SIDE_PX, 20_000),
        "px_per_um": (MIN_PX_PER_UM, 40),
        "seed": (0, 2**63),
    }
    for name, (least, most) in limits.items():
        value = getattr(plan, name)
        if not least <= value <= most:
            raise ConfigError(
                f"{name} must be from {least:g} to {most:g}",
                f"it is {value:g}",
                "choose another value",
            )
    shares = plan.shares
    if shares is not None and (min(shares) < 0 or not 0 < sum(shares) < math.inf):
        raise ConfigError(
            "shares must be 0 or more, and one of them above 0",
            f"they are {', '.join(f'{share:g}' for share in shares)}",
            "give the share of each class",
        )


def paint_plan(plan: FieldPlan) -> Iterator[PaintedField]:
    """Paint the fields of a plan, sample by sample."""
    for sample in range(plan.n_samples):
        yield from _paint_sample(plan, sample)


# -- sample ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Thing:
    """One cell on the smear: place in pixels, radius, and what it needs to be painted."""

    label: str
    name: str
    x: int
    y: int
    radius: float
    shape: int  # red cells: which stamp and how turned; others: the seed of their details
    cell: WhiteCell | None = None


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A painted cell on its own: dye of `(D, H, W)` or, for a red cell, haemoglobin `(H, W)`.

    `row` and `column` are the pixel of the middle. `box` is that of the cell in the stamp.
    """

    dye: Float32
    row: int
    column: int
    box: Box
    cell_HW: Float32 | None = None
    nucleus_HW: NDArray[np.bool_] | None = None


def _paint_sample(plan: FieldPlan, sample: int) -> Iterator[PaintedField]:
    slide = draw_slide(plan.seed, sample)
    unit = RED_CELL_UM * plan.px_per_um
    rng = np.random.default_rng([plan.seed, 4, sample])
    shares = plan.shares
    if shares is None:
        shares = tuple(rng.dirichlet(np.array(_TYPICAL_SHARES) * _SHARE_STRENGTH))
    tilt = rng.uniform(-0.08, 0.08, 2)
    red_stamps = _paint_red_stamps(slide, unit, rng)
    stamps: dict[str, _Stamp] = {}
    names = f"sample_{sample:03d}"
    places = _lay_path(plan, rng) if plan.overlap_frac else None
    things: list[_Thing] = []
    if places is not None:
        things = _plan_smear(plan, slide, shares, unit, places, rng)
    n_before = 0
    for k in range(plan.n_fields):
        field_rng = np.random.default_rng([plan.seed, 5, sample, k])
        x, y = places[k] if places is not None else (0, 0)
        if places is None:
            things = _plan_smear(plan, slide, shares, unit, [(0, 0)], field_rng, n_before)
            n_before += len(things)
            stamps = {}
        canvas = _Canvas(plan, (x, y))
        for thing in things:
            canvas.add(thing, unit, red_stamps, stamps)
        jpeg = _photograph(canvas.density_DHW, slide, tilt, plan.px_per_um, field_rng)
        yield PaintedField(
            name=f"{names}_field_{k:04d}",
            sample=names,
            px_per_um=plan.px_per_um,
            place_px=(x, y) if places is not None else None,
            jpeg=jpeg,
            pixels_HWC=np.array(Image.open(io.BytesIO(jpeg)).convert("RGB")),
            nuclei_HW=canvas.nuclei_HW,
            white_cells=tuple(canvas.white_cells),
            red_cells=tuple(canvas.red_cells),
            platelets=tuple(canvas.platelets),
        )


def _lay_path(plan: FieldPlan, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Corners of fields on a serpentine path. A stage does not stop to the pixel."""
    columns = math.ceil(math.sqrt(plan.n_fields))
    steps = (plan.width_px * (1 - plan.overlap_frac), plan.height_px * (1 - plan.overlap_frac))
    places = []
    for k in range(plan.n_fields):
        row, column = divmod(k, columns)
        column = columns - 1 - column if row % 2 else column
        shake = rng.uniform(-0.02, 0.02, 2)
        places.append((round(steps[0] * (column + shake[0])), round(steps[1] * (row + shake[1]))))
    return places


def _plan_smear(
    plan: FieldPlan,
    slide: Slide,
    shares: tuple[float, ...],
    unit: float,
    places: list[tuple[int, int]],
    rng: np.random.Generator,
    n_before: int = 0,
) -> list[_Thing]:
    """Lay cells on the smear below all fields and a margin round them, red cells first."""
    margin = 1.3 * unit
    corners = np.array(places)
    low = corners.min(axis=0) - margin
    high = corners.max(axis=0) + np.array((plan.width_px, plan.height_px)) + margin
    area = float(np.prod(high - low))
    n_white = rng.poisson(plan.white_cells * area / (plan.width_px * plan.height_px))
    share_K = np.array(shares) / sum(shares)
    white: list[_Thing] = []
    spots = np.zeros((n_white, 3))
    for label in rng.choice(len(LABELS), n_white, p=share_K):
        cell = draw_white_cell(LABELS[label], rng)
        radius = 0.5 * unit * cell.diameter
        for x, y in rng.uniform(low, high, (_TRIES, 2)).round():
            # White cells may touch, and do not lie on each other.
            apart = np.hypot(spots[: len(white), 0] - x, spots[: len(white), 1] - y)
            if (apart < 0.98 * (spots[: len(white), 2] + radius)).any():
                continue
            spots[len(white)] = x, y, radius
            details = int(rng.integers(2**62))
            white.append(_Thing(LABELS[label], "", int(x), int(y), radius, details, cell))
            break
    spots = spots[: len(white)]
    crowding = slide.crowding * slide.red_cell_frac**2 * rng.uniform(0.7, 1.2)
    red = _lay_red_cells(int(rng.poisson(crowding * area / unit**2)), spots, unit, low, high, rng)
    platelets = []
    for x, y in rng.uniform(low, high, (rng.poisson(0.05 * area / unit**2), 2)).round():
        radius = 0.2 * unit
        if (np.hypot(spots[:, 0] - x, spots[:, 1] - y) >= 1.2 * spots[:, 2] + radius).all():
            details = int(rng.integers(2**62))
            platelets.append(_Thing("platelet", "", int(x), int(y), radius, details))
    things = [*red, *platelets, *white]
    return [
        _Thing(t.label, f"cell_{n_before + k:06d}", t.x, t.y, t.radius, t.shape, t.cell)
        for k, t in enumerate(things)
    ]


def _lay_red_cells(
    n: int, spots: Array, unit: float, low: Array, high: Array, rng: np.random.Generator
) -> list[_Thing]:
    """Lay up to `n` red cells beside white cells at `spots` (x, y, radius); some overlap."""
    red: list[_Thing] = []
    reach = 0.7 * unit
    grid: dict[tuple[int, int], list[tuple[int, int]]] = {}
    shapes = rng.integers(8 * _N_RED_SHAPES, size=n)
    for (x, y), shape in zip(rng.uniform(low, high, (n, 2)).round(), shapes, strict=True):
        # White cells push red cells aside; a little overlap remains.
        if (np.hypot(spots[:, 0] - x, spots[:, 1] - y) < 0.84 * (spots[:, 2] + unit / 2)).any():
            continue
        i, j = math.floor(x / reach), math.floor(y / reach)
        near = [
            other
            for di in (-1, 0, 1)
            for dj in (-1, 0, 1)
            for other in grid.get((i + di, j + dj), ())
        ]
        if any(math.hypot(x - a, y - b) < reach for a, b in near):
            continue
        grid.setdefault((i, j), []).append((int(x), int(y)))
        red.append(_Thing("red_cell", "", int(x), int(y), unit / 2, int(shape)))
    return red


# -- stamps ---------------------------------------------------------------------------------------


def _paint_red_stamps(slide: Slide, unit: float, rng: np.random.Generator) -> list[_Stamp]:
    """Paint red cells of many shapes, each in the eight turns of a square."""
    side = 2 * math.ceil(0.85 * unit) + 1
    middle = side // 2
    stamps = []
    for _ in range(_N_RED_SHAPES):
        cell = draw_red_cell(rng, middle, middle, unit, slide.pallor)
        window = open_window(np.zeros((side, side)), middle, middle, side)
        dye_HW = trace_red_cell(cell, window).astype(np.float32)
        for turn in range(8):
            turned_HW = np.rot90(dye_HW, turn % 4)
            turned_HW = np.ascontiguousarray(turned_HW.T if turn >= 4 else turned_HW)
            stamps.append(_Stamp(turned_HW, middle, middle, _frame(turned_HW > 0.45)))
    return stamps


def _paint_stamp(thing: _Thing, unit: float) -> _Stamp:
    """Paint a white cell or a platelet on its own."""
    rng = np.random.default_rng(thing.shape)
    middle = math.ceil(1.5 * thing.radius) + 1
    density_DHW = np.zeros((4, 2 * middle + 1, 2 * middle + 1), np.float32)
    if thing.cell is None:
        paint_platelet(density_DHW, draw_platelet(rng, middle, middle, unit), rng)
        return _Stamp(density_DHW, middle, middle, _frame(density_DHW.sum(axis=0) > 0.17))
    covers = paint_white_cell(density_DHW, thing.cell, middle, middle, thing.radius, rng)
    here = (covers.window.rows, covers.window.columns)
    cell_HW = np.zeros(density_DHW.shape[1:], np.float32)
    nucleus_HW = np.zeros(density_DHW.shape[1:], bool)
    cell_HW[here], nucleus_HW[here] = covers.cell_HW, covers.nucleus_HW > 0.5
    return _Stamp(density_DHW, middle, middle, _frame(cell_HW > 0.5), cell_HW, nucleus_HW)


def _frame(mask_HW: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class _Canvas:
    """A field while it is painted: dyes, nuclei, and the truth so far."""

    def __init__(self, plan: FieldPlan, place: tuple[int, int]) -> None:
        self.size = (plan.width_px, plan.height_px)
        self.place = place
        self.density_DHW = np.zeros((4, plan.height_px, plan.width_px), np.float32)
        self.nuclei_HW = np.zeros((plan.height_px, plan.width_px), np.uint8)
        self.white_cells: list[FieldCell] = []
        self.red_cells: list[FieldCell] = []
        self.platelets: list[FieldCell] = []

    def add(
        self, thing: _Thing, unit: float, red_stamps: list[_Stamp], stamps: dict[str, _Stamp]
    ) -> None:
        """Paint what the field shows of a thing, and note its box."""
        reach = 1.7 * thing.radius + 3
        x, y = thing.x - self.place[0], thing.y - self.place[1]
        if not (-reach < x < self.size[0] + reach and -reach < y < self.size[1] + reach):
            return
        if thing.label == "red_cell":
            stamp = red_stamps[thing.shape]
        else:
            # Overlapping fields show one cell several times.
            stamp = stamps.get(thing.name) or _paint_stamp(thing, unit)
            stamps[thing.name] = stamp
        left, top = x - stamp.column, y - stamp.row
        height, width = stamp.dye.shape[-2:]
        rows = slice(max(0, top), max(0, min(self.size[1], top + height)))
        columns = slice(max(0, left), max(0, min(self.size[0], left + width)))
        cut = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        truth = self._cut_box(thing, stamp.box, left, top)
        if thing.label == "red_cell":
            add_red_cell(self.density_DHW[HAEMOGLOBIN, rows, columns], stamp.dye[cut])
            if truth is not None:
                self.red_cells.append(truth)
            return
        if stamp.cell_HW is not None:
            # The cell covers what lay there: red cells fold away under it.
            self.density_DHW[:, rows, columns] *= 1 - np.float32(0.96) * stamp.cell_HW[cut]
        self.density_DHW[:, rows, columns] += stamp.dye[:, cut[0], cut[1]]
        if truth is None:
            return
        if stamp.nucleus_HW is None:
            self.platelets.append(truth)
            return
        self.white_cells.append(truth)
        self.nuclei_HW[rows, columns][stamp.nucleus_HW[cut]] = len(self.white_cells)

    def _cut_box(self, thing: _Thing, box: Box, left: int, top: int) -> FieldCell | None:
        x_min, y_min, x_max, y_max = box[0] + left, box[1] + top, box[2] + left, box[3] + top
        seen = (
            max(0, x_min),
            max(0, y_min),
            min(self.size[0], x_max),
            min(self.size[1], y_max),
        )
        width, height = seen[2] - seen[0], seen[3] - seen[1]
        if min(width, height) < _MIN_VISIBLE_PX:
            return None
        visible = width * height / ((x_max - x_min) * (y_max - y_min))
        return FieldCell(thing.label, thing.name, seen, visible)


# -- camera ---------------------------------------------------------------------------------------


def _photograph(
    density_DHW: Float32,
    slide: Slide,
    tilt: NDArray[Any],
    px_per_um: float,
    rng: np.random.Generator,
) -> bytes:
    """Let light through the dyes, and lens, sensor and JPEG encoder spoil the picture a little.

    Fields of one sample differ little: in thickness, exposure and focus.
    """
    height, width = density_DHW.shape[1:]
    dyes_DC = slide.dyes_DC * rng.uniform(0.93, 1.07, (4, 1))
    light_C = slide.light_C * rng.uniform(0.95, 1.0)
    od_HWC = density_DHW.reshape(4, -1).T @ dyes_DC.astype(np.float32)
    y_HW, x_HW = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
    y_HW, x_HW = y_HW - np.float32(0.5 * height / max(width, height)), x_HW - np.float32(0.5)
    lamp_HW = 1 + tilt[0] * x_HW + tilt[1] * y_HW - 0.12 * (x_HW**2 + y_HW**2)
    lamp_HW += 0.008 * draw_noise(height, width, max(width, height) / 5, rng)
    light_HWC = np.exp(-od_HWC).reshape(height, width, 3) * light_C.astype(np.float32)
    light_HWC *= lamp_HW[:, :, None]
    picture = Image.fromarray(np.clip(light_HWC, 0, 255).astype(np.uint8))
    # The lens resolves about a quarter of a micrometre.
    blur = slide.blur_px * rng.uniform(0.8, 1.4) * 0.22 * px_per_um
    picture = picture.filter(ImageFilter.GaussianBlur(blur))
    grain_HWC = rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(slide.noise)
    noisy_HWC = np.clip(np.asarray(picture) + grain_HWC + 0.5, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy_HWC).save(buffer, "JPEG", quality=slide.jpeg_quality)
    return buffer.getvalue()
