"""How often a differential's intervals hold the truth with a trained network (lab note 44).

Run `python benchmarks/differential_pool.py RUN [CELLS]` on a calibrated run; seconds. Its images
of the roles `calib` and `test`, with the decisions that the run takes on them, are parted anew for
each of 20 persons, by source: as many as `calib` has give the counts of calibration, samples of
CELLS (200) cells are drawn from the rest, 25 for each person, with shares unlike those of training.
The thresholds stay those that the run has. A second table keeps the run's own parts, as a bundle
does.
"""

import sys
from pathlib import Path

import numpy as np

from differential_intervals import (
    PERSONS,
    REPEATS,
    count_raw,
    draw_shares,
    estimate,
    summarise,
)
from leukoscope.evaluation.decisions import count_called
from leukoscope.pipelines.runs import load_run_scores
from leukoscope.runfolder import RunFolder
from leukoscope.trust.decision import decide_table
from leukoscope.trust.record import load_trust


def load_called(run):
    """True and called class (K: unknown), source and role of the held-out images."""
    folder = RunFolder(Path(run))
    trust = load_trust(folder)
    table = load_run_scores(folder)
    held = [role in ("calib", "test") for role in table.roles]
    table = table.take(np.array(held) & (table.labels_N >= 0))
    decisions = decide_table(trust.info.policy, trust.novelty, table)
    called = np.where(decisions.mask("unknown"), len(table.classes), decisions.labels_N)
    return table, called


def part(g, table, anew):
    """Which rows calibrate."""
    calib = np.array([role == "calib" for role in table.roles])
    if not anew:
        return calib
    sources = np.array(table.sources)
    names = g.permutation(np.unique(sources))
    sizes = dict(zip(*np.unique(sources, return_counts=True), strict=True))
    n = np.cumsum([sizes[name] for name in names])
    return np.isin(sources, names[n <= calib.sum()])


def run(table, called, cells, anew):
    """As `differential_intervals.run`, without rivals."""
    g = np.random.default_rng(11)
    k = len(table.classes)
    found = {"raw": [], "posterior": []}
    truth = []
    for person in range(PERSONS):
        calib = part(g, table, anew)
        sources = [table.sources[i] for i in np.flatnonzero(calib)]
        calibration = count_called(table.labels_N[calib], called[calib], sources, k)
        pool = [np.flatnonzero(~calib & (table.labels_N == one)) for one in range(k)]
        shares = draw_shares(g, k, person)
        truth.append(shares)
        for _ in range(REPEATS):
            labels = g.choice(k, cells, p=shares)
            rows = np.array([g.choice(pool[one]) for one in labels])
            counts = np.bincount(called[rows], minlength=k + 1)[:k]
            found["raw"].append(count_raw(counts))
            found["posterior"].append(estimate(counts, calibration))
    shape = (PERSONS, REPEATS, 3, k)
    return {name: np.array(one).reshape(shape) for name, one in found.items()}, np.array(truth)


def main(folder, cells=200):
    """Print both tables."""
    table, called = load_called(folder)
    right = (called == table.labels_N).mean()
    print(f"{len(table):,} images, {100 * right:.1f} % called correctly")
    for anew in (True, False):
        print(f"\n{'parted anew' if anew else 'as the run has them'}, {cells} cells\n")
        print(
            "| method | covered | present | absent | worst person | length | RMSE | bias removed |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for method, *values in summarise(*run(table, called, int(cells), anew)):
            shown = [f"{100 * x:.1f}" for x in values]
            print(f"| {method} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
