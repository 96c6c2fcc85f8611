"""From a pack to the network: which rows each step takes, how they reach the device, as what.

The order of an epoch is a function of (seed, epoch) alone, so a training run can go on at any step.
A pack lives on the device if it fits, else it is read ahead, else as needed.

Axes: N rows of the pack, B batch, C channel, H = W = S side. What this file does not do: it decodes
nothing (`pack`) and changes no pixel (`augment`).
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukoscope.data.images import Pixels

Way = Literal["direct", "resident", "ahead"]

RESIDENT_FRAC = 0.5
"""A pack lives on the device if it takes at most this share of the memory that is free there."""

_CHUNK = 1024
"""Rows copied to the device at a time."""


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


class PixelFeed:
    """Rows of a pack as uint8 tensors `(B, S, S, 3)` on a device, the same whatever the way.

    `direct` reads the rows when they are asked for: the way of a CPU, whose cores are busy and
    whose memory is the pack's. `resident` copies the whole pack to the device once, and batches
    never touch the host again. `ahead` reads the next batch in a thread while the device works on
    the present one. Without `way`, the device and its free memory decide.
    """

    def __init__(self, pack_NSSC: Pixels, device: torch.device, *, way: Way | None = None) -> None:
        self.pack_NSSC, self.device = pack_NSSC, device
        self.way: Way = way or choose_way(pack_NSSC.nbytes, device)
        self._resident_NSSC: Tensor | None = None
        if self.way == "resident":
            self._resident_NSSC = torch.empty(pack_NSSC.shape, dtype=torch.uint8, device=device)
            for start in range(0, len(pack_NSSC), _CHUNK):
                chunk = np.array(pack_NSSC[start : start + _CHUNK])
                self._resident_NSSC[start : start + _CHUNK] = torch.from_numpy(chunk)

    def stream(
        self, batches: Iterable[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield every batch of rows with its images, in order."""
        if self.way == "ahead":
            yield from self._read_ahead(batches)
            return
        for rows in batches:
            yield rows, self._load(rows)

    def _load(self, rows: NDArray[np.int64]) -> Tensor:
        if self._resident_NSSC is not None:
            return self._resident_NSSC.index_select(0, torch.from_numpy(rows).to(self.device))
        return self._read(rows).to(self.device)

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.pack_NSSC[rows]))

    def _read_pinned(self, rows: NDArray[np.int64]) -> Tensor:
        pixels_BSSC = self._read(rows)
        # From pinned memory the copy runs beside the device's work instead of holding it up.
        return pixels_BSSC.pin_memory() if self.device.type == "cuda" else pixels_BSSC

    def _read_ahead(
        self, batches: Iterable[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        with ThreadPoolExecutor(1) as thread:
            waiting: tuple[NDArray[np.int64], Future[Tensor]] | None = None
            for rows in batches:
                following = (rows, thread.submit(self._read_pinned, rows))
                if waiting is not None:
                    yield waiting[0], waiting[1].result().to(self.device, non_blocking=True)
                waiting = following
            if waiting is not None:
                yield waiting[0], waiting[1].result().to(self.device, non_blocking=True)


def choose_way(nbytes: int, device: torch.device) -> Way:
    """Return how a pack of so many bytes is fed to a device."""
    if device.type == "cpu":
        return "direct"
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return "resident" if nbytes <= RESIDENT_FRAC * free else "ahead"
    return "ahead"  # elsewhere nothing tells how much memory is free
