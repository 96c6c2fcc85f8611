"""Colours: against scikit-image and torchstain, and by what must not matter."""

import numpy as np
import pytest
from skimage.color import rgb2lab
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

from leukoscope.config import STAIN_TARGETS, InputConfig
from leukoscope.data.images import load_input
from leukoscope.data.stain import convert_from_lab, convert_to_lab, find_stains, standardise_stain
from leukoscope.painted.cells import save_painted

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


class Witness(NumpyMacenkoNormalizer):
    """torchstain with our choice of pixels: stained in one channel, not in all three."""

    def _NumpyMacenkoNormalizer__convert_rgb2od(self, image, Io=240, beta=0.15):
        density = -np.log((image.astype(float) + 1) / Io)
        return density, density[(density >= beta).any(axis=1)]


def test_macenko_is_that_of_torchstain(cells):
    """The same stains and strengths; its image is cut to whole numbers, ours is rounded."""
    config = ask("macenko")
    for cell in cells:
        target = np.array(config.stain_target)
        cell = standardise_stain(cell, ask("background", stain_target=(240.0, 240.0, 240.0)))
        witness = Witness()
        witness.fit(cell)
        vectors, _, strengths = find_stains(cell.reshape(-1, 3))
        if vectors[0, 0] < vectors[0, 1]:  # it takes the stain that absorbs more red first
            vectors, strengths = vectors[:, ::-1], strengths[::-1]
            target = np.r_[target[3:6], target[:3], target[7], target[6]]
        assert vectors == pytest.approx(witness.HERef, abs=1e-6)
        assert strengths == pytest.approx(witness.maxCRef, abs=1e-6)
        witness.HERef, witness.maxCRef = target[:6].reshape(2, 3).T, target[6:]
        theirs = witness.normalize(cell, stains=False)[0].astype(int)
        assert np.abs(standardise_stain(cell, config) - theirs).max() <= 1


def paint_stains(blue, red, seed=0):
    """A smear of two stains on a white ground, light by Beer and Lambert; where the blue one is."""
    generator = np.random.default_rng(seed)
    amounts = np.zeros((2, 64, 64))
    amounts[1, 4:60, 4:28] = generator.uniform(0.3, 0.5, (56, 24))
    amounts[0, 20:44, 36:56] = generator.uniform(0.8, 1.2, (24, 20))
    light = 240 * np.exp(-np.einsum("cs,syx->yxc", np.stack([blue, red], axis=1), amounts))
    return np.rint(light).astype(np.uint8), amounts[0] > 0


# A nucleus that lets all blue through; red cells that absorb less red than green, or more.
BLUE = np.array([0.56, 0.82, 0.08])


@pytest.mark.parametrize("red", [(0.2, 0.8, 0.56), (0.62, 0.55, 0.56)])
def test_planted_stains_are_found_and_nuclei_stay_dark(red):
    red = np.array(red) / np.linalg.norm(red)
    image, nucleus = paint_stains(BLUE / np.linalg.norm(BLUE), red)
    vectors, _, strengths = find_stains(image.reshape(-1, 3))
    for found, planted in zip(vectors.T, (BLUE / np.linalg.norm(BLUE), red), strict=True):
        assert np.degrees(np.arccos(min(1.0, found @ planted))) < 4
    assert strengths == pytest.approx([1.2, 0.5], rel=0.1)
    found = standardise_stain(image, ask("macenko"))
    assert found[nucleus].mean() < 140 < found[~nucleus].mean()


@pytest.mark.parametrize("method", METHODS)
def test_black_corners_are_no_stain(cells, method):
    """What turning leaves stays black, and the rest is as without it."""
    y, x = np.mgrid[:64, :64]
    corner = (x + y < 26) | (x - y > 38)
    for cell in cells:
        cut = np.where(corner[..., None], 0, cell).astype(np.uint8)
        found = standardise_stain(cut, ask(method))
        assert not found[corner].any()
        inner = (x + y > 28) & (x - y < 36)
        without = standardise_stain(cell, ask(method)).astype(int)
        assert np.abs(found[inner] - without[inner]).mean() < 12
    assert standardise_stain(np.zeros((64, 64, 3), np.uint8), ask(method)).max() == 0


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
