"""Model cards and checklists in full: wording is checked here once, and read in the diff.

After a change of words: `python tests/golden/regenerate_pages.py`, then read `git diff`.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders.card import build_ensemble_records, build_records, leak, recalibrate, render_all

from leukoscope.report.card_records import CardRecords

PLACE = Path(__file__).parent / "cards"
DOCUMENTS = ("MODEL_CARD", "CLAIM", "TRIPOD_AI")


def render_cards():
    """Markdown by the name of its golden file."""
    full = build_records()
    cases = {
        "full": full,
        "uncalibrated": replace(full, trust=None, bundle=None, evaluations=None, validation=None),
        "leaking": leak(full),
        "recalibrated": recalibrate(full),
        "ensemble": build_ensemble_records(),
        "empty": CardRecords(),
    }
    texts = {}
    for case, records in cases.items():
        for document, text in zip(DOCUMENTS, render_all(records), strict=True):
            if document == "MODEL_CARD" or case in ("full", "ensemble"):
                texts[f"{case}_{document}.md"] = text
    return texts


@pytest.mark.parametrize("name", render_cards())
def test_a_card_says_what_it_said(name):
    assert render_cards()[name] == (PLACE / name).read_text(encoding="utf-8")


def test_no_card_is_left_behind():
    assert {path.name for path in PLACE.glob("*.md")} == {*render_cards()}
