"""Where the transformers of a network look: their attention weights, made visible.

Attention is not evidence for a class: it says which places a token was mixed from, whatever the
answer (Jain and Wallace 2019). Axes: B batch, G heads, N tokens (row-major) of a map of H x W.
What this file does not do: it draws nothing, and explains no class (`attribution`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukoscope.errors import ConfigError
from leukoscope.explain.attribution import borrow_network
from leukoscope.models.attention import MapSize, RelativeAttention
from leukoscope.models.blocks import TransformerBlock
from leukoscope.models.coatnet import CoAtNet


@dataclass(frozen=True)
class AttentionLayer:
    """The attention of one block over a batch. `weights_BGNN[b, g, i, j]` is how much of token j
    goes into token i; rows sum to 1."""

    stage: str
    block: int
    map_size: MapSize
    weights_BGNN: NDArray[np.float32]

    @property
    def name(self) -> str:
        """As in "stage_3 block 1"."""
        return f"{self.stage} block {self.block}"


def compute_weights(layer: RelativeAttention, tokens_BNC: Tensor, map_size: MapSize) -> Tensor:
    """Return the attention weights of a layer, `(B, G, N, N)`, query first.

    The layer itself never has them: it uses a fused kernel. They are made again from its
    projection and its relative bias, `softmax(q k' / sqrt(D) + w)`, and the tests hold them to the
    layer's own result.
    """
    batch, n = tokens_BNC.shape[:2]
    qkv = layer.qkv(tokens_BNC).view(batch, n, 3, layer.heads, -1)
    q_BGND, k_BGND, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    scores_BGNN = q_BGND @ k_BGND.transpose(-1, -2) * q_BGND.shape[-1] ** -0.5
    weights: Tensor = (scores_BGNN + layer.relative_bias(map_size).to(q_BGND.dtype)).softmax(-1)
    return weights


def _list_attentions(network: CoAtNet) -> list[tuple[str, int, RelativeAttention]]:
    found = []
    for number, stage in enumerate(network.stages, start=1):
        blocks = [module for module in stage.children() if isinstance(module, TransformerBlock)]
        found += [(f"stage_{number}", i, block.attention) for i, block in enumerate(blocks, 1)]
    return found


def compute_attention(network: CoAtNet, images_BCHW: Tensor) -> list[AttentionLayer]:
    """Return the attention of every transformer block for a batch, from the first block to the
    last; [] for a network without transformers. The network is left as it was found."""
    seen: dict[int, tuple[Tensor, MapSize]] = {}

    def watch(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[id(module)] = inputs[0], inputs[1]

    attentions = _list_attentions(network)
    hooks = []
    found = []
    with borrow_network(network), torch.no_grad():
        try:
            hooks = [layer.register_forward_pre_hook(watch) for _, _, layer in attentions]
            network(images_BCHW)
        finally:
            for hook in hooks:
                hook.remove()
        for stage, block, layer in attentions:
            tokens_BNC, map_size = seen[id(layer)]
            weights = compute_weights(layer, tokens_BNC, map_size).float().cpu().numpy()
            found.append(AttentionLayer(stage, block, map_size, weights))
    return found


def compute_rollout(layers: Sequence[AttentionLayer]) -> NDArray[np.float32]:
    """Return how much each place of the first transformer stage reaches the end: `(B, H, W)`, each
    image summing to 1.

    Heads are averaged, half of each token is taken to pass by on the residual road, and the
    layers are multiplied, `0.5 A + 0.5 I` (Abnar and Zuidema 2020). Between two stages the map is
    halved: a token of the coarse map stands for the 2 x 2 tokens it was made from, in equal parts.
    At the end the tokens count equally, as the network averages them.

    Deviation from the paper: its transformers keep one resolution and end in a class token. What
    feed-forward layers and max-pooling do to single tokens is not followed, as there.

    Raises `ConfigError` for no layers.
    """
    if not layers:
        raise ConfigError(
            "a rollout needs at least one transformer block", "none", "use another method"
        )
    size = layers[-1].map_size
    n = size[0] * size[1]
    reach_BN = np.full((len(layers[-1].weights_BGNN), n), 1 / n)
    for layer in reversed(layers):
        if layer.map_size != size:
            reach_BN = _spread(reach_BN, size, layer.map_size)
            size = layer.map_size
        mixed_BNN = layer.weights_BGNN.mean(axis=1, dtype=np.float64)
        reach_BN = 0.5 * reach_BN + 0.5 * np.einsum("bi,bij->bj", reach_BN, mixed_BNN)
    return reach_BN.reshape(-1, *size).astype(np.float32)


def _spread(coarse_BN: NDArray[np.float64], coarse: MapSize, fine: MapSize) -> NDArray[np.float64]:
    """Give what a coarse token holds to the fine tokens it covers, in equal parts."""
    for axis in (0, 1):
        if fine[axis] % coarse[axis]:
            raise ConfigError(
                "a map must be a whole multiple of the next stage's",
                f"{fine[0]} x {fine[1]} above {coarse[0]} x {coarse[1]}",
                "use images of a size that the network can halve",
            )
    rows, columns = fine[0] // coarse[0], fine[1] // coarse[1]
    grid = coarse_BN.reshape(-1, *coarse) / (rows * columns)
    return grid.repeat(rows, axis=1).repeat(columns, axis=2).reshape(len(coarse_BN), -1)


def list_biases(network: CoAtNet) -> dict[str, NDArray[np.float32]]:
    """Return the learned relative bias of each block, one picture per head: `(G, 2H-1, 2W-1)`.

    The middle is offset zero. A place above and left of it is what a token adds to its attention
    for tokens that lie below and right of it, since the table is indexed by query minus key;
    it is turned here, so that a place in the picture is where the other token lies.
    """
    return {
        f"{stage} block {block}": np.asarray(
            layer.bias_table.detach().float().cpu().numpy()[:, ::-1, ::-1], dtype=np.float32
        ).copy()
        for stage, block, layer in _list_attentions(network)
    }


def enlarge_maps(maps_BHW: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return maps at the size of the image, bilinearly: `(B, S, S)`."""
    maps = torch.from_numpy(maps_BHW)[:, None]
    large = torch.nn.functional.interpolate(maps, (side, side), mode="bilinear")[:, 0]
    return np.asarray(large.numpy(), dtype=np.float32)
