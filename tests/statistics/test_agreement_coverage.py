"""Do the intervals and tests of agreement keep what they promise where cells share sources?"""

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.evaluation.agreement import (
    compute_case_mix_effect,
    compute_kappa,
    compute_mcnemar,
)
from leukoscope.evaluation.intervals import compute_proportion, wilson


def draw_sources(generator, sources=25, size=4, share=0.7):
    """Two readers of sources whose cells tend to be right or wrong together."""
    truth = generator.integers(0, 3, (sources, size))
    easy = generator.beta(2 * share, 2 * (1 - share), (sources, 1))
    first = np.where(generator.random((sources, size)) < easy, truth, (truth + 1) % 3)
    names = np.repeat(np.arange(sources), size).astype(str).tolist()
    return truth.ravel(), first.ravel(), names


def test_kappa_is_held_by_its_interval_as_often_as_promised():
    # Wrong names come evenly from all classes, so that chance agreement is 1/3.
    wanted, held = (0.7 - 1 / 3) / (1 - 1 / 3), 0
    for seed in range(150):
        truth, named, sources = draw_sources(np.random.default_rng(seed))
        found = compute_kappa(truth, named, 1.0 - np.eye(3), sources)
        held += found.low <= wanted <= found.high
    # 99.9 % of 150 draws at 0.95 lie at or above this.
    assert held >= binom.ppf(0.001, 150, 0.95)


def test_mcnemar_keeps_its_level_over_sources_and_the_plain_one_does_not():
    """Each reader has good and bad slides of his own; neither is better."""
    ours = plain = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        _, _, sources = draw_sources(generator)
        first, second = (
            (generator.random((25, 4)) < generator.beta(0.6, 0.3, (25, 1))).ravel()
            for _ in range(2)
        )
        ours += compute_mcnemar(first, second, sources).p_value <= 0.05
        plain += compute_mcnemar(first, second, [str(i) for i in range(100)]).p_value <= 0.05
    assert ours <= binom.ppf(0.999, 200, 0.05)
    assert plain > binom.ppf(0.999, 200, 0.05)


def draw_readers(seed, sizes, first, second, icc=0.3):
    """Two readers of sources of these sizes, each with good and bad sources of his own."""
    generator = np.random.default_rng(seed)
    weight = 1 / icc - 1
    rows = np.repeat(np.arange(len(sizes)), sizes)
    hits = [
        generator.random(len(rows))
        < generator.beta(share * weight, (1 - share) * weight, len(sizes))[rows]
        for share in (first, second)
    ]
    return *hits, rows.astype(str).tolist()


GIANT = (400, *[10] * 19)


@pytest.mark.parametrize("sizes", [(25,) * 20, (50,) * 8, (1,) * 300, GIANT], ids=str)
def test_equal_readers_are_called_unequal_as_seldom_as_promised(sizes):
    n = 300
    called = 0
    for seed in range(n):
        found = compute_mcnemar(*draw_readers(1000 + seed, sizes, 0.9, 0.9))
        called += found.is_gain or found.is_loss
    assert called <= binom.ppf(0.999, n, 0.05)


def test_pairs_show_what_intervals_side_by_side_do_not():
    """A reader of 95 % beside one of 80 %, 20 sources of 25 cells: two intervals that overlap say
    nothing of the same cells."""
    n = 200
    shown = apart = held = 0
    for seed in range(n):
        first, second, sources = draw_readers(seed, (25,) * 20, 0.95, 0.8)
        found = compute_mcnemar(first, second, sources)
        shown += found.is_gain
        held += found.difference.low <= 0.15 <= found.difference.high
        one, other = (compute_proportion(hits, sources) for hits in (first, second))
        apart += one.low > other.high
    assert shown >= 0.5 * n > 2 * apart
    assert held >= binom.ppf(0.001, n, 0.94)


@pytest.mark.parametrize(
    "recalls", [(0.99, 0.9, 0.6), (0.999, 0.97, 0.02), (0.8, 0.7, 0.5)], ids=str
)
def test_the_effect_of_the_case_mix_is_held_by_its_interval(recalls):
    """Sensitivities at their ends too, on which the bounds were too wide by a side."""
    external, internal = np.array([0.6, 0.3, 0.1]), np.array([60, 60, 60])
    truth = float((external - 1 / 3) @ np.array(recalls))
    hits = np.random.default_rng(0).binomial(internal, recalls, (2000, 3))
    shares = {k: wilson(k, 60) for k in range(61)}
    found = [
        compute_case_mix_effect(external, internal.astype(float), [shares[k] for k in row])
        for row in hits.tolist()
    ]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.93
