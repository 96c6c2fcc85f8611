"""When is fitting a calibration worth it? (docs/experiments/029)

    python benchmarks/calibration_rules.py RUN ... [--splits 60]

For each run the cells of the roles `calib` and `test` are pooled and split again by source; each
rule chooses on the calib part and is evaluated on the rest. "at k SE" takes a method if it beats
the best simpler one by more than k standard errors of the cross-validated log loss, "always"
without a look. At the end the same for simulated networks of known overconfidence, few images each.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from coverage import split_by_source
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.scores import compute_probabilities, load_scores
from leukoscope.trust.calibration import (
    NEEDED_ERRORS,
    Calibration,
    compute_log_losses,
    fit_bias_corrected,
    fit_calibration,
    fit_temperature,
)

ALWAYS = {
    "never": lambda *_: Calibration(),
    "temperature always": lambda z, y, _: fit_temperature(z, y),
    "bias per class always": lambda z, y, _: fit_bias_corrected(z, y),
}
NEEDED = {"at 0 and 0 SE": (0.0, 0.0), "at 1 and 2 SE": (1.0, 2.0), "at 2 and 2 SE": (2.0, 2.0)}


def choose(needed):
    """`fit_calibration` with other numbers of standard errors."""

    def fit(z_NK, labels_N, sources):
        before = dict(NEEDED_ERRORS)
        NEEDED_ERRORS.update(zip(("temperature", "bias_corrected"), needed, strict=True))
        try:
            return fit_calibration(z_NK, labels_N, sources)[0]
        finally:
            NEEDED_ERRORS.update(before)

    return fit


RULES = ALWAYS | {name: choose(needed) for name, needed in NEEDED.items()}


def evaluate(calibration, table) -> tuple[float, float]:
    """Log loss, and debiased calibration error in percent."""
    z_NK = calibration.apply(table.logits_NK)
    p_NK = compute_probabilities(z_NK)
    hit_N = p_NK.argmax(axis=1) == table.labels_N
    error = compute_debiased_ece(p_NK.max(axis=1), hit_N, table.sources)
    return float(compute_log_losses(z_NK, table.labels_N).mean()), 100 * error


def compare_on_run(run: Path, splits: int) -> None:
    table = load_scores(run / "scores.parquet")
    table = table.take(table.labels_N >= 0)
    calib = table.of_role("calib")
    pool = table.take(np.isin(np.array(table.roles), ["calib", "test"]))
    fraction = len(set(calib.sources)) / len(set(pool.sources))
    found = {name: [] for name in RULES}
    chosen = {name: Counter() for name in RULES}
    for split in range(splits):
        calib_N = split_by_source(pool.sources, fraction, np.random.default_rng(split))
        fitted_to, rest = pool.take(calib_N), pool.take(~calib_N)
        for name, rule in RULES.items():
            fitted = rule(fitted_to.logits_NK, fitted_to.labels_N, fitted_to.sources)
            found[name].append(evaluate(fitted, rest))
            chosen[name][fitted.method] += 1
    print(f"{run.name}, {splits} splits: log loss, calibration error in %, at most 1 % in, chosen")
    for name, rows in found.items():
        losses, errors = np.array(rows).T
        share = 100 * (errors <= 1).mean()
        print(f"  {name:22} {losses.mean():.4f} {errors.mean():5.2f} {share:4.0f} %", end="  ")
        print(dict(chosen[name]))


def compare_on_simulated(repeats: int) -> None:
    print("simulated, 4 classes: log loss on 4,000 other images")
    for temperature in (1.0, 1.5, 2.5):
        for n in (60, 150, 400):
            losses = {name: [] for name in RULES}
            for seed in range(repeats):
                rng = np.random.default_rng(seed)
                true_NK = rng.normal(0, 3, (n + 4000, 4))
                sums_NK = compute_probabilities(true_NK).cumsum(axis=1)
                labels_N = (rng.random((n + 4000, 1)) > sums_NK).sum(axis=1).clip(0, 3)
                z_NK = temperature * true_NK
                for name, rule in RULES.items():
                    fitted = rule(z_NK[:n], labels_N[:n], [str(i) for i in range(n)])
                    after_NK = fitted.apply(z_NK[n:])
                    losses[name].append(compute_log_losses(after_NK, labels_N[n:]).mean())
            told = ", ".join(f"{name} {np.mean(loss):.4f}" for name, loss in losses.items())
            print(f"  overconfident by {temperature}, {n} images: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--splits", type=int, default=60)
    given = parser.parse_args()
    for run in given.runs:
        compare_on_run(run, given.splits)
    compare_on_simulated(given.splits)


if __name__ == "__main__":
    main()
