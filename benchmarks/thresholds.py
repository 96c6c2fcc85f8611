"""Thresholds and prediction sets over new sources, by simulation (docs/experiments/034).

    python benchmarks/thresholds.py estimate [REPEATS]    the threshold of confidence as it is
    python benchmarks/thresholds.py guarantee [REPEATS]   with trust.target_confidence=0.95

Sources x cells and how sources differ in their rate of mistakes: normal on the scale of the logit,
gamma distributed, or one source in a hundred that is wrong in 30 % of its cells however confident.
The numbers after a kind are the intraclass correlation of mistakes over all cells. The target is
99.5 % of accepted cells right, in new sources; `best` is what the best threshold accepts. A few
minutes each.
"""

import sys

import numpy as np
from scipy.special import expit

from leukoscope.trust.confidence import fit_min_confidence

TARGET = 0.995
# Spread of the rates of mistakes that gives the intraclass correlation.
KINDS = {
    "normal 0": ("normal", 0.0),
    "normal 0.05": ("normal", 1.18),
    "normal 0.1": ("normal", 1.63),
    "normal 0.3": ("normal", 2.99),
    "gamma 0.05": ("gamma", 1.19),
    "gamma 0.1": ("gamma", 3.26),
    "gamma 0.3": ("gamma", 31.6),
    "one bad in 100": ("bad", 0.3),
}
SIZES = {
    "estimate": ((1000, 1), (400, 25), (150, 100), (50, 40), (20, 200), (10, 50)),
    "guarantee": ((1000, 1), (3000, 1), (10000, 1), (400, 25), (2000, 25), (5000, 10)),
}


def draw(rng, n_sources, n_cells, kind, spread):
    """Confidence as a logit, and what is wrong: `(S, M)` each."""
    z = np.abs(rng.normal(4.5, 2.2, (n_sources, n_cells)))
    one = (n_sources, 1)
    if kind == "normal":
        p = expit(-(z + spread * rng.normal(size=one)))
    elif kind == "gamma":
        p = np.minimum(1, expit(-z) * rng.gamma(1 / spread, spread, one))
    else:
        p = np.where(rng.random(one) < 0.01, np.maximum(expit(-z), spread), expit(-z))
    return z, rng.random(z.shape) < p


def simulate_thresholds(part, repeats):
    """Print, for each kind and size, what is accepted and what is wrong of it in new sources."""
    for name, (kind, spread) in KINDS.items():
        z, wrong = draw(np.random.default_rng(99), 20_000, 50, kind, spread)
        order = np.argsort(-z.ravel())
        ranked, n = z.ravel()[order], np.arange(1, z.size + 1)
        risk = np.cumsum(wrong.ravel()[order]) / n
        best = (np.flatnonzero(risk <= 1 - TARGET)[-1] + 1) / z.size
        print(f"\n{name}: wrong {100 * risk[-1]:.1f} %, best {100 * best:.0f} % accepted")
        print("| sources x cells | any accepted | accepted | wrong of these | missed | needed |")
        for n_sources, n_cells in SIZES[part]:
            sources = np.repeat(np.arange(n_sources), n_cells).astype(str).tolist()
            accepted, errors, needed = np.zeros(repeats), np.zeros(repeats), []
            for i in range(repeats):
                rng = np.random.default_rng([i, n_sources, n_cells])
                sure, miss = draw(rng, n_sources, n_cells, kind, spread)
                found = fit_min_confidence(
                    sure.ravel() / 100,
                    ~miss.ravel(),
                    np.ones(sure.size, bool),
                    sources,
                    TARGET,
                    0.95 if part == "guarantee" else None,
                )
                if found.value is None:
                    needed.append(found.n_needed)
                    continue
                k = int(np.searchsorted(-ranked, -100 * found.value, "right"))
                accepted[i], errors[i] = k / z.size, risk[k - 1]
            any_N = accepted > 0
            pooled = 100 * (accepted @ errors) / max(accepted.sum(), 1e-9)
            print(
                f"| {n_sources} x {n_cells} | {100 * any_N.mean():.0f} %"
                f" | {100 * accepted.mean():.1f} %"
                f" | {f'{pooled:.2f} %' if any_N.any() else '-'}"
                f" | {100 * (errors > 1 - TARGET).mean():.0f} %"
                f" | {int(np.median(needed)) if needed else '-'} |",
                flush=True,
            )


if __name__ == "__main__":
    part = sys.argv[1] if len(sys.argv) > 1 else "estimate"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    simulate_thresholds(part, repeats)
