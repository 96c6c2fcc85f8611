"""The limits that a laboratory sets for a network, and whether its figures keep them.

A limit is judged by the end of the interval, never by the figure alone: it is kept where the
whole interval keeps it, broken where the whole interval breaks it, and undecided between the two;
then the number of cells that would decide it is given. All limits must be kept for the network
to pass, so that many limits make passing harder, never easier.

Wilson's interval holds a share in 95 % of cases on average over shares, but of one missed cell it
ends at 79 %: a limit of 80 % would be broken, although nine cells in ten are found. So shares from
fewer than `EXACT_BELOW` sources are judged by the exact interval. What this file does not do: it
measures nothing.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope.errors import ConfigError
from leukoscope.evaluation.agreement import UnpairedTest, compare_shares
from leukoscope.evaluation.intervals import clopper_pearson, wilson
from leukoscope.evaluation.sample_size import (
    compute_effective_size,
    compute_more,
    predict_effective_size,
)
from leukoscope.interval import Interval
from leukoscope.labels import display_label, resolve_label

_Share = Annotated[float, Field(gt=0, lt=1)]
_Kappa = Annotated[float, Field(gt=-1, lt=1)]

Outcome = Literal["pass", "fail", "undecided", "not_measured"]
"""Of one limit. `not_measured`: the cells or the bundle hold nothing to judge it by."""

Acceptance = Literal["pass", "fail", "undecided", "no_limits"]
"""Of all limits together."""

EXACT_BELOW = 10
"""Shares from fewer sources than this are judged by their exact interval."""


class Limits(BaseModel):
    """What a laboratory asks for, and how its table is to be read. Shares are 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_accuracy: _Share | None = None
    min_balanced_accuracy: _Share | None = None
    min_kappa: _Kappa | None = None
    min_weighted_kappa: _Kappa | None = None
    """Quadratic along `order`; by `cost` where that is given."""
    min_sensitivity: dict[str, _Share] = {}
    """By class."""
    min_specificity: dict[str, _Share] = {}
    max_ece: _Share | None = None
    """Of the debiased calibration error."""
    min_coverage: _Share | None = None
    """Share of the cells whose prediction set holds their class."""
    min_accepted: _Share | None = None
    max_review: _Share | None = None
    max_rejected: _Share | None = None
    """Share of the cells of known classes that are called unknown."""
    min_accuracy_accepted: _Share | None = None
    max_foreign_accepted: _Share | None = None
    """Share of the cells of classes the network does not know that it accepts all the same."""
    max_accuracy_drop: _Share | None = None
    """Accuracy at home less accuracy here."""

    half_width: float = Field(0.05, gt=0, lt=0.5)
    """The interval of each sensitivity is wanted this wide to either side."""
    order: tuple[str, ...] = ()
    """Classes in the order that weights kappa."""
    cost: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """`cost[true][called]`, 1 where it is not given."""
    labels: dict[str, str] = {}
    """Names in the local table, and the class of the network that each one means."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_names(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        found = dict(content)
        for key in ("min_sensitivity", "min_specificity", "cost"):
            if isinstance(found.get(key), dict):
                found[key] = {resolve_label(str(k)): v for k, v in found[key].items()}
        if isinstance(found.get("cost"), dict):
            found["cost"] = {
                k: {resolve_label(str(c)): x for c, x in row.items()}
                if isinstance(row, dict)
                else row
                for k, row in found["cost"].items()
            }
        if isinstance(found.get("order"), list | tuple):
            found["order"] = tuple(resolve_label(str(name)) for name in found["order"])
        if isinstance(found.get("labels"), dict):
            found["labels"] = {
                resolve_label(str(k)): resolve_label(str(v)) for k, v in found["labels"].items()
            }
        return found

    def list_limits(self) -> tuple["Limit", ...]:
        """Return every limit that is set, in the order of the table."""
        found = []
        for key, (figure, name, kind) in _FIGURES.items():
            value = getattr(self, key)
            values = value if isinstance(value, dict) else {"": value}
            for label, wanted in values.items():
                if wanted is not None:
                    full = f"{name}, {display_label(label)}" if label else name
                    found.append(
                        Limit(
                            f"{key}.{label}" if label else key,
                            full,
                            f"{figure}/{label}" if label else figure,
                            "min" if key.startswith("min") else "max",
                            wanted,
                            kind,
                        )
                    )
        return tuple(found)


Kind = Literal["share", "mean", "drop", "other"]
"""`share`: a proportion of cells. `mean`: an average of such. `drop`: a proportion at home less
that here. `other`: a figure of which only the interval is known."""

_FIGURES: dict[str, tuple[str, str, Kind]] = {
    "min_accuracy": ("accuracy", "Accuracy", "share"),
    "min_balanced_accuracy": ("balanced_accuracy", "Balanced accuracy", "mean"),
    "min_sensitivity": ("recall", "Sensitivity", "share"),
    "min_specificity": ("specificity", "Specificity", "share"),
    "min_kappa": ("kappa", "Kappa", "other"),
    "min_weighted_kappa": ("weighted_kappa", "Weighted kappa", "other"),
    "max_ece": ("ece", "Calibration error", "other"),
    "min_coverage": ("coverage", "Coverage of the sets", "share"),
    "min_accepted": ("accepted", "Accepted", "share"),
    "max_review": ("review", "Sent to review", "share"),
    "max_rejected": ("rejected", "Rejected as unknown", "share"),
    "min_accuracy_accepted": ("accuracy_accepted", "Accuracy among accepted", "share"),
    "max_foreign_accepted": ("foreign_accepted", "Foreign cells accepted", "share"),
    "max_accuracy_drop": ("accuracy_drop", "Loss of accuracy against home", "drop"),
}
"""By key of `Limits`: the figure it judges, its name, its kind."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: its key in the file, its name, the figure it judges, which side, how much."""

    key: str
    name: str
    figure: str
    side: Literal["min", "max"]
    wanted: float
    kind: Kind


@dataclass(frozen=True, slots=True)
class Judged:
    """One limit and what became of it. `figure` has the interval that it was judged by. `needed` is
    about how many more cells, of other sources, would decide it; None where no number can be
    given."""

    limit: Limit
    figure: Interval | None
    outcome: Outcome
    reason: str
    needed: int | None = None


def load_limits(path: Path, classes: tuple[str, ...]) -> Limits:
    """Read limits from a TOML file; class names may be spelled as the data sets do.

    Raises `ConfigError` for a file that is not TOML, an unknown key (naming the nearest), a value
    out of range, or a class that is not among `classes`.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "limits come from a readable TOML file", f"{path} ({error})", "check the path"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} must be TOML", str(error), "correct the file") from error
    return parse_limits(content, classes, str(path))


def parse_limits(content: Mapping[str, Any], classes: tuple[str, ...], name: str) -> Limits:
    """Build limits from nested dictionaries; errors as in `load_limits`."""
    try:
        limits = Limits.model_validate(dict(content))
    except ValidationError as error:
        raise ConfigError(
            f"every limit of {name} must be known and in range",
            "; ".join(_describe(dict(problem)) for problem in error.errors()),
            f"use {', '.join(Limits.model_fields)}",
        ) from error
    named = {*limits.min_sensitivity, *limits.min_specificity, *limits.order, *limits.cost}
    named |= {called for row in limits.cost.values() for called in row} - {"review"}
    named |= set(limits.labels.values())
    unknown = sorted(named - set(classes))
    if unknown:
        raise ConfigError(
            f"the classes in {name} must be among those of the network: {', '.join(classes)}",
            ", ".join(unknown),
            "correct the names, or leave these limits out",
        )
    return limits


def _describe(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, Limits.model_fields, n=1, cutoff=0.5)
        return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    return f"{key}: {problem['msg']} (given: {problem.get('input')!r})"


def judge_limit(
    limit: Limit,
    figure: Interval | None,
    sizes: Sequence[int],
    *,
    missing: str = "",
    home: UnpairedTest | None = None,
    level: float = 0.95,
) -> Judged:
    """Judge one limit by the interval of its figure, measured on sources of `sizes` cells.

    `missing` says why there is no figure; `home` is the comparison that a `drop` comes from. A
    lower limit is kept where the lower end is at least the limit, and broken where the upper end is
    below. The number of cells still needed assumes that the figure stays as it is, and carries the
    clustering seen here.
    """
    if figure is None or math.isnan(figure.value):
        return Judged(limit, None, "not_measured", missing or "no cell here tells")
    if math.isnan(figure.low):
        return Judged(limit, figure, "undecided", "no interval can be had from so few sources")
    seen = figure
    effective = compute_effective_size(seen, level)
    if limit.kind in ("share", "mean") and len(sizes) < EXACT_BELOW and not math.isnan(effective):
        figure = _bound(seen.value, effective, len(sizes), level)
    outcome = _decide(limit, figure)
    if outcome == "pass":
        return Judged(limit, figure, outcome, "the whole interval keeps the limit")
    if outcome == "fail":
        return Judged(limit, figure, outcome, "the whole interval breaks the limit")
    if figure.value == limit.wanted:
        return Judged(limit, figure, outcome, "the figure lies on the limit itself")
    side = "above" if figure.value > limit.wanted else "below"
    reason = f"the figure lies {side} the limit, its interval on both sides"
    more = _count_more(limit, seen, sizes, home, level)
    if more is None:
        reason += "; no feasible number of cells decides it"
        if limit.kind == "drop":
            reason += ", so little is known of home"
    return Judged(limit, figure, outcome, reason, more)


def _decide(limit: Limit, figure: Interval) -> Outcome:
    if limit.side == "min":
        kept, broken = figure.low >= limit.wanted, figure.high < limit.wanted
    else:
        kept, broken = figure.high <= limit.wanted, figure.low > limit.wanted
    return "pass" if kept else "fail" if broken else "undecided"


def _bound(share: float, effective: float, n_sources: int, level: float) -> Interval:
    """The interval of a share that is worth so many independent cells."""
    bound = clopper_pearson if n_sources < EXACT_BELOW else wilson
    found = bound(share * effective, effective, level)
    return Interval(share, found.low, found.high)


def _count_more(
    limit: Limit, figure: Interval, sizes: Sequence[int], home: UnpairedTest | None, level: float
) -> int | None:
    """How many cells of further sources would decide a limit, if the figure stays as it is."""

    def predict(n_sources: int) -> Interval:
        if limit.kind == "share":
            n = predict_effective_size(figure, sizes, n_sources, level)
            return _bound(figure.value, n, n_sources, level)
        if limit.kind == "drop" and home is not None:
            # Cells here tell nothing more of home: its half of the interval stays.
            n = predict_effective_size(home.here, sizes, n_sources, level)
            here = wilson(home.here.value * n, n, level)
            loss = compare_shares(here, 0, home.there, 0, independent=False).difference
            return Interval(-loss.value, -loss.high, -loss.low)
        # Other figures: the interval shrinks with the root of the number of sources.
        root = math.sqrt(len(sizes) / n_sources)
        low, high = (figure.value + root * (x - figure.value) for x in (figure.low, figure.high))
        return Interval(figure.value, low, high)

    return compute_more(sizes, lambda n: _decide(limit, predict(n)) != "undecided")


def judge_all(judged: tuple[Judged, ...]) -> Acceptance:
    """Return what becomes of the network: it passes if every limit is kept, fails if one is broken.

    >>> judge_all(())
    'no_limits'
    """
    outcomes = {one.outcome for one in judged}
    if not outcomes:
        return "no_limits"
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "undecided"
