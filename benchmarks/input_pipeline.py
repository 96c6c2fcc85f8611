"""What feeds training: batches from a pack, augmented, against what people would use.

Run `python benchmarks/input_pipeline.py [--data ../shared/data] [--size 224] [--batch 32]`. The
images are TRAIN's, 1,024 drawn by lot; augmentation is that of `quick` (flips, turns up to 20
degrees, shifts up to 5 %). Peers read, decode and resize the files for every epoch, as they do by
default: `flow_from_dataframe` of Keras (needs tensorflow-cpu and pandas), and a DataLoader with two
worker processes (Pillow, and torchvision's transforms). Each runs alone, in turn, round after
round. The last line is the share of a training step of `coatnet-hematology` that ours costs.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

Batches = Iterator[object]


def choose_files(data: Path, n: int) -> list[Path]:
    found = sorted((data / "dataset2-master/images/TRAIN").rglob("*.jpeg"))
    if not found:
        raise SystemExit(f"{data} lacks dataset2-master; name the folder of the data by --data")
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))[:n]]


def start_ours(files: list[Path], given: argparse.Namespace, place: Path) -> Batches:
    from leukoscope.config import load_recipe
    from leukoscope.data.augment import load_augmented
    from leukoscope.data.catalog import ImageRecord
    from leukoscope.data.images import probe_image
    from leukoscope.data.pack import build_pack

    records = []
    for path in files:
        facts = probe_image(path.read_bytes(), path.name)
        sizes = (facts.width, facts.height, facts.bytes)
        records.append(ImageRecord(str(path), path, "cell", *sizes, facts.sha256))
    recipe = load_recipe("quick", [f"input.image_size={given.size}"])
    pack = build_pack(records, recipe.input, place / "packs")
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0)
    device = torch.device("cpu")
    while True:
        rows = order.integers(0, len(records), given.batch)
        images = load_augmented(pack, rows, device, recipe.augment, generator)
        yield images.contiguous(memory_format=torch.channels_last)


def start_keras(files: list[Path], given: argparse.Namespace, _place: Path) -> Batches:
    import pandas as pd
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    frame = pd.DataFrame({"path": map(str, files), "label": [p.parent.name for p in files]})
    flow = ImageDataGenerator(
        rotation_range=20,
        width_shift_range=0.05,
        height_shift_range=0.05,
        horizontal_flip=True,
        vertical_flip=True,
        preprocessing_function=lambda x: x / 127.5 - 1,
    ).flow_from_dataframe(
        frame,
        x_col="path",
        y_col="label",
        target_size=(given.size, given.size),
        batch_size=given.batch,
        class_mode="sparse",
        verbose=0,
    )
    while True:
        yield next(flow)


class Files(Dataset):
    """Module level, for worker processes must find it."""

    def __init__(self, files: list[Path], size: int) -> None:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):
                library.define(f"{name}(Tensor a) -> Tensor")
        from torchvision import transforms

        self.files = files
        self.change = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.RandomAffine(20, translate=(0.05, 0.05)),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.files[index]) as image:
            return self.change(image.convert("RGB"))


def start_workers(files: list[Path], given: argparse.Namespace, _place: Path) -> Batches:
    loader: Any = DataLoader(
        Files(files, given.size), given.batch, shuffle=True, num_workers=2, persistent_workers=True
    )
    while True:
        yield from loader


CANDIDATES: dict[str, Callable[..., Batches]] = {
    "Keras flow_from_dataframe": start_keras,
    "DataLoader, 2 worker processes, torchvision": start_workers,
    "ours, from a pack": start_ours,
}
STEP = "a training step"


def time_step(given: argparse.Namespace) -> float:
    from torch.nn import functional as F

    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.models.presets import build_spec

    network = CoAtNet(build_spec("coatnet-hematology", 4, given.size))
    network.to(memory_format=torch.channels_last).train()
    images = torch.rand(given.batch, 3, given.size, given.size)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 4, (given.batch,))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        F.cross_entropy(network(images)[0], labels).backward()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str, given: argparse.Namespace) -> float:
    """Seconds per batch in the steady state; one candidate per process, for worker processes and
    thread pools of one would run beside another."""
    if name == STEP:
        return time_step(given)
    with tempfile.TemporaryDirectory() as place:
        flow = CANDIDATES[name](choose_files(given.data, 1024), given, Path(place))
        for _ in range(8):
            next(flow)
        start = time.perf_counter()
        for _ in range(given.batches):
            next(flow)
        return (time.perf_counter() - start) / given.batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="measure this candidate here, and print its seconds")
    given = parser.parse_args()
    if given.only:
        print(f"seconds {measure(given.only, given)}")
        return
    own = "ours, from a pack"
    times: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name in (*CANDIDATES, STEP):
            command = [sys.executable, *sys.argv, "--only", name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"  {name}: left out, {done.stderr.strip().splitlines()[-1]}")
                continue
            seconds = float(done.stdout.rsplit("seconds ", 1)[1])
            times.setdefault(name, []).append(seconds)
    steps = times.pop(STEP)
    print(f"batch {given.batch}, {given.size} px, augmented")
    print(f"{'candidate':46}{'images/s':>9}{'ours against it':>26}")
    for name, found in times.items():
        ratios = [other / ours for other, ours in zip(found, times[own], strict=True)]
        print(
            f"{name:46}{given.batch / statistics.median(found):9.0f}"
            f"{statistics.median(ratios):12.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        )
    share = statistics.median(times[own]) / statistics.median(steps)
    print(f"ours is {100 * share:.2f} % of a training step of coatnet-hematology")


if __name__ == "__main__":
    main()
