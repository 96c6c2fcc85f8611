"""Batch-norm statistics of images as they are, where training saw them changed.

What this file does not do: it trains nothing; weights stay as they are.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

IMAGES, BATCH = 1024, 64
"""How many training images the statistics are taken from, and how many of them at a time: 512
move the log loss of a trained network by 3 % from draw to draw, 1,024 by 1 %
(docs/experiments/026)."""


@torch.no_grad()
def reestimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of each batch norm to those of `batches`, `(B, 3, S, S)`.

    Training leaves a running mean of augmented batches. Turning and shifting interpolate, which
    blurs; images in use are sharper, their statistics are others, and the network errs by class.
    A moving average of weights has no statistics of its own at all. Dropout and stochastic depth
    are off meanwhile, as they are in use (that is why `torch.optim.swa_utils.update_bn` will not
    do); afterwards the network is in evaluation mode. Batches count alike, so they should be of one
    size. Without a batch norm or without batches nothing changes.

    Source: Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3 (precise statistics);
    Touvron et al. 2019, "Fixing the train-test resolution discrepancy" (why they must be those of
    images in use). Deviation: the first take augmented images.
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    started = False
    try:
        for images_BCHW in batches if norms else ():
            if not started:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a plain mean over batches
                    norm.train()
                started = True
            network(images_BCHW)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()
