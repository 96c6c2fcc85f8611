"""Painted fields: the truth is where the pixels are, shares are as wanted, overlap is real."""

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leukoscope.data.catalog import build_catalog
from leukoscope.errors import ConfigError, StorageError
from leukoscope.painted.field_sets import save_fields
from leukoscope.painted.fields import PaintedField, paint_fields
from leukoscope.painted.white_cells import LABELS

SMALL = {"size_px": (240, 180), "px_per_um": 4.0}


@pytest.fixture(scope="module")
def fields() -> list[PaintedField]:
    return list(paint_fields(6, n_samples=2, white_cells=4))


def list_all(field):
    return (*field.white_cells, *field.red_cells, *field.platelets)


# -- truth ----------------------------------------------------------------------------------------


def test_boxes_lie_in_the_field_and_say_what_the_edge_cuts(fields):
    assert [f.sample for f in fields] == ["sample_000"] * 6 + ["sample_001"] * 6
    assert len({f.name for f in fields}) == 12
    cut = 0
    for field in fields:
        height, width = field.pixels_HWC.shape[:2]
        assert (width, height) == (640, 480)
        names = [cell.cell for cell in list_all(field)]
        assert len(set(names)) == len(names)
        for cell in list_all(field):
            x_min, y_min, x_max, y_max = cell.box
            assert 0 <= x_min < x_max <= width and 0 <= y_min < y_max <= height
            touches = x_min == 0 or y_min == 0 or x_max == width or y_max == height
            assert touches or not cell.is_cut
            assert 0 < cell.visible_frac <= 1
            cut += cell.is_cut
    assert cut > 50


def test_sizes_are_those_of_blood_at_the_given_scale(fields):
    for label, low, high in (("red_cell", 6.4, 8.2), ("neutrophil", 10, 15), ("platelet", 1, 4)):
        sides = [
            np.sqrt((c.box[2] - c.box[0]) * (c.box[3] - c.box[1])) / field.px_per_um
            for field in fields
            for c in list_all(field)
            if c.label == label and not c.is_cut
        ]
        assert len(sides) > 5
        assert low < np.median(sides) < high
    larger = next(paint_fields(1, px_per_um=18.0, size_px=(640, 480)))
    assert len(larger.red_cells) < 0.5 * np.mean([len(f.red_cells) for f in fields])


def test_nuclei_are_dark_and_lie_in_their_cells(fields):
    for field in fields:
        blue_minus_red = field.pixels_HWC.astype(int)[..., 2] - field.pixels_HWC[..., 0]
        assert field.nuclei_HW.max() <= len(field.white_cells)
        for k, cell in enumerate(field.white_cells, start=1):
            rows, columns = np.nonzero(field.nuclei_HW == k)
            if cell.visible_frac == 1:
                assert rows.size > 100
            if rows.size < 50:
                continue
            x_min, y_min, x_max, y_max = cell.box
            assert x_min <= columns.min() and columns.max() < x_max
            assert y_min <= rows.min() and rows.max() < y_max
            assert blue_minus_red[rows, columns].mean() > np.median(blue_minus_red) + 40


def test_no_white_cell_is_left_out_of_the_truth(fields):
    """What is as blue as a nucleus lies in a nucleus or in a platelet."""
    for field in fields:
        pixels = field.pixels_HWC.astype(int)
        known = field.nuclei_HW > 0
        for cell in (*field.platelets, *field.white_cells):
            x_min, y_min, x_max, y_max = cell.box
            known[max(0, y_min - 4) : y_max + 4, max(0, x_min - 4) : x_max + 4] = True
        blue = pixels[..., 2] - pixels[..., 0] > np.median(pixels[..., 2] - pixels[..., 0]) + 70
        # A sliver at the edge is below what the truth lists.
        inner = (slice(6, -6), slice(6, -6))
        assert (blue & ~known)[inner].sum() == 0


def test_white_cells_do_not_lie_on_each_other_and_red_cells_do(fields):
    touching = 0
    for field in fields:
        for cells in (field.white_cells, field.red_cells):
            boxes = np.array([cell.box for cell in cells if not cell.is_cut]).reshape(-1, 4)
            radius = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1) / 2
            middle = (boxes[:, 2:] + boxes[:, :2]) / 2
            apart = np.hypot(*(middle[:, None] - middle).transpose(2, 0, 1))
            apart[np.diag_indices(len(apart))] = np.inf
            near = apart < 0.9 * (radius[:, None] + radius)
            if cells is field.white_cells:
                assert not near.any()
            else:
                touching += int(near.sum())
    assert touching > 50


# -- shares ---------------------------------------------------------------------------------------


def test_shares_are_the_wanted_ones():
    wanted = {"neutrophil": 1.0, "lymphocyte": 3.0}
    fields = paint_fields(60, white_cells=8, shares=wanted, **SMALL)
    counts = Counter(cell.label for field in fields for cell in field.white_cells)
    n = sum(counts.values())
    assert set(counts) == set(wanted) and n > 400
    assert counts["neutrophil"] / n == pytest.approx(0.25, abs=0.06)


def test_the_number_of_cells_is_drawn_from_zero_on():
    shown = [
        sum(not cell.is_cut for cell in field.white_cells)
        for field in paint_fields(60, white_cells=1.0, **SMALL)
    ]
    assert min(shown) == 0 and max(shown) >= 2
    assert all(not f.white_cells for f in paint_fields(3, white_cells=0, **SMALL))


def test_samples_have_shares_and_colours_of_their_own():
    fields = list(paint_fields(12, n_samples=3, white_cells=10, **SMALL))
    counts = [
        Counter(c.label for f in fields[k : k + 12] for c in f.white_cells) for k in (0, 12, 24)
    ]
    shares = [count["neutrophil"] / sum(count.values()) for count in counts]
    assert max(shares) - min(shares) > 0.05
    # The empty background: brighter than nine tenths of a field.
    light = np.array([np.quantile(f.pixels_HWC, 0.9, axis=(0, 1)) for f in fields])
    warmth = (light[:, 0] - light[:, 2]).reshape(3, 12)
    assert warmth.std(axis=1).max() < 0.5 * warmth.mean(axis=1).std()


# -- overlap --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.35, 0.7])
def test_overlapping_fields_show_the_same_cells_at_their_places(share):
    fields = list(paint_fields(4, overlap_frac=share, white_cells=5, seed=4, **SMALL))
    a, b = fields[:2]
    shift = np.array(b.place_px) - a.place_px
    assert 1 - abs(shift[0]) / 240 == pytest.approx(share, abs=0.08)
    assert abs(shift[1]) < 0.06 * 180
    ours = {cell.cell: cell for cell in list_all(a)}
    both = [(ours[c.cell], c) for c in list_all(b) if c.cell in ours]
    whole = [(one, two) for one, two in both if not one.is_cut and not two.is_cut]
    assert len(whole) >= 2
    for one, two in whole:
        assert one.label == two.label
        assert np.array(one.box) - np.array(two.box) == pytest.approx(np.tile(shift, 2))
    # The pixels agree where both show the smear, up to light, focus and noise.
    x, y = shift
    grey_a, grey_b = (f.pixels_HWC.mean(axis=2) for f in (a, b))
    left, right = grey_a[max(0, y) : 180 + min(0, y), x:], grey_b[max(0, -y) : 180 - max(0, y)]
    right = right[:, : left.shape[1]]
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.9
    # From one row of the path to the next the stage moves down.
    down = np.array(fields[2].place_px) - b.place_px
    assert abs(down[0]) < 0.06 * 240 and down[1] > 0


def test_fields_that_lie_apart_share_no_cell(fields):
    for sample in ("sample_000", "sample_001"):
        names = [cell.cell for f in fields if f.sample == sample for cell in list_all(f)]
        assert len(set(names)) == len(names)
    assert all(field.place_px is None for field in fields)


# -- repeatability --------------------------------------------------------------------------------


def test_pixels_depend_on_the_arguments_alone():
    first = list(paint_fields(2, n_samples=2, seed=7, **SMALL))
    again = list(paint_fields(3, n_samples=3, seed=7, **SMALL))
    assert [f.jpeg for f in first] == [again[k].jpeg for k in (0, 1, 3, 4)]
    assert first[0].white_cells == again[0].white_cells
    other = next(paint_fields(2, seed=8, **SMALL))
    assert other.jpeg != first[0].jpeg


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_fields": 0},
        {"n_samples": 0},
        {"white_cells": -1.0},
        {"overlap_frac": 0.95},
        {"size_px": (20, 480)},
        {"px_per_um": 1.0},
        {"seed": -1},
        {"shares": {"blast": 1.0}},
        {"shares": {"neutrophil": -1.0, "monocyte": 2.0}},
        {"shares": {"neutrophil": 0.0}},
    ],
)
def test_wrong_arguments_are_named_at_once(wrong):
    with pytest.raises(ConfigError):
        paint_fields(**{"n_fields": 1, **wrong})


# -- files ----------------------------------------------------------------------------------------


def read(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_saved_set_holds_the_truth_and_can_be_scanned(tmp_path):
    options = {"n_samples": 2, "white_cells": 5, "overlap_frac": 0.3, "seed": 1, **SMALL}
    heard = []
    table = save_fields(tmp_path / "set", 3, on_progress=lambda *c: heard.append(c), **options)
    assert heard[-1] == (6, 6)
    painted = list(paint_fields(3, **options))
    rows, boxes, places = (read(table.with_name(f"{n}.csv")) for n in ("cells", "boxes", "fields"))
    assert len(boxes) == sum(len(list_all(field)) for field in painted)
    shown = [c for f in painted for c in f.white_cells if c.visible_frac >= 0.5]
    assert [row["cell"] for row in rows] == [cell.cell for cell in shown]
    assert [row["edge"] for row in rows] == [str(int(cell.is_cut)) for cell in shown]
    for row, field in zip(places, painted, strict=True):
        assert (int(row["x_px"]), int(row["y_px"])) == field.place_px
        pixels = np.asarray(Image.open(table.parent / row["path"]))
        assert (pixels == field.pixels_HWC).all()
        assert (np.asarray(Image.open(table.parent / row["nuclei"])) == field.nuclei_HW).all()
    catalog = build_catalog(table)
    assert len(catalog.records) == len(rows) and catalog.rejected == ()
    assert {record.label for record in catalog.records} <= set(LABELS)
    assert {record.source for record in catalog.records} == {"sample_000", "sample_001"}
    assert all(record.box is not None for record in catalog.records)


def test_a_finished_set_is_left_and_another_is_not_overwritten(tmp_path):
    table = save_fields(tmp_path / "set", 2, **SMALL)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*")}
    assert save_fields(tmp_path / "set", 2, **SMALL) == table
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*")}
    with pytest.raises(StorageError):
        save_fields(tmp_path / "set", 3, **SMALL)
    # A set that was interrupted is finished by the same call.
    table.unlink()
    assert save_fields(tmp_path / "set", 2, **SMALL).is_file()
    assert read(table.with_name("fields.csv"))[0]["x_px"] == ""


def test_the_truth_of_a_cell_is_a_value():
    cell = next(paint_fields(1)).red_cells[0]
    assert replace(cell, visible_frac=0.5).is_cut and not replace(cell, visible_frac=1.0).is_cut
