"""From a network and images to logits and embeddings, in float32.

Axes: N images, S side, K classes, D embedding width. What this file does not do: no metrics, and no
score table (`leukoscope.scoring`).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope.data.images import Pixels
from leukoscope.data.loader import PixelFeed, prepare_input, split_rows
from leukoscope.models.ensemble import Ensemble
from leukoscope.scores import Outputs, join_outputs
from leukoscope.training.device import keeping_freed_memory


@torch.inference_mode()
def score_images(
    network: nn.Module,
    images_NSSC: Pixels,
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """Return what a network says of images, uint8 `(N, S, S, 3)`; a pack may be larger than memory.

    The network is put into evaluation mode and left there. `batch_size` counts views: of an image
    that is seen from 8 sides an eighth as many go together. Without images all arrays are empty.
    """
    network.eval()
    if isinstance(network, Ensemble):
        batch_size = max(1, batch_size // network.spec.views)
    device = next(network.parameters()).device
    found: list[Outputs] = []
    # Each image is looked at once: copying all of them to the device first would gain nothing.
    feed = PixelFeed(images_NSSC, device, way="direct" if device.type == "cpu" else "ahead")
    done, total = 0, len(images_NSSC)
    with keeping_freed_memory(device):
        for batch, pixels in feed.stream(split_rows(np.arange(total), batch_size)):
            logits_BK, out = network(prepare_input(pixels))
            disagreement_B = out.get("disagreement")
            found.append(
                Outputs(
                    _fetch(logits_BK),
                    _fetch(out["embedding"]),
                    None if disagreement_B is None else _fetch(disagreement_B),
                )
            )
            done += len(batch)
            if on_progress is not None:
                on_progress(done, total)
    return join_outputs(found)


def _fetch(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.float().cpu().numpy())
