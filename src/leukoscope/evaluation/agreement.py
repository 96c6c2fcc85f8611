"""How far two readers of the same cells agree, and how far two shares of different cells differ.

Kappa of any weights and exact paired tests on the same cells; differences of shares, expected
accuracy and the effect of the case mix on different cells. A reader is a network, an analyser or a
person. Axes: N images, K classes, S sources, B confusion
matrices. What this file does not do: it reads no
images and applies no acceptance criterion.

Weighted kappa needs to know how bad each confusion is. Cells of different lines have no order,
so that linear or quadratic weights over, say, an alphabetic list of classes mean nothing. Weights
come from the user (an order of classes, or a cost for each confusion), or from the maturation of
granulocytes where at least three of its stages are among the classes. Otherwise there is no
weighted kappa.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, fisher_exact

from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation.intervals import compute_from_confusion, compute_proportion
from leukoscope.interval import Interval, Number
from leukoscope.spread import compute_mean

MATURATION = (
    "blast",
    "promyelocyte",
    "myelocyte",
    "metamyelocyte",
    "band_neutrophil",
    "segmented_neutrophil",
)
"""Stages of the neutrophil line in the order in which they follow each other."""


def find_order(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the stages of `MATURATION` among the classes, in order; () if fewer than three.

    With two stages linear, quadratic and plain kappa are one and the same.

    >>> find_order(["myelocyte", "blast", "eosinophil", "promyelocyte"])
    ('blast', 'promyelocyte', 'myelocyte')
    """
    found = tuple(name for name in MATURATION if name in classes)
    return found if len(found) > 2 else ()


def build_order_weights(
    classes: Sequence[str], order: Sequence[str], weights: Literal["linear", "quadratic"]
) -> NDArray[np.float64]:
    """Return how bad each confusion is, 0 on the diagonal to 1: float64 `(K, K)`.

    Between classes of `order` it is their distance in the order (squared for `quadratic`), over
    the longest one (Cohen 1968). A confusion with a class outside the order counts as the worst:
    it is a mistake of the cell line. Raises `ConfigError` unless `order` names at least two
    different classes of `classes`.

    >>> build_order_weights(["a", "b", "c"], ["a", "b", "c"], "quadratic")[0].tolist()
    [0.0, 0.25, 1.0]
    """
    unknown = [name for name in order if name not in classes]
    if unknown or len(set(order)) != len(order) or len(order) < 2:
        raise ConfigError(
            f"an order must name two or more different classes of {', '.join(classes)}",
            ", ".join(order) or "none",
            "correct `order` in the acceptance criteria",
        )
    place_K = np.array([order.index(name) if name in order else -1 for name in classes])
    distance_KK = np.abs(place_K[:, None] - place_K) / (len(order) - 1)
    if weights == "quadratic":
        distance_KK = distance_KK**2
    distance_KK[place_K < 0] = distance_KK[:, place_K < 0] = 1.0
    np.fill_diagonal(distance_KK, 0.0)
    return np.asarray(distance_KK, dtype=np.float64)


def build_cost_weights(
    classes: Sequence[str], cost: Mapping[str, Mapping[str, float]]
) -> NDArray[np.float64]:
    """Return the cost of each confusion, row: true, over the largest: float64 `(K, K)`.

    What `cost[true][called]` does not give costs 1, as in a recipe; `review` is no confusion.
    Raises `ConfigError` for unknown classes, negative costs, or none above 0.
    """
    index = {name: k for k, name in enumerate(classes)}
    cost_KK = 1.0 - np.eye(len(classes))
    for true, row in cost.items():
        for called, value in row.items():
            if called == "review":
                continue
            if true not in index or called not in index or true == called or not 0 <= value < 1e9:
                raise ConfigError(
                    f"a cost must be 0 or more, between two different classes of"
                    f" {', '.join(classes)}",
                    f"{true} called {called}: {value}",
                    "correct `cost` in the acceptance criteria",
                )
            cost_KK[index[true], index[called]] = value
    if not cost_KK.max() > 0:
        raise ConfigError("some confusion must cost more than 0", "none", "correct `cost`")
    return np.asarray(cost_KK / cost_KK.max())


def compute_kappa(
    first_N: NDArray[np.int64],
    second_N: NDArray[np.int64],
    weights_KK: NDArray[np.float64],
    sources: Sequence[str],
) -> Interval:
    """Return kappa, 1 - (weighted disagreement) / (that expected by chance), with its interval.

    `first_N` and `second_N` index the K classes; `weights_KK` is 0 where readers agree (plain
    kappa: `1 - eye(K)`). Cohen 1960, 1968; the interval is that of `intervals` over sources.
    scikit-learn's `cohen_kappa_score` is the witness; it knows no costs. NaN where both name one
    class throughout. Raises `DataError` for no images.

    >>> import numpy as np
    >>> names = np.array([0, 0, 1, 1])
    >>> compute_kappa(names, names, 1 - np.eye(2), ["a", "b", "c", "d"]).value
    1.0
    """

    def figure(confusion_BKK: NDArray[np.float64]) -> NDArray[np.float64]:
        n_B = confusion_BKK.sum(axis=(1, 2))
        chance_BKK = confusion_BKK.sum(axis=2)[:, :, None] * confusion_BKK.sum(axis=1)[:, None, :]
        seen_B = (confusion_BKK * weights_KK).sum(axis=(1, 2))
        expected_B = (chance_BKK * weights_KK).sum(axis=(1, 2)) / np.maximum(n_B, 1)
        ratio_B: NDArray[np.float64] = np.divide(
            seen_B, expected_B, out=np.full_like(seen_B, np.nan), where=expected_B > 0
        )
        return 1 - ratio_B

    return compute_from_confusion(first_N, second_N, len(weights_KK), sources, figure, "kappa")


# -- paired: the same cells, two readers ----------------------------------------------------------


SIGNIFICANCE = 0.05
"""The chance of calling equal readers different."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How many of the same cells both, one or neither reader classified correctly. `difference` is
    the accuracy of the first less that of the second; `p_value` that of the exact test."""

    both: int
    first_only: int
    second_only: int
    neither: int
    difference: Interval
    p_value: Number
    n_sources: int

    @property
    def is_gain(self) -> bool:
        """Whether the first reader is shown to be the better one: test and interval agree."""
        return self.p_value <= SIGNIFICANCE and self.difference.low > 0

    @property
    def is_loss(self) -> bool:
        """Whether the second reader is shown to be the better one."""
        return self.p_value <= SIGNIFICANCE and self.difference.high < 0


def compute_mcnemar(
    first_hit_N: NDArray[np.bool_], second_hit_N: NDArray[np.bool_], sources: Sequence[str]
) -> PairedTest:
    """Compare two readers of the same cells: exact test, and the difference with its interval.

    Where every source has one image this is McNemar's exact test (McNemar 1947): of the cells
    that only one reader classifies correctly, does each have half? Cells of a source are right or
    wrong together, and the plain test finds differences that are none. Then whole sources change
    sides: the sum over sources of (first only - second only) is compared with all sign changes of
    its terms, counted exactly. With one image each both are one and the same.

    The interval of the difference is that of the mean over sources (`spread.compute_mean`):
    where both readers err in the same sources, these errors cancel. Where every source has one
    image, or nothing varies, it joins the intervals of its two shares (method of variance estimates
    recovery, Zou and Donner 2008, with their multinomial correlation), and never has width 0.
    Raises `DataError` for no images or columns of unequal length.
    """
    n = len(first_hit_N)
    if not n or len(second_hit_N) != n or len(sources) != n:
        raise DataError(
            "a paired test needs cells that both readers have labelled",
            f"{n} and {len(second_hit_N)} cells, {len(sources)} sources",
            "choose cells that both have labelled",
        )
    first_N, second_N = first_hit_N & ~second_hit_N, second_hit_N & ~first_hit_N
    gain = compute_proportion(first_N, sources)
    loss = compute_proportion(second_N, sources)
    index_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)[1]
    change_N = first_N.astype(np.float64) - second_N
    balance_S = np.bincount(index_N, weights=change_N)
    correlation = -math.sqrt(
        gain.value * loss.value / max((1 - gain.value) * (1 - loss.value), 1e-12)
    )
    value = gain.value - loss.value
    down = _join(gain.value - gain.low, loss.high - loss.value, correlation)
    up = _join(gain.high - gain.value, loss.value - loss.low, correlation)
    low, high = value - down, value + up
    over_sources = compute_mean(change_N, sources)
    if len(balance_S) < n and over_sources.low < over_sources.high:
        low, high = over_sources.low, over_sources.high
    if not math.isnan(low):
        low, high = max(-1.0, low), min(1.0, high)
    return PairedTest(
        both=int((first_hit_N & second_hit_N).sum()),
        first_only=int(first_N.sum()),
        second_only=int(second_N.sum()),
        neither=int((~first_hit_N & ~second_hit_N).sum()),
        difference=Interval(value, low, high),
        p_value=_count_signs(np.rint(np.abs(balance_S)).astype(np.int64), abs(balance_S.sum())),
        n_sources=len(balance_S),
    )


def _join(a: float, b: float, correlation: float) -> float:
    if math.isnan(a + b):
        return math.nan
    return math.sqrt(max(0.0, a * a + b * b - 2 * max(correlation, -1.0) * a * b))


def _count_signs(terms_S: NDArray[np.int64], seen: float) -> float:
    """Return the share of sign changes of the terms whose sum is at least as far from 0 as seen."""
    terms_S = terms_S[terms_S > 0]
    most = int(terms_S.sum())
    chance = np.zeros(2 * most + 1)
    # Sources of one image are tens of thousands, and their sum is binomial.
    ones = int((terms_S == 1).sum())
    chance[most - ones : most + ones + 1 : 2] = binom.pmf(np.arange(ones + 1), ones, 0.5)
    for term in terms_S[terms_S > 1]:
        # Sums never leave -most ... most, so that nothing is carried round the end.
        chance = (np.roll(chance, term) + np.roll(chance, -term)) / 2
    far = np.abs(np.arange(-most, most + 1)) >= seen - 0.5
    return min(1.0, float(chance[far].sum()))


# -- unpaired: other cells ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShareComparison:
    """A share on external cells against the same share on internal ones. `p_value` (Fisher's exact
    test) is NaN where cells share sources: the test knows none."""

    external: Interval
    internal: Interval
    difference: Interval
    p_value: Number


def compare_shares(
    external: Interval, internal: Interval, *, n_external: int = 0, n_internal: int = 0
) -> ShareComparison:
    """Compare two shares that were measured on different cells.

    McNemar's test compares readers of the same cells. The cells of another laboratory are others,
    nothing pairs them, and the comparison is one of two independent shares: the difference by
    joining their own intervals (Newcombe 1998, method 10), which carries the clustering by source,
    and Fisher's exact test where numbers of cells are given: only of cells that are each their own
    source. The difference and its bounds are NaN where either share is undefined.
    """
    value = external.value - internal.value
    down = math.hypot(external.value - external.low, internal.high - internal.value)
    up = math.hypot(external.high - external.value, internal.value - internal.low)
    p_value = math.nan
    if n_external and n_internal and not math.isnan(value):
        hits, others = round(external.value * n_external), round(internal.value * n_internal)
        counts = [[hits, n_external - hits], [others, n_internal - others]]
        p_value = float(fisher_exact(counts)[1])
    difference = Interval(value, value - down, value + up)
    return ShareComparison(external, internal, difference, p_value)


def compute_case_mix_effect(
    external_K: NDArray[np.float64], internal_K: NDArray[np.float64], recalls: Sequence[Interval]
) -> Interval | None:
    """Return by how much accuracy changes with the case mix alone: from class counts `internal_K`
    to `external_K` at the same sensitivities `recalls`; None if a class that occurs has none.

    0 with an interval of 0 width for equal case mixes. The bounds join those of the recalls, of
    which each counts with the difference of its shares (Zou and Donner 2008): the lower bound of a
    class that became more common and the upper one of a class that became rarer go down.
    """
    weight_K = external_K / max(float(external_K.sum()), 1.0)
    weight_K = weight_K - internal_K / max(float(internal_K.sum()), 1.0)
    used = [(float(w), r) for w, r in zip(weight_K, recalls, strict=True) if abs(w) > 1e-12]
    if any(math.isnan(r.value) for _, r in used):
        return None
    value = sum(w * r.value for w, r in used)
    down = math.hypot(*(w * ((r.low if w > 0 else r.high) - r.value) for w, r in used))
    up = math.hypot(*(w * ((r.high if w > 0 else r.low) - r.value) for w, r in used))
    return Interval(value, value - down, value + up)


def compute_expected_accuracy(
    counts_K: NDArray[np.float64], recalls: Sequence[Interval]
) -> Interval | None:
    """Return the accuracy that sensitivities `recalls` give on a case mix `counts_K`; None if a
    class that occurs has none.

    A case mix with more of the difficult cells lowers accuracy although nothing else has changed.
    The bounds join those of the recalls (Zou and Donner 2008).
    """
    share_K = counts_K / max(float(counts_K.sum()), 1.0)
    used = [(float(s), r) for s, r in zip(share_K, recalls, strict=True) if s > 0]
    if not used or any(math.isnan(r.value) for _, r in used):
        return None
    value = sum(s * r.value for s, r in used)
    down = math.hypot(*(s * (r.value - r.low) for s, r in used))
    up = math.hypot(*(s * (r.high - r.value) for s, r in used))
    return Interval(value, value - down, value + up)
