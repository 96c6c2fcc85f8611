"""The blocks of a CoAtNet: stem, MBConv, transformer block, stochastic depth.

Axes: B batch, C channels, H height, W width, N = H*W tokens. Maps travel as `(B, C, H, W)`; where
their memory is channels-last, the change to tokens and back is a view and costs nothing. What
this file does not do: sizes and the order of blocks are the business of `coatnet` and `presets`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from leukoscope.models.attention import MapSize, RelativeAttention
from leukoscope.models.spec import Activation, StridePlace

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU}


def tokens_from_map(maps_BCHW: Tensor) -> Tensor:
    """Return `(B, H*W, C)`, row-major; a view where memory is channels-last."""
    return maps_BCHW.permute(0, 2, 3, 1).flatten(1, 2)


def map_from_tokens(tokens_BNC: Tensor, map_size: MapSize) -> Tensor:
    """Return `(B, C, H, W)` in channels-last memory; the inverse of `tokens_from_map`."""
    height, width = map_size
    return tokens_BNC.view(len(tokens_BNC), height, width, -1).permute(0, 3, 1, 2)


class StochasticDepth(nn.Module):
    """Drop a residual branch for whole images with probability `rate` (Huang et al. 2016).

    Kept branches are scaled by `1/(1-rate)`, so that the expectation stays. Identity in
    evaluation.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Shape in = shape out; the first axis is the batch."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        return branch * (torch.rand(shape, device=branch.device) < keep).to(branch.dtype) / keep


class SqueezeExcite(nn.Module):
    """Channel gates from the global average (Hu et al. 2018); `squeezed` is the inner width."""

    def __init__(self, width: int, squeezed: int, activation: Activation) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.activate = _ACTIVATIONS[activation]()
        self.expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """Shape in = shape out."""
        gates = self.expand(self.activate(self.reduce(maps_BCHW.mean((2, 3), keepdim=True))))
        gated: Tensor = maps_BCHW * gates.sigmoid()
        return gated


class MBConv(nn.Module):
    """Inverted bottleneck with a depthwise 3x3 convolution (Sandler et al. 2018).

    With `pre_norm` (CoAtNet, pre-activation): `shortcut(x) + conv(SE(dw(conv(BN(x)))))`, no norm
    after the last convolution; the shortcut pools by maximum and projects where stride or width
    change. Without it (the hematology preset): `x + BN(conv(dw(conv(x))))`, and no shortcut where
    the shape changes. `stride_place` puts the stride into the first 1x1 convolution (paper) or
    into the depthwise one (a reported variant).
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        expanded: int,
        *,
        stride: int = 1,
        activation: Activation,
        pre_norm: bool,
        se_width: int = 0,
        stride_place: StridePlace = "depthwise",
        stochastic_depth: float = 0.0,
        norm_eps: float,
        norm_momentum: float,
    ) -> None:
        super().__init__()

        def norm(channels: int) -> nn.BatchNorm2d:
            return nn.BatchNorm2d(channels, eps=norm_eps, momentum=norm_momentum)

        first, second = (stride, 1) if stride_place == "expand" else (1, stride)
        self.pre_norm = norm(width) if pre_norm else nn.Identity()
        self.expand = nn.Conv2d(width, expanded, 1, stride=first, bias=False)
        self.expand_norm = norm(expanded)
        self.depthwise = nn.Conv2d(
            expanded, expanded, 3, stride=second, padding=1, groups=expanded, bias=False
        )
        self.depthwise_norm = norm(expanded)
        self.activate = _ACTIVATIONS[activation]()
        self.excite = SqueezeExcite(expanded, se_width, activation) if se_width else nn.Identity()
        self.reduce = nn.Conv2d(expanded, out_width, 1, bias=pre_norm)
        self.reduce_norm = nn.Identity() if pre_norm else norm(out_width)
        self.drop = StochasticDepth(stochastic_depth)
        changes = stride != 1 or width != out_width
        self.has_shortcut = pre_norm or not changes
        self.pool = nn.MaxPool2d(stride) if stride != 1 else nn.Identity()
        self.shortcut = nn.Conv2d(width, out_width, 1) if pre_norm and changes else nn.Identity()

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """`(B, C, H, W)` in, `(B, out_width, H/stride, W/stride)` out."""
        inner: Tensor = self.activate(self.expand_norm(self.expand(self.pre_norm(maps_BCHW))))
        inner = self.excite(self.activate(self.depthwise_norm(self.depthwise(inner))))
        inner = self.drop(self.reduce_norm(self.reduce(inner)))
        if not self.has_shortcut:
            return inner
        out: Tensor = self.shortcut(self.pool(maps_BCHW)) + inner
        return out


def recompute_block(block: nn.Module, maps_BCHW: Tensor) -> Tensor:
    """Run a block, keep only its input, and run it again in the backward pass (Chen et al. 2016).

    Same numbers, less memory, more time. Batch norm would count the batch twice; its statistics
    stand still while the block runs again.
    """
    out = checkpoint(
        block,
        maps_BCHW,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _still_statistics(block)),
    )
    return cast(Tensor, out)


@contextlib.contextmanager
def _still_statistics(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class TransformerBlock(nn.Module):
    """Relative attention and a feed-forward layer (GELU), both pre-norm and residual.

    With `stride` 2: `proj(maxpool(x)) + attn(maxpool(norm(x)))` (CoAtNet, appendix A.1).
    `map_size` is the size after the stride.
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        heads: int,
        map_size: MapSize,
        *,
        stride: int = 1,
        expansion: int = 4,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.attention = RelativeAttention(width, out_width, heads, map_size)
        changes = stride != 1 or width != out_width
        self.shortcut = nn.Linear(width, out_width) if changes else nn.Identity()
        self.mlp_norm = nn.LayerNorm(out_width, eps=norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(out_width, expansion * out_width),
            nn.GELU(),
            nn.Linear(expansion * out_width, out_width),
        )
        self.dropout = nn.Dropout(dropout)
        self.drop = StochasticDepth(stochastic_depth)

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """`(B, C, H, W)` in, `(B, out_width, H/stride, W/stride)` out, channels-last memory."""
        tokens = tokens_from_map(maps_BCHW)
        normed = self.attention_norm(tokens)
        map_size: MapSize = (maps_BCHW.shape[2], maps_BCHW.shape[3])
        if self.stride != 1:
            normed = map_from_tokens(normed, map_size)
            normed = tokens_from_map(F.max_pool2d(normed, self.stride))
            maps_BCHW = F.max_pool2d(maps_BCHW, self.stride)
            tokens = tokens_from_map(maps_BCHW)
            map_size = (maps_BCHW.shape[2], maps_BCHW.shape[3])
        attended = self.dropout(self.attention(normed, map_size))
        tokens = self.shortcut(tokens) + self.drop(attended)
        tokens = tokens + self.drop(self.dropout(self.mlp(self.mlp_norm(tokens))))
        return map_from_tokens(tokens, map_size)
