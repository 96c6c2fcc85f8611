"""Page, text and JSON of a validation say the same and escape what users wrote."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from leukoscope.evaluation import validate_page as page
from leukoscope.evaluation.intervals import Interval
from leukoscope.evaluation.limits import Limits
from leukoscope.evaluation.recalibration import Recalibration

_spec = importlib.util.spec_from_file_location(
    "validation_cells", Path(__file__).with_name("test_validation.py")
)
cells_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cells_of)


@pytest.fixture(scope="module")
def found():
    cells = cells_of.with_decisions(cells_of.build_cells(foreign=12))
    n = len(cells.table)
    evil = "<script>alert(1)</script>"
    cells = replace(
        cells,
        columns={evil: ("a", "b") * (n // 2)},
        readers={"analyser": cells.names},
    )
    limits = Limits(min_accuracy=0.99, max_refused=0.9, min_sensitivity={"monocyte": 0.5})
    return cells_of.validate(
        cells,
        limits,
        data_name=evil,
        home=cells_of.build_home(promised_coverage=0.95),
        unreadable=[(f"{evil}.png", "truncated", "ends \udcff early")],
        warnings=("Mind `this`.",),
        recalibration=Recalibration(
            40, 41, 20, 20, {"coverage": Interval(0.5, 0.4, 0.6)},
            {"coverage": Interval(0.9, 0.8, 0.95)}, notes=("A note.",), bundle="new",
        ),
        provenance={"Seed": "0"},
    )  # fmt: skip


def test_the_page_escapes_and_needs_no_other_file(found):
    html = page.render_validation(found, {"classes": ("<svg/>", "alt")})
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "Not passed: 1 of the 3 limits is broken here." in html
    for word in ("On whose blood", "What to do next", "Plasma cell", "analyser", "50.0 %", "new"):
        assert word in html


def test_the_text_says_the_same(found):
    text = page.render_validation_text(found)
    assert "NOT PASSED: 1 OF THE 3 LIMITS IS BROKEN HERE." in text
    for one in page.list_advice(found):
        assert one in text
    assert "ends ? early" in text and "exact McNemar p" in text


def test_the_json_is_strict(found):
    content = json.loads(
        json.dumps(page.validation_to_json(found), allow_nan=False).encode("utf-8", "replace")
    )
    assert content["acceptance"] == "fail"
    assert [one["outcome"] for one in content["limits"]] == ["fail", "not_measured", "pass"]
    assert content["classes_absent"] == ["monocyte"]
    assert content["readers"][0]["reader"]["value"] == 1
    assert content["recalibration"]["after"]["coverage"]["value"] == 0.9


def test_advice_names_what_is_missing(found):
    advice = " ".join(page.list_advice(found))
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
    assert page.word_headline(cells_of.validate(cells_of.build_cells(), limits)) == headline


def test_a_bundle_without_trust_says_what_is_missing():
    bare = cells_of.validate(cells_of.build_cells())
    text = page.render_validation_text(bare)
    assert "not calibrated" in text and "no figures of home" in text
    assert "Not compared" in text
    assert page.word_mix(bare) == "" and page.word_coverage(bare) == ""
    assert "refuse" in page.render_validation(bare)


def test_coverage_is_not_promised_where_it_does_not_hold(found):
    assert "The promise does not hold on these cells." in page.word_coverage(found)
    held = replace(found, figures={**found.figures, "coverage": Interval(0.99, 0.96, 1.0)})
    assert "It holds here." in page.word_coverage(held)
    few = replace(found, figures={**found.figures, "coverage": Interval(0.93, 0.8, 0.99)})
    assert "too few to tell" in page.word_coverage(few)


def test_confidence_is_worded_by_its_interval(found):
    for interval, words in (
        (Interval(0.1, 0.05, 0.15), "Too sure"),
        (Interval(-0.1, -0.15, -0.05), "Not sure enough"),
        (Interval(0.01, -0.02, 0.04), "as sure as it is right"),
        (Interval(0.01, float("nan"), float("nan")), "one source gives no interval"),
    ):
        assert words in page.word_calibration(replace(found, overconfidence=interval))


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        (Interval(0.5, 0.4, 0.6), "train on such pictures"),
        (Interval(-0.1, -0.2, 0.1), "no worse than at home"),
    ],
)
def test_refusal_of_most_cells_is_worded_by_what_the_names_are_worth(found, drop, words):
    figures = {**found.figures, "refused": Interval(0.9, 0.8, 0.95), "accuracy_drop": drop}
    assert words in " ".join(page.list_advice(replace(found, figures=figures)))
