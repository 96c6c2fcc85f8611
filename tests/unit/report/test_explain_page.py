"""The page of explanations: what is said of each outcome of the tests."""

import numpy as np
import pytest
from tests.builders.explanation import build_explanation, build_image, build_result

from leukoscope.explain.methods import METHOD_NAMES, METHODS
from leukoscope.report.explain_page import (
    describe_explanation,
    describe_failures,
    describe_headline,
    describe_notes,
    describe_untested,
)
from leukoscope.report.frame import render_html
from leukoscope.report.page import Picture

LOST = {"stem": np.full(30, 0.4)}


def test_every_method_has_a_name():
    assert tuple(METHOD_NAMES) == METHODS


@pytest.mark.parametrize(
    ("results", "level", "words"),
    [
        ([], "caution", "was not measured"),
        ([build_result(n=10)], "caution", "Too few images"),
        ([build_result()], "good", "Grad-CAM (stage_2) passed every test"),
        ([build_result(), build_result("occlusion", correlation=LOST)], "bad", "Occlusion does"),
        (
            [build_result(m, correlation=LOST) for m in ("gradcam", "occlusion")],
            "bad",
            "Grad-CAM (stage_2) and Occlusion do not pass",
        ),
        (
            [build_result(m, correlation=LOST) for m in ("gradcam", "occlusion", "gradients")],
            "bad",
            "None of 3 methods passes",
        ),
    ],
)
def test_the_headline_names_what_holds_and_what_does_not(results, level, words):
    found, text = describe_headline(build_explanation(results))
    assert found == level and words in text


def test_words_say_no_more_than_the_bounds():
    """Shown to fail, and not shown to hold, are two things."""
    assert describe_failures(build_result()) == ()
    (text,) = describe_failures(build_result(localisation=[-6.0, 12.0] * 15))
    assert "3.0 (" in text and "not shown to be at least 2.5" in text
    (text,) = describe_failures(build_result(localisation=[2.0] * 30))
    assert text.endswith("less than 2.5.")
    (text,) = describe_failures(build_result(correlation={"stem": np.tile([-0.6, 0.8], 15)}))
    assert "not shown to change" in text
    (text,) = describe_failures(build_result(correlation=LOST))
    assert text.startswith("It looks much the same")
    same = np.linspace(0.1, 0.2, 30)
    close = {"deletion": same + np.tile([-0.3, 0.4], 15), "insertion": 1 - same + 0.05}
    unclear, failed = describe_failures(build_result(baselines={"random": close, "centre": close}))
    assert "It is not shown that removing" in unclear and "places or the centre of the" in unclear
    assert failed.startswith("Inserting what it marks gives the network no more than")


def test_what_was_not_tested_is_said():
    assert describe_untested(build_result()) == ""
    few = build_result(localisation=[0.1] * 15, ceiling=[10.0] * 15)
    assert describe_untested(few) == "Not tested: lying in the cell (fewer than 20 images)."
    nothing = describe_untested(build_result("attention", correlation={}, ceiling=[2.0] * 30))
    for reason in ("knows no class", "not measured", "boxes too large"):
        assert reason in nothing


def test_notes_are_said_only_where_they_apply():
    assert describe_notes(build_explanation()) == ()
    rough = build_explanation(images=(build_image(missed=0.5), build_image(missed=0.01)))
    (note,) = describe_notes(rough)
    assert "1 image" in note and "50 %" in note
    assert len(describe_notes(build_explanation(is_bundle=True, n_members=2))) == 2


def test_the_page_shows_the_pictures_that_were_drawn():
    names = ("overlays/0.png", "curves", "attention", "relative_bias")
    drawn = {name: Picture(b"png", name) for name in names}
    html = render_html(describe_explanation(build_explanation(), drawn))
    assert html.count("<img") == 4 and "1 more image in" in html
    bare = describe_explanation(build_explanation(results=()))
    assert [one.title for one in bare.sections] == ["Images", "Terms"]
