"""Relative attention against a loop-and-einsum reference in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from leukoscope.errors import ConfigError
from leukoscope.models.attention import RelativeAttention, build_offset_index


def reference_attention(layer, tokens_BNC, map_size, table_GYX):
    """softmax_j(q_i.k_j/sqrt(D) + w[i-j]) v_j, one query, one key, one head at a time."""
    height, width = map_size
    batch, n, _ = tokens_BNC.shape
    qkv = torch.einsum("bnc,oc->bno", tokens_BNC, layer.qkv.weight) + layer.qkv.bias
    q, k, v = qkv.chunk(3, dim=-1)
    head_width = q.shape[-1] // layer.heads
    out = torch.zeros_like(q)
    for b in range(batch):
        for g in range(layer.heads):
            part = slice(g * head_width, (g + 1) * head_width)
            for i in range(n):
                logits = []
                for j in range(n):
                    dy = i // width - j // width + height - 1
                    dx = i % width - j % width + width - 1
                    dot = torch.einsum("d,d->", q[b, i, part], k[b, j, part])
                    logits.append(dot / math.sqrt(head_width) + table_GYX[g, dy, dx])
                share = torch.stack(logits).softmax(0)
                out[b, i, part] = torch.einsum("j,jd->d", share, v[b, :, part])
    return torch.einsum("bnc,oc->bno", out, layer.project.weight) + layer.project.bias


def make_layer(map_size):
    torch.manual_seed(1)
    layer = RelativeAttention(8, 12, 3, map_size).double()
    torch.nn.init.normal_(layer.bias_table)
    return layer


@pytest.mark.parametrize("map_size", [(3, 3), (2, 4)])
def test_equals_the_loop_reference(map_size):
    layer = make_layer(map_size)
    tokens = torch.randn(2, map_size[0] * map_size[1], 8, dtype=torch.float64)
    expected = reference_attention(layer, tokens, map_size, layer.bias_table)
    torch.testing.assert_close(layer(tokens, map_size), expected, rtol=1e-12, atol=1e-12)


def test_gradients_equal_the_loop_reference():
    layer, map_size = make_layer((2, 3)), (2, 3)
    tokens = torch.randn(1, 6, 8, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    ours = torch.autograd.grad(layer(tokens, map_size).square().sum(), layer.parameters())
    reference = reference_attention(layer, tokens, map_size, layer.bias_table).square().sum()
    theirs = torch.autograd.grad(reference, layer.parameters())
    for name, a, b in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=name)


def test_other_map_size_uses_the_resized_table():
    layer, map_size = make_layer((2, 2)), (4, 3)
    tokens = torch.randn(1, 12, 8, dtype=torch.float64)
    table = F.interpolate(layer.bias_table[None], (7, 5), mode="bilinear", align_corners=True)[0]
    expected = reference_attention(layer, tokens, map_size, table)
    torch.testing.assert_close(layer(tokens, map_size), expected, rtol=1e-12, atol=1e-12)
    # Offset zero stays where it was.
    torch.testing.assert_close(table[:, 3, 2], layer.bias_table[:, 1, 1])


def test_the_bias_matters():
    """Negative control: the reference system's attention has no relative term; ours must."""
    layer = make_layer((3, 3))
    tokens = torch.randn(1, 9, 8, dtype=torch.float64)
    with_bias = layer(tokens, (3, 3))
    torch.nn.init.zeros_(layer.bias_table)
    assert (with_bias - layer(tokens, (3, 3))).abs().max() > 1e-3
    # Without the bias, attention does not know positions: permuting tokens permutes the output.
    order = torch.randperm(9)
    torch.testing.assert_close(layer(tokens, (3, 3))[:, order], layer(tokens[:, order], (3, 3)))


def test_offsets_are_those_of_the_table():
    index = build_offset_index((3, 2)).view(6, 6)
    assert index.diagonal().unique().tolist() == [2 * 3 + 1]  # row H-1, column W-1 of 5 x 3
    assert index[0, 5] == 0 and index[5, 0] == 5 * 3 - 1


@pytest.mark.parametrize("heads", [0, 5])
def test_heads_must_divide_the_width(heads):
    with pytest.raises(ConfigError, match="divisible"):
        RelativeAttention(8, 12, heads, (2, 2))
