"""A benchmark: prepares images, starts one process after another, gathers records.

What this file does not do: it measures nothing in its own process, and prints nothing.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.rivals import feeding, prediction, targets, training
from benchmarks.rivals.results import Comparison, Results, save_results
from benchmarks.rivals.setting import Part, Setting, parse_parts
from PIL import Image

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.deploy.files import list_images
from leukoscope.errors import LeukoscopeError, RunError
from leukoscope.painted.cells import save_painted

Progress = Callable[[str, int, int], None]

ROOT = Path(__file__).resolve().parents[2]
"""Where `benchmarks.rivals` can be imported from."""

N_FILES = 1024
"""JPEG files that feeding and the whole command work on."""

INSTALL = "pip install 'leukoscope[bench]'"


def run_benchmarks(
    out: str | Path,
    *,
    only: Sequence[str] = (),
    images: str | Path | None = None,
    run: str | Path | None = None,
    rounds: int = 3,
    batch: int = 32,
    precision: str = "auto",
    quick: bool = False,
    command: str = "python -m benchmarks.rivals",
    progress: Progress = lambda _what, _done, _total: None,
) -> Results:
    """Measure ours against what is installed of its peers, and write page, numbers and figure.

    `only` names parts: feeding, training, prediction, command, scaling (all if empty).
    `images` is a folder of image files (painted cells if not given), of which at most `N_FILES`
    are drawn; `run` a trained run for the whole command (one epoch on painted cells if not
    given). An interruption writes what is done so far, and is raised again.

    Raises `ConfigError` for another part, `DataError` for a folder without images, `StorageError`,
    and what the use cases raise.
    """
    started = time.monotonic()
    parts = parse_parts(only)
    if precision == "auto":
        precision = training_precision()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        bench = _Bench(place, rounds, precision, quick, progress)
        try:
            bench.collect_images(images)
            for part in parts:
                try:
                    bench.measure(part, batch, Path(run) if run is not None else None)
                except LeukoscopeError as error:  # the other parts are worth having
                    bench.failed[part] = hide_folders(error.found)
        finally:
            results = Results(
                command=command,
                quick=quick,
                comparisons=tuple(bench.comparisons),
                targets=tuple(bench.targets),
                commands=bench.commands,
                curves=bench.curves,
                seconds=time.monotonic() - started,
                failed=bench.failed,
            )
            if bench.comparisons or bench.commands or bench.curves or bench.failed:
                save_results(results, Path(out))
    return results


def training_precision() -> str:
    """Return the precision that training would choose here, fp32 or bf16."""
    from leukoscope.training.device import choose_precision, pick_device

    return "bf16" if choose_precision(pick_device()) == "bf16" else "fp32"


def hide_folders(text: str) -> str:
    """Leave of every path in a message its last part: pages are published, folders are private."""
    return re.sub(r"(?:[A-Za-z]:)?[\\/](?:[^\s'\"\\/]+[\\/])+", "", text)


class _Bench:
    """What has been measured so far."""

    def __init__(
        self, place: Path, rounds: int, precision: str, quick: bool, progress: Progress
    ) -> None:
        self.place, self.rounds, self.precision, self.quick = place, rounds, precision, quick
        self.progress = progress
        self.files = place / "files"
        self.comparisons: list[Comparison] = []
        self.targets: list[targets.Outcome] = []
        self.commands: dict[str, list[float]] = {}
        self.failed: dict[str, str] = {}
        self.curves: dict[str, dict[str, list[tuple[float, float]]]] = {}

    def collect_images(self, images: str | Path | None) -> None:
        """Put JPEG files, one folder per class, into `self.files`."""
        n = 48 if self.quick else N_FILES
        if images is None:
            save_painted(self.place / "painted", n // 4, copies=4, size_px=240)
            for path in list_images([self.place / "painted" / "images"]).paths:
                target = self.files / path.parent.name / f"{path.stem}.jpeg"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.open(path).convert("RGB").save(target, quality=85)
            return
        found = list_images([images]).paths
        for row in np.random.default_rng(0).permutation(len(found))[:n]:
            source = found[row]
            target = self.files / source.parent.name / f"{row}{source.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def measure(self, part: Part, batch: int, run: Path | None) -> None:
        """Measure one part and keep what came."""
        whole = Setting(str(self.files), str(self.place), batch, precision=self.precision)
        if self.quick:
            whole = replace(whole, batch=4, size_px=64, repeats=1)
        if part == "feeding":
            self._measure_feeding(whole)
        elif part == "training":
            self._measure_training(whole)
        elif part == "prediction":
            self._measure_prediction(whole)
        elif part == "command":
            self._measure_command(run)
        else:
            self.progress("scaling", 0, 1)
            self.curves = self._run_alone("scaling", "quick" if self.quick else "whole", whole)  # type: ignore[assignment]
            self.progress("scaling", 1, 1)

    def _measure_feeding(self, whole: Setting) -> None:
        setting = whole if self.quick else replace(whole, batch=32, warm_up=8, repeats=24)
        title = f"Feeding training: batches of {setting.batch}, {setting.size_px} px, augmented"
        done = self._take_turns("feeding", title, list(feeding.CANDIDATES), feeding.OURS, setting)
        for name, target in targets.FEEDING.items():
            self._compare(target, done, name)
        steps = [
            self._run_alone("hematology", training.OURS, replace(setting, warm_up=1, repeats=1))
            for _ in range(min(2, self.rounds))
        ]
        shares = [100 * x / min(steps) for x in done.seconds.get(feeding.OURS, ())]  # type: ignore[type-var, operator]
        if shares:
            self.targets.append(targets.FEEDING_SHARE.compare(shares))

    def _measure_training(self, whole: Setting) -> None:
        sizes = f"batch {whole.batch}, {whole.size_px} px, {whole.precision}"
        for group, preset, names in (
            ("hematology", "coatnet-hematology", training.HEMATOLOGY),
            ("paper", "coatnet-0", training.PAPER),
        ):
            setting = replace(whole, preset=preset)
            title = f"A training step: {preset}, {sizes}"
            flops = float(self._run_alone(group, "flops", setting))  # type: ignore[arg-type]
            done = self._take_turns(group, title, list(names), training.OURS, setting)
            if training.OURS in done.seconds:
                best = flops / min(done.seconds[training.OURS]) / 1e9
                note = (
                    f"One step of ours takes {flops / 1e9:,.0f} GFLOP (layers alone, 2 per"
                    " multiply-add, backward counted as twice forward),"
                    f" done at {best:,.0f} GFLOP/s at best."
                )
                self.comparisons[-1] = done = replace(done, note=note)
            for (of, name), target in targets.TRAINING.items():
                if of == preset:
                    self._compare(target, done, name)

    def _measure_prediction(self, whole: Setting) -> None:
        for preset, size_px, names, base in (
            ("coatnet-hematology", 224, prediction.HEMATOLOGY, prediction.PLAIN),
            ("coatnet-pico", 160, prediction.PICO, prediction.TORCH),
        ):
            setting = replace(whole, preset=preset, size_px=size_px, batch=8, repeats=4, warm_up=2)
            if self.quick:
                setting = replace(setting, size_px=64, repeats=1)
            self.progress("graphs", 0, 1)
            self._run_alone("prediction", "graphs", setting)
            title = f"Prediction: {preset}, {setting.size_px} px, batches of {setting.batch}"
            done = self._take_turns(
                "prediction", title, list(names), base, setting, base_is_ours=False
            )
            ours = [name for name in done.seconds if name.startswith("ours")]
            if base == prediction.PLAIN and base in done.seconds and ours:
                best = max(ours, key=lambda name: float(np.median(done.ratios(name))))
                self._compare(targets.PREDICTION, done, best)

    def _measure_command(self, run: Path | None) -> None:
        bundle, table = self.place / "bundle", self.place / "predictions.csv"
        self.progress("bundle", 0, 1)
        pipelines.export_run(run or self._train_small_run(), bundle, variants=("fp32", "int8"))
        files = list_images([self.files])
        kinds = (("one image", files[:1]), (f"{len(files):,} files", [self.files]))
        for turn in range(self.rounds):
            for variant in ("fp32", "int8"):
                for kind, given in kinds:
                    seconds, peak = prediction.time_command(bundle, given, table, variant)
                    self.commands.setdefault(f"{kind}, {variant}: peak MB", []).append(peak)
                    if given == files[:1]:
                        self.commands.setdefault(f"{kind}, {variant}: s", []).append(seconds)
                    else:
                        rate = len(files) / seconds
                        self.commands.setdefault(f"{kind}, {variant}: images/s", []).append(rate)
            self.progress("whole command", turn + 1, self.rounds)
        for target, key in (
            (targets.ONE_IMAGE, "one image, fp32: s"),
            (targets.ONE_IMAGE_MEMORY, "one image, fp32: peak MB"),
            (targets.MANY_FILES, f"{len(files):,} files, int8: images/s"),
        ):
            self.targets.append(target.compare(self.commands[key]))

    def _train_small_run(self) -> Path:
        self.progress("training a small network", 0, 1)
        size_px = 64 if self.quick else 160
        recipe = load_recipe("quick", [f"input.image_size={size_px}", "train.epochs=1"])
        painted = save_painted(self.place / "small", 12, copies=4, size_px=96)
        split = pipelines.split_catalog(pipelines.scan_images(painted), "grouped")
        pipelines.train_run(split, recipe, self.place / "run")
        self.progress("training a small network", 1, 1)
        return self.place / "run"

    # -- one process after another ----------------------------------------------------------------

    def _take_turns(
        self,
        part: str,
        title: str,
        names: Iterable[str],
        base: str,
        setting: Setting,
        *,
        base_is_ours: bool = True,
    ) -> Comparison:
        """Ask every candidate once per round; one that fails is left out from then on."""
        waiting = list(names)
        seconds: dict[str, list[float]] = {name: [] for name in waiting}
        left_out: dict[str, str] = {}
        total = self.rounds * len(waiting)
        for turn in range(self.rounds):
            for place, name in enumerate(list(waiting)):
                try:
                    seconds[name].append(float(self._run_alone(part, name, setting)))  # type: ignore[arg-type]
                except RunError as error:
                    left_out[name] = hide_folders(error.found)
                    waiting.remove(name)
                    del seconds[name]
                self.progress(title, turn * (total // self.rounds) + place + 1, total)
        done = Comparison(
            title, setting.batch, seconds, base, base_is_ours=base_is_ours, left_out=left_out
        )
        if base not in seconds:  # nothing to compare with
            done = replace(done, seconds={})
        self.comparisons.append(done)
        return done

    def _compare(self, target: targets.Target, done: Comparison, name: str) -> None:
        if name in done.seconds and not self.quick:
            self.targets.append(target.compare(done.ratios(name)))

    def _run_alone(self, part: str, candidate: str, setting: Setting) -> object:
        """Measure in a new process. Raises `RunError` with the reason where that fails."""
        command = [
            sys.executable,
            "-m",
            "benchmarks.rivals.measure",
            part,
            candidate,
            setting.to_json(),
        ]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if answer.returncode:
            lines = [line for line in answer.stderr.splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit code {answer.returncode}"
            if reason.startswith(("ModuleNotFoundError", "leukoscope.errors.MissingExtraError")):
                reason += f"; {INSTALL}"
            raise RunError(
                f"{candidate} must be measurable",
                reason,
                "install what is missing, or read the ratios without it",
            )
        found: object = json.loads(answer.stdout.strip().splitlines()[-1])
        return found
