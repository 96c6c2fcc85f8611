"""The command: `python -m benchmarks.rivals`, from the root of the repository (`make bench`).

Rivals are measured where they are installed (`pip install 'leukoscope[bench]'`). Most of an hour on
two cores; parts by --only. Prints what it measured, and writes a page, its numbers and a figure.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rivals.results import Results
from benchmarks.rivals.run import run_benchmarks
from benchmarks.rivals.setting import PARTS

from leukoscope.errors import LeukoscopeError


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser("python -m benchmarks.rivals", description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks/RESULTS.md"),
        help="page to write; numbers and figure lie beside it",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=PARTS,
        help="only this part; may be given again",
    )
    parser.add_argument("--images", type=Path, help="folder of images; painted cells if not given")
    parser.add_argument("--run", type=Path, help="trained run for the whole command `predict`")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every candidate")
    parser.add_argument("--batch", type=int, default=32, help="images in a training step")
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of training steps"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work?")
    return parser


def name_command(options: argparse.Namespace) -> str:
    """Return the command that reproduces the page, without anybody's paths."""
    words = ["python -m benchmarks.rivals"]
    words += [f"--rounds {options.rounds}", f"--batch {options.batch}"]
    words += [f"--only {part}" for part in options.only]
    words += ["--images FOLDER"] if options.images else []
    words += ["--run RUN"] if options.run else []
    words += [f"--precision {options.precision}"] if options.precision != "auto" else []
    words += ["--quick"] if options.quick else []
    return " ".join(words)


def print_results(results: Results, out: Path) -> None:
    """Print every comparison, and which targets were met."""
    for part in results.comparisons:
        print(f"\n{part.title}")
        head = "ours is faster by" if part.base_is_ours else "against the first"
        print(f"  {'candidate':45}{'images/s':>10}  {head}")
        for name in part.seconds:
            ratios = part.ratios(name)
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"  {name:45}{part.rate(name):>10,.1f}  {spread}")
        for name, why in part.left_out.items():
            print(f"  left out: {name} ({why})")
    for what, found in results.commands.items():
        print(f"predict, {what}: {statistics.median(found):,.2f}")
    for one in results.targets:
        outcome = "met" if one.met else "below target"
        print(f"{one.work}: {one.value:.3g} {one.unit}, target {one.target}: {outcome}")
    for what, why in results.failed.items():
        print(f"not measured: {what} ({why})")
    print(f"Results: {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        results = run_benchmarks(
            options.out,
            only=options.only,
            images=options.images,
            run=options.run,
            rounds=options.rounds,
            batch=options.batch,
            precision=options.precision,
            quick=options.quick,
            command=name_command(options),
            progress=lambda what, done, total: print(f"{what} {done}/{total}", file=sys.stderr),
        )
    except LeukoscopeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print_results(results, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
