"""Power at the advised number of cells, and error over repeated looks (docs/experiments/036).

Run `python benchmarks/validation_looks.py`; a few minutes. Cells of their own sources; the
criterion is an accuracy of at least 90 %. "before" is the advice that stood until experiment 36:
the number at which the interval would just clear the threshold, either way, if the figure stayed.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from leukoscope.evaluation.acceptance import (
    AcceptanceCriteria,
    CriterionResult,
    Look,
    evaluate_criterion,
)
from leukoscope.evaluation.intervals import compute_proportion, wilson

THRESHOLD = 0.9
(CRITERION,) = AcceptanceCriteria(min_accuracy=THRESHOLD).list_criteria()
LOOKS, RUNS, MOST = 8, 1000, 5000


@functools.cache
def evaluate(hits: int, n: int, planned: int) -> CriterionResult:
    return evaluate_criterion(CRITERION, wilson(hits, n), [1] * n, look=Look(1, planned))


@functools.cache
def advise_before(hits: int, n: int) -> int | None:
    share = hits / n
    for m in range(n + 1, MOST):
        found = wilson(share * m, m)
        if found.low >= THRESHOLD or found.high < THRESHOLD:
            return m
    return None


def compute_power(n: int, truth: float, planned: int) -> float:
    first = next((k for k in range(n + 1) if evaluate(k, n, planned).outcome == "met"), n + 1)
    return float(binom.sf(first - 1, n, truth))


def follow(generator: np.random.Generator, truth: float, planned: int, n: int, old: bool) -> bool:
    """Whether the criterion is met in one of the looks; where no number is advised, 50 % more."""
    hits = int(generator.binomial(n, truth))
    for _ in range(LOOKS):
        found = evaluate(hits, n, planned)
        if found.outcome != "undecided":
            return found.outcome == "met"
        advised = advise_before(hits, n) if old else found.needed
        wanted = min(advised or n + n // 2, MOST)
        if wanted <= n:
            return False
        hits, n = hits + int(generator.binomial(wanted - n, truth)), wanted
    return False


def draw(
    generator: np.random.Generator, patients: int, size: int, mean: float
) -> tuple[NDArray[np.bool_], list[str]]:
    chance = generator.beta(19 * mean, 19 * (1 - mean), (patients, 1))
    hits = generator.random((patients, size)) < chance
    return hits.ravel(), np.repeat(np.arange(patients), size).astype(str).tolist()


def compute_clustered_power(patients: int, size: int) -> tuple[float, int]:
    """The mean chance at the advised number where cells share patients, and of how many studies."""
    generator = np.random.default_rng(5)
    powers = []
    for _ in range(60):
        share = compute_proportion(*draw(generator, patients, size, 0.94))
        needed = evaluate_criterion(CRITERION, share, [size] * patients).needed
        if needed is None:
            continue
        n, met = needed // size, 0
        for _ in range(20):
            again = compute_proportion(*draw(generator, n, size, share.value))
            met += evaluate_criterion(CRITERION, again, [size] * n).outcome == "met"
        powers.append(met / 20)
    return float(np.mean(powers)), len(powers)


def main() -> None:
    print("found: cells advised before, chance to be met there; now, chance; with 3 looks, chance")
    for hits, n in ((47, 50), (48, 50), (94, 100), (95, 100), (186, 200), (465, 500)):
        before = advise_before(hits, n)
        columns = [] if before is None else [(before, compute_power(before, hits / n, 1))]
        for planned in (1, 3):
            needed = evaluate(hits, n, planned).needed
            if needed is not None:
                columns.append((needed, compute_power(needed, hits / n, planned)))
        listed = "; ".join(f"{m:,}, {100 * power:.1f} %" for m, power in columns)
        print(f"{hits} of {n}: {listed}", flush=True)

    print(f"met in one of {LOOKS} looks at 90 %: first cells; before; now, one planned; all")
    for n in (50, 100, 200):
        rates = []
        for planned, old in ((1, True), (1, False), (LOOKS, False)):
            generator = np.random.default_rng(0)
            met = [follow(generator, THRESHOLD, planned, n, old) for _ in range(RUNS)]
            rates.append(f"{100 * np.mean(met):.1f} %")
        print(f"{n}: {', '.join(rates)}", flush=True)

    for patients, size in ((20, 10), (40, 5), (60, 10)):
        power, studies = compute_clustered_power(patients, size)
        print(f"{patients} patients of {size}: {100 * power:.0f} % ({studies} studies)", flush=True)

    for planned in (1, LOOKS):
        hits_RT = np.random.default_rng(0).binomial(50, THRESHOLD, (100_000, LOOKS)).cumsum(axis=1)
        least = []
        for n in 50 * np.arange(1, LOOKS + 1):
            met = (k for k in range(n + 1) if evaluate(k, int(n), planned).outcome == "met")
            least.append(next(met, int(n) + 1))
        passed = 100 * (hits_RT >= least).any(axis=1).mean()
        print(f"50 cells more at each of {LOOKS} looks, {planned} planned: {passed:.2f} %")


if __name__ == "__main__":
    main()
