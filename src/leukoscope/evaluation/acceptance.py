"""The acceptance criteria that a laboratory sets for a network, and whether its figures meet them.

A criterion is decided by the bounds of the confidence interval, never by the figure alone: it is
met where the whole interval meets it, not met where the whole interval misses it, and undecided
between the two; then the number of cells is given with which it would be met in 8 of 10 cases, if
the figure is the truth. All criteria must be met for acceptance, so that many criteria make
acceptance harder, never easier.

Each look at growing cells is one more chance to meet a criterion by luck: of networks that just
miss it, 2.5 % pass one look, and more pass one of eight (docs/experiments/036). So a laboratory
that wants to look again says how often before its first look (`looks`), and each look gets an equal
part of the 2.5 %, so that the chances of all looks add up to no more (Bonferroni). Spending by the
share of information (Lan and DeMets 1983) would lose less, but the final number of cells must be
known, and here each look advises another.

Wilson's interval covers a share in 95 % of cases on average over shares, but of one missed cell it
ends at 79 %: a criterion of 80 % would not be met, although nine cells in ten are found. So shares
from fewer than `EXACT_BELOW` sources are decided by the exact interval. What this file does not do:
it measures nothing.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import ndtr, ndtri

from leukoscope.config import join_problems, load_toml
from leukoscope.errors import ConfigError
from leukoscope.evaluation.agreement import ShareComparison
from leukoscope.evaluation.intervals import clopper_pearson, wilson
from leukoscope.evaluation.sample_size import (
    compute_effective_size,
    compute_needed,
    compute_power,
    predict_sizes,
    reduce_size,
)
from leukoscope.interval import EXACT_BELOW, Interval
from leukoscope.labels import resolve_label

_LEVEL = 0.95

_Share = Annotated[float, Field(gt=0, lt=1)]
_Kappa = Annotated[float, Field(gt=-1, lt=1)]

Outcome = Literal["met", "not_met", "undecided", "not_measured"]
"""Of one criterion. `not_measured`: the cells or the bundle hold nothing to decide it by."""

Acceptance = Literal["pass", "fail", "undecided", "no_criteria"]
"""Of all criteria together."""

Missing = Literal[
    "no_cell_of_class",
    "no_cell_of_other_class",
    "one_class",
    "no_weights",
    "no_reference",
    "no_unknown_class",
    "not_calibrated",
    "none_accepted",
    "undefined",
]
"""Why a figure is not there. `one_class`: kappa of cells of one class is 0 whatever the network
predicts. `no_weights`: weighted kappa needs an order of the classes or costs."""

Reason = (
    Literal[
        "interval",
        "few_cells",
        "no_interval",
        "figure_on_threshold",
        "figure_misses_threshold",
        "not_feasible",
    ]
    | Missing
)
"""Why a criterion has its outcome. `interval`: it decides. `few_cells`: it holds the threshold, and
with so many cells it would be met; `not_feasible`: with no feasible number. Where the figure lies
on the threshold or misses it, no number would meet it but by luck."""

CriterionKey = Literal[
    "min_accuracy",
    "min_balanced_accuracy",
    "min_sensitivity",
    "min_specificity",
    "min_kappa",
    "min_weighted_kappa",
    "max_ece",
    "min_coverage",
    "min_accepted",
    "max_review",
    "max_rejected",
    "min_accuracy_accepted",
    "max_unknown_accepted",
    "max_accuracy_drop",
]

_SHARES = {"accuracy", "sensitivity", "specificity", "coverage", "accepted", "review", "rejected"}
_SHARES |= {"accuracy_accepted", "unknown_accepted"}
"""Figures that are a proportion of cells. Balanced accuracy is an average of such, accuracy drop a
difference; of the others only the interval is known."""


class AcceptanceCriteria(BaseModel):
    """What a laboratory asks for, and how its table is to be read. Shares are 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_accuracy: _Share | None = None
    min_balanced_accuracy: _Share | None = None
    min_sensitivity: dict[str, _Share] = {}
    """By class."""
    min_specificity: dict[str, _Share] = {}
    min_kappa: _Kappa | None = None
    min_weighted_kappa: _Kappa | None = None
    """Quadratic along `order`; by `cost` where that is given."""
    max_ece: _Share | None = None
    """Of the debiased calibration error."""
    min_coverage: _Share | None = None
    """Share of the cells whose prediction set holds their class."""
    min_accepted: _Share | None = None
    max_review: _Share | None = None
    max_rejected: _Share | None = None
    """Share of the cells of known classes that are rejected as unknown."""
    min_accuracy_accepted: _Share | None = None
    max_unknown_accepted: _Share | None = None
    """Share of the cells of classes unknown to the network that it accepts."""
    max_accuracy_drop: _Share | None = None
    """Accuracy on the internal test set less accuracy on these cells."""

    half_width: float = Field(0.05, gt=0, lt=0.5)
    """The interval of each sensitivity is wanted this wide to either side."""
    order: tuple[str, ...] = ()
    """Classes in the order that weights kappa."""
    cost: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """`cost[true][predicted]`, 1 where it is not given."""
    looks: int = Field(1, ge=1, le=20)
    """How often growing cells are looked at, in all; set before the first look."""
    labels: dict[str, str] = {}
    """Labels in the local table, and the class of the network that each one means."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_labels(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        found = {key: _resolve_keys(value) for key, value in content.items()}
        if isinstance(found.get("cost"), dict):
            found["cost"] = {label: _resolve_keys(row) for label, row in found["cost"].items()}
        if isinstance(found.get("order"), list | tuple):
            found["order"] = tuple(resolve_label(str(label)) for label in found["order"])
        if isinstance(found.get("labels"), dict):
            found["labels"] = {k: resolve_label(str(v)) for k, v in found["labels"].items()}
        return found

    def list_criteria(self) -> tuple["Criterion", ...]:
        """Return every criterion that is set, in the order of the fields."""
        found = []
        for key in CriterionKey.__args__:  # type: ignore[attr-defined]
            value = getattr(self, key)
            thresholds = value if isinstance(value, dict) else {"": value}
            for label, threshold in thresholds.items():
                if threshold is not None:
                    found.append(Criterion(key, label, threshold))
        return tuple(found)


def _resolve_keys(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {resolve_label(str(label)): inside for label, inside in value.items()}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion: its key in the file, the class it is of ("" for all), the threshold."""

    key: CriterionKey
    label: str
    threshold: float

    @property
    def figure(self) -> str:
        """The figure that it bounds."""
        return self.key[4:]

    @property
    def is_minimum(self) -> bool:
        """Whether the figure must be at least the threshold, and not at most."""
        return self.key.startswith("min")


@dataclass(frozen=True, slots=True)
class Look:
    """Which look at growing cells this is, of how many that were planned before the first."""

    number: int = 1
    planned: int = 1

    @property
    def level(self) -> float:
        """The level of the intervals that decide the criteria: 0.95 for a single look."""
        return 1 - (1 - _LEVEL) / self.planned


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """One criterion and its outcome. `figure` has the interval that decided it. `needed` is of how
    many cells in all, with further sources, it would be met in 8 of 10 cases if the figure is the
    truth; None where there is no such number."""

    criterion: Criterion
    figure: Interval | None
    outcome: Outcome
    reason: Reason
    needed: int | None = None


def load_criteria(path: Path, classes: tuple[str, ...]) -> AcceptanceCriteria:
    """Read criteria from a TOML file; classes may be spelled as the data sets do.

    Raises `ConfigError` for a file that is not TOML, an unknown key (naming the nearest), a value
    out of range, or a class that is not among `classes`.
    """
    content = load_toml(path, "acceptance criteria")
    return parse_criteria(content, classes, str(path))


def parse_criteria(
    content: Mapping[str, Any], classes: tuple[str, ...], place: str
) -> AcceptanceCriteria:
    """Build criteria from nested dictionaries; errors as in `load_criteria`."""
    try:
        criteria = AcceptanceCriteria.model_validate(dict(content))
    except ValidationError as error:
        raise ConfigError(
            f"every criterion of {place} must be known and in range",
            join_problems(error, _describe),
            f"use {', '.join(AcceptanceCriteria.model_fields)}",
        ) from error
    named = {*criteria.min_sensitivity, *criteria.min_specificity, *criteria.order, *criteria.cost}
    named |= {label for row in criteria.cost.values() for label in row} - {"review"}
    unknown = sorted((named | set(criteria.labels.values())) - set(classes))
    if unknown:
        raise ConfigError(
            f"the classes in {place} must be among those of the network: {', '.join(classes)}",
            ", ".join(unknown),
            "correct the labels, or leave these criteria out",
        )
    return criteria


def _describe(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, AcceptanceCriteria.model_fields, n=1, cutoff=0.5)
        return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    return f"{key}: {problem['msg']} (given: {problem.get('input')!r})"


def evaluate_criterion(
    criterion: Criterion,
    figure: Interval | None,
    sizes: Sequence[int],
    *,
    missing: Missing = "undefined",
    comparison: ShareComparison | None = None,
    look: Look = Look(),
) -> CriterionResult:
    """Decide one criterion by the 95 % interval of its figure, measured on sources of `sizes`
    cells; with several planned looks by that interval at the level of one.

    `missing` says why there is no figure; `comparison` is the one that an accuracy drop comes from.
    A minimum is met where the lower bound is at least the threshold, and not met where the upper
    bound is below. The number of cells needed takes the figure for the truth, carries the
    clustering of these cells, and is for a decision at the same level.
    """
    if figure is None or math.isnan(figure.value):
        return CriterionResult(criterion, None, "not_measured", missing)
    if math.isnan(figure.low):
        return CriterionResult(criterion, figure, "undecided", "no_interval")
    deciding = _set_level(criterion, figure, sizes, look.level)
    outcome = _decide(criterion, deciding)
    if outcome != "undecided":
        return CriterionResult(criterion, deciding, outcome, "interval")
    margin = _compute_margin(criterion, figure)
    if margin <= 0:
        side: Reason = "figure_misses_threshold" if margin else "figure_on_threshold"
        return CriterionResult(criterion, deciding, outcome, side)
    needed = _count_needed(criterion, figure, sizes, comparison, look.level)
    reason: Reason = "not_feasible" if needed is None else "few_cells"
    return CriterionResult(criterion, deciding, outcome, reason, needed)


def _decide(criterion: Criterion, figure: Interval) -> Outcome:
    if criterion.is_minimum:
        met, missed = figure.low >= criterion.threshold, figure.high < criterion.threshold
    else:
        met, missed = figure.high <= criterion.threshold, figure.low > criterion.threshold
    return "met" if met else "not_met" if missed else "undecided"


def _set_level(
    criterion: Criterion, figure: Interval, sizes: Sequence[int], level: float
) -> Interval:
    """The 95 % interval of a figure at another level, and exact for a share of few sources."""
    is_share = criterion.figure in _SHARES or criterion.figure == "balanced_accuracy"
    effective = compute_effective_size(figure) if is_share else math.nan
    is_few = len(sizes) < EXACT_BELOW
    if math.isnan(effective):
        return _stretch(figure, _compute_ratio(level))
    if level == _LEVEL and not is_few:
        return figure
    value = figure.value
    effective *= reduce_size(value, sizes, level) / reduce_size(value, sizes, _LEVEL)
    found = (clopper_pearson if is_few else wilson)(value * effective, effective, level)
    return Interval(value, found.low, found.high)


def _compute_ratio(level: float) -> float:
    """How much wider than one of 95 % a normal interval is."""
    return float(ndtri(0.5 + level / 2) / ndtri(0.5 + _LEVEL / 2))


def _stretch(figure: Interval, by: float) -> Interval:
    value = figure.value
    return Interval(value, value + by * (figure.low - value), value + by * (figure.high - value))


def _compute_margin(criterion: Criterion, figure: Interval) -> float:
    margin = figure.value - criterion.threshold
    return margin if criterion.is_minimum else -margin


def _count_needed(
    criterion: Criterion,
    figure: Interval,
    sizes: Sequence[int],
    comparison: ShareComparison | None,
    level: float,
) -> int | None:
    """Of how many cells in all a criterion is met in `POWER` of cases, if the figure is true."""
    margin, ratio, z = _compute_margin(criterion, figure), _compute_ratio(level), ndtri(0.975)

    def find_power(sources_T: NDArray[np.int64]) -> NDArray[np.float64]:
        if criterion.figure in _SHARES:
            share, threshold, seen = figure.value, criterion.threshold, figure
            if not criterion.is_minimum:
                share, threshold = 1 - share, 1 - threshold
                seen = Interval(share, 1 - figure.high, 1 - figure.low)
            predicted = predict_sizes(seen, sizes, sources_T, level)
            return compute_power(share, threshold, sizes, sources_T, predicted, level)
        if criterion.figure == "accuracy_drop" and comparison is not None:
            # More external cells do not narrow the internal half of the interval.
            seen, internal = comparison.external, comparison.internal
            independent_T, effective_T = predict_sizes(seen, sizes, sources_T, level)
            p = seen.value
            down_T = [p - wilson(p * n, n, level).low for n in effective_T.tolist()]
            half_T = np.hypot(down_T, ratio * (internal.high - internal.value))
            spread_T = np.sqrt(p * (1 - p) / independent_T)
        else:
            # Other figures: the interval shrinks with the root of the number of sources.
            down = figure.value - figure.low if criterion.is_minimum else figure.high - figure.value
            spread_T = down / z * np.sqrt(len(sizes) / sources_T)
            half_T = ratio * z * spread_T
        with np.errstate(divide="ignore"):
            return np.asarray(ndtr((margin - half_T) / spread_T))

    return compute_needed(sizes, find_power)


def compute_drop(comparison: ShareComparison) -> Interval:
    """Return the internal share less the external one, with the bounds of their difference."""
    difference = comparison.difference
    return Interval(-difference.value, -difference.high, -difference.low)


def decide_acceptance(results: Sequence[CriterionResult]) -> Acceptance:
    """Return `pass` if every criterion is met, `fail` if one is not.

    >>> decide_acceptance(())
    'no_criteria'
    """
    outcomes = {one.outcome for one in results}
    if not outcomes:
        return "no_criteria"
    if "not_met" in outcomes:
        return "fail"
    return "pass" if outcomes == {"met"} else "undecided"
