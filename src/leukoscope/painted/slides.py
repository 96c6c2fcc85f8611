"""A painted slide: its dyes, its lamp, and how crowded it is.

Four dyes lie in the plane of a smear: azure in chromatin, azure in cytoplasm, eosin in granules,
and haemoglobin with eosin in red cells, each with its own absorption per colour channel. A slide
has its own dyes, lamp and lens, so that colour alone does not name a cell.

Arrays: C red, green, blue; D the four dyes.
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.painted.forms import Array

CHROMATIN, CYTOPLASM, EOSIN, HAEMOGLOBIN = range(4)
"""Places of the dyes on the axis D."""

# Absorption per channel, read off white-balanced smears (OD, natural logarithm).
_DYES_DC = np.array(
    [[0.80, 1.22, 0.38], [0.66, 0.60, 0.17], [0.22, 0.90, 0.68], [0.22, 0.42, 0.30]]
)


@dataclass(frozen=True, slots=True)
class Slide:
    """What all pictures of a slide share. A crop is a square with one white cell in its middle."""

    light_C: Array  # colour of the empty background, 0..255
    dyes_DC: Array
    red_cell_frac: float  # diameter of a red cell in crop sides
    crowding: float  # red cells per crop, on average
    pallor: float
    blur_px: float
    noise: float
    jpeg_quality: int


def draw_slide(seed: int, slide: int) -> Slide:
    """Draw a slide; the same numbers draw the same."""
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
    dyes_DC[HAEMOGLOBIN] *= 1 + orange * np.array([-0.35, 0.10, 0.55])
    return Slide(
        light_C=light_C * rng.uniform(0.93, 1.0),
        dyes_DC=dyes_DC,
        red_cell_frac=float(rng.uniform(0.195, 0.235)),
        crowding=float(rng.uniform(14, 32)),
        pallor=float(rng.uniform(0.55, 0.88)),
        blur_px=float(rng.uniform(0.35, 0.75)),
        noise=float(rng.uniform(1.0, 3.0)),
        jpeg_quality=int(rng.integers(82, 95)),
    )
