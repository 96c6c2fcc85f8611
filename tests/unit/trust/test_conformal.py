"""Prediction sets: ranks by hand, hard cases, and what a measured coverage is compared with."""

import numpy as np
import pytest
from scipy.stats import beta
from tests.builders.scores import build_sets
from tests.builders.scores import draw_calibrated as draw

from leukoscope.errors import DataError, TooFewSourcesError
from leukoscope.evaluation.coverage import measure_coverage
from leukoscope.trust.conformal import (
    ConformalSets,
    compute_coverage_range,
    compute_rank,
    compute_threshold,
    count_needed,
    fit_sets,
)
from leukoscope.trust.notes import Note

CLASSES = ("a", "b", "c")


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


def test_small_classes_fall_back_and_say_so():
    p_NK, labels_N = draw(400)
    keep_N = (labels_N != 2) | (np.cumsum(labels_N == 2) <= 5)
    p_NK, labels_N = p_NK[keep_N], labels_N[keep_N]
    sets = fit_sets(p_NK, labels_N, CLASSES, alpha=0.1)
    pooled = fit_sets(p_NK, labels_N, CLASSES, alpha=0.1, class_conditional=False)
    own = (1 - p_NK[labels_N == 2, 2]).max()
    assert sets.thresholds[2] == max(pooled.thresholds[0], own)
    assert sets.counts[2] == 5 and sets.borrowed == (False, False, True)
    values = {"label": "c", "n_sources": 5, "n_needed": 9, "nominal": 0.9}
    assert sets.fallbacks == (Note("few_sources_for_label", values),)
    none = fit_sets(p_NK[labels_N < 2], labels_N[labels_N < 2], CLASSES, alpha=0.1)
    assert none.counts[2] == 0 and none.fallbacks[0].values["n_sources"] == 0
    with pytest.raises(TooFewSourcesError, match="of the class c need 99 calibration") as caught:
        fit_sets(p_NK, labels_N, CLASSES, alpha=0.1, alpha_by_class={"c": 0.01})
    error = caught.value
    assert (error.n_sources, error.n_needed, error.label) == (5, 99, "c")
    with pytest.raises(DataError, match="of all classes together"):
        fit_sets(p_NK[:9], labels_N[:9], CLASSES, alpha=0.05)
    with pytest.raises(DataError, match=r"need 19 calibration sources\. Found: 9"):
        fit_sets(p_NK[:9], labels_N[:9], CLASSES, alpha=0.05, class_conditional=False)


def test_a_least_sensitivity_is_a_level_of_its_own():
    p_NK, labels_N = draw(3000)
    sets = fit_sets(p_NK, labels_N, CLASSES, alpha=0.2, alpha_by_class={"b": 0.01})
    assert sets.alphas == (0.2, 0.01, 0.2)
    new_NK, new_N = draw(3000, seed=1)
    coverage = measure_coverage(sets.predict(new_NK), new_N, CLASSES, sets)
    assert coverage.per_class["b"].value > 0.97 and coverage.per_class["a"].value < 0.85
    with pytest.raises(DataError, match="levels can be given for"):
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
    sets = build_sets((0.1, 0.1), (1, 99), thresholds=(None, 0.0))
    assert sets.predict(np.array([[0.0, 1.0], [0.5, 0.5]])).tolist() == [
        [True, True],
        [True, False],
    ]
    assert ConformalSets.model_validate_json(sets.model_dump_json()) == sets
    with pytest.raises(DataError, match="the 2 classes"):
        sets.predict(np.ones((1, 3)) / 3)
    with pytest.raises(ValueError, match="one entry per class"):
        build_sets((0.1, 0.1), (1, 1), thresholds=(0.1,))


def test_images_of_a_source_share_its_weight():
    """By hand: sources of 1, 2 and 4 images; (3 + 1)(1 - 0.5) = 2 sources must lie below."""
    scores = np.array([0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.6])
    names = ["a", "b", "b", "c", "c", "c", "c"]
    # Weights 1, 1/2, then a quarter each: 1 + 1/2 + 2/4 = 2 at 0.4.
    assert compute_threshold(scores, 0.5, names) == 0.4
    assert compute_threshold(scores, 0.2, names) == np.inf
    assert compute_threshold(scores, 0.5) == 0.4  # rank 4 of 7
    assert compute_threshold(scores, 0.3) == 0.6  # rank 6 of 7


def test_classes_without_a_level_of_their_own_share_a_threshold():
    p_NK, labels_N = draw(900)
    sets = fit_sets(
        p_NK, labels_N, CLASSES, alpha=0.2, class_conditional=False, alpha_by_class={"a": 0.02}
    )
    assert sets.groups == (0, 1, 1) and sets.thresholds[1] == sets.thresholds[2]
    rest = labels_N > 0
    scores = 1 - p_NK[np.arange(900), labels_N]
    assert sets.thresholds[1] == compute_threshold(scores[rest], 0.2)
    assert sets.thresholds[0] == compute_threshold(scores[~rest], 0.02)
    found = measure_coverage(sets.predict(p_NK), labels_N, CLASSES, sets)
    assert [x.guaranteed for x in found.per_class.values()] == [True, False, False]


def test_nothing_to_fit_on_is_rejected():
    with pytest.raises(DataError, match="labelled images"):
        fit_sets(np.zeros((0, 3)), np.zeros(0, np.int64), CLASSES)
    with pytest.raises(DataError, match="labelled images"):
        fit_sets(np.zeros((2, 2)), np.zeros(2, np.int64), CLASSES)
    with pytest.raises(DataError, match="sum to 1"):
        fit_sets(np.full((2, 3), np.nan), np.zeros(2, np.int64), CLASSES)
    with pytest.raises(DataError, match="labels must lie"):
        fit_sets(np.full((2, 3), 1 / 3), np.array([0, -1]), CLASSES)
    with pytest.raises(DataError, match="between 0 and 1"):
        fit_sets(*draw(30), CLASSES, alpha=1.0)


def test_the_range_of_one_calibration_set_is_that_of_the_beta_distribution():
    low, high = compute_coverage_range(199, 0.02)
    assert (low, high) == pytest.approx(beta(196, 4).ppf([0.025, 0.975]))
    assert compute_coverage_range(10, 0.01) == (1.0, 1.0)
