"""Fitting a policy: what it keeps, what it looks at, and what it says where data are few."""

from dataclasses import replace

import numpy as np
import pytest

from leukoscope.config import TrustConfig
from leukoscope.errors import ConfigError, DataError, MissingStepError, TooFewSourcesError
from leukoscope.scores import compute_probabilities
from leukoscope.trust.decision import decide_table
from leukoscope.trust.fitting import (
    ALPHAS,
    SEVERAL_FRAC,
    choose_alpha,
    count_labels,
    fit_policy,
)


def name_sources(n):
    return [str(i) for i in range(n)]


def find_note(found, code):
    """The values of the one note with this code."""
    (values,) = [note.values for note in found.notes if note.code == code]
    return values


def test_the_policy_keeps_its_target_on_other_images(fitted, make_trust_table):
    """The mean over other images of the same kind, so that chance does not decide."""
    right, accepted, rejected = [], [], []
    for seed in range(1, 6):
        table = make_trust_table(seed=seed)
        found = decide_table(fitted.policy, fitted.novelty, table)
        kept = found.mask("accepted")
        right.append((found.labels_N == table.labels_N)[kept].mean())
        accepted.append(kept.mean())
        rejected.append(found.mask("unknown").mean())
    assert np.mean(right) > 0.975 and 0.6 < np.mean(accepted) < 1
    assert np.mean(rejected) < 0.06


def spoil(table, role):
    """The same table with other scores, labels and pictures of one role."""
    rng = np.random.default_rng(5)
    rows = np.flatnonzero(np.array(table.roles) == role)
    columns = {
        name: getattr(table, name).copy()
        for name in ("logits_NK", "embeddings_ND", "quality_NQ", "labels_N")
    }
    for column in columns.values():
        column[rows] = column[rng.permutation(rows)]
    columns["embeddings_ND"][rows] *= 1.5
    columns["quality_NQ"][rows] *= 1.5
    return replace(table, **columns)


def list_fitted(found):
    """Each part of what was fitted, by name."""
    policy = found.policy
    return {
        "calibration": policy.calibration,
        "sets": policy.sets,
        "min_confidence": policy.min_confidence,
        "max_distance": policy.max_distance,
        "quality threshold": policy.quality.max_distance,
        "quality range": (policy.quality.centre, policy.quality.precision),
        "distance": tuple(a.tobytes() for a in found.novelty.to_arrays().values()),
    }


@pytest.mark.parametrize(
    ("role", "moved"),
    [
        ("test", set()),
        (
            "train",
            {"quality range", "distance", "quality threshold", "max_distance", "min_confidence"},
        ),
        ("calib", {"calibration", "sets", "min_confidence", "max_distance", "quality threshold"}),
    ],
)
def test_each_role_decides_its_own_part(fitted, trust_table, role, moved):
    """Statistics come from train, levels from calib, nothing from test."""
    config = TrustConfig(target_accuracy=0.98, reject_frac=0.04, alpha=0.05)
    before, after = list_fitted(fitted), list_fitted(fit_policy(spoil(trust_table, role), config))
    assert {name for name in before if before[name] != after[name]} == moved


def test_thresholds_count_sources_not_copies(make_trust_table):
    """Ten copies of each calibration image are no more evidence than one."""
    table = make_trust_table()
    calib = np.flatnonzero(np.array(table.roles) == "calib")
    others = np.flatnonzero(np.array(table.roles) != "calib")
    copied = table.take(np.concatenate([others, np.repeat(calib, 10)]))
    config = TrustConfig(target_accuracy=0.98, reject_frac=0.04, alpha=0.05)
    one, ten = (list_fitted(fit_policy(t, config)) for t in (table, copied))
    assert one["max_distance"] == ten["max_distance"]
    assert one["quality threshold"] == ten["quality threshold"]
    # The prior of the temperature weighs a tenth beside ten times the images.
    assert one["sets"].thresholds == pytest.approx(ten["sets"].thresholds, rel=0.05)
    assert one["min_confidence"] == pytest.approx(ten["min_confidence"], rel=0.01)
    few = table.take(np.concatenate([others, np.repeat(calib[:30], 20)]))
    config = TrustConfig(alpha=0.3, target_accuracy=0.8)
    values = find_note(fit_policy(few, config), "few_sources_for_rejection")
    assert values == {"n_sources": 30, "nominal": 0.01, "reject_frac": 1 / 31}


def test_a_class_with_few_calibration_cells_gets_no_bias(make_trust_table):
    """A bias fitted to next to no cells of a class would rename all of them."""
    table = make_trust_table(n=3000)
    shifted = table.logits_NK + np.array([3, 0, 0], np.float32)  # a bias that asks to be undone
    table = replace(table, logits_NK=shifted.astype(np.float32))
    config = TrustConfig(target_accuracy=0.9, alpha=0.1)
    assert fit_policy(table, config).policy.calibration.method == "bias_corrected"
    rare = (np.array(table.roles) == "calib") & (table.labels_N == 2)
    kept = ~rare
    kept[np.flatnonzero(rare)[:4]] = True
    found = fit_policy(table.take(kept), config)
    assert found.policy.calibration.method != "bias_corrected" and found.choice.scarce == (2,)
    assert find_note(found, "few_sources_for_bias") == {"labels": ("neutrophil",), "n_needed": 5}


def test_a_least_sensitivity_never_lowers_the_guarantee(trust_table):
    config = TrustConfig(alpha=0.05, min_sensitivity={"neutrophil": 0.5}, target_accuracy=0.9)
    assert fit_policy(trust_table, config).policy.sets.alphas == (0.05, 0.05, 0.05)


def test_always_reviewing_everything_is_noted_as_the_cause(trust_table):
    found = fit_policy(trust_table, TrustConfig(always_review=trust_table.classes))
    assert "every_label_reviewed" in (codes := {note.code for note in found.notes})
    assert not codes & {"no_confidence_suffices", "calibration_accepts"}


def test_rounding_decides_no_image_it_was_fitted_on(fitted, trust_table):
    """Another engine's logits and embeddings differ in the sixth digit; as much as measured."""
    rng = np.random.default_rng(0)
    calib = trust_table.of_role("calib")
    wanted = decide_table(fitted.policy, fitted.novelty, calib)
    assert len(set(wanted.status)) == 3
    for _ in range(20):
        away_NK = rng.uniform(-2e-6, 2e-6, calib.logits_NK.shape)
        away_ND = rng.uniform(-2e-6, 2e-6, calib.embeddings_ND.shape)
        other = replace(
            calib,
            logits_NK=(calib.logits_NK + away_NK).astype(np.float32),
            embeddings_ND=(calib.embeddings_ND + away_ND).astype(np.float32),
        )
        found = decide_table(fitted.policy, fitted.novelty, other)
        assert found.status == wanted.status
        assert (found.sets_NK == wanted.sets_NK).all()


def test_the_config_reaches_the_policy(trust_table):
    config = TrustConfig(
        alpha=0.1,
        always_review=("eosinophil",),
        min_sensitivity={"immature_granulocyte": 0.98},
        cost={"immature_granulocyte": {"neutrophil": 5.0, "review": 0.5}},
        target_accuracy=0.9,
    )
    policy = fit_policy(trust_table, config).policy
    assert policy.always_review == ("eosinophil",)
    assert policy.sets.alphas == pytest.approx((0.1, 0.02, 0.1))
    assert policy.cost == ((0, 1, 1), (1, 0, 5), (1, 1, 0))
    assert policy.review_cost == (5, 0.5, 5)  # no price: never sent for the cost alone
    found = decide_table(policy, fit_policy(trust_table, config).novelty, trust_table)
    accepted = found.labels_N[found.mask("accepted")]
    assert len(accepted) and not (accepted == 0).any()


def test_a_least_sensitivity_is_met(trust_table, make_trust_table):
    """Cells of the kind that are accepted under another name, on other images."""
    config = TrustConfig(min_sensitivity={"immature_granulocyte": 0.99}, target_accuracy=0.9)
    found = fit_policy(trust_table, config)
    missed = []
    for seed in range(1, 6):
        table = make_trust_table(seed=seed)
        decisions = decide_table(found.policy, found.novelty, table)
        own = table.labels_N == 1
        missed.append((decisions.mask("accepted") & (decisions.labels_N != 1))[own].mean())
    assert np.mean(missed) < 0.01


@pytest.mark.parametrize("n_wrong", [1, 12])
def test_a_few_mistakes_do_not_stop_a_small_ensemble(make_trust_table, n_wrong):
    """Fewer are right than there are calibration images; the smallest share follows."""
    table = make_trust_table(n=300, disagreement=True)
    logits_NK = 6 * np.eye(3, dtype=np.float32)[table.labels_N]
    wrong = np.flatnonzero(np.array(table.roles) == "calib")[:n_wrong]
    logits_NK[wrong] = logits_NK[wrong][:, [1, 2, 0]]
    table = replace(table, logits_NK=logits_NK)
    policy = fit_policy(table, TrustConfig(target_accuracy=0.8, alpha=0.3)).policy
    calib = table.of_role("calib")
    right_N = calib.logits_NK.argmax(axis=1) == calib.labels_N
    assert policy.max_disagreement >= calib.disagreement_N[right_N].max()
    none = replace(table, logits_NK=6 * np.eye(3, dtype=np.float32)[(table.labels_N + 1) % 3])
    with pytest.raises(DataError):
        fit_policy(none, TrustConfig(target_accuracy=0.8, alpha=0.3))


def test_disagreement_is_fitted_for_ensembles_only(fitted, make_trust_table):
    assert fitted.policy.max_disagreement is None
    table = make_trust_table(disagreement=True)
    limit = fit_policy(table, TrustConfig(target_accuracy=0.9)).policy.max_disagreement
    calib = table.of_role("calib").disagreement_N
    assert 0.97 < (calib <= limit).mean() < 1


def test_an_unreachable_target_accepts_nothing_and_is_noted(trust_table):
    found = fit_policy(trust_table, TrustConfig(target_accuracy=0.9999))
    assert found.policy.min_confidence is None
    assert find_note(found, "no_confidence_suffices")["target"] == 0.9999
    decisions = decide_table(found.policy, found.novelty, trust_table)
    assert not decisions.mask("accepted").any()


def test_few_calibration_images_reject_more_and_are_noted(make_trust_table):
    table = make_trust_table(180)
    found = fit_policy(table, TrustConfig(alpha=0.2, target_accuracy=0.8))
    assert find_note(found, "few_sources_for_rejection")["nominal"] == 0.01
    accepts = find_note(found, "calibration_accepts")
    assert accepts["n_images"] == found.n_calib >= accepts["n_accepted"] > accepts["n_wrong"]
    with pytest.raises(DataError, match="need 199 calibration sources"):
        fit_policy(table, TrustConfig(alpha=0.005))


def test_missing_parts_are_named(trust_table):
    with pytest.raises(MissingStepError, match="quality of each image"):
        fit_policy(
            replace(trust_table, quality_names=(), quality_NQ=np.zeros((0, 0), np.float32)),
            TrustConfig(),
        )
    with pytest.raises(DataError, match="labelled images in the role calib"):
        fit_policy(replace(trust_table, roles=("train",) * len(trust_table)), TrustConfig())


@pytest.mark.parametrize(
    "asked",
    [
        {"always_review": ("blast",)},
        {"min_sensitivity": {"blast": 0.9}},
        {"cost": {"blast": {"neutrophil": 2.0}}},
        {"cost": {"neutrophil": {"blast": 2.0}}},
    ],
)
def test_classes_that_the_network_does_not_know_are_rejected(trust_table, asked):
    with pytest.raises(ConfigError, match=r"must name classes of the network.*Found: blast"):
        fit_policy(trust_table, TrustConfig(**asked))


# -- the level of the prediction sets ---------------------------------------------------------


def count_several(policy, table):
    """How many of the misclassified calibration cells get two labels or more, and how many are."""
    calib = table.of_role("calib")
    p_NK = compute_probabilities(policy.calibration.apply(calib.logits_NK))
    labels_N = p_NK.argmax(axis=1)
    wrong_N = labels_N != calib.labels_N
    return int((count_labels(policy.sets, p_NK, labels_N)[wrong_N] > 1).sum()), int(wrong_N.sum())


def test_half_of_the_misclassified_get_two_labels(make_trust_table):
    """Of some 97 % right at 90 % coverage next to none does; the next level of the grid would be
    too loose."""
    table = make_trust_table(n=3000)
    found = fit_policy(table, TrustConfig(target_accuracy=0.9))
    n_several, n_wrong = count_several(found.policy, table)
    assert n_several >= SEVERAL_FRAC * n_wrong > 2
    chosen = find_note(found, "alpha_chosen")
    assert chosen == {
        "alpha": found.policy.sets.alpha, "n_wrong": n_wrong, "n_several": n_several
    }  # fmt: skip
    looser = ALPHAS[ALPHAS.index(found.policy.sets.alpha) - 1]
    given = fit_policy(table, TrustConfig(target_accuracy=0.9, alpha=looser))
    several, wrong = count_several(given.policy, table)
    assert several < SEVERAL_FRAC * wrong
    assert "alpha_chosen" not in {note.code for note in given.notes}


def test_a_level_above_the_error_gives_sets_of_one_label_and_is_noted(trust_table):
    found = fit_policy(trust_table, TrustConfig(target_accuracy=0.9, alpha=0.2))
    assert find_note(found, "sets_of_one_label")["n_wrong"] > 0


def test_without_a_mistake_the_level_is_the_strictest_that_the_sources_support(trust_table):
    """400 calibration sources support 0.005, not 0.002."""
    calib = trust_table.of_role("calib")
    p_NK = 0.9 * np.eye(3)[calib.labels_N] + 0.1 / 3
    assert choose_alpha(p_NK, calib, TrustConfig()) == 0.005
    few = calib.take(np.arange(8))
    with pytest.raises(TooFewSourcesError):
        choose_alpha(p_NK[:8], few, TrustConfig())


def test_the_range_is_that_of_the_class_with_fewest_sources(trust_table):
    found = fit_policy(trust_table, TrustConfig(target_accuracy=0.9, alpha=0.05))
    note = find_note(found, "sets_range")
    counts = found.policy.sets.counts
    assert note["n_sources"] == min(counts)
    assert note["label"] == trust_table.classes[counts.index(min(counts))]
    assert note["low"] < 0.95 < note["high"]
    config = TrustConfig(target_accuracy=0.9, alpha=0.05, class_conditional=False)
    assert find_note(fit_policy(trust_table, config), "sets_range")["label"] == ""
    strict = fit_policy(trust_table, TrustConfig(target_accuracy=0.9, alpha=0.005))
    assert find_note(strict, "sets_without_range") == {"nominal": 0.995}
