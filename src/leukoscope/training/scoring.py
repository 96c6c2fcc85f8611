"""From a network and a pack to logits and embeddings; the last thing a network is asked.

Axes: N images, K classes, D embedding width. What this file does not do: no metrics.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from leukoscope.data.batches import Pixels, prepare_input, split_rows
from leukoscope.data.feed import PixelFeed
from leukoscope.models.ensemble import Ensemble
from leukoscope.training.device import keeping_freed_memory


class NetworkScores(NamedTuple):
    """What a network says of N images, in fp32; `disagreement_N` is `(0,)` for a single network."""

    logits_NK: NDArray[np.float32]
    embeddings_ND: NDArray[np.float32]
    disagreement_N: NDArray[np.float32]


@torch.inference_mode()
def score_rows(
    network: nn.Module,
    pack_NHWC: Pixels,
    rows: NDArray[np.int64],
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> NetworkScores:
    """Return logits `(N, K)`, embeddings `(N, D)` and, of an ensemble, disagreement `(N,)` for some
    rows of a pack, in fp32.

    The network is put into evaluation mode and left there. `batch_size` counts views: of an image
    that is seen from 8 sides an eighth as many go together.
    """
    network.eval()
    if isinstance(network, Ensemble):
        batch_size = max(1, batch_size // network.spec.views)
    device = next(network.parameters()).device
    logits: list[NDArray[np.float32]] = []
    embeddings: list[NDArray[np.float32]] = []
    disagreement: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    # Each row is looked at once: copying all of them to the device first would gain nothing.
    feed = PixelFeed(pack_NHWC, device, way="direct" if device.type == "cpu" else "ahead")
    done = 0
    with keeping_freed_memory(device):
        for batch, pixels in feed.stream(split_rows(rows, batch_size)):
            out, intermediates = network(prepare_input(pixels))
            logits.append(out.float().cpu().numpy())
            embeddings.append(intermediates["embedding"].float().cpu().numpy())
            if "disagreement" in intermediates:
                disagreement.append(intermediates["disagreement"].float().cpu().numpy())
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(rows))
    if not logits:
        nothing = np.zeros((0, 0), np.float32)
        return NetworkScores(nothing, nothing, disagreement[0])
    return NetworkScores(
        np.concatenate(logits), np.concatenate(embeddings), np.concatenate(disagreement)
    )
