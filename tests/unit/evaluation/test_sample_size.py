"""Numbers of cells against Wilson's interval itself."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.errors import ConfigError
from leukoscope.evaluation.intervals import clopper_pearson, compute_proportion, wilson
from leukoscope.evaluation.sample_size import (
    MOST,
    compute_design_effect,
    compute_effective_size,
    compute_needed,
    compute_power,
    compute_sample_size,
    predict_sizes,
    reduce_size,
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


@pytest.mark.parametrize(("share", "threshold"), [(0.95, 0.9), (0.6, 0.5), (1.0, 0.9), (0.9, 0.1)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_the_power_is_that_of_counting_every_outcome(share, threshold, level):
    """Cells of their own sources: the binomial, decided by the bound of each outcome."""
    numbers = np.array([2, 9, 10, 37, 150])
    found = compute_power(share, threshold, [1] * 5, numbers, (numbers.astype(float),) * 2, level)
    for n, power in zip(numbers.tolist(), found, strict=True):
        bound = clopper_pearson if n < 10 else wilson
        met = [k for k in range(n + 1) if bound(k, n, level).low >= threshold]
        assert power == pytest.approx(binom.pmf(met, n, share).sum(), abs=1e-9)


def test_what_no_number_decides_has_none():
    def decide_from(least):
        return lambda sources_T: (sources_T >= least).astype(float)

    assert compute_needed([1] * 10, decide_from(MOST + 1)) is None
    assert compute_needed([1] * 10, decide_from(MOST)) == MOST
    assert compute_needed([1] * 10, decide_from(1)) == 11
    assert compute_needed([MOST], decide_from(1)) is None
    assert compute_needed([], decide_from(1)) is None
    assert compute_needed([3, 4], decide_from(1)) == 11  # a source more, as large as these


def test_more_sources_add_more_to_a_share_than_more_cells_of_the_same():
    """Cells of which each source names its own share right: predicted against what is found."""
    rng = np.random.default_rng(0)

    def draw(n_sources):
        right = rng.random(n_sources) < 0.75
        hits = rng.random((n_sources, 40)) < np.where(right, 1.0, 0.7)[:, None]
        return compute_proportion(hits.ravel(), np.repeat(np.arange(n_sources), 40).astype(str))

    seen = [compute_effective_size(draw(60)) for _ in range(40)]
    predicted = [predict_sizes(draw(12), [40] * 12, np.array([60]))[1][0] for _ in range(40)]
    assert np.median(predicted) == pytest.approx(np.median(seen), rel=0.3)
    # All right: nothing varies, and each source counts as one cell.
    even = compute_proportion(np.ones(120, bool), [str(i // 40) for i in range(120)])
    assert predict_sizes(even, [40] * 3, np.array([12]))[1] == pytest.approx(12)


def test_one_large_source_among_small_ones_leaves_less():
    """The interval has no more degrees of freedom than Kish's number of sources less 1."""
    equal, unequal = [30] * 10, [120, *[20] * 9]
    assert reduce_size(0.9, unequal, 0.95) < reduce_size(0.9, equal, 0.95) < 1
    assert reduce_size(0.9, equal, 0.99) < reduce_size(0.9, equal, 0.95)
    assert reduce_size(1.0, equal, 0.95) == reduce_size(0.9, [1] * 9, 0.95) == 1


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
