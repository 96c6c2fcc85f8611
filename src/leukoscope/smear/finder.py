"""From a field to its white cells: scale, tiles, the network, and what its answers mean.

Axes: H height, W width, C colour channel (RGB). What this file does not do: it opens no file
(`fields`) and cuts nothing out (`crops`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import Box
from leukoscope.smear.classical import find_nucleus_cells
from leukoscope.smear.fields import Field
from leukoscope.smear.ground import GROUND, balance, resize_by
from leukoscope.smear.network import (
    PLATELET,
    PX_PER_UM,
    RED,
    STEP_PX,
    WHITE,
    FinderNetwork,
    Peaks,
    find_peaks,
    select_apart,
)
from leukoscope.smear.nuclei import find_stained
from leukoscope.smear.overview import Overview, look_over
from leukoscope.smear.record import (
    FieldCode,
    FieldRecord,
    FoundCell,
    ScaleSource,
    find_margin_px,
)
from leukoscope.smear.scale import RED_CELL_UM

Method = Literal["network", "nuclei"]
"""What finds the cells: the network that comes with the package, or nuclei alone (the baseline)."""

LEAST_SCORE = 0.5
"""From this score a cell is one. BCCD is the same from 0.45 to 0.55; with less, dark red cells of
other cameras are taken for white ones, with more, cells are missed (docs/experiments/043)."""

_LEAST_RED, _LEAST_PLATELET = 0.35, 0.35
_OVERLAP = 0.4

_TILE_UM, _MARGIN_UM = 192.0, 32.0
"""Tiles are so wide, and see so far over their edges: farther than any white cell reaches."""

_TILE_PX = 7800
"""What a tile sees is never wider, whatever the scale: memory is bounded."""

_SCALES = (1.0, 90.0)
_UNKNOWN_FIELD_UM = 50.0
"""Without any red cell a field is assumed so wide."""

_EXPLAINED = 0.45
"""So much of what is stained lies in cells where the scale is not far off: 0.4 to 1.2 at the scale
of circles, 0.1 to 0.3 where that was wrong by three times (the half of BCCD for training)."""

_STAINED = 0.88
"""What has at most so much of the ground's green light is stained."""

_FIELDS_UM = (25.0, 50.0, 100.0, 200.0)
"""Widths of fields that are tried where circles say nothing sensible."""

_FEWEST_RED = 3
_TRUSTED = 1.35
"""Widths of red cells are right to 5 % where the scale is so far off (half of BCCD)."""

_ROUNDS = 2


@dataclass(frozen=True)
class FoundField:
    """What was found in a field, and the colour of its ground, which crops need."""

    record: FieldRecord
    ground_C: NDArray[np.float64]


@dataclass(frozen=True)
class _Scale:
    px_per_um: float
    source: ScaleSource


class Finder:
    """Finds white cells in fields; safe to share among threads.

    `scale_px_per_um` is that of the camera, where the user knows it (None: each field's own).
    `least_score` is what makes a cell, 0 to 1. Raises `WeightsError` where the network that comes
    with the package was changed.
    """

    def __init__(
        self,
        method: Method = "network",
        *,
        scale_px_per_um: float | None = None,
        least_score: float = LEAST_SCORE,
        network: FinderNetwork | None = None,
    ) -> None:
        self.method = method
        self.scale_px_per_um = scale_px_per_um
        self.least_score = least_score
        self._network = (network or FinderNetwork()) if method == "network" else None

    def find(self, field: Field, name: str) -> FoundField:
        """Return the white cells of a field, from top to bottom, and its counts. The same field
        gives the same cells. Raises `ImageError` where a slide's region cannot be read."""
        seen = look_over(field)
        ground_C = seen.ground_C
        scale = self._find_scale(seen, field)
        if self._network is None:
            found = self._find_by_nuclei(field, ground_C, scale.px_per_um)
            red = platelets = None
        else:
            found, red, platelets = self._find_by_network(
                self._network, field, ground_C, scale.px_per_um
            )
        cells = _number_cells(found, field, name, scale.px_per_um)
        codes: list[FieldCode] = []
        if scale.source in ("white_cells", "none"):
            codes.append("scale_uncertain")
        if not cells:
            codes.append("no_white_cells")
        record = FieldRecord(
            field=name,
            width_px=field.width,
            height_px=field.height,
            sha256=field.sha256,
            scale_px_per_um=round(scale.px_per_um, 3),
            scale_source=scale.source,
            n_red_cells=red,
            n_platelets=platelets,
            cells=cells,
            codes=tuple(codes),
        )
        return FoundField(record, ground_C)

    # -- scale ------------------------------------------------------------------------------------

    def _find_scale(self, seen: Overview, field: Field) -> _Scale:
        """The scale of a field: what the user says; else by circles, then by the widths of the red
        cells that the network finds at that scale, in two rounds."""
        if self.scale_px_per_um is not None:
            return _Scale(self.scale_px_per_um, "given")
        if seen.px_per_um is not None:
            scale = _Scale(_bound(seen.px_per_um), "red_cells")
        else:
            scale = _Scale(max(field.width, field.height) / _UNKNOWN_FIELD_UM, "none")
        if self._network is None:
            return scale
        return self._refine_scale(self._network, seen, scale)

    def _refine_scale(self, network: FinderNetwork, seen: Overview, scale: _Scale) -> _Scale:
        look = _Look(network, seen)
        px_per_um = scale.px_per_um
        widths_um, explained = look.at(px_per_um)
        if explained < _EXPLAINED or len(widths_um) < _FEWEST_RED:
            # Other scales, each twice the one before: cells are found from half to twice their own.
            side = max(seen.pixels_HWC.shape[:2]) / seen.factor
            others = [px_per_um, *(_bound(side / width_um) for width_um in _FIELDS_UM)]
            px_per_um = max(others, key=lambda one: look.at(one)[1])
        source: ScaleSource = "none"
        for _ in range(_ROUNDS):
            widths_um, _ = look.at(px_per_um)
            if len(widths_um) < _FEWEST_RED:
                break
            source = "red_cells"
            ratio = float(np.median(widths_um)) / RED_CELL_UM
            px_per_um = _bound(px_per_um * ratio)
            if 1 / _TRUSTED < ratio < _TRUSTED:
                break
        return _Scale(px_per_um, source)

    # -- cells ------------------------------------------------------------------------------------

    def _find_by_network(
        self, network: FinderNetwork, field: Field, ground_C: NDArray[np.float64], scale: float
    ) -> tuple[Peaks, int, int]:
        found: dict[int, list[_Part]] = {WHITE: [], RED: [], PLATELET: []}
        least = {WHITE: self.least_score, RED: _LEAST_RED, PLATELET: _LEAST_PLATELET}
        for tile in list_tiles(field.width, field.height, scale):
            pixels_HWC = resize_by(field.read_region(tile.seen), PX_PER_UM / scale)
            centres, distances = network.find(balance(pixels_HWC, ground_C))
            to_field = np.array([
                (tile.seen[2] - tile.seen[0]) / pixels_HWC.shape[1],
                (tile.seen[3] - tile.seen[1]) / pixels_HWC.shape[0],
            ] * 2)  # fmt: skip
            offset = np.array(tile.seen[:2] * 2, dtype=np.float64)
            for kind, least_score in least.items():
                peaks = find_peaks(centres[kind], distances, least_score, _OVERLAP)
                boxes_K4 = peaks.boxes_K4 * to_field + offset
                own = tile.owns(boxes_K4)
                found[kind].append((tile, boxes_K4[own], peaks.scores_K[own]))
        white, red, platelets = (_join(found[kind]) for kind in (WHITE, RED, PLATELET))
        return white, len(red.scores_K), len(platelets.scores_K)

    def _find_by_nuclei(self, field: Field, ground_C: NDArray[np.float64], scale: float) -> Peaks:
        parts = []
        for tile in list_tiles(field.width, field.height, scale):
            pixels_HWC = resize_by(field.read_region(tile.seen), PX_PER_UM / scale)
            cells = find_nucleus_cells(find_stained(pixels_HWC, ground_C), PX_PER_UM)
            boxes_K4 = np.array([cell.box for cell in cells]).reshape(-1, 4)
            boxes_K4 = boxes_K4 * scale / PX_PER_UM + np.array(tile.seen[:2] * 2)
            boxes_K4 = boxes_K4[tile.owns(boxes_K4)]
            boxes_K4 = boxes_K4[select_apart(boxes_K4, _OVERLAP)]
            parts.append((tile, boxes_K4, np.ones(len(boxes_K4))))
        return _join(parts)


class _Look:
    """What the network sees in an overview at any scale; each scale is looked at once."""

    def __init__(self, network: FinderNetwork, seen: Overview) -> None:
        self._network, self._overview = network, seen
        self._seen: dict[float, tuple[NDArray[np.float64], float]] = {}

    def at(self, px_per_um: float) -> tuple[NDArray[np.float64], float]:
        """Return the widths of whole red cells in micrometres, were this the scale of the field,
        and which share of the stained area lies in white and red cells (above 1 where they
        overlap)."""
        if px_per_um not in self._seen:
            self._seen[px_per_um] = self._look(px_per_um)
        return self._seen[px_per_um]

    def _look(self, px_per_um: float) -> tuple[NDArray[np.float64], float]:
        overview = self._overview
        shrunk = min(PX_PER_UM / (px_per_um * overview.factor), 8.0)
        balanced_HWC = balance(resize_by(overview.pixels_HWC, shrunk), overview.ground_C)
        centres, distances = self._network.find(balanced_HWC)
        height, width = balanced_HWC.shape[:2]
        held = 0.0
        for kind, least in ((WHITE, LEAST_SCORE), (RED, _LEAST_RED)):
            found = find_peaks(centres[kind], distances, least, _OVERLAP)
            boxes_K4 = np.clip(found.boxes_K4, 0, (width, height) * 2)
            areas_K = (boxes_K4[:, 2:] - boxes_K4[:, :2]).prod(axis=1)
            held += float((areas_K * found.scores_K).sum())
        # The last are the red ones.
        widths_um = _measure_whole(found, balanced_HWC.shape) / PX_PER_UM
        stained = int((balanced_HWC[:, :, 1] < _STAINED * GROUND).sum())
        return widths_um, held / max(1, stained)


@dataclass(frozen=True)
class Tile:
    """A part of a field: what the finder sees, and the core whose cells are the tile's own."""

    seen: Box
    core: Box

    def owns(self, boxes_K4: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which boxes have their middle in the core, `(K,)`."""
        x_K, y_K = (boxes_K4[:, :2] + boxes_K4[:, 2:]).T / 2
        x_min, y_min, x_max, y_max = self.core
        inside_K = (x_K >= x_min) & (x_K < x_max) & (y_K >= y_min) & (y_K < y_max)
        return np.asarray(inside_K, dtype=np.bool_)

    def crosses(self, boxes_K4: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which boxes reach over the edge of the core, `(K,)`."""
        over_K = (boxes_K4[:, :2] < self.core[:2]) | (boxes_K4[:, 2:] > self.core[2:])
        return np.asarray(over_K.any(axis=1), dtype=np.bool_)


_Part = tuple[Tile, NDArray[np.float64], NDArray[np.float64]]
"""A tile with the boxes `(K, 4)` and scores `(K,)` of its own cells."""


def list_tiles(width: int, height: int, scale_px_per_um: float) -> Iterator[Tile]:
    """Yield tiles whose cores cover a field without a gap; one for a field of at most a tile."""
    margin = int(_MARGIN_UM * scale_px_per_um)
    core = max(64, min(int(_TILE_UM * scale_px_per_um), _TILE_PX - 2 * margin))
    columns = 1 if width <= core + margin else -(-width // core)
    rows = 1 if height <= core + margin else -(-height // core)
    for row in range(rows):
        top, bottom = height * row // rows, height * (row + 1) // rows
        for column in range(columns):
            left, right = width * column // columns, width * (column + 1) // columns
            seen = (
                max(0, left - margin),
                max(0, top - margin),
                min(width, right + margin),
                min(height, bottom + margin),
            )
            # A middle may lie on the field's last edge, or by rounding beyond.
            core_box = (
                left if column else -margin,
                top if row else -margin,
                right if column < columns - 1 else width + margin,
                bottom if row < rows - 1 else height + margin,
            )
            yield Tile(seen, core_box)


def _join(parts: Sequence[_Part]) -> Peaks:
    """Cells of all tiles, each once: the middle of one may lie to either side of a border, so those
    that reach over it are compared."""
    boxes_K4 = np.concatenate([boxes for _, boxes, _ in parts])
    scores_K = np.concatenate([scores for _, _, scores in parts])
    crosses_K = np.concatenate([tile.crosses(boxes) for tile, boxes, _ in parts])
    order = np.argsort(-scores_K, kind="stable")
    crossing = order[crosses_K[order]]
    kept_K = ~crosses_K
    kept_K[crossing[select_apart(boxes_K4[crossing], _OVERLAP)]] = True
    kept = order[kept_K[order]]
    return Peaks(boxes_K4[kept], scores_K[kept])


def _number_cells(found: Peaks, field: Field, name: str, scale: float) -> tuple[FoundCell, ...]:
    """The cells with whole boxes inside of the field, from top to bottom."""
    margin = find_margin_px(scale)
    cells = []
    for (x_min, y_min, x_max, y_max), score in zip(found.boxes_K4, found.scores_K, strict=True):
        box = (
            max(0, round(float(x_min))),
            max(0, round(float(y_min))),
            min(field.width, round(float(x_max))),
            min(field.height, round(float(y_max))),
        )
        if box[2] - box[0] < 2 or box[3] - box[1] < 2:
            continue
        is_cut = (
            x_min < margin
            or y_min < margin
            or x_max > field.width - margin
            or y_max > field.height - margin
            or field.is_cut(box)
        )
        cells.append(FoundCell(name, 0, box, round(float(score), 4), bool(is_cut), round(scale, 3)))
    cells.sort(key=lambda cell: (cell.box[1], cell.box[0], cell.box[2:]))
    return tuple(replace(cell, number=k) for k, cell in enumerate(cells, 1))


def _measure_whole(found: Peaks, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Mean of width and height of the boxes that no edge cuts."""
    boxes_K4 = found.boxes_K4
    inside_K = (
        (boxes_K4[:, :2] > STEP_PX / 2).all(axis=1)
        & (boxes_K4[:, 2] < shape[1] - STEP_PX / 2)
        & (boxes_K4[:, 3] < shape[0] - STEP_PX / 2)
    )
    sides_K2 = boxes_K4[inside_K, 2:] - boxes_K4[inside_K, :2]
    return np.asarray(sides_K2.mean(axis=1), dtype=np.float64)


def _bound(px_per_um: float) -> float:
    return min(max(px_per_um, _SCALES[0]), _SCALES[1])
