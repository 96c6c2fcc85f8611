import cv2
import numpy as np
import pytest

from leukoscope.painted.cells import paint_cells
from leukoscope.sources.fingerprints import (
    MAX_FEATURES,
    MIRROR,
    VECTOR_DIMENSION,
    Fingerprint,
    build_fingerprint,
    compute_vector,
    find_content,
    root_descriptors,
)


@pytest.fixture(scope="module")
def field(draw_field):
    return draw_field(1)


def test_a_fingerprint_has_the_promised_shapes(field):
    found = build_fingerprint(field)
    n = len(found.points_K4)
    assert 50 < n <= MAX_FEATURES
    assert found.size_px == (320, 240)
    assert found.descriptors_KD.shape == (n, 128)
    assert found.grey_HW.shape == found.content_HW.shape == (96, 128)
    assert found.vector_D.shape == (VECTOR_DIMENSION,)
    assert np.linalg.norm(found.vector_D) == pytest.approx(1, abs=1e-3)
    assert (found.points_K4[:, 0] < 256).all()
    assert (found.points_K4[:, 1] < 192).all()


def test_the_same_pixels_give_the_same_fingerprint(field):
    assert build_fingerprint(field).to_bytes() == build_fingerprint(field.copy()).to_bytes()


def test_the_vector_is_that_of_the_mirrored_image(field, draw_field):
    own = build_fingerprint(field).vector_D
    for mirrored in (field[:, ::-1], field[::-1]):
        assert own @ build_fingerprint(mirrored).vector_D > 0.8
    assert own @ build_fingerprint(draw_field(2)).vector_D < 0.6


def test_mirror_undoes_itself_and_describes_the_mirrored_image(field):
    assert (MIRROR[MIRROR] == np.arange(128)).all()
    a, b = build_fingerprint(field), build_fingerprint(field[:, ::-1])
    straight = root_descriptors(a.descriptors_KD) @ root_descriptors(b.descriptors_KD).T
    turned = root_descriptors(a.descriptors_KD) @ root_descriptors(b.descriptors_KD[:, MIRROR]).T
    assert (turned.max(axis=1) > 0.97).mean() > 0.6
    assert (straight.max(axis=1) > 0.97).mean() < 0.1


def test_bytes_come_back_as_they_were(field):
    found = build_fingerprint(field)
    again = Fingerprint.from_bytes(found.to_bytes())
    assert again.size_px == found.size_px
    for name in ("points_K4", "descriptors_KD", "grey_HW", "content_HW"):
        assert (getattr(again, name) == getattr(found, name)).all()
    assert np.abs(again.vector_D - found.vector_D).max() < 1e-3


@pytest.mark.parametrize("damage", [b"", b"nonsense", "cut", "version"])
def test_damaged_bytes_are_rejected(field, damage, monkeypatch):
    content = build_fingerprint(field).to_bytes()
    if damage == "version":
        monkeypatch.setattr("leukoscope.sources.fingerprints.FORMAT", 99)
    elif damage == "cut":
        import zlib

        content = zlib.compress(zlib.decompress(content)[:-9])
    else:
        content = damage
    with pytest.raises(ValueError):
        Fingerprint.from_bytes(content)


@pytest.mark.parametrize(
    "shape", [(8, 8), (8, 900), (900, 8), (1, 1), (240, 320)], ids=lambda s: "x".join(map(str, s))
)
def test_constant_and_odd_images_do_not_fail(shape):
    found = build_fingerprint(np.full((*shape, 3), 200, np.uint8))
    assert len(found.points_K4) == 0
    assert not found.vector_D.any()
    assert Fingerprint.from_bytes(found.to_bytes()).size_px == (shape[1], shape[0])


def test_noise_and_large_images_do_not_fail():
    rng = np.random.default_rng(0)
    for shape in ((64, 64, 3), (1500, 2000, 3)):
        found = build_fingerprint(rng.integers(0, 256, shape, dtype=np.uint8))
        assert len(found.points_K4) <= MAX_FEATURES


def test_no_features_no_vector():
    assert not compute_vector(np.zeros((0, 128), np.uint8)).any()


FILLS = {"black": (0, 0, 0), "white": (255, 255, 255)}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("angle", [4, 17, 45, -100])
def test_fill_is_found_where_a_warp_left_it(field, fill, angle):
    # As an image is stored: warped and compressed at its own size, then reduced.
    map_23 = cv2.getRotationMatrix2D((150, 110), angle, 0.9)
    moved = cv2.warpAffine(field, map_23, (320, 240), borderValue=FILLS[fill])
    _, jpeg = cv2.imencode(".jpg", moved, [cv2.IMWRITE_JPEG_QUALITY, 85])
    small = cv2.resize(
        cv2.imdecode(jpeg, cv2.IMREAD_COLOR), (128, 96), interpolation=cv2.INTER_AREA
    )
    truth = cv2.warpAffine(np.ones((240, 320), np.uint8), map_23, (320, 240))
    truth = cv2.resize(truth, (128, 96), interpolation=cv2.INTER_NEAREST)
    found = find_content(small)
    assert (found & truth).sum() / (found | truth).sum() > 0.93


def test_a_plain_picture_has_no_fill(field, draw_field):
    for picture in (field, draw_field(3), np.full((96, 128, 3), 255, np.uint8)):
        assert find_content(cv2.resize(picture, (128, 96))).all()


def test_cells_on_an_empty_white_background_are_no_fill():
    white = np.full((96, 128, 3), 255, np.uint8)
    for x, y in ((20, 20), (70, 30), (40, 70), (110, 80)):
        cv2.circle(white, (x, y), 11, (150, 90, 160), -1)
    assert find_content(white).all()


def test_one_lonely_square_is_content_only_if_it_is_large():
    for side, is_fill in ((80, True), (20, False)):
        picture = np.zeros((96, 128, 3), np.uint8)
        rng = np.random.default_rng(0)
        picture[5 : 5 + side, 5 : 5 + side] = rng.integers(60, 255, (side, side, 3))
        assert (find_content(picture).mean() < 1) == is_fill


# -- painted cells --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells():
    return [image.pixels_HWC for image in paint_cells(3, copies=1, size_px=320, seed=4)]


def warp(picture, angle, fill, sampling=None):
    """Warp and fill a picture, as JPEG where a sampling is named; thumbnail and true content."""
    height, width = picture.shape[:2]
    map_23 = cv2.getRotationMatrix2D((0.47 * width, 0.46 * height), angle, 0.9)
    moved = cv2.warpAffine(picture, map_23, (width, height), borderValue=fill)
    if sampling is not None:
        how = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        moved = cv2.imdecode(cv2.imencode(".jpg", moved, how)[1], cv2.IMREAD_COLOR)
    truth = cv2.warpAffine(np.full((height, width), 255, np.uint8), map_23, (width, height))
    size = (128, round(128 * height / width))
    small, truth = (cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in (moved, truth))
    return small, truth > 127


def compute_iou(warped):
    small, truth = warped
    found = find_content(small) > 0
    return (found & truth).sum() / (found | truth).sum()


COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "green": (30, 160, 60),
    "red": (200, 30, 30),
}
FINE, COARSE = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420


@pytest.mark.parametrize("fill", COLOURS)
@pytest.mark.parametrize("sampling", [None, FINE], ids=["png", "jpeg"])
def test_fill_of_any_colour_is_found_around_painted_cells(cells, fill, sampling):
    for cell in cells:
        for angle in (4, 17, 45, -100):
            assert compute_iou(warp(cell, angle, COLOURS[fill], sampling)) > 0.95


@pytest.mark.parametrize("fill", ["black", "white", "grey"])
def test_coarse_colour_does_not_hide_grey_fill(cells, fill):
    for cell in cells:
        assert compute_iou(warp(cell, 17, COLOURS[fill], COARSE)) > 0.95


def test_painted_cells_have_no_fill():
    for image in paint_cells(16, copies=1, size_px=160, seed=3):
        assert find_content(cv2.resize(image.pixels_HWC, (128, 128))).all()


def test_the_vector_of_mirrored_descriptors_is_the_same():
    descriptors = np.random.default_rng(0).integers(0, 200, (150, 128), dtype=np.uint8)
    own = compute_vector(descriptors)
    # The order of features does not count either.
    for same in (descriptors[:, MIRROR], descriptors[::-1]):
        assert np.abs(compute_vector(same) - own).max() < 1e-5
    other = np.random.default_rng(1).integers(0, 200, (150, 128), dtype=np.uint8)
    assert np.abs(compute_vector(other) - own).max() > 0.01


def test_root_descriptors_have_length_1_and_none_fails():
    descriptors = np.random.default_rng(0).integers(0, 255, (9, 128), dtype=np.uint8)
    descriptors[0] = 0
    lengths = np.linalg.norm(root_descriptors(descriptors), axis=1)
    assert lengths == pytest.approx([0] + [1] * 8, abs=1e-5)
    assert root_descriptors(descriptors[:0]).shape == (0, 128)


def test_a_very_long_image_can_be_stored():
    found = build_fingerprint(np.zeros((8, 70_000, 3), np.uint8))
    assert Fingerprint.from_bytes(found.to_bytes()).size_px == (70_000, 8)


def test_a_stored_vector_is_exactly_the_fresh_one(field):
    found = build_fingerprint(field)
    assert (Fingerprint.from_bytes(found.to_bytes()).vector_D == found.vector_D).all()
