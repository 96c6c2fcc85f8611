"""Painted red cells and platelets: what one looks like, drawn at random, and how it is painted.

Arrays: H, W rows and columns in pixels; D the four dyes of `slides`.
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
from leukoscope.painted.slides import CHROMATIN, CYTOPLASM, HAEMOGLOBIN


@dataclass(frozen=True, slots=True)
class RedCell:
    """One red cell, before it is painted. Places and radius in pixels; the rest in its radii."""

    x: float
    y: float
    radius: float
    stretch: float
    angle_rad: float
    bumps: Array
    is_crenated: bool
    pallor: float  # how much of the dye the pale middle lacks
    well: float  # how wide the pale middle is
    well_offset: Array
    strength: float


@dataclass(frozen=True, slots=True)
class Platelet:
    """One platelet, before it is painted; in pixels."""

    x: float
    y: float
    radius: float
    bumps: Array


def draw_red_cell(
    rng: np.random.Generator, x: float, y: float, unit_px: float, pallor: float
) -> RedCell:
    """Draw a red cell at a place; `unit_px` is the mean diameter, `pallor` that of the slide."""
    radius = 0.5 * unit_px * rng.normal(1.0, 0.06)
    stretch, angle = 1 + abs(rng.normal(0, 0.10)), rng.uniform(0, math.pi)
    bumps = draw_outline(rng, 0.025)
    crenated = rng.uniform() < 0.03
    pallor = pallor * rng.uniform(0.7, 1.1) * (rng.uniform() > 0.10)
    width, offset = rng.uniform(0.38, 0.58), rng.normal(0, 0.06, 2)
    strength = rng.uniform(0.85, 1.15)
    return RedCell(
        x, y, radius, stretch, angle, bumps, bool(crenated), pallor, width, offset, strength
    )


def paint_red_cell(density_DHW: Array, cell: RedCell) -> None:
    """Paint a red cell on what lies there."""
    window = open_window(density_DHW, cell.x, cell.y, 1.6 * cell.radius)
    add_red_cell(
        density_DHW[HAEMOGLOBIN, window.rows, window.columns], trace_red_cell(cell, window)
    )


def trace_red_cell(cell: RedCell, window: Window) -> Array:
    """Return the dye of one red cell in a window around it."""
    radius, turn = cell.radius, cell.angle_rad
    u_HW = (window.x_HW * math.cos(turn) + window.y_HW * math.sin(turn)) / radius / cell.stretch
    v_HW = (window.y_HW * math.cos(turn) - window.x_HW * math.sin(turn)) / radius * cell.stretch
    theta_HW = np.arctan2(v_HW, u_HW)
    rim_HW = 1 + trace_outline(cell.bumps, theta_HW)
    if cell.is_crenated:
        rim_HW += 0.04 * np.cos(13 * theta_HW)
    far_HW = np.hypot(u_HW, v_HW) / rim_HW
    inside_HW = soften((1 - far_HW) * radius, 1.4)
    well_HW = np.hypot(u_HW - cell.well_offset[0], v_HW - cell.well_offset[1]) / cell.well
    plate_HW = 1 - cell.pallor * np.exp(-(well_HW**2.8))
    plate_HW += 0.18 * np.exp(-(((far_HW - 0.90) / 0.08) ** 2))
    return np.asarray(inside_HW * plate_HW * cell.strength)


def add_red_cell(old_HW: Array, new_HW: Array) -> None:
    """Lay a red cell on others, in place: where they lie on each other they flatten, darker than
    one and lighter than two."""
    old_HW += new_HW - 0.45 * np.minimum(old_HW, new_HW)


def draw_platelet(rng: np.random.Generator, x: float, y: float, unit_px: float) -> Platelet:
    """Draw a platelet at a place; `unit_px` is the mean diameter of red cells."""
    return Platelet(x, y, unit_px * rng.uniform(0.10, 0.19), draw_outline(rng, 0.14))


def paint_platelet(density_DHW: Array, platelet: Platelet, rng: np.random.Generator) -> None:
    """Paint a platelet on what lies there; `rng` draws its grain."""
    radius = platelet.radius
    window = open_window(density_DHW, platelet.x, platelet.y, 1.8 * radius)
    theta_HW = np.arctan2(window.y_HW, window.x_HW)
    rim_HW = 1 + trace_outline(platelet.bumps, theta_HW)
    far_HW = np.hypot(window.x_HW, window.y_HW) / radius / rim_HW
    body_HW = soften((1 - far_HW) * radius, 1.6)
    rows, columns = far_HW.shape
    grain_HW = 0.5 + 0.5 * np.tanh(draw_noise(rows, columns, radius / 2.2, rng))
    core_HW = grain_HW * np.exp(-((far_HW / 0.65) ** 2))
    here = (window.rows, window.columns)
    density_DHW[(CYTOPLASM, *here)] += 0.18 * body_HW
    density_DHW[(CHROMATIN, *here)] += body_HW * (0.16 + 0.75 * core_HW)
