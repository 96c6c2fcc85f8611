"""The chance that a cell lies whole in its fields, against places drawn at random."""

import numpy as np
import pytest

from leukoscope.smear.edges import measure_union, measure_whole_fracs
from leukoscope.smear.overlap import CellPlace, FieldOverlap
from leukoscope.smear.record import FieldRecord, FoundCell, find_margin_px

SCALE = 9.0


def build_field(name, *boxes, size=(640, 480)):
    cells = tuple(FoundCell(name, k, box, 1.0, False, SCALE) for k, box in enumerate(boxes, 1))
    return FieldRecord(name, *size, scale_px_per_um=SCALE, scale_source="given", cells=cells)


def throw(side, places, size=(640, 480), n=200_000):
    """Of middles that lie in a field, the share of cells that are whole in one of them."""
    rng = np.random.default_rng(0)
    places = np.array(places)
    middle_N2 = rng.uniform(places.min(0), places.max(0) + size, (n, 2))
    reach = side / 2 + find_margin_px(SCALE)
    shown_N, whole_N = np.zeros(n, bool), np.zeros(n, bool)
    for x, y in places:
        low, high = middle_N2 - (x, y), np.array((x + size[0], y + size[1])) - middle_N2
        least_N = np.minimum(low, high).min(axis=1)
        shown_N |= least_N > 0
        whole_N |= least_N > reach
    return whole_N.sum() / shown_N.sum()


@pytest.mark.parametrize("side", [76, 140])
def test_a_large_cell_is_cut_more_often(side):
    found = measure_whole_fracs([build_field("a", (10, 10, 10 + side, 10 + side))], [])
    assert found[CellPlace(0, 1)] == pytest.approx(throw(side, [(0, 0)]), abs=0.005)


def test_what_one_field_cuts_another_may_show():
    fields = [build_field("a"), build_field("b", (50, 50, 180, 180)), build_field("c")]
    overlaps = [FieldOverlap(0, 1, 400, 20, 0.3, 1.0), FieldOverlap(1, 2, -10, 300, 0.3, 1.0)]
    found = measure_whole_fracs(fields, overlaps)
    places = [(0, 0), (400, 20), (390, 320)]
    assert found == {CellPlace(1, 1): pytest.approx(throw(130, places), abs=0.005)}
    assert found[CellPlace(1, 1)] > throw(130, [(0, 0)])


def test_cells_that_the_edge_cuts_and_broken_fields_have_none():
    cut = FoundCell("a", 1, (0, 5, 60, 60), 1.0, True, SCALE)
    broken = FieldRecord("b", reason="truncated", found="half")
    field = FieldRecord("a", 640, 480, scale_px_per_um=SCALE, cells=(cut,))
    assert measure_whole_fracs([field, broken], []) == {}


def test_a_cell_as_large_as_its_field_does_not_outweigh_all_others():
    found = measure_whole_fracs([build_field("a", (6, 6, 634, 474))], [])
    assert found[CellPlace(0, 1)] == 0.05


def test_no_boxes_cover_nothing():
    assert measure_union(np.zeros((0, 4))) == 0
