"""Do two pictures show the same pixels? The match of two fingerprints.

A pair is confirmed by matched local features that obey one affine map, in either mirror state, and
by local agreement of the two pictures after warping (OpenCV does the geometry).

Two things look like a copy and are none. Where one picture shows content and the other, being a
warped copy, shows fill, the other's original had ended there: the pictures are different views
that overlap, such as a field photographed twice. And two windows cut from one field at one scale,
each with content of its own, show neighbours. Both are of kind `overlap`.

Points are (x, y) in working pixels of `fingerprints`, affine maps are 2x3 arrays; maps of
thumbnails are in thumbnail pixels. A match is a function of the two pictures alone. What this
file does not do: it chooses no pairs and makes no groups (`grouping`).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.sources.evidence import Affine, LinkKind
from leukoscope.sources.fingerprints import MIRROR, Fingerprint, find_working_size, root_descriptors

RULES = 1
"""To be raised whenever the same two fingerprints would match otherwise."""

MIN_SIMILARITY = 0.85
"""Cosine of two RootSIFT descriptors below which they are no match."""

MIN_INLIERS = 8
MIN_AGREEMENT = 0.6

MIN_OVERLAP_AREA = 0.04
"""Share of the frame below which an overlap proves nothing."""

MIN_COPY_OVERLAP = 0.6
MAX_CONTRADICTION = 0.006
"""Confirmed copies of `dataset2-master` stay below this in 99 of 100 pairs; different views of one
field exceed it in nine of ten."""

WINDOW_OVERLAP = 0.88
"""Two windows of one field at one scale that share less than this are neighbours, not copies."""

_TOLERANCE_PX = 4.0
_MAX_STRETCH = 2.5
_MAX_ANISOTROPY = 2.0
_NEAR_PX = 4.0
_RIGID = 0.02
_TURN_TOLERANCE_DEG = 25.0
_SCALE_TOLERANCE = 0.6
_MIN_VARIANCE = 16.0
_AGREEMENT_WINDOW = (11, 11)

Map = NDArray[np.float64]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Match:
    """A confirmed pair; the fields are those of `evidence.Link`."""

    kind: LinkKind
    inliers: int
    overlap_frac: float
    agreement_frac: float
    contradiction_frac: float
    matrix: Affine


def match_pair(first: Fingerprint, second: Fingerprint) -> Match | None:
    """Return what is shared by two pictures; None where nothing is confirmed."""
    fitted = [
        found
        for mirrored in (False, True)
        if (found := _fit_map(first, second, mirrored)) is not None
    ]
    if not fitted:
        return None
    inliers, map_23 = max(fitted, key=lambda found: found[0])
    view = _View(first, second, map_23)
    if view.area_frac < MIN_OVERLAP_AREA or view.agreement_frac < MIN_AGREEMENT:
        return None
    matrix = _to_stored(map_23, first, second)
    return Match(
        kind=_name_kind(view, map_23, first, second),
        inliers=inliers,
        overlap_frac=view.overlap_frac,
        agreement_frac=view.agreement_frac,
        contradiction_frac=view.contradiction_frac,
        matrix=matrix,
    )


# -- features -> map ------------------------------------------------------------------------------


def _fit_map(first: Fingerprint, second: Fingerprint, mirrored: bool) -> tuple[int, Map] | None:
    """Matched features, thinned to those that agree on a turn and a scale, then one affine map."""
    if min(len(first.points_K4), len(second.points_K4)) < MIN_INLIERS:
        return None
    descriptors_KD = second.descriptors_KD[:, MIRROR] if mirrored else second.descriptors_KD
    a, b = _match(root_descriptors(first.descriptors_KD), root_descriptors(descriptors_KD))
    if len(a) < MIN_INLIERS:
        return None
    from_K4, to_K4 = first.points_K4[a], second.points_K4[b]
    alike = _find_consensus(from_K4, to_K4, mirrored)
    if alike.sum() < MIN_INLIERS:
        return None
    map_23, inliers = cv2.estimateAffine2D(
        from_K4[alike, :2],
        to_K4[alike, :2],
        method=cv2.USAC_MAGSAC,
        ransacReprojThreshold=_TOLERANCE_PX,
        maxIters=500,
        confidence=0.99,
    )
    if map_23 is None or not np.isfinite(map_23).all():
        return None
    n, fitted_23 = int(inliers.sum()), np.asarray(map_23, dtype=np.float64)
    return (n, fitted_23) if n >= MIN_INLIERS and _is_plausible(fitted_23, mirrored) else None


def _match(
    a_KD: NDArray[np.float32], b_KD: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of features that are each other's nearest and similar enough."""
    similarity = a_KD @ b_KD.T
    to_b, to_a = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows = np.arange(len(a_KD))
    good = (to_a[to_b] == rows) & (similarity[rows, to_b] > MIN_SIMILARITY)
    return rows[good], to_b[good]


def _find_consensus(
    from_K4: NDArray[np.float32], to_K4: NDArray[np.float32], mirrored: bool
) -> NDArray[np.bool_]:
    """The matches around the one that most others agree with in turn and change of size (weak
    geometric consistency, Jegou et al. 2008): it leaves few wrong ones for the robust fit."""
    # A reflection reverses the sense of rotation, so there it is the sum that is common.
    turn_K = to_K4[:, 3] + from_K4[:, 3] if mirrored else to_K4[:, 3] - from_K4[:, 3]
    size_K = np.log2(to_K4[:, 2] / from_K4[:, 2])
    turns_KK = np.abs((turn_K[:, None] - turn_K + 180) % 360 - 180)
    sizes_KK = np.abs(size_K[:, None] - size_K)
    alike_KK = (turns_KK < _TURN_TOLERANCE_DEG) & (sizes_KK < _SCALE_TOLERANCE)
    chosen: NDArray[np.bool_] = alike_KK[alike_KK.sum(axis=1).argmax()]
    return chosen


def _is_plausible(map_23: Map, mirrored: bool) -> bool:
    """Whether a copy may have been made like this: no extreme stretch, the right mirror state."""
    large, small = np.linalg.svd(map_23[:, :2], compute_uv=False)
    return bool(
        small > 1 / _MAX_STRETCH
        and large < _MAX_STRETCH
        and large < _MAX_ANISOTROPY * small
        and (np.linalg.det(map_23[:, :2]) < 0) == mirrored
    )


# -- map -> agreement -----------------------------------------------------------------------------


class _View:
    """The second thumbnail seen in the frame of the first, and what that shows."""

    def __init__(self, first: Fingerprint, second: Fingerprint, map_23: Map) -> None:
        self.first, self.second = first, second
        self.map_23 = _to_thumbnail(map_23, first, second)
        near, own = np.ones((3, 3), np.uint8), first.content_HW
        other = self._warp(second.content_HW)
        shared = own & other
        both = np.asarray(cv2.erode(shared, near, borderValue=0.0), dtype=np.uint8)
        self.area_frac = float(both.mean())
        self.overlap_frac = 0.0
        self.agreement_frac = 0.0
        self.contradiction_frac = 0.0
        if self.area_frac < MIN_OVERLAP_AREA:
            return
        grown = abs(float(np.linalg.det(self.map_23[:, :2])))
        smaller = min(float(own.sum()), float(second.content_HW.sum()) / grown)
        self.overlap_frac = min(1.0, float(shared.sum()) / smaller)
        seen = self._warp(second.grey_HW, cv2.INTER_LINEAR)
        self.agreement_frac = _compute_agreement(first.grey_HW, seen, both)
        self.contradiction_frac = self._compute_contradiction(float(shared.sum()))

    def _warp(self, image_HW: Mask, interpolation: int = cv2.INTER_NEAREST) -> Mask:
        height, width = self.first.grey_HW.shape
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(image_HW, self.map_23, (width, height), flags=flags))

    def _compute_contradiction(self, shared: float) -> float:
        """Content of one that falls well inside the fill of the other, over the shared area."""
        margin = np.ones((5, 5), np.uint8)

        def shrink(mask_HW: Mask, rim: float) -> Mask:
            return np.asarray(cv2.erode(mask_HW, margin, borderValue=rim))

        own, other = self.first.content_HW, self.second.content_HW
        # Fill goes on beyond the frame, content does not.
        a = shrink(1 - own, 1.0) & self._warp(shrink(other, 0.0))
        b = shrink(own, 0.0) & self._warp(shrink(1 - other, 1.0))
        return float(max(a.sum(), b.sum())) / max(shared, 1.0)


def _compute_agreement(first_HW: Mask, second_HW: Mask, both_HW: Mask) -> float:
    """The share of the textured common area where the local correlation exceeds 0.6.

    Local means and contrasts cancel, so a change of light, stain or gain does not count.
    """
    weight = both_HW.astype(np.float32)
    a, b = first_HW.astype(np.float32), second_HW.astype(np.float32)

    def total(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(
            cv2.boxFilter(
                values, -1, _AGREEMENT_WINDOW, normalize=False, borderType=cv2.BORDER_CONSTANT
            )
        )

    n = np.maximum(total(weight), 1)
    mean_a, mean_b = total(a * weight) / n, total(b * weight) / n
    var_a = total(a * a * weight) / n - mean_a**2
    var_b = total(b * b * weight) / n - mean_b**2
    cov = total(a * b * weight) / n - mean_a * mean_b
    enough = (both_HW > 0) & (n > np.prod(_AGREEMENT_WINDOW) / 3)
    textured = enough & (np.maximum(var_a, var_b) > _MIN_VARIANCE)
    if not textured.any():
        return 0.0
    correlation = cov / np.sqrt(np.maximum(var_a, 4) * np.maximum(var_b, 4))
    return float((correlation[textured] > 0.6).mean())


# -- agreement -> kind ----------------------------------------------------------------------------


def _name_kind(view: _View, map_23: Map, first: Fingerprint, second: Fingerprint) -> LinkKind:
    if view.contradiction_frac > MAX_CONTRADICTION or view.overlap_frac < MIN_COPY_OVERLAP:
        return "overlap"
    width, height = find_working_size(first.size_px)
    corners_N2 = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    # Two images of one size: the identity. Of another aspect: the stretch between the frames.
    stretch = np.array(find_working_size(second.size_px)) / (width, height)
    moved_N2 = corners_N2 @ map_23[:, :2].T + map_23[:, 2]
    if np.abs(moved_N2 - corners_N2 * stretch).max() < _NEAR_PX:
        return "near"
    return "overlap" if _are_windows(view, map_23, first, second) else "geometric"


def _are_windows(view: _View, map_23: Map, first: Fingerprint, second: Fingerprint) -> bool:
    """Whether both are windows cut from one field at one scale, each with content of its own.

    A copy that was only shifted and padded by reflection or repetition looks like that too, but
    what lies outside is then made of what lies inside.
    """
    if view.overlap_frac >= WINDOW_OVERLAP or first.size_px != second.size_px:
        return False
    if np.abs(map_23[:, :2] - np.eye(2)).max() > _RIGID:
        return False
    dx, dy = (round(float(v)) for v in view.map_23[:, 2])
    return not (_is_padded(second, -dx, -dy) or _is_padded(first, dx, dy))


def _is_padded(image: Fingerprint, dx: int, dy: int) -> bool:
    """Whether a thumbnail, beyond a frame shifted by (-dx, -dy), repeats or reflects its inside."""
    grey_HW = image.grey_HW
    height, width = grey_HW.shape
    top, bottom = max(0, -dy), height - max(0, dy)
    left, right = max(0, -dx), width - max(0, dx)
    inside_HW = grey_HW[top:bottom, left:right]
    outside = np.ones_like(grey_HW)
    outside[top:bottom, left:right] = 0
    for border in (cv2.BORDER_REFLECT_101, cv2.BORDER_REPLICATE):
        padded_HW = cv2.copyMakeBorder(inside_HW, top, height - bottom, left, width - right, border)
        if _compute_agreement(grey_HW, np.asarray(padded_HW), outside) >= MIN_AGREEMENT:
            return True
    return False


# -- frames ---------------------------------------------------------------------------------------


def _to_thumbnail(map_23: Map, first: Fingerprint, second: Fingerprint) -> Map:
    """The same map between the thumbnails."""
    to_first, to_second = (
        _scale_frame(find_working_size(image.size_px), image.grey_HW.shape[::-1])
        for image in (first, second)
    )
    return np.asarray((to_second @ _square(map_23) @ np.linalg.inv(to_first))[:2])


def _to_stored(map_23: Map, first: Fingerprint, second: Fingerprint) -> Affine:
    """The same map between the stored images."""
    to_first, to_second = (
        _scale_frame(find_working_size(image.size_px), image.size_px) for image in (first, second)
    )
    full_33 = to_second @ _square(map_23) @ np.linalg.inv(to_first)
    a, b, c, d, e, f = (float(value) for value in full_33[:2].reshape(-1))
    return a, b, c, d, e, f


def _scale_frame(size: tuple[int, ...], to_size: tuple[int, ...]) -> Map:
    """Pixels of an image to pixels of the same image at another size, as a 3x3 map; the centres
    of pixels are at whole numbers."""
    sides = np.array(to_size, np.float64) / size
    frame_33 = np.diag([*sides, 1.0])
    frame_33[:2, 2] = 0.5 * sides - 0.5
    return frame_33


def _square(map_23: Map) -> Map:
    return np.vstack([map_23, (0, 0, 1)])
