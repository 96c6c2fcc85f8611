"""AcceptanceCriteria: the table of outcomes, and files that are wrong."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.errors import ConfigError
from leukoscope.evaluation.acceptance import (
    AcceptanceCriteria,
    Criterion,
    CriterionResult,
    Look,
    compute_drop,
    decide_acceptance,
    evaluate_criterion,
    load_criteria,
    parse_criteria,
)
from leukoscope.evaluation.agreement import compare_shares
from leukoscope.evaluation.intervals import compute_proportion, wilson
from leukoscope.interval import Interval

CLASSES = ("blast", "eosinophil", "neutrophil")


def build_criterion(**content):
    return AcceptanceCriteria.model_validate(content).list_criteria()[0]


LOWER, UPPER = build_criterion(min_accuracy=0.9), build_criterion(max_ece=0.05)


@pytest.mark.parametrize(
    (("criterion", "figure", "outcome")),
    [
        (LOWER, Interval(0.95, 0.92, 0.97), "met"),
        (LOWER, Interval(0.95, 0.90, 0.97), "met"),
        (LOWER, Interval(0.95, 0.89, 0.97), "undecided"),
        (LOWER, Interval(0.88, 0.80, 0.93), "undecided"),
        (LOWER, Interval(0.90, 0.85, 0.94), "undecided"),
        (LOWER, Interval(0.80, 0.75, 0.89), "not_met"),
        (LOWER, Interval(math.nan, math.nan, math.nan), "not_measured"),
        (LOWER, None, "not_measured"),
        (LOWER, Interval(0.95, math.nan, math.nan), "undecided"),
        (UPPER, Interval(0.02, 0.01, 0.05), "met"),
        (UPPER, Interval(0.02, 0.01, 0.06), "undecided"),
        (UPPER, Interval(0.08, 0.04, 0.12), "undecided"),
        (UPPER, Interval(0.08, 0.06, 0.12), "not_met"),
    ],
)
def test_the_end_of_the_interval_decides(criterion, figure, outcome):
    assert evaluate_criterion(criterion, figure, [1] * 100).outcome == outcome


def compute_met(criterion, n, truth, look):
    """The chance that `n` cells of their own sources meet a criterion, over all outcomes."""
    outcomes = [
        evaluate_criterion(criterion, wilson(k, n), [1] * n, look=look).outcome
        for k in range(n + 1)
    ]
    met = [k for k, outcome in enumerate(outcomes) if outcome == "met"]
    return binom.pmf(met, n, truth).sum()


@pytest.mark.parametrize(("hits", "n"), [(48, 50), (95, 100), (10, 10)])
@pytest.mark.parametrize("look", [Look(), Look(2, 4)], ids=str)
def test_so_many_cells_meet_a_criterion_in_8_of_10_cases(hits, n, look):
    needed = evaluate_criterion(LOWER, wilson(hits, n), [1] * n, look=look).needed
    power = compute_met(LOWER, needed, hits / n, look)
    assert 0.8 <= power < 0.85 or hits == n
    assert compute_met(LOWER, needed - 1, hits / n, look) < 0.8


def test_a_maximum_needs_as_many_as_the_minimum_of_the_rest():
    most = build_criterion(max_rejected=0.1)
    needed = evaluate_criterion(most, wilson(3, 100), [1] * 100).needed
    assert needed == evaluate_criterion(LOWER, wilson(97, 100), [1] * 100).needed


def test_a_perfect_figure_from_few_cells_does_not_pass():
    result = evaluate_criterion(LOWER, wilson(10, 10), [1] * 10)
    assert result.outcome == "undecided"
    n = result.needed
    assert wilson(n, n).low >= 0.9 > wilson(n - 1, n - 1).low
    assert evaluate_criterion(LOWER, wilson(n, n), [1] * n).outcome == "met"


def test_cells_that_share_a_source_need_more():
    hits = np.array([True] * 28 + [False] * 2)
    sources = [str(i) for i in range(30)]
    alone = evaluate_criterion(LOWER, compute_proportion(hits, sources), [1] * 30).needed
    copied = compute_proportion(np.repeat(hits, 4), np.repeat(sources, 4).tolist())
    four = evaluate_criterion(LOWER, copied, [4] * 30).needed
    assert four % 4 == 0 and four == pytest.approx(4 * alone, rel=0.1)


def test_few_large_sources_need_others_not_one_cell_more():
    """120 cells would do, were they not of three sources only: the number is of whole sources."""
    hits = np.concatenate([np.arange(40) >= wrong for wrong in (2, 0, 5)])
    found = compute_proportion(hits, [str(i // 40) for i in range(120)])
    result = evaluate_criterion(build_criterion(min_accuracy=0.8), found, [40] * 3)
    assert result.outcome == "undecided"
    assert result.needed % 40 == 0 and 120 < result.needed <= 400
    n = result.needed // 120 + 1
    again = compute_proportion(np.tile(hits, n), [str(i // 40) for i in range(120 * n)])
    enough = evaluate_criterion(build_criterion(min_accuracy=0.8), again, [40] * 3 * n)
    assert enough.outcome == "met"


def test_each_planned_look_is_decided_by_a_wider_interval():
    found = wilson(95, 100)
    single, third = (
        evaluate_criterion(LOWER, found, [1] * 100, look=x) for x in (Look(), Look(2, 3))
    )
    assert Look(2, 3).level == pytest.approx(1 - 0.05 / 3)
    assert single.figure == found
    assert third.figure.low == pytest.approx(wilson(95, 100, 1 - 0.05 / 3).low)
    assert third.needed > single.needed
    kappa = build_criterion(min_kappa=0.5)
    wide = evaluate_criterion(kappa, Interval(0.7, 0.51, 0.8), [1] * 50, look=Look(1, 8))
    assert wide.outcome == "undecided" and wide.figure.low < 0.45
    assert evaluate_criterion(kappa, Interval(0.7, 0.51, 0.8), [1] * 50).outcome == "met"


def test_a_wider_interval_of_sources_is_the_one_of_that_level():
    generator = np.random.default_rng(0)
    hits = (generator.random((30, 8)) < generator.beta(9, 1, (30, 1))).ravel()
    sources = np.repeat(np.arange(30), 8).astype(str).tolist()
    found = evaluate_criterion(
        build_criterion(min_accuracy=0.5),
        compute_proportion(hits, sources),
        [8] * 30,
        look=Look(1, 4),
    )
    wanted = compute_proportion(hits, sources, Look(1, 4).level)
    assert found.figure.low == pytest.approx(wanted.low, abs=0.01)
    assert found.figure.high == pytest.approx(wanted.high, abs=0.01)


SEEN = build_criterion(min_sensitivity={"blast": 0.8})


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_chance_hardly_breaks_a_limit_that_is_kept(n):
    """Nine cells in ten are found: how often are n cells so unlucky that 80 % counts as not met?"""
    sizes = [1] * n
    missed = [
        evaluate_criterion(SEEN, wilson(k, n), sizes).outcome == "not_met" for k in range(n + 1)
    ]
    assert sum(binom.pmf(k, n, 0.9) for k in range(n + 1) if missed[k]) < 0.025
    assert any(missed) == (n > 2)  # but none of many is no chance


def test_one_missed_cell_is_decided_by_the_exact_interval_and_shown_with_it():
    result = evaluate_criterion(SEEN, wilson(0, 1), [1])
    assert result.outcome == "undecided" and result.reason == "figure_misses_threshold"
    assert result.figure.high == pytest.approx(0.975)
    ten = evaluate_criterion(SEEN, wilson(9, 10), [1] * 10)
    assert ten.figure == wilson(9, 10)
    mean = evaluate_criterion(build_criterion(min_balanced_accuracy=0.8), wilson(0, 1), [1])
    assert mean.outcome == "undecided"


def lose(external, internal, wanted=0.2, n=172):
    """Decide a loss of accuracy of `n` external cells against the internal test set."""
    test = compare_shares(external, internal)
    criterion = build_criterion(max_accuracy_drop=wanted)
    return evaluate_criterion(criterion, compute_drop(test), [1] * n, comparison=test)


def test_external_cells_say_nothing_more_of_the_internal_ones():
    internal = Interval(0.25, 0.115, 0.460)  # its half alone is wider than the criterion
    result = lose(wilson(43, 172), internal)
    assert result.outcome == "undecided" and result.needed is None
    assert lose(wilson(0.25 * 20000, 20000), internal, n=20000).outcome == "undecided"


def test_so_many_cells_meet_a_loss_in_8_of_10_cases():
    """The internal test set is what it is; only external cells are drawn again."""
    internal = Interval(0.95, 0.92, 0.97)
    n = lose(wilson(0.85 * 60, 60), internal, n=60).needed
    met = [k for k in range(n + 1) if lose(wilson(k, n), internal, n=n).outcome == "met"]
    assert binom.pmf(met, n, 0.85).sum() == pytest.approx(0.8, abs=0.06)
    assert lose(wilson(0.7 * 60, 60), internal, n=60).needed is None


def test_a_figure_on_the_limit_needs_no_invented_number():
    on = evaluate_criterion(LOWER, wilson(90, 100), [1] * 100)
    near = evaluate_criterion(LOWER, wilson(9001, 10000), [1] * 10000)
    assert on.needed is None and on.reason == "figure_on_threshold"
    assert near.needed is None and near.reason == "not_feasible"
    below = evaluate_criterion(LOWER, wilson(88, 100), [1] * 100)
    assert below.needed is None and below.reason == "figure_misses_threshold"


def test_other_figures_shrink_with_the_root():
    result = evaluate_criterion(build_criterion(min_kappa=0.5), Interval(0.7, 0.3, 0.9), [1] * 50)
    # The interval must halve, and leave room for luck: 4 (1 + 0.84 / 1.96)^2 times as many.
    assert result.needed == pytest.approx(409, abs=1)


def test_what_is_missing_says_why():
    result = evaluate_criterion(LOWER, None, [], missing="no_cell_of_class")
    assert result.reason == "no_cell_of_class" and result.needed is None


@pytest.mark.parametrize(
    ("outcomes", "all_of_them"),
    [
        ((), "no_criteria"),
        (("met", "met"), "pass"),
        (("met", "undecided"), "undecided"),
        (("met", "not_measured"), "undecided"),
        (("undecided", "not_met", "not_measured"), "fail"),
    ],
)
def test_all_limits_must_be_kept(outcomes, all_of_them):
    result = tuple(CriterionResult(LOWER, None, outcome, "undefined") for outcome in outcomes)
    assert decide_acceptance(result) == all_of_them


def test_a_file_is_read_with_names_as_data_sets_spell_them(tmp_path):
    path = tmp_path / "criteria.toml"
    path.write_text(
        'min_accuracy = 0.9\norder = ["BLASTS", "neutrophils"]\n'
        "[min_sensitivity]\nEOS = 0.8\nmyeloblast = 0.95\n"
        '[labels]\n"band" = "Neutrophil"\n[cost.blast]\nNEU = 10\n'
    )
    found = load_criteria(path, CLASSES)
    assert found.order == ("blast", "neutrophil")
    assert found.labels == {"band_neutrophil": "neutrophil"}
    assert found.cost == {"blast": {"neutrophil": 10}}
    assert found.list_criteria() == (
        Criterion("min_accuracy", "", 0.9),
        Criterion("min_sensitivity", "eosinophil", 0.8),
        Criterion("min_sensitivity", "blast", 0.95),
    )
    assert found.list_criteria()[2].figure == "sensitivity"


def test_every_limit_names_a_figure():
    content = {
        key: {"blast": 0.5} if key in ("min_sensitivity", "min_specificity") else 0.5
        for key in AcceptanceCriteria.model_fields
        if key.startswith(("min_", "max_"))
    }
    criteria = AcceptanceCriteria.model_validate(content).list_criteria()
    assert len(criteria) == len(content) == 14
    assert [one.is_minimum for one in criteria] == [one.key.startswith("min") for one in criteria]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_acuracy = 0.9", "did you mean 'min_accuracy'"),
        ("min_accuracy = 90", "min_accuracy"),
        ("min_accuracy = ", "TOML"),
        ("[min_sensitivity]\nbasophil = 0.9", "basophil"),
        ('order = ["blast", "platelet"]', "platelet"),
        ('[labels]\nx = "platelet"', "platelet"),
        ("cost = 3", "cost"),
        ("[cost]\nblast = 3", "cost"),
    ],
)
def test_files_that_are_wrong_are_rejected(tmp_path, text, message):
    path = tmp_path / "criteria.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_criteria(path, CLASSES)


def test_a_file_that_is_not_there_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="readable"):
        load_criteria(tmp_path / "none.toml", CLASSES)
    assert parse_criteria({}, CLASSES, "nothing") == AcceptanceCriteria()
