"""Fields and slides as they lie on disk, whole or hostile."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from leukoscope.data import images
from leukoscope.errors import ImageError
from leukoscope.smear import fields
from leukoscope.smear.fields import PictureField, SlideField, open_field


def reason_of(path):
    with pytest.raises(ImageError) as caught, open_field(path):
        pass
    return caught.value.reason


def paint(height=96, width=128):
    return np.random.default_rng(1).integers(0, 255, (height, width, 3)).astype(np.uint8)


def save_slide(path, pixels_HWC, **options):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("tiffslide")
    tifffile.imwrite(path, pixels_HWC, photometric="rgb", **options)
    return path


def test_a_picture_is_held_and_a_slide_read_in_parts(tmp_path):
    pixels_HWC = paint()
    Image.fromarray(pixels_HWC).save(tmp_path / "a.png")
    with open_field(tmp_path / "a.png") as field:
        assert isinstance(field, PictureField)
        assert images._held_budget.used == pixels_HWC.size
        assert field.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
        assert np.array_equal(field.read_region((3, 5, 30, 40)), pixels_HWC[5:40, 3:30])
    assert images._held_budget.used == 0
    with open_field(save_slide(tmp_path / "a.svs", pixels_HWC, tile=(32, 32))) as field:
        assert isinstance(field, SlideField) and (field.width, field.height) == (128, 96)
        assert np.array_equal(field.read_region((3, 5, 30, 40)), pixels_HWC[5:40, 3:30])


def test_only_black_at_the_edge_is_hidden():
    pixels_HWC = np.full((100, 120, 3), (220, 210, 225), np.uint8)
    pixels_HWC[40:60, 40:60] = 0  # dust in the middle
    field = PictureField(pixels_HWC.copy())
    assert np.array_equal(field.pixels_HWC, pixels_HWC) and not field.is_cut((38, 38, 62, 62))
    dark = pixels_HWC.copy()
    dark[:, :10] = 0
    field = PictureField(dark)
    assert (field.pixels_HWC[:, :10] == (220, 210, 225)).all()
    assert (field.pixels_HWC[40:60, 40:60] == 0).all()
    assert field.is_cut((5, 20, 25, 40)) and not field.is_cut((20, 20, 40, 40))
    # Hidden for the most part, the ground is that of the rest; all black stays black.
    dark[:, :90] = 0
    assert (PictureField(dark).pixels_HWC == (220, 210, 225)).all()
    assert not PictureField(np.zeros((50, 50, 3), np.uint8)).pixels_HWC.any()


def test_a_tiff_too_large_for_a_picture_is_a_slide(tmp_path, monkeypatch):
    path = save_slide(tmp_path / "a.tif", paint(), tile=(32, 32))
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with open_field(path) as field:
        assert isinstance(field, SlideField)
    monkeypatch.undo()
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with open_field(path) as field:
        assert isinstance(field, SlideField)
    Image.fromarray(paint()).save(tmp_path / "a.png")
    assert reason_of(tmp_path / "a.png") == "too_large"


@pytest.mark.parametrize("ending", ["svs", "tif", "png", "ndpi"])
def test_what_is_no_plain_file_is_rejected_at_once(tmp_path, ending):
    place = tmp_path / f"a.{ending}"
    assert reason_of(place) == "missing_file"
    os.mkfifo(place)
    assert reason_of(place) == "not_regular"
    place.unlink()
    place.symlink_to("/dev/zero")
    assert reason_of(place) == "not_regular"
    place.unlink()
    with place.open("wb") as file:
        file.truncate(100_000_000_000)  # sparse: no byte of it is on the disk
    assert reason_of(place) == "too_large"
    place.unlink()
    place.write_bytes(b"no slide")
    assert reason_of(place) == "not_an_image"


def test_a_slide_takes_bounded_memory_at_once(tmp_path, monkeypatch):
    path = save_slide(tmp_path / "a.svs", paint(), tile=(64, 64))
    monkeypatch.setattr(fields, "_MAX_REGION_PIXELS", 64 * 64)
    with open_field(path) as field:
        assert field.read_region((0, 0, 64, 64)).shape == (64, 64, 3)
        with pytest.raises(ImageError) as caught:
            field.read_region((0, 0, 65, 64))
        assert caught.value.reason == "too_large"
    for name, limit in (
        ("MAX_PIECE_BYTES", 3 * 64 * 64 - 1),
        ("MAX_SLIDE_PIXELS", 96 * 128 - 1),
        ("MAX_SLIDE_BYTES", 100),
    ):
        monkeypatch.setattr(fields, name, limit)
        assert reason_of(path) == "too_large"
        monkeypatch.undo()
    # One strip is all of the picture: decoded at once, whatever part is asked for.
    strip = save_slide(tmp_path / "b.svs", paint(), rowsperstrip=96)
    monkeypatch.setattr(fields, "MAX_PIECE_BYTES", 3 * 96 * 128 - 1)
    assert reason_of(strip) == "too_large"
