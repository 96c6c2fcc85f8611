"""From a score table to the record of an evaluation: figures, intervals, leakage, trust.

Axes: N images, K classes. What this file does not do: it touches no network, draws nothing and
writes no file.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.groups import found_in_pixels
from leukoscope.errors import DataError
from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.coverage import (
    compare_exchangeability,
    measure_coverage,
    measure_delivered,
)
from leukoscope.evaluation.decisions import measure_decisions
from leukoscope.evaluation.intervals import compute_intervals, find_large_sources
from leukoscope.evaluation.leakage import (
    FEW_DISJOINT,
    Leakage,
    compare_baselines,
    find_headlines,
    measure_leak,
    suspect_duplicates,
)
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.evaluation.record import (
    BaselineFigures,
    BaselineName,
    ClassFigures,
    EvaluationRecord,
    TrustFigures,
)
from leukoscope.evaluation.trust_measures import calibrate_table, measure_calibration
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable
from leukoscope.trust.decision import Decisions, decide_table
from leukoscope.trust.notes import Note
from leukoscope.trust.record import Trust

SHIFTED = 0.1
"""Two cumulative shares this far apart are a shift worth words, however sure it is."""


@dataclass(frozen=True)
class Evaluated:
    """A record with the arrays behind it, for drawing: the rows of known class with the scores that
    count (`table`), and where the run was calibrated the rows that trust is measured on, before
    calibration, with their decisions."""

    record: EvaluationRecord
    table: ScoreTable
    trust_table: ScoreTable | None = None
    decisions: Decisions | None = None


def evaluate_table(
    table: ScoreTable,
    baselines: Mapping[BaselineName, Baseline],
    leakage: Leakage,
    *,
    data: str,
    role: str,
    protocol: str,
    trust: Trust | None = None,
    calib_duplicates: Set[str] = frozenset(),
    fitted_here: bool = False,
    warnings: tuple[Note, ...] = (),
) -> Evaluated:
    """Compute every figure of a table; what is not computed (`compare`, `history`, `provenance`) is
    left empty.

    Rows of unknown class (-1) do not count. Baselines predict the others, in order. With `trust`
    all figures are those of the calibrated scores, which is what a bundle of the run gives.
    `calib_duplicates` are ids of images with a duplicate among those that calibration and
    thresholds were fitted on; `fitted_here`: these images themselves were. `warnings` are put first
    among those of the record.

    Raises `DataError` if no row is left.
    """
    raw = table.take(table.labels_N >= 0)
    if not len(raw):
        raise DataError(
            "an evaluation needs images of classes that the network knows",
            f"{len(table):,} images, none of {', '.join(table.classes)}",
            "check the labels of the data, or train on these classes",
        )
    # What users get: calibration may change labels too.
    known = calibrate_table(raw, trust.info.policy.calibration) if trust else raw
    found = compute_intervals(known)
    hits_of = {name: one.predictions_N == known.labels_N for name, one in baselines.items()}
    paired = compare_baselines(known, hits_of)
    leakage = suspect_duplicates(leakage, found.overall["accuracy"], baselines)
    confusion_KK = compute_confusion(
        known.labels_N, known.probabilities_NK.argmax(axis=1), len(known.classes)
    )
    trust_figures, trust_table, decisions = None, None, None
    if trust is not None:
        spoilt = leakage.leaked | calib_duplicates
        trust_table, basis = choose_trust_rows(raw, spoilt, fitted_here=fitted_here)
        decisions = decide_table(trust.info.policy, trust.novelty, trust_table)
        shift = () if fitted_here else find_shift(trust, trust_table, decisions.distance_N)
        trust_figures = measure_trust(trust_table, trust, decisions, (*basis, *shift))
        warnings += count_changed_labels(decisions, trust_figures.decisions.accuracy.value)
    per_class = _describe_classes(known, found.per_class)
    leak = (
        measure_leak(known, leakage.leaked, role, baselines)
        if leakage.status == "leaking"
        else None
    )
    # What is said first is said of the images that can be trusted most.
    compared = (
        (leak.paired, leak.baselines, leak.figures["accuracy"])
        if leak is not None and leak.figures
        else (
            paired,
            {name: one.accuracy for name, one in baselines.items()},
            found.overall["accuracy"],
        )
    )
    record = EvaluationRecord(
        data=data,
        role=role,
        protocol=protocol,
        n_images=len(known),
        n_sources=len(set(known.sources)),
        source_known=known.source_known,
        persons_unknown=known.source_known and found_in_pixels(known.sources),
        leakage_status=leakage.status,
        remarks=leakage.remarks,
        split_findings=leakage.split_findings,
        figures=found.overall,
        per_class=per_class,
        confusion=tuple(tuple(int(x) for x in row) for row in confusion_KK),
        baselines={
            name: BaselineFigures(one.accuracy, one.balanced_accuracy, paired[name], one.label)
            for name, one in baselines.items()
        },
        headlines=find_headlines(
            *compared, {one.label: (one.figures["recall"], one.n_images) for one in per_class}
        ),
        leak=leak,
        trust=trust_figures,
        warnings=(*warnings, *find_large_sources(known)),
    )
    return Evaluated(record, known, trust_table, decisions)


def choose_trust_rows(
    table: ScoreTable, spoilt: Set[str], *, fitted_here: bool
) -> tuple[ScoreTable, tuple[Note, ...]]:
    """Return the rows that calibration and thresholds are measured on, and what to know of them.

    Images with a duplicate among those that network or thresholds were fitted on (`spoilt`, ids)
    are left out, unless fewer than `FEW_DISJOINT` remain.
    """
    if fitted_here:
        return table, (Note("trust_fitted_here"),)
    unseen_N = np.array([name not in spoilt for name in table.ids], dtype=np.bool_)
    n = int(unseen_N.sum())
    if n == len(table):
        return table, ()
    if n < FEW_DISJOINT:
        values = {"n": len(table) - n, "n_images": len(table)}
        return table, (Note("trust_leaked", values),)
    return table.take(unseen_N), (
        Note("trust_without_duplicates", {"n": n, "n_images": len(table)}),
    )


def find_shift(
    trust: Trust, table: ScoreTable, distance_N: NDArray[np.float64]
) -> tuple[Note, ...]:
    """Say so where the images of a table, by their distance to training, are not of the kind of
    calibration's, so that the coverage guarantee is void. One image of each source counts:
    duplicates would look like a difference."""
    reference_M = trust.novelty.compute_distance(trust.reference_embeddings_MD)
    # Images without a finite answer lie further off than any other.
    new_N = np.minimum(distance_N, np.finfo(np.float64).max)
    found = compare_exchangeability(reference_M, new_N[table.draw_sources(len(table), seed=0)])
    if found.gap <= SHIFTED or not found.broken:
        return ()
    return (Note("trust_shifted", {"gap": found.gap, "p_value": found.p_value}),)


def measure_trust(
    table: ScoreTable,
    trust: Trust,
    decisions: Decisions,
    remarks: tuple[Note, ...] = (),
) -> TrustFigures:
    """Measure calibration, coverage and decisions on images of known class; `table` holds scores
    before calibration."""
    info = trust.info
    calibrated = calibrate_table(table, info.policy.calibration)
    return TrustFigures(
        method=info.policy.calibration.method,
        alpha=info.policy.sets.alpha,
        target_accuracy=info.config.target_accuracy,
        n_calib=info.n_calib,
        n_calib_sources=info.n_calib_sources,
        notes=info.notes,
        n_images=len(table),
        decisions=measure_decisions(table, decisions),
        coverage=measure_coverage(
            info.policy.sets.predict(decisions.probabilities_NK),
            table.labels_N,
            table.classes,
            info.policy.sets,
            sources=table.sources,
        ),
        delivered=measure_delivered(decisions, table.labels_N, info.policy.sets),
        before=measure_calibration(table),
        after=measure_calibration(calibrated),
        remarks=remarks,
    )


def count_changed_labels(decisions: Decisions, accuracy: float) -> tuple[Note, ...]:
    """Say how many labels costs change, where they do. `accuracy` is that of the labels given."""
    usual_N = decisions.probabilities_NK.argmax(axis=1)
    changed = int((decisions.labels_N != usual_N).sum())
    if not changed:
        return ()
    values = {"n": changed, "n_images": len(usual_N), "accuracy": accuracy}
    return (Note("costs_change_labels", values),)


def _describe_classes(
    table: ScoreTable, figures: Mapping[str, Mapping[str, Interval]]
) -> tuple[ClassFigures, ...]:
    found = []
    for k, label in enumerate(table.classes):
        own = np.flatnonzero(table.labels_N == k)
        n_sources = len({table.sources[i] for i in own})
        found.append(ClassFigures(label, len(own), n_sources, figures[label]))
    return tuple(found)
