"""Kappa against scikit-learn and closed forms, paired tests against SciPy and full enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact, norm
from sklearn.metrics import cohen_kappa_score

from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation.agreement import (
    build_cost_weights,
    build_order_weights,
    compare_shares,
    compute_case_mix_effect,
    compute_expected_accuracy,
    compute_kappa,
    compute_mcnemar,
    find_order,
)
from leukoscope.evaluation.intervals import compute_intervals, wilson
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import ScoreTable

LETTERS = ["a", "b", "c", "d"]


def draw_readers(n, k=4, agree=0.7, seed=0):
    generator = np.random.default_rng(seed)
    first = generator.integers(0, k, n)
    second = np.where(generator.random(n) < agree, first, generator.integers(0, k, n))
    return first, second


def name_rows(n):
    return [str(i) for i in range(n)]


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_weighted_kappa_is_scikit_learns(weights):
    first, second = draw_readers(300)
    ours = compute_kappa(
        first, second, build_order_weights(LETTERS, LETTERS, weights), name_rows(300)
    )
    assert ours.value == pytest.approx(cohen_kappa_score(first, second, weights=weights))


def test_plain_kappa_is_that_of_the_metrics_with_its_interval():
    first, second = draw_readers(200, seed=1)
    sources = [str(i // 3) for i in range(200)]
    logits = np.eye(4, dtype=np.float32)[second] * 5
    table = ScoreTable(
        tuple(LETTERS), *([tuple(name_rows(200))] * 2), tuple(sources), ("test",) * 200,
        first, logits, np.zeros((200, 0), np.float32), True,
    )  # fmt: skip
    wanted = compute_intervals(table).overall["kappa"]
    found = compute_kappa(first, second, 1.0 - np.eye(4), sources)
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert (found.value, found.low, found.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )


def compute_fleiss_error(first, second, weights):
    """Standard error of weighted kappa (Fleiss, Cohen and Everitt 1969, with their w = 1 - v)."""
    k, n = len(weights), len(first)
    w = 1 - weights
    p = np.zeros((k, k))
    np.add.at(p, (first, second), 1 / n)
    row, column = p.sum(1), p.sum(0)
    seen, chance = (w * p).sum(), (w * np.outer(row, column)).sum()
    w_row, w_column = w @ column, row @ w
    inner = w * (1 - chance) - (w_row[:, None] + w_column[None, :]) * (1 - seen)
    variance = (p * inner**2).sum() - (seen * chance - 2 * chance + seen) ** 2
    return math.sqrt(variance / n) / (1 - chance) ** 2


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_interval_has_the_width_of_the_closed_form(weights):
    first, second = draw_readers(1500, seed=2)
    matrix = (
        1.0 - np.eye(4) if weights == "none" else build_order_weights(LETTERS, LETTERS, weights)
    )
    found = compute_kappa(first, second, matrix, name_rows(1500))
    error = compute_fleiss_error(first, second, matrix)
    assert (found.high - found.low) / 2 == pytest.approx(norm.ppf(0.975) * error, rel=0.08)


def test_copies_of_a_source_add_no_certainty():
    first, second = draw_readers(60, seed=4)
    alone = compute_kappa(first, second, 1.0 - np.eye(4), name_rows(60))
    copied = compute_kappa(
        np.repeat(first, 10), np.repeat(second, 10), 1.0 - np.eye(4),
        [str(i // 10) for i in range(600)],
    )  # fmt: skip
    assert copied.value == pytest.approx(alone.value)
    assert copied.high - copied.low >= 0.95 * (alone.high - alone.low)


def test_readers_that_guess_agree_by_chance_only():
    first, second = draw_readers(400, agree=0.0, seed=5)
    found = compute_kappa(first, second, 1.0 - np.eye(4), name_rows(400))
    assert found.low < 0 < found.high and abs(found.value) < 0.1


def test_one_name_throughout_has_no_kappa():
    same = np.zeros(5, np.int64)
    found = compute_kappa(same, same, 1.0 - np.eye(2), name_rows(5))
    assert math.isnan(found.value) and math.isnan(found.low)
    with pytest.raises(DataError, match="at least one image"):
        compute_kappa(same[:0], same[:0], 1.0 - np.eye(2), [])


def test_costs_weigh_each_confusion():
    first, second = draw_readers(100, k=3, seed=6)
    cost = {"a": {"b": 4.0, "review": 1.0}, "c": {"a": 0.0}}
    weights = build_cost_weights(["a", "b", "c"], cost)
    assert weights.tolist() == [[0, 1, 0.25], [0.25, 0, 0.25], [0, 0.25, 0]]
    seen = np.mean([weights[i, j] for i, j in zip(first, second, strict=True)])
    chance = np.mean([weights[i, j] for i, j in itertools.product(first, second)])
    found = compute_kappa(first, second, weights, name_rows(100))
    assert found.value == pytest.approx(1 - seen / chance)


@pytest.mark.parametrize(
    "cost", [{"x": {"a": 1}}, {"a": {"a": 1}}, {"a": {"b": -1}}, {"a": {"b": 0}, "b": {"a": 0}}]
)
def test_costs_that_make_no_sense_are_rejected(cost):
    with pytest.raises(ConfigError):
        build_cost_weights(["a", "b"], cost)


def test_classes_outside_the_order_are_the_worst_confusion():
    weights = build_order_weights(["a", "b", "c", "x"], ["a", "b", "c"], "linear")
    assert weights[0].tolist() == [0, 0.5, 1, 1]
    assert weights[3].tolist() == [1, 1, 1, 0]
    for order in (["a"], ["a", "a"], ["a", "q"]):
        with pytest.raises(ConfigError, match="order"):
            build_order_weights(["a", "b", "c", "x"], order, "linear")


def test_kinds_without_an_order_get_none():
    assert find_order(["neutrophil", "eosinophil", "monocyte", "blast", "myelocyte"]) == ()
    assert find_order(["segmented_neutrophil", "band_neutrophil", "metamyelocyte"]) == (
        "metamyelocyte", "band_neutrophil", "segmented_neutrophil",
    )  # fmt: skip


# -- paired ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("only", [(9, 2), (0, 5), (3, 3), (0, 0), (30, 12)])
def test_mcnemar_of_single_images_is_the_binomial_test(only):
    b, c = only
    first = np.array([True] * b + [False] * c + [True] * 6 + [False] * 2)
    second = np.array([False] * b + [True] * c + [True] * 6 + [False] * 2)
    found = compute_mcnemar(first, second, name_rows(len(first)))
    wanted = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert found.p_value == pytest.approx(wanted)
    assert (found.first_only, found.second_only, found.both, found.neither) == (b, c, 6, 2)
    assert found.difference.low <= (b - c) / len(first) <= found.difference.high


def test_mcnemar_of_sources_counts_every_change_of_sides():
    generator = np.random.default_rng(0)
    first, second = generator.random(40) < 0.8, generator.random(40) < 0.5
    sources = [str(i) for i in generator.integers(0, 9, 40)]
    terms = [
        sum(int(first[i]) - int(second[i]) for i in range(40) if sources[i] == s)
        for s in set(sources)
    ]
    sums = [sum(np.array(signs) * terms) for signs in itertools.product((1, -1), repeat=len(terms))]
    wanted = np.mean([abs(x) >= abs(sum(terms)) for x in sums])
    assert compute_mcnemar(first, second, sources).p_value == pytest.approx(wanted)


def test_copies_prove_nothing_more():
    first = np.array([True] * 6 + [False] + [True] * 5)
    second = np.array([False] * 6 + [True] + [True] * 5)
    alone = compute_mcnemar(first, second, name_rows(12))
    copied = compute_mcnemar(
        np.repeat(first, 20), np.repeat(second, 20), [str(i // 20) for i in range(240)]
    )
    naive = compute_mcnemar(np.repeat(first, 20), np.repeat(second, 20), name_rows(240))
    assert copied.p_value == pytest.approx(alone.p_value)
    assert naive.p_value < 1e-6 < alone.p_value
    assert copied.difference.low <= alone.difference.low + 0.02


def test_a_paired_test_needs_pairs():
    for first, second, sources in (([], [], []), ([True], [True, False], ["a"])):
        with pytest.raises(DataError, match="both readers"):
            compute_mcnemar(np.array(first, bool), np.array(second, bool), sources)


def test_equal_readers_differ_by_nothing_but_with_an_interval():
    hits = np.array([True] * 50)
    found = compute_mcnemar(hits, hits, name_rows(50)).difference
    assert found.value == 0 and -0.1 < found.low < 0 < found.high < 0.1


# -- unpaired -------------------------------------------------------------------------------------


def test_shares_of_other_cells_are_newcombes_example():
    found = compare_shares(wilson(56, 70), wilson(48, 80), n_external=70, n_internal=80)
    assert found.difference.value == pytest.approx(0.2)
    assert found.difference.low == pytest.approx(0.0524, abs=5e-5)
    assert found.difference.high == pytest.approx(0.3339, abs=5e-5)
    assert found.p_value == pytest.approx(fisher_exact([[56, 14], [48, 32]])[1])
    clustered = compare_shares(wilson(56, 70), wilson(48, 80))
    assert math.isnan(clustered.p_value) and clustered.difference == found.difference
    nothing = compare_shares(wilson(0, 0), wilson(48, 80), n_internal=80)
    assert math.isnan(nothing.difference.value) and math.isnan(nothing.p_value)


def test_the_case_mix_alone_changes_accuracy():
    recalls = [
        Interval(1.0, 0.9, 1.0),
        Interval(0.5, 0.4, 0.6),
        Interval(math.nan, *[math.nan] * 2),
    ]
    found = compute_expected_accuracy(np.array([1.0, 3.0, 0.0]), recalls)
    assert found.value == pytest.approx(0.625)
    assert found.low == pytest.approx(0.625 - math.hypot(0.025, 0.075))
    assert compute_expected_accuracy(np.array([1.0, 3.0, 1.0]), recalls) is None
    assert compute_expected_accuracy(np.zeros(3), recalls) is None


def test_the_effect_of_the_case_mix_is_what_it_adds_to_the_accuracy_expected():
    recalls = [wilson(90, 100), wilson(60, 100), wilson(99, 100)]
    external, internal = np.array([10.0, 80, 10]), np.array([100.0, 100, 100])
    found = compute_case_mix_effect(external, internal, recalls)
    apart = (
        compute_expected_accuracy(external, recalls),
        compute_expected_accuracy(internal, recalls),
    )
    assert found.value == pytest.approx(apart[0].value - apart[1].value)
    assert found.low < found.value < found.high < 0
    # A class less common here, were its sensitivity higher, would make the difference larger.
    sharper = [
        Interval(0.9, 0.9, 0.95),
        *(Interval(x.value, x.value, x.value) for x in recalls[1:]),
    ]
    only = compute_case_mix_effect(external, internal, sharper)
    assert only.low == pytest.approx(only.value - 0.05 * (1 / 3 - 0.1)) and only.high == only.value
    same = compute_case_mix_effect(3 * internal, internal, recalls)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    unknown = [UNDEFINED, *recalls[1:]]
    assert compute_case_mix_effect(external, internal, unknown) is None


def test_a_sensitivity_at_its_end_moves_the_case_mix_to_one_side_only():
    """What is found always cannot be found more often where it is more common."""
    recalls = [wilson(20, 20), wilson(15, 20), wilson(0, 20)]
    found = compute_case_mix_effect(
        np.array([50.0, 20, 30]), np.array([20.0, 60, 20]), recalls
    )  # weights 0.3, -0.4, 0.1
    always, often, never = recalls
    assert found.high - found.value == pytest.approx(
        math.hypot(0.4 * (0.75 - often.low), 0.1 * never.high)
    )
    assert found.value - found.low == pytest.approx(
        math.hypot(0.3 * (1 - always.low), 0.4 * (often.high - 0.75))
    )
