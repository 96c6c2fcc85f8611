"""Which sentence a validation gets; the wording itself is in the golden pages."""

import math
from dataclasses import replace
from functools import partial

import pytest
from tests.builders import validation as cells_of

from leukoscope.evaluation.acceptance import (
    AcceptanceCriteria,
    Criterion,
    CriterionKey,
    CriterionResult,
    Look,
)
from leukoscope.evaluation.subgroups import Subgroup, SubgroupTable
from leukoscope.evaluation.validation import ReferenceComparison
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.labels import is_critical
from leukoscope.report import validation_words as words
from leukoscope.report.frame import render_html
from leukoscope.report.page import render_text
from leukoscope.report.validation_page import describe_validation


@pytest.fixture(scope="module")
def found():
    return cells_of.build_validation()


@pytest.mark.parametrize(
    ("acceptance", "outcomes", "expected"),
    [
        ("no_criteria", [], "Not assessed"),
        ("pass", ["met"], "the criterion is met"),
        ("pass", ["met", "met"], "all 2 criteria are met"),
        ("undecided", ["undecided"], "the criterion is undecided"),
        ("undecided", ["not_measured"], "the criterion is not measurable"),
        (
            "undecided",
            ["undecided", "not_measured"],
            "1 of the 2 criteria is undecided, 1 not measurable",
        ),
        ("fail", ["not_met"], "the criterion is not met"),
        ("fail", ["not_met", "met"], "1 of the 2 criteria is not met"),
    ],
)
def test_acceptance(acceptance, outcomes, expected):
    assert expected in words.describe_acceptance(acceptance, outcomes)


def test_every_criterion_and_reason_has_words(found):
    for key in CriterionKey.__args__:
        one = CriterionResult(Criterion(key, "", 0.5), None, "not_measured", "undefined")
        assert words.name_criterion(one)
    for reason in words._REASONS:
        assert words.describe_reason(found, replace(one, reason=reason))


def test_coverage_depends_on_its_interval(found):
    for interval, expected in (
        (Interval(0.6, 0.5, 0.7), "it is not met"),
        (Interval(0.99, 0.96, 1.0), "it is met here"),
        (Interval(0.93, 0.8, 0.99), "too few to decide"),
    ):
        v = replace(found, figures={**found.figures, "coverage": interval})
        assert expected in words.describe_coverage(v)


def test_confidence_depends_on_its_interval(found):
    for interval, expected in (
        (Interval(0.1, 0.05, 0.15), "Overconfident"),
        (Interval(-0.1, -0.15, -0.05), "Underconfident"),
        (Interval(0.01, -0.02, 0.04), "agrees"),
        (Interval(0.01, math.nan, math.nan), "no interval"),
    ):
        assert expected in words.describe_calibration(replace(found, overconfidence=interval))


@pytest.mark.parametrize(
    ("drop", "expected"),
    [(Interval(0.5, 0.4, 0.6), "train on such images"), (Interval(-0.1, -0.2, 0.1), "no worse")],
)
def test_rejection_of_most_cells_is_advised_on_by_accuracy(found, drop, expected):
    figures = {**found.figures, "rejected": Interval(0.9, 0.8, 0.95), "accuracy_drop": drop}
    before = replace(found, figures=figures, recalibration=None)
    assert expected in " ".join(words.list_advice(before))
    # Done already: not advised again.
    assert "--recalibrate" not in " ".join(words.list_advice(replace(found, figures=figures)))


def test_cells_still_needed_are_of_other_patients(found):
    criterion = Criterion("min_sensitivity", "blast", 0.9)
    for needed, expected in ((1, "about 1 cell"), (1200, "about 1,200 cells")):
        one = CriterionResult(
            criterion, Interval(0.95, 0.8, 0.99), "undecided", "few_cells", needed
        )
        assert words.describe_reason(found, one) == f"{expected} of the class Blast in all"
    text = " ".join(words.list_advice(replace(found, criteria=(one,))))
    assert "other patients or slides to decide Sensitivity, Blast:" in text and "8 of 10" in text


@pytest.mark.parametrize(
    ("look", "said", "advised"),
    [
        (Look(), "", "fresh cells"),
        (Look(1, 3), "Look 1 of 3 planned: each criterion is decided by its 98.33 %", "--previous"),
        (Look(3, 3), "Look 3 of 3", "The last look was planned"),
    ],
)
def test_how_often_cells_may_be_looked_at_is_said(found, look, said, advised):
    one = CriterionResult(
        Criterion("min_accuracy", "", 0.9), Interval(0.95, 0.8, 0.99), "undecided", "few_cells", 500
    )
    v = replace(found, criteria=(one,), look=look)
    assert words.describe_look(v).startswith(said) and bool(words.describe_look(v)) == bool(said)
    assert advised in " ".join(words.list_advice(v))
    level = words.format_level(look.level)
    assert f"({level} interval)" in render_text(describe_validation(v, {}))


def test_calling_every_cell_alike_is_no_rival_where_all_are_alike(found):
    low = replace(found, figures={**found.figures, "accuracy": Interval(0.3, 0.2, 0.4)})
    assert "Calling every cell" in " ".join(words.list_advice(low))
    same = tuple(
        replace(one, n_images=low.n_images * (k == 0)) for k, one in enumerate(low.per_class)
    )
    assert "Calling every" not in " ".join(words.list_advice(replace(low, per_class=same)))


def test_a_group_that_stands_out_is_a_line_of_advice(found):
    even = Interval(0.0, -0.1, 0.1)
    worse, better = Interval(-0.521, -0.7, -0.3), Interval(0.521, 0.3, 0.7)
    share = Interval(0.469, 0.36, 0.58)
    build = partial(Subgroup, n_images=96, n_sources=48, accuracy=share, expected_accuracy=0.9,
                    accepted=share, rejected=share)  # fmt: skip

    def describe(*groups):
        return words.describe_groups(SubgroupTable("scanner", "compared", len(groups), groups))

    a = build("A", difference=even, accepted_difference=better)
    b = build("B", difference=even, accepted_difference=worse)
    expected = describe(a, b)
    assert "by scanner: B (46.9 % accepted, 52.1 points less than the rest)." in expected
    table = SubgroupTable("scanner", "compared", 2, (a, b))
    assert expected in words.list_advice(replace(found, subgroups=(table,)))
    assert "A (46.9 % accepted, 52.1 points more" in describe(a)
    wrong = build("C", difference=worse, accepted_difference=even)
    assert "C (46.9 % correct, 52.1 points less" in describe(a, wrong)
    assert describe(build("D", difference=even, accepted_difference=even)) == ""


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ((0.12, 0.05, 0.19), "Better on the other half"),
        ((-0.12, -0.19, -0.05), "Worse on the other half"),
        ((0.01, -0.03, 0.05), "No gain shown"),
        ((0.01, math.nan, math.nan), "no interval"),
    ],
)
def test_the_gain_of_a_new_bundle_depends_on_its_interval(found, gain, expected):
    new = replace(found.recalibration, gain_log_loss=Interval(*gain))
    assert expected in words.describe_gain(new)
    advice = " ".join(words.list_advice(replace(found, recalibration=new)))
    assert ("Keep the old bundle" in advice) == (gain[2] < 0)
    assert words.describe_gain(replace(new, gain_log_loss=UNDEFINED)) == ""


EVEN, LESS = Interval(0.0, 0.0, 0.0), Interval(-0.031, -0.05, -0.012)


@pytest.mark.parametrize(
    ("difference", "case_mix", "recognition", "expected", "silent"),
    [
        ((-0.021, -0.096, 0.086), EVEN, (-0.021, -0.096, 0.086), "which may be chance", "worse"),
        ((-0.18, -0.25, -0.11), LESS, (-0.149, -0.2, -0.1), "worse recognition", "chance"),
        ((0.0, -0.02, 0.02), LESS, (0.031, 0.01, 0.05), "better recognition", "worse"),
    ],
)
def test_chance_is_not_worded_as_a_fact(found, difference, case_mix, recognition, expected, silent):
    accuracy = replace(found.comparison.accuracy, difference=Interval(*difference))
    comparison = ReferenceComparison(
        accuracy, Interval(0.939, 0.9, 0.96), case_mix, Interval(*recognition)
    )
    text = words.describe_difference(replace(found, comparison=comparison))
    assert expected in text and silent not in text
    assert ("3.1 points less" in text) == (case_mix is LESS)
    open_ = replace(comparison, expected_accuracy=None, recognition=None)
    assert "Not every class" in words.describe_difference(replace(found, comparison=open_))


@pytest.mark.parametrize(
    ("kappa", "warned"),
    [((0.0, -0.196, 0.196), True), ((-0.3, -0.5, -0.1), True), ((0.4, 0.2, 0.6), False)],
)
def test_a_network_at_chance_is_warned_of(found, kappa, warned):
    at = replace(found, figures={**found.figures, "kappa": Interval(*kappa)})
    assert any("better than chance" in one for one in words.list_advice(at)) == warned


def test_confidence_and_rejection_are_on_the_first_screen_without_criteria():
    calibrated = cells_of.validate(cells_of.with_decisions(cells_of.build_cells()))
    bare = cells_of.validate(cells_of.build_cells())
    assert "cannot reject" in words.describe_decisions(bare)
    none = {**calibrated.figures, "accuracy_accepted": UNDEFINED}
    assert "correctly" not in words.describe_decisions(replace(calibrated, figures=none))
    for v in (calibrated, bare):
        start = render_text(describe_validation(v, {})).split("What to do next")[0]
        assert words.describe_calibration(v) in start and words.describe_decisions(v) in start


def test_only_a_calibrated_bundle_is_advised_to_be_recalibrated():
    sure = Interval(0.2, 0.15, 0.25)
    calibrated = cells_of.validate(cells_of.with_decisions(cells_of.build_cells()))
    bare = cells_of.validate(cells_of.build_cells())
    for v, advised in ((calibrated, True), (bare, False)):
        advice = " ".join(words.list_advice(replace(v, overconfidence=sure)))
        assert ("--recalibrate" in advice) == advised


def test_nothing_is_said_of_references_and_sets_that_are_not_there():
    bare = cells_of.validate(cells_of.build_cells())
    assert words.describe_difference(bare) == "" and words.describe_coverage(bare) == ""
    same = cells_of.validate(cells_of.build_cells(), n_reference=60)
    assert "60 of these very cells" in words.describe_reference(same)
    assert words.describe_reference(same) in words.list_limitations(same)


@pytest.mark.parametrize(
    ("leakage_status", "expected"),
    [
        ("disjoint", "pbc."),
        ("unproven", "could not be excluded"),
        ("leaking", "inflated"),
        ("local", "recalibrated"),
    ],
)
def test_the_reference_says_what_its_figures_are_worth(found, leakage_status, expected):
    reference = found.reference.model_copy(update={"leakage_status": leakage_status})
    assert expected in words.describe_reference(replace(found, reference=reference))


def test_critical_classes_are_marked_and_asked_for():
    cells = cells_of.build_cells(classes=("basophil", "monocyte", "blast"))
    v = cells_of.validate(cells, AcceptanceCriteria(min_sensitivity={"blast": 0.9}))
    assert is_critical("blast") and v.absent == ("blast",)
    assert any("Critical among them: Blast" in one for one in words.list_advice(v))
    assert '<span class="tag">critical</span>' in render_html(describe_validation(v, {}))


@pytest.mark.parametrize(
    ("value", "describe", "expected"),
    [(0.4, "separation", "not visible"), (0.65, "separation", "small"),
     (0.75, "separation", "clear"), (0.9, "separation", "large"),
     (1.0, "separation", "nearly complete"), (0.1, "effect", "negligible"),
     (-0.3, "effect", "small"), (0.6, "effect", "medium"), (-1.0, "effect", "large"),
     (math.inf, "effect", "very large")],
)  # fmt: skip
def test_sizes_have_words(value, describe, expected):
    assert getattr(words, f"describe_{describe}")(value) == expected
