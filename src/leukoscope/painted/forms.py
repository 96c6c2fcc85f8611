"""What painted things are made of: soft borders, uneven outlines, smooth noise, and windows.

Arrays: H, W rows and columns in pixels.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Window:
    """A square piece of the canvas, and where a thing at its centre has its pixels."""

    rows: slice
    columns: slice
    x_HW: Array
    y_HW: Array


def open_window(canvas: Array, x: float, y: float, reach: float) -> Window:
    """Return the piece of the canvas within `reach` pixels of a point; empty beyond its edge. Rows
    and columns are the last two axes."""
    height, width = canvas.shape[-2:]
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(height, int(y + reach) + 2), min(width, int(x + reach) + 2)
    rows, columns = slice(top, max(top, bottom)), slice(left, max(left, right))
    y_HW, x_HW = np.mgrid[rows, columns].astype(float)
    return Window(rows, columns, x_HW - x, y_HW - y)


def soften(depth_px_HW: Array, width_px: float) -> Array:
    """Turn a depth below a border into a cover of 0..1 with a smooth edge."""
    t_HW = np.clip(depth_px_HW / (2 * width_px) + 0.5, 0, 1)
    return np.asarray(t_HW * t_HW * (3 - 2 * t_HW))


def draw_outline(rng: np.random.Generator, amount: float) -> Array:
    """Draw waves 2 to 6 round a border: amplitude (falling with the wave) and phase."""
    waves = np.arange(2, 7)
    return np.stack([rng.normal(0, amount, 5) * 2 / waves, rng.uniform(0, 2 * math.pi, 5)])


def trace_outline(outline: Array, theta_HW: Array) -> Array:
    """Return how far the border lies out at an angle, as a share of the radius, from -1 on."""
    total_HW = np.zeros_like(theta_HW)
    for wave, (amplitude, phase) in enumerate(outline.T, start=2):
        total_HW += amplitude * np.cos(wave * theta_HW + phase)
    return total_HW


def draw_noise(
    rows: int, columns: int, grain_px: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw smooth noise of about mean 0 and deviation 1 whose hills are `grain_px` wide."""
    shape = (math.ceil(rows / grain_px) + 3, math.ceil(columns / grain_px) + 3)
    coarse = Image.fromarray(rng.normal(0, 1.35, shape).astype(np.float32))
    box = (1.0, 1.0, 1.0 + columns / grain_px, 1.0 + rows / grain_px)
    fine = coarse.resize((columns, rows), Image.Resampling.BICUBIC, box=box)
    return np.asarray(fine, dtype=np.float64)
