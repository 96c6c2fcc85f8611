"""Page and text of a validation say the same and escape what users wrote."""

import pytest
from tests.builders import validation as cells_of

from leukoscope.report import validation_page as page
from leukoscope.report.validation_words import list_advice


@pytest.fixture(scope="module")
def found():
    return cells_of.build_validation()


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
    for one in list_advice(found):
        assert one in text
    assert "ends ? early" in text and "exact McNemar p" in text


def test_the_outcome_of_a_limit_stands_beside_its_name(found):
    """Where a narrow screen shows it."""
    html = page.render_validation(found)
    row = html[html.index(">Accuracy</th>") :].split("</tr>")[0]
    assert row.index("broken") < row.index("at\u00a0least 99 %")


def test_a_bundle_without_trust_says_what_is_missing():
    bare = cells_of.validate(cells_of.build_cells())
    text = page.render_validation_text(bare)
    assert "not calibrated" in text and "no figures of home" in text
    assert "Not compared" in text
    assert "reject" in page.render_validation(bare)
