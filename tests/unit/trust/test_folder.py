"""A folder against the internal test set: what is compared, and the bounds of it."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from tests.builders.trust import build_reference

from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.trust.folder import (
    compare_acceptance,
    compute_chernoff_bound,
    estimate_case_mix,
)


@pytest.mark.parametrize("expected", [0.02, 0.5, 0.94, 0.999])
@pytest.mark.parametrize("n", [1, 30, 300, 5000])
def test_chance_hardly_ever_breaks_the_bound(n, expected):
    """The exact binomial is the witness: few false alarms, and none is missed by much."""
    accepted = np.unique(np.linspace(0, n, 200).astype(int))
    found = np.array([compute_chernoff_bound(k / n, n) < expected for k in accepted.tolist()])
    chance = binom.cdf(accepted, n, expected)
    assert (chance[found] <= 1e-3).all()
    assert found[(accepted <= n * expected) & (chance < 1e-3 / (n + 1))].all()


def test_a_folder_of_one_class_is_compared_with_that_class():
    reference = build_reference()  # accepted: 90, 60 and 90 of 100 each
    hard = compare_acceptance(reference, (0, 180, 20), 120)
    assert hard.expected == pytest.approx(0.6, abs=0.001) and not hard.is_unusual
    easy = compare_acceptance(reference, (0, 0, 200), 120)
    assert easy.expected == pytest.approx(0.9, abs=0.001) and easy.is_unusual
    assert compare_acceptance(reference, (0, 180, 20), 20).is_unusual
    assert compare_acceptance(reference, (0, 0, 200), 200).is_unusual is False
    assert compare_acceptance(reference, (0, 0, 0), 0) is None


def test_the_case_mix_undoes_the_confusions_of_the_test_set():
    reference = build_reference(confusion=((80, 20, 0), (0, 90, 10), (0, 0, 100)))
    mix = np.array([0.5, 0.25, 0.25])
    predicted = 1000 * mix @ np.array(reference.confusion) / 100
    assert estimate_case_mix(reference, predicted.tolist()) == pytest.approx(mix, abs=0.01)
    # A label that no test image was given, of a class without a test image.
    absent = build_reference(confusion=((80, 20, 0), (0, 90, 0), (0, 0, 0)))
    assert estimate_case_mix(absent, (0, 0, 9)) == pytest.approx((0, 0, 1), abs=0.01)


def test_a_class_that_the_test_set_does_not_hold_may_be_accepted_at_any_rate():
    known, one_source = wilson(90, 100), Interval(0.9, math.nan, math.nan)
    absent = build_reference(
        confusion=((95, 5, 0), (0, 100, 0), (0, 0, 0)),
        class_accepted=(known, one_source, UNDEFINED),
    )
    assert not compare_acceptance(absent, (0, 0, 500), 0).is_unusual
    assert not compare_acceptance(absent, (0, 500, 0), 0).is_unusual
    assert compare_acceptance(absent, (500, 0, 0), 100).is_unusual


def test_where_sources_differ_a_folder_counts_as_one():
    alike = compare_acceptance(build_reference(), (0, 0, 200), 150)
    apart = compare_acceptance(build_reference(accepted_correlation=0.1), (0, 0, 200), 150)
    assert alike.is_unusual and not apart.is_unusual
    nothing = build_reference(accepted_correlation=1.0)
    assert not compare_acceptance(nothing, (0, 0, 200), 0).is_unusual
