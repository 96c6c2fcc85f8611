"""Pages in full, as text: wording is checked here once, and read in the diff.

`tests/builders/page_<name>.py` builds one page; `tests/golden/pages/<name>.txt` is its text.
After a change of words: `python tests/golden/regenerate_pages.py`, then read `git diff`.
"""

import importlib
from pathlib import Path

import pytest

from leukoscope.report.frame import render_html
from leukoscope.report.page import render_text

PLACE = Path(__file__).parent / "pages"
BUILDERS = sorted((Path(__file__).parents[1] / "builders").glob("page_*.py"))
NAMES = [path.stem.removeprefix("page_") for path in BUILDERS]


def build_page(name):
    return importlib.import_module(f"tests.builders.page_{name}").build_page()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_it_said(name):
    page = build_page(name)
    assert render_text(page) == (PLACE / f"{name}.txt").read_text(encoding="utf-8")
    assert "<script" not in render_html(page)


def test_no_page_is_left_behind():
    assert {path.stem for path in PLACE.glob("*.txt")} == set(NAMES)
