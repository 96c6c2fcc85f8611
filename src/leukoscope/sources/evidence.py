"""A link: two image files that show the same pixels, and what speaks for it.

What this file does not do: it finds no links (`links`) and draws no conclusion (`sources`).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

LinkKind = Literal["near", "geometric", "overlap"]
"""`near`: the same picture, re-encoded, resized or mildly recoloured. `geometric`: a copy that was
turned, flipped, sheared, shifted or cropped. `overlap`: two pictures of one microscope field that
share a part; not copies of one picture, so they do not make a source."""

LINK_KINDS: tuple[LinkKind, ...] = get_args(LinkKind)

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

    @property
    def mirrored(self) -> bool:
        """Whether the map flips the picture over."""
        a, b, _, d, e, _ = self.matrix
        return a * e - b * d < 0

    @property
    def scale(self) -> float:
        """Linear magnification from `first` to `second`."""
        a, b, _, d, e, _ = self.matrix
        return math.sqrt(abs(a * e - b * d))

    @property
    def rotation_deg(self) -> float:
        """Turn of the x axis, -180 to 180, clockwise as seen on screen; after unflipping the
        y axis where the map is mirrored."""
        a, _, _, d, _, _ = self.matrix
        return math.degrees(math.atan2(d, a))

    @property
    def shear(self) -> float:
        """How far the y axis leans from the perpendicular of the x axis: 0 for a rigid map."""
        a, b, _, d, e, _ = self.matrix
        determinant = a * e - b * d
        return (a * b + d * e) / determinant if determinant else math.inf

    def describe(self) -> str:
        """Word the map for a person.

        >>> link = Link("a", "b", "near", 90, 1.0, 1.0, 0.0, (0.0, -1.0, 99.0, 1.0, 0.0, 0.0))
        >>> link.describe()
        'turned 90°'
        """
        parts = ["mirrored"] if self.mirrored else []
        if abs(self.rotation_deg) >= 0.5:
            parts.append(f"turned {self.rotation_deg:.0f}°")
        if abs(self.shear) >= 0.015:
            parts.append(f"sheared {abs(self.shear):.2f}")
        if abs(self.scale - 1) >= 0.015:
            parts.append(f"scaled {self.scale:.2f}")
        return ", ".join(parts) or "not turned"
