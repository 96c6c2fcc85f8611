"""Decisions: each reason by itself, their order, and that an image is decided by itself."""

import numpy as np
import pytest
from pydantic import ValidationError

from leukoscope.errors import DataError
from leukoscope.trust.decision import (
    STATUSES,
    Policy,
    decide,
    decide_table,
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
    return found.status[0], {reason.code: reason.values for reason in found.reasons[0]}, found


@pytest.fixture
def sure(fitted, trust_table):
    """The row of the surest accepted image."""
    found = decide_table(fitted.policy, fitted.novelty, trust_table)
    rows = np.flatnonzero(found.mask("accepted"))
    return int(rows[found.confidence_N[rows].argmax()])


def test_the_surest_is_accepted_without_a_reason(fitted, trust_table, sure):
    status, reasons, found = decide_row(fitted, trust_table, sure)
    assert (status, reasons) == ("accepted", {})
    assert found.sets_NK[0].sum() == 1 and found.sets_NK[0, found.labels_N[0]]


def test_what_lies_far_from_training_is_unknown(fitted, trust_table, sure):
    far = trust_table.embeddings_ND[[sure]] + 50
    status, reasons, found = decide_row(fitted, trust_table, sure, embeddings_ND=far)
    assert status == "unknown"
    assert reasons == {
        "unlike_training": {
            "distance": found.distance_N[0],
            "max_distance": fitted.policy.max_distance,
        }
    }


@pytest.mark.parametrize("name", ["logits_NK", "embeddings_ND"])
def test_what_is_not_finite_is_unknown(fitted, trust_table, sure, name):
    bad = getattr(trust_table, name)[[sure]].copy()
    bad[0, 0] = np.nan
    status, reasons, found = decide_row(fitted, trust_table, sure, **{name: bad})
    assert (status, reasons) == ("unknown", {"not_finite": {}})
    assert np.isfinite(found.probabilities_NK).all()


def test_poor_images_go_to_review_and_impossible_ones_are_unknown(fitted, trust_table, sure):
    quality = trust_table.quality_NQ[[sure]]
    seen = set()
    for gain in np.linspace(1, 6, 40):
        status, reasons, _ = decide_row(fitted, trust_table, sure, quality_NQ=quality * gain)
        seen.add(status)
        assert set(reasons) == (set() if status == "accepted" else {"poor_quality"})
    assert seen == set(STATUSES)


def test_two_labels_go_to_review(fitted, trust_table, sure):
    policy = fitted.policy.model_copy(
        update={"sets": fitted.policy.sets.model_copy(update={"thresholds": (1.0, 1.0, 0.0)})}
    )
    status, reasons, found = decide_row(fitted, trust_table, sure, policy)
    assert status == "review" and found.sets_NK[0].sum() >= 2
    fitting = tuple(policy.classes[k] for k in np.flatnonzero(found.sets_NK[0]))
    assert reasons == {"several_labels": {"labels": fitting}}


def test_low_confidence_is_told_with_both_figures(fitted, trust_table, sure):
    p = float(decide_row(fitted, trust_table, sure)[2].confidence_N[0])
    policy = fitted.policy.model_copy(update={"min_confidence": p})
    assert decide_row(fitted, trust_table, sure, policy)[0] == "accepted"
    least = float(np.nextafter(p, 2))
    policy = fitted.policy.model_copy(update={"min_confidence": least})
    status, reasons, _ = decide_row(fitted, trust_table, sure, policy)
    assert status == "review"
    assert reasons == {"low_confidence": {"confidence": p, "min_confidence": least}}
    policy = fitted.policy.model_copy(update={"min_confidence": None})
    assert decide_row(fitted, trust_table, sure, policy)[:2] == ("review", {"no_threshold": {}})


def test_some_classes_are_always_reviewed(fitted, trust_table, sure):
    name = fitted.policy.classes[decide_row(fitted, trust_table, sure)[2].labels_N[0]]
    policy = fitted.policy.model_copy(update={"always_review": (name,)})
    status, reasons, _ = decide_row(fitted, trust_table, sure, policy)
    assert status == "review" and reasons == {"always_review": {"label": name}}


def test_members_that_disagree_go_to_review(fitted, trust_table, sure):
    policy = fitted.policy.model_copy(update={"max_disagreement": 0.1})
    low, high, nan = (np.array([x], np.float32) for x in (0.1, 0.11, np.nan))
    assert decide_row(fitted, trust_table, sure, policy, disagreement_N=low)[0] == "accepted"
    for one in (high, nan):
        status, reasons, _ = decide_row(fitted, trust_table, sure, policy, disagreement_N=one)
        assert status == "review" and set(reasons) == {"members_disagree"}
        assert reasons["members_disagree"]["max_disagreement_nats"] == 0.1
    with pytest.raises(DataError, match="disagreement of its members"):
        decide_row(fitted, trust_table, sure, policy)


def test_costs_choose_the_label_and_the_review(fitted):
    """By hand: p = (0.6, 0.4); missing the second class costs 10."""
    logits = np.log(np.array([[0.6, 0.4, 1e-9]], np.float32))
    plain = fitted.policy.model_copy(
        update={"calibration": type(fitted.policy.calibration)(), "max_distance": 1e9}
    )
    quality = np.ones((1, len(fitted.policy.quality.names)), np.float32)
    arrays = logits, np.zeros((1, 6), np.float32), quality
    assert decide(plain, fitted.novelty, *arrays).labels_N[0] == 0
    cost = ((0.0, 1.0, 1.0), (10.0, 0.0, 10.0), (1.0, 1.0, 0.0))
    costly = plain.model_copy(update={"cost": cost})
    found = decide(costly, fitted.novelty, *arrays)
    assert found.labels_N[0] == 1 and found.confidence_N[0] == pytest.approx(0.4, abs=1e-6)
    # A wrong name costs 0.6 on average; a look costs 0.5 or 0.7.
    for price, wanted in ((0.5, True), (0.7, False)):
        asked = costly.model_copy(update={"review_cost": (price,) * 3})
        reasons = decide(asked, fitted.novelty, *arrays).reasons[0]
        found = [one.values for one in reasons if one.code == "costly_mistake"]
        assert bool(found) == wanted
        for values in found:
            assert values["expected_cost"] == pytest.approx(0.6, abs=1e-6)
            assert values["review_cost"] == pytest.approx(price)


def test_unknown_hides_doubts_about_the_label(fitted, trust_table, sure):
    policy = fitted.policy.model_copy(update={"min_confidence": None})
    far = trust_table.embeddings_ND[[sure]] + 50
    _, reasons, _ = decide_row(fitted, trust_table, sure, policy, embeddings_ND=far)
    assert set(reasons) == {"unlike_training"}


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


def test_labels_pass_through_a_decision_unharmed(fitted, trust_table, sure):
    """Whatever they read like, they bring in no reason of their own."""
    labels = ("Blast; L1", "confidence 1 % below 2 %", 'a/b (|) "ß"\n')
    sets = fitted.policy.sets.model_copy(update={"thresholds": (1.0, 1.0, 1.0)})
    policy = fitted.policy.model_copy(
        update={"classes": labels, "sets": sets, "always_review": labels}
    )
    status, reasons, found = decide_row(fitted, trust_table, sure, policy)
    assert status == "review" and set(reasons) == {"several_labels", "always_review"}
    assert reasons["several_labels"]["labels"] == labels
    assert reasons["always_review"]["label"] == labels[found.labels_N[0]]
