"""What augmentation and regularisation add where stains differ (docs/experiments/009).

Painted cells, split by slide: test slides have stains that training never saw. Run
`python benchmarks/augmentation.py FOLDER`; writes runs into FOLDER and prints a table. About a
minute for each of the runs on two cores.
"""

import csv
import sys
from pathlib import Path

from leukoscope.config import load_recipe
from leukoscope.painted.cells import save_painted
from leukoscope.pipelines import evaluate_run, scan_images, split_catalog, train_run

COMMON = ["input.image_size=64", "model.preset=coatnet-pico", "train.epochs=24"]
PLAIN = ["augment.flip=false", "augment.rotate_deg=0", "augment.shift_frac=0"]
GEOMETRY = [
    "augment.flip=true", "augment.rotate_deg=180", "augment.shift_frac=0.1",
    "augment.scale_frac=0.15", "augment.shear_deg=10",
]  # fmt: skip
STAIN = ["augment.stain=0.25", "augment.brightness=0.15", "augment.blur_px=1.0"]
MIXING = ["augment.mixup=0.2", "augment.cutmix=1.0", "optim.label_smoothing=0.1"]
VARIANTS = {
    "no augmentation": PLAIN,
    "quick": [],
    "geometry": GEOMETRY,
    "geometry, stain": GEOMETRY + STAIN,
    "geometry, stain, mixing": GEOMETRY + STAIN + MIXING,
}
SEEDS = (1, 2)


def main(folder: Path) -> None:
    painted = save_painted(folder / "painted", 480, copies=2, size_px=64)
    by_slide = painted.with_name("by_slide.csv")
    with painted.open() as file, by_slide.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "source"])
        writer.writerows([row["path"], row["label"], row["slide"]] for row in csv.DictReader(file))
    catalog = scan_images(by_slide)
    print(f"{'variant':26} accuracy on unseen slides (95 % interval), by seed", flush=True)
    for name, settings in VARIANTS.items():
        cells = []
        for seed in SEEDS:
            split = split_catalog(catalog, "grouped", seed=seed)
            recipe = load_recipe("quick", [*COMMON, *settings, f"train.seed={seed}"])
            out = folder / f"{name} {seed}".replace(",", "").replace(" ", "-")
            train_run(split, recipe, out, resume=True)
            found = evaluate_run(out).record.figures["accuracy"]
            cells.append(f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
        print(f"{name:26} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
