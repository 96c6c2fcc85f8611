"""How many damaged files of a run and of a bundle are opened as if they were whole?

    python benchmarks/flip_bits.py RUN BUNDLE --flips 1000

Of a copy of both, every file that their readers bind by hash is damaged in one bit, anywhere, so
many times, and opened. Prints, for each file, how many were rejected in words, how many were
opened, and how many raised anything else.
"""

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from leukoscope.deploy.bundle import load_bundle
from leukoscope.errors import LeukoscopeError
from leukoscope.pipelines.evaluation import load_evaluation
from leukoscope.pipelines.runs import load_run_scores, load_run_split
from leukoscope.runfolder import RunFolder
from leukoscope.training.record import load_model_record
from leukoscope.training.trained import load_trained
from leukoscope.trust.record import load_trust

CPU = torch.device("cpu")

RUN_FILES: dict[str, Callable[[RunFolder], object]] = {
    "recipe.json": RunFolder.load_recipe,
    "provenance.json": RunFolder.load_provenance,
    "model.json": load_model_record,
    "model.safetensors": lambda run: load_trained(run, CPU),
    "split.csv": load_run_split,
    "scores.parquet": load_run_scores,
    "trust.json": load_trust,
    "trust.npz": load_trust,
    "metrics.json": lambda run: load_evaluation(run.path / "metrics.json"),
}


def open_bundle(folder: Path) -> None:
    """Open all of a bundle."""
    bundle = load_bundle(folder)
    bundle.read_trust()
    for name in bundle.info.variants:
        bundle.read_graph(name)


def try_flips(path: Path, opens: Callable[[], object], flips: int, seed: int) -> Counter[str]:
    """Return how many copies of a file with one bit changed were rejected, opened or raised."""
    content, found = path.read_bytes(), Counter[str]()
    draw = random.Random(seed)
    for _ in range(flips):
        bit = draw.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            opens()
            found["opened"] += 1
        except LeukoscopeError:
            found["rejected"] += 1
        except Exception as error:
            found[type(error).__name__] += 1
    path.write_bytes(content)
    opens()
    return found


def main() -> None:
    """Damage copies and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = RunFolder(Path(shutil.copytree(given.run, Path(place) / "run")))
        bundle = Path(shutil.copytree(given.bundle, Path(place) / "bundle"))
        todo: list[tuple[Path, Callable[[], object]]] = [
            (run.path / name, lambda opens=opens: opens(run))  # type: ignore[misc]
            for name, opens in RUN_FILES.items()
        ]
        todo += [(path, lambda: open_bundle(bundle)) for path in sorted(bundle.iterdir())]
        for path, opens in todo:
            if path.is_file():
                found = try_flips(path, opens, given.flips, given.seed)
                print(f"{path.parent.name}/{path.name}: {dict(found)}", flush=True)


if __name__ == "__main__":
    main()
