"""Shift: its size without a shift and with one."""

import math

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.evaluation.shift import (
    LEAST,
    choose_rows,
    compute_feature_shifts,
    compute_separation,
    compute_shift,
)


def draw(n, d=6, move=0.0, seed=0):
    return np.random.default_rng(seed).normal(move, 1, (n, d)).astype(np.float32)


def name_rows(n):
    return [str(i) for i in range(n)]


def test_separation_is_chance_without_a_shift_and_complete_with_one():
    held = [
        found.low <= 0.5 <= found.high
        for found in (
            compute_separation(draw(60, seed=2 * i), draw(60, seed=2 * i + 1)) for i in range(60)
        )
    ]
    assert sum(held) >= 51  # 95 % of 60 are 57; 99.9 % of binomial draws lie at 51 or above
    much = compute_separation(draw(80), draw(80, move=3, seed=1))
    assert much.value > 0.99 and much.low < 1
    with pytest.raises(DataError, match="20 images"):
        compute_separation(draw(80), draw(LEAST - 1))


def test_copies_of_an_image_do_not_separate_the_sides():
    """Thirty sources of ten copies: one of each counts."""
    external = np.repeat(draw(30, 40, seed=1), 10, axis=0)
    found = compute_shift(draw(200, 40), external, [str(i // 10) for i in range(300)])
    assert (found.n_internal, found.n_external) == (200, 30)
    cut = compute_shift(np.repeat(draw(30, 40), 10, axis=0), external, name_rows(300))
    assert cut.separation.value > 0.85 and found.separation.value < 0.8


def test_features_come_by_size():
    internal = np.c_[draw(200, 1), np.full(200, 3.0), draw(200, 1, seed=5)]
    external = np.c_[draw(200, 1, move=2, seed=1), np.full(200, 4.0), draw(200, 1, seed=6)]
    found = compute_feature_shifts(internal, external, ["blur", "constant", "same"])
    assert [one.name for one in found] == ["constant", "blur", "same"]
    assert found[0].effect == math.inf and found[0].outside.value == 1
    assert found[1].effect == pytest.approx(2, abs=0.25)
    assert abs(found[2].effect) < 0.3 and 0 < found[2].outside.value < 0.06
    assert compute_feature_shifts(internal * np.nan, external, ["a", "b", "c"]) == ()
    with pytest.raises(DataError, match="two or more"):
        compute_feature_shifts(internal[:1], external, ["a", "b", "c"])


def test_one_row_of_each_source_counts():
    rows = choose_rows(["a", "a", "b", "b", "b", "c"], 6)
    assert len(rows) == 3 and sorted("aabbbc"[i] for i in rows) == ["a", "b", "c"]
    assert len(choose_rows(None, 900, most=500)) == 500
    assert choose_rows([], 0).tolist() == []


def test_too_few_images_are_not_compared():
    found = compute_shift(draw(100), draw(LEAST - 1), name_rows(LEAST - 1))
    assert (found.status, found.n_internal, found.n_external) == ("too_few", 100, LEAST - 1)
    copies = compute_shift(draw(100), draw(100), ["one"] * 100)
    assert copies.separation is None and copies.n_external == 1
