"""What was measured: the records, and the page, the figure and the numbers made of them.

What this file does not do: it measures nothing (`run`).
"""

import datetime
import importlib.metadata
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rivals.targets import Outcome

from leukoscope.records import save_record
from leukoscope.storage import create_folder, write_text

PACKAGES = (
    "torch",
    "onnxruntime",
    "openvino",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "timm",
    "torchvision",
    "numpy",
    "pillow",
    "opencv-python-headless",
)
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")

Curves = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
"""Panels by the name of their x axis, each a set of curves of (x, milliseconds per image)."""


@dataclass(frozen=True)
class Comparison:
    """Seconds per batch and round of several candidates, in the order they took turns.

    `base` is the candidate that ratios are about: how many times faster it is than another
    (`base_is_ours`), or how many times faster another is than it. Ratios are taken within rounds.
    """

    title: str
    batch: int
    seconds: Mapping[str, Sequence[float]]
    base: str
    base_is_ours: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def ratios(self, name: str) -> list[float]:
        """Return one ratio per round."""
        pairs = zip(self.seconds[name], self.seconds[self.base], strict=True)
        return [a / b if self.base_is_ours else b / a for a, b in pairs]

    def rate(self, name: str) -> float:
        """Return images per second, the median over rounds."""
        return self.batch / statistics.median(self.seconds[name])


@dataclass(frozen=True)
class Results:
    """Everything of one run. `command` is what reproduces it, `seconds` how long it took."""

    command: str
    quick: bool
    comparisons: tuple[Comparison, ...]
    targets: tuple[Outcome, ...]
    commands: Mapping[str, Sequence[float]]
    """Of `leukoscope predict`: seconds or megabytes by what was measured."""
    curves: Curves
    seconds: float
    machine: Sequence[str] = field(default_factory=lambda: describe_machine())
    failed: Mapping[str, str] = field(default_factory=dict)
    """Parts that could not be measured, and why."""


def describe_machine() -> list[str]:
    """Return sentences on processor, versions and date; no names of places or machines."""
    from leukoscope.deploy.predictor import count_cores

    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = set(next((x for x in lines if x.startswith("flags")), "").split())
    known = ", ".join(name for name in FLAGS if name in flags) or "unknown"
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    found = [
        f"{datetime.date.today().isoformat()}, {platform.system()} {platform.machine()},"
        f" {count_cores()} cores; of the instruction sets that matter: {known}",
        f"Python {platform.python_version()}, {', '.join(versions)}",
    ]
    import torch

    if torch.cuda.is_available():
        found.append(f"GPU: {torch.cuda.get_device_name()}")
    return found


def save_results(results: Results, path: Path) -> list[Path]:
    """Write the page, and beside it the numbers (`.json`) and the figure (`.svg`, `.png`).

    Returns the files. Raises `StorageError` where they cannot be written.
    """
    create_folder(path.parent)
    files = [path, path.with_suffix(".json")]
    write_text(path, render_markdown(results, path.stem))
    save_record(results, files[1])
    if results.curves:
        from benchmarks.rivals.figure import draw_costs

        from leukoscope.report.figures import save_figure

        figure = draw_costs(results.curves, "Milliseconds per image, coatnet-pico")
        files += save_figure(figure, path.parent, path.stem)
    return files


def render_markdown(results: Results, name: str) -> str:
    """Return the page; `name` is that of the figure beside it."""
    lines = ["# Results", ""]
    if results.quick:
        lines += ["**Quick run: small sizes, few rounds. It shows that all works, no more.**", ""]
    lines += [
        f"Written by `{results.command}` in {results.seconds / 60:.0f} minutes. Read the ratios:"
        " absolute times are those of one machine on one day, perhaps shared with others. A ratio"
        " is the median over rounds, in brackets the smallest and the largest; every candidate"
        " runs alone, in a process of its own, and all take turns.",
        "",
        *(f"- {sentence}" for sentence in results.machine),
    ]
    if results.targets:
        lines += ["", "| work | target | measured | |", "|---|---|---|---|"]
        lines += [
            f"| {one.work} | {one.target} | **{_figure(one.value)} {one.unit}**"
            f" ({_figure(one.low)} to {_figure(one.high)})"
            f" | {'met' if one.met else 'below target'} |"
            for one in results.targets
        ]
    for part in results.comparisons:
        head = "ours is faster by" if part.base_is_ours else "faster than the first by"
        lines += ["", f"## {part.title}", "", f"| candidate | images/s | {head} |", "|---|---|---|"]
        for candidate in part.seconds:
            ratios = part.ratios(candidate)
            lines.append(
                f"| {candidate} | {_figure(part.rate(candidate))} |"
                f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
            )
        lines += [f"\nLeft out: {who} ({why})." for who, why in part.left_out.items()]
        lines += ["", part.note] if part.note else []
    if results.commands:
        lines += ["", "## The whole command", "", "| what | median | smallest | largest |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {what} | {_figure(statistics.median(x))} | {_figure(min(x))} | {_figure(max(x))} |"
            for what, x in results.commands.items()
        ]
    lines += [f"\nNot measured: {part} ({why})." for part, why in results.failed.items()]
    if results.curves:
        lines += ["", "## Cost against size", "", f"![Milliseconds per image]({name}.svg)"]
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    """Three significant digits without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
