import matplotlib
import numpy as np
import pytest
from tests.builders.explanation import build_image

from leukoscope.report import overlays
from leukoscope.report.overlays import (
    Tile,
    colour_map,
    draw_explained,
    draw_original,
    draw_overlay,
    draw_row,
    draw_sheet,
)


def test_colours_are_those_of_inferno():
    """Witness: matplotlib's table. Lightness rises, so that the scale reads in grey."""
    values = np.linspace(0, 1, 101, dtype=np.float32)
    found = colour_map(values)
    wanted = matplotlib.colormaps["inferno"](values)[:, :3] * 255
    assert np.abs(found - wanted).max() < 8
    light = found @ np.array([0.2126, 0.7152, 0.0722])
    assert np.all(np.diff(light) > 0)


def test_an_overlay_is_coloured_where_the_map_is_high():
    image = np.full((32, 32, 3), (200, 150, 180), np.uint8)
    map_SS = np.full((32, 32), -1, np.float32)
    map_SS[4:12, 4:12] = 5
    drawn = draw_overlay(image, map_SS, tile_px=128)
    assert drawn.shape == (128, 128, 3) and drawn.dtype == np.uint8
    colour = np.ptp(drawn.astype(int), axis=2)
    assert colour[24:40, 24:40].min() > 40  # yellow
    assert colour[80:, 80:].max() <= 1  # grey: all colour is the map's
    bare = draw_overlay(image, -np.ones((32, 32), np.float32), tile_px=128)
    assert np.ptp(bare.astype(int), axis=2).max() <= 1


def test_a_box_is_drawn_on_both():
    image = np.full((32, 32, 3), 128, np.uint8)
    inside = np.zeros((32, 32), np.float32)
    inside[8:24, 8:24] = 1
    for drawn in (
        draw_original(image, inside, tile_px=64),
        draw_overlay(image, np.zeros_like(inside), inside, tile_px=64),
    ):
        frame = drawn[16, 17:47, 0]
        assert {0, 255} <= set(frame.tolist())
        assert np.all(drawn[30:34, 30:34] == 128)


def test_rows_and_sheets_hold_every_tile_and_line():
    picture = np.full((120, 120, 3), 7, np.uint8)
    one = draw_row([Tile(picture, "a.jpg", ("Neutrophil, 99 %", "word " * 20))])
    three = draw_row(
        [Tile(picture, "a.jpg"), Tile(picture, "b" * 90, ("x" * 80,)), Tile(picture, "c")]
    )
    assert three.shape[1] == 3 * one.shape[1] - 2 * 10
    assert one.shape[0] > three.shape[0]  # long captions are wrapped, not cut
    assert (three == 7).all(axis=2).sum() == 3 * 120 * 120
    for drawn in (one, three):  # nothing runs over the border
        border = np.concatenate([drawn[:3].ravel(), drawn[:, :3].ravel(), drawn[:, -3:].ravel()])
        assert border.min() == 255
    sheet = draw_sheet([one, three])
    assert sheet.shape == (one.shape[0] + three.shape[0], three.shape[1], 3)


@pytest.mark.parametrize("name", ["zelle_ä.jpg", "", "細胞.png"])
def test_any_name_can_be_a_title(name):
    assert draw_row([Tile(np.zeros((60, 60, 3), np.uint8), name, ("",))]).shape[2] == 3


def test_names_in_other_letters_are_drawn_as_letters():
    """Letters that a font lacks are all drawn as the same box."""

    def draw(name):
        return draw_row([Tile(np.zeros((120, 120, 3), np.uint8), name, (name,))])

    assert (draw("клетка") != draw("ячейка")).any()


@pytest.mark.parametrize("installed", [True, False])
def test_a_label_that_cannot_be_drawn_is_referred_to_the_page(installed, monkeypatch):
    """As boxes all such labels would look alike."""
    if not installed:
        monkeypatch.setattr(overlays.importlib.util, "find_spec", lambda _: None)

    def draw(label, target):
        image = build_image(label=label, target=target)
        return draw_explained(image, np.zeros((120, 120, 3), np.uint8), {}, "stage_1")

    unknown = chr(0x10FFFD)
    assert (draw(unknown, "blast") == draw(unknown * 3, "blast")).all()
    assert (draw("blast", unknown) == draw("blast", unknown * 3)).all()
    assert (draw("bl\u00e4st", "a") != draw("bl\u00f6st", "a")).any() == installed


@pytest.mark.parametrize(("n", "across", "lines"), [(4, 4, 1), (5, 3, 2), (6, 3, 2), (9, 3, 3)])
def test_many_tiles_are_shared_out_among_lines(n, across, lines):
    """Six in one line were shrunk by the page until captions were 8 px high."""
    picture = np.full((120, 120, 3), 7, np.uint8)
    one = draw_row([Tile(picture, "a", ("b",))])
    drawn = draw_row([Tile(picture, str(i), ("b",)) for i in range(n)])
    assert drawn.shape[:2] == (lines * one.shape[0], across * 130 + 10)
    assert (drawn == 7).all(axis=2).sum() == n * 120 * 120
