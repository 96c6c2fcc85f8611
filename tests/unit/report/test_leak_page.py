"""What a leak report says, from invented figures; words are in the golden page."""

from dataclasses import replace

import pytest
from tests.builders.evaluation import build_leak_report, without_leak

from leukoscope.report import leak_page as room
from leukoscope.report.evaluation_figures import draw_leak_report, render_drawings
from leukoscope.report.frame import render_html
from leukoscope.report.page import Banner, Statement


def test_the_answer_is_one_sentence():
    headline, behind = room.describe_difference(build_leak_report())
    assert headline.count(". ") == 0 and headline.endswith("the leak is worth 9.0 points.")
    assert behind.startswith("980 of the 1,000 random test images")


@pytest.mark.parametrize(
    ("random", "grouped", "points"), [(0.92, 0.90, "2.0"), (0.88, 0.90, "−2.0"), (0.9, 0.9, "0.0")]
)
def test_what_chance_may_make_is_not_called_the_leak(random, grouped, points):
    headline, behind = room.describe_difference(build_leak_report(random, grouped, n=100))
    assert headline.endswith(f"a difference of {points} points, which chance alone may make.")
    assert "worth" not in headline and "difference: −" in behind


def test_nothing_leaks_where_there_are_no_duplicates():
    report = without_leak(build_leak_report())
    headline, behind = room.describe_difference(report)
    assert headline.startswith("Nothing leaks") and behind.startswith("95 % interval")
    page = room.describe_leak_report(report)
    levels = [block.level for block in page.lead if isinstance(block, Banner)]
    assert levels == ["good", "caution"]


def test_the_page_begins_with_the_answer_and_needs_nothing_else():
    report = replace(build_leak_report(), data="<script>alert('x')</script>")
    page = room.describe_leak_report(report, render_drawings(draw_leak_report(report)))
    assert isinstance(page.lead[0], Statement)
    html = render_html(page)
    assert "<script" not in html and "&lt;script&gt;" in html and "href" not in html
    assert html.count('<span class="tag">leaked</span>') == 1
    assert "Random split, its test images (leaked) 99.0 %" in html


def test_the_chart_is_the_same_each_time():
    report = build_leak_report()
    first, second = (render_drawings(draw_leak_report(report)) for _ in range(2))
    assert first == second
