"""Painted smear fields for the tests, painted once for each set of arguments."""

import functools

import numpy as np
import pytest

from leukoscope.painted.fields import PaintedField, paint_fields


@functools.cache
def paint(n_fields: int = 3, *, px_per_um: float = 9.0, seed: int = 3) -> tuple[PaintedField, ...]:
    return tuple(paint_fields(n_fields, px_per_um=px_per_um, seed=seed))


@functools.cache
def paint_one(px_per_um: float = 6.0) -> PaintedField:
    """A field of 320 x 240 px with one whole white cell, as the small fields of public sets."""
    fields = paint_fields(40, white_cells=1.0, size_px=(320, 240), px_per_um=px_per_um, seed=5)
    return next(
        one
        for one in fields
        if len(one.white_cells) == 1 and _is_inside(one.white_cells[0].box, 320, 240, 40)
    )


def _is_inside(box, width, height, margin):
    x_min, y_min, x_max, y_max = box
    return min(x_min, y_min, width - x_max, height - y_max) >= margin


def save(folder, fields):
    """Write fields as files below `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, field in enumerate(fields):
        paths.append(folder / f"field_{k}.jpg")
        paths[-1].write_bytes(field.jpeg)
    return paths


def measure_overlap(a, b):
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def save_slide(path, pixels_HWC):
    """Write a pyramid of tiles, as scanners do."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("tiffslide")
    with tifffile.TiffWriter(path) as file:
        for step in (1, 4):
            level_HWC = np.ascontiguousarray(pixels_HWC[::step, ::step])
            file.write(level_HWC, tile=(256, 256), photometric="rgb", subfiletype=int(step > 1))
    return path
