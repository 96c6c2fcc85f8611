"""The device at hand: which one, which precision gains there, and how its memory is kept.

What this file does not do: it trains nothing.
"""

import contextlib
import ctypes
import platform
import time
from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import build_spec

Precision = Literal["fp32", "bf16", "fp16"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_DYNAMIC_MAX = 32 * 1024 * 1024
"""Where glibc's own mapping threshold ends up in a process that frees large blocks."""

GAIN = 1.2
"""Mixed precision must be this many times faster than fp32 to be chosen on a CPU."""

_EMULATED = 4
"""How many times slower a layer in bf16 must be to count as emulated."""


def pick_device() -> torch.device:
    """Return the accelerator at hand, or the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def choose_precision(device: torch.device) -> Precision:
    """Return the precision that gains on a device.

    A GPU takes bf16, or fp16 where it has no bf16. A CPU is measured, since only some have bf16
    arithmetic and the others emulate it up to a hundred times slower: a linear layer tells these,
    and a training step of a small network tells whether bf16 gains; about half a second in all.
    Single layers do not: on a CPU with bf16 arithmetic they gained 0.8 to 1.4, and whole steps 1.3
    to 1.5 (docs/experiments/027).
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    if _time_layer(torch.bfloat16) > _EMULATED * _time_layer(torch.float32):
        return "fp32"
    return "bf16" if _time_step(torch.float32) >= GAIN * _time_step(torch.bfloat16) else "fp32"


def _time_layer(dtype: torch.dtype) -> float:
    """Seconds of a linear layer, too small to tell a gain, quick even where bf16 is emulated."""
    layer, inputs = nn.Linear(192, 192), torch.randn(256, 192)
    return _time_best(lambda: layer(inputs), dtype)


def _time_step(dtype: torch.dtype) -> float:
    """Seconds of a training step of a small network: what is to be gained, casts and norms
    included."""
    network = CoAtNet(build_spec("coatnet-pico", 4, 64)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images_BCHW = torch.zeros(16, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    return _time_best(lambda: cast(Tensor, network(images_BCHW)[0]), dtype)


def _time_best(forward: Callable[[], Tensor], dtype: torch.dtype) -> float:
    best = float("inf")
    for _ in range(4):  # the first is a warm-up, and the smallest of the rest counts
        start = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = forward().float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        best = min(best, time.perf_counter() - start)
    return best


def build_accelerator(precision: Precision) -> Accelerator:
    """Return Accelerate's handle on devices, precision and processes.

    Accelerate keeps the precision of a process's first accelerator for good; it is reset here, so
    that one process can train two recipes.
    """
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        # Said aloud, because several processes without a GPU find each other only then.
        cpu=pick_device().type == "cpu",
    )


@contextlib.contextmanager
def keeping_freed_memory(device: torch.device) -> Iterator[bool]:
    """Have the C library keep what tensors on the CPU give back, while the block runs.

    By default glibc maps memory for every large tensor and unmaps it at once when it is freed, so
    that each step asks the kernel for millions of fresh, zeroed pages: a third of the time of a
    step (docs/experiments/015). Numbers do not change. The process keeps some 15 % more memory
    meanwhile; at the end it is given back. Yields whether it took effect: other devices, and
    systems without glibc, are left alone.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield False
        return
    libc = ctypes.CDLL(None)

    def set_thresholds(mapped: int, trimmed: int) -> bool:
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, mapped)) and bool(
            libc.mallopt(_M_TRIM_THRESHOLD, trimmed)
        )

    done = set_thresholds(1 << 30, (1 << 31) - 1)
    try:
        yield done
    finally:
        set_thresholds(_DYNAMIC_MAX, 2 * _DYNAMIC_MAX)
        libc.malloc_trim(0)
