"""Whatever the amounts, augmentation keeps shape, type and range, and the seed decides alone."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.config import AugmentConfig
from leukoscope.data.augment import augment_images, build_affine, mix_images

configs = st.builds(
    AugmentConfig,
    flip=st.booleans(),
    rotate_deg=st.floats(0, 180),
    shift_frac=st.floats(0, 0.5),
    scale_frac=st.floats(0, 0.9),
    shear_deg=st.floats(0, 45),
    stain=st.floats(0, 1),
    brightness=st.floats(0, 1),
    blur_px=st.floats(0, 10),
    mixup=st.floats(0, 100),
    cutmix=st.floats(0, 100),
)
seeds = st.integers(0, 2**31 - 1)


def make_images(seed, n=3, side=8):
    generator = torch.Generator().manual_seed(seed)
    # Extremes too: a third of the values lie at the ends of the range.
    return (torch.rand(n, 3, side, side, generator=generator) * 3 - 1.5).clamp(-1, 1)


@settings(deadline=None, max_examples=100)
@given(configs, seeds)
def test_images_keep_shape_type_and_range(config, seed):
    images = make_images(seed)
    before = images.clone()
    out = augment_images(images, config, torch.Generator().manual_seed(seed))
    assert out.shape == images.shape and out.dtype == torch.float32
    assert out.isfinite().all()
    assert out.abs().max() <= 1 + 1e-5
    assert torch.equal(images, before)
    again = augment_images(images, config, torch.Generator().manual_seed(seed))
    assert torch.equal(out, again)


@settings(deadline=None, max_examples=100)
@given(configs, seeds)
def test_maps_stay_within_their_amounts(config, seed):
    affine = build_affine(4, config, torch.Generator().manual_seed(seed))
    # Flip and rotation keep areas, shear too: what is left is the scale.
    area = torch.linalg.det(affine[:, :, :2]).abs()
    largest = (1 + config.scale_frac) ** 2
    assert (area <= largest * 1.001).all() and (area >= 0.999 / largest).all()
    assert (affine[:, :, 2].abs() <= 2 * config.shift_frac + 1e-6).all()
    # The largest stretch: scale times that of a shear.
    t = math.tan(math.radians(config.shear_deg))
    stretch = (t + math.sqrt(t * t + 4)) / 2
    norms = torch.linalg.matrix_norm(affine[:, :, :2], ord=2)
    assert (norms <= (1 + config.scale_frac) * stretch * 1.001).all()


@settings(deadline=None, max_examples=100)
@given(configs, seeds, st.integers(1, 5), st.integers(2, 4))
def test_mixed_targets_stay_probabilities(config, seed, n, classes):
    images = make_images(seed, n)
    generator = torch.Generator().manual_seed(seed)
    targets = torch.softmax(torch.randn(n, classes, generator=generator), dim=1)
    out, mixed = mix_images(images, targets, config, generator)
    assert out.shape == images.shape and mixed.shape == targets.shape
    assert out.abs().max() <= 1 + 1e-5
    assert (mixed >= 0).all()
    torch.testing.assert_close(mixed.sum(1), torch.ones(n))
    # Nothing is lost: what one image gives up, another one has.
    torch.testing.assert_close(mixed.sum(0), targets.sum(0), atol=1e-4, rtol=1e-4)
