"""What is left of a command that is killed at a random moment, or whose disk is full?

    python benchmarks/kill_commands.py [--rounds N] [--command NAME ...] [--made FOLDER] [--full]

(docs/experiments/042)

Each round starts a command in a process of its own, on a copy of the smallest painted set and its
networks, and kills it (SIGKILL): every second time after a random share of the processor time that
it takes, else within 30 ms of its first temporary file, where files are written. Afterwards what
was complete before must be there to the last byte, or opened as the old or the new one, or be
rejected in words; and the same command, called again, must end well and leave nothing temporary
behind. With `--full` nothing is killed: no file may grow beyond a random size, as on a full disk;
the command must say so, and what was there must stand to the last byte.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch  # here, so that no process that is killed spends its time on it

from leukoscope import pipelines
from leukoscope.config import Recipe, load_recipe
from leukoscope.data.catalog import load_catalog
from leukoscope.deploy import export  # noqa: F401 - as torch
from leukoscope.deploy.bundle import load_bundle
from leukoscope.errors import LeukoscopeError
from leukoscope.evaluation.comparison import DistillationComparison, EnsembleComparison
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.painted.cells import save_painted
from leukoscope.painted.fields import paint_fields
from leukoscope.pipelines.runs import load_run_scores, load_run_split
from leukoscope.records import load_record
from leukoscope.runfolder import RunFolder
from leukoscope.storage import hash_file
from leukoscope.training.trained import load_trained
from leukoscope.trust.record import load_trust

SETTINGS = ("input.image_size=32", "train.epochs=2", "train.precision=fp32", "train.batch_size=16")


def run_apart(call: Callable[[], object], kill: Callable[[int], bool] | None = None) -> str:
    """Call something in a process of its own. Return `done`, `killed`, the name of an error of the
    package, or a traceback. With `kill`, the process ends when it says so."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            call()
            said = "done"
        except LeukoscopeError as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException:
            said = traceback.format_exc()
        os.write(writer, said.encode()[:60_000])
        os._exit(0)
    os.close(writer)
    while kill is not None and os.waitpid(child, os.WNOHANG) == (0, 0):
        if kill(child):
            os.kill(child, signal.SIGKILL)
            kill = None
        time.sleep(0.001)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    if kill is None:
        os.waitpid(child, 0)
    return said or "killed"


def read_cpu_s(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@dataclass(frozen=True)
class Command:
    """What is killed: how it is called, into which folder it writes (below the copy), and what a
    reader does with that folder. `old` are files that must not change."""

    call: Callable[[Path], object]
    out: str
    opens: Callable[[Path], object]
    old: tuple[str, ...]
    grows: tuple[str, ...] = ()
    """What may be there afterwards although it failed: a run in training can be resumed, whole
    networks of a leak report are kept."""


def read_recipe() -> Recipe:
    return load_recipe("quick", SETTINGS)


def open_run(run: Path) -> None:
    folder = RunFolder(run)
    load_trained(folder, torch.device("cpu"))
    load_run_split(folder)
    load_run_scores(folder)
    folder.load_recipe()
    folder.load_provenance()
    load_trust(folder)


def open_ensemble(run: Path) -> None:
    open_run(run)
    load_record(EnsembleComparison, run / "ensemble.json", "leukoscope ensemble")


def open_student(run: Path) -> None:
    open_run(run)
    load_record(DistillationComparison, run / "distillation.json", "leukoscope distill")


def open_leak(out: Path) -> None:
    from leukoscope.evaluation.leakage import LeakReport

    load_record(LeakReport, out / "leak_report.json", "leukoscope data leak-report")
    for name in ("random", "grouped"):
        open_run(out / name)


def open_bundle(path: Path) -> None:
    bundle = load_bundle(path)
    bundle.read_trust()
    bundle.read_graph()


def open_evaluation(run: Path) -> None:
    load_record(EvaluationRecord, run / "metrics.json", "leukoscope evaluate")


def open_card(out: Path) -> None:
    from leukoscope.pipelines.card import CardFile

    load_record(CardFile, out / "model_card.json", "leukoscope card")


def open_validation(out: Path) -> None:
    from leukoscope.evaluation.validation import Validation

    load_record(Validation, out / "validation.json", "leukoscope validate")
    open_bundle(out.parent / "local")


def open_cells(out: Path) -> None:
    from leukoscope.pipelines.cells import CellsProvenance

    found = load_record(CellsProvenance, out / "provenance.json", "leukoscope cells")
    for name, sha256 in found.tables_sha256.items():
        assert hash_file(out / name) == sha256


def open_differential(out: Path) -> None:
    from leukoscope.pipelines.differential import DifferentialFile

    load_record(DifferentialFile, out / "differential.json", "leukoscope differential")


def report_leak(made: Path) -> None:
    catalog = load_catalog(made / "catalog.csv")
    pipelines.report_leak(catalog, read_recipe(), made / "leak", cache=made / "cache.sqlite")


COMMANDS = {
    "ensemble": Command(
        lambda made: pipelines.build_ensemble([made / "a", made / "b"], made / "joint"),
        "joint", open_ensemble, ("a", "b"),
    ),
    "distill": Command(
        lambda made: pipelines.distill_run(
            made / "a", read_recipe(), made / "student", resume=True
        ),
        "student", open_student, ("a",), ("student/",),
    ),
    "leak-report": Command(
        report_leak, "leak", open_leak, ("catalog.csv", "painted"), ("leak/", "cache.sqlite")
    ),
    "export": Command(
        lambda made: pipelines.export_run(made / "a", made / "bundle", variants=("fp32",)),
        "bundle", open_bundle, ("a",),
    ),
    "calibrate": Command(
        lambda made: pipelines.calibrate_run(made / "a", overrides=["trust.alpha=0.3"]),
        "a", open_run, (),
    ),
    "evaluate": Command(
        lambda made: pipelines.evaluate_run(made / "a"), "a", open_evaluation, ("bundle",),
    ),
    "card": Command(
        lambda made: pipelines.write_card(made / "a", made / "card"), "card", open_card, ("a",),
    ),
    "validate": Command(
        lambda made: pipelines.validate_bundle(
            made / "bundle", made / "catalog.csv", made / "validation", recalibrate=made / "local"
        ),
        "validation", open_validation, ("bundle", "catalog.csv"),
    ),
    "cells": Command(
        lambda made: pipelines.find_cells([made / "smear"], made / "found", threads=1),
        "found", open_cells, ("smear",),
    ),
    "differential": Command(
        lambda made: pipelines.count_differentials(
            [made / "smear", made / "painted"], made / "bundle", made / "counts",
        ),
        "counts", open_differential, ("smear", "painted", "bundle"),
    ),
}  # fmt: skip
FEWER = {"leak-report": 0.5}
"""Share of the rounds for commands that take long."""


def make_all(made: Path) -> None:
    """The smallest painted set, two networks, one of them calibrated, and its bundle."""
    catalog = pipelines.scan_images(save_painted(made / "painted", 160, copies=1, size_px=48),
                                    made / "catalog.csv")  # fmt: skip
    split = pipelines.split_catalog(catalog, "grouped", made / "split.csv")
    for name, seed in (("a", 1), ("b", 2)):
        recipe = load_recipe("quick", (*SETTINGS, f"train.seed={seed}"))
        pipelines.train_run(split, recipe, made / name, packs=made / "packs")
    pipelines.calibrate_run(made / "a", overrides=["trust.alpha=0.2"])
    pipelines.export_run(made / "a", made / "bundle", variants=("fp32",))
    # The next export has another network: the older bundle differs in every file.
    shutil.copytree(made / "b", made / "c")
    pipelines.calibrate_run(made / "c", overrides=["trust.alpha=0.2"])
    shutil.rmtree(made / "bundle")
    pipelines.export_run(made / "c", made / "bundle", variants=("fp32",))
    (made / "smear").mkdir()
    for k, field in enumerate(paint_fields(2, px_per_um=8.0, seed=1)):
        (made / f"smear/{k}.jpg").write_bytes(field.jpeg)


def kill_once(name: str, made: Path, seconds: float, seed: int) -> str:
    """Kill a command once, check what is left, and call it again. Return what was left."""
    command, rng = COMMANDS[name], random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory(prefix="kill") as folder:
        place = Path(shutil.copytree(made, Path(folder) / "made", symlinks=True))
        out = place / command.out
        before = {one: _read(place / one) for one in command.old}
        had = read_all(out) if out.is_dir() else None
        moment, seen = rng.uniform(0, seconds), 0.0
        delay = rng.uniform(0, 0.03)

        def kill(process: int) -> bool:
            nonlocal seen
            if seed % 2 == 0:
                return read_cpu_s(process) >= moment
            if not seen and out.is_dir() and any(out.rglob(".*.tmp")):
                seen = time.monotonic()
            return bool(seen) and time.monotonic() - seen >= delay

        said = run_apart(lambda: command.call(place), kill)
        if said not in ("killed", "done"):
            raise AssertionError(f"the command itself: {said}")
        left = "nothing"
        if out.is_dir():
            if had is not None and read_all(out) == had:
                left = "the old"
            else:
                left = run_apart(lambda: command.opens(out)).split(":")[0]
                left = {"done": "the new"}.get(left, left)
        assert left in ("nothing", "the old", "the new") or left.endswith("Error"), left
        if name == "export":
            assert left in ("the old", "the new"), f"no bundle that opens: {left}"
        for one, content in before.items():
            assert _read(place / one) == content, f"{one} has changed"
        again = run_apart(lambda: command.call(place))
        # A whole ensemble is not built twice, and no cells are put among those of another call.
        taken = "must not hold a run yet" in again or "must be an empty folder" in again
        whole = name in ("ensemble", "cells") and left == "the new" and taken
        assert again == "done" or whole, f"called again ({left}): {again}"
        assert run_apart(lambda: command.opens(out)) == "done"
        waste = [str(path.relative_to(place)) for path in place.rglob(".*.tmp")]
        assert not waste, f"left behind: {waste}"
        return f"{said}, left {left}"


def fill_once(name: str, made: Path, largest: int, seed: int) -> str:
    """Call a command where no file grows beyond a random size, check what is left, and call it
    again. Return what came."""
    command, rng = COMMANDS[name], random.Random(f"full {name} {seed}")
    limit = int(2 ** rng.uniform(4, np.log2(largest)))
    with tempfile.TemporaryDirectory(prefix="full") as folder:
        place = Path(shutil.copytree(made, Path(folder) / "made", symlinks=True))
        before = read_all(place)

        def call() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            command.call(place)

        said = run_apart(call)
        if said == "done":
            return "was large enough"
        assert said.startswith("StorageError"), f"{limit} bytes: {said}"
        changed = [one for one, content in read_all(place).items() if before.get(one) != content]
        own = command.grows if said.startswith("StorageError") else ()
        changed = [one for one in changed if not one.startswith(own or ("\0",))]
        assert not changed, f"{limit} bytes: changed or new: {changed[:5]}"
        assert set(before) <= set(read_all(place)), "gone"
        assert run_apart(lambda: command.call(place)) == "done"
        assert run_apart(lambda: command.opens(place / command.out)) == "done"
        return "said so, all as before"


def _read(path: Path) -> object:
    return read_all(path) if path.is_dir() else path.read_bytes()


def measure(name: str, made: Path) -> tuple[float, int]:
    """Seconds of processor time that a command takes undisturbed, and the bytes of the largest file
    that it writes."""
    with tempfile.TemporaryDirectory(prefix="kill") as folder:
        place = Path(shutil.copytree(made, Path(folder) / "made", symlinks=True))
        most = 0.0

        def watch(process: int) -> bool:
            nonlocal most
            most = max(most, read_cpu_s(process))
            return False

        said = run_apart(lambda: COMMANDS[name].call(place), watch)
        assert said == "done", said
        had = read_all(made)
        written = [len(new) for one, new in read_all(place).items() if had.get(one) != new]
        return most, max(written)


def main() -> None:
    """Kill each command and print what was left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--command", action="append", choices=list(COMMANDS))
    parser.add_argument("--made", type=Path, help="folder with the networks of an earlier call")
    parser.add_argument("--full", action="store_true", help="full disks instead of kills")
    given = parser.parse_args()
    made = given.made or Path(tempfile.mkdtemp(prefix="made"))
    if not (made / "bundle").is_dir():
        made.mkdir(exist_ok=True)
        said = run_apart(lambda: make_all(made))
        assert said == "done", said
    os.environ["LEUKOSCOPE_CACHE"] = str(made / "cache.sqlite")
    failed = 0
    for name in given.command or COMMANDS:
        seconds, largest = measure(name, made)
        came: Counter[str] = Counter()
        rounds = max(1, round(given.rounds * FEWER.get(name, 1.0)))
        for seed in range(rounds):
            try:
                once = (
                    fill_once(name, made, largest, seed)
                    if given.full
                    else (kill_once(name, made, seconds, seed))
                )
                came[once] += 1
            except AssertionError as error:
                failed += 1
                came["FAILED"] += 1
                print(f"{name} {seed}: {error}", file=sys.stderr, flush=True)
        counts = "; ".join(f"{what}: {n}" for what, n in came.most_common())
        what = "full disks" if given.full else "kills"
        print(f"{name}: {rounds} {what} ({seconds:.1f} s of processor time); {counts}", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
