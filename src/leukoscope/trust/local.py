"""A policy recalibrated to the cells of another site: levels and thresholds, not statistics.

What is fitted: one temperature, thresholds of the prediction sets, the distance and the quality
beyond which a cell is rejected, and the least confidence that is accepted. What stays: the network,
what its embeddings and pictures usually look like, costs, and classes that a person always sees.
So a class that the site did not give stays known. Axes: N images, K classes. What this file does
not do: it measures no gain (`evaluation.recalibration`) and fits no policy from the start
(`fitting`).
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.config import TrustConfig
from leukoscope.errors import TooFewSourcesError
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Calibration,
    fit_temperature,
)
from leukoscope.trust.confidence import fit_min_confidence
from leukoscope.trust.conformal import step_off
from leukoscope.trust.decision import Policy, decide_table
from leukoscope.trust.fitting import accept_held_out, fit_config_sets, note_rejection
from leukoscope.trust.notes import Note, Values
from leukoscope.trust.novelty import NoveltyModel, fit_distance_threshold

LEAST_SOURCES = 20
"""Fewer sources than this fit nothing."""


@dataclass(frozen=True)
class LocalPolicy:
    """A policy fitted to local cells, and what was left as it was."""

    policy: Policy
    notes: tuple[Note, ...]


def fit_local_policy(
    policy: Policy, novelty: NoveltyModel, config: TrustConfig, table: ScoreTable
) -> LocalPolicy:
    """Fit the levels of `policy` to labelled local cells, for the same targets (`config`).

    A part for which there are too few cells stays as it was, and a note says so: the thresholds of
    the sets, those of rejection, the least confidence. Levels of classes without enough cells are
    pooled, as in `fit_sets`.

    Raises `TooFewSourcesError` for fewer than `LEAST_SOURCES` sources of known class, `DataError`
    without quality.
    """
    table = table.take(table.labels_N >= 0)
    n_sources = len(set(table.sources))
    if n_sources < LEAST_SOURCES:
        raise TooFewSourcesError(
            f"fitting to local cells takes {LEAST_SOURCES} sources of known classes",
            f"{n_sources}",
            "label more cells, from other patients or slides",
            n_sources=n_sources,
            n_needed=LEAST_SOURCES,
        )
    notes: list[Note] = []
    calibration = fit_local_temperature(policy.calibration, table)
    p_NK = compute_probabilities(calibration.apply(table.logits_NK))
    changes: dict[str, object] = {"calibration": calibration}
    try:
        # A level that was chosen stays: it is what the bundle's sets promise.
        alpha = policy.sets.alpha if config.alpha == "auto" else config.alpha
        sets = fit_config_sets(p_NK, table, config, alpha)
        changes["sets"] = sets
        notes += sets.fallbacks
    except TooFewSourcesError as error:
        few: Values = {
            "n_sources": error.n_sources,
            "n_needed": error.n_needed,
            "label": error.label,
        }
        notes.append(Note("sets_not_refitted", few))
    reject_frac = max(config.reject_frac / 2, 1 / (n_sources + 1))
    distances_N = novelty.compute_distance(table.embeddings_ND)
    changes["max_distance"] = step_off(
        fit_distance_threshold(distances_N, reject_frac, table.sources), distances_N
    )
    changes["quality"] = policy.quality.fit_max_distance(
        table.quality_NQ, reject_frac, table.sources
    )
    if reject_frac > config.reject_frac / 2:
        notes.append(note_rejection(n_sources, config, reject_frac))
    fitted = policy.model_copy(update={**changes, "min_confidence": 0.0})
    decisions = decide_table(fitted, novelty, table)
    threshold = fit_min_confidence(
        decisions.confidence_N,
        decisions.labels_N == table.labels_N,
        accept_held_out(fitted, novelty, table, config)
        if "sets" in changes
        else decisions.mask("accepted"),
        table.sources,
        config.target_accuracy,
        config.target_confidence,
    )
    if threshold.value is None:
        shown = {
            "n_sources": n_sources,
            "n_needed": threshold.n_needed,
            "target": config.target_accuracy,
        }
        notes.append(Note("confidence_not_refitted", shown))
    least = policy.min_confidence if threshold.value is None else threshold.value
    absent = tuple(c for k, c in enumerate(table.classes) if not np.any(table.labels_N == k))
    if absent:
        notes.append(Note("labels_absent", {"labels": absent}))
    return LocalPolicy(fitted.model_copy(update={"min_confidence": least}), tuple(notes))


def fit_local_temperature(calibration: Calibration, table: ScoreTable) -> Calibration:
    """Fit one more temperature over a calibration; no most probable class changes.

    A bias per class is not fitted: a few dozen cells of mostly one class teach it to call
    everything by the commonest label, which raises accuracy on the other half of the same cells and
    finds nothing. Raises `DataError` as `calibration.fit_temperature` does.
    """
    more = fit_temperature(calibration.apply(table.logits_NK).astype(np.float32), table.labels_N)
    total = calibration.temperature * more.temperature
    total = min(max(total, MIN_TEMPERATURE), MAX_TEMPERATURE)
    if calibration.bias:
        scale = total / calibration.temperature
        bias = tuple(value / scale for value in calibration.bias)
        return Calibration(method="bias_corrected", temperature=total, bias=bias)
    return Calibration(method="temperature", temperature=total)
