"""What feeds training: batches from a pack, augmented, against reading the files every epoch.

The augmentation is that of the recipe `quick`: flips, turns up to 20 degrees, shifts up to 5 %.
What this file does not do: no network (`training`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.rivals.peers import load_torchvision
from benchmarks.rivals.setting import Setting, Work
from benchmarks.rivals.targets import FEEDING
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

OURS = "ours, from a pack"
KERAS, WORKERS = FEEDING  # their names; `targets` says how much faster ours should be
KORNIA = "from the same pack, augmented by kornia"


def prepare_ours(setting: Setting) -> Work:
    """Batches from a pack that is built first; the packing is not measured."""
    from leukoscope.config import load_recipe
    from leukoscope.data.augment import augment_pixels

    augment = load_recipe("quick").augment
    generator = torch.Generator().manual_seed(0)
    return _prepare_packed(setting, lambda pixels: augment_pixels(pixels, augment, generator))


def prepare_kornia(setting: Setting) -> Work:
    """The same batches, changed by the library that is made for it."""
    from kornia import augmentation

    from leukoscope.data.loader import prepare_input

    change = augmentation.AugmentationSequential(
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomVerticalFlip(),
        augmentation.RandomAffine(20.0, (0.05, 0.05), p=1.0, padding_mode="reflection"),
    )
    return _prepare_packed(setting, lambda pixels: change(prepare_input(pixels)))


def _prepare_packed(setting: Setting, augment: Callable[[Tensor], Tensor]) -> Work:
    from leukoscope.config import load_recipe
    from leukoscope.data.loader import EpochOrder, PixelFeed
    from leukoscope.data.pack import build_pack
    from leukoscope.pipelines import scan_images
    from leukoscope.training.device import pick_device

    recipe = load_recipe("quick", [f"input.image_size={setting.size_px}"])
    records = scan_images(setting.images).records
    pack = build_pack(list(records), recipe.input, setting.folder / "packs")
    feed = PixelFeed(pack, pick_device())
    order = EpochOrder(np.arange(len(pack)), setting.batch, seed=0)

    def flow() -> Iterator[object]:
        epoch = 0
        while True:
            for _, pixels in feed.stream(order.batches(epoch)):
                images = augment(pixels)
                yield images.contiguous(memory_format=torch.channels_last)
                if images.device.type == "cuda":
                    torch.cuda.synchronize()
            epoch += 1

    batches = flow()
    return lambda: next(batches)


def prepare_keras(setting: Setting) -> Work:
    """As the published notebook feeds itself."""
    import pandas as pd
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    files = setting.list_files()
    frame = pd.DataFrame({"path": map(str, files), "label": [p.parent.name for p in files]})
    batches = ImageDataGenerator(
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
        target_size=(setting.size_px, setting.size_px),
        batch_size=setting.batch,
        class_mode="sparse",
        verbose=0,
    )
    return lambda: next(batches)


class _Files(Dataset[Any]):
    """Image files as torchvision users read them. At module level: worker processes look it up."""

    def __init__(self, files: list[Path], size_px: int) -> None:
        load_torchvision()
        from torchvision import transforms

        self.files = files
        self.change = transforms.Compose(
            [
                transforms.Resize((size_px, size_px)),
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


def prepare_workers(setting: Setting) -> Work:
    """As PyTorch users feed themselves."""
    loader: DataLoader[Any] = DataLoader(
        _Files(setting.list_files(), setting.size_px),
        setting.batch,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
    )

    def flow() -> Iterator[object]:
        while True:
            yield from loader

    batches = flow()
    return lambda: next(batches)


CANDIDATES = {
    KERAS: prepare_keras,
    WORKERS: prepare_workers,
    KORNIA: prepare_kornia,
    OURS: prepare_ours,
}
