"""Training-step rates of candidates for `coatnet-pico` (docs/experiments/004).

Run `python benchmarks/compact_networks.py`: all candidates in one process, in turn, several rounds;
the best step of each counts, and ratios to the preset are what to read.
"""

import time
from dataclasses import replace

import torch
from torch.nn import functional as F

from leukoscope.models.coatnet import CoAtNet, CoAtNetSpec, count_multiply_adds
from leukoscope.models.presets import PRESETS, build_stages

PICO = PRESETS["coatnet-pico"]
DEPTHS = (1, 2, 3, 1)
CANDIDATES: dict[str, tuple[CoAtNetSpec, int]] = {
    "pico (16, 32, 64)": (PICO, 128),
    "24, 48, 96": (
        replace(PICO, stem_width=24, stages=build_stages(DEPTHS, (48, 96, 160, 256), 32)),
        128,
    ),
    "16, 48, 96": (replace(PICO, stages=build_stages(DEPTHS, (48, 96, 160, 256), 32)), 128),
    "pico, stride in the depthwise convolution": (replace(PICO, stride_place="depthwise"), 128),
    "pico at 96": (PICO, 96),
    "pico at 160": (PICO, 160),
    "nano at 128": (PRESETS["coatnet-nano"], 128),
}
BATCH = 32
ROUNDS = 4


class Candidate:
    """A network, its optimiser and one batch."""

    def __init__(self, spec: CoAtNetSpec, size: int) -> None:
        self.spec = replace(spec, image_size=size, n_classes=4)
        self.network = CoAtNet(self.spec).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3, fused=True)
        images = torch.rand(BATCH, 3, size, size) * 2 - 1
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 4, (BATCH,))
        self.best = float("inf")

    def step(self) -> None:
        start = time.perf_counter()
        logits, _ = self.network(self.images)
        F.cross_entropy(logits, self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.best = min(self.best, time.perf_counter() - start)


def main() -> None:
    torch.manual_seed(0)
    candidates = {name: Candidate(*what) for name, what in CANDIDATES.items()}
    for _ in range(ROUNDS):
        for candidate in candidates.values():
            candidate.step()
    first = next(iter(candidates.values())).best
    print(f"{'candidate':45} {'GMAC':>6} {'images/s':>9} {'GFLOP/s':>8} {'ratio':>6}")
    for name, candidate in candidates.items():
        giga = count_multiply_adds(candidate.spec) / 1e9
        rate, ratio = BATCH / candidate.best, first / candidate.best
        print(f"{name:45} {giga:6.3f} {rate:9.1f} {6 * giga * rate:8.0f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
