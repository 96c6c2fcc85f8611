"""Coverage against exact distributions, and whether other images are noticed."""

import numpy as np
import pytest
from scipy.stats import betabinom, binom, norm
from tests.builders.scores import build_sets
from tests.builders.scores import draw_calibrated as draw

from leukoscope.errors import DataError
from leukoscope.evaluation.coverage import (
    compare_exchangeability,
    measure_coverage,
)
from leukoscope.records import dump_record
from leukoscope.trust.conformal import fit_sets

CLASSES = ("a", "b", "c")


def compute_band(n_images, alpha, n_calib):
    """The bounds of a coverage under one threshold for all classes."""
    sets = build_sets((alpha,) * 2, (n_calib,) * 2, groups=(0, 0))
    found = measure_coverage(
        np.ones((n_images, 2), bool), np.zeros(n_images, np.int64), ("a", "b"), sets
    )
    return found.marginal.expected_low, found.marginal.expected_high


def test_the_band_tends_to_the_binomial_and_covers_more_for_few():
    low, high = compute_band(500, 0.1, 10**8)
    assert (low, high) == (binom(500, 0.9).ppf(0.005) / 500, binom(500, 0.9).ppf(0.995) / 500)
    wide = compute_band(500, 0.1, 50)
    assert wide[0] < low and wide[1] > high
    assert compute_band(10, 0.1, 3) == (1.0, 1.0)
    assert compute_band(1000, 0.1, 100) == (0.806, 0.965)


def test_coverage_by_hand():
    sets = fit_sets(*draw(900), CLASSES, alpha=0.1)
    sets_NK = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    found = measure_coverage(sets_NK, np.array([0, 0, 1, 0]), CLASSES, sets)
    assert found.marginal.value == 0.5 and found.marginal.n_images == 4
    assert found.per_class["a"].value == pytest.approx(1 / 3)
    assert np.isnan(found.per_class["c"].value) and found.per_class["c"].holds
    assert (found.mean_size, found.empty_frac, found.single_frac) == (1.0, 0.25, 0.5)
    assert dump_record(found)["per_class"]["c"] == dump_record(found.per_class["c"])
    assert dump_record(found)["size_by_class"]["c"] is None
    with pytest.raises(DataError):
        measure_coverage(sets_NK[:0], np.zeros(0, np.int64), CLASSES, sets)


def test_other_images_are_noticed():
    rng = np.random.default_rng(0)
    calib = rng.normal(0, 1, 500)
    same = compare_exchangeability(calib, rng.normal(0, 1, 500))
    assert not same.broken and same.gap < 0.12
    other = compare_exchangeability(calib, rng.normal(1, 1, 400))
    assert other.broken and other.p_value < 1e-6
    # The closed form for two normal distributions one standard deviation apart.
    assert other.gap == pytest.approx(2 * norm.cdf(0.5) - 1, abs=0.07)
    for bad in (calib[:0], np.array([np.nan])):
        with pytest.raises(DataError, match="on both sides"):
            compare_exchangeability(calib, bad)


def test_the_bounds_of_all_classes_follow_from_those_of_each():
    """Witness: simulated hits of three thresholds, each with a coverage drawn from its beta."""
    sets = build_sets((0.1, 0.2, 0.05), (49, 19, 39))
    labels_N = np.repeat([0, 1, 2], (60, 30, 10))
    found = measure_coverage(np.ones((100, 3), bool), labels_N, CLASSES, sets)
    rng = np.random.default_rng(0)
    hits = sum(
        rng.binomial(n, rng.beta(rank, behind + 1 - rank, 200_000))
        for n, rank, behind in ((60, 45, 49), (30, 16, 19), (10, 38, 39))
    )
    low, high = found.marginal.expected_low, found.marginal.expected_high
    assert (hits < 100 * low - 0.5).mean() < 0.0056 and (hits > 100 * high + 0.5).mean() < 0.0056
    assert ((hits < 100 * low + 0.5).mean()) > 0.0044 and (hits > 100 * high - 1.5).mean() > 0.0044
    assert found.marginal.check == "above" and found.marginal.holds


def test_what_is_guaranteed_for_a_small_class_is_less_and_the_bounds_know():
    sets = build_sets((0.1,) * 3, (99, 5, 0), borrowed=(False, True, True))
    labels_N = np.repeat([0, 1, 2], 50)
    sets_NK = np.zeros((150, 3), bool)
    sets_NK[:, 0] = True
    sets_NK[50:90, 1] = True
    found = measure_coverage(sets_NK, labels_N, CLASSES, sets)
    low = betabinom(50, 5, 1).ppf(0.005) / 50
    assert (found.per_class["b"].expected_low, found.per_class["b"].expected_high) == (low, 1.0)
    assert found.per_class["b"].guaranteed and found.per_class["b"].value == 0.8
    c = found.per_class["c"]
    assert not c.guaranteed and (c.expected_low, c.expected_high, c.check) == (0.0, 1.0, "holds")
    assert found.size_by_class["b"] == pytest.approx(1.8) and found.many_frac == 40 / 150


def test_copies_widen_the_bounds():
    labels_N = np.zeros(400, np.int64)
    sets_NK = np.ones((400, 2), bool)
    exact = build_sets((0.1, 0.1), (10**9,) * 2)
    single = measure_coverage(sets_NK, labels_N, ("a", "b"), exact)
    expected = binom(400, 0.9).ppf([0.005, 0.995]) / 400
    assert (single.marginal.expected_low, single.marginal.expected_high) == pytest.approx(expected)
    names = np.repeat(np.arange(40), 10).astype(str).tolist()
    copied = measure_coverage(sets_NK, labels_N, ("a", "b"), exact, sources=names)
    assert copied.marginal.expected_low == binom(40, 0.9).ppf(0.005) / 40
    with pytest.raises(DataError, match="known classes"):
        measure_coverage(sets_NK, labels_N - 1, ("a", "b"), exact)
