"""Numbers of cells against Wilson's interval itself."""

import math

import pytest

from leukoscope.errors import ConfigError
from leukoscope.evaluation.intervals import Interval, compute_proportion, wilson
from leukoscope.evaluation.sample_size import (
    compute_design_effect,
    compute_effective_size,
    compute_needed,
    compute_sample_size,
)


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
def test_numbers_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="sample size"):
        compute_sample_size(values[0], values[1], design_effect=values[2])


@pytest.mark.parametrize(("share", "limit"), [(0.95, 0.9), (0.85, 0.9), (0.02, 0.1), (0.3, 0.1)])
def test_so_many_cells_decide_a_limit(share, limit):
    n = compute_needed(share, limit)

    def decides(n):
        found = wilson(share * n, n)
        return found.low >= limit - 1e-12 or found.high <= limit + 1e-12

    assert decides(n) and not decides(n - 1)


def test_what_no_number_decides_has_none():
    assert compute_needed(0.9, 0.9) is None
    assert compute_needed(0.9001, 0.9) is None
    assert compute_needed(math.nan, 0.9) is None
    assert compute_needed(0.9, 1.0) is None


@pytest.mark.parametrize(("hits", "n"), [(66, 71), (10, 10), (0, 9), (3, 40)])
def test_an_interval_tells_its_number_of_cells(hits, n):
    assert compute_effective_size(wilson(hits, n)) == pytest.approx(n)
    assert compute_design_effect(wilson(hits, n), [1] * n) == pytest.approx(1)


def test_the_design_effect_is_at_most_that_of_copies():
    hits = [i // 6 not in (0, 7) for i in range(120)]
    sources = [str(i // 6) for i in range(120)]
    import numpy as np

    found = compute_proportion(np.array(hits), sources)
    # The interval itself is wider still: twenty sources know little of their own spread.
    assert 120 / compute_effective_size(found) > 6
    assert compute_design_effect(found, [6] * 20) == 6
    assert compute_design_effect(Interval(math.nan, math.nan, math.nan), []) == 1
