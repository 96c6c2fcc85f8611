import numpy as np
import pytest
import torch
from captum.attr import Occlusion

from leukoscope.errors import ConfigError
from leukoscope.explain.occlusion import compute_background, compute_occlusion, score_in_batches


def score_patch(images_NSSC):
    """Class 0 is how dark the square 8..16 is; class 1 its opposite: known by hand."""
    dark_N = (255.0 - images_NSSC[:, 8:16, 8:16].astype(np.float64)).mean((1, 2, 3))
    return np.stack([dark_N, -dark_N], axis=1).astype(np.float32)


@pytest.fixture
def field():
    image = np.full((32, 32, 3), 240, np.uint8)
    image[8:16, 8:16] = 40
    return image


def test_background_is_the_colour_of_the_empty_field():
    rng = np.random.default_rng(0)
    image = rng.integers(20, 150, (40, 40, 3)).astype(np.uint8)  # cells all over
    image[:25] = (231, 220, 226)
    assert compute_background(image).tolist() == [231, 220, 226]


def test_the_map_lies_where_the_score_comes_from(field):
    found = compute_occlusion(score_patch, field, 0, window_px=4, stride_px=2)
    assert found.shape == (32, 32) and found.dtype == np.float32
    inside = np.zeros((32, 32), bool)
    inside[8:16, 8:16] = True
    # A window of 4 x 4 inside hides a quarter of 8 x 8 pixels, each 200 levels darker.
    assert found[11, 11] == pytest.approx(200 * 16 / 64, abs=1e-3)
    assert found[inside].min() > 0
    assert np.all(found[:5] == 0) and np.all(found[20:] == 0)
    assert np.allclose(compute_occlusion(score_patch, field, 1, window_px=4, stride_px=2), -found)


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (6, 2), (5, 3)])
def test_agrees_with_captum(window, stride):
    """captum's occlusion, with the same fill; sides at which windows end at the border."""
    rng = np.random.default_rng(3)
    side = window + 5 * stride
    weights = torch.from_numpy(rng.normal(size=(2, 3, side, side))).float()
    image = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)

    def score_torch(images_NCHW):
        squares = (images_NCHW[:, None] * weights[None]).sum((2, 3, 4)) / 1000
        return squares + squares.pow(2) / 7  # not linear, so that overlaps matter

    def score(images_NSSC):
        return score_torch(torch.from_numpy(images_NSSC).permute(0, 3, 1, 2).float()).numpy()

    fill = torch.from_numpy(compute_background(image)).float()[None, :, None, None]
    wanted = Occlusion(score_torch).attribute(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(),
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=fill.expand(1, 3, side, side),
        target=1,
    )
    found = compute_occlusion(score, image, 1, window_px=window, stride_px=stride)
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, wanted[0, 0].numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sizes", [(0, 1), (33, 1), (4, 5), (4, 0)])
def test_windows_must_fit(field, sizes):
    with pytest.raises(ConfigError, match="window"):
        compute_occlusion(score_patch, field, 0, window_px=sizes[0], stride_px=sizes[1])


def test_small_batches_give_the_same_scores(field):
    images = [np.roll(field, shift, axis=0) for shift in range(7)]
    found = score_in_batches(score_patch, iter(images), batch_size=3)
    np.testing.assert_array_equal(found, score_patch(np.stack(images)))
