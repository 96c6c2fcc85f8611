"""How many threads training takes on a CPU while other processes use the machine too.

The threads of a step meet at a barrier hundreds of times. Where one of them shares its core with
another process, all wait for it at each: on two cores beside one busy process an epoch took 2.9
times as long with two threads and 1.7 times with one, beside three 6.4 and 3.8 times
(docs/experiments/040). So training takes no more threads than cores are left over. What this file
does not do: it times no steps, and decides nothing for GPUs.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil
import torch

WINDOW_S = 2.0
"""Seconds over which the use of the machine is averaged."""

_ROOM = 0.4
"""A core used to less than this by others counts as free: what a desktop does beside its work."""


class CpuSeconds(NamedTuple):
    """Seconds since some start: of the clock, of all cores at work, and of this process's share."""

    clock: float
    busy: float
    own: float


def read_cpu_seconds() -> CpuSeconds:
    """Return where the clocks stand. What a virtual machine is robbed of counts as busy."""
    times = psutil.cpu_times()
    parts = ("user", "nice", "system", "irq", "softirq", "steal")
    busy = sum(getattr(times, part, 0.0) for part in parts)
    return CpuSeconds(time.monotonic(), busy, time.process_time())


def choose_threads(before: CpuSeconds, after: CpuSeconds, cores: int, most: int) -> int:
    """Return how many threads have a core to themselves, from 1 to `most`.

    >>> start = CpuSeconds(0, 0, 0)
    >>> choose_threads(start, CpuSeconds(10, 20, 20), 2, 2)
    2
    >>> choose_threads(start, CpuSeconds(10, 20, 13), 2, 2)
    1
    """
    others = max(0.0, (after.busy - before.busy) - (after.own - before.own))
    free = cores - others / (after.clock - before.clock)
    return max(1, min(most, math.floor(free + _ROOM)))


@dataclass
class ThreadControl:
    """Keeps PyTorch's number of threads at what is free, looked at every `WINDOW_S` seconds.

    `most` is the number at the start. A number that the user set with OMP_NUM_THREADS is kept:
    sums depend on it in their last bits, and only so is a run on a busy machine repeated bitwise.
    """

    most: int = field(default_factory=torch.get_num_threads)
    cores: int = field(default_factory=lambda: psutil.cpu_count() or 1)
    read: Callable[[], CpuSeconds] = read_cpu_seconds
    fixed: bool = field(default_factory=lambda: "OMP_NUM_THREADS" in os.environ)
    _before: CpuSeconds | None = None

    def update(self) -> int | None:
        """Set the number of threads that is right now; return it if it is another than before."""
        if self.fixed or self.most == 1:
            return None
        now = self.read()
        if self._before is None:
            self._before = now
        if now.clock - self._before.clock < WINDOW_S:
            return None
        threads = choose_threads(self._before, now, self.cores, self.most)
        self._before = now
        if threads == torch.get_num_threads():
            return None
        torch.set_num_threads(threads)
        return threads

    def release(self) -> None:
        """Give back the number of threads of the start."""
        if torch.get_num_threads() != self.most:
            torch.set_num_threads(self.most)
