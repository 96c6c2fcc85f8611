"""From a score table to a policy: calibration, prediction sets, novelty and decision thresholds.

Statistics come from the rows of the role `train`, every level and threshold from `calib`, and
nothing here looks at `test`. Axes: N images, K classes. What this file does not do: it measures
nothing on the test set (`evaluation.trust_measures`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import TrustConfig
from leukoscope.errors import ConfigError, DataError, MissingStepError
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import FOLDS, CalibrationChoice, fit_calibration
from leukoscope.trust.confidence import ConfidenceThreshold, fit_min_confidence
from leukoscope.trust.conformal import ConformalSets, fit_sets, step_off
from leukoscope.trust.decision import Policy, decide_table
from leukoscope.trust.notes import Note
from leukoscope.trust.novelty import NoveltyModel, fit_distance_threshold, fit_novelty
from leukoscope.trust.quality import QUALITY_NAMES, fit_quality


@dataclass(frozen=True)
class FittedTrust:
    """A policy, the novelty model beside it, and how they came about."""

    policy: Policy
    novelty: NoveltyModel
    choice: CalibrationChoice
    n_train: int
    n_calib: int
    n_calib_sources: int
    notes: tuple[Note, ...]


def fit_policy(table: ScoreTable, config: TrustConfig) -> FittedTrust:
    """Fit calibration, prediction sets, novelty, quality and the confidence threshold.

    Raises `MissingStepError` where quality was not measured, `DataError` where the roles `train`
    or `calib` are too small for the targets, `ConfigError` for a class or cost that names no
    class of the network.
    """
    if table.quality_names != QUALITY_NAMES:
        raise MissingStepError(
            "the score table must hold the quality of each image",
            f"columns {', '.join(table.quality_names) or 'none'}",
            "run `leukoscope calibrate` on the run, which measures it",
        )
    _check_names(table.classes, config)
    train, calib = (_take_labelled(table, role) for role in ("train", "calib"))
    calibration, choice = fit_calibration(calib.logits_NK, calib.labels_N, calib.sources)
    p_NK = compute_probabilities(calibration.apply(calib.logits_NK))
    sets = fit_config_sets(p_NK, calib, config)
    # Half of what may be rejected goes to each of the two ways to be strange; n sources cannot tell
    # apart less than one in n + 1.
    n_sources = len(set(calib.sources))
    reject_frac = max(config.reject_frac / 2, 1 / (n_sources + 1))
    novelty = fit_novelty(train.embeddings_ND, train.labels_N)
    distances_N = novelty.compute_distance(calib.embeddings_ND)
    max_distance = step_off(
        fit_distance_threshold(distances_N, reject_frac, calib.sources), distances_N
    )
    quality = fit_quality(train.quality_NQ, calib.quality_NQ, reject_frac, calib.sources)
    cost, review_cost = _lay_out_costs(table.classes, config.cost)
    policy = Policy(
        classes=table.classes,
        calibration=calibration,
        sets=sets,
        quality=quality,
        max_distance=max_distance,
        min_confidence=0.0,
        max_disagreement=_fit_disagreement(calib, p_NK, reject_frac),
        always_review=config.always_review,
        cost=cost,
        review_cost=review_cost,
    )
    decisions = decide_table(policy, novelty, calib)
    threshold = fit_min_confidence(
        decisions.confidence_N,
        decisions.labels_N == calib.labels_N,
        decisions.mask("accepted"),
        calib.sources,
        config.target_accuracy,
        config.target_confidence,
    )
    policy = policy.model_copy(update={"min_confidence": threshold.value})
    return FittedTrust(
        policy,
        novelty,
        choice,
        len(train),
        len(calib),
        n_sources,
        _list_notes(sets, threshold, config, choice, reject_frac, table.classes),
    )


def fit_config_sets(
    p_NK: NDArray[np.float64], table: ScoreTable, config: TrustConfig
) -> ConformalSets:
    """Fit the sets that a recipe asks for on labelled rows and their calibrated probabilities
    `(N, K)`; errors as in `conformal.fit_sets`."""
    return fit_sets(
        p_NK,
        table.labels_N,
        table.classes,
        alpha=config.alpha,
        class_conditional=config.class_conditional,
        # A baseline may ask for more than is guaranteed for all classes, never for less.
        alpha_by_class={
            name: min(config.alpha, 1 - baseline)
            for name, baseline in config.min_sensitivity.items()
        },
        sources=table.sources,
    ).step_off(p_NK)


def _fit_disagreement(
    calib: ScoreTable, p_NK: NDArray[np.float64], reject_frac: float
) -> float | None:
    """The disagreement that all but a few correctly classified cells stay below."""
    if calib.disagreement_N is None:
        return None
    rows = np.flatnonzero(p_NK.argmax(axis=1) == calib.labels_N)
    right, sources = calib.disagreement_N[rows].astype(np.float64), [calib.sources[i] for i in rows]
    if not len(right):
        raise DataError(
            "at least one calibration image must be correctly classified",
            f"none of {len(calib):,}",
            "check the labels, or train better networks first",
        )
    # Fewer than `calib`, so they cannot tell apart shares quite as small.
    reject_frac = max(reject_frac, 1 / (len(set(sources)) + 1))
    return step_off(
        fit_distance_threshold(right, reject_frac, sources), calib.disagreement_N.astype(np.float64)
    )


def _take_labelled(table: ScoreTable, role: str) -> ScoreTable:
    part = table.of_role(role)
    part = part.take(part.labels_N >= 0)
    if not len(part):
        raise DataError(
            f"calibration needs labelled images in the role {role}",
            f"none; roles {', '.join(sorted(set(table.roles))) or 'none'}",
            "make the split with `leukoscope data split`, which sets some aside, and train on it",
        )
    return part


def _check_names(classes: tuple[str, ...], config: TrustConfig) -> None:
    named = {*config.always_review, *config.min_sensitivity, *config.cost}
    named |= {called for row in config.cost.values() for called in row} - {"review"}
    unknown = sorted(named - set(classes))
    if unknown:
        raise ConfigError(
            f"the recipe's section trust must name classes of the network: {', '.join(classes)}",
            ", ".join(unknown),
            "correct trust.always_review, trust.min_sensitivity or trust.cost",
        )


def _lay_out_costs(
    classes: tuple[str, ...], cost: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[tuple[float, ...], ...] | None, tuple[float, ...] | None]:
    """Costs as a table in the order of the classes; a class without a price for a person's look
    is never sent for the cost alone."""
    if not cost:
        return None, None
    table = tuple(
        tuple(cost.get(true, {}).get(called, 0.0 if true == called else 1.0) for called in classes)
        for true in classes
    )
    if not any("review" in row for row in cost.values()):
        return table, None
    highest = max(max(row) for row in table)
    return table, tuple(cost.get(true, {}).get("review", highest) for true in classes)


def _list_notes(
    sets: ConformalSets,
    threshold: ConfidenceThreshold,
    config: TrustConfig,
    choice: CalibrationChoice,
    reject_frac: float,
    classes: tuple[str, ...],
) -> tuple[Note, ...]:
    notes = [*sets.fallbacks]
    if choice.scarce:
        scarce = tuple(classes[k] for k in choice.scarce)
        notes.append(Note("few_sources_for_bias", {"labels": scarce, "n_needed": FOLDS}))
    if reject_frac > config.reject_frac / 2:
        notes.append(note_rejection(choice.n_sources, config, reject_frac))
    if set(config.always_review) == set(classes):
        notes.append(Note("every_label_reviewed"))
    elif threshold.value is None:
        notes.append(_note_nothing_accepted(choice, config, threshold))
    else:
        counts = {
            "n_images": choice.n_images,
            "n_accepted": threshold.n_accepted,
            "n_wrong": threshold.n_wrong,
            "wrong_bound": threshold.wrong_bound,
            "target": config.target_accuracy,
            "confidence": config.target_confidence or 0.0,
        }
        notes.append(Note("calibration_accepts", counts))
    return tuple(notes)


def _note_nothing_accepted(
    choice: CalibrationChoice, config: TrustConfig, threshold: ConfidenceThreshold
) -> Note:
    return Note(
        "no_confidence_suffices",
        {
            "n_images": choice.n_images,
            "n_sources": choice.n_sources,
            "n_needed": threshold.n_needed,
            "target": config.target_accuracy,
            "confidence": config.target_confidence or 0.0,
        },
    )


def note_rejection(n_sources: int, config: TrustConfig, reject_frac: float) -> Note:
    """Return the note that novelty and quality may each reject more than the recipe says."""
    return Note(
        "few_sources_for_rejection",
        {"n_sources": n_sources, "nominal": config.reject_frac / 2, "reject_frac": reject_frac},
    )
