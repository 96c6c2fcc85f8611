"""Which distance rejects out-of-distribution images, and at what cost? (docs/experiments/019)

Run `python benchmarks/novelty.py RUN [--data ../shared/data] [--reject 0.02]`; needs the extra
`bench`. RUN is trained on PBC; the other images are made by `ood_images.py`. Distances
are fitted on the train rows of the run's score table, thresholds on its calib rows.

Table 1: share of each group that is rejected, in per cent, by one distance alone with all of the
rejections that are allowed. `energy`, `max logit` (Liu et al. 2020, Hendrycks et al. 2022) and
`ViM` (Wang et al. 2022) are baselines. Table 2: image quality and a distance with half of them
each, as the package does. Then: what is rejected of each internal class, how far the other images
lie beyond the threshold of quality, which features say so, and milliseconds per image.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from leukoscope.data.images import load_pixels
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.training.trained import load_trained
from leukoscope.trust.novelty import fit_distance_threshold, fit_novelty
from leukoscope.trust.quality import (
    STRONG_RATIO,
    QualityModel,
    fit_quality,
    measure_quality,
)
from ood_images import MOST, Images, build_groups

Array = NDArray[np.float64]
Distance = Callable[[Array, Array], Array]
"""From embeddings `(N, D)` and logits `(N, K)` to distances `(N,)`."""

MOST_TRAIN = 4000
"""Train images whose quality is measured, to save time."""


def fit_distances(
    embeddings: Array, labels: NDArray[np.int64], logits: Array
) -> dict[str, Distance]:
    scorers: dict[str, Distance] = {}
    model = fit_novelty(embeddings, labels)
    scorers["mahalanobis"] = lambda e, _: model.compute_distance(e)
    scaled = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def compute_neighbour(e: Array, _: Array) -> Array:
        rows = e / np.linalg.norm(e, axis=1, keepdims=True)
        near = [np.partition(2 - 2 * (scaled @ row), 4)[4] for row in rows]
        return np.sqrt(np.maximum(near, 0))

    scorers["5th neighbour"] = compute_neighbour
    scorers["max logit"] = lambda _, z: -z.max(axis=1)
    scorers["energy"] = lambda _, z: -np.logaddexp.reduce(z, axis=1)
    centre = embeddings.mean(axis=0)
    directions = np.linalg.eigh(np.cov((embeddings - centre).T))[1]
    rest = directions[:, : -min(64, embeddings.shape[1] // 2)]
    lengths = np.linalg.norm((embeddings - centre) @ rest, axis=1)
    scale = logits.max(axis=1).mean() / lengths.mean()

    def compute_vim(e: Array, z: Array) -> Array:
        away = np.linalg.norm((e - centre) @ rest, axis=1)
        return scale * away - np.logaddexp.reduce(z, axis=1)

    scorers["ViM"] = compute_vim
    return scorers


def print_table(title: str, columns: list[str], rows: dict[str, list[float]]) -> None:
    print(
        f"\n{title}\n\n| group | "
        + " | ".join(columns)
        + " |\n"
        + "|---" * (len(columns) + 1)
        + "|"
    )
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    target = [v for n, v in rows.items() if not n.startswith(("internal", "extra", "PBC test"))]
    for name, value in (("mean of the target", np.mean), ("least of the target", np.min)):
        print(f"| **{name}** | " + " | ".join(f"{x:.1f}" for x in value(target, axis=0)) + " |")


def measure_speed(do: Callable[[], object], n: int) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        do()
        times.append((time.perf_counter() - start) / n * 1e3)
    return min(times)


def describe_quality(model: QualityModel, quality: NDArray[np.float32]) -> str:
    ratios = model.compute_distance(quality)
    outside = (quality < np.array(model.usual_low)) | (quality > np.array(model.usual_high))
    shares = outside.mean(axis=0)
    most = [q for q in np.argsort(-shares, kind="stable")[:4] if shares[q]]
    named = ", ".join(f"{model.names[q]} {shares[q]:.0%}" for q in most)
    low, middle = np.quantile(ratios, (0.05, 0.5))
    return f"| {low:.2f} | {middle:.2f} | {100 * (ratios > STRONG_RATIO).mean():.1f} | {named} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--reject", type=float, default=0.02)
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = RunFolder(given.run)
    trained, table = load_trained(run), load_scores(run.require(run.scores, "leukoscope train"))
    side = trained.input.image_size
    roles = np.array(table.roles)
    at = {role: np.flatnonzero(roles == role) for role in ("train", "calib", "test")}

    def read(index: NDArray[np.intp]) -> Images:
        config = trained.input
        ways = {"resize": config.resize, "interpolation": config.interpolation}
        return np.stack([load_pixels(Path(table.paths[i]), side, **ways) for i in index])

    rng = np.random.default_rng(1)
    looked_at = at | {"train": np.sort(rng.permutation(at["train"])[:MOST_TRAIN])}
    quality = {
        role: np.concatenate([measure_quality(read(part)) for part in np.array_split(index, 20)])
        for role, index in looked_at.items()
    }
    internal = read(np.sort(rng.permutation(at["test"])[: MOST // 2]))
    groups = build_groups(given.data, side, internal)
    embeddings: dict[str, Array] = {"PBC test": table.embeddings_ND[at["test"]].astype(float)}
    logits: dict[str, Array] = {"PBC test": table.logits_NK[at["test"]].astype(float)}
    seen = {"PBC test": quality["test"]}
    for name, images in groups.items():
        found = trained.score(images)
        z, e = found.logits_NK, found.embeddings_ND
        embeddings[name], logits[name] = e.astype(float), z.astype(float)
        seen[name] = measure_quality(images)

    calib = (
        table.embeddings_ND[at["calib"]].astype(float),
        table.logits_NK[at["calib"]].astype(float),
    )
    train = table.embeddings_ND[at["train"]].astype(float)
    labels = table.labels_N[at["train"]]
    scorers = fit_distances(train, labels, table.logits_NK[at["train"]].astype(float))
    distances = {
        scorer: {name: f(embeddings[name], logits[name]) for name in embeddings}
        for scorer, f in scorers.items()
    }
    on_calib = {scorer: f(*calib) for scorer, f in scorers.items()}

    whole = fit_quality(quality["train"], quality["calib"], given.reject)
    columns = [*scorers, "quality"]
    thresholds = {j: fit_distance_threshold(d, given.reject) for j, d in on_calib.items()}
    alone = {
        name: [100 * float((distances[j][name] > thresholds[j]).mean()) for j in scorers]
        + [100 * float((whole.compute_distance(seen[name]) > 1).mean())]
        for name in seen
    }
    sizes = ", ".join(f"{role} {len(index)}" for role, index in at.items())
    print(f"{len(table.classes)} classes, {side} px, D {train.shape[1]}; {sizes}")
    print_table(f"1. Rejected by one distance alone at {given.reject:.1%}, %", columns, alone)

    half = fit_quality(quality["train"], quality["calib"], given.reject / 2)
    by_quality = {name: half.compute_distance(seen[name]) > 1 for name in seen}
    thresholds = {j: fit_distance_threshold(d, given.reject / 2) for j, d in on_calib.items()}
    by_distance = {
        name: distances["mahalanobis"][name] > thresholds["mahalanobis"] for name in seen
    }
    together = {
        name: [100 * float(x.mean()) for x in (by_quality[name], by_quality[name] | far)]
        for name, far in by_distance.items()
    }
    columns = [f"quality at {given.reject / 2:.1%}", "and mahalanobis"]
    print_table("2. Rejected by both, half of the rejections each, %", columns, together)

    print("\n3. PBC test by class, rejected by quality / by distance / by both, %\n")
    for k, name in enumerate(table.classes):
        here = table.labels_N[at["test"]] == k
        parts = [by_quality["PBC test"], by_distance["PBC test"]]
        parts.append(parts[0] | parts[1])
        print(
            f"| {name} | {here.sum()} | " + " | ".join(f"{100 * p[here].mean():.1f}" for p in parts)
        )

    print("\n4. Quality: distance over threshold (5 % quantile, median), strong %, features\n")
    for name in seen:
        print(f"| {name} {describe_quality(half, seen[name])}")
    for finding in half.compute_findings(np.concatenate([seen[n][:1] for n in seen])):
        print("  ", *(f"{one.feature} {one.side}" for one in finding.deviations))

    print("\n5. Milliseconds per image, one thread")
    print(f"measure_quality {measure_speed(lambda: measure_quality(internal[:100]), 100):.2f}")
    spent = measure_speed(lambda: half.compute_findings(quality["test"][:200]), 200)
    print(f"compute_findings {spent:.3f}")
    model = fit_novelty(train, labels)
    size = sum(array.nbytes for array in model.to_arrays().values()) / 1e6
    spent = measure_speed(lambda: model.compute_distance(calib[0][:200]), 200)
    print(f"mahalanobis {spent:.3f}, {size:.2f} MB")


if __name__ == "__main__":
    main()
