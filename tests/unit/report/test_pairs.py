import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tests.builders.images import paint

from leukoscope.report import pairs
from leukoscope.sources.evidence import IDENTITY, invert_map

# -- pixels ---------------------------------------------------------------------------------------


def warp(pixels_HWC, matrix, size):
    """Apply a map by another library: scipy counts rows first, whole numbers at pixel centres."""
    a, b, c, d, e, f = invert_map(matrix)
    return np.stack(
        [
            ndimage.affine_transform(
                pixels_HWC[..., k].astype(float),
                [[e, d], [b, a]],
                [f, c],
                output_shape=size[::-1],
                order=1,
                mode="nearest",
            )
            for k in range(3)
        ],
        axis=-1,
    ).astype(np.uint8)


def make_map(turn_deg, scale, size, other, mirrored=False, shear=0.0):
    turn = math.radians(turn_deg)
    a, b = scale * math.cos(turn), -scale * math.sin(turn) + shear
    d, e = scale * math.sin(turn), scale * math.cos(turn)
    if mirrored:
        a, d = -a, -d
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    return (
        a,
        b,
        (other[0] - 1) / 2 - a * x - b * y + 3.0,
        d,
        e,
        (other[1] - 1) / 2 - d * x - e * y - 2.0,
    )


@pytest.mark.parametrize(
    ("turn_deg", "scale", "mirrored", "shear"),
    [
        (0, 1, False, 0),
        (90, 1, False, 0),
        (33, 1.1, True, 0),
        (-120, 0.8, False, 0.15),
        (180, 2, True, 0),
    ],
)
@pytest.mark.parametrize("thumbnail_px", [160, 80])
def test_moving_a_copy_back_gives_the_reference(turn_deg, scale, mirrored, shear, thumbnail_px):
    size = (160, 120)
    other = (round(160 * scale), round(120 * scale))
    reference_HWC = paint(1, size)
    matrix = make_map(turn_deg, scale, size, other, mirrored, shear)
    copy = Image.fromarray(warp(reference_HWC, matrix, other))

    def differ(found):
        back_HWC = np.asarray(pairs.move_back(copy, found, size, thumbnail_px), float)
        wanted = pairs.draw_thumbnail(Image.fromarray(reference_HWC), thumbnail_px)
        inside_HW = np.abs(back_HWC - pairs.EMPTY_COLOUR).max(axis=2) > 0
        # The seam is out: there, the copy repeats its border.
        inside_HW = ndimage.binary_erosion(inside_HW, iterations=3)
        assert inside_HW.mean() > 0.3
        return np.abs(back_HWC - np.asarray(wanted, float))[inside_HW].mean()

    assert differ(matrix) < 1
    # One pixel shows: a slip between pixel centres and corners would be found.
    a, b, c, d, e, f = matrix
    assert differ((a, b, c + 1, d, e, f + 1)) > 2 * differ(matrix)


def test_nothing_moved_is_the_thumbnail_itself():
    image = Image.fromarray(paint(2, (90, 70)))
    for px in (30, 90, 120):
        moved = np.asarray(pairs.move_back(image, IDENTITY, image.size, px), float)
        difference = np.abs(moved - np.asarray(pairs.draw_thumbnail(image, px), float))
        assert difference.max() <= 4 and difference.mean() < 0.7


def test_grey_where_the_member_shows_nothing():
    image = Image.new("RGB", (64, 64), (250, 0, 0))
    moved = np.asarray(pairs.move_back(image, (1, 0, -16, 0, 1, 0), (64, 64), 64))
    assert (moved[:, :16] == pairs.EMPTY_COLOUR).all() and (moved[:, 16:] == (250, 0, 0)).all()
