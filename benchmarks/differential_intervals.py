"""Do the intervals of a differential hold the truth, by simulation? (docs/experiments/044)

Run `python benchmarks/differential_intervals.py [CASE ...]`; about a minute a case. Each case is
500 samples: 20 networks (rows of confusion) with the shares of one person each, unlike those of the
calibration set, and 25 times calibration and sample are drawn anew. A third of the persons lack two
classes altogether. Rivals get the same counts: adjusted counts (the confusion inverted, then put on
the simplex) and the likeliest shares (EM), both with bootstrap intervals over calibration cells and
sample.
"""

import sys
from dataclasses import dataclass

import numpy as np

from leukoscope.evaluation.decisions import count_called
from leukoscope.smear.prevalence import (
    compute_exact_interval,
    estimate_shares,
    weigh_rows,
)

HEAD = """| method | covered | present | absent | worst person | length | RMSE | bias removed |
|---|---|---|---|---|---|---|---|"""

PERSONS, REPEATS, BOOTSTRAPS, ROWS = 20, 25, 200, 300


@dataclass(frozen=True)
class Case:
    """Accuracy of the classes from `worst` to `best`; `calibration` cells of each class, in sources
    of `copies` that are called alike with chance `alike`; a sample of `cells`."""

    worst: float
    best: float
    calibration: tuple[int, ...]
    cells: int
    copies: int = 1
    alike: float = 0.0


CASES = {
    "8 classes, 150 each, 200 cells": Case(0.85, 0.99, (150,) * 8, 200),
    "8 classes, 150 each, 500 cells": Case(0.85, 0.99, (150,) * 8, 500),
    "5 classes, 60 each, 200 cells": Case(0.85, 0.98, (60,) * 5, 200),
    "5 classes, 20 each, 200 cells": Case(0.85, 0.98, (20,) * 5, 200),
    "5 classes, 300 to 5, 200 cells": Case(0.85, 0.98, (300, 200, 100, 10, 5), 200),
    "8 good classes, 100 each, 100 cells": Case(0.96, 0.999, (100,) * 8, 100),
    "10 poor classes, 100 each, 200 cells": Case(0.6, 0.95, (100,) * 10, 200),
    "5 classes, 40 sources of 6 copies": Case(0.85, 0.98, (240,) * 5, 200, 6, 0.8),
}


def draw_rows(g, case):
    """Chances of each true class to be called each class, or none (1 to 6 %)."""
    k = len(case.calibration)
    rows = np.zeros((k, k + 1))
    for i, right in enumerate(g.uniform(case.worst, case.best, k)):
        rows[i, :k] = np.insert((1 - right) * g.dirichlet(np.full(k - 1, 0.5)), i, right)
        rows[i] *= 1 - (unknown := g.uniform(0.01, 0.06))
        rows[i, k] = unknown
    return rows


def draw_calibration(g, case, rows):
    """What a calibration set says of the rows."""
    k = len(rows)
    labels, called, sources = [], [], []
    for i, n in enumerate(case.calibration):
        own = g.choice(k + 1, n, p=rows[i])
        source = np.arange(n) // case.copies
        as_first = g.random(n) < case.alike
        own = np.where(as_first, own[source * case.copies], own)
        labels += [i] * n
        called += own.tolist()
        sources += [f"{i}/{one}" for one in source]
    return count_called(np.array(labels), np.array(called), sources, k)


def draw_shares(g, k, person):
    """Shares of one person: uneven, and for every third some of them 0."""
    shares = g.dirichlet(np.full(k, 0.7))
    if person % 3 == 0:
        shares[g.permutation(k)[:2]] = 0
    return shares / shares.sum()


def put_on_simplex(x):
    """The nearest point with entries of 0 or more that sum to 1 (rows)."""
    down = -np.sort(-x, axis=-1)
    over = (np.cumsum(down, axis=-1) - 1) / np.arange(1, x.shape[-1] + 1)
    last = (down > over).sum(axis=-1) - 1
    return np.maximum(x - np.take_along_axis(over, last[..., None], -1), 0)


def adjust(called, rows):
    """Adjusted counts: what the inverted confusion says, on the simplex."""
    k = rows.shape[-2]
    among = rows[..., :k] / rows[..., :k].sum(-1, keepdims=True)
    share = called / called.sum(-1, keepdims=True)
    inverse = np.linalg.pinv(np.swapaxes(among, -1, -2))
    p = put_on_simplex(np.einsum("...ij,...j->...i", inverse, share))
    q = p / rows[..., :k].sum(-1)
    return q / q.sum(-1, keepdims=True)


def likeliest(called, rows):
    """EM on labels, for many at once."""
    k = rows.shape[-2]
    among = rows[..., :k] / rows[..., :k].sum(-1, keepdims=True)
    share = called / called.sum(-1, keepdims=True)
    p = np.full(share.shape, 1 / k)
    for _ in range(100):
        expected = np.einsum("...k,...kj->...j", p, among)
        p = p * np.einsum("...kj,...j->...k", among, share / np.maximum(expected, 1e-300))
    q = p / rows[..., :k].sum(-1)
    return q / q.sum(-1, keepdims=True)


def bootstrap(g, method, called, calibration):
    """Point and percentile limits."""
    weights = weigh_rows(calibration)
    rows = weights / weights.sum(1, keepdims=True)
    effective = np.maximum(np.rint(calibration.effective), 1).astype(int)
    drawn = np.stack(
        [g.multinomial(n, r, BOOTSTRAPS) for n, r in zip(effective, rows, strict=True)], 1
    )
    drawn = drawn + (weights.sum(1) - np.array(calibration.effective))[:, None] * rows / 10
    drawn = drawn / drawn.sum(-1, keepdims=True)
    samples = g.multinomial(called.sum(), called / called.sum(), BOOTSTRAPS)
    low, high = np.quantile(method(samples, drawn), (0.025, 0.975), axis=0)
    low[low < 0.1 / called.sum()] = 0
    return np.stack([method(called, rows), low, high])


def estimate(called, calibration):
    """Ours."""
    draws = estimate_shares(called, calibration, ROWS)
    everything = np.ones(len(called), dtype=bool)
    found = [draws.compare(one, everything).interval for one in np.eye(len(called), dtype=bool)]
    return np.array([[x.value, x.low, x.high] for x in found]).T


def count_raw(called):
    """Raw shares, as at the bench."""
    found = [compute_exact_interval(int(n), int(called.sum())) for n in called]
    return np.array([[x.value, x.low, x.high] for x in found]).T


def run(case, persons=PERSONS, repeats=REPEATS):
    """Figures of each method: array (persons, repeats, 3, K); and the truth (persons, K)."""
    g = np.random.default_rng(7)
    k = len(case.calibration)
    found = {name: [] for name in ("raw", "adjusted count", "EM", "posterior")}
    truth = []
    for person in range(persons):
        rows, shares = draw_rows(g, case), draw_shares(g, k, person)
        truth.append(shares)
        seen = shares @ rows[:, :k]
        for _ in range(repeats):
            calibration = draw_calibration(g, case, rows)
            called = g.multinomial(case.cells, seen / seen.sum())
            found["raw"].append(count_raw(called))
            found["adjusted count"].append(bootstrap(g, adjust, called, calibration))
            found["EM"].append(bootstrap(g, likeliest, called, calibration))
            found["posterior"].append(estimate(called, calibration))
    shape = (persons, repeats, 3, k)
    return {name: np.array(one).reshape(shape) for name, one in found.items()}, np.array(truth)


def summarise(found, truth):
    """For each method: coverage of all, present and absent classes, and of the worst person; mean
    length of intervals; root mean square error; share of the raw bias that is gone (the mean error
    over repeats, projected on that of the raw shares, so that its own chance averages out)."""
    raw_bias = found["raw"][:, :, 0].mean(1) - truth
    there = truth > 0
    rows = []
    for name, one in found.items():
        value, low, high = one[:, :, 0], one[:, :, 1], one[:, :, 2]
        held = ((low <= truth[:, None]) & (truth[:, None] <= high)).mean(1)
        bias = value.mean(1) - truth
        rows.append(
            (
                name,
                held.mean(),
                held[there].mean(),
                held[~there].mean(),
                held.mean(1).min(),
                (high - low).mean(1)[there].mean(),
                np.sqrt(((value - truth[:, None]) ** 2).mean()),
                1 - (bias * raw_bias).sum() / (raw_bias**2).sum(),
            )
        )
    return rows


def main(names):
    """Print a table for each case."""
    for name in names or CASES:
        print(f"\n{name}\n")
        print(
            "| method | covered | present | absent | worst person | length | RMSE | bias removed |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for method, *values in summarise(*run(CASES[name])):
            shown = [f"{100 * x:.1f}" for x in values]
            print(f"| {method} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
