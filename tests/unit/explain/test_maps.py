import numpy as np
import pytest
import torch

from leukoscope.errors import ConfigError
from leukoscope.explain.maps import (
    AttentionLayer,
    compute_attention,
    compute_rollout,
    compute_weights,
    enlarge_maps,
    list_biases,
)
from leukoscope.models.attention import RelativeAttention


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (6, 6)])
def test_weights_times_values_are_the_layer(size):
    """The layer itself uses a fused kernel; another map size than its own resizes the bias."""
    torch.manual_seed(0)
    layer = RelativeAttention(12, 16, 4, (4, 4))
    with torch.no_grad():
        layer.bias_table.normal_()
    n = size[0] * size[1]
    tokens = torch.randn(2, n, 12)
    weights = compute_weights(layer, tokens, size)
    assert weights.shape == (2, 4, n, n)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, n))
    values = layer.qkv(tokens).view(2, n, 3, 4, 4)[:, :, 2].transpose(1, 2)
    again = layer.project((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(again, layer(tokens, size), rtol=1e-4, atol=1e-5)
    layer.bias_table.data.zero_()
    assert (compute_weights(layer, tokens, size) - weights).abs().max() > 0.01


def test_every_block_is_seen_and_nothing_is_left_behind(tiny, images):
    tiny.train()
    found = compute_attention(tiny, images)
    assert [layer.name for layer in found] == [
        "stage_3 block 1", "stage_3 block 2", "stage_4 block 1"
    ]  # fmt: skip
    coarse = 4 if tiny.spec.family == "paper" else 8
    assert [layer.map_size for layer in found] == [
        (coarse, coarse), (coarse, coarse), (coarse // 2, coarse // 2)
    ]  # fmt: skip
    for layer in found:
        n = layer.map_size[0] ** 2
        assert layer.weights_BGNN.shape[2:] == (n, n)
        np.testing.assert_allclose(layer.weights_BGNN.sum(-1), 1, rtol=1e-5)
    assert tiny.training
    assert not any(m._forward_pre_hooks for m in tiny.modules())
    assert all(p.requires_grad and p.grad is None for p in tiny.parameters())
    tiny.eval()
    for one, other in zip(found, compute_attention(tiny, images), strict=True):
        np.testing.assert_array_equal(one.weights_BGNN, other.weights_BGNN)


def test_hooks_go_even_if_the_network_fails(tiny):
    with pytest.raises(RuntimeError):
        compute_attention(tiny, torch.zeros(1, 5, 64, 64))
    assert not any(m._forward_pre_hooks for m in tiny.modules())


def draw_layer(rng, size, stage="stage_3", heads=2, batch=2):
    n = size[0] * size[1]
    return AttentionLayer(
        stage, 1, size, rng.dirichlet(np.ones(n), (batch, heads, n)).astype(np.float32)
    )


def test_rollout_is_the_product_of_the_layers():
    """Against whole matrices, with the halving between stages as a matrix of its own."""
    rng = np.random.default_rng(0)
    layers = [draw_layer(rng, (4, 6)), draw_layer(rng, (4, 6)), draw_layer(rng, (2, 3), "stage_4")]
    pool = np.zeros((6, 24))
    for y in range(4):
        for x in range(6):
            pool[(y // 2) * 3 + x // 2, y * 6 + x] = 0.25
    found = compute_rollout(layers)
    for b in range(2):
        mixed = [0.5 * layer.weights_BGNN[b].mean(0) + 0.5 * np.eye(layer.weights_BGNN.shape[-1])
                 for layer in layers]  # fmt: skip
        whole = mixed[2] @ pool @ mixed[1] @ mixed[0]
        np.testing.assert_allclose(found[b].ravel(), whole.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-5)


def test_rollout_of_tokens_that_look_at_themselves_is_flat():
    eye = np.eye(16, dtype=np.float32)[None, None]
    np.testing.assert_allclose(compute_rollout([AttentionLayer("stage_3", 1, (4, 4), eye)]), 1 / 16)


def test_rollout_finds_the_place_that_all_look_at():
    weights = np.zeros((1, 3, 16, 16), np.float32)
    weights[..., 6] = 1
    found = compute_rollout([AttentionLayer("stage_3", 1, (4, 4), weights)])
    assert found.argmax() == 6 and found.max() == pytest.approx(0.5 + 0.5 / 16)


def test_rollout_needs_layers_that_fit():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="at least one"):
        compute_rollout([])
    with pytest.raises(ConfigError, match="whole multiple"):
        compute_rollout([draw_layer(rng, (5, 4)), draw_layer(rng, (2, 2))])


def test_a_bias_is_shown_where_the_other_token_lies(tiny):
    """The picture right of the cross is what a token adds for its right neighbour."""
    layer = tiny.stages[2][-1].attention
    with torch.no_grad():
        layer.bias_table.normal_()
    height, width = layer.map_size
    picture = list_biases(tiny)["stage_3 block 2"]
    assert picture.shape == (2, 2 * height - 1, 2 * width - 1)
    bias = layer.relative_bias(layer.map_size).detach().numpy()
    query = 1 * width + 1
    for dy, dx in ((0, 0), (0, 1), (1, 0), (-1, -1), (2, 1)):
        key = (1 + dy) * width + 1 + dx
        np.testing.assert_array_equal(
            picture[:, height - 1 + dy, width - 1 + dx], bias[:, query, key]
        )
    assert list(list_biases(tiny)) == ["stage_3 block 1", "stage_3 block 2", "stage_4 block 1"]


def test_maps_are_enlarged_in_place():
    small = np.zeros((1, 4, 4), np.float32)
    small[0, 1, 2] = 1
    large = enlarge_maps(small, 32)
    assert large.shape == (1, 32, 32)
    y, x = np.unravel_index(large.argmax(), (32, 32))
    assert 8 <= y < 16 and 16 <= x < 24
