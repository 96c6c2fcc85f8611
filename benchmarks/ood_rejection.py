"""What does a bundle do with out-of-distribution images? (docs/experiments/030)

    python benchmarks/ood_rejection.py BUNDLE RUN [--data ../shared/data]

BUNDLE is exported from the calibrated RUN, which was trained on PBC. The images are made by
`ood_images.py`; every one goes through the bundle, without PyTorch, and what counts is the decision
that a user gets. The test images of RUN's split come first: what is rejected there is the price.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leukoscope.data.images import load_pixels
from leukoscope.deploy.predictor import Prediction, Predictor
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from ood_images import MOST, Images, build_groups

BATCH = 32


def compute_shares(found: Sequence[Prediction]) -> list[float]:
    """Percentages: accepted, review, unknown, not accepted."""
    status = np.array([one.decision for one in found])
    shares = [100 * float((status == name).mean()) for name in ("accepted", "review", "unknown")]
    return [*shares, 100 - shares[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    predictor, table = Predictor(given.bundle), load_scores(RunFolder(given.run).scores)
    config = predictor.bundle.info.preprocessing
    test = table.take(np.flatnonzero(np.array(table.roles) == "test"))
    rows = np.sort(np.random.default_rng(1).permutation(len(test.paths))[: MOST // 2])
    ways = {"resize": config.resize, "interpolation": config.interpolation}
    internal: Images = np.stack(
        [load_pixels(Path(test.paths[i]), config.image_size, **ways) for i in rows]
    )
    print(
        "| group | images | accepted | review | unknown | not accepted |\n|---|---|---|---|---|---|"
    )
    found = compute_shares(list(predictor.predict_files(test.paths)))
    print(f"| PBC test | {len(test.paths):,} | " + " | ".join(f"{x:.1f}" for x in found) + " |")
    target: list[float] = []
    for name, images in build_groups(given.data, config.image_size, internal).items():
        starts = range(0, len(images), BATCH)
        found = compute_shares(
            [p for i in starts for p in predictor.predict_pixels(images[i : i + BATCH])]
        )
        print(f"| {name} | {len(images):,} | " + " | ".join(f"{x:.1f}" for x in found) + " |")
        if not name.startswith(("internal", "extra")):
            target.append(found[-1])
    print(f"\nNot accepted, %: mean {np.mean(target):.1f}, least {min(target):.1f} of a group")


if __name__ == "__main__":
    main()
