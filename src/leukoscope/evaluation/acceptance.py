"""The acceptance criteria that a laboratory sets for a network, and whether its figures meet them.

A criterion is decided by the bounds of the confidence interval, never by the figure alone: it is
met where the whole interval meets it, not met where the whole interval misses it, and undecided
between the two; then the number of cells that would decide it is given. All criteria must be met
for acceptance, so that many criteria make acceptance harder, never easier.

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

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope.config import load_toml
from leukoscope.errors import ConfigError
from leukoscope.evaluation.agreement import ShareComparison, compare_shares
from leukoscope.evaluation.intervals import clopper_pearson, wilson
from leukoscope.evaluation.sample_size import (
    compute_effective_size,
    compute_more,
    predict_effective_size,
)
from leukoscope.interval import EXACT_BELOW, Interval
from leukoscope.labels import resolve_label

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
    Literal["interval", "few_cells", "no_interval", "figure_on_threshold", "not_feasible"] | Missing
)
"""Why a criterion has its outcome. `interval`: it decides. `few_cells`: it holds the threshold, and
so many cells more would decide; `not_feasible`: no feasible number would."""

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
class CriterionResult:
    """One criterion and its outcome. `figure` has the interval that decided it. `needed` is about
    how many more cells, of other sources, would decide it; None where no feasible number would."""

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
            "; ".join(_describe(dict(problem)) for problem in error.errors()),
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
) -> CriterionResult:
    """Decide one criterion by the interval of its figure, measured on sources of `sizes` cells.

    `missing` says why there is no figure; `comparison` is the one that an accuracy drop comes from.
    A minimum is met where the lower bound is at least the threshold, and not met where the upper
    bound is below. The number of cells still needed assumes that the figure stays as it is, and
    carries the clustering of these cells.
    """
    if figure is None or math.isnan(figure.value):
        return CriterionResult(criterion, None, "not_measured", missing)
    if math.isnan(figure.low):
        return CriterionResult(criterion, figure, "undecided", "no_interval")
    seen = figure
    effective = compute_effective_size(seen)
    is_share = criterion.figure in _SHARES or criterion.figure == "balanced_accuracy"
    if is_share and len(sizes) < EXACT_BELOW and not math.isnan(effective):
        figure = _bound(seen.value, effective, len(sizes))
    outcome = _decide(criterion, figure)
    if outcome != "undecided":
        return CriterionResult(criterion, figure, outcome, "interval")
    if figure.value == criterion.threshold:
        return CriterionResult(criterion, figure, outcome, "figure_on_threshold")
    more = _count_more(criterion, seen, sizes, comparison)
    reason: Reason = "not_feasible" if more is None else "few_cells"
    return CriterionResult(criterion, figure, outcome, reason, more)


def _decide(criterion: Criterion, figure: Interval) -> Outcome:
    if criterion.is_minimum:
        met, missed = figure.low >= criterion.threshold, figure.high < criterion.threshold
    else:
        met, missed = figure.high <= criterion.threshold, figure.low > criterion.threshold
    return "met" if met else "not_met" if missed else "undecided"


def _bound(share: float, effective: float, n_sources: int) -> Interval:
    """The interval of a share that corresponds to so many independent cells."""
    bound = clopper_pearson if n_sources < EXACT_BELOW else wilson
    found = bound(share * effective, effective)
    return Interval(share, found.low, found.high)


def _count_more(
    criterion: Criterion,
    figure: Interval,
    sizes: Sequence[int],
    comparison: ShareComparison | None,
) -> int | None:
    """How many cells of further sources would decide a criterion, if the figure stays as it is."""

    def predict(n_sources: int) -> Interval:
        if criterion.figure in _SHARES:
            n = predict_effective_size(figure, sizes, n_sources)
            return _bound(figure.value, n, n_sources)
        if criterion.figure == "accuracy_drop" and comparison is not None:
            # More external cells do not narrow the internal half of the interval.
            seen = comparison.external
            n = predict_effective_size(seen, sizes, n_sources)
            external = wilson(seen.value * n, n)
            return compute_drop(compare_shares(external, comparison.internal))
        # Other figures: the interval shrinks with the root of the number of sources.
        root = math.sqrt(len(sizes) / n_sources)
        low, high = (figure.value + root * (x - figure.value) for x in (figure.low, figure.high))
        return Interval(figure.value, low, high)

    return compute_more(sizes, lambda n: _decide(criterion, predict(n)) != "undecided")


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
