"""Robustness from invented levels, and levels from score tables by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.builders.robustness import build_robustness

from leukoscope.data.corrupt import AMOUNTS
from leukoscope.evaluation.robustness import ENOUGH, Robustness, find_correct, measure_level
from leukoscope.interval import Interval
from leukoscope.records import load_record, save_record
from leukoscope.scores import ScoreTable


def test_breaks_come_in_the_order_of_severity_and_of_what_they_cost():
    found = build_robustness({"blur": 0.01, "jpeg": 0.03, "noise": 0.0, "larger": 0.04})
    assert found.find_first_breaks() == (2, ("larger", "jpeg"))
    assert found.find_break("noise") is None and found.find_break("blur") == 5
    assert found.mean_loss["jpeg"] == pytest.approx(0.09)
    assert build_robustness({"noise": 0.0}).find_first_breaks() == (0, ())


def test_exactly_five_points_are_five_points():
    assert 0.95 - 0.9 < 0.05  # in floating point
    found = build_robustness({"blur": 0.0})
    levels = [replace(x, loss=Interval(0.95 - 0.9, 0.01, 0.1)) for x in found.levels]
    assert replace(found, levels=tuple(levels)).find_break("blur") == 1


def test_a_break_is_named_only_where_it_is_shown():
    """Two cells of 24 may be chance; so may anything with few sources."""
    unclear = build_robustness({"jpeg": 0.03, "noise": 0.0}, spread=0.2)
    assert unclear.find_first_breaks() == (0, ())
    assert {x.corruption for x in unclear.levels if x.is_large_loss} == {"jpeg"}
    assert build_robustness({"jpeg": 0.03}, spread=0.1).find_break("jpeg") == 4
    few = build_robustness({"jpeg": 0.2}, n_sources=ENOUGH - 1)
    assert few.find_break("jpeg") is None


def classify(labels, predicted):
    """A score table of two classes: what each image is, and how it is classified."""
    n = len(labels)
    return ScoreTable(
        classes=("a", "b"), ids=tuple(map(str, range(n))), paths=("",) * n,
        sources=tuple(map(str, range(n))), roles=("test",) * n, labels_N=np.array(labels),
        logits_NK=np.eye(2, dtype=np.float32)[predicted],
        embeddings_ND=np.zeros((n, 1), np.float32), source_known=True,
    )  # fmt: skip


def test_losses_are_paired_by_image():
    """Equal accuracies may hide that other images are right: the loss is 0, its bounds are not."""
    clean = classify([0, 0, 1, 1] * 10, [0, 0, 1, 0] * 10)
    other = classify([0, 0, 1, 1] * 10, [0, 0, 0, 1] * 10)
    correct = find_correct(clean, None)
    assert correct.tolist() == [True, True, True, False] * 10
    same = measure_level(clean, "blur", 1, None, correct)
    assert (same.loss.value, same.loss.low, same.loss.high) == (0, 0, 0)
    assert math.isnan(same.accepted_wrong) and not same.detected
    swapped = measure_level(other, "blur", 1, None, correct).loss
    assert swapped.value == 0 and swapped.low < -0.1 and swapped.high > 0.1


@pytest.mark.parametrize("decides", [True, False])
def test_a_record_comes_back_as_it_was_saved(decides, tmp_path):
    found = build_robustness(dict.fromkeys(AMOUNTS, 0.02), decides)
    save_record(found, tmp_path / "r.json")
    again = load_record(Robustness, tmp_path / "r.json", "leukoscope robustness")
    assert again.amounts == found.amounts and again.mean_loss == found.mean_loss
    assert repr(again.levels) == repr(found.levels)  # not-a-number differs from itself
