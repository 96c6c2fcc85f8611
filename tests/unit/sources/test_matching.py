from dataclasses import replace

import cv2
import numpy as np
import pytest

from leukoscope.painted.cells import paint_cells
from leukoscope.sources.fingerprints import build_fingerprint
from leukoscope.sources.matching import match_pair

SIZE = (320, 240)


@pytest.fixture(scope="module")
def field(draw_field):
    return draw_field(1)


def judge(a, b):
    return match_pair(build_fingerprint(a), build_fingerprint(b))


def move(image, angle=0.0, shear=0.0, shift=(0.0, 0.0), zoom=1.0, flip=(1, 1), border="black"):
    """Warp about the centre; return the image and the exact 2x3 map of pixel centres."""
    height, width = image.shape[:2]
    a = np.deg2rad(angle)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    linear = zoom * turn @ np.array([[1, shear], [0, 1]]) @ np.diag(flip)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre + np.array(shift) * (width, height) - linear @ centre
    map_23 = np.hstack([linear, offset[:, None]])
    mode, value = {
        "black": (cv2.BORDER_CONSTANT, (0, 0, 0)),
        "white": (cv2.BORDER_CONSTANT, (255, 255, 255)),
        "grey": (cv2.BORDER_CONSTANT, (128, 128, 128)),
        "reflect": (cv2.BORDER_REFLECT_101, 0),
    }[border]
    return cv2.warpAffine(
        image, map_23, (width, height), borderMode=mode, borderValue=value
    ), map_23


def compress(image, quality=80):
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def measure_error(matrix, truth, size=SIZE):
    """Largest distance of the moved corners, as a share of the longer side."""
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size], float)
    found, truth = np.reshape(matrix, (2, 3)), np.asarray(truth)
    apart = corners @ (found - truth)[:, :2].T + (found - truth)[:, 2]
    return np.linalg.norm(apart, axis=1).max() / max(size)


MOVES = {
    "small turn": {"angle": 12},
    "half turn": {"angle": 180},
    "any turn": {"angle": -77, "border": "reflect"},
    "flip": {"flip": (-1, 1)},
    "flip down and shear": {"flip": (1, -1), "shear": 0.2, "border": "white"},
    "as in dataset2-master": {"angle": 17, "shear": -0.2, "shift": (0.1, -0.08), "flip": (-1, 1)},
    "shift and fill": {"shift": (0.1, 0.1)},
    "grey fill": {"angle": 40, "shift": (0.05, 0.1), "border": "grey"},
    "zoom": {"zoom": 1.4, "angle": 5},
}


@pytest.mark.parametrize("how", MOVES)
def test_a_moved_copy_is_confirmed_with_its_map(field, how):
    copy, truth = move(field, **MOVES[how])
    light = np.clip(compress(copy).astype(float) * (0.93, 1.0, 1.06) + 4, 0, 255).astype(np.uint8)
    found = judge(field, light)
    assert found is not None
    assert found.kind == "geometric"
    assert measure_error(found.matrix, truth) < 0.01
    assert found.agreement_frac > 0.8
    assert 0.6 < found.overlap_frac <= 1


@pytest.mark.parametrize("how", ["small turn", "flip", "as in dataset2-master"])
def test_the_other_way_round_gives_the_inverse_map(field, how):
    copy, truth = move(field, **MOVES[how])
    back = judge(copy, field)
    inverse = np.linalg.inv(np.vstack([truth, (0, 0, 1)]))[:2]
    assert back.kind == "geometric"
    assert measure_error(back.matrix, inverse) < 0.012


@pytest.mark.parametrize("size", [(320, 240), (200, 150), (640, 480)])
def test_a_resized_and_reencoded_picture_is_near(field, size):
    found = judge(field, compress(cv2.resize(field, size, interpolation=cv2.INTER_AREA), 70))
    assert found.kind == "near"
    # Pixel centres: the corner of the first pixel goes to the corner of the first pixel.
    scale = size[0] / 320
    assert (
        measure_error(found.matrix, [(scale, 0, (scale - 1) / 2), (0, scale, (scale - 1) / 2)])
        < 0.01
    )


def test_a_stretched_picture_is_near(field):
    assert judge(field, cv2.resize(field, (240, 240), interpolation=cv2.INTER_AREA)).kind == "near"


@pytest.mark.parametrize("keep", [0.67, 0.8])
@pytest.mark.parametrize("turns", [0, 1])
def test_a_crop_scaled_back_is_a_copy(field, keep, turns):
    width, height = round(320 * keep), round(240 * keep)
    crop = np.rot90(field[15 : 15 + height, 30 : 30 + width], turns)
    found = judge(field, cv2.resize(np.ascontiguousarray(crop), SIZE[:: 1 - 2 * turns]))
    assert found.kind == "geometric"
    assert found.overlap_frac > 0.97


def test_different_pictures_share_nothing(draw_field):
    prints = [build_fingerprint(draw_field(seed)) for seed in range(10, 18)]
    assert all(match_pair(a, b) is None for i, a in enumerate(prints) for b in prints[:i])


def test_the_same_fill_is_no_shared_picture(draw_field):
    """Corners of fill match each other perfectly; they must not count."""
    a, b = (move(draw_field(seed), angle=15, shear=0.1)[0] for seed in (20, 21))
    assert judge(a, b) is None


def test_images_without_features_share_nothing(field):
    blank = np.full((240, 320, 3), 200, np.uint8)
    assert judge(blank, field) is None
    assert judge(blank, blank) is None


# -- what looks like a copy and is none -----------------------------------------------------------


@pytest.fixture(scope="module")
def slide(draw_field):
    return draw_field(5, height=480, width=640)


@pytest.mark.parametrize("shift", [(60, 0), (40, 50), (0, 80)])
def test_neighbouring_windows_of_one_field_overlap(slide, shift):
    dx, dy = shift
    a, b = slide[100:292, 100:292], slide[100 + dy : 292 + dy, 100 + dx : 292 + dx]
    found = judge(compress(a), compress(b))
    assert found.kind == "overlap"
    assert found.overlap_frac == pytest.approx((192 - dx) * (192 - dy) / 192**2, abs=0.06)


def test_windows_that_show_nearly_the_same_are_copies(slide):
    assert judge(slide[100:292, 100:292], slide[104:296, 106:298]).kind != "overlap"


def test_windows_that_share_little_overlap_whatever_their_turn(slide):
    a = slide[100:292, 100:292]
    b = np.rot90(slide[100:292, 190:382])
    assert judge(a, np.ascontiguousarray(b)).kind == "overlap"


@pytest.mark.parametrize("border", [cv2.BORDER_REFLECT_101, cv2.BORDER_REPLICATE])
@pytest.mark.parametrize("shift", [(40, 0), (-30, 24)])
def test_a_shift_padded_from_the_inside_is_a_copy(slide, border, shift):
    a = np.ascontiguousarray(slide[100:292, 100:292])
    map_23 = np.float64([(1, 0, shift[0]), (0, 1, shift[1])])
    b = cv2.warpAffine(a, map_23, (192, 192), borderMode=border)
    assert judge(a, b).kind == "geometric"
    assert judge(b, a).kind == "geometric"


@pytest.mark.parametrize("seed", range(4))
def test_a_field_photographed_twice_is_not_one_picture(slide, seed):
    """Two views that share 80 %, each then augmented: the fill of one contradicts the other."""
    rng = np.random.default_rng(seed)
    views = slide[100:340, 100:420], slide[130:370, 130:450]
    moved = [
        move(view, angle=rng.uniform(-20, 20), shear=rng.uniform(-0.2, 0.2), flip=(1, s))[0]
        for view, s in zip(views, (1, -1), strict=True)
    ]
    found = judge(*map(compress, moved))
    assert found.kind == "overlap"
    assert found.contradiction_frac > 0.006


@pytest.mark.parametrize("seed", range(4))
def test_two_augmented_copies_do_not_contradict_each_other(field, seed):
    rng = np.random.default_rng(seed)
    copies = [
        move(
            field,
            angle=rng.uniform(-20, 20),
            shear=rng.uniform(-0.2, 0.2),
            shift=rng.uniform(-0.1, 0.1, 2),
            flip=rng.choice([-1, 1], 2),
        )[0]
        for _ in range(2)
    ]
    found = judge(*map(compress, copies))
    assert found.kind == "geometric"
    assert found.contradiction_frac < 0.006


# -- painted cells --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def painted():
    """Two collages of six painted cells, and one cell alone."""
    cells = [image.pixels_HWC for image in paint_cells(12, copies=1, size_px=160, seed=3)]
    rows = [np.hstack(cells[k : k + 3]) for k in range(0, 12, 3)]
    collages = [np.vstack(rows[k : k + 2]) for k in (0, 2)]
    found = [cv2.resize(c, SIZE, interpolation=cv2.INTER_AREA) for c in collages]
    (cell,) = paint_cells(1, copies=1, size_px=512, seed=4)
    return {"collage": found[0], "other collage": found[1], "cell": cell.pixels_HWC}


@pytest.mark.parametrize("name", ["collage", "other collage", "cell"])
@pytest.mark.parametrize("how", MOVES)
def test_painted_copies_are_confirmed_both_ways(painted, name, how):
    picture = painted[name]
    size = picture.shape[1::-1]
    moved, truth = move(picture, **MOVES[how])
    a, b = build_fingerprint(picture), build_fingerprint(compress(moved))
    there, back = match_pair(a, b), match_pair(b, a)
    assert there.kind == back.kind == "geometric"
    assert measure_error(there.matrix, truth, size) < 0.015
    inverse = np.linalg.inv(np.vstack([truth, (0, 0, 1)]))[:2]
    assert measure_error(back.matrix, inverse, size) < 0.015
    # The one leads back from the other.
    both = np.vstack([np.reshape(back.matrix, (2, 3)), (0, 0, 1)]) @ np.vstack(
        [np.reshape(there.matrix, (2, 3)), (0, 0, 1)]
    )
    assert measure_error(both[:2], np.eye(3)[:2], size) < 0.015
    assert there.overlap_frac == pytest.approx(back.overlap_frac, abs=0.03)
    assert there.agreement_frac == pytest.approx(back.agreement_frac, abs=0.03)


def test_different_painted_pictures_share_nothing(painted):
    cells = [image.pixels_HWC for image in paint_cells(8, copies=1, size_px=256, seed=6)]
    prints = [build_fingerprint(picture) for picture in (*painted.values(), *cells)]
    assert all(match_pair(a, b) is None for i, a in enumerate(prints) for b in prints[:i])


def test_most_views_of_one_slide_are_told_apart_by_their_fill(slide):
    """Not every pair shows enough fill where the other has content; most do."""
    overlaps = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        views = ((slide[100:340, 100:420], 1), (slide[130:370, 130:450], -1))
        moved = [
            move(view, angle=rng.uniform(-20, 20), shear=rng.uniform(-0.2, 0.2), flip=(1, s))[0]
            for view, s in views
        ]
        overlaps += judge(*map(compress, moved)).kind == "overlap"
    assert overlaps >= 9


@pytest.mark.parametrize("size", [(320, 240), (300, 200), (1500, 1000)])
def test_the_map_of_a_half_turn_is_unbiased(field, size):
    picture = cv2.resize(field, size, interpolation=cv2.INTER_CUBIC)
    found = judge(picture, np.ascontiguousarray(picture[::-1, ::-1]))
    truth = [(-1, 0, size[0] - 1), (0, -1, size[1] - 1)]
    assert measure_error(found.matrix, truth, size) * 256 < 0.2


# -- one reason at a time -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(field):
    """A fingerprint that matches itself in all features."""
    own = build_fingerprint(field)
    assert match_pair(own, own).kind == "near"
    return own


def test_matched_features_without_agreeing_pixels_prove_nothing(known):
    noise = np.random.default_rng(0).integers(0, 256, known.grey_HW.shape, dtype=np.uint8)
    assert match_pair(known, replace(known, grey_HW=noise)) is None


def test_pictures_without_texture_do_not_agree(known):
    flat = replace(known, grey_HW=np.full_like(known.grey_HW, 100))
    assert match_pair(flat, flat) is None


def test_a_common_part_too_small_proves_nothing(known):
    content = np.zeros_like(known.content_HW)
    content[:12, :12] = 1
    assert match_pair(known, replace(known, content_HW=content)) is None


def test_features_that_agree_on_no_turn_prove_nothing(known):
    few = replace(known, points_K4=known.points_K4[:24], descriptors_KD=known.descriptors_KD[:24])
    assert match_pair(few, few).kind == "near"
    # Turns 15 degrees apart: no more than three of them are within 25 degrees of each other.
    points = few.points_K4.copy()
    points[:, 3] += np.arange(24, dtype=np.float32) * 15
    assert match_pair(few, replace(few, points_K4=points)) is None


@pytest.mark.parametrize("stretch", [(3, 1), (1, 3), (3, 3), (0.3, 0.3), (-1, 1)])
def test_a_map_that_no_copy_has_proves_nothing(known, stretch):
    """Stretched too far, or mirrored although the descriptors are not."""
    points = known.points_K4.copy()
    points[:, :2] *= np.float32(stretch)
    assert match_pair(known, replace(known, points_K4=points)) is None


def test_few_features_prove_nothing(known):
    few = replace(known, points_K4=known.points_K4[:7], descriptors_KD=known.descriptors_KD[:7])
    assert match_pair(few, known) is None
    assert match_pair(known, few) is None
