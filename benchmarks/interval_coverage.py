"""How often 95 % intervals hold a known truth (docs/experiments/005 and 033).

Run `python benchmarks/interval_coverage.py`; some minutes. Three tables in Markdown: kinds of
interval on equal sources, proportions from sources of unequal size, all figures of a score table.
The truth is that of sources whose chance does not depend on their size.
"""

import math

import numpy as np

from leukoscope.evaluation.intervals import compute_intervals, compute_proportion, wilson
from leukoscope.evaluation.metrics import compute_metrics
from leukoscope.scores import ScoreTable

CASES = ((33, 36, 0.95, 0.2), (33, 36, 0.99, 0.6), (5, 30, 0.9, 0.2))
RIGHT, CORRELATIONS = (0.7, 0.9, 0.95, 0.99), (0.05, 0.2, 0.5, 0.9)
FIGURES = (
    "accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc", "pr_auc", "log_loss",
    "brier", "ece", "recall a", "precision a", "f1 a", "roc_auc a", "pr_auc a",
)  # fmt: skip


def draw_log_normal(count: int, middle: float, sigma: float = 1.5):
    """Sizes of sources with a long tail."""
    return lambda g: np.maximum(1, np.rint(middle * np.exp(sigma * g.normal(size=count)))).astype(
        int
    )


def fix(*sizes: object):
    """The same sizes each time."""
    return lambda _: np.concatenate([np.atleast_1d(x) for x in sizes]).astype(int)


SIZES = {
    "3 of 30": fix([30] * 3),
    "5 of 30": fix([30] * 5),
    "10 of 30": fix([30] * 10),
    "33 of 36": fix([36] * 33),
    "5,000 and 20 of 10": fix(5000, [10] * 20),
    "2 of 3,000 and 20 of 10": fix([3000] * 2, [10] * 20),
    "300 and 20 of 2": fix(300, [2] * 20),
    "100 and 20 of 5": fix(100, [5] * 20),
    "100 and 20 of 10": fix(100, [10] * 20),
    "3 of 1,000 and 20 of 5": fix([1000] * 3, [5] * 20),
    "4 of 1,000 and 20 of 5": fix([1000] * 4, [5] * 20),
    "Zipf, 10": fix(300 // np.arange(1, 11)),
    "Zipf, 50": fix(300 // np.arange(1, 51)),
    "log-normal, 10": draw_log_normal(10, 20),
    "log-normal, 20": draw_log_normal(20, 20),
    "log-normal, 50": draw_log_normal(50, 20),
    "log-normal (sigma 2), 50": draw_log_normal(50, 20, 2),
}


def draw_chances(g, law: str, right: float, correlation: float, count: int):
    """The chance of each source to be right: beta, or one of two values that are as frequent."""
    if law == "beta":
        scale = (1 - correlation) / correlation
        return g.beta(right * scale, (1 - right) * scale, count)
    step = min(math.sqrt(correlation * right * (1 - right)), 1 - right)
    return np.where(g.random(count) < 0.5, right + step, right - step)


def bound_before(hits, sizes):
    """The interval as it was before sources of unequal size were allowed for."""
    from scipy.special import stdtrit

    def shrink(freedom: float) -> float:
        return float((1.959964 / stdtrit(max(freedom, 1), 0.975)) ** 2)

    n, s, p = sizes.sum(), len(sizes), hits.sum() / sizes.sum()
    u2 = (hits - p * sizes) ** 2
    kish = effective = n * n / (sizes**2).sum()
    if u2.sum() > 1e-12 * n:
        freedom = min(s - 1, u2.sum() ** 2 / (u2**2).sum())
        independent = min(n, p * (1 - p) * n * n * (s - 1) / s / u2.sum()) * shrink(freedom)
        effective = max(1.0, kish * shrink(s - 1), independent)
    return wilson(p * effective, effective)


def print_kinds(runs: int) -> None:
    """Equal sources: percentile bootstrap, over images, ours."""
    print("| sources x images | accuracy | correlation | percentiles | over images | ours |")
    print("|---|---|---|---|---|---|")
    for sources, size, right, correlation in CASES:
        g = np.random.default_rng(12)
        covered = np.zeros(3)
        for _ in range(runs):
            chance = draw_chances(g, "beta", right, correlation, sources)
            sizes = np.maximum(1, g.poisson(size, sources))
            hits = g.binomial(sizes, chance)
            draws = g.multinomial(sources, np.full(sources, 1 / sources), size=200)
            low, high = np.quantile(draws @ hits / (draws @ sizes), (0.025, 0.975))
            plain, ours = wilson(float(hits.sum()), float(sizes.sum())), bound(hits, sizes)
            limits = ((low, high), (plain.low, plain.high), (ours.low, ours.high))
            covered += [a <= right <= b for a, b in limits]
        shares = " | ".join(f"{100 * x / runs:.1f} %" for x in covered)
        print(f"| {sources} x {size} | {right:.0%} | {correlation} | {shares} |", flush=True)


def bound(hits, sizes):
    """The interval of the share of hits over sources."""
    flags = np.concatenate([np.arange(n) < h for n, h in zip(sizes, hits, strict=True)])
    return compute_proportion(flags, np.repeat(np.arange(len(sizes)), sizes).astype(str).tolist())


def print_proportions(runs: int) -> None:
    """Shares from sources of unequal size, over all accuracies, correlations and laws."""
    print("\n| sizes | Kish | none | mean | least (at) | width | before: mean | least | width |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, draw in SIZES.items():
        g = np.random.default_rng(33)
        cells, before, widths, old_widths, kish, none, count = {}, [], [], [], [], 0, 0
        for law in ("beta", "two kinds"):
            for right in RIGHT:
                for correlation in CORRELATIONS:
                    held, old, given = 0, 0, 0
                    for _ in range(runs):
                        sizes = draw(g)
                        chance = draw_chances(g, law, right, correlation, len(sizes))
                        hits = g.binomial(sizes, chance)
                        found, was = bound(hits, sizes), bound_before(hits, sizes)
                        kish.append(sizes.sum() ** 2 / (sizes**2).sum())
                        old += was.low <= right <= was.high
                        old_widths.append(was.high - was.low)
                        if not math.isnan(found.low):
                            given += 1
                            held += found.low <= right <= found.high
                            widths.append(found.high - found.low)
                    none, count = none + runs - given, count + runs
                    before.append(old / runs)
                    if given > runs / 4:
                        cells[law, right, correlation] = held / given
        row = [name, f"{np.median(kish):.1f}", f"{100 * none / count:.0f} %"]
        if cells:
            at = min(cells, key=cells.__getitem__)
            row += [
                f"{100 * np.mean(list(cells.values())):.1f}",
                f"{100 * cells[at]:.1f} ({at[0]}, {at[1]}, {at[2]})",
                f"{np.mean(widths):.2f}",
            ]
        else:
            row += ["–"] * 3
        row += [f"{100 * np.mean(before):.1f}", f"{100 * min(before):.1f}"]
        print("| " + " | ".join([*row, f"{np.mean(old_widths):.2f}"]) + " |", flush=True)


def draw_table(g, sizes, kinds, signal: float, shared: float) -> ScoreTable:
    """Three classes, the rarest a sixth (`kinds` None: all in each source); logits share a part
    within a source."""
    index = np.repeat(np.arange(len(sizes)), sizes)
    n = len(index)
    labels = g.choice(3, n, p=np.array([1, 2, 3]) / 6) if kinds is None else kinds[index]
    z = g.normal(size=(n, 3)) + shared * g.normal(size=(len(sizes), 3))[index]
    z[np.arange(n), labels] += signal
    return ScoreTable(
        classes=("a", "b", "c"),
        ids=tuple(map(str, range(n))),
        paths=("",) * n,
        sources=tuple(map(str, index)),
        roles=("test",) * n,
        labels_N=labels,
        logits_NK=(1.5 * z).astype(np.float32),
        embeddings_ND=np.zeros((n, 0), np.float32),
        source_known=True,
    )


def draw_kinds(count: int):
    """A class for each source, two sources of each at least."""

    def draw(g):
        kinds = g.choice(3, count, p=np.array([1, 2, 3]) / 6)
        kinds[:6] = (0, 0, 1, 1, 2, 2)
        return kinds

    return draw


TABLES = {
    "10 of 20, all classes in each": (fix([20] * 10), None),
    "33 of 20, all classes in each": (fix([20] * 33), None),
    "33 of 20, one class each": (fix([20] * 33), draw_kinds(33)),
    "150 single images": (fix([1] * 150), None),
    "Zipf 20, all classes in each": (fix(200 // np.arange(1, 21)), None),
    "log-normal 20, all classes in each": (draw_log_normal(20, 15), None),
    "log-normal 50, one class each": (draw_log_normal(50, 15), draw_kinds(50)),
    "3 of 600 and 20 of 10": (fix([600] * 3, [10] * 20), None),
    "class a: 100 and 20 of 5; 40 of 20": (
        fix(100, [5] * 20, [20] * 40),
        lambda _: np.repeat([0, 1, 2], [21, 20, 20]),
    ),
    "class a: 300 and 20 of 2; 40 of 20": (
        fix(300, [2] * 20, [20] * 40),
        lambda _: np.repeat([0, 1, 2], [21, 20, 20]),
    ),
}


def flatten(figures):
    """Figures by name, those of a class followed by its label."""
    found = dict(figures.overall)
    for label, own in figures.per_class.items():
        found |= {f"{name} {label}": value for name, value in own.items()}
    return found


def print_figures(runs: int) -> None:
    """All figures of a score table, at two strengths of signal and of what a source shares."""
    print("\nHeld of 100 (where less than all have an interval: how many of 100 have).\n")
    print("| sources | " + " | ".join(FIGURES) + " |")
    print("|---|" + "---|" * len(FIGURES))
    for name, (draw, draw_labels) in TABLES.items():
        g = np.random.default_rng(34)
        held, given = dict.fromkeys(FIGURES, 0), dict.fromkeys(FIGURES, 0)
        for signal, shared in ((2.5, 0.7), (4.0, 1.2)):
            truth = measure_truth(draw, draw_labels, signal, shared)
            for _ in range(runs):
                kinds = None if draw_labels is None else draw_labels(g)
                found = flatten(compute_intervals(draw_table(g, draw(g), kinds, signal, shared)))
                for figure in FIGURES:
                    one = found[figure]
                    given[figure] += not math.isnan(one.low)
                    held[figure] += one.low - 1e-9 <= truth[figure] <= one.high + 1e-9
        cells = []
        for figure in FIGURES:
            n = given[figure]
            share = f" ({100 * n / (2 * runs):.0f})" if n < 2 * runs else ""
            cells.append(f"{100 * held[figure] / n:.0f}{share}" if n else "none")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def measure_truth(draw, draw_labels, signal: float, shared: float) -> dict[str, float]:
    """The figures of so many sources that chance hardly counts, in the expected case mix; the
    stated confidence of logits times 1.5 is off, so that the calibration error is not 0."""
    g = np.random.default_rng(35)
    n, share = 60_000, np.array([1, 2, 3]) / 6
    if draw_labels is not None and len(draw(g)) == 61:
        share = np.bincount(draw_labels(g), draw(g)) / draw(g).sum()
    labels = g.choice(3, n, p=share)
    table = draw_table(g, np.ones(n, int), labels, signal, shared)
    found = flatten(compute_metrics(labels, table.probabilities_NK, table.classes))
    found["ece"] = compute_intervals(table.take(np.arange(20_000))).overall["ece"].value
    return found


if __name__ == "__main__":
    print_kinds(1000)
    print_proportions(150)
    print_figures(100)
