"""The labelled cell of a small field is found, whatever surrounds the field, and none is lost."""

import cv2
import numpy as np
import pytest
from tests.builders.fields import paint_one

from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import Finder
from leukoscope.smear.locate import locate_cell, place_square

PX_PER_UM = 6.0
CROP_UM = 20.0


@pytest.fixture(scope="module")
def finder():
    return Finder("nuclei")


def turn(pixels_HWC, box, degrees):
    """The picture turned about its middle with black around, and the middle of the box."""
    height, width = pixels_HWC.shape[:2]
    by = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(pixels_HWC, by, (width, height))
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
    return turned, by @ middle


def holds(box, point):
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def test_the_only_cell_is_cut_out_at_the_scale_of_its_field(finder):
    field = paint_one()
    found = locate_cell(field.pixels_HWC, finder, CROP_UM)
    x_min, y_min, x_max, y_max = field.white_cells[0].box
    assert found.found == "cell"
    assert holds(found.box, ((x_min + x_max) / 2, (y_min + y_max) / 2))
    assert found.box[2] - found.box[0] == found.box[3] - found.box[1]
    assert found.box[2] - found.box[0] == pytest.approx(CROP_UM * PX_PER_UM, rel=0.2)
    assert locate_cell(field.pixels_HWC, finder, CROP_UM) == found


@pytest.mark.parametrize("degrees", [-20, 8, 15])
def test_black_fill_hides_no_cell_and_changes_no_scale(finder, degrees):
    field = paint_one()
    turned, middle = turn(field.pixels_HWC, field.white_cells[0].box, degrees)
    found = locate_cell(turned, finder, CROP_UM)
    assert found.found in ("cell", "cut")
    assert holds(found.box, middle)
    assert found.scale_px_per_um == pytest.approx(PX_PER_UM, rel=0.15)


def test_of_several_cells_the_one_nearest_to_the_middle_is_meant(finder):
    """Two copies of a field side by side: the middle of the whole lies nearer to one cell."""
    field = paint_one()
    pair = np.concatenate([field.pixels_HWC, field.pixels_HWC], axis=1)
    found = locate_cell(pair, finder, CROP_UM)
    x_min, y_min, x_max, y_max = field.white_cells[0].box
    x, y = (x_min + x_max) / 2, (y_min + y_max) / 2
    nearer = min((x, x + 320), key=lambda one: abs(one - 320))
    assert found.found == "several"
    assert holds(found.box, (nearer, y))


def test_a_field_without_a_white_cell_is_located_all_the_same(finder):
    blank = np.full((120, 160, 3), (225, 215, 228), np.uint8)
    found = locate_cell(blank, finder, CROP_UM)
    assert (found.found, found.box) == ("field", (0, 0, 160, 120))
    # A platelet's worth of stain is no white cell, but the only thing to look at.
    cv2.circle(blank, (100, 50), 6, (90, 40, 140), -1)
    found = locate_cell(blank, finder, CROP_UM)
    assert not finder.find(PictureField(blank), "").record.cells
    assert found.found == "nucleus"
    assert holds(found.box, (100, 50))


def test_an_annotated_box_says_which_cell_is_meant(finder):
    field = paint_one()
    box = (100, 100, 120, 120)
    found = locate_cell(field.pixels_HWC, finder, CROP_UM, box)
    assert found.found == "given"
    assert holds(found.box, (110, 110))


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        ((40, 30, 60, 50), 2.0, (30, 20, 70, 60)),
        ((0, 0, 10, 10), 2.0, (0, 0, 40, 40)),
        ((90, 70, 100, 80), 2.0, (60, 40, 100, 80)),
        # Wider than the picture is high: as large as fits.
        ((40, 30, 60, 50), 9.0, (10, 0, 90, 80)),
        # A scale that is far too small must not cut the cell off.
        ((30, 20, 70, 60), 0.5, (26, 16, 74, 64)),
    ],
)
def test_a_square_lies_inside_and_holds_its_cell(box, scale, expected):
    assert place_square(box, scale, (100, 80), 20.0) == expected
