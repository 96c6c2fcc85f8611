"""A validation in sentences."""

import math
from dataclasses import replace
from functools import partial

import pytest
from tests.builders import validation as cells_of

from leukoscope.evaluation.acceptance import Judged, Limits
from leukoscope.evaluation.agreement import UnpairedTest
from leukoscope.evaluation.subgroups import Subgroup, SubgroupTable
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.report import validation_words as words
from leukoscope.report.validation_page import render_validation, render_validation_text


@pytest.fixture(scope="module")
def found():
    return cells_of.build_validation()


def test_advice_names_what_is_missing(found):
    advice = " ".join(words.list_advice(found))
    assert "Do not rely on it here as it is: Accuracy does not keep the limit." in advice
    assert "No cell of Monocyte is here" in advice
    assert "12 cells of Plasma cell" in advice and "accepted under another name" in advice
    assert "1 file could not be used" in advice


NEAR = round(cells_of.validate(cells_of.build_cells()).figures["accuracy"].value + 0.01, 3)


@pytest.mark.parametrize(
    ("limits", "headline"),
    [
        (Limits(), "No limits were set, so nothing is passed or failed."),
        (Limits(min_accuracy=0.1), "Passed: the limit is kept here."),
        (Limits(min_accuracy=0.1, min_kappa=-0.9), "Passed: all 2 limits are kept here."),
        (Limits(min_accuracy=NEAR), "Not decided yet: the limit needs more cells."),
        (Limits(min_coverage=0.8), "Not decided yet: the limit cannot be measured."),
        (
            Limits(min_accuracy=NEAR, min_coverage=0.8),
            "Not decided yet: 1 of the 2 limits needs more cells, 1 cannot be measured.",
        ),
        (Limits(min_accuracy=0.99), "Not passed: the limit is broken here."),
    ],
)
def test_headlines(limits, headline):
    assert words.word_headline(cells_of.validate(cells_of.build_cells(), limits)) == headline


def test_coverage_is_not_promised_where_it_does_not_hold(found):
    assert "The promise does not hold on these cells." in words.word_coverage(found)
    held = replace(found, figures={**found.figures, "coverage": Interval(0.99, 0.96, 1.0)})
    assert "It holds here." in words.word_coverage(held)
    few = replace(found, figures={**found.figures, "coverage": Interval(0.93, 0.8, 0.99)})
    assert "too few to tell" in words.word_coverage(few)


def test_confidence_is_worded_by_its_interval(found):
    for interval, told in (
        (Interval(0.1, 0.05, 0.15), "Too sure"),
        (Interval(-0.1, -0.15, -0.05), "Not sure enough"),
        (Interval(0.01, -0.02, 0.04), "as sure as it is right"),
        (Interval(0.01, float("nan"), float("nan")), "one source gives no interval"),
    ):
        assert told in words.word_calibration(replace(found, overconfidence=interval))


@pytest.mark.parametrize(
    ("drop", "told"),
    [
        (Interval(0.5, 0.4, 0.6), "train on such pictures"),
        (Interval(-0.1, -0.2, 0.1), "no worse than at home"),
    ],
)
def test_rejection_of_most_cells_is_worded_by_what_the_names_are_worth(found, drop, told):
    figures = {**found.figures, "rejected": Interval(0.9, 0.8, 0.95), "accuracy_drop": drop}
    before = replace(found, figures=figures, recalibration=None)
    assert told in " ".join(words.list_advice(before))
    # Done already: not advised again.
    assert "--recalibrate" not in " ".join(words.list_advice(replace(found, figures=figures)))


def test_cells_still_needed_are_of_other_patients(found):
    limit = Limits(min_sensitivity={"blast": 0.9}).list_limits()[0]
    for needed, told in ((1, "about 1 more cell of"), (1200, "about 1,200 more cells of")):
        one = Judged(limit, Interval(0.95, 0.8, 0.99), "undecided", "", needed)
        text = " ".join(words.list_advice(replace(found, judged=(one,))))
        assert f"label {told} the class Blast from other patients or slides to decide it" in text
    assert words.word_needed(Judged(limit, None, "undecided", "")) == ""


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
    build = partial(Subgroup, n_images=96, n_sources=48, accuracy=share, expected=0.9,
                    accepted=share, rejected=share)  # fmt: skip
    a = build("A", difference=even, accepted_difference=better)
    b = build("B", difference=even, accepted_difference=worse)
    told = words.word_groups(SubgroupTable("scanner", (a, b)))
    assert "by scanner: B (46.9 % accepted, 52.1 points less than the rest)." in told
    assert told in words.list_advice(replace(found, subgroups=(SubgroupTable("scanner", (a, b)),)))
    assert "A (46.9 % accepted, 52.1 points more" in words.word_groups(SubgroupTable("x", (a,)))
    wrong = build("C", difference=worse, accepted_difference=even)
    assert "C (46.9 % named right, 52.1 points less" in words.word_groups(
        SubgroupTable("x", (a, wrong))
    )
    plain = build("D", difference=even, accepted_difference=even)
    assert words.word_groups(SubgroupTable("x", (plain,), "a note")) == ""


@pytest.mark.parametrize(
    ("gain", "told"),
    [
        ((0.12, 0.05, 0.19), "Better on the other half: log loss falls by 0.120 a cell (95 %"
         " interval 0.050 to 0.190)."),
        ((-0.12, -0.19, -0.05), "Worse on the other half: log loss rises by 0.120 a cell (95 %"
         " interval 0.050 to 0.190). Keep the old bundle."),
        ((0.01, -0.03, 0.05), "No gain shown on the other half: log loss changes by −0.010 a cell"
         " (95 % interval −0.050 to +0.030), which may be chance."),
        ((0.01, math.nan, math.nan), "one source gives no interval"),
    ],
)  # fmt: skip
def test_the_gain_of_a_new_bundle_is_worded_by_its_interval(found, gain, told):
    new = replace(found.recalibration, gain_log_loss=Interval(*gain))
    assert told in words.word_gain(new) and told in " ".join(words.word_recalibration(new))
    advice = " ".join(words.list_advice(replace(found, recalibration=new)))
    assert ("Keep the old bundle" in advice) == (gain[2] < 0)
    page_ = render_validation(replace(found, recalibration=new))
    assert told in page_ and told in render_validation_text(replace(found, recalibration=new))
    assert words.word_gain(replace(new, gain_log_loss=UNDEFINED)) == ""


HERE = Interval(0.9, 0.85, 0.94)
EVEN, LESS = Interval(0.0, 0.0, 0.0), Interval(-0.031, -0.05, -0.012)


@pytest.mark.parametrize(
    ("difference", "mixture", "recognition", "told"),
    [
        (
            (-0.021, -0.096, 0.086), EVEN, (-0.021, -0.096, 0.086),
            "Accuracy is 2.1 points lower than at home (95 % interval −9.6 to +8.6 points), which"
            " may be chance. If each kind were named as well as at home, 93.9 % would be right on"
            " this mixture of cells; what is beyond that (95 % interval −9.6 to +8.6 points) may be"
            " chance.",
        ),
        (
            (-0.18, -0.25, -0.11), LESS, (-0.149, -0.2, -0.1),
            "Accuracy is 18.0 points lower than at home (95 % interval −25.0 to −11.0 points). If"
            " each kind were named as well as at home, 93.9 % would be right on this mixture of"
            " cells, 3.1 points less than at home (95 % interval −5.0 to −1.2 points); the other"
            " 14.9 points (95 % interval −20.0 to −10.0 points) are worse recognition.",
        ),
        ((0.0, -0.02, 0.02), LESS, (0.031, 0.01, 0.05), "are better recognition."),
    ],
)  # fmt: skip
def test_chance_is_not_worded_as_a_fact(found, difference, mixture, recognition, told):
    v = replace(
        found,
        accuracy_against_home=UnpairedTest(HERE, HERE, Interval(*difference), math.nan),
        expected_accuracy=Interval(0.939, 0.9, 0.96),
        mixture=mixture,
        recognition=Interval(*recognition),
    )
    assert told in words.word_mix(v)
    assert "worse recognition" in told or "worse recognition" not in words.word_mix(v)
    unknown = words.word_mix(replace(v, expected_accuracy=None, recognition=None))
    assert unknown.endswith("Not every class that occurs here was measured at home.")


@pytest.mark.parametrize(
    ("kappa", "warned"),
    [((0.0, -0.196, 0.196), True), ((-0.3, -0.5, -0.1), True), ((0.4, 0.2, 0.6), False)],
)
def test_a_network_at_chance_is_warned_of(found, kappa, warned):
    at = replace(found, figures={**found.figures, "kappa": Interval(*kappa)})
    advice = [one for one in words.list_advice(at) if "better than chance would" in one]
    assert len(advice) == warned
    if warned and kappa[0] == 0:
        assert "kappa 0.000 (−0.196 to 0.196)" in advice[0]


def test_how_sure_and_when_it_rejects_is_said_without_limits():
    told = cells_of.validate(cells_of.with_decisions(cells_of.build_cells()))
    bare = cells_of.validate(cells_of.build_cells())
    assert words.word_decisions(told).startswith("It accepts 33.3 % (95 % interval")
    assert "33.3 % go to a person, 33.3 % it rejects as unknown." in words.word_decisions(told)
    assert "never rejects" in words.word_decisions(bare)
    none = {**told.figures, "accuracy_accepted": UNDEFINED}
    assert "rightly" not in words.word_decisions(replace(told, figures=none))
    for v in (told, bare):
        head = render_validation(v).split("What to do next")[0]
        start = render_validation_text(v).split("What to do next")[0]
        for sentence in (words.word_calibration(v), words.word_decisions(v)):
            assert sentence in head and sentence in start


def test_only_a_bundle_that_can_reject_is_advised_to_be_fitted_again():
    sure = Interval(0.2, 0.15, 0.25)
    told = cells_of.validate(cells_of.with_decisions(cells_of.build_cells()))
    bare = cells_of.validate(cells_of.build_cells())
    for v, advised in ((told, True), (bare, False)):
        advice = " ".join(words.list_advice(replace(v, overconfidence=sure)))
        assert ("--recalibrate" in advice) == advised


def test_a_blank_label_is_not_a_file_that_cannot_be_used(found):
    blank, broken = ("a.png", "no_label", "the label is blank"), ("b.png", "truncated", "")
    for entries, told in (
        ([blank], ["1 cell without a label is in no figure."]),
        ([blank, blank, broken], ["2 cells without a label are in no figure.",
                                  "1 file could not be used and is in no figure."]),
    ):  # fmt: skip
        advice = words.list_advice(replace(found, unreadable=tuple(entries)))
        assert [one for one in advice if "in no figure" in one] == told


def test_nothing_is_said_of_home_and_sets_that_are_not_there():
    bare = cells_of.validate(cells_of.build_cells())
    assert words.word_mix(bare) == "" and words.word_coverage(bare) == ""
    same = cells_of.validate(cells_of.build_cells(), no_home="60 of these very cells are its home")
    assert words.word_home(same) == "Not compared: 60 of these very cells are its home."
    assert any("60 of these very cells" in one for one in same.missing)


@pytest.mark.parametrize(
    ("leakage_status", "told"),
    [
        ("disjoint", "(pbc)."),
        ("unproven", "Copies between training and test could not be excluded there."),
        ("leaking", "the figures of home are inflated."),
        ("local", "that its levels were last fitted to; whether training has seen them, nobody"),
    ],
)
def test_home_says_what_its_figures_are_worth(found, leakage_status, told):
    home = found.home.model_copy(update={"leakage_status": leakage_status})
    text = words.word_home(replace(found, home=home))
    assert told in text
    assert ("Copies between" in text) == (leakage_status == "unproven")
