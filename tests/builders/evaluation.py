"""Invented evaluations and leak reports, with labels that break what is careless."""

import math
from dataclasses import replace

from tests.builders.trust import NOTES

from leukoscope.data.findings import Count, Finding
from leukoscope.evaluation.agreement import PairedTest
from leukoscope.evaluation.coverage import Coverage, Share
from leukoscope.evaluation.decisions import ClassDecisions, DecisionFigures, ReasonCount
from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.leakage import (
    LeakProvenance,
    LeakReport,
    LeakRow,
    LeakWarning,
    compute_difference,
    find_test_row,
)
from leukoscope.evaluation.metrics import OVERALL, PER_CLASS
from leukoscope.evaluation.record import (
    BaselineFigures,
    ClassFigures,
    Comparison,
    EpochFigures,
    EvaluationProvenance,
    EvaluationRecord,
    LeakFigures,
    TrustFigures,
)
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.notes import Note

LABELS = ("Blast; L1", "Blast (L1)", "a/b", "<script>", "neutrophil")
COUNTS = (
    (690, 10, 0, 0, 1),
    (3, 197, 0, 0, 0),
    (0, 0, 40, 2, 0),
    (0, 0, 0, 0, 0),
    (1, 0, 0, 0, 550),
)
NAMES = (*OVERALL, "ece")


def build_paired(gain, width=0.04, p_value=1e-9):
    """The network beside a baseline that it is `gain` better than."""
    difference = Interval(gain, gain - width, gain + width)
    return PairedTest(1000, 300, 100, 94, difference, p_value, 33)


def build_baselines():
    return {
        "majority": BaselineFigures(wilson(701, 1494), 0.25, build_paired(0.47), LABELS[0]),
        "colour_histogram": BaselineFigures(
            Interval(0.81, 0.77, 0.85), 0.7, build_paired(0.13, 0.03, 0.002)
        ),
        "nearest_neighbour": BaselineFigures(
            Interval(0.61, 0.57, 0.65), math.nan, build_paired(0.33)
        ),
    }


def build_classes(labels=LABELS, counts=COUNTS):
    found = []
    for k, label in enumerate(labels):
        figures = {name: Interval(0.9 - k / 100, 0.8, 0.95) for name in PER_CLASS}
        n = sum(counts[k])
        if not n:
            figures = dict.fromkeys(PER_CLASS, UNDEFINED)
        found.append(ClassFigures(label, n, min(n, 16 + k), figures))
    return tuple(found)


def build_provenance():
    return EvaluationProvenance(
        run="run",
        network="coatnet-pico",
        image_size=128,
        best_epoch=3,
        recipe="quick",
        recipe_hash="eb56bca3e0ead197",
        seeds=(42,),
        precision="fp32",
        weights_sha256="a" * 64,
        split_sha256="5" * 64,
        leukoscope="0.1.0",
        python="3.11.7",
        platform="Linux",
        packages={"torch": "2.13.0"},
        command=("leukoscope", "train", "split.csv"),
        started="2026-01-01T00:00:00+00:00",
    )


def build_trust(labels=LABELS, counts=COUNTS, **changes):
    one = Share(0.96, 701, 0.94, 0.97, True, "holds")
    right = (Interval(0.9, 0.8, 0.95), Interval(0.98, 0.9, 1.0))
    decisions = DecisionFigures(
        n_images=1494,
        shares={
            "accepted": Interval(0.9, 0.88, 0.93),
            "review": Interval(0.08, 0.06, 0.1),
            "unknown": Interval(0.02, 0.01, 0.03),
        },
        accepted_accuracy=Interval(0.99, 0.97, 0.999),
        errors=AcceptedErrors(1345, 13, 0.028),
        accuracy=Interval(0.95, 0.93, 0.97),
        per_class=tuple(
            ClassDecisions(label, sum(row), *(right if sum(row) else (UNDEFINED, UNDEFINED)), 3)
            for label, row in zip(labels, counts, strict=True)
        ),
        reasons=(ReasonCount("low_confidence", 80), ReasonCount("unlike_training", 30)),
    )  # fmt: skip
    before = {
        name: Interval(0.031, 0.02, 0.05)
        for name in (
            "ece", "brier", "brier_reliability", "brier_resolution", "brier_uncertainty",
            "brier_within", "log_loss",
        )
    }  # fmt: skip
    given = {
        "method": "temperature",
        "alpha": 0.05,
        "target_accuracy": 0.99,
        "n_calib": 795,
        "n_calib_sources": 30,
        "notes": NOTES[:2],
        "n_images": 1494,
        "decisions": decisions,
        "coverage": Coverage(
            one, dict.fromkeys(labels, one), 1.05, 0.01, 0.94, 0.05, dict.fromkeys(labels, 1.05)
        ),
        "delivered": DeliveredSets(0.97, 0.96, 1.05, 0.05, 75, 0.6),
        "before": before,
        "after": before | {"ece": Interval(0.004, 0.0, 0.02)},
    }
    return TrustFigures(**(given | changes))


def build_evaluation(**changes):
    """A sound evaluation of a calibrated run on its own test images."""
    given = {
        "data": "painted",
        "role": "test",
        "protocol": "grouped",
        "n_images": 1494,
        "n_sources": 33,
        "source_known": True,
        "persons_unknown": False,
        "leakage_status": "disjoint",
        "remarks": (),
        "split_findings": (
            Finding("few_test_images", "warning", {"limit": 30}, (Count(("a/b",), 21),)),
        ),
        "figures": {name: Interval(0.94, 0.91, 0.96) for name in NAMES},
        "per_class": build_classes(),
        "confusion": COUNTS,
        "baselines": build_baselines(),
        "trust": build_trust(),
        "warnings": (
            Note("unknown_classes", {"n": 2, "labels": ("Blast; L2", "mitosis")}),
            Note("files_rejected", {"n": 1}),
        ),
        "compare": (Comparison("far lab", "test", "unproven", 71, Interval(0.915, 0.83, 0.96)),),
        "history": tuple(
            EpochFigures(k, 1 / k, 1.1 / k, 1 - 0.5 / k, (0.5, 0.9, 0.8)[k - 1]) for k in (1, 2, 3)
        ),
        "provenance": build_provenance(),
    }
    return EvaluationRecord(**(given | changes))


def build_leak(**changes):
    given = {
        "n_duplicates": 1400,
        "n_images": 94,
        "n_sources": 60,
        "figures": {name: Interval(0.8, 0.7, 0.9) for name in NAMES},
        "baselines": {
            "majority": Interval(0.4, 0.3, 0.5),
            "colour_histogram": Interval(0.6, 0.5, 0.65),
            "nearest_neighbour": Interval(0.5, 0.4, 0.6),
        },
        "paired": {
            "majority": build_paired(0.4),
            "colour_histogram": build_paired(0.2, 0.05, 0.01),
            "nearest_neighbour": build_paired(0.3),
        },
    }
    return LeakFigures(**(given | changes))


NO_FIGURE = LeakFigures(1494, 0, 0, {}, {}, {}, "all_duplicates")


def build_leaking(**changes):
    """An evaluation under a random split, not calibrated."""
    given = {
        "protocol": "random",
        "leakage_status": "leaking",
        "leak": build_leak(),
        "trust": None,
        "compare": (
            Comparison(
                "painted",
                "val",
                "leaking",
                90,
                Interval(0.99, 0.98, 1),
                20,
                Interval(0.8, 0.6, 0.9),
            ),
        ),
        "persons_unknown": True,
    }
    return build_evaluation(**(given | changes))


def build_row(protocol, subject, leakage_status, share, n, duplicates=0, **changes):
    given = {
        "data": "cells",
        "n_sources": 33,
        "accuracy": wilson(share * n, n),
        "baselines": {
            "majority": wilson(0.25 * n, n),
            "colour_histogram": wilson(0.6 * n, n),
        },
    }
    return LeakRow(
        protocol=protocol,
        subject=subject,
        leakage_status=leakage_status,
        n_images=n,
        n_duplicates=duplicates,
        **(given | changes),
    )


def build_leak_report(random=0.99, grouped=0.9, n=1000, **changes):
    rows = (
        build_row("random", "test", "leaking", random, n, n - 20),
        build_row("random", "test_without_duplicates", "disjoint", 0.8, 20),
        build_row("grouped", "test", "disjoint", grouped, n),
        build_row("random", "external", "unproven", 0.8, 71, data="TEST", n_sources=None),
        build_row(
            "grouped", "external_without_duplicates", "disjoint", 0.85, 71, data="TEST",
            baselines={},
        ),
    )  # fmt: skip
    rows = changes.pop("rows", rows)
    given = {
        "data": "cells",
        "n_images": 9957,
        "n_sources": 277,
        "pixels": True,
        "difference": compute_difference(
            *(find_test_row(rows, protocol).accuracy for protocol in ("random", "grouped"))
        ),
        "counts": {
            "random": {"train": 6770, "val": 1693, "test": 1494},
            "grouped": {"train": 6760, "val": 900, "calib": 795, "test": 1502},
        },
        "rows": rows,
        "provenance": LeakProvenance(
            ("leukoscope", "data", "leak-report"), 42, 1, "quick", "eb56", "0.1.0", "3.11.7",
            "Linux", {"torch": "2.13.0"}, "2026-01-01T00:00:00+00:00", {"max_distance": "9"},
        ),
        "warnings": (
            LeakWarning("", Note("test_part_left_aside", {"n": 71})),
            LeakWarning("TEST", Note("files_rejected", {"n": 2})),
        ),
    }  # fmt: skip
    return LeakReport(**(given | changes))


def without_leak(report):
    """The same report of data without a duplicate anywhere."""
    first = build_row("random", "test", "disjoint", 0.9, 1000)
    return replace(report, rows=(first, *report.rows[2:]))
