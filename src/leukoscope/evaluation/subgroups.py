"""Cells that share a value of a column: figures of each group, and their difference to the rest.

What this file does not do: it reads no table and words nothing (`report.validation_words`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.agreement import compare_shares
from leukoscope.evaluation.intervals import compute_share
from leukoscope.interval import UNDEFINED, Interval, Number
from leukoscope.scores import ScoreTable
from leukoscope.trust.decision import Status

FEW = 10
"""A subgroup of fewer cells than this is counted, not measured."""

MOST_GROUPS = 20
"""A column with more different values than this is no grouping."""

SubgroupStatus = Literal["compared", "one_value", "too_many_values"]


@dataclass(frozen=True)
class Subgroup:
    """Cells that share a value of a column, "" where it is blank. `expected_accuracy` is the one
    that the group's case mix would have at the sensitivities of all cells. `difference` (of
    accuracy) and `accepted_difference` are to the rest, at a level that holds for all groups and
    both figures of the column together; undefined for a bundle that cannot reject."""

    value: str
    n_images: int
    n_sources: int
    accuracy: Interval
    expected_accuracy: Number
    difference: Interval
    accepted: Interval
    accepted_difference: Interval
    rejected: Interval

    @property
    def stands_out(self) -> bool:
        """Whether the difference of accuracy to the rest is beyond chance."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def accepted_stands_out(self) -> bool:
        """Whether the difference of the share accepted is."""
        return self.accepted_difference.low > 0 or self.accepted_difference.high < 0


@dataclass(frozen=True)
class SubgroupTable:
    """The groups of one column, none unless `compared`. `n_shared_sources` counts the sources that
    lie in several groups; the differences ignore that."""

    column: str
    status: SubgroupStatus
    n_values: int
    groups: tuple[Subgroup, ...] = ()
    n_shared_sources: int = 0


def split_column(
    column: str,
    values: Sequence[str],
    table: ScoreTable,
    predicted_N: NDArray[np.int64],
    status: Sequence[Status] | None,
) -> SubgroupTable:
    """Measure the groups of cells of known class that share a value of a column, largest first.

    `predicted_N` indexes the classes; `status` is None for a bundle that was never calibrated.
    """
    counts = Counter(values)
    if len(counts) < 2:
        return SubgroupTable(column, "one_value", len(counts))
    if len(counts) > MOST_GROUPS:
        return SubgroupTable(column, "too_many_values", len(counts))
    sources = table.sources
    hit_N = predicted_N == table.labels_N
    recall_K = np.array(
        [hit_N[table.labels_N == k].mean() if (table.labels_N == k).any() else 0.0
         for k in range(len(table.classes))]
    )  # fmt: skip
    values_N, sources_N = (np.array(x, dtype=np.str_) for x in (values, sources))
    large = sum(n >= FEW and len(values) - n >= FEW for n in counts.values())
    # Two groups are each other's rest: one comparison.
    comparisons = (1 if len(counts) == 2 else max(1, large)) * (1 if status is None else 2)
    level = 1 - 0.05 / comparisons
    accepted_N, rejected_N = (np.array(status or ()) == one for one in ("accepted", "unknown"))
    groups = []
    for value, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        own_N = values_N == value

        def measure(flags_N: NDArray[np.bool_], own_N: NDArray[np.bool_] = own_N) -> Interval:
            if own_N.sum() < FEW or not len(flags_N):
                return UNDEFINED
            return compute_share(flags_N, own_N, sources)

        def compare(flags_N: NDArray[np.bool_], own_N: NDArray[np.bool_] = own_N) -> Interval:
            if min(own_N.sum(), (~own_N).sum()) < FEW or not len(flags_N):
                return UNDEFINED
            group, rest = (compute_share(flags_N, one, sources, level) for one in (own_N, ~own_N))
            return compare_shares(group, rest).difference

        groups.append(
            Subgroup(
                value,
                n,
                len(set(sources_N[own_N])),
                measure(hit_N),
                float(recall_K[table.labels_N[own_N]].mean()),
                compare(hit_N),
                measure(accepted_N),
                compare(accepted_N),
                measure(rejected_N),
            )
        )
    shared = sum(
        len(set(values_N[sources_N == s])) > 1 for s, n in Counter(sources).items() if n > 1
    )
    return SubgroupTable(column, "compared", len(counts), tuple(groups), shared)
