"""Names of classes in figures, in scripts that no installed font draws."""

from dataclasses import replace

from tests.builders.evaluation import build_evaluation

from leukoscope.report.evaluation_page import describe_evaluation
from leukoscope.report.figures import can_draw, number_classes
from leukoscope.report.page import Picture, render_text

NOBODY_DRAWS = chr(0x10FFFD)  # for private use: no font here has it


def test_only_what_no_font_draws_is_numbered():
    assert can_draw("Größe – blast (L1) $x^2$ {y") and not can_draw(f"a{NOBODY_DRAWS}")
    names = ("blast", f"{NOBODY_DRAWS}a", f"{NOBODY_DRAWS}b")
    assert number_classes(names) == ("blast", "class 2", "class 3")


def test_the_page_says_once_which_class_a_number_is():
    record = build_evaluation()
    drawn = {"confusion": Picture("<svg/>", "counts")}
    assert "class 1 is" not in render_text(describe_evaluation(record, drawn))
    first, *others = record.per_class
    per_class = (replace(first, label=f"{NOBODY_DRAWS}a"), *others)
    record = replace(record, per_class=per_class)
    text = render_text(describe_evaluation(record, drawn))
    assert text.count(f"class 1 is {NOBODY_DRAWS}a") == 1
    # Without figures there is nothing to explain.
    assert "class 1 is" not in render_text(describe_evaluation(record))
