"""Thresholds and prediction sets over new sources, by simulation (docs/experiments/034).

    python benchmarks/thresholds.py estimate [REPEATS]    the threshold of confidence as it is
    python benchmarks/thresholds.py guarantee [REPEATS]   with trust.target_confidence=0.95
    python benchmarks/thresholds.py sets [REPEATS]        the level of the prediction sets
    python benchmarks/thresholds.py policies [REPEATS]    all of `calibrate` together

Sources x cells and how sources differ in their rate of mistakes: normal on the scale of the logit,
gamma distributed, or one source in a hundred that is wrong in 30 % of its cells however confident.
The numbers after a kind are the intraclass correlation of mistakes over all cells. The target is
99.5 % of accepted cells right, in new sources; `best` is what the best threshold accepts. A few
minutes each.
"""

import sys
from dataclasses import replace

import numpy as np
from scipy.special import expit

from leukoscope.config import TrustConfig
from leukoscope.scores import ScoreTable
from leukoscope.trust.confidence import fit_min_confidence
from leukoscope.trust.decision import decide_table
from leukoscope.trust.fitting import choose_alpha, count_labels, fit_config_sets, fit_policy
from leukoscope.trust.quality import QUALITY_NAMES

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


SHARES = (0.19, 0.23, 0.2, 0.1, 0.09, 0.08, 0.07, 0.04)


def draw_scores(rng, n, hard):
    """Eight classes in pairs that look alike; a share `hard` of cells can hardly be told apart."""
    labels_N = rng.choice(8, n, p=SHARES)
    rows_N, hard_N = np.arange(n), rng.random(n) < hard
    logits_NK = rng.normal(0, 1, (n, 8))
    logits_NK[rows_N, labels_N] += np.where(hard_N, rng.normal(1.5, 1.5, n), rng.normal(9, 2, n))
    logits_NK[rows_N, labels_N ^ 1] += np.where(hard_N, 2.0, 1.0)
    logits_NK = (0.9 * logits_NK).astype(np.float32)
    names = tuple(map(str, range(n)))
    return ScoreTable(
        tuple("abcdefgh"), names, names, names, ("calib",) * n, labels_N, logits_NK,
        np.zeros((n, 1), np.float32), True,
    )  # fmt: skip


def draw_calibrated(rng, n, mean):
    """The same pairs, and a network that is calibrated at every confidence: the logit of its label
    above that of the other of the pair is normal about `mean`, and says how often it errs."""
    given_N, rows_N = rng.choice(8, n, p=SHARES), np.arange(n)
    margin_N = np.abs(rng.normal(mean, 2.5, n))
    logits_NK = np.full((n, 8), -9.0, np.float32)
    logits_NK[rows_N, given_N], logits_NK[rows_N, given_N ^ 1] = margin_N, 0.0
    labels_N = np.where(rng.random(n) < expit(-margin_N), given_N ^ 1, given_N)
    return replace(draw_scores(rng, n, 0.0), labels_N=labels_N, logits_NK=logits_NK)


def simulate_sets(repeats):
    """Print what sets do at 0.05 and at the level that is chosen, on 4,000 new cells."""
    print(
        "| wrong | cells | level | miscoverage less level | two labels: all | of wrong | accepted |"
    )
    for hard in (0.01, 0.025, 0.04, 0.1):
        for n in (300, 1120, 4000):
            for name in ("0.05", "auto"):
                rows = []
                for i in range(repeats):
                    rng = np.random.default_rng(i)
                    table, new = draw_scores(rng, n, hard), draw_scores(rng, 4000, hard)
                    p_NK, new_NK = table.probabilities_NK, new.probabilities_NK
                    config = TrustConfig()
                    alpha = choose_alpha(p_NK, table, config) if name == "auto" else 0.05
                    sets = fit_config_sets(p_NK, table, config, alpha)
                    given_N = new_NK.argmax(axis=1)
                    wrong_N = given_N != new.labels_N
                    missed = 1 - sets.predict(new_NK)[np.arange(4000), new.labels_N].mean()
                    several_N = count_labels(sets, new_NK, given_N) > 1
                    # Of sets of one label, as many as the best threshold accepts at the target.
                    order = np.flatnonzero(~several_N)
                    order = order[np.argsort(-new_NK[order].max(axis=1))]
                    share = np.cumsum(wrong_N[order]) / np.arange(1, len(order) + 1)
                    accepted = (share <= 1 - TARGET).nonzero()[0][-1:].sum() + 1
                    rows.append(
                        (wrong_N.mean(), alpha, missed - alpha, several_N.mean(),
                         several_N[wrong_N].mean(), accepted / 4000)
                    )  # fmt: skip
                wrong, alpha, gap, several, of_wrong, accepted = 100 * np.mean(rows, axis=0)
                error = 100 * np.std([row[2] for row in rows]) / np.sqrt(repeats)
                print(
                    f"| {wrong:.1f} % | {n:,} | {name}: {alpha:.2f} %"
                    f" | {gap:+.2f} ± {error:.2f} points | {several:.1f} % | {of_wrong:.0f} %"
                    f" | {accepted:.1f} % |",
                    flush=True,
                )


def simulate_policies(repeats):
    """Print what whole policies accept of 20,000 new cells, and how much of it is misclassified."""
    print("| cells | wrong | calibration cells | accepted | wrong of these | missed |")
    cases = [
        (draw_scores, 0.025),
        (draw_scores, 0.04),
        (draw_calibrated, 7.0),
        (draw_calibrated, 6.0),
    ]
    for draw_table, difficulty in cases:
        for n in (300, 1120, 4000):
            rows = []
            for i in range(repeats):
                rng = np.random.default_rng(i)
                sizes = {"train": 2000, "calib": n, "test": 20_000}
                total = sum(sizes.values())
                table = replace(
                    draw_table(rng, total, difficulty),
                    roles=tuple(np.repeat(list(sizes), list(sizes.values())).tolist()),
                    embeddings_ND=rng.normal(size=(total, 4)).astype(np.float32),
                    quality_NQ=rng.random((total, len(QUALITY_NAMES))).astype(np.float32),
                    quality_names=QUALITY_NAMES,
                )
                new = table.of_role("test")
                fitted = fit_policy(table, TrustConfig(target_accuracy=TARGET))
                found = decide_table(fitted.policy, fitted.novelty, new)
                accepted_N = found.mask("accepted")
                wrong_N = found.labels_N != new.labels_N
                if accepted_N.any():
                    rows.append((wrong_N.mean(), accepted_N.mean(), wrong_N[accepted_N].mean()))
            wrong, accepted, left = np.array(rows).T
            print(
                f"| {draw_table.__name__[5:]} | {100 * wrong.mean():.1f} % | {n:,}"
                f" | {100 * accepted.mean():.1f} %"
                f" | {100 * left.mean():.2f} ± {100 * left.std() / np.sqrt(len(left)):.2f} %"
                f" | {100 * np.mean(left > 1 - TARGET):.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    part = sys.argv[1] if len(sys.argv) > 1 else "estimate"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    if part == "sets":
        simulate_sets(repeats)
    elif part == "policies":
        simulate_policies(repeats)
    else:
        simulate_thresholds(part, repeats)
