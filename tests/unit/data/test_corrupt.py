"""Corruptions: nothing at severity 0, more at each severity, and what each must leave alone."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from leukoscope.data.corrupt import AMOUNTS, SEVERITIES, corrupt_image
from leukoscope.data.images import load_pixels
from leukoscope.errors import ConfigError
from leukoscope.painted.cells import save_painted

FAULTS = tuple(AMOUNTS)


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corruptions")
    save_painted(folder, 4, copies=1, size_px=224, seed=4)
    return sorted(folder.rglob("*.png"))[0]


@pytest.fixture(scope="module")
def cell(painted):
    return load_pixels(painted, 96)


@pytest.mark.parametrize("side", [32, 64, 128, 224])
@pytest.mark.parametrize("corruption", FAULTS)
def test_each_severity_is_further_from_the_clean_image(painted, corruption, side):
    cell = load_pixels(painted, side)
    before = cell.copy()
    assert corrupt_image(cell, corruption, 0) is cell
    away = []
    for severity in SEVERITIES:
        found = corrupt_image(cell, corruption, severity)
        assert found.dtype == np.uint8 and found.shape == cell.shape
        away.append(np.abs(found.astype(int) - cell).mean())
        assert (corrupt_image(cell, corruption, severity) == found).all()
    assert (np.diff([0, *away]) > 0.05).all()
    assert (cell == before).all()


@pytest.mark.parametrize("side", [128, 224])
def test_lengths_are_shares_of_the_side(side):
    """An edge becomes as wide as the Gaussian, a point as wide as the disc; small images apart."""
    edge, point = np.zeros((2, side, side, 3), np.uint8)
    edge[:, side // 2 :] = 255
    point[side // 2, side // 2] = 255
    place = np.arange(side - 1)
    away = np.hypot(*(np.indices((side, side)) - side // 2))
    for severity in (3, 4, 5):
        steps = np.diff(corrupt_image(edge, "blur", severity)[side // 2, :, 0].astype(float)) / 255
        spread = np.sqrt((steps * (place - (steps * place).sum()) ** 2).sum())
        assert spread == pytest.approx(AMOUNTS["blur"][severity - 1] * side, rel=0.08)
        disc = corrupt_image(point, "defocus", severity)[..., 0] > 0
        assert away[disc].max() == pytest.approx(AMOUNTS["defocus"][severity - 1] * side, abs=0.6)


def test_blur_is_a_gaussian(cell):
    sigma = AMOUNTS["blur"][4] * 96
    witness = gaussian_filter(cell.astype(float), (sigma, sigma, 0), mode="reflect", truncate=4)
    assert np.abs(corrupt_image(cell, "blur", 5) - witness).max() < 3


def test_blur_and_defocus_leave_the_mean(cell):
    for corruption in ("blur", "defocus", "jpeg", "noise"):
        found = corrupt_image(cell, corruption, 4)
        assert found.mean() == pytest.approx(cell.mean(), abs=1.5)


def test_a_stain_leaves_the_ground(cell):
    """The ground of a smear holds no stain, whatever its strength."""
    ground = np.quantile(cell.reshape(-1, 3), 0.9, axis=0)
    for corruption in ("stain_weaker", "stain_stronger"):
        found = np.quantile(corrupt_image(cell, corruption, 5).reshape(-1, 3), 0.9, axis=0)
        assert np.abs(found - ground).max() <= 2
    weak, strong = (corrupt_image(cell, f"stain_{x}", 3) for x in ("weaker", "stronger"))
    assert weak.mean() > cell.mean() > strong.mean()


def test_magnification_goes_around_the_middle():
    image = np.zeros((97, 97, 3), np.uint8)
    image[44:53, 44:53] = 255
    areas = {}
    for corruption in ("larger", "smaller"):
        found = corrupt_image(image, corruption, 3)[..., 0] / 255
        y, x = (np.indices(found.shape) * found).sum(axis=(1, 2)) / found.sum()
        assert (y, x) == pytest.approx((48, 48), abs=0.2)
        areas[corruption] = found.sum()
    assert areas["larger"] / areas["smaller"] == pytest.approx((1.3 / 0.77) ** 2, rel=0.1)


def test_a_smaller_cell_lies_on_empty_field(painted):
    """Mirrored borders would add half cells: the frame has the colour of the ground alone."""
    cell = load_pixels(painted, 96).copy()
    cell[:8, 30:60] = (90, 40, 120)  # a cell that touches the border
    ground = np.quantile(cell.reshape(-1, 3), 0.9, axis=0)
    found = corrupt_image(cell, "smaller", 5)
    frame = int(96 * (1 - AMOUNTS["smaller"][4]) / 2) - 1
    for band in (found[:frame], found[-frame:], found[:, :frame], found[:, -frame:]):
        assert np.abs(band - ground).max() < 1


def test_yellow_light_takes_blue_most(cell):
    away = (cell.astype(int) - corrupt_image(cell, "white_balance", 3)).mean(axis=(0, 1))
    assert away[0] == 0 < away[1] < away[2]


def test_noise_is_drawn_by_its_seed(cell):
    one, same, other = (corrupt_image(cell, "noise", 2, seed) for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


def test_every_fault_has_a_name_and_other_severities_are_rejected(cell):
    with pytest.raises(ConfigError, match="severities are 0 to 5"):
        corrupt_image(cell, "blur", 6)
