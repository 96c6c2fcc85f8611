"""The reference figures: on which images they are measured, and with which leakage status."""

import numpy as np
import pytest
from scipy.stats import beta
from tests.builders.trust import REASONS

from leukoscope.evaluation.decisions import (
    ReasonCount,
    compute_reference,
    count_errors,
    count_reasons,
)
from leukoscope.evaluation.intervals import wilson
from leukoscope.trust.decision import Reason


def measure(table, fitted, leakage_status, leaked):
    return compute_reference(
        table, fitted.policy, fitted.novelty, leakage_status, frozenset(leaked), "cells"
    )


def test_images_with_a_copy_are_left_out(trust_table, fitted):
    """Wrong labels on the copies: whoever counts them sees it."""
    test = np.flatnonzero(np.array(trust_table.roles) == "test")
    copies = [trust_table.ids[i] for i in test[:100]]
    whole = measure(trust_table, fitted, "disjoint", ())
    rest = measure(trust_table, fitted, "disjoint", copies)
    assert (whole.n_images, rest.n_images) == (400, 300)
    assert (whole.leakage_status, rest.leakage_status) == ("disjoint", "disjoint")
    assert measure(trust_table, fitted, "leaking", copies).leakage_status == "unproven"
    assert np.sum(rest.confusion) == 300


@pytest.mark.parametrize("leakage_status", ["disjoint", "leaking"])
def test_with_hardly_any_image_left_the_verdict_is_leaking(trust_table, fitted, leakage_status):
    test = np.flatnonzero(np.array(trust_table.roles) == "test")
    found = measure(trust_table, fitted, leakage_status, [trust_table.ids[i] for i in test[9:]])
    assert found.leakage_status == "leaking" and found.n_images == 400


def test_the_calibration_error_counts_sources(make_trust_table, fitted):
    """Ten copies of each test image: the error is that of the images, not less noise."""
    table = make_trust_table()
    test = np.flatnonzero(np.array(table.roles) == "test")
    copied = table.take(np.repeat(test, 10))
    one, ten = (measure(t, fitted, "disjoint", ()) for t in (table, copied))
    assert ten.ece == pytest.approx(one.ece, abs=0.01)
    assert ten.accuracy.high - ten.accuracy.low == pytest.approx(
        one.accuracy.high - one.accuracy.low, rel=0.05
    )


def test_each_class_is_measured_over_sources(trust_table, fitted):
    """And copies of an image make no interval narrower."""
    test = np.flatnonzero(np.array(trust_table.roles) == "test")
    one, five = (
        measure(t, fitted, "disjoint", ())
        for t in (trust_table, trust_table.take(np.repeat(test, 5)))
    )
    counts = np.array(one.confusion)
    for k in range(len(counts)):
        true, said, hit = counts[k].sum(), counts[:, k].sum(), counts[k, k]
        rest = counts.sum() - true
        for found, copied, wanted in (
            (one.recall[k], five.recall[k], wilson(hit, true)),
            (one.specificity[k], five.specificity[k], wilson(rest - said + hit, rest)),
        ):
            assert (found.value, found.low, found.high) == pytest.approx(
                (wanted.value, wanted.low, wanted.high)
            )
            assert copied.high - copied.low >= 0.95 * (found.high - found.low)


def test_without_test_images_there_is_nothing_to_say(trust_table, fitted):
    rest = trust_table.take(np.array(trust_table.roles) != "test")
    assert measure(rest, fitted, "disjoint", ()) is None


def test_reasons_are_counted_by_code_whatever_labels_say():
    """Labels with semicolons, or that read like a reason, bring in no reason of their own."""
    found = count_reasons([REASONS, (), REASONS])
    assert sum(one.n_images for one in found) == 2 * len(REASONS)
    assert {one.code for one in found} == {one.code for one in REASONS}
    quality = [one for one in found if one.code == "poor_quality"]
    assert quality == [
        ReasonCount("poor_quality", 2, "sharpness", "low"),
        ReasonCount("poor_quality", 2, "", "combination"),
    ]


def test_an_image_counts_once_for_two_features_of_one_combination():
    pair = [
        Reason("poor_quality", {"feature": name, "side": "combination"})
        for name in ("noise", "sharpness")
    ]
    assert count_reasons([pair]) == (ReasonCount("poor_quality", 1, "", "combination"),)
    assert count_reasons([]) == ()


def test_two_features_that_mean_the_same_are_one_reason():
    larger = [
        [Reason("poor_quality", {"feature": name, "side": "high"})]
        for name in ("nucleus_size_frac", "cell_chord_frac")
    ]
    assert count_reasons(larger) == (ReasonCount("poor_quality", 2, "nucleus_size_frac", "high"),)


def test_what_is_wrong_among_accepted_has_an_upper_bound():
    """Exact where each image has a source of its own; wider where sources err as one."""
    hits, accepted = np.arange(1000) > 1, np.arange(1000) < 900
    alone = [str(i) for i in range(1000)]
    found = count_errors(hits, accepted, alone)
    assert (found.n_accepted, found.n_wrong) == (900, 2)
    assert found.bound == pytest.approx(beta.ppf(0.95, 3, 898))
    together = [str(i // 20) for i in range(1000)]
    assert count_errors(hits, accepted, together).bound > found.bound
    none = count_errors(hits, ~np.ones(1000, bool), alone)
    assert none.n_accepted == 0 and np.isnan(none.bound)
