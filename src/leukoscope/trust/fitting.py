"""From a score table to a policy: calibration, prediction sets, novelty and decision thresholds.

Statistics come from the rows of the role `train`, every level and threshold from `calib`, and
nothing here looks at `test`. Axes: N images, K classes. What this file does not do: it measures
nothing on the test set (`evaluation.trust_measures`).
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import TrustConfig
from leukoscope.errors import ConfigError, DataError, MissingStepError, TooFewSourcesError
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import (
    FOLDS,
    CalibrationChoice,
    fit_calibration,
    number_sources,
)
from leukoscope.trust.confidence import ConfidenceThreshold, fit_min_confidence
from leukoscope.trust.conformal import ConformalSets, compute_coverage_range, fit_sets, step_off
from leukoscope.trust.decision import Policy, decide_table
from leukoscope.trust.notes import Note, Values
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
    alpha = choose_alpha(p_NK, calib, config) if config.alpha == "auto" else config.alpha
    sets = fit_config_sets(p_NK, calib, config, alpha)
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
        accept_held_out(policy, novelty, calib, config),
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
        (
            *_note_sets(sets, p_NK, calib, config),
            *_list_notes(sets, threshold, config, choice, reject_frac, table.classes),
        ),
    )


ALPHAS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""The levels of prediction sets that are chosen from."""

SEVERAL_FRAC = 0.5
"""So many of the misclassified cells are to get two labels or more."""


def choose_alpha(p_NK: NDArray[np.float64], table: ScoreTable, config: TrustConfig) -> float:
    """Return the largest of `ALPHAS` at which half of the misclassified cells (`SEVERAL_FRAC`) have
    a set of two labels or more; the smallest that the sources support where none does, or where no
    cell is misclassified. Sources weigh the same, shared by their misclassified cells.

    A level that the network's error does not exceed gives sets that are the label or nothing, so
    that "could be A or B" never occurs. The level is chosen on the cells that the thresholds are
    fitted on; in simulations coverage stays at the chosen level or above (docs/experiments/034).

    Raises `TooFewSourcesError` where the sources support none of the levels.
    """
    labels_N = p_NK.argmax(axis=1)
    wrong_N = labels_N != table.labels_N
    source_N, _ = number_sources([table.sources[i] for i in np.flatnonzero(wrong_N)], wrong_N.sum())
    weight_N = (1 / np.bincount(source_N))[source_N]
    supported = ALPHAS[0]
    for alpha in ALPHAS:
        try:
            sets = fit_config_sets(p_NK, table, config, alpha)
        except TooFewSourcesError:
            if alpha == ALPHAS[0]:
                raise
            break  # smaller levels need even more
        supported = alpha
        several_N = count_labels(sets, p_NK, labels_N)[wrong_N] > 1
        if wrong_N.any() and np.average(several_N, weights=weight_N) >= SEVERAL_FRAC:
            break
    return supported


SET_FOLDS = 20
"""Into so many parts the calibration sources are dealt, each of which is held out of sets once."""


def accept_held_out(
    policy: Policy, novelty: NoveltyModel, table: ScoreTable, config: TrustConfig
) -> NDArray[np.bool_]:
    """Return which of the images that sets were fitted on the policy accepts: `(N,)`, each by sets
    fitted without its source, as a new image is.

    The threshold of a set is the score of one of the strangest cells it was fitted on, as a rule a
    misclassified one, which so gets two labels and is not accepted. New cells have no such luck: a
    confidence threshold fitted behind these sets counts too few mistakes (docs/experiments/034).
    Where the other sources are too few for the level, the policy's own sets decide.
    """
    p_NK = compute_probabilities(policy.calibration.apply(table.logits_NK))
    source_N, n_sources = number_sources(table.sources, len(table))
    fold_N = (np.random.default_rng(0).permutation(n_sources) % SET_FOLDS)[source_N]
    accepted_N = np.zeros(len(table), dtype=bool)
    for fold in range(min(SET_FOLDS, n_sources)):
        held_N = fold_N == fold
        sets = policy.sets
        if not held_N.all():
            with contextlib.suppress(TooFewSourcesError):
                others = table.take(~held_N)
                sets = fit_config_sets(p_NK[~held_N], others, config, policy.sets.alpha)
        held_out = policy.model_copy(update={"sets": sets})
        accepted_N[held_N] = decide_table(held_out, novelty, table.take(held_N)).mask("accepted")
    return accepted_N


def count_labels(
    sets: ConformalSets, p_NK: NDArray[np.float64], labels_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many labels each set holds, the given one among them: `(N,)`."""
    sets_NK = sets.predict(p_NK)
    sets_NK[np.arange(len(labels_N)), labels_N] = True
    return np.asarray(sets_NK.sum(axis=1))


def fit_config_sets(
    p_NK: NDArray[np.float64], table: ScoreTable, config: TrustConfig, alpha: float
) -> ConformalSets:
    """Fit the sets that a recipe asks for, at the level `alpha`, on labelled rows and their
    calibrated probabilities `(N, K)`; errors as in `conformal.fit_sets`."""
    return fit_sets(
        p_NK,
        table.labels_N,
        table.classes,
        alpha=alpha,
        class_conditional=config.class_conditional,
        # A baseline may ask for more than is guaranteed for all classes, never for less.
        alpha_by_class={
            name: min(alpha, 1 - baseline) for name, baseline in config.min_sensitivity.items()
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


def _note_sets(
    sets: ConformalSets, p_NK: NDArray[np.float64], calib: ScoreTable, config: TrustConfig
) -> tuple[Note, ...]:
    """What the level of the sets is, what it gives, and how far one calibration set may miss it."""
    labels_N = p_NK.argmax(axis=1)
    size_N = count_labels(sets, p_NK, labels_N)
    wrong_N = labels_N != calib.labels_N
    n_wrong, n_several = int(wrong_N.sum()), int((size_N[wrong_N] > 1).sum())
    notes = []
    if config.alpha == "auto":
        values: Values = {"alpha": sets.alpha, "n_wrong": n_wrong, "n_several": n_several}
        notes.append(Note("alpha_chosen", values))
    if not (size_N > 1).any():
        notes.append(Note("sets_of_one_label", {"n_images": len(calib), "n_wrong": n_wrong}))
    notes.append(_note_range(sets, calib.classes))
    return tuple(notes)


def _note_range(sets: ConformalSets, classes: tuple[str, ...]) -> Note:
    """The range of the threshold that rests on the fewest sources; those that are borrowed have a
    note of their own."""
    own = [k for k in range(len(classes)) if not sets.borrowed[k]]
    if not own:
        return Note("sets_without_range", {"nominal": 1 - sets.alpha})
    k = min(own, key=lambda one: sets.counts[one])
    low, high = compute_coverage_range(sets.counts[k], sets.alphas[k])
    values: Values = {
        "label": classes[k] if sets.groups.count(sets.groups[k]) == 1 else "",
        "n_sources": sets.counts[k],
        "nominal": 1 - sets.alphas[k],
        "low": low,
        "high": high,
    }
    return Note("sets_range", values)


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
