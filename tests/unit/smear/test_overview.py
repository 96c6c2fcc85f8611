"""What is looked at of fields of every size, and slides in tiles."""

import numpy as np
import pytest
from tests.builders.fields import measure_overlap, paint, save_slide

from leukoscope.smear.fields import PictureField, SlideField
from leukoscope.smear.finder import Finder, list_tiles
from leukoscope.smear.ground import resize_by
from leukoscope.smear.overview import SIDE_PX, WHOLE_PX, look_over


def lay(rows, columns):
    """A wide field of painted ones, side by side."""
    fields = [field.pixels_HWC for field in paint()]
    lines = [
        np.hstack([fields[(r + c) % len(fields)] for c in range(columns)]) for r in range(rows)
    ]
    return np.vstack(lines)


def test_a_camera_field_is_looked_at_as_a_whole():
    pixels_HWC = paint()[0].pixels_HWC
    assert max(pixels_HWC.shape) <= WHOLE_PX
    assert look_over(PictureField(pixels_HWC)).pixels_HWC.shape == pixels_HWC.shape


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_scale_of_a_wide_field_is_that_of_its_cells(factor):
    """Shrunk as a whole, red cells were specks, and their clumps were taken for them."""
    seen = look_over(PictureField(resize_by(lay(3, 3), factor)))
    assert seen.px_per_um == pytest.approx(9.0 * factor, rel=0.2)
    assert max(seen.pixels_HWC.shape) <= SIDE_PX


def test_a_wide_field_without_cells_has_no_scale():
    rng = np.random.default_rng(0)
    empty = rng.normal(225, 2, (1000, 1200, 3)).astype(np.uint8)
    assert look_over(PictureField(empty)).px_per_um is None


def test_tiles_stay_small_at_every_scale():
    for scale in (1.0, 9.0, 40.0, 90.0):
        for tile in list_tiles(30_000, 20_000, scale):
            assert max(tile.seen[2] - tile.seen[0], tile.seen[3] - tile.seen[1]) <= 8000


def test_cells_of_a_slide_are_those_of_its_pixels(tmp_path):
    tiffslide = pytest.importorskip("tiffslide")
    pixels_HWC = lay(3, 4)
    path = save_slide(tmp_path / "slide.svs", pixels_HWC)
    finder = Finder("nuclei")
    with tiffslide.TiffSlide(path) as opened:
        found = finder.find(SlideField(path, opened), "a").record
    assert len(list(list_tiles(found.width_px, found.height_px, found.scale_px_per_um))) > 1
    assert found.cells == finder.find(PictureField(pixels_HWC), "a").record.cells
    for k, cell in enumerate(found.cells):
        for other in found.cells[k + 1 :]:
            assert measure_overlap(cell.box, other.box) < 0.5
