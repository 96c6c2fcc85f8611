"""A policy fitted anew to the cells of another laboratory: levels and thresholds, not statistics.

What is fitted: one temperature, thresholds of the prediction sets, the distance and the quality
beyond which a cell is rejected, and the least confidence that is accepted. What stays: the network,
what its embeddings and pictures usually look like, costs, and classes that a person always sees.
So a kind of cell that the laboratory did not give stays known. Axes: N images, K classes. What this
file does not do: it measures no gain (`evaluation.recalibration`) and fits nothing at home
(`fitting`).
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.config import TrustConfig
from leukoscope.errors import DataError
from leukoscope.labels import display_label
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Calibration,
    fit_temperature,
)
from leukoscope.trust.conformal import step_off
from leukoscope.trust.decision import Policy, decide_table
from leukoscope.trust.fitting import fit_asked_sets, fit_min_confidence
from leukoscope.trust.novelty import NoveltyModel, fit_distance_threshold

LEAST_SOURCES = 20
"""Fewer sources than this fit nothing."""


@dataclass(frozen=True)
class LocalPolicy:
    """A policy fitted to local cells, and what stayed as it was at home."""

    policy: Policy
    notes: tuple[str, ...]


def fit_local_policy(
    policy: Policy, novelty: NoveltyModel, asked: TrustConfig, table: ScoreTable
) -> LocalPolicy:
    """Fit the levels of `policy` to labelled local cells, for the same aims (`asked`).

    A part for which there are too few cells stays as it was at home, and a note says so: the
    thresholds of the sets, those of rejection, the least confidence. Levels of classes without
    enough cells are pooled, as in `fit_sets`.

    Raises `DataError` for fewer than `LEAST_SOURCES` sources of known class, or without quality.
    """
    table = table.take(table.labels_N >= 0)
    sources = len(set(table.sources))
    if sources < LEAST_SOURCES:
        raise DataError(
            f"fitting to local cells takes {LEAST_SOURCES} sources of known classes",
            f"{sources}",
            "label more cells, from other patients or slides",
        )
    notes: list[str] = []
    calibration = fit_local_temperature(policy.calibration, table)
    p_NK = compute_probabilities(calibration.apply(table.logits_NK))
    changes: dict[str, object] = {"calibration": calibration}
    try:
        sets = fit_asked_sets(p_NK, table, asked)
        changes["sets"] = sets
        notes += sets.fallbacks
    except DataError as error:
        notes.append(
            "The prediction sets keep home's thresholds, under a new temperature, so nothing"
            " promises their coverage or a sensitivity baseline here:"
            f" {error.expected}; {error.found}."
        )
    reject_frac = max(asked.reject_frac / 2, 1 / (sources + 1))
    distances_N = novelty.compute_distance(table.embeddings_ND)
    changes["max_distance"] = step_off(
        fit_distance_threshold(distances_N, reject_frac, table.sources), distances_N
    )
    changes["quality"] = policy.quality.fit_limit(table.quality_NQ, reject_frac, table.sources)
    if reject_frac > asked.reject_frac / 2:
        notes.append(
            f"{sources:,} sources are too few to reject only {asked.reject_frac:.2%} of cells;"
            f" up to {2 * reject_frac:.2%} may be rejected."
        )
    fitted = policy.model_copy(update={**changes, "min_confidence": 0.0})
    decisions = decide_table(fitted, novelty, table)
    limit = fit_min_confidence(
        decisions.confidence_N,
        decisions.labels_N == table.labels_N,
        decisions.mask("accepted"),
        table.sources,
        asked.target_accuracy,
    )
    target = f"{100 * asked.target_accuracy:g} %"
    if limit.value is None:
        notes.append(
            f"The least confidence that is accepted stays that of home: {sources:,} sources cannot"
            f" show that {target} of the accepted cells are right, or no confidence keeps that."
        )
        fitted = fitted.model_copy(update={"min_confidence": policy.min_confidence})
    else:
        fitted = fitted.model_copy(update={"min_confidence": limit.value})
    absent = [c for k, c in enumerate(table.classes) if not np.any(table.labels_N == k)]
    if absent:
        notes.append(
            f"No cell of {', '.join(map(display_label, absent))} was there to be fitted to:"
            " nothing says what the new levels do to these."
        )
    return LocalPolicy(fitted, tuple(notes))


def fit_local_temperature(home: Calibration, table: ScoreTable) -> Calibration:
    """Fit one more temperature over the calibration of home; no name changes.

    A bias per class is not fitted: a few dozen cells of mostly one kind teach it to call everything
    by the commonest name, which raises accuracy on the other half of the same cells and finds
    nothing. Raises `DataError` as `calibration.fit_temperature` does.
    """
    more = fit_temperature(home.apply(table.logits_NK).astype(np.float32), table.labels_N)
    total = home.temperature * more.temperature
    total = min(max(total, MIN_TEMPERATURE), MAX_TEMPERATURE)
    if home.bias:
        scale = total / home.temperature
        bias = tuple(value / scale for value in home.bias)
        return Calibration(method="bias_corrected", temperature=total, bias=bias)
    return Calibration(method="temperature", temperature=total)
