"""A differential's intervals by simulation: how often they hold the truth, and how much of the bias
of raw counts the correction removes (`benchmarks/differential_intervals.py` has more)."""

import numpy as np
import pytest

from leukoscope.evaluation.decisions import count_called
from leukoscope.smear.prevalence import compute_exact_interval, estimate_shares

K, PERSONS, REPEATS, CELLS, CALIBRATION = 5, 12, 8, 200, 120


def draw_rows(g):
    """A network that is right in 85 to 98 % of each class, and rejects 3 %."""
    rows = np.full((K, K + 1), 0.03)
    for i, right in enumerate(g.uniform(0.85, 0.98, K)):
        rows[i, :K] = np.insert((1 - right) * g.dirichlet(np.full(K - 1, 0.5)), i, right) * 0.97
    return rows


def simulate(shift=0.0):
    """Truth (P, K), and raw and corrected figures (P, R, 3, K). With a `shift`, so many cells of
    the sample are called the first class whatever they are: they look otherwise than calibrated."""
    g = np.random.default_rng(3)
    everything, only = np.ones(K, dtype=bool), np.eye(K, dtype=bool)
    truth, raw, corrected = [], [], []
    for _ in range(PERSONS):
        rows, shares = draw_rows(g), g.dirichlet(np.full(K, 0.8))
        truth.append(shares)
        seen = (1 - shift) * rows[:, :K]
        seen[:, 0] += shift
        seen = shares @ seen
        for _ in range(REPEATS):
            labels = np.repeat(np.arange(K), CALIBRATION)
            called = np.concatenate([g.choice(K + 1, CALIBRATION, p=row) for row in rows])
            calibration = count_called(labels, called, [str(i) for i in range(len(labels))], K)
            n_K = g.multinomial(CELLS, seen / seen.sum())
            draws = estimate_shares(n_K, calibration, 60)
            raw.append([compute_exact_interval(int(n), CELLS) for n in n_K])
            corrected.append([draws.compare(one, everything).interval for one in only])
    shape = (PERSONS, REPEATS, K, 3)
    found = [
        np.array([[[x.value, x.low, x.high] for x in row] for row in one]).reshape(shape)
        for one in (raw, corrected)
    ]
    return np.array(truth), *(np.moveaxis(one, 3, 2) for one in found)


def measure(truth, found):
    """Coverage, and the bias: the mean error over the repeats of each person."""
    truth = truth[:, None]
    held = (found[:, :, 1] <= truth) & (truth <= found[:, :, 2])
    return held.mean(), (found[:, :, 0] - truth).mean(1)


@pytest.fixture(scope="module")
def same_look():
    return simulate()


def test_corrected_intervals_hold_the_truth_where_raw_ones_do_not(same_look):
    truth, raw, corrected = same_look
    assert 0.93 <= measure(truth, corrected)[0] <= 0.975
    assert measure(truth, raw)[0] < 0.88


def test_the_correction_removes_the_bias(same_look):
    truth, raw, corrected = same_look
    before, after = (measure(truth, one)[1] for one in (raw, corrected))
    # Projected on what there was: the chance of the repeats averages out.
    assert (before * after).sum() < 0.2 * (before**2).sum()


def test_no_correction_holds_where_cells_look_otherwise():
    """Label shift is all that it corrects: the negative control."""
    truth, _, corrected = simulate(shift=0.2)
    assert measure(truth, corrected)[0] < 0.85
