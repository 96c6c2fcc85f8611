"""Training steps of ours against what people would use (LAB_NOTES, "Training steps").

Run `python benchmarks/training_step.py [hematology] [paper] [pico] [--size 224] [--batch 32]
[--precision fp32]`. All candidates of a group live in one process and take steps in turn, round
after round: read the ratios, the median and the smallest and largest over rounds. A step is
forward, cross-entropy, backward and AdamW on one batch that lies in memory. Candidates whose
package is not installed are left out and named: `tensorflow-cpu`, `timm`.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Step = Callable[[], None]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def prepare_torch(
    network: nn.Module, given: argparse.Namespace, *, channels_last: bool, fused: bool
) -> Step:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout).train()
    images = torch.rand(given.batch, 3, given.size, given.size) * 2 - 1
    images = images.contiguous(memory_format=layout)
    labels = torch.randint(0, 4, (given.batch,))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, weight_decay=1e-5, fused=fused)
    dtype = DTYPES[given.precision]

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            out = network(images)
            logits = out[0] if isinstance(out, tuple) else out
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def build_ours(preset: str, given: argparse.Namespace, *, compiled: bool = False) -> nn.Module:
    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.models.presets import build_spec

    network: Any = CoAtNet(build_spec(preset, 4, given.size))
    return torch.compile(network) if compiled else network


def prepare_keras(given: argparse.Namespace) -> Step:
    import keras
    import numpy as np

    from peers import build_keras

    if given.precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network: Any = build_keras(given.size)
    network.compile(
        optimizer=keras.optimizers.AdamW(1e-4, weight_decay=1e-5),
        loss="sparse_categorical_crossentropy",
    )
    images = np.random.default_rng(0).uniform(-1, 1, (given.batch, given.size, given.size, 3))
    images, labels = images.astype("float32"), np.arange(given.batch) % 4

    def step() -> None:
        network.train_on_batch(images, labels)

    return step


def prepare_timm(given: argparse.Namespace, name: str) -> Step:
    # timm imports torchvision, whose compiled operators do not load beside a CPU build of PyTorch
    # from the plain index. Their names are enough: no network here calls them.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name_of_operator in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # defined by an earlier candidate
            library.define(f"{name_of_operator}(Tensor a) -> Tensor")
    import timm

    network = timm.create_model(name, num_classes=4, img_size=given.size)
    return prepare_torch(network, given, channels_last=True, fused=True)


def list_candidates(group: str, given: argparse.Namespace) -> dict[str, Callable[[], Step]]:
    def ours(preset: str, compiled: bool = False) -> Step:
        network = build_ours(preset, given, compiled=compiled)
        return prepare_torch(network, given, channels_last=True, fused=True)

    def plain(channels_last: bool) -> Step:
        from peers import build_plain

        return prepare_torch(build_plain(), given, channels_last=channels_last, fused=False)

    if group == "hematology":
        return {
            "reference network in Keras (TensorFlow)": lambda: prepare_keras(given),
            "plain PyTorch": lambda: plain(False),
            "plain PyTorch, channels last": lambda: plain(True),
            "ours, coatnet-hematology": lambda: ours("coatnet-hematology"),
            "ours, compiled": lambda: ours("coatnet-hematology", True),
        }
    if group == "paper":
        return {
            "timm coatnet_0_224": lambda: prepare_timm(given, "coatnet_0_224"),
            "timm coatnet_0_rw_224": lambda: prepare_timm(given, "coatnet_0_rw_224"),
            "ours, coatnet-0": lambda: ours("coatnet-0"),
            "ours, compiled": lambda: ours("coatnet-0", True),
        }
    return {
        "ours, coatnet-pico": lambda: ours("coatnet-pico"),
        "ours, compiled": lambda: ours("coatnet-pico", True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", default=["hematology", "paper"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    for group in given.groups:
        print(f"\n{group}, batch {given.batch}, {given.size} px, {given.precision}", flush=True)
        torch.manual_seed(0)
        steps: dict[str, Step] = {}
        for name, prepare in list_candidates(group, given).items():
            try:
                steps[name] = prepare()
                steps[name]()  # the first step compiles, allocates, chooses algorithms
            except ImportError as error:
                print(f"  {name}: left out, {error}", flush=True)
                steps.pop(name, None)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(given.rounds):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
        base = next(name for name in steps if name.startswith("ours"))
        print(f"  {'candidate':42}{'images/s':>9}{'ours against it':>26}")
        for name, found in times.items():
            ratios = [other / own for other, own in zip(found, times[base], strict=True)]
            print(
                f"  {name:42}{given.batch / statistics.median(found):9.2f}"
                f"{statistics.median(ratios):12.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
