"""Overlapping fields are recognised, others are not joined, and a cell is counted once."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leukoscope.painted.fields import paint_fields
from leukoscope.smear.overlap import (
    CellPlace,
    FieldOverlap,
    FieldView,
    SameCell,
    build_view,
    find_overlaps,
    find_same_cells,
)
from leukoscope.smear.record import FieldRecord, FoundCell

CAMERA = {"size_px": (400, 300), "px_per_um": 6.0, "white_cells": 3}


def photograph_again(pixels_HWC, rng):
    """Darker or brighter, of other colours, and compressed harder."""
    picture = np.clip(pixels_HWC * rng.uniform(0.8, 1.15, 3) + rng.uniform(-8, 8), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(buffer, "JPEG", quality=70)
    return np.array(Image.open(buffer).convert("RGB"))


@pytest.fixture(scope="module")
def path():
    """Fields of one sample on a path, each showing 40 % of the one before again."""
    return list(paint_fields(6, overlap_frac=0.4, seed=3, **CAMERA))


@pytest.fixture(scope="module")
def views(path):
    rng = np.random.default_rng(0)
    return [build_view(photograph_again(field.pixels_HWC, rng)) for field in path]


@pytest.fixture(scope="module")
def apart():
    """Fields of the same slide that show nothing twice."""
    return [build_view(f.pixels_HWC) for f in paint_fields(12, seed=3, **CAMERA)]


def make_record(field, cells, size=(400, 300)):
    """A record of boxes; those that touch the edge are cut by it."""
    found = []
    for number, box in enumerate(cells, start=1):
        edge = box[0] == 0 or box[1] == 0 or box[2] == size[0] or box[3] == size[1]
        found.append(FoundCell(field, number, box, 0.9, edge, 6.0))
    return FieldRecord(field, *size, cells=tuple(found))


# -- overlaps -------------------------------------------------------------------------------------


def test_neighbours_on_the_path_are_found_at_their_places(path, views):
    found = {(one.first, one.second): one for one in find_overlaps(views)}
    # Two rows of three on a serpentine: 0 1 2 / 5 4 3.
    neighbours = {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 4), (0, 5)}
    assert neighbours <= set(found)
    for (i, j), one in found.items():
        dx, dy = np.array(path[j].place_px) - path[i].place_px
        assert abs(one.dx_px - dx) <= 4 and abs(one.dy_px - dy) <= 4
        share = (400 - abs(dx)) * (300 - abs(dy)) / (400 * 300)
        assert one.overlap_frac == pytest.approx(share, abs=0.03)
        assert one.correlation > 0.9


def test_fields_that_do_not_overlap_are_never_joined(views, apart):
    assert find_overlaps(apart) == ()
    mixed = find_overlaps([*views, *apart])
    assert mixed == find_overlaps(views)


def test_the_same_field_twice_overlaps_with_itself(path, views):
    rng = np.random.default_rng(5)
    again = build_view(photograph_again(path[0].pixels_HWC, rng))
    (found,) = find_overlaps([views[0], again])
    assert (found.dx_px, found.dy_px) == (0, 0)
    assert found.overlap_frac == 1.0


def test_turned_and_enlarged_fields_are_not_taken_for_moved_ones(path):
    pixels_HWC = path[0].pixels_HWC
    turned = build_view(np.ascontiguousarray(np.rot90(pixels_HWC, 2)))
    assert find_overlaps([build_view(pixels_HWC), turned]) == ()
    other_size = build_view(pixels_HWC[:200])
    assert find_overlaps([build_view(pixels_HWC), other_size]) == ()


def test_many_features_are_searched_through_an_index(views):
    """Above the number that is compared one with another, the same pairs are found."""
    rng = np.random.default_rng(1)
    crowd = []
    for _ in range(84):
        descriptors_KD = rng.integers(0, 120, (250, 128), dtype=np.uint8)
        points_K4 = np.column_stack(
            [rng.uniform(0, 190, (250, 2)), np.full(250, 5.0), rng.uniform(0, 360, 250)]
        )
        crowd.append(
            FieldView(
                views[0].size_px,
                rng.integers(0, 255, views[0].grey_HW.shape, dtype=np.uint8),
                points_K4.astype(np.float32),
                descriptors_KD,
            )
        )
    found = find_overlaps([*views, *crowd])
    assert {(one.first, one.second) for one in found} >= {
        (one.first, one.second) for one in find_overlaps(views) if one.overlap_frac > 0.2
    }
    assert all(one.second < len(views) for one in found)


def test_nothing_to_compare(path, views):
    assert find_overlaps([]) == ()
    empty = build_view(np.full((300, 400, 3), 210, np.uint8))
    assert empty.points_K4.shape == (0, 4) and empty.descriptors_KD.shape == (0, 128)
    assert find_overlaps([empty, empty]) == ()
    # One feature of a field is no overlap.
    lone = replace(
        views[0], points_K4=views[0].points_K4[:1], descriptors_KD=views[0].descriptors_KD[:1]
    )
    assert find_overlaps([lone, lone]) == ()
    # Features that look alike do not suffice where the pictures differ.
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 255, views[0].grey_HW.shape, dtype=np.uint8)
    assert find_overlaps([views[0], replace(views[0], grey_HW=noise)]) == ()
    flat = replace(views[0], grey_HW=np.full_like(views[0].grey_HW, 200))
    assert find_overlaps([flat, flat]) == ()


def test_small_pictures_are_enlarged(path):
    view = build_view(path[0].pixels_HWC[:100, :120])
    assert view.size_px == (120, 100) and view.grey_HW.shape == (213, 256)


# -- cells ----------------------------------------------------------------------------------------


def test_of_one_cell_the_box_farther_from_the_edge_counts():
    fields = [make_record("a", [(250, 100, 310, 160)]), make_record("b", [(12, 99, 71, 161)])]
    overlap = FieldOverlap(0, 1, 240, 0, 0.4, 0.99)
    assert find_same_cells(fields, [overlap]) == (SameCell(CellPlace(1, 1), CellPlace(0, 1)),)
    assert find_same_cells(fields, []) == ()


def test_a_cell_that_the_edge_cuts_counts_where_it_is_whole():
    fields = [make_record("a", [(360, 100, 400, 160)]), make_record("b", [(121, 99, 180, 161)])]
    overlap = FieldOverlap(0, 1, 240, 0, 0.4, 0.99)
    assert find_same_cells(fields, [overlap]) == (SameCell(CellPlace(0, 1), CellPlace(1, 1)),)


def test_different_cells_are_left_alone():
    near = [make_record("a", [(250, 100, 310, 160)]), make_record("b", [(50, 100, 110, 160)])]
    beyond = [make_record("a", [(20, 100, 80, 160)]), make_record("b", [(300, 100, 360, 160)])]
    overlap = FieldOverlap(0, 1, 240, 0, 0.4, 0.99)
    assert find_same_cells(near, [overlap]) == find_same_cells(beyond, [overlap]) == ()


def test_a_chain_of_fields_counts_once_and_one_field_has_no_cell_twice():
    fields = [
        make_record("a", [(300, 100, 360, 160)]),
        make_record("b", [(170, 100, 230, 160)]),
        make_record("c", [(40, 100, 100, 160)]),
    ]
    chain = [FieldOverlap(0, 1, 130, 0, 0.6, 0.99), FieldOverlap(1, 2, 130, 0, 0.6, 0.99)]
    same = find_same_cells(fields, [*chain, FieldOverlap(0, 2, 260, 0, 0.3, 0.99)])
    assert same == (
        SameCell(CellPlace(0, 1), CellPlace(1, 1)),
        SameCell(CellPlace(2, 1), CellPlace(1, 1)),
    )
    # Two cells that touch, and places that are off by some pixels: they stay two.
    pair = [(300, 100, 360, 160), (345, 100, 405, 160)]
    wide = (500, 300)
    fields = [
        make_record("a", pair, wide),
        make_record("b", [(x - 130, y, z - 130, w) for x, y, z, w in pair], wide),
        make_record("c", [(70, 100, 130, 160)], wide),
    ]
    shaken = [FieldOverlap(0, 1, 130, 0, 0.6, 0.99), FieldOverlap(0, 2, 230, 0, 0.3, 0.99)]
    same = find_same_cells(fields, [*shaken, FieldOverlap(1, 2, 145, 0, 0.3, 0.99)])
    counted = {(k, cell.number) for k, one in enumerate(fields) for cell in one.cells}
    counted -= {(one.cell.field, one.cell.number) for one in same}
    assert len(counted) == 2


def test_painted_cells_are_counted_as_often_as_they_are_there(path, views):
    records = [make_record(field.name, [cell.box for cell in field.white_cells]) for field in path]
    same = {
        (one.cell.field, one.cell.number) for one in find_same_cells(records, find_overlaps(views))
    }
    counted = [
        field.white_cells[cell.number - 1].cell
        for k, (field, record) in enumerate(zip(path, records, strict=True))
        for cell in record.counted
        if (k, cell.number) not in same
    ]
    whole = [cell.cell for field in path for cell in field.white_cells if not cell.is_cut]
    assert len(whole) > len(set(whole)) + 2, "nothing is shown twice"
    assert sorted(counted) == sorted(set(whole))
