"""Prediction sets: ranks by hand, hard cases, and what a measured coverage is compared with."""

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.errors import DataError
from leukoscope.scores import compute_probabilities
from leukoscope.trust.conformal import (
    ConformalSets,
    compare_scores,
    compute_band,
    compute_rank,
    compute_scores,
    count_needed,
    fit_sets,
    measure_coverage,
)

CLASSES = ("a", "b", "c")


def draw(n, k=3, seed=0):
    rng = np.random.default_rng(seed)
    p_NK = compute_probabilities(rng.normal(0, 2, (n, k)))
    return p_NK, np.array([rng.choice(k, p=p) for p in p_NK])


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(99, 0.1, 90), (199, 0.05, 190), (100, 0.1, 91), (19, 0.05, 19), (18, 0.05, 19),
     (9, 0.1, 9), (8, 0.1, 9), (0, 0.1, 1), (999, 0.001, 999), (49, 0.02, 49), (119, 0.3, 84)],
)  # fmt: skip
def test_ranks(n, alpha, rank):
    assert compute_rank(n, alpha) == rank
    assert (rank > n) == (n < count_needed(alpha))


def test_thresholds_are_the_sorted_scores_at_their_rank():
    scores = np.linspace(0.01, 0.99, 99)
    p_NK = np.stack([1 - scores, scores], axis=1)
    sets = fit_sets(p_NK, np.zeros(99, np.int64), ("a", "b"), alpha=0.1, class_conditional=False)
    assert sets.thresholds == pytest.approx((0.90, 0.90)) and sets.counts == (99, 99)
    assert sets.predict(np.array([[0.10, 0.90], [0.09, 0.91]])).tolist() == [
        [True, True],
        [False, True],
    ]


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_scores_by_hand(method):
    p_NK = np.array([[0.2, 0.5, 0.3]])
    expected = {"lac": [0.8, 0.5, 0.7], "aps": [1.0, 0.5, 0.8], "raps": [1.01, 0.5, 0.8]}[method]
    assert compute_scores(p_NK, method)[0] == pytest.approx(expected)
    if method != "lac":
        drawn = compute_scores(p_NK, method, np.array([0.5]))[0]
        assert drawn == pytest.approx(np.array(expected) - 0.5 * p_NK[0])


def test_small_classes_fall_back_and_say_so():
    p_NK, labels_N = draw(400)
    keep_N = (labels_N != 2) | (np.cumsum(labels_N == 2) <= 5)
    p_NK, labels_N = p_NK[keep_N], labels_N[keep_N]
    sets = fit_sets(p_NK, labels_N, CLASSES, alpha=0.1)
    pooled = fit_sets(p_NK, labels_N, CLASSES, alpha=0.1, class_conditional=False)
    assert sets.thresholds[2] == pooled.thresholds[0]
    assert sets.counts[2] == len(labels_N) > sets.counts[0]
    assert "own: c." in sets.fallbacks[0]
    with pytest.raises(DataError, match=r"need 9 calibration sources of the class c\. Found: 5"):
        fit_sets(p_NK, labels_N, CLASSES, alpha=0.1, on_few="error")
    with pytest.raises(DataError, match="need 99 calibration sources of the class c"):
        fit_sets(p_NK, labels_N, CLASSES, alpha=0.1, alpha_by_class={"c": 0.01})
    with pytest.raises(DataError, match="of all classes together"):
        fit_sets(p_NK[:9], labels_N[:9], CLASSES, alpha=0.05)
    with pytest.raises(DataError, match=r"need 19 calibration sources\. Found: 9"):
        fit_sets(p_NK[:9], labels_N[:9], CLASSES, alpha=0.05, class_conditional=False)


def test_a_floor_of_sensitivity_is_a_level_of_its_own():
    p_NK, labels_N = draw(3000)
    sets = fit_sets(p_NK, labels_N, CLASSES, alpha=0.2, alpha_by_class={"b": 0.01})
    assert sets.alphas == (0.2, 0.01, 0.2)
    new_NK, new_N = draw(3000, seed=1)
    coverage = measure_coverage(sets.predict(new_NK), new_N, CLASSES, sets)
    assert coverage.per_class["b"].value > 0.97 and coverage.per_class["a"].value < 0.85
    with pytest.raises(DataError, match="levels can be asked for"):
        fit_sets(p_NK, labels_N, CLASSES, alpha_by_class={"x": 0.1})


def test_copies_count_once():
    """Ten copies of every image add nothing: neither images nor sureness."""
    p_NK, labels_N = draw(60)
    copied = np.repeat(np.arange(60), 10)
    names = [str(i) for i in copied]
    one = fit_sets(p_NK, labels_N, CLASSES, alpha=0.2)
    many = fit_sets(p_NK[copied], labels_N[copied], CLASSES, alpha=0.2, sources=names)
    assert many == one
    careless = fit_sets(p_NK[copied], labels_N[copied], CLASSES, alpha=0.2)
    assert sum(careless.counts) == 600


def test_an_infinite_threshold_keeps_the_class_in_every_set():
    sets = ConformalSets(
        method="lac", class_conditional=True, alphas=(0.1, 0.1), thresholds=(None, 0.0),
        counts=(1, 99),
    )  # fmt: skip
    assert sets.predict(np.array([[0.0, 1.0], [0.5, 0.5]])).tolist() == [
        [True, True],
        [True, False],
    ]
    assert ConformalSets.model_validate_json(sets.model_dump_json()) == sets
    with pytest.raises(DataError, match="must have 2 classes"):
        sets.predict(np.ones((1, 3)) / 3)
    with pytest.raises(ValueError, match="one entry per class"):
        ConformalSets(
            method="lac",
            class_conditional=True,
            alphas=(0.1, 0.1),
            thresholds=(0.1,),
            counts=(1, 1),
        )


def test_the_band_tends_to_the_binomial_and_covers_more_for_few():
    low, high = compute_band(500, 0.1, 10**8)
    assert (low, high) == (binom(500, 0.9).ppf(0.005) / 500, binom(500, 0.9).ppf(0.995) / 500)
    wide = compute_band(500, 0.1, 50)
    assert wide[0] < low and wide[1] > high
    assert compute_band(10, 0.1, 3) == (1.0, 1.0)


def test_coverage_by_hand():
    sets = fit_sets(*draw(900), CLASSES, alpha=0.1)
    sets_NK = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    found = measure_coverage(sets_NK, np.array([0, 0, 1, 0]), CLASSES, sets)
    assert found.marginal.value == 0.5 and found.marginal.n_images == 4
    assert found.per_class["a"].value == pytest.approx(1 / 3)
    assert np.isnan(found.per_class["c"].value) and found.per_class["c"].holds
    assert (found.mean_size, found.empty_frac, found.single_frac) == (1.0, 0.25, 0.5)
    assert found.to_dict()["per_class"]["c"]["value"] is None
    with pytest.raises(DataError):
        measure_coverage(sets_NK[:0], np.zeros(0, np.int64), CLASSES, sets)


def test_other_images_are_noticed():
    rng = np.random.default_rng(0)
    home = rng.normal(0, 1, 500)
    gap, chance = compare_scores(home, rng.normal(0, 1, 500))
    assert gap < 0.12 and chance > 0.01
    gap, chance = compare_scores(home, rng.normal(1, 1, 500))
    assert gap > 0.3 and chance < 1e-6
    with pytest.raises(DataError):
        compare_scores(home, home[:0])


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(DataError, match="labelled images"):
        fit_sets(np.zeros((0, 3)), np.zeros(0, np.int64), CLASSES)
    with pytest.raises(DataError, match="labelled images"):
        fit_sets(np.zeros((2, 2)), np.zeros(2, np.int64), CLASSES)
