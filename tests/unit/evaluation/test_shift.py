"""Shift: sizes against brute force, level without a shift, power with one."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from leukoscope.errors import DataError
from leukoscope.evaluation.shift import (
    LEAST,
    choose_rows,
    compute_energy,
    compute_feature_shifts,
    compute_separation,
    compute_shift,
    match_classes,
    word_effect,
    word_separation,
)


def draw(n, d=6, move=0.0, seed=0):
    return np.random.default_rng(seed).normal(move, 1, (n, d)).astype(np.float32)


def name_rows(n):
    return [str(i) for i in range(n)]


def test_energy_is_the_sum_over_all_pairs():
    home, here = draw(30), draw(20, move=0.7, seed=1)
    joint = np.concatenate([home, here]).astype(float)
    joint = (joint - joint.mean(0)) / joint.std(0)
    a, b = joint[:30], joint[30:]
    across, within, other = cdist(a, b).mean(), cdist(a, a).mean(), cdist(b, b).mean()
    found = compute_energy(home, here, permutations=9)
    assert found.coefficient == pytest.approx((2 * across - within - other) / (2 * across))


def test_the_test_keeps_its_level_and_sees_a_shift():
    level = [
        compute_energy(draw(25, seed=2 * i), draw(25, seed=2 * i + 1), permutations=99).p_value
        for i in range(120)
    ]
    # 5 % of 120 is 6; 99.9 % of binomial draws lie at 14 or below.
    assert sum(p <= 0.05 for p in level) <= 14
    power = [
        compute_energy(draw(25, seed=i), draw(25, move=1, seed=900 + i), permutations=99).p_value
        for i in range(10)
    ]
    assert max(power) <= 0.05


def test_units_and_constant_dimensions_do_not_matter():
    home, here = draw(30), draw(30, move=0.5, seed=1)
    scale = np.array([1, 10, 1e-3, 5, 2, 1e4], np.float32)
    plain = compute_energy(home, here, permutations=49)
    scaled = compute_energy(home * scale, here * scale, permutations=49)
    assert scaled.coefficient == pytest.approx(plain.coefficient, rel=1e-4)
    wide = [np.c_[x, np.full(30, 7.0)] for x in (home, here)]
    assert compute_energy(*wide, permutations=49).coefficient == pytest.approx(plain.coefficient)
    same = np.ones((5, 3))
    assert compute_energy(same, same, permutations=9).p_value == 1
    with pytest.raises(DataError, match="finite"):
        compute_energy(np.full((5, 3), np.nan), same)


def test_separation_is_a_coin_without_a_shift_and_sure_with_one():
    held = [
        found.low <= 0.5 <= found.high
        for found in (
            compute_separation(draw(60, seed=2 * i), draw(60, seed=2 * i + 1)) for i in range(60)
        )
    ]
    assert sum(held) >= 51  # 95 % of 60 are 57; 99.9 % of binomial draws lie at 51 or above
    much = compute_separation(draw(80), draw(80, move=3, seed=1))
    assert much.value > 0.99 and much.low < 1
    with pytest.raises(DataError, match="20 sources"):
        compute_separation(draw(80), draw(80), here_sources=["one"] * 80)


def test_copies_of_an_image_do_not_tell_sides_apart():
    """Sixty sources of ten copies: folds that cut sources would know each copy again."""
    home, here = np.repeat(draw(30, 40), 10, axis=0), np.repeat(draw(30, 40, seed=1), 10, axis=0)
    sources = [str(i // 10) for i in range(300)]
    kept = compute_separation(home, here, home_sources=sources, here_sources=sources)
    cut = compute_separation(home, here)
    assert cut.value > 0.85 and kept.value < 0.8


def test_features_are_told_by_size():
    home = np.c_[draw(200, 1), np.full(200, 3.0), draw(200, 1, seed=5)]
    here = np.c_[draw(200, 1, move=2, seed=1), np.full(200, 4.0), draw(200, 1, seed=6)]
    found = compute_feature_shifts(home, here, ["blur", "constant", "same"], name_rows(200))
    assert [one.name for one in found] == ["constant", "blur", "same"]
    assert found[0].effect == math.inf and found[0].outside.value == 1
    assert found[1].effect == pytest.approx(2, abs=0.25)
    assert abs(found[2].effect) < 0.3 and 0 < found[2].outside.value < 0.06
    assert compute_feature_shifts(home * np.nan, here, ["a", "b", "c"], name_rows(200)) == ()
    with pytest.raises(DataError, match="two or more"):
        compute_feature_shifts(home[:1], here, ["a", "b", "c"], name_rows(200))


def test_one_row_of_each_source_counts():
    rows = choose_rows(["a", "a", "b", "b", "b", "c"], 6)
    assert len(rows) == 3 and sorted("aabbbc"[i] for i in rows) == ["a", "b", "c"]
    assert len(choose_rows(None, 900, most=500)) == 500
    assert choose_rows([], 0).tolist() == []


def test_classes_are_mixed_alike():
    home, here = np.array([0] * 50 + [1] * 5 + [-1]), np.array([0] * 10 + [1] * 40 + [2] * 9)
    left, right = match_classes(home, here)
    assert np.bincount(home[left]).tolist() == np.bincount(here[right]).tolist() == [10, 5]


def test_another_mixture_is_no_shift_where_classes_are_known():
    """Two classes far apart, mixed 9:1 at home and 1:9 here."""
    labels = np.r_[np.zeros(180, np.int64), np.ones(20, np.int64)]
    home = draw(200) + 6 * labels[:, None]
    here = draw(200, seed=1) + 6 * (1 - labels)[:, None]
    blind = compute_shift(home, here, name_rows(200))
    seeing = compute_shift(
        home, here, name_rows(200), home_labels_M=labels, here_labels_N=1 - labels
    )
    assert blind.separation.value > 0.8 and not blind.matched
    assert seeing.matched and seeing.separation.low < 0.5 and seeing.energy.p_value > 0.05


def test_too_few_images_are_not_compared():
    found = compute_shift(draw(100), draw(LEAST - 1), name_rows(LEAST - 1))
    assert found.energy is None and "19 here" in found.reason
    copies = compute_shift(draw(100), draw(100), ["one"] * 100)
    assert "1 here" in copies.reason


@pytest.mark.parametrize(
    ("area", "words"),
    [(0.4, "not visible"), (0.65, "small"), (0.75, "clear"),
     (0.9, "large"), (1.0, "nearly complete")],
)  # fmt: skip
def test_areas_have_words(area, words):
    assert word_separation(area) == words


def test_effects_have_words():
    words = [word_effect(x) for x in (0.1, -0.3, 0.6, -1.0, math.inf)]
    assert words == ["negligible", "small", "medium", "large", "very large"]
