"""Colours: against scikit-image and torchstain, and by what must not matter."""

import numpy as np
import pytest
from skimage.color import rgb2lab
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

from leukoscope.config import STAIN_TARGETS, InputConfig
from leukoscope.data.images import load_input
from leukoscope.data.painted import save_painted
from leukoscope.data.stain import (
    convert_from_lab,
    convert_to_lab,
    find_stains,
    standardise_stain,
)

METHODS = ("background", "reinhard", "macenko")


def ask(method, **changed):
    return InputConfig(image_size=64, stain=method, **changed)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stained")
    save_painted(folder, 6, copies=1, size_px=64, seed=2)
    return [load_input(path, ask("none")) for path in sorted(folder.rglob("*.png"))]


def test_lab_is_that_of_scikit_image():
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 3), dtype=np.uint8)
    assert convert_to_lab(pixels) == pytest.approx(rgb2lab(pixels / 255), abs=0.02)
    assert (convert_from_lab(convert_to_lab(pixels)) == pixels).all()


def test_macenko_is_that_of_torchstain(cells):
    """The same stains and strengths; its image is cut to whole numbers, ours is rounded."""
    config = ask("macenko")
    target = np.array(config.stain_target)
    for cell in cells:
        cell = standardise_stain(cell, ask("background", stain_target=(240.0, 240.0, 240.0)))
        witness = NumpyMacenkoNormalizer()
        witness.fit(cell)
        vectors, _, strengths = find_stains(cell)
        assert vectors == pytest.approx(witness.HERef, abs=1e-6)
        assert strengths == pytest.approx(witness.maxCRef, abs=1e-6)
        witness.HERef, witness.maxCRef = target[:6].reshape(2, 3).T, target[6:]
        theirs = witness.normalize(cell, stains=False)[0].astype(int)
        assert np.abs(standardise_stain(cell, config) - theirs).max() <= 1


def test_the_target_is_reached(cells):
    for cell in cells:
        ground = np.quantile(standardise_stain(cell, ask("background")).reshape(-1, 3), 0.9, axis=0)
        assert np.abs(ground - STAIN_TARGETS["background"]).max() <= 2
        target = (70.0, 10.0, -5.0, 10.0, 6.0, 6.0)  # one that no colour has to be cut off for
        lab = rgb2lab(standardise_stain(cell, ask("reinhard", stain_target=target)) / 255)
        found = (*lab.reshape(-1, 3).mean(axis=0), *lab.reshape(-1, 3).std(axis=0))
        assert found == pytest.approx(target, abs=0.6)


@pytest.mark.parametrize("method", METHODS)
def test_another_white_balance_matters_less(cells, method):
    """A cell photographed in yellower and darker light: much of the difference goes."""
    before, after = [], []
    for cell in cells:
        other = np.rint(cell * np.array([0.95, 0.9, 0.75])).astype(np.uint8)
        before.append(np.abs(cell.astype(int) - other).mean())
        pair = [standardise_stain(one, ask(method)).astype(int) for one in (cell, other)]
        after.append(np.abs(pair[0] - pair[1]).mean())
    assert np.mean(after) < 0.25 * np.mean(before)


@pytest.mark.parametrize("method", ["background", "reinhard"])
def test_twice_is_once(cells, method):
    config = ask(method, **{"stain_target": (70.0, 10.0, -5.0, 10.0, 6.0, 6.0)}
                 if method == "reinhard" else {})  # fmt: skip
    for cell in cells:
        once = standardise_stain(cell, config).astype(int)
        assert np.abs(standardise_stain(once.astype(np.uint8), config) - once).max() <= 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0, 40, 200, 255])
def test_images_without_content_stay_whole(method, value):
    flat = np.full((64, 64, 3), value, np.uint8)
    found = standardise_stain(flat, ask(method))
    assert found.dtype == np.uint8 and found.shape == flat.shape
    if method != "background":
        assert (found == flat).all()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert standardise_stain(noise, ask(method)).shape == noise.shape
    one_colour = flat.copy()
    one_colour[:32] = (90, 40, 120)
    assert standardise_stain(one_colour, ask(method)).dtype == np.uint8


def test_none_is_the_image_itself(cells):
    assert standardise_stain(cells[0], ask("none")) is cells[0]
