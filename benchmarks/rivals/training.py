"""Training steps of ours against the same network elsewhere, and against other CoAtNets.

A step is forward, cross-entropy, backward and AdamW on one batch that lies in memory. What this
file does not do: it feeds nothing (`feeding`) and trains to no end.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.rivals.peers import build_keras, build_plain, load_torchvision
from benchmarks.rivals.setting import Setting, Work
from benchmarks.rivals.targets import KERAS, PLAIN_LAST, TIMM
from torch import nn
from torch.nn import functional as F

from leukoscope.errors import MissingExtraError
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import build_spec
from leukoscope.training.device import keeping_freed_memory, pick_device

CLASSES = 4
OURS = "ours"


def prepare_torch(
    network: nn.Module, setting: Setting, *, channels_last: bool, fused: bool
) -> Work:
    """Steps of any network that returns logits, or a tuple that begins with them."""
    device = pick_device()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network.to(device)
    network.to(memory_format=layout).train()  # type: ignore[call-overload]
    images = torch.rand(setting.batch, 3, setting.size_px, setting.size_px, device=device) * 2 - 1
    images = images.contiguous(memory_format=layout)
    labels = torch.arange(setting.batch, device=device) % CLASSES
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, weight_decay=1e-5, fused=fused)
    mixed = setting.precision == "bf16"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            out = network(images)
            logits = out[0] if isinstance(out, tuple) else out
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def prepare_ours(setting: Setting) -> Work:
    """Ours as `leukoscope train` runs it: channels last, fused AdamW, freed memory kept."""
    torch.manual_seed(0)
    network = CoAtNet(build_spec(setting.preset, CLASSES, setting.size_px))
    step = prepare_torch(network, setting, channels_last=True, fused=True)
    # For good: the process ends with the measurement. A context that nobody holds ends at once.
    kept = keeping_freed_memory(pick_device())
    kept.__enter__()
    _KEPT.append(kept)
    return step


_KEPT: list[object] = []


def count_step_flops(setting: Setting) -> float:
    """Floating-point operations of one step of ours: three times those of the forward pass, 2 per
    multiply-add, layers alone. (PyTorch's own count of the backward pass takes depthwise
    convolutions for dense ones, and on a CPU it does not see the products inside attention: some 4
    per cent.)"""
    from torch.utils.flop_counter import FlopCounterMode

    network = CoAtNet(build_spec(setting.preset, CLASSES, setting.size_px)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, setting.size_px, setting.size_px))
    return 3.0 * float(counter.get_total_flops()) * setting.batch


def prepare_keras(setting: Setting) -> Work:
    """The reference network as its authors built it."""
    import keras
    import tensorflow

    if torch.cuda.is_available() and not tensorflow.config.list_physical_devices("GPU"):
        raise MissingExtraError(
            "TensorFlow must see the GPU that PyTorch sees (a CPU beside one would say nothing)",
            "it sees none",
            "install tensorflow[and-cuda], or measure without this candidate",
        )
    if setting.precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network: Any = build_keras(setting.size_px)
    network.compile(
        optimizer=keras.optimizers.AdamW(1e-4, weight_decay=1e-5),
        loss="sparse_categorical_crossentropy",
    )
    shape = (setting.batch, setting.size_px, setting.size_px, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    labels = np.arange(setting.batch) % CLASSES
    return lambda: network.train_on_batch(images, labels)


def prepare_plain(setting: Setting, *, channels_last: bool) -> Work:
    """The reference network, plainly rewritten in PyTorch."""
    return prepare_torch(build_plain(), setting, channels_last=channels_last, fused=False)


def prepare_timm(name: str, setting: Setting) -> Work:
    """A CoAtNet of timm, with the same care as ours."""
    load_torchvision()
    import timm

    network = timm.create_model(name, num_classes=CLASSES, img_size=setting.size_px)
    return prepare_torch(network, setting, channels_last=True, fused=True)


HEMATOLOGY: dict[str, Callable[[Setting], Work]] = {
    KERAS: prepare_keras,
    "plain PyTorch": lambda setting: prepare_plain(setting, channels_last=False),
    PLAIN_LAST: lambda setting: prepare_plain(setting, channels_last=True),
    OURS: prepare_ours,
}
PAPER: dict[str, Callable[[Setting], Work]] = {
    TIMM: lambda setting: prepare_timm("coatnet_0_224", setting),
    "timm coatnet_0_rw_224": lambda setting: prepare_timm("coatnet_0_rw_224", setting),
    OURS: prepare_ours,
}
