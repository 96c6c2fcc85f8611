"""The calibration error without its bias: against Kumar's estimator, copies and planted errors."""

import numpy as np
import pytest
from tests.builders.scores import name_sources

from leukoscope.errors import DataError
from leukoscope.evaluation.calibration_error import (
    compute_debiased_ece,
    compute_equal_mass_bins,
    compute_squared_error,
)
from leukoscope.evaluation.metrics import compute_calibration_bins


def test_the_debiased_error_has_no_bias():
    """A calibrated network: the plain error is far from 0, the debiased square averages to 0."""
    rng = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(60):
        confidence_N = rng.uniform(0.5, 1, 300)
        hit_N = rng.random(300) < confidence_N
        found.append(compute_debiased_ece(confidence_N, hit_N) ** 2)
        bins = np.array_split(np.argsort(confidence_N), 15)
        plain.append(np.mean([(confidence_N[b].mean() - hit_N[b].mean()) ** 2 for b in bins]))
    # Cutting off at 0 leaves about half of the spread; far less than the bias that was there.
    assert np.mean(found) < 0.35 * np.mean(plain)


def test_the_debiased_error_finds_a_planted_one():
    rng = np.random.default_rng(1)
    confidence_N = rng.uniform(0.6, 1, 20000)
    hit_N = rng.random(20000) < confidence_N - 0.1
    assert compute_debiased_ece(confidence_N, hit_N) == pytest.approx(0.1, abs=0.01)
    with pytest.raises(DataError):
        compute_debiased_ece(np.zeros(0), np.zeros(0, bool))


def test_copies_that_are_wrong_together_are_no_miscalibration():
    """30 sources of 20 images, each source right or wrong as a whole, stated chance true."""
    rng = np.random.default_rng(2)
    names = np.repeat(np.arange(30), 20).astype(str).tolist()
    over_images, over_sources = [], []
    for _ in range(100):
        confidence_N = np.full(600, 0.8)
        hit_N = np.repeat(rng.random(30) < 0.8, 20)
        over_images.append(compute_squared_error(confidence_N, hit_N))
        over_sources.append(compute_squared_error(confidence_N, hit_N, names))
    error = np.std(over_sources) / 10
    assert abs(np.mean(over_sources)) < 4 * error < np.mean(over_images)


def test_each_image_its_own_source_is_the_estimator_of_kumar():
    rng = np.random.default_rng(3)
    confidence_N = rng.uniform(0.5, 1, 400)
    hit_N = rng.random(400) < confidence_N**2
    expected = 0.0
    for rows in np.array_split(np.argsort(confidence_N), 10):
        a, n = hit_N[rows].mean(), len(rows)
        gap = (confidence_N[rows].mean() - a) ** 2
        expected += n / 400 * (gap - a * (1 - a) / (n - 1))
    found = compute_squared_error(confidence_N, hit_N, bins=10)
    assert found == pytest.approx(expected, abs=1e-12)
    named = compute_squared_error(confidence_N, hit_N, name_sources(400), bins=10)
    assert named == pytest.approx(found, abs=1e-12)


def test_bins_are_those_of_the_metrics_and_ties_share_one():
    rng = np.random.default_rng(4)
    confidence_N = np.round(rng.uniform(0.5, 1, 500), 2)
    hit_N = rng.random(500) < 0.8
    bin_N = compute_equal_mass_bins(confidence_N)
    mass_M, confidence_M, accuracy_M = compute_calibration_bins(confidence_N, hit_N)
    used = np.unique(bin_N)
    assert [int((bin_N == b).sum()) for b in used] == mass_M.tolist()
    assert [hit_N[bin_N == b].mean() for b in used] == pytest.approx(accuracy_M.tolist())
    order = rng.permutation(500)
    assert (compute_equal_mass_bins(confidence_N[order]) == bin_N[order]).all()
    all_equal = compute_debiased_ece(np.ones(50), np.arange(50) < 40)
    assert all_equal == pytest.approx(np.sqrt(0.2**2 - 0.16 / 49))
