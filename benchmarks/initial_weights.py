"""What the start of the weights does to the first epochs (docs/experiments/041).

Run `python benchmarks/initial_weights.py CLASS_FOLDERS WORK`; trains each network from the start
as it is and from the one before, with two seeds, and prints accuracy on validation images.
"""

import sys
from pathlib import Path
from random import Random

from torch import nn

from leukoscope.config import load_recipe
from leukoscope.models import coatnet
from leukoscope.pipelines import scan_images, split_catalog, train_run

PER_CLASS = 150
SEEDS = (1, 2)
NETWORKS = {
    "coatnet-pico": ("quick", ["input.image_size=96"]),
    "coatnet-hematology": ("reference", ["input.image_size=64", "train.epochs=5"]),
}


def draw_as_before(module: nn.Module) -> None:
    """Both families, before: fan-out of a depthwise kernel as of a dense one."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def main(data: Path, work: Path) -> None:
    images = work / "images"
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        names = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
        (images / folder.name).mkdir(parents=True, exist_ok=True)
        for path in Random(0).sample(names, min(PER_CLASS, len(names))):
            link = images / folder.name / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
    split = split_catalog(scan_images(images), "random", seed=1)
    as_now = coatnet._draw_paper_weights, coatnet._draw_keras_weights
    print(
        "| network | start | seed | validation accuracy by epoch |\n|---|---|---|---|", flush=True
    )
    for network, (recipe, settings) in NETWORKS.items():
        for start in ("before", "now"):
            draws = (draw_as_before, draw_as_before) if start == "before" else as_now
            coatnet._draw_paper_weights, coatnet._draw_keras_weights = draws
            for seed in SEEDS:
                out = work / f"{network}-{start}-{seed}"
                chosen = load_recipe(
                    recipe, [*settings, f"train.seed={seed}", "train.precision=fp32"]
                )
                trained = train_run(split, chosen, out)
                shares = ", ".join(
                    f"{100 * x.train_accuracy:.0f} / {100 * x.val_accuracy:.0f}"
                    for x in trained.history
                )
                print(f"| {network} | {start} | {seed} | {shares} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
