"""From one score table to the files of an evaluation: figures, intervals, report, JSON, text.

What this file does not do: it never touches a network, and decides nothing but how far the split
lets the number be trusted (`judge_split`).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukoscope.data.groups import found_in_pixels
from leukoscope.data.images import load_pixels
from leukoscope.errors import DataError, ImageError
from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.decisions import measure_decisions
from leukoscope.evaluation.intervals import compute_intervals, compute_proportion
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.evaluation.trust_measures import (
    calibrate_table,
    measure_calibration,
)
from leukoscope.interval import Interval
from leukoscope.records import write_json
from leukoscope.report import figures
from leukoscope.report.evaluation_page import (
    BASELINE_NAMES,
    ClassCount,
    Comparison,
    Leak,
    ReportContent,
    format_percent,
    metrics_to_json,
    render_report,
    render_text,
)
from leukoscope.report.trust_figures import (
    draw_coverage,
    draw_reliability_both,
    draw_risk_coverage,
)
from leukoscope.report.trust_words import TrustReport
from leukoscope.scores import LeakageStatus, ScoreTable
from leukoscope.storage import create_folder, write_text
from leukoscope.trust.conformal import compare_exchangeability, measure_coverage
from leukoscope.trust.decision import Decisions, decide_table
from leukoscope.trust.record import Trust

SAMPLE_PX = 160
"""Side of an image on a sheet of samples."""


SUSPICIOUS_GAP = 0.01
"""A baseline this close to the network, in accuracy, is a sign of copies."""

FEW_DISJOINT = 10
"""Fewer images without a copy in training than this say nothing."""


@dataclass(frozen=True)
class Study:
    """What an evaluation is about, apart from the scores themselves.

    `leakage_status` and `leakage_sentences` come from the audit of the split; `boxes` cut cells out
    of fields for the sample sheets, by image id. `leaked` are the ids of images with a copy in
    training: some where the leakage_status is `leaking`, none elsewhere.
    """

    title: str
    data_name: str
    role: str
    protocol: str
    leakage_status: LeakageStatus
    leakage_sentences: tuple[str, ...]
    history: Sequence[Mapping[str, float]]
    compare: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]
    boxes: Mapping[str, tuple[int, int, int, int]]
    leaked: Set[str] = frozenset()
    trust: Trust | None = None
    limit_copies: Set[str] = frozenset()
    """Ids of images with a copy among those that calibration and limits were fitted on."""
    fitted_on: bool = False
    """These images themselves set calibration, limits or what they are compared with."""


def judge_split(
    leakage_status: LeakageStatus,
    ignores_sources: bool,
    network: Interval,
    baselines: Mapping[str, Baseline],
) -> tuple[LeakageStatus, tuple[str, ...]]:
    """Turn `unproven` into `suspect` where the figures themselves speak of copies.

    That is so when the split drew single images of unknown source, and a baseline that clearly
    beats the majority class comes within a point of the network: without copies in training,
    neither colours alone nor a thumbnail's nearest neighbour come that far.
    """
    if leakage_status != "unproven" or not ignores_sources or "majority" not in baselines:
        return leakage_status, ()
    best = max(baselines.values(), key=lambda baseline: baseline.accuracy.value)
    learned = best.accuracy.low > baselines["majority"].accuracy.high
    if not learned or best.accuracy.value < network.value - SUSPICIOUS_GAP:
        return leakage_status, ()
    return "suspect", (
        f"The baseline “{BASELINE_NAMES[best.name]}” reaches {format_percent(best.accuracy.value)};"
        f" the network reaches {format_percent(network.value)}. `leukoscope data sources` finds"
        " copies in the pixels; a split made from its table keeps them together.",
    )


def measure_leak(
    known: ScoreTable, study: Study, baselines: Mapping[str, Baseline], replicates: int
) -> Leak:
    """Count the images with a copy in training, and measure network and baselines without them.

    `known` holds the rows of known class, in the order of the baselines' predictions.
    """
    unseen_N = np.array([name not in study.leaked for name in known.ids], dtype=np.bool_)
    rest = known.take(unseen_N)
    n_rest = len(rest)
    leak = Leak(len(known) - n_rest, n_rest, len(set(rest.sources)))
    if n_rest < FEW_DISJOINT:
        reason = (
            f"only {n_rest} image{'s have' if n_rest > 1 else ' has'} no copy in training, and"
            f" fewer than {FEW_DISJOINT} say nothing"
            if n_rest
            else "every image has a copy in training"
        )
        remedy = "`leukoscope data leak-report` measures the same recipe without the leak"
        if study.role == "train":
            reason, remedy = "these are the training images", "judge it by `--role test`"
        return replace(leak, reason=f"{reason}; {remedy}")
    return replace(
        leak,
        figures=compute_intervals(rest, replicates=replicates),
        baselines={
            name: compute_proportion(
                baseline.predictions_N[unseen_N] == rest.labels_N, rest.sources
            )
            for name, baseline in baselines.items()
        },
    )


def write_evaluation(
    table: ScoreTable,
    study: Study,
    baselines: Mapping[str, Baseline],
    folder: Path,
    *,
    ignores_sources: bool,
    replicates: int = 1000,
) -> ReportContent:
    """Compute every figure of a table and write all files of an evaluation into `folder`.

    Writes `metrics.json`, `model_evaluation_results.txt`, `report.html` and `figures/`. Rows of
    unknown class (-1) are left out and counted in a warning. Where the run was calibrated, all
    figures are those of the calibrated scores, which is what a bundle of it gives.

    Raises `DataError` if no row is left, `StorageError` if the folder cannot be written.
    """
    raw = table.take(table.labels_N >= 0)
    known = raw
    if study.trust is not None:
        # What users get: calibration may change names too.
        known = calibrate_table(raw, study.trust.info.policy.calibration)
    if not len(known):
        raise DataError(
            "an evaluation needs images of classes that the network knows",
            f"{len(table):,} images, none of {', '.join(table.classes)}",
            "check the labels of the data, or train on these classes",
        )
    intervals = compute_intervals(known, replicates=replicates)
    leakage_status, found = judge_split(
        study.leakage_status, ignores_sources, intervals["accuracy"], baselines
    )
    probabilities_NK = known.probabilities_NK
    predictions_N = probabilities_NK.argmax(axis=1)
    confusion_KK = compute_confusion(known.labels_N, predictions_N, len(known.classes))
    leak = (
        measure_leak(known, study, baselines, replicates) if leakage_status == "leaking" else None
    )
    here = list_comparisons(
        f"{study.data_name}, {study.role} (this report)",
        intervals["accuracy"],
        len(known),
        leakage_status,
        leak.accuracy if leak else None,
        leak.n_images if leak else 0,
    )
    drawn = _draw_all(known, study, baselines, intervals, confusion_KK, leak)
    trust = None
    if study.trust is not None:
        judged, cautions = choose_judged(raw, study)
        decisions = decide_table(study.trust.info.policy, study.trust.novelty, judged)
        compare = not study.fitted_on
        trust = measure_trust(judged, study.trust, decisions, cautions, compare, replicates)
        drawn |= _draw_trust(judged, trust, decisions)
        told = word_costs(decisions, trust.decisions.accuracy)
        study = replace(study, warnings=(*study.warnings, *told))
    create_folder(folder / "figures")
    content = ReportContent(
        title=study.title,
        data_name=study.data_name,
        role=study.role,
        n_images=len(known),
        n_sources=len(set(known.sources)),
        source_known=known.source_known,
        protocol=study.protocol,
        leakage_status=leakage_status,
        leakage_sentences=study.leakage_sentences + found,
        intervals=intervals,
        per_class=_count_classes(known),
        confusion=tuple(tuple(int(x) for x in row) for row in confusion_KK),
        baselines=baselines,
        figures={
            name: (_save_figure(figure, folder / "figures", name), alt)
            for name, (figure, alt) in drawn.items()
        },
        compare=(*here, *study.compare) if study.compare else (),
        warnings=study.warnings,
        provenance=study.provenance,
        leak=leak,
        trust=trust,
        persons_unknown=known.source_known and found_in_pixels(known.sources),
    )
    write_text(folder / "report.html", render_report(content))
    write_text(folder / "model_evaluation_results.txt", render_text(content))
    write_json(folder / "metrics.json", metrics_to_json(content))
    return content


def choose_judged(table: ScoreTable, study: Study) -> tuple[ScoreTable, tuple[str, ...]]:
    """Return the images on which calibration and limits are judged, and what to say first of them.

    Those with a copy among the images that network or limits were fitted on are left out, unless
    fewer than `FEW_DISJOINT` remain.
    """
    if study.fitted_on:
        return table, (
            "Measured on the very images that calibration, limits or comparisons were fitted on:"
            " optimistic, and no sign of what to expect on others.",
        )
    spoilt = {*study.leaked, *study.limit_copies}
    unseen_N = np.array([name not in spoilt for name in table.ids], dtype=np.bool_)
    n = int(unseen_N.sum())
    if n == len(table):
        return table, ()
    if n < FEW_DISJOINT:
        return table, (
            f"LEAKED: {len(table) - n:,} of {len(table):,} images have a copy in training or"
            " calibration, and too few have none. What follows is inflated and says nothing about"
            " new cells.",
        )
    return table.take(unseen_N), (
        f"Measured on the {n:,} of {len(table):,} images without a copy in training or"
        " calibration.",
    )


def word_costs(decisions: Decisions, accuracy: Interval) -> tuple[str, ...]:
    """Say how many names costs change, where they do. `accuracy` is that of the names given."""
    usual_N = decisions.probabilities_NK.argmax(axis=1)
    changed = int((decisions.labels_N != usual_N).sum())
    if not changed:
        return ()
    return (
        f"Costs are set: for {changed:,} of {len(usual_N):,} images the name that costs least on"
        " average is not the most probable one. Accuracy, confusion and curves are of the most"
        " probable names; what is accepted, and how often rightly, is of the names that are given"
        f" ({format_percent(accuracy.value)} of all images named right).",
    )


SHIFTED = 0.1
"""Two cumulative shares this far apart are a shift worth words, however sure it is."""


def measure_trust(
    table: ScoreTable,
    trust: Trust,
    decisions: Decisions,
    cautions: tuple[str, ...],
    compare: bool,
    replicates: int = 1000,
) -> TrustReport:
    """Measure calibration, coverage and decisions on images of known class.

    With `compare` they are compared with those of calibration (`word_foreign`): where the two
    differ, the promise of the sets is void. `cautions` are what the report says first.
    """
    policy = trust.info.policy
    calibrated = calibrate_table(table, policy.calibration)
    p_NK = decisions.probabilities_NK
    coverage = measure_coverage(
        policy.sets.predict(p_NK),
        table.labels_N,
        table.classes,
        policy.sets,
        sources=table.sources,
    )
    return TrustReport(
        info=trust.info,
        decisions=measure_decisions(table, decisions),
        coverage=coverage,
        before=measure_calibration(table, replicates=replicates),
        after=measure_calibration(calibrated, replicates=replicates),
        cautions=cautions,
        foreign=word_foreign(trust, table, decisions.distance_N) if compare else (),
    )


def word_foreign(
    trust: Trust, table: ScoreTable, distance_N: NDArray[np.float64]
) -> tuple[str, ...]:
    """Say so where the images of a table, by their distance to training, are not of the kind of
    calibration's. One image of each source counts: copies would look like a difference."""
    home_M = trust.novelty.compute_distance(trust.reference_embeddings_MD)
    # Images without a finite answer lie further off than any other.
    new_N = np.minimum(distance_N, np.finfo(np.float64).max)
    found = compare_exchangeability(home_M, new_N[table.draw_sources(len(table), seed=0)])
    if found.gap <= SHIFTED or not found.broken:
        return ()
    return (
        "These images are not of the kind that the limits were fitted on (their distance to"
        f" training differs by {found.gap:.2f} of 1, by chance with p below"
        f" {max(found.p_value, 0.0001):.1g}): sets and limits promise nothing here.",
    )


def _draw_trust(
    table: ScoreTable, trust: TrustReport, decisions: Decisions
) -> dict[str, tuple[Figure, str]]:
    hit_N = decisions.labels_N == table.labels_N
    right = trust.decisions.accepted_accuracy.value
    here = (trust.decisions.shares["accepted"].value, 0.0 if right != right else 1 - right)
    asked = trust.info.asked
    return {
        "risk_coverage": (
            draw_risk_coverage(decisions.confidence_N, hit_N, here, asked.target_accuracy),
            "Share of wrong names among accepted cells against the share accepted",
        ),
        "reliability_both": (
            draw_reliability_both(
                table.labels_N, table.probabilities_NK, decisions.probabilities_NK, table.sources
            ),
            "Stated chance of being wrong against the share wrong, before and after calibration",
        ),
        "coverage": (
            draw_coverage(trust.coverage, table.classes, asked.alpha),
            "Coverage of prediction sets in all and by class, within what chance allows",
        ),
    }


LEAKAGE_NOTES: dict[LeakageStatus, str] = {
    "disjoint": "means something: no source was seen in training",
    "unproven": "means something only if no copies are hidden in the data",
    "suspect": "says little about new blood: signs of copies in training",
    "leaking": "says little about new blood: copies lie in training",
}
"""What a figure of each leakage_status means, in one line."""


def list_comparisons(
    name: str,
    accuracy: Interval,
    n_images: int,
    leakage_status: LeakageStatus,
    disjoint: Interval | None,
    n_disjoint: int,
) -> tuple[Comparison, ...]:
    """Return the lines that one evaluation takes up beside others: a leaking one has a second
    line for its images without a copy in training, where there are enough."""
    leaked = leakage_status == "leaking"
    lines = (Comparison(name, accuracy, n_images, LEAKAGE_NOTES[leakage_status], leaked),)
    if disjoint is None:
        return lines
    note = "means more: only images without a known copy in training"
    return (*lines, Comparison(f"{name}, without copies", disjoint, n_disjoint, note))


def _save_figure(figure: Figure, folder: Path, name: str) -> bytes | str:
    """Write a figure in both forms; return the one the report shows: photographs as PNG, charts
    as SVG, which stays sharp in print."""
    png, svg = figures.save_figure(figure, folder, name)
    return png.read_bytes() if name in figures.SAMPLE_TITLES else svg.read_text(encoding="utf-8")


def _count_classes(table: ScoreTable) -> tuple[ClassCount, ...]:
    counts = []
    for k, name in enumerate(table.classes):
        own = np.flatnonzero(table.labels_N == k)
        counts.append(ClassCount(name, len(own), len({table.sources[i] for i in own})))
    return tuple(counts)


def _draw_all(
    table: ScoreTable,
    study: Study,
    baselines: Mapping[str, Baseline],
    intervals: Mapping[str, Interval],
    confusion_KK: NDArray[np.float64],
    leak: Leak | None,
) -> dict[str, tuple[Figure, str]]:
    classes, labels_N = table.classes, table.labels_N
    p_NK = table.probabilities_NK
    shown_baselines = {
        BASELINE_NAMES[name]: baseline.accuracy for name, baseline in baselines.items()
    }
    recalls = {name: intervals[f"recall/{name}"] for name in classes}
    counts = {count.name: count.n_images for count in _count_classes(table)}
    drawn = {
        "headline": _draw_headline(intervals["accuracy"], shown_baselines, len(table), leak),
        "per_class": (
            figures.draw_per_class(recalls, counts),
            "Sensitivity of each class with its interval",
        ),
        "confusion": (
            figures.draw_confusion(confusion_KK, classes),
            "Confusion matrix: counts of images by true and predicted class",
        ),
        "roc": (figures.draw_roc(labels_N, p_NK, classes), "ROC curve of each class"),
        "pr": (figures.draw_pr(labels_N, p_NK, classes), "Precision-recall curve of each class"),
        "probabilities": (
            figures.draw_probability_distributions(labels_N, p_NK, classes),
            "Distribution of the probability given to the true class, by class",
        ),
        "reliability": (
            figures.draw_reliability(labels_N, p_NK),
            "Reliability diagram: how often right against how sure",
        ),
    }
    if study.history:
        drawn["training_curves"] = (
            figures.draw_training_curves(study.history),
            "Loss and accuracy by epoch, training and validation",
        )
    return drawn | _draw_sheets(table, study)


def _draw_headline(
    accuracy: Interval, baselines: Mapping[str, Interval], n_images: int, leak: Leak | None
) -> tuple[Figure, str]:
    if leak is None:
        return (
            figures.draw_headline(accuracy, baselines),
            f"Accuracy of the network, {accuracy.value:.1%}, beside the baselines, with intervals",
        )
    blocks = [
        figures.AccuracyBlock(
            f"All {n_images:,} images, {leak.n_with_copy:,} of them with a copy in training",
            {"Network": accuracy, **baselines},
            leaked=True,
        )
    ]
    text = f"Leaked accuracy of the network, {accuracy.value:.1%}, beside the baselines"
    if leak.accuracy is not None:
        rest = {"Network": leak.accuracy}
        rest |= {BASELINE_NAMES[name]: baseline for name, baseline in leak.baselines.items()}
        title = f"The {leak.n_images:,} images without a copy"
        blocks.insert(0, figures.AccuracyBlock(title, rest))
        text += f"; without copies, {leak.accuracy.value:.1%}"
    return figures.draw_accuracies(blocks), f"{text}; with intervals"


def _draw_sheets(table: ScoreTable, study: Study) -> dict[str, tuple[Figure, str]]:
    """Sheets of samples: the surest mistakes, the least sure and the surest right answers."""
    p_NK = table.probabilities_NK
    drawn: dict[str, tuple[Figure, str]] = {}
    for kind, rows in figures.choose_samples(table.labels_N, p_NK).items():
        title = figures.SAMPLE_TITLES[kind]
        images = [_load_sample(table, study, int(row)) for row in rows]
        captions = [
            figures.caption_sample(int(table.labels_N[row]), p_NK[row], table.classes)
            for row in rows
        ]
        drawn[kind] = (figures.draw_samples(images, captions, title), title)
    return drawn


def _load_sample(table: ScoreTable, study: Study, row: int) -> NDArray[np.uint8]:
    try:
        box = study.boxes.get(table.ids[row])
        return load_pixels(Path(table.paths[row]), SAMPLE_PX, box, resize="pad")
    except ImageError:
        # The scores stand without the file; a grey tile says that it is gone.
        return np.full((SAMPLE_PX, SAMPLE_PX, 3), 200, dtype=np.uint8)
