"""How many images of home are rejected, by simulation: never more than was allowed."""

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.trust.novelty import fit_distance_threshold, fit_novelty


@pytest.mark.parametrize(("n", "share"), [(99, 0.05), (120, 0.05), (199, 0.02)])
def test_a_new_image_is_rejected_as_often_as_allowed(n, share):
    rng = np.random.default_rng(0)
    runs = 20_000
    drawn = rng.gamma(2, size=(runs, n + 1))
    hits = sum(row[n] > fit_distance_threshold(row[:n], share) for row in drawn)
    # Exactly floor((n + 1) share) of the n + 1 places lie above the rank.
    low, high = binom.interval(0.999, runs, int((n + 1) * share + 1e-9) / (n + 1))
    assert low <= hits <= high
    assert high <= runs * share + 4 * np.sqrt(runs * share)


def test_calib_rows_that_were_fitted_on_would_reject_too_many():
    """The negative control: a threshold from train rows breaks the promise."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    rows, home = rng.normal(size=(120, 60)), rng.normal(size=(2000, 60))
    model = fit_novelty(rows, labels)
    spent = fit_distance_threshold(model.compute_distance(rows), 0.05)
    fresh = fit_distance_threshold(model.compute_distance(rng.normal(size=(400, 60))), 0.05)
    distances = model.compute_distance(home)
    assert (distances > spent).mean() > 0.2
    assert (distances > fresh).mean() < 0.09
