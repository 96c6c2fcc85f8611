"""Words and figures of robustness, from invented levels."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from leukoscope.data.corrupt import AMOUNTS, SEVERITIES
from leukoscope.interval import Interval
from leukoscope.report.robustness import (
    ENOUGH,
    Level,
    Robustness,
    find_hits,
    list_figures,
    measure_level,
    render_robustness,
    word_basis,
    word_headline,
    word_safety,
)
from leukoscope.scores import ScoreTable

NOTHING = Interval(math.nan, math.nan, math.nan)


def make(losses, decides=True, wrong=None, noticed=(), spread=0.02, **changes):
    """Robustness whose accuracy falls from 0.95 by `losses[fault]` at each severity, each loss with
    limits `spread` apart from it; `noticed` are pairs of fault and severity."""
    levels = []
    for fault, loss in losses.items():
        for severity in range(6):
            value = max(0.0, 0.95 - loss * severity)
            right = 1 - (wrong or {}).get(fault, 0) * severity
            lost = 0.95 - value
            levels.append(
                Level(
                    fault, severity, Interval(value, value - 0.02, min(1, value + 0.02)),
                    Interval(lost, lost - spread, lost + spread), value, 0.9, 0.01,
                    Interval(0.5, 0.4, 0.6) if decides else NOTHING,
                    Interval(right, right - 0.1, 1.0) if decides else NOTHING,
                    noticed=(fault, severity) in noticed,
                )
            )  # fmt: skip
    given = {"n_images": 200, "n_sources": 200, "majority": 0.3, "leakage_status": "disjoint"}
    return Robustness("run <a>", "cells", levels=tuple(levels), decides=decides, **given | changes)


def test_what_breaks_first_is_named_first():
    found = make({"blur": 0.01, "jpeg": 0.03, "noise": 0.0})
    assert word_headline(found) == (
        "What breaks it first: JPEG compression (five points of accuracy lost at severity 2 of 5)."
    )
    assert found.find_break("noise") is None and found.find_break("blur") == 5
    assert found.compute_loss("jpeg") == pytest.approx(0.09)
    assert word_headline(make({"noise": 0.0})).startswith("No fault at any severity")


def test_exactly_five_points_are_five_points():
    assert 0.95 - 0.9 < 0.05  # in floating point
    found = make({"blur": 0.0})
    levels = [replace(x, lost=Interval(0.95 - 0.9, 0.01, 0.1)) for x in found.levels]
    assert replace(found, levels=tuple(levels)).find_break("blur") == 1


def test_a_break_is_named_only_where_it_is_shown():
    """Two cells of 24 may be chance; so may anything with few sources."""
    unclear = word_headline(make({"jpeg": 0.03, "noise": 0.0}, spread=0.2))
    assert unclear.startswith("Too few images to say what breaks it")
    assert "lost under JPEG compression, which may be chance" in unclear
    assert make({"jpeg": 0.03}, spread=0.1).find_break("jpeg") == 4
    few = make({"jpeg": 0.2}, n_sources=ENOUGH - 1)
    assert few.find_break("jpeg") is None and word_headline(few).startswith("Too few images")
    assert "too few images to exclude it" in word_headline(make({"noise": 0.0}, spread=0.06))


def test_a_network_that_knows_nothing_is_not_called_robust():
    text = word_headline(make({"noise": 0.0}, majority=0.94))
    assert text.startswith("Nothing is said about what breaks it: 95.0 % of clean images")
    assert "the most frequent class alone gives (94.0 %)" in text


def name_all(labels, names):
    """A score table of two classes: what each image is, and what it is called."""
    n = len(labels)
    return ScoreTable(
        classes=("a", "b"), ids=tuple(map(str, range(n))), paths=("",) * n,
        sources=tuple(map(str, range(n))), roles=("test",) * n, labels_N=np.array(labels),
        logits_NK=np.eye(2, dtype=np.float32)[names], embeddings_ND=np.zeros((n, 1), np.float32),
        source_known=True,
    )  # fmt: skip


def test_losses_are_paired_by_image():
    """Equal accuracies may hide that other images are right: the loss is 0, its limits are not."""
    clean = name_all([0, 0, 1, 1] * 10, [0, 0, 1, 0] * 10)
    other = name_all([0, 0, 1, 1] * 10, [0, 0, 0, 1] * 10)
    hits = find_hits(clean, None)
    assert hits.tolist() == [True, True, True, False] * 10
    same = measure_level(clean, "blur", 1, None, hits).lost
    assert (same.value, same.low, same.high) == (0, 0, 0)
    swapped = measure_level(other, "blur", 1, None, hits).lost
    assert swapped.value == 0 and swapped.low < -0.1 and swapped.high > 0.1


def test_where_rejecting_protects_least():
    found = make({"blur": 0.05, "stain_weaker": 0.1}, wrong={"stain_weaker": 0.1})
    text = word_safety(found)
    assert "weaker stain, severity 5: 25.0 % of all cells" in text and "(0.0 % on clean" in text
    assert word_safety(make({"blur": 0.05})).startswith("Rejecting protects against every fault")
    assert "was not calibrated" in word_safety(make({"blur": 0.05}, decides=False))


def test_rejecting_everything_protects_from_nothing():
    found = make({"blur": 0.05})
    levels = tuple(
        replace(level, accepted=Interval(0.0, 0.0, 0.1), accepted_accuracy=NOTHING)
        for level in found.levels
    )
    assert word_safety(replace(found, levels=levels)).startswith("It accepts none of the clean")
    assert "none accepted" in render(replace(found, levels=levels))


def render(found):
    picture = np.full((32, 32, 3), 200, np.uint8)
    examples = {fault: [picture] * (1 + len(SEVERITIES)) for fault in found.faults}
    drawn = list_figures(found, examples)
    assert len(drawn["robustness"][0].axes) >= len(found.faults)
    return render_robustness(found, {name: ("<svg/>", alt) for name, (_, alt) in drawn.items()})


def test_a_copy_in_training_and_what_was_left_out_are_said_first():
    told = {"sentences": ("40 have a copy.",), "warnings": ("3 files were rejected; see `x`.",)}
    found = make({"blur": 0.05}, leakage_status="leaking", **told)
    assert word_basis(found)[0].startswith("These numbers are inflated.")
    assert word_basis(found)[1:] == ("40 have a copy.", "3 files were rejected; see `x`.")
    head = render(found).split("Accuracy against severity")[0]
    assert 'class="banner bad"' in head and "<h2>These numbers are inflated</h2>" in head
    assert "40 have a copy." in head and "3 files were rejected; see <code>x</code>." in head
    plain = render(make({"blur": 0.05}))
    assert 'class="banner good"' in plain and "the network has never seen" in plain


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
    page = render(found)
    assert word_headline(found) in page.split("Accuracy against severity")[0]
    assert "run &lt;a&gt;" in page and "run <a>" not in page
    assert page.count("<tr>") == 1 + len(AMOUNTS)


def test_levels_become_json_without_nan():
    for decides in (True, False):
        text = json.dumps([x.to_dict() for x in make({"blur": 0.1}, decides).levels])
        assert "NaN" not in text
