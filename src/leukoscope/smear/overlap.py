"""Which fields of a sample overlap, and which of their cells are therefore the same.

The stage of a microscope moves a field without turning it or changing its size, so two fields
overlap by a translation. Features that look alike vote for one; it holds where the pictures agree
at it, over all of what they share. What two fields share is thus compared pixel by pixel before
they are joined: features alone are too much alike on red cells.

What this file does not do: it reads no image file and finds no cell (`finder`), and knows nothing
of fields that were turned or photographed at another magnification.

Arrays: H, W rows and columns of the small grey picture; K features (x, y, size, angle), D the 128
numbers that describe one (SIFT, Lowe 2004).
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box
from leukoscope.smear.record import FieldRecord
from leukoscope.sources.fingerprints import root_descriptors

WORKING_PX = 256
"""Longer side of the picture in which fields are compared."""

MAX_FEATURES = 250

MIN_OVERLAP_FRAC = 0.05
"""Fields that share less are not joined: too few cells speak for it."""

MIN_CORRELATION = 0.8
"""Of the shared area, without what is uneven in the light. Overlapping fields reach 0.95 and more,
others 0.6 at most (lab note 45)."""

_CONTRAST = 0.015
_NEIGHBOURS = 8
_MIN_SIMILARITY = 0.85
_MAX_TURN_DEG = 15.0
_MAX_OCTAVES = 0.4
_BIN_PX = 3
_TRANSLATIONS = 3
"""So many translations of a pair are looked at, the most voted for first."""

_HOPELESS = 0.2
_EXACT_BELOW = 20_000
"""So many features are compared one with another; more through an index of cells."""

_BLOCK = 4096

MIN_CELL_IOU = 0.4
MIN_CELL_SHOWN_FRAC = 0.3
"""Of a cell that the edge of the shared area cuts, at least this share must lie in it."""


@dataclass(frozen=True, slots=True)
class FieldView:
    """What is kept of a field to compare it: `size_px` (width, height) of the field, the uint8
    picture `grey_HW`, float32 `points_K4` in its pixels, uint8 `descriptors_KD`."""

    size_px: tuple[int, int]
    grey_HW: NDArray[np.uint8]
    points_K4: NDArray[np.float32]
    descriptors_KD: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FieldOverlap:
    """Two fields, by their places in the given order, `first` before `second`.

    (`dx_px`, `dy_px`) is the corner of the second in the pixels of the first; `overlap_frac` the
    share of a field that both show, `correlation` how far they agree there (1: the same).
    """

    first: int
    second: int
    dx_px: int
    dy_px: int
    overlap_frac: float
    correlation: float


@dataclass(frozen=True, slots=True)
class CellPlace:
    """A cell by the place of its field in the given order and its `number` there."""

    field: int
    number: int


@dataclass(frozen=True, slots=True)
class SameCell:
    """A cell that another field shows too, and the place where it is counted."""

    cell: CellPlace
    counted: CellPlace


# -- field -> view --------------------------------------------------------------------------------


def build_view(pixels_HWC: NDArray[np.uint8]) -> FieldView:
    """Return what is kept of a field: uint8 RGB `(H, W, 3)`, 10 to 30 ms.

    Deterministic, and a function of the pixels alone. An empty field has no features and overlaps
    with none.
    """
    import cv2

    height, width = pixels_HWC.shape[:2]
    scale = WORKING_PX / max(height, width)
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    grow = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
    small_HWC = cv2.resize(np.ascontiguousarray(pixels_HWC), size, interpolation=grow)
    grey_HW = np.asarray(cv2.cvtColor(small_HWC, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    detector = cv2.SIFT_create(  # type: ignore[attr-defined]
        nfeatures=MAX_FEATURES, contrastThreshold=_CONTRAST, enable_precise_upscale=True
    )
    points, descriptors = detector.detectAndCompute(grey_HW, None)
    # Features of equal strength can exceed the number asked for.
    rows = [(p.pt[0], p.pt[1], p.size, p.angle) for p in points[:MAX_FEATURES]]
    points_K4 = np.array(rows, np.float32).reshape(-1, 4)
    descriptors_KD = np.zeros((0, 128), np.uint8)
    if rows:
        descriptors_KD = np.asarray(descriptors[: len(rows)]).astype(np.uint8)
    return FieldView((width, height), grey_HW, points_K4, descriptors_KD)


# -- views -> overlaps ----------------------------------------------------------------------------


def find_overlaps(views: Sequence[FieldView]) -> tuple[FieldOverlap, ...]:
    """Return the pairs of fields that overlap, in order; fields of other sizes never do.

    Deterministic. The features of all fields go into one index, so that the time grows little
    faster than the number of fields; only pairs that features vote for are compared.
    """
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for k, view in enumerate(views):
        by_size[view.size_px].append(k)
    found: list[FieldOverlap] = []
    for places in by_size.values():
        flat = [_flatten(views[k].grey_HW) for k in places]
        for (i, j), votes in _propose([views[k] for k in places]).items():
            overlap = _confirm(flat[i], flat[j], votes)
            if overlap is not None:
                (dx, dy), share, correlation = overlap
                view = views[places[i]]
                scale = view.size_px[0] / view.grey_HW.shape[1]
                first, second = places[i], places[j]
                found.append(
                    FieldOverlap(
                        first, second, round(dx * scale), round(dy * scale), share, correlation
                    )
                )
    return tuple(sorted(found, key=lambda one: (one.first, one.second)))


def _propose(views: Sequence[FieldView]) -> dict[tuple[int, int], list[NDArray[np.float64]]]:
    """Return the translations that features vote for, by pair, the most votes first. Features vote
    together where their translations lie in one square of `_BIN_PX` or in two that touch."""
    field_N = np.repeat(np.arange(len(views)), [len(view.points_K4) for view in views])
    if not len(field_N):
        return {}
    points_N4 = np.concatenate([view.points_K4 for view in views])
    descriptors_ND = root_descriptors(np.concatenate([view.descriptors_KD for view in views]))
    pairs: list[NDArray[np.int64]] = []
    for start, other_BK, similarity_BK in _search(descriptors_ND):
        rows_BK = start + np.arange(len(other_BK))[:, None] + np.zeros_like(other_BK)
        good = (other_BK >= 0) & (similarity_BK > _MIN_SIMILARITY)
        a, b = rows_BK[good], other_BK[good]
        # Each pair of features once, whichever found the other.
        a, b = np.minimum(a, b), np.maximum(a, b)
        turn = np.abs((points_N4[b, 3] - points_N4[a, 3] + 180) % 360 - 180)
        octaves = np.abs(np.log2(points_N4[b, 2] / points_N4[a, 2]))
        good = (field_N[a] != field_N[b]) & (turn < _MAX_TURN_DEG) & (octaves < _MAX_OCTAVES)
        pairs.append(np.stack([a[good], b[good]], axis=1))
    matched_M2 = np.unique(np.concatenate(pairs), axis=0)
    moves_M2 = (points_N4[matched_M2[:, 0], :2] - points_N4[matched_M2[:, 1], :2]).astype(float)
    fields_M2 = field_N[matched_M2]
    order = np.lexsort((fields_M2[:, 1], fields_M2[:, 0]))
    edges = np.flatnonzero(np.diff(fields_M2[order], axis=0).any(axis=1)) + 1
    proposed = {}
    for group in np.split(order, edges):
        if len(group) < 2:
            continue
        found = _gather_votes(moves_M2[group])
        if found:
            i, j = fields_M2[group[0]]
            proposed[int(i), int(j)] = found
    return proposed


def _search(
    descriptors_ND: NDArray[np.float32],
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
    """Yield, block by block, the features most like each: where the block starts, their numbers
    (-1: none) and similarities."""
    import faiss

    n, dimension = descriptors_ND.shape
    if n <= _EXACT_BELOW:
        index: Any = faiss.IndexFlatIP(dimension)
    else:
        lists = int(2 * math.sqrt(n))
        coarse = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFFlat(coarse, dimension, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = 64
        index.cp.niter = 10
        index.nprobe = 8
        index.train(descriptors_ND)
    index.add(descriptors_ND)
    for start in range(0, n, _BLOCK):
        similarity_BK, other_BK = index.search(
            descriptors_ND[start : start + _BLOCK], min(_NEIGHBOURS, n)
        )
        yield start, other_BK, similarity_BK


def _gather_votes(moves_V2: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    near_VV = np.abs(moves_V2[:, None] - moves_V2).max(axis=2) <= _BIN_PX
    left = np.ones(len(moves_V2), bool)
    found: list[NDArray[np.float64]] = []
    while len(found) < _TRANSLATIONS:
        votes_V = (near_VV & left).sum(axis=1) * left
        best = int(votes_V.argmax())
        if votes_V[best] < 2:
            break
        chosen = near_VV[best] & left
        found.append(np.median(moves_V2[chosen], axis=0))
        left &= ~chosen
    return found


def _flatten(grey_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Take off what is uneven in the light, and what differs in its amount."""
    import cv2

    side = 2 * (WORKING_PX // 12) + 1
    picture_HW = grey_HW.astype(np.float32)
    mean_HW = cv2.blur(picture_HW, (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(picture_HW - mean_HW, dtype=np.float32)


def _confirm(
    first_HW: NDArray[np.float32], second_HW: NDArray[np.float32], votes: list[NDArray[np.float64]]
) -> tuple[tuple[int, int], float, float] | None:
    """Return translation, shared area and correlation of the first proposal that holds."""
    for vote in votes:
        move = (round(float(vote[0])), round(float(vote[1])))
        best = _correlate(first_HW, second_HW, move)
        # Uphill in steps of one pixel; features lie a pixel or two beside.
        while best > _HOPELESS:
            steps = [
                (move[0] + dx, move[1] + dy)
                for dx, dy in itertools.product((-1, 0, 1), repeat=2)
                if (dx, dy) != (0, 0)
            ]
            value, step = max((_correlate(first_HW, second_HW, step), step) for step in steps)
            if value <= best:
                break
            best, move = value, step
        if best >= MIN_CORRELATION:
            height, width = first_HW.shape
            area = (width - abs(move[0])) * (height - abs(move[1]))
            return move, area / (width * height), best
    return None


def _correlate(
    first_HW: NDArray[np.float32], second_HW: NDArray[np.float32], move: tuple[int, int]
) -> float:
    """Return the correlation where both show something; 0 where that is too little."""
    height, width = first_HW.shape
    dx, dy = move
    if (width - abs(dx)) * (height - abs(dy)) < MIN_OVERLAP_FRAC * width * height:
        return 0.0
    if abs(dx) >= width or abs(dy) >= height:
        return 0.0
    a = first_HW[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    b = second_HW[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else 0.0


# -- overlaps and cells -> same cells -------------------------------------------------------------


def find_same_cells(
    fields: Sequence[FieldRecord], overlaps: Sequence[FieldOverlap]
) -> tuple[SameCell, ...]:
    """Return the cells that are counted in another field, in order.

    Of the boxes of one cell the one is counted that no edge cuts, and of those the one farthest
    from the edge. Boxes are compared where both fields show the smear, at most one of a field with
    one of another; what overlaps in a chain is followed through it.
    """
    group: dict[CellPlace, set[CellPlace]] = {}
    for overlap in overlaps:
        for a, b in _match_cells(fields, overlap):
            ours, theirs = group.setdefault(a, {a}), group.setdefault(b, {b})
            # A cell cannot be two cells of one field.
            if ours is theirs or {p.field for p in ours} & {p.field for p in theirs}:
                continue
            ours |= theirs
            for place in theirs:
                group[place] = ours
    same = []
    for place, places in group.items():
        counted = min(places, key=lambda one: _rank(fields, one))
        if counted != place:
            same.append(SameCell(place, counted))
    return tuple(sorted(same, key=lambda one: (one.cell.field, one.cell.number)))


def _rank(fields: Sequence[FieldRecord], place: CellPlace) -> tuple[bool, int, int, int]:
    field = fields[place.field]
    cell = next(cell for cell in field.cells if cell.number == place.number)
    x_min, y_min, x_max, y_max = cell.box
    margin = min(x_min, y_min, field.width_px - x_max, field.height_px - y_max)
    return cell.edge, -margin, place.field, place.number


def _match_cells(
    fields: Sequence[FieldRecord], overlap: FieldOverlap
) -> list[tuple[CellPlace, CellPlace]]:
    first, second = fields[overlap.first], fields[overlap.second]
    dx, dy = overlap.dx_px, overlap.dy_px
    # What both show, in pixels of the first.
    shared = (
        max(0, dx),
        max(0, dy),
        min(first.width_px, dx + second.width_px),
        min(first.height_px, dy + second.height_px),
    )
    found = []
    for a in first.cells:
        one = _cut(a.box, shared)
        for b in second.cells:
            moved = (b.box[0] + dx, b.box[1] + dy, b.box[2] + dx, b.box[3] + dy)
            two = _cut(moved, shared)
            if one is None or two is None:
                continue
            both = _cut(one, two)
            area = 0 if both is None else _measure(both)
            iou = area / (_measure(one) + _measure(two) - area)
            if iou >= MIN_CELL_IOU:
                found.append((-iou, a.number, b.number))
    pairs, taken_a, taken_b = [], set(), set()
    for _, a_number, b_number in sorted(found):
        if a_number not in taken_a and b_number not in taken_b:
            taken_a.add(a_number)
            taken_b.add(b_number)
            pairs.append((CellPlace(overlap.first, a_number), CellPlace(overlap.second, b_number)))
    return pairs


def _cut(box: Box, shared: Box) -> Box | None:
    """Return what of a box lies in the shared area; None where that is too little of it."""
    x_min, y_min = max(box[0], shared[0]), max(box[1], shared[1])
    x_max, y_max = min(box[2], shared[2]), min(box[3], shared[3])
    if x_min >= x_max or y_min >= y_max:
        return None
    cut = (x_min, y_min, x_max, y_max)
    return cut if _measure(cut) >= MIN_CELL_SHOWN_FRAC * _measure(box) else None


def _measure(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
