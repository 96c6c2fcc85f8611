"""Is a class that the network never saw rejected, in a familiar stain? (docs/experiments/030)

    python benchmarks/left_out_class.py SPLIT OUT [--recipe RECIPE] [--set KEY=VALUE ...]
        [--classes CLASS ...]

For each class: it leaves the split of a set such as PBC, a network is trained on the others,
calibrated and exported, and the bundle is shown the class's own test images. Stain, camera and
size are those of training, so only the look of the cell differs. The test images of the known
classes are the price. A folder of a run that exists is used again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from leukoscope.config import load_recipe
from leukoscope.data.catalog import Catalog
from leukoscope.data.splits import Split, load_split
from leukoscope.deploy.predictor import Predictor
from leukoscope.pipelines.deploy import export_run
from leukoscope.pipelines.runs import train_run
from leukoscope.pipelines.trust import calibrate_run
from leukoscope.scores import load_scores


def leave_out(split: Split, label: str) -> tuple[Split, list[Path]]:
    """The split without a class, and the paths of that class's test images."""
    rows = list(zip(split.catalog.records, split.roles, strict=True))
    kept = [(record, role) for record, role in rows if record.label != label]
    catalog = Catalog(tuple(record for record, _ in kept))
    unseen = [record.path for record, role in rows if record.label == label and role == "test"]
    return replace(split, catalog=catalog, roles=tuple(role for _, role in kept)), unseen


def describe(predictor: Predictor, paths: list[Path]) -> str:
    """Shares of the three decisions, in percent, and the most frequent accepted label."""
    found = list(predictor.predict_files(paths))
    status = np.array([one.decision for one in found])
    shares = [100 * float((status == name).mean()) for name in ("accepted", "review", "unknown")]
    labels = [one.label for one in found if one.decision == "accepted"]
    usual = max(sorted(set(labels)), key=labels.count) if labels else "-"
    return f"{len(found)} | " + " | ".join(f"{share:.1f}" for share in shares) + f" | {usual}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--classes", nargs="*")
    given = parser.parse_args()
    split, recipe = load_split(given.split), load_recipe(given.recipe, given.overrides)
    labels = given.classes or sorted({record.label for record in split.catalog.records})
    rows = []
    for label in labels:
        kept, unseen = leave_out(split, label)
        run, bundle = given.out / label / "run", given.out / label / "bundle"
        if not bundle.exists():
            train_run(kept, recipe, run, resume=run.exists(), packs=given.out / "packs")
            calibrate_run(run)
            export_run(run, bundle, variants=("fp32",))
        table, predictor = load_scores(run / "scores.parquet"), Predictor(bundle)
        test = np.flatnonzero(np.array(table.roles) == "test")
        correct = float((table.logits_NK[test].argmax(1) == table.labels_N[test]).mean())
        known = describe(predictor, [Path(table.paths[i]) for i in test]).rpartition(" | ")[0]
        rows.append(f"| {label} | {describe(predictor, unseen)} | {100 * correct:.1f} | {known} |")
        print(rows[-1], flush=True)
    print(
        "\n| left out | images | accepted | review | unknown | usually accepted as"
        " | known classes: correct | images | accepted | review | unknown |\n"
        "|" + "---|" * 11
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
