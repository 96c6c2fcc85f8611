"""The page of an evaluation: what comes first, what never stands alone. Words are in the golden
pages."""

import math
import re
from dataclasses import replace

import pytest
from tests.builders.evaluation import (
    NO_FIGURE,
    build_evaluation,
    build_leak,
    build_leaking,
    build_paired,
    build_trust,
)

from leukoscope.evaluation.agreement import PairedTest
from leukoscope.evaluation.record import Comparison
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.report import evaluation_page as room
from leukoscope.report.frame import render_html
from leukoscope.report.leakage_words import LEAKAGE_LEVELS, LEAKAGE_TITLES
from leukoscope.report.page import Banner, Big, Box, Picture, Row, Table, render_text
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.notes import Note


def find(blocks, kind):
    """All blocks of a kind, also inside of others."""
    for block in blocks:
        if isinstance(block, kind):
            yield block
        yield from find(getattr(block, "blocks", ()) or getattr(block, "boxes", ()), kind)


def titles(page):
    return [section.title for section in page.sections]


@pytest.mark.parametrize("status", LEAKAGE_TITLES)
def test_a_bad_status_stands_before_the_number_it_takes_back(status):
    leak = build_leak() if status == "leaking" else None
    record = build_evaluation(leakage_status=status, leak=leak, warnings=())
    page = room.describe_evaluation(record)
    kinds = [type(block) for block in page.lead]
    banner = next(find(page.lead, Banner))
    assert (banner.level, banner.title) == (LEAKAGE_LEVELS[status], LEAKAGE_TITLES[status])
    first = next(i for i, block in enumerate(page.lead) if list(find([block], Big)))
    assert (kinds.index(Banner) < first) == (banner.level == "bad")


def test_the_first_screen_says_how_good_on_which_cells_how_sure_and_when_it_rejects():
    page = room.describe_evaluation(build_evaluation())
    (big,) = find(page.lead, Big)
    assert big.value == "94.0 %" and "91.0 % to 96.0 %" in big.caption and not big.doubted
    (answers,) = find(page.lead, Row)
    assert [box.title for box in answers.boxes] == ["Test population", "Confidence", "Rejection"]
    first, *_, warnings = find(page.lead, Banner)
    assert first.title.startswith("2 images are of classes") and page.lead[0] == first
    assert len(warnings.blocks[0].items) == 1


HEADLINES = (
    Note(
        "baseline_not_beaten",
        {
            "baseline": "colour_histogram",
            "accuracy": 0.988,
            "network": 0.986,
            "gap": -0.002,
            "low": -0.009,
            "high": 0.005,
            "is_worse": 0,
        },
    ),
    Note("classes_never_found", {"labels": ("basophil",), "n": 3}),
)


@pytest.mark.parametrize("status", LEAKAGE_TITLES)
def test_a_network_of_no_use_is_said_to_be_so_before_all_else_whatever_the_status(status):
    leak = build_leak() if status == "leaking" else None
    record = build_evaluation(leakage_status=status, leak=leak, headlines=HEADLINES)
    page = room.describe_evaluation(record)
    first = page.lead[0]
    assert isinstance(first, Banner) and first.level == "bad"
    assert "Colour histogram" in first.title and "98.6 %" in first.title
    assert "Not one of 3 images of Basophil" in first.blocks[0].items[0]
    text = render_text(page).lower()
    assert text.index("not shown to be better") < text.index("94.0 %")
    html = render_html(page)
    assert html.index("Not shown to be better") < html.index("94.0 %")


@pytest.mark.parametrize("leak", [build_leak(), NO_FIGURE])
def test_a_leaked_accuracy_never_stands_alone(leak):
    record = build_leaking(leak=leak)
    page = room.describe_evaluation(record, {})
    pair = next(find(page.lead, Row))
    rest, everything = pair.boxes
    assert rest.trusted and everything.tag == "leaked"
    values = [next(find([box], Big)) for box in pair.boxes]
    assert values[1].value == "94.0 %" and values[1].doubted
    assert values[0].value == ("80.0 %" if leak.figures else "No figure")
    for table in find([b for s in page.sections for b in s.blocks], Table):
        if table.columns and table.columns[0].name in ("Method", "Figure"):
            marked = [column.tag for column in table.columns]
            assert "leaked" in marked
            assert ("Without" in table.columns[1].name) == bool(leak.figures)
    assert len(room.describe_leak(record)) == 2 and room.describe_leak(build_evaluation()) == ()
    assert "leaked" in " ".join(titles(page)).lower()


@pytest.mark.parametrize(
    ("leak", "phrase"),
    [
        (NO_FIGURE, "leak-report"),
        (replace(NO_FIGURE, reason="few_left", n_images=1), "only 1 image has no duplicate"),
        (replace(NO_FIGURE, reason="training_images"), "--role test"),
    ],
)
def test_a_missing_figure_says_why_and_what_to_do(leak, phrase):
    assert phrase in room.describe_too_few(leak)
    assert phrase in room.describe_leak_basis(build_leaking(leak=leak))[1]


def test_unknown_sources_may_hide_other_duplicates():
    basis = room.describe_leak_basis(build_leaking(source_known=False))[1]
    assert "leukoscope data sources" in basis
    page = render_text(room.describe_evaluation(build_evaluation(source_known=False)))
    assert "from unknown sources" in page


def test_what_is_not_there_leaves_no_section():
    bare = build_evaluation(baselines={}, compare=(), warnings=(), provenance=None, trust=None)
    page = room.describe_evaluation(bare)
    assert titles(page) == ["Each class", "Confusion", "All figures", "Terms"]
    drawn = {name: Picture("<svg/>", name) for name in ("headline", "roc", "training_curves")}
    shown = titles(room.describe_evaluation(bare, drawn))
    assert shown[0] == "Accuracy" and "How it was trained" in shown


def test_evaluations_beside_each_other_are_marked_and_named():
    other = Comparison(
        "a", "val", "leaking", 9, Interval(0.99, 0.98, 1), 5, Interval(0.8, 0.7, 0.9)
    )
    page = room.describe_evaluation(build_evaluation(compare=(other,)))
    section = next(s for s in page.sections if "other ways" in s.title)
    (table,) = find(section.blocks, Table)
    assert [(row[0].text, row[0].tag) for row in table.rows] == [
        ("painted, test (this report)", ""),
        ("a, val", "leaked"),
        ("a, val, without duplicates", ""),
    ]


@pytest.mark.parametrize(
    ("gap", "p_value", "phrase"),
    [
        (0.09, 0.001, "9.0 points (5.0 to 13.0) better than the best baseline"),
        (-0.31, 0.001, "31.0 points (27.0 to 35.0) worse than the best baseline"),
        (0.02, 0.4, "not shown to be better than the best baseline"),
        # The interval alone does not decide, nor does the test.
        (0.09, 0.06, "not shown to be better than the best baseline"),
        (0.03, 0.04, "not shown to be better than the best baseline"),
        (0.09, 1.0, "not shown to be better than the best baseline"),
    ],
)
def test_what_the_network_adds(gap, p_value, phrase):
    record = build_evaluation()
    best = record.baselines["colour_histogram"]
    best = replace(best, paired=build_paired(gap, 0.04, p_value))
    gain = room.describe_gain(replace(record, baselines={"colour_histogram": best}))
    assert phrase in gain and "colour histogram" in gain.lower()


def test_too_few_sources_give_a_difference_without_bounds():
    record = build_evaluation()
    best = record.baselines["colour_histogram"]
    bare = PairedTest(9, 3, 1, 0, Interval(0.15, math.nan, math.nan), 0.6, 2)
    page = render_text(
        room.describe_evaluation(
            replace(record, baselines={"colour_histogram": replace(best, paired=bare)})
        )
    )
    assert "is +15.0 points" in page and "(nan" not in page and "nan to" not in page


def test_the_gain_of_a_leaking_split_is_that_without_duplicates():
    assert "20.0 points (15.0 to 25.0) better" in room.describe_gain(build_leaking())
    assert room.describe_gain(build_leaking(leak=NO_FIGURE)).startswith("On all images")


def test_undefined_figures_are_dashes():
    record = build_evaluation()
    figures = {**record.figures, "log_loss": Interval(0.3, math.nan, math.nan)}
    html = render_html(room.describe_evaluation(replace(record, figures=figures)))
    assert "0.300 (no interval: too few sources)" in html and not re.search(r"\bnan\b", html)


def test_everything_is_escaped():
    hostile = "<script>alert('x')</script>"
    record = build_evaluation(data=hostile, role=hostile, protocol=hostile)
    remark = Note("duplicates_not_excluded", {"data": hostile})
    html = render_html(room.describe_evaluation(replace(record, remarks=(remark,))))
    assert "<script" not in html and html.count("&lt;script&gt;") > 6


@pytest.mark.parametrize(
    ("value", "words"), [(0.938, "94"), (1.0, "100"), (0.0, "0"), (0.997, "99.7"),
                         (0.99999, "99.9"), (0.004, "0.4"), (0.00001, "0.1")],
)  # fmt: skip
def test_certainty_is_said_only_where_it_is_exact(value, words):
    assert room.per_hundred(value) == [words]


def test_the_error_before_is_told_only_where_something_was_done():
    corrected = " ".join(room.describe_confidence(build_trust()))
    assert "3.1 points before calibration" in corrected and "0.4 points" in corrected
    left = " ".join(room.describe_confidence(build_trust(method="none")))
    assert "before calibration" not in left
    one_source = build_trust(after={"ece": Interval(0.004, math.nan, math.nan)})
    assert "no interval" in " ".join(room.describe_confidence(one_source))


def test_remarks_on_trust_come_first():
    leaked = Note("trust_leaked", {"n": 31, "n_images": 40})
    shifted = Note("trust_shifted", {"gap": 0.4, "p_value": 1e-9})
    trust = build_trust(remarks=(leaked, shifted))
    sure, rejects = room.describe_confidence(trust), room.describe_rejection(trust)
    assert sure[0].startswith("LEAKED: 31 of 40 images") and "0.40 of 1" in sure[1]
    assert rejects[0] == sure[0] and sure[1] not in rejects


def test_of_nothing_accepted_no_share_is_right():
    trust = build_trust()
    nothing = {"accepted_accuracy": UNDEFINED, "errors": AcceptedErrors(0, 0, math.nan)}
    decisions = replace(trust.decisions, **nothing)
    said = room.describe_rejection(replace(trust, decisions=decisions))
    assert said[0] == "90.0 % of cells are accepted." and said[-1] == room.NEW_CLASSES
    assert len(said) == 3 and "13 of 1,345" in room.describe_rejection(trust)[1]


def test_a_picture_is_not_taken_for_a_person():
    for unknown in (True, False):
        basis = room.describe_population(build_evaluation(persons_unknown=unknown))[0]
        assert ("how many persons" in basis) == unknown


def test_boxes_of_the_answers_do_not_repeat_words_for_a_run_without_calibration():
    page = room.describe_evaluation(build_evaluation(trust=None))
    boxes = [box for box in find(page.lead, Box) if box.title in ("Confidence", "Rejection")]
    assert all("`leukoscope calibrate`" in box.blocks[1].text for box in boxes)
