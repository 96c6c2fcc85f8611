"""Which shares of the true classes a count of predicted ones speaks for, and how certainly.

A network that takes one class for another counts it wrongly, and by how much depends on the sample:
of 2 % basophils and 70 % neutrophils, one mistaken neutrophil in a hundred makes a third of the
basophils. The confusions of the calibration set say how often a cell of class i is called j; if
that holds for this sample too (label shift: other shares, the same look), shares follow.

With p the shares of the true classes among identified cells, R the rows of confusion among these
and n the counts by predicted class, n is multinomial with chances p R. The point is the p of
greatest likelihood for the mean rows (Saerens, Latinne and Decaestecker 2002, on labels instead of
probabilities; it cannot leave the simplex, as inverting R can). The limits are those of a
posterior: rows are Dirichlet from the calibration counts, each as an effective number of cells;
another slide has rows of its own around them, Dirichlet by the correlation within the slides of the
calibration set (Skellam 1948, for several classes); and given rows the shares are drawn by data
augmentation (Tanner and Wong 1987; Joseph, Gyorkos and Coupal 1995 for tests without a gold
standard), with Jeffreys' prior, which for rows without confusion gives Jeffreys' interval of a
proportion. The sample says nothing back about the rows.
From shares among identified cells to those of all, each is divided by how often its class is
identified, and by how often a cell of its size is counted (`smear.edges`).

How often the limits hold the truth is measured by `benchmarks/differential_intervals.py`
(docs/experiments/044) and, in short, by `tests/statistics/test_differential_coverage.py`. Axes: K
classes, J what they are called, C draws of the rows, S draws of the shares. What this file does
not do: it knows no names of cells (`counting`), and cannot see whether the look has changed
(`trust.folder`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.trust.confidence import bound_share
from leukoscope.trust.record import CalibrationCounts

LEVEL = 0.95

ROWS = 1000
"""Draws of the rows of confusion."""

_BURN_IN = 8
_KEPT = 6
_APART = 3
"""Steps of a chain before the first kept one, how many are kept, and every how many. Chains start
at the point; for a network that errs in a third of the cells, a step leaves about a third of what a
chain remembers."""

_SHARE_PRIOR = 0.5
"""Jeffreys' prior of shares, for each class."""

_RIGHT_PRIOR, _WRONG_PRIOR = 0.5, 1.0
"""Cells that the prior of a row weighs: called correctly, and spread over all else they may be
called. With less of the second, mistakes that twenty calibration cells had no chance to show were
ruled out, and classes that a sample lacks were too often found in it."""

_LEAST_CORRELATION, _MOST_CORRELATION = 1e-4, 0.5
"""Few sources cannot rule out any correlation; rows drawn by more would say nothing at all."""

_STEPS = 400
_STILL = 1e-7
_PART_OF_CELL = 0.1
_TINY = 1e-300

Shares = NDArray[np.float64]


def compute_exact_interval(count: int, total: int) -> Interval:
    """Return the share `count / total` with its exact 95 % interval (Clopper and Pearson 1934): the
    table that is known after Rümke (1985). NaN for `total` = 0.

    >>> found = compute_exact_interval(10, 100)
    >>> round(found.low, 3), round(found.high, 3)
    (0.049, 0.176)
    """
    if not total:
        return UNDEFINED
    level = 0.5 + LEVEL / 2
    low = 1 - bound_share(total - count, total, level)
    return Interval(count / total, low, bound_share(count, total, level))


@dataclass(frozen=True)
class Estimate:
    """A share or ratio with its limits. `sampled_frac` of its variance, 0 to 1, is chance of the
    sample, which more cells of it diminish; the rest is what is not known of the network."""

    interval: Interval
    sampled_frac: float

    def count_more(self, n_cells: int, half_width: float) -> int | None:
        """Return how many cells more than the `n_cells` of the sample bring half of the interval's
        length down to `half_width`; None where no number does. Lengths go with the root of the
        variance.

        >>> Estimate(Interval(0.5, 0.4, 0.6), 1.0).count_more(100, 0.05)
        300
        >>> Estimate(Interval(0.5, 0.4, 0.6), 0.5).count_more(100, 0.05) is None
        True
        """
        half = (self.interval.high - self.interval.low) / 2
        if math.isnan(half):
            return None
        if half <= half_width:
            return 0
        sampled = self.sampled_frac * half * half
        left = half_width * half_width - (half * half - sampled)
        return math.ceil(n_cells * (sampled / left - 1) - 1e-6) if left > 0 else None


NO_ESTIMATE = Estimate(UNDEFINED, math.nan)


@dataclass(frozen=True)
class ShareDraws:
    """Shares of the true classes among all cells of the known classes: the likeliest, `(K,)`, and
    draws `(C, S, K)`, those of one C with the same rows of confusion. `n_cells` of the sample are
    identified."""

    point_K: Shares
    draws_CSK: Shares
    n_cells: int

    def compare(self, part_K: NDArray[np.bool_], of_K: NDArray[np.bool_]) -> Estimate:
        """Return how many cells of some classes there are for each of others: a share where `of_K`
        holds `part_K`. `NO_ESTIMATE` where no cell of `of_K` is likely. Of what is not likely at
        all, and of less than a tenth of a cell, the lower limit is 0."""
        whole = float(self.point_K[of_K].sum())
        if whole <= 0:
            return NO_ESTIMATE
        point = float(self.point_K[part_K].sum()) / whole
        draws_CS = self.draws_CSK[..., part_K].sum(-1) / np.maximum(
            self.draws_CSK[..., of_K].sum(-1), _TINY
        )
        tail = (1 - LEVEL) / 2
        low, high = (float(x) for x in np.quantile(draws_CS, (tail, 1 - tail)))
        if low < _PART_OF_CELL / self.n_cells:
            low = 0.0
        variance = float(draws_CS.var())
        # Two draws that share nothing but the rows: they vary together by what the rows are.
        shared = float(np.cov(draws_CS[:, 0], draws_CS[:, -1])[0, 1])
        sampled = 1 - min(max(shared / variance, 0.0), 1.0) if variance > 0 else 1.0
        return Estimate(Interval(point, min(low, point), max(high, point)), sampled)


def estimate_shares(
    called_K: NDArray[np.int64],
    calibration: CalibrationCounts,
    n_rows: int = ROWS,
    whole_K: Shares | None = None,
) -> ShareDraws:
    """Return the shares of the true classes that counts of predicted ones speak for.

    `called_K` counts the identified cells of a sample by predicted class, in the order of the
    calibration counts, one or more; `n_rows` draws of the rows are made, the same for the same
    counts. `whole_K` (above 0 to 1; None: 1 for all) is the chance of a cell of each class to be
    counted at all, known well enough to be taken as exact. Raises `DataError` for counts of other
    classes, or none.
    """
    k = len(calibration.called)
    if called_K.shape != (k,) or not called_K.sum():
        raise DataError(
            f"shares are estimated from counts of {k} classes, one cell or more",
            f"{called_K.sum()} cells, {len(called_K)} classes",
            "count the labels of the network that was calibrated",
        )
    whole = 1.0 if whole_K is None else whole_K
    rng = np.random.default_rng(0)
    rows_KJ = weigh_rows(calibration)
    mean_KJ = rows_KJ / rows_KJ.sum(axis=1, keepdims=True)
    point_K = maximise_likelihood(called_K, mean_KJ[:, :k])
    rows_CKJ = _draw_dirichlet(rng, np.broadcast_to(rows_KJ, (n_rows, *rows_KJ.shape)))
    if calibration.n_samples:
        rho_C = _draw_correlations(rng, calibration, n_rows)
        rows_CKJ = _draw_dirichlet(rng, rows_CKJ * (1 / rho_C - 1)[:, None, None])
    identified_CK = np.maximum(rows_CKJ[..., :k].sum(-1), _TINY)
    rows_CKJ = rows_CKJ[..., :k] / identified_CK[..., None]
    share_CK: Shares = np.broadcast_to(point_K, (n_rows, k))
    kept = []
    for step in range(_BURN_IN + _APART * (_KEPT - 1) + 1):
        # Of the cells called j, how many are of each class i: (C, J, K).
        chance_CJK = np.swapaxes(share_CK[..., None] * rows_CKJ, 1, 2) + _TINY
        chance_CJK /= chance_CJK.sum(-1, keepdims=True)
        n_CK = rng.multinomial(called_K, chance_CJK).sum(axis=1)
        share_CK = _draw_dirichlet(rng, n_CK + _SHARE_PRIOR)
        if step >= _BURN_IN and (step - _BURN_IN) % _APART == 0:
            kept.append(_normalise(share_CK / (identified_CK * whole)))
    point_K = _normalise(point_K / (mean_KJ[:, :k].sum(axis=1) * whole))
    return ShareDraws(point_K, np.stack(kept, axis=1), int(called_K.sum()))


def _draw_correlations(
    rng: np.random.Generator, calibration: CalibrationCounts, n_rows: int
) -> Shares:
    """Draws of the correlation within samples, `(C,)`: of S samples of m cells the variance of a
    mean, 1 + (m - 1) rho times that of independent cells, is known as chi-square with S - 1 degrees
    of freedom knows it."""
    more = float(np.sum(calibration.called)) / calibration.n_samples - 1
    rho_C = np.full(n_rows, calibration.correlation)
    if more > 0:
        freedom = max(calibration.n_samples - 1, 1.0)
        effect_C = (1 + more * rho_C) * freedom / rng.chisquare(freedom, n_rows)
        rho_C = (effect_C - 1) / more
    return np.asarray(np.clip(rho_C, _LEAST_CORRELATION, _MOST_CORRELATION))


def weigh_rows(calibration: CalibrationCounts) -> Shares:
    """Return the parameters of the rows' Dirichlet distributions, `(K, K + 1)`: counts, each row as
    so many cells as are independent, and the prior."""
    called_KJ = np.array(calibration.called, dtype=np.float64)
    k = len(called_KJ)
    n_K = called_KJ.sum(axis=1)
    weight_K = np.divide(calibration.effective, n_K, out=np.zeros(k), where=n_K > 0)
    prior_KJ = np.full((k, k + 1), _WRONG_PRIOR / k)
    np.fill_diagonal(prior_KJ, _RIGHT_PRIOR)
    return np.asarray(called_KJ * weight_K[:, None] + prior_KJ)


def maximise_likelihood(called_K: NDArray[np.int64], rows_KJ: Shares) -> Shares:
    """Return the shares among identified cells under which counts by predicted class are likeliest,
    `(K,)`. Rows need not sum to 1: they are taken among identified cells.

    >>> maximise_likelihood(np.array([14, 6]), np.array([[0.9, 0.1], [0.1, 0.9]])).round(2)
    array([0.75, 0.25])
    """
    rows_KJ = rows_KJ / rows_KJ.sum(axis=1, keepdims=True)
    share_J = called_K / called_K.sum()
    point_K = np.full(len(called_K), 1 / len(called_K))
    for _ in range(_STEPS):
        before_K = point_K
        point_K = point_K * (rows_KJ @ (share_J / np.maximum(point_K @ rows_KJ, _TINY)))
        if np.abs(point_K - before_K).max() < _STILL:
            break
    point_K[point_K < _PART_OF_CELL / called_K.sum()] = 0  # on its way to nothing
    return _normalise(point_K)


def _draw_dirichlet(rng: np.random.Generator, weights: Shares) -> Shares:
    """Draws over the last axis, of any weights above 0."""
    return _normalise(rng.standard_gamma(weights))


def _normalise(weights: Shares) -> Shares:
    return np.asarray(weights / np.maximum(weights.sum(-1, keepdims=True), _TINY))
