"""What is accepted, and how often correctly, on repeated splits (docs/experiments/018 and 030).

    python benchmarks/rejections.py RUN [SPLITS] [trust.reject_frac=0.02 ...]

RUN holds scores.parquet with quality (`leukoscope calibrate RUN`). The rows of the roles `calib`
and `test`, which the network has not seen, are pooled and split again by source, in the old
proportion; each time the whole policy is fitted as `calibrate` does and evaluated on the rest. One
split says little: of 2,000 accepted cells ten mistakes decide a target of 99.5 %.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from coverage import split_by_source
from leukoscope.config import load_recipe
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.trust.decision import decide_table
from leukoscope.trust.fitting import fit_policy


def main() -> None:
    table = load_scores(RunFolder(Path(sys.argv[1])).scores)
    n_splits = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    aims = load_recipe("quick", sys.argv[3:]).trust
    roles = np.array(table.roles, dtype=object)
    pooled = np.flatnonzero(np.isin(roles, ("calib", "test")))
    fraction = float((roles[pooled] == "calib").mean())
    sources = np.array(table.sources)[pooled]
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(n_splits):
        calib = split_by_source(sources, fraction, rng)
        roles[pooled] = np.where(calib, "calib", "test")
        again = replace(table, roles=tuple(roles.tolist()))
        fitted = fit_policy(again, aims)
        test = again.of_role("test")
        found = decide_table(fitted.policy, fitted.novelty, test)
        hit_N, kept_N = found.labels_N == test.labels_N, found.mask("accepted")
        shares = [kept_N, found.mask("review"), found.mask("unknown"), hit_N, ~hit_N[kept_N]]
        ece = compute_debiased_ece(found.confidence_N, hit_N, test.sources)
        rows.append([100 * float(share.mean()) for share in shares] + [100 * ece])
    found_SF = np.array(rows)
    names = ("accepted", "review", "unknown", "correct of all", "errors of accepted", "ECE")
    print(
        f"{n_splits} splits, {int(calib.sum()):,} calib and {int((~calib).sum()):,} test cells, %"
    )
    for name, values in zip(names, found_SF.T, strict=True):
        low, high = np.quantile(values, (0.025, 0.975))
        print(f"{name:18} mean {values.mean():6.2f}, 95 % of splits {low:.2f} to {high:.2f}")
    print(f"more than 0.5 % errors in {100 * (found_SF[:, 4] > 0.5).mean():.0f} % of splits")
    print(f"at least 95 % accepted in {100 * (found_SF[:, 0] >= 95).mean():.0f} %")
    print(f"ECE at most 1 % in {100 * (found_SF[:, 5] <= 1).mean():.0f} %")


if __name__ == "__main__":
    main()
