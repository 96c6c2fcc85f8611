"""Two-dimensional relative self-attention (CoAtNet, Dai et al. 2021, equation 3).

Axes: B batch, H map height, W map width, N = H*W tokens in row-major order, C channels, G heads,
D = C/G head width. What this file does not do: normalisation, residuals and down-sampling live in
`blocks`; nothing here knows of images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leukoscope.errors import ConfigError

MapSize = tuple[int, int]


def build_offset_index(map_size: MapSize) -> Tensor:
    """Return for every pair (i, j) of tokens the place of its offset in a flattened bias table.

    The table has `2H-1` rows and `2W-1` columns; the offset between token i at `(y_i, x_i)` and
    token j lies at row `y_i - y_j + H - 1`, column `x_i - x_j + W - 1`. Result: int64 `(N*N,)`,
    i outer, j inner.

    >>> build_offset_index((1, 2)).tolist()
    [1, 0, 2, 1]
    """
    height, width = map_size
    y_N = torch.arange(height).repeat_interleave(width)
    x_N = torch.arange(width).repeat(height)
    rows_NN = y_N[:, None] - y_N[None, :] + height - 1
    columns_NN = x_N[:, None] - x_N[None, :] + width - 1
    return (rows_NN * (2 * width - 1) + columns_NN).flatten()


class RelativeAttention(nn.Module):
    """Self-attention whose logits add a learned scalar per head and offset.

    `softmax_j(q_i . k_j / sqrt(D) + w[i - j]) v_j`, then an output projection. Tokens enter at
    `width`; queries, keys, values and the result have `out_width`. The table `w` has shape
    `(G, 2H-1, 2W-1)` for the map size at construction; for another map size it is resized
    bilinearly in the forward pass (offset zero stays in the middle), so weights move between
    input sizes.

    Deviation from equation 3: the inner product is scaled by `1/sqrt(D)`, as in the transformer
    and in every published CoAtNet implementation.
    """

    offset_index: Tensor

    def __init__(self, width: int, out_width: int, heads: int, map_size: MapSize) -> None:
        super().__init__()
        if heads < 1 or out_width % heads:
            raise ConfigError(
                "the width of an attention layer must be divisible by its number of heads",
                f"width {out_width}, {heads} heads",
                "choose heads that divide the width",
            )
        self.heads = heads
        self.map_size = map_size
        self.qkv = nn.Linear(width, 3 * out_width)
        self.project = nn.Linear(out_width, out_width)
        height, map_width = map_size
        self.bias_table = nn.Parameter(torch.zeros(heads, 2 * height - 1, 2 * map_width - 1))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("offset_index", build_offset_index(map_size), persistent=False)

    def relative_bias(self, map_size: MapSize) -> Tensor:
        """Return the learned bias for a map size: `(G, N, N)`, query first."""
        table: Tensor = self.bias_table
        index = self.offset_index
        height, width = map_size
        if map_size != self.map_size:
            table = F.interpolate(
                table[None], (2 * height - 1, 2 * width - 1), mode="bilinear", align_corners=True
            )[0]
            index = build_offset_index(map_size).to(table.device)
        n = height * width
        # index_select, because its backward (index_add) is several times faster on a CPU than
        # that of advanced indexing (index_put with accumulation).
        return table.flatten(1).index_select(1, index).view(self.heads, n, n)

    def forward(self, tokens_BNC: Tensor, map_size: MapSize) -> Tensor:
        """Attend over all tokens of a map: `(B, N, C)` in, `(B, N, out_width)` out."""
        batch, n = tokens_BNC.shape[:2]
        qkv: Tensor = self.qkv(tokens_BNC).view(batch, n, 3, self.heads, -1)
        q_BGND, k_BGND, v_BGND = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias_GNN = self.relative_bias(map_size).to(q_BGND.dtype)
        out_BGND = F.scaled_dot_product_attention(q_BGND, k_BGND, v_BGND, attn_mask=bias_GNN[None])
        out: Tensor = self.project(out_BGND.transpose(1, 2).flatten(2))
        return out
