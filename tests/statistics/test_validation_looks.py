"""A laboratory that looks at growing cells: how often does a network pass that just misses a
criterion, and one that meets it?"""

import functools

import numpy as np
import pytest

from leukoscope.evaluation.acceptance import AcceptanceCriteria, Look, evaluate_criterion
from leukoscope.evaluation.intervals import compute_proportion, wilson

THRESHOLD = 0.9
(CRITERION,) = AcceptanceCriteria(min_accuracy=THRESHOLD).list_criteria()
LOOKS = 8


@functools.cache
def evaluate(hits, n, planned):
    return evaluate_criterion(CRITERION, wilson(hits, n), [1] * n, look=Look(1, planned))


def find_least(n, planned):
    """The fewest hits of n cells that meet the criterion; more than n where none do."""
    met = (k for k in range(n + 1) if evaluate(k, n, planned).outcome == "met")
    return next(met, n + 1)


@pytest.mark.parametrize(("planned", "low", "high"), [(1, 0.06, 0.12), (LOOKS, 0.0, 0.025)])
def test_looking_again_and_again_passes_by_luck_unless_planned(planned, low, high):
    """50 cells more at each look; the share of correct ones is the threshold itself."""
    hits = np.random.default_rng(0).binomial(50, THRESHOLD, (20_000, LOOKS)).cumsum(axis=1)
    least = [find_least(50 * (look + 1), planned) for look in range(LOOKS)]
    assert low <= (hits >= least).any(axis=1).mean() <= high


def follow_advice(generator, truth, planned, n):
    """Whether a criterion is met in one of eight looks, each at as many cells as the last said."""
    hits = generator.binomial(n, truth)
    for _ in range(LOOKS):
        found = evaluate(hits, n, planned)
        if found.outcome != "undecided":
            return found.outcome == "met"
        more = min(found.needed or 2 * n, 3000) - n
        if more <= 0:
            return False
        hits, n = hits + generator.binomial(more, truth), n + more
    return False


def test_following_the_advice_passes_no_more_often_than_one_look():
    generator = np.random.default_rng(1)
    passed = [follow_advice(generator, THRESHOLD, LOOKS, 50) for _ in range(100)]
    assert np.mean(passed) <= 0.03  # 6 % and more where each look is decided as the only one
    assert np.mean([follow_advice(generator, 0.95, LOOKS, 50) for _ in range(25)]) > 0.8


@pytest.mark.parametrize(("n_sources", "size"), [(20, 10), (40, 5)])
def test_the_number_holds_where_cells_share_sources(n_sources, size):
    """What is found of some patients taken as the truth, as many as advised pass in 8 of 10 cases
    or more: the spread between few patients is itself an estimate, and taken on the safe side."""
    generator = np.random.default_rng(2)

    def draw(n, mean=0.95):
        chance = generator.beta(19 * mean, 19 * (1 - mean), (n, 1))
        hits = generator.random((n, size)) < chance
        return hits, np.repeat(np.arange(n), size).astype(str).tolist()

    powers = []
    for _ in range(30):
        hits, sources = draw(n_sources)
        share = compute_proportion(hits.ravel(), sources)
        found = evaluate_criterion(CRITERION, share, [size] * n_sources)
        if found.needed is None:
            continue
        n = found.needed // size
        met = 0
        for _ in range(20):
            hits, sources = draw(n, share.value)
            again = compute_proportion(hits.ravel(), sources)
            met += evaluate_criterion(CRITERION, again, [size] * n).outcome == "met"
        powers.append(met / 20)
    assert len(powers) > 10 and 0.75 <= np.mean(powers) <= 0.95
