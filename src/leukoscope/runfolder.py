"""The run folder: the names of its files, atomic writes, the lock, and provenance.

    RUN/
      recipe.json  split.csv  provenance.json      what was asked for, and on what
      checkpoint.safetensors                       to go on after a kill
      best.safetensors                             the best epoch so far
      training_history.csv  train.log              grows by a line per epoch
      model.safetensors  model.json                the trained network
      scores.parquet                               one row per image; all figures come from it
      trust.json  trust.npz                        calibration, prediction sets, limits
      metrics.json  model_evaluation_results.txt  report.html  figures/
      evaluations/NAME/                            the same for other data
      ensemble.json                                of several networks: which, what each is worth
      distillation.json                            of a student: its teacher, and how they compare
      pack/                                        decoded images; safe to delete
      tensorboard/                                 by option

What this file does not do: it knows no format but JSON.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import leukoscope
from leukoscope.errors import MissingStepError, RunLockedError
from leukoscope.storage import create_folder, storage_errors


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.json"

    @property
    def split(self) -> Path:
        """A copy of the split that the run used."""
        return self.path / "split.csv"

    @property
    def provenance(self) -> Path:
        """Versions, machine, seeds, hashes."""
        return self.path / "provenance.json"

    @property
    def checkpoint(self) -> Path:
        """The whole state of training."""
        return self.path / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """Weights of the best epoch so far."""
        return self.path / "best.safetensors"

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.path / "training_history.csv"

    @property
    def log(self) -> Path:
        """What happened, with times."""
        return self.path / "train.log"

    @property
    def weights(self) -> Path:
        """The trained network's weights."""
        return self.path / "model.safetensors"

    @property
    def model(self) -> Path:
        """The trained network's spec, classes, preprocessing and weights hash."""
        return self.path / "model.json"

    @property
    def ensemble(self) -> Path:
        """Where the members of an ensemble came from, and what each of them is worth."""
        return self.path / "ensemble.json"

    @property
    def distillation(self) -> Path:
        """A student against its teacher."""
        return self.path / "distillation.json"

    @property
    def scores(self) -> Path:
        """The score table."""
        return self.path / "scores.parquet"

    @property
    def trust(self) -> Path:
        """The trust record: calibration, prediction sets, limits, policy."""
        return self.path / "trust.json"

    @property
    def trust_arrays(self) -> Path:
        """The arrays of the trust record."""
        return self.path / "trust.npz"

    @property
    def pack(self) -> Path:
        """Folder of decoded images."""
        return self.path / "pack"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard events."""
        return self.path / "tensorboard"

    def evaluation(self, name: str) -> Path:
        """Folder of an evaluation on other data."""
        return self.path / "evaluations" / name

    def require(self, path: Path, step: str) -> Path:
        """Return `path` if it is there; else raise `MissingStepError` naming the step it needs."""
        if not path.is_file():
            raise MissingStepError(
                f"{self.path} must hold {path.name}, which `{step}` writes",
                "no such file" if self.path.is_dir() else "no such folder",
                f"run `{step}` first, or check the path",
            )
        return path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one process. Raises `RunLockedError` if another one holds it.

        The operating system frees the lock of a killed process, so a stale file never blocks.
        """
        from filelock import FileLock, Timeout

        create_folder(self.path)
        path = self.path / ".lock"
        with storage_errors(path):
            try:
                held = FileLock(path, timeout=0).acquire()
            except Timeout as error:
                raise RunLockedError(
                    f"one process at a time works in {self.path}",
                    "another leukoscope process holds its lock",
                    "wait for it to end, or choose another --out",
                ) from error
        with held:
            yield


def collect_provenance() -> dict[str, Any]:
    """Return what a reader needs to repeat the run: versions, machine, command, time (UTC)."""
    packages = {}
    for name in ("torch", "accelerate", "numpy", "pillow", "scikit-learn", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "leukoscope": leukoscope.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
