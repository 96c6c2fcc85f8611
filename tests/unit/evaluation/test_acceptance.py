"""Limits: the table of outcomes, and files that are wrong."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.errors import ConfigError
from leukoscope.evaluation.acceptance import (
    Judged,
    Limits,
    judge_all,
    judge_limit,
    load_limits,
    parse_limits,
)
from leukoscope.evaluation.agreement import compare_shares
from leukoscope.evaluation.intervals import compute_proportion, wilson
from leukoscope.interval import Interval

CLASSES = ("blast", "eosinophil", "neutrophil")


def build_limit(**content):
    return Limits.model_validate(content).list_limits()[0]


LOWER, UPPER = build_limit(min_accuracy=0.9), build_limit(max_ece=0.05)


@pytest.mark.parametrize(
    ("limit", "figure", "outcome"),
    [
        (LOWER, Interval(0.95, 0.92, 0.97), "pass"),
        (LOWER, Interval(0.95, 0.90, 0.97), "pass"),
        (LOWER, Interval(0.95, 0.89, 0.97), "undecided"),
        (LOWER, Interval(0.88, 0.80, 0.93), "undecided"),
        (LOWER, Interval(0.90, 0.85, 0.94), "undecided"),
        (LOWER, Interval(0.80, 0.75, 0.89), "fail"),
        (LOWER, Interval(math.nan, math.nan, math.nan), "not_measured"),
        (LOWER, None, "not_measured"),
        (LOWER, Interval(0.95, math.nan, math.nan), "undecided"),
        (UPPER, Interval(0.02, 0.01, 0.05), "pass"),
        (UPPER, Interval(0.02, 0.01, 0.06), "undecided"),
        (UPPER, Interval(0.08, 0.04, 0.12), "undecided"),
        (UPPER, Interval(0.08, 0.06, 0.12), "fail"),
    ],
)
def test_the_end_of_the_interval_decides(limit, figure, outcome):
    assert judge_limit(limit, figure, [1] * 100).outcome == outcome


def test_a_perfect_figure_from_few_cells_does_not_pass():
    judged = judge_limit(LOWER, wilson(10, 10), [1] * 10)
    assert judged.outcome == "undecided"
    n = 10 + judged.needed
    assert wilson(n, n).low >= 0.9 > wilson(n - 1, n - 1).low
    assert judge_limit(LOWER, wilson(n, n), [1] * n).outcome == "pass"


def test_cells_that_share_a_source_need_more():
    hits = np.array([True] * 28 + [False] * 2)
    sources = [str(i) for i in range(30)]
    alone = judge_limit(LOWER, compute_proportion(hits, sources), [1] * 30).needed
    copied = compute_proportion(np.repeat(hits, 4), np.repeat(sources, 4).tolist())
    four = judge_limit(LOWER, copied, [4] * 30).needed
    assert four + 120 == pytest.approx(4 * (alone + 30), rel=0.02)


def test_few_large_sources_need_others_not_one_cell_more():
    """120 cells would do, were they not of three sources only: the number is of whole sources."""
    hits = np.concatenate([np.arange(40) >= wrong for wrong in (2, 0, 5)])
    found = compute_proportion(hits, [str(i // 40) for i in range(120)])
    judged = judge_limit(build_limit(min_accuracy=0.8), found, [40] * 3)
    assert judged.outcome == "undecided"
    assert judged.needed in (80, 120)  # with the same again it is decided
    again = compute_proportion(np.tile(hits, 2), [str(i // 40) for i in range(240)])
    assert judge_limit(build_limit(min_accuracy=0.8), again, [40] * 6).outcome == "pass"


SEEN = build_limit(min_sensitivity={"blast": 0.8})


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_chance_hardly_breaks_a_limit_that_is_kept(n):
    """Nine cells in ten are found: how often are n cells so unlucky that 80 % counts as broken?"""
    sizes = [1] * n
    broken = [judge_limit(SEEN, wilson(k, n), sizes).outcome == "fail" for k in range(n + 1)]
    assert sum(binom.pmf(k, n, 0.9) for k in range(n + 1) if broken[k]) < 0.025
    assert any(broken) == (n > 2)  # but none of many is no chance


def test_one_missed_cell_is_judged_by_the_exact_interval_and_shown_with_it():
    judged = judge_limit(SEEN, wilson(0, 1), [1])
    assert judged.outcome == "undecided"
    assert judged.figure.high == pytest.approx(0.975)
    assert judged.needed == 2  # none of three
    ten = judge_limit(SEEN, wilson(9, 10), [1] * 10)
    assert ten.figure == wilson(9, 10)
    mean = judge_limit(build_limit(min_balanced_accuracy=0.8), wilson(0, 1), [1])
    assert mean.outcome == "undecided"


def lose(here, home, wanted=0.2, n=172):
    """Judge a loss of accuracy of `n` cells here against home."""
    test = compare_shares(here, n, home, 72, independent=False)
    drop = Interval(-test.difference.value, -test.difference.high, -test.difference.low)
    limit = build_limit(max_accuracy_drop=wanted)
    return judge_limit(limit, drop, [1] * n, home=test)


def test_cells_here_tell_nothing_more_of_home():
    home = Interval(0.25, 0.115, 0.460)  # its half alone is wider than the limit
    judged = lose(wilson(43, 172), home)
    assert judged.outcome == "undecided" and judged.needed is None
    assert "little is known of home" in judged.reason
    assert lose(wilson(0.25 * 20000, 20000), home, n=20000).outcome == "undecided"


@pytest.mark.parametrize(("share", "outcome"), [(0.85, "pass"), (0.7, "fail")])
def test_so_many_cells_more_decide_a_loss(share, outcome):
    home = Interval(0.95, 0.92, 0.97)
    n = 60 + lose(wilson(share * 60, 60), home, n=60).needed
    assert lose(wilson(share * n, n), home, n=n).outcome == outcome
    assert lose(wilson(share * (n - 1), n - 1), home, n=n - 1).outcome == "undecided"


def test_a_figure_on_the_limit_needs_no_invented_number():
    on = judge_limit(LOWER, wilson(90, 100), [1] * 100)
    near = judge_limit(LOWER, wilson(9001, 10000), [1] * 10000)
    assert on.needed is None and "on the limit" in on.reason
    assert near.needed is None and "no feasible number" in near.reason


def test_other_figures_shrink_with_the_root():
    judged = judge_limit(build_limit(min_kappa=0.5), Interval(0.7, 0.3, 0.9), [1] * 50)
    assert judged.needed == pytest.approx(150, abs=1)  # the interval must halve: four times as many


def test_what_is_missing_says_why():
    judged = judge_limit(LOWER, None, [], missing="no cell of this class")
    assert judged.reason == "no cell of this class" and judged.needed is None


@pytest.mark.parametrize(
    ("outcomes", "all_of_them"),
    [
        ((), "no_limits"),
        (("pass", "pass"), "pass"),
        (("pass", "undecided"), "undecided"),
        (("pass", "not_measured"), "undecided"),
        (("undecided", "fail", "not_measured"), "fail"),
    ],
)
def test_all_limits_must_be_kept(outcomes, all_of_them):
    judged = tuple(Judged(LOWER, None, outcome, "") for outcome in outcomes)
    assert judge_all(judged) == all_of_them


def test_a_file_is_read_with_names_as_data_sets_spell_them(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text(
        'min_accuracy = 0.9\norder = ["BLASTS", "neutrophils"]\n'
        "[min_sensitivity]\nEOS = 0.8\nmyeloblast = 0.95\n"
        '[labels]\n"band" = "Neutrophil"\n[cost.blast]\nNEU = 10\n'
    )
    found = load_limits(path, CLASSES)
    assert found.order == ("blast", "neutrophil")
    assert found.labels == {"band_neutrophil": "neutrophil"}
    assert found.cost == {"blast": {"neutrophil": 10}}
    assert [one.key for one in found.list_limits()] == [
        "min_accuracy", "min_sensitivity.eosinophil", "min_sensitivity.blast",
    ]  # fmt: skip
    assert found.list_limits()[2].figure == "recall/blast"


def test_every_limit_names_a_figure():
    content = {
        key: {"blast": 0.5} if key in ("min_sensitivity", "min_specificity") else 0.5
        for key in Limits.model_fields
        if key.startswith(("min_", "max_"))
    }
    limits = Limits.model_validate(content).list_limits()
    assert len(limits) == len(content) == 14
    assert all(one.side == one.key[:3] for one in limits)


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
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_limits(path, CLASSES)


def test_a_file_that_is_not_there_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="readable"):
        load_limits(tmp_path / "none.toml", CLASSES)
    assert parse_limits({}, CLASSES, "nothing") == Limits()
