"""Numbers of cells against Wilson's interval itself."""

import math

import numpy as np
import pytest

from leukoscope.errors import ConfigError
from leukoscope.evaluation.intervals import compute_proportion, wilson
from leukoscope.evaluation.sample_size import (
    MOST,
    compute_design_effect,
    compute_effective_size,
    compute_more,
    compute_sample_size,
    predict_effective_size,
)
from leukoscope.interval import Interval


@pytest.mark.parametrize("expected", [0.0, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("half_width", [0.02, 0.05, 0.2])
def test_the_number_is_the_least_that_does(expected, half_width):
    n = compute_sample_size(expected, half_width)

    def halve(n):
        found = wilson(expected * n, n)
        return (found.high - found.low) / 2

    assert halve(n) <= half_width + 1e-9
    assert n == 1 or halve(n - 1) > half_width


def test_cells_of_a_source_count_for_less():
    assert compute_sample_size(0.9, 0.05, design_effect=3) >= 3 * compute_sample_size(0.9, 0.05) - 3


@pytest.mark.parametrize("values", [(1.2, 0.05, 1), (0.9, 0.0, 1), (0.9, 0.6, 1), (0.9, 0.05, 0.5)])
def test_numbers_out_of_range_are_rejected(values):
    with pytest.raises(ConfigError, match="sample size"):
        compute_sample_size(values[0], values[1], design_effect=values[2])


@pytest.mark.parametrize(("share", "limit"), [(0.95, 0.9), (0.85, 0.9), (0.02, 0.1), (0.3, 0.1)])
@pytest.mark.parametrize("size", [1, 7])
def test_so_many_cells_decide_a_limit(share, limit, size):
    def decides(n):
        found = wilson(share * n, n)
        return found.low >= limit or found.high < limit

    more = compute_more([size] * 10, decides)
    assert more % size == 0
    n = 10 + more // size
    assert decides(n) and (more == size or not decides(n - 1))


def test_what_no_number_decides_has_none():
    assert compute_more([1] * 10, lambda n: n > MOST) is None
    assert compute_more([1] * 10, lambda n: n >= MOST) == MOST - 10
    assert compute_more([MOST], lambda n: True) is None
    assert compute_more([], lambda n: True) is None
    assert compute_more([3, 4], lambda n: True) == 4  # a source more, as large as these on average


def test_more_sources_add_more_to_a_share_than_more_cells_of_the_same():
    """Cells of which each source names its own share right: predicted against what is found."""
    rng = np.random.default_rng(0)

    def draw(n_sources):
        right = rng.random(n_sources) < 0.75
        hits = rng.random((n_sources, 40)) < np.where(right, 1.0, 0.7)[:, None]
        return compute_proportion(hits.ravel(), np.repeat(np.arange(n_sources), 40).astype(str))

    seen = [compute_effective_size(draw(60)) for _ in range(40)]
    predicted = [predict_effective_size(draw(12), [40] * 12, 60) for _ in range(40)]
    assert np.median(predicted) == pytest.approx(np.median(seen), rel=0.3)
    # All right: nothing varies, and each source counts as one cell.
    even = compute_proportion(np.ones(120, bool), [str(i // 40) for i in range(120)])
    assert predict_effective_size(even, [40] * 3, 12) == pytest.approx(12)


@pytest.mark.parametrize(("hits", "n"), [(66, 71), (10, 10), (0, 9), (3, 40)])
def test_an_interval_tells_its_number_of_cells(hits, n):
    assert compute_effective_size(wilson(hits, n)) == pytest.approx(n)
    assert compute_design_effect(wilson(hits, n), [1] * n) == pytest.approx(1)


def test_the_design_effect_is_at_most_that_of_copies():
    hits = [i // 6 not in (0, 7) for i in range(120)]
    sources = [str(i // 6) for i in range(120)]
    found = compute_proportion(np.array(hits), sources)
    # The interval itself is wider still: twenty sources know little of their own spread.
    assert 120 / compute_effective_size(found) > 6
    assert compute_design_effect(found, [6] * 20) == pytest.approx(6)
    assert compute_design_effect(Interval(math.nan, math.nan, math.nan), []) == 1
