"""Whole fields against located cells of the same images, sources apart (docs/experiments/046).

Run `python benchmarks/located_cells.py SOURCES TEST_FOLDER WORK [KEY=VALUE...]`: SOURCES is the
table of `leukoscope data sources` over `dataset2-master/images/TRAIN`, TEST_FOLDER is
`TEST_SIMPLE`, the rest overrides the recipe of both arms alike (`input.finder=network`). A second
call goes on where the first one stopped.
"""

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import Recipe, load_recipe
from leukoscope.data.catalog import Catalog, ImageRecord, load_catalog, save_catalog
from leukoscope.data.pack import build_pack
from leukoscope.data.splits import Split, build_kfold
from leukoscope.evaluation.agreement import compute_mcnemar
from leukoscope.evaluation.intervals import compute_intervals, compute_proportion
from leukoscope.interval import Interval
from leukoscope.pipelines import scan_images, train_run
from leukoscope.pipelines.locate import count_located, locate_images
from leukoscope.pipelines.runs import load_run_scores
from leukoscope.runfolder import RunFolder
from leukoscope.scores import ScoreTable
from leukoscope.training.trained import load_trained

PER_CLASS, PER_SOURCE = 600, 20
"""Images that are drawn at most: of a class evenly over its sources."""

FOLDS = 3
RECIPE = (
    "input.image_size=96",
    "train.epochs=12",
    "train.precision=bf16",
    "augment.rotate_deg=180",
)


def draw_evenly(catalog: Catalog) -> Catalog:
    """Return a sample with as many images of each source of a class as fit."""
    rng = Random(0)
    chosen: list[ImageRecord] = []
    for label in catalog.classes:
        of_source: dict[str, list[ImageRecord]] = defaultdict(list)
        for record in catalog.records:
            if record.label == label:
                of_source[record.source].append(record)
        queues = [rng.sample(of_source[name], len(of_source[name])) for name in sorted(of_source)]
        turns = [queue[k] for k in range(PER_SOURCE) for queue in queues if k < len(queue)]
        chosen += turns[:PER_CLASS]
    return Catalog(tuple(sorted(chosen, key=lambda record: record.id)))


def locate_once(catalog: Catalog, recipe: Recipe, place: Path) -> Catalog:
    """Return the catalog located, from its file where that is there."""
    if not place.is_file():
        done = [0]

        def show(what: str, n: int, total: int) -> None:
            if n - done[0] >= 100 or n == total:
                done[0] = n
                print(f"{what}: {n:,} of {total:,}", flush=True)

        save_catalog(Catalog(locate_images(catalog.records, recipe.input, show)), place)
    return load_catalog(place)


def join(tables: list[ScoreTable]) -> ScoreTable:
    """Return the test images of all folds in one table, in the order of their ids."""
    ids = [name for table in tables for name in table.ids]
    joint = replace(
        tables[0],
        **{
            name: tuple(one for table in tables for one in getattr(table, name))
            for name in ("ids", "paths", "sources", "roles")
        },
        **{
            name: np.concatenate([getattr(table, name) for table in tables])
            for name in ("labels_N", "logits_NK", "embeddings_ND", "quality_NQ")
        },
    )
    return joint.take(np.argsort(np.array(ids)))


def show(name: str, one: Interval) -> str:
    """Return a figure in percent with its interval."""
    return f"{name} {100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def report(what: str, hits: dict[str, NDArray[np.bool_]], sources: tuple[str, ...]) -> None:
    """Print accuracies of both arms and their paired difference."""
    print(f"\n{what}: {len(sources):,} images of {len(set(sources)):,} sources")
    for arm, hit_N in hits.items():
        print(f"  {arm}: {show('accuracy', compute_proportion(hit_N, sources))}")
    test = compute_mcnemar(hits["located"], hits["whole"], sources)
    print(
        f"  {show('located less whole', test.difference)}, p = {test.p_value:.3g};"
        f" right in both {test.both}, only located {test.first_only},"
        f" only whole {test.second_only}, neither {test.neither}",
        flush=True,
    )


def report_all(
    tables: dict[str, list[ScoreTable]],
    others: dict[str, list[NDArray[np.float64]]],
    simple: Catalog,
) -> None:
    """Print what the folds so far say together."""
    joint = {arm: join(found) for arm, found in tables.items()}
    hits = {arm: one.logits_NK.argmax(axis=1) == one.labels_N for arm, one in joint.items()}
    report(
        f"TRAIN, sources apart, {len(tables['whole'])} of {FOLDS} folds",
        hits,
        joint["whole"].sources,
    )
    for arm, one in joint.items():
        figures = compute_intervals(one)
        print(f"  {arm}: {show('balanced accuracy', figures.overall['balanced_accuracy'])}")
    labels_N = number(simple, joint["whole"].classes)
    means = {arm: np.mean(found, axis=0) for arm, found in others.items()}
    picks = {arm: p_NK.argmax(axis=1) == labels_N for arm, p_NK in means.items()}
    # Of byte-identical pairs each is one source.
    report(
        f"TEST_SIMPLE, mean of {len(others['whole'])} networks",
        picks,
        tuple(r.content for r in simple.records),
    )


def main(sources: Path, test_folder: Path, work: Path, overrides: list[str]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    settings = [*RECIPE, *overrides]
    recipes = {
        arm: load_recipe("quick", [*settings, f"input.cells={arm}"]) for arm in ("whole", "located")
    }
    drawn = draw_evenly(load_catalog(sources))
    own = {
        "whole": drawn,
        "located": locate_once(drawn, recipes["located"], work / "located.csv"),
    }
    simple = scan_images(test_folder)
    other = {
        "whole": simple,
        "located": locate_once(simple, recipes["located"], work / "simple.csv"),
    }
    for name, one in (("TRAIN", own), ("TEST_SIMPLE", other)):
        print(name, "located around:", dict(count_located(one["located"].records)), flush=True)
    splits = build_kfold(drawn, FOLDS, seed=1)
    tables: dict[str, list[ScoreTable]] = defaultdict(list)
    others: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for fold, split in enumerate(splits):
        for arm, recipe in recipes.items():
            of_id = {record.id: record for record in own[arm].records}
            records = tuple(of_id[record.id] for record in split.catalog.records)
            out = work / f"{arm}-{fold}"
            train_run(
                Split(Catalog(records), split.roles, split.protocol, split.seed),
                recipe, out, resume=True, packs=work / "packs",
            )  # fmt: skip
            tables[arm].append(load_run_scores(RunFolder(out)).of_role("test"))
            trained = load_trained(RunFolder(out))
            pack = build_pack(other[arm].records, trained.input, work / "packs")
            logits_NK = trained.score(pack).logits_NK
            hit = (logits_NK.argmax(axis=1) == number(simple, trained.classes)).mean()
            found = tables[arm][-1]
            own_hit = (found.logits_NK.argmax(axis=1) == found.labels_N).mean()
            print(f"fold {fold} {arm}: own {own_hit:.3f}, TEST_SIMPLE {hit:.3f}", flush=True)
            exp_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True), dtype=np.float64)
            others[arm].append(exp_NK / exp_NK.sum(axis=1, keepdims=True))
        report_all(tables, others, simple)


def number(catalog: Catalog, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the places of the labels among the classes."""
    return np.array([classes.index(record.label) for record in catalog.records])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4:])
