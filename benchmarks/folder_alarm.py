"""How often `predict` warns of a folder, by its case mix and its patients (docs/experiments/036).

Run `python benchmarks/folder_alarm.py`; two minutes. Invented cells of five classes, the last one
hard; another laboratory loses 60 % of what is accepted. "before" is the rule that knew no case mix.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from leukoscope.evaluation.decisions import compute_accepted_correlation
from leukoscope.evaluation.intervals import compute_share
from leukoscope.trust.folder import FOLDER_LEVEL, compare_acceptance, compute_chernoff_bound
from leukoscope.trust.record import Reference

RIGHT = np.array([0.99, 0.98, 0.96, 0.95, 0.85])
ACCEPTED = np.array([0.98, 0.97, 0.95, 0.93, 0.85])
K = len(RIGHT)
MIXES = {
    "as tested": np.full(K, 1 / K),
    "hard class": np.eye(K)[4],
    "easy class": np.eye(K)[0],
    "half hard, half easy": np.array([0.5, 0, 0, 0, 0.5]),
}
CASES = (
    # test images and sources, correlation, folder's images and sources
    (300, 300, 0.0, 100, 100),
    (300, 300, 0.0, 1000, 1000),
    (1500, 1500, 0.0, 100, 100),
    (1500, 1500, 0.0, 1000, 1000),
    (1500, 60, 0.1, 1000, 10),
    (1500, 60, 0.1, 100, 1),
    (1500, 60, 0.1, 1000, 1),
    (600, 20, 0.1, 1000, 1),
)
SETS, FOLDERS = 50, 20


def draw(
    generator: np.random.Generator,
    mix: NDArray[np.float64],
    n: int,
    n_sources: int,
    correlation: float,
    loss: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], list[str]]:
    sources = np.arange(n) % n_sources
    labels = generator.choice(K, n, p=mix)
    is_right = generator.random(n) < RIGHT[labels]
    predicted = np.where(is_right, labels, (labels + generator.integers(1, K, n)) % K)
    common = generator.normal(size=n_sources)[sources] * math.sqrt(correlation)
    luck = common + generator.normal(size=n) * math.sqrt(1 - correlation)
    share = np.where(is_right, ACCEPTED[labels], 0.15) * (1 - loss)
    return labels, predicted, luck < norm.ppf(share), [str(source) for source in sources]


def build(generator: np.random.Generator, n: int, n_sources: int, correlation: float) -> Reference:
    labels, predicted, accepted, sources = draw(
        generator, MIXES["as tested"], n, n_sources, correlation
    )
    confusion = np.zeros((K, K), int)
    np.add.at(confusion, (labels, predicted), 1)
    return Reference.model_construct(
        confusion=confusion.tolist(),
        accepted=compute_share(accepted, np.ones(n, np.bool_), sources),
        class_accepted=tuple(
            compute_share(accepted, labels == k, sources, FOLDER_LEVEL) for k in range(K)
        ),
        accepted_correlation=compute_accepted_correlation(accepted, labels, sources),
    )


def main() -> None:
    print("test images/sources, folder images/sources, mix: before, now, another laboratory (now)")
    for n_test, s_test, correlation, n, s in CASES:
        for name, mix in MIXES.items():
            generator = np.random.default_rng(0)
            alarms = np.zeros(3)
            for _ in range(SETS):
                reference = build(generator, n_test, s_test, correlation)
                for _ in range(FOLDERS):
                    for place, loss in ((1, 0.0), (2, 0.6)):
                        _, predicted, accepted, _ = draw(generator, mix, n, s, correlation, loss)
                        counts = np.bincount(predicted, minlength=K).tolist()
                        found = compare_acceptance(reference, counts, int(accepted.sum()))
                        alarms[place] += found is not None and found.is_unusual
                        if not loss and accepted.mean() < reference.accepted.low:
                            bound = compute_chernoff_bound(float(accepted.mean()), n)
                            alarms[0] += bound < reference.accepted.low
            shares = ", ".join(f"{100 * x / SETS / FOLDERS:.1f} %" for x in alarms)
            print(f"{n_test}/{s_test}, {n}/{s}, {name}: {shares}", flush=True)


if __name__ == "__main__":
    main()
