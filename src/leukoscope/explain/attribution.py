"""Which places of an image carry a class: Grad-CAM and integrated gradients, through captum.

Axes: B batch, C channels, S side of the image, K classes. Images are network input, -1 to 1.
Maps are signed, at the size of the image: above 0 speaks for the class. Networks are given back
as they were found: mode, gradients and hooks. What this file does not do: it evaluates no map
(`faithfulness`); occlusion lives in `occlusion`, attention in `maps`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerGradCam, LayerGradientXActivation
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leukoscope.data.loader import prepare_input
from leukoscope.errors import ConfigError
from leukoscope.explain.occlusion import Score
from leukoscope.explain.record import MAX_MISSED
from leukoscope.models.coatnet import CoAtNet

CamKind = Literal["gradcam", "hirescam"]

_FIRST_STEPS = 32
_LEAST_LOGIT = 0.5


class _Logits(nn.Module):
    """captum wants one tensor; the network also returns its intermediates."""

    def __init__(self, network: CoAtNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(images_BCHW)[0]
        return logits_BK


@contextmanager
def borrow_network(network: CoAtNet) -> Iterator[CoAtNet]:
    """Hold a network in evaluation mode with its parameters out of every gradient; afterwards all
    modes and parameters are as before, also after an error."""
    modes = [(module, module.training) for module in network.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield network
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, needed in wanted:
            parameter.requires_grad_(needed)


def list_stages(network: CoAtNet) -> tuple[str, ...]:
    """Return the places a map can be taken at, from the image up: "stem", "stage_1" ..."""
    return ("stem", *(f"stage_{i}" for i in range(1, len(network.stages) + 1)))


def choose_stage(network: CoAtNet) -> str:
    """Return the stage that maps are taken at by default: the last one of convolutions.

    After it every token has seen the whole image, so that a place in the map need not be the place
    in the image. Measured against the other stages: `benchmarks/faithfulness.py`.
    """
    kinds = [stage.kind for stage in network.spec.stages]
    convolutions = [i for i, kind in enumerate(kinds, start=1) if kind == "mbconv"]
    return f"stage_{convolutions[-1]}" if convolutions else "stem"


def check_stage(network: CoAtNet, stage: str) -> None:
    """Raise `ConfigError` unless maps can be taken at a stage of this name."""
    if stage not in list_stages(network):
        raise ConfigError(
            f"the stage must be one of {', '.join(list_stages(network))}",
            stage,
            "choose one of these, or leave it out",
        )


def _find_layer(network: CoAtNet, stage: str) -> nn.Module:
    check_stage(network, stage)
    if stage == "stem":
        return network.stem
    # The network calls the blocks of a stage one by one, so the last one gives the stage's map.
    return cast(nn.Sequential, network.stages[int(stage.removeprefix("stage_")) - 1])[-1]


def compute_cam(
    network: CoAtNet,
    images_BCHW: Tensor,
    targets_B: Tensor,
    *,
    kind: CamKind = "gradcam",
    stage: str | None = None,
) -> NDArray[np.float32]:
    """Return the class activation map of one class per image: float32 `(B, S, S)`, signed.

    `targets_B` are class indices, `stage` is one of `list_stages` (None: `choose_stage`). The map
    of the stage is enlarged bilinearly. "gradcam": each channel is weighted by the mean of its
    gradient over the map (Selvaraju et al. 2017, equations 1 and 2, without the rectifier: who
    shows a map clips it). "hirescam": gradient times activation at each place, summed over
    channels (Draelos and Carin 2020), which does not spread a channel's weight over places
    where it does not count.

    Raises `ConfigError` for an unknown stage.
    """
    layer = _find_layer(network, stage or choose_stage(network))
    with borrow_network(network):
        method = (LayerGradCam if kind == "gradcam" else LayerGradientXActivation)(
            _Logits(network), layer
        )
        inputs = images_BCHW.detach().clone().requires_grad_(True)
        maps = method.attribute(inputs, target=targets_B)
        small_B1HW = maps.detach().sum(1, keepdim=True)
        side = tuple(images_BCHW.shape[2:])
        large_BSS = F.interpolate(small_B1HW.float(), side, mode="bilinear")[:, 0]
    return np.asarray(large_BSS.cpu().numpy(), dtype=np.float32)


def compute_integrated_gradients(
    network: CoAtNet,
    images_BCHW: Tensor,
    targets_B: Tensor,
    baselines_BCHW: Tensor,
    *,
    most_steps: int = 256,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return attributions summed over colours, float32 `(B, S, S)`, and what they miss, `(B,)`.

    The gradient of the logit is integrated along the straight line from a baseline, here an
    empty field in the image's own background colour, to the image (Sundararajan et al. 2017), by
    Gauss-Legendre. Attributions sum to the difference of the two logits, up to what the second
    array says: a share of that difference, or of half a logit where it is less. Points are doubled
    from 32 until it is `MAX_MISSED` or better, or up to `most_steps`: 32 alone left an eighth of
    painted cells with a fifth of the difference unexplained.
    """
    found, missed = [], []
    with borrow_network(network):
        method = IntegratedGradients(_Logits(network))
        for image_CHW, baseline_CHW, target in zip(
            images_BCHW, baselines_BCHW, targets_B.tolist(), strict=True
        ):
            inputs = image_CHW[None].detach().clone().requires_grad_(True)
            steps = min(_FIRST_STEPS, most_steps)
            while True:
                # One image at a time: its steps are the batch, a few of them in memory.
                maps_1CSS, delta_1 = method.attribute(
                    inputs,
                    baseline_CHW[None],
                    target=target,
                    n_steps=steps,
                    internal_batch_size=_FIRST_STEPS,
                    return_convergence_delta=True,
                )
                delta = float(delta_1)
                difference = float(maps_1CSS.detach().sum()) - delta
                share = abs(delta) / max(abs(difference), _LEAST_LOGIT)
                if share <= MAX_MISSED or steps >= most_steps:
                    break
                steps = min(2 * steps, most_steps)
            found.append(maps_1CSS.detach().sum(1)[0].cpu().numpy())
            missed.append(share)
    return np.stack(found).astype(np.float32), np.array(missed, dtype=np.float32)


def build_randomised(network: CoAtNet, *, seed: int = 0) -> Iterator[tuple[str, CoAtNet]]:
    """Yield the network with more and more of its weights drawn anew, from the head down, each with
    the name of what was drawn last: "head", "stage_N" ... "stem" (Adebayo et al. 2018, cascading
    randomisation).

    Weights are drawn as at the start of training; statistics of batch norms go with their stage.
    One network is changed from step to step: use it before asking for the next. The given network,
    and the state of the random generator, stay as they are.
    """
    changed = copy.deepcopy(network).eval()
    device = next(network.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = CoAtNet(network.spec).state_dict()
    count = len(network.stages)
    levels: list[tuple[str, tuple[str, ...]]] = [("head", ("head.", "norm."))]
    levels += [(f"stage_{i}", (f"stages.{i - 1}.",)) for i in range(count, 0, -1)]
    levels += [("stem", ("stem.",))]
    for name, beginnings in levels:
        drawn = {k: v.to(device) for k, v in fresh.items() if k.startswith(beginnings)}
        changed.load_state_dict(drawn, strict=False)
        yield name, changed


def build_score(network: CoAtNet) -> Score:
    """Return a function from uint8 images `(N, S, S, 3)` to logits `(N, K)`."""
    device = next(network.parameters()).device

    def score(images_NSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        with borrow_network(network), torch.inference_mode():
            pixels_NSSC = torch.from_numpy(np.ascontiguousarray(images_NSSC)).to(device)
            logits_NK = network(prepare_input(pixels_NSSC))[0]
        return np.asarray(logits_NK.float().cpu().numpy(), dtype=np.float32)

    return score
