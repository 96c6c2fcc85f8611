"""Prediction sets and calibration on repeated splits of a run's own cells (docs/experiments/017).

Run `python benchmarks/coverage.py RUN [SPLITS]`, where RUN holds scores.parquet; about half a
minute for 100 splits. The rows of the roles `calib` and `test`, which the network has not seen, are
pooled and split again by source, in the old proportion. Each split is a fresh draw of calibration
and test cells, so theory says exactly how often coverage leaves its 99 % band.

The calibration before the sets is fitted twice: on the role `val`, which leaves the calibration
cells untouched, and on the calibration cells themselves, as `leukoscope calibrate` does. The second
uses cells twice, and the difference shows what that costs.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import binom

from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.coverage import measure_coverage
from leukoscope.evaluation.metrics import compute_calibration_bins
from leukoscope.scores import compute_probabilities, load_scores
from leukoscope.trust.calibration import (
    Calibration,
    compute_log_losses,
    fit_bias_corrected,
    fit_calibration,
    fit_temperature,
)
from leukoscope.trust.conformal import fit_sets

ALPHAS = (0.1, 0.05)
CASES = ("val", "calib")


def compute_plain_ece(confidence_N, hit_N):
    """The mean gap in bins of equal mass, which is above 0 by chance alone."""
    mass_M, confidence_M, accuracy_M = compute_calibration_bins(confidence_N, hit_N)
    return (mass_M * np.abs(confidence_M - accuracy_M)).sum() / mass_M.sum()


def split_by_source(sources, fraction, rng):
    """A mask of the images of so many sources, drawn at random."""
    names, source_N = np.unique(np.asarray(sources), return_inverse=True)
    chosen = rng.permutation(len(names))[: round(fraction * len(names))]
    return np.isin(source_N, chosen)


def main() -> None:
    table = load_scores(Path(sys.argv[1]) / "scores.parquet")
    splits = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    table = table.take(table.labels_N >= 0)
    val, calib = table.of_role("val"), table.of_role("calib")
    pool = table.take(np.isin(np.array(table.roles), ["calib", "test"]))
    fraction = len(set(calib.sources)) / len(set(pool.sources))
    fits = {
        "none": lambda _: Calibration(),
        "temperature": lambda t: fit_temperature(t.logits_NK, t.labels_N),
        "bias_corrected": lambda t: fit_bias_corrected(t.logits_NK, t.labels_N),
        "chosen": lambda t: fit_calibration(t.logits_NK, t.labels_N, t.sources)[0],
    }
    print(f"{len(pool):,} cells of {len(set(pool.sources)):,} sources, {fraction:.0%} of them"
          f" calibration; {splits} splits")  # fmt: skip
    chosen, choice = fit_calibration(calib.logits_NK, calib.labels_N, calib.sources)
    print(f"choice on the role calib: {choice}; temperature {chosen.temperature:.3f}")

    clean = {name: fit(val) for name, fit in fits.items()}
    errors = {(name, where): [] for name in fits for where in ("val", "calib")}
    marginal = {(where, alpha): [] for where in CASES for alpha in ALPHAS}
    classes = {key: [] for key in marginal}
    for split in range(splits):
        rng = np.random.default_rng(split)
        calib_N = split_by_source(pool.sources, fraction, rng)
        a, b = pool.take(calib_N), pool.take(~calib_N)
        used = {name: fit(a) for name, fit in fits.items()}
        for where, fitted in (("val", clean), ("calib", used)):
            for name, calibration in fitted.items():
                logits_NK = calibration.apply(b.logits_NK)
                p_NK = compute_probabilities(logits_NK)
                seen = p_NK.max(axis=1), p_NK.argmax(axis=1) == b.labels_N
                errors[name, where].append(
                    (
                        compute_debiased_ece(*seen, b.sources),
                        compute_plain_ece(*seen),
                        compute_log_losses(logits_NK, b.labels_N).mean(),
                    )
                )
        for where in CASES:
            calibration = (clean if where == "val" else used)["chosen"]
            p_NK, new_NK = (compute_probabilities(calibration.apply(t.logits_NK)) for t in (a, b))
            for alpha in ALPHAS:
                sets = fit_sets(p_NK, a.labels_N, a.classes, alpha=alpha, sources=a.sources)
                found = measure_coverage(
                    sets.predict(new_NK), b.labels_N, b.classes, sets, sources=b.sources
                )
                marginal[where, alpha].append((found.marginal, found.mean_size))
                classes[where, alpha].append(list(found.per_class.values()))

    print("\ncalibration error on test cells, mean over splits (95 % of splits below)")
    for (name, where), rows in errors.items():
        debiased, plain, loss = np.array(rows).T
        print(f"{name:15s} fitted on {where:6s} debiased {debiased.mean():.4f}"
              f" ({np.quantile(debiased, 0.95):.4f})  plain {plain.mean():.4f}"
              f"  log loss {loss.mean():.4f}")  # fmt: skip
    allowed = int(binom.ppf(0.99, splits, 0.01))
    print(f"\ncoverage, per-class thresholds; outside the 99 % band: up to {allowed} of {splits}"
          " splits by chance")  # fmt: skip
    for key, rows in marginal.items():
        shares = [share for share, _ in rows]
        low, high = (sum(s.check == v for s in shares) for v in ("below", "above"))
        print(f"\ncalibrated on {key[0]}, nominal {1 - key[1]:.2f}: all cells"
              f" {np.mean([s.value for s in shares]):.4f}, below / above {low} / {high},"
              f" mean size {np.mean([size for _, size in rows]):.3f}")  # fmt: skip
        for k, name in enumerate(table.classes):
            own = [shares_K[k] for shares_K in classes[key]]
            low, high = (sum(s.check == v for s in own) for v in ("below", "above"))
            print(f"  {name:22s} {np.mean([s.value for s in own]):.4f}  {low} / {high}")


if __name__ == "__main__":
    main()
