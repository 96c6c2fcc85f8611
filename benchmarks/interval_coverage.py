"""How often three kinds of 95 % interval hold a known accuracy (docs/experiments/005).

Run `python benchmarks/interval_coverage.py`; ten seconds. Images of a source are right together
(beta-binomial), as copies are.
"""

import numpy as np

from leukoscope.evaluation.intervals import compute_proportion, wilson

CASES = ((33, 36, 0.95, 0.2), (33, 36, 0.99, 0.6), (5, 30, 0.9, 0.2))
RUNS = 1000


def main() -> None:
    print("sources x images, accuracy, correlation: percentile bootstrap, over images, ours")
    for sources, size, right, correlation in CASES:
        generator = np.random.default_rng(12)
        scale = (1 - correlation) / correlation
        covered = np.zeros(3)
        for _ in range(RUNS):
            chance = generator.beta(right * scale, (1 - right) * scale, sources)
            sizes = np.maximum(1, generator.poisson(size, sources))
            hits = generator.binomial(sizes, chance)
            draws = generator.multinomial(sources, np.full(sources, 1 / sources), size=200)
            low, high = np.quantile(draws @ hits / (draws @ sizes), (0.025, 0.975))
            plain = wilson(float(hits.sum()), float(sizes.sum()))
            flags = [np.arange(n) < h for n, h in zip(sizes, hits, strict=True)]
            names = np.repeat(np.arange(sources).astype(str), sizes).tolist()
            ours = compute_proportion(np.concatenate(flags), names)
            limits = ((low, high), (plain.low, plain.high), (ours.low, ours.high))
            covered += [a <= right <= b for a, b in limits]
        shares = "  ".join(f"{100 * x / RUNS:.1f} %" for x in covered)
        print(f"{sources} x {size}, {right:.0%}, {correlation}: {shares}")


if __name__ == "__main__":
    main()
