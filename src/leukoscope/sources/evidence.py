"""A link: two image files that show the same pixels, and what speaks for it.

What this file does not do: it finds no links (`grouping`) and draws no conclusion (`search`).
"""

import math
from dataclasses import dataclass
from typing import Literal

LinkKind = Literal["near", "geometric", "overlap"]
"""`near`: the same picture, re-encoded, resized or mildly recoloured. `geometric`: a copy that was
turned, flipped, sheared, shifted or cropped. `overlap`: two pictures of one microscope field that
share a part; not duplicates of one picture, so they do not make a source."""

Affine = tuple[float, float, float, float, float, float]
"""Rows `(a, b, c), (d, e, f)`: x' = a x + b y + c, y' = d x + e y + f, in pixels."""


@dataclass(frozen=True, slots=True)
class Link:
    """Two image files that show the same pixels, and the evidence.

    `first` and `second` are content hashes (SHA-256, `first < second`). `inliers` counts matched
    local features that obey one affine map; `overlap_frac` (0 to 1) is the shared area as a share
    of the smaller picture content; `agreement_frac` (0 to 1) is the share of that area where the
    two agree locally after warping; `contradiction_frac` (0 to 1) is the area where one shows
    content and the other's fill says that its picture had ended. `matrix` maps `first` to
    `second`, in pixels of the stored images after EXIF rotation. `accepted` is False for a copy
    that the rest of its two groups did not support; such a link joins nothing.
    """

    first: str
    second: str
    kind: LinkKind
    inliers: int
    overlap_frac: float
    agreement_frac: float
    contradiction_frac: float
    matrix: Affine
    accepted: bool = True


# -- maps -----------------------------------------------------------------------------------------

IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class MapParts:
    """What an affine map does: flip the picture over; turn the x axis by -180 to 180 degrees,
    clockwise as seen on screen (after unflipping the y axis where it is mirrored); magnify; lean
    the y axis from the perpendicular of the x axis (0 for a rigid map)."""

    mirrored: bool
    rotation_deg: float
    scale: float
    shear: float


def split_map(matrix: Affine) -> MapParts:
    """Return the parts of a map.

    >>> split_map((0.0, -1.0, 99.0, 1.0, 0.0, 0.0)).rotation_deg
    90.0
    """
    a, b, _, d, e, _ = matrix
    determinant = a * e - b * d
    return MapParts(
        mirrored=determinant < 0,
        rotation_deg=math.degrees(math.atan2(d, a)),
        scale=math.sqrt(abs(determinant)),
        shear=(a * b + d * e) / determinant if determinant else math.inf,
    )


def compose_maps(outer: Affine, inner: Affine) -> Affine:
    """Return the map that applies `inner` first, then `outer`.

    >>> compose_maps((1, 0, 5, 0, 1, 0), (2, 0, 0, 0, 2, 0))
    (2, 0, 5, 0, 2, 0)
    """
    a, b, c, d, e, f = outer
    g, h, i, j, k, n = inner
    return (
        *(a * g + b * j, a * h + b * k, a * i + b * n + c),
        *(d * g + e * j, d * h + e * k, d * i + e * n + f),
    )


def invert_map(matrix: Affine) -> Affine:
    """Return the map that undoes this one.

    >>> invert_map((2, 0, 6, 0, 4, 8))
    (0.5, 0.0, -3.0, 0.0, 0.25, -2.0)
    """
    a, b, c, d, e, f = matrix
    determinant = a * e - b * d
    p, q, r, s = (x / determinant for x in (e, b, d, a))
    # + 0.0 turns a negative zero into zero.
    return p, 0.0 - q, 0.0 - (p * c - q * f), 0.0 - r, s, 0.0 - (s * f - r * c)
