"""Batches from a pack: a shuffled, seeded order per epoch, shared among processes.

Axes: B batch, C channel, H = W side. The order is a function of (seed, epoch) alone, so a
training run can go on at any step. What this file does not do: no decoding, no augmentation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukoscope.data.images import resize_image

Pixels = NDArray[np.uint8]


def normalise(pixels_BHWC: Tensor) -> Tensor:
    """Turn uint8 `(B, H, W, 3)` into float32 `(B, 3, H, W)` in -1 to 1 (`x / 127.5 - 1`, the
    reference's preprocessing); a channels-last view, not a copy in another layout."""
    return pixels_BHWC.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def prepare_input(pixels_BHWC: Tensor) -> Tensor:
    """Return what `normalise` does, bit for bit, on any device.

    On a CPU the numbers are looked up, for there are only 256 of them: one pass over memory
    instead of three.
    """
    if pixels_BHWC.device.type != "cpu" or not pixels_BHWC.numel():
        return normalise(pixels_BHWC)
    import cv2

    # OpenCV wants a picture of two dimensions; to a table of levels the shape is nothing.
    flat = pixels_BHWC.contiguous().view(len(pixels_BHWC), -1).numpy()
    levels = np.arange(256, dtype=np.float32) / 127.5 - 1
    real = cv2.LUT(flat, levels).reshape(pixels_BHWC.shape)
    return torch.from_numpy(real).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class EpochOrder:
    """Which rows each step of each epoch trains on.

    `rows_N` are pack rows of the training role. A last batch smaller than 2 images per process is
    left out of its epoch (batch norm needs two); each epoch shuffles anew, so every image gets
    its turn. Batches are filled up from their own start until all processes get equally many.
    """

    rows_N: NDArray[np.int64]
    batch_size: int
    seed: int

    def steps(self, processes: int = 1) -> int:
        """Return the number of steps in an epoch."""
        full, rest = divmod(len(self.rows_N), self.batch_size)
        return full + (rest >= 2 * processes or full == 0)

    def batches(
        self, epoch: int, *, start: int = 0, process: int = 0, processes: int = 1
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of one process, step by step, beginning at step `start`."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows_N)
        for step in range(start, self.steps(processes)):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            missing = -len(rows) % processes
            yield np.concatenate([rows, np.resize(rows, missing)])[process::processes]


def split_rows(rows: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows in their order, at most `batch_size` at a time."""
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


def shrink_pack(pack_NHWC: Pixels, rows: NDArray[np.int64], size_px: int) -> Pixels:
    """Return small copies of some rows, uint8 `(len(rows), size_px, size_px, 3)`, for baselines."""
    out = np.empty((len(rows), size_px, size_px, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        out[place] = resize_image(np.asarray(pack_NHWC[row]), size_px)
    return out
