"""Pages and figures of records in which no figure has an interval: they say so, and print no
number that is none."""

import dataclasses
import math
import re
from collections.abc import Mapping

import pytest
from tests.builders.card import build_records, render_all
from tests.builders.evaluation import build_evaluation, build_leak, build_leak_report
from tests.builders.explanation import build_explanation
from tests.builders.robustness import build_robustness
from tests.builders.trust import build_reference
from tests.builders.validation import build_validation

from leukoscope.interval import Interval
from leukoscope.report.accuracy_figures import AccuracyBlock, draw_accuracies, draw_baselines
from leukoscope.report.calibration_page import _build_table
from leukoscope.report.class_figures import draw_per_class
from leukoscope.report.evaluation_page import describe_evaluation
from leukoscope.report.explain_page import describe_explanation
from leukoscope.report.frame import render_html
from leukoscope.report.leak_page import describe_leak_report
from leukoscope.report.page import Page, render_text
from leukoscope.report.robustness_page import describe_robustness
from leukoscope.report.validation_figures import draw_comparison
from leukoscope.report.validation_page import describe_validation
from leukoscope.text import NO_INTERVAL, TOO_FEW

BARE = Interval(0.9, math.nan, math.nan)


def drop_limits(record):
    """The same record without the limits of any figure."""
    match record:
        case Interval():
            return Interval(record.value, math.nan, math.nan)
        case Mapping():
            return {key: drop_limits(value) for key, value in record.items()}
        case tuple():
            return tuple(drop_limits(one) for one in record)
    if dataclasses.is_dataclass(record):
        names = [one.name for one in dataclasses.fields(record) if one.init]
        return dataclasses.replace(
            record, **{name: drop_limits(getattr(record, name)) for name in names}
        )
    return record


PAGES = {
    "evaluation": lambda: describe_evaluation(drop_limits(build_evaluation())),
    "leaking": lambda: describe_evaluation(
        drop_limits(build_evaluation(leakage_status="leaking", leak=build_leak()))
    ),
    "leak report": lambda: describe_leak_report(drop_limits(build_leak_report())),
    "validation": lambda: describe_validation(drop_limits(build_validation()), {}),
    "robustness": lambda: describe_robustness(drop_limits(build_robustness({"blur": 0.1}))),
    "explanation": lambda: describe_explanation(drop_limits(build_explanation())),
    "calibration": lambda: Page(
        "Calibration", (_build_table(build_reference(accuracy=BARE), 0.9),)
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_that_there_is_no_interval(name):
    page = PAGES[name]()
    text = render_text(page)
    assert NO_INTERVAL in text
    for shown in (text, render_html(page)):
        assert not re.search(r"\bnan\b|– to –|\(–\)", shown)


def test_a_card_says_that_there_is_no_interval():
    text = render_all(drop_limits(build_records()))
    assert NO_INTERVAL in str(text) and not re.search(r"\bnan\b", str(text))


def test_advice_without_intervals_claims_nothing():
    found = drop_limits(build_validation())
    rejecting = dataclasses.replace(
        found, recalibration=None, figures={**found.figures, "rejected": Interval(0.8, 0.7, 0.9)}
    )
    text = render_text(describe_validation(rejecting, {}))
    assert "too few sources to say whether" in text and "Label cells of more patients" in text
    assert "no worse than" not in text and "Nothing stands against it" not in text


def test_figures_are_drawn_without_limits():
    drawn = (
        draw_baselines(BARE, {"majority": BARE}),
        draw_accuracies((AccuracyBlock("All images", {"Network": BARE}),)),
        draw_per_class({"a": BARE, "b": Interval(0.9, 0.8, 0.95)}),
        draw_comparison({"a": (BARE, Interval(0.9, 0.8, 0.95))}),
    )
    for figure in drawn:
        said = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert any(TOO_FEW in one for one in said) and not any("nan" in one for one in said)
