"""How likely a cell of a given size lies whole in what was photographed.

Cells cut by the edge of a field are not counted, and large cells are cut more often: in a field of
71 x 53 um a monocyte of 15 um is whole in 57 of 100 places where its middle may lie, a lymphocyte
of 8 um in 74. Counted as one each, monocytes would be a quarter too few. A cell that was counted
therefore stands for 1 / chance cells (Miles 1974; Lantuejoul 1980; the weights of Horvitz and
Thompson). Where fields overlap, a cell that one of them cuts may be whole in another. Axes: K boxes
or cells. What this file does not do: it finds no overlap and counts nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leukoscope.smear.overlap import CellPlace, FieldOverlap
from leukoscope.smear.record import FieldRecord, find_margin_px

_LEAST = 0.05
"""A chance is never taken for less: one cell as large as the field must not outweigh all others."""


def measure_whole_fracs(
    fields: Sequence[FieldRecord], overlaps: Sequence[FieldOverlap]
) -> dict[CellPlace, float]:
    """Return for each counted cell of fields the chance, above 0 and at most 1, that a cell of its
    size whose middle lies in them is whole in at least one."""
    found: dict[CellPlace, float] = {}
    for group in _group(len(fields), overlaps):
        corners_K2 = np.array(list(group.values()), dtype=np.float64)
        sizes_K2 = np.array([(fields[k].width_px, fields[k].height_px) for k in group])
        boxes_K4 = np.hstack([corners_K2, corners_K2 + sizes_K2])
        area = measure_union(boxes_K4)
        known: dict[tuple[float, float], float] = {}
        for k in group:
            for cell in fields[k].counted:
                margin = 2 * find_margin_px(cell.scale_px_per_um)
                x_min, y_min, x_max, y_max = cell.box
                size = (x_max - x_min + margin, y_max - y_min + margin)
                if size not in known:
                    half = np.array([*size]) / 2
                    inner_K4 = boxes_K4 + np.concatenate([half, -half])
                    known[size] = max(measure_union(inner_K4) / area, _LEAST)
                found[CellPlace(k, cell.number)] = known[size]
    return found


def measure_union(boxes_K4: NDArray[np.float64]) -> float:
    """Return the area that boxes `(K, 4)` cover together; those turned inside out cover nothing.

    >>> measure_union(np.array([[0, 0, 4, 4], [2, 2, 6, 6], [9, 9, 8, 8.0]]))
    28.0
    """
    boxes_K4 = boxes_K4[(boxes_K4[:, :2] < boxes_K4[:, 2:]).all(axis=1)]
    x, y = np.unique(boxes_K4[:, [0, 2]]), np.unique(boxes_K4[:, [1, 3]])
    is_covered_YX = np.zeros((max(len(y) - 1, 0), max(len(x) - 1, 0)), dtype=bool)
    for x_min, y_min, x_max, y_max in boxes_K4:
        rows = slice(np.searchsorted(y, y_min), np.searchsorted(y, y_max))
        columns = slice(np.searchsorted(x, x_min), np.searchsorted(x, x_max))
        is_covered_YX[rows, columns] = True
    return float(np.diff(y) @ is_covered_YX @ np.diff(x))


def _group(n: int, overlaps: Sequence[FieldOverlap]) -> list[dict[int, tuple[float, float]]]:
    """Fields that hang together by overlaps, each with its corner on the smear in pixels."""
    near: dict[int, list[tuple[int, float, float]]] = {k: [] for k in range(n)}
    for one in overlaps:
        near[one.first].append((one.second, one.dx_px, one.dy_px))
        near[one.second].append((one.first, -one.dx_px, -one.dy_px))
    groups: list[dict[int, tuple[float, float]]] = []
    seen: set[int] = set()
    for start in range(n):
        if start in seen:
            continue
        group = {start: (0.0, 0.0)}
        todo = [start]
        while todo:
            k = todo.pop()
            x, y = group[k]
            for other, dx, dy in near[k]:
                if other not in group:
                    group[other] = (x + dx, y + dy)
                    todo.append(other)
        seen |= set(group)
        groups.append(group)
    return groups
