"""Words and figures of robustness, from invented levels."""

import json
import math

import numpy as np
import pytest

from leukoscope.data.corrupt import AMOUNTS
from leukoscope.evaluation.intervals import Interval
from leukoscope.evaluation.robustness import (
    Level,
    Robustness,
    list_figures,
    render_robustness,
    word_headline,
    word_safety,
)

NOTHING = Interval(math.nan, math.nan, math.nan)


def make(losses, decides=True, wrong=None, noticed=()):
    """Robustness whose accuracy falls from 0.95 by `losses[fault]` at each severity; `noticed` are
    pairs of fault and severity."""
    levels = []
    for fault, loss in losses.items():
        for severity in range(6):
            value = max(0.0, 0.95 - loss * severity)
            right = 1 - (wrong or {}).get(fault, 0) * severity
            levels.append(
                Level(
                    fault, severity, Interval(value, value - 0.02, min(1, value + 0.02)), value,
                    0.9, 0.01,
                    Interval(0.5, 0.4, 0.6) if decides else NOTHING,
                    Interval(right, right - 0.1, 1.0) if decides else NOTHING,
                    noticed=(fault, severity) in noticed,
                )
            )  # fmt: skip
    return Robustness("run <a>", "cells", 200, tuple(levels), decides=decides)


def test_what_breaks_first_is_named_first():
    found = make({"blur": 0.01, "jpeg": 0.03, "noise": 0.0})
    assert word_headline(found) == (
        "What breaks it first: JPEG compression (five points of accuracy lost at severity 2 of 5)."
    )
    assert found.find_break("noise") is None and found.find_break("blur") == 5
    assert found.compute_loss("jpeg") == pytest.approx(0.09)
    assert word_headline(make({"noise": 0.0})).startswith("No fault at any severity")


def test_where_refusing_protects_least():
    found = make({"blur": 0.05, "stain_weaker": 0.1}, wrong={"stain_weaker": 0.1})
    text = word_safety(found)
    assert "weaker stain, severity 5: 25.0 % of all cells" in text and "(0.0 % on clean" in text
    assert word_safety(make({"blur": 0.05})).startswith("Refusing protects against every fault")
    assert "was not calibrated" in word_safety(make({"blur": 0.05}, decides=False))


def test_whether_a_spoilt_folder_is_noticed():
    losses, wrong = {"blur": 0.05, "stain_weaker": 0.1}, {"stain_weaker": 0.1, "blur": 0.02}
    assert word_safety(make(losses, wrong=wrong)).endswith("like that does `predict` warn.")
    some = word_safety(make(losses, wrong=wrong, noticed=[("stain_weaker", 5)]))
    assert "like that `predict` warns, since fewer cells are accepted than at home." in some
    assert some.endswith("does not warn of the worst is weaker stain, severity 4, with 20.0 %.")
    every = [(fault, severity) for fault in losses for severity in range(1, 6)]
    assert word_safety(make(losses, wrong=wrong, noticed=every)).endswith("than at home.")


@pytest.mark.parametrize("decides", [True, False])
def test_the_page_says_it_and_is_whole(decides):
    found = make(dict.fromkeys(AMOUNTS, 0.02), decides=decides)
    drawn = list_figures(found, np.full((32, 32, 3), 200, np.uint8))
    assert len(drawn["robustness"][0].axes) >= len(AMOUNTS)
    page = render_robustness(found, {name: ("<svg/>", alt) for name, (_, alt) in drawn.items()})
    assert word_headline(found) in page.split("Accuracy against severity")[0]
    assert "run &lt;a&gt;" in page and "run <a>" not in page
    assert page.count("<tr>") == 1 + len(AMOUNTS)


def test_levels_become_json_without_nan():
    for decides in (True, False):
        text = json.dumps([x.to_dict() for x in make({"blur": 0.1}, decides).levels])
        assert "NaN" not in text
