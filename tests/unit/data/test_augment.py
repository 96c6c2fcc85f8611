import math

import pytest
import torch

from leukoscope.config import AugmentConfig
from leukoscope.data.augment import _draw_beta, augment_images, build_affine, mix_images

EVERYTHING = AugmentConfig(
    flip=True,
    rotate_deg=180,
    shift_frac=0.2,
    scale_frac=0.3,
    shear_deg=20,
    stain=0.3,
    brightness=0.3,
    blur_px=2,
)
SINGLE = [
    {"flip": True},
    {"rotate_deg": 30},
    {"shift_frac": 0.2},
    {"scale_frac": 0.3},
    {"shear_deg": 20},
    {"stain": 0.3},
    {"brightness": 0.3},
    {"blur_px": 2},
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_images(n=8, side=16):
    return torch.rand(n, 3, side, side, generator=seeded(99)) * 2 - 1


# -- all together -----------------------------------------------------------------------------


def test_without_amounts_the_input_itself_comes_back():
    images, generator = make_images(), seeded()
    before = generator.get_state()
    assert augment_images(images, AugmentConfig(), generator) is images
    assert torch.equal(generator.get_state(), before)  # nothing drawn


@pytest.mark.parametrize("amounts", SINGLE)
def test_every_amount_changes_the_images_and_not_the_input(amounts):
    images = make_images()
    before = images.clone()
    outs = [augment_images(images, AugmentConfig(**amounts), seeded(s)) for s in range(6)]
    assert torch.equal(images, before)
    assert any((out - images).abs().max() > 1e-3 for out in outs)
    for out in outs:
        assert out.shape == images.shape and out.dtype == images.dtype
        assert out.abs().max() <= 1 + 1e-5


def test_a_seed_gives_the_same_images_and_another_one_others():
    images = make_images()
    first = augment_images(images, EVERYTHING, seeded(1))
    torch.manual_seed(123)  # the global generator does not matter
    assert torch.equal(augment_images(images, EVERYTHING, seeded(1)), first)
    assert not torch.equal(augment_images(images, EVERYTHING, seeded(2)), first)


def test_every_image_of_a_batch_is_moved_differently():
    images = make_images(1).expand(8, -1, -1, -1)
    out = augment_images(images, AugmentConfig(rotate_deg=30), seeded())
    assert all((out[i] - out[j]).abs().max() > 1e-3 for i in range(8) for j in range(i))


# -- the affine map ---------------------------------------------------------------------------


def test_without_amounts_the_map_is_the_identity():
    affine = build_affine(5, AugmentConfig(), seeded())
    assert affine.shape == (5, 2, 3)
    assert torch.equal(affine, torch.eye(2, 3).expand(5, 2, 3))


def test_flips_are_drawn_for_half_of_the_images_each_way():
    affine = build_affine(2000, AugmentConfig(flip=True), seeded())
    signs = torch.stack([affine[:, 0, 0], affine[:, 1, 1]], dim=1)
    assert set(signs.unique().tolist()) == {-1, 1}
    assert torch.equal(affine.abs(), torch.eye(2, 3).expand(2000, 2, 3))
    assert (signs.mean(0).abs() < 0.07).all()  # three standard errors of a fair coin
    assert (signs[:, 0] * signs[:, 1]).mean().abs() < 0.07  # independent of each other


def test_flips_mirror_the_images():
    images = make_images(64)
    out = augment_images(images, AugmentConfig(flip=True), seeded())
    affine = build_affine(64, AugmentConfig(flip=True), seeded())
    for i in range(64):
        dims = [d for d, place in ((2, 0), (1, 1)) if affine[i, place, place] < 0]
        torch.testing.assert_close(out[i], images[i].flip(dims), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [10, 90, 180])
def test_rotations_are_pure_and_fill_their_range(degrees):
    affine = build_affine(2000, AugmentConfig(rotate_deg=degrees), seeded())
    matrix = affine[:, :, :2]
    torch.testing.assert_close(
        matrix @ matrix.mT, torch.eye(2).expand(2000, 2, 2), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(2000))
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert angle.abs().max() <= degrees + 1e-3
    assert angle.max() > 0.98 * degrees and angle.min() < -0.98 * degrees
    assert (affine[:, :, 2] == 0).all()


def test_scales_are_as_often_up_as_down():
    affine = build_affine(2000, AugmentConfig(scale_frac=0.25), seeded())
    scale = affine[:, 0, 0]
    assert torch.equal(scale, affine[:, 1, 1])
    assert (affine[:, 0, 1] == 0).all() and (affine[:, 1, 0] == 0).all()
    assert 1 / 1.25 - 1e-6 <= scale.min() < 0.81 and 1.24 < scale.max() <= 1.25 + 1e-6
    assert abs(float((scale > 1).float().mean()) - 0.5) < 0.035


def test_shears_keep_the_area_and_the_rows():
    affine = build_affine(2000, AugmentConfig(shear_deg=30), seeded())
    assert torch.equal(affine[:, 1, :], torch.tensor([0.0, 1, 0]).expand(2000, 3))
    assert torch.equal(affine[:, 0, 0], torch.ones(2000))
    largest = math.tan(math.radians(30))
    assert 0.98 * largest < affine[:, 0, 1].abs().max() <= largest + 1e-6


def test_shifts_are_a_share_of_the_side():
    affine = build_affine(2000, AugmentConfig(shift_frac=0.1), seeded())
    shift = affine[:, :, 2] / 2  # a side is 2 long
    assert 0.098 < shift.abs().max() <= 0.1
    assert shift[:, 0].min() < -0.09 and shift[:, 1].max() > 0.09
    assert not torch.equal(shift[:, 0], shift[:, 1])


def test_no_black_corners():
    """Beyond the border the image is reflected: a bright image stays bright everywhere."""
    images = torch.full((4, 3, 16, 16), 0.8)
    config = AugmentConfig(rotate_deg=180, shift_frac=0.5, scale_frac=0.9, shear_deg=45)
    out = augment_images(images, config, seeded())
    torch.testing.assert_close(out, images, atol=1e-5, rtol=0)


# -- colour -----------------------------------------------------------------------------------


def test_a_stain_is_a_gain_in_optical_density_per_channel():
    images = make_images(200, 4).clamp(-0.9, 1)
    out = augment_images(images, AugmentConfig(stain=0.25), seeded())

    def density(x):
        return -torch.log10((x + 1) / 2)

    clear = images < 0.5  # where light is taken away, so that the quotient means something
    gains = torch.where(clear, density(out) / density(images), torch.nan)
    low = gains.nan_to_num(9).amin((2, 3))
    high = gains.nan_to_num(-9).amax((2, 3))
    known = clear.sum((2, 3)) > 1
    torch.testing.assert_close(low[known], high[known], atol=1e-4, rtol=1e-4)
    assert 0.75 - 1e-4 <= low[known].min() < 0.77 and 1.23 < high[known].max() <= 1.25 + 1e-4
    assert (low[:, 0] - low[:, 1]).abs().max() > 0.1  # each channel its own


def test_white_stays_white_whatever_the_stain():
    white = torch.ones(8, 3, 4, 4)
    assert torch.equal(augment_images(white, AugmentConfig(stain=1), seeded()), white)


def test_black_stays_in_range_whatever_the_stain():
    out = augment_images(-torch.ones(64, 3, 4, 4), AugmentConfig(stain=1), seeded())
    assert out.isfinite().all() and out.min() >= -1 and out.max() <= 1


def test_brightness_is_added_to_all_channels_and_stays_in_range():
    images = torch.zeros(500, 3, 2, 2)
    out = augment_images(images, AugmentConfig(brightness=0.2), seeded())
    shift = out[:, :1, :1, :1]
    assert torch.equal(out, shift.expand_as(out))
    assert 0.19 < shift.max() <= 0.2 and -0.2 <= shift.min() < -0.19
    for value in (-1, 1):
        out = augment_images(images + value, AugmentConfig(brightness=1), seeded())
        assert out.min() >= -1 and out.max() <= 1


# -- blur -------------------------------------------------------------------------------------


def test_half_of_the_batches_are_blurred():
    images = make_images(1, 8)
    config = AugmentConfig(blur_px=1)
    blurred = [augment_images(images, config, seeded(s)) is not images for s in range(400)]
    assert abs(sum(blurred) / 400 - 0.5) < 0.08


def test_blur_keeps_the_mean_and_takes_contrast():
    images = make_images(4, 32)
    generator = next(g for g in map(seeded, range(99)) if torch.rand((), generator=g) >= 0.5)
    generator = seeded(generator.initial_seed())
    out = augment_images(images, AugmentConfig(blur_px=3), generator)
    assert out.std() < 0.8 * images.std()
    torch.testing.assert_close(out.mean((2, 3)), images.mean((2, 3)), atol=0.05, rtol=0)
    flat = torch.full((1, 3, 8, 8), 0.3)
    out = augment_images(flat, AugmentConfig(blur_px=3), seeded(generator.initial_seed()))
    torch.testing.assert_close(out, flat)


def test_a_blur_wider_than_the_image_is_cut():
    images = make_images(1, 4)
    outs = [augment_images(images, AugmentConfig(blur_px=10), seeded(s)) for s in range(20)]
    assert all(out.shape == images.shape and out.isfinite().all() for out in outs)


# -- mixing -----------------------------------------------------------------------------------


def make_batch(n=8, side=16):
    """Images that carry their own number, and one-hot targets."""
    numbers = torch.arange(n).float()
    return numbers.view(n, 1, 1, 1).expand(n, 3, side, side).clone(), torch.eye(n)


def test_without_mixing_the_input_itself_comes_back():
    images, targets = make_batch()
    generator = seeded()
    before = generator.get_state()
    out, mixed = mix_images(images, targets, AugmentConfig(), generator)
    assert out is images and mixed is targets
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("choice", ["mixup", "cutmix"])
@pytest.mark.parametrize("seed", range(8))
def test_images_and_targets_are_mixed_in_the_same_share(choice, seed):
    images, targets = make_batch()
    before = images.clone()
    out, mixed = mix_images(images, targets, AugmentConfig(**{choice: 1.0}), seeded(seed))
    assert torch.equal(images, before) and torch.equal(targets, torch.eye(8))
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    # An image holds its own number: the mean over pixels is the mean over the target.
    expected = mixed @ torch.arange(8).float()
    torch.testing.assert_close(out.mean((1, 2, 3)), expected, atol=1e-4, rtol=0)
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2])
    if choice == "mixup":
        assert (out.amax((1, 2, 3)) - out.amin((1, 2, 3))).max() < 1e-5
    else:  # every pixel is of one of the two
        for i in range(8):
            present = set(out[i].unique().tolist())
            assert present <= set(torch.nonzero(mixed[i]).flatten().float().tolist())


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_cuts_one_square(seed):
    images, targets = make_batch(2)
    out, mixed = mix_images(images, targets, AugmentConfig(cutmix=1.0), seeded(seed))
    foreign = out[0, 0] != 0
    rows, columns = foreign.any(1).nonzero().flatten(), foreign.any(0).nonzero().flatten()
    assert int(foreign.sum()) == len(rows) * len(columns)  # a full rectangle
    assert len(rows) == len(columns)
    share = int(foreign.sum()) / 256
    if share:
        assert rows[-1] - rows[0] == len(rows) - 1
        torch.testing.assert_close(mixed[0], torch.tensor([1 - share, share]))
    else:  # exchanged with itself, or nothing cut
        assert mixed[0, 0] == 1


def test_where_both_are_on_each_gets_its_batches():
    images, targets = make_batch(4, 8)
    config = AugmentConfig(mixup=1.0, cutmix=1.0)
    kinds = []
    for seed in range(200):
        out, _ = mix_images(images, targets, config, seeded(seed))
        kinds.append(bool((out != out.round()).any()))  # mixup makes numbers that are not whole
    assert 0.35 < sum(kinds) / 200 < 0.65


@pytest.mark.parametrize("alpha", [1e-300, 0.2, 1, 5, 100])
def test_shares_follow_the_beta_distribution(alpha):
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), from the least to the largest alpha."""
    generator = seeded()
    shares = torch.tensor([_draw_beta(alpha, generator) for _ in range(4000)])
    spread = 1 / math.sqrt(4 * (2 * alpha + 1))
    assert shares.min() >= 0 and shares.max() <= 1
    assert abs(float(shares.mean()) - 0.5) < 4 * spread / math.sqrt(4000)
    assert abs(float(shares.std()) / spread - 1) < 0.05
