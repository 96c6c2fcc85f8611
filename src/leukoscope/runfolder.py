"""The run folder: the names of its files, the lock, and provenance.

    RUN/
      recipe.json  split.csv  provenance.json      what was asked for, and on what
      checkpoint.safetensors                       to go on after a kill
      best.safetensors                             the best epoch so far
      training_history.csv  train.log              grows by a line per epoch
      model.safetensors  model.json                the trained network; the hashes of all before
      scores.parquet                               one row per image; all figures come from it
      trust.json  trust.npz                        calibration, prediction sets, limits
      metrics.json  model_evaluation_results.txt  report.html  figures/
      evaluations/NAME/                            the same for other data
      ensemble.json                                of several networks: what each is worth
      distillation.json                            of a student: its teacher, and how they compare
      pack/                                        decoded images; safe to delete

What this file does not do: it knows no format but JSON. What `model.json` holds is in
`training.record`, what `trust.json` holds in `trust.record`.
"""

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import leukoscope
from leukoscope.config import SavedRecipe
from leukoscope.errors import (
    FileError,
    MissingStepError,
    RunError,
    RunLockedError,
    WeightsError,
)
from leukoscope.records import Record, load_record, parse_sealed
from leukoscope.storage import check_name, create_folder, read_file, storage_errors


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to repeat a command: versions, machine, command, time (UTC)."""

    leukoscope: str
    python: str
    platform: str
    cores: int | None
    packages: dict[str, str]
    command: tuple[str, ...]
    started: str


@dataclass(frozen=True, kw_only=True)
class ModelProvenance(Provenance):
    """The same of a command that measured a network: the hash of its weights."""

    weights_sha256: str


@dataclass(frozen=True)
class Member:
    """Where a member of an ensemble comes from. `run` is the name of its folder."""

    run: str
    network: str
    sha256: str
    best_epoch: int | None
    recipe: str
    recipe_hash: str
    seed: int
    split_sha256: str
    leukoscope: str
    started: str


@dataclass(frozen=True, kw_only=True)
class RunProvenance(Provenance):
    """Content of `provenance.json`. `packs` is the folder of decoded images that runs share, None
    for the run's own; `seeds` are one for each member of an ensemble."""

    recipe_hash: str
    split_sha256: str
    seeds: tuple[int, ...]
    packs: str | None
    teacher_sha256: str | None = None
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What `model.json` keeps of the files that were written before it: their hashes by name."""

    bound: dict[str, str]


class _File:
    """A file or folder of a run, by its name; what it holds stands at the top of this module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "RunFolder", _kind: type["RunFolder"]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    recipe = _File("recipe.json")
    split = _File("split.csv")
    provenance = _File("provenance.json")
    checkpoint = _File("checkpoint.safetensors")
    best = _File("best.safetensors")
    history = _File("training_history.csv")
    log = _File("train.log")
    weights = _File("model.safetensors")
    model = _File("model.json")
    scores = _File("scores.parquet")
    trust = _File("trust.json")
    trust_arrays = _File("trust.npz")
    ensemble = _File("ensemble.json")
    distillation = _File("distillation.json")
    pack = _File("pack")

    def evaluation(self, name: str) -> Path:
        """Folder of an evaluation on other data. Raises `ConfigError` for what is no name."""
        check_name(name)
        return self.path / "evaluations" / name

    def require(self, path: Path, step: str) -> Path:
        """Return `path` if it is there; else raise `MissingStepError` naming the step it needs, and
        for a training that was interrupted how far it came."""
        if not path.is_file():
            if path in (self.weights, self.model, self.scores) and self.checkpoint.is_file():
                raise self._name_interrupted(path)
            raise MissingStepError(
                f"{self.path} must hold {path.name}, which `{step}` writes",
                "no such file" if self.path.is_dir() else "no such folder",
                f"run `{step}` first, or check the path",
            )
        return path

    def _name_interrupted(self, path: Path) -> MissingStepError:
        recipe = self.load_recipe()
        done = 0
        with contextlib.suppress(OSError):
            done = max(0, len(self.history.read_bytes().splitlines()) - 1)
        command = "distill TEACHER" if recipe.distill.teacher else "train SPLIT"
        return MissingStepError(
            f"{self.path} must hold {path.name}, which the end of the training writes",
            f"interrupted after epoch {done} of {recipe.train.epochs}",
            f"finish it with --resume: `leukoscope {command} --resume --out {self.path}`, with the"
            " options it was started with",
        )

    def load_recipe(self) -> SavedRecipe:
        """Read the recipe; raises what `read_bound` does."""
        return self._load_bound(SavedRecipe, self.recipe)

    def load_provenance(self) -> RunProvenance:
        """Read the provenance; raises what `read_bound` does."""
        return self._load_bound(RunProvenance, self.provenance)

    def _load_bound(self, kind: type[Record], path: Path) -> Record:
        return parse_sealed(kind, self.read_bound(path), str(path), "leukoscope train")

    def read_bound(self, path: Path) -> bytes:
        """Return the content of a file that was written before the trained network: the only way
        to read it.

        Raises `MissingStepError` before training, `RunError` where the file is not the one that
        the network of this run was trained with.
        """
        try:
            content = read_file(self.require(path, "leukoscope train"))
        except FileError as error:
            raise RunError(error.expected, error.found, error.remedy) from error
        if self.model.is_file():
            known = load_record(Bound, self.model, "leukoscope train", WeightsError).bound
            if known.get(path.name) != _hash_text(content):
                raise RunError(
                    f"{path} must be of the trained network beside it",
                    "it was changed after the training, or is of another run",
                    "restore it from a copy of the run, or train again",
                )
        return content

    def bind_files(self) -> dict[str, str]:
        """Return the hashes, by name, of the files that are written before the trained network,
        as far as there are any. Raises `FileError`."""
        files = (self.recipe, self.provenance, self.history, self.ensemble)
        return {path.name: _hash_text(read_file(path)) for path in files if path.is_file()}

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


def _hash_text(content: bytes) -> str:
    """SHA-256 of a text whose line ends do not count, for Git and mail change them."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def collect_provenance() -> Provenance:
    """Return the provenance of the command that runs."""
    packages = {}
    for name in ("torch", "accelerate", "numpy", "pillow", "scikit-learn", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return Provenance(
        leukoscope=leukoscope.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cores=os.cpu_count(),
        packages=packages,
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
