"""Site-specific recalibration: what fitting to half of the local cells changes on the rest.

Axes: N images, K classes. What this file does not do: it writes no bundle (`pipelines.recalibrate`)
and fits nothing itself (`trust.local`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.intervals import compute_proportion, compute_share
from leukoscope.evaluation.trust_measures import calibrate_table, measure_calibration
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import ScoreTable
from leukoscope.spread import compute_mean
from leukoscope.trust.calibration import compute_log_losses
from leukoscope.trust.decision import Policy, decide_table
from leukoscope.trust.local import LEAST_SOURCES, LocalPolicy, fit_local_policy
from leukoscope.trust.notes import Note
from leukoscope.trust.novelty import NoveltyModel
from leukoscope.trust.record import Trust


@dataclass(frozen=True)
class Recalibration:
    """What fitting on half of the local cells changed on the other half: figures by name, before
    and after; none where the half to fit on has fewer than `LEAST_SOURCES` sources.
    `gain_log_loss` is the log loss before less that after, on the same cells. Without cells of
    unknown classes `unknown_accepted` is not among the figures. `bundle` is the new one's name."""

    n_fit: int
    n_fit_sources: int
    n_test: int
    n_test_sources: int
    before: Mapping[str, Interval] = field(default_factory=dict)
    after: Mapping[str, Interval] = field(default_factory=dict)
    gain_log_loss: Interval = UNDEFINED
    notes: tuple[Note, ...] = ()
    bundle: str = ""

    @property
    def is_fitted(self) -> bool:
        """Whether there were sources enough."""
        return self.n_fit_sources >= LEAST_SOURCES


def split_halves(table: ScoreTable, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to fit on and those to measure on: halves of the sources of known class, each
    class cut in two as far as its sources allow. Rows of unknown class are in neither."""
    generator = np.random.default_rng(seed)
    known = np.flatnonzero(table.labels_N >= 0)
    label_of: dict[str, int] = {}
    for i in known:
        label_of.setdefault(table.sources[i], int(table.labels_N[i]))
    fit: set[str] = set()
    surplus = 0
    for k in range(len(table.classes)):
        own = sorted(name for name, label in label_of.items() if label == k)
        own = [own[i] for i in generator.permutation(len(own))]
        # Odd classes give the larger half to either side in turn.
        count = (len(own) + (surplus % 2)) // 2
        surplus += len(own) % 2
        fit.update(own[:count])
    is_fit = np.array([table.sources[i] in fit for i in known], dtype=np.bool_)
    return known[is_fit], known[~is_fit]


def measure_recalibration(
    table: ScoreTable, trust: Trust, seed: int = 0
) -> tuple[Recalibration, LocalPolicy | None]:
    """Fit on one half of the cells and measure on the other, before and after; and the new policy,
    None where the sources are too few."""
    fit, test = (table.take(rows) for rows in split_halves(table, seed))
    counts = (len(fit), len(set(fit.sources)), len(test), len(set(test.sources)))
    found = Recalibration(*counts)
    if not found.is_fitted:
        return found, None
    old = trust.info.policy
    local = fit_local_policy(old, trust.novelty, trust.info.config, fit)
    unknown = table.take(np.flatnonzero(table.labels_N < 0))
    before, after = (
        _measure(policy, trust.novelty, test, unknown) for policy in (old, local.policy)
    )
    losses = [
        compute_log_losses(policy.calibration.apply(test.logits_NK), test.labels_N)
        for policy in (old, local.policy)
    ]
    gain = compute_mean(losses[0] - losses[1], test.sources)
    return Recalibration(*counts, before, after, gain, local.notes), local


def _measure(
    policy: Policy,
    novelty: NoveltyModel,
    test: ScoreTable,
    unknown: ScoreTable,
) -> dict[str, Interval]:
    found = decide_table(policy, novelty, test)
    calibrated = calibrate_table(test, policy.calibration)
    figures = measure_calibration(calibrated)
    covered_N = found.sets_NK[np.arange(len(test)), test.labels_N]
    hit_N = found.labels_N == test.labels_N
    every_N = np.ones(len(test), dtype=np.bool_)

    def share(hits_N: NDArray[np.bool_], among_N: NDArray[np.bool_] = every_N) -> Interval:
        return compute_share(hits_N, among_N, test.sources)

    measured = {
        "accuracy": share(hit_N),
        "ece": figures["ece"],
        "log_loss": figures["log_loss"],
        "brier": figures["brier"],
        "coverage": share(covered_N),
        "accepted": share(found.mask("accepted")),
        "review": share(found.mask("review")),
        "rejected": share(found.mask("unknown")),
        "accuracy_accepted": share(hit_N, found.mask("accepted")),
    }
    if len(unknown):
        accepted_N = decide_table(policy, novelty, unknown).mask("accepted")
        measured["unknown_accepted"] = compute_proportion(accepted_N, unknown.sources)
    return measured
