"""The batched augmentation and the normalisation against scipy, kornia and numpy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from leukoscope.config import AugmentConfig
from leukoscope.data.augment import (
    augment_images,
    augment_pixels,
    build_affine,
    warp_images,
    warp_pixels,
)
from leukoscope.data.loader import normalise
from leukoscope.painted.cells import paint_cells


def make_images(n=4, side=20):
    generator = torch.Generator().manual_seed(7)
    return torch.rand(n, 3, side, side, generator=generator) * 2 - 1


def warp_reference(image_CHW, affine):
    """One image by scipy: the map from output to input, -1 to 1, turned into pixel indices.

    A pixel's centre lies at index i = ((x + 1) * side - 1) / 2; scipy counts rows (y) first.
    """
    side = image_CHW.shape[-1]
    matrix = affine[::-1, 1::-1]  # (x, y) -> (row, column)
    shift = affine[::-1, 2]
    centre = (side - 1) / 2
    offset = centre + shift * side / 2 - matrix @ np.full(2, centre)
    return np.stack(
        [
            ndimage.affine_transform(plane, matrix, offset, order=1, mode="reflect")
            for plane in image_CHW
        ]
    )


@pytest.mark.parametrize(
    "amounts",
    [
        {"flip": True},
        {"rotate_deg": 180},
        {"shift_frac": 0.3},
        {"scale_frac": 0.5},
        {"shear_deg": 30},
        {"flip": True, "rotate_deg": 90, "shift_frac": 0.2, "scale_frac": 0.3, "shear_deg": 20},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_warp_equals_scipys(amounts, seed):
    images, config = make_images(), AugmentConfig(**amounts)
    out = augment_images(images, config, torch.Generator().manual_seed(seed)).numpy()
    affines = build_affine(4, config, torch.Generator().manual_seed(seed)).double().numpy()
    assert np.abs(out - images.numpy()).max() > 0.1
    for i in range(4):
        expected = warp_reference(images[i].double().numpy(), affines[i])
        np.testing.assert_allclose(out[i], expected, atol=2e-4)


def test_the_warp_equals_kornias():
    """kornia takes maps of pixels from input to output; its border is reflected alike."""
    from kornia.geometry.transform import warp_affine

    side = 20
    images = make_images(side=side)
    config = AugmentConfig(flip=True, rotate_deg=60, shift_frac=0.2, scale_frac=0.3, shear_deg=20)
    affine = build_affine(4, config, torch.Generator().manual_seed(5))
    row = torch.tensor([[0.0, 0, 1]]).expand(4, 1, 3)
    inverse = torch.linalg.inv(torch.cat([affine, row], 1))  # input -> output, -1 to 1
    half = side / 2
    to_unit = torch.tensor(
        [[1 / half, 0, 0.5 / half - 1], [0, 1 / half, 0.5 / half - 1], [0, 0, 1]]
    )
    pixels = torch.linalg.inv(to_unit) @ inverse @ to_unit
    expected = warp_affine(
        images, pixels[:, :2], (side, side), padding_mode="reflection", align_corners=False
    )
    torch.testing.assert_close(warp_images(images, affine), expected, rtol=0, atol=2e-4)


def test_the_map_is_the_product_that_its_docstring_orders():
    """Forward, from the source's view: shift, flip, shear, scale, rotate; each amount by itself
    from the same random numbers, then one after the other."""
    config = AugmentConfig(rotate_deg=40, shift_frac=0.2, scale_frac=0.3, shear_deg=20, flip=True)
    parts = {}
    for name in ("rotate_deg", "shift_frac", "scale_frac", "shear_deg"):
        alone = AugmentConfig(**{name: getattr(config, name)})
        affine = build_affine(50, alone, torch.Generator().manual_seed(3)).double()
        row = torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(50, 1, 3)
        parts[name] = torch.linalg.inv(torch.cat([affine, row], 1))  # input -> output
    generator = torch.Generator().manual_seed(3)
    whole = build_affine(50, config, generator).double()
    # The flips are the last to be drawn: read them from the sign that nothing else can cause.
    generator = torch.Generator().manual_seed(3)
    build_affine(50, AugmentConfig(), generator)
    signs = torch.randint(0, 2, (50, 2), generator=generator).double() * 2 - 1
    flip = torch.diag_embed(torch.cat([signs, torch.ones(50, 1)], 1))
    forward = (
        parts["rotate_deg"] @ parts["scale_frac"] @ parts["shear_deg"] @ flip @ parts["shift_frac"]
    )
    expected = torch.linalg.inv(forward)[:, :2]
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)
    assert {tuple(pair) for pair in signs.tolist()} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


@pytest.mark.parametrize("blur_px", [0.8, 2.5])
def test_the_blur_equals_scipys(blur_px):
    """scipy truncates where we do, at 3 sigma rounded up; `mirror` is torch's `reflect`."""
    images, blurred = make_images(2, 24), 0
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        out = augment_images(images, AugmentConfig(blur_px=blur_px), generator)
        if out is images:
            continue
        blurred += 1
        generator = torch.Generator().manual_seed(seed)
        torch.rand((), generator=generator)
        sigma = float(torch.rand((), generator=generator) * 0.9 + 0.1) * blur_px
        reach = max(1, int(np.ceil(3 * sigma)))
        expected = ndimage.gaussian_filter(
            images.double().numpy(), sigma, axes=(2, 3), radius=reach, mode="mirror"
        )
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)
        # And up to the truncation, the endless Gaussian.
        endless = ndimage.gaussian_filter(
            images.double().numpy(), sigma, axes=(2, 3), truncate=8, mode="mirror"
        )
        assert np.abs(out.numpy() - endless).max() < 0.01
    assert blurred >= 2


def test_the_stain_equals_beer_and_lambert():
    """Transmission 10^-D: the density D times the gain, in float64, pixel by pixel."""
    images = make_images()
    out = augment_images(images, AugmentConfig(stain=0.4), torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    gain = torch.rand((4, 3, 1, 1), generator=generator).double().numpy() * 0.8 + 0.6
    transmitted = np.maximum((images.double().numpy() + 1) / 2, 1 / 255)
    expected = 2 * 10 ** (gain * np.log10(transmitted)) - 1
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)


def test_the_normalisation_equals_numpys():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    expected = (pixels.astype(np.float64) / 127.5 - 1).transpose(0, 3, 1, 2)
    out = normalise(torch.from_numpy(pixels))
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-7)


# -- the fast warp against the slow one -----------------------------------------------------------


@pytest.fixture(scope="module")
def cells():
    """uint8 `(8, 96, 96, 3)`: painted cells, as smooth and as sharp as real ones."""
    return np.stack([image.pixels_HWC for image in paint_cells(8, copies=1, size_px=96, seed=2)])


@pytest.mark.parametrize(
    "amounts",
    [
        {"flip": True},
        {"rotate_deg": 180},
        {"shift_frac": 0.3},
        {"scale_frac": 0.5},
        {"shear_deg": 30},
        {"flip": True, "rotate_deg": 20, "shift_frac": 0.05},
        {"flip": True, "rotate_deg": 90, "shift_frac": 0.4, "scale_frac": 0.8, "shear_deg": 40},
    ],
)
def test_the_warp_of_pixels_is_the_warp_of_images(cells, amounts):
    config = AugmentConfig(**amounts)
    affine = build_affine(len(cells), config, torch.Generator().manual_seed(3))
    fast = warp_pixels(cells, affine)
    slow = warp_images(normalise(torch.from_numpy(cells)), affine)
    slow = ((slow + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert fast.dtype == np.uint8 and fast.shape == cells.shape
    assert np.abs(fast - cells.astype(float)).max() > 50  # something happened
    difference = np.abs(fast - slow)
    assert difference.mean() < 0.5  # rounding to whole levels alone makes 0.25
    assert np.quantile(difference, 0.999) < 4
    if set(amounts) == {"flip"}:
        assert difference.max() < 1e-3


def test_batches_of_both_warps_are_alike(cells):
    config = AugmentConfig(flip=True, rotate_deg=20, shift_frac=0.05, stain=0.2, brightness=0.1)
    pixels = torch.from_numpy(cells[[5, 0, 3]])
    fast = augment_pixels(pixels, config, torch.Generator().manual_seed(4))
    slow = augment_images(normalise(pixels), config, torch.Generator().manual_seed(4))
    assert fast.shape == slow.shape and fast.dtype == torch.float32
    # The same random numbers in the same order: colours agree too.
    assert (fast - slow).abs().mean() < 0.5 / 127.5
    still = augment_pixels(pixels, AugmentConfig(), torch.Generator())
    assert torch.equal(still, normalise(pixels))
    assert (pixels.numpy() == cells[[5, 0, 3]]).all()  # what was given is left alone
