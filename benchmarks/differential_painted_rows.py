"""Why intervals on painted fields are too short: the stain of a slide (docs/experiments/044).

Run `python benchmarks/differential_painted_rows.py FOLDER` after `differential_painted.py FOLDER`;
seconds. Prints how far slides of the pool differ in how often a class is called rightly, and the
table of samples (160, of 200 cells) again: with all slides taken for one; that with the pool itself
as calibration set; and with rows of confusion that vary from slide to slide by a correlation.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import differential_painted as painted
from leukoscope.deploy.bundle import load_bundle
from leukoscope.trust.record import CalibrationCounts

CORRELATIONS = (0.0, 0.1, 0.2)


def measure_slides(pool, classes):
    """Print the share called rightly, its deviation between slides, and the correlation."""
    for label, name in enumerate(classes):
        shares, chance = [], []
        for slide in np.unique(pool[:, 0]):
            is_own = (pool[:, 0] == slide) & (pool[:, 1] == label) & (pool[:, 2] >= 0)
            called = pool[is_own, 2]
            if len(called) > 5:
                share = (called == label).mean()
                shares.append(share)
                chance.append(share * (1 - share) / len(called))
        mean, between = np.mean(shares), max(np.var(shares) - np.mean(chance), 0)
        print(f"{name}: {mean:.3f}, {np.sqrt(between):.3f}, {between / (mean * (1 - mean)):.3f}")


def count_pool(pool, k):
    """The pool as a calibration set."""
    called = np.zeros((k, k + 1), dtype=int)
    counted = pool[(pool[:, 1] >= 0) & (pool[:, 2] >= 0)].astype(int)
    np.add.at(called, (counted[:, 1], counted[:, 2]), 1)
    rows = tuple(tuple(map(int, row)) for row in called)
    return CalibrationCounts(called=rows, effective=tuple(map(float, called.sum(1))))


def main(folder):
    """Print all tables."""
    painted.REPEATS = 8
    pool = np.load(Path(folder) / "pool.npy")
    bundle = load_bundle(Path(folder) / "bundle")
    trust, classes = bundle.read_trust(), bundle.info.classes
    counts = trust.info.calibration_counts
    measure_slides(pool, classes)
    one = pool.copy()
    one[:, 0] = 0
    cases = [
        ("all slides taken for one", one, counts.model_copy(update={"n_samples": 0.0})),
        ("the same, calibrated on the pool", one, count_pool(pool, len(classes))),
    ]
    for rho in CORRELATIONS:
        # As if known of very many slides.
        capped = counts.model_copy(update={"correlation": rho, "n_samples": 1e9})
        cases.append((f"rows of a new slide, correlation {rho}", pool, capped))
    for name, cells, calibration in cases:
        info = trust.info.model_copy(update={"calibration_counts": calibration})
        known = SimpleNamespace(classes=classes, trust=SimpleNamespace(info=info))
        print(f"\n{name}\n")
        painted.print_table(*painted.simulate(cells, known, 200))


if __name__ == "__main__":
    main(*sys.argv[1:])
