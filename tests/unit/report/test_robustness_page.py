"""The page of robustness: which message is given when, and that it is whole."""

from dataclasses import replace

import numpy as np
import pytest
from tests.builders.robustness import build_robustness

from leukoscope.data.corrupt import AMOUNTS, SEVERITIES
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.report.frame import render_html
from leukoscope.report.page import Banner, Picture
from leukoscope.report.robustness_figures import draw_corruptions, draw_robustness
from leukoscope.report.robustness_page import (
    CORRUPTION_NAMES,
    describe_protection,
    describe_robustness,
    describe_sensitivity,
)
from leukoscope.trust.notes import Note


def test_every_corruption_has_a_name():
    assert set(CORRUPTION_NAMES) == set(AMOUNTS)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (build_robustness({"blur": 0.01, "jpeg": 0.03}), "Most sensitive to JPEG compression:"),
        (build_robustness({"jpeg": 0.03}, spread=0.2), "Too few images to say what"),
        (build_robustness({"noise": 0.0}), "costs five points of accuracy."),
        (build_robustness({"noise": 0.0}, spread=0.06), "too few images to exclude it"),
        (build_robustness({"noise": 0.0}, majority=0.94), "No statement on robustness: 95.0 %"),
    ],
)
def test_the_first_sentence_says_no_more_than_the_bounds(found, words):
    assert words in describe_sensitivity(found)


def test_where_rejection_protects_least():
    losses, wrong = {"blur": 0.05, "stain_weaker": 0.1}, {"stain_weaker": 0.1, "blur": 0.02}
    silent = describe_protection(build_robustness(losses, wrong=wrong))
    assert "weaker stain at severity 5: 25.0 % of all cells" in silent and "not warn even" in silent
    some = build_robustness(losses, wrong=wrong, detected=[("stain_weaker", 5)])
    assert "weaker stain at severity 4: 20.0 %." in describe_protection(some)
    every = [(name, severity) for name in losses for severity in SEVERITIES]
    all_of_them = describe_protection(build_robustness(losses, wrong=wrong, detected=every))
    assert "`predict` warns" in all_of_them and "does not warn" not in all_of_them
    assert "against every corruption" in describe_protection(build_robustness({"blur": 0.05}))
    assert "not calibrated" in describe_protection(build_robustness({"blur": 0.05}, decides=False))


def test_rejecting_everything_protects_from_nothing():
    found = build_robustness({"blur": 0.05})
    levels = tuple(
        replace(x, accepted=Interval(0.0, 0.0, 0.1), accepted_accuracy=UNDEFINED, accepted_wrong=0)
        for x in found.levels
    )
    none = replace(found, levels=levels)
    assert describe_protection(none).startswith("None of the clean images is accepted")
    assert "of none" in render_html(describe_robustness(none))


@pytest.mark.parametrize("decides", [True, False])
def test_the_page_is_whole(decides):
    found = build_robustness(
        dict.fromkeys(AMOUNTS, 0.02),
        decides,
        leakage_status="leaking",
        remarks=(Note("images_in_training", {"n": 40}),),
    )
    image = np.full((32, 32, 3), 200, np.uint8)
    chart = draw_robustness(found)
    assert len(chart.axes) >= len(AMOUNTS)
    draw_corruptions({name: [image] * (1 + len(SEVERITIES)) for name in AMOUNTS})
    drawn = {name: Picture("<svg/>", name) for name in ("robustness", "corruptions")}
    page = describe_robustness(found, drawn)
    (banner,) = (block for block in page.lead if isinstance(block, Banner))
    assert banner.level == "bad"
    html = render_html(page)
    assert "40 images also lie" in html and html.count("<img") == 2
    assert html.count('<th scope="row">') == len(AMOUNTS) * (1 + decides)
