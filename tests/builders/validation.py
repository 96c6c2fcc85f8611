"""Invented cells with known answers, and what a validation finds on them; no tests."""

from dataclasses import replace

import numpy as np
from tests.builders.trust import build_reference

from leukoscope.data.readers import Rejected
from leukoscope.evaluation.acceptance import AcceptanceCriteria
from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.validation import (
    LocalCells,
    Predictions,
    ValidationProvenance,
    compute_validation,
)
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable
from leukoscope.trust.decision import Reason
from leukoscope.trust.notes import Note

CLASSES = ("basophil", "blast", "monocyte")


def build_cells(
    n=120, right=0.8, per_source=2, unknown=0, seed=0, classes=CLASSES, other="plasma_cell"
):
    """Cells of the first two of three classes, a given share of them classified correctly, the rest
    as the third. `unknown` cells more are of the class `other`, which the network does not know."""
    generator = np.random.default_rng(seed)
    labels = np.r_[generator.integers(0, 2, n), np.full(unknown, -1)]
    n += unknown
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
    names = tuple(classes[k] if k >= 0 else other for k in labels)
    return LocalCells(table, names, Predictions(p_NK.argmax(axis=1), p_NK))


def with_decisions(cells):
    n = len(cells.table)
    status = tuple(("accepted", "review", "unknown")[i % 3] for i in range(n))
    low = Reason("low_confidence", {"confidence": 0.01, "min_confidence": 0.02})
    reasons = tuple(() if one == "accepted" else (low,) for one in status)
    found = replace(
        cells.predictions,
        sets_NK=cells.predictions.probabilities_NK > 0.5,
        status=status,
        reasons=reasons,
        nominal_coverage=0.95,
    )
    return replace(cells, predictions=found)


def validate(cells, criteria=None, **options):
    options = {"data": "external", "bundle": "b"} | options
    return compute_validation(cells, criteria or AcceptanceCriteria(), **options)


AWKWARD = ("Blast; L1", "a/b", "<script>alert('Blast (L1)')</script>")


def build_validation(**changes):
    """A validation with something in every part of it, and labels that break what parses them."""
    script = AWKWARD[2]
    cells = with_decisions(build_cells(unknown=12, classes=AWKWARD, other='x, "y": z'))
    n = len(cells.table)
    generator = np.random.default_rng(1)
    table = replace(
        cells.table,
        quality_names=("blur", "hue_shift"),
        quality_NQ=generator.normal(0, 1, (n, 2)).astype(np.float32) + np.float32([0, 1.5]),
    )
    cells = replace(
        cells,
        table=table,
        columns={script: ("a", "b") * (n // 2), "scanner": ("", "new; 2") * (n // 2),
                 "batch": ("1",) * n, "age": tuple(map(str, range(n)))},
        readers={"analyser": cells.labels},
        networks={"other": tuple(AWKWARD[i % 3] for i in range(n))},
    )  # fmt: skip
    criteria = AcceptanceCriteria.model_construct(
        min_accuracy=0.99,
        max_rejected=0.9,
        min_sensitivity={AWKWARD[0]: 0.85, AWKWARD[1]: 0.05, AWKWARD[2]: 0.5},
        min_weighted_kappa=0.5,
        max_accuracy_drop=0.15,
    )
    before = {"coverage": Interval(0.5, 0.4, 0.6), "ece": Interval(0.2, 0.1, 0.3)}
    after = {"coverage": Interval(0.9, 0.8, 0.95), "ece": Interval(0.05, 0.0, 0.1)}
    options = {
        "data": script,
        "reference": build_reference(),
        "reference_embeddings_MD": generator.normal(0, 1, (200, 5)).astype(np.float32),
        "reference_quality_MQ": generator.normal(0, 1, (200, 2)).astype(np.float32),
        "unreadable": (
            Rejected(f"{script}.png", "truncated", found="ends \udcff early"),
            Rejected("b.png", "no_label"),
        ),
        "n_fitted": 3,
        "recalibration": Recalibration(
            40, 21, 41, 20, before, after, Interval(0.12, 0.05, 0.19),
            (Note("labels_absent", {"labels": (AWKWARD[2],)}),), "new",
        ),
        "provenance": ValidationProvenance(
            network="coatnet-pico", image_size_px=64, weights_sha256="0" * 64, seed=0,
            trained="2026-01-01", criteria="criteria.toml", leukoscope="0.1.0", python="3.11",
            platform="x", cores=2, packages={}, command=("leukoscope",), started="2026-01-02",
        ),
    }  # fmt: skip
    return validate(cells, criteria, **(options | changes))
