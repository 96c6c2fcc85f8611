"""Where the references of `input.stain` come from, and what they do (docs/experiments/031).

Run `python benchmarks/stain_targets.py FOLDER [--images 2000]` on cells as a CellaVision takes them
(PBC). It prints the reference of each method in the order of `config.STAIN_TARGETS`: medians over
images of the ground; means of mean and spread in L*a*b*; medians of stain vectors, brought to
length 1, and of amounts. With --on FOLDER, what each method with the package's references does to
other images: rank correlation of grey levels before and after (1: dark stays dark), nuclei that
come out pale, spread of a* and b*. Half a minute on one free core.
"""

import argparse
from pathlib import Path

import numpy as np

from leukoscope.config import STAIN_TARGETS, InputConfig
from leukoscope.data.images import IMAGE_SUFFIXES, load_pixels
from leukoscope.data.stain import convert_to_lab, find_stains, standardise_stain

SIDE = 128
WHITE = InputConfig(stain="background", stain_target=(240.0, 240.0, 240.0))


def load(folder: Path, images: int, seed: int) -> list[np.ndarray]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    drawn = np.random.default_rng(seed).permutation(len(paths))[:images]
    return [load_pixels(paths[i], SIDE) for i in drawn]


def measure_targets(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    ground = [np.quantile(image.reshape(-1, 3), 0.9, axis=0) for image in images]
    lab = [convert_to_lab(image.reshape(-1, 3)) for image in images]
    found = [find_stains(standardise_stain(image, WHITE).reshape(-1, 3)) for image in images]
    stains = [one for one in found if one is not None]
    vectors = np.median([one[0] for one in stains], axis=0)
    vectors /= np.linalg.norm(vectors, axis=0)
    return {
        "background": np.median(ground, axis=0),
        "reinhard": np.mean([[*one.mean(axis=0), *one.std(axis=0)] for one in lab], axis=0),
        "macenko": np.r_[vectors.T.ravel(), np.median([one[2] for one in stains], axis=0)],
    }


def tell_effect(images: list[np.ndarray]) -> None:
    from scipy.stats import spearmanr

    print(f"{'':12}rank correlation: least, median   nuclei pale   spread of a*, b*")
    before = [convert_to_lab(image.reshape(-1, 3)) for image in images]
    spread = np.mean([one[:, 1:].std(axis=0) for one in before], axis=0)
    print(f"{'as they are':12}{'':48}{spread[0]:.1f}, {spread[1]:.1f}")
    for method in ("background", "reinhard", "macenko"):
        config = InputConfig(stain=method)
        rho, pale, colour = [], [], []
        for image in images:
            found = standardise_stain(image, config)
            grey = image.mean(axis=2).ravel(), found.mean(axis=2).ravel()
            rho.append(spearmanr(*grey).statistic)
            red = image[..., 0]
            pale.append(found[red <= np.quantile(red, 0.03)].mean() > 200)
            colour.append(convert_to_lab(found.reshape(-1, 3))[:, 1:].std(axis=0))
        a, b = np.mean(colour, axis=0)
        print(
            f"{method:12}{min(rho):17.2f}, {np.median(rho):.2f} {100 * np.mean(pale):18.0f} %"
            f"   {a:6.1f}, {b:.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--on", type=Path, action="append", default=[])
    asked = parser.parse_args()
    images = load(asked.folder, asked.images, asked.seed)
    print(f"{len(images)} images of {asked.folder}")
    for method, target in measure_targets(images).items():
        print(f"{method:12}{np.round(target, 3).tolist()}")
        print(f"{'in use':12}{list(STAIN_TARGETS[method])}")
    for folder in asked.on:
        others = load(folder, 60, asked.seed)
        print(f"\n{len(others)} images of {folder}")
        tell_effect(others)


if __name__ == "__main__":
    main()
