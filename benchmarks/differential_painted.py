"""How far a differential of painted fields is right, from the pixels on (docs/experiments/044).

Run `python benchmarks/differential_painted.py FOLDER [--whole 20]`; what lies in FOLDER is not made
again. Fields of many slides are painted, their cells found and cut out as `leukoscope differential`
does, and a small network is trained on these crops for a few epochs only, so that it errs; it is
calibrated and exported. Other slides are the pool: equal parts of four classes, each field found,
cut and labelled by the bundle, and of every painted cell it is known what became of it: called a
class, called unknown, or not counted (cut by the edge, or missed).

500 samples are composed of the pool: 20 persons with shares unlike those of training, a third of
whom lack two classes, 25 samples each. A sample has one slide; painted cells of that slide are
drawn by the person's shares, and what the finder took for cells in vain at the slide's rate. The
truth is the person's shares among the cells that lie on the smear. `--whole` samples are painted,
found and counted as files, by the use case itself.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from differential_intervals import (
    HEAD,
    PERSONS,
    REPEATS,
    draw_shares,
    summarise,
)
from leukoscope.config import load_recipe
from leukoscope.data.catalog import write_rows
from leukoscope.data.images import prepare_image
from leukoscope.deploy.predictor import Predictor
from leukoscope.painted.fields import paint_fields
from leukoscope.painted.white_cells import LABELS
from leukoscope.pipelines import (
    calibrate_run,
    count_differentials,
    export_run,
    scan_images,
    split_catalog,
    train_run,
)
from leukoscope.smear.counting import Sample, count_sample
from leukoscope.smear.crops import CropSettings, cut_from_field
from leukoscope.smear.differential import CountedCell, DifferentialProvenance
from leukoscope.smear.edges import measure_whole_fracs
from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import Finder

TRAINED = {"neutrophil": 0.45, "eosinophil": 0.12, "lymphocyte": 0.28, "monocyte": 0.15}
EQUAL = dict.fromkeys(LABELS, 0.25)
PX_PER_UM, PER_FIELD = 6.0, 18.0
"""Fields of 107 x 80 um, crowded with white cells as where leucocytes were enriched."""

LEAST_OVERLAP = 0.4
NOT_COUNTED = -1
METHODS = ("raw", "corrected, edges not", "corrected")


def paint(fields, shares, seed, slides=1):
    return paint_fields(
        fields,
        n_samples=slides,
        white_cells=PER_FIELD,
        shares=shares,
        px_per_um=PX_PER_UM,
        seed=seed,
    )


def measure_overlaps(boxes_K4, others_M4):
    """Intersection over union, `(K, M)`."""
    a, b = (np.array(one, dtype=float).reshape(-1, 4) for one in (boxes_K4, others_M4))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (a, b)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def match(found, painted):
    """Which painted cell each found one is (-1: none), each at most once, the best first."""
    overlaps = measure_overlaps([c.box for c in found], [c.box for c in painted])
    of = np.full(len(found), -1)
    while overlaps.size and overlaps.max() >= LEAST_OVERLAP:
        i, j = np.unravel_index(overlaps.argmax(), overlaps.shape)
        of[i] = j
        overlaps[i], overlaps[:, j] = 0, 0
    return of


def look(finder, field):
    """Counted cells of a field: their crops, which painted cell each is, and the chance of a cell
    of its size to be whole."""
    opened = PictureField(field.pixels_HWC)
    found = finder.find(opened, field.name)
    of = match(found.record.cells, field.white_cells)
    of = of[[not cell.edge for cell in found.record.cells]]
    settings = CropSettings()
    crops = [
        cut_from_field(opened, cell, found.ground_C, settings) for cell in found.record.counted
    ]
    return crops, of, [*measure_whole_fracs([found.record], []).values()]


def save_crops(folder, finder, slides, fields):
    """Crops of `slides` with their truth, as a laboratory would label them; return the table."""
    table = folder / "crops.csv"
    if table.exists():
        return table
    (folder / "crops").mkdir(parents=True)
    rows = []
    painted = paint(fields, TRAINED, 1, slides)
    for field in painted:
        for k, (crop, j, _) in enumerate(zip(*look(finder, field), strict=True)):
            if j >= 0:  # a person labels no red cell as a white one
                path = f"crops/{field.name}_{k}.png"
                Image.fromarray(crop).save(folder / path)
                label = field.white_cells[j].label
                rows.append({"path": path, "label": label, "source": field.sample})
    write_rows(rows, ("path", "label", "source"), table)
    return table


def train(folder, table, epochs):
    """A network that errs, calibrated, as a bundle; return where it lies."""
    bundle = folder / "bundle"
    if bundle.exists():
        return bundle
    if not (folder / "run" / "trust.json").exists():
        split = split_catalog(scan_images(table), "grouped")
        recipe = load_recipe("quick", ["input.image_size=64", f"train.epochs={epochs}"])
        train_run(split, recipe, folder / "run")
        calibrate_run(folder / "run")
    export_run(folder / "run", bundle, variants=("fp32",))
    return bundle


def fill_pool(folder, finder, predictor, slides, fields):
    """What became of every painted cell of the pool: rows of slide, class, outcome (K: unknown) and
    chance to be whole; of what was found in vain the class is -1."""
    path = folder / "pool.npy"
    if path.exists():
        return np.load(path)
    order = [predictor.classes.index(label) for label in LABELS]
    rows = []
    painted = paint(fields, EQUAL, 2, slides)
    for field in painted:
        slide = int(field.sample.removeprefix("sample_"))
        crops, of, chances = look(finder, field)
        ready = [prepare_image(crop, predictor.input) for crop in crops]
        said = predictor.predict_pixels(np.stack(ready)) if ready else ()
        outcome = np.full((len(field.white_cells), 2), (NOT_COUNTED, 1.0))
        for j, one, chance in zip(of, said, chances, strict=True):
            known = one.decision != "unknown"
            called = predictor.classes.index(one.label) if known else len(predictor.classes)
            if j < 0:
                rows.append((slide, -1, called, chance))
            else:
                outcome[j] = called, chance
        for cell, found in zip(field.white_cells, outcome, strict=True):
            if lies_in_field(cell, field.pixels_HWC.shape):
                rows.append((slide, order[LABELS.index(cell.label)], *found))
    pool = np.array(rows)
    np.save(path, pool)
    return pool


def lies_in_field(cell, shape):
    """Whether the middle of a cell does. Of large cells beside a field more reach into it than of
    small ones: those are no cells of the field, or there were too many large ones in it."""
    x_min, y_min, x_max, y_max = cell.box
    n_edges = (x_min <= 0) + (y_min <= 0) + (x_max >= shape[1]) + (y_max >= shape[0])
    return cell.visible_frac >= (0.5 if n_edges < 2 else 0.25)


def describe(pool, classes):
    """Print what the pool is: outcomes of each class."""
    k = len(classes)
    print(f"pool: {len(np.unique(pool[:, 0]))} slides, {(pool[:, 1] >= 0).sum():,} painted cells,")
    print(f"{(pool[:, 2] >= 0).sum():,} counted, {(pool[:, 1] < 0).sum():,} of them in vain\n")
    print(f"| painted | {' | '.join(classes)} | unknown | counted of those painted |")
    print(f"|---|{'---|' * (k + 2)}")
    for one in (*range(k), -1):
        own = pool[pool[:, 1] == one, 2]
        counted = np.bincount(own[own >= 0].astype(int), minlength=k + 1) / max(1, (own >= 0).sum())
        shown = [f"{100 * x:.1f}" for x in (*counted, (own >= 0).mean() if len(own) else 0)]
        print(f"| {classes[one] if one >= 0 else 'none'} | {' | '.join(shown)} |")


def draw_sample(g, by_class, in_vain, shares, cells):
    """Rows (outcome, chance) of the counted cells of a sample, about `cells` of them."""
    likely = sum(p * (own[:, 0] >= 0).mean() for p, own in zip(shares, by_class, strict=True))
    n = g.multinomial(g.poisson(cells / likely), shares)
    drawn = [g.choice(own, m) for own, m in zip(by_class, n, strict=True)]
    rate = len(in_vain) / sum(len(own) for own in by_class)
    if len(in_vain):
        drawn.append(g.choice(in_vain, g.poisson(rate * n.sum())))
    drawn = np.concatenate(drawn)
    return drawn[drawn[:, 0] >= 0]


def count(drawn, predictor, weigh):
    """The record of a sample, as the use case counts it."""
    classes = predictor.classes
    cells = tuple(
        CountedCell(
            "a",
            k,
            label=classes[min(int(called), len(classes) - 1)],
            decision="accepted" if called < len(classes) else "unknown",
            whole_frac=float(chance) if weigh else 1.0,
        )
        for k, (called, chance) in enumerate(drawn, 1)
    )
    made = DifferentialProvenance("", "", "", "", "fp32", 0.05, 5.0)
    return count_sample(Sample("a", ("a",), cells), classes, predictor.trust.info, made)


def list_figures(record, classes, name):
    shares = [getattr(record.get_share(label), name) for label in classes]
    return np.array([[one.value, one.low, one.high] for one in shares]).T


def simulate(pool, predictor, cells):
    """As `differential_intervals.run`: (PERSONS, REPEATS, 3, K) for each method, and the truth."""
    g = np.random.default_rng(5)
    k = len(predictor.classes)
    slides = np.unique(pool[:, 0])
    found = {name: [] for name in METHODS}
    truth = []
    for person in range(PERSONS):
        shares = draw_shares(g, k, person)
        truth.append(shares)
        for _ in range(REPEATS):
            own = pool[pool[:, 0] == g.choice(slides)]
            by_class = [own[own[:, 1] == one, 2:] for one in range(k)]
            drawn = draw_sample(g, by_class, own[own[:, 1] < 0, 2:], shares, cells)
            plain, weighed = (count(drawn, predictor, weigh) for weigh in (False, True))
            for name, record in zip(METHODS, (plain, plain, weighed), strict=True):
                figures = "raw" if name == "raw" else "corrected"
                found[name].append(list_figures(record, predictor.classes, figures))
    shape = (PERSONS, REPEATS, 3, k)
    return {name: np.array(one).reshape(shape) for name, one in found.items()}, np.array(truth)


def count_whole(folder, bundle, classes, n, method, cells=200):
    """Paint `n` samples of their own slides, count their files by the use case, compare."""
    g = np.random.default_rng(6)
    fields = round(cells / (0.65 * PER_FIELD))
    names, truth = [], []
    for k in range(n):
        shares = draw_shares(g, len(classes), k)
        truth.append(shares)
        sample = folder / "whole" / f"S-{k:03d}"
        names.append(sample)
        if sample.exists():
            continue
        sample.mkdir(parents=True)
        by_label = dict(zip(classes, shares, strict=True))
        for field in paint(fields, by_label, 1000 + k):
            (sample / f"{field.name}.jpg").write_bytes(field.jpeg)
    done = count_differentials(names, bundle, folder / "report", method=method, images="fields")
    found = {
        name: [list_figures(record, classes, name) for record in done.records]
        for name in ("raw", "corrected")
    }
    counted = [record.totals.counted for record in done.records]
    print(f"\n{n} samples counted whole, {fields} fields each, {np.mean(counted):.0f} cells\n")
    print_table({name: np.array(one)[:, None] for name, one in found.items()}, np.array(truth))


def print_table(found, truth):
    print(HEAD)
    for method, *values in summarise(found, truth):
        shown = [f"{100 * x:.1f}" for x in values]
        print(f"| {method} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slides", type=int, nargs=2, default=(110, 20), help="training, pool")
    parser.add_argument("--fields", type=int, nargs=2, default=(1, 32), help="of a slide")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--cells", type=int, nargs="+", default=[200])
    parser.add_argument("--method", default="nuclei")
    parser.add_argument("--whole", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    finder = Finder(args.method)
    table = save_crops(args.folder, finder, args.slides[0], args.fields[0])
    bundle = train(args.folder, table, args.epochs)
    predictor = Predictor(bundle)
    calibration = predictor.trust.info.calibration_counts
    print(f"calibration: {json.dumps(calibration.model_dump())}", flush=True)
    pool = fill_pool(args.folder, finder, predictor, args.slides[1], args.fields[1])
    describe(pool, predictor.classes)
    for cells in args.cells:
        print(f"\n{PERSONS * REPEATS} samples of about {cells} cells\n")
        print_table(*simulate(pool, predictor, cells))
    if args.whole:
        count_whole(args.folder, bundle, predictor.classes, args.whole, args.method)


if __name__ == "__main__":
    main()
