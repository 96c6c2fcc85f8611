"""Figures of home as a bundle carries them, and as an older one did."""

import math

import numpy as np
import pytest

from leukoscope.evaluation.home import Home, compute_home_shares
from leukoscope.evaluation.intervals import compute_proportion, wilson
from leukoscope.interval import Interval

CONFUSION = np.array([[45.0, 0, 0], [3, 27, 0], [0, 2, 43]])


def build_home(accuracy, **changes):
    return Home("cells", "disjoint", 120, 40, True, CONFUSION, accuracy, **changes)


def test_what_is_on_record_is_used_as_it_is():
    recalls = tuple(Interval(x, x - 0.1, x) for x in (1.0, 0.9, 0.95))
    others = tuple(Interval(x, x - 0.2, x) for x in (0.98, 0.97, 1.0))
    home = build_home(wilson(115, 120), recalls=recalls, specificities=others)
    assert compute_home_shares(home) == (recalls, others)


def test_an_older_record_of_independent_images_is_counted_by_images():
    recalls, specificities = compute_home_shares(build_home(wilson(115, 120)))
    for found, wanted in ((recalls[1], wilson(27, 30)), (specificities[1], wilson(88, 90))):
        assert (found.value, found.low, found.high) == pytest.approx(
            (wanted.value, wanted.low, wanted.high)
        )


def test_an_older_record_of_images_that_share_sources_is_counted_by_sources():
    """Three copies of each of forty cells: as wide as forty cells are."""
    hits = np.repeat(np.arange(40) >= 2, 3)
    accuracy = compute_proportion(hits, [str(i // 3) for i in range(120)])
    recalls, _ = compute_home_shares(build_home(accuracy))
    wanted = wilson(15, 15)
    assert recalls[0].value == 1
    assert recalls[0].low == pytest.approx(wanted.low, abs=0.02)
    assert recalls[0].low < wilson(45, 45).low - 0.1


def test_a_class_without_images_has_no_figure():
    empty = Home("cells", "disjoint", 2, 2, True, np.array([[2.0, 0], [0, 0]]), wilson(2, 2))
    recalls, specificities = compute_home_shares(empty)
    assert math.isnan(recalls[1].value) and math.isnan(specificities[0].value)
    assert specificities[1].value == 1
