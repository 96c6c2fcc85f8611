"""Decisions: each reason by itself, their order, and that an image is decided by itself."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binom

from leukoscope.errors import DataError
from leukoscope.trust.decision import (
    STATUSES,
    Policy,
    decide,
    decide_table,
    is_rejected_unusually_often,
)


def decide_row(fitted, table, row, policy=None, **changed):
    """Decide on one image of a table, some of its arrays changed."""
    arrays = {
        "logits_NK": table.logits_NK[[row]],
        "embeddings_ND": table.embeddings_ND[[row]],
        "quality_NQ": table.quality_NQ[[row]],
        **changed,
    }
    found = decide(policy or fitted.policy, fitted.novelty, **arrays)
    return found.status[0], found.reasons[0], found


@pytest.fixture
def sure(fitted, trust_table):
    """The row of the surest accepted image."""
    found = decide_table(fitted.policy, fitted.novelty, trust_table)
    rows = np.flatnonzero(found.mask("accepted"))
    return int(rows[found.confidence_N[rows].argmax()])


def test_the_surest_is_accepted_without_a_reason(fitted, trust_table, sure):
    status, reason, found = decide_row(fitted, trust_table, sure)
    assert (status, reason) == ("accepted", "")
    assert found.sets_NK[0].sum() == 1 and found.sets_NK[0, found.labels_N[0]]


def test_what_lies_far_from_training_is_unknown(fitted, trust_table, sure):
    far = trust_table.embeddings_ND[[sure]] + 50
    status, reason, _ = decide_row(fitted, trust_table, sure, embeddings_ND=far)
    assert status == "unknown" and reason.startswith("unlike any cell in training (distance ")


@pytest.mark.parametrize("name", ["logits_NK", "embeddings_ND"])
def test_what_is_not_finite_is_unknown(fitted, trust_table, sure, name):
    bad = getattr(trust_table, name)[[sure]].copy()
    bad[0, 0] = np.nan
    status, reason, found = decide_row(fitted, trust_table, sure, **{name: bad})
    assert (status, reason) == ("unknown", "the network gave no finite answer")
    assert np.isfinite(found.probabilities_NK).all()


def test_poor_images_go_to_review_and_impossible_ones_are_unknown(fitted, trust_table, sure):
    quality = trust_table.quality_NQ[[sure]]
    seen = set()
    for gain in np.linspace(1, 6, 40):
        status, reason, _ = decide_row(fitted, trust_table, sure, quality_NQ=quality * gain)
        seen.add(status)
        assert bool(reason) == (status != "accepted")
    assert seen == set(STATUSES)


def test_two_names_go_to_review_by_name(fitted, trust_table, sure):
    policy = fitted.policy.model_copy(
        update={"sets": fitted.policy.sets.model_copy(update={"thresholds": (1.0, 1.0, 0.0)})}
    )
    status, reason, found = decide_row(fitted, trust_table, sure, policy)
    assert status == "review"
    assert "could be " in reason and "Immature granulocyte" in reason
    assert found.sets_NK[0].sum() >= 2


def test_low_confidence_is_told_with_both_figures(fitted, trust_table, sure):
    p = float(decide_row(fitted, trust_table, sure)[2].confidence_N[0])
    policy = fitted.policy.model_copy(update={"min_confidence": p})
    assert decide_row(fitted, trust_table, sure, policy)[0] == "accepted"
    policy = fitted.policy.model_copy(update={"min_confidence": float(np.nextafter(p, 2))})
    status, reason, _ = decide_row(fitted, trust_table, sure, policy)
    assert status == "review" and reason.startswith("confidence ") and " % below " in reason
    shown = [float(part.split(" ")[-2]) for part in reason.split("%")[:2]]
    assert shown[0] < shown[1]
    policy = fitted.policy.model_copy(update={"min_confidence": None})
    assert decide_row(fitted, trust_table, sure, policy)[:2] == (
        "review",
        "no confidence keeps the target",
    )


def test_some_kinds_are_always_looked_at(fitted, trust_table, sure):
    name = fitted.policy.classes[decide_row(fitted, trust_table, sure)[2].labels_N[0]]
    policy = fitted.policy.model_copy(update={"always_review": (name,)})
    status, reason, _ = decide_row(fitted, trust_table, sure, policy)
    assert status == "review" and reason.endswith(": a person always looks")


def test_members_that_disagree_go_to_review(fitted, trust_table, sure):
    policy = fitted.policy.model_copy(update={"max_disagreement": 0.1})
    low, high, nan = (np.array([x], np.float32) for x in (0.1, 0.11, np.nan))
    assert decide_row(fitted, trust_table, sure, policy, disagreement_N=low)[0] == "accepted"
    for one in (high, nan):
        status, reason, _ = decide_row(fitted, trust_table, sure, policy, disagreement_N=one)
        assert status == "review" and reason.startswith("the networks disagree")
    with pytest.raises(DataError, match="disagreement of its members"):
        decide_row(fitted, trust_table, sure, policy)


def test_costs_choose_the_name_and_the_look(fitted):
    """By hand: p = (0.6, 0.4); missing the second class costs 10."""
    logits = np.log(np.array([[0.6, 0.4, 1e-9]], np.float32))
    plain = fitted.policy.model_copy(
        update={"calibration": type(fitted.policy.calibration)(), "max_distance": 1e9}
    )
    arrays = logits, np.zeros((1, 6), np.float32), np.ones((1, 17), np.float32)
    arrays = (*arrays[:2], np.ones((1, len(fitted.policy.quality.names)), np.float32))
    assert decide(plain, fitted.novelty, *arrays).labels_N[0] == 0
    cost = ((0.0, 1.0, 1.0), (10.0, 0.0, 10.0), (1.0, 1.0, 0.0))
    costly = plain.model_copy(update={"cost": cost})
    found = decide(costly, fitted.novelty, *arrays)
    assert found.labels_N[0] == 1 and found.confidence_N[0] == pytest.approx(0.4, abs=1e-6)
    # A wrong name costs 0.6 on average; a look costs 0.5 or 0.7.
    for price, wanted in ((0.5, True), (0.7, False)):
        asked = costly.model_copy(update={"review_cost": (price,) * 3})
        reason = decide(asked, fitted.novelty, *arrays).reasons[0]
        assert ("a mistake here would cost more than a look" in reason) == wanted


def test_unknown_hides_doubts_about_the_name(fitted, trust_table, sure):
    policy = fitted.policy.model_copy(update={"min_confidence": None})
    far = trust_table.embeddings_ND[[sure]] + 50
    _, reason, _ = decide_row(fitted, trust_table, sure, policy, embeddings_ND=far)
    assert "confidence" not in reason


def test_each_image_is_decided_by_itself(fitted, trust_table):
    every = decide_table(fitted.policy, fitted.novelty, trust_table)
    turn = np.random.default_rng(0).permutation(len(trust_table))[:200]
    some = decide_table(fitted.policy, fitted.novelty, trust_table.take(turn))
    assert some.status == tuple(every.status[i] for i in turn)
    assert some.reasons == tuple(every.reasons[i] for i in turn)
    one = decide_table(fitted.policy, fitted.novelty, trust_table.take(turn[:1]))
    assert one.distance_N[0] == every.distance_N[turn[0]]
    assert set(every.status) == set(STATUSES)


def test_nothing_in_nothing_out(fitted, trust_table):
    none = decide_table(fitted.policy, fitted.novelty, trust_table.take(np.zeros(0, np.intp)))
    assert none.status == () and none.sets_NK.shape == (0, 3)


def test_other_shapes_and_classes_are_rejected(fitted, trust_table):
    with pytest.raises(DataError, match="a decision on 3 images needs"):
        decide(
            fitted.policy, fitted.novelty, trust_table.logits_NK[:3],
            trust_table.embeddings_ND[:2], trust_table.quality_NQ[:3],
        )  # fmt: skip
    policy = fitted.policy.model_copy(update={"classes": ("a", "b", "c")})
    with pytest.raises(DataError, match="the policy knows the classes a, b, c"):
        decide_table(policy, fitted.novelty, trust_table)


@pytest.mark.parametrize(
    "change",
    [
        {"cost": ((0.0, 1.0),)},
        {"review_cost": (1.0,)},
        {"always_review": ("blast",)},
        {"min_confidence": 1.5},
        {"max_disagreement": -1.0},
    ],
)
def test_a_policy_is_consistent(fitted, change):
    with pytest.raises(ValidationError):
        Policy.model_validate({**fitted.policy.model_dump(), **change})


@pytest.mark.parametrize("home", [0.02, 0.5, 0.94, 0.999])
@pytest.mark.parametrize("n", [1, 30, 300, 5000])
def test_batches_of_homes_kind_hardly_ever_alarm(n, home):
    """The exact binomial is the witness: few false alarms, and none is missed by much."""
    accepted = np.unique(np.linspace(0, n, 200).astype(int))
    found = np.array([is_rejected_unusually_often(int(k), n, home) for k in accepted])
    chance = binom.cdf(accepted, n, home)
    assert (chance[found] <= 1e-3).all()
    low = accepted <= n * home
    assert found[low & (chance < 1e-3 / (n + 1))].all()  # Chernoff's bound is that tight
    assert not found[~low].any()


def test_batches_at_the_edges():
    assert not is_rejected_unusually_often(0, 0, 0.9)
    assert not is_rejected_unusually_often(0, 50, 0.0)
    assert is_rejected_unusually_often(49, 50, 1.0)
    assert not is_rejected_unusually_often(50, 50, 1.0)
