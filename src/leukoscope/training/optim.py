"""Parameter groups, optimiser, learning-rate schedules, losses, moving average.

What this file does not do: it takes no step; that is the loop's business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from leukoscope.config import DistillConfig, OptimConfig


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019), fused where the device offers it.

    Weight decay spares norms, biases and relative-bias tables, unless `decay_all`.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        spare = parameter.ndim < 2 or name.endswith("bias_table")
        (spared if spare and not config.decay_all else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=next(network.parameters()).device.type in ("cpu", "cuda", "mps"),
    )


def compute_lr(config: OptimConfig, step: int, total_steps: int) -> float:
    """Return the learning rate of a step, for the schedules `constant` and `cosine`.

    Cosine: linear warm-up over `warmup_frac` of all steps, then half a cosine to `min_lr` at the
    last step (Loshchilov and Hutter 2017).
    """
    if config.schedule != "cosine":
        return config.lr
    warmup = round(config.warmup_frac * total_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup - 1)
    low = min(config.min_lr, config.lr)
    return low + (config.lr - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(frozen=True)
class PlateauState:
    """The rate, the best validation loss, and how many epochs were not better since."""

    lr: float
    best: float = math.inf
    waited: int = 0


class Plateau:
    """Lower the rate when the validation loss stops falling, with Keras' ReduceLROnPlateau's
    counting: after `plateau_patience` epochs in a row that are not better by more than 1e-4."""

    def __init__(self, config: OptimConfig) -> None:
        self.config = config
        self.state = PlateauState(config.lr)

    def update(self, val_loss: float) -> float:
        """Take an epoch's validation loss, return the rate for the next epoch."""
        lr, waited = self.state.lr, self.state.waited + 1
        if val_loss < self.state.best - 1e-4:
            self.state = PlateauState(lr, val_loss)
        elif waited < self.config.plateau_patience:
            self.state = replace(self.state, waited=waited)
        else:
            lower = max(lr * self.config.plateau_factor, self.config.min_lr)
            self.state = PlateauState(lower, self.state.best)
        return self.state.lr


def compute_class_weights(counts_K: Sequence[int], config: OptimConfig) -> Tensor | None:
    """Return one weight per class with mean 1 over images, or None for equal weights."""
    if config.class_weights == "none":
        return None
    counts = torch.tensor(counts_K, dtype=torch.float32).clamp(min=1)
    return counts.sum() / (len(counts_K) * counts)


def compute_loss(
    logits_BK: Tensor, targets_BK: Tensor, config: OptimConfig, class_weights_K: Tensor | None
) -> Tensor:
    """Return the cross-entropy against class probabilities, a scalar, in float32.

    With class weights it is the plain mean of weighted losses, not divided by the batch's weight:
    so that accumulated pieces add up to the whole batch.
    """
    smooth = config.label_smoothing
    targets = targets_BK * (1 - smooth) + smooth / targets_BK.shape[1]
    if class_weights_K is not None:
        targets = targets * class_weights_K
    return -(targets * F.log_softmax(logits_BK.float(), dim=1)).sum(1).mean()


def compute_distillation_loss(
    logits_BK: Tensor, teacher_BK: Tensor, label_loss: Tensor, config: DistillConfig
) -> Tensor:
    """Return the loss of a student, a scalar, in float32: `label_weight` of the loss against the
    labels and the rest of T² times the Kullback-Leibler divergence of the student's from the
    teacher's softmax, both at temperature T (Hinton, Vinyals and Dean 2015).

    T² keeps the gradient's size the same for every temperature. The teacher's logits may be
    log-probabilities.
    """
    heat = config.temperature
    soft_loss = heat**2 * F.kl_div(
        F.log_softmax(logits_BK.float() / heat, dim=1),
        F.log_softmax(teacher_BK.float() / heat, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return config.label_weight * label_loss + (1 - config.label_weight) * soft_loss


def build_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of the weights; batch-norm statistics are copied.

    Decay warms up as `min(decay, (1 + t) / (10 + t))`, so that the random start is forgotten.
    """

    def blend(average: Sequence[Tensor], current: Sequence[Tensor], seen: Tensor | int) -> None:
        t = float(seen)
        share = 1 - min(decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(list(average), list(current), share)

    average = AveragedModel(network, multi_avg_fn=blend, use_buffers=False)
    return average.requires_grad_(False)
