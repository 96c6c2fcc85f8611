"""Shares of true classes from counts of predicted ones, on cases that can be worked out."""

import math

import numpy as np
import pytest
from scipy.stats import beta

from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import clopper_pearson
from leukoscope.smear.prevalence import (
    NO_ESTIMATE,
    compute_exact_interval,
    estimate_shares,
    maximise_likelihood,
)
from leukoscope.trust.record import CalibrationCounts

EVERYTHING = np.ones(3, dtype=bool)
FIRST, SECOND, THIRD = np.eye(3, dtype=bool)

RUMKE = {
    100: {0: (0, 4), 1: (0, 6), 5: (1, 12), 10: (4, 18), 20: (12, 30), 50: (39, 61), 70: (60, 79)},
    200: {0: (0, 2), 1: (0, 4), 5: (2, 10), 10: (6, 16), 20: (14, 27), 50: (42, 58), 70: (63, 77)},
    500: {0: (0, 1), 1: (0, 3), 5: (3, 8), 10: (7, 13), 20: (16, 24), 50: (45, 55), 70: (65, 74)},
    1000: {0: (0, 1), 1: (0, 2), 5: (3, 7), 10: (8, 13), 20: (17, 23), 50: (46, 54), 70: (67, 73)},
}
"""Rümke's table, 95 % limits in per cent of a differential of so many cells (CLSI H20-A2, table 5):
lower limits are rounded down, upper ones up."""


def build(rows, effective=None):
    """Calibration counts, the last column unknown."""
    rows = tuple(tuple(row) for row in rows)
    return CalibrationCounts(called=rows, effective=effective or tuple(float(sum(r)) for r in rows))


@pytest.mark.parametrize("total", RUMKE)
def test_raw_limits_are_those_of_rumkes_table(total):
    for percent, (low, high) in RUMKE[total].items():
        found = compute_exact_interval(percent * total // 100, total)
        assert abs(100 * found.low - low) <= 1
        assert abs(100 * found.high - high) <= 1
        assert found == clopper_pearson(percent * total // 100, total) or (
            found.low == pytest.approx(clopper_pearson(percent * total // 100, total).low)
        )
    assert math.isnan(compute_exact_interval(0, 0).value)


def test_without_confusion_limits_are_jeffreys():
    rows = (np.eye(3, 4, dtype=int) * 100_000).tolist()
    found = estimate_shares(np.array([60, 40, 0]), build(rows))
    first = found.compare(FIRST, EVERYTHING)
    assert first.interval.value == pytest.approx(0.6, abs=1e-4)
    low, high = beta.ppf([0.025, 0.975], 60.5, 41)
    assert first.interval.low == pytest.approx(low, abs=0.005)
    assert first.interval.high == pytest.approx(high, abs=0.005)
    assert first.sampled_frac > 0.9
    third = found.compare(THIRD, EVERYTHING).interval
    assert (third.value, third.low) == (0, 0)
    assert third.high == pytest.approx(beta.ppf(0.975, 0.5, 101), abs=0.005)


def test_a_class_that_is_taken_for_another_is_given_back():
    """A third of the second class is called the first."""
    rows = [[3000, 0, 0, 0], [1000, 2000, 0, 0], [0, 0, 3000, 0]]
    found = estimate_shares(np.array([500, 200, 300]), build(rows))
    assert found.point_K == pytest.approx([0.4, 0.3, 0.3], abs=1e-3)


def test_a_class_that_is_often_rejected_is_more_than_it_seems():
    rows = [[3000, 0, 0, 0], [0, 1500, 0, 1500], [0, 0, 3000, 0]]
    found = estimate_shares(np.array([500, 250, 0]), build(rows))
    assert found.point_K == pytest.approx([0.5, 0.5, 0], abs=1e-3)
    assert found.compare(SECOND, EVERYTHING).interval.low > 0.4


def test_what_cannot_be_is_not_below_zero():
    """More of the second class is called the first than there are cells called the first."""
    rows = [[900, 100, 0, 0], [300, 700, 0, 0], [0, 0, 1000, 0]]
    found = estimate_shares(np.array([10, 190, 0]), build(rows))
    assert found.point_K == pytest.approx([0, 1, 0], abs=1e-6)
    interval = found.compare(FIRST, EVERYTHING).interval
    assert (interval.value, interval.low) == (0, 0)
    assert 0 < interval.high < 0.1


def test_calibration_cells_of_one_source_count_for_less():
    rows = [[90, 10, 0, 0], [10, 90, 0, 0], [0, 0, 100, 0]]
    one, two = (
        estimate_shares(np.array([300, 100, 100]), build(rows, (n,) * 3)).compare(FIRST, EVERYTHING)
        for n in (100.0, 10.0)
    )
    assert two.interval.high - two.interval.low > 1.5 * (one.interval.high - one.interval.low)
    assert two.sampled_frac < 0.5 * one.sampled_frac


def test_a_class_never_calibrated_may_be_anything():
    rows = [[100, 0, 0, 0], [0, 100, 0, 0], [0, 0, 0, 0]]
    found = estimate_shares(np.array([50, 50, 0]), build(rows)).compare(THIRD, EVERYTHING)
    assert (found.interval.value, found.interval.low) == (0, 0)
    assert found.interval.high > 0.1


def test_per_cells_of_other_classes():
    rows = (np.eye(3, 4, dtype=int) * 10_000).tolist()
    found = estimate_shares(np.array([80, 20, 10]), build(rows))
    assert found.compare(THIRD, FIRST | SECOND).interval.value == pytest.approx(0.1, abs=1e-3)
    only_third = estimate_shares(np.array([0, 0, 10]), build(rows))
    assert only_third.compare(FIRST, FIRST | SECOND) == NO_ESTIMATE
    assert NO_ESTIMATE.count_more(10, 0.05) is None


def test_the_same_counts_give_the_same_draws():
    calibration = build([[90, 10, 0, 0], [10, 90, 0, 0], [0, 0, 100, 0]])
    one, two = (estimate_shares(np.array([5, 5, 5]), calibration) for _ in range(2))
    assert np.array_equal(one.draws_CSK, two.draws_CSK)
    assert np.allclose(one.draws_CSK.sum(-1), 1)


def test_other_counts_are_rejected():
    calibration = build([[90, 10, 0, 0], [10, 90, 0, 0], [0, 0, 100, 0]])
    for called in ([1, 2], [0, 0, 0]):
        with pytest.raises(DataError):
            estimate_shares(np.array(called), calibration)
    with pytest.raises(ValueError, match="2 classes need"):
        build([[1, 0], [0, 1]])


def test_the_likeliest_shares_need_no_complete_rows():
    rows = np.array([[0.45, 0.05], [0.1, 0.9]])
    assert maximise_likelihood(np.array([14, 6]), rows) == pytest.approx([0.75, 0.25], abs=1e-4)


def test_samples_that_differ_make_limits_wider_and_leave_the_share():
    called_K = np.array([140, 60])
    alone = build([(80, 20, 0), (20, 80, 0)])

    def measure(correlation, n_samples):
        update = {"correlation": correlation, "n_samples": n_samples}
        found = estimate_shares(called_K, alone.model_copy(update=update))
        return found.compare(FIRST[:2], EVERYTHING[:2])

    plain = estimate_shares(called_K, alone).compare(FIRST[:2], EVERYTHING[:2])
    known, unsure = measure(0.05, 1e6), measure(0.05, 5.0)
    assert known.interval.value == unsure.interval.value == plain.interval.value
    lengths = [one.interval.high - one.interval.low for one in (plain, known, unsure)]
    assert 1.1 * lengths[0] < lengths[1] < lengths[2]
    # More cells of one sample do not tell how it differs.
    assert known.sampled_frac < plain.sampled_frac
