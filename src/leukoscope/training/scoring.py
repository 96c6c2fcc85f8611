"""From a network and a pack to logits and embeddings; the last thing a network is asked.

Axes: N images, K classes, D embedding width. What this file does not do: no metrics.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from leukoscope.data.batches import Pixels, load_batch


@torch.inference_mode()
def score_rows(
    network: nn.Module,
    pack_NHWC: Pixels,
    rows: NDArray[np.int64],
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits `(N, K)` and embeddings `(N, D)` for some rows of a pack, in fp32.

    The network is put into evaluation mode and left there.
    """
    network.eval()
    device = next(network.parameters()).device
    logits: list[NDArray[np.float32]] = []
    embeddings: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), batch_size):
        batch = load_batch(pack_NHWC, rows[start : start + batch_size], device)
        out, intermediates = network(batch)
        logits.append(out.float().cpu().numpy())
        embeddings.append(intermediates["embedding"].float().cpu().numpy())
        if on_progress is not None:
            on_progress(min(start + batch_size, len(rows)), len(rows))
    if not logits:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    return np.concatenate(logits), np.concatenate(embeddings)
