"""What ours costs per image, against batch size, image size and the size of the set.

What this file does not do: it compares with nobody.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.rivals import prediction, training
from benchmarks.rivals.setting import Setting, Work

PRESET = "coatnet-pico"
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SIZES_PX = (64, 96, 128, 160, 192, 224)
SETS = (500, 1000, 2000, 4000, 8000, 16000)

Series = dict[str, list[tuple[int, float]]]
"""Curves by name: points of (size, milliseconds per image)."""


def measure_scaling(setting: Setting, *, quick: bool) -> dict[str, Series]:
    """Return the curves against batch size, image side and number of images in the set."""
    batches, sizes, sets = (
        (BATCHES[:4:3], SIZES_PX[:2], (100, 200)) if quick else (BATCHES, SIZES_PX, SETS)
    )
    base = replace(setting, preset=PRESET, size_px=sizes[0] if quick else 128)
    batch = 4 if quick else 16
    by_batch = [replace(base, batch=n) for n in batches]
    by_size = [replace(base, batch=batch, size_px=px) for px in sizes]
    return {
        f"batch size ({base.size_px} px)": _measure_both(by_batch, batches),
        f"image side, px (batches of {batch})": _measure_both(by_size, sizes),
        f"images in the set ({base.size_px} px)": {
            "batches from a pack": _measure_sets(base, sets)
        },
    }


def _measure_both(settings: list[Setting], xs: tuple[int, ...]) -> Series:
    train: list[tuple[int, float]] = []
    predict: list[tuple[int, float]] = []
    for x, setting in zip(xs, settings, strict=True):
        train.append((x, _time(training.prepare_ours(setting), setting)))
        with tempfile.TemporaryDirectory() as place:
            own = replace(setting, place=place)
            prediction.write_graphs(own)
            predict.append((x, _time(prediction.HEMATOLOGY["ours, ONNX Runtime fp32"](own), own)))
    return {"training step": train, "prediction, ONNX Runtime fp32": predict}


def _measure_sets(setting: Setting, sizes: tuple[int, ...]) -> list[tuple[int, float]]:
    import torch

    from leukoscope.config import load_recipe
    from leukoscope.data.augment import augment_pixels
    from leukoscope.data.loader import EpochOrder, PixelFeed

    augment = load_recipe("quick").augment
    found = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "pack.npy"
            shape = (n, setting.size_px, setting.size_px, 3)
            pack = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            tile = np.random.default_rng(0).integers(0, 256, shape[1:], dtype=np.uint8)
            for row in range(n):
                pack[row] = tile
            order = EpochOrder(np.arange(n), 32, seed=0)
            generator = torch.Generator().manual_seed(0)
            best = float("inf")
            for epoch in range(3):
                start = time.perf_counter()
                for _, pixels in PixelFeed(pack, torch.device("cpu")).stream(order.batches(epoch)):
                    augment_pixels(pixels, augment, generator)
                best = min(best, time.perf_counter() - start)
            found.append((n, 1e3 * best / n))
    return found


def _time(work: Work, setting: Setting) -> float:
    """Milliseconds per image, the smallest of a few: curves are of what can be reached."""
    work()
    times = []
    for _ in range(max(3, setting.repeats)):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times) / setting.batch
