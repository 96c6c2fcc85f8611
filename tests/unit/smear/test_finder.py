"""From a painted field to its cells, whose truth is known."""

import hashlib

import numpy as np
import pytest
from tests.builders.fields import measure_overlap, paint

from leukoscope.errors import WeightsError
from leukoscope.smear import network
from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import Finder, list_tiles
from leukoscope.smear.ground import GROUND, balance, find_ground, measure_density, resize_by
from leukoscope.smear.network import (
    GRAPH_FILE,
    GRAPH_SHA256,
    FinderNetwork,
    find_peaks,
    load_graph,
    select_apart,
)
from leukoscope.smear.nuclei import find_stained, find_threshold
from leukoscope.smear.scale import estimate_scale

METHODS = ["network", "nuclei"]


@pytest.mark.parametrize("method", METHODS)
def test_whole_cells_are_found_and_cut_ones_marked(method):
    finder = Finder(method)
    for field in paint():
        found = finder.find(PictureField(field.pixels_HWC), field.name).record
        for cell in field.white_cells:
            if cell.visible_frac < 0.6:
                continue
            best = max(found.cells, key=lambda one: measure_overlap(one.box, cell.box))
            assert measure_overlap(best.box, cell.box) > 0.5
            assert best.edge or not cell.is_cut
        assert len(found.cells) <= len(field.white_cells)
        assert [one.number for one in found.cells] == list(range(1, len(found.cells) + 1))
        assert found.scale_px_per_um == pytest.approx(9.0, rel=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_field_gives_the_same_cells(method):
    field = PictureField(paint()[0].pixels_HWC)
    assert Finder(method).find(field, "a").record == Finder(method).find(field, "a").record


@pytest.mark.parametrize("method", METHODS)
def test_cells_on_borders_of_tiles_are_counted_once(method):
    """Four copies of a field side by side, seen in tiles, hold four times its cells."""
    pixels_HWC = paint()[0].pixels_HWC
    finder = Finder(method, scale_px_per_um=9.0)
    once = finder.find(PictureField(pixels_HWC), "a").record
    inner = [cell for cell in once.cells if not cell.edge]
    tiled = np.tile(pixels_HWC, (4, 4, 1))
    assert len(list(list_tiles(tiled.shape[1], tiled.shape[0], 9.0))) > 1
    found = finder.find(PictureField(tiled), "b").record
    for row in range(4):
        for column in range(4):
            for cell in inner:
                moved = np.array(cell.box) + np.array([column * 640, row * 480] * 2)
                near = [one for one in found.cells if measure_overlap(one.box, moved) > 0.5]
                assert len(near) == 1


def test_tiles_cover_a_field_without_a_gap():
    tiles = list(list_tiles(5000, 3100, 9.0))
    points = np.random.default_rng(0).uniform(0, [5000, 3100], (500, 2))
    boxes = np.hstack([points, points])
    owners = np.array([tile.owns(boxes) for tile in tiles]).sum(axis=0)
    assert (owners == 1).all()
    assert len(list(list_tiles(640, 480, 9.0))) == 1


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.5])
def test_the_scale_is_that_of_the_field(factor):
    pixels_HWC = resize_by(paint()[1].pixels_HWC, factor)
    assert estimate_scale(pixels_HWC, find_ground(pixels_HWC)) == pytest.approx(
        9.0 * factor, rel=0.2
    )


def test_a_scale_that_is_given_counts():
    record = Finder("nuclei", scale_px_per_um=8.0).find(PictureField(paint()[0].pixels_HWC), "a")
    assert (record.record.scale_px_per_um, record.record.scale_source) == (8.0, "given")


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_field_holds_nothing(method):
    rng = np.random.default_rng(0)
    pixels_HWC = rng.normal(225, 2, (120, 160, 3)).astype(np.uint8)
    record = Finder(method).find(PictureField(pixels_HWC), "empty").record
    assert record.cells == ()
    assert record.codes == ("scale_uncertain", "no_white_cells")
    assert record.scale_source == "none"


def test_the_ground_is_found_and_balanced():
    pixels_HWC = paint()[0].pixels_HWC
    for gain in (np.array([1.0, 1.0, 1.0]), np.array([0.8, 0.6, 0.7])):
        coloured = (pixels_HWC * gain).astype(np.uint8)
        balanced = balance(coloured, find_ground(coloured))
        assert np.abs(find_ground(balanced) - GROUND).max() <= 3


def test_light_that_falls_off_is_no_stain():
    x_W = np.linspace(-1, 1, 300)
    light_HW = 220 * (1 - 0.12 * x_W[None, :] ** 2) * np.ones((200, 1))
    pixels_HWC = np.repeat(light_HW[..., None], 3, axis=2).astype(np.uint8)
    density = measure_density(pixels_HWC, find_ground(pixels_HWC))
    assert np.abs(density).max() < 0.05


def test_nuclei_are_those_that_were_painted():
    """Also under half the light and a turned picture."""
    for field in paint():
        truth = field.nuclei_HW > 0
        for turns, gain in ((0, 1.0), (1, 0.75)):
            pixels = (np.rot90(field.pixels_HWC, turns) * gain).astype(np.uint8)
            found = find_stained(pixels, find_ground(pixels)).nuclei_HW > 0
            found = np.rot90(found, -turns)
            shared = 2 * (found & truth).sum() / (found.sum() + truth.sum())
            assert shared > 0.85


def test_a_threshold_lies_between_two_groups():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.03, 900), rng.normal(0.8, 0.05, 100)])
    assert 0.25 < find_threshold(values.astype(np.float32), 0.0, 1.0) < 0.75


def test_red_cells_and_platelets_are_counted_by_the_network_alone():
    field = paint()[0]
    record = Finder("network").find(PictureField(field.pixels_HWC), "a").record
    assert record.n_red_cells == pytest.approx(len(field.red_cells), rel=0.3)
    assert record.n_platelets == pytest.approx(len(field.platelets), abs=4)
    record = Finder("nuclei").find(PictureField(field.pixels_HWC), "a").record
    assert (record.n_red_cells, record.n_platelets) == (None, None)


def test_the_graph_comes_with_the_package():
    content = load_graph()
    assert len(content) < 1_500_000
    assert hashlib.sha256(content).hexdigest() == GRAPH_SHA256


def test_another_graph_is_rejected(monkeypatch, tmp_path):
    (tmp_path / GRAPH_FILE).write_bytes(load_graph() + b"\0")
    monkeypatch.setattr(network.resources, "files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match="another one"):
        FinderNetwork()
    (tmp_path / GRAPH_FILE).unlink()
    with pytest.raises(WeightsError, match="must lie in the package"):
        FinderNetwork()


def test_maps_are_as_large_as_the_picture():
    """Sides that are not divisible are padded, and what was added is cut off again."""
    pixels_HWC = np.full((50, 83, 3), GROUND, np.uint8)
    centres, distances = FinderNetwork().find(pixels_HWC)
    assert centres.shape == (3, 13, 21) and distances.shape == (4, 13, 21)
    assert centres.min() >= 0 and centres.max() < 0.3
    assert distances.min() > 0


def test_peaks_are_boxes_in_pixels():
    centres_YX = np.zeros((8, 8), np.float32)
    centres_YX[2, 3], centres_YX[2, 4], centres_YX[6, 6] = 0.9, 0.8, 0.2
    distances_4YX = np.full((4, 8, 8), 2.0, np.float32)
    peaks = find_peaks(centres_YX, distances_4YX, 0.3)
    assert peaks.boxes_K4.tolist() == [[6.0, 2.0, 22.0, 18.0]]
    assert peaks.scores_K == pytest.approx([0.9])


def test_of_boxes_on_each_other_the_best_is_kept():
    boxes_K4 = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [2, 2, 5, 5], [9, 9, 20, 20]], float)
    assert select_apart(boxes_K4, 0.4).tolist() == [0, 3]


@pytest.mark.parametrize("method", ["network", "nuclei"])
def test_a_round_field_of_view_gives_the_cells_it_shows(method):
    """An eyepiece camera sees a disc; black around it is neither ground nor nucleus."""
    field = paint()[0]
    height, width = field.pixels_HWC.shape[:2]
    y, x = np.mgrid[:height, :width]
    radius = 0.46 * min(height, width)
    is_seen = np.hypot(y - height / 2, x - width / 2) < radius
    round_HWC = field.pixels_HWC * is_seen[:, :, None].astype(np.uint8)
    finder = Finder(method)
    whole = finder.find(PictureField(field.pixels_HWC), "whole").record
    found = finder.find(PictureField(round_HWC), "round").record
    assert found.scale_px_per_um == pytest.approx(whole.scale_px_per_um, rel=0.12)

    def reach(cell):
        x_min, y_min, x_max, y_max = cell.box
        corners = [(a, b) for a in (x_min, x_max) for b in (y_min, y_max)]
        return max(np.hypot(a - width / 2, b - height / 2) for a, b in corners)

    inside = [one.box for one in whole.cells if reach(one) < radius - 4]
    counted = [one.box for one in found.counted]
    assert inside
    assert all(max(measure_overlap(box, one) for one in counted) > 0.5 for box in inside)
    for box in counted:  # nothing is found in the black
        assert is_seen[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2]
