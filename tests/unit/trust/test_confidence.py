"""The least confidence that is accepted: by hand, for clustered cells, and with a guarantee."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom
from tests.builders.scores import name_sources

from leukoscope.trust.confidence import bound_share, fit_min_confidence


def fit_threshold(confidence, hits, target, sources=None, eligible=None, guarantee=None):
    confidence, hits = np.array(confidence, float), np.array(hits, bool)
    return fit_min_confidence(
        confidence,
        hits,
        np.ones(len(hits), bool) if eligible is None else np.array(eligible, bool),
        sources or name_sources(len(hits)),
        target,
        guarantee,
    )


def spread_mistakes(n_sources, n_cells, mistakes):
    """Cells of equal sources, the mistakes last and one in each of the first sources; names."""
    hits = np.ones((n_cells, n_sources), bool)
    hits[-1, :mistakes] = False
    sources = [str(i) for _ in range(n_cells) for i in range(n_sources)]
    return np.linspace(0.99, 0.5, hits.size), hits.ravel(), sources


def test_the_threshold_by_hand():
    """Nine right, then one wrong: (0 + 1) / (9 + 1) is just 0.1."""
    confidence = np.linspace(0.99, 0.9, 10)
    found = fit_threshold(confidence, [True] * 9 + [False], 0.9)
    assert (found.n_accepted, found.n_wrong) == (9, 0)
    assert found.value == pytest.approx((confidence[8] + confidence[9]) / 2)
    assert fit_threshold(confidence[:8], [True] * 8, 0.9).value is None
    assert fit_threshold(confidence, [True] * 10, 0.9).value == 0


def test_equal_confidences_are_accepted_together():
    found = fit_threshold([0.9] * 12 + [0.8] * 2, [True] * 12 + [True, False], 0.9)
    assert found.n_accepted == 12
    found = fit_threshold([0.9] * 12, [True] * 11 + [False], 0.9)
    assert found.value is None


def test_copies_do_not_make_it_surer():
    """A hundred copies of one right image are one piece of evidence."""
    assert fit_threshold([0.9] * 100, [True] * 100, 0.9, sources=["one"] * 100).value is None


def test_one_source_of_many_wrong_images_is_not_one_mistake():
    """300 right sources of one image and a wrong one of 100: a quarter of the cells is wrong."""
    confidence = np.append(np.linspace(1, 0.9, 300), np.full(100, 0.95))
    hits = np.arange(400) < 300
    sources = [*name_sources(300), *["many"] * 100]
    found = fit_threshold(confidence, hits, 0.99, sources=sources)
    assert found.value is not None and found.value > 0.95 and found.n_wrong == 0


def test_images_that_fail_elsewhere_do_not_count():
    eligible = hits = [True] * 9 + [False]
    assert fit_threshold([0.9] * 9 + [0.99], hits, 0.9, eligible=eligible).value == 0
    assert fit_threshold([], [], 0.9).value is None


# -- several cells per source -----------------------------------------------------------------


def test_a_mistake_counts_as_its_share_of_the_source():
    """150 sources of 100 cells, 20 sources with one mistake each: all but 0.13 % are right. With
    one cell per source 199 sources would be needed, and a source that counts as wrong as a whole
    would leave next to nothing."""
    confidence, hits, sources = spread_mistakes(150, 100, 20)
    found = fit_threshold(confidence, hits, 0.995, sources)
    assert (found.value, found.n_accepted, found.n_wrong) == (0.0, 15000, 20)
    # The upper limit of 20 mistakes among 15,000 independent cells, or a little more.
    exact = beta.ppf(0.95, 21, 14980)
    assert exact <= found.wrong_bound < 1.2 * exact


def test_mistakes_that_lie_together_are_as_few_as_their_sources():
    """The same 20 mistakes in one source say little of the next source."""
    confidence, hits, sources = spread_mistakes(150, 100, 0)
    hits.reshape(100, 150)[-20:, 0] = False
    found = fit_threshold(confidence, hits, 0.995, sources)
    assert found.n_accepted < 13000 and found.n_wrong <= 1
    assert fit_threshold(confidence, hits, 0.98, sources).wrong_bound > 0.007


def test_sources_weigh_the_same_whatever_their_size():
    """One source of 2,000 right cells hides nothing of 100 sources of two, a tenth of them wrong;
    nor do small ones hide that most cells of the large one are."""
    sources = ["large"] * 2000 + [str(i % 100) for i in range(200)]
    hits = np.array([True] * 2000 + [i % 10 > 0 for i in range(200)])
    confidence = np.full(2200, 0.9)
    assert fit_threshold(confidence, hits, 0.95, sources).value is None
    hits = np.array([False] * 500 + [True] * 1700)
    assert fit_threshold(confidence, hits, 0.95, sources).value is None


def test_without_a_mistake_it_is_as_if_one_were():
    """Nothing shows how mistakes would lie together: more right cells per source make it surer, up
    to a point, and a mistake never accepts more."""
    none = [fit_threshold(*spread_mistakes(60, m, 0)[:2], 0.99, spread_mistakes(60, m, 0)[2])
            for m in (1, 20, 200)]  # fmt: skip
    assert [found.n_accepted for found in none] == [0, 0, 12000]
    assert none[0].n_needed == 99 and none[1].n_needed == 99
    confidence, hits, sources = spread_mistakes(60, 200, 1)
    assert fit_threshold(confidence, hits, 0.99, sources).n_accepted == 12000


def test_how_many_sources_are_needed():
    """99 right ones do for 99 %; a tenth wrong everywhere never do; a single source is nothing."""
    found = fit_threshold(np.linspace(1, 0.9, 50), [True] * 50, 0.99)
    assert (found.value, found.n_needed) == (None, 99) and math.isnan(found.wrong_bound)
    assert fit_threshold(np.full(50, 0.9), np.arange(50) % 10 > 0, 0.99).n_needed == 0
    # Nor do two right ones at the top show that 99 times as many would be right.
    few = fit_threshold(np.linspace(1, 0.5, 90), np.arange(90) % 10 != 2, 0.99)
    assert (few.value, few.n_needed) == (None, 0)
    assert fit_threshold([0.9] * 50, [True] * 50, 0.99, ["one"] * 50).n_needed > 1
    assert fit_threshold([0.9] * 3, [False] * 3, 0.9, ["one"] * 3).value is None


# -- with a guarantee -------------------------------------------------------------------------


def test_the_guarantee_by_hand():
    """Of 1,000 cells, thresholds stand after each 50. The first that can be shown is after 600
    (0.995^600 < 0.05). A mistake at 700 is too many until 950, so the sequence ends at 650."""
    hits = np.arange(1000) != 699
    found = fit_threshold(np.linspace(1, 0.5, 1000), hits, 0.995, guarantee=0.95)
    assert (found.n_accepted, found.n_wrong) == (650, 0)
    assert binom.cdf(1, 700, 0.005) > 0.05 > binom.cdf(0, 600, 0.005)
    assert fit_threshold(np.linspace(1, 0.5, 1000), hits, 0.995).n_accepted == 1000
    all_right = fit_threshold(np.linspace(1, 0.5, 1000), hits | True, 0.995, guarantee=0.95)
    assert (all_right.n_accepted, all_right.value) == (1000, 0.0)


def test_the_guarantee_says_how_many_sources_it_needs():
    found = fit_threshold(np.linspace(1, 0.5, 300), [True] * 300, 0.995, guarantee=0.95)
    assert (found.value, found.n_needed) == (None, 598)
    early = fit_threshold(np.linspace(1, 0.5, 1000), np.arange(1000) % 50 > 0, 0.995, guarantee=0.9)
    assert (early.value, early.n_needed) == (None, 0)
    # 400 sources show no more than that, whatever their cells: the next ones may all be wrong.
    confidence, hits, sources = spread_mistakes(400, 25, 0)
    assert fit_threshold(confidence, hits, 0.995, sources, guarantee=0.95).n_needed == 598
    confidence, hits, sources = spread_mistakes(1200, 5, 1)
    found = fit_threshold(confidence, hits, 0.995, sources, guarantee=0.95)
    assert (found.n_accepted, found.n_wrong, found.value) == (6000, 1, 0.0)
    none = fit_threshold([0.9, 0.9], [True, True], 0.9, eligible=[False, False], guarantee=0.9)
    assert none.value is None


def test_the_guarantee_counts_one_cell_of_each_source():
    """Sources of two cells, one of them not eligible: those drawn are half of the sources."""
    n = 1000
    sources = [str(i) for i in range(n)] * 2
    eligible = np.arange(2 * n) < n
    sure = np.linspace(1, 0.5, 2 * n)
    found = fit_threshold(sure, np.ones(2 * n), 0.995, sources, eligible, 0.95)
    assert found.value is None and found.n_needed == pytest.approx(2 * 598, rel=0.1)
    right = [0.9, 0.8], [True, True]
    assert fit_threshold(*right, 0.9, ["a", "a"], [False, True], 0.95).value is None


def test_a_bound_of_a_share():
    assert bound_share(0, 10, 0.95) == pytest.approx(1 - 0.05**0.1)
    assert bound_share(10, 10, 0.95) == 1 and math.isnan(bound_share(0, 0, 0.95))
