"""From a pack to a device: resident there if it fits, else read ahead, else read as needed.

Axes: N rows of the pack, B batch, S side. What this file does not do: it chooses no rows
(`batches.EpochOrder`) and changes no pixel (`augment`).
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukoscope.data.batches import Pixels

Way = Literal["direct", "resident", "ahead"]

RESIDENT_FRAC = 0.5
"""A pack lives on the device if it takes at most this share of the memory that is free there."""

_CHUNK = 1024
"""Rows copied to the device at a time."""


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
