"""Painted white cells of four classes: what one looks like, drawn at random, and how it is painted.

Arrays: H, W rows and columns in pixels; D the four dyes of `slides`. Lengths inside a white cell
are in units of its radius.
"""

import math
from dataclasses import dataclass

import numpy as np

from leukoscope.painted.forms import (
    Array,
    Window,
    draw_noise,
    draw_outline,
    open_window,
    soften,
    trace_outline,
)
from leukoscope.painted.slides import CHROMATIN, CYTOPLASM, EOSIN


@dataclass(frozen=True, slots=True)
class _Lobe:
    """A rod with round ends; a disc if both ends are one. In cell radii."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float


@dataclass(frozen=True, slots=True)
class WhiteCell:
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


LABELS = ("neutrophil", "eosinophil", "lymphocyte", "monocyte")
"""The painted classes."""


@dataclass(frozen=True, slots=True)
class Covers:
    """Where a painted cell and its nucleus lie: 0..1 in the window of the cell."""

    window: Window
    cell_HW: Array
    nucleus_HW: Array


def draw_white_cell(label: str, rng: np.random.Generator) -> WhiteCell:
    """Draw a cell of one of `LABELS`."""
    paint = {
        "neutrophil": _draw_neutrophil,
        "eosinophil": _draw_eosinophil,
        "lymphocyte": _draw_lymphocyte,
        "monocyte": _draw_monocyte,
    }
    return paint[label](rng)


def _draw_neutrophil(rng: np.random.Generator) -> WhiteCell:
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.08, 0.12, 0.42, 0.29, 0.09]))
    if count == 1:
        # A band form: a bent rod of even width.
        lobes = _bend_rod(rng, 0.50, rng.uniform(2.6, 4.0), 0.22)
    else:
        lobes = _chain_lobes(rng, count, 0.54 / math.sqrt(count), rng.uniform(0.04, 0.09))
    # Coarse granules, violet or salmon: the neutrophil that is taken for an eosinophil.
    coarse = rng.uniform() < 0.12
    dye = int(rng.choice([CHROMATIN, EOSIN]))
    return WhiteCell(
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


def _draw_eosinophil(rng: np.random.Generator) -> WhiteCell:
    count = int(rng.choice([2, 3], p=[0.82, 0.18]))
    size = rng.uniform(0.35, 0.41) if count == 2 else rng.uniform(0.28, 0.32)
    pale = rng.uniform() < 0.12
    return WhiteCell(
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
        granule_dye=EOSIN,
        dust=0.0,
        vacuoles=0,
    )


def _draw_lymphocyte(rng: np.random.Generator) -> WhiteCell:
    large = rng.uniform() < 0.15
    size = rng.uniform(0.66, 0.76) if large else rng.uniform(0.80, 0.91)
    angle = rng.uniform(0, 2 * math.pi)
    away, along = 0.7 * (0.95 - size) * rng.uniform(0, 1), rng.uniform(0.0, 0.16) * size
    x, y = away * math.cos(angle), away * math.sin(angle)
    turn = rng.uniform(0, math.pi)
    dx, dy = along * math.cos(turn), along * math.sin(turn)
    return WhiteCell(
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
        granule_dye=CHROMATIN,
        dust=0.05,
        vacuoles=0,
    )


def _draw_monocyte(rng: np.random.Generator) -> WhiteCell:
    shape = rng.choice(["horseshoe", "kidney", "folded"], p=[0.30, 0.45, 0.25])
    if shape == "horseshoe":
        lobes = _bend_rod(rng, 0.42, rng.uniform(2.6, 3.8), rng.uniform(0.28, 0.34))
    elif shape == "kidney":
        lobes = _bend_rod(rng, 0.33, rng.uniform(1.7, 2.5), rng.uniform(0.40, 0.47))
    else:
        lobes = _chain_lobes(rng, 2, rng.uniform(0.42, 0.47), 0.30)
    return WhiteCell(
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
        granule_dye=CHROMATIN,
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


def paint_white_cell(
    density_DHW: Array, cell: WhiteCell, x: float, y: float, radius: float, rng: np.random.Generator
) -> Covers:
    """Paint a cell over what lies at (x, y), in pixels of the canvas, and return where it is."""
    window = open_window(density_DHW, x, y, 1.4 * radius)
    u_HW, v_HW = window.x_HW / radius, window.y_HW / radius
    rows, columns = u_HW.shape

    def draw_hills(scale: float) -> Array:
        return draw_noise(rows, columns, max(1.5, scale * radius), rng)

    rim_HW = 1 + trace_outline(draw_outline(rng, cell.outline), np.arctan2(v_HW, u_HW))
    far_HW = np.hypot(u_HW, v_HW) / rim_HW
    cell_HW = soften((1 - far_HW) * radius, 1.3)

    # The nucleus: distances to its lobes, melted together, on a slightly crumpled grid.
    a_HW, b_HW = u_HW + cell.warp * draw_hills(0.5), v_HW + cell.warp * draw_hills(0.5)
    depth_HW = _melt_lobes(cell.lobes, a_HW, b_HW, cell.melt)
    # No nucleus reaches beyond its cell.
    depth_HW = np.minimum(depth_HW, (0.97 - far_HW) + 0.02)
    nucleus_HW = soften(depth_HW * radius, 1.1)
    cytoplasm_HW = cell_HW * (1 - nucleus_HW)

    # Chromatin: clumps are hills of noise, strands are its zero lines.
    clump_HW = np.tanh(1.5 * draw_hills(cell.clump_size))
    strand_HW = 1 - 2 * np.tanh(1.6 * np.abs(draw_hills(1.2 * cell.clump_size)))
    texture_HW = (1 - cell.lacy) * clump_HW + cell.lacy * strand_HW
    membrane_HW = np.exp(-((depth_HW / 0.06) ** 2))
    chromatin_HW = cell.chromatin * (1 + cell.clumps * texture_HW + 0.15 * membrane_HW)

    clear_HW = _paint_vacuoles(cell, depth_HW, u_HW, v_HW, radius, rng)
    ground_HW = cytoplasm_HW * clear_HW
    cloud_HW = 1 + 0.18 * draw_hills(0.25)
    dust_HW = cell.dust * np.clip(draw_hills(0.07), 0, 3)
    granules_HW = _scatter_granules(cell, u_HW, v_HW, radius, rng)
    here = (window.rows, window.columns)
    # The cell covers what lay there: red cells fold away under it.
    density_DHW[(slice(None), *here)] *= 1 - 0.96 * cell_HW
    density_DHW[(CHROMATIN, *here)] += nucleus_HW * chromatin_HW + ground_HW * 0.55 * dust_HW
    # A basophilic rim: the cytoplasm is deepest at the border.
    rim_blue_HW = cell.blue * (0.85 + 0.4 * np.clip(far_HW, 0, 1) ** 4)
    density_DHW[(CYTOPLASM, *here)] += ground_HW * cloud_HW * rim_blue_HW
    density_DHW[(CYTOPLASM, *here)] += 0.12 * nucleus_HW
    # Granules also lie on top of the nucleus, dimly.
    cover_HW = cell_HW * (1 - 0.8 * nucleus_HW)
    density_DHW[(EOSIN, *here)] += ground_HW * cloud_HW * cell.pink
    density_DHW[(cell.granule_dye, *here)] += cover_HW * granules_HW
    return Covers(window, cell_HW, nucleus_HW)


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
    cell: WhiteCell,
    depth_HW: Array,
    u_HW: Array,
    v_HW: Array,
    radius: float,
    rng: np.random.Generator,
) -> Array:
    """Return what vacuoles leave of the cytoplasm, 0..1."""
    clear_HW = np.ones_like(u_HW)
    for _ in range(cell.vacuoles):
        angle, far = rng.uniform(0, 2 * math.pi), 0.88 * math.sqrt(rng.uniform(0.1, 1))
        size = rng.uniform(0.05, 0.11)
        away_HW = np.hypot(u_HW - far * math.cos(angle), v_HW - far * math.sin(angle))
        hole_HW = soften((size - away_HW) * radius, 1.2)
        clear_HW *= 1 - 0.8 * hole_HW * (depth_HW < 0)
    return clear_HW


def _scatter_granules(
    cell: WhiteCell, u_HW: Array, v_HW: Array, radius: float, rng: np.random.Generator
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
