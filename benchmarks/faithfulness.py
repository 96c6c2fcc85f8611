"""Are class activation maps faithful, and where should they be taken? (docs/experiments/021)

Run `python benchmarks/faithfulness.py RUN FIELDS --out FOLDER [--unseen FOLDER] [--stages]`. FIELDS
is a Pascal-VOC folder of smear fields with boxes of white cells (BCCD). With --unseen, only those
fields count that the images of that folder show, found by their thumbnails: for a network that was
trained on dataset2-master these are the fields of TEST_SIMPLE, which it has never seen. Without
--stages the default methods are evaluated; with it, every stage by both kinds of map, on fields
that are NOT among --unseen, since what is chosen on some images must be evaluated on others.
Several minutes on one free core.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.explain.methods import name_method
from leukoscope.explain.record import Explanation
from leukoscope.interval import Interval
from leukoscope.pipelines import explain_images
from leukoscope.report.explain_page import describe_failures

SHAPE = (32, 24)


def shrink(path: Path) -> np.ndarray:
    image = Image.open(path).convert("RGB").resize(SHAPE, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


def match_fields(fields: list[Path], unseen: Path) -> set[Path]:
    """The field that each image shows: the one with the nearest thumbnail."""
    known = np.stack([shrink(path) for path in fields])
    shown = [path for path in sorted(unseen.rglob("*")) if path.suffix == ".jpeg"]
    return {fields[int(((known - shrink(p)) ** 2).mean((1, 2, 3)).argmin())] for p in shown}


def show(found: Interval) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def print_table(record: Explanation) -> None:
    for one in record.results:
        name = name_method(one.method, record.stage)
        print(f"{name:24} in the cell {show(one.localisation)} of {show(one.ceiling)}")
        for kind, own in (("deletion", one.deletion), ("insertion", one.insertion)):
            rest = ", ".join(f"less {k} {show(r[kind])}" for k, r in one.against.items())
            print(f"{'':24} {kind} {show(own)}; {rest}")
        levels = ", ".join(f"{k} {r.value:.2f}" for k, r in one.correlation.items())
        print(f"{'':24} rank correlation after randomising down to: {levels}")
        print(f"{'':24} {' '.join(describe_failures(one)) or 'passes'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("fields", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unseen", type=Path)
    parser.add_argument("--methods", default="gradcam,hirescam,occlusion")
    parser.add_argument("--most", type=int, default=100, help="fields at most, spread evenly")
    parser.add_argument("--stages", action="store_true")
    asked = parser.parse_args()
    fields = sorted((asked.fields / "JPEGImages").glob("*.jpg"))
    if asked.unseen is not None:
        shown = match_fields(fields, asked.unseen)
        fields = [path for path in fields if (path in shown) != asked.stages]
    rows = np.linspace(0, len(fields) - 1, min(asked.most, len(fields))).round().astype(int)
    fields = [fields[i] for i in dict.fromkeys(rows.tolist())]
    print(f"{len(fields)} fields, {os.fspath(asked.run.name)}", flush=True)

    def evaluate(name: str, methods: list[str], stage: str | None) -> None:
        found = explain_images(
            asked.run, fields, asked.out / name, methods=methods, stage=stage,
            boxes=asked.fields, evaluate=len(fields),
        )  # fmt: skip
        print_table(found.found)

    if asked.stages:
        for stage in ("stem", "stage_1", "stage_2", "stage_3", "stage_4"):
            evaluate(stage, ["gradcam", "hirescam"], stage)
    else:
        evaluate("evaluated", asked.methods.split(","), None)


if __name__ == "__main__":
    main()
