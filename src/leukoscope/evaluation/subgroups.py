"""Cells that share a value of a column: what the network is worth on each group, against the rest.

What this file does not do: it reads no table and words nothing (`validate_words`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.agreement import compare_shares
from leukoscope.evaluation.intervals import compute_share
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import ScoreTable
from leukoscope.trust.decision import Status

FEW = 10
"""A subgroup of fewer cells than this is counted, not measured."""

MOST_GROUPS = 20
"""A column with more different values than this is no grouping."""


@dataclass(frozen=True)
class Subgroup:
    """Cells that share a value of a column. `expected` is the accuracy that this mixture of
    classes would have if each class were named as well as among all cells. `difference` (of
    accuracy) and `accepted_difference` are against the rest, at a level that holds for all groups
    and both figures of the column together; undefined where the bundle decides nothing."""

    value: str
    n_images: int
    n_sources: int
    accuracy: Interval
    expected: float
    difference: Interval
    accepted: Interval
    accepted_difference: Interval
    rejected: Interval

    @property
    def stands_out(self) -> bool:
        """Whether the difference of accuracy to the rest is more than chance."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def accepted_stands_out(self) -> bool:
        """Whether the difference of the share accepted is."""
        return self.accepted_difference.low > 0 or self.accepted_difference.high < 0


@dataclass(frozen=True)
class SubgroupTable:
    """The groups of one column; `note` says why there are none, or what to mind."""

    column: str
    groups: tuple[Subgroup, ...]
    note: str = ""


def split_column(
    column: str,
    values: Sequence[str],
    table: ScoreTable,
    calls_N: NDArray[np.int64],
    status: Sequence[Status] | None,
) -> SubgroupTable:
    """Measure the groups of cells of known class that share a value of a column, largest first.

    `calls_N` are the names given, `status` the decisions, None for a bundle that decides nothing.
    """
    counts = Counter(values)
    if len(counts) < 2:
        return SubgroupTable(column, (), "all cells have the same value")
    if len(counts) > MOST_GROUPS:
        return SubgroupTable(
            column, (), f"{len(counts):,} different values, more than {MOST_GROUPS}: no grouping"
        )
    sources = table.sources
    hit_N = calls_N == table.labels_N
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
            here, there = (compute_share(flags_N, one, sources, level) for one in (own_N, ~own_N))
            return compare_shares(here, 0, there, 0, independent=False).difference

        groups.append(
            Subgroup(
                value or "(blank)",
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
    across = sum(
        len(set(values_N[sources_N == s])) > 1 for s, n in Counter(sources).items() if n > 1
    )
    note = f"{across} sources lie in several groups; the differences ignore it." if across else ""
    return SubgroupTable(column, tuple(groups), note)
