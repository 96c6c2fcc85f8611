"""Invented cells with known answers, and what a validation finds on them; no tests."""

from dataclasses import replace

import numpy as np

from leukoscope.evaluation.acceptance import Limits
from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.validation import Answers, LocalCells, compute_validation
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable
from leukoscope.trust.record import Reference

CLASSES = ("basophil", "blast", "monocyte")


def build_cells(n=120, right=0.8, per_source=2, foreign=0, seed=0, classes=CLASSES):
    """Cells of the first two classes, named right with a given share; a third of these by blank
    scanner names. `foreign` cells more are of a class the network does not know."""
    generator = np.random.default_rng(seed)
    labels = np.r_[generator.integers(0, 2, n), np.full(foreign, -1)]
    n += foreign
    said = np.where(generator.random(n) < right, np.maximum(labels, 0), 2)
    logits = 3 * np.eye(3, dtype=np.float32)[said] + generator.normal(0, 0.1, (n, 3))
    table = ScoreTable(
        classes,
        tuple(f"cell{i}" for i in range(n)),
        ("x.png",) * n,
        tuple(f"s{i // per_source}" for i in range(n)),
        ("local",) * n,
        labels,
        logits.astype(np.float32),
        generator.normal(0, 1, (n, 5)).astype(np.float32),
        True,
    )
    p_NK = table.probabilities_NK
    names = tuple(classes[k] if k >= 0 else "plasma_cell" for k in labels)
    return LocalCells(table, names, Answers(p_NK.argmax(axis=1), p_NK))


def with_decisions(cells):
    n = len(cells.table)
    status = tuple(("accepted", "review", "unknown")[i % 3] for i in range(n))
    reasons = tuple("" if one == "accepted" else "confidence 1 % below 2 %" for one in status)
    sets = cells.answers.probabilities_NK > 0.5
    return replace(
        cells,
        answers=replace(
            cells.answers, sets_NK=sets, status=status, reasons=reasons, promised_coverage=0.95
        ),
    )


def build_home(**changes):
    confusion = np.array([[95, 5, 0], [0, 90, 10], [0, 0, 100]])
    true_K, said_K, hit_K = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    rest_K = confusion.sum() - true_K
    content = {
        "data": "pbc", "role": "test", "leakage_status": "disjoint", "n_images": 300,
        "n_sources": 300, "source_known": True, "confusion": confusion.tolist(),
        "accuracy": Interval(0.95, 0.92, 0.97),
        "recall": tuple(map(wilson, hit_K.tolist(), true_K.tolist())),
        "specificity": tuple(map(wilson, (rest_K - said_K + hit_K).tolist(), rest_K.tolist())),
        "ece": 0.02, "ece_raw": 0.05, "coverage": 0.96, "mean_set_size": 1.1,
        "accepted": Interval(0.8, 0.75, 0.85), "accepted_accuracy": Interval(0.99, 0.97, 1.0),
        "review_frac": 0.15, "unknown_frac": 0.05,
    }  # fmt: skip
    return Reference(**(content | changes))


def validate(cells, limits=None, **options):
    options = {"data_name": "here", "bundle_name": "b", "replicates": 60} | options
    return compute_validation(cells, limits or Limits(), **options)


def build_validation():
    """A validation with something in every part of it, and names that are scripts."""
    cells = with_decisions(build_cells(foreign=12))
    n = len(cells.table)
    evil = "<script>alert(1)</script>"
    cells = replace(
        cells,
        columns={evil: ("a", "b") * (n // 2)},
        readers={"analyser": cells.names},
    )
    limits = Limits(min_accuracy=0.99, max_rejected=0.9, min_sensitivity={"monocyte": 0.5})
    return validate(
        cells,
        limits,
        data_name=evil,
        home=build_home(),
        unreadable=[(f"{evil}.png", "truncated", "ends \udcff early")],
        warnings=("Mind `this`.",),
        recalibration=Recalibration(
            40, 41, 20, 20, {"coverage": Interval(0.5, 0.4, 0.6)},
            {"coverage": Interval(0.9, 0.8, 0.95)}, notes=("A note.",), bundle="new",
        ),
        provenance={"Seed": "0"},
    )  # fmt: skip
